r"""The sparse autoencoder (S3 part 2; S3 [18]: Ng, CS294A lecture notes, 2011): many units, few of them at work.

An autoencoder whose code is as wide as the image copies (`autoencoder`). A narrow code is one way to forbid that. The
other keeps the code wide, even wider than the image (*over-complete*), and lets only a few units speak at a time. Then
each unit has to stand for something that images are made of, such as a stroke, since an image must be said in a few of
them. To the loss of an image comes a penalty on its code (S3):

$$ L_{\mathrm{SAE}}(x, \hat x) = L(x, \hat x) + \lambda\, \Omega(y), \qquad y = f(x). \tag{1} $$

It acts on the *activations* $y$, as opposed to the weights: the network keeps its whole stock of units, and picks a
few from it for each image. S3 names three penalties.

**The $L_1$ norm**, averaged over the images of a minibatch $i = 1, \dots, b$ and summed over the units $j$,

$$ \Omega_1(y) = \frac1b \sum_{i=1}^{b} \sum_{j=1}^{d} |y_{ij}|, \tag{2} $$

makes zeros. Take one unit with decoder $w$, $\|w\| = 1$, and $v = w^\top x$: up to a constant, $\|x - w y\|^2$ is
$(v - y)^2$, and the best $y \ge 0$ for $(v - y)^2 + \lambda y$ is $\max(v - \lambda / 2, 0)$. What would help little is
not said at all.

**The $L_2$ norm**, squared,

$$ \Omega_2(y) = \frac1b \sum_{i=1}^{b} \sum_{j=1}^{d} y_{ij}^2, \tag{3} $$

does not: the best $y$ for $(v - y)^2 + \lambda y^2$ is $v / (1 + \lambda)$, smaller, but 0 only if $v$ is. Small
activations are cheap, and many small ones cheaper than a large one. So it spreads what $L_1$ gathers. (S3 lists it as a
sparsity penalty; it keeps the code from copying, and is none.)

Both can be cheated: halve all activations and double the decoder's weights, and the output is as before. So the columns
of the decoder are kept short, as the atoms of sparse coding are, after each step:

$$ w_j \leftarrow w_j / \max(1, \|w_j\|). \tag{4} $$

**The divergence** (Ng). Let units be sigmoids, and read $y_{ij}$ as the probability that unit $j$ is on. It shall be on
for a share $\rho$ of the images, say 5 %. How often it is, over the minibatch, is $\hat\rho_j = \frac1b \sum_i y_{ij}$,
and the penalty is how far a coin with $\hat\rho_j$ is from one with $\rho$:

$$ \Omega_{\mathrm{KL}}(y) = \sum_{j=1}^{d} \mathrm{KL}(\rho \,\|\, \hat\rho_j)
   = \sum_{j=1}^{d} \left[ \rho \log \frac{\rho}{\hat\rho_j}
   + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_j} \right]. \tag{5} $$

It says nothing of single images: a unit may be as loud as it likes now, if it is silent otherwise. Its slope

$$ \frac{\partial \Omega_{\mathrm{KL}}}{\partial y_{ij}}
   = \frac1b \left( -\frac{\rho}{\hat\rho_j} + \frac{1 - \rho}{1 - \hat\rho_j} \right) \tag{6} $$

is negative below $\rho$ and without bound as $\hat\rho_j \to 0$: no unit may fall silent. $L_1$ pushes all of them down
alike, and those that it has silenced for every image are *dead*: behind a ReLU at 0 no gradient comes back. With any
finite $\lambda$ the balance is struck a little beside $\rho$, where (6) is as large as what the unit is worth for the
reconstruction. The mean over a minibatch trembles, with variance $\rho (1 - \rho) / b$ at most; as the curvature of KL
at $\rho$ is $1 / \rho (1 - \rho)$, this costs up to $1 / 2b$ a unit for nothing. So minibatches should be large: much
larger than $1 / \rho$.

Large weights would let sigmoids switch at the least provocation. Ng adds the weights' squares, $\mu (\|W_1\|^2 +
\|W_2\|^2)$, with a small $\mu$ (`decay`), which makes filters smooth.

**Strokes, measured.** A filter $w$ of $n$ weights that is a stroke has a few large weights and many near 0. Its
*kurtosis*,

$$ \kappa(w) = \frac{\frac1n \sum_i (w_i - \bar w)^4}{\big(\frac1n \sum_i (w_i - \bar w)^2\big)^2}, \tag{7} $$

is 3 for Gaussian noise, less for a slope or a blob as large as the picture, and more for a thin stroke on a grey
ground. It does not see everything: a broad stroke between dark margins, such as $L_1$ finds, has less than 3, and a few
scattered points have as much as a stroke. The pictures decide.

Notation
--------
$y$ : `y`, (b, d)
$\rho, \hat\rho$ : `rho`; `rho_hat`, (d,)
$\lambda, \mu$ : `weight`, `decay`
$W_1, W_2$ : `weights`, (d, n) and (n, d), of `encoder` and `decoder`
$w_j$ : columns of $W_2$; rows of `filters`
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.autoencoder.autoencoder import Autoencoder, fully_connected

# ---- the equations --------------------------------------------------------------------------------------


def l1(y):
    r"""(2): $\frac1b \sum_i \sum_j |y_{ij}|$; (b, d) to ()."""
    return tg.sum(tg.abs(y)) / len(y)


def l2(y):
    r"""(3): $\frac1b \sum_i \sum_j y_{ij}^2$; (b, d) to ()."""
    return tg.sum(tg.square(y)) / len(y)


def kl(y, rho: float):
    r"""(5): $\sum_j \mathrm{KL}(\rho \,\|\, \hat\rho_j)$ of activations between 0 and 1, in nats; (b, d) to ().

    Means within 1e-6 of 0 or 1 count as that far from it: there (5) is finite, and has no slope.
    """
    rho_hat = tg.clip(tg.mean(y, axis=0), 1e-6, 1 - 1e-6)  # (d,); that of a saturated unit is exactly 0 or 1
    return tg.sum(rho * tg.log(rho / rho_hat) + (1 - rho) * tg.log((1 - rho) / (1 - rho_hat)))


def kl_slope(y, rho: float):
    r"""(6), the same for all images; (b, d) to (d,)."""
    rho_hat = tg.mean(y, axis=0)
    return ((1 - rho) / (1 - rho_hat) - rho / rho_hat) / len(y)


def shortened(W):
    r"""(4): columns of length at most 1; a raw array (n, d) to (n, d)."""
    lengths = backend.array_module(W).sqrt((W * W).sum(0))
    return W / lengths.clip(1)


def kurtosis(filters: np.ndarray) -> np.ndarray:
    r"""(7): $\kappa(w)$ of each row; (d, n) to (d,)."""
    squares = np.square(filters - filters.mean(1, keepdims=True))
    return np.square(squares).mean(1) / np.square(squares.mean(1))


# ---- the model ------------------------------------------------------------------------------------------


class SparseAutoencoder(Autoencoder):
    r"""One layer of units, and a linear layer that draws with them.

    Parameters
    ----------
    n_pixels, n_units : $n$ and $d$, which may be larger than $n$
    sparsity : "kl" (sigmoid units), "l1" or "l2" (ReLU units)
    weight : $\lambda$, which may be 0
    rho : how often a unit shall be on, for "kl"
    decay : $\mu$
    loss, lr, schedule, rng : as in `Autoencoder`

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> rng = tg.random.Generator(0)
    >>> model = SparseAutoencoder(6, 10, sparsity="l1", weight=0.3, rng=rng)
    >>> model.fit(rng.uniform((50, 6)), steps=3, run=Run(quiet=True)).filters.shape
    (10, 6)
    """

    def __init__(self, n_pixels: int, n_units: int, *, sparsity: str = "kl", weight: float = 1.0, rho: float = 0.05,
                 decay: float = 0.0, loss: str = "squared", lr: float = 1e-3,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        if sparsity not in ("kl", "l1", "l2"):
            raise ValueError(f"SparseAutoencoder: sparsity is {sparsity!r}; 'kl', 'l1' or 'l2' is wanted")
        if not (0 < rho < 1 and weight >= 0 and decay >= 0):
            raise ValueError(f"SparseAutoencoder: rho {rho}, weight {weight} and decay {decay} were given; rho between "
                             "0 and 1 is wanted, and the others at least 0")  # fmt: skip
        rng = Generator() if rng is None else rng
        units = nn.Sigmoid if sparsity == "kl" else nn.ReLU
        super().__init__(fully_connected(n_pixels, n_units, activation=units, last=True, rng=rng),
                         fully_connected(n_units, n_pixels, rng=rng), n_pixels, loss=loss, lr=lr, schedule=schedule,
                         rng=rng)  # fmt: skip
        self.sparsity, self.weight, self.rho, self.decay = sparsity, weight, rho, decay
        W_1, bias, W_2, _ = self.parameters()
        if sparsity == "kl":
            bias.assign(tg.zeros_like(bias) + math.log(rho / (1 - rho)))  # so that all units begin at rho
        else:  # short atoms, and units that listen to what they draw: else most of them die in the first steps
            lengths = tg.sqrt(tg.sum(tg.square(W_2), axis=0))
            W_2.assign(W_2 / lengths)
            W_1.assign(0.3 * tg.transpose(W_2))
            bias.assign(tg.zeros_like(bias))

    def penalty(self, y):
        r"""$\lambda \Omega(y)$ of (1), and Ng's decay of the weights."""
        omega = kl(y, self.rho) if self.sparsity == "kl" else {"l1": l1, "l2": l2}[self.sparsity](y)
        squares = sum(tg.sum(tg.square(W)) for W in self.weights)
        return self.weight * omega + self.decay * squares

    def update(self, x) -> dict:
        """One step on a minibatch (b, n), and (4) for ReLU units."""
        parts = super().update(x)
        if self.sparsity != "kl":
            _, W_2 = self.weights
            W_2.assign(shortened(W_2.data))
        return parts

    @property
    def weights(self) -> tuple[tg.Tensor, tg.Tensor]:
        """$W_1$, (d, n), and $W_2$, (n, d)."""
        W_1, _, W_2, _ = self.parameters()
        return W_1, W_2

    @property
    def filters(self) -> np.ndarray:
        r"""What each unit draws, $w_j$, in rows: (d, n)."""
        return self.weights[1].numpy().T

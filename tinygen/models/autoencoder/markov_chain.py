r"""The denoising autoencoder as a generator: corrupt, restore, and over again (S3 part 2; Bengio et al. 2013).

A denoising autoencoder never learns $p(x)$, the law of the images. It learns the law of the image *given* a corrupted
one, $p(x|\tilde x)$ (S3). But that is half of what a walk needs: corrupt an image, draw one that may have been behind
it, corrupt that one, and so on,

$$ \tilde x_t \sim C(\cdot | x_t), \qquad x_{t+1} \sim p(\cdot | \tilde x_t). \tag{1} $$

S3's intuition is that such a walk comes back to typical images very often. In fact it visits every image exactly as
often as it should.

**Why.** Let there be finitely many images. By Bayes' rule the best that a denoiser can know is

$$ R(\tilde x, x) = p(x | \tilde x) = \frac{p(x)\, C(\tilde x|x)}{\sum_{x'} p(x')\, C(\tilde x|x')}, \tag{2} $$

and a step of the walk goes from $x$ to $x'$ with probability

$$ T(x, x') = \sum_{\tilde x} C(\tilde x | x)\, R(\tilde x, x'), \qquad T = C R. \tag{3} $$

With (2), $p(x)\, T(x, x')$ is the sum over $\tilde x$ of $p(x) C(\tilde x|x)\, p(x') C(\tilde x|x') / p(\tilde x)$,
where $x$ and $x'$ can change places: as many walkers go from $x$ to $x'$ as from $x'$ to $x$, and so $p T = p$. If
every image can be reached from every other in one step (as it can when $C$ turns anything into anything, however
rarely), there is no other such law, and the walk forgets where it began. The law that a walk comes to have is its
*stationary* one,

$$ \pi T = \pi, \qquad \sum_x \pi(x) = 1. \tag{4} $$

**If the denoiser is nearly right.** Measure the distance of two laws by the *total variation*

$$ \mathrm{TV}(a, b) = \tfrac12 \sum_x |a(x) - b(x)|, \tag{5} $$

the largest difference of the probabilities of any event. How much of it does a step of the walk leave? At most

$$ \tau(T) = \max_{x, x'} \mathrm{TV}(T(x, \cdot), T(x', \cdot)), \tag{6} $$

so that $\mathrm{TV}(aT, bT) \le \tau\, \mathrm{TV}(a, b)$. Let $\hat R$ be what was learnt, $\hat T = C \hat R$ and
$\hat \pi$ its stationary law. Then
$\hat\pi - p = \hat\pi \hat T - p T = (\hat\pi - p) T + \hat\pi\, C (\hat R - R)$, and

$$ \mathrm{TV}(\hat \pi, p) \le \frac{1}{1 - \tau(T)}\,
   \max_{\tilde x} \mathrm{TV}(\hat R(\tilde x, \cdot), R(\tilde x, \cdot)). \tag{7} $$

This is S3's "DAEs implicitly estimate the data-generating process", with a number: as the denoiser gets exact, so does
the walk. It also shows the trade. Little noise makes the denoiser's task easy, but the walk slow ($\tau$ near 1), and a
slow walk multiplies errors. Much noise makes the walk quick, but $p(x|\tilde x)$ then has many humps, and a
network that gives each pixel its own probability, as here, cannot draw from it: the pixels of its draw do not agree
on one digit.

**The level of noise may be drawn, too.** That is again a corruption, and (2) to (7) hold for it. Here an image first
draws a level $q$, and then each pixel is replaced by a fair coin with probability $q$:

$$ q \sim \mathcal U(a, b), \qquad \tilde x_i = \begin{cases} x_i & \text{with probability } 1 - q \\
   \text{0 or 1, by a coin} & \text{with probability } q. \end{cases} \tag{8} $$

A high level throws the walk elsewhere, low ones then agree on a digit. (S3's masking would not do: what it leaves is
certain, so a wrong white pixel would be kept and believed.)

**Walking back** (Bengio et al. 2013). In training the denoiser sees corrupted *data*, in the walk corrupted *draws*,
with mistakes that it has never seen. So let it walk from a training image for a few steps, corrupt what came out, and
ask for the training image all the same. That is training on another corruption,

$$ \tilde C_k = C\, (\hat R\, C)^k, \tag{9} $$

with the network's own $\hat R$. For exact laws this does no harm: when $\hat R$ is the best denoiser for $\tilde C_k$,
the walk $\tilde C_k \hat R = (C \hat R)^{k + 1}$ has the stationary law $p$ by the above, and so has $C \hat R$, of
which it makes $k + 1$ steps at once. (The same if $k$ is drawn at random.) Walks that lead astray are learnt to be
walked back. But if each pixel has its own probability, there is a price. A walk that met much noise has forgotten where
it began; asked for that image, the best answer is the mean of all, and draws from it are no digits. The demo trains
both ways and says which walk shows more digits that a classifier is sure of. Here it is the one that has learnt from
corrupted data alone.

**Has it converged?** "Hard to assess" (S3), but some failures show. A walk is *stuck* if a classifier gives one and the
same class for a long time, and has *strayed* if it shows images that nothing in the data is like, say, with more
ink than any image has; walks on real numbers can also explode. The shares of the classes in the first and in
the second half should agree in (5), and the effective sample size (`latent/mcmc.py`) says what the walk's draws
are worth. "Expensive" it is: each draw costs as many steps as the walk takes to forget.

Notation
--------
$x_t, \tilde x_t$ : `x`, `x_tilde`, (m, n), m walks side by side; $C$ : `corruption`
$p$ : `p`, (k,); $C, R, T$ : `C`, (k, l); `R`, (l, k); `T`, (k, k), where there are k images and l corrupted ones
$\pi$ : `stationary(T)`, (k,); $\tau$ : `contraction(T)`
$a, b$ : `low`, `high`; $k$ of (9) : `steps`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.autoencoder.denoising import Corruption, DenoisingAutoencoder

# ---- where there are few images, on the host ------------------------------------------------------------


def bayes(p: np.ndarray, C: np.ndarray) -> np.ndarray:
    r"""(2): $R$, from the law of the images and the corruption; (k,), (k, l) to (l, k)."""
    joint = (p[:, None] * C).T  # (l, k)
    return joint / joint.sum(1, keepdims=True)


def transition(C: np.ndarray, R: np.ndarray) -> np.ndarray:
    r"""(3): $T = C R$; (k, l), (l, k) to (k, k)."""
    return C @ R


def stationary(T: np.ndarray) -> np.ndarray:
    r"""(4): the law $\pi$ with $\pi T = \pi$, if there is only one; (k, k) to (k,)."""
    k = len(T)
    equations = np.vstack([T.T - np.eye(k), np.ones(k)])
    return np.linalg.lstsq(equations, np.append(np.zeros(k), 1.0), rcond=None)[0]


def total_variation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    r"""(5): $\frac12 \sum_x |a(x) - b(x)|$; (..., k) twice to (...)."""
    return np.abs(a - b).sum(-1) / 2


def contraction(T: np.ndarray) -> float:
    r"""(6): $\tau(T)$, the largest distance of two rows; (k, k) to a number."""
    return float(total_variation(T[:, None], T).max())


def error_bound(C: np.ndarray, R: np.ndarray, R_hat: np.ndarray) -> float:
    r"""(7), right side: how far $\hat\pi$ can be from p; (k, l), (l, k) twice to a number."""
    return float(total_variation(R_hat, R).max()) / (1 - contraction(transition(C, R)))


def walked_back(C: np.ndarray, R_hat: np.ndarray, steps: int) -> np.ndarray:
    r"""(9): $C (\hat R C)^k$; (k, l), (l, k) to (k, l)."""
    return C @ np.linalg.matrix_power(R_hat @ C, steps)


# ---- the corruption -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CoinFlips:
    """(8): pixels of black-and-white images replaced by coins, with a probability between low and high."""

    low: float
    high: float

    def __post_init__(self):
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"CoinFlips: low is {self.low!r} and high {self.high!r}; 0 <= low < high <= 1 is wanted")

    def __call__(self, x, rng: Generator):
        xp = backend.array_module(x)
        q = rng.uniform(len(x), self.low, self.high).reshape(-1, *[1] * (x.ndim - 1))
        replaced = rng.uniform(x.shape) < q
        return xp.where(replaced, rng.bernoulli(0.5, x.shape, dtype=x.dtype), x)


# ---- the model ------------------------------------------------------------------------------------------


class DenoisingChain(DenoisingAutoencoder):
    r"""A denoising autoencoder that walks: $p(x|\tilde x)$ is a Bernoulli law for each pixel, or a normal one.

    Parameters
    ----------
    encoder, decoder, shape, corruption, lr, schedule, rng : as of `DenoisingAutoencoder`
    loss : "cross-entropy" for the Bernoulli law, "squared" for the normal one
    std : of the normal law, around what the decoder gives; the Bernoulli law needs none
    walk_back : in each training step, corrupted images come from walks of 0 to so many steps, all equally likely
    burn_in : steps of a walk before `sample` takes what it has come to

    Examples
    --------
    >>> from tinygen.models.autoencoder import fully_connected
    >>> from tinygen.runs import Run
    >>> rng = tg.random.Generator(0)
    >>> chain = DenoisingChain(fully_connected(6, 9, rng=rng, last=True), fully_connected(9, 6, rng=rng), 6,
    ...                        corruption=CoinFlips(0.1, 0.5), walk_back=1, rng=rng)
    >>> x = rng.bernoulli(0.3, (20, 6))
    >>> chain.fit(x, steps=3, run=Run(quiet=True)).sample(5).shape
    (5, 6)
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: int | tuple[int, ...], *, corruption: Corruption,
                 loss: str = "cross-entropy", std: float = 0.0, walk_back: int = 0, burn_in: int = 50, lr: float = 1e-3,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        super().__init__(encoder, decoder, shape, corruption=corruption, loss=loss, lr=lr, schedule=schedule,
                         rng=rng)  # fmt: skip
        if min(walk_back, burn_in, std) < 0 or (std > 0) == self.bernoulli:
            raise ValueError(f"DenoisingChain: walk_back {walk_back!r}, burn_in {burn_in!r} and std {std!r} with the "
                             f"loss {loss!r}; numbers of steps, and a positive std for 'squared' alone, are "
                             "wanted")  # fmt: skip
        self.std, self.walk_back, self.burn_in = std, walk_back, burn_in

    def corrupted(self, x, rng: Generator):
        r"""$\tilde x$ after a walk of a random number of steps, (9): raw (b, *shape) to (b, *shape)."""
        for _ in range(int(rng.integers(0, self.walk_back + 1)) if self.walk_back else 0):
            _, x = self.step(x, rng)
        return self.corruption(x, rng)

    def step(self, x, rng: Generator) -> tuple[Any, Any]:
        r"""(1): raw images (m, *shape) to the means of $p(\cdot | \tilde x_t)$, and what is drawn from it."""
        with tg.no_grad():
            x_hat = self._image(self.encoder(tg.tensor(self.corruption(x, rng)))).data
        if self.bernoulli:
            return x_hat, rng.bernoulli(x_hat, dtype=x_hat.dtype)
        return x_hat, x_hat + rng.normal(x_hat.shape, std=self.std, dtype=str(x_hat.dtype))

    def walk(self, x: np.ndarray, steps: int, *,
             rng: Generator | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
        """Walks from images (m, *shape): after each step the means and the draws, both (m, *shape), on the host."""
        x, rng = self.checked(x), rng or self.rng
        self.eval()
        for _ in range(steps):
            x_hat, x = self.step(x, rng)
            yield backend.to_numpy(x_hat), backend.to_numpy(x)

    def start(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """Where walks begin that know nothing of the data: coin flips, or normal noise; (n, *shape)."""
        rng, shape = rng or self.rng, (n, *self.shape)
        return backend.to_numpy(rng.bernoulli(0.5, shape) if self.bernoulli else rng.normal(shape))

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """The means to which n walks have come after `burn_in` steps and one: (n, *shape)."""
        *_, (x_hat, _) = self.walk(self.start(n, rng=rng), self.burn_in + 1, rng=rng)
        return x_hat


# ---- has it converged? On the host ----------------------------------------------------------------------


def longest_stay(labels: np.ndarray) -> np.ndarray:
    """The longest run of one and the same class in each walk; (T, m) to (m,)."""
    changes = labels[1:] != labels[:-1]
    stays = np.zeros(labels.shape[1], int)
    current = np.ones(labels.shape[1], int)
    for change in changes:
        stays = np.maximum(stays, current)
        current = np.where(change, 1, current + 1)
    return np.maximum(stays, current)


def shares(labels: np.ndarray, k: int) -> np.ndarray:
    """How often each of k classes was seen, as shares; any shape to (k,)."""
    return np.bincount(np.ravel(labels), minlength=k) / max(np.size(labels), 1)


def strayed(draws: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Whether a draw has less or more ink than any image of the data, or is not finite; (T, m, n), (N, n) to (T, m)."""
    ink, known = draws.sum(-1), data.sum(-1)
    return ~((known.min() <= ink) & (ink <= known.max()))

r"""The fully visible belief net: each variable predicted from those before it (S4, FVBN and LARC).

A table with a probability for every image of $d$ black-and-white pixels has $2^d$ entries. Put the pixels into an
order, say row by row, and the law splits into $d$ small questions without any loss (S4, "core idea"):

$$ \log P(x) = \sum_{j=1}^d \log P(x_j | x_1, \dots, x_{j-1}). \tag{1} $$

Every law is of this form, in every order. Nothing is hidden: no integral stands between the model and its likelihood,
which is why the net is called *fully visible*. What remains is to say how a pixel depends on those before it. The
*logistic autoregressive* net (S4's LARC, after Frey 1998) takes the simplest answer, a logistic regression for each,

$$ P(x_j = 1 | x_1, \dots, x_{j-1}) = p_j = \frac{1}{1 + e^{-a_j}}, \qquad
   a_j = b_j + \sum_{\ell < j} w_{j\ell}\, x_\ell. \tag{2} $$

(S4 prints $w_j X_j$ within the sum: the weight must tell both pixels, $w_{j\ell}$, and the pixel summed over is the
earlier one, $X_\ell$. Its $w_0$ is our $b_j$, one for each $j$.) Only pairs with $\ell < j$ have a weight, so the
$w_{j\ell}$ form a matrix $W$ with zeros on and above its diagonal, and all $d$ regressions are one product:
$a = b + Wx$.

**The likelihood is exact.** Since $p_j$ is $P(x_j = 1 | \cdot)$ and $1 - p_j$ the other case,

$$ \log P(x) = \sum_{j=1}^d x_j \log p_j + (1 - x_j) \log (1 - p_j)
   = \sum_{j=1}^d x_j\, a_j - \log(1 + e^{a_j}). \tag{3} $$

It sums to one over all $2^d$ images without a partition function, because each factor of (1) does.

**Learning.** No weight serves two pixels, so maximum likelihood is $d$ separate logistic regressions, each of them
convex: there are no false optima, and a descent in small enough steps comes as near to the best likelihood as one
likes. (There need be no best weights: for a pixel that is black in all examples, or that the earlier ones foretell
without an error, they grow without end.) The gradient is what the data say less what the model expects,

$$ \frac{\partial \log P(x)}{\partial w_{j\ell}} = (x_j - p_j)\, x_\ell \quad (\ell < j), \qquad
   \frac{\partial \log P(x)}{\partial b_j} = x_j - p_j. \tag{4} $$

At the best weights both agree on the mean: the net expects each pixel to be white, and each pair to be white
together, as often as the examples are (for a pair, with the pixels before $j$ as they were seen). Before there are
weights, the best biases are known (`start_at`). With $\bar x_j$ for the share of examples in which pixel $j$ is white,
kept away from 0 and 1 since a pixel that is black in all examples may be white in the next,

$$ W = 0: \qquad b_j = \log \frac{\bar x_j}{1 - \bar x_j}. \tag{5} $$

The steps are Adam's, since some pixels are hardly ever white and their weights see few gradients. With a constant
rate the noise of the minibatches keeps the weights moving about the optimum; the rate falls to 0.

**Grey images.** The net knows 0 and 1 only, so the data must be made black and white (`data.binarize` has three ways,
and figures of one cannot be compared with those of another). `resample=True` reads a grey level $y_j$ as the
probability that pixel $j$ is white, and draws a new version $x$ of an image whenever it is used. Given the image its
pixels are independent, so the mean of (4) over $x_j$ is known and need not be drawn:

$$ \mathbb E\left[ (x_j - p_j)\, x_\ell \,\middle|\, y, x_1, \dots, x_{j-1} \right] = (y_j - p_j)\, x_\ell. \tag{6} $$

The inputs are drawn, the targets are the grey levels. The direction is right on average as before, and less noisy.

**Sampling and completion.** (1) is also a recipe: draw $x_1$, then $x_2$ given $x_1$, and so on. If the first $k$
pixels are given, the draw starts with the next, and what comes out is an exact draw from
$P(x_{k+1}, \dots, x_d | x_1, \dots, x_k)$. It works in this direction only. To complete the upper half of an image from
its lower half one would have to sum over all upper halves, which (1) does not spare us. The order does not matter for
what *can* be expressed by (1), but it does for (2), and for which conditionals are easy.

Notation
--------
$x, y$ : `x`, (n, d), zeros and ones; `y`, (n, d), grey levels in [0, 1]
$a, p$ : `a`, `p`, (n, d)
$W, b$ : `weight`, (d, d), zero on and above the diagonal; `bias`, (d,)
$k$ : `known`
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.linear import gemm
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def logits(x, W, b):
    r"""(2), right: $a_j = b_j + \sum_{\ell < j} w_{j\ell} x_\ell$; (n, d), (d, d), (d,) to (n, d)."""
    return tg.matmul(x, tg.transpose(W)) + b


def probabilities(x, W, b):
    r"""(2): $p_j$, the probability that pixel $j$ is white given those before it; (n, d) to (n, d)."""
    return tg.sigmoid(logits(x, W, b))


def terms(x, a):
    r"""The terms of (1), $\log P(x_j | x_1, \dots, x_{j-1}) = x_j a_j - \log(1 + e^{a_j})$; twice (n, d) to (n, d)."""
    return x * a - tg.softplus(a)


def log_likelihood(x, W, b):
    r"""(1) and (3): $\log P(x)$, in nats; (n, d) to (n,)."""
    return tg.sum(terms(x, logits(x, W, b)), axis=1)


def gradient(x, y, p) -> tuple[Any, Any]:
    r"""(4) and (6): minus the slope of the mean of $\log P$ by $W$ and $b$, for raw arrays; three of (n, d).

    x : what the net sees; y : what it shall predict, x itself or the grey levels that x was drawn from
    """
    excess = (p - y) / len(x)  # (n, d)
    return tg.tril(gemm(excess, x, transpose_a=True), -1), excess.sum(axis=0)


def log_odds(mean, floor: float = 1e-3):
    r"""(5): $\log(\bar x / (1 - \bar x))$, with $\bar x$ kept `floor` away from 0 and 1; raw array of any shape."""
    mean = backend.array_module(mean).clip(mean, floor, 1 - floor)
    return tg.log(mean / (1 - mean))


# ---- the model ------------------------------------------------------------------------------------------


class LogisticBeliefNet(Model):
    r"""A logistic regression for each pixel on the pixels before it.

    Parameters
    ----------
    n_pixels : $d$
    lr : learning rate of Adam
    schedule : the factor of `lr` as a function of the update's number, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the minibatches and of black-and-white versions; None takes fresh entropy. The model lives
        on its device.

    Examples
    --------
    >>> x = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 1]])  # the second pixel repeats the first
    >>> net = LogisticBeliefNet(3, lr=0.1, rng=tg.random.Generator(0)).fit(x, steps=200, run=Run(quiet=True))
    >>> float(net.conditionals(np.array([[1, 0, 0]]))[0, 1].round(1))  # of the second pixel, after a white one
    1.0
    >>> net.score_samples(x).shape, net.sample(5).shape
    ((4,), (5, 3))
    """

    def __init__(self, n_pixels: int, *, lr: float = 1e-2, schedule: Any = None, rng: Generator | None = None):
        if n_pixels < 1:
            raise ValueError(f"LogisticBeliefNet: n_pixels is {n_pixels}; at least one is wanted")
        self.n_pixels = n_pixels
        self.rng = Generator() if rng is None else rng
        self.weight = tg.zeros((n_pixels, n_pixels), requires_grad=True, device=self.rng.device)
        self.bias = tg.zeros(n_pixels, requires_grad=True, device=self.rng.device)
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    # ---- learning ----

    def start_at(self, x: np.ndarray) -> Self:
        """Before training: set the biases by (5), from images (n, d)."""
        self.bias.assign(log_odds(self.checked(x, grey=True).mean(axis=0)))
        return self

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 250, resample: bool = False,
            run: Run | None = None) -> Self:  # fmt: skip
        """Learn from images (n, d) of zeros and ones; goes on where `run` stopped, if it is a resumed one.

        resample : whether images are grey, and made black and white anew for each minibatch, by (6)
        """
        x, run = self.checked(x, grey=resample), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size), resample))
        return self

    def update(self, y, resample: bool = False) -> dict:
        """One step down (4), or (6), on a minibatch (b, d), a raw array; its mean loss, in nats an image."""
        x = self.rng.bernoulli(y, dtype=y.dtype) if resample else y
        a = logits(x, self.weight.data, self.bias.data)
        self.optimizer.step(gradient(x, y, tg.sigmoid(a)))
        self.schedule.step()
        return {"nll": -terms(y, a).sum() / len(y)}

    # ---- what it can do ----

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(3): $\log P(x)$ of each image, exact, in nats; (n, d) to (n,)."""
        parts = [log_likelihood(rows, self.weight.data, self.bias.data) for rows in in_order(self.checked(x), 1000)]
        return np.concatenate([backend.to_numpy(part) for part in parts])

    def conditionals(self, x: np.ndarray) -> np.ndarray:
        """(2): the probability that each pixel is white, given those before it; (n, d) to (n, d)."""
        return backend.to_numpy(probabilities(self.checked(x), self.weight.data, self.bias.data))

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New images (n, d) of zeros and ones, exact draws, pixel by pixel."""
        return self._drawn(backend.full((n, self.n_pixels), 0, self.weight.dtype, self.weight.device), 0, rng)

    def complete(self, x: np.ndarray, known: int, *, rng: Generator | None = None) -> np.ndarray:
        """Images (n, d) with their first `known` pixels kept and the others drawn anew, given these: exact draws."""
        if not 0 <= known <= self.n_pixels:
            raise ValueError(f"LogisticBeliefNet.complete: known is {known!r}; from 0 to {self.n_pixels} is wanted")
        return self._drawn(self.checked(x), known, rng)

    def _drawn(self, x, known: int, rng: Generator | None) -> np.ndarray:
        """x with its pixels from `known` on drawn one after the other."""
        rng = Generator(device=self.weight.device) if rng is None else rng
        W, b, x = self.weight.data, self.bias.data, x.copy()
        for j in range(known, self.n_pixels):
            p = tg.sigmoid(tg.matmul(x[:, :j], W[j, :j]) + b[j])  # (2)
            x[:, j] = rng.bernoulli(p, dtype=x.dtype)
        return backend.to_numpy(x)

    def checked(self, x, *, grey: bool = False):
        """x as rows of pixels in the parameters' dtype, on their device, or an error that says what is wrong."""
        x, name = backend.asarray(x, self.weight.dtype, self.weight.device), type(self).__name__
        if x.ndim != 2 or x.shape[1] != self.n_pixels or not len(x):
            raise ValueError(f"{name}: x has shape {x.shape}; at least one row of {self.n_pixels} pixels is wanted "
                             "(x.reshape(len(x), -1) flattens images)")  # fmt: skip
        if not (0 <= float(x.min()) and float(x.max()) <= 1):
            raise ValueError(f"{name}: x has values from {float(x.min()):.4g} to {float(x.max()):.4g}; pixels in "
                             "[0, 1] are wanted")  # fmt: skip
        if not grey and not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(f"{name}: x has grey pixels, and zeros and ones are wanted (binarize.fixed makes them; "
                             "fit takes resample=True)")  # fmt: skip
        return x

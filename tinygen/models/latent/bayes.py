r"""Bayesian inference: what is hidden has a law before the data, and another one after (S1, S0; S4 before eq. 83).

Of something hidden, $z$, we know beforehand how probable its values are, $p(z)$, the *prior*. Data $x$ come, and we
know how probable they are for each value, $p(x|z)$, the *likelihood*. What is known afterwards is the *posterior*,

$$ p(z|x) = \frac{p(z, x)}{p(x)} = \frac{p(x|z)\, p(z)}{p(x)}, \qquad p(x) = \int p(x|z)\, p(z)\, dz, \tag{1} $$

and $p(x)$ is the *evidence*. It is not a best value but all values, each with its weight: "not only what animal is the
most likely" (S1). The numerator is easy. The integral is the trouble: it runs over every dimension of $z$.

**A coin** (S1). Let $z$ be the chance of heads, with the prior $\mathrm{Beta}(a, b)$, whose density is proportional to
$z^{a-1} (1 - z)^{b-1}$; $a = b = 1$ takes all coins for equally likely. Of $n$ flips $k$ are heads, with probability
$\binom nk z^k (1 - z)^{n-k}$. The product has the form of a beta law again, so nothing needs to be integrated anew:

$$ p(z|k) = \mathrm{Beta}(z;\, a + k,\, b + n - k), \qquad
   p(k) = \binom nk \frac{B(a + k,\, b + n - k)}{B(a, b)}, \tag{2} $$

$B$ being what a beta law is divided by. S1's 2 heads out of 10 make of the flat prior $\mathrm{Beta}(3, 9)$: most
likely is $z = 0.2$, but a fair coin is not ruled out. The next flip weighs all coins, each with its posterior:

$$ p(\text{heads}|k) = \int z\, p(z|k)\, dz = \frac{a + k}{a + b + n}, \tag{3} $$

Laplace's rule of succession. After two heads of two it says 3/4, where the most likely coin would promise heads for
ever.

**Parameters of a model** are hidden too (S0: "seek for $p(\theta|X, Y)$"). Let a coin's chance depend on a dose $x$ by
a logistic curve, $p(y = 1|x, \theta) = \sigma(\theta^\top x)$ with $x_0 = 1$ and $\sigma(u) = 1 / (1 + e^{-u})$, and
let the prior be $\theta \sim \mathcal N(0, s^2 I)$. The logarithm of the numerator of (1) is

$$ \log p(\theta, Y|X) = \sum_{i=1}^{n} \left( y_i\, \theta^\top x_i - \log(1 + e^{\theta^\top x_i}) \right)
   - \frac{\lVert \theta \rVert^2}{2 s^2} - \frac d2 \log 2\pi s^2. \tag{4} $$

No law with a name has this density. But where there are two parameters the integral can still be had by brute force:
on a lattice of $\theta_1, \dots, \theta_K$, each in a cell of area $c$,

$$ p(Y|X) \approx c \sum_k p(\theta_k, Y|X), \qquad w_k = \frac{p(\theta_k, Y|X)}{\sum_l p(\theta_l, Y|X)}, \qquad
   \mathbb E[\theta|X, Y] \approx \sum_k w_k\, \theta_k. \tag{5} $$

With 100 values along each axis, ten parameters would need $10^{20}$ places. S4 names two ways out: Markov chains, that
go where the posterior is (`mcmc.py`), and a law of our choice, brought as near to it as it can be (`variational.py`).
In two dimensions both can be held against (5). For the posterior all three need (4) only up to a constant; the
evidence, and its bound, need all of it.

What it is for: a prediction weighs all curves, as (3) does all coins, and is the less sure of itself the fewer data
speak about that place,

$$ p(y = 1|x, X, Y) = \int \sigma(\theta^\top x)\, p(\theta|X, Y)\, d\theta. \tag{6} $$

**A second example** for those who want to draw from it exactly (`mcmc.Gibbs`): numbers $x_i \sim \mathcal N(\mu,
1/\tau)$ of unknown mean and precision, with the priors $\mu \sim \mathcal N(0, s^2)$ and $\tau \sim \Gamma(a, b)$, of
density $b^a \tau^{a-1} e^{-b\tau} / \Gamma(a)$. So that both parameters run over all numbers it is taken in
$\omega = \log \tau$, whose density has a factor $d\tau/d\omega = e^\omega$ more:

$$ \begin{aligned} \log p(\mu, \omega, x) = {}&\sum_{i=1}^n \frac{\omega - \log 2\pi - e^\omega (x_i - \mu)^2}{2}
   - \frac{\mu^2}{2 s^2} - \frac12 \log 2\pi s^2 \\
   &+ a \log b - \log \Gamma(a) + a\, \omega - b\, e^\omega. \end{aligned} \tag{7} $$

Notation
--------
$z, k, n$ : `z`, `heads`, `flips`
$a, b$ : `a`, `b`
$\theta$ : `theta`, (m, d), m values at once; of (7) the columns are $\mu$ and $\omega$
$x_i, y_i$ : `x`, (n, d), its first column 1 where a constant is wanted; `y`, (n,), 0 or 1
$s$ : `prior_std`
$\log p(\theta, Y|X)$ : `log_joint`, (m,)
$w_k, c$ : `w`, (K,); `cell`
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

LOG_2PI = math.log(2 * math.pi)

# ---- the coin -------------------------------------------------------------------------------------------


def coin_posterior(heads: int, flips: int, a: float = 1.0, b: float = 1.0) -> tuple[float, float]:
    r"""(2): the parameters of the beta law $p(z|k)$, for `probability.Beta`."""
    if not (0 <= heads <= flips and a > 0 and b > 0):
        raise ValueError(f"coin_posterior: {heads} heads of {flips} flips and a prior Beta({a}, {b}); from 0 heads "
                         "to as many as flips, and positive a and b are wanted")  # fmt: skip
    return a + heads, b + flips - heads


def coin_evidence(heads: int, flips: int, a: float = 1.0, b: float = 1.0) -> float:
    r"""(2): $p(k)$; with a flat prior it is $1 / (n + 1)$, whatever k."""

    def log_beta(a, b):
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    # the number of orders is 1 / ((n + 1) B(k + 1, n - k + 1))
    after = log_beta(*coin_posterior(heads, flips, a, b)) - log_beta(a, b)
    return math.exp(after - log_beta(heads + 1, flips - heads + 1)) / (flips + 1)


def next_flip(heads: int, flips: int, a: float = 1.0, b: float = 1.0) -> float:
    """(3): the probability that the next flip is heads."""
    after = coin_posterior(heads, flips, a, b)
    return after[0] / sum(after)


# ---- posteriors over parameters -------------------------------------------------------------------------


class Target(Protocol):
    """What is to be inferred: a joint density of d parameters and data."""

    d: int

    def log_joint(self, theta, *data):
        r"""$\log p(\theta, \text{data})$ of m values at once: (m, d) to (m,)."""

    def checked(self, owner: str, like: Any, *data) -> tuple[Any, ...]:
        """The data as arrays of the dtype and on the device of `like`, or an error that starts with `owner`."""


class Logistic:
    r"""Logistic regression with the prior $\mathcal N(0, s^2 I)$.

    Parameters
    ----------
    n_features : $d$; a column of ones for the constant is one of them
    prior_std : $s$
    """

    def __init__(self, n_features: int, *, prior_std: float = 3.0):
        if n_features < 1 or not prior_std > 0:
            raise ValueError(f"Logistic: n_features is {n_features} and prior_std {prior_std}; at least 1 and a "
                             "positive number are wanted")  # fmt: skip
        self.d, self.prior_std = n_features, prior_std

    def log_joint(self, theta, x, y):
        r"""(4): (m, d), (n, d), (n,) to (m,)."""
        u = tg.matmul(theta, tg.transpose(x))  # (m, n)
        prior = tg.sum(tg.square(theta), 1) / self.prior_std**2 + self.d * (LOG_2PI + 2 * math.log(self.prior_std))
        return tg.sum(y * u - tg.softplus(u), 1) - prior / 2

    def checked(self, owner: str, like: Any, x, y) -> tuple[Any, Any]:
        """x (n, d) and y (n,), or what is wrong with them."""
        x, y = (backend.asarray(a, like.dtype, like.device) for a in (x, y))
        if x.ndim != 2 or x.shape[1] != self.d or y.shape != x.shape[:1] or not len(x):
            raise ValueError(f"{owner}: x has shape {x.shape} and y {y.shape}; at least one row of {self.d} features "
                             "and an answer for each row are wanted")  # fmt: skip
        require_finite(f"{owner}: x", x)
        if not bool(((y == 0) | (y == 1)).all()):
            raise ValueError(f"{owner}: y has answers besides 0 and 1; only these two are wanted")
        return x, y


class MeanAndPrecision:
    r"""Normal numbers of unknown mean $\mu$ and precision $\tau = e^\omega$, with the priors of (7).

    Parameters
    ----------
    prior_std : $s$ of the mean
    a, b : of the precision's law $\Gamma(a, b)$
    """

    d = 2

    def __init__(self, *, prior_std: float = 10.0, a: float = 1.0, b: float = 1.0):
        if not all(v > 0 for v in (prior_std, a, b)):
            raise ValueError(f"MeanAndPrecision: prior_std, a and b are {prior_std}, {a}, {b}; positive numbers wanted")
        self.prior_std, self.a, self.b = prior_std, a, b

    def log_joint(self, theta, x):
        """(7): (m, 2), (n,) to (m,)."""
        mu, omega = theta[:, :1], theta[:, 1]
        tau = tg.exp(omega)
        likelihood = len(x) * (omega - LOG_2PI) - tau * tg.sum(tg.square(x - mu), 1)
        of_mu = -tg.square(mu[:, 0] / self.prior_std) - LOG_2PI - 2 * math.log(self.prior_std)
        of_omega = self.a * math.log(self.b) - math.lgamma(self.a) + self.a * omega - self.b * tau
        return (likelihood + of_mu) / 2 + of_omega

    def checked(self, owner: str, like: Any, x) -> tuple[Any]:
        """x (n,), or what is wrong with it."""
        x = backend.asarray(x, like.dtype, like.device)
        if x.ndim != 1 or not len(x):
            raise ValueError(f"{owner}: x has shape {x.shape}; at least one number, as (n,), is wanted")
        require_finite(f"{owner}: x", x)
        return (x,)


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d) of a law."""

    mean: Any
    covariance: Any

    @property
    def std(self):
        return np.sqrt(np.diagonal(self.covariance))


def quadrature(log_joint, theta, cell: float) -> tuple[float, Moments]:
    r"""(5): $\log p(Y|X)$ and the posterior's moments, from values at a lattice's places; (K,), (K, d), on the host.

    The lattice must reach so far that nothing is left outside, and be finer than the posterior is wide.
    """
    log_evidence = np.logaddexp.reduce(log_joint) + math.log(cell)
    w = np.exp(log_joint + math.log(cell) - log_evidence)
    mean = w @ theta
    return float(log_evidence), Moments(mean, (theta - mean).T @ ((theta - mean) * w[:, None]))


def predictive(theta, x) -> np.ndarray:
    r"""(6): the mean of $\sigma(\theta^\top x)$ over draws of the posterior; (m, d), (n, d) to (n,), on the host."""
    return np.mean(tg.sigmoid(theta @ np.transpose(x)), 0)


def error(found: Moments, exact: Moments) -> tuple[float, float]:
    """How wrong the worst mean is, in standard deviations, and the worst standard deviation, as a part of it."""
    return float(abs((found.mean - exact.mean) / exact.std).max()), float(abs(found.std / exact.std - 1).max())


class Inference(Model):
    """Base of what looks for a posterior; one of its own writes `update` and `sample`.

    Attributes
    ----------
    target : what is inferred
    rng : the Generator of everything drawn
    """

    target: Target
    rng: Generator

    def update(self, *data) -> dict:
        """One step; numbers for the log."""
        raise NotImplementedError

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """Values drawn from what was found: (n, d)."""
        raise NotImplementedError

    def fit(self, *data: np.ndarray, steps: int, run: Run | None = None) -> Self:
        """Take so many steps towards (or in) the posterior given data; goes on where `run` stopped, if resumed.

        The data are what the target's `log_joint` takes: x (n, d) and y (n,) for `Logistic`, x (n,) for
        `MeanAndPrecision`.
        """
        data, run = self.target.checked(type(self).__name__, self._like, *data), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(*data))
        return self

    @property
    def _like(self):
        """What tells dtype and device: a parameter, or a buffer."""
        return next(itertools.chain(self.parameters(), self.buffers()))

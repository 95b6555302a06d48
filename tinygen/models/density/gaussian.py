r"""Parametric density estimation by maximum likelihood: the Gaussian, and a line with Gaussian noise (S4 eqs. 1–13).

Suppose that the examples $X_1, \dots, X_n$ were drawn independently from one of the densities $f_\theta$ of a family.
Which? Those parameters $\theta$ are to be preferred that make what was seen most likely, that is, that make
$\mathcal L = \prod_i f_\theta(X_i)$ largest, or $\ell = -\log \mathcal L$ least, which is a sum.

**On the line** (S4 ex. 1). The normal density with $\theta = (\mu, \sigma^2)$, and its $\ell$, are (S4 eqs. 1–2)

$$ f_\theta(x) = \frac{1}{\sqrt{2\pi\sigma^2}} \exp\left( -\frac{(x - \mu)^2}{2\sigma^2} \right), \tag{1} $$
$$ \ell(\theta) = \sum_{i=1}^n \left( \frac12 \log(2\pi\sigma^2) + \frac{(x_i - \mu)^2}{2\sigma^2} \right). \tag{2} $$

At the least value the slopes vanish (S4 eqs. 3 and 5; in 3 the minus is missing),

$$ \frac{\partial \ell}{\partial \mu} = -\sum_{i=1}^n \frac{x_i - \mu}{\sigma^2}, \qquad
   \frac{\partial \ell}{\partial \sigma} = \sum_{i=1}^n \left( \frac1\sigma - \frac{(x_i - \mu)^2}{\sigma^3} \right),
   \tag{3} $$

so the estimates are the mean and the mean square about it (S4 eqs. 4, 6 and 7),

$$ \hat\mu = \frac1n \sum_{i=1}^n x_i, \qquad \hat\sigma^2 = \frac1n \sum_{i=1}^n (x_i - \hat\mu)^2. \tag{4} $$

Vanishing slopes alone prove no minimum. Here is a proof that also covers all dimensions.

**In $d$ dimensions** $\theta = (\mu, \Sigma)$. The examples enter $\ell$ only by their mean $\bar x$ and covariance
$\hat\Sigma = \frac1n \sum_i (x_i - \bar x)(x_i - \bar x)^\top$:

$$ \frac{\ell(\theta)}{n} = \frac12 \left( \log \det 2\pi\Sigma
   + \operatorname{tr} \Sigma^{-1} \left[ \hat\Sigma + (\bar x - \mu)(\bar x - \mu)^\top \right] \right). \tag{5} $$

Any law with this mean and covariance has the same right-hand side for its cross-entropy with $f_\theta$, the law
$\mathcal N(\bar x, \hat\Sigma)$ among them. Cross-entropy is entropy plus divergence, so

$$ \frac{\ell(\theta)}{n} = H(\mathcal N(\bar x, \hat\Sigma))
   + \mathrm{KL}(\mathcal N(\bar x, \hat\Sigma) \,\|\, \mathcal N(\mu, \Sigma)), \qquad
   H = \frac12 \log \det 2\pi e \hat\Sigma. \tag{6} $$

A divergence is never negative, and 0 only where both laws are one: $\hat\mu = \bar x$ and $\hat\Sigma$ are the
estimates, and the only ones. If $\hat\Sigma$ is singular, $\ell$ falls to $-\infty$ and there are none.

**What is likelihood after all?** (S4 eqs. 8–13.) It says how far $f_\theta$ is from the law $f_{\theta^*}$ that made
the examples. S4 shows it by $\mathrm{KL}(\hat f_n \| f_\theta)$ with $\hat f_n$ the empirical distribution; but $\hat
f_n$ is a sum of spikes, and this divergence is infinite whatever $\theta$ is (its eqs. 10–12 take the logarithm of a
spike's height). What survives is the cross-entropy, which is the only part that depends on $\theta$:
$-\int \log f_\theta\, d\hat f_n = \ell(\theta)/n$. As $n$ grows this tends to $H(f_{\theta^*}) +
\mathrm{KL}(f_{\theta^*} \| f_\theta)$.

**A little too narrow.** On average $\hat\sigma^2$ falls short, since $\hat\mu$ was fitted to the same examples:

$$ \mathbb E\, \hat\Sigma = \frac{n-1}{n} \Sigma, \tag{7} $$

which is why others divide by $n - 1$ (`unbiased=True`). The likelihood does not mind.

**A line with noise** (S4 ex. 2). $y = X\beta + \varepsilon$ with a fixed matrix $X$, (n, d), and independent
$\varepsilon_i \sim \mathcal N(0, \sigma^2)$:

$$ \ell(\beta, \sigma^2) = \frac n2 \log(2\pi\sigma^2) + \frac{\lVert y - X\beta \rVert^2}{2\sigma^2}, \qquad
   \hat\beta = (X^\top X)^{-1} X^\top y, \quad \hat\sigma^2 = \frac1n \lVert y - X\hat\beta \rVert^2. \tag{8} $$

Whatever $\sigma^2$ is, the best $\beta$ has the least squares (the chapter on linear regression tells more); then (4)
gives $\sigma^2$. S4 calls this a *discriminative* model: of $y$ given $x$. The *generative* way estimates the joint
law of $(x, y)$ as one Gaussian, and asks it about $y$ given $x$:

$$ y \,|\, x \sim \mathcal N\left( \mu_y + B (x - \mu_x),\; \Sigma_{yy} - B \Sigma_{xy} \right), \qquad
   B = \Sigma_{yx} \Sigma_{xx}^{-1}. \tag{9} $$

With estimates in the place of $\mu, \Sigma$, both ways give the same line, if $X$ has a column of ones, and the same
noise: least squares is conditioning. The joint law can draw new $(x, y)$ besides.

Notation
--------
$x_i$ : `x`, (n, d); in (1)–(4), (n,)
$\mu, \Sigma$ : `mean`, (d,); `covariance`, (d, d), or its diagonal (d,)
$\sigma, \sigma^2$ : `sigma`, `variance`
$\bar x, \hat\Sigma$ : of `Moments`; `scatter` is $n \hat\Sigma$
$X, y, \beta$ : `X`, (n, d); `y`, (n,); `beta`, (d,)
$B$ : `slopes`, (outputs, inputs)
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.model import Model
from tinygen.probability import MultivariateNormal
from tinygen.probability.moments import Moments, degenerate, merged, moments
from tinygen.runs import Run

AT_ONCE = 2**14  # examples whose density is asked for at a time

# ---- on the line ----------------------------------------------------------------------------------------


def density(x, mu: float, variance: float):
    r"""(1): $f_\theta(x)$; elementwise."""
    return tg.exp(-tg.square(x - mu) / (2 * variance)) / tg.sqrt(2 * math.pi * variance)


def negative_log_likelihood(x, mu, variance):
    r"""(2): $\ell(\theta)$, in nats; (n,) to ()."""
    return tg.sum(tg.log(2 * math.pi * variance) / 2 + tg.square(x - mu) / (2 * variance))


def slopes(x, mu, sigma) -> tuple[Any, Any]:
    r"""(3): $\partial \ell / \partial \mu$ and $\partial \ell / \partial \sigma$; (n,) to twice ()."""
    return -tg.sum(x - mu) / sigma**2, tg.sum(1 / sigma - tg.square(x - mu) / sigma**3)


def maximum_likelihood(x) -> tuple[Any, Any]:
    r"""(4): $\hat\mu$ and $\hat\sigma^2$; (n,) to twice ()."""
    mu = tg.mean(x)
    return mu, tg.mean(tg.square(x - mu))


# ---- in d dimensions ------------------------------------------------------------------------------------


def cross_entropy(known: Moments, mean, covariance):
    r"""(5): $\ell(\theta)/n$ from the moments of the examples, in nats."""
    d, xp = len(known.mean), backend.array_module(known.mean)
    gap = known.mean - mean
    spread = known.scatter / known.count + gap[:, None] * gap
    _, log_det = tg.linalg.slogdet(2 * math.pi * covariance)
    return (log_det + xp.trace(tg.linalg.solve(covariance, spread).reshape(d, d))) / 2


def entropy(covariance):
    r"""(6), right: $H = \frac12 \log \det 2\pi e \Sigma$, in nats; (d, d) to ()."""
    return tg.linalg.slogdet(2 * math.pi * math.e * covariance)[1] / 2


def divergence(mean_a, covariance_a, mean_b, covariance_b):
    r"""(6), middle: $\mathrm{KL}(\mathcal N(\mu_a, \Sigma_a) \,\|\, \mathcal N(\mu_b, \Sigma_b))$, in nats."""
    a = Moments(1.0, mean_a, covariance_a)
    return cross_entropy(a, mean_b, covariance_b) - entropy(covariance_a)


def expected_estimate(covariance, n: int):
    r"""(7): $\mathbb E\, \hat\Sigma$."""
    return (n - 1) / n * covariance


# ---- a line with noise ----------------------------------------------------------------------------------


def linear_negative_log_likelihood(X, y, beta, variance):
    r"""(8), left: $\ell(\beta, \sigma^2)$, in nats; (n, d), (n,), (d,), a number to ()."""
    return negative_log_likelihood(y - tg.matmul(X, beta), 0.0, variance)


def linear_maximum_likelihood(X, y) -> tuple[Any, Any]:
    r"""(8), right: $\hat\beta$ and $\hat\sigma^2$; (n, d), (n,) to (d,), ()."""
    beta = tg.linalg.solve(tg.matmul(tg.transpose(X), X), tg.matmul(tg.transpose(X), y))
    return beta, tg.mean(tg.square(y - tg.matmul(X, beta)))


def conditional(mean, covariance, d: int) -> tuple[Any, Any, Any]:
    r"""(9): of the features from the d-th on, given the first d; (d + q,), (d + q, d + q) to the value at $x = 0$,
    (q,), the slopes $B$, (q, d), and the covariance of the noise, (q, q)."""
    B = tg.transpose(tg.linalg.solve(covariance[:d, :d], covariance[:d, d:]))
    return mean[d:] - tg.matmul(B, mean[:d]), B, covariance[d:, d:] - tg.matmul(B, covariance[:d, d:])


# ---- the model ------------------------------------------------------------------------------------------


class Gaussian(Model):
    r"""A normal law with any mean and covariance.

    Parameters
    ----------
    n_features : $d$
    diagonal : whether the features are taken to be independent
    unbiased : divide by $n - 1$ in place of $n$
    reg_covar : added to all variances, for data that would make the covariance singular
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Attributes
    ----------
    count, mean, scatter : the moments of all examples, float64

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [2.0, 0.0], [4.0, 5.0]])
    >>> model = Gaussian(2).fit(x, run=Run(quiet=True))
    >>> model.mean.tolist(), model.covariance().round(3).tolist()
    ([2.0, 2.0], [[2.667, 2.667], [2.667, 4.667]])
    >>> model.sample(4, rng=Generator(0)).shape
    (4, 2)
    """

    count: tg.Tensor
    mean: tg.Tensor
    scatter: tg.Tensor

    def __init__(self, n_features: int, *, diagonal: bool = False, unbiased: bool = False, reg_covar: float = 0.0,
                 rng: Generator | None = None):  # fmt: skip
        if n_features < 1 or not reg_covar >= 0:
            raise ValueError(f"Gaussian: n_features is {n_features} and reg_covar {reg_covar}; at least one feature "
                             "and a variance of 0 or more are wanted")  # fmt: skip
        self.n_features, self.diagonal, self.unbiased, self.reg_covar = n_features, diagonal, unbiased, reg_covar
        self.rng = Generator() if rng is None else rng
        d = n_features
        for name, shape in (("count", ()), ("mean", (d,)), ("scatter", (d,) if diagonal else (d, d))):
            self.register_buffer(name, tg.zeros(shape, dtype="float64", device=self.rng.device))

    def fit(self, x, *, steps: int = 1, run: Run | None = None) -> Self:
        """Take the mean and the covariance of x, (n, d); what was fitted before is forgotten.

        steps : in how many parts the rows are taken in, a part a step; the result is the same
        """
        x, run = self.checked(x), run or Run()
        if len(x) < 2:
            raise ValueError(f"Gaussian: x has {len(x)} row; at least two are wanted, for there to be a variance")
        self._take(Moments(*(0 * t.data for t in (self.count, self.mean, self.scatter))))
        for step in run.steps(self, steps):
            run.log(**self.update(x[len(x) * (step - 1) // steps : len(x) * step // steps]))
        self.law()  # says what is wrong, if there is none
        return self

    def update(self, x) -> dict:
        """Take in some more rows, at least one; how many there are now."""
        if len(x):
            known = Moments(self.count.data, self.mean.data, self.scatter.data)
            self._take(merged(known, moments(x, full=not self.diagonal)))
        return {"examples": self.count}

    def _take(self, known: Moments) -> None:
        for tensor, value in zip((self.count, self.mean, self.scatter), known, strict=True):
            tensor.assign(value)

    # ---- what it can do ----

    def law(self) -> MultivariateNormal:
        """The law itself, a `tinygen.probability.MultivariateNormal`."""
        covariance = self._covariance()
        why = degenerate(covariance, self.mean)
        if why:
            raise ValueError(f"Gaussian: the covariance of {int(self.count)} examples is singular: {why}. Columns that "
                             "say more, more examples, diagonal=True or reg_covar= (a small part of the variances "
                             "will do) are wanted")  # fmt: skip
        return MultivariateNormal(self.mean, covariance=covariance)

    def score_samples(self, x) -> np.ndarray:
        r"""$\log f_\theta(x)$ of each example, in nats; (n, d) to (n,)."""
        law = self.law()
        return np.concatenate([law.log_prob(part).numpy() for part in in_order(self.checked(x), AT_ONCE)])

    def score(self, x) -> float:
        """The log-likelihood in nats an example."""
        return float(self.score_samples(x).mean())

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New examples, (n, d)."""
        return self.law().sample(n, rng=Generator(device=self.mean.device) if rng is None else rng).numpy()

    def covariance(self) -> np.ndarray:
        r"""$\hat\Sigma$, (d, d)."""
        return backend.to_numpy(self._covariance())

    def regression(self, n_inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(9): intercept (q,), slopes (q, n_inputs) and noise covariance (q, q) of the other q features."""
        if not 0 < n_inputs < self.n_features:
            raise ValueError(f"Gaussian.regression: n_inputs is {n_inputs}; 1 to {self.n_features - 1} are wanted, so "
                             "that a feature is left to foretell")  # fmt: skip
        self.law()
        a, b, c = conditional(self.mean.data, self._covariance(), n_inputs)
        return backend.to_numpy(a), backend.to_numpy(b), backend.to_numpy(c)

    def _covariance(self):
        """The covariance in use, (d, d), where the model is."""
        n, xp = float(self.count) - self.unbiased, backend.array_module(self.mean.data)
        if n <= 0:
            raise RuntimeError("Gaussian: no examples yet; call fit first")
        scatter = self.scatter.data / n + (self.reg_covar if self.diagonal else 0.0)
        if self.diagonal:
            return xp.diag(scatter)
        return scatter + self.reg_covar * xp.eye(self.n_features, dtype=scatter.dtype)

    def checked(self, x):
        """x as (n, d) float64 on the model's device, all of it finite, or an error that says what is wrong."""
        x = backend.asarray(x, "float64", self.mean.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"Gaussian: x has shape {x.shape}; at least one row of {self.n_features} features is "
                             "wanted (x.reshape(-1, 1) for numbers)")  # fmt: skip
        largest = float(abs(x).max())
        if not largest < math.sqrt(np.finfo("float64").max) / 1e3:
            raise ValueError(f"Gaussian: x has values up to {largest:g}; numbers whose squares are finite are wanted "
                             "(leave out rows with nan, or rescale)")  # fmt: skip
        return x

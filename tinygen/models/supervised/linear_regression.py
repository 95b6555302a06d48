r"""Linear regression by least squares (S2 ex. 2.1.1 and 2.2.1; S4 ex. 2), and what Gauss and Markov say for it.

A quantity $y$ is to be predicted from features $x$ by a weighted sum, with a constant for company:

$$ f_\theta(x) = \theta_0 + \sum_{j=1}^{d} \theta_j x_j. \tag{1} $$

Put the examples below each other: $\mathbf X$ has a row $(1, x_{i1}, \dots, x_{id})$ for each of them, and
$\mathbf y$ the answers. The squares of the errors are to be small together (S2 eqs. 2.11–2.12),

$$ \mathrm{RSS}(\theta) = \sum_{i=1}^{n} (y_i - f_\theta(x_i))^2
   = (\mathbf y - \mathbf X \theta)^\top (\mathbf y - \mathbf X \theta), \tag{2} $$

a bowl in $\theta$, with the slope (S2 eq. 2.13) and the curvature (S2 eq. 2.14, which prints a minus too many)

$$ \nabla \mathrm{RSS}(\theta) = -2\, \mathbf X^\top (\mathbf y - \mathbf X \theta), \tag{3} $$
$$ \nabla^2 \mathrm{RSS} = +2\, \mathbf X^\top \mathbf X. \tag{4} $$

If no column of $\mathbf X$ is a combination of the others, the curvature is positive in every direction, and the bottom
is where the slope is zero, which is to say, where the errors are orthogonal to every column (S2 eq. 2.15):

$$ \mathbf X^\top \mathbf X\, \hat\theta = \mathbf X^\top \mathbf y
   \qquad\text{or}\qquad \hat\theta = (\mathbf X^\top \mathbf X)^{-1} \mathbf X^\top \mathbf y. \tag{5} $$

These *normal equations* are solved, not inverted. Even so they square the condition number of $\mathbf X$: half of the
digits that a library's least squares would keep can be lost where columns are nearly dependent.

**Why squares?** Suppose $y_i = f_\theta(x_i) + \varepsilon_i$ with independent $\varepsilon_i \sim \mathcal N(0,
\sigma^2)$. The log-likelihood of all the answers is then (S4 ex. 2, with $\beta$ for our $\theta$)

$$ \ell(\theta, \sigma^2) = -\frac n2 \ln (2 \pi \sigma^2) - \frac{\mathrm{RSS}(\theta)}{2 \sigma^2}, \tag{6} $$

and whatever $\sigma^2$ is, the best $\theta$ is the $\hat\theta$ of (5). Then the best $\sigma^2$ is the mean square
left over (its expectation is $\sigma^2 (n - d - 1) / n$, since $\hat\theta$ has fitted some of the noise as well),

$$ \hat\sigma^2 = \mathrm{RSS}(\hat\theta) / n. \tag{7} $$

**A little at a time.** With $n$ or $d$ too large for (5), go down the slope of a few examples $S$ (S2 eq. 2.32),

$$ \theta_{t+1} = \theta_t + \varepsilon_t\, \frac{2}{|S|} \sum_{i \in S} (y_i - f_{\theta_t}(x_i))\,
   (1, x_{i1}, \dots, x_{id})^\top. \tag{8} $$

**Gauss and Markov** need no normal distribution, only noise of mean 0 that is uncorrelated and of one variance
$\sigma^2$ (S2, remark after eq. 2.15). Consider all estimators that are linear in the answers,
$\tilde\theta = A \mathbf y$. Such a one is unbiased for every $\theta$ exactly if $A \mathbf X = I$. A large family
gives example $i$ the weight $w_i \ge 0$: some are left out, or trusted less. With $\mathbf W = \mathrm{diag}(w)$,

$$ A_w = (\mathbf X^\top \mathbf W \mathbf X)^{-1} \mathbf X^\top \mathbf W, \tag{9} $$

and equal weights give (5). If the noise of example $i$ has variance $\sigma_i^2$, any of them has the covariance

$$ \mathrm{Cov}(A \mathbf y) = A\, \mathrm{diag}(\sigma_1^2, \dots, \sigma_n^2)\, A^\top. \tag{10} $$

Now let all $\sigma_i = \sigma$ and write $A = (\mathbf X^\top \mathbf X)^{-1} \mathbf X^\top + D$. Unbiasedness says $D
\mathbf X = 0$, so that in $A A^\top$ the mixed terms vanish:

$$ \mathrm{Cov}(A \mathbf y) = \sigma^2 (\mathbf X^\top \mathbf X)^{-1} + \sigma^2 D D^\top. \tag{11} $$

The second term is never negative: **no linear unbiased estimator varies less than least squares**, in any coordinate or
combination of them. Each condition matters. With unequal $\sigma_i$ the best weights are $w_i = 1/\sigma_i^2$; and a
biased or a non-linear estimator may well come closer to $\theta$.

Notation
--------
$x, \mathbf X$ : `x`, (n, d); `X`, (n, d + 1), made by `design`
$\mathbf y$ : `y`, (n,)
$\theta$ : `theta`, (d + 1,), the constant first
$\sigma$ : `sigma`, one number or (n,), standard deviations
$A, A_w$ : `A`, (d + 1, n), from `weighting(X, w)`
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch
from tinygen.models.model import Model, require_finite
from tinygen.probability.moments import degenerate
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def linear(theta, x):
    r"""(1): $\theta_0 + \sum_j \theta_j x_j$; (d + 1,), (n, d) to (n,)."""
    return tg.matmul(x, theta[1:]) + theta[0]


def design(x):
    r"""$\mathbf X$: the features after a column of ones, for a raw array; (n, d) to (n, d + 1)."""
    xp = backend.array_module(x)
    return xp.concatenate([xp.ones_like(x[:, :1]), x], axis=1)


def residual_sum_of_squares(theta, X, y):
    r"""(2): $(\mathbf y - \mathbf X \theta)^\top (\mathbf y - \mathbf X \theta)$; (d + 1,), (n, d + 1), (n,) to ()."""
    return tg.sum(tg.square(y - tg.matmul(X, theta)))


def gradient(theta, X, y):
    r"""(3): $-2\, \mathbf X^\top (\mathbf y - \mathbf X \theta)$; (d + 1,), (n, d + 1), (n,) to (d + 1,)."""
    return -2 * tg.matmul(tg.transpose(X), y - tg.matmul(X, theta))


def hessian(X):
    r"""(4): $2\, \mathbf X^\top \mathbf X$; (n, d + 1) to (d + 1, d + 1)."""
    return 2 * tg.matmul(tg.transpose(X), X)


def least_squares(X, y):
    r"""(5): $\hat\theta$, by the normal equations; (n, d + 1), (n,) to (d + 1,)."""
    return tg.linalg.solve(tg.matmul(tg.transpose(X), X), tg.matmul(tg.transpose(X), y))


def log_likelihood(theta, variance, X, y):
    r"""(6): $-\frac n2 \ln(2 \pi \sigma^2) - \mathrm{RSS}(\theta) / (2 \sigma^2)$, in nats; `variance` a number."""
    return -len(y) / 2 * math.log(2 * math.pi * variance) - residual_sum_of_squares(theta, X, y) / (2 * variance)


def noise_variance(theta, X, y) -> float:
    r"""(7): $\mathrm{RSS}(\theta) / n$."""
    return float(residual_sum_of_squares(theta, X, y)) / len(y)


def weighting(X, w):
    r"""(9): $(\mathbf X^\top \mathbf W \mathbf X)^{-1} \mathbf X^\top \mathbf W$; (n, d + 1), (n,) to (d + 1, n)."""
    XW = tg.transpose(X) * w  # (d + 1, n)
    return tg.linalg.solve(tg.matmul(XW, X), XW)


def covariance(A, sigma):
    r"""(10): $A\, \mathrm{diag}(\sigma^2) A^\top$; (d + 1, n), a number or (n,) to (d + 1, d + 1)."""
    return tg.matmul(A * sigma**2, tg.transpose(A))


def excess(A, X):
    r"""(11): $D D^\top$, covariance beyond least squares' at $\sigma = 1$; (d + 1, n), (n, d + 1) to (d + 1, d + 1)."""
    D = A - weighting(X, 1.0)
    return tg.matmul(D, tg.transpose(D))


def simulated(A, X, theta, sigma, draws: int, rng: Generator):
    r"""Estimates $A \mathbf y$ from answers drawn anew each time, with normal noise; to (draws, d + 1), on the host."""
    y = X @ theta + rng.normal((draws, len(X)), dtype="float64") * sigma  # (draws, n)
    return y @ A.T


# ---- the model ------------------------------------------------------------------------------------------


class LinearRegression(Model):
    r"""Least squares: at once by the normal equations (`fit_exactly`), or by stochastic gradient descent (`fit`).

    Parameters
    ----------
    n_features : $d$
    lr : the rate $\varepsilon_0$; it must stay below $1 / \lambda$ with $\lambda$ the largest eigenvalue of
        $\mathbf X^\top \mathbf X / n$, or the descent diverges
    schedule : the factor $\varepsilon_t / \varepsilon_0$ as a function of t
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> LinearRegression(1).fit_exactly(x, y).predict(np.array([[10.0]])).round(4)
    array([21.], dtype=float32)
    """

    def __init__(self, n_features: int, *, lr: float = 0.01, schedule: Any = None, rng: Generator | None = None):
        if n_features < 1:
            raise ValueError(f"LinearRegression: n_features must be at least 1, got {n_features}")
        self.n_features = n_features
        self.rng = Generator() if rng is None else rng
        self.theta = tg.tensor(self.rng.normal(n_features + 1) * 0, requires_grad=True)
        self.optimizer = optim.SGD(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, x):
        """(1): (b, d) to (b,)."""
        return linear(self.theta, x)

    def update(self, x, y) -> dict:
        """(8): one step on a minibatch; its mean squared error, in the units of y, squared."""
        loss = tg.mean(tg.square(y - self(x)))
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int = 10, run: Run | None = None) -> Self:
        """Learn from features (n, d) and answers (n,) by (8); goes on where `run` stopped, if it is a resumed one."""
        run, data = run or Run(), self.checked(x, y)
        for _ in run.steps(self, steps):
            run.log(**self.update(*batch(data, self.rng, batch_size)))
        return self

    def fit_exactly(self, x: np.ndarray, y: np.ndarray) -> Self:
        """Learn from all examples at once by (5), in float64."""
        x, y = self.checked(x, y, dtype="float64")
        middle = x.mean(0)
        away = x - middle  # the same line, from a nearer origin: far away, the products would cost digits
        why = degenerate(away.T @ away / len(x), abs(x).max(0))
        if why:
            raise ValueError(f"LinearRegression: the normal equations have no single solution: {why}; columns that say "
                             "more, or more examples, are wanted (or fit)")  # fmt: skip
        theta = least_squares(design(away), y)
        self.theta.assign(backend.array_module(x).concatenate([theta[:1] - middle @ theta[1:], theta[1:]]))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(1): (n, d) to (n,)."""
        with tg.no_grad():
            return self(self.checked(x)).numpy()

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        """The share of the answers' variance that is predicted, $R^2$: 1 at best, 0 for the mean of y."""
        y = backend.to_numpy(self.checked(x, y, dtype="float64")[1])
        return 1 - float(np.sum((y - self.predict(x)) ** 2) / np.sum((y - y.mean()) ** 2))

    def checked(self, x, y=None, *, dtype=None):
        """x, and y if given, as arrays where theta is, of its dtype or another, or an error that says what is wrong."""
        dtype, device = dtype or self.theta.dtype, self.theta.device
        x = backend.asarray(x, dtype, device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            wanted = f"at least one row of {self.n_features} is wanted"
            raise ValueError(f"LinearRegression: x has shape {x.shape}; {wanted}")
        require_finite("LinearRegression: x", x)
        if y is None:
            return tg.tensor(x)
        y = backend.asarray(y, dtype, device)
        if y.shape != x.shape[:1]:
            raise ValueError(f"LinearRegression: y has shape {y.shape}; one number for each of the {len(x)} rows is "
                             "wanted")  # fmt: skip
        require_finite("LinearRegression: y", y)
        return x, y

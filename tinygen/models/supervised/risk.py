r"""Risk, and what is done instead of minimising it (S2 §2.2): empirical risk minimisation, over-fitting, minibatches.

Examples $Z = (X, Y)$ come from a law $P$, and a predictor $f$ is to answer $Y$ when shown $X$. Its *risk* is its mean
loss on examples to come (S2 eqs. 2.2 and 2.4, for the squared error); its *empirical risk* is the mean loss on the $n$
examples there are (S2 eq. 2.8):

$$ R(f) = \mathbb E\, (Y - f(X))^2, \tag{1} $$
$$ R_n(f) = \frac1n \sum_{i=1}^{n} (y_i - f(x_i))^2. \tag{2} $$

**The best predictor** of all is $f^*(x) = \mathbb E[Y|X = x]$ (S2 eq. 2.5). For any other let $W = f^*(X) - f(X)$.
Since $W$ is known once $X$ is, what is left of $Y$ is orthogonal to it, $\mathbb E[W (Y - f^*(X))] = 0$ (S2 eq. 2.6),
and the square in (1) falls apart (S2 eq. 2.7):

$$ R(f) = R(f^*) + \mathbb E[W^2], \qquad R(f^*) = \mathbb E\, \mathrm{Var}(Y|X). \tag{3} $$

So $f^*$ has the least risk, which is the noise that nobody can foretell, and each $f$ pays for its distance from it.

**A world where all of this can be computed.** Let $X$ be uniform on $[-1, 1]$ and $Y = f^*(X) + \sigma \varepsilon$
with $\varepsilon \sim \mathcal N(0, 1)$. The hypothesis class $\mathcal F$ is the polynomials of degree $p$, in the
basis of Legendre's polynomials $P_k$, which are orthonormal under this law when scaled:

$$ \phi_k(x) = \sqrt{2k + 1}\, P_k(x), \qquad \mathbb E\, \phi_j(X) \phi_k(X) = 1\{j = k\}. \tag{4} $$

**Empirical risk minimisation** takes what is best on the examples (S2 eq. 2.9), here by least squares: with $\Phi_{ik}
= \phi_k(x_i)$ and its pseudoinverse $A$,

$$ \hat f_n = \sum_{k=0}^{p} \hat\theta_k \phi_k, \qquad
   \hat\theta = \operatorname{argmin}_\theta \frac1n \|\mathbf y - \Phi \theta\|^2 = A \mathbf y. \tag{5} $$

How it does on average over the noise, for given $x_i$, is known in closed form. With $\mathbf f = (f^*(x_1), \dots,
f^*(x_n))$, the empirical risk is what the class cannot express plus the noise that $p + 1$ coefficients have left over,

$$ \mathbb E\, R_n(\hat f_n) = \frac1n \|\mathbf f - \Phi A \mathbf f\|^2 + \sigma^2 \left(1 - \frac{p + 1}{n}\right),
   \tag{6} $$

and the risk is the noise, plus a bias, plus a variance:

$$ \mathbb E\, R(\hat f_n) = \sigma^2 + \mathbb E_X\Big(f^*(X) - \sum_k (A \mathbf f)_k\, \phi_k(X)\Big)^2
   + \sigma^2\, \mathrm{tr}(A A^\top). \tag{7} $$

A larger class lowers (6) all the way. In (7) the variance grows as long as $p < n$, and the bias falls at first (near
$p = n$ it may rise again, as a polynomial bound to the $x_i$ swings between them): past some degree the polynomial
learns the noise, which is **over-fitting**, and (6) does not warn of it. With more examples $A A^\top \approx I / n$,
so that the variance is about $\sigma^2 (p + 1) / n$. It goes away, and the bias goes to that of the best in the class,
$\sum_{k > p} \mathbb E[f^* \phi_k]^2$. In this sense $R(\hat f_n)$ tends to the least risk within $\mathcal F$ (S2 eq.
2.10), which is $R(f^*)$ only if $f^* \in \mathcal F$.

**Minibatch against full batch.** Going down the gradient of (2) costs $n$ examples a step. A few, $S$ of them drawn at
random, give a gradient with the right mean (S2 eqs. 2.31–2.32):

$$ \theta_{t+1} = \theta_t - \varepsilon_t\, \hat g_S(\theta_t), \qquad
   \hat g_S(\theta) = \frac{1}{|S|} \sum_{i \in S} g_i(\theta), \qquad
   g_i(\theta) = -2\, (y_i - \Phi_i \theta)\, \Phi_i^\top. \tag{8} $$

Its error shrinks as slowly as the root of $|S|$, if the draws are independent:

$$ \mathbb E\, \|\hat g_S - \nabla R_n\|^2
   = \frac{1}{|S|} \left( \frac1n \sum_{i=1}^{n} \|g_i\|^2 - \|\nabla R_n\|^2 \right). \tag{9} $$

(S2 draws a *set* of examples, no one twice; the right side then has the further factor $(n - |S|) / (n - 1)$.) Ten
times the examples leave a third of the noise; ten times the steps buy ten times the way. Far from the minimum small
batches are therefore the better bargain; near it their noise stays, unless $\varepsilon_t$ falls.

Notation
--------
$x, y, n$ : `x`, `y`, (n,), n examples, x in [-1, 1]
$f^*, \sigma$ : `world.mean`, a function of x, and `world.sigma`
$\Phi, p$ : `Phi`, (n, p + 1), made by `legendre(x, degree)`; `degree`
$\theta$ : `theta`, (p + 1,)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

Function = Callable[[Any], Any]

# ---- the world and its risks, on the host -----------------------------------------------------------------


class World(NamedTuple):
    r"""The law $P$ of examples: $f^*$, and $\sigma$."""

    mean: Function
    sigma: float

    def draw(self, n: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
        """n examples: x and y, (n,), float64."""
        x = rng.uniform(n, -1.0, 1.0, dtype="float64")
        return x, self.mean(x) + self.sigma * rng.normal(n, dtype="float64")


def simulated_risk(f: Function, world: World, rng: Generator, *, n: int = 100_000) -> float:
    r"""(1): $\mathbb E (Y - f(X))^2$, as the mean over n examples drawn for the purpose."""
    return empirical_risk(f, *world.draw(n, rng))


def empirical_risk(f: Function, x, y) -> float:
    r"""(2): $\frac1n \sum_i (y_i - f(x_i))^2$; a function, (n,), (n,) to a number."""
    return float(np.mean((y - f(x)) ** 2))


def mean_square(w: Function, *, nodes: int = 100) -> float:
    r"""$\mathbb E\, w(X)^2$ for uniform $X$, by Gauss and Legendre's quadrature: exact for polynomials."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return float(np.sum(weights * w(x) ** 2) / 2)


def risk(f: Function, world: World) -> float:
    r"""(3): $R(f) = \sigma^2 + \mathbb E[W^2]$, without a draw."""
    return world.sigma**2 + mean_square(lambda x: world.mean(x) - f(x))


def legendre(x, degree: int):
    r"""(4): $\phi_0(x), \dots, \phi_p(x)$, for a raw array; (n,) to (n, p + 1)."""
    P = [x * 0 + 1, x]
    for k in range(1, degree):
        P.append(((2 * k + 1) * x * P[k] - k * P[k - 1]) / (k + 1))  # Bonnet's recursion
    return backend.array_module(x).stack([(2 * k + 1) ** 0.5 * P[k] for k in range(degree + 1)], axis=1)


def minimiser(x, y, degree: int) -> np.ndarray:
    r"""(5): $\hat\theta = A \mathbf y$; (n,), and (n,) or (n, draws), to (p + 1,) or (p + 1, draws)."""
    return np.linalg.pinv(legendre(x, degree)) @ y


def expected_empirical_risk(x, degree: int, world: World) -> float:
    r"""(6): $\mathbb E\, R_n(\hat f_n)$ over the noise, for given x, (n,)."""
    f, Phi = world.mean(x), legendre(x, degree)
    bias = float(np.mean((f - Phi @ minimiser(x, f, degree)) ** 2))
    return bias + world.sigma**2 * (1 - np.linalg.matrix_rank(Phi) / len(x))


def expected_risk(x, degree: int, world: World) -> float:
    r"""(7): $\mathbb E\, R(\hat f_n)$ over the noise, for given x, (n,)."""
    theta = minimiser(x, world.mean(x), degree)
    variance = world.sigma**2 * float(np.sum(np.linalg.pinv(legendre(x, degree)) ** 2))
    return risk(lambda t: legendre(t, degree) @ theta, world) + variance


# ---- minibatches ----------------------------------------------------------------------------------------


def gradients(theta, Phi, y):
    r"""$g_i(\theta)$ of (8), of every example; (p + 1,), (n, p + 1), (n,) to (n, p + 1)."""
    return -2 * (y - Phi @ theta)[:, None] * Phi


def gradient_noise(theta, Phi, y, size: int) -> float:
    r"""(9): $\mathbb E\, \|\hat g_S - \nabla R_n\|^2$ for $|S|$ = size."""
    g = gradients(theta, Phi, y)
    return float((np.mean(np.sum(g**2, 1)) - np.sum(np.mean(g, 0) ** 2)) / size)


class PolynomialRegression(Model):
    r"""A polynomial of x in [-1, 1], learnt by (8) or at once by (5).

    Parameters
    ----------
    degree : $p$
    lr : the rate $\varepsilon_0$
    schedule : the factor $\varepsilon_t / \varepsilon_0$ as a function of t
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 5)
    >>> PolynomialRegression(2).fit_exactly(x, x**2).predict(np.array([0.3])).round(4)
    array([0.09], dtype=float32)
    """

    def __init__(self, degree: int, *, lr: float = 0.02, schedule: Any = None, rng: Generator | None = None):
        if degree < 0:
            raise ValueError(f"PolynomialRegression: degree must be at least 0, got {degree}")
        self.degree = degree
        self.rng = Generator() if rng is None else rng
        self.theta = tg.tensor(self.rng.normal(degree + 1) * 0, requires_grad=True)
        self.optimizer = optim.SGD(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, Phi):
        r"""$\sum_k \theta_k \phi_k$: (b, p + 1) to (b,)."""
        return tg.matmul(Phi, self.theta)

    def update(self, Phi, y) -> dict:
        """(8): one step on a minibatch; its mean squared error."""
        loss = tg.mean(tg.square(y - self(Phi)))
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int | None = 1,
            run: Run | None = None) -> Self:  # fmt: skip
        """Learn from x and y, (n,), from so many examples a step, or (None) from all; `run` may be a resumed one."""
        run, (x, y) = run or Run(), self.checked(x, y)
        known = legendre(x, self.degree), y
        for _ in run.steps(self, steps):
            run.log(**self.update(*(known if batch_size is None else batch(known, self.rng, batch_size))))
        return self

    def fit_exactly(self, x: np.ndarray, y: np.ndarray) -> Self:
        """Learn from all examples at once by (5), on the host in float64."""
        self.checked(x, y)
        self.theta.assign(backend.asarray(minimiser(np.asarray(x, float), np.asarray(y, float), self.degree),
                                          self.theta.dtype, self.theta.device))  # fmt: skip
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The answers: (n,) to (n,)."""
        with tg.no_grad():
            return self(tg.tensor(legendre(self.checked(x), self.degree))).numpy()

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        """Minus the empirical risk (2), so that more is better."""
        return -empirical_risk(self.predict, x, backend.to_numpy(self.checked(x, y)[1]))

    def checked(self, x, y=None):
        """x, and y if given, as arrays where theta is, or an error that says what is wrong."""
        given = [backend.asarray(a, self.theta.dtype, self.theta.device) for a in ((x,) if y is None else (x, y))]
        shapes = " and ".join(str(a.shape) for a in given)
        if given[0].ndim != 1 or not len(given[0]) or any(a.shape != given[0].shape for a in given):
            raise ValueError(f"PolynomialRegression: x (and y) have shape {shapes}; (n,) is wanted, with n at least 1")
        for name, a in zip("xy", given, strict=False):
            require_finite(f"PolynomialRegression: {name}", a)
        if not float(abs(given[0]).max()) <= 1:
            raise ValueError(f"PolynomialRegression: x goes up to {float(abs(given[0]).max()):.4g} in absolute value; "
                             "at most 1 is wanted (rescale it)")  # fmt: skip
        return given[0] if y is None else tuple(given)

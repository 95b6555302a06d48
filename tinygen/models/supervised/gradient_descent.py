r"""Gradient descent, and what is made of it: momentum, other units, noise, falling rates (S0; S2 eqs. 2.30–2.32; S4).

To make a loss $L(\theta)$ small, go against its slope, a little at a time (S2 eq. 2.30):

$$ \theta_{t+1} = \theta_t - \varepsilon_t \nabla L(\theta_t). \tag{1} $$

The rules themselves are in `optim`: `sgd` (plain, momentum, Nesterov's, preconditioned), `adagrad`, `rmsprop`, `adam`,
and `schedules` for $\varepsilon_t$. This chapter asks how fast they are, and takes the loss where this can be answered:
a bowl with the bottom $\theta^\star$ and the curvature $A$, which near a minimum every smooth loss resembles,

$$ L(\theta) = \tfrac12 (\theta - \theta^\star)^\top A\, (\theta - \theta^\star), \qquad
   \nabla L(\theta) = A\, (\theta - \theta^\star). \tag{2} $$

**Plain descent.** Along each eigenvector of $A$, with the eigenvalue $\lambda$, the error $e_t$ shrinks by itself:

$$ e_t = (1 - \varepsilon \lambda)^t\, e_0. \tag{3} $$

It grows without end where $\varepsilon \lambda > 2$, so that the steepest direction limits the rate, and the flattest
one then takes its time. With the smallest and the largest eigenvalue, $\kappa = \lambda_{\max} / \lambda_{\min}$, the
best rate and the factor by which the slowest error shrinks in each step are

$$ \varepsilon = \frac{2}{\lambda_{\min} + \lambda_{\max}}, \qquad
   \max_\lambda |1 - \varepsilon \lambda| = \frac{\kappa - 1}{\kappa + 1}. \tag{4} $$

In a ravine with $\kappa = 100$ this takes about 115 steps for each digit.

**Momentum** (with which, S4 notes, the first adversarial networks were trained) goes against a decaying sum of slopes,
$b_{t+1} = \mu b_t + \nabla L(\theta_t)$. In terms of the places only, it adds a part of the last step. Along an
eigenvector two errors in a row go into the next two by a matrix,

$$ \begin{pmatrix} e_{t+1} \\ e_t \end{pmatrix}
   = \begin{pmatrix} 1 + \mu - \varepsilon \lambda & -\mu \\ 1 & 0 \end{pmatrix}
     \begin{pmatrix} e_t \\ e_{t-1} \end{pmatrix}, \qquad e_{-1} = e_0, \tag{5} $$

and its larger eigenvalue, in absolute value, is the factor in the long run. Where the two are complex it is $\sqrt
\mu$, whatever $\lambda$ is. The best choice lets them be complex in all directions between the extreme ones, where
they coincide (Polyak 1964):

$$ \varepsilon = \left( \frac{2}{\sqrt{\lambda_{\min}} + \sqrt{\lambda_{\max}}} \right)^2, \qquad
   \sqrt \mu = \frac{\sqrt \kappa - 1}{\sqrt \kappa + 1}. \tag{6} $$

With $\kappa = 100$ that is about 11 steps for a digit, in the long run: the matrix is not symmetric, and at first the
error may grow.

**Other units.** S2 mentions "to precondition the gradient vector by multiplying it by a matrix $H$". The step
$\theta - \varepsilon H \nabla L$ is (1) in the coordinates $H^{-1/2} \theta$, where the bowl's curvature is

$$ H^{1/2} A\, H^{1/2}. \tag{7} $$

With $H = A^{-1}$ it is the identity, $\kappa = 1$, and $\varepsilon = 1$ arrives at once: Newton's step. It needs $A$,
and to solve with it. *Adaptive* rules make do with a diagonal $H$ that they estimate from the sizes of the slopes. In
their first step, Adam, Adagrad and RMSprop (up to its factor) all go by the signs alone,
$-\varepsilon \operatorname{sign} \nabla L$. A diagonal $H$ cures a ravine that lies along an axis. One that lies
halfway between two axes has the same curvature along both, and there is nothing to rescale.

**Noise.** Stochastic gradient descent takes the slope from a minibatch $S$, $\hat g_S = \nabla \frac{1}{|S|}
\sum_{i \in S} \ell(\theta, Z_i)$ (S2 eqs. 2.31–2.32; S0): right on average, with a variance $s^2$ along each direction
(`risk` computes it; let it be the same everywhere). Along an eigenvector the mean $m_t$ and the variance $v_t$ of the
error follow

$$ m_{t+1} = (1 - \varepsilon_t \lambda)\, m_t, \qquad
   v_{t+1} = (1 - \varepsilon_t \lambda)^2 v_t + \varepsilon_t^2 s^2. \tag{8} $$

At a constant rate the mean goes to 0, the variance does not, and $\theta$ trembles for ever:

$$ v_\infty = \frac{\varepsilon s^2}{\lambda (2 - \varepsilon \lambda)}. \tag{9} $$

So the rate has to fall. S0 states the condition of Robbins and Monro (1951),

$$ \sum_t \varepsilon_t = \infty, \qquad \sum_t \varepsilon_t^2 < \infty. \tag{10} $$

(S0 has it that the descent then "converges to local optima"; to points without slope, in general.) On a bowl one sees
what each half does. *The first* is about directions with a slope. By (8) the mean ends at $m_0 \prod_t (1 -
\varepsilon_t \lambda)$. For rates with $\varepsilon_t \lambda < 1$ this product is 0 exactly if the sum is infinite:
with a rate that falls too fast, $\theta$ never arrives. *The second* is about directions without one. With $\lambda =
0$ and $v_0 = 0$, (8) says $v_T = s^2 \sum_{t < T} \varepsilon_t^2$: along the floor of a valley noise carries $\theta$
away for ever, unless that sum is finite. Where there is a slope the second half is more than is needed, $\varepsilon_t
\to 0$ will do; for rates that fall more slowly than $1/t$, $v_t$ is then about $\varepsilon_t s^2 / 2 \lambda$. The
fastest of all rates makes $\theta_t$ the running mean of $t$ noisy measurements, the best that Gauss and Markov allow
(`linear_regression`):

$$ \varepsilon_t = \frac{1}{\lambda (t + 1)} \quad\Longrightarrow\quad
   m_t = 0, \; v_t = \frac{s^2}{\lambda^2 t} \qquad (t \ge 1). \tag{11} $$

It needs $\lambda$, though. With $c / (t + 1)$ and $c \lambda < \frac12$ the mean falls as slowly as $t^{-c \lambda}$,
and $t^{-3/4}$, which keeps both halves as well, is the safer choice.

Notation
--------
$\theta, \theta^\star$ : `theta`, `best`, (d,)
$A, H$ : `A`, `H`, (d, d), symmetric; $\lambda$ : `lam`, an eigenvalue of A, `low` and `high` the extreme ones
$\varepsilon, \mu, s$ : `rate` (or the optimiser's `lr`), `mu`, `noise`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import batch
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

# ---- descents on any surface ----------------------------------------------------------------------------


def path(loss: Callable, start: Any, optimizer: Callable, steps: int, factor: Callable | None = None) -> np.ndarray:
    r"""(1), or another rule: the places that a descent goes through, (steps + 1, d), on the host in float64.

    Parameters
    ----------
    loss : from a Tensor (d,) to a scalar one
    start : (d,)
    optimizer : what makes the rule from a list of parameters, such as `lambda params: optim.Adam(params, 0.1)`
    factor : $\varepsilon_t / \varepsilon_0$ as a function of t; None keeps the rate
    """
    theta = tg.tensor(np.asarray(start, float), requires_grad=True)
    rule = optimizer([theta])
    schedule = optim.Schedule(rule, factor or optim.schedules.Constant())
    places = [theta.numpy().copy()]
    for _ in range(steps):
        rule.step(tg.grad(loss(theta), rule.params))
        schedule.step()
        places.append(theta.numpy().copy())
    return np.array(places)


# ---- on a bowl ------------------------------------------------------------------------------------------


def bowl(theta, A, best):
    r"""(2): $\frac12 (\theta - \theta^\star)^\top A (\theta - \theta^\star)$; (d,), (d, d), (d,) to ()."""
    e = theta - best
    return tg.sum(e * tg.matmul(A, e)) / 2


def plain_error(lam, rate, t):
    r"""(3): $e_t / e_0 = (1 - \varepsilon \lambda)^t$."""
    return (1 - rate * lam) ** t


def best_plain(low: float, high: float) -> tuple[float, float]:
    r"""(4): the best rate, and the factor $(\kappa - 1) / (\kappa + 1)$."""
    return 2 / (low + high), (high - low) / (high + low)


def momentum_matrix(lam: float, rate: float, mu: float) -> np.ndarray:
    """(5): what takes two errors in a row to the next two, (2, 2)."""
    return np.array([[1 + mu - rate * lam, -mu], [1.0, 0.0]])


def momentum_error(lam: float, rate: float, mu: float, t: int) -> float:
    """(5): $e_t / e_0$."""
    return float((np.linalg.matrix_power(momentum_matrix(lam, rate, mu), t) @ np.ones(2))[0])


def best_momentum(low: float, high: float) -> tuple[float, float]:
    r"""(6): the best rate and the best $\mu$."""
    a, b = np.sqrt(low), np.sqrt(high)
    return float((2 / (a + b)) ** 2), float(((b - a) / (b + a)) ** 2)


def preconditioned(A: np.ndarray, H: np.ndarray) -> np.ndarray:
    """(7): the curvature in the units of H, which is symmetric and positive definite; twice (d, d) to (d, d)."""
    values, vectors = np.linalg.eigh(H)
    root = (vectors * np.sqrt(values)) @ vectors.T
    return root @ A @ root


# ---- noise and falling rates ----------------------------------------------------------------------------


def noisy_error(lam: float, noise: float, rates: Iterable[float], start: float) -> np.ndarray:
    r"""(8): mean and variance of the error before and after each step, from $m_0$ = `start`, $v_0 = 0$; (T + 1, 2)."""
    m, v = start, 0.0
    found = [(m, v)]
    for rate in rates:
        m, v = (1 - rate * lam) * m, (1 - rate * lam) ** 2 * v + rate**2 * noise**2
        found.append((m, v))
    return np.array(found)


def trembling(lam: float, noise: float, rate: float) -> float:
    r"""(9): $\varepsilon s^2 / \lambda (2 - \varepsilon \lambda)$."""
    return rate * noise**2 / (lam * (2 - rate * lam))


def sums(factor: Callable[[int], float], steps: int) -> tuple[float, float]:
    r"""(10): $\sum_t \varepsilon_t$ and $\sum_t \varepsilon_t^2$ over the first steps."""
    rates = np.array([factor(t) for t in range(steps)])
    return float(rates.sum()), float((rates**2).sum())


def fastest(lam: float, noise: float, t: int) -> tuple[float, float]:
    r"""(11): the rate of step t = 0, 1, ..., and the variance after it."""
    return 1 / (lam * (t + 1)), noise**2 / (lam**2 * (t + 1))


# ---- the model ------------------------------------------------------------------------------------------

RULES: dict[str, Callable[..., Any]] = {
    "plain": optim.SGD,
    "momentum": lambda params, lr: optim.SGD(params, lr, momentum=0.9),
    "nesterov": lambda params, lr: optim.SGD(params, lr, momentum=0.9, nesterov=True),
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
}


class DescentRegression(Model):
    r"""A weighted sum of features with a constant, found by least squares and one of the rules, from $\theta = 0$.

    Parameters
    ----------
    n_features : how many features there are; $d$ is one more, and the constant is first
    rule : "plain", "momentum", "nesterov", "adagrad", "rmsprop", "adam", or "newton": preconditioned with the inverse
        curvature of all examples together
    lr : the rate; of "plain" it must stay below $2 / \lambda_{\max}$
    schedule : the factor $\varepsilon_t / \varepsilon_0$ as a function of t, such as `optim.schedules.RobbinsMonro()`;
        None keeps the rate
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> model = DescentRegression(1, rule="newton", lr=1.0).fit(x, y, steps=1, run=Run(quiet=True))
    >>> model.predict(np.array([[10.0]])).round(3)
    array([21.], dtype=float32)
    """

    def __init__(self, n_features: int, *, rule: str = "plain", lr: float = 0.01, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        if n_features < 1:
            raise ValueError(f"DescentRegression: n_features must be at least 1, got {n_features}")
        if rule not in (*RULES, "newton"):
            raise ValueError(f"DescentRegression: rule is {rule!r}; one of {', '.join(RULES)}, newton is wanted")
        self.n_features, self.rule = n_features, rule
        self.rng = Generator() if rng is None else rng
        self.theta = tg.tensor(self.rng.normal(n_features + 1) * 0, requires_grad=True)
        self.inverse: tg.Tensor
        self.register_buffer("inverse", tg.eye(n_features + 1, device=self.rng.device))
        newton = lambda params, lr: optim.PreconditionedSGD(params, lambda g: self.inverse.data @ g, lr)
        self.optimizer = (newton if rule == "newton" else RULES[rule])(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, x):
        r"""$\theta_0 + \sum_j \theta_j x_j$; (b, n_features) to (b,)."""
        return tg.matmul(x, self.theta[1:]) + self.theta[0]

    def update(self, x, y) -> dict:
        """One step of the rule on some examples; their mean squared error."""
        loss = tg.mean(tg.square(y - self(x)))
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int | None = None,
            run: Run | None = None) -> Self:  # fmt: skip
        """Learn from features (n, n_features) and answers (n,), from all of them or so many at random in each step.

        `run` may be a resumed one, which goes on where it stopped.
        """
        run, data = run or Run(), self.checked(x, y)
        if self.rule == "newton":
            self.inverse.assign(inverse_curvature(data[0]))
        for _ in run.steps(self, steps):
            run.log(**self.update(*(data if batch_size is None else batch(data, self.rng, batch_size))))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The answers: (n, n_features) to (n,)."""
        with tg.no_grad():
            return self(tg.tensor(self.checked(x)[0])).numpy()

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        """Minus the mean squared error, so that more is better."""
        return -float(np.mean((backend.to_numpy(self.checked(x, y)[1]) - self.predict(x)) ** 2))

    def checked(self, x, y=None):
        """x, and y if given, as arrays where theta is, or an error that says what is wrong."""
        given = [backend.asarray(a, self.theta.dtype, self.theta.device) for a in ((x,) if y is None else (x, y))]
        if given[0].ndim != 2 or given[0].shape[1] != self.n_features or not len(given[0]):
            raise ValueError(f"DescentRegression: x has shape {given[0].shape}; at least one row of {self.n_features} "
                             "is wanted")  # fmt: skip
        if y is not None and given[1].shape != given[0].shape[:1]:
            raise ValueError(f"DescentRegression: y has shape {given[1].shape}; one number for each of the "
                             f"{len(given[0])} rows is wanted")  # fmt: skip
        for name, a in zip("xy", given, strict=False):
            require_finite(f"DescentRegression: {name}", a)
        return tuple(given)


def curvature(x):
    r"""$A$ of the mean squared error: twice the mean of $(1, x)(1, x)^\top$; (n, k) to (k + 1, k + 1), raw array."""
    xp = backend.array_module(x)
    X = xp.concatenate([xp.ones_like(x[:, :1]), x], axis=1)
    return 2 * (X.T @ X) / len(X)


def inverse_curvature(x):
    r"""$A^{-1}$, or an error where a column is a combination of others; (n, k) to (k + 1, k + 1), raw array."""
    A = curvature(x)
    values = np.linalg.eigvalsh(backend.to_numpy(A))
    if not values[0] >= 10 * len(values) * np.finfo(A.dtype).eps * values[-1]:
        raise ValueError(f"DescentRegression: the curvature of x has eigenvalues from {values[0]:.1e} to "
                         f"{values[-1]:.1e}; for newton, columns that are no combinations of the others and not "
                         "constant are wanted (drop some, or take another rule)")  # fmt: skip
    return tg.linalg.inv(A)

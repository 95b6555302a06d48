r"""Softmax regression, also called (multinomial) logistic regression (S2 ex. 2.2.2 and §2.2.2).

Give each class $i$ a template $\theta_i$ and compare an input with all of them: the better it fits, the more probable
the class. With $x$ preceded by $x_0 = 1$, so that $\theta_{i0}$ is a bias (S2 eqs. 2.25–2.26),

$$ p_\theta(i|x) = \frac{\exp(\theta_i^\top x)}{Z(\theta, x)}, \qquad
   Z(\theta, x) = \sum_{j=1}^{m} \exp(\theta_j^\top x). \tag{1} $$

The templates are found by maximum likelihood. The negative log-likelihood of the labels is the cross-entropy between
them and the predictions (S2 eq. 2.27; the source prints $N \ln Z(\theta)$, but $Z$ differs from example to example):

$$ L(\theta) = -\sum_{i=1}^{N} \ln p_\theta(y_i|x_i)
   = -\sum_{i=1}^{N} \theta_{y_i}^\top x_i + \sum_{i=1}^{N} \ln Z(\theta, x_i). \tag{2} $$

Its gradient is a difference of two sums, what the model expects less what the labels say (S2 eq. 2.28):

$$ \frac{\partial L}{\partial \theta_{cj}}
   = \sum_{i=1}^{N} x_{ij}\, p_\theta(c|x_i) - \sum_{i=1}^{N} 1\{y_i = c\}\, x_{ij}. \tag{3} $$

**Balance.** $L$ is convex, so where the gradient vanishes it is least, and there (S2 eq. 2.29)

$$ \sum_{i=1}^{N} x_{ij}\, p_\theta(c|x_i) = \sum_{i=1}^{N} 1\{y_i = c\}\, x_{ij}
   \qquad \text{for every class } c \text{ and every } j = 0, \dots, d. \tag{4} $$

Of each class the model expects as many examples as there are ($j = 0$), and of their ink at each pixel as much as there
is. There may be no such place: where templates can tell all examples apart, $L$ falls towards 0 as they grow for ever.

**Why this formula?** Many tables $q(c|x_i)$ satisfy (4), the labels themselves among them. Which of them claims least
beyond (4)? The one of largest entropy,

$$ H(q) = -\sum_{i=1}^{N} \sum_{c=1}^{m} q(c|x_i) \ln q(c|x_i), \tag{5} $$

and that is (1). Indeed $\ln p_\theta$ is linear in $x$ up to $\ln Z$, so its mean under $q$ meets $q$ only in the sums
on the left of (4): $\sum_{i,c} q(c|x_i) \ln p_\theta(c|x_i) = -L(\theta)$ if $q$ is balanced. Thus, for any $\theta$,

$$ H(q) = L(\theta) - \sum_{i=1}^{N} \mathrm{KL}(q(\cdot|x_i) \,\|\, p_\theta(\cdot|x_i)). \tag{6} $$

Now take the $\hat\theta$ at which $p_{\hat\theta}$ is balanced too: $H(q) \le L(\hat\theta) = H(p_{\hat\theta})$. Least
cross-entropy and largest entropy are one number, reached from two sides, and by one table only. (S2 says that such a
distribution "encodes the most information"; it is rather the one that assumes the least.)

**Learning** goes down the gradient of a minibatch $S$ of examples, a little at a time (S2 eqs. 2.31–2.32):

$$ \theta_{t+1} = \theta_t - \varepsilon_t\, \nabla \hat L_S(\theta_t), \qquad
   \hat L_S(\theta) = -\frac{1}{|S|} \sum_{i \in S} \ln p_\theta(y_i|x_i). \tag{7} $$

This is only right if $S$ resembles the whole. Shown all A's, then all B's, the model learns each by forgetting those
before. S2 fears that it "can converge to a bad local minima"; a convex $L$ has none. What goes wrong is
that (7) then follows the gradients of ten other functions, one after the other.

**Judging.** The confusion matrix $C$ counts who is taken for whom, among examples that training has not seen: $C_{ab}$
of class $a$ were taken for $b$. The share of right answers is (S2 eq. 2.33)

$$ \mathrm{score} = \frac{1}{|\mathcal D|} \sum_{(x, y) \in \mathcal D} 1\{\hat y(x) = y\}
   = \sum_a C_{aa} \Big/ \sum_{a,b} C_{ab}. \tag{8} $$

Notation
--------
$x, y$ : `x`, (n, d), without $x_0$; `y`, (n,), integers from 0
$\theta$ : `theta`, (m, d + 1), a row for each class, its bias first
$p_\theta, q$ : `p`, `q`, (n, m), rows that sum to one
$\varepsilon_t$ : `optimizer.lr`, which `schedule` lowers from step to step
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import batch, take
from tinygen.models.supervised.classifier import Classifier
from tinygen.nn import functional as F
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def scores(theta, x):
    r"""The fits $\theta_i^\top x$, the logits of (1): (m, d + 1), (n, d) to (n, m)."""
    return tg.matmul(x, tg.transpose(theta[:, 1:])) + theta[:, 0]


def posterior(theta, x):
    r"""(1): $p_\theta(i|x)$; (m, d + 1), (n, d) to (n, m)."""
    return F.softmax(scores(theta, x), 1)


def negative_log_likelihood(theta, x, y):
    r"""(2): $-\sum_i \ln p_\theta(y_i|x_i)$, in nats; (m, d + 1), (n, d), (n,) to ()."""
    return F.cross_entropy(scores(theta, x), y, reduction="sum")


def balance(theta, x, y) -> tuple[Any, Any]:
    r"""(4): its left and right side, for raw arrays; (m, d + 1), (n, d), (n,) to twice (m, d + 1)."""
    xp = backend.array_module(x)
    x_0 = xp.concatenate([xp.ones_like(x[:, :1]), x], axis=1)  # (n, d + 1)
    labels = (y[:, None] == xp.arange(len(theta))).astype(x.dtype)  # (n, m), the 1{y_i = c}
    return xp.matmul(posterior(theta, x).T, x_0), xp.matmul(labels.T, x_0)


def gradient(theta, x, y):
    r"""(3): $\nabla L(\theta)$ by hand, for raw arrays; (m, d + 1), (n, d), (n,) to (m, d + 1)."""
    expected, observed = balance(theta, x, y)
    return expected - observed


def balance_residual(theta, x, y) -> float:
    """The largest gap between the two sides of (4), in the units of x, summed over all examples as (4) is."""
    return float(abs(gradient(theta, x, y)).max())


def entropy(q) -> float:
    r"""(5): $-\sum_{i,c} q \ln q$, in nats, with $0 \ln 0 = 0$; (n, m), on the host."""
    return -float(np.sum(q * np.log(np.where(q > 0, q, 1))))


def entropy_if_balanced(q, theta, x, y) -> float:
    r"""(6), right side: $L(\theta) - \sum_i \mathrm{KL}(q \| p_\theta)$, in nats; on the host."""
    divergence = -entropy(q) - float(np.sum(q * F.log_softmax(scores(theta, x), 1)))
    return float(negative_log_likelihood(theta, x, y)) - divergence


def rivals(p, x, direction) -> tuple[np.ndarray, np.ndarray]:
    r"""The two ends of a line of balanced tables through $p$: p, direction (n, m) and x (n, d) to twice (n, m).

    $\delta = p \odot (D - A^\top \lambda)$ is the direction $D$ less what would change a sum over classes or over
    examples: the rows of $A$ hold the coefficients of these sums, and $A \delta = 0$ gives $\lambda$. The line ends
    where a probability reaches 0. On the host, with matrices of n + m (d + 1) rows: for small problems.
    """
    n, m = p.shape
    x_0 = np.concatenate([np.ones((n, 1)), x], axis=1)
    A = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(x_0.T, np.eye(m))])  # (n + m (d + 1), n m)
    W = np.ravel(p)
    lam = np.linalg.lstsq((A * W) @ A.T, A @ (W * np.ravel(direction)), rcond=1e-12)[0]
    change = (np.ravel(direction) - A.T @ lam).reshape(n, m)  # in parts of p
    return p * (1 - change / change.max()), p * (1 - change / change.min())


def confusion(y, y_hat, m: int) -> np.ndarray:
    """The matrix C of (8): how many of class a are taken for b; twice (n,) to (m, m), on the host."""
    C = np.zeros((m, m), int)
    np.add.at(C, (y, y_hat), 1)
    return C


def share_right(C) -> float:
    r"""(8): $\sum_a C_{aa} / \sum_{a,b} C_{ab}$; (m, m), on the host."""
    return float(np.trace(C) / np.sum(C))


# ---- the model ------------------------------------------------------------------------------------------


class SoftmaxRegression(Classifier):
    r"""A classifier with one template a class, which starts from $\theta = 0$: all classes alike.

    Parameters
    ----------
    n_features, n_classes : $d$ and $m$
    lr : the rate $\varepsilon_0$ of the stochastic gradient descent
    schedule : the factor $\varepsilon_t / \varepsilon_0$ as a function of t, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> model = SoftmaxRegression(1, 2, rng=tg.random.Generator(0)).to(dtype="float64").fit_exactly(x, y)
    >>> balance_residual(model.theta.data, x, y) < 1e-6  # the classes 0 and 1 overlap, so (4) has a solution
    True
    >>> model.predict_proba(x).round(2)[:, 1]
    array([0.2 , 0.39, 0.61, 0.8 ])
    """

    def __init__(self, n_features: int, n_classes: int, *, lr: float = 0.1, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        if n_features < 1 or n_classes < 2:
            raise ValueError(f"SoftmaxRegression: a feature and two classes at least are wanted, got {n_features} and "
                             f"{n_classes}")  # fmt: skip
        self.n_features, self.n_classes = n_features, n_classes
        self.rng = Generator() if rng is None else rng
        self.theta = tg.tensor(self.rng.normal((n_classes, n_features + 1)) * 0, requires_grad=True)
        self.optimizer = optim.SGD(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, x):
        """The logits of (1): (b, d) to (b, m)."""
        return scores(self.theta, x)

    def update(self, x, y) -> dict:
        """(7): one step on a minibatch; its mean loss, in nats."""
        parts = super().update(x, y)
        self.schedule.step()
        return parts

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None,
            shuffled: bool = True) -> Self:  # fmt: skip
        """Learn from inputs (n, d) and classes (n,).

        shuffled : whether each minibatch is drawn at random, or they follow the order that the examples stand in, from
            the first to the last and over again. `run` may be a resumed one, which goes on where it stopped.
        """
        run, data = run or Run(), self.checked(x, y)
        xp = backend.array_module(data[0])
        for step in run.steps(self, steps):
            rows = xp.arange((step - 1) * batch_size, step * batch_size) % len(x)
            run.log(**self.update(*(batch(data, self.rng, batch_size) if shuffled else take(data, rows))))
        return self

    def fit_exactly(self, x: np.ndarray, y: np.ndarray) -> Self:
        """Learn from all examples at once, until (4) holds to rounding, by SciPy's L-BFGS; best in float64.

        Raises RuntimeError where that fails: most likely the classes can be told apart without an error, and (2)
        has no minimum.
        """
        x, y = self.checked(x, y)
        # The mean has slopes of order one; SciPy stops by the gradient alone.
        found = optim.minimize(lambda: negative_log_likelihood(self.theta, x, y) / len(x), [self.theta],
                               options=dict(maxiter=20_000, maxfun=40_000, gtol=1e-9, ftol=0, maxcor=30))  # fmt: skip
        if not (found.success or abs(found.jac).max() < 1e-7) or float(found.fun) < 1e-6:
            raise RuntimeError(f"fit_exactly: stopped at a mean loss of {float(found.fun):.2g} and a gradient of "
                               f"{abs(found.jac).max():.2g} ({found.message}); if the classes are separable there is "
                               "no optimum: use fit")  # fmt: skip
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """The probability of each class: (n, d) to (n, m)."""
        return np.exp(self.predict_log_proba(x))

    def confusion(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The confusion matrix of (8): (n, d), (n,) to (m, m)."""
        return confusion(y, self.predict(x), self.n_classes)

r"""Final decision rules (S0): from what a network has found out to an answer, and the loss that belongs to each rule.

The last layer of a network holds numbers $z$. Which function of them is the answer $\hat y$ depends on what answers are
possible. With $a = w^\top z + b$ (in S0 the bias has a plus here, and a minus in its neurons), S0 lists

$$ \hat y = a \quad (y \in \mathbb R), \tag{1} $$
$$ \hat y = \sigma(a) = \frac{1}{1 + e^{-a}} \quad (y \in [0, 1]), \tag{2} $$
$$ \hat y = e^a \quad (y > 0), \tag{3} $$
$$ \hat y = \ln(1 + e^a) \quad (y > 0), \tag{4} $$
$$ \hat y = \mathrm{softmax}(a), \quad \hat y_c = \frac{e^{a_c}}{\sum_{j=1}^{C} e^{a_j}}, \quad a = Wz + b
   \quad (y \in \{1, \dots, C\}). \tag{5} $$

(For the softmax S0 prints $\langle w, z \rangle + b$, one number; there must be one for each class.)

**Which loss?** We want to go down on a loss $\ell(a, y)$, and what comes back through the last layer should be the
error that was made, no more and no less:

$$ \frac{\partial \ell}{\partial a} = \hat y - y, \qquad \text{that is,} \quad \ell(a, y) = G(a) - y\, a
   + \mathrm{const}(y), \quad G' = \hat y. \tag{6} $$

So each rule has *its* loss. As the rules (1) to (4) increase, $\ell$ is convex in $a$. It never stops teaching while
the answer is wrong. And since $\mathbb E\, \partial \ell / \partial a = \hat y - \mathbb E[y|z]$, its mean is least
where the answer is the mean of $y$ given $z$. Integrating the rules gives old acquaintances (constants chosen so that
$\ell \ge 0$ in the first two):

$$ \ell = \tfrac12 (a - y)^2, \quad \ell = -y \ln \hat y - (1 - y) \ln(1 - \hat y), \quad \ell = e^a - y\, a,
   \quad \ell = \ln \textstyle\sum_j e^{a_j} - a_y \tag{7} $$

for (1), (2), (3) and (5): squared error, binary cross-entropy, Poisson's loss for counts, cross-entropy. Each is minus
the logarithm of a probability $q(y|a) = h(y)\, e^{y a - G(a)}$: of a normal distribution with variance 1, of a coin, of
a Poisson number with the mean $\hat y$, of a draw from $C$ classes. Maximum likelihood, S0's first derivation of
losses, thus leads to the same. With a loss that does not belong to the rule, say the squared error of a sigmoid, (6)
gets a factor $\hat y'(a)$, which is near 0 just where the answer is surely wrong.

For the softplus (4), $G(a) = -\mathrm{Li}_2(-e^a)$ is a dilogarithm, and no well-known distribution comes with it.
In practice it is used with the loss of a distribution whose mean is positive. Here it is Poisson's too:

$$ \ell = \hat y - y \ln \hat y, \qquad
   \frac{\partial \ell}{\partial a} = (\hat y - y)\, \frac{\sigma(a)}{\hat y}. \tag{8} $$

What sets (3) and (4) apart is how $z$ acts: it multiplies $e^a$ but adds to the softplus, once $a$ is large.

**Far from zero** these formulas, typed as they stand, break down. Where $e^{1000}$ is infinite, so is $e^{1000} / (1 +
e^{1000})$ not a number; and $\ln(1 + e^{-40})$ is 0, since 1 and $1 + e^{-40}$ are the same number to a computer. So
never take $e$ to a large positive power, nor the logarithm of what is nearly 1 or has vanished:

$$ \sigma(a) = \frac{e^{\min(a, 0)}}{1 + e^{-|a|}}, \qquad
   \ln(1 + e^a) = \max(a, 0) + \mathrm{log1p}(e^{-|a|}), \qquad
   \ln \textstyle\sum_j e^{a_j} = m + \ln \sum_j e^{a_j - m}, \tag{9} $$

with $m = \max_j a_j$ and $\mathrm{log1p}(x) = \ln(1 + x)$, computed without forming $1 + x$. The engine's functions do
so. Losses should be given $a$, and not $\hat y$, which may have become 0. For (8) we need

$$ \ln \ln(1 + e^a) = a + O(e^a) \quad (a \to -\infty), \tag{10} $$

which is exact to rounding below $a = -40$. The exponential rule cannot be mended: $e^{710}$ is more than the largest
double, and infinity is then the right rounding of (3), and of its loss. Only its logarithm, $a$, is safe. This is the
other reason for the softplus, whose slope is never above 1.

Notation
--------
$z, y$ : `z`, (n, d); `y`, (n,), real numbers, or classes counted from 0
$w, W, b$ : `theta`, a row (d + 1,) for each output, its bias first
$a$ : `a`, (n,), or (n, C)
$\hat y$ : `y_hat`, what `predict` gives
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
from tinygen.models.supervised.softmax_regression import scores
from tinygen.nn import functional as F
from tinygen.runs import Run

# ---- the rules, and their logarithms ------------------------------------------------------------------------------


def linear(a):
    """(1): $a$ itself."""
    return a


def sigmoid(a):
    r"""(2), by (9): $\sigma(a)$."""
    return tg.sigmoid(a)


def exponential(a):
    """(3): $e^a$; infinite above 709.8 in float64, and above 88.7 in float32."""
    with np.errstate(over="ignore"):
        return tg.exp(a)


def softplus(a):
    r"""(4), by (9): $\ln(1 + e^a)$."""
    return tg.softplus(a)


def softmax(a):
    r"""(5), by (9): $e^{a_c} / \sum_j e^{a_j}$; (n, C) to (n, C)."""
    return F.softmax(a, 1)


def log_sigmoid(a):
    r"""$\ln \sigma(a) = -\ln(1 + e^{-a})$."""
    return -softplus(-a)


def log_softplus(a):
    r"""(10): $\ln \ln(1 + e^a)$."""
    small = a < -40
    return tg.where(small, a, tg.log(softplus(tg.maximum(a, -40))))  # log never sees a softplus that has vanished


# ---- the losses, of each example, given a -----------------------------------------------------------------------


def squared_error(a, y):
    r"""(7): $\frac12 (a - y)^2$; twice (n,) to (n,)."""
    return tg.square(a - y) / 2


def binary_cross_entropy(a, y):
    r"""(7): $-y \ln \hat y - (1 - y) \ln(1 - \hat y)$ with the sigmoid; twice (n,) to (n,)."""
    return F.binary_cross_entropy_with_logits(a, y, reduction="none")


def poisson(a, y):
    r"""(7): $e^a - y a$, less $\ln y!$ minus the log-probability of $y$; twice (n,) to (n,)."""
    return exponential(a) - y * a


def cross_entropy(a, y):
    r"""(7): $\ln \sum_j e^{a_j} - a_y$; (n, C), (n,) to (n,)."""
    return F.cross_entropy(a, y, reduction="none")


def softplus_poisson(a, y):
    r"""(8): $\hat y - y \ln \hat y$ with the softplus; twice (n,) to (n,)."""
    return softplus(a) - y * log_softplus(a)


def error(y_hat, y):
    r"""(6): $\hat y - y$, the slope of a rule's own loss; of the softmax, with $y$ as a row of one 1 and zeros."""
    return y_hat - (F.one_hot(y, y_hat.shape[1], dtype=y_hat.dtype) if len(y_hat.shape) == 2 else y)


def softplus_slope(a, y):
    r"""(8): $(\hat y - y)\, \sigma(a) / \hat y$, the ratio from the logarithms; twice (n,) to (n,)."""
    return error(softplus(a), y) * tg.exp(log_sigmoid(a) - log_softplus(a))


class Rule(NamedTuple):
    r"""$\hat y$ as a function of a; its loss, of a and y; and which y are possible."""

    answer: Callable[[Any], Any]
    loss: Callable[[Any, Any], Any]
    wanted: str
    allowed: Callable[[Any], Any]


RULES = {
    "linear": Rule(linear, squared_error, "real numbers", lambda y: y == y),
    "sigmoid": Rule(sigmoid, binary_cross_entropy, "numbers from 0 to 1", lambda y: (y >= 0) & (y <= 1)),
    "exp": Rule(exponential, poisson, "numbers of at least 0", lambda y: y >= 0),
    "softplus": Rule(softplus, softplus_poisson, "numbers of at least 0", lambda y: y >= 0),
    "softmax": Rule(softmax, cross_entropy, "classes from 0 to n_classes - 1", lambda y: y >= 0),
}


# ---- the last layer, as a model of its own --------------------------------------------------------------------------


class Readout(Model):
    r"""A last layer with one of the rules, which learns by its loss; it starts from $w = 0$.

    Parameters
    ----------
    n_features : $d$
    rule : "linear", "sigmoid", "exp", "softplus" or "softmax"
    n_classes : $C$; for the softmax only
    lr : learning rate of Adam
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> z, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1, 1, 4, 8])  # counts that about double
    >>> model = Readout(1, "exp", rng=tg.random.Generator(0)).to(dtype="float64").fit_exactly(z, y)
    >>> model.predict(z).round(1)
    array([0.7, 1.6, 3.6, 8.1])
    """

    def __init__(self, n_features: int, rule: str, *, n_classes: int | None = None, lr: float = 0.02,
                 rng: Generator | None = None):  # fmt: skip
        if rule not in RULES:
            raise ValueError(f"Readout: rule is {rule!r}; one of {', '.join(RULES)} is wanted")
        if (rule == "softmax") != (n_classes is not None) or (n_classes is not None and n_classes < 2):
            raise ValueError(f"Readout: n_classes is {n_classes} with the rule {rule!r}; at least 2 is wanted for the "
                             "softmax, and None for the others")  # fmt: skip
        if n_features < 1:
            raise ValueError(f"Readout: n_features is {n_features}; one feature at least is wanted")
        self.n_features, self.rule, self.n_classes = n_features, RULES[rule], n_classes
        self.rng = Generator() if rng is None else rng
        self.theta = tg.zeros((n_classes or 1, n_features + 1), requires_grad=True, device=self.rng.device)
        self.optimizer = optim.Adam(self.parameters(), lr)

    def forward(self, z):
        """a: (b, d) to (b,), or (b, C) for the softmax."""
        a = scores(self.theta, z)
        return a[:, 0] if self.n_classes is None else a

    def loss(self, z, y):
        """The mean of the rule's loss: (b, d), (b,) to ()."""
        return tg.mean(self.rule.loss(self(z), y))

    def update(self, z, y) -> dict:
        """One step on a minibatch; its loss."""
        loss = self.loss(z, y)
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        return {"loss": loss}

    def fit(self, z: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from features (n, d) and answers (n,), a minibatch at a time."""
        run, data = run or Run(), self.checked(z, y)
        for _ in run.steps(self, steps):
            run.log(**self.update(*batch(data, self.rng, batch_size)))
        return self

    def fit_exactly(self, z: np.ndarray, y: np.ndarray) -> Self:
        """Learn from all examples at once, by SciPy's L-BFGS; best in float64."""
        z, y = self.checked(z, y)
        found = optim.minimize(lambda: self.loss(z, y), [self.theta],
                               options=dict(maxiter=5000, gtol=1e-9, ftol=0, maxcor=30))  # fmt: skip
        slope = float(np.abs(found.jac).max())
        if not slope <= 1e-3 * max(1.0, float(abs(z).max())) * max(1.0, float(abs(y).mean())):
            raise RuntimeError(f"Readout: the search has stopped where the loss still has a slope of {slope:.1e}; "
                               "features of about the size of 1 are wanted (rescale z)")  # fmt: skip
        return self

    def predict(self, z: np.ndarray) -> np.ndarray:
        r"""$\hat y$: (n, d) to (n,), or probabilities (n, C) for the softmax."""
        with tg.no_grad():
            return self.rule.answer(self(tg.tensor(self.checked(z)))).numpy()

    def checked(self, z, y=None) -> Any:
        """z, and y if given, as arrays where the model is, or an error that says what is wrong."""
        z = backend.asarray(z, self.theta.dtype, self.theta.device)
        if z.shape[1:] != (self.n_features,) or not len(z):
            raise ValueError(f"Readout: z has shape {z.shape}; at least one row of {self.n_features} is wanted")
        require_finite("Readout: z", z)
        if y is None:
            return z
        y = backend.asarray(y, device=self.theta.device)
        right = y.shape == z.shape[:1] and y.dtype.kind in ("iu" if self.n_classes else "iuf")
        if not right or not bool((self.rule.allowed(y) & (y < (self.n_classes or np.inf))).all()):
            raise ValueError(f"Readout: y is {y.dtype} {y.shape}; for this rule, {self.rule.wanted} are wanted, one "
                             f"for each of the {len(z)} rows")  # fmt: skip
        if not self.n_classes:
            with np.errstate(over="ignore"):  # it is looked at next
                y = y.astype(z.dtype)
            require_finite("Readout: y", y)
        return z, y

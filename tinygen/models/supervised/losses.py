r"""Losses: what a wrong answer costs, and where the costs come from (S0; S2 eqs. 2.4–2.7, 2.16–2.24; S4 eqs. 8–13).

A network is trained to make some loss small. For numbers one takes the squared or the absolute error, for classes the
cross-entropy, and S0 asks why that one "is so popular". Two questions settle it. What does a loss ask for? And which
of them can be had from examples alone?

**What a loss asks for.** Let $Y$ take the value $y_k$ with probability $p_k$, and always answer $c$. The risk of this
answer, its mean loss, is

$$ R(c) = \mathbb E\, \ell(Y, c) = \sum_k p_k\, \ell(y_k, c). \tag{1} $$

For the squared error $\ell = (y - c)^2$ the slope is $2 (c - \mathbb E Y)$. For the absolute error $\ell = |y - c|$ it
is the probability below $c$ less the probability above. So the best answers are the mean (S2 eq. 2.5, where $Y$ is
given $X$; `risk` has the proof, S2 eqs. 2.6–2.7) and the median:

$$ \operatorname{argmin}_c \mathbb E (Y - c)^2 = \mathbb E Y, \qquad
   \operatorname{argmin}_c \mathbb E |Y - c| = \operatorname{med} Y. \tag{2} $$

One wild value moves the mean as far as it likes and the median hardly at all. This makes the absolute error the safer
one where some answers are spoilt, and a wrong one for probabilities: if $Y$ is 1 with probability 0.3 and 0 otherwise,
the median is 0, while the squared error and the cross-entropy below both ask for 0.3.

**Where losses come from.** Let the model state a whole law $q_\theta(y|x)$ from a family (S2 eq. 2.16) instead of an
answer. The likelihood is the probability of the examples under it, $\prod_i q_\theta(y_i|x_i)$ (S2 eq. 2.17; S0), and
the maximum likelihood estimate is the $\theta$ where it is *largest* (S2 eq. 2.18 prints argmin, and "minimizing"
after 2.19). Take minus the logarithm: a sum over examples, of the loss $-\ln q_\theta(y|x)$ (S2 eqs. 2.19–2.20, 2.23).
So each loss is a law in disguise. An answer $f$ with noise about it of width $w$, normal or Laplacian, gives

$$ -\ln \mathcal N(y; f, w^2) = \frac{(y - f)^2}{2 w^2} + \frac12 \ln 2 \pi w^2, \tag{3} $$
$$ -\ln \frac{1}{2w} e^{-|y - f| / w} = \frac{|y - f|}{w} + \ln 2 w, \tag{4} $$

and a class $y$ with a score $z_c$ (a logit) for each class $c$, probabilities $\mathrm{softmax}(z)$, gives the
cross-entropy

$$ -\ln \mathrm{softmax}(z)_y = \ln \sum_c e^{z_c} - z_y. \tag{5} $$

Whatever the width in (3) and (4), the best $f$ is the one of least squares, or of least absolute error. The best width
is then, by a derivative,

$$ \hat w^2 = \frac1n \sum_{i=1}^{n} (y_i - f_i)^2 \quad\text{for (3)}, \qquad
   \hat w = \frac1n \sum_{i=1}^{n} |y_i - f_i| \quad\text{for (4)}. \tag{6} $$

With these, (3) and (4) are probabilities of the same answers in the same units (nats), and can be compared. The errors
themselves cannot.

**Maximum likelihood is KL minimisation.** Let $\hat p$ be the law of the examples: $\hat p_k$ is the share of those
with value $k$. Sorting the mean loss by values instead of examples,

$$ \frac1n \sum_{i=1}^{n} -\ln q_\theta(y_i) = -\sum_k \hat p_k \ln q_\theta(k)
   = H(\hat p) + \mathrm{KL}(\hat p \,\|\, q_\theta) \tag{7} $$

with the entropy $H(p) = -\sum_k p_k \ln p_k$ and $\mathrm{KL}(p \| q) = \sum_k p_k \ln (p_k / q_k)$. The entropy knows
nothing of $\theta$: the most likely law is the one of least divergence from the examples. The same holds for the true
law $P$ in the place of $\hat p$ (S2 eq. 2.22; 2.21 and 2.22 have lost the $-\ln$). And it holds given $x$, with
$H(Y|X) = H(X, Y) - H(X)$ (S2 eq. 2.24; S0's "losses derivation"):

$$ \mathbb E[-\ln q_\theta(Y|X)] = \mathbb E_X\, \mathrm{KL}(P(\cdot|X) \,\|\, q_\theta(\cdot|X)) + H(Y|X). \tag{8} $$

This is why KL is S0's "chosen one". The left side is a mean over examples. Nobody has to know $P$ to estimate it
without bias, nor its gradient, and the part that does need $P$ is constant. Of the distances in `divergences`, not
many can say that.

**For densities** S4 writes the same with the empirical density, a sum of spikes (S4 eqs. 9–13). But the divergence of
spikes from a density is infinite, whatever $\theta$: its eq. 12 begins with a mean of $\log \infty$. What is meant is
the middle of (7), an integral of $-\ln q_\theta$ over the empirical law. Bins show what happens. Cut the line into bins
of width $h$, each holding one example at most, and give a bin at $x$ the probability $q_\theta(x) h$. Then

$$ \mathrm{KL}(\hat p_h \,\|\, q_{\theta, h})
   = \ln \frac{1}{n h} - \frac1n \sum_{i=1}^{n} \ln q_\theta(x_i), \tag{9} $$

which grows without end as $h \to 0$, for all $\theta$ alike. Differences between two $\theta$ stay what they are: the
differences of the log-likelihoods.

**Why not the squared error for classes?** It asks for the right probability as well. But it is the slope that learns.
With $p = 1 / (1 + e^{-z})$ and a label $y$ of 0 or 1, the slopes in $z$ of the cross-entropy and of $(y - p)^2$ are

$$ p - y \qquad\text{and}\qquad 2\, (p - y)\, p\, (1 - p). \tag{10} $$

Where the model is sure and wrong, $p \approx 1 - y$, the first is $\pm 1$ and the second is 0: the squared error does
not learn from the worst mistakes.

Notation
--------
$y_k, p_k, c$ : `y`, `p`, (k,), places and probabilities; `c`, a number or (m, 1), m of them at once
$f, w$ : `f`, (n,), the answers; `width`
$z$ : `z`, (n, classes); in (10), (n,)
$\hat p, q_\theta$ : `p`, `q`, probability vectors; in (8), `joint` is $P(x, y)$ and `q` has a row for each x
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import batch
from tinygen.models.model import Model, require_finite
from tinygen.nn import functional as F
from tinygen.probability import divergences
from tinygen.runs import Run

# ---- what a loss asks for -------------------------------------------------------------------------------


def squared(y, c):
    r"""The squared error $(y - c)^2$."""
    return tg.square(y - c)


def absolute(y, c):
    r"""The absolute error $|y - c|$."""
    return tg.abs(y - c)


def risk(loss, c, y, p):
    r"""(1): $\sum_k p_k\, \ell(y_k, c)$; a number or (m, 1), (k,), (k,) to () or (m,)."""
    return tg.sum(p * loss(y, c), axis=-1)


def mean(y, p):
    r"""(2), left: $\mathbb E Y$; (k,), (k,) to ()."""
    return tg.sum(p * y)


def median(y, p) -> float:
    r"""(2), right: the first $y$ in order with at least half of the probability at or below it; (k,), (k,), host."""
    order = np.argsort(y)
    below = np.cumsum(p[order])
    return float(y[order][np.searchsorted(below, below[-1] / 2 * (1 - 1e-12))])


# ---- where losses come from -----------------------------------------------------------------------------


def gaussian_nll(y, f, width):
    r"""(3): $(y - f)^2 / 2 w^2 + \frac12 \ln 2 \pi w^2$, in nats; (n,), (n,), a number to (n,)."""
    return squared(y, f) / (2 * width**2) + math.log(2 * math.pi) / 2 + tg.log(width)


def laplace_nll(y, f, width):
    r"""(4): $|y - f| / w + \ln 2 w$, in nats; (n,), (n,), a number to (n,)."""
    return absolute(y, f) / width + tg.log(2 * width)


def class_nll(z, y):
    r"""(5): $\ln \sum_c e^{z_c} - z_y$, in nats; (n, classes), (n,) integers to (n,)."""
    return F.cross_entropy(z, y, reduction="none")


def best_width(loss: str, y, f):
    r"""(6): the most likely $w$ for the loss "squared" or "absolute"; (n,), (n,) to ()."""
    return tg.sqrt(tg.mean(squared(y, f))) if loss == "squared" else tg.mean(absolute(y, f))


# ---- maximum likelihood is KL minimisation --------------------------------------------------------------


def mean_nll(y, q):
    r"""(7), left: $\frac1n \sum_i -\ln q(y_i)$, example by example; (n,) integers, (k,) to ()."""
    return -tg.mean(tg.log(q)[y])


def entropy_plus_kl(p, q):
    r"""(7), right: $H(p) + \mathrm{KL}(p \| q)$; twice (..., k) to (...)."""
    return divergences.entropy(p) + divergences.kl(p, q)


def conditional_nll(joint, q):
    r"""(8), left: $\mathbb E[-\ln q(Y|X)]$, for positive q; $P(x, y)$ (m, k), $q(y|x)$ (m, k) to ()."""
    return -tg.sum(joint * tg.log(q))


def conditional_entropy_plus_kl(joint, q):
    r"""(8), right: $\mathbb E_X \mathrm{KL}(P(\cdot|X) \| q(\cdot|X)) + H(X, Y) - H(X)$; twice (m, k) to ()."""
    p_x = tg.sum(joint, axis=1)  # (m,), each positive
    kl = divergences.kl(joint / tg.expand_dims(p_x, 1), q)  # (m,)
    return tg.sum(p_x * kl) + divergences.entropy(tg.reshape(joint, -1)) - divergences.entropy(p_x)


def binned_kl(x: np.ndarray, density, h: float) -> float:
    r"""(9), left: KL between the shares of x in bins of width h and $q h$ there, q read at the bins' middles; host."""
    bins, counts = np.unique(np.floor(x / h), return_counts=True)
    p, middle = counts / len(x), (bins + 0.5) * h
    return float(np.sum(p * np.log(p / (density(middle) * h))))


def spike_kl(x: np.ndarray, density, h: float) -> float:
    r"""(9), right: $\ln \frac{1}{nh} - \frac1n \sum_i \ln q(x_i)$, on the host."""
    return float(-math.log(len(x) * h) - np.mean(np.log(density(x))))


def logit_slopes(z, y) -> tuple[Any, Any]:
    r"""(10): the slopes in z of the cross-entropy and of $(y - p)^2$; twice (n,) to twice (n,)."""
    p = tg.sigmoid(z)
    return p - y, 2 * (p - y) * p * (1 - p)


# ---- the model ------------------------------------------------------------------------------------------

LOSSES = {"squared": squared, "absolute": absolute}
NARROWEST = 1e-6  # the width where an answer is always right: densities have no upper limit


class LinearPredictor(Model):
    r"""A weighted sum of features, learnt by one of the losses; it starts from 0 and at the width 1.

    Parameters
    ----------
    n_features : d
    loss : "squared", which makes it (3) and aims at the mean of y given x, or "absolute", (4) and the median
    lr : the rate of the stochastic gradient descent
    schedule : the factor of the rate as a function of the step; None keeps it
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x, y = np.arange(6.0)[:, None], np.array([1.0, 2, 3, 4, 5, 60])  # the last answer is spoilt
    >>> fall = optim.schedules.Cosine(500)
    >>> model = LinearPredictor(1, loss="absolute", lr=0.1, schedule=fall, rng=tg.random.Generator(0))
    >>> model.fit(x, y, steps=500, run=Run(quiet=True)).predict(np.array([[10.0]])).round(0)
    array([11.], dtype=float32)
    """

    def __init__(self, n_features: int, *, loss: str = "squared", lr: float = 0.05, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        if n_features < 1:
            raise ValueError(f"LinearPredictor: n_features must be at least 1, got {n_features}")
        if loss not in LOSSES:
            raise ValueError(f"LinearPredictor: loss is {loss!r}; {' or '.join(map(repr, LOSSES))} is wanted")
        self.n_features, self.loss = n_features, loss
        self.rng = Generator() if rng is None else rng
        self.theta = tg.tensor(self.rng.normal(n_features + 1) * 0, requires_grad=True)
        self.width: tg.Tensor
        self.register_buffer("width", tg.tensor(1.0, device=self.theta.device))
        self.optimizer = optim.SGD(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, x):
        r"""$f = \theta_0 + \sum_j \theta_j x_j$; (b, d) to (b,)."""
        return tg.matmul(x, self.theta[1:]) + self.theta[0]

    def update(self, x, y) -> dict:
        """One step down the mean loss of a minibatch."""
        loss = tg.mean(LOSSES[self.loss](y, self(x)))
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int = 20, run: Run | None = None) -> Self:
        """Learn from features (n, d) and answers (n,), and take the width by (6); `run` may be a resumed one."""
        run, (x, y) = run or Run(), self.checked(x, y)
        for _ in run.steps(self, steps):
            run.log(**self.update(*batch((x, y), self.rng, batch_size)))
        with tg.no_grad():
            self.width.assign(tg.maximum(best_width(self.loss, y, self(x)), NARROWEST))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The answers: (n, d) to (n,)."""
        with tg.no_grad():
            return self(self.checked(x)).numpy()

    def log_prob(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The log-density of answers, minus (3) or (4), in nats; (n, d), (n,) to (n,)."""
        x, y = self.checked(x, y)
        with tg.no_grad():
            return -(gaussian_nll if self.loss == "squared" else laplace_nll)(y, self(x), self.width).numpy()

    def checked(self, x, y=None):
        """x, and y if given, as arrays where theta is, or an error that says what is wrong."""
        x = backend.asarray(x, self.theta.dtype, self.theta.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"LinearPredictor: x has shape {x.shape}; at least one row of {self.n_features} is wanted")
        require_finite("LinearPredictor: x", x)
        if y is None:
            return tg.tensor(x)
        y = backend.asarray(y, self.theta.dtype, self.theta.device)
        if y.shape != x.shape[:1]:
            raise ValueError(f"LinearPredictor: y has shape {y.shape}; one number for each of the {len(x)} rows is "
                             "wanted")  # fmt: skip
        require_finite("LinearPredictor: y", y)
        return x, y

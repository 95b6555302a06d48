r"""Monte-Carlo gradients: four ways to the slope of a mean that can only be sampled (S0; S1; S3 part 2; S4).

What learning goes down is a mean: over examples (S0), over codes that an encoder draws (S1, S3 and S4, for the
variational autoencoder), over whatever happens to an agent (S1). The slope of such a mean has to be estimated from
draws. `probability.estimators` holds four formulas that do so, all of them right on average. They differ in what they
need, and in how much they tremble. Here is a problem in which both can be computed.

**The problem.** Put a point $\mu$ so that a noisy shot from there, $z \sim \mathcal N(\mu, \sigma^2 I)$, falls near to
examples $x$ about $a$, each coordinate with variance $\tau^2$. In $d$ dimensions, and with $g = \mu - a$,

$$ J(\mu) = \mathbb E\, \tfrac12 \lVert z - x \rVert^2 = \tfrac12 \lVert g \rVert^2 + \tfrac d2 (\sigma^2 + \tau^2),
   \qquad \nabla J(\mu) = g. \tag{1} $$

Each estimate below is from one draw and has the mean $g$. Its *variance* is the mean of its squared distance from $g$,
summed over coordinates; $n$ draws together have an $n$-th of it.

**From data** (S0's proposition). The examples do not know $\mu$: the slope of the mean is the mean of the slopes. With
the shot averaged by hand, one example gives

$$ \nabla_\mu \tfrac12 \lVert \mu - x \rVert^2 = \mu - x, \qquad \text{variance } d \tau^2. \tag{2} $$

From here on the shot is what is drawn, and $f(z) = \frac12 \lVert z - a \rVert^2$ what it costs. The law of $z$ does
depend on $\mu$: S1 asks what $dz / d\mu$ is supposed to be.

**Through the draws** (S1, S3, S4: reparametrization). Write $z = \mu + \sigma \varepsilon$ with
$\varepsilon \sim \mathcal N(0, I)$. Now $\varepsilon$ does not know $\mu$, and

$$ \nabla_\mu f(\mu + \sigma \varepsilon) = g + \sigma \varepsilon, \qquad \text{variance } d \sigma^2. \tag{3} $$

**Through the score** (REINFORCE; beyond the documents). Weigh the direction in which a draw becomes more probable by
what the draw costs, less a *baseline* $b$ that does not know $z$:

$$ (f(z) - b)\, \nabla_\mu \log \mathcal N(z; \mu, \sigma^2 I) = (f(z) - b)\, \varepsilon / \sigma,
   \qquad \text{variance } \frac{d A^2}{\sigma^2} + d (d + 2) A + (d + 1) \lVert g \rVert^2
   + \frac{\sigma^2}{4} d (d + 2) (d + 4) \tag{4} $$

with $A = \frac12 \lVert g \rVert^2 - b$. (Expand the square; the even moments of $\varepsilon$ are
$\mathbb E\, \varepsilon_j^2 \lVert \varepsilon \rVert^2 = d + 2$ and
$\mathbb E\, \varepsilon_j^2 \lVert \varepsilon \rVert^4 = (d + 2)(d + 4)$, and the odd ones are 0.) It needs no slope
of $f$. Without a baseline its variance is at least of the order of $\lVert g \rVert^4 / \sigma^2$, which has no limit
for careful shots. A parabola in $A$, it is least at

$$ b^\star = \tfrac12 \lVert g \rVert^2 + \tfrac{\sigma^2}{2} (d + 2), \qquad
   \text{variance } (d + 1) \lVert g \rVert^2 + \tfrac{\sigma^2}{2} d (d + 2). \tag{5} $$

The mean cost, $\mathbb E f = \frac12 \lVert g \rVert^2 + \frac{\sigma^2}{2} d$, is nearly as good, and the mean of the
other draws is at hand. What remains is, at the best point, $\frac d2 + 1$ times the variance of (3), and more away from
it: one number, the cost, says less than the $d$ numbers of a slope.

**By perturbation** (S1: "estimate the direction to minimize the loss by random perturbations"). Shake $\mu$ both ways
and see what it changes. Two values of $F(\mu) = \frac12 \lVert \mu - a \rVert^2$ give

$$ \frac{F(\mu + s \varepsilon) - F(\mu - s \varepsilon)}{2 s}\, \varepsilon = (g^\top \varepsilon)\, \varepsilon,
   \qquad \text{variance } (d + 1) \lVert g \rVert^2. \tag{6} $$

This is the score function in disguise. Take a shot $z$ and its mirror image $2 \mu - z$, at $\sigma = s$: the mean of
their two estimates (4) is (6), for any $f$, and the baseline has cancelled, as has all that is even in $\varepsilon$:

$$ \tfrac12 \Bigl[ (f(\mu + s \varepsilon) - b)\, \frac{\varepsilon}{s}
   + (f(\mu - s \varepsilon) - b)\, \frac{-\varepsilon}{s} \Bigr]
   = \frac{f(\mu + s \varepsilon) - f(\mu - s \varepsilon)}{2 s}\, \varepsilon. \tag{7} $$

**Where (3) does not reach.** S4 ends with "latent variables in VAE cannot be discrete". True of (3), but (4) does not
mind. For a coin $x$ with $P(x = 1) = p = 1 / (1 + e^{-\theta})$ and costs $f_0, f_1$,

$$ \nabla_\theta\, \mathbb E f(x) = p (1 - p) (f_1 - f_0), \qquad
   \text{variance } p (1 - p) \bigl[ (1 - p)(f_1 - b) + p (f_0 - b) \bigr]^2 \tag{8} $$

and the baseline $b = (1 - p) f_1 + p f_0$ removes *all* of the variance. Worse than an error is a wrong answer: let
$f(z)$ be 1 for $z > 0$ and 0 otherwise. Its slope is 0 wherever there is one, so (3) says 0 at every draw. The truth is

$$ \frac{d}{d\mu} P(z > 0) = \frac{1}{\sigma \sqrt{2 \pi}}\, e^{-\mu^2 / 2 \sigma^2}, \tag{9} $$

and (4) and (6) find it. The exchange of slope and mean behind (3) wants an $f$ without jumps.

**What "unbiased" leaves out.** (6) is unbiased for the slope of $F$ blurred by $s$, which for a square happens to be
that of $F$. And what is made of an unbiased estimate (its length, its inverse, its quotient by another) is in general
not unbiased, unless it is linear in it, as a step of gradient descent is.

Notation
--------
$\mu, a, g$ : `mu`, `a`, `g`, (d,)
$\sigma, \tau, s$ : `sigma`, `tau`, `scale`
$x, z$ : `x`, `z`, (n, d)
$b, p, f_0, f_1$ : `b`, `p`, `f_0`, `f_1`
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import batch
from tinygen.models.model import Model, require_finite
from tinygen.probability import DiagonalNormal
from tinygen.probability.estimators import through_data, through_draws, through_perturbation, through_score
from tinygen.runs import Run

# ---- what can be known beforehand -----------------------------------------------------------------------


def half_square(z, x):
    r"""$\frac12 \lVert z - x \rVert^2$; twice (n, d) to (n,)."""
    return tg.sum(tg.square(z - x), axis=-1) / 2


def cost(g, sigma: float, tau: float) -> float:
    r"""(1): $J = \frac12 \lVert g \rVert^2 + \frac d2 (\sigma^2 + \tau^2)$."""
    return float(np.sum(g**2) + len(g) * (sigma**2 + tau**2)) / 2


def variance_from_data(d: int, tau: float) -> float:
    r"""(2): $d \tau^2$."""
    return d * tau**2


def variance_through_draws(d: int, sigma: float) -> float:
    r"""(3): $d \sigma^2$."""
    return d * sigma**2


def variance_through_score(g, sigma: float, b: float = 0.0) -> float:
    r"""(4), with $A = \frac12 \lVert g \rVert^2 - b$."""
    d, square = len(g), float(np.sum(g**2))
    A = square / 2 - b
    return d * A**2 / sigma**2 + d * (d + 2) * A + (d + 1) * square + sigma**2 / 4 * d * (d + 2) * (d + 4)


def best_baseline(g, sigma: float) -> tuple[float, float]:
    r"""(5): $b^\star$, and the variance with it."""
    d, square = len(g), float(np.sum(g**2))
    return square / 2 + sigma**2 / 2 * (d + 2), (d + 1) * square + sigma**2 / 2 * d * (d + 2)


def variance_by_perturbation(g) -> float:
    r"""(6): $(d + 1) \lVert g \rVert^2$."""
    return (len(g) + 1) * float(np.sum(g**2))


def mirrored(f: Callable, mu, eps, scale: float, b: float):
    r"""(7), left: the mean of two score estimates, a draw's and its mirror image's; (d,), (n, d) to (n, d)."""
    one, other = f(mu + scale * eps) - b, f(mu - scale * eps) - b  # (n,)
    return (tg.expand_dims(one, 1) * eps + tg.expand_dims(other, 1) * -eps) / (2 * scale)


def coin(theta: float, f_0: float, f_1: float, b: float = 0.0) -> tuple[float, float]:
    r"""(8): the slope, and the variance of the score estimate with a baseline."""
    p = 1 / (1 + math.exp(-theta))
    return p * (1 - p) * (f_1 - f_0), p * (1 - p) * ((1 - p) * (f_1 - b) + p * (f_0 - b)) ** 2


def step_slope(mu, sigma: float):
    r"""(9): $e^{-\mu^2 / 2 \sigma^2} / \sigma \sqrt{2 \pi}$."""
    return np.exp(-np.square(mu / sigma) / 2) / (sigma * math.sqrt(2 * math.pi))


# ---- the model ------------------------------------------------------------------------------------------

ESTIMATORS = ("data", "draws", "score", "perturbation")


class EstimatedDescent(Model):
    r"""A point that goes down the mean cost of shots from it at examples, by estimated slopes.

    Parameters
    ----------
    n_features : $d$
    estimator : "data" for (2), "draws" for (3), "score" for (4) with the mean of the other draws for a baseline, or
        "perturbation" for (6)
    loss : the cost of shots at examples, from twice (n, d) to (n,); by default half the squared distance. "data" asks
        for its slope at the point itself, "draws" for its slope anywhere, the other two only for values
    sigma : $\sigma$ of the shots, and $s$ of (6)
    lr : the rate of the descent
    schedule : the factor of the rate as a function of the step; None keeps it
    rng : the Generator of the start (a normal draw), the minibatches and the shots; None takes fresh entropy. The model
        lives on its device.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0], [3.0, 2.0]])
    >>> model = EstimatedDescent(2, estimator="score", schedule=optim.schedules.Cosine(500), rng=tg.random.Generator(0))
    >>> model.fit(x, steps=500, run=Run(quiet=True)).mu.numpy().round(0)
    array([2., 2.], dtype=float32)
    """

    def __init__(self, n_features: int, *, estimator: str = "draws", loss: Callable = half_square, sigma: float = 0.5,
                 lr: float = 0.05, schedule: Any = None, rng: Generator | None = None):  # fmt: skip
        if n_features < 1:
            raise ValueError(f"EstimatedDescent: n_features must be at least 1, got {n_features}")
        if estimator not in ESTIMATORS:
            raise ValueError(f"EstimatedDescent: estimator is {estimator!r}; one of {', '.join(ESTIMATORS)} is wanted")
        if not sigma > 0:
            raise ValueError(f"EstimatedDescent: sigma is {sigma!r}; a positive number is wanted")
        self.n_features, self.estimator, self.loss, self.sigma = n_features, estimator, loss, sigma
        self.rng = Generator() if rng is None else rng
        self.mu = tg.tensor(self.rng.normal(n_features), requires_grad=True)
        self.optimizer = optim.SGD(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def law(self, mu):
        r"""$\mathcal N(\mu, \sigma^2 I)$ from each row: (n, d) to n laws."""
        return DiagonalNormal(mu, self.sigma)

    def estimates(self, x):
        """The slope, once from each example and shot: (n, d) to (n, d)."""
        if self.estimator == "data":
            return through_data(lambda x, rows: self.loss(rows, x), self.mu, x)
        if self.estimator == "draws":
            return through_draws(self.law, lambda z: self.loss(z, x), self.mu, len(x), rng=self.rng)
        if self.estimator == "score":
            return through_score(self.law, lambda z: self.loss(z, x), self.mu, len(x), rng=self.rng)
        return through_perturbation(lambda rows: self.loss(rows, x), self.mu, len(x), scale=self.sigma, rng=self.rng)

    def update(self, x) -> dict:
        """One step by the mean of the estimates of a minibatch; the mean cost at the point itself."""
        with tg.no_grad():
            cost = tg.mean(self.loss(tg.broadcast_to(self.mu, x.shape), x))
        self.optimizer.step([tg.mean(self.estimates(x), axis=0)])
        self.schedule.step()
        return {"loss": cost}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 10, run: Run | None = None) -> Self:
        """Learn from examples (n, d); `run` may be a resumed one."""
        if self.estimator == "score" and batch_size < 2:
            raise ValueError(f"EstimatedDescent: batch_size is {batch_size}; at least 2 is wanted, since the baseline "
                             "of a shot comes from the others")  # fmt: skip
        run, x = run or Run(), self.checked(x)
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size)))
        return self

    def score(self, x: np.ndarray) -> float:
        """Minus the mean cost of the point itself, so that more is better; (n, d)."""
        x = self.checked(x)
        with tg.no_grad():
            return -float(tg.mean(self.loss(tg.broadcast_to(self.mu, x.shape), x)).item())

    def checked(self, x):
        """x as an array where the point is, or an error that says what is wrong."""
        x = backend.asarray(x, self.mu.dtype, self.mu.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"EstimatedDescent: x has shape {x.shape}; at least one row of {self.n_features} is "
                             "wanted")  # fmt: skip
        require_finite("EstimatedDescent: x", x)
        return x

r"""Laws drawn by inverting their distribution function: uniform, exponential, Laplace, Gumbel.

If $u$ is uniform on (0, 1) then $x = F^{-1}(u)$ has the distribution function $F$ (S2 and S4, inverse transform).
Where $F^{-1}$ is a formula it is smooth in the parameters too, so one line both draws and differentiates:

$$ x = a + (b - a)\,u \quad\text{(uniform)}, \tag{1} $$
$$ x = -\log(u) / \lambda \quad\text{(exponential)}, \tag{2} $$
$$ x = \mu - s\, \operatorname{sign}(v) \log(1 - 2|v|), \; v = u - \tfrac12 \quad\text{(Laplace)}, \tag{3} $$
$$ x = \mu - s \log(-\log u) \quad\text{(Gumbel)}. \tag{4} $$

($u$ and $1 - u$ have the same law; (2) uses the shorter.) The noise is drawn in float64, so that a tail is not
cut where a float32 uniform ends, at $2^{-24}$.
"""

from __future__ import annotations

import math

import numpy as np

import tinygen.autograd as tg
from tinygen.backend.arrays import array_module, errstate
from tinygen.probability.distribution import Distribution, batch_of, on_noise, open_uniform, parameter
from tinygen.probability.support import FINITE, NONNEGATIVE, POSITIVE, REAL, Support, interval

EULER = 0.5772156649015329  # Euler's constant, minus the derivative of log Gamma at 1


class Uniform(Distribution):
    """Evenly on [low, high].

    Parameters
    ----------
    low, high : $a < b$
    """

    has_rsample = True

    def __init__(self, low, high):
        self.low, self.high = (parameter("Uniform", n, v, FINITE) for n, v in (("low", low), ("high", high)))
        batch = batch_of("Uniform", low=self.low, high=self.high)
        _WIDTH.check("Uniform", "high - low", self.high - self.low)
        super().__init__(batch, (), self.low, self.high)
        self.support = interval(self.low, self.high)

    def rsample(self, shape=(), *, rng):
        """(1)."""
        u = on_noise(rng.uniform(self._shape(shape), dtype=self.dtype), self.dtype)
        return self.low + (self.high - self.low) * u

    def _log_density(self, x):
        r"""$-\log(b - a)$ inside, $-\infty$ outside (which a mixture of uniform laws needs)."""
        inside = (x >= self.low) & (x <= self.high)
        return tg.where(inside, x.detach() * 0, -math.inf) - tg.log(self.high - self.low)

    @property
    def mean(self):
        """$(a + b) / 2$."""
        return self._batch((self.low + self.high) / 2)

    @property
    def variance(self):
        """$(b - a)^2 / 12$."""
        return self._batch(tg.square(self.high - self.low) / 12)

    def entropy(self):
        r"""$\log(b - a)$."""
        return self._batch(tg.log(self.high - self.low))


_WIDTH = Support("positive widths", lambda xp, x: (x > 0) & (x < np.inf), fix="low must lie below high")


class Exponential(Distribution):
    r"""Waiting times: $\log p(x) = \log \lambda - \lambda x$ for $x \ge 0$.

    Parameters
    ----------
    rate : $\lambda > 0$
    """

    has_rsample = True
    support = NONNEGATIVE

    def __init__(self, rate):
        self.rate = parameter("Exponential", "rate", rate, POSITIVE)
        super().__init__(batch_of("Exponential", rate=self.rate), (), self.rate)

    def rsample(self, shape=(), *, rng):
        """(2)."""
        return on_noise(-_log(open_uniform(rng, self._shape(shape))), self.dtype) / self.rate

    def _log_density(self, x):
        return tg.log(self.rate) - self.rate * x

    @property
    def mean(self):
        r"""$1 / \lambda$."""
        return self._batch(1 / self.rate)

    @property
    def variance(self):
        r"""$1 / \lambda^2$."""
        return self._batch(1 / tg.square(self.rate))

    def entropy(self):
        r"""$1 - \log \lambda$."""
        return self._batch(1 - tg.log(self.rate))


class Laplace(Distribution):
    r"""The double exponential law: $\log p(x) = -|x - \mu| / s - \log 2s$.

    Parameters
    ----------
    loc : $\mu$
    scale : $s > 0$ (the standard deviation is $\sqrt2\, s$)
    """

    has_rsample = True
    support = REAL

    def __init__(self, loc, scale):
        self.loc = parameter("Laplace", "loc", loc, FINITE)
        self.scale = parameter("Laplace", "scale", scale, POSITIVE)
        super().__init__(batch_of("Laplace", loc=self.loc, scale=self.scale), (), self.loc, self.scale)

    def rsample(self, shape=(), *, rng):
        """(3)."""
        v = open_uniform(rng, self._shape(shape)) - 0.5
        xp = array_module(v)
        noise = -xp.sign(v) * xp.log1p(xp.maximum(-2 * xp.abs(v), 2.0**-53 - 1))
        return self.loc + self.scale * on_noise(noise, self.dtype)

    def _log_density(self, x):
        return -tg.abs(x - self.loc) / self.scale - tg.log(2 * self.scale)

    @property
    def mean(self):
        r"""$\mu$."""
        return self._batch(self.loc)

    @property
    def variance(self):
        """$2 s^2$."""
        return self._batch(2 * tg.square(self.scale))

    def entropy(self):
        r"""$1 + \log 2s$."""
        return self._batch(1 + tg.log(2 * self.scale))


class Gumbel(Distribution):
    r"""The law of the largest of many: $\log p(x) = -z - e^{-z} - \log s$ with $z = (x - \mu)/s$.

    Parameters
    ----------
    loc : $\mu$
    scale : $s > 0$
    """

    has_rsample = True
    support = FINITE  # at minus infinity the formula is infinity less infinity

    def __init__(self, loc, scale):
        self.loc = parameter("Gumbel", "loc", loc, FINITE)
        self.scale = parameter("Gumbel", "scale", scale, POSITIVE)
        super().__init__(batch_of("Gumbel", loc=self.loc, scale=self.scale), (), self.loc, self.scale)

    def rsample(self, shape=(), *, rng):
        """(4)."""
        return self.loc + self.scale * on_noise(gumbel_noise(rng, self._shape(shape)), self.dtype)

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        with errstate(np, over="ignore"):  # far to the left the density is 0, and its logarithm minus infinity
            return -z - tg.exp(-z) - tg.log(self.scale)

    @property
    def mean(self):
        r"""$\mu + \gamma s$, with Euler's constant $\gamma$."""
        return self._batch(self.loc + EULER * self.scale)

    @property
    def variance(self):
        r"""$\pi^2 s^2 / 6$."""
        return self._batch(math.pi**2 / 6 * tg.square(self.scale))

    def entropy(self):
        r"""$\log s + \gamma + 1$."""
        return self._batch(tg.log(self.scale) + EULER + 1)


def gumbel_noise(rng, shape):
    r"""$-\log(-\log u)$: standard Gumbel numbers, raw float64."""
    return -_log(-_log(open_uniform(rng, shape)))


def _log(u):
    return array_module(u).log(u)

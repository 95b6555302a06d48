r"""The Poisson law: how many events fall into a time, when they come at a constant rate.

$$ \log p(x) = x \log \lambda - \lambda - \log x!, \qquad x = 0, 1, 2, \dots \tag{1} $$

The distribution function is an incomplete gamma function, $F(x) = Q(x + 1, \lambda)$: at most $x$ events before
time $\lambda$ means that the event number $x + 1$ comes later. A draw inverts it, by halving an interval that
holds all but $10^{-16}$ of the mass.

Notation
--------
$\lambda$ : `rate`
"""

from __future__ import annotations

import math

import numpy as np
import scipy.special

import tinygen.autograd as tg
from tinygen.autograd import Tensor, lgamma
from tinygen.backend import cuda
from tinygen.backend.arrays import array_module, asarray, to_numpy
from tinygen.probability.distribution import Distribution, batch_of, open_uniform, parameter
from tinygen.probability.support import COUNTS, POSITIVE


class Poisson(Distribution):
    r"""Counts of mean and variance $\lambda$.

    Parameters
    ----------
    rate : $\lambda > 0$
    """

    support = COUNTS

    def __init__(self, rate):
        self.rate = parameter("Poisson", "rate", rate, POSITIVE)
        super().__init__(batch_of("Poisson", rate=self.rate), (), self.rate)

    def sample(self, shape=(), *, rng):
        """Counts, in the parameters' dtype: the least x with $F(x) > u$."""
        u = open_uniform(rng, self._shape(shape))
        xp = array_module(u)
        rate = self.rate._data if isinstance(self.rate, Tensor) else xp.asarray(self.rate)
        return Tensor(_quantile(xp, u, rate.astype("float64")).astype(self.dtype), None)

    def _log_density(self, x):
        """(1)."""
        return x * tg.log(self.rate) - self.rate - lgamma(x + 1)

    @property
    def mean(self):
        r"""$\lambda$."""
        return self._batch(self.rate)

    @property
    def variance(self):
        r"""$\lambda$."""
        return self._batch(self.rate)

    def entropy(self):
        r"""$-\sum_x p(x) \log p(x)$ over the $x$ that matter.

        It takes about $\lambda_{\max} + 10 \sqrt{\lambda_{\max}}$ terms a law (and waits for a GPU to say how many),
        all in float64: the large parts of (1) cancel.
        """
        rate = tg.astype(self._batch(self.rate), "float64")
        top = float(np.max(to_numpy(rate._data), initial=0.0))
        counts = np.arange(math.ceil(top + 10 * math.sqrt(top) + 40), dtype="float64")
        log_p = Poisson(tg.expand_dims(rate, -1))._log_density(Tensor(asarray(counts, device=rate.device), None))
        return tg.astype(-tg.sum(tg.exp(log_p) * log_p, -1), self.dtype)  # (..., terms) summed


def _quantile(xp, u, rate):
    """The least whole x with F(x) > u, by halving (low, high], raw float64."""
    special = scipy.special if xp is np else cuda.special()
    width = 9 * xp.sqrt(rate) + 40
    low = xp.broadcast_to(xp.maximum(xp.floor(rate - width), -1.0), u.shape)
    high = xp.broadcast_to(xp.ceil(rate + width), u.shape)
    steps = 1 + math.ceil(math.log2(2 * float(width.max()) + 2)) if u.size else 0
    for _ in range(steps):
        middle = xp.floor((low + high) / 2)
        reached = special.gammaincc(middle + 1, rate) > u
        low, high = xp.where(reached, low, middle), xp.where(reached, middle, high)
    return high

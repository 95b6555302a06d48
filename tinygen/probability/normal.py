r"""Gaussian laws: on the line, on independent coordinates, and with any covariance.

The density on the line (S4 1) and in $d$ dimensions,

$$ \log p(x) = -\tfrac12 \Bigl(\frac{x - \mu}{\sigma}\Bigr)^2 - \log \sigma - \tfrac12 \log 2\pi, \tag{1} $$
$$ \log p(x) = -\tfrac12 \lVert L^{-1}(x - \mu) \rVert^2 - \sum_i \log L_{ii} - \tfrac d2 \log 2\pi,
   \qquad \Sigma = L L^\top, \tag{2} $$

where $L$ is lower triangular: its determinant is the product of its diagonal, and the system is solved by
substitution, so no covariance is ever inverted. A draw is $x = \mu + L \varepsilon$ with
$\varepsilon \sim N(0, I)$ (S1, S4), and the entropy

$$ H = \tfrac d2 (1 + \log 2\pi) + \sum_i \log L_{ii}. \tag{3} $$

Slip in S1: its $N(\mu, \sigma)$ means the standard deviation; others write $N(\mu, \sigma^2)$. Here `scale` is
always the standard deviation.

Notation
--------
$\mu$ : `loc`;  $\sigma$ : `scale`;  $L$ : `scale_tril`;  $\Sigma$ : `covariance`
"""

from __future__ import annotations

import math

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd import linalg
from tinygen.probability.distribution import Distribution, batch_of, on_noise, one_of, parameter
from tinygen.probability.support import FINITE, LOWER_TRIANGLE, POSITIVE, REAL, SYMMETRIC, VECTOR

LOG_2PI = math.log(2 * math.pi)


class Normal(Distribution):
    r"""$N(\mu, \sigma^2)$ on the line.

    Parameters
    ----------
    loc : $\mu$
    scale : $\sigma > 0$, the standard deviation
    """

    has_rsample = True
    support = REAL

    def __init__(self, loc, scale):
        self.loc = parameter("Normal", "loc", loc, FINITE)
        self.scale = parameter("Normal", "scale", scale, POSITIVE)
        super().__init__(batch_of("Normal", loc=self.loc, scale=self.scale), (), self.loc, self.scale)

    def rsample(self, shape=(), *, rng):
        r"""$x = \mu + \sigma \varepsilon$, $\varepsilon \sim N(0, 1)$."""
        noise = on_noise(rng.normal(self._shape(shape), dtype=self.dtype), self.dtype)
        return self.loc + self.scale * noise

    def _log_density(self, x):
        """(1)."""
        return -0.5 * tg.square((x - self.loc) / self.scale) - tg.log(self.scale) - 0.5 * LOG_2PI

    @property
    def mean(self):
        r"""$\mu$."""
        return self._batch(self.loc)

    @property
    def variance(self):
        r"""$\sigma^2$."""
        return self._batch(tg.square(self.scale))

    def entropy(self):
        """(3) with $d = 1$."""
        return self._batch(tg.log(self.scale) + 0.5 * (1 + LOG_2PI))


class DiagonalNormal(Distribution):
    r"""$N(\mu, \operatorname{diag} \sigma^2)$: vectors whose coordinates are independent.

    Parameters
    ----------
    loc : $\mu$, (..., d)
    scale : $\sigma > 0$, (..., d), or a number for all coordinates
    """

    has_rsample = True
    support = VECTOR

    def __init__(self, loc, scale):
        self.loc = parameter("DiagonalNormal", "loc", loc, FINITE)
        self.scale = parameter("DiagonalNormal", "scale", scale, POSITIVE)
        shape = batch_of("DiagonalNormal", loc=self.loc, scale=self.scale)
        if not shape:
            raise ValueError("DiagonalNormal: loc and scale are numbers; a last axis of coordinates is wanted "
                             "(Normal is the law on the line)")  # fmt: skip
        super().__init__(shape[:-1], shape[-1:], self.loc, self.scale)

    def rsample(self, shape=(), *, rng):
        r"""$x = \mu + \sigma \odot \varepsilon$, $\varepsilon \sim N(0, I)$."""
        noise = on_noise(rng.normal(self._shape(shape), dtype=self.dtype), self.dtype)
        return self.loc + self.scale * noise

    def _log_density(self, x):
        r"""(2) with $L = \operatorname{diag} \sigma$: the sum of (1) over coordinates."""
        return tg.sum(-0.5 * tg.square((x - self.loc) / self.scale) - tg.log(self.scale) - 0.5 * LOG_2PI, -1)

    @property
    def mean(self):
        r"""$\mu$."""
        return self._batch(self.loc, event=True)

    @property
    def variance(self):
        r"""$\sigma^2$."""
        return self._batch(tg.square(self.scale), event=True)

    @property
    def covariance(self):
        r"""$\operatorname{diag} \sigma^2$, (..., d, d)."""
        return tg.diag(self.variance)

    def entropy(self):
        """(3)."""
        return tg.sum(self._batch(tg.log(self.scale) + 0.5 * (1 + LOG_2PI), event=True), -1)


class MultivariateNormal(Distribution):
    r"""$N(\mu, \Sigma)$ with any covariance, given by it or by its Cholesky factor.

    Parameters
    ----------
    loc : $\mu$, (..., d)
    scale_tril : $L$, (..., d, d), lower triangular with a positive diagonal
    covariance : $\Sigma = L L^\top$ instead, (..., d, d), positive definite
    """

    has_rsample = True
    support = VECTOR

    def __init__(self, loc, *, scale_tril=None, covariance=None):
        owner = "MultivariateNormal"
        self.loc = parameter(owner, "loc", loc, VECTOR)
        FINITE.check(owner, "loc", self.loc)
        if one_of(owner, scale_tril=scale_tril, covariance=covariance) == "covariance":
            self.scale_tril = _factor(parameter(owner, "covariance", covariance, SYMMETRIC))
        else:
            self.scale_tril = tg.tril(parameter(owner, "scale_tril", scale_tril, LOWER_TRIANGLE))
        d, shape = self.loc.shape[-1], self.scale_tril.shape
        if shape[-2:] != (d, d):
            raise ValueError(f"{owner}: loc has shape {self.loc.shape} and the matrix {shape}; "
                             f"matrices (..., {d}, {d}) are wanted")  # fmt: skip
        batch = batch_of(owner, loc=self.loc[..., 0], scale_tril=self.scale_tril[..., 0, 0])
        super().__init__(batch, (d,), self.loc, self.scale_tril)

    def rsample(self, shape=(), *, rng):
        r"""$x = \mu + L \varepsilon$, $\varepsilon \sim N(0, I)$."""
        noise = on_noise(rng.normal(self._shape(shape), dtype=self.dtype), self.dtype)
        return self.loc + tg.einsum("...ij,...j->...i", self.scale_tril, noise)

    def _log_density(self, x):
        """(2)."""
        distance = tg.sum(tg.square(whiten(self.scale_tril, x - self.loc)), -1)
        return -0.5 * distance - half_log_det(self.scale_tril) - 0.5 * self.event_shape[0] * LOG_2PI

    @property
    def mean(self):
        r"""$\mu$."""
        return self._batch(self.loc, event=True)

    @property
    def variance(self):
        r"""The diagonal of $\Sigma$."""
        return self._batch(tg.sum(tg.square(self.scale_tril), -1), event=True)

    @property
    def covariance(self):
        r"""$\Sigma = L L^\top$, (..., d, d)."""
        full = self.scale_tril @ self.scale_tril.mT
        return tg.broadcast_to(full, self.batch_shape + self.event_shape * 2)

    def entropy(self):
        """(3)."""
        return self._batch(half_log_det(self.scale_tril) + 0.5 * self.event_shape[0] * (1 + LOG_2PI))


def _factor(covariance):
    """The Cholesky factor, with a word to say where there is none (NumPy; on a GPU it is NaN then)."""
    try:
        return linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError("MultivariateNormal: covariance is not positive definite; a symmetric matrix with positive "
                         "eigenvalues is wanted (add a little to its diagonal)") from None  # fmt: skip


def half_log_det(scale_tril):
    r"""$\tfrac12 \log \det \Sigma = \sum_i \log L_{ii}$, (...)."""
    return tg.sum(tg.log(tg.diagonal(scale_tril, 0, -2, -1)), -1)


def whiten(scale_tril, difference):
    r"""$L^{-1} (x - \mu)$, (..., d), all vectors of one matrix solved at once as its columns."""
    batch, d = scale_tril.shape[:-2], difference.shape[-1]
    missing = len(batch) + 1 - len(difference.shape)
    if missing > 0:  # one vector for many matrices
        difference = tg.reshape(difference, (1,) * missing + tuple(difference.shape))
    rest = difference.shape[: len(difference.shape) - 1 - len(batch)]
    inner = difference.shape[len(rest) : -1]  # what stands against the matrices' batch: equal to it, or broadcast
    columns = tg.reshape(difference, (math.prod(rest), *inner, d))
    solved = linalg.solve_triangular(scale_tril, tg.moveaxis(columns, 0, -1))  # (*batch, d, prod(rest))
    solved = tg.moveaxis(solved, -1, 0)
    return tg.reshape(solved, (*rest, *solved.shape[1:]))

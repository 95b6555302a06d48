r"""The gamma law and its children: beta and Dirichlet.

$$ \log p(x) = \alpha \log \beta - \log \Gamma(\alpha) + (\alpha - 1) \log x - \beta x, \qquad x > 0, \tag{1} $$
$$ \log p(x) = (a - 1) \log x + (b - 1) \log(1 - x) - \log B(a, b), \qquad 0 < x < 1, \tag{2} $$
$$ \log p(x) = \sum_i (\alpha_i - 1) \log x_i - \log B(\alpha), \qquad x_i > 0, \; \sum_i x_i = 1, \tag{3} $$

with $\log B(\alpha) = \sum_i \log \Gamma(\alpha_i) - \log \Gamma(\sum_i \alpha_i)$. The family holds together: if
$G_i$ are independent gamma numbers of shapes $\alpha_i$ and one rate, then $G / \sum_j G_j$ is Dirichlet, and with
two of them $G_1 / (G_1 + G_2)$ is beta. So one sampler (`gamma_path.py`), with gradients, serves all three; it
works in logarithms, and the normalisation is a softmax.

Densities are taken inside the open sets, where all logarithms exist. Draws are kept inside too: one that rounds
to 0 becomes the smallest number of its dtype.

Notation
--------
$\alpha$, $a$ : `concentration`, `concentration1`;  $b$ : `concentration0`;  $\beta$ : `rate`
"""

from __future__ import annotations

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd import Tensor, digamma, lgamma
from tinygen.probability.discrete import softmax
from tinygen.probability.distribution import Distribution, batch_of, parameter, smallest
from tinygen.probability.gamma_path import sample_log_gamma
from tinygen.probability.support import OPEN_SIMPLEX, OPEN_UNIT, POSITIVE


class Gamma(Distribution):
    r"""$\Gamma(\alpha, \beta)$, of mean $\alpha / \beta$.

    Parameters
    ----------
    concentration : $\alpha > 0$, the shape
    rate : $\beta > 0$, the inverse of the scale
    """

    has_rsample = True
    support = POSITIVE

    def __init__(self, concentration, rate):
        self.concentration = parameter("Gamma", "concentration", concentration, POSITIVE)
        self.rate = parameter("Gamma", "rate", rate, POSITIVE)
        batch = batch_of("Gamma", concentration=self.concentration, rate=self.rate)
        super().__init__(batch, (), self.concentration, self.rate)

    def rsample(self, shape=(), *, rng):
        r"""$x = G_\alpha / \beta$, differentiable twice."""
        log_x = sample_log_gamma(_tensor(self.concentration, self, rng), self._shape(shape), rng=rng)
        return tg.clip(tg.exp(log_x) / self.rate, smallest(self.dtype), None)

    def _log_density(self, x):
        """(1)."""
        a, b = self.concentration, self.rate
        return a * tg.log(b) - lgamma(a) + (a - 1) * tg.log(x) - b * x

    @property
    def mean(self):
        r"""$\alpha / \beta$."""
        return self._batch(self.concentration / self.rate)

    @property
    def variance(self):
        r"""$\alpha / \beta^2$."""
        return self._batch(self.concentration / tg.square(self.rate))

    def entropy(self):
        r"""$\alpha - \log \beta + \log \Gamma(\alpha) + (1 - \alpha)\, \psi(\alpha)$."""
        a = self.concentration
        return self._batch(a - tg.log(self.rate) + lgamma(a) + (1 - a) * digamma(a))


class Beta(Distribution):
    r"""$B(a, b)$ on (0, 1), of mean $a / (a + b)$.

    Parameters
    ----------
    concentration1 : $a > 0$, the weight of 1
    concentration0 : $b > 0$, the weight of 0
    """

    has_rsample = True
    support = OPEN_UNIT

    def __init__(self, concentration1, concentration0):
        self.concentration1 = parameter("Beta", "concentration1", concentration1, POSITIVE)
        self.concentration0 = parameter("Beta", "concentration0", concentration0, POSITIVE)
        batch = batch_of("Beta", concentration1=self.concentration1, concentration0=self.concentration0)
        super().__init__(batch, (), self.concentration1, self.concentration0)

    def rsample(self, shape=(), *, rng):
        r"""$x = G_a / (G_a + G_b)$, differentiable twice."""
        shape = self._shape(shape)
        log_a, log_b = (
            sample_log_gamma(_tensor(c, self, rng), shape, rng=rng) for c in (self.concentration1, self.concentration0)
        )
        x = tg.exp(-tg.softplus(log_b - log_a))
        return tg.clip(x, smallest(self.dtype), 1 - float(np.finfo(self.dtype).epsneg))

    def _log_density(self, x):
        """(2)."""
        a, b = self.concentration1, self.concentration0
        return (a - 1) * tg.log(x) + (b - 1) * tg.log1p(-x) - log_beta(a, b)

    @property
    def mean(self):
        r"""$a / (a + b)$."""
        return self._batch(self.concentration1 / (self.concentration1 + self.concentration0))

    @property
    def variance(self):
        r"""$ab / ((a + b)^2 (a + b + 1))$."""
        a, b = self.concentration1, self.concentration0
        return self._batch(a * b / (tg.square(a + b) * (a + b + 1)))

    def entropy(self):
        r"""$\log B(a, b) - (a - 1)\psi(a) - (b - 1)\psi(b) + (a + b - 2)\psi(a + b)$."""
        a, b = self.concentration1, self.concentration0
        return self._batch(
            log_beta(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (a + b - 2) * digamma(a + b)
        )


class Dirichlet(Distribution):
    r"""Random probability vectors, of mean $\alpha / \sum_j \alpha_j$.

    Parameters
    ----------
    concentration : $\alpha$, (..., k), positive
    """

    has_rsample = True
    support = OPEN_SIMPLEX

    def __init__(self, concentration):
        self.concentration = parameter("Dirichlet", "concentration", concentration, POSITIVE)
        if isinstance(self.concentration, float) or not self.concentration.ndim:
            raise ValueError("Dirichlet: concentration is a number; a vector of one weight for each class is wanted")
        shape = self.concentration.shape
        super().__init__(shape[:-1], shape[-1:], self.concentration)

    def rsample(self, shape=(), *, rng):
        r"""$x_i = G_{\alpha_i} / \sum_j G_{\alpha_j}$, differentiable twice."""
        log_x = sample_log_gamma(self.concentration, self._shape(shape), rng=rng)
        return tg.clip(softmax(log_x), smallest(self.dtype), None)

    def _log_density(self, x):
        """(3)."""
        a = self.concentration
        return tg.sum((a - 1) * tg.log(x), -1) - log_beta_of(a)

    @property
    def mean(self):
        r"""$\alpha_i / \alpha_0$ with $\alpha_0 = \sum_j \alpha_j$."""
        return self.concentration / tg.sum(self.concentration, -1, True)

    @property
    def variance(self):
        r"""$m_i (1 - m_i) / (\alpha_0 + 1)$ with the mean $m$."""
        return self.mean * (1 - self.mean) / (tg.sum(self.concentration, -1, True) + 1)

    def entropy(self):
        r"""$\log B(\alpha) + (\alpha_0 - k)\psi(\alpha_0) - \sum_i (\alpha_i - 1)\psi(\alpha_i)$."""
        a = self.concentration
        total = tg.sum(a, -1)
        return log_beta_of(a) + (total - a.shape[-1]) * digamma(total) - tg.sum((a - 1) * digamma(a), -1)


def log_beta(a, b):
    r"""$\log B(a, b)$."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_beta_of(concentration):
    r"""$\log B(\alpha)$ over the last axis."""
    return tg.sum(lgamma(concentration), -1) - lgamma(tg.sum(concentration, -1))


def _tensor(value, law, rng):
    """A parameter as a Tensor, on the generator's device where nothing else says which."""
    device = rng.device if law._only_numbers else law.device
    return value if isinstance(value, Tensor) else tg.tensor(value, dtype=law.dtype, device=device)

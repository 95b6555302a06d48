r"""Mixtures: first a die says which law, then that law says the value.

With weights $\pi_j$ and components $p_j$ (S2 ex. 2.3.1, S4 61),

$$ \log p(x) = \log \sum_j \pi_j\, p_j(x) = \operatorname{logsumexp}_j \bigl(\log \pi_j + \log p_j(x)\bigr), \tag{1} $$

which never leaves log space: far from all components every $p_j(x)$ rounds to 0, and (1) is still right. The
moments follow from conditioning on which component it was: with means $m_j$ and variances $s_j$,

$$ m = \sum_j \pi_j m_j, \qquad s = \sum_j \pi_j \bigl(s_j + (m_j - m)^2\bigr). \tag{2} $$

Notation
--------
$\log \pi$ : `logits` up to a constant;  $p_j$ : `components`, a law whose last batch axis is j
"""

from __future__ import annotations

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module
from tinygen.probability.discrete import Categorical, class_logits
from tinygen.probability.distribution import Distribution
from tinygen.probability.support import Support


class Mixture(Distribution):
    r"""A mixture of k laws of one family.

    Parameters
    ----------
    components : a law with batch_shape (..., k)
    logits : $\log \pi$ up to a constant, (..., k) or (k,)
    probs : $\pi$ instead, summing to 1

    Examples
    --------
    >>> import numpy as np
    >>> from tinygen.probability import Normal
    >>> law = Mixture(Normal(np.array([-2.0, 2.0]), 0.5), probs=np.array([0.3, 0.7]))
    >>> law.batch_shape, round(law.mean.item(), 6)
    ((), 0.8)
    """

    def __init__(self, components, *, logits=None, probs=None):
        if not isinstance(components, Distribution) or not components.batch_shape:
            raise ValueError(f"Mixture: components is {components!r}; a law with a batch axis is wanted, "
                             "whose last axis counts the components")  # fmt: skip
        self.components = components
        self.logits = class_logits("Mixture", logits, probs)
        batch, k = components.batch_shape[:-1], components.batch_shape[-1]
        if self.logits.shape not in ((k,), (*batch, k)):
            raise ValueError(f"Mixture: logits (or probs) have shape {self.logits.shape}; for components of "
                             f"batch_shape {components.batch_shape}, ({k},) or {(*batch, k)} is wanted")  # fmt: skip
        super().__init__(batch, components.event_shape, self.logits)
        if not components._only_numbers:
            self.dtype = components.dtype
        inner = components.support
        self.support = Support(
            f"{inner.words} of one component at least",
            lambda xp, x: inner.holds(xp, xp.expand_dims(x, self._axis())).any(axis=-1),
            event_ndim=inner.event_ndim,
        )

    @property
    def log_weights(self):
        r"""$\log \pi$, (..., k)."""
        return self.logits - tg.logsumexp(self.logits, -1, keepdims=True)

    def sample(self, shape=(), *, rng):
        """Draws of all components, of which the die picks one."""
        shape = self._shape(shape)
        draws = shape[: len(shape) - len(self.batch_shape) - len(self.event_shape)]
        every = self.components.sample(draws, rng=rng)._data  # draws + batch + (k,) + event
        xp = array_module(every)
        missing = () if self.logits.ndim > 1 else self.batch_shape
        which = rng.categorical(self.logits._data, shape=draws + missing)  # draws + batch
        places = which.reshape(which.shape + (1,) * (1 + len(self.event_shape)))
        picked = xp.take_along_axis(every, places, self._axis())
        return Tensor(picked.squeeze(self._axis()), None)

    def _value(self, x):
        """x as the components take it: class numbers stay integers."""
        return Categorical._value(self, x) if isinstance(self.components, Categorical) else super()._value(x)

    def _log_density(self, x):
        """(1)."""
        each = self.components._log_density(tg.expand_dims(x, self._axis()))  # (..., k)
        return tg.logsumexp(self.log_weights + each, -1)

    @property
    def mean(self):
        """(2)."""
        return tg.sum(self._weights() * self.components.mean, self._axis())

    @property
    def variance(self):
        """(2)."""
        means, axis = self.components.mean, self._axis()
        spread = tg.square(means - tg.expand_dims(self.mean, axis))
        return tg.sum(self._weights() * (self.components.variance + spread), axis)

    def _axis(self) -> int:
        """Where the components stand: before the event."""
        return -1 - len(self.event_shape)

    def _weights(self):
        r"""$\pi$, with axes of length 1 for the event."""
        pi = tg.exp(self.log_weights)
        return tg.reshape(pi, pi.shape + (1,) * len(self.event_shape))

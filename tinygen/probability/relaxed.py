r"""A soft die: the Gumbel-softmax (concrete) law.

Add Gumbel noise to logits, and the position of the largest is a draw of the categorical law (the Gumbel-max
trick). That position jumps; put a softmax in its place, and it slides:

$$ x = \operatorname{softmax}\bigl((l + g) / \tau\bigr), \qquad g_i \sim \text{Gumbel}(0, 1). \tag{1} $$

As $\tau \to 0$, x tends to a one-hot draw; for $\tau > 0$ it is a smooth function of $l$ and has a density on the
simplex (Maddison, Mnih and Teh, 2017; Jang, Gu and Poole, 2017): with $\pi_i = e^{l_i}$,

$$ p(x) = \Gamma(k)\, \tau^{k - 1} \Bigl(\sum_i \pi_i x_i^{-\tau}\Bigr)^{-k} \prod_i \pi_i x_i^{-\tau - 1}. \tag{2} $$

The *straight-through* draw is one-hot going forward and (1) going back. Its gradient is biased, and useful.

Notation
--------
$\tau$ : `temperature`;  $l$ : `logits`;  $k$ : classes, the last axis
"""

from __future__ import annotations

import math

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.probability.discrete import class_logits, one_hot, softmax
from tinygen.probability.distribution import Distribution, batch_of, on_noise, parameter, smallest
from tinygen.probability.inversion import gumbel_noise
from tinygen.probability.support import OPEN_SIMPLEX, POSITIVE


class GumbelSoftmax(Distribution):
    r"""Relaxed one-hot vectors (1).

    Parameters
    ----------
    temperature : $\tau > 0$, a number or (...)
    logits : $l$, (..., k)
    probs : $p$ instead, (..., k), summing to 1
    """

    has_rsample = True
    support = OPEN_SIMPLEX

    def __init__(self, temperature, *, logits=None, probs=None):
        self.temperature = parameter("GumbelSoftmax", "temperature", temperature, POSITIVE)
        self.logits = class_logits("GumbelSoftmax", logits, probs)
        batch = batch_of("GumbelSoftmax", temperature=self.temperature, logits=self.logits[..., 0])
        super().__init__(batch, self.logits.shape[-1:], self.logits, self.temperature)

    def rsample(self, shape=(), *, rng, straight_through=False):
        """(1); with `straight_through`, one-hot vectors whose gradient is that of (1)."""
        noise = on_noise(gumbel_noise(rng, self._shape(shape)), self.dtype)
        x = softmax((self.logits + noise) / self._column())
        if not straight_through:
            return tg.clip(x, smallest(self.dtype), None)
        hard = Tensor(one_hot(x._data.argmax(-1), x.shape[-1], self.dtype), None)
        return hard + (x - x.detach())

    def _log_density(self, x):
        """(2)."""
        k, t, log_x = self.event_shape[0], self._column(), tg.log(x)
        scores = self.logits - t * log_x
        return (math.lgamma(k) + (k - 1) * tg.log(self.temperature) - k * tg.logsumexp(scores, -1)
                + tg.sum(scores - log_x, -1))  # fmt: skip

    def _column(self):
        """The temperature, against vectors."""
        return tg.expand_dims(self.temperature, -1) if isinstance(self.temperature, Tensor) else self.temperature

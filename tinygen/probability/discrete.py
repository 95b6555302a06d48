r"""Laws on finitely many values: a coin, a die, and a die that answers with a one-hot vector.

They are kept as **logits**, logarithms of weights up to a constant, because everything multiplicative lives in
log space: with $\operatorname{softplus}(l) = \log(1 + e^l)$,

$$ \log p(x) = x\, l - \operatorname{softplus}(l), \qquad x \in \{0, 1\}, \quad p = \sigma(l), \tag{1} $$
$$ \log p(x) = l_x - \log \sum_j e^{l_j}, \qquad x \in \{0, \dots, k - 1\}. \tag{2} $$

A law given by `probs` is turned into logits; a probability of exactly 0 becomes the smallest number of its dtype
(1: the largest below 1), so its logarithm is very negative rather than $-\infty$ and gradients stay finite.
Logits of $-\infty$ (classes ruled out) are taken as they are, by `Categorical` and `OneHotCategorical`.

None of these has a reparameterisation: a draw jumps when the parameters move. See `relaxed.py`.

Notation
--------
$l$ : `logits`;  $p$ : `probs`;  $k$ : the number of classes, the last axis
"""

from __future__ import annotations

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module, asarray, is_array
from tinygen.probability.distribution import Distribution, batch_of, one_of, parameter, smallest
from tinygen.probability.support import BINARY, FINITE, LOGITS, ONE_HOT, SIMPLEX, UNIT, classes


class Bernoulli(Distribution):
    """A coin: 1 with probability p, else 0.

    Parameters
    ----------
    logits : $l$, any numbers
    probs : $p$ instead, from 0 to 1
    """

    support = BINARY

    def __init__(self, *, logits=None, probs=None):
        if one_of("Bernoulli", logits=logits, probs=probs) == "logits":
            self.logits = parameter("Bernoulli", "logits", logits, FINITE)
            self.probs = tg.sigmoid(self.logits)
        else:
            self.probs = parameter("Bernoulli", "probs", probs, UNIT)
            low, high = _limits(self.probs)
            inside = tg.clip(self.probs, low, high)
            self.logits = tg.log(inside) - tg.log1p(-inside)
        super().__init__(batch_of("Bernoulli", logits=self.logits), (), self.logits)

    def sample(self, shape=(), *, rng):
        """Zeros and ones, in the parameters' dtype."""
        probs = self.probs._data if isinstance(self.probs, Tensor) else float(self.probs)
        return Tensor(rng.bernoulli(probs, self._shape(shape), dtype=self.dtype), None)

    def _log_density(self, x):
        """(1)."""
        return x * self.logits - tg.softplus(self.logits)

    @property
    def mean(self):
        """$p$."""
        return self._batch(self.probs)

    @property
    def variance(self):
        """$p (1 - p)$."""
        return self._batch(self.probs * (1 - self.probs))

    def entropy(self):
        r"""$\operatorname{softplus}(l) - p\, l$."""
        return self._batch(tg.softplus(self.logits) - self.probs * self.logits)


class Categorical(Distribution):
    """A die: class number x with probability $p_x$.

    Parameters
    ----------
    logits : $l$, (..., k)
    probs : $p$ instead, (..., k), summing to 1 along the last axis
    """

    def __init__(self, *, logits=None, probs=None):
        self.logits = class_logits(type(self).__name__, logits, probs)
        super().__init__(self.logits.shape[:-1], (), self.logits)
        self.support = classes(self.logits.shape[-1])

    @property
    def log_probs(self):
        r"""$\log p$, the logits brought to $\sum_j e^{l_j} = 1$, (..., k)."""
        return self.logits - tg.logsumexp(self.logits, -1, keepdims=True)

    @property
    def probs(self):
        """$p$, (..., k)."""
        return tg.exp(self.log_probs)

    def sample(self, shape=(), *, rng):
        """Class numbers, int64."""
        shape = self._shape(shape)
        draws = shape[: len(shape) - len(self.batch_shape)]
        return Tensor(rng.categorical(self.logits._data, shape=draws), None)

    def _value(self, x):
        """Class numbers stay integers; floats and booleans are refused."""
        if not isinstance(x, Tensor):
            x = tg.as_tensor(x) if is_array(x) else Tensor(asarray(x, device=self.device))
        if x.dtype.kind not in "iu":
            raise TypeError(f"{type(self).__name__}: x is {x.dtype}; integer class numbers are wanted "
                            "(OneHotCategorical takes one-hot vectors)")  # fmt: skip
        try:
            np.broadcast_shapes(x.shape, self.batch_shape)
        except ValueError:
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}; class numbers that broadcast against "
                             f"batch_shape {self.batch_shape} are wanted") from None  # fmt: skip
        return x

    def _log_density(self, x):
        """(2)."""
        shape = np.broadcast_shapes(x.shape, self.batch_shape)
        table = tg.broadcast_to(self.log_probs, (*shape, self.logits.shape[-1]))  # (..., k)
        index = tg.expand_dims(tg.broadcast_to(x, shape), -1)
        return tg.squeeze(tg.take_along_axis(table, index, -1), -1)

    @property
    def mean(self):
        """Class numbers are names: they have no mean."""
        raise NotImplementedError(f"{type(self).__name__}: mean of class numbers has no meaning; see OneHotCategorical")

    def entropy(self):
        r"""$-\sum_j p_j \log p_j$, where $0 \log 0 = 0$."""
        log_p = self.log_probs
        return -tg.sum(tg.exp(log_p) * bounded(log_p), -1)


class OneHotCategorical(Distribution):
    """A die that answers with a vector: 1 at the class drawn, 0 elsewhere.

    Parameters
    ----------
    logits : $l$, (..., k)
    probs : $p$ instead, (..., k), summing to 1 along the last axis
    """

    support = ONE_HOT

    def __init__(self, *, logits=None, probs=None):
        self.logits = class_logits("OneHotCategorical", logits, probs)
        super().__init__(self.logits.shape[:-1], self.logits.shape[-1:], self.logits)

    log_probs, probs = Categorical.log_probs, Categorical.probs

    def sample(self, shape=(), *, rng):
        """One-hot vectors, in the parameters' dtype."""
        shape = self._shape(shape)
        draws = shape[: len(shape) - len(self.batch_shape) - 1]
        return Tensor(one_hot(rng.categorical(self.logits._data, shape=draws), shape[-1], self.dtype), None)

    def _log_density(self, x):
        r"""(2), as $\sum_j x_j \log p_j$ over the classes with $x_j = 1$."""
        return tg.sum(tg.where(x > 0, self.log_probs, 0.0), -1)

    @property
    def mean(self):
        """$p$."""
        return self.probs

    @property
    def variance(self):
        """$p (1 - p)$."""
        return self.probs * (1 - self.probs)

    entropy = Categorical.entropy


def class_logits(owner, logits, probs):
    """Logits (..., k) from whichever of the two was given."""
    if one_of(owner, logits=logits, probs=probs) == "logits":
        logits = parameter(owner, "logits", logits, LOGITS)
    else:
        probs = parameter(owner, "probs", probs, SIMPLEX)
        logits = tg.log(tg.clip(probs, smallest(probs.dtype), None))
    return logits


def one_hot(index, k, dtype):
    """Raw one-hot vectors (..., k) of raw class numbers (...)."""
    xp = array_module(index)
    return (index[..., None] == xp.arange(k)).astype(dtype)


def softmax(scores):
    """Positive vectors that sum to 1, to the last digit: the largest score is taken out before anything rounds."""
    scores = scores - tg.max(scores, -1, True).detach()
    return tg.exp(scores - tg.logsumexp(scores, -1, True))


def bounded(log_p):
    r"""$\log p$ with the lowest finite number for $-\infty$, so that $0 \log 0$ is 0 and not NaN."""
    return tg.clip(log_p, float(np.finfo(log_p.dtype).min), None)


def _limits(p):
    """The least and the largest probability whose logits are finite."""
    dtype = p.dtype if isinstance(p, Tensor) else np.dtype("float64")
    return smallest(dtype), 1 - float(np.finfo(dtype).epsneg)

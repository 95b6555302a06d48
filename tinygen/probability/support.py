r"""Sets of values: where a law puts its mass, and where a parameter may lie.

A density is a formula *and* the set on which it holds. Outside of it the formula still gives numbers, and they
mean nothing: the logarithm of an exponential density at $x = -3$ is a perfectly finite $\log\lambda + 3\lambda$.
So every law carries its support, and `log_prob` looks before it computes. Host arrays are looked at; arrays on a
GPU pass, since looking would wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module, is_array
from tinygen.backend.recording import aside


class Support:
    """A set of values, as a test and in words.

    Parameters
    ----------
    words : what is wanted, to complete a message: "positive numbers"
    holds : function of (xp, raw array), true where the value belongs; axes of one event are reduced
    event_ndim : how many trailing axes make one value (1 for vectors, 2 for matrices)
    fix : what to do about it, shown in parentheses
    """

    def __init__(self, words: str, holds: Callable, *, event_ndim: int = 0, fix: str = ""):
        self.words, self.holds, self.event_ndim, self.fix = words, holds, event_ndim, fix

    def __repr__(self) -> str:
        return f"Support({self.words!r})"

    def contains(self, x: Any) -> Any:
        """Where x lies inside: booleans, of x's shape without the axes of one event."""
        raw = _raw(x)
        with np.errstate(invalid="ignore"):
            return self.holds(array_module(raw), raw if is_array(raw) else np.asarray(raw))

    @aside
    def check(self, owner: str, name: str, x: Any) -> None:
        """Raise a ValueError that names the argument and the first value outside (host arrays only)."""
        raw = _raw(x)
        if is_array(raw) and not isinstance(raw, np.ndarray):
            return
        raw = np.asarray(raw)
        outside = ~np.asarray(self.contains(raw))
        if not outside.any():
            return
        # the support may have more axes than x, when its bounds are arrays: show x as it met them
        seen = np.broadcast_to(raw, outside.shape + raw.shape[raw.ndim - self.event_ndim :])
        place = tuple(np.argwhere(outside)[0].tolist())
        at = f" at {place}" if place else ""
        value = seen[place]
        value = " ".join(np.array2string(value, threshold=8).split()) if np.ndim(value) else f"{float(value):.6g}"
        fix = f" ({self.fix})" if self.fix else ""
        raise ValueError(f"{owner}: {name} holds {value}{at}; {self.words} are wanted{fix}")


def _raw(x: Any) -> Any:
    return x._data if isinstance(x, Tensor) else x


def interval(low: Any, high: Any) -> Support:
    """The numbers from `low` to `high`, both included; the bounds may be Tensors."""
    a, b = _raw(low), _raw(high)
    return Support("values between low and high", lambda xp, x: (x >= a) & (x <= b))


def classes(k: int) -> Support:
    """The whole numbers 0, ..., k - 1."""
    return Support(f"class numbers from 0 to {k - 1}", lambda xp, x: (x >= 0) & (x < k) & (x == xp.floor(x)))


def _sums_to_one(xp, x):
    """Whether the last axis sums to 1, up to the rounding of its dtype."""
    slack = max(1e-6, (100 + 8 * x.shape[-1]) * float(np.finfo(x.dtype).eps)) if x.dtype.kind == "f" else 0
    return xp.abs(x.sum(axis=-1) - 1) <= slack


def _symmetric(xp, x):
    """Whether symmetric, up to rounding."""
    level = xp.abs(x).max(axis=(-1, -2))
    return xp.abs(x - x.swapaxes(-1, -2)).max(axis=(-1, -2)) <= 1e-4 * level


def _lower(xp, x):
    """Whether finite and lower triangular with a positive diagonal."""
    diagonal = xp.diagonal(x, axis1=-2, axis2=-1)
    triangular = xp.isfinite(x).all(axis=(-1, -2)) & (xp.triu(x, 1) == 0).all(axis=(-1, -2))
    return triangular & (diagonal > 0).all(axis=-1)


REAL = Support("numbers (not NaN)", lambda xp, x: x == x)
FINITE = Support("finite numbers", lambda xp, x: xp.isfinite(x))
POSITIVE = Support(
    "positive numbers", lambda xp, x: (x > 0) & (x < np.inf), fix="softplus or exp turn any number into a positive one"
)
NONNEGATIVE = Support("numbers of at least 0", lambda xp, x: (x >= 0) & (x < np.inf))
UNIT = Support("probabilities, from 0 to 1,", lambda xp, x: (x >= 0) & (x <= 1), fix="logits go into logits=")
OPEN_UNIT = Support("numbers between 0 and 1, without 0 and 1,", lambda xp, x: (x > 0) & (x < 1))
BINARY = Support(
    "zeros and ones",
    lambda xp, x: (x == 0) | (x == 1),
    fix="for values between, such as grey pixels, there is nn.functional.binary_cross_entropy_with_logits",
)
COUNTS = Support("whole numbers of at least 0", lambda xp, x: (x >= 0) & (x == xp.floor(x)) & (x < np.inf))
LOGITS = Support(
    "vectors of logits, neither NaN nor +inf nor all -inf,",
    lambda xp, x: (x < np.inf).all(axis=-1) & (x > -np.inf).any(axis=-1),
    event_ndim=1,
)
SIMPLEX = Support(
    "vectors of numbers of at least 0 that sum to 1",
    lambda xp, x: (x >= 0).all(axis=-1) & _sums_to_one(xp, x),
    event_ndim=1,
    fix="softmax gives such vectors; divide by the sum",
)
OPEN_SIMPLEX = Support(
    "vectors of positive numbers that sum to 1", lambda xp, x: (x > 0).all(axis=-1) & _sums_to_one(xp, x), event_ndim=1
)
ONE_HOT = Support(
    "one-hot vectors", lambda xp, x: ((x == 0) | (x == 1)).all(axis=-1) & (x.sum(axis=-1) == 1), event_ndim=1
)
VECTOR = Support("vectors of numbers (not NaN)", lambda xp, x: (x == x).all(axis=-1), event_ndim=1)
LOWER_TRIANGLE = Support(
    "finite lower triangular matrices with a positive diagonal",
    _lower,
    event_ndim=2,
    fix="linalg.cholesky of the covariance is one",
)
SYMMETRIC = Support("symmetric matrices", _symmetric, event_ndim=2, fix="(A + A.T) / 2 is one")

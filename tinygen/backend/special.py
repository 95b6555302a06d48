r"""Special functions under one name for both libraries, and three stable forms of everyday functions.

SciPy has them for NumPy, `cupyx.scipy.special` for CuPy. Each function here takes `xp` first and returns
the dtype it was given: float32 in, float32 out (some of the originals widen it). Integers become float64.

The stable forms never overflow on the way to a finite answer:

$$ \sigma(x) = 1 / (1 + e^{-x}), \tag{1} $$
$$ \mathrm{softplus}(x) = \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|}), \tag{2} $$
$$ \log(e^a + e^b) = \max(a, b) + \log(1 + e^{-|a - b|}). \tag{3} $$
"""

from __future__ import annotations

import math
import operator

import numpy as np
import scipy.special

from . import cuda
from .arrays import is_array


def erf(xp, x):
    r"""Error function, $\frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt$."""
    return _kept(_library(xp).erf(x), x)


def erfc(xp, x):
    r"""Complement of the error function, $1 - \mathrm{erf}(x)$, accurate where that is tiny."""
    return _kept(_library(xp).erfc(x), x)


def erfinv(xp, x):
    """Inverse of the error function, on [-1, 1]."""
    return _kept(_library(xp).erfinv(x), x)


def lgamma(xp, x):
    r"""Logarithm of the gamma function's absolute value, $\log |\Gamma(x)|$."""
    return _kept(_library(xp).gammaln(x), x)


def digamma(xp, x):
    r"""First derivative of $\log \Gamma$."""
    return _kept(_library(xp).digamma(x), x)


def polygamma(xp, n, x):
    r"""Derivative number $n + 1$ of $\log \Gamma$.

    It is digamma for $n = 0$, and with Hurwitz's zeta function $(-1)^{n+1}\, n!\; \zeta(n + 1, x)$ above.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < 0:
        raise ValueError(f"polygamma: n is {n!r}; wanted an integer of at least 0.")
    if n == 0:
        return digamma(xp, x)
    zeta = _library(xp).zeta(float(n + 1), x)
    return _kept((-1.0) ** (n + 1) * math.factorial(n) * zeta, x)


def ndtri(xp, x):
    """Quantile of the standard normal distribution, for probabilities in [0, 1]."""
    return _kept(_library(xp).ndtri(x), x)


def xlogy(xp, x, y):
    r"""Return $x \log y$, which is 0 where $x = 0$, whatever $y$."""
    return _kept(_library(xp).xlogy(x, y), x, y)


def sigmoid(xp, x):
    r"""Logistic function by (1), accurate in both tails.

    It is so down to about the smallest normal number, below which (and at $-\infty$) it stays; the clip keeps $e^{-x}$
    from overflowing.
    """
    floor = -88.0 if getattr(x, "dtype", None) == np.float32 else -709.0
    y = xp.exp(-xp.maximum(x, floor))
    y += 1
    return xp.divide(1.0, y, out=y) if is_array(y) else 1.0 / y


def softplus(xp, x):
    r"""Smooth positive part $\log(1 + e^x)$, by (2): 0 at $-\infty$, $x$ for large $x$."""
    y = xp.log1p(xp.exp(-xp.absolute(x)))
    y += xp.maximum(x, 0)
    return y


def logaddexp(xp, a, b):
    r"""Return $\log(e^a + e^b)$ by (3); infinities of either sign give their limits, never NaN."""
    return xp.logaddexp(a, b)


def _library(xp):
    """Return the special functions that go with xp."""
    return scipy.special if xp is np else cuda.special()


def _kept(out, *inputs):
    """Give the result the floating dtype of the inputs (Python numbers have no say)."""
    dtypes = [x.dtype for x in inputs if hasattr(x, "dtype")]
    wanted = np.result_type(*dtypes) if dtypes else out.dtype
    if out.dtype == wanted or wanted.kind not in "fc":
        return out
    return out.astype(wanted)

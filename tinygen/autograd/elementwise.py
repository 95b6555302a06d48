r"""Functions that work element by element, each beside its derivative.

If $y_i = f(a_i, b_i)$ then $\bar a_i = \bar y_i\,\partial f/\partial a_i$. Inputs of different shapes are
broadcast as in NumPy; the walk sums the gradients back to the inputs' shapes, so no rule here mentions it.

In a rule, `g` is $\bar y$, `y` the output, and the other letters are the inputs. `domain` says where the checks
may draw the inputs.
"""

from __future__ import annotations

import math

from tinygen.autograd.primitive import primitive, vocabulary
from tinygen.autograd.tensor import Tensor
from tinygen.backend import special

# ---- arithmetic -----------------------------------------------------------------------------------------


@primitive(lambda g: g, lambda g: g, domain="real")
def add(xp, a, b):
    """The sum $a + b$."""
    return xp.add(a, b)


@primitive(lambda g: g, lambda g: -g, domain="real")
def subtract(xp, a, b):
    """The difference $a - b$."""
    return xp.subtract(a, b)


@primitive(lambda g, b: g * b, lambda g, a: g * a, domain="real")
def multiply(xp, a, b):
    """The product $ab$."""
    return xp.multiply(a, b)


@primitive(lambda g, b: g / b, lambda g, y, b: -g * y / b, domain="nonzero")
def divide(xp, a, b):
    """The quotient $a / b$."""
    return xp.divide(a, b)


@primitive(lambda g: -g, domain="real")
def negative(xp, x):
    """The opposite $-x$."""
    return xp.negative(x)


@primitive(lambda g, y: -g * y * y, domain="nonzero")
def reciprocal(xp, x):
    """The inverse $1/x$."""
    return xp.divide(1.0, x)


@primitive(lambda g, x: g * (2 * x), domain="real")
def square(xp, x):
    """The square $x^2$."""
    return xp.square(x)


@primitive(lambda g, y: g / (2 * y), domain="positive")
def sqrt(xp, x):
    r"""The square root $\sqrt{x}$; its derivative at 0 is infinite (see `norm` and `std` for what to do)."""
    return xp.sqrt(x)


@primitive(lambda g, a, b: g * b * power(a, one_less(b)), lambda g, y, a: g * y * log_or_zero(a), domain="positive")
def power(xp, a, b):
    """The power $a^b$. A constant exponent may have any base; its derivative at $0^0$ is 0."""
    return xp.power(a, b)


@vocabulary
def one_less(b):
    """The exponent $b - 1$, but 1 where $b = 0$: the factor $b$ already makes that derivative 0."""
    if isinstance(b, int | float):
        return b - 1 if b else 1
    return b * 1 - (b != 0) + (b == 0)  # times 1, since booleans do not subtract


@vocabulary
def log_or_zero(a):
    r"""$\log a$ where $a > 0$, else 0: the derivative of $0^b$ by $b$ is 0, and negative bases have none."""
    return log(where(a > 0, a, 1))


# ---- sign, order and choice -----------------------------------------------------------------------------


@primitive(lambda g, x: g * sign(x), domain="nonzero")
def abs(xp, x):
    """The magnitude $|x|$, with derivative 0 at 0."""
    return xp.abs(x)


@primitive(lambda g: g * 0, domain="nonzero")
def sign(xp, x):
    """-1, 0 or 1."""
    return xp.sign(x)


@primitive(lambda g: g * 0, domain="between integers")
def floor(xp, x):
    """The largest integer that is not above $x$."""
    return xp.floor(x)


@primitive(lambda g: g * 0, domain="between integers")
def ceil(xp, x):
    """The smallest integer that is not below $x$."""
    return xp.ceil(x)


@primitive(
    lambda g, a, b: g * (a > b) + 0.5 * g * (a == b), lambda g, a, b: g * (a < b) + 0.5 * g * (a == b), domain="apart"
)
def maximum(xp, a, b):
    """The larger of two; at a tie each gets half of the gradient."""
    return xp.maximum(a, b)


@primitive(
    lambda g, a, b: g * (a < b) + 0.5 * g * (a == b), lambda g, a, b: g * (a > b) + 0.5 * g * (a == b), domain="apart"
)
def minimum(xp, a, b):
    """The smaller of two; at a tie each gets half of the gradient."""
    return xp.minimum(a, b)


@primitive(lambda g, x, a_min, a_max: g * inside(x, a_min, a_max))
def clip(xp, x, a_min=None, a_max=None):
    """x, but at least `a_min` and at most `a_max` (numbers or arrays, or None); derivative 1 at the bounds."""
    if a_min is None and a_max is None:
        raise ValueError("clip: a_min, a_max or both are wanted")
    for name, bound in (("a_min", a_min), ("a_max", a_max)):
        if isinstance(bound, Tensor):
            raise TypeError(
                f"clip: {name} is a Tensor; the bounds are constants (tg.maximum and tg.minimum take Tensors)"
            )
    return xp.clip(x, a_min, a_max)


@vocabulary
def inside(x, a_min, a_max):
    """1 where $x$ lies within the bounds, else 0."""
    if a_min is None or a_max is None:
        return x <= a_max if a_min is None else x >= a_min
    return bitwise_and(x >= a_min, x <= a_max)


@primitive(None, lambda g, condition: where(condition, g, 0), lambda g, condition: where(condition, 0, g))
def where(xp, condition, a, b):
    """a where `condition` holds, else b."""
    return xp.where(condition, a, b)


# ---- exponentials and logarithms ------------------------------------------------------------------------


@primitive(lambda g, y: g * y, domain="real")
def exp(xp, x):
    """$e^x$."""
    return xp.exp(x)


@primitive(lambda g, y: g * (y + 1), domain="real")
def expm1(xp, x):
    """$e^x - 1$, exact for small $x$."""
    return xp.expm1(x)


@primitive(lambda g, y: g * y * math.log(2), domain="real")
def exp2(xp, x):
    """$2^x$."""
    return xp.exp2(x)


@primitive(lambda g, x: g / x, domain="positive")
def log(xp, x):
    r"""The natural logarithm $\log x$."""
    return xp.log(x)


@primitive(lambda g, x: g / (1 + x), domain="positive")
def log1p(xp, x):
    r"""$\log(1 + x)$, exact for small $x$."""
    return xp.log1p(x)


@primitive(lambda g, x: g / (x * math.log(2)), domain="positive")
def log2(xp, x):
    r"""The logarithm to base 2."""
    return xp.log2(x)


@primitive(lambda g, x: g / (x * math.log(10)), domain="positive")
def log10(xp, x):
    r"""The logarithm to base 10."""
    return xp.log10(x)


@vocabulary
def finite(y):
    """y with 0 in place of infinities."""
    return where(isfinite(y), y, 0)


@primitive(lambda g, y, a: g * exp(a - finite(y)), lambda g, y, b: g * exp(b - finite(y)), domain="real")
def logaddexp(xp, a, b):
    r"""$\log(e^a + e^b)$, without overflow."""
    return special.logaddexp(xp, a, b)


# ---- trigonometric and hyperbolic -----------------------------------------------------------------------


@primitive(lambda g, x: g * cos(x), domain="real")
def sin(xp, x):
    r"""$\sin x$."""
    return xp.sin(x)


@primitive(lambda g, x: -g * sin(x), domain="real")
def cos(xp, x):
    r"""$\cos x$."""
    return xp.cos(x)


@primitive(lambda g, y: g * (1 + y * y), domain="unit")
def tan(xp, x):
    r"""$\tan x$."""
    return xp.tan(x)


@primitive(lambda g, x: g / sqrt(1 - x * x), domain="unit")
def arcsin(xp, x):
    r"""$\arcsin x$, for $|x| \le 1$."""
    return xp.arcsin(x)


@primitive(lambda g, x: -g / sqrt(1 - x * x), domain="unit")
def arccos(xp, x):
    r"""$\arccos x$, for $|x| \le 1$."""
    return xp.arccos(x)


@primitive(lambda g, x: g / (1 + x * x), domain="real")
def arctan(xp, x):
    r"""$\arctan x$."""
    return xp.arctan(x)


@primitive(lambda g, a, b: g * b / (a * a + b * b), lambda g, a, b: -g * a / (a * a + b * b), domain="nonzero")
def arctan2(xp, a, b):
    """The angle of the point $(b, a)$, in radians; its derivative at $(0, 0)$, where no angle is, is NaN."""
    return xp.arctan2(a, b)


@primitive(lambda g, x: g * cosh(x), domain="real")
def sinh(xp, x):
    r"""$\sinh x$."""
    return xp.sinh(x)


@primitive(lambda g, x: g * sinh(x), domain="real")
def cosh(xp, x):
    r"""$\cosh x$."""
    return xp.cosh(x)


@primitive(lambda g, y: g * (1 - y * y), domain="real")
def tanh(xp, x):
    r"""$\tanh x$."""
    return xp.tanh(x)


@primitive(lambda g, x: g / sqrt(x * x + 1), domain="real")
def arcsinh(xp, x):
    r"""The inverse of $\sinh$."""
    return xp.arcsinh(x)


@primitive(lambda g, x: g / sqrt(x * x - 1), domain="above one")
def arccosh(xp, x):
    r"""The inverse of $\cosh$, for $x \ge 1$."""
    return xp.arccosh(x)


@primitive(lambda g, x: g / (1 - x * x), domain="unit")
def arctanh(xp, x):
    r"""The inverse of $\tanh$, for $|x| < 1$."""
    return xp.arctanh(x)


# ---- squashing functions and rectifiers -----------------------------------------------------------------


@primitive(lambda g, y: g * y * (1 - y), domain="real")
def sigmoid(xp, x):
    r"""The logistic function $\sigma(x) = 1/(1 + e^{-x})$."""
    return special.sigmoid(xp, x)


@primitive(lambda g, x: g * sigmoid(x), domain="real")
def softplus(xp, x):
    r"""$\log(1 + e^x)$, without overflow."""
    return special.softplus(xp, x)


@primitive(lambda g, y: g * (y > 0), domain="nonzero")
def relu(xp, x):
    r"""$\max(x, 0)$, with derivative 0 at 0."""
    return xp.maximum(x, 0)


@primitive(None)
def one_or(xp, x, other):
    """1 where $x > 0$, else `other`: the slope of a leaky rectifier."""
    y = (x > 0).astype(x.dtype)
    y *= 1 - other
    y += other
    return y


@primitive(lambda g, x, negative_slope: g * one_or(x, negative_slope), domain="nonzero")
def leaky_relu(xp, x, negative_slope=0.01):
    """$x$ where $x > 0$, else `negative_slope` times $x$."""
    y = negative_slope * x
    return xp.maximum(x, y) if negative_slope <= 1 else xp.minimum(x, y)


@primitive(lambda g, x, y, alpha: g * (x > 0) + g * (minimum(y, 0) + alpha) * (x <= 0), domain="nonzero")
def elu(xp, x, alpha=1.0):
    r"""$x$ where $x > 0$, else $\alpha(e^x - 1)$, with $\alpha \ge 0$."""
    if not alpha >= 0:
        raise ValueError(f"elu: alpha must be at least 0, got {alpha!r}")
    return xp.maximum(x, 0) + alpha * xp.expm1(xp.minimum(x, 0))


# ---- special functions ----------------------------------------------------------------------------------


@primitive(lambda g, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x), domain="real")
def erf(xp, x):
    r"""The error function $\tfrac{2}{\sqrt\pi} \int_0^x e^{-t^2}\,dt$."""
    return special.erf(xp, x)


@primitive(lambda g, x: g * digamma(x), domain="positive")
def lgamma(xp, x):
    r"""$\log |\Gamma(x)|$."""
    return special.lgamma(xp, x)


@primitive(lambda g, x: g * polygamma(1, x), domain="positive")
def digamma(xp, x):
    r"""$\psi(x)$, the derivative of $\log \Gamma$."""
    return special.digamma(xp, x)


@primitive(None, lambda g, n, x: g * polygamma(n + 1, x))
def polygamma(xp, n, x):
    r"""$\psi^{(n)}(x)$, the n-th derivative of $\psi$; `n` an integer $\ge 0$, `x` positive."""
    return special.polygamma(xp, n, x)


# ---- comparisons and tests: no gradient -----------------------------------------------------------------


@primitive(None, None)
def equal(xp, a, b):
    """Whether $a = b$."""
    return xp.equal(a, b)


@primitive(None, None)
def not_equal(xp, a, b):
    r"""Whether $a \ne b$."""
    return xp.not_equal(a, b)


@primitive(None, None)
def less(xp, a, b):
    """Whether $a < b$."""
    return xp.less(a, b)


@primitive(None, None)
def less_equal(xp, a, b):
    r"""Whether $a \le b$."""
    return xp.less_equal(a, b)


@primitive(None, None)
def greater(xp, a, b):
    """Whether $a > b$."""
    return xp.greater(a, b)


@primitive(None, None)
def greater_equal(xp, a, b):
    r"""Whether $a \ge b$."""
    return xp.greater_equal(a, b)


@primitive(None, None)
def bitwise_and(xp, a, b):
    """`a & b`: whether both hold (for integers, bit by bit)."""
    return xp.bitwise_and(a, b)


@primitive(None, None)
def bitwise_or(xp, a, b):
    """`a | b`: whether at least one holds (for integers, bit by bit)."""
    return xp.bitwise_or(a, b)


@primitive(None)
def invert(xp, x):
    """`~x`: whether it does not hold (for integers, bit by bit)."""
    return xp.invert(x)


@primitive(None)
def isfinite(xp, x):
    """Whether it is neither NaN nor infinite."""
    return xp.isfinite(x)


@primitive(None)
def isnan(xp, x):
    """Whether it is NaN."""
    return xp.isnan(x)

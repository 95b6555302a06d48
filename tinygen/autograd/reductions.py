r"""Functions that reduce axes: sums, means, extremes, norms.

The adjoint of a sum is a *spread*: if $y = \sum_i x_i$ then every $\bar x_i$ is $\bar y$. All rules below spread
something; `axis` is None (all axes), an integer or a tuple, and `keepdims` keeps reduced axes with length 1.
"""

from __future__ import annotations

import math

from tinygen.autograd.elementwise import abs, exp, finite, power
from tinygen.autograd.primitive import arraylike, primitive, vocabulary
from tinygen.autograd.shapes import astype, broadcast_to, concatenate, flip, normal_axes, reshape, transpose
from tinygen.backend import linear
from tinygen.backend.arrays import errstate


@vocabulary
def spread(g, x_shape, axis):
    """Give every element of a reduced axis its sum's value: the adjoint of a sum over `axis`."""
    if axis is not None and len(g.shape) < len(x_shape):
        g = reshape(g, _kept(x_shape, axis))
    return broadcast_to(g, x_shape)


@vocabulary
def count(x_shape, axis, ddof=0):
    """How many elements each sum over `axis` has, less `ddof`."""
    return math.prod([x_shape[a] for a in normal_axes(axis, len(x_shape))]) - ddof


@vocabulary
def share(x, y, axis):
    """Where $x$ equals the extreme $y$ of its axis: 1 over the number of such places; elsewhere 0."""
    hit = astype(x == spread(y, x.shape, axis), x.dtype)
    return hit / sum(hit, axis, True)


@vocabulary
def nonzero(y):
    """y with 1 in place of 0: a safe divisor where the numerator is 0 too."""
    return y + (y == 0)


def _kept(shape, axis):
    """The shape with reduced axes kept as 1."""
    reduced = normal_axes(axis, len(shape))
    return tuple([1 if i in reduced else n for i, n in enumerate(shape)])


@primitive(lambda g, x_shape, axis: spread(g, x_shape, axis))
def sum(xp, x, axis=None, keepdims=False):
    r"""The sum $\sum_i x_i$."""
    return linear.total(xp, x, axis, keepdims)


@primitive(lambda g, x_shape, axis: spread(g / count(x_shape, axis), x_shape, axis))
def mean(xp, x, axis=None, keepdims=False):
    r"""The mean $\tfrac1n \sum_i x_i$."""
    return x.mean(axis=axis, keepdims=keepdims)


@primitive(
    lambda g, x, x_shape, axis, ddof: (
        spread(g, x_shape, axis) * (2 * (x - mean(x, axis, True))) / count(x_shape, axis, ddof)
    )
)
def var(xp, x, axis=None, ddof=0, keepdims=False):
    r"""The variance $\tfrac{1}{n - d} \sum_i (x_i - \bar x)^2$, with $d$ = `ddof`."""
    return x.var(axis=axis, ddof=ddof, keepdims=keepdims)


@primitive(
    lambda g, x, y, x_shape, axis, ddof: (
        spread(g / nonzero(y), x_shape, axis) * (x - mean(x, axis, True)) / count(x_shape, axis, ddof)
    )
)
def std(xp, x, axis=None, ddof=0, keepdims=False):
    """The standard deviation, the root of `var`; its derivative where the deviation is 0 is taken as 0."""
    return x.std(axis=axis, ddof=ddof, keepdims=keepdims)


@primitive(lambda g, x, y, x_shape, axis: spread(g, x_shape, axis) * share(x, y, axis))
def max(xp, x, axis=None, keepdims=False):
    """The largest element; where several are, they share the gradient equally."""
    return x.max(axis=axis, keepdims=keepdims)


@primitive(lambda g, x, y, x_shape, axis: spread(g, x_shape, axis) * share(x, y, axis))
def min(xp, x, axis=None, keepdims=False):
    """The smallest element; where several are, they share the gradient equally."""
    return x.min(axis=axis, keepdims=keepdims)


@primitive(lambda g, x, y, x_shape, axis: spread(g, x_shape, axis) * exp(x - spread(finite(y), x_shape, axis)))
def logsumexp(xp, x, axis=None, keepdims=False):
    r"""$\log \sum_i e^{x_i}$, without overflow; $-\infty$ for nothing but $-\infty$."""
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    with errstate(xp, divide="ignore"):  # log 0 is what it should be
        y = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else y.reshape([n for i, n in enumerate(x.shape) if i not in normal_axes(axis, x.ndim)])


@primitive(lambda g, x, y, x_shape, axis: spread(g / nonzero(y), x_shape, axis) * x)
def _norm(xp, x, axis=None, keepdims=False):
    r"""The Euclidean norm $\sqrt{\sum_i x_i^2}$, with subgradient 0 at 0."""
    return xp.sqrt(xp.sum(xp.square(x), axis=axis, keepdims=keepdims))


def norm(x, ord=None, axis=None, keepdims=False):
    r"""The norm $(\sum_i |x_i|^p)^{1/p}$ over `axis` (all axes by default), with $p$ = `ord`.

    `ord` is None, 2 or "fro" (Euclidean; subgradient 0 at 0), 1, `math.inf`, or any positive number. Powers are
    taken as they are, so numbers whose square underflows (below about 1e-19 in float32) count as 0, and those whose
    square overflows (above about 1e19) make it infinite. Matrix norms other than Frobenius's are not here: for a
    matrix, give one `axis` when `ord` is a number.
    """
    x = arraylike(x)
    if not (ord in (None, "fro") or isinstance(ord, int | float)):
        raise ValueError(f"norm: ord must be None, 'fro', math.inf or a positive number, got {ord!r}")
    if ord in (None, "fro", 2) and not (ord == 2 and len(normal_axes(axis, len(x.shape))) > 1):
        return _norm(x, axis, keepdims)
    if isinstance(ord, str) or len(normal_axes(axis, len(x.shape))) > 1:
        raise ValueError(f"norm: ord={ord!r} over axis={axis!r} of shape {x.shape} would be a matrix norm; "
                         "give one axis, or ord=None")  # fmt: skip
    if ord == math.inf:
        return max(abs(x), axis, keepdims)
    if ord <= 0:
        raise ValueError(f"norm: ord must be positive, got {ord!r}")
    if ord == 1:
        return sum(abs(x), axis, keepdims)
    size = abs(x)
    powers = sum(power(nonzero(size), ord) * (size != 0), axis, keepdims)  # nor have the roots of zero entries
    return power(nonzero(powers), 1 / ord) * (powers != 0)  # at 0 the root has no slope: the subgradient is 0


def prod(x, axis=None, keepdims=False):
    r"""The product $\prod_i x_i$, multiplied up in pairs, so that zeros do no harm to any derivative."""
    x = arraylike(x)
    if x.dtype.kind in "biu":  # as NumPy, whose products of small integers are long ones
        x = astype(x, "uint64" if x.dtype.kind == "u" else "int64")
    axes = normal_axes(axis, len(x.shape), "prod")
    rest = [i for i in range(len(x.shape)) if i not in axes]
    shape = x.shape
    x = reshape(transpose(x, (*axes, *rest)), (math.prod([shape[a] for a in axes]), *[shape[i] for i in rest]))
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        pairs = x[:half] * x[half : 2 * half]
        x = concatenate([pairs, x[2 * half :]]) if x.shape[0] % 2 else pairs
    y = x[0] * 1 if x.shape[0] else sum(x, 0) + 1  # times 1: no view of the input; the empty product is 1
    return reshape(y, _kept(shape, axis)) if keepdims else y


@primitive(lambda g, axis: flip(_cumsum(flip(g, axis), axis), axis))
def _cumsum(xp, x, axis):
    r"""The running sums $y_i = \sum_{j \le i} x_j$."""
    return xp.cumsum(x, axis=axis)


def cumsum(x, axis=None):
    r"""The running sums $y_i = \sum_{j \le i} x_j$ along `axis`, of the flattened array when it is None."""
    return _cumsum(reshape(x, -1), 0) if axis is None else _cumsum(x, axis)


@primitive(None)
def argmax(xp, x, axis=None, keepdims=False):
    """The index of the largest element, the first of several."""
    return x.argmax(axis=axis, keepdims=keepdims)


@primitive(None)
def argmin(xp, x, axis=None, keepdims=False):
    """The index of the smallest element, the first of several."""
    return x.argmin(axis=axis, keepdims=keepdims)


@primitive(None)
def any(xp, x, axis=None, keepdims=False):
    """Whether at least one element is true."""
    return x.any(axis=axis, keepdims=keepdims)


@primitive(None)
def all(xp, x, axis=None, keepdims=False):
    """Whether every element is true."""
    return x.all(axis=axis, keepdims=keepdims)

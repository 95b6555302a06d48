r"""Convolution: three bilinear operations that are one another's derivatives.

With $x$ (n, c, *spatial) and weights $w$ (o, c/groups, *kernel), `convolve` is what networks call a convolution
(mathematically a cross-correlation, stride $s$, dilation $d$, padding $p$):

$$ y_{n,o,i} = \sum_{c,k} w_{o,c,k}\, x_{n,c,\,s i + d k - p}. \tag{1} $$

It is linear in $x$ and in $w$, and so are its two adjoints, defined by

$$ \langle y, \mathrm{convolve}(x, w)\rangle = \langle \mathrm{convolve\_adjoint}(y, w), x\rangle
   = \langle \mathrm{convolve\_weight}(x, y), w\rangle. \tag{2} $$

Each of the three is linear in two of $x$, $w$, $y$, and (2) says what its derivative by either is: another of
the three. The trio is closed, so there are derivatives of every order. `unfold` and `fold` are a pair of the
same kind: windows cut out of $x$, and windows added back. `max_windows` is the largest element of each window, in
one go.

What stride, padding, dilation and groups are is one value, a `Geometry`.
"""

from __future__ import annotations

from typing import NamedTuple

from tinygen.autograd.primitive import primitive, vocabulary
from tinygen.autograd.reductions import max, sum
from tinygen.backend import convolution as backend
from tinygen.backend.arrays import array_module


class Geometry(NamedTuple):
    """How a kernel meets its input: tuples with one integer per spatial axis, and the number of groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


@primitive(
    lambda g, w, x_shape, geometry: convolve_adjoint(g, w, x_shape[2:], geometry),
    lambda g, x, w_shape, geometry: convolve_weight(x, g, w_shape[2:], geometry),
)
def convolve(xp, x, w, geometry):
    """(1): x (n, c, *spatial), w (o, c/groups, *kernel) to y (n, o, *positions)."""
    return backend.convolve(xp, x, w, *geometry)


@primitive(
    lambda g, w, x_shape, geometry: convolve_adjoint(g, w, x_shape[2:], geometry),
    lambda g, x, w_shape, geometry: convolve_weight(x, g, w_shape[2:], geometry),
    lambda g: per_channel(g),
)
def convolve_plus(xp, x, w, b, geometry):
    """(1) and a bias b (o,) for each output channel."""
    return backend.convolve(xp, x, w, *geometry, bias=b)


@vocabulary
def per_channel(g):
    """The sums of each channel (axis 1) over samples and places: the adjoint of adding one number to all of them."""
    return sum(g, (0, *range(2, len(g.shape))))


@primitive(
    lambda g, w, geometry: convolve(g, w, geometry),
    lambda g, v, w_shape, geometry: convolve_weight(g, v, w_shape[2:], geometry),
)
def convolve_adjoint(xp, v, w, spatial, geometry):
    """(2): v (n, o, *positions), w (o, c/groups, *kernel) to (n, c, *spatial)."""
    return backend.convolve_adjoint(xp, v, w, spatial, *geometry)


@primitive(
    lambda g, v, x_shape, geometry: convolve_adjoint(v, g, x_shape[2:], geometry),
    lambda g, x, geometry: convolve(x, g, geometry),
)
def convolve_weight(xp, x, v, kernel, geometry):
    """(2): x (n, c, *spatial), v (n, o, *positions) to (o, c/groups, *kernel)."""
    return backend.convolve_weight(xp, x, v, kernel, *geometry)


@primitive(lambda g, x_shape, stride, dilation: fold(g, x_shape[2:], stride, dilation))
def unfold(xp, x, kernel, stride, dilation):
    """Windows of x (n, c, *spatial): (n, c, *positions, *kernel), without a copy."""
    return backend.unfold(xp, x, kernel, stride, dilation)


@primitive(lambda g, x_shape, stride, dilation: unfold(g, kernel_of(x_shape), stride, dilation))
def fold(xp, x, spatial, stride, dilation):
    """Windows x (n, c, *positions, *kernel) added up where they were cut: (n, c, *spatial)."""
    return backend.fold(xp, x, spatial, stride, dilation)


def _max_back(g, x, y, kernel, stride, dilation):
    """The fused rule of `max_windows`."""
    return backend.max_windows_back(array_module(g), g, x, y, kernel, stride, dilation)


@primitive(
    _max_back,
    composed=lambda x, kernel, stride, dilation: max(
        unfold(x, kernel, stride, dilation), tuple(range(-len(kernel), 0))
    ),
    formula=r"\bar x = \operatorname{fold}(\bar y \odot \operatorname{share}(\operatorname{unfold}(x), y))",
)
def max_windows(xp, x, kernel, stride, dilation):
    """The largest element of each window of x (n, c, *spatial): (n, c, *positions); equals share the gradient."""
    return backend.max_windows(xp, x, kernel, stride, dilation)


@vocabulary
def kernel_of(shape):
    """The last axes of windows."""
    return shape[len(shape) // 2 + 1 :]

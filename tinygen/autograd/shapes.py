r"""Functions that move elements without computing on them: the adjoint of each moves them back.

Where two outputs come from one input (broadcasting, tiling, padding by reflection), the adjoint adds.
`broadcast_to` has the shortest rule of all: it hands its gradient on, and the walk sums it to the input's shape.
"""

from __future__ import annotations

import builtins
import operator
from numbers import Integral

import numpy as np

from tinygen.autograd.elementwise import where
from tinygen.autograd.indexing import getitem
from tinygen.autograd.primitive import arraylike, primitive, vocabulary
from tinygen.backend import arrays as backend


def normal_axes(axis, ndim, name="axis"):
    """Axes as a tuple of numbers from 0 to ndim - 1; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    normal = tuple([a.__index__() + ndim if a < 0 else a.__index__() for a in axes])
    if builtins.any(not 0 <= a < ndim for a in normal):
        raise np.exceptions.AxisError(f"{name}: axis {axis} is out of bounds for {ndim} axes")
    if len(set(normal)) < len(normal):
        raise ValueError(f"{name}: axis {axis} names the same axis twice")
    return normal


# ---- one input, rearranged ------------------------------------------------------------------------------


@primitive(lambda g, x_shape: reshape(g, x_shape))
def reshape(xp, x, shape):
    """The same elements, in C order, in another shape; one length may be -1."""
    return xp.reshape(x, shape)


@vocabulary
def inverse(axes):
    """The permutation that undoes `axes`."""
    return None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]).tolist())


@primitive(lambda g, axes: transpose(g, inverse(axes)))
def transpose(xp, x, axes=None):
    """The axes in the order `axes`, reversed by default."""
    return xp.transpose(x, axes)


@primitive(lambda g, axis1, axis2: swapaxes(g, axis1, axis2))
def swapaxes(xp, x, axis1, axis2):
    """Two axes exchanged."""
    return xp.swapaxes(x, axis1, axis2)


@primitive(lambda g, source, destination: moveaxis(g, destination, source))
def moveaxis(xp, x, source, destination):
    """Axes moved from `source` to `destination`, the others in their order."""
    return xp.moveaxis(x, source, destination)


@primitive(lambda g, x_shape: reshape(g, x_shape))
def expand_dims(xp, x, axis):
    """New axes of length 1, at the places `axis` of the result."""
    return xp.expand_dims(x, axis)


@primitive(lambda g, x_shape: reshape(g, x_shape))
def squeeze(xp, x, axis=None):
    """Axes of length 1 removed: all of them, or those in `axis`."""
    return xp.squeeze(x, axis)


@primitive(lambda g: g)
def broadcast_to(xp, x, shape):
    """x repeated along new axes, and along those of length 1, to `shape`. The walk sums the gradient back."""
    return backend.broadcast_to(xp, x, shape)


@primitive(lambda g, axis: flip(g, axis))
def flip(xp, x, axis=None):
    """The order of the elements reversed along `axis` (all axes by default)."""
    return xp.flip(x, axis)


@primitive(lambda g, shift, axis: roll(g, opposite(shift), axis))
def roll(xp, x, shift, axis=None):
    """Elements shifted along `axis` (of the flattened array by default); the last come in at the front."""
    return xp.roll(x, shift, axis)


@vocabulary
def opposite(shift):
    """The shift back."""
    return tuple([-s for s in shift]) if isinstance(shift, tuple | list) else -shift


@primitive(lambda g, k: tril(g, k))
def tril(xp, x, k=0):
    """The lower triangle of the last two axes, up to the k-th diagonal; zeros above."""
    return xp.tril(x, k)


@primitive(lambda g, k: triu(g, k))
def triu(xp, x, k=0):
    """The upper triangle of the last two axes, from the k-th diagonal; zeros below."""
    return xp.triu(x, k)


@primitive(lambda g: g)
def astype(xp, x, dtype):
    """x in another dtype. The walk gives the gradient x's own dtype again."""
    return x.astype(dtype)


@primitive(lambda g, saved: move(g, saved), formula=r"\bar x = \operatorname{move}(\bar y, \text{device of } x)")
def move(xp, x, device):
    """x on another device ("cpu", "cuda", "cuda:1")."""
    return backend.to_device(x, device), backend.device_of(x)


# ---- several inputs, joined -----------------------------------------------------------------------------


def _cut(g, arrays_shape, axis, needs):
    """The pieces of `g` that came from each array."""
    axis = axis % len(g.shape)
    pieces, start = [], 0
    for shape, needed in zip(arrays_shape, needs, strict=True):
        stop = start + shape[axis]
        pieces.append(getitem(g, (slice(None),) * axis + (slice(start, stop),)) if needed else None)
        start = stop
    return tuple(pieces)


@primitive(joint=_cut, formula=r"\bar x_i = \text{the part of } \bar y \text{ that } x_i \text{ fills}")
def _concatenate(xp, *arrays, axis=0):
    """Arrays joined along `axis`."""
    return xp.concatenate(arrays, axis)


def concatenate(arrays, axis=0):
    """Arrays joined along an axis they have (all flattened when `axis` is None)."""
    if axis is None:
        arrays, axis = [reshape(a, -1) for a in arrays], 0
    return _concatenate(*arrays, axis=axis)


def stack(arrays, axis=0):
    """Arrays of one shape joined along a new axis."""
    arrays = [arraylike(a) for a in arrays]
    shapes = {tuple(a.shape) for a in arrays}
    if len(shapes) != 1:
        raise ValueError(f"stack: one array or more, of one shape, are wanted, got shapes {sorted(shapes)}")
    (axis,) = normal_axes(axis, len(arrays[0].shape) + 1, "stack")
    return concatenate([expand_dims(a, axis) for a in arrays], axis)


def split(x, indices_or_sections, axis=0):
    """A list of pieces along `axis`: so many equal ones, or cut before each of the given indices."""
    x = arraylike(x)
    (axis,) = normal_axes(axis, len(x.shape), "split")
    n = x.shape[axis]
    if isinstance(indices_or_sections, Integral):
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ValueError(f"split: axis {axis} of length {n} does not divide into {indices_or_sections} equal parts")
        cuts = list(range(0, n, n // indices_or_sections))[1:] if n else [0] * (indices_or_sections - 1)
    else:
        try:
            cuts = [operator.index(i) for i in indices_or_sections]
        except TypeError:
            raise TypeError(f"split: an integer or several are wanted, got {indices_or_sections!r}") from None
    before = (slice(None),) * axis
    return [getitem(x, (*before, slice(a, b))) for a, b in zip([0, *cuts], [*cuts, n], strict=True)]


# ---- repetition and padding -----------------------------------------------------------------------------


def tile(x, reps):
    """The whole of x side by side, `reps` times along each axis."""
    x, reps = arraylike(x), (reps,) if isinstance(reps, Integral) else tuple(reps)
    ndim = builtins.max(len(reps), len(x.shape))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - len(x.shape)) + tuple(x.shape)
    spread = [m for r, n in zip(reps, shape, strict=True) for m in (r, n)]
    x = reshape(x, [m for n in shape for m in (1, n)])
    return reshape(broadcast_to(x, spread), [r * n for r, n in zip(reps, shape, strict=True)])


def repeat(x, repeats, axis=None):
    """Each element `repeats` times in a row (a number, or one number per element) along `axis`."""
    x, axis = (reshape(x, -1), 0) if axis is None else (arraylike(x), axis)
    (axis,) = normal_axes(axis, len(x.shape), "repeat")
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if not isinstance(repeats, Integral):
        if len(repeats) != n:
            raise ValueError(f"repeat: {len(repeats)} repeats for axis {axis} of length {n}; one each is wanted")
        return getitem(x, (slice(None),) * axis + (np.repeat(np.arange(n), repeats),))
    x = broadcast_to(expand_dims(x, axis + 1), (*before, n, repeats, *after))
    return reshape(x, (*before, n * repeats, *after))


@primitive(lambda g, x_shape, pad_width: getitem(g, interior(x_shape, pad_width)))
def _pad(xp, x, pad_width, constant_values):
    """x within a frame of constants."""
    return xp.pad(x, pad_width, mode="constant", constant_values=constant_values)


@vocabulary
def interior(x_shape, pad_width):
    """The index of x within its frame."""
    return tuple([slice(a, a + n) for (a, _), n in zip(pad_width, x_shape, strict=True)])


def pad(x, pad_width, mode="constant", *, constant_values=0):
    """x within a frame.

    `pad_width` is one number, one pair (before, after), or one pair per axis; `mode` is "constant", "edge" (the
    border continued), "reflect" (mirrored, without the border itself) or "wrap".
    """
    x = arraylike(x)
    try:
        widths = [[operator.index(w) for w in pair] for pair in np.broadcast_to(pad_width, (len(x.shape), 2))]
    except (TypeError, ValueError):
        widths = [[-1]]
    if builtins.any(w < 0 for pair in widths for w in pair):
        raise ValueError(f"pad: pad_width must be an integer >= 0, a pair, or a pair for each of {len(x.shape)} axes; "
                         f"got {pad_width!r}")  # fmt: skip
    if mode == "constant":
        return _pad(x, tuple(map(tuple, widths)), constant_values)
    if mode not in ("edge", "reflect", "wrap"):
        raise ValueError(f"pad: mode must be 'constant', 'edge', 'reflect' or 'wrap', got {mode!r}")
    for axis, (before, after) in enumerate(widths):
        if before or after:  # where each place of the frame looks for its value
            places = np.pad(np.arange(x.shape[axis]), (before, after), mode=mode)  # type: ignore[call-overload]
            x = getitem(x, (slice(None),) * axis + (backend.asarray(places, device=device_of(x)),))
    return x


# ---- diagonals ------------------------------------------------------------------------------------------


def diagonal(x, offset=0, axis1=0, axis2=1):
    """The elements whose indices along `axis1` and `axis2` differ by `offset`, as a new last axis."""
    x = moveaxis(arraylike(x), (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    length = builtins.max(0, builtins.min(rows + builtins.min(offset, 0), columns - builtins.max(offset, 0)))
    start = (builtins.max(-offset, 0), builtins.max(offset, 0))
    i, j = (backend.asarray(np.arange(s, s + length), device=device_of(x)) for s in start)
    return getitem(x, (..., i, j))


def diag(x):
    """The square matrix (or stack of them) with the last axis of x on its diagonal, zeros elsewhere."""
    x = arraylike(x)
    on_it = backend.asarray(np.eye(x.shape[-1], dtype=bool), device=device_of(x))
    return where(on_it, expand_dims(x, -1), False)  # False is 0 in every dtype


def device_of(x):
    """The device of a Tensor or an array."""
    return x.device if hasattr(x, "_data") else backend.device_of(x)

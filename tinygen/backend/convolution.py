r"""Convolution over one or two spatial axes, its adjoint, and its weight gradient.

Three functions make a closed family. With stride $s$, padding $p$, dilation $d$, and $x$ taken as 0 outside,

$$ y_{n,o,i} = \sum_{c,k} w_{o,c,k}\; x_{n,c,\,s i + d k - p} \tag{1} $$

is linear in $x$ and in $w$, and the other two are its adjoints, tied to it by one identity,

$$ \langle \mathrm{convolve}(x, w),\, y \rangle = \langle x,\, \mathrm{adjoint}(y, w) \rangle
   = \langle w,\, \mathrm{weight}(x, y) \rangle. \tag{2} $$

So the gradient of each is made of the other two, and a transposed convolution is the adjoint by another name.
As everywhere in deep learning the kernel is not flipped: (1) is a cross-correlation.

**How it is computed.** The windows of $x$ that meet the kernel are gathered as the columns of a matrix, (c
* kernel, n * out), and (1) becomes one matrix product, $Y = W\,\mathrm{cols}$; its adjoints are $W^\top Y$,
whose columns are folded back onto $x$, and $Y\,\mathrm{cols}^\top$. Columns repeat each pixel once for
every window it is in, so they are made for a few samples at a time and stay in the cache. Gathering costs
as much as the product, and is quick when neighbours in the matrix are neighbours in memory: so the columns
run over the samples innermost when there are many small images, over the width of the image otherwise
(`_row_order`).

Notation
--------
$x$ : `x`, (n, c, *spatial)
$w$ : `w`, (o, c / groups, *kernel)
$y$ : `y`, (n, o, *out)
With `groups`, channels fall into as many equal parts, each convolved by its own part of $w$.
`stride`, `padding`, `dilation` are tuples, one number for each spatial axis; padding is added on both sides.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from .linear import gemm

HOST_COLUMNS = 2**21  # bytes of columns at a time on the CPU: about a cache
DEVICE_COLUMNS = 2**28  # and on a GPU: a small part of its memory


def output_shape(spatial, kernel, stride, padding, dilation) -> tuple[int, ...]:
    r"""Count the places where the kernel fits: $\lfloor (m + 2p - d(k-1) - 1)/s \rfloor + 1$ along each axis.

    Raises
    ------
    ValueError
        When the kernel is larger than the padded input, or a setting makes no sense.
    """
    least_of = {
        "kernel": (kernel, 1),
        "stride": (stride, 1),
        "padding": (padding, 0),
        "dilation": (dilation, 1),
    }
    for name, (values, least) in least_of.items():
        if len(values) != len(spatial) or min(values) < least:
            raise ValueError(
                f"convolution: {name} is {tuple(values)}; wanted {len(spatial)} numbers of at least {least}, "
                f"one for each axis of an input of size {tuple(spatial)}."
            )
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    padded = tuple(m + 2 * p for m, p in zip(spatial, padding, strict=True))
    if any(r > m for r, m in zip(reach, padded, strict=True)):
        raise ValueError(
            f"convolution: kernel {tuple(kernel)} with dilation {tuple(dilation)} covers {reach}, more than "
            f"the padded input {padded} (input {tuple(spatial)}, padding {tuple(padding)}). "
            "Use a smaller kernel or more padding."
        )
    return tuple((m - r) // s + 1 for m, r, s in zip(padded, reach, stride, strict=True))


def convolve(xp, x, w, stride, padding, dilation, groups):
    """Convolve x with w, equation (1).

    Parameters
    ----------
    x : array, (n, c, *spatial)
    w : array, (o, c / groups, *kernel)

    Returns
    -------
    array, (n, o, *out)
    """
    kernel, out = w.shape[2:], output_shape(x.shape[2:], w.shape[2:], stride, padding, dilation)
    _check_channels(x.shape[1], w, groups)
    weight = _matrix(w, groups)  # (groups, o / groups, c / groups * kernel)
    if _is_pointwise(kernel, stride, padding):
        return _mix_channels(x, weight, groups)
    y = xp.empty((x.shape[0], w.shape[0], *out), xp.result_type(x, w))
    for part in _chunks(xp, x, w, out):
        order = _row_order(y[part], weight)
        columns = _columns(xp, x[part], kernel, stride, padding, dilation, groups, order)
        y[part] = _from_rows(gemm(weight, columns), y[part].shape, order)
    return y


def convolve_adjoint(xp, y, w, spatial, stride, padding, dilation, groups):
    """Carry y back onto the input: the gradient of `convolve` in x, and the transposed convolution.

    Parameters
    ----------
    y : array, (n, o, *out)
    w : array, (o, c / groups, *kernel)
    spatial : tuple of int
        The size of the input of `convolve`; with a stride, several sizes give the same `out`.

    Returns
    -------
    array, (n, c, *spatial)
    """
    kernel, channels = w.shape[2:], w.shape[1] * groups
    _check_output(y, w, output_shape(spatial, kernel, stride, padding, dilation), groups)
    weight = _matrix(w, groups)  # (groups, o / groups, c / groups * kernel)
    if _is_pointwise(kernel, stride, padding):
        return _mix_channels(y, weight.swapaxes(-1, -2), groups)
    full = tuple(d * (k - 1) - p for k, p, d in zip(kernel, padding, dilation, strict=True))
    if max(stride) == 1 and min(full) >= 0 and y.shape[1] <= 2 * channels:
        # Gathering is quicker than folding, unless there is much more to gather.
        return convolve(xp, y, _flipped(w, groups), stride, full, dilation, groups)
    x = xp.empty((y.shape[0], channels, *spatial), xp.result_type(y, w))
    for part in _chunks(xp, x, w, y.shape[2:]):
        order = _row_order(y[part], weight)
        columns = gemm(weight, _to_rows(y[part], groups, order), transpose_a=True)
        x[part] = _fold_columns(
            xp, columns, x[part].shape, y.shape[2:], kernel, stride, padding, dilation, order
        )
    return x


def convolve_weight(xp, x, y, kernel, stride, padding, dilation, groups):
    """Correlate x with y: the gradient of `convolve` in w.

    Parameters
    ----------
    x : array, (n, c, *spatial)
    y : array, (n, o, *out)
    kernel : tuple of int

    Returns
    -------
    array, (o, c / groups, *kernel)
    """
    w = xp.zeros((y.shape[1], x.shape[1] // groups, *kernel), xp.result_type(x, y))
    _check_channels(x.shape[1], w, groups)
    _check_output(y, w, output_shape(x.shape[2:], kernel, stride, padding, dilation), groups)
    weight = _matrix(w, groups)  # a view of w
    for part in _chunks(xp, x, w, y.shape[2:]):
        order = _row_order(y[part], weight)
        columns = _columns(xp, x[part], kernel, stride, padding, dilation, groups, order)
        gemm(_to_rows(y[part], groups, order), columns, transpose_b=True, out=weight, accumulate=True)
    return w


def unfold(xp, x, kernel, stride, dilation):
    """View every window of x that a kernel meets, without a copy.

    Parameters
    ----------
    x : array, (n, c, *spatial)

    Returns
    -------
    array, (n, c, *out, *kernel)
        Overlapping windows share memory: read it, never write to it (NumPy enforces this).
    """
    out = output_shape(x.shape[2:], kernel, stride, (0,) * len(kernel), dilation)
    along = x.strides[2:]
    steps = tuple(s * b for s, b in zip(stride, along, strict=True))
    taps = tuple(d * b for d, b in zip(dilation, along, strict=True))
    shape, strides = (*x.shape[:2], *out, *kernel), (*x.strides[:2], *steps, *taps)
    if xp is np:
        return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)
    return xp.lib.stride_tricks.as_strided(x, shape, strides)


def fold(xp, windows, spatial, stride, dilation):
    """Add windows up where they overlap: the adjoint of `unfold`.

    One strided addition for each position in the kernel, always in the same order, so the sum is
    reproducible.

    Parameters
    ----------
    windows : array, (n, c, *out, *kernel)
    spatial : tuple of int

    Returns
    -------
    array, (n, c, *spatial)
    """
    return _fold_onto(xp.zeros((*windows.shape[:2], *spatial), windows.dtype), windows, stride, dilation)


def _fold_onto(x, windows, stride, dilation):
    """Add windows (n, c, *out, *kernel) to x, (n, c, *spatial), in place."""
    axes = len(stride)
    out, kernel = windows.shape[2 : 2 + axes], windows.shape[2 + axes :]
    for tap in itertools.product(*map(range, kernel)):
        starts = tuple(d * k for d, k in zip(dilation, tap, strict=True))
        met = tuple(slice(a, a + s * (m - 1) + 1, s) for a, s, m in zip(starts, stride, out, strict=True))
        x[:, :, *met] += windows[(..., *tap)]
    return x


def _row_order(y, weight) -> tuple[int, ...]:
    """Choose the order of axes in a row of the matrix: y (n, o, *out) is transposed by the answer.

    (1, 0, 2, 3) has the width of the image innermost, (1, 2, 3, 0) the samples. The second gathers long
    runs, and pays for it by transposing y; the numbers are measured.
    """
    first, *rest = range(2, y.ndim)
    much_to_gather = weight.shape[-1] >= 4 * weight.shape[-2]  # for each output
    many_samples = y.shape[0] >= 2 * y.shape[-1]
    return (1, first, *rest, 0) if much_to_gather and many_samples else (1, 0, first, *rest)


def _undo(order) -> tuple[int, ...]:
    """Invert a permutation of axes."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _matrix(w, groups):
    """Lay the weights out as matrices: (groups, o / groups, c / groups * kernel)."""
    return w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _flipped(w, groups):
    """Turn the kernel round and swap its channels: with stride 1, convolving by it is the adjoint."""
    o, c, *kernel = w.shape
    swapped = (
        w.reshape(groups, o // groups, c, *kernel).swapaxes(1, 2).reshape(groups * c, o // groups, *kernel)
    )
    return swapped[(..., *(slice(None, None, -1) for _ in kernel))]


def _columns(xp, x, kernel, stride, padding, dilation, groups, order):
    """Gather windows as columns: (groups, c / groups * kernel, n * out)."""
    padded = _buffer(xp, x.shape, padding, order, x.dtype)
    padded[_inside(x.shape, padding)] = x
    windows = unfold(xp, padded, kernel, stride, dilation)  # (n, c, *out, *kernel)
    taps = range(x.ndim, windows.ndim)
    columns = windows.transpose(order[0], *taps, *order[1:])  # (c, *kernel, n, *out)
    return columns.reshape(groups, x.shape[1] // groups * math.prod(kernel), -1)


def _fold_columns(xp, columns, shape, out, kernel, stride, padding, dilation, order):
    """Undo `_columns` by addition: (groups, c / groups * kernel, n * out) -> shape, (n, c, *spatial)."""
    n, c = shape[:2]
    inner = tuple((n, c, *out)[axis] for axis in order[1:])
    columns = columns.reshape(c, *kernel, *inner)  # (c, *kernel, n, *out)
    places = [axis + len(kernel) if axis else 0 for axis in _undo(order)]
    windows = columns.transpose(*places, *range(1, 1 + len(kernel)))  # (n, c, *out, *kernel)
    padded = _buffer(xp, shape, padding, order, columns.dtype)
    return _fold_onto(padded, windows, stride, dilation)[_inside(shape, padding)]


def _buffer(xp, shape, padding, order, dtype):
    """Make zeros of x's padded shape, laid out in memory in the given order of axes."""
    padded = (*shape[:2], *(m + 2 * p for m, p in zip(shape[2:], padding, strict=True)))
    return xp.zeros(tuple(padded[axis] for axis in order), dtype).transpose(_undo(order))


def _inside(shape, padding):
    """Index the part of a padded array that is not padding."""
    edges = (slice(p, p + m) for p, m in zip(padding, shape[2:], strict=True))
    return (slice(None), slice(None), *edges)


def _to_rows(y, groups, order):
    """Bring channels to the front: (n, o, *out) -> (groups, o / groups, n * out)."""
    return y.transpose(order).reshape(groups, y.shape[1] // groups, -1)


def _from_rows(rows, shape, order):
    """Undo `_to_rows`: (groups, o / groups, n * out) -> shape, (n, o, *out)."""
    return rows.reshape([shape[axis] for axis in order]).transpose(_undo(order))


def _is_pointwise(kernel, stride, padding) -> bool:
    """Say whether each window is one pixel, so that columns would only copy x."""
    return max(kernel) == max(stride) == 1 and max(padding) == 0


def _mix_channels(x, weight, groups):
    """Multiply the channels at each pixel by a matrix, (groups, to, from): a 1 x 1 convolution."""
    n, c, *spatial = x.shape
    y = gemm(weight, x.reshape(n, groups, c // groups, math.prod(spatial)))  # (n, groups, to, pixels)
    return y.reshape(n, groups * weight.shape[1], *spatial)


def _chunks(xp, x, w, out):
    """Cut the batch into slices whose columns fit the budget, or outweigh w: each product reads all of w."""
    sample = x.shape[1] * math.prod(w.shape[2:]) * math.prod(out) * x.dtype.itemsize
    budget = max(HOST_COLUMNS, 2 * w.nbytes) if xp is np else DEVICE_COLUMNS
    size = max(1, budget // max(sample, 1))
    return (slice(i, i + size) for i in range(0, x.shape[0], size))


def _check_channels(channels, w, groups):
    """Refuse weights that do not fit the channels of the input."""
    if groups < 1 or channels % groups or w.shape[0] % groups or w.shape[1] != channels // groups:
        raise ValueError(
            f"convolution: w has shape {w.shape} and x has {channels} channels in {groups} groups; "
            "wanted w of shape (out, channels / groups, *kernel), both channel numbers divisible by groups."
        )


def _check_output(y, w, out, groups):
    """Refuse a y that `convolve` could not have given."""
    if y.shape[1:] != (w.shape[0], *out) or groups < 1 or w.shape[0] % groups:
        raise ValueError(
            f"convolution: y has shape {y.shape}; wanted (n, {w.shape[0]}, {', '.join(map(str, out))}), "
            f"the shape of the convolution's output, with {groups} groups."
        )

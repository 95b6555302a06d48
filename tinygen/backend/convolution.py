r"""Convolution over one or two spatial axes, its adjoint, and its weight gradient.

Three functions make a closed family. With stride $s$, padding $p$, dilation $d$, and $x$ taken as 0 outside,

$$ y_{n,o,i} = \sum_{c,k} w_{o,c,k}\; x_{n,c,\,s i + d k - p} \tag{1} $$

is linear in $x$ and in $w$, and the other two are its adjoints, tied to it by one identity,

$$ \langle \mathrm{convolve}(x, w),\, y \rangle = \langle x,\, \mathrm{adjoint}(y, w) \rangle
   = \langle w,\, \mathrm{weight}(x, y) \rangle. \tag{2} $$

So the gradient of each is made of the other two, and a transposed convolution is the adjoint by another name.
As everywhere in deep learning the kernel is not flipped: (1) is a cross-correlation.

How the three are computed, by gathering windows with the channels last in memory, is in `channels_last.py`: outputs
lie in memory as (n, *space, c) and are only seen as (n, c, *space).

Notation
--------
$x$ : `x`, (n, c, *spatial)
$w$ : `w`, (o, c / groups, *kernel)
$y$ : `y`, (n, o, *out)
With `groups`, channels fall into as many equal parts, each convolved by its own part of $w$.
`stride`, `padding`, `dilation` are tuples, one number for each spatial axis; padding is added on both sides.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from . import channels_last as layout
from .linear import gemm
from .recording import entered, whole
from .threads import shared


def output_shape(spatial, kernel, stride, padding, dilation) -> tuple[int, ...]:
    r"""Count the places where the kernel fits: $\lfloor (m + 2p - d(k-1) - 1)/s \rfloor + 1$ along each axis.

    Raises
    ------
    ValueError
        When the kernel is larger than the padded input, or a setting makes no sense.
    """
    least_of = {"kernel": (kernel, 1), "stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
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


@whole
def convolve(xp, x, w, stride, padding, dilation, groups, bias=None):
    """Convolve x with w, equation (1), and add a bias while the product is in the cache.

    Parameters
    ----------
    x : array, (n, c, *spatial)
    w : array, (o, c / groups, *kernel)
    bias : array, (o,), or None

    Returns
    -------
    array, (n, o, *out)
    """
    kernel, out, o = w.shape[2:], output_shape(x.shape[2:], w.shape[2:], stride, padding, dilation), w.shape[0]
    _check_channels(x.shape[1], w, groups)
    g = layout.neighbours(o, out, stride, dilation, groups)
    if g > 1:
        bias = None if bias is None else xp.tile(bias, g)
        y = convolve(xp, x, layout.widened(xp, w, g), (*stride[:-1], g), padding, dilation, groups, bias)
        return layout.first(layout.last(y).reshape(x.shape[0], *out, o))
    weight = layout.matrices(xp, w, groups)
    y = xp.empty((x.shape[0], *out, o), xp.result_type(x, w) if bias is None else xp.result_type(x, w, bias))

    def work(cut):
        xs, ys = x[cut], y[cut]
        for part, windows in layout.gather(xp, xs, kernel, out, stride, padding, dilation, groups, weight.nbytes):
            if groups == 1:
                gemm(windows[0], weight[0], out=ys[part].reshape(-1, o))
            else:
                layout.by_group(ys[part], groups)[...] = gemm(windows, weight)
            if bias is not None:
                ys[part] += bias

    shared(work, len(x), y.size * weight.shape[1] if xp is np else 0)
    return layout.first(y)


@whole
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
    kernel, channels, one = w.shape[2:], w.shape[1] * groups, (1,) * len(stride)
    _check_output(y, w, output_shape(spatial, kernel, stride, padding, dilation), groups)
    if not layout.phases_pay(y, channels, kernel, stride, dilation):
        return layout.add_windows(xp, y, w, spatial, stride, padding, dilation, groups)
    phases = layout.phases_of(xp, w, stride, groups)
    if stride == one and all(p < k for p, k in zip(padding, kernel, strict=True)):
        full = tuple(k - 1 - p for p, k in zip(padding, kernel, strict=True))
        return convolve(xp, y, phases, stride, full, dilation, groups)
    z = convolve(xp, y, phases, one, tuple(k - 1 for k in phases.shape[2:]), one, groups)
    return layout.interleave(xp, z, spatial, stride, padding, groups)


@whole
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
    n, o, *out = y.shape
    w = xp.empty((o, x.shape[1] // groups, *kernel), xp.result_type(x, y))
    _check_channels(x.shape[1], w, groups)
    _check_output(y, w, output_shape(x.shape[2:], kernel, stride, padding, dilation), groups)
    g, rows = layout.neighbours(o, out, stride, dilation, groups), layout.last(y)
    if g > 1:
        wide = (*kernel[:-1], kernel[-1] + g - 1)
        rows = layout.first(rows.reshape(n, *out[:-1], out[-1] // g, g * o))
        return layout.narrowed(convolve_weight(xp, x, rows, wide, (*stride[:-1], g), padding, dilation, groups), g)
    columns = math.prod(w.shape[1:])

    def work(cut):
        sums, ys = xp.zeros((groups, o // groups, columns), w.dtype), rows[cut]
        gathered = layout.gather(xp, x[cut], kernel, tuple(out), stride, padding, dilation, groups, w.nbytes)
        for part, windows in gathered:
            gemm(layout.by_group(ys[part], groups), windows, transpose_a=True, out=sums, accumulate=True)
        return sums

    weight = functools.reduce(xp.add, shared(work, n, y.size * columns if xp is np else 0))
    w[...] = layout.first(weight.reshape(o, *kernel, w.shape[1]))
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
        return entered(np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False))
    return xp.lib.stride_tricks.as_strided(x, shape, strides)


@whole
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
    for tap, met in _taps(kernel, stride, dilation, out):
        x[met] += windows[(..., *tap)]
    return x


def _taps(kernel, stride, dilation, out):
    """For each position in the kernel, that position and the elements of (n, c, *spatial) it meets, an index."""
    for tap in itertools.product(*map(range, kernel)):
        met = [_met(*along) for along in zip(tap, stride, dilation, out, strict=True)]
        yield tap, (slice(None), slice(None), *met)


def _met(tap, stride, dilation, out) -> slice:
    """What one position in the kernel meets along an axis, as the kernel takes its `out` places."""
    start = dilation * tap
    return slice(start, start + stride * (out - 1) + 1, stride)


@whole
def max_windows(xp, x, kernel, stride, dilation):
    """Take the largest element of every window of `unfold`, without cutting the windows out.

    The maximum over a window is that over its rows' maxima, so there are as many pairwise maxima as the
    kernel's sides are long together, each of whole strided arrays: a reduction over axes as short as a
    window's would take about 40 times as long.

    Parameters
    ----------
    x : array, (n, c, *spatial)

    Returns
    -------
    array, (n, c, *out)
    """
    out = output_shape(x.shape[2:], kernel, stride, (0,) * len(kernel), dilation)
    for axis, (k, s, d, m) in enumerate(zip(kernel, stride, dilation, out, strict=True), 2):
        first, *others = ((slice(None),) * axis + (_met(tap, s, d, m),) for tap in range(k))
        largest = x[first]
        for other in others:
            largest = xp.maximum(largest, x[other])
        x = largest
    return x.copy() if math.prod(kernel) == 1 else x  # never a view of the input


@whole
def max_windows_back(xp, g, x, y, kernel, stride, dilation):
    """Carry g back through y = `max_windows(x)`: to the largest element of each window; equals share it.

    Parameters
    ----------
    g, y : array, (n, c, *out)
    x : array, (n, c, *spatial)

    Returns
    -------
    array, (n, c, *spatial)
    """
    places = [met for _, met in _taps(kernel, stride, dilation, y.shape[2:])]
    hits = [x[met] == y for met in places]
    share = g / sum(hit.astype("int32" if len(hits) > 127 else "int8") for hit in hits)
    apart = all(s > d * (k - 1) for k, s, d in zip(kernel, stride, dilation, strict=True))
    tiled = apart and all(m == k * count for m, k, count in zip(x.shape[2:], kernel, y.shape[2:], strict=True))
    x_bar = (xp.empty_like if tiled else xp.zeros_like)(x, dtype=g.dtype)  # in x's layout
    for met, hit in zip(places, hits, strict=True):
        if apart:
            xp.multiply(share, hit, out=x_bar[met])
        else:
            x_bar[met] += share * hit
    return x_bar


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

r"""Functions on images and sequences: convolution and its transpose, pooling, upsampling, pixel shuffle.

Shapes are PyTorch's: x (n, c, length) or (n, c, height, width), weights (out, in/groups, *kernel). Everything here
is a composition of the engine's closed pairs (`convolve` and its adjoints, `unfold` and `fold`), hence
differentiable to any order.
"""

from __future__ import annotations

import math

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd.convolution import convolve_plus
from tinygen.backend import arrays as backend
from tinygen.backend.convolution import output_shape
from tinygen.nn.common import each

# ---- convolution ----------------------------------------------------------------------------------------


def conv1d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    r"""$y_{n,o,i} = b_o + \sum_{c,k} w_{o,c,k}\, x_{n,c,si+dk-p}$: (n, c, l) to (n, o, l'). See `conv2d`."""
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """The cross-correlation that networks call a convolution: (n, c, h, w) to (n, o, h', w').

    Parameters
    ----------
    weight : (o, c/groups, kh, kw)
    bias : (o,) or None
    stride, dilation : an integer, or one per axis
    padding : zeros added on both sides, an integer or one per axis; "same" keeps the size (stride 1), "valid" is 0
    groups : input and output channels are split into so many independent parts
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def _conv(name, n, x, weight, bias, stride, padding, dilation, groups):
    stride, dilation = each("stride", stride, n), each("dilation", dilation, n)
    _check_conv(name, n, x, weight, bias, groups, x_axis=weight.shape[1] * groups if len(weight.shape) > 1 else 0)
    if weight.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} does not divide the {weight.shape[0]} output channels of weight")
    if padding == "same":
        if stride != (1,) * n:
            raise ValueError(f"{name}: padding='same' needs stride 1, got {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        x = tg.pad(x, [(0, 0), (0, 0), *[(t // 2, t - t // 2) for t in total]])
        padding = 0
    padding = 0 if padding == "valid" else padding
    geometry = tg.Geometry(stride, each("padding", padding, n), dilation, groups)
    return tg.convolve(x, weight, geometry) if bias is None else convolve_plus(x, weight, bias, geometry)


def conv_transpose1d(x, weight, bias=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The adjoint of `conv1d` in x: (n, i, l) to (n, o, l'); weight (i, o/groups, k). See `conv_transpose2d`."""
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, dilation, groups)


def conv_transpose2d(x, weight, bias=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The adjoint of `conv2d` in x (no inverse): (n, i, h, w) to (n, o, h', w'); weight (i, o/groups, kh, kw).

    h' = (h - 1)·stride - 2·padding + dilation·(kh - 1) + output_padding + 1: a strided convolution forgets up to
    stride - 1 rows, and `output_padding` says how many of them to give back.
    """
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, dilation, groups)


def _conv_transpose(name, n, x, weight, bias, stride, padding, output_padding, dilation, groups):
    stride, padding, dilation = each("stride", stride, n), each("padding", padding, n), each("dilation", dilation, n)
    extra = each("output_padding", output_padding, n)
    _check_conv(name, n, x, weight, None, groups, x_axis=weight.shape[0] if len(weight.shape) > 1 else 0)
    if weight.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} does not divide the {weight.shape[0]} input channels of weight")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(f"{name}: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}")
    channels = weight.shape[1] * groups
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ValueError(f"{name}: bias must have shape ({channels},), got {tuple(bias.shape)}")
    spatial = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, s, p, d, k, e in zip(x.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True)
    )
    if min(spatial) < 1:
        raise ValueError(f"{name}: the output would have size {spatial}; padding {padding} is too large")
    if all(e < s for e, s in zip(extra, stride, strict=True)):
        y = tg.convolve_adjoint(x, weight, spatial, tg.Geometry(stride, padding, dilation, groups))
    else:  # more than any convolution forgets: all of the output, more zeros, and the part that is wanted
        full = tuple([m + 2 * p - e for m, p, e in zip(spatial, padding, extra, strict=True)])
        y = tg.convolve_adjoint(x, weight, full, tg.Geometry(stride, (0,) * n, dilation, groups))
        y = tg.pad(y, [(0, 0), (0, 0), *[(0, e) for e in extra]])
        y = y[(..., *[slice(p, p + m) for p, m in zip(padding, spatial, strict=True)])]
    return y if bias is None else y + tg.reshape(bias, (-1,) + (1,) * n)


def _check_conv(name, n, x, weight, bias, groups, x_axis):
    """Refuse shapes that do not belong together."""
    if len(x.shape) != n + 2:
        raise ValueError(f"{name}: x must have {n + 2} axes (batch, channels, {n} spatial), got shape {tuple(x.shape)}")
    if len(weight.shape) != n + 2:
        raise ValueError(f"{name}: weight must have {n + 2} axes, got shape {tuple(weight.shape)}")
    if not isinstance(groups, int) or groups < 1 or x.shape[1] % groups:
        raise ValueError(f"{name}: groups must be a positive divisor of x's {x.shape[1]} channels, got {groups!r}")
    if x.shape[1] != x_axis:
        raise ValueError(
            f"{name}: x has {x.shape[1]} channels; weight of shape {tuple(weight.shape)}, groups={groups} want {x_axis}"
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(f"{name}: bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")


# ---- pooling --------------------------------------------------------------------------------------------


def max_pool1d(x, kernel_size, *, stride=None, padding=0, dilation=1):
    """The largest element of each window, (n, c, l) to (n, c, l'); `stride` is `kernel_size` by default."""
    return _pool("max_pool1d", 1, tg.max_windows, x, kernel_size, stride, padding, dilation, -math.inf)


def max_pool2d(x, kernel_size, *, stride=None, padding=0, dilation=1):
    """The largest element of each window, (n, c, h, w) to (n, c, h', w'); places that tie share the gradient."""
    return _pool("max_pool2d", 2, tg.max_windows, x, kernel_size, stride, padding, dilation, -math.inf)


def avg_pool1d(x, kernel_size, *, stride=None, padding=0, count_include_pad=True):
    """The mean of each window, (n, c, l) to (n, c, l'). See `avg_pool2d`."""
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, count_include_pad)


def avg_pool2d(x, kernel_size, *, stride=None, padding=0, count_include_pad=True):
    """The mean of each window, (n, c, h, w) to (n, c, h', w'); padding counts as zeros, or not at all."""
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, count_include_pad)


def _avg_pool(name, n, x, kernel_size, stride, padding, count_include_pad):
    y = _pool(name, n, _mean_windows, x, kernel_size, stride, padding, 1, 0.0)
    if count_include_pad or padding == 0:
        return y
    inside = backend.asarray(np.ones((1, 1, *x.shape[2:])), x.dtype, tg.shapes.device_of(x))
    return y / _pool(name, n, _mean_windows, inside, kernel_size, stride, padding, 1, 0.0)


def _pool(name, n, reduce, x, kernel_size, stride, padding, dilation, outside):
    if len(x.shape) != n + 2:
        raise ValueError(f"{name}: x must have {n + 2} axes (batch, channels, {n} spatial), got shape {tuple(x.shape)}")
    kernel = each("kernel_size", kernel_size, n)
    stride = kernel if stride is None else each("stride", stride, n)
    padding, dilation = each("padding", padding, n), each("dilation", dilation, n)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"{name}: padding {padding} must be at most half of kernel_size {kernel}")
    output_shape(x.shape[2:], kernel, stride, padding, dilation)  # refuses what does not fit
    if any(padding):
        x = tg.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]], constant_values=outside)
    return reduce(x, kernel, stride, dilation)


def _mean_windows(x, kernel, stride, dilation):
    return tg.mean(tg.unfold(x, kernel, stride, dilation), tuple(range(-len(kernel), 0)))


def adaptive_avg_pool1d(x, output_size):
    """The mean of each of `output_size` windows, (n, c, l) to (n, c, output_size). See `adaptive_avg_pool2d`."""
    return _adaptive_pool("adaptive_avg_pool1d", 1, x, output_size, tg.mean)


def adaptive_avg_pool2d(x, output_size):
    r"""The mean of each window, (n, c, h, w) to (n, c, *output_size), whatever h and w are.

    Along an axis of length m, window i of s runs from $\lfloor i m / s \rfloor$ up to, without,
    $\lceil (i + 1) m / s \rceil$: equal parts where s divides m, else overlapping ones of about that length.
    """
    return _adaptive_pool("adaptive_avg_pool2d", 2, x, output_size, tg.mean)


def adaptive_max_pool1d(x, output_size):
    """The largest element of each window, (n, c, l) to (n, c, output_size). See `adaptive_avg_pool2d`."""
    return _adaptive_pool("adaptive_max_pool1d", 1, x, output_size, tg.max)


def adaptive_max_pool2d(x, output_size):
    """The largest element of each window, (n, c, h, w) to (n, c, *output_size). See `adaptive_avg_pool2d`."""
    return _adaptive_pool("adaptive_max_pool2d", 2, x, output_size, tg.max)


def _adaptive_pool(name, n, x, output_size, reduce):
    """`reduce` over n sets of windows; places that only fill up a window are left out by `inside`."""
    if len(x.shape) != n + 2:
        raise ValueError(f"{name}: x must have {n + 2} axes (batch, channels, {n} spatial), got shape {tuple(x.shape)}")
    sizes, spatial, device = each("output_size", output_size, n), tuple(x.shape[2:]), tg.shapes.device_of(x)
    if min(sizes) < 1 or min(spatial) < 1:
        raise ValueError(f"{name}: output_size and x's size must be positive, got {sizes} and {spatial}")
    if all(m % s == 0 for m, s in zip(spatial, sizes, strict=True)):  # equal parts: a view is enough
        parts = tuple([m // s for m, s in zip(spatial, sizes, strict=True)])
        return reduce(tg.unfold(x, parts, parts, (1,) * n), tuple(range(-n, 0)))
    inside = np.ones((), bool)
    for axis, (m, s) in enumerate(zip(spatial, sizes, strict=True)):
        start = np.arange(s) * m // s
        stop = -(-(np.arange(s) + 1) * m // s)
        places = start[:, None] + np.arange((stop - start).max())  # (s, k)
        inside = inside[..., None, None] & (places < stop[:, None])  # (s, k, s, k)
        places = backend.asarray(np.minimum(places, m - 1), device=device)
        x = tg.getitem(x, (slice(None),) * (2 + 2 * axis) + (places,))  # (n, c, s, k, ...)
    within = tuple(range(3, 3 + 2 * n, 2))
    shown = backend.asarray(inside, device=device)
    if reduce is tg.max:
        return tg.max(tg.where(shown, x, -math.inf), within)
    count = backend.asarray(inside.sum(tuple(range(1, 2 * n, 2))), x.dtype, device)
    return tg.sum(tg.where(shown, x, 0), within) / count


# ---- other sizes ----------------------------------------------------------------------------------------


def upsample(x, scale_factor, *, mode="nearest"):
    """x (n, c, *spatial) enlarged `scale_factor` (integer) times along every spatial axis.

    `mode` "nearest" repeats elements; "bilinear" (2-D) interpolates between pixel centres, the border continued
    (PyTorch's align_corners=False).
    """
    if not isinstance(scale_factor, int) or scale_factor < 1:
        raise ValueError(f"upsample: scale_factor must be a positive integer, got {scale_factor!r}")
    if mode == "nearest":
        for axis in range(2, len(x.shape)):
            x = tg.repeat(x, scale_factor, axis)
        return x
    if mode != "bilinear" or len(x.shape) != 4:
        raise ValueError(
            f"upsample: mode must be 'nearest', or 'bilinear' for (n, c, h, w); got {mode!r}, {tuple(x.shape)}"
        )
    dtype, device = x.dtype if x.dtype.kind == "f" else None, tg.shapes.device_of(x)
    rows, columns = (backend.asarray(interpolation(m, m * scale_factor), dtype, device) for m in x.shape[2:])
    return tg.matmul(tg.matmul(rows, x), columns.T)  # linear along each axis, so two matrix products


def interpolation(n: int, m: int) -> np.ndarray:
    """The matrix (m, n) that interpolates n values at the centres of m cells over the same length."""
    place = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    left = np.minimum(place.astype(int), max(n - 2, 0))
    right = np.minimum(left + 1, n - 1)
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.arange(m), left), 1 - (place - left))
    np.add.at(matrix, (np.arange(m), right), place - left)
    return matrix


def pixel_shuffle(x, upscale_factor: int):
    """(n, c·r², h, w) to (n, c, r·h, r·w): each r × r block of pixels is filled from r² channels."""
    n, channels, h, w = x.shape
    r = upscale_factor
    if r < 1 or channels % (r * r):
        raise ValueError(f"pixel_shuffle: {channels} channels do not divide by upscale_factor² = {r * r}")
    x = tg.reshape(x, (n, channels // (r * r), r, r, h, w))
    return tg.reshape(tg.transpose(x, (0, 1, 4, 2, 5, 3)), (n, channels // (r * r), h * r, w * r))

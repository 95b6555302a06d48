r"""Layers for images and sequences: convolution, its transpose, pooling, padding, and changes of size.

A convolution gives every place of its output the same function of the input's neighbourhood,

$$ y_{n,o,i} = b_o + \sum_{c,k} w_{o,c,k}\; x_{n,c,\,s i + d k - p}, \tag{1} $$

with stride $s$, dilation $d$ and padding $p$. (The kernel is not turned round: S2 3.12–3.13 define the true
convolution, networks use this cross-correlation, and since the kernel is learned it makes no difference.) The
*transposed* convolution is its adjoint in x: it spreads every $x_i$ over the places that (1) would gather from.

Weights and biases start from $U(-1/\sqrt m, 1/\sqrt m)$ with $m$ the number of inputs of an output,
`in_channels / groups` times the size of the kernel (transposed: `out_channels / groups` times it, as in PyTorch).

Layers here are for x (n, c, l) or (n, c, h, w); the functions are in `spatial`.
"""

from __future__ import annotations

import math
from typing import Any

import tinygen.autograd as tg
from tinygen.backend.random import Generator
from tinygen.nn import spatial
from tinygen.nn.common import check_sizes, each, shown, uniform_parameter
from tinygen.nn.module import Module

Size = int | tuple[int, ...]

#: PyTorch's words for how an image goes on outside, and NumPy's
_PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

# ---- convolution ----------------------------------------------------------------------------------------


class _Convolution(Module):
    """What both kinds of convolution have."""

    n = 0  # spatial axes

    def _build(self, weight_shape, fan, out_channels, bias, rng):
        rng = Generator() if rng is None else rng
        self.weight = uniform_parameter(rng, weight_shape, fan)
        self.bias = uniform_parameter(rng, (out_channels,), fan) if bias else None

    def _sizes(self, in_channels, out_channels, kernel_size, groups):
        layer = type(self).__name__
        check_sizes(layer, in_channels=in_channels, out_channels=out_channels, groups=groups)
        kernel = each(f"{layer}: kernel_size", kernel_size, self.n)
        check_sizes(layer, **{f"kernel_size[{i}]": k for i, k in enumerate(kernel)})
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{layer}: groups={groups} must divide in_channels {in_channels} and "
                             f"out_channels {out_channels}")  # fmt: skip
        self.in_channels, self.out_channels, self.kernel_size, self.groups = in_channels, out_channels, kernel, groups

    def _each(self, name, value, least):
        values = each(f"{type(self).__name__}: {name}", value, self.n)
        if min(values) < least:
            raise ValueError(f"{type(self).__name__}: {name} must be at least {least}, got {value!r}")
        return values

    def options(self):
        ones, zeros = (1,) * self.n, (0,) * self.n
        return shown(self.in_channels, self.out_channels, self.kernel_size, stride=(self.stride, ones),
                     padding=(self.padding, zeros), output_padding=(getattr(self, "output_padding", zeros), zeros),
                     dilation=(self.dilation, ones), groups=(self.groups, 1), bias=(self.bias is not None, True),
                     padding_mode=(getattr(self, "padding_mode", "zeros"), "zeros"))  # fmt: skip


class _Conv(_Convolution):
    """Parameters
    ----------
    in_channels, out_channels, kernel_size : sizes; kernel_size is an integer or one per axis
    stride, dilation : integers, or one per axis
    padding : an integer or one per axis; "same" keeps the size (stride 1), "valid" is 0
    groups : channels fall into so many independent parts
    bias : whether to add $b$
    padding_mode : "zeros"; or the border goes on by "reflect", "replicate" or "circular"
    rng : the Generator that draws the weights; None takes fresh entropy
    """

    convolve: Any = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        rng: Generator | None = None,
    ):
        self._sizes(in_channels, out_channels, kernel_size, groups)
        self.stride, self.dilation = self._each("stride", stride, 1), self._each("dilation", dilation, 1)
        if padding == "same" and max(self.stride) > 1:
            raise ValueError(f"{type(self).__name__}: padding='same' needs stride 1, got {self.stride}")
        self.padding = padding if padding in ("same", "valid") else self._each("padding", padding, 0)
        if padding_mode not in _PADDING:
            raise ValueError(f"{type(self).__name__}: padding_mode must be one of {[*_PADDING]}, got {padding_mode!r}")
        self.padding_mode = padding_mode
        fan = in_channels // groups * math.prod(self.kernel_size)
        self._build((out_channels, in_channels // groups, *self.kernel_size), fan, out_channels, bias, rng)

    def forward(self, x):
        """(1): (n, in, *space) to (n, out, *places)."""
        x, padding = (x, self.padding) if self.padding_mode == "zeros" else (self._framed(x), 0)
        return type(self).convolve(x, self.weight, self.bias, stride=self.stride, padding=padding,
                                   dilation=self.dilation, groups=self.groups)  # fmt: skip

    def _framed(self, x):
        """x with its border continued as `padding_mode` says (`forward` has not looked at its axes yet)."""
        if len(x.shape) != self.n + 2:
            raise ValueError(f"{type(self).__name__}: x must have {self.n + 2} axes, got shape {tuple(x.shape)}")
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            widths = [(t // 2, t - t // 2) for t in total]
        else:
            widths = [(p, p) for p in each("padding", 0 if self.padding == "valid" else self.padding, self.n)]
        return _frame(type(self).__name__, x, widths, _PADDING[self.padding_mode])


class Conv1d(_Conv):
    __doc__ = f"""The convolution (1) of sequences, (n, in, l) to (n, out, l').

    {_Conv.__doc__}"""
    n, convolve = 1, staticmethod(spatial.conv1d)


class Conv2d(_Conv):
    __doc__ = f"""The convolution (1) of images, (n, in, h, w) to (n, out, h', w').

    {_Conv.__doc__}"""
    n, convolve = 2, staticmethod(spatial.conv2d)


class _ConvTranspose(_Convolution):
    r"""It is the adjoint of (1): sizes go from $m$ to $s (m - 1) + d (k - 1) + 1 - 2 p$ + `output_padding`.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : sizes; kernel_size is an integer or one per axis
    stride, padding, dilation, groups : those of the convolution whose adjoint this is
    output_padding : rows to add at one end, less than stride: which of the sizes that (1) takes to $m$ is meant
    bias : whether to add $b$
    rng : the Generator that draws the weights; None takes fresh entropy
    """

    convolve: Any = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        rng: Generator | None = None,
    ):
        self._sizes(in_channels, out_channels, kernel_size, groups)
        self.stride, self.dilation = self._each("stride", stride, 1), self._each("dilation", dilation, 1)
        self.padding = self._each("padding", padding, 0)
        self.output_padding = self._each("output_padding", output_padding, 0)
        fan = out_channels // groups * math.prod(self.kernel_size)
        self._build((in_channels, out_channels // groups, *self.kernel_size), fan, out_channels, bias, rng)

    def forward(self, x):
        """(n, in, *space) to (n, out, *places)."""
        return type(self).convolve(x, self.weight, self.bias, stride=self.stride, padding=self.padding,
                                   output_padding=self.output_padding, dilation=self.dilation,
                                   groups=self.groups)  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    __doc__ = f"""The transposed convolution of sequences, (n, in, l) to (n, out, l').

    {_ConvTranspose.__doc__}"""
    n, convolve = 1, staticmethod(spatial.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    __doc__ = f"""The transposed convolution of images, (n, in, h, w) to (n, out, h', w').

    {_ConvTranspose.__doc__}"""
    n, convolve = 2, staticmethod(spatial.conv_transpose2d)


# ---- pooling --------------------------------------------------------------------------------------------


class _MaxPool(Module):
    """The largest element of each window; places that tie share the gradient. `stride` is `kernel_size` by default."""

    pool: Any = None

    def __init__(self, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0, dilation: Size = 1):
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x):
        return type(self).pool(x, self.kernel_size, stride=self.stride, padding=self.padding, dilation=self.dilation)

    def options(self):
        return shown(self.kernel_size, stride=(self.stride, None), padding=(self.padding, 0),
                     dilation=(self.dilation, 1))  # fmt: skip


class MaxPool1d(_MaxPool):
    __doc__ = f"(n, c, l) to (n, c, l'). {_MaxPool.__doc__}"
    pool = staticmethod(spatial.max_pool1d)


class MaxPool2d(_MaxPool):
    __doc__ = f"(n, c, h, w) to (n, c, h', w'). {_MaxPool.__doc__}"
    pool = staticmethod(spatial.max_pool2d)


class _AvgPool(Module):
    """The mean of each window; padding counts as zeros, or not at all. `stride` is `kernel_size` by default."""

    pool: Any = None

    def __init__(
        self, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0, count_include_pad: bool = True
    ):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x):
        return type(self).pool(x, self.kernel_size, stride=self.stride, padding=self.padding,
                               count_include_pad=self.count_include_pad)  # fmt: skip

    def options(self):
        return shown(self.kernel_size, stride=(self.stride, None), padding=(self.padding, 0),
                     count_include_pad=(self.count_include_pad, True))  # fmt: skip


class AvgPool1d(_AvgPool):
    __doc__ = f"(n, c, l) to (n, c, l'). {_AvgPool.__doc__}"
    pool = staticmethod(spatial.avg_pool1d)


class AvgPool2d(_AvgPool):
    __doc__ = f"(n, c, h, w) to (n, c, h', w'). {_AvgPool.__doc__}"
    pool = staticmethod(spatial.avg_pool2d)


class _AdaptivePool(Module):
    """Windows that cover x, as many as `output_size` says, whatever the size of x."""

    pool: Any = None

    def __init__(self, output_size: Size):
        self.output_size = output_size

    def forward(self, x):
        return type(self).pool(x, self.output_size)

    def options(self):
        return shown(self.output_size)


class AdaptiveAvgPool1d(_AdaptivePool):
    """The mean of each of `output_size` windows: (n, c, l) to (n, c, output_size)."""

    pool = staticmethod(spatial.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of each window: (n, c, h, w) to (n, c, *output_size)."""

    pool = staticmethod(spatial.adaptive_avg_pool2d)


class AdaptiveMaxPool1d(_AdaptivePool):
    """The largest element of each of `output_size` windows: (n, c, l) to (n, c, output_size)."""

    pool = staticmethod(spatial.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptivePool):
    """The largest element of each window: (n, c, h, w) to (n, c, *output_size)."""

    pool = staticmethod(spatial.adaptive_max_pool2d)


# ---- padding and other sizes ----------------------------------------------------------------------------


def _frame(layer, x, widths, mode):
    """x with its border continued, once at most, by pairs (before, after) for each spatial axis."""
    for (before, after), m in zip(widths, x.shape[2:], strict=True):
        if mode in ("reflect", "wrap") and max(before, after) > m - (mode == "reflect"):
            raise ValueError(f"{layer}: padding ({before}, {after}) is too much for {m} elements to continue as "
                             f"{mode!r} does; x has shape {tuple(x.shape)}")  # fmt: skip
    return tg.pad(x, [(0, 0), (0, 0), *widths], mode=mode)


class _Pad(Module):
    """x within a frame: `padding` on all sides, or (left, right) or (left, right, top, bottom)."""

    n, mode = 0, ""

    def __init__(self, padding: Size):
        self.padding = each(f"{type(self).__name__}: padding", padding, 2 * self.n)
        if min(self.padding) < 0:
            raise ValueError(f"{type(self).__name__}: padding must not be negative, got {padding!r}")

    def forward(self, x):
        if len(x.shape) != self.n + 2:
            raise ValueError(f"{type(self).__name__}: x must have {self.n + 2} axes, got shape {tuple(x.shape)}")
        pairs = list(zip(self.padding[::2], self.padding[1::2], strict=True))[::-1]  # PyTorch: the last axis first
        return _frame(type(self).__name__, x, pairs, self.mode)

    def options(self):
        return shown(self.padding)


class ZeroPad1d(_Pad):
    """Zeros all round: (n, c, l)."""

    n, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Zeros all round: (n, c, h, w)."""

    n, mode = 2, "constant"


class ReflectionPad1d(_Pad):
    """x mirrored at its border, which is not repeated: (n, c, l)."""

    n, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """x mirrored at its border, which is not repeated: (n, c, h, w)."""

    n, mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """The border continued: (n, c, l)."""

    n, mode = 1, "edge"


class ReplicationPad2d(_Pad):
    """The border continued: (n, c, h, w)."""

    n, mode = 2, "edge"


class Upsample(Module):
    """x enlarged `scale_factor` times along every spatial axis, by repetition ("nearest") or "bilinear"."""

    def __init__(self, *, scale_factor: int, mode: str = "nearest"):
        check_sizes("Upsample", scale_factor=scale_factor)
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"Upsample: mode must be 'nearest' or 'bilinear', got {mode!r}")
        self.scale_factor, self.mode = scale_factor, mode

    def forward(self, x):
        return spatial.upsample(x, self.scale_factor, mode=self.mode)

    def options(self):
        return f"scale_factor={self.scale_factor}, mode={self.mode!r}"


class PixelShuffle(Module):
    """(n, c·r², h, w) to (n, c, r·h, r·w): each r × r block of pixels is filled from r² channels."""

    def __init__(self, upscale_factor: int):
        check_sizes("PixelShuffle", upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, x):
        return spatial.pixel_shuffle(x, self.upscale_factor)

    def options(self):
        return shown(self.upscale_factor)

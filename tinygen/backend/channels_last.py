r"""How convolutions are computed: gather windows, multiply once, add up again, with the channels last in memory.

An image is (n, c, *space) to the outside, and may lie in memory as (n, *space, c). Then the channels of a pixel are
neighbours, a window is a few long runs, and the product of windows and weights is the output, channels last again:
nothing is transposed. Windows repeat each pixel once for every window that it is in, so they are made for a few samples
at a time, in memory that is used over and over and stays in the cache.

Two tricks change the shape of a product that would be too thin or too wasteful, not its result:

- *Neighbours together.* With few output channels, a row of the product makes g neighbouring outputs: a kernel that is
  g - 1 wider, in g shifted copies, taken in strides of g (`widened`).
- *Phases.* With stride s, the adjoint writes to places $s q + r$. Those of one remainder r see every s-th weight only:
  they are a convolution of stride 1 by a small kernel, and all r together one with more output channels (`phases_of`),
  which `interleave` puts where they belong. Adding up overlapping windows (`add_windows`) is the other way.

Notation
--------
windows : (groups, n * out, kernel * c / groups)
weights : `matrices(w)`, (groups, kernel * c / groups, o / groups)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .linear import gemm
from .threads import shared

HOST_WINDOWS = 2**20  # bytes of windows at a time on the CPU: about a cache
DEVICE_WINDOWS = 2**28  # and on a GPU: a small part of its memory


def last(x):
    """View (n, c, *space) as (n, *space, c)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def first(x):
    """View (n, *space, c) as (n, c, *space)."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def matrices(xp, w, groups):
    """Lay weights (o, c / groups, *kernel) out as matrices: (groups, kernel * c / groups, o / groups)."""
    o, c, *kernel = w.shape
    k = math.prod(kernel)
    columns = w.reshape(groups, o // groups, c, k).transpose(0, 3, 2, 1)
    return xp.ascontiguousarray(columns).reshape(groups, k * c, o // groups)


def by_group(y, groups):
    """View (n, *out, o) as rows of each group: (groups, n * out, o / groups)."""
    return y.reshape(math.prod(y.shape[:-1]), groups, y.shape[-1] // groups).transpose(1, 0, 2)


def parts(xp, samples: int, sample: int, weight: int) -> list[slice]:
    """Cut the batch into slices whose windows fit the budget, or outweigh the weights: each product reads all of these.

    `sample` and `weight` are bytes: of the windows of a sample, and of the weights.
    """
    budget = max(HOST_WINDOWS, 3 * weight // 2) if xp is np else DEVICE_WINDOWS
    size = max(1, budget // max(sample, 1))
    return [slice(i, min(i + size, samples)) for i in range(0, samples, size)]


def gather(xp, x, kernel, out, stride, padding, dilation, groups, weight: int) -> Iterator[tuple[slice, Any]]:
    """Pairs of a slice of the batch and its windows, which are only good until the next ones are asked for."""
    x = last(x)
    n, *space, c = x.shape
    cut = parts(xp, n, math.prod(out) * math.prod(kernel) * c * x.itemsize, weight)
    size = cut[0].stop if cut else 0
    windows = xp.empty((groups, size, *out, *kernel, c // groups), x.dtype)
    if any(padding):
        frame = xp.zeros((size, *(m + 2 * p for m, p in zip(space, padding, strict=True)), c), x.dtype)
        inside = frame[interior(padding, space)]
    for part in cut:
        k = part.stop - part.start
        pixels = x[part]
        if any(padding):
            inside[:k] = pixels
            pixels = frame[:k]
        _copy_windows(xp, pixels, windows[:, :k], stride, dilation)
        yield part, windows[:, :k].reshape(groups, k * math.prod(out), math.prod(kernel) * c // groups)


def _copy_windows(xp, x, windows, stride, dilation):
    """Cut windows (groups, n, *out, *kernel, c / groups) out of x (n, *space, c)."""
    groups, axes = windows.shape[0], len(stride)
    sample, *along, channel = x.strides
    steps = [s * a for s, a in zip(stride, along, strict=True)]
    taps = [d * a for d, a in zip(dilation, along, strict=True)]
    shape, strides = windows.shape, (windows.shape[-1] * channel, sample, *steps, *taps, channel)
    if groups == 1 and taps[-1] == x.shape[-1] * channel:  # taps side by side and their channels are one run
        shape = (*shape[: 1 + 2 * axes], shape[-2] * shape[-1])
        strides = (*strides[: 1 + 2 * axes], channel)
    view = np.lib.stride_tricks.as_strided if xp is np else xp.lib.stride_tricks.as_strided
    windows.reshape(shape)[...] = view(x, shape, strides)


def interior(padding, space) -> tuple[slice, ...]:
    """Index the part of (n, *padded, c) that is not padding."""
    return (slice(None), *(slice(p, p + m) for p, m in zip(padding, space, strict=True)))


def met(tap, stride, dilation, out) -> tuple[slice, ...]:
    """What one position in the kernel meets as the kernel takes its places: a slice for each axis."""
    starts = [d * t for d, t in zip(dilation, tap, strict=True)]
    return tuple(slice(a, a + s * (m - 1) + 1, s) for a, s, m in zip(starts, stride, out, strict=True))


def add_windows(xp, y, w, space, stride, padding, dilation, groups):
    """Spread y (n, o, *out) by the weights to windows, and add these up where they overlap: (n, c, *space).

    With many channels windows lie channels last, else the image's width is last: a long run is quickly added.
    """
    kernel, channels, axes = w.shape[2:], w.shape[1] * groups, len(stride)
    weight, rows, out = matrices(xp, w, groups), last(y), y.shape[2:]
    n, each = y.shape[0], channels // groups
    padded = tuple(m + 2 * p for m, p in zip(space, padding, strict=True))
    long_runs = channels >= 16
    x = xp.zeros((n, *padded, groups, each) if long_runs else (n, groups, each, *padded), xp.result_type(y, w))
    target = x.transpose(0, 1 + axes, 2 + axes, *range(1, 1 + axes)) if long_runs else x  # (n, groups, each, *padded)

    def work(cut):
        ys, onto = rows[cut], target[cut]
        for part in parts(xp, len(ys), math.prod(out) * math.prod(kernel) * channels * x.itemsize, weight.nbytes):
            k, y_part = part.stop - part.start, by_group(ys[part], groups)
            if long_runs:
                windows = gemm(y_part, weight, transpose_b=True).reshape(groups, k, *out, *kernel, each)
                windows = windows.transpose(1, 0, 2 + 2 * axes, *range(2, 2 + 2 * axes))
            else:
                windows = gemm(weight, y_part, transpose_b=True).reshape(groups, *kernel, each, k, *out)
                windows = windows.transpose(2 + axes, 0, 1 + axes, *range(3 + axes, 3 + 2 * axes), *range(1, 1 + axes))
            for tap in itertools.product(*map(range, kernel)):  # (n, groups, each, *out, *kernel)
                onto[(part, slice(None), slice(None), *met(tap, stride, dilation, out))] += windows[(..., *tap)]

    shared(work, n, y.size * weight.shape[1] if xp is np else 0)
    if long_runs:
        return first(xp.ascontiguousarray(x.reshape(n, *padded, channels)[interior(padding, space)]))
    return xp.ascontiguousarray(x.reshape(n, channels, *padded)[(slice(None), *interior(padding, space))])


def phases_pay(y, channels, kernel, stride, dilation) -> bool:
    """Say whether phases are quicker than adding windows up; the numbers are measured.

    Phases read more, if y has many more channels than x. Their windows reach over the border, and small kernels are
    filled up with zeros: both make the product larger, and it weighs the more the more channels y has.
    """
    if max(dilation) > 1 or y.shape[1] > 4 * channels:
        return False
    turns = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    places = math.prod(m + t - 1 for m, t in zip(y.shape[2:], turns, strict=True))
    products = places * math.prod(t * s for t, s in zip(turns, stride, strict=True))
    more = products / (math.prod(y.shape[2:]) * math.prod(kernel)) - 1
    return max(stride) == 1 or more * y.shape[1] < 50


def phases_of(xp, w, stride, groups):
    """The small kernels of the phases: (groups * phases * c, o / groups, *turns), phase r having w[r + s t] at -t."""
    o, c, *kernel = w.shape
    turns = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    full = xp.zeros((o, c, *(t * s for t, s in zip(turns, stride, strict=True))), w.dtype)
    full[(slice(None), slice(None), *map(slice, kernel))] = w
    split = full.reshape(groups, o // groups, c, *(m for t, s in zip(turns, stride, strict=True) for m in (t, s)))
    turned = split[(..., *(index for _ in kernel for index in (slice(None, None, -1), slice(None))))]
    taps, phases = range(3, split.ndim, 2), range(4, split.ndim, 2)
    small = turned.transpose(0, *phases, 2, 1, *taps)
    return small.reshape(groups * math.prod(stride) * c, o // groups, *turns)


def interleave(xp, z, space, stride, padding, groups):
    """Put phases (n, groups * phases * c, *q) where they belong, at $s q + r - p$: (n, groups * c, *space)."""
    n, q, axes = z.shape[0], z.shape[2:], len(stride)
    z = last(z).reshape(n, *q, groups, *stride, z.shape[1] // groups // math.prod(stride))
    covered = all(s * count >= m + p for m, s, p, count in zip(space, stride, padding, q, strict=True))
    x = (xp.empty if covered else xp.zeros)((n, *space, groups * z.shape[-1]), z.dtype)
    for phase in itertools.product(*map(range, stride)):
        to, from_ = [slice(None)], [slice(None)]
        for m, s, p, r, count in zip(space, stride, padding, phase, q, strict=True):
            begin, end = -(-max(p - r, 0) // s), min(count, -(-(m + p - r) // s))  # those that fall inside
            end = max(begin, end)
            to.append(slice(s * begin + r - p, s * (end - 1) + r - p + 1, s) if end > begin else slice(0, 0))
            from_.append(slice(begin, end))
        piece = z[(*from_, slice(None), *phase)]
        x[tuple(to)] = piece.reshape(*piece.shape[: 1 + axes], x.shape[-1])
    return first(x)


def neighbours(o, out, stride, dilation, groups) -> int:
    """How many neighbouring outputs one row of the product should make; 1 where it is wide enough already."""
    if groups > 1 or stride[-1] > 1 or max(dilation) > 1 or o >= 32:
        return 1
    return next(g for g in (4, 3, 2, 1) if out[-1] % g == 0)


def widened(xp, w, g):
    """Weights (o, c, ..., k) for g neighbours at once: (g * o, c, ..., k + g - 1)."""
    o, c, *before, k = w.shape
    wide = xp.zeros((g, o, c, *before, k + g - 1), w.dtype)
    for j in range(g):
        wide[j, ..., j : j + k] = w
    return wide.reshape(g * o, c, *before, k + g - 1)


def narrowed(wide, g):
    """The adjoint of `widened`: (g * o, c, ..., k + g - 1) to (o, c, ..., k)."""
    o, c, *before, k = wide.shape
    wide, k = wide.reshape(g, o // g, c, *before, k), k - g + 1
    return sum(wide[j, ..., j : j + k] for j in range(g))

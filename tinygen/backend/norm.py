r"""Batch norm in few passes over memory: the equations are in `nn/norm.py`.

All of x (n, c, *space) is taken as a matrix, one row for each sample, in the order in which it lies in memory, and a
number for each channel as a row of that matrix. Then every sum over samples is a product with ones, every operation
runs over long rows, and a few samples at a time stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .channels_last import first, last
from .recording import whole
from .threads import ELEMENTWISE, shared

PART = 2**18  # elements at a time on the CPU


class Rows(NamedTuple):
    """x as a matrix (n, c · space).

    `spread` makes a row of one number per channel, (c,) to (c · space,); `gather` is its adjoint, the sums; and
    `like_x` undoes the layout.
    """

    x: Any
    spread: Callable
    gather: Callable
    like_x: Callable


def lies_last(x) -> bool:
    """Say whether x (n, c, *space) lies in memory as (n, *space, c)."""
    return x.ndim > 2 and not x.flags.c_contiguous and last(x).flags.c_contiguous


def rows_of(xp, x, channels_are_last=None) -> Rows:
    """Lay x (n, c, *space) out as a matrix, channels last or not; in the order in which it lies, without a copy."""
    n, c, *space = x.shape
    places = math.prod(space)
    if channels_are_last is None:
        channels_are_last = lies_last(x)
    if channels_are_last:
        return Rows(
            xp.ascontiguousarray(last(x)).reshape(n, places * c),
            lambda v: xp.tile(v, places),
            lambda row: row.reshape(places, c).sum(axis=0),
            lambda rows: first(rows.reshape(n, *space, c)),
        )
    return Rows(
        xp.ascontiguousarray(x).reshape(n, c * places),
        lambda v: xp.repeat(v, places),
        lambda row: row.reshape(c, places).sum(axis=1),
        lambda rows: rows.reshape(x.shape),
    )


@whole
def moments(xp, x):
    """Mean and biased variance of each channel of x (n, c, *space): (c,) each."""
    rows = rows_of(xp, x)
    n, size = rows.x.shape
    count, places = x.size // x.shape[1], size // x.shape[1]
    # a sample's mean: squares of what is left after it hardly cancel, unless that sample lies far from all others
    near = rows.gather(rows.x[0]) / places
    about = rows.spread(near)

    def work(cut):
        x, sums, squares = rows.x[cut], 0, 0
        for part, ones, room in _parts(xp, x):
            d = xp.subtract(x[part], about, out=room)
            sums = sums + ones @ d
            squares = squares + ones @ xp.multiply(d, d, out=d)
        return sums, squares

    sums, squares = (sum(found) for found in zip(*shared(work, n, _operations(xp, x, 4)), strict=True))
    shift = rows.gather(sums) / count
    return near + shift, xp.maximum(rows.gather(squares) / count - shift * shift, 0)


@whole
def scaled(xp, x, mean, scale, shift):
    """(x - mean) times one number per channel, and another one added; x (n, c, *space), three of (c,)."""
    rows = rows_of(xp, x)
    mean, scale, shift = (rows.spread(v) for v in (mean, scale, shift))
    y = xp.empty_like(rows.x)

    def work(cut):
        x, y_cut = rows.x[cut], y[cut]
        for part, _, _ in _parts(xp, x):
            d = xp.subtract(x[part], mean, out=y_cut[part])  # first, so that a large mean costs no digits
            d *= scale
            d += shift

    shared(work, len(y), _operations(xp, x, 3))
    return rows.like_x(y)


@whole
def batch_norm_back(xp, g, x, mean, inverse_deviation, weight):
    r"""Carry g back through batch norm: the gradients by x, weight and bias.

    With $\hat x$ the normalised x and N elements in a channel, $\bar x = \gamma / \sigma \cdot
    (g - \tfrac1N \sum g - \tfrac1N \hat x \sum g \hat x)$.
    """
    rows = rows_of(xp, x)
    g = rows_of(xp, g, lies_last(x)).x
    about = rows.spread(mean)

    def sums_of(cut):
        x, g_cut, sums, products = rows.x[cut], g[cut], 0, 0
        for part, ones, room in _parts(xp, x):
            sums = sums + ones @ g_cut[part]
            d = xp.subtract(x[part], about, out=room)
            products = products + ones @ xp.multiply(d, g_cut[part], out=d)
        return sums, products

    found = shared(sums_of, len(g), _operations(xp, x, 4))
    sums, products = (sum(parts) for parts in zip(*found, strict=True))
    b_bar, w_bar = rows.gather(sums), inverse_deviation * rows.gather(products)
    by_g, count = weight * inverse_deviation, x.size // x.shape[1]
    by_x = -by_g * inverse_deviation * w_bar / count
    spread = rows.spread(by_g), rows.spread(by_x), rows.spread(-by_g * b_bar / count)
    x_bar = xp.empty_like(rows.x)

    def gradient(cut):
        x, g_cut, onto = rows.x[cut], g[cut], x_bar[cut]
        for part, _, room in _parts(xp, x):
            d = xp.subtract(x[part], about, out=onto[part])
            d *= spread[1]
            d += spread[2]
            d += xp.multiply(g_cut[part], spread[0], out=room)

    shared(gradient, len(g), _operations(xp, x, 5))
    return rows.like_x(x_bar), w_bar, b_bar


def _operations(xp, x, passes: int) -> float:
    """What so many operations on every element are worth to `shared`; on a GPU nothing is shared out."""
    return ELEMENTWISE * passes * x.size if xp is np else 0


def _parts(xp, rows) -> Iterator[tuple[slice, Any, Any]]:
    """A few rows at a time: where, as many ones, and room for them. All of them on a GPU."""
    n, size = rows.shape
    height = max(1, min(n, PART // max(size, 1))) if xp is np else n
    room, ones = xp.empty((height, size), rows.dtype), xp.ones(height, rows.dtype)
    for i in range(0, n, height):
        k = min(height, n - i)
        yield slice(i, i + k), ones[:k], room[:k]

r"""Sums of kernels over all pairs of points and examples: fast, in log space, and in little memory.

What `kernel` says in a line, $\sum_i \kappa(\lVert x - X_i \rVert / h)$, is the work of a kernel estimate: as many
terms as there are pairs, and a table of them all would soon be larger than any memory. So a table is made of some
points at a time, small enough for the cache.

A Gaussian has no end, and every pair counts. Its exponents come from one product of matrices, and most of the time is
spent in `exp`. The other kernels end at distance $h$: with the examples in the order of their first coordinate, all
that matter to some points lie in one slice, and what is further away along this axis is never looked at.

Notation
--------
$x, X_i, h$ : `x`, (m, d); `X`, (n, d); `h`
$\kappa$ : `profile`, a kernel without its constant, 1 at the middle
"""

from __future__ import annotations

import math

from tinygen.backend import arrays as backend
from tinygen.backend.linear import gemm
from tinygen.data.batches import in_order

TOO_SMALL = 1e-200  # a sum of exponentials below it may have lost terms
ROUNDING = 1e-11  # what squared distances, found by a product, may be wrong by


def profile(squares, kernel: str, out=None):
    r"""$\kappa(r)$ from $r^2$, elementwise; into `out`, which may be `squares`, if given."""
    xp = backend.array_module(squares)
    if kernel == "gaussian":
        return xp.exp(-squares / 2, out=out)
    if kernel == "rectangular":
        return (squares <= 1).astype(squares.dtype)
    r = xp.sqrt(squares, out=out) if kernel == "triangular" else squares
    return xp.maximum(xp.subtract(1, r, out=out), 0, out=out)


def compact_sums(x, X, h: float, kernel: str, product: bool):
    r"""$\sum_i \kappa$ of a kernel that ends at 1: (m, d), (n, d) to (m,).

    Both are put in the order of their first coordinate. Then what is near some points, by this coordinate, is a slice.
    """
    xp = backend.array_module(X)
    X, order, size = X[xp.argsort(X[:, 0])], xp.argsort(x[:, 0]), rows_at_a_time(X)
    room, found = xp.empty((2, size * len(X)), dtype=X.dtype), xp.empty(len(x), dtype=X.dtype)
    for rows in in_order(order, size):
        part = x[rows]
        near = within(X, part, h)
        found[rows] = unscaled(part, near, h, kernel, product, room).sum(1)
    return found


def within(X, part, reach: float):
    """The slice of X, in the order of its first coordinate, that lies no further than `reach` from part, which is so
    too; or a little more."""
    xp, rounding = backend.array_module(X), 1e-15 * (abs(part[0, 0]) + abs(part[-1, 0]))
    edge = reach * (1 + 1e-9) + rounding
    ends = xp.stack([part[0, 0] - edge, part[-1, 0] + edge])
    low, high = backend.to_numpy(xp.searchsorted(X[:, 0], ends)).tolist()
    return X[low : high + 1]


def unscaled(x, X, h: float, kernel: str, product: bool, room):
    r"""$\kappa$ of the distances, or the product of those along the axes: (m, d), (n, d) to (m, n), in `room`."""
    if not product:
        squares = scaled_squares(x, X, h, room)
        return profile(squares, kernel, out=squares)
    values = None
    for j in range(X.shape[1]):
        squares = scaled_squares(x[:, j : j + 1], X[:, j : j + 1], h, room if values is None else room[1:])
        factor = profile(squares, kernel, out=squares)
        values = factor if values is None else backend.array_module(X).multiply(values, factor, out=values)
    return values


def scaled_squares(x, X, h: float, room=None):
    r"""$\lVert x - X_i \rVert^2 / h^2$ from the differences: (m, d), (n, d) to (m, n).

    `room` is two rows of memory for as many numbers (one for d = 1): fresh memory costs more than the arithmetic.
    """
    xp, shape = backend.array_module(X), (len(x), len(X))
    if room is None:
        room = xp.empty((2, math.prod(shape)), dtype=X.dtype)
    squares, *other = (row[: math.prod(shape)].reshape(shape) for row in room)
    for j in range(X.shape[1]):
        u = squares if j == 0 else other[0]
        xp.subtract(x[:, j, None], xp.ascontiguousarray(X[:, j]), out=u)
        u *= u
        if j > 0:
            squares += u
    squares *= 1 / (h * h)
    return squares


def exponents(x, X, h: float):
    r"""A function that gives $-\lVert x - X_i \rVert^2 / 2h^2$ of slices of both, into an array if it is given one.

    With $z = x/h$ and $Z_i = X_i/h$ this is $z \cdot Z_i - \tfrac12 z^2 - \tfrac12 Z_i^2$: one product of matrices with
    two columns more. It cancels where $z$ and $Z_i$ are large and near each other, so the origin is moved to the
    middle of the examples; and if that is not enough, as $h$ is tiny, the differences are squared instead.
    """
    xp = backend.array_module(X)
    middle = X.mean(0)
    z, Z = (x - middle) / h, (X - middle) / h
    far = float(abs(z).max()) * float(abs(Z).max()) * X.shape[1]
    if not far * 2.0**-52 < ROUNDING:
        return lambda rows, of, out=None: scaled_squares(x[rows], X[of], h) * -0.5
    left = xp.concatenate([z, -0.5 * (z * z).sum(1)[:, None], xp.ones_like(z[:, :1])], axis=1)  # (m, d + 2)
    right = xp.concatenate([Z.T, xp.ones_like(Z.T[:1]), -0.5 * (Z * Z).sum(1)[None]])  # (d + 2, n)
    return lambda rows, of, out=None: gemm(left[rows], right[:, of], out=out)


def gaussian_log_sums(x, X, h: float):
    r"""$\operatorname{logsumexp}_i(-\lVert x - X_i \rVert^2 / 2h^2)$: (m, d), (n, d) to (m,).

    The exponentials are added as they are, which is fastest, and only where a sum is next to nothing again, with the
    largest term taken out. Both points and examples come in blocks, whose table of distances stays in the cache.
    """
    xp, n, numbers = backend.array_module(X), len(X), numbers_at_a_time(X)
    width = max(1, min(n, numbers // 8))
    size, blocks = max(1, numbers // width), [slice(i, min(i + width, n)) for i in range(0, n, width)]
    between, ones, buffer = exponents(x, X, h), xp.ones(n, dtype=X.dtype), xp.empty(size * width, dtype=X.dtype)

    def tables(rows):
        for of in blocks:
            shape = rows.stop - rows.start, of.stop - of.start
            yield of, between(rows, of, buffer[: math.prod(shape)].reshape(shape))

    found = []
    for start in range(0, len(x), size):
        rows, top = slice(start, min(start + size, len(x))), 0.0
        sums = sum(xp.exp(E, out=E) @ ones[of] for of, E in tables(rows))
        if float(sums.min()) < TOO_SMALL:
            top = xp.stack([E.max(1) for _, E in tables(rows)]).max(0)
            sums = sum(xp.exp(E - top[:, None]) @ ones[of] for of, E in tables(rows))
        found.append(top + xp.log(sums))
    return xp.concatenate(found)


def numbers_at_a_time(X) -> int:
    """How large a table of distances is made at a time: what stays in the cache, or keeps a GPU busy."""
    return 2**17 if backend.device_of(X) == "cpu" else 2**24


def rows_at_a_time(X, share: int = 1) -> int:
    """How many rows such a table has, or a part of it, if all examples stand in a row."""
    return max(1, numbers_at_a_time(X) // share // len(X))

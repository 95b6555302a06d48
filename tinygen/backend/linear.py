r"""Matrix products and triangular systems over stacks of matrices.

Every product of the engine goes through `gemm`,

$$ C = \mathrm{op}(A)\,\mathrm{op}(B) \quad\text{or}\quad C \mathrel{+}= \mathrm{op}(A)\,\mathrm{op}(B), $$

with $\mathrm{op}(A) = A$ or $A^\top$. A transpose is a flag, so no transposed copy is made, and there is
one place to put a faster product in.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from .arrays import MODULES, array_module
from .recording import whole
from .threads import pays, shared, threads


def gemm(a, b, *, transpose_a=False, transpose_b=False, out=None, accumulate=False):
    """Multiply matrices, or stacks of matrices whose leading axes broadcast.

    Parameters
    ----------
    a : array, (..., m, k), or (..., k, m) with `transpose_a`
    b : array, (..., k, n), or (..., n, k) with `transpose_b`
    out : array, (..., m, n), optional
        Where the product is written.
    accumulate : bool
        Add the product to `out` instead of overwriting it.

    Returns
    -------
    array, (..., m, n)
        `out` when it was given.

    Raises
    ------
    ValueError
        When the shapes do not fit, with both of them.
    """
    xp = MODULES.get(type(a))
    if xp is None or MODULES.get(type(b)) is not xp:
        xp = array_module(a, b)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"gemm: a has shape {a.shape} and b {b.shape}; wanted at least two axes each.")
    if accumulate and out is None:
        raise ValueError("gemm: accumulate=True needs out=, the array to add to.")
    left = a.swapaxes(-1, -2) if transpose_a else a  # (..., m, k)
    right = b.swapaxes(-1, -2) if transpose_b else b  # (..., k, n)
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(_mismatch(a, b, transpose_a, transpose_b))
    try:
        if out is not None and not accumulate:
            return _matmul(xp, left, right, out)
        product = _product(xp, left, right)
        if out is None:
            return product
        out += product
        return out
    except ValueError as error:
        if out is not None:
            raise ValueError(f"{_mismatch(a, b, transpose_a, transpose_b)} out has shape {out.shape}.") from error
        raise ValueError(_mismatch(a, b, transpose_a, transpose_b)) from error


def total(xp, x, axis=None, keepdims=False):
    """Sum as `x.sum`; over samples by a product with ones, which is up to five times as fast on NumPy."""
    if xp is not np or not axis or type(axis) is not tuple or axis[0] or x.size < 2048 or x.dtype.kind != "f":
        return np.add.reduce(x, axis, keepdims=keepdims) if type(x) is np.ndarray else x.sum(axis, keepdims=keepdims)
    if list(axis) != sorted({a for a in axis if 0 <= a < x.ndim}):
        return x.sum(axis=axis, keepdims=keepdims)  # counted from the end, or a mistake: NumPy's to deal with
    channels_last = x.ndim > 2 and axis == (0, *range(2, x.ndim)) and not x.flags.c_contiguous
    lying = x.transpose(*axis, 1) if channels_last else x  # as it lies in memory, perhaps
    if len(axis) == x.ndim or not lying.flags.c_contiguous:
        return x.sum(axis=axis, keepdims=keepdims)
    lead = x.ndim - 1 if channels_last else len(list(itertools.takewhile(axis.__contains__, range(x.ndim))))
    rows = lying.reshape(math.prod(lying.shape[:lead]), -1)  # the first axes are summed by the product, the rest after
    sums = (np.ones(len(rows), x.dtype) @ rows).reshape(lying.shape[lead:])
    if not channels_last and lead < len(axis):
        sums = sums.sum(axis=tuple([a - lead for a in axis if a >= lead]))
    return sums.reshape([1 if i in axis else n for i, n in enumerate(x.shape)]) if keepdims else sums


@whole
def solve_triangular(xp, a, b, lower, transpose):
    r"""Solve $A X = B$, or $A^\top X = B$ with `transpose`, for stacks of triangular matrices.

    Parameters
    ----------
    a : array, (..., n, n)
        Only its lower (or upper) triangle is read.
    b : array, (..., n, k)
    lower : bool
        Whether A is lower triangular.
    transpose : bool

    Raises
    ------
    numpy.linalg.LinAlgError
        On a singular matrix (NumPy; CuPy does not check).
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != a.shape[-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"solve_triangular: a has shape {a.shape} and b {b.shape}; wanted (..., n, n) and (..., n, k)."
        )
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = xp.broadcast_to(a, stack + a.shape[-2:]), xp.broadcast_to(b, stack + b.shape[-2:])
    if xp is not np:
        # CuPy has no batched triangular solve; the general one costs more and is as exact.
        triangle = xp.tril(a) if lower else xp.triu(a)
        return xp.linalg.solve(triangle.swapaxes(-1, -2) if transpose else triangle, b)
    import scipy.linalg  # here, because it takes a tenth of a second and few programs need it

    out = np.empty(b.shape, np.result_type(a, b, np.float32))  # integers have fractions for solutions
    for i in np.ndindex(stack):
        out[i] = scipy.linalg.solve_triangular(a[i], b[i], trans=int(transpose), lower=lower, check_finite=False)
    return out


def cholesky(xp, a):
    r"""Factor $A = L L^\top$, with L lower triangular; (..., n, n), only A's lower triangle is read.

    Raises
    ------
    numpy.linalg.LinAlgError
        When A is not positive definite (NumPy; CuPy gives NaN instead, since checking would wait for the
        device).
    """
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"cholesky: a has shape {a.shape}; wanted square matrices, (..., n, n).")
    return xp.linalg.cholesky(a)


def _product(xp, left, right):
    """Multiply, as one plain product where the stack allows it: many small ones are slower.

    CuPy moreover copies a transposed operand in a stack, and not outside one.
    """
    if left.ndim == right.ndim == 3 and len(left) == len(right) == 1:
        return _matmul(xp, left[0], right[0])[None]
    if left.ndim == 2 or right.ndim > 2:
        return _matmul(xp, left, right)
    tall = left.reshape(math.prod(left.shape[:-1]), left.shape[-1])  # (stack * m, k)
    return _matmul(xp, tall, right).reshape(left.shape[:-1] + right.shape[-1:])


def _matmul(xp, left, right, out=None):
    """The product, shared out among threads where nobody takes notes."""
    if type(left) is np.ndarray and type(right) is np.ndarray and threads() > 1:
        return matmul(left, right, out)
    return xp.matmul(left, right, out=out)


def product(a, b):
    """`a @ b`, for rules: of raw matrices shared out among threads, of anything else (Tensors, symbols) as it is."""
    return matmul(a, b) if type(a) is np.ndarray and type(b) is np.ndarray and threads() > 1 else a @ b


def matmul(left, right, out=None):
    """`np.matmul`, whose longer side threads share: of two matrices, and large ones, since a part has to pay."""
    if left.ndim != 2 or right.ndim != 2 or threads() == 1 or not pays(left.size * right.shape[1]):
        return np.matmul(left, right, out=out)
    if out is None:
        out = np.empty((len(left), right.shape[1]), np.result_type(left, right))
    tall = out.shape[0] >= out.shape[1]

    def work(cut):
        rows, columns = (cut, slice(None)) if tall else (slice(None), cut)
        np.matmul(left[rows], right[:, columns], out=out[rows, columns])

    shared(work, max(out.shape), left.size * right.shape[1])
    return out


def _mismatch(a, b, transpose_a, transpose_b) -> str:
    """Say which shapes do not fit."""
    left = f"a.T of shape {a.swapaxes(-1, -2).shape}" if transpose_a else f"a of shape {a.shape}"
    right = f"b.T of shape {b.swapaxes(-1, -2).shape}" if transpose_b else f"b of shape {b.shape}"
    wanted = "wanted (..., m, k) and (..., k, n) whose leading axes broadcast."
    return f"gemm: {left} and {right} do not fit; {wanted}"

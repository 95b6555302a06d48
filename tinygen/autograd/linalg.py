r"""Linear algebra: products, systems, factorisations.

Matrices stand in the last two axes; leading axes are a stack and broadcast. The rules follow from the
differential of each definition: for instance $A^{-1}A = I$ gives $d(A^{-1}) = -A^{-1}\,dA\,A^{-1}$, so that
$\bar A = -A^{-\top} \bar Y A^{-\top}$. `cholesky` and `eigh` are functions of the symmetric part
$(A + A^\top)/2$, so their gradients are symmetric.
"""

from __future__ import annotations

import math
import string
from numbers import Integral

from tinygen.autograd.elementwise import multiply
from tinygen.autograd.primitive import arraylike, describe, primitive, vocabulary
from tinygen.autograd.reductions import nonzero, sum
from tinygen.autograd.shapes import (
    broadcast_to,
    diag,
    diagonal,
    expand_dims,
    normal_axes,
    reshape,
    squeeze,
    transpose,
    tril,
    triu,
)  # fmt: skip
from tinygen.backend import linear


@vocabulary
def mT(x):
    """The last two axes exchanged: every matrix transposed."""
    return x.swapaxes(-1, -2)


@vocabulary
def as_matrix(g):
    """One number per matrix, with two axes of length 1 to multiply the matrix by."""
    return expand_dims(g, (-2, -1))


# ---- products -------------------------------------------------------------------------------------------


@primitive(lambda g, b: _matmul(g, mT(b)), lambda g, a: _matmul(mT(a), g))
def _matmul(xp, a, b):
    """Matrix products over a stack, both inputs with two axes or more."""
    return linear.gemm(a, b)


def matmul(a, b):
    """The matrix product, as `numpy.matmul`: stacks broadcast, a vector is a row on the left, a column on the right."""
    given, (a, b) = (a, b), (arraylike(a), arraylike(b))
    if len(a.shape) == 2 == len(b.shape):
        return _matmul(a, b)
    if not a.shape or not b.shape:
        raise ValueError(f"matmul: inputs with at least one axis are wanted, got {' and '.join(map(describe, given))}")
    if len(b.shape) == 2 < len(a.shape):  # one tall product instead of many small ones
        return reshape(_matmul(reshape(a, (math.prod(a.shape[:-1]), a.shape[-1])), b), (*a.shape[:-1], b.shape[-1]))
    rows = expand_dims(a, 0) if len(a.shape) == 1 else a
    columns = expand_dims(b, 1) if len(b.shape) == 1 else b
    y = _matmul(rows, columns)
    y = squeeze(y, -1) if len(b.shape) == 1 else y
    return squeeze(y, -2 if len(b.shape) > 1 else -1) if len(a.shape) == 1 else y


def dot(a, b):
    """As `numpy.dot`: the product with a scalar, else a's last axis against b's last but one (or only) axis."""
    a, b = arraylike(a), arraylike(b)
    if not a.shape or not b.shape:
        return multiply(a, b)
    if len(b.shape) <= 2:
        return matmul(a, b)
    return tensordot(a, b, ((-1,), (-2,)))


def outer(a, b):
    """$a_i b_j$ for all elements of a and b, (a.size, b.size)."""
    return expand_dims(reshape(a, -1), 1) * expand_dims(reshape(b, -1), 0)


def tensordot(a, b, axes=2):
    """Sum over pairs of axes: the last `axes` of a with the first of b, or the pairs in `axes` = (of a, of b)."""
    a, b = arraylike(a), arraylike(b)
    if isinstance(axes, Integral):
        if axes > min(len(a.shape), len(b.shape)):
            raise ValueError(f"tensordot: axes={axes} is more than shapes {a.shape} and {b.shape} have")
        axes = (tuple(range(len(a.shape) - axes, len(a.shape))), tuple(range(axes)))
    left, right = (normal_axes(s, len(x.shape), "tensordot") for s, x in zip(axes, (a, b), strict=True))
    if [a.shape[i] for i in left] != [b.shape[j] for j in right]:
        raise ValueError(f"tensordot: axes {axes} of shapes {a.shape} and {b.shape} do not match")
    free_a = [i for i in range(len(a.shape)) if i not in left]
    free_b = [j for j in range(len(b.shape)) if j not in right]
    shape_a, shape_b = [a.shape[i] for i in free_a], [b.shape[j] for j in free_b]
    inner = math.prod([a.shape[i] for i in left])
    rows = reshape(transpose(a, (*free_a, *left)), (math.prod(shape_a), inner))
    columns = reshape(transpose(b, (*right, *free_b)), (inner, math.prod(shape_b)))
    return reshape(_matmul(rows, columns), (*shape_a, *shape_b))


def _einsum_back(g, arrays, arrays_shape, subscripts, needs):
    r"""Einsum's gradients are einsums: put $\bar y$ in the place of the input, the input's letters at the end."""
    inputs, output = subscripts.split("->")
    letters = inputs.split(",")
    result = []
    for i, (mine, shape) in enumerate(zip(letters, arrays_shape, strict=True)):
        others = [(s, a) for k, (s, a) in enumerate(zip(letters, arrays, strict=True)) if k != i]
        known = set(output).union(*[s for s, _ in others])
        found = "".join(c for c in mine if c in known)  # the rest was summed over, and is spread again
        if not needs[i]:
            result.append(None)
            continue
        x = _einsum(g, *[a for _, a in others], subscripts=",".join([output, *[s for s, _ in others]]) + "->" + found)
        gaps = tuple([k for k, c in enumerate(mine) if c not in known])
        x = expand_dims(x, gaps) if gaps else x
        known_shape = zip(shape, x.shape, strict=True)  # of length 1 where no other input and no output says more
        result.append(broadcast_to(x, [n if k in gaps or m == 1 else m for k, (n, m) in enumerate(known_shape)]))
    return tuple(result)


@primitive(
    joint=_einsum_back,
    formula=r"\bar x_k = \operatorname{einsum}(\bar y, \text{ the other } x_j) \text{ to the letters of } x_k",
)
def _einsum(xp, *arrays, subscripts):
    """Sums of products, each letter once in each input, the output's letters explicit."""
    return xp.einsum(subscripts, *arrays, optimize=len(arrays) > 1)


def einsum(subscripts, *operands):
    """Sums of products in Einstein's notation, as `numpy.einsum`: ``einsum("ij,jk->ik", a, b)``."""
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: the subscripts come first, as text; got {describe(subscripts)}")
    operands = [arraylike(x) for x in operands]
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    letters = inputs.split(",")
    if len(letters) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} describes {len(letters)} operands, {len(operands)} were given")
    letters, dots = _spell_dots(letters, operands, subscripts)
    if not arrow:
        every = "".join(letters)
        output = dots + "".join(sorted({c for c in every if every.count(c) == 1} - set(dots)))
    elif dots and "..." not in output:
        raise ValueError(f"einsum: the output of {subscripts!r} must say where the axes of ... go")
    output = output.replace("...", dots)
    if len(set(output)) < len(output) or not set(output) <= set("".join(letters)):
        raise ValueError(f"einsum: each output letter once, and one that an input has, is wanted in {subscripts!r}")
    for i, mine in enumerate(letters):  # a letter twice in one input stands for its diagonal
        while len(set(mine)) < len(mine):
            c = next(c for c in mine if mine.count(c) > 1)
            j = mine.index(c)
            k = mine.index(c, j + 1)
            operands[i] = diagonal(operands[i], 0, j, k)
            mine = mine[:j] + mine[j + 1 : k] + mine[k + 1 :] + c
        letters[i] = mine
    return _einsum(*operands, subscripts=",".join(letters) + "->" + output)


def _spell_dots(letters, operands, subscripts):
    """Letters of their own for the axes that `...` stands for, the last axis aligned."""
    free = [c for c in string.ascii_letters if c not in subscripts]
    spelt, longest = [], ""
    for mine, x in zip(letters, operands, strict=True):
        extra = len(x.shape) - len(mine.replace("...", ""))
        if extra < 0 or (extra and "..." not in mine):
            raise ValueError(f"einsum: {mine!r} does not describe shape {tuple(x.shape)}")
        dots = "".join(free[:extra][::-1])
        longest = dots if len(dots) > len(longest) else longest
        spelt.append(mine.replace("...", dots))
    return spelt, longest


def trace(x, offset=0):
    """The sum of the diagonal of the first two axes."""
    return sum(diagonal(x, offset), -1)


# ---- inverses, determinants, systems --------------------------------------------------------------------


@primitive(lambda g, y: -mT(y) @ g @ mT(y))
def inv(xp, x):
    """The inverse of each matrix, (..., n, n)."""
    return xp.linalg.inv(x)


@primitive(lambda g, x, y: as_matrix(g * y) * mT(inv(x)))
def det(xp, x):
    """The determinant of each matrix, (..., n, n) to (...); its derivative is taken at invertible matrices."""
    return xp.linalg.det(x)


def _slogdet_back(g, x, needs):
    return ((None if g[1] is None else as_matrix(g[1]) * mT(inv(x))),)


@primitive(joint=_slogdet_back, outputs=2, formula=r"\bar x = \bar y_2\, x^{-\top}")
def slogdet(xp, x):
    r"""The sign of the determinant and the logarithm of its magnitude."""
    sign, logdet = xp.linalg.slogdet(x)
    return sign, logdet


@primitive(lambda g, a, y: -(_solve(mT(a), g) @ mT(y)), lambda g, a: _solve(mT(a), g))
def _solve(xp, a, b):
    """$a^{-1} b$ for matrices b."""
    return xp.linalg.solve(a, b)


def solve(a, b):
    """The solution x of $a x = b$: a (..., n, n); b a vector (n,), or matrices (..., n, k)."""
    b = arraylike(b)
    return squeeze(_solve(a, expand_dims(b, -1)), -1) if len(b.shape) == 1 else _solve(a, b)


@primitive(
    lambda g, a, y, lower: -triangle(_solve_triangular(mT(a), g, other(lower)) @ mT(y), lower),
    lambda g, a, lower: _solve_triangular(mT(a), g, other(lower)),
)
def _solve_triangular(xp, a, b, lower):
    r"""$L^{-1} b$, with $L$ the lower (or upper) triangle of a."""
    return linear.solve_triangular(xp, a, b, lower, False)


@vocabulary
def triangle(x, lower):
    """The lower or the upper triangle."""
    return tril(x) if lower else triu(x)


@vocabulary
def other(lower):
    """The other triangle: a transposed lower triangle is an upper one."""
    return not lower


def solve_triangular(a, b, *, lower=True, transposed=False):
    r"""The solution x of $a x = b$ (of $a^\top x = b$ when `transposed`), reading only the named triangle of a.

    a (..., n, n); b a vector (n,), or matrices (..., n, k).
    """
    a, b = arraylike(a), arraylike(b)
    a, lower = (mT(a), not lower) if transposed else (a, lower)
    return (
        squeeze(_solve_triangular(a, expand_dims(b, -1), lower), -1)
        if len(b.shape) == 1
        else _solve_triangular(a, b, lower)
    )


# ---- factorisations of symmetric matrices ---------------------------------------------------------------


@vocabulary
def symmetric(x):
    """The symmetric part."""
    return (x + mT(x)) / 2


@vocabulary
def under(y, x):
    r"""$y^{-\top} x$ for a lower triangle y."""
    return _solve_triangular(mT(y), x, False)


@vocabulary
def lower_half(x):
    """The lower triangle, with half of the diagonal."""
    return (tril(x) + tril(x, -1)) / 2


@primitive(
    lambda g, y: symmetric(under(y, mT(under(y, mT(lower_half(mT(y) @ tril(g))))))),
    formula=r"\bar x = \operatorname{symmetric}(y^{-\top}\, \operatorname{lower\_half}(y^\top \bar y)\, y^{-1})",
)
def cholesky(xp, x):
    r"""The lower triangular $L$ with $L L^\top$ = the symmetric part of x, which must be positive definite."""
    return linear.cholesky(xp, (x + x.swapaxes(-1, -2)) / 2)


def _eigh_back(g, y, needs):
    g_values, g_vectors = g
    values, vectors = y
    inner = 0.0
    if g_values is not None:
        inner = diag(g_values)
    if g_vectors is not None:  # F_ij = 1 / (w_j - w_i), but 0 on the diagonal and for equal values
        gaps = expand_dims(values, -2) - expand_dims(values, -1)  # (..., n, n)
        inner = inner + (mT(vectors) @ g_vectors) / nonzero(gaps) * (gaps != 0)
    return (symmetric(vectors @ inner @ mT(vectors)),)


@primitive(
    joint=_eigh_back,
    outputs=2,
    formula=r"\bar x = \operatorname{symmetric}(V (\operatorname{diag} \bar w + F \odot V^\top \bar V) V^\top),"
    r"\; F_{ij} = 1/(w_j - w_i)",
)
def eigh(xp, x):
    r"""Eigenvalues, rising, (..., n), and eigenvectors, the columns of (..., n, n), of the symmetric part of x.

    An eigenvector's sign is arbitrary, so a function of it should not depend on that. Where eigenvalues are exactly
    equal, the gradient that comes through their vectors is left out, also for a function of them all that is smooth
    there, such as $V w V^\top$; where they are nearly equal it is inaccurate.
    """
    values, vectors = xp.linalg.eigh((x + x.swapaxes(-1, -2)) / 2)
    return values, vectors

r"""Reading and adding by index: two operations, each the other's adjoint.

Reading, $y_k = x_{i(k)}$, sends its gradient back to where it read: $\bar x_j = \sum_{k:\, i(k) = j} \bar y_k$.
An element that was read several times is owed a sum, so the adjoint of reading is *adding* at an index, never
writing; and the adjoint of adding is reading.
"""

from __future__ import annotations

from tinygen.autograd.primitive import arraylike, primitive
from tinygen.autograd.tensor import Tensor
from tinygen.backend import arrays as backend
from tinygen.backend.scatter import scattered


def getitem(x, index):
    """`x[index]`: integers, slices, None, `...`, integer arrays and boolean masks, as in NumPy."""
    return _getitem(x, _raw(index))


def _raw(index):
    """An index without Tensors in it, and of its own, so that the caller may use the array again."""
    if isinstance(index, tuple):
        return tuple(map(_raw, index))
    if isinstance(index, list):
        return list(map(_raw, index))
    if backend.is_array(index):
        return index.copy()
    if isinstance(index, Tensor):
        if index.dtype.kind not in "iub":
            raise IndexError(f"an index must be of integers or booleans, got a {index.dtype} Tensor")
        return index._data
    return index


@primitive(lambda g, x_shape, index: scatter(g, index, x_shape))
def _getitem(xp, x, index):
    """`x[index]`."""
    return x[index]


@primitive(lambda g, index: _getitem(g, index))
def scatter(xp, x, index, shape):
    """Zeros of `shape` to which `x` is added at `index`; repeated places accumulate."""
    return scattered(xp, x, index, shape)


def take_along_axis(x, indices, axis):
    """For each place along the other axes, the elements at `indices` along `axis` (as `numpy.take_along_axis`)."""
    indices = _raw(indices)
    x, indices = arraylike(x), backend.asarray(indices)
    if indices.ndim != len(x.shape) or not -indices.ndim <= axis < indices.ndim:
        raise ValueError(
            f"take_along_axis: x has {len(x.shape)} axes, indices has {indices.ndim} axes, axis is {axis}; "
            "as many axes are wanted, and an axis among them"
        )
    if indices.dtype.kind not in "iu":
        raise IndexError(f"take_along_axis: integer indices are wanted, got {indices.dtype}")
    axis %= indices.ndim
    xp = backend.array_module(indices)
    grid = []
    for a, n in enumerate(x.shape):
        line = [1] * indices.ndim
        line[a] = n
        grid.append(indices if a == axis else xp.arange(n).reshape(line))
    return _getitem(x, tuple(grid))


def embedding(indices, weight):
    """Row `indices[...]` of `weight`, (n, d): shape `indices.shape + (d,)`."""
    indices = _raw(indices)
    rows, weight = backend.asarray(indices), arraylike(weight)
    if rows.dtype.kind not in "iu":
        raise IndexError(f"embedding: integer indices are wanted, got {rows.dtype}")
    return _getitem(weight, rows)

"""Addition into chosen places: the adjoint of indexing.

`target[index] += values` adds once where an index is repeated; the gradient of `x[index]` needs every one
of them. An embedding whose batch contains a word twice is the everyday case.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from .recording import whole


def scatter_add(xp, target, index, values):
    """Add values into target[index] in place; a repeated index adds each time.

    Parameters
    ----------
    target : array
    index : anything NumPy indexes with
        Integers, slices, `...`, None, integer arrays, boolean masks, or a tuple that mixes them.
    values : array
        Of a shape that broadcasts to that of `target[index]`.

    Returns
    -------
    array
        `target`.
    """
    parts = tuple(_listed(xp, part) for part in (index if isinstance(index, tuple) else (index,)))
    if all(_is_basic(part) for part in parts):
        target[index] += values  # names each place once
    elif xp is not np:
        # CuPy adds with atomics, in no fixed order, and knows no masks here.
        xp.add.at(target, tuple(_without_masks(xp, parts)), values)
    elif len(parts) == 1 and _is_mask(parts[0]):
        target[index] += values
    elif target.flags.c_contiguous and target.ndim:
        _add_flat(target, parts, np.asarray(values))
    else:
        np.add.at(target, parts, values)
    return target


@whole
def scattered(xp, x, index, shape):
    """Zeros of a shape to which x is added at an index."""
    return scatter_add(xp, xp.zeros(shape, x.dtype), index, x)


def _add_flat(target, parts, values):
    """Add through one flat integer index: `numpy.add.at` is ten times as quick in one dimension."""
    if len(parts) == 1 and target.ndim > 1 and parts[0].dtype.kind in "iu":  # rows of a table; NumPy refuses others
        rows, width = parts[0].astype(np.intp, copy=False), math.prod(target.shape[1:])
        places = rows.reshape(-1, 1) * width + np.arange(width)  # (n, width); a negative row stays one
        shape = rows.shape + target.shape[1:]
    else:
        places = np.arange(target.size).reshape(target.shape)[parts]
        shape = places.shape
    if values.shape != shape:
        values = np.broadcast_to(values, shape)
    try:
        np.add.at(target.reshape(-1), places.reshape(-1), values.reshape(-1))
    except IndexError as error:
        raise IndexError(f"scatter_add: index reaches outside target, of shape {target.shape}.") from error


def _is_basic(part) -> bool:
    """Say whether an index names each place at most once, without any array."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return True
    return isinstance(part, (int, np.integer)) and not isinstance(part, bool)


def _listed(xp, part):
    """Make an array of a list, as indexing does; anything else passes."""
    if not isinstance(part, list):
        return part
    return xp.asarray(part) if part else xp.zeros(0, np.int64)


def _is_mask(part) -> bool:
    """Say whether an index is an array of booleans (or one boolean)."""
    return isinstance(part, bool) or getattr(getattr(part, "dtype", None), "kind", None) == "b"


def _without_masks(xp, parts):
    """Turn masks into integer arrays on the device, which waits for the device to count."""
    for part in parts:
        if _is_mask(part):
            yield from xp.nonzero(part)
        else:
            yield operator.index(part) if isinstance(part, np.integer) else part

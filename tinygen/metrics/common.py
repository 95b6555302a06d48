"""What all scores ask of their arguments. Scores are host code: they take and return NumPy's numbers."""

from __future__ import annotations

import numpy as np


def points(owner: str, name: str, x, d: int | None = None, *, finite: bool = True) -> np.ndarray:
    """x as float64 (n, d), images and the like flattened; or an error that says what is wrong with it.

    Parameters
    ----------
    owner, name : the function and its argument, for the error
    d : the length that rows must have
    finite : whether a row that is not finite is refused
    """
    x = np.asarray(x)
    shape = f"{owner}: {name} has shape {x.shape}"
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{shape}; at least one row of at least one number is wanted")
    rows = x.reshape(len(x), -1).astype(np.float64, copy=False)
    if d is not None and rows.shape[1] != d:
        raise ValueError(f"{shape}, rows of {rows.shape[1]} numbers; rows of {d} are wanted")
    if finite and not np.isfinite(rows).all():
        first = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise ValueError(f"{owner}: row {first} of {name} is not finite; finite numbers are wanted")
    return rows


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""$\lVert x_i - y_j \rVert^2$ of all pairs by one product, in float64: (n, d), (m, d) to (n, m).

    $\lVert x \rVert^2 + \lVert y \rVert^2 - 2 x^\top y$ is right to some $10^{-16}$ of the largest $\lVert x \rVert^2$
    about the mean of $y$.
    """
    middle = y.mean(0)
    x, y = x - middle, y - middle
    lengths_x, lengths_y = (np.einsum("ij,ij->i", v, v) for v in (x, y))  # without a second copy
    squares = lengths_x[:, None] + lengths_y - 2 * (x @ y.T)
    return np.maximum(squares, 0.0)  # rounding may leave equal points just below 0

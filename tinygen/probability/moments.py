r"""Count, mean and scatter of examples that come a part at a time.

All that a normal law ever learns from $n$ examples of $d$ numbers is

$$ n, \qquad \bar x = \frac1n \sum_{i=1}^n x_i, \qquad S = \sum_{i=1}^n (x_i - \bar x)(x_i - \bar x)^\top. \tag{1} $$

Two parts $a$ and $b$ make a whole without a second look at either (Chan, Golub and LeVeque 1983): with
$\delta = \bar x_b - \bar x_a$,

$$ n = n_a + n_b, \qquad \bar x = \bar x_a + \frac{n_b}{n} \delta, \qquad
   S = S_a + S_b + \frac{n_a n_b}{n} \delta \delta^\top. \tag{2} $$

So memory does not grow with the data, and a run that was killed goes on. Nor does anything cancel: the familiar
$\sum x x^\top - n \bar x \bar x^\top$ loses all digits where the data lie far from the origin.

A covariance $S/n$ of full rank needs more examples than features, and no feature that is constant or follows from
others. `degenerate` says which ones do.

Notation
--------
$n, \bar x, S$ : `count`, (); `mean`, (d,); `scatter`, (d, d), or its diagonal (d,)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend


class Moments(NamedTuple):
    r"""(1): $n$, $\bar x$ and $S$; raw arrays of one library."""

    count: Any
    mean: Any
    scatter: Any


def moments(x, *, full: bool = True) -> Moments:
    r"""(1), of at least one row; (n, d), to $S$ (d, d), or its diagonal (d,) if not `full`."""
    xp = backend.array_module(x)
    mean = x.mean(0)
    centred = x - mean
    lost = centred.mean(0)  # by the rounding of the first sum, which grows with the rows
    mean = mean + lost
    centred -= lost
    scatter = xp.matmul(centred.T, centred) if full else (centred * centred).sum(0)
    return Moments(xp.ones_like(mean[0]) * len(x), mean, scatter)


def merged(a: Moments, b: Moments) -> Moments:
    """(2); one of the parts may be empty, with a count of 0."""
    xp = backend.array_module(a.mean)
    total = a.count + b.count
    n = xp.maximum(total, 1)
    delta = b.mean - a.mean
    square = delta * delta if a.scatter.ndim == 1 else delta[:, None] * delta
    return Moments(total, a.mean + b.count / n * delta, a.scatter + b.scatter + a.count * b.count / n * square)


def degenerate(covariance, mean) -> str | None:
    """Why a covariance, (d, d) or (d,), has no inverse, in words that name the columns; None if it has one.

    A column that is constant, or a combination of others, up to what rounding makes of it. Looked at on the host.
    """
    covariance, mean = backend.to_numpy(tg.as_tensor(covariance).data), backend.to_numpy(tg.as_tensor(mean).data)
    variance, eps = covariance if covariance.ndim == 1 else np.diagonal(covariance), np.finfo(covariance.dtype).eps
    constant = np.flatnonzero(variance <= (8 * eps * np.abs(mean)) ** 2)
    if len(constant):
        return _columns(constant) + (" is constant" if len(constant) == 1 else " are constant")
    if covariance.ndim == 1:
        return None
    std = np.sqrt(variance)
    values, vectors = np.linalg.eigh(covariance / std / std[:, None])
    if values[0] > 8 * len(std) * eps:
        return None
    return _columns(np.flatnonzero(np.abs(vectors[:, 0]) > 1e-6)) + " are linearly dependent"


def _columns(which) -> str:
    """Column numbers in words, not all of them if they are many."""
    shown = ", ".join(map(str, which[:8])) + (", ..." if len(which) > 8 else "")
    return f"column{'' if len(which) == 1 else 's'} {shown}"

r"""Does a generator copy? Samples beside the training examples that are nearest to them (S2 ch. 6, S4).

"How do we know if the network isn't just memorizing?" (S2, ch. 6). One looks: next to a sample the training examples
at the smallest distance,

$$ d(x) = \min_i \lVert x - t_i \rVert, \tag{1} $$

and sees whether they are the same picture. The distance in pixels is a crude judge: an image moved by one pixel is far
away. Features of a network that recognises what is shown, in the place of images, are a better one.

**How near is too near?** As near as unseen data would be. The share of pairs of a sample $g$ and an unseen test
example $u$ in which the sample is the nearer one (Meehan, Chaudhuri and Dasgupta 2020, who make a test of it),

$$ C = P\bigl( d(g) < d(u) \bigr) + \tfrac12 P\bigl( d(g) = d(u) \bigr), \tag{2} $$

is $\frac12$ for a generator that has learnt the law of the data, and 1 for one that recites its lesson. Below
$\frac12$ the samples are farther from the training examples than they should be: noise, or something else. (2) is the
area under a ROC curve, the Mann-Whitney statistic divided by the number of pairs. A generator that draws only smooth,
easy examples is near to all of them and has a large $C$ as well; look before you accuse.

Notation
--------
$t$ : `train`, (n, ...)
$g, u$ : `samples`, `test`
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from tinygen.metrics.common import points, squared_distances


def nearest(x, train, n: int = 1, *, chunk: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """The n training examples nearest to each point, nearest first: their numbers (m, n), and the distances (m, n).

    Parameters
    ----------
    x, train : (m, ...) and (rows, ...), images and the like flattened
    chunk : how many points are compared with all of the training set at once

    Examples
    --------
    >>> import numpy as np
    >>> rows, distances = nearest(np.array([[0.9]]), np.array([[0.0], [1.0], [5.0]]), 2)
    >>> rows.tolist(), distances.round(2).tolist()
    ([[1, 0]], [[0.1, 0.9]])
    """
    train = points("nearest", "train", train)
    x = points("nearest", "x", x, train.shape[1])
    if not 1 <= n <= len(train):
        raise ValueError(f"nearest: n is {n!r}; 1 to the {len(train)} training examples there are is wanted")
    rows = np.empty((len(x), n), np.int64)
    for i in range(0, len(x), chunk):
        squares = squared_distances(x[i : i + chunk], train)  # (chunk, rows)
        near = np.argpartition(squares, n - 1, axis=1)[:, :n]
        order = np.argsort(np.take_along_axis(squares, near, 1), axis=1, kind="stable")
        rows[i : i + chunk] = np.take_along_axis(near, order, 1)
    gaps = x[:, None] - train[rows]  # (m, n, d): exact, where the product above has rounded
    return rows, np.sqrt(np.square(gaps).sum(2))


def copying(samples, test, train, *, chunk: int = 256) -> float:
    """(2): from 0 to 1; a half is right, 1 is copying."""
    d_g, d_u = (nearest(x, train, chunk=chunk)[1][:, 0] for x in (samples, test))
    ranks = rankdata(-np.concatenate([d_g, d_u]))[: len(d_g)]  # the nearer, the higher; equal ones share
    wins = ranks.sum() - len(d_g) * (len(d_g) + 1) / 2  # pairs in which the sample is nearer, Mann and Whitney's U
    return float(wins / (len(d_g) * len(d_u)))

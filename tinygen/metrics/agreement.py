r"""Was the class that was asked for drawn? Requested classes against those that a classifier recognises.

A conditional generator (S2 §5.1) is asked for class $y_i$, and a classifier says $\hat y_i$ of what it drew. The share
of agreement is

$$ A = \frac1n \# \{ i : \hat y_i = y_i \}. \tag{1} $$

A model that has found classes by itself (InfoGAN's code, the components of a mixture) has names of its own for them.
Then each name $c$ is given a class $\pi(c)$ of its own, as well as can be,

$$ A^* = \max_\pi \frac1n \# \{ i : \hat y_i = \pi(c_i) \} \tag{2} $$

over one-to-one maps, which is an assignment problem. A classifier is no judge of quality, and it errs: real images
of the class score less than 1, and their share should stand beside.

Notation
--------
$y, c$ : `requested`, `names`, (n,)
$\hat y$ : `recognised`, (n,)
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def agreement(requested, recognised) -> float:
    """(1): from 0 to 1, of classes (n,) and (n,)."""
    requested, recognised = _checked("agreement", requested, recognised)
    return float(np.mean(requested == recognised))


def matched_agreement(names, recognised, n_classes: int) -> tuple[float, np.ndarray]:
    r"""(2), of names (n,) and classes (n,), both from 0: the share, and $\pi$, (n_classes,).

    Examples
    --------
    >>> share, pi = matched_agreement([0, 0, 1, 1], [1, 1, 0, 1], 2)
    >>> share, pi.tolist()
    (0.75, [1, 0])
    """
    names, recognised = _checked("matched_agreement", names, recognised)
    if min(names.min(), recognised.min()) < 0 or max(names.max(), recognised.max()) >= n_classes:
        raise ValueError(f"matched_agreement: names are from {names.min()} to {names.max()} and classes from "
                         f"{recognised.min()} to {recognised.max()}; 0 to {n_classes - 1} are wanted")  # fmt: skip
    names, recognised = names.astype(np.int64), recognised.astype(np.int64)  # small integers would wrap around
    table = np.bincount(names * n_classes + recognised, minlength=n_classes**2).reshape(n_classes, n_classes)
    rows, pi = linear_sum_assignment(table, maximize=True)
    return float(table[rows, pi].sum() / len(names)), pi


def _checked(owner, *labels):
    """Two arrays of as many integers."""
    a, b = map(np.asarray, labels)
    if a.ndim != 1 or a.shape != b.shape or not a.size or a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise ValueError(f"{owner}: the labels are {a.dtype} {a.shape} and {b.dtype} {b.shape}; integers (n,) and as "
                         "many again are wanted")  # fmt: skip
    return a, b

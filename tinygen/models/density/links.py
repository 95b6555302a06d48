r"""The link test: which pairs of variables are worth a connection (S4, "two more ingredients").

A net in which every variable may speak to every later one has a number of weights that grows as the square of the
number of variables. Most pairs have little to say to each other, and what a net learns about them from few examples
is noise. So test each pair before training and connect those only that seem dependent. Two variables are independent
when their joint distribution function is the product of the two single ones. S4's statistic, of the kind of
Kolmogorov's and Smirnov's, is how far the counts are from that, where they are furthest:

$$ s_{j\ell} = \sqrt n\, \sup_{u, v} \left| \hat P_n(X_j \le u, X_\ell \le v)
   - \hat P_n(X_j \le u)\, \hat P_n(X_\ell \le v) \right|. \tag{1} $$

Only the order of the values matters, not their size. For variables that are 0 or 1 the supremum has one term, at
$u = v = 0$, and (1) is a covariance,

$$ s_{j\ell} = \sqrt n\, \left| \hat P_n(X_j = 1, X_\ell = 1)
   - \hat P_n(X_j = 1)\, \hat P_n(X_\ell = 1) \right|. \tag{2} $$

The difference in (1) is 1/4 at most. If two variables are dependent it tends to a constant, and $s_{j\ell}$ grows
like $\sqrt n$; if they are independent the difference is of the order $1 / \sqrt n$, and $s_{j\ell}$ keeps its size.
For continuous variables its law is then the same whatever their distributions are ("distribution free": Blum, Kiefer
and Rosenblatt 1961, whom S4 cites). For discrete ones it is not: a pixel that is white in one image of a hundred
cannot have a large $s$, neither by chance nor by dependence. So (1) ranks the pairs by what they have to say about
all images and not by how sure it is that they are dependent. With thousands of examples nearly all pairs of pixels
are dependent beyond doubt, and the question is rather which of them matter.

**The threshold.** The pairs with

$$ s_{j\ell} > \tau \tag{3} $$

are linked. No table gives $\tau$; the examples do, by cross-validation. Deal them into $F$ parts $S_1, \dots, S_F$.
For each part and each $\tau$, test the pairs and train a net on the other parts, and ask how well it predicts this
one:

$$ \mathrm{CV}(\tau) = \frac1F \sum_{f=1}^F \frac{1}{|S_f|} \sum_{i \in S_f} -\log P_{\tau_f, -f}(x_i), \qquad
   \tau_f = \tau \sqrt{1 - |S_f| / n}. \tag{4} $$

The $\tau$ with the least CV is chosen. (With one part left out there are fewer examples, and $s$ of dependent pairs is
smaller like the root of their number; $\tau_f$ links about as many pairs there as $\tau$ does among all.) The
pairs are tested anew for every part: pairs chosen with the help of the examples that judge them would look better than
they are.

**When it pays.** A link that is left out saves the noise that its weights would learn, and loses what the pair had to
say. With few examples for each weight the first counts more, and a pruned net predicts better than a full one. With
very many there is little noise to save, and what (1) leaves out is missed: two pixels that are hardly ever white rank
low, yet where one is white it says much about the other. The cross-validation tells which case it is.

Notation
--------
$X$ : `x`, (n, d), integers; a value is its place in the order, from 0
$s_{j\ell}$ : `s`, (d, d), symmetric
$\tau$ : `threshold`; None links all pairs
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygen.backend import arrays as backend
from tinygen.backend.linear import gemm
from tinygen.backend.random import Generator

ROWS = 2**24  # numbers of the indicators of (1) that are in memory at a time


def dependence(x, n_values: int):
    r"""(1): $s_{j\ell}$ for all pairs; raw integers from 0 to `n_values` - 1, (n, d) to (d, d) float64.

    For each row, 1 where $X_j \le u$, for all $u$ but the largest, where both sides of (1) agree. The joint counts of
    all pairs are then one product, which takes (d (`n_values` - 1))² numbers.
    """
    xp, (n, d), levels = backend.array_module(x), x.shape, n_values - 1
    values = xp.arange(levels, dtype=x.dtype)
    size = max(1, ROWS // (d * levels))
    joint: Any = 0.0
    single: Any = 0.0
    for start in range(0, n, size):
        below = (x[start : start + size, :, None] <= values).astype("float32").reshape(-1, d * levels)
        joint = joint + gemm(below, below, transpose_a=True).astype("float64")  # exact: counts below 2^24
        single = single + below.sum(axis=0, dtype="float64")
    gap = abs(joint / n - single[:, None] * single / n**2).reshape(d, levels, d, levels)
    return math.sqrt(n) * gap.max(axis=(1, 3))


def linked(s, threshold: float | None):
    r"""(3): the pairs $\ell < j$ that are linked, as ones in row $j$ and column $\ell$; (d, d) to (d, d) float32."""
    xp = backend.array_module(s)
    above = xp.ones(s.shape, "float32") if threshold is None else (s > threshold).astype("float32")
    return xp.tril(above, -1)


def thresholds(s, shares: Sequence[float]) -> list[float]:
    r"""The $\tau$ that link at most these shares of all pairs: up to a pair less, and fewer where some have one $s$."""
    s = backend.to_numpy(s)
    return [float(t) for t in np.quantile(s[np.tril_indices(len(s), -1)], 1 - np.array(shares), method="higher")]


def cross_validation(x: np.ndarray, tried: Sequence[float | None], loss: Callable[..., float], folds: int,
                     rng: Generator) -> np.ndarray:  # fmt: skip
    r"""(4), its terms: the loss of each threshold on each part; (n, d) to (thresholds, folds).

    loss : called with what is trained on, what is judged, and $\tau$: tests, trains, and gives the mean $-\log P$
    """
    if not 2 <= folds <= len(x):
        raise ValueError(f"cross_validation: folds is {folds!r}; from 2 to the {len(x)} rows there are is wanted")
    part = backend.to_numpy(rng.permutation(len(x))) % folds
    shrunk = [math.sqrt((part != f).mean()) for f in range(folds)]  # as s of dependent pairs is, on fewer examples
    return np.array([[loss(x[part != f], x[part == f], None if threshold is None else threshold * shrunk[f])
                      for f in range(folds)] for threshold in tried])  # fmt: skip

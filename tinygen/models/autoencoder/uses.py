r"""What codes are good for (S1 "Utilizing autoencoder for supervised tasks", "Other uses"; S3 "Applications").

An autoencoder is seldom wanted for its reconstructions. What it leaves behind is an encoder $f$, learnt without a
label, and the question is whether $f(x)$ serves better than $x$. This chapter says how to use it, and how to tell.

**With labels** (S1), of which there are few, in three ways:

1. *Append the code to the input.* A classifier is given both,
   $$ a(x) = (x,\; \alpha f(x)), \tag{1} $$
   with a factor $\alpha$ that brings codes to the scale of the pixels. It can lose nothing by that, unless the labels
   are so few that it is led astray by more features.
2. *Put a classifier on top of the encoder*, which stays as it is: only the new layer learns.
3. *Use it to pre-train a network*: the same, but everything learns, and starts where the autoencoder left off. The new
   layer sends a large, random gradient through $f$ at first; a small rate keeps what was learnt.

The second and the third are `FineTuned` of `supervised/fine_tuning.py`, with the encoder for its trunk, frozen or not;
the first is the same with `Appended` for its trunk. Where the encoder has seen other data than the task's (digits, say,
where letters are to be told apart), this is called *transfer*.

**Finding similar images** (S1). Sort the images $t_j$ by the distance of their codes from that of a query,

$$ d(x, t_j) = \lVert f(x) - f(t_j) \rVert, \tag{2} $$

and show the first $k$, $\mathcal N_k(x)$. Were they similar? Where labels are known, the share of them that have the
query's label is one answer,

$$ P@k = \frac{1}{nk} \sum_{i=1}^{n} \sum_{j \in \mathcal N_k(x_i)} 1\{c_j = c_i\}. \tag{3} $$

**Clustering** (S1, S3). k-means finds heaps in codes as well as in pixels. With $n_{kc}$ images of class $c$ in heap
$k$, the share of images whose class is that of the majority of their heap is the *purity*

$$ \frac1n \sum_k \max_c n_{kc}, \tag{4} $$

which can only rise where heaps are divided, up to 1 for heaps of one. The *adjusted Rand index* (Hubert and Arabie
1985) counts pairs instead. Let $S = \sum_{kc} \binom{n_{kc}}{2}$ be the number of pairs that share both heap and class,
$A = \sum_k \binom{n_{k\cdot}}{2}$ and $B = \sum_c \binom{n_{\cdot c}}{2}$ those that share a heap, and a class; then

$$ \mathrm{ARI} = \frac{S - E}{\frac12 (A + B) - E}, \qquad E = \frac{AB}{\binom n2} \tag{5} $$

is 1 where heaps are classes, and 0 on average where labels are dealt out at random, since $E$ is what $S$ then is on
average.

**Drawing a map** (S3: "nonlinear PCA generalization"). A code of two numbers is a place on a map. A map can tell two
kinds of lies: neighbours on the map that are none in truth, and neighbours in truth that lie far apart on the map. Let
$r(i, j)$ be the rank of $x_j$ among the others by distance from $x_i$ (1 is the nearest), and $U_k(i)$ those of the $k$
nearest on the map that are not among the $k$ nearest in truth. *Trustworthiness* (Venna and Kaski 2001) is

$$ T(k) = 1 - \frac{2}{nk(2n - 3k - 1)} \sum_{i=1}^{n} \sum_{j \in U_k(i)} (r(i, j) - k), \tag{6} $$

1 where there are no lies of the first kind, about $\frac12$ for a map at random. With the roles of map and truth
exchanged, the same formula is called *continuity*, and counts those of the second.

**Unrolling a manifold** (S3, "Swiss Roll"). The points $x = (t \cos t, h, t \sin t)$ lie in space, and yet have two
coordinates only. An ant that walks on the roll measures distances along it. From the middle to $t$ it walks

$$ s(t) = \int_0^t \sqrt{1 + \tau^2}\, d\tau
   = \tfrac12 \left( t \sqrt{1 + t^2} + \operatorname{arsinh} t \right), \tag{7} $$

and in $(s, h)$ the roll is a flat rectangle: the ant's distance between two points is that of their places $(s, h)$.
Has an autoencoder with two code entries unrolled it? Its code need not be $(s, h)$; any bent and stretched picture of
the rectangle would do for reconstruction. What it must not do is to tear it, or lay it on itself. Compare all pairs of
points: the rank correlation (Spearman) between distances $d_{ij}$ on the map and $D_{ij}$ on the roll,

$$ \rho = \mathrm{corr}\bigl(\mathrm{rank}\, d_{ij},\; \mathrm{rank}\, D_{ij}\bigr), \tag{8} $$

is 1 where near and far are the same for map and ant. For the roll, "in truth" in (6) means in $(s, h)$ too: the points
of the next winding are near in space, but not on the roll.

A loss of reconstruction alone does not ask for any of this. At first the code is about the plane in which the points
spread most, as that of PCA, where windings lie on one another or the roll is a spiral seen from the side. From there
descent finds its way to a local minimum: parts of the windings stay on one another, or the roll is cut into pieces
which the decoder sews together again. To have it flat one must say so. The ant's distances are not known, but near
points are as far apart for the ant as in space. Link each point with its $k$ nearest, and add up along the links
(Tenenbaum, de Silva and Langford 2000):

$$ \hat D_{ij} = \min_{i = i_0, i_1, \dots, i_m = j} \sum_{l=1}^{m} \lVert x_{i_l} - x_{i_{l-1}} \rVert
   \qquad \text{over ways along links.} \tag{9} $$

Then charge a code, beside the reconstruction, for the *stress* of the map (`Unrolling`),

$$ \Omega(y) = \lambda\, \frac{1}{b^2} \sum_{i,j} \bigl( \lVert y_i - y_j \rVert - \hat D_{ij} \bigr)^2 \tag{10} $$

over the pairs of a minibatch. Too many links, and some lead from one winding to the next; too few, and the roll falls
apart into islands.

Notation
--------
$f, \alpha$ : `encoder`, `scale`
$d, \mathcal N_k$ : distances and numbers that `similar` gives
$c$ : `labels`, (n,)
$n_{kc}$ : `contingency`, (heaps, classes)
$r(i, j)$ : `ranks[i, j]`
$\hat D, \lambda$ : `graph_distances(x, k)`, (n, n); `weight`
$t, h, s$ : the place on the roll that `data.load("swiss_roll")` tells as attributes, `place`, (n, 2); `unrolled(place)`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.metrics import nearest
from tinygen.models.autoencoder.autoencoder import Autoencoder
from tinygen.runs import Run

# ---- with labels ----------------------------------------------------------------------------------------


def append(x, y, scale: float = 1.0):
    """(1): pixels (b, n) and codes (b, d), to (b, n + d)."""
    return tg.concatenate([x, scale * y], axis=1)


class Appended(nn.Module):
    r"""(1), as a trunk for a classifier.

    Parameters
    ----------
    encoder : a Module from (b, n) to (b, d)
    scale : $\alpha$

    Examples
    --------
    >>> trunk = Appended(nn.Linear(4, 2, rng=tg.random.Generator(0)))
    >>> trunk(tg.ones((5, 4))).shape
    (5, 6)
    """

    def __init__(self, encoder: nn.Module, *, scale: float = 1.0):
        self.encoder, self.scale = encoder, scale

    def forward(self, x):
        """(b, n) to (b, n + d)."""
        return append(x, self.encoder(x), self.scale)


# ---- finding --------------------------------------------------------------------------------------------


def similar(query, codes, k: int) -> tuple[np.ndarray, np.ndarray]:
    r"""(2): the k nearest of codes (n, d) to each query (m, d): their numbers (m, k), nearest first, and distances."""
    return nearest(query, codes, k)


def precision(found, labels, query_labels) -> float:
    """(3): of numbers (m, k) that were found, labels (n,) of what was searched, and of the queries (m,)."""
    return float(np.mean(np.asarray(labels)[found] == np.asarray(query_labels)[:, None]))


# ---- clustering -----------------------------------------------------------------------------------------


def contingency(heaps, labels) -> np.ndarray:
    """$n_{kc}$: how many of each class each heap has; (n,) and (n,) to (heaps, classes)."""
    heaps, labels = np.asarray(heaps), np.asarray(labels)
    if heaps.ndim != 1 or heaps.shape != labels.shape or not heaps.size:
        raise ValueError(f"contingency: heaps {heaps.shape} and labels {labels.shape}; (n,) and as many are wanted")
    rows, columns = (np.unique(part, return_inverse=True)[1] for part in (heaps, labels))
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def purity(heaps, labels) -> float:
    """(4): from heaps (n,) and classes (n,)."""
    return float(contingency(heaps, labels).max(1).sum() / len(labels))


def adjusted_rand(heaps, labels) -> float:
    """(5): from heaps (n,) and classes (n,); of each more than one, and fewer than n."""
    table = contingency(heaps, labels).astype(float)
    S, A, B, all_pairs = (pairs(v).sum() for v in (table, table.sum(1), table.sum(0), table.sum()))
    E = A * B / all_pairs
    return float((S - E) / ((A + B) / 2 - E))


def pairs(n):
    r"""$\binom n2$."""
    return n * (n - 1) / 2


# ---- maps -----------------------------------------------------------------------------------------------


def ranks(x) -> np.ndarray:
    """$r(i, j)$ of points (n, d): (n, n), 0 on the diagonal."""
    squares = cdist(x, x, "sqeuclidean")
    np.fill_diagonal(squares, -1)
    order = squares.argsort(1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(len(order))[None], 1)
    return found


def trustworthiness(truth, drawn, k: int = 12) -> float:
    """(6): of points (n, d) and their places on a map (n, e). Continuity is the same with the two exchanged.

    Examples
    --------
    >>> x = np.arange(20.0)[:, None]
    >>> trustworthiness(x, 3 - 2 * x, 4)
    1.0
    """
    n = len(truth)
    if len(drawn) != n or not 1 <= k < n / 2:
        raise ValueError(f"trustworthiness: {n} and {len(drawn)} points and k = {k}; as many of both are wanted, and a "
                         "k from 1 to less than half their number")  # fmt: skip
    r, on_map = ranks(truth), ranks(drawn)
    lies = np.where((on_map >= 1) & (on_map <= k) & (r > k), r - k, 0)
    return float(1 - 2 / (n * k * (2 * n - 3 * k - 1)) * lies.sum())


def unrolled(place) -> np.ndarray:
    """(7): the places (s, h) of the flat rectangle, from (t, h); (n, 2) to (n, 2)."""
    t, h = np.asarray(place, float).T
    return np.stack([(t * np.sqrt(1 + t * t) + np.arcsinh(t)) / 2, h], axis=1)


def distance_correlation(drawn, truth) -> float:
    r"""(8): $\rho$ over all pairs of points, of maps (n, d) and (n, e)."""
    return float(spearmanr(pdist(drawn), pdist(truth)).statistic)


# ---- unrolling ------------------------------------------------------------------------------------------


def graph_distances(x, k: int) -> np.ndarray:
    r"""(9): $\hat D$ of points (n, d), each linked with its k nearest: (n, n)."""
    n = len(x)
    rows, distances = nearest(x, x, min(k + 1, n))  # itself, and k others
    links = csr_array((distances.ravel(), (np.repeat(np.arange(n), rows.shape[1]), rows.ravel())), shape=(n, n))
    D = shortest_path(links, directed=False)
    if not np.isfinite(D).all():
        raise ValueError(f"graph_distances: with k = {k} the {n} points fall apart into islands; a larger k is wanted")
    return D


def stress(y, D):
    """(10) without its weight: codes (b, d) and distances (b, b), to ()."""
    gaps = tg.expand_dims(y, 1) - tg.expand_dims(y, 0)  # (b, b, d)
    return tg.mean(tg.square(tg.norm(gaps, axis=2) - D))


class Unrolling(Autoencoder):
    r"""An autoencoder whose code keeps the distances (9), by (10).

    Parameters
    ----------
    weight : $\lambda$
    links : k of (9)
    the others : as of `Autoencoder`
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: int, *, weight: float = 1.0, links: int = 8,
                 lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        super().__init__(encoder, decoder, shape, lr=lr, schedule=schedule, rng=rng)
        self.weight, self.links, self.D = weight, links, None

    def penalty(self, y):
        """(10), for the codes (b, d) of a minibatch whose distances are `D`."""
        return self.weight * stress(y, tg.tensor(self.D))

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from points (n, shape); all their distances along links are kept, n times n numbers."""
        x, run = self.checked(x), run or Run()
        D = backend.asarray(graph_distances(backend.to_numpy(x), self.links), x.dtype, self._like.device)
        for _ in run.steps(self, steps):
            rows = self.rng.integers(0, len(x), batch_size)
            self.D = D[rows][:, rows]
            run.log(**self.update(x[rows]))
        return self

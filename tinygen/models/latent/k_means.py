r"""k-means: every example belongs to the nearest centre, every centre is the mean of its examples (S1; Lloyd 1957).

S1 asks what can be learnt from data without labels, and its first answer is to sort them into $m$ heaps. Give each
heap a centre $\mu_k$ to stand for it. What is lost by showing the centre in place of the example is the *inertia*

$$ J(\mu) = \sum_{i=1}^n \min_k \lVert x_i - \mu_k \rVert^2. \tag{1} $$

The two halves of the problem are easy: with the centres known, each example goes to the nearest,

$$ z_i = \operatorname*{argmin}_k \lVert x_i - \mu_k \rVert^2
   = \operatorname*{argmax}_k \left( \mu_k \cdot x_i - \tfrac12 \lVert \mu_k \rVert^2 \right), \tag{2} $$

(on the right without $\lVert x_i \rVert^2$, which is the same for all $k$: a product of matrices), and with the heaps
known, the best centre of each is its mean. So do both by turns:

$$ N_k = \sum_i \mathbb 1_{z_i = k}, \qquad \bar x_k = \frac{1}{N_k} \sum_{i:\, z_i = k} x_i, \qquad
   \mu_k \leftarrow \bar x_k. \tag{3} $$

**The inertia never rises.** Going to the nearest centre lowers every term or leaves it. And about any point $\mu_k$,

$$ \sum_{i:\, z_i = k} \lVert x_i - \mu_k \rVert^2
   = \sum_{i:\, z_i = k} \lVert x_i - \bar x_k \rVert^2 + N_k \lVert \bar x_k - \mu_k \rVert^2, \tag{4} $$

so moving $\mu_k$ to the mean gains the last term. There are only finitely many ways to sort $n$ examples, so after
finitely many iterations nothing changes any more. Where that is depends on the start: it need not be the best.

**It is EM with certainty in place of probability.** Let $x$ come from one of $m$ equally likely Gaussians, all round
and of the same width, $\mathcal N(\mu_k, \sigma^2 I)$. The E step of that mixture finds

$$ \gamma_{ki} = \frac{e^{-\lVert x_i - \mu_k \rVert^2 / 2\sigma^2}}
                      {\sum_l e^{-\lVert x_i - \mu_l \rVert^2 / 2\sigma^2}}
   \;\longrightarrow\; \mathbb 1_{z_i = k} \quad (\sigma \to 0), \tag{5} $$

since the nearest centre's term outgrows the others (if two are equally near, they share). The M step's weighted means
become (3). And for a $q$ that is certain of $z$, whatever $\sigma$, the bound of `em` is

$$ F(q, \mu) = -\frac{1}{2\sigma^2} \sum_i \lVert x_i - \mu_{z_i} \rVert^2 - n \log m
   - \tfrac{nd}{2} \log 2\pi\sigma^2. \tag{6} $$

So k-means is variational EM, $q$ being kept certain: it climbs $F$, in both steps, and $F$ is $J$ turned upside down.
It inherits what this mixture believes: heaps that are round, alike in width, about alike in size. Others it cuts.

**Empty heaps.** A centre may be nearest to nobody. As scikit-learn does it, it moves to the example that is furthest
from its own centre, which leaves its heap (the last of a heap may not leave). That example then costs nothing, so the
inertia still never rises. If there are fewer different examples than centres, some stay empty and stay where they are.

**What is near?** All this rests on $\lVert x - y \rVert^2$, and for pictures compared pixel by pixel this is the wrong
notion: S1's white cat is nearer to a white dog than to an orange cat. A digit moved by two pixels, the same digit to
every eye, is often further from itself than from another digit. The demo draws it. The rest of S1 is about learning
features in which near means alike.

Notation
--------
$x_i, \mu_k$ : `x`, (n, d); `centres`, (m, d)
$z_i$ : `labels`, (n,)
$N_k, \bar x_k$ : `count`, (m,); `mean`, (m, d)
$J$ : `inertia`, in squared units of the data, summed over the examples
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.linear import gemm
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.latent.em import EM, Posterior
from tinygen.models.latent.gaussian_mixture import k_means_plus_plus

# ---- the equations --------------------------------------------------------------------------------------


class Heaps(NamedTuple):
    r"""(3): $N_k$ (m,) and $\bar x_k$ (m, d); and the inertia about these means, ()."""

    count: Any
    mean: Any
    inertia: Any


def squared_distances(x, centres):
    r"""$\lVert x_i - \mu_k \rVert^2$ from the differences; (n, d), (m, d) to (n, m)."""
    return tg.sum(tg.square(x[:, None, :] - centres), 2)


def inertia(x, centres):
    """(1): J; (n, d), (m, d) to ()."""
    return tg.sum(tg.min(squared_distances(x, centres), 1))


def nearest(x, centres):
    """(2), left: the number of the nearest centre, the first if several are; (n, d), (m, d) to (n,)."""
    return squared_distances(x, centres).argmin(1)


class Prepared:
    r"""Examples as the iterations want them: what does not change is done once.

    The products of (2) cancel far from the origin, so it is moved to the middle of the examples. The columns stand in
    rows, so that sums over examples run along memory; below them a row of ones, which counts and adds constants.

    Attributes
    ----------
    rows : x, (n, d)
    middle : $c$, (d,), about the mean of x
    columns : $x - c$, and ones: (d + 1, n)
    squares : $\sum_i \lVert x_i - c \rVert^2$
    """

    def __init__(self, x):
        xp, (n, d) = backend.array_module(x), x.shape
        self.rows, self.middle = x, x.mean(0)
        self.columns = xp.ones((d + 1, n), dtype=x.dtype)
        xp.subtract(x.T, self.middle[:, None], out=self.columns[:d])
        self.squares = math.fsum(float((a * a).sum(dtype="float64")) for a in self.columns[:d])

    def __len__(self) -> int:
        return len(self.rows)


def heap_sums(x: Prepared, centres, size: int) -> tuple[Any, Any, Any]:
    r"""(2), right, and the sums of (3): $N_k$ (m,), $\sum (x_i - c)$ (m, d), and J.

    `size` examples at a time go through two products: with the centres, which gives what (2) compares, and with the
    table of who belongs where, which gives sums and counts. The best of each is found without asking where it stands.
    Should two centres be equally good, the counts tell, and the first of them gets the example.
    """
    xp, m, n = backend.array_module(centres), len(centres), len(x)
    moved = centres - x.middle
    W = xp.concatenate([moved, -0.5 * (moved * moved).sum(1)[:, None]], axis=1)  # (m, d + 1)
    sums, J = xp.zeros(W.shape, dtype="float64"), x.squares
    room = xp.empty((2, m * min(size, n)), dtype=centres.dtype)
    for start in range(0, n, size):
        part = x.columns[:, start : start + size]  # (d + 1, size)
        scores, table = room[:, : m * part.shape[1]].reshape(2, m, -1)
        best = gemm(W, part, out=scores).max(0)
        table[...] = scores == best
        found = gemm(table, part, transpose_b=True)  # (m, d + 1)
        if float(found[:, -1].sum()) != part.shape[1]:
            table[...] = scores.argmax(0) == xp.arange(m)[:, None]
            found = gemm(table, part, transpose_b=True)
        sums += found
        J -= 2 * float(best.sum())  # |x - mu|^2 = |x - c|^2 - 2 times the score
    return sums[:, -1], sums[:, :-1], J


def heaps(x: Prepared, centres, count, first, J) -> Heaps:
    """(3) and (4): the means, and the inertia about them, from sums and the inertia about the centres."""
    mean = x.middle + first / tg.maximum(count, 1.0)[:, None]
    mean = tg.where(count[:, None] > 0, mean, centres)  # of nobody: it stays
    return Heaps(count, mean, J - tg.sum(count * tg.sum(tg.square(mean - centres), 1)))


def responsibilities(x, centres, sigma: float):
    r"""(5): $\gamma_{ki}$ of equally likely Gaussians of one width; (n, d), (m, d) to (n, m)."""
    return tg.nn.functional.softmax(squared_distances(x, centres) / (-2 * sigma**2), 1)


def certain_bound(x, labels, centres, sigma: float):
    r"""(6): F for a q that is certain, in nats; (n, d), (n,), (m, d) to ()."""
    (m, d), n = centres.shape, len(x)
    lost = tg.sum(tg.square(x - centres[labels]))
    return -lost / (2 * sigma**2) - n * math.log(m) - n * d / 2 * math.log(2 * math.pi * sigma**2)


# ---- the model ------------------------------------------------------------------------------------------


class KMeans(EM):
    r"""k-means.

    Parameters
    ----------
    n_features, n_clusters : $d$ and $m$
    start : "k-means++", centres that `k_means_plus_plus` draws, far apart; or "random", examples at random.
        `start_at` sets them by hand.
    tol : stop when no centre moves by more than this, in standard deviations of the data; 0 goes on until none moves
    n_init : how many starts are tried, for a few iterations each; the lowest inertia goes on
    dtype : "float64", or "float32" for half the time, where no heap is more than some hundred times further off than
        the heaps are apart: there (2) cancels, and the inertia of an update is right to the sum of all squares only
    rng : the Generator of the starts; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> x = np.array([[0.0], [1.0], [8.0], [9.0], [10.0]])
    >>> model = KMeans(1, 2, rng=Generator(0)).fit(x, run=Run(quiet=True))
    >>> sorted(model.centres.numpy()[:, 0].tolist()), model.score(x)
    ([0.5, 9.0], -2.5)
    """

    exact = False
    centres: tg.Tensor

    def __init__(self, n_features: int, n_clusters: int, *, start: str = "k-means++", tol: float = 0.0,
                 n_init: int = 1, dtype: str = "float64", rng: Generator | None = None):  # fmt: skip
        if n_features < 1 or n_clusters < 1:
            raise ValueError(f"KMeans: a feature and a cluster at least are wanted, got {n_features} and {n_clusters}")
        if start not in ("k-means++", "random") or dtype not in ("float32", "float64"):
            raise ValueError(f"KMeans: start is {start!r} and dtype {dtype!r}; k-means++ or random, and float32 or "
                             "float64 are wanted")  # fmt: skip
        super().__init__(tol=tol, n_init=n_init, rng=rng)
        self.n_features, self.n_clusters, self.start_from = n_features, n_clusters, start
        zeros = tg.zeros((n_clusters, n_features), dtype=dtype, device=self.rng.device)
        self.register_buffer("centres", zeros)

    # ---- EM ----

    def start(self, x: Prepared) -> None:
        """The first centres, as `start` says."""
        if self.start_from == "random":
            self.centres.assign(x.rows[self.rng.permutation(len(x))[: self.n_clusters]])
        else:
            self.centres.assign(k_means_plus_plus(x.rows, self.n_clusters, self.rng))

    def start_at(self, centres) -> None:
        """Start from centres (m, d)."""
        if np.shape(centres) != self.centres.shape:
            raise ValueError(f"KMeans.start_at: centres {np.shape(centres)}; {self.centres.shape} is wanted")
        self.centres.assign(centres)
        self.started.assign(1)

    def e_step(self, x: Prepared) -> Posterior:
        """(2): each example to the nearest centre, and for each empty heap the furthest example."""
        found = heaps(x, self.centres.data, *heap_sums(x, self.centres.data, self._size))
        if not float(found.count.min()) > 0:
            found = self._filled(x.rows)
        return Posterior(found, 0.0)

    def m_step(self, statistics: Heaps) -> None:
        """(3)."""
        self.centres.assign(statistics.mean)

    def expected_log_joint(self, statistics: Heaps) -> Any:
        r"""(6) with $\sigma = 1$ and without its constants, from the means by (4)."""
        count, mean, inertia = statistics
        return -0.5 * (inertia + tg.sum(count * tg.sum(tg.square(mean - self.centres.data), 1)))

    def update(self, x: Prepared) -> dict:
        """(2) and (3) for what `checked` has prepared; gives the inertia of the heaps, about their new centres."""
        before, statistics = self.centres.data, self.e_step(x).statistics
        self.m_step(statistics)
        furthest = float(tg.sum(tg.square(self.centres.data - before), 1).max())
        self.reached.assign(-0.5 * statistics.inertia / len(x))  # the bound, as in (6)
        self.converged.assign(int(furthest <= self.tol**2 * x.squares / x.rows.size))
        return {"inertia": statistics.inertia}

    def _filled(self, x) -> Heaps:
        """The heaps when every empty one has been given the example furthest from its centre, if that helps."""
        xp, centres, m = backend.array_module(x), self.centres.data, self.n_clusters
        near = [(d.argmin(1), d.min(1)) for d in (squared_distances(part, centres) for part in in_order(x, self._size))]
        labels, distances = (xp.concatenate(parts) for parts in zip(*near, strict=True))
        count = [int((labels == k).sum()) for k in range(m)]
        for k in [k for k in range(m) if count[k] == 0]:
            several = backend.asarray([float(c > 1) for c in count], device=self.centres.device)
            may_leave = distances * several[labels]
            i = int(may_leave.argmax())
            if float(may_leave[i]) > 0:
                count[int(labels[i])] -= 1
                count[k] = 1
                labels[i], distances[i] = k, 0
        sums, inertia = xp.zeros(centres.shape, dtype="float64"), 0.0
        for part, own in in_order((x, labels), self._size):
            sums += (own == xp.arange(m)[:, None]).astype(x.dtype) @ part
        N = backend.asarray([float(c) for c in count], device=self.centres.device)
        mean = xp.where(N[:, None] > 0, sums / tg.maximum(N, 1.0)[:, None], centres)
        for part, own in in_order((x, labels), self._size):
            inertia += float(tg.sum(tg.square(part - mean[own])))
        return Heaps(N, mean, inertia)

    # ---- what it can do ----

    def predict(self, x):
        """(2): the number of the nearest centre; (n, d) to (n,)."""
        return np.concatenate([backend.to_numpy(d.argmin(1)) for d in self._distances(x)])

    def transform(self, x):
        r"""$\lVert x_i - \mu_k \rVert$: the distances from all centres; (n, d) to (n, m)."""
        return np.concatenate([backend.to_numpy(tg.sqrt(d)) for d in self._distances(x)])

    def reconstruct(self, x):
        """The nearest centre in place of each example; (n, d) to (n, d)."""
        return self.centres.numpy()[self.predict(x)]

    def inertia(self, x) -> float:
        """(1), from the differences."""
        return math.fsum(float(d.min(1).sum()) for d in self._distances(x))

    def score(self, x) -> float:
        """Less the inertia, so that more is better, as scikit-learn has it."""
        return -self.inertia(x)

    # ---- what it needs ----

    def checked(self, x) -> Prepared:
        """x for `update`, where the centres are, or an error that says what is wrong."""
        x = self._rows_of_features(x)
        if len(x) < self.n_clusters:
            raise ValueError(f"KMeans: x has {len(x)} rows; at least one for each of the {self.n_clusters} clusters is "
                             "wanted")  # fmt: skip
        return Prepared(x)

    def _rows_of_features(self, x):
        """x as (n, d) in the centres' dtype, on their device, all of it finite."""
        x = backend.asarray(x, self.centres.dtype, self.centres.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"KMeans: x has shape {x.shape}; at least one row of {self.n_features} features is wanted "
                             "(x.reshape(-1, 1) for numbers)")  # fmt: skip
        largest = float(abs(x).max())
        if not largest < math.sqrt(np.finfo(x.dtype).max) / 1e3:
            raise ValueError(f"KMeans: x has values up to {largest:g}; numbers whose squares are finite are wanted "
                             "(leave out rows with nan, or rescale)")  # fmt: skip
        return x

    def _distances(self, x):
        """The squared distances (rows, m) of some examples at a time."""
        if not self.started:
            raise RuntimeError("KMeans: no centres yet; call fit or start_at first")
        x = self._rows_of_features(x)
        numbers = 2**20 if self.centres.device == "cpu" else 2**24
        for part in in_order(x, max(1, numbers // self.centres.size)):
            yield squared_distances(part, self.centres.data)

    @property
    def _size(self) -> int:
        """How many examples are looked at at a time: what stays in the cache, or keeps a GPU busy."""
        numbers = 2**17 if self.centres.device == "cpu" else 2**24
        return max(64, numbers // (self.n_features + 2 * self.n_clusters))

r"""Histograms: cut the space into bins, and count (S4, between eqs. 13 and 14).

The line is cut into intervals of one width $h$, beginning at an origin $x_0$,

$$ I_j = (x_0 + jh,\; x_0 + (j+1)h], \qquad j \in \{\dots, -1, 0, 1, \dots\}. \tag{1} $$

In each of them the density is taken to be constant: the share of the examples that lie there, over the width,

$$ \hat f_n(x) = \frac{1}{nh} \sum_j \left( \sum_{i=1}^n \mathbb 1_{X_i \in I_j} \right) \mathbb 1_{x \in I_j}.
   \tag{2} $$

It is a density (not negative, of integral 1), quickly found and quickly read. S4 names what is wrong with it:

- It depends on $h$ and on $x_0$. The same examples may show one hump or two, as the origin moves by half a bin. Taking
  the mean over many origins cures this, and is a kernel estimate (see `kernel`): with $m$ of them, evenly spaced, a
  triangular one as $m \to \infty$,

$$ \frac1m \sum_{r=0}^{m-1} \hat f_n(x; x_0 + r h / m) \;\to\; \frac{1}{nh} \sum_{i=1}^n
   \left( 1 - \frac{|x - X_i|}{h} \right)_+. \tag{3} $$

- It jumps at the borders of the bins, where the truth may be as smooth as you like.
- In $d$ dimensions a bin is a box of volume $h^d$,

$$ \hat f_n(x) = \frac{1}{n h^d}\, \#\{ i : X_i \text{ in the box of } x \}, \tag{4} $$

  and $K$ bins along each axis make $K^d$ boxes: ten along each of ten axes are more than there are people. Nearly all
  of them are empty, and $\log \hat f_n$ of a new example is then $-\infty$.

**How wide?** `histogram_error` finds the best $h$ if the truth is known (S4 eq. 32). If the truth were normal, with
standard deviation $\sigma$, that would be

$$ h = \left( \frac{24 \sqrt\pi}{n} \right)^{1/3} \sigma \approx 3.49\, \sigma n^{-1/3} \tag{5} $$

(Scott 1979). Otherwise ask the data, as for kernels (Rudemo 1982): $\int \hat f^2 - \frac2n \sum_i \hat f_{-i}(X_i)$,
where $\hat f_{-i}$ is the histogram of the other examples, is the squared error but for a constant, on average. With
$n_j$ examples in bin $j$ it comes to

$$ \mathrm{CV}(h) = \frac{2}{(n-1)h} - \frac{n+1}{n^2 (n-1) h} \sum_j n_j^2. \tag{6} $$

**Sampling** is exact: choose an example's bin, and a place in it, uniformly.

Notation
--------
$X_i$ : `x`, (n, d); in (3), (n,)
$x_0, h, K$ : `x_0`, `h`, `n_bins`; bins $j = 0, \dots, K - 1$ along each axis are kept, and $x_0$ itself is in bin 0
$n_j$ : `counts`, (K, ..., K)
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

MOST = 2**24  # boxes that are kept in memory
AT_ONCE = 2**16  # points that are looked up at a time

# ---- the equations --------------------------------------------------------------------------------------


def bins(x, x_0: float, h: float):
    r"""(1): the $j$ whose $I_j$ holds $x$, elementwise; whole numbers, as floats."""
    xp = backend.array_module(x)
    return xp.where(x == x_0, 0.0, xp.ceil((x - x_0) / h) - 1)


def estimate(x, X, x_0: float, h: float):
    r"""(2): $\hat f_n(x)$, on the line and with bins everywhere; (m,), (n,) to (m,)."""
    same = bins(x, x_0, h)[:, None] == bins(X, x_0, h)  # (m, n)
    return same.sum(1) / (len(X) * h)


def averaged(x, X, x_0: float, h: float, m: int):
    r"""(3), left: the mean of the histograms with m origins; (m,), (n,) to (m,)."""
    return sum(estimate(x, X, x_0 + r * h / m, h) for r in range(m)) / m


def log_density(counts, boxes, h: float):
    r"""(4): $\log \hat f_n$ in boxes of these numbers, $-\infty$ where nothing lies; (K, ..., K), (m, d) to (m,)."""
    xp, d = backend.array_module(counts), counts.ndim
    found = counts[tuple(boxes[:, j] for j in range(d))]
    with backend.errstate(xp, divide="ignore"):
        return xp.log(found) - (math.log(float(counts.sum())) + d * math.log(h))


def normal_reference(sigma: float, n: int) -> float:
    r"""(5): the best width for a normal density."""
    return (24 * math.sqrt(math.pi) / n) ** (1 / 3) * sigma


def cross_validation(counts, h: float) -> float:
    r"""(6) from the counts of all bins, in a volume of $h^d$ each."""
    n, volume = float(counts.sum()), h**counts.ndim
    if n < 2:
        raise ValueError("cross_validation: one example is counted; at least two are wanted, for one to be left out")
    return (2 - (n + 1) / n**2 * float((counts * counts).sum())) / ((n - 1) * volume)


# ---- the model ------------------------------------------------------------------------------------------


class Histogram(Model):
    r"""A histogram with `n_bins` bins of width h along each axis, from x_0 to x_0 + n_bins h.

    Parameters
    ----------
    n_features : $d$
    n_bins : $K$
    x_0 : the origin, the same on all axes
    h : the width, by default $1/K$, so that the bins fill $[0, 1]$ if x_0 is 0
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Attributes
    ----------
    counts : $n_j$, float64 (K, ..., K)

    Examples
    --------
    >>> x = np.array([[0.1], [0.25], [0.3], [0.9]])
    >>> model = Histogram(1, 4).fit(x, run=Run(quiet=True))
    >>> model.counts.tolist(), np.exp(model.score_samples(np.array([[0.2], [0.95]]))).round(3).tolist()
    ([2.0, 1.0, 0.0, 1.0], [2.0, 1.0])
    """

    counts: tg.Tensor

    def __init__(self, n_features: int, n_bins: int, *, x_0: float = 0.0, h: float | None = None,
                 rng: Generator | None = None):  # fmt: skip
        if n_features < 1 or n_bins < 1 or (h is not None and not 0 < h < math.inf):
            raise ValueError(f"Histogram: n_features is {n_features}, n_bins {n_bins} and h {h!r}; a feature, a bin "
                             "and a positive width at least are wanted")  # fmt: skip
        if n_features * math.log(n_bins) > math.log(MOST) + 1e-9:
            raise ValueError(f"Histogram: {n_bins} bins along each of {n_features} axes are too many boxes; at most "
                             f"{MOST} are wanted (fewer features or bins, or KernelDensity)")  # fmt: skip
        self.n_features, self.n_bins = n_features, n_bins
        self.x_0, self.h = float(x_0), 1 / n_bins if h is None else float(h)
        self.rng = Generator() if rng is None else rng
        self.register_buffer("counts", tg.zeros((n_bins,) * n_features, dtype="float64", device=self.rng.device))

    def fit(self, x, *, steps: int = 1, run: Run | None = None) -> Self:
        """Count x, (n, d), all of it inside the bins; what was counted before is forgotten.

        steps : in how many parts the rows are counted, a part a step; the result is the same
        """
        x, run = self.checked(x), run or Run()
        self._boxes(x, outside="refused")
        self.counts.assign(self.counts.data * 0)
        for step in run.steps(self, steps):
            run.log(**self.update(x[len(x) * (step - 1) // steps : len(x) * step // steps]))
        return self

    def update(self, x) -> dict:
        """Count some more rows; how many there are now, and the share of boxes that are not empty."""
        xp, K = backend.array_module(x), self.n_bins
        for part in in_order(x, AT_ONCE):
            boxes = self._boxes(part, outside="refused")
            flat = sum(boxes[:, j] * K ** (self.n_features - 1 - j) for j in range(self.n_features))
            grown = xp.bincount(flat, minlength=K**self.n_features)
            self.counts.assign(self.counts.data + grown.reshape(self.counts.shape))
        return {"examples": self.counts.data.sum(), "occupied": (self.counts.data > 0).mean()}

    # ---- what it can do ----

    def score_samples(self, x) -> np.ndarray:
        r"""(4): $\log \hat f_n$ of each point, in nats, $-\infty$ where no example lay; (m, d) to (m,)."""
        self._fitted()
        found = []
        for part in in_order(self.checked(x), AT_ONCE):
            boxes, inside = self._boxes(part, outside="marked")
            log_p = log_density(self.counts.data, boxes, self.h)
            found.append(backend.to_numpy(backend.array_module(part).where(inside, log_p, -math.inf)))
        return np.concatenate(found)

    def score(self, x) -> float:
        """The log-likelihood in nats an example."""
        return float(self.score_samples(x).mean())

    def cross_validation(self) -> float:
        """(6) of the examples."""
        self._fitted()
        return cross_validation(self.counts.data, self.h)

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New points (n, d): a box drawn as often as it was hit, and a place in it."""
        self._fitted()
        rng = Generator(device=self.counts.device) if rng is None else rng
        xp, K, d = backend.array_module(self.counts.data), self.n_bins, self.n_features
        flat = rng.categorical(probabilities=self.counts.data.reshape(-1) / self.counts.data.sum(), shape=n)
        boxes = xp.stack([flat // K ** (d - 1 - j) % K for j in range(d)], axis=1)  # (n, d)
        place = 1 - rng.uniform((n, d), dtype="float64")  # in (0, 1], as the bins are
        return backend.to_numpy(self.x_0 + self.h * (boxes + place))

    # ---- what it needs ----

    def _boxes(self, x, *, outside: str):
        """The box of each row, (n, d) whole numbers; rows outside all of them are refused, or marked: a mask (n,)."""
        xp, end = backend.array_module(x), self.x_0 + self.n_bins * self.h
        j = bins(x, self.x_0, self.h)
        last = (j == self.n_bins) & (x <= end + 1e-15 * (abs(self.x_0) + abs(end)))  # the last border, but for rounding
        j = xp.where(last, self.n_bins - 1, j)
        inside = ((j >= 0) & (j < self.n_bins)).all(1)
        if outside == "marked":
            return xp.clip(j, 0, self.n_bins - 1).astype("int64"), inside
        if not bool(inside.all()):
            low, high = float(x.min()), float(x.max())
            raise ValueError(f"Histogram: x has values from {low:g} to {high:g}, and the bins go from {self.x_0:g} to "
                             f"{end:g}; bins that hold all of x are wanted (x_0, h, n_bins)")  # fmt: skip
        return j.astype("int64")

    def checked(self, x):
        """x as (n, d) float64 on the model's device, all of it finite, or an error that says what is wrong."""
        x = backend.asarray(x, "float64", self.counts.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"Histogram: x has shape {x.shape}; at least one row of {self.n_features} features is "
                             "wanted (x.reshape(-1, 1) for numbers)")  # fmt: skip
        require_finite("Histogram: x", x)
        return x

    def _fitted(self) -> None:
        """Refuse to answer before there are examples."""
        if not float(self.counts.data.sum()) > 0:
            raise RuntimeError("Histogram: no examples yet; call fit first")

r"""Density by nearest neighbours: how far must one go to meet k examples? (S4 eqs. 55–60.)

A kernel looks as far everywhere, and sees too little where examples are rare and too much where they abound. Turn this
round: fix the number of examples to be seen, $k$, and measure how far one must go for it. Let $d_k(x)$ be the distance
from $x$ to its $k$-th nearest example, and $V_k(x)$ the volume of the ball of this radius. Then (S4 eqs. 55–56)

$$ \hat f_{n,k}(x) = \frac{k}{n V_k(x)}, \qquad V_k(x) = V_d\, d_k(x)^d, \qquad
   V_d = \frac{\pi^{d/2}}{\Gamma(\frac d2 + 1)}. \tag{1} $$

**Why?** The ball holds a share $k/n$ of the examples, which is about the probability of the ball, and if the ball is
small, $f$ is nearly constant in it (S4 eqs. 57–60):

$$ \frac kn \simeq \int_{B(x, d_k(x))} f(u)\, du \simeq f(x)\, V_k(x). \tag{2} $$

Each of the two $\simeq$ asks for something. The first can be made exact. The balls about $x$ that end at the examples
have probabilities that are $n$ independent uniform numbers, whatever $f$ is. That of $B(x, d_k(x))$, call it $U$, is
the $k$-th smallest: $U \sim \mathrm{Beta}(k, n - k + 1)$. Where $f$ is flat, $\hat f / f = (k/n) / U$, so that

$$ \mathbb E \frac{\hat f}{f} = \frac{k}{k-1}, \qquad
   \mathbb V \frac{\hat f}{f} = \frac{k^2 (n - k + 1)}{n (k-1)^2 (k-2)} \approx \frac1k. \tag{3} $$

So **$k$ must grow**: with $k = 5$ the estimate is off by half of its value and more, and a million examples are as bad
as a hundred; with $k = 1$ it has no mean. The second $\simeq$ is a bias: the ball is not small, and what is estimated
is the mean of $f$ over it. On the line, with $r = k / (2 n f(x))$ for its radius,

$$ \frac{1}{2r} \int_{x-r}^{x+r} f(u)\, du - f(x) \approx \frac{r^2}{6} f''(x)
   = \frac{f''(x)}{24 f(x)^2} \left( \frac kn \right)^2, \tag{4} $$

so **$k/n$ must vanish**: with $k = n/5$ the ball always holds a fifth of the probability. Both together are enough:
$\hat f_{n,k}(x) \to f(x)$ for $k \to \infty$, $k/n \to 0$ (S4 eq. 60). The best compromise of (3) and (4), where
$f'' \ne 0$,

$$ \mathrm{MSE} \approx \left( \frac{f''}{24 f^2} \right)^2 \left( \frac kn \right)^4 + \frac{f^2}{k}, \qquad
   k_{\mathrm{opt}} = \left( \frac{144 f^6}{f''^2} \right)^{1/5} n^{4/5}, \tag{5} $$

gives the same rate as a kernel, $n^{-4/5}$; in $d$ dimensions $k \propto n^{4/(d+4)}$.

**It is no density.** Far out, all examples are about as far away as the origin, and $d_k(x) \approx \lVert x \rVert$.
So $\hat f$ falls like $\lVert x \rVert^{-d}$ only, and between two large radii there is

$$ \int_{R_1 < \lVert x \rVert < R_2} \hat f_{n,k}(x)\, dx \;\to\; \frac{k\, d}{n} \log \frac{R_2}{R_1}, \tag{6} $$

as much from 100 to 1000 as from 10 to 100: the integral diverges. On the line it can be written out. To the right of
all examples, the $k$-th nearest is the $k$-th largest, $X_{(n-k+1)}$, and so, for $k \ge 2$,

$$ \int_{X_{(n)}}^{R} \hat f_{n,k}(x)\, dx = \frac{k}{2n} \log \frac{R - X_{(n-k+1)}}{X_{(n)} - X_{(n-k+1)}}. \tag{7} $$

For the same reason $\hat f$ is nowhere 0. It has kinks wherever the $k$-th neighbour changes (S4 says discontinuities,
but a step of length $\delta$ changes no distance by more than $\delta$: $\hat f$ is continuous, unless $k$ examples
coincide, where it is infinite). One can compare it from place to place, as for anomalies, but not add it up, nor draw
from it; and its logarithm is no log-likelihood.

**How many neighbours, then?** To compare two $k$ by likelihood, make densities of them: cut both off outside of a box
$B$ that holds the examples, and divide by what is inside. With each example left out of its own estimate,

$$ \mathrm{CV}(k) = \frac1n \sum_{i=1}^n \log \hat f_{-i,k}(X_i) - \log \int_B \hat f_{n,k}(x)\, dx. \tag{8} $$

The integral is estimated from points drawn uniformly in the box. `fit` tries numbers of neighbours, one a step, and
keeps the one of the largest CV. ($k = 1$ is left out: its integral is infinite even within the box.)

Notation
--------
$X_i, x$ : `X`, (n, d); `x`, (m, d); in (7), (n,), and $X_{(1)} \le \dots \le X_{(n)}$ in their order
$d_k(x)$ : `distances`, (m,)
$U$ : the probability of a ball
$B$ : `low` and `high`, (d,)
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from scipy.spatial import cKDTree

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.density.examples import WithExamples
from tinygen.models.density.kernel import log_volume
from tinygen.models.density.sums import rows_at_a_time, scaled_squares
from tinygen.runs import Run

FEWEST, MOST = 2, 0.5  # the numbers of neighbours that are tried: from 2 to half of the examples
TREE = 16  # up to so many features a tree is faster than a table

# ---- the equations --------------------------------------------------------------------------------------


def distances(x, X, k: int):
    r"""$d_k(x)$, to the k-th nearest example; (m, d), (n, d) to (m,).

    By SciPy's tree, or, on a GPU and in many dimensions, by a table of the squares, some points at a time.
    """
    if not 1 <= k <= len(X):
        raise ValueError(f"distances: k is {k} of {len(X)} examples; from 1 to all of them is wanted")
    if backend.device_of(X) == "cpu" and X.shape[1] <= TREE:
        return cKDTree(X).query(x, [k])[0][:, 0]
    xp = backend.array_module(X)
    tables = (scaled_squares(part, X, 1.0) for part in in_order(x, rows_at_a_time(X, 2)))
    return xp.sqrt(xp.concatenate([xp.partition(table, k - 1, axis=1)[:, k - 1] for table in tables]))


def log_estimate(distances, k: int, n: int, d: int):
    r"""(1): $\log \hat f_{n,k}$ from the distances, infinite where these are 0; elementwise."""
    xp = backend.array_module(distances)
    with backend.errstate(xp, divide="ignore"):
        return math.log(k / n) - log_volume(d) - d * xp.log(distances)


def ball_law(k: int, n: int) -> tuple[float, float]:
    r"""(2), made exact: the two parameters of the Beta law of the ball's probability $U$."""
    return k, n - k + 1


def moments_where_flat(k: int, n: int) -> tuple[float, float]:
    r"""(3): mean and variance of $\hat f / f$; infinite for the smallest k."""
    mean = k / (k - 1) if k > 1 else math.inf
    return mean, k**2 * (n - k + 1) / (n * (k - 1) ** 2 * (k - 2)) if k > 2 else math.inf


def bias(f: float, curvature: float, k, n):
    r"""(4), right: of the estimate on the line, where the density is f and its second derivative `curvature`."""
    return curvature / (24 * f**2) * (k / n) ** 2


def mean_squared_error(f: float, curvature: float, k, n):
    r"""(5), left."""
    return bias(f, curvature, k, n) ** 2 + f**2 / k


def best_number(f: float, curvature: float, n):
    r"""(5), right: $k_{\mathrm{opt}}$."""
    return (144 * f**6 / curvature**2) ** 0.2 * n**0.8


def mass_between(ratio: float, k: int, n: int, d: int) -> float:
    r"""(6): the integral between two large radii of this ratio."""
    return k * d / n * math.log(ratio)


def mass_on_the_right(R: float, X, k: int) -> float:
    r"""(7): the integral from the largest example up to R; (n,)."""
    X = np.sort(backend.to_numpy(X))
    first = X[len(X) - k]
    return k / (2 * len(X)) * math.log((R - first) / (X[-1] - first))


# ---- the model ------------------------------------------------------------------------------------------


class NearestNeighbours(WithExamples):
    r"""The k-nearest-neighbour estimate of a density, (1).

    Parameters
    ----------
    n_features : $d$
    k : how many neighbours; by default the number of the largest (8)
    box_points : how many points the integral in (8) is estimated from
    rng : the Generator of these points; None takes fresh entropy. The model lives on its device.

    Attributes
    ----------
    examples : $X$, (n, d) float64; they are what has been learnt
    k : 0 before there are examples, unless it was given
    criterion : the largest CV so far, in nats; minus infinity if it was not asked for
    places : where in the box the integral is estimated from, uniform in [0, 1), (box_points, d)

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [3.0]])
    >>> model = NearestNeighbours(1, k=2).fit(x, run=Run(quiet=True))
    >>> np.exp(model.log_estimate(np.array([[0.0], [2.0]]))).round(3)  # (2/3) / (2 * 1), twice
    array([0.333, 0.333])
    """

    k: tg.Tensor
    criterion: tg.Tensor
    places: tg.Tensor

    def __init__(self, n_features: int, *, k: int | None = None, box_points: int = 2000, rng: Generator | None = None):
        if n_features < 1 or (k is not None and (k < 1 or k != int(k))) or box_points < 1:
            raise ValueError(f"NearestNeighbours: n_features is {n_features}, k {k!r} and box_points {box_points}; at "
                             "least one of each is wanted")  # fmt: skip
        self.n_features, self.given = n_features, k
        self.rng = Generator() if rng is None else rng
        device = self.rng.device
        self.register_buffer("k", tg.tensor(k or 0, device=device))
        self.register_buffer("criterion", tg.tensor(-math.inf, dtype="float64", device=device))
        for name, rows in (("examples", 0), ("places", box_points)):
            self.register_buffer(name, tg.zeros((rows, n_features), dtype="float64", device=device))

    # ---- learning ----

    def fit(self, x, *, steps: int = 12, run: Run | None = None) -> Self:
        """Keep the examples (n, d), and find how many neighbours to look at, unless that was given.

        steps : how many numbers are tried, one a step, from 2 to half of the examples, evenly in their logarithms; a
            number that was given takes one step
        """
        x, run = self.checked(x), run or Run()
        least = 4 if self.given is None else self.given
        if len(x) < least:
            raise ValueError(f"NearestNeighbours: x has {len(x)} rows; at least {least} are wanted"
                             f"{'' if self.given is None else ', as many as neighbours'}")  # fmt: skip
        if self.given is None and bool((x.min(0) == x.max(0)).any()):
            raise ValueError("NearestNeighbours: a column of x is constant, so no number of neighbours follows; "
                             "columns that vary, or k=, a number, are wanted")  # fmt: skip
        self.register_buffer("examples", tg.tensor(x, device=self.rng.device))
        self.criterion.assign(-math.inf)
        self.k.assign(self.given or 0)
        tried = ladder(len(x), steps) if self.given is None else [self.given][:steps]
        for step in run.steps(self, len(tried)):
            if step == 1:
                self.places.assign(self.rng.uniform(self.places.shape, dtype="float64"))
            run.log(**self.update(tried[step - 1]))
        if int(self.k) < 1:
            raise ValueError("NearestNeighbours: (8) is minus infinity for every number of neighbours tried, as when a "
                             "row makes up more than half of x; k=, a number, at least one step, or rows that differ "
                             "(add a little noise) are wanted")  # fmt: skip
        return self

    def update(self, k: int) -> dict:
        """(8) for one number of neighbours, which is kept if no other was as good."""
        if self.given is not None:
            return {"k": k}
        found, inside = self.cross_validation(k)
        if found > float(self.criterion):
            self.k.assign(k)
            self.criterion.assign(found)
        return {"k": k, "criterion": found, "in_the_box": inside, "best": int(self.k)}

    def cross_validation(self, k: int) -> tuple[float, float]:
        """(8), in nats, and the integral over the box."""
        X = self.examples.data
        xp, (n, d) = backend.array_module(X), X.shape
        own = distances(X, X, k + 1)  # the nearest of all is the example itself
        left_out = float(log_estimate(own, k, n - 1, d).mean())
        low, high = X.min(0), X.max(0)
        in_box = log_estimate(distances(low + (high - low) * self.places.data, X, k), k, n, d)
        log_inside = float(tg.logsumexp(in_box)) - math.log(len(in_box)) + float(xp.log(high - low).sum())
        inside = math.exp(min(log_inside, 700.0))
        if not (math.isfinite(left_out) and math.isfinite(log_inside)):  # examples that coincide
            return -math.inf, inside
        return left_out - log_inside, inside

    # ---- what it can do ----

    def distances(self, x) -> np.ndarray:
        r"""$d_k(x)$ of each point; (m, d) to (m,)."""
        self._fitted()
        return backend.to_numpy(distances(self.checked(x), self.examples.data, int(self.k)))

    def log_estimate(self, x) -> np.ndarray:
        r"""(1): $\log \hat f_{n,k}(x)$ of each point; infinite where k examples coincide. Not the logarithm of a
        density, hence not called `score_samples`; (m, d) to (m,)."""
        return log_estimate(self.distances(x), int(self.k), *self.examples.shape)


def ladder(n: int, steps: int) -> list[int]:
    """So many numbers of neighbours, from few to many; a number may come twice. A single one is about the middle."""
    low, high = math.log(FEWEST), math.log(max(FEWEST, MOST * n))
    return [round(math.exp(low + (high - low) * (k + 0.5 * (steps == 1)) / max(1, steps - 1))) for k in range(steps)]

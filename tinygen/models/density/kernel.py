r"""Kernel density estimation: put a small hump on every example, and add them up (S4 eqs. 33–36).

A histogram depends on where its bins begin, and jumps at their borders. The *sliding window* gets rid of the origin:
to know the density at $x$, centre a bin there and count the examples inside (S4 eq. 33),

$$ \hat f_{n,h}(x) = \frac{1}{2nh} \sum_{i=1}^n \mathbb 1_{X_i \in [x-h, x+h)}. \tag{1} $$

The same read the other way round: every example carries a box of width $2h$ and area $1/n$, and the boxes are added.
Nothing demands a box. With any *kernel* $K \ge 0$, symmetric and of integral 1 (eqs. 34–36),

$$ \hat f_{n,h}(x) = \frac{1}{nh} \sum_{i=1}^n K\left( \frac{x - X_i}{h} \right) \tag{2} $$

is a density again, and as smooth as $K$ is. The documents name four (their print lost the minus signs),

$$ K(u) = \underset{\text{Gaussian}}{\tfrac{1}{\sqrt{2\pi}} e^{-u^2/2}}, \quad
   \underset{\text{rectangular}}{\tfrac12\, \mathbb 1_{|u| \le 1}}, \quad
   \underset{\text{triangular}}{(1 - |u|)\, \mathbb 1_{|u| \le 1}}, \quad
   \underset{\text{Epanechnikov}}{\tfrac34 (1 - u^2)\, \mathbb 1_{|u| \le 1}}. \tag{3} $$

(The window (1) is half open and the rectangle closed, so they differ where an example lies exactly $h$ above $x$: at
finitely many points.) How far $\hat f$ is from the truth, and why the error falls as $n^{-4/5}$, is
told in `kernel_error`.

**In $d$ dimensions** there are two ways to make a kernel of the points of $\mathbb R^d$ out of one of the line: a
*product* over the axes, and a *radial* one, which looks at the distance only. With $\kappa$ for $K$ without its
constant, 1 at the middle,

$$ K(u) = \prod_{j=1}^d c_1\, \kappa(|u_j|) \quad \text{or} \quad K(u) = c_d\, \kappa(\lVert u \rVert), \qquad
   \hat f_{n,h}(x) = \frac{1}{n h^d} \sum_{i=1}^n K\left( \frac{x - X_i}{h} \right). \tag{4} $$

The constant is such that the integral is 1. With $V_d = \pi^{d/2} / \Gamma(d/2 + 1)$, the volume of the unit ball,

$$ c_d^{-1} = (2\pi)^{d/2}, \quad V_d, \quad \frac{V_d}{d+1}, \quad \frac{2 V_d}{d+2} \tag{5} $$

in the order of (3). For the Gaussian, both ways are one; the product of rectangles is a cube, the radial one a ball.
Here kernels are radial unless `product=True`; scikit-learn's are radial too. The bandwidth is the same on all axes,
so their units should be alike: rescale the columns if they are not.

**In log space.** Far from all examples every term of a Gaussian estimate is too small for a float. Its logarithm is
not: with the largest term taken out of the sum,

$$ \log \hat f_{n,h}(x) = \operatorname*{logsumexp}_i \left( -\frac{\lVert x - X_i \rVert^2}{2 h^2} \right)
   - \log n - d \log h - \tfrac d2 \log 2\pi. \tag{6} $$

The other kernels are exactly 0 where no example is near: there, the logarithm is $-\infty$.

**How wide?** This decides; the shape of the kernel hardly matters. Two numbers of a kernel say what it does,

$$ \mu_2 = \int u_1^2 K(u)\, du, \qquad R = \int K(u)^2 du, \tag{7} $$

the first for its bias, the second for its variance. If the truth were normal with standard deviation $\sigma$ along
each axis, the mean integrated squared error would be least, for large $n$, at

$$ h = \sigma \left( \frac{4 (2 \sqrt\pi)^d R}{(d + 2)\, \mu_2^2\, n} \right)^{1/(d+4)}, \tag{8} $$

S4's optimal $h$ (eq. 53) with all constants known, and Silverman's rule: for a Gaussian kernel on the line
$1.06\, \sigma n^{-1/5}$. Of all densities with this $\sigma$ the normal is among the smoothest, so (8) is too wide for
most others: two humps far apart make $\sigma$ large and melt into one. It is a first guess.

**Ask the data** (least-squares cross-validation; Rudemo 1982, Bowman 1984). The integrated squared error is
$\int \hat f^2 - 2 \int \hat f f + \int f^2$. The last term does not depend on $h$. The middle one is twice the mean of
$\hat f$ over a *new* example; each example may stand for one, if it is left out of the estimate:

$$ \mathrm{CV}(h) = \int \hat f_{n,h}(x)^2 dx - \frac2n \sum_{i=1}^n \hat f_{-i}(X_i), \qquad
   \hat f_{-i}(x) = \frac{1}{(n-1) h^d} \sum_{j \ne i} K\left( \frac{x - X_j}{h} \right). \tag{9} $$

Its mean is exactly the mean integrated squared error less $\int f^2$. The first term needs no grid,

$$ \int \hat f_{n,h}(x)^2 dx = \frac{1}{n^2 h^d} \sum_{i,j} (K * K)\left( \frac{X_i - X_j}{h} \right), \tag{10} $$

for the overlap of two humps depends on how far apart they are only. On the line, and as factors of a product,

$$ (K * K)(u) = \underset{\text{Gaussian}}{\frac{e^{-u^2/4}}{2\sqrt\pi}}, \quad
   \underset{\text{rectangular}}{\frac{(2 - |u|)_+}{4}}, \quad
   \underset{\text{triangular}}{\frac{(2 - |u|)_+^3}{6} - \frac{2 (1 - |u|)_+^3}{3}}, \quad
   \underset{\text{Epanechnikov}}{\frac{3 (2 - |u|)_+^3 (u^2 + 6|u| + 4)}{160}}. \tag{11} $$

Radial kernels of several dimensions have no such formula that holds for all $d$: `overlap` integrates them. `fit`
tries bandwidths from wide to narrow, one a step, and keeps the one with the least CV. Beware of rows that occur
several times, such as rounded numbers: enough of them (on the line, for a Gaussian, more than $0.27\, n$ pairs that
coincide) send CV to $-\infty$ as $h \to 0$.

**Sampling is exact.** Choose an example, and add $h$ times a draw from $K$. On an axis, $v_1, v_2, v_3$ uniform in
$[0, 1)$: a rectangle is $2 v_1 - 1$, a triangle $v_1 - v_2$, Epanechnikov the median of the three, times 2, less 1.
A radial draw has a direction at random (that of a normal one) and the length $r$, whose density is proportional to
$\kappa(r)\, r^{d-1}$:

$$ r = v_1^{1/d}, \qquad r = v_1^{1/d} v_2^{1/(d+1)}, \qquad r = v_1^{1/d} v_2^{1/(d+2)} \tag{12} $$

for rectangle, triangle and Epanechnikov.

Notation
--------
$X_i$ : `X`, (n, d); in (1)–(3), (n,)
$x$ : `x`, where the density is asked for, (m, d); in (1)–(3), (m,)
$h$ : `h`, in the unit of the data
$u$ : `u`, a difference in bandwidths; $\lVert u \rVert^2$ : `squares`
$\kappa$ : `profile`; it and the sums over all pairs stand in `sums`
$c_d$ : its logarithm is `log_constant`
$\mu_2, R$ : `second_moment`, `roughness`
"""

from __future__ import annotations

import contextlib
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.density.examples import WithExamples
from tinygen.models.density.overlap import radial_self_convolution
from tinygen.models.density.sums import (
    compact_sums,
    exponents,
    gaussian_log_sums,
    profile,
    rows_at_a_time,
    scaled_squares,
    within,
)
from tinygen.runs import Run, blas_threads

KERNELS = ("gaussian", "rectangular", "triangular", "epanechnikov")
WIDEST, NARROWEST = 2.0, 0.02  # the bandwidths that cross-validation tries, in those of (8)

# ---- on the line, as the documents write it -------------------------------------------------------------


def sliding_window(x, X, h: float):
    r"""(1): the share of examples in $[x - h, x + h)$, over its width; (m,), (n,) to (m,)."""
    inside = (X >= (x - h)[:, None]) & (X < (x + h)[:, None])  # (m, n)
    return inside.sum(1) / (2 * len(X) * h)


def estimate(x, X, h: float, kernel: str = "gaussian"):
    r"""(2): $\hat f_{n,h}(x)$; (m,), (n,) to (m,)."""
    return kernel_values((x[:, None] - X) / h, kernel).sum(1) / (len(X) * h)


def kernel_values(u, kernel: str):
    r"""(3): $K(u)$, elementwise."""
    return math.exp(log_constant(kernel, 1)) * profile(u * u, kernel)


def self_convolution(u, kernel: str):
    r"""(11): $(K * K)(u)$ on the line, elementwise."""
    u = abs(u)
    if kernel == "gaussian":
        return tg.exp(-u * u / 4) / (2 * math.sqrt(math.pi))
    rest = tg.maximum(2 - u, 0)
    if kernel == "rectangular":
        return rest / 4
    if kernel == "triangular":
        inner = tg.maximum(1 - u, 0)
        return rest * rest * rest / 6 - 2 / 3 * (inner * inner * inner)
    return rest * rest * rest * ((u + 6) * u + 4) * (3 / 160)


# ---- numbers of a kernel --------------------------------------------------------------------------------


def log_volume(d: int) -> float:
    r"""$\log V_d$."""
    return d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)


def log_constant(kernel: str, d: int, product: bool = False) -> float:
    r"""(5): $\log c_d$, or $d \log c_1$ for a product."""
    if product:
        return d * log_constant(kernel, 1)
    if kernel == "gaussian":
        return -d / 2 * math.log(2 * math.pi)
    return math.log({"rectangular": 1, "triangular": d + 1, "epanechnikov": (d + 2) / 2}[kernel]) - log_volume(d)


def second_moment(kernel: str, d: int, product: bool = False) -> float:
    r"""(7), left: $\mu_2$ along each axis."""
    d = 1 if product else d
    return {"gaussian": 1.0, "rectangular": 1 / (d + 2), "triangular": (d + 1) / ((d + 2) * (d + 3)),
            "epanechnikov": 1 / (d + 4)}[kernel]  # fmt: skip


def roughness(kernel: str, d: int, product: bool = False) -> float:
    r"""(7), right: $R = \int K^2$."""
    return math.exp(log_roughness(kernel, d, product))


def log_roughness(kernel: str, d: int, product: bool = False) -> float:
    r"""$\log R$, which may be far from 0 in many dimensions."""
    if product:
        return d * log_roughness(kernel, 1)
    if kernel == "gaussian":
        return -d / 2 * math.log(4 * math.pi)
    shape = {"rectangular": 1.0, "triangular": 2 * (d + 1) / (d + 2), "epanechnikov": 2 * (d + 2) / (d + 4)}[kernel]
    return math.log(shape) - log_volume(d)


def reference_bandwidth(sigma: float, n: int, d: int, kernel: str = "gaussian", product: bool = False) -> float:
    r"""(8): the best bandwidth for a normal density."""
    of_kernel = log_roughness(kernel, d, product) - 2 * math.log(second_moment(kernel, d, product))
    return sigma * math.exp((math.log(4 / ((d + 2) * n)) + d * math.log(2 * math.sqrt(math.pi)) + of_kernel) / (d + 4))


# ---- in any dimension -----------------------------------------------------------------------------------


def log_density(x, X, h: float, kernel: str = "gaussian", product: bool = False):
    r"""(4) and (6): $\log \hat f_{n,h}(x)$, some points at a time; (m, d), (n, d) to (m,)."""
    xp, (n, d) = backend.array_module(X), X.shape
    if kernel == "gaussian":
        log_sums = gaussian_log_sums(x, X, h)
    else:
        with backend.errstate(xp, divide="ignore"):
            log_sums = xp.log(compact_sums(x, X, h, kernel, product))
    return log_sums + (log_constant(kernel, d, product) - math.log(n) - d * math.log(h))


# ---- cross-validation -----------------------------------------------------------------------------------


def cross_validation(X, h: float, kernel: str = "gaussian", product: bool = False) -> float:
    r"""(9) by (10): $\mathrm{CV}(h)$, from all pairs of examples; (n, d)."""
    (n, d), compact = X.shape, kernel != "gaussian"
    X = X[backend.array_module(X).argsort(X[:, 0])]
    between, size = None if compact else exponents(X, X, h), rows_at_a_time(X, 8 if compact else 1)
    sums = [0.0, 0.0]
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        if between is None:
            pairs = compact_pairs(X[rows], within(X[start:], X[rows], 2 * h), h, kernel, product)
        else:
            pairs = gaussian_pairs(between(rows, slice(start, n)), d)
        for k, values in enumerate(pairs):  # those with later examples stand for two pairs
            sums[k] += 2 * float(values.sum()) - float(values[:, : rows.stop - start].sum())
    others = sums[1] - n * math.exp(log_constant(kernel, d, product))  # without K(0), of each with itself
    return (sums[0] / n**2 - 2 * others / (n * (n - 1))) / h**d


def gaussian_pairs(E, d: int) -> tuple[Any, Any]:
    r"""$(K * K)(u)$ and $K(u)$ from $-\lVert u \rVert^2 / 2$, which is lost: but for constants, the square root of
    $K$ and $K$."""
    E *= 0.5
    root = backend.array_module(E).exp(E, out=E)
    return (4 * math.pi) ** (-d / 2) * root, (2 * math.pi) ** (-d / 2) * (root * root)


def compact_pairs(x, X, h: float, kernel: str, product: bool) -> tuple[Any, Any]:
    r"""$(K * K)(u)$ and $K(u)$ of all differences; (m, d), (n, d) to twice (m, n)."""
    xp, d = backend.array_module(X), X.shape[1]
    if not product and d > 1:
        squares = scaled_squares(x, X, h)
        nodes, heights = (backend.asarray(a, X.dtype, backend.device_of(X)) for a in radial_self_convolution(kernel, d))
        nearness = xp.sqrt(xp.maximum(1 - xp.sqrt(squares) / 2, 0))
        overlap = xp.interp(nearness.ravel(), nodes, heights).reshape(squares.shape)
        return overlap, math.exp(log_constant(kernel, d)) * profile(squares, kernel)
    overlap = value = 1.0
    for j in range(d):
        u = (x[:, j, None] - X[:, j]) / h
        overlap, value = overlap * self_convolution(u, kernel), value * kernel_values(u, kernel)
    return overlap, value


# ---- draws ----------------------------------------------------------------------------------------------


def draw(n: int, d: int, kernel: str, product: bool, rng: Generator):
    r"""(12), and what stands above it: n points from $K$; (n, d) float64."""
    if kernel == "gaussian":
        return rng.normal((n, d), dtype="float64")
    if product:
        a, b, c = rng.uniform((3, n, d), dtype="float64")
        if kernel == "epanechnikov":
            a = tg.maximum(tg.minimum(a, b), tg.minimum(tg.maximum(a, b), c))  # the median
        return a - b if kernel == "triangular" else 2 * a - 1
    z = rng.normal((n, d), dtype="float64")
    direction = z / tg.sqrt((z * z).sum(1))[:, None]
    return direction * radius(rng.uniform((2, n), dtype="float64"), d, kernel)[:, None]


def radius(v, d: int, kernel: str):
    r"""(12): the length of a radial draw; (2, n) to (n,)."""
    r = v[0] ** (1 / d)
    return r if kernel == "rectangular" else r * v[1] ** (1 / (d + (1 if kernel == "triangular" else 2)))


# ---- the model ------------------------------------------------------------------------------------------


class KernelDensity(WithExamples):
    r"""A kernel estimate of a density: (4).

    Parameters
    ----------
    n_features : $d$
    kernel : "gaussian", "rectangular", "triangular" or "epanechnikov"
    product : whether the kernel is a product over the axes; otherwise it is radial, as scikit-learn's are
    bandwidth : $h$ itself, a number; "reference", (8); or "cross-validation", the least (9) of those tried
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Attributes
    ----------
    examples : $X$, (n, d) float64; they are what has been learnt
    bandwidth : $h$; 0 before there are examples, unless it was given
    criterion : the least CV so far; infinite if it was not asked for

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0]])
    >>> model = KernelDensity(1, kernel="triangular", bandwidth=2.0).fit(x, run=Run(quiet=True))
    >>> np.exp(model.score_samples(np.array([[0.0], [0.5], [2.0]])))
    array([0.375, 0.375, 0.125])
    >>> model.sample(3, rng=Generator(0)).shape
    (3, 1)
    """

    bandwidth: tg.Tensor
    criterion: tg.Tensor

    def __init__(self, n_features: int, *, kernel: str = "gaussian", product: bool = False,
                 bandwidth: float | str = "cross-validation", rng: Generator | None = None):  # fmt: skip
        if n_features < 1:
            raise ValueError(f"KernelDensity: n_features is {n_features}; at least one is wanted")
        if kernel not in KERNELS:
            raise ValueError(f"KernelDensity: kernel is {kernel!r}; {', '.join(KERNELS)} are there")
        named = bandwidth in ("reference", "cross-validation")
        if not named and (isinstance(bandwidth, str) or not 1e-150 < bandwidth < math.inf):
            raise ValueError(f"KernelDensity: bandwidth is {bandwidth!r}; a positive number, 'reference' or "
                             "'cross-validation' is wanted")  # fmt: skip
        self.n_features, self.kernel, self.product, self.rule = n_features, kernel, product, bandwidth
        self.rng = Generator() if rng is None else rng
        for name, value in (("bandwidth", 0.0 if named else bandwidth), ("criterion", math.inf)):
            self.register_buffer(name, tg.tensor(value, dtype="float64", device=self.rng.device))
        self.register_buffer("examples", tg.zeros((0, n_features), dtype="float64", device=self.rng.device))

    # ---- learning ----

    def fit(self, x, *, steps: int = 40, run: Run | None = None) -> Self:
        """Keep the examples, and find the bandwidth.

        Parameters
        ----------
        x : (n, d), which takes the place of what was fitted before
        steps : how many bandwidths cross-validation tries, one a step, from `WIDEST` to `NARROWEST` times (8); their
            logarithms are evenly spaced. The other rules have nothing to try and take one step.
        """
        x, run = self.checked(x), run or Run()
        first = self._first(x)
        self.register_buffer("examples", tg.tensor(x, device=self.rng.device))
        self.bandwidth.assign(first)
        self.criterion.assign(math.inf)
        tried = ladder(first, steps) if self.rule == "cross-validation" else [first][:steps]
        for step in run.steps(self, len(tried)):
            run.log(**self.update(tried[step - 1]))
        if len(tried) > 1 and float(self.bandwidth) == tried[-1]:
            warnings.warn("KernelDensity: the narrowest bandwidth tried was the best. Do rows occur several times (add "
                          "a little noise), or are there very different scales (give a bandwidth)?",
                          stacklevel=2)  # fmt: skip
        return self

    def update(self, h: float) -> dict:
        """(9) for one bandwidth, which is kept if no other was as good."""
        if self.rule != "cross-validation":
            return {"bandwidth": h}
        found = self.cross_validation(h)
        if found < float(self.criterion):
            self.bandwidth.assign(h)
            self.criterion.assign(found)
        return {"bandwidth": h, "criterion": found, "best": float(self.bandwidth)}

    def cross_validation(self, h: float) -> float:
        """(9) of the examples, for a bandwidth."""
        return cross_validation(self.examples.data, h, self.kernel, self.product)

    def _first(self, x) -> float:
        """The bandwidth that was given, or (8)."""
        if not isinstance(self.rule, str):
            return float(self.rule)
        n, d = x.shape
        sigma = math.sqrt(float(((x - x.mean(0)) ** 2).mean()))
        if not sigma > 1e-14 * float(abs(x).max()) or n < 2:
            raise ValueError(f"KernelDensity: x has {n} rows that are all alike, so no bandwidth follows from them; "
                             "examples that differ, or bandwidth=, a number, are wanted")  # fmt: skip
        first = reference_bandwidth(sigma, n, d, self.kernel, self.product)
        units = max(abs(math.log(first * factor)) for factor in (WIDEST, NARROWEST))
        if self.rule == "cross-validation" and abs(log_constant(self.kernel, d, self.product)) + d * units > 600:
            raise ValueError(f"KernelDensity: in {d} dimensions cross-validation meets densities that no float holds; "
                             "bandwidth='reference', a number, or fewer features are wanted")  # fmt: skip
        return first

    # ---- what it can do ----

    def score_samples(self, x, *, threads: int = 1):
        r"""(6): $\log \hat f_{n,h}(x)$ of each point, in nats; (m, d) to (m,).

        Parameters
        ----------
        threads : how many share the points, on a CPU; memory is that of some megabytes each
        """
        self._fitted()
        x, X, h = self.checked(x), self.examples.data, float(self.bandwidth)
        threads = max(1, min(threads, len(x))) if backend.device_of(x) == "cpu" else 1
        parts = [x[len(x) * k // threads : len(x) * (k + 1) // threads] for k in range(threads)]
        with blas_threads(1) if threads > 1 else contextlib.nullcontext(), ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda part: log_density(part, X, h, self.kernel, self.product), parts)
            return np.concatenate([backend.to_numpy(part) for part in found])

    def score(self, x) -> float:
        """The log-likelihood in nats a point (scikit-learn's is the sum)."""
        return float(self.score_samples(x).mean())

    def sample(self, n: int, *, rng: Generator | None = None):
        """New points (n, d): examples chosen at random, each moved by a draw from the kernel."""
        self._fitted()
        X = self.examples.data
        rng = Generator(device=self.examples.device) if rng is None else rng
        chosen = rng.integers(0, len(X), n)
        moved = draw(n, self.n_features, self.kernel, self.product, rng)
        return backend.to_numpy(X[chosen] + float(self.bandwidth) * moved)


def ladder(first: float, steps: int) -> list[float]:
    """So many bandwidths about a first one, from wide to narrow; a single one is the first itself."""
    if steps == 1:
        return [first]
    return [first * WIDEST * (NARROWEST / WIDEST) ** (k / (steps - 1)) for k in range(steps)]

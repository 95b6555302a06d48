r"""How far apart are two laws? Kullback-Leibler, Jensen-Shannon, Wasserstein, Cramer (S0's four).

Two families. The first compares *densities point by point* (S2 eqs. 4.10-4.11, S4 eqs. 121-131):

$$ KL(p \,\|\, q) = \sum_i p_i \log \frac{p_i}{q_i}, \tag{1} $$
$$ JS(p, q) = \tfrac12 KL(p \,\|\, m) + \tfrac12 KL(q \,\|\, m), \quad m = \tfrac12(p + q),
   \qquad 0 \le JS \le \log 2. \tag{2} $$

KL is not symmetric, and the order matters when q cannot match p: minimising $KL(p \| q)$ over q (maximum likelihood)
makes q cover all of p; minimising $KL(q \| p)$ makes it sit on one mode. $\sqrt{JS}$ is a metric. Both only ask *how
much* mass differs, not how far it would have to move: two laws without a common point have $JS = \log 2$ and
$KL = \infty$ whether they are a hair or a mile apart, and no gradient to bring them together.

The second family compares *where the mass lies*. On the line, with distribution functions F and G,

$$ W_1 = \int |F - G|\, dx, \qquad
   W_r^r = \int_0^1 \bigl| F^{-1}(u) - G^{-1}(u) \bigr|^r du, \tag{3} $$
$$ C = \int (F - G)^2\, dx, \qquad
   E^2 = 2\,\mathbb{E}|X - Y| - \mathbb{E}|X - X'| - \mathbb{E}|Y - Y'| = 2 C. \tag{4} $$

$W_1$ is the earth mover's distance: mass times way, at its cheapest. C is the Cramer distance (some take its root),
E the energy distance. In any dimension $W_r^r$ is the least $\sum_{ij} T_{ij} \lVert x_i - y_j \rVert^r$ over plans T
that carry the one law into the other, $E^2$ keeps its form with norms, and between Gaussians

$$ W_2^2 = \lVert \mu - \nu \rVert^2 + \operatorname{tr}\bigl(\Sigma + \Lambda
   - 2 (\Lambda^{1/2} \Sigma \Lambda^{1/2})^{1/2}\bigr). \tag{5} $$

Between *samples* KL and JS say nothing ($\infty$ and $\log 2$, unless points coincide); the second family works on
them as they are. Between Gaussians KL is `kl_divergence`, and JS has no closed form (`estimate_js`).

All functions take arrays or Tensors and return the same; all but `transport_plan` are differentiable (roots not at
distance 0).

Slips in the documents: S2 eq. 4.12 needs 2 JS in its last line (S4 eq. 124 has it); S0's "share domain" means that
p must vanish where q does.

Notation
--------
$p$, $q$ : `p`, `q`, probability vectors along an axis;  $x_i$, $y_j$ : `x`, `y`, samples
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module, asarray, device_of, errstate, is_array, to_numpy
from tinygen.backend.recording import aside
from tinygen.probability.distribution import Distribution
from tinygen.probability.normal import DiagonalNormal, MultivariateNormal, Normal
from tinygen.probability.support import SIMPLEX

# ---- point by point: discrete laws ----------------------------------------------------------------------


def kl(p: Any, q: Any, axis: int = -1) -> Any:
    """(1) between probability vectors along `axis`, in nats.

    A term with $p_i = 0$ is 0, with value and gradient; one with $q_i = 0 < p_i$ is infinite.
    """
    p, q = _laws("kl", p, q, axis)
    return _relative(p, q, axis)


def js(p: Any, q: Any, axis: int = -1) -> Any:
    r"""(2) between probability vectors along `axis`, in nats: from 0 to $\log 2$; its root is a metric."""
    p, q = _laws("js", p, q, axis)
    both = p + q  # twice the mixture m, whose half would round the smallest probabilities to 0
    value = (_relative(2 * p, both, axis) + _relative(2 * q, both, axis)) / 4
    return tg.clip(value, 0.0, math.log(2))  # rounding may leave it just outside


def cross_entropy(p: Any, q: Any, axis: int = -1) -> Any:
    r"""$-\sum_i p_i \log q_i = H(p) + KL(p \| q)$ (S2 2.16-2.24, S4 8-13): what maximum likelihood minimises."""
    p, q = _laws("cross_entropy", p, q, axis)
    return -tg.sum(p * _log(tg.where(p > 0, q, 1.0)), axis)


def entropy(p: Any, axis: int = -1) -> Any:
    r"""$-\sum_i p_i \log p_i$ of probability vectors along `axis`, in nats."""
    p, _ = _laws("entropy", p, p, axis)
    return -tg.sum(p * _log(tg.where(p > 0, p, 1.0)), axis)


def _relative(p, q, axis):
    """(1) without the checks."""
    ratio = _log(tg.where(p > 0, p, 1.0)) - _log(tg.where(p > 0, q, 1.0))
    return tg.sum(p * ratio, axis)


def _log(x):
    r"""The logarithm, where $\log 0 = -\infty$ is what is meant."""
    with errstate(np, divide="ignore"):
        return tg.log(x)


# ---- discrete laws on the line --------------------------------------------------------------------------


def earth_mover(p: Any, q: Any, positions: Any) -> Any:
    r"""$W_1$ of (3) between probability vectors (..., k) at places on a line, (k,) and rising.

    The integral is a sum over the gaps, $\sum_i |F_i - G_i|\,(t_{i+1} - t_i)$: the mass that must cross each gap,
    times its width.
    """
    p, q = _laws("earth_mover", p, q, -1)
    return tg.sum(tg.abs(_crossing(p, q)) * _gaps("earth_mover", p, positions), -1)


def cramer(p: Any, q: Any, positions: Any) -> Any:
    r"""C of (4) between probability vectors (..., k) at places on a line, (k,) and rising."""
    p, q = _laws("cramer", p, q, -1)
    return tg.sum(tg.square(_crossing(p, q)) * _gaps("cramer", p, positions), -1)


def transport_plan(p: Any, q: Any, cost: Any) -> tuple[np.ndarray, float]:
    r"""The cheapest plan T from p to q, and what it costs, for any costs: a linear program (host, no gradient).

    $$ \min_{T \ge 0} \sum_{ij} T_{ij} c_{ij} \quad\text{with}\quad \sum_j T_{ij} = p_i, \; \sum_i T_{ij} = q_j. $$

    Parameters
    ----------
    p, q : probability vectors, (n,) and (m,)
    cost : (n, m)

    Returns
    -------
    the plan, NumPy (n, m), and the least cost
    """
    from scipy.optimize import linprog
    from scipy.sparse import eye, kron, vstack

    p, q, cost = (np.asarray(to_numpy(_raw(v)) if is_array(_raw(v)) else v, float) for v in (p, q, cost))
    n, m = p.size, q.size
    if p.ndim != 1 or q.ndim != 1 or cost.shape != (n, m):
        raise ValueError(f"transport_plan: p, q and cost have shapes {p.shape}, {q.shape} and {cost.shape}; "
                         "(n,), (m,) and (n, m) are wanted")  # fmt: skip
    for name, law in (("p", p), ("q", q)):
        SIMPLEX.check("transport_plan", name, law)
    leaves, arrives = kron(eye(n), np.ones((1, m))), kron(np.ones((1, n)), eye(m))
    equalities = vstack([leaves, arrives]).tocsr()[:-1]  # the last row follows from the others
    result = linprog(cost.reshape(-1), A_eq=equalities, b_eq=np.concatenate([p, q])[:-1], method="highs")
    if not result.success:
        raise RuntimeError(f"transport_plan: the linear program was not solved: {result.message}")
    return result.x.reshape(n, m), float(result.fun)


def _crossing(p, q):
    """The mass that must cross each gap: differences of distribution functions, (..., k - 1)."""
    return tg.cumsum(p - q, -1)[..., :-1]


def _gaps(owner, p, positions):
    """The widths between neighbours, (k - 1,)."""
    positions = positions if isinstance(positions, Tensor) else asarray(positions, device=_device(p))
    if positions.shape != (p.shape[-1],):
        raise ValueError(f"{owner}: positions have shape {positions.shape}; ({p.shape[-1]},) is wanted")
    gaps = positions[1:] - positions[:-1]
    _require(lambda widths: (widths >= 0).all(), _raw(gaps),
             f"{owner}: positions do not rise; sort them, and p and q with them")  # fmt: skip
    return gaps


@aside
def _require(holds, raw, message):
    """Raise a ValueError where a condition on values does not hold; on a GPU nothing is looked at."""
    if isinstance(raw, np.ndarray) and not holds(raw):
        raise ValueError(message)


# ---- samples on the line --------------------------------------------------------------------------------


def wasserstein_1d(x: Any, y: Any, order: float = 1, *, x_weights: Any = None, y_weights: Any = None) -> Any:
    r"""$W_r$ of (3) between two samples on the line, (n,) and (m,), with r = `order` of at least 1.

    The quantile functions are steps. With n = m and equal weights it is the mean of
    $|x_{(i)} - y_{(i)}|^r$, sorted against sorted.

    Parameters
    ----------
    x_weights, y_weights : masses of the points, positive, not necessarily summing to 1; default equal
    """
    _line("wasserstein_1d", x=x, y=y)
    _order("wasserstein_1d", order)
    mass, i, j = _matched(x, y, x_weights, y_weights)
    gap = tg.abs(tg.getitem(x, i) - tg.getitem(y, j))
    if order == 1:
        return tg.sum(mass * gap)
    return tg.power(tg.sum(mass * tg.power(gap, order)), 1 / order)


def cramer_1d(x: Any, y: Any, *, x_weights: Any = None, y_weights: Any = None) -> Any:
    r"""C of (4) between two samples on the line: $\int (F - G)^2\,dx$, half of `energy_distance` squared."""
    _line("cramer_1d", x=x, y=y)
    xp = array_module(_raw(x), _raw(y))
    every = tg.concatenate([x, y])
    order = xp.argsort(_raw(every))
    f, g = _masses(xp, x, x_weights), _masses(xp, y, y_weights)
    step = xp.concatenate([f, -g])[order]
    crossing = xp.cumsum(step)[:-1]  # F - G between neighbours
    places = tg.getitem(every, order)
    return tg.sum((crossing**2).astype(places.dtype) * (places[1:] - places[:-1]))


def _matched(x, y, x_weights, y_weights):
    """Pieces of mass, and which sorted point of each sample they belong to: the monotone plan."""
    xp = array_module(_raw(x), _raw(y))
    by_x, by_y = xp.argsort(_raw(x)), xp.argsort(_raw(y))
    if x_weights is None and y_weights is None and x.shape == y.shape:
        return 1 / x.shape[0], by_x, by_y
    f = xp.cumsum(_masses(xp, x, x_weights)[by_x])
    g = xp.cumsum(_masses(xp, y, y_weights)[by_y])
    levels = xp.sort(xp.concatenate([xp.zeros_like(f[:1]), f, g]))
    middle = (levels[1:] + levels[:-1]) / 2
    i = xp.minimum(xp.searchsorted(f, middle), x.shape[0] - 1)
    j = xp.minimum(xp.searchsorted(g, middle), y.shape[0] - 1)
    return (levels[1:] - levels[:-1]).astype(_raw(x).dtype), by_x[i], by_y[j]


def _masses(xp, x, weights):
    """Masses that sum to 1, raw float64 (n,)."""
    n = x.shape[0]
    if weights is None:
        return xp.full(n, 1 / n, dtype="float64")
    weights = xp.asarray(_raw(weights)).astype("float64")
    if weights.shape != (n,):
        raise ValueError(f"weights have shape {weights.shape}; one for each of the {n} points is wanted")
    _require(lambda w: (w >= 0).all() and w.sum() > 0, weights, "weights must not be negative, nor all zero")
    return weights / weights.sum()


# ---- samples in any dimension ---------------------------------------------------------------------------


def wasserstein(x: Any, y: Any, order: float = 1) -> Any:
    r"""$W_r$ between two samples of equal size, (n, d) each, exactly: $O(n^3)$.

    Between equal numbers of equal masses the best plan is a pairing (Birkhoff), found by
    `scipy.optimize.linear_sum_assignment` on the host; the gradient holds the pairing fixed, as it may (Danskin).
    """
    from scipy.optimize import linear_sum_assignment

    _clouds("wasserstein", x, y)
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"wasserstein: x has {x.shape[0]} points and y {y.shape[0]}; as many are wanted "
                         "(transport_plan takes any masses, sliced_wasserstein any numbers)")  # fmt: skip
    _order("wasserstein", order)
    with tg.no_grad():
        cost = to_numpy(_raw(_distances(x, y))) ** order
    pairs = asarray(linear_sum_assignment(cost)[1], device=_device(x))
    ways = tg.norm(x - tg.getitem(y, pairs), axis=-1)
    return tg.mean(ways) if order == 1 else tg.power(tg.mean(tg.power(ways, order)), 1 / order)


def sliced_wasserstein(x: Any, y: Any, projections: int = 64, *, order: float = 2, rng) -> Any:
    r"""The mean of $W_r^r$ over random directions on the sphere, to the power $1/r$: any sizes, $O(n \log n)$.

    On the line transport is sorting, so: project, sort, compare. In one dimension it is `wasserstein_1d`.

    Parameters
    ----------
    x, y : (n, d) and (m, d)
    projections : how many directions
    rng : a Generator on x's device
    """
    _clouds("sliced_wasserstein", x, y)
    _order("sliced_wasserstein", order)
    directions = rng.normal((projections, x.shape[1]), dtype=_raw(x).dtype)
    directions = directions / array_module(directions).sqrt((directions**2).sum(1, keepdims=True))
    each = []
    for direction in directions:
        mass, i, j = _matched(a := tg.matmul(x, direction), b := tg.matmul(y, direction), None, None)
        each.append(tg.sum(mass * tg.power(tg.abs(tg.getitem(a, i) - tg.getitem(b, j)), order)))
    return tg.power(tg.mean(tg.stack(each)), 1 / order)


def energy_distance(x: Any, y: Any, *, squared: bool = False) -> Any:
    r"""E of (4) between two samples, (n,) and (m,), or (n, d) and (m, d): $O(nm)$.

    The means run over all pairs, a point with itself included (the value that belongs to the two empirical laws;
    it is 0 for equal samples, and `scipy.stats.energy_distance` on the line).

    Parameters
    ----------
    squared : give $E^2$, which is smooth where E is not: as a loss, take this
    """
    x, y = (tg.expand_dims(v, 1) if len(v.shape) == 1 else v for v in (x, y))
    _clouds("energy_distance", x, y)
    square = 2 * tg.mean(_distances(x, y)) - tg.mean(_distances(x, x)) - tg.mean(_distances(y, y))
    return square if squared else tg.sqrt(tg.maximum(square, 0))  # rounding may leave it just below 0


def _distances(x, y):
    """The Euclidean distances of all pairs, (n, m)."""
    return tg.norm(tg.expand_dims(x, 1) - tg.expand_dims(y, 0), axis=-1)


# ---- Gaussians ------------------------------------------------------------------------------------------


def wasserstein_gaussian(p: Distribution, q: Distribution) -> Tensor:
    r"""$W_2$ of (5) between two Gaussian laws.

    With independent coordinates it is $\sqrt{\lVert \mu - \nu \rVert^2 + \lVert \sigma - \lambda \rVert^2}$. In
    general, with $\Lambda = M M^\top$, the trace of the inner root is $\sum_i \sqrt{w_i}$ over the eigenvalues of
    $M^\top \Sigma M$, which are those of $\Lambda^{1/2} \Sigma \Lambda^{1/2}$.

    Parameters
    ----------
    p, q : both `Normal`, or each `DiagonalNormal` or `MultivariateNormal`
    """
    if isinstance(p, Normal) and isinstance(q, Normal):
        square = tg.square(p.mean - q.mean) + tg.square(p._batch(p.scale) - q._batch(q.scale))
        return tg.sqrt(square)
    kinds = (DiagonalNormal, MultivariateNormal)
    if not isinstance(p, kinds) or not isinstance(q, kinds):
        raise TypeError(f"wasserstein_gaussian: p and q are {type(p).__name__} and {type(q).__name__}; two Normal laws "
                        "are wanted, or each a DiagonalNormal or a MultivariateNormal")  # fmt: skip
    if p.event_shape != q.event_shape:
        raise ValueError(f"wasserstein_gaussian: p has event_shape {p.event_shape} and q {q.event_shape}; the same "
                         "is wanted")  # fmt: skip
    shift = tg.sum(tg.square(p.mean - q.mean), -1)
    if isinstance(p, DiagonalNormal) and isinstance(q, DiagonalNormal):
        return tg.sqrt(shift + tg.sum(tg.square(tg.sqrt(p.variance) - tg.sqrt(q.variance)), -1))
    factor = q.scale_tril if isinstance(q, MultivariateNormal) else tg.diag(tg.sqrt(q.variance))
    roots = tg.sqrt(tg.maximum(tg.linalg.eigh(factor.mT @ p.covariance @ factor)[0], 0.0))
    spread = tg.sum(p.variance, -1) + tg.sum(q.variance, -1) - 2 * tg.sum(roots, -1)
    return tg.sqrt(shift + tg.maximum(spread, 0.0))


# ---- checks ---------------------------------------------------------------------------------------------


def _raw(x):
    return x._data if isinstance(x, Tensor) else x


def _device(x):
    return x.device if isinstance(x, Tensor) else device_of(x)


def _laws(owner, p, q, axis):
    """Two probability vectors, or stacks of them, looked at on the host."""
    p, q = (v if isinstance(v, Tensor) or is_array(v) else np.asarray(v, dtype="float64") for v in (p, q))
    for name, law in (("p", p), ("q", q)):
        raw = _raw(law)
        if raw.ndim == 0 or raw.dtype.kind != "f":
            raise ValueError(f"{owner}: {name} is {raw.dtype} {raw.shape}; floating probability vectors are wanted")
        SIMPLEX.check(owner, name, array_module(raw).moveaxis(raw, axis, -1))
    if p.shape[axis] != q.shape[axis]:
        raise ValueError(f"{owner}: p has shape {p.shape} and q {q.shape}; as many outcomes along axis {axis} "
                         "are wanted")  # fmt: skip
    return p, q


def _line(owner, **samples):
    """Samples on the line: one axis, not empty, of floating numbers."""
    for name, x in samples.items():
        if len(x.shape) != 1 or not x.shape[0]:
            raise ValueError(f"{owner}: {name} has shape {tuple(x.shape)}; a sample on the line, (n,), is wanted "
                             "(sliced_wasserstein and energy_distance take (n, d))")  # fmt: skip
        _floating(owner, name, x)


def _clouds(owner, x, y):
    """Samples in the same space, not empty, of floating numbers."""
    if len(x.shape) != 2 or len(y.shape) != 2 or x.shape[1] != y.shape[1] or not math.prod((*x.shape, *y.shape)):
        raise ValueError(f"{owner}: x has shape {tuple(x.shape)} and y {tuple(y.shape)}; samples (n, d) and (m, d) of "
                         "one dimension are wanted")  # fmt: skip
    _floating(owner, "x", x)
    _floating(owner, "y", y)


def _floating(owner, name, x):
    """Refuse integers, whose differences wrap around and whose masses round to 0."""
    if x.dtype.kind != "f":
        raise ValueError(f"{owner}: {name} is {x.dtype}; floating numbers are wanted (x.astype(float))")


def _order(owner, order):
    """Refuse an order that makes no metric, NaN among them."""
    if not 1 <= order < math.inf:
        raise ValueError(f"{owner}: order is {order}; at least 1 is wanted, and finite")

r"""The quadratic difference between a histogram of samples and the true law (S2 ex. 4.2.1, figs. 4.4 to 4.11).

Where the density of the data is known, one may simply look: divide the plane into bins $B_1, \dots, B_m$, count how
many of $n$ samples fall into each, $N_b$, and compare with what the law would send there, $n p_b$ with $p_b = P(X \in
B_b)$. S2 measures "a quadratic difference between the amount of samples inside each bin and the expected value in the
bin's interior", and gives no formula. Per sample, so that the number of samples does not set the scale, this is

$$ Q = \sum_{b=1}^m \left( \frac{N_b}{n} - p_b \right)^2. \tag{1} $$

Samples beyond the edges are in no bin, and are missed in the others.

**What perfect samples score.** Not 0: $N_b$ is then binomial, so that

$$ \mathbb E\, Q = \frac1n \sum_b p_b (1 - p_b), \tag{2} $$

the floor that S2's curves reach. It falls as $1/n$: two curves compare only with as many samples and the same bins. For
samples from another law, with $q_b$ in place of $p_b$, the two errors add up,

$$ \mathbb E\, Q = \sum_b (q_b - p_b)^2 + \frac1n \sum_b q_b (1 - q_b). \tag{3} $$

Bins too small make the second term, bins too large hide the first.

**The mass of a bin** $[l_1, h_1] \times [l_2, h_2]$ under a Gaussian with mean $\mu$ and covariance $\Sigma$ is an
integral of one variable: given $x_1$, $x_2$ is Gaussian with mean $m(x_1) = \mu_2 + \Sigma_{12} (x_1 - \mu_1) /
\Sigma_{11}$ and variance $s^2 = \Sigma_{22} - \Sigma_{12}^2 / \Sigma_{11}$, so

$$ p_b = \int_{l_1}^{h_1} \mathcal N(x_1; \mu_1, \Sigma_{11}) \left[
   \Phi\!\left( \frac{h_2 - m(x_1)}{s} \right) - \Phi\!\left( \frac{l_2 - m(x_1)}{s} \right) \right] dx_1, \tag{4} $$

here by Gauss and Legendre's rule in each bin, with bins cut finer where the Gaussian is narrow. A mixture's mass is
the weighted sum of its components'. The density at a bin's centre, times its area, would do for large Gaussians, and
fails for those that are narrower than a bin.

Notation
--------
$N_b / n$ : `frequencies`, (m_1, m_2)
$p_b, q_b$ : `probabilities`, (m_1, m_2)
$l, h$ : neighbours in `edges`, a pair of rising arrays (m_1 + 1,), (m_2 + 1,)
$\mu, \Sigma$ : `mean`, (2,), and `covariance`, (2, 2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from tinygen.metrics.common import points

Edges = Sequence[np.ndarray]


def square_edges(low: float, high: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges of n x n equal bins of a square."""
    if not (low < high and n >= 1):
        raise ValueError(f"square_edges: low is {low}, high {high} and n {n}; low < high and at least 1 are wanted")
    ticks = np.linspace(low, high, n + 1)
    return ticks, ticks


def frequencies(samples, edges: Edges) -> np.ndarray:
    """The share $N_b / n$ of the samples (n, 2) in each bin: (m_1, m_2).

    A sample on an inner edge belongs to the bin above it; one that is not finite is in none.
    """
    edges = _edges("frequencies", edges)
    samples = points("frequencies", "samples", samples, 2, finite=False)
    finite = samples[np.isfinite(samples).all(1)]
    return np.histogram2d(finite[:, 0], finite[:, 1], edges)[0] / len(samples)


def quadratic_difference(samples, probabilities, edges: Edges) -> float:
    """(1): samples (n, 2) against the probabilities (m_1, m_2) of the bins between the edges.

    Examples
    --------
    >>> import numpy as np
    >>> edges = square_edges(0, 2, 2)
    >>> quadratic_difference(np.array([[0.5, 0.5], [0.5, 1.5]]), np.full((2, 2), 0.25), edges)
    0.25
    """
    probabilities = _probabilities("quadratic_difference", probabilities, edges)
    return float(np.square(frequencies(samples, edges) - probabilities).sum())


def expected_difference(probabilities, n: int, true=None) -> float:
    r"""(2), what (1) is on average for n samples that have these probabilities of the bins; (3) if others are true.

    Parameters
    ----------
    probabilities : $q_b$, of the law that the samples come from
    true : $p_b$, of the law that they are compared with; by default the same
    """
    q = np.asarray(probabilities, np.float64)
    bias = 0.0 if true is None else np.square(q - true).sum()
    return float(bias + (q * (1 - q)).sum() / n)


# ---- masses of bins -------------------------------------------------------------------------------------


def gaussian_probabilities(mean, covariance, edges: Edges, *, nodes: int = 16) -> np.ndarray:
    """(4): the mass of each bin under a Gaussian of the plane: (2,), (2, 2) to (m_1, m_2).

    Parameters
    ----------
    nodes : of the quadrature, in each piece of a bin; a piece is at most one (conditional) standard deviation wide
    """
    x_edges, y_edges = _edges("gaussian_probabilities", edges)
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    wrong = mean.shape != (2,) or covariance.shape != (2, 2) or not np.isclose(covariance[0, 1], covariance[1, 0])
    if wrong or not (covariance[0, 0] > 0 and np.linalg.det(covariance) > 0):
        raise ValueError(f"gaussian_probabilities: mean is {mean} and covariance {covariance.tolist()}; two numbers "
                         "and a positive definite matrix are wanted")  # fmt: skip
    x, weights, bins = _nodes(x_edges, mean, covariance, nodes)  # (q,) each
    slope = covariance[0, 1] / covariance[0, 0]
    s = np.sqrt(covariance[1, 1] - slope * covariance[0, 1])
    m = mean[1] + slope * (x - mean[0])
    z = (x - mean[0]) / np.sqrt(covariance[0, 0])
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi * covariance[0, 0])
    inner = np.diff(ndtr((y_edges - m[:, None]) / s), axis=1)  # (q, m_2)
    masses = np.zeros((len(x_edges) - 1, len(y_edges) - 1))
    np.add.at(masses, bins, (weights * density)[:, None] * inner)
    return masses


def mixture_probabilities(mixture: Any, edges: Edges, *, nodes: int = 16) -> np.ndarray:
    r"""$p_b = \sum_k \pi_k p_b^{(k)}$, the mass of each bin under a `data.Mixture` of the plane: (m_1, m_2)."""
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return sum(w * gaussian_probabilities(mean, covariance, edges, nodes=nodes) for w, mean, covariance in parts)


def _nodes(x_edges, mean, covariance, nodes):
    """Places and weights of a rule on each piece of each bin, and the number of the bin."""
    slope, width = covariance[0, 1] / covariance[0, 0], np.sqrt(covariance[0, 0])
    s = np.sqrt(covariance[1, 1] - slope * covariance[0, 1])
    if abs(slope) * width > s:  # the integrand changes over a standard deviation of x_1, and over what moves m by s
        width = s / abs(slope)
    reach = mean[0] + 12 * np.sqrt(covariance[0, 0]) * np.array([-1.0, 1.0])  # beyond, there is less than rounding
    t, w = np.polynomial.legendre.leggauss(nodes)
    places, weights, bins = [], [], []
    for b, (low, high) in enumerate(zip(x_edges[:-1], x_edges[1:], strict=True)):
        low, high = np.clip([low, high], *reach)
        if low < high:
            cuts = np.linspace(low, high, int(np.ceil((high - low) / width)) + 1)
            half = np.diff(cuts) / 2
            places.append((cuts[:-1] + half)[:, None] + half[:, None] * t)
            weights.append(half[:, None] * w)
            bins.append(np.full(len(half) * nodes, b))
    if not bins:
        return np.zeros(0), np.zeros(0), np.zeros(0, int)
    return *(np.concatenate([a.ravel() for a in part]) for part in (places, weights)), np.concatenate(bins)


# ---- checks ---------------------------------------------------------------------------------------------


def _edges(owner, edges):
    """Two rising arrays, as float64."""
    x, y = (np.asarray(e, np.float64) for e in edges) if len(edges) == 2 else (np.zeros(0), np.zeros(0))
    for e in (x, y):
        if e.ndim != 1 or len(e) < 2 or not (np.diff(e) > 0).all():
            raise ValueError(f"{owner}: edges must be two arrays that rise, of two numbers at least, got {edges}")
    return x, y


def _probabilities(owner, probabilities, edges):
    """One for each bin, as float64; they need not sum to 1, since the bins need not hold everything."""
    wanted = tuple(len(e) - 1 for e in _edges(owner, edges))
    p = np.asarray(probabilities, np.float64)
    if p.shape != wanted or not (p >= 0).all() or p.sum() > 1 + 1e-6:
        raise ValueError(f"{owner}: probabilities have shape {p.shape} and sum {p.sum():.6g}; {wanted}, none below 0, "
                         "and at most 1 in all are wanted")  # fmt: skip
    return p

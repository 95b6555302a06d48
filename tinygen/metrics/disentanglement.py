r"""Does each code entry stand for one property of the picture? Two scores, for pictures whose properties are known.

The pictures are drawn from *factors* $v = (v_1, \dots, v_J)$ (place, size, turn), which nobody shows to the model. Its
code is $z \in \mathbb R^d$. A code is disentangled if every factor can be read off one entry of its own.

**What stays the same?** (Higgins et al. 2017). Choose a factor $j$ and draw $L$ pairs of pictures that agree in $v_j$
and in nothing else. In a disentangled code the entry of this factor agrees too. With $z^{(l)}, z'^{(l)}$ the codes of
pair $l$,

$$ \bar\Delta = \frac1L \sum_{l=1}^{L} \left| z^{(l)} - z'^{(l)} \right| \in \mathbb R^d \tag{1} $$

(entry by entry) is small there, and a *linear* classifier that is shown many $\bar\Delta$ with their $j$ can tell $j$
for new ones. The score is its share of right answers,

$$ S = \frac1N \# \{ i : c(\bar\Delta_i) = j_i \}. \tag{2} $$

Chance gives $1/J$. A linear classifier may weigh several entries together, so that a code that mixes two factors
can still score well, and most scores are near 1.

**How much does one entry know, and how much the next?** (Chen et al. 2018). The mutual information of entry $k$ and
factor $j$,

$$ I(z_k; v_j) = \sum_{a, b} p(a, b) \log \frac{p(a, b)}{p(a)\, p(b)}, \tag{3} $$

with $a$ and $b$ the numbers of the bins into which $z_k$ and $v_j$ fall, each bin with as many pictures as any other,
is at most the entropy $H(v_j)$. The *mutual information gap* is the lead of the best entry over the second best,

$$ \mathrm{MIG} = \frac1J \sum_{j=1}^{J} \frac{I(z_{(1)}; v_j) - I(z_{(2)}; v_j)}{H(v_j)}, \tag{4} $$

with $z_{(1)}, z_{(2)}$ the two entries that know most about $v_j$. It is 1 if each factor can be read off exactly one
entry, and 0 if two entries share it alike, or if none knows it. What the code has to *say* counts here as well, beside
how it says it. For $z$ one takes a draw from the encoder rather than its mean, which would be blind to noise.

**Is it in a line?** Where entry $k$ is *meant* to stand for factor $j$, the squared correlation

$$ R^2_{kj} = \frac{\mathrm{Cov}(z_k, v_j)^2}{\mathrm{Var}(z_k)\, \mathrm{Var}(v_j)}, \tag{5} $$

the share of $v_j$'s variance that a straight line through $z_k$ explains, should be 1 for its own factor and 0 for the
others.

From $n$ pictures and $B$ bins, (3) comes out about $(B - 1)^2 / 2n$ too large for an entry that knows nothing of the
factor, and less so the more it knows: with few pictures the gap (4) is too small.

Notation
--------
$z, z'$ : `z`, `z_prime`, (N, L, d) in (1); elsewhere `z`, (n, d)
$v$ : `factors`, (n, J)
$\bar\Delta, j$ : `delta`, (N, d); `j`, (N,), integers from 0
$I(z_k; v_j), H(v_j)$ : `information[k, j]`, (d, J); `entropies[j]`, (J,), in nats
$a, b$ : `bins(...)`, (n,)
$R^2_{kj}$ : what `squared_correlations` gives, (d, J)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygen.metrics.common import points

#: from examples (N, d) and classes (N,), a function that gives the classes of others
Learner = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


def mean_difference(z, z_prime) -> np.ndarray:
    r"""(1): $\frac1L \sum_l |z^{(l)} - z'^{(l)}|$, of codes (N, L, d) and (N, L, d): (N, d)."""
    z, z_prime = np.asarray(z), np.asarray(z_prime)
    if z.ndim != 3 or z.shape != z_prime.shape or not z.size:
        raise ValueError(f"mean_difference: the codes are {z.shape} and {z_prime.shape}; (N, L, d) twice is wanted")
    return np.abs(z - z_prime).mean(1)


def factor_score(delta, j, new_delta, new_j, learner: Learner) -> float:
    r"""(2): how often the factor that pairs share is told from their $\bar\Delta$, from 0 to 1.

    Parameters
    ----------
    delta, j : (N, d), (N,), what the classifier learns from
    new_delta, new_j : (M, d), (M,), what it is asked about
    learner : makes a linear classifier; entries come to it with mean 0 and spread 1, which leaves it linear
    """
    delta, (j, new_j) = points("factor_score", "delta", delta), map(np.asarray, (j, new_j))
    new_delta = points("factor_score", "new_delta", new_delta, delta.shape[1])
    for name, labels, rows in (("j", j, delta), ("new_j", new_j, new_delta)):
        if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(f"factor_score: {name} is {labels.dtype} {labels.shape}; {len(rows)} integers are wanted")
    middle, spread = delta.mean(0), np.maximum(delta.std(0), 1e-12)
    classify = learner((delta - middle) / spread, j)
    return float(np.mean(classify((new_delta - middle) / spread) == new_j))


def mutual_information(z, factors, *, n_bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(3) for all entries and factors, and the factors' entropies, in nats: (n, d), (n, J) to (d, J), (J,)."""
    z, factors = points("mutual_information", "z", z), points("mutual_information", "factors", factors)
    if len(z) != len(factors):
        raise ValueError(f"mutual_information: {len(z)} codes and {len(factors)} rows of factors; as many are wanted")
    a = [bins(column, n_bins) for column in z.T]
    b = [bins(column, n_bins) for column in factors.T]
    information = np.array([[_information(row, column, n_bins) for column in b] for row in a])
    return information, np.array([_information(column, column, n_bins) for column in b])  # H(v) = I(v; v)


def information_gap(information, entropies) -> np.ndarray:
    r"""The terms of (4): what the best entry is ahead, for each factor; (d, J), (J,) to (J,). Their mean is the MIG.

    Examples
    --------
    >>> information_gap(np.array([[2.0, 0.5], [0.0, 0.5], [0.5, 0.0]]), np.array([2.0, 1.0])).tolist()
    [0.75, 0.0]
    """
    information, entropies = np.asarray(information), np.asarray(entropies)
    if information.ndim != 2 or len(information) < 2 or entropies.shape != information.shape[1:]:
        raise ValueError(f"information_gap: information has shape {information.shape} and entropies {entropies.shape}; "
                         "(d, J) with d of 2 at least and (J,) are wanted")  # fmt: skip
    if not (entropies > 0).all():
        raise ValueError(f"information_gap: an entropy is {entropies.min()}; numbers above 0 are wanted (of a factor "
                         "that does not change there is nothing to know)")  # fmt: skip
    second, first = np.sort(information, axis=0)[-2:]
    return (first - second) / entropies


def bins(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Numbers (n,) as integers from 0: of as many bins, each with the same share; of fewer values, one for each."""
    different, number = np.unique(values, return_inverse=True)
    if len(different) <= n_bins:
        return number
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _information(a: np.ndarray, b: np.ndarray, n_bins: int) -> float:
    """(3) of two columns of bins."""
    joint = np.bincount(a * n_bins + b, minlength=n_bins**2).reshape(n_bins, n_bins) / len(a)
    independent = joint.sum(1, keepdims=True) * joint.sum(0)
    there = joint > 0
    return float(np.sum(joint[there] * np.log(joint[there] / independent[there])))


def squared_correlations(z, factors) -> np.ndarray:
    r"""(5): $R^2_{kj}$ of entry $k$ and factor $j$; (n, d), (n, J) to (d, J). An entry that does not change has 0.

    Examples
    --------
    >>> squared_correlations([[0.0, 1], [1, 1], [2, 1]], [[3.0], [2], [1]]).round(9).tolist()
    [[1.0], [0.0]]
    """
    z, factors = points("squared_correlations", "z", z), points("squared_correlations", "factors", factors)
    if len(z) != len(factors):
        raise ValueError(f"squared_correlations: {len(z)} codes and {len(factors)} rows of factors; as many are wanted")
    # the mean of equal numbers is rounded, so what does not change is told by its range
    a, b = (np.where(np.ptp(v, 0) > 0, v - v.mean(0), 0.0) for v in (z, factors))
    products = np.sqrt(np.outer(np.sum(a * a, 0), np.sum(b * b, 0)))
    return np.square(a.T @ b / np.where(products > 0, products, 1))

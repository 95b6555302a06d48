r"""Has a generator found all the places where the data lie? Counting modes, where they are known.

On a mixture of narrow Gaussians with centres $\mu_1, \dots, \mu_K$ and standard deviations $\sigma_k$ (the ring of Metz
et al. 2017, "Unrolled GANs"; the grid of Srivastava et al. 2017, "VEEGAN") two numbers tell mode collapse from poor
samples. Each sample $x_i$ belongs to its nearest centre, in that centre's standard deviations, and is *of high quality*
if it is within $r$ of them:

$$ k_i = \arg\min_k \frac{\lVert x_i - \mu_k \rVert}{\sigma_k}, \qquad
   d_i = \min_k \frac{\lVert x_i - \mu_k \rVert}{\sigma_k} \le r. \tag{1} $$

With $n_k$ of these samples at mode $k$, a mode is covered if $n_k \ge m$. The two numbers are

$$ \text{modes} = \#\{ k : n_k \ge m \}, \qquad \text{high quality} = \frac1n \sum_k n_k. \tag{2} $$

The usual convention, VEEGAN's, is $r = 3$ and $m = 1$, out of 2500 samples: one good sample will do. It forgives much,
so that a generator of thin threads from mode to mode has them all; a larger $m$ is stricter, say a tenth of the
$n / K$ samples that a mode should have.

**What data score.** Not 1: in $d$ dimensions a Gaussian has within $r$ standard deviations of its centre the mass

$$ P(\chi^2_d \le r^2), \tag{3} $$

which is 0.9889 in the plane for $r = 3$. A generator that is above this has narrower modes than the data.

**How evenly?** Covering says nothing about shares. With $q_k = n_k / \sum_l n_l$ and the data's weights $\pi_k$
(equal, where nothing else is said),

$$ \mathrm{KL}(q \,\|\, \pi) = \sum_k q_k \log \frac{q_k}{\pi_k}, \tag{4} $$

from 0, all in proportion, to $\log K$, all of $K$ equal modes' samples on one.

Notation
--------
$x$ : `samples`, (n, d)
$\mu$ : `centres`, (k, d)
$\sigma$ : `std`, a number or (k,)
$r$ : `radius`
$m$ : `at_least`
$n_k$ : `counts`, (k,)
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from tinygen.metrics.common import points
from tinygen.probability import divergences


def nearest_mode(samples, centres, std) -> tuple[np.ndarray, np.ndarray]:
    """(1): the nearest centre of each sample, and how many of its standard deviations away it is: (n,) and (n,)."""
    centres = points("nearest_mode", "centres", centres)
    samples = points("nearest_mode", "samples", samples, centres.shape[1], finite=False)
    std = np.asarray(std, np.float64)
    if std.shape not in ((), (len(centres),)) or not (std > 0).all():
        raise ValueError(f"nearest_mode: std is {std}; a positive number is wanted, or one for each of the "
                         f"{len(centres)} centres")  # fmt: skip
    distances = cdist(samples, centres) / std  # (n, k)
    nearest = distances.argmin(1)
    return nearest, distances[np.arange(len(samples)), nearest]


def mode_histogram(samples, centres, std, *, radius: float = 3.0) -> np.ndarray:
    """How many samples of high quality belong to each mode, $n_k$: (k,) int64.

    A sample that is not finite is of low quality.
    """
    nearest, distances = nearest_mode(samples, centres, std)
    return np.bincount(nearest[distances <= radius], minlength=len(centres))


def modes_covered(samples, centres, std, *, radius: float = 3.0, at_least: int = 1) -> tuple[int, float]:
    r"""(2): the number of modes covered, and the share of samples that are of high quality.

    Parameters
    ----------
    samples : (n, d); one that is not finite is of low quality
    centres : (k, d)
    std : the standard deviation along an axis, of all modes or of each, (k,)
    radius : $r$, how many standard deviations a sample of high quality may be from its centre
    at_least : $m$, how many samples of high quality cover a mode

    Examples
    --------
    >>> import numpy as np
    >>> modes_covered(np.array([[0.0, 0.1], [0.1, 0.0], [5.0, 0.4]]), np.array([[0.0, 0.0], [5.0, 0.0]]), 0.1)
    (1, 0.6666666666666666)
    """
    if at_least < 1:
        raise ValueError(f"modes_covered: at_least is {at_least!r}; at least one sample is wanted for a mode")
    counts = mode_histogram(samples, centres, std, radius=radius)
    return int(np.sum(counts >= at_least)), float(counts.sum() / len(samples))


def expected_quality(d: int, *, radius: float = 3.0) -> float:
    r"""(3): the share of high quality among samples of the data themselves, $P(\chi^2_d \le r^2)$.

    For round modes that are far apart. To be compared with `modes_covered(...)[1]`.
    """
    return float(chi2.cdf(radius**2, d))


def mode_kl(counts, weights=None) -> float:
    r"""(4): $\mathrm{KL}(q \| \pi)$ in nats, from the histogram (k,); infinite if it is empty.

    Parameters
    ----------
    weights : $\pi$, (k,) with sum 1; equal if not given
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not counts.size or not (counts >= 0).all():
        raise ValueError(f"mode_kl: counts are {counts}; a number for each mode, none below 0, is wanted")
    weights = np.full(counts.shape, 1 / len(counts)) if weights is None else np.asarray(weights, np.float64)
    return float(divergences.kl(counts / counts.sum(), weights)) if counts.any() else float("inf")

r"""The Parzen window: smooth a generator's samples into a density, and see how likely it finds the test data.

A GAN gives samples but no likelihood. Goodfellow et al. (2014) put a Gaussian of width $h$ on each of $n$ samples $s_i$
(S4's kernel estimate, in $d$ dimensions) and report the mean of

$$ \log \hat p_h(x) = \log \frac1n \sum_{i=1}^n \exp\left( -\frac{\lVert x - s_i \rVert^2}{2 h^2} \right)
   - \frac d2 \log (2 \pi h^2) \tag{1} $$

over test points, in nats, in log space throughout. The width is the one that is best on a validation set of its own,

$$ h = \arg\max_h \sum_{x \in \mathrm{valid}} \log \hat p_h(x), \tag{2} $$

since on the test set it would be fitted to what it is judged by.

**A poor score** (Theis, van den Oord and Bethge 2016). In many dimensions it takes astronomically many samples before
$\hat p_h$ is near the density they come from; with those that one can have, it measures something else. It ranks
models otherwise than their likelihood does; centres of clusters, which nobody would call samples, score above the
training data; and of a standard normal law in 100 dimensions samples shrunk towards the mean score above true ones
(the tests show it). It is here because the papers print it. Where a model has a likelihood or a bound, take that;
otherwise look at several scores.

Notation
--------
$s$ : `samples`, (n, d)
$x$ : `x`, (m, d)
$h$ : `bandwidth`, in the data's unit
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from tinygen.metrics.common import points, squared_distances

#: those that papers try on pixels in [0, 1]
BANDWIDTHS = tuple(float(h) for h in np.geomspace(0.05, 1.0, 14))


class ParzenScore(NamedTuple):
    """The mean of (1) over test points, its standard error, and the bandwidth that (2) found."""

    mean: float
    error: float
    bandwidth: float


def parzen_log_density(x, samples, bandwidth: float, *, chunk: int = 256) -> np.ndarray:
    r"""(1): $\log \hat p_h$ at points (m, ...) from samples (n, ...): (m,), in nats.

    Parameters
    ----------
    chunk : how many points are compared with all samples at once; no more memory than for so many distances is used
    """
    return _log_densities(x, samples, [bandwidth], chunk)[0]


def choose_bandwidth(validation, samples, bandwidths: Sequence[float] = BANDWIDTHS, *,
                     chunk: int = 256) -> tuple[float, np.ndarray]:  # fmt: skip
    """(2): the best of the bandwidths on validation points (m, ...), and the mean of (1) for each."""
    means = _log_densities(validation, samples, bandwidths, chunk).mean(1)
    return float(bandwidths[int(means.argmax())]), means


def parzen_score(test, validation, samples, bandwidths: Sequence[float] = BANDWIDTHS, *,
                 chunk: int = 256) -> ParzenScore:  # fmt: skip
    """The score of samples (n, ...) on test points (m, ...), with the bandwidth that fits validation points best."""
    h, _ = choose_bandwidth(validation, samples, bandwidths, chunk=chunk)
    log_p = parzen_log_density(test, samples, h, chunk=chunk)
    return ParzenScore(float(log_p.mean()), float(log_p.std() / math.sqrt(len(log_p))), h)


def _log_densities(x, samples, bandwidths, chunk):
    """(1) for several bandwidths at once, which share the distances: (bandwidths, m)."""
    samples = points("parzen", "samples", samples)
    x = points("parzen", "x", x, samples.shape[1])
    h = np.asarray(bandwidths, np.float64)
    if h.ndim != 1 or not h.size or not (h > 0).all():
        raise ValueError(f"parzen: the bandwidths are {bandwidths}; positive numbers are wanted")
    n, d = samples.shape
    found = np.empty((len(h), len(x)))
    for i in range(0, len(x), chunk):
        squares = squared_distances(x[i : i + chunk], samples)  # (chunk, n)
        for k, width in enumerate(h):
            found[k, i : i + chunk] = logsumexp(-squares / (2 * width**2), axis=1)
    return found - math.log(n) - d / 2 * np.log(2 * np.pi * h**2)[:, None]

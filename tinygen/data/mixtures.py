r"""Points in the plane whose density is known, so that what a model has learnt can be measured exactly.

A Gaussian mixture (S2 eq. 4.20) is

$$ p(x) = \sum_{k=1}^K \pi_k \, \mathcal{N}(x \mid \mu_k, \Sigma_k), \tag{1} $$
$$ \log \mathcal{N}(x \mid \mu, \Sigma) = -\tfrac12 \lVert L^{-1} (x - \mu) \rVert^2 - \log \det L
   - \tfrac d2 \log 2\pi, \qquad \Sigma = L L^\top. \tag{2} $$

| name   | what                                                                                         |
|--------|----------------------------------------------------------------------------------------------|
| gmm4   | the thesis's four Gaussians, overlapping (S2 eqs. 5.6-5.8)                                   |
| ring8  | eight narrow ones on a circle of radius 2, std 0.02 (Metz et al. 2017)                       |
| grid25 | 5 × 5 narrow ones, 2 apart, std 0.05 (Srivastava et al. 2017)                                |

and, without a closed density, two half moons (`moons`) and a rolled-up plane in space (`swiss_roll`).

Notation
--------
$\pi$ : `weights`, (k,)
$\mu$ : `means`, (k, d)
$\Sigma$ : `covariances`, (k, d, d)
$L$ : `factors`, (k, d, d), lower triangular
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from tinygen.backend.random import Generator


class Mixture:
    """A Gaussian mixture, equation (1), with everything about it known.

    Parameters
    ----------
    weights : (k,), positive, with sum 1
    means : (k, d)
    covariances : (k, d, d), symmetric and positive definite

    Attributes
    ----------
    modes : float64 (k, d), the means
    std : float64 (k,), the square root of the mean variance of each component along the axes

    Examples
    --------
    >>> ring = mixture("ring8")
    >>> x = ring.sample(1000, Generator(0))
    >>> x.shape, len(set(ring.nearest(x)[0].tolist()))
    ((1000, 2), 8)
    """

    def __init__(self, weights, means, covariances):
        self.weights, self.means, self.covariances = (np.asarray(a, np.float64) for a in (weights, means, covariances))
        k, d = self.means.shape if self.means.ndim == 2 else (-1, -1)
        if self.weights.shape != (k,) or self.covariances.shape != (k, d, d):
            raise ValueError(f"Mixture: weights {self.weights.shape}, means {self.means.shape} and covariances "
                             f"{self.covariances.shape} do not fit; wanted (k,), (k, d) and (k, d, d)")  # fmt: skip
        if not (self.weights > 0).all() or abs(self.weights.sum() - 1) > 1e-9:
            raise ValueError(f"Mixture: weights are {weights}; wanted positive numbers with sum 1")
        if not np.isfinite(self.means).all() or not _symmetric(self.covariances):
            raise ValueError("Mixture: finite means and symmetric covariances are wanted")
        try:
            self.factors = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError as error:
            raise ValueError("Mixture: covariances must be positive definite") from error

    @property
    def modes(self) -> np.ndarray:
        return self.means

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.trace(self.covariances, axis1=1, axis2=2) / self.means.shape[1])

    def sample(self, n: int, rng: Generator, *, dtype: str = "float32") -> np.ndarray:
        """Draw n points: (n, d)."""
        return self.sample_labelled(n, rng, dtype=dtype)[0]

    def sample_labelled(self, n: int, rng: Generator, *, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
        """Draw n points and the numbers of their components: (n, d) and (n,) int64."""
        labels = rng.categorical(probabilities=self.weights, shape=n)
        z = rng.normal((n, self.means.shape[1]), dtype="float64")
        x = self.means[labels] + np.einsum("nij,nj->ni", self.factors[labels], z)
        return x.astype(dtype), labels

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        r"""$\log \pi_k \mathcal{N}(x \mid \mu_k, \Sigma_k)$ of each point and component, by (2): (n, k) float64."""
        log_det = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(1)  # (k,)
        constant = np.log(self.weights) - log_det - 0.5 * self.means.shape[1] * math.log(2 * math.pi)
        return constant - 0.5 * self._distances(x) ** 2

    def log_density(self, x: np.ndarray) -> np.ndarray:
        r"""$\log p(x)$, equation (1): (n,) float64."""
        return logsumexp(self.log_joint(x), axis=1)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each point's nearest mode and how many standard deviations away it is (Mahalanobis): (n,) and (n,)."""
        distances = self._distances(x)
        nearest = distances.argmin(1)
        return nearest, distances[np.arange(len(distances)), nearest]

    def _distances(self, x: np.ndarray) -> np.ndarray:
        r"""$\lVert L_k^{-1} (x - \mu_k) \rVert$: (n, k)."""
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(f"Mixture: x has shape {x.shape}; wanted (n, {self.means.shape[1]})")
        whitened = [solve_triangular(f, (x - m).T, lower=True) for f, m in zip(self.factors, self.means, strict=True)]
        return np.stack([np.sqrt((w**2).sum(0)) for w in whitened], axis=1)


def _symmetric(matrices: np.ndarray) -> bool:
    """Whether finite and symmetric, up to rounding."""
    if not np.isfinite(matrices).all():
        return False
    return bool(np.abs(matrices - matrices.swapaxes(-1, -2)).max() <= 1e-6 * np.abs(matrices).max())


def gmm4() -> Mixture:
    """The mixture of S2 eqs. 5.6 (covariances), 5.7 (means) and 5.8 (weights)."""
    covariances = [[[3, 0], [0, 1]], [[2, -1 / 2], [-1 / 2, 1]], [[3 / 2, 1], [1, 2]], [[2, -1], [-1, 3 / 2]]]
    return Mixture([0.4, 0.2, 0.2, 0.2], [[0, 0], [0, 3], [-3, -3], [3, -3]], covariances)


def ring(n_modes: int = 8, *, radius: float = 2.0, std: float = 0.02) -> Mixture:
    """Equal round Gaussians, evenly on a circle around the origin; the first lies on the positive x axis."""
    angle = 2 * np.pi * np.arange(n_modes) / n_modes
    return _round(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), std)


def grid(side: int = 5, *, spacing: float = 2.0, std: float = 0.05) -> Mixture:
    """Equal round Gaussians on a square grid of side × side around the origin."""
    ticks = spacing * (np.arange(side) - (side - 1) / 2)
    return _round(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2), std)


def _round(means: np.ndarray, std: float) -> Mixture:
    k = len(means)
    return Mixture(np.full(k, 1 / k), means, np.broadcast_to(std**2 * np.eye(2), (k, 2, 2)))


MIXTURES: dict[str, Callable[[], Mixture]] = {"gmm4": gmm4, "ring8": ring, "grid25": grid}


def mixture(name: str) -> Mixture:
    """A mixture by name: "gmm4", "ring8" or "grid25"."""
    if name not in MIXTURES:
        raise ValueError(f"mixture: none is called {name!r}; there are {', '.join(sorted(MIXTURES))}")
    return MIXTURES[name]()


def moons(n: int, rng: Generator, *, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles that reach into each other: points (n, 2) float32, and which half (n,) int64."""
    label = rng.integers(0, 2, n)
    angle = np.pi * rng.uniform(n, dtype="float64")
    x = np.where(label, 1 - np.cos(angle), np.cos(angle))
    y = np.where(label, 0.5 - np.sin(angle), np.sin(angle))
    return (np.stack([x, y], 1) + rng.normal((n, 2), std=noise, dtype="float64")).astype(np.float32), label


def swiss_roll(n: int, rng: Generator, *, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    r"""A plane rolled up in space: points (n, 3) float32, and the position along the roll and across it (n, 2).

    $x = (t \cos t,\; s,\; t \sin t)$ with $t$ from $1.5 \pi$ to $4.5 \pi$ and $s$ from 0 to 21.
    """
    u = rng.uniform((n, 2), dtype="float64")
    t, s = 1.5 * np.pi * (1 + 2 * u[:, 0]), 21 * u[:, 1]
    x = np.stack([t * np.cos(t), s, t * np.sin(t)], axis=1) + rng.normal((n, 3), std=noise, dtype="float64")
    return x.astype(np.float32), np.stack([t, s], axis=1).astype(np.float32)

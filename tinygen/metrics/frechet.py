r"""The Fréchet distance between two sets of features (FID; Heusel et al. 2017, S3 part 3).

A classifier's last hidden layer $\phi$ says what an image shows in a few numbers. Take the features of real images and
of generated ones, describe each cloud by its mean and covariance, and ask how far apart two Gaussians with these are:

$$ \mathrm{FID} = \lVert \mu_x - \mu_g \rVert^2
   + \operatorname{tr}\bigl( \Sigma_x + \Sigma_g - 2 (\Sigma_x \Sigma_g)^{1/2} \bigr). \tag{1} $$

It is the square of Wasserstein's $W_2$ between them (`probability.divergences.wasserstein_gaussian`), so it is 0 if
and only if mean and covariance agree. Unlike the inception score it looks at real images, and needs no classes.

**The root.** $\Sigma_x \Sigma_g$ is not symmetric, and a general matrix root of it (`scipy.linalg.sqrtm`) is slow and,
where the matrices are singular, as with fewer samples than features, inexact and often complex. But only its trace is
wanted. With any factors $\Sigma_x = A A^\top$, $\Sigma_g = B B^\top$ the eigenvalues of $\Sigma_x \Sigma_g = A (A^\top
B B^\top)$ other than 0 are those of $(A^\top B)(A^\top B)^\top$, so the root's trace is the sum of the singular values
of $A^\top B$,

$$ \operatorname{tr} (\Sigma_x \Sigma_g)^{1/2} = \sum_i \sigma_i(A^\top B) = \lVert A^\top B \rVert_*. \tag{2} $$

Singular values are found to full accuracy relative to the largest, whatever the rank; the roots of eigenvalues, which
square the condition number, lose half the digits. The factor is from the symmetric eigenvalue problem,
$\Sigma = V \Lambda V^\top$,

$$ A = V \Lambda^{1/2}, \tag{3} $$

with eigenvalues that are 0 but for rounding taken as 0, so that the rank is kept.

**Mean and covariance in one pass.** Features need not be in memory all at once: of parts with $n_a$ and $n_b$ rows the
sums of squares $M = \sum_i (f_i - \mu)(f_i - \mu)^\top$ join exactly, with $\delta = \mu_b - \mu_a$, as

$$ \mu = \mu_a + \frac{n_b}{n_a + n_b} \delta, \qquad
   M = M_a + M_b + \frac{n_a n_b}{n_a + n_b} \delta \delta^\top, \qquad \Sigma = \frac{M}{n - 1}. \tag{4} $$

(The difference of $\frac1n \sum f f^\top$ and $\mu \mu^\top$ is the same in exact arithmetic, and cancels in any
other.)

**What it does not see.** Whatever is not in mean and covariance: two clouds may differ and have FID 0. And it is too
high for few samples, by about the same for all models at equal $n$: compare only at equal $n$, with the same features,
and with the distance between two sets of real images beside. On raw pixels it says how alike two Gaussians fitted to
images are, which a Gaussian fitted to the images passes without fault; features are there to see that its samples are
fog.

Notation
--------
$\mu, \Sigma$ : `mean`, `covariance`, of `Moments`
$A, B$ : `factor` of one and of the other
$M$ : `squares`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from tinygen.data import in_order
from tinygen.metrics.common import points


class Moments:
    """Mean and covariance of rows that come in parts, by (4).

    Attributes
    ----------
    n : how many rows there were
    mean : (d,) float64
    squares : the sum of squares around the mean, (d, d)

    Examples
    --------
    >>> import numpy as np
    >>> moments = Moments().add(np.array([[0.0, 0.0], [2.0, 0.0]])).add(np.array([[4.0, 3.0]]))
    >>> moments.n, moments.mean.tolist(), moments.covariance.tolist()
    (3, [2.0, 1.0], [[4.0, 3.0], [3.0, 3.0]])
    """

    def __init__(self):
        self.n, self.mean, self.squares = 0, np.zeros(0), np.zeros((0, 0))

    @classmethod
    def of(cls, x: Any, features: Callable[[Any], Any] | None = None, *, batch_size: int = 1000) -> Self:
        """Those of an array (n, ...): of its rows, or of the features (n, d) that a function has for them."""
        moments = cls()
        for part in in_order(x, batch_size):
            moments.add(part if features is None else features(part))
        return moments

    def add(self, rows) -> Self:
        """More rows, (b, d)."""
        rows = points("Moments.add", "rows", rows, len(self.mean) if self.n else None)
        n, mean = len(rows), rows.mean(0)
        around = rows - mean
        if not self.n:
            self.n, self.mean, self.squares = n, mean, around.T @ around
            return self
        delta, total = mean - self.mean, self.n + n
        self.squares = self.squares + around.T @ around + np.outer(delta, delta) * (self.n * n / total)
        self.mean = self.mean + delta * (n / total)
        self.n = total
        return self

    @property
    def covariance(self) -> np.ndarray:
        r"""$\Sigma$ of (4), unbiased: (d, d)."""
        if self.n < 2:
            raise ValueError(f"Moments: a covariance wants at least two rows, and there were {self.n}")
        return self.squares / (self.n - 1)


def factor(covariance) -> np.ndarray:
    r"""(3): $A = V \Lambda^{1/2}$ with $A A^\top = \Sigma$, for a covariance (d, d) of any rank."""
    values, vectors = np.linalg.eigh(covariance)
    zero = len(values) * np.finfo(values.dtype).eps * np.abs(values).max()  # as far as the problem is solved
    return vectors * np.sqrt(np.where(values > zero, values, 0.0))


def trace_of_root(covariance_x, covariance_g) -> float:
    r"""(2): $\operatorname{tr} (\Sigma_x \Sigma_g)^{1/2}$."""
    return float(np.linalg.svd(factor(covariance_x).T @ factor(covariance_g), compute_uv=False).sum())


def gaussian_distance(mean_x, covariance_x, mean_g, covariance_g) -> float:
    """(1), between two Gaussians: means (d,), covariances (d, d)."""
    mean_x, covariance_x, mean_g, covariance_g = (
        np.asarray(a, np.float64) for a in (mean_x, covariance_x, mean_g, covariance_g)
    )
    d = mean_x.size
    if not mean_x.shape == mean_g.shape == (d,) or not covariance_x.shape == covariance_g.shape == (d, d):
        shapes = ", ".join(str(a.shape) for a in (mean_x, mean_g, covariance_x, covariance_g))
        raise ValueError(f"gaussian_distance: the means and covariances are {shapes}; twice (d,) and (d, d) are wanted")
    for name, mean, covariance in (("x", mean_x, covariance_x), ("g", mean_g, covariance_g)):
        if not np.isfinite(mean).all() or not _is_covariance(covariance):
            raise ValueError(f"gaussian_distance: mean_{name} is not finite, or covariance_{name} no covariance; "
                             "finite means and symmetric matrices, of diagonals of at least 0, are wanted")  # fmt: skip
    spread = np.trace(covariance_x) + np.trace(covariance_g) - 2 * trace_of_root(covariance_x, covariance_g)
    return float(np.square(mean_x - mean_g).sum() + max(spread, 0.0))  # rounding may leave it just below 0


def _is_covariance(matrix: np.ndarray) -> bool:
    """Whether finite and symmetric, with nothing negative on the diagonal, up to rounding."""
    if not np.isfinite(matrix).all():
        return False
    slack = 1e-6 * np.abs(matrix).max()
    return bool(np.abs(matrix - matrix.T).max() <= slack and np.diagonal(matrix).min() >= -slack)


def frechet_distance(x, g, features: Callable[[Any], Any] | None = None, *, batch_size: int = 1000) -> float:
    """(1), between real samples x and generated ones g, (n, ...) and (m, ...); each may be `Moments` already.

    Parameters
    ----------
    features : a function from some samples (b, ...) to their features (b, d); None takes the numbers as they are
    batch_size : how many samples the function gets at a time
    """
    parts = [a if isinstance(a, Moments) else Moments.of(a, features, batch_size=batch_size) for a in (x, g)]
    return gaussian_distance(*(moment for m in parts for moment in (m.mean, m.covariance)))

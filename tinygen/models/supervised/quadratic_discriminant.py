r"""Quadratic discriminant analysis: a Gaussian for each class (S4, supervised setting).

The inputs of class $k$ are a cloud with a middle $\mu_k$, and a width and tilt $\Sigma_k$ of its own:

$$ \log p(x|k) = -\frac12 (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) - \frac12 \log \det \Sigma_k
   - \frac d2 \log 2\pi. \tag{1} $$

Each cloud is estimated by itself (`generative`, eq. 3), from the $N_k$ examples of its class, by maximum likelihood:

$$ \hat\mu_k = \frac{1}{N_k} \sum_{i: y_i = k} x_i, \qquad
   \hat\Sigma_k = \frac{1}{N_k} \sum_{i: y_i = k} (x_i - \hat\mu_k)(x_i - \hat\mu_k)^\top. \tag{2} $$

The border between two classes is where $\pi_k\, p(x|k)$ is the same for both. Its logarithm is a quadratic form of $x$
(hence the name), so borders are ellipses, parabolas, hyperbolas, or lines where the covariances agree: with

$$ A = \tfrac12 (\Sigma_1^{-1} - \Sigma_0^{-1}), \quad b = \Sigma_0^{-1} \mu_0 - \Sigma_1^{-1} \mu_1, \quad
   \log \frac{p(0|x)}{p(1|x)} = x^\top A x + b^\top x + c. \tag{3} $$

**Too many numbers.** There are $d(d+1)/2$ in each covariance, and only examples of one class to learn them from. With
$N_k \le d$ it is singular, with few more it is bad: its small eigenvalues come out much too small, and their inverses
rule. A remedy is to make it rounder,

$$ \Sigma_k \leftarrow (1 - s) \hat\Sigma_k + s\, \frac{\operatorname{tr} \hat\Sigma_k}{d} I, \qquad 0 \le s \le 1.
   \tag{4} $$

The trace, the sum of all variances, stays. $s$ is best chosen by trying examples that were held back.

Another remedy is to let the classes share one covariance (`linear_discriminant`), or to have none between features
(`naive_bayes`).

Notation
--------
$\mu_k$ : `means`, (m, d)
$\hat\Sigma_k$ : `scatter` / `count`, (m, d, d)
$s$ : `shrinkage`
$P_k$ : `P`, (m, d, d), with $P_k^\top P_k = \Sigma_k^{-1}$, from a Cholesky factor: no covariance is inverted
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.generative import GenerativeClassifier, shrunk

# ---- the equations --------------------------------------------------------------------------------------


def log_gaussians(x, means, P):
    r"""(1): $\log p(x|k)$; (n, d), (m, d), (m, d, d) to (n, m)."""
    found = []
    for mu, factor in zip(means, P, strict=True):
        z = tg.matmul(x - mu, tg.transpose(factor))  # (n, d), of unit covariance in class k
        found.append(tg.sum(tg.log(tg.diagonal(factor))) - tg.sum(tg.square(z), 1) / 2)
    return tg.stack(found, 1) - x.shape[1] / 2 * math.log(2 * math.pi)


def covariances(count, scatter):
    r"""(2), right: $\hat\Sigma_k$ from sums over the class; (m,), (m, d, d) to (m, d, d)."""
    return scatter / count[:, None, None]


def border(pi, means, covariances) -> tuple[Any, Any, Any]:
    r"""(3): $A$, $b$ and $c$ of the border between two classes; (2,), (2, d), (2, d, d) to (d, d), (d,), ()."""
    inverse_0, inverse_1 = tg.linalg.inv(covariances)
    (mu_0, mu_1), (log_det_0, log_det_1) = means, tg.linalg.slogdet(covariances)[1]
    A, b = (inverse_1 - inverse_0) / 2, tg.matmul(inverse_0, mu_0) - tg.matmul(inverse_1, mu_1)
    middle = tg.sum(mu_1 * tg.matmul(inverse_1, mu_1)) - tg.sum(mu_0 * tg.matmul(inverse_0, mu_0))
    return A, b, (middle + log_det_1 - log_det_0) / 2 + tg.log(pi[0] / pi[1])


# ---- the model ------------------------------------------------------------------------------------------


class QuadraticDiscriminantAnalysis(GenerativeClassifier):
    r"""A classifier with a Gaussian for each class.

    Parameters
    ----------
    n_features, n_classes : $d$ and $m$
    shrinkage : $s$ of (4), which is `generative.shrunk`
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Examples
    --------
    >>> import numpy as np
    >>> from tinygen.runs import Run
    >>> x, y = np.array([[0.0], [0.2], [-0.2], [3.0], [9.0], [-3.0]]), np.array([0, 0, 0, 1, 1, 1])
    >>> model = QuadraticDiscriminantAnalysis(1, 2).fit(x, y, run=Run(quiet=True))
    >>> model.predict(np.array([[-5.0], [0.1], [5.0]]))  # the wide class lies on both sides of the narrow one
    array([1, 0, 1])
    """

    scatter: tg.Tensor

    def __init__(self, n_features: int, n_classes: int, *, shrinkage: float = 0.0, rng: Generator | None = None):
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"QuadraticDiscriminantAnalysis: shrinkage is {shrinkage!r}; 0 to 1 is wanted")
        super().__init__(n_features, n_classes, rng=rng)
        self.shrinkage = shrinkage
        self._add_buffers(scatter=(n_classes, n_features, n_features))

    def update(self, x, y) -> dict:
        """(2): take in some more examples; how many there are now."""
        grown = self.take_in(x, y, full=True)
        self.scatter.assign(self.scatter.data + backend.array_module(x).stack(grown))
        return {"examples": self.count.data.sum()}

    def covariances(self):
        """(2) and (4), (m, d, d), a raw array."""
        return shrunk(covariances(self.count.data, self.scatter.data), self.shrinkage)

    def class_laws(self) -> Callable[[Any], Any]:
        """(1)."""
        self.log_priors()  # says so, if there is nothing yet
        means, P = self.means.data, self.factors(self.covariances(), [f"of class {k}" for k in range(self.n_classes)])
        return lambda x: log_gaussians(x, means, P)

    def draw(self, y, rng: Generator):
        """A round draw, given the covariance and mean of its class."""
        z = rng.normal((len(y), self.n_features), dtype="float64")
        L = tg.linalg.cholesky(self.covariances())
        return self.means.data[y] + tg.einsum("nij,nj->ni", L[y], z)

r"""Linear discriminant analysis, and Fisher's projection (S4, supervised setting; S1, latent spaces of faces).

(Not latent Dirichlet allocation, which goes by the same three letters.)

All classes are Gaussian clouds of one shape, $\Sigma$, in different places:

$$ \log p(x|k) = -\frac12 (x - \mu_k)^\top \Sigma^{-1} (x - \mu_k) - \frac12 \log \det 2\pi\Sigma. \tag{1} $$

Now $x^\top \Sigma^{-1} x$ is the same for all classes and cancels in Bayes' rule. What is left is linear in $x$:

$$ p(k|x) = \frac{e^{\delta_k(x)}}{\sum_j e^{\delta_j(x)}}, \qquad
   \delta_k(x) = \mu_k^\top \Sigma^{-1} x - \tfrac12 \mu_k^\top \Sigma^{-1} \mu_k + \log \pi_k. \tag{2} $$

This is softmax regression, with the templates $\Sigma^{-1} \mu_k$. But softmax regression chooses templates that
make the labels likely; here they come from means and a covariance, without iteration. If the clouds are Gaussian,
this needs fewer examples; if not, softmax regression wins in the end.

Maximum likelihood pools what is around the means of all classes,

$$ \hat\Sigma = \frac{S_W}{n}, \qquad
   S_W = \sum_{k=1}^{m} \sum_{i: y_i = k} (x_i - \hat\mu_k)(x_i - \hat\mu_k)^\top. \tag{3} $$

**Fisher's projection** asks another question, without a word of Gaussians: along which direction $w$ do the classes
stand apart most? With $\bar x$ the mean of all, the scatter *between* the classes and the ratio to make large are

$$ S_B = \sum_{k=1}^{m} N_k (\hat\mu_k - \bar x)(\hat\mu_k - \bar x)^\top, \qquad
   J(w) = \frac{w^\top S_B w}{w^\top S_W w}. \tag{4} $$

$J$ is stationary where $S_B w = \lambda S_W w$, and then $J(w) = \lambda$. In coordinates in which $\hat\Sigma$ is
round, these are the principal axes of the means. With $\hat\Sigma = L L^\top$, and $U$ the leading eigenvectors,

$$ L^{-1} S_B L^{-\top} U = n\, U \operatorname{diag}(\lambda), \qquad W = L^{-\top} U, \qquad z = W^\top (x - \bar x).
   \tag{5} $$

$m$ means lie in a plane of $m - 1$ dimensions, so there are no more directions than that: three classes are seen
at their best in a plane, whatever $d$ is. Taken together, the classes have unit covariance there, and the means have
the mean square $\lambda$ along an axis. For two classes there is one direction (up to its length),

$$ w \propto \hat\Sigma^{-1} (\hat\mu_1 - \hat\mu_0). \tag{6} $$

**The two are one.** In the full projection, (2) says: the nearest mean wins, but for the priors,

$$ \delta_k(x) = -\tfrac12 \lVert z - z_k \rVert^2 + \log \pi_k + \text{what no } k \text{ enters}. \tag{7} $$

All directions but $m - 1$ are noise to the answer. Principal components, which do not know the labels, keep the
directions of large variance, which may say nothing of the class (S1: of faces, the illumination).

Notation
--------
$\mu_k, \bar x$ : `means`, (m, d), and `middle`, (d,)
$S_W, S_B$ : `scatter` and `between`, (d, d)
$\Sigma$ : `covariance`; if `shrinkage` is not 0, made rounder as in `quadratic_discriminant`, its eq. 4
$L^{-1}$ : `P`
$W, \lambda$ : `directions`, (d, c), and `ratios`, (c,)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.generative import GenerativeClassifier, shrunk
from tinygen.nn import functional as F

# ---- the equations --------------------------------------------------------------------------------------


def log_gaussians_of_one_shape(x, means, P):
    r"""(1): $\log p(x|k)$; (n, d), (m, d), (d, d) to (n, m)."""
    z, z_k = tg.matmul(x, tg.transpose(P)), tg.matmul(means, tg.transpose(P))  # (n, d), (m, d)
    same = tg.sum(tg.log(tg.diagonal(P))) - len(P) / 2 * math.log(2 * math.pi) - tg.sum(tg.square(z), 1) / 2  # (n,)
    return same[:, None] + tg.matmul(z, tg.transpose(z_k)) - tg.sum(tg.square(z_k), 1) / 2


def discriminants(x, means, covariance, log_pi):
    r"""(2), right: $\delta_k(x)$; (n, d), (m, d), (d, d), (m,) to (n, m)."""
    templates = tg.linalg.solve(covariance, tg.transpose(means))  # (d, m)
    return tg.matmul(x, templates) - tg.sum(tg.transpose(means) * templates, 0) / 2 + log_pi


def pooled(scatter, count):
    r"""(3), left: $\hat\Sigma$; (d, d), (m,) to (d, d)."""
    return scatter / count.sum()


def between(count, means):
    r"""(4), left: $S_B$; (m,), (m, d) to (d, d)."""
    away = means - tg.matmul(count, means) / count.sum()
    return tg.matmul(tg.transpose(away) * count, away)


def ratio(w, between, within):
    r"""(4), right: $J(w)$; (d,), (d, d), (d, d) to ()."""
    return tg.sum(w * tg.matmul(between, w)) / tg.sum(w * tg.matmul(within, w))


def fisher(between, covariance, n: float, n_directions: int) -> tuple[Any, Any]:
    r"""(5): $W$ and $\lambda$, the largest first; (d, d), (d, d) to (d, c), (c,)."""
    L = tg.linalg.cholesky(covariance)
    half = tg.linalg.solve_triangular(L, between)
    values, vectors = tg.linalg.eigh(tg.linalg.solve_triangular(L, tg.transpose(half)))
    U, xp = vectors[:, ::-1][:, :n_directions], backend.array_module(vectors)
    largest = xp.take_along_axis(U, abs(U).argmax(0)[None], 0)  # an eigenvector has no sign: this entry is positive
    W = tg.linalg.solve_triangular(L, U * xp.sign(largest), transposed=True)
    return W, values[::-1][:n_directions] / n


def direction_of_two(means, covariance):
    r"""(6): $\hat\Sigma^{-1} (\hat\mu_1 - \hat\mu_0)$; (2, d), (d, d) to (d,)."""
    return tg.linalg.solve(covariance, means[1] - means[0])


def nearest_means(z, z_k, log_pi):
    r"""(7): $-\frac12 \lVert z - z_k \rVert^2 + \log \pi_k$; (n, c), (m, c), (m,) to (n, m)."""
    return log_pi - tg.sum(tg.square(z[:, None] - z_k), 2) / 2


# ---- the model ------------------------------------------------------------------------------------------


class LinearDiscriminantAnalysis(GenerativeClassifier):
    r"""A classifier with Gaussians of one covariance, and the projection in which they stand apart.

    Parameters
    ----------
    n_features, n_classes : $d$ and $m$
    shrinkage : 0 to 1, how much rounder the covariance is made
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> x, y = np.array([[0.0, 0], [1, 1], [0, 2], [1, 3], [4, 2], [5, 1]]), np.array([0, 0, 1, 1, 2, 2])
    >>> model = LinearDiscriminantAnalysis(2, 3).fit(x, y, run=Run(quiet=True))
    >>> model.predict(x), model.transform(x).shape
    (array([0, 0, 1, 1, 2, 2]), (6, 2))
    """

    scatter: tg.Tensor

    def __init__(self, n_features: int, n_classes: int, *, shrinkage: float = 0.0, rng: Generator | None = None):
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"LinearDiscriminantAnalysis: shrinkage is {shrinkage!r}; 0 to 1 is wanted")
        super().__init__(n_features, n_classes, rng=rng)
        self.shrinkage = shrinkage
        self._add_buffers(scatter=(n_features, n_features))

    def update(self, x, y) -> dict:
        """(3): take in some more examples; how many there are now."""
        self.scatter.assign(self.scatter.data + sum(self.take_in(x, y, full=True)))
        return {"examples": self.count.data.sum()}

    def covariance(self):
        r"""$\hat\Sigma$ of (3), made rounder; (d, d), a raw array."""
        self.log_priors()  # says so, if there is nothing yet
        return shrunk(pooled(self.scatter.data, self.count.data), self.shrinkage)

    def class_laws(self) -> Callable[[Any], Any]:
        """(1)."""
        means, P = self.means.data, self.factors(self.covariance()[None], ["that all classes share"])[0]
        middle = means.mean(0)  # far from the origin, products would cost digits
        return lambda x: log_gaussians_of_one_shape(x - middle, means - middle, P)

    def predict_log_proba(self, x: np.ndarray) -> np.ndarray:
        """(2): the log-probability of each class, without what is the same for all; (n, d) to (n, m)."""
        log_pi, means, covariance = self.log_priors(), self.means.data, self.covariance()
        middle = means.mean(0)
        return self._in_parts(
            lambda part: F.log_softmax(discriminants(part - middle, means - middle, covariance, log_pi), 1), x
        )

    def draw(self, y, rng: Generator):
        """A round draw, given the covariance and the mean of its class."""
        L = tg.linalg.cholesky(self.covariance())
        return self.means.data[y] + tg.matmul(rng.normal((len(y), self.n_features), dtype="float64"), L.T)

    def fisher(self, n_directions: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        r"""(5): directions (d, c) and their $J$, (c,); as many as there are by default, $\min(m - 1, d)$."""
        most = min(self.n_classes - 1, self.n_features)
        c = most if n_directions is None else n_directions
        if not 1 <= c <= most:
            raise ValueError(f"LinearDiscriminantAnalysis: n_directions is {c}; 1 to {most} are wanted, since the "
                             f"{self.n_classes} means span no more")  # fmt: skip
        n = float(self.count.data.sum())
        W, J = fisher(between(self.count.data, self.means.data), self.covariance(), n, c)
        return backend.to_numpy(W), backend.to_numpy(J)

    def transform(self, x: np.ndarray, n_directions: int | None = None) -> np.ndarray:
        r"""(5): $z = W^\top (x - \bar x)$; (n, d) to (n, c)."""
        W, _ = self.fisher(n_directions)
        count, means = backend.to_numpy(self.count.data), self.means.numpy()
        return (self.checked(x).numpy() - count @ means / count.sum()) @ W

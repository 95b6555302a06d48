r"""Linear factor models: independent causes, mixed by a matrix (S2 eqs. 2.38–2.40).

A generator turns randomness that we have, $H \sim p_H$, into data that we want, $X = g(H)$ (S2 eq. 2.38). The simplest
generator mixes and shifts,

$$ X = W H + b, \tag{1} $$

the *factors* $H_1, \dots, H_m$ being independent of each other (S2 eqs. 2.39–2.40):

$$ p_H(h) = \prod_{i=1}^{m} p(h_i). \tag{2} $$

Everything that two coordinates of $X$ have in common comes from $W$. Means and covariances see no more of the factors
than their means $\mathbb E H_i$ and variances $v_i$:

$$ \mathbb E X = W\, \mathbb E H + b, \qquad \mathrm{Cov}\, X = W \operatorname{diag}(v)\, W^\top. \tag{3} $$

**Any Gaussian.** Let the factors be standard normal. Sums of independent normal numbers are normal, so (3) says which
normal law $X$ has: $\mathcal N(b, W W^\top)$. To draw from $\mathcal N(\mu, \Sigma)$, then, take $b = \mu$ and any
square root of the covariance (S2's example),

$$ W W^\top = \Sigma. \tag{4} $$

S2 takes Cholesky's, which is lower triangular: the first coordinate is made of the first factor, the second of the
first two, and so on. With $\Sigma = V \Lambda V^\top$, its eigenvectors and eigenvalues, two others are the symmetric
one, $V \Lambda^{1/2} V^\top$, and the principal one, $V \Lambda^{1/2}$, whose factors are the principal components
(`pca`). All are $W R$ for each other's $W$ with some rotation $R$ (or one and a reflection), and the data cannot tell
them apart: a standard normal vector that is rotated is standard normal. Cholesky's algorithm divides by what is left
of each variance, and so needs a $\Sigma$ that is positive definite; the eigenvectors do not.

**Other factors.** With factors that are not normal, $W$ shows. If it is square and invertible, change the variables
(S2 eq. 2.42, the determinant of a linear map being the same everywhere):

$$ \log p(x) = \sum_{i=1}^{m} \log p(h_i) - \log |\det W|, \qquad h = W^{-1}(x - b). \tag{5} $$

Along the columns of $W$ a cloud made of Laplace factors has arms, and one made of uniform factors has edges. A rotation
moves them. The rest of this family of chapters says what to do if $W$ is not given: with Gaussian factors it can be
found up to a rotation (`pca`, `probabilistic_pca`, `factor_analysis`), with sparse ones, of Laplace's kind, without
such doubt (`sparse_coding`).

Notation
--------
$W, b$ : `weight`, (d, m); `bias`, (d,)
$p(h_i)$ : `factors`, a law of `tinygen.probability` whose draws have shape (m,) or ()
$\mu, \Sigma$ : `mean`, (d,); `covariance`, (d, d)
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.model import require_finite
from tinygen.probability import Distribution

ROOTS = ("cholesky", "symmetric", "principal")

# ---- the equations --------------------------------------------------------------------------------------


def generate(h, weight, bias):
    """(1): $W h + b$ for each row; (n, m), (d, m), (d,) to (n, d)."""
    return tg.matmul(h, tg.transpose(weight)) + bias


def log_prior(h, factors: Distribution):
    r"""(2): $\sum_i \log p(h_i)$; (n, m) to (n,)."""
    return tg.sum(factors.log_prob(h), 1)


def moments(weight, bias, mean, variance) -> tuple[Any, Any]:
    r"""(3): $\mathbb E X$ and $\mathrm{Cov}\, X$ from those of the factors, (m,) each; to (d,), (d, d)."""
    return tg.matmul(weight, mean) + bias, tg.matmul(weight * variance, tg.transpose(weight))


def root(covariance, kind: str = "cholesky"):
    r"""(4): a $W$ with $W W^\top = \Sigma$: "cholesky", "symmetric" or "principal"; (d, d) to (d, d)."""
    if kind == "cholesky":
        return tg.linalg.cholesky(covariance)
    values, vectors = tg.linalg.eigh(covariance)
    scaled = vectors * tg.sqrt(tg.maximum(values, 0.0))
    return scaled if kind == "principal" else tg.matmul(scaled, tg.transpose(vectors))


def log_density(x, weight, bias, factors: Distribution):
    r"""(5): $\log p(x)$ for a square $W$; (n, d) to (n,)."""
    h = tg.transpose(tg.linalg.solve(weight, tg.transpose(x - bias)))  # (n, m)
    return log_prior(h, factors) - tg.linalg.slogdet(weight)[1]


# ---- the model ------------------------------------------------------------------------------------------


class LinearFactorModel:
    r"""A linear factor model whose parameters are given.

    Parameters
    ----------
    weight, bias : $W$, (d, m), and $b$, (d,)
    factors : the law of one factor, such as `tinygen.probability.Laplace(0.0, 1.0)`, or of m different ones

    Examples
    --------
    >>> model = gaussian([1.0, 2.0], [[4.0, 2.0], [2.0, 3.0]])
    >>> model.weight
    array([[2.        , 0.        ],
           [1.        , 1.41421356]])
    >>> model.sample(3, rng=Generator(0)).shape
    (3, 2)
    """

    def __init__(self, weight, bias, factors: Distribution):
        self.weight, self.bias = backend.asarray(weight, "float64"), backend.asarray(bias, "float64")
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"LinearFactorModel: weight {self.weight.shape} and bias {self.bias.shape}; (d, m) and "
                             "(d,) are wanted")  # fmt: skip
        if tuple(factors.batch_shape) not in ((), self.weight.shape[1:]) or factors.event_shape != ():
            raise ValueError(f"LinearFactorModel: factors of shape {factors.batch_shape}; one law, or one for each of "
                             f"the {self.weight.shape[1]} columns of weight, is wanted")  # fmt: skip
        require_finite("LinearFactorModel: weight", self.weight)
        require_finite("LinearFactorModel: bias", self.bias)
        self.factors = factors

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """(1): draw the factors one by one, and mix them; (n, d)."""
        return generate(self.sample_factors(n, rng=rng), self.weight, self.bias)

    def sample_factors(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """(2): H itself; (n, m)."""
        shape = (n,) if self.factors.batch_shape else (n, self.weight.shape[1])
        return self.factors.sample(shape, rng=Generator() if rng is None else rng).numpy()

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(5): $\log p(x)$, in nats; (n, d) to (n,)."""
        if self.weight.shape[0] != self.weight.shape[1] or not np.linalg.matrix_rank(self.weight) == len(self.weight):
            raise ValueError(f"LinearFactorModel.score_samples: weight {self.weight.shape} is not invertible, so x has "
                             "no density by (5); a square matrix of full rank is wanted")  # fmt: skip
        x = backend.asarray(x, "float64")
        if x.ndim != 2 or x.shape[1] != len(self.bias):
            raise ValueError(f"LinearFactorModel: x has shape {x.shape}; rows of {len(self.bias)} features are wanted")
        return log_density(x, self.weight, self.bias, self.factors).numpy()


def gaussian(mean, covariance, *, kind: str = "cholesky") -> LinearFactorModel:
    r"""$\mathcal N(\mu, \Sigma)$ as a linear factor model by (4), with the root that `kind` names.

    Raises ValueError where $\Sigma$ is not symmetric, has a negative eigenvalue, or, for "cholesky", an eigenvalue 0.
    """
    mean, sigma = np.asarray(mean, float), np.asarray(covariance, float)
    if kind not in ROOTS or mean.ndim != 1 or sigma.shape != 2 * mean.shape:
        raise ValueError(f"gaussian: mean {mean.shape}, covariance {sigma.shape} and kind {kind!r}; (d,), (d, d) and "
                         f"one of {', '.join(ROOTS)} are wanted")  # fmt: skip
    require_finite("gaussian: covariance", sigma)
    units = np.sqrt(np.maximum(np.diagonal(sigma), 0))
    units = np.where(units > 0, units, units.max(initial=0) or 1)  # whose choice makes nothing singular
    correlation, least = sigma / units / units[:, None], 1e-12 * len(mean)
    values = np.linalg.eigvalsh(correlation)
    if not np.allclose(correlation, correlation.T, rtol=1e-10, atol=least) or values[0] < -least:
        raise ValueError("gaussian: covariance is not symmetric, or has a negative eigenvalue (the least is "
                         f"{values[0]:.3g}); a covariance matrix is wanted")  # fmt: skip
    if kind == "cholesky" and values[0] <= least:
        raise ValueError("gaussian: covariance is singular (a coordinate is constant, or a sum of others); a positive "
                         'definite one is wanted for Cholesky: give kind="principal"')  # fmt: skip
    standard = tg.probability.Normal(np.array(0.0), np.array(1.0))  # of arrays, so that draws are float64
    return LinearFactorModel(root(sigma, kind), mean, standard)

r"""Probabilistic PCA: a plane with noise around it, as a density (Tipping and Bishop 1999).

PCA finds the plane nearest to the data, and says nothing about how likely a new example is. Make it a model instead: a
linear factor model (`linear_factor`) with $k$ standard normal factors, plus noise that is alike in all directions,

$$ x = W z + \mu + \varepsilon, \qquad z \sim \mathcal N(0, I_k), \quad \varepsilon \sim \mathcal N(0, \Psi), \quad
   \Psi = \sigma^2 I. \tag{1} $$

The noise fills what the plane leaves empty. Sums of normal numbers are normal, so

$$ p(x) = \mathcal N(\mu, C), \qquad C = W W^\top + \Psi, \tag{2} $$

a Gaussian with $dk + 1$ numbers for its shape ($k (k - 1) / 2$ of which only turn $z$), where a free one has $d (d +
1) / 2$. All that follows is written for a diagonal $\Psi$, since `factor_analysis` uses it with a variance for each
feature.

**What was z?** Given $x$, it is normal again. Complete the square in $\log p(x|z) + \log p(z)$:

$$ p(z|x) = \mathcal N(m, G), \qquad m = G W^\top \Psi^{-1} (x - \mu), \qquad
   G = (I_k + W^\top \Psi^{-1} W)^{-1}. \tag{3} $$

The mean $m$ lies nearer to 0 than the projection onto the plane would, the more so, the noisier the data. As
$\sigma \to 0$ it becomes the projection, and PCA is the limit.

**The density** needs neither the inverse nor the determinant of a $d \times d$ matrix. The joint density is the
posterior times $p(x)$, and at $z = m$ the posterior is $(2\pi)^{-k/2} |G|^{-1/2}$. So

$$ -2 \log p(x) = \lVert \Psi^{-1/2} (x - \mu - W m) \rVert^2 + \lVert m \rVert^2
   + \sum_{j=1}^d \log \psi_j - \log |G| + d \log 2\pi. \tag{4} $$

It reads: what the plane misses, how far along the plane, and volumes. PCA cannot see the second: along its plane
everything is equally well rebuilt.

**EM.** Had we seen the $z_i$, (1) would be a linear regression of $x$ on $z$. By (3) we know their means $m_i$ and
covariance $G$, so that the E step (`em`) hands on these averages, over the examples and what $z$ may have been, with
bars for means over the examples:

$$ \bar x, \quad \bar m, \quad
   S_{xz} = \tfrac1n \sum_i (x_i - \bar x) (m_i - \bar m)^\top, \quad
   S_{zz} = G + \tfrac1n \sum_i (m_i - \bar m) (m_i - \bar m)^\top, \quad
   S_{jj} = \tfrac1n \sum_i (x_{ij} - \bar x_j)^2. \tag{5} $$

The M step is the regression (as in `supervised.linear_regression`, the constant being $\mu$),

$$ W = S_{xz} S_{zz}^{-1}, \qquad \mu = \bar x - W \bar m, \tag{6} $$

and the noise is what it leaves over,

$$ r_j = S_{jj} - (W S_{xz}^\top)_{jj}, \qquad \sigma^2 = \frac1d \sum_{j=1}^d r_j. \tag{7} $$

Both maximise the expected complete log-likelihood, for any $W, \mu, \Psi$

$$ Q = -\frac n2 \sum_{j=1}^d \left( \log 2\pi\psi_j + \frac{e_j}{\psi_j} \right)
   - \frac n2 \left( k \log 2\pi + \operatorname{tr} S_{zz} + \lVert \bar m \rVert^2 \right), \tag{8} $$
$$ e_j = S_{jj} - 2 (W S_{xz}^\top)_{jj} + (W S_{zz} W^\top)_{jj} + (\bar x - \mu - W \bar m)_j^2. \tag{9} $$

All of (5) comes from $\sum_i (x_i - \bar x)(x_i - \bar x)^\top$, of which `pca` keeps a triangle $R$: after one
look at the data, an iteration costs $d^2 k$ at most, however many examples there are.

**At once.** EM is not needed here (it is in `factor_analysis`). With $\lambda_1 \ge \lambda_2 \ge \dots$ and $v_j$ the
eigenvalues and eigenvectors of the covariance with $1/n$, the likelihood is largest (Tipping and Bishop) at

$$ \mu = \bar x, \qquad \sigma^2 = \frac{1}{d - k} \sum_{j > k} \lambda_j, \qquad
   W = (v_1, \dots, v_k)\, \mathrm{diag}(\lambda_1 - \sigma^2, \dots, \lambda_k - \sigma^2)^{1/2}: \tag{10} $$

the columns of $W$ span PCA's plane, and the noise is the mean variance outside. Its other stationary points take other
eigenvectors, or fewer, and are saddles. So EM ends at (10) from almost every start, but for a rotation of $z$, which
(2) cannot see. If the examples lie in a plane of $k$ dimensions exactly, $\sigma^2$ is 0, $C$ singular, and the
likelihood infinite: this is refused.

Notation
--------
$x_i, \mu$ : `x`, (n, d); `mean`, (d,)
$W$ : `loadings`, (d, k)
$\psi_1, \dots, \psi_d$ : `psi`, (d,), the diagonal of $\Psi$
$m_i, G$ : `m`, (n, k); `G`, (k, k); in the code $B = G W^\top \Psi^{-1}$ is `B`, (k, d)
$\bar x, \bar m, S_{xz}, S_{zz}, S_{jj}$ : `Averages`
$r_j, e_j$ : `left`, `misses`, (d,)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.latent.em import EM, Posterior
from tinygen.models.latent.pca import Condensed, checked_rows, condensed, principal

LOG_2PI = math.log(2 * math.pi)

# ---- the equations --------------------------------------------------------------------------------------


class Averages(NamedTuple):
    r"""(5): $n$, $\bar x$ (d,), $\bar m$ (k,), $S_{xz}$ (d, k), $S_{zz}$ (k, k) and the $S_{jj}$ (d,)."""

    n: int
    x: Any
    m: Any
    xz: Any
    zz: Any
    xx: Any


def covariance(loadings, psi):
    r"""(2): $C = W W^\top + \Psi$; (d, k), (d,) to (d, d)."""
    return tg.matmul(loadings, tg.transpose(loadings)) + tg.diag(psi)


def posterior(loadings, psi) -> tuple[Any, Any]:
    r"""(3): $B = G W^\top \Psi^{-1}$, with which $m = B (x - \mu)$, and $G$; to (k, d), (k, k)."""
    weighted = tg.transpose(loadings) / psi  # (k, d)
    xp = backend.array_module(psi)
    G = tg.linalg.inv(xp.eye(len(weighted), dtype=psi.dtype) + tg.matmul(weighted, loadings))
    return tg.matmul(G, weighted), G


def log_density(x, mean, loadings, psi):
    r"""(4): $\log p(x)$; (n, d) to (n,)."""
    B, G = posterior(loadings, psi)
    D = x - mean
    m = tg.matmul(D, tg.transpose(B))  # (n, k)
    missed = tg.sum(tg.square(D - tg.matmul(m, tg.transpose(loadings))) / psi, 1)
    volume = tg.sum(tg.log(psi)) - tg.linalg.slogdet(G)[1] + x.shape[1] * LOG_2PI
    return -(missed + tg.sum(tg.square(m), 1) + volume) / 2


def averages(x: Condensed, mean, B, G) -> Averages:
    r"""(5) from the triangle: $S_{xz} = \frac1n R^\top R B^\top$, and so on; (d,), (k, d), (k, k) besides."""
    xp = backend.array_module(x.R)
    projected = xp.matmul(x.R, B.T)  # (r, k)
    xz = xp.matmul(x.R.T, projected) / x.n
    zz = G + xp.matmul(projected.T, projected) / x.n
    return Averages(x.n, x.mean, xp.matmul(B, x.mean - mean), xz, zz, (x.R * x.R).sum(0) / x.n)


def regression(found: Averages) -> tuple[Any, Any]:
    r"""(6): $W$ and $\mu$; to (d, k), (d,)."""
    W = tg.transpose(tg.linalg.solve(found.zz, tg.transpose(found.xz)))
    return W, found.x - tg.matmul(W, found.m)


def left_over(found: Averages, loadings):
    r"""(7), left: the $r_j$; to (d,)."""
    return found.xx - tg.sum(loadings * found.xz, 1)


def misses(found: Averages, mean, loadings):
    r"""(9): the $e_j$; to (d,)."""
    squares = found.xx + tg.sum(loadings * (tg.matmul(loadings, found.zz) - 2 * found.xz), 1)
    return squares + tg.square(found.x - mean - tg.matmul(loadings, found.m))


def expected_log_joint(found: Averages, mean, loadings, psi):
    r"""(8): $Q$, in nats."""
    of_x = tg.sum(tg.log(psi) + LOG_2PI + misses(found, mean, loadings) / psi)
    of_z = len(found.m) * LOG_2PI + tg.trace(found.zz) + tg.sum(tg.square(found.m))
    return -found.n / 2 * (of_x + of_z)


def maximum_likelihood(x: Condensed, k: int) -> tuple[Any, Any]:
    r"""(10): $W$ and $\sigma^2$; to (d, k), ()."""
    rows, variances = principal(x.R, x.n)
    variances = variances * ((x.n - 1) / x.n)
    variance = variances[k:].sum() / (x.R.shape[1] - k)
    return rows[:k].T * tg.sqrt(tg.maximum(variances[:k] - variance, 0.0)), variance


# ---- the models -----------------------------------------------------------------------------------------


class LinearGaussian(EM):
    r"""(1) for a diagonal $\Psi$: base of `ProbabilisticPCA` and `FactorAnalysis`, which say what noise there is.

    Parameters
    ----------
    n_features, n_components : $d$ and $k$, $k < d$
    tol, n_init, rng : as `EM` has them

    Attributes
    ----------
    mean, loadings, noise : $\mu$, $W$ and what makes up $\Psi$, float64
    """

    one_noise = False  # whether `noise` is one number for all features
    mean: tg.Tensor
    loadings: tg.Tensor
    noise: tg.Tensor

    def __init__(self, n_features: int, n_components: int, *, tol: float = 1e-6, n_init: int = 1,
                 rng: Generator | None = None):  # fmt: skip
        name, d, k = type(self).__name__, n_features, n_components
        if not 1 <= k < d:
            raise ValueError(f"{name}: {k} components of {d} features; from 1 to {d - 1} components are wanted")
        super().__init__(tol=tol, n_init=n_init, rng=rng)
        self.n_features, self.n_components = d, k
        for buffer, shape in (("mean", (d,)), ("loadings", (d, k)), ("noise", () if self.one_noise else (d,))):
            self.register_buffer(buffer, tg.zeros(shape, dtype="float64", device=self.rng.device))

    # ---- EM ----

    def start(self, x: Condensed) -> None:
        """Noise as large as all of the variance, and a plane at random."""
        variances = (x.R * x.R).sum(0) / x.n
        scale = tg.sqrt(variances.mean() / self.n_components)
        self._take(x.mean, scale * self.rng.normal(self.loadings.shape, dtype="float64"), variances, variances)

    def e_step(self, x: Condensed) -> Posterior:
        r"""(3) and (5), and $H(q) = \frac n2 (k \log 2\pi e + \log |G|)$."""
        B, G = posterior(self.loadings.data, self.psi)
        entropy = x.n / 2 * (self.n_components * (LOG_2PI + 1) + tg.linalg.slogdet(G)[1])
        return Posterior(averages(x, self.mean.data, B, G), entropy)

    def m_step(self, statistics: Averages) -> None:
        """(6) and (7)."""
        W, mean = regression(statistics)
        self._take(mean, W, left_over(statistics, W), statistics.xx)

    def expected_log_joint(self, statistics: Averages) -> Any:
        """(8)."""
        return expected_log_joint(statistics, self.mean.data, self.loadings.data, self.psi)

    # ---- what it can do ----

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(4): $\log p(x)$ of each example, in nats; (n, d) to (n,)."""
        return backend.to_numpy(log_density(self._rows(x), self.mean.data, self.loadings.data, self.psi))

    def score(self, x: np.ndarray) -> float:
        """The log-likelihood in nats an example."""
        return float(self.score_samples(x).mean())

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(3): the posterior means $m$; (n, d) to (n, k)."""
        return backend.to_numpy(self._means(x))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        r"""$W m + \mu$: the examples without what is taken for noise; (n, d) to (n, d)."""
        return backend.to_numpy(tg.matmul(self._means(x), self.loadings.data.T) + self.mean.data)

    def covariance(self) -> np.ndarray:
        """(2): $C$; (d, d)."""
        self._fitted()
        return backend.to_numpy(covariance(self.loadings.data, self.psi))

    def sample(self, n: int, *, rng: Generator | None = None, noise: bool = True) -> np.ndarray:
        r"""(1): new examples (n, d); without `noise`, points of the plane, $W z + \mu$."""
        self._fitted()
        rng = Generator(device=self.mean.device) if rng is None else rng
        z = rng.normal((n, self.n_components), dtype="float64")
        eps = rng.normal((n, self.n_features), dtype="float64")
        x = tg.matmul(z, self.loadings.data.T) + self.mean.data
        return backend.to_numpy(x + eps * tg.sqrt(self.psi) if noise else x)

    # ---- what it needs ----

    @property
    def psi(self):
        r"""The diagonal of $\Psi$, (d,)."""
        return backend.array_module(self.noise.data).broadcast_to(self.noise.data, (self.n_features,))

    def checked(self, x) -> Condensed:
        """x for `update`, where the parameters are, or an error that says what is wrong."""
        if isinstance(x, Condensed):
            return x
        name = type(self).__name__
        x = checked_rows(name, x, self.mean, self.n_features)
        if len(x) < 2:
            raise ValueError(f"{name}: x has {len(x)} row; at least two are wanted")
        return condensed(x)

    def _means(self, x):
        rows = self._rows(x)
        return tg.matmul(rows - self.mean.data, posterior(self.loadings.data, self.psi)[0].T)

    def _rows(self, x):
        self._fitted()
        return checked_rows(type(self).__name__, x, self.mean, self.n_features)

    def _fitted(self) -> None:
        if not self.started:
            raise RuntimeError(f"{type(self).__name__}: no parameters yet; call fit first")

    def _take(self, mean, loadings, left, variances) -> None:
        """Make these the parameters, with the noise that `left` (d,) says, of features with these variances (d,)."""
        noise = self._noise(left, variances)  # first, since it may refuse
        self.mean.assign(mean)
        self.loadings.assign(loadings)
        self.noise.assign(noise)

    def _noise(self, left, variances):
        r"""The best $\Psi$, in the shape of `noise`, or an error."""
        raise NotImplementedError


class ProbabilisticPCA(LinearGaussian):
    r"""PCA with noise alike in all directions: `fit` by EM, `fit_exactly` by (10).

    Parameters
    ----------
    n_features, n_components : $d$ and $k$, $k < d$
    tol, n_init, rng : as `EM` has them

    Attributes
    ----------
    noise : $\sigma^2$

    Examples
    --------
    >>> x = Generator(0).normal((500, 3), dtype="float64") * np.array([5.0, 1.0, 1.0])
    >>> model = ProbabilisticPCA(3, 1, rng=Generator(0)).fit_exactly(x)
    >>> model.loadings.numpy().round(1)[:, 0], float(model.noise.data.round(1))
    (array([ 4.9,  0. , -0. ]), 1.0)
    """

    one_noise = True

    def fit_exactly(self, x: np.ndarray) -> Self:
        """The maximum of the likelihood by (10); examples (n, d)."""
        known = self.checked(x)
        W, variance = maximum_likelihood(known, self.n_components)
        total = (known.R * known.R).sum(0) / known.n
        self._take(known.mean, W, variance + 0 * total, total)
        self.started.assign(1)
        return self

    def _noise(self, left, variances):
        """(7), right."""
        variance, total = left.mean(), float(variances.mean())
        if not float(variance) > 1e-13 * total:
            raise ValueError(f"ProbabilisticPCA: the examples lie in a plane of {self.n_components} dimensions, so the "
                             "noise is 0 and the covariance singular; fewer components, or more different examples, "
                             "are wanted")  # fmt: skip
        return variance

r"""Gaussian mixtures, learnt by EM (S4 eqs. 61–71; S2 ex. 2.3.1).

Some data come in lumps: a histogram with two humps, points in several clouds. Each lump may be normal; the whole is
not. S4 begins with two components on the line, $X_1 \sim \mathcal N(\mu_1, \sigma_1^2)$ and
$X_2 \sim \mathcal N(\mu_2, \sigma_2^2)$ (eq. 61). A coin says which of them we get to see:
$X = (1 - \Delta) X_1 + \Delta X_2$ with $\Delta \in \{0, 1\}$, $\Pr[\Delta = 1] = \pi$ (eq. 62). With $\phi_\theta$ for
the normal density, $\theta = (\mu, \sigma^2)$, the density and the log-likelihood are (eqs. 63–64)

$$ f_X(x) = (1 - \pi)\, \phi_{\theta_1}(x) + \pi\, \phi_{\theta_2}(x), \qquad
   \ell = \sum_{i=1}^n \log f_X(x_i). \tag{1} $$

The sum inside the logarithm is what makes this hard. Had we seen $\Delta_i$ as well, there would be none
(eqs. 65–66):

$$ \ell_0 = \sum_{i=1}^n \left[ (1 - \Delta_i) \log \phi_{\theta_1}(x_i) + \Delta_i \log \phi_{\theta_2}(x_i) \right]
   + \sum_{i=1}^n \left[ \Delta_i \log \pi + (1 - \Delta_i) \log(1 - \pi) \right]. \tag{2} $$

S4 prints the first sum as $\log[(1 - \Delta_i) \phi_{\theta_1} + \Delta_i \phi_{\theta_2}]$. That is the same number
while $\Delta_i$ is 0 or 1, but the next step puts an expectation in its place, and only (2), which is linear in
$\Delta_i$, lets us do so. This expectation is the *responsibility* of the second component for $x_i$ (eqs. 67–68; in 68
the argument $x_i$ slipped into the subscript),

$$ \hat\gamma_i = \Pr[\Delta_i = 1 | x_i]
   = \frac{\hat\pi \phi_{\hat\theta_2}(x_i)}{(1 - \hat\pi) \phi_{\hat\theta_1}(x_i) + \hat\pi \phi_{\hat\theta_2}(x_i)},
   \tag{3} $$

the E step. The M step maximises (2) with $\hat\gamma_i$ for $\Delta_i$: weighted means and variances (eqs. 69–71),

$$ \hat\mu_1 = \frac{\sum_i (1 - \hat\gamma_i) x_i}{\sum_i (1 - \hat\gamma_i)}, \quad
   \hat\sigma_1^2 = \frac{\sum_i (1 - \hat\gamma_i) (x_i - \hat\mu_1)^2}{\sum_i (1 - \hat\gamma_i)}, \quad
   \hat\mu_2, \hat\sigma_2^2 \text{ likewise with } \hat\gamma_i, \quad
   \hat\pi = \frac1n \sum_{i=1}^n \hat\gamma_i. \tag{4} $$

**Any number of components, in any dimension.** A hidden die $H \sim \mathrm{Cat}(\pi)$ with $m$ faces says which
Gaussian $x$ is drawn from (S2 eqs. 2.35–2.37; drawing $H$, then $x$, is how `sample` works):

$$ p(x) = \sum_{k=1}^{m} \pi_k\, \mathcal N(x | \mu_k, \Sigma_k). \tag{5} $$

Neither inverse nor determinant of a covariance is computed, but its Cholesky factor, $\Sigma = L L^\top$, and from a
triangular system $P = L^{-1}$. The distance is then a length, and the determinant a product along a diagonal:

$$ \log \mathcal N(x | \mu, \Sigma) = -\tfrac12 \lVert P (x - \mu) \rVert^2 + \sum_{j=1}^{d} \log P_{jj}
   - \tfrac d2 \log 2\pi. \tag{6} $$

The E step is Bayes' rule, in log space, where no density is too small,

$$ \gamma_{ki} = \frac{\pi_k\, \mathcal N(x_i | \mu_k, \Sigma_k)}{p(x_i)}, \tag{7} $$

and the M step counts and averages. What it needs to know of the $\gamma$, the sufficient statistics, are

$$ N_k = \sum_i \gamma_{ki}, \qquad \bar x_k = \frac{1}{N_k} \sum_i \gamma_{ki}\, x_i, \qquad
   S_k = \sum_i \gamma_{ki} (x_i - \bar x_k)(x_i - \bar x_k)^\top, \tag{8} $$
$$ \pi_k = N_k / n, \qquad \mu_k = \bar x_k, \qquad \Sigma_k = S_k / N_k. \tag{9} $$

A full $\Sigma_k$ has $d(d+1)/2$ numbers to learn. Three kinds are content with fewer: *tied*, one for all components;
*diag*, axes without correlation; *spherical*, one variance for all axes of a component:

$$ \Sigma = \frac1n \sum_k S_k, \qquad \Sigma_k = \frac{1}{N_k} \operatorname{diag} S_k, \qquad
   \Sigma_k = \frac{\operatorname{tr} S_k}{d N_k}\, I. \tag{10} $$

Each is the maximiser, within its kind, of the expected complete log-likelihood, which is (2) in general,

$$ Q = \sum_k N_k \log \pi_k + N_k \log \mathcal N(\bar x_k | \mu_k, \Sigma_k)
   - \tfrac12 \operatorname{tr}(\Sigma_k^{-1} S_k). \tag{11} $$

**How many?** More components always fit better. With $p$ free parameters and $\hat\ell$ the log-likelihood reached,

$$ \mathrm{BIC} = p \log n - 2 \hat\ell, \qquad \mathrm{AIC} = 2 p - 2 \hat\ell \tag{12} $$

charge for them; less is better.

**Where it goes wrong.** $\ell$ has many local maxima, among them those where the components have changed names; which
one is reached depends on the start. And it has no highest: put one component on a single point, let its variance go to
zero, and the density there goes to infinity. `reg_covar`, added to all variances as scikit-learn does it, prevents
this. But then (9) is no longer the maximiser of (11), EM's proof does not apply, and once a component has become about
as narrow as $\sqrt{\texttt{reg\_covar}}$, $\ell$ may fall. With `reg_covar=0` it never falls, and a collapse ends in an
error that says so. A component that answers for nothing ($N_k = 0$) has any $\mu_k, \Sigma_k$ for a maximiser; it keeps
those it has.

Notation
--------
$x_i, \mu_k$ : `x`, (n, d); `means`, (m, d); $x_i - \mu_k$ : `D`, (m, d, n): sums over the examples run along memory
$\pi_k$ : `weights`, (m,)
$\Sigma_k$ : `covariances`; full (m, d, d), tied (d, d), diag (m, d), spherical (m,)
$P_k$ : `P`, (m, d, d), (1, d, d) if tied; (m, d), its diagonal, for diag and spherical
$\gamma_{ki}$ : `gamma`, (m, n)
$N_k, \bar x_k, S_k$ : `Moments`; $S_k$ (m, d, d), or its diagonal (m, d)
$\Delta_i, \gamma_i, \theta_1, \theta_2$ : `delta`, `gamma`, (n,); `mu`, `variance`, (2,)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.latent.em import EM, Posterior, total

LOG_2PI = math.log(2 * math.pi)

# ---- two normals on the line: S4's own case -------------------------------------------------------------


def log_phi(x, mu, variance):
    r"""$\log \phi_\theta(x)$, of both lumps: (n,), (2,), (2,) to (2, n)."""
    mu, variance = mu[:, None], variance[:, None]
    return -(tg.square(x - mu) / variance + tg.log(variance) + LOG_2PI) / 2


def two_log_likelihood(x, pi, mu, variance):
    r"""(1): $\ell(\theta_1, \theta_2, \pi)$, in nats; (n,), a number, (2,), (2,) to ()."""
    phi_1, phi_2 = tg.exp(log_phi(x, mu, variance))
    return tg.sum(tg.log((1 - pi) * phi_1 + pi * phi_2))


def two_complete_log_likelihood(x, delta, pi, mu, variance):
    r"""(2): $\ell_0$, in nats, also for a $\Delta$ between 0 and 1; (n,), (n,), a number, (2,), (2,) to ()."""
    log_phi_1, log_phi_2 = log_phi(x, mu, variance)
    of_x = tg.sum((1 - delta) * log_phi_1 + delta * log_phi_2)
    return of_x + tg.sum(delta * math.log(pi) + (1 - delta) * math.log(1 - pi))


def two_responsibilities(x, pi, mu, variance):
    r"""(3): $\hat\gamma_i$; (n,), a number, (2,), (2,) to (n,)."""
    phi_1, phi_2 = tg.exp(log_phi(x, mu, variance))
    return pi * phi_2 / ((1 - pi) * phi_1 + pi * phi_2)


def two_maximise(x, gamma) -> tuple[Any, Any, Any]:
    r"""(4): $\hat\pi$, both $\hat\mu$ and both $\hat\sigma^2$; (n,), (n,) to (), (2,), (2,)."""
    weights = tg.stack([1 - gamma, gamma])  # (2, n)
    mu = tg.sum(weights * x, 1) / tg.sum(weights, 1)
    variance = tg.sum(weights * tg.square(x - mu[:, None]), 1) / tg.sum(weights, 1)
    return tg.mean(gamma), mu, variance


# ---- the general case -----------------------------------------------------------------------------------


class Moments(NamedTuple):
    r"""(8): $N_k$ (m,), $\bar x_k$ (m, d) and $S_k$, (m, d, d) or its diagonal (m, d)."""

    count: Any
    mean: Any
    scatter: Any


def precision_factors(covariances, kind: str, d: int):
    r"""$P_k = L_k^{-1}$ with $L_k L_k^\top = \Sigma_k$, as the Notation says; its diagonal for diag and spherical."""
    if kind in ("diag", "spherical"):
        return 1 / tg.sqrt(tg.broadcast_to(covariances.reshape(len(covariances), -1), (len(covariances), d)))
    xp = backend.array_module(covariances)
    L = tg.linalg.cholesky(covariances.reshape(-1, d, d))
    return tg.linalg.solve_triangular(L, xp.broadcast_to(xp.eye(d, dtype=L.dtype), L.shape))


def differences(x, means):
    """$D_k = x - \\mu_k$, all components: (n, d), (m, d) to (m, d, n)."""
    return backend.array_module(x).ascontiguousarray(x.T) - means[:, :, None]


def log_normal(D, P):
    r"""(6): $\log \mathcal N(x_i | \mu_k, \Sigma_k)$ from the differences; (m, d, n) and P to (m, n)."""
    xp = backend.array_module(D)
    if P.ndim == 2:
        squares = xp.matmul((P * P)[:, None, :], D * D)[:, 0]  # (m, n)
    else:
        if len(P) < len(D):  # tied: the differences from one mean, whitened, lead to all others by a shift
            y = xp.matmul(P, D[:1]) + xp.matmul(P, D[:, :, :1] - D[:1, :, :1])  # (m, d, n)
        else:
            y = xp.matmul(P, D)
        y *= y
        squares = y.sum(1)
    squares *= -0.5
    squares += (tg.log(_diagonal(P)).sum(-1) - D.shape[1] / 2 * LOG_2PI)[:, None]
    return squares


def responsibilities(log_joint) -> tuple[Any, Any]:
    r"""(7): $\gamma_{ki}$ and $\log p(x_i)$, from the logarithms of the products above; (m, n) to (m, n), (n,)."""
    xp = backend.array_module(log_joint)
    top = log_joint.max(0)
    gamma = log_joint - top
    xp.exp(gamma, out=gamma)
    of_all = gamma.sum(0)
    gamma /= of_all
    return gamma, top + xp.log(of_all)


def sums(D, gamma, full: bool) -> Moments:
    r"""$\sum_i \gamma_{ki}$ times 1, $D$ and $D D^\top$ (or its diagonal); (m, d, n), (m, n) to three with m rows."""
    xp = backend.array_module(D)
    rows, columns = gamma[:, None, :], D.swapaxes(1, 2)
    second = xp.matmul(D * rows, columns) if full else xp.matmul(rows, (D * D).swapaxes(1, 2))[:, 0]
    return Moments(gamma.sum(1), xp.matmul(rows, columns)[:, 0], second)


def centred(about, raw: Moments) -> Moments:
    r"""(8) from sums over differences from `about`, (m, d).

    Where these are the means that are about to change, hardly anything cancels in
    $\sum \gamma D D^\top - N \bar D \bar D^\top$, however far from the origin the data lie.
    """
    count, first, second = raw
    N = tg.where(count > 0, count, 1.0)[:, None]
    shift = first / N  # (m, d)
    if second.ndim == 2:
        return Moments(count, about + shift, second - first * shift)
    return Moments(count, about + shift, second - first[:, :, None] * shift[:, None, :])


def maximise(moments: Moments, kind: str) -> tuple[Any, Any, Any]:
    """(9) and (10): weights, means and covariances."""
    count, mean, scatter = moments
    N = tg.where(count > 0, count, 1.0)
    n = count.sum()
    if kind == "tied":
        covariances = scatter.sum(0) / n
    elif kind == "full":
        covariances = scatter / N[:, None, None]
    else:
        covariances = scatter / N[:, None]
        covariances = covariances.mean(1) if kind == "spherical" else covariances
    return count / n, mean, covariances


def expected_log_joint(moments: Moments, weights, means, P):
    """(11): Q, in nats."""
    count, mean, scatter = moments
    at_means = log_normal((mean - means)[:, :, None], P)[:, 0]  # (m,)
    log_pi = tg.log(tg.where(count > 0, weights, 1.0))  # 0 log 0 = 0
    if P.ndim == 2:
        traces = (P * P * scatter).sum(1)
    else:
        xp = backend.array_module(P)
        traces = (xp.matmul(P, scatter) * P).sum((1, 2))  # tr(P S P^T)
    return (count * (log_pi + at_means) - traces / 2).sum()


def n_parameters(m: int, d: int, kind: str) -> int:
    """How many numbers a mixture is free to choose: the p of (12)."""
    return m - 1 + m * d + {"full": m * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": m * d, "spherical": m}[kind]


def k_means_plus_plus(x, m: int, rng: Generator):
    r"""m examples to start from, far apart: each is drawn with a probability proportional to the squared distance
    from the nearest one before it (Arthur and Vassilvitskii 2007); (n, d) to (m, d)."""
    chosen = [x[rng.integers(0, len(x), 1)]]  # (1, d) each
    nearest = tg.sum(tg.square(x - chosen[0]), 1)
    for _ in range(1, m):
        # if all examples are chosen already, any will do
        chances = nearest if float(nearest.max()) > 0 else nearest + 1
        chosen.append(x[rng.categorical(probabilities=chances, shape=1)])
        nearest = tg.minimum(nearest, tg.sum(tg.square(x - chosen[-1]), 1))
    return tg.concatenate(chosen)


def _diagonal(P):
    """The diagonals, (m, d), of matrices or of what has been kept as a diagonal."""
    return P if P.ndim == 2 else tg.diagonal(P, 0, 1, 2)


# ---- the model ------------------------------------------------------------------------------------------


class GaussianMixture(EM):
    r"""A mixture of Gaussians.

    Parameters
    ----------
    n_features, n_components : $d$ and $m$
    covariance : "full", "tied", "diag" or "spherical"; (9) and (10)
    start : "k-means++", centres that `k_means_plus_plus` draws, each example given to the nearest; or "random",
        responsibilities drawn at random. Either way all components begin equally wide. `start_at` sets a start by hand.
    reg_covar : added to all variances
    tol, n_init, rng : as `EM` has them

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> x = np.array([[0.0], [0.2], [0.1], [9.0], [9.2]])
    >>> model = GaussianMixture(1, 2, rng=tg.random.Generator(0)).fit(x, run=Run(quiet=True))
    >>> sorted(model.weights.numpy().round(3).tolist())
    [0.4, 0.6]
    >>> labels = model.predict(x)
    >>> len(set(labels[:3])), len(set(labels)), model.sample(7).shape
    (1, 2, (7, 1))
    """

    weights: tg.Tensor
    means: tg.Tensor
    covariances: tg.Tensor

    def __init__(self, n_features: int, n_components: int, *, covariance: str = "full", start: str = "k-means++",
                 reg_covar: float = 1e-6, tol: float = 1e-3, n_init: int = 1,
                 rng: Generator | None = None):  # fmt: skip
        m, d = n_components, n_features
        shapes = {"full": (m, d, d), "tied": (d, d), "diag": (m, d), "spherical": (m,)}
        if d < 1 or m < 1:
            raise ValueError(f"GaussianMixture: a feature and a component at least are wanted, got {d} and {m}")
        if covariance not in shapes or start not in ("k-means++", "random"):
            raise ValueError(f"GaussianMixture: covariance is {covariance!r} and start {start!r}; "
                             f"{', '.join(shapes)} and k-means++, random are there")  # fmt: skip
        if not reg_covar >= 0:
            raise ValueError(f"GaussianMixture: reg_covar is {reg_covar!r}; a variance of 0 or more is wanted")
        super().__init__(tol=tol, n_init=n_init, rng=rng)
        self.n_features, self.n_components = d, m
        self.covariance, self.start_from, self.reg_covar = covariance, start, reg_covar
        for name, shape in (("weights", (m,)), ("means", (m, d)), ("covariances", shapes[covariance])):
            self.register_buffer(name, tg.zeros(shape, dtype="float64", device=self.rng.device))

    # ---- EM ----

    def start(self, x) -> None:
        """The first parameters, as `start` says."""
        xp, full, m = backend.array_module(x), self._full, self.n_components
        if self.start_from == "random":
            about = xp.broadcast_to(x.mean(0), (m, self.n_features))
        else:
            about = k_means_plus_plus(x, m, self.rng)
        parts = []
        for part in in_order(x, self._rows):
            D = differences(part, about)
            if self.start_from == "random":
                gamma = self.rng.uniform((m, len(part)), dtype=x.dtype)
                gamma /= gamma.sum(0)
            else:
                gamma = (xp.argmin((D * D).sum(1), axis=0) == xp.arange(m)[:, None]).astype(x.dtype)
            parts.append(Posterior(sums(D, gamma, full), 0.0))
        count, mean, scatter = centred(about, total(parts).statistics)
        shared = scatter.sum(0) / count.sum()  # a component with a single example would have no width of its own
        count = tg.maximum(count, 1.0)  # one whose centre another has taken, as there were too few different examples
        self.m_step(Moments(count, mean, count.reshape(-1, *[1] * shared.ndim) * shared))

    def start_at(self, means, *, covariances=None, weights=None) -> None:
        """Start from means (m, d), covariances (shaped as the attribute; by default all have variance 1) and weights
        (m,) (by default all alike)."""
        d, m = self.n_features, self.n_components
        if covariances is None:
            covariances = np.broadcast_to(np.eye(d) if self._full else np.ones(()), self.covariances.shape)
        weights = np.full(m, 1 / m) if weights is None else np.asarray(weights, float)
        if np.shape(means) != (m, d) or weights.shape != (m,) or np.shape(covariances) != self.covariances.shape:
            raise ValueError(f"GaussianMixture.start_at: means {np.shape(means)}, weights {weights.shape}, covariances "
                             f"{np.shape(covariances)}; {(m, d)}, {(m,)} and {self.covariances.shape} are "
                             "wanted")  # fmt: skip
        if not (weights >= 0).all() or abs(weights.sum() - 1) > 1e-6:
            raise ValueError(f"GaussianMixture.start_at: weights are {weights}; none below 0 and a sum of 1 are wanted")
        self._take(*(backend.asarray(a, self.means.dtype, self.means.device) for a in (weights, means, covariances)))
        self.started.assign(1)

    def e_step(self, x) -> Posterior:
        """(7) and (8), some examples at a time, so that memory stays bounded."""
        xp, means = backend.array_module(x), self.means.data
        log_pi, P = self._log_weights(), self._precision_factors()
        parts = []
        for part in in_order(x, self._rows):
            D = differences(part, means)  # (m, d, rows)
            log_joint = log_normal(D, P)
            log_joint += log_pi  # (m, rows)
            gamma, log_p = responsibilities(log_joint)
            # -sum gamma log gamma, since log gamma = log_joint - log_p
            entropy = log_p.sum() - xp.vdot(gamma, log_joint)
            parts.append(Posterior(sums(D, gamma, self._full), entropy))
        statistics, entropy = total(parts)
        return Posterior(centred(means, statistics), entropy)

    def m_step(self, statistics: Moments) -> None:
        """(9) or (10), and `reg_covar`; a component that answers for nothing keeps its parameters."""
        xp = backend.array_module(statistics.count)
        weights, means, covariances = maximise(statistics, self.covariance)
        least = float(np.finfo(means.dtype).tiny / np.finfo(means.dtype).eps)  # a sum as small has lost its digits
        alive = statistics.count > least  # (m,)
        means = xp.where(alive[:, None], means, self.means.data)
        everywhere = xp.eye(self.n_features, dtype=means.dtype) if self._full else 1.0
        covariances = covariances + self.reg_covar * everywhere
        if self.covariance != "tied":
            alive = alive.reshape(-1, *[1] * (covariances.ndim - 1))
            covariances = xp.where(alive, covariances, self.covariances.data)
        self._take(weights, means, covariances)

    def expected_log_joint(self, statistics: Moments) -> Any:
        """(11)."""
        return expected_log_joint(statistics, self.weights.data, self.means.data, self._precision_factors())

    # ---- what it can do ----

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(5): $\log p(x)$ of each example, in nats; (n, d) to (n,)."""
        return np.concatenate([backend.to_numpy(log_p) for _, log_p in self._judged(x)])

    def score(self, x: np.ndarray) -> float:
        r"""The log-likelihood in nats an example."""
        return float(self.score_samples(x).mean())

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """(7): the responsibilities of each component, rows that sum to one; (n, d) to (n, m)."""
        return np.concatenate([backend.to_numpy(gamma).T for gamma, _ in self._judged(x)])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The component most responsible for each example; (n, d) to (n,)."""
        return np.concatenate([backend.to_numpy(gamma.argmax(0)) for gamma, _ in self._judged(x)])

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New examples (n, d): a die picks the component, and a normal draw is given its covariance and mean."""
        self._fitted()
        rng = Generator(device=self.means.device) if rng is None else rng
        picked = rng.categorical(probabilities=self.weights.data, shape=n)
        return backend.to_numpy(self.sample_given(picked, rng))

    def sample_given(self, picked, rng: Generator):
        """An example from each of the components picked: (n,) to a raw (n, d)."""
        z = rng.normal((len(picked), self.n_features), dtype=self.means.dtype)
        xp, P = backend.array_module(z), self._precision_factors()
        x = xp.zeros_like(z)
        for k in range(self.n_components):
            factor = P[k if len(P) > 1 else 0]
            # P (x - mu) = z
            drawn = z / factor if P.ndim == 2 else tg.linalg.solve_triangular(factor, z.T).T
            x = xp.where(picked[:, None] == k, drawn + self.means.data[k], x)
        return x

    def bic(self, x: np.ndarray) -> float:
        """(12), left; less is better."""
        p = n_parameters(self.n_components, self.n_features, self.covariance)
        return p * math.log(len(x)) - 2 * float(self.score_samples(x).sum())

    def aic(self, x: np.ndarray) -> float:
        """(12), right; less is better."""
        p = n_parameters(self.n_components, self.n_features, self.covariance)
        return 2 * p - 2 * float(self.score_samples(x).sum())

    # ---- what it needs ----

    def checked(self, x):
        """x for `fit`, where the parameters are, or an error that says what is wrong."""
        x = self._rows_of_features(x)
        if len(x) < max(2, self.n_components):
            raise ValueError(f"GaussianMixture: x has {len(x)} rows; at least two, and one for each of the "
                             f"{self.n_components} components, are wanted")  # fmt: skip
        return x

    def _rows_of_features(self, x):
        """x as (n, d) in the parameters' dtype, on their device, all of it finite."""
        x = backend.asarray(x, self.means.dtype, self.means.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"GaussianMixture: x has shape {x.shape}; at least one row of {self.n_features} features "
                             "is wanted (x.reshape(-1, 1) for numbers)")  # fmt: skip
        largest = float(abs(x).max())
        if not largest < math.sqrt(np.finfo(x.dtype).max) / 1e3:
            raise ValueError(f"GaussianMixture: x has values up to {largest:g}; numbers whose squares are finite are "
                             "wanted (leave out rows with nan, or rescale)")  # fmt: skip
        return x

    def _fitted(self) -> None:
        """Refuse to answer before there are parameters."""
        if not self.started:
            raise RuntimeError("GaussianMixture: no parameters yet; call fit or start_at first")

    def _judged(self, x):
        """(gamma, log p) of some examples at a time."""
        self._fitted()
        x, P, log_pi = self._rows_of_features(x), self._precision_factors(), self._log_weights()
        for part in in_order(x, self._rows):
            yield responsibilities(log_normal(differences(part, self.means.data), P) + log_pi)

    def _take(self, weights, means, covariances) -> None:
        """Make these the parameters, if every covariance can be told from a singular one."""
        j = self._singular(means, covariances)
        if j is not None:
            raise ValueError(f"GaussianMixture: the covariance of component {j} is singular: its examples are alike, "
                             f"lie in a plane, or are too few. Give a larger reg_covar (it is {self.reg_covar:g}; a "
                             "small part of the data's variance will do), fewer components, or another kind of "
                             "covariance")  # fmt: skip
        self.weights.assign(weights)
        self.means.assign(means)
        self.covariances.assign(covariances)

    def _singular(self, means, covariances) -> int | None:
        """The first component that is no wider, along an axis or given the axes before it, than rounding makes it."""
        eps, d = float(np.finfo(means.dtype).eps), self.n_features
        if not self._full:
            pivots = variances = tg.broadcast_to(covariances.reshape(self.n_components, -1), means.shape)
        else:
            stack = covariances.reshape(-1, d, d)
            variances = _diagonal(stack)
            try:
                pivots = tg.square(_diagonal(tg.linalg.cholesky(stack)))  # on a GPU NaN where it fails
            except np.linalg.LinAlgError:
                return int(np.linalg.eigvalsh(stack)[:, 0].argmin())
        good = ((pivots > d * eps * variances) & (variances > tg.square(4 * eps * means))).all(1)  # (m,)
        return None if bool(good.all()) else int(good.argmin())

    def _log_weights(self):
        r"""$\log \pi_k$, (m, 1); of a weight of 0 it is very low, not infinite."""
        return tg.log(tg.clip(self.weights.data, float(np.finfo(self.means.dtype).tiny), None))[:, None]

    def _precision_factors(self):
        return precision_factors(self.covariances.data, self.covariance, self.n_features)

    @property
    def _full(self) -> bool:
        """Whether components have matrices, and not just variances."""
        return self.covariance in ("full", "tied")

    @property
    def _rows(self) -> int:
        """How many examples are looked at at a time: what stays in the cache, or keeps a GPU busy."""
        numbers = 2**17 if self.means.device == "cpu" else 2**24
        return max(256, numbers // (self.n_components * self.n_features))

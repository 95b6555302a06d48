r"""Factor analysis: a few common causes, and noise of its own for each measure (Spearman 1904; Rubin and Thayer 1982).

Ten exams are graded by people, some strict and consistent, others by mood. What do the marks have in common? PCA would
look for the direction of most variance, and the moodiest examiner has most of it. Factor analysis takes noise
apart from what is shared: as in `probabilistic_pca`,

$$ x = W z + \mu + \varepsilon, \qquad z \sim \mathcal N(0, I_k), \quad \varepsilon \sim \mathcal N(0, \Psi), \quad
   \Psi = \mathrm{diag}(\psi_1, \dots, \psi_d), \tag{1} $$

but each feature has a noise variance $\psi_j$ of its own. All that two features have in common comes from $W$ (the
off-diagonal entries of $C = W W^\top + \Psi$ are those of $W W^\top$); what is left of a feature is its own business.
The part of its variance that it shares is called its *communality*,

$$ c_j = \frac{\sum_{l=1}^k W_{jl}^2}{\sum_{l=1}^k W_{jl}^2 + \psi_j}. \tag{2} $$

**Learning** is EM with the E step, the regression and the $Q$ of `probabilistic_pca`, equations 3 to 9 there. Only the
noise differs: what the regression leaves over of feature $j$ is now $\psi_j$, and not averaged,

$$ \psi_j = \max(r_j,\; \epsilon\, S_{jj}), \qquad r_j = S_{jj} - (W S_{xz}^\top)_{jj}. \tag{3} $$

The maximum in (3) is for a case named after Heywood: the likelihood may rise towards $\psi_j = 0$, where a factor is a
copy of feature $j$; and if two features are one, it rises without end. So $\psi_j$ stays above a small part $\epsilon$
of the variance. $Q$ has a single hump in each $\psi_j$, so that (3) is its best place above the floor, and EM's proof
holds. A constant feature has no variance that could be taken apart, and is refused.

**Faster.** EM crawls where the noise is small, and there is no closed form, since the best $W$ and the best $\Psi$ need
each other. But for a *given* $\Psi$ the best $W$ is known: measure every feature in units of its noise, which is then
$I$, and take the plane of `probabilistic_pca` (eq. 10 there, $\sigma^2 = 1$ being given). With $\lambda_l, v_l$ the
eigenvalues and eigenvectors of the covariance $\Psi^{-1/2} S \Psi^{-1/2}$ of $x$ in these units,

$$ W_\Psi = \Psi^{1/2} (v_1, \dots, v_k)\, \mathrm{diag}(\max(\lambda_1 - 1, 0), \dots)^{1/2}. \tag{4} $$

What is left is to maximise over $d$ numbers, the $\log \psi_j$,

$$ \ell(\Psi) = -\frac n2 \left( \log |C| + \operatorname{tr} C^{-1} S + d \log 2\pi \right), \qquad
   C = W_\Psi W_\Psi^\top + \Psi, \tag{5} $$

for which `fit_exactly` has SciPy's L-BFGS. As $W_\Psi$ is the best there, the slope of (5) is the one with $W$ held
(Jöreskog 1967).

**What scale does.** Measure one feature in millimetres in place of metres. Its mean and its row of $W$ are multiplied
by 1000, its $\psi_j$ by a million, and nothing else changes: for any diagonal $D$, the likelihood of $D x$ under
$(D \mu, D W, D \Psi D)$ is that of $x$ under $(\mu, W, \Psi)$, up to a constant,

$$ \log p_{D \mu, D W, D \Psi D}(D x) = \log p_{\mu, W, \Psi}(x) - \log |\det D|. \tag{6} $$

PCA would follow the millimetres. On the other hand PCA's $\Psi = \sigma^2 I$ does not care for rotations of $x$, which
factor analysis does, as it believes in the features as they were measured. Both are blind to rotations of $z$: for $W
R$ in place of $W$, $C$ is the same. Whoever names the factors ("verbal", "numerical") has chosen an $R$; a usual choice
makes the columns of $W$ as simple as possible (*varimax*, Kaiser 1958): the rotation for which the squares of the
entries vary most within the columns,

$$ V(W) = \sum_{l=1}^k \left[ \frac1d \sum_{j=1}^d W_{jl}^4 - \Big( \frac1d \sum_{j=1}^d W_{jl}^2 \Big)^2 \right].
   \tag{7} $$

Turn two columns, $a$ and $b$, in their plane, $a' = a \cos\varphi + b \sin\varphi$, $b' = b \cos\varphi - a
\sin\varphi$. With $u_j = a_j^2 - b_j^2$, $v_j = 2 a_j b_j$ and bars for means over $j$, $V$ is highest at

$$ 4 \varphi = \operatorname{atan2}\big( 2 (\overline{uv} - \bar u \bar v),\;
   (\overline{u^2} - \bar u^2) - (\overline{v^2} - \bar v^2) \big), \tag{8} $$

since a turn by $\varphi$ turns every $(u_j, v_j)$ by $2\varphi$, and what (8) compares by $4\varphi$. All pairs have
their turn, until nothing moves.

Notation
--------
$W, \mu$ : `loadings`, (d, k); `mean`, (d,)
$\psi_j$ : `noise`, (d,)
$S$ : `S`, (d, d), the covariance of the data with $1/n$; its diagonal, the $S_{jj}$, is `variances`
$r_j$ : `left`, (d,)
$\epsilon$ : `floor`
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.latent.pca import Condensed, checked_rows
from tinygen.models.latent.probabilistic_pca import LOG_2PI, LinearGaussian, covariance

# ---- the equations --------------------------------------------------------------------------------------


def communality(loadings, psi):
    r"""(2): $c_j$, the share of each feature's variance that the factors make; (d, k), (d,) to (d,)."""
    shared = tg.sum(tg.square(loadings), 1)
    return shared / (shared + psi)


def noise_variances(left, variances, floor: float):
    r"""(3): $\max(r_j, \epsilon S_{jj})$; (d,), (d,) to (d,)."""
    return tg.maximum(left, floor * variances)


def best_loadings(S, psi, k: int):
    r"""(4): $W_\Psi$ from the covariance $S$ of the data; (d, d), (d,) to (d, k)."""
    scale = tg.sqrt(psi)
    values, vectors = tg.linalg.eigh(S / scale / scale[:, None])
    values, vectors = values[-k:], vectors[:, -k:]  # they rise
    return scale[:, None] * vectors * tg.sqrt(tg.maximum(values - 1, 0.0))


def log_likelihood(S, n: int, loadings, psi):
    r"""(5): $\ell$, in nats; (d, d), (d, k), (d,) to ()."""
    C = covariance(loadings, psi)
    return -n / 2 * (tg.linalg.slogdet(C)[1] + tg.trace(tg.linalg.solve(C, S)) + len(S) * LOG_2PI)


def rescaled(mean, loadings, psi, scale) -> tuple[Any, Any, Any]:
    r"""(6): the parameters for $D x$, $D$ = diag(scale); (d,), (d, k), (d,), (d,) to (d,), (d, k), (d,)."""
    return scale * mean, scale[:, None] * loadings, tg.square(scale) * psi


def simplicity(loadings):
    """(7): $V(W)$; (d, k) to ()."""
    squares = tg.square(loadings)
    return tg.sum(tg.mean(tg.square(squares), 0) - tg.square(tg.mean(squares, 0)))


def best_angle(a, b):
    r"""(8): $\varphi$; (d,), (d,) to ()."""
    u, v = tg.square(a) - tg.square(b), 2 * a * b
    u, v = u - tg.mean(u), v - tg.mean(v)
    return tg.arctan2(2 * tg.mean(u * v), tg.mean(tg.square(u)) - tg.mean(tg.square(v))) / 4


def varimax(loadings, *, sweeps: int = 100):
    """$W R$ with a rotation R that makes (7) largest, by (8) for all pairs of columns; (d, k) on the host."""
    W = np.array(loadings, float)
    for _ in range(sweeps):
        widest = 0.0
        for i in range(W.shape[1]):
            for j in range(i):
                a, b, angle = W[:, i].copy(), W[:, j].copy(), float(best_angle(W[:, i], W[:, j]))
                W[:, i], W[:, j] = a * np.cos(angle) + b * np.sin(angle), b * np.cos(angle) - a * np.sin(angle)
                widest = max(widest, abs(angle))
        if widest < 1e-12:
            break
    return W


# ---- the model ------------------------------------------------------------------------------------------


class FactorAnalysis(LinearGaussian):
    r"""Factor analysis: `fit` by EM, `fit_exactly` by quasi-Newton steps on (5).

    Parameters
    ----------
    n_features, n_components : $d$ and $k$, $k < d$
    floor : $\epsilon$ of (3), a part of each feature's variance
    tol, n_init, rng : as `EM` has them

    Attributes
    ----------
    noise : the $\psi_j$, (d,)

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> z, eps = Generator(0).normal((2000, 1), dtype="float64"), Generator(1).normal((2000, 3), dtype="float64")
    >>> x = z + eps * backend.asarray([0.5, 1.0, 3.0])  # one cause, seen by three people
    >>> model = FactorAnalysis(3, 1, rng=Generator(0)).fit(x, steps=1000, run=Run(quiet=True))
    >>> abs(model.loadings.numpy()[:, 0]).round(1), (model.noise.numpy() ** 0.5).round(1)
    (array([1. , 1.1, 1.1]), array([0.6, 1. , 2.9]))
    """

    def __init__(self, n_features: int, n_components: int, *, floor: float = 1e-6, tol: float = 1e-6, n_init: int = 1,
                 rng: Generator | None = None):  # fmt: skip
        if not 0 < floor < 1:
            raise ValueError(f"FactorAnalysis: floor is {floor!r}; a part of the variance between 0 and 1 is wanted")
        super().__init__(n_features, n_components, tol=tol, n_init=n_init, rng=rng)
        self.floor = floor

    def fit_exactly(self, x: np.ndarray) -> Self:
        """The nearest maximum of (5), to rounding, by SciPy's L-BFGS from where the parameters are, or a fresh start.

        Examples (n, d). Raises RuntimeError where that fails.
        """
        known, k = self.checked(x), self.n_components
        xp = backend.array_module(known.R)
        S = xp.matmul(known.R.T, known.R) / known.n
        variances = tg.diagonal(S)
        # from a little above the floor, below which (3) has no slope
        start = tg.maximum(self.noise.data, 10 * self.floor * variances) if self.started else variances / 2
        log_psi = tg.tensor(xp.log(start / variances), requires_grad=True)  # in units of the variances
        # no best psi is above its variance; a line search may try to go there
        noise = lambda t: noise_variances(tg.exp(tg.minimum(t, 3.0)), 1.0, self.floor) * variances

        def loss():
            psi = noise(log_psi)
            return -log_likelihood(S, known.n, best_loadings(S, psi.data, k), psi) / known.n

        found = optim.minimize(loss, [log_psi], options=dict(maxiter=5000, gtol=1e-10, ftol=0, maxcor=30))
        if not (found.success or abs(found.jac).max() < 1e-7):
            raise RuntimeError(f"FactorAnalysis.fit_exactly: stopped at a gradient of {abs(found.jac).max():.2g} "
                               f"({found.message}); use fit")  # fmt: skip
        psi = noise(log_psi.data)
        self._take(known.mean, best_loadings(S, psi, k), psi, variances)
        self.started.assign(1)
        return self

    def communalities(self):
        """(2), as a NumPy array (d,)."""
        self._fitted()
        return backend.to_numpy(communality(self.loadings.data, self.psi))

    def checked(self, x) -> Condensed:
        """x for `update`, where the parameters are, or an error that says what is wrong."""
        if isinstance(x, Condensed):
            return x
        x = checked_rows("FactorAnalysis", x, self.mean, self.n_features)
        constant = backend.to_numpy((x == x[:1]).all(0)) & (len(x) > 1)
        if constant.any():
            raise ValueError(f"FactorAnalysis: feature {int(constant.argmax())} is constant ({int(constant.sum())} in "
                             "all), so there is nothing to learn; features that vary are wanted")  # fmt: skip
        return super().checked(x)

    def _noise(self, left, variances):
        """(3)."""
        return noise_variances(left, variances, self.floor)

r"""The Kullback-Leibler divergence between laws: closed forms by pairs, and a Monte-Carlo estimate.

$$ KL(p \,\|\, q) = \mathbb{E}_{x \sim p} \log \frac{p(x)}{q(x)} \ge 0 \tag{1} $$

(S0; S2 eq. 4.10; S4 eq. 121). Zero only for $p = q$; not symmetric; infinite where p has mass and q has none.
`kl_divergence(p, q)` looks the pair of families up in a table of closed forms. A pair that is not in the table has
none known here, and (1) becomes a mean over draws:

$$ KL \approx \frac1n \sum_i \bigl(\log p(x_i) - \log q(x_i)\bigr), \qquad x_i \sim p, \tag{2} $$

with the standard error $s / \sqrt n$. `estimate_kl` returns both. `kl_divergence` uses it only when it is handed a
generator, and warns; without one it refuses. The gradient of (2) is that of the expectation, without bias where no
support moves with the parameters: through `rsample` where p has it, else through the score, by the factor
$w_i = e^{\log p(x_i) - c_i}$ with the constant $c_i$ equal to $\log p(x_i)$: it is 1, and its derivative is
$\nabla \log p(x_i)$ (Foerster and others, *DiCE*, 2018).

The closed forms follow from (1) term by term: `_normal` is S4 105-106 for two Gaussians.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd import Tensor, digamma, lgamma, log
from tinygen.probability.discrete import Bernoulli, Categorical, OneHotCategorical, bounded
from tinygen.probability.distribution import Distribution
from tinygen.probability.gamma import Beta, Dirichlet, Gamma, log_beta, log_beta_of
from tinygen.probability.inversion import EULER, Exponential, Gumbel, Laplace, Uniform
from tinygen.probability.normal import DiagonalNormal, MultivariateNormal, Normal, half_log_det, whiten
from tinygen.probability.poisson import Poisson

#: closed forms by (type of p, type of q)
PAIRS: dict[tuple[type, type], Callable] = {}


class MonteCarloWarning(UserWarning):
    """A number is an estimate from random draws."""


class Estimate(NamedTuple):
    """A mean over independent draws, differentiable, and how far it may be off."""

    value: Tensor
    standard_error: Tensor
    samples: int


def kl_divergence(p: Distribution, q: Distribution, *, rng=None, samples: int = 1000) -> Tensor:
    r"""$KL(p \,\|\, q)$ in nats (1), of the broadcast batch shape.

    Parameters
    ----------
    p, q : laws of one event shape
    rng : a Generator; allows the estimate (2) where no closed form is known (with a `MonteCarloWarning`)
    samples : draws for the estimate

    Raises
    ------
    NotImplementedError
        When the pair has no closed form here and no `rng` was given.
    """
    _same_events(p, q)
    known = PAIRS.get((type(p), type(q)))
    if known is not None:
        return _as_tensor(known(p, q), p, q)
    names = f"{type(p).__name__} and {type(q).__name__}"
    if rng is None:
        raise NotImplementedError(
            f"kl_divergence: no closed form is known for {names}; give rng= for a Monte-Carlo estimate, "
            "or register one with @register_kl"
        )
    warnings.warn(
        f"kl_divergence: no closed form is known for {names}; this is a Monte-Carlo estimate from {samples} draws "
        "(estimate_kl gives its standard error)",
        MonteCarloWarning,
        stacklevel=2,
    )
    return estimate_kl(p, q, samples, rng=rng).value


def register_kl(family_p: type, family_q: type) -> Callable:
    """Enter a closed form into the table: a decorator of `f(p, q)`."""

    def enter(function: Callable) -> Callable:
        PAIRS[family_p, family_q] = function
        return function

    return enter


def estimate_kl(p: Distribution, q: Distribution, samples: int, *, rng) -> Estimate:
    """(2), with its standard error; infinite where a draw of p lies outside of q's support.

    Both laws must be discrete, or both continuous: between one of each KL is infinite, and this mean of unlike
    densities says nothing.
    """
    _same_events(p, q)
    return _mean_under(p, lambda x: p._log_density(x) - extended_log_density(q, x), samples, rng)


def estimate_js(p: Distribution, q: Distribution, samples: int, *, rng) -> Estimate:
    r"""The Jensen-Shannon divergence (S2 eq. 4.11, S4 eq. 122) by draws from both laws.

    $$ JS = \tfrac12 \mathbb{E}_p \log \frac{p}{m} + \tfrac12 \mathbb{E}_q \log \frac{q}{m},
       \qquad m = \tfrac12 (p + q). \tag{3} $$

    Both laws must be discrete, or both continuous: between one of each JS is $\log 2$, and this mean of unlike
    densities says nothing.
    """
    _same_events(p, q)
    halves = []
    for one, other in ((p, q), (q, p)):
        halves.append(_mean_under(one, functools.partial(_against_mixture, one, other), samples, rng))
    a, b = halves
    error = tg.sqrt(tg.square(a.standard_error) + tg.square(b.standard_error)) / 2
    return Estimate((a.value + b.value) / 2, error, samples)


def extended_log_density(law: Distribution, x: Tensor) -> Tensor:
    r"""The log density with $-\infty$ outside of the support, where the formula means nothing."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = law._log_density(x)
    inside = Tensor(law.support.contains(x), None)
    return tg.where(inside, value, -math.inf)


def _against_mixture(p, q, x):
    r"""$\log p(x) - \log \tfrac12 (p(x) + q(x))$."""
    log_p = p._log_density(x)
    return log_p - tg.logaddexp(log_p, extended_log_density(q, x)) + math.log(2)


def _mean_under(p, f, samples, rng) -> Estimate:
    """The mean of f over draws of p, whose gradient is that of the expectation."""
    if samples < 2:
        raise ValueError(f"samples is {samples}; at least 2 are wanted, for a standard error")
    if p.has_rsample:
        values = f(p.rsample(samples, rng=rng))
    else:
        x = p.sample(samples, rng=rng)
        log_p = p._log_density(x)
        values = f(x) * tg.exp(log_p - log_p.detach())
    with tg.no_grad(), np.errstate(invalid="ignore"):
        error = tg.std(values.detach(), 0, ddof=1) / math.sqrt(samples)
    return Estimate(tg.mean(values, 0), error, samples)


def _same_events(p, q):
    """Refuse laws that do not live on the same values."""
    if p.event_shape != q.event_shape:
        raise ValueError(f"p and q: {type(p).__name__} has event_shape {p.event_shape}, {type(q).__name__} "
                         f"{q.event_shape}; the same is wanted (S0: p and q must share their domain)")  # fmt: skip


def _as_tensor(value, p, q) -> Tensor:
    """The result as a Tensor, also where both laws have nothing but numbers."""
    return value if isinstance(value, Tensor) else tg.tensor(value, dtype=np.result_type(p.dtype, q.dtype))


# ---- Gaussians ------------------------------------------------------------------------------------------


@register_kl(Normal, Normal)
def _normal(p, q):
    r"""$\log \frac{\sigma_q}{\sigma_p} + \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{2 \sigma_q^2} - \frac12$."""
    ratio = tg.square(p.scale / q.scale)
    return 0.5 * (ratio + tg.square((p.loc - q.loc) / q.scale) - 1 - log(ratio))


@register_kl(DiagonalNormal, DiagonalNormal)
def _diagonal_normal(p, q):
    """The sum of the coordinates' divergences."""
    each = _as_tensor(_normal(p, q), p, q)
    shape = np.broadcast_shapes(each.shape, p.event_shape)
    return tg.sum(tg.broadcast_to(each, shape), -1)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p, q):
    r"""$\tfrac12 \bigl(\operatorname{tr}(\Sigma_q^{-1} \Sigma_p) + \lVert L_q^{-1}(\mu_p - \mu_q) \rVert^2 - d
    + \log \det \Sigma_q - \log \det \Sigma_p\bigr)$; the trace is $\lVert L_q^{-1} L_p \rVert_F^2$."""
    trace = tg.sum(tg.square(tg.linalg.solve_triangular(q.scale_tril, p.scale_tril)), (-2, -1))
    distance = tg.sum(tg.square(whiten(q.scale_tril, p.loc - q.loc)), -1)
    return 0.5 * (trace + distance - p.event_shape[0]) + half_log_det(q.scale_tril) - half_log_det(p.scale_tril)


# ---- discrete laws --------------------------------------------------------------------------------------


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p, q):
    r"""$\sigma(l_p)(l_p - l_q) - \operatorname{softplus}(l_p) + \operatorname{softplus}(l_q)$."""
    return p.probs * (p.logits - q.logits) - tg.softplus(p.logits) + tg.softplus(q.logits)


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(p, q):
    r"""$\sum_j p_j (\log p_j - \log q_j)$; 0 where $p_j = 0$, infinite where only $q_j = 0$."""
    if p.logits.shape[-1] != q.logits.shape[-1]:
        raise ValueError(f"p and q: {p.logits.shape[-1]} and {q.logits.shape[-1]} classes; as many are wanted")
    weight = p.probs
    log_q = tg.where(weight > 0, q.log_probs, 0.0)
    return tg.sum(weight * (bounded(p.log_probs) - log_q), -1)


@register_kl(Poisson, Poisson)
def _poisson(p, q):
    r"""$\lambda_p \log \frac{\lambda_p}{\lambda_q} - \lambda_p + \lambda_q$."""
    return p.rate * (log(p.rate) - log(q.rate)) - p.rate + q.rate


# ---- laws on the line and the half line -----------------------------------------------------------------


@register_kl(Uniform, Uniform)
def _uniform(p, q):
    r"""$\log \frac{b_q - a_q}{b_p - a_p}$ when p's interval lies within q's, else infinite."""
    within = tg.greater_equal(p.low, q.low) & tg.less_equal(p.high, q.high)
    return tg.where(within, log(q.high - q.low) - log(p.high - p.low), math.inf)


@register_kl(Exponential, Exponential)
def _exponential(p, q):
    r"""$\log \frac{\lambda_p}{\lambda_q} + \frac{\lambda_q}{\lambda_p} - 1$."""
    return log(p.rate) - log(q.rate) + q.rate / p.rate - 1


@register_kl(Laplace, Laplace)
def _laplace(p, q):
    r"""$\log \frac{s_q}{s_p} + \frac{s_p}{s_q} e^{-\delta / s_p} + \frac{\delta}{s_q} - 1$, with
    $\delta = |\mu_p - \mu_q|$."""
    gap = tg.abs(p.loc - q.loc)
    return log(q.scale) - log(p.scale) + (p.scale * tg.exp(-gap / p.scale) + gap) / q.scale - 1


@register_kl(Gumbel, Gumbel)
def _gumbel(p, q):
    r"""$-\log r + \gamma (r - 1) + \delta + e^{-\delta}\, \Gamma(1 + r) - 1$, with $r = s_p / s_q$ and
    $\delta = (\mu_p - \mu_q) / s_q$: the third term of $-\log q$ is the mean of $e^{-\delta} e^{-r z}$, and $e^{-z}$
    is exponential."""
    ratio, gap = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return EULER * (ratio - 1) - log(ratio) + gap + tg.exp(lgamma(1 + ratio) - gap) - 1


@register_kl(Gamma, Gamma)
def _gamma(p, q):
    r"""$(\alpha_p - \alpha_q)\psi(\alpha_p) - \log \frac{\Gamma(\alpha_p)}{\Gamma(\alpha_q)}
    + \alpha_q \log \frac{\beta_p}{\beta_q} + \alpha_p \bigl(\frac{\beta_q}{\beta_p} - 1\bigr)$."""
    a, b = p.concentration, q.concentration
    return (
        (a - b) * digamma(a) - lgamma(a) + lgamma(b) + b * (log(p.rate) - log(q.rate)) + a * (q.rate / p.rate - 1)
    )


@register_kl(Beta, Beta)
def _beta(p, q):
    r"""$\log \frac{B(q)}{B(p)} + (a_p - a_q)\psi(a_p) + (b_p - b_q)\psi(b_p)
    - (a_p + b_p - a_q - b_q)\psi(a_p + b_p)$."""
    a, b = p.concentration1, p.concentration0
    c, d = q.concentration1, q.concentration0
    moved = (a - c) * digamma(a) + (b - d) * digamma(b) - (a + b - c - d) * digamma(a + b)
    return log_beta(c, d) - log_beta(a, b) + moved


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p, q):
    r"""$\log \frac{B(\alpha_q)}{B(\alpha_p)} + \sum_i (\alpha_{p,i} - \alpha_{q,i})
    (\psi(\alpha_{p,i}) - \psi(\sum_j \alpha_{p,j}))$."""
    a, b = p.concentration, q.concentration
    slope = digamma(a) - digamma(tg.sum(a, -1, True))
    return log_beta_of(b) - log_beta_of(a) + tg.sum((a - b) * slope, -1)

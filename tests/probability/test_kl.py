"""Closed divergences against quadrature, sums and Monte Carlo; what the estimate promises; what is refused."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats as st
from equations import equation
from hypothesis import given
from hypothesis import strategies as hs

import tinygen as tg
from probability.references import LINE
from tinygen import probability as P
from tinygen.probability.kl import PAIRS, Estimate

#: two laws of one family, by parameters that broadcast
FIRST, SECOND = (np.array([[0.4], [-1.3]]), np.array([0.3, 1.1, 2.5])), (np.array([-0.2]), np.array([[1.4], [0.8]]))
FAMILIES = ["Normal", "Laplace", "Gumbel", "Exponential", "Gamma", "Poisson", "Bernoulli"]


def pair(name, device="cpu"):
    """Two laws, and SciPy's for the same parameters."""
    row = LINE[name]
    on = lambda ps: [tg.tensor(p, device=device) for p in ps]
    return row.make(*on(FIRST)), row.make(*on(SECOND)), row.oracle(*FIRST), row.oracle(*SECOND), row


# ---- closed forms ---------------------------------------------------------------------------------------


@equation(P.kl_divergence, 1)
@pytest.mark.parametrize("name", FAMILIES)
def test_closed_form_is_the_integral(name, device):
    """kl (1): by quadrature over the quantiles of p, or by sums."""
    p, q, sp, sq, row = pair(name, device)
    got = P.kl_divergence(p, q)
    assert got.device == device and got.shape == (2, 3)
    if row.interval is None:
        k = np.arange(2 if name == "Bernoulli" else 120).reshape(-1, 1, 1)
        wanted = (sp.pmf(k) * (sp.logpmf(k) - sq.logpmf(k))).sum(0)
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9)
        return
    t = np.linspace(-36, 36, 60_001).reshape(-1, 1, 1)  # x as a function of a logistic variable: both tails, smoothly
    x = sp.ppf(scipy.special.expit(t))
    x = np.where(t > 0, sp.isf(scipy.special.expit(-t)), x)
    density = scipy.special.expit(t) * scipy.special.expit(-t)
    inside = (x > 0) if row.interval[0] == 0 else np.isfinite(x)
    x = np.where(inside, x, 0.5)
    f = np.where(inside, sp.logpdf(x) - sq.logpdf(x), 0)
    wanted = (density * f).sum(0) * 72 / 60_000
    np.testing.assert_allclose(got.numpy(), wanted, rtol=2e-6, atol=1e-8)


@equation(P.kl_divergence, 1)
def test_beta(device):
    """kl: over the logit s of x, where both ends of (0, 1) are seen exactly."""
    a, b = np.array([[2.4], [0.7]]), np.array([0.3, 1.1, 2.5])
    c, d = np.array([1.8]), np.array([[1.4], [0.8]])
    s = np.linspace(-200, 200, 40_001).reshape(-1, 1, 1)
    left, right = -np.logaddexp(0, -s), -np.logaddexp(0, s)  # log x, log(1 - x)
    log_p = a * left + b * right - scipy.special.betaln(a, b)
    log_q = c * left + d * right - scipy.special.betaln(c, d)
    wanted = (np.exp(log_p) * (log_p - log_q)).sum(0) * 0.01
    p, q = (P.Beta(*[tg.tensor(v, device=device) for v in ps]) for ps in ((a, b), (c, d)))
    np.testing.assert_allclose(P.kl_divergence(p, q).numpy(), wanted, rtol=1e-10)


@pytest.mark.parametrize("name", [*FAMILIES, "Beta", "Uniform"])
def test_a_law_is_at_no_distance_from_itself(name):
    law = LINE[name].make(*FIRST)
    np.testing.assert_allclose(P.kl_divergence(law, law).numpy(), 0, atol=1e-13)


def test_every_closed_form_is_tested():
    vectors = {"DiagonalNormal", "MultivariateNormal", "Dirichlet", "Categorical", "OneHotCategorical"}
    here = {*FAMILIES, "Beta", "Uniform"} | vectors
    assert {a.__name__ for a, b in PAIRS if a is b} == here


@equation(P.kl_divergence, 1)
def test_gaussians(device):
    """kl: MultivariateNormal against the textbook formula and the diagonal and one-dimensional cases."""
    rng = np.random.default_rng(0)
    m, n = rng.normal(size=(2, 4, 3))
    a, b = (x @ x.swapaxes(-1, -2) + np.eye(3) for x in rng.normal(size=(2, 4, 3, 3)))
    on = lambda v: tg.tensor(v, device=device)
    got = P.kl_divergence(P.MultivariateNormal(on(m), covariance=on(a)), P.MultivariateNormal(on(n), covariance=on(b)))
    inverse = np.linalg.inv(b)
    quadratic = np.einsum("ni,nij,nj->n", m - n, inverse, m - n)
    trace = np.trace(inverse @ a, axis1=1, axis2=2)
    wanted = 0.5 * (trace + quadratic - 3 + np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1])
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12)
    s, r = np.exp(rng.normal(size=(2, 4, 3)))
    diagonal = P.kl_divergence(P.DiagonalNormal(on(m), on(s)), P.DiagonalNormal(on(n), on(r)))
    wide = [P.MultivariateNormal(loc, scale_tril=tg.diag(scale)) for loc, scale in ((m, s), (n, r))]
    full = P.kl_divergence(*wide)
    np.testing.assert_allclose(diagonal.numpy(), full.numpy(), rtol=1e-12)
    line = P.kl_divergence(P.Normal(on(m), on(s)), P.Normal(on(n), on(r)))
    np.testing.assert_allclose(diagonal.numpy(), line.numpy().sum(-1), rtol=1e-12)


def test_the_vaes_divergence():
    """S4 105-106: against N(0, I) it is half the sum of sigma^2 + mu^2 - 1 - log sigma^2."""
    mu, log_var = np.array([[0.3, -1.0], [2.0, 0.0]]), np.array([[0.1, -2.0], [0.0, 1.0]])
    wanted = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(-1)
    got = P.kl_divergence(P.DiagonalNormal(mu, np.exp(log_var / 2)), P.DiagonalNormal(np.zeros(2), 1.0))
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-14)


def test_dirichlet_by_monte_carlo_and_by_beta():
    a, b = np.array([0.7, 2.0, 3.0]), np.array([1.5, 1.0, 0.8])
    p, q = P.Dirichlet(a), P.Dirichlet(b)
    estimate = P.estimate_kl(p, q, 20_000, rng=tg.random.Generator(0))
    assert abs(estimate.value.item() - P.kl_divergence(p, q).item()) < 4 * estimate.standard_error.item()
    beta = P.kl_divergence(P.Beta(0.7, 2.0), P.Beta(1.5, 1.0)).item()
    assert P.kl_divergence(P.Dirichlet(a[:2]), P.Dirichlet(b[:2])).item() == pytest.approx(beta, rel=1e-6)


def test_classes(device):
    p, q = np.array([[0.2, 0.3, 0.5], [0.0, 0.4, 0.6]]), np.array([[0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    wanted = scipy.special.rel_entr(p, q).sum(-1)
    for family in (P.Categorical, P.OneHotCategorical):
        got = P.kl_divergence(*[family(probs=tg.tensor(v, device=device)) for v in (p, q)])
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12)
    ruled = lambda *logits: P.Categorical(logits=np.array(logits))
    assert P.kl_divergence(ruled(0.0, -np.inf), ruled(0.0, -np.inf)).item() == 0
    assert P.kl_divergence(ruled(0.0, -np.inf), ruled(0.0, 0.0)).item() == pytest.approx(math.log(2))
    assert P.kl_divergence(ruled(0.0, 0.0), ruled(0.0, -np.inf)).item() == math.inf


def test_uniform_laws_must_be_nested():
    """S0: p must vanish where q does, else the divergence is infinite."""
    p, q = P.Uniform(1.0, 2.0), P.Uniform(np.array([0.0, 1.0, 1.5]), np.array([4.0, 2.0, 3.0]))
    np.testing.assert_allclose(P.kl_divergence(p, q).numpy(), [math.log(4), 0, math.inf])
    assert P.kl_divergence(P.Uniform(0.0, 1.0), P.Uniform(0.0, 2.0)).item() == pytest.approx(math.log(2))


numbers = hs.floats(-3, 3)


@given(name=hs.sampled_from([*FAMILIES, "Beta", "Uniform"]), a=numbers, b=numbers, c=numbers, d=numbers)
def test_never_negative(name, a, b, c, d):
    """kl (1): Gibbs' inequality."""
    if name == "Exponential":
        p, q = P.Exponential(np.array([math.exp(a)])), P.Exponential(np.array([math.exp(b)]))
    elif name in ("Gamma", "Beta"):
        p, q = (getattr(P, name)(np.array([math.exp(u)]), np.array([math.exp(v)])) for u, v in ((a, b), (c, d)))
    elif name in ("Poisson", "Bernoulli"):
        make = P.Poisson if name == "Poisson" else lambda r: P.Bernoulli(logits=np.log(r))
        p, q = make(np.array([math.exp(a)])), make(np.array([math.exp(b)]))
    elif name == "Uniform":
        p, q = P.Uniform(np.array([a]), np.array([a + 1])), P.Uniform(np.array([c]), np.array([c + math.exp(d)]))
    else:
        p, q = (getattr(P, name)(np.array([u]), np.array([math.exp(v)])) for u, v in ((a, b), (c, d)))
    assert P.kl_divergence(p, q).item() >= -1e-12


# ---- estimates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FAMILIES, "Beta", "Uniform"])
def test_estimate_meets_the_closed_form(name):
    """kl (2), with its standard error."""
    row = LINE[name]
    p, q = row.make(*FIRST), row.make(*SECOND)
    if name == "Uniform":
        p, q = P.Uniform(-1.0, np.array([0.5, 2.0])), P.Uniform(-2.0, 3.0)
    estimate = P.estimate_kl(p, q, 4000, rng=tg.random.Generator(1))
    assert isinstance(estimate, Estimate) and estimate.samples == 4000
    off = np.abs(estimate.value.numpy() - P.kl_divergence(p, q).numpy())
    assert (off <= 4.5 * estimate.standard_error.numpy() + 1e-6).all()


@equation(P.estimate_kl, 2)
@equation(P.estimate_js, 3)
def test_estimates_are_their_formulas():
    """kl (2) and (3), and the standard errors, on the very draws."""
    p, q = P.Normal(np.array([0.3, 1.0]), 1.5), P.Normal(-0.5, np.array([1.0, 2.0]))
    x = p.sample(50, rng=tg.random.Generator(4)).numpy()
    ratio = st.norm([0.3, 1.0], 1.5).logpdf(x) - st.norm(-0.5, [1.0, 2.0]).logpdf(x)
    value, error, n = P.estimate_kl(p, q, 50, rng=tg.random.Generator(4))
    np.testing.assert_allclose(value.numpy(), ratio.mean(0), rtol=1e-12)
    np.testing.assert_allclose(error.numpy(), ratio.std(0, ddof=1) / math.sqrt(50), rtol=1e-12)
    rng = tg.random.Generator(5)
    f, g = st.norm([0.3, 1.0], 1.5).pdf, st.norm(-0.5, [1.0, 2.0]).pdf
    halves = [np.log(2 * a(v) / (a(v) + b(v))) for a, b, v in
              ((f, g, p.sample(50, rng=rng).numpy()), (g, f, q.sample(50, rng=rng).numpy()))]  # fmt: skip
    value, error, n = P.estimate_js(p, q, 50, rng=tg.random.Generator(5))
    np.testing.assert_allclose(value.numpy(), np.mean(halves, (0, 1)), rtol=1e-12)
    variance = sum(h.var(0, ddof=1) / 50 for h in halves) / 4
    np.testing.assert_allclose(error.numpy(), np.sqrt(variance), rtol=1e-12)


def test_fallback_warns_and_needs_a_generator():
    p, q = P.Normal(0.0, 1.0), P.Laplace(0.0, 1.0)
    with pytest.raises(NotImplementedError, match="no closed form is known for Normal and Laplace; give rng="):
        P.kl_divergence(p, q)
    with pytest.warns(P.MonteCarloWarning, match="Normal and Laplace; this is a Monte-Carlo estimate from 20000 draws"):
        got = P.kl_divergence(p, q, rng=tg.random.Generator(0), samples=20_000)
    wanted = scipy.integrate.quad(lambda x: st.norm.pdf(x) * (st.norm.logpdf(x) - st.laplace.logpdf(x)), -30, 30)[0]
    assert got.item() == pytest.approx(wanted, abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        P.kl_divergence(p, p, rng=tg.random.Generator(0))  # closed: no warning, and nothing is drawn


def test_estimate_is_infinite_where_q_has_no_mass():
    estimate = P.estimate_kl(P.Normal(0.0, 1.0), P.Gamma(2.0, 1.0), 100, rng=tg.random.Generator(0))
    assert estimate.value.item() == math.inf


@pytest.mark.parametrize("name", ["Poisson", "Bernoulli", "Normal", "Gamma"])
def test_gradient_of_the_estimate_is_unbiased(name):
    """kl: through the draws where they are reparameterised (Normal, Gamma), else by the factor of value 1."""
    row = LINE[name]
    leaves = [tg.tensor(np.array(v), requires_grad=True) for v in (0.4, 1.1, -0.1, 0.8)]
    p, q = row.make(*leaves[:2]), row.make(*leaves[2:])
    estimate = P.estimate_kl(p, q, 60_000, rng=tg.random.Generator(2))
    got = [g.item() for g in tg.grad(estimate.value, leaves)]
    p, q = row.make(*leaves[:2]), row.make(*leaves[2:])
    wanted = [g.item() for g in tg.grad(P.kl_divergence(p, q), leaves)]
    np.testing.assert_allclose(got, wanted, atol=0.03)


def test_jensen_shannon_by_draws():
    """kl (3), against quadrature; log 2 where the supports are disjoint."""
    p, q = P.Normal(0.0, 1.0), P.Normal(2.0, 0.5)
    f, g = st.norm(0, 1).pdf, st.norm(2, 0.5).pdf
    term = lambda a, b: lambda x: a(x) * math.log(2 * a(x) / (a(x) + b(x))) if a(x) else 0
    half = lambda a, b: scipy.integrate.quad(term(a, b), -9, 9)[0]
    estimate = P.estimate_js(p, q, 20_000, rng=tg.random.Generator(3))
    assert abs(estimate.value.item() - (half(f, g) + half(g, f)) / 2) < 4 * estimate.standard_error.item()
    apart = P.estimate_js(P.Uniform(0.0, 1.0), P.Uniform(2.0, 3.0), 100, rng=tg.random.Generator(3))
    assert apart.value.item() == pytest.approx(math.log(2)) and apart.standard_error.item() < 1e-7


def test_refused():
    with pytest.raises(ValueError, match=r"Normal has event_shape \(\), DiagonalNormal \(2,\); the same is wanted"):
        P.kl_divergence(P.Normal(0.0, 1.0), P.DiagonalNormal(np.zeros(2), 1.0))
    with pytest.raises(ValueError, match="3 and 2 classes; as many are wanted"):
        P.kl_divergence(P.Categorical(logits=np.zeros(3)), P.Categorical(logits=np.zeros(2)))
    with pytest.raises(ValueError, match="samples is 1; at least 2"):
        P.estimate_kl(P.Normal(0.0, 1.0), P.Normal(0.0, 1.0), 1, rng=tg.random.Generator(0))


def test_register_kl():
    class Coin(P.Bernoulli):
        pass

    @P.register_kl(Coin, Coin)
    def _(p, q):
        return tg.square(p.logits - q.logits)

    try:
        a = P.kl_divergence(Coin(logits=np.array([1.0])), Coin(logits=np.array([3.0])))
        assert a.item() == 4
    finally:
        del PAIRS[Coin, Coin]

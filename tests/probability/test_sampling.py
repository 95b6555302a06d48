"""Draws have the law they claim (fixed seeds, tests at 1e-4), and their gradients are those of the expectation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats as st
from equations import equation

import tinygen as tg
from probability.gamma_reference import ROWS
from probability.references import CONTINUOUS, DISCRETE, LINE, REPARAMETERISED, VECTORS
from tinygen import probability as P
from tinygen.autograd import check_grads
from tinygen.probability.distribution import on_noise
from tinygen.probability.gamma_path import (
    density_derivative,
    draw_log_gamma,
    log_gamma_draw,
    next_derivative,
    shape_derivative,
)

N = 20_000
LEVEL = 1e-4  # below which a p-value fails a test; seeds are fixed, so a pass stays a pass


def rng(seed=0):
    return tg.random.Generator(seed)


# ---- the law of the draws -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_pass_kolmogorov_smirnov(name, dtype):
    row = LINE[name]
    law = row.make(*[tg.tensor(p, dtype=dtype) for p in row.parameters])
    x = law.sample(N, rng=rng(1)).numpy().astype(float)
    oracle = row.oracle(*row.parameters)
    for i in np.ndindex(2, 3):
        at = lambda v, i=i: oracle.cdf(np.asarray(v).reshape(-1, 1, 1))[:, i[0], i[1]]
        assert st.kstest(x[:, *i], at).pvalue > LEVEL
    assert law.support.contains(law.sample(N, rng=rng(1))).all()


@pytest.mark.parametrize("name", DISCRETE)
def test_draws_pass_chi_square(name):
    row = LINE[name]
    x = row.make(*row.parameters).sample(N, rng=rng(2)).numpy()
    values = np.arange(2 if "Bernoulli" in name else 40)
    expected = N * row.oracle(*row.parameters).pmf(values.reshape(-1, 1, 1))
    for i in np.ndindex(2, 3):
        assert chi_square((x[:, *i, None] == values).sum(0), expected[:, *i]) > LEVEL


def chi_square(counts, expected):
    """The p-value, rare outcomes put together."""
    rare = expected < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], max(counts.sum() - expected[~rare].sum(), 1e-9))
    if expected[-1] < 10:
        counts, expected = np.append(counts[:-2], counts[-2:].sum()), np.append(expected[:-2], expected[-2:].sum())
    return st.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("rate", [1e-3, 0.3, 7.0, 300.0, 1e6])
def test_poisson_draws_at_all_rates(rate):
    x = P.Poisson(rate).sample(N, rng=rng(3)).numpy()
    levels = np.linspace(0.1, 0.9, 9)
    edges = np.unique(st.poisson(rate).ppf(levels))
    counts = np.histogram(x, [-np.inf, *(edges + 0.5), np.inf])[0]
    expected = N * np.diff([0, *st.poisson(rate).cdf(edges), 1])
    assert chi_square(counts, expected) > LEVEL


@pytest.mark.parametrize("alpha", [0.02, 0.3, 1.0, 1.5, 40.0, 1e4])
def test_gamma_draws_at_all_shapes(alpha):
    """gamma_path (1), and the boost below 1: uniform levels, by the smaller of the tails."""
    log_x = draw_log_gamma(np.full(N, alpha), rng(4))
    x = np.exp(log_x)
    tiny = np.exp(np.minimum(alpha * log_x - scipy.special.gammaln(alpha + 1), 0))  # the level where x underflows
    level = np.where(log_x < -25, tiny, scipy.special.gammainc(alpha, x))
    assert st.kstest(level, "uniform").pvalue > LEVEL


@equation(draw_log_gamma, 1)
@pytest.mark.parametrize("alpha", [0.3, 1.0, 1.5, 40.0])
def test_gamma_draws_are_marsaglia_and_tsangs(alpha):
    """gamma_path (1), one number at a time, from the generator's own z and u."""
    d = (alpha + 1 if alpha < 1 else alpha) - 1 / 3
    rejected = 0
    for seed in range(100):
        draws = rng(seed)
        while True:
            z, u = draws.normal(1, dtype="float64")[0], 1 - draws.uniform(1, dtype="float64")[0]
            v = (1 + z / np.sqrt(9 * d)) ** 3
            if v > 0 and np.log(u) < z**2 / 2 + d * (1 - v + np.log(v)):
                break
            rejected += 1
        x = d * v * ((1 - draws.uniform(1, dtype="float64")[0]) ** (1 / alpha) if alpha < 1 else 1)
        np.testing.assert_allclose(draw_log_gamma(np.array([alpha]), rng(seed))[0], np.log(x), rtol=1e-9)
    assert rejected or alpha == 40  # at 40 all but 0.1 percent are kept


def test_tiny_shapes_give_draws_that_densities_accept():
    """gamma: draws that would round to 0 or 1 stay inside the open set."""
    for dtype in ("float32", "float64"):
        a = tg.tensor([0.01, 0.02, 0.03], dtype=dtype)
        for law in (P.Gamma(a, 1.0), P.Beta(a, a), P.Dirichlet(a)):
            assert np.isfinite(law.log_prob(law.sample(2000, rng=rng(5))).numpy()).all()


def test_vector_draws_have_their_moments():
    for name, row in VECTORS.items():
        law = row.make(*row.parameters)
        x = law.sample(N, rng=rng(6)).numpy()
        error = np.sqrt(law.variance.numpy() / N)
        assert (np.abs(x.mean(0) - law.mean.numpy()) < 4.5 * error).all(), name
        np.testing.assert_allclose(x.var(0), law.variance.numpy(), rtol=0.06)
        if hasattr(law, "covariance"):
            for j in range(2):
                slack = 0.05 * law.variance.numpy().max()
                np.testing.assert_allclose(np.cov(x[:, j].T), law.covariance.numpy()[j], atol=slack)


def test_dirichlet_marginals_are_beta():
    a = np.array([0.4, 1.5, 3.0])
    x = P.Dirichlet(a).sample(N, rng=rng(7)).numpy()
    for i in range(3):
        assert st.kstest(x[:, i], st.beta(a[i], a.sum() - a[i]).cdf).pvalue > LEVEL


def test_categorical_draws():
    p = np.array([[0.1, 0.0, 0.9], [0.3, 0.3, 0.4]])
    x = P.Categorical(probs=p).sample(N, rng=rng(8)).numpy()
    assert chi_square((x[:, 0, None] == [0, 2]).sum(0), N * p[0, [0, 2]]) > LEVEL
    assert chi_square((x[:, 1, None] == [0, 1, 2]).sum(0), N * p[1]) > LEVEL


def test_gumbel_softmax_has_the_categorical_in_it():
    """relaxed (1): the largest coordinate is a categorical draw, at any temperature."""
    p = np.array([0.2, 0.5, 0.3])
    for temperature in (0.1, 1.0, 5.0):
        law = P.GumbelSoftmax(temperature, probs=p)
        x = law.sample(N, rng=rng(9)).numpy()
        assert chi_square(np.bincount(x.argmax(-1)), N * p) > LEVEL
        np.testing.assert_allclose(x.sum(-1), 1, rtol=1e-12)
        assert np.isfinite(law.log_prob(x).numpy()).all()
    hard = P.GumbelSoftmax(0.5, probs=p).rsample(N, rng=rng(9), straight_through=True)
    assert set(np.unique(hard.numpy())) == {0.0, 1.0}


def test_straight_through_has_the_gradient_of_the_soft_draw():
    logits = tg.tensor(np.array([0.3, -0.2, 1.0]), requires_grad=True)
    law, w = P.GumbelSoftmax(0.7, logits=logits), np.array([1.0, -2.0, 0.5])
    hard, soft = (tg.sum(law.rsample(5, rng=rng(1), straight_through=s) * w) for s in (True, False))
    np.testing.assert_allclose(tg.grad(hard, logits).numpy(), tg.grad(soft, logits).numpy(), rtol=1e-12)


def test_mixture_draws():
    law = P.Mixture(P.Normal(np.array([-2.0, 1.0]), np.array([0.5, 2.0])), probs=np.array([0.3, 0.7]))
    cdf = lambda x: 0.3 * st.norm(-2, 0.5).cdf(x) + 0.7 * st.norm(1, 2).cdf(x)
    x = law.sample((N // 100, 100), rng=rng(10)).numpy()
    assert st.kstest(x.ravel(), cdf).pvalue > LEVEL


INVERTED = {"Uniform": 1, "Exponential": 2, "Laplace": 3, "Gumbel": 4}


@pytest.mark.parametrize("name", ["Normal", *[pytest.param(n, marks=equation(getattr(P, n).rsample, k))
                                              for n, k in INVERTED.items()]])  # fmt: skip
def test_draws_invert_the_distribution_function(name):
    """inversion (1) to (4): the draw is SciPy's quantile of the generator's own uniform number (of 1 - u in (2))."""
    row = LINE[name]
    x = row.make(*row.parameters).sample(50, rng=rng(20)).numpy()
    oracle = row.oracle(*row.parameters)
    if name == "Normal":
        wanted = row.parameters[0] + row.parameters[1] * rng(20).normal((50, 2, 3), dtype="float64")
    else:
        u = rng(20).uniform((50, 2, 3), dtype="float64")
        wanted = oracle.isf(u) if name == "Exponential" else oracle.ppf(u)
    np.testing.assert_allclose(x, wanted, rtol=1e-9, atol=1e-12)


@equation(P.GumbelSoftmax.rsample, 1)
def test_vector_draws_are_their_formulas():
    """normal: mu + L eps; relaxed (1)."""
    noise = rng(21).normal((9, 2, 3), dtype="float64")
    m, s = VECTORS["DiagonalNormal"].parameters
    np.testing.assert_allclose(P.DiagonalNormal(m, s).sample(9, rng=rng(21)).numpy(), m + s * noise, rtol=1e-12)
    m, factor = VECTORS["MultivariateNormal"].parameters
    x = P.MultivariateNormal(m, scale_tril=factor).sample(9, rng=rng(21)).numpy()
    np.testing.assert_allclose(x, m + (factor @ noise[..., None])[..., 0], rtol=1e-12)
    logits = np.array([0.3, -1.0, 0.4])
    g = -np.log(-np.log(rng(21).uniform((9, 3), dtype="float64")))
    x = P.GumbelSoftmax(0.6, logits=logits).sample(9, rng=rng(21)).numpy()
    np.testing.assert_allclose(x, scipy.special.softmax((logits + g) / 0.6, -1), rtol=1e-10)


# ---- gradients of expectations --------------------------------------------------------------------------

smooth = lambda x: tg.sin(1.3 * x) + 0.2 * x * x


@pytest.mark.parametrize("name", REPARAMETERISED)
def test_pathwise_gradient_is_that_of_the_expectation(name):
    """distribution (2): against common random numbers (where a draw is one formula), the score, and quadrature."""
    row = LINE[name]
    leaves = [tg.tensor(np.array(v), requires_grad=True) for v in (0.4, 1.1)]
    n = 40_000
    x = row.make(*leaves).rsample(n, rng=rng(11))
    path = [g.item() for g in tg.grad(tg.mean(smooth(x)), leaves, allow_unused=True) if g is not None]

    def expectation(a, b):
        u = (np.arange(200_000) + 0.5) / 200_000  # the mean over quantiles
        return smooth(row.oracle(a, b).ppf(u)).mean()

    h = 1e-4
    exact = [(expectation(0.4 + h, 1.1) - expectation(0.4 - h, 1.1)) / (2 * h),
             (expectation(0.4, 1.1 + h) - expectation(0.4, 1.1 - h)) / (2 * h)]  # fmt: skip
    law = row.make(*leaves)
    drawn = x.detach()
    f = smooth(drawn).numpy()
    if name != "Uniform":  # whose support moves with its parameters: the score has no such term
        log_p = law.log_prob(drawn)
        score = [g.item() for g in tg.grad(tg.mean((f - f.mean()) * log_p), leaves)]
        np.testing.assert_allclose(score, exact, atol=0.09)
    np.testing.assert_allclose(path, exact, atol=0.03)
    if name not in ("Gamma", "Beta"):  # their draws jump where a rejection turns into an acceptance
        draw = lambda *v: smooth(row.make(*[np.array([p]) for p in v]).rsample(n, rng=rng(11)).numpy()).mean()
        common = [(draw(0.4 + h, 1.1) - draw(0.4 - h, 1.1)) / (2 * h),
                  (draw(0.4, 1.1 + h) - draw(0.4, 1.1 - h)) / (2 * h)]  # fmt: skip
        np.testing.assert_allclose(path, common, rtol=1e-6)


@equation(on_noise, 2)
def test_pathwise_gradient_is_exact_under_quadrature():
    """distribution (2) without noise: the generator gives the nodes of Gauss and Hermite, sin(1.3 x) + 0.2 x^2 is f."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)

    class Nodes:
        def normal(self, shape, dtype):
            return nodes

    mu, sigma = leaves = [tg.tensor(np.array(v), requires_grad=True) for v in (0.4, 1.1)]
    inside = tg.sum(smooth(P.Normal(mu, sigma).rsample(40, rng=Nodes())) * (weights / weights.sum()))
    expectation = tg.sin(1.3 * mu) * tg.exp(-tg.square(1.3 * sigma) / 2) + 0.2 * (tg.square(mu) + tg.square(sigma))
    for found, wanted in zip(tg.grad(inside, leaves), tg.grad(expectation, leaves), strict=True):
        assert found.item() == pytest.approx(wanted.item(), rel=1e-10)


def test_pathwise_gradients_of_vectors():
    """E[x_i x_j] of a Gaussian, E[x_i^2] of a Dirichlet: the gradients are known in closed form."""
    factor = tg.tensor(np.array([[1.0, 0.0], [0.5, 2.0]]), requires_grad=True)
    x = P.MultivariateNormal(np.zeros(2), scale_tril=factor).rsample(60_000, rng=rng(12))
    got = tg.grad(tg.mean(x[:, 0] * x[:, 1]), factor).numpy()
    np.testing.assert_allclose(got, [[0.5, 0.0], [1.0, 0.0]], atol=0.03)  # (L L^T)_01 = L00 L10
    a = tg.tensor(np.array([0.7, 1.5, 3.0]), requires_grad=True)
    wanted = tg.grad(a[0] * (a[0] + 1) / (tg.sum(a) * (tg.sum(a) + 1)), a).numpy()
    x = P.Dirichlet(a).rsample(60_000, rng=rng(13))
    np.testing.assert_allclose(tg.grad(tg.mean(tg.square(x[:, 0])), a).numpy(), wanted, atol=3e-3)


# ---- the path of a gamma draw ---------------------------------------------------------------------------


@equation(shape_derivative, 2)
def test_shape_derivatives_to_sixty_digits():
    """gamma_path (2): D_1 to 1e-10 and D_2 to 1e-7, from alpha = 0.01 to 10,000 and out to 4.5 deviations."""
    alpha, y, first, second = np.array(ROWS).T
    np.testing.assert_allclose(shape_derivative(alpha, y), first, rtol=1e-10)
    np.testing.assert_allclose(shape_derivative(alpha, y, 2), second, rtol=1e-7)
    np.testing.assert_allclose(shape_derivative(alpha * 1.001, y) / first == 1, False)  # and not by saying nothing


def test_shape_derivatives_meet_at_the_series():
    """gamma_path: both sides of y = -25."""
    for alpha in (0.01, 0.3, 2.0):
        for order in (1, 2):
            left, right = (shape_derivative(np.array(alpha), np.array(-25.0 + s), order) for s in (-1e-9, 1e-9))
            assert left == pytest.approx(float(right), rel=1e-6)


@equation(next_derivative, 3)
@equation(density_derivative, 3)
def test_gamma_path_is_the_quantile_at_a_fixed_level(device):
    """gamma_path (2) and (3), against differences of SciPy's quantile, at orders 1 and 2."""
    level = np.array([1e-5, 0.02, 0.3, 0.5, 0.9, 0.9999])
    alpha = np.array([0.3, 0.9, 1.0, 2.5, 30.0, 400.0])

    def draw(alpha):
        drawn = np.log(scipy.special.gammaincinv(alpha.numpy(), level))
        return log_gamma_draw(alpha, tg.tensor(drawn, device=device).data)

    assert check_grads(draw, (tg.tensor(alpha, device=device),), order=2) < 1e-8


def test_draws_are_their_formulas():
    """gamma: the draw itself and its gradient, to rounding, for the law and its two children."""
    a, b = np.array([0.4, 2.5, 9.0]), np.array([1.3, 0.2, 4.0])
    leaves = [tg.tensor(v, requires_grad=True) for v in (a, b)]
    y = draw_log_gamma(a, rng(3))
    x = P.Gamma(*leaves).rsample(rng=rng(3))
    np.testing.assert_allclose(x.numpy(), np.exp(y) / b, rtol=1e-13)
    by_shape, by_rate = tg.grad(tg.sum(x), leaves)
    np.testing.assert_allclose(by_shape.numpy(), -np.exp(y) / b * shape_derivative(a, y), rtol=1e-12)
    np.testing.assert_allclose(by_rate.numpy(), -np.exp(y) / b**2, rtol=1e-12)
    both = rng(3)
    one, other = np.exp(draw_log_gamma(a, both)), np.exp(draw_log_gamma(b, both))
    np.testing.assert_allclose(P.Beta(a, b).rsample(rng=rng(3)).numpy(), one / (one + other), rtol=1e-12)
    np.testing.assert_allclose(P.Dirichlet(a).rsample(rng=rng(3)).numpy(), np.exp(y) / np.exp(y).sum(), rtol=1e-12)


def test_gamma_draws_differentiate_twice_and_not_thrice():
    a = tg.tensor(np.array([0.8, 3.0]), requires_grad=True)
    x = P.Gamma(a, 2.0).rsample((), rng=rng(0))
    first = tg.grad(tg.sum(x), a, create_graph=True)
    second = tg.grad(tg.sum(first), a, create_graph=True)
    assert np.isfinite(second.numpy()).all()
    with pytest.raises(tg.autograd.GraphError, match="differentiate twice, not three times"):
        tg.grad(tg.sum(second), a)


def test_second_derivative_of_an_expectation():
    """E log x = psi(alpha), so its derivatives are polygammas: orders 1 and 2 through the draws."""
    a = tg.tensor(np.array(2.3), requires_grad=True)
    x = P.Gamma(a, 1.0).rsample(60_000, rng=rng(14))
    first = tg.grad(tg.mean(tg.log(x)), a, create_graph=True)
    second = tg.grad(first, a)
    assert first.item() == pytest.approx(float(scipy.special.polygamma(1, 2.3)), rel=0.01)
    assert second.item() == pytest.approx(float(scipy.special.polygamma(2, 2.3)), rel=0.03)


def test_rules_print():
    """Both rows print their rules, as every primitive must."""
    from tinygen.formulas.symbols import rules

    for row in (log_gamma_draw, shape_derivative):
        texts = [s.text for s in rules(row.primitive)]
        assert texts and all("=" in t for t in texts)

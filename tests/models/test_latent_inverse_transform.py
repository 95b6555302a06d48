"""Inverse-transform sampling and the conditional transform: laws by SciPy, integrals, and tests of fit."""

import doctest
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import ConditionalTransform, GaussianMixture
from tinygen.models.latent import inverse_transform as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
MIX = np.array([0.3, 0.5, 0.2]), np.array([-2.0, 0.5, 3.0]), np.array([0.4, 1.0, 0.1])


def mixed(x):
    """The mixture's distribution function, by SciPy."""
    return sum(w * scipy.stats.norm.cdf(x, m, s) for w, m, s in zip(*MIX, strict=True))


LAWS = {"Weibull": (chapter.weibull(1.7), scipy.stats.weibull_min(1.7).cdf),
        "logistic": (chapter.logistic(), scipy.stats.logistic.cdf),
        "Cauchy": (chapter.cauchy(), scipy.stats.cauchy.cdf), "Maxwell": (chapter.maxwell(), scipy.stats.maxwell.cdf),
        "mixture": (chapter.normal_mixture(*MIX), mixed)}  # fmt: skip
each_law = pytest.mark.parametrize("law", LAWS)
U = np.array([1e-9, 0.001, 0.2, 0.5, 0.9, 0.999999])


# ---- on the line ----------------------------------------------------------------------------------------


@equation(chapter.bisect, 5)
@equation(chapter.invert, 1)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 6))
def test_the_inverse_of_steps_is_the_first_place_that_is_high_enough(seed, m):  # (1) and (5)
    draw = np.random.default_rng(seed)
    places, chances = np.sort(draw.normal(size=m)), draw.dirichlet(np.ones(m))
    law = chapter.steps(places, chances)
    u = draw.uniform(0.001, 0.999, 20)
    total = np.cumsum(chances)
    expected = [places[min(np.flatnonzero(total >= v))] for v in u]
    np.testing.assert_allclose(chapter.invert(law.cdf, u), expected, rtol=1e-9, atol=1e-12)
    reaches = lambda x: law.cdf(x) >= u
    np.testing.assert_allclose(chapter.bisect(reaches, np.full(20, -9.0), np.full(20, 9.0)), expected, atol=1e-12)
    for v, x in zip(u, expected, strict=True):  # F^{-1}(u) <= x exactly if u <= F(x)
        for at in (x - 1e-6, x, x + 1e-6):
            assert (x <= at) == (v <= float(law.cdf(np.array([at]))[0]))


def test_looks_halve_the_bracket():  # (5)
    for t in (0, 1, 5, 20):
        found = chapter.bisect(lambda x: x >= 0.3, np.zeros(1), np.ones(1), t)
        assert 0 <= found[0] - 0.3 <= 2.0**-t
    assert chapter.bisect(lambda x: x >= 0.3, np.zeros(1), np.ones(1), 2)[0] == 0.5


@each_law
def test_distribution_functions_are_scipys(law):
    x = np.linspace(-6, 8, 57)
    np.testing.assert_allclose(LAWS[law][0].cdf(x), LAWS[law][1](x), rtol=1e-9, atol=1e-15)


@equation(chapter.weibull, 3)
@equation(chapter.logistic, 3)
@equation(chapter.cauchy, 3)
@pytest.mark.parametrize("law", ["Weibull", "logistic", "Cauchy"])
def test_quantiles_in_closed_form(law):  # (3), against bisection of SciPy's distribution function
    make = {"Weibull": lambda: chapter.weibull(1.7), "logistic": chapter.logistic, "Cauchy": chapter.cauchy}
    for name, build in make.items():  # all of them, so that each mutant is seen
        found, cdf = build(), LAWS[name][1]
        np.testing.assert_allclose(found.quantile(U), chapter.invert(cdf, U), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.cdf(found.quantile(U)), U, rtol=1e-6)
    assert LAWS[law][0].quantile(np.array([0.5]))[0] == pytest.approx({"Weibull": math.log(2) ** (1 / 1.7)}.get(law, 0))


@equation(chapter.maxwell, 4)
@equation(chapter.normal_mixture, 4)
def test_distribution_functions_are_integrals():  # (4)
    density = lambda x: math.sqrt(2 / math.pi) * x * x * math.exp(-x * x / 2)
    for x in (0.3, 1.0, 2.5):
        assert chapter.maxwell().cdf(np.array([x]))[0] == pytest.approx(
            scipy.integrate.quad(density, 0, x)[0], rel=1e-9
        )
    assert chapter.maxwell().cdf(np.array([-1.0]))[0] == 0
    x = np.linspace(-4, 4, 9)
    np.testing.assert_allclose(chapter.normal_mixture(*MIX).cdf(x), mixed(x), rtol=1e-9)


@each_law
@equation(chapter.Law.sample, 2)
def test_draws_have_the_law(law):  # (2), the bar: not rejected at 1 %
    ours, cdf = LAWS[law]
    x = ours.sample(20_000, tg.random.Generator(sum(map(ord, law))))
    assert scipy.stats.kstest(x, cdf).pvalue > 0.01
    wrong = scipy.stats.kstest(x + 0.05, cdf).pvalue
    assert wrong < 0.01  # and the test could notice
    u = chapter.open_uniform(tg.random.Generator(3), (5,))
    drawn = ours.sample(5, tg.random.Generator(3))
    np.testing.assert_allclose(cdf(drawn), u, rtol=1e-7)  # one uniform number each


def test_a_die_is_fair():  # (2) with jumps
    x = chapter.steps(np.arange(1.0, 7), np.full(6, 1 / 6)).sample(12_000, tg.random.Generator(0))
    counts = np.bincount(x.round().astype(int), minlength=7)[1:]
    assert scipy.stats.chisquare(counts).pvalue > 0.01 and abs(x - x.round()).max() < 1e-12


def test_the_normal_distribution_function_keeps_its_tail():
    x = np.array([-35.0, -8.0, 0.0, 2.0])
    np.testing.assert_allclose(chapter.normal_cdf(x), scipy.stats.norm.cdf(x), rtol=1e-12)


# ---- in several dimensions ------------------------------------------------------------------------------


def parameters(m=3, d=3, seed=0):
    """log pi, means, P, and the covariances."""
    draw = np.random.default_rng(seed)
    A = draw.normal(size=(m, d, d))
    sigma = A @ A.swapaxes(1, 2) + 0.3 * np.eye(d)
    pi = draw.dirichlet(np.full(m, 3.0))
    return np.log(pi), 2 * draw.normal(size=(m, d)), np.linalg.inv(np.linalg.cholesky(sigma)), sigma


def conditional(x, j, log_pi, means, sigma):
    """The law of x_j given the ones before, by SciPy and the textbook's conditional normals: weights, means, widths."""
    pieces = []
    for k in range(len(means)):
        S = sigma[k]
        if j == 0:
            pieces.append((math.exp(log_pi[k]), means[k, 0], math.sqrt(S[0, 0])))
            continue
        gain = np.linalg.solve(S[:j, :j], S[:j, j])
        seen = scipy.stats.multivariate_normal(means[k, :j], S[:j, :j]).pdf(x[:j])
        pieces.append((math.exp(log_pi[k]) * seen, means[k, j] + gain @ (x[:j] - means[k, :j]),
                       math.sqrt(S[j, j] - gain @ S[:j, j])))  # fmt: skip
    w, m, s = np.array(pieces).T
    return w / w.sum(), m, s


@equation(chapter.to_normal, 8)
@equation(chapter.conditional_cdf, 10)
@equation(chapter.conditional_weights, 10)
def test_each_coordinate_given_the_ones_before():  # (8) and (10), S4 eq. 84
    log_pi, means, P, sigma = parameters()
    x = 2 * rng.normal(size=(5, 3))
    z = chapter.to_normal(x, log_pi, means, P)
    for i, row in enumerate(x):
        for j in range(3):
            w, m, s = conditional(row, j, log_pi, means, sigma)
            u = np.sum(w * scipy.stats.norm.cdf(row[j], m, s))
            assert z[i, j] == pytest.approx(scipy.stats.norm.ppf(u), rel=1e-8, abs=1e-9)
    y = np.einsum("kjl,kln->kjn", P, x.T - means[:, :, None])
    for j in range(3):
        found = chapter.conditional_weights(log_pi, y[:, :j], np.diagonal(P, 0, 1, 2)[:, :j])
        both = [conditional(row, j, log_pi, means, sigma) for row in x]
        np.testing.assert_allclose(found, np.array([b[0] for b in both]).T, rtol=1e-8, atol=1e-14)
        below, above = chapter.conditional_cdf(found, y[:, j])
        expected = [np.sum(w * scipy.stats.norm.cdf(row[j], m, s)) for row, (w, m, s) in zip(x, both, strict=True)]
        np.testing.assert_allclose(below, expected, rtol=1e-8)
        np.testing.assert_allclose(above, 1 - np.array(expected), rtol=1e-6, atol=1e-12)


@equation(chapter.log_factors, 6)
def test_the_density_one_coordinate_after_the_other():  # (6), S4 eq. 83
    log_pi, means, P, sigma = parameters()
    x = 2 * rng.normal(size=(5, 3))
    found = chapter.log_factors(x, log_pi, means, P)
    for i, row in enumerate(x):
        for j in range(3):
            w, m, s = conditional(row, j, log_pi, means, sigma)
            assert found[i, j] == pytest.approx(np.log(np.sum(w * scipy.stats.norm.pdf(row[j], m, s))), rel=1e-8)
    laws = [math.exp(log_pi[k]) * scipy.stats.multivariate_normal(means[k], sigma[k]).pdf(x) for k in range(3)]
    np.testing.assert_allclose(found.sum(1), np.log(sum(laws)), rtol=1e-10)


@equation(chapter.from_normal, 7)
@given(seed=st.integers(0, 10**6), d=st.integers(1, 4), m=st.integers(1, 4))
def test_there_and_back(seed, d, m):  # (7), S4 eqs. 85-86
    log_pi, means, P, sigma = parameters(m, d, seed)
    z = np.random.default_rng(seed).normal(size=(6, d)) * 2
    x = chapter.from_normal(z, log_pi, means, P)
    np.testing.assert_allclose(chapter.to_normal(x, log_pi, means, P), z, rtol=1e-6, atol=1e-7)
    for j in range(d):  # by SciPy, one conditional law after the other
        w, mean, s = conditional(x[0], j, log_pi, means, sigma)
        u = np.sum(w * scipy.stats.norm.cdf(x[0, j], mean, s))
        assert scipy.stats.norm.ppf(u) == pytest.approx(z[0, j], rel=1e-5, abs=1e-6)


@equation(chapter.log_slopes, 9)
def test_the_slopes_of_a_triangular_map():  # (9), by finite differences; (6) by the mixture's density
    log_pi, means, P, sigma = parameters(2, 3)
    x = rng.normal(size=(4, 3))
    density = sum(math.exp(log_pi[k]) * scipy.stats.multivariate_normal(means[k], sigma[k]).pdf(x) for k in range(2))
    z, step = chapter.to_normal(x, log_pi, means, P), 1e-5
    slopes = 0.0
    for j in range(3):
        e = step * np.eye(3)[j]
        change = (chapter.to_normal(x + e, log_pi, means, P) - chapter.to_normal(x - e, log_pi, means, P)) / (2 * step)
        assert abs(change[:, :j]).max(initial=0) < 1e-9  # triangular
        slopes = slopes + np.log(change[:, j])
    np.testing.assert_allclose(chapter.log_slopes(x, z, np.log(density)), slopes, atol=1e-6)


def test_far_out_it_stays_finite_and_comes_back():
    log_pi, means, P, _ = parameters(2, 2)
    x = np.array([[9.0, -9.0], [-20.0, 12.0], [1e3, 1e3]])
    z = chapter.to_normal(x, log_pi, means, P)
    assert np.isfinite(z).all() and abs(z).max() < 38
    np.testing.assert_allclose(chapter.from_normal(z[:1], log_pi, means, P), x[:1], rtol=1e-9)


# ---- the test of Kolmogorov and Smirnov -----------------------------------------------------------------


@equation(chapter.largest_gap, 11)
@equation(chapter.p_value, 12)
@pytest.mark.parametrize("shift", [0.0, 0.03, 0.1])
def test_kolmogorov_and_smirnov_as_scipy_has_them(shift):  # (11) and (12)
    x = rng.normal(size=3000) + shift
    theirs = scipy.stats.kstest(x, "norm", mode="asymp")
    assert chapter.largest_gap(x, chapter.normal_cdf) == pytest.approx(theirs.statistic, rel=1e-10)
    for gap in (0.012, 0.02, theirs.statistic):
        expected = scipy.stats.kstwobign.sf(math.sqrt(3000) * gap)
        assert chapter.p_value(gap, 3000) == pytest.approx(expected, rel=1e-4, abs=1e-12)
    assert chapter.p_value(1e-4, 100) == 1


# ---- the model ------------------------------------------------------------------------------------------


def cloud(n=400, seed=0):
    """Two lumps in the plane, one of them slanted."""
    draw = np.random.default_rng(seed)
    lump = draw.normal(size=(n, 2)) @ np.array([[1.0, 0.8], [0, 0.4]])
    return np.where(draw.uniform(size=(n, 1)) < 0.4, lump + [3, 3], lump * [1, -1])


def fitted(x, m=2, device="cpu", **options):
    model = ConditionalTransform(x.shape[1], m, rng=tg.random.Generator(0, device=device), **options)
    return model.fit(x, run=Run(quiet=True))


def test_data_become_normal_and_normal_numbers_data():
    x = cloud(4000)
    model = fitted(x)
    z = model.transform(x)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.05)
    assert all(scipy.stats.kstest(z[:, j], "norm").pvalue > 0.01 for j in (0, 1))
    new = model.sample(4000, rng=tg.random.Generator(1))
    for j in (0, 1):
        assert scipy.stats.ks_2samp(new[:, j], x[:, j]).pvalue > 0.01
    assert scipy.stats.ks_2samp(new @ [1, 1], x @ [1, 1]).pvalue > 0.01
    np.testing.assert_allclose(model.inverse_transform(z[:50]), x[:50], atol=1e-8)
    mixture = GaussianMixture(2, 2, rng=tg.random.Generator(0)).fit(x, steps=200, run=Run(quiet=True))
    np.testing.assert_allclose(model.score_samples(x), mixture.score_samples(x), rtol=1e-9)


def test_on_every_device(device):
    x = cloud(60)
    models = [fitted(x, device=where) for where in ("cpu", device)]
    for verb in ("transform", "inverse_transform", "score_samples"):
        np.testing.assert_allclose(*(getattr(m, verb)(x) for m in models), rtol=1e-5, atol=1e-7)
    draws = [
        m.sample(3, rng=tg.random.Generator(1, device=where)) for m, where in zip(models, ("cpu", device), strict=True)
    ]
    np.testing.assert_allclose(*draws, rtol=1e-5, atol=1e-7)
    drawn = chapter.maxwell().sample(4, tg.random.Generator(0, device=device))
    assert drawn.shape == (4,)


def test_what_is_refused_and_how():
    with pytest.raises(ValueError, match="u has values that are not between 0 and 1"):
        chapter.invert(chapter.normal_cdf, np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="does not reach all of"):
        chapter.invert(lambda x: 0.5 * chapter.normal_cdf(x), np.array([0.9]))
    with pytest.raises(ValueError, match=r"ConditionalTransform: x has shape \(9, 3\)"):
        fitted(cloud()).transform(np.zeros((9, 3)))
    with pytest.raises(ValueError, match="NaN"):
        fitted(np.full((9, 2), np.nan))
    with pytest.raises(ValueError, match="a feature and a component"):
        ConditionalTransform(0, 1)
    with pytest.raises(RuntimeError, match="call fit first"):
        ConditionalTransform(2, 2).sample(3)


def test_a_component_that_is_out_of_reach_in_one_coordinate_counts_in_the_next():
    means = np.array([[0.0, 0], [60, 60]])
    expected = scipy.stats.multivariate_normal(means[0]).logpdf([0, 60]) - np.log(2)  # two of them, as far away
    found = chapter.log_factors(np.array([[0.0, 60]]), np.log([0.5, 0.5]), means, np.stack([np.eye(2)] * 2)).sum()
    assert found == pytest.approx(np.logaddexp(expected, expected), rel=1e-12)


def test_the_weibull_law_begins_at_zero():
    np.testing.assert_array_equal(chapter.weibull(0.01).cdf(np.array([-1.0, 0.0])), [0, 0])
    with pytest.raises(ValueError, match="weibull: k is -1; a positive shape is wanted"):
        chapter.weibull(-1)


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

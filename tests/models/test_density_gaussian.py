"""Maximum likelihood for Gaussians: each equation by another way, and the model's promises."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.density import Gaussian
from tinygen.models.density import gaussian as chapter
from tinygen.models.supervised import linear_regression
from tinygen.probability.moments import moments
from tinygen.runs import Run

rng = np.random.default_rng(0)
COVARIANCE = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 0.7]])
MEAN = np.array([1.0, -2.0, 0.5])
OTHER = scipy.stats.wishart(5, np.eye(3)).rvs(random_state=1)


def drawn(n=40):
    return rng.normal(size=(n, 3)) @ np.linalg.cholesky(COVARIANCE).T + MEAN


def fitted(x, **options):
    return Gaussian(x.shape[1], **options).fit(x, run=Run(quiet=True))


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.density, 1)
@equation(chapter.negative_log_likelihood, 2)
def test_density_and_likelihood_are_scipys():  # (1) and (2), S4 eqs. 1-2
    x = rng.normal(size=9)
    law = scipy.stats.norm(0.3, math.sqrt(1.7))
    np.testing.assert_allclose(chapter.density(x, 0.3, 1.7), law.pdf(x), rtol=1e-12)
    assert chapter.negative_log_likelihood(x, 0.3, 1.7) == pytest.approx(-law.logpdf(x).sum(), rel=1e-12)


@equation(chapter.slopes, 3)
def test_the_slopes_are_the_engines():  # (3), S4 eqs. 3 and 5: with the minus that the source's third lacks
    x = rng.normal(size=9)
    mu, sigma = (tg.tensor(v, dtype="float64", requires_grad=True) for v in (0.3, 1.3))
    found = chapter.slopes(x, float(mu), float(sigma))
    expected = tg.grad(chapter.negative_log_likelihood(tg.tensor(x), mu, sigma * sigma), [mu, sigma])
    np.testing.assert_allclose(found, [float(g) for g in expected], rtol=1e-10)


@equation(chapter.maximum_likelihood, 4)
def test_the_estimates_make_the_slopes_vanish():  # (4), S4 eqs. 4, 6, 7
    x = 2 * rng.normal(size=30) + 7
    mu, variance = chapter.maximum_likelihood(x)
    assert mu == pytest.approx(np.mean(x), rel=1e-12) and variance == pytest.approx(np.var(x), rel=1e-12)
    np.testing.assert_allclose(chapter.slopes(x, mu, math.sqrt(variance)), 0, atol=1e-10)
    best = chapter.negative_log_likelihood(x, mu, variance)
    for a, b in rng.normal(size=(20, 2)) * 0.2:
        assert chapter.negative_log_likelihood(x, mu + a, variance * math.exp(b)) > best


@equation(chapter.cross_entropy, 5)
def test_the_mean_likelihood_needs_the_moments_only():  # (5)
    x = drawn()
    found = chapter.cross_entropy(moments(x), MEAN + 1, OTHER)
    expected = -scipy.stats.multivariate_normal(MEAN + 1, OTHER).logpdf(x).mean()
    assert found == pytest.approx(expected, rel=1e-10)


@equation(chapter.entropy, 6)
@equation(chapter.divergence, 6)
def test_the_likelihood_is_entropy_and_divergence():  # (6)
    x = drawn()
    mean, covariance = x.mean(0), np.cov(x.T, ddof=0)
    H, D = chapter.entropy(covariance), chapter.divergence(mean, covariance, MEAN, OTHER)
    assert pytest.approx(scipy.stats.multivariate_normal(mean, covariance).entropy(), rel=1e-10) == H
    p, q = (tg.probability.MultivariateNormal(m, covariance=s) for m, s in ((mean, covariance), (MEAN, OTHER)))
    assert pytest.approx(float(tg.probability.kl_divergence(p, q)), rel=1e-10) == D
    assert H + D == pytest.approx(-scipy.stats.multivariate_normal(MEAN, OTHER).logpdf(x).mean(), rel=1e-10)
    assert chapter.divergence(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-12) and D > 0


@equation(chapter.expected_estimate, 7)
def test_the_estimate_is_too_narrow_on_average():  # (7): over all samples of three from a law on four points
    points = rng.normal(size=(4, 2))
    samples = [points[list(rows)] for rows in itertools.product(range(4), repeat=3)]
    mean = np.mean([np.cov(s.T, ddof=0) for s in samples], axis=0)
    np.testing.assert_allclose(chapter.expected_estimate(np.cov(points.T, ddof=0), 3), mean, rtol=1e-10)


@equation(chapter.linear_negative_log_likelihood, 8)
@equation(chapter.linear_maximum_likelihood, 8)
def test_a_line_with_noise():  # (8), S4 ex. 2
    X, y = rng.normal(size=(25, 3)), rng.normal(size=25)
    beta, variance = chapter.linear_maximum_likelihood(X, y)
    expected, squares, *_ = np.linalg.lstsq(X, y)
    np.testing.assert_allclose(beta, expected, rtol=1e-10)
    assert variance == pytest.approx(squares[0] / 25, rel=1e-10)
    found = chapter.linear_negative_log_likelihood(X, y, beta + 0.1, 0.8)
    assert found == pytest.approx(-scipy.stats.norm(X @ (beta + 0.1), math.sqrt(0.8)).logpdf(y).sum(), rel=1e-12)
    log_likelihood = linear_regression.log_likelihood(beta + 0.1, 0.8, X, y)  # the other chapter's, its sign turned
    assert found == pytest.approx(-log_likelihood, rel=1e-12)
    b, s = (tg.tensor(v, dtype="float64", requires_grad=True) for v in (beta, variance))
    slopes = tg.grad(chapter.linear_negative_log_likelihood(tg.tensor(X), tg.tensor(y), b, s), [b, s])
    assert all(abs(slope.numpy()).max() < 1e-9 for slope in slopes)


@equation(chapter.conditional, 9)
def test_the_conditional_law_is_the_joint_over_the_marginal():  # (9)
    a, B, noise = chapter.conditional(MEAN, COVARIANCE, 2)
    x = rng.normal(size=(6, 3))
    joint = scipy.stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x)
    marginal = scipy.stats.multivariate_normal(MEAN[:2], COVARIANCE[:2, :2]).logpdf(x[:, :2])
    found = [scipy.stats.multivariate_normal(a + B @ row[:2], noise).logpdf(row[2:]) for row in x]
    np.testing.assert_allclose(found, joint - marginal, rtol=1e-10)


def test_least_squares_is_conditioning():  # (8) and (9): one line, one noise
    x = drawn()
    X = np.concatenate([np.ones((40, 1)), x[:, :2]], axis=1)
    beta, variance = chapter.linear_maximum_likelihood(X, x[:, 2])
    intercept, slopes, noise = fitted(x).regression(2)
    np.testing.assert_allclose(np.concatenate([intercept, slopes[0]]), beta, rtol=1e-10)
    assert noise[0, 0] == pytest.approx(variance, rel=1e-10)


# ---- the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_model_is_scipys_law(diagonal, device):
    x = drawn()
    model = Gaussian(3, diagonal=diagonal, unbiased=True, rng=tg.random.Generator(0, device=device))
    model.fit(x, steps=7, run=Run(quiet=True))
    covariance = np.cov(x.T) * (np.eye(3) if diagonal else 1)
    np.testing.assert_allclose(model.covariance(), covariance, rtol=1e-10, atol=1e-12)
    expected = scipy.stats.multivariate_normal(x.mean(0), covariance).logpdf(x)
    np.testing.assert_allclose(model.score_samples(x), expected, rtol=1e-10)
    assert model.score(x) == pytest.approx(expected.mean(), rel=1e-10)


def test_draws_have_the_moments():
    model = fitted(drawn())
    z = model.sample(100_000, rng=tg.random.Generator(1))
    np.testing.assert_allclose(z.mean(0), model.mean.numpy(), atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), model.covariance(), atol=0.03)


def test_the_parts_change_nothing_and_a_new_fit_forgets():
    x = drawn()
    one, many = fitted(x), Gaussian(3).fit(x + 100, run=Run(quiet=True)).fit(x, steps=60, run=Run(quiet=True))
    np.testing.assert_allclose(one.score_samples(x), many.score_samples(x), rtol=1e-10)
    assert int(many.count) == 40


def test_what_has_no_density_is_refused():
    x = drawn()
    x[:, 1] = 4.0
    with pytest.raises(ValueError, match=r"of 40 examples is singular: column 1 is constant\. .* reg_covar= .* wanted"):
        fitted(x)
    assert np.isfinite(fitted(x, reg_covar=1e-3).score_samples(x)).all()
    with pytest.raises(ValueError, match="linearly dependent"):
        fitted(drawn(3))
    assert np.isfinite(fitted(drawn(3), diagonal=True).score_samples(x)).all()
    with pytest.raises(ValueError, match="x has 1 row; at least two are wanted"):
        fitted(drawn(1))
    with pytest.raises(ValueError, match=r"x has shape \(3,\); .* is wanted \(x.reshape"):
        Gaussian(3).fit(np.zeros(3))
    with pytest.raises(ValueError, match="values up to nan"):
        fitted(x * np.nan)
    with pytest.raises(ValueError, match="n_features is 0"):
        Gaussian(0)
    with pytest.raises(ValueError, match="n_inputs is 3; 1 to 2 are wanted"):
        fitted(drawn()).regression(3)
    with pytest.raises(RuntimeError, match="no examples yet; call fit"):
        Gaussian(3).score_samples(x)

"""Linear factor models: S2's equations against plain sums and SciPy, and square roots of covariances."""

import doctest

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import linear_factor as chapter
from tinygen.models.latent.linear_factor import LinearFactorModel, gaussian
from tinygen.probability import Laplace, Normal, Uniform

rng = np.random.default_rng(0)
WEIGHT, BIAS = np.array([[2.0, 0.5], [-1.0, 1.5]]), np.array([3.0, -4.0])
LAWS = {"normal": (Normal, scipy.stats.norm), "Laplace": (Laplace, scipy.stats.laplace)}
each_law = pytest.mark.parametrize("law", LAWS)


def factors(law):
    return LAWS[law][0](np.array(0.0), np.array(1.0))


@equation(chapter.generate, 1)
def test_a_mix_of_factors():  # (1), S2 eq. 2.39
    h = rng.normal(size=(5, 3))
    W, b = rng.normal(size=(2, 3)), rng.normal(size=2)
    expected = [[b[j] + sum(W[j, i] * row[i] for i in range(3)) for j in range(2)] for row in h]
    np.testing.assert_allclose(chapter.generate(h, W, b), expected, rtol=1e-12)


@each_law
@equation(chapter.log_prior, 2)
def test_factors_are_independent(law):  # (2), S2 eq. 2.40
    h = rng.normal(size=(5, 3))
    expected = [np.log(np.prod([LAWS[law][1].pdf(v) for v in row])) for row in h]
    np.testing.assert_allclose(chapter.log_prior(h, factors(law)).numpy(), expected, rtol=1e-10)


@each_law
@equation(chapter.moments, 3)
def test_mean_and_covariance(law):  # (3), by simulation and exactly over a law of two values
    W, b = rng.normal(size=(3, 2)), rng.normal(size=3)
    values, chances = np.array([[-1.0, 2.0], [0.0, 3.0]]), np.array([0.3, 0.7])  # of each factor
    mean = chances @ values
    variance = chances @ (values - mean) ** 2
    all_h = np.array([[values[i, 0], values[j, 1]] for i in range(2) for j in range(2)])
    weights = np.array([chances[i] * chances[j] for i in range(2) for j in range(2)])
    x = chapter.generate(all_h, W, b)
    expected = weights @ x
    found = chapter.moments(W, b, mean, variance)
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    np.testing.assert_allclose(found[1], (x - expected).T @ ((x - expected) * weights[:, None]), atol=1e-12)
    drawn = LinearFactorModel(WEIGHT, BIAS, factors(law)).sample(100_000, rng=tg.random.Generator(1))
    mean, covariance = chapter.moments(WEIGHT, BIAS, np.zeros(2), np.full(2, LAWS[law][1].var()))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.2)


@given(d=st.integers(1, 6), seed=st.integers(0, 10**6))
@pytest.mark.parametrize("kind", chapter.ROOTS)
@equation(chapter.root, 4)
def test_every_root_is_one(kind, d, seed):  # (4)
    A = np.random.default_rng(seed).normal(size=(d, d))
    sigma = A @ A.T + 0.1 * np.eye(d)
    W = chapter.root(sigma, kind)
    np.testing.assert_allclose(W @ W.T, sigma, atol=1e-10 * abs(sigma).max())
    rotation = np.linalg.solve(chapter.root(sigma), W)  # any two differ by one
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(d), atol=1e-8)
    if kind == "cholesky":
        assert (np.triu(W, 1) == 0).all() and (np.diag(W) > 0).all()
    if kind == "symmetric":
        np.testing.assert_allclose(W, W.T, atol=1e-10 * abs(W).max())


@each_law
@equation(chapter.log_density, 5)
def test_the_density_integrates_to_one_and_is_scipys(law):  # (5), S2 eq. 2.42
    model = LinearFactorModel(WEIGHT, BIAS, factors(law))
    x = rng.normal(size=(6, 2)) * 3
    h = (np.linalg.inv(WEIGHT) @ (x - BIAS).T).T
    expected = LAWS[law][1].logpdf(h).sum(1) - np.log(abs(2.0 * 1.5 + 0.5))
    np.testing.assert_allclose(model.score_samples(x), expected, rtol=1e-10)
    t = np.linspace(-45, 45, 1201)
    grid = np.stack(np.meshgrid(t, t), -1).reshape(-1, 2) + BIAS
    assert np.exp(model.score_samples(grid)).sum() * (t[1] - t[0]) ** 2 == pytest.approx(1, abs=2e-3)
    if law == "normal":
        normal = scipy.stats.multivariate_normal(BIAS, WEIGHT @ WEIGHT.T)
        np.testing.assert_allclose(model.score_samples(x), normal.logpdf(x), rtol=1e-10)


def test_a_gaussian_by_cholesky():  # S2's example
    sigma = np.array([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 0.5]])
    mu = np.array([1.0, 2.0, 3.0])
    for kind in chapter.ROOTS:
        x = gaussian(mu, sigma, kind=kind).sample(50_000, rng=tg.random.Generator(0))
        np.testing.assert_allclose(x.mean(0), mu, atol=0.03)
        np.testing.assert_allclose(np.cov(x.T), sigma, atol=0.04)
        whitened = np.linalg.solve(np.linalg.cholesky(sigma), (x - mu).T)
        assert all(scipy.stats.kstest(row, "norm").pvalue > 0.001 for row in whitened)


def test_a_singular_covariance_has_a_principal_root_only():
    flat = np.array([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(ValueError, match='singular.*kind="principal"'):
        gaussian(np.zeros(2), flat)
    x = gaussian(np.zeros(2), flat, kind="principal").sample(1000, rng=tg.random.Generator(0))
    np.testing.assert_allclose(x[:, 1], 2 * x[:, 0], atol=1e-6)
    constant = gaussian([5.0, 0.0], np.diag([0.0, 1.0]), kind="symmetric").sample(10, rng=tg.random.Generator(0))
    assert (constant[:, 0] == 5).all()


def test_rotated_gaussian_factors_are_not_seen_and_laplace_factors_are():
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    x = rng.normal(size=(4, 2))
    both = {law: [LinearFactorModel(W, [0, 0], factors(law)).score_samples(x) for W in (WEIGHT, WEIGHT @ turn)]
            for law in LAWS}  # fmt: skip
    np.testing.assert_allclose(*both["normal"], rtol=1e-10)
    assert abs(np.subtract(*both["Laplace"])).max() > 0.1


def test_factors_with_laws_of_their_own_and_seeds():
    law = Uniform(np.array([0.0, 5.0]), np.array([1.0, 6.0]))
    model = LinearFactorModel(np.eye(2), [0, 0], law)
    x = model.sample(100, rng=tg.random.Generator(0))
    assert x.shape == (100, 2) and (x.min(0) >= [0, 5]).all() and (x.max(0) <= [1, 6]).all()
    np.testing.assert_array_equal(x, model.sample(100, rng=tg.random.Generator(0)))
    wide = LinearFactorModel(rng.normal(size=(2, 5)), [0, 0], factors("Laplace"))
    assert wide.sample(3).shape == (3, 2) and wide.sample(3).dtype == wide.sample_factors(3).dtype == np.float64
    assert wide.sample_factors(3).shape == (3, 5)


def test_what_is_refused_and_how():
    with pytest.raises(ValueError, match=r"weight \(2, 2\) and bias \(3,\)"):
        LinearFactorModel(WEIGHT, [1, 2, 3], factors("normal"))
    with pytest.raises(ValueError, match="one law, or one for each of the 2 columns"):
        LinearFactorModel(WEIGHT, BIAS, Normal(np.zeros(3), 1.0))
    with pytest.raises(ValueError, match="not invertible"):
        LinearFactorModel(np.ones((2, 2)), BIAS, factors("normal")).score_samples(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\); rows of 2"):
        LinearFactorModel(WEIGHT, BIAS, factors("normal")).score_samples(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="not symmetric"):
        gaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match="negative eigenvalue"):
        gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="NaN"):
        gaussian([0.0], [[np.nan]])
    with pytest.raises(ValueError, match="kind 'qr'"):
        gaussian([0.0], [[1.0]], kind="qr")


def test_units_make_no_covariance_singular():
    sigma = np.diag([1.0, 1e-13])
    model = gaussian([0, 0], sigma)
    np.testing.assert_allclose(model.weight @ model.weight.T, sigma, rtol=1e-12)
    for singular in ([[1, 1e-7], [1e-7, 1e-14]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]):
        with pytest.raises(ValueError, match="covariance is singular"):
            gaussian([0, 0], singular)
    with pytest.raises(ValueError, match="LinearFactorModel: bias"):
        gaussian([np.nan, 0], np.eye(2))


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

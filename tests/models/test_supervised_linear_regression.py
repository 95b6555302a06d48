"""Linear regression: every equation of the chapter, NumPy's least squares, and the Gauss–Markov theorem."""

import doctest

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import LinearRegression
from tinygen.models.supervised import linear_regression as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)


def problem(n=30, d=3, seed=0):
    """theta, the features, their design matrix, and noisy answers."""
    draw = np.random.default_rng(seed)
    theta, x = draw.normal(size=d + 1), draw.normal(size=(n, d))
    X = chapter.design(x)
    return theta, x, X, X @ theta + 0.5 * draw.normal(size=n)


def quiet():
    return Run(quiet=True)


# ---- the equations ------------------------------------------------------------------------------------------------


@equation(chapter.linear, 1)
@equation(chapter.residual_sum_of_squares, 2)
def test_both_forms_of_the_residual_sum_of_squares():
    theta, x, X, y = problem()
    f = [theta[0] + sum(theta[j + 1] * row[j] for j in range(3)) for row in x]
    np.testing.assert_allclose(chapter.linear(theta, x), f, rtol=1e-12)
    expected = sum((a - b) ** 2 for a, b in zip(y, f, strict=True))
    assert chapter.residual_sum_of_squares(theta, X, y) == pytest.approx(expected, rel=1e-12)


@equation(chapter.gradient, 3)
@equation(chapter.hessian, 4)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 10**6))
def test_slope_and_curvature_are_the_engines(n, d, seed):
    theta, _, X, y = problem(n, d, seed)
    leaf = tg.tensor(theta, requires_grad=True)
    engine = tg.grad(chapter.residual_sum_of_squares(leaf, X, y), leaf).numpy()
    np.testing.assert_allclose(chapter.gradient(theta, X, y), engine, rtol=1e-9, atol=1e-10)
    curvature = tg.jacobian(lambda t: chapter.gradient(t, X, y), leaf).numpy()
    np.testing.assert_allclose(chapter.hessian(X), curvature, rtol=1e-9, atol=1e-10)
    assert np.linalg.eigvalsh(chapter.hessian(X)).min() > -1e-9  # a bowl: S2 2.14 prints its negative


@equation(chapter.least_squares, 5)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_the_normal_equations_give_numpys_least_squares(d, seed):
    _, _, X, y = problem(5 * d + 20, d, seed)
    found = chapter.least_squares(X, y)
    np.testing.assert_allclose(found, np.linalg.lstsq(X, y, rcond=None)[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(X.T @ (y - X @ found), 0, atol=1e-10)  # errors are orthogonal to the columns


def test_the_normal_equations_square_the_condition_number():
    t = np.linspace(0, 1, 50)
    X = t[:, None] ** np.arange(8)
    y, losses = X @ np.ones(8), []
    for found in (chapter.least_squares(X, y), np.linalg.lstsq(X, y, rcond=None)[0]):
        losses.append(np.abs(found - 1).max())
    assert losses[0] > 100 * losses[1]


def test_the_same_on_every_device(device):
    theta, x, X, y = problem()
    on = [arrays.asarray(a, device=device) for a in (theta, x, X, y)]
    np.testing.assert_allclose(arrays.to_numpy(chapter.linear(*on[:2])), chapter.linear(theta, x), rtol=1e-12)
    np.testing.assert_array_equal(arrays.to_numpy(chapter.design(on[1])), X)
    found = arrays.to_numpy(chapter.least_squares(*on[2:]))
    np.testing.assert_allclose(found, chapter.least_squares(X, y), rtol=1e-10)


@equation(chapter.log_likelihood, 6)
@equation(chapter.noise_variance, 7)
def test_least_squares_is_maximum_likelihood():
    theta, _, X, y = problem()
    expected = scipy.stats.norm.logpdf(y, X @ theta, np.sqrt(0.3)).sum()
    assert chapter.log_likelihood(theta, 0.3, X, y) == pytest.approx(expected, rel=1e-12)
    best = scipy.optimize.minimize(lambda v: -chapter.log_likelihood(v[:-1], np.exp(v[-1]), X, y), np.zeros(5),
                                   options=dict(gtol=1e-7)).x  # fmt: skip
    found = chapter.least_squares(X, y)
    np.testing.assert_allclose(found, best[:-1], atol=1e-5)
    assert chapter.noise_variance(found, X, y) == pytest.approx(np.exp(best[-1]), rel=1e-5)


def test_the_noise_left_over_is_too_small_on_average():
    theta, _, X, _ = problem(n=12)
    hat = np.linalg.pinv(X)
    y = X @ theta + rng.normal(size=(20_000, 12))
    mean = np.mean([chapter.noise_variance(hat @ row, X, row) for row in y[:4000]])
    assert mean == pytest.approx((12 - 4) / 12, abs=0.02)


# ---- Gauss and Markov ---------------------------------------------------------------------------------------------


@equation(chapter.weighting, 9)
def test_weighted_estimators_are_linear_and_unbiased():
    theta, _, X, y = problem()
    for w in (np.ones(30), rng.uniform(0.1, 2, 30), np.arange(30) < 15.0):
        A = chapter.weighting(X, w)
        np.testing.assert_allclose(A @ X, np.eye(4), atol=1e-12)
        root = np.sqrt(w)  # least squares with rows and answers scaled
        expected = np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0]
        np.testing.assert_allclose(A @ y, expected, rtol=1e-9)
    np.testing.assert_allclose(chapter.weighting(X, 1.0) @ y, chapter.least_squares(X, y), rtol=1e-10)


@equation(chapter.covariance, 10)
def test_covariance_is_that_of_simulated_estimates():
    theta, _, X, _ = problem()
    sigma = rng.uniform(0.2, 2, 30)
    A = chapter.weighting(X, rng.uniform(0.1, 2, 30))
    found = chapter.simulated(A, X, theta, sigma, 40_000, tg.random.Generator(0))
    np.testing.assert_allclose(found.mean(0), theta, atol=0.01)
    np.testing.assert_allclose(np.cov(found.T), chapter.covariance(A, sigma), atol=0.006)
    expected = sum(s**2 * np.outer(a, a) for s, a in zip(sigma, A.T, strict=True))
    np.testing.assert_allclose(chapter.covariance(A, sigma), expected, rtol=1e-10)


@equation(chapter.excess, 11)
@given(st.integers(0, 10**6))
def test_no_linear_unbiased_estimator_varies_less_than_least_squares(seed):
    _, _, X, _ = problem(seed=seed)
    draw = np.random.default_rng(seed + 1)
    best = chapter.covariance(chapter.weighting(X, 1.0), 1.0)
    np.testing.assert_allclose(best, np.linalg.inv(X.T @ X), rtol=1e-8, atol=1e-12)
    D = draw.normal(size=(4, 30)) @ (np.eye(30) - X @ np.linalg.pinv(X))  # any at all with D X = 0
    for A in (chapter.weighting(X, 1.0) + D, chapter.weighting(X, draw.uniform(0.1, 2, 30))):
        more = chapter.excess(A, X)
        np.testing.assert_allclose(chapter.covariance(A, 1.0), best + more, rtol=1e-8, atol=1e-9)
        assert np.linalg.eigvalsh(more).min() > -1e-10 and np.diag(more).min() > 1e-6


def test_least_squares_beats_half_of_the_examples_and_false_weights_in_simulation():
    theta, _, X, _ = problem()
    rivals = [np.arange(30) < 15.0, rng.uniform(0.01, 2, 30)]
    variances = [chapter.simulated(chapter.weighting(X, w), X, theta, 1.0, 10_000, tg.random.Generator(0)).var(0)
                 for w in (np.ones(30), *rivals)]  # fmt: skip
    assert (variances[1] > 1.2 * variances[0]).all() and (variances[2] > 1.1 * variances[0]).all()


def test_each_condition_of_the_theorem_matters():
    theta, _, X, _ = problem()
    sigma = np.where(np.arange(30) < 15, 0.1, 2.0)  # unequal noise: the right weights are better
    plain, right = (chapter.covariance(chapter.weighting(X, w), sigma) for w in (np.ones(30), 1 / sigma**2))
    assert (np.diag(right) < 0.2 * np.diag(plain)).all()
    small = 0.1 * theta  # a biased estimator: half of least squares is closer to a small theta
    A = chapter.weighting(X, 1.0)
    errors = [((chapter.simulated(c * A, X, small, 1.0, 5000, tg.random.Generator(0)) - small) ** 2).sum(1).mean()
              for c in (1, 0.5)]  # fmt: skip
    assert errors[1] < 0.6 * errors[0]
    noise = rng.standard_cauchy((4000, 101))  # a mean that is not linear: the median, under wild noise
    assert np.median(noise, 1).var() < 0.01 * noise.mean(1).var()


# ---- the model ----------------------------------------------------------------------------------------------------


@equation(LinearRegression.update, 8)
def test_a_step_of_the_descent():
    _, x, X, y = problem()
    model = LinearRegression(3, lr=0.05, schedule=Cosine(10), rng=tg.random.Generator(0)).to(dtype="float64")
    theta = np.zeros(4)
    for t in range(3):
        rows = slice(8 * t, 8 * t + 8)
        errors = y[rows] - X[rows] @ theta
        assert model.update(*model.checked(x[rows], y[rows]))["loss"].item() == pytest.approx(np.mean(errors**2))
        rate = 0.05 * (1 + np.cos(np.pi * t / 10)) / 2
        theta = theta + rate * 2 / 8 * sum(e * row for e, row in zip(errors, X[rows], strict=True))
        np.testing.assert_allclose(model.theta.data, theta, rtol=1e-12)


def test_the_descent_comes_to_the_normal_equations():
    _, x, X, y = problem(n=200)
    model = LinearRegression(3, lr=0.05, schedule=Cosine(2000), rng=tg.random.Generator(0))
    model.fit(x, y, steps=2000, run=quiet())
    np.testing.assert_allclose(model.theta.data, chapter.least_squares(X, y), atol=0.02)


def test_verbs_on_every_device(device):
    theta, x, X, y = problem()
    model = LinearRegression(3, rng=tg.random.Generator(0, device=device)).fit_exactly(x, y)
    f = X @ np.linalg.lstsq(X, y, rcond=None)[0]
    assert model.predict(x).dtype == np.float32 and model.predict(x).shape == (30,)
    np.testing.assert_allclose(model.predict(x), f, atol=1e-5)
    assert model.score(x, y) == pytest.approx(1 - np.var(y - f) / np.var(y), rel=1e-5)
    model.fit(x, y, steps=2, run=quiet())


def test_killed_and_resumed_is_the_straight_run(tmp_path):
    _, x, _, y = problem()

    def model(seed=0):
        return LinearRegression(3, schedule=Cosine(12), rng=tg.random.Generator(seed))

    model().fit(x, y, steps=12, run=Run(tmp_path / "a", quiet=True))
    run, killed = Run(tmp_path / "b", quiet=True), model()
    data = killed.checked(x, y)
    for step in run.steps(killed, 12, save_every=5):
        run.log(**killed.update(*tg.data.batch(data, killed.rng, 10)))
        if step == 8:
            break
    model(4).fit(x, y, steps=12, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_refusals():
    _, x, _, y = problem()
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        LinearRegression(0)
    with pytest.raises(ValueError, match=r"x has shape \(30, 3\); at least one row of 2"):
        LinearRegression(2).predict(x)
    with pytest.raises(ValueError, match=r"y has shape \(29,\)"):
        LinearRegression(3).fit(x, y[1:], steps=1, run=quiet())
    twice = np.concatenate([x, x[:, :1]], axis=1)[:4]
    with pytest.raises(np.linalg.LinAlgError):
        chapter.least_squares(chapter.design(np.zeros_like(twice)), y[:4])


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


@pytest.mark.parametrize("x", [np.full((10, 1), 0.7), np.full((20, 1), 0.3),
                               np.linspace(0, 1, 12)[:, None] * [1.0, 3.0] + [0, 0.1]])  # fmt: skip
def test_columns_that_say_nothing_new_are_refused(x):
    with pytest.raises(ValueError, match="the normal equations have no single solution: column"):
        LinearRegression(x.shape[1]).fit_exactly(x, np.arange(len(x), dtype=float))


def test_no_digits_are_lost_far_from_the_origin():
    """Seconds since 1970, say."""
    x = 1.6e9 + 10 * rng.normal(size=(50, 1))
    y = 2 * (x[:, 0] - 1.6e9) + 0.01 * rng.normal(size=50)
    model = LinearRegression(1).to(dtype="float64").fit_exactly(x, y)
    assert model.score(x, y) > 0.999
    with pytest.raises(ValueError, match="y"):
        model.score(x, y[:, None])

"""Histograms and their error: counting by hand, exact expectations by enumeration, quadrature; promises."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import Histogram, histogram_error
from tinygen.models.density import histogram as chapter
from tinygen.models.density import kernel as kernels
from tinygen.runs import Run

rng = np.random.default_rng(0)


def bell(x):
    return 30 * x**2 * (1 - x) ** 2


SQUARE, SLOPE = 10 / 7, 120 / 7


def fitted(x, *sizes, **options):
    return Histogram(x.shape[1], *sizes, **options).fit(x, run=Run(quiet=True))


# ---- counting -------------------------------------------------------------------------------------------


@equation(chapter.bins, 1)
@given(st.floats(-3, 3), st.floats(0.1, 2), st.floats(-2, 2))
def test_every_point_is_in_its_interval(x, h, x_0):  # (1)
    (j,) = chapter.bins(np.array([x]), x_0, h)
    assert j == int(j)
    slack = 1e-12
    assert x_0 + j * h - slack <= x <= x_0 + (j + 1) * h + slack


def test_the_intervals_are_open_on_the_left():  # (1): S4's convention; only the origin itself is kept
    assert chapter.bins(np.array([0.0, 0.25, 0.5, 0.51, 1.0, -0.1]), 0.0, 0.5).tolist() == [0, 0, 0, 1, 1, -1]
    assert fitted(np.array([[0.0], [0.5], [1.0]]), 2).counts.tolist() == [2, 1]


@equation(chapter.bins, 1)
def test_the_bins_of_some_points():  # (1)
    np.testing.assert_array_equal(chapter.bins(np.array([-2.0, 7.3]), 1.0, 0.5), [-7, 12])


@equation(chapter.estimate, 2)
@equation(chapter.log_density, 4)
def test_the_estimate_is_counting():  # (2), and (4) on the line
    X, x = rng.uniform(size=30), rng.uniform(size=20)
    expected = []
    for v in x:
        j = next(j for j in range(8) if j / 8 < v <= (j + 1) / 8)
        expected.append(sum(j / 8 < a <= (j + 1) / 8 for a in X) / (30 / 8))
    np.testing.assert_allclose(chapter.estimate(x, X, 0.0, 1 / 8), expected, rtol=1e-12)
    model = fitted(X[:, None], 8)
    np.testing.assert_allclose(np.exp(model.score_samples(x[:, None])), expected, rtol=1e-12)
    boxes = chapter.bins(x, 0.0, 1 / 8).astype(int)[:, None]
    np.testing.assert_allclose(np.exp(chapter.log_density(model.counts.numpy(), boxes, 1 / 8)), expected, rtol=1e-12)


@equation(chapter.averaged, 3)
def test_many_origins_make_a_triangular_kernel():  # (3)
    X, x, h = rng.normal(size=12), np.linspace(-3, 3, 50), 0.7
    by_hand = sum(chapter.estimate(x, X, r * h / 3, h) for r in range(3)) / 3
    np.testing.assert_allclose(chapter.averaged(x, X, 0.0, h, 3), by_hand, rtol=1e-12)
    limit = kernels.estimate(x, X, h, "triangular")
    gaps = [abs(chapter.averaged(x, X, 0.0, h, m) - limit).max() for m in (1, 10, 1000)]
    assert gaps[0] > 5 * gaps[1] > 100 * gaps[2]


def test_it_is_numpys_histogram_in_any_dimension():  # (4)
    for d in (1, 2, 3):
        X = rng.uniform(size=(200, d))
        heights, _ = np.histogramdd(X, 6, [(0, 1)] * d, density=True)
        model, x = fitted(X, 6), rng.uniform(size=(50, d))
        with np.errstate(divide="ignore"):
            expected = np.log(heights[tuple((x * 6).astype(int).T)])
        np.testing.assert_allclose(model.score_samples(x), expected, rtol=1e-12)


def test_it_is_a_density():
    for x_0, h in ((-4.0, 0.5), (-6.3, 0.71)):
        model = fitted(rng.normal(size=(100, 1)), 20, x_0=x_0, h=h)
        middles = x_0 + h * (np.arange(20) + 0.5)
        assert (np.exp(model.score_samples(middles[:, None])) * h).sum() == pytest.approx(1, rel=1e-12)
        assert np.exp(model.score_samples(np.array([[x_0 - 0.1], [x_0 + 20 * h + 0.1]]))).tolist() == [0, 0]


@equation(chapter.normal_reference, 5)
def test_the_reference_width_is_the_best_for_a_normal_density():  # (5): from S4 eq. 32
    slope = scipy.integrate.quad(lambda x: (x * scipy.stats.norm.pdf(x)) ** 2, -9, 9)[0]
    h, _ = histogram_error.optimum(300, slope / 8, 1.0)  # sigma = 2 divides the integral of f'^2 by 8
    assert chapter.normal_reference(2.0, 300) == pytest.approx(h, rel=1e-9)
    assert chapter.normal_reference(1.0, 1) == pytest.approx(3.49, abs=2e-3)


@equation(chapter.cross_validation, 6)
@pytest.mark.parametrize("d", [1, 2])
def test_cross_validation_leaves_one_out(d):  # (6), in any dimension
    X, K = rng.uniform(size=(25, d)), 4
    model = fitted(X, K)
    square = (np.exp(model.score_samples(X))).mean()  # the integral of f^2 is the mean of f under its own law
    left_out = [np.exp(fitted(np.delete(X, i, 0), K).score_samples(X[[i]]))[0] for i in range(25)]
    assert chapter.cross_validation(model.counts.numpy(), 1 / K) == pytest.approx(square - 2 * np.mean(left_out))
    assert model.cross_validation() == pytest.approx(square - 2 * np.mean(left_out), rel=1e-10)


# ---- the error ------------------------------------------------------------------------------------------


@equation(histogram_error.integrated_error, 1)
@equation(histogram_error.mean_and_variance, 2)
@equation(histogram_error.mise, 3)
def test_the_error_over_all_possible_counts():  # histogram_error (1), (2), (3): exact, by enumeration
    K, n = 3, 4
    p = np.array([scipy.integrate.quad(bell, j / K, (j + 1) / K)[0] for j in range(K)])
    outcomes = [c for c in itertools.product(range(n + 1), repeat=K) if sum(c) == n]
    chances = np.array([scipy.stats.multinomial(n, p).pmf(c) for c in outcomes])
    heights = np.array(outcomes) * K / n
    mean = chances @ heights
    found_mean, found_variance = histogram_error.mean_and_variance(p, n)
    np.testing.assert_allclose(found_mean, mean, rtol=1e-10)
    np.testing.assert_allclose(found_variance, chances @ (heights - mean) ** 2, rtol=1e-10)
    errors = []
    for row in heights:
        parts = [scipy.integrate.quad(lambda x, v=v: (v - bell(x)) ** 2, j / K, (j + 1) / K)[0]
                 for j, v in enumerate(row)]  # fmt: skip
        errors.append(sum(parts))
        assert histogram_error.integrated_error(row / K, bell) == pytest.approx(errors[-1], rel=1e-10)
    assert histogram_error.mise(bell, n, K) == pytest.approx(chances @ errors, rel=1e-10)


@equation(histogram_error.squared_bias, 4)
def test_the_bias_in_narrow_bins():  # histogram_error (4)
    p = lambda f, j, K: scipy.integrate.quad(f, j / K, (j + 1) / K)[0]  # noqa: E731
    found = histogram_error.squared_bias(bell, 5)
    expected = [p(lambda x: bell(x) ** 2, j, 5) - 5 * p(bell, j, 5) ** 2 for j in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    slope = lambda x: 60 * x * (1 - x) * (1 - 2 * x)  # noqa: E731
    rough = np.array([p(lambda x: slope(x) ** 2, j, 400) / (12 * 400**2) for j in range(40, 160)])
    np.testing.assert_allclose(histogram_error.squared_bias(bell, 400)[40:160], rough, rtol=2e-4)


@equation(histogram_error.approximate_mise, 5)
def test_the_third_term_belongs_there():  # histogram_error (5), S4 eq. 14 with its -(1/n) int f^2
    assert scipy.integrate.quad(lambda x: bell(x) ** 2, 0, 1)[0] == pytest.approx(SQUARE, rel=1e-12)
    slope = lambda x: 60 * x * (1 - x) * (1 - 2 * x)  # noqa: E731
    assert scipy.integrate.quad(lambda x: slope(x) ** 2, 0, 1)[0] == pytest.approx(SLOPE, rel=1e-12)
    for n, K in ((2000, 40), (10**4, 60), (10**6, 300)):
        exact = histogram_error.mise(bell, n, K)
        assert histogram_error.approximate_mise(1 / K, n, SLOPE, SQUARE) == pytest.approx(exact, rel=3e-4)
    assert histogram_error.approximate_mise(1 / 40, 2000, SLOPE, 0) / histogram_error.mise(bell, 2000, 40) > 1.03
    assert histogram_error.mise(np.ones_like, 50, 1) == pytest.approx(0, abs=1e-12)  # one bin, and f = 1


@equation(histogram_error.optimum, 6)
def test_the_best_width():  # histogram_error (6), S4 eq. 32
    n = 900
    least = scipy.optimize.minimize_scalar(lambda h: histogram_error.approximate_mise(h, n, SLOPE, SQUARE),
                                           bounds=(0.01, 0.5), options={"xatol": 1e-10})  # fmt: skip
    h, value = histogram_error.optimum(n, SLOPE, SQUARE)
    assert h == pytest.approx(least.x, rel=1e-5) and value == pytest.approx(least.fun, rel=1e-12)
    later = histogram_error.optimum(1000 * n, SLOPE, 0)[1] / histogram_error.optimum(n, SLOPE, 0)[1]
    assert math.log(later) / math.log(1000) == pytest.approx(-2 / 3, abs=1e-12)


@equation(histogram_error.optimal_width, 7)
def test_the_best_width_in_many_dimensions():  # histogram_error (7)
    for d in (1, 2, 5):
        error = lambda h, d=d: h**2 / 12 * 3.0 + 1 / (500 * h**d)  # noqa: E731
        least = scipy.optimize.minimize_scalar(error, bounds=(0.01, 3), options={"xatol": 1e-10})
        assert histogram_error.optimal_width(500, d, 3.0) == pytest.approx(least.x, rel=1e-5)
    assert histogram_error.optimal_width(70, 1, SLOPE) == pytest.approx(histogram_error.optimum(70, SLOPE, 0)[0])


# ---- the model ------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 3))
def test_the_parts_change_nothing(steps, d):
    x = np.random.default_rng(d).uniform(size=(37, d))
    model = Histogram(d, 5).fit(x, run=Run(quiet=True)).fit(x, steps=steps, run=Run(quiet=True))
    np.testing.assert_array_equal(model.counts.numpy(), fitted(x, 5).counts.numpy())


def test_small_chunks_and_a_gpu_change_nothing(device, monkeypatch):
    x = rng.uniform(size=(60, 2))
    expected = fitted(x, 5)
    monkeypatch.setattr(chapter, "AT_ONCE", 7)
    model = Histogram(2, 5, rng=tg.random.Generator(0, device=device)).fit(x, steps=3, run=Run(quiet=True))
    np.testing.assert_array_equal(model.score_samples(x), expected.score_samples(x))
    np.testing.assert_allclose(model.sample(6, rng=tg.random.Generator(1, device=device)),
                               expected.sample(6, rng=tg.random.Generator(1)), rtol=1e-6)  # fmt: skip


def test_draws_fill_the_boxes_evenly():
    model = fitted(rng.uniform(size=(50, 2)) ** 2, 4, x_0=-0.2, h=0.3)
    drawn = model.sample(40_000, rng=tg.random.Generator(3))
    shares = fitted(drawn, 4, x_0=-0.2, h=0.3).counts.numpy() / 40_000
    np.testing.assert_allclose(shares, model.counts.numpy() / 50, atol=0.01)
    place = (drawn[:, 0] + 0.2) / 0.3 % 1
    assert scipy.stats.kstest(place, "uniform").pvalue > 0.01


def test_bad_input_is_refused():
    for bad, match in (((0, 3), "n_features is 0"), ((1, 0), "n_bins 0"), ((9, 10), "too many boxes; at most")):
        with pytest.raises(ValueError, match=f"Histogram: .*{match}.*wanted"):
            Histogram(*bad)
    with pytest.raises(ValueError, match="h -1.0; .*positive width"):
        Histogram(1, 3, h=-1.0)
    model = fitted(rng.uniform(size=(9, 2)), 3)
    before = model.counts.numpy().copy()
    with pytest.raises(ValueError, match=r"values from .* to 1.5, and the bins go from 0 to 1; bins that hold all"):
        model.fit(np.array([[0.2, 0.3], [0.1, 1.5]]))
    with pytest.raises(ValueError, match=r"x has shape \(3, 1\)"):
        model.fit(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.fit(np.full((3, 2), np.nan))
    np.testing.assert_array_equal(model.counts.numpy(), before)
    with pytest.raises(RuntimeError, match="no examples yet; call fit"):
        Histogram(2, 3).score_samples(np.zeros((1, 2)))


@given(st.integers(1, 3000), st.floats(-10, 10), st.floats(1e-3, 5))
def test_the_last_border_belongs_to_the_last_bin(n_bins, x_0, h):
    """Whichever way $x_0 + K h$ is rounded."""
    end = x_0 + n_bins * h
    model = fitted(np.array([[end], [end - h / 2]]), n_bins, x_0=x_0, h=h)
    assert model.counts.numpy()[-1] == 2 and np.isfinite(model.score_samples(np.array([[end]]))).all()


def test_one_example_cannot_be_left_out():
    with pytest.raises(ValueError, match="one example is counted; at least two are wanted"):
        chapter.cross_validation(np.array([1.0, 0.0]), 0.5)

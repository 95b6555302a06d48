"""Nearest neighbours: brute force, the law of the ball by simulation and quadrature, divergence; promises."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import NearestNeighbours, sums
from tinygen.models.density import nearest_neighbours as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
normal = scipy.stats.norm.pdf


def fitted(x, **options):
    return NearestNeighbours(x.shape[1], **options).fit(x, run=Run(quiet=True))


def by_force(x, X, k):
    """(1), one point at a time."""
    n, d = X.shape
    volume = {1: 2, 2: math.pi, 3: 4 / 3 * math.pi}.get(d, math.pi ** (d / 2) / math.gamma(d / 2 + 1))
    return [k / (n * volume * sorted(math.dist(v, a) for a in X)[k - 1] ** d) for v in x]


@equation(chapter.log_estimate, 1)
@equation(chapter.distances, 1)
@pytest.mark.parametrize("d, k", [(1, 1), (1, 30), (2, 7), (3, 4), (20, 5)])
def test_the_estimate_by_brute_force(d, k, device):  # (1), S4 eqs. 55-56; the bar: 1e-10
    X, x = rng.normal(size=(60, d)), rng.normal(size=(15, d))
    model = NearestNeighbours(d, k=k, rng=tg.random.Generator(0, device=device)).fit(X, run=Run(quiet=True))
    np.testing.assert_allclose(model.log_estimate(x), np.log(by_force(x, X, k)), rtol=1e-10, atol=1e-10)


def test_small_tables_change_nothing(monkeypatch):
    X, x = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    expected = chapter.distances(x, X, 4)
    monkeypatch.setattr(chapter, "TREE", 0)
    np.testing.assert_allclose(chapter.distances(x, X, 4), expected, rtol=1e-12)
    monkeypatch.setattr(sums, "numbers_at_a_time", lambda X: 300)
    np.testing.assert_allclose(chapter.distances(x, X, 4), expected, rtol=1e-12)


@given(st.integers(1, 12), st.integers(0, 99))
def test_distances_are_continuous(k, seed):  # a step changes no distance by more than its length
    draw = np.random.default_rng(seed)
    X, x = draw.normal(size=(12, 2)), draw.normal(size=(20, 2))
    step = draw.normal(size=(20, 2)) * 0.1
    change = chapter.distances(x + step, X, k) - chapter.distances(x, X, k)
    assert (abs(change) <= np.linalg.norm(step, axis=1) + 1e-12).all()


@equation(chapter.ball_law, 2)
def test_the_probability_of_the_ball():  # (2): Beta, whatever f is
    samples, k, n, x = rng.normal(size=(4000, 30)), 4, 30, 0.7
    radius = np.sort(abs(samples - x), axis=1)[:, k - 1]
    U = scipy.stats.norm.cdf(x + radius) - scipy.stats.norm.cdf(x - radius)
    a, b = chapter.ball_law(k, n)
    assert scipy.stats.kstest(U, scipy.stats.beta(a, b).cdf).pvalue > 0.01
    counted = [math.comb(n, j) * 0.1**j * 0.9 ** (n - j) for j in range(k, n + 1)]  # at least k of n in a ball of 0.1
    assert scipy.stats.beta(a, b).cdf(0.1) == pytest.approx(sum(counted), rel=1e-10)


@equation(chapter.moments_where_flat, 3)
@pytest.mark.parametrize("k, n", [(3, 10), (5, 1000), (40, 50)])
def test_moments_where_the_density_is_flat(k, n):  # (3)
    U = scipy.stats.beta(k, n - k + 1)
    mean, second = (scipy.integrate.quad(lambda u, p=p: (k / n / u) ** p * U.pdf(u), 0, 1, limit=300,
                                         points=[U.mean()])[0] for p in (1, 2))  # fmt: skip
    found = chapter.moments_where_flat(k, n)
    assert found[0] == pytest.approx(mean, rel=1e-6) and found[1] == pytest.approx(second - mean**2, rel=1e-4)
    assert chapter.moments_where_flat(1, n) == (math.inf, math.inf)
    assert chapter.moments_where_flat(2, n) == (2, math.inf)


@equation(chapter.bias, 4)
def test_the_bias_of_a_ball():  # (4)
    x, k, n = 0.4, 10, 4000
    f, curvature = normal(x), (x * x - 1) * normal(x)
    r = k / (2 * n * f)
    mean = (scipy.stats.norm.cdf(x + r) - scipy.stats.norm.cdf(x - r)) / (2 * r)
    assert chapter.bias(f, curvature, k, n) == pytest.approx(mean - f, rel=1e-4)


@equation(chapter.mean_squared_error, 5)
@equation(chapter.best_number, 5)
def test_the_best_number_of_neighbours():  # (5)
    f, curvature, n = 0.4, -0.4, 5000
    error = lambda k: (curvature / (24 * f**2) * (k / n) ** 2) ** 2 + f**2 / k  # noqa: E731
    assert chapter.mean_squared_error(f, curvature, 77, n) == pytest.approx(error(77), rel=1e-12)
    least = scipy.optimize.minimize_scalar(error, bounds=(1, n), options={"xatol": 1e-6})
    assert chapter.best_number(f, curvature, n) == pytest.approx(least.x, rel=1e-5)
    ratio = chapter.mean_squared_error(f, curvature, chapter.best_number(f, curvature, 32 * n), 32 * n) / least.fun
    assert ratio == pytest.approx(32**-0.8, rel=1e-6)


@equation(chapter.mass_between, 6)
def test_the_integral_diverges():  # (6): quadrature far out, in the plane
    X, k = rng.normal(size=(50, 2)), 6
    model = fitted(X, k=k)
    turns = 2 * math.pi * np.arange(32) / 32
    ways = np.stack([np.cos(turns), np.sin(turns)], 1)
    shell = lambda t: 2 * math.pi * math.exp(2 * t) * np.exp(model.log_estimate(math.exp(t) * ways)).mean()  # noqa: E731
    found = scipy.integrate.quad(shell, math.log(1e4), math.log(1e6))[0]
    assert chapter.mass_between(100.0, k, 50, 2) == pytest.approx(found, rel=1e-4)


@equation(chapter.mass_on_the_right, 7)
def test_the_integral_on_the_right():  # (7)
    X, k = rng.normal(size=20), 5
    model = fitted(X[:, None], k=k)
    found = scipy.integrate.quad(lambda x: np.exp(model.log_estimate(np.array([[x]])))[0], X.max(), 50, limit=200)[0]
    assert chapter.mass_on_the_right(50.0, X, k) == pytest.approx(found, rel=1e-8)
    both = [chapter.mass_on_the_right(R, X, k) + chapter.mass_on_the_right(R, -X, k) for R in (1e2, 1e4, 1e40)]
    assert both[1] - both[0] == pytest.approx(chapter.mass_between(100.0, k, 20, 1), rel=0.02) and both[2] > 20


@equation(NearestNeighbours.cross_validation, 8)
def test_cross_validation_by_hand():  # (8)
    X, points, k = rng.normal(size=(12, 2)), rng.uniform(size=(200, 2)), 3
    left_out = [by_force(X[[i]], np.delete(X, i, 0), k)[0] for i in range(12)]
    low, size = X.min(0), X.max(0) - X.min(0)
    inside = np.mean(by_force(low + size * points, X, k)) * size.prod()
    model = NearestNeighbours(2, k=k, box_points=200).fit(X, run=Run(quiet=True))
    model.places.assign(points)
    np.testing.assert_allclose(
        model.cross_validation(k), (np.mean(np.log(left_out)) - math.log(inside), inside), rtol=1e-10
    )


def test_the_number_with_the_largest_criterion_is_kept():
    X = np.concatenate([rng.normal(-3, 0.3, 150), rng.normal(2, 1, 150)])[:, None]
    model = NearestNeighbours(1, rng=tg.random.Generator(3)).fit(X, steps=10, run=Run(quiet=True))
    tried = chapter.ladder(300, 10)
    values = [model.cross_validation(k)[0] for k in tried]
    assert int(model.k) == tried[int(np.argmax(values))] and float(model.criterion) == max(values)
    assert tried[0] == 2 and tried[-1] == 150 and 5 < int(model.k) < 100
    grid = np.linspace(-5, 6, 2001)
    truth = normal(grid, -3, 0.3) / 2 + normal(grid, 2, 1) / 2
    errors = [((np.exp(fitted(X, k=k).log_estimate(grid[:, None])) - truth) ** 2).mean()
              for k in (2, int(model.k), 150)]  # fmt: skip
    assert errors[1] < min(errors[0], errors[2])


def test_consistency_needs_both():  # S4 eq. 60: k to infinity, and k/n to 0
    def error(n, k):
        away = np.sort(abs(rng.normal(size=(200, n)) - 2), axis=1)[:, k - 1]
        return np.sqrt(np.mean((np.exp(chapter.log_estimate(away, k, n, 1)) / normal(2) - 1) ** 2))

    assert error(10_000, 100) < 0.4 * error(100, 10)  # n^(1/2)
    assert error(10_000, 5) > 0.7 * error(100, 5)
    assert error(10_000, 2000) > 0.7 * error(100, 20)


def test_coinciding_examples():
    X = np.repeat(rng.normal(size=(10, 1)), 3, axis=0)
    assert np.isinf(fitted(X, k=2).log_estimate(X[:1])).all()  # said, not hidden
    assert np.isfinite(fitted(X, k=4).log_estimate(X)).all()
    model = NearestNeighbours(1, rng=tg.random.Generator(0)).fit(X, steps=8, run=Run(quiet=True))
    assert int(model.k) >= 3 and np.isfinite(float(model.criterion))


def test_bad_input_is_refused():
    for bad in (dict(n_features=0), dict(n_features=1, k=0), dict(n_features=1, box_points=0)):
        with pytest.raises(ValueError, match="NearestNeighbours: .* at least one of each is wanted"):
            NearestNeighbours(**bad)
    with pytest.raises(ValueError, match="x has 3 rows; at least 5 are wanted, as many as neighbours"):
        fitted(np.zeros((3, 1)), k=5)
    with pytest.raises(ValueError, match="x has 2 rows; at least 4 are wanted"):
        fitted(np.eye(2))
    with pytest.raises(ValueError, match="a column of x is constant"):
        fitted(np.ones((9, 1)))
    with pytest.raises(ValueError, match="values up to nan"):
        fitted(np.full((9, 1), np.nan))
    model = fitted(rng.normal(size=(9, 2)), k=2)
    with pytest.raises(ValueError, match=r"x has shape \(2, 1\)"):
        model.log_estimate(np.zeros((2, 1)))
    with pytest.raises(RuntimeError, match="no examples yet; call fit"):
        NearestNeighbours(2).log_estimate(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="load_state_dict"):
        model.load_state_dict(NearestNeighbours(3, k=1).state_dict())
    assert len(model.examples) == 9


def test_the_unit_of_the_data_does_not_choose_the_number_of_neighbours():
    x = np.random.default_rng(0).normal(size=(60, 64))
    found = [fitted(x * unit, rng=tg.random.Generator(0)) for unit in (1e-6, 1.0, 1e6)]
    assert len({int(m.k) for m in found}) == 1
    levels = [float(m.criterion) + 64 * math.log(unit) for m, unit in zip(found, (1e-6, 1.0, 1e6), strict=True)]
    np.testing.assert_allclose(levels, levels[1], rtol=1e-10)


def test_rows_that_coincide_too_often_are_refused_and_nothing_is_left_of_before():
    tied = np.concatenate([np.zeros((60, 1)), np.random.default_rng(0).normal(size=(40, 1))])
    model = fitted(np.random.default_rng(1).normal(size=(50, 1)))
    with pytest.raises(ValueError, match="minus infinity for every number of neighbours tried"):
        model.fit(tied, run=Run(quiet=True))
    assert int(model.k) == 0
    for k in (0, 7):
        with pytest.raises(ValueError, match="distances: k is"):
            chapter.distances(np.zeros((1, 1)), np.zeros((6, 1)), k)
    with pytest.raises(ValueError, match="k 2.5"):
        NearestNeighbours(1, k=2.5)

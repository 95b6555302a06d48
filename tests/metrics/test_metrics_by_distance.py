"""The Parzen window and the nearest neighbours, against SciPy, loops, and what their chapters warn of."""

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

from tinygen.metrics.common import squared_distances
from tinygen.metrics.neighbours import copying, nearest
from tinygen.metrics.parzen import choose_bandwidth, parzen_log_density, parzen_score

rng = np.random.default_rng(0)
seeds = st.integers(0, 10**6)


@given(seed=seeds, d=st.integers(1, 5))
def test_squared_distances(seed, d):
    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(4, d)), draws.normal(size=(6, d))
    expected = np.square(x[:, None] - y).sum(2)
    np.testing.assert_allclose(squared_distances(x, y), expected, rtol=1e-9, atol=1e-12)
    assert (squared_distances(x, x) >= 0).all()


# ---- Parzen ---------------------------------------------------------------------------------------------


@equation(parzen_log_density, 1)
@given(seed=seeds, d=st.integers(1, 4), h=st.floats(0.1, 3), chunk=st.integers(1, 9))
def test_density_is_a_mean_of_gaussians(seed, d, h, chunk):
    draws = np.random.default_rng(seed)
    x, samples = draws.normal(size=(7, d)), draws.normal(size=(11, d))
    p = [np.mean([scipy.stats.multivariate_normal.pdf(a, s, h**2) for s in samples]) for a in x]
    np.testing.assert_allclose(parzen_log_density(x, samples, h, chunk=chunk), np.log(p), rtol=1e-8, atol=1e-8)


def test_density_far_away_is_still_a_number():
    found = parzen_log_density([[1e4]], [[0.0], [1.0]], 0.1)
    assert found[0] == pytest.approx(-((1e4 - 1) ** 2) / 0.02 - np.log(2) - np.log(0.1 * np.sqrt(2 * np.pi)))


@equation(choose_bandwidth, 2)
def test_the_bandwidth_is_the_best_on_the_validation_points():
    validation, samples, widths = rng.normal(size=(60, 3)), rng.normal(size=(80, 3)), [0.1, 0.3, 0.6, 1.5]
    each = [np.mean(parzen_log_density(validation, samples, h)) for h in widths]
    best, means = choose_bandwidth(validation, samples, widths)
    np.testing.assert_allclose(means, each, rtol=1e-12)
    assert best == pytest.approx(widths[int(np.argmax(each))], rel=1e-12)


def test_the_score_is_of_the_test_points():
    test, validation, samples = rng.normal(size=(50, 1, 2, 2)), rng.normal(size=(40, 1, 2, 2)), rng.normal(size=(60, 4))
    score = parzen_score(test, validation, samples, [0.2, 0.7])
    assert score.bandwidth == choose_bandwidth(validation, samples, [0.2, 0.7])[0]
    each = parzen_log_density(test, samples, score.bandwidth)
    assert score.mean == pytest.approx(each.mean())
    assert score.error == pytest.approx(each.std() / np.sqrt(50))


def test_wrong_samples_score_above_right_ones():
    """What the chapter says against the score: a standard normal law in 100 dimensions, samples shrunk to 0.7."""
    test, validation, right = rng.normal(size=(3, 400, 100))
    widths = np.geomspace(0.3, 2, 12)
    scores = [parzen_score(test, validation, factor * right, widths) for factor in (1, 0.7)]
    assert scores[1].mean > scores[0].mean + 3 * scores[0].error
    truth = scipy.stats.norm.logpdf(test).sum(1).mean()
    assert scores[0].mean < truth - 5  # and both are far below what the law itself has


def test_bad_windows_are_refused():
    with pytest.raises(ValueError, match="the bandwidths are"):
        parzen_log_density([[0.0]], [[0.0]], 0)
    with pytest.raises(ValueError, match="rows of 1 numbers; rows of 2"):
        parzen_log_density([[0.0]], [[0.0, 1.0]], 1)


# ---- neighbours -----------------------------------------------------------------------------------------


@equation(nearest, 1)
@given(seed=seeds, n=st.integers(1, 5), chunk=st.integers(1, 9))
def test_nearest_by_a_loop(seed, n, chunk):
    draws = np.random.default_rng(seed)
    x, train = draws.normal(size=(6, 1, 2, 2)), draws.normal(size=(8, 1, 2, 2))
    rows, distances = nearest(x, train, n, chunk=chunk)
    for i in range(6):
        each = [np.linalg.norm(x[i] - t) for t in train]
        np.testing.assert_array_equal(rows[i], np.argsort(each)[:n])
        np.testing.assert_allclose(distances[i], np.sort(each)[:n], rtol=1e-10)


def test_a_copy_is_found_at_distance_0():
    train = rng.uniform(size=(50, 10)).astype(np.float32)
    rows, distances = nearest(train[[7, 3]], train)
    assert rows[:, 0].tolist() == [7, 3] and (distances == 0).all()


@equation(copying, 2)
@given(seed=seeds)
def test_copying_over_all_pairs(seed):
    draws = np.random.default_rng(seed)
    g, u, t = (draws.integers(0, 4, (n, 1)).astype(float) for n in (6, 5, 3))  # with many ties
    d_g, d_u = (np.abs(v - t.T).min(1) for v in (g, u))
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in d_g for b in d_u]
    assert copying(g, u, t) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_copying_of_a_parrot_of_noise_and_of_the_law():
    train, test, fresh = rng.normal(size=(3, 500, 8))
    assert copying(train[:100], test, train) == 1
    assert copying(10 * fresh, test, train) < 0.05
    assert abs(copying(fresh, test, train) - 0.5) < 0.06


def test_bad_neighbours_are_refused():
    with pytest.raises(ValueError, match="n is 4; 1 to the 3"):
        nearest([[0.0]], [[0.0], [1.0], [2.0]], 4)
    with pytest.raises(ValueError, match="row 0 of x is not finite"):
        nearest([[np.inf]], [[0.0]])
    with pytest.raises(ValueError, match=r"train has shape \(0, 2\)"):
        nearest(np.zeros((1, 2)), np.zeros((0, 2)))


def test_squared_distances_far_from_0_do_not_cancel():
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(squared_distances(x + 1e6, x[::-1] + 1e6), squared_distances(x, x[::-1]), atol=1e-8)

"""Scores of disentanglement on codes whose order or disorder is planted, against SciPy and enumeration."""

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

from tinygen.metrics.disentanglement import (
    bins,
    factor_score,
    information_gap,
    mean_difference,
    mutual_information,
    squared_correlations,
)

rng = np.random.default_rng(0)
seeds = st.integers(0, 10**6)
FACTORS = 3


def by_least_squares(x, y):
    """A linear classifier: least squares to one column a class, the largest wins."""
    ones = np.ones((len(x), 1))
    weights = np.linalg.lstsq(np.hstack([x, ones]), np.eye(FACTORS)[y], rcond=None)[0]
    return lambda new: (np.hstack([new, np.ones((len(new), 1))]) @ weights).argmax(1)


def votes(code, n, pairs=30):
    """Mean differences (1) of pairs that share a factor, and which: for codes that are a function of the factors."""
    j = np.arange(n) % FACTORS
    one, other = rng.uniform(size=(2, n, pairs, FACTORS))
    other[np.arange(n), :, j] = one[np.arange(n), :, j]
    return mean_difference(code(one), code(other)), j


def turned(v):
    """The first two factors as a point, turned by 45 degrees."""
    return np.stack([v[..., 0] + v[..., 1], v[..., 0] - v[..., 1], v[..., 2]], axis=-1)


# ---- the share of right answers -------------------------------------------------------------------------


@equation(mean_difference, 1)
@given(seed=seeds)
def test_mean_difference_by_a_loop(seed):
    z, z_prime = np.random.default_rng(seed).normal(size=(2, 4, 3, 2))
    for i, k in np.ndindex(4, 2):
        expected = sum(abs(z[i, pair, k] - z_prime[i, pair, k]) for pair in range(3)) / 3
        assert mean_difference(z, z_prime)[i, k] == pytest.approx(expected)


@equation(factor_score, 2)
def test_the_score_of_planted_codes():
    perfect = lambda v: np.stack([-v[..., 2], 3 * v[..., 0] - 1, v[..., 1] ** 2], axis=-1)  # noqa: E731
    assert factor_score(*votes(perfect, 90), *votes(perfect, 300), by_least_squares) == 1
    deaf = lambda v: rng.normal(size=v.shape)  # noqa: E731
    assert abs(factor_score(*votes(deaf, 300), *votes(deaf, 900), by_least_squares) - 1 / FACTORS) < 0.08
    half = factor_score(*votes(turned, 300), *votes(turned, 900), by_least_squares)
    assert 0.6 < half < 0.75  # the third factor is seen; the first two cannot be told apart


def test_the_score_does_not_depend_on_units():
    """Each entry in a unit of its own, one entry constant: the learner is shown mean 0 and spread 1."""
    shown = []

    def learner(x, y):
        shown.append(x)
        return lambda new: np.zeros(len(new), int)

    delta = np.abs(rng.normal(size=(50, 3))) * [1e-3, 1, 1e3]
    delta[:, 1] = 7
    factor_score(delta, np.zeros(50, int), delta, np.zeros(50, int), learner)
    np.testing.assert_allclose(shown[0].mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(shown[0].std(0), [1, 0, 1], atol=1e-9)


# ---- mutual information ---------------------------------------------------------------------------------


@equation(mutual_information, 3)
@given(seed=seeds)
def test_information_is_that_of_scipys_entropies(seed):
    draws = np.random.default_rng(seed)
    a, b = draws.integers(0, 4, (2, 60))
    information, entropies = mutual_information(a[:, None], b[:, None], n_bins=4)
    p = np.histogram2d(a, b, bins=(np.arange(5), np.arange(5)))[0] / 60
    expected = scipy.stats.entropy(p.sum(1)) + scipy.stats.entropy(p.sum(0)) - scipy.stats.entropy(p.ravel())
    np.testing.assert_allclose(information, [[expected]], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(entropies, scipy.stats.entropy(p.sum(0)))


def test_information_of_two_normal_variables():  # -log(1 - rho^2) / 2, less what bins lose
    x, e = rng.normal(size=(2, 200_000))
    information, _ = mutual_information((0.8 * x + 0.6 * e)[:, None], x[:, None], n_bins=60)
    assert information[0, 0] == pytest.approx(-np.log(0.36) / 2, abs=0.02)


def test_bins_hold_the_same_share_and_values_keep_their_own():
    assert set(np.bincount(bins(rng.normal(size=1000), 10))) == {100}
    np.testing.assert_array_equal(bins(np.array([3.0, -1.0, 3.0, 8.0]), 5), [1, 0, 1, 2])


@equation(information_gap, 4)
def test_the_gap_of_planted_codes():
    v = rng.uniform(size=(4000, FACTORS))
    noise = rng.normal(size=(4000, 1))
    gap = lambda z: information_gap(*mutual_information(z, v))  # noqa: E731
    perfect = np.hstack([noise, -v[:, 2:], np.exp(v[:, :1]), v[:, 1:2]])
    assert (gap(perfect) > 0.97).all()  # noise and independent factors seem to know something, by chance
    twice = np.hstack([v, v[:, :1] * 5])
    np.testing.assert_allclose(gap(twice)[0], 0, atol=1e-12)
    assert (gap(turned(v))[:2] < 0.05).all() and gap(turned(v))[2] > 0.97
    assert (gap(rng.normal(size=(4000, 5))) < 0.02).all()
    np.testing.assert_allclose(information_gap([[1.0, 0], [0.25, 2]], [1.0, 4]), [0.75, 0.5])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mean_difference(np.zeros((2, 3)), np.zeros((2, 3))), r"\(2, 3\) and \(2, 3\); \(N, L, d\) twice"),
        (lambda: factor_score(np.ones((2, 1)), [0.0, 1], np.ones((1, 1)), [0], by_least_squares), "j is float64"),
        (lambda: factor_score(np.ones((2, 1)), [0, 1], np.ones((1, 2)), [0], by_least_squares), "rows of 1 are"),
        (lambda: mutual_information(np.ones((2, 1)), np.ones((3, 1))), "2 codes and 3 rows of factors"),
        (lambda: information_gap(np.ones((1, 2)), np.ones(2)), "d of 2 at least"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@equation(squared_correlations, 5)
def test_squared_correlations_are_numpys():
    z, v = rng.normal(size=(2, 50, 3))
    z[:, 1] = 4
    expected = np.square(np.corrcoef(z[:, [0, 2]].T, v.T)[:2, 2:])
    np.testing.assert_allclose(squared_correlations(z, v)[[0, 2]], expected)
    assert (squared_correlations(z, v)[1] == 0).all()
    with pytest.raises(ValueError, match="50 codes and 3 rows"):
        squared_correlations(z, v[:3])


def test_what_does_not_change_is_known_by_nothing():
    """A constant has a rounded mean, so that little is left of it, and must not count."""
    v = np.random.default_rng(0).normal(size=(1000, 1))
    assert squared_correlations(np.full((1000, 1), 0.1), v).tolist() == [[0]]
    assert squared_correlations(v, np.full((1000, 1), 0.1)).tolist() == [[0]]
    with pytest.raises(ValueError, match="information_gap: an entropy is 0.0"):
        information_gap(np.zeros((2, 1)), np.zeros(1))

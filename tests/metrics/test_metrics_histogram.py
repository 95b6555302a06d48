"""The quadratic difference against a loop and its expectation; masses of bins against SciPy and the density."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import data
from tinygen.metrics.histogram import (
    expected_difference,
    frequencies,
    gaussian_probabilities,
    mixture_probabilities,
    quadratic_difference,
    square_edges,
)  # fmt: skip

EDGES = square_edges(-7, 7, 20)


@equation(quadratic_difference, 1)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 4), n=st.integers(1, 4))
def test_it_is_a_sum_over_bins(seed, m, n):
    draws = np.random.default_rng(seed)
    x, y = np.sort(draws.normal(size=m + 1)), np.sort(draws.normal(size=n + 1))
    samples, p = draws.normal(size=(50, 2)), draws.dirichlet(np.ones(m * n + 1))[:-1].reshape(m, n)
    expected = 0.0
    for i in range(m):
        for j in range(n):
            inside = sum(x[i] <= a < x[i + 1] and y[j] <= b < y[j + 1] for a, b in samples)
            expected += (inside / 50 - p[i, j]) ** 2
    assert quadratic_difference(samples, p, (x, y)) == pytest.approx(expected, rel=1e-9)


@equation(expected_difference, 2)
def test_what_true_samples_score_by_enumeration():
    """Three samples, two bins and what is outside: all 27 cases."""
    p, edges, expected = np.array([[0.2, 0.5]]), (np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0])), 0.0
    places, mass = np.array([[0.5, 0.5], [0.5, 1.5], [9.0, 9.0]]), [0.2, 0.5, 0.3]
    for case in np.ndindex(3, 3, 3):
        expected += np.prod([mass[k] for k in case]) * quadratic_difference(places[list(case)], p, edges)
    assert expected_difference(p, 3) == pytest.approx(expected, rel=1e-12)


@equation(expected_difference, 3)
def test_what_other_samples_score_by_enumeration():
    q, p, edges = np.array([[0.2, 0.5]]), np.array([[0.4, 0.1]]), (np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0]))
    places, mass, expected = np.array([[0.5, 0.5], [0.5, 1.5], [9.0, 9.0]]), [0.2, 0.5, 0.3], 0.0
    for case in np.ndindex(3, 3):
        expected += np.prod([mass[k] for k in case]) * quadratic_difference(places[list(case)], p, edges)
    assert expected_difference(q, 2, p) == pytest.approx(expected, rel=1e-12)


def test_the_thesis_mixture_scores_as_expected():
    law, n = data.mixture("gmm4"), 5000
    p = mixture_probabilities(law, EDGES)
    found = [quadratic_difference(law.sample(n, tg.random.Generator(seed)), p, EDGES) for seed in range(30)]
    assert np.mean(found) == pytest.approx(expected_difference(p, n), rel=0.05)
    assert quadratic_difference(law.sample(n, tg.random.Generator(0)) + 1, p, EDGES) > 10 * max(found)


@equation(gaussian_probabilities, 4)
@given(seed=st.integers(0, 10**6), rho=st.floats(-0.99, 0.99), scale=st.floats(0.05, 2))
def test_masses_are_scipys(seed, rho, scale):
    draws = np.random.default_rng(seed)
    s = scale * draws.uniform(0.5, 2, 2)
    mean, covariance = draws.normal(size=2), np.array([[s[0] ** 2, rho * s[0] * s[1]], [rho * s[0] * s[1], s[1] ** 2]])
    x, y = np.sort(draws.normal(size=3)), np.sort(draws.normal(size=3))
    law = scipy.stats.multivariate_normal(mean, covariance)
    corners = np.array([[law.cdf([a, b]) for b in y] for a in x])
    expected = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    found = gaussian_probabilities(mean, covariance, (x, y))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_a_bin_much_wider_than_the_law_holds_it():
    found = gaussian_probabilities([0.3, -0.2], 1e-6 * np.array([[1, 0.9], [0.9, 1]]), square_edges(-100, 100, 1))
    assert found[0, 0] == pytest.approx(1, abs=1e-12)
    assert gaussian_probabilities([500, 0], np.eye(2), square_edges(-1, 1, 2)).sum() == 0


def test_masses_of_a_mixture_are_integrals_of_its_density():
    law, edges = data.mixture("gmm4"), (np.array([-2.0, 0.5, 3.0]), np.array([-1.0, 1.0]))
    for i in range(2):
        mass = scipy.integrate.dblquad(lambda y, x: np.exp(law.log_density(np.array([[x, y]])))[0],
                                       edges[0][i], edges[0][i + 1], -1, 1, epsabs=1e-7)[0]  # fmt: skip
        assert mixture_probabilities(law, edges)[i, 0] == pytest.approx(mass, rel=1e-6)


def test_all_bins_hold_the_law():
    for name, half in (("ring8", 3), ("grid25", 6), ("gmm4", 30)):
        assert mixture_probabilities(data.mixture(name), square_edges(-half, half, 30)).sum() == pytest.approx(1)


def test_samples_outside_or_not_finite_are_in_no_bin():
    samples = np.array([[0.5, 0.5], [np.nan, 0.0], [9.0, 0.5], [1.0, 0.5]])
    assert frequencies(samples, square_edges(0, 2, 2)).tolist() == [[0.25, 0], [0.25, 0]]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="edges must be two arrays that rise"):
        frequencies(np.zeros((2, 2)), (np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    with pytest.raises(ValueError, match="edges must be two arrays"):
        frequencies(np.zeros((2, 2)), (np.array([1.0, 2.0]),))
    with pytest.raises(ValueError, match=r"probabilities have shape \(2, 2\).*\(1, 1\)"):
        quadratic_difference(np.zeros((2, 2)), np.full((2, 2), 0.25), square_edges(0, 1, 1))
    with pytest.raises(ValueError, match="sum 4"):
        quadratic_difference(np.zeros((2, 2)), np.ones((2, 2)), square_edges(0, 1, 2))
    with pytest.raises(ValueError, match="rows of 3 numbers; rows of 2"):
        frequencies(np.zeros((2, 3)), EDGES)
    with pytest.raises(ValueError, match="positive definite"):
        gaussian_probabilities([0, 0], [[1, 2], [2, 1]], EDGES)
    with pytest.raises(ValueError, match="low is 1"):
        square_edges(1, 0, 3)

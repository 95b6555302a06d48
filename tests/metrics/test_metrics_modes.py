"""Modes are counted as the papers do, against a plain loop; the share of good samples is the chi-square's."""

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import data, metrics
from tinygen.metrics.modes import expected_quality, mode_histogram, mode_kl, modes_covered, nearest_mode

rng = np.random.default_rng(0)


def by_hand(samples, centres, std, radius):
    """The nearest centres, their distances, and the histogram, by a loop over samples and centres."""
    counts, nearest, distances = [0] * len(centres), [], []
    for x in samples:
        away = [np.sqrt(sum((a - b) ** 2 for a, b in zip(x, c, strict=True))) / s
                for c, s in zip(centres, std, strict=True)]  # fmt: skip
        nearest.append(away.index(min(away)))
        distances.append(min(away))
        counts[nearest[-1]] += distances[-1] <= radius
    return nearest, distances, counts


@equation(nearest_mode, 1)
@given(seed=st.integers(0, 10**6), d=st.integers(1, 3), k=st.integers(1, 5), radius=st.floats(0.5, 4))
def test_the_histogram_is_a_loops(seed, d, k, radius):
    draws = np.random.default_rng(seed)
    samples, centres, std = draws.normal(size=(40, d)), draws.normal(size=(k, d)), draws.uniform(0.1, 1, k)
    nearest, distances, counts = by_hand(samples, centres, std, radius)
    found = nearest_mode(samples, centres, std)
    np.testing.assert_array_equal(found[0], nearest)
    np.testing.assert_allclose(found[1], distances, rtol=1e-12)
    np.testing.assert_array_equal(mode_histogram(samples, centres, std, radius=radius), counts)


def test_an_example_of_the_histogram():
    samples = [[0.0, 0.1], [0.2, 0.0], [5.0, 0.4], [5.0, 0.29]]
    assert mode_histogram(samples, [[0, 0], [5, 0], [9, 9]], 0.1).tolist() == [2, 1, 0]


@equation(modes_covered, 2)
def test_covered_and_of_high_quality():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    samples = np.concatenate([np.zeros((6, 2)), np.full((1, 2), [10.0, 0.25]), np.full((1, 2), [10.0, 0.4]),
                              np.full((2, 2), np.nan)])  # fmt: skip
    assert modes_covered(samples, centres, 0.1) == (2, 0.7)
    assert modes_covered(samples, centres, 0.1, at_least=2) == (1, 0.7)
    assert modes_covered(samples, centres, 0.1, radius=5) == (2, 0.8)
    assert modes_covered(samples, centres, [0.1, 0.2, 0.1]) == (2, 0.8)


@equation(expected_quality, 3)
@pytest.mark.parametrize(("d", "radius"), [(1, 3.0), (2, 3.0), (2, 1.0), (5, 2.0)])
def test_data_have_the_share_that_is_expected(d, radius):
    """The mass of a ball, by integrating the density over shells."""
    r = np.linspace(0, radius, 20_001)
    shells = 2 * np.pi ** (d / 2) / scipy.special.gamma(d / 2) * r ** (d - 1)
    mass = np.trapezoid(shells * np.exp(-(r**2) / 2) / (2 * np.pi) ** (d / 2), r)
    assert expected_quality(d, radius=radius) == pytest.approx(mass, rel=1e-6)


def test_data_themselves_cover_all_modes():
    for name, k in (("ring8", 8), ("grid25", 25)):
        law = data.mixture(name)
        modes, quality = modes_covered(law.sample(2500, tg.random.Generator(0)), law.modes, law.std, at_least=10)
        assert modes == k and abs(quality - expected_quality(2)) < 0.01


@equation(mode_kl, 4)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 6))
def test_kl_of_the_shares(seed, k):
    draws = np.random.default_rng(seed)
    counts, weights = draws.integers(0, 9, k) + np.eye(k, dtype=int)[0], draws.dirichlet(np.ones(k))
    q = counts / counts.sum()
    assert mode_kl(counts, weights) == pytest.approx(scipy.stats.entropy(q, weights), rel=1e-9, abs=1e-12)
    assert mode_kl(counts) == pytest.approx(np.log(k) - scipy.stats.entropy(q), rel=1e-9, abs=1e-12)


def test_kl_at_its_ends():
    assert mode_kl([3, 3, 3]) == 0 and mode_kl([0, 5, 0]) == pytest.approx(np.log(3))
    assert mode_kl([0, 0]) == np.inf and mode_kl([2, 6], [0.25, 0.75]) == pytest.approx(0, abs=1e-15)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"samples has shape \(4, 3\), rows of 3 numbers; rows of 2"):
        modes_covered(np.zeros((4, 3)), np.zeros((2, 2)), 0.1)
    with pytest.raises(ValueError, match="std is -1.0"):
        modes_covered(np.zeros((4, 2)), np.zeros((2, 2)), -1)
    with pytest.raises(ValueError, match="std is"):
        modes_covered(np.zeros((4, 2)), np.zeros((2, 2)), [1, 1, 1])
    with pytest.raises(ValueError, match="at_least is 0"):
        modes_covered(np.zeros((4, 2)), np.zeros((2, 2)), 1, at_least=0)
    with pytest.raises(ValueError, match="centres is not finite|of centres is not finite"):
        modes_covered(np.zeros((4, 2)), [[0, np.nan]], 1)
    with pytest.raises(ValueError, match="counts are"):
        mode_kl([-1, 2])
    with pytest.raises(ValueError, match=r"samples has shape \(0, 2\)"):
        metrics.modes_covered(np.zeros((0, 2)), np.zeros((2, 2)), 1)

"""The plane sets: their densities are those of SciPy, and what is drawn follows them."""

from __future__ import annotations

import numpy as np
import pytest
from equations import equation
from scipy.stats import multivariate_normal

from tinygen import data
from tinygen.backend.random import Generator

NAMES = ["gmm4", "ring8", "grid25"]


@equation(data.Mixture.log_density, 1)
@equation(data.Mixture.log_joint, 2)
@pytest.mark.parametrize("name", NAMES)
def test_log_density(name):
    """Equations (1) and (2), against SciPy."""
    m = data.mixture(name)
    far = Generator(2).normal((50, 2), std=5, dtype="float64")
    x = np.concatenate([m.sample(200, Generator(1), dtype="float64"), far])
    parts = [w * multivariate_normal(mu, c).pdf(x) for w, mu, c in zip(m.weights, m.means, m.covariances, strict=True)]
    joint = m.log_joint(x)
    assert joint.shape == (250, len(m.weights))
    np.testing.assert_allclose(m.log_density(x[:200]), np.log(sum(parts)[:200]), rtol=1e-10)
    np.testing.assert_allclose(np.exp(joint), np.stack(parts, 1), atol=1e-300, rtol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_the_density_integrates_to_one(name):
    """Each component, in a square around it, to its weight; and the weights to one."""
    m = data.mixture(name)
    for k in range(min(4, len(m.weights))):
        ticks = np.linspace(-9, 9, 61) * m.std[k]
        x = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2) + m.modes[k]
        total = np.exp(m.log_joint(x)[:, k]).sum() * (ticks[1] - ticks[0]) ** 2
        assert total == pytest.approx(m.weights[k], rel=1e-5)
    assert m.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_moments(name):
    m = data.mixture(name)
    x, k = m.sample_labelled(40_000, Generator(0), dtype="float64")
    np.testing.assert_allclose(np.bincount(k, minlength=len(m.weights)) / len(k), m.weights, atol=0.01)
    for j in range(min(4, len(m.weights))):
        part = x[k == j]
        se = m.std[j] / np.sqrt(len(part))
        np.testing.assert_allclose(part.mean(0), m.means[j], atol=6 * se)
        np.testing.assert_allclose(np.cov(part.T), m.covariances[j], atol=8 * m.std[j] * se)


def test_gmm4_is_the_thesis_s():
    m = data.mixture("gmm4")
    assert m.weights.tolist() == [0.4, 0.2, 0.2, 0.2]
    assert m.means.tolist() == [[0, 0], [0, 3], [-3, -3], [3, -3]]
    covariances = [[[3, 0], [0, 1]], [[2, -0.5], [-0.5, 1]], [[1.5, 1], [1, 2]], [[2, -1], [-1, 1.5]]]
    assert m.covariances.tolist() == covariances


def test_ring_and_grid():
    ring, grid = data.mixture("ring8"), data.mixture("grid25")
    np.testing.assert_allclose(np.hypot(*ring.modes.T), 2)
    np.testing.assert_allclose(ring.std, 0.02)
    assert sorted(map(tuple, grid.modes.tolist())) == [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    np.testing.assert_allclose(grid.std, 0.05)
    x, k = ring.sample_labelled(500, Generator(0))
    nearest, distance = ring.nearest(x)
    assert (nearest == k).all() and distance.max() < 6 and np.median(distance) == pytest.approx(1.177, abs=0.15)
    assert data.ring(3, radius=1, std=0.1).sample(5, Generator(0)).shape == (5, 2)
    assert len(data.grid(3, spacing=1).weights) == 9


def test_samples_are_the_generator_s():
    m = data.mixture("grid25")
    np.testing.assert_array_equal(m.sample(9, Generator(3)), m.sample(9, Generator(3)))
    assert m.sample(9, Generator(3)).dtype == np.float32
    assert not np.array_equal(m.sample(9, Generator(3)), m.sample(9, Generator(4)))


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (([0.5, 0.6], [[0, 0], [1, 1]], [np.eye(2)] * 2), "sum 1"),
        (([1.0], [[0, 0]], [[[1, 2], [2, 1]]]), "positive definite"),
        (([1.0], [[0, 0], [1, 1]], [np.eye(2)] * 2), "do not fit"),
        (([1.0], [[0, np.nan]], [np.eye(2)]), "finite means"),
        (([1.0], [[0, 0]], [[[2, 1], [0, 2]]]), "symmetric covariances"),
        (([1.0], [[0, 0]], [[[1, 0], [0, np.inf]]]), "symmetric covariances"),
    ],
)
def test_bad_mixtures(arguments, wrong):
    with pytest.raises(ValueError, match=wrong):
        data.Mixture(*arguments)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'ring9'.*ring8"):
        data.mixture("ring9")
    with pytest.raises(ValueError, match=r"\(3,\); wanted \(n, 2\)"):
        data.mixture("ring8").log_density(np.zeros(3))


def test_moons():
    x, label = data.moons(2000, Generator(0), noise=0.0)
    upper, lower = x[label == 0], x[label == 1]
    np.testing.assert_allclose(np.hypot(*upper.T), 1, rtol=1e-5)
    np.testing.assert_allclose(np.hypot(*(lower - [1, 0.5]).T), 1, rtol=1e-5)
    assert (upper[:, 1] >= -1e-6).all() and (lower[:, 1] <= 0.5 + 1e-6).all()
    noisy, _ = data.moons(2000, Generator(0), noise=0.1)
    assert 0.09 < (noisy - x).std() < 0.11


def test_swiss_roll():
    x, place = data.swiss_roll(500, Generator(0))
    t, s = place.T
    np.testing.assert_allclose(x, np.stack([t * np.cos(t), s, t * np.sin(t)], 1), atol=1e-4)
    assert t.min() > 1.5 * np.pi and t.max() < 4.5 * np.pi and 0 <= s.min() and s.max() <= 21

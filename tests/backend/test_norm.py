"""Promises of norm.py: the statistics of each channel, in both layouts, in parts or at once, and far from 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.backend import channels_last, norm

from .conftest import quick


@st.composite
def images(draw):
    """A seed, a shape (n, c, *space), and whether channels lie last in memory."""
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 4)), *draw(st.lists(st.integers(1, 4), max_size=2)))
    return draw(st.integers(0, 2**16)), shape, draw(st.booleans())


def make(seed, shape, last):
    x = np.random.default_rng(seed).normal(size=shape)
    return channels_last.first(np.ascontiguousarray(channels_last.last(x))) if last and x.ndim > 2 else x


@quick
@given(images(), st.sampled_from([1, 7, 2**18]))
def test_moments_are_mean_and_variance(library, case, part):
    x = make(*case)
    places = (0, *range(2, x.ndim))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norm, "PART", part)
        mean, var = norm.moments(library.xp, library.array(x))
    np.testing.assert_allclose(library.host(mean), x.mean(places), atol=1e-12)
    np.testing.assert_allclose(library.host(var), x.var(places), atol=1e-12)


def test_moments_far_from_zero_do_not_cancel():
    """In float32, with a mean 10,000 times the deviation, E[x^2] - E[x]^2 would be noise."""
    x = (np.random.default_rng(0).normal(size=(64, 3, 8, 8)) + 1e4).astype(np.float32)
    _, var = norm.moments(np, x)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 2, 3)), rtol=1e-3)


def test_values_and_gradients_far_from_zero_do_not_cancel():
    """The same in float32 against float64: what a large mean costs is the rounding of x itself, and no more."""
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(64, 3, 8, 8)) + 1e4).astype(np.float32), rng.normal(size=(64, 3, 8, 8)).astype(np.float32)
    found = []
    for dtype in (np.float32, np.float64):
        a, b, weight = x.astype(dtype), g.astype(dtype), np.ones(3, dtype)
        mean, var = norm.moments(np, a)
        y = norm.scaled(np, a, mean, 1 / np.sqrt(var), weight)
        found.append((y, *norm.batch_norm_back(np, b, a, mean, 1 / np.sqrt(var), weight)))
    for single, double in zip(*found, strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-3 * abs(double).max())


@quick
@given(images(), st.sampled_from([1, 7, 2**18]))
def test_scaling_keeps_the_layout(library, case, part):
    x = make(*case)
    mean, scale, shift = np.random.default_rng(1).normal(size=(3, x.shape[1]))
    along = (1, -1) + (1,) * (x.ndim - 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norm, "PART", part)
        y = norm.scaled(library.xp, *map(library.array, (x, mean, scale, shift)))
    expected = (x - mean.reshape(along)) * scale.reshape(along) + shift.reshape(along)
    np.testing.assert_allclose(library.host(y), expected, atol=1e-12)
    if library.xp is np:
        assert norm.lies_last(y) == norm.lies_last(x)

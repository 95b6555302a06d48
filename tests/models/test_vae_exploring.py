"""Walks through a latent space, each against its definition."""

import numpy as np
import pytest
import scipy.stats
from equations import equation

from tinygen.models.vae import exploring

rng = np.random.default_rng(0)
Z = rng.normal(size=(20, 3))


@equation(exploring.traversal, 1)
def test_traversal_changes_one_entry():  # (1)
    values, e = np.array([-2.0, 0.5, 1.0]), np.eye(3)[1]
    walk = exploring.traversal(Z[0], 1, values)
    np.testing.assert_allclose(walk, [Z[0] + (t - Z[0, 1]) * e for t in values])


@equation(exploring.interpolation, 2)
def test_interpolation_is_a_straight_line():  # (2)
    line = exploring.interpolation(Z[0], Z[1], 5)
    np.testing.assert_allclose(line, [Z[0] + t * (Z[1] - Z[0]) for t in (0, 0.25, 0.5, 0.75, 1)])
    assert exploring.interpolation(Z[0].astype("float32"), Z[1].astype("float32"), 4).dtype == np.float32


@equation(exploring.attribute_vector, 3)
def test_attribute_vector_is_the_slope_of_a_regression():  # (3)
    has = np.arange(20) % 3 == 0
    slopes = [scipy.stats.linregress(has.astype(float), Z[:, k]).slope for k in range(3)]
    np.testing.assert_allclose(exploring.attribute_vector(Z, has), slopes)


@equation(exploring.quantile_grid, 4)
def test_quantile_grid_is_equal_probability():  # (4)
    codes = exploring.quantile_grid(4)
    assert codes.shape == (16, 2)
    centres = (np.arange(4) + 0.5) / 4
    np.testing.assert_allclose(codes[:4, 0], scipy.stats.norm.ppf(centres))  # to the right
    np.testing.assert_allclose(codes[::4, 1], scipy.stats.norm.ppf(centres[::-1]))  # from the top


@pytest.mark.parametrize("has", [np.zeros(20), np.ones(20), np.arange(5) < 2])
def test_an_attribute_that_all_or_none_have_is_refused(has):
    with pytest.raises(ValueError, match="both kinds"):
        exploring.attribute_vector(Z, has)

"""Moments that add up, and covariances that are singular and why."""

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.probability.moments import Moments, degenerate, merged, moments

rng = np.random.default_rng(0)


@equation(moments, 1)
@pytest.mark.parametrize("full", [True, False])
def test_moments_are_numpys(full):  # (1)
    x = rng.normal(size=(7, 3)) + 5
    n, mean, scatter = moments(x, full=full)
    expected = np.cov(x.T, ddof=0) * 7
    assert n == 7
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scatter, expected if full else np.diagonal(expected), rtol=1e-10)


@equation(merged, 2)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans(), st.integers(0, 99))
def test_parts_make_the_whole(sizes, full, seed):  # (2), in whatever parts the examples come
    parts = [np.random.default_rng(seed + k).normal(size=(size, 2)) + 1e6 for k, size in enumerate(sizes)]
    known = Moments(np.zeros(()), np.zeros(2), np.zeros((2, 2) if full else 2))
    for part in parts:
        known = merged(known, moments(part, full=full))
    whole = np.concatenate(parts)
    expected = (whole - whole.mean(0)).T @ (whole - whole.mean(0))
    assert known.count == len(whole)
    np.testing.assert_allclose(known.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(known.scatter, expected if full else np.diagonal(expected), rtol=1e-7, atol=1e-8)


def test_an_empty_part_changes_nothing(device):
    x = tg.random.Generator(0, device=device).normal((5, 2), dtype="float64")
    known = moments(x)
    for pair in ((known, Moments(*(0 * a for a in known))), (Moments(*(0 * a for a in known)), known)):
        for a, b in zip(merged(*pair), known, strict=True):
            np.testing.assert_allclose(tg.tensor(a).numpy(), tg.tensor(b).numpy(), rtol=1e-12)


def test_singular_covariances_are_explained():
    x = rng.normal(size=(50, 4)) * [1, 1e-6, 1e6, 1] + 3
    assert degenerate(np.cov(x.T), x.mean(0)) is None  # scales alone are no fault
    x[:, 1] = 0.1  # not exact in binary, so that its variance is not exactly 0
    assert degenerate(np.cov(x.T), x.mean(0)) == "column 1 is constant"
    assert degenerate(np.cov(x.T).diagonal(), x.mean(0)) == "column 1 is constant"
    x[:, 1] = 2 * x[:, 0] - x[:, 3] + 1
    assert degenerate(np.cov(x.T), x.mean(0)) == "columns 0, 1, 3 are linearly dependent"
    assert degenerate(np.cov(x[:3].T), x[:3].mean(0)).endswith("are linearly dependent")  # too few examples
    assert degenerate(np.cov(rng.normal(size=(400, 9)).T) * 0, np.zeros(9)).endswith("6, 7, ... are constant")


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_column_of_many_rows_is_constant(full, dtype):  # whatever the rounding of its mean
    x = np.stack([np.full(1000, 0.1), np.random.default_rng(0).normal(size=1000)], 1).astype(dtype)
    m = moments(x, full=full)
    assert degenerate(m.scatter / m.count, m.mean) == "column 0 is constant"

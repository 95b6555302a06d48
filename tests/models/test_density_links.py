"""The link test's statistic against counting, its properties, and cross-validation of the threshold."""

import itertools
import math

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import links as chapter

rng = np.random.default_rng(0)


def table(seed, n=30, d=4, n_values=4):
    """Rows of integers, the last variable a noisy copy of the first."""
    draw = np.random.default_rng(seed)
    x = draw.integers(0, n_values, (n, d)).astype(float)
    x[:, -1] = np.where(draw.random(n) < 0.7, x[:, 0], x[:, -1])
    return x


def counted(x, n_values):
    """(1), by counting for each pair and each corner."""
    n, d = x.shape
    s = np.zeros((d, d))
    for j, k in itertools.product(range(d), repeat=2):
        for u, v in itertools.product(range(n_values), repeat=2):
            both = sum(a <= u and b <= v for a, b in zip(x[:, j], x[:, k], strict=True)) / n
            gap = both - sum(x[:, j] <= u) / n * sum(x[:, k] <= v) / n
            s[j, k] = max(s[j, k], math.sqrt(n) * abs(gap))
    return s


@equation(chapter.dependence, 1)
def test_the_statistic_counts(monkeypatch):  # (1)
    x = table(1)
    expected = counted(x, 4)
    np.testing.assert_allclose(chapter.dependence(x, 4), expected, rtol=1e-12)
    monkeypatch.setattr(chapter, "ROWS", 100)  # several passes
    np.testing.assert_allclose(chapter.dependence(x, 4), expected, rtol=1e-12)


@equation(chapter.dependence, 2)
def test_of_zeros_and_ones_it_is_a_covariance():  # (2)
    x = rng.integers(0, 2, (50, 5)) * rng.integers(0, 2, (50, 5)).astype(float)
    expected = math.sqrt(50) * np.abs(np.cov(x.T, bias=True))
    np.testing.assert_allclose(chapter.dependence(x, 2), expected, rtol=1e-12, atol=1e-15)


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_only_the_order_of_values_matters(seed, n_values):
    x = table(seed, n_values=n_values)
    s = chapter.dependence(x, n_values)
    np.testing.assert_allclose(s, s.T)
    assert (s >= 0).all() and (s <= math.sqrt(len(x)) / 4 + 1e-12).all()
    np.testing.assert_allclose(chapter.dependence(x + (x > 0), n_values + 1), s, rtol=1e-12)  # one value left out
    np.testing.assert_allclose(chapter.dependence(x[rng.permutation(len(x))], n_values), s, rtol=1e-12)


def test_dependent_pairs_stand_out_and_constant_ones_do_not():
    x = table(0, n=2000, d=8)
    x[:, 3] = 2
    s = chapter.dependence(x, 4)
    others = s[np.tril_indices(8, -1)]
    assert s[7, 0] == others.max() > 3 * np.sort(others)[-2]
    assert (s[3] == 0).all()


@equation(chapter.linked, 3)
def test_pairs_above_the_threshold_are_linked():  # (3)
    s = np.array([[9.0, 1.0, 2.0], [1.0, 9.0, 3.0], [2.0, 3.0, 9.0]])
    np.testing.assert_array_equal(chapter.linked(s, 1.0), [[0, 0, 0], [0, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(chapter.linked(s, None), np.tri(3, k=-1))


@given(st.integers(0, 10**6))
def test_thresholds_link_these_shares(seed):
    s = np.abs(np.random.default_rng(seed).normal(size=(7, 7)))
    shares = (0.5, 0.25, 0.1)
    for share, threshold in zip(shares, chapter.thresholds(s, shares), strict=True):
        assert 0 <= share - chapter.linked(s, threshold).sum() / 21 <= 2 / 21


@equation(chapter.cross_validation, 4)
def test_cross_validation_judges_by_what_was_not_learnt_from():  # (4)
    x = np.arange(10.0)[:, None]
    calls = []

    def loss(train, test, threshold):
        assert sorted([*train[:, 0], *test[:, 0]]) == list(range(10))
        calls.append((threshold, tuple(test[:, 0])))
        return float(threshold * test.sum() + train.mean())

    found = chapter.cross_validation(x, (1.0, 2.0), loss, 3, tg.random.Generator(0))
    assert found.shape == (2, 3) and {len(part) for _, part in calls} == {3, 4}
    assert sorted(v for _, part in calls[:3] for v in part) == list(range(10))  # each judges once
    assert [part for _, part in calls[:3]] == [part for _, part in calls[3:]]  # the same parts for all thresholds
    thresholds = [threshold / np.sqrt((10 - len(part)) / 10) for threshold, part in calls]  # s shrinks with sqrt n
    np.testing.assert_allclose(thresholds, [1.0] * 3 + [2.0] * 3)
    expected = [[t * sum(p) + (45 - sum(p)) / (10 - len(p)) for t, p in calls[i : i + 3]] for i in (0, 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="folds is 1; from 2 to the 10 rows there are is wanted"):
        chapter.cross_validation(x, (1.0,), loss, 1, tg.random.Generator(0))


def test_on_every_device(device):
    x = tg.tensor(table(2).astype("float32"), device=device).data
    s = chapter.dependence(x, 4)
    np.testing.assert_allclose(tg.Tensor(s).numpy(), counted(table(2), 4), rtol=1e-12)
    np.testing.assert_array_equal(tg.Tensor(chapter.linked(s, 0.5)).numpy(), np.tril(counted(table(2), 4) > 0.5, -1))
    assert len(chapter.thresholds(s, (0.5, 0.1))) == 2

"""PCA: its equations by brute force, scikit-learn to 1e-6, and data that have little to give."""

import doctest

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import PCA
from tinygen.models.latent import pca as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def quiet():
    return Run(quiet=True)


def cloud(n=40, d=5, seed=0):
    """Points that vary more along some directions than along others."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, d)) @ draw.normal(size=(d, d)) + 10 * draw.normal(size=d)


def orthonormal(k, d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))[0].T


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.project, 2)
@equation(chapter.squared_loss, 1)
def test_projections_rebuild_best():  # (1) and (2): the best h of each example by least squares
    x, W = cloud(), orthonormal(2, 5)
    mean = x.mean(0)
    h = np.array([np.linalg.lstsq(W.T, row - mean, rcond=None)[0] for row in x])
    np.testing.assert_allclose(chapter.project(x, mean, W), h, rtol=1e-9, atol=1e-9)
    expected = sum(np.sum((row - mean - W.T @ code) ** 2) for row, code in zip(x, h, strict=True))
    np.testing.assert_allclose(chapter.squared_loss(x, mean, W), expected, rtol=1e-12)
    moved = chapter.squared_loss(x, mean + 0.1 * rng.normal(size=5), W)
    assert moved > expected  # the mean is the best b


@equation(chapter.principal, 3)
def test_components_are_eigenvectors_of_the_covariance():  # (3)
    x = cloud()
    rows, variances = chapter.principal(x - x.mean(0), len(x))
    values, vectors = np.linalg.eigh(np.cov(x.T))
    np.testing.assert_allclose(variances, values[::-1], rtol=1e-10)
    np.testing.assert_allclose(abs(rows @ vectors[:, ::-1]), np.eye(5), atol=1e-9)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 4))
@equation(chapter.lost, 4)
@equation(chapter.squared_loss, 1)
def test_what_is_lost_and_that_no_plane_loses_less(seed, k):  # (4), Eckart and Young
    x = cloud(20, 5, seed)
    rows, variances = chapter.principal(x - x.mean(0), len(x))
    least = chapter.squared_loss(x, x.mean(0), rows[:k])
    np.testing.assert_allclose(chapter.lost(variances, k, len(x)), least, rtol=1e-8)
    np.testing.assert_allclose(least, np.sum((x - x.mean(0) - (x - x.mean(0)) @ rows[:k].T @ rows[:k]) ** 2), rtol=1e-8)
    assert chapter.squared_loss(x, x.mean(0), orthonormal(k, 5, seed)) >= least * (1 - 1e-9)


@pytest.mark.parametrize("n, d", [(7, 12), (50, 4), (6000, 3)])
@equation(chapter.condensed, 5)
def test_the_triangle_has_the_same_squares(n, d):  # (5), of one and of several chunks
    x = cloud(n, d)
    found = chapter.condensed(x)
    D = x - x.mean(0)
    np.testing.assert_allclose(found.R.T @ found.R, D.T @ D, rtol=1e-9, atol=1e-9 * n)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    assert found.R.shape == (min(n, d), d) and len(found) == n


@equation(chapter.whitened, 6)
def test_whitened_codes_have_the_identity_as_covariance():  # (6)
    x = cloud()
    model = PCA(5, 3, whiten=True).fit(x)
    np.testing.assert_allclose(np.cov(model.transform(x).T), np.eye(3), atol=1e-10)
    h = rng.normal(size=(4, 3))
    np.testing.assert_allclose(chapter.whitened(h, np.array([4.0, 9.0, 16.0])), h / [2, 3, 4], rtol=1e-12)
    plain = PCA(5, 3).fit(x)
    np.testing.assert_allclose(model.inverse_transform(model.transform(x)), plain.reconstruct(x), rtol=1e-9)


@equation(chapter.power_step, 7)
def test_a_power_step_by_hand_and_where_it_ends():  # (7)
    x = cloud()
    R, W = x - x.mean(0), orthonormal(2, 5)
    rows, variances = chapter.power_step(R, W, len(x))
    plane, _ = np.linalg.qr(R.T @ R @ W.T)
    np.testing.assert_allclose(rows.T @ rows, plane @ plane.T, atol=1e-10)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(plane.T @ np.cov(x.T) @ plane)[::-1], rtol=1e-9)
    model = PCA(5, 2, rng=tg.random.Generator(0)).fit(x, steps=200, run=quiet())
    exact = PCA(5, 2).fit(x)
    for name in ("mean", "components", "explained_variance", "total_variance"):
        np.testing.assert_allclose(getattr(model, name).numpy(), getattr(exact, name).numpy(), rtol=1e-8, atol=1e-9)


def test_a_power_step_gains_at_the_rate_it_should():  # (7): (s_{k+1} / s_k)^2 a round
    x = cloud(60, 6)
    exact, s = PCA(6, 6).fit(x), None
    s = np.sqrt(exact.explained_variance.numpy())
    outside, R, W = [], x - x.mean(0), orthonormal(2, 6)
    for _ in range(40):
        W, _ = chapter.power_step(R, W, 60)
        outside.append(np.linalg.norm(W @ exact.components.numpy()[2:].T, 2))
    ratios = np.array(outside[1:]) / np.array(outside[:-1])
    good = np.array(outside[1:]) > 1e-12
    assert ratios[good][-1] == pytest.approx((s[2] / s[1]) ** 2, rel=0.02)


# ---- scikit-learn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d, k", [(60, 6, 4), (10, 30, 5), (3000, 8, 8), (12, 12, 11)])
@pytest.mark.parametrize("whiten", [False, True])
def test_it_is_scikit_learns(n, d, k, whiten):  # the bar: 1e-6
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the oracle is scikit-learn")
    x = cloud(n, d)
    ours, theirs = PCA(d, k, whiten=whiten).fit(x), decomposition.PCA(k, whiten=whiten, svd_solver="full").fit(x)
    for name in ("mean", "components", "explained_variance", "explained_variance_ratio"):
        found = getattr(ours, name)
        found = found.numpy() if isinstance(found, tg.Tensor) else found
        np.testing.assert_allclose(found, getattr(theirs, name + "_"), rtol=1e-8, atol=1e-9)
    h = ours.transform(x[:7])
    np.testing.assert_allclose(h, theirs.transform(x[:7]), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.inverse_transform(h), theirs.inverse_transform(h), rtol=1e-8, atol=1e-8)


def test_small_components_keep_their_digits():  # where the covariance matrix would lose them
    scales = np.array([1.0, 1e-4, 1e-7])
    x = np.linalg.qr(rng.normal(size=(50, 3)))[0]
    x = (x - x.mean(0)) * scales
    found = np.sqrt(PCA(3, 3).fit(x).explained_variance.numpy()[2] * 49)
    assert found == pytest.approx(np.linalg.svd(x - x.mean(0), compute_uv=False)[2], rel=1e-6)


# ---- promises -------------------------------------------------------------------------------------------


def test_components_one_by_one_rebuild_more_and_more():
    x = cloud()
    model = PCA(5, 5).fit(x)
    lost = [np.sum((x - model.reconstruct(x, k=k)) ** 2) for k in range(6)]
    expected = [chapter.lost(model.explained_variance.numpy(), k, 40) for k in range(6)]
    np.testing.assert_allclose(lost[:5], expected[:5], rtol=1e-9)
    assert lost[5] < 1e-18 * lost[0] and (np.diff(lost) <= 0).all()
    assert abs(model.explained_variance_ratio.sum() - 1) < 1e-12


def test_constant_columns_and_rank():
    x = cloud(30, 3) @ np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])  # of rank 2, the last column constant
    model = PCA(4, 4).fit(x)
    assert (model.components.numpy()[:2, 3] == 0).all() and model.explained_variance.numpy()[2:].max() < 1e-25
    np.testing.assert_allclose(model.reconstruct(x, k=2), x, atol=1e-10)
    with pytest.raises(ValueError, match="the last of 4 components has variance .* cannot be whitened"):
        PCA(4, 4, whiten=True).fit(x).transform(x)


def test_on_every_device(device):
    x = cloud(30, 6)
    models = [PCA(6, 3, rng=tg.random.Generator(0, device=where)).fit(x) for where in ("cpu", device)]
    for verb in ("transform", "reconstruct"):
        np.testing.assert_allclose(*(getattr(m, verb)(x) for m in models), rtol=1e-8, atol=1e-8)
    assert models[1].components.device == device
    assert models[1].fit(x, steps=3, run=quiet()).inverse_transform(np.zeros((2, 3))).shape == (2, 6)


def test_a_tall_matrix_does_not_take_a_second_copy():
    import tracemalloc

    x = np.random.default_rng(0).normal(size=(40_000, 16))
    tracemalloc.start()
    PCA(16, 2).fit(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * x.nbytes


def test_what_is_refused_and_how():
    x = cloud()
    with pytest.raises(ValueError, match=r"PCA: x has shape \(40, 4\); at least one row of 5 features"):
        PCA(5, 2).fit(x[:, :4])
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 40 rows, the first in row 3"):
        PCA(5, 2).fit(np.where(np.arange(40)[:, None] == 3, np.nan, x))
    with pytest.raises(ValueError, match="x has 1 rows; at least 2 are wanted"):
        PCA(5, 1).fit(x[:1])
    with pytest.raises(ValueError, match="x has 3 rows; at least 4 are wanted for 4 components"):
        PCA(5, 4).fit(x[:3])
    with pytest.raises(ValueError, match="all 4 rows of x are alike"):
        PCA(5, 1).fit(np.ones((4, 5)))
    with pytest.raises(ValueError, match="6 components of 5 features"):
        PCA(5, 6)
    with pytest.raises(RuntimeError, match="call fit first"):
        PCA(5, 2).transform(x)
    with pytest.raises(ValueError, match=r"h has shape \(1, 3\); rows of 2"):
        PCA(5, 2).fit(x).inverse_transform(np.zeros((1, 3)))


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

"""Sparse autoencoders: the penalties by loops and by SciPy, what each does to a unit, and the model's promises."""

import doctest

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.autoencoder import SparseAutoencoder
from tinygen.models.autoencoder import sparse as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def strokes(n=400, seed=0):
    """Images of 3 by 3 pixels: each is a sum of some of its six rows and columns."""
    draw = np.random.default_rng(seed)
    bars = np.concatenate([np.repeat(np.eye(3), 3, 1), np.tile(np.eye(3), 3)])  # (6, 9)
    return ((draw.uniform(size=(n, 6)) < 0.25) @ bars).astype(np.float32)


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.l1, 2)
@equation(chapter.l2, 3)
def test_both_norms_are_sums_over_units_and_means_over_images(device):
    y = rng.normal(size=(5, 3))
    found = [float(f(arrays.asarray(y, device=device))) for f in (chapter.l1, chapter.l2)]
    sums = [sum(f(v) for row in y for v in row) / 5 for f in (abs, np.square)]
    np.testing.assert_allclose(found, sums, rtol=1e-12)


@equation(chapter.kl, 5)
@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_the_divergence_is_scipys_of_coins(seed, rho):
    y = np.random.default_rng(seed).uniform(0.01, 0.99, (7, 4))
    expected = 0.0
    for j in range(4):
        on = sum(y[:, j]) / 7
        expected += scipy.stats.entropy([rho, 1 - rho], [on, 1 - on])
    assert chapter.kl(y, rho) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_divergence_is_0_only_where_every_unit_is_on_target():
    y = np.repeat([[0.0], [0.2]], 2, axis=1)  # silent and louder images: single ones do not matter
    assert chapter.kl(y, 0.1) == pytest.approx(0, abs=1e-12)
    assert chapter.kl(y + [[0.05, 0.0]], 0.1) > 1e-3


@equation(chapter.kl_slope, 6)
def test_the_slope_is_the_engines_and_pulls_back_from_both_sides():
    y = tg.tensor(rng.uniform(0.02, 0.9, (6, 5)), requires_grad=True)
    slope = tg.grad(chapter.kl(y, 0.1), y).numpy()
    np.testing.assert_allclose(np.broadcast_to(chapter.kl_slope(y.numpy(), 0.1), slope.shape), slope, rtol=1e-9)
    means = np.array([[1e-6, 0.05, 0.1, 0.5]])
    below, near, at, above = chapter.kl_slope(means, 0.1)
    assert below < -9e4 and near < 0 < above and at == pytest.approx(0, abs=1e-12)  # no unit may fall silent


@equation(chapter.shortened, 4)
def test_long_columns_are_drawn_back_and_short_ones_stay(device):
    W = np.array([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]])
    found = arrays.to_numpy(chapter.shortened(arrays.asarray(W, device=device)))
    np.testing.assert_allclose(found, [[0.6, 0.3, 0], [0.8, 0.4, 0]], rtol=1e-12)


@equation(chapter.kurtosis, 7)
def test_kurtosis_is_scipys_and_tells_a_stroke_from_noise():
    w = rng.normal(size=(4, 50)) ** 3
    np.testing.assert_allclose(chapter.kurtosis(w), scipy.stats.kurtosis(w, axis=1, fisher=False), rtol=1e-9)
    stroke = np.zeros((1, 144))
    stroke[0, 60:72] = 1
    noise = rng.normal(size=(200, 144))
    assert chapter.kurtosis(stroke)[0] > 8 and np.median(chapter.kurtosis(noise)) == pytest.approx(3, abs=0.2)


def test_gradients_of_the_penalties():
    y = rng.uniform(0.1, 0.9, (4, 3))
    for f in (chapter.l1, chapter.l2, lambda y: chapter.kl(y, 0.2)):
        tg.check_grads(f, (y,))


@pytest.mark.parametrize("v", [0.1, 0.7])
def test_l1_makes_zeros_and_l2_does_not(v):
    w = rng.normal(size=5)
    w, weight = w / np.linalg.norm(w), 0.5
    x = v * w  # and anything orthogonal to w would be a constant

    def best(omega):
        cost = lambda y: ((x - w * y) ** 2).sum() + weight * omega(np.array([[y]]))  # noqa: E731
        return scipy.optimize.minimize_scalar(cost, bounds=(0, 2), method="bounded", options=dict(xatol=1e-9)).x

    assert best(chapter.l1) == pytest.approx(max(v - weight / 2, 0), abs=1e-6)
    assert best(chapter.l2) == pytest.approx(v / (1 + weight), abs=1e-6)


def test_a_small_minibatch_pays_for_its_noise():
    """Coins that are on target cost 1 / 2b a unit, in the limit of large minibatches."""
    draw, b = np.random.default_rng(0), 2000
    costs = [chapter.kl((draw.uniform(size=(b, 10)) < 0.1).astype(float), 0.1) / 10 for _ in range(200)]
    assert np.mean(costs) == pytest.approx(1 / (2 * b), rel=0.1)


# ---- the model ------------------------------------------------------------------------------------------


@equation(SparseAutoencoder.penalty, 1)
@pytest.mark.parametrize("sparsity", ["kl", "l1", "l2"])
def test_the_whole_loss_by_hand(sparsity):
    model = SparseAutoencoder(9, 12, sparsity=sparsity, weight=0.7, decay=0.01, rng=tg.random.Generator(0))
    x = strokes(30)
    y, rebuilt = model.transform(x), model.reconstruct(x)
    assert (y >= 0).all() and ((y <= 1).all() or sparsity != "kl")
    on = y.mean(0)
    if sparsity == "kl":
        omega = (0.05 * np.log(0.05 / on) + 0.95 * np.log(0.95 / (1 - on))).sum()
    else:
        omega = (np.abs(y) if sparsity == "l1" else y**2).sum(1).mean()
    W_1, W_2 = model.encoder[0].weight.numpy(), model.decoder[0].weight.numpy()
    penalty = 0.7 * omega + 0.01 * ((W_1**2).sum() + (W_2**2).sum())
    assert model.penalty(tg.tensor(y)).item() == pytest.approx(penalty, rel=1e-5)
    parts = model.update(x)
    assert parts["penalty"].item() == pytest.approx(penalty, rel=1e-5)
    assert parts["loss"].item() == pytest.approx(((x - rebuilt) ** 2).sum(1).mean(), rel=1e-5)


def test_units_find_their_target():
    model = SparseAutoencoder(9, 18, weight=2.0, rho=0.1, lr=0.02, rng=tg.random.Generator(0))
    np.testing.assert_allclose(model.transform(strokes()).mean(), 0.1, rtol=0.2)  # it begins there
    model.fit(strokes(), steps=400, batch_size=200, run=Run(quiet=True))
    np.testing.assert_allclose(model.transform(strokes(seed=1)).mean(0), 0.1, rtol=0.3)
    free = SparseAutoencoder(9, 18, weight=0.0, rho=0.1, lr=0.02, rng=tg.random.Generator(0))
    free.fit(strokes(), steps=400, batch_size=200, run=Run(quiet=True))
    assert abs(free.transform(strokes(seed=1)).mean(0) / 0.1 - 1).mean() > 1


def test_l1_finds_the_bars_that_images_are_made_of():
    model = SparseAutoencoder(9, 18, sparsity="l1", weight=0.2, lr=0.01, rng=tg.random.Generator(0))
    x = strokes(2000)
    model.fit(x, steps=800, batch_size=100, run=Run(quiet=True))
    bars = np.concatenate([np.repeat(np.eye(3), 3, 1), np.tile(np.eye(3), 3)]) / np.sqrt(3)
    found = model.filters / np.linalg.norm(model.filters, axis=1, keepdims=True)
    assert (found @ bars.T).max(0).min() > 0.9  # for each bar, a unit that draws it
    assert (model.transform(x) == 0).mean() > 0.6
    assert np.linalg.norm(model.filters, axis=1).max() <= 1 + 1e-6  # (4)


def test_on_the_stand_in_for_a_gpu(device):
    def learnt(device):
        model = SparseAutoencoder(9, 12, sparsity="l1", decay=0.01, rng=tg.random.Generator(0, device=device))
        return model.fit(strokes(), steps=5, batch_size=20, run=Run(quiet=True)).reconstruct(strokes(10))

    np.testing.assert_allclose(learnt(device), learnt("cpu"), rtol=1e-4, atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="sparsity is 'l0'; 'kl', 'l1' or 'l2' is wanted"):
        SparseAutoencoder(4, 6, sparsity="l0")
    for wrong in (dict(rho=0.0), dict(weight=-1.0), dict(decay=-1.0)):
        with pytest.raises(ValueError, match="rho between 0 and 1 is wanted"):
            SparseAutoencoder(4, 6, **wrong)


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


def test_saturated_units_have_a_finite_penalty():
    """Sigmoids of large numbers are exactly 1."""
    y = tg.tensor(np.array([[1.0, 0.0, 0.5]] * 4), requires_grad=True)
    value = chapter.kl(y, 0.05)
    assert np.isfinite(value.item()) and np.isfinite(tg.grad(value, y).numpy()).all()

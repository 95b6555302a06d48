"""Winners take all, and symbols out of noise: the equations by loops, and what becomes of the iteration."""

import doctest

import numpy as np
import pytest
import scipy.special
from equations import equation

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.autoencoder import SymbolMaker
from tinygen.models.autoencoder import novelty as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def model(seed=0, device="cpu", **options):
    return SymbolMaker(8, maps=4, size=5, stride=2, rng=tg.random.Generator(seed, device=device), **options)


def crosses(n=60, seed=0):
    """Images of 8 by 8 pixels with a bar across and a bar down."""
    draw = np.random.default_rng(seed)
    x = np.zeros((n, 1, 8, 8), np.float32)
    for image in x[:, 0]:
        r, c = draw.integers(1, 6, 2)
        image[r, 1:7], image[1:7, c] = 1, 1
    return x


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.best_places, 2)
def test_each_map_keeps_its_best_place(device):
    a = rng.uniform(0.1, 1, (3, 2, 4, 4))
    expected = np.zeros_like(a)
    for b, k in np.ndindex(3, 2):
        place = np.unravel_index(a[b, k].argmax(), (4, 4))
        expected[b, k][place] = a[b, k][place]
    found = chapter.best_places(arrays.asarray(a, device=device))
    np.testing.assert_array_equal(arrays.to_numpy(found), expected)


@equation(chapter.best_maps, 3)
def test_each_square_keeps_its_best_map(device):
    a = rng.uniform(0.1, 1, (3, 5, 4, 6))
    expected = np.zeros_like(a)
    for b, r, c in np.ndindex(3, 2, 3):
        square = np.s_[b, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2]
        expected[square] = np.where(a[square] == a[square].max(), a[square], 0)
    found = chapter.best_maps(arrays.asarray(a, device=device), 2)
    np.testing.assert_array_equal(arrays.to_numpy(found), expected)
    assert ((expected != 0).sum((1, 2, 3)) == 6).all()


@equation(chapter.Pen.forward, 4, of=chapter)
def test_the_pen_puts_a_picture_at_each_place():
    pen = chapter.Pen(3, 2, rng=tg.random.Generator(0))
    y = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    w, b = pen.weight.numpy(), pen.bias.numpy()
    expected = np.full((2, 1, 5, 5), b[0])
    for i, k, r, c in np.ndindex(y.shape):
        expected[i, 0, r : r + 2, c : c + 2] += y[i, k, r, c] * w[k, 0]
    np.testing.assert_allclose(pen(tg.tensor(y)).numpy(), expected, rtol=1e-4, atol=1e-5)


@equation(SymbolMaker.step, 1)
def test_a_step_is_the_network_and_a_threshold():
    maker, x = model().fit(crosses(), steps=30, run=Run(quiet=True)), crosses(7, seed=1)
    w, b = maker.encoder.convolution.weight.numpy(), maker.encoder.convolution.bias.numpy()
    a = np.zeros((7, 4, 4, 4))
    for i, k, r, c in np.ndindex(a.shape):
        a[i, k, r, c] = max(0, (x[i, 0, r : r + 5, c : c + 5] * w[k, 0]).sum() + b[k])
    y = chapter.best_maps(chapter.best_places(a), 2)
    np.testing.assert_allclose(maker.transform(x), y, rtol=1e-3, atol=1e-5)
    logits = np.full((7, 8, 8), maker.decoder.bias.numpy()[0])
    for i, k, r, c in np.ndindex(a.shape):
        logits[i, r : r + 5, c : c + 5] += y[i, k, r, c] * maker.strokes[k]
    np.testing.assert_allclose(maker.reconstruct(x)[:, 0], scipy.special.expit(logits), rtol=1e-3, atol=1e-4)
    found = maker.step(x)
    np.testing.assert_array_equal(found[:, 0], logits > 0)
    assert 0 < found.mean() < 1


def test_only_winners_learn():
    a = tg.tensor(rng.uniform(0.1, 1, (1, 2, 4, 4)), requires_grad=True)
    y = chapter.best_maps(chapter.best_places(a), 2)
    slope = tg.grad(tg.sum(y * 3), a).numpy()
    np.testing.assert_array_equal(slope, 3.0 * (y.numpy() != 0))


# ---- the iteration --------------------------------------------------------------------------------------


class Scripted(SymbolMaker):
    """A network whose step is a known map: what starts with a white corner stays, flips, empties, floods by row 1."""

    def step(self, x):
        new = x.copy()
        for image in new[:, 0]:
            kind = image[1].sum()
            if kind == 1:
                image[7] = 1 - image[7]  # a cycle of two
            elif kind == 2:
                image[:] = 0
            elif kind == 3:
                image[:] = 1
        return new


def test_what_became_of_each_start_is_told():
    maker = Scripted(8, maps=2, size=5, stride=2, rng=tg.random.Generator(0))
    x = np.zeros((4, 1, 8, 8), np.float32)
    x[:, 0, 4, 4] = 1
    for kind in range(4):
        x[kind, 0, 1, :kind] = 1
    found = maker.develop(x, steps=6, grey=0)
    assert found.fixed.tolist() == [True, False, True, True]
    assert found.collapsed.tolist() == [False, False, True, False] and found.flooded.tolist() == [False] * 3 + [True]
    assert found.sound.tolist() == [True, False, False, False]
    assert found.moves.shape == (6, 4) and found.moves[:, 1].tolist() == [8] * 6 and found.moves[1:, 2].max() == 0


def test_a_fixed_point_stays_where_it_is():
    maker = model(lr=0.01).fit(crosses(), steps=300, batch_size=30, run=Run(quiet=True))
    found = maker.symbols(40, steps=30, rng=tg.random.Generator(1))
    assert set(np.unique(found.images)) <= {0, 1} and found.fixed.mean() > 0.5
    again = maker.develop(found.images, steps=3, grey=0)
    np.testing.assert_array_equal(again.images[found.fixed], found.images[found.fixed])
    assert again.moves[:, found.fixed].max() == 0


def test_the_first_steps_keep_the_grey():
    maker = model().fit(crosses(), steps=30, run=Run(quiet=True))
    x = rng.uniform(size=(5, 1, 8, 8)).astype(np.float32)
    expected = maker.step(maker.reconstruct(maker.reconstruct(x)))
    found = maker.develop(x, steps=3, grey=2)
    np.testing.assert_array_equal(found.images, expected)
    np.testing.assert_allclose(found.moves[0], np.abs(maker.reconstruct(x) - x).sum((1, 2, 3)), rtol=1e-5)


def test_learning_draws_the_crosses():
    maker = model(lr=0.01)
    before = maker.errors(crosses()).mean()
    maker.fit(crosses(), steps=300, batch_size=30, run=Run(quiet=True))
    assert maker.errors(crosses()).mean() < 0.6 * before
    assert ((maker.transform(crosses()) != 0).sum((1, 2, 3)) <= 4).all()  # 16 places in squares of 4


def test_on_the_stand_in_for_a_gpu(device):
    def learnt(device):
        maker = model(device=device).fit(crosses(), steps=4, batch_size=9, run=Run(quiet=True))
        found = maker.symbols(5, steps=3, grey=1, rng=tg.random.Generator(1, device=device))
        return maker.reconstruct(crosses(5)), found.images

    for a, b in zip(learnt(device), learnt("cpu"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_refusals():
    for wrong in (dict(size=9), dict(size=5, stride=3), dict(maps=0)):
        with pytest.raises(ValueError, match="a multiple of the stride is wanted"):
            SymbolMaker(8, **({"maps": 2, "size": 5, "stride": 2} | wrong))
    with pytest.raises(ValueError, match="SymbolMaker: x has shape"):
        model().develop(np.zeros((2, 1, 8, 7)))
    with pytest.raises(ValueError, match="8 grey steps of 8; fewer than all are wanted"):
        model().develop(crosses(), steps=8)


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

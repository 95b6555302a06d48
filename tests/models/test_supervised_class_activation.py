"""Class activation: the two ways to a score, maps, boxes and their agreement by counting pixels, and the model."""

import doctest
import itertools

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import ActivationNet
from tinygen.models.supervised import class_activation as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
F, W, B = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(6, 4)), rng.normal(size=6)
X, Y = rng.uniform(size=(20, 1, 8, 6)).astype(np.float32), np.arange(20) % 3


def net(seed=0, device="cpu", **options):
    options = {"kernels": (2, 3), "size": 3, **options}
    return ActivationNet((1, 8, 6), 3, **options, rng=tg.random.Generator(seed, device=device))


def there(device, *values):
    return [arrays.asarray(v, device=device) for v in values]


# ---- the equations ------------------------------------------------------------------------------------------------


@equation(chapter.pooled_scores, 1)
@equation(chapter.activation_maps, 2)
@equation(chapter.scores_of_maps, 3)
def test_a_score_is_the_mean_of_a_map(device):
    f, w, b = there(device, F, W, B)
    M = arrays.to_numpy(chapter.activation_maps(f, w))
    scores = np.zeros((2, 6)) + B
    for n, c, k, i, j in np.ndindex(2, 6, 4, 3, 5):
        scores[n, c] += W[c, k] * F[n, k, i, j] / 15
    np.testing.assert_allclose(M[1, 2, 0, 4], sum(W[2, k] * F[1, k, 0, 4] for k in range(4)), rtol=1e-12)
    np.testing.assert_allclose(arrays.to_numpy(chapter.pooled_scores(f, w, b)), scores, rtol=1e-10)
    np.testing.assert_allclose(arrays.to_numpy(chapter.scores_of_maps(*there(device, M), b)), scores, rtol=1e-10)
    tg.check_grads(chapter.pooled_scores, (F, W, B))
    tg.check_grads(chapter.activation_maps, (F, W))


@equation(chapter.lit, 4)
def test_places_with_a_share_of_the_largest_value():
    M = np.array([[1.0, 4.0, -3.0], [2.0, 1.9, 0.0]])
    np.testing.assert_array_equal(chapter.lit(M, 0.5), [[0, 1, 0], [1, 0, 0]])


def test_of_the_parts_the_heaviest_counts_and_its_box_is_tight():
    M = np.array([[9.0, 0, 0, 0, 0], [0, 0, 0, 4, 4], [0, 0, 0, 0, 4]])
    part = chapter.largest_part(M, M > 1)
    assert part.sum() == 3 and chapter.box_around(part).tolist() == [1, 3, 3, 5]
    assert chapter.box_around(chapter.largest_part(M, M > 99)).tolist() == [0, 0, 3, 5]  # nothing lit: all of it


boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 5)] * 2).map(
    lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]])
)


@equation(chapter.intersection_over_union, 5)
@given(boxes, boxes)
def test_agreement_by_counting_pixels(a, b):
    masks = np.zeros((2, 12, 12), bool)
    for mask, (top, left, bottom, right) in zip(masks, (a, b), strict=True):
        mask[top:bottom, left:right] = True
    expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert float(chapter.intersection_over_union(a, b)) == pytest.approx(expected)
    assert chapter.intersection_over_union(a, a) == pytest.approx(1)


def test_the_best_constant_box_beats_its_rivals():
    top = rng.integers(0, 8, (50, 2))
    known = np.concatenate([top, top + rng.integers(3, 6, (50, 2))], 1)
    best, middle = chapter.best_constant_box(known), (known[:, :2] + known[:, 2:]).mean(0) / 2
    np.testing.assert_allclose((best[:2] + best[2:]) / 2, middle)
    agreement = chapter.intersection_over_union(best, known).mean()
    for a, b in itertools.product(range(3, 6), repeat=2):
        rival = np.concatenate([middle - np.array([a, b]) / 2, middle + np.array([a, b]) / 2])
        assert agreement >= chapter.intersection_over_union(rival, known).mean()
    assert agreement > 2 * chapter.intersection_over_union([0, 0, 13, 13], known).mean()


# ---- the data -----------------------------------------------------------------------------------------------------


def test_canvases_hold_their_digit_within_its_box_and_clutter_of_other_images():
    images = np.zeros((30, 1, 9, 9), np.float32)
    images[:, :, 2:6, 3:8] = 0.8
    canvas, found = chapter.cluttered(images, 20, tg.random.Generator(0), scratches=0)
    assert canvas.shape == (30, 1, 20, 20) and canvas.max() == np.float32(0.8)
    for one, (top, left, bottom, right) in zip(canvas[:, 0], found, strict=True):
        assert (bottom - top, right - left) == (4, 5) and (one[top:bottom, left:right] == np.float32(0.8)).all()
    assert np.mean(canvas > 0) > 1.3 * 20 / 400  # more than the digits
    bare, _ = chapter.cluttered(images, 20, tg.random.Generator(0), pieces=0, scratches=0)
    assert np.mean(bare > 0) == pytest.approx(20 / 400)
    assert len({tuple(b) for b in found}) > 20
    with pytest.raises(ValueError, match="images of 9 × 9 on a canvas of 9"):
        chapter.cluttered(images, 9, tg.random.Generator(0))


def test_scratches_are_straight_and_run_from_border_to_border():
    canvas = chapter.lines(20, 16, 1, 1.0, tg.random.Generator(0))
    assert canvas.shape == (20, 16, 16) and canvas.dtype == np.float32 and 0 <= canvas.min() and canvas.max() <= 1
    for one in canvas:
        i, j = np.nonzero(one > 0.5)
        assert {0, 15} & {*i, *j}
        assert np.linalg.svd(np.stack([i - i.mean(), j - j.mean()]))[1][1] < 0.5 * np.sqrt(len(i))  # hardly any width
    assert np.mean(chapter.lines(20, 16, 3, 1.0, tg.random.Generator(0))) > 1.5 * canvas.mean()


# ---- the model ----------------------------------------------------------------------------------------------------


@equation(ActivationNet.forward, 1)
@equation(ActivationNet.maps, 2)
def test_maps_explain_the_scores_of_the_network():
    model = net().fit(X, Y, steps=3, run=Run(quiet=True)).eval()
    scores = model(tg.tensor(X)).numpy()
    M = chapter.activation_maps(model.found(tg.tensor(X)), model.readout.weight)
    np.testing.assert_allclose(chapter.scores_of_maps(M, model.readout.bias).numpy(), scores, rtol=1e-4, atol=1e-5)
    for c in range(3):
        coarse, fine = M.numpy()[:, c], model.maps(X, np.full(20, c))
        assert fine.shape == (20, 8, 6)
        middle = fine.reshape(20, 4, 2, 3, 2).mean((2, 4))[:, 1:3, 1:2]  # interpolation keeps the mean of smooth maps
        blurred = sum(w * np.roll(coarse, (a, b), (1, 2)) for a, u in ((-1, 1 / 8), (0, 3 / 4), (1, 1 / 8))
                      for b, v in ((-1, 1 / 8), (0, 3 / 4), (1, 1 / 8)) for w in [u * v])[:, 1:3, 1:2]  # fmt: skip
        np.testing.assert_allclose(middle, blurred, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.maps(X), model.maps(X, model.predict(X)))


def test_labels_alone_teach_it_where_things_are():
    """A cross or a square somewhere among dots."""
    draw = np.random.default_rng(1)
    kinds = np.array([[[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]],
                      [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]], np.float32)  # fmt: skip
    y, x = np.arange(300) % 2, (draw.uniform(size=(300, 1, 16, 16)) < 0.05).astype(np.float32)
    at = draw.integers(0, 13, (300, 2))
    known = np.concatenate([at, at + 4], 1)
    for image, (i, j), kind in zip(x[:, 0], at, y, strict=True):
        image[i : i + 4, j : j + 4] = kinds[kind]
    model = ActivationNet((1, 16, 16), 2, kernels=(8, 8), size=3, lr=2e-2, rng=tg.random.Generator(0))
    model.fit(x[:200], y[:200], steps=150, batch_size=40, run=Run(quiet=True))
    best = model.choose_theta(x[:50], known[:50])
    found = chapter.intersection_over_union(model.boxes(x[200:]), known[200:]).mean()
    never = chapter.intersection_over_union(chapter.best_constant_box(known[:50]), known[200:]).mean()
    assert model.score(x[200:], y[200:]) > 0.9 and best > 0.3 and found > 2 * never


def test_theta_is_kept_with_the_weights(tmp_path):
    model, other = net(), net(1)
    model.choose_theta(X, np.tile([1, 1, 4, 4], (20, 1)))
    tg.save(tmp_path / "net.safetensors", model.state_dict())
    other.load_state_dict(tg.load(tmp_path / "net.safetensors"))
    assert float(other.theta) == float(model.theta)
    np.testing.assert_array_equal(other.boxes(X), model.boxes(X))


def test_on_the_stand_in_for_a_gpu(device):
    def learnt(device):
        model = net(device=device).fit(X, Y, steps=2, batch_size=9, run=Run(quiet=True))
        model.choose_theta(X, np.tile([1, 1, 4, 4], (20, 1)))
        return model.predict_log_proba(X), model.maps(X, Y)

    for found, expected in zip(learnt(device), learnt("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match=r"sides that divide by 4, .* got \(1, 8, 6\), 3, \(2, 2, 2\) and 3"):
        net(kernels=(2, 2, 2))
    with pytest.raises(ValueError, match="odd size"):
        net(size=4)
    with pytest.raises(ValueError, match=r"ActivationNet: x has shape \(20, 1, 8, 5\)"):
        net().boxes(X[..., 1:])


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

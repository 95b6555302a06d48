"""Convolutional autoencoders: down and up by loops, the adjoint, checkerboards, counted weights, and the model."""

import itertools

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.models.autoencoder import ConvolutionalAutoencoder
from tinygen.models.autoencoder import convolutional as chapter
from tinygen.nn import functional as F
from tinygen.runs import Run

rng = np.random.default_rng(0)


def correlated(h, K, b, P):
    """The cross-correlation at all places, by loops: (b, c, n, n), (c', c, q, q) to (b, c', n + 2P - q + 1, ...)."""
    h, q = np.pad(h, [(0, 0), (0, 0), (P, P), (P, P)]), K.shape[-1]
    n = h.shape[-1] - q + 1
    out = np.zeros((len(h), len(K), n, n))
    for i, j in itertools.product(range(n), repeat=2):
        out[:, :, i, j] = np.einsum("bcij,kcij->bk", h[:, :, i : i + q, j : j + q], K) + b
    return out


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.pooled, 1)
def test_down_by_pooling_by_loops(device):
    h, K, b = rng.normal(size=(2, 3, 6, 6)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    found = chapter.pooled(*[tg.tensor(backend.asarray(a, device=device)) for a in (h, K, b)]).numpy()
    full = np.maximum(correlated(h, K, b, 1), 0)
    for i, j in np.ndindex(3, 3):
        block = full[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        np.testing.assert_allclose(found[:, :, i, j], block.max((2, 3)))


@equation(chapter.enlarged, 2)
def test_up_by_repetition(device):
    h = rng.normal(size=(2, 3, 4, 4))
    found = chapter.enlarged(tg.tensor(backend.asarray(h, device=device))).numpy()
    for i, j in np.ndindex(8, 8):
        np.testing.assert_allclose(found[:, :, i, j], h[:, :, i // 2, j // 2])


@equation(chapter.strided, 3)
def test_down_by_strides_is_every_second_place_of_a_convolution(device):
    h, K, b = rng.normal(size=(2, 3, 6, 6)), rng.normal(size=(4, 3, 4, 4)), rng.normal(size=4)
    found = chapter.strided(*[tg.tensor(backend.asarray(a, device=device)) for a in (h, K, b)]).numpy()
    np.testing.assert_allclose(found, np.maximum(correlated(h, K, b, 1), 0)[:, :, ::2, ::2])


@equation(chapter.transposed, 4)
@given(st.integers(1, 6), st.integers(2, 5), st.integers(1, 3), st.integers(0, 1))
def test_the_transposed_convolution_by_its_sum_and_as_the_adjoint(n, q, S, P):
    h, K = np.random.default_rng(n).normal(size=n) + 2, np.random.default_rng(q).normal(size=q) + 3
    size = S * (n - 1) + q - 2 * P
    if size < 1:
        return
    expected = [sum(h[j] * K[i + P - S * j] for j in range(n) if 0 <= i + P - S * j < q) for i in range(size)]
    found = chapter.transposed(h, K, S=S, P=P)
    np.testing.assert_allclose(found, expected)
    x = np.random.default_rng(S).normal(size=size)
    down = F.conv1d(x[None, None], K[None, None], stride=S, padding=P)[0, 0]
    assert down @ h == pytest.approx(x @ found)


@equation(chapter.overlaps, 5)
@pytest.mark.parametrize(("q", "S", "P"), [(3, 2, 0), (4, 2, 1), (5, 2, 1), (5, 3, 0)])
def test_how_many_copies_meet_by_counting(q, S, P):
    n = 6
    found = chapter.overlaps(n, q, S, P)
    expected = [sum(0 <= i + P - S * j < q for j in range(n)) for i in range(S * (n - 1) + q - 2 * P)]
    np.testing.assert_allclose(found, expected)


def test_there_is_no_checkerboard_exactly_if_the_stride_divides_the_kernel():
    for q, S in itertools.product(range(2, 7), (2, 3)):
        inner = chapter.overlaps(12, q, S)[q:-q]
        assert (len(set(inner.tolist())) == 1) == (q % S == 0), (q, S)


@equation(chapter.n_weights, 6)
def test_the_number_of_weights():
    layer = chapter.Pooled(3, 5, rng=tg.random.Generator(0))
    assert chapter.n_weights(3, 5, 3) == sum(p.data.size for p in layer.parameters()) == 140


# ---- the model ------------------------------------------------------------------------------------------

ways = pytest.mark.parametrize("way", ["strides", "pooling"])


def tiny(way="strides", device="cpu", **options):
    draws = tg.random.Generator(0, device=device)
    return ConvolutionalAutoencoder((2, 8, 4), 3, channels=(3, 4), way=way, rng=draws, **options)


@ways
def test_shapes_on_the_way_down_and_up(way, device):
    model, x = tiny(way, device), rng.uniform(size=(5, 2, 8, 4))
    assert [h.shape for h in model.maps(x)] == [(5, 3, 4, 2), (5, 4, 2, 1)]
    assert model.transform(x).shape == (5, 3) and model.reconstruct(x).shape == x.shape
    assert len(model.ups) == len(model.downs) == 2
    assert model.fit(x, steps=2, batch_size=3, run=Run(quiet=True)) is model


@equation(ConvolutionalAutoencoder.level_loss, 7)
@ways
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_the_loss_of_a_layer_alone_by_hand(way, loss):
    model, x = tiny(way, loss=loss), rng.uniform(size=(5, 2, 8, 4)).astype(np.float32)
    with tg.no_grad():
        h_1 = model.downs[0](tg.tensor(x))
        x_hat = model.ups[0](h_1)
        x_hat = tg.sigmoid(x_hat).numpy() if loss == "cross-entropy" else x_hat.numpy()
        h_1_hat = np.maximum(model.ups[1](model.downs[1](h_1)).numpy(), 0)
    for level, (h, h_hat) in enumerate([(x, x_hat), (h_1.numpy(), h_1_hat)], 1):
        expected = np.square(h - h_hat).sum((1, 2, 3)).mean()
        assert float(model.level_loss(x, level).data) == pytest.approx(expected, rel=1e-5)


@ways
def test_layers_learn_alone_from_the_bottom_up_and_then_together(way):
    model, x = tiny(way, alone=2), rng.uniform(size=(6, 2, 8, 4)).astype(np.float32)

    def moved():
        before = [p.numpy().copy() for p in model.parameters()]
        parts = model.update(x)
        changed = [p for p, old in zip(model.parameters(), before, strict=True) if (p.numpy() != old).any()]
        return list(parts), {id(p) for p in changed}

    def weights(*modules):
        return {id(p) for m in modules for p in m.parameters()}

    for level in (1, 1, 2, 2):
        logged, changed = moved()
        assert logged == [f"loss_{level}"]
        assert changed and changed <= weights(model.downs[level - 1], model.ups[level - 1])
    logged, changed = moved()
    assert logged == ["loss"] and changed & weights(*model.downs) and changed & weights(*model.ups)


def test_a_layer_alone_learns_to_rebuild_what_it_is_given():
    model, x = tiny(alone=200, lr=0.01), rng.uniform(size=(6, 2, 8, 4)).astype(np.float32)
    before = [float(model.level_loss(x, level).data) for level in (1, 2)]
    model.fit(x, steps=200, batch_size=6, run=Run(quiet=True))
    assert float(model.level_loss(x, 1).data) < before[0] / 2
    below = model.maps(x)[0]
    again = float(model.level_loss(x, 2).data)
    model.fit(x, steps=200, batch_size=6, run=Run(quiet=True))
    np.testing.assert_array_equal(model.maps(x)[0], below)  # the lower one stands still
    assert float(model.level_loss(x, 2).data) < again / 2


@ways
def test_it_moves_with_the_image(way):
    """What a layer finds in a moved image is what it found, moved."""
    model = tiny(way)
    x = np.zeros((1, 2, 8, 4), np.float32)
    x[0, :, 2:4, 1:3] = rng.uniform(size=(2, 2, 2))
    moved = np.roll(x, 2, axis=2)
    np.testing.assert_allclose(model.maps(moved)[0][:, :, 1:], model.maps(x)[0][:, :, :-1], atol=1e-6)


@pytest.mark.parametrize("bad", [dict(way="up"), dict(channels=()), dict(channels=(2, 2, 2)), dict(alone=-1)])
def test_what_cannot_be_built_is_refused(bad):
    with pytest.raises(ValueError, match="ConvolutionalAutoencoder: .* wanted"):
        ConvolutionalAutoencoder((1, 4, 4), 3, **bad)

"""Inputs of every kind: each equation of the chapter by loops, both orders of each gradient, and PyTorch's values."""

import importlib

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import convolutional
from tinygen.models.supervised import inputs as chapter

demo = importlib.import_module("demos.inputs")
rng = np.random.default_rng(0)
H, K = rng.normal(size=(2, 2, 5, 6)), rng.normal(size=(3, 2, 3, 3))
X = np.array([[0, 2], [1, 0], [1, 1]])
KINDS = list(chapter.PADDINGS)


def there(device, *values):
    """Arrays on a device."""
    return [arrays.asarray(v, device=device) for v in values]


def host(x):
    return arrays.to_numpy(x.data if isinstance(x, tg.Tensor) else x)


# ---- categories ---------------------------------------------------------------------------------------------------


@equation(chapter.one_hot, 1)
def test_one_hot_vectors_stand_one_behind_the_other(device):
    expected = [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(host(chapter.one_hot(*there(device, X), (2, 3))), expected)


@equation(chapter.looked_up, 2)
def test_a_column_is_the_product_with_a_one_hot_vector(device):
    W, x = rng.normal(size=(4, 3)), np.array([2, 0, 2, 1])
    expected = np.stack([W @ (np.arange(3) == k) for k in x])
    np.testing.assert_allclose(host(chapter.looked_up(*there(device, W, x))), expected, rtol=1e-12)


@equation(chapter.category_means, 3)
def test_category_means_are_least_squares(device):
    x, y = rng.integers(0, 4, 30), rng.normal(size=30)
    found = host(chapter.category_means(*there(device, x, y), 4))
    e = chapter.one_hot(x[:, None], (4,))
    np.testing.assert_allclose(found, np.linalg.lstsq(e, y, rcond=None)[0], rtol=1e-10)


def test_a_category_without_examples_gets_the_mean_of_all():
    assert chapter.category_means(np.array([0, 0, 2]), np.array([1.0, 2.0, 6.0]), 3).tolist() == [1.5, 3.0, 6.0]


@given(st.permutations(range(5)), st.integers(0, 10**6))
def test_the_order_of_categories_does_not_matter(order, seed):
    """What a number in place of the vector could not promise."""
    draw = np.random.default_rng(seed)
    x, y = draw.integers(0, 5, 20), draw.normal(size=20)
    renamed = np.argsort(order)[x]
    np.testing.assert_allclose(chapter.category_means(renamed, y, 5), chapter.category_means(x, y, 5)[list(order)])


# ---- images -------------------------------------------------------------------------------------------------------


@equation(chapter.padded, 4)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_by_loops(kind, device):
    n, m, P = 5, 6, 3
    expected = np.zeros((2, 2, n + 2 * P, m + 2 * P))
    for i, j in np.ndindex(*expected.shape[2:]):
        u, v = demo.FRAMES[kind](i - P, n), demo.FRAMES[kind](j - P, m)
        if u is not None and v is not None:
            expected[:, :, i, j] = H[:, :, u, v]
    np.testing.assert_array_equal(host(chapter.padded(*there(device, H), P, kind)), expected)


@equation(chapter.layer, 5)
@pytest.mark.parametrize("true", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_by_loops(kind, true, device):
    for P, S in ((0, 1), (1, 2), (3, 3)):
        found = chapter.layer(*there(device, H, K), P=P, S=S, kind=kind, true=true)
        np.testing.assert_allclose(host(found), demo.layer_by_loops(H, K, P, S, kind, true), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind, mode", [("zeros", "constant"), ("continuous", "nearest"), ("reflected", "mirror")])
def test_true_and_not_are_scipys_convolve_and_correlate(kind, mode):
    for true, filtered in ((True, scipy.ndimage.convolve), (False, scipy.ndimage.correlate)):
        expected = filtered(H[0, 0], K[0, 0], mode=mode)
        found = chapter.layer(H[:1, :1], K[:1, :1], P=1, kind=kind, true=true)
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-10, atol=1e-12)


def test_the_two_are_the_chapter_on_convolutions_and_agree_for_blurs_only():
    for true, theirs in ((True, convolutional.convolutional_layer), (False, convolutional.cross_correlation)):
        np.testing.assert_allclose(chapter.layer(H, K, P=1, true=true), theirs(H, K), rtol=1e-12)
    blur = np.ones_like(K)
    np.testing.assert_allclose(chapter.layer(H, blur, true=True), chapter.layer(H, blur))
    assert np.abs(chapter.layer(H, K, true=True) - chapter.layer(H, K)).max() > 1


@equation(chapter.every, 6)
@given(st.integers(1, 4), st.integers(0, 2), st.sampled_from([1, 3]))
def test_a_stride_keeps_every_so_many_th_place(S, P, q):
    k = K[..., :q, :q]
    expected = chapter.layer(H, k, P=P, S=S)
    np.testing.assert_allclose(chapter.every(chapter.layer(H, k, P=P), S), expected, rtol=1e-12)


@equation(chapter.max_pooled, 7)
@equation(chapter.mean_pooled, 8)
@pytest.mark.parametrize("k, S", [(2, 2), (3, 2), (3, 1), (2, 3)])
def test_pooling_by_loops(k, S, device):
    for pool, reduce in ((chapter.max_pooled, np.max), (chapter.mean_pooled, np.mean)):
        expected = demo.pooled_by_loops(H, k, S, reduce)
        np.testing.assert_allclose(host(pool(*there(device, H), k, S)), expected, rtol=1e-12)


def test_mean_pooling_is_a_layer_with_a_constant_kernel():
    k = np.zeros((2, 2, 3, 3))
    k[[0, 1], [0, 1]] = 1 / 9
    np.testing.assert_allclose(chapter.mean_pooled(H, 3, 2), chapter.layer(H, k, S=2), rtol=1e-12)


def test_what_overlapping_windows_send_back_adds_up():
    row = np.array([[0.0, 3.0, 1.0, 2.0, 0.0]]) * np.ones((3, 1)) + np.arange(3)[:, None] / 10
    leaf = tg.tensor(row[None, None], requires_grad=True)
    sent = tg.grad(tg.sum(chapter.max_pooled(leaf, 3, 1)), leaf).numpy()[0, 0]
    assert sent.sum() == 3 and sent[2].tolist() == [0, 2, 0, 1, 0]  # windows from 1 and 2 see the 3, the last the 2
    flat = tg.tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    np.testing.assert_array_equal(tg.grad(tg.sum(chapter.max_pooled(flat, 2, 2)), flat), np.full((1, 1, 2, 2), 0.25))


def test_gradients_of_every_layer_at_both_orders():
    """The bar of row A4; the demo prints the same figures."""
    found = demo.slopes()
    assert len(found) == 13 and max(found.values()) < 1e-6, found


def test_values_of_every_layer_in_single_precision():
    found = demo.gaps()
    assert len(found) == 19 and max(found.values()) < 1e-5, found


def test_values_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    h, k = torch.from_numpy(H), torch.from_numpy(K)
    modes = {"zeros": "constant", "continuous": "replicate", "reflected": "reflect"}
    for kind, mode in modes.items():
        framed = torch.nn.functional.pad(h, (2, 2, 2, 2), mode=mode)
        for true in (False, True):
            expected = torch.nn.functional.conv2d(framed, torch.flip(k, (2, 3)) if true else k, stride=2)
            np.testing.assert_allclose(chapter.layer(H, K, P=2, S=2, kind=kind, true=true), expected, atol=1e-5)
    np.testing.assert_allclose(chapter.max_pooled(H, 3, 2), torch.nn.functional.max_pool2d(h, 3, 2), atol=1e-5)
    np.testing.assert_allclose(chapter.mean_pooled(H, 3, 2), torch.nn.functional.avg_pool2d(h, 3, 2), atol=1e-5)
    expected = torch.nn.functional.one_hot(torch.from_numpy(X[:, 1]), 3)
    np.testing.assert_array_equal(chapter.one_hot(X[:, 1:], (3,)), expected)


def test_refusals():
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\); rows of 3 categories are wanted"):
        chapter.one_hot(X, (2, 3, 4))
    with pytest.raises(IndexError, match="from 0 to 1 are wanted"):
        chapter.one_hot(X, (2, 2))
    with pytest.raises(ValueError, match="one of zeros, continuous, reflected is wanted"):
        chapter.padded(H, 1, "periodic")
    with pytest.raises(ValueError, match="a mirror shows 4 places"):
        chapter.padded(H, 5, "reflected")

"""The chapter on residual connections and layer normalisation: every equation, and what fifty layers do with them."""

import doctest
import itertools

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays
from tinygen.models.supervised import ResidualNet
from tinygen.models.supervised import residual as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def blocks(depth, n, q, seed=0):
    """Matrices none of which stretches a vector by more than q, and an error."""
    draw = np.random.default_rng(seed)
    J = draw.normal(size=(depth, n, n))
    return q * J / np.linalg.norm(J, 2, axis=(1, 2))[:, None, None], draw.normal(size=n)


# ---- the layers -------------------------------------------------------------------------------------------------


@equation(chapter.residual, 1)
def test_a_residual_layer_adds_to_what_is_there(device):
    x, W, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    found = chapter.residual(*(arrays.asarray(a, device=device) for a in (x, W, b)))
    np.testing.assert_allclose(arrays.to_numpy(found), x + 1 / (1 + np.exp(-(x @ W + b))), rtol=1e-12)


@equation(chapter.layer_norm, 2)
def test_layer_norm_is_that_of_the_library(device):
    x = rng.normal(size=(5, 6)) * 3 + 7
    found = chapter.layer_norm(tg.tensor(x, device=device)).numpy()
    expected = [[(v - row.mean()) / np.sqrt(row.var() + 1e-5) for v in row] for row in x]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(found, nn.functional.layer_norm(x, (6,)), rtol=1e-10)


@equation(chapter.layer_norm, 7)
@given(st.integers(0, 10**6), st.floats(0.1, 50), st.floats(-50, 50))
def test_size_and_common_part_of_an_example_do_not_matter(seed, c, d):
    x = np.random.default_rng(seed).normal(size=(3, 8))
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(chapter.layer_norm(c * x + d, eps=0.0), expected, rtol=1e-6, atol=1e-8)


@equation(chapter.layer_norm_back, 8)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_the_way_back_by_hand_is_the_engines(eps):
    x, y_bar = tg.tensor(rng.normal(size=(4, 5)), requires_grad=True), rng.normal(size=(4, 5))
    engine = tg.grad(chapter.layer_norm(x, eps=eps), x, grad_outputs=tg.tensor(y_bar)).numpy()
    np.testing.assert_allclose(chapter.layer_norm_back(y_bar, x.data, eps=eps), engine, rtol=1e-8, atol=1e-12)


def test_the_gradient_is_finite_where_all_units_agree():
    tg.check_grads(lambda x: chapter.layer_norm(x, eps=0.1), (rng.normal(size=(2, 4)),))
    x = tg.tensor(np.ones((2, 4)), requires_grad=True)
    assert np.isfinite(tg.grad(tg.sum(tg.square(chapter.layer_norm(x))), x).numpy()).all()


# ---- the way back -------------------------------------------------------------------------------------------------


@equation(chapter.errors, 3)
def test_errors_of_a_residual_net_are_the_engines():
    net = ResidualNet(4, 5, 6, 3, rng=tg.random.Generator(0)).to(dtype="float64")
    x, y = rng.normal(size=(1, 4)), np.array([1])
    h = net.hidden(tg.tensor(x))
    loss = nn.functional.cross_entropy(net.head(net.seen(h[-1])), y)
    engine = np.array([g.numpy()[0] for g in tg.grad(loss, h)])
    found = chapter.errors(engine[-1], net.jacobians(x[0]))
    np.testing.assert_allclose(found, engine, rtol=1e-9)
    np.testing.assert_allclose(net.gradient_norms(x, y), np.linalg.norm(engine, axis=1), rtol=1e-9)


@equation(chapter.by_blocks, 4)
def test_the_ways_back_one_by_one():
    J, delta = blocks(6, 3, 0.8)
    v = np.zeros((7, 3))
    for k in range(7):
        for gone_through in itertools.combinations(range(6), k):
            way = delta
            for block in reversed(gone_through):
                way = J[block].T @ way
            v[k] += way
    found = chapter.by_blocks(delta, J)
    np.testing.assert_allclose(found, v, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.sum(0), chapter.errors(delta, J)[0], rtol=1e-10)


@equation(chapter.bounds, 5)
@given(st.integers(1, 12), st.floats(0.05, 0.95), st.integers(0, 10**6))
def test_no_error_grows_or_shrinks_beyond_the_bounds(depth, q, seed):
    J, delta = blocks(depth, 3, q, seed)
    plain, least, largest = chapter.bounds(q, depth)
    length = np.linalg.norm(delta)
    assert least - 1e-9 <= np.linalg.norm(chapter.errors(delta, J)[0]) / length <= largest * (1 + 1e-9)
    assert np.linalg.norm(chapter.by_blocks(delta, J)[-1]) / length <= plain * (1 + 1e-9)
    for sign, bound in ((1, largest), (-1, least)):  # all blocks agree: both are reached
        found = chapter.errors(np.ones(1), np.full((depth, 1, 1), sign * q))
        assert found[0, 0] == pytest.approx(bound, rel=1e-9)
    reached = chapter.by_blocks(np.ones(1), np.full((depth, 1, 1), q))[-1, 0]
    assert reached == pytest.approx(plain, rel=1e-9)


@equation(chapter.mean_of_the_stream, 6)
def test_a_block_of_sigmoids_adds_one_half_on_average():
    x = rng.normal(size=(1, 3))
    for normalise in (False, True):
        change, expected = [], []
        for seed in range(150):  # each net, and the one with -W in place of W: their mean is exact for one block
            for sign in (1, -1):
                net = ResidualNet(3, 4, 2, 2, normalise=normalise, rng=tg.random.Generator(seed)).to(dtype="float64")
                for block in net.blocks:
                    block.W.assign(sign * block.W.numpy())
                h = [layer.numpy() for layer in net.hidden(tg.tensor(x))]
                change.append(h[2] - chapter.mean_of_the_stream(h[0], 2))
                expected.append(h[1] - chapter.mean_of_the_stream(h[0], 1))
        np.testing.assert_allclose(np.mean(expected, 0), 0, atol=1e-12)
        assert np.abs(np.mean(change, 0)).max() < 5 * np.std(change) / np.sqrt(len(change))


# ---- the model ----------------------------------------------------------------------------------------------------


def net_of(shortcut, normalise, depth=50, **options):
    return ResidualNet(6, 16, depth, 3, shortcut=shortcut, normalise=normalise, rng=tg.random.Generator(0), **options)


def test_fifty_layers_pass_errors_on_with_shortcuts_only():
    x, y = rng.normal(size=(20, 6)), rng.integers(0, 3, 20)
    for normalise in (False, True):
        norms = net_of(True, normalise).gradient_norms(x, y)
        assert norms.shape == (51,) and 0.3 < norms[0] / norms[-1] < 30
    norms = net_of(False, False).gradient_norms(x, y)
    assert norms[0] < 1e-20 * norms[-1]
    assert (np.diff(np.log(norms[:-1])) > 0).mean() > 0.95  # layer by layer


@pytest.mark.parametrize("shortcut, normalise, learns", [(True, True, True), (False, False, False)])
def test_fifty_layers_learn_with_both_and_not_with_neither(shortcut, normalise, learns):
    x = rng.normal(size=(120, 6))
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
    net = net_of(shortcut, normalise, lr=0.3).fit(x, y, steps=60, batch_size=40, run=Run(quiet=True))
    assert net.score(x, y) > 0.8 if learns else net.score(x, y) < 0.6


def test_hidden_layers_are_the_chapters():
    x = rng.normal(size=(3, 6))
    net = net_of(True, False, 2).to(dtype="float64")
    h = [layer.numpy() for layer in net.hidden(net.checked(x))]
    np.testing.assert_allclose(h[1], chapter.residual(h[0], net.blocks[0].W.numpy(), net.blocks[0].b.numpy()))
    net = net_of(False, True, 2).to(dtype="float64")
    h = [layer.numpy() for layer in net.hidden(net.checked(x))]
    seen = chapter.layer_norm(h[1])
    np.testing.assert_allclose(h[2], chapter.residual(seen, net.blocks[1].W.numpy(), net.blocks[1].b.numpy()) - seen)
    assert net(net.checked(x)).shape == (3, 3)


def test_refusals():
    for sizes in ((6, 0, 3, 3), (6, 4, 0, 3), (6, 4, 3, 1)):
        with pytest.raises(ValueError, match="sizes of at least 1, and two classes at least, are wanted"):
            ResidualNet(*sizes)
    with pytest.raises(ValueError, match="sigma is 'step'"):
        ResidualNet(2, 2, 2, 2, sigma="step")


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

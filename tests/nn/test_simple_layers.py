"""Promises of `tinygen.nn.layers`, `activations` and `blocks`: their formulas, extremes, randomness and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays
from tinygen.backend.random import Generator
from tinygen.nn import functional as F

rng = np.random.default_rng(0)

# ---- dropout --------------------------------------------------------------------------------------------


@equation(F.dropout, 3)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_scales_what_is_left(p, device):
    layer = nn.Dropout(p, rng=Generator(0)).to(device)
    y = layer(tg.ones(100_000, device=device)).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - p)], rtol=1e-6)
    share = (y == 0).mean()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / y.size)
    assert abs(y.mean() - 1) < 4 * np.sqrt(p / (1 - p) / y.size)


def test_dropouts_gradient_is_its_mask():
    x = tg.tensor(rng.normal(size=50), requires_grad=True)
    y = nn.Dropout(0.3, rng=Generator(0))(x)
    np.testing.assert_allclose(tg.grad(tg.sum(y), x).numpy(), y.numpy() / x.numpy(), rtol=1e-12)


def test_dropout_at_both_ends_and_after_training():
    x = tg.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    nothing = nn.Dropout(1.0)(x)
    assert not nothing.numpy().any() and not tg.grad(tg.sum(nothing), x).numpy().any()
    assert nn.Dropout(0.0)(x) is x and nn.Dropout(0.5).eval()(x) is x


def test_dropout_draws_anew_each_time_from_its_generator():
    layer, x = nn.Dropout(rng=Generator(5)), tg.ones(40)
    first, second = layer(x).numpy(), layer(x).numpy()
    assert not np.array_equal(first, second)
    again = nn.Dropout(rng=Generator(5))
    np.testing.assert_array_equal(again(x).numpy(), first)
    np.testing.assert_array_equal(F.dropout(x, rng=Generator(5)).numpy(), first)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", None])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="p must be a probability"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match="dropout: p"):
        F.dropout(np.ones(3), p, rng=Generator(0))


# ---- embedding and one_hot ------------------------------------------------------------------------------


@equation(F.embedding, 2)
def test_an_embedding_is_the_linear_map_of_one_hot_vectors(device):
    layer = nn.Embedding(5, 3, rng=Generator(0)).to(device)
    i = tg.tensor(np.array([[4, 0, 4], [1, 2, 4]]), device=device)
    rows, product = layer(i), F.one_hot(i, 5) @ layer.weight
    np.testing.assert_allclose(rows.numpy(), product.numpy(), rtol=1e-6)
    u = tg.tensor(rng.normal(size=(2, 3, 3)).astype(np.float32), device=device)
    a, b = (tg.grad(tg.sum(u * y), layer.weight).numpy() for y in (rows, product))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # row 4 has three contributions


def test_the_padding_row_starts_at_zero_and_learns_nothing():
    layer = nn.Embedding(4, 3, padding_idx=-1, rng=Generator(0))
    y = layer(np.array([3, 1, 3]))
    assert not y.numpy()[[0, 2]].any()
    g = tg.grad(tg.sum(y), layer.weight).numpy()
    assert not g[3].any() and (g[1] == 1).all()
    layer.weight.assign(np.ones((4, 3)))  # what is loaded there is used
    assert (layer(np.array([3])).numpy() == 1).all()


def test_the_functions_padding_row_may_be_counted_from_the_end():
    weight = tg.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    g = tg.grad(tg.sum(F.embedding(np.array([3, 1]), weight, padding_idx=-1)), weight).numpy()
    assert not g[3].any() and (g[1] == 1).all()


def test_one_hot(device):
    i = tg.tensor(np.array([[2, 0]]), device=device)
    assert F.one_hot(i, 3).tolist() == [[[0, 0, 1], [1, 0, 0]]] and F.one_hot(i, 3).dtype == np.float32
    assert F.one_hot(np.array([1]), 2, dtype="int64").dtype == np.int64


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Embedding(3, 2)(np.array([0, 3])), IndexError, "from 0 to 3; from 0 to 2"),
        (lambda: nn.Embedding(3, 2)(np.array([-1])), IndexError, "from -1"),
        (lambda: nn.Embedding(3, 2)(np.array([1.0])), TypeError, "float64"),
        (lambda: nn.Embedding(3, 2)([0, 1]), TypeError, "array of integers"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "padding_idx"),
        (lambda: nn.Embedding(0, 2), ValueError, "num_embeddings"),
        (lambda: F.one_hot(np.array([2]), 2), IndexError, "from 0 to 1"),
        (lambda: F.one_hot(np.array([2]), 0), ValueError, "num_classes"),
        (lambda: nn.Linear(3, 2)(np.ones((2, 4), np.float32)), ValueError, r"\(2, 4\)"),
        (lambda: nn.Linear(3, True), ValueError, "out_features"),
        (lambda: nn.Unflatten(1, (2, 3))(tg.ones((2, 5))), ValueError, r"\(2, 5\).*\(2, 3\)"),
        (lambda: nn.Unflatten(2, (5,))(tg.ones((2, 5))), np.exceptions.AxisError, "Unflatten: axis 2"),
        (lambda: nn.ELU(alpha=-1), ValueError, "alpha"),
        (lambda: nn.GLU()(tg.ones((2, 5))), ValueError, "even length"),
        (lambda: nn.GLU(2)(tg.ones((2, 4))), ValueError, "axis 2"),
        (lambda: nn.GELU(approximate="sigmoid"), ValueError, "approximate"),
        (lambda: nn.Hardtanh(min_val=1, max_val=1), ValueError, "min_val"),
        (lambda: nn.PReLU(0), ValueError, "num_parameters"),
        (lambda: nn.PReLU(3)(tg.ones((2, 4))), ValueError, "3 channels"),
        (lambda: nn.Maxout(3, 2, 0), ValueError, "pieces"),
        (lambda: nn.MinibatchDiscrimination(3, 2, 2)(tg.ones((4, 5))), ValueError, r"\(n, 3\).*\(4, 5\)"),
        (lambda: nn.Residual(nn.Linear(3, 2))(tg.ones((4, 3))), ValueError, "shortcut"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- activations ----------------------------------------------------------------------------------------

ACTIVATIONS = [nn.ReLU(), nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.GELU(approximate="tanh"),
               nn.SiLU(), nn.Softplus(), nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.Softmax(), nn.LogSoftmax(),
               nn.GLU()]  # fmt: skip


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activations_are_finite_far_out_to_second_order(layer, device):  # A5: stable at +-1e4
    layer.to(device)
    x = tg.tensor(np.array([-1e4, -90, 0.5, 90, 1e4, 1e4], np.float32), device=device, requires_grad=True)
    y = layer(x)
    (g,) = tg.grad(tg.sum(y), [x], create_graph=True)
    second = tg.grad(tg.sum(g), x, allow_unused=True) if g.requires_grad else None
    for t in (y, g, g if second is None else second):
        assert np.isfinite(t.numpy()).all()
    layer.to("cpu")


def test_activations_against_scipy():
    x = rng.normal(size=(3, 4)) * 3
    np.testing.assert_allclose(F.gelu(x), x * scipy.stats.norm.cdf(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(F.silu(x), x * scipy.special.expit(x))
    np.testing.assert_allclose(F.gelu(x, approximate="tanh"), F.gelu(x), atol=5e-3)
    np.testing.assert_allclose(F.glu(x), x[:, :2] * scipy.special.expit(x[:, 2:]))
    np.testing.assert_array_equal(F.hardtanh(x), np.clip(x, -1, 1))
    np.testing.assert_allclose(F.prelu(x, np.array([0.3])), np.where(x > 0, x, 0.3 * x))


def test_log_softmax_keeps_its_digits_far_out():
    x = np.array([[1e6, 1e6 + 1], [0, 1]], np.float32)
    for y in (F.log_softmax(x), F.log_softmax(tg.tensor(x)).numpy()):
        np.testing.assert_allclose(y[0], y[1], rtol=1e-6)
    np.testing.assert_allclose(F.softmax(x)[0], scipy.special.softmax([0.0, 1.0]), rtol=1e-6)
    x = tg.tensor(np.array([-np.inf, 0.0, 1.0]), requires_grad=True)
    y = F.log_softmax(x)
    np.testing.assert_allclose(y.numpy(), np.append(-np.inf, scipy.special.log_softmax([0.0, 1.0])))
    np.testing.assert_allclose(tg.grad(y[2], x).numpy(), [0, -1 / (1 + np.e), 1 / (1 + np.e)])


def test_log_softmax_to_second_order(device):
    tg.check_grads(F.log_softmax, [arrays.asarray(rng.normal(size=(2, 3)), device=device)], order=2)


def test_prelus_slope_at_zero_is_the_learned_one():
    x = tg.tensor(np.array([-1.0, 0.0, 1.0]), requires_grad=True)
    np.testing.assert_array_equal(tg.grad(tg.sum(F.prelu(x, np.array([0.25]))), x).numpy(), [0.25, 0.25, 1])


def test_selu_keeps_mean_zero_and_variance_one():
    """Its two numbers are the solution of these two equations."""
    z = np.linspace(-12, 12, 200_001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    mean, square = (np.trapezoid(F.selu(z) ** k * density, z) for k in (1, 2))
    assert abs(mean) < 1e-6 and abs(square - 1) < 1e-6


# ---- blocks ---------------------------------------------------------------------------------------------


@equation(nn.Residual.forward, 1)
def test_a_residual_block_adds_its_input():
    x = rng.normal(size=(4, 3)).astype(np.float32)
    body, shortcut = nn.Linear(3, 3), nn.Linear(3, 2)
    np.testing.assert_allclose(nn.Residual(body)(tg.tensor(x)).numpy(), x + body(x).numpy(), rtol=1e-6)
    wider = nn.Residual(nn.Linear(3, 2), shortcut=shortcut)
    expected = shortcut(x).numpy() + wider.body(x).numpy()
    np.testing.assert_allclose(wider(tg.tensor(x)).numpy(), expected, rtol=1e-6)
    assert [n for n, _ in wider.named_parameters()] == ["body.weight", "body.bias", "shortcut.weight", "shortcut.bias"]


@equation(nn.Maxout.forward, 2)
def test_maxout_is_the_largest_of_its_pieces():
    layer, x = nn.Maxout(3, 2, 4, rng=Generator(0)), rng.normal(size=(5, 3)).astype(np.float32)
    w, b = layer.linear.weight.numpy().reshape(2, 4, 3), layer.linear.bias.numpy().reshape(2, 4)
    expected = [[max(w[j, p] @ row + b[j, p] for p in range(4)) for j in range(2)] for row in x]
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected, rtol=1e-5)


@equation(nn.MinibatchDiscrimination.forward, 3)
def test_minibatch_discrimination_is_its_formula():
    layer = nn.MinibatchDiscrimination(3, 2, 4, rng=Generator(0))
    x = rng.normal(size=(5, 3)).astype(np.float32)
    m = np.einsum("na,abc->nbc", x, layer.weight.numpy())
    y = layer(tg.tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, :3], x)
    for i in range(5):
        for b in range(2):
            expected = sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(5))
            np.testing.assert_allclose(y[i, 3 + b], expected, rtol=1e-5)


def test_minibatch_discrimination_tells_a_collapsed_batch():
    layer = nn.MinibatchDiscrimination(3, 2, 4, rng=Generator(0))
    same, spread = np.ones((8, 3), np.float32), 5 * rng.normal(size=(8, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(tg.tensor(same)).numpy()[:, 3:], 8, rtol=1e-6)  # all are alike
    assert layer(tg.tensor(spread)).numpy()[:, 3:].max() < 3

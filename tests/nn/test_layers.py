"""Layers and losses against SciPy and NumPy, and their gradients against differences."""

import numpy as np
import pytest
import scipy.special
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.nn import common
from tinygen.nn import functional as F
from tinygen.nn.common import uniform_parameter

rng = np.random.default_rng(0)


@equation(F.linear, 1)
def test_linear_is_its_formula():
    layer = nn.Linear(3, 2, rng=Generator(0))
    x = rng.normal(size=(5, 4, 3)).astype(np.float32)
    expected = x @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5)
    assert layer(x).dtype == np.float32


@equation(uniform_parameter, 1)
def test_weights_start_uniform_between_the_bounds():
    u = Generator(0).uniform((4, 5))
    np.testing.assert_allclose(common.uniform_parameter(Generator(0), (4, 5), 9).numpy(), (2 * u - 1) / 3, atol=1e-6)


def test_linear_starts_uniform_with_pytorchs_bound():
    layer = nn.Linear(100, 400, rng=Generator(0))
    for values in (layer.weight.numpy(), layer.bias.numpy()):
        assert np.abs(values).max() <= 0.1
        assert abs(values.std() - 0.1 / np.sqrt(3)) < 0.004


def test_linear_refuses_images_and_sizes():
    with pytest.raises(ValueError, match=r"\(2, 8, 8\).*flattened"):
        nn.Linear(64, 2)(np.ones((2, 8, 8), np.float32))
    with pytest.raises(ValueError, match="in_features"):
        nn.Linear(0, 2)


@pytest.mark.parametrize(
    ("layer", "f"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.LeakyReLU(negative_slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.Tanh(), np.tanh),
        (nn.Sigmoid(), scipy.special.expit),
        (nn.Softplus(), lambda x: np.logaddexp(0, x)),
        (nn.Flatten(), lambda x: x.reshape(len(x), -1)),
    ],
)
def test_layers_without_weights(layer, f):
    x = rng.normal(size=(3, 2, 4)) * 5
    np.testing.assert_allclose(nn.Sequential(layer)(tg.tensor(x)).numpy(), f(x), rtol=1e-12, atol=1e-15)


def test_softmax_against_scipy():
    x = rng.normal(size=(3, 4)) * 300
    np.testing.assert_allclose(F.softmax(x), scipy.special.softmax(x, -1))
    np.testing.assert_allclose(F.log_softmax(x, 0), scipy.special.log_softmax(x, 0))


def test_bce_against_scipy_and_far_out():
    x, t = rng.normal(size=(5, 6)) * 4, rng.uniform(size=(5, 6))
    p = scipy.special.expit(x)
    expected = -scipy.special.xlogy(t, p) - scipy.special.xlogy(1 - t, 1 - p)
    np.testing.assert_allclose(F.binary_cross_entropy_with_logits(x, t, reduction="none"), expected, rtol=1e-9)
    np.testing.assert_allclose(F.binary_cross_entropy_with_logits(x, t), expected.mean())
    far = np.array([-1e4, 1e4], np.float32)
    np.testing.assert_array_equal(F.binary_cross_entropy_with_logits(far, 1 - far * 0, reduction="none"), [1e4, 0])


def test_cross_entropy_is_minus_the_log_probability_of_the_class():
    x, t = rng.normal(size=(5, 3, 2)), rng.integers(0, 3, (5, 2))
    log_p = scipy.special.log_softmax(x, 1)
    expected = -np.array([[log_p[i, t[i, j], j] for j in range(2)] for i in range(5)])
    np.testing.assert_allclose(F.cross_entropy(x, t, reduction="none"), expected)
    np.testing.assert_allclose(F.cross_entropy(x, t), expected.mean())
    onehot = np.eye(3)[t].transpose(0, 2, 1)
    np.testing.assert_allclose(F.cross_entropy(x, onehot, reduction="sum"), expected.sum())


def test_gradients_of_the_losses():
    x, y, p = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.uniform(size=(4, 3))
    tg.check_grads(lambda a, b: F.mse_loss(a, b, reduction="none"), (x, y))
    tg.check_grads(lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="none"), (x, p))
    tg.check_grads(lambda a: F.cross_entropy(a, np.array([0, 2, 1, 1]), reduction="none"), (x,))
    tg.check_grads(lambda a, b: F.cross_entropy(a, b, reduction="none"), (x, p))
    tg.check_grads(lambda a: F.softmax(a), (x,))
    tg.check_grads(F.linear, (x, rng.normal(size=(2, 3)), rng.normal(size=2)))


def test_fused_bce_equals_its_composition():
    x, t = (tg.tensor(a, requires_grad=True) for a in (rng.normal(size=(3, 4)), rng.uniform(size=(3, 4))))
    fused = tg.grad(F.binary_cross_entropy_with_logits(x, t), [x, t])
    plain = tg.grad(tg.mean(tg.softplus(x) - x * t), [x, t])
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_losses_refuse_to_broadcast_and_unknown_reductions():
    with pytest.raises(ValueError, match=r"\(3, 1\), target \(3,\)"):
        F.mse_loss(np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="reduction"):
        F.mse_loss(np.ones(3), np.ones(3), reduction="average")
    with pytest.raises(ValueError, match="target"):
        F.cross_entropy(np.ones((3, 2)), np.array([[0], [1], [1]]))


def test_float32_stays_float32():
    x = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    for loss in (F.mse_loss(x, np.zeros((2, 3), np.float32)), F.binary_cross_entropy_with_logits(x, x.detach()),
                 F.cross_entropy(x, np.array([0, 1]))):  # fmt: skip
        assert loss.dtype == np.float32 and tg.grad(loss, x).dtype == np.float32

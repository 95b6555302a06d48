"""Layers against their formulas, SciPy and NumPy; the losses are in test_losses.py."""

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

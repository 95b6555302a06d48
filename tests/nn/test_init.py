"""Promises of `tinygen.nn.init`: moments, fans, orthogonality; done in place, on any device, by the given generator."""

from __future__ import annotations

import numpy as np
import pytest
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.nn import init

FAN_IN, FAN_OUT = 40 * 6, 100 * 6  # of the weight below


def weight(device="cpu"):
    return tg.zeros((100, 40, 3, 2), requires_grad=True, device=device)


@pytest.mark.parametrize(
    ("law", "options", "std", "uniform"),
    [
        (init.xavier_uniform_, {}, np.sqrt(2 / (FAN_IN + FAN_OUT)), True),
        (init.xavier_normal_, {"gain": 2.0}, 2 * np.sqrt(2 / (FAN_IN + FAN_OUT)), False),
        (init.kaiming_uniform_, {"nonlinearity": "relu"}, np.sqrt(2 / FAN_IN), True),
        (init.kaiming_normal_, {"a": 0.2}, np.sqrt(2 / 1.04 / FAN_IN), False),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "tanh"}, 5 / 3 / np.sqrt(FAN_OUT), False),
        (init.uniform_, {"low": -1.0, "high": 1.0}, 1 / np.sqrt(3), True),
        (init.normal_, {"std": 0.02}, 0.02, False),
    ],
)
def test_moments(law, options, std, uniform, device):
    w = weight(device)
    assert law(w, rng=Generator(0), **options) is w and w.device == device and w.dtype == np.float32
    values = w.numpy().ravel()
    assert abs(values.mean()) < 4 * std / np.sqrt(values.size)
    assert abs(values.std() / std - 1) < 0.02
    fourth = ((values / std) ** 4).mean()  # 9/5 for a uniform law, 3 for a normal one
    assert abs(fourth - (1.8 if uniform else 3)) < 0.15
    if uniform:
        assert np.abs(values).max() <= np.sqrt(3) * std * (1 + 1e-6)


@equation(init.xavier_normal_, 1)
@equation(init.xavier_uniform_, 1)
def test_xavier_is_its_formula():
    std, shape = np.sqrt(2 / (FAN_IN + FAN_OUT)), (100, 40, 3, 2)
    normal, u = Generator(0).normal(shape), Generator(0).uniform(shape)
    np.testing.assert_allclose(init.xavier_normal_(weight(), rng=Generator(0)).numpy(), normal * std, rtol=1e-5)
    uniform = init.xavier_uniform_(weight(), gain=2.0, rng=Generator(0)).numpy()
    np.testing.assert_allclose(uniform, 2 * np.sqrt(3) * std * (2 * u - 1), rtol=1e-4, atol=1e-6)


@equation(init.kaiming_normal_, 2)
@equation(init.kaiming_uniform_, 2)
def test_kaiming_is_its_formula():
    shape = (100, 40, 3, 2)
    normal, u = Generator(0).normal(shape), Generator(0).uniform(shape)
    leaky = init.kaiming_normal_(weight(), a=0.2, rng=Generator(0)).numpy()
    np.testing.assert_allclose(leaky, normal * np.sqrt(2 / 1.04 / FAN_IN), rtol=1e-5)
    uniform = init.kaiming_uniform_(weight(), nonlinearity="tanh", mode="fan_out", rng=Generator(0)).numpy()
    np.testing.assert_allclose(uniform, np.sqrt(3) * 5 / 3 / np.sqrt(FAN_OUT) * (2 * u - 1), rtol=1e-4, atol=1e-6)


def test_the_signal_keeps_its_size_through_rectifiers():
    """What (2) is for: after thirty layers, the second moment is that of the beginning."""
    draw = Generator(0)
    x = draw.normal((200, 400))
    for _ in range(30):
        w = init.kaiming_normal_(tg.zeros((400, 400)), nonlinearity="relu", rng=draw)
        x = np.maximum(x, 0) @ w.numpy().T
    assert 0.5 < (x**2).mean() / 2 < 2


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3)])
def test_orthogonal_keeps_lengths(shape, device):
    w = init.orthogonal_(tg.zeros(shape, dtype="float64", device=device), gain=2.0, rng=Generator(1))
    q = w.numpy().reshape(shape[0], -1) / 2
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_is_evenly_drawn():
    """Without the signs of R's diagonal, the first entry would always be negative."""
    first = [init.orthogonal_(tg.zeros((2, 2)), rng=Generator(s)).numpy() for s in range(200)]
    signs = np.mean([q[0, 0] > 0 for q in first])
    assert 0.35 < signs < 0.65
    assert 0.35 < np.mean([np.linalg.det(q) > 0 for q in first]) < 0.65


def test_dcgan_weights_a_whole_network():
    net = nn.Sequential(nn.ConvTranspose2d(50, 60, 4), nn.BatchNorm2d(600), nn.Linear(100, 90))
    init.dcgan_(net, rng=Generator(0))
    state = net.state_dict()
    for path in ("0.weight", "2.weight"):
        assert abs(state[path].mean()) < 1e-3 and abs(state[path].std() / 0.02 - 1) < 0.05
    assert abs(state["1.weight"].mean() - 1) < 4e-3 and abs(state["1.weight"].std() / 0.02 - 1) < 0.15
    for path in ("0.bias", "1.bias", "2.bias", "1.running_mean"):
        assert not state[path].any()


def test_constants_and_generators():
    w = weight()
    assert (init.ones_(w).numpy() == 1).all() and (init.zeros_(w).numpy() == 0).all()
    assert (init.constant_(w, 3.5).numpy() == 3.5).all()
    a, b, c = (init.normal_(weight(), rng=Generator(s)).numpy() for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert not np.array_equal(init.normal_(weight()).numpy(), init.normal_(weight()).numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.xavier_uniform_(tg.zeros(3)), ValueError, r"two axes.*\(3,\)"),
        (lambda: init.orthogonal_(tg.zeros(3)), ValueError, r"two axes.*\(3,\)"),
        (lambda: init.kaiming_normal_(weight(), mode="fan"), ValueError, "fan_in"),
        (lambda: init.kaiming_normal_(weight(), nonlinearity="step"), ValueError, "nonlinearity"),
        (lambda: init.zeros_(np.zeros(3)), TypeError, "Tensor"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Promises of `tinygen.nn.conv` and `spatial` beside PyTorch's values: what they mean, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.nn import conv
from tinygen.nn import functional as F

rng = np.random.default_rng(0)


@equation(conv._Conv.forward, 1)
def test_networks_use_the_cross_correlation_and_not_the_convolution():
    """Against S2 3.12-3.13, which turn the kernel round."""
    x, w, layer = rng.normal(size=(6, 7)), rng.normal(size=(3, 2)), nn.Conv2d(1, 1, (3, 2)).to(dtype="float64")
    layer.load_state_dict({"weight": w[None, None], "bias": np.array([0.5])})
    y = layer(tg.tensor(x[None, None])).numpy()[0, 0]
    np.testing.assert_allclose(y, scipy.signal.correlate2d(x, w, "valid") + 0.5)
    flipped = F.conv2d(x[None, None], w[None, None, ::-1, ::-1])[0, 0]
    np.testing.assert_allclose(flipped, scipy.signal.convolve2d(x, w, "valid"))


@equation(conv._Conv.forward, 1)
def test_a_convolution_is_its_formula():
    """One product at a time, where stride, dilation, padding and bias all matter."""
    s, d, p = 2, 3, 4
    layer = nn.Conv1d(3, 2, 3, stride=s, dilation=d, padding=p, rng=Generator(0)).to(dtype="float64")
    x, w, y = rng.normal(size=(2, 3, 8)), layer.weight.numpy(), np.zeros((2, 2, 5))
    y += layer.bias.numpy()[:, None]
    for n, o, i, c, k in np.ndindex(2, 2, 5, 3, 3):
        at = s * i + d * k - p
        y[n, o, i] += w[o, c, k] * x[n, c, at] if 0 <= at < 8 else 0
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), y, rtol=1e-12, atol=1e-12)


def test_the_transposed_convolution_is_the_adjoint():
    """Whose inner products agree: <conv(x), y> = <x, transpose(y)>, one weight for both (in and out exchanged)."""
    x, y, w = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(2, 4, 3, 8)), rng.normal(size=(4, 3, 3, 3))
    options = dict(stride=(2, 1), padding=(0, 2), dilation=(1, 2))
    back = F.conv_transpose2d(y, w, **options)
    np.testing.assert_allclose(np.vdot(F.conv2d(x, w, **options), y), np.vdot(x, back))


def test_zeros_nothing_and_mirrors_as_borders():  # A4: zero, continuous and reflected padding
    x = np.array([[[1.0, 2.0, 3.0]]])
    for layer, expected in [(nn.ZeroPad1d(2), [0, 0, 1, 2, 3, 0, 0]), (nn.ReplicationPad1d(2), [1, 1, 1, 2, 3, 3, 3]),
                            (nn.ReflectionPad1d(2), [3, 2, 1, 2, 3, 2, 1])]:  # fmt: skip
        np.testing.assert_array_equal(layer(tg.tensor(x)).numpy()[0, 0], expected)


def test_overlapping_windows():  # A4
    x = np.array([[[1.0, 5.0, 2.0, 4.0, 3.0]]])
    np.testing.assert_array_equal(F.max_pool1d(x, 3, stride=1), [[[5, 5, 4]]])
    np.testing.assert_allclose(F.avg_pool1d(x, 3, stride=1), [[[8 / 3, 11 / 3, 3]]])


@pytest.mark.parametrize(("m", "s"), [(7, 3), (5, 5), (4, 7), (9, 1), (6, 4)])
def test_adaptive_windows_are_the_documented_ones(m, s):
    x = rng.normal(size=(1, 1, m))
    windows = [x[0, 0, i * m // s : -(-(i + 1) * m // s)] for i in range(s)]
    np.testing.assert_allclose(F.adaptive_avg_pool1d(x, s)[0, 0], [w.mean() for w in windows])
    np.testing.assert_array_equal(F.adaptive_max_pool1d(x, s)[0, 0], [w.max() for w in windows])


def test_ties_share_the_gradient_and_filling_up_gets_none():
    x = tg.tensor(np.zeros((1, 1, 5)), requires_grad=True)  # windows 0-1, 1-3, 3-4: of 2, 3 and 2 elements
    g = tg.grad(tg.sum(F.adaptive_max_pool1d(x, 3)), x).numpy()[0, 0]
    np.testing.assert_allclose(g, [1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2])


def test_integers_are_interpolated_as_floats_are():
    x = np.array([[[[0, 10], [20, 30]]]])
    np.testing.assert_allclose(F.upsample(x, 2, mode="bilinear"), F.upsample(x * 1.0, 2, mode="bilinear"))


def test_pixel_shuffle_moves_channels_into_blocks():
    x = np.arange(16.0).reshape(1, 4, 2, 2)
    np.testing.assert_array_equal(
        F.pixel_shuffle(x, 2)[0, 0], [[0, 4, 1, 5], [8, 12, 9, 13], [2, 6, 3, 7], [10, 14, 11, 15]]
    )


def test_a_stack_of_layers_trains(device):
    """DCGAN's shapes: noise to image to a number, and every weight gets a gradient."""
    draw = Generator(0)
    generator = nn.Sequential(
        nn.Linear(5, 8 * 4, rng=draw), nn.Unflatten(1, (8, 2, 2)), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, rng=draw), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(4, 1, 3, padding="same", padding_mode="reflect", rng=draw), nn.Tanh(),
    )  # fmt: skip
    critic = nn.Sequential(nn.Conv2d(1, 4, 4, stride=2, padding=1, rng=draw), nn.LeakyReLU(negative_slope=0.2),
                           nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1, rng=draw))  # fmt: skip
    net = nn.Sequential(generator, critic).to(device)
    z = tg.tensor(rng.normal(size=(6, 5)).astype(np.float32), device=device)
    assert generator(z).shape == (6, 1, 8, 8)
    tg.mean(net(z)).backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())


x4, x3 = np.ones((2, 4, 5, 6)), np.ones((2, 4, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(4, 2, 6)(tg.tensor(x4)), r"kernel \(6, 6\).*padded input \(5, 6\)"),
        (lambda: nn.Conv2d(4, 2, 3, dilation=3)(tg.tensor(x4)), "dilation"),
        (lambda: nn.Conv2d(3, 2, 2)(tg.tensor(x4)), "4 channels"),
        (lambda: nn.Conv2d(4, 2, 2)(tg.tensor(x3)), r"4 axes.*\(2, 4, 5\)"),
        (lambda: nn.Conv1d(4, 2, 2)(tg.tensor(x4)), "3 axes"),
        (lambda: nn.ConvTranspose2d(3, 2, 2)(tg.tensor(x4)), "4 channels"),
        (lambda: nn.ConvTranspose1d(4, 2, 1, padding=3)(tg.tensor(x3)), "padding"),
        (lambda: nn.ConvTranspose1d(4, 2, 3, stride=2, output_padding=2)(tg.tensor(x3)), "output_padding"),
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "groups=3.*in_channels 4"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), "out_channels 6"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=4), "groups=4"),
        (lambda: nn.Conv2d(4, 6, 3, groups=0), "groups"),
        (lambda: nn.Conv2d(4, 6, 0), "kernel_size"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Conv2d(4, 6, None), "kernel_size"),
        (lambda: nn.Conv2d(4, 6, 3, stride=0), "stride"),
        (lambda: nn.Conv2d(4, 6, 3, padding=-1), "padding"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "padding"),
        (lambda: nn.Conv2d(4, 6, 3, padding="same", stride=2), "stride 1"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), "padding_mode.*reflect"),
        (lambda: nn.Conv2d(-4, 6, 3), "in_channels"),
        (lambda: nn.MaxPool2d(7)(tg.tensor(x4)), "kernel"),
        (lambda: nn.MaxPool2d(2, padding=2)(tg.tensor(x4)), "half of kernel_size"),
        (lambda: nn.AvgPool1d(2)(tg.tensor(x4)), "3 axes"),
        (lambda: nn.AdaptiveAvgPool2d(0)(tg.tensor(x4)), "output_size"),
        (lambda: nn.AdaptiveMaxPool2d(2)(tg.tensor(x3)), "4 axes"),
        (lambda: nn.Upsample(scale_factor=0), "scale_factor"),
        (lambda: nn.Upsample(scale_factor=2, mode="cubic"), "mode"),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear")(tg.tensor(x3)), "bilinear"),
        (lambda: nn.PixelShuffle(3)(tg.tensor(x4)), "upscale_factor"),
        (lambda: nn.ReflectionPad2d(-1), "padding"),
        (lambda: nn.ReflectionPad2d((1, 2)), "padding"),
        (lambda: nn.ZeroPad2d(1)(tg.tensor(x3)), "4 axes"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("layer", [nn.ReflectionPad1d(5), nn.Conv1d(4, 2, 3, padding=5, padding_mode="reflect"),
                                   nn.Conv1d(4, 2, 3, padding=6, padding_mode="circular")])  # fmt: skip
def test_a_border_longer_than_the_input_is_refused(layer):
    """NumPy would go round again; PyTorch refuses, and so do we."""
    with pytest.raises(ValueError, match="padding"):
        layer(tg.tensor(x3))

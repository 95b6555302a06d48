"""Promises of `tinygen.nn.norm`: (1) to (3), statistics that are remembered, separated and differentiated through."""

from __future__ import annotations

import numpy as np
import pytest
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F
from tinygen.nn import norm

rng = np.random.default_rng(0)
IMAGE = rng.normal(2.0, 3.0, size=(4, 3, 2, 5))


def channels(x, axes):
    return x.mean(axes, keepdims=True), x.var(axes, keepdims=True)


@equation(F.batch_norm, 1)
@equation(F.instance_norm, 1)
@equation(F.layer_norm, 1)
def test_each_is_its_formula_over_its_own_axes():
    layers = [(nn.BatchNorm2d(3), (0, 2, 3)), (nn.InstanceNorm2d(3), (2, 3)), (nn.LayerNorm((3, 2, 5)), (1, 2, 3)),
              (nn.LayerNorm(5), (3,))]  # fmt: skip
    for layer, axes in layers:
        mu, var = channels(IMAGE, axes)
        np.testing.assert_allclose(layer(tg.tensor(IMAGE)).numpy(), (IMAGE - mu) / np.sqrt(var + 1e-5), rtol=1e-9)


@equation(norm._average, 2)
def test_running_averages(device):
    layer = nn.BatchNorm2d(3, momentum=0.3).to(device)
    mean, var = np.zeros(3), np.ones(3)
    for k in range(3):
        x = (IMAGE * (k + 1) + k).astype(np.float32)
        layer(tg.tensor(x, device=device))
        mean = 0.7 * mean + 0.3 * x.mean((0, 2, 3))
        var = 0.7 * var + 0.3 * x.var((0, 2, 3), ddof=1)  # unbiased
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
    assert layer.num_batches_tracked.dtype == np.int64 and layer.num_batches_tracked.item() == 3
    assert layer.running_mean.dtype == np.float32 and not layer.running_mean.requires_grad


def test_without_momentum_all_batches_count_the_same(device):
    layer = nn.BatchNorm1d(2, momentum=None).to(device)
    batches = rng.normal(size=(7, 5, 2)).astype(np.float32)
    for b in batches:
        layer(tg.tensor(b, device=device))
    np.testing.assert_allclose(layer.running_mean.numpy(), batches.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), batches.var(1, ddof=1).mean(0), rtol=1e-5)


def test_eval_uses_the_running_statistics_and_leaves_them():
    layer = nn.BatchNorm2d(3).to(dtype="float64")
    layer(tg.tensor(IMAGE))
    before = layer.eval().state_dict()
    y = layer(tg.tensor(IMAGE[:1, :, :1, :1])).numpy()  # one value per channel is enough now
    mean, var = before["running_mean"], before["running_var"]
    np.testing.assert_allclose(y[0, :, 0, 0], (IMAGE[0, :, 0, 0] - mean) / np.sqrt(var + 1e-5))
    for path, values in layer.state_dict().items():
        np.testing.assert_array_equal(values, before[path])


def test_real_and_fake_batches_have_statistics_of_their_own():
    """One after the other, each comes out with mean 0 and variance 1; together they share the mixture's statistics."""
    layer = nn.BatchNorm1d(2)
    real, fake = rng.normal(0, 1, (50, 2)).astype(np.float32), rng.normal(5, 0.1, (50, 2)).astype(np.float32)
    for x in (real, fake):
        y = layer(tg.tensor(x)).numpy()
        np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(y.var(0), 1, rtol=2e-3)
    mixed = layer(tg.concatenate([tg.tensor(real), tg.tensor(fake)])).numpy()
    assert (mixed[:50].mean(0) < -0.5).all() and (mixed[50:].mean(0) > 0.5).all()
    # nor does the gradient cross over: the fake batch's output does not depend on the real batch
    a, b = tg.tensor(real, requires_grad=True), tg.tensor(fake, requires_grad=True)
    apart = layer(a), layer(b)
    assert tg.grad(tg.sum(apart[1] ** 3), a, allow_unused=True) is None
    assert np.abs(tg.grad(tg.sum(layer(tg.concatenate([a, b]))[50:] ** 3), a).numpy()).max() > 0


def test_second_derivatives_in_train_mode():
    """By differences, through mean and variance, by input, weight and bias together."""
    w, b = rng.normal(size=3), rng.normal(size=3)
    x = rng.normal(size=(3, 3, 2, 2))
    worst = tg.check_grads(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (x, w, b), order=2)
    assert worst < 1e-8
    layer = nn.BatchNorm2d(3).to(dtype="float64")

    def layered(x, w, b):
        return nn.functional_call(layer, {"weight": w, "bias": b}, x)

    assert tg.check_grads(layered, (x, w, b), order=2) < 1e-8


def test_third_derivatives_exist():
    x = rng.normal(size=(4, 2))
    assert tg.check_grads(lambda x: F.batch_norm(x, None, None, training=True, eps=0.1), (x,), order=3) < 1e-6


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(2), nn.InstanceNorm2d(2), nn.LayerNorm((2, 2, 3)),
                                   nn.VirtualBatchNorm(2, 2)])  # fmt: skip
def test_derivatives_at_zero_variance_are_finite(layer):
    x = tg.tensor(np.full((3, 2, 2, 3), 4.0, np.float32), requires_grad=True)
    y = layer(x)
    np.testing.assert_allclose(y.numpy(), 0)
    (g,) = tg.grad(tg.sum(y * tg.tensor(rng.normal(size=y.shape).astype(np.float32))), [x], create_graph=True)
    second = tg.grad(tg.sum(g**2), x)
    assert np.isfinite(g.numpy()).all() and np.isfinite(second.numpy()).all() and np.abs(g.numpy()).max() > 0


def test_instance_norm_is_batch_norm_of_each_sample_alone():
    together = F.instance_norm(IMAGE)
    alone = np.concatenate([F.batch_norm(x[None], None, None, training=True) for x in IMAGE])
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_layer_norm_does_not_look_at_the_batch():
    layer = nn.LayerNorm((3, 2, 5))
    np.testing.assert_array_equal(layer(tg.tensor(IMAGE)).numpy()[1:2], layer(tg.tensor(IMAGE[1:2])).numpy())


@equation(F.virtual_batch_norm, 3)
def test_virtual_batch_norm_is_the_statistics_of_reference_and_sample_together():
    reference, samples = IMAGE[:3], rng.normal(size=(2, 3, 2, 5))
    y = F.virtual_batch_norm(np.concatenate([reference, samples]), 3)
    np.testing.assert_allclose(y[:3], F.batch_norm(reference, None, None, training=True), rtol=1e-10)
    for i, x in enumerate(samples):
        mu, var = channels(np.concatenate([reference, x[None]]), (0, 2, 3))
        np.testing.assert_allclose(y[3 + i], ((x - mu) / np.sqrt(var + 1e-5))[0], rtol=1e-9)


def test_virtual_batch_norm_does_not_look_at_the_rest_of_the_batch():
    layer = nn.VirtualBatchNorm(3, 2)
    first = layer(tg.tensor(IMAGE)).numpy()
    other = np.concatenate([IMAGE[:3], IMAGE[3:] * 7])
    np.testing.assert_array_equal(layer(tg.tensor(other)).numpy()[:3], first[:3])


def test_normalize_gives_length_one_and_leaves_zero():
    x = tg.tensor(np.array([[3.0, 4.0], [0.0, 0.0]]), requires_grad=True)
    y = F.normalize(x)
    np.testing.assert_allclose(y.numpy(), [[0.6, 0.8], [0, 0]])
    assert np.isfinite(tg.grad(tg.sum(y), x).numpy()).all()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm1d(3), (1, 3), "more than one"),
        (nn.BatchNorm2d(3), (1, 3, 1, 1), "more than one"),
        (nn.BatchNorm2d(3, track_running_stats=False).eval(), (1, 3, 1, 1), "more than one"),
        (nn.BatchNorm2d(3), (0, 3, 2, 2), "more than one"),
        (nn.BatchNorm2d(3), (2, 4, 2, 2), r"3 channels.*\(2, 4, 2, 2\)"),
        (nn.BatchNorm2d(3), (2, 3), r"4 axes"),
        (nn.BatchNorm1d(3), (2, 3, 2, 2), r"2 or 3 axes"),
        (nn.InstanceNorm2d(3), (2, 3, 1, 1), "more than one"),
        (nn.InstanceNorm2d(3), (0, 3, 2, 2), "must be a sample"),
        (nn.InstanceNorm2d(3), (2, 2, 4, 4), "3 channels"),
        (nn.LayerNorm((3, 2)), (2, 3), r"\(2, 3\).*\(3, 2\)"),
        (nn.VirtualBatchNorm(3, 4), (2, 3), "n_reference"),
        (nn.VirtualBatchNorm(3, 1), (2, 3), "n_reference"),
        (nn.VirtualBatchNorm(3, 2), (4, 5), "5 channels"),
    ],
)
def test_inputs_that_have_no_statistics_are_refused(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(tg.tensor(np.ones(shape, np.float32)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.BatchNorm2d(0), "num_features"),
        (lambda: nn.BatchNorm2d(2.0), "num_features"),
        (lambda: nn.BatchNorm2d(2, eps=0), "eps"),
        (lambda: nn.BatchNorm2d(2, momentum=1.5), "momentum"),
        (lambda: nn.InstanceNorm2d(2, momentum=-1), "momentum"),
        (lambda: nn.LayerNorm(()), "normalized_shape"),
        (lambda: nn.LayerNorm((2, 0)), "normalized_shape"),
        (lambda: F.batch_norm(IMAGE), "running_mean"),
        (lambda: F.instance_norm(IMAGE, use_input_stats=False), "running_mean"),
        (lambda: F.batch_norm(IMAGE, None, None, np.ones(4), training=True), r"3 channels.*\(4,\)"),
        (lambda: F.layer_norm(IMAGE, (4,)), r"\(4,\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_refused_batch_changes_no_statistics():
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError):
        layer(tg.ones((2, 4)))
    assert layer.num_batches_tracked.item() == 0
    with pytest.raises(ValueError):
        layer(tg.ones((1, 3)))
    assert layer.num_batches_tracked.item() == 0

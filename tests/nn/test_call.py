"""Promises of `functional_call`: other parameters for one call, derivatives of any order, everything put back."""

from __future__ import annotations

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 3))


def net():
    draw = Generator(0)
    layers = nn.Sequential(nn.Linear(3, 5, rng=draw), nn.Tanh(), nn.Sequential(nn.Linear(5, 1, rng=draw)))
    return layers.to(dtype="float64")


def identities(module):
    return {path: id(t) for path, t in module._entries("parameter", "buffer")}


def test_own_parameters_give_the_own_output_and_stay(device):
    module = net().to(device)
    x, before = tg.tensor(X, device=device), identities(module)
    given = {path: p * 1.0 for path, p in module.named_parameters()}
    np.testing.assert_array_equal(nn.functional_call(module, given, x).numpy(), module(x).numpy())
    assert identities(module) == before


def test_unrolled_steps_are_differentiated_through():
    """The loss after two steps of gradient descent, by the parameters before: as if the steps were written by hand."""
    module = net()
    x, t = tg.tensor(X), tg.tensor(rng.normal(size=(4, 1)))
    start = [p.numpy() for p in module.parameters()]
    paths = [path for path, _ in module.named_parameters()]

    def unrolled(forward):
        def f(*theta):
            for _ in range(2):
                slopes = tg.grad(tg.mean((forward(theta) - t) ** 2), list(theta), create_graph=True)
                theta = [p - 0.3 * g for p, g in zip(theta, slopes, strict=True)]
            return tg.mean((forward(theta) - t) ** 2)

        return f

    called = unrolled(lambda theta: nn.functional_call(module, dict(zip(paths, theta, strict=True)), x))
    written = unrolled(lambda q: tg.tanh(x @ q[0].T + q[1]) @ q[2].T + q[3])
    leaves = [[tg.tensor(a, requires_grad=True) for a in start] for _ in range(2)]
    for a, b in zip(tg.grad(called(*leaves[0]), leaves[0]), tg.grad(written(*leaves[1]), leaves[1]), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10)
    assert tg.check_grads(called, start, order=1) < 1e-7
    assert all(p.grad is None for p in module.parameters())


def test_what_is_not_given_stays_and_gets_its_gradient():
    module = net()
    bias = tg.zeros(5, dtype="float64", requires_grad=True)
    y = tg.sum(nn.functional_call(module, {"0.bias": bias}, tg.tensor(X)))
    for leaf in (bias, module[0].weight, module[2][0].bias):
        assert np.abs(tg.grad(y, leaf, retain_graph=True).numpy()).max() > 0
    assert tg.grad(y, module[0].bias, allow_unused=True) is None


def test_everything_is_back_after_an_exception():
    module = net()
    before = identities(module)
    with pytest.raises(ValueError, match="flattened"):
        nn.functional_call(module, {"0.weight": tg.ones((5, 3))}, tg.ones((2, 7)))
    assert identities(module) == before


def test_a_call_within_a_call():
    inner = net()

    class Outer(nn.Module):
        def __init__(self):
            self.inner = inner

        def forward(self, x):
            return nn.functional_call(self.inner, {"0.bias": tg.ones(5, dtype="float64")}, x) + self.inner(x)

    outer, x = Outer(), tg.tensor(X)
    before = identities(outer)
    y = nn.functional_call(outer, {"inner.0.bias": tg.zeros(5, dtype="float64")}, x).numpy()
    ones, zeros = (nn.functional_call(inner, {"0.bias": b}, x).numpy()
                   for b in (tg.ones(5, dtype="float64"), tg.zeros(5, dtype="float64")))  # fmt: skip
    np.testing.assert_allclose(y, ones + zeros)
    assert identities(outer) == before


def test_a_shared_parameter_is_replaced_wherever_it_stands():
    layer = nn.Linear(2, 2, rng=Generator(0))
    module, x = nn.Sequential(layer, layer, nn.Sequential(layer)), tg.ones((1, 2))
    w = tg.tensor(np.eye(2, dtype=np.float32) * 2, requires_grad=True)
    given = {"0.weight": w, "0.bias": tg.zeros(2)}
    assert list(dict(module.named_parameters())) == list(given)
    y = nn.functional_call(module, given, x)
    assert y.tolist() == [[8, 8]]
    assert nn.functional_call(module, {**given, "1.weight": w}, x).tolist() == [[8, 8]]
    with pytest.raises(ValueError, match="shared"):
        nn.functional_call(module, {**given, "1.weight": w * 1}, x)


def test_buffers_can_be_given_and_are_updated_there():
    layer = nn.BatchNorm1d(3)
    mine = {"running_mean": tg.zeros(3), "running_var": tg.ones(3), "num_batches_tracked": tg.tensor(np.array(0))}
    nn.functional_call(layer, mine, tg.tensor(X.astype(np.float32)))
    assert mine["num_batches_tracked"].item() == 1 and mine["running_mean"].numpy().any()
    assert layer.num_batches_tracked.item() == 0 and not layer.running_mean.numpy().any()


def test_options_are_passed_on():
    layer = nn.RNN(3, 2, rng=Generator(0))
    x = tg.ones((4, 2, 3))
    out, _ = nn.functional_call(layer, {}, x, lengths=[4, 2])
    assert not out.numpy()[2:, 1].any()


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"0.weigth": tg.ones((5, 3))}, ValueError, "'0.weigth'.*0.weight"),
        ({"0": tg.ones(1)}, ValueError, "'0'"),
        ({"0.weight": tg.ones((3, 5))}, ValueError, r"\(3, 5\).*\(5, 3\)"),
        ({"0.weight": np.ones((5, 3))}, TypeError, "ndarray"),
    ],
)
def test_what_does_not_fit_is_refused(params, error, message):
    module = net()
    before = identities(module)
    with pytest.raises(error, match=message):
        nn.functional_call(module, params, tg.tensor(X))
    assert identities(module) == before

"""Promises of `tinygen.nn.module`: the tree of parameters, and state that moves whole or not at all."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.autograd import GraphError
from tinygen.backend.random import Generator


class Block(nn.Module):
    def __init__(self, rng):
        self.linear = nn.Linear(3, 2, rng=rng)
        self.scale = tg.tensor(np.ones(2, np.float32), requires_grad=True)
        self.constant = tg.ones(2)
        self.register_buffer("seen", tg.tensor(np.array(0)))
        self.register_buffer("nothing", None)

    def forward(self, x):
        return self.linear(x) * self.scale


class Net(nn.Module):
    def __init__(self, rng):
        self.first = Block(rng)
        self.rest = nn.ModuleList([nn.Linear(2, 2, bias=False, rng=rng), nn.Tanh()])

    def forward(self, x):
        return self.rest[1](self.rest[0](self.first(x)))


@pytest.fixture
def net():
    return Net(Generator(0))


PATHS = ["first.scale", "first.linear.weight", "first.linear.bias", "rest.0.weight"]


def test_parameters_are_found_by_path_and_carry_it_as_name(net):
    assert [path for path, _ in net.named_parameters()] == PATHS
    assert [p.name for p in net.parameters()] == PATHS
    assert [path for path, _ in net.named_buffers()] == ["first.seen"]
    assert [path for path, _ in net.named_modules()] == ["", "first", "first.linear", "rest", "rest.0", "rest.1"]
    assert [type(m) for m in net.children()] == [Block, nn.ModuleList]


def test_a_name_given_by_the_user_stays():
    leaf = tg.tensor([1.0], requires_grad=True)
    leaf.name = "theta"
    m = nn.Module()
    m.p = leaf
    outer = nn.Sequential(m)
    assert [(path, p.name) for path, p in outer.named_parameters()] == [("0.p", "theta")]


def test_shared_parameters_come_once_but_are_saved_under_both_paths():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert len(list(net.parameters())) == 2 and len(list(net.modules())) == 2
    assert set(net.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    net.load_state_dict(net.state_dict())


def test_frozen_parameters_stay_parameters(net):
    net.requires_grad_(False)
    assert [path for path, _ in net.named_parameters()] == PATHS
    assert not net(tg.ones((1, 3))).requires_grad
    net.zero_grad()
    net.requires_grad_()
    assert [p.name for p in net.parameters()] == PATHS


def test_train_and_eval_reach_every_module(net):
    assert all(m.training for m in net.modules())
    net.eval()
    assert not any(m.training for m in net.modules())


def test_state_dict_holds_copies_and_loads_into_the_same_tensors(net):
    other = Net(Generator(1))
    before, state = list(other.parameters()), net.state_dict()
    other.load_state_dict(state)
    x = Generator(2).normal((4, 3))
    np.testing.assert_array_equal(other(x).numpy(), net(x).numpy())
    assert all(a is b for a, b in zip(before, other.parameters(), strict=True))
    state["first.scale"][:] = 7
    assert net.first.scale.numpy().tolist() == [1, 1]


def test_load_state_dict_lists_every_problem_and_changes_nothing(net):
    state = {path: array + 1 for path, array in net.state_dict().items()}
    del state["first.scale"]
    state["rest.0.bias"] = np.ones(2)
    state["first.linear.bias"] = np.ones((2, 1))
    before = net.state_dict()
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    misshapen = "first.linear.bias has shape (2, 1), here (2,)"
    for part in ("first.scale is missing", "rest.0.bias is unexpected", misshapen):
        assert part in str(error.value)
    for path, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_load_state_dict_converts_everything_before_it_changes_anything(net):
    before = net.state_dict()
    state = {path: array + 1 for path, array in before.items()}
    last = list(state)[-1]
    state[last] = np.full(state[last].shape, "a")
    with pytest.raises((TypeError, ValueError)):
        net.load_state_dict(state)
    for path, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_to_keeps_the_tensors_and_makes_old_graphs_unusable(net):
    before = list(net.parameters())
    loss = tg.sum(net(tg.ones((2, 3))) ** 2)
    tg.sum(net(tg.ones((2, 3)))).backward()
    net.to(dtype="float64")
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {np.dtype("float64")}
    assert net.first.seen.dtype == np.int64
    with pytest.raises(GraphError):
        tg.grad(loss, net.first.linear.bias)
    new = tg.sum(net(tg.ones((2, 3), dtype="float64")))
    assert tg.grad(new, before[0]).dtype == np.float64


@pytest.mark.parametrize(
    ("name", "value"), [("scale", np.ones(2)), ("linear", 3.0), ("seen", 3), ("scale", tg.ones(2))]
)
def test_entries_are_not_overwritten_by_something_else(net, name, value):
    with pytest.raises(TypeError, match=name):
        setattr(net.first, name, value)


def test_deleted_and_emptied_entries_are_no_longer_found(net):
    net.first.scale = None
    del net.first.linear
    assert [path for path, _ in net.named_parameters()] == ["rest.0.weight"]


def test_sequential_and_list_refuse_functions():
    with pytest.raises(TypeError, match="entry 1"):
        nn.Sequential(nn.Tanh(), np.tanh)


def test_repr_shows_shapes_and_counts(net):
    text = repr(net)
    assert text.startswith("Net()  # 14 parameters")
    assert "\n    linear: Linear(3, 2)  # 8 parameters\n      weight: (2, 3)" in text

"""Promise: layers are PyTorch's, in names, states, values, and derivatives of order 1 and 2 (float64, to 1e-6)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.nn import functional as F

from . import zoo

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")


def torch_grad(total, inputs):
    return list(torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True))


def theirs_of(entry: zoo.Entry):
    """PyTorch's layer, from the same line."""
    return getattr(torch.nn, entry.name)(*entry.args, **entry.options).double()


def to_torch(state: dict) -> dict:
    return {path: torch.from_numpy(np.array(values)) for path, values in state.items()}


def from_torch(state: dict) -> dict:
    return {path: values.numpy() for path, values in state.items()}


def derivatives(entry, ours, theirs, **call):
    """Outputs and derivatives of both sides, as two lists of arrays."""
    raw = entry.input()
    x, y = tg.tensor(raw, requires_grad=raw.dtype.kind == "f"), torch.from_numpy(raw).clone()
    y.requires_grad_(y.is_floating_point())
    out, expected = zoo.outputs(ours(x)), zoo.outputs(theirs(y))
    leaves = [*([x] if x.requires_grad else []), *ours.parameters()]
    theirs_by_name = dict(theirs.named_parameters())
    their_leaves = [*([y] if y.requires_grad else []), *[theirs_by_name[n] for n, _ in ours.named_parameters()]]
    mine = zoo.two_orders(zoo.our_grad, out, leaves, tg.tensor)
    reference = zoo.two_orders(torch_grad, expected, their_leaves, torch.from_numpy)
    return (
        [o.numpy() for o in out] + zoo.arrays(mine, 2 * leaves),
        [o.detach().numpy() for o in expected] + zoo.arrays(reference, 2 * their_leaves),
    )


def worst(entry: zoo.Entry) -> float:
    """The worst deviation from PyTorch: training and not, values and two orders, and the state afterwards."""
    ours = zoo.draw_state(entry.ours().to(dtype="float64"))
    theirs = theirs_of(entry)
    theirs.load_state_dict(to_torch(ours.state_dict()), strict=True)  # ours -> theirs
    found = 0.0
    for training in (True, True, False):  # twice, so that running statistics have a past
        ours.train(training)
        theirs.train(training)
        if not (training and entry.name == "Dropout" and ours.p):
            found = max(found, zoo.deviation(*derivatives(entry, ours, theirs)))
        mine, state = ours.state_dict(), from_torch(theirs.state_dict())
        found = max(found, zoo.deviation([mine[k] for k in state], list(state.values())))
    return found


@pytest.mark.parametrize("entry", zoo.SHARED, ids=str)
def test_values_and_derivatives_of_two_orders(entry):
    assert worst(entry) < 1e-6


@pytest.mark.parametrize("entry", zoo.SHARED, ids=str)
def test_a_state_moves_both_ways(entry):
    """Names, shapes, integer counters and values; then both compute the same."""
    ours, theirs = entry.ours().eval(), theirs_of(entry).float().eval()
    mine, state = ours.state_dict(), from_torch(theirs.state_dict())
    assert {k: (v.shape, v.dtype) for k, v in mine.items()} == {k: (v.shape, v.dtype) for k, v in state.items()}
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    x = entry.input(dtype="float32")

    def same():
        for a, b in zip(zoo.outputs(ours(tg.tensor(x))), zoo.outputs(theirs(torch.from_numpy(x))), strict=True):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)

    ours.load_state_dict(state)  # theirs -> ours
    same()
    theirs.load_state_dict(to_torch(zoo.draw_state(ours, 3).state_dict()), strict=True)  # ours -> theirs
    same()


def test_a_whole_network_moves_both_ways():
    """A discriminator with its paths, trained for a step on one side and continued on the other."""

    def layers(lib):
        head = lib.Sequential(lib.Flatten(), lib.Linear(4 * 4 * 4, 3), lib.LayerNorm(3))
        body = [lib.Conv2d(1, 4, 4, stride=2, padding=1), lib.BatchNorm2d(4), lib.LeakyReLU(negative_slope=0.2)]
        return lib.Sequential(*body, head)

    ours, theirs = layers(zoo.nn), layers(torch.nn)
    x = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    theirs(torch.from_numpy(x))  # moves the running statistics
    ours.load_state_dict(from_torch(theirs.state_dict()))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours(tg.tensor(x + 1))
    theirs.load_state_dict(to_torch(ours.state_dict()), strict=True)
    assert theirs[1].num_batches_tracked == 2
    for a, b in ((ours, theirs), (ours.eval(), theirs.eval())):
        np.testing.assert_allclose(
            a(tg.tensor(x)).numpy(), b(torch.from_numpy(x)).detach().numpy(), rtol=2e-4, atol=2e-5
        )


STARTS = {name: (60, 90) for name in ("Linear", "Embedding", "RNN", "LSTM", "GRU")}
STARTS |= {name: (24, 40, 5) for name in ("Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d")}
STARTS |= {name: (500,) for name in ("BatchNorm2d", "LayerNorm", "PReLU")}


@pytest.mark.parametrize(("name", "sizes"), STARTS.items())
def test_initial_distributions_are_pytorchs(name, sizes):
    """Same range, mean and standard deviation, parameter by parameter, in layers with thousands of weights."""
    entry = zoo.entry(name, *sizes, shape=())
    torch.manual_seed(0)
    theirs = theirs_of(entry).state_dict()
    for path, mine in entry.ours().state_dict().items():
        a, b = mine.astype(float).ravel(), theirs[path].numpy().ravel()
        scale = max(b.std(), 1e-12) / np.sqrt(a.size) * 6
        assert abs(a.mean() - b.mean()) < 1e-12 + 1.5 * scale, path
        assert abs(a.std() - b.std()) < 1e-12 + 1.5 * scale, path
        if name not in ("Embedding",):
            bound = np.abs(b).max()
            assert np.abs(a).max() <= bound * (1 + 30 / a.size) + 1e-9, path


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_unequal_lengths_and_initial_states_are_packed_sequences(name, bidirectional):
    """`lengths`, unsorted, is `pack_padded_sequence`; values and two orders by input, state and weights."""
    entry = zoo.entry(name, 3, 2, 2, bidirectional=bidirectional, shape=(5, 4, 3))
    ours = zoo.draw_state(entry.ours().to(dtype="float64"))
    theirs = theirs_of(entry)
    theirs.load_state_dict(to_torch(ours.state_dict()))
    raw = [entry.input(), *np.random.default_rng(1).normal(size=(1 + (name == "LSTM"), 2 + 2 * bidirectional, 4, 2))]
    lengths = [2, 5, 1, 4]
    mine = [tg.tensor(a, requires_grad=True) for a in raw]
    reference = [torch.from_numpy(a).requires_grad_() for a in raw]
    out, state = ours(mine[0], tuple(mine[1:]) if name == "LSTM" else mine[1], lengths=lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(reference[0], torch.tensor(lengths), enforce_sorted=False)
    expected, their_state = theirs(packed, tuple(reference[1:]) if name == "LSTM" else reference[1])
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected)
    outs, their_outs = zoo.outputs((out, state)), zoo.outputs((expected, their_state))
    leaves, their_leaves = [*mine, *ours.parameters()], [*reference, *theirs.parameters()]
    a = [o.numpy() for o in outs] + zoo.arrays(zoo.two_orders(zoo.our_grad, outs, leaves, tg.tensor), 2 * leaves)
    b = zoo.two_orders(torch_grad, their_outs, their_leaves, torch.from_numpy)
    b = [o.detach().numpy() for o in their_outs] + zoo.arrays(b, 2 * their_leaves)
    assert zoo.deviation(a, b) < 1e-6


def test_batch_norms_second_derivative_in_train_mode():
    """Through mean and variance, mixed with weight and bias: a saved statistic taken for a constant fails here."""
    entry = zoo.entry("BatchNorm2d", 3, shape=(4, 3, 2, 2))
    ours = zoo.draw_state(entry.ours().to(dtype="float64"))
    theirs = theirs_of(entry)
    theirs.load_state_dict(to_torch(ours.state_dict()))
    mine, reference = derivatives(entry, ours, theirs)
    second = slice(1 + 3, 1 + 6)  # output; input, weight, bias at order 1; the same at order 2
    assert zoo.deviation(mine[second], reference[second]) < 1e-9
    assert min(np.abs(r).max() for r in reference[4:6]) > 0.1  # there is something to compare


sizes = st.integers(1, 3)


@st.composite
def geometries(draw):
    """Options of a convolution, and shapes that may or may not fit."""
    n = draw(st.integers(1, 2))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    groups = draw(sizes)
    return dict(n=n, batch=draw(sizes), groups=groups, i=groups * draw(sizes), o=groups * draw(sizes),
                space=each(1, 8), kernel=each(1, 4), stride=each(1, 3), padding=each(0, 3), dilation=each(1, 3),
                extra=each(0, 2), bias=draw(st.booleans()))  # fmt: skip


def both(name, raw, options):
    """A function on both sides: values and two orders; or, where PyTorch refuses, that we do too."""
    mine, reference = (
        [tg.tensor(a, requires_grad=True) for a in raw],
        [torch.from_numpy(a).requires_grad_() for a in raw],
    )
    try:
        expected = getattr(torch.nn.functional, name)(*reference, **options)
    except RuntimeError:
        with pytest.raises(ValueError):
            getattr(F, name)(*mine, **options)
        return
    out = getattr(F, name)(*mine, **options)
    a = [out.numpy(), *zoo.arrays(zoo.two_orders(zoo.our_grad, [out], mine, tg.tensor), 2 * mine)]
    b = zoo.two_orders(torch_grad, [expected], reference, torch.from_numpy)
    assert zoo.deviation(a, [expected.detach().numpy(), *zoo.arrays(b, 2 * reference)]) < 1e-6


@given(geometries(), st.integers(0, 2**32 - 1))
def test_convolution_on_any_geometry(g, seed):
    rng = np.random.default_rng(seed)
    raw = [rng.normal(size=(g["batch"], g["i"], *g["space"])),
           rng.normal(size=(g["o"], g["i"] // g["groups"], *g["kernel"])), rng.normal(size=g["o"])]  # fmt: skip
    options = {k: g[k] for k in ("stride", "padding", "dilation", "groups")}
    both(f"conv{g['n']}d", raw if g["bias"] else raw[:2], options)


@given(geometries(), st.integers(0, 2**32 - 1))
def test_transposed_convolution_on_any_geometry(g, seed):
    rng = np.random.default_rng(seed)
    raw = [rng.normal(size=(g["batch"], g["i"], *g["space"])),
           rng.normal(size=(g["i"], g["o"] // g["groups"], *g["kernel"])), rng.normal(size=g["o"])]  # fmt: skip
    options = {k: g[k] for k in ("stride", "padding", "dilation", "groups")} | {"output_padding": g["extra"]}
    both(f"conv_transpose{g['n']}d", raw if g["bias"] else raw[:2], options)


@given(geometries(), st.integers(0, 2**32 - 1), st.booleans())
def test_pooling_on_any_geometry(g, seed, largest):
    x = np.random.default_rng(seed).normal(size=(g["batch"], g["i"], *g["space"]))
    padding = tuple(min(p, k // 2) for p, k in zip(g["padding"], g["kernel"], strict=True))  # no more is allowed
    options = {"stride": g["stride"], "padding": padding} | ({"dilation": g["dilation"]} if largest else {})
    both(f"{'max' if largest else 'avg'}_pool{g['n']}d", [x], {"kernel_size": g["kernel"], **options})


@given(geometries(), st.integers(0, 2**32 - 1), st.booleans())
def test_adaptive_pooling_on_any_size(g, seed, largest):
    x = np.random.default_rng(seed).normal(size=(g["batch"], g["i"], *g["space"]))
    both(f"adaptive_{'max' if largest else 'avg'}_pool{g['n']}d", [x], {"output_size": g["kernel"]})


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_norms_on_any_shape(shape, seed):
    rng = np.random.default_rng(seed)
    x, w, b = rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])

    def ours(name, *args, **options):
        leaves = [tg.tensor(a, requires_grad=True) for a in (x, w, b)]
        out = getattr(F, name)(leaves[0], *args, *leaves[1:], **options)
        return [out.numpy(), *zoo.arrays(zoo.two_orders(zoo.our_grad, [out], leaves, tg.tensor), 2 * leaves)]

    def theirs(name, *args, **options):
        leaves = [torch.from_numpy(a).requires_grad_() for a in (x, w, b)]
        out = getattr(torch.nn.functional, name)(leaves[0], *args, *leaves[1:], **options)
        found = zoo.two_orders(torch_grad, [out], leaves, torch.from_numpy)
        return [out.detach().numpy(), *zoo.arrays(found, 2 * leaves)]

    assume(x.size > shape[1])
    options = {"training": True, "eps": 0.1}
    assert zoo.deviation(ours("batch_norm", None, None, **options), theirs("batch_norm", None, None, **options)) < 1e-6
    if np.prod(shape[2:]) > 1:
        a, b_ = (f("instance_norm", None, None, eps=0.1) for f in (ours, theirs))
        assert zoo.deviation(a, b_) < 1e-6
    x, w, b = x.reshape(-1, shape[1]), w, b
    a, b_ = (f("layer_norm", (shape[1],), eps=0.1) for f in (ours, theirs))
    assert zoo.deviation(a, b_) < 1e-6


@pytest.mark.parametrize("p", [1, 2, 3.0])
def test_normalize(p):
    both("normalize", [np.random.default_rng(0).normal(size=(3, 4, 2))], {"p": p})

"""Promises of `tinygen.nn.recurrent`: the cells are (1) to (3), padding counts for nothing, states have one shape."""

from __future__ import annotations

import numpy as np
import pytest
from equations import equation
from scipy.special import expit as sigmoid

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.nn.recurrent import unstack

from . import zoo

rng = np.random.default_rng(0)
KINDS = [nn.RNN, nn.LSTM, nn.GRU]


def step(kind, p, x, h, c):
    """The documents' cells, written out for one sequence: (1), (2), (3)."""
    a, b = p["weight_ih_l0"] @ x + p["bias_ih_l0"], p["weight_hh_l0"] @ h + p["bias_hh_l0"]
    n = len(h)
    if kind is nn.RNN:
        return np.tanh(a + b), c
    if kind is nn.LSTM:
        i, f, g, o = (a + b)[:n], (a + b)[n : 2 * n], (a + b)[2 * n : 3 * n], (a + b)[3 * n :]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    r, z = sigmoid(a[:n] + b[:n]), sigmoid(a[n : 2 * n] + b[n : 2 * n])
    return (1 - z) * np.tanh(a[2 * n :] + r * b[2 * n :]) + z * h, c


def check_cell(kind, device):
    """A layer against the loop over `step`: all steps at once, and, as it does where lengths differ, cell by cell."""
    layer = zoo.draw_state(kind(3, 2, rng=Generator(0)).to(device))
    p, x = layer.state_dict(), rng.normal(size=(6, 1, 3)).astype(np.float32)
    h, c, expected = np.zeros(2), np.zeros(2), []
    for x_t in x[:, 0]:
        h, c = step(kind, p, x_t, h, c)
        expected.append(h)
    for lengths in (None, np.array([6])):
        output, state = layer(tg.tensor(x, device=device), lengths=lengths)
        np.testing.assert_allclose(output.numpy()[:, 0], expected, rtol=1e-4, atol=1e-6)
        last = state if kind is nn.LSTM else (state,)
        for s, e in zip(last, (h, c), strict=False):
            np.testing.assert_allclose(s.numpy()[0, 0], e, rtol=1e-4, atol=1e-6)


@equation(nn.RNN.cell, 1)
def test_the_simple_cell_is_its_formula(device):
    check_cell(nn.RNN, device)


@equation(nn.LSTM.cell, 2)
def test_the_lstm_is_its_formula(device):
    check_cell(nn.LSTM, device)


@equation(nn.GRU.cell, 3)
def test_the_gru_is_its_formula(device):
    check_cell(nn.GRU, device)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_padded_sequence_is_the_sequence_alone(kind, bidirectional, device):
    """Whatever stands behind its end, and whatever the order of the lengths."""
    layer = kind(3, 2, 2, bidirectional=bidirectional, batch_first=True, rng=Generator(0)).to(device)
    x, lengths = rng.normal(size=(4, 5, 3)).astype(np.float32), [2, 5, 1, 3]
    for i, n in enumerate(lengths):
        x[i, n:] = 1e3
    output, state = layer(tg.tensor(x, device=device), lengths=np.array(lengths))
    assert output.shape == (4, 5, 2 + 2 * bidirectional)
    for i, n in enumerate(lengths):
        alone, last = layer(tg.tensor(x[i : i + 1, :n], device=device))
        np.testing.assert_allclose(output.numpy()[i, :n], alone.numpy()[0], rtol=1e-5, atol=1e-6)
        assert not output.numpy()[i, n:].any()
        for a, b in zip(zoo.outputs(state), zoo.outputs(last), strict=True):
            np.testing.assert_allclose(a.numpy()[:, i], b.numpy()[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_back_is_the_way_there_on_the_reversed_sequence(kind):
    both, there = kind(3, 2, bidirectional=True, rng=Generator(0)), kind(3, 2, rng=Generator(1))
    state, x = both.state_dict(), rng.normal(size=(5, 2, 3)).astype(np.float32)
    there.load_state_dict({path: state[path + "_reverse"] for path in there.state_dict()})
    output, end = both(tg.tensor(x))
    alone, last = there(tg.tensor(x[::-1].copy()))
    np.testing.assert_allclose(output.numpy()[:, :, 2:], alone.numpy()[::-1], rtol=1e-6)
    for a, b in zip(zoo.outputs(end), zoo.outputs(last), strict=True):
        np.testing.assert_allclose(a.numpy()[1], b.numpy()[0], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_gradient(kind):
    layer = kind(3, 2, rng=Generator(0))
    x = tg.tensor(rng.normal(size=(5, 2, 3)), requires_grad=True)
    g = tg.grad(tg.sum(layer(x, lengths=[2, 5])[0] ** 2), x).numpy()
    assert not g[2:, 0].any() and g[:2, 0].any() and g[4, 1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_with_the_state_handed_on_are_the_whole(kind):
    layer = kind(3, 2, 2, rng=Generator(0)).to(dtype="float64")
    x = tg.tensor(rng.normal(size=(6, 2, 3)))
    whole, end = layer(x)
    first, state = layer(x[:4])
    second, last = layer(x[4:], state)
    np.testing.assert_allclose(np.concatenate([first.numpy(), second.numpy()]), whole.numpy(), rtol=1e-12)
    for a, b in zip(zoo.outputs(end), zoo.outputs(last), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_dropout_lies_between_layers_and_stops_after_training():
    one, two = nn.GRU(3, 4, dropout=0.5, rng=Generator(0)), nn.GRU(3, 4, 2, dropout=0.5, rng=Generator(0))
    x = tg.tensor(rng.normal(size=(3, 2, 3)))
    np.testing.assert_array_equal(one(x)[0].numpy(), one(x)[0].numpy())  # no layer to drop in between
    assert not np.array_equal(two(x)[0].numpy(), two(x)[0].numpy())
    state = two.rng.state
    first = two(x)[0].numpy()
    two.rng.state = state
    np.testing.assert_array_equal(two(x)[0].numpy(), first)
    two.eval()
    np.testing.assert_array_equal(two(x)[0].numpy(), two(x)[0].numpy())


def test_unstack_gives_the_entries_and_their_gradients(device):
    x = tg.tensor(rng.normal(size=(7, 2, 3)), requires_grad=True, device=device)
    parts = unstack(x)
    for part, expected in zip(parts, x.numpy(), strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)
    weights = [float(k) for k in range(7)]
    total = sum((tg.sum(w * p) for w, p in zip(weights, parts, strict=True)), tg.zeros((), device=device))
    np.testing.assert_array_equal(tg.grad(total, x).numpy()[:, 0, 0], weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "shape", "call", "message"),
    [
        ({}, (5, 2, 4), {}, r"\(t, n, 3\).*\(5, 2, 4\)"),
        ({}, (5, 3), {}, r"got \(5, 3\)"),
        ({}, (5, 0, 3), {}, "one sequence"),
        ({}, (0, 2, 3), {}, "one step"),
        ({"batch_first": True}, (5, 2, 4), {}, r"\(n, t, 3\).*\(5, 2, 4\)"),
        ({}, (5, 2, 3), {"lengths": [5, 6]}, "from 1 to 5.*one for each"),
        ({}, (5, 2, 3), {"lengths": [0, 5]}, "from 1 to 5"),
        ({}, (5, 2, 3), {"lengths": [5]}, "2 integers"),
        ({}, (5, 2, 3), {"lengths": [5.0, 2.0]}, "integers"),
        ({}, (5, 2, 3), {"state": (1, 3, 2)}, r"state.*\(1, 2, 2\).*\(1, 3, 2\)"),
        ({"bidirectional": True}, (5, 2, 3), {"state": (1, 2, 2)}, r"state.*\(2, 2, 2\).*\(1, 2, 2\)"),
        ({"num_layers": 2}, (5, 2, 3), {"state": (2, 2, 3)}, r"state.*\(2, 2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(kind, options, shape, call, message):
    layer = kind(3, 2, **options)
    if "state" in call:
        state = tg.zeros(call["state"])
        call = {"state": (state, state) if kind is nn.LSTM else state}
    with pytest.raises(ValueError, match=message):
        layer(tg.zeros(shape), **call)


def test_an_lstm_wants_both_states():
    with pytest.raises(ValueError, match=r"pair \(h, c\)"):
        nn.LSTM(3, 2)(tg.zeros((5, 2, 3)), tg.zeros((1, 2, 2)))


@pytest.mark.parametrize("build", [lambda: nn.RNN(3, 2, nonlinearity="sigmoid"), lambda: nn.LSTM(3, 2, 0),
                                   lambda: nn.GRU(3, 2, dropout=1.5), lambda: nn.GRU(3, -2)])  # fmt: skip
def test_options_that_make_no_sense_are_refused(build):
    with pytest.raises(ValueError):
        build()

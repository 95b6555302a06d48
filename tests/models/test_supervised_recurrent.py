"""Recurrent networks: each cell by scalar loops, nn's layers and PyTorch's, what is forgotten, and the model."""

import doctest
import importlib

import numpy as np
import pytest
import scipy.special
from equations import equation

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays
from tinygen.models.supervised import SequenceClassifier
from tinygen.models.supervised import recurrent as chapter
from tinygen.runs import Run

demo = importlib.import_module("demos.inputs")
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 5, 3)), np.arange(20) % 3
KINDS = list(chapter.LAYERS)


def net(seed=0, device="cpu", kind="lstm", **options):
    rng = tg.random.Generator(seed, device=device)
    return SequenceClassifier((5, 3), 3, kind=kind, hidden=4, **options, rng=rng)


def quiet():
    return Run(quiet=True)


def first_state(kind, n, m):
    """Zeros: h, and c of an LSTM."""
    return tuple([np.zeros((n, m))] * (2 if kind == "lstm" else 1))


# ---- the equations ------------------------------------------------------------------------------------------------


@equation(chapter.rnn_step, 1)
def test_the_simple_cell_number_by_number(device):
    check_steps("rnn", device)


@equation(chapter.lstm_step, 4)
def test_the_lstm_number_by_number(device):
    check_steps("lstm", device)


@equation(chapter.gru_step, 6)
def test_the_gru_number_by_number(device):
    check_steps("gru", device)


def check_steps(kind, device):
    """All states against scalar loops, and against nn's layer."""
    layer = demo.recurrent_layers()[kind]
    p = demo.arrays(chapter.named(layer))
    there = {gate: [arrays.asarray(w, device=device) for w in parts] for gate, parts in p.items()}
    state = tuple([arrays.asarray(s, device=device) for s in first_state(kind, 20, 2)])
    states = chapter.unrolled(getattr(chapter, f"{kind}_step"), arrays.asarray(X, device=device), state, there)
    found = np.stack([arrays.to_numpy(s[0]) for s in states], 1)
    np.testing.assert_allclose(found[:3], demo.states_by_loops(kind, X[:3], p), rtol=1e-10)
    np.testing.assert_allclose(found, layer(tg.tensor(X))[0].numpy(), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_both_orders_of_a_step(kind):
    layer, state = demo.recurrent_layers()[kind], [rng.normal(size=(2, 2)) for _ in first_state(kind, 2, 2)]
    p = demo.arrays(chapter.named(layer))

    def step(x, *values):
        weights = iter(values[len(state) :])
        named = {gate: [next(weights) for _ in parts] for gate, parts in p.items()}
        return chapter.STEPS[kind](x, values[: len(state)], named)

    tg.check_grads(step, (X[:2, 0], *state, *[w for parts in p.values() for w in parts]))


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_pytorchs(kind):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    layer = demo.recurrent_layers()[kind]
    theirs = getattr(torch.nn, demo.KINDS[kind])(3, 2, batch_first=True).double()
    theirs.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in layer.state_dict().items()})
    with torch.no_grad():
        expected = theirs(torch.from_numpy(X))[0].numpy()
    p = demo.arrays(chapter.named(layer))
    states = chapter.unrolled(chapter.STEPS[kind], X, first_state(kind, 20, 2), p)
    np.testing.assert_allclose(np.stack([s[0] for s in states], 1), expected, atol=1e-5)


@equation(chapter.memory, 3)
def test_what_is_left_of_a_state_is_the_product_of_the_slopes(device):
    p = demo.arrays(chapter.named(demo.recurrent_layers()["rnn"]))

    def last(h):
        state = (tg.expand_dims(h, 0),)
        for step in X[:1].transpose(1, 0, 2):
            state = chapter.rnn_step(step, state, p)
        return state[0][0]

    h = rng.normal(size=2)
    states = np.stack([s[0][0] for s in chapter.unrolled(chapter.rnn_step, X[:1], (h[None],), p)])
    U = p["h"][1]
    found = arrays.to_numpy(chapter.memory(*(arrays.asarray(a, device=device) for a in (states, U))))
    np.testing.assert_allclose(found, tg.jacobian(last, h), rtol=1e-9)
    assert np.linalg.norm(found, 2) <= np.linalg.norm(U, 2) ** 5  # the bound


@equation(chapter.cell_memory, 5)
def test_along_the_cell_only_the_forget_gates_count(device):
    """c_t = f_t c_{t-1} + i_t g_t with given gates, by the engine."""
    f, written, c = rng.uniform(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=2)

    def last(c):
        for f_t, w_t in zip(f, written, strict=True):
            c = f_t * c + w_t
        return c

    found = arrays.to_numpy(chapter.cell_memory(arrays.asarray(f, device=device)))
    np.testing.assert_allclose(np.diag(found), tg.jacobian(last, c), rtol=1e-12)


def test_an_open_gate_remembers_for_long_and_a_simple_cell_does_not():
    U = 0.5 * np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert np.linalg.norm(chapter.memory(np.zeros((100, 3)), U), 2) == pytest.approx(0.5**100)
    assert chapter.cell_memory(np.full((100, 3), 0.999)).min() > 0.9


@equation(SequenceClassifier.forward, 2)
@equation(SequenceClassifier.along, 2)
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_a_softmax_of_the_last_state_and_can_be_asked_for_earlier(kind):
    model = net(kind=kind).to(dtype="float64")
    h = np.asarray(model.layer(tg.tensor(X))[0].numpy())
    logits = h @ model.readout.weight.numpy().T + model.readout.bias.numpy()
    np.testing.assert_allclose(model(tg.tensor(X)).numpy(), logits[:, -1], rtol=1e-10)
    np.testing.assert_allclose(model.along(X), scipy.special.softmax(logits, 2), rtol=1e-10)
    np.testing.assert_allclose(model.along(X)[:, -1], np.exp(model.predict_log_proba(X)), rtol=1e-10)


# ---- the model ----------------------------------------------------------------------------------------------------


def test_what_is_read_later_does_not_change_what_was_believed_before():
    model, other = net(), X.copy()
    other[:, 3:] += 1
    before, after = model.along(X), model.along(other)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


def test_sensitivity_is_the_length_of_the_slope():
    model, h = net().to(dtype="float64"), 1e-6
    found = model.sensitivity(X[:2], Y[:2])
    assert found.shape == (2, 5)
    slope = np.zeros((5, 3))
    for t, k in np.ndindex(5, 3):
        up, down = X[:1].copy(), X[:1].copy()
        up[0, t, k] += h
        down[0, t, k] -= h
        slope[t, k] = (model.predict_log_proba(up) - model.predict_log_proba(down))[0, Y[0]] / (2 * h)
    np.testing.assert_allclose(found[0], np.linalg.norm(slope, axis=1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_it_learns_what_only_the_first_step_tells(kind):
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(200, 8, 1)).astype(np.float32), draw.integers(0, 2, 200)
    x[:, 0, 0] = 2 * y - 1
    model = SequenceClassifier((8, 1), 2, kind=kind, hidden=8, lr=3e-2, rng=tg.random.Generator(0))
    assert model.fit(x, y, steps=80, batch_size=50, run=quiet()).score(x, y) > 0.95


def test_a_long_gradient_is_shortened():
    model = net(max_norm=1e-3)
    model.optimizer = optim.SGD(model.parameters(), 1.0)  # whose step is as long as the gradient
    before = [p.numpy() for p in model.parameters()]
    parts = model.update(*model.checked(X, Y))
    moved = [p.numpy() - b for p, b in zip(model.parameters(), before, strict=True)]
    assert float(parts["norm"]) > 0.1
    assert np.sqrt(sum(np.square(m).sum() for m in moved)) == pytest.approx(1e-3, rel=1e-2)


def test_refusals():
    with pytest.raises(ValueError, match=r"kind out of rnn, lstm, gru are wanted, got \(5, 3\), 3 and 'elman'"):
        SequenceClassifier((5, 3), 3, kind="elman")
    with pytest.raises(ValueError, match=r"got \(5,\)"):
        SequenceClassifier((5,), 3)
    with pytest.raises(ValueError, match=r"SequenceClassifier: x has shape \(20, 5, 2\)"):
        net().predict(X[..., :2])


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

"""`compile`: a replayed step gives the bits of the step as it is written, and refuses what it could not replay."""

from __future__ import annotations

import doctest
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen import compiled, nn, optim
from tinygen.autograd.graph import GraphError
from tinygen.backend import program, recording
from tinygen.backend.recording import Recorder, place
from tinygen.cases import every_case
from tinygen.nn import functional as F


def cases():
    """All cases by name; each time with random generators of their own."""
    grouped = {}
    for case in every_case():
        grouped.setdefault(case.name, []).append(case)
    return grouped


CASES, TWINS = cases(), cases()


def bits(tree):
    """All numbers of a result, as bytes."""
    if isinstance(tree, dict):
        return {k: bits(v) for k, v in tree.items()}
    if isinstance(tree, tuple | list):
        return [bits(t) for t in tree]
    raw = tree._data if isinstance(tree, tg.Tensor) else tree
    return (raw.shape, raw.dtype, raw.tobytes()) if isinstance(raw, np.ndarray) else raw


def pulled(function, order):
    """A step: the function at its arguments and its gradients, of the first or also of the second order."""

    def step(*args):
        inputs = [
            tg.tensor(a, requires_grad=True) if getattr(a, "dtype", np.dtype(int)).kind == "f" else a for a in args
        ]
        wanted = [x for x in inputs if isinstance(x, tg.Tensor) and x.requires_grad]
        out = function(*inputs)
        outputs = [o for o in (out if isinstance(out, tuple | list) else [out]) if isinstance(o, tg.Tensor)]
        loss = sum(tg.sum(o * o) for o in outputs if o.requires_grad)
        grads = tg.grad(loss, wanted, create_graph=order == 2, allow_unused=True)
        if order == 2:
            slope = sum(tg.sum(g * g) for g in grads if g is not None)
            if isinstance(slope, tg.Tensor) and slope.requires_grad:
                grads += tg.grad(slope, wanted, allow_unused=True)
        return {"outputs": outputs, "grads": [g for g in grads if g is not None]}

    return step


#: cases that make a Generator, or look at a value to choose a number of terms, in every step
REFUSED = {"dropout", "Dropout", "Poisson.entropy", "divergences.sliced_wasserstein"} | {
    f"{law}.rsample"
    for law in "Normal DiagonalNormal MultivariateNormal Uniform Exponential Laplace Gumbel GumbelSoftmax".split()
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", sorted(set(CASES) - REFUSED))
def test_every_function_replays_to_the_bit(name, order, monkeypatch):
    monkeypatch.setattr(recording, "LARGE", 1 if order == 2 else 2**20)  # stand-ins for all arrays, and for none
    for case, twin in zip(CASES[name], TWINS[name], strict=True):
        points = [
            [np.asarray(a * (1 + 1e-3 * k)) if getattr(a, "dtype", np.dtype(int)).kind == "f" else a for a in case.args]
            for k in range(5)
        ]
        step, eager = tg.compile(pulled(case.function, order)), pulled(twin.function, order)
        for point in points:
            assert bits(step(*point)) == bits(eager(*point))


# ---- whole steps --------------------------------------------------------------------------------------------


def compared(make, calls=6):
    """The results and the states of a step, written and compiled: `make(seed)` gives (step, what has state_dict)."""
    (eager, owned), (step, twins) = make(0), make(0)
    step = tg.compile(step)
    for _ in range(calls):
        assert bits(step()) == bits(eager())
    for owner, twin in zip(owned, twins, strict=True):
        assert bits(state(owner)) == bits(state(twin))


def state(owner):
    """A state, in full depth."""
    return owner.state_dict()


def classifier(seed):
    """Convolution, batch norm, pooling, dropout, softmax cross entropy; Adam with a falling rate."""
    rng = tg.random.Generator(seed)
    x, y = rng.uniform((40, 1, 8, 8)), rng.integers(0, 3, 40)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 16, rng=rng), nn.GELU(), nn.Dropout(0.3, rng=rng), nn.Linear(16, 3, rng=rng),
    )  # fmt: skip
    optimizer = optim.Adam(net.parameters(), 1e-2)
    schedule = optim.Schedule(optimizer, optim.schedules.Cosine(10))

    def step():
        rows, classes = tg.data.batch((x, y), rng, 6)
        loss = F.cross_entropy(net(tg.tensor(rows)), classes)
        optimizer.step(tg.grad(loss, optimizer.params))
        schedule.step()
        return {"loss": loss}

    return step, (net, optimizer, schedule, rng)


def adversaries(seed):
    """A critic with a gradient penalty, clipped as well, and a generator; two optimisers."""
    rng = tg.random.Generator(seed)
    x = rng.normal((30, 2))
    G = nn.Sequential(nn.Linear(3, 8, rng=rng), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.Linear(8, 2, rng=rng))
    D = nn.Sequential(nn.Linear(2, 8, rng=rng), nn.Softplus(), nn.Linear(8, 1, rng=rng))
    of_g, of_d = optim.RMSprop(G.parameters(), 1e-2), optim.SGD(D.parameters(), 1e-1, momentum=0.5)

    def step():
        real, z = tg.tensor(tg.data.batch(x, rng, 5)), rng.normal((5, 3))
        with tg.no_grad():
            fake = G(tg.tensor(z))
        e = rng.uniform((5, 1))
        between = (e * real + (1 - e) * fake).requires_grad_()
        slope = tg.grad(D(between).sum(), between, create_graph=True)
        penalty = tg.mean(tg.square(tg.sqrt(tg.sum(slope * slope, 1) + 1e-12) - 1))
        loss = D(fake).mean() - D(real).mean() + 10 * penalty
        of_d.step(tg.grad(loss, of_d.params))
        for p in of_d.params:
            p.assign(tg.clip(p.detach(), -0.5, 0.5))
        of_g.step(tg.grad(-D(G(tg.tensor(z * 2 - 1))).mean(), of_g.params))
        return loss, penalty

    return step, (G, D, of_g, of_d, rng)


def recurrent(seed):
    """LSTM and GRU kernels; the values of a sequence."""
    rng = tg.random.Generator(seed)
    x, y = tg.tensor(rng.normal((5, 4, 3))), tg.tensor(rng.normal((5, 4, 2)))
    lstm, gru, out = nn.LSTM(3, 6, rng=rng), nn.GRU(6, 5, rng=rng), nn.Linear(5, 2, rng=rng)
    optimizer = optim.AdamW([*lstm.parameters(), *gru.parameters(), *out.parameters()], 1e-2)

    def step():
        loss = F.mse_loss(out(gru(lstm(x)[0])[0]), y)
        optimizer.step(tg.grad(loss, optimizer.params))
        return loss

    return step, (lstm, gru, out, optimizer)


@pytest.mark.parametrize("large", [1, 100, 2**20])
@pytest.mark.parametrize("make", [classifier, adversaries, recurrent])
def test_a_whole_step_and_all_it_changes_are_the_same_to_the_bit(make, large, monkeypatch):
    monkeypatch.setattr(recording, "LARGE", large)
    compared(make)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["float32", "float64"])), min_size=3, max_size=12))
def test_each_shape_and_dtype_has_a_recording_of_its_own(kinds):
    w = tg.tensor([0.5, -1.0, 2.0], requires_grad=True)
    step = tg.compile(lambda x, power: tg.grad(tg.sum((x * w) ** power), w))
    for k, (n, dtype) in enumerate(kinds):
        x = (np.arange(3.0 * n).reshape(n, 3) + k).astype(dtype)
        expected = tg.grad(tg.sum((tg.tensor(x) * w) ** (n + 1)), w)
        assert bits(step(x, n + 1)) == bits(expected) == bits(step(tg.tensor(x), power=n + 1))


def test_results_outlive_the_next_call():
    step = tg.compile(lambda x: {"twice": x * 2, "parts": (tg.sum(x), 3)})
    results = [step(tg.tensor([float(k)])) for k in range(5)]
    assert [r["twice"].item() for r in results] == [0, 2, 4, 6, 8]
    assert [r["parts"][0].item() for r in results] == [0, 1, 2, 3, 4] and results[4]["parts"][1] == 3


def test_a_parameter_changed_from_outside_is_seen():
    w, scale = tg.tensor([2.0], requires_grad=True), tg.tensor([1.0])
    step = tg.compile(lambda: w * scale)
    step(), step()
    w.assign([5.0])  # in place
    assert step().item() == 5
    scale.assign([10.0])  # a new array: recorded anew
    assert [step().item() for _ in range(3)] == [50, 50, 50]


def test_numpy_on_what_the_step_computes_is_replayed():
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        raw = (tg.tensor(x) * w).data
        order = np.argsort(-raw)
        total = np.zeros(2, "float32") + raw[order]
        total[1:] += 1
        both = np.zeros_like(raw, shape=4)
        np.concatenate([total, np.where(raw > 1, raw, 0).reshape(-1)], out=both)
        both[2] *= 2
        np.copyto(both[:1], raw[1:])
        return both.cumsum()

    compiled = tg.compile(step)
    for x in ([3.0, 1.0], [1.0, 3.0], [0.5, 0.1], [2.0, 9.0]):
        assert bits(compiled(np.array(x, "float32"))) == bits(step(np.array(x, "float32")))


def test_a_graph_from_before_a_replay_knows_that_its_leaf_has_changed():
    w = tg.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD(w, 0.1)
    step = tg.compile(lambda: optimizer.step(tg.grad(tg.sum(w * w), w)))
    step(), step()
    loss = tg.sum(w * w)
    step()
    with pytest.raises(GraphError, match="was changed since"):
        tg.grad(loss, w)


# ---- what is refused ------------------------------------------------------------------------------------------


def refused(step, *args, calls=2):
    with pytest.raises(GraphError) as caught:
        for _ in range(calls):
            step(*args)
    return str(caught.value)


def test_looking_at_a_value_is_refused_with_the_line():
    x = np.ones(3, "float32")
    for look in (float, bool, int, lambda t: t.item(), lambda t: t.tolist(), lambda t: f"{t:.2f}"):
        message = refused(tg.compile(lambda x, look=look: look(tg.sum(tg.tensor(x)))), x)
        assert "test_compile.py:" in message and "of a value that the step computes" in message
    assert "tg.grad" in refused(tg.compile(lambda x: tg.sum(tg.tensor(x, requires_grad=True)).backward()), x)


def test_a_step_that_does_something_else_the_second_time_is_refused():
    counter = iter(range(100))
    assert "multiply was given 0 in one step, 1 in the next" in refused(
        tg.compile(lambda x: x * next(counter)), np.ones(2)
    )
    steps = iter([tg.exp, tg.log])
    assert "exp was called in one step, log in the next" in refused(
        tg.compile(lambda x: next(steps)(x + 1.0)), tg.ones(2)
    )
    times = iter([1, 2])
    assert "1 calls, the next 2" in refused(tg.compile(lambda x: [x + k for k in range(next(times))]), tg.ones(2))
    hidden = np.random.default_rng(0)
    message = refused(tg.compile(lambda x: x + hidden.random(2)), tg.ones(2, dtype="float64"))
    assert "float64 (2,) from outside the notes, with other values in the next step" in message


def test_a_refused_step_can_be_called_again_and_is_refused_again():
    counter = iter(range(100))
    step = tg.compile(lambda x: x * next(counter))
    for _ in range(3):
        refused(step, np.ones(2))


def test_an_array_made_in_an_unknown_way_is_refused_by_name():
    def step(x):
        return tg.tensor(x) + np.ndarray.byteswap(x)  # a method that takes no notes

    assert "mark what made it with" in refused(tg.compile(step), np.ones(2))
    with Recorder() as recorder, pytest.raises(RuntimeError, match="add writes into an array that was made outside"):
        room = np.empty(2)
        np.add(recorder.entered(np.ones(2)), 1, out=room)


def test_a_compiled_step_inside_another_is_refused():
    inner = tg.compile(lambda x: x + 1)
    assert "inside a recording" in refused(tg.compile(lambda x: inner(x)), np.ones(2))


def test_recording_leaves_nothing_behind_after_an_error():
    step = tg.compile(lambda x: tg.reshape(x, (7,)))
    with pytest.raises(ValueError, match="reshape"):
        step(np.ones(3))
    assert type((tg.tensor([1.0]) * 2)._data) is np.ndarray
    assert tg.compile(lambda x: x * 2)(np.ones(1)) == 2


def test_on_a_gpu_the_step_runs_as_it_is_written(device):
    if device == "cpu":
        pytest.skip("this is about the others")
    w = tg.tensor([1.0, 2.0], requires_grad=True, device=device)
    optimizer = optim.SGD(w, 0.1)
    step = tg.compile(lambda: optimizer.step(tg.grad(tg.sum(w * w), w)))
    with pytest.warns(UserWarning, match="not recorded yet"):
        step()
    step(), step()
    np.testing.assert_allclose(w.numpy(), [0.512, 1.024], rtol=1e-6)


def test_the_program_is_nothing_but_calls():
    """No look-ups, no branches, no allocations of its own: one line of Python a call."""
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    step = tg.compile(lambda: tg.grad(tg.sum(tg.tanh(w * w)), w))
    step(), step()
    lines = step.known[""].run.source.splitlines()[1:-1]
    assert 4 <= len(lines) <= 12 and all(line.strip().startswith("v") or "copyto" in line for line in lines)


# ---- chains of elementwise calls, piece by piece ---------------------------------------------------------------


def chain(n, keep, dtype):
    """A step of elementwise functions on n numbers that ends in gradients, and in some of the values on the way."""
    rng = np.random.default_rng(n)
    x, w, b = (tg.tensor(rng.normal(size=n).astype(dtype), requires_grad=True) for _ in range(3))

    def step():
        y, kept = x, []
        for k in range(3):
            y = tg.tanh(y * w + b)
            y = tg.where(y > 0, tg.exp(-y), tg.sigmoid(y)) + tg.maximum(y, 0.1 * k)
            kept.append(y)
        return [tg.grad(tg.sum(y), [x, w, b]), [kept[k] for k in keep]]

    return step


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 700), keep=st.sets(st.integers(0, 2)), dtype=st.sampled_from(["float32", "float64"]),
       piece=st.integers(1, 300))  # fmt: skip
def test_a_chain_by_pieces_is_the_chain_at_once(n, keep, dtype, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "LARGE", 1)
        patch.setattr(program, "PIECE", piece)
        step, eager = tg.compile(chain(n, keep, dtype)), chain(n, keep, dtype)
        assert bits(step()) == bits(step()) == bits(step()) == bits(eager())


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_parts_of_one_array_that_overlap_are_not_cut_up_together(shift, monkeypatch):
    """x[k] -> x[k + shift] in place: a later piece would see what an earlier one has made of it."""
    monkeypatch.setattr(program, "LARGE", 1)
    monkeypatch.setattr(program, "PIECE", 4)

    def step(x):
        raw = tg.tensor(x).data * 1.0
        left, right = raw[: 20 - shift], raw[shift:]
        right += 1  # as one call each
        left *= 2
        right -= left * 3
        return raw * 1.0

    compiled = tg.compile(step)
    for k in range(4):
        x = np.arange(20.0) + k
        assert bits(compiled(x)) == bits(step(x))


def test_only_what_is_seen_outside_has_memory_of_its_own():
    """Between inputs and gradients there are rooms of one piece, each used again when its last reader is done."""
    x, w, b = (tg.tensor(np.full(program.LARGE, v, "float32"), requires_grad=True) for v in (0.1, 0.9, 0.2))

    def step():
        y = x
        for _ in range(4):
            y = tg.tanh(y * w + b)
        return tg.grad(tg.sum(y), [x, w, b])

    step = tg.compile(step)
    step(), step()
    ((work,),) = [v for v in step.known[""].run._values.values() if isinstance(v, list)]  # one thread's
    written = [[arrays[-1].__array_interface__["data"][0] for _, arrays in piece] for piece in work]
    rooms = [a for a, other in zip(*written[:2], strict=True) if a == other]
    assert len(work) == program.LARGE // program.PIECE and len(rooms) >= len(work[0]) / 2
    assert len(set(rooms)) <= len(rooms) / 2


def test_what_nobody_reads_is_not_computed():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    step = tg.compile(lambda: tg.grad(tg.sum(tg.exp(w)), w))
    step(), step()
    assert "reduce" not in step.known[""].run.source and len(step.known[""].run.source.splitlines()) <= 5


def test_memory_is_handed_on_when_its_last_reader_is_done():
    """Twenty layers without a gradient need room for two."""
    w = tg.tensor(np.full((7, 7), 0.3, "float32"))

    def step(x):
        for _ in range(20):
            x = tg.tanh(tg.matmul(x, w))
        return x

    compiled, x = tg.compile(step), np.arange(49, dtype="float32").reshape(7, 7)
    assert all(bits(compiled(x / k)) == bits(step(tg.tensor(x / k))) for k in range(1, 5))
    (replay,) = compiled.known.values()
    arrays = [v for v in replay.run._values.values() if isinstance(v, np.ndarray) and v.shape == (7, 7)]
    assert len({place(a)[1] for a in arrays}) <= 5  # two, the argument, the weights and the result


def test_a_recording_needs_no_more_memory_than_the_step():
    """Thirty layers whose inputs nobody keeps: two arrays of 4 MiB at a time, not thirty."""

    def step(x):
        for _ in range(30):
            x = tg.tanh(x) * 2
        return tg.sum(x)

    compiled, x = tg.compile(step), np.ones(2**20, "float32")
    tracemalloc.start()
    try:
        for _ in range(2):
            compiled(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * x.nbytes
    assert bits(compiled(x / 2)) == bits(step(tg.tensor(x / 2)))


def test_an_intermediate_that_has_died_is_not_taken_for_one_in_its_place():
    """Memory that a step gives back is used again, by its own arrays and by those of others."""
    outside = np.ones(2**18, "float32")

    def step(x):
        y = tg.sum(tg.exp(x))  # exp(x) dies, and the next of its size lies where it lay
        z = tg.exp(x + tg.tensor(outside.copy()))
        return y, tg.sum(z), z[::3]

    compiled = tg.compile(step)
    for k in range(5):
        x = np.full(2**18, 0.1 * k, "float32")
        assert bits(compiled(x)) == bits(step(tg.tensor(x)))


def test_the_examples_in_the_docstrings_are_right():
    for module in (compiled, recording):
        assert doctest.testmod(module).failed == 0

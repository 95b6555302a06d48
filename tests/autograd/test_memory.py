"""What a graph costs: linear work, no recursion, and memory that dies with its last name.

Guards rules 3 (one walk, linear) and 4 (no reference cycles; a node saves only what its vjps name). Work is counted in
calls, not in seconds.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.graph import FREED, Leaf, Node
from tinygen.autograd.tensor import Tensor

from .checkers import calls_made, draw, leaf, live, no_collector, nodes_of, raw, toys

# ---- linear work -------------------------------------------------------------------------------------------


def chain(x, length):
    """x after `length` operations in a row."""
    for _ in range(length // 2):
        x = x * 1.0 + 0.0
    return x


def test_a_chain_of_a_hundred_thousand_operations():
    """No recursion, forward, backward or in the clearing away."""
    x = leaf([3.0])
    y = chain(x, 100_000)
    np.testing.assert_array_equal(tg.grad(y, x).numpy(), [1.0])
    del y


def test_each_operation_of_a_chain_is_pulled_through_once():
    """Rule 3: the work is linear in the graph."""
    with toys():
        pulled = []

        @tg.primitive(lambda g: (pulled.append(0), g)[1])
        def toy_step(xp, x):
            return x + 1

        for length in (10_000, 40_000):
            pulled.clear()
            x = leaf([1.0])
            y = x
            for _ in range(length):
                y = toy_step(y)
            tg.grad(y, x)
            assert len(pulled) == length


def work_of_backward(build, size) -> int:
    """Calls made by the backward pass of a graph."""
    x = leaf([1.0, 2.0])
    y = build(x, size)
    return calls_made(lambda: tg.grad(y, x, np.ones(2)))


def fan_in(x, width):
    """A sum of `width` terms, all computed from x."""
    terms = [x * float(k) for k in range(width)]
    total = terms[0]
    for t in terms[1:]:
        total = total + t
    return total


def fan_out(x, width):
    """One value with `width` users."""
    h = x * 2.0
    total = h
    for _ in range(width):
        total = total + h
    return total


def ladder(x, length):
    """Every rung uses the two before it."""
    a, b = x, x * 1.0
    for _ in range(length):
        a, b = b, a * 0.5 + b * 0.5
    return b


@pytest.mark.parametrize("build", [chain, fan_in, fan_out, ladder])
def test_four_times_the_graph_is_four_times_the_work(build):
    """Counted in calls: chains, fan-in, fan-out, and a ladder with a Fibonacci number of paths."""
    small, large = work_of_backward(build, 1000), work_of_backward(build, 4000)
    assert large < 4.05 * small


def test_forty_doublings():
    """2^40 paths in forty operations."""
    x = leaf([1.0])
    y = x
    for _ in range(40):
        y = y + y
    assert calls_made(lambda: np.testing.assert_array_equal(tg.grad(y, x, retain_graph=True).numpy(), [2.0**40])) < 5000
    g = tg.grad(y, x, create_graph=True)
    np.testing.assert_array_equal(g.numpy(), [2.0**40])
    t = x
    for _ in range(40):
        t = t * t
    assert tg.grad(t, x).item() == 2.0**40


def test_eight_thousand_terms():
    """Wide fan-in: the gradient is the sum of all the coefficients."""
    x = leaf([1.0])
    np.testing.assert_array_equal(tg.grad(fan_in(x, 8000), x).numpy(), [8000 * 7999 / 2])
    x = leaf([1.0])
    y = tg.concatenate([x * float(k) for k in range(8000)]).sum()
    np.testing.assert_array_equal(tg.grad(y, x).numpy(), [8000 * 7999 / 2])


# ---- who keeps what -------------------------------------------------------------------------------------------


def kept(t) -> dict:
    """What a Tensor's node kept, by name."""
    return dict(zip(t._node.rule.kept, t._node.rule.values(t._node.saved), strict=True))


def test_addition_keeps_nothing():
    """Rule 4: a node saves only what its vjps name."""
    a, b = leaf([1.0, 2.0]), leaf([3.0])
    for y in (a + b, a - b, a + 1.0, -a, tg.broadcast_to(a, (3, 2))):
        assert y._node.saved is None


def test_multiplication_keeps_the_other_operand_where_it_is_needed():
    """With one constant, only the constant is kept; with two variables, both are."""
    a, b, c = leaf([1.0, 2.0]), leaf([3.0, 4.0]), tg.tensor([5.0, 6.0])
    assert {n: v is raw(c) for n, v in kept(a * c).items()} == {"b": True}
    assert {n: v is raw(c) for n, v in kept(c * a).items()} == {"a": True}
    both = kept(a * b)
    assert set(both) == {"a", "b"} and both["a"] is raw(a) and both["b"] is raw(b)
    assert set(kept(a / c)) == {"b"} and set(kept(c @ leaf(np.eye(2)))) <= {"a", "shape", "x_shape"}


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "sqrt", "tan", "expm1", "reciprocal", "relu"])
def test_functions_of_their_own_output_keep_only_that(name):
    """exp keeps y, and y is the array that the user holds: no copy."""
    y = getattr(tg, name)(leaf([0.5, 0.6]))
    assert list(kept(y)) == ["y"] and kept(y)["y"] is raw(y)


@pytest.mark.parametrize("name", ["log", "sin", "cos", "softplus", "square", "abs"])
def test_functions_of_their_input_keep_only_that(name):
    """log keeps x, without a copy."""
    x = leaf([0.5, 0.6])
    assert list(kept(getattr(tg, name)(x))) == ["x"] and kept(getattr(tg, name)(x))["x"] is raw(x)


@pytest.mark.parametrize(
    "f",
    [
        tg.sum,
        tg.mean,
        lambda t: tg.reshape(t, -1),
        tg.transpose,
        lambda t: t[1:],
        lambda t: tg.concatenate([t, t]),
        lambda t: tg.pad(t, 1),
        tg.flip,
        tg.tril,
    ],
)
def test_what_only_moves_numbers_keeps_none(f):
    """Sums and rearrangements keep shapes and options."""
    y = f(leaf(draw(2, 3)))
    for node in nodes_of(y):
        assert not any(isinstance(v, np.ndarray) for v in node.rule.values(node.saved))


def test_without_recording_nothing_is_kept():
    """no_grad, and Tensors that want no gradient: results have no past."""
    x = leaf([1.0])
    with tg.no_grad():
        assert tg.exp(x * x)._node is None
    assert tg.exp(tg.tensor([1.0]) * 2.0)._node is None
    assert (x > 0)._node is None and tg.argmax(x)._node is None


# ---- death ---------------------------------------------------------------------------------------------------


UNNEEDED = {
    "add": lambda h: h + 1.0,
    "sum": lambda h: h.sum(),
    "mean": lambda h: h.mean(),
    "exp": tg.exp,
    "tanh": tg.tanh,
    "scale": lambda h: h * 2.0,
    "pad": lambda h: tg.pad(h, 1),
    "concatenate": lambda h: tg.concatenate([h, h]),
    "where": lambda h: tg.where(np.array([True, False, True]), h, 0.0),
    "cumsum": lambda h: tg.cumsum(h, 0),
    "astype": lambda h: h.astype("float32"),
    "sigmoid": tg.sigmoid,
}


@pytest.mark.parametrize("name", UNNEEDED)
def test_an_array_that_no_vjp_needs_dies_with_its_name(name):
    """With the collector off: the user of h does not keep h."""
    with no_collector():
        x = leaf(draw(3, 3))
        h = x + 1.0
        y = UNNEEDED[name](h)
        array, tensor = weakref.ref(raw(h)), weakref.ref(h)
        del h
        assert tensor() is None and array() is None
        assert y.requires_grad


@pytest.mark.parametrize(
    "f",
    [
        lambda h: h * h,
        tg.log,
        lambda h: h @ h,
        tg.std,
        tg.max,
        tg.prod,
        tg.linalg.inv,
        tg.linalg.cholesky,
        lambda h: tg.einsum("ij,jk->ik", h, h),
        lambda h: tg.logsumexp(h, 0),
    ],
)
def test_an_array_that_a_vjp_needs_dies_with_the_graph(f):
    """With the collector off: kept until the loss is deleted, no longer."""
    with no_collector():
        x = leaf(np.eye(3) * 2 + 0.1)
        h = x * 1.0
        y = f(h).sum()
        array, node = weakref.ref(raw(h)), weakref.ref(h._node)
        del h
        assert node() is not None
        del y
        assert array() is None and node() is None


def test_a_backward_pass_frees_what_was_kept_while_the_loss_lives():
    """Kept arrays die at the backward pass; the values the user holds do not."""
    with no_collector():
        x = leaf(draw(3, 3))
        h = tg.exp(x)
        y = (h * h).sum()
        array = weakref.ref(raw(h))
        del h
        assert array() is not None
        tg.grad(y, x)
        assert array() is None and y.item() > 0
        assert all(n.saved is FREED for n in nodes_of(y))


def test_backward_frees_as_it_goes():
    """At its peak a backward pass needs a few arrays, not a second copy of the graph."""
    size, depth = 100_000, 20
    x = leaf(np.zeros(size))
    unit = raw(x).nbytes
    y = x
    for _ in range(depth):
        y = tg.tanh(y)
    y = y.sum()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()  # the graph itself is older than the tracing
        g = tg.grad(y, x)
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < 5 * unit
    finally:
        tracemalloc.stop()
    assert g.shape == (size,)

    tracemalloc.start()
    try:
        x = leaf(np.zeros(size))
        y = x
        for _ in range(depth):
            y = tg.tanh(y)
        y = y.sum()
        held, _ = tracemalloc.get_traced_memory()
        assert held > depth * unit
        tracemalloc.reset_peak()
        g = tg.grad(y, x)
        left, peak = tracemalloc.get_traced_memory()
        assert peak - held < 4 * unit, "the peak of the backward pass is above the forward's by a few arrays"
        assert left < 4 * unit, "the graph's arrays outlive the backward pass"
    finally:
        tracemalloc.stop()


def train(steps, weights, order):
    """Steps as training makes them, with a gradient penalty at order 2."""
    for step in range(steps):
        x = tg.tensor(draw(4, 3, seed=step), requires_grad=order == 2)
        y = tg.tanh(x @ weights[0] + weights[1]).sum()
        if order == 2:
            g = tg.grad(y, x, create_graph=True)
            y = y + (g * g).sum()
        y.backward()
        for w in weights:
            w.assign(raw(w) - 0.01 * raw(w.grad))
            w.grad = None


@pytest.mark.parametrize("order", [1, 2])
def test_a_thousand_steps_hold_as_much_as_ten(order):
    """Counts of live objects, and traced memory, with the collector off."""
    weights = [leaf(draw(3, 3)), leaf(draw(3))]
    with no_collector():
        tracemalloc.start()
        try:
            train(10, weights, order)
            first, memory = [live(k) for k in (Tensor, Node, Leaf)], tracemalloc.get_traced_memory()[0]
            train(1000 if order == 1 else 300, weights, order)
            assert [live(k) for k in (Tensor, Node, Leaf)] == first
            assert tracemalloc.get_traced_memory()[0] - memory < 50_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("order", [2, 3])
def test_a_recorded_backward_pass_dies_too(order):
    """With the collector off: graphs of gradients of gradients have no cycles either."""
    with no_collector():
        before = live(Node)
        x = leaf(draw(3))
        y = tg.tanh(x * x).sum()
        for _ in range(order):
            y = tg.grad(y, x, create_graph=True).sum()
        assert live(Node) > before + 10
        del y
        assert live(Node) == before


def test_a_refused_backward_pass_leaves_nothing_behind():
    """An error holds on to no part of the graph."""
    with no_collector():
        x = leaf(draw(3))
        before = live(Node)
        for _ in range(3):
            try:
                tg.grad(tg.exp(x) * 2.0, x)  # not a scalar
            except tg.GraphError:
                pass
        assert live(Node) == before

"""Random graphs, grown node by node in lockstep with the naive twin: values and gradients must always agree.

Guards: the walk's order, its accumulation, un-broadcasting, `None` for what is not reached, `.grad`, detached
values and constants, freed and retained graphs, and second derivatives.
"""

from __future__ import annotations

import numpy as np
import pytest
from equations import equation
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import tinygen as tg
from tinygen.autograd.graph import GraphError
from tinygen.autograd.walk import walk

from . import naive
from .naive import Twin

SHAPES = [(), (3,), (2, 1), (1, 3), (2, 3)]  # each broadcasts with each
MOST_PATHS = 150
QUICK = settings(max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, database=None)

numbers = st.integers(0, 2**16)
booleans = st.booleans()
mostly = st.sampled_from([True, True, False])


class GraphMachine(RuleBasedStateMachine):
    """Pairs (Tensor, Twin), and operations on them."""

    def __init__(self):
        super().__init__()
        self.pairs: list[tuple[tg.Tensor, Twin]] = []

    def pick(self, number, computed=False):
        """Any earlier pair; with `computed`, a recorded one where there is one."""
        choice = [pair for pair in self.pairs if pair[1].parents and pair[1].wants] if computed else self.pairs
        return (choice or self.pairs)[np.random.default_rng(number).integers(len(choice or self.pairs))]

    def count(self, wants):
        return sum(q.op == "leaf" and q.wants == wants for _, q in self.pairs)

    def keep(self, tensor, twin):
        if twin.paths <= MOST_PATHS:
            self.pairs.append((tensor, twin))

    # ---- growing ----

    @initialize(seed=numbers)
    def start(self, seed):
        for shape in range(len(SHAPES)):
            self.new_leaf(shape, seed + shape)
        self.grow(seed)

    @precondition(lambda self: self.count(True) < 8)
    @rule(shape=st.integers(0, len(SHAPES) - 1), seed=numbers)
    def new_leaf(self, shape, seed):
        value = np.random.default_rng(seed).uniform(-1, 1, SHAPES[shape])
        self.keep(tg.tensor(value, requires_grad=True), Twin(value, wants=True))

    @precondition(lambda self: self.count(False) < 3)
    @rule(shape=st.integers(0, len(SHAPES) - 1), seed=numbers)
    def constant(self, shape, seed):
        value = np.random.default_rng(seed).uniform(-1, 1, SHAPES[shape])
        self.keep(tg.tensor(value), Twin(value))

    @rule(op=st.sampled_from(["add", "subtract", "multiply"]), i=numbers, j=numbers)
    def combine(self, op, i, j):
        (a, p), (b, q) = self.pick(i), self.pick(j)
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            return
        self.keep(getattr(tg, op)(a, b), naive.apply(op, p, q))

    @rule(seed=numbers)
    def grow(self, seed):
        """Several operations at once: shallow graphs hide what deep ones show."""
        rng = np.random.default_rng(seed)
        for _ in range(6):
            op, i, j = (
                rng.choice(["add", "subtract", "multiply", "multiply", "tanh", "sum", "fan"]),
                *rng.integers(2**16, size=2),
            )
            if op == "tanh":
                self.tanh(i)
            elif op == "sum":
                self.sum(i, 0, bool(j % 2))
            elif op == "fan":
                self.fan_out(i, 2)
            else:
                self.combine(op, i, j)

    @rule(i=numbers, times=st.integers(2, 3))
    def fan_out(self, i, times):
        a, p = self.pick(i)
        total, twin = a, p
        for _ in range(times - 1):
            total, twin = total + a, naive.apply("add", twin, p)
        self.keep(total, twin)

    @rule(i=numbers)
    def tanh(self, i):
        a, p = self.pick(i)
        self.keep(tg.tanh(a), naive.apply("tanh", p))

    @rule(i=numbers, axis=st.sampled_from([None, 0, 1, -1]), keepdims=booleans)
    def sum(self, i, axis, keepdims):
        a, p = self.pick(i)
        if axis is None or -a.ndim <= axis < a.ndim:
            self.keep(tg.sum(a, axis, keepdims), naive.apply("sum", p, options=(axis, keepdims)))

    @rule(i=numbers)
    def broadcast(self, i):
        a, p = self.pick(i)
        try:
            np.broadcast_shapes(a.shape, (2, 3))
        except ValueError:
            return
        self.keep(tg.broadcast_to(a, (2, 3)), naive.apply("broadcast_to", p, options=((2, 3),)))

    @precondition(lambda self: self.count(False) < 3)
    @rule(i=numbers)
    def detach(self, i):
        a, p = self.pick(i)
        self.keep(a.detach(), Twin(p.value))

    # ---- differentiating ----

    @rule(i=numbers, js=st.lists(numbers, min_size=1, max_size=3), retain=mostly, create=booleans, seed=numbers)
    def grad(self, i, js, retain, create, seed):
        """By leaves and by computed values, with or without `retain_graph`."""
        y, p = self.pick(i, computed=seed % 8 > 0)
        xs = [self.pick(j) for j in js]
        everyone = [pair for pair in self.pairs if pair[1].op == "leaf" and pair[1].wants]
        xs = [pair for pair in [*xs, *everyone] if pair[1].wants]  # leaves that are missing must be missing
        u = np.random.default_rng(seed).uniform(-1, 1, y.shape)
        inputs, twins = [x for x, _ in xs], [q for _, q in xs]
        if not p.wants:
            with pytest.raises(GraphError, match="not computed from"):
                tg.grad(y, inputs, u, allow_unused=True)
            return
        found = self.attempt(
            p,
            twins,
            retain or create,
            lambda keep: tg.grad(y, inputs, u, create_graph=create, retain_graph=keep, allow_unused=True),
        )
        if found is None:
            return
        for g, q in zip(found, twins, strict=True):
            expected = naive.gradient(p, q, u)
            assert (g is None) == (expected is None), "a path was missed, or invented"
            if expected is not None:
                assert g.shape == expected.shape and g.dtype == np.float64
                np.testing.assert_allclose(g.numpy(), expected, rtol=1e-9, atol=1e-9)

    @rule(i=numbers, retain=mostly, seed=numbers)
    def backward(self, i, retain, seed):
        """Adds to `.grad` of the leaves that y depends on, and of no other."""
        y, p = self.pick(i, computed=seed % 8 > 0)
        u = np.random.default_rng(seed).uniform(-1, 1, y.shape)
        leaves = [q for _, q in self.pairs if q.op == "leaf" and q.wants]
        if not p.wants:
            with pytest.raises(GraphError, match="not computed from"):
                y.backward(u)
            return
        if self.attempt(p, leaves, retain, lambda keep: (y.backward(u, retain_graph=keep),)) is None:
            return
        for q in leaves:
            g = naive.gradient(p, q, u)
            if g is not None:
                q.grad = g if q.grad is None else q.grad + g

    def attempt(self, p, wanted, retain, run):
        """Run a backward pass; None where it met a freed part and said so."""
        pulled = p.pulled(wanted)
        freed = any(t.freed for t in pulled)
        try:
            result = run(retain or freed)
        except GraphError as error:
            assert "freed" in str(error), error
            assert freed, f"a graph that was kept counts as freed: {error}"
            return None
        assert not freed, "a freed graph was used"
        if not retain:
            for t in pulled:
                t.freed = True
        return result

    @rule(i=numbers, seed=numbers)
    def second_order(self, i, seed):
        """The Hessian times a vector, against differences of the twin's gradient."""
        y, p = self.pick(i, computed=seed % 8 > 0)
        reached = [(x, q) for x, q in self.pairs if q.op == "leaf" and q.wants and p.reaches(q)]
        if not reached or p.paths > 40 or any(t.freed for t in p.pulled([q for _, q in reached])):
            return
        x, q = reached[seed % len(reached)]
        rng = np.random.default_rng(seed)
        u, v = rng.uniform(-1, 1, y.shape), rng.uniform(-1, 1, x.shape)
        slope = tg.grad(y, x, u, create_graph=True)
        expected = naive.slope_along(p, q, u, v)
        found = None if not slope.requires_grad else tg.grad(slope, x, v, retain_graph=True, allow_unused=True)
        found = np.zeros(x.shape) if found is None else found.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)

    @rule(i=numbers)
    def zero(self, i):
        x, q = self.pick(i)
        if q.op == "leaf" and q.wants:
            x.grad = q.grad = None

    # ---- always ----

    @invariant()
    def all_agree(self):
        for x, q in self.pairs[-6:]:
            assert x.requires_grad == q.wants
            np.testing.assert_allclose(x.numpy(), q.value, rtol=1e-9, atol=1e-12)
        for x, q in self.pairs:
            if q.op == "leaf" and q.wants:
                assert (x.grad is None) == (q.grad is None), "a leaf's gradient is missing, or invented"
                if q.grad is not None:
                    np.testing.assert_allclose(x.grad.numpy(), q.grad, rtol=1e-9, atol=1e-9)


def run_machine(options=QUICK):
    """All examples of the machine; raises AssertionError where engine and twin disagree."""
    run_state_machine_as_test(GraphMachine, settings=options)


@equation(walk, 1)
def test_random_graphs_agree_with_the_sum_over_paths():
    """Rule 3: one walk computes what the definition says, whatever the graph."""
    run_machine()


def test_the_twin_against_a_graph_worked_by_hand():
    """The judge is judged: d(x·x + x)/dx = 2x + 1, and its slope is 2; a detached copy carries nothing."""
    x = Twin([1.0, 2.0], wants=True)
    y = naive.apply("add", naive.apply("multiply", x, x), x)
    u = np.array([1.0, 10.0])
    np.testing.assert_allclose(naive.gradient(y, x, u), [3.0, 50.0])
    np.testing.assert_allclose(naive.slope_along(y, x, u, np.ones(2)), [2.0, 20.0], rtol=1e-8)
    other = Twin([1.0, 2.0], wants=True)
    assert naive.gradient(y, other, u) is None
    assert naive.gradient(naive.apply("add", x, Twin(y.value)), x, u).tolist() == u.tolist()
    s = naive.apply("sum", naive.apply("broadcast_to", x, options=((3, 2),)), options=(0, False))
    np.testing.assert_allclose(naive.gradient(s, x, u), 3 * u)

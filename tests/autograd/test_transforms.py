"""checkpoint, jacobian and hvp; explain; and the symbols that print every rule.

Guards rules 2 (formula and code cannot drift) and 10 (what a checkpoint reaches, rewinds and leaves alone).
"""

from __future__ import annotations

import tracemalloc
import unicodedata

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.graph import GraphError
from tinygen.autograd.primitive import REGISTRY
from tinygen.backend.random import Generator
from tinygen.formulas.symbols import Symbol, rules

from .checkers import draw, leaf, no_collector, raw, toys


def spelt(texts):
    """Letters and their bars apart, however the source spells them."""
    return [unicodedata.normalize("NFD", t) for t in texts]


def same(found, expected, tolerance=1e-12):
    """A Tensor agrees with an array."""
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)


# ---- checkpoint -------------------------------------------------------------------------------------------


def test_checkpoint_reaches_arguments_and_closures():
    """Rule 10: the gradient reaches every recorded Tensor that f uses, arguments or not, computed ones included."""
    x, w, b = leaf(draw(2, 3)), leaf(draw(3, 3, seed=1)), leaf(draw(3, seed=2))
    h = tg.exp(w)

    def f(t):
        return tg.tanh(t @ h + b)

    plain = tg.grad((f(x) ** 2).sum(), [x, w, b, h], retain_graph=True)
    y = tg.checkpoint(f, x)
    np.testing.assert_array_equal(y.numpy(), f(x).numpy())
    for g, expected in zip(tg.grad((y**2).sum(), [x, w, b, h], retain_graph=True), plain, strict=True):
        same(g, expected.numpy())
    (y**2).sum().backward()
    for leaf_, expected in zip((x, w, b), plain, strict=False):
        same(leaf_.grad, expected.numpy())


def test_checkpoint_of_constants_and_under_no_grad():
    """Nothing to go back to: a plain call."""
    assert not tg.checkpoint(lambda t: t * 2.0, tg.tensor([1.0])).requires_grad
    with tg.no_grad():
        assert not tg.checkpoint(lambda t: t * 2.0, leaf([1.0])).requires_grad
    x = leaf([1.0, 2.0])
    same(tg.grad(tg.checkpoint(lambda t: t, x).sum(), x), [1.0, 1.0])
    same(tg.grad(tg.checkpoint(lambda: x * x).sum(), x), [2.0, 4.0])


def test_checkpoint_draws_the_same_numbers_twice():
    """Generators are rewound for the second run, and stand afterwards where they stood before it."""
    x, rng, other = leaf(draw(50)), Generator(3), Generator(4)
    masks = []

    def dropout(t):
        mask = (rng.uniform(50) > 0.5) * 2.0
        masks.append(mask)
        return t * mask * other.normal(50)

    y = tg.checkpoint(dropout, x)
    between = rng.uniform(3), other.state
    state = rng.state
    g = tg.grad(y.sum(), x)
    assert len(masks) == 2
    np.testing.assert_array_equal(masks[0], masks[1])
    assert rng.state == state and other.state == between[1]
    same(g, np.where(raw(x) != 0, y.numpy() / raw(x), 0), 1e-6)


def test_checkpoint_updates_buffers_once():
    """A running mean counts the forward pass only, and the second run sees it as it finds it."""
    x, buffer = leaf(draw(4)), tg.tensor(np.zeros(4))

    def f(t):
        buffer.assign(0.5 * buffer.data + 0.5 * t.data)
        return t * t

    y = tg.checkpoint(f, x)
    once = buffer.numpy()
    same(tg.grad(y.sum(), x, create_graph=True), 2 * raw(x))
    np.testing.assert_array_equal(buffer.numpy(), once)
    buffer.assign(np.ones(4))
    np.testing.assert_array_equal(buffer.numpy(), 1.0)


def test_checkpoint_needs_less_memory():
    """Of a deep function only the ends are kept; the peak of the backward pass is one segment, not the whole."""
    size, depth, segments = 100_000, 8, 5

    def segment(t):
        for _ in range(depth):
            t = tg.tanh(t)
        return t

    def cost(step):
        x = leaf(np.zeros(size))
        tracemalloc.start()
        try:
            y = x
            for _ in range(segments):
                y = step(y)
            held = tracemalloc.get_traced_memory()[0]
            g = tg.grad(y.sum(), x)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        return held / raw(x).nbytes, peak / raw(x).nbytes, g.numpy()

    with no_collector():
        held, peak, g = cost(segment)
        held_less, peak_less, g_less = cost(lambda t: tg.checkpoint(segment, t))
    np.testing.assert_array_equal(g, g_less)
    assert held > segments * depth - 1 and held_less < segments + 2
    assert peak > segments * depth - 1 and peak_less < segments + depth + 5


def test_second_derivatives_through_a_checkpoint():
    """create_graph recomputes with recording; the third order too."""
    x, w = leaf(draw(3)), leaf(draw(3, seed=1))

    def f(t):
        return tg.tanh(t * w) * t

    tg.check_grads(lambda t: tg.checkpoint(f, t), [draw(3)], order=3, tolerance=1e-5)
    plain = tg.grad((tg.grad(f(x).sum(), x, create_graph=True) ** 2).sum(), [x, w])
    found = tg.grad((tg.grad(tg.checkpoint(f, x).sum(), x, create_graph=True) ** 2).sum(), [x, w])
    for g, expected in zip(found, plain, strict=True):
        same(g, expected.numpy())


def test_checkpoint_with_several_outputs():
    """A tuple in, a tuple out; outputs that nobody used have no cotangent; a tuple of one stays a tuple."""
    x = leaf(draw(3))

    def f(t):
        return t * t, tg.exp(t), t.sum()

    a, b, c = tg.checkpoint(f, x)
    same(tg.grad((a * 3.0).sum() + c, x, retain_graph=True), 6 * raw(x) + 1)
    same(tg.grad(b.sum(), x, retain_graph=True), np.exp(raw(x)))
    same(
        tg.grad((a * b).sum() * c, x, create_graph=True),
        (2 * raw(x) + raw(x) ** 2) * np.exp(raw(x)) * raw(x).sum() + (raw(x) ** 2 * np.exp(raw(x))).sum(),
    )
    one = tg.checkpoint(lambda t: (t * t,), x)
    assert isinstance(one, tuple) and len(one) == 1
    same(tg.grad(one[0].sum(), x), 2 * raw(x))


def test_an_output_that_depends_on_nothing_wants_no_gradient():
    """Of several outputs of a checkpoint, a constant one (an argmax, a statistic) stays a constant."""
    x = leaf(draw(3))
    y, place = tg.checkpoint(lambda t: (t * t, tg.argmax(t)), x)
    assert y.requires_grad
    assert not place.requires_grad


def test_a_changed_leaf_is_detected_by_a_checkpoint():
    """The second run would compute something else."""
    x, w = leaf(draw(3)), leaf(draw(3, seed=1))
    y = tg.checkpoint(lambda t: tg.tanh(t * w), x).sum()
    w.assign(np.zeros(3))
    with pytest.raises(GraphError, match="checkpoint.*changed"):
        tg.grad(y, x)


def test_a_changed_leaf_is_detected_behind_a_view_that_the_function_closes_over():
    """The second run would use the new value, through a view that was made before."""
    x, w = leaf(draw(3)), leaf(draw(3, seed=1))
    view = w[None]
    expected = tg.grad((x * view).sum(), x).numpy()
    y = tg.checkpoint(lambda t: t * view, x).sum()
    w.assign(np.zeros(3))
    try:
        same(tg.grad(y, x), expected)
    except GraphError as error:
        assert "changed" in str(error)


def test_an_anomaly_inside_a_checkpoint_names_its_line():
    """The second run remembers where its operations were called, as the first did."""
    x = leaf([0.0, 1.0])
    with np.errstate(all="ignore"), tg.detect_anomaly():
        y = tg.checkpoint(tg.sqrt, x).sum()
        with pytest.raises(GraphError, match=r"sqrt.*test_transforms\.py:\d+"):
            tg.grad(y, x)


def test_checkpoints_inside_checkpoints():
    """Values, gradients, second derivatives, random numbers."""
    x, w, rng = leaf(draw(4)), leaf(draw(4, seed=1)), Generator(5)

    def inner(t):
        return tg.tanh(t * w) * rng.normal(4)

    def outer(t):
        return tg.checkpoint(inner, t) + tg.checkpoint(inner, t * 2.0)

    start = rng.state
    plain = tg.grad((inner(x) + inner(x * 2.0)).sum(), [x, w])
    rng.state = start
    y = tg.checkpoint(outer, x)
    end = rng.state
    for g, expected in zip(tg.grad(y.sum(), [x, w], create_graph=True, retain_graph=True), plain, strict=True):
        same(g, expected.numpy())
    for g, expected in zip(tg.grad(y.sum(), [x, w]), plain, strict=True):
        same(g, expected.numpy())
    assert rng.state == end


def test_a_freed_checkpoint_says_so():
    """Without retain_graph a second pass through a checkpoint is refused like any other."""
    x = leaf(draw(3))
    y = tg.checkpoint(tg.tanh, x).sum()
    tg.grad(y, x, retain_graph=True)
    tg.grad(y, x)
    with pytest.raises(GraphError, match="freed"):
        tg.grad(y, x)


# ---- jacobian and hvp --------------------------------------------------------------------------------------


def test_jacobian_against_closed_forms():
    """Ax has A; tanh a diagonal; an outer product four axes; a constant zeros; float32 stays float32."""
    a, x = draw(3, 4), draw(4, seed=1)
    same(tg.jacobian(lambda t: tg.matmul(a, t), x), a)
    same(tg.jacobian(tg.tanh, x), np.diag(1 - np.tanh(x) ** 2))
    j = tg.jacobian(lambda t: tg.outer(t, t), x)
    eye = np.eye(4)
    same(j, np.einsum("ik,j->ijk", eye, x) + np.einsum("i,jk->ijk", x, eye))
    assert tg.jacobian(lambda t: t.sum(), x).shape == (4,)
    same(tg.jacobian(lambda t: tg.tensor([1.0, 2.0], dtype="float64"), x), np.zeros((2, 4)))
    same(tg.jacobian(lambda t: tg.stack([t[0], tg.tensor(1.0, dtype="float64")]), x), [[1, 0, 0, 0], [0, 0, 0, 0]])
    assert tg.jacobian(lambda t: t[:0], x).shape == (0, 4)
    assert tg.jacobian(tg.exp, tg.tensor([1.0])).dtype == np.float32
    same(tg.jacobian(lambda t: t * t, leaf(2.0)), 4.0)


def test_jacobian_of_a_jacobian_is_the_hessian():
    """create_graph: the second derivatives of a quadratic form and of a product of sines."""
    a, x = draw(3, 3), leaf(draw(3, seed=1))

    def hessian(f):
        return tg.jacobian(lambda t: tg.jacobian(f, t, create_graph=True), x)

    same(hessian(lambda t: t @ tg.tensor(a) @ t), a + a.T)
    s, c = np.sin(raw(x)), np.cos(raw(x))
    expected = np.array(
        [
            [-s.prod() if i == j else np.prod([c[k] if k in (i, j) else s[k] for k in range(3)]) for j in range(3)]
            for i in range(3)
        ]
    )
    same(hessian(lambda t: tg.prod(tg.sin(t))), expected)


def test_jacobian_at_infinity_is_zero_where_nothing_depends():
    """0 is 0, not 0 times infinity."""
    x = np.array([np.inf, 1.0])
    same(tg.jacobian(lambda t: tg.tensor([1.0, 2.0], dtype="float64"), x), np.zeros((2, 2)))


def test_hvp_against_closed_forms():
    """Quadratic, quartic, linear, constant in one variable; with create_graph a third derivative."""
    a, x, v = draw(4, 4), leaf(draw(4, seed=1)), draw(4, seed=2)
    same(tg.hvp(lambda t: t @ tg.tensor(a) @ t, x, v), (a + a.T) @ v)
    same(tg.hvp(lambda t: (t**4).sum(), x, v), 12 * raw(x) ** 2 * v)
    same(tg.hvp(lambda t: t.sum(), x, v), np.zeros(4))
    same(tg.hvp(lambda t: (t * tg.tensor(v)).sum(), draw(4), v), np.zeros(4))
    same(
        tg.hvp(lambda t: tg.logsumexp(t), x, v), (lambda p: p * v - p * (p @ v))(np.exp(raw(x)) / np.exp(raw(x)).sum())
    )
    h = tg.hvp(lambda t: (t**4).sum(), x, v, create_graph=True)
    same(tg.grad(h.sum(), x), 24 * raw(x) * v)


def test_hvp_of_a_constant_is_zero():
    """As a linear function's: there is nothing to bend."""
    same(tg.hvp(lambda t: tg.tensor(1.0, dtype="float64"), leaf(draw(3)), np.ones(3)), np.zeros(3))


@pytest.mark.parametrize("call", [lambda x: tg.jacobian(tg.sin, x), lambda x: tg.hvp(tg.sum, x, x)])
def test_where_nothing_is_recorded_derivatives_are_refused(call):
    """Zeros would be the answer otherwise."""
    with tg.no_grad(), pytest.raises(GraphError, match="no_grad"):
        call(draw(3))


# ---- explain ---------------------------------------------------------------------------------------------


def table(loss):
    """The rows of an explanation by operation."""
    found = tg.explain(loss)
    return found, {r.op: r for r in found.rows}


def test_explain_shows_names_rules_uses_sums_and_sites():
    """One line an operation, from the loss to the leaves, with what its gradient is made of."""
    x, w, b = tg.tensor(draw(4, 3)), leaf(draw(3, 2, seed=1), name="weight"), leaf(draw(2, seed=2), name="bias")

    def loss():
        h = tg.tanh(x @ w + b)
        return (h * h).sum()  # the line

    found, rows = table(loss)
    assert [r.op for r in found.rows] == ["sum", "multiply", "tanh", "add", "matmul", "leaf", "leaf"]
    assert {r.label for r in found.rows if r.op == "leaf"} == {"weight", "bias"}
    assert spelt(rows["tanh"].rules) == spelt(["x̄ = ȳ·(1 − y·y)"]) and rows["tanh"].uses == 2
    assert rows["matmul"].inputs == ["constant", "weight"] and spelt(rows["matmul"].rules) == spelt(["b̄ = aᵀ ȳ"])
    assert spelt(rows["multiply"].rules) == spelt(["ā = ȳ·b", "b̄ = ȳ·a"]) and rows["sum"].uses == 1
    assert rows["add"].sums == ["Σ (4, 2)→(2,)"] and rows["add"].inputs[1] == "bias"
    assert all(r.site.startswith("test_transforms.py:") for r in found.rows if r.op != "leaf")
    text = open(__file__, encoding="utf-8").read().splitlines()
    assert text[int(rows["sum"].site.split(":")[1]) - 1].endswith("# the line")
    gw, gb = tg.grad(loss(), [w, b])
    norms = {r.label: r.norm for r in found.rows}
    assert norms["weight"] == pytest.approx(np.linalg.norm(gw.numpy()))
    assert norms["bias"] == pytest.approx(np.linalg.norm(gb.numpy()))
    shown = str(found)
    for piece in ("weight", "bias", "x̄ = ȳ·(1 − y·y)", "Σ (4, 2)→(2,)", "constant", "scalar", "4×2", rows["tanh"].site):
        assert spelt([piece])[0] in spelt([shown])[0]
    assert found.notes == []


def test_explain_leaves_the_graph_and_the_gradients_alone():
    """Looking changes nothing; a freed graph is refused; without a function the column of sites asks for one."""
    x = leaf(draw(3))
    y = tg.tanh(x).sum()
    found = tg.explain(y)
    assert any("tg.explain(lambda" in n for n in found.notes) and x.grad is None
    same(tg.grad(y, x), 1 - np.tanh(raw(x)) ** 2)
    with pytest.raises(GraphError, match="explain.*freed"):
        tg.explain(y)
    assert tg.explain(lambda: tg.tanh(x).sum()).rows[0].op == "sum"
    tg.exp(x)
    assert (x * 1.0)._node is not None


def test_explain_notes_where_gradients_break():
    """The first NaN, the first zero, what no gradient reaches, and the oldest broken value."""
    x, w = leaf([0.0, 1.0], name="x"), leaf([2.0, 3.0], name="w")
    with np.errstate(all="ignore"):
        notes = "\n".join(tg.explain(lambda: (tg.sqrt(x) * w).sum()).notes)
        assert "x" in notes and "its gradient is NaN or Inf" in notes
        notes = "\n".join(tg.explain(lambda: (tg.log(x) * tg.exp(w)).sum()).notes)
        assert "oldest with a NaN or Inf" in notes
    notes = "\n".join(tg.explain(lambda: tg.relu(w * -1.0).sum()).notes)
    assert "its gradient is zero" in notes and "multiply" in notes


def test_explain_of_several_outputs_and_checkpoints():
    """Operations with several outputs, kernels by hand-written formula, a checkpoint in one line."""
    x = leaf(np.diag([3.0, 1.0]) + 0.2)
    found, rows = table(lambda: tg.linalg.eigh(x)[0].sum())
    assert rows["eigh"].rules and rows["leaf"].norm == pytest.approx(np.sqrt(2))
    found, rows = table(lambda: tg.checkpoint(tg.tanh, x).sum())
    assert rows["checkpoint"].norm > 0 and rows["leaf"].norm > 0 and str(found)

    found, rows = table(lambda: tg.where(x > 1, x, 0.0).sum())
    assert spelt(rows["where"].rules) == spelt(["ā = where(condition, ȳ, 0)"])


def test_explain_adds_up_what_an_operation_with_several_outputs_is_paid():
    """In the graph of a gradient, one output can be met by two ways: its cotangents add."""
    x = leaf(np.diag([3.0, 1.0]) + 0.2)

    def loss():
        w, v = tg.linalg.eigh(x)
        g = tg.grad((w * w * w).sum() + (v[0] * v[0] * w).sum(), x, create_graph=True)
        return (g * g).sum()

    rows = [r for r in tg.explain(loss).rows if r.op == "leaf"]
    assert rows[0].norm == pytest.approx(np.linalg.norm(tg.grad(loss(), x).numpy()))


def test_explain_agrees_with_grad_on_a_second_order_loss():
    """Gradient penalties are explained like everything else."""
    x = leaf(draw(3), name="x")

    def loss():
        g = tg.grad((tg.tanh(x) ** 3).sum(), x, create_graph=True)
        return (g * g).sum()

    found = tg.explain(loss)
    assert found.rows[-1].norm == pytest.approx(np.linalg.norm(tg.grad(loss(), x).numpy()))


# ---- symbols --------------------------------------------------------------------------------------------------


DIFFERENTIABLE = sorted(
    n for n, row in REGISTRY.items() if row.joint is not None or any(v is not None for v in row.vjps)
)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_row_prints_its_rule(name):
    """Rule 2: a rule an input that has a gradient, in text and in LaTeX, balanced, without Python in it."""
    row = REGISTRY[name]
    found = rules(row)
    assert found
    if row.formula is None:
        assert len(found) == sum(v is not None for v in row.vjps)
    for s in found:
        assert "=" in s.text and "=" in s.latex and r"\bar" in s.latex
        for text in (s.text, s.latex):
            for bad in ("lambda", "Symbol", "object at", "dtype", "None"):
                assert bad not in text, text
            for left, right in ("()", "[]", "{}"):
                assert text.count(left) == text.count(right), text
        assert s.latex.count(r"\left") == s.latex.count(r"\right")
        assert "\\" not in s.text and "{" not in s.text and "_{" not in s.text, s.text


EXACT = {
    "tanh": [("x̄ = ȳ·(1 − y·y)", r"\bar x = \bar y \odot \left(1 - y \odot y\right)")],
    "divide": [("ā = ȳ/b", r"\bar a = \bar y / b"), ("b̄ = −ȳ·y/b", r"\bar b = -\bar y \odot y / b")],
    "matmul": [("ā = ȳ bᵀ", r"\bar a = \bar y\, b^\top"), ("b̄ = aᵀ ȳ", r"\bar b = a^\top\, \bar y")],
    "sqrt": [("x̄ = ȳ/(2·y)", r"\bar x = \bar y / \left(2 \odot y\right)")],
    "exp": [("x̄ = ȳ·y", r"\bar x = \bar y \odot y")],
    "arcsin": [("x̄ = ȳ/√(1 − x·x)", r"\bar x = \bar y / \sqrt{1 - x \odot x}")],
    "sigmoid": [("x̄ = ȳ·y·(1 − y)", r"\bar x = \bar y \odot y \odot \left(1 - y\right)")],
    "inv": [("x̄ = −yᵀ ȳ yᵀ", r"\bar x = -y^\top\, \bar y\, y^\top")],
    "negative": [("x̄ = −ȳ", r"\bar x = -\bar y")],
    "relu": [("x̄ = ȳ·(y > 0)", r"\bar x = \bar y \odot \left(y > 0\right)")],
}


@pytest.mark.parametrize("name", EXACT)
def test_rules_print_exactly(name):
    """As the lecture writes them."""
    found = rules(REGISTRY[name])
    assert spelt([s.text for s in found]) == spelt([text for text, _ in EXACT[name]])
    assert [s.latex for s in found] == [latex for _, latex in EXACT[name]]


A, B, C = (Symbol(n, n) for n in "abc")


@pytest.mark.parametrize(
    "expression, text",
    [
        (A + B + C, "a + b + c"),
        (A - (B + C), "a − (b + c)"),
        (A - (B - C), "a − (b − c)"),
        ((A - B) - C, "a − b − c"),
        ((A + B) * C, "(a + b)·c"),
        (A * (B + C), "a·(b + c)"),
        (A * B + C, "a·b + c"),
        (A / (B * C), "a/(b·c)"),
        (A / (B / C), "a/(b/c)"),
        (A / B / C, "a/b/c"),
        (A * B / C, "a·b/c"),
        (A / B * C, "a/b·c"),
        (-A * B, "−a·b"),
        (-(A + B), "−(a + b)"),
        (A * -B, "a·(−b)"),
        (A - -B, "a − (−b)"),
        (tg.negative(-A), "−(−a)"),
        ((-A) ** 2, "(−a)^2"),
        (A**B**C, "a^(b^c)"),
        ((A * B) ** 2, "(a·b)^2"),
        (-(A**2), "−a^2"),
        ((A + B) / C, "(a + b)/c"),
        (A * -2, "a·(−2)"),
        (1 - A * A, "1 − a·a"),
        ((A > B) * C, "(a > b)·c"),
        (tg.exp(A + B) * C, "exp(a + b)·c"),
        (tg.sqrt(A * A + 1), "√(a·a + 1)"),
        (tg.square(A + B), "(a + b)²"),
        (tg.reciprocal(A), "a⁻¹"),
        (A @ (B @ C), "a b c"),
        ((A + B) @ C, "(a + b) c"),
        (-A / B, "−a/b"),
        ((-A) + B, "−a + b"),
        (A + -B, "a + (−b)"),
        ((A * B) @ C, "(a·b) c"),
        (A * (B @ C), "a·(b c)"),
        ((A / B) @ C, "(a/b) c"),
        (A / (B @ C), "a/(b c)"),
    ],
)
def test_parentheses_stand_where_they_are_needed(expression, text):
    """And nowhere else."""
    assert expression.text == text


def test_different_expressions_print_differently():
    """`(a*b) @ c` is not `a * (b@c)`, and the texts say so, in both alphabets."""
    one, two = (A * B) @ C, A * (B @ C)
    assert one.text != two.text and one.latex != two.latex


def test_a_symbol_is_neither_true_nor_false():
    """A rule that branches on a value cannot be printed: the error names the two ways out."""
    with toys():

        @tg.primitive(lambda g, x: g if x > 0 else -g)
        def toy_branch(xp, x):
            return x

        with pytest.raises(TypeError, match="truth value.*formula=.*vocabulary"):
            rules(toy_branch.primitive)


def test_a_users_rule_prints_as_well():
    """Rule 12: three lines give values, gradients of all orders, and the formula."""
    with toys():

        @tg.primitive(lambda g, x: g * 3 * tg.square(x))
        def toy_cube(xp, x):
            return x**3

        assert [s.text for s in rules(toy_cube.primitive)] == ["x\u0304 = y\u0304·3·x²"]
        x = leaf([1.0, 2.0])
        assert "toy_cube" in str(tg.explain(lambda: toy_cube(x).sum()))


def test_a_checkpoint_notices_that_what_it_closes_over_was_exchanged():
    """The second run would differentiate by another Tensor: refused, not silently wrong."""
    w, x = [leaf([2.0])], leaf([1.0])
    y = tg.checkpoint(lambda t: t * w[0], x)
    w[0] = leaf([100.0])
    with pytest.raises(GraphError, match="other Tensors than before"):
        tg.grad(y.sum(), x)

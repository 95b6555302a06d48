"""What grad and backward promise: results, orders, what is kept, what is refused, and how Tensors behave as arrays.

Guards rules 3, 5, 6 and 7 of the engine.
"""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.graph import GraphError
from tinygen.backend import cuda

from . import checkers
from .checkers import draw, leaf, raw, toys


def same(found, expected):
    """Gradients agree with arrays to rounding."""
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


# ---- grad: inputs and outputs ----------------------------------------------------------------------------


def test_one_input_gives_a_tensor_and_several_a_tuple_in_their_order():
    """The order of the results is the order of the inputs, whatever their age."""
    a, b, c = leaf([1.0]), leaf([2.0]), leaf([3.0])
    y = (a * b * c).sum()
    assert isinstance(tg.grad(y, a, retain_graph=True), tg.Tensor)
    found = tg.grad(y, [c, a, b], retain_graph=True)
    assert isinstance(found, tuple)
    assert [g.item() for g in found] == [2.0, 6.0, 3.0]
    assert isinstance(tg.grad(y, [a], retain_graph=True), tuple)
    assert tg.grad(y, [], retain_graph=True) == ()
    assert [g.item() for g in tg.grad(y, (b, c))] == [3.0, 2.0]


def test_an_input_asked_for_twice_gets_two_gradients_of_its_own():
    """No two returned gradients share memory, not even for the same input."""
    x = leaf([1.0, 2.0])
    one, two = tg.grad((x * x).sum(), [x, x])
    same(one, [2.0, 4.0])
    same(two, [2.0, 4.0])
    assert not np.shares_memory(raw(one), raw(two))


def test_recorded_gradients_share_no_memory_either():
    """create_graph=True makes the same promise as without."""
    x, z = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    u = tg.tensor([1.0, 1.0], dtype="float64")
    a, b = tg.grad(x + z, [x, z], u, create_graph=True)
    assert not np.shares_memory(raw(a), raw(b))
    x.grad = None
    (x + 0.0).backward(u, create_graph=True)
    for g in (a, b, x.grad):
        assert not np.shares_memory(raw(g), raw(u))  # found: with create_graph, one is the caller's cotangent itself


def test_computed_values_can_be_inputs():
    """By a leaf, by a value, and by both at once; the leaf's gradient goes on through the value."""
    x = leaf([0.5, 1.0])
    h = tg.exp(x)
    y = (h * h).sum()
    gh, gx, gy = tg.grad(y, [h, x, y])
    same(gh, 2 * np.exp(raw(x)))
    same(gx, 2 * np.exp(2 * raw(x)))
    assert gy.shape == () and gy.item() == 1.0


def test_a_wanted_value_is_not_freed_by_a_pass_that_stopped_at_it():
    """grad(d, fake) pulls nothing through fake's own operation, so fake's graph is still whole for the generator."""
    x = leaf([0.5, 1.0])
    fake = tg.exp(x)
    tg.grad((fake * fake).sum(), fake)
    same(tg.grad((fake * 3.0).sum(), x), 3 * np.exp(raw(x)))


def test_unused_inputs_are_named_or_none():
    """An input without a path is an error that says which; allow_unused gives None."""
    x, z = leaf([1.0]), leaf([2.0, 3.0])
    y = (x * 2.0).sum()
    with pytest.raises(GraphError, match=r"inputs\[1\].*float64 \(2,\).*allow_unused=True"):
        tg.grad(y, [x, z], retain_graph=True)
    gx, gz = tg.grad(y, [x, z], allow_unused=True, retain_graph=True)
    assert gx.item() == 2.0 and gz is None
    assert tg.grad(y, z, allow_unused=True, retain_graph=True) is None
    assert tg.grad(y, [z, z], allow_unused=True) == (None, None)


def test_a_path_without_derivative_counts_as_no_path():
    """Comparisons, argmax and detach end the path; floor and sign give zeros."""
    x = leaf([1.5, 2.5])
    y = (x * (x > 2)).sum() + x.detach().sum() * 0.0
    same(tg.grad(y, x), [0.0, 1.0])
    same(tg.grad((tg.floor(x) + tg.sign(x)).sum(), x), [0.0, 0.0])
    assert not tg.argmax(x).requires_grad


def test_a_cast_to_integers_ends_the_path():
    """Rule 6: integer Tensors have no gradient, so none passes through them."""
    x = leaf([1.5, 2.5])
    for kind in ("int64", "int32", "bool"):
        assert not x.astype(kind).requires_grad


def test_cotangents_shapes_and_dtypes():
    """Arrays, Tensors, lists and numbers; of the output's shape; cast to its dtype."""
    x = leaf([1.0, 2.0], "float32")
    y = x * 3.0
    for u in (
        np.array([1.0, 2.0]),
        tg.tensor([1.0, 2.0]),
        np.array([1, 2]),
        [np.array([1.0, 2.0])],
        [[1.0, 2.0]],
        (tg.tensor([1.0, 2.0]),),
    ):
        for create_graph in (False, True):
            g = tg.grad(y, x, u, create_graph=create_graph, retain_graph=True)
            assert g.dtype == np.float32
            same(g, [3.0, 6.0])
    for wrong in (np.ones(3), np.ones((2, 1)), 1.0, np.ones((1, 2))):
        with pytest.raises(ValueError, match=r"grad_outputs\[0\].*\(2,\)"):
            tg.grad(y, x, wrong)
    with pytest.raises(ValueError, match="2 grad_outputs for 1 outputs"):
        tg.grad(y, x, [1.0, 2.0])
    same(tg.grad(y.sum(), x, 2.0), [6.0, 6.0])


def test_several_outputs_add_up():
    """sum over outputs of <cotangent, output>, an output twice included, and one that was computed from another."""
    x = leaf([1.0, 2.0])
    h = x * x
    y = h.sum()
    same(tg.grad([y, h], x, [None, np.array([1.0, 10.0])], retain_graph=True), [4.0, 44.0])
    same(tg.grad([y, y], x, retain_graph=True), [4.0, 8.0])
    same(tg.grad([h, x], x, [np.ones(2), np.ones(2)], create_graph=True), [3.0, 5.0])
    same(tg.grad([y, y], [y], retain_graph=True)[0], 2.0)


def test_several_outputs_of_one_operation():
    """Outputs that nobody used have no cotangent; each alone and all together."""
    x = leaf(np.diag([3.0, 1.0]) + 0.2)
    w, v = tg.linalg.eigh(x)
    one = tg.grad(w.sum(), x, retain_graph=True)
    same(one, np.eye(2))
    both = tg.grad([w.sum(), (v * v).sum()], x, retain_graph=True)
    same(both, np.eye(2))
    gw, gv = tg.grad((w * 2.0).sum(), [w, v], allow_unused=True)
    same(gw, [2.0, 2.0])
    assert gv is None


def test_results_are_detached_unless_recorded():
    """Rule 5: gradients are Tensors, detached unless create_graph."""
    x = leaf([1.0])
    y = (x * x).sum()
    assert not tg.grad(y, x, retain_graph=True).requires_grad
    assert tg.grad(y, x, create_graph=True).requires_grad
    y.backward(create_graph=True)
    assert x.grad.requires_grad
    x.grad = None


def test_graphs_are_freed_or_kept():
    """retain_graph=None means create_graph; a freed graph used again is a clear error that names the operation."""
    checkers.check_frees()
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    tg.grad(y, x, create_graph=True)
    tg.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(GraphError, match="sum.*freed.*retain_graph=True"):
        tg.grad(y, x)
    with pytest.raises(GraphError, match="freed"):
        y.backward()
    h = x * 2.0
    tg.grad(h.sum(), x)
    with pytest.raises(GraphError, match="multiply.*freed"):
        tg.grad((h * h).sum(), x)


def test_third_order():
    """d³/dx³ of x⁵ and of tanh, one `grad` inside another, and mixed derivatives."""
    x = leaf([0.7, -1.2])
    v = raw(x)
    first = tg.grad((x**5).sum(), x, create_graph=True)
    second = tg.grad(first.sum(), x, create_graph=True)
    third = tg.grad(second.sum(), x, create_graph=True)
    fourth = tg.grad(third.sum(), x)
    for g, expected in zip((first, second, third, fourth), (5 * v**4, 20 * v**3, 60 * v**2, 120 * v), strict=True):
        same(g, expected)
    t = np.tanh(v)
    g = tg.tanh(x).sum()
    for _ in range(3):
        g = tg.grad(g.sum(), x, create_graph=True)
    same(g, -2 * (1 - t * t) * (1 - 3 * t * t))
    a, b = leaf(2.0), leaf(3.0)
    ga = tg.grad(a * a * b * b, a, create_graph=True)
    same(tg.grad(ga, b, create_graph=True), 4 * 2.0 * 3.0)


def test_a_gradient_can_be_part_of_the_loss():
    """The gradient penalty (|∇|² of x³): its own gradient is 2·3x²·6x."""
    x = leaf([0.5, 2.0])
    slope = tg.grad((x * x * x).sum(), x, create_graph=True)
    (slope * slope).sum().backward()
    same(x.grad, 36 * raw(x) ** 3)


def test_only_what_leads_to_a_wanted_input_is_visited():
    """Rule 3: no weight gradient of the discriminator in the generator's step."""
    checkers.check_visits()


def test_gradients_share_no_memory():
    """With each other, with inputs, with the caller's cotangent; and changing one changes no other."""
    checkers.check_no_shared_memory()
    checkers.check_in_place_care()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.T,
        lambda x: x.reshape(-1),
        lambda x: x[:1],
        lambda x: x[None],
        lambda x: tg.flip(x),
        lambda x: tg.broadcast_to(x, (2, 2, 2)),
        lambda x: x.sum(),
        lambda x: tg.swapaxes(x, 0, 1),
        lambda x: x + 0.0,
        lambda x: tg.einsum("ij->ji", x),
        lambda x: tg.concatenate([x, x]),
        lambda x: x.astype("float64"),
        lambda x: x,
    ],
)
def test_gradients_of_views_are_arrays_of_their_own(f):
    """Writable, not the cotangent, not a view of it."""
    x = leaf(draw(2, 2))
    y = f(x)
    u = np.ones(y.shape)
    g = tg.grad(y, x, u)
    assert g.shape == x.shape and not np.shares_memory(raw(g), u) and not np.shares_memory(raw(g), raw(x))
    raw(g)[...] = 5.0
    np.testing.assert_array_equal(u, 1.0)
    x.grad = None
    f(x).backward(np.ones(y.shape))
    assert raw(x.grad).flags.writeable and not np.shares_memory(raw(x.grad), raw(x))


# ---- leaves: .grad and change ---------------------------------------------------------------------------


def test_backward_accumulates_in_leaves_only():
    """`.grad` of a leaf adds up; computed values have none."""
    x = leaf([1.0, 2.0])
    h = x * x
    h.sum().backward()
    first = x.grad
    h2 = (x * 3.0).sum()
    h2.backward()
    same(x.grad, 2 * raw(x) + 3)
    same(first, 2 * raw(x))  # what was read before has not changed
    assert h.grad is None
    with pytest.raises(GraphError, match="leaves"):
        h.grad = tg.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(2,\)"):
        x.grad = tg.tensor([1.0])
    x.grad = None
    assert x.grad is None


def test_a_changed_leaf_is_noticed_where_its_value_is_held():
    """Rule 7, and no false alarm where it is not."""
    checkers.check_stale_leaf()


@pytest.mark.parametrize(
    "use",
    [
        lambda w, x: w * x,
        lambda w, x: x * w,
        lambda w, x: w @ x,
        lambda w, x: x @ w,
        lambda w, x: x / w,
        lambda w, x: tg.exp(w * 1.0) * tg.log(w) * x,
        lambda w, x: tg.maximum(w, x),
        lambda w, x: x**w,
        lambda w, x: tg.linalg.solve(w, x),
        lambda w, x: tg.where(w > 0, x, x * w),
        lambda w, x: tg.einsum("ij,jk->ik", w, x),
        lambda w, x: x @ w.T,
        lambda w, x: x * w.reshape(2, 2),
        lambda w, x: x * w[0],
        lambda w, x: x * tg.flip(w),
        lambda w, x: x * tg.broadcast_to(w, (2, 2, 2)),
        lambda w, x: x * tg.swapaxes(w, 0, 1),
        lambda w, x: x * w[None],
        lambda w, x: x * w.detach(),
    ],
)
def test_no_use_of_a_changed_leaf_gives_a_wrong_gradient(use):
    """After `assign`, the old graph refuses or gives the old gradient: never a mixture."""
    w, x = leaf(draw(2, 2, low=0.5, high=1.5) + np.eye(2)), leaf(draw(2, 2, seed=1, low=0.5, high=1.5))
    expected = tg.grad(use(w, x).sum(), x).numpy()
    y = use(w, x).sum()
    w.assign(np.array([[5.0, 6.0], [7.0, 9.0]]))
    try:
        found = tg.grad(y, x).numpy()
    except GraphError as error:
        assert "changed" in str(error)
    else:
        np.testing.assert_allclose(found, expected)


def test_a_changed_leaf_is_noticed_on_the_other_library_too():
    """The same promise for arrays of the strict stand-in."""
    strict_cupy = pytest.importorskip("strict_cupy")
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        for use in (lambda w, x: w * x, lambda w, x: x @ w.T, lambda w, x: x * w.detach()):
            w, x = (tg.tensor(draw(2, 2, seed=k), device="cuda", requires_grad=True) for k in (1, 2))
            y = use(w, x).sum()
            w.assign(np.zeros((2, 2)))
            with pytest.raises(GraphError, match="changed"):
                tg.grad(y, x)


def test_a_raw_array_that_changes_is_the_callers_own_affair():
    """An operand given as a raw array is held, not copied: pinned, so that a change is noticed."""
    x = leaf([1.0, 2.0, 3.0])
    c = np.ones(3)
    y = (x * c).sum()
    c[:] = 0.0
    same(tg.grad(y, x), [0.0, 0.0, 0.0])


def test_assign_changes_leaves_and_buffers_only():
    """A leaf is overwritten in place, and older graphs refuse; a buffer gets a new array, and they keep the old."""
    w, buffer = leaf([1.0, 2.0], "float32"), tg.tensor([1.0, 2.0])
    array = raw(w)
    old_buffer = raw(buffer)
    y = (leaf([1.0, 1.0], "float32") * buffer).sum()
    buffer.assign(np.array([7.0, 8.0]))
    w.assign([5.0, 6.0])
    assert raw(w) is array and w.dtype == np.float32 and array.tolist() == [5.0, 6.0]
    assert raw(buffer) is not old_buffer and old_buffer.tolist() == [1.0, 2.0] and buffer.tolist() == [7.0, 8.0]
    assert y.item() == 3.0
    source = np.array([1.0, 1.0], "float32")
    buffer.assign(source)
    source[:] = 9.0
    assert buffer.tolist() == [1.0, 1.0]
    w.assign(tg.tensor([3.0, 4.0]))
    assert w.tolist() == [3.0, 4.0]
    with pytest.raises(GraphError, match="leaves"):
        (w * 2.0).assign([1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        w.assign(np.ones(3))
    with pytest.raises(ValueError, match=r"\(\).*\(2,\)"):
        w.assign(1.0)


def test_a_buffer_in_a_graph_may_change():
    """Older graphs keep the old array of a buffer: batch norm's running mean, say."""
    x, buffer = leaf([1.0, 2.0]), tg.tensor([3.0, 4.0], dtype="float64")
    y = (x * buffer).sum()
    buffer.assign([0.0, 0.0])
    same(tg.grad(y, x), [3.0, 4.0])


def test_a_leaf_made_from_a_detached_one_has_memory_of_its_own():
    """Changing the one does not change the other behind the graph's back."""
    a = leaf([1.0, 2.0])
    y = (a * a).sum()
    b = a.detach().requires_grad_()
    b.assign(np.zeros(2))
    assert a.tolist() == [1.0, 2.0]
    same(tg.grad(y, a), [2.0, 4.0])


def test_tensor_copies_and_data_is_read_only():
    """tg.tensor owns its memory; .data cannot be written through."""
    source = np.array([1.0, 2.0])
    x = tg.tensor(source, requires_grad=True)
    source[0] = 9.0
    assert x.tolist() == [1.0, 2.0]
    assert tg.tensor(x).tolist() == [1.0, 2.0] and not np.shares_memory(raw(tg.tensor(x)), raw(x))
    for t in (x, x * 2.0, x.detach(), tg.tensor(1.0)):
        assert isinstance(t.data, np.ndarray) and np.shares_memory(t.data, raw(t))
        with pytest.raises(ValueError, match="read-only"):
            t.data[...] = 0.0
    x.numpy()[0] = 5.0
    assert x.tolist() == [1.0, 2.0]


def test_detach_and_requires_grad():
    """detach shares the values and drops the past; requires_grad_ is for leaves."""
    x = leaf([1.0, 2.0])
    assert np.shares_memory(raw(x.detach()), raw(x)) and not x.detach().requires_grad
    t = tg.tensor([1.0, 2.0])
    assert t.is_leaf and not t.requires_grad and t.requires_grad_() is t and t.requires_grad and t.is_leaf
    assert not t.requires_grad_(False).requires_grad
    assert not (x * 2).is_leaf
    with pytest.raises(GraphError, match="detach"):
        (x * 2).requires_grad_()
    with pytest.raises(TypeError, match="int64.*floating.*astype"):
        tg.tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="bool.*floating"):
        tg.tensor([True]).requires_grad_()


# ---- kinks, zeros and infinities ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", [None, 1, 2, 3, 1.5, np.inf])
def test_norms_have_subgradient_zero_at_zero(order):
    """Rule 9, for every order, as a whole and row by row."""
    x = leaf([0.0, 0.0])
    if order != np.inf:  # whose maximum is a tie of |x|, each with derivative 0
        same(tg.grad(tg.norm(x, order), x), [0.0, 0.0])
    rows = leaf([[0.0, 0.0], [3.0, 4.0]])
    g = tg.grad(tg.norm(rows, order, axis=1).sum(), rows).numpy()
    assert np.isfinite(g).all() and not g[0].any()


def test_zero_variance_has_a_finite_gradient():
    """Rule 9, at first and second order."""
    x = leaf([2.0, 2.0, 2.0])
    for f in (tg.std, tg.var, tg.norm):
        g = tg.grad(f(x - 2.0 if f is tg.norm else x), x, create_graph=True)
        same(g, np.zeros(3))
        h = tg.grad((g * g).sum(), x, allow_unused=True) if g.requires_grad else None
        assert h is None or np.isfinite(h.numpy()).all()


def test_kinks_take_the_documented_side():
    """abs and relu 0 at 0, clip 1 at its bounds, 0⁰ and powers of negative numbers."""
    x = leaf([0.0])
    for f, slope in ((tg.abs, 0), (tg.relu, 0), (lambda t: tg.clip(t, 0.0, 1.0), 1), (lambda t: t**0, 0)):
        same(tg.grad(f(x).sum(), x), [slope])
    z = leaf([-2.0, 3.0])
    same(tg.grad((z**3).sum(), z), [12.0, 27.0])
    same(tg.grad((z**2.0).sum(), z), [-4.0, 6.0])


def test_minus_infinity_is_a_probability_of_zero():
    """logsumexp and logaddexp of masked entries: no NaN in values or gradients."""
    x = leaf([-np.inf, -np.inf])
    assert tg.logsumexp(x).item() == -np.inf
    same(tg.grad(tg.logsumexp(x), x), [0.0, 0.0])
    y = leaf([-np.inf, 1.0])
    same(tg.grad(tg.logsumexp(y), y), [0.0, 1.0])
    same(tg.grad(tg.logaddexp(y, 0.5).sum(), y), [0.0, 1 / (1 + np.exp(-0.5))])
    with np.errstate(invalid="ignore"):
        g = tg.grad(tg.logaddexp(x, -np.inf).sum(), x).numpy()
    assert np.isfinite(g).all()


def test_infinity_goes_through_rectifiers():
    """leaky_relu and elu of ±∞ are what their definitions say, and so are their gradients."""
    x = leaf([np.inf, -np.inf])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(tg.leaky_relu(x).numpy(), [np.inf, -np.inf])
        np.testing.assert_array_equal(tg.elu(x).numpy(), [np.inf, -1.0])
        same(tg.grad(tg.elu(x).sum(), x), [1.0, 0.0])


def test_softplus_has_a_gradient_where_it_has_a_value():
    """A confident discriminator still learns: the gradient of softplus(−20) in float32 is e⁻²⁰, not 0."""
    x = leaf([-20.0, -10.0], "float32")

    np.testing.assert_allclose(tg.grad(tg.softplus(x).sum(), x).numpy(), np.exp([-20.0, -10.0]), rtol=1e-4)


def test_freezing_and_thawing_a_leaf_keeps_its_name():
    """requires_grad_(False) and back: the weights of a discriminator while the generator learns."""
    x = leaf([1.0, 2.0], name="weight")
    x.requires_grad_(False)
    assert not x.requires_grad
    x.requires_grad_()
    assert x.name == "weight"


# ---- switches -------------------------------------------------------------------------------------------


def test_no_grad_is_a_switch_and_a_decorator_and_ends_with_its_block():
    """Nothing is recorded inside, even when the block is left by an error."""
    x = leaf([1.0])

    @tg.no_grad()
    def f():
        return x * 2.0

    assert not f().requires_grad and (x * 2.0).requires_grad
    with pytest.raises(ZeroDivisionError):
        with tg.no_grad():
            raise ZeroDivisionError
    assert (x * 2.0).requires_grad
    with tg.no_grad():
        with tg.no_grad():
            pass
        assert not (x * 2.0).requires_grad
        assert leaf([1.0]).requires_grad


def test_no_grad_holds_inside_detect_anomaly_whichever_is_the_outer():
    """A check for NaN does not switch recording on."""
    x = leaf([1.0])
    with tg.detect_anomaly(), tg.no_grad():
        assert not (x * 2.0).requires_grad
    with tg.no_grad(), tg.detect_anomaly():
        assert not (x * 2.0).requires_grad


def test_no_grad_is_a_matter_of_one_thread():
    """Each thread has its own switch."""
    x = leaf([1.0])
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other():
        with tg.no_grad():
            entered.set()
            leave.wait(10)
            seen.append((x * 2.0).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(10)
    here = (x * 2.0).requires_grad
    leave.set()
    thread.join()
    assert here and seen == [False]


def test_gradients_inside_no_grad():
    """An existing graph can be walked inside no_grad; create_graph asks for recording by name."""
    x = leaf([2.0])
    y = (x * x * x).sum()
    with tg.no_grad():
        same(tg.grad(y, x, retain_graph=True), [12.0])
        g = tg.grad(y, x, create_graph=True)
        assert g.requires_grad and not (x * 2).requires_grad
    same(tg.grad(g.sum(), x), [12.0])


def line_of(mark) -> str:
    """`file:line` of the line in this file that ends with a mark."""
    with open(__file__, encoding="utf-8") as file:
        return f"test_walk.py:{next(k for k, line in enumerate(file, 1) if line.rstrip().endswith('# ' + mark))}"


def test_detect_anomaly_names_the_operation_and_the_line():
    """In the forward pass, and for a gradient that breaks on the way back."""
    x = leaf([0.0, 1.0])
    with np.errstate(all="ignore"), tg.detect_anomaly():
        with pytest.raises(GraphError, match=f"log.*{line_of('mark one')}.*NaN or Inf"):
            tg.log(x)  # mark one
        y = tg.sqrt(x)  # mark two
        with pytest.raises(GraphError, match=f"gradient.*sqrt.*{line_of('mark two')}.*NaN or Inf"):
            tg.grad(y.sum(), x, retain_graph=True)
        with pytest.raises(GraphError, match="NaN or Inf"):
            tg.grad(y.sum(), x, create_graph=True)
    with np.errstate(all="ignore"):
        assert np.isinf(tg.log(x).numpy()[0])
        assert (x * 1.0).requires_grad


# ---- Tensors as arrays --------------------------------------------------------------------------------


def test_numpy_asks_politely():
    """Rule 5: np.asarray works on a detached host Tensor; otherwise the error names the fix."""
    x = leaf([1.0, 2.0])
    assert np.asarray(x.detach()).tolist() == [1.0, 2.0]
    assert np.asarray(x.detach(), dtype="float32").dtype == np.float32
    assert np.array(x.detach(), copy=True).flags.writeable and not np.asarray(x.detach()).flags.writeable
    for bad in (x, x * 2.0):
        with pytest.raises(GraphError, match=r"x\.numpy\(\).*x\.detach\(\)"):
            np.asarray(bad)
    with pytest.raises(TypeError, match="np.exp.*tg.exp"):
        np.exp(x)
    with pytest.raises(TypeError, match="np.concatenate.*tg.concatenate"):
        np.concatenate([x, x])
    with pytest.raises(TypeError, match="np.add"):
        np.add.reduce(x)
    with pytest.raises(TypeError, match="in place"):
        array = np.ones(2)
        array += x


@pytest.mark.parametrize(
    "operator", ["add", "sub", "mul", "truediv", "pow", "matmul", "eq", "ne", "lt", "le", "gt", "ge"]
)
def test_an_array_on_the_left_gives_a_tensor(operator):
    """ndarray ∘ Tensor is a Tensor, recorded, and has the values of NumPy."""
    import operator as operators

    f = getattr(operators, operator)
    a, b = draw(2, 2, low=0.5), leaf(draw(2, 2, seed=1, low=0.5))
    for left in (a, a.astype("float32")):
        y = f(left, b)
        assert isinstance(y, tg.Tensor)
        np.testing.assert_allclose(y.numpy(), f(left, raw(b)))
        assert y.requires_grad == (operator not in ("eq", "ne", "lt", "le", "gt", "ge"))
    for scalar in (2, 2.0, np.float64(2), np.float32(2), np.int64(2)):
        if operator != "matmul":
            np.testing.assert_allclose(f(scalar, b).numpy(), f(2.0, raw(b)))
            np.testing.assert_allclose(f(b, scalar).numpy(), f(raw(b), 2.0))


def test_truth_length_iteration_and_hash():
    """As arrays have them; a hash by identity, since == compares elements."""
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(2,\).*any\(\).*all\(\)"):
        bool(x)
    assert bool(tg.tensor(1.0)) and not bool(tg.tensor([0.0])) and bool((x > 0).all())
    assert len(x) == 2 and [t.item() for t in x] == [1.0, 2.0]
    with pytest.raises(TypeError, match="0-d"):
        len(tg.tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(tg.tensor(1.0))
    first, second = x
    same(tg.grad(first * second, x), [2.0, 1.0])
    assert len({x, x, leaf([1.0, 2.0])}) == 2 and {x: 1}[x] == 1
    with pytest.raises(TypeError, match="tg.where.*assign"):
        x[0] = 5.0
    with pytest.raises(TypeError, match="integer"):
        [1, 2, 3][tg.tensor(1.0)]
    assert [1, 2, 3][tg.tensor(1)] == 2 and float(x[0]) == 1.0 and int(x[1]) == 2
    with pytest.raises(ValueError, match="one element"):
        x.item()


def test_dlpack_refuses_what_is_recorded():
    """Rule 7: nobody else gets to write into a graph."""
    x = leaf([1.0, 2.0])
    for bad in (x, x * 2.0):
        with pytest.raises(GraphError, match="detach"):
            np.from_dlpack(bad)
    shared = np.from_dlpack(x.detach())
    assert np.shares_memory(shared, raw(x))
    array = np.array([1.0, 2.0])
    assert np.shares_memory(raw(tg.from_dlpack(array)), array)


SCALARS = [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.float16(2.5), np.bool_(True)]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars_are_weak(scalar, dtype):
    """Rule 6: float32 in, float32 out, values and gradients, whatever number it meets."""
    x = leaf([0.5, 2.0], dtype)
    plain = scalar.item() if isinstance(scalar, np.generic) else scalar
    for f in (tg.add, tg.subtract, tg.multiply, tg.divide, tg.power, tg.maximum, tg.minimum, tg.arctan2, tg.logaddexp):
        for create_graph in (False, True):
            for y, z in ((f(x, scalar), f(x, plain)), (f(scalar, x), f(plain, x))):
                g = tg.grad(y.sum(), x, create_graph=create_graph)
                assert y.dtype == dtype and g.dtype == dtype
                np.testing.assert_array_equal(y.numpy(), z.numpy())
    assert tg.where(x > 1, x, scalar).dtype == dtype


def test_scalar_options_are_weak():
    """The same for options: a slope or a bound that NumPy computed."""
    x = leaf([0.5, -2.0], "float32")
    half = np.float64(0.5)
    for f in (
        lambda: tg.leaky_relu(x, half),
        lambda: tg.elu(x, half),
        lambda: tg.clip(x, -half, half),
        lambda: tg.pad(x, 1, constant_values=half),
    ):
        y = f()
        assert y.dtype == np.float32 and tg.grad(y.sum(), x).dtype == np.float32


def test_dtypes_promote_as_arrays_and_gradients_come_back_in_their_own():
    """float32 with float64 gives float64; each gradient has its input's dtype."""
    checkers.check_dtypes()
    assert (leaf([1.0], "float32") * np.array([1.0])).dtype == np.float64
    assert (leaf([1.0], "float32") * np.array([1])).dtype == np.result_type(np.float32, np.int64)
    assert (tg.tensor([1]) + tg.tensor([2])).dtype == np.int64
    assert tg.tensor(1.5).dtype == tg.tensor([1.5]).dtype == np.float32 and tg.tensor(np.array(1.5)).dtype == np.float64


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.sum(),
        lambda x: x[0],
        lambda x: x[0] * 2,
        lambda x: x.mean() + 1,
        lambda x: x.max(),
        lambda x: x @ x,
        lambda x: tg.exp(x[1]),
        lambda x: -x[0],
        lambda x: x.prod(),
        lambda x: x.std(),
        lambda x: tg.einsum("i,i->", x, x),
        lambda x: tg.norm(x),
        lambda x: tg.logsumexp(x),
        lambda x: x[0] > x[1],
        lambda x: x.argmax(),
        lambda x: x.sum().reshape(()),
        lambda x: x[0] / x[1],
    ],
)
def test_zero_dimensional_results_stay_arrays(f):
    """Rule 5: .data is always an ndarray, 0-d included, and so is every gradient."""
    x = leaf([1.0, 2.0])
    y = f(x)
    assert type(raw(y)) is np.ndarray and y.shape == () and isinstance(y.data, np.ndarray)
    if y.requires_grad:
        for create_graph in (False, True):
            g, gy = tg.grad(y, [x, y], create_graph=create_graph, retain_graph=True)
            assert type(raw(g)) is np.ndarray and type(raw(gy)) is np.ndarray and g.shape == (2,)
        z = leaf(3.0)
        (z * y).backward()
        assert type(raw(z.grad)) is np.ndarray and z.grad.shape == ()
        (z * f(x)).backward()
        assert type(raw(z.grad)) is np.ndarray and z.grad.shape == ()


def test_raw_in_raw_out():
    """Rule 5: tg.f(array) is an array, tg.f(Tensor) a Tensor."""
    array = np.array([1.0, 2.0])
    for f in (
        tg.exp,
        tg.sum,
        tg.softplus,
        lambda t: tg.reshape(t, (2, 1)),
        lambda t: tg.stack([t, t]),
        tg.prod,
        tg.norm,
    ):
        assert not isinstance(f(array), tg.Tensor)
        assert isinstance(f(tg.tensor(array)), tg.Tensor)
        np.testing.assert_allclose(f(tg.tensor(array)).numpy(), f(array))


def test_empty_arrays_go_through():
    """Length 0 along an axis, forward and backward, broadcast included."""
    a, b = leaf(np.zeros((0, 3))), leaf(draw(3))
    y = tg.tanh(a * b + b)
    ga, gb = tg.grad(y.sum(), [a, b])
    assert ga.shape == (0, 3) and gb.tolist() == [0.0, 0.0, 0.0]
    assert tg.grad(tg.prod(leaf(np.zeros((0,)))) * b.sum(), b).tolist() == [1.0, 1.0, 1.0]


def test_a_leaf_can_be_copied():
    """copy.deepcopy of a leaf: the same values, its own memory and its own gradient."""
    x = leaf([1.0, 2.0], name="w")
    z = copy.deepcopy(x)
    assert z.requires_grad and z.name == "w" and z._node is not x._node and not np.shares_memory(raw(z), raw(x))
    (z * z).sum().backward()
    assert x.grad is None and z.grad.tolist() == [2.0, 4.0]


def test_a_leaf_from_another_process_is_as_old_as_its_arrival():
    """Creation numbers order the walk, so a leaf that was pickled elsewhere must get a new one here."""
    x = leaf([1.0, 2.0])
    x._node.seq = x._node.version = 10**12  # what a long-running process would have written
    z = pickle.loads(pickle.dumps(x))
    same(tg.grad((z * z).sum(), z), [2.0, 4.0])


# ---- vjps of users ------------------------------------------------------------------------------------------


def test_a_primitive_in_three_lines():
    """Rule 12: a user's own row works on arrays, on Tensors at every order, and in both ways of writing it."""
    with toys():

        @tg.primitive(lambda g, x: g * 3 * x * x)
        def toy_cube(xp, x):
            """x³."""
            return x * x * x

        tg.check_grads(toy_cube, [draw(3)], order=3)
        assert toy_cube(2.0) == 8.0 and toy_cube.__doc__ == "x³."

        @tg.primitive(joint=lambda g, a, b, needs: (g * b, g * a))
        def toy_product(xp, a, b):
            return a * b

        tg.check_grads(toy_product, [draw(3), draw(2, 1)])

        @tg.primitive(joint=lambda g, x: (g * 2 * x,))
        def toy_square(xp, x):
            return x * x

        tg.check_grads(toy_square, [draw(3)])


def test_a_variadic_primitive_without_options():
    """`*arrays` and nothing else."""
    with toys():

        @tg.primitive(joint=lambda g, arrays_shape: tuple(g for _ in arrays_shape))
        def toy_total(xp, *arrays):
            total = 0
            for a in arrays:
                total = total + a
            return total

        tg.check_grads(toy_total, [draw(3), draw(3), draw(1)])


@pytest.mark.parametrize("kind", ["one output", "two outputs", "any number of inputs"])
def test_kernels_of_every_shape_are_differentiated_twice(kind):
    """Rule 1: create_graph differentiates `composed`, whatever the signature."""
    with toys():
        if kind == "one output":

            @tg.primitive(lambda g, a, b: g * b, lambda g, a, b: g * a, composed=lambda a, b: a * b, formula="f")
            def toy_kernel(xp, a, b):
                return a * b

            tg.check_grads(lambda x: toy_kernel(x, tg.exp(x)) * toy_kernel(2.0, x), [draw(3)], order=3, tolerance=1e-5)
        elif kind == "two outputs":

            def back(g, a, needs):
                first, second = (0.0 if u is None else u for u in g)
                return (first * 2 * a + second * 3 * a * a,)

            @tg.primitive(joint=back, outputs=2, composed=lambda a: (a * a, a * a * a), formula="f")
            def toy_powers(xp, a):
                return a * a, a * a * a

            tg.check_grads(toy_powers, [draw(3)])
            tg.check_grads(lambda x: toy_powers(x)[1], [draw(3)])
        else:

            @tg.primitive(
                joint=lambda g, arrays, needs: (g * arrays[1], g * arrays[0]),
                composed=lambda *arrays: arrays[0] * arrays[1],
                formula="f",
            )
            def toy_both(xp, *arrays):
                return arrays[0] * arrays[1]

            tg.check_grads(toy_both, [draw(3), draw(3)])


def test_a_vjp_may_decline():
    """None from a vjp means no contribution, at order 1 as with create_graph."""
    with toys():

        @tg.primitive(lambda g: None)
        def toy_stop(xp, x):
            return x * 1

        x = leaf([1.0, 2.0])
        for create_graph in (False, True):
            assert tg.grad(toy_stop(x).sum(), x, create_graph=create_graph, allow_unused=True) is None


def test_a_vjp_with_a_wrong_shape_is_named():
    """The one place where shapes are restored says whose vjp it was."""
    with toys():

        @tg.primitive(lambda g: g[:1])
        def toy_short(xp, x):
            return x * 1

        x = leaf([1.0, 2.0])
        with pytest.raises(GraphError, match=r"toy_short.*\(1,\).*\(2,\)"):
            tg.grad(toy_short(x).sum(), x)


def test_memory_that_a_leaf_has_left_raises_no_alarm():
    """`Module.to` gives a leaf another array; what is later kept at the old place is not the leaf's."""
    w = leaf([1.0, 1.0])
    old = w._data
    w._node.touch(old)
    w._data = np.zeros(2)
    x = tg.Tensor(old)  # stands for a new array that was given the same memory
    y = (leaf([1.0, 2.0]) * x).sum()
    kept = (leaf([1.0, 2.0]) * w.detach()).sum()
    w.assign([3.0, 4.0])
    y.backward()
    with pytest.raises(GraphError, match="changed"):
        kept.backward()

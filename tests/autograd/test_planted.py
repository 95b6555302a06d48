"""The testers tested: each bug below is planted into the engine, and its checker must catch it.

Most were found in other libraries. For each: (a) the healthy engine passes the checker, (b) the planted one fails.
"""

from __future__ import annotations

import inspect
import itertools
import re
import textwrap

import numpy as np
import pytest
from equations import equation
from hypothesis import Phase, settings

import tinygen as tg
from tinygen.autograd import checks, indexing, reductions, walk
from tinygen.autograd.checks import GradientError, check_grads
from tinygen.autograd.primitive import _adapt, vocabulary

from . import checkers
from .checkers import draw, toys
from .test_state_machine import run_machine

#: as in the ordinary test, without shrinking: that it fails is all that matters here
HUNT = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


def caught(checker, planted) -> None:
    """Demand that `checker` passes now, and fails with `planted` in place."""
    checker()
    planted()
    with pytest.raises((AssertionError, tg.GraphError, ValueError, ExceptionGroup)):
        checker()


def rewrite(monkeypatch, module, function, old, new) -> None:
    """Replace a piece of a function's source; `old` may be spread over lines differently."""
    source = textwrap.dedent(inspect.getsource(getattr(module, function)))
    pattern = r"\s+".join(map(re.escape, old.split()))
    changed, times = re.subn(pattern, lambda _: new, source)
    assert times, f"the source of {function} has changed: plant this bug anew"
    namespace = dict(vars(module))
    exec(compile("from __future__ import annotations\n" + changed, "<planted>", "exec"), namespace)
    planted = namespace[function]
    namespace[function] = planted
    monkeypatch.setattr(module, function, planted)


def replace_vjp(monkeypatch, function, position, vjp) -> None:
    """Give a primitive another vjp for one input; it may name what the old one named."""
    row = function.primitive
    for wants in itertools.product((True, False), repeat=len(row.arrays)):
        rule = row.rule(wants)
        if rule is not None:
            pulls = [(i, _adapt(vjp, rule.kept) if i == position else pull) for i, pull in rule.pulls]
            monkeypatch.setattr(rule, "pulls", pulls)


def still(value):
    """A value without its history: what a vjp must never use."""
    return value.detach() if isinstance(value, tg.Tensor) else value


def gradients_of(function, *shapes, order=2, low=0.5, high=1.5):
    """A checker: `check_grads` of a function at fixed points."""
    points = [draw(*shape, seed=k, low=low, high=high) for k, shape in enumerate(shapes)]
    return lambda: check_grads(function, points, order)


# ---- the walk ---------------------------------------------------------------------------------------------


def machine():
    """The random graphs of `test_state_machine`, without shrinking."""
    run_machine(HUNT)


@pytest.mark.parametrize("checker", [checkers.check_accumulation, machine])
def test_overwriting_instead_of_adding_is_caught(monkeypatch, checker):
    """The second user's contribution replaces the first's, in the walk's own loop."""
    old = "elif p in owned: grads[p] += c else: grads[p] = grads[p] + c owned.add(p)"
    caught(checker, lambda: rewrite(monkeypatch, walk, "walk", old, "else: grads[p] = c"))


@pytest.mark.parametrize("checker", [checkers.check_accumulation, machine])
def test_overwriting_when_recorded_is_caught(monkeypatch, checker):
    """The same in `_pay`, which recorded passes use."""

    def pay(grads, owned, p, c, *rest):
        grads[p] = c

    caught(checker, lambda: monkeypatch.setattr(walk, "_pay", pay))


@pytest.mark.parametrize("checker", [checkers.check_in_place_care, machine])
def test_adding_into_an_array_of_somebody_else_is_caught(monkeypatch, checker):
    """`grads[p] += c` into an array that was handed to two parents."""
    old = "else: grads[p] = grads[p] + c owned.add(p)"
    caught(checker, lambda: rewrite(monkeypatch, walk, "walk", old, "else: grads[p] += c"))


@pytest.mark.parametrize("checker", [checkers.check_order, machine])
def test_preorder_instead_of_creation_order_is_caught(monkeypatch, checker):
    """Depth first from the loss: a value is visited before all its users have paid."""
    healthy = walk._leading

    def preorder(order, wanted):
        kept, leading = healthy(order, wanted)
        allowed, seen, found = set(kept), set(), []
        stack = [kept[-1]] if kept else []
        while stack:
            node = stack.pop()
            if node in allowed and node not in seen:
                seen.add(node)
                found.append(node)
                stack += [p for p in reversed(node.parents) if p is not None]
        return found[::-1], leading

    caught(checker, lambda: monkeypatch.setattr(walk, "_leading", preorder))


def slice_instead_of_sum(g, shape, *_):
    """A wrong `sum_to`: new axes are summed, axes of length 1 are cut."""
    g = tg.sum(g, tuple(range(len(g.shape) - len(shape))))
    return g[tuple(slice(0, n) for n in shape)]


def leave_size_one(g, shape, *_):
    """A wrong `sum_to`: axes of length 1 are forgotten."""
    return tg.sum(g, tuple(range(len(g.shape) - len(shape))))


@pytest.mark.parametrize("wrong", [slice_instead_of_sum, leave_size_one])
@pytest.mark.parametrize("checker", [checkers.check_broadcast_sums, machine, gradients_of(tg.multiply, (2, 3), (2, 1))])
def test_forgetting_axes_of_length_one_is_caught(monkeypatch, wrong, checker):
    """Un-broadcasting that knows new axes only."""
    caught(checker, lambda: monkeypatch.setattr(walk, "sum_to", wrong))


def test_a_gradient_that_keeps_the_wrong_dtype_is_caught(monkeypatch):
    """float64 handed to a float32 leaf."""

    def fit(g, like, *rest):
        return walk.sum_to(g, like.shape, *rest) if g.shape != like.shape else g

    caught(checkers.check_dtypes, lambda: monkeypatch.setattr(walk, "fit", fit))


def test_gradients_that_share_memory_are_caught(monkeypatch):
    """The sum's cotangent handed to both inputs."""

    def together(found):
        return {n: g if isinstance(g, tg.Tensor) else tg.Tensor(np.asarray(g)) for n, g in found.items()}

    caught(checkers.check_no_shared_memory, lambda: monkeypatch.setattr(walk, "_separate", together))


def test_walking_where_nobody_asked_is_caught(monkeypatch):
    """All ancestors visited: the generator's step would compute the discriminator's weight gradients."""
    everything = lambda order, wanted: order  # noqa: E731
    caught(checkers.check_visits, lambda: monkeypatch.setattr(walk, "_leading", everything))


def test_a_graph_that_is_never_freed_is_caught(monkeypatch):
    """The kept arrays stay until the loss is deleted."""
    old = "if not retain: node.saved = FREED"
    caught(checkers.check_frees, lambda: rewrite(monkeypatch, walk, "walk", old, ""))


@pytest.mark.parametrize("wrong", ["never", "always"])
def test_a_wrong_version_check_is_caught(monkeypatch, wrong):
    """A changed leaf that goes unnoticed; and a false alarm where the value is not held."""

    def usable(node):
        if node.saved is walk.FREED or wrong == "always":
            raise tg.GraphError(f"{node.rule.primitive.name}: freed or changed; retain_graph")

    caught(checkers.check_stale_leaf, lambda: monkeypatch.setattr(walk, "_usable", usable))


def test_a_reference_cycle_is_caught(monkeypatch):
    """What a node keeps leads back to the node: the array would wait for the garbage collector."""
    plain_walk = walk.walk

    def clinging(seeds, wanted, **options):
        for node, _ in seeds:
            node.site = node
        return plain_walk(seeds, wanted, **options)

    caught(checkers.check_arrays_die, lambda: monkeypatch.setattr(walk, "walk", clinging))


# ---- rules ------------------------------------------------------------------------------------------------


def test_half_of_the_product_rule_detached_is_caught(monkeypatch):
    """multiply whose second vjp forgets where a came from: right once, wrong twice."""
    first, second = gradients_of(tg.multiply, (3,), (3,), order=1), gradients_of(tg.multiply, (3,), (3,))
    caught(second, lambda: replace_vjp(monkeypatch, tg.multiply, 1, lambda g, a: g * still(a)))
    first()  # the first order does not see it: that is why there is a second


def test_tanh_from_a_raw_saved_output_is_caught(monkeypatch):
    """The bug that silently ruins a gradient penalty, and only the second order sees."""
    wrong = lambda g, y: g * (1 - still(y) * still(y))  # noqa: E731
    caught(gradients_of(tg.tanh, (3,)), lambda: replace_vjp(monkeypatch, tg.tanh, 0, wrong))
    gradients_of(tg.tanh, (3,), order=1)()


def test_the_state_machine_sees_a_wrong_second_derivative(monkeypatch):
    """Random graphs with tanh in them, at order 2."""
    wrong = lambda g, y: g * (1 - still(y) * still(y))  # noqa: E731
    caught(machine, lambda: replace_vjp(monkeypatch, tg.tanh, 0, wrong))


def test_a_wrong_sign_in_division_is_caught(monkeypatch):
    """d(a/b)/db = +a/b²."""
    wrong = lambda g, y, b: g * y / b  # noqa: E731
    caught(gradients_of(tg.divide, (3,), (3,)), lambda: replace_vjp(monkeypatch, tg.divide, 1, wrong))


def test_the_full_gradient_for_each_tied_maximum_is_caught(monkeypatch):
    """max over an axis with ties: each tied element takes all."""

    @vocabulary
    def all_to_each(x, y, axis):
        return tg.astype(x == reductions.spread(y, x.shape, axis), x.dtype)

    caught(checkers.check_ties, lambda: monkeypatch.setattr(reductions, "share", all_to_each))


def test_both_sides_of_maximum_paid_in_full_is_caught(monkeypatch):
    """maximum(a, b) with a = b: each side gets 1."""

    def plant():
        replace_vjp(monkeypatch, tg.maximum, 0, lambda g, a, b: g * (a >= b))
        replace_vjp(monkeypatch, tg.maximum, 1, lambda g, a, b: g * (a <= b))

    caught(checkers.check_ties, plant)


@pytest.mark.parametrize("checker", [checkers.check_repeated_index, gradients_of(lambda x: x[[0, 0, 2]], (3,))])
def test_writing_instead_of_adding_at_an_index_is_caught(monkeypatch, checker):
    """`z[index] = g`: of a repeated index only the last counts."""

    def write(xp, x, index, shape):
        target = xp.zeros(shape, x.dtype)
        target[index] = x
        return target

    caught(checker, lambda: monkeypatch.setattr(indexing, "scattered", write))


@pytest.mark.parametrize(
    "checker", [checkers.check_reduced_axes, gradients_of(lambda x: tg.sum(x, 0), (3, 3)), machine]
)
def test_a_reduced_axis_put_back_elsewhere_is_caught(monkeypatch, checker):
    """The cotangent of a sum over axis k spread along another axis."""

    def kept_last(shape, axis):
        reduced = reductions.normal_axes(axis, len(shape))
        rest = [n for i, n in enumerate(shape) if i not in reduced]
        return (*rest, *[1] * len(reduced)) if len(rest) and reduced[0] == 0 else (*[1] * len(reduced), *rest)

    caught(checker, lambda: monkeypatch.setattr(reductions, "_kept", kept_last))


# ---- the differences themselves ---------------------------------------------------------------------------


@equation(checks._difference, 1)
def test_differences_are_exact_to_degree_four():
    """checks (1) as printed; its error, which is 0 up to $x^4$ and then $-h^4 f^{(5)} / 30$."""
    value = lambda other, x: float(np.sum(other) * x[0] + x[1] ** 4)
    point = np.array([2.0, 1.5])
    found = checks._difference(value, [np.ones(3), point], 1, (1,))
    assert found == pytest.approx(4 * 1.5**3, rel=1e-10)
    assert checks._difference(value, [np.ones(3), point], 1, (0,)) == pytest.approx(3, rel=1e-10)
    h = checks.STEP
    phi = lambda x: np.exp(5 * x)
    delta = lambda h: phi(0.3 + h) - phi(0.3 - h)
    found = checks._difference(lambda x: float(phi(x[0])), [np.array([0.3])], 0, (0,))
    assert found == pytest.approx((8 * delta(h) - delta(2 * h)) / (12 * h), rel=1e-12)
    fifth = 5**5 * phi(0.3)
    assert (found - 5 * phi(0.3)) / h**4 == pytest.approx(-fifth / 30, rel=0.05)


# ---- fresh primitives -------------------------------------------------------------------------------------


def toy(*vjps, **options):
    """A primitive $x^3$ with the given rules."""

    @tg.primitive(*vjps, **options)
    def toy_cube(xp, x):
        return x * x * x

    return toy_cube


def test_a_vjp_wrong_by_a_thousandth_is_caught():
    """First order: 3.003 x² instead of 3 x²."""
    with toys():
        gradients_of(toy(lambda g, x: g * (3 * x * x)), (4,))()
        with pytest.raises(GradientError, match="input 0"):
            gradients_of(toy(lambda g, x: g * (3.003 * x * x)), (4,), order=1)()


def test_a_vjp_wrong_by_a_thousandth_at_second_order_only_is_caught():
    """The value of the gradient is right; its slope is 0.1 % too steep."""
    wrong = lambda g, x: g * (3 * x * x + 0.006 * still(x) * (x - still(x)))  # noqa: E731
    with toys():
        gradients_of(toy(wrong), (4,), order=1)()
        with pytest.raises(GradientError, match="derivative of the gradient"):
            gradients_of(toy(wrong), (4,))()


def test_a_vjp_wrong_at_third_order_only_is_caught():
    """Order 3 is the same check once more."""
    wrong = lambda g, x: g * (3 * x * x + 0.003 * (x - still(x)) * (x - still(x)))  # noqa: E731
    with toys():
        gradients_of(toy(wrong), (2,), order=2)()
        gradients_of(toy(lambda g, x: g * (3 * x * x)), (2,), order=3)()
        with pytest.raises(GradientError, match="derivative of the gradient: derivative of the gradient"):
            gradients_of(toy(wrong), (2,), order=3)()


def test_a_lost_cotangent_is_caught():
    """A rule right for a cotangent of ones: drawn cotangents see it."""
    with toys(), pytest.raises(GradientError):
        gradients_of(toy(lambda g, x: 3 * x * x + g * 0), (4,), order=1)()


def standard(x):
    """Standardised values, from primitives."""
    return (x - tg.mean(x)) / tg.sqrt(tg.mean((x - tg.mean(x)) * (x - tg.mean(x))))


def standardise(composed):
    """A fused standardisation that keeps its statistic: the standard deviation, a raw number."""

    def back(g, y, saved):
        return (g - tg.mean(g) - y * tg.mean(g * y)) / saved

    @tg.primitive(back, composed=composed, formula=r"\bar x = ...")
    def toy_standardise(xp, x):
        deviation = xp.sqrt(xp.mean(xp.square(x - xp.mean(x))))
        return (x - xp.mean(x)) / deviation, deviation

    return toy_standardise


def test_a_stale_statistic_in_a_second_derivative_is_caught_and_composed_cures_it():
    """Rule 1: what a kernel without `composed=` would be. (Batch norm in a well-loved engine: -2.85 for -4.54.)"""
    with toys():
        gradients_of(standardise(None), (5,), order=1)()
        gradients_of(standardise(standard), (5,))()
        with pytest.raises(GradientError, match="derivative of the gradient"):
            gradients_of(standardise(None), (5,))()


def test_a_kernel_whose_composition_is_another_function_is_caught():
    """`composed=` must be the same function: the second order of a kernel is that of its composition."""
    with toys(), pytest.raises(GradientError):
        gradients_of(standardise(lambda x: standard(x) * 1.001), (5,))()


def test_a_missing_gradient_is_caught():
    """A row without a vjp where there is a derivative."""
    with toys(), pytest.raises(GradientError):
        gradients_of(toy(None), (3,), order=1)()


def test_not_a_number_is_caught():
    """NaN is a deviation, not an agreement."""
    with toys(), pytest.raises(GradientError):
        gradients_of(toy(lambda g, x: g * float("nan")), (3,), order=1)()


def test_one_wrong_entry_of_many_is_caught():
    """64 entries are looked at; all of them, when there are no more."""

    def wrong(g, x):
        mask = np.zeros(60)
        mask[37] = 1e-3
        return g * (3 * x * x) * (1 + mask)

    with toys(), pytest.raises(GradientError, match=r"entry \(37,\)"):
        gradients_of(toy(wrong), (60,), order=1)()


# ---- the checkers on the healthy engine, as ordinary tests ----------------------------------------------------


@pytest.mark.parametrize("name", sorted(n for n in vars(checkers) if n.startswith("check_")))
def test_the_healthy_engine_passes(name):
    """Each promise, as its checker states it."""
    getattr(checkers, name)()


def test_a_kernel_that_differs_from_its_composition_is_caught():
    """The fused vjp serves order 1 and the composition order 2: each is compared, and the two with each other."""
    with toys():

        def toy(fused, slope):
            @tg.primitive(
                joint=lambda g, x, needs: (g * fused * x,), composed=lambda x: slope * x * x / 2, formula="f"
            )
            def toy_half_square(xp, x):
                return x * x / 2

            return toy_half_square

        x = np.array([0.5, -1.5])
        tg.check_grads(toy(1.0, 1.0), [x])
        with pytest.raises(tg.GradientError, match="by differences"):
            tg.check_grads(toy(1.001, 1.0), [x], order=1)
        with pytest.raises(tg.GradientError, match="is recorded"):
            tg.check_grads(toy(1.0, 1.001), [x])

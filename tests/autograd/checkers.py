"""Checkers: small functions that raise AssertionError when the engine breaks one promise.

The ordinary tests call them on the healthy engine; `test_planted` calls them on an engine with a planted bug and
demands that they fail. A checker that cannot fail checks nothing.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
import weakref

import numpy as np

import tinygen as tg
from tinygen.autograd.graph import FREED, GraphError, Node
from tinygen.autograd.primitive import REGISTRY


def leaf(values, dtype="float64", name=None):
    """A leaf that wants a gradient; float64 unless said otherwise."""
    x = tg.tensor(np.array(values, dtype), requires_grad=True)
    if name is not None:
        x.name = name
    return x


def draw(*shape, seed=0, low=-1.0, high=1.0):
    """Fixed numbers of a shape."""
    return np.random.default_rng(seed).uniform(low, high, shape)


@contextlib.contextmanager
def toys():
    """Primitives registered inside are forgotten afterwards."""
    before = dict(REGISTRY)
    try:
        yield
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


@contextlib.contextmanager
def no_collector():
    """The garbage collector stands still inside: only reference counts free memory."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def calls_made(function) -> int:
    """How many calls (of Python functions and of built-in ones) `function()` makes: work, without a clock."""
    count = itertools.count()

    def note(_frame, event, _argument):
        if event in ("call", "c_call"):
            next(count)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return next(count)


def live(kind) -> int:
    """How many objects of exactly this class exist."""
    return sum(type(o) is kind for o in gc.get_objects())


def raw(t):
    """The array itself of a Tensor, not a view."""
    return t._data


# ---- first order ------------------------------------------------------------------------------------------


def check_accumulation() -> None:
    """A value used in several places is owed the sum of what its users send; so is a leaf's `.grad`."""
    x = leaf([1.0, 2.0])
    h = x * 3.0
    y = (h * h + h + tg.tanh(h) * 0.0).sum()
    np.testing.assert_allclose(tg.grad(y, x, retain_graph=True).numpy(), 18 * raw(x) + 3)
    g = tg.grad(y, x, create_graph=True, retain_graph=True)
    np.testing.assert_allclose(g.numpy(), 18 * raw(x) + 3)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * (18 * raw(x) + 3))


def check_order() -> None:
    """A value is visited after all its users: the long way round and the short cut both count."""
    x = leaf([0.5, -1.5])
    h = x * 2.0
    long = h * 1.5 + 1.0
    y = (h + long * long + h * long).sum()
    v = raw(x)
    expected = 2 + 2 * (3 * v + 1) * 3 + 2 * (3 * v + 1) + 2 * v * 3
    np.testing.assert_allclose(tg.grad(y, x, retain_graph=True).numpy(), expected)
    y = (long * long + h * long + h).sum()
    np.testing.assert_allclose(tg.grad(y, x).numpy(), expected)


def check_broadcast_sums() -> None:
    """The gradient of a broadcast input is summed over the new axes and over those of length 1."""
    shapes = [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (1, 1, 3), (4, 1, 1)]
    for shape_a, shape_b in itertools.product(shapes, repeat=2):
        a, b = leaf(draw(*shape_a, seed=1)), leaf(draw(*shape_b, seed=2))
        y = a * b
        u = draw(*y.shape, seed=3)
        for x, other, g in zip((a, b), (b, a), tg.grad(y, [a, b], u), strict=True):
            expected = np.zeros(x.shape)
            product = u * np.broadcast_to(raw(other), y.shape)
            for place in np.ndindex(y.shape):  # element by element: no function of the engine's is used
                mine = tuple(i if n > 1 else 0 for i, n in zip(place[y.ndim - x.ndim :], x.shape, strict=True))
                expected[mine] += product[place]
            assert g.shape == x.shape, f"{g.shape} for {x.shape}"
            np.testing.assert_allclose(g.numpy(), expected)


def check_reduced_axes() -> None:
    """A reduced axis comes back where it was: the gradient of a sum over axis k is constant along axis k."""
    for axis in (0, 1, 2, -1, (0, 2), (1, 2), None):
        for keepdims in (False, True):
            x = leaf(draw(3, 3, 3, seed=4))
            y = tg.sum(x, axis, keepdims)
            u = draw(*y.shape, seed=5)
            kept = u if keepdims or axis is None else np.expand_dims(u, axis)
            np.testing.assert_allclose(tg.grad(y, x, u).numpy(), np.broadcast_to(kept, x.shape))


def check_repeated_index() -> None:
    """An element read several times is owed a sum."""
    for index in ([0, 0, 2], ([0, 1, 0], [1, 1, 1]), np.array([[2, 2], [0, 2]]), (slice(None), [0, 0, 1])):
        x = leaf(draw(3, 3, seed=6))
        y = x[index]
        u = draw(*y.shape, seed=7)
        expected = np.zeros((3, 3))
        np.add.at(expected, index, u)
        np.testing.assert_allclose(tg.grad(y, x, u).numpy(), expected)


def check_ties() -> None:
    """At a tie the gradients of all tied inputs sum to the cotangent, and are equal."""
    for f in (tg.max, tg.min):
        for axis in (None, 0, 1):
            x = leaf(np.array([[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]))
            g = tg.grad(f(x, axis).sum(), x).numpy()
            np.testing.assert_allclose(g, 1 / (6 if axis is None else x.shape[axis]))
    for f in (tg.maximum, tg.minimum):
        a, b = leaf([1.0, 2.0, 3.0]), leaf([1.0, 5.0, 3.0])
        for create_graph in (False, True):
            ga, gb = (g.numpy() for g in tg.grad(f(a, b).sum(), [a, b], create_graph=create_graph))
            np.testing.assert_allclose(ga + gb, 1)
            np.testing.assert_allclose(ga[[0, 2]], 0.5)


def check_dtypes() -> None:
    """Every gradient has its input's dtype, whatever it was combined with."""
    for dtype, other in itertools.product(("float32", "float64"), repeat=2):
        x, y = leaf([1.0, 2.0, 3.0], dtype), leaf([[1.0], [2.0]], other)
        z = tg.tanh(x * y) / (y * y) + x.astype(other)
        for create_graph in (False, True):
            gx, gy = tg.grad(z.sum(), [x, y], create_graph=create_graph, retain_graph=True)
            assert gx.dtype == dtype and gy.dtype == other, f"{gx.dtype} and {gy.dtype} for {dtype} and {other}"
        z.sum().backward()
        assert x.grad.dtype == dtype and y.grad.dtype == other


def check_no_shared_memory() -> None:
    """No returned gradient shares memory with another, with an input, or with the caller's cotangent."""
    a, b = leaf(draw(2, 3)), leaf(draw(2, 3, seed=1))
    c = leaf(draw(3, 2, seed=2))
    u = draw(2, 3, seed=3)
    mid = a + b
    y = mid + c.T
    gradients = tg.grad(y, [a, b, c, mid, y], u)
    values = [*map(raw, gradients), u, *map(raw, (a, b, c, mid, y))]
    for (i, p), (j, q) in itertools.combinations(enumerate(values), 2):
        if i < 5:
            assert not np.shares_memory(p, q), f"gradient {i} shares memory with array {j}"
    before = [g.numpy() for g in gradients]
    raw(gradients[0])[...] = 7.0
    for g, old in zip(gradients[1:], before[1:], strict=True):
        np.testing.assert_array_equal(g.numpy(), old)
    x, z = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x + z).sum().backward()
    assert not np.shares_memory(raw(x.grad), raw(z.grad)), ".grad of two leaves shares memory"


def check_in_place_care() -> None:
    """Sums are made in place only in arrays that the walk made: an array handed to two parents is left alone."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    u = np.array([1.0, 10.0])
    for y in (a * 2.0 + (a + b), (a + b) + a * 2.0):  # a + b hands one array to a and to b; a is paid again
        ga, gb = tg.grad(y, [a, b], u)
        np.testing.assert_array_equal(ga.numpy(), 3 * u)
        np.testing.assert_array_equal(gb.numpy(), u)
        np.testing.assert_array_equal(u, [1.0, 10.0])


def check_visits() -> None:
    """Only operations that lead to a wanted input are pulled through."""
    with toys():
        pulled = []

        def scaled(name):
            def pull(g):
                pulled.append(name)
                return g * 2.0

            def forward(xp, x):
                return x * 2.0

            forward.__name__ = name
            return tg.primitive(pull)(forward)

        wanted, unwanted, above = scaled("toy_wanted"), scaled("toy_unwanted"), scaled("toy_above")
        x, w = leaf([1.0]), leaf([2.0])
        h = above(w)
        y = (wanted(x + h) * unwanted(w)).sum()
        for create_graph in (False, True):
            pulled.clear()
            tg.grad(y, x, create_graph=create_graph, retain_graph=True)
            assert pulled == ["toy_wanted"], pulled
        pulled.clear()
        tg.grad(y, h, retain_graph=True)
        assert pulled == ["toy_wanted"], pulled
        pulled.clear()
        tg.grad(y, [x, w])
        assert sorted(pulled) == ["toy_above", "toy_unwanted", "toy_wanted"], pulled


# ---- memory and mutation ----------------------------------------------------------------------------------


def check_arrays_die() -> None:
    """With the collector off, an intermediate's array dies with its last name."""
    with no_collector():
        for f in (tg.tanh, tg.exp, lambda t: t * t, lambda t: tg.sum(t, 0), lambda t: t @ t):
            x = leaf(draw(3, 3))
            h = f(x)
            y = (h * h).sum()
            seen = weakref.ref(raw(h)), weakref.ref(h._node), weakref.ref(y._node)
            del h
            tg.grad(y, x, create_graph=True, retain_graph=True)
            del y
            assert [r() for r in seen] == [None] * 3, "something lives on in a reference cycle"


def check_frees() -> None:
    """A backward pass without `retain_graph` frees what the nodes kept, and a second one says so."""
    x = leaf([1.0, 2.0])
    h = tg.exp(x)
    y = (h * h).sum()
    nodes = [y._node, y._node.parents[0], h._node]
    tg.grad(y, x, retain_graph=True)
    assert all(n.saved is not FREED for n in nodes)
    tg.grad(y, x)
    assert all(n.saved is FREED for n in nodes), "kept values outlive the backward pass"
    try:
        tg.grad(y, x)
    except GraphError as error:
        assert "freed" in str(error) and "retain_graph" in str(error)
    else:
        raise AssertionError("a freed graph was used again")


def check_stale_leaf() -> None:
    """A graph that holds the old value of a changed leaf refuses; one that does not hold it works."""
    for f, held in ((lambda a, b: a * b, True), (lambda a, b: a + b, False), (lambda a, b: tg.exp(a) + b, False)):
        a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
        expected = tg.grad(f(a, b).sum(), [a, b])
        y = f(a, b).sum()
        a.assign(np.array([9.0, 9.0]))
        try:
            found = tg.grad(y, [a, b])
        except GraphError as error:
            assert held, f"a false alarm: {error}"
            assert "changed" in str(error)
        else:
            assert not held, "a changed leaf went unnoticed"
            for g, e in zip(found, expected, strict=True):
                np.testing.assert_array_equal(g.numpy(), e.numpy())


def nodes_of(t) -> list[Node]:
    """All recorded operations that a Tensor was computed from."""
    seen, stack = set(), [t._node]
    while stack:
        n = stack.pop()
        if n is not None and n not in seen:
            seen.add(n)
            stack += n.parents
    return [n for n in seen if type(n) is Node]

"""Every primitive: values against NumPy and SciPy, gradients of order 1 and 2 on shapes that hypothesis draws.

The whole file runs on NumPy and on the strict stand-in for CuPy.
"""

from __future__ import annotations

import math
import unicodedata

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygen as tg
from tinygen.autograd.primitive import REGISTRY
from tinygen.backend import arrays as backend
from tinygen.cases import Case, engine, every_case
from tinygen.cases.engine import DOMAINS
from tinygen.formulas.symbols import rules

ELEMENTWISE = {name: row for name, row in REGISTRY.items() if row.domain is not None}
UNARY = sorted(n for n, row in ELEMENTWISE.items() if len(row.arrays) == 1)
BINARY = sorted(n for n, row in ELEMENTWISE.items() if len(row.arrays) == 2)

#: what each elementwise primitive must equal, where NumPy has no function of its name
REFERENCE = {
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "erf": scipy.special.erf,
    "lgamma": scipy.special.gammaln,
    "digamma": scipy.special.digamma,
    "bce_with_logits": lambda x, t: np.logaddexp(0, x) - x * t,
}

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
seeds = st.integers(0, 2**32 - 1)
layouts = st.sampled_from(["C", "F", "strided", "reversed"])


def laid_out(a: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another memory layout."""
    if layout == "F":
        return np.asfortranarray(a) if a.ndim else a
    if layout == "strided" and a.ndim:
        wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan)
        wide[..., ::2] = a
        return wide[..., ::2]
    if layout == "reversed" and a.ndim:
        return np.ascontiguousarray(a[::-1])[::-1]
    return a


def draw(name: str, shape: tuple, seed: int, k: int = 0, layout: str = "C") -> np.ndarray:
    """Numbers from a primitive's domain."""
    values = DOMAINS[ELEMENTWISE[name].domain](np.random.default_rng(seed + k), shape, k)
    return laid_out(np.asarray(values, dtype=float), layout)


def on(device: str, a: np.ndarray):
    """A raw array on the device; on the CPU the very array, so that its layout is tested."""
    return a if device == "cpu" else backend.asarray(a, device=device)


def host(x) -> np.ndarray:
    return backend.to_numpy(x._data if isinstance(x, tg.Tensor) else x)


# ---- elementwise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNARY)
def test_unary_values_dtypes_and_gradients(name, device):
    """Value = NumPy's or SciPy's; float32 stays float32; orders 1 and 2; inputs untouched; size 0, 0-d, any layout."""
    f = ELEMENTWISE[name].front()
    reference = REFERENCE.get(name) or getattr(np, name)

    @settings(max_examples=12 if device == "cpu" else 4)
    @given(shapes, seeds, layouts)
    def run(shape, seed, layout):
        a = draw(name, shape, seed, layout=layout)
        before = a.copy()
        x = on(device, a)
        np.testing.assert_allclose(host(f(tg.Tensor(x))), reference(a), rtol=1e-13, atol=1e-14)
        single = f(tg.Tensor(on(device, a.astype(np.float32))))
        assert single.dtype == np.float32 and single.shape == shape
        np.testing.assert_allclose(host(single), reference(a), rtol=2e-5, atol=1e-5)
        tg.check_grads(f, [x], order=2)
        assert np.array_equal(host(x), before)

    run()


@pytest.mark.parametrize("name", BINARY)
def test_binary_values_dtypes_and_gradients(name, device):
    """As for one input, on shapes that broadcast, and with every subset of the inputs asking for a gradient."""
    f, reference = ELEMENTWISE[name].front(), REFERENCE.get(name) or getattr(np, name)
    pairs = hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, min_side=0, max_side=3)

    @settings(max_examples=12 if device == "cpu" else 4)
    @given(pairs, seeds, layouts)
    def run(pair, seed, layout):
        a, b = (draw(name, s, seed, k, layout) for k, s in enumerate(pair.input_shapes))
        x, y = on(device, a), on(device, b)
        np.testing.assert_allclose(host(f(tg.Tensor(x), tg.Tensor(y))), reference(a, b), rtol=1e-13, atol=1e-14)
        single = [tg.Tensor(on(device, v.astype(np.float32))) for v in (a, b)]
        assert f(*single).dtype == np.float32
        tg.check_grads(f, [x, y], order=2)
        tg.check_grads(lambda u: f(u, tg.Tensor(y)), [x], order=2)
        tg.check_grads(lambda v: f(x, v), [y], order=2)
        assert np.array_equal(host(x), a) and np.array_equal(host(y), b)

    run()


@pytest.mark.parametrize("name", UNARY + BINARY)
def test_float32_gradients_stay_float32(name, device):
    """float32 in, float32 out, for values and gradients, with no float64 on the way."""
    row = ELEMENTWISE[name]
    args = [tg.tensor(draw(name, (2, 3), 0, k).astype(np.float32), requires_grad=True, device=device)
            for k in range(len(row.arrays))]  # fmt: skip
    if device == "cpu":
        grads = tg.grad(tg.sum(row.front()(*args)), args, allow_unused=True)
    else:
        import strict_cupy

        with strict_cupy.no_float64():
            grads = tg.grad(tg.sum(row.front()(*args)), args, allow_unused=True)
    assert all(g.dtype == np.float32 and g.shape == (2, 3) for g in grads)


def test_weak_scalars():
    """Python and NumPy scalars are weak: neither values nor gradients of float32 become float64."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for scalar in (2, 2.5, np.float64(2.5), np.int64(2), True):
        for y in (x * scalar, scalar * x, x / scalar, x**scalar, scalar - x, tg.maximum(x, scalar)):
            assert y.dtype == np.float32
            assert tg.grad(tg.sum(y), x).dtype == np.float32


# ---- the fixed cases: every function, every option that matters ------------------------------------------


def labelled() -> list:
    drawn = engine.cases(np.random.default_rng(0))
    return [pytest.param(c, id=f"{i}-{c.name}") for i, c in enumerate(drawn) if c.name not in ELEMENTWISE]


@pytest.mark.parametrize("case", labelled())
def test_cases(case: Case, device):
    """The gradient checks that `python -m tinygen check` runs on the engine's functions, on both libraries."""
    tg.check_grads(case.function, [on(device, a) for a in case.args], order=2)


def test_every_primitive_with_a_gradient_is_tried():
    """No row of the table escapes the checks: record which primitives the cases differentiate."""
    tried = set()
    for case in every_case():
        leaves = [tg.tensor(a, requires_grad=True) if a.dtype.kind == "f" else a for a in case.args]
        out = case.function(*leaves)
        for o in out if isinstance(out, tuple) else (out,):
            stack = [o._node] if o._node is not None else []
            while stack:
                node = stack.pop()
                if getattr(node, "rule", None) is not None:
                    tried.add(node.rule.primitive.name)
                stack.extend(p for p in node.parents if p is not None)
    untried = {n for n, row in REGISTRY.items() if row.joint or any(row.vjps)} - tried
    assert not untried


def test_every_rule_is_printed():
    """A row with a gradient has a rule in Unicode and in LaTeX, with balanced brackets."""
    for name, row in REGISTRY.items():
        printed = rules(row)
        assert printed or not (row.joint or any(row.vjps)), name
        for rule in printed:
            assert "=" in rule.text or row.formula, name
            for opening, closing in ("()", "[]", "{}"):
                assert rule.latex.count(opening) == rule.latex.count(closing), (name, rule.latex)


@pytest.mark.parametrize(
    "name, rule",
    [
        ("tanh", "x̄ = ȳ·(1 − y·y)"),
        ("multiply", "ā = ȳ·b; b̄ = ȳ·a"),
        ("divide", "ā = ȳ/b; b̄ = −ȳ·y/b"),
        ("matmul", "ā = ȳ bᵀ; b̄ = aᵀ ȳ"),
        ("sqrt", "x̄ = ȳ/(2·y)"),
        ("inv", "x̄ = −yᵀ ȳ yᵀ"),
    ],
)
def test_printed_rules(name, rule):
    """A few rules as a lecture would write them."""
    assert composed("; ".join(s.text for s in rules(REGISTRY[name]))) == composed(rule)


def composed(text: str) -> str:
    """Letters and their bars in one normal form."""
    return unicodedata.normalize("NFC", text)


# ---- reductions -----------------------------------------------------------------------------------------

REDUCTIONS = ["sum", "mean", "var", "std", "prod", "max", "min", "logsumexp", "norm", "any", "all"]


@st.composite
def array_and_axis(draw_, min_side=1):
    """A shape and an axis argument: None, an integer (also negative) or a tuple."""
    shape = draw_(hnp.array_shapes(min_dims=1, max_dims=3, min_side=min_side, max_side=3))
    n = len(shape)
    axis = draw_(
        st.one_of(
            st.none(),
            st.integers(-n, n - 1),
            st.lists(st.integers(0, n - 1), unique=True, min_size=1).map(tuple),
        )
    )
    return shape, axis


def reduction_reference(name):
    if name == "logsumexp":
        return lambda a, axis, keepdims: scipy.special.logsumexp(a, axis=axis, keepdims=keepdims)
    if name == "norm":
        return lambda a, axis, keepdims: np.sqrt(np.sum(a * a, axis=axis, keepdims=keepdims))
    return lambda a, axis, keepdims: getattr(np, name)(a, axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, device):
    """Values and shapes as NumPy's, gradients of order 2, for every kind of axis and keepdims, any layout."""

    @settings(max_examples=12 if device == "cpu" else 4)
    @given(array_and_axis(), st.booleans(), seeds, layouts)
    def run(drawn, keepdims, seed, layout):
        shape, axis = drawn
        rng = np.random.default_rng(seed)
        apart = 0.25 * rng.permutation(math.prod(shape)).reshape(shape) - 1.0
        a = laid_out(apart if name in ("max", "min", "any", "all") else rng.normal(size=shape), layout)
        x = on(device, a)
        f = (lambda v: tg.norm(v, axis=axis, keepdims=keepdims)) if name == "norm" else (
            lambda v: getattr(tg, name)(v, axis=axis, keepdims=keepdims))  # fmt: skip
        want = reduction_reference(name)(a, axis, keepdims)
        got = f(tg.Tensor(x))
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(host(got), want, rtol=1e-12, atol=1e-12)
        single = f(tg.Tensor(on(device, a.astype(np.float32))))
        assert single.dtype == (bool if name in ("any", "all") else np.float32)
        # the derivative of a deviation or norm of one number has a kink at 0
        lengths = [shape[i] for i in range(len(shape)) if axis is None or i in np.atleast_1d(axis) % len(shape)]
        if name not in ("any", "all") and not (name == "std" and math.prod(lengths) == 1):
            smooth = name not in ("std", "norm") or np.min(np.abs(want), initial=1) > 0.1
            tg.check_grads(f, [x], order=2 if smooth else 1, tolerance=1e-6 if smooth else 1e-3)

    run()


def test_ties_share_the_gradient():
    """max and min give each of k equal extremes 1/k; maximum gives each side 1/2; max pooling as well."""
    x = tg.tensor([[3.0, 3.0, 1.0], [2.0, 0.0, 2.0]], requires_grad=True)
    np.testing.assert_allclose(tg.grad(tg.sum(tg.max(x, 1)), x).data, [[0.5, 0.5, 0], [0.5, 0, 0.5]])
    np.testing.assert_allclose(tg.grad(tg.min(-x), x).data, -tg.grad(tg.max(x), x).data)
    a, b = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([1.0, 0.0], requires_grad=True)
    ga, gb = tg.grad(tg.sum(tg.maximum(a, b)), [a, b])
    np.testing.assert_allclose(ga.data, [0.5, 1])
    np.testing.assert_allclose(gb.data, [0.5, 0])
    image = tg.tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    pooled = tg.grad(tg.sum(tg.nn.functional.max_pool2d(image, 2)), image)
    np.testing.assert_allclose(pooled.data, np.full((1, 1, 2, 2), 0.25))


def test_a_list_for_an_index_is_the_callers_to_change():
    """The gradient goes to where the value was read."""
    x, index = tg.tensor(np.arange(3.0), requires_grad=True), [0, 1]
    y = tg.sum(x[index])
    index[1] = 2
    np.testing.assert_array_equal(tg.grad(y, x).data, [1, 1, 0])


def test_singular_points_stay_finite():
    """norm at 0, std and var at zero variance, prod with zeros, logsumexp of -inf, 0**0, x**0: finite gradients."""
    zero = tg.tensor(np.zeros(3), requires_grad=True)
    for f in (tg.norm, tg.std, tg.var, lambda x: tg.prod(x), lambda x: tg.sum(x**0), lambda x: tg.sum(x**2), tg.max):
        (g,) = [tg.grad(f(zero), zero, allow_unused=True)]
        assert np.isfinite(g.data).all()
    np.testing.assert_allclose(tg.grad(tg.norm(zero), zero).data, 0)
    x = tg.tensor([-np.inf, 0.0, 1.0], requires_grad=True)
    np.testing.assert_allclose(tg.grad(tg.logsumexp(x), x).data, [0, 1 / (1 + np.e), np.e / (1 + np.e)])
    x = tg.tensor([-np.inf, -np.inf], requires_grad=True)
    y = tg.logsumexp(x)
    assert y.item() == -np.inf and np.isfinite(tg.grad(y, x).data).all()


def test_norms_of_fractional_order_are_finite_at_zero_entries():
    """The root of a zero entry has no slope, and none in the second order."""
    x = tg.tensor(np.array([0.0, 1.0, -4.0]), requires_grad=True)
    np.testing.assert_allclose(tg.grad(tg.norm(x, 0.5), x).data, [0, 3, -1.5])
    assert np.isfinite(tg.hvp(lambda v: tg.norm(v, 1.5), x, np.ones(3)).data).all()


def test_elu_refuses_a_negative_alpha():
    """Its slope is computed from its value, which says nothing then."""
    with pytest.raises(ValueError, match="alpha must be at least 0, got -2"):
        tg.elu(np.ones(3), -2)


def test_a_boolean_exponent():
    """x**True is x, x**False is 1."""
    x, chosen = tg.tensor(np.array([0.5, 3.0]), requires_grad=True), np.array([True, False])
    np.testing.assert_array_equal(tg.grad(tg.sum(x**chosen), x).data, [1, 0])


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int64", "float32"])
def test_products_have_numpys_dtypes(kind):
    """Small integers are promoted and do not wrap; the result is no view of the input."""
    for x in (np.array([[100, 100]]).astype(kind), np.ones((0, 2), kind)):
        for axis in (None, 0, 1):
            found, expected = tg.prod(x, axis), np.prod(x, axis)
            assert found.dtype == expected.dtype and not np.shares_memory(x, found)
            np.testing.assert_array_equal(found, expected)


def test_stable_at_ten_thousand():
    """A5: sigmoid, softplus, logaddexp, logsumexp, tanh at ±1e4: no overflow, no NaN, in value and gradient."""
    x = tg.tensor(np.array([-1e4, -30.0, 0.0, 30.0, 1e4]), requires_grad=True)
    for f in (tg.sigmoid, tg.softplus, tg.tanh, lambda v: tg.logaddexp(v, -v), tg.logsumexp, tg.elu):
        y = f(x)
        assert np.isfinite(y.data).all() and np.isfinite(tg.grad(tg.sum(y), x).data).all()


# ---- shapes and indexing --------------------------------------------------------------------------------


@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=3), st.data())
def test_transposes_and_moves(shape, data):
    """transpose, swapaxes, moveaxis, flip, roll: values as NumPy's, and exact adjoints."""
    a = np.random.default_rng(0).normal(size=shape)
    n = len(shape)
    axes = data.draw(st.permutations(range(n)))
    i, j = data.draw(st.integers(-n, n - 1)), data.draw(st.integers(-n, n - 1))
    shift = data.draw(st.integers(-4, 4))
    for f, want in [
        (lambda x: tg.transpose(x, tuple(axes)), np.transpose(a, axes)),
        (lambda x: tg.swapaxes(x, i, j), np.swapaxes(a, i, j)),
        (lambda x: tg.moveaxis(x, i, j), np.moveaxis(a, i, j)),
        (lambda x: tg.flip(x, i), np.flip(a, i)),
        (lambda x: tg.roll(x, shift, i), np.roll(a, shift, i)),
        (lambda x: x.T, a.T),
    ]:
        np.testing.assert_array_equal(f(tg.Tensor(a)).data, want)
        tg.check_grads(f, [a])


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3), st.data())
def test_padding_tiling_repeating(shape, data):
    """pad in every mode, tile, repeat, cumsum: values as NumPy's, and exact adjoints."""
    a = np.random.default_rng(0).normal(size=shape)
    width = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in shape]
    reps = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    times = data.draw(st.integers(0, 3))
    checks = [
        (lambda x, m=m: tg.pad(x, width, m), np.pad(a, width, mode=m))
        for m in ("constant", "edge", "wrap", *(["reflect"] if min(shape) > 2 else []))
    ]
    checks += [
        (lambda x: tg.pad(x, width, constant_values=1.5), np.pad(a, width, constant_values=1.5)),
        (lambda x: tg.tile(x, reps), np.tile(a, reps)),
        (lambda x: tg.repeat(x, times, axis), np.repeat(a, times, axis)),
        (lambda x: tg.cumsum(x, axis), np.cumsum(a, axis)),
    ]
    for f, want in checks:
        np.testing.assert_allclose(f(tg.Tensor(a)).data, want, rtol=1e-14)
        tg.check_grads(f, [a])


@given(st.data())
def test_indexing(data):
    """x[index] for basic, integer-array (repeats included) and boolean indices: NumPy's value, accumulating adjoint."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    index = data.draw(
        st.one_of(
            hnp.basic_indices(shape, allow_newaxis=True),
            hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=5)),
            hnp.arrays(bool, shape),
        )
    )
    a = np.random.default_rng(1).normal(size=shape)
    np.testing.assert_array_equal(tg.Tensor(a)[index].data, a[index])
    tg.check_grads(lambda x: x[index], [a])


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3), st.data())
def test_joining(shape, data):
    """concatenate, stack, split: NumPy's values; the pieces' gradients add up; every subset of inputs."""
    n = data.draw(st.integers(1, 4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=shape) for _ in range(n)]
    np.testing.assert_array_equal(tg.concatenate(arrays, axis), np.concatenate(arrays, axis))
    np.testing.assert_array_equal(tg.stack(arrays, axis), np.stack(arrays, axis))
    wanted = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))

    def join(f):
        return lambda *xs: f([xs[wanted.index(i)] if i in wanted else arrays[i] for i in range(n)], axis)

    tg.check_grads(join(tg.concatenate), [arrays[i] for i in wanted])
    tg.check_grads(join(tg.stack), [arrays[i] for i in wanted])
    cuts = sorted(data.draw(st.lists(st.integers(0, shape[axis]), max_size=2)))
    for got, want in zip(tg.split(arrays[0], cuts, axis), np.split(arrays[0], cuts, axis), strict=True):
        np.testing.assert_array_equal(got, want)


# ---- linear algebra -------------------------------------------------------------------------------------


@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3), seeds)
def test_matmul(pair, seed):
    """matmul over every pair of shapes that NumPy takes: vectors, stacks, broadcast stacks."""
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=s) for s in pair.input_shapes)
    np.testing.assert_allclose(tg.matmul(tg.Tensor(a), tg.Tensor(b)).data, np.matmul(a, b), rtol=1e-12, atol=1e-12)
    tg.check_grads(tg.matmul, [a, b])


@pytest.mark.parametrize(
    "subscripts, shapes_",
    [
        ("ij,jk", [(2, 3), (3, 2)]),
        ("ij->ji", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("ijk->j", [(2, 3, 2)]),
        ("...ij,...jk->...ik", [(2, 2, 3), (3, 2)]),
        ("i...,i...", [(2, 3), (2, 3)]),
        ("...,...", [(3,), (2, 3)]),
        ("ij,kj,lk->il", [(2, 3), (2, 3), (2, 2)]),
        ("i,j->", [(2,), (3,)]),
        ("bij,bjk,k->b", [(2, 2, 3), (2, 3, 2), (2,)]),
        ("iij->ij", [(2, 2, 3)]),
        (" i j , j -> i ", [(2, 3), (3,)]),
        ("ij,ij->i", [(2, 3), (2, 1)]),
        ("ij,ij->ij", [(2, 3), (1, 3)]),
    ],
)
def test_einsum(subscripts, shapes_, device):
    """einsum equals NumPy's on every kind of letter (kept, summed, repeated, dots), with order-2 gradients."""
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=s) for s in shapes_]
    got = tg.einsum(subscripts, *[tg.Tensor(on(device, a)) for a in arrays])
    np.testing.assert_allclose(host(got), np.einsum(subscripts, *arrays), rtol=1e-12)
    tg.check_grads(lambda *xs: tg.einsum(subscripts, *xs), [on(device, a) for a in arrays])


def test_diag_of_infinity_is_zero_beside_it():
    """0 is 0, not 0 times infinity; the dtype stays."""
    np.testing.assert_array_equal(tg.diag(np.array([np.inf, 1.0])), [[np.inf, 0], [0, 1]])
    x = tg.tensor(np.array([np.inf, 1.0]), requires_grad=True)
    np.testing.assert_array_equal(tg.grad(tg.diag(x)[0, 1], x).data, [0, 0])
    assert [tg.diag(np.ones(2, d)).dtype for d in ("float32", "int8", "bool")] == ["float32", "int8", "bool"]


def test_linalg_values():
    """inv, det, slogdet, solve, cholesky, triangular solve, eigh, dot, tensordot, outer, trace: NumPy's values."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(2, 3, 3)) + 3 * np.eye(3)
    s = a @ a.swapaxes(1, 2)
    b, t = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 4))
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
    close(tg.linalg.inv(a), np.linalg.inv(a))
    close(tg.linalg.det(a), np.linalg.det(a))
    for got, want in zip(tg.linalg.slogdet(a), np.linalg.slogdet(a), strict=True):
        close(got, want)
    close(tg.linalg.solve(a, b), np.linalg.solve(a, b))
    close(tg.linalg.cholesky(s), np.linalg.cholesky(s))
    close(tg.linalg.solve_triangular(a, b), np.linalg.solve(np.tril(a), b))
    close(tg.linalg.solve_triangular(a, b, lower=False, transposed=True), np.linalg.solve(np.triu(a).swapaxes(1, 2), b))
    values, vectors = tg.linalg.eigh(s)
    close(values, np.linalg.eigh(s)[0])
    close(vectors * values[:, None] @ vectors.swapaxes(1, 2), s)
    close(tg.dot(a, t), np.dot(a, t))
    close(tg.tensordot(a, t, ((0, 2), (0, 1))), np.tensordot(a, t, ((0, 2), (0, 1))))
    close(tg.outer(b, t), np.outer(b, t))
    close(tg.trace(a, 1), np.trace(a, 1))


# ---- convolution ----------------------------------------------------------------------------------------


@st.composite
def geometries(draw_):
    """Sizes and options of a convolution over one or two axes that fit together."""
    n = draw_(st.integers(1, 2))
    each = lambda low, high: tuple(draw_(st.integers(low, high)) for _ in range(n))
    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 2), each(1, 2)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    spatial = tuple(max(1, r - 2 * p) + draw_(st.integers(0, 3)) for r, p in zip(reach, padding, strict=True))
    groups = draw_(st.integers(1, 2))
    x = (draw_(st.integers(0, 2)), groups * draw_(st.integers(1, 2)), *spatial)
    w = (groups * draw_(st.integers(1, 2)), x[1] // groups, *kernel)
    return x, w, tg.Geometry(stride, padding, dilation, groups)


@equation(tg.convolve, 1)
def test_convolve_is_equation_1(device):
    """One product at a time, where padding, stride, dilation and groups all matter."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 4, 6)), rng.normal(size=(6, 2, 3))
    s, p, d = 2, 1, 2
    wanted = np.zeros((2, 6, 2))
    for n, o, i, c, k in np.ndindex(2, 6, 2, 2, 3):
        at = s * i + d * k - p
        wanted[n, o, i] += w[o, c, k] * x[n, 2 * (o // 3) + c, at] if 0 <= at < 6 else 0
    got = tg.convolve(on(device, x), on(device, w), tg.Geometry((s,), (p,), (d,), 2))
    np.testing.assert_allclose(host(got), wanted, rtol=1e-12, atol=1e-12)


@equation(tg.convolve_adjoint, 2)
@equation(tg.convolve_weight, 2)
def test_convolution_trio(device):
    """The inner-product identity, and gradients of order 2 of all three, on drawn geometries."""

    @settings(max_examples=20 if device == "cpu" else 5)
    @given(geometries(), seeds)
    def run(drawn, seed):
        x_shape, w_shape, options = drawn
        rng = np.random.default_rng(seed)
        x, w = on(device, rng.normal(size=x_shape)), on(device, rng.normal(size=w_shape))
        y = tg.convolve(x, w, options)
        v = on(device, rng.normal(size=y.shape))
        back = tg.convolve_adjoint(v, w, x_shape[2:], options)
        weight = tg.convolve_weight(x, v, w_shape[2:], options)
        inner = lambda a, b: float(np.sum(host(a) * host(b)))
        assert inner(y, v) == pytest.approx(inner(back, x), rel=1e-9, abs=1e-9)
        assert inner(y, v) == pytest.approx(inner(weight, w), rel=1e-9, abs=1e-9)
        if seed % 4 == 0 or device != "cpu":
            tg.check_grads(lambda x, w: tg.convolve(x, w, options), [x, w])
            tg.check_grads(lambda v, w: tg.convolve_adjoint(v, w, x_shape[2:], options), [v, w])
            tg.check_grads(lambda x, v: tg.convolve_weight(x, v, w_shape[2:], options), [x, v])

    run()


def test_user_primitive():
    """Three lines make a primitive, which then has its formula, its signature and its checks."""

    @tg.primitive(lambda g, y: g * (1 + y * y), domain="unit")
    def tangent(xp, x):
        """The tangent."""
        return xp.tan(x)

    try:
        assert composed(rules(REGISTRY["tangent"])[0].text) == composed("x̄ = ȳ·(1 + y·y)")
        assert rules(REGISTRY["tangent"])[0].latex == r"\bar x = \bar y \odot \left(1 + y \odot y\right)"
        assert tangent.__doc__ == "The tangent." and "xp" not in str(tangent.__signature__)
        assert tg.check_grads(tangent, [np.array([0.1, -0.5])]) < 1e-8
    finally:
        del REGISTRY["tangent"]

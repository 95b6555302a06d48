"""Backpropagation by hand against the engine, and every equation of the chapter."""

import numpy as np
import pytest
from equations import equation
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import Network
from tinygen.models.supervised import backpropagation as chapter
from tinygen.models.supervised.backpropagation import ACTIVATIONS, COSTS, Layer
from tinygen.runs import Run

rng = np.random.default_rng(0)


def network(sizes, names, seed=0, device="cpu"):
    draw = np.random.default_rng(seed)
    layers = []
    for n, m, name in zip(sizes[:-1], sizes[1:], names, strict=True):
        W, b = (arrays.asarray(a, device=device) for a in (draw.normal(size=(n, m)), draw.normal(size=m)))
        layers.append(Layer(W, b, name))
    return layers


def drawn(sizes, names, cost, batch, seed=0, device="cpu"):
    """A network and a batch for it."""
    draw = np.random.default_rng(seed + 1)
    y = draw.integers(0, sizes[-1], batch) if cost == "cross-entropy" else draw.normal(size=(batch, sizes[-1]))
    x = draw.normal(size=(batch, sizes[0]))
    return network(sizes, names, seed, device), arrays.asarray(x, device=device), arrays.asarray(y, device=device)


def recorded(layers, x, y, cost):
    """The same through the engine: the values h, the cost, and the parameters as leaves."""
    leaves = [Layer(tg.tensor(W, requires_grad=True), tg.tensor(b, requires_grad=True), s) for W, b, s in layers]
    h, _ = chapter.forward(tg.tensor(x, requires_grad=True), leaves)
    return h, COSTS[cost].value(h[-1], y), [p for layer in leaves for p in layer[:2]]


def host(a):
    return arrays.to_numpy(a._data if isinstance(a, tg.Tensor) else a)


@st.composite
def problems(draw):
    """Depth, widths, activations, cost, batch, seed."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    names = draw(st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=len(sizes) - 1, max_size=len(sizes) - 1))
    return sizes, names, draw(st.sampled_from(sorted(COSTS))), draw(st.integers(1, 5)), draw(st.integers(0, 10**6))


@equation(chapter.deltas, 3)
@equation(chapter.gradients, 4)
def test_by_hand_equals_the_engine_for_any_network(device):
    @settings(max_examples=60 if device == "cpu" else 10)
    @given(problems())
    def run(problem):
        sizes, names, cost, batch, seed = problem
        layers, x, y = drawn(sizes, names, cost, batch, seed, device)
        value, pairs = chapter.gradients(x, y, layers, cost)
        h, loss, params = recorded(layers, x, y, cost)
        assert float(value) == pytest.approx(loss.item(), rel=1e-14)
        expected = [host(g) for g in tg.grad(loss, params, retain_graph=True)]
        found = [host(g) for pair in pairs for g in pair]
        scale = max(1.0, *(np.abs(g).max() for g in expected))
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12 * scale)
        raw_h, a = chapter.forward(x, layers)
        delta = chapter.deltas(COSTS[cost].slope(raw_h[-1], y), chapter.slopes(raw_h, a, layers), layers)
        for mine, theirs in zip(delta, tg.grad(loss, h), strict=True):
            np.testing.assert_allclose(host(mine), host(theirs), rtol=0, atol=1e-12 * scale)

    run()


@equation(chapter.forward, 1)
def test_forward_is_the_documents_formula():
    layers, x, _ = drawn((3, 4, 2), ("tanh", "sigmoid"), "squared error", 5)
    h, a = chapter.forward(x, layers)
    for k in range(5):
        column = x[k]
        for i, f in ((1, np.tanh), (2, lambda v: 1 / (1 + np.exp(-v)))):
            before = np.array([sum(layers[i - 1].W[m, j] * column[m] for m in range(len(column)))
                               + layers[i - 1].b[j] for j in range(len(layers[i - 1].b))])  # fmt: skip
            column = f(before)
            np.testing.assert_allclose(a[i][k], before)
            np.testing.assert_allclose(h[i][k], column)


@equation(chapter.gradients, 2)
def test_the_sum_over_a_layers_values():  # Jacobians multiplied out, one example
    layers, x, y = drawn((3, 4, 2), ("tanh", "softplus"), "squared error", 1)
    h, loss, _ = recorded(layers, x, y, "squared error")
    delta = tg.grad(loss, h[1]).numpy()[0]  # dC/dh_j of the first layer
    by_weight = tg.jacobian(lambda W: chapter.forward(x, [layers[0]._replace(W=W)])[0][1][0], layers[0].W).numpy()
    np.testing.assert_allclose(chapter.gradients(x, y, layers, "squared error")[1][0][0],
                               np.einsum("j,jkm->km", delta, by_weight), rtol=1e-12)  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_derivatives(name, device):
    a = arrays.asarray(np.array([-2.0, -0.3, 0.0, 0.4, 3.0]), device=device)
    x = tg.tensor(a, requires_grad=True)
    f = ACTIVATIONS[name]
    engine = tg.grad(tg.sum(f.value(x)), x)
    np.testing.assert_allclose(host(f.slope(a, f.value(a))) * np.ones(5), engine.numpy(), rtol=1e-14)


def by_differences(value, h):
    """The gradient of a function of h (4, 3), entry by entry."""
    found = np.zeros((4, 3))
    for where in np.ndindex(4, 3):
        e = np.zeros((4, 3))
        e[where] = 1e-5
        found[where] = (value(h + e) - value(h - e)) / 2e-5
    return found


@equation(chapter.cross_entropy_slope, 5)
def test_cross_entropy_and_its_slope():
    h, y = rng.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    value = COSTS["cross-entropy"].value
    p = np.exp(h) / np.exp(h).sum(1, keepdims=True)
    assert value(h, y) == pytest.approx(-np.mean([np.log(p[k, c]) for k, c in enumerate(y)]))
    np.testing.assert_allclose(chapter.cross_entropy_slope(h, y), by_differences(lambda h: value(h, y), h), atol=1e-9)


@equation(chapter.squared_error, 6)
@equation(chapter.squared_error_slope, 6)
def test_squared_error_and_its_slope():
    h, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    expected = np.mean([np.linalg.norm(u - v) ** 2 / 2 for u, v in zip(h, y, strict=True)])
    assert chapter.squared_error(h, y) == pytest.approx(expected, rel=1e-12)
    differences = by_differences(lambda h: ((h - y) ** 2).sum() / 8, h)
    np.testing.assert_allclose(chapter.squared_error_slope(h, y), differences, atol=1e-9)


@pytest.mark.parametrize("name, steepest", [("sigmoid", 0.25), ("tanh", 1.0), ("relu", 1.0), ("softplus", 1.0)])
def test_errors_shrink_by_the_bound(name, steepest):
    layers, x, y = drawn((6,) * 21, (name,) * 20, "squared error", 1)
    h, a = chapter.forward(x, layers)
    slope = chapter.slopes(h, a, layers)
    assert all((s <= steepest).all() for s in slope[1:])
    delta = chapter.deltas(COSTS["squared error"].slope(h[-1], y), slope, layers)
    lengths = [np.linalg.norm(d) for d in delta]
    for i, layer in enumerate(layers):
        assert lengths[i] <= chapter.error_bound(layer.W, steepest, delta[i + 1]) * (1 + 1e-12)
    if name == "sigmoid":
        assert lengths[0] < 1e-3 * lengths[-1]


@equation(chapter.error_bound, 7)
def test_the_bound_is_attained():
    rotation = 3 * np.linalg.qr(rng.normal(size=(4, 4)))[0]
    layers, delta_L = [Layer(rotation, np.zeros(4), "identity")], rng.normal(size=(1, 4))
    h, a = chapter.forward(np.ones((1, 4)), layers)
    slope = chapter.slopes(h, a, layers)
    before = chapter.deltas(delta_L, slope, layers)[0]
    assert np.linalg.norm(before) == pytest.approx(chapter.error_bound(rotation, slope[1], delta_L), rel=1e-12)


@equation(chapter.subgradients, 8)
def test_subgradients_are_the_supporting_slopes():
    places = rng.normal(size=(200, 1)) * 3
    cases = [(lambda w: np.maximum(w, 0), (0, 1)), (np.abs, (-1, 1)), (np.square, (0, 0))]
    for f, (low, high) in cases:

        def rows(w, f=f):
            return f(w)[:, 0]

        np.testing.assert_allclose(chapter.subgradients(f, 0.0), (low, high), atol=2e-6)
        for u in np.linspace(low, high, 5):
            assert chapter.is_subgradient(rows, [u], [0.0], places)
        for u in (low - 0.2, high + 0.2):
            assert not chapter.is_subgradient(rows, [u], [0.0], places)
    assert ACTIVATIONS["relu"].slope(np.zeros(1), np.zeros(1))[0] == 0  # ours, within the interval
    ends = np.array([[1.0, 0], [0, 1], [0.3, 0.7]])
    around = rng.normal(size=(200, 2)) + 2
    assert all(chapter.is_subgradient(lambda w: w.max(1), u, [2.0, 2.0], around) for u in ends)


def test_a_chain_rule_through_corners_need_not_be_a_subgradient():  # the remark below (8)
    w = tg.tensor(np.zeros(1), requires_grad=True)
    assert tg.grad(tg.sum(tg.relu(w) - tg.relu(-w)), w).item() == 0  # 2u with u = 0, though the function is w
    W = np.array([[1.0, -1.0]])
    layers = [Layer(W, np.zeros(2), "relu"), Layer(W.T, np.zeros(1), "identity")]
    h, a = chapter.forward(np.zeros((1, 1)), layers)
    assert chapter.deltas(np.ones((1, 1)), chapter.slopes(h, a, layers), layers)[0].item() == 0
    h, a = chapter.forward(np.full((1, 1), 1e-9), layers)
    assert chapter.deltas(np.ones((1, 1)), chapter.slopes(h, a, layers), layers)[0].item() == 1


# ---- the model ----------------------------------------------------------------------------------------------------


X, Y = rng.normal(size=(30, 5)), rng.integers(0, 3, 30)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_models_gradients_are_the_engines_all_along(activation):
    net = Network(5, 7, 6, 3, activation=activation, rng=tg.random.Generator(0)).to(dtype="float64")
    for _ in range(20):
        for mine, theirs in zip(net.gradients(X, Y), net.gradients_by_engine(X, Y), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
        net.update(*net.checked(X, Y))


def test_learning_by_hand_is_learning_by_the_engine():
    by_hand, by_engine = (Network(5, 7, 3, rng=tg.random.Generator(0)).to(dtype="float64") for _ in range(2))
    super_update = super(Network, by_engine).update
    for _ in range(50):
        a, b = by_hand.update(*by_hand.checked(X, Y)), super_update(*by_engine.checked(X, Y))
    assert float(a["loss"]) == pytest.approx(b["loss"].item(), rel=1e-9)
    assert by_hand.score(X, Y) == by_engine.score(X, Y)


def test_it_learns():
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    net = Network(5, 16, 16, 2, rng=tg.random.Generator(0)).fit(X, y, steps=300, batch_size=30, run=Run(quiet=True))
    assert net.score(X, y) == 1.0


def test_refusals():
    with pytest.raises(ValueError, match="two sizes or more"):
        Network(3, rng=tg.random.Generator(0))
    with pytest.raises(ValueError, match="'sine'"):
        Network(3, 2, activation="sine")

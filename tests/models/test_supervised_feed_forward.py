"""The chapter on feed-forward nets: every equation, the bounds of both constructions, and the limits of flat nets."""

import doctest

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import FeedForward
from tinygen.models.supervised import feed_forward as chapter
from tinygen.models.supervised.backpropagation import Layer
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = np.linspace(0, 1, 2049)[:, None]


def wave(x):
    return np.sin(7 * x) + x


def quiet():
    return Run(quiet=True)


def drawn(*sizes, sigma="relu"):
    """Layers with random weights."""
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    return [Layer(rng.normal(size=(n, m)), rng.normal(size=m), sigma if i < len(pairs) - 1 else "identity")
            for i, (n, m) in enumerate(pairs)]  # fmt: skip


def pieces(y):
    """How many straight pieces equidistant values (n,) show, each of which is longer than a few steps."""
    bends = np.flatnonzero(np.abs(np.diff(y, 2)) > 1e-9)
    return 1 + len(bends) - int(np.sum(np.diff(bends) == 1))  # a corner between two places shows twice


# ---- the net ----------------------------------------------------------------------------------------------------


@equation(chapter.feed_forward, 1)
@equation(chapter.fully_connected, 1)
@pytest.mark.parametrize("sigma", ["relu", "sigmoid", "tanh"])
def test_each_neuron_is_a_column_of_w(device, sigma):
    value = {"relu": lambda a: max(a, 0), "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "tanh": np.tanh}[sigma]
    layers, x = drawn(3, 4, 2, sigma=sigma), rng.normal(size=(5, 3))
    (W, b, _), (V, c, _) = layers
    placed = [Layer(*(arrays.asarray(a, device=device) for a in (A, a)), s) for A, a, s in layers]
    hidden = arrays.to_numpy(chapter.fully_connected(arrays.asarray(x, device=device), *placed[0]))
    found = arrays.to_numpy(chapter.feed_forward(arrays.asarray(x, device=device), placed))
    for k in range(5):
        h = [value(sum(W[i, j] * x[k, i] for i in range(3)) + b[j]) for j in range(4)]
        np.testing.assert_allclose(hidden[k], h, rtol=1e-10)
        np.testing.assert_allclose(found[k], [sum(V[i, j] * h[i] for i in range(4)) + c[j] for j in range(2)])


@equation(chapter.n_weights, 2)
def test_the_number_of_weights_is_that_of_a_nets_parameters():
    for sizes in ((3, 2), (5, 4, 3, 2)):
        net = FeedForward(*sizes, rng=tg.random.Generator(0))
        assert chapter.n_weights(*sizes) == sum(p.data.size for p in net.parameters())


def test_layers_without_sigma_are_one_linear_map():
    layers = [Layer(W, b, "identity") for W, b, _ in drawn(3, 5, 4, 2)]
    x, y = rng.normal(size=(2, 6, 3))
    f = lambda x: chapter.feed_forward(x, layers)  # noqa: E731
    np.testing.assert_allclose(f(0.3 * x + 0.7 * y), 0.3 * f(x) + 0.7 * f(y))


# ---- width ------------------------------------------------------------------------------------------------------


@equation(chapter.modulus, 3)
def test_modulus_of_continuity():
    assert chapter.modulus(lambda x: 3 * x, 0.25) == pytest.approx(0.75, rel=1e-4)
    assert chapter.modulus(np.sqrt, 0.04) == pytest.approx(0.2, rel=1e-4)  # steepest at 0
    v = wave(np.linspace(0, 1, 101))
    tried = max(abs(v[i] - v[j]) for i in range(101) for j in range(101) if abs(i - j) <= 10)
    assert chapter.modulus(wave, 0.1, points=101) == pytest.approx(tried, rel=1e-12)


@equation(chapter.staircase, 4)
def test_the_staircase_as_a_sum():
    n, c = 5, 20.0
    m, t = [(k + 0.5) / 6 for k in range(6)], [k / 6 for k in range(1, 6)]
    expected = [wave(m[0]) + sum((wave(m[k]) - wave(m[k - 1])) / (1 + np.exp(-c * (x - t[k - 1]))) for k in range(1, 6))
                for x in X[:, 0]]  # fmt: skip
    np.testing.assert_allclose(chapter.feed_forward(X, chapter.staircase(wave, n, c))[:, 0], expected, rtol=1e-10)


@equation(chapter.staircase_bound, 5)
def test_the_bound_of_a_staircase():
    steps = np.abs(np.diff(wave((np.arange(9) + 0.5) / 9))).sum()
    assert chapter.staircase_bound(wave, 8, 30.0) == pytest.approx(chapter.modulus(wave, 1 / 9)
                                                                   + np.exp(-30 / 18) * steps, rel=1e-12)  # fmt: skip


@given(st.integers(1, 60), st.floats(1, 60), st.integers(0, 10**6))
def test_no_staircase_is_worse_than_its_bound(n, steepness, seed):
    a = np.random.default_rng(seed).normal(size=4)
    f = lambda x: sum(a[k] * np.sin((2 * k + 1) * x + k) for k in range(4))  # noqa: E731
    c = steepness * (n + 1)
    error = np.abs(chapter.feed_forward(X, chapter.staircase(f, n, c)) - f(X)).max()
    assert error <= chapter.staircase_bound(f, n, c) + 1e-9


@equation(chapter.interpolant, 6)
def test_lines_are_numpys_interpolation():
    t, v = np.sort(rng.uniform(size=7)), rng.normal(size=(7, 2))
    x = np.linspace(t[0], t[-1], 300)
    found = chapter.feed_forward(x[:, None], chapter.interpolant(t, v))
    for j in range(2):
        np.testing.assert_allclose(found[:, j], np.interp(x, t, v[:, j]), atol=1e-9)


@equation(chapter.interpolation_bound, 7)
def test_the_bound_of_lines_is_reached_by_a_parabola():
    for n in (1, 4, 9):
        x, t = np.linspace(0, 1, 2 * n + 1)[:, None], np.linspace(0, 1, n + 1)  # nodes and middles
        error = np.abs(chapter.feed_forward(x, chapter.interpolant(t, 3 * t[:, None] ** 2)) - 3 * x**2).max()
        assert error == pytest.approx(chapter.interpolation_bound(6.0, n), rel=1e-9)
        t, M = t[:, None], 49.0
        error = np.abs(chapter.feed_forward(X, chapter.interpolant(t[:, 0], wave(t))) - wave(X)).max()
        assert error <= chapter.interpolation_bound(M, n)


def test_a_jump_costs_half_its_height():
    for n in (4, 64):
        for net in (chapter.staircase(lambda x: 1.0 * (x > 0.5), n, 1000.0), drawn(1, n, 1)):
            near = chapter.feed_forward(np.array([[0.5], [0.5 + 1e-12]]), net)[:, 0]
            assert max(abs(near[0] - 0), abs(near[1] - 1)) > 0.5 - 1e-6


# ---- depth ------------------------------------------------------------------------------------------------------


@equation(chapter.most_pieces, 8)
def test_pieces_add_up_side_by_side_and_multiply_one_behind_the_other():
    assert chapter.most_pieces(3) == 4 and chapter.most_pieces(2, 3, 1) == 24
    x = np.linspace(-40, 40, 400_001)
    for sizes in ((1, 1, 1), (1, 3, 1), (1, 2, 2, 1), (1, 3, 2, 2, 1)):
        for _ in range(5):
            y = chapter.feed_forward(x[:, None], drawn(*sizes))[:, 0]
            assert pieces(y) <= chapter.most_pieces(*sizes[1:-1])
    assert pieces(chapter.feed_forward(x[:, None], drawn(1, 3, 1))[:, 0]) == 4  # one layer always makes them all


@equation(chapter.tent, 9)
def test_the_tent():
    np.testing.assert_allclose(chapter.tent(X), 1 - np.abs(2 * X - 1), atol=1e-15)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_saw_is_the_tent_behind_itself(depth):
    y, folded = chapter.feed_forward(X, chapter.saw(depth)), X
    for _ in range(depth):
        folded = chapter.tent(folded)
    np.testing.assert_allclose(y, folded, atol=1e-12)
    assert pieces(y[:, 0]) == 2**depth
    np.testing.assert_allclose(y[:: 2048 // 2**depth, 0], np.arange(2**depth + 1) % 2, atol=1e-12)
    assert sum(len(b) for _, b, _ in chapter.saw(depth)[:-1]) == 2 * depth


@equation(chapter.least_error_to_saw, 10)
@given(st.integers(1, 14), st.integers(0, 10**6))
def test_few_pieces_come_nowhere_near_a_saw(n, seed):
    draw, saw = np.random.default_rng(seed), chapter.feed_forward(X, chapter.saw(4))
    t = np.sort(np.r_[0, draw.choice(np.arange(1, 2048), n - 1, replace=False), 2048])
    v = np.where(draw.uniform(size=n + 1) < 0.5, saw[t, 0], draw.uniform(size=n + 1))
    error = np.abs(chapter.feed_forward(X, chapter.interpolant(X[t, 0], v[:, None])) - saw).max()
    assert error >= chapter.least_error_to_saw(n, 4) - 1e-9
    flat = [Layer(np.zeros((1, 1)), np.zeros(1), "relu"), Layer(np.zeros((1, 1)), np.full(1, 0.5), "identity")]
    best = np.abs(chapter.feed_forward(X, flat) - saw).max()
    assert chapter.least_error_to_saw(n, 4) == pytest.approx(best, rel=1e-9)  # so no better bound holds
    assert chapter.least_error_to_saw(16, 4) == 0


@equation(chapter.parabola, 11)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_parabola_as_a_sum_of_saws(depth):
    found = chapter.feed_forward(X, chapter.parabola(depth))
    expected = X - sum(chapter.feed_forward(X, chapter.saw(j)) / 4**j for j in range(1, depth + 1))
    np.testing.assert_allclose(found, expected, atol=1e-13)
    t = np.linspace(0, 1, 2**depth + 1)
    np.testing.assert_allclose(found[:, 0], np.interp(X[:, 0], t, t**2), atol=1e-13)
    assert np.abs(found - X**2).max() == pytest.approx(4.0 ** -(depth + 1), rel=1e-9)


@equation(chapter.least_error_to_parabola, 12)
@pytest.mark.parametrize("p", [1, 3, 8])
def test_equal_pieces_moved_down_by_half_their_error_are_the_best_lines(p):
    t = np.linspace(0, 1, p + 1)
    x = np.linspace(0, 1, 8 * p + 1)[:, None]  # with the middles of the pieces
    lines = chapter.feed_forward(x, chapter.interpolant(t, t[:, None] ** 2))
    errors = lines - x**2
    assert np.abs(errors - errors.max() / 2).max() == pytest.approx(chapter.least_error_to_parabola(p), rel=1e-9)
    t = np.r_[0, np.sort(rng.uniform(size=p - 1)), 1]  # others are worse, wherever they end
    for shift in np.linspace(0, 0.05, 11):
        other = chapter.feed_forward(X, chapter.interpolant(t, t[:, None] ** 2 - shift))
        assert np.abs(other - X**2).max() >= chapter.least_error_to_parabola(p) - 1e-6


# ---- a net that learns ------------------------------------------------------------------------------------------


def test_it_starts_at_a_construction_and_learns_on():
    net = FeedForward(1, 12, 1, rng=tg.random.Generator(0)).to(dtype="float64")
    t = np.linspace(0, 1, 13)
    start = chapter.interpolant(t, wave(t)[:, None])
    np.testing.assert_allclose(net.start_at(start).predict(X), chapter.feed_forward(X, start), atol=1e-12)
    before = net.loss(X, wave(X)).item()
    net.fit_exactly(X, wave(X), steps=100)
    assert net.loss(X, wave(X)).item() < 0.3 * before


def test_minibatches_teach_two_layers():
    net = FeedForward(1, 16, 16, 1, sigma="tanh", rng=tg.random.Generator(0))
    before = net.loss(*net.checked(X, wave(X))).item()
    net.fit(X, wave(X), steps=400, batch_size=50, run=quiet())
    assert net.loss(*net.checked(X, wave(X))).item() < 0.05 * before
    assert net.predict(X).shape == (2049, 1) and net.predict(X).dtype == np.float32


def test_layers_start_at_the_size_that_keeps_the_signal():
    x = tg.random.Generator(1).normal((2000, 300))
    for sigma, kept in (("relu", 0.5), ("identity", 1.0)):  # E relu(a)^2 = E a^2 / 2, with E a^2 = 2 and 1
        layer = chapter.FullyConnected(300, 400, sigma, rng=tg.random.Generator(0))
        assert np.mean(layer(x).numpy() ** 2) == pytest.approx(2 * kept if sigma == "relu" else kept, rel=0.05)


def test_refusals():
    with pytest.raises(ValueError, match="sigma is 'step'; one of identity, sigmoid"):
        FeedForward(1, 2, 1, sigma="step")
    for sizes in ((3,), (3, 0, 1)):
        with pytest.raises(ValueError, match="two or more, each at least 1, are wanted"):
            FeedForward(*sizes)
    net = FeedForward(2, 3, 1, rng=tg.random.Generator(0))
    x = rng.normal(size=(5, 2))
    with pytest.raises(ValueError, match=r"y has shape \(5,\); at least one row of 1 is wanted"):
        net.fit(x, x[:, 0], steps=1, run=quiet())
    with pytest.raises(ValueError, match="x has 5 rows and y 4"):
        net.fit(x, x[:4, :1], steps=1, run=quiet())
    with pytest.raises(ValueError, match="y has NaN"):
        net.fit(x, x[:, :1] * np.nan, steps=1, run=quiet())


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

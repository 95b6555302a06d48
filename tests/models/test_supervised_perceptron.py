"""The chapter on the artificial neuron: every equation, Novikoff's theorem on many sets, and the models' promises."""

import doctest

import numpy as np
import pytest
import scipy.optimize
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import Perceptron, SigmaNeuron
from tinygen.models.supervised import perceptron as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def separable(n=30, d=2, seed=0, gap=0.05):
    """Examples X (n, d + 1) and signs that some plane tells apart."""
    draw = np.random.default_rng(seed)
    u = draw.normal(size=d + 1)
    X = np.column_stack([np.ones(20 * n), draw.normal(size=(20 * n, d))])
    X = X[np.abs(X @ u) / np.linalg.norm(u) > gap][:n]
    return X, np.sign(X @ u), u


def quiet():
    return Run(quiet=True)


# ---- the neuron -------------------------------------------------------------------------------------------------


@equation(chapter.neuron, 1)
def test_a_neuron_weighs_adds_and_fires(device):
    X, w = np.column_stack([np.ones(6), rng.normal(size=(6, 2))]), np.array([0.5, 1.0, -2.0])
    X[0] = [1, 1, 0.75]  # the sum is 0: it fires
    expected = [1.0 if 0.5 + 1.0 * a - 2.0 * b >= 0 else 0.0 for _, a, b in X]
    found = chapter.neuron(*(arrays.asarray(a, device=device) for a in (w, X)))
    np.testing.assert_array_equal(arrays.to_numpy(found), expected)
    assert expected[0] == 1 and 0 < sum(expected) < 6


@equation(chapter.corrected, 2)
def test_only_mistakes_are_mended():
    w, x = np.array([1.0, -2.0]), np.array([3.0, 1.0])  # w x = 1
    np.testing.assert_array_equal(chapter.corrected(w, x, 1), w)
    np.testing.assert_array_equal(chapter.corrected(w, x, -1), [-2, -3])
    np.testing.assert_array_equal(chapter.corrected(0 * w, x, 1), x)  # a sum of 0 is a mistake for both
    np.testing.assert_array_equal(chapter.corrected(0 * w, x, -1), -x)


# ---- Novikoff ---------------------------------------------------------------------------------------------------


@equation(chapter.margin, 3)
@equation(chapter.radius, 3)
def test_margin_and_radius():
    X, s, u = separable()
    distances = [s[i] * sum(u * X[i]) / sum(u**2) ** 0.5 for i in range(len(s))]
    assert chapter.margin(u, X, s) == pytest.approx(min(distances), rel=1e-12) and min(distances) > 0
    assert chapter.margin(7 * u, X, s) == pytest.approx(min(distances), rel=1e-12)
    assert chapter.radius(X) == pytest.approx(max(sum(x**2) ** 0.5 for x in X), rel=1e-12)


@equation(chapter.most_mistakes, 4)
def test_the_bound_is_reached_by_examples_at_right_angles():
    X, s = np.diag([1.0, -1, 1, 1, -1, 1]), np.array([1, -1, 1, 1, -1, 1])
    w, mistakes = np.zeros(6), 0
    for x, sign in list(zip(X, s, strict=True)) * 2:
        mistakes += sign * (w @ x) <= 0
        w = chapter.corrected(w, x, sign)
    assert mistakes == pytest.approx(chapter.most_mistakes(s @ X, X, s), rel=1e-9) == 6
    assert chapter.most_mistakes(-(s @ X), X, s) == np.inf


@equation(chapter.between, 5)
def test_the_two_ends_of_the_proof():
    X, s, u = separable()
    low, high = chapter.between(u, X, s, 9)
    assert low == pytest.approx(9 * min(s * (X @ u)) / np.linalg.norm(u), rel=1e-12)
    assert high == pytest.approx(3 * np.linalg.norm(X, axis=1).max(), rel=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.02, 0.3), st.booleans())
def test_whatever_the_order_the_proof_holds_at_each_mistake(seed, d, gap, cyclic):
    X, s, u = separable(20, d, seed, gap)
    draw, w, k = np.random.default_rng(seed), np.zeros(d + 1), 0
    limit, u = chapter.most_mistakes(u, X, s), u / np.linalg.norm(u)
    while (wrong := np.flatnonzero(s * (X @ w) <= 0)).size:
        i = wrong[0] if cyclic else draw.choice(wrong)
        w, k = chapter.corrected(w, X[i], s[i]), k + 1
        low, high = chapter.between(u, X, s, k)
        assert low - 1e-9 <= u @ w <= np.linalg.norm(w) + 1e-9 <= high + 2e-9
        assert k <= limit


@equation(chapter.largest_margin, 6)
@pytest.mark.parametrize("seed", range(4))
def test_the_largest_margin_by_turning_the_plane(seed):
    X, s, u = separable(25, 1, seed)  # lines through 0 in the plane of (1, x): one angle to try
    gamma, v = chapter.largest_margin(X, s)
    best, width = 0.0, np.pi
    for _ in range(2):  # the second time more finely, about the best
        angles = np.linspace(best - width, best + width, 20_001)
        tried = np.min(s[:, None] * (X @ np.stack([np.cos(angles), np.sin(angles)])), 0)
        best, width = angles[tried.argmax()], 1e-3
    assert gamma == pytest.approx(tried.max(), rel=1e-5)
    assert chapter.margin(v, X, s) == pytest.approx(gamma, rel=1e-8)
    assert gamma >= chapter.margin(u, X, s)


def test_the_largest_margin_in_more_dimensions_is_that_of_a_quadratic_programme():
    X, s, _ = separable(15, 3, seed=3)
    gamma, _ = chapter.largest_margin(X, s)
    found = scipy.optimize.minimize(  # the shortest w with s w x >= 1
        lambda w: w @ w / 2, 30 * X.T @ s, jac=lambda w: w, method="SLSQP", options=dict(maxiter=500, ftol=1e-14),
        constraints={"type": "ineq", "fun": lambda w: s * (X @ w) - 1, "jac": lambda w: s[:, None] * X},
    )  # fmt: skip
    assert found.success and gamma == pytest.approx(1 / np.linalg.norm(found.x), rel=1e-6)


def test_no_margin_where_no_plane_will_do():
    X = np.array([[1.0, 0, 0], [1, 1, 1], [1, 0, 1], [1, 1, 0]])
    assert chapter.largest_margin(X, np.array([1, 1, -1, -1]))[0] < 1e-12  # exclusive or
    assert chapter.largest_margin(X, np.array([-1, 1, -1, -1]))[0] > 0.1  # and


# ---- the smooth neuron ------------------------------------------------------------------------------------------


@equation(chapter.sigmoid, 7)
def test_the_sigmoid_and_its_limit():
    a = np.array([-2.0, -0.1, 0.0, 0.3, 5.0])
    np.testing.assert_allclose(chapter.sigmoid(a, 3), [1 / (1 + np.exp(-3 * v)) for v in a], rtol=1e-12)
    np.testing.assert_allclose(chapter.sigmoid(a, 1e4), [0, 0, 0.5, 1, 1], atol=1e-12)


@equation(chapter.smooth_loss, 8)
@equation(chapter.perceptron_loss, 8)
def test_the_losses_and_how_far_they_are_apart():
    X, s, u = separable()
    w = np.roll(u, 1)  # wrong about some of them
    sums = [s[i] * (X[i] @ w) for i in range(len(s))]
    hinge = np.mean([max(0, -t) for t in sums])
    assert chapter.perceptron_loss(w, X, s) == pytest.approx(hinge, rel=1e-12)
    for c in (1, 4, 100):
        found = chapter.smooth_loss(w, X, s, c)
        assert found == pytest.approx(np.mean([np.log(1 + np.exp(-c * t)) / c for t in sums]), rel=1e-10)
        assert 0 <= found - hinge <= np.log(2) / c


@equation(chapter.weighted_correction, 9)
@pytest.mark.parametrize("c", [1.0, 5.0])
def test_the_gentle_correction_is_the_engines_descent(c):
    X, s, _ = separable()
    w = tg.tensor(rng.normal(size=3), requires_grad=True)
    engine = -tg.grad(chapter.smooth_loss(w, X, s, c), w).numpy()
    np.testing.assert_allclose(chapter.weighted_correction(w.data, X, s, c), engine, rtol=1e-10)


def test_steep_neurons_correct_as_rosenblatt_did():
    X, s, u = separable()
    w = np.roll(u, 1)  # wrong about some of them
    expected = sum((chapter.corrected(w, x, t) - w for x, t in zip(X, s, strict=True)), np.zeros(3)) / len(s)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(chapter.weighted_correction(w, X, s, 1e9), expected, atol=1e-9)


# ---- the models -------------------------------------------------------------------------------------------------


def test_a_perceptron_ends_within_novikoffs_bound():
    X, s, _ = separable(60, 3, seed=2)
    limit = chapter.most_mistakes(chapter.largest_margin(X, s)[1], X, s)
    x, y = X[:, 1:], (s > 0).astype(int)
    model = Perceptron(3, rng=tg.random.Generator(0)).fit(x, y, steps=int(limit) + 1, run=quiet())
    assert model.score(x, y) == 1 and 0 < model.mistakes.item() <= limit
    before = model.w.numpy()
    model.fit(x, y, steps=3, run=quiet())  # nothing is left to mend
    np.testing.assert_array_equal(model.w.numpy(), before)
    np.testing.assert_array_equal(model.predict(x), chapter.neuron(model.w.numpy(), chapter.design(x)))


def test_w_is_a_sum_of_examples_one_for_each_mistake():
    x, y = rng.integers(-3, 4, size=(20, 2)).astype(float), rng.integers(0, 2, 20)
    model = Perceptron(2, rng=tg.random.Generator(0)).fit(x, y, steps=40, run=quiet())
    assert model.mistakes.item() == 40 and (model.w.numpy() % 1 == 0).all()


def test_a_smooth_neuron_learns_the_cross_entropy_and_rests():
    X, s, _ = separable(gap=0)
    s[::5] *= -1  # no plane will do
    x, y = X[:, 1:], (s > 0).astype(int)
    model = SigmaNeuron(2, rng=tg.random.Generator(0)).to(dtype="float64")
    assert model.loss(x, y).item() == pytest.approx(np.log(2), rel=1e-12)
    for _ in range(300):
        model.update(x, y)
    assert model.loss(x, y).item() == pytest.approx(chapter.smooth_loss(model.w.data, X, s), rel=1e-12)
    assert np.abs(chapter.weighted_correction(model.w.data, X, s)).max() < 1e-3
    np.testing.assert_allclose(model.predict_log_proba(x)[:, 1], np.log(chapter.sigmoid(X @ model.w.data)), rtol=1e-10)


def test_where_a_plane_will_do_the_smooth_neuron_turns_to_the_largest_margin():
    X, s, _ = separable(20, 2, seed=1, gap=0.1)
    x, y = X[:, 1:], (s > 0).astype(int)
    gamma, _ = chapter.largest_margin(X, s)
    model, margins = SigmaNeuron(2, lr=5.0, rng=tg.random.Generator(0)).to(dtype="float64"), []
    for _ in range(3):
        for _ in range(300):
            model.update(x, y)
        margins.append(chapter.margin(model.w.data, X, s))
    assert margins[0] < margins[1] < margins[2] < gamma and margins[2] > 0.8 * gamma


def test_on_the_stand_in_for_a_gpu(device):
    X, s, _ = separable(seed=4)
    x, y = X[:, 1:], (s > 0).astype(int)

    def learnt(kind, device):
        model = kind(2, rng=tg.random.Generator(0, device=device)).fit(x, y, steps=9, run=quiet())
        return model.w.numpy(), model.predict(x)

    for kind in (Perceptron, SigmaNeuron):
        for found, expected in zip(learnt(kind, device), learnt(kind, "cpu"), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_refusals():
    x, y = rng.normal(size=(5, 2)), np.array([0, 1, 0, 1, 1])
    with pytest.raises(ValueError, match="n_features is 0"):
        Perceptron(0)
    with pytest.raises(ValueError, match="n_features is 0"):
        SigmaNeuron(0)
    for wrong in (y + 1, y * 0.5, y[:3]):
        with pytest.raises(ValueError, match=r"Perceptron: y is .* a class, 0 or 1, for each of the 5 rows"):
            Perceptron(2).fit(x, wrong, steps=1, run=quiet())


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

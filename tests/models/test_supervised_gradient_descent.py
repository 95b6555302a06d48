"""Gradient descent: the speed of each rule on a bowl, noise and falling rates, and the regression they learn."""

import doctest
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import optim
from tinygen.models.supervised import DescentRegression
from tinygen.models.supervised import gradient_descent as chapter
from tinygen.optim.schedules import Constant, Cosine, Exponential, RobbinsMonro
from tinygen.runs import Run

rng = np.random.default_rng(0)


def symmetric(seed, d=3, low=1.0, high=20.0):
    """A curvature with eigenvalues from low to high, and its eigenvectors."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    values = np.linspace(low, high, d)
    return (Q * values) @ Q.T, values, Q


def on_a_line(lam, steps, **options):
    """The errors of SGD on lam x^2 / 2 from 1."""
    loss = lambda x: chapter.bowl(x, np.array([[lam]]), np.zeros(1))
    return chapter.path(loss, [1.0], lambda params: optim.SGD(params, **options), steps)[:, 0]


# ---- without noise ------------------------------------------------------------------------------------------------


@equation(chapter.path, 1)
def test_a_path_goes_against_the_slope():
    loss = lambda x: tg.sum(x**4) / 4 + x[0] * x[1]
    found = chapter.path(loss, [1.0, -0.5], lambda params: optim.SGD(params, 0.1), 20, Cosine(20))
    x = np.array([1.0, -0.5])
    for t, place in enumerate(found):
        np.testing.assert_allclose(place, x, rtol=1e-12)
        x = x - 0.1 * (1 + math.cos(math.pi * t / 20)) / 2 * (x**3 + x[::-1])
    assert found.shape == (21, 2) and found.dtype == np.float64


@equation(chapter.bowl, 2)
def test_the_bowl_and_its_slope(device):
    A, _, _ = symmetric(0)
    theta, best = rng.normal(size=(2, 3))
    expected = sum((theta - best)[i] * A[i, j] * (theta - best)[j] for i in range(3) for j in range(3)) / 2
    on = [tg.tensor(a, device=device) for a in (A, best)]
    leaf = tg.tensor(theta, requires_grad=True, device=device)
    value = chapter.bowl(leaf, *on)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(tg.grad(value, leaf).numpy(), A @ (theta - best), rtol=1e-10)


@equation(chapter.plain_error, 3)
@given(st.integers(0, 10**6), st.floats(0.01, 0.12))
def test_errors_shrink_along_eigenvectors(seed, rate):
    A, values, Q = symmetric(seed)
    start, best = np.random.default_rng(seed).normal(size=(2, 3))
    places = chapter.path(lambda x: chapter.bowl(x, A, best), start, lambda params: optim.SGD(params, rate), 15)
    errors = (places - best) @ Q  # (16, 3)
    for t in range(16):
        np.testing.assert_allclose(errors[t], chapter.plain_error(values, rate, t) * errors[0], rtol=1e-7, atol=1e-9)


def test_a_rate_above_two_over_the_curvature_diverges():
    for rate, grows in ((0.099, False), (0.101, True)):
        assert (abs(on_a_line(20.0, 200, lr=rate)[-1]) > 1) == grows


@equation(chapter.best_plain, 4)
def test_the_best_rate_by_search():
    low, high = 0.7, 9.0
    rates = np.linspace(0.01, 0.25, 24_001)
    factors = np.maximum(abs(1 - rates * low), abs(1 - rates * high))
    rate, factor = chapter.best_plain(low, high)
    assert rate == pytest.approx(rates[factors.argmin()], abs=2e-5) and factor == pytest.approx(factors.min(), abs=2e-5)
    kappa = high / low
    assert factor == pytest.approx((kappa - 1) / (kappa + 1), rel=1e-12)
    assert rate == pytest.approx(2 / (low + high), rel=1e-12)


@equation(chapter.momentum_matrix, 5)
@equation(chapter.momentum_error, 5)
@given(st.floats(0.1, 5), st.floats(0.01, 0.3), st.floats(0, 0.95))
def test_momentum_is_the_librarys(lam, rate, mu):
    errors = on_a_line(lam, 12, lr=rate, momentum=mu)
    found = [chapter.momentum_error(lam, rate, mu, t) for t in range(13)]
    np.testing.assert_allclose(found, errors, rtol=1e-8, atol=1e-12)
    pair = chapter.momentum_matrix(lam, rate, mu) @ errors[[4, 3]]
    np.testing.assert_allclose(pair, errors[[5, 4]], rtol=1e-8, atol=1e-12)


@equation(chapter.best_momentum, 6)
def test_the_best_momentum_by_search():
    low, high = 1.0, 30.0

    def factor(rate, mu):
        return max(abs(np.linalg.eigvals(chapter.momentum_matrix(lam, rate, mu))).max() for lam in (low, 5.0, high))

    rate, mu = chapter.best_momentum(low, high)
    kappa = high / low
    assert factor(rate, mu) == pytest.approx((math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1), abs=1e-6)
    assert mu == pytest.approx(((math.sqrt(30) - 1) / (math.sqrt(30) + 1)) ** 2, rel=1e-12)
    assert rate == pytest.approx(4 / (1 + math.sqrt(30)) ** 2, rel=1e-12)
    for other in np.linspace(0.8, 1.2, 9):
        for another in np.linspace(0.8, 1.2, 9):
            assert factor(rate * other, mu * another) > factor(rate, mu) - 1e-6
    assert factor(rate, mu) < 0.75 < chapter.best_plain(low, high)[1]


@equation(chapter.preconditioned, 7)
def test_a_preconditioner_is_another_unit():
    A, H = symmetric(0)[0], symmetric(1, low=0.1, high=2.0)[0]
    root = scipy.linalg.sqrtm(H).real
    np.testing.assert_allclose(chapter.preconditioned(A, H), root @ A @ root, rtol=1e-9)
    np.testing.assert_allclose(chapter.preconditioned(A, np.linalg.inv(A)), np.eye(3), atol=1e-12)
    start, rate = rng.normal(size=3), 0.02
    there = chapter.path(lambda x: chapter.bowl(x, A, np.zeros(3)), start,
                         lambda params: optim.PreconditionedSGD(params, lambda g: H @ g, rate), 20)  # fmt: skip
    here = chapter.path(lambda x: chapter.bowl(x, chapter.preconditioned(A, H), np.zeros(3)),
                        np.linalg.solve(root, start), lambda params: optim.SGD(params, rate), 20)  # fmt: skip
    np.testing.assert_allclose(there, here @ root, rtol=1e-8, atol=1e-12)


def test_adaptive_rules_begin_with_the_signs():
    A, start = symmetric(0)[0], np.array([2.0, -1.0, 0.5])
    signs = np.sign(A @ start)
    for rule, length in (
        (lambda params: optim.Adam(params, 0.1), 0.1),
        (lambda params: optim.Adagrad(params, 0.1), 0.1),
        (lambda params: optim.RMSprop(params, 0.1, alpha=0.99), 1.0),
    ):
        places = chapter.path(lambda x: chapter.bowl(x, A, np.zeros(3)), start, rule, 1)
        np.testing.assert_allclose(places[1], start - length * signs, atol=1e-6)


def test_a_diagonal_helps_only_along_the_axes():
    along, between = np.diag([1.0, 25.0]), np.array([[13.0, -12.0], [-12.0, 13.0]])  # both with eigenvalues 1 and 25
    conditions = [np.linalg.cond(chapter.preconditioned(A, np.diag(1 / np.diag(A)))) for A in (along, between)]
    assert conditions == pytest.approx([1, 25])


# ---- noise --------------------------------------------------------------------------------------------------------


@equation(chapter.noisy_error, 8)
def test_mean_and_variance_exactly():
    """Noise of two values, +s and -s: every sequence of four is one of sixteen."""
    lam, noise, rates, start = 1.3, 0.8, [0.5, 0.2, 0.4, 0.1], 2.0
    ends = []
    for signs in np.ndindex(2, 2, 2, 2):
        x = start
        for rate, sign in zip(rates, signs, strict=True):
            x = x - rate * (lam * x + noise * (2 * sign - 1))
        ends.append(x)
    found = chapter.noisy_error(lam, noise, rates, start)
    assert found.shape == (5, 2) and tuple(found[0]) == (start, 0)
    np.testing.assert_allclose(found[-1], (np.mean(ends), np.var(ends)), rtol=1e-10)


@equation(chapter.trembling, 9)
def test_a_constant_rate_trembles_for_ever():
    for rate in (0.05, 0.5, 1.2):
        v = chapter.noisy_error(1.3, 0.8, [rate] * 500, 5.0)[-1, 1]
        assert chapter.trembling(1.3, 0.8, rate) == pytest.approx(v, rel=1e-9)


@equation(chapter.sums, 10)
def test_which_rates_meet_the_condition():
    assert chapter.sums(RobbinsMonro(), 10**4)[0] == pytest.approx(math.log(10**4) + np.euler_gamma, rel=1e-5)
    rest = scipy.special.zeta(1.5, 1001)  # what comes after a thousand steps
    assert chapter.sums(RobbinsMonro(0.75), 1000)[1] == pytest.approx(scipy.special.zeta(1.5) - rest, rel=1e-10)
    assert chapter.sums(Constant(), 100) == (100, 100)
    first, second = chapter.sums(Exponential(0.5), 200)
    assert first == pytest.approx(2, rel=1e-12) and second == pytest.approx(4 / 3, rel=1e-12)


def test_what_each_half_is_for():
    t = np.arange(20_000)
    m, v = chapter.noisy_error(1.0, 1.0, 0.5 / (1 + t) ** 0.75, 4.0)[-1]  # both halves, with a slope
    assert abs(m) < 1e-6 and v < 4e-4
    m, v = chapter.noisy_error(1.0, 1.0, 0.5 ** t[:60] / 2, 4.0)[-1]  # without the first it never arrives
    assert m == pytest.approx(4 * np.prod(1 - 0.5 ** np.arange(1, 61)), rel=1e-9) and m > 1
    m, v = chapter.noisy_error(0.0, 1.0, 0.5 / (1 + t) ** 0.4, 0.0)[-1]  # without the second it is carried away
    assert v == pytest.approx(0.25 * np.sum((1.0 + t) ** -0.8), rel=1e-9) and v > 7
    m, v = chapter.noisy_error(1.0, 1.0, 0.5 / (1 + t) ** 0.4, 4.0)[-1]  # but not where there is a slope
    assert v == pytest.approx(0.5 * 20_000**-0.4 / 2, rel=0.02)


@equation(chapter.fastest, 11)
def test_the_fastest_rate_is_the_running_mean():
    lam, noise = 1.3, 0.8
    rates, variances = np.transpose([chapter.fastest(lam, noise, t) for t in range(50)])
    found = chapter.noisy_error(lam, noise, rates, 7.0)
    np.testing.assert_allclose(found[1:, 0], 0, atol=1e-14)
    np.testing.assert_allclose(variances, found[1:, 1], rtol=1e-10)
    np.testing.assert_allclose(variances, noise**2 / lam**2 / np.arange(1, 51), rtol=1e-12)
    xi, x = rng.normal(size=50), 7.0
    for rate, drawn in zip(rates, xi, strict=True):
        x = x - rate * (lam * (x - 2) + noise * drawn)
    assert x == pytest.approx(2 - noise / lam * xi.mean(), rel=1e-10)


# ---- the model ----------------------------------------------------------------------------------------------------

X = np.random.default_rng(1).normal(size=(60, 2)) * [1.0, 2.0]
Y = 1 + X @ [2.0, -1.0] + 0.3 * np.random.default_rng(2).normal(size=60)
BEST = np.linalg.lstsq(np.column_stack([np.ones(60), X]), Y, rcond=None)[0]
RATES = {"plain": 0.1, "momentum": 0.05, "nesterov": 0.05, "adagrad": 1.0, "rmsprop": 0.01, "adam": 0.1, "newton": 1.0}


@pytest.mark.parametrize("rule", [*chapter.RULES, "newton"])
def test_every_rule_finds_least_squares(rule):
    falling = Cosine(600) if rule == "rmsprop" else None  # its steps do not shrink by themselves
    model = DescentRegression(2, rule=rule, lr=RATES[rule], schedule=falling).to(dtype="float64")
    model.fit(X, Y, steps=1 if rule == "newton" else 600, run=Run(quiet=True))
    np.testing.assert_allclose(model.theta.numpy(), BEST, atol=1e-3 if rule != "newton" else 1e-12)
    assert model.score(X, Y) == pytest.approx(-np.mean((Y - np.column_stack([np.ones(60), X]) @ BEST) ** 2), rel=1e-4)


def test_the_curvature_of_the_mean_square(device):
    leaf = tg.tensor(np.zeros(3), requires_grad=True)
    H = tg.hvp(lambda t: tg.mean(tg.square(Y - t[0] - tg.matmul(X, t[1:]))), leaf, np.array([1.0, -2.0, 0.5]))
    found = chapter.curvature(tg.tensor(X, device=device).data)
    np.testing.assert_allclose(tg.tensor(found).numpy() @ [1.0, -2.0, 0.5], H.numpy(), rtol=1e-9)


def test_minibatches_with_a_falling_rate_come_nearer_than_with_a_constant_one():
    ends = {}
    for name, schedule in (("constant", None), ("falling", RobbinsMonro(0.75, a=10.0**0.75, b=10.0))):
        found = []
        for seed in range(3):
            model = DescentRegression(2, lr=0.08, schedule=schedule, rng=tg.random.Generator(seed))
            model.fit(X, Y, steps=600, batch_size=1, run=Run(quiet=True))
            found.append(np.sum((model.theta.numpy() - BEST) ** 2))
        ends[name] = np.mean(found)
    assert ends["falling"] < ends["constant"] / 3


@pytest.mark.parametrize("rule", ["momentum", "newton"])
def test_killed_and_resumed_is_the_straight_run(tmp_path, rule):
    def model(seed=0):
        return DescentRegression(2, rule=rule, lr=0.02, schedule=Cosine(12), rng=tg.random.Generator(seed))

    model().fit(X, Y, steps=12, batch_size=8, run=Run(tmp_path / "a", quiet=True))
    run, killed = Run(tmp_path / "b", quiet=True), model()
    update, killed.update = killed.update, lambda *data: update(*data) if run.step < 8 else 1 / 0
    steps, run.steps = run.steps, lambda owner, n: steps(owner, n, save_every=5)
    with pytest.raises(ZeroDivisionError):
        killed.fit(X, Y, steps=12, batch_size=8, run=run)
    model(4).fit(X, Y, steps=12, batch_size=8, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("rule", [*chapter.RULES, "newton"])
def test_on_a_device(rule, device):
    def learnt(device):
        model = DescentRegression(2, rule=rule, lr=0.02, rng=tg.random.Generator(0, device=device))
        return model.fit(X, Y, steps=4, batch_size=9, run=Run(quiet=True)).predict(X)

    np.testing.assert_allclose(learnt(device), learnt("cpu"), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("x", [np.c_[X[:, 0], X[:, 0]], np.c_[X[:, 0], np.ones(60)]], ids=["twice", "constant"])
def test_newton_wants_independent_columns_and_the_others_do_not(x):
    with pytest.raises(ValueError, match="DescentRegression: the curvature of x has eigenvalues from .* wanted"):
        DescentRegression(2, rule="newton").fit(x, Y, steps=1, run=Run(quiet=True))
    model = DescentRegression(2, rule="adam").fit(x, Y, steps=3, run=Run(quiet=True))
    assert np.isfinite(model.predict(x)).all()


def test_refusals():
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        DescentRegression(0)
    with pytest.raises(ValueError, match="rule is 'sgd'; one of plain, momentum, .*newton is wanted"):
        DescentRegression(2, rule="sgd")
    with pytest.raises(ValueError, match=r"x has shape \(60,\); at least one row of 2"):
        DescentRegression(2).predict(Y)
    with pytest.raises(ValueError, match=r"y has shape \(59,\); one number for each of the 60"):
        DescentRegression(2).fit(X, Y[1:], steps=1, run=Run(quiet=True))


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


def test_a_curvature_that_overflows_is_refused():
    x = np.array([[1e20], [2e20], [3e20]], np.float32)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the curvature of x has eigenvalues from nan"):
        DescentRegression(1, rule="newton").fit(x, np.ones(3), steps=1, run=Run(quiet=True))


def test_a_score_of_answers_of_another_shape_is_refused():
    model = DescentRegression(2).fit(X, Y, steps=2, run=Run(quiet=True))
    with pytest.raises(ValueError, match="y"):
        model.score(X, Y[:, None])

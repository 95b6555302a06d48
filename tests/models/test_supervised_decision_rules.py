"""The chapter on decision rules: each rule, the loss that belongs to it, and both of them far from zero."""

import doctest
import math
import warnings

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import Readout
from tinygen.models.supervised import decision_rules as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
A = np.array([-3.0, -0.5, 0.0, 0.7, 4.0])
FAR = np.array([-1e4, -3e3, -710.0, 710.0, 3e3, 1e4])
ANSWERS = {"linear": A[::-1], "sigmoid": np.array([0, 1, 0.3, 0.8, 1.0]), "exp": np.array([0, 2, 1, 5, 3.0]),
           "softplus": np.array([0, 2, 1, 5, 3.0]), "softmax": np.array([0, 2, 1, 1, 0])}  # fmt: skip
each_rule = pytest.mark.parametrize("name", list(chapter.RULES))


def quiet():
    return Run(quiet=True)


def inputs(name, a=A):
    """What a rule is given: a, or rows of three."""
    return np.stack([a, a[::-1] * 0.5, 0 * a + 1], 1) if name == "softmax" else a


# ---- the rules --------------------------------------------------------------------------------------------------


@equation(chapter.linear, 1)
@equation(chapter.sigmoid, 2)
@equation(chapter.exponential, 3)
@equation(chapter.softplus, 4)
def test_rules_of_one_number(device):
    formulas = {chapter.linear: lambda a: a, chapter.sigmoid: lambda a: 1 / (1 + math.exp(-a)),
                chapter.exponential: math.exp, chapter.softplus: lambda a: math.log(1 + math.exp(a))}  # fmt: skip
    for rule, formula in formulas.items():
        found = arrays.to_numpy(rule(arrays.asarray(A, device=device)))
        np.testing.assert_allclose(found, [formula(a) for a in A], rtol=1e-12)


@equation(chapter.softmax, 5)
def test_softmax_of_rows(device):
    a = inputs("softmax")
    found = arrays.to_numpy(chapter.softmax(arrays.asarray(a, device=device)))
    np.testing.assert_allclose(found, [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in a], rtol=1e-12)


# ---- the losses ---------------------------------------------------------------------------------------------------


@equation(chapter.error, 6)
@pytest.mark.parametrize("name", ["linear", "sigmoid", "exp", "softmax"])
def test_the_slope_of_a_rules_own_loss_is_the_error(name):
    a, y = tg.tensor(inputs(name), requires_grad=True), ANSWERS[name]
    slope = tg.grad(tg.sum(chapter.RULES[name].loss(a, y)), a).numpy()
    np.testing.assert_allclose(chapter.error(chapter.RULES[name].answer(a.data), y), slope, rtol=1e-9, atol=1e-12)


@equation(chapter.squared_error, 7)
@equation(chapter.binary_cross_entropy, 7)
@equation(chapter.poisson, 7)
@equation(chapter.cross_entropy, 7)
def test_losses_are_minus_log_probabilities():
    y = ANSWERS["linear"]
    expected = -scipy.stats.norm.logpdf(y, A) - math.log(2 * math.pi) / 2
    np.testing.assert_allclose(chapter.squared_error(A, y), expected, atol=1e-12)
    y = np.array([0, 1, 1, 0, 1.0])
    expected = -scipy.stats.bernoulli.logpmf(y.astype(int), scipy.special.expit(A))
    np.testing.assert_allclose(chapter.binary_cross_entropy(A, y), expected, rtol=1e-10)
    y = ANSWERS["sigmoid"]  # and shares
    p = scipy.special.expit(A)
    np.testing.assert_allclose(chapter.binary_cross_entropy(A, y), -y * np.log(p) - (1 - y) * np.log(1 - p), rtol=1e-9)
    y = ANSWERS["exp"]
    expected = -scipy.stats.poisson.logpmf(y, np.exp(A)) - scipy.special.gammaln(y + 1)
    np.testing.assert_allclose(chapter.poisson(A, y), expected, rtol=1e-10)
    a, y = inputs("softmax"), ANSWERS["softmax"]
    expected = [math.log(sum(map(math.exp, row))) - row[c] for row, c in zip(a, y, strict=True)]
    np.testing.assert_allclose(chapter.cross_entropy(a, y), expected, rtol=1e-10)


@equation(chapter.softplus_poisson, 8)
@equation(chapter.softplus_slope, 8)
def test_poissons_loss_of_the_softplus_and_its_slope():
    y = ANSWERS["softplus"]
    expected = -scipy.stats.poisson.logpmf(y, np.log(1 + np.exp(A))) - scipy.special.gammaln(y + 1)
    np.testing.assert_allclose(chapter.softplus_poisson(A, y), expected, rtol=1e-10)
    leaf = tg.tensor(A, requires_grad=True)
    slope = tg.grad(tg.sum(chapter.softplus_poisson(leaf, y)), leaf).numpy()
    np.testing.assert_allclose(chapter.softplus_slope(A, y), slope, rtol=1e-9)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0, 1), st.floats(0, 1))
def test_the_losses_that_belong_are_convex(a, b, t, y):
    for name in ("linear", "sigmoid", "exp"):
        loss = chapter.RULES[name].loss
        at = [float(loss(np.array([v]), np.array([y]))[0]) for v in (a, b, (1 - t) * a + t * b)]
        assert at[2] <= (1 - t) * at[0] + t * at[1] + 1e-9 * (1 + abs(at[0]) + abs(at[1]))


def test_the_dilogarithm_of_the_softplus():
    for a in A:  # G(a) = -Li2(-e^a), and SciPy's spence(1 - x) is Li2(x)
        integral, _ = scipy.integrate.quad(chapter.softplus, -60, a)
        assert -scipy.special.spence(1 + math.exp(a)) == pytest.approx(integral, rel=1e-8)


def test_a_squared_error_behind_a_sigmoid_forgets_what_is_surely_wrong():
    a = tg.tensor(np.array([-20.0]), requires_grad=True)
    right = tg.grad(tg.sum(chapter.binary_cross_entropy(a, np.ones(1))), a).item()
    wrong = tg.grad(tg.sum(tg.square(chapter.sigmoid(a) - 1)), a).item()
    assert right == pytest.approx(-1, rel=1e-6) and abs(wrong) < 1e-7


# ---- far from zero ------------------------------------------------------------------------------------------------


@equation(chapter.sigmoid, 9)
@equation(chapter.softplus, 9)
@equation(chapter.softmax, 9)
def test_the_safe_forms():
    for a in (*A, -30.0, 30.0):
        v = np.array([a])
        assert chapter.sigmoid(v)[0] == pytest.approx(math.exp(min(a, 0)) / (1 + math.exp(-abs(a))), rel=1e-12)
        assert chapter.softplus(v)[0] == pytest.approx(max(a, 0) + math.log1p(math.exp(-abs(a))), rel=1e-12)
        m = max(a, 1.0)
        top = m + math.log(math.exp(a - m) + math.exp(1 - m))
        assert chapter.softmax(np.array([[a, 1.0]]))[0, 0] == pytest.approx(math.exp(a - top), rel=1e-12)


@equation(chapter.log_softplus, 10)
def test_the_logarithm_of_the_softplus():
    np.testing.assert_allclose(chapter.log_softplus(A), np.log(np.log1p(np.exp(A))), rtol=1e-12)
    for a in (-1e4, -700.0, -41.0):
        assert chapter.log_softplus(np.array([a]))[0] == pytest.approx(a, rel=1e-15)
    near = chapter.log_softplus(np.array([-40 - 1e-9, -40 + 1e-9]))
    assert near[1] - near[0] == pytest.approx(2e-9, rel=1e-3)  # the two forms meet
    tg.check_grads(chapter.log_softplus, (np.array([-50.0, -3.0, 2.0]),))


@each_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_nan_at_ten_thousand(name, dtype, device):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule, y = chapter.RULES[name], np.array([0, 1, 0, 1, 0, 1])
        a = tg.tensor(inputs(name, FAR).astype(dtype), requires_grad=True, device=device)
        y = arrays.asarray(y if name == "softmax" else y.astype(dtype), device=device)
        answer, loss = rule.answer(a).numpy(), rule.loss(a, y)
        slope = tg.grad(tg.sum(loss), a).numpy()
    assert answer.dtype == dtype and not any(np.isnan(v).any() for v in (answer, loss.numpy(), slope))
    if name != "exp":  # whose answers are too large for the computer
        assert all(np.isfinite(v).all() for v in (answer, loss.numpy(), slope))
    else:
        assert np.isinf(answer[3:]).any() and np.isfinite(answer[:3]).all()


@given(st.floats(-1e4, 1e4))
def test_symmetries_hold_everywhere(a):
    v = np.array([a])
    assert chapter.sigmoid(v)[0] + chapter.sigmoid(-v)[0] == pytest.approx(1, rel=1e-12)
    assert chapter.softplus(v)[0] - chapter.softplus(-v)[0] == pytest.approx(a, rel=1e-12, abs=1e-12)
    assert chapter.softmax(np.array([[a, 0.0]]))[0, 0] == pytest.approx(chapter.sigmoid(v)[0], rel=1e-9, abs=1e-300)
    assert chapter.log_sigmoid(v)[0] == pytest.approx(-np.logaddexp(0, -a), rel=1e-12)


# ---- the model ----------------------------------------------------------------------------------------------------


@each_rule
def test_at_the_optimum_the_errors_cancel(name):
    z = rng.normal(size=(80, 2))
    y = {"linear": rng.normal(size=80), "sigmoid": rng.integers(0, 2, 80) * 1.0,
         "softmax": rng.integers(0, 3, 80)}.get(name, rng.poisson(3, 80) * 1.0)  # fmt: skip
    model = Readout(2, name, n_classes=3 if name == "softmax" else None).to(dtype="float64").fit_exactly(z, y)
    answer = model.predict(z)
    errors = chapter.error(answer, y)
    if name == "softplus":
        a = model(z).numpy()
        errors = chapter.softplus_slope(a, y)
    np.testing.assert_allclose(np.column_stack([np.ones(80), z]).T @ errors, 0, atol=1e-4)


def test_scikit_learns_regressions():
    sklearn = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    z, counts = rng.normal(size=(100, 2)), rng.poisson(3, 100) * 1.0
    ours = Readout(2, "exp").to(dtype="float64").fit_exactly(z, counts)
    theirs = sklearn.PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000).fit(z, counts)
    np.testing.assert_allclose(ours.predict(z), theirs.predict(z), rtol=1e-5)


@each_rule
def test_minibatches_go_the_same_way(name, device):
    z = tg.random.Generator(1).normal((60, 2))
    y = {"linear": z[:, 0], "sigmoid": (z[:, 0] > 0) * 1.0, "softmax": (z[:, 0] > 0) + (z[:, 1] > 0) * 1}.get(
        name, np.round(np.exp(z[:, 0]))
    )
    model = Readout(2, name, n_classes=3 if name == "softmax" else None, rng=tg.random.Generator(0, device=device))
    data = model.checked(z, y)
    before = model.loss(*data).item()
    model.fit(z, y, steps=30, batch_size=20, run=quiet())
    assert model.loss(*data).item() < before
    assert model.predict(z).shape == ((60, 3) if name == "softmax" else (60,))


def test_refusals():
    z = rng.normal(size=(4, 2))
    with pytest.raises(ValueError, match="rule is 'probit'; one of linear, sigmoid"):
        Readout(2, "probit")
    for options in (dict(rule="softmax"), dict(rule="softmax", n_classes=1), dict(rule="exp", n_classes=3)):
        with pytest.raises(ValueError, match="at least 2 is wanted for the softmax"):
            Readout(2, **options)
    with pytest.raises(ValueError, match="n_features is 0"):
        Readout(0, "linear")
    wrong = {"sigmoid": np.array([0, 1, 2, 0]), "exp": np.array([1, 2, -1, 0]), "linear": np.array([1, np.nan, 0, 0]),
             "softplus": np.zeros(3), "softmax": np.array([0.5, 1, 2, 0])}  # fmt: skip
    for name, y in wrong.items():
        model = Readout(2, name, n_classes=3 if name == "softmax" else None)
        with pytest.raises(ValueError, match="for this rule, .* are wanted, one for each of the 4 rows"):
            model.fit(z, y, steps=1, run=quiet())
    with pytest.raises(ValueError, match="classes from 0 to n_classes - 1 are wanted"):
        Readout(2, "softmax", n_classes=3).fit(z, np.array([0, 1, 3, 0]), steps=1, run=quiet())


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


def test_answers_beyond_the_dtype_are_refused():
    for bad in (-np.inf, 1e39):
        with pytest.raises(ValueError, match="Readout: y"):
            Readout(1, "linear").fit(np.ones((3, 1)), np.array([0, 1, bad]), steps=1, run=quiet())


def test_a_search_that_gives_up_says_so():
    z = np.linspace(0, 1e4, 50)[:, None]
    y = np.round(np.exp(5e-4 * z[:, 0]))
    with pytest.raises(RuntimeError, match="still has a slope of .*; features of about the size of 1 are wanted"):
        Readout(1, "exp").to(dtype="float64").fit_exactly(z, y)
    model = Readout(1, "exp").to(dtype="float64").fit_exactly(z / 1e4, y)
    assert np.abs(np.log(model.predict(z / 1e4)) - np.log(y)).max() < 0.5

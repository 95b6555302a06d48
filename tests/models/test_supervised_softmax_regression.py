"""Softmax regression: every equation of the chapter, the balance equations at the optimum, and maximum entropy."""

import doctest

import numpy as np
import pytest
import scipy.optimize
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import SoftmaxRegression
from tinygen.models.supervised import softmax_regression as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)


def problem(n=40, d=3, m=4, seed=0):
    """Templates, and examples whose classes overlap."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d)) + 0.5
    y = (np.arange(n) + (x[:, 0] > 0.5)) % m
    return draw.normal(size=(m, d + 1)), x, y


def at_the_optimum(x, y, m, **options):
    model = SoftmaxRegression(x.shape[1], m, rng=tg.random.Generator(0), **options).to(dtype="float64")
    return model.fit_exactly(x, y)


# ---- the equations ------------------------------------------------------------------------------------------------


@equation(chapter.posterior, 1)
def test_posterior_is_the_documents_formula(device):
    theta, x, _ = problem()
    expected = np.zeros((40, 4))
    for k, row in enumerate(x):
        fits = [np.exp(theta[i, 0] + sum(theta[i, j + 1] * row[j] for j in range(3))) for i in range(4)]
        expected[k] = [f / sum(fits) for f in fits]
    found = chapter.posterior(*(arrays.asarray(a, device=device) for a in (theta, x)))
    np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=1e-12)


@equation(chapter.negative_log_likelihood, 2)
def test_both_forms_of_the_loss_with_z_of_each_example():
    theta, x, y = problem()
    found = chapter.negative_log_likelihood(theta, x, y)
    assert found == pytest.approx(-sum(np.log(chapter.posterior(theta, x)[i, c]) for i, c in enumerate(y)), rel=1e-12)
    x_0 = np.column_stack([np.ones(40), x])
    Z = np.exp(x_0 @ theta.T).sum(1)
    assert found == pytest.approx(-sum(theta[c] @ x_0[i] for i, c in enumerate(y)) + np.log(Z).sum(), rel=1e-12)
    printed = -sum(theta[c] @ x_0[i] for i, c in enumerate(y)) + 40 * np.log(Z[0])  # S2 2.27: one Z for all
    assert abs(printed - found) > 0.5


@equation(chapter.gradient, 3)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 5), st.integers(0, 10**6))
def test_gradient_by_hand_is_the_engines(n, d, m, seed):
    theta, x, y = problem(n, d, m, seed)
    leaf = tg.tensor(theta, requires_grad=True)
    engine = tg.grad(chapter.negative_log_likelihood(leaf, x, y), leaf).numpy()
    np.testing.assert_allclose(chapter.gradient(theta, x, y), engine, rtol=1e-10, atol=1e-12)


@equation(chapter.balance, 4)
def test_both_sides_of_the_balance_equations():
    theta, x, y = problem()
    left, right = np.zeros((2, 4, 4))
    for c, j in np.ndindex(4, 4):
        x_j = x[:, j - 1] if j else np.ones(40)
        left[c, j] = sum(x_j * chapter.posterior(theta, x)[:, c])
        right[c, j] = x_j[y == c].sum()
    for found, expected in zip(chapter.balance(theta, x, y), (left, right), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_optimum_is_balanced_and_nothing_near_it_is_better():
    _, x, y = problem()
    theta = at_the_optimum(x, y, 4).theta.data
    assert chapter.balance_residual(0 * theta, x, y) > 1  # before learning
    assert chapter.balance_residual(theta, x, y) < 1e-6
    least = chapter.negative_log_likelihood(theta, x, y)
    for _ in range(20):
        assert chapter.negative_log_likelihood(theta + 0.05 * rng.normal(size=theta.shape), x, y) > least


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_the_loss_is_convex(seed, t):
    a, x, y = problem(12, seed=seed)
    b = np.random.default_rng(seed + 1).normal(size=a.shape) * 3
    L = [float(chapter.negative_log_likelihood(theta, x, y)) for theta in (a, b, (1 - t) * a + t * b)]
    assert L[2] <= (1 - t) * L[0] + t * L[1] + 1e-9


@equation(chapter.entropy, 5)
def test_entropy():
    q = rng.dirichlet(np.ones(4), size=10)
    assert chapter.entropy(q) == pytest.approx(-sum(v * np.log(v) for v in q.ravel()), rel=1e-12)
    assert chapter.entropy(np.full((10, 4), 0.25)) == pytest.approx(10 * np.log(4), rel=1e-12)
    assert chapter.entropy(np.eye(3)) == 0  # labels that are certain


@equation(chapter.entropy_if_balanced, 6)
def test_entropy_of_every_balanced_table_by_any_templates():
    theta, x, y = problem()
    model = at_the_optimum(x, y, 4)
    best, p = model.theta.data, chapter.posterior(model.theta.data, x)
    labels = np.eye(4)[y]
    tables = [p, labels, (p + labels) / 2, *chapter.rivals(p, x, rng.normal(size=p.shape))]
    for q in tables:
        for t in (theta, best, 0 * theta):
            assert chapter.entropy_if_balanced(q, t, x, y) == pytest.approx(chapter.entropy(q), rel=1e-6, abs=1e-6)
    unbalanced = rng.dirichlet(np.ones(4), size=40)
    assert abs(chapter.entropy_if_balanced(unbalanced, theta, x, y) - chapter.entropy(unbalanced)) > 1


def test_rivals_are_balanced_tables_of_less_entropy():
    _, x, y = problem()
    theta = at_the_optimum(x, y, 4).theta.data
    p, x_0 = chapter.posterior(theta, x), np.column_stack([np.ones(40), x])
    assert chapter.entropy(p) == pytest.approx(chapter.negative_log_likelihood(theta, x, y), rel=1e-9)
    for _ in range(10):
        for q in chapter.rivals(p, x, rng.normal(size=p.shape)):
            assert q.min() == pytest.approx(0, abs=1e-12) and np.abs(q - p).max() > 0.02
            np.testing.assert_allclose(q.sum(1), 1, rtol=1e-9)
            np.testing.assert_allclose(q.T @ x_0, np.eye(4)[y].T @ x_0, atol=1e-5)
            assert chapter.entropy(q) < chapter.entropy(p)


def test_maximising_the_entropy_under_balance_gives_softmax_regression():
    x, y = np.array([0.0, 0.4, 1.0, 1.7, 2.0, 3.1])[:, None], np.array([0, 1, 0, 2, 1, 2])
    p = at_the_optimum(x, y, 3).predict_proba(x)
    x_0, labels = np.column_stack([np.ones(6), x]), np.eye(3)[y]

    def gaps(q):
        q = q.reshape(6, 3)
        return np.concatenate([(q.T @ x_0 - labels.T @ x_0)[:2].ravel(), q.sum(1) - 1])  # the third class follows

    found = scipy.optimize.minimize(
        lambda q: -chapter.entropy(q.reshape(6, 3)), np.full(18, 1 / 3), jac=lambda q: np.log(q) + 1,
        bounds=[(1e-9, 1)] * 18, constraints={"type": "eq", "fun": gaps}, method="SLSQP", options=dict(ftol=1e-14),
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(found.x.reshape(6, 3), p, atol=1e-5)


@equation(chapter.share_right, 8)
def test_confusion_and_score_count_the_same_answers():
    _, x, y = problem()
    model = SoftmaxRegression(3, 4, rng=tg.random.Generator(0)).fit(x, y, steps=20, batch_size=8, run=Run(quiet=True))
    answers = model.predict(x)
    C = chapter.confusion(y, answers, 4)
    for a, b in np.ndindex(4, 4):
        assert C[a, b] == sum(1 for truth, answer in zip(y, answers, strict=True) if (truth, answer) == (a, b))
    assert chapter.share_right(C) == model.score(x, y) == sum(answers == y) / 40
    np.testing.assert_array_equal(model.confusion(x, y), C)


# ---- the model ----------------------------------------------------------------------------------------------------


@equation(chapter.gradient, 7)
@equation(SoftmaxRegression.update, 7)
def test_a_step_goes_down_the_minibatchs_gradient_at_the_present_rate():
    _, x, y = problem()
    model = SoftmaxRegression(3, 4, lr=0.2, schedule=Cosine(10), rng=tg.random.Generator(0)).to(dtype="float64")
    theta = np.zeros((4, 4))
    for t in range(3):
        rows = slice(8 * t, 8 * t + 8)
        found = model.update(*model.checked(x[rows], y[rows]))["loss"]
        assert found.item() == pytest.approx(chapter.negative_log_likelihood(theta, x[rows], y[rows]) / 8, rel=1e-12)
        theta -= 0.2 * (1 + np.cos(np.pi * t / 10)) / 2 * chapter.gradient(theta, x[rows], y[rows]) / 8
        np.testing.assert_allclose(model.theta.data, theta, rtol=1e-10)


def test_minibatches_reach_what_all_examples_together_reach():
    _, x, y = problem(200, m=3)
    exact = at_the_optimum(x, y, 3)
    noisy = SoftmaxRegression(3, 3, lr=0.3, schedule=Cosine(1500), rng=tg.random.Generator(0))
    noisy.fit(x, y, steps=1500, batch_size=50, run=Run(quiet=True))
    np.testing.assert_allclose(noisy.predict_proba(x), exact.predict_proba(x), atol=0.03)


def test_an_order_by_class_makes_it_forget():
    x = np.concatenate([rng.normal(size=(300, 3)) + 2 + 3 * mean for mean in np.eye(3)])
    y = np.repeat([0, 1, 2], 300)
    scores = []
    for shuffled in (True, False):
        model = SoftmaxRegression(3, 3, lr=0.3, rng=tg.random.Generator(0))
        model.fit(x, y, steps=90, batch_size=10, shuffled=shuffled, run=Run(quiet=True))
        scores.append(model.score(x, y))
    assert scores[0] > 0.9 and scores[1] < 0.6
    assert (model.predict(x) == 2).mean() > 0.7  # the class that it saw last


def test_shapes_and_probabilities():
    _, x, y = problem()
    model = SoftmaxRegression(3, 4)
    np.testing.assert_allclose(model.predict_proba(x), 0.25)  # it starts from 0
    p = model.fit(x, y, steps=3, batch_size=8, run=Run(quiet=True)).predict_proba(x)
    assert p.shape == (40, 4) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(p.argmax(1), model.predict(x))
    np.testing.assert_allclose(p, chapter.posterior(model.theta.data, x), rtol=1e-5)


@pytest.mark.parametrize("shuffled", [True, False])
def test_killed_and_resumed_is_the_straight_run(tmp_path, shuffled):
    _, x, y = problem()

    def model(seed=0):
        return SoftmaxRegression(3, 4, schedule=Cosine(12), rng=tg.random.Generator(seed))

    options = dict(steps=12, batch_size=8, shuffled=shuffled)
    model().fit(x, y, **options, run=Run(tmp_path / "a", quiet=True))
    run, killed = Run(tmp_path / "b", quiet=True), model()
    update, killed.update = killed.update, lambda *data: update(*data) if run.step < 8 else 1 / 0
    save, run.steps = run.steps, lambda owner, n: save(owner, n, save_every=5)
    with pytest.raises(ZeroDivisionError):
        killed.fit(x, y, **options, run=run)
    model(4).fit(x, y, **options, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("shuffled", [True, False])
def test_on_the_stand_in_for_a_gpu(device, shuffled):
    _, x, y = problem()

    def learnt(device):
        model = SoftmaxRegression(3, 4, rng=tg.random.Generator(0, device=device))
        return model.fit(x, y, steps=5, batch_size=9, shuffled=shuffled, run=Run(quiet=True)).predict_proba(x)

    np.testing.assert_allclose(learnt(device), learnt("cpu"), rtol=1e-4)
    theta, x, y = (arrays.asarray(a, device=device) for a in problem())
    assert chapter.balance_residual(theta, x, y) == pytest.approx(chapter.balance_residual(*problem()), rel=1e-9)


def test_refusals():
    _, x, y = problem()
    with pytest.raises(ValueError, match="got 3 and 1"):
        SoftmaxRegression(3, 1)
    with pytest.raises(ValueError, match=r"at least one row of 2"):
        SoftmaxRegression(2, 4).predict(x)
    with pytest.raises(ValueError, match="classes from 0 to 3, wanted 0 to 2"):
        SoftmaxRegression(3, 3).fit(x, y, steps=1, run=Run(quiet=True))
    with pytest.raises(RuntimeError, match="separable"):
        at_the_optimum(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), 2)


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

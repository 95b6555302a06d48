"""Risk: every equation of the chapter, simulated against closed form, over-fitting, and minibatches."""

import doctest
import itertools

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import PolynomialRegression
from tinygen.models.supervised import risk as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)
WORLD = chapter.World(lambda x: np.sin(np.pi * x), 0.3)


def quiet():
    return Run(quiet=True)


def examples(n=30, seed=0):
    return WORLD.draw(n, tg.random.Generator(seed))


# ---- risks --------------------------------------------------------------------------------------------------------


@equation(chapter.empirical_risk, 2)
def test_empirical_risk():
    x, y = examples()
    expected = sum((b - a**2) ** 2 for a, b in zip(x, y, strict=True)) / 30
    assert chapter.empirical_risk(np.square, x, y) == pytest.approx(expected, rel=1e-12)


@equation(chapter.simulated_risk, 1)
@equation(chapter.risk, 3)
def test_the_risk_falls_apart_into_noise_and_distance():
    # f(x) = x: E(sin πx - x)² = 1/2 - 2 (1/π) + 1/3, since E x sin πx = 1/π
    expected = 0.3**2 + 1 / 2 - 2 / np.pi + 1 / 3
    assert chapter.risk(lambda x: x, WORLD) == pytest.approx(expected, rel=1e-12)
    found = chapter.simulated_risk(lambda x: x, WORLD, tg.random.Generator(0), n=4_000_000)
    error = expected * np.sqrt(2 / 4_000_000)  # about one standard deviation
    assert found == pytest.approx(expected, abs=error)


def test_what_is_left_is_orthogonal_to_every_function_of_x():  # S2 eq. 2.6
    x, y = examples(400_000)
    for w in (np.ones_like, np.square, np.exp, lambda x: x > 0.2):
        assert abs(np.mean(w(x) * (y - WORLD.mean(x)))) < 4 * 0.3 * np.sqrt(np.mean(w(x) ** 2) / 400_000)


@given(st.integers(0, 10**6), st.floats(0.02, 2))
def test_the_conditional_expectation_has_the_least_risk(seed, c):
    direction = np.random.default_rng(seed).normal(size=6)

    def rival(x):
        return WORLD.mean(x) + c * chapter.legendre(x, 5) @ direction

    least = chapter.risk(WORLD.mean, WORLD)
    assert least == pytest.approx(0.09, rel=1e-12)
    assert chapter.risk(rival, WORLD) == pytest.approx(least + c**2 * (direction**2).sum(), rel=1e-10)
    both = [chapter.simulated_risk(f, WORLD, tg.random.Generator(seed), n=40_000) for f in (WORLD.mean, rival)]
    assert both[1] > both[0] or c**2 * (direction**2).sum() < 1e-3


@equation(chapter.legendre, 4)
def test_legendres_polynomials_are_orthonormal(device):
    x, weights = np.polynomial.legendre.leggauss(40)
    Phi = arrays.to_numpy(chapter.legendre(arrays.asarray(x, device=device), 15))
    expected = np.array([np.sqrt(2 * k + 1) * scipy.special.eval_legendre(k, x) for k in range(16)]).T
    np.testing.assert_allclose(Phi, expected, atol=1e-11)
    np.testing.assert_allclose((Phi * weights[:, None] / 2).T @ Phi, np.eye(16), atol=1e-11)
    assert chapter.legendre(x, 0).shape == (40, 1)


# ---- empirical risk minimisation --------------------------------------------------------------------------------


@equation(chapter.minimiser, 5)
def test_the_minimiser_has_the_least_empirical_risk():
    x, y = examples()
    Phi, theta = chapter.legendre(x, 4), chapter.minimiser(x, y, 4)
    np.testing.assert_allclose(theta, np.linalg.lstsq(Phi, y, rcond=None)[0], rtol=1e-9)
    for _ in range(20):
        other = theta + 0.01 * rng.normal(size=5)
        assert np.mean((y - Phi @ theta) ** 2) < np.mean((y - Phi @ other) ** 2)


def test_a_class_that_holds_the_truth_finds_it_without_noise():
    x, _ = examples()
    y = 1 - 2 * x + 3 * x**3
    theta = chapter.minimiser(x, y, 5)
    t = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(chapter.legendre(t, 5) @ theta, 1 - 2 * t + 3 * t**3, atol=1e-10)


@equation(chapter.expected_empirical_risk, 6)
@equation(chapter.expected_risk, 7)
@pytest.mark.parametrize("degree", [0, 3, 9])
def test_simulated_risk_curves_are_the_closed_forms(degree):
    x = np.linspace(-1, 1, 30)
    world, draws = chapter.World(WORLD.mean, 0.5), 4000
    noise = tg.random.Generator(degree).normal((draws // 2, 30), dtype="float64")
    noise = np.concatenate([noise, -noise]) / np.sqrt(np.mean(noise**2, 0))  # mean 0, variance 1 at each x
    y = world.mean(x) + 0.5 * noise  # (draws, n)
    Phi, theta = chapter.legendre(x, degree), chapter.minimiser(x, y.T, degree)
    train = np.mean((y.T - Phi @ theta) ** 2)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    distance = world.mean(nodes)[:, None] - chapter.legendre(nodes, degree) @ theta  # (60, draws)
    test = 0.25 + np.mean(weights @ distance**2) / 2
    # Exact but for correlations among the drawn noise: the factor 1.001 of a mutant would have to show.
    A = np.linalg.pinv(Phi)
    C = noise.T @ noise / draws
    hat = Phi @ A
    train_exact = np.mean((world.mean(x) - hat @ world.mean(x)) ** 2) + 0.25 * np.trace((np.eye(30) - hat) @ C) / 30
    test_exact = chapter.risk(lambda t: chapter.legendre(t, degree) @ A @ world.mean(x), world)
    assert train == pytest.approx(train_exact, rel=1e-9)
    assert test == pytest.approx(test_exact + 0.25 * np.trace(A @ C @ A.T), rel=1e-9)
    assert chapter.expected_empirical_risk(x, degree, world) == pytest.approx(train, rel=0.01)
    assert chapter.expected_risk(x, degree, world) == pytest.approx(test, rel=0.01)
    # and with the covariance that the noise really has, by hand
    left_over = 0.25 * (30 - degree - 1) / 30 + np.mean((world.mean(x) - hat @ world.mean(x)) ** 2)
    assert chapter.expected_empirical_risk(x, degree, world) == pytest.approx(left_over, rel=1e-9)
    variance = sum(0.25 * np.sum(A[:, i] ** 2) for i in range(30))
    assert chapter.expected_risk(x, degree, world) == pytest.approx(test_exact + variance, rel=1e-9)


def test_over_fitting():
    x, _ = examples()
    train = [chapter.expected_empirical_risk(x, p, WORLD) for p in range(16)]
    test = [chapter.expected_risk(x, p, WORLD) for p in range(16)]
    assert all(a > b for a, b in itertools.pairwise(train))  # falls all the way
    best = int(np.argmin(test))
    assert 3 <= best <= 7 and test[15] > 2 * test[best] and test[1] > 2 * test[best]
    assert train[15] < 0.09 < test[15]  # the noise is no bound for the one, and one for the other


def test_the_risk_tends_to_the_least_in_the_class():  # S2 eq. 2.10
    def excess(n, degree):
        return np.mean([chapter.expected_risk(examples(n, s)[0], degree, WORLD) for s in range(20)]) - 0.09

    nodes, weights = np.polynomial.legendre.leggauss(60)
    for degree in (1, 3, 7):
        c = (chapter.legendre(nodes, degree) * weights[:, None] / 2).T @ WORLD.mean(nodes)
        approximation = 0.5 - np.sum(c**2)  # E f*² less what the class holds of it
        assert excess(20_000, degree) == pytest.approx(approximation + 0.09 * (degree + 1) / 20_000, rel=0.2, abs=1e-6)
        assert excess(200, degree) > excess(2000, degree)


# ---- minibatches --------------------------------------------------------------------------------------------------


@equation(chapter.gradients, 8)
@equation(chapter.gradient_noise, 9)
def test_the_noise_of_a_minibatchs_gradient_over_all_minibatches():
    x, y = examples(4)
    theta, Phi = rng.normal(size=3), chapter.legendre(x, 2)
    g = np.array([tg.grad(tg.square(b - tg.sum(t * row)), t).numpy() for row, b in zip(Phi, y, strict=True)
                  for t in [tg.tensor(theta, requires_grad=True)]])  # fmt: skip
    np.testing.assert_allclose(chapter.gradients(theta, Phi, y), g, rtol=1e-10)
    for size in (1, 2, 3):
        batches = np.array([g[list(rows)].mean(0) for rows in itertools.product(range(4), repeat=size)])
        np.testing.assert_allclose(batches.mean(0), g.mean(0), rtol=1e-10)  # the right mean
        expected = np.mean(np.sum((batches - g.mean(0)) ** 2, 1))
        assert chapter.gradient_noise(theta, Phi, y, size) == pytest.approx(expected, rel=1e-10)


@equation(PolynomialRegression.update, 8)
def test_a_step_of_the_descent():
    x, y = examples()
    model = PolynomialRegression(3, lr=0.05, schedule=Cosine(10), rng=tg.random.Generator(0)).to(dtype="float64")
    Phi, theta = chapter.legendre(x, 3), np.zeros(4)
    for t in range(3):
        rows = slice(8 * t, 8 * t + 8)
        loss = model.update(Phi[rows], y[rows])["loss"].item()
        assert loss == pytest.approx(np.mean((y[rows] - Phi[rows] @ theta) ** 2), rel=1e-12)
        theta = theta - 0.05 * (1 + np.cos(np.pi * t / 10)) / 2 * chapter.gradients(theta, Phi, y)[rows].mean(0)
        np.testing.assert_allclose(model.theta.data, theta, rtol=1e-12)


def test_the_full_batch_goes_to_the_minimiser_and_a_minibatch_is_nearer_after_the_same_examples():
    x, y = examples(200)
    full = PolynomialRegression(3, lr=0.1).fit(x, y, steps=300, batch_size=None, run=quiet())
    np.testing.assert_allclose(full.theta.data, chapter.minimiser(x, y, 3), atol=1e-4)
    risks = []
    for n, size in ((2, None), (200, 2)):  # 400 examples looked at
        model = PolynomialRegression(3, lr=0.05, rng=tg.random.Generator(0))
        model.fit(x, y, steps=n, batch_size=size, run=quiet())
        risks.append(chapter.risk(model.predict, WORLD))
    assert risks[1] < 0.6 * risks[0]


# ---- the model ----------------------------------------------------------------------------------------------------


def test_verbs_on_every_device(device):
    x, y = examples()
    model = PolynomialRegression(3, rng=tg.random.Generator(0, device=device)).fit_exactly(x, y)
    f = model.predict(x)
    assert f.shape == (30,) and f.dtype == np.float32
    np.testing.assert_allclose(f, chapter.legendre(x, 3) @ chapter.minimiser(x, y, 3), atol=1e-5)
    assert model.score(x, y) == pytest.approx(-np.mean((y - f) ** 2), rel=1e-6)
    assert np.isfinite(model.fit(x, y, steps=2, run=quiet()).predict(x)).all()


@pytest.mark.parametrize("size", [None, 4])
def test_killed_and_resumed_is_the_straight_run(tmp_path, size):
    x, y = examples()

    def model(seed=0):
        return PolynomialRegression(3, schedule=Cosine(12), rng=tg.random.Generator(seed))

    model().fit(x, y, steps=12, batch_size=size, run=Run(tmp_path / "a", quiet=True))
    run, killed = Run(tmp_path / "b", quiet=True), model()
    update, killed.update = killed.update, lambda *data: update(*data) if run.step < 8 else 1 / 0
    steps, run.steps = run.steps, lambda owner, n: steps(owner, n, save_every=5)
    with pytest.raises(ZeroDivisionError):
        killed.fit(x, y, steps=12, batch_size=size, run=run)
    model(4).fit(x, y, steps=12, batch_size=size, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_refusals():
    x, y = examples()
    with pytest.raises(ValueError, match="degree must be at least 0, got -1"):
        PolynomialRegression(-1)
    with pytest.raises(ValueError, match=r"have shape \(30,\) and \(29,\)"):
        PolynomialRegression(2).fit(x, y[1:], steps=1, run=quiet())
    with pytest.raises(ValueError, match="x goes up to 3 in absolute value"):
        PolynomialRegression(2).predict(np.array([0.5, -3.0]))


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


def test_a_score_of_answers_of_another_shape_is_refused():
    model = PolynomialRegression(1)
    with pytest.raises(ValueError, match="y"):
        model.score(np.zeros(4), np.zeros((4, 1)))

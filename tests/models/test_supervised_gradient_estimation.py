"""Monte-Carlo gradients: each estimator's mean and variance against the formulas, and descents by them."""

import doctest
import itertools
import math

import numpy as np
import pytest
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.supervised import EstimatedDescent
from tinygen.models.supervised import gradient_estimation as chapter
from tinygen.optim.schedules import Cosine
from tinygen.probability import Bernoulli, DiagonalNormal, Normal
from tinygen.probability.estimators import through_data, through_draws, through_perturbation, through_score
from tinygen.runs import Run

rng = np.random.default_rng(0)
G, SIGMA, TAU = np.array([0.9, -0.4, 1.1]), 0.6, 0.8
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)  # exact up to degree 15 of a normal number


def over_noise(estimate):
    """Mean and variance of an estimate (n, d) of three normal numbers (n, 3): exact for polynomials, by quadrature."""
    eps = np.array(list(itertools.product(NODES, repeat=3)))
    weight = np.prod(list(itertools.product(WEIGHTS / math.sqrt(2 * math.pi), repeat=3)), 1)
    found = np.asarray(estimate(eps))
    mean = weight @ found
    return mean, float(np.sum(weight @ (found - mean) ** 2))


class Noise(tg.random.Generator):
    """A Generator whose next normal numbers are given."""

    def __init__(self, eps):
        super().__init__(0)
        self.eps = eps

    def normal(self, shape, mean=0.0, std=1.0, *, dtype="float32"):
        assert tuple(np.atleast_1d(shape)) == self.eps.shape
        return self.eps.astype(dtype)


def mu():
    return tg.tensor(G, requires_grad=True)  # the best point is 0


def law(rows):
    return DiagonalNormal(rows, SIGMA)


def f(z):
    return chapter.half_square(z, 0.0)


# ---- means and variances, exactly ---------------------------------------------------------------------------------


@equation(chapter.cost, 1)
def test_the_mean_cost_and_its_slope():
    total = 0.0
    for g in G:  # E (g + sigma e - tau e')^2 / 2, over two normal numbers
        for (a, u), (b, v) in itertools.product(zip(NODES, WEIGHTS, strict=True), repeat=2):
            total += u * v / (2 * math.pi) * (g + SIGMA * a - TAU * b) ** 2 / 2
    assert chapter.cost(G, SIGMA, TAU) == pytest.approx(total, rel=1e-12)
    h = 1e-5 * np.eye(3)
    slopes = [(chapter.cost(G + e, SIGMA, TAU) - chapter.cost(G - e, SIGMA, TAU)) / 2e-5 for e in h]
    np.testing.assert_allclose(slopes, G, rtol=1e-8)


@equation(chapter.variance_from_data, 2)
def test_from_data_exactly():
    mean, variance = over_noise(
        lambda eps: through_data(lambda x, rows: chapter.half_square(rows, x), mu(), tg.tensor(TAU * eps)).numpy()
    )
    np.testing.assert_allclose(mean, G, rtol=1e-10)
    assert chapter.variance_from_data(3, TAU) == pytest.approx(variance, rel=1e-10)


@equation(chapter.variance_through_draws, 3)
def test_through_the_draws_exactly():
    mean, variance = over_noise(lambda eps: through_draws(law, f, mu(), len(eps), rng=Noise(eps)).numpy())
    np.testing.assert_allclose(mean, G, rtol=1e-10)
    assert chapter.variance_through_draws(3, SIGMA) == pytest.approx(variance, rel=1e-10)


@equation(chapter.variance_through_score, 4)
@equation(chapter.best_baseline, 5)
def test_through_the_score_exactly():
    def exactly(b):
        shifted = lambda z: f(z) - b
        return over_noise(
            lambda eps: through_score(law, shifted, mu(), len(eps), rng=Noise(eps), baseline=False).numpy()
        )

    best, least = chapter.best_baseline(G, SIGMA)
    for b in (0.0, 0.7, best):
        mean, variance = exactly(b)
        np.testing.assert_allclose(mean, G, rtol=1e-9)
        assert chapter.variance_through_score(G, SIGMA, b) == pytest.approx(variance, rel=1e-9)
    assert least == pytest.approx(variance, rel=1e-9)
    assert least < min(chapter.variance_through_score(G, SIGMA, best + shift) for shift in (-0.01, 0.01))
    square = float(G @ G)
    assert best == pytest.approx(square / 2 + 5 / 2 * SIGMA**2, rel=1e-12)


@equation(chapter.variance_by_perturbation, 6)
@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_by_perturbation_exactly(scale):
    mean, variance = over_noise(
        lambda eps: through_perturbation(f, mu(), len(eps), scale=scale, rng=Noise(eps)).numpy()
    )
    np.testing.assert_allclose(mean, G, rtol=1e-9)
    assert chapter.variance_by_perturbation(G) == pytest.approx(variance, rel=1e-9)


@equation(chapter.mirrored, 7)
def test_a_perturbation_is_two_mirrored_shots():
    eps = rng.normal(size=(6, 3))
    for cost in (f, lambda z: tg.sum(tg.abs(z) ** 3, -1), lambda z: (z[:, 0] > 0.5) * 1.0):
        expected = through_perturbation(cost, mu(), 6, scale=SIGMA, rng=Noise(eps)).numpy()
        for b in (0.0, 3.0):
            np.testing.assert_allclose(chapter.mirrored(cost, G, eps, SIGMA, b), expected, rtol=1e-9, atol=1e-12)


@equation(chapter.coin, 8)
def test_a_coin_exactly():
    theta, f_0, f_1 = 0.4, 3.0, -1.0
    p = scipy.stats.logistic.cdf(theta)
    for b in (0.0, 0.5, (1 - p) * f_1 + p * f_0):
        values = np.array([(f_1 - b) * (1 - p), (f_0 - b) * -p])  # score of a coin: x - p
        mean = p * values[0] + (1 - p) * values[1]
        variance = p * (values[0] - mean) ** 2 + (1 - p) * (values[1] - mean) ** 2
        found = chapter.coin(theta, f_0, f_1, b)
        assert found == (pytest.approx(mean, rel=1e-12), pytest.approx(variance, rel=1e-12, abs=1e-15))
    assert variance < 1e-30  # with the last baseline
    coin = lambda rows: Bernoulli(logits=rows)
    drawn = through_score(coin, lambda x: tg.where(x > 0.5, f_1, f_0) - 0.5, tg.tensor(theta, requires_grad=True), 500,
                          rng=tg.random.Generator(0), baseline=False).numpy()  # fmt: skip
    b = 0.5
    wanted = [(f_1 - b) * (1 - p), (f_0 - b) * -p]
    np.testing.assert_allclose(np.unique(drawn), np.sort(wanted), rtol=1e-5)


@equation(chapter.step_slope, 9)
def test_a_jump_is_seen_by_all_but_the_draws():
    for m in (-0.7, 0.0, 0.4):
        assert chapter.step_slope(m, SIGMA) == pytest.approx(scipy.stats.norm(0, SIGMA).pdf(m), rel=1e-12)
    step, unit = lambda z: (z > 0) * 1.0 + 0 * z, lambda rows: Normal(rows, SIGMA)
    point, draws = tg.tensor(np.array(0.4), requires_grad=True), tg.random.Generator(0)
    assert not through_draws(unit, step, point, 500, rng=draws).numpy().any()
    for found in (through_score(unit, step, point, 20_000, rng=draws).numpy(),
                  through_perturbation(step, point, 20_000, scale=SIGMA, rng=draws).numpy()):  # fmt: skip
        error = found.std() / math.sqrt(20_000)
        assert abs(found.mean() - chapter.step_slope(0.4, SIGMA)) < 4.5 * error


# ---- the model ----------------------------------------------------------------------------------------------------

X = np.random.default_rng(1).normal(size=(30, 3)) + [2.0, -1.0, 0.5]


@pytest.mark.parametrize("estimator", chapter.ESTIMATORS)
def test_its_estimates_are_unbiased(estimator):
    model = EstimatedDescent(3, estimator=estimator, sigma=0.4, rng=tg.random.Generator(2)).to(dtype="float64")
    x = np.tile(X, (400, 1))
    found = model.estimates(model.checked(x)).numpy()
    assert found.shape == x.shape
    error = found.std(0) / math.sqrt(len(found))
    assert (np.abs(found.mean(0) - (model.mu.numpy() - X.mean(0))) < 4.5 * error).all()


@pytest.mark.parametrize("estimator", chapter.ESTIMATORS)
def test_each_finds_the_middle_of_the_examples(estimator):
    model = EstimatedDescent(3, estimator=estimator, lr=0.1, schedule=Cosine(800), rng=tg.random.Generator(0))
    before = model.score(X)
    model.fit(X, steps=800, run=Run(quiet=True))
    np.testing.assert_allclose(model.mu.numpy(), X.mean(0), atol=0.2)
    assert before < model.score(X) == pytest.approx(-np.mean(np.sum((model.mu.numpy() - X) ** 2, 1)) / 2, rel=1e-5)


def test_a_step_is_the_rate_times_the_mean_estimate():
    a, b = (EstimatedDescent(3, estimator="score", lr=0.3, rng=tg.random.Generator(4)) for _ in range(2))
    x = a.checked(X)
    slope = a.estimates(x).numpy().mean(0)
    before, loss = b.mu.numpy().copy(), b.update(x)["loss"].item()
    np.testing.assert_allclose(b.mu.numpy(), before - 0.3 * slope, rtol=1e-5)
    assert loss == pytest.approx(-a.score(X), rel=1e-5)


@pytest.mark.parametrize("estimator", ["score", "perturbation"])
def test_costs_without_a_slope(estimator):
    near = lambda z, x: 1.0 - (tg.sum(tg.square(z - x), axis=-1) < 1) * 1.0  # missed or hit
    x = np.zeros((50, 2))
    model = EstimatedDescent(2, estimator=estimator, loss=near, sigma=0.7, lr=0.3, schedule=Cosine(600),
                             rng=tg.random.Generator(0))  # fmt: skip
    model.fit(x, steps=600, run=Run(quiet=True))
    assert np.linalg.norm(model.mu.numpy()) < 0.35
    blind = EstimatedDescent(2, loss=lambda z, x: near(z, x) + 0 * tg.sum(z, -1), rng=tg.random.Generator(0))
    before = blind.mu.numpy().copy()
    np.testing.assert_array_equal(blind.fit(x, steps=5, run=Run(quiet=True)).mu.numpy(), before)


@pytest.mark.parametrize("estimator", chapter.ESTIMATORS)
def test_on_a_device(estimator, device):
    def learnt(device):
        model = EstimatedDescent(3, estimator=estimator, rng=tg.random.Generator(0, device=device))
        return model.fit(X, steps=4, run=Run(quiet=True)).mu.numpy()

    np.testing.assert_allclose(learnt(device), learnt("cpu"), rtol=1e-4)


def test_refusals():
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        EstimatedDescent(0)
    with pytest.raises(ValueError, match="estimator is 'reinforce'; one of data, draws, score, perturbation is wanted"):
        EstimatedDescent(2, estimator="reinforce")
    with pytest.raises(ValueError, match=r"sigma is 0; a positive number"):
        EstimatedDescent(2, sigma=0)
    with pytest.raises(ValueError, match=r"x has shape \(30, 3\); at least one row of 2"):
        EstimatedDescent(2).score(X)
    with pytest.raises(ValueError, match="batch_size is 1; at least 2 is wanted"):
        EstimatedDescent(3, estimator="score").fit(X, steps=1, batch_size=1, run=Run(quiet=True))


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

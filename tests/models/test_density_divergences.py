"""Divergences: the game behind Jensen-Shannon, forward and reverse KL, closed forms, and the fitted Gaussian."""

import doctest
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import GaussianOnGrid
from tinygen.models.density import divergences as chapter
from tinygen.optim.schedules import Cosine
from tinygen.probability import divergences as D
from tinygen.runs import Run

rng = np.random.default_rng(0)
seeds = st.integers(0, 10**6)
PLACES = np.linspace(-4, 4, 41)


def laws(seed, n=2, k=5):
    """Probability vectors, some entries 0."""
    draw = np.random.default_rng(seed)
    weights = draw.exponential(size=(n, k)) * (draw.uniform(size=(n, k)) > 0.2)
    weights[:, 0] += 1e-3
    return weights / weights.sum(1, keepdims=True)


def hills():
    p = 0.6 * scipy.stats.norm(-1.5, 0.4).pdf(PLACES) + 0.4 * scipy.stats.norm(1.8, 0.5).pdf(PLACES)
    return p / p.sum()


# ---- Jensen-Shannon as a game -------------------------------------------------------------------------------------


@equation(chapter.game_value, 1)
def test_the_value_of_a_game_by_hand():
    (p, q), d = laws(0), rng.uniform(0.1, 0.9, 5)
    expected = sum(a * math.log(c) + b * math.log(1 - c) for a, b, c in zip(p, q, d, strict=True))
    assert chapter.game_value(p, q, d) == pytest.approx(expected, rel=1e-12)


@equation(chapter.best_classifier, 2)
@given(seeds)
def test_the_best_classifier_gains_twice_js(seed):
    p, q = laws(seed)
    best = chapter.best_classifier(p, q)
    for a, b, c in zip(p, q, best, strict=True):
        assert c == (pytest.approx(a / (a + b), rel=1e-14) if a + b else 0.5)
    value = chapter.game_value(p, q, best)
    assert value == pytest.approx(-math.log(4) + 2 * D.js(p, q), abs=1e-12)
    assert -math.log(4) - 1e-12 <= value <= 1e-12  # S4 eq. 123
    rivals = np.clip(best + np.random.default_rng(seed).normal(size=(50, 5)) / 10, 1e-9, 1 - 1e-9)
    assert (chapter.game_value(p, q, rivals) <= value + 1e-9).all()


def test_the_coins_entropy_bounds_what_a_point_tells_of_it():
    (p, q), joint = laws(3), np.array(laws(3)) / 2  # rows: the coin
    information = D.entropy(joint.sum(0)) + math.log(2) - D.entropy(joint.reshape(-1))
    assert D.js(p, q) == pytest.approx(information, rel=1e-10)


def test_the_root_of_js_is_a_metric_and_kl_and_js_are_none():
    p, q, r = np.random.default_rng(1).dirichlet(np.full(4, 0.3), (3, 3000))
    for f, breaks in ((D.kl, True), (D.js, True), (lambda a, b: np.sqrt(D.js(a, b)), False)):
        assert bool((f(p, q) > f(p, r) + f(r, q) + 1e-9).any()) == breaks


# ---- forward and reverse KL ---------------------------------------------------------------------------------------


@equation(chapter.forward_slope, 3)
@equation(chapter.reverse_slope, 4)
def test_slopes_of_kl_are_the_engines(device):
    p, q_free = rng.dirichlet(np.ones(5)), rng.normal(size=5)
    theta = tg.tensor(q_free, requires_grad=True, device=device)
    on = lambda a: tg.tensor(a, device=device)
    q = tg.nn.functional.softmax(theta, 0)
    score = np.eye(5) - q.numpy()  # of log softmax: d log q_i / d theta_j
    for found, value in (
        (chapter.forward_slope(on(p), on(score)), D.kl(on(p), q)),
        (chapter.reverse_slope(on(p), q.detach(), on(score)), D.kl(q, on(p))),
    ):
        expected = tg.grad(value, theta, retain_graph=True).numpy()
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-14)


@equation(chapter.moments, 5)
def test_moments_by_hand_and_forward_kl_keeps_them():
    p = hills()
    mean = sum(a * x for a, x in zip(p, PLACES, strict=True))
    variance = sum(a * (x - mean) ** 2 for a, x in zip(p, PLACES, strict=True))
    np.testing.assert_allclose(chapter.moments(p, PLACES), (mean, variance), rtol=1e-12)
    model = GaussianOnGrid(PLACES, lr=0.1, schedule=Cosine(600), rng=tg.random.Generator(0))
    model.fit(p, steps=600, run=Run(quiet=True))
    np.testing.assert_allclose(chapter.moments(model.probabilities(), PLACES), (mean, variance), rtol=1e-5)


def test_reverse_kl_sits_on_the_hill_where_it_starts():
    found = {}
    for seed in range(6):
        model = GaussianOnGrid(
            PLACES, divergence="reverse", lr=0.1, schedule=Cosine(300), rng=tg.random.Generator(seed)
        )
        mean, variance = chapter.moments(model.fit(hills(), steps=300, run=Run(quiet=True)).probabilities(), PLACES)
        side = "left" if mean < 0 else "right"
        found[side] = (mean, math.sqrt(variance))
    np.testing.assert_allclose(found["left"], (-1.5, 0.4), atol=0.02)
    np.testing.assert_allclose(found["right"], (1.8, 0.5), atol=0.02)


# ---- closed forms -------------------------------------------------------------------------------------------------


@equation(chapter.boxes, 6)
@pytest.mark.parametrize("delta", [0.2, 0.7, 1.0, 1.6, 3.0])
def test_boxes_by_integration(delta):
    p, q = scipy.stats.uniform(0, 1), scipy.stats.uniform(delta, 1)
    points = sorted({0, 1, delta, delta + 1})

    def integral(f):
        pieces = zip(points[:-1], points[1:], strict=True)
        return sum(scipy.integrate.quad(f, a, b, epsabs=1e-12)[0] for a, b in pieces)

    mixture = lambda x: (p.pdf(x) + q.pdf(x)) / 2
    js = integral(lambda x: sum(f * math.log(f / mixture(x)) / 2 for f in (p.pdf(x), q.pdf(x)) if f > 0))
    found = chapter.boxes(delta)
    assert found["Jensen-Shannon"] == pytest.approx(js, abs=1e-10)
    assert found["earth mover"] == pytest.approx(integral(lambda x: abs(p.cdf(x) - q.cdf(x))), abs=1e-10)
    assert found["Cramér"] == pytest.approx(integral(lambda x: (p.cdf(x) - q.cdf(x)) ** 2), abs=1e-10)
    assert found["KL"] == math.inf
    assert [float(v) for v in chapter.boxes(0.0).values()] == [0, 0, 0, 0]


@equation(chapter.absolute_mean, 7)
def test_absolute_mean_is_scipys_folded_normal(device):
    m, s = np.array([0.0, 1.3, -2.0, 0.4]), np.array([1.0, 0.5, 2.0, 3.0])
    found = chapter.absolute_mean(tg.tensor(m, device=device), tg.tensor(s, device=device)).numpy()
    np.testing.assert_allclose(
        found, [scipy.stats.foldnorm(abs(a) / b, scale=b).mean() for a, b in zip(m, s, strict=True)]
    )
    assert chapter.absolute_mean(np.array(-2.0), np.array(0.0)) == 2


@equation(chapter.gaussian_kl, 8)
@equation(chapter.gaussian_earth_mover, 9)
@equation(chapter.gaussian_cramer, 9)
@given(seeds)
def test_gaussians_by_integration(seed):
    draw = np.random.default_rng(seed)
    (mu, nu), (sigma, tau) = draw.normal(size=2), draw.uniform(0.5, 2, 2)
    p, q, t = scipy.stats.norm(mu, sigma), scipy.stats.norm(nu, tau), np.linspace(-20, 20, 40_001)
    apart, step = p.cdf(t) - q.cdf(t), t[1] - t[0]
    law = (mu, sigma, nu, tau)
    kl = (p.pdf(t) * (p.logpdf(t) - q.logpdf(t))).sum() * step
    assert chapter.gaussian_kl(*law) == pytest.approx(kl, rel=1e-8, abs=1e-10)
    assert chapter.gaussian_earth_mover(*law) == pytest.approx(np.abs(apart).sum() * step, rel=1e-6)
    assert chapter.gaussian_cramer(*law) == pytest.approx((apart**2).sum() * step, rel=1e-8)


def test_gaussians_of_one_width_are_moved_as_a_whole():
    assert chapter.gaussian_earth_mover(1.0, 2.0, -2.5, 2.0) == 3.5
    assert chapter.gaussian_cramer(0.3, 0.7, 0.3, 0.7) == pytest.approx(0, abs=1e-15)
    levels = (np.arange(100_000) + 0.5) / 100_000  # (9) against samples
    x, y = scipy.stats.norm(0.3, 2).ppf(levels), scipy.stats.norm(-1, 0.5).ppf(levels)
    assert chapter.gaussian_earth_mover(0.3, 2, -1, 0.5) == pytest.approx(D.wasserstein_1d(x, y), rel=1e-4)
    assert chapter.gaussian_cramer(0.3, 2, -1, 0.5) == pytest.approx(D.cramer_1d(x, y), rel=1e-4)


@equation(chapter.coins, 10)
def test_means_over_samples_of_a_coin():
    theta, pi, n = np.array([0.2, 0.65, 0.9]), 0.65, 3
    expected = {"earth mover": np.zeros(3), "Cramér": np.zeros(3)}
    for throws in np.ndindex(2, 2, 2):  # every sample
        chance = pi ** sum(throws) * (1 - pi) ** (3 - sum(throws))
        sample = np.array([3 - sum(throws), sum(throws)]) / 3
        for k, t in enumerate(theta):
            model = np.array([1 - t, t])
            expected["earth mover"][k] += chance * D.earth_mover(sample, model, np.array([0.0, 1.0]))
            expected["Cramér"][k] += chance * D.cramer(sample, model, np.array([0.0, 1.0]))
    for name, value in chapter.coins(pi, theta, n).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-10)
    grid = np.linspace(0, 1, 101)
    best = {name: grid[value.argmin()] for name, value in chapter.coins(pi, grid, 1).items()}
    assert best["earth mover"] == 1 and best["Cramér"] == pytest.approx(0.65)


# ---- the model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", list(chapter.DIVERGENCES))
def test_each_divergence_finds_a_gaussian_that_is_there(divergence, device):
    truth = scipy.stats.norm(0.5, 0.8).pdf(PLACES)
    truth = truth / truth.sum()
    draws = tg.random.Generator(3, device=device)
    model = GaussianOnGrid(PLACES, divergence=divergence, lr=0.1, schedule=Cosine(200), rng=draws)
    before = float(chapter.DIVERGENCES[divergence](truth, model.probabilities(), PLACES))
    model.fit(truth, steps=200 if device == "cpu" else 3, run=Run(quiet=True))
    after = float(chapter.DIVERGENCES[divergence](truth, model.probabilities(), PLACES))
    assert after < before and set(model.sample(5)) <= set(PLACES)
    assert set(model.sample(5, rng=tg.random.Generator(0))) <= set(PLACES)  # also with draws from the host
    if device == "cpu":
        assert after < 1e-3
        np.testing.assert_allclose(model.probabilities(), truth, atol=1e-3)


def test_draws_follow_the_probabilities():
    model = GaussianOnGrid(PLACES, rng=tg.random.Generator(0)).fit(hills(), steps=100, run=Run(quiet=True))
    drawn, q = model.sample(40_000, rng=tg.random.Generator(1)), model.probabilities()
    assert drawn.shape == (40_000,) and q.sum() == pytest.approx(1, abs=1e-12)
    shares = np.array([(drawn == x).mean() for x in PLACES])
    assert (np.abs(shares - q) < 4.5 * np.sqrt(q / 40_000) + 1e-4).all()


def test_no_divergence_from_the_model_is_infinite():
    corner = np.eye(41)[0]
    for divergence in ("forward", "js", "earth mover", "cramer"):
        model = GaussianOnGrid(PLACES, divergence=divergence, rng=tg.random.Generator(1))
        assert np.isfinite(float(model.update(model.checked(corner))["divergence"].item()))


def test_refusals():
    with pytest.raises(ValueError, match="are not at least 3 numbers that rise"):
        GaussianOnGrid(np.array([0.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="divergence is 'kl'; one of forward, reverse"):
        GaussianOnGrid(PLACES, divergence="kl")
    model = GaussianOnGrid(PLACES, divergence="reverse")
    with pytest.raises(ValueError, match=r"p has shape \(40,\); a probability for each of the 41 positions"):
        model.fit(np.full(40, 1 / 40), steps=1, run=Run(quiet=True))
    with pytest.raises(ValueError, match="p holds 40 zeros, from which the reverse KL"):
        model.fit(np.eye(41)[3], steps=1, run=Run(quiet=True))
    with pytest.raises(ValueError, match="p holds"):
        model.fit(np.full(41, 0.5), steps=1, run=Run(quiet=True))


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

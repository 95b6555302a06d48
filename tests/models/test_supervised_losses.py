"""Losses: what each asks for, the laws behind them, and maximum likelihood as the least divergence."""

import doctest
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import LinearPredictor
from tinygen.models.supervised import losses as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)
seeds = st.integers(0, 10**6)


def law(seed, k=6):
    """Values on the line and their probabilities."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=k) * 3, draw.dirichlet(np.ones(k))


def table(seed, m=4, k=3):
    """A joint law of two discrete variables, and a law of the second given the first that is not its own."""
    draw = np.random.default_rng(seed)
    return draw.dirichlet(np.ones(m * k)).reshape(m, k), draw.dirichlet(np.ones(k), m)


def problem(n=60, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 2))
    return x, 1 + x @ [2.0, -1.0] + 0.3 * draw.normal(size=n)


# ---- what a loss asks for -----------------------------------------------------------------------------------------


@equation(chapter.risk, 1)
def test_risk_is_the_mean_loss(device):
    y, p = law(0)
    for loss, by_hand in ((chapter.squared, lambda a, b: (a - b) ** 2), (chapter.absolute, lambda a, b: abs(a - b))):
        c = np.array([[0.3], [-1.0]])
        expected = [sum(b * by_hand(a, v) for a, b in zip(y, p, strict=True)) for v in (0.3, -1.0)]
        found = chapter.risk(loss, *(arrays.asarray(a, device=device) for a in (c, y, p)))
        np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=1e-12)


@equation(chapter.mean, 2)
@equation(chapter.median, 2)
@given(seeds)
def test_squares_ask_for_the_mean_and_absolute_errors_for_the_median(seed):
    y, p = law(seed)
    assert chapter.mean(y, p) == pytest.approx(np.average(y, weights=p), rel=1e-12)
    below, above = p[y < chapter.median(y, p)].sum(), p[y > chapter.median(y, p)].sum()
    assert max(below, above) <= 0.5 and chapter.median(y, p) in y
    for loss, best in ((chapter.squared, chapter.mean(y, p)), (chapter.absolute, chapter.median(y, p))):
        rivals = np.concatenate([np.linspace(-9, 9, 300), y])[:, None]
        assert chapter.risk(loss, best, y, p) <= chapter.risk(loss, rivals, y, p).min() + 1e-12


def test_the_median_of_an_even_split_is_its_first():
    assert chapter.median(np.array([3.0, 1.0, 2.0, 4.0]), np.full(4, 0.25)) == 2


def test_absolute_errors_answer_a_coin_with_zero():
    y, p = np.array([0.0, 1.0]), np.array([0.7, 0.3])
    assert chapter.median(y, p) == 0 and chapter.mean(y, p) == pytest.approx(0.3)
    stated = np.linspace(0.01, 0.99, 99)
    cost = chapter.risk(lambda y, c: -np.log(np.where(y == 1, c, 1 - c)), stated[:, None], y, p)
    assert stated[cost.argmin()] == pytest.approx(0.3)


# ---- where losses come from ---------------------------------------------------------------------------------------


@equation(chapter.gaussian_nll, 3)
@equation(chapter.laplace_nll, 4)
def test_numbers_are_scipys_laws(device):
    y, f = rng.normal(size=(2, 5)) * 3
    for nll, theirs in ((chapter.gaussian_nll, scipy.stats.norm), (chapter.laplace_nll, scipy.stats.laplace)):
        found = nll(*(tg.tensor(a, device=device) for a in (y, f, np.array(0.7))))
        np.testing.assert_allclose(found.numpy(), -theirs.logpdf(y, f, 0.7), rtol=1e-12)


@equation(chapter.class_nll, 5)
def test_classes_are_scipys_softmax(device):
    z, y = rng.normal(size=(5, 3)) * 4, np.array([0, 2, 1, 1, 0])
    found = chapter.class_nll(*(arrays.asarray(a, device=device) for a in (z, y)))
    np.testing.assert_allclose(arrays.to_numpy(found), -scipy.special.log_softmax(z, 1)[range(5), y], rtol=1e-12)
    assert chapter.class_nll(np.array([[1e4, 0.0]]), np.array([1]))[0] == 1e4  # no log of 0


@equation(chapter.best_width, 6)
@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_best_width_by_search(loss):
    y, f = rng.normal(size=(2, 30))
    nll = chapter.gaussian_nll if loss == "squared" else chapter.laplace_nll
    found = scipy.optimize.minimize_scalar(lambda w: np.sum(nll(y, f, w)), bounds=(0.01, 9), method="bounded",
                                           options=dict(xatol=1e-10))  # fmt: skip
    assert chapter.best_width(loss, y, f) == pytest.approx(found.x, rel=1e-6)


def test_the_best_answer_does_not_depend_on_the_width():
    y = rng.normal(size=9) ** 3
    grid = np.linspace(-3, 3, 601)
    for nll, best in ((chapter.gaussian_nll, np.mean(y)), (chapter.laplace_nll, np.median(y))):
        for width in (0.2, 1.0, 5.0):
            at = grid[np.argmin([nll(y, f, width).sum() for f in grid])]
            assert at == pytest.approx(best, abs=0.011)


# ---- maximum likelihood is KL minimisation ------------------------------------------------------------------------


@equation(chapter.mean_nll, 7)
@equation(chapter.entropy_plus_kl, 7)
@given(seeds, st.integers(1, 40), st.integers(2, 9))
def test_the_mean_loss_is_entropy_plus_divergence(seed, n, k):
    draw = np.random.default_rng(seed)
    y, q = draw.integers(0, k, n), draw.dirichlet(np.ones(k)) + 1e-9
    q = q / q.sum()
    expected = -sum(math.log(q[v]) for v in y) / n
    assert chapter.mean_nll(y, q) == pytest.approx(expected, rel=1e-12)
    assert chapter.entropy_plus_kl(np.bincount(y, minlength=k) / n, q) == pytest.approx(expected, rel=1e-10)
    by_network = tg.mean(chapter.class_nll(np.log(q)[None].repeat(n, 0), y))  # what a network is paid
    assert float(by_network) == pytest.approx(expected, rel=1e-10)


@equation(chapter.conditional_nll, 8)
@equation(chapter.conditional_entropy_plus_kl, 8)
@given(seeds)
def test_the_same_given_x(seed):
    joint, q = table(seed)
    expected = -sum(joint[i] * math.log(q[i]) for i in np.ndindex(*joint.shape))
    assert chapter.conditional_nll(joint, q) == pytest.approx(expected, rel=1e-12)
    p_x = joint.sum(1)
    by_hand = sum(p_x[i] * scipy.stats.entropy(joint[i] / p_x[i], q[i]) for i in range(4))
    by_hand += sum(p_x[i] * scipy.stats.entropy(joint[i] / p_x[i]) for i in range(4))  # H(Y|X)
    assert chapter.conditional_entropy_plus_kl(joint, q) == pytest.approx(by_hand, rel=1e-10)
    assert expected == pytest.approx(by_hand, rel=1e-10)


def test_the_identities_on_a_device(device):
    joint, q = (tg.tensor(a, device=device) for a in table(0))
    expected = chapter.conditional_nll(*table(0))
    for f in (chapter.conditional_nll, chapter.conditional_entropy_plus_kl):
        assert f(joint, q).item() == pytest.approx(float(expected), rel=1e-12)
    assert chapter.entropy_plus_kl(q[0], q[1]).device == device


def test_both_sides_have_one_gradient():
    p, logits = law(3)[1], tg.tensor(rng.normal(size=6), requires_grad=True)
    y = np.repeat(np.arange(6), [3, 1, 4, 1, 5, 9])
    p = np.bincount(y) / len(y)
    q = tg.exp(logits) / tg.sum(tg.exp(logits))
    by_examples = tg.grad(chapter.mean_nll(y, q), logits, retain_graph=True).numpy()
    by_divergence = tg.grad(tg.probability.divergences.kl(p, q), logits).numpy()
    np.testing.assert_allclose(by_examples, by_divergence, atol=1e-14)
    np.testing.assert_allclose(by_examples, q.numpy() - p, atol=1e-14)


@equation(chapter.spike_kl, 9)
@equation(chapter.binned_kl, 9)
def test_the_divergence_of_spikes_grows_without_end():
    x = np.random.default_rng(0).normal(size=20)
    density = scipy.stats.norm(0.5, 1.5).pdf
    by_hand = [math.log(1 / (20 * 1e-8)) - np.mean(scipy.stats.norm(0.5, 1.5).logpdf(x))]
    assert chapter.spike_kl(x, density, 1e-8) == pytest.approx(by_hand[0], rel=1e-12)
    assert chapter.binned_kl(x, density, 1e-8) == pytest.approx(by_hand[0], rel=1e-6)
    coarse = chapter.binned_kl(np.array([0.1, 0.2, 1.4]), lambda x: 0.5 + 0 * x, 1.0)  # shares 2/3, 1/3 against 1/2
    assert coarse == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3), rel=1e-12)
    values = [chapter.binned_kl(x, density, 10.0**-k) for k in range(2, 9)]
    np.testing.assert_allclose(np.diff(values[2:]), math.log(10), atol=1e-3)  # another ln 10 with each digit, for ever
    other = scipy.stats.norm(2, 1).pdf
    gap = chapter.binned_kl(x, other, 1e-8) - chapter.binned_kl(x, density, 1e-8)
    assert gap == pytest.approx(np.mean(np.log(density(x) / other(x))), abs=1e-5)


@equation(chapter.logit_slopes, 10)
def test_slopes_are_the_engines_and_one_of_them_vanishes():
    z, y = rng.normal(size=5) * 3, np.array([0.0, 1, 1, 0, 1])
    leaf = tg.tensor(z, requires_grad=True)
    p = tg.sigmoid(leaf)
    both = tg.sum(tg.nn.functional.binary_cross_entropy_with_logits(leaf, y, reduction="none")), tg.sum((y - p) ** 2)
    for found, value in zip(chapter.logit_slopes(z, y), both, strict=True):
        np.testing.assert_allclose(found, tg.grad(value, leaf, retain_graph=True).numpy(), rtol=1e-10)
    sure = [float(s) for s in chapter.logit_slopes(np.array(-30.0), 1.0)]  # and wrong
    assert sure[0] == pytest.approx(-1) and abs(sure[1]) < 1e-12


# ---- the model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_it_finds_the_line_of_its_loss(loss):
    x, y = problem()
    model = LinearPredictor(2, loss=loss, lr=0.2, schedule=Cosine(800), rng=tg.random.Generator(0)).to(dtype="float64")
    model.fit(x, y, steps=800, batch_size=60, run=Run(quiet=True))
    X, cost = np.column_stack([np.ones(60), x]), chapter.LOSSES[loss]
    best = scipy.optimize.minimize(lambda t: cost(y, X @ t).mean(), np.zeros(3), method="Nelder-Mead",
                                   options=dict(xatol=1e-8, fatol=1e-12, maxiter=4000)).x  # fmt: skip
    assert cost(y, model.predict(x)).mean() == pytest.approx(cost(y, X @ best).mean(), rel=0.01)
    np.testing.assert_allclose(model.theta.numpy(), best, atol=0.06)
    theirs = scipy.stats.norm if loss == "squared" else scipy.stats.laplace
    f = model.predict(x)
    width = np.sqrt(np.mean((y - f) ** 2)) if loss == "squared" else np.mean(abs(y - f))
    np.testing.assert_allclose(model.log_prob(x, y), theirs.logpdf(y, f, width), rtol=1e-9)


def test_spoilt_answers_move_squares_only():
    x, y = problem()
    y[:8] -= 30
    slopes = {}
    for loss in chapter.LOSSES:
        model = LinearPredictor(2, loss=loss, lr=0.2, schedule=Cosine(600), rng=tg.random.Generator(0))
        slopes[loss] = model.fit(x, y, steps=600, run=Run(quiet=True)).theta.numpy()
    assert np.abs(slopes["absolute"] - [1, 2, -1]).max() < 0.3 < 1 < np.abs(slopes["squared"] - [1, 2, -1]).max()


def test_a_perfect_fit_keeps_a_density():
    x = np.zeros((4, 1))
    model = LinearPredictor(1, rng=tg.random.Generator(0)).fit(x, np.zeros(4), steps=1, run=Run(quiet=True))
    assert float(model.width) == pytest.approx(chapter.NARROWEST)
    assert np.isfinite(model.log_prob(x, np.zeros(4))).all()


def test_refusals():
    x, y = problem()
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        LinearPredictor(0)
    with pytest.raises(ValueError, match="loss is 'mse'; 'squared' or 'absolute' is wanted"):
        LinearPredictor(2, loss="mse")
    with pytest.raises(ValueError, match=r"x has shape \(60,\); at least one row of 2"):
        LinearPredictor(2).predict(y)
    with pytest.raises(ValueError, match=r"y has shape \(59,\); one number for each of the 60"):
        LinearPredictor(2).log_prob(x, y[1:])
    y[3] = np.nan
    with pytest.raises(ValueError, match="y has NaN or infinite values in 1 of 60 rows, the first in row 3"):
        LinearPredictor(2).fit(x, y, steps=1, run=Run(quiet=True))


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

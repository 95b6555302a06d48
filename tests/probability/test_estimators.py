"""Row A8: each estimate of a gradient is unbiased, and their variances stand in the order that theory gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats as st
from equations import equation

import tinygen as tg
from tinygen import probability as P
from tinygen.probability.estimators import through_data, through_draws, through_perturbation, through_score

N = 40_000


def agrees(estimates, wanted):
    """Within 4.5 standard errors of the mean, in each coordinate."""
    g = estimates.numpy()
    error = g.std(0, ddof=1) / math.sqrt(len(g))
    assert (np.abs(g.mean(0) - wanted) <= 4.5 * error + 1e-12).all(), (g.mean(0), wanted, error)


def gaussian(rows):
    """N(mu, e^2rho) from rows (mu, rho)."""
    return P.Normal(rows[:, 0], tg.exp(rows[:, 1]))


THETA = np.array([0.7, -0.3])
F = tg.square  # E x^2 = mu^2 + sigma^2
GRADIENT = np.array([1.4, 2 * math.exp(-0.6)])


def theta(values=THETA):
    return tg.tensor(np.array(values), requires_grad=True)


def test_each_is_unbiased():
    """estimators (2), (3) and its baseline, and (4): the gradient of mu^2 + sigma^2."""
    rng = tg.random.Generator(0)
    agrees(through_draws(gaussian, F, theta(), N, rng=rng), GRADIENT)
    agrees(through_score(gaussian, F, theta(), N, rng=rng), GRADIENT)
    agrees(through_score(gaussian, F, theta(), N, rng=rng, baseline=False), GRADIENT)
    exact = lambda rows: tg.square(rows[:, 0]) + tg.exp(2 * rows[:, 1])
    blurred = np.array([1.4, 2 * math.exp(-0.6 + 2 * 0.1**2)])  # E exp(2 (rho + s e)) = exp(2 rho + 2 s^2)
    agrees(through_perturbation(exact, theta(), N, scale=0.1, rng=rng), blurred)


@equation(through_draws, 2)
@equation(through_score, 3)
@equation(through_perturbation, 4)
def test_each_is_its_formula():
    """(2), (3) and (4) on the very draws, to rounding."""
    sigma, rng = math.exp(-0.3), lambda: tg.random.Generator(7)
    noise = rng().normal(6, dtype="float64")
    x = 0.7 + sigma * noise
    got = through_draws(gaussian, F, theta(), 6, rng=rng()).numpy()
    np.testing.assert_allclose(got, np.stack([2 * x, 2 * x * sigma * noise], 1), rtol=1e-12)
    score = np.stack([noise / sigma, noise**2 - 1], 1)  # of log N(x; mu, e^2rho), by mu and rho
    got = through_score(gaussian, F, theta(), 6, rng=rng(), baseline=False).numpy()
    np.testing.assert_allclose(got, (x**2)[:, None] * score, rtol=1e-11)
    others = np.array([np.delete(x**2, i).mean() for i in range(6)])
    got = through_score(gaussian, F, theta(), 6, rng=rng()).numpy()
    np.testing.assert_allclose(got, (x**2 - others)[:, None] * score, rtol=1e-10)
    noise = rng().normal((6, 2), dtype="float64")
    got = through_perturbation(lambda r: tg.sum(tg.square(r), 1), theta(), 6, scale=0.5, rng=rng()).numpy()
    np.testing.assert_allclose(got, (2 * THETA * noise).sum(1, keepdims=True) * noise, rtol=1e-11)


def test_few_draws_are_unbiased_too():
    """The baseline of a draw leaves that draw out: the mean over many small batches has no bias."""
    rng = tg.random.Generator(1)
    batches = np.stack([through_score(gaussian, F, theta(), 2, rng=rng).numpy().mean(0) for _ in range(4000)])
    error = batches.std(0) / math.sqrt(len(batches))
    assert (np.abs(batches.mean(0) - GRADIENT) < 4.5 * error).all()


@equation(through_data, 1)
def test_through_data_is_the_gradient_of_each_loss():
    """estimators (1), S0's proposition: linear regression, where each gradient is 2 (w x - y) x."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    w = theta([0.5, -1.0])
    data = tg.tensor(np.stack([x, y], 1))
    loss = lambda d, rows: tg.square(rows[:, 0] * d[:, 0] + rows[:, 1] - d[:, 1])
    got = through_data(loss, w, data).numpy()
    residual = 0.5 * x - 1.0 - y
    np.testing.assert_allclose(got, np.stack([2 * residual * x, 2 * residual], 1), rtol=1e-12)
    whole = tg.grad(tg.mean(tg.square(w[0] * x + w[1] - y)), w)
    np.testing.assert_allclose(got.mean(0), whole.numpy(), rtol=1e-12)


def test_variances_side_by_side():
    """For E x^2 by mu at N(mu, 1): through draws 4, by the score mu^4 + 14 mu^2 + 15, with its baseline
    8 mu^2 + 10; shaken, for a sum of d squares at 1, 4 (d + 1) in each coordinate."""
    unit = lambda rows: P.Normal(rows, 1.0)
    rng, mu = tg.random.Generator(2), theta(1.5)
    variance = lambda g: g.numpy().var()
    draws, with_baseline, score = (
        variance(through_draws(unit, F, mu, N, rng=rng)),
        variance(through_score(unit, F, mu, N, rng=rng)),
        variance(through_score(unit, F, mu, N, rng=rng, baseline=False)),
    )
    assert draws == pytest.approx(4, rel=0.05)
    assert score == pytest.approx(1.5**4 + 14 * 1.5**2 + 15, rel=0.15)
    assert with_baseline == pytest.approx(8 * 1.5**2 + 10, rel=0.15)
    assert draws < with_baseline < score
    for d in (2, 20):
        point = theta(np.ones(d))
        g = through_perturbation(lambda rows: tg.sum(tg.square(rows), 1), point, N, rng=rng).numpy()
        assert g.var(0).mean() == pytest.approx(4 * (d + 1), rel=0.1)  # |gradient|^2 = 4 d, each coordinate 2


def test_only_the_score_reaches_discrete_laws():
    """A coin whose f is a step: E f = p f(1) + (1 - p) f(0), by the logit p (1 - p) (f(1) - f(0))."""
    coin = lambda rows: P.Bernoulli(logits=rows)
    f = lambda x: tg.where(x > 0.5, 3.0, -1.0)
    p = 1 / (1 + math.exp(-0.4))
    agrees(through_score(coin, f, theta(0.4), N, rng=tg.random.Generator(3)), 4 * p * (1 - p))
    with pytest.raises(NotImplementedError, match="Bernoulli: rsample does not exist"):
        through_draws(coin, f, theta(0.4), 4, rng=tg.random.Generator(3))


def test_a_step_has_no_pathwise_gradient():
    """f = 1 for x > 0: the derivative of f is 0 almost everywhere, and (2) is silently wrong; (3) and (4) are not."""
    step = lambda x: (x > 0) * 1.0 + 0 * x
    unit = lambda rows: P.Normal(rows, 1.0)
    rng, wanted = tg.random.Generator(4), st.norm.pdf(0.3)
    assert (through_draws(unit, step, theta(0.3), 100, rng=rng).numpy() == 0).all()
    agrees(through_score(unit, step, theta(0.3), N, rng=rng), wanted)
    agrees(through_perturbation(lambda rows: step(rows), theta(0.3), N, scale=1.0, rng=rng), wanted)


def test_refused():
    with pytest.raises(ValueError, match=r"one value for each of the 5 draws is wanted, got shape \(\)"):
        through_draws(gaussian, lambda x: tg.sum(x), theta(), 5, rng=tg.random.Generator(0))
    with pytest.raises(ValueError, match="samples is 1; at least 2"):
        through_score(gaussian, F, theta(), 1, rng=tg.random.Generator(0))
    with pytest.raises(ValueError, match="scale is 0"):
        through_perturbation(F, theta(), 4, scale=0, rng=tg.random.Generator(0))

"""Bayes's rule: a coin in closed form, and two posteriors over parameters by brute force."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import bayes

rng = np.random.default_rng(0)
X = np.stack([np.ones(12), np.linspace(-2, 2, 12)], 1)
Y = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1.0])


def lattice(box, n):
    """Middles of n x n cells, and the area of one."""
    ticks = [low + (high - low) * (np.arange(n) + 0.5) / n for low, high in (box[:2], box[2:])]
    return np.stack(np.meshgrid(*ticks), -1).reshape(-1, 2), (box[1] - box[0]) * (box[3] - box[2]) / n**2


# ---- the coin -------------------------------------------------------------------------------------------


@equation(bayes.coin_posterior, 1, 2)
@equation(bayes.coin_evidence, 1, 2)
@equation(bayes.next_flip, 3)
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.5, 0.7)])
def test_the_coin_by_integration(a, b):  # (1), (2) and (3)
    def joint(z):
        return scipy.stats.binom.pmf(2, 10, z) * scipy.stats.beta.pdf(z, a, b)

    evidence = scipy.integrate.quad(joint, 0, 1)[0]
    np.testing.assert_allclose(bayes.coin_evidence(2, 10, a, b), evidence, rtol=1e-9)
    z = np.linspace(0.01, 0.99, 9)
    np.testing.assert_allclose(scipy.stats.beta.pdf(z, *bayes.coin_posterior(2, 10, a, b)), joint(z) / evidence)
    mean = scipy.integrate.quad(lambda z: z * joint(z), 0, 1)[0] / evidence
    np.testing.assert_allclose(bayes.next_flip(2, 10, a, b), mean, rtol=1e-9)


def test_a_flat_prior_makes_every_number_of_heads_equally_likely():  # (2)
    np.testing.assert_allclose([bayes.coin_evidence(k, 10) for k in range(11)], 1 / 11)
    assert bayes.next_flip(2, 2) == 3 / 4


@given(st.lists(st.booleans(), max_size=30), st.floats(0.1, 9), st.floats(0.1, 9))
def test_a_posterior_is_the_next_prior(flips, a, b):  # (1): data may come one by one
    law = (a, b)
    for flip in flips:
        law = bayes.coin_posterior(int(flip), 1, *law)
    np.testing.assert_allclose(law, bayes.coin_posterior(sum(flips), len(flips), a, b))


@pytest.mark.parametrize("given", [(3, 2), (-1, 2), (1, 2, 0.0)])
def test_impossible_coins_are_refused(given):
    with pytest.raises(ValueError, match="coin_posterior: .* are wanted"):
        bayes.coin_posterior(*given)


# ---- parameters -----------------------------------------------------------------------------------------


@equation(bayes.Logistic.log_joint, 4)
def test_logistic_joint_by_scipy(device):  # (4)
    theta, target = rng.normal(size=(5, 2)), bayes.Logistic(2, prior_std=1.7)
    expected = [scipy.stats.bernoulli.logpmf(Y, scipy.special.expit(X @ t)).sum()
                + scipy.stats.norm.logpdf(t, scale=1.7).sum() for t in theta]  # fmt: skip
    like = tg.tensor(theta, device=device)
    found = target.log_joint(like, *target.checked("Test", like, X, Y))
    np.testing.assert_allclose(found.numpy(), expected)
    tg.check_grads(lambda t: target.log_joint(t, X, Y), (theta,))


@equation(bayes.MeanAndPrecision.log_joint, 7)
def test_mean_and_precision_joint_by_scipy():  # (7)
    theta, x = rng.normal(size=(5, 2)), rng.normal(size=7)
    target = bayes.MeanAndPrecision(prior_std=2.0, a=1.5, b=0.6)
    expected = [scipy.stats.norm.logpdf(x, mu, np.exp(-omega / 2)).sum() + scipy.stats.norm.logpdf(mu, scale=2)
                + scipy.stats.gamma.logpdf(np.exp(omega), 1.5, scale=1 / 0.6) + omega
                for mu, omega in theta]  # fmt: skip
    np.testing.assert_allclose(target.log_joint(theta, x), expected)
    tg.check_grads(lambda t: target.log_joint(t, x), (theta,))


@equation(bayes.quadrature, 5)
def test_quadrature_of_a_law_that_is_known():  # (5)
    mean, covariance = np.array([0.5, -1]), np.array([[1.0, 0.6], [0.6, 2]])
    theta, cell = lattice((-9, 9, -12, 12), 200)
    values = scipy.stats.multivariate_normal.logpdf(theta, mean, covariance) + 3
    log_evidence, found = bayes.quadrature(values, theta, cell)
    np.testing.assert_allclose(log_evidence, 3, rtol=1e-9)
    np.testing.assert_allclose(found.mean, mean, atol=1e-9)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-9)
    np.testing.assert_allclose(found.std, np.sqrt([1, 2]))


def test_quadrature_of_the_logistic_posterior_by_scipy():  # (5)
    target = bayes.Logistic(2, prior_std=2.0)
    theta, cell = lattice((-6, 6, -6, 9), 200)
    log_evidence, found = bayes.quadrature(target.log_joint(theta, X, Y), theta, cell)

    def joint(b, a):
        return math.exp(float(target.log_joint(np.array([[a, b]]), X, Y)[0]))

    evidence = scipy.integrate.dblquad(joint, -6, 6, -6, 9, epsabs=1e-9)[0]
    np.testing.assert_allclose(log_evidence, np.log(evidence), rtol=1e-5)
    slope = scipy.integrate.dblquad(lambda b, a: b * joint(b, a), -6, 6, -6, 9, epsabs=1e-9)[0] / evidence
    np.testing.assert_allclose(found.mean[1], slope, rtol=1e-4)


@equation(bayes.predictive, 6)
def test_prediction_is_the_mean_over_curves():  # (6)
    theta, x = rng.normal(size=(50, 2)), rng.normal(size=(4, 2))
    expected = [np.mean([1 / (1 + np.exp(-t @ row)) for t in theta]) for row in x]
    np.testing.assert_allclose(bayes.predictive(theta, x), expected)


def test_error_is_measured_in_standard_deviations():
    exact = bayes.Moments(np.array([1.0, 2]), np.diag([4.0, 9]))
    found = bayes.Moments(np.array([2.0, 2.3]), np.diag([1.0, 9.0]))
    np.testing.assert_allclose(bayes.error(found, exact), (0.5, 0.5))


@pytest.mark.parametrize(("data", "message"), [
    ((X[:, :1], Y), r"Chain: x has shape \(12, 1\) and y \(12,\); at least one row of 2"),
    ((X, Y[:3]), r"y \(3,\)"), ((X[:0], Y[:0]), "at least one row"), ((X * np.nan, Y), "Chain: x has NaN"),
    ((X, Y + 1), "besides 0 and 1")])  # fmt: skip
def test_data_that_do_not_fit_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        bayes.Logistic(2).checked("Chain", tg.tensor(0.0), *data)


def test_other_refusals():
    for wrong in (X, np.zeros(0), np.array([np.inf])):
        with pytest.raises(ValueError, match="Chain: x has .* wanted"):
            bayes.MeanAndPrecision().checked("Chain", tg.tensor(0.0), wrong)
    with pytest.raises(ValueError, match="prior_std 0"):
        bayes.Logistic(2, prior_std=0)
    with pytest.raises(ValueError, match="positive numbers"):
        bayes.MeanAndPrecision(b=-1)


def test_the_evidence_of_many_flips():
    assert bayes.coin_evidence(1000, 2000) == pytest.approx(1 / 2001, rel=1e-9)
    assert bayes.coin_evidence(3, 7, 2.0, 1.5) == pytest.approx(scipy.stats.betabinom(7, 2.0, 1.5).pmf(3), rel=1e-12)
    with pytest.raises(ValueError, match="positive numbers wanted"):
        bayes.MeanAndPrecision(a=np.nan)

"""Smoothed labels: each equation by brute force, what one side does and two do not, and the loss in a game."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd.checks import check_grads
from tinygen.models.gan import losses, nets, normal, smoothing, theory
from tinygen.models.gan.game import GAN
from tinygen.runs import Run

rng = np.random.default_rng(0)
REAL, FAKE = 3 * rng.normal(size=(5, 1)), 3 * rng.normal(size=(7, 1))
D_REAL, D_FAKE = scipy.special.expit(REAL), scipy.special.expit(FAKE)
LABELS = st.tuples(st.floats(0.55, 0.99), st.floats(0, 0.45))


def cost(D, p, q, alpha, beta):
    """What D = sigma(a) pays at points where the laws are p and q."""
    return -p * (alpha * np.log(D) + (1 - alpha) * np.log(1 - D)) - q * (beta * np.log(D) + (1 - beta) * np.log(1 - D))


@equation(smoothing.smoothed_discriminator, 1)
@given(LABELS)
def test_the_loss_is_the_cross_entropy_of_the_labels(labels):  # (1)
    expected = cost(D_REAL, 1, 0, *labels).mean() + cost(D_FAKE, 0, 1, *labels).mean()
    np.testing.assert_allclose(smoothing.smoothed_discriminator(REAL, FAKE, *labels), expected)


def test_without_smoothing_it_is_the_first_games():  # (1)
    plain = losses.binary_discriminator(REAL, FAKE)
    np.testing.assert_allclose(smoothing.smoothed_discriminator(REAL, FAKE, 1.0, 0.0), plain, rtol=1e-14)


@given(LABELS)
def test_its_gradient_to_second_order(labels):
    check_grads(lambda a, b: smoothing.smoothed_discriminator(a, b, *labels), [REAL, FAKE], order=2)


@equation(smoothing.surest_logit, 2)
@given(st.floats(0.05, 0.95))
def test_the_slope_turns_round_at_the_surest_logit(alpha):  # (2)
    def of_one(a):
        return float(smoothing.smoothed_discriminator(np.array([[a]]), np.array([[0.0]]), alpha))

    best = scipy.optimize.minimize_scalar(of_one, bracket=(-1, 1), tol=1e-12).x
    np.testing.assert_allclose(smoothing.surest_logit(alpha), best, atol=1e-6)


def test_the_surest_logit_of_the_documents_label():  # (2)
    assert smoothing.surest_logit(0.9) == pytest.approx(np.log(9))
    assert smoothing.surest_logit(1) == np.inf
    assert smoothing.surest_logit(0) == -np.inf


@equation(smoothing.best_discriminator, 3)
@given(LABELS)
def test_the_best_discriminator_beats_all_others(labels):  # (3)
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    best = [
        scipy.optimize.minimize_scalar(lambda a, at=at: cost(scipy.special.expit(a), *at, *labels), (-2, 2)).x
        for at in zip(p, q, strict=True)
    ]
    np.testing.assert_allclose(smoothing.best_discriminator(p, q, *labels), scipy.special.expit(best), atol=1e-6)


def test_one_side_scales_and_two_sides_let_bad_samples_lie():  # (3)
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0, 0.2, 0.8, 0])
    plain = theory.best_discriminator(p, q)
    np.testing.assert_allclose(smoothing.best_discriminator(p, q, 0.9, 0), 0.9 * plain)
    two = smoothing.best_discriminator(p, q, 0.9, 0.1)
    assert two[2] == pytest.approx(0.1)  # only samples: beta, whatever their density
    np.testing.assert_allclose(two, [0.9, (0.45 + 0.02) / 0.7, 0.1, 0.5])


@equation(smoothing.costs_at_equilibrium, 4)
@given(LABELS)
def test_costs_at_the_equilibrium(labels):  # (4)
    D = smoothing.best_discriminator(np.ones(1), np.ones(1), *labels)
    found = smoothing.costs_at_equilibrium(*labels)
    np.testing.assert_allclose(found, [cost(D, 1, 1, *labels)[0], -np.log(D[0])])


def test_costs_named_in_the_chapter():  # (4)
    np.testing.assert_allclose(smoothing.costs_at_equilibrium(0.9), [1.376, 0.799], atol=1e-3)
    np.testing.assert_allclose(smoothing.costs_at_equilibrium(1.0), [np.log(4), np.log(2)])


@pytest.mark.parametrize("labels", [(0.5, 0.5), (0.2, 0.9), (1.1, 0.0), (0.9, -0.1), (float("nan"), 0.0)])
def test_labels_that_are_none(labels):
    with pytest.raises(ValueError, match="0 <= fake_label < real_label <= 1 is wanted"):
        smoothing.SmoothedLabels(*labels)


def test_a_discriminator_does_not_get_surer_than_its_label():
    """Two clusters that anything can tell apart: plain logits grow on, smoothed ones of data stay near (2)."""
    x = np.random.default_rng(0).normal(3, 0.1, (64, 2)).astype(np.float32)
    x_fake = tg.tensor(-x)
    found = {}
    for name, loss in (("plain", losses.NonSaturating()), ("smooth", smoothing.SmoothedLabels(0.9))):
        g = tg.random.Generator(0)
        D = nets.discriminator(2, hidden=8, rng=g)
        adam = tg.optim.Adam(D.parameters(), 0.02)
        for _ in range(300):
            adam.step(tg.grad(loss.discriminator(D, x, x_fake, g), adam.params))
        found[name] = float(np.mean(D(tg.tensor(x)).numpy()))
    assert found["plain"] > 5
    assert found["smooth"] == pytest.approx(smoothing.surest_logit(0.9), abs=0.2)


def test_a_game_with_smoothed_labels():
    g = tg.random.Generator(0)
    G, D = nets.generator(3, 2, hidden=8, rng=g), nets.discriminator(2, hidden=8, rng=g)
    gan = GAN(G, D, smoothing.SmoothedLabels(0.9), prior=normal(3), rng=g)
    x, z = g.normal((6, 2)), gan.noise(6)
    with tg.no_grad():
        real, fake = gan.discriminator(x), gan.discriminator(gan.generator(z))
    np.testing.assert_allclose(gan.discriminator_loss(x, gan.fake(z)).item(),
                               smoothing.smoothed_discriminator(real, fake, 0.9).item(), rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(gan.generator_loss(z).item(), losses.non_saturating_generator(fake).item(), rtol=1e-6)
    assert gan.fit(np.asarray(x), steps=2, batch_size=3, run=Run(quiet=True)).sample(4).shape == (4, 2)

"""The game on known densities and in two parameters: every equation by quadrature, brute force or closed form."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

from tinygen.models.gan import theory
from tinygen.models.gan.losses import LOSSES

rng = np.random.default_rng(0)
P, Q = scipy.stats.norm(-0.5, 0.8), scipy.stats.norm(0.7, 1.1)
X = np.linspace(-8, 9, 4001)
W = X[1] - X[0]
p, q = P.pdf(X), Q.pdf(X)


def integral(f):
    return scipy.integrate.quad(f, -12, 12, limit=200)[0]


def laws(n=5):
    """Two laws on n points."""
    return (rng.dirichlet(np.ones(n)) for _ in range(2))


@equation(theory.value, 1)
def test_the_value_is_an_integral():  # (1)
    def D(x):
        return scipy.special.expit(0.3 - x)

    expected = integral(lambda x: P.pdf(x) * np.log(D(x)) + Q.pdf(x) * np.log(1 - D(x)))
    np.testing.assert_allclose(theory.value(p, q, D(X), W), expected, rtol=1e-8)
    assert theory.value(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 0.0]), 1) == 0  # 0 log 0 = 0


@equation(theory.best_discriminator, 2)
def test_the_best_discriminator_beats_all_others():  # (2)
    p, q = laws()
    grid = np.linspace(0.0005, 0.9995, 1000)
    best = [grid[np.argmax(a * np.log(grid) + b * np.log(1 - grid))] for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(theory.best_discriminator(p, q), best, atol=6e-4)
    np.testing.assert_allclose(theory.best_discriminator(np.array([3.0]), np.array([1.0])), [0.75], rtol=1e-12)
    np.testing.assert_array_equal(theory.best_discriminator(np.array([0.0, 2, 0]), np.array([1.0, 0, 0])), [0, 1, 0.5])


def test_its_logit_is_the_log_of_the_ratio():  # (2)
    D = theory.best_discriminator(p, q)
    middle = abs(X) < 3
    np.testing.assert_allclose(scipy.special.logit(D[middle]), (P.logpdf(X) - Q.logpdf(X))[middle])


@equation(theory.best_value, 3)
def test_the_best_value_is_the_jensen_shannon_divergence():  # (3)
    D = theory.best_discriminator(p, q)
    np.testing.assert_allclose(theory.best_value(p, q, W), theory.value(p, q, D, W), rtol=1e-7)

    def kl_to_mean(x, f):
        return f.pdf(x) * np.log(2 * f.pdf(x) / (P.pdf(x) + Q.pdf(x)))

    js = (integral(lambda x: kl_to_mean(x, P)) + integral(lambda x: kl_to_mean(x, Q))) / 2
    np.testing.assert_allclose(theory.best_value(p, q, W), -np.log(4) + 2 * js, rtol=1e-7)
    assert abs(theory.best_value(p, q, W) - (-np.log(4) + js)) > 0.1  # S2 4.12 as printed


def test_the_best_value_of_laws_with_thin_tails():  # (3); their tails are below the smallest normal number
    x = np.linspace(-16, 16, 3201)
    p, q = (scipy.stats.norm(m, 0.3).pdf(x) for m in (0, 0.1))
    assert theory.best_value(p, q, 0.01) == pytest.approx(theory.value(p, q, theory.best_discriminator(p, q), 0.01))
    assert theory.best_value(p, q, 0.01) == pytest.approx(-np.log(4), abs=0.03)


@given(st.integers(0, 10_000))
def test_the_value_is_least_where_the_laws_agree(seed):  # (3)
    p, q = np.random.default_rng(seed).dirichlet(np.ones(4), 2)
    assert theory.best_value(p, p, 1) == pytest.approx(-np.log(4))
    assert -np.log(4) < theory.best_value(p, q, 1) <= 0


@equation(theory.mixed, 4)
def test_mixed_points_are_one_or_the_other():  # (4)
    x, x_fake, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), np.array([[1], [0], [0], [1], [1], [0]])
    np.testing.assert_array_equal(theory.mixed(x, x_fake, y), np.where(y == 1, x, x_fake))


@equation(theory.classification_cost, 5)
def test_the_cost_is_a_classifiers_cross_entropy_and_minus_half_the_value():  # (5)
    p, q = laws()
    D = rng.uniform(0.1, 0.9, 5)
    cost = sum(weight / 2 * theory.classification_cost(D[[k]], np.array([y]))
               for y, law in ((1, p), (0, q)) for k, weight in enumerate(law))  # fmt: skip
    np.testing.assert_allclose(cost, -theory.value(p, q, D, 1) / 2)
    y = rng.integers(0, 2, (200_000, 1))
    x = rng.choice(5, (200_000, 1), p=p)
    x_fake = rng.choice(5, (200_000, 1), p=q)
    shown = theory.mixed(x, x_fake, y)
    assert theory.classification_cost(D[shown], y) == pytest.approx(cost, abs=0.005)


def game(q, D):
    """The discriminator's cost; the generator's is the negative."""
    return -theory.value(LAW, q, D, 1) / 2


LAW = np.array([0.5, 0.3, 0.2])


@equation(theory.discriminator_regret, 6)
@equation(theory.generator_regret, 7)
@given(st.integers(0, 10_000))
def test_regrets_by_trying_everything_else(seed):  # (6), (7), S2 4.1
    draws = np.random.default_rng(seed)
    q, D = draws.dirichlet(np.ones(3)), draws.uniform(0.1, 0.9, 3)
    ticks = np.linspace(0.005, 0.995, 199)
    best_d = sum(max(LAW[k] * np.log(ticks) + q[k] * np.log(1 - ticks)) for k in range(3))
    np.testing.assert_allclose(theory.discriminator_regret(LAW, q, D, 1), game(q, D) + best_d / 2, atol=3e-4)
    best_g = min(-game(np.eye(3)[k], D) for k in range(3))  # linear in q: least at a corner
    np.testing.assert_allclose(theory.generator_regret(q, D, 1), -game(q, D) - best_g, atol=1e-9)
    exact = theory.best_discriminator(LAW, q)
    np.testing.assert_allclose(theory.discriminator_regret(LAW, q, D, 1), game(q, D) - game(q, exact), atol=1e-9)


def test_nobody_gains_at_the_equilibrium_and_somebody_does_elsewhere():  # S2 4.1
    half = np.full(3, 0.5)
    assert theory.discriminator_regret(LAW, LAW, half, 1) == pytest.approx(0, abs=1e-12)
    assert theory.generator_regret(LAW, half, 1) == pytest.approx(0, abs=1e-12)
    corners = np.array([c for c in itertools.product(np.linspace(0, 1, 11), repeat=3) if abs(sum(c) - 1) < 1e-9])
    for q in corners:
        D = theory.best_discriminator(LAW, q)
        gains = theory.discriminator_regret(LAW, q, half, 1) + theory.generator_regret(q, half, 1)
        assert (gains > 1e-4) == (abs(q - LAW).max() > 1e-9)
        assert theory.generator_regret(q, half, 1) == pytest.approx(0, abs=1e-12)  # any q does against D = 1/2
        assert theory.generator_regret(q, D, 1) > 1e-4 or abs(q - LAW).max() < 1e-9


# ---- the Dirac-GAN --------------------------------------------------------------------------------------

sigma = scipy.special.expit
FIELDS = {  # by hand: theta' and psi' for theta, psi > 0
    "minimax": lambda t, s: (s * sigma(t * s), -t * sigma(t * s)),
    "non-saturating": lambda t, s: (s * sigma(-t * s), -t * sigma(t * s)),
    "maximum-likelihood": lambda t, s: (s * np.exp(t * s), -t * sigma(t * s)),
    "wasserstein": lambda t, s: (s, -t),
    "wasserstein-gp": lambda t, s: (s, -t - 20 * (s - 1)),
    "least-squares": lambda t, s: (-2 * s * (s * t - 0.5), -2 * t * (s * t + 0.5)),
    "dragan": lambda t, s: (s * sigma(t * s), -t * sigma(t * s) - 20 * (s - 1)),
    "began": lambda t, s: (-np.sign(t - s), -1.0),  # k = 0
}


@equation(theory.dirac_field, 8)
@pytest.mark.parametrize("name", LOSSES)
def test_the_dirac_field_by_hand(name):  # (8)
    for theta, psi in ((1.0, 0.4), (0.3, 2.0)):
        np.testing.assert_allclose(theory.dirac_field(theory.dirac(name, theta, psi)), FIELDS[name](theta, psi))


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "least-squares", "wasserstein"])
def test_the_equilibrium_of_the_dirac_game(name):
    np.testing.assert_allclose(theory.dirac_field(theory.dirac(name, 0.0, 0.0)), 0, atol=1e-15)


def radii(name, **options):
    loss = LOSSES[name](clip=9.0) if name == "wasserstein" else name
    path = theory.dirac_path(theory.dirac(loss, 1.0, 0.0, lr=0.1, **options), 300)
    return np.hypot(*path.T)


@pytest.mark.parametrize("name", ["minimax", "wasserstein"])
def test_simultaneous_steps_spiral_out_and_turns_stay_on_the_circle(name):
    out, stay = radii(name, simultaneous=True), radii(name)
    assert (np.diff(out) > 0).all() and out[-1] > 1.2
    assert 0.9 < stay.min() and stay.max() < 1.1


@pytest.mark.parametrize("name", ["non-saturating", "least-squares"])
def test_some_losses_are_drawn_inwards_slowly(name):
    r = radii(name)
    assert r[-1] < 0.75 and r[-1] > 0.05


def test_no_regret_at_the_solution_even_on_a_grid_that_misses_some_mass():
    p = np.array([0.0, 0.3, 0.5, 0.18])
    assert theory.discriminator_regret(p, p, np.full(4, 0.5), 1.0) == pytest.approx(0, abs=1e-12)

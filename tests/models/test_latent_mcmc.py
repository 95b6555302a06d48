"""Chains keep the law they are made for, and know what their draws are worth."""

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.models.latent import bayes, mcmc
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = np.stack([np.ones(12), np.linspace(-2, 2, 12)], 1)
Y = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1.0])
WIDTHS = np.array([1.2, 0.4, -0.3, 2.0, 0.9, 1.1])
LOGISTIC, NORMAL = bayes.Logistic(2, prior_std=2.0), bayes.MeanAndPrecision(prior_std=3.0, a=1.5, b=0.6)
MAKERS = {
    "Metropolis": (lambda **o: mcmc.Metropolis(LOGISTIC, step=(1.5, 2.0), **o), (X, Y)),
    "Hamiltonian": (lambda **o: mcmc.Hamiltonian(LOGISTIC, step=(0.6, 0.8), leaps=3, **o), (X, Y)),
    "Gibbs": (lambda **o: mcmc.Gibbs(NORMAL, **o), (WIDTHS,)),
}  # fmt: skip
each_chain = pytest.mark.parametrize("kind", list(MAKERS))


def made(kind, seed=0, device="cpu", **options):
    """A chain and its data."""
    make, data = MAKERS[kind]
    return make(rng=tg.random.Generator(seed, device=device), **options), data


def quiet():
    return Run(quiet=True)


def exact(kind):
    """The moments by quadrature."""
    box = (-4, 4, -6, 6) if kind == "Gibbs" else (-6, 6, -6, 10)
    ticks = [low + (high - low) * (np.arange(250) + 0.5) / 250 for low, high in (box[:2], box[2:])]
    theta = np.stack(np.meshgrid(*ticks), -1).reshape(-1, 2)
    target, data = (NORMAL, (WIDTHS,)) if kind == "Gibbs" else (LOGISTIC, (X, Y))
    return bayes.quadrature(target.log_joint(theta, *data), theta, 1.0)[1]


# ---- the equations --------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(0, 1000))
def test_the_law_is_kept_on_finitely_many_places(k, seed):  # (1), (2)
    draw = np.random.default_rng(seed)
    pi, proposal = draw.dirichlet(np.ones(k)), draw.dirichlet(np.ones(k), k) + 1e-6
    proposal /= proposal.sum(1, keepdims=True)
    K = mcmc.transition(pi, proposal)
    np.testing.assert_allclose(pi @ K, pi)
    np.testing.assert_allclose(K.sum(1), 1)
    traffic = pi[:, None] * K
    np.testing.assert_allclose(traffic, traffic.T, atol=1e-12)
    far = np.linalg.matrix_power(K, 4000)
    np.testing.assert_allclose(far, np.broadcast_to(pi, (k, k)), atol=1e-6)


@equation(mcmc.transition, 1, 2, 3)
@equation(mcmc.acceptance, 3)
def test_two_places_by_hand():  # (1), (2) and (3): pi = (1/4, 3/4), proposals as likely to stay as to go
    assert mcmc.acceptance(np.log(1 / 3)) == pytest.approx(1 / 3) and mcmc.acceptance(np.array(2.0)) == 1
    K = mcmc.transition(np.array([0.25, 0.75]), np.full((2, 2), 0.5))
    np.testing.assert_allclose(K, [[0.5, 0.5], [1 / 6, 5 / 6]])
    np.testing.assert_allclose(np.array([0.25, 0.75]) @ K, [0.25, 0.75])


@equation(mcmc.hamiltonian, 4)
@equation(mcmc.leapfrog, 5)
def test_a_ball_in_a_bowl():  # (4), (5): -log pi = theta²/2, whose ball goes round a circle
    theta, r = np.array([[1.0, -0.5]]), np.array([[0.3, 2.0]])
    after, rolls = mcmc.leapfrog(lambda at: -at, theta, r, 0.001, 1500)
    turn = np.array([[np.cos(1.5), np.sin(1.5)], [-np.sin(1.5), np.cos(1.5)]])
    np.testing.assert_allclose(np.stack([after[0], rolls[0]]), turn @ np.stack([theta[0], r[0]]), atol=1e-5)
    energy = mcmc.hamiltonian(-np.sum(theta**2, 1) / 2, r)
    np.testing.assert_allclose(energy, (1 + 0.25 + 0.09 + 4) / 2)
    np.testing.assert_allclose(mcmc.hamiltonian(-np.sum(after**2, 1) / 2, rolls), energy, rtol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 5))
def test_a_ball_can_be_rolled_back(seed, leaps):  # (5): the same way, with the momentum turned round
    draw = np.random.default_rng(seed)
    theta, r = draw.normal(size=(3, 2)), draw.normal(size=(3, 2))
    slope = lambda at: -np.sinh(at)
    there, rolls = mcmc.leapfrog(slope, theta, r, 0.1, leaps)
    back, turned = mcmc.leapfrog(slope, there, -rolls, 0.1, leaps)
    np.testing.assert_allclose(back, theta, atol=1e-9)
    np.testing.assert_allclose(turned, -r, atol=1e-9)


def test_areas_are_kept():  # (5): the map of (theta, r) has determinant 1
    def roll(state):
        after = mcmc.leapfrog(lambda at: -tg.sinh(at), state[:2][None], state[2:][None], 0.4, 3)
        return tg.concatenate([a[0] for a in after])

    assert np.linalg.det(tg.jacobian(roll, tg.tensor(rng.normal(size=4), requires_grad=True)).numpy()) == pytest.approx(
        1
    )


def test_one_leap_is_langevins():
    theta, r = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    np.testing.assert_allclose(mcmc.leapfrog(np.sin, theta, r, 0.3, 1)[0], theta + 0.045 * np.sin(theta) + 0.3 * r)


@equation(mcmc.mean_given_precision, 6)
@equation(mcmc.precision_given_mean, 7)
def test_conditional_laws_are_slices_of_the_joint():  # (6), (7)
    at, tau = np.linspace(-2, 3, 5), 1.7
    slices = NORMAL.log_joint(np.stack([at, np.full(5, np.log(tau))], 1), WIDTHS)
    mean, std = mcmc.mean_given_precision(WIDTHS, np.array([tau]), 3.0)
    np.testing.assert_allclose(np.diff(slices), np.diff(scipy.stats.norm.logpdf(at, mean, std)))
    taus = np.linspace(0.2, 4, 5)
    slices = NORMAL.log_joint(np.stack([np.full(5, 0.4), np.log(taus)], 1), WIDTHS) - np.log(taus)  # back to tau
    a, b = mcmc.precision_given_mean(WIDTHS, np.array([0.4]), 1.5, 0.6)
    np.testing.assert_allclose(np.diff(slices), np.diff(scipy.stats.gamma.logpdf(taus, a, scale=1 / b)))


@equation(mcmc.potential_scale_reduction, 9)
@equation(mcmc.autocorrelation, 9)
@equation(mcmc.effective_sample_size, 8)
def test_the_worth_of_draws_by_hand():  # (8) and (9), written out
    draws = np.cumsum(rng.normal(size=(20, 3, 1)), 0) * 0.3 + rng.normal(size=(20, 3, 1))
    chains = [draws[:, j, 0] for j in range(3)]
    W, B = np.mean([np.var(c, ddof=1) for c in chains]), np.var([c.mean() for c in chains], ddof=1)
    overall = 19 / 20 * W + B
    np.testing.assert_allclose(mcmc.potential_scale_reduction(draws), [np.sqrt(overall / W)])
    C = [np.mean([np.sum((c - c.mean())[: 20 - t] * (c - c.mean())[t:]) / 20 for c in chains]) for t in range(20)]
    rho = 1 - (W - np.array(C)) / overall
    np.testing.assert_allclose(mcmc.autocorrelation(draws)[:, 0], rho)
    total, last, rho[0] = -1.0, np.inf, 1
    for k in range(10):
        pair = min(rho[2 * k] + rho[2 * k + 1], last)
        if pair <= 0:
            break
        total, last = total + 2 * pair, pair
    np.testing.assert_allclose(mcmc.effective_sample_size(draws), [60 / total])


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_the_worth_of_draws_of_a_chain_that_is_known(memory):  # (8): rho_t = memory^t
    noise, x = rng.normal(size=(5000, 8)), [rng.normal(size=8)]
    for e in noise[1:]:
        x.append(memory * x[-1] + np.sqrt(1 - memory**2) * e)
    worth = mcmc.effective_sample_size(np.array(x)[..., None])[0]
    assert worth == pytest.approx(40_000 * (1 - memory) / (1 + memory), rel=0.15)


def test_chains_that_have_not_met_are_noticed():  # (9)
    draws = rng.normal(size=(500, 4, 2))
    assert (mcmc.potential_scale_reduction(draws) < 1.01).all()
    draws[:, 0, 1] += 3
    reduction, worth = mcmc.potential_scale_reduction(draws), mcmc.effective_sample_size(draws)
    assert reduction[0] < 1.01 and reduction[1] > 1.2 and worth[1] < 20 < 1000 < worth[0]


# ---- the chains -----------------------------------------------------------------------------------------


@each_chain
def test_draws_have_the_posteriors_moments(kind):  # the row's promise, on a small scale
    chain, data = made(kind, chains=32, warm_up=50)
    chain.fit(*data, steps=450, run=quiet())
    means, stds = bayes.error(chain.moments(), exact(kind))
    noise = 1 / np.sqrt(mcmc.effective_sample_size(chain.draws).min())
    assert means < 4.5 * noise < 0.25 and stds < 6 * noise
    assert (mcmc.potential_scale_reduction(chain.draws) < 1.05).all()


def test_a_wrong_acceptance_is_caught(monkeypatch):
    """The planted error: a sampler that takes every proposal does not pass the test above."""
    monkeypatch.setattr(mcmc, "acceptance", lambda log_ratio: np.ones_like(log_ratio))
    with pytest.raises(AssertionError):
        test_draws_have_the_posteriors_moments("Metropolis")


@each_chain
def test_same_seed_same_bits_and_looking_changes_nothing(kind):
    found = []
    for seed in (0, 0, 1):
        chain, data = made(kind, seed, warm_up=1)
        chain.fit(*data, steps=3, run=quiet())
        found.append((chain, chain.sample(4, rng=tg.random.Generator(5))))
        chain.fit(*data, steps=3, run=quiet())
    np.testing.assert_array_equal(found[0][0].draws, found[1][0].draws)
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][0].draws.shape == (5, 8, 2) and not np.array_equal(found[0][0].draws, found[2][0].draws)


@each_chain
def test_killed_and_resumed_is_the_straight_run(kind, tmp_path):
    chain, data = made(kind, warm_up=0)
    chain.fit(*data, steps=12, run=Run(tmp_path / "a", quiet=True))
    dying, run = made(kind, warm_up=0)[0], Run(tmp_path / "b", quiet=True)
    for step in run.steps(dying, 12, save_every=5):
        run.log(**dying.update(*dying.target.checked("", dying.positions, *data)))
        if step == 8:
            break
    again = made(kind, seed=3, warm_up=0)[0].fit(*data, steps=12, run=Run.resume(tmp_path / "b", quiet=True))
    np.testing.assert_array_equal(chain.draws, again.draws)
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@each_chain
def test_the_same_chain_on_every_device(kind, device):
    expected, data = made(kind, warm_up=0)
    chain, _ = made(kind, device=device, warm_up=0)
    for one in (chain, expected):
        one.fit(*data, steps=3, run=quiet())
    assert chain.positions.device == device and isinstance(chain.draws, np.ndarray)
    np.testing.assert_allclose(chain.draws, expected.draws, rtol=1e-6)
    assert backend.device_of(chain.trace.places[0]) == device


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"Metropolis: step is \(1, 2, 3\); a positive number"):
        mcmc.Metropolis(LOGISTIC, step=(1, 2, 3))
    with pytest.raises(ValueError, match="Hamiltonian: leaps is 0"):
        mcmc.Hamiltonian(LOGISTIC, leaps=0)
    with pytest.raises(ValueError, match="Metropolis: chains is 0"):
        mcmc.Metropolis(LOGISTIC, chains=0)
    with pytest.raises(ValueError, match=r"Metropolis: 0 steps were taken, of which the first 200 .* \(fit\)"):
        mcmc.Metropolis(LOGISTIC).sample(3)


def test_a_chain_that_stands_still_is_worth_nothing():
    assert (mcmc.effective_sample_size(np.full((1000, 3, 1), 3.0)) <= 3).all()  # one a chain, at most
    with pytest.raises(ValueError, match="at least two draws are wanted"):
        mcmc.effective_sample_size(np.zeros((1, 2, 1)))

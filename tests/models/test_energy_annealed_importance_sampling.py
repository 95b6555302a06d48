"""Annealed importance sampling against enumeration, and each of its equations by hand."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.energy import RBM
from tinygen.models.energy import annealed_importance_sampling as chapter
from tinygen.models.energy.annealed_importance_sampling import Estimate
from tinygen.models.energy.rbm import free_energy, log_partition

rng = np.random.default_rng(0)
N, M = 5, 4
MEAN = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


def machine(seed=0, scale=1.0, n=N, m=M, device="cpu"):
    """A machine in float64 with weights and biases of this size."""
    model = RBM(n, m, rng=tg.random.Generator(seed, device=device)).to(dtype="float64")
    r = np.random.default_rng(seed)
    for p in model.parameters():
        p.assign(r.normal(size=p.shape) * scale)
    return model


def parameters(model):
    return [p.numpy() for p in model.parameters()]


@equation(chapter.log_partition_of_base, 2)
def test_partition_function_of_the_base():  # (2)
    base = rng.normal(size=N)
    expected = log_partition(np.zeros((N, M)), base, np.zeros(M))
    assert chapter.log_partition_of_base(base, M) == pytest.approx(expected, rel=1e-12)


@equation(chapter.log_unnormalised, 3)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_every_machine_on_the_path_is_a_boltzmann_machine(beta):  # (3)
    W, b, c = parameters(machine())
    v, base = rng.integers(0, 2, (7, N)).astype(float), rng.normal(size=N)
    expected = -free_energy(v, beta * W, (1 - beta) * base + beta * b, beta * c)
    np.testing.assert_allclose(chapter.log_unnormalised(v, c + v @ W, beta, base, b), expected)
    ratio = chapter.log_ratio(v, c + v @ W, 0.2, beta, base, b)
    np.testing.assert_allclose(ratio, expected - chapter.log_unnormalised(v, c + v @ W, 0.2, base, b), atol=1e-12)


@equation(chapter.anneal, 4)
def test_weights_and_steps_by_hand():  # (4)
    W, b, c = parameters(machine())
    base, betas = rng.normal(size=N), [0.0, 0.4, 0.7, 1.0]
    v = start = rng.integers(0, 2, (6, N)).astype(float)
    found, end = chapter.anneal(start, betas, base, W, b, c, tg.random.Generator(3))
    draws, log_w = tg.random.Generator(3), np.zeros(6)
    for before, after in itertools.pairwise(betas):
        now, then = (dict(W=k * W, b=(1 - k) * base + k * b, c=k * c) for k in (before, after))
        log_w += free_energy(v, **now) - free_energy(v, **then)
        h = draws.bernoulli(scipy.special.expit(then["c"] + v @ then["W"]))
        v = draws.bernoulli(scipy.special.expit(then["b"] + h @ then["W"].T)).astype(float)
    np.testing.assert_allclose(found, log_w, rtol=1e-9)
    np.testing.assert_array_equal(end, v)


@equation(chapter.log_partition, 1, 5)
def test_a_path_of_one_step_is_importance_sampling():  # (1)
    model = machine()
    W, b, c = parameters(model)
    found = chapter.log_partition(model, chains=50, temperatures=1, mean=MEAN, rng=tg.random.Generator(4))
    v = tg.random.Generator(4).bernoulli(MEAN, (50, N)).astype(float)
    log_p_a = scipy.stats.bernoulli.logpmf(v, MEAN).sum(1)
    expected = scipy.special.logsumexp(-free_energy(v, W, b, c) - log_p_a) - np.log(50)
    assert found.log_z == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperatures", [1, 3, 20])
def test_the_estimate_of_z_is_unbiased_for_every_path(temperatures):  # (5)
    model = machine(1)
    found = chapter.log_partition(model, chains=40_000, temperatures=temperatures, rng=tg.random.Generator(5))
    w = np.exp(found.log_weights + chapter.log_partition_of_base(np.zeros(N), M) - model.log_z())  # of mean 1
    assert abs(w.mean() - 1) < 4 * scipy.stats.sem(w)
    assert scipy.stats.sem(w) < 0.05  # so that the test means something


@equation(chapter.log_partition, 9)
@pytest.mark.parametrize("temperatures", [1, 20])
def test_backwards_the_estimate_of_one_over_z_is_unbiased(temperatures):  # (9)
    model, r = machine(1), np.random.default_rng(6)
    every = np.array(list(itertools.product([0.0, 1.0], repeat=N)))
    start = every[r.choice(len(every), 20_000, p=np.exp(model.log_prob(every)))]
    found = chapter.log_partition(model, temperatures=temperatures, start=start, rng=tg.random.Generator(7))
    log_z_base = chapter.log_partition_of_base(np.zeros(N), M)
    w = np.exp(found.log_weights + model.log_z() - log_z_base)
    assert found.backwards and abs(w.mean() - 1) < 4 * scipy.stats.sem(w)
    assert found.log_z == pytest.approx(log_z_base - np.log(np.exp(found.log_weights).mean()), rel=1e-12)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), m=st.integers(1, 6), scale=st.floats(0, 1))
def test_the_truth_is_within_the_error_bars(seed, n, m, scale):  # (5) to (8)
    model = machine(seed, scale, n, m)
    found = chapter.log_partition(model, chains=300, temperatures=60, rng=tg.random.Generator(seed))
    assert abs(found.log_z - model.log_z()) <= 6 * found.error + 1e-9  # of any number of machines, not of one
    assert found.error < 0.1 and 1 <= found.effective_chains <= 300 * (1 + 1e-12)


def test_few_steps_are_too_low_forwards_and_too_high_backwards():  # the remarks on (5) and (9)
    model = machine(2, 3.0, 8, 6)
    every = np.array(list(itertools.product([0.0, 1.0], repeat=8)))
    start = every[np.random.default_rng(0).choice(256, 10 * 200, p=np.exp(model.log_prob(every)))].reshape(200, 10, 8)
    ahead, back = [], []
    for i, draws in enumerate(tg.random.Generator(8).spawn(200)):
        ahead.append(chapter.log_partition(model, chains=10, temperatures=3, rng=draws).log_z)
        back.append(chapter.log_partition(model, start=start[i], temperatures=3, rng=draws).log_z)
    assert np.mean(ahead) < model.log_z() - 0.2 and np.mean(back) > model.log_z() + 0.2


LOG_W = np.array([700.0, 701.5, 699.0, 702.0]) * 3  # far beyond what exp can hold


@equation(Estimate.error, 6)
def test_error_is_that_of_a_mean():  # (6)
    w = np.exp(LOG_W - 2100)
    assert Estimate(0.0, LOG_W).error == pytest.approx(scipy.stats.sem(w) / w.mean(), rel=1e-9)
    assert Estimate(0.0, LOG_W[:1]).error == np.inf


@equation(Estimate.interval, 7)
def test_interval_is_three_errors_of_z():  # (7)
    log_w = np.array([0.1, -0.1, 0.0, 0.05])
    r = Estimate(2.0, log_w).error
    expected = [np.log(np.exp(2.0) * (1 - 3 * r)), np.log(np.exp(2.0) * (1 + 3 * r))]
    np.testing.assert_allclose(Estimate(2.0, log_w).interval, expected)
    np.testing.assert_allclose(Estimate(2.0, log_w, True).interval, [4 - expected[1], 4 - expected[0]])
    assert Estimate(2.0, LOG_W).interval[0] == -np.inf


@equation(Estimate.effective_chains, 8)
def test_effective_chains():  # (8)
    w = np.exp(LOG_W - 2100)
    assert Estimate(0.0, LOG_W).effective_chains == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-9)
    assert Estimate(0.0, np.full(9, -3.0)).effective_chains == pytest.approx(9)


def test_path():
    betas = chapter.inverse_temperatures(14_500)  # Salakhutdinov and Murray's
    assert (betas[0], betas[500], betas[4500], betas[-1]) == pytest.approx((0, 0.5, 0.9, 1))
    assert (np.diff(betas) > 0).all() and len(betas) == 14_501
    assert chapter.inverse_temperatures(1) == [0, 1]
    with pytest.raises(ValueError, match="n is 0"):
        chapter.inverse_temperatures(0)


def test_single_precision_agrees_with_double():
    model = machine(3, 0.5, 30, 12)
    exact = model.log_z()
    found = chapter.log_partition(model.to(dtype="float32"), chains=200, temperatures=500, rng=tg.random.Generator(0))
    assert found.log_weights.dtype == np.float64 and abs(found.log_z - exact) < 4 * found.error < 0.2


def test_bad_input_is_refused():
    model = machine()
    with pytest.raises(ValueError, match="chains is 0"):
        chapter.log_partition(model, chains=0)
    with pytest.raises(ValueError, match=r"RBM: x has shape \(1, 3\); rows of 5"):
        chapter.log_partition(model, mean=np.ones(3))
    with pytest.raises(ValueError, match="no rows"):
        chapter.log_partition(model, start=np.ones((0, 5)))


def test_on_the_stand_in_for_a_gpu(device):
    model = machine(device=device)
    options = dict(chains=20, temperatures=5, mean=MEAN)
    found = chapter.log_partition(model, **options, rng=tg.random.Generator(1, device=device))
    expected = chapter.log_partition(machine(), **options, rng=tg.random.Generator(1))
    np.testing.assert_allclose(found.log_weights, expected.log_weights, rtol=1e-9)
    start = rng.integers(0, 2, (6, N)).astype(float)
    assert np.isfinite(chapter.log_partition(model, start=start, temperatures=3).log_z)

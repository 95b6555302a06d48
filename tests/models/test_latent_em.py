"""EM's equations on tables small enough to write out, and what every model that is learnt by EM promises.

A chapter that is learnt by EM adds a line to `MODELS`, and is then held to all of it.
"""

import doctest
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import (
    EM,
    CategoricalHMM,
    FactorAnalysis,
    GaussianHMM,
    GaussianMixture,
    LatentDirichletAllocation,
    Posterior,
    ProbabilisticPCA,
)  # fmt: skip
from tinygen.models.latent import em as chapter
from tinygen.runs import Run, read_metrics

rng = np.random.default_rng(0)


def quiet():
    return Run(quiet=True)


# ---- the equations, by enumeration ----------------------------------------------------------------------


def tables(seed=0):
    """Two laws of (x, z), and what was seen: log p(x_i, z), (5, 3), of each; every q(z) summed over one by one."""
    draw = np.random.default_rng(seed)
    p, p_before = (np.log(draw.dirichlet(np.ones(12)).reshape(4, 3)) for _ in range(2))
    x = np.array([0, 3, 1, 1, 2])
    return p[x], p_before[x]


def by_hand(log_joint):
    """p(z|x) and log p(x) as lists, by Bayes' rule."""
    joint = np.exp(log_joint)
    p_x = [sum(row) for row in joint]
    return [[v / total for v in row] for row, total in zip(joint, p_x, strict=True)], [math.log(v) for v in p_x]


def over(q, f):
    """The sum of q_i(z) f(i, z)."""
    return sum(v * f(i, z) for i, row in enumerate(q) for z, v in enumerate(row))


@equation(chapter.posterior, 1)
@equation(chapter.expected_log_joint, 1)
def test_q_is_the_mean_complete_log_likelihood():  # (1), S4 eq. 72
    new, old = tables()
    q, _ = by_hand(old)
    np.testing.assert_allclose(chapter.posterior(old), q, rtol=1e-12)
    expected = over(q, lambda i, z: new[i, z])
    np.testing.assert_allclose(chapter.expected_log_joint(chapter.posterior(old), new), expected, rtol=1e-12)


@equation(chapter.expected_log_posterior, 3)
@equation(chapter.log_likelihood, 3)
def test_q_is_r_and_the_likelihood():  # (3), S4 eqs. 74-76
    new, old = tables()
    q, (p_z, log_p) = by_hand(old)[0], by_hand(new)
    R = chapter.expected_log_posterior(chapter.posterior(old), new)
    np.testing.assert_allclose(R, over(q, lambda i, z: math.log(p_z[i][z])), rtol=1e-12)
    np.testing.assert_allclose(chapter.log_likelihood(new), sum(log_p), rtol=1e-12)
    np.testing.assert_allclose(over(q, lambda i, z: new[i, z]), R + chapter.log_likelihood(new), rtol=1e-12)


@equation(chapter.rise, 4)
def test_a_rise_has_two_parts_and_one_is_free():  # (4), S4 eqs. 77-82
    for seed in range(20):
        new, old = tables(seed)
        (q, before), (p_z, after) = by_hand(old), by_hand(new)
        gain, free = chapter.rise(new, old)
        divergence = over(q, lambda i, z, q=q, p_z=p_z: math.log(q[i][z] / p_z[i][z]))
        np.testing.assert_allclose(free, divergence, rtol=1e-9)
        np.testing.assert_allclose(gain + free, sum(after) - sum(before), rtol=1e-9)
        assert free >= 0  # S4 eq. 81


@equation(chapter.bound, 5)
@equation(chapter.gap, 6)
def test_the_bound_misses_the_likelihood_by_a_divergence():  # (5) and (6), S4 eq. 88
    log_joint, _ = tables()
    p_z, log_p = by_hand(log_joint)
    for alpha in (0.3, 1.0, 5.0):
        q = rng.dirichlet(np.full(3, alpha), 5)
        expected = over(q, lambda i, z, q=q: log_joint[i, z] - math.log(q[i, z]))
        np.testing.assert_allclose(chapter.bound(q, log_joint), expected, rtol=1e-9)
        expected = over(q, lambda i, z, q=q: math.log(q[i, z] / p_z[i][z]))
        np.testing.assert_allclose(chapter.gap(q, log_joint), expected, rtol=1e-9)
        np.testing.assert_allclose(chapter.bound(q, log_joint) + chapter.gap(q, log_joint), sum(log_p), rtol=1e-9)
        assert chapter.gap(q, log_joint) > 0
    closed = chapter.posterior(log_joint)
    np.testing.assert_allclose(chapter.bound(closed, log_joint), sum(log_p), rtol=1e-12)
    assert abs(chapter.gap(closed, log_joint)) < 1e-12


def test_a_value_that_q_rules_out_has_no_say():  # (1) and (5), 0 log 0 = 0
    q, log_joint = np.array([[1.0, 0.0]]), np.array([[-2.0, -np.inf]])
    assert chapter.expected_log_joint(q, log_joint) == chapter.bound(q, log_joint) == -2


# ---- models ---------------------------------------------------------------------------------------------


class Coins(EM):
    """Each example picks one of m coins unseen and tosses it as often as told: x heads. The smallest model there is."""

    def __init__(self, m, tosses, **options):
        super().__init__(**options)
        self.tosses = tosses
        for name in ("weights", "p"):
            self.register_buffer(name, tg.zeros(m, dtype="float64", device=self.rng.device))

    def start(self, x):
        draws = self.rng.uniform((2, *self.p.shape), 0.2, 0.8, dtype="float64")
        self.weights.assign(draws[0] / draws[0].sum())
        self.p.assign(draws[1])

    def logs(self):
        """log of the weights and of the chances of heads and tails; a weight that has become 0 counts as very small."""
        return tg.log(tg.maximum(self.weights.data, 1e-300)), tg.log(self.p.data), tg.log(1 - self.p.data)

    def log_joint(self, x):
        log_weights, log_p, log_not_p = self.logs()
        return log_weights + x[:, None] * log_p + (self.tosses - x[:, None]) * log_not_p

    def e_step(self, x):
        q = chapter.posterior(self.log_joint(x))
        return Posterior((q.sum(0), x @ q), chapter.bound(q, self.log_joint(x) * 0))

    def m_step(self, statistics):
        picked, heads = statistics
        self.weights.assign(picked / picked.sum())
        share = heads / (self.tosses * tg.maximum(picked, 1e-300))
        self.p.assign(tg.clip(share, 1e-6, 1 - 1e-6))  # the best within these limits

    def expected_log_joint(self, statistics):
        (picked, heads), (log_weights, log_p, log_not_p) = statistics, self.logs()
        return (picked * log_weights + heads * log_p + (self.tosses * picked - heads) * log_not_p).sum()

    def checked(self, x):
        return tg.tensor(x, dtype="float64", device=self.p.device).data


class HardCoins(Coins):
    """The same with a q that must settle for one coin: a family without the posterior, so the bound is all there is."""

    exact = False

    def e_step(self, x):
        best = self.log_joint(x).argmax(1)
        q = (best[:, None] == np.arange(len(self.p))).astype(float)
        return Posterior((q.sum(0), x @ q), 0.0)


class Problem(NamedTuple):
    """Data, and two models of one kind with different parameters, started."""

    model: EM
    other: EM
    x: Any
    log_likelihood: Callable  # of a model, by other means than the chapter's


def pair(make, x):
    """Two such models, each with its own start."""
    found = []
    for seed in (0, 1):
        model = make(tg.random.Generator(seed))
        model.begin(model.checked(x))
        found.append(model)
    return *found, found[0].checked(x)


def coins(kind):
    """Up to four coins, 1 to 20 tosses, 3 to 30 examples."""

    def problem(draw):
        tosses, m = int(draw.integers(1, 21)), int(draw.integers(1, 5))
        x = draw.binomial(tosses, draw.uniform(0.1, 0.9, draw.integers(3, 31)))

        def log_likelihood(model):
            orders = np.log(scipy.special.comb(tosses, x))[:, None]
            each = scipy.stats.binom.logpmf(x[:, None], tosses, model.p.numpy()) - orders
            return scipy.special.logsumexp(each, axis=1, b=model.weights.numpy()).sum()

        return Problem(*pair(lambda rng: kind(m, tosses, tol=0, rng=rng), x), log_likelihood)

    return problem


def gaussian_mixture(covariance):
    """Clouds of any shape, the data on any scale; without reg_covar, with which there is no proof."""

    def problem(draw):
        d, m, n = draw.integers(1, 4), draw.integers(1, 5), draw.integers(25, 80)
        shapes = draw.normal(size=(m, d, d))
        x = np.einsum("nij,nj->ni", shapes[draw.integers(0, m, n)], draw.normal(size=(n, d)))
        x = (x + 2 * draw.normal(size=(m, d))[draw.integers(0, m, n)]) * 10.0 ** draw.integers(-3, 4)
        make = lambda rng: GaussianMixture(int(d), int(m), covariance=covariance, start="random", reg_covar=0, tol=0,
                                           rng=rng)  # fmt: skip

        def log_likelihood(model):
            matrix = {"full": np.array, "tied": np.array, "diag": np.diag, "spherical": lambda v: v * np.eye(d)}
            values = [model.covariances.numpy()] * m if covariance == "tied" else model.covariances.numpy()
            sigma = map(matrix[covariance], values)
            laws = [scipy.stats.multivariate_normal(*law) for law in zip(model.means.numpy(), sigma, strict=True)]
            each = np.stack([law.logpdf(x).reshape(-1) for law in laws], 1)
            return scipy.special.logsumexp(each, axis=1, b=model.weights.numpy()).sum()

        return Problem(*pair(make, x), log_likelihood)

    return problem


def hidden_markov(gaussian):
    """Up to three states, sequences short enough to sum over all paths, some of a single observation."""

    def problem(draw):
        m, d = int(draw.integers(1, 4)), int(draw.integers(1, 4))
        lengths = draw.integers(1, 6, draw.integers(8, 16))
        if gaussian:
            x = [2 * draw.normal(size=(m, d))[draw.integers(0, m, T)] + draw.normal(size=(T, d)) for T in lengths]
            make = lambda rng: GaussianHMM(d, m, covariance="diag", reg_covar=0, tol=0, rng=rng)
        else:
            x = [draw.integers(0, d, T) for T in lengths]
            make = lambda rng: CategoricalHMM(d, m, tol=0, rng=rng)

        def emission(model, s):
            if not gaussian:
                return model.emissions.numpy()[:, s].T
            laws = scipy.stats.norm(model.means.numpy(), np.sqrt(model.covariances.numpy()))
            return laws.pdf(s[:, None]).prod(2)

        def log_likelihood(model):
            pi, A, found = model.initial.numpy(), model.transitions.numpy(), 0.0
            for s in x:
                b, p = emission(model, s), 0.0
                for z in itertools.product(range(m), repeat=len(s)):
                    p += (
                        pi[z[0]] * np.prod([A[i, j] for i, j in itertools.pairwise(z)]) * b[np.arange(len(s)), z].prod()
                    )
                found += math.log(p)
            return found

        return Problem(*pair(make, x), log_likelihood)

    return problem


def linear_gaussian(kind):
    """A plane and noise, the data on any scale."""

    def problem(draw):
        d = int(draw.integers(2, 7))
        k, n = int(draw.integers(1, d)), int(draw.integers(d + 5, 60))
        x = draw.normal(size=(n, k)) @ draw.normal(size=(k, d)) + draw.normal(size=(n, d)) * draw.uniform(0.3, 2, d)
        x = (x + draw.normal(size=d)) * 10.0 ** draw.integers(-3, 4)

        def log_likelihood(model):
            W, psi = model.loadings.numpy(), np.broadcast_to(model.noise.numpy(), d)
            return scipy.stats.multivariate_normal(model.mean.numpy(), W @ W.T + np.diag(psi)).logpdf(x).sum()

        return Problem(*pair(lambda rng: kind(d, k, tol=0, rng=rng), x), log_likelihood)

    return problem


def documents(draw):
    """A few words of up to three topics, so that their topics can be summed over one by one."""
    m, v, alpha = int(draw.integers(1, 4)), int(draw.integers(2, 6)), float(draw.uniform(1, 3))
    x = draw.multinomial(4, draw.dirichlet(np.ones(v)), draw.integers(3, 8))
    make = lambda rng: LatentDirichletAllocation(v, m, alpha=alpha, eta=0, sweeps=2000, sweep_tol=1e-12, tol=0, rng=rng)

    def log_likelihood(model):
        beta, found = model.topics, 0.0
        for words in (np.repeat(np.arange(v), row) for row in x):
            terms = []
            for z in itertools.product(range(m), repeat=len(words)):
                shares = math.lgamma(m * alpha) - math.lgamma(m * alpha + len(z))
                shares += sum(math.lgamma(alpha + c) - math.lgamma(alpha) for c in np.bincount(z, minlength=m))
                terms.append(math.exp(shares) * np.prod(beta[list(z), words]))
            found += math.log(sum(terms))
        return found

    return Problem(*pair(make, x), log_likelihood)


#: a name, and a function that makes a Problem from a NumPy generator; add yours
MODELS = {
    "coins": coins(Coins),
    "coins, one for each example": coins(HardCoins),
    "hidden Markov, symbols": hidden_markov(gaussian=False),
    "hidden Markov, Gaussian": hidden_markov(gaussian=True),
    **{f"Gaussian mixture, {kind}": gaussian_mixture(kind) for kind in ("full", "tied", "diag", "spherical")},
    "latent Dirichlet allocation": documents,
    "probabilistic PCA": linear_gaussian(ProbabilisticPCA),
    "factor analysis": linear_gaussian(FactorAnalysis),
}
each_model = pytest.mark.parametrize("name", MODELS)
drawn = given(seed=st.integers(0, 2**32 - 1))


def iterate(model, x, steps):
    """The bound after the E step and after the M step of each iteration; a collapse may end it with a refusal."""
    for _ in range(steps):
        try:
            yield [float(value) for value in model.update(x).values()]
        except ValueError as refusal:
            assert "singular" in str(refusal)
            return


@each_model
@drawn
def test_the_likelihood_never_falls(name, seed):  # S4 eq. 82; of a model that is not exact, the bound
    model, _, x, _ = MODELS[name](np.random.default_rng(seed))
    before = -math.inf
    for closed, raised in iterate(model, x, 30):
        slack = 1e-9 * (1 + abs(closed))
        assert raised >= closed - slack and closed >= before - slack
        before = raised


@each_model
@drawn
def test_after_an_e_step_the_bound_is_the_likelihood(name, seed):  # (6) with no gap
    model, _, x, log_likelihood = MODELS[name](np.random.default_rng(seed))
    for _ in itertools.chain([0], iterate(model, x, 3)):
        found, expected = float(model.bound(model.e_step(x))), log_likelihood(model)
        if model.exact:
            assert found == pytest.approx(expected, rel=1e-8, abs=1e-8)
        else:
            assert found <= expected + 1e-8


@each_model
@drawn
def test_any_other_q_gives_a_lower_bound(name, seed):  # (6): the q of other parameters
    model, other, x, log_likelihood = MODELS[name](np.random.default_rng(seed))
    q, own = other.e_step(x), model.e_step(x)
    slack = 1e-8 * (1 + abs(float(model.bound(own))))
    assert float(model.bound(q)) <= float(model.bound(own)) + slack
    assert float(model.bound(q)) <= log_likelihood(model) + slack


@each_model
@drawn
def test_no_other_parameters_have_a_larger_q(name, seed):  # (2), against parameters of other iterations
    model, other, x, _ = MODELS[name](np.random.default_rng(seed))
    q = model.e_step(x)
    try:
        model.m_step(q.statistics)
    except ValueError as refusal:
        assert "singular" in str(refusal)
        return
    best = float(model.expected_log_joint(q.statistics))
    for _ in itertools.chain([0], iterate(other, x, 5)):
        assert float(other.expected_log_joint(q.statistics)) <= best + 1e-9 * (1 + abs(best))


def test_the_property_notices_an_m_step_that_is_wrong():  # the checks above could fail
    class Careless(Coins):
        def m_step(self, statistics):
            super().m_step(statistics)
            self.p.assign(0.2 + 0.6 * self.p.data)

    model = Careless(2, 10, tol=0, rng=tg.random.Generator(0))
    model.load_state_dict(fitted().state_dict())
    found = [closed for closed, _ in iterate(model, model.checked(HEADS), 5)]
    assert min(np.diff(found)) < -1e-3


def test_a_bound_that_rises_is_not_a_likelihood_that_rises():  # variational EM, S4 eqs. 95-102
    fallen = []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        model, _, x, log_likelihood = MODELS["coins, one for each example"](draw)
        reached = [log_likelihood(model) for _ in itertools.chain([0], iterate(model, x, 8))]
        fallen.append(min(np.diff(reached)))
    assert min(fallen) < -1e-2
    assert "bound" in model.update(x) and "log_likelihood" in fitted().update(fitted().checked(HEADS))


# ---- the loop -------------------------------------------------------------------------------------------

HEADS = np.array([5, 9, 8, 4, 7])  # of ten tosses each (Do and Batzoglou 2008)


def fitted(steps=12, run=None, seed=0, **options):
    model = Coins(2, 10, **{"tol": 0, "rng": tg.random.Generator(seed), **options})
    return model.fit(HEADS, steps=steps, run=run or quiet())


@equation(EM.update, 2)
@equation(EM.bound, 5)
def test_an_iteration_by_hand():  # (2), and both numbers of (5) that it gives
    model = fitted(steps=1)
    joint = np.exp(model.log_joint(model.checked(HEADS)))
    log_p = np.log(joint.sum(1))
    q = joint / joint.sum(1, keepdims=True)
    now = model.update(model.checked(HEADS))
    np.testing.assert_allclose(now["log_likelihood"], log_p.mean(), rtol=1e-12)
    np.testing.assert_allclose(model.weights.numpy(), q.mean(0), rtol=1e-12)
    np.testing.assert_allclose(model.p.numpy(), HEADS @ q / (10 * q.sum(0)), rtol=1e-12)
    raised = np.sum(q * (model.log_joint(model.checked(HEADS)) - np.log(q))) / 5
    np.testing.assert_allclose(now["raised"], raised, rtol=1e-12)
    own = model.e_step(model.checked(HEADS))
    np.testing.assert_allclose(model.bound(own), np.log(np.exp(model.log_joint(HEADS)).sum(1)).sum(), rtol=1e-12)


def test_it_stops_where_hardly_anything_changes(tmp_path):
    model = fitted(steps=60, tol=1e-4, run=Run(tmp_path / "a", quiet=True))
    found = np.diff(read_metrics(tmp_path / "a" / "metrics.csv")["log_likelihood"])
    assert model.converged and len(found) < 50 and abs(found[-1]) < 1e-4 and (abs(found[:-1]) >= 1e-4).all()
    longer = fitted(steps=30, tol=0)
    assert not longer.converged
    before = longer.p.numpy()
    longer.tol = 1e-3
    longer.fit(HEADS, steps=5, run=quiet())  # goes on from where it is
    assert longer.converged and abs(longer.p.numpy() - before).max() < 0.01


@pytest.mark.parametrize("stop", [3, 9])  # before it has converged, and after
def test_killed_and_resumed_is_the_straight_run(tmp_path, stop):
    options = dict(tol=3e-3, n_init=3)
    straight = fitted(steps=20, run=Run(tmp_path / "a", quiet=True), **options)
    run = Run(tmp_path / "b", quiet=True)
    model = Coins(2, 10, rng=tg.random.Generator(0), **options)
    x = model.checked(HEADS)
    for step in run.steps(model, 20, save_every=2):
        if not model.started:
            model.begin(x)
        if not model.converged:
            run.log(**model.update(x))
        if step == stop:
            break
    resumed = fitted(steps=20, seed=4, run=Run.resume(tmp_path / "b", quiet=True), **options)
    assert straight.converged and resumed.converged
    for file in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_several_starts_end_no_lower():
    x = [1, 1, 9, 9, 5, 5, 2, 8]
    reached = []
    for n_init in (1, 20):
        model = Coins(3, 10, tol=0, n_init=n_init, rng=tg.random.Generator(5)).fit(x, steps=3, run=quiet())
        reached.append(float(model.bound(model.e_step(model.checked(x)))))
    assert reached[1] > reached[0] + 0.01


def test_parts_of_the_data_add_up():
    model = fitted(steps=2)
    x = model.checked(HEADS)
    whole, parts = model.e_step(x), chapter.total(model.e_step(part) for part in (x[:2], x[2:4], x[4:]))
    for a, b in zip(whole.statistics, parts.statistics, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(whole.entropy, parts.entropy, rtol=1e-12)


def test_bad_options_are_refused():
    for options in ({"tol": -1}, {"n_init": 0}, {"tol": math.nan}):
        with pytest.raises(ValueError, match="Coins: tol is .* at least one start"):
            Coins(2, 10, **options)
    for method in ("e_step", "m_step", "expected_log_joint"):
        with pytest.raises(NotImplementedError, match=f"EM has no {method}"):
            getattr(EM(), method)(None)


def test_on_both_devices(device):
    model = Coins(2, 10, tol=0, n_init=2, rng=tg.random.Generator(0, device=device)).fit(HEADS, steps=5, run=quiet())
    np.testing.assert_allclose(model.p.numpy(), fitted(steps=5, n_init=2).p.numpy(), rtol=1e-12)
    assert model.p.device == device


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

"""The equations of the deep belief net against loops over all configurations, and its promises."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.energy import RBM, CodeRBM, DeepAutoencoder, DeepBeliefNet
from tinygen.models.energy import annealed_importance_sampling as ais
from tinygen.models.energy import deep_belief_net as chapter
from tinygen.models.energy.gaussian_rbm import GaussianRBM
from tinygen.models.energy.rbm import log_odds
from tinygen.runs import Run

rng = np.random.default_rng(0)
sigmoid = scipy.special.expit


def rows(n):
    """Every configuration of so many units."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def stack(*sizes, seed=0, scale=1.0, device="cpu", **options):
    """Machines with weights and biases of this size, in float64."""
    own = tg.random.Generator(seed, device=device)
    machines = [RBM(n, m, lr=0.1, momentum=0.5, rng=own) for n, m in itertools.pairwise(sizes)]
    net, r = DeepBeliefNet(machines, **options, rng=own).to(dtype="float64"), np.random.default_rng(seed)
    for p in net.parameters():
        p.assign(scale * r.normal(size=p.shape))
    return net


def parameters(machine):
    return machine.weight.numpy(), machine.visible_bias.numpy(), machine.hidden_bias.numpy()


def log_given(x, mean):
    """log p(x) of independent units with these means."""
    return scipy.stats.bernoulli.logpmf(x, mean).sum(-1)


def log_top(machine):
    """log p(h) of the visible row of a machine, from the table of both rows: a function of h."""
    W, b, c = parameters(machine)
    table = np.array([[b @ v + c @ h + v @ W @ h for h in rows(len(c))] for v in rows(len(b))])
    log_p = scipy.special.logsumexp(table, axis=1) - scipy.special.logsumexp(table)
    return dict(zip(map(tuple, rows(len(b))), log_p, strict=True))


def joint(net, *units):
    """(1) with the highest hidden row summed out, by its factors: log p(v, h^1, ..., h^{L-1})."""
    *below, top = net.machines
    log_p = log_top(top)[tuple(units[-1])]
    for machine, x, h in zip(below, units[:-1], units[1:], strict=True):
        W, b, _ = parameters(machine)
        log_p += log_given(x, sigmoid(b + W @ h))
    return log_p


def q_log(net, *units):
    """log q(h^1, ..., h^{L-1} | v)."""
    total = 0.0
    for machine, x, h in zip(net.machines, units, units[1:], strict=False):
        W, _, c = parameters(machine)
        total += log_given(h, sigmoid(c + x @ W))
    return total


def hidden(net):
    """Every configuration of all rows between the machines."""
    return itertools.product(*(rows(m.n_hidden) for m in net.machines[:-1]))


def by_enumeration(net, v):
    """log p(v) and the bound on it, as sums over everything between."""
    log_p = np.array([joint(net, v, *h) for h in hidden(net)])
    log_q = np.array([q_log(net, v, *h) for h in hidden(net)])
    return scipy.special.logsumexp(log_p), np.sum(np.exp(log_q) * (log_p - log_q))


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.log_bernoulli, 2)
def test_units_given_those_above():  # (2)
    x, logits = rng.integers(0, 2, (4, 6)).astype(float), 3 * rng.normal(size=(4, 6))
    np.testing.assert_allclose(chapter.log_bernoulli(x, logits), log_given(x, sigmoid(logits)))


@equation(chapter.visible_logits, 2)
def test_logits_are_those_of_the_machine():  # (2)
    net, h = stack(4, 3), rows(3)
    W, b, _ = parameters(net.machines[0])
    np.testing.assert_allclose(chapter.visible_logits(net.machines[0], h), b + h @ W.T)


@equation(chapter.log_mixture, 3)
def test_mixture_by_loops():  # (3)
    x, logits, prior = rows(3), rng.normal(size=(5, 3)), np.log(rng.dirichlet(np.ones(5)))
    expected = [scipy.special.logsumexp([log_given(v, sigmoid(w)) + p for w, p in zip(logits, prior, strict=True)])
                for v in x]  # fmt: skip
    np.testing.assert_allclose(chapter.log_mixture(x, logits, prior), expected)


@equation(DeepBeliefNet.log_prob, 1, 3)
@pytest.mark.parametrize("sizes", [(4, 3), (4, 3, 2), (3, 2, 3, 2)])
def test_likelihood_is_the_sum_over_all_rows(sizes):  # (1), (3)
    net, v = stack(*sizes), rows(sizes[0])
    found = net.log_prob(v)
    np.testing.assert_allclose(found, [by_enumeration(net, x)[0] for x in v], rtol=1e-9)
    assert np.exp(found).sum() == pytest.approx(1)
    np.testing.assert_allclose(net.log_prob(v, log_z=net.machines[-1].log_z() + 1), found - 1)


@equation(DeepBeliefNet.up, 4)
def test_draws_on_the_way_up_have_their_probabilities():  # (4)
    net, v = stack(4, 3, 2), np.array([1.0, 0, 1, 1])
    drawn = net.up(np.tile(v, (40_000, 1)), 2, tg.random.Generator(1))
    assert set(np.unique(drawn)) == {0, 1}
    weights = np.exp([q_log(net, v, h, [0, 0]) - q_log(net, v, h, [0, 0]) + log_given(h, net.up(v[None], 1)[0])
                      for h in rows(3)])  # fmt: skip
    expected = weights @ net.machines[1].hidden_mean(rows(3))
    np.testing.assert_allclose(drawn.mean(0), expected, atol=0.01)


@equation(chapter.entropy, 6)
def test_entropy_of_independent_units():  # (6)
    a = 3 * rng.normal(size=(4, 5))
    np.testing.assert_allclose(chapter.entropy(a), scipy.stats.bernoulli.entropy(sigmoid(a)).sum(1))


@equation(DeepBeliefNet.elbo, 5, 7)
@pytest.mark.parametrize("sizes", [(4, 3, 2), (3, 2, 3, 2)])
def test_bound_is_the_mean_over_the_guess(sizes):  # (5), (7)
    """With each configuration in the place of the draws, weighed by its probability."""
    net, v = stack(*sizes), rows(sizes[0])
    found = np.zeros(len(v))
    for h in hidden(net):
        for machine, units in zip(net.machines, h, strict=False):
            machine.draw_hidden = lambda mean, rng, units=units: np.tile(units, (len(mean), 1))
        found += np.exp([q_log(net, x, *h) for x in v]) * net.elbo(v, samples=2)
    log_p, bound = np.array([by_enumeration(net, x) for x in v]).T
    np.testing.assert_allclose(found, bound, rtol=1e-9)
    assert (bound < log_p).all()


def test_bound_by_draws():  # (7)
    net, v = stack(4, 3, 2, scale=0.5), rows(4)
    drawn = np.array([net.elbo(v, samples=5, rng=tg.random.Generator(i)) for i in range(100)])
    bound = np.array([by_enumeration(net, x)[1] for x in v])
    assert (abs(drawn.mean(0) - bound) < 4.5 * drawn.std(0) / 10).all()


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 2.0))
@settings(max_examples=10)
def test_bound_of_one_machine_or_of_one_upside_down_is_the_likelihood(seed, scale):  # (5), (8)
    """With the start (8), the bound with every single draw averages to the likelihood of the first machine."""
    one = stack(4, 3, seed=seed, scale=scale)
    np.testing.assert_allclose(one.elbo(rows(4)), one.log_prob(rows(4)), rtol=1e-9)
    two = DeepBeliefNet([*one.machines, RBM(3, 4, rng=one.rng).to(dtype="float64")], tied=True, rng=one.rng)
    two.begin(rows(4), 1)
    np.testing.assert_allclose(two.log_prob(rows(4)), one.log_prob(rows(4)), rtol=1e-9, atol=1e-9)
    for v in rows(4)[[3, 9]]:
        np.testing.assert_allclose(by_enumeration(two, v), one.log_prob(v[None])[0], rtol=1e-9, atol=1e-9)


@equation(DeepBeliefNet.begin, 8)
def test_upside_down():  # (8)
    net = stack(4, 3, 4, tied=True)
    W, b, c = parameters(net.machines[0])
    net.begin(rows(4), 1)
    for found, expected in zip(parameters(net.machines[1]), (W.T, c, b), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_others_start_with_the_log_odds_of_their_data():
    for net in (stack(4, 3, 4), stack(4, 3, 2, tied=True)):
        x = rows(4)[3:9]
        W, _, c = parameters(net.machines[0])
        net.begin(x, 1)
        np.testing.assert_allclose(net.machines[1].visible_bias.numpy(), log_odds(sigmoid(c + x @ W).mean(0)))
        net.begin(x, 0)
        np.testing.assert_allclose(net.machines[0].visible_bias.numpy(), log_odds(x.mean(0)))


@equation(DeepBeliefNet.transform, 9)
def test_features_by_hand_and_by_the_network():  # (9)
    net, x = stack(5, 4, 3), rng.uniform(size=(7, 5))
    f = x
    for W, _, c in map(parameters, net.machines):
        f = sigmoid(c + f @ W)
    np.testing.assert_allclose(net.transform(x), f)
    np.testing.assert_allclose(net.network()(tg.tensor(x)).numpy(), f)


# ---- the bound and annealing ----------------------------------------------------------------------------


def test_bound_with_annealed_log_z_is_that_with_the_exact_one():
    """On a stack that has learnt something, within the estimate's own interval."""
    x = np.repeat(rows(6)[[0, 7, 56, 63]], 5, axis=0)
    net = stack(6, 5, 4, scale=0.1, draws=True).fit(x, steps=200, run=Run(quiet=True))
    mean = net.up(x, 1).mean(0)
    found = ais.log_partition(net.machines[-1], chains=200, temperatures=500, mean=mean, rng=tg.random.Generator(1))
    low, high = found.interval
    assert low < net.machines[-1].log_z() < high and high - low < 0.1
    exact, careful = (net.elbo(x, log_z=z, rng=tg.random.Generator(0)) for z in (None, high))
    assert (careful < exact).all() and (exact - careful < 0.1).all()


# ---- learning -------------------------------------------------------------------------------------------


def test_each_machine_learns_in_its_turn_and_from_those_below():
    net, x, seen = stack(4, 3, 2), rows(4), []
    before = [parameters(m) for m in net.machines]
    net.fit(x, steps=4, run=Recorder(seen, net))
    levels = [level for level, _ in seen]
    assert levels == [0, 0, 1, 1]
    (_, after_two), (_, at_end) = seen[1], seen[3]
    assert not np.array_equal(after_two[0][0], before[0][0]) and np.array_equal(after_two[1][0], before[1][0])
    assert np.array_equal(at_end[0][0], after_two[0][0]) and not np.array_equal(at_end[1][0], before[1][0])


class Recorder(Run):
    """A run that notes the machines after each step."""

    def __init__(self, seen, net):
        super().__init__(quiet=True)
        self.seen, self.net = seen, net

    def log(self, **scalars):
        self.seen.append((scalars["level"], [parameters(m) for m in self.net.machines]))
        super().log(**scalars)


@pytest.mark.parametrize("draws", [True, False])
def test_data_of_a_machine_are_draws_or_means(draws, monkeypatch):
    net, seen = stack(4, 3, 2, draws=draws), []
    monkeypatch.setattr(net.machines[1], "update", lambda v: seen.append(v) or {})
    net.update(rows(4), 1)
    assert (set(np.unique(seen[0])) <= {0, 1}) == draws


def test_a_second_machine_raises_bound_and_likelihood():
    """The theorem, watched: the second machine begins upside down, at the likelihood of the first."""
    x = np.repeat(rows(4)[[0, 3, 5, 10, 12, 15]], 10, axis=0)
    own = tg.random.Generator(0)
    options = dict(momentum=0.5, rng=own)
    net = DeepBeliefNet([RBM(4, 3, lr=0.5, **options), RBM(3, 4, lr=0.25, **options)], tied=True, rng=own)
    for _ in range(500):
        net.update(x, 0)
    net.begin(x, 1)
    before = net.machines[0].log_prob(x).mean()
    assert net.log_prob(x).mean() == pytest.approx(before, abs=1e-4)
    for _ in range(500):
        net.update(x, 1)
    bound, after = net.elbo(x, samples=100, rng=own).mean(), net.log_prob(x).mean()
    assert before + 0.03 < bound < after


# ---- its promises ---------------------------------------------------------------------------------------


def test_samples_have_the_probabilities_of_the_model():
    net = stack(3, 2, 3, scale=1.5)
    drawn = net.sample(20_000, steps=30, rng=tg.random.Generator(0))
    counts = np.array([(drawn == v).all(1).mean() for v in rows(3)])
    np.testing.assert_allclose(counts, np.exp(net.log_prob(rows(3))), atol=0.015)
    means = net.sample(20_000, steps=30, means=True, rng=tg.random.Generator(0))
    np.testing.assert_allclose(means.mean(0), drawn.mean(0), atol=0.015)
    assert ((means > 0) & (means < 1)).all()


def test_a_stack_of_one_is_the_machine():
    net, x = stack(5, 3), rows(5)
    machine = net.machines[0]
    np.testing.assert_allclose(net.log_prob(x), machine.log_prob(x))
    np.testing.assert_allclose(net.elbo(x), machine.log_prob(x))
    np.testing.assert_allclose(net.reconstruct(x), machine.reconstruct(x))
    twins = [tg.random.Generator(4) for _ in range(2)]
    np.testing.assert_array_equal(net.sample(3, steps=5, rng=twins[0]), machine.sample(3, steps=5, rng=twins[1]))


def test_reconstruction_goes_all_the_way_by_means():
    net, x = stack(5, 4, 3), rng.uniform(size=(7, 5))
    below, top = net.machines
    expected = below.reconstruct(x)  # as a check that it is not just the lowest machine
    found = net.reconstruct(x)
    np.testing.assert_allclose(found, below.visible_mean(top.visible_mean(top.hidden_mean(below.hidden_mean(x)))))
    assert not np.allclose(found, expected)


def test_the_network_is_a_copy():
    net, x = stack(5, 4, 3), rng.uniform(size=(7, 5))
    network, before = net.network(), net.transform(x)
    for p in network.parameters():
        p.assign(0 * p.numpy())
    np.testing.assert_array_equal(net.transform(x), before)


def test_everything_the_machines_keep_is_saved():
    a, b = (stack(4, 3, 2, seed=s) for s in (0, 1))
    a.fit(rows(4), steps=6, run=Run(quiet=True))
    b.load_state_dict(a.state_dict())
    for net in (a, b):
        for level in (0, 1):
            net.update(rows(4), level)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_what_does_not_fit_is_refused():
    own = tg.random.Generator(0)
    with pytest.raises(ValueError, match=r"machines of sizes \[\(4, 3\), \(2, 5\)\]"):
        DeepBeliefNet([RBM(4, 3, rng=own), RBM(2, 5, rng=own)])
    with pytest.raises(ValueError, match="at least one is wanted"):
        DeepBeliefNet([])
    with pytest.raises(ValueError, match=r"rows of \[30\] units .*elbo gives a bound"):
        DeepBeliefNet([RBM(4, 30, rng=own), RBM(30, 5, rng=own)]).log_prob(rows(4))


def test_pixels_of_other_kinds_make_features_but_no_bound():
    own = tg.random.Generator(0)
    x = rng.normal(size=(9, 4))
    net = DeepBeliefNet([GaussianRBM(4, 3, rng=own), RBM(3, 2, rng=own)], rng=own)
    assert np.isfinite(net.fit(x, steps=4, run=Run(quiet=True)).transform(x)).all()
    for method in (net.elbo, net.log_prob):
        with pytest.raises(ValueError, match="the lowest machine is a GaussianRBM; .* 0 or 1 is wanted"):
            method(x)
    with pytest.raises(ValueError, match="samples is 0; one draw at least is wanted"):
        stack(4, 3).elbo(rows(4), samples=0)


def test_on_every_device(device):
    net = stack(4, 3, 2, device=device)
    x = rows(4)
    net.fit(x, steps=4, run=Run(quiet=True))
    assert np.exp(net.log_prob(x)).sum() == pytest.approx(1)
    for found in (net.sample(3, steps=2), net.elbo(x), net.transform(x), net.reconstruct(x)):
        assert isinstance(found, np.ndarray) and np.isfinite(found).all()
    assert net.network()(tg.tensor(x, device=device)).shape == (16, 2)


def test_the_network_takes_real_pixels_in_units_of_their_variance():
    rng = tg.random.Generator(0)
    machines = [GaussianRBM(6, 4, std=0.5, rng=rng), RBM(4, 3, rng=rng)]
    for machine in machines:
        machine.weight.assign(rng.normal(machine.weight.shape))
    net, x = DeepBeliefNet(machines, rng=rng), rng.normal((5, 6))
    np.testing.assert_allclose(net.network()(x).numpy(), net.transform(x), rtol=1e-5, atol=1e-6)


def test_real_units_between_two_machines_are_refused():
    for machines in ([RBM(5, 4), GaussianRBM(4, 3)], [CodeRBM(5, 4), RBM(4, 3)]):
        with pytest.raises(ValueError, match="between two machines units that are 0 or 1 are wanted"):
            DeepBeliefNet(machines)
    with pytest.raises(ValueError, match="the lowest machine is a GaussianRBM; one whose pixels are 0 or 1 is wanted"):
        DeepAutoencoder([GaussianRBM(5, 4), CodeRBM(4, 2)])

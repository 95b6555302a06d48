"""The hidden Markov model's equations by enumeration of all paths; hmmlearn from the same start; promises."""

import doctest
import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import CategoricalHMM, GaussianHMM, sequences
from tinygen.models.latent import hidden_markov as chapter
from tinygen.models.latent.hidden_markov import HiddenMarkov
from tinygen.runs import Run

rng = np.random.default_rng(0)
LENGTHS = (3, 1, 5, 2, 5)
both_ways = pytest.mark.parametrize("zero", [False, True], ids=["scales", "logarithms"])


def quiet():
    return Run(quiet=True)


def tables(zero, m=3, v=4, seed=0):
    """pi, A, B; with `zero` a move and a symbol are impossible, so that logarithms are taken."""
    draw = np.random.default_rng(seed)
    pi, A, B = (draw.dirichlet(np.ones(k), m) for k in (m, m, v))
    if zero:
        A[0, 2] = B[1, 0] = pi[0, 1] = 0
    return [p / p.sum(-1, keepdims=True) for p in (pi[0], A, B)]


def symbols(v=4, seed=1):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, v, T) for T in LENGTHS]


def discrete(zero=False, device="cpu", **options):
    model = CategoricalHMM(4, 3, rng=tg.random.Generator(0, device=device), **{"tol": 0, **options})
    model.start_at(*tables(zero))
    return model


def gaussian(zero=False, covariance="full", device="cpu", **options):
    """With means and covariances that SciPy can be given too."""
    model = GaussianHMM(2, 3, covariance=covariance, rng=tg.random.Generator(0, device=device), tol=0,
                        **{"reg_covar": 0, **options})  # fmt: skip
    pi, A, _ = tables(zero)
    own = {"full": SIGMA, "tied": SIGMA[0], "diag": DIAGONALS, "spherical": DIAGONALS[:, 0]}[covariance]
    model.start_at(pi, A, MU, covariances=own)
    return model


MU = np.array([[0.0, 0], [2, 1], [-1, 2]])
SIGMA = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.4, 0], [0, 2]], [[1.5, -0.6], [-0.6, 0.8]]])
DIAGONALS = np.array([[1.0, 0.5], [0.4, 2], [1.5, 0.8]])


def vectors(seed=2):
    draw = np.random.default_rng(seed)
    return [2 * draw.normal(size=(T, 2)) for T in LENGTHS]


def paths(pi, A, b):
    """p(x, z) of every path z, by (1) in plain products; b is (T, m)."""
    T, m = b.shape
    found = {}
    for z in itertools.product(range(m), repeat=T):
        p = pi[z[0]] * b[0, z[0]]
        for t in range(1, T):
            p *= A[z[t - 1], z[t]] * b[t, z[t]]
        found[z] = p
    return found


def enumerated(model, x):
    """For each sequence the table of `paths`, with SciPy's densities."""
    pi, A = model.initial.numpy(), model.transitions.numpy()
    if isinstance(model, CategoricalHMM):
        return [paths(pi, A, model.emissions.numpy()[:, s].T) for s in x]
    laws = [scipy.stats.multivariate_normal(*law) for law in zip(MU, SIGMA, strict=True)]
    return [paths(pi, A, np.stack([np.atleast_1d(law.pdf(s)) for law in laws], 1)) for s in x]


def summed(table, m=3):
    """p(x), gamma (T, m) and the sum of xi (m, m) from a table of all paths."""
    T, p_x = len(next(iter(table))), sum(table.values())
    gamma, xi = np.zeros((T, m)), np.zeros((m, m))
    for z, p in table.items():
        for t in range(T):
            gamma[t, z[t]] += p / p_x
            if t:
                xi[z[t - 1], z[t]] += p / p_x
    return p_x, gamma, xi


def every(model):
    """A model's sequences, its block, log b and logs of the tables."""
    x = symbols() if isinstance(model, CategoricalHMM) else vectors()
    (block,) = model.checked(x).blocks
    return x, block, model.log_emission(block.x), *model._logs()


def in_block(values, block):
    """Columns of a block back as sequences."""
    parts = sequences.unpack(values.T, block)
    return [parts[i] for i in range(len(parts))]


# ---- the equations --------------------------------------------------------------------------------------


@both_ways
@equation(chapter.log_joint, 1)
@equation(HiddenMarkov.log_joint, 1)
def test_the_probability_of_a_path(zero):  # (1)
    model, x = discrete(zero), symbols()
    for s, table in zip(x, enumerated(model, x), strict=True):
        for z, p in list(table.items())[:: max(1, len(table) // 7)]:
            expected = math.log(p) if p > 0 else -math.inf
            assert model.log_joint([s], [z])[0] == pytest.approx(expected, rel=1e-12)


@both_ways
@pytest.mark.parametrize("make", [discrete, gaussian])
@equation(chapter.forward, 2)
@equation(chapter.log_likelihood, 3)
def test_forwards_is_the_sum_over_all_paths(make, zero):  # (2) and (3)
    model = make(zero)
    x, block, log_b, log_pi, log_A = every(model)
    alpha = chapter.forward(log_b, log_pi, log_A, block.running)
    log_p = chapter.log_likelihood(alpha, block.last)
    each = in_block(np.exp(alpha), block)
    for i, table in enumerate(enumerated(model, x)):
        k = list(block.order).index(i)
        assert log_p[k] == pytest.approx(math.log(sum(table.values())), rel=1e-10)
        ends = [sum(p for z, p in table.items() if z[-1] == j) for j in range(3)]
        np.testing.assert_allclose(each[i][-1], ends, rtol=1e-10)


@both_ways
@equation(chapter.backward, 4, 6)
@equation(chapter.posterior, 5)
def test_past_and_future_give_states_and_moves(zero):  # (4)-(6)
    model = discrete(zero)
    x, block, log_b, log_pi, log_A = every(model)
    alpha = chapter.forward(log_b, log_pi, log_A, block.running)
    log_p = chapter.log_likelihood(alpha, block.last)
    beta, moves = chapter.backward(alpha, log_b, log_A, block.running, log_p)
    gamma = in_block(chapter.posterior(alpha, beta, log_p[block.owner]), block)
    expected = [summed(table) for table in enumerated(model, x)]
    for found, (_, by_hand, _) in zip(gamma, expected, strict=True):
        np.testing.assert_allclose(found, by_hand, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(moves, sum(xi for _, _, xi in expected), rtol=1e-10, atol=1e-14)
    pi, A, B = tables(zero)
    for s, found in zip(x, in_block(np.exp(beta), block), strict=True):
        if len(s) > 2:  # p(x_3, ... | z_2 = i): the same chain that starts in a row of A
            later = [sum(paths(row, A, B[:, s[2:]].T).values()) for row in A]
            np.testing.assert_allclose(found[1], later, rtol=1e-10)


@both_ways
@pytest.mark.parametrize("make", [discrete, gaussian])
@equation(HiddenMarkov.posterior, 5)
@equation(HiddenMarkov.score_samples, 3)
def test_answers_by_enumeration(make, zero):  # (3), (5) and (7), whichever way is taken
    model = make(zero)
    x, *_ = every(model)
    for i, table in enumerate(enumerated(model, x)):
        p_x, gamma, _ = summed(table)
        assert model.score_samples(x)[i] == pytest.approx(math.log(p_x), rel=1e-10)
        np.testing.assert_allclose(model.posterior(x)[i], gamma, rtol=1e-9, atol=1e-13)
        assert table[tuple(model.predict(x)[i])] == pytest.approx(max(table.values()), rel=1e-9)
    assert model.score(x) == pytest.approx(model.score_samples(x).mean())


@both_ways
@equation(chapter.viterbi, 7)
def test_the_best_path_and_its_probability(zero):  # (7)
    model = discrete(zero)
    x, block, log_b, log_pi, log_A = every(model)
    z, log_best = chapter.viterbi(log_b, log_pi, log_A, block.running, block.last)
    z = sequences.unpack(z, block)
    for k, i in enumerate(block.order):
        table = enumerated(model, x)[i]
        assert table[tuple(z[i])] == pytest.approx(max(table.values()), rel=1e-9)  # two may be equally good
        assert log_best[k] == pytest.approx(math.log(max(table.values())), rel=1e-12)


def test_states_best_one_by_one_may_make_no_path():  # the remark above (7)
    model = CategoricalHMM(1, 3)
    model.start_at([0.4, 0.3, 0.3], [[0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]], np.ones((3, 1)))
    assert model.predict([[0, 0]])[0].tolist() == [1, 2]
    model.start_at([0.4, 0.6, 0], [[0, 1, 0], [0, 0.3, 0.7], [1, 0, 0]], np.ones((3, 1)))
    x = [[0, 0, 0]]
    singly = model.posterior(x)[0].argmax(1)
    assert model.log_joint(x, [singly])[0] == -math.inf < model.log_joint(x, model.predict(x))[0]


@both_ways
@equation(HiddenMarkov.e_step, 6, 11)
@equation(HiddenMarkov.m_step, 8)
@equation(CategoricalHMM.emission_m_step, 9)
@equation(chapter.shares, 8)
def test_an_iteration_by_hand(zero):  # (8) and (9), and the entropy (11)
    model, x = discrete(zero), symbols()
    tables_ = enumerated(model, x)
    expected = [summed(table) for table in tables_]
    q = model.e_step(model.checked(x))
    first, moves = sum(g[0] for _, g, _ in expected), sum(xi for _, _, xi in expected)
    emitted = np.zeros((3, 4))
    for s, (_, gamma, _) in zip(x, expected, strict=True):
        for t, symbol in enumerate(s):
            emitted[:, symbol] += gamma[t]
    for found, by_hand in zip(q.statistics, (first, moves, emitted), strict=True):
        np.testing.assert_allclose(found, by_hand, rtol=1e-9, atol=1e-13)
    laws = [np.array(list(table.values())) / sum(table.values()) for table in tables_]
    np.testing.assert_allclose(q.entropy, sum(scipy.stats.entropy(law) for law in laws), rtol=1e-9)
    model.m_step(q.statistics)
    np.testing.assert_allclose(model.initial.numpy(), first / len(x), rtol=1e-9)
    np.testing.assert_allclose(model.transitions.numpy(), moves / moves.sum(1, keepdims=True), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(model.emissions.numpy(), emitted / emitted.sum(1, keepdims=True), rtol=1e-9, atol=1e-13)


@equation(GaussianHMM.emission_m_step, 9)
def test_gaussian_emissions_are_weighted_means():  # (9), right
    model, x = gaussian(), vectors()
    gamma, rows = np.concatenate([summed(t)[1] for t in enumerated(model, x)]), np.concatenate(x)
    model.update(model.checked(x))
    for k in range(3):
        np.testing.assert_allclose(model.means.numpy()[k], np.average(rows, axis=0, weights=gamma[:, k]), rtol=1e-8)
        covariance = np.cov(rows.T, aweights=gamma[:, k], bias=True)
        np.testing.assert_allclose(model.covariances.numpy()[k], covariance, rtol=1e-7)


@both_ways
@pytest.mark.parametrize("make", [discrete, gaussian])
@equation(HiddenMarkov.expected_log_joint, 10)
def test_q_is_the_mean_log_joint_over_all_paths(make, zero):  # (10)
    model = make(zero)
    x, *_ = every(model)
    expected = 0.0
    for table in enumerated(model, x):
        p_x = sum(table.values())
        expected += sum(p / p_x * math.log(p) for p in table.values() if p > 0)
    assert float(model.expected_log_joint(model.e_step(model.checked(x)).statistics)) == pytest.approx(expected)


@pytest.mark.parametrize("make", [discrete, gaussian])
@equation(chapter.scaled_forward, 12)
@equation(chapter.scaled_backward, 13)
def test_with_scales(make):  # (12) and (13): each c_t is a ratio of two sums over all paths
    model = make()
    x, block, log_b, _, _ = every(model)
    pi, A = model.initial.numpy(), model.transitions.numpy()
    b = np.exp(log_b)
    alpha, c = chapter.scaled_forward(b, pi, A, block.running)
    gamma, moves = chapter.scaled_backward(alpha, c, b, A, block.running)
    tables_ = enumerated(model, x)
    for i, (seen, filtered) in enumerate(zip(in_block(c[None], block), in_block(alpha, block), strict=True)):
        p, before = 1.0, 1.0
        for t in range(len(x[i])):
            start = enumerated(model, [x[i][: t + 1]])[0]
            p, before = sum(start.values()), p
            assert seen[t, 0] == pytest.approx(p / before, rel=1e-9)
            ends = [sum(q for z, q in start.items() if z[-1] == j) / p for j in range(3)]
            np.testing.assert_allclose(filtered[t], ends, rtol=1e-9)
    expected = [summed(table) for table in tables_]
    for found, (_, by_hand, _) in zip(in_block(gamma, block), expected, strict=True):
        np.testing.assert_allclose(found, by_hand, rtol=1e-9)
    np.testing.assert_allclose(moves, sum(xi for _, _, xi in expected), rtol=1e-9)


@equation(chapter.log_sum, 14)
def test_the_logarithm_of_a_sum():  # (14)
    terms = np.array([[[-3.0, -1000, -np.inf], [-2, -1001, -np.inf], [1, -np.inf, -np.inf]]])
    expected = scipy.special.logsumexp(terms, axis=1)
    top = np.maximum(terms.max(1), -1e9)
    sums, logs = chapter.log_sum(terms.copy())
    np.testing.assert_allclose(logs, expected, rtol=1e-14)
    np.testing.assert_allclose(sums, np.exp(expected - top), rtol=1e-13)


def test_both_ways_agree_and_scales_alone_would_lose_a_state(monkeypatch):  # "Scales or logarithms?"
    model, x = gaussian(), [3 * rng.normal(size=(200, 2)) for _ in range(3)]
    with_scales = [model.score_samples(x), *model.posterior(x)]
    monkeypatch.setattr(chapter, "least_move", lambda dtype: 2.0)
    for a, b in zip(with_scales, [model.score_samples(x), *model.posterior(x)], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    onward = CategoricalHMM(3, 2)  # state 0 is far less probable than 1 at every throw, until only it will do
    onward.start_at([0.5, 0.5], [[1, 0], [0, 1]], [[0.01, 0.98, 0.01], [0.99, 0.01, 0]])
    x = [[0] * 400 + [2]]
    expected = math.log(0.5) + 401 * math.log(0.01)
    assert onward.score_samples(x)[0] == pytest.approx(expected) and (onward.predict(x)[0] == 0).all()
    monkeypatch.setattr(chapter, "least_move", lambda dtype: -1.0)
    assert onward.score_samples(x)[0] == -math.inf


# ---- hmmlearn -------------------------------------------------------------------------------------------


def theirs(kind, model, lengths=None, **options):
    """hmmlearn's model at the same parameters, without its priors."""
    hmm = pytest.importorskip("hmmlearn.hmm", reason="the oracle is hmmlearn")
    common = dict(init_params="", n_iter=15, tol=-math.inf, implementation="log")
    if kind == "categorical":
        made = hmm.CategoricalHMM(3, n_features=4, **common)
        made.emissionprob_ = model.emissions.numpy()
    else:
        made = hmm.GaussianHMM(3, covariance_type=kind, min_covar=0, covars_prior=0, covars_weight=0, **common)
        made.means_, made.covars_ = model.means.numpy(), model.covariances.numpy()
    made.startprob_, made.transmat_ = model.initial.numpy(), model.transitions.numpy()
    return made


@both_ways
@pytest.mark.parametrize("kind", ["categorical", "full", "tied", "diag", "spherical"])
def test_it_is_hmmlearns_from_one_start(kind, zero):
    model = discrete(zero) if kind == "categorical" else gaussian(zero, kind)
    draw = np.random.default_rng(3)
    lengths = [40, 7, 25, 40, 12]
    if kind == "categorical":
        x = [draw.integers(0, 4, T) for T in lengths]
        flat = np.concatenate(x)[:, None]
    else:
        x = [MU[draw.integers(0, 3, T)] + draw.normal(size=(T, 2)) for T in lengths]
        flat = np.concatenate(x)
    other = theirs(kind, model)
    for _ in range(15):
        model.update(model.checked(x))
    other.fit(flat, lengths)
    pairs = [(model.initial, other.startprob_), (model.transitions, other.transmat_)]
    if kind == "categorical":
        pairs.append((model.emissions, other.emissionprob_))
    else:
        covariances = {"spherical": np.ravel(other._covars_)[::2]}.get(kind, other._covars_)
        pairs += [(model.means, other.means_), (model.covariances, covariances)]
    for a, b in pairs:
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-6, atol=1e-8)
    assert model.score_samples(x).sum() == pytest.approx(other.score(flat, lengths), rel=1e-9)
    best = sum(model.log_joint(x, np.split(other.predict(flat, lengths), np.cumsum(lengths)[:-1])))
    assert sum(model.log_joint(x, model.predict(x))) == pytest.approx(best, rel=1e-9)  # paths may be equally good
    np.testing.assert_allclose(np.concatenate(model.posterior(x)), other.predict_proba(flat, lengths), atol=1e-8)


# ---- the model ------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), most=st.integers(1, 30))
def test_what_is_packed_is_unpacked(lengths, most):
    given_ = [100 * i + np.arange(T) for i, T in enumerate(lengths)]
    packed = sequences.Sequences(given_, "cpu", most)
    found = {}
    for block in packed.blocks:
        assert sum(block.running) == len(block.x) and len(block.order) == block.running[0]
        assert len(block.x) <= most or len(block.order) == 1
        np.testing.assert_array_equal(block.x // 100, block.order[block.owner])
        np.testing.assert_array_equal(block.x[block.last], [given_[i][-1] for i in block.order])
        found.update(sequences.unpack(block.x, block))
    for i, sequence in enumerate(given_):
        np.testing.assert_array_equal(found[i], sequence)
    assert packed.longest == max(lengths) and len(packed) == len(lengths)


@both_ways
@pytest.mark.parametrize("make", [discrete, gaussian])
def test_the_size_of_the_blocks_changes_nothing(make, zero, monkeypatch):
    whole, parts = make(zero), make(zero)
    x, *_ = every(whole)
    full = sequences.Sequences.__init__
    whole.update(whole.checked(x))
    expected = whole.posterior(x)
    monkeypatch.setattr(sequences.Sequences, "__init__", lambda self, s, device, most: full(self, s, device, 4))
    parts.update(parts.checked(x))
    assert len(parts.checked(x).blocks) > 2
    for a, b in zip([*parts.posterior(x), parts.transitions.numpy()], [*expected, whole.transitions.numpy()],
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_it_finds_the_casinos_dice():
    truth = CategoricalHMM(6, 2)
    truth.start_at([0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]], [[1 / 6] * 6, [0.1] * 5 + [0.5]])
    x = truth.sample(100, 100, rng=tg.random.Generator(0))
    model = CategoricalHMM(6, 2, n_init=5, rng=tg.random.Generator(1)).fit(x, steps=200, run=quiet())
    fair = model.emissions.numpy()[:, 5].argmin()
    order = [fair, 1 - fair]
    np.testing.assert_allclose(model.emissions.numpy()[order], truth.emissions.numpy(), atol=0.04)
    np.testing.assert_allclose(model.transitions.numpy()[order][:, order], truth.transitions.numpy(), atol=0.04)
    assert model.converged and model.score(x) > truth.score(x)


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_it_learns_the_order_of_clouds(covariance):
    truth = GaussianHMM(2, 3)
    truth.start_at([1, 0, 0], [[0.8, 0.2, 0], [0, 0.8, 0.2], [0.2, 0, 0.8]], [[0, 0], [6, 0], [0, 6]])
    z, x = truth.play(20, 50, rng=tg.random.Generator(0))
    model = GaussianHMM(2, 3, covariance=covariance, rng=tg.random.Generator(1)).fit(x, run=quiet())
    name = [int(np.linalg.norm(model.means.numpy() - mean, axis=1).argmin()) for mean in truth.means.numpy()]
    A = model.transitions.numpy()[name][:, name]
    np.testing.assert_allclose(A, truth.transitions.numpy(), atol=0.08)
    assert np.mean(np.array(name)[z] == model.predict(x)) > 0.98


def test_equal_rows_of_moves_make_a_mixture():  # "it is a mixture again"
    from tinygen.models.latent import GaussianMixture

    model, flat = gaussian(), GaussianMixture(2, 3)
    pi = model.initial.numpy()
    model.start_at(pi, [pi] * 3, MU, covariances=SIGMA)
    flat.start_at(MU, covariances=SIGMA, weights=pi)
    for s, found in zip(vectors(), model.posterior(vectors()), strict=True):
        np.testing.assert_allclose(found, flat.predict_proba(s), rtol=1e-9)


def test_samples_have_the_frequencies_of_the_model():  # (1) from left to right
    model = discrete()
    pi, A, B = tables(False)
    z, x = model.play(40_000, 3, rng=tg.random.Generator(1))
    for k in range(3):
        assert abs(np.mean(z[:, 0] == k) - pi[k]) < 0.01
        np.testing.assert_allclose(np.bincount(z[:, 1:][z[:, :-1] == k], minlength=3) / np.sum(z[:, :-1] == k), A[k],
                                   atol=0.015)  # fmt: skip
        np.testing.assert_allclose(np.bincount(x[z == k], minlength=4) / np.sum(z == k), B[k], atol=0.01)
    np.testing.assert_array_equal(model.sample(5, 3, rng=tg.random.Generator(2)),
                                  model.play(5, 3, rng=tg.random.Generator(2))[1])  # fmt: skip
    vectors_ = gaussian().play(40_000, 1, rng=tg.random.Generator(1))
    for k in range(3):
        own = vectors_[1][vectors_[0] == k]
        np.testing.assert_allclose(own.mean(0), MU[k], atol=5 / math.sqrt(len(own)))
        np.testing.assert_allclose(np.cov(own.T), SIGMA[k], atol=10 / math.sqrt(len(own)))


def test_sequences_of_one_observation():
    model = discrete()
    expected = np.log(model.initial.numpy() @ model.emissions.numpy())
    np.testing.assert_allclose(model.score_samples([[0], [3]]), expected[[0, 3]], rtol=1e-12)
    before = model.transitions.numpy()
    model.fit([[0], [3], [3]], steps=5, run=quiet())
    np.testing.assert_array_equal(model.transitions.numpy(), before)  # nothing moved: what it has stays
    assert np.isfinite(model.emissions.numpy()).all() and model.score([[0], [3], [3]]) > expected.min()


def test_a_state_that_emits_nothing_keeps_what_it_has():
    model = CategoricalHMM(2, 2, tol=0)
    model.start_at([1, 0], [[1, 0], [0.5, 0.5]], [[0.5, 0.5], [0.3, 0.7]])
    model.fit([[0, 0, 1], [0]], steps=3, run=quiet())
    assert model.emissions.numpy()[1].tolist() == [0.3, 0.7] and model.transitions.numpy()[1].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(model.emissions.numpy()[0], [0.75, 0.25])


@both_ways
def test_a_symbol_that_no_state_has_is_impossible(zero):
    model = CategoricalHMM(3, 2)
    A = [[1.0, 0.0], [0.5, 0.5]] if zero else [[0.9, 0.1], [0.5, 0.5]]
    model.start_at([0.5, 0.5], A, [[0.5, 0.5, 0], [0.9, 0.1, 0]])
    x = [[0, 1], [0, 2, 1], [1]]
    found = model.score_samples(x)
    assert found[1] == -math.inf and np.isfinite(found[[0, 2]]).all()
    for ask in (model.posterior, model.predict, lambda x: model.fit(x, run=quiet())):
        with pytest.raises(ValueError, match="CategoricalHMM: sequence 1 of x is impossible .* start_at"):
            ask(x)


def test_zeros_stay_zeros():
    model = CategoricalHMM(4, 3, tol=0)
    model.start_at([1, 0, 0], [[0.7, 0.3, 0], [0, 0.6, 0.4], [0, 0, 1]], tables(False)[2])
    model.fit(symbols(), steps=10, run=quiet())
    A = model.transitions.numpy()
    assert A[0, 2] == A[1, 0] == A[2, 0] == A[2, 1] == 0 and model.initial.numpy().tolist() == [1, 0, 0]


def test_lists_come_back_as_lists_and_arrays_as_arrays():
    model = discrete()
    x = np.array([[0, 1, 2], [3, 3, 0]])
    assert model.predict(x).shape == (2, 3) and model.posterior(x).shape == (2, 3, 3)
    np.testing.assert_allclose(model.posterior(x).sum(2), 1)
    assert [z.tolist() for z in model.predict(list(x))] == model.predict(x).tolist()
    assert model.predict(x.astype(float)).tolist() == model.predict(x).tolist()


@pytest.mark.parametrize("kind", ["categorical", "full", "diag"])
@both_ways
def test_on_both_devices(kind, zero, device):
    def answers(device):
        model = discrete(zero, device) if kind == "categorical" else gaussian(zero, kind, device)
        x = symbols() if kind == "categorical" else vectors()
        model.update(model.checked(x))
        draws = tg.random.Generator(1, device=device)
        found = [model.transitions.numpy(), model.sample(3, 4, rng=draws), model.score_samples(x), *model.predict(x)]
        found += model.posterior(x)
        new = type(model)(4 if kind == "categorical" else 2, 3, n_init=2, rng=tg.random.Generator(0, device=device))
        return [*found, new.fit(x, steps=3, run=quiet()).transitions.numpy()]

    for a, b in zip(answers(device), answers("cpu"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_in_single_precision():
    x = [s.astype(np.float32) for s in vectors()]
    model = GaussianHMM(2, 2, rng=tg.random.Generator(0)).to(dtype="float32").fit(x, steps=5, run=quiet())
    assert model.means.dtype == np.float32 == model.sample(3).dtype and model.sample(3).shape == (3, 5, 2)
    assert np.isfinite(model.score_samples(x)).all()
    dice = CategoricalHMM(4, 2, rng=tg.random.Generator(0)).to(dtype="float32").fit(symbols(), steps=5, run=quiet())
    assert dice.emissions.dtype == np.float32


def test_saved_and_loaded_is_the_same(tmp_path):
    a, b = gaussian(), GaussianHMM(2, 3, covariance="full")
    a.fit(vectors(), steps=2, run=quiet())
    tg.save(tmp_path / "hmm.safetensors", a.state_dict())
    b.load_state_dict(tg.load(tmp_path / "hmm.safetensors"))
    np.testing.assert_array_equal(a.score_samples(vectors()), b.score_samples(vectors()))
    np.testing.assert_array_equal(a.sample(2, rng=tg.random.Generator(0)), b.sample(2, rng=tg.random.Generator(0)))


def test_bad_input_is_refused():
    model, other = discrete(), gaussian()
    for x, message in (
        ([], "holds no sequence"), ([1, 2], r"put a single one into a list: \[x\]"), ([[0], []], "sequence 1 .* empty"),
        ([[0, 4]], "symbols from 0 to 4; 0 to 3 are wanted"), ([[0], [-1, 0]], "sequence 1 of x has symbols from -1"),
        ([[0.5]], "whole numbers"), ([[np.nan]], "whole numbers"), ([[[0, 1]]], "one symbol at a time"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"CategoricalHMM: .*{message}"):
            model.fit(x, run=quiet())
    for x, message in (
        (np.zeros((2, 3, 1)), r"sequence 0 of x has shape \(3, 1\); rows of 2 features"),
        (np.zeros((3, 2)), r"has shape \(2,\)"), ([np.zeros((2, 2)), np.full((1, 2), np.inf)], "sequence 1 .* inf"),
        (np.full((1, 2, 2), np.nan), "up to nan"), (np.zeros((0, 3, 2)), "holds no sequence"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"GaussianHMM: .*{message}"):
            other.score_samples(x)
    for wrong in ([0.5, 0.4, 0], [0.5, 0.5], [1.5, -0.5, 0], [np.nan] * 3):
        with pytest.raises(ValueError, match="CategoricalHMM.start_at: initial has shape"):
            model.start_at(wrong, *tables(False)[1:])
    with pytest.raises(ValueError, match="start_at: emissions has shape"):
        model.start_at(*tables(False)[:2], np.ones((3, 4)))
    with pytest.raises(ValueError, match="GaussianMixture.start_at: means"):
        other.start_at(*tables(False)[:2], np.ones((2, 2)))
    for kind, sizes, message in ((CategoricalHMM, (0, 2), "n_symbols"), (CategoricalHMM, (2, 0), "n_states"),
                                 (GaussianHMM, (0, 2), "a feature")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            kind(*sizes)
    with pytest.raises(RuntimeError, match="call fit or start_at first"):
        CategoricalHMM(2, 2).sample(1)
    with pytest.raises(ValueError, match="length is 0; at least one"):
        model.sample(2)  # it was never fitted, so it knows no length
    with pytest.raises(ValueError, match="covariance of component . is singular"):
        GaussianHMM(1, 2, reg_covar=0, rng=tg.random.Generator(0)).fit([[[0.0], [1.0], [5.0]]], run=quiet())


def test_what_a_model_must_write():
    base = HiddenMarkov(2)
    for name in ("log_emission", "emission_sums", "emission_statistics", "emission_m_step", "emission_log_joint",
                 "emission_start", "emit", "observations"):  # fmt: skip
        with pytest.raises(NotImplementedError, match=f"HiddenMarkov has no {name}"):
            getattr(base, name)(*[None] * (2 if name in ("emission_sums", "emit") else 1))


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_a_state_that_may_not_begin_does_not_hide_those_that_may(kind):
    """The first observation is all but impossible in the one state where a sequence begins; in logarithms it counts."""
    pi, A = np.array([1.0, 0.0]), np.full((2, 2), 0.5)
    if kind == "gaussian":
        model, x = GaussianHMM(1, 2), np.array([[100.0], [100.0]])
        model.start_at(pi, A, [[0.0], [100.0]])
    else:
        model, x = CategoricalHMM(2, 2), np.array([1, 1])
        model.start_at(pi, A, [[1 - 1e-320, 1e-320], [0.5, 0.5]])
    log_b, paths = model.log_emission(model.checked([x]).blocks[0].x), list(itertools.product(range(2), repeat=2))
    with np.errstate(divide="ignore"):
        terms = [chapter.log_joint(np.array(z), log_b, np.log(pi), np.log(A)) for z in paths]
    np.testing.assert_allclose(model.score_samples([x]), scipy.special.logsumexp(terms), rtol=1e-9)
    np.testing.assert_allclose(model.posterior([x])[0][0], [1, 0], atol=1e-12)


def test_a_path_that_does_not_fit_is_refused():
    model = CategoricalHMM(3, 2)
    model.start_at([0.5, 0.5], np.full((2, 2), 0.5), np.full((2, 3), 1 / 3))
    for path in ([0, 1], [0, 1, -1], [0, 1, 2]):
        with pytest.raises(ValueError, match="log_joint: a path has shape .*; one state from 0 to 1 for each of 3"):
            model.log_joint([[0, 1, 2]], [path])


def test_one_long_sequence_among_many_short_ones_takes_little_memory():
    import tracemalloc

    parts = [np.zeros(1, int)] * 4000 + [np.zeros(4000, int)]
    tracemalloc.start()
    block = sequences.pack(parts, np.argsort([-len(p) for p in parts], kind="stable"), "cpu")
    back = sequences.unpack(block.x, block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6 and [len(back[i]) for i in (0, 4000)] == [1, 4000] and block.running == [4001] + [1] * 3999


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

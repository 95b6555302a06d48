"""Latent Dirichlet allocation's equations against SciPy, plain loops and enumeration; scikit-learn; promises."""

import doctest
import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.latent import LatentDirichletAllocation
from tinygen.models.latent import topics as chapter
from tinygen.runs import Run, read_metrics

rng = np.random.default_rng(0)
K, V, ALPHA = 3, 5, 0.7
X = np.array([[2, 1, 0, 0, 0], [0, 0, 3, 1, 0], [1, 0, 0, 1, 1], [0, 4, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
BETA = np.random.default_rng(1).dirichlet(np.ones(V), K)
LAMBDA = 0.3 + np.random.default_rng(2).uniform(0, 5, (K, V))
GAMMA = np.random.default_rng(3).uniform(0.5, 4, (2, K))
both = pytest.mark.parametrize("eta", [0.0, 0.3])


def quiet():
    return Run(quiet=True)


def model(eta=0.0, device="cpu", **options):
    made = LatentDirichletAllocation(V, K, alpha=ALPHA, eta=eta, rng=tg.random.Generator(0, device=device),
                                     **{"tol": 0, **options})  # fmt: skip
    made.start_at(LAMBDA if eta else BETA)
    return made


def expected_log(gamma):
    """E log theta, one by one."""
    return np.array([[scipy.special.psi(g) - scipy.special.psi(row.sum()) for g in row] for row in gamma])


def one_block(x):
    """All documents as a block whose words are all words: ids and counts (c, V), and columns (c, V, K) of BETA."""
    ids = np.tile(np.arange(V), (len(x), 1))
    return chapter.Block(ids, x.astype(float), np.arange(len(x))), BETA.T[ids]


def log_p(counts, beta, alpha):
    """log p(w) of a document, by the sum over the topics of every word: theta is integrated in closed form."""
    words = np.repeat(np.arange(len(counts)), counts)
    if not len(words):
        return 0.0
    terms, m = [], len(beta)
    for z in itertools.product(range(m), repeat=len(words)):
        n = np.bincount(z, minlength=m)
        of_z = math.lgamma(m * alpha) - math.lgamma(m * alpha + len(z)) + sum(
            math.lgamma(alpha + v) - math.lgamma(alpha) for v in n)  # fmt: skip
        terms.append(of_z + sum(math.log(beta[k, w]) for k, w in zip(z, words, strict=True)))
    return scipy.special.logsumexp(terms)


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.word_chances, 1)
def test_samples_have_the_moments_of_the_model():  # (1)
    theta = rng.dirichlet(np.ones(K), 4)
    for d, v in np.ndindex(4, V):  # the two draws of a word, one after the other
        by_topic = [theta[d, k] * BETA[k, v] for k in range(K)]
        assert chapter.word_chances(theta, BETA)[d, v] == pytest.approx(sum(by_topic), rel=1e-12)
    x, N = model().sample(20_000, 30, rng=tg.random.Generator(1)), 30
    assert x.shape == (20_000, V) and (x.sum(1) == N).all()
    mean = BETA.mean(0)
    np.testing.assert_allclose(x.mean(0), N * mean, rtol=0.02)
    # two words of one document share theta: E theta_k theta_l = (alpha + [k = l] alpha ... ) of a Dirichlet law
    second = ALPHA * (ALPHA + np.eye(K)) / (K * ALPHA * (K * ALPHA + 1))
    pairs = BETA.T @ second @ BETA
    found = (x.T @ x - np.diag(x.sum(0))) / (len(x) * N * (N - 1))
    np.testing.assert_allclose(found, pairs, atol=0.003)


@both
@equation(LatentDirichletAllocation.e_step, 2, 8)
def test_statistics_and_entropy_of_q_by_hand(eta):  # (2): its entropy is a sum of its parts'
    made = model(eta, sweeps=3)
    q = made.e_step(made.checked(X))
    gamma, log_beta = made.documents.gamma, expected_log(LAMBDA) if eta else np.log(BETA)
    log_theta, entropy, S, assigned = expected_log(gamma), 0.0, np.zeros((K, V)), 0.0
    for d in range(len(X)):
        entropy += scipy.stats.dirichlet.entropy(gamma[d])
        for v in np.flatnonzero(X[d]):
            phi = scipy.special.softmax(log_theta[d] + log_beta[:, v])
            entropy += X[d, v] * scipy.stats.entropy(phi)
            S[:, v] += X[d, v] * phi
            assigned += X[d, v] * phi @ log_theta[d]
    np.testing.assert_allclose(q.entropy, entropy, rtol=1e-10)
    np.testing.assert_allclose(q.statistics.words, S, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(q.statistics.log_theta, log_theta.sum(0), rtol=1e-10)
    np.testing.assert_allclose(q.statistics.assigned, assigned, rtol=1e-10)


@equation(chapter.mean_log, 3)
def test_the_mean_of_a_logarithm():  # (3)
    np.testing.assert_allclose(chapter.mean_log(GAMMA), expected_log(GAMMA), rtol=1e-12)
    draws = rng.dirichlet(GAMMA[0], 200_000)
    np.testing.assert_allclose(np.log(draws).mean(0), chapter.mean_log(GAMMA)[0], atol=0.02)


@equation(chapter.normalisers, 4)
@equation(chapter.sweep, 5)
def test_a_sweep_by_hand():  # (4) and (5)
    block, B = one_block(X[:2])
    e, c = chapter.normalisers(GAMMA, B)
    found = chapter.sweep(GAMMA, B, block.counts, ALPHA)
    for d in range(2):
        log_theta = expected_log(GAMMA)[d]
        products = np.exp(log_theta)[:, None] * BETA  # (K, V)
        np.testing.assert_allclose(e[d], np.exp(log_theta), rtol=1e-12)
        np.testing.assert_allclose(c[d], products.sum(0), rtol=1e-12)
        np.testing.assert_allclose(found[d], ALPHA + (X[d] * products / products.sum(0)).sum(1), rtol=1e-12)


@equation(chapter.document_bound, 6)
@equation(LatentDirichletAllocation.elbo, 6)
def test_the_bound_of_a_document_is_its_definition_and_below_the_likelihood():  # (6), (5) of em.py
    block, B = one_block(X[:2])
    _, c = chapter.normalisers(GAMMA, B)
    found = chapter.document_bound(GAMMA, c, block.counts, ALPHA)
    for d in range(2):
        log_theta = expected_log(GAMMA)[d]
        prior = math.lgamma(K * ALPHA) - K * math.lgamma(ALPHA) + (ALPHA - 1) * log_theta.sum()
        expected = prior + scipy.stats.dirichlet.entropy(GAMMA[d])
        for v in np.flatnonzero(X[d]):
            phi = scipy.special.softmax(log_theta + np.log(BETA[:, v]))
            expected += X[d, v] * phi @ (log_theta + np.log(BETA[:, v]) - np.log(phi))
        assert found[d] == pytest.approx(expected, rel=1e-10)
    elbo, exact = model().elbo(X), np.array([log_p(row, BETA, ALPHA) for row in X])
    assert (elbo <= exact + 1e-10).all() and (elbo > exact - 1.5).all()
    np.testing.assert_allclose(elbo[4], 0, atol=1e-12)  # a document without words says nothing
    gamma = model()._judged(X)[0]
    c = np.exp(expected_log(gamma)) @ BETA
    priors = [dirichlet_divergence(row, np.full(K, ALPHA)) for row in gamma]
    np.testing.assert_allclose(elbo, (X * np.log(c)).sum(1) - priors, rtol=1e-9, atol=1e-12)


def dirichlet_divergence(a, b):
    """KL between Dirichlet laws, by SciPy's entropy and E log of the other's density."""
    log_theta = scipy.special.psi(a) - scipy.special.psi(a.sum())
    cross = math.lgamma(b.sum()) - sum(map(math.lgamma, b)) + (b - 1) @ log_theta
    return -scipy.stats.dirichlet.entropy(a) - cross


@equation(chapter.dirichlet_kl, 7)
def test_the_divergence_of_dirichlet_laws():  # (7)
    for a in GAMMA:
        found = chapter.dirichlet_kl(a[None], 0.4, K)[0]
        assert found == pytest.approx(dirichlet_divergence(a, np.full(K, 0.4)), rel=1e-10)
    assert abs(chapter.dirichlet_kl(np.full((1, K), 0.4), 0.4, K)[0]) < 1e-12


@both
@equation(LatentDirichletAllocation.m_step, 8, 9)
@equation(chapter.expected_words, 8)
def test_an_m_step_by_hand(eta):  # (8) and (9)
    made = model(eta)
    S = made.e_step(made.checked(X)).statistics.words
    gamma, log_beta, expected = made.documents.gamma, expected_log(LAMBDA) if eta else np.log(BETA), np.zeros((K, V))
    for d, v in np.argwhere(X > 0):
        expected[:, v] += X[d, v] * scipy.special.softmax(expected_log(gamma)[d] + log_beta[:, v])
    np.testing.assert_allclose(S, expected, rtol=1e-10)
    made.m_step(made.e_step(made.checked(X)).statistics._replace(words=expected))
    result = eta + expected if eta else expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(made.weights.numpy(), result, rtol=1e-10)
    np.testing.assert_allclose(made.topics.sum(1), 1)


@both
def test_the_m_step_is_the_best(eta):  # (8)-(10): a search finds nothing higher
    made = model(eta, learn_alpha=True)
    statistics = made.e_step(made.checked(X)).statistics
    made.m_step(statistics)
    best, weights, alpha = float(made.expected_log_joint(statistics)), made.weights.numpy(), float(made.alpha)
    for _ in range(200):
        other = weights * np.exp(0.1 * rng.normal(size=weights.shape))
        made.weights.assign(np.maximum(other, eta) if eta else other / other.sum(1, keepdims=True))
        assert float(made.expected_log_joint(statistics)) <= best + 1e-9
    made.weights.assign(weights)
    for factor in (0.8, 0.99, 1.01, 1.2):
        made.alpha.assign(alpha * factor)
        assert float(made.expected_log_joint(statistics)) < best


@equation(chapter.best_alpha, 10)
def test_alpha_by_a_solver():  # (10)
    for theta_alpha in (0.3, 0.6, 20.0):
        draws = np.log(rng.dirichlet(np.full(4, theta_alpha), 4000) + 1e-300).sum(1).mean()
        found = chapter.best_alpha(draws, 4)
        equation_ = lambda a, s=draws: 4 * (scipy.special.psi(4 * a) - scipy.special.psi(a)) + s  # noqa: E731
        assert found == pytest.approx(scipy.optimize.brentq(equation_, 1e-3, 1e3, xtol=1e-14), rel=1e-9)
        assert abs(found / theta_alpha - 1) < 0.1


@equation(LatentDirichletAllocation.perplexity, 11)
def test_perplexity_is_per_word():  # (11)
    made = model()
    assert made.perplexity(X) == pytest.approx(math.exp(-made.elbo(X).sum() / X.sum()), rel=1e-12)
    even = LatentDirichletAllocation(V, 1, eta=0)
    even.start_at(np.full((1, V), 1 / V))
    assert even.perplexity(X) == pytest.approx(V)  # as hard as V equally likely words


# ---- scikit-learn ---------------------------------------------------------------------------------------


def test_bound_and_updates_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.decomposition", reason="the oracle is scikit-learn")
    draw = np.random.default_rng(4)
    x = draw.poisson(3 * draw.dirichlet(np.full(4, 0.3), 40) @ draw.dirichlet(np.full(12, 0.3), 4) * 12)
    x = x[x.sum(1) > 0].astype(float)
    options = dict(max_iter=5, max_doc_update_iter=1000, mean_change_tol=1e-9, random_state=0)
    theirs = sklearn.LatentDirichletAllocation(4, doc_topic_prior=0.4, topic_word_prior=0.2, **options).fit(x)
    ours = LatentDirichletAllocation(12, 4, alpha=0.4, eta=0.2, sweeps=1000)
    ours.start_at(theirs.components_)
    gamma, _ = theirs._e_step(x, cal_sstats=False, random_init=False)
    statistics = ours.e_step(ours.checked(x))
    _, S = theirs._e_step(x, cal_sstats=True, random_init=False)
    assert float(ours.bound(statistics)) == pytest.approx(theirs._approx_bound(x, gamma, False), rel=1e-6)
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x), atol=2e-3)
    np.testing.assert_allclose(statistics.statistics.words, S, atol=0.02)


# ---- the model ------------------------------------------------------------------------------------------


def bars(side=3):
    """Topics that are the rows and columns of a square, (2 side, side * side) (Griffiths and Steyvers 2004)."""
    rows = np.kron(np.eye(side), np.ones(side)) / side
    return np.concatenate([rows, rows.reshape(side, side, side).swapaxes(1, 2).reshape(side, -1)])


def planted(n=300, seed=0):
    truth = LatentDirichletAllocation(9, 6, alpha=0.15, eta=0)
    truth.start_at(bars())
    return truth.sample(n, 40, rng=tg.random.Generator(seed))


@both
def test_it_finds_planted_topics(eta):
    made = LatentDirichletAllocation(9, 6, alpha=0.15, eta=eta, n_init=4, rng=tg.random.Generator(0))
    made.fit(planted(), run=quiet())
    apart = 0.5 * abs(bars()[:, None] - made.topics).sum(2)
    pairs = scipy.optimize.linear_sum_assignment(apart)
    assert apart[pairs].max() < 0.12 and made.converged
    assert made.perplexity(planted(100, seed=1)) < 7.3 < 9  # of nine words, by chance


@both
def test_the_bound_never_falls_and_the_two_starts_are_why(eta, tmp_path):
    made = LatentDirichletAllocation(9, 6, alpha=0.15, eta=eta, tol=0, rng=tg.random.Generator(1))
    made.fit(planted(), steps=40, run=Run(tmp_path / "a", quiet=True))
    metrics = read_metrics(tmp_path / "a" / "metrics.csv")
    climb = np.ravel(np.stack([metrics["bound"], metrics["raised"]], 1))
    assert (np.diff(climb) >= -1e-9).all() and climb[-1] > climb[0] + 1
    forgetful = LatentDirichletAllocation(9, 6, alpha=0.15, eta=eta, tol=0, sweeps=2, rng=tg.random.Generator(1))
    corpus, found = forgetful.checked(planted()), []
    forgetful.begin(corpus)
    for _ in range(40):
        forgetful.documents.gamma = np.zeros((0, 0))
        found.append(float(forgetful.update(corpus)["raised"]))
    assert float(forgetful.bound(forgetful.e_step(corpus))) / len(corpus) >= found[-1] - 1e-9


def test_of_two_starts_the_higher_is_kept():
    block, B = one_block(X[:2])
    starts = []
    for gamma in (np.array([[5.0, 0.7, 0.7], [0.7, 5, 0.7]]), np.array([[0.7, 5.0, 0.7], [0.7, 0.7, 5]])):
        e, c = chapter.normalisers(gamma, B)
        starts.append((gamma, c, e))
    bounds = [chapter.document_bound(g, c, block.counts, ALPHA) for g, c, _ in starts]
    gamma, c, e = chapter.higher(*starts, block.counts, ALPHA)
    np.testing.assert_allclose(chapter.document_bound(gamma, c, block.counts, ALPHA), np.maximum(*bounds))
    np.testing.assert_allclose(chapter.normalisers(gamma, B)[0], e)


def test_alpha_is_learnt():
    truth = LatentDirichletAllocation(9, 6, alpha=0.15, eta=0)
    truth.start_at(bars())
    x = truth.sample(400, 100, rng=tg.random.Generator(0))
    made = LatentDirichletAllocation(9, 6, alpha=1.0, eta=0.0, learn_alpha=True, rng=tg.random.Generator(0))
    made.start_at(bars())
    made.fit(x, steps=30, run=quiet())
    assert abs(float(made.alpha) - 0.15) < 0.05


def test_dense_sparse_and_the_size_of_the_blocks_make_no_difference(monkeypatch):
    full, found = chapter.Corpus.__init__, []
    for x, most in ((X, 10**6), (scipy.sparse.csr_matrix(X), 7), (scipy.sparse.coo_matrix(X.astype(float)), 1)):
        sized = lambda self, x, dtype, device, _, most=most: full(self, x, dtype, device, most)  # noqa: E731
        monkeypatch.setattr(chapter.Corpus, "__init__", sized)
        made = model(0.3, sweeps=200)
        made.fit(x, steps=3, run=quiet())
        found.append((made.weights.numpy(), made.transform(x), made.elbo(x)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)  # sweeps stop block by block


def test_reconstructions_have_the_lengths_of_the_documents():
    np.testing.assert_allclose(model().reconstruct(X).sum(1), X.sum(1), rtol=1e-12)
    np.testing.assert_allclose(model().transform(X)[4], 1 / K)  # no words: the prior


def test_a_word_never_seen_is_impossible_unless_topics_have_a_prior():  # "Words never seen."
    x = X[:, :5].copy()
    x[:, 4] = 0
    new = np.array([[0, 1, 0, 0, 1]])
    point = LatentDirichletAllocation(V, 2, eta=0, rng=tg.random.Generator(0)).fit(x, run=quiet())
    assert point.elbo(new)[0] == -math.inf and np.isfinite(point.transform(new)).all() and point.topics[:, 4].max() == 0
    law = LatentDirichletAllocation(V, 2, eta=0.1, rng=tg.random.Generator(0)).fit(x, run=quiet())
    assert np.isfinite(law.elbo(new)).all() and law.topics[:, 4].min() > 0


def test_a_document_that_cannot_be_is_refused():
    made = LatentDirichletAllocation(3, 2, eta=0)
    made.start_at([[0.5, 0.5, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="a word that no topic has; .* wanted"):
        made.fit([[1, 0, 0], [0, 0, 2]], run=quiet())


def test_a_topic_that_nothing_comes_from_keeps_its_words():
    made = LatentDirichletAllocation(3, 2, eta=0, alpha=0.5, tol=0)
    made.start_at([[0.5, 0.5, 0], [0, 0, 1]])
    made.fit([[3, 1, 0], [1, 2, 0]], steps=3, run=quiet())
    assert made.topics[1].tolist() == [0, 0, 1] and made.topics[0].tolist() == pytest.approx([4 / 7, 3 / 7, 0])


def test_killed_and_resumed_remembers_the_documents(tmp_path):
    def make(seed):
        return LatentDirichletAllocation(9, 4, tol=0, n_init=2, rng=tg.random.Generator(seed))

    make(0).fit(planted(30), steps=9, run=Run(tmp_path / "a", quiet=True))
    run, killed = Run(tmp_path / "b", quiet=True), make(0)
    corpus = killed.checked(planted(30))
    killed.length.assign(40)
    for step in run.steps(killed, 9, save_every=4):
        if not killed.started:
            killed.begin(corpus)
        run.log(**killed.update(corpus))
        if step == 6:
            break
    make(5).fit(planted(30), steps=9, run=Run.resume(tmp_path / "b", quiet=True))
    for file in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@both
def test_on_both_devices(eta, device):
    def answers(device):
        made = LatentDirichletAllocation(9, 4, eta=eta, learn_alpha=True, n_init=2, tol=0,
                                         rng=tg.random.Generator(0, device=device))  # fmt: skip
        x = planted(30)
        made.fit(x, steps=4, run=quiet())
        draws = tg.random.Generator(1, device=device)
        return [made.weights.numpy(), made.transform(x), made.elbo(x), made.sample(3, 20, rng=draws),
                made.reconstruct(x), float(made.alpha)]  # fmt: skip

    for a, b in zip(answers(device), answers("cpu"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_in_single_precision():
    made = LatentDirichletAllocation(9, 3, rng=tg.random.Generator(0)).to(dtype="float32")
    made.fit(planted(30), steps=4, run=quiet())
    assert made.weights.dtype == np.float32 == made.transform(planted(30)).dtype


def test_bad_input_is_refused():
    made = model()
    for x, message in ((X[:, :4], r"shape \(6, 4\); at least one row of counts of 5"), (X[:0], r"shape \(0, 5\)"),
                       (-X, "values from -4"), (np.full((2, V), np.nan), "values from nan"),
                       (np.full((2, V), np.inf), "to inf"), (np.zeros((2, V)), "no word at all")):  # fmt: skip
        with pytest.raises(ValueError, match=f"LatentDirichletAllocation: .*{message}.*wanted"):
            made.fit(x, run=quiet())
    for options in ({"alpha": 0.0}, {"alpha": math.nan}, {"eta": 1e-5}, {"eta": -1.0}, {"sweeps": 0}, {"tol": -1.0}):
        with pytest.raises(ValueError, match="LatentDirichletAllocation: .*wanted"):
            LatentDirichletAllocation(V, K, **options)
    for wrong in (BETA[:2], 2 * BETA, -BETA):
        with pytest.raises(ValueError, match="start_at: weights .* rows that sum to one"):
            made.start_at(wrong)
    with pytest.raises(ValueError, match="none below eta"):
        model(0.3).start_at(BETA * 0)
    with pytest.raises(RuntimeError, match="call fit or start_at first"):
        LatentDirichletAllocation(V, K).transform(X)
    with pytest.raises(ValueError, match="length is 0"):
        made.sample(2)


def test_the_callers_matrix_stays_as_it_is():
    x = scipy.sparse.csr_matrix((np.array([1.0, 2, 5, 0]), np.array([0, 0, 2, 1]), np.array([0, 3, 4])), (2, 3))
    before = x.data.copy(), x.indices.copy()
    corpus = LatentDirichletAllocation(3, 2).checked(x)
    assert corpus.n_tokens == 8
    np.testing.assert_array_equal(x.data, before[0])
    np.testing.assert_array_equal(x.indices, before[1])


def test_every_start_begins_at_the_same_alpha(monkeypatch):
    seen, start = [], LatentDirichletAllocation.start

    def noted(self, x):
        start(self, x)
        seen.append(float(self.alpha))

    monkeypatch.setattr(LatentDirichletAllocation, "start", noted)
    model = LatentDirichletAllocation(5, 2, alpha=0.3, learn_alpha=True, n_init=3, rng=tg.random.Generator(0))
    model.fit(X, steps=3, run=quiet())
    assert seen == [0.3] * 3 and float(model.alpha) != 0.3


def test_no_words_and_infinite_topics_are_refused():
    model = LatentDirichletAllocation(5, 2, eta=0.1)
    model.start_at(np.ones((2, 5)))
    with pytest.raises(ValueError, match="perplexity: x holds no word at all"):
        model.perplexity(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="start_at: weights"):
        model.start_at(np.full((2, 5), np.inf))


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

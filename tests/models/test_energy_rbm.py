"""The equations of the restricted Boltzmann machine against the table of all configurations, and its promises."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.energy import rbm as chapter
from tinygen.models.energy.rbm import RBM
from tinygen.runs import Run

rng = np.random.default_rng(0)
N, M = 4, 3
W, B, C = rng.normal(size=(N, M)), rng.normal(size=N), rng.normal(size=M)
V = np.array(list(itertools.product([0.0, 1.0], repeat=N)))  # every visible configuration
H = np.array(list(itertools.product([0.0, 1.0], repeat=M)))  # and every hidden one


def table(w=W, b=B, c=C):
    """-E(v, h) of every pair, by loops over the letters of (1): (2^n, 2^m)."""
    out = np.zeros((len(V), len(H)))
    for (i, v), (k, h) in itertools.product(enumerate(V), enumerate(H)):
        out[i, k] = sum(b[j] * v[j] for j in range(N)) + sum(c[a] * h[a] for a in range(M))
        out[i, k] += sum(v[j] * w[j, a] * h[a] for j in range(N) for a in range(M))
    return out


JOINT = np.exp(table() - scipy.special.logsumexp(table()))  # p(v, h)
P_V = JOINT.sum(1)


def machine(seed=0, **options):
    """The machine of the table, in float64."""
    model = RBM(N, M, rng=tg.random.Generator(seed), **options).to(dtype="float64")
    for name, value in {"weight": W, "visible_bias": B, "hidden_bias": C}.items():
        getattr(model, name).assign(value)
    return model


def by_autodiff(loss):
    """The gradient of a scalar by W, b and c."""
    leaves = [tg.tensor(p, requires_grad=True) for p in (W, B, C)]
    return [g.numpy() for g in tg.grad(loss(*leaves), leaves)]


def all_close(found, expected, **tolerance):
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.energy, 1)
def test_energy_by_loops():  # (1)
    np.testing.assert_allclose(-chapter.energy(V[:, None], H, W, B, C), table())


@equation(chapter.log_partition, 2, 7)
def test_log_partition_is_the_sum_over_both_rows():  # (2), (7)
    expected = scipy.special.logsumexp(table())
    assert chapter.log_partition(W, B, C) == pytest.approx(expected, rel=1e-12)
    assert chapter.log_partition(W.T, C, B) == pytest.approx(expected, rel=1e-12)  # more hidden than visible units


def test_log_partition_in_many_pieces(monkeypatch):  # (7)
    wide = rng.normal(size=(3, 9)), rng.normal(size=3), rng.normal(size=9)
    tall = wide[0].T, wide[2], wide[1]
    expected = scipy.special.logsumexp(
        [-chapter.free_energy(v, *wide) for v in itertools.product([0.0, 1.0], repeat=3)]
    )
    monkeypatch.setattr(chapter, "CACHED", 1)
    assert chapter.log_partition(*wide) == pytest.approx(expected, rel=1e-12)
    assert chapter.log_partition(*tall) == pytest.approx(expected, rel=1e-12)
    rows = np.concatenate(list(chapter.configurations(7, W, rows=20)))
    assert sorted(map(tuple, rows)) == list(itertools.product([0, 1], repeat=7))


@equation(chapter.hidden_probability, 3)
def test_hidden_units_given_visible_ones():  # (3)
    np.testing.assert_allclose(chapter.hidden_probability(V, W, C), JOINT @ H / P_V[:, None])


@equation(chapter.visible_probability, 4)
def test_visible_units_given_hidden_ones():  # (4)
    np.testing.assert_allclose(chapter.visible_probability(H, W, B), JOINT.T @ V / JOINT.sum(0)[:, None])


@equation(chapter.free_energy, 5)
def test_free_energy_sums_out_the_hidden_units():  # (5)
    np.testing.assert_allclose(chapter.free_energy(V, W, B, C), -scipy.special.logsumexp(table(), axis=1))


@equation(RBM.log_prob, 6)
def test_log_prob_is_the_marginal_of_the_table():  # (6)
    found = machine().log_prob(V)
    np.testing.assert_allclose(found, np.log(P_V), rtol=1e-9)
    assert np.exp(found).sum() == pytest.approx(1)
    np.testing.assert_allclose(machine().log_prob(V, log_z=1.5), -machine().free_energy(V) - 1.5)


@equation(chapter.log_likelihood_gradient, 8)
def test_gradient_of_the_likelihood_is_that_of_the_enumerated_one():  # (8)
    v = V[[1, 5, 5, 14]]

    def mean_log_p(w, b, c):
        every = tg.tensor(V)
        log_z = tg.logsumexp(-chapter.free_energy(every, w, b, c))
        return tg.mean(-chapter.free_energy(tg.tensor(v), w, b, c)) - log_z

    all_close(chapter.log_likelihood_gradient(v, W, B, C), by_autodiff(mean_log_p))


def test_gradient_is_zero_where_model_and_data_agree():  # (8)
    found = [sum(p * g for p, g in zip(P_V, parts, strict=True)) for parts in zip(
        *(chapter.log_likelihood_gradient(v[None], W, B, C) for v in V), strict=True)]  # fmt: skip
    all_close(found, [0 * W, 0 * B, 0 * C], atol=1e-12)


@equation(chapter.statistics, 9)
def test_statistics_are_the_derivatives_of_the_free_energy():  # (9)
    v = V[[1, 5, 14]]
    expected = by_autodiff(lambda w, b, c: -tg.mean(chapter.free_energy(tg.tensor(v), w, b, c)))
    all_close(chapter.statistics(v, chapter.hidden_probability(v, W, C)), expected)


@equation(chapter.contrastive_gradient, 10)
@given(
    data=st.lists(st.integers(0, 15), min_size=1, max_size=6),
    model=st.lists(st.integers(0, 15), min_size=1, max_size=6),
)
def test_contrastive_divergence_is_the_gradient_of_the_difference_of_free_energies(data, model):  # (10)
    v, v_model = V[data], V[model]

    def gap(w, b, c):
        mean_free = [tg.mean(chapter.free_energy(tg.tensor(x), w, b, c)) for x in (v, v_model)]
        return mean_free[0] - mean_free[1]

    p_h, p_model = (chapter.hidden_probability(x, W, C) for x in (v, v_model))
    all_close(chapter.contrastive_gradient(v, p_h, v_model, p_model), by_autodiff(gap))


def test_with_draws_from_the_model_contrastive_divergence_is_the_gradient_of_the_likelihood():  # (8) and (10)
    """The mean over the model's own distribution, given as so many rows of each configuration."""
    counts = np.round(P_V * 20_000).astype(int)
    draws = V.repeat(counts, 0)
    v = V[[1, 5]]
    p_h, p_model = (chapter.hidden_probability(x, W, C) for x in (v, draws))
    found = chapter.contrastive_gradient(v, p_h, draws, p_model)
    all_close(found, [-g for g in chapter.log_likelihood_gradient(v, W, B, C)], atol=2e-4)


@equation(chapter.log_odds, 11)
def test_log_odds_and_the_best_machine_without_weights():  # (11)
    mean = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(chapter.log_odds(mean), scipy.special.logit(mean))
    assert np.isfinite(chapter.log_odds(np.array([0.0, 1.0]))).all()
    v = V[[1, 5, 5, 14, 8]]
    _, by_b, by_c = chapter.log_likelihood_gradient(v, 0 * W, chapter.log_odds(v.mean(0)), 0 * C)
    np.testing.assert_allclose(by_b, 0, atol=1e-12)
    np.testing.assert_allclose(by_c, 0, atol=1e-12)
    np.testing.assert_allclose(machine().start_at(v).visible_bias.numpy(), scipy.special.logit(v.mean(0)))


# ---- chains ---------------------------------------------------------------------------------------------


def shares(draws):
    """How often each visible configuration comes."""
    return np.bincount((draws @ [8, 4, 2, 1]).astype(int), minlength=16)


def test_gibbs_steps_leave_the_distribution_as_it_is():
    model, n = machine(), 40_000
    start = V[np.random.default_rng(1).choice(16, n, p=P_V)]
    for steps in (1, 3):
        end = model.gibbs(start, steps=steps, rng=tg.random.Generator(2))
        assert scipy.stats.chisquare(shares(end), n * P_V).pvalue > 0.001
    assert not np.array_equal(start, end)


def test_long_chains_forget_where_they_began():
    n = 20_000
    drawn = machine().sample(n, steps=50, rng=tg.random.Generator(3))
    assert set(np.unique(drawn)) == {0, 1}
    assert scipy.stats.chisquare(shares(drawn), n * P_V).pvalue > 0.001


def test_exact_draws():
    n = 20_000
    drawn = machine().sample_exactly(n, rng=tg.random.Generator(4))
    assert scipy.stats.chisquare(shares(drawn), n * P_V).pvalue > 0.001
    with pytest.raises(ValueError, match=r"sample_exactly: 3 visible and 25 hidden units make 2\^25 terms"):
        RBM(3, 25).sample_exactly(1)


def test_no_step_is_no_change():
    np.testing.assert_array_equal(machine().gibbs(V, steps=0), V)


# ---- learning -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [0, 5])
def test_an_update_is_a_step_of_gradient_ascent(particles):
    """By the rule (10) written out, with the chain's draws repeated from the same generator."""
    model, twin = (machine(k=2, particles=particles, lr=0.3, momentum=0.5, weight_decay=0.1) for _ in range(2))
    v, velocity = V[[1, 5, 14]], [0, 0, 0]
    for _ in range(3):
        params = [p.numpy() for p in model.parameters()]
        u = twin.particles.numpy() if particles else v
        for _ in range(2):
            h = twin.rng.bernoulli(scipy.special.expit(u @ params[0] + params[2]))
            u = twin.rng.bernoulli(scipy.special.expit(h @ params[0].T + params[1])).astype(float)
        if particles:
            twin.particles.assign(u)
        p, p_u = (scipy.special.expit(x @ params[0] + params[2]) for x in (v, u))
        up = v.T @ p / 3 - u.T @ p_u / len(u) - 0.1 * params[0], v.mean(0) - u.mean(0), p.mean(0) - p_u.mean(0)
        velocity = [0.5 * old + g for old, g in zip(velocity, up, strict=True)]
        parts = model.update(v)
        all_close([p.numpy() for p in model.parameters()],
                  [p + 0.3 * g for p, g in zip(params, velocity, strict=True)])  # fmt: skip
        assert parts["gap"] == pytest.approx(abs(up[1]).mean())
        assert ("error" in parts) == (not particles)
    if particles:
        np.testing.assert_array_equal(model.particles.numpy(), twin.particles.numpy())


@pytest.mark.parametrize("options", [dict(k=1), dict(k=5), dict(particles=50)])
def test_learning_raises_the_exact_likelihood(options):
    bars = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]], float)  # of a square of four pixels
    model = RBM(4, 6, lr=0.2, rng=tg.random.Generator(0), **options)
    before = model.log_prob(bars).mean()
    model.fit(bars, steps=600, batch_size=40, run=Run(quiet=True))
    assert before == pytest.approx(-4 * np.log(2), abs=0.05)  # at first every image is as likely
    assert -2 * np.log(2) - 0.5 < model.log_prob(bars).mean() < -2 * np.log(2)  # four images of one quarter each


def test_gibbs_steps_may_change_from_update_to_update(tmp_path):
    """And go on where they were, if the run is resumed."""
    asked = []

    def rising(t):
        asked.append(t)
        return 1 + t

    model = RBM(N, M, k=rising, rng=tg.random.Generator(0))
    chain, steps = model.chain, []
    model.chain = lambda p_h, n, rng: steps.append(n) or chain(p_h, n, rng)
    model.fit(V, steps=3, run=Run(tmp_path / "run", quiet=True))
    assert asked == [0, 1, 2] and steps == [1, 2, 3]
    other = RBM(N, M, k=rising, rng=tg.random.Generator(1))
    other.fit(V, steps=5, run=Run.resume(tmp_path / "run", quiet=True))
    assert asked == [0, 1, 2, 3, 4]


def test_dead_units_and_chains_that_left_the_data_are_seen():
    model = RBM(N, 4, rng=tg.random.Generator(0)).to(dtype="float64")
    model.weight.assign(np.array([[9.0, 0, 0, 0]] + [[0.0] * 4] * 3))
    model.hidden_bias.assign([-4.5, -8.0, 8.0, -1.0])  # one that sees, one never on, one always on, one that is deaf
    found = model.diagnose(V, steps=1, rng=tg.random.Generator(1))
    assert (found["dead"], found["never on"], found["largest weight"]) == (3, 2, 9.0)
    model.weight.assign(np.zeros((N, 4)))
    model.visible_bias.assign(np.full(N, -3.0))  # F of white is 3 N above that of black, where the chains are
    found = model.diagnose(np.ones((500, N)), steps=1, rng=tg.random.Generator(1))
    assert found["chains below"] == pytest.approx(3 * N * scipy.special.expit(3), abs=0.2)


def test_grey_levels_are_drawn_anew_for_each_minibatch():
    grey = np.full((3, N), 0.3)
    model = RBM(N, M, lr=0.05, rng=tg.random.Generator(0))
    seen = []
    model.update = lambda v: seen.append(v) or {}
    model.fit(grey, steps=400, batch_size=10, resample=True, run=Run(quiet=True))
    seen = np.concatenate(seen)
    assert set(np.unique(seen)) == {0, 1} and abs(seen.mean() - 0.3) < 0.02


# ---- the model ------------------------------------------------------------------------------------------

X = np.random.default_rng(9).integers(0, 2, (40, 6)).astype(np.float32)


def fitted(seed=0, steps=3, run=None, particles=5, device="cpu"):
    model = RBM(6, 4, particles=particles, momentum=0.5, rng=tg.random.Generator(seed, device=device))
    return model.fit(X, steps=steps, batch_size=8, run=run or Run(quiet=True))


def test_shapes_and_dtypes():
    model = fitted()
    outs = {(3, 6): model.sample(3, steps=4), (40, 6): model.reconstruct(X), (40, 4): model.transform(X),
            (40,): model.free_energy(X)}  # fmt: skip
    for shape, out in outs.items():
        assert type(out) is np.ndarray and out.shape == shape and out.dtype == np.float32 and np.isfinite(out).all()
    assert model.gibbs(X).shape == (40, 6) and model.log_prob(X).shape == (40,)


def test_a_model_may_change_its_precision_between_updates():
    model = RBM(6, 4, rng=tg.random.Generator(0))
    model.update(X[:5])
    model.to(dtype="float64").update(X[:5].astype(float))
    assert model.weight.dtype == np.float64 and np.isfinite(model.weight.numpy()).all()


def test_same_seed_same_bits_and_looking_changes_nothing():
    a, b = fitted(), fitted()
    state = b.rng.state
    b.sample(3, steps=2), b.log_prob(X), b.gibbs(X)
    assert b.rng.state == state
    draws = [model.sample(9, steps=5, rng=tg.random.Generator(1)) for model in (a, b, fitted(seed=1))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(a.weight.numpy(), fitted(seed=1).weight.numpy())


@pytest.mark.parametrize("particles", [0, 5])
def test_killed_and_resumed_is_the_straight_run(tmp_path, particles):
    fitted(steps=12, run=Run(tmp_path / "a", quiet=True), particles=particles)
    run = Run(tmp_path / "b", quiet=True)
    model = RBM(6, 4, particles=particles, momentum=0.5, rng=tg.random.Generator(0))
    for step in run.steps(model, 12, save_every=5):
        run.log(**model.update(chapter.batch(X, model.rng, 8)))
        if step == 8:
            break
    fitted(seed=4, steps=12, run=Run.resume(tmp_path / "b", quiet=True), particles=particles)
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saved_and_loaded_is_the_same_model(tmp_path):
    a, b = fitted(), fitted(seed=3)
    tg.save(tmp_path / "rbm.safetensors", a.state_dict())
    b.load_state_dict(tg.load(tmp_path / "rbm.safetensors"))
    for model in (a, b):
        model.fit(X, steps=2, batch_size=8, run=Run(quiet=True))
    np.testing.assert_array_equal(a.transform(X), b.transform(X))


@pytest.mark.parametrize(("options", "message"), [
    (dict(n_visible=0), "got 0 visible and 4 hidden"), (dict(k=0), "k is 0"), (dict(particles=-1), "particles -1"),
    (dict(lr=0.0), "lr must be positive"), (dict(momentum=-1.0), "momentum must be"),
    (dict(weight_decay=-1.0), "weight_decay is -1.0"),
])  # fmt: skip
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RBM(**{"n_visible": 6, "n_hidden": 4, **options})


def test_bad_input_is_refused():
    model = fitted()
    with pytest.raises(ValueError, match=r"RBM: x has shape \(40, 5\); rows of 6 pixels"):
        model.fit(X[:, :5], steps=1)
    with pytest.raises(ValueError, match="no rows"):
        model.transform(X[:0])
    with pytest.raises(ValueError, match="values from nan"):
        model.gibbs(np.full((1, 6), np.nan))
    with pytest.raises(ValueError, match="steps is -1"):
        model.sample(3, steps=-1)
    with pytest.raises(ValueError, match="to 255"):
        model.free_energy(X * 255)
    with pytest.raises(ValueError, match=r"30 visible and 25 hidden units make 2\^25 terms.*annealed_importance"):
        RBM(30, 25).log_prob(np.zeros((1, 30)))


def test_on_the_stand_in_for_a_gpu(device):
    def outputs(device):
        model, draws = fitted(device=device), tg.random.Generator(1, device=device)
        looks = model.transform(X), model.reconstruct(X), model.log_prob(X)
        return *looks, model.sample(4, steps=3, rng=draws), model.sample_exactly(3, rng=draws)

    for found, expected in zip(outputs(device), outputs("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_the_exact_gradient_on_the_stand_in(device):
    from tinygen.backend import arrays

    found = chapter.log_likelihood_gradient(*[arrays.asarray(a, None, device) for a in (V, W, B, C)])
    all_close([arrays.to_numpy(g) for g in found], chapter.log_likelihood_gradient(V, W, B, C))

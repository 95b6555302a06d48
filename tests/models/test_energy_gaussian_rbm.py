"""The equations of the Gaussian machine against sums over hidden configurations and integrals over visible ones."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.energy import annealed_importance_sampling as ais
from tinygen.models.energy import gaussian_rbm as chapter
from tinygen.models.energy.gaussian_rbm import GaussianRBM
from tinygen.runs import Run

rng = np.random.default_rng(0)
N, M = 2, 3
W, B, C, S = rng.normal(size=(N, M)), rng.normal(size=N), rng.normal(size=M), np.array([0.5, 1.7])  # S: variances
V = rng.normal(size=(7, N)) * 2
H = np.array(list(itertools.product([0.0, 1.0], repeat=M)))  # every hidden configuration
AXIS = np.linspace(-13, 13, 261)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1)  # of the plane, (261, 261, 2)


def by_letters(v, h):
    """E(v, h) by loops over the letters of (1)."""
    parabolas = sum((v[j] - B[j]) ** 2 / (2 * S[j]) for j in range(N))
    ties = sum(v[j] / S[j] * W[j, i] * h[i] for j in range(N) for i in range(M))
    return parabolas - sum(C[i] * h[i] for i in range(M)) - ties


def table(v):
    """-E(v, h) of every pair: (..., n) to (..., 2^m)."""
    return np.stack([-by_letters(np.moveaxis(v, -1, 0), h) for h in H], axis=-1)


def integral(values):
    """Over the plane, from values on the grid (261, 261, ...)."""
    return scipy.integrate.trapezoid(scipy.integrate.trapezoid(values, AXIS, axis=0), AXIS, axis=0)


def machine(seed=0, **options):
    """The machine of the letters, in float64."""
    model = GaussianRBM(N, M, rng=tg.random.Generator(seed), **options).to(dtype="float64")
    letters = {"weight": W, "visible_bias": B, "hidden_bias": C, "variance": S}
    for name, value in letters.items():
        getattr(model, name).assign(value)
    return model


def by_autodiff(loss):
    """The gradient of a scalar by W, b and c."""
    leaves = [tg.tensor(p, requires_grad=True) for p in (W, B, C)]
    return [g.numpy() for g in tg.grad(loss(*leaves, tg.tensor(S)), leaves)]


def all_close(found, expected, **tolerance):
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.energy, 1)
def test_energy_by_loops():  # (1)
    np.testing.assert_allclose(-chapter.energy(V[:, None], H, W, B, C, S), table(V))


@equation(chapter.hidden_probability, 2)
def test_hidden_units_given_visible_ones():  # (2), by the table of all h
    p_h = scipy.special.softmax(table(V), axis=1)
    np.testing.assert_allclose(chapter.hidden_probability(V, W, C, S), p_h @ H)


@equation(chapter.visible_mean, 3)
def test_visible_units_given_hidden_ones_are_gaussian():  # (3), by the normalised exponential on a grid
    for i, h in enumerate(H):
        density = np.exp(table(GRID)[..., i])
        density /= integral(density)
        mean = chapter.visible_mean(h, W, B)
        np.testing.assert_allclose(integral(density[..., None] * GRID), mean, rtol=1e-8, atol=1e-8)
        expected = scipy.stats.norm.pdf(GRID, mean, np.sqrt(S)).prod(-1)
        np.testing.assert_allclose(density, expected, atol=1e-9)


def test_draws_have_the_mean_and_the_spread_of_the_conditional():  # (3)
    mean = np.tile([[1.0, -2.0]], (20_000, 1))
    drawn = machine().draw_visible(mean, tg.random.Generator(1))
    for j in range(N):
        assert scipy.stats.kstest(drawn[:, j], scipy.stats.norm(mean[0, j], np.sqrt(S[j])).cdf).pvalue > 0.001


@equation(chapter.free_energy, 4)
def test_free_energy_sums_out_the_hidden_units():  # (4)
    np.testing.assert_allclose(chapter.free_energy(V, W, B, C, S), -scipy.special.logsumexp(table(V), axis=1))
    np.testing.assert_allclose(machine().free_energy(V), -scipy.special.logsumexp(table(V), axis=1))


@equation(chapter.log_mass, 5)
def test_the_integral_over_visible_units():  # (5)
    expected = np.log(integral(np.exp(table(GRID))))
    np.testing.assert_allclose(chapter.log_mass(H, W, B, C, S), expected, rtol=1e-8)


@equation(chapter.log_partition, 6)
def test_log_partition_is_the_integral_of_the_sum():  # (6)
    expected = np.log(integral(np.exp(table(GRID)).sum(-1)))
    assert chapter.log_partition(W, B, C, S) == pytest.approx(expected, rel=1e-9)
    assert machine().log_z() == pytest.approx(expected, rel=1e-9)


@equation(GaussianRBM.log_prob, 7, of=chapter)
def test_log_prob_is_a_mixture_of_gaussians_and_integrates_to_one():  # (7)
    model = machine()
    shares = scipy.special.softmax(np.log(integral(np.exp(table(GRID)))))
    parts = [scipy.stats.multivariate_normal(B + W @ h, np.diag(S)).pdf(V) for h in H]
    np.testing.assert_allclose(model.log_prob(V), np.log(shares @ np.array(parts)), rtol=1e-7)
    density = np.exp(model.log_prob(GRID.reshape(-1, N))).reshape(GRID.shape[:2])
    assert integral(density) == pytest.approx(1, abs=1e-9)


@equation(GaussianRBM.gradients, 8)
@given(
    data=st.lists(st.integers(0, 6), min_size=1, max_size=5), model=st.lists(st.integers(0, 6), min_size=1, max_size=5)
)
def test_contrastive_divergence_is_the_gradient_of_the_difference_of_free_energies(data, model):  # (8)
    v, v_model = V[data], V[model]

    def gap(*letters):
        mean_free = [tg.mean(chapter.free_energy(tg.tensor(x), *letters)) for x in (v, v_model)]
        return mean_free[0] - mean_free[1]

    p_h, p_model = (chapter.hidden_probability(x, W, C, S) for x in (v, v_model))
    found = machine().gradients(v, p_h, v_model, p_model)
    all_close(found, by_autodiff(gap), rtol=1e-9, atol=1e-10)


def test_with_exact_draws_contrastive_divergence_is_the_gradient_of_the_likelihood():  # (6), (8)
    model, v, n = machine(), V[:3], 100_000

    def minus_log_p(*letters):
        log_z = tg.logsumexp(chapter.log_mass(tg.tensor(H), *letters))
        return tg.mean(chapter.free_energy(tg.tensor(v), *letters)) + log_z

    drawn = model.sample_exactly(n, rng=tg.random.Generator(2)).astype(float)
    p_drawn = model.hidden_mean(drawn)
    found = model.gradients(v, model.hidden_mean(v), drawn, p_drawn)
    of_draws = (drawn / S)[:, :, None] * p_drawn[:, None], drawn / S, p_drawn  # whose means are in `found`
    for f, e, draws in zip(found, by_autodiff(minus_log_p), of_draws, strict=True):
        assert (abs(f - e) < 5 * draws.std(0) / np.sqrt(n)).all()


def test_an_update_goes_down_that_gradient():  # (8)
    model, twin, v = machine(k=2, lr=0.3, weight_decay=0.1), machine(k=2, lr=0.3), V[:3]
    v_model, p_model = twin.chain(twin.hidden_mean(v), 2, twin.rng)
    g_W, g_b, g_c = twin.gradients(v, twin.hidden_mean(v), v_model, p_model)
    model.update(v)
    moved = [p.numpy() for p in model.parameters()]
    all_close(moved, [W - 0.3 * (g_W + 0.1 * W), B - 0.3 * g_b, C - 0.3 * g_c])


@pytest.mark.parametrize(("std", "leaves"), [(0.9, True), (1.1, False)])
def test_weights_leave_zero_only_where_the_data_vary_by_more_than_sigma(std, leaves):
    """The remark on W = 0: the exact gradient grows a small column along a direction of standard deviation 1."""
    v, small = np.array([[1.0, 0.0], [-1.0, 0.0]]), 1e-3
    w, b = tg.tensor([[small], [0.0]], dtype="float64", requires_grad=True), np.array([-small / 2, 0.0])  # mean 0
    others = b, np.zeros(1), np.full(2, std**2)
    log_z = tg.logsumexp(chapter.log_mass(tg.tensor([[0.0], [1.0]], dtype="float64"), w, *others))
    (g,) = tg.grad(tg.mean(chapter.free_energy(v, w, *others)) + log_z, [w])
    assert (g.numpy()[0, 0] < 0) == leaves


# ---- chains and learning ----------------------------------------------------------------------------------


def quantiles(draws):
    """Where draws lie in the distribution of their first number: uniform, if they are the model's."""
    masses = chapter.log_mass(H, W, B, C, S)
    shares, means = scipy.special.softmax(masses), B + H @ W.T
    return sum(p * scipy.stats.norm.cdf(draws[:, 0], m[0], np.sqrt(S[0])) for p, m in zip(shares, means, strict=True))


@pytest.mark.parametrize("draw", ["sample", "sample_exactly", "gibbs"])
def test_draws_follow_the_exact_density(draw):
    model, n = machine(), 5000
    if draw == "sample":
        drawn = model.sample(n, steps=60, rng=tg.random.Generator(3))
    else:
        drawn = model.sample_exactly(n, rng=tg.random.Generator(4))
    if draw == "gibbs":
        drawn = model.gibbs(drawn, steps=3, rng=tg.random.Generator(5))
    assert scipy.stats.kstest(quantiles(drawn), "uniform").pvalue > 0.001


TWO = np.concatenate([rng.normal(size=(300, 2)) * 0.3 + [2, 0], rng.normal(size=(300, 2)) * 0.3 - [2, 0]])


@pytest.mark.parametrize("options", [dict(k=1), dict(k=5)])
def test_learning_raises_the_exact_likelihood(options):
    """Of two clusters: from that of one narrow Gaussian to near that of the two which made them."""
    model = GaussianRBM(2, 3, std=0.3, lr=0.003, rng=tg.random.Generator(0), **options).start_at(TWO)
    one = scipy.stats.norm.logpdf(TWO, TWO.mean(0), 0.3).sum(1).mean()
    two = np.mean(scipy.stats.norm.logpdf(TWO[:300], [2, 0], 0.3).sum(1)) - np.log(2)
    before = model.log_prob(TWO).mean()
    model.fit(TWO, steps=400, run=Run(quiet=True))
    assert before == pytest.approx(one, abs=0.1) and one < -20
    assert two - 0.3 < model.log_prob(TWO).mean() < two + 0.1


def test_start_at_takes_the_mean_and_leaves_the_variance():
    model = GaussianRBM(2, 3, std=[0.7, 2.0], rng=tg.random.Generator(0)).start_at(TWO)
    np.testing.assert_allclose(model.variance.numpy(), [0.49, 4], rtol=1e-6)
    np.testing.assert_allclose(model.visible_bias.numpy(), TWO.mean(0), atol=1e-6)


@pytest.mark.parametrize("options", [dict(k=1), dict(k=5), dict(particles=10)])
def test_weights_that_explode_are_seen_before_they_overflow(options):
    model = GaussianRBM(2, 3, lr=30.0, rng=tg.random.Generator(0), **options).start_at(TWO)
    with pytest.raises(FloatingPointError, match="GaussianRBM: the weights have exploded by update .*smaller lr"):
        model.fit(TWO, steps=100, run=Run(quiet=True))
    assert all(np.isfinite(p.numpy()).all() for p in model.parameters())


# ---- the model --------------------------------------------------------------------------------------------

X = np.random.default_rng(9).normal(size=(40, 6)).astype(np.float32)


def fitted(seed=0, steps=3, run=None, device="cpu"):
    model = GaussianRBM(6, 4, std=0.8, particles=5, momentum=0.5, weight_decay=0.01,
                        rng=tg.random.Generator(seed, device=device))  # fmt: skip
    return model.fit(X, steps=steps, batch_size=8, run=run or Run(quiet=True))


def test_shapes_and_dtypes():
    model = fitted()
    outs = {(3, 6): model.sample(3, steps=4), (40, 6): model.reconstruct(X), (40, 4): model.transform(X),
            (40,): model.free_energy(X)}  # fmt: skip
    for shape, out in outs.items():
        assert type(out) is np.ndarray and out.shape == shape and out.dtype == np.float32 and np.isfinite(out).all()
    assert model.gibbs(X).shape == (40, 6) and model.log_prob(X).shape == (40,)
    assert model.sample_exactly(3).dtype == np.float32


def test_killed_and_resumed_is_the_straight_run(tmp_path):
    fitted(steps=12, run=Run(tmp_path / "a", quiet=True))
    fitted(steps=5, run=Run(tmp_path / "b", quiet=True))
    fitted(seed=4, steps=12, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bad_input_is_refused():
    model = fitted()
    with pytest.raises(ValueError, match=r"GaussianRBM: x has shape \(40, 5\); rows of 6"):
        model.fit(X[:, :5], steps=1)
    with pytest.raises(ValueError, match="no rows"):
        model.transform(X[:0])
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 1 rows"):
        model.gibbs(np.full((1, 6), np.nan))
    for std in (0.0, [1.0, 2.0], np.inf):
        with pytest.raises(ValueError, match="GaussianRBM: std is .* one for each of the 6"):
            GaussianRBM(6, 4, std=std)
    with pytest.raises(ValueError, match="got 0 visible"):
        GaussianRBM(0, 4)
    with pytest.raises(ValueError, match=r"4 visible and 25 hidden units make 2\^25 terms"):
        GaussianRBM(4, 25).log_z()
    with pytest.raises(ValueError, match="log_partition: a GaussianRBM.*binary"):
        ais.log_partition(model)


def test_on_the_stand_in_for_a_gpu(device):
    def outputs(device):
        model, draws = fitted(device=device), tg.random.Generator(1, device=device)
        looks = model.transform(X), model.reconstruct(X), model.log_prob(X)
        return *looks, model.sample(4, steps=3, rng=draws), model.sample_exactly(3, rng=draws)

    for found, expected in zip(outputs(device), outputs("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=5e-4, atol=1e-5)

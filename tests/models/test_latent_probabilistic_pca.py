"""Probabilistic PCA: its equations against SciPy's normal laws and plain loops; EM and the closed form; promises."""

import doctest

import numpy as np
import pytest
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.latent import PCA, ProbabilisticPCA
from tinygen.models.latent import probabilistic_pca as chapter
from tinygen.models.latent.pca import condensed
from tinygen.models.latent.probabilistic_pca import LinearGaussian
from tinygen.runs import Run

rng = np.random.default_rng(0)
D, K = 4, 2
MEAN, W, PSI = np.array([1.0, -2.0, 0.5, 3.0]), np.random.default_rng(7).normal(size=(D, K)), np.array([0.3, 1, 2, 0.6])
C = W @ W.T + np.diag(PSI)


def quiet():
    return Run(quiet=True)


def flat(n=60, d=5, k=2, noise=0.3, seed=0):
    """A plane with noise around it."""
    draw = np.random.default_rng(seed)
    return (
        draw.normal(size=(n, k)) @ draw.normal(size=(k, d)) * 2 + noise * draw.normal(size=(n, d)) + draw.normal(size=d)
    )


def joint(x):
    """p(x, z) as SciPy's normal law of (x, z), and its conditional law of z given x, by the textbook formula."""
    gain = W.T @ np.linalg.inv(C)
    return (x - MEAN) @ gain.T, np.eye(K) - gain @ W


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.covariance, 2)
def test_the_covariance_of_what_is_drawn():  # (2)
    np.testing.assert_allclose(chapter.covariance(W, PSI), C, rtol=1e-12)


@equation(LinearGaussian.sample, 1)
def test_draws_are_a_mix_and_noise():  # (1)
    model = ProbabilisticPCA(5, 2, rng=tg.random.Generator(0)).fit_exactly(flat())
    x = model.sample(200_000, rng=tg.random.Generator(1))
    np.testing.assert_allclose(np.cov(x.T), model.covariance(), atol=0.06)
    rng_1 = tg.random.Generator(2)
    z, eps = rng_1.normal((3, 2), dtype="float64"), rng_1.normal((3, 5), dtype="float64")
    expected = [model.loadings.numpy() @ a + model.mean.numpy() + float(model.noise) ** 0.5 * b
                for a, b in zip(z, eps, strict=True)]  # fmt: skip
    np.testing.assert_allclose(model.sample(3, rng=tg.random.Generator(2)), expected, rtol=1e-10)
    plane = model.sample(20, rng=tg.random.Generator(2), noise=False) - model.mean.numpy()
    assert np.linalg.matrix_rank(plane, tol=1e-9) == 2


@equation(chapter.posterior, 3)
def test_the_posterior_is_the_conditional_normal():  # (3)
    x = rng.normal(size=(6, D))
    B, G = chapter.posterior(W, PSI)
    means, covariance = joint(x)
    np.testing.assert_allclose((x - MEAN) @ B.T, means, rtol=1e-10)
    np.testing.assert_allclose(G, covariance, rtol=1e-10)


@equation(chapter.log_density, 4)
def test_the_density_is_scipys():  # (4)
    x = 3 * rng.normal(size=(6, D))
    np.testing.assert_allclose(chapter.log_density(x, MEAN, W, PSI),
                               scipy.stats.multivariate_normal(MEAN, C).logpdf(x), rtol=1e-11)  # fmt: skip


def by_loops(x):
    """(5), example by example, from means and covariance of z by `joint`."""
    means, G = joint(x)
    bar_x, bar_m = x.mean(0), means.mean(0)
    xz = sum(np.outer(a - bar_x, m - bar_m) for a, m in zip(x, means, strict=True)) / len(x)
    zz = G + sum(np.outer(m - bar_m, m - bar_m) for m in means) / len(x)
    return chapter.Averages(len(x), bar_x, bar_m, xz, zz, ((x - bar_x) ** 2).mean(0))


@pytest.mark.parametrize("n", [3, 40])  # with fewer examples than features, and with more
@equation(chapter.averages, 5)
def test_averages_from_the_triangle(n):  # (5)
    x = 2 * rng.normal(size=(n, D))
    found = chapter.averages(condensed(x), MEAN, *chapter.posterior(W, PSI))
    for name, expected in by_loops(x)._asdict().items():
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-9, atol=1e-12, err_msg=name)


@equation(chapter.regression, 6)
@equation(chapter.left_over, 7)
def test_the_m_step_is_a_regression_on_what_z_may_have_been():  # (6) and (7), on draws of z: noise of the draws aside
    x = 2 * rng.normal(size=(12, D))
    means, G = joint(x)
    # two-point laws along the axes of G have its mean and covariance exactly
    spread = np.linalg.cholesky(G) * np.sqrt(K)
    z = np.concatenate([means + sign * spread[:, i] for i in range(K) for sign in (1, -1)])
    tall = np.tile(x, (2 * K, 1))
    design = np.column_stack([z, np.ones(len(z))])
    best, *_ = np.linalg.lstsq(design, tall, rcond=None)
    found = by_loops(x)
    W_new, mean = chapter.regression(found)
    np.testing.assert_allclose(W_new, best[:K].T, rtol=1e-9)
    np.testing.assert_allclose(mean, best[K], rtol=1e-9)
    np.testing.assert_allclose(chapter.left_over(found, W_new), ((tall - design @ best) ** 2).mean(0), rtol=1e-9)


@equation(chapter.expected_log_joint, 8)
@equation(chapter.misses, 9)
def test_q_over_what_z_may_have_been():  # (8) and (9), at other parameters than the posterior's
    x = 2 * rng.normal(size=(12, D))
    means, G = joint(x)
    spread = np.linalg.cholesky(G) * np.sqrt(K)
    other_mean, other_W, other_psi = MEAN + 0.3, W + 0.2, PSI * 1.7
    expected, errors = 0.0, 0.0
    for i in range(K):
        for sign in (1, -1):
            z = means + sign * spread[:, i]
            log_p = scipy.stats.norm.logpdf(x, z @ other_W.T + other_mean, np.sqrt(other_psi)).sum()
            expected += (log_p + scipy.stats.norm.logpdf(z).sum()) / (2 * K)
            errors = errors + ((x - z @ other_W.T - other_mean) ** 2).mean(0) / (2 * K)
    found = by_loops(x)
    np.testing.assert_allclose(chapter.misses(found, other_mean, other_W), errors, rtol=1e-9)
    np.testing.assert_allclose(chapter.expected_log_joint(found, other_mean, other_W, other_psi), expected, rtol=1e-10)


@equation(chapter.maximum_likelihood, 10)
def test_the_closed_form():  # (10): by eigenvectors, and no neighbour is more likely
    x = flat()
    W_best, variance = chapter.maximum_likelihood(condensed(x), 2)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    assert variance == pytest.approx(values[:3].mean(), rel=1e-10)
    expected = vectors[:, 3:] @ np.diag(values[3:] - variance) @ vectors[:, 3:].T
    np.testing.assert_allclose(W_best @ W_best.T, expected, atol=1e-10)

    def likelihood(loadings, noise):
        return chapter.log_density(x, x.mean(0), loadings, np.full(5, noise)).sum()

    for seed in range(20):
        draw = np.random.default_rng(seed)
        other = likelihood(W_best + 0.02 * draw.normal(size=(5, 2)), variance * np.exp(0.05 * draw.normal()))
        assert other < likelihood(W_best, variance)


# ---- the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d, k", [(60, 5, 2), (9, 20, 3), (200, 6, 5)])
def test_em_ends_at_the_closed_form(n, d, k):
    x = flat(n, d, k, noise=1.5)
    model = ProbabilisticPCA(d, k, tol=0, rng=tg.random.Generator(0)).fit(x, steps=1500, run=quiet())
    exact = ProbabilisticPCA(d, k).fit_exactly(x)
    np.testing.assert_allclose(model.covariance(), exact.covariance(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.score_samples(x), exact.score_samples(x), rtol=1e-6)


def test_its_likelihood_is_scikit_learns_but_for_the_variances():
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the oracle is scikit-learn")
    x = flat()
    theirs = decomposition.PCA(2, svd_solver="full").fit(x)
    model = ProbabilisticPCA(5, 2).fit_exactly(x)
    np.testing.assert_allclose(model.covariance() * 60 / 59, theirs.get_covariance(), rtol=1e-8, atol=1e-10)
    for name in ("loadings", "noise"):  # theirs divide by n - 1
        value = getattr(model, name)
        value.assign(value.numpy() * (60 / 59) ** (0.5 if name == "loadings" else 1))
    np.testing.assert_allclose(model.score_samples(x), theirs.score_samples(x), rtol=1e-8)


def test_without_noise_it_projects_as_pca_does():  # sigma to 0
    x = flat(noise=1e-5)
    pca, model = PCA(5, 2).fit(x), ProbabilisticPCA(5, 2).fit_exactly(x)
    np.testing.assert_allclose(model.reconstruct(x), pca.reconstruct(x), atol=1e-8)
    noisy = flat(noise=1.0)
    pca, model = PCA(5, 2).fit(noisy), ProbabilisticPCA(5, 2).fit_exactly(noisy)
    lengths = [np.linalg.norm(m.reconstruct(noisy) - noisy.mean(0)) for m in (pca, model)]
    assert lengths[1] < 0.95 * lengths[0]  # nearer to 0 than the projection


def test_constant_columns_are_no_trouble_and_planes_are():
    x = np.concatenate([flat(), np.full((60, 1), 4.0)], axis=1)
    model = ProbabilisticPCA(6, 2, rng=tg.random.Generator(0)).fit(x, steps=50, run=quiet())
    assert np.isfinite(model.score_samples(x)).all() and abs(model.loadings.numpy()[5]).max() < 1e-8
    plane = flat(noise=0.0)
    with pytest.raises(ValueError, match="ProbabilisticPCA: the examples lie in a plane of 2 dimensions.*singular"):
        ProbabilisticPCA(5, 2).fit_exactly(plane)
    with pytest.raises(ValueError, match="singular"):
        ProbabilisticPCA(5, 4, rng=tg.random.Generator(0)).fit(flat(4), steps=1000, run=quiet())


def test_on_every_device(device):
    x = flat()
    models = [ProbabilisticPCA(5, 2, rng=tg.random.Generator(0, device=where)).fit(x, steps=5, run=quiet())
              for where in ("cpu", device)]  # fmt: skip
    for verb in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_allclose(*(getattr(m, verb)(x) for m in models), rtol=1e-7)
    draws = [m.sample(4, rng=tg.random.Generator(1, device=where))
             for m, where in zip(models, ("cpu", device), strict=True)]  # fmt: skip
    np.testing.assert_allclose(*draws, rtol=1e-6)
    assert models[1].fit_exactly(x).covariance().shape == (5, 5)


def test_what_is_refused_and_how():
    x = flat()
    with pytest.raises(ValueError, match=r"ProbabilisticPCA: x has shape \(60, 4\); at least one row of 5 features"):
        ProbabilisticPCA(5, 2).fit(x[:, :4], run=quiet())
    with pytest.raises(ValueError, match="x has 1 row; at least two"):
        ProbabilisticPCA(5, 2).fit(x[:1], run=quiet())
    with pytest.raises(ValueError, match="NaN"):
        ProbabilisticPCA(5, 2).fit(np.full((3, 5), np.nan), run=quiet())
    with pytest.raises(ValueError, match="5 components of 5 features; from 1 to 4"):
        ProbabilisticPCA(5, 5)
    with pytest.raises(RuntimeError, match="call fit first"):
        ProbabilisticPCA(5, 2).sample(3)


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

"""Factor analysis: its equations by plain sums, scikit-learn to 1e-6, units, rotations, and Heywood's case."""

import doctest
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import FactorAnalysis, ProbabilisticPCA
from tinygen.models.latent import factor_analysis as chapter
from tinygen.models.latent.probabilistic_pca import log_density
from tinygen.runs import Run

rng = np.random.default_rng(0)


def quiet():
    return Run(quiet=True)


def exams(n=400, d=7, k=2, seed=0):
    """Marks that share k causes, each with noise of its own."""
    draw = np.random.default_rng(seed)
    return (
        draw.normal(size=(n, k)) @ draw.normal(size=(k, d)) * 2 + draw.normal(size=(n, d)) * draw.uniform(0.7, 2, d) + 5
    )


def fitted(x, k, steps=1000, **options):
    return FactorAnalysis(x.shape[1], k, tol=0, rng=tg.random.Generator(0), **options).fit(x, steps=steps, run=quiet())


@equation(chapter.communality, 2)
def test_communalities_are_shares_of_variance():  # (2)
    W, psi = rng.normal(size=(4, 2)), rng.uniform(0.5, 2, 4)
    expected = [sum(v * v for v in row) / (W @ W.T + np.diag(psi))[j, j] for j, row in enumerate(W)]
    np.testing.assert_allclose(chapter.communality(W, psi), expected, rtol=1e-12)


@equation(FactorAnalysis.sample, 1, of=chapter)
def test_draws_have_noise_of_their_own():  # (1)
    model = fitted(exams(), 2, 50)
    x = model.sample(200_000, rng=tg.random.Generator(1))
    np.testing.assert_allclose(np.cov(x.T), model.covariance(), rtol=0.03, atol=0.12)
    draws = tg.random.Generator(2)
    z, eps = draws.normal((3, 2), dtype="float64"), draws.normal((3, 7), dtype="float64")
    expected = z @ model.loadings.numpy().T + model.mean.numpy() + eps * np.sqrt(model.noise.numpy())
    np.testing.assert_allclose(model.sample(3, rng=tg.random.Generator(2)), expected, rtol=1e-12)


@equation(chapter.noise_variances, 3)
def test_noise_above_its_floor():  # (3)
    found = chapter.noise_variances(np.array([0.5, -1e-9, 0.1]), np.array([1.0, 4.0, 200.0]), 1e-2)
    np.testing.assert_allclose(found, [0.5, 0.04, 2.0], rtol=1e-12)


@given(seed=st.integers(0, 10**6))
@equation(chapter.rescaled, 6)
def test_units_do_not_matter(seed):  # (6)
    draw = np.random.default_rng(seed)
    mean, W, psi, scale = (
        draw.normal(size=4),
        draw.normal(size=(4, 2)),
        draw.uniform(0.5, 2, 4),
        draw.uniform(0.1, 9, 4),
    )
    x = 2 * draw.normal(size=(6, 4))
    moved = log_density(scale * x, *chapter.rescaled(mean, W, psi, scale))
    np.testing.assert_allclose(moved, log_density(x, mean, W, psi) - np.log(scale).sum(), rtol=1e-9, atol=1e-9)
    law = scipy.stats.multivariate_normal(scale * mean, np.diag(scale) @ (W @ W.T + np.diag(psi)) @ np.diag(scale))
    np.testing.assert_allclose(moved, law.logpdf(scale * x), rtol=1e-9)


def test_units_do_not_matter_to_what_is_learnt():  # (6), where they do matter to PCA's noise
    x, scale = exams(), np.array([1.0, 1000, 1, 0.1, 1, 1, 1])
    here, there = (FactorAnalysis(7, 2).fit_exactly(a) for a in (x, x * scale))
    np.testing.assert_allclose(there.covariance(), here.covariance() * np.outer(scale, scale), rtol=1e-4)
    other = [ProbabilisticPCA(7, 2).fit_exactly(a).covariance() for a in (x, x * scale)]
    assert abs(other[1] / (other[0] * np.outer(scale, scale)) - 1).max() > 0.1


@equation(chapter.simplicity, 7)
def test_the_criterion_of_varimax():  # (7): the variances of the squares within columns
    W = rng.normal(size=(6, 3))
    np.testing.assert_allclose(chapter.simplicity(W), sum(np.var(w**2) for w in W.T), rtol=1e-12)


@equation(chapter.best_angle, 8)
def test_the_best_turn_of_two_columns():  # (8), among all
    for seed in range(5):
        W = np.random.default_rng(seed).normal(size=(8, 2))

        def value(angle, W=W):
            c, s = np.cos(angle), np.sin(angle)
            return float(chapter.simplicity(W @ np.array([[c, -s], [s, c]])))

        angles = np.linspace(-np.pi / 4, np.pi / 4, 2001)
        near = angles[np.argmax([value(angle) for angle in angles])]
        best = scipy.optimize.minimize_scalar(
            lambda t: -value(t), bracket=(near - 1e-3, near, near + 1e-3), tol=1e-12
        ).x
        assert chapter.best_angle(*W.T) == pytest.approx(best, abs=1e-6)
        assert float(chapter.simplicity(chapter.varimax(W))) == pytest.approx(value(best), rel=1e-10)


def test_varimax_makes_columns_simple():
    simple = np.kron(np.eye(3), np.ones((3, 1))) * rng.uniform(0.5, 2, (9, 1))  # each feature of one factor
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found = chapter.varimax(simple @ turn)
    np.testing.assert_allclose(found @ found.T, simple @ simple.T, atol=1e-10)
    np.testing.assert_allclose(np.sort(abs(found), 1), np.sort(simple, 1), atol=1e-6)


@equation(chapter.best_loadings, 4)
@equation(chapter.log_likelihood, 5)
def test_the_best_plane_for_given_noise():  # (4) and (5)
    x = exams(60)
    S, psi = np.cov(x.T, bias=True), rng.uniform(0.5, 2, 7)
    W = chapter.best_loadings(S, psi, 2)
    law = scipy.stats.multivariate_normal(x.mean(0), W @ W.T + np.diag(psi))
    best = chapter.log_likelihood(S, 60, W, psi)
    np.testing.assert_allclose(best, law.logpdf(x).sum(), rtol=1e-10)
    scaled = S / np.sqrt(np.outer(psi, psi))
    values, vectors = np.linalg.eigh(scaled)
    C = np.diag(psi) + sum((values[i] - 1) * np.outer(v, v) for i in (5, 6) for v in [np.sqrt(psi) * vectors[:, i]])
    np.testing.assert_allclose(W @ W.T + np.diag(psi), C, rtol=1e-10)
    for _ in range(20):
        assert chapter.log_likelihood(S, 60, W + 0.03 * rng.normal(size=W.shape), psi) < best
    weak = chapter.best_loadings(np.eye(3), np.full(3, 2.0), 1)  # less variance than noise: no factor
    assert (weak == 0).all()


def test_em_and_the_quasi_newton_steps_end_at_one_place():
    x = exams()
    em, exact = fitted(x, 2, 4000), FactorAnalysis(7, 2).fit_exactly(x)
    assert exact.score(x) >= em.score(x) - 1e-12 and exact.score(x) == pytest.approx(em.score(x), abs=1e-6)
    again = em.fit_exactly(x)
    np.testing.assert_allclose(again.covariance(), exact.covariance(), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_scikit_learns(seed):  # the bar: 1e-6
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the oracle is scikit-learn")
    x = np.random.default_rng(seed + 10).normal(size=(1000, 2)) @ np.random.default_rng(seed).normal(size=(2, 10))
    x = x + np.random.default_rng(seed + 20).normal(size=(1000, 10)) * np.linspace(0.8, 1.5, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: it may not stop early
        theirs = decomposition.FactorAnalysis(2, tol=0, max_iter=1500, svd_method="lapack").fit(x)
    for model in (FactorAnalysis(10, 2).fit_exactly(x), fitted(x, 2, 1500)):
        np.testing.assert_allclose(model.covariance(), theirs.get_covariance(), atol=1e-6)
        np.testing.assert_allclose(model.noise.numpy(), theirs.noise_variance_, atol=1e-6)
        np.testing.assert_allclose(model.score_samples(x), theirs.score_samples(x), atol=1e-6)


def test_what_the_features_share_is_found():
    n, psi = 20_000, np.array([0.2, 0.5, 1.0, 3.0, 5.0])
    W = np.array([[1.0, 0], [1, 0.5], [1, -0.5], [0.8, 1], [1, 1]])
    x = rng.normal(size=(n, 2)) @ W.T + rng.normal(size=(n, 5)) * np.sqrt(psi)
    model = fitted(x, 2, 1000)
    np.testing.assert_allclose(model.covariance(), W @ W.T + np.diag(psi), atol=0.25)
    np.testing.assert_allclose(model.communalities(), (W**2).sum(1) / ((W**2).sum(1) + psi), atol=0.1)


def test_heywoods_case_stays_finite_and_climbs():
    draw = np.random.default_rng(3)
    x = draw.normal(size=(30, 4))
    x[:, 1] = x[:, 0] + 1e-9 * x[:, 1]  # two features that are one: their noise would go to 0
    model = FactorAnalysis(4, 1, tol=0, floor=1e-4, rng=tg.random.Generator(0))
    known = model.checked(x)
    model.begin(known)
    found = [float(model.update(known)["log_likelihood"]) for _ in range(300)]
    assert min(np.diff(found)) > -1e-9
    np.testing.assert_allclose(model.noise.numpy()[:2], 1e-4 * x.var(0)[:2], rtol=1e-9)


def test_on_every_device(device):
    x = exams(60)
    models = [FactorAnalysis(7, 2, rng=tg.random.Generator(0, device=where)).fit(x, steps=5, run=quiet())
              for where in ("cpu", device)]  # fmt: skip
    for verb in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_allclose(*(getattr(m, verb)(x) for m in models), rtol=1e-7)
    np.testing.assert_allclose(*(m.communalities() for m in models), rtol=1e-7)
    np.testing.assert_allclose(*(m.fit_exactly(x).covariance() for m in models), rtol=1e-6)


def test_what_is_refused_and_how():
    x = exams(20)
    x[:, 2] = 0.1
    with pytest.raises(ValueError, match=r"FactorAnalysis: feature 2 is constant \(1 in all\)"):
        fitted(x, 2)
    with pytest.raises(ValueError, match=r"FactorAnalysis: x has shape \(20, 6\)"):
        FactorAnalysis(7, 2).fit(x[:, :6], run=quiet())
    with pytest.raises(ValueError, match="x has 1 row"):
        FactorAnalysis(7, 2).fit(x[:1], run=quiet())
    with pytest.raises(ValueError, match="NaN"):
        FactorAnalysis(7, 2).fit(np.full((3, 7), np.nan), run=quiet())
    with pytest.raises(ValueError, match="7 components of 7 features"):
        FactorAnalysis(7, 7)
    with pytest.raises(ValueError, match="floor is 0"):
        FactorAnalysis(7, 2, floor=0)


def test_a_maximum_is_found_from_the_floor():
    """Where (3) has no slope the search may not begin."""
    x = rng.normal(size=(300, 5))
    twins = x.copy()
    twins[:, 1] = twins[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = FactorAnalysis(5, 2, rng=tg.random.Generator(0)).fit(twins, steps=300, run=quiet())
    fresh = FactorAnalysis(5, 2, rng=tg.random.Generator(0)).fit_exactly(x)
    np.testing.assert_allclose(model.fit_exactly(x).score(x), fresh.score(x), rtol=1e-6)


def test_a_constant_column_of_many_rows_is_refused():
    x = rng.normal(size=(200_000, 2))
    x[:, 0] = 0.1  # whose mean is not 0.1
    with pytest.raises(ValueError, match="feature 0 is constant"):
        FactorAnalysis(2, 1).fit(x, steps=1, run=quiet())


@pytest.mark.parametrize("scale", [1e160, 1e-170])
def test_numbers_without_squares_are_refused(scale):
    with pytest.raises(ValueError, match="numbers whose squares are finite and not 0 are wanted"):
        FactorAnalysis(3, 1).fit(scale * rng.normal(size=(20, 3)), steps=1, run=quiet())


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

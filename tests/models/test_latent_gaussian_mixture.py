"""The Gaussian mixture's equations, each against SciPy or a plain loop; scikit-learn from the same start; promises."""

import doctest
import math
import warnings

import numpy as np
import pytest
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.latent import GaussianMixture
from tinygen.models.latent import gaussian_mixture as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
KINDS = ("full", "tied", "diag", "spherical")
each_kind = pytest.mark.parametrize("kind", KINDS)


def quiet():
    return Run(quiet=True)


def clouds(n=60, d=2, m=3, seed=0):
    """Points around m centres."""
    draw = np.random.default_rng(seed)
    return 3 * draw.normal(size=(m, d))[draw.integers(0, m, n)] + draw.normal(size=(n, d)) @ draw.normal(size=(d, d))


def parameters(kind, d=2, m=3, seed=1):
    """Weights, means, covariances of a kind, and these as matrices (m, d, d)."""
    draw = np.random.default_rng(seed)
    A = draw.normal(size=(m, d, d))
    full = A @ A.swapaxes(1, 2) + 0.5 * np.eye(d)
    diagonal = np.einsum("kii->ki", full)
    own = {"full": full, "tied": full[0], "diag": diagonal, "spherical": diagonal[:, 0]}[kind]
    return draw.dirichlet(np.full(m, 3.0)), draw.normal(size=(m, d)), own, matrices(own, kind, d, m)


def matrices(covariances, kind, d, m):
    """Covariances of a kind as (m, d, d)."""
    if kind in ("full", "tied"):
        return np.broadcast_to(covariances, (m, d, d))
    return np.array([np.diag(np.broadcast_to(v, d)) for v in covariances])


def mixture(kind, d=2, m=3, device="cpu", **options):
    """A model with given parameters."""
    weights, means, covariances, _ = parameters(kind, d, m)
    model = GaussianMixture(d, m, covariance=kind, rng=tg.random.Generator(0, device=device), **options)
    model.start_at(means, covariances=covariances, weights=weights)
    return model


def joint(x, weights, means, sigma):
    """pi_k N(x | mu_k, Sigma_k) by SciPy: (n, m)."""
    laws = [scipy.stats.multivariate_normal(*law) for law in zip(means, sigma, strict=True)]
    return np.stack([w * law.pdf(x) for w, law in zip(weights, laws, strict=True)], 1)


# ---- two normals on the line ----------------------------------------------------------------------------

TWO = dict(pi=0.3, mu=np.array([1.0, 4.0]), variance=np.array([0.5, 2.0]))
ON_LINE = np.array([0.2, 0.9, 1.4, 2.5, 3.8, 4.1, 6.0])


@equation(chapter.two_log_likelihood, 1)
def test_the_likelihood_of_two_normals():  # (1), S4 eqs. 63-64
    f = 0.7 * scipy.stats.norm(1, math.sqrt(0.5)).pdf(ON_LINE) + 0.3 * scipy.stats.norm(4, math.sqrt(2)).pdf(ON_LINE)
    np.testing.assert_allclose(chapter.two_log_likelihood(ON_LINE, **TWO), np.log(f).sum(), rtol=1e-12)


@equation(chapter.two_complete_log_likelihood, 2)
def test_the_complete_likelihood_of_two_normals():  # (2), S4 eqs. 65-66
    delta = np.array([0, 0, 1, 0, 1, 1, 1])
    laws = scipy.stats.norm(1, math.sqrt(0.5)), scipy.stats.norm(4, math.sqrt(2))
    expected = sum(laws[k].logpdf(v) + math.log([0.7, 0.3][k]) for v, k in zip(ON_LINE, delta, strict=True))
    np.testing.assert_allclose(chapter.two_complete_log_likelihood(ON_LINE, delta, **TWO), expected, rtol=1e-12)


def test_the_printed_form_is_not_linear_in_delta():  # S4 eq. 65 with responsibilities in place of delta
    gamma = chapter.two_responsibilities(ON_LINE, **TWO)
    phi_1, phi_2 = np.exp(chapter.log_phi(ON_LINE, TWO["mu"], TWO["variance"]))
    printed = np.log((1 - gamma) * phi_1 + gamma * phi_2) + gamma * math.log(0.3) + (1 - gamma) * math.log(0.7)
    mean = 0.0  # of (2) over what the deltas may be, one by one
    for delta in map(np.array, np.ndindex(*[2] * len(ON_LINE))):
        weight = np.prod(np.where(delta, gamma, 1 - gamma))
        mean += weight * chapter.two_complete_log_likelihood(ON_LINE, delta, **TWO)
    np.testing.assert_allclose(chapter.two_complete_log_likelihood(ON_LINE, gamma, **TWO), mean, rtol=1e-12)
    assert printed.sum() > mean + 0.05


@equation(chapter.two_responsibilities, 3)
@equation(chapter.two_maximise, 4)
def test_an_iteration_for_two_normals_by_hand():  # (3) and (4), S4 eqs. 67-71
    gamma, n = chapter.two_responsibilities(ON_LINE, **TWO), len(ON_LINE)
    laws = [scipy.stats.norm(1, math.sqrt(0.5)), scipy.stats.norm(4, math.sqrt(2))]
    densities = [[law.pdf(v) for law in laws] for v in ON_LINE]
    expected = [0.3 * b / (0.7 * a + 0.3 * b) for a, b in densities]
    np.testing.assert_allclose(gamma, expected, rtol=1e-12)
    pi, mu, variance = chapter.two_maximise(ON_LINE, np.array(expected))
    np.testing.assert_allclose(pi, sum(expected) / n, rtol=1e-12)
    for k, weight in enumerate(([1 - g for g in expected], expected)):
        np.testing.assert_allclose(mu[k], sum(w * v for w, v in zip(weight, ON_LINE, strict=True)) / sum(weight))
        squares = sum(w * (v - mu[k]) ** 2 for w, v in zip(weight, ON_LINE, strict=True))
        np.testing.assert_allclose(variance[k], squares / sum(weight), rtol=1e-12)


@each_kind
def test_two_normals_are_the_special_case(kind):  # m = 2, d = 1, where full, diag and spherical are one
    model = GaussianMixture(1, 2, covariance=kind, reg_covar=0, tol=0)
    shared = np.array([1.0, 1.0]) if kind == "tied" else TWO["variance"]
    model.start_at(TWO["mu"][:, None], weights=[0.7, 0.3],
                   covariances=(shared[0] if kind == "tied" else shared).reshape(model.covariances.shape))  # fmt: skip
    pi, mu, variance = 0.3, TWO["mu"], shared
    x = model.checked(ON_LINE[:, None])
    for _ in range(10):
        np.testing.assert_allclose(model.score_samples(x).sum(), chapter.two_log_likelihood(ON_LINE, pi, mu, variance))
        gamma = chapter.two_responsibilities(ON_LINE, pi, mu, variance)
        np.testing.assert_allclose(model.predict_proba(x)[:, 1], gamma, rtol=1e-9)
        model.update(x)
        pi, mu, variance = chapter.two_maximise(ON_LINE, gamma)
        if kind == "tied":
            variance = np.full(2, (1 - pi) * variance[0] + pi * variance[1])
        np.testing.assert_allclose(model.weights.numpy(), [1 - pi, pi], rtol=1e-9)
        np.testing.assert_allclose(model.means.numpy()[:, 0], mu, rtol=1e-9)
        np.testing.assert_allclose(np.ravel(model.covariances.numpy()), variance[: model.covariances.size], rtol=1e-9)


# ---- the general case -----------------------------------------------------------------------------------


@each_kind
@equation(GaussianMixture.score_samples, 5)
@equation(chapter.log_normal, 6)
@equation(chapter.responsibilities, 7)
@equation(GaussianMixture.predict_proba, 7)
def test_densities_and_responsibilities_are_scipys(kind):  # (5)-(7), S2 eqs. 2.36-2.37
    x, model = clouds(), mixture(kind)
    weights, means, covariances, sigma = parameters(kind)
    p = joint(x, weights, means, sigma)
    np.testing.assert_allclose(model.score_samples(x), np.log(p.sum(1)), rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(x), p / p.sum(1, keepdims=True), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(x), p.argmax(1))
    P = chapter.precision_factors(covariances, kind, 2)
    found = chapter.log_normal(chapter.differences(x, means), P)
    np.testing.assert_allclose(found.T, np.log(p / weights), rtol=1e-10)
    gamma, log_p = chapter.responsibilities(np.log(p.T))
    np.testing.assert_allclose(gamma.T, p / p.sum(1, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(log_p, np.log(p.sum(1)), rtol=1e-10)


def test_no_density_is_too_small():
    model = mixture("full")
    far = np.array([[1e4, -2e4]])
    assert np.isfinite(model.score_samples(far)).all() and model.predict_proba(far).sum() == pytest.approx(1)


@each_kind
@equation(chapter.centred, 8)
@equation(chapter.maximise, 9, 10)
def test_an_m_step_by_hand(kind):  # (8)-(10)
    x, about = clouds(), rng.normal(size=(3, 2))
    gamma = rng.dirichlet(np.ones(3), len(x)).T  # (m, n)
    raw = chapter.sums(chapter.differences(x, about), gamma, kind in ("full", "tied"))
    moments = chapter.centred(about, raw)
    N = gamma.sum(1)
    mean = [np.average(x, axis=0, weights=g) for g in gamma]
    S = np.array([sum(g * np.outer(v - c, v - c) for g, v in zip(row, x, strict=True))
                  for row, c in zip(gamma, mean, strict=True)])  # fmt: skip
    np.testing.assert_allclose(moments.count, N, rtol=1e-10)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-10)
    own = S if kind in ("full", "tied") else np.einsum("kii->ki", S)
    np.testing.assert_allclose(moments.scatter, own, rtol=1e-9)
    each = S / N[:, None, None]
    sigma = {"full": each, "tied": S.sum(0) / len(x), "diag": np.einsum("kii->ki", each),
             "spherical": np.einsum("kii->k", each) / 2}[kind]  # fmt: skip
    found = chapter.maximise(chapter.Moments(N, np.array(mean), own), kind)
    for a, b in zip(found, (N / len(x), mean, sigma), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@each_kind
@equation(chapter.expected_log_joint, 11)
def test_q_from_the_moments_is_the_sum_over_examples(kind):  # (11): (2) in general
    x, model = clouds(), mixture(kind)
    weights, means, covariances, sigma = parameters(kind)
    gamma = rng.dirichlet(np.ones(3), len(x))
    expected = np.sum(gamma * np.log(joint(x, weights, means, sigma)))
    raw = chapter.sums(chapter.differences(x, 0 * means), gamma.T, kind in ("full", "tied"))
    moments = chapter.centred(0 * means, raw)
    P = chapter.precision_factors(covariances, kind, 2)
    np.testing.assert_allclose(chapter.expected_log_joint(moments, weights, means, P), expected, rtol=1e-10)
    q = model.predict_proba(x)
    np.testing.assert_allclose(model.e_step(x).entropy, scipy.stats.entropy(q, axis=1).sum(), rtol=1e-9)


@each_kind
@equation(GaussianMixture.bic, 12)
@equation(GaussianMixture.aic, 12)
def test_what_components_cost(kind):  # (12)
    x, model = clouds(), mixture(kind)
    free = {"full": 3 * 3, "tied": 3, "diag": 3 * 2, "spherical": 3}[kind] + 3 * 2 + 2
    log_p = math.fsum(model.score_samples(x))
    assert model.bic(x) == pytest.approx(free * math.log(60) - 2 * log_p, rel=1e-12)
    assert model.aic(x) == pytest.approx(2 * free - 2 * log_p, rel=1e-12)
    assert model.score(x) == pytest.approx(log_p / 60, rel=1e-12)


# ---- scikit-learn ---------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("d, m, reg_covar", [(1, 2, 0.0), (2, 4, 1e-6), (5, 3, 0.1)])
def test_it_is_scikit_learns_from_one_start(kind, d, m, reg_covar):
    sklearn = pytest.importorskip("sklearn.mixture", reason="the oracle is scikit-learn")
    x = clouds(300, d, m)
    weights, means, covariances, _ = parameters(kind, d, m)
    inverse = {"full": np.linalg.inv, "tied": np.linalg.inv}.get(kind, lambda v: 1 / v)
    theirs = sklearn.GaussianMixture(m, covariance_type=kind, reg_covar=reg_covar, tol=0, max_iter=25, means_init=means,
                                     weights_init=weights, precisions_init=inverse(covariances))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        theirs.fit(x)
    ours = mixture(kind, d, m, reg_covar=reg_covar, tol=0)
    steps = [float(ours.update(x)["log_likelihood"]) for _ in range(25)]
    np.testing.assert_allclose(steps, theirs.lower_bounds_, rtol=1e-6, atol=1e-6)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(ours, name).numpy(), getattr(theirs, f"{name}_"), rtol=1e-6, atol=1e-6)
    for name in ("score_samples", "predict", "predict_proba", "score", "bic", "aic"):
        np.testing.assert_allclose(getattr(ours, name)(x), getattr(theirs, name)(x), rtol=1e-6, atol=1e-6)


# ---- the model ------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_it_finds_clouds_that_are_apart(kind, start):
    centres = np.array([[0.0, 0], [9, 0], [0, 9]])
    x = (centres[:, None] + rng.normal(size=(3, 50, 2))).reshape(-1, 2)
    model = GaussianMixture(2, 3, covariance=kind, start=start, n_init=4, rng=tg.random.Generator(0))
    labels = model.fit(x, run=quiet()).predict(x).reshape(3, 50)
    assert model.converged and (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3


@each_kind
def test_samples_have_the_moments_of_the_mixture(kind):  # S2 ex. 2.3.1
    model, (weights, means, _, sigma) = mixture(kind), parameters(kind)
    x = model.sample(100_000, rng=tg.random.Generator(1))
    mean = weights @ means
    covariance = np.einsum("k,kij->ij", weights, sigma + np.einsum("ki,kj->kij", means - mean, means - mean))
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.1)
    assert x.dtype == np.float64 and model.sample(0).shape == (0, 2)


@each_kind
def test_the_size_of_the_parts_changes_nothing(kind, monkeypatch):
    whole, parts, x = mixture(kind), mixture(kind), clouds()
    monkeypatch.setattr(GaussianMixture, "_rows", 7)
    for _ in range(3):
        parts.update(x)
    monkeypatch.setattr(GaussianMixture, "_rows", 100)
    for _ in range(3):
        whole.update(x)
    np.testing.assert_allclose(parts.means.numpy(), whole.means.numpy(), rtol=1e-10)
    np.testing.assert_allclose(parts.covariances.numpy(), whole.covariances.numpy(), rtol=1e-10)


@each_kind
def test_a_shift_of_the_data_shifts_the_means_only(kind):  # no digits are lost far from the origin
    found = []
    for shift in (0.0, 2.0**30):
        model, x = mixture(kind, reg_covar=0, tol=0), np.round(clouds() * 1024) / 1024  # so that the shift is exact
        model.start_at(np.round(model.means.numpy() * 1024) / 1024 + shift, covariances=model.covariances.numpy())
        for _ in range(5):
            model.update(x + shift)
        found.append((model.covariances.numpy(), model.means.numpy() - shift, model.score_samples(x + shift)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # the means have steps of 2e-7 there


def test_reg_covar_leaves_the_proof():  # with it, the likelihood can fall; without, it rises until the collapse
    x = np.array([[0.0], [0.01], [0.02], [3.0], [3.01], [3.02], [9.0]])
    for reg_covar, falls in ((0.3, True), (0.0, False)):
        model = GaussianMixture(1, 2, reg_covar=reg_covar, tol=0)
        model.start_at([[0.0], [4.0]], covariances=[[[0.02]], [[0.02]]])
        found = [float(model.update(model.checked(x))["log_likelihood"]) for _ in range(6)]
        assert (min(np.diff(found)) < -1e-6) == falls


@pytest.mark.parametrize("start", ["k-means++", "random"])
@each_kind
@pytest.mark.parametrize("x", [
    np.zeros((5, 2)),  # all alike
    np.array([[1.0, 2], [1, 2], [3, 4], [3, 4], [3, 4]]),  # fewer different ones than components
    np.array([[1.0, 7], [2, 7], [3, 7], [9, 7]]),  # a constant column
    np.array([[0.0, 0], [1, 1], [2, 2], [5, 5]]),  # in a line
    np.array([[0.0, 0], [1, 1], [5, 3]]),  # one each
], ids=["alike", "twins", "constant", "line", "one each"])  # fmt: skip
def test_degenerate_data_are_survived_with_reg_covar_and_named_without(kind, start, x):
    model = GaussianMixture(2, 3, covariance=kind, start=start, rng=tg.random.Generator(0)).fit(x, run=quiet())
    assert np.isfinite(model.score_samples(x)).all() and np.isfinite(model.sample(3)).all()
    model = GaussianMixture(2, 3, covariance=kind, start=start, reg_covar=0, tol=0, rng=tg.random.Generator(0))
    try:
        model.fit(x, steps=200, run=quiet())
    except ValueError as refusal:
        assert "covariance of component" in str(refusal) and "reg_covar" in str(refusal)
    assert all(np.isfinite(model.state_dict()[name]).all() for name in ("weights", "means", "covariances"))


def test_a_component_that_answers_for_nothing_keeps_its_parameters():
    model = GaussianMixture(1, 2, tol=0)
    model.start_at([[0.0], [1e6]])
    x = np.linspace(-1, 1, 9)[:, None]
    found = [float(model.update(x)["log_likelihood"]) for _ in range(3)]
    assert model.means.numpy()[1] == 1e6 and model.weights.numpy()[1] == 0 and min(np.diff(found)) >= -1e-9
    assert np.isfinite(model.score_samples(x)).all() and abs(model.sample(50)).max() < 10


def test_k_means_plus_plus_draws_by_squared_distance():
    x = np.array([[0.0], [1.0], [3.0]])
    second = np.zeros(2)
    draws = tg.random.Generator(0)
    for _ in range(3000):
        first, other = chapter.k_means_plus_plus(x, 2, draws)[:, 0]
        second[0] += (first, other) == (0, 1)
        second[1] += (first, other) == (0, 3)
    assert abs(second / 1000 - [0.1, 0.9]).max() < 0.06


def test_same_seed_same_bits_and_looking_changes_nothing():
    a, b, c = (GaussianMixture(2, 3, n_init=2, rng=tg.random.Generator(seed)) for seed in (0, 0, 1))
    for model in (a, b, c):
        model.fit(clouds(), steps=2, run=quiet())
        if model is b:
            model.sample(4), model.predict(clouds()), model.bic(clouds())
        model.fit(clouds(), steps=2, run=quiet())
    np.testing.assert_array_equal(a.means.numpy(), b.means.numpy())
    assert a.rng.state == b.rng.state and not np.array_equal(a.means.numpy(), c.means.numpy())


def test_saved_and_loaded_is_the_same(tmp_path):
    a, b = mixture("tied"), GaussianMixture(2, 3, covariance="tied")
    tg.save(tmp_path / "mixture.safetensors", a.state_dict())
    b.load_state_dict(tg.load(tmp_path / "mixture.safetensors"))
    np.testing.assert_array_equal(a.score_samples(clouds()), b.score_samples(clouds()))


@each_kind
@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_on_both_devices(kind, start, device):
    def fitted(device):
        model = GaussianMixture(2, 3, covariance=kind, start=start, n_init=2, rng=tg.random.Generator(0, device=device))
        model.fit(clouds(), steps=5, run=quiet())
        draws = tg.random.Generator(1, device=device)
        found = [model.means.numpy(), model.sample(5, rng=draws), model.bic(clouds())]
        return [*found, model.score_samples(clouds()), model.predict_proba(clouds())]

    for a, b in zip(fitted(device), fitted("cpu"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_a_collapse_is_named_on_both_devices(device):
    model = GaussianMixture(2, 2, reg_covar=0, rng=tg.random.Generator(0, device=device))
    with pytest.raises(ValueError, match="covariance of component . is singular"):
        model.fit([[0.0, 0], [1, 1], [2, 2], [5, 5]], run=quiet())


def test_in_single_precision():
    model = GaussianMixture(2, 3, rng=tg.random.Generator(0)).to(dtype="float32").fit(clouds(), steps=5, run=quiet())
    assert model.means.dtype == np.float32 == model.sample(3).dtype == model.score_samples(clouds()).dtype


def test_bad_input_is_refused():
    model = mixture("full")
    with pytest.raises(ValueError, match=r"GaussianMixture: x has shape \(60, 1\); at least one row of 2 features"):
        model.predict(clouds()[:, :1])
    with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
        model.score_samples(clouds()[:0])
    with pytest.raises(ValueError, match="values up to nan"):
        model.fit(np.full((5, 2), np.nan), run=quiet())
    with pytest.raises(ValueError, match="values up to 1e[+]200"):
        model.score_samples(np.full((5, 2), 1e200))
    with pytest.raises(ValueError, match="1 rows; at least two, and one for each of the 3 components"):
        model.fit(clouds()[:1], run=quiet())
    with pytest.raises(ValueError, match="2 rows; at least two"):
        model.fit(clouds()[:2], run=quiet())
    with pytest.raises(RuntimeError, match="call fit or start_at first"):
        GaussianMixture(2, 3).sample(4)
    for options in ({"covariance": "round"}, {"start": "kmeans"}, {"reg_covar": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            GaussianMixture(2, 3, **options)
    with pytest.raises(ValueError, match="a feature and a component"):
        GaussianMixture(2, 0)
    with pytest.raises(ValueError, match=r"means \(2, 2\)"):
        model.start_at(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="a sum of 1"):
        model.start_at(np.zeros((3, 2)), weights=[0.5, 0.2, 0.2])
    with pytest.raises(ValueError, match="singular"):
        model.start_at(np.zeros((3, 2)), covariances=np.ones((3, 2, 2)))


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

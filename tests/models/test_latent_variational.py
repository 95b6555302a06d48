"""The bound of variational inference by quadrature, and searches that end where they must."""

import numpy as np
import pytest
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.latent import bayes, flow, variational
from tinygen.models.latent.variational import Gaussian, Variational
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = np.stack([np.ones(12), np.linspace(-1, 3, 12)], 1)
Y = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1.0])
LOGISTIC = bayes.Logistic(2, prior_std=2.0)
LATTICE = np.stack(np.meshgrid(np.linspace(-6, 6, 241), np.linspace(-6, 10, 321)), -1).reshape(-1, 2)
CELL = 12 / 240 * 16 / 320
LOG_EVIDENCE, EXACT = bayes.quadrature(LOGISTIC.log_joint(LATTICE, X, Y), LATTICE, CELL)


class Known:
    """A Gaussian posterior, up to a constant."""

    d = 2
    mean, covariance = np.array([1.0, -2.0]), np.array([[1.0, 0.8], [0.8, 2.0]])

    def log_joint(self, theta):
        away = theta - self.mean
        return -tg.sum(away * tg.matmul(away, np.linalg.inv(self.covariance)), 1) / 2 - 3

    def checked(self, owner, like):
        return ()


def quiet():
    return Run(quiet=True)


def placed(mean_field=False):
    """A Gaussian somewhere near the posterior."""
    family = Gaussian(2, mean_field=mean_field)
    family.mu.assign([0.3, 1.5])
    family.log_diagonal.assign([-0.4, -0.2])
    if not mean_field:
        family.below.assign([[9.0, 9.0], [0.4, 9.0]])  # only what is below the diagonal counts
    return family


# ---- the equations --------------------------------------------------------------------------------------


@equation(variational.log_q, 3)
@equation(Gaussian.forward, 5)
@pytest.mark.parametrize("mean_field", [False, True])
def test_density_of_a_gaussian_by_scipy(mean_field):  # (3) and (5)
    family, eps = placed(mean_field), rng.normal(size=(6, 2))
    theta, log_det = (t.numpy() for t in family(tg.tensor(eps)))
    mean, covariance = family.moments()
    np.testing.assert_allclose(mean, [0.3, 1.5])
    assert mean_field == (covariance[0, 1] == 0)
    expected = scipy.stats.multivariate_normal.logpdf(theta, mean, covariance)
    np.testing.assert_allclose(variational.log_q(eps, log_det), expected)


@equation(Variational.forward, 4)
@equation(variational.elbo_terms, 2, 4)
@equation(variational.divergence, 1)
def test_the_bound_by_quadrature():  # (1), (2) and (4)
    model = Variational(LOGISTIC, placed(), rng=tg.random.Generator(0))
    mean, covariance = model.family.moments()
    log_q = scipy.stats.multivariate_normal.logpdf(LATTICE, mean, covariance)
    log_joint = LOGISTIC.log_joint(LATTICE, X, Y)
    elbo = CELL * np.sum(np.exp(log_q) * (log_joint - log_q))
    kl = CELL * np.sum(np.exp(log_q) * (log_q - (log_joint - LOG_EVIDENCE)))
    np.testing.assert_allclose(variational.divergence(elbo, LOG_EVIDENCE), kl, rtol=1e-6)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)  # the mean over eps, all but exactly
    eps = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    terms = model(tg.tensor(eps), X, Y).numpy()
    np.testing.assert_allclose(np.outer(weights, weights).ravel() @ terms / (2 * np.pi), elbo, rtol=1e-6)
    assert elbo < LOG_EVIDENCE
    draws = tg.random.Generator(1).normal((9, 2), dtype="float64")
    expected = model(tg.tensor(draws), X, Y).numpy().mean()
    assert model.elbo(X, Y, samples=9, rng=tg.random.Generator(1)) == pytest.approx(expected)
    theta, log_det = model.family(tg.tensor(eps[:5]))
    by_hand = LOGISTIC.log_joint(theta.numpy(), X, Y) - scipy.stats.multivariate_normal.logpdf(
        theta.numpy(), mean, covariance
    )
    np.testing.assert_allclose(
        variational.elbo_terms(LOGISTIC.log_joint(theta, X, Y), eps[:5], log_det).numpy(), by_hand
    )


def test_gradient_of_the_bound_passes_through_the_draws():  # (4)
    eps = rng.normal(size=(4, 2))

    def elbo(mu, log_diagonal, below):
        family = Gaussian(2)
        family.mu, family.log_diagonal, family.below = mu, log_diagonal, below
        return tg.mean(Variational(LOGISTIC, family)(eps, X, Y))

    family = placed()
    values = [p.numpy() for p in (family.mu, family.log_diagonal, family.below)]
    tg.check_grads(lambda *p: elbo(*p), values)


@equation(variational.mean_field_variances, 6)
def test_mean_field_variances_minimise_the_divergence():  # (6)
    covariance = Known.covariance

    def kl(log_variances):
        ratio = np.linalg.solve(covariance, np.diag(np.exp(log_variances)))
        return (np.trace(ratio) - np.log(np.linalg.det(ratio)) - 2) / 2

    best = scipy.optimize.minimize(kl, np.zeros(2), tol=1e-12).x
    found = variational.mean_field_variances(covariance)
    np.testing.assert_allclose(found, np.exp(best), rtol=1e-5)
    assert (found < np.diag(covariance)).all()


# ---- the search -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_field", [False, True])
def test_a_gaussian_posterior_is_found(mean_field):  # with L free exactly; with a diagonal one, (6)
    family = Gaussian(2, mean_field=mean_field)
    model = Variational(Known(), family, lr=0.05, samples=256, schedule=Cosine(500), rng=tg.random.Generator(0))
    model.fit(steps=500, run=quiet())
    mean, covariance = model.moments()
    np.testing.assert_allclose(mean, Known.mean, atol=0.02)
    variances = variational.mean_field_variances(Known.covariance) if mean_field else np.diag(Known.covariance)
    np.testing.assert_allclose(np.diag(covariance), variances, rtol=0.03)
    if not mean_field:  # then all terms are the same, log p(x)
        np.testing.assert_allclose(covariance, Known.covariance, rtol=0.03)
        log_evidence = np.log(2 * np.pi) + np.log(np.linalg.det(Known.covariance)) / 2 - 3
        assert model.elbo(rng=tg.random.Generator(1)) == pytest.approx(log_evidence, abs=2e-3)


def test_a_larger_family_comes_nearer():
    gaps = []
    for family in (Gaussian(2, mean_field=True), Gaussian(2), None):
        draws = tg.random.Generator(0)
        lr = 0.05 if family else 0.02
        family = family or flow.Invertible(2, layers=3, hidden=8, rng=draws)
        model = Variational(LOGISTIC, family, lr=lr, samples=128, schedule=Cosine(300), rng=draws)
        model.fit(X, Y, steps=300, run=quiet())
        gaps.append(LOG_EVIDENCE - model.elbo(X, Y, samples=20_000, rng=tg.random.Generator(1)))
    assert gaps[0] > gaps[1] > 2 * gaps[2] > 0
    means, stds = bayes.error(model.moments(rng=tg.random.Generator(2)), EXACT)
    assert means < 0.05 and stds < 0.05


def test_same_seed_same_bits_and_looking_changes_nothing():
    found = []
    for seed in (0, 0, 1):
        model = Variational(LOGISTIC, samples=8, rng=tg.random.Generator(seed))
        for _ in range(2):
            model.fit(X, Y, steps=2, run=quiet())
            if not found:
                model.sample(3), model.elbo(X, Y, samples=5), model.moments()
        found.append(model)
    draws = [model.sample(4, rng=tg.random.Generator(5)) for model in found]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert draws[0].shape == (4, 2) and not np.array_equal(draws[0], draws[2])


def test_killed_and_resumed_is_the_straight_run(tmp_path):
    def model(seed=0):
        return Variational(LOGISTIC, samples=8, schedule=Cosine(12), rng=tg.random.Generator(seed))

    straight = model().fit(X, Y, steps=12, run=Run(tmp_path / "a", quiet=True))
    dying, run = model(), Run(tmp_path / "b", quiet=True)
    for step in run.steps(dying, 12, save_every=5):
        run.log(**dying.update(X, Y))
        if step == 8:
            break
    again = model(4).fit(X, Y, steps=12, run=Run.resume(tmp_path / "b", quiet=True))
    np.testing.assert_array_equal(straight.moments().covariance, again.moments().covariance)
    assert (tmp_path / "a" / "metrics.csv").read_bytes() == (tmp_path / "b" / "metrics.csv").read_bytes()


def test_on_every_device(device):
    found = []
    for where in ("cpu", device):
        model = Variational(LOGISTIC, samples=8, rng=tg.random.Generator(0, device=where))
        model.fit(X, Y, steps=3, run=quiet())
        draws = model.sample(3, rng=tg.random.Generator(1, device=where))
        found.append((model.elbo(X, Y, samples=9, rng=tg.random.Generator(1, device=where)), draws))
    assert isinstance(draws, np.ndarray) and found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="Variational: samples is 0"):
        Variational(LOGISTIC, samples=0)
    with pytest.raises(ValueError, match="Variational: x has shape"):
        Variational(LOGISTIC).fit(X[:, :1], Y, steps=1, run=quiet())

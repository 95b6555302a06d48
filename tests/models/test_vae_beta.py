"""The β-VAE: its constraint, the collapse of linear units, the parts of the KL, and the model."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.vae import VAE, BetaVAE
from tinygen.models.vae import beta_vae as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = tg.random.Generator(9).uniform((40, 6))
MU = np.array([[-1.6, -1.4], [0.2, 0.5], [1.5, 1.2]])
LOG_VAR = np.array([[-1.0, -2.0], [-1.5, -0.5], [-2.0, -1.0]])
numbers = st.floats(0.1, 9)


def fitted(seed=0, steps=20, **options):
    return BetaVAE(6, 2, hidden=8, rng=tg.random.Generator(seed), **options).fit(X, steps=steps, run=Run(quiet=True))


# ---- the constraint -------------------------------------------------------------------------------------


@equation(chapter.objective, 1)
@equation(chapter.lagrangian, 2)
@given(log_px=numbers, kl=numbers, beta=numbers, capacity=numbers)
def test_lagranges_function_is_the_objective_and_a_constant(log_px, kl, beta, capacity):
    assert chapter.objective(-log_px, kl, beta) == pytest.approx(-(log_px + beta * kl))
    assert chapter.lagrangian(-log_px, kl, beta, capacity) == pytest.approx(-log_px - beta * kl + beta * capacity)
    slope = tg.grad(chapter.lagrangian(-log_px, kl, b := tg.tensor(beta, requires_grad=True), capacity), b)
    assert slope.item() == pytest.approx(capacity - kl, abs=1e-5)


@equation(chapter.dearer, 3)
@given(beta=numbers, kl=numbers, capacity=numbers)
def test_the_price_rises_falls_and_rests_by_the_conditions(beta, kl, capacity):
    assert chapter.dearer(beta, kl, capacity, 0.5) == pytest.approx(max(0, beta + (kl - capacity) / 2))
    assert chapter.dearer(beta, capacity, capacity, 0.5) == beta  # the budget is just spent
    assert chapter.dearer(0.0, min(kl, capacity), capacity, 0.5) == 0  # it is not spent, and costs nothing


def of_one_axis(v, beta, s2):
    """The KL at the maximum of (1) in the linear model of one axis, found by SciPy."""

    def loss(parameters):
        w, a, log_var = parameters
        error = ((1 - a * w) ** 2 * v + a**2 * np.exp(log_var)) / (2 * s2)
        return error + beta * (np.exp(log_var) + w**2 * v - 1 - log_var) / 2

    found = min((scipy.optimize.minimize(loss, [w, 1.0, -1.0], tol=1e-12) for w in (0.1, 1.0)), key=lambda f: f.fun)
    w, _, log_var = found.x
    return (np.exp(log_var) + w**2 * v - 1 - log_var) / 2


@equation(chapter.linear_kl, 4)
@pytest.mark.parametrize("v, beta, s2", [(3.0, 1.0, 0.5), (3.0, 4.0, 0.5), (0.7, 2.0, 0.1)])
def test_linear_units_cost_what_the_formula_says(v, beta, s2):
    expected = of_one_axis(v, beta, s2)
    np.testing.assert_allclose(chapter.linear_kl(np.array([v]), beta, s2)[0], expected, rtol=2e-4)


def test_linear_units_collapse_where_they_cost_more_than_they_bring():
    assert of_one_axis(0.7, 8.0, 0.1) < 1e-6  # 0.7 < 8 * 0.1
    assert chapter.linear_kl(np.array([0.7, 0.9]), 8.0, 0.1).tolist() == [0, np.log(0.9 / 0.8) / 2]


def test_dual_ascent_finds_the_price_of_a_budget():
    """In the linear model, whose best codes at each price are known: the price at which they cost the budget."""
    variances, s2, capacity, beta = np.array([4.0, 2.0, 1.0, 0.5]), 0.1, 2.0, 1.0
    for _ in range(400):
        beta = chapter.dearer(beta, chapter.linear_kl(variances, max(beta, 1e-6), s2).sum(), capacity, 0.3)
    gap = lambda b: np.maximum(np.log(variances / (b * s2)), 0).sum() / 2 - capacity  # noqa: E731
    assert beta == pytest.approx(scipy.optimize.brentq(gap, 1e-3, 100), rel=1e-6)
    assert (chapter.linear_kl(variances, beta, s2) == 0).sum() == 1  # and the least axis has gone out


# ---- the parts of the KL --------------------------------------------------------------------------------


@equation(chapter.aggregate, 6)
def test_codes_of_all_images_are_mixtures():
    z = rng.normal(size=(5, 2))
    joint, units = chapter.aggregate(z, MU, LOG_VAR)
    density = scipy.stats.norm(MU, np.exp(LOG_VAR / 2)).pdf(z[:, None])  # (m, n, d)
    np.testing.assert_allclose(joint, np.log(density.prod(2).mean(1)))
    np.testing.assert_allclose(units, np.log(density.mean(1)))


@equation(chapter.kl_parts, 5)
def test_the_parts_sum_to_the_gap_of_each_draw():  # exactly, whatever the draws
    z = MU + np.exp(LOG_VAR / 2) * rng.normal(size=MU.shape)
    gaps = scipy.stats.norm(MU, np.exp(LOG_VAR / 2)).logpdf(z) - scipy.stats.norm.logpdf(z)
    assert sum(chapter.kl_parts(z, MU, LOG_VAR)) == pytest.approx(gaps.sum(1).mean())


def by_quadrature():
    """The three integrals on a grid, for the mixture of three codes."""
    t = np.linspace(-7, 7, 561)
    cell = (t[1] - t[0]) ** 2
    each = scipy.stats.norm(MU[:, None], np.exp(LOG_VAR / 2)[:, None]).pdf(t[None, :, None])  # (n, grid, d)
    single = np.einsum("na,nb->nab", each[..., 0], each[..., 1])  # q(z|x_i)
    joint, units = single.mean(0), each.mean(0)
    product, prior = np.outer(units[:, 0], units[:, 1]), np.outer(scipy.stats.norm.pdf(t), scipy.stats.norm.pdf(t))
    tiny = 1e-300
    integral = lambda p, q, r: float(np.sum(p * np.log((q + tiny) / (r + tiny))) * cell)  # noqa: E731
    return [np.mean([integral(s, s, joint) for s in single]), integral(joint, joint, product),
            integral(joint, product, prior)]  # fmt: skip


def test_the_parts_by_quadrature():
    exact = by_quadrature()
    mu, log_var = (a.repeat(700, 0) for a in (MU, LOG_VAR))
    z = mu + np.exp(log_var / 2) * rng.normal(size=mu.shape)
    np.testing.assert_allclose(chapter.kl_parts(z, mu, log_var), exact, atol=0.06)
    kl = (np.exp(LOG_VAR) + MU**2 - 1 - LOG_VAR).sum(1) / 2
    assert sum(exact) == pytest.approx(kl.mean(), rel=1e-4)
    assert min(exact) > 0.15  # so that none of them is lost in the noise


def test_units_that_depend_on_each_other_have_total_correlation():
    """Codes on a line with slope 1: the mutual information of a normal pair, - log(1 - rho^2) / 2."""
    n, sigma2 = 2000, 0.2
    mu = np.sqrt(1 - sigma2) * rng.normal(size=(n, 1)).repeat(2, 1)
    log_var = np.full((n, 2), np.log(sigma2))
    z = mu + np.sqrt(sigma2) * rng.normal(size=(n, 2))
    found = chapter.kl_parts(z, mu, log_var)
    assert found.total_correlation == pytest.approx(-np.log(1 - (1 - sigma2) ** 2) / 2, abs=0.08)
    assert abs(found.distance) < 0.05


# ---- the model ------------------------------------------------------------------------------------------


def test_with_beta_1_it_is_the_variational_autoencoder():
    plain = VAE(6, 2, hidden=8, rng=tg.random.Generator(0)).fit(X, steps=20, run=Run(quiet=True))
    np.testing.assert_array_equal(fitted(beta=1).transform(X), plain.transform(X))
    weighted = VAE(6, 2, hidden=8, weights=(1, 5), rng=tg.random.Generator(0)).fit(X, steps=20, run=Run(quiet=True))
    np.testing.assert_allclose(fitted(beta=5).transform(X), weighted.transform(X), rtol=1e-5)


def test_a_variance_is_a_beta():
    """The gradient of (1) with s2 and beta is beta times that of the bound with variance beta * s2."""
    grads = []
    for beta, s2 in ((4.0, 0.1), (1.0, 0.4)):
        model = BetaVAE(6, 2, beta=beta, hidden=8, likelihood="gaussian", variance=s2, rng=tg.random.Generator(0))
        log_px, kl = (tg.mean(part) for part in model(X, tg.random.Generator(1)))
        grads.append([g.numpy() / beta for g in tg.grad(model.objective(log_px, kl), list(model.parameters()))])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_budget_is_kept_and_its_price_found():
    x = (tg.random.Generator(0).uniform((300, 3)) > 0.5).astype(np.float32).repeat(6, 1)  # three coins, six times each
    model = BetaVAE(18, 4, beta=1, capacity=1.0, rate=0.02, hidden=32, lr=5e-3, rng=tg.random.Generator(1))
    model.fit(x, steps=900, run=Run(quiet=True))
    assert model.elbo_parts(x)[1].mean() == pytest.approx(1.0, abs=0.2) and model.beta > 1.5


def test_the_price_is_saved():
    a, b = fitted(capacity=0.5), fitted(seed=1, capacity=0.5, steps=3)
    b.load_state_dict(a.state_dict())
    assert b.beta == a.beta != 4
    assert fitted(beta=3.0).beta == 3


def test_the_models_parts_are_those_of_its_codes():
    model = fitted(beta=0.1, steps=200)
    q = model.encoder(X)
    z = model.encode(X, rng=tg.random.Generator(5))
    expected = chapter.kl_parts(z, q.mu.numpy(), q.log_var.numpy())
    np.testing.assert_allclose(model.kl_parts(X, rng=tg.random.Generator(5)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [dict(beta=-1), dict(beta=float("nan")), dict(capacity=0.0), dict(rate=0.0)])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="BetaVAE: beta is .* are wanted"):
        BetaVAE(6, 2, **options)


def test_on_every_device(device):
    model = BetaVAE(6, 2, capacity=1.0, hidden=8, rng=tg.random.Generator(0, device=device))
    model.fit(X, steps=3, run=Run(quiet=True))
    assert np.isfinite(model.kl_parts(X, rng=tg.random.Generator(1, device=device))).all() and model.beta > 0

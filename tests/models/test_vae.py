"""The VAE chapter's equations, each against an independent computation, and the model's promises."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.models.vae import importance
from tinygen.models.vae import vae as chapter
from tinygen.models.vae.vae import VAE
from tinygen.runs import Run

rng = np.random.default_rng(0)
MU, LOG_VAR = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))


def tiny(seed=0, n_pixels=5, n_latent=1):
    """A small model in float64 whose decoder is far from constant."""
    model = VAE(n_pixels, n_latent, hidden=6, rng=tg.random.Generator(seed)).to(dtype="float64")
    model.decoder[0].weight.assign(model.decoder[0].weight.numpy() * 4)
    model.decoder[4].weight.assign(model.decoder[4].weight.numpy() * 3)
    return model


GRID = np.linspace(-9, 9, 20_001)  # codes of length 1; a plain rule, since the decoder has kinks


def log_joint(model, x):
    """log p(x|z) + log p(z) over the grid, for one image."""
    logits = model.decoder(GRID[:, None]).numpy()
    return chapter.log_likelihood(logits, np.broadcast_to(x, logits.shape)) + scipy.stats.norm.logpdf(GRID)


def log_p_by_quadrature(model, x):
    """log of the integral of p(x|z) p(z) over z."""
    return np.log(np.trapezoid(np.exp(log_joint(model, x)), GRID))


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.log_likelihood, 2)
def test_log_likelihood_is_scipys_bernoulli():  # (2)
    logits, x = 3 * rng.normal(size=(4, 6)), rng.integers(0, 2, (4, 6)).astype(float)
    expected = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)).sum(1)
    np.testing.assert_allclose(chapter.log_likelihood(logits, x), expected)


def test_grey_levels_are_means_over_binary_images():  # (2), the remark below it
    logits, x = rng.normal(size=(1, 3)), rng.uniform(size=(1, 3))
    expected = 0.0
    for bits in np.ndindex(2, 2, 2):
        b = np.array([bits], float)
        expected += np.prod(np.where(b == 1, x, 1 - x)) * chapter.log_likelihood(logits, b)[0]
    np.testing.assert_allclose(chapter.log_likelihood(logits, x)[0], expected)


@equation(chapter.reparameterise, 3)
def test_reparameterisation_maps_quantiles_to_quantiles():  # (3)
    eps = rng.normal(size=(3, 2))
    expected = scipy.stats.norm.ppf(scipy.stats.norm.cdf(eps), MU, np.exp(LOG_VAR / 2))
    np.testing.assert_allclose(chapter.reparameterise(MU, LOG_VAR, eps), expected)


def test_reparameterised_draws_have_the_right_moments():  # (3)
    eps = rng.normal(size=(200_000, 2))
    z = chapter.reparameterise(MU[0], LOG_VAR[0], eps)
    np.testing.assert_allclose(z.mean(0), MU[0], atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), np.diag(np.exp(LOG_VAR[0])), atol=0.03)


@equation(chapter.kl_to_standard_normal, 4)
def test_kl_by_quadrature_and_monte_carlo():  # (4)
    found = chapter.kl_to_standard_normal(MU, LOG_VAR)
    for k in range(3):
        exact = 0.0
        for m, v in zip(MU[k], LOG_VAR[k], strict=True):
            q, p = scipy.stats.norm(m, np.exp(v / 2)), scipy.stats.norm()
            exact += scipy.integrate.quad(lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -15, 15)[0]
        np.testing.assert_allclose(found[k], exact, rtol=1e-7)
    z = chapter.reparameterise(MU[:1], LOG_VAR[:1], rng.normal(size=(400_000, 2)))
    gaps = chapter.log_normal(z, MU[:1], LOG_VAR[:1]) - chapter.log_normal(z, 0 * z, 0 * z)
    assert abs(gaps.mean() - found[0]) < 5 * gaps.std() / np.sqrt(len(gaps))


def test_kl_is_zero_at_the_prior_only():  # (4)
    assert chapter.kl_to_standard_normal(np.zeros((1, 4)), np.zeros((1, 4)))[0] == 0
    assert (chapter.kl_to_standard_normal(MU, LOG_VAR) > 0).all()


def test_log_normal_is_scipys():  # for (8)
    z = rng.normal(size=(3, 2))
    expected = scipy.stats.norm.logpdf(z, MU, np.exp(LOG_VAR / 2)).sum(1)
    np.testing.assert_allclose(chapter.log_normal(z, MU, LOG_VAR), expected)


def by_hand(model, x, eps):
    """The terms of (1) and the weights of (8) from SciPy's densities and the networks' outputs."""
    mu, log_var = (t.numpy() for t in model.encoder(x))
    sigma = np.exp(log_var / 2)
    z = mu + sigma * eps
    log_px = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(model.decoder(z).numpy())).sum(1)
    kl = (np.log(1 / sigma) + (sigma**2 + mu**2) / 2 - 0.5).sum(1)
    log_w = log_px + scipy.stats.norm.logpdf(z).sum(1) - scipy.stats.norm.logpdf(z, mu, sigma).sum(1)
    return log_px, kl, log_w


@equation(VAE.elbo, 1)
@equation(VAE.log_weights, 8)
@equation(importance.log_mean, 1)
def test_the_models_bounds_by_hand():  # (1) and (8), and (1) of importance.py, exactly
    model, x = tiny(n_latent=2), rng.integers(0, 2, (4, 5)).astype(float)
    log_px, kl, _ = by_hand(model, x, tg.random.Generator(3).normal((4, 2), dtype="float64"))
    np.testing.assert_allclose(model.elbo_parts(x, rng=tg.random.Generator(3)), (log_px, kl))
    np.testing.assert_allclose(model.elbo(x, rng=tg.random.Generator(3)), log_px - kl)
    log_w = [by_hand(model, x, eps)[2] for eps in tg.random.Generator(3).normal((3, 4, 2), dtype="float64")]
    np.testing.assert_allclose(model.log_weights(x, tg.random.Generator(3), 3).numpy(), log_w)
    expected = scipy.special.logsumexp(log_w, 0) - np.log(3)
    np.testing.assert_allclose(model.log_prob_estimate(x, samples=3, rng=tg.random.Generator(3)), expected)


def test_elbo_is_below_the_likelihood_by_the_kl_to_the_posterior():  # (1), S4 eq. 88
    model, x = tiny(), rng.integers(0, 2, (1, 5)).astype(float)
    log_p = log_p_by_quadrature(model, x)
    elbo = model.elbo(x.repeat(40_000, 0), rng=tg.random.Generator(1))
    mu, log_var = (t.numpy() for t in model.encoder(x))
    q = scipy.stats.norm(mu.item(), np.exp(log_var / 2).item())
    log_posterior = log_joint(model, x) - log_p
    gap = np.trapezoid(q.pdf(GRID) * (q.logpdf(GRID) - log_posterior), GRID)
    noise = 5 * elbo.std() / np.sqrt(len(elbo))
    assert gap > 3 * noise  # so that the bound is seen to be strict
    assert abs(elbo.mean() + gap - log_p) < noise


def test_importance_sampling_finds_the_likelihood_from_below():  # (8)
    model, x = tiny(), rng.integers(0, 2, (1, 5)).astype(float)
    log_p = log_p_by_quadrature(model, x)
    parts = model.log_prob_estimate(x.repeat(200, 0), samples=100, rng=tg.random.Generator(2))
    assert abs(scipy.special.logsumexp(parts) - np.log(200) - log_p) < 0.02
    few = model.log_prob_estimate(x.repeat(20_000, 0), samples=3, rng=tg.random.Generator(3))
    elbo = model.elbo(x.repeat(20_000, 0), rng=tg.random.Generator(4))
    assert elbo.mean() < few.mean() < log_p


def test_gradients_of_the_equations():
    eps, logits, x = rng.normal(size=(3, 2)), rng.normal(size=(3, 4)), rng.uniform(size=(3, 4))
    tg.check_grads(chapter.reparameterise, (MU, LOG_VAR, eps))
    tg.check_grads(chapter.kl_to_standard_normal, (MU, LOG_VAR))
    tg.check_grads(chapter.log_normal, (eps, MU, LOG_VAR))
    tg.check_grads(chapter.log_likelihood, (logits, x))


def test_gradient_of_the_elbo_end_to_end():
    model, x = tiny(n_latent=2), np.random.default_rng(1).uniform(size=(4, 5))  # no unit within 0.002 of its corner
    places = [(m, name) for m in model.modules() for name, _ in m._own("parameter")]

    def elbo(*values):
        for (m, name), value in zip(places, values, strict=True):
            vars(m)[name] = value
        log_px, kl = model(x, tg.random.Generator(7))
        return tg.mean(log_px - kl)

    tg.check_grads(elbo, [vars(m)[name].numpy() for m, name in places], order=1)


# ---- the model ------------------------------------------------------------------------------------------


def fitted(seed=0, steps=3, run=None):
    x = tg.random.Generator(9).uniform((40, 6))
    model = VAE(6, 2, hidden=8, rng=tg.random.Generator(seed))
    return model.fit(x, steps=steps, batch_size=8, run=run or Run(quiet=True))


def test_parts_of_the_elbo_are_sums_over_pixels_and_means_over_images():
    model = fitted()
    x = tg.random.Generator(5).uniform((30, 6))
    state = model.rng.state
    parts = {name: float(value) for name, value in model.update(x).items()}
    assert parts["elbo"] == pytest.approx(parts["log_px"] - parts["kl"], rel=1e-6)
    again = fitted()
    assert again.rng.state == state
    log_px, kl = again.elbo_parts(x, rng=again.rng)
    assert log_px.shape == kl.shape == (30,)
    assert [parts["log_px"], parts["kl"]] == pytest.approx([log_px.mean(), kl.mean()], rel=1e-5)


def test_training_raises_the_bound():
    x = (tg.random.Generator(0).uniform((200, 1)) > 0.5).astype(np.float32).repeat(10, 1)  # all white or all black
    model = VAE(10, 1, hidden=16, lr=5e-3, rng=tg.random.Generator(1))
    before = model.elbo(x).mean()
    model.fit(x, steps=400, run=Run(quiet=True))
    assert before < -6.5 and model.elbo(x).mean() > -1.5  # the best is -log 2 = -0.69


def test_shapes_dtypes_and_ranges():
    model, x = fitted(), tg.random.Generator(5).uniform((7, 6))
    shapes = {"sample": (4, 6), "reconstruct": (7, 6), "transform": (7, 2), "elbo": (7,)}
    for name, shape in shapes.items():
        out = getattr(model, name)(4 if name == "sample" else x)
        assert type(out) is np.ndarray and out.shape == shape and out.dtype == np.float32 and np.isfinite(out).all()
    assert 0 <= model.sample(50).min() and model.sample(50).max() <= 1
    assert model.log_prob_estimate(x, samples=5).shape == (7,)


def test_same_seed_same_bits_and_looking_changes_nothing():
    a, b = fitted(), fitted()
    state = b.rng.state
    b.sample(3), b.elbo(tg.random.Generator(5).uniform((7, 6)))
    assert b.rng.state == state
    draws = [model.sample(3, rng=tg.random.Generator(1)) for model in (a, b, fitted(seed=1))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_saved_and_loaded_is_the_same_model(tmp_path):
    a = fitted()
    tg.save(tmp_path / "vae.safetensors", a.state_dict())
    b = fitted(seed=3)
    b.load_state_dict(tg.load(tmp_path / "vae.safetensors"))
    x = tg.random.Generator(5).uniform((7, 6))
    np.testing.assert_array_equal(a.reconstruct(x), b.reconstruct(x))
    assert float(a.update(x)["elbo"]) == float(b.update(x)["elbo"])


def test_killed_and_resumed_is_the_straight_run(tmp_path):
    straight = fitted(steps=12, run=Run(tmp_path / "a", quiet=True))
    run = Run(tmp_path / "b", quiet=True)
    x = tg.random.Generator(9).uniform((40, 6))
    model = VAE(6, 2, hidden=8, rng=tg.random.Generator(0))
    for step in run.steps(model, 12, save_every=5):
        run.log(**model.update(chapter.batch(x, model.rng, 8)))
        if step == 8:
            break
    resumed = fitted(seed=4, steps=12, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for path, array in straight.encoder.state_dict().items():
        np.testing.assert_array_equal(array, resumed.encoder.state_dict()[path])


def test_bad_input_is_refused():
    model = fitted()
    with pytest.raises(ValueError, match=r"x has shape \(3, 2, 3\); rows of 6 pixels"):
        model.fit(np.zeros((3, 2, 3)), steps=1)
    with pytest.raises(ValueError, match="from 0 to 255"):
        model.elbo(np.array([[0, 0, 0, 0, 0, 255.0]]))
    with pytest.raises(ValueError, match="values from nan"):
        model.transform(np.full((1, 6), np.nan))
    assert isinstance(model.encoder, nn.Module) and "encoder.body.0.weight" in model.state_dict()


def test_on_the_stand_in_for_a_gpu():
    strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")
    from tinygen.backend import cuda

    x = tg.random.Generator(9).uniform((40, 6))

    def run(device):
        model = VAE(6, 2, hidden=8, rng=tg.random.Generator(0, device=device))
        model.fit(x, steps=3, batch_size=8, run=Run(quiet=True))
        draws = tg.random.Generator(1, device=device)
        return model.sample(3, rng=draws), model.elbo(x, rng=draws), model.log_prob_estimate(x, samples=2, rng=draws)

    expected = run("cpu")
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        for a, b in zip(expected, run("cuda"), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4)

"""What the VAE chapter offers beside its plainest form: a Gaussian decoder, m samples, turns, weights, errors."""

import numpy as np
import pytest
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.data import batch, binarize
from tinygen.models.vae import importance
from tinygen.models.vae import vae as chapter
from tinygen.models.vae.vae import VAE, GaussianDecoder
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = rng.uniform(size=(4, 5))


def tiny(seed=0, **options):
    """A small model in float64."""
    return VAE(5, 2, hidden=6, **options, rng=tg.random.Generator(seed)).to(dtype="float64")


def parameters(module):
    return [p.numpy().copy() for p in module.parameters()]


def same(before, after):
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# ---- the Gaussian decoder -------------------------------------------------------------------------------


@equation(GaussianDecoder.log_prob, 5)
@pytest.mark.parametrize("variance", [None, 0.3])
def test_gaussian_decoder_is_scipys_normal(variance):  # (5)
    decoder = tiny(likelihood="gaussian", variance=variance).decoder
    z = rng.normal(size=(3, 4, 2))
    u, log_var = (t.numpy() for t in decoder(z))
    if variance is not None:
        np.testing.assert_allclose(np.exp(log_var), variance)
    expected = scipy.stats.norm.logpdf(X, u, np.exp(log_var / 2)).sum(-1)
    np.testing.assert_allclose(decoder.log_prob(X, z).numpy(), expected)
    np.testing.assert_allclose(decoder.mean(z).numpy(), u)


def test_variances_stay_above_the_floor():
    decoder = tiny(likelihood="gaussian").decoder
    decoder[4].bias.assign(np.r_[np.zeros(5), np.full(5, -1e4)])
    decoder[4].weight.assign(np.zeros((10, 6)))
    np.testing.assert_allclose(np.exp(decoder(np.zeros((1, 2)))[1].numpy()), decoder.floor)
    decoder[4].bias.assign(np.r_[np.zeros(5), np.full(5, 0.7)])
    np.testing.assert_allclose(decoder(np.zeros((1, 2)))[1].numpy(), 0.7, rtol=1e-3)  # and are free far above it


@pytest.mark.parametrize("variance", [None, 0.3])
def test_a_decoder_that_starts_at_an_image(variance):
    decoder = tiny(likelihood="gaussian", variance=variance).decoder
    z = np.zeros((1, 2))
    log_var = decoder(z)[1].numpy()
    shift = decoder.mean(z).numpy() - decoder[4].bias.numpy()[:5]
    decoder.start_at(X[0])
    np.testing.assert_allclose(decoder.mean(z).numpy(), X[:1] + shift)
    np.testing.assert_array_equal(decoder(z)[1].numpy(), log_var)


def test_a_squared_error_is_a_variance_of_one_half():  # the remark below (5)
    z = rng.normal(size=(1, 4, 2))
    decoder = tiny(likelihood="gaussian", variance=0.5).decoder
    gap = decoder.log_prob(X, z).numpy() + np.square(X - decoder.mean(z).numpy()).sum(-1)
    np.testing.assert_allclose(gap, -5 / 2 * np.log(np.pi))


def test_learned_variances_find_the_noise():
    noise = np.array([0.02, 0.05, 0.1, 0.2], np.float32)
    x = np.clip(0.5 + noise * rng.normal(size=(2000, 4)), 0, 1).astype(np.float32)
    model = VAE(4, 1, hidden=16, likelihood="gaussian", lr=3e-3, rng=tg.random.Generator(0))
    model.fit(x, steps=600, run=Run(quiet=True))
    found = np.exp(model.decoder(model.encode(x, rng=tg.random.Generator(1)))[1].numpy() / 2).mean(0)
    np.testing.assert_allclose(found, x.std(0), rtol=0.25)


@pytest.mark.parametrize("options", [{}, {"samples": 3}, {"weights": (0.5, 2.0)}])
def test_gradients_of_the_gaussian_bound_end_to_end(options):
    model = tiny(likelihood="gaussian", **options)
    x = np.random.default_rng(4).uniform(size=(4, 5))  # no unit within 0.005 of its corner
    places = [(m, name) for m in model.modules() for name, _ in m._own("parameter")]

    def objective(*values):
        for (m, name), value in zip(places, values, strict=True):
            vars(m)[name] = value
        return tg.mean(model.objective(*model(x, tg.random.Generator(7), model.samples)))

    tg.check_grads(objective, [vars(m)[name].numpy() for m, name in places], order=1)


# ---- any covariance --------------------------------------------------------------------------------------


def full():
    """A model whose posteriors are correlated, and what its encoder says of X: mu (4, 2), L (4, 2, 2)."""
    model = tiny(covariance="full")
    q = model.encoder(X)
    return model, q, q.mu.numpy(), q.L.numpy()


@equation(chapter.correlated, 9)
@equation(chapter.Correlated.log_prob, 9)
def test_correlated_draws_have_scipys_density():  # (9)
    _, q, mu, L = full()
    assert np.all(np.diagonal(L, axis1=1, axis2=2) > 0) and np.all(L[:, 0, 1] == 0) and np.all(L[:, 1, 0] != 0)
    eps = rng.normal(size=(3, 4, 2))
    z = q.draw(eps).numpy()
    for i in range(4):
        np.testing.assert_allclose(z[:, i], mu[i] + eps[:, i] @ L[i].T)
        expected = scipy.stats.multivariate_normal(mu[i], L[i] @ L[i].T).logpdf(z[:, i])
        np.testing.assert_allclose(q.log_prob(eps).numpy()[:, i], expected)
    np.testing.assert_allclose(q.variances().numpy(), np.diagonal(L @ L.swapaxes(1, 2), axis1=1, axis2=2))


@equation(chapter.kl_of_correlated, 10)
@equation(chapter.Correlated.kl, 10)
def test_kl_of_correlated_posteriors():  # (10), against S4's own formula and the mean of log-ratios
    _, q, mu, L = full()
    sigma = L @ L.swapaxes(1, 2)
    expected = [(np.trace(s) + m @ m - 2 - np.linalg.slogdet(s)[1]) / 2 for m, s in zip(mu, sigma, strict=True)]
    np.testing.assert_allclose(q.kl().numpy(), expected)
    np.testing.assert_allclose(chapter.kl_of_correlated(mu, L, np.log(np.diagonal(L, axis1=1, axis2=2))), expected)
    z = rng.multivariate_normal(mu[0], sigma[0], 100_000)
    gaps = scipy.stats.multivariate_normal(mu[0], sigma[0]).logpdf(z) - scipy.stats.norm.logpdf(z).sum(1)
    assert abs(gaps.mean() - expected[0]) < 5 * gaps.std() / np.sqrt(len(z))


def test_a_diagonal_covariance_is_a_special_case():  # (9) and (10)
    mu, log_var, eps = rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=(3, 4, 2))
    L = np.exp(log_var / 2)[..., None] * np.eye(2)
    diagonal, correlated = chapter.Diagonal(mu, log_var), chapter.Correlated(mu, L, log_var / 2)
    for name, given in (("draw", (eps,)), ("log_prob", (eps,)), ("kl", ()), ("variances", ())):
        np.testing.assert_allclose(getattr(diagonal, name)(*given), getattr(correlated, name)(*given))


def linear_gaussian(posterior):
    """A model with a linear Gaussian decoder and an encoder given as a function; and log p(x) of X, exactly."""
    model = tiny(likelihood="gaussian", variance=0.3)
    W, c, noise = rng.normal(size=(5, 2)), rng.normal(size=5), 0.3
    model.decoder.forward = lambda z: (z @ W.T + c, np.log(noise) + 0 * (z @ W.T))
    sigma = np.linalg.inv(np.eye(2) + W.T @ W / noise)

    def encoder(x):
        q = posterior((x - c) @ W @ sigma / noise, np.stack([sigma] * len(x)))
        return type(q)(*map(tg.tensor, q))

    model.encoder.forward = encoder
    return model, scipy.stats.multivariate_normal(c, W @ W.T + noise * np.eye(5)).logpdf(X)


def exact(mu, sigma):
    L = np.linalg.cholesky(sigma)
    return chapter.Correlated(mu, L, np.log(np.diagonal(L, axis1=1, axis2=2)))


def best_diagonal(mu, sigma):
    """The diagonal Gaussian with the smallest KL to the posterior: its precisions are the posterior's."""
    return chapter.Diagonal(mu, -np.log(np.diagonal(np.linalg.inv(sigma), axis1=1, axis2=2)))


def test_with_the_exact_posterior_the_bound_is_the_likelihood():  # (8), (9), (10): S4 eq. 88 with a gap of 0
    model, log_p = linear_gaussian(exact)
    np.testing.assert_allclose(model.log_weights(X, tg.random.Generator(0), 7), np.broadcast_to(log_p, (7, 4)))
    elbo = [model.elbo(X, samples=20_000, rng=tg.random.Generator(seed)) for seed in range(2)]
    np.testing.assert_allclose(np.mean(elbo, 0), log_p, atol=0.05)


def test_a_diagonal_posterior_leaves_a_gap_of_known_size():
    """KL of two Gaussians with one mean, where the diagonal one has the posterior's precisions: only dets differ."""
    gaps = []

    def posterior(mu, sigma):
        q = best_diagonal(mu, sigma)
        gaps.append((np.linalg.slogdet(sigma)[1] - q.log_var.sum(1)) / 2)
        return q

    model, log_p = linear_gaussian(posterior)
    elbo = np.mean([model.elbo(X, samples=20_000, rng=tg.random.Generator(seed)) for seed in range(2)], 0)
    assert np.all(gaps[0] > 0.1)
    np.testing.assert_allclose(log_p - elbo, gaps[0], atol=0.05)


def test_a_full_covariance_learns_and_is_refused_by_name():
    model = tiny(covariance="full").fit(X, steps=3, run=Run(quiet=True))
    assert np.isfinite(model.elbo(X)).all() and model.encode(X).shape == (4, 2)
    with pytest.raises(ValueError, match="covariance is 'tied'"):
        tiny(covariance="tied")


def test_what_each_entry_of_the_code_costs():
    """The shares sum to the KL (4); an entry that the encoder says nothing about costs nothing."""
    model = tiny()
    np.testing.assert_allclose(model.kl_by_unit(X).sum(), model.elbo_parts(X)[1].mean())
    for head in (model.encoder.mu, model.encoder.log_var):
        head.weight.assign(head.weight.numpy() * [[1.0], [0.0]])
        head.bias.assign(head.bias.numpy() * [1.0, 0.0])
    shares = model.kl_by_unit(X)
    assert shares[0] > 0.001 and shares[1] == 0


def test_a_falling_rate():
    model = tiny(schedule=tg.optim.schedules.Cosine(10)).fit(X, steps=5, run=Run(quiet=True))
    assert model.optimizer.lr == pytest.approx(0.5e-3)


# ---- m samples ------------------------------------------------------------------------------------------


@equation(VAE.forward, 6)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_estimator_is_the_mean_over_draws(likelihood):  # (6)
    model = tiny(likelihood=likelihood)
    mu, log_var = (t.numpy() for t in model.encoder(X))
    log_px = []
    for eps in tg.random.Generator(3).normal((3, 4, 2), dtype="float64"):
        out = model.decoder(mu + np.exp(log_var / 2) * eps)
        if likelihood == "bernoulli":
            log_px.append((X * out.numpy() - np.logaddexp(0, out.numpy())).sum(1))
        else:
            u, v = (t.numpy() for t in out)
            log_px.append(scipy.stats.norm.logpdf(X, u, np.exp(v / 2)).sum(1))
    kl = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(1)
    found = model(X, tg.random.Generator(3), 3)
    np.testing.assert_allclose(found[0].numpy(), np.mean(log_px, 0))
    np.testing.assert_allclose(found[1].numpy(), kl)
    np.testing.assert_array_equal(model.elbo_parts(X, samples=3, rng=tg.random.Generator(3))[0], found[0].numpy())


def test_more_draws_are_less_noise():  # (6)
    model = tiny()
    many = np.repeat(X[:1], 4000, 0)
    spread = [model.elbo_parts(many, samples=m, rng=tg.random.Generator(m))[0].std() for m in (1, 9)]
    assert spread[0] / spread[1] == pytest.approx(3, rel=0.1)


def test_kl_is_s4s_general_formula():  # S4 eq. 105, whose case (106) is (4)
    mu, log_var = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    for m, v, found in zip(mu, log_var, chapter.kl_to_standard_normal(mu, log_var), strict=True):
        s0, s1 = np.diag(np.exp(v)), np.eye(2)
        trace = np.trace(np.linalg.inv(s1) @ s0) + m @ np.linalg.inv(s1) @ m - 2
        assert found == pytest.approx((trace + np.log(np.linalg.det(s1) / np.linalg.det(s0))) / 2)


# ---- turns ----------------------------------------------------------------------------------------------


def test_turns():
    assert [chapter.turn(step, 0) for step in (1, 2)] == [("encoder", "decoder")] * 2
    assert [chapter.turn(step, 2)[0] for step in range(1, 8)] == ["encoder"] * 2 + ["decoder"] * 2 + [
        "encoder"] * 2 + ["decoder"]  # fmt: skip


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_a_turn_moves_one_network_as_the_joint_step_would(name):
    one, both = tiny(), tiny()
    other = {"encoder": "decoder", "decoder": "encoder"}[name]
    start = parameters(getattr(one, other))
    one.update(X, move=(name,)), both.update(X)
    assert same(start, parameters(getattr(one, other)))
    assert same(parameters(getattr(one, name)), parameters(getattr(both, name)))
    assert not same(start, parameters(getattr(both, other)))


def test_taking_turns_raises_the_bound_too():
    x = (tg.random.Generator(0).uniform((200, 1)) > 0.5).astype(np.float32).repeat(10, 1)  # all white or all black
    model = VAE(10, 1, hidden=16, lr=5e-3, rng=tg.random.Generator(1))
    model.fit(x, steps=1200, alternate=10, run=Run(quiet=True))
    assert model.elbo(x, samples=100, rng=tg.random.Generator(2)).mean() > -1.5  # the best is -log 2 = -0.69


@pytest.mark.parametrize(("contains_the_posterior", "falls"), [(True, False), (False, True)])
def test_where_the_proof_of_convergence_slips(contains_the_posterior, falls):  # S4 eqs. 95-102
    """p(x|z) = N(theta z, 1), q = N(mu, s^2), best answers in turn; s is 1, or free as the proof needs."""
    x, theta, s2 = 3.0, np.sqrt(8.0), 1.0  # theta^2 = x^2 - 1 is where the likelihood is largest
    if contains_the_posterior:
        theta = 0.5
    bounds, log_p = [], []
    for _ in range(20):
        mu = theta * x / (1 + theta**2)  # the mean of the posterior: the best one, whatever s is
        s2 = 1 / (1 + theta**2) if contains_the_posterior else 1.0
        theta = x * mu / (mu**2 + s2)
        # E log N(x; theta z, 1) under q, and the KL of the chapter
        log_px = scipy.stats.norm.logpdf(x, theta * mu, 1) - theta**2 * s2 / 2
        bounds.append(log_px - chapter.kl_to_standard_normal(np.array([mu]), np.log([s2])))
        log_p.append(scipy.stats.norm.logpdf(x, 0, np.sqrt(1 + theta**2)))
    assert (np.diff(bounds) >= -1e-12).all() and (bounds <= np.array(log_p)).all()
    assert bool((np.diff(log_p) < -1e-6).any()) == falls
    if not falls:
        assert theta**2 == pytest.approx(8, rel=0.02)


def test_the_chapters_figures_of_a_falling_likelihood():
    """x = 3, theta = sqrt 8, encoders N(mu, 1), the best mu; then the best theta for it."""
    x, theta = 3.0, np.sqrt(8.0)
    mu, found = theta * x / (1 + theta**2), []
    for t in (theta, x * mu / (mu**2 + 1)):
        bound = scipy.stats.norm.logpdf(x, t * mu, 1) - t**2 / 2 - mu**2 / 2
        found += [bound, scipy.stats.norm.logpdf(x, 0, np.sqrt(1 + t**2))]
    np.testing.assert_allclose(found, [-5.42, -2.52, -3.75, -2.90], atol=0.005)


# ---- the weights of the two terms -----------------------------------------------------------------------


@equation(VAE.objective, 7)
def test_the_objective_weighs_the_terms():  # (7)
    assert tiny(weights=(0.5, 3)).objective(np.array([-7.0]), np.array([2.0])) == pytest.approx([-9.5])


def test_what_each_term_does():
    x = (tg.random.Generator(0).uniform((200, 1)) > 0.5).astype(np.float32).repeat(10, 1)
    logs = {}
    for weights in [(1, 0), (0, 1), (1, 1)]:
        model = VAE(10, 1, hidden=16, lr=5e-3, weights=weights, rng=tg.random.Generator(1))
        decoder = parameters(model.decoder)
        model.fit(x, steps=400, run=Run(quiet=True))
        assert same(decoder, parameters(model.decoder)) == (weights == (0, 1))  # no term asks the decoder for anything
        logs[weights] = [part.mean() for part in model.elbo_parts(x, samples=20, rng=tg.random.Generator(2))]
    assert logs[1, 0][0] > -0.05 and logs[1, 0][1] > 2 * logs[1, 1][1]  # perfect, at the price of a large KL
    assert logs[0, 1][1] < 0.01 and logs[0, 1][0] < -6.5
    assert logs[1, 1][0] - logs[1, 1][1] > max(a - b for k, (a, b) in logs.items() if k != (1, 1))


# ---- importance samples ---------------------------------------------------------------------------------


@equation(importance.standard_error, 2)
def test_standard_error_by_hand():  # (2) of importance.py
    model = tiny(likelihood="gaussian")
    mu, log_var = (t.numpy() for t in model.encoder(X))
    z = mu + np.exp(log_var / 2) * tg.random.Generator(3).normal((50, 4, 2), dtype="float64")
    u, v = (t.numpy() for t in model.decoder(z))
    log_w = scipy.stats.norm.logpdf(X, u, np.exp(v / 2)).sum(-1) + scipy.stats.norm.logpdf(z).sum(-1)
    w = np.exp(log_w - scipy.stats.norm.logpdf(z, mu, np.exp(log_var / 2)).sum(-1))
    log_p, error = model.log_prob_and_error(X, samples=50, rng=tg.random.Generator(3))
    np.testing.assert_allclose(log_p, np.log(w.mean(0)))
    np.testing.assert_allclose(error, w.std(0) / w.mean(0) / np.sqrt(50))


def test_standard_error_is_the_spread_of_the_estimates():  # (2) of importance.py
    model = tiny()
    log_p, error = model.log_prob_and_error(np.repeat(X[:1], 2000, 0), samples=200, rng=tg.random.Generator(1))
    assert log_p.std() == pytest.approx(error.mean(), rel=0.1)


def test_one_draw_tells_nothing_of_its_error():  # (2) of importance.py
    assert np.isinf(tiny().log_prob_and_error(X, samples=1)[1]).all()


def test_what_importance_sampling_cannot_see():
    """The docstring's example: the estimate is some 25 nats too low, and its error says 0.8."""
    log_w = 10 * np.random.default_rng(0).normal(size=(1000, 500)) - 50  # of mean 1
    sums = importance.log_sums(np.array_split(log_w, 3))
    assert -28 < np.median(importance.log_mean(sums, 1000)) < -22
    assert 0.7 < np.median(importance.standard_error(sums, 1000)) < 0.9


def test_the_bound_rises_with_the_number_of_draws():  # Burda et al.; m = 1 is the ELBO
    model, many = tiny(), np.repeat(X[:1], 20_000, 0)
    log_w = model.log_weights(many, tg.random.Generator(0), 16).numpy()
    means = [np.logaddexp.reduce(log_w[:m]).mean() - np.log(m) for m in (1, 2, 4, 16)]
    assert (np.diff(means) > 0).all()
    assert means[0] == pytest.approx(model.elbo(many, rng=tg.random.Generator(1)).mean(), abs=0.02)


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m.fit(X, steps=1, batch_size=0, run=Run(quiet=True)), "batch_size is 0"),
    (lambda m: m.fit(X, steps=1, alternate=-1, run=Run(quiet=True)), "alternate is -1"),
    (lambda m: m.elbo_parts(X, samples=0), "samples is 0"),
    (lambda m: m.log_prob_estimate(X, samples=0), "samples is 0"),
    (lambda m: m.decode(np.zeros((3, 3))), r"z has shape \(3, 3\); rows of 2"),
])  # fmt: skip
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny())


def test_memory_is_bounded_however_many_images_and_samples():
    model, decoded = tiny(), []
    log_prob = model.decoder.log_prob
    model.decoder.log_prob = lambda x, z: (decoded.append(z.shape[0] * z.shape[1]), log_prob(x, z))[1]
    x = rng.uniform(size=(23, 5))
    log_p, error = model.log_prob_and_error(x, samples=5000, at_once=300, rng=tg.random.Generator(0))
    assert max(decoded) <= 300 and sum(decoded) == 23 * 5000
    few, few_error = model.log_prob_and_error(x, samples=300, at_once=10, rng=tg.random.Generator(1))
    assert max(decoded) <= 300 and (abs(few - log_p) < 5 * np.hypot(error, few_error)).all()
    assert log_p.shape == error.shape == (23,) and (error > 0).all()


# ---- the model ------------------------------------------------------------------------------------------

VARIANTS = [dict(likelihood="gaussian"), dict(likelihood="gaussian", variance=0.1, samples=2), dict(depth=1)]
HOW = dict(steps=12, batch_size=8, alternate=2, resample=True)


@pytest.mark.parametrize("options", VARIANTS)
def test_killed_and_resumed_in_the_middle_of_a_turn(options, tmp_path):
    def make(seed):
        return VAE(5, 2, hidden=6, **options, rng=tg.random.Generator(seed))

    straight = make(0).fit(X, **HOW, run=Run(tmp_path / "a", quiet=True))
    run, model = Run(tmp_path / "b", quiet=True), make(0)
    x = X.astype(np.float32)
    for step in run.steps(model, 12, save_every=7):
        x_batch = binarize.resampled(batch(x, model.rng, 8), model.rng)
        run.log(**model.update(x_batch, move=chapter.turn(step, 2)))
        if step == 9:
            break
    resumed = make(1).fit(X, **HOW, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert same(parameters(straight), parameters(resumed))
    assert np.isfinite(resumed.sample(3)).all() and resumed.encode(X).shape == (4, 2)


def test_batches_are_black_and_white_if_asked():
    seen = []
    model = tiny()
    model.update = lambda x, move: seen.append(np.array(x)) or {}
    model.fit(X, steps=300, resample=True, run=Run(quiet=True))
    seen = np.concatenate(seen)
    assert set(np.unique(seen)) == {0, 1} and abs(seen.mean(0) - X.mean(0)).max() < 0.02


@pytest.mark.parametrize(("options", "message"), [(dict(likelihood="poisson"), "likelihood is 'poisson'"),
                                                  (dict(variance=0.1), "only for the Gaussian decoder"),
                                                  (dict(likelihood="gaussian", variance=0.0), "variance is 0.0"),
                                                  (dict(samples=0), "samples is 0"),
                                                  (dict(samples=1.5), "samples is 1.5"),
                                                  (dict(depth=0), "depth is 0"),
                                                  (dict(weights=(-1, 1)), r"weights is \(-1, 1\)"),
                                                  (dict(weights=1), "weights is 1")])  # fmt: skip
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


@pytest.mark.parametrize("options", VARIANTS)
def test_variants_on_the_stand_in_for_a_gpu(options):
    strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")
    from tinygen.backend import cuda

    def run(device):
        model = VAE(5, 2, hidden=6, **options, rng=tg.random.Generator(0, device=device))
        model.fit(X, steps=3, alternate=1, resample=True, batch_size=8, run=Run(quiet=True))
        draws = tg.random.Generator(1, device=device)
        return model.encode(X, rng=draws), *model.log_prob_and_error(X, samples=20, at_once=8, rng=draws)

    expected = run("cpu")
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        for a, b in zip(expected, run("cuda"), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3)

"""Denoising autoencoders: the corruptions, the best denoiser by three ways, Tweedie's formula, and the model."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.data import Mixture
from tinygen.models.autoencoder import DenoisingAutoencoder, fully_connected
from tinygen.models.autoencoder import denoising as chapter
from tinygen.models.autoencoder.denoising import Blur, GaussianNoise, Masking
from tinygen.probability import Mixture as MixtureLaw
from tinygen.probability import Normal
from tinygen.runs import Run

rng = np.random.default_rng(0)


def tiny(corruption, *, loss="squared", device="cpu", n=6):
    draws = tg.random.Generator(0, device=device)
    parts = fully_connected(n, 9, last=True, rng=draws), fully_connected(9, n, rng=draws)
    return DenoisingAutoencoder(*parts, n, corruption=corruption, loss=loss, rng=draws)


# ---- the corruptions ------------------------------------------------------------------------------------


@equation(GaussianNoise.__call__, 2)
def test_gaussian_noise_adds_sigma_times_standard_noise(device):
    x = tg.random.Generator(1, device=device).uniform((50, 4))
    found = GaussianNoise(0.3)(x, tg.random.Generator(2, device=device))
    expected = x + 0.3 * tg.random.Generator(2, device=device).normal((50, 4))
    np.testing.assert_allclose(backend.to_numpy(found), backend.to_numpy(expected), rtol=1e-5)
    assert found.dtype == np.float32 and backend.device_of(found) == device


def test_sigma_is_a_standard_deviation_and_not_a_variance():
    noise = GaussianNoise(0.3)(np.zeros((1000, 40)), tg.random.Generator(0))
    assert noise.dtype == np.float64 and noise.std() == pytest.approx(0.3, rel=0.02)


@equation(Masking.__call__, 3)
def test_masking_sets_a_share_q_to_zero_and_leaves_the_rest_alone(device):
    x = tg.random.Generator(1, device=device).uniform((400, 50), 0.5, 1)
    found = backend.to_numpy(Masking(0.3)(x, tg.random.Generator(2, device=device)))
    gone = found == 0
    np.testing.assert_array_equal(found[~gone], backend.to_numpy(x)[~gone])  # not divided by 1 - q, as dropout does
    share = gone.reshape(400, 50)
    assert share.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 20_000))
    assert np.corrcoef(share[:, 0], share[:, 1])[0, 1] == pytest.approx(0, abs=0.2)  # entries do not ask each other


@equation(Blur.__call__, 4)
@equation(chapter.blur_matrix, 4)
def test_blur_is_a_mean_of_neighbours_with_gaussian_weights(device):
    x = rng.uniform(size=(3, 5, 4))
    on_device = backend.asarray(x.reshape(3, 20), device=device)
    found = Blur(1.3, (5, 4))(on_device, tg.random.Generator(0, device=device))
    for i, j in np.ndindex(5, 4):
        w = np.exp(-((np.arange(5)[:, None] - i) ** 2 + (np.arange(4) - j) ** 2) / (2 * 1.3**2))
        np.testing.assert_allclose(backend.to_numpy(found)[:, 4 * i + j], (x * w).sum((1, 2)) / w.sum())
    assert found.shape == (3, 20)


def test_blur_keeps_a_grey_image_and_takes_channels():
    grey = np.full((2, 3, 6, 6), 0.4, np.float32)
    found = Blur(2.0, (6, 6))(grey, tg.random.Generator(0))
    np.testing.assert_allclose(found, grey, rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("make", [lambda: GaussianNoise(0.0), lambda: Masking(1.0), lambda: Blur(-1.0, (2, 2))])
def test_a_corruption_that_is_none_is_refused(make):
    with pytest.raises(ValueError, match="wanted"):
        make()


# ---- the best denoiser ----------------------------------------------------------------------------------


@equation(chapter.mean_of_examples, 5)
def test_the_mean_of_examples_is_bayes_rule(device):
    examples, x_tilde, noise = rng.normal(size=(7, 3)), rng.normal(size=(4, 3)), GaussianNoise(0.8)
    c = np.array([[scipy.stats.multivariate_normal.pdf(x, e, 0.64) for e in examples] for x in x_tilde])
    expected = (c / c.sum(1, keepdims=True)) @ examples
    on_device = [backend.asarray(a, device=device) for a in (x_tilde, examples)]
    found = chapter.mean_of_examples(noise.log_density(*on_device), on_device[1])
    np.testing.assert_allclose(backend.to_numpy(found), expected)


@given(st.integers(0, 2**32 - 1))
def test_no_function_beats_the_mean_on_the_examples_themselves(seed):
    """(1) and (5), exactly, where images are few and masks can be enumerated."""
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 2, (4, 3)).astype(float)
    masks = np.array(list(itertools.product([0, 1], repeat=3)))
    p_mask = 0.4 ** (1 - masks).sum(1) * 0.6 ** masks.sum(1)
    seen = (x[:, None] * masks).reshape(-1, 3)  # (4 * 8, 3), of which some are the same
    log_c = np.log(np.array([[p_mask[(x_j * masks == s).all(1)].sum() for x_j in x] for s in seen]) + 1e-300)
    best = chapter.mean_of_examples(log_c, x)
    other = best + 0.1 * draw.normal(size=(8, 3))[(seen @ [1, 2, 4]).astype(int)]  # any function of what is seen
    loss, others = ((p_mask * np.square(x[:, None] - r.reshape(4, 8, 3)).sum(2)).sum() for r in (best, other))
    assert loss < others


MIXTURE = Mixture([0.3, 0.7], [[-1.0], [1.5]], [[[0.2]], [[0.5]]])
PLANE = Mixture([0.5, 0.2, 0.3], rng.normal(size=(3, 2)), [[[1, 0.3], [0.3, 0.5]], [[0.2, 0], [0, 1]], np.eye(2)])


@equation(chapter.mixture_denoiser, 8)
def test_the_mean_under_a_mixture_by_quadrature():
    x_tilde, sigma = np.array([[-2.0], [0.1], [3.0]]), 0.7
    x = np.linspace(-8, 8, 4001)
    p = np.exp(MIXTURE.log_density(x[:, None]))
    for at, found in zip(x_tilde, chapter.mixture_denoiser(MIXTURE, x_tilde, sigma), strict=True):
        joint = p * scipy.stats.norm.pdf(at, x, sigma)
        assert found[0] == pytest.approx(scipy.integrate.trapezoid(x * joint, x) / scipy.integrate.trapezoid(joint, x))


@equation(chapter.tweedie, 6)
@equation(chapter.mixture_denoiser, 8)
def test_tweedie_on_a_mixture_in_the_plane():
    """The slope of the log-density of noisy points leads to the mean of what they may have been."""
    sigma, x_tilde = 0.6, rng.normal(size=(20, 2), scale=2)
    wide = chapter.noisy(PLANE, sigma)

    def log_p(x):
        parts = []
        for w, m, C in zip(wide.weights, wide.means, wide.covariances, strict=True):
            d = x - m
            square = tg.sum(tg.matmul(d, np.linalg.inv(C)) * d, 1)
            parts.append(np.log(w) - square / 2 - np.log(np.linalg.det(2 * np.pi * C)) / 2)
        return tg.logsumexp(tg.stack(parts, 1), 1)

    np.testing.assert_allclose(
        chapter.tweedie(log_p, x_tilde, sigma), chapter.mixture_denoiser(PLANE, x_tilde, sigma), atol=1e-10
    )


def test_tweedie_on_the_device_and_by_differences(device):
    sigma, at = 0.5, np.array([[-0.4], [0.9]])
    wide = chapter.noisy(MIXTURE, sigma)
    parts = [backend.asarray(a, device=device) for a in (wide.means[:, 0], wide.std, wide.weights)]
    law = MixtureLaw(Normal(*parts[:2]), probs=parts[2])
    found = chapter.tweedie(lambda x: law.log_prob(x[:, 0]), backend.asarray(at, device=device), sigma)
    slope = (wide.log_density(at + 1e-5) - wide.log_density(at - 1e-5)) / 2e-5
    np.testing.assert_allclose(backend.to_numpy(found)[:, 0], at[:, 0] + sigma**2 * slope, rtol=1e-6)


@equation(chapter.score_estimate, 7)
def test_the_score_from_the_best_denoiser_is_the_slope():
    sigma, at = 0.5, np.linspace(-3, 3, 9)[:, None]
    wide = chapter.noisy(MIXTURE, sigma)
    slope = (wide.log_density(at + 1e-5) - wide.log_density(at - 1e-5)) / 2e-5
    found = chapter.score_estimate(at, chapter.mixture_denoiser(MIXTURE, at, sigma), sigma)
    np.testing.assert_allclose(found[:, 0], slope, rtol=1e-6)


@equation(chapter.linear_loss, 9)
def test_noise_is_a_ridge_penalty_on_a_linear_denoiser():
    W, x, sigma = rng.normal(size=(3, 3)), rng.normal(size=(2, 3)), 0.7
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)  # exact, as the loss is quadratic in the noise
    expected = np.zeros(2)
    for i, j, k in itertools.product(range(3), repeat=3):
        eps, w = nodes[[i, j, k]], weights[[i, j, k]].prod() / weights.sum() ** 3
        expected += w * np.square(x - (x + sigma * eps) @ W.T).sum(1)
    np.testing.assert_allclose(chapter.linear_loss(W, x, sigma), expected)


def test_wieners_filter_is_the_least_of_the_linear_losses():
    """(8) with one component, against (9): no other matrix does better on average."""
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3))
    x -= x.mean(0)
    sigma, eye = 0.8, np.eye(3)
    W = chapter.wiener(x, eye, sigma).T  # x has no mean: the rows of the identity give the columns
    slope = tg.grad(tg.mean(chapter.linear_loss(w := tg.tensor(W, requires_grad=True), x, sigma)), w)
    assert abs(slope.numpy()).max() < 1e-7
    lam, U = np.linalg.eigh(np.cov(x.T, bias=True))
    np.testing.assert_allclose(W, U * (lam / (lam + sigma**2)) @ U.T, atol=1e-8)


# ---- how good it is -------------------------------------------------------------------------------------


@equation(chapter.psnr, 10)
@equation(chapter.snr, 11)
def test_ratios_in_decibels_by_hand():
    x, x_hat = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.1, 0.9], [0.5, 0.4]])
    np.testing.assert_allclose(chapter.psnr(x, x_hat), [20.0, 10 * np.log10(1 / 0.005)])
    np.testing.assert_allclose(chapter.snr(x, x_hat), [10 * np.log10(1 / 0.02), 10 * np.log10(0.5 / 0.01)])


def test_a_tenth_of_the_error_is_ten_decibels():
    x, error = rng.uniform(size=(3, 2, 4)), rng.normal(size=(3, 2, 4))
    for ratio in (chapter.psnr, chapter.snr):
        np.testing.assert_allclose(ratio(x, x + error / np.sqrt(10)) - ratio(x, x + error), 10)


# ---- the model ------------------------------------------------------------------------------------------


@equation(DenoisingAutoencoder.update, 1, of=chapter)
def test_the_loss_compares_what_becomes_of_the_corrupted_image_with_the_clean_one():
    model, x = tiny(GaussianNoise(0.4)), rng.uniform(size=(5, 6)).astype(np.float32)
    before = model.rng.state
    x_tilde = model.corrupt(x)
    model.rng.state = before  # the update draws the same noise
    expected = np.square(x - model.denoise(x_tilde)).sum(1).mean()
    assert float(model.update(x)["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_it_learns_the_conditional_mean(loss):
    """Two images, one pixel of which decides: where it is masked, the best answer is the mean of the others."""
    x = np.array([[1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 1]], np.float32).repeat(50, 0)
    model = tiny(Masking(0.5), loss=loss)
    model.optimizer.lr = model.schedule.lr = 0.02
    model.fit(x, steps=400, run=Run(quiet=True))
    found = model.denoise(np.array([[1, 0, 0, 0, 0, 0]]))
    # nothing but the common pixel is seen: of the first image one pixel was hidden, of the second three
    w = np.array([0.5, 0.125]) / 0.625
    np.testing.assert_allclose(found[0], w @ x[[0, 50]], atol=0.12)


def test_corrupt_draws_from_what_it_is_given(device):
    model, x = tiny(GaussianNoise(0.4), device=device), np.zeros((3, 6))
    a, b = (model.corrupt(x, rng=tg.random.Generator(5, device=device)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert type(a) is np.ndarray and (model.corrupt(x) != model.corrupt(x)).all()
    assert type(model.denoise(a)) is np.ndarray and model.denoise(a).shape == (3, 6)


def test_denoise_takes_any_range_and_nothing_else():
    model = tiny(GaussianNoise(0.4), loss="cross-entropy")
    found = model.denoise(np.full((2, 6), -3.0))
    assert 0 <= found.min() and found.max() <= 1
    with pytest.raises(ValueError, match="DenoisingAutoencoder: x has shape"):
        model.denoise(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="NaN"):
        model.denoise(np.full((2, 6), np.nan))
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        model.corrupt(np.full((2, 6), -3.0))


def test_a_corruption_that_cannot_be_called_is_refused():
    with pytest.raises(ValueError, match="corruption is 0.3"):
        tiny(0.3)

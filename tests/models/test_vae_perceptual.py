"""The perceptual loss against loops and other formulae, and the model that learns by it."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.vae import VAE, PerceptualVAE
from tinygen.models.vae import perceptual as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = tg.random.Generator(9).uniform((40, 6))
seeds = st.integers(0, 10**6)


def halves(x):
    """Two layers: differences of the halves, and their sum over all pixels."""
    return [tg.reshape(tg.relu(x[:, :3] - x[:, 3:]), (-1, 1, 1, 3)), tg.reshape(tg.sum(x, 1), (-1, 1, 1, 1))]


def fitted(seed=0, steps=20, features=halves, **options):
    model = PerceptualVAE(6, 2, features, hidden=8, rng=tg.random.Generator(seed), **options)
    return model.fit(X, steps=steps, run=Run(quiet=True))


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.best_guess, 1)
def test_the_best_guess_is_the_mean():
    x, weights = rng.uniform(size=(3, 4)), np.array([0.5, 0.3, 0.2])
    error = lambda u: weights @ np.square(x - u).sum(1)  # noqa: E731
    found = scipy.optimize.minimize(error, np.zeros(4), tol=1e-12).x
    np.testing.assert_allclose(chapter.best_guess(x, weights), found, rtol=1e-5)


@equation(chapter.feature_loss, 2)
@given(seed=seeds)
def test_feature_loss_by_a_loop(seed):
    hat, true = np.random.default_rng(seed).normal(size=(2, 3, 2, 4, 5))
    for i in range(3):
        squares = [(hat[i][c, h, w] - true[i][c, h, w]) ** 2 for c, h, w in np.ndindex(2, 4, 5)]
        assert chapter.feature_loss(hat, true)[i] == pytest.approx(sum(squares) / (2 * 4 * 5))


def test_layers_count_alike_whatever_their_size():
    """The same difference everywhere costs the same in a large layer and in a small one."""
    maps = [np.zeros((2, 1, 2, 2)), np.zeros((2, 7, 5, 5))]
    found = chapter.perceptual_loss([m + 0.5 for m in maps], maps)
    np.testing.assert_allclose(found, [0.5, 0.5])


@equation(chapter.loss, 3)
@equation(PerceptualVAE.terms, 3)
def test_the_models_loss_by_hand():
    model = fitted(feature_weight=7.0)
    log_px, kl, felt = (t.numpy() for t in model.terms(X, tg.random.Generator(3)))
    expected = model.elbo_parts(X, rng=tg.random.Generator(3))
    np.testing.assert_allclose(log_px, expected[0], rtol=1e-5)
    np.testing.assert_allclose(kl, expected[1], rtol=1e-5)
    x_hat = model.decode(model.encode(X, rng=tg.random.Generator(3)))
    by_layer = [np.mean((tg.tensor(a).numpy() - tg.tensor(b).numpy()) ** 2, axis=(1, 2, 3))
                for a, b in zip(halves(x_hat), halves(X), strict=True)]  # fmt: skip
    np.testing.assert_allclose(felt, sum(by_layer), rtol=1e-4)
    np.testing.assert_allclose(chapter.loss(log_px, kl, felt, 7.0), kl - log_px + 7 * sum(by_layer), rtol=1e-5)


@equation(chapter.sharpness, 4)
def test_sharpness_is_scipys_laplacian():
    x = rng.uniform(size=(2, 6, 7))
    expected = [scipy.ndimage.laplace(image)[1:-1, 1:-1].var() for image in x]
    np.testing.assert_allclose(chapter.sharpness(x), expected)
    blurred = np.stack([scipy.ndimage.gaussian_filter(image, 1) for image in x])
    assert (chapter.sharpness(blurred) < chapter.sharpness(x) / 5).all()
    with pytest.raises(ValueError, match=r"\(b, h, w\)"):
        chapter.sharpness(x[0])


def test_gradients_of_the_equations():
    hat, true = rng.normal(size=(2, 2, 1, 2, 3))
    tg.check_grads(chapter.feature_loss, (hat, true))


# ---- the model ------------------------------------------------------------------------------------------


def test_without_features_it_is_the_variational_autoencoder():
    def refuse(x):
        raise AssertionError("the features were asked for")

    plain = VAE(6, 2, hidden=8, rng=tg.random.Generator(0)).fit(X, steps=20, run=Run(quiet=True))
    found = fitted(features=refuse, feature_weight=0.0)
    np.testing.assert_allclose(found.transform(X), plain.transform(X), rtol=1e-4, atol=1e-6)


def test_the_features_are_learnt_and_their_weights_are_left_alone():
    """A layer that sees the last pixel only: it is drawn better than by pixels alone."""
    eyes = tg.nn.Linear(6, 1, rng=tg.random.Generator(5))
    eyes.weight.assign(np.eye(6)[5:])
    look = lambda x: [tg.reshape(eyes(x), (-1, 1, 1, 1))]  # noqa: E731
    error = lambda model: np.square(model.reconstruct(X) - X)[:, 5].mean()  # noqa: E731
    with_it = fitted(features=look, feature_weight=300.0, steps=400, lr=5e-3)
    assert error(with_it) < error(fitted(feature_weight=0.0, steps=400, lr=5e-3)) / 3
    np.testing.assert_array_equal(eyes.weight.numpy(), np.eye(6)[5:])
    assert not any(p is eyes.weight for p in with_it.parameters())


@pytest.mark.parametrize("options", [dict(features=3), dict(feature_weight=-1.0)])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="PerceptualVAE: features is .* are wanted"):
        PerceptualVAE(6, 2, **{"features": halves, **options})


def test_on_every_device(device):
    model = PerceptualVAE(6, 2, halves, hidden=8, rng=tg.random.Generator(0, device=device))
    model.fit(X, steps=3, run=Run(quiet=True))
    expected = PerceptualVAE(6, 2, halves, hidden=8, rng=tg.random.Generator(0)).fit(X, steps=3, run=Run(quiet=True))
    np.testing.assert_allclose(model.transform(X), expected.transform(X), rtol=1e-3, atol=1e-5)

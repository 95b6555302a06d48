"""The autoencoder: its losses as likelihoods, the linear theorem of Baldi and Hornik, and the model's promises."""

import doctest

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays
from tinygen.models.autoencoder import Autoencoder, fully_connected
from tinygen.models.autoencoder import autoencoder as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)


def net(loss="squared", sizes=(6, 5, 2), seed=0, **options):
    """A small network, and images that suit it."""
    draw = tg.random.Generator(seed)
    encoder, decoder = fully_connected(*sizes, rng=draw), fully_connected(*sizes[::-1], rng=draw)
    return Autoencoder(encoder, decoder, sizes[0], loss=loss, rng=draw, **options)


def pixels(n=20, d=6, seed=9):
    return tg.random.Generator(seed).uniform((n, d))


def covariance(n=200, d=6, seed=0):
    """Examples whose covariance has distinct eigenvalues, the covariance with the mean in it, values, vectors."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d)) @ draw.normal(size=(d, d)) + 3 * draw.normal(size=d)
    cov = np.cov(x.T, bias=True)
    values, vectors = np.linalg.eigh(cov)
    return x, cov, values[::-1], vectors[:, ::-1]


# ---- the losses -----------------------------------------------------------------------------------------


@equation(chapter.gaussian_nll, 2)
def test_the_gaussian_loss_is_scipys_density():
    x, x_hat = rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 2, 4))
    expected = -scipy.stats.norm.logpdf(x, x_hat, np.sqrt(0.3)).sum((1, 2))
    np.testing.assert_allclose(chapter.gaussian_nll(x, x_hat, 0.3), expected, rtol=1e-12)


@equation(chapter.squared_error, 3)
def test_the_squared_error_is_the_gaussian_loss_up_to_a_constant_and_a_factor():
    x, x_hat = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    squared = [sum((a - b) ** 2 for a, b in zip(*rows, strict=True)) for rows in zip(x, x_hat, strict=True)]
    np.testing.assert_allclose(chapter.squared_error(x, x_hat), squared, rtol=1e-12)
    for variance in (0.1, 0.5, 2.0):
        rest = -scipy.stats.norm.logpdf(x, x_hat, np.sqrt(variance)).sum(1) - np.array(squared) / (2 * variance)
        np.testing.assert_allclose(rest, rest[0], rtol=1e-9)
    at_half = chapter.gaussian_nll(x, x_hat, 0.5) - chapter.gaussian_nll(x, x, 0.5)
    np.testing.assert_allclose(at_half, squared, rtol=1e-9)  # no factor is left: dropping it says variance 1/2


@equation(chapter.cross_entropy, 4, 6)
def test_the_cross_entropy_is_scipys_bernoulli_with_both_terms_under_the_sum():
    logits, x = 3 * rng.normal(size=(4, 6)), rng.integers(0, 2, (4, 6)).astype(float)
    x_hat = scipy.special.expit(logits)
    expected = -scipy.stats.bernoulli.logpmf(x, x_hat).sum(1)
    np.testing.assert_allclose(chapter.cross_entropy(x, logits), expected, rtol=1e-12)
    np.testing.assert_allclose((np.log1p(np.exp(logits)) - x * logits).sum(1), expected, rtol=1e-12)  # (6)
    printed = -(x * np.log(x_hat)).sum(1) + ((1 - x) * np.log(1 - x_hat)).sum(1)  # S3, without brackets
    assert (abs(printed - expected) > 0.1).all()


@equation(chapter.cross_entropy, 6)
def test_the_slope_in_the_logits_is_output_minus_image():
    logits, x = tg.tensor(3 * rng.normal(size=(4, 6)), requires_grad=True), rng.uniform(size=(4, 6))
    slope = tg.grad(tg.sum(chapter.cross_entropy(x, logits)), logits).numpy()
    np.testing.assert_allclose(slope, scipy.special.expit(logits.numpy()) - x, rtol=1e-12)


def test_a_sure_and_wrong_pixel_learns_under_the_cross_entropy_only():
    logits, x = tg.tensor([[30.0]], dtype="float32", requires_grad=True), np.zeros((1, 1), np.float32)
    loss = chapter.cross_entropy(x, logits)
    assert loss.item() == pytest.approx(30) and tg.grad(tg.sum(loss), logits).item() == 1
    with np.errstate(divide="ignore"):
        assert np.isinf(np.log(1 - tg.sigmoid(logits).numpy()))  # what (4) from outputs would give
    squared = tg.sum(chapter.squared_error(x, tg.sigmoid(logits)))
    assert tg.grad(squared, logits).item() == pytest.approx(0, abs=1e-12)


@equation(chapter.entropy, 5)
@given(st.integers(0, 10**6))
def test_the_floor_of_the_cross_entropy(seed):
    draw = np.random.default_rng(seed)
    x, logits = draw.uniform(0.01, 0.99, (3, 5)), 2 * draw.normal(size=(3, 5))
    x_hat = scipy.special.expit(logits)
    kl = scipy.special.rel_entr(x, x_hat) + scipy.special.rel_entr(1 - x, 1 - x_hat)
    found = chapter.entropy(x)
    np.testing.assert_allclose(found + kl.sum(1), chapter.cross_entropy(x, logits), rtol=1e-9)
    np.testing.assert_allclose(found, scipy.stats.bernoulli.entropy(x).sum(1), rtol=1e-9)
    assert (found <= chapter.cross_entropy(x, logits)).all()


def test_black_and_white_has_no_floor(device):
    x = arrays.asarray([[0.0, 1.0, 1.0], [0.5, 0.5, 0.0]], device=device)
    np.testing.assert_allclose(arrays.to_numpy(chapter.entropy(x)), [0, 2 * np.log(2)], rtol=1e-6)


def test_grey_costs_what_black_and_white_versions_cost_on_average():
    logits, x, expected = rng.normal(size=(1, 3)), rng.uniform(size=(1, 3)), 0.0
    for bits in np.ndindex(2, 2, 2):
        b = np.array([bits], float)
        expected += np.prod(np.where(b == 1, x, 1 - x)) * chapter.cross_entropy(b, logits)[0]
    np.testing.assert_allclose(chapter.cross_entropy(x, logits)[0], expected)


def test_what_went_wrong_is_counted(device):
    logits = arrays.asarray(np.array([[0.0, 30.0, -200.0, 16.0]], np.float32), device=device)
    assert chapter.saturated(logits) == 0.5
    y = arrays.asarray(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]]), device=device)
    assert arrays.to_numpy(chapter.idle(y)).tolist() == [True, True, False]


def test_gradients_of_the_losses():
    x, x_hat = rng.uniform(size=(3, 4)), rng.normal(size=(3, 4))
    for f in (chapter.squared_error, chapter.cross_entropy, lambda x, x_hat: chapter.gaussian_nll(x, x_hat, 0.2)):
        tg.check_grads(f, (x, x_hat))


# ---- linear networks ------------------------------------------------------------------------------------


def best_loss_with(W, x):
    """The mean squared error with decoder W and the best codes and bias, by least squares with a column of ones."""
    design = np.column_stack([W, np.zeros(len(W))])
    centred = x - x.mean(0)  # the best bias, whatever the codes are
    codes = np.linalg.lstsq(design, centred.T, rcond=None)[0]
    return ((centred.T - design @ codes) ** 2).sum(0).mean()


@equation(chapter.loss_of_plane, 7)
def test_the_loss_of_a_plane_by_least_squares(device):
    x, cov, _, _ = covariance()
    W = rng.normal(size=(6, 2))
    found = chapter.loss_of_plane(*(arrays.asarray(a, device=device) for a in (W, cov)))
    assert float(found) == pytest.approx(best_loss_with(W, x), rel=1e-9)
    assert float(chapter.loss_of_plane(W @ rng.normal(size=(2, 2)), cov)) == pytest.approx(float(found), rel=1e-9)


@equation(chapter.least_loss, 8)
def test_the_least_loss_is_the_dropped_eigenvalues_and_no_plane_is_better():
    _, cov, values, vectors = covariance()
    for d in range(7):
        assert chapter.least_loss(cov, d) == pytest.approx(values[d:].sum(), rel=1e-9, abs=1e-9)
    for d in range(1, 6):
        assert chapter.loss_of_plane(vectors[:, :d], cov) == pytest.approx(chapter.least_loss(cov, d), rel=1e-9)
        for seed in range(20):
            W = np.random.default_rng(seed).normal(size=(6, d))
            assert chapter.loss_of_plane(W, cov) > chapter.least_loss(cov, d)


def linear_loss(x, W_1, b_1, W_2, b_2):
    """The loss of a linear autoencoder, as a Tensor."""
    return tg.mean(chapter.squared_error(x, tg.matmul(tg.matmul(x, W_1.T) + b_1, W_2.T) + b_2))


@pytest.mark.parametrize("chosen, lowest", [((0, 1), True), ((0, 2), False), ((3, 5), False)])
def test_every_set_of_eigenvectors_is_stationary_and_only_the_first_is_no_saddle(chosen, lowest):
    x, cov, values, vectors = covariance()
    U, C = vectors[:, list(chosen)], rng.normal(size=(2, 2))
    W_2, W_1 = U @ C, np.linalg.inv(C) @ U.T
    mean = x.mean(0)
    parameters = [tg.tensor(a, requires_grad=True) for a in (W_1, -W_1 @ mean, W_2, mean)]
    loss = linear_loss(x, *parameters)
    left = [k for k in range(6) if k not in chosen]
    assert loss.item() == pytest.approx(values[left].sum(), rel=1e-9)
    for slope in tg.grad(loss, parameters):
        np.testing.assert_allclose(slope.numpy(), 0, atol=1e-8)
    t = 0.01  # turn the worse direction towards the best one that is left out
    turned = U.copy()
    turned[:, 1] = np.cos(t) * U[:, 1] + np.sin(t) * vectors[:, left[0]]
    assert (chapter.loss_of_plane(turned, cov) > loss.item()) == lowest
    rise = (values[chosen[1]] - values[left[0]]) * np.sin(t) ** 2  # the strictness of angles, as the chapter says
    assert chapter.loss_of_plane(turned, cov) - loss.item() == pytest.approx(rise, rel=1e-5)


@equation(chapter.principal_angles, 9)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_principal_angles_are_scipys(seed, d):
    draw = np.random.default_rng(seed)
    A, B = draw.normal(size=(2, 6, d))
    np.testing.assert_allclose(chapter.principal_angles(A, B), scipy.linalg.subspace_angles(A, B), rtol=1e-9)


@equation(chapter.principal_angles, 9)
def test_small_and_large_angles(device):
    angles = np.array([1.5, 0.8, 1e-9])
    A = np.eye(6)[:, :3]
    B = A * np.cos(angles) + np.eye(6)[:, 3:] * np.sin(angles)
    mixed = [arrays.asarray(M @ rng.normal(size=(3, 3)), device=device) for M in (A, B)]
    np.testing.assert_allclose(arrays.to_numpy(chapter.principal_angles(*mixed)), angles, rtol=1e-5, atol=1e-15)
    same = chapter.principal_angles(A, A @ rng.normal(size=(3, 3)))
    np.testing.assert_allclose(same, 0, atol=1e-15)


def test_a_linear_autoencoder_finds_pcas_plane():
    x = covariance()[0]
    x = x / x.std()
    cov = np.cov(x.T, bias=True)
    model = net(sizes=(6, 2), lr=0.03, schedule=Cosine(1500)).fit(x, steps=1500, batch_size=400, run=Run(quiet=True))
    best = np.linalg.eigh(cov)[1][:, -2:]
    angle = chapter.principal_angles(model.decoder[0].weight.numpy().astype(float), best)[0]
    assert np.degrees(angle) < 1
    assert model.errors(x).mean() == pytest.approx(chapter.least_loss(cov, 2), rel=1e-3)
    assert abs(model.transform(x).std(0) / np.sqrt(np.linalg.eigvalsh(cov)[:-3:-1]) - 1).max() > 0.05  # axes differ


def test_a_code_as_wide_as_the_image_copies_noise_too():
    x = pixels(500)
    model = net(sizes=(6, 6), lr=0.02, schedule=Cosine(800)).fit(x, steps=800, run=Run(quiet=True))
    noise = np.random.default_rng(3).normal(size=(50, 6))
    assert model.errors(noise).mean() < 1e-3 * noise.var(0).sum()


# ---- the model ------------------------------------------------------------------------------------------


@equation(Autoencoder.reconstruct, 1)
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_what_comes_out_is_the_decoder_of_the_encoder(loss):
    model, x = net(loss), pixels()
    a, b, c, d = (p.numpy() for p in model.encoder.parameters())
    y = np.maximum(x @ a.T + b, 0) @ c.T + d
    np.testing.assert_allclose(model.transform(x), y, rtol=1e-5, atol=1e-6)
    a, b, c, d = (p.numpy() for p in model.decoder.parameters())
    out = np.maximum(y @ a.T + b, 0) @ c.T + d
    x_hat = out if loss == "squared" else scipy.special.expit(out)
    np.testing.assert_allclose(model.reconstruct(x), x_hat, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.decode(y), x_hat, rtol=1e-4, atol=1e-6)
    expected = chapter.squared_error(x, out) if loss == "squared" else chapter.cross_entropy(x, out)
    np.testing.assert_allclose(model.errors(x), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_learning_lowers_the_loss_of_each_kind(loss):
    x = (pixels(200, 1) > 0.5).astype(np.float32).repeat(6, 1)  # all white or all black
    model = net(loss, lr=5e-3)
    before = model.errors(x).mean()
    model.fit(x, steps=300, run=Run(quiet=True))
    assert model.errors(x).mean() < before / 5


class Costly(Autoencoder):
    """Both hooks: an encoder that sees zeros, and a code that costs its squares."""

    def corrupted(self, x, rng):
        return 0 * x

    def penalty(self, y):
        return 10 * tg.mean(tg.sum(tg.square(y), axis=1))


def test_hooks_change_what_is_seen_and_what_is_paid():
    draw, x = tg.random.Generator(0), pixels(50)
    model = Costly(fully_connected(6, 2, rng=draw), fully_connected(2, 6, rng=draw), 6, lr=0.05, rng=draw)
    clean = model.errors(x)
    bias = model.encoder[0].bias.numpy()
    parts = model.update(model.checked(x))
    assert parts["penalty"].item() == pytest.approx(10 * (bias**2).sum(), rel=1e-5)  # of the code of zeros
    assert clean.mean() != pytest.approx(parts["loss"].item(), rel=1e-3)  # the code was that of zeros
    model.fit(x, steps=300, run=Run(quiet=True))
    assert np.square(model.encoder[0].bias.numpy()).sum() < 0.01
    assert set(net().update(x)) == {"loss"}


def test_images_of_any_shape_and_rows_of_pixels_are_the_same():
    draw = tg.random.Generator(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, rng=draw))
    decoder = nn.Sequential(nn.Linear(2, 6, rng=draw), nn.Unflatten(1, (1, 2, 3)))
    model, x = Autoencoder(encoder, decoder, (1, 2, 3), rng=draw), pixels()
    model.fit(x, steps=2, run=Run(quiet=True))
    assert model.reconstruct(x).shape == (20, 1, 2, 3)
    np.testing.assert_array_equal(model.reconstruct(x), model.reconstruct(x.reshape(20, 1, 2, 3)))


def test_looking_changes_nothing_and_training_mode_comes_back():
    draw = tg.random.Generator(0)
    encoder = nn.Sequential(nn.Linear(6, 4, rng=draw), nn.Dropout(0.5, rng=draw), nn.Linear(4, 2, rng=draw))
    model, x = Autoencoder(encoder, fully_connected(2, 6, rng=draw), 6, rng=draw), pixels()
    state = draw.state
    np.testing.assert_array_equal(model.transform(x), model.transform(x))
    assert draw.state == state and not model.training
    model.update(x)
    assert draw.state != state and model.training


def test_on_the_stand_in_for_a_gpu(device):
    x = pixels(40)

    def learnt(device):
        draw = tg.random.Generator(0, device=device)
        parts = fully_connected(6, 4, 2, rng=draw), fully_connected(2, 4, 6, rng=draw)
        model = Autoencoder(*parts, 6, loss="cross-entropy", schedule=Cosine(5), rng=draw)
        return model.fit(x, steps=5, batch_size=9, run=Run(quiet=True)).reconstruct(x)

    np.testing.assert_allclose(learnt(device), learnt("cpu"), rtol=1e-4)


def test_refusals():
    draw = tg.random.Generator(0)
    with pytest.raises(ValueError, match="loss is 'l2'; 'squared' or 'cross-entropy'"):
        net("l2")
    with pytest.raises(ValueError, match=r"x has shape \(20, 5\); at least one image of shape \(6,\)"):
        net().fit(pixels()[:, :5], steps=1, run=Run(quiet=True))
    with pytest.raises(ValueError, match=r"values from -1 to 1; with the cross-entropy they must lie in \[0, 1\]"):
        net("cross-entropy").errors(np.array([[-1.0, 0, 0, 0, 0, 1]]))
    with pytest.raises(ValueError, match=r"Autoencoder.decode: y has shape \(2,\)"):
        net().decode(np.zeros(2))
    wrong = Autoencoder(fully_connected(6, 2, rng=draw), fully_connected(2, 1, rng=draw), 6, rng=draw)
    with pytest.raises(ValueError, match=r"the decoder gives \(20, 1\) for images \(20, 6\)"):
        wrong.errors(pixels())


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

"""The losses of the GAN family: each equation against brute force, the penalties to second order, and stability."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.models.gan import losses as chapter
from tinygen.models.gan import nets
from tinygen.models.gan.losses import LOSSES

rng = np.random.default_rng(0)
REAL, FAKE = 3 * rng.normal(size=(5, 1)), 3 * rng.normal(size=(7, 1))
D_REAL, D_FAKE = scipy.special.expit(REAL), scipy.special.expit(FAKE)


def critic(n_features=2, seed=0):
    """A smooth one in float64."""
    made = nets.discriminator(n_features, hidden=5, activation=nn.Tanh, rng=tg.random.Generator(seed))
    return made.to(dtype="float64")


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.binary_discriminator, 1)
def test_the_first_games_discriminator():  # (1)
    expected = -np.log(D_REAL).mean() - np.log(1 - D_FAKE).mean()
    np.testing.assert_allclose(chapter.binary_discriminator(REAL, FAKE), expected)


@equation(chapter.minimax_generator, 2)
@equation(chapter.non_saturating_generator, 3)
@equation(chapter.maximum_likelihood_generator, 4)
def test_the_first_games_generators():  # (2), (3), (4)
    np.testing.assert_allclose(chapter.minimax_generator(FAKE), np.log(1 - D_FAKE).mean())
    np.testing.assert_allclose(chapter.non_saturating_generator(FAKE), -np.log(D_FAKE).mean())
    np.testing.assert_allclose(chapter.maximum_likelihood_generator(FAKE), -(D_FAKE / (1 - D_FAKE)).mean())


def slope(loss, logits):
    """The derivative of a mean by each logit, times how many there are."""
    a = tg.tensor(logits, requires_grad=True)
    return tg.grad(loss(a), a).numpy() * len(logits)


def test_minimax_saturates_and_the_other_does_not():
    np.testing.assert_allclose(slope(chapter.minimax_generator, FAKE), -D_FAKE)
    np.testing.assert_allclose(slope(chapter.non_saturating_generator, FAKE), -(1 - D_FAKE))
    seen_through = np.array([[-30.0]])
    assert abs(slope(chapter.minimax_generator, seen_through)) < 1e-12
    assert abs(slope(chapter.non_saturating_generator, seen_through) + 1) < 1e-12


@given(st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_logits_of_any_size_give_finite_losses_and_gradients(a, b):
    real, fake = (np.array([[v]], np.float32) for v in (a, b))
    r, f = tg.tensor(real, requires_grad=True), tg.tensor(fake, requires_grad=True)
    for loss in (chapter.binary_discriminator(r, f) + chapter.minimax_generator(f),
                 chapter.non_saturating_generator(f) + chapter.least_squares_discriminator(r, f)):  # fmt: skip
        assert np.isfinite(loss.item())
        assert all(np.isfinite(g.item()) for g in tg.grad(loss, [r, f], allow_unused=True) if g is not None)


def test_maximum_likelihood_has_the_gradient_of_the_divergence():  # (4), with D at its best, by quadrature
    p = scipy.stats.norm(0.5, 1.2)
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    at = np.array([0.2, 0.9])  # the generator is z -> mu + sigma z

    def kl(mu, sigma):
        return np.log(sigma / 1.2) + (1.2**2 + (0.5 - mu) ** 2) / (2 * sigma**2) - 0.5

    mu, sigma = (tg.tensor(v, requires_grad=True) for v in at)
    x = mu + sigma * z
    # the logit of D*, which stands still while the generator moves, as a quadratic in x
    logit = (np.log(at[1] / 1.2) - tg.square((x - 0.5) / 1.2) / 2 + tg.square((x - at[0]) / at[1]) / 2)  # fmt: skip
    np.testing.assert_allclose(logit.numpy(), p.logpdf(x.numpy()) - scipy.stats.norm(*at).logpdf(x.numpy()))
    found = tg.grad(-tg.sum(w * tg.exp(logit)), [mu, sigma])
    h = 1e-6
    expected = [(kl(at[0] + h, at[1]) - kl(at[0] - h, at[1])) / (2 * h),
                (kl(at[0], at[1] + h) - kl(at[0], at[1] - h)) / (2 * h)]  # fmt: skip
    np.testing.assert_allclose([g.item() for g in found], expected, rtol=1e-5)


@equation(chapter.wasserstein_critic, 5)
@equation(chapter.wasserstein_generator, 6)
def test_the_critics_game():  # (5), (6)
    np.testing.assert_allclose(chapter.wasserstein_critic(REAL, FAKE), FAKE.sum() / 7 - REAL.sum() / 5)
    np.testing.assert_allclose(chapter.wasserstein_generator(FAKE), -FAKE.sum() / 7)


@equation(chapter.clip_weights, 7)
def test_clipped_weights():  # (7)
    D = critic()
    before = [w.numpy() for w in D.parameters()]
    chapter.clip_weights(D, 0.1)
    for w, old in zip(D.parameters(), before, strict=True):
        expected = np.where(old > 0.1, 0.1, np.where(old < -0.1, -0.1, old))
        assert (expected != old).any() and w.tolist() == expected.tolist()


@equation(chapter.interpolates, 8)
def test_interpolates_lie_on_the_way():  # (8)
    x, x_fake, alpha = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), rng.uniform(size=(6, 1))
    found = chapter.interpolates(x, x_fake, alpha)
    for k in range(6):
        np.testing.assert_allclose(found[k], [np.interp(alpha[k, 0], [0, 1], [b, a])
                                              for a, b in zip(x[k], x_fake[k], strict=True)])  # fmt: skip


@equation(chapter.gradient_penalty, 9)
@pytest.mark.parametrize("shape, batch_axes", [((6, 3), 1), ((4, 2, 3, 3), 1), ((2, 5, 3), 2)])
def test_the_penalty_has_one_norm_for_each_point(shape, batch_axes):  # (9), for D = |x|^2 / 2, whose slope is x
    x = rng.normal(size=shape)
    axes = tuple(range(batch_axes, x.ndim))

    def D(x):
        return tg.sum(tg.square(x), axis=axes, keepdims=True) / 2

    norms = [np.sqrt((x[i] ** 2).sum()) for i in np.ndindex(shape[:batch_axes])]
    expected = np.mean([(n - 1) ** 2 for n in norms])
    np.testing.assert_allclose(chapter.gradient_penalty(D, x, batch_axes).item(), expected)


def test_the_penalty_of_a_straight_critic_is_zero_at_slope_one():
    w = np.array([[0.6], [0.8]])
    assert chapter.gradient_penalty(lambda x: x @ w, rng.normal(size=(5, 2))).item() == pytest.approx(0, abs=1e-20)
    assert chapter.gradient_penalty(lambda x: x @ (3 * w), rng.normal(size=(5, 2))).item() == pytest.approx(4)


@equation(chapter.least_squares_discriminator, 10)
@equation(chapter.least_squares_generator, 11)
def test_least_squares():  # (10), (11)
    expected = np.mean([(a - 1) ** 2 for a in REAL]) + np.mean([a**2 for a in FAKE])
    np.testing.assert_allclose(chapter.least_squares_discriminator(REAL, FAKE), expected)
    np.testing.assert_allclose(chapter.least_squares_generator(FAKE), np.mean([(a - 1) ** 2 for a in FAKE]))


def test_least_squares_have_a_minimum_where_the_printed_form_has_none():
    """The best answer at a point of densities p and q is p / (p + q), as for the first game."""
    a, p, q = np.linspace(-3, 3, 60_001), 0.7, 0.4
    best = a[np.argmin(p * (a - 1) ** 2 + q * a**2)]
    assert best == pytest.approx(p / (p + q), abs=1e-4)
    assert abs(a[np.argmin(-p * (a - 1) ** 2 + q * a**2)]) == 3  # as printed: at the edge, however far that is


@equation(chapter.neighbours, 12)
def test_neighbours_have_the_variance_that_was_asked_for():  # (12)
    x, noise = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    np.testing.assert_allclose(chapter.neighbours(x, noise, 0.09), x + 0.3 * noise)
    many = chapter.neighbours(np.zeros((100_000, 1)), rng.normal(size=(100_000, 1)), 0.09)
    assert many.var() == pytest.approx(0.09, rel=0.02)


@equation(chapter.reconstruction_error, 13)
def test_reconstruction_error():  # (13)
    x = rng.normal(size=(5, 3))
    expected = np.mean([np.abs(row - row**2).sum() / 3 for row in x])
    np.testing.assert_allclose(chapter.reconstruction_error(np.square, x), expected)


@equation(chapter.began_discriminator, 14)
@equation(chapter.began_k, 15)
@equation(chapter.began_measure, 16)
def test_began():  # (14), (15), (16)
    assert chapter.began_discriminator(2.0, 0.5, 0.3) == pytest.approx(1.85, rel=1e-9)
    assert chapter.began_k(np.array(0.3), 2.0, 0.5, 0.1, 0.4).item() == pytest.approx(0.33, rel=1e-9)
    assert chapter.began_measure(np.array(2.0), np.array(0.5), 0.4) == pytest.approx(2.3, rel=1e-9)
    assert chapter.began_measure(np.array(2.0), np.array(1.5), 0.4) == pytest.approx(2.7, rel=1e-9)
    assert chapter.began_k(np.array(0.99), 9.0, 0.0, 1.0, 1.0) == 1 and chapter.began_k(0.01, 0.0, 9.0, 1.0, 1.0) == 0


@given(st.integers(2, 30), st.floats(0.1, 1), st.floats(0, 1))
def test_began_lets_a_collapse_be(m, gamma, k):
    """All samples on one of m modes: D's slope by the error there is 1/m - k, and the two settle where it is mended."""
    error, pace = 0.1, 0.02  # D's on that mode; it rebuilds the others
    for _ in range(4000):
        there = tg.tensor(error, dtype="float64", requires_grad=True)
        slope = tg.grad(chapter.began_discriminator(there / m, there, k), there).item()
        assert slope == pytest.approx(1 / m - k, abs=1e-12)
        k = float(chapter.began_k(k, error / m, error, pace, gamma))
        error = max(error - pace * slope, 0.0)
        if error == 0 and k < 1 / m:
            break
    assert error == 0 and k < 1 / m


# ---- the papers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wasserstein-gp", "dragan"])
def test_penalised_discriminators_to_second_order_in_the_weights(name):
    """Through the network's parameters: the loss holds a gradient, so this looks at third derivatives of D."""
    D, loss = critic(), LOSSES[name]()
    x, x_fake = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    paths = [path for path, _ in D.named_parameters()]

    def paid(*values):
        def with_these(points):
            return nn.functional_call(D, dict(zip(paths, values, strict=True)), points)

        return loss.discriminator(with_these, x, x_fake, tg.random.Generator(3))

    tg.check_grads(paid, [p.numpy() for p in D.parameters()], order=2)


@pytest.mark.parametrize("name", ["wasserstein-gp", "dragan"])
def test_penalties_are_taken_at_points_drawn_anew_and_add_to_the_game(name):
    D, loss = critic(), LOSSES[name]()
    x, x_fake, draws = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), tg.random.Generator(1)
    seen = []

    def watched(points):
        seen.append(points.numpy() if isinstance(points, tg.Tensor) else points)
        return D(points)

    values = [loss.discriminator(watched, x, x_fake, draws).item() for _ in range(2)]
    assert values[0] != values[1]
    points = next(s for s in seen if s is not x and not np.array_equal(s, x_fake))
    game = chapter.wasserstein_critic if name == "wasserstein-gp" else chapter.binary_discriminator
    expected = game(D(x), D(x_fake)).item() + 10 * chapter.gradient_penalty(D, points).item()
    np.testing.assert_allclose(values[0], expected)
    if name == "wasserstein-gp":
        share = (points - x_fake) / (x - x_fake)  # alpha: one for each point, evenly between 0 and 1
        np.testing.assert_allclose(share[:, 0], share[:, 1])
        assert scipy.stats.kstest(share[:, 0], "uniform").pvalue > 0.01
    else:
        assert scipy.stats.kstest(((points - x) / np.sqrt(loss.variance)).ravel(), "norm").pvalue > 0.01


def test_each_loss_is_made_of_its_equations():
    D, x, x_fake = critic(), rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    real, fake = D(x).numpy(), D(x_fake).numpy()
    games = {
        "minimax": (chapter.binary_discriminator(real, fake), chapter.minimax_generator(fake)),
        "non-saturating": (chapter.binary_discriminator(real, fake), chapter.non_saturating_generator(fake)),
        "maximum-likelihood": (chapter.binary_discriminator(real, fake), chapter.maximum_likelihood_generator(fake)),
        "wasserstein": (chapter.wasserstein_critic(real, fake), chapter.wasserstein_generator(fake)),
        "least-squares": (chapter.least_squares_discriminator(real, fake), chapter.least_squares_generator(fake)),
    }
    for name, (loss_d, loss_g) in games.items():
        loss = LOSSES[name]()
        np.testing.assert_allclose(loss.discriminator(D, x, x_fake, None).item(), loss_d)
        np.testing.assert_allclose(loss.generator(D, x_fake).item(), loss_g)
    assert LOSSES["wasserstein-gp"]().generator(D, x_fake).item() == pytest.approx(games["wasserstein"][1])
    assert LOSSES["dragan"]().generator(D, x_fake).item() == pytest.approx(games["minimax"][1])  # the saturating one
    slope = chapter.DRAGAN(saturating=False).generator(D, x_fake)
    assert slope.item() == pytest.approx(games["non-saturating"][1])


def test_began_keeps_its_balance():
    """k grows while samples are rebuilt too well, falls otherwise, is saved, and weighs the loss."""
    AE = nets.autoencoder(2, hidden=4, rng=tg.random.Generator(0)).to(dtype="float64")
    loss = LOSSES["began"](rate=0.5)
    loss.to(dtype="float64")
    far, near = 9 + rng.normal(size=(6, 2)), 0.1 * rng.normal(size=(6, 2))
    L_far, L_near = (chapter.reconstruction_error(AE, x).item() for x in (far, near))
    assert L_near < L_far / 2
    seen = loss.after(AE, far, near)
    k = min(0.5 * (0.5 * L_far - L_near), 1)
    assert loss.k.item() == seen["k"].item() == pytest.approx(k) and k > 0
    assert seen["M"].item() == pytest.approx(L_far + abs(0.5 * L_far - L_near))
    assert loss.discriminator(AE, far, near, None).item() == pytest.approx(L_far - k * L_near)
    assert loss.generator(AE, near).item() == pytest.approx(L_near)
    other = LOSSES["began"]().to(dtype="float64")
    other.load_state_dict(loss.state_dict())
    assert other.k.item() == loss.k.item()
    loss.after(AE, near, far)
    assert loss.k.item() == 0

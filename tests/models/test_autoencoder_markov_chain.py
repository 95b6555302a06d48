"""The denoising autoencoder as a generator: the theorem exactly where images are few, walking back, and the model."""

import itertools

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.models.autoencoder import DenoisingChain, fully_connected
from tinygen.models.autoencoder import markov_chain as chapter
from tinygen.models.autoencoder.denoising import GaussianNoise, Masking
from tinygen.models.autoencoder.markov_chain import CoinFlips
from tinygen.runs import Run

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)


def law(draw, *shape):
    """Random laws, along the last axis."""
    weights = draw.exponential(size=shape) + 0.01
    return weights / weights.sum(-1, keepdims=True)


def coins(q, n=3):
    """The corruption of all images of n bits, each bit replaced by a coin with probability q: (2^n, 2^n)."""
    images = np.array(list(itertools.product([0, 1], repeat=n)))
    flips = (images[:, None] != images).sum(2)
    return (q / 2) ** flips * (1 - q / 2) ** (n - flips)


# ---- the theorem ----------------------------------------------------------------------------------------


@equation(chapter.bayes, 2)
def test_the_best_denoiser_by_counting():
    """Ten thousand pairs that are in proportion exactly: what was behind each corrupted image?"""
    p, C = np.array([0.5, 0.3, 0.2]), np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
    counts = np.array([[3000, 2000], [300, 2700], [1000, 1000]])
    np.testing.assert_allclose(10_000 * p[:, None] * C, counts)
    np.testing.assert_allclose(chapter.bayes(p, C), (counts / counts.sum(0)).T)


@equation(chapter.transition, 3)
@equation(chapter.stationary, 4)
@given(seeds)
def test_the_walk_of_the_best_denoiser_has_the_law_of_the_images(seed):
    """(4): the stationary law of C R is p, for any p and any C; and traffic is the same both ways."""
    draw = np.random.default_rng(seed)
    p, C = law(draw, 5), law(draw, 5, 4)
    T = chapter.transition(C, chapter.bayes(p, C))
    np.testing.assert_allclose(chapter.stationary(T), p, atol=1e-9)
    np.testing.assert_allclose(p[:, None] * T, (p[:, None] * T).T, atol=1e-12)
    np.testing.assert_allclose(T.sum(1), 1)


@equation(chapter.transition, 3)
def test_a_step_by_hand():
    C, R = law(rng, 3, 2), law(rng, 2, 3)
    for x, y in np.ndindex(3, 3):
        assert chapter.transition(C, R)[x, y] == pytest.approx(C[x, 0] * R[0, y] + C[x, 1] * R[1, y])


@pytest.mark.parametrize("q", [0.1, 0.5, 1.0])
def test_on_all_images_of_three_bits(q):
    p = law(rng, 8)
    T = chapter.transition(coins(q), chapter.bayes(p, coins(q)))
    np.testing.assert_allclose(chapter.stationary(T), p, atol=1e-12)
    if q == 1:  # nothing is left of the image: each step is a fresh draw
        np.testing.assert_allclose(T, np.tile(p, (8, 1)))


@equation(chapter.stationary, 4)
def test_the_stationary_law_is_where_walks_come_to():
    T = law(rng, 4, 4)
    np.testing.assert_allclose(chapter.stationary(T), np.linalg.matrix_power(T, 200)[0], atol=1e-12)


@equation(chapter.total_variation, 5)
def test_total_variation_is_the_largest_difference_over_events():
    a, b = law(rng, 4), law(rng, 4)
    events = np.array(list(itertools.product([0, 1], repeat=4)))
    assert chapter.total_variation(a, b) == pytest.approx(max(events @ (a - b)))


@equation(chapter.contraction, 6)
def test_contraction_is_the_largest_share_of_a_distance_that_a_step_leaves():
    T = law(rng, 4, 4)
    pairs = itertools.combinations(np.eye(4), 2)
    left = [chapter.total_variation(a @ T, b @ T) for a, b in pairs]  # of laws at distance 1
    assert chapter.contraction(T) == pytest.approx(max(left))
    a, b = law(rng, 2, 4)
    assert chapter.total_variation(a @ T, b @ T) <= chapter.contraction(T) * chapter.total_variation(a, b)


@given(seeds, st.floats(0, 1))
def test_a_nearly_right_denoiser_makes_a_nearly_right_walk(seed, wrong):
    """(7) holds, for any error of the denoiser."""
    draw = np.random.default_rng(seed)
    p, C = law(draw, 5), law(draw, 5, 4)
    R = chapter.bayes(p, C)
    R_hat = (1 - wrong) * R + wrong * law(draw, 4, 5)
    found = chapter.stationary(chapter.transition(C, R_hat))
    assert chapter.total_variation(found, p) <= chapter.error_bound(C, R, R_hat) + 1e-9


@equation(chapter.error_bound, 7)
def test_the_bound_is_reached_where_each_step_is_a_fresh_draw():
    p, C = np.array([0.7, 0.3]), np.ones((2, 1))  # one corrupted image: nothing is left of x
    R_hat = np.array([[0.6, 0.4]])
    found = chapter.stationary(chapter.transition(C, R_hat))
    assert chapter.error_bound(C, chapter.bayes(p, C), R_hat) == pytest.approx(chapter.total_variation(found, p))
    C, R = law(rng, 3, 2), law(rng, 2, 3)
    R_hat, tau = law(rng, 2, 3), chapter.contraction(C @ R)
    assert chapter.error_bound(C, R, R_hat) == pytest.approx(abs(R_hat - R).sum(1).max() / 2 / (1 - tau))


@equation(chapter.walked_back, 9)
def test_walking_back_by_hand():
    C, R = law(rng, 3, 2), law(rng, 2, 3)
    np.testing.assert_allclose(chapter.walked_back(C, R, 0), C)
    np.testing.assert_allclose(chapter.walked_back(C, R, 2), C @ R @ C @ R @ C)


@given(seeds)
def test_training_on_walks_keeps_the_law(seed):
    """After (9): the denoiser that is best for its own walks has a walk whose law is p, by the single step too."""
    draw = np.random.default_rng(seed)
    p, C = law(draw, 4), law(draw, 4, 4)
    R_hat = chapter.bayes(p, C)
    for _ in range(500):  # the network follows its own walks until they agree
        mixed = np.mean([chapter.walked_back(C, R_hat, k) for k in range(3)], axis=0)
        R_hat = chapter.bayes(p, mixed)
    np.testing.assert_allclose(chapter.bayes(p, mixed), R_hat)
    np.testing.assert_allclose(chapter.stationary(chapter.transition(C, R_hat)), p, atol=1e-6)


# ---- the corruption -------------------------------------------------------------------------------------


@equation(CoinFlips.__call__, 8)
def test_coins_replace_a_share_of_the_pixels(device):
    x = tg.random.Generator(1, device=device).bernoulli(0.5, (30, 2, 5))
    found = CoinFlips(0.2, 0.8)(x, tg.random.Generator(2, device=device))
    again = tg.random.Generator(2)
    q = again.uniform(30, 0.2, 0.8)
    replaced = again.uniform((30, 2, 5)) < q[:, None, None]
    expected = np.where(replaced, again.bernoulli(0.5, (30, 2, 5)), backend.to_numpy(x))
    np.testing.assert_allclose(backend.to_numpy(found), expected)
    assert found.dtype == np.float32


def test_the_level_differs_between_images_and_half_of_the_coins_change_nothing():
    flipped = CoinFlips(0.0, 1.0)(np.zeros((2000, 100), np.float32), tg.random.Generator(0)).mean(1)
    assert flipped.mean() == pytest.approx(0.25, abs=0.02) and flipped.std() > 0.1
    with pytest.raises(ValueError, match="low is 0.5"):
        CoinFlips(0.5, 0.5)


# ---- the model ------------------------------------------------------------------------------------------


def tiny(device="cpu", **options):
    draws = tg.random.Generator(0, device=device)
    parts = fully_connected(6, 9, last=True, rng=draws), fully_connected(9, 6, rng=draws)
    return DenoisingChain(*parts, 6, **{"corruption": CoinFlips(0.1, 0.6), **options}, rng=draws)


def biased(p, q):
    """A chain on one pixel that is white with probability p, whose network is exact: logit p(1|x~) = a + b x~."""

    class Bit:
        def __init__(self, low, high):
            self.q = high

        def __call__(self, x, rng):
            return rng.bernoulli(self.q / 2 + (1 - self.q) * x, dtype=x.dtype)

    model = DenoisingChain(nn.Identity(), nn.Linear(1, 1), 1, corruption=Bit(0, q), rng=tg.random.Generator(3))
    R = chapter.bayes(np.array([1 - p, p]), np.array([[1 - q / 2, q / 2], [q / 2, 1 - q / 2]]))
    a, b = np.log(R[:, 1] / R[:, 0])
    model.decoder.weight.assign(np.array([[b - a]], np.float32))
    model.decoder.bias.assign(np.array([a], np.float32))
    return model


@equation(DenoisingChain.step, 1)
def test_walks_of_an_exact_network_have_the_law_of_the_data():
    model, m = biased(0.2, 0.5), 20_000
    *_, (_, x) = model.walk(model.start(m), 30)
    assert x.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / m))
    state = model.rng.state
    x_hat, drawn = model.step(np.ones((50, 1), np.float32), model.rng)
    again = tg.random.Generator(3)
    again.state = state
    x_tilde = model.corruption(np.ones((50, 1), np.float32), again)
    p_one = 1 / (1 + np.exp(-(x_tilde * model.decoder.weight.numpy()[0, 0] + model.decoder.bias.numpy()[0])))
    np.testing.assert_allclose(x_hat, p_one, rtol=1e-5)
    np.testing.assert_array_equal(drawn, again.bernoulli(x_hat))


def test_a_walk_is_deterministic_given_its_generator(device):
    model, x = tiny(device, walk_back=2), np.eye(6)
    model.fit(x, steps=3, batch_size=4, run=Run(quiet=True))
    walks = [list(model.walk(x, 4, rng=tg.random.Generator(5, device=device))) for _ in range(2)]
    np.testing.assert_array_equal(*walks)
    x_hat, drawn = walks[0][-1]
    assert type(drawn) is np.ndarray and set(np.unique(drawn)) <= {0, 1} and ((x_hat > 0) & (x_hat < 1)).all()
    assert model.sample(3, rng=tg.random.Generator(5, device=device)).shape == (3, 6)


def test_walking_back_shows_the_network_its_own_draws():
    model, seen = tiny(walk_back=3), []
    model.corruption = lambda x, rng: seen.append(x) or x
    x = np.zeros((4, 6), np.float32)
    for _ in range(40):
        seen.clear()
        model.corrupted(x, model.rng)
        assert 1 <= len(seen) <= 4 and (seen[0] == x).all() and (len(seen) == 1 or seen[-1].any())


def test_normal_draws_have_the_standard_deviation_that_was_asked_for():
    model = tiny(corruption=GaussianNoise(0.5), loss="squared", std=0.3)
    x_hat, x = model.step(np.zeros((4000, 6), np.float32), model.rng)
    assert (x - x_hat).std() == pytest.approx(0.3, rel=0.03)
    assert model.start(1000).std() == pytest.approx(1, rel=0.05) and np.isfinite(model.sample(4)).all()


def test_it_learns_two_images_and_visits_both():
    """Of the 4096 images of 12 pixels there are two; walks are at them, not between, as soon as little is corrupted."""
    x = np.array([[1, 0] * 6, [0, 1] * 6], np.float32).repeat(50, 0)
    draws = tg.random.Generator(0)
    parts = fully_connected(12, 20, last=True, rng=draws), fully_connected(20, 12, rng=draws)
    model = DenoisingChain(*parts, 12, walk_back=1, corruption=CoinFlips(0.2, 0.9), lr=0.02, rng=draws)
    model.fit(x, steps=300, run=Run(quiet=True))
    walked = np.array([x for _, x in model.walk(model.start(20), 100)])
    model.corruption = CoinFlips(0.0, 0.2)  # the last steps of a walk, with little noise
    walked = np.array([list(model.walk(x, 3))[-1][1] for x in walked[::5]])
    labels = np.where((walked == x[0]).all(-1), 0, np.where((walked == x[50]).all(-1), 1, 2))
    assert chapter.shares(labels, 3)[:2].min() > 0.2
    assert chapter.longest_stay(labels).max() < 20  # of 20 looks, five steps apart


@pytest.mark.parametrize("options", [dict(std=0.1), dict(walk_back=-1), dict(loss="squared"), dict(burn_in=-1)])
def test_what_makes_no_walk_is_refused(options):
    with pytest.raises(ValueError, match="wanted"):
        tiny(**options)


def test_grey_images_can_be_masked_too():
    model = tiny(corruption=Masking(0.5))
    assert model.fit(np.full((5, 6), 0.3), steps=2, run=Run(quiet=True)).sample(2).shape == (2, 6)


# ---- has it converged? ----------------------------------------------------------------------------------


def test_the_longest_stay_by_hand():
    labels = np.array([[1, 1, 2, 2, 2, 1], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5], [3, 3, 3, 3, 1, 1]]).T
    np.testing.assert_array_equal(chapter.longest_stay(labels), [3, 6, 1, 4])


def test_shares_count_each_class():
    np.testing.assert_allclose(chapter.shares(np.array([[0, 2], [2, 2]]), 4), [0.25, 0, 0.75, 0])
    np.testing.assert_array_equal(chapter.shares(np.array([], int), 3), [0, 0, 0])


def test_a_walk_that_has_left_the_data_is_noticed():
    data = np.array([[0, 1, 0, 1], [1, 1, 1, 0]])
    draws = np.array([[[1, 1, 0, 0]], [[1, 1, 1, 1]], [[0, 0, 0, 0]], [[np.nan, 1, 1, 0]], [[1, 1, 1, 0]]])
    np.testing.assert_array_equal(chapter.strayed(draws, data)[:, 0], [False, True, True, True, False])

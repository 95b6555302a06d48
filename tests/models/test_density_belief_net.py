"""The logistic belief net's equations by enumeration of all images; its order; scikit-learn's regressions; promises."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import LogisticBeliefNet
from tinygen.models.density import belief_net as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def quiet():
    return Run(quiet=True)


def images(d):
    """All 2^d images of d pixels."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=d)))


def parameters(d, seed=0):
    """A triangular W and b, far from 0."""
    draw = np.random.default_rng(seed)
    return np.tril(draw.normal(size=(d, d), scale=2), -1), draw.normal(size=d)


def net(d=6, seed=0, device="cpu", **options):
    """A net in float64 with such parameters."""
    model = LogisticBeliefNet(d, rng=tg.random.Generator(seed, device=device), **options).to(dtype="float64")
    for tensor, value in zip((model.weight, model.bias), parameters(d, seed), strict=True):
        tensor.assign(value)
    return model


def by_hand(x, W, b):
    """The factors of (1) for one image, one number at a time, by (2)."""
    factors = []
    for j in range(len(x)):
        a = b[j] + sum(W[j, k] * x[k] for k in range(j))
        p = 1 / (1 + math.exp(-a))
        factors.append(p if x[j] == 1 else 1 - p)
    return factors


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.logits, 2)
@equation(chapter.probabilities, 2)
@equation(chapter.terms, 1)
@equation(chapter.log_likelihood, 1, 3)
def test_the_likelihood_is_a_product_of_logistic_regressions():  # (1)-(3)
    W, b = parameters(5)
    for x in images(5):
        factors = by_hand(x, W, b)
        p = np.where(x == 1, factors, 1 - np.array(factors))
        np.testing.assert_allclose(chapter.probabilities(x[None], W, b)[0], p, rtol=1e-10)
        a = chapter.logits(x[None], W, b)
        np.testing.assert_allclose(a[0], scipy.special.logit(p), rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(chapter.terms(x[None], a)[0], np.log(factors), rtol=1e-10)
        np.testing.assert_allclose(chapter.log_likelihood(x[None], W, b), np.log(factors).sum(), rtol=1e-10)


@given(st.integers(1, 9), st.integers(0, 10**6))
def test_it_is_exactly_normalised(d, seed):  # (3): no partition function
    total = scipy.special.logsumexp(chapter.log_likelihood(images(d), *parameters(d, seed)))
    assert abs(total) < 1e-12


def test_large_scores_stay_finite():
    a = np.array([[-1e4, 1e4, 1e4]])
    np.testing.assert_array_equal(chapter.terms(np.array([[0.0, 1.0, 0.0]]), a), [[0, 0, -1e4]])


@equation(chapter.gradient, 4, 6)
def test_the_gradient_is_the_engines():  # (4), and (6) with grey targets
    W, b = parameters(6)
    x, y = rng.integers(0, 2, (7, 6)).astype(float), rng.uniform(size=(7, 6))
    tensors = [tg.tensor(v, requires_grad=True) for v in (W, b)]
    for target in (x, y):
        loss = -tg.mean(tg.sum(chapter.terms(target, chapter.logits(x, *tensors)), axis=1))
        expected = tg.grad(loss, tensors)
        found = chapter.gradient(x, target, chapter.probabilities(x, W, b))
        np.testing.assert_allclose(found[0], np.tril(expected[0].numpy(), -1), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found[1], expected[1].numpy(), rtol=1e-12, atol=1e-15)


def test_grey_targets_give_the_mean_over_black_and_white_ones():  # (6)
    W, b = parameters(3)
    y = np.array([0.2, 0.7, 0.4])
    exact, grey = 0.0, 0.0
    for x in images(3):
        weight = np.prod(np.where(x == 1, y, 1 - y))
        p = chapter.probabilities(x[None], W, b)
        exact = exact + weight * chapter.gradient(x[None], x[None], p)[0]
        grey = grey + weight * chapter.gradient(x[None], y[None], p)[0]
    np.testing.assert_allclose(grey, exact, rtol=1e-12)


@equation(chapter.log_odds, 5)
def test_without_weights_the_log_odds_are_the_best_biases():  # (5)
    x = rng.integers(0, 2, (40, 4)).astype(float)
    b = chapter.log_odds(x.mean(0))
    np.testing.assert_allclose(chapter.probabilities(x[:1], np.zeros((4, 4)), b)[0], x.mean(0), rtol=1e-9)
    assert np.isfinite(chapter.log_odds(np.array([0.0, 1.0]))).all()


# ---- the order ------------------------------------------------------------------------------------------


def test_an_output_sees_earlier_inputs_only():
    model = net(6).fit(images(6), steps=30, run=quiet())
    seen = tg.jacobian(lambda x: chapter.logits(x, model.weight, model.bias), images(6)[11][None])
    seen = np.abs(np.asarray(seen).reshape(6, 6))
    assert (np.triu(seen) == 0).all() and (seen[np.tril_indices(6, -1)] > 0).all()


def test_what_comes_later_changes_no_earlier_prediction():
    model, x = net(6), images(6)
    for j in range(6):
        changed = x.copy()
        changed[:, j:] = 1 - changed[:, j:]
        before, after = model.conditionals(x), model.conditionals(changed)
        np.testing.assert_array_equal(before[:, : j + 1], after[:, : j + 1])


# ---- the model ------------------------------------------------------------------------------------------


def test_it_finds_the_regressions_that_scikit_learn_finds():
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is the reference")
    truth = net(4)
    x = truth.sample(4000, rng=tg.random.Generator(3)).astype(float)
    model = LogisticBeliefNet(4, lr=0.1, schedule=tg.optim.schedules.Cosine(700), rng=tg.random.Generator(0))
    model = model.to(dtype="float64").start_at(x)
    for _ in range(700):
        model.update(x)
    for j in range(1, 4):
        theirs = linear.LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(x[:, :j], x[:, j])
        np.testing.assert_allclose(model.weight.numpy()[j, :j], theirs.coef_[0], atol=2e-3)
        np.testing.assert_allclose(model.bias.numpy()[j], theirs.intercept_[0], atol=2e-3)
    p = model.conditionals(x)
    np.testing.assert_allclose(p.mean(0), x.mean(0), atol=1e-4)  # at the best weights both agree
    np.testing.assert_allclose(np.tril(p.T @ x, -1), np.tril(x.T @ x, -1), atol=1e-3 * len(x))


def test_grey_images_lead_to_the_law_of_their_versions():
    y = np.array([[0.9, 0.1, 0.5]] * 2 + [[0.1, 0.8, 0.5]])
    model = LogisticBeliefNet(3, lr=0.03, schedule=tg.optim.schedules.Cosine(1500), rng=tg.random.Generator(0))
    model.start_at(y).fit(y, steps=1500, resample=True, run=quiet())
    exact = [np.mean([np.prod(np.where(x == 1, row, 1 - row)) for row in y]) for x in images(3)]
    np.testing.assert_allclose(np.exp(model.score_samples(images(3))), exact, atol=0.02)


def test_samples_and_completions_have_the_exact_law():
    model, n = net(4), 40_000
    codes = 2 ** np.arange(3, -1, -1)
    exact = np.exp(model.score_samples(images(4)))
    found = np.bincount((model.sample(n, rng=tg.random.Generator(1)) @ codes).astype(int), minlength=16) / n
    np.testing.assert_allclose(found, exact, atol=5 * 0.5 / math.sqrt(n))
    given_two = np.tile([1.0, 0.0, 1.0, 1.0], (n, 1))
    drawn = model.complete(given_two, 2, rng=tg.random.Generator(2))
    assert (drawn[:, :2] == [1, 0]).all()
    found = np.bincount((drawn @ codes).astype(int), minlength=16)[8:12] / n
    np.testing.assert_allclose(found, exact[8:12] / exact[8:12].sum(), atol=5 * 0.5 / math.sqrt(n))
    np.testing.assert_array_equal(model.complete(given_two[:3], 4), given_two[:3])


def test_on_every_device(device):
    model = net(5, device=device)
    x = images(5)
    model.start_at(x).fit(x * 0.8, steps=5, resample=True, run=quiet())
    assert model.weight.device == device and (np.triu(model.weight.numpy()) == 0).all()
    assert abs(scipy.special.logsumexp(model.score_samples(x))) < 1e-10
    assert model.complete(x, 2).shape == (32, 5) and isinstance(model.sample(3), np.ndarray)


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m.fit(np.full((3, 4), 0.5), steps=1, run=quiet()), "grey pixels, and zeros and ones are wanted"),
    (lambda m: m.score_samples(np.full((3, 4), 0.5)), "grey pixels"),
    (lambda m: m.fit(np.full((3, 4), 255), steps=1, resample=True), "values from 255 to 255; pixels in"),
    (lambda m: m.conditionals(np.zeros((3, 2, 2))), r"shape \(3, 2, 2\); at least one row of 4 pixels is wanted"),
    (lambda m: m.complete(np.zeros((3, 4)), 5), "known is 5; from 0 to 4 is wanted"),
    (lambda m: LogisticBeliefNet(0), "n_pixels is 0; at least one"),
])  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(net(4))

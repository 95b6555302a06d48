"""Every equation of the chapter on dropout, with all masks written out."""

import itertools

import numpy as np
import pytest
import scipy.special
from equations import equation

import tinygen as tg
from tinygen import data
from tinygen.backend import arrays
from tinygen.models.supervised import DropoutNet
from tinygen.models.supervised import dropout as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
P = 0.3
MASKS = np.array(list(itertools.product([0.0, 1.0], repeat=4)))  # (16, 4)
CHANCE = (P ** (1 - MASKS) * (1 - P) ** MASKS).prod(1)  # (16,)


def test_all_masks_are_there():
    assert CHANCE.sum() == pytest.approx(1)


@equation(chapter.drop, 1)
def test_drop_is_its_formula_and_goes_back_through_its_mask(device):
    x, mask = rng.normal(size=4), MASKS[9]
    leaf = tg.tensor(x, requires_grad=True, device=device)
    y = chapter.drop(leaf, tg.tensor(mask, device=device), P)
    np.testing.assert_allclose(y.numpy(), [m * v / 0.7 for m, v in zip(mask, x, strict=True)])
    g = rng.normal(size=4)
    np.testing.assert_allclose(tg.grad(y, leaf, [tg.tensor(g, device=device)]).numpy(), mask * g / 0.7)
    on = [arrays.asarray(a, device=device) for a in (x, mask)]
    tg.check_grads(lambda x: tg.sin(chapter.drop(tg.sin(x), on[1], P)), on[:1], order=2)


def test_masks_are_drawn_with_the_right_chance(device):
    y = chapter.dropout(tg.ones((200, 500), device=device), P, tg.random.Generator(0, device=device)).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / np.float32(0.7))} or len(np.unique(y)) == 2
    assert abs((y == 0).mean() - P) < 4 * np.sqrt(P * (1 - P) / y.size)
    assert abs(y.mean() - 1) < 0.01


@equation(chapter.drop, 2)
def test_mean_and_variance():
    x = rng.normal(size=4)
    y = chapter.drop(x, MASKS, P)
    np.testing.assert_allclose(CHANCE @ y, x)
    np.testing.assert_allclose(CHANCE @ (y - x) ** 2, P / (1 - P) * x**2)


@equation(chapter.ridge_penalty, 3)
def test_the_mean_squared_error_is_ridge_regressions():
    x, w, t = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=6)
    errors = np.array([[t[k] - chapter.drop(x[k], m, P) @ w for m in MASKS] for k in range(6)])  # (6, 16)
    mean = (errors**2 @ CHANCE).sum()
    expected = ((t - x @ w) ** 2).sum() + chapter.ridge_penalty(x, w, P)
    assert mean == pytest.approx(expected, rel=1e-12)
    tg.check_grads(lambda x, w: chapter.ridge_penalty(x, w, P), (x, w))


def test_learning_with_masks_finds_the_ridge_solution():  # (3), by its minimum
    x, t = rng.normal(size=(50, 4)), rng.normal(size=50)
    charge = np.diag((x**2).sum(0)) * P / (1 - P)
    ridge = np.linalg.solve(x.T @ x + charge, x.T @ t)
    w, draws, total = tg.tensor(np.zeros(4), requires_grad=True), tg.random.Generator(0), 0
    optimizer = tg.optim.SGD([w], 2e-3)
    for step in range(4000):
        y = chapter.dropout(tg.tensor(x), P, draws)
        optimizer.step([tg.grad(tg.sum(tg.square(t - tg.matmul(y, w))) / 2, w)])
        total = total + w.numpy() if step >= 1000 else 0
    assert np.abs(total / 3000 - ridge).max() < 0.15 * np.abs(np.linalg.lstsq(x, t)[0] - ridge).max()


@equation(chapter.geometric_mean, 4)
def test_the_geometric_mean_of_all_networks_is_the_whole_network():
    W, b, x = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=4)
    each = scipy.special.log_softmax(chapter.drop(x, MASKS, P) @ W.T + b, 1)  # (16, 3)
    found = chapter.geometric_mean(each, CHANCE)
    np.testing.assert_allclose(found, scipy.special.log_softmax(W @ x + b), rtol=1e-12)
    product = np.prod(np.exp(each) ** CHANCE[:, None], 0)
    np.testing.assert_allclose(np.exp(found), product / product.sum())


def test_absent_in_training_only():
    layer = chapter.Dropout(0.5, rng=tg.random.Generator(0))
    x = tg.ones((4, 50))
    assert (layer(x).numpy() == 0).any() and layer.eval()(x) is x
    assert chapter.Dropout(0.0, rng=tg.random.Generator(0))(x) is x
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match="p must be"):
            chapter.Dropout(p, rng=tg.random.Generator(0))


def test_it_works_against_learning_by_heart():
    """300 digits, 30 % of them with random labels: with dropout fewer of those are learnt, and new digits go better."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    train, test = data.load("digits")
    x, y = train.images.reshape(len(train.images), -1)[:300], train.labels[:300].copy()
    wrong = rng.uniform(size=300) < 0.3
    y[wrong] = rng.integers(0, 10, wrong.sum())
    known, new = {}, {}
    for p in (0.0, 0.5):
        net = DropoutNet(64, 128, 10, p=p, p_input=0.4 * p, lr=3e-3, rng=tg.random.Generator(0))
        net.fit(x, y, steps=400, batch_size=60, run=Run(quiet=True))
        known[p], new[p] = net.score(x, y), net.score(test.images.reshape(len(test.images), -1), test.labels)
    assert known[0.0] > known[0.5] + 0.03 and new[0.5] > new[0.0] + 0.05

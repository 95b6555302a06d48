"""The chapter on a wide net: its equations, a net that gives any labels, and what learning makes of random ones."""

import doctest

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.supervised import WideNet
from tinygen.models.supervised import wide_net as chapter
from tinygen.models.supervised.feed_forward import feed_forward
from tinygen.runs import Run

rng = np.random.default_rng(0)


def by_hand(net, x):
    """The logits of (1) in NumPy."""
    W, b, V, c = (p.numpy() for p in net.parameters())
    return np.maximum(x @ W + b, 0) @ V + c


@equation(WideNet.forward, 1)
@equation(WideNet.predict_proba, 1)
def test_logits_and_probabilities(device):
    net, x = (
        WideNet(4, 3, width=6, rng=tg.random.Generator(0, device=device)).to(dtype="float64"),
        rng.normal(size=(5, 4)),
    )
    f = by_hand(net, x)
    np.testing.assert_allclose(net(net.checked(x)).numpy(), f, rtol=1e-10)
    np.testing.assert_allclose(net.predict_proba(x), np.exp(f) / np.exp(f).sum(1, keepdims=True), rtol=1e-10)


@equation(WideNet.loss, 2)
def test_the_loss_is_the_mean_over_the_minibatch():
    net, x, y = (
        WideNet(4, 3, width=6, rng=tg.random.Generator(0)).to(dtype="float64"),
        rng.normal(size=(5, 4)),
        [0, 2, 1, 1, 0],
    )
    f = by_hand(net, x)
    expected = np.mean([np.log(np.exp(f[i]).sum()) - f[i, c] for i, c in enumerate(y)])
    assert net.loss(x, np.array(y)).item() == pytest.approx(expected, rel=1e-12)


@equation(chapter.by_heart, 3)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(2, 5), st.integers(0, 10**6))
def test_any_labels_at_any_inputs(n, d, m, seed):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(n, d)), draw.integers(0, m, n)
    layers = chapter.by_heart(x, y, m, tg.random.Generator(seed))
    assert layers[0].W.shape == (d, n - 1) and (layers[0].W == layers[0].W[:, :1]).all()  # one direction for all
    np.testing.assert_allclose(feed_forward(x, layers), np.eye(m)[y], atol=1e-5)


def test_inputs_that_come_twice_are_refused():
    x = np.repeat(rng.normal(size=(3, 2)), 2, axis=0)
    for wrong in (x, x[:1]):
        with pytest.raises(ValueError, match=f"the {len(wrong)} inputs are not all different"):
            chapter.by_heart(wrong, np.zeros(len(wrong), int), 2, tg.random.Generator(0))


@equation(chapter.still_right, 4)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_how_many_labels_stay_right(share):
    y = rng.integers(0, 5, 200_000)
    found = np.mean(chapter.random_labels(y, share, 5, tg.random.Generator(0)) == y)
    assert found == pytest.approx(chapter.still_right(share, 5), rel=1e-2)
    assert chapter.still_right(share, 5) == pytest.approx((1 - share) + share / 5, rel=1e-12)  # kept, or drawn again


def test_random_labels_are_learnt_and_mean_nothing():
    x, y = rng.normal(size=(60, 8)), rng.integers(0, 3, 60)
    net = WideNet(8, 3, width=128, lr=0.2, rng=tg.random.Generator(0)).fit(x, y, steps=600, batch_size=20,
                                                                          run=Run(quiet=True))  # fmt: skip
    assert net.score(x, y) == 1
    assert abs(net.score(rng.normal(size=(3000, 8)), rng.integers(0, 3, 3000)) - 1 / 3) < 0.04


def test_a_step_goes_down_by_the_rate():
    net = WideNet(4, 3, width=6, lr=0.25, rng=tg.random.Generator(0)).to(dtype="float64")
    x, y = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    before = [p.numpy() for p in net.parameters()]
    grads = [g.numpy() for g in tg.grad(net.loss(x, y), list(net.parameters()))]
    net.update(x, y)
    for p, old, g in zip(net.parameters(), before, grads, strict=True):
        np.testing.assert_allclose(p.numpy(), old - 0.25 * g, rtol=1e-12)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="n_classes is 1"):
        WideNet(4, 1)


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


@pytest.mark.parametrize("wrong", [-1, 3])
def test_classes_that_there_are_not_are_not_learnt_by_heart(wrong):
    with pytest.raises(ValueError, match="by_heart: y has classes from .*; 0 to 2 are wanted"):
        chapter.by_heart(np.eye(4), np.array([0, 1, 2, wrong]), 3, tg.random.Generator(0))

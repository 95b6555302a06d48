"""Data sets are what they claim, and minibatches resume exactly."""

import sys

import numpy as np
import pytest

from tinygen import data
from tinygen.backend.random import Generator


def test_digits():
    pytest.importorskip("sklearn", reason="scikit-learn bundles the digits")
    train, test = data.load("digits")
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int64
    assert train.images.min() == 0 and train.images.max() == 1
    assert np.bincount(test.labels, minlength=10).min() >= 25
    rows = {a.tobytes() for a in train.images}
    assert not any(a.tobytes() in rows for a in test.images)
    again = data.load("digits")
    np.testing.assert_array_equal(again.train.labels, train.labels)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "tinygen\[demos\]"'):
        data.load("digits")


def test_unknown_name():
    with pytest.raises(ValueError, match="'digitz'.*digits"):
        data.load("digitz")


def test_batch_depends_on_the_generator_alone():
    x, y = np.arange(10), np.arange(10) ** 2
    rng = Generator(3)
    data.batch(x, rng, 4)
    state = rng.state_dict()
    first = data.batch((x, y), rng, 4)
    rng.load_state_dict(state)
    second = data.batch((x, y), rng, 4)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[0] ** 2, first[1])


def test_batches_go_through_everything_once_an_epoch():
    batches = data.Batches(7, 3, Generator(0))
    epochs = [np.concatenate([batches(), batches()]) for _ in range(3)]
    assert all(len(set(e.tolist())) == 6 for e in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize("taken", [0, 1, 2, 5])
def test_batches_resume(taken):
    rng = Generator(0)
    batches = data.Batches(7, 3, rng)
    for _ in range(taken):
        batches()
        rng.uniform(5)  # others draw from it too
    state = batches.state_dict()
    expected = [(batches().tolist(), rng.uniform(2).tolist()) for _ in range(4)]
    other = Generator(99)
    resumed = data.Batches(7, 3, other)
    resumed.load_state_dict(state)
    assert [(resumed().tolist(), other.uniform(2).tolist()) for _ in range(4)] == expected

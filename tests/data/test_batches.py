"""Minibatches resume exactly and keep arrays in step; binarization follows its three conventions."""

from __future__ import annotations

import numpy as np
import pytest

from tinygen import data
from tinygen.backend.random import Generator
from tinygen.data import binarize


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
    assert all(len(set(e.tolist())) == 6 for e in epochs) and len(batches) == 2
    assert not np.array_equal(epochs[0], epochs[1])


def test_the_last_batch_may_be_kept():
    batches = data.Batches(7, 3, Generator(0), drop_last=False)
    for epoch in range(3):
        rows = [batches() for _ in range(len(batches))]
        assert batches.epoch == epoch
        assert [len(r) for r in rows] == [3, 3, 1] and sorted(np.concatenate(rows).tolist()) == list(range(7))


def test_arrays_stay_in_step():
    x = np.arange(11)
    part = data.Labelled(x[:, None] * 10, x)
    seen = []
    for images, labels in data.Batches(part, 4, Generator(1), drop_last=False).rest():
        np.testing.assert_array_equal(images[:, 0], labels * 10)
        seen += labels.tolist()
    assert sorted(seen) == x.tolist()
    (alone,) = [b for b in data.Batches(x, 11, Generator(1)).rest()]
    assert sorted(alone.tolist()) == x.tolist()


def test_rest_is_what_is_left_of_an_epoch():
    batches = data.Batches(6, 2, Generator(0))
    first = batches()
    assert sorted(np.concatenate([first, *batches.rest()]).tolist()) == list(range(6))
    assert len(list(batches.rest())) == 3


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("taken", [0, 1, 2, 3, 5])
def test_batches_resume(taken, drop_last):
    rng = Generator(0)
    batches = data.Batches(7, 3, rng, drop_last=drop_last)
    for _ in range(taken):
        batches()
        rng.uniform(5)  # others draw from it too
    state = batches.state_dict()
    expected = [(batches().tolist(), rng.uniform(2).tolist(), batches.epoch) for _ in range(4)]
    other = Generator(99)
    resumed = data.Batches(7, 3, other, drop_last=drop_last)
    resumed.load_state_dict(state)
    assert [(resumed().tolist(), other.uniform(2).tolist(), resumed.epoch) for _ in range(4)] == expected


def test_a_state_of_other_data_is_refused():
    state = data.Batches(7, 3, Generator(0)).state_dict()
    with pytest.raises(ValueError, match="7 rows, and there are 8"):
        data.Batches(8, 3, Generator(0)).load_state_dict(state)
    with pytest.raises(ValueError, match="9 of 7"):
        data.Batches(7, 3, Generator(0)).load_state_dict({**state, "done": 9})


@pytest.mark.parametrize("size", [0, -1, 8])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="from 1 to the 7 rows"):
        data.Batches(7, size, Generator(0))


def test_uneven_arrays():
    for call in (lambda x: data.Batches(x, 1, Generator(0)), lambda x: data.batch(x, Generator(0), 1)):
        with pytest.raises(ValueError, match="3, 4 rows"):
            call((np.zeros(3), np.zeros(4)))


def test_in_order():
    x = np.arange(5)
    assert [a.tolist() for a in data.in_order(x, 2)] == [[0, 1], [2, 3], [4]]
    pairs = [(a.tolist(), b.tolist()) for a, b in data.in_order((x, -x), 4)]
    assert pairs == [([0, 1, 2, 3], [0, -1, -2, -3]), ([4], [-4])]
    with pytest.raises(ValueError, match="at least 1"):
        data.in_order(x, 0)


# ---------------------------------------------------------------- binarization

GREY = np.linspace(0, 1, 11, dtype=np.float32)


def test_by_threshold():
    np.testing.assert_array_equal(binarize.by_threshold(GREY), (GREY > 0.5).astype(np.float32))
    assert binarize.by_threshold(GREY, 0.85).sum() == 2


def test_resampled_has_the_grey_as_mean():
    rng = Generator(0)
    x = np.broadcast_to(GREY, (20_000, 11))
    drawn = binarize.resampled(x, rng)
    assert set(np.unique(drawn)) == {0, 1} and drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), GREY, atol=0.02)
    assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 1).all()
    assert not np.array_equal(drawn, binarize.resampled(x, rng))


def test_fixed_is_fixed():
    x = np.broadcast_to(GREY, (100, 11))
    np.testing.assert_array_equal(binarize.fixed(x), binarize.fixed(x))
    assert not np.array_equal(binarize.fixed(x), binarize.fixed(x, seed=1))
    np.testing.assert_array_equal(binarize.fixed(binarize.fixed(x)), binarize.fixed(x))


@pytest.mark.parametrize("values", [[0, 255], [0.0, 1.5], [-0.1], [np.nan]])
def test_only_greys_are_binarized(values):
    x = np.array(values)
    for call in (binarize.by_threshold, lambda x: binarize.resampled(x, Generator(0)), binarize.fixed):
        with pytest.raises(ValueError, match=r"wanted floats in \[0, 1\]"):
            call(x)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="batch: size must be at least 1, got 0"):
        data.batch(np.arange(3), Generator(0), 0)

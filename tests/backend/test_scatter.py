"""Promise of scatter.py: each index adds, as often as it occurs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygen.backend import scatter_add

from .conftest import quick


def by_loop(target, index, values):
    """Add one number at a time: the definition."""
    places = np.arange(target.size).reshape(target.shape)[index]
    flat = target.reshape(-1).copy()
    for place, value in zip(np.ravel(places), np.ravel(np.broadcast_to(values, places.shape)), strict=True):
        flat[place] += value
    return flat.reshape(target.shape)


MASK = np.array([[True, False, True, False], [False] * 4, [True] * 4])
INDICES = {
    "integer": 1,
    "negative": -1,
    "numpy integer": np.int64(2),
    "slice": slice(0, 3, 2),
    "backward": slice(None, None, -1),
    "ellipsis": (..., 1),
    "newaxis": (None, 1),
    "everything": (),
    "rows, repeated": np.array([0, 2, 0, 0]),
    "rows, negative": np.array([-1, 2, -3]),
    "rows, of two axes": np.array([[0, 1], [1, 1]]),
    "rows, none": np.array([], np.int64),
    "rows, int32": np.array([1, 1], np.int32),
    "one row as an array": np.array(1),
    "list": [0, 0, 1],
    "pairs": (np.array([0, 1, 0]), np.array([3, 2, 3])),
    "mixed": (np.array([0, 0]), slice(1, 3)),
    "mixed behind": (slice(None), np.array([1, 1, 2])),
    "broadcast": (np.array([[0], [0]]), np.array([1, 1])),
    "mask": MASK,
    "mask of rows": np.array([True, False, True]),
    "mask and integer": (np.array([True, False, True]), 2),
    "mask and slice": (np.array([True, False, True]), slice(0, 2)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_every_kind_of_index(library, index, dtype):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(3, 4)).astype(dtype)
    values = rng.normal(size=np.shape(target[index])).astype(dtype)
    parts = index if isinstance(index, tuple) else (index,)
    there = tuple(library.array(part) if isinstance(part, np.ndarray) else part for part in parts)
    got = library.array(target)
    assert (
        scatter_add(library.xp, got, there if isinstance(index, tuple) else there[0], library.array(values))
        is got
    )
    assert got.dtype == dtype
    np.testing.assert_allclose(library.host(got), by_loop(target, index, values), rtol=1e-5, atol=1e-6)


@quick
@given(
    rows=hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=6), elements=st.integers(-5, 4)),
    width=st.sampled_from([(), (1,), (3,), (2, 2)]),
)
def test_an_embedding_gradient_counts_every_word(library, rows, width):
    values = np.random.default_rng(0).integers(-4, 5, rows.shape + width).astype(np.float32)
    got = library.array(np.zeros((5, *width), np.float32))
    scatter_add(library.xp, got, library.array(rows), library.array(values))
    np.testing.assert_array_equal(library.host(got), by_loop(np.zeros((5, *width), np.float32), rows, values))


def test_small_integers_index_large_tables():
    rows, table = np.array([255, 200, 255], np.uint8), np.zeros((256, 5), np.float32)
    scatter_add(np, table, rows, np.ones((3, 5), np.float32))
    assert np.flatnonzero(table[:, 4]).tolist() == [200, 255] and table[255].tolist() == [2] * 5


def test_values_broadcast(library):
    got = library.array(np.zeros((3, 2), np.float32))
    scatter_add(library.xp, got, library.array([0, 0, 2]), library.array([1.0, 2.0], "float32"))
    np.testing.assert_array_equal(library.host(got), [[2, 4], [0, 0], [1, 2]])


def test_a_target_of_any_layout_is_changed_in_place(library):
    whole = library.array(np.zeros((3, 4), np.float32))
    scatter_add(library.xp, whole.T, library.array([1, 1]), library.array(np.ones((2, 3), np.float32)))
    assert library.host(whole)[:, 1].tolist() == [2, 2, 2]


def test_a_row_outside_the_table_is_refused():
    for bad in ([3], [-4], [0, 3]):
        with pytest.raises(IndexError, match=r"outside target, of shape \(3, 2\)"):
            scatter_add(np, np.zeros((3, 2)), np.array(bad), np.ones((len(bad), 2)))


def test_no_synchronisation_without_a_mask(library):
    target, rows = library.array(np.zeros((3, 2), np.float32)), library.array([0, 1, 1])
    values = library.array(np.ones((3, 2), np.float32))
    with library.forbid_sync():
        scatter_add(library.xp, target, rows, values)
        scatter_add(library.xp, target, (slice(0, 1), 1), values[:1, 0])


def test_rows_that_are_not_whole_are_refused():
    with pytest.raises(IndexError, match="integer"):
        scatter_add(np, np.zeros((3, 2)), np.array([0.5, 1.7]), np.ones((2, 2)))

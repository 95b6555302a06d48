"""Promises of linear.py: one product for every case, by its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.backend import DeviceError, cholesky, gemm, solve_triangular
from tinygen.backend.linear import total

from .conftest import quick

STACKS = [((), ()), ((3,), ()), ((), (3,)), ((3,), (3,)), ((2, 1), (3,)), ((0,), ()), ((2, 3), (2, 3))]


@quick
@given(
    stacks=st.sampled_from(STACKS),
    sizes=st.tuples(*[st.integers(0, 4)] * 3),
    transposes=st.tuples(st.booleans(), st.booleans()),
    into=st.sampled_from(["new", "out", "accumulate"]),
)
def test_gemm_is_the_sum_of_products(library, stacks, sizes, transposes, into):
    (m, k, n), rng = sizes, np.random.default_rng(0)
    a = rng.normal(size=(*stacks[0], *((k, m) if transposes[0] else (m, k)))).astype(np.float32)
    b = rng.normal(size=(*stacks[1], *((n, k) if transposes[1] else (k, n)))).astype(np.float32)
    left = a.swapaxes(-1, -2) if transposes[0] else a
    right = b.swapaxes(-1, -2) if transposes[1] else b
    want = (left[..., :, :, None] * right[..., None, :, :]).sum(-2)
    options = {"transpose_a": transposes[0], "transpose_b": transposes[1]}
    out = None if into == "new" else library.array(np.full(want.shape, 7.0, np.float32))
    got = gemm(library.array(a), library.array(b), out=out, accumulate=into == "accumulate", **options)
    assert (out is None or got is out) and got.dtype == "float32"
    np.testing.assert_allclose(library.host(got), want + 7.0 * (into == "accumulate"), rtol=1e-4, atol=1e-5)


def test_gemm_names_both_shapes(library):
    a, b = library.array(np.ones((2, 3))), library.array(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"a of shape \(2, 3\) and b of shape \(2, 4\) do not fit"):
        gemm(a, b)
    with pytest.raises(ValueError, match=r"a of shape \(2, 3\) and b.T of shape \(4, 2\) do not fit"):
        gemm(a, b, transpose_b=True)
    with pytest.raises(ValueError, match="do not fit"):
        gemm(library.array(np.ones((2, 3, 3))), library.array(np.ones((4, 3, 3))))
    with pytest.raises(ValueError, match=r"out has shape \(5, 5\)"):
        gemm(a, b, transpose_a=True, out=library.array(np.ones((5, 5))))
    with pytest.raises(ValueError, match="at least two axes"):
        gemm(a, library.array(np.ones(3)))
    with pytest.raises(ValueError, match="needs out="):
        gemm(a, b, transpose_a=True, accumulate=True)


def test_gemm_refuses_two_devices(library):
    if library.xp is np:
        pytest.skip("one library only: nothing to mix")
    with pytest.raises(DeviceError, match=r"\.to\("):
        gemm(np.ones((2, 2)), library.array(np.ones((2, 2))))


@quick
@given(
    stacks=st.sampled_from(STACKS),
    lower=st.booleans(),
    transpose=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_solve_triangular_solves_and_reads_one_triangle(library, stacks, lower, transpose, dtype):
    rng = np.random.default_rng(1)
    a = (rng.normal(size=(*stacks[0], 4, 4)) + 4 * np.eye(4)).astype(dtype)  # both triangles are full
    b = rng.normal(size=(*stacks[1], 4, 2)).astype(dtype)
    x = solve_triangular(library.xp, library.array(a), library.array(b), lower, transpose)
    triangle = np.tril(a) if lower else np.triu(a)
    triangle = triangle.swapaxes(-1, -2) if transpose else triangle
    assert x.dtype == dtype
    got = triangle @ library.host(x)
    np.testing.assert_allclose(got, np.broadcast_to(b, got.shape), rtol=1e-4, atol=1e-5)


def test_solve_triangular_names_both_shapes(library):
    with pytest.raises(ValueError, match=r"a has shape \(2, 2\) and b \(3, 1\)"):
        solve_triangular(library.xp, library.array(np.eye(2)), library.array(np.ones((3, 1))), True, False)


def test_a_singular_triangle_raises():
    with pytest.raises(np.linalg.LinAlgError):
        solve_triangular(np, np.zeros((2, 2)), np.ones((2, 1)), True, False)


def test_cholesky_factors(library):
    root = np.random.default_rng(2).normal(size=(3, 4, 4))
    a = root @ root.swapaxes(-1, -2) + np.eye(4)
    factor = library.host(cholesky(library.xp, library.array(a)))
    np.testing.assert_allclose(factor @ factor.swapaxes(-1, -2), a, rtol=1e-10)
    np.testing.assert_array_equal(factor, np.tril(factor))


def test_cholesky_refuses_what_has_no_factor():
    with pytest.raises(np.linalg.LinAlgError):
        cholesky(np, np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="square"):
        cholesky(np, np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(40, 60), (19, 5, 6, 7), (2, 3), (1, 3000), (3000, 1), (0, 5), (2100,), (5000,)])
@pytest.mark.parametrize("axis", [None, 0, -1, (0,), (0, 1), (0, 2, 3), (0, 2), (1, 3), (0, -1), (0, 2, 1),
                                  (0, 3, 1), (0, 1, 2, 3)])  # fmt: skip
@pytest.mark.parametrize("keepdims", [False, True])
def test_totals_are_sums_in_every_layout(library, shape, axis, keepdims):
    """As products with ones or not: the same shapes, dtypes and, to rounding, numbers."""
    if isinstance(axis, tuple) and (max(axis) >= len(shape) or -1 in axis and len(shape) < 2):
        return
    numbers = np.random.default_rng(0).normal(size=shape)
    channels_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(numbers, 1, -1)), -1, 1) if len(shape) > 2 else numbers
    for x in (numbers, channels_last, numbers.T.copy().T, numbers[::2], (9 * numbers).astype(np.int32)):
        got = total(library.xp, library.array(x), axis, keepdims)
        expected = x.sum(axis=axis, keepdims=keepdims)
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(library.host(library.xp.asarray(got)), expected, rtol=1e-9, atol=1e-9)


def test_triangular_systems_of_integers_have_fractions_for_solutions():
    x = solve_triangular(np, np.array([[2, 0], [1, 4]]), np.array([[1], [1]]), True, False)
    assert x.dtype == np.float64 and x.tolist() == [[0.5], [0.125]]
    single = np.eye(2, dtype=np.float32)
    assert solve_triangular(np, single, single, True, False).dtype == np.float32

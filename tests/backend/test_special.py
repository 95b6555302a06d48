"""Promises of special.py: values as defined, dtypes kept, stable forms that give no NaN for numbers."""

import math

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

from tinygen.backend import special

from .conftest import quick

POSITIVE = np.array([0.1, 0.5, 1.0, 2.5, 30.0])
INSIDE = np.array([0.01, 0.3, 0.5, 0.9])
ANY = np.array([-3.0, -0.5, 0.0, 0.5, 4.0])
INF = math.inf

ORACLES = [
    ("erf", ANY, lambda x: math.erf(x)),
    ("erfc", ANY, lambda x: math.erfc(x)),
    ("erfinv", INSIDE, lambda x: scipy.special.erfinv(x)),
    ("lgamma", POSITIVE, lambda x: math.lgamma(x)),
    ("digamma", POSITIVE, lambda x: (math.lgamma(x + 1e-5) - math.lgamma(x - 1e-5)) / 2e-5),
    ("ndtri", INSIDE, lambda x: math.sqrt(2) * scipy.special.erfinv(2 * x - 1)),
    ("sigmoid", ANY, lambda x: 1 / (1 + math.exp(-x))),
    ("softplus", ANY, lambda x: math.log(1 + math.exp(x))),
]
TAGS = {"sigmoid": 1, "softplus": 2}
ROWS = [
    pytest.param(*row, marks=[equation(getattr(special, row[0]), TAGS[row[0]])] if row[0] in TAGS else [])
    for row in ORACLES
]


@pytest.mark.parametrize("name, points, oracle", ROWS, ids=[row[0] for row in ORACLES])
@pytest.mark.parametrize("dtype, rtol", [("float32", 3e-6), ("float64", 1e-12)])
def test_values_and_dtype(library, name, points, oracle, dtype, rtol):
    out = getattr(special, name)(library.xp, library.array(points, dtype))
    assert out.dtype == dtype
    rtol = max(rtol, 1e-8) if name == "digamma" else rtol  # its oracle is a difference quotient
    np.testing.assert_allclose(
        library.host(out), [oracle(x) for x in points.astype(dtype).tolist()], rtol, 1e-7
    )


def test_every_function_takes_0d_arrays(library):
    for name, points, _ in ORACLES:
        out = getattr(special, name)(library.xp, library.array(points[1], "float32"))
        assert out.shape == () and out.dtype == "float32", name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_dtype_is_kept_and_integers_become_float64(library, dtype):
    x = library.array([0.25, 0.5], dtype)
    for f in (special.erf, special.lgamma, special.digamma, special.sigmoid, special.softplus):
        assert f(library.xp, x).dtype == dtype
    assert special.xlogy(library.xp, x, x).dtype == special.polygamma(library.xp, 1, x).dtype == dtype
    assert special.erf(library.xp, library.array([1, 2])).dtype == "float64"


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_polygamma_is_scipys_and_keeps_float32(library, n):
    out = special.polygamma(library.xp, n, library.array(POSITIVE, "float32"))
    assert out.dtype == "float32"
    np.testing.assert_allclose(library.host(out), scipy.special.polygamma(n, POSITIVE), 1e-5)


@pytest.mark.parametrize("n", [-1, 1.5, True])
def test_polygamma_refuses_other_orders(n):
    with pytest.raises(ValueError, match="wanted an integer of at least 0"):
        special.polygamma(np, n, POSITIVE)


def test_xlogy_is_zero_at_zero_whatever_the_logarithm(library):
    x, y = library.array([0.0, 0.0, 2.0], "float32"), library.array([0.0, 5.0, 3.0], "float32")
    out = special.xlogy(library.xp, x, y)
    assert out.dtype == "float32"
    np.testing.assert_allclose(library.host(out), [0.0, 0.0, 2 * math.log(3)], 1e-6)


def test_sigmoid_and_softplus_at_the_ends(library):
    x = library.array([-INF, -1e4, -100.0, 100.0, 1e4, INF])
    np.testing.assert_allclose(library.host(special.sigmoid(library.xp, x)), [0, 0, 0, 1, 1, 1], atol=1e-16)
    tail = library.host(special.sigmoid(library.xp, library.array([-20.0, -80.0], dtype="float32")))
    np.testing.assert_allclose(tail, np.exp([-20.0, -80.0]), rtol=1e-5)
    softplus = library.host(special.softplus(library.xp, x))
    np.testing.assert_allclose(softplus, [0, 0, math.exp(-100), 100, 1e4, INF], rtol=1e-12)


@equation(special.softplus, 2)
@equation(special.logaddexp, 3)
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("float64", 1e-13)])
def test_softplus_and_logaddexp_are_their_formulas(library, dtype, rtol):
    a, b = np.random.default_rng(0).normal(size=(2, 20)).astype(dtype) * 5
    softplus = library.host(special.softplus(library.xp, library.array(a)))
    out = library.host(special.logaddexp(library.xp, library.array(a), library.array(b)))
    assert out.dtype == dtype
    a, b = a.astype("float64"), b.astype("float64")
    np.testing.assert_allclose(softplus, np.maximum(a, 0) + np.log(1 + np.exp(-abs(a))), rtol, rtol)
    np.testing.assert_allclose(out, np.log(np.exp(a) + np.exp(b)), rtol, rtol)
    np.testing.assert_allclose(out, np.maximum(a, b) + np.log(1 + np.exp(-abs(a - b))), rtol, rtol)


def test_logaddexp_of_infinities_is_their_limit(library):
    a = library.array([-INF, -INF, INF, INF, 0.0, 1e4])
    b = library.array([-INF, 1.0, INF, -INF, 0.0, -1e4])
    out = library.host(special.logaddexp(library.xp, a, b))
    np.testing.assert_allclose(out, [-INF, 1.0, INF, INF, math.log(2), 1e4])


def test_nan_goes_in_and_comes_out(library):
    x = library.array([math.nan])
    for f in (special.sigmoid, special.softplus):
        assert np.isnan(library.host(f(library.xp, x))).all()
    with np.errstate(invalid="ignore"):  # NumPy warns here, for once
        assert np.isnan(library.host(special.logaddexp(library.xp, x, library.array([0.0])))).all()


@quick
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=8))
def test_softplus_is_logaddexp_with_zero(values):
    x = np.array(values)
    np.testing.assert_allclose(special.softplus(np, x), np.logaddexp(x, 0.0), rtol=1e-14)

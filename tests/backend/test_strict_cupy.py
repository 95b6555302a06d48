"""The strict stand-in for CuPy: each promise of `strict_cupy` is a fault planted here, which it must catch.

A checker that lets errors through is worse than none, so every row of `FAULTS` was written to fail on a
lenient stand-in. The second half runs ordinary legal programs, because one that refuses those would be
switched off."""

import copy
import doctest
import math
import operator
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # no-op when pytest already put tests/ there

import strict_cupy as strict
from strict_cupy import SyncError, from_numpy, no_float64, no_sync, special, xp

HOST = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def array(shape=(4, 5), dtype=np.float32):
    """A stand-in array of small positive numbers."""
    return from_numpy((np.arange(math.prod(shape)).reshape(shape) % 7 + 1).astype(dtype))


def index(*values):
    """A stand-in array of integer indices."""
    return from_numpy(np.array(values))


class Foreign:
    """A class that takes binary operators over, as a Tensor does."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)

    def __radd__(self, other):
        return "Foreign's"


X, IX = array(), index(0, 1, 1)
SQUARE = from_numpy(np.eye(3, dtype=np.float16))

# name: (the faulty program, the exception, a piece of its message)
FAULTS = {
    # names and keywords that CuPy lacks
    "missing name": (lambda: xp.geomspace(1, 2, 3), AttributeError, "CuPy 14.* has no such name"),
    "missing vecdot": (lambda: xp.vecdot(X, X), AttributeError, "vecdot"),
    "missing errstate": (lambda: xp.errstate(all="ignore"), AttributeError, "errstate"),
    "missing in linalg": (lambda: xp.linalg.vector_norm(X), AttributeError, "linalg.vector_norm"),
    "missing special function": (lambda: special.ive(1.0, X), AttributeError, "special.ive"),
    "kernels use their reference": (lambda: xp.ElementwiseKernel, AttributeError, "does not model it"),
    "method sum(where=)": (lambda: X.sum(where=X > 0), TypeError, "unexpected keyword argument 'where'"),
    "sum(initial=)": (lambda: xp.sum(X, initial=0), TypeError, "initial"),
    "max(initial=)": (lambda: xp.max(X, initial=-1), TypeError, "initial"),
    "method max(initial=)": (lambda: X.max(initial=-1), TypeError, "initial"),
    "var(correction=)": (lambda: xp.var(X, correction=1), TypeError, "correction"),
    "take(mode=)": (lambda: xp.take(X, IX, mode="clip"), TypeError, "mode"),
    "clip(min=)": (lambda: xp.clip(X, min=0), TypeError, "min"),
    "argsort(stable=)": (lambda: xp.argsort(X, stable=True), TypeError, "stable"),
    "sort(kind='quicksort')": (lambda: xp.sort(X, kind="quicksort"), ValueError, "quicksort"),
    "count_nonzero(keepdims=)": (lambda: xp.count_nonzero(X, keepdims=True), TypeError, "keepdims"),
    "einsum(out=)": (lambda: xp.einsum("ij->j", X, out=X), TypeError, "out"),
    "asarray(device=)": (lambda: xp.asarray(X, device="cpu"), TypeError, "device"),
    "astype(casting=)": (lambda: X.astype(np.int32, casting="unsafe"), TypeError, "not supported yet"),
    "item(0)": (lambda: X.item(0), TypeError, "positional"),
    "argmax's third argument": (lambda: xp.argmax(X, 0, None), TypeError, "dtype on CuPy and out on NumPy"),
    "add(where=)": (lambda: xp.add(X, X, where=X > 0), TypeError, "Wrong arguments"),
    "np.add(where=)": (lambda: np.add(X, X, where=True, order="C"), TypeError, "Wrong arguments"),
    "maximum.reduce": (lambda: xp.maximum.reduce(X), NotImplementedError, "cupy_maximum.reduce"),
    "maximum.accumulate": (lambda: xp.maximum.accumulate(X), NotImplementedError, "accumulate"),
    "multiply.reduceat": (lambda: xp.multiply.reduceat(X, IX), NotImplementedError, "reduceat"),
    "multiply.at": (lambda: xp.multiply.at(X, IX, 2.0), NotImplementedError, "cupy_multiply.at"),
    "add.at on bool": (lambda: xp.add.at(array(dtype=bool), IX, 1), TypeError, "bool"),
    "add.at on int16": (lambda: xp.add.at(array(dtype=np.int16), IX, 1), TypeError, "int16"),
    "maximum.at on float16": (lambda: xp.maximum.at(array(dtype=np.float16), IX, 1), TypeError, "float16"),
    "np.add.at": (lambda: np.add.at(X, IX, 1.0), TypeError, "at"),
    "np.add.reduce": (lambda: np.add.reduce(X), TypeError, "reduce"),
    "scipy.special of a device array": (lambda: scipy.special.erf(X), TypeError, "erf"),
    "flags.writeable": (lambda: X.flags.writeable, AttributeError, "writeable"),
    "setting flags": (lambda: setattr(X.flags, "writeable", False), AttributeError, "cannot be set"),
    "setflags": (lambda: X.setflags(write=False), AttributeError, "setflags"),
    "new attributes": (lambda: setattr(X, "name", "x"), AttributeError, "name"),
    # mixing with the host
    "x + numpy": (lambda: X + HOST, TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    "numpy + x": (lambda: HOST + X, TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    "x += numpy": (lambda: array().__iadd__(HOST), TypeError, "Unsupported type"),
    "x + 0-d numpy": (lambda: X + np.array(1.0), TypeError, "Unsupported type"),
    "x == 0-d numpy": (lambda: np.array(1.0) == X, TypeError, "Unsupported type"),
    "ufunc of a list": (lambda: xp.exp([1.0, 2.0]), TypeError, "Unsupported type <class 'list'>"),
    "ufunc of a host array": (lambda: xp.exp(HOST), TypeError, "Unsupported type"),
    "ufunc into a host array": (lambda: xp.exp(X, out=HOST.copy()), TypeError, "Output arguments"),
    "reduction into a host array": (lambda: xp.sum(X, out=np.zeros(())), TypeError, "Output arguments"),
    "x + list": (lambda: index(1, 2) + [1, 2], TypeError, "NotImplemented"),
    "x == None": (lambda: operator.eq(X, None), TypeError, "NotImplemented"),
    "function of a host array": (lambda: xp.sum(HOST), TypeError, "Unsupported type"),
    "function of a list": (lambda: xp.sum([1.0]), TypeError, "Unsupported type"),
    "matmul with a list": (lambda: xp.matmul(X, [[1.0]] * 5), TypeError, "Unsupported type"),
    "x @ numpy": (lambda: X @ HOST.T, TypeError, "Unsupported type"),
    "where of a host condition": (lambda: xp.where(HOST > 0, X, X), TypeError, "Unsupported type"),
    "where of a host value": (lambda: xp.where(X > 0, X, HOST), TypeError, "Unsupported type"),
    "concatenate of both": (lambda: xp.concatenate([X, HOST]), TypeError, "Only cupy arrays"),
    "asarray of a mixed list": (lambda: xp.asarray([X.sum(), 1.0]), TypeError, "Implicit conversion"),
    "np.asarray": (lambda: np.asarray(X), TypeError, "Implicit conversion to a NumPy array is not allowed"),
    "np.array": (lambda: np.array([X, X]), TypeError, "Implicit conversion"),
    "assigning a host array": (lambda: array().__setitem__(0, HOST[0]), TypeError, "numpy.ndarray"),
    "assigning a list": (lambda: array().__setitem__(0, [1.0] * 5), TypeError, "Unsupported type"),
    "np.from_dlpack": (lambda: np.from_dlpack(X), (BufferError, RuntimeError), "evice"),
    "xp.from_dlpack of host memory": (lambda: xp.from_dlpack(HOST), TypeError, "Unsupported type"),
    "object arrays": (lambda: xp.asarray([object()]), ValueError, "Unsupported dtype"),
    "text": (lambda: xp.asarray(["a"]), ValueError, "Unsupported dtype"),
    "long doubles": (lambda: xp.asarray(np.ones(2, np.longdouble)), ValueError, "Unsupported dtype"),
    # 0-d arrays are no numbers
    "range(array)": (lambda: range(xp.asarray(3)), TypeError, "integer"),
    "shape=(array,)": (lambda: xp.zeros((IX[1],)), TypeError, "integer"),
    "reshape(array)": (lambda: X.reshape(index(20)[0]), TypeError, "integer"),
    "axis=array": (lambda: xp.sum(X, axis=index(0)[0]), TypeError, "integer"),
    "slice with an array": (lambda: X[: IX[1]], TypeError, "indices must be integers"),
    "len of a 0-d array": (lambda: len(X.sum()), TypeError, "unsized"),
    "truth of many": (lambda: bool(X), ValueError, "ambiguous"),
    "hash": (lambda: hash(X), TypeError, "unhashable"),
    # undefined results
    "duplicate indices": (lambda: array().__setitem__(IX, 1.0), RuntimeError, "duplicate"),
    "duplicate after wrapping": (lambda: array().__setitem__(index(0, -4), 1.0), RuntimeError, "duplicate"),
    "duplicate pairs": (lambda: array().__setitem__((IX[1:], IX[1:]), 1.0), RuntimeError, "duplicate"),
    "duplicate list": (lambda: array().__setitem__([1, 1], 1.0), RuntimeError, "duplicate"),
    "write to a broadcast view": (
        lambda: xp.broadcast_to(array((1, 5)), (4, 5)).__setitem__(0, 1.0), RuntimeError, "race"
    ),
    "out= a broadcast view": (
        lambda: xp.exp(X, out=xp.broadcast_to(array((1, 5)), (4, 5))), RuntimeError, "race"
    ),
    "as_strided out of bounds": (
        lambda: xp.lib.stride_tricks.as_strided(X, (9, 9), (20, 4)), ValueError, "leaves the memory"
    ),
    "two masks": (lambda: X[index(1, 1, 1, 0) > 0, index(1, 1, 1, 1, 1) > 0], IndexError, "one boolean"),
    "float indices": (lambda: X[X[0]], IndexError, "integer or boolean"),
    "plain index out of range": (lambda: X[7], IndexError, "out of bounds"),
    # dtypes
    "float16 in linalg": (lambda: xp.linalg.inv(SQUARE), TypeError, "float16 is unsupported in linalg"),
    "erf of a complex": (lambda: special.erf(array(dtype=complex)), TypeError, "Wrong type"),
    "polygamma of a host integer": (lambda: special.polygamma(1, X), TypeError, "device arrays"),
    "another GPU": (lambda: xp.cuda.Device(1).__enter__(), RuntimeError, "invalid device ordinal"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_catches(name):
    program, error, message = FAULTS[name]
    with pytest.raises(error, match=message):
        program()


# Each waits for the device, or copies to the host: one synchronisation, and none in a capture.
SYNCS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "complex": lambda x: complex(x.sum()),
    "bool": lambda x: bool((x > 0).all()),
    "if": lambda x: 1 if (x > 0).all() else 0,
    "get": lambda x: x.get(),
    "asnumpy": lambda x: xp.asnumpy(x),
    "tolist": lambda x: x.tolist(),
    "tobytes": lambda x: x.tobytes(),
    "repr": lambda x: repr(x),
    "str": lambda x: str(x),
    "format": lambda x: f"{x.sum():.3f}",
    "allclose in an if": lambda x: bool(xp.allclose(x, x)),
    "mask": lambda x: x[x > 2],
    "nonzero": lambda x: xp.nonzero(x),
    "nonzero method": lambda x: x.nonzero(),
    "flatnonzero": lambda x: xp.flatnonzero(x),
    "argwhere": lambda x: xp.argwhere(x),
    "unique": lambda x: xp.unique(x),
    "1-argument where": lambda x: xp.where(x > 2),
    "repeat by a device array": lambda x: xp.repeat(x, index(1, 2, 3, 4), axis=0),
    "Device.synchronize": lambda x: xp.cuda.Device(0).synchronize(),
    "Stream.synchronize": lambda x: xp.cuda.get_current_stream().synchronize(),
    "deviceSynchronize": lambda x: xp.cuda.runtime.deviceSynchronize(),
}

# Each copies from the host.
COPIES = {
    "asarray of a list": lambda x: xp.asarray([1.0]),
    "asarray of a scalar": lambda x: xp.asarray(1.0),
    "asarray of a host array": lambda x: xp.asarray(HOST),
    "array of a host array": lambda x: xp.array(HOST),
    "set": lambda x: x.set(HOST),
    "index by a list": lambda x: x[[0, 1]],
    "index by a host array": lambda x: x[np.array([0, 1])],
    "take by a list": lambda x: xp.take(x, [0, 1]),
    "scalar assigned at indices": lambda x: x.__setitem__(index(0, 1), 1.0),
    "scalar added at indices": lambda x: xp.add.at(x, index(0, 1), 1.0),
}


@pytest.mark.parametrize("name", SYNCS)
def test_a_synchronisation_counts_once_and_is_refused_in_a_capture(name):
    x = array()
    strict.reset_counts()
    SYNCS[name](x)
    assert strict.counts().syncs == 1
    with no_sync(), pytest.raises(SyncError, match="wait for the device"):
        SYNCS[name](x)


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_from_the_host_counts_once_and_is_refused_in_a_capture(name):
    x = array()
    strict.reset_counts()
    COPIES[name](x)
    assert strict.counts().host_to_device == 1
    with no_sync(), pytest.raises(SyncError, match="from the host"):
        COPIES[name](x)


def test_a_capture_can_refuse_cublas_and_cusolver_as_cupy_does():
    with no_sync():
        X @ X.T
    for program in (lambda: X @ X.T, lambda: xp.einsum("ij,kj", X, X), lambda: xp.linalg.inv(X @ X.T)):
        with no_sync(libraries=False), pytest.raises(NotImplementedError, match="stream capture"):
            program()


def test_no_sync_is_undone_by_an_exception_and_nests():
    with no_sync():
        with pytest.raises(ZeroDivisionError), no_sync():
            raise ZeroDivisionError
        with pytest.raises(SyncError):
            X.get()
    X.get()


def test_an_ordinary_step_neither_synchronises_nor_copies():
    w, x = array((5, 3)), array()
    strict.reset_counts()
    with no_sync():
        y = xp.maximum(x @ w * 0.5 + 1, 0)
        y /= y.sum(axis=1, keepdims=True)
        w -= 0.1 * (x.T @ y)
        w[:, 0] = 0.0
        w[index(0, 1)] = w[index(1, 0)]
    assert strict.counts() == (12, 0, 0)  # 4, 2, 3, 1 and 2 launches; x.T and the slice are views


# Views: no kernel runs, and memory is shared.
VIEWS = {
    "slice": lambda x: x[1:3, ::2],
    "integer": lambda x: x[1],
    "element": lambda x: x[1, 2],
    "newaxis": lambda x: x[:, xp.newaxis],
    "reshape": lambda x: x.reshape(2, 10),
    "xp.reshape": lambda x: xp.reshape(x, -1),
    "ravel": lambda x: x.ravel(),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "transpose": lambda x: xp.transpose(x, (1, 0)),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "squeeze": lambda x: xp.squeeze(x[:, None]),
    "expand_dims": lambda x: xp.expand_dims(x, 0),
    "diagonal": lambda x: x.diagonal(),
    "view": lambda x: x.view(np.int32),
    "split": lambda x: xp.split(x, 2)[0],
    "broadcast to the same shape": lambda x: xp.broadcast_to(x, x.shape),
    "as_strided": lambda x: xp.lib.stride_tricks.as_strided(x, (2, 2), (20, 4)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory_launch_nothing_and_can_be_written(name):
    x = array()
    strict.reset_counts()
    view = VIEWS[name](x)
    assert strict.counts() == (0, 0, 0)
    assert view.base is x and not view.flags.owndata and x.flags.owndata
    view[...] = 99
    host = view.get()
    assert (host == 99).all()
    assert (x.view(host.dtype).get() == 99).sum() == host.size
    assert strict.counts().launches == 1


def test_identities_are_kept():
    x = array()
    assert x.real is x and x[0].T.base is x and +x is x
    assert x.astype(np.float32, copy=False) is x and x.astype(np.float32) is not x
    assert xp.asarray(x) is x and xp.array(x) is not x and xp.ascontiguousarray(x) is x
    assert xp.exp(x, out=x) is x and xp.sum(x, axis=0, out=x[0]) is not x
    row = x[0]
    assert xp.sum(x, axis=0, out=row) is row and xp.sum(x, 0, None, row) is row


def test_an_output_argument_counts_as_a_launch():
    x = array()
    strict.reset_counts()
    xp.sum(x, axis=0, out=x[0])
    xp.sum(x, 0, None, x[0])
    assert strict.counts().launches == 2


def test_in_place_operators_write_into_the_same_memory():
    x = array()
    alias, before = x, x.get()
    for operate, expected in (
        (lambda: x.__iadd__(1), before + 1),
        (lambda: x.__imul__(x), (before + 1) ** 2),
        (lambda: x.__isub__(np.float32(1)), (before + 1) ** 2 - 1),
        (lambda: x.__itruediv__(2.0), ((before + 1) ** 2 - 1) / 2),
        (lambda: x.__ipow__(2), (((before + 1) ** 2 - 1) / 2) ** 2),
    ):
        assert operate() is alias
        np.testing.assert_allclose(alias.get(), expected, rtol=1e-6)
    assert not hasattr(x, "__imatmul__")  # `x @= y` rebinds x, on CuPy too


@pytest.mark.parametrize("reflected", [False, True])
@pytest.mark.parametrize(
    "operation", ["+", "-", "*", "/", "//", "%", "**", "@", "<", "<=", ">", ">=", "==", "!="]
)
def test_operators_agree_with_numpy(operation, reflected):
    host = array((3, 3)).get()
    other = host.T.copy() if operation == "@" else 2.0
    left, right = (other, host) if reflected else (host, other)
    expected = eval(f"a {operation} b", {"a": left, "b": right})
    device = [from_numpy(v) if isinstance(v, np.ndarray) else v for v in (left, right)]
    result = eval(f"a {operation} b", {"a": device[0], "b": device[1]})
    assert isinstance(result, xp.ndarray) and result.dtype == expected.dtype
    np.testing.assert_array_equal(result.get(), expected)


def test_numpy_scalars_and_functions_dispatch():
    x = array()
    for result in (
        np.float32(2) * x,
        np.exp(x),
        np.concatenate([x, x]),
        np.linalg.norm(x),
        np.sum(x, axis=0),
    ):
        assert isinstance(result, xp.ndarray)
    out = xp.empty_like(x)
    assert np.exp(x, out=out) is out
    assert np.shape(x) == xp.shape(x) == (4, 5) and np.result_type(x, 1.0) == np.float32
    with pytest.raises(TypeError):
        np.geomspace(x, x, 3)


@pytest.mark.parametrize(
    "foreign", [Foreign(__array_ufunc__=None), Foreign(__array_priority__=101.0)], ids=["ufunc", "priority"]
)
def test_operators_defer_to_a_class_that_takes_over(foreign):
    assert X + foreign == "Foreign's"


def test_operators_do_not_defer_to_a_lower_priority():
    with pytest.raises(TypeError):
        X + Foreign(__array_priority__=100.0)


def test_reductions_and_full_indexing_give_0d_arrays():
    for result in (
        X.sum(), X.mean(), X.max(), X.argmax(), X.all(), X.var(), X.prod(), X.trace(), xp.count_nonzero(X),
        xp.linalg.norm(X), xp.dot(X[0], X[0]), xp.allclose(X, X), X[1, 2], X.sum() * 2, xp.median(X),
        X[index(0)[0], index(1)[0]], xp.take(X, 3), special.logsumexp(X), xp.sum(X, axis=(0, 1)),
    ):  # fmt: skip
        assert type(result) is xp.ndarray and result.shape == ()


def test_integer_array_indices_out_of_range_wrap_around():
    x = from_numpy(np.arange(3))
    assert x[index(1, 3, -4)].tolist() == [1, 0, 2]
    assert xp.take(x, index(5)).tolist() == [2]
    assert xp.take_along_axis(x, index(4, 0), 0).tolist() == [1, 0]
    x[index(4)] = index(7)
    assert x.tolist() == [0, 7, 2]
    with pytest.raises(IndexError, match="empty"):
        xp.take(xp.empty(0), index(0))


@pytest.mark.parametrize("key", [
    (0,), (slice(None), 1), (Ellipsis, 0), (None, 1), ([0, 2], slice(1, 3)), ([0, 2], [1, 3]), (0, [1, 3]),
    ([[0], [2]], [1, 3]), (slice(1, 3), None, [0, 1]), (np.array(2),), ([],), (Ellipsis, [1, 3]),
    (np.array([True, False, True, True]),),
])  # fmt: skip
def test_indexing_agrees_with_numpy_and_copies_if_advanced(key):
    host = HOST.copy()
    host_key = tuple(np.array(k, int) if isinstance(k, list) else k for k in key)
    device_key = tuple(from_numpy(k) if isinstance(k, np.ndarray) else k for k in host_key)
    x = from_numpy(host)
    taken = x[device_key]
    np.testing.assert_array_equal(taken.get(), host[host_key])
    assert (taken.base is None) == any(isinstance(k, np.ndarray) for k in host_key)
    x[device_key] = taken * 2
    host[host_key] = host[host_key] * 2
    np.testing.assert_array_equal(x.get(), host)


def test_scatter_accumulates_repeated_indices():
    x = from_numpy(np.zeros(3, np.float32))
    xp.add.at(x, index(0, 1, 1, 4), from_numpy(np.ones(4, np.float32)))
    assert x.tolist() == [1, 3, 0]
    x.scatter_add(index(0, 0), from_numpy(np.ones(2, np.float32)))
    xp.maximum.at(x, index(2, 2), from_numpy(np.array([5, 4], np.float32)))
    assert x.tolist() == [3, 3, 5]


def test_empty_memory_is_poisoned():
    assert np.isnan(xp.empty((2, 3), np.float32).get()).all()
    assert np.isnan(xp.empty_like(X).get()).all() and xp.empty_like(X).shape == X.shape
    assert (xp.empty(3, np.int32).get() == np.iinfo(np.int32).max).all()
    assert np.isnan(xp.ndarray((2,), np.complex64).get()).all()


def test_float64_creep_is_caught():
    creeping = [
        lambda: X / np.sqrt(64.0),
        lambda: X * np.float64(2),
        lambda: X.__imul__(np.float64(2)),  # computed in float64, then cast
        lambda: X + index(1, 2, 3, 4, 5),  # int64 and float32 make float64
        lambda: index(1, 2).mean(),
        lambda: xp.zeros(3),
        lambda: xp.linspace(0, 1, 3),
        lambda: X.astype(float),
        lambda: xp.where(X > 0, X, np.float64(0)),
        lambda: special.erf(array(dtype=np.float16)),  # CuPy's table: float16 gives float64
        lambda: special.polygamma(index(1)[0], X),
        lambda: X.sum(dtype=float),
    ]
    for program in creeping:
        with no_float64(), pytest.raises(strict.Float64Error, match="float64"):
            program()
        program()
    with no_float64():
        y = special.gammaln(X) + xp.exp(X) / math.sqrt(64) + 2 - np.float32(1)
        y = y @ y.T + xp.zeros((4, 4), xp.float32) * xp.asarray(1.0, dtype=np.float32)
        assert xp.where(y > 0, y, 0.0).mean().dtype == np.float32 and X.argmax().dtype == np.int64


def test_a_failed_factorisation_goes_on_as_nan():
    good, bad = np.eye(2, dtype=np.float32), -np.eye(2, dtype=np.float32)
    roots = xp.linalg.cholesky(from_numpy(np.stack([good, bad]))).get()
    assert (roots[0] == good).all() and np.isnan(roots[1]).all()
    singular = from_numpy(np.zeros((2, 2), np.float32))
    assert np.isnan(xp.linalg.inv(singular).get()).all()
    assert np.isnan(xp.linalg.solve(singular, from_numpy(np.ones(2, np.float32))).get()).all()
    with pytest.raises(np.linalg.LinAlgError, match="square"):
        xp.linalg.cholesky(X)


def test_linalg_gives_plain_tuples_of_arrays():
    a = array((3, 3)) + array((3, 3)).T
    for result in (xp.linalg.eigh(a), xp.linalg.svd(a), xp.linalg.slogdet(a), xp.linalg.qr(a)):
        assert type(result) is tuple and all(type(part) is xp.ndarray for part in result)


def test_there_are_no_floating_point_warnings(recwarn):
    zero = from_numpy(np.zeros(2, np.float32))
    assert np.isnan((zero / zero).get()).all() and np.isinf(xp.log(zero).get()).all()
    assert not recwarn.list


def test_get_fills_a_given_array_and_checks_it():
    out = np.empty((4, 5), np.float32)
    assert X.get(out=out) is out and (out == X.get()).all()
    for wrong, error in (
        (np.empty((4, 5)), TypeError),
        (np.empty(3, np.float32), ValueError),
        ([], TypeError),
    ):
        with pytest.raises(error):
            X.get(out=wrong)


def test_device_and_pointers():
    x = array()
    assert x.device.id == 0 and x.device == xp.cuda.Device(0)
    assert xp.cuda.is_available() and xp.cuda.runtime.getDeviceCount() == 1 and xp.cuda.get_device_id() == 0
    assert isinstance(x.data.ptr, int) and x[1:].data.ptr == x.data.ptr + x.strides[0]
    assert x.__dlpack_device__() == (2, 0) and x.__cuda_array_interface__["data"][0] == x.data.ptr
    assert xp.from_dlpack(x).data.ptr == x.data.ptr
    with xp.cuda.Device(0), xp.cuda.Stream(non_blocking=True):
        assert xp.get_array_module(x) is xp and xp.get_array_module(HOST) is np


def test_every_offered_function_is_in_the_snapshot_and_in_numpy():
    own = {
        "ndarray",
        "linalg",
        "fft",
        "lib",
        "cuda",
        "asnumpy",
        "get_array_module",
        "is_available",
        "from_dlpack",
    }
    for name in vars(xp):
        assert name.startswith("_") or name in own or (name in strict.NAMES and hasattr(np, name)), name


def test_the_examples_in_the_documentation_run():
    assert doctest.testmod(strict) == (0, 3)


def test_a_copy_is_a_copy():
    x = array()
    for other in (x.copy(), copy.copy(x), copy.deepcopy(x), xp.copy(x), +x + 0):
        assert not np.shares_memory(other._a, x._a) and (other == x).all()


# Ordinary functions, each with the arguments NumPy gets too: same values, same dtype.
LEGAL = [
    ("sum", (1,), {}), ("mean", (), {"axis": 0, "keepdims": True}), ("var", (), {"axis": 1, "ddof": 1}),
    ("std", (), {}), ("max", (0,), {}), ("argmin", (1,), {}), ("cumsum", (1,), {}), ("prod", (0,), {}),
    ("clip", (0.0, 2.0), {}), ("clip", (None, 2.0), {}), ("where", (), {}), ("exp", (), {}), ("sign", (), {}),
    ("tile", (2,), {}), ("roll", (1, 0), {}), ("flip", (1,), {}), ("pad", (1,), {}), ("tril", (), {}),
    ("pad", (((1, 0), (0, 2)),), {"mode": "constant", "constant_values": 3.0}),
    ("sort", (0,), {}), ("argsort", (1,), {}), ("reshape", ((2, 10),), {}), ("moveaxis", (0, 1), {}),
    ("repeat", (2, 0), {}), ("trace", (), {}), ("diff", (), {}), ("round", (1,), {}), ("square", (), {}),
    ("zeros_like", (), {}), ("full_like", (3.0,), {}), ("isfinite", (), {}), ("quantile", (0.25,), {}),
    ("stack", (), {}), ("outer", (), {}), ("tensordot", (), {}), ("cov", (), {}),
    ("floor_divide", (2.0,), {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "args", "kwargs"), LEGAL, ids=[f"{i}-{row[0]}" for i, row in enumerate(LEGAL)]
)
def test_legal_functions_agree_with_numpy(name, args, kwargs):
    def run(module, a):
        first = {
            "stack": ([a, a],), "where": (a > 0, a, 0.0), "outer": (a[0], a[1]), "tensordot": (a, a.T, 1),
        }.get(name, (a,))  # fmt: skip
        return getattr(module, name)(*first, *args, **kwargs)

    expected, found = np.asarray(run(np, HOST)), run(xp, from_numpy(HOST))
    assert type(found) is xp.ndarray and found.dtype == expected.dtype
    np.testing.assert_array_equal(found.get(), expected)


def test_empty_arrays_can_be_written():
    x = from_numpy(np.zeros((0, 2), np.float32))
    assert xp.exp(x, out=x) is x and xp.matmul(x, xp.zeros((2, 2), np.float32), out=x) is x
    x[...] = 1.0
    x[index(0)[:0]] = x
    assert x.sum().item() == 0


def test_creation_and_joining():
    for module in (np, xp):
        made = [module.zeros((2, 3), np.float32), module.ones(3), module.full((2,), 7),
                module.arange(3, dtype=np.int32),
                module.eye(2, 3), module.linspace(0, 1, 5), module.tri(3)]  # fmt: skip
        if module is np:
            expected = made
    for want, got in zip(expected, made, strict=False):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.get(), want)
    assert xp.asarray([X[0], X[1]]).shape == (2, 5) and xp.asarray([[1, 2], [3, 4]]).tolist() == [
        [1, 2],
        [3, 4],
    ]
    assert xp.einsum("ij,kj->ik", X, X).shape == (4, 4) and xp.fft.rfft(X).dtype == np.complex64
    assert xp.lib.stride_tricks.sliding_window_view(X, (2, 2)).shape == (3, 4, 2, 2)
    assert [a.shape for a in xp.meshgrid(X[0], X[:, 0], indexing="ij")] == [(5, 4), (5, 4)]


def test_special_functions_agree_with_scipy():
    host = np.linspace(0.1, 3, 7, dtype=np.float32)
    for name in ("erf", "erfc", "gammaln", "digamma", "expit", "log_expit", "ndtr", "entr", "i0e"):
        found = getattr(special, name)(from_numpy(host))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.get(), getattr(scipy.special, name)(host))
    assert special.softmax(from_numpy(host), axis=0).dtype == np.float32


def test_the_dtype_tables_agree_with_numpy():
    """Where CuPy and NumPy promote alike, as they do for what an engine uses, results have NumPy's dtypes."""
    kinds = [np.bool_, np.int32, np.int64, np.float16, np.float32, np.float64]
    for name in ("add", "multiply", "true_divide", "maximum", "less", "arctan2"):
        for a in kinds:
            for b in [*kinds, 2, 2.0]:
                right = np.ones(2, b) if isinstance(b, type) else b
                expected = getattr(np, name)(np.ones(2, a), right).dtype
                found = getattr(xp, name)(
                    from_numpy(np.ones(2, a)), from_numpy(right) if isinstance(b, type) else b
                )
                assert found.dtype == expected, (name, a, b)

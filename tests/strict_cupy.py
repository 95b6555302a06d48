r"""A stand-in for CuPy 14 that holds NumPy arrays and is as strict as a GPU.

There is no GPU in CI, yet code written over `xp` should run on one. So the suite runs a second time with `xp`
from this module: everything CuPy refuses is refused, and what it allows computes what NumPy computes. The
faults that dominate in practice are caught: a name or keyword that CuPy lacks, a NumPy array mixed in, a
conversion or copy nobody asked for, a hidden synchronisation, float64 where float32 was meant.

>>> x = from_numpy(np.ones(3, np.float32))
>>> float((x + 1).sum()), counts().syncs > 0
(6.0, True)
>>> x + np.ones(3, np.float32)
Traceback (most recent call last):
TypeError: Unsupported type <class 'numpy.ndarray'>

What exists is read from `cupy_api.json`, a snapshot of CuPy's names, parameters and dtype tables
(`snapshot_cupy.py`). `xp` offers the names that CuPy *and* NumPy have, plus the few that only CuPy has and a
backend needs (`asnumpy`, `get_array_module`, `cuda`). `xp.ElementwiseKernel`, `xp.RawKernel` and `xp.random`
are absent: code must use its NumPy reference there.

Stricter than CuPy, on purpose
------------------------------
* Host arrays, lists and scalars are refused by *every* function but the constructors; CuPy lets some pass.
* Duplicate integer indices in an assignment raise, of a scalar too; CuPy stores any one of the values.
* Writing through a view that repeats elements (`broadcast_to`) raises; CuPy lets the threads race.
* `xp.empty` is filled with NaN or the largest integer; CuPy leaves what lay there.
* `ufunc.at` knows add, maximum and minimum only; CuPy also has subtract and bit operations (32-bit integers).

The same as CuPy, unlike NumPy
------------------------------
* Out-of-range entries of an integer *array* index wrap around (a plain integer out of range raises).
* Reductions and full indexing give 0-d arrays; 0-d arrays are not Python integers (no `__index__`).
* There are no floating point warnings; a failed factorisation gives NaN, not an exception.

Not modelled: rounding and the order of atomic sums, streams, several devices, memory limits, `.flat`,
`xp.random`, `mgrid`/`r_`/`c_`, files, bfloat16. One call counts as one launch, which is a lower bound."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import types
from typing import NamedTuple

import numpy as np
import scipy.special

_SNAPSHOT = json.loads(pathlib.Path(__file__).with_name("cupy_api.json").read_text(encoding="utf-8"))
NAMES = _SNAPSHOT["names"]
VERSION = _SNAPSHOT["version"]

_SCALARS = (bool, int, float, complex, np.bool_, np.number)
_IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)


# ----------------------------------------------------------------------------------------------------------
# Accounting: launches, synchronisations and copies from the host
# ----------------------------------------------------------------------------------------------------------


class SyncError(RuntimeError):
    """The host and the device would have to meet where `no_sync` forbids it."""


class Float64Error(TypeError):
    """A kernel produced float64 where `no_float64` forbids it."""


class Counts(NamedTuple):
    """How often kernels were launched, the host waited, and data came from the host."""

    launches: int
    syncs: int
    host_to_device: int


class _State:
    """The counters, and what is forbidden at present."""

    launches = syncs = host_to_device = 0
    sync_allowed = libraries_allowed = float64_allowed = True


def counts() -> Counts:
    """The counts since the last `reset_counts`."""
    return Counts(_State.launches, _State.syncs, _State.host_to_device)


def reset_counts() -> None:
    """Start counting from zero."""
    _State.launches = _State.syncs = _State.host_to_device = 0


@contextlib.contextmanager
def _setting(**values):
    before = {name: getattr(_State, name) for name in values}
    for name, value in values.items():
        setattr(_State, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_State, name, value)


def no_sync(*, libraries=True):
    """Raise `SyncError` at each copy to or from the host and each synchronisation, as a stream capture would.

    `libraries=False` also refuses what calls cuBLAS or cuSOLVER through CuPy (`matmul`, `einsum`, `linalg`),
    which CuPy cannot capture. It is allowed by default, because a backend brings its own product there.
    """
    return _setting(sync_allowed=False, libraries_allowed=libraries)


def no_float64():
    """Raise `Float64Error` when a kernel produces float64 or complex128, if only to be cast into `out`."""
    return _setting(float64_allowed=False)


def _sync(what):
    _State.syncs += 1
    if not _State.sync_allowed:
        raise SyncError(f"{what} makes the host wait for the device, which a stream capture does not allow.")


def _host_to_device(what):
    _State.host_to_device += 1
    if not _State.sync_allowed:
        raise SyncError(f"{what} copies from the host, which a stream capture does not allow.")


def _library(what):
    if not _State.libraries_allowed:
        raise NotImplementedError(
            f"{what}: calling cuBLAS API during stream capture is currently unsupported"
        )


def _launch(what, *dtypes):
    _State.launches += 1
    if not _State.float64_allowed and any(dtype in (np.float64, np.complex128) for dtype in dtypes):
        raise Float64Error(
            f"{what} produced float64; look for a NumPy scalar, a missing dtype= or an integer mean."
        )


# ----------------------------------------------------------------------------------------------------------
# From and to the NumPy arrays inside
# ----------------------------------------------------------------------------------------------------------


def _make(raw, owner=None):
    """Dress a NumPy array; `owner` is the stand-in array whose memory it shares."""
    if raw.dtype.kind not in "biufc" or raw.dtype.itemsize > (16 if raw.dtype.kind == "c" else 8):
        raise ValueError(f"Unsupported dtype {raw.dtype}")
    array = object.__new__(ndarray)
    array._a = raw
    array.base = None if owner is None else owner if owner.base is None else owner.base
    return array


def _wrap(result, sources=()):
    """Dress a result: arrays, scalars (as 0-d arrays), and tuples or lists of them.

    An array that is one of the `sources` comes back as the same object; a view of one gets it as its base.
    """
    if isinstance(result, np.ndarray):
        for source in sources:
            if source._a is result:
                return source
        owner = next((s for s in sources if np.may_share_memory(result, s._a)), None)
        return _make(result, owner)
    if isinstance(result, _SCALARS):
        return _make(np.array(result))
    if isinstance(result, (list, tuple)):
        parts = [_wrap(part, sources) for part in result]
        return parts if isinstance(result, list) else tuple(parts)
    return result


def _unwrap(value, sources):
    """Undress an argument, noting its arrays in `sources`; host arrays are refused."""
    if isinstance(value, ndarray):
        sources.append(value)
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}")
    if isinstance(value, (list, tuple)):
        return type(value)([_unwrap(part, sources) for part in value])
    return value


def _writable(array):
    """Undress the target of a write, refusing one whose elements lie on top of each other."""
    if not isinstance(array, ndarray):
        raise TypeError(f"Output arguments type must be ndarray, not {type(array)}")
    if array.size and any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape, strict=False)):
        raise RuntimeError("write through a view that repeats elements (broadcast_to): a race on a GPU.")
    return array._a


def from_numpy(a):
    """A stand-in array with a copy of `a`; for tests, so it does not count as a copy from the host."""
    return _make(np.array(a))


def _poisoned(shape, dtype=float, order="C"):
    """Memory with nothing useful in it: NaN, the largest integer, or True."""
    raw = np.empty(shape, dtype, order or "C")
    raw.fill({"f": np.nan, "c": complex(np.nan, np.nan), "b": True}.get(raw.dtype.kind, 0))
    if raw.dtype.kind in "iu":
        raw.fill(np.iinfo(raw.dtype).max)
    return raw


# ----------------------------------------------------------------------------------------------------------
# Indexing
# ----------------------------------------------------------------------------------------------------------


class _Key(NamedTuple):
    """An index ready for NumPy, with the integer arrays in it and the lengths of the axes they index."""

    raw: tuple
    integers: list
    lengths: list
    advanced: bool


def _index_array(part):
    """The index array in one entry of a key as a NumPy array, or None for a slice, an integer, ... ."""
    if isinstance(part, ndarray):
        found = part._a
    elif isinstance(part, (list, tuple, np.ndarray, bool, np.bool_)):
        _host_to_device("indexing with a host array, list or bool")
        found = np.asarray(np.empty(0, int) if isinstance(part, (list, tuple)) and not len(part) else part)
        if found.dtype == object:
            raise TypeError(_IMPLICIT)
    else:
        return None
    if found.dtype.kind not in "biu":
        raise IndexError(
            f"arrays used as indices must be of integer or boolean type. (actual: {found.dtype.type})"
        )
    if found.dtype.kind == "b":
        _sync("indexing with a boolean mask")
    return found


def _wrapped(index, length):
    """Integer indices wrapped around an axis, as CuPy's kernels do."""
    if length == 0 and index.size:
        raise IndexError("cannot do a non-empty take from an empty axes.")
    return np.mod(index, length) if length else index


def _key(shape, key):
    """Prepare an index: undress arrays, wrap integers, add an ellipsis so that the result is an array."""
    parts = list(key) if isinstance(key, tuple) else [key]
    arrays = [_index_array(part) for part in parts]
    if sum(a is not None and a.dtype.kind == "b" for a in arrays) > 1:
        raise IndexError("CuPy does not support more than one boolean array in an index.")
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
        arrays.append(None)
    used = [
        0 if part is None or part is Ellipsis else a.ndim if a is not None and a.dtype.kind == "b" else 1
        for part, a in zip(parts, arrays, strict=False)
    ]
    raw, integers, lengths, axis = [], [], [], 0
    for part, a, width in zip(parts, arrays, used, strict=False):
        if a is None or a.dtype.kind == "b" or axis >= len(shape):
            raw.append(part if a is None else a)
        else:
            raw.append(_wrapped(a, shape[axis]))
            integers.append(raw[-1])
            lengths.append(shape[axis])
        axis += len(shape) - sum(used) if part is Ellipsis else width
    return _Key(tuple(raw), integers, lengths, any(a is not None for a in arrays))


def _check_unique(key):
    """Refuse two integer-array indices that name one element."""
    masked = any(isinstance(part, np.ndarray) and part.dtype.kind == "b" for part in key.raw)
    if key.integers and not masked:
        indices = tuple(index.astype(np.intp) for index in np.broadcast_arrays(*key.integers))
        flat = np.ravel_multi_index(indices, key.lengths) if min(key.lengths) else []
        if np.unique(flat).size != np.size(flat):
            raise RuntimeError(
                "duplicate indices in __setitem__: CuPy stores any one of the values (use add.at)."
            )


def _assigned(value, key, what):
    """Undress the value of an indexed assignment."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError(f"{what} of a numpy.ndarray: CuPy does not copy it; use xp.asarray or .set().")
    if not isinstance(value, _SCALARS):
        raise TypeError(f"Unsupported type {type(value)}")
    if key.advanced:
        _host_to_device(f"{what} of a scalar at an index array")
    return value


# ----------------------------------------------------------------------------------------------------------
# The array
# ----------------------------------------------------------------------------------------------------------


class _Device:
    """`cupy.cuda.Device`: there is one, number 0."""

    def __init__(self, device=0):
        self.id = int(device)

    def __enter__(self):
        self.use()
        return self

    def __exit__(self, *exception):
        return None

    def __eq__(self, other):
        return isinstance(other, _Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def use(self):
        """Make it the current device."""
        if self.id != 0:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def synchronize(self):
        """Wait for the device."""
        _sync("Device.synchronize")


class _Flags:
    """`cupy.ndarray.flags`: three read-only facts, and no `writeable`."""

    __slots__ = ("c_contiguous", "f_contiguous", "owndata")

    def __init__(self, c_contiguous, f_contiguous, owndata):
        for name, value in zip(self.__slots__, (c_contiguous, f_contiguous, owndata), strict=False):
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        raise AttributeError(f"cupy.ndarray.flags cannot be set ({name})")

    fnc = property(lambda self: self.f_contiguous and not self.c_contiguous)
    forc = property(lambda self: self.f_contiguous or self.c_contiguous)

    def __getitem__(self, name):
        if name in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            return getattr(self, name.lower())
        raise KeyError(f"{name} is not defined for cupy.ndarray.flags")


def _defers(other):
    """Whether a binary operator leaves the work to its right operand (CuPy's `_should_use_rop`)."""
    try:
        return other.__array_ufunc__ is None
    except AttributeError:
        return getattr(other, "__array_priority__", 0) > ndarray.__array_priority__


class ndarray:
    """CuPy's array, on the host: it *holds* a NumPy array and is none.

    Its methods are those that both `cupy.ndarray` and `numpy.ndarray` have, added below the class from the
    snapshot, and CuPy's own (`get`, `set`, `scatter_add`, ...).
    """

    __slots__ = ("__weakref__", "_a", "base")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("strict_cupy: ndarray(memptr=, strides=) is not modelled")
        self._a, self.base = _poisoned(shape, dtype, order), None

    # Shape and memory

    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    strides = property(lambda self: self._a.strides)
    T = property(lambda self: self if self.ndim < 2 else _make(self._a.T, self))
    mT = property(lambda self: _make(self._a.mT, self))
    device = property(lambda self: _Device(0))
    flags = property(
        lambda self: _Flags(self._a.flags.c_contiguous, self._a.flags.f_contiguous, self.base is None)
    )

    @property
    def shape(self):
        """The lengths of the axes; setting it reshapes in place, if no copy is needed."""
        return self._a.shape

    @shape.setter
    def shape(self, shape):
        self._a = self._a.reshape(shape, copy=False)

    @property
    def data(self):
        """The memory pointer, as far as a test can want one."""
        address = self._a.__array_interface__["data"][0]
        return types.SimpleNamespace(ptr=address, device_id=0, device=_Device(0))

    @property
    def real(self):
        """The real part: a view, or the array itself if it is real."""
        return _wrap(self._a.real, [self])

    @real.setter
    def real(self, value):
        self.real[...] = value

    @property
    def imag(self):
        """The imaginary part: a view of a complex array, else zeros."""
        return _wrap(self._a.imag if self.dtype.kind == "c" else np.zeros_like(self._a), [self])

    @imag.setter
    def imag(self, value):
        if self.dtype.kind != "c":
            raise TypeError("cupy.ndarray does not have imaginary part to set")
        self.imag[...] = value

    # Conversion: explicit ones synchronise, implicit ones are refused

    def __array__(self, dtype=None, copy=None):
        raise TypeError(_IMPLICIT)

    def get(self, stream=None, order="C", out=None, blocking=True):
        """Copy to the host."""
        _sync("get")
        if out is None:
            return np.array(self._a, order=order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        out[...] = self._a
        return out

    def set(self, arr, stream=None):
        """Copy from the host into this array."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._a.flags.c_contiguous or self._a.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        _host_to_device("set")
        self._a[...] = arr

    def item(self):
        """The only element, as a Python scalar (CuPy takes no index here)."""
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        _sync("item")
        return self._a.item()

    def tolist(self):
        """A nested list on the host."""
        _sync("tolist")
        return self._a.tolist()

    def tobytes(self, order="C"):
        """The bytes on the host."""
        _sync("tobytes")
        return self._a.tobytes(order)

    def __bool__(self):
        if self.size != 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        _sync("bool")
        return bool(self._a)

    def __float__(self):
        _sync("float")
        return float(self._a)

    def __int__(self):
        _sync("int")
        return int(self._a)

    def __complex__(self):
        _sync("complex")
        return complex(self._a)

    def __repr__(self):
        _sync("repr")
        return repr(self._a)

    def __str__(self):
        _sync("str")
        return str(self._a)

    def __format__(self, spec):
        _sync("format")
        return format(self._a[()], spec)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return xp.array, (self.get(),)

    @property
    def __cuda_array_interface__(self):
        strides = None if self._a.flags.c_contiguous else self.strides
        pointer = (self.data.ptr if self.size else 0, False)
        described = {"shape": self.shape, "typestr": self.dtype.str, "descr": self.dtype.descr}
        return {**described, "version": 3, "stream": 1, "strides": strides, "data": pointer}

    def __dlpack_device__(self):
        return (2, 0)  # kDLCUDA, device 0

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        raise BufferError("strict_cupy: the array is on a CUDA device; only xp.from_dlpack can take it.")

    # Dispatch from NumPy's functions, and operators

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        involved = (*inputs, kwargs["out"]) if "out" in kwargs else inputs
        if method != "__call__" or not all(isinstance(x, (ndarray, np.ndarray, *_SCALARS)) for x in involved):
            return NotImplemented
        ours = vars(xp).get(ufunc.__name__)
        return NotImplemented if ours is None else ours(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        place = xp
        for name in (*function.__module__.split(".")[1:], function.__name__):
            place = getattr(place, name, None)
        if place is None or place is function or not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return place(*args, **kwargs)

    def __pos__(self):
        return self

    def __neg__(self):
        return xp.negative(self)

    def __abs__(self):
        return xp.absolute(self)

    def __invert__(self):
        return xp.invert(self)

    # Containers

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._a)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        key = _key(self.shape, key)
        view = self._a[key.raw]
        if not key.advanced:
            return _make(view, self)
        _launch("getitem", self.dtype)
        return _make(np.array(view))

    def __setitem__(self, key, value):
        key = _key(self.shape, key)
        value = _assigned(value, key, "assignment")
        _check_unique(key)
        raw = _writable(self)
        _launch("setitem")
        with np.errstate(all="ignore"):
            raw[key.raw] = value

    def _scatter(self, ufunc, key, value):
        """`ufunc.at`: combine values into elements, repeated indices included."""
        allowed = "iIlLqQfd" + ("e" if ufunc is np.add else "")
        if self.dtype.char not in allowed:
            raise TypeError(f"scatter by {ufunc.__name__} does not support {self.dtype}")
        key = _key(self.shape, key)
        value = _assigned(value, key, f"{ufunc.__name__}.at")
        _launch(f"{ufunc.__name__}.at", self.dtype)
        ufunc.at(_writable(self), key.raw, np.asarray(value).astype(self.dtype))

    def scatter_add(self, slices, value):
        """`add.at`."""
        self._scatter(np.add, slices, value)

    def scatter_max(self, slices, value):
        """`maximum.at`."""
        self._scatter(np.maximum, slices, value)

    def scatter_min(self, slices, value):
        """`minimum.at`."""
        self._scatter(np.minimum, slices, value)

    # Methods whose CuPy form differs from NumPy's

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        """Cast; `casting` and `subok` exist in the signature only."""
        if casting is not None or subok is not None:
            raise TypeError(f"{'casting' if casting is not None else 'subok'} is not supported yet")
        raw = self._a.astype(dtype, order=order or "K", copy=False)
        if raw is self._a and not copy:
            return self
        _launch("astype", raw.dtype)
        with np.errstate(all="ignore"):
            return _make(self._a.astype(dtype, order=order or "K"))

    def fill(self, value):
        """Set every element to a scalar."""
        if not isinstance(value, _SCALARS):
            value = self._scalar(value)
        _launch("fill")
        _writable(self).fill(value)

    def _scalar(self, value):
        """A 0-d stand-in array as the value of `fill`."""
        if not isinstance(value, ndarray) or value.ndim:
            raise TypeError(f"Unsupported type {type(value)}")
        return value._a

    def sort(self, axis=-1, kind=None):
        """Sort in place; always stable."""
        _check_sort(kind)
        _launch("sort")
        _writable(self).sort(axis, kind="stable")

    def argsort(self, axis=-1, kind=None):
        """The indices that sort; always stable."""
        return xp.argsort(self, axis, kind)

    def take(self, indices, axis=None, out=None):
        """`xp.take`."""
        return xp.take(self, indices, axis, out)

    def repeat(self, repeats, axis=None):
        """`xp.repeat`."""
        return xp.repeat(self, repeats, axis)

    def diagonal(self, offset=0, axis1=0, axis2=1):
        """`xp.diagonal`: a view, writable as all views of CuPy."""
        return xp.diagonal(self, offset, axis1, axis2)

    def dot(self, b, out=None):
        """`xp.dot`."""
        return xp.dot(self, b) if out is None else xp.dot(self, b, out)


def _operator(name, reflected):
    """A binary operator: CuPy's kernel for CuPy's arrays, NumPy's dispatch for the rest, or deference."""
    numpy_function = getattr(np, name)

    def operate(self, other):
        if isinstance(other, ndarray):
            return getattr(xp, name)(other, self) if reflected else getattr(xp, name)(self, other)
        if _defers(other):
            return NotImplemented
        if name == "matmul":
            return xp.matmul(other, self) if reflected else xp.matmul(self, other)
        return numpy_function(other, self) if reflected else numpy_function(self, other)

    return operate


def _in_place(name):
    """An in-place operator: one kernel with `out=self`."""

    def operate(self, other):
        return getattr(xp, name)(self, other, out=self)

    return operate


_ARITHMETIC = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "lshift": "left_shift", "rshift": "right_shift", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "divmod": "divmod", "matmul": "matmul",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
    "ne": "not_equal",
}  # fmt: skip

for _short, _long in _ARITHMETIC.items():
    setattr(ndarray, f"__{_short}__", _operator(_long, reflected=False))
    setattr(ndarray, f"__r{_short}__", _operator(_long, reflected=True))
    if _short not in ("divmod", "matmul"):  # CuPy has no __imatmul__: `x @= y` rebinds x
        setattr(ndarray, f"__i{_short}__", _in_place(_long))
for _short, _long in _COMPARISONS.items():
    setattr(ndarray, f"__{_short}__", _operator(_long, reflected=False))


# ----------------------------------------------------------------------------------------------------------
# Ufuncs
# ----------------------------------------------------------------------------------------------------------


def _kind_score(dtype):
    """0 for booleans, 1 for integers, 2 for floating point and complex numbers."""
    return 0 if dtype.kind == "b" else 1 if dtype.kind in "iu" else 2


def _fits(operand, wanted, weak):
    """Whether an operand, a dtype or the type of a Python scalar, can enter a loop as `wanted`."""
    if np.can_cast(np.dtype(operand), wanted):
        return True
    return weak and not isinstance(operand, np.dtype) and np.result_type(operand(0), wanted) == wanted


@functools.cache
def _loop_dtypes(table, operands):
    """The output dtypes of the first loop in CuPy's table that takes the operands, or None.

    `operands` holds dtypes, and `int`, `float` or `complex` for Python scalars, which are weak unless their
    kind is higher than every array's.
    """
    strong = [_kind_score(op) for op in operands if isinstance(op, np.dtype)]
    scalars = [_kind_score(np.dtype(op)) for op in operands if not isinstance(op, np.dtype)]
    weak = bool(strong and scalars) and max(strong) >= max(scalars)
    for loop in table:
        inputs, outputs = loop.split("->")
        if all(_fits(op, np.dtype(char), weak) for op, char in zip(operands, inputs, strict=False)):
            return tuple(np.dtype(char) for char in outputs)
    return None


def _operand(value):
    """Undress an input of a ufunc; returns the value, and its dtype or weak Python type."""
    if isinstance(value, ndarray):
        return value._a, value._a.dtype
    if isinstance(value, (np.bool_, np.number)):
        return value, value.dtype
    if type(value) in (int, float, complex):
        return value, type(value)
    if type(value) is bool:
        return value, np.dtype(bool)
    raise TypeError(f"Unsupported type {type(value)}")


class _Ufunc:
    """A ufunc with CuPy's operands, keywords, dtype table and methods."""

    def __init__(self, name, numpy_function, table):
        self.name, self.__name__ = f"cupy_{name}", name
        self._function, self._table = numpy_function, tuple(table)
        inputs, outputs = table[0].split("->")
        self.nin, self.nout, self.nargs = len(inputs), len(outputs), len(inputs + outputs)
        self.types = list(table)

    def __repr__(self):
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **kwargs):
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. "
                f"It must be either {self.nin} or {self.nargs} (with outputs), but given {len(args)}."
            )
        if len(args) > self.nin and out is not None:
            raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
        raws, operands = zip(*map(_operand, args[: self.nin]), strict=False)
        given = args[self.nin :] or (out if isinstance(out, tuple) else () if out is None else (out,))
        targets = tuple(None if o is None else _writable(o) for o in given)
        dtypes = self._outputs(operands, dtype)
        keywords = {} if dtype is None else {"dtype": dtype}
        if targets:
            keywords.update(out=targets if len(targets) > 1 else targets[0], casting=casting)
        _launch(self.__name__, *dtypes)
        with np.errstate(all="ignore"):
            results = self._function(*raws, **keywords)
        results = results if self.nout > 1 else (results,)
        dressed = [
            given[i] if i < len(given) and given[i] is not None
            else _make(np.asarray(result).astype(dtypes[i], copy=False))
            for i, result in enumerate(results)
        ]  # fmt: skip
        return tuple(dressed) if self.nout > 1 else dressed[0]

    def _outputs(self, operands, dtype):
        """The dtypes of the loop that CuPy would run."""
        if dtype is not None:
            wanted = np.dtype(dtype)
            found = next(
                (loop for loop in self._table if {np.dtype(c) for c in loop.split("->")[1]} == {wanted}), None
            )
            found = None if found is None else (wanted,) * self.nout
        else:
            found = _loop_dtypes(self._table, operands)
        if found is None:
            raise TypeError(f"Wrong type ({dtype or operands}) of arguments for {self.name}")
        return found

    def _only(self, method, *allowed):
        if self.__name__ not in allowed:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        """Only add and multiply reduce; the rest have functions (`xp.max`)."""
        self._only("reduce", "add", "multiply")
        reduction = xp.sum if self.__name__ == "add" else xp.prod
        return reduction(array, axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        """Only add and multiply accumulate."""
        self._only("accumulate", "add", "multiply")
        return (xp.cumsum if self.__name__ == "add" else xp.cumprod)(array, axis, dtype, out)

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        """Only add."""
        self._only("reduceat", "add")
        sources = []
        raw = np.add.reduceat(_unwrap(array, sources), _unwrap(indices, sources), axis, dtype)
        _launch("add.reduceat", raw.dtype)
        if out is None:
            return _make(raw)
        _writable(out)[...] = raw
        return out

    def at(self, a, indices, b=None):
        """Only add, maximum and minimum, each for the dtypes that CUDA's atomics know."""
        self._only("at", "add", "maximum", "minimum")
        a._scatter(self._function, indices, b)

    def outer(self, A, B, **kwargs):
        """Apply to all pairs."""
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)


# ----------------------------------------------------------------------------------------------------------
# Functions
# ----------------------------------------------------------------------------------------------------------


def _words(text):
    return frozenset(text.split())


# Answered on the host from shapes and dtypes: no launch, and the result is no array.
_HOST = _words(
    "broadcast_shapes can_cast common_type iscomplexobj isdtype isfortran isrealobj isscalar issubdtype "
    "iterable may_share_memory min_scalar_type mintypecode ndim promote_types result_type shape "
    "shares_memory size typename base_repr binary_repr"
)
# The size of the result, or a check of the data, has to reach the host.
_SYNCHRONISING = _words(
    "nonzero flatnonzero argwhere unique unique_all unique_counts unique_inverse unique_values union1d "
    "intersect1d setdiff1d setxor1d in1d extract compress bincount trim_zeros choose average array_repr "
    "array_str array2string ndarray.nonzero ndarray.compress ndarray.choose"
)
# What runs in cuBLAS or cuSOLVER through CuPy, which no capture allows.
_PRODUCTS = _words("dot vdot inner matmul tensordot einsum linalg.matmul cov corrcoef")
_SOLVERS = _words(
    "cholesky qr svd eig eigh eigvals eigvalsh inv pinv solve lstsq det slogdet cond matrix_rank "
    "matrix_power tensorsolve tensorinv"
)
# Parameters that must be a device array, that may hold several, and that must be plain host numbers.
_ARRAYS = _words("a a1 ar ar1 arr arr1 array ary condition dst element m prototype x x1 A")
_SEQUENCES = _words("tup keys condlist choicelist arrays arys args operands xi arrays_and_dtypes")
_NUMBERS = _words(
    "shape newshape new_shape axis axes axis1 axis2 source destination N k num step n reps offset kth "
    "pad_width ddof minlength decimals window_shape strides dimensions"
)
# Functions all of whose operands must be device arrays, under these parameter names.
_ALL_ARRAYS = _words(
    "dot vdot inner outer tensordot kron cross linalg.solve linalg.lstsq matmul linalg.matmul "
    "broadcast_arrays meshgrid atleast_1d atleast_2d atleast_3d"
)
_OPERANDS = _words("b args arys xi")
# Not modelled: they make host arrays, read files, have other defaults or are classes of their own.
_ABSENT = _words(
    "mgrid ogrid r_ c_ load save savez savez_compressed savetxt loadtxt genfromtxt fromfile fromfunction "
    "fromiter frombuffer fromstring DataSource apply_along_axis apply_over_axes vectorize poly1d flatiter "
    "broadcast ufunc printoptions get_printoptions set_printoptions show_config random testing typing "
    "exceptions polynomial annotations put ndarray.put ndarray.dump ndarray.dumps ndarray.tofile"
)


def _contains_array(value):
    if isinstance(value, (list, tuple)):
        return any(_contains_array(part) for part in value)
    return isinstance(value, (ndarray, np.ndarray))


def _check_argument(name, parameter, value):
    """Refuse an argument of a kind that CuPy does not take for this parameter."""
    if parameter in _NUMBERS and not name.startswith("special.") and _contains_array(value):
        raise TypeError(f"{name}: 'ndarray' object cannot be interpreted as an integer ({parameter})")
    if parameter == "out":
        if value is not None:
            _writable(value)
    elif parameter == "tup":
        if not isinstance(value, ndarray) and not all(isinstance(part, ndarray) for part in value):
            raise TypeError(f"{name}: Only cupy arrays can be joined, not {[type(part) for part in value]}")
    elif (parameter in _ARRAYS and (name, parameter) != ("where", "x")) or (
        parameter in _OPERANDS and name in _ALL_ARRAYS
    ):
        if not isinstance(value, ndarray) and value is not None:
            raise TypeError(f"Unsupported type {type(value)} for {parameter} of {name}")
    elif parameter not in _SEQUENCES and isinstance(value, (list, tuple)) and _contains_array(value):
        raise TypeError(f"{name}: arrays inside a {type(value).__name__} are not supported for {parameter}")


def _bind(name, params, args, kwargs):
    """Check a call against CuPy's parameters; says whether it names an output array."""
    variadic = next((p[:-1] for p in params if p.endswith("*")), None)
    plain = [p for p in params if not p.endswith("*")]
    if variadic is None and len(args) > len(plain):
        raise TypeError(f"{name}() takes {len(plain)} positional arguments but {len(args)} were given")
    if plain[1:3] == ["axis", "dtype"] and "argm" in name and len(args) > 2:
        raise TypeError(f"{name}(): the third positional argument is dtype on CuPy and out on NumPy; name it")
    unknown = [keyword for keyword in kwargs if keyword not in plain]
    if unknown:
        raise TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}")
    positions = [p.removesuffix("*") for p in params]
    if variadic is not None:
        start = positions.index(variadic)
        positions = positions[:start] + [variadic] * max(len(args) - start, 0)
    bound = [*zip(positions, args, strict=False), *kwargs.items()]
    if name not in _HOST:
        for parameter, value in bound:
            _check_argument(name, parameter, value)
    return any(parameter == "out" and value is not None for parameter, value in bound)


def _run(name, numpy_function, args, kwargs, has_out=False):
    """Call NumPy on the arrays inside, count, and dress the result."""
    if name in _HOST:
        return numpy_function(*map(_strip, args), **{key: _strip(value) for key, value in kwargs.items()})
    if name in _SYNCHRONISING:
        _sync(name)
    if name in _PRODUCTS or name.removeprefix("linalg.") in _SOLVERS:
        _library(name)
    sources = []
    args = [_unwrap(value, sources) for value in args]
    kwargs = {key: _unwrap(value, sources) for key, value in kwargs.items()}
    with np.errstate(all="ignore"):
        result = _wrap(numpy_function(*args, **kwargs), sources)
    parts = result if isinstance(result, (list, tuple)) else [result]
    made = [
        p for p in parts if isinstance(p, ndarray) and p.base is None and all(p is not s for s in sources)
    ]
    if made or has_out or result is None:  # the rest are views, and the argument itself
        _launch(name, *(part.dtype for part in (parts if has_out else made)))
    return result


def _strip(value):
    """Undress an argument of a function that only looks at shapes and dtypes."""
    if isinstance(value, (list, tuple)):
        return type(value)([_strip(part) for part in value])
    return value._a if isinstance(value, ndarray) else value


def _function(name, numpy_function):
    """CuPy's function of that name, computed by `numpy_function`."""
    params = NAMES[name]["params"]

    def call(*args, **kwargs):
        return _run(
            name, numpy_function, args, kwargs, params is not None and _bind(name, params, args, kwargs)
        )

    call.__name__ = call.__qualname__ = name.split(".")[-1]
    call.__module__ = "strict_cupy.xp"
    return call


def _method(name):
    """CuPy's array method of that name, computed by NumPy's."""
    full, numpy_method = f"ndarray.{name}", getattr(np.ndarray, name)
    params = NAMES[full]["params"]

    def call(self, *args, **kwargs):
        return _run(full, numpy_method, (self, *args), kwargs, _bind(full, params, args, kwargs))

    call.__name__ = name
    return call


def _override(name):
    """Put a hand-written function in the place of the one made from NumPy; calls are checked all the same."""

    def register(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            _bind(name, NAMES[name]["params"], args, kwargs)
            return function(*args, **kwargs)

        _OVERRIDES[name] = call
        return call

    return register


_OVERRIDES: dict[str, object] = {}


def _check_sort(kind):
    if kind not in (None, "stable"):
        raise ValueError(f"CuPy sorts stably whatever kind is; {kind!r} is not supported")


def _leaves(value):
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


def _array(obj, dtype=None, copy=True, order="K", ndmin=0):
    """`cupy.array`: host data is copied to the device; device arrays, also in lists, stay there."""
    if isinstance(obj, ndarray):
        array = obj.astype(obj.dtype if dtype is None else dtype, order=order, copy=copy)
        return array if ndmin <= array.ndim else array.reshape((1,) * (ndmin - array.ndim) + array.shape)
    on_device = [isinstance(leaf, ndarray) for leaf in _leaves(obj)]
    if any(on_device):
        if not all(on_device):
            raise TypeError(_IMPLICIT)
        return _run("array", lambda parts: np.array(parts, dtype, order="C", ndmin=ndmin), (obj,), {})
    raw = np.array(obj, dtype, order=order or "K", ndmin=ndmin)
    _make(raw)  # refuses objects and text before anything is counted
    _host_to_device("array")
    return _make(raw)


@_override("array")
def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A new array on the device."""
    if subok:
        raise NotImplementedError("subok")
    return _array(obj, dtype, bool(copy) or copy is None, order, ndmin)


def _as_array(a, dtype=None, order=None, *, copy=None, blocking=False):
    """`a` itself if it is on the device with that dtype and order, else a copy."""
    if copy is False and not isinstance(a, ndarray):
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    return _array(a, dtype, bool(copy), order or "K")


for _name in ("asarray", "asanyarray"):
    _OVERRIDES[_name] = _as_array


@_override("copy")
def copy(a, order="K"):
    """A copy."""
    return a.copy(order)


def _contiguous(name, order):
    """`ascontiguousarray` and its Fortran twin: the array itself where it is so already, at least 1-d."""

    @_override(name)
    def call(a, dtype=None):
        result = _array(a, dtype, copy=False, order=order)
        return result if result.ndim else result.reshape(1)


_contiguous("ascontiguousarray", "C")
_contiguous("asfortranarray", "F")


@_override("empty")
def empty(shape, dtype=float, order="C"):
    """Poisoned memory; no kernel runs."""
    return _make(_poisoned(shape, dtype, order))


@_override("empty_like")
def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    """Poisoned memory; no kernel runs."""
    raw = np.empty_like(prototype._a, dtype, order, shape=shape)
    raw[...] = _poisoned((), raw.dtype)
    return _make(raw)


@_override("where")
def where(condition, x=None, y=None):
    """Choose by a condition on the device; the values may be scalars. One argument: `nonzero`."""
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return condition.nonzero()
    (raw_x, _), (raw_y, _) = _operand(x), _operand(y)
    raw = np.where(condition._a.astype(bool, copy=False), raw_x, raw_y)
    _launch("where", raw.dtype)
    return _make(raw)


def _indices(indices):
    """The indices of take: a device array, a scalar, or a list that has to be copied."""
    if isinstance(indices, ndarray):
        return indices._a
    if isinstance(indices, (list, tuple, np.ndarray)):
        _host_to_device("take with host indices")
    return np.asarray(indices)


@_override("take")
def take(a, indices, axis=None, out=None):
    """Indices out of range wrap around."""
    raw = np.take(a._a, _wrapped(_indices(indices), a.size if axis is None else a.shape[axis]), axis)
    _launch("take", raw.dtype)
    if out is None:
        return _make(np.asarray(raw))
    if out.dtype != raw.dtype or out.shape != raw.shape:
        raise TypeError("Output dtype or shape mismatch")
    _writable(out)[...] = raw
    return out


@_override("take_along_axis")
def take_along_axis(a, indices, axis):
    """Indices out of range wrap around."""
    if not isinstance(indices, ndarray):
        raise TypeError(f"Unsupported type {type(indices)}")
    length = a.size if axis is None else a.shape[axis]
    raw = np.take_along_axis(a._a, _wrapped(indices._a, length), axis)
    _launch("take_along_axis", raw.dtype)
    return _make(raw)


@_override("repeat")
def repeat(a, repeats, axis=None):
    """Repeat elements; counts in a device array have to be read by the host, host counts are refused."""
    if isinstance(repeats, ndarray):
        _sync("repeat with a device array")
    return _run("repeat", np.repeat, (a, repeats, axis), {})


@_override("sort")
def sort(a, axis=-1, kind=None):
    """A sorted copy; always stable."""
    _check_sort(kind)
    return _run("sort", np.sort, (a, axis, "stable"), {})


@_override("argsort")
def argsort(a, axis=-1, kind=None):
    """The indices that sort; always stable."""
    _check_sort(kind)
    return _run("argsort", np.argsort, (a, axis, "stable"), {})


@_override("diagonal")
def diagonal(a, offset=0, axis1=0, axis2=1):
    """A writable view."""
    raw = np.diagonal(a._a, offset, axis1, axis2)
    if a._a.flags.writeable:
        raw.flags.writeable = True
    return _make(raw, a)


@_override("broadcast_to")
def broadcast_to(array, shape):
    """A view, which CuPy does not mark as read-only."""
    raw = np.broadcast_to(array._a, shape)
    return _make(np.lib.stride_tricks.as_strided(array._a, raw.shape, raw.strides), array)


@_override("broadcast_arrays")
def broadcast_arrays(*args):
    """Views of the common shape."""
    shape = np.broadcast_shapes(*(arg.shape for arg in args))
    return [broadcast_to(arg, shape) for arg in args]


@_override("astype")
def astype(x, dtype, /, *, copy=True):
    """Cast."""
    return x.astype(dtype, copy=copy)


@_override("asnumpy")
def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """Copy to the host; NumPy arrays pass."""
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


@_override("get_array_module")
def get_array_module(*args):
    """This module if an argument is one of its arrays, else NumPy."""
    return xp if any(isinstance(arg, ndarray) for arg in args) else np


@_override("from_dlpack")
def from_dlpack(array, *, device=None, copy=None):
    """Share a device array; host memory is refused."""
    return _make(array._a[...], array)


@_override("lib.stride_tricks.as_strided")
def as_strided(x, shape=None, strides=None):
    """A view with any shape and strides; one that leaves the array's memory is refused here."""
    raw = np.lib.stride_tricks.as_strided(x._a, shape, strides)
    root = x._a if x.base is None else x.base._a
    low, high = np.lib.array_utils.byte_bounds(raw)
    first, last = np.lib.array_utils.byte_bounds(root)
    if raw.size and not first <= low <= high <= last:
        raise ValueError(
            "as_strided: the view leaves the memory of its array; a GPU would read what lies there."
        )
    return _make(raw, x)


# Linear algebra: CuPy ignores errors, so that a failed factorisation goes on as NaN.


def _fill_nan(result):
    if isinstance(result, tuple):
        return tuple(_fill_nan(part) for part in result)
    return np.full_like(result, np.nan) if np.asarray(result).dtype.kind in "fc" else result


def _solve_silently(function, a, *rest, **kwargs):
    """`function(a, ...)`, with NaN in the place of each matrix at which LAPACK gives up."""
    try:
        return function(a, *rest, **kwargs)
    except np.linalg.LinAlgError as error:
        if not any(word in str(error) for word in ("Singular", "positive definite", "converge")):
            raise
    if a.ndim == 2:
        return _fill_nan(function(np.eye(*a.shape, dtype=a.dtype), *rest, **kwargs))
    if rest and rest[0].ndim > 1:
        batch = np.broadcast_shapes(a.shape[:-2], rest[0].shape[:-2])
        a = np.broadcast_to(a, batch + a.shape[-2:])
        rest = (np.broadcast_to(rest[0], batch + rest[0].shape[-2:]), *rest[1:])
        results = [_solve_silently(function, a[i], rest[0][i], **kwargs) for i in np.ndindex(batch)]
    else:
        batch = a.shape[:-2]
        results = [_solve_silently(function, a[i], *rest, **kwargs) for i in np.ndindex(batch)]
    if isinstance(results[0], tuple):
        return tuple(np.stack(parts).reshape(batch + parts[0].shape) for parts in zip(*results, strict=False))
    return np.stack(results).reshape(batch + results[0].shape)


def _solver(name):
    """A function of `linalg` that cuSOLVER computes: no float16, no errors, plain tuples."""
    numpy_function = getattr(np.linalg, name)
    call = _function(f"linalg.{name}", functools.partial(_solve_silently, numpy_function))

    def checked(*args, **kwargs):
        for value in (*args, *kwargs.values()):
            if isinstance(value, ndarray) and value.dtype == np.float16:
                raise TypeError("float16 is unsupported in linalg")
        return call(*args, **kwargs)

    checked.__name__ = name
    return checked


# ----------------------------------------------------------------------------------------------------------
# The modules
# ----------------------------------------------------------------------------------------------------------


def _missing(module_name):
    def getattribute(name):
        known = NAMES.get(module_name + name)
        reason = "strict_cupy does not model it" if known else f"CuPy {VERSION} has no such name"
        raise AttributeError(f"module 'cupy' has no attribute {module_name + name!r} ({reason})")

    return getattribute


def _module(title, prefix):
    """An empty module that explains what it lacks."""
    module = types.ModuleType(f"strict_cupy.{title}")
    module.__getattr__ = _missing(prefix)
    return module


def _offered(name, record, place):
    """What the stand-in offers under a name of the snapshot, or None."""
    if name in _OVERRIDES:
        return _OVERRIDES[name]
    leaf = name.split(".")[-1]
    value = getattr(place, leaf, None)
    if value is None or name in _ABSENT or isinstance(value, types.ModuleType):
        return None
    if isinstance(value, type):
        return value if issubclass(value, (np.generic, np.dtype, np.finfo, np.iinfo, Exception)) else None
    if record["kind"] == "ufunc":
        return _Ufunc(leaf, value, record["types"])
    if not callable(value):
        return value
    return _solver(leaf) if name.startswith("linalg.") and leaf in _SOLVERS else _function(name, value)


def _fill(module, prefix, place):
    """Give a module the names that CuPy and `place` share."""
    for name, record in NAMES.items():
        leaf = name.removeprefix(prefix)
        if name.startswith(prefix) and "." not in leaf and not (prefix == "special." and leaf == "polygamma"):
            offered = _offered(name, record, place)
            if offered is not None:
                setattr(module, leaf, offered)
    return module


def _polygamma(n, x):
    """CuPy builds it from float64 factors and a condition on the device: n is an array, float64 results."""
    if not isinstance(n, ndarray) or not isinstance(x, ndarray):
        raise TypeError("polygamma: CuPy wants device arrays for n and x")
    _launch("polygamma", np.dtype(float))
    with np.errstate(all="ignore"):
        return _make(np.asarray(scipy.special.polygamma(n._a, x._a), dtype=float))


class _Stream:
    """`cupy.cuda.Stream`, as far as code over several streams needs one to run."""

    ptr = 0

    def __init__(self, null=False, non_blocking=False, ptds=False):
        self.non_blocking = non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def use(self):
        """Make it the current stream."""
        return self

    def synchronize(self):
        """Wait for it."""
        _sync("Stream.synchronize")


def _cuda():
    """`cupy.cuda`: one device, which is there."""
    module = types.ModuleType("strict_cupy.xp.cuda")
    module.is_available = lambda: True
    module.Device, module.Stream = _Device, _Stream
    module.get_device_id = lambda: 0
    module.get_current_stream = _Stream
    module.runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1, getDevice=lambda: 0, deviceSynchronize=lambda: _sync("deviceSynchronize")
    )
    return module


xp = _fill(_module("xp", ""), "", np)
xp.__version__ = VERSION
xp.ndarray, xp.newaxis = ndarray, None
xp.linalg = _fill(_module("xp.linalg", "linalg."), "linalg.", np.linalg)
xp.fft = _fill(_module("xp.fft", "fft."), "fft.", np.fft)
xp.lib = _module("xp.lib", "lib.")
xp.lib.stride_tricks = _fill(
    _module("xp.lib.stride_tricks", "lib.stride_tricks."), "lib.stride_tricks.", np.lib.stride_tricks
)
xp.cuda = _cuda()
xp.is_available = xp.cuda.is_available
special = _fill(_module("special", "special."), "special.", scipy.special)
special.polygamma = _polygamma

for _entry in NAMES:
    _name = _entry.removeprefix("ndarray.")
    _wanted = _entry.startswith("ndarray.") and not hasattr(ndarray, _name) and _entry not in _ABSENT
    if _wanted and callable(getattr(np.ndarray, _name, None)):
        setattr(ndarray, _name, _method(_name))

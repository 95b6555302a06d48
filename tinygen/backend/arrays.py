"""Which library an array belongs to, on which device it lives, and how it gets to another.

An array carries its library with it: a `numpy.ndarray` is computed on by NumPy, a `cupy.ndarray` by CuPy.
Code that should run on both asks the array, not a global setting, and calls the answer `xp`:

>>> import numpy as np
>>> x = np.zeros((2, 3), np.float32)
>>> xp = MODULES[type(x)]                  # the hot path: one look-up in a dictionary
>>> xp.exp(x).shape
(2, 3)

Nothing moves between host and device unless `to_device`, `to_numpy` or `asarray(..., device=)` is called by
name. A silent copy is the commonest way to make a GPU program slow, so mixing devices is an error that
names the cure.

Notation
--------
device : `"cpu"`, `"cuda"` (the same as `"cuda:0"`) or `"cuda:1"`, ...
xp     : the module, `numpy` or `cupy`
"""

from __future__ import annotations

import contextlib
import re
from types import ModuleType

import numpy as np

from . import cuda
from .recording import Recorded

MODULES: dict[type, ModuleType] = {np.ndarray: np}  # cuda.py adds CuPy's ndarray when it first loads CuPy

_HOST_KINDS, _CUDA_KINDS = (1, 3), (2, 13)  # DLPack's codes: CPU and pinned memory; CUDA and managed memory


class DeviceError(RuntimeError):
    """A device is missing, or arrays of two devices met in one operation."""


def is_array(x) -> bool:
    """Say whether x is an array of a library that is loaded (scalars, lists and Tensors are not)."""
    return type(x) in MODULES or isinstance(x, tuple(MODULES))


def array_module(*values) -> ModuleType:
    """Return `xp`, the module of the arrays among the values.

    Python and NumPy scalars, lists and None have no say; with no array at all the answer is NumPy.

    Raises
    ------
    DeviceError
        When the arrays live on two devices.
    """
    first, xp = None, np
    for value in values:
        module = MODULES.get(type(value))
        if module is None:
            if not is_array(value):
                continue
            module = np if isinstance(value, np.ndarray) else cuda.cupy()  # a subclass, such as numpy.memmap
        if first is None:
            first, xp = value, module
        elif module is not xp or (xp is not np and device_of(first) != device_of(value)):
            raise DeviceError(
                f"arrays on two devices in one operation: shape {first.shape} on {device_of(first)} and "
                f"shape {value.shape} on {device_of(value)}. Move one of them with .to({device_of(first)!r})."
            )
    return xp


def device_of(array) -> str:
    """Name the device an array lives on: `"cpu"`, `"cuda:0"`, ..."""
    if isinstance(array, np.ndarray):
        return "cpu"
    if not is_array(array):
        raise TypeError(f"device_of: array is a {type(array).__name__}; wanted a NumPy or CuPy array.")
    return f"cuda:{cuda.device_index(array)}"


def memory_of(array) -> int:
    """Name the memory an array lies in: views of one array give the same number."""
    if not isinstance(array, np.ndarray):
        return getattr(array.data, "mem", array.data).ptr
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.__array_interface__["data"][0]


def parse_device(device) -> tuple[str, int | None]:
    """Split a device name into its kind and index.

    >>> parse_device("cpu"), parse_device("cuda"), parse_device("cuda:1")
    (('cpu', None), ('cuda', 0), ('cuda', 1))
    """
    if device == "cpu":
        return "cpu", None
    found = re.fullmatch(r"cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if found is None:
        raise ValueError(f"device is {device!r}; wanted 'cpu', 'cuda' or 'cuda:N' with N = 0, 1, ...")
    return "cuda", int(found[1] or 0)


def on_device(array, device) -> bool:
    """Say whether an array lives on the device that is named."""
    kind, index = parse_device(device)
    return device_of(array) == (kind if index is None else f"{kind}:{index}")


def asarray(value, dtype=None, device=None, copy=False):
    """Make a raw array of numbers from an array, a scalar or a nested list.

    Parameters
    ----------
    value : array, scalar or nested list
    dtype : data type, optional
        Kept as it is when None.
    device : str, optional
        Where the result lives. None leaves an array where it is and puts everything else on the CPU.
    copy : bool
        True for memory of its own, whatever happens; otherwise value's memory is shared where it can be.
    """
    target = device if device is not None else device_of(value) if is_array(value) else "cpu"
    kind, index = parse_device(target)
    if kind == "cpu" and isinstance(value, Recorded):
        return value.astype(value.dtype if dtype is None else dtype, copy=copy)
    if kind == "cpu":
        if is_array(value) and not isinstance(value, np.ndarray):
            value, copy = to_numpy(value), False  # already a copy
        return _numbers(np.array(value, dtype=dtype) if copy else np.asarray(value, dtype=dtype), value)
    if not is_array(value):
        value = _numbers(np.asarray(value, dtype=dtype), value)
    moved = to_device(value, target)
    with cuda.on_device(index):
        return moved.astype(moved.dtype if dtype is None else dtype, copy=copy and moved is value)


def full(shape, value, dtype, device) -> object:
    """Fill a shape with one number, on the device itself: nothing is copied there."""
    kind, index = parse_device(device)
    if kind == "cpu" or index is None:
        return np.full(shape, value, dtype)
    with cuda.on_device(index):
        return cuda.cupy().full(shape, value, dtype)


def to_device(array, device):
    """Return the array on a device: itself when it is there already, else a copy."""
    kind, index = parse_device(device)
    if kind == "cpu":
        return array if isinstance(array, np.ndarray) else to_numpy(array)
    if not isinstance(array, np.ndarray) and device_of(array) == f"cuda:{index}":
        return array
    xp = cuda.cupy()
    with cuda.on_device(index):
        # order="C": CuPy would keep Fortran order, and the engine's kernels like one layout.
        return xp.array(array, order="C")


def to_numpy(array) -> np.ndarray:
    """Return the array on the host: itself on the CPU, a copy (which waits for the device) from CUDA."""
    if isinstance(array, np.ndarray):
        return array
    if not is_array(array):
        raise TypeError(f"to_numpy: array is a {type(array).__name__}; wanted a NumPy or CuPy array.")
    return array.get()


def broadcast_to(xp, x, shape):
    """View x along new axes as `xp.broadcast_to` does; a single number in a third of the time."""
    if isinstance(x, np.generic):
        x = np.asarray(x)
    if type(x) is not np.ndarray or x.ndim:
        return xp.broadcast_to(x, shape)
    spread = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))  # every step is of length 0
    spread.flags.writeable = False
    return spread


def errstate(xp, *, all=None, divide=None, over=None, under=None, invalid=None):
    """Silence or raise floating point warnings as `numpy.errstate`; CuPy gives none, so there it is idle."""
    if xp is not np:
        return contextlib.nullcontext()
    return np.errstate(all=all, divide=divide, over=over, under=under, invalid=invalid)


def from_dlpack(x):
    """Wrap a foreign array (of PyTorch, JAX, ...) without a copy.

    What lies on a GPU stays there and becomes a CuPy array; the rest becomes a NumPy array.
    """
    if is_array(x):
        return x
    if not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: x is a {type(x).__name__}; wanted an object with __dlpack__ (use asarray).")
    kind = int(x.__dlpack_device__()[0])
    if kind in _HOST_KINDS:
        return np.from_dlpack(x)
    if kind in _CUDA_KINDS:
        return cuda.cupy().from_dlpack(x)
    raise DeviceError(f"from_dlpack: x is on a device of DLPack kind {kind}; wanted the CPU or CUDA.")


def _numbers(array: np.ndarray, value) -> np.ndarray:
    """Refuse an array of objects or text, which NumPy makes without complaint."""
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"value is a {type(value).__name__} that gives an array of dtype {array.dtype}; "
            "wanted numbers or booleans (a list of Tensors is joined by stack or concatenate)."
        )
    return array

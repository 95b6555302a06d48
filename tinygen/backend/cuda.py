"""The door to CuPy: it stays shut until somebody asks for a GPU.

Importing CuPy costs half a second and is pointless on a machine without a GPU, so nothing here runs at
import. `cupy()` opens the door, and says which of two things is missing when it cannot: the library or the
driver.

Tests without a GPU let a strict imitation play CuPy's part: see `stand_in`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from types import ModuleType

from . import arrays

INSTALL = 'pip install "cupy-cuda13x[ctk]"   (CUDA 12: cupy-cuda12x[ctk])'

_STAND_INS: list[
    tuple[ModuleType, ModuleType]
] = []  # (module, special), innermost last; only tests add to it


def cupy() -> ModuleType:
    """Return CuPy, imported when first asked for.

    Raises
    ------
    DeviceError
        When CuPy is not installed, or no GPU answers.
    """
    return _STAND_INS[-1][0] if _STAND_INS else _load()


def special() -> ModuleType:
    """Return `cupyx.scipy.special`, the counterpart of `scipy.special`."""
    if _STAND_INS:
        return _STAND_INS[-1][1]
    _load()
    return importlib.import_module("cupyx.scipy.special")


def is_available() -> bool:
    """Say whether arrays can be made on a GPU here; never raises."""
    try:
        cupy()
    except arrays.DeviceError:
        return False
    return True


def is_stand_in(xp) -> bool:
    """Say whether xp only plays CuPy, and so cannot compile CUDA."""
    return any(xp is module for module, _ in _STAND_INS)


def device_index(array) -> int:
    """Return the number of the GPU that holds a CuPy array."""
    if any(isinstance(array, module.ndarray) for module, _ in _STAND_INS):
        return 0
    return array.device.id


def on_device(index: int):
    """Enter a GPU: arrays made inside the `with` block live on it."""
    if _STAND_INS:
        count, enter = 1, functools.partial(contextlib.nullcontext)
    else:
        module = _load()
        count, enter = module.cuda.runtime.getDeviceCount(), functools.partial(module.cuda.Device, index)
    if index >= count:
        raise arrays.DeviceError(f"device is 'cuda:{index}'; this machine has cuda:0 to cuda:{count - 1}.")
    return enter()


@contextlib.contextmanager
def stand_in(module: ModuleType, special: ModuleType):
    """Let `module` play CuPy, and `special` play `cupyx.scipy.special`, inside the `with` block.

    Its arrays count as arrays on `"cuda:0"`. Everything is put back on the way out.
    """
    before = arrays.MODULES.get(module.ndarray)
    _STAND_INS.append((module, special))
    arrays.MODULES[module.ndarray] = module
    try:
        yield module
    finally:
        _STAND_INS.pop()
        if before is None:
            del arrays.MODULES[module.ndarray]
        else:
            arrays.MODULES[module.ndarray] = before


@functools.cache  # an exception is not cached: who installs CuPy in a running notebook can try again
def _load() -> ModuleType:
    """Import CuPy, make sure that a GPU answers, and register its arrays."""
    try:
        module = importlib.import_module("cupy")
    except ImportError as error:
        raise arrays.DeviceError(
            f"a CUDA device was asked for, and CuPy cannot be imported ({error}). "
            f"Install it with\n    {INSTALL}"
        ) from error
    if not module.cuda.is_available():
        raise arrays.DeviceError(
            "a CUDA device was asked for. CuPy is installed, but no GPU answers: either the machine has none "
            "or its NVIDIA driver is missing or too old (`nvidia-smi` should list a GPU). Use device='cpu'."
        )
    arrays.MODULES[module.ndarray] = module
    return module

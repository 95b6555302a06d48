"""Promises of cuda.py: CuPy is imported only when asked for, and what is missing is said plainly."""

import subprocess
import sys
import types

import numpy as np
import pytest

from tinygen.backend import arrays, cuda
from tinygen.backend.arrays import DeviceError


@pytest.fixture
def fresh_door(monkeypatch):
    """Forget what CuPy is, and put everything back afterwards."""
    before = dict(arrays.MODULES)
    cuda._load.cache_clear()
    yield monkeypatch
    cuda._load.cache_clear()
    arrays.MODULES.clear()
    arrays.MODULES.update(before)


def pretend_cupy(available):
    """A module that looks like CuPy as far as the door looks."""
    module = types.ModuleType("cupy")
    module.ndarray = type("ndarray", (), {})
    module.cuda = types.SimpleNamespace(is_available=lambda: available)
    return module


def test_importing_the_backend_does_not_import_cupy():
    code = (
        "import sys, tinygen.backend; from tinygen.backend.arrays import parse_device; parse_device('cuda');"
        "assert 'cupy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_cupy_the_install_line_is_given(fresh_door):
    fresh_door.setitem(sys.modules, "cupy", None)  # makes `import cupy` fail
    with pytest.raises(DeviceError) as error:
        arrays.to_device(np.ones(2), "cuda")
    assert 'pip install "cupy-cuda13x[ctk]"   (CUDA 12: cupy-cuda12x[ctk])' in str(error.value)
    assert not cuda.is_available()


def test_without_a_gpu_the_message_is_another(fresh_door):
    fresh_door.setitem(sys.modules, "cupy", pretend_cupy(available=False))
    with pytest.raises(DeviceError, match="CuPy is installed, but no GPU answers"):
        cuda.cupy()
    assert not cuda.is_available() and len(arrays.MODULES) == 1


def test_cupy_is_registered_when_it_loads(fresh_door):
    module = pretend_cupy(available=True)
    fresh_door.setitem(sys.modules, "cupy", module)
    assert cuda.is_available() and cuda.cupy() is module
    assert arrays.MODULES[module.ndarray] is module


def test_a_stand_in_plays_cupy_and_leaves_no_trace():
    module, special = pretend_cupy(available=False), types.ModuleType("special")
    before = dict(arrays.MODULES)
    with cuda.stand_in(module, special):
        assert cuda.cupy() is module and cuda.special() is special and cuda.is_available()
        assert cuda.is_stand_in(module) and not cuda.is_stand_in(np)
        assert arrays.device_of(module.ndarray()) == "cuda:0"
        with pytest.raises(DeviceError, match="device is 'cuda:1'; this machine has cuda:0"):
            cuda.on_device(1)
        with cuda.stand_in(module, special):
            pass
        assert arrays.MODULES[module.ndarray] is module  # the inner one put back the outer one
    assert before == arrays.MODULES and not cuda.is_stand_in(module)


def test_a_stand_in_leaves_no_trace_after_an_error():
    before = dict(arrays.MODULES)
    with pytest.raises(KeyError), cuda.stand_in(pretend_cupy(available=True), types.ModuleType("special")):
        raise KeyError
    assert before == arrays.MODULES and not cuda._STAND_INS

"""The two libraries every function of the ground floor is tested on: NumPy, and a stand-in for CuPy."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tinygen.backend import arrays, cuda

TESTS = pathlib.Path(__file__).resolve().parents[1]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))  # strict_cupy.py lies there

# The fixture below holds no state, so one instance may serve all examples of a hypothesis test.
quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Library(NamedTuple):
    """An array library under test, with the ways in and out of it."""

    xp: ModuleType
    device: str
    forbid_sync: contextlib.AbstractContextManager

    def array(self, value, dtype=None):
        """Put a value on the library's device."""
        return arrays.asarray(value, dtype=dtype, device=self.device, copy=True)

    def host(self, array) -> np.ndarray:
        """Bring a result back, after checking that it is where it should be."""
        assert self.xp is np or not isinstance(array, np.ndarray | np.generic), "a host array on the GPU path"
        return arrays.to_numpy(np.asarray(array) if isinstance(array, np.generic) else array)


@pytest.fixture(params=["numpy", "stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def library(request):
    """Run the test on NumPy, with the stand-in playing CuPy, and, with -m gpu, on CuPy itself."""
    if request.param == "gpu":
        try:
            cupy = cuda.cupy()
        except arrays.DeviceError as reason:
            pytest.skip(str(reason))
        yield Library(cupy, "cuda:0", contextlib.nullcontext)
        return
    if request.param == "numpy":
        yield Library(np, "cpu", contextlib.nullcontext)
        return
    strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        yield Library(strict_cupy.xp, "cuda:0", strict_cupy.no_sync)

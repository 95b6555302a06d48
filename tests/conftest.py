"""What every test may ask for: a device, on NumPy and on the strict stand-in for CuPy."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile(
    "intense", deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def gpu() -> str:
    """The name of a real GPU, or a skip that says why there is none."""
    from tinygen.backend import DeviceError, cuda

    try:
        cuda.cupy()
    except DeviceError as reason:
        pytest.skip(str(reason))
    return "cuda:0"


@pytest.fixture(params=["cpu", "stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """ "cpu"; "cuda:0" with the strict stand-in playing CuPy; and, with -m gpu, a real one."""
    if request.param == "cpu":
        yield "cpu"
        return
    if request.param == "gpu":
        yield gpu()
        return
    import strict_cupy

    from tinygen.backend import cuda

    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        yield "cuda:0"

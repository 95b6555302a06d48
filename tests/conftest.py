"""What every test may ask for: a device, on NumPy and on the strict stand-in for CuPy."""

from __future__ import annotations

import os
import random as stdlib_random

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: workers of xdist would fight over the cores

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, Phase, settings  # noqa: E402

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile(
    "intense", deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def fresh_numbers(request):
    """A test file's `rng` starts anew for each test, so that no test depends on which ones ran before it."""
    if isinstance(getattr(request.module, "rng", None), np.random.Generator):
        request.module.rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def known_entropy(request, monkeypatch):
    """A Generator without a seed takes "entropy" that is the same in every run of a test: a test that forgets a seed
    passes always or never. Within a test all draws of entropy differ."""
    from tinygen.backend import random

    source = stdlib_random.Random(request.node.nodeid)
    monkeypatch.setattr(random.secrets, "randbits", source.getrandbits)


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


def pytest_addoption(parser):
    parser.addoption(
        "--mutate", action="store_true", help="run the tests of equations with wrong results: each must fail"
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "equation(what, tags): checks these equations, which `what` computes")
    if config.getoption("--mutate"):  # one failing example is enough
        settings.register_profile("mutate", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutate")


def pytest_pycollect_makemodule(module_path, parent):
    """Note which files were looked at, those that skip themselves included."""
    from equations import SEEN

    parent.config.stash.setdefault(SEEN, set()).add(module_path.resolve())


def pytest_deselected(items):
    """Note the checks of equations that a -k or the like leaves out (those on a GPU run on the stand-in as well)."""
    from equations import LEFT_OUT

    for item in items:
        if item.get_closest_marker("equation") and not item.get_closest_marker("gpu"):
            item.config.stash.setdefault(LEFT_OUT, []).append(item)


def pytest_collection_modifyitems(config, items):
    """With --mutate, only the tests that are marked as checks of an equation, once for each object they name."""
    if config.getoption("--mutate"):
        from equations import mutants

        marked = [item for item in items if item.get_closest_marker("equation")]
        config.hook.pytest_deselected(items=[item for item in items if item not in marked])
        items[:] = [mutant for item in marked for mutant in mutants(item)]


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """With --mutate, a test passes when it fails on the wrong result."""
    if not pyfuncitem.config.getoption("--mutate"):
        yield
        return
    from equations import killed, mutated

    with mutated(pyfuncitem.mutant):
        outcome = yield
    error = outcome.excinfo and outcome.excinfo[1]
    if error is None:
        outcome.force_exception(AssertionError("survived: the test does not notice the factor 1.001"))
    elif killed(error):
        outcome.force_result(True)
    elif isinstance(error, pytest.skip.Exception):
        outcome.force_exception(AssertionError(f"skipped ({error}): the check of an equation must run everywhere"))

"""Promise of kernels.py: a CUDA body and its NumPy reference are the same function."""

import shutil
import subprocess

import numpy as np
import pytest

from tinygen.backend import KERNELS, ElementwiseKernel
from tinygen.backend.philox import philox

from .host_compiler import compile_body, parameters

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="no g++ to compile the CUDA bodies with"
)


@pytest.fixture
def leaky_relu():
    """A kernel of two types and two outputs, that leaves the registry afterwards."""
    yield ElementwiseKernel(
        "test_leaky",
        "T x, float32 slope",
        "T y, bool positive",
        "positive = x > 0; y = positive ? x : twice(slope) * x",
        "__device__ float twice(float s) { return 2 * s; }",
        lambda xp, x, slope: (xp.where(x > 0, x, 2 * slope * x), x > 0),
    )
    KERNELS.pop("test_leaky")


def test_the_reference_runs_everywhere(library, leaky_relu):
    x = library.array([-1.0, 2.0], "float32")
    y, positive = leaky_relu(library.xp, x, 0.5)
    assert library.host(y).tolist() == [-1.0, 2.0] and library.host(positive).tolist() == [False, True]


def test_out_is_filled_and_returned(library, leaky_relu):
    table = library.array(np.zeros((2, 2), np.float32))
    out = (table[:, 1], library.array([False, False]))
    assert leaky_relu(library.xp, library.array([-1.0, 2.0], "float32"), 0.5, out=out) is out
    assert library.host(table).tolist() == [[0, -1], [0, 2]] and library.host(out[1]).tolist() == [
        False,
        True,
    ]


def test_a_name_is_taken_once(leaky_relu):
    assert KERNELS["test_leaky"] is leaky_relu
    with pytest.raises(ValueError, match="'test_leaky' is taken"):
        ElementwiseKernel("test_leaky", "T x", "T y", "y = x", "", lambda xp, x: x)


def test_cupy_gets_the_body_lazily_and_once(leaky_relu, monkeypatch):
    made = []

    class FakeCupy:
        """Notes what it is asked to compile."""

        @staticmethod
        def ElementwiseKernel(in_params, out_params, body, name, preamble):
            made.append((name, body, preamble))
            return lambda *arguments: arguments

    monkeypatch.setattr("tinygen.backend.kernels.cuda.cupy", lambda: FakeCupy)
    assert made == []
    assert leaky_relu(FakeCupy, 1, 2) == (1, 2) and leaky_relu(FakeCupy, 1, 2, out=(3, 4)) == (1, 2, 3, 4)
    assert made == [("tinygen_test_leaky", leaky_relu.body, leaky_relu.preamble)]


def inputs_for(kernel, dtype, rng):
    """Inputs in the range where elementwise functions are interesting: around 0, or any integer."""
    for kind, _ in parameters(kernel.in_params):
        kind = np.dtype(dtype if kind == "T" else kind)
        if kind.kind == "u":
            yield rng.integers(0, np.iinfo(kind).max, 64, dtype=kind, endpoint=True)
        elif kind.kind == "i":
            yield rng.integers(0, 8, 64, dtype=kind)
        else:
            yield rng.uniform(0.05, 0.95, 64).astype(kind)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_body_compiled_for_the_host_is_its_reference(leaky_relu, tmp_path, dtype):
    y, positive = compile_body(leaky_relu, dtype, tmp_path)(np.array([-1.0, 2.0]), 0.5)
    assert y.tolist() == [-1.0, 2.0] and positive.tolist() == [False, True] and y.dtype == dtype


@needs_compiler
@pytest.mark.parametrize("name", [name for name in KERNELS if not name.startswith(("test_", "doctest_"))])
def test_every_registered_body_is_its_reference(name, tmp_path):
    kernel, rng = KERNELS[name], np.random.default_rng(0)
    if name == "philox4x64":
        pytest.skip("its key is one number, not an array: it has a test of its own")
    for dtype in ("float32", "float64"):
        inputs = list(inputs_for(kernel, dtype, rng))
        want = kernel(np, *inputs)
        got = compile_body(kernel, dtype, tmp_path)(*inputs)
        for a, b in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-11, atol=1e-6)


@needs_compiler
def test_the_philox_body_gives_the_words_of_the_reference(tmp_path):
    run = compile_body(KERNELS["philox4x64"], "float32", tmp_path)
    counter = np.array([0, 1, 2**40, 2**64 - 1], np.uint64)
    for seed, stream in ((0, 0), (1, 2**63), (2**64 - 1, 2**64 - 1)):
        got = run(counter, np.uint64(seed), np.uint64(stream))
        for a, b in zip(got, philox(np, counter, seed, stream), strict=True):
            np.testing.assert_array_equal(a, b)


@needs_compiler
def test_a_body_that_does_not_compile_is_caught(tmp_path):
    bad = ElementwiseKernel("test_bad", "T x", "T y", "y = undefined_function(x)", "", lambda xp, x: x)
    try:
        with pytest.raises(subprocess.CalledProcessError):
            compile_body(bad, "float32", tmp_path)
    finally:
        KERNELS.pop("test_bad")

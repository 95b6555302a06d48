"""The limit on BLAS threads holds inside, is undone outside, and asks for nothing that is not installed."""

import sys

import numpy as np
import pytest

from tinygen.runs import blas_threads


def threads() -> list[int]:
    """The threads of each BLAS that is loaded."""
    found = sys.modules["threadpoolctl"].threadpool_info()
    return [library["num_threads"] for library in found if library["user_api"] == "blas"]


def test_one_thread_inside_and_as_before_outside():
    pytest.importorskip("threadpoolctl", reason="part of the extra demos")
    np.ones((2, 2)) @ np.ones((2, 2))
    before = threads()
    with blas_threads(1):
        assert threads() and set(threads()) == {1}
    assert threads() == before


def test_nothing_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with blas_threads(1):
        pass

"""Promise of memory.py: keeping freed memory is asked for, not imposed, and changes nothing but speed."""

import subprocess
import sys

PROGRAM = """
import numpy as np
from tinygen.backend import memory
{}
a = np.ones(10**6)
before = a.__array_interface__["data"][0]
del a
print(np.ones(10**6).__array_interface__["data"][0] == before, float(np.ones(10**6).sum()))
"""


def test_keeping_memory_answers_and_computes_on():
    asked = PROGRAM.format("assert memory.keep_freed_memory() in (True, False)")
    out = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert out[1] == "1000000.0"


def test_a_system_without_glibc_is_told_so(monkeypatch):
    from tinygen.backend import memory

    class NoLibrary:
        def __init__(self, name):
            raise OSError(name)

    monkeypatch.setattr(memory.ctypes, "CDLL", NoLibrary)
    assert memory.keep_freed_memory() is False

"""A reverse-mode autograd engine over NumPy or CuPy arrays, and the generative models built on it.

>>> import tinygen as tg
>>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> loss = tg.sum(x * x)
>>> tg.grad(loss, x)
Tensor([2., 4., 6.], dtype=float32)

The engine is `tinygen.autograd`, and its functions are here too. The floors above are loaded when first used:
`tg.nn`, `tg.optim`, `tg.probability`, `tg.data`, `tg.metrics`, `tg.plot`, `tg.runs`, `tg.models`.
"""

import importlib as _importlib

from tinygen.autograd import *  # noqa: F403
from tinygen.autograd import linalg
from tinygen.backend import DeviceError, keep_freed_memory, random, set_threads
from tinygen.compiled import compile
from tinygen.formulas import explain

__version__ = "0.1.0"

_FLOORS = ("nn", "optim", "probability", "data", "metrics", "models", "plot", "runs", "demos")


def __getattr__(name: str):
    if name in _FLOORS:
        return _importlib.import_module(f"tinygen.{name}")
    if name in ("save", "load"):
        return getattr(_importlib.import_module("tinygen.runs"), name)
    raise AttributeError(f"tinygen has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FLOORS, "save", "load"])

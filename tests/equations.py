r"""The equation ledger: which test checks which `\tag{n}`.

```python
@equation(rbm.free_energy, 3)
def test_free_energy_by_enumeration(): ...
```

says that the test checks equation 3 of the file in which `rbm.free_energy` stands, and that this function (or
method) computes it. `test_equations.py` demands that every tag in `tinygen/` has a test; `pytest --mutate` runs
the marked tests with the function's result multiplied by 1.001, and each must then fail.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygen import Tensor

FACTOR = 1.001


def equation(what: Callable, *tags: int) -> pytest.MarkDecorator:
    """Mark a test as the check of the equations with these numbers, which `what` computes."""
    return pytest.mark.equation(what, tags)


def file_of(what: Callable) -> Path:
    """The file in which a function, method or primitive is defined."""
    return Path(inspect.getsourcefile(inspect.unwrap(what)) or "").resolve()


def scaled(value: Any) -> Any:
    """The value a little too large: floats, arrays and Tensors, also inside tuples, lists and dictionaries."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(scaled, value))
    if isinstance(value, tuple | list):
        return type(value)(map(scaled, value))
    if isinstance(value, dict):
        return {k: scaled(v) for k, v in value.items()}
    if isinstance(value, float | np.floating):
        return value * FACTOR
    if isinstance(value, Tensor) or hasattr(value, "dtype"):
        return value * FACTOR if value.dtype.kind == "f" else value
    return value


@contextmanager
def mutated(what: Callable) -> Iterator[None]:
    """Inside, `what` gives results that are 0.1 percent too large, under every name it is known by."""

    @functools.wraps(what)
    def wrong(*args, **kwargs):
        return scaled(what(*args, **kwargs))

    undo: list[tuple[Any, str, Any]] = []
    for owner in _owners(what):
        for name, value in list(vars(owner).items()):
            if value is what or getattr(value, "__func__", None) is what:
                undo.append((owner, name, value))
                setattr(owner, name, wrong)
    assert undo, f"{what} was not found in any module"
    try:
        yield
    finally:
        for owner, name, value in undo:
            setattr(owner, name, value)


def _owners(what: Callable) -> list[Any]:
    """Modules and classes that may hold a reference to a function."""
    modules = [m for n, m in list(sys.modules.items()) if n.startswith(("tinygen", "tests", "test_", "demos"))]
    classes = [
        c for m in modules for c in vars(m).values() if inspect.isclass(c) and c.__module__.startswith("tinygen")
    ]
    return [*modules, *{id(c): c for c in classes}.values()]

r"""The equation ledger: which test checks which `\tag{n}`.

```python
@equation(rbm.free_energy, 3)
def test_free_energy_by_enumeration(): ...
```

says that the test checks equation 3 of the file in which `rbm.free_energy` stands, and that this function (or
method) computes it. `test_equations.py` demands that every tag in `tinygen/` has a test; `pytest --mutate` runs
the marked tests with the function's result (what it returns, or what it changes) multiplied by 1.001, and each must
then fail.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tinygen import Tensor
from tinygen.backend import arrays as backend

FACTOR = 1.001
HERE = Path(__file__).resolve().parents[1]
SEEN, LEFT_OUT = pytest.StashKey[set](), pytest.StashKey[list]()  # test files; deselected checks of equations
OURS = tuple(str(HERE / folder) for folder in ("tinygen", "tests", "demos"))


def equation(what: Callable | property, *tags: int, of: ModuleType | None = None) -> pytest.MarkDecorator:
    """Mark a test as the check of the equations with these numbers, which `what` computes.

    of : the chapter, if `what` stands in another file, such as a method that a model inherits
    """
    return pytest.mark.equation(what, tags, of=of)


def file_of(what: Callable | property | ModuleType) -> Path:
    """The file in which a function, method, property or primitive is defined; or that of a module."""
    if isinstance(what, ModuleType):
        return Path(what.__file__ or "").resolve()
    return Path(inspect.getsourcefile(inspect.unwrap(_function(what))) or "").resolve()


def mutants(test: pytest.Function) -> Iterator[pytest.Function]:
    """The same test once for each object that it names: `mutant`, to be made wrong while the test runs."""
    params = test.name[len(test.originalname) :]
    for what in dict.fromkeys(mark.args[0] for mark in test.iter_markers("equation")):
        name = f"{test.originalname} {_function(what).__qualname__}"
        twin = pytest.Function.from_parent(
            test.parent,
            name=name + params,
            callspec=getattr(test, "callspec", None),
            callobj=test.obj,
            fixtureinfo=test._fixtureinfo,
            originalname=name,
        )
        twin.mutant = what
        yield twin


def killed(error: BaseException | None) -> bool:
    """Whether a test failed by a comparison, and not because the wrong result broke something on its way there."""
    if isinstance(error, BaseExceptionGroup):  # hypothesis reports several
        return any(map(killed, error.exceptions))
    return isinstance(error, AssertionError | pytest.fail.Exception)


def scaled(value: Any) -> Any:
    """The value a little too large: floats, arrays and Tensors, also inside tuples, lists and dictionaries.

    Integers (shapes, counts) are one too large, and a function gives results that are too large.
    """
    if inspect.isfunction(value):
        return functools.wraps(value)(lambda *args, **kwargs: scaled(value(*args, **kwargs)))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(scaled, value))
    if isinstance(value, tuple | list):
        return type(value)(map(scaled, value))
    if isinstance(value, dict):
        return {k: scaled(v) for k, v in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return value + 1
    if isinstance(value, float | np.floating):
        return value * FACTOR
    if isinstance(value, Tensor) or backend.is_array(value):
        return value * FACTOR if value.dtype.kind == "f" else value
    return value


def places(value: Any, seen: dict[int, Any]) -> Iterator[tuple[Any, Any]]:
    """Where floats and arrays of floats lie below a value: pairs (holder, key), so that `holder[key]` is one."""
    value = value._data if isinstance(value, Tensor) else value
    if id(value) in seen:
        return
    seen[id(value)] = value
    if backend.is_array(value):
        if value.dtype.kind == "f":
            yield value, ...
        return
    if hasattr(value, "__dict__") and not isinstance(value, type | ModuleType) and not inspect.isroutine(value):
        value = vars(value)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, inner in list(items):
        if isinstance(inner, float) and not isinstance(value, tuple):
            yield value, key
        else:
            yield from places(inner, seen)


def results_wrong(function: Callable, args: tuple, kwargs: dict) -> Any:
    """Call, and scale the result; where there is none, what the call has changed in its arguments."""
    before = {(id(holder), key): (holder, _copy(holder[key])) for holder, key in places([args, kwargs], {})}
    result = function(*args, **kwargs)
    if result is not None:
        return scaled(result)
    for holder, key in list(places([args, kwargs], {})):
        now, (_, old) = _copy(holder[key]), before.get((id(holder), key), (None, None))
        if old is None or not np.array_equal(now, old, equal_nan=True):
            holder[key] = holder[key] * FACTOR
    return None


@contextmanager
def mutated(what: Callable | property) -> Iterator[None]:
    """Inside, `what` gives results that are 0.1 percent too large, under every name it is known by."""
    function = _function(what)

    @functools.wraps(function)
    def wrong(*args, **kwargs):
        return results_wrong(function, args, kwargs)

    undo: list[tuple[Any, str, Any]] = []
    for owner in _owners():
        for name, value in list(vars(owner).items()):
            if isinstance(value, staticmethod | classmethod | property) and _function(value) is function:
                undo.append((owner, name, value))
                setattr(owner, name, type(value)(wrong))
            elif value is function:
                undo.append((owner, name, value))
                setattr(owner, name, wrong)
    assert undo, f"{what} was not found in any module"
    try:
        yield
    finally:
        for owner, name, value in undo:
            setattr(owner, name, value)


def _copy(value: Any) -> Any:
    """A float, or an array's values on the host."""
    return value if isinstance(value, float) else np.array(backend.to_numpy(value))


def _function(what: Any) -> Callable:
    """What is called in the end: a property's getter, the function under a class or static method, or itself."""
    return what.fget if isinstance(what, property) else getattr(what, "__func__", what)


def _owners() -> list[Any]:
    """Our modules and the classes in them: what may hold a reference to a function."""
    modules = [m for m in list(sys.modules.values()) if str(getattr(m, "__file__", None)).startswith(OURS)]
    classes = [c for m in modules for c in vars(m).values() if inspect.isclass(c) and c.__module__ in sys.modules]
    ours = {id(c): c for c in classes if sys.modules[c.__module__] in modules}
    return [*modules, *ours.values()]

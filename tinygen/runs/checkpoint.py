r"""Nested dictionaries of arrays and numbers in one file, written all or not at all.

The file is safetensors: arrays under their path, with the names of nested dictionaries joined by `/`, so that
the flat `state_dict` of a module is a file that every other reader of safetensors understands. What is not an
array (integers, floats, strings, booleans, None) and the nesting itself are JSON, in the file's metadata.

The same content gives the same bytes: there is no time, path or machine inside. A file is written beside its
goal and renamed when all of it is on the disk; a crash at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.autograd import Tensor
from tinygen.backend import arrays as backend


def save(path: str | os.PathLike, tree: Mapping[str, Any]) -> None:
    """Write a nested dictionary of arrays, Tensors, numbers, strings and None.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.safetensors"
    >>> save(path, {"step": 3, "weights": {"w": np.ones(2)}})
    >>> load(path)
    {'step': 3, 'weights': {'w': array([1., 1.])}}
    """
    import safetensors.numpy

    found: dict[str, np.ndarray] = {}
    rest = _part(tree, "", found)
    metadata = {"tinygen": json.dumps(rest)}  # one key: the order of several is not defined
    with atomically(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(found, metadata))


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `save` has written; arrays are NumPy's. Other safetensors files give a flat dictionary of arrays."""
    from safetensors import safe_open

    with safe_open(os.fspath(path), framework="numpy") as file:
        tree = json.loads((file.metadata() or {}).get("tinygen", "{}"))
        for key in file.keys():  # noqa: SIM118  (a file, not a dictionary)
            *folders, name = key.split("/")
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            node[name] = file.get_tensor(key)
    return tree


@contextlib.contextmanager
def atomically(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path in the same folder, to be written inside; it takes `path`'s place at the end, or goes."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.writing")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _part(value: Any, path: str, found: dict[str, np.ndarray]) -> Any:
    """What goes into the JSON of a value; its arrays are put into `found` under their paths."""
    if isinstance(value, Mapping):
        rest = {}
        for name, inner in value.items():
            if not isinstance(name, str) or not name or "/" in name:
                raise ValueError(f"save: {path or 'the tree'} has the key {name!r}; strings without '/' are wanted")
            where = f"{path}/{name}" if path else name
            inner = inner._data if isinstance(inner, Tensor) else inner
            if backend.is_array(inner) or isinstance(inner, np.generic):
                # C order always: the writer stores other layouts' memory as it lies, which scrambles them
                found[where] = np.array(backend.to_numpy(inner) if backend.is_array(inner) else inner, order="C")
            else:
                rest[name] = _part(inner, where, found)
        return rest
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"save: {path} is a {type(value).__name__}; arrays, Tensors, numbers, strings, None and "
                    "dictionaries of these are wanted")  # fmt: skip

r"""Nested dictionaries of arrays and numbers in one file, written all or not at all.

The file is safetensors: arrays under their path, with the names of nested dictionaries joined by `/`, so that
the flat `state_dict` of a module is a file that every other reader of safetensors understands. What is not an
array (integers, floats, strings, booleans, None) and the nesting itself are JSON, in the file's metadata, and with
them a SHA-256 sum of everything: a file in which a bit has changed is refused.

The same content gives the same bytes: there is no time, path or machine inside. A file is written beside its
goal and renamed when all of it is on the disk; a crash at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.autograd import Tensor
from tinygen.backend import arrays as backend


class CheckpointError(ValueError):
    """A file that is not a whole checkpoint."""


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
    # one key: the order of several is not defined
    metadata = {"tinygen": json.dumps({"rest": rest, "sha256": _sum(rest, found)})}
    with atomically(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(found, metadata))


def load(path: str | os.PathLike, *, ours: bool = False) -> dict[str, Any]:
    """Read what `save` has written; arrays are NumPy's. Other safetensors files give a flat dictionary of arrays.

    Parameters
    ----------
    ours : refuse files that `save` has not written

    Raises
    ------
    CheckpointError
        when the file is cut short, changed, or no such file at all, in one line that names it
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"load: {path} does not exist")
    if not os.path.isfile(path):
        raise CheckpointError(f"load: {path} is not a file; the path of a checkpoint is wanted")
    try:
        found, noted = _read(path)
        if noted is None and not ours:
            return found
        if noted is None or noted["sha256"] != _sum(noted["rest"], found):
            raise ValueError("its sum is not the one that was noted")
        return _nested(noted["rest"], found)
    except ImportError:  # says nothing about the file
        raise
    except Exception as error:  # the reader has errors of its own for each kind of damage
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"load: {path} is not a whole checkpoint ({reason}); remove it, or take a copy") from None


def _read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays of a safetensors file by name, and what `save` noted in it (None: another's file)."""
    from safetensors import safe_open

    with safe_open(os.fspath(path), framework="numpy") as file:
        note = (file.metadata() or {}).get("tinygen")
        return {key: file.get_tensor(key) for key in file.keys()}, note and json.loads(note)  # noqa: SIM118


def _nested(tree: dict[str, Any], found: dict[str, np.ndarray]) -> dict[str, Any]:
    """The tree with the arrays at their paths."""
    for key, array in found.items():
        *folders, name = key.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = array
    return tree


def _sum(rest: Any, found: dict[str, np.ndarray]) -> str:
    """SHA-256 of the JSON part and of every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(json.dumps(rest).encode())
    for key in sorted(found):
        digest.update(f"{key} {found[key].dtype} {found[key].shape}".encode())
        digest.update(np.ascontiguousarray(found[key]).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def atomically(path: str | os.PathLike, *, new: bool = False) -> Iterator[Path]:
    """A temporary path in the same folder, to be written inside; it takes `path`'s place at the end, or goes.

    new : raise a FileExistsError where there is a file already, even one of another process at the same moment
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")  # of its own for each process
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if not (new and _linked(temporary, path)):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its name unless that is taken, in one step; whether the file system can do so."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: to look before is the best there is
        if path.exists():
            raise FileExistsError(f"{path} exists already") from None
        return False
    return True


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
                array = np.array(backend.to_numpy(inner) if backend.is_array(inner) else inner, order="C")
                found[where] = array.astype(array.dtype.newbyteorder("="), copy=False)  # nor the order of bytes
            else:
                rest[name] = _part(inner, where, found)
        return rest
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"save: {path} is a {type(value).__name__}; arrays, Tensors, numbers, strings, None and "
                    "dictionaries of these are wanted")  # fmt: skip

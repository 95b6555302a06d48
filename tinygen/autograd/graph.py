r"""What a computation leaves behind: leaves, and the nodes that were computed from them.

Every leaf and node carries a creation number, `seq`. A node is always younger than its parents, so walking
by falling `seq` meets each node after everything that was computed from it: no search for an order is needed.
Nodes point to their parents only, never forward and never to a Tensor: no reference cycle, so an intermediate
array dies with its last name, garbage collector or not.
"""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any
from weakref import WeakValueDictionary

from tinygen.backend.arrays import is_array, memory_of

creation_number = itertools.count(1).__next__


#: the creation number of the latest change of any leaf: nodes younger than that need no closer look
_last_change = [0]


#: the leaves that have changed, by the memory they lie in
_changed: WeakValueDictionary[int, Leaf] = WeakValueDictionary()


def last_change() -> int:
    """When a leaf was last changed, as a creation number."""
    return _last_change[0]


def changed_since(kept: Any, seq: int) -> Leaf | None:
    """A leaf that has changed since `seq` and whose memory one of the kept arrays shares (as a view, say)."""
    if isinstance(kept, tuple | list):
        return next((leaf for k in kept if (leaf := changed_since(k, seq)) is not None), None)
    place = memory_of(kept) if is_array(kept) else None
    leaf = _changed.get(place)  # type: ignore[arg-type]
    return leaf if leaf is not None and leaf.version > seq and leaf.memory == place else None


class GraphError(RuntimeError):
    """A backward pass that cannot be made: a freed graph, a changed leaf, no path to an input."""


class Mode(threading.local):
    """What recording does at the moment, in this thread."""

    record = 1  # 0: inside no_grad; 1: normal; 2: also remember the file and line of each call
    anomaly = False  # refuse NaN and Inf, in values and in gradients
    rewinding = False  # inside the recomputation of a checkpoint: buffers keep what they hold


mode = Mode()

#: the switches (`no_grad` ...) that are on in any thread: nearly always none, and then nobody need ask `mode`
switches: list[object] = []


class Leaf:
    """The start of a graph: a Tensor that was made, not computed, and that wants a gradient."""

    __slots__ = ("seq", "version", "memory", "shape", "dtype", "grad", "name", "__weakref__")
    rule = None
    parents = ()

    def __init__(self, shape: tuple[int, ...], dtype: Any, name: str | None = None):
        self.seq = creation_number()
        self.version = 0  # the creation number that was current when the value last changed
        self.memory: int | None = None  # where it lay then: `Module.to` moves a leaf, and its old place is used again
        self.shape = shape
        self.dtype = dtype
        self.grad: Any = None
        self.name = name

    def touch(self, array: Any, memory: int | None = None) -> None:
        """Note that the value, which lies in `array`, changes now: what was recorded before and kept it is stale.

        memory : of the array, if the caller knows it from before
        """
        self.version = _last_change[0] = creation_number()
        self.memory = memory_of(array) if memory is None else memory
        _changed[self.memory] = self


class Node:
    """One recorded operation: its rule, its parents, and what its vjps named."""

    site: str  # only while call sites are remembered
    __slots__ = ("seq", "rule", "parents", "saved", "shape", "dtype", "site", "__weakref__")

    def __init__(self, rule, parents, saved, shape, dtype):
        self.seq = creation_number()
        self.rule = rule
        self.parents = parents
        self.saved = saved
        self.shape = shape
        self.dtype = dtype


class Part:
    """One output of a node that has several; the node is its only parent."""

    __slots__ = ("seq", "parents", "index", "shape", "dtype", "__weakref__")
    rule = None

    def __init__(self, node: Node, index: int, shape, dtype):
        self.seq = creation_number()
        self.parents = (node,)
        self.index = index
        self.shape = shape
        self.dtype = dtype


class Freed:
    """Stands where a node's saved values stood, once a backward pass has used them."""


FREED = Freed()

#: code in these packages is the machinery, not the place where a user made a call
_MACHINERY = ("tinygen.autograd", "tinygen.nn", "tinygen.backend")


def call_site() -> str:
    """`file:line` of the call, outside this library's floors, that the current operation came from."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_MACHINERY):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"

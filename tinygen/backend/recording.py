"""Noting the array operations of a step as they happen, so that they can be run again without the Python between.

While a `Recorder` is at work, arrays are `Recorded`: a subclass of NumPy's whose ufuncs, functions and methods note
themselves before they answer. What runs is NumPy all the same, so a recorded step is an ordinary step. A note is a
`Call`: the function, its inputs and where its results lie. Arrays are not replaced by names: a note holds arrays,
each a view of some memory, and a replay (`program.py`) makes the same calls on the same views. So views need no notes
of their own: what is written into the memory, they show.

Notes outlive a step, and the arrays that it made should not: all at once they would fill the memory. So of a large one
the notes hold a *stand-in*, an array of its kind on memory that nobody has touched yet, which takes up no room.

Not everything in a step goes through NumPy's protocols: SciPy's routines, random draws, kernels that fill arrays of
their own. These are noted in one piece, by `whole`:

>>> import numpy as np
>>> @whole
... def shuffled(x, rng):
...     return rng.permutation(x)
>>> with Recorder() as recorder:
...     y = shuffled(recorder.entered(np.arange(3.0)), np.random.default_rng(0)) * 2
>>> [call.name for call in recorder.calls]
['shuffled', 'multiply']

What a step computes from noted arrays by any other way ends up as an array that nobody has noted. It is taken for a
constant, and two recordings of the step, which see different numbers in it, give it away (`differences`).

Notation
--------
root : the array that owns some memory; all views of it share the root
tree : tuples, lists, dicts and slices with arrays and other things for leaves
"""

from __future__ import annotations

import functools
import mmap
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


class RecordingError(RuntimeError):
    """Something in a step cannot be recorded."""


class _Now(threading.local):
    recorder: Recorder | None = None  # at work in this thread


now = _Now()

#: the recorders at work in any thread: nearly always none, and then nobody need ask `now`
at_work: list[Recorder] = []


def whole(function: Callable | None = None, *, keep: bool = False) -> Any:
    """Mark a function to be noted as one call, whatever it does inside.

    keep : it returns (result, saved), and what it saved is handed to another such function later, as it is
    """
    if function is None:
        return functools.partial(whole, keep=keep)

    @functools.wraps(function)
    def call(*inputs, **options):
        if not at_work or now.recorder is None:
            return function(*inputs, **options)
        return now.recorder.note_whole(function, inputs, options, keep)

    return call


def aside(function: Callable) -> Callable:
    """Mark a function that looks at values and returns nothing: the recorded steps are looked at, replays are not."""

    @functools.wraps(function)
    def call(*inputs, **options):
        recorder, now.recorder = now.recorder, None
        try:
            return function(*inputs, **options)
        finally:
            now.recorder = recorder

    return call


def entered(x: Any) -> Any:
    """An array that a step finds, as one whose operations are noted if somebody takes notes."""
    return x if not at_work or now.recorder is None else now.recorder.entered(x)


class Recorded(np.ndarray):
    """An array whose operations are noted; outside a recording, an array like any other."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if any(hasattr(type(x), "__array_ufunc__") and not isinstance(x, np.ndarray | np.generic) for x in inputs):
            return NotImplemented  # a Tensor knows better
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if now.recorder is not None:
            return now.recorder.note_ufunc(function, method, inputs, out, options)
        if out is not None:
            options["out"] = tuple(map(plain, out))
        return function(*map(plain, inputs), **options)

    def __array_function__(self, function, types, inputs, options):
        if now.recorder is not None and function not in _ABOUT:
            return now.recorder.note(function, inputs, options)
        return function(*each(plain, inputs), **each(plain, options))


def _noted(name: str) -> Callable:
    """A method that is noted."""
    method = getattr(np.ndarray, name)

    def call(self, *inputs, **options):
        if now.recorder is None:
            return method(plain(self), *inputs, **options)
        return now.recorder.note(method, (self, *inputs), options)

    return call


def _refused(name: str) -> Callable:
    """A method that makes Python's own numbers, which later steps would not compute anew."""
    method = getattr(np.ndarray, name)

    def call(self, *inputs):
        if now.recorder is not None:
            raise RecordingError(
                f"{name.strip('_')}() of a value that the step computes: a replay would not look at it again. Choose "
                "between arrays with tg.where, and log what the step returns"
            )
        return method(plain(self), *inputs)

    return call


_NOTED = (
    "astype", "argmax", "argmin", "argpartition", "argsort", "choose", "compress", "copy", "cumprod", "cumsum",
    "diagonal", "dot", "fill", "flatten", "partition", "put", "ravel", "repeat", "reshape", "round", "searchsorted",
    "sort", "take", "trace", "__getitem__", "__setitem__",
)  # fmt: skip
_REFUSED = ("item", "tolist", "tobytes", "nonzero", "__bool__", "__float__", "__int__", "__index__")
for _name in _NOTED:
    setattr(Recorded, _name, _noted(_name))
for _name in _REFUSED:
    setattr(Recorded, _name, _refused(_name))

#: functions that ask for an array's shape or kind, not for its numbers
_ABOUT = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.shares_memory, np.may_share_memory,
          np.iscomplexobj, np.isrealobj, np.common_type, np.min_scalar_type}  # fmt: skip
#: functions that write into `out`
_INTO = {np.concatenate, np.stack, np.dot, np.take, np.sum, np.mean, np.prod, np.cumsum, np.cumprod, np.max, np.min,
         np.amax, np.amin, np.argmax, np.argmin, np.clip, np.einsum, np.linalg.multi_dot}  # fmt: skip


def plain(x: Any) -> Any:
    """A recorded array as NumPy's own, on the same memory."""
    return np.ndarray.view(x, np.ndarray) if type(x) is Recorded else x


def each(f: Callable, tree: Any) -> Any:
    """The tree with f of its leaves."""
    if isinstance(tree, tuple | list):
        return made_like(tree, [each(f, t) for t in tree])
    if type(tree) is dict:
        return {k: each(f, t) for k, t in tree.items()}
    if type(tree) is slice:
        return slice(each(f, tree.start), each(f, tree.stop), each(f, tree.step))
    return f(tree)


def made_like(tree: tuple | list, parts: list) -> Any:
    """A tuple, list or named tuple of other parts."""
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of a tree."""
    if isinstance(tree, tuple | list):
        for t in tree:
            yield from leaves(t)
    elif type(tree) is dict:
        yield from leaves(list(tree.values()))
    elif type(tree) is slice:
        yield from (tree.start, tree.stop, tree.step)
    else:
        yield tree


@dataclass(frozen=True)
class Kept:
    """Stands for what a call saved for a later one: the call's number."""

    call: int


@dataclass
class Call:
    """One noted operation.

    Attributes
    ----------
    function, inputs, options : what was called; trees whose arrays are the recording's own memory
    outs : the arrays for its results, a tree like the result; None if there is none
    how : "into" if the function takes `out=`, "copy" if its results are copied into `outs`, "keep" if it returns
        (result, saved) besides
    """

    function: Callable
    inputs: tuple
    options: dict[str, Any]
    outs: Any
    how: str

    @property
    def name(self) -> str:
        """What the call is called in messages."""
        owner = getattr(self.function, "__self__", None)
        prefix = f"{owner.__name__}." if isinstance(owner, np.ufunc) else ""
        return prefix + getattr(self.function, "__name__", repr(self.function))

    def tree(self) -> tuple:
        """All that the call reads and writes."""
        return self.inputs, self.options, self.outs


def place(array: np.ndarray) -> tuple[np.ndarray, int]:
    """An array's root, and the address of that."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array, array.__array_interface__["data"][0]


#: bytes from which on an array has a stand-in
LARGE = 2**20


def untouched(size: int) -> np.ndarray:
    """So many bytes of memory that take up no room before something is written there."""
    return np.frombuffer(mmap.mmap(-1, size), "uint8")


def like(x: np.ndarray, address: int, root: np.ndarray) -> np.ndarray:
    """An array that lies in `root` as x lies in the memory that begins at `address`."""
    return np.ndarray(x.shape, x.dtype, root, x.__array_interface__["data"][0] - address, x.strides)


class Recorder:
    """Notes what happens to arrays in this thread, as a context manager.

    Attributes
    ----------
    calls : the notes, in order
    roots : address -> root, of all memory that a call has read or written
    made : the addresses of the roots that calls have made; the others came from outside
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.roots: dict[int, np.ndarray] = {}
        self.made: set[int] = set()
        self.standing: dict[int, tuple[weakref.ref, np.ndarray]] = {}  # address of a large array -> (it, its stand-in)
        self.keeping: dict[int, int] = {}  # id of what a call saved -> the call's number
        self.saved: list[Any] = []  # keeps the ids in use
        self.held: dict[int, tuple[Any, np.ndarray]] = {}  # id -> (a Tensor from outside, its array)
        self.touched: dict[int, tuple[Any, np.ndarray]] = {}  # id -> (a leaf that is overwritten, its array)
        self.elsewhere = False  # whether there were arrays that are not NumPy's
        self.assigned: dict[int, list[Any]] = {}  # id of a holder -> [holder, its array from outside, the newest value]

    def __enter__(self) -> Recorder:
        if now.recorder is not None:
            raise RecordingError("a recording inside a recording: a compiled step called another one")
        at_work.append(self)
        now.recorder = self
        return self

    def __exit__(self, *error) -> None:
        now.recorder = None
        at_work.remove(self)
        for holder, array, value in self.assigned.values():
            np.copyto(array, value)
            holder._data = array

    # ---- arrays ----------------------------------------------------------------------------------------

    def entered(self, x: Any) -> Any:
        """An array from outside (or one of ours) as a recorded one on the same memory; anything else as it is."""
        if type(x) is Recorded or not isinstance(x, np.ndarray):
            self.elsewhere |= hasattr(x, "dtype") and not isinstance(x, np.ndarray | np.generic)
            return x
        self._known(x)
        return x.view(Recorded)

    def operands(self, holders: tuple, raw: tuple) -> tuple:
        """The arrays of Tensors (and other inputs), entered; a Tensor from outside must keep its array in replays."""
        for holder, x in zip(holders, raw, strict=True):
            if holder is not x and type(x) is np.ndarray and not self._ours(x):
                self.held.setdefault(id(holder), (holder, x))
        return tuple([self.entered(x) for x in raw])

    def _ours(self, x: np.ndarray) -> bool:
        """Whether a call has made the memory of an array."""
        address = place(x)[1]
        return address in self.made or address in self.standing

    def _known(self, x: np.ndarray) -> None:
        """Enter an array's root, if it is new."""
        root, address = place(x)
        if address not in self.roots and address not in self.standing and x.size:
            if type(root) is Recorded:
                raise RecordingError(
                    f"an array of shape {x.shape} was made in a way that cannot be noted; use tinygen's functions, or "
                    "mark what made it with backend.recording.whole"
                )
            self.roots[address] = root

    def _operand(self, x: Any) -> Any:
        """An input as it is noted: arrays as NumPy's own, what a call has saved as `Kept`."""
        if isinstance(x, np.ndarray):
            if id(x) in self.keeping:
                return Kept(self.keeping[id(x)])
            self._known(x)
            address = place(x)[1]
            return plain(x) if address not in self.standing else like(x, address, self.standing[address][1])
        return x

    def noted(self, tree: Any) -> Any:
        """A tree of inputs, or of results, as the notes hold it."""
        if id(tree) in self.keeping:
            return Kept(self.keeping[id(tree)])
        if isinstance(tree, tuple | list):
            return made_like(tree, [self.noted(t) for t in tree])
        if type(tree) is dict:
            return {k: self.noted(t) for k, t in tree.items()}
        return each(self._operand, tree)

    def _new(self, result: Any) -> Any:
        """Memory of the recording for a result; anything else as it is."""
        if not isinstance(result, np.ndarray | np.generic):
            return result
        made = np.ndarray.copy(np.asarray(result).view(Recorded), order="K")  # which owns its memory
        address = place(made)[1]
        root: np.ndarray = made
        if made.nbytes >= LARGE:
            root = untouched(made.nbytes)
            self.standing[address] = weakref.ref(made, lambda _: self.standing.pop(address)), root
        if made.size:
            own = place(root)[1]
            self.roots[own] = root
            self.made.add(own)
        return made

    # ---- notes -----------------------------------------------------------------------------------------

    def note_ufunc(self, function, method, inputs, out, options) -> Any:
        """A ufunc or one of its methods."""
        given = each(plain, (inputs, options))
        inputs, options = self.noted(inputs), self.noted(options)
        if method == "at":
            self.calls.append(Call(function, inputs, options, None, "copy"))
            return function(*given[0], **given[1])
        if out is None:
            out = each(self._new, function(*given[0], **given[1]))
            outs = out if type(out) is tuple else (out,)
        else:
            outs, out = out, out if len(out) > 1 else out[0]
            if not all(isinstance(o, Recorded) or self._ours(o) for o in outs if o is not None):
                raise RecordingError(f"{function.__name__} writes into an array that was made outside the notes; mark "
                                     "the function that does this with backend.recording.whole")  # fmt: skip
            function(*given[0], out=each(plain, outs), **given[1])
        self.calls.append(Call(function, inputs, options, self.noted(outs), "into"))
        return out

    def note(self, function, inputs, options) -> Any:
        """A function or a method of NumPy's; one whose result shows memory that there is needs no note."""
        given = each(plain, (inputs, options))
        result = function(*given[0], **given[1])
        if isinstance(options.get("out"), np.ndarray):
            self.calls.append(Call(function, self.noted(inputs), self.noted(options), None, "copy"))
            return self.entered(options["out"])
        if isinstance(result, np.ndarray) and place(result)[1] in self._addresses(inputs):
            return result.view(Recorded)
        if type(result) in (bool, int, float, str):
            raise RecordingError(f"{function.__name__} of a value that the step computes gives Python's {result!r}: a "
                                 "replay would not look at it again")  # fmt: skip
        inputs, options = self.noted(inputs), self.noted(options)
        outs = each(self._new, result)
        into = function in _INTO and isinstance(outs, np.ndarray) and "out" not in options
        shown = self.noted((outs,) if into else outs)
        self.calls.append(Call(function, inputs, options, shown, "into" if into else "copy"))
        return outs

    def note_whole(self, function, inputs, options, keep) -> Any:
        """A function in one piece: nothing is noted inside."""
        given = each(plain, (inputs, options))
        noted = self.noted(inputs), self.noted(options)
        now.recorder = None
        try:
            result = function(*given[0], **given[1])
        finally:
            now.recorder = self
        saved = None
        if keep:
            result, saved = result
        elif isinstance(result, np.ndarray) and place(result)[1] in self._addresses((inputs, options)):
            return result.view(Recorded)
        outs = each(self._new, result)
        self.calls.append(Call(function, *noted, self.noted(outs), "keep" if keep else "copy"))
        if keep and saved is not None:
            self.keeping[id(saved)] = len(self.calls) - 1
            self.saved.append(saved)
        return (outs, saved) if keep else outs

    def note_assign(self, holder: Any, value: Any, leaf: Any = None) -> None:
        """Give a holder's `_data` a new value: a leaf's in place; any other holder's at once in this step, and in its
        own memory when the step is over."""
        if leaf is not None:
            self.entered(holder._data)[...] = value
            leaf.touch(holder._data)
            self.touched[id(leaf)] = leaf, holder._data
            return
        entry = self.assigned.setdefault(id(holder), [holder, holder._data, None])
        self._known(entry[1])
        holder._data = self.note(np.ndarray.copy, (self.entered(value),), {})
        entry[2] = plain(holder._data)

    def last(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The copies to make when all calls are done, as pairs (to, from)."""
        return [(array, self.noted(value)) for _, array, value in self.assigned.values()]

    def _addresses(self, tree: Any) -> set[int]:
        """Where the arrays of a tree lie."""
        return {place(x)[1] for x in leaves(tree) if isinstance(x, np.ndarray)}


# ---- two recordings of one step ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """An array of a recording, as far as another one has to be like it.

    Attributes
    ----------
    kind : shape, strides and dtype
    root, offset : the address of its root, and where it begins there
    array : the array itself if it is from outside; None if a call has made it, so that its memory may go
    """

    kind: tuple
    root: int
    offset: int
    array: np.ndarray | None

    def __str__(self) -> str:
        return f"{self.kind[2]} {self.kind[0]}"


def summary(recorder: Recorder, results: Any) -> tuple[list[tuple[Callable, str, Any]], Any]:
    """The calls as (function, name, tree), and what is left at the end, with `Seen` in place of arrays."""

    def seen(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        root = place(x)[1]
        made = root in recorder.made
        kind = x.shape, x.strides, x.dtype
        return Seen(kind, root, x.__array_interface__["data"][0] - root, None if made else x)

    calls = [(call.function, call.name, each(seen, call.tree())) for call in recorder.calls]
    return calls, each(seen, (recorder.last(), results))


def differences(one: tuple, other: tuple) -> str | None:
    """What two steps did differently, by their summaries, in words; None if they would replay alike."""
    (calls, end), (others, other_end) = one, other
    if len(calls) != len(others):
        return f"one step made {len(calls)} calls, the next {len(others)}"
    pairs: dict[int, int] = {}  # roots that calls have made, by the order in which they come
    for (f, name, tree), (g, other_name, other_tree) in zip(calls, others, strict=True):
        if f is not g and f != g:
            return f"{name} was called in one step, {other_name} in the next"
        found = _unlike(tree, other_tree, pairs)
        if found:
            return f"{name} was given {found}"
    return _unlike(end, other_end, pairs)


def _unlike(a: Any, b: Any, pairs: dict[int, int]) -> str | None:
    """Where two trees differ."""
    if type(a) is not type(b):
        return f"a {type(a).__name__} in one step, a {type(b).__name__} in the next"
    if isinstance(a, Seen):
        return _unlike_arrays(a, b, pairs)
    if isinstance(a, tuple | list):
        if len(a) != len(b):
            return f"{len(a)} things in one step, {len(b)} in the next"
        return next(filter(None, (_unlike(x, y, pairs) for x, y in zip(a, b, strict=True))), None)
    if type(a) is dict:
        return _unlike(list(a.items()), list(b.items()), pairs)
    if type(a) is slice:
        return _unlike((a.start, a.stop, a.step), (b.start, b.stop, b.step), pairs)
    if a is b or (repr(a) == repr(b) if isinstance(a, float) else _equal(a, b)):
        return None
    return f"{a!r} in one step, {b!r} in the next"


def _unlike_arrays(a: Seen, b: Seen, pairs: dict[int, int]) -> str | None:
    """Where two arrays differ: in kind, in the place within their roots, or in values that no call computes."""
    if a.kind != b.kind:
        return f"{a} in one step, {b} in the next"
    if a.array is None or b.array is None:
        if pairs.setdefault(a.root, b.root) == b.root and a.offset == b.offset:
            return None
        return f"another intermediate {a} in the next step"
    if a.root == b.root or a.array.tobytes() == b.array.tobytes():
        return None
    return (f"an array {a} from outside the notes, with other values in the next step; compute it with tinygen's "
            "functions, or give it to the step as an argument")  # fmt: skip


def _equal(a: Any, b: Any) -> bool:
    """Whether two things that are no arrays are equal, as far as they can say."""
    try:
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):
        return False

"""A recorded step as straight-line Python: the noted calls, one after the other, into memory that is there already.

What is left of a step when its recording is replayed are the calls of NumPy themselves. A ufunc takes its inputs and
the array to write into by position, the cheapest way there is to call it; nothing is looked up, nothing allocated,
nobody keeps a graph. Results that nobody reads are not computed.

**Blocks.** A chain of elementwise calls on large arrays spends its time on memory: each call reads and writes arrays
that have left the cache since the call before. But element by element the calls have nothing to do with each other. So
a row of such calls on arrays of one shape is run on a piece of the arrays at a time, all calls on the first piece, all
on the next. What only these calls see need never exist as a whole: a room of one piece will do, and stays in the cache.

**Memory.** While it is recorded, every result has memory of its own. In the program an intermediate has some only from
the call that makes it to the last one that reads it; then another of the same size gets it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tinygen.backend.linear import matmul
from tinygen.backend.recording import Call, Kept, Recorder, RecordingError, each, leaves, like, place
from tinygen.backend.threads import ELEMENTWISE, pays, shared, threads

#: ufuncs that take a number among arrays as an array of their dtype: handing them one saves the conversion
_MIXING = {
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.power, np.equal, np.not_equal, np.less,
    np.less_equal, np.greater, np.greater_equal, np.copysign, np.arctan2, np.logaddexp,
}  # fmt: skip


#: ufuncs that want their output by name
_NAMED = {np.maximum, np.minimum}


Chain = list[tuple[int, Call]]  # calls with their numbers


class Program:
    """The calls of a recording, ready to run: `program()` runs them all.

    Attributes
    ----------
    source : the Python that runs
    """

    def __init__(self, recorder: Recorder, results: Any = ()):
        self._names: dict[int, str] = {}
        self._values: dict[str, Any] = {"copyto": np.copyto, "store": store, "by_pieces": by_pieces}
        lines, chains = [], list(chained(needed(recorder, results)))
        local = [seen_here_only(chain, chains, recorder, results) if len(chain) > 1 else set() for chain in chains]
        for chain, rooms in zip(placed(chains, recorder, results, set().union(*local)), local, strict=True):
            if len(chain) > 1:
                work = pieces([call for _, call in chain], rooms)
                lines.append(f"by_pieces({self._name(work)}, {ELEMENTWISE * chain[0][1].outs[0].size * len(chain)})")
            else:
                lines += [self._line(k, call) for k, call in chain]
        lines += [f"copyto({self._name(to)}, {self._name(value)})" for to, value in recorder.last()]
        self.source = "\n    ".join(["def run():", *lines, "return None"])
        exec(compile(self.source, "<a recorded step>", "exec"), self._values)
        self._run: Callable[[], None] = self._values["run"]

    def __call__(self) -> None:
        self._run()

    def _line(self, k: int, call: Call) -> str:
        """A call as a line of Python."""
        inputs = [self._expression(x) for x in _as_arrays(call)]
        inputs += [f"{name}={self._expression(x)}" for name, x in call.options.items()]
        if (
            call.how == "into"
            and isinstance(call.function, np.ufunc)
            and not call.options
            and call.function not in _NAMED
        ):
            return self._call(call, [*inputs, *(self._name(o) for o in call.outs)])
        if call.how == "into":
            outs = [self._expression(o) for o in call.outs]
            return self._call(call, [*inputs, f"out={outs[0] if len(outs) == 1 else '(' + ', '.join(outs) + ')'}"])
        if call.how == "keep":
            return f"result, kept{k} = {self._call(call, inputs)}; store({self._name(call.outs)}, result)"
        if isinstance(call.outs, np.ndarray):
            return f"copyto({self._name(call.outs)}, {self._call(call, inputs)})"
        if any(isinstance(o, np.ndarray) for o in leaves(call.outs)):
            return f"store({self._name(call.outs)}, {self._call(call, inputs)})"
        return self._call(call, inputs)

    def _call(self, call: Call, arguments: list[str]) -> str:
        function = matmul if call.function is np.matmul and large(call) else call.function
        return f"{self._name(function)}({', '.join(arguments)})"

    def _expression(self, x: Any) -> str:
        """An input: a name for what it is, or an expression where it holds what an earlier call has kept."""
        if isinstance(x, Kept):
            return f"kept{x.call}"
        if isinstance(x, tuple | list | dict) and any(isinstance(leaf, Kept) for leaf in leaves(x)):
            if type(x) is dict:
                return "{" + ", ".join(f"{k!r}: {self._expression(v)}" for k, v in x.items()) + "}"
            parts = "".join(self._expression(v) + ", " for v in x)
            return f"({parts})" if type(x) is tuple else f"[{parts}]"
        return self._name(x)

    def _name(self, x: Any) -> str:
        """A global name for a value; the same one for the same object."""
        if id(x) not in self._names:
            self._names[id(x)] = name = f"v{len(self._names)}"
            self._values[name] = x
        return self._names[id(x)]


def large(product: Call) -> bool:
    """Whether a product of matrices is one that threads may share."""
    a, out = product.inputs[0], product.outs[0]
    return product.how == "into" and a.ndim == out.ndim == 2 and pays(out.size * a.shape[1])


def _as_arrays(call: Call) -> tuple:
    """The inputs of a call, with numbers as arrays where that is faster and the same."""
    kinds = {x.dtype for x in call.inputs if isinstance(x, np.ndarray)} if call.function in _MIXING else set()
    if len(kinds) != 1 or (kind := next(iter(kinds))).kind != "f":
        return call.inputs
    return tuple([np.asarray(x, kind) if type(x) in (float, int) else x for x in call.inputs])


# ---- which calls there have to be ---------------------------------------------------------------------------


def roots_of(tree: Any) -> set[int]:
    """The addresses of the roots of all arrays in a tree."""
    return {place(x)[1] for x in leaves(tree) if isinstance(x, np.ndarray) and x.size}


def needed(recorder: Recorder, results: Any) -> Chain:
    """The calls, with their numbers, less those that only write what nobody reads."""
    read, kept = roots_of((results, recorder.last())), []
    for k, call in reversed(list(enumerate(recorder.calls))):
        written = roots_of(call.outs)
        pure = call.how == "into" and written and written <= recorder.made
        if not pure or written & read:
            read |= roots_of(call.tree())
            kept.append((k, call))
    return kept[::-1]


# ---- which memory they compute in ---------------------------------------------------------------------------


def placed(chains: list[Chain], recorder: Recorder, results: Any, roomed: set[int]) -> list[Chain]:
    """The same calls on less memory: that of an intermediate is handed on when the last call has read it.

    Within a chain, which runs piece by piece, nothing is handed on. Roots in `roomed` get rooms there.
    """
    free_to_move = recorder.made - roots_of((results, recorder.last())) - roomed
    read_again: dict[int, set[int]] = {}  # what a call may have kept a view of, by its number
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, chain in enumerate(chains):
        for k, call in chain:
            read_again[k] = roots_of((call.inputs, call.options))
            kept = [read_again[x.call] for x in leaves((call.inputs, call.options)) if isinstance(x, Kept)]
            for root in set().union(roots_of(call.tree()), *kept) & free_to_move:
                first.setdefault(root, i)
                last[root] = i
    memory: dict[int, np.ndarray] = {}
    free: dict[int, list[np.ndarray]] = {}
    for i in range(len(chains)):
        for root in [r for r, at in first.items() if at == i]:
            size = recorder.roots[root].nbytes
            memory[root] = free[size].pop() if free.get(size) else np.empty(-(-size // 8), "float64").view("uint8")
        for root in [r for r, at in last.items() if at == i]:
            free.setdefault(recorder.roots[root].nbytes, []).append(memory[root])

    def moved(x: Any) -> Any:
        if not isinstance(x, np.ndarray) or not x.size or (root := place(x)[1]) not in memory:
            return x
        return like(x, root, memory[root])

    return [[(k, replace(call, inputs=each(moved, call.inputs), options=each(moved, call.options),
                         outs=each(moved, call.outs))) for k, call in chain] for chain in chains]  # fmt: skip


# ---- chains of elementwise calls, piece by piece --------------------------------------------------------------

LARGE = 2**17  # elements, from which on pieces pay
PIECE = 2**15  # elements: of float32, 128 KiB


def chained(calls: Chain) -> Iterator[Chain]:
    """Neighbouring calls that may run piece by piece together; any other call by itself."""
    chain: Chain = []
    starts: dict[int, int] = {}  # where in their roots the arrays of the chain begin
    for k, call in calls:
        places = _elementwise(call)
        fits = places is not None and (not chain or chain[0][1].outs[0].shape == call.outs[0].shape)
        if not fits or any(starts.get(root, start) != start for root, start in (places or {}).items()):
            if chain:
                yield chain
            chain, starts = [], {}
        if places is None:
            yield [(k, call)]
        else:
            chain.append((k, call))
            starts |= places
    if chain:
        yield chain


def _elementwise(call: Call) -> dict[int, int] | None:
    """Where the arrays of a large elementwise call begin in their roots; None for any other call."""
    if call.how != "into" or not isinstance(call.function, np.ufunc) or call.function.signature or call.options:
        return None
    arrays = [x for x in (*call.inputs, *call.outs) if isinstance(x, np.ndarray) and x.ndim]
    shape = call.outs[0].shape
    if call.outs[0].size < LARGE or not all(x.shape == shape and (x.flags.c_contiguous or _one(x)) for x in arrays):
        return None
    if any(isinstance(x, Kept) or isinstance(x, np.ndarray) and not x.ndim and place(x)[1] in roots_of(call.outs)
           for x in call.inputs):  # fmt: skip
        return None
    return {place(x)[1]: x.__array_interface__["data"][0] for x in arrays}


def _one(x: np.ndarray) -> bool:
    """Whether an array is one number, broadcast."""
    return not any(x.strides)


Piece = list[tuple[Callable, tuple]]  # calls with what they take


def pieces(calls: list[Call], local: set[int]) -> list[list[Piece]]:
    """For each thread its pieces: the calls with parts of the arrays, or with rooms for the roots in `local`."""
    size = calls[0].outs[0].size
    starts = range(0, size, PIECE)
    n = min(threads(), len(starts))
    cuts = [slice(start, min(start + PIECE, size)) for start in starts]
    return [_lane(calls, _rooms(calls, local), cuts[len(cuts) * i // n : len(cuts) * (i + 1) // n]) for i in range(n)]


def _lane(calls: list[Call], rooms: dict[int, np.ndarray], cuts: list[slice]) -> list[Piece]:
    """The pieces of one thread."""

    def part(x: Any, cut: slice) -> Any:
        if not isinstance(x, np.ndarray) or not x.ndim:
            return x
        if _one(x):
            return x[(slice(0, 1),) * x.ndim].reshape(())
        room = rooms.get(place(x)[1])
        return x.reshape(-1)[cut] if room is None else room[: cut.stop - cut.start]

    return [[(_into(call), tuple([part(x, cut) for x in (*_as_arrays(call), *call.outs)])) for call in calls]
            for cut in cuts]  # fmt: skip


def seen_here_only(chain: Chain, chains: list[Chain], recorder: Recorder, results: Any) -> set[int]:
    """The roots that the calls of a chain make and nobody else looks at."""
    others = [call.tree() for other in chains if other is not chain for _, call in other]
    own = roots_of([call.tree() for _, call in chain]) & recorder.made
    return own - roots_of((results, recorder.last(), others))


def _rooms(calls: list[Call], local: set[int]) -> dict[int, np.ndarray]:
    """A room for each of these roots; it is free for another when the last call has seen it."""
    last = {root: k for k, call in enumerate(calls) for root in roots_of(call.tree())}
    rooms: dict[int, np.ndarray] = {}
    free: dict[Any, list[np.ndarray]] = {}
    for k, call in enumerate(calls):
        for out in call.outs:
            root = place(out)[1]
            if root in local and root not in rooms:
                rooms[root] = free[out.dtype].pop() if free.get(out.dtype) else np.empty(PIECE, out.dtype)
        for root in roots_of(call.tree()):
            if root in rooms and last[root] == k:
                free.setdefault(rooms[root].dtype, []).append(rooms[root])
    return rooms


def _into(call: Call) -> Callable:
    """The ufunc, to be called with its inputs and its outputs by position."""
    return functools.partial(_named, call.function) if call.function in _NAMED else call.function


def _named(function: np.ufunc, a: Any, b: Any, out: np.ndarray) -> None:
    """A ufunc that wants its output by name."""
    function(a, b, out=out)


def by_pieces(lanes: list[list[Piece]], operations: float) -> None:
    """Each thread: run all calls on its first piece, then on the next."""

    def work(cut: slice) -> None:
        for lane in lanes[cut]:
            for piece in lane:
                for function, arrays in piece:
                    function(*arrays)

    shared(work, len(lanes), operations)


def store(outs: Any, result: Any) -> None:
    """Copy what a call gave into the memory for it."""
    if isinstance(outs, np.ndarray):
        np.copyto(outs, result)
    elif isinstance(outs, tuple | list):
        for o, r in zip(outs, result, strict=True):
            store(o, r)
    elif type(outs) is dict:
        for name, o in outs.items():
            store(o, result[name])
    elif outs is not result and outs != result:
        raise RecordingError(f"a replayed function gave {result!r}, but {outs!r} when it was recorded")

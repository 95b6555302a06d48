"""A recorded step as straight-line Python: the noted calls, one after the other, into memory that is there already.

What is left of a step when its recording is replayed are the calls of NumPy themselves. A ufunc takes its inputs and
the array to write into by position, the cheapest way there is to call it; nothing is looked up, nothing allocated,
nobody keeps a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygen.backend.recording import Call, Kept, Recorder, RecordingError, leaves

#: ufuncs that take a number among arrays as an array of their dtype: handing them one saves the conversion
_MIXING = {
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.power, np.equal, np.not_equal, np.less,
    np.less_equal, np.greater, np.greater_equal, np.copysign, np.arctan2, np.logaddexp,
}  # fmt: skip


#: ufuncs that want their output by name
_NAMED = {np.maximum, np.minimum}


class Program:
    """The calls of a recording, ready to run: `program()` runs them all.

    Attributes
    ----------
    source : the Python that runs
    """

    def __init__(self, recorder: Recorder):
        self._names: dict[int, str] = {}
        self._values: dict[str, Any] = {"copyto": np.copyto, "store": store}
        lines = [self._line(k, call) for k, call in enumerate(recorder.calls)]
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
        return f"{self._name(call.function)}({', '.join(arguments)})"

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


def _as_arrays(call: Call) -> tuple:
    """The inputs of a call, with numbers as arrays where that is faster and the same."""
    kinds = (
        {x.dtype for x in (*call.inputs, *(call.outs or ())) if isinstance(x, np.ndarray)}
        if call.function in _MIXING
        else ()
    )
    if len(kinds) != 1 or (kind := next(iter(kinds))).kind != "f":
        return call.inputs
    return tuple([np.asarray(x, kind) if type(x) in (float, int) else x for x in call.inputs])


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

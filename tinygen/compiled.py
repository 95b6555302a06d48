"""`compile`: run a training step twice as it is written, then only the array operations that it made.

The first two calls are ordinary steps in which every operation is noted (`backend/recording.py`). If both made the
same ones, later calls replay them (`backend/program.py`): the same calls of NumPy in the same order, hence the same
bits, without a graph, without allocations, without the Python between. The price is that nothing but array operations
is replayed: no `if` on a value (which raises), no counter of the step's own. What draws or remembers by itself comes
along: Generators, optimisers, schedules, `assign`.
"""

from __future__ import annotations

import functools
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygen.autograd.graph import GraphError
from tinygen.autograd.modes import call_sites
from tinygen.autograd.tensor import Tensor
from tinygen.backend.arrays import is_array
from tinygen.backend.program import Program
from tinygen.backend.recording import Recorder, RecordingError, differences, each, entered, leaves, plain, summary


def compile(step: Callable) -> Callable:
    """A step that is recorded at its first two calls and replayed from then on.

    Parameters
    ----------
    step : a function of arrays, Tensors and constants that returns Tensors, arrays and constants (also in tuples, lists
        and dictionaries). It may hold functions of tinygen and NumPy on what is computed, `grad`, `assign`, draws from
        Generators, and steps of optimisers and schedules. Other effects happen in the two recordings only.

    Returns
    -------
    a function like `step`, whose results are detached copies. Each combination of shapes and dtypes of the arrays, and
    of the constants, among its arguments gets a recording of its own; so does a parameter that has been moved.

    Raises
    ------
    GraphError
        From a call, where the step does something that cannot be recorded, or not the same twice.

    Examples
    --------
    >>> import tinygen as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD(w, 0.1)
    >>> @tg.compile
    ... def step(x):
    ...     loss = tg.sum(tg.square(w - x))
    ...     optimizer.step(tg.grad(loss, w))
    ...     return loss
    >>> [round(step(tg.zeros(2)).item(), 3) for _ in range(4)]
    [5.0, 3.2, 2.048, 1.311]
    """
    return functools.update_wrapper(_Compiled(step), step)


class _Compiled:
    """A step and what is known of it, by the kind of its arguments."""

    def __init__(self, step: Callable):
        self.step = step
        self.known: dict[str, _Replay | _Once] = {}
        self.elsewhere = False  # whether it computes on a device whose operations are not recorded

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self.elsewhere:
            return self.step(*inputs, **options)
        given = inputs, options
        key = repr(each(_kind, given)) if inputs or options else ""
        known = self.known.pop(key, None)  # and put back, if all goes well
        if type(known) is _Replay and known.holds():
            self.known[key] = known
            return known(given)
        recording = _Recording(self.step, known.memory if known else each(_memory, given), given)
        if recording.recorder.elsewhere:
            self.elsewhere = True
            warnings.warn("compile: steps on a GPU are not recorded yet; this one runs as it is written", stacklevel=2)
        elif type(known) is _Once:
            found = differences(known.summary, summary(recording.recorder, each(_raw, recording.places)))
            if found:
                raise GraphError(f"compile: {_name(self.step)} cannot be replayed: {found}")
            self.known[key] = _Replay(recording)
        else:
            self.known[key] = _Once(recording)
        return each(_copied, recording.results)


class _Recording:
    """One call of a step, noted.

    Attributes
    ----------
    memory : the arguments, with arrays that stay the same from call to call
    results : what the step has returned
    places : where a replay leaves what it returns
    """

    def __init__(self, step: Callable, memory: Any, given: Any):
        self.memory, self.recorder = memory, Recorder()
        _fill(memory, given)
        try:
            with self.recorder, call_sites():
                inputs, options = each(_entered, memory)
                results = step(*inputs, **options)
        except RecordingError as error:
            raise GraphError(f"compile: {_name(step)}: {_site(error)}{error}") from error
        self.results = each(_bare, results)
        self.places = each(self._place, self.results)

    def _place(self, result: Any) -> Any:
        """A result on the memory of the notes."""
        return Tensor(self.recorder.noted(result._data)) if isinstance(result, Tensor) else self.recorder.noted(result)


class _Once:
    """What is kept of the first of two recordings: none of the memory that its calls have made."""

    def __init__(self, recording: _Recording):
        self.memory = recording.memory
        self.summary = summary(recording.recorder, each(_raw, recording.places))


class _Replay:
    """A recording as a program."""

    def __init__(self, recording: _Recording):
        self.memory, self.results, recorder = recording.memory, recording.places, recording.recorder
        self.run = Program(recorder, each(_raw, recording.places))
        self.held, self.touched = list(recorder.held.values()), list(recorder.touched.values())

    def holds(self) -> bool:
        """Whether all Tensors from outside lie where they lay."""
        return all([tensor._data is array for tensor, array in self.held])

    def __call__(self, given: Any) -> Any:
        _fill(self.memory, given)
        self.run()
        for leaf, array in self.touched:
            leaf.touch(array)
        return each(_copied, self.results)


def _kind(x: Any) -> Any:
    """What a recording depends on, of an argument."""
    if isinstance(x, Tensor) and x._node is not None:
        return "Tensor with a past", id(x)
    if isinstance(x, Tensor) or is_array(x):
        return type(x).__name__, x.shape, str(x.dtype)
    return x


def _memory(x: Any) -> Any:
    """An argument for all calls: arrays and Tensors have memory of their own, which `_fill` fills."""
    if isinstance(x, Tensor) and x._node is None:
        return Tensor(x._data.copy())
    return x.copy() if is_array(x) else x


def _fill(memory: Any, given: Any) -> None:
    """Copy this call's arguments where the recording looks for them."""
    for own, x in zip(leaves(memory), leaves(given), strict=True):
        if own is not x:
            _raw(own)[...] = _raw(x)


def _entered(x: Any) -> Any:
    """An argument as the recorded step gets it."""
    return Tensor(entered(x._data)) if isinstance(x, Tensor) and x._node is None else entered(x)


def _raw(x: Any) -> Any:
    """A Tensor's array; anything else as it is."""
    return x._data if isinstance(x, Tensor) else x


def _bare(x: Any) -> Any:
    """A result without a past, on plain memory."""
    return Tensor(plain(x._data)) if isinstance(x, Tensor) else plain(x)


def _copied(x: Any) -> Any:
    """A result that the next call will not change."""
    return Tensor(x._data.copy()) if isinstance(x, Tensor) else x.copy() if is_array(x) else x


def _name(step: Callable) -> str:
    return getattr(step, "__name__", repr(step))


def _site(error: Exception) -> str:
    """`file:line: ` of the step's own code that an error came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "tinygen" not in Path(f.filename).parts]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""

r"""What all optimisers share: the parameters, their memories, and the one place where a parameter changes.

An optimiser turns the gradient $g$ of a parameter $\theta$ into a step $\Delta$ and makes

$$ \theta \leftarrow \theta - \Delta. \tag{1} $$

A kind of optimiser is its `change`, which computes $\Delta$ from $g$ and from what it remembers of this
parameter (a dictionary of arrays and integers, empty before the first step). Weight decay adds to the loss
$\tfrac{\lambda}{2} \|\theta\|^2$, whose gradient is $\lambda \theta$:

$$ g \leftarrow g + \lambda \theta. \tag{2} $$

Options are the same for all parameters of an optimiser. Parameters that want others get an optimiser of their own:
`SGD(net.body.parameters(), 0.1)` and `SGD(net.head.parameters(), 0.01)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygen.autograd import Tensor
from tinygen.autograd.graph import Leaf
from tinygen.backend import arrays as backend
from tinygen.backend.arrays import array_module, device_of, memory_of
from tinygen.backend.recording import whole

#: parameters of at most so many elements take their steps together
SMALL = 2**12


class Optimizer:
    r"""Base of the optimisers; a kind of its own writes `change`.

    Parameters
    ----------
    params : the parameters $\theta$: leaf Tensors with requires_grad (`module.parameters()`)
    lr : learning rate, positive; may be set to another value between steps (see `schedules`)
    weight_decay : $\lambda$, at least 0

    Attributes
    ----------
    state : for each parameter, what is remembered of it
    elementwise : whether `change` treats every element by itself, so that several parameters may be given as one
    """

    elementwise = False

    def __init__(self, params: Iterable[Tensor], lr: float, *, weight_decay: float = 0.0):
        self.params = [params] if isinstance(params, Tensor) else list(params)
        kind = type(self).__name__
        if not self.params:
            raise ValueError(f"{kind}: params is empty; give module.parameters() or a list of Tensors")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor) or not p.is_leaf or not p.requires_grad:
                raise TypeError(f"{kind}: params[{i}] is {type(p).__name__} {getattr(p, 'shape', '')}; a leaf Tensor "
                                "with requires_grad=True is wanted")  # fmt: skip
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError(f"{kind}: params holds one Tensor twice; its step would be made twice")
        if not lr > 0:
            raise ValueError(f"{kind}: lr must be positive, got {lr!r}")
        if not weight_decay >= 0:
            raise ValueError(f"{kind}: weight_decay must be at least 0, got {weight_decay!r}")
        self.lr, self.weight_decay = lr, weight_decay
        self.state: list[dict[str, Any]] = [{} for _ in self.params]
        self._groups: list[_Group] = []  # the parameters that took the last step together
        self._todo: list[int] | None = None  # and which they were
        self._room: dict[Any, Any] = {}  # memory to compute steps in: fresh memory would cost more than the arithmetic

    def change(self, p: Any, g: Any, state: dict[str, Any]) -> Any:
        r"""The step $\Delta$ for a parameter, all raw arrays of one shape; g is not to be written to."""
        raise NotImplementedError(f"{type(self).__name__} has no change method")

    def memories(self) -> list[str] | None:
        """The names of what `change` remembers of a parameter; None, whatever it likes: then loading does not check."""
        return None

    def room(self, p: Any) -> Any:
        """An array like p with anything in it, the same at every call: for the step, which is soon used."""
        key = type(p), p.dtype, device_of(p)
        if key not in self._room or self._room[key].size < p.size:
            self._room[key] = array_module(p).empty(p.size, p.dtype)
        return self._room[key][: p.size].reshape(p.shape)

    def decayed(self, p: Any, g: Any) -> Any:
        r"""(2): the gradient with that of $\tfrac{\lambda}{2} \|\theta\|^2$."""
        return g + self.weight_decay * p if self.weight_decay else g

    def step(self, grads: Sequence[Any] | None = None) -> None:
        """Change every parameter by (1), in place.

        Parameters
        ----------
        grads : one Tensor, array or None for each parameter, as from `tg.grad(loss, params)`; by default what
            `loss.backward()` left in their `.grad`. Parameters whose gradient is None stay as they are.
        """
        if grads is None:
            grads = [p.grad for p in self.params]
        elif isinstance(grads, Tensor):
            grads = [grads]
        if len(grads) != len(self.params):
            raise ValueError(f"step: {len(grads)} grads for {len(self.params)} parameters; one each is wanted")
        raw = [g._data if isinstance(g, Tensor) else g for g in grads]
        for i, (p, g) in enumerate(zip(self.params, raw, strict=True)):
            if g is not None and (g.shape != p.shape or g.dtype.kind != "f"):
                raise ValueError(f"step: grads[{i}] has shape {g.shape} and dtype {g.dtype}, its parameter "
                                 f"{p.shape} and {p.dtype}; floats of its shape are wanted")  # fmt: skip
        self._move(raw)

    @whole
    def _move(self, raw: list[Any]) -> None:
        """Change every parameter by (1); raw gradients, None for parameters that stay."""
        todo = [i for i, (p, g) in enumerate(zip(self.params, raw, strict=True)) if g is not None and p.requires_grad]
        if todo != self._todo or not all([group.holds() for group in self._groups]):
            self._groups, self._todo = [_Group(self, together) for together in self._alike(todo)], todo
        for group in self._groups:
            group.move(raw, self.change)

    def _alike(self, todo: list[int]) -> Iterator[list[int]]:
        """Large parameters alone; small ones that are alike together, since each call costs more than its work."""
        alike: dict[Any, list[int]] = {}
        for i in todo:
            p = self.params[i]._data
            if p.size > SMALL or not self.elementwise:
                yield [i]
            else:
                counts = tuple([v for v in self.state[i].values() if isinstance(v, int)])
                place = None if isinstance(p, np.ndarray) else device_of(p)
                alike.setdefault((p.dtype, place, counts, len(self.state[i])), []).append(i)
        yield from alike.values()

    def zero_grad(self) -> None:
        """Forget the gradients that `backward` has added up."""
        for p in self.params:
            if p.requires_grad:
                p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The learning rate and copies of all memories, by the parameters' numbers."""
        memories = {str(i): {k: _copy(v) for k, v in s.items()} for i, s in enumerate(self.state)}
        return {"lr": self.lr, "state": memories}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict` for parameters of the same number and shapes, or change nothing."""
        memories = state["state"]
        if set(memories) != {str(i) for i in range(len(self.params))}:
            raise ValueError(f"load_state_dict: memories of {len(memories)} parameters for {len(self.params)}; "
                             "the same parameters in the same order are wanted")  # fmt: skip
        wanted = self.memories()
        for i, p in enumerate(self.params):
            found = memories[str(i)]  # empty before the first step
            if found and wanted is not None and set(found) != set(wanted):
                raise ValueError(f"load_state_dict: the memory of parameter {i} holds {sorted(found)}; this "
                                 f"{type(self).__name__} wants {sorted(wanted)} (the same options)")  # fmt: skip
            for name, value in found.items():
                if not _is_count(value) and np.shape(value) != p.shape:
                    raise ValueError(f"load_state_dict: {name} of parameter {i} has shape {np.shape(value)}, "
                                     f"the parameter {p.shape}")  # fmt: skip
        loaded = [{k: _like(v, p) for k, v in memories[str(i)].items()} for i, p in enumerate(self.params)]
        self.lr, self.state, self._todo = float(state["lr"]), loaded, None


class _Group:
    """Parameters that take their steps together, computed as one long vector; their memories are parts of one, too."""

    def __init__(self, optimizer: Optimizer, together: list[int]):
        self.together = together
        self.params, self.states = [optimizer.params[i] for i in together], [optimizer.state[i] for i in together]
        self.arrays = [p._data for p in self.params]
        self.places = [memory_of(a) for a in self.arrays]
        self.xp, ends = array_module(*self.arrays), itertools.accumulate([a.size for a in self.arrays])
        self.cuts = [(slice(end - a.size, end), a.shape) for a, end in zip(self.arrays, ends, strict=True)]
        self.joined = self.states[0] if len(together) == 1 else self._join()

    def holds(self) -> bool:
        """Whether the parameters lie where they lay."""
        return all([p._data is a for p, a in zip(self.params, self.arrays, strict=True)])

    def move(self, raw: list[Any], change: Callable) -> None:
        """(1) for all of them, in place, by what `change` makes of a gradient."""
        if len(self.together) == 1:
            deltas = [change(self.arrays[0], raw[self.together[0]], self.joined)]
        else:
            known = len(self.joined)
            grads = _flat(self.xp, [raw[i] for i in self.together])
            step = change(_flat(self.xp, self.arrays), grads, self.joined)
            self._share(whole=len(self.joined) != known)
            deltas = [step[cut].reshape(shape) for cut, shape in self.cuts]
        for p, array, place, delta in zip(self.params, self.arrays, self.places, deltas, strict=True):
            p._data = descend(array, delta)
            _leaf(p).touch(array, place)

    def _join(self) -> dict[str, Any]:
        """The memories of all as one memory, of which theirs become parts."""
        first = self.states[0]
        whole = {k: _flat(self.xp, [s[k] for s in self.states]) for k, v in first.items() if not isinstance(v, int)}
        self.joined = {k: whole.get(k, v) for k, v in first.items()}
        self._share(whole=True)
        return self.joined

    def _share(self, whole: bool) -> None:
        """Give each parameter its part of the joint memory; without `whole`, only what is no array."""
        for name, value in self.joined.items():
            if isinstance(value, int):
                for state in self.states:
                    state[name] = value
            elif whole:
                for state, (cut, shape) in zip(self.states, self.cuts, strict=True):
                    state[name] = value[cut].reshape(shape)


def _flat(xp: Any, arrays: list[Any]) -> Any:
    """Arrays as one long vector."""
    return xp.concatenate([a.reshape(-1) for a in arrays])


def descend(p: Any, delta: Any) -> Any:
    """(1), in place; returns p."""
    p -= delta
    return p


def _leaf(p: Tensor) -> Leaf:
    """A parameter's place in the graph."""
    assert isinstance(p._node, Leaf)
    return p._node


def _copy(value: Any) -> Any:
    """A memory as it is saved: on the host, in memory of its own."""
    return np.array(backend.to_numpy(value)) if backend.is_array(value) else value


def _is_count(value: Any) -> bool:
    """Whether a saved memory is an integer, perhaps one that NumPy has wrapped."""
    return isinstance(value, int) or (np.shape(value) == () and np.asarray(value).dtype.kind in "iu")


def _like(value: Any, p: Tensor) -> Any:
    """A saved memory as it is used: an array on the parameter's device, or an integer."""
    return int(value) if _is_count(value) else backend.asarray(value, p.dtype, p.device, copy=True)

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygen.autograd import Tensor
from tinygen.autograd.graph import Leaf
from tinygen.backend import arrays as backend
from tinygen.backend.arrays import array_module, device_of
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
        self._joined: dict[tuple[int, ...], Any] = {}  # the joint memories of small parameters
        self._room: dict[Any, Any] = {}  # memory to compute steps in: fresh memory would cost more than the arithmetic

    def change(self, p: Any, g: Any, state: dict[str, Any]) -> Any:
        r"""The step $\Delta$ for a parameter, all raw arrays of one shape; g is not to be written to."""
        raise NotImplementedError(f"{type(self).__name__} has no change method")

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
            if g is not None and g.shape != p.shape:
                raise ValueError(f"step: grads[{i}] has shape {g.shape}, its parameter {p.shape}")
        self._move(raw)

    @whole
    def _move(self, raw: list[Any]) -> None:
        """Change every parameter by (1); raw gradients, None for parameters that stay."""
        todo = [i for i, (p, g) in enumerate(zip(self.params, raw, strict=True)) if g is not None and p.requires_grad]
        for together in self._groups(todo) if self.elementwise else [[i] for i in todo]:
            if len(together) == 1:
                (i,) = together
                deltas = [self.change(self.params[i]._data, raw[i], self.state[i])]
            else:
                deltas = self._joint_change(together, raw)
            for i, delta in zip(together, deltas, strict=True):
                p = self.params[i]
                p._data = descend(p._data, delta)
                _leaf(p).touch(p._data)

    def _groups(self, todo: list[int]) -> Iterator[list[int]]:
        """Large parameters alone; small ones that are alike together, since each call costs more than its work."""
        alike: dict[Any, list[int]] = {}
        for i in todo:
            p = self.params[i]._data
            if p.size > SMALL:
                yield [i]
            else:
                counts = tuple([v for v in self.state[i].values() if isinstance(v, int)])
                place = None if isinstance(p, np.ndarray) else device_of(p)
                alike.setdefault((p.dtype, place, counts, len(self.state[i])), []).append(i)
        yield from alike.values()

    def _joint_change(self, together: list[int], raw: list[Any]) -> list[Any]:
        """The steps of several parameters, computed as one long vector; their memories become parts of one, too."""
        arrays, states = [self.params[i]._data for i in together], [self.state[i] for i in together]
        xp, ends = array_module(*arrays), itertools.accumulate([p.size for p in arrays])
        cuts = [(slice(end - p.size, end), p.shape) for p, end in zip(arrays, ends, strict=True)]
        joined = self._joined.setdefault(tuple(together), {})
        whole = {k for k, v in states[0].items() if not isinstance(v, int)}
        if any(k not in joined or s[k].base is not joined[k] for s in states for k in whole):  # loaded, or steps apart
            joined.update({k: _flat(xp, [s[k] for s in states]) for k in whole})
        joined |= {k: v for k, v in states[0].items() if k not in whole}
        step = self.change(_flat(xp, arrays), _flat(xp, [raw[i] for i in together]), joined)
        for state, (cut, shape) in zip(states, cuts, strict=True):
            for name, value in joined.items():
                if isinstance(value, int):
                    state[name] = value
                elif name not in state or state[name].base is not value:
                    state[name] = value[cut].reshape(shape)
        return [step[cut].reshape(shape) for cut, shape in cuts]

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
        for i, p in enumerate(self.params):
            for name, value in memories[str(i)].items():
                if not isinstance(value, int) and np.shape(value) not in ((), p.shape):
                    raise ValueError(f"load_state_dict: {name} of parameter {i} has shape {np.shape(value)}, "
                                     f"the parameter {p.shape}")  # fmt: skip
        self.lr = float(state["lr"])
        self.state = [{k: _like(v, p) for k, v in memories[str(i)].items()} for i, p in enumerate(self.params)]


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


def _like(value: Any, p: Tensor) -> Any:
    """A saved memory as it is used: an array on the parameter's device, or an integer."""
    return value if isinstance(value, int) else backend.asarray(value, p.dtype, p.device, copy=True)

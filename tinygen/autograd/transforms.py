r"""Derivatives of functions: the Jacobian, Hessian-vector products, and memory traded for time.

All three are a few calls of the walk. `checkpoint` is the one with a trick: it forgets how a value was computed
and, when the gradient comes back, computes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygen.autograd.creation import as_tensor, zeros, zeros_like
from tinygen.autograd.graph import GraphError, Leaf, Node, Part, creation_number, mode
from tinygen.autograd.primitive import describe
from tinygen.autograd.reductions import sum
from tinygen.autograd.shapes import reshape, stack
from tinygen.autograd.tensor import Tensor, variable
from tinygen.autograd.walk import grad, walk
from tinygen.backend.random import watch_draws


def jacobian(f: Callable[[Tensor], Tensor], x: Any, *, create_graph: bool = False) -> Tensor:
    r"""All derivatives $\partial f_i / \partial x_j$, of shape `f(x).shape + x.shape`: one backward pass per output."""
    x = _input(x)
    y = f(x)
    if not isinstance(y, Tensor):
        raise TypeError(f"jacobian: f must return a Tensor, got {describe(y)}")
    if y.size == 0 or y._node is None:
        return zeros(y.shape + x.shape, dtype=x.dtype, device=x.device)
    outputs = reshape(y, -1)
    options = dict(retain_graph=True, create_graph=create_graph, allow_unused=True)
    rows = [grad(outputs[i], x, **options) for i in range(y.size)]
    return reshape(stack([zeros_like(x) if r is None else r for r in rows]), y.shape + x.shape)


def hvp(f: Callable[[Tensor], Tensor], x: Any, v: Any, *, create_graph: bool = False) -> Tensor:
    r"""The Hessian of a scalar function times a vector, $\nabla \langle \nabla f(x), v \rangle$, never formed."""
    x = _input(x)
    v = as_tensor(v)
    if v.shape != x.shape:
        raise ValueError(f"hvp: v must have x's shape {x.shape}, got {v.shape}")
    y = f(x)
    if not isinstance(y, Tensor):
        raise TypeError(f"hvp: f must return a Tensor, got {describe(y)}")
    slope = None if y._node is None else grad(y, x, create_graph=True, allow_unused=True)
    if slope is None or slope._node is None:  # f is constant or linear
        return zeros_like(x)
    h = grad(sum(slope * v), x, create_graph=create_graph, allow_unused=True)
    return zeros_like(x) if h is None else h


def _input(x: Any) -> Tensor:
    """x as something to differentiate by: itself if it is recorded, else a new leaf of its values."""
    if not mode.record:
        raise GraphError("jacobian, hvp: nothing is recorded inside no_grad; call them outside it")
    if isinstance(x, Tensor) and x._node is not None:
        return x
    return variable(as_tensor(x)._data.copy())


#: primitives whose output may lie in their input's memory
VIEWS = {"reshape", "transpose", "swapaxes", "moveaxis", "expand_dims", "squeeze", "broadcast_to", "flip", "getitem"}


class Recomputation:
    """The rule of a checkpoint's node: run the function again, recorded, and go back through that.

    Generators are rewound to where they stood, so the second run draws what the first drew, and buffers (running
    means, say) are left as the first run left them.
    """

    name = "checkpoint"
    joint = True  # all contributions come at once
    composed = None
    vjps = ()
    formula = r"\text{run again and go back}"
    kept: list[str] = []

    def __init__(self, f: Callable, args: tuple, outputs: int, parents: tuple, states: dict):
        self.f, self.args, self.outputs, self.states = f, args, outputs, states

    @property
    def primitive(self) -> Recomputation:
        """It is its own row (asked for, not kept: that would be a reference cycle)."""
        return self

    def values(self, saved: Any) -> tuple:
        """What the second run will use, as far as it is known: the arguments."""
        return tuple([a._data for a in self.args if isinstance(a, Tensor)])

    def changed(self, node: Node) -> Leaf | None:
        """A leaf that has changed since, among what the second run will use: the parents, or what they are views of."""
        waiting = list(node.parents)
        while waiting:
            p = waiting.pop()
            if type(p) is Leaf and p.version > node.seq:
                return p
            if type(p) is Node and p.rule.primitive.name in VIEWS:
                waiting.extend(q for q in p.parents if q is not None)
        return None

    def contributions(self, node: Node, g: Any, create_graph: bool) -> Iterable[tuple[Any, Any]]:
        """Pairs (what f reached, its gradient)."""
        now = {generator: generator.state for generator in self.states}
        before = mode.record, mode.rewinding
        mode.record, mode.rewinding = 2 if mode.anomaly else before[0] or 1, True
        try:
            _rewind(self.states)
            start = creation_number()
            out = self.f(*self.args)
        finally:
            mode.record, mode.rewinding = before
            _rewind(now)
        outs = out if isinstance(out, tuple) else (out,)
        if set(_reached([o._node for o in outs if o._node is not None], start)) != set(node.parents):
            raise GraphError("checkpoint: run again, f used other Tensors than before (something it closes over was "
                             "exchanged); put the checkpoint around the exchange")  # fmt: skip
        seeds = [(o._node, c) for o, c in zip(outs, g, strict=True) if c is not None and o._node is not None]
        return walk(seeds, set(node.parents), create_graph=create_graph, stop=True).items()


def _rewind(states: dict) -> None:
    """Put every Generator where the state says."""
    for generator, state in states.items():
        generator.state = state


def checkpoint(f: Callable, *args: Any) -> Any:
    """`f(*args)`, without keeping what its backward pass needs: that is computed again when the gradient comes.

    The gradient reaches every recorded Tensor that f uses, arguments or not (a module's parameters, say). f
    returns a Tensor or a tuple of Tensors, and must give the same result when called again; Generators are
    rewound, and buffers are not updated a second time.
    """
    if not mode.record:
        return f(*args)
    start = creation_number()
    with watch_draws() as states:
        out = f(*args)
    outs = out if isinstance(out, tuple) else (out,)
    for o in outs:
        if not isinstance(o, Tensor):
            raise TypeError(f"checkpoint: f must return a Tensor or a tuple of Tensors, got {describe(o)}")
    parents = _reached([o._node for o in outs if o._node is not None], start)
    if not parents:
        return out
    node = Node(Recomputation(f, args, len(outs), parents, dict(states)), parents, None, None, None)
    results = tuple(
        [Tensor(o._data, None if o._node is None else Part(node, i, o.shape, o.dtype)) for i, o in enumerate(outs)]
    )
    return results if isinstance(out, tuple) else results[0]


def _reached(roots: list, start: int) -> tuple:
    """The leaves and nodes older than `start` that `roots` were computed from, without looking behind them."""
    seen, stack_, found = set(roots), list(set(roots)), []
    while stack_:
        node = stack_.pop()
        if node.seq < start:
            found.append(node)
            continue
        for p in node.parents:
            if p is not None and p not in seen:
                seen.add(p)
                stack_.append(p)
    return tuple(found)

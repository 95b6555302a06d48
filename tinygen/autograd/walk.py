r"""The walk back: from a loss to the gradients of what it was computed from.

Reverse mode in one paragraph. Let $\bar v$ be the gradient of the loss by the value $v$. It is 1 for the loss
itself. Every operation $y = f(a, b)$ owes its inputs the *contributions* $\bar y\,\partial y/\partial a$ and
$\bar y\,\partial y/\partial b$; a value used in several places is owed the sum of what its users send,

$$ \bar a = \sum_{y \text{ computed from } a} \bar y\,\frac{\partial y}{\partial a}. \tag{1} $$

So visit the operations from the youngest to the oldest: when an operation's turn comes, all its users have
paid. Each is visited once, whatever the number of paths: the work is linear in the size of the graph.

The walk visits only operations that lead to a wanted input (the generator's step computes no weight gradients
for the discriminator). It sums out broadcasting and restores the dtype in one place, `fit`. It adds in place
only into arrays that it made itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from tinygen.autograd.graph import FREED, GraphError, Leaf, Node, Part, changed_since, last_change, mode
from tinygen.autograd.primitive import Rule, check_finite, describe
from tinygen.autograd.reductions import sum as sum_over
from tinygen.autograd.shapes import reshape
from tinygen.autograd.tensor import Tensor
from tinygen.backend.arrays import MODULES, array_module, asarray, device_of, is_array
from tinygen.backend.linear import total
from tinygen.backend.recording import RecordingError, entered, now

_age = attrgetter("seq")


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any:
    r"""The gradient of `outputs` by each of `inputs`: $\sum_o \langle \bar o, \partial o/\partial x \rangle$.

    Parameters
    ----------
    outputs : a Tensor or several; scalars (one element) unless `grad_outputs` is given
    inputs : a Tensor or several, leaves or computed, that want a gradient
    grad_outputs : the cotangents $\bar o$, one per output, of its shape; default 1
    create_graph : record the backward pass, so that the gradients can be differentiated in turn
    retain_graph : keep the graph for another backward pass; default: as `create_graph`
    allow_unused : give None for an input that the outputs do not depend on, instead of an error

    Returns
    -------
    a Tensor for a single input, else a tuple of Tensors; of the inputs' shapes and dtypes, detached unless
    `create_graph`. No two of them share memory.
    """
    single = isinstance(inputs, Tensor)
    xs: list[Tensor] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    roots: list[Any] = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    for i, x in enumerate(xs):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: inputs[{i}] is {describe(x)}; a Tensor with requires_grad=True is wanted")
        if x._node is None:
            raise GraphError(f"grad: inputs[{i}] ({describe(x)}) does not require a gradient; "
                             "make it with tg.tensor(..., requires_grad=True)")  # fmt: skip
    seeds = _seeds(roots, grad_outputs, create_graph)
    found = _separate(walk(seeds, {x._node for x in xs}, create_graph=create_graph, retain_graph=retain_graph))
    results = [found.get(x._node) for x in xs]
    for i, (x, g) in enumerate(zip(xs, results, strict=True)):
        if g is None and not allow_unused:
            raise GraphError(f"grad: the outputs do not depend on inputs[{i}] ({describe(x)}); "
                             "allow_unused=True gives None for it")  # fmt: skip
    if len(found) < len(xs):  # one input asked for twice
        results = [None if g is None else Tensor(g._data.copy(), g._node) for g in results]
    return results[0] if single else tuple(results)


def backward(output: Tensor, grad_output: Any = None, *, create_graph=False, retain_graph=None) -> None:
    """Add the gradient of `output` by every leaf it depends on to that leaf's `.grad`."""
    if now.recorder is not None:
        raise RecordingError("backward() adds to what .grad held before; use tg.grad, which returns the gradients")
    seeds = _seeds([output], None if grad_output is None else [grad_output], create_graph, "backward")
    leaves = {n for n in ancestors([n for n, _ in seeds]) if type(n) is Leaf}
    for leaf, g in _separate(walk(seeds, leaves, create_graph=create_graph, retain_graph=retain_graph)).items():
        leaf.grad = g if leaf.grad is None else leaf.grad + g


def ancestors(roots: Iterable, stop: frozenset | set = frozenset()) -> list:
    """All that `roots` were computed from, themselves included, oldest first; not past those in `stop`."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        node = stack.pop()
        if node in stop:
            continue
        for p in node.parents:
            if p is not None and p not in seen:
                seen.add(p)
                stack.append(p)
    return sorted(seen, key=_age)


def walk(
    seeds: list[tuple[Any, Any]],
    wanted: set,
    *,
    create_graph: bool,
    retain_graph: bool | None = None,
    stop: bool = False,
) -> dict:
    """The gradients of the `wanted` nodes, given the cotangents of some: (1), from the youngest down.

    Parameters
    ----------
    seeds : pairs (node, cotangent); the cotangents are raw arrays, or Tensors when `create_graph`
    stop : treat the wanted nodes as independent inputs: do not look at what they were computed from
    """
    retain = create_graph if retain_graph is None else retain_graph
    order, leading = _leading(ancestors([n for n, _ in seeds], wanted if stop else frozenset()), wanted)
    grads: dict = {}  # node -> sum of the contributions so far
    owned: set = set()  # nodes whose sum is an array made here, so that it may be added to in place
    found: dict = {}
    changed, slow = last_change(), create_graph or mode.anomaly
    before, mode.record = mode.record, (mode.record or 1) if create_graph else 0
    try:
        for node, seed in seeds:
            grads[node] = grads[node] + seed if node in grads else seed
        for node in reversed(order):
            g = grads.pop(node, None)
            if g is None:
                continue
            if node in wanted:
                found[node] = g
                if stop or leading.isdisjoint(node.parents):
                    continue
            rule = node.rule
            if rule is None:
                if type(node) is Part:
                    _collect(grads, node, g)
                continue
            saved = node.saved
            if saved is FREED or node.seq < changed:
                _usable(node)
            parents = node.parents
            if slow or rule.joint is not None:
                for p, c in _contributions(node, g, leading, create_graph):
                    if c is not None and p in leading:
                        if mode.anomaly:
                            site = getattr(node, "site", "called outside detect_anomaly")
                            check_finite(c, f"the gradient that {rule.primitive.name} ({site}) sends back")
                        _pay(grads, owned, p, fit(c, p, rule))
            else:
                for i, pull in rule.pulls:
                    p = parents[i]
                    if p in leading:  # the same as _pay, without the call
                        c = pull(g, saved)
                        if c is None:
                            continue
                        if c.shape != p.shape or c.dtype is not p.dtype:
                            c = fit(c, p, rule)
                        if p not in grads:
                            grads[p] = c
                        elif p in owned:
                            grads[p] += c
                        else:
                            grads[p] = grads[p] + c
                            owned.add(p)
            if not retain:
                node.saved = FREED
    finally:
        mode.record = before
    return found


def _leading(order: list, wanted: set) -> tuple[list, set]:
    """Those of `order` (oldest first) that a wanted node can be reached from, wanted nodes included; also as a set."""
    leading = set(wanted)
    kept = []
    for node in order:
        if node not in leading:
            for p in node.parents:
                if p in leading:
                    leading.add(node)
                    break
            else:
                continue
        kept.append(node)
    return kept, leading


def fit(g: Any, like: Leaf | Node | Part, rule: Any) -> Any:
    r"""A contribution with the shape and dtype of the value it belongs to: the one place where this is done.

    If $y_{ij} = x_j + z_{ij}$, the one $x_j$ went into every $y_{ij}$, so $\bar x_j = \sum_i \bar y_{ij}$.
    """
    if g.shape != like.shape:
        g = sum_to(g, like.shape, rule.primitive.name)
    if g.dtype != like.dtype:
        g = g.astype(like.dtype)
    return g


def sum_to(g: Any, shape: tuple[int, ...], name: str) -> Any:
    """Sum `g` over the axes along which an array of `shape` was broadcast: the adjoint of broadcasting."""
    extra = len(g.shape) - len(shape)
    if extra > 0 and g.shape[extra:] == shape and type(g) in MODULES:  # a bias, most often
        return total(MODULES[type(g)], g, tuple(range(extra)))
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[extra:], strict=True)):
        raise GraphError(f"{name}: its vjp gave shape {g.shape} for an input of shape {shape}")
    spread = [extra + k for k, (n, m) in enumerate(zip(shape, g.shape[extra:], strict=True)) if n != m]
    axes = (*range(extra), *spread)
    if type(g) in MODULES:
        return total(MODULES[type(g)], g, axes).reshape(shape)
    return reshape(sum_over(g, axes), shape)


def _collect(grads: dict, part: Part, g: Any) -> None:
    """Put the cotangent of one output among those of its node; outputs that nobody used keep None."""
    node = part.parents[0]
    sofar = grads.get(node) or (None,) * node.rule.primitive.outputs
    mine = g if sofar[part.index] is None else sofar[part.index] + g
    grads[node] = (*sofar[: part.index], mine, *sofar[part.index + 1 :])


def _usable(node: Node) -> None:
    """Refuse a node that was freed, or whose kept input has changed since."""
    name = node.rule.primitive.name
    if node.saved is FREED:
        raise GraphError(f"{name}: this part of the graph was freed by an earlier backward pass; "
                         "give that pass retain_graph=True")  # fmt: skip
    leaf = changed_since(node.rule.values(node.saved), node.seq) or node.rule.changed(node)
    if leaf is not None:
        raise GraphError(
            f"{name}: a leaf of shape {leaf.shape} that it used was changed since (by an optimiser, assign or "
            "load_state_dict); compute the loss anew"
        )


def _pay(grads: dict, owned: set, p: Any, c: Any) -> None:
    """Add the contribution `c` to what the node `p` has been paid so far."""
    if p not in grads:
        grads[p] = c
    elif p in owned:
        grads[p] += c
    else:
        grads[p] = grads[p] + c
        if not isinstance(c, Tensor):
            owned.add(p)


def _contributions(node: Node, g: Any, leading: set, create_graph: bool) -> Iterable[tuple[Any, Any]]:
    """Pairs (parent, contribution), where the vjps run on Tensors or come all at once."""
    rule, parents = node.rule, node.parents
    if type(rule) is not Rule:  # a checkpoint
        return rule.contributions(node, g, create_graph)
    if create_graph and rule.primitive.composed is not None:
        return _through_composition(g, node)
    saved = rule.as_tensors(node) if create_graph else node.saved
    if rule.joint is not None:
        return zip(parents, rule.joint(g, saved, [p in leading for p in parents]), strict=True)
    return [(parents[i], pull(g, saved)) for i, pull in rule.pulls if parents[i] in leading]


def _through_composition(g: Any, node: Node) -> Iterable[tuple[Any, Any]]:
    """The contributions of a kernel, through its definition in primitives."""
    rule, row = node.rule, node.rule.primitive
    inputs = dict(zip(rule.kept, rule.values(rule.as_tensors(node)), strict=True))
    arrays = inputs[row.arrays[0]] if row.variadic else [inputs[n] for n in row.arrays]
    out = row.composed(*arrays, **{n: inputs[n] for n in row.options})
    pairs = zip(out, g, strict=True) if isinstance(out, tuple) else ((out, g),)
    seeds = [(o._node, c) for o, c in pairs if c is not None and o._node is not None]
    return walk(seeds, {p for p in node.parents if p is not None}, create_graph=True, stop=True).items()


def _seeds(roots: list[Tensor], cotangents: Any, create_graph: bool, name: str = "grad") -> list[tuple[Any, Any]]:
    """The pairs (node, cotangent) that a backward pass starts from."""
    if cotangents is None:
        cotangents = [None] * len(roots)
    elif isinstance(cotangents, Tensor) or is_array(cotangents) or not isinstance(cotangents, Sequence):
        cotangents = [cotangents]
    if len(cotangents) != len(roots):
        raise ValueError(f"{name}: {len(cotangents)} grad_outputs for {len(roots)} outputs; one each is wanted")
    seeds = []
    for i, (root, g) in enumerate(zip(roots, cotangents, strict=True)):
        if not isinstance(root, Tensor) or root._node is None:
            raise GraphError(f"{name}: output {i} ({describe(root)}) was not computed from a Tensor "
                             "with requires_grad=True, or under no_grad")  # fmt: skip
        if g is None:
            if root.size != 1:
                raise GraphError(f"{name}: output {i} has shape {root.shape}; only a scalar can do without "
                                 "grad_outputs (take a sum or a mean, or give a cotangent of its shape)")  # fmt: skip
            g = entered(array_module(root._data).ones(root.shape, root.dtype))
            seeds.append((root._node, Tensor(g, None) if create_graph else g))
            continue
        raw = g._data if isinstance(g, Tensor) else asarray(g) if is_array(g) else asarray(g, root.dtype, root.device)
        if raw.shape != root.shape or device_of(raw) != root.device:
            raise ValueError(f"{name}: grad_outputs[{i}] is {describe(raw)}, its output {describe(root)}; "
                             "the same shape and device are wanted")  # fmt: skip
        own = Tensor(raw.copy(), g._node if isinstance(g, Tensor) else None)  # nothing returned is the caller's
        seeds.append((root._node, own.astype(root.dtype) if create_graph else raw.astype(root.dtype)))
    return seeds


def _separate(found: dict) -> dict[Any, Tensor]:
    """The gradients as Tensors, copied where two of them, or one and something kept, could share memory."""
    seen: set[int] = set()
    separate = {}
    for node, g in found.items():
        raw, past = (g._data, g._node) if type(g) is Tensor else (g if is_array(g) else asarray(g), None)
        if raw.base is not None or id(raw) in seen:
            raw = raw.copy()
        seen.add(id(raw))
        separate[node] = Tensor(raw, past)
    return separate

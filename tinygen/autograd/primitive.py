r"""One row per operation: a forward over raw arrays, and the rules that carry a gradient back.

An operation $y = f(a, b)$ is recorded when an input is a Tensor that wants a gradient. Going back through it
takes, for each input, a *vector-Jacobian product* (vjp): the map from $\bar y$, the gradient of the loss by
$y$, to $\bar a$, the gradient by $a$. That is all there is to a row:

```python
@primitive(lambda g, b: g * b, lambda g, a: g * a, domain="real")
def multiply(xp, a, b):
    return xp.multiply(a, b)
```

The forward gets `xp`, the array module of its inputs (NumPy or CuPy), and raw arrays. There is one vjp per
array input (None: no gradient), so the first parameters are arrays and the rest are options. A vjp gets `g`
($\bar y$) and *whatever else it names*: inputs and options by the forward's own parameter names, `y` for the
output, `x_shape` for the shape of input `x`, and `saved` for what the forward kept by returning `(y, saved)`.
What no vjp names is not kept, so memory dies early.

Vjps are written in the vocabulary that users write in. So they run on raw arrays (the ordinary backward
pass), on Tensors (a backward pass that is itself recorded: second derivatives, third ...), and on symbols,
which print the rule, `ā = ȳ·b`. Formula and code cannot drift apart.

A *kernel* is a primitive with a hand-fused vjp and a definition `composed=` in other primitives. The fused
vjp serves first order only; higher orders differentiate the composition, so that no saved number can ever
be mistaken for a constant.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Concatenate, ParamSpec

import numpy as np

from tinygen.autograd.graph import GraphError, Node, Part, call_site, mode, switches
from tinygen.autograd.tensor import Tensor
from tinygen.backend.arrays import MODULES, DeviceError, array_module, asarray, device_of, is_array
from tinygen.backend.recording import at_work, now, whole

P = ParamSpec("P")

#: every primitive by its name, in the order of definition
REGISTRY: dict[str, Primitive] = {}


class Symbolic:
    """Base of what stands in for an array without being one (a symbol that prints, say).

    It answers to `apply(primitive, arrays, options)` and, for helpers marked by `vocabulary`, `call(name, arguments)`.
    """

    apply: Callable
    call: Callable


def primitive(
    *vjps: Callable | None,
    joint: Callable | None = None,
    outputs: int = 1,
    domain: str | None = None,
    composed: Callable | None = None,
    formula: str | tuple[str, ...] | None = None,
) -> Callable[[Callable[Concatenate[Any, P], Any]], Callable[P, Any]]:
    r"""Make a primitive of a forward function `f(xp, *arrays, *options)`.

    Parameters
    ----------
    vjps : one per array input, `vjp(g, ...)`; None for an input without gradient
    joint : instead of `vjps`, one `vjp(g, ..., needs) -> tuple` for all inputs at once; `needs` (optional)
        tells which inputs want a gradient, and None may be returned for the others
    outputs : how many outputs the forward returns (a tuple when more than one; `g` is then a tuple, in which
        the cotangent of an output that nobody used is None)
    domain : "real", "positive", "nonzero", ... for an elementwise function: where the checks draw its inputs
        (`tinygen.cases.engine.DOMAINS`)
    composed : the same function in terms of other primitives; makes the row a kernel
    formula : the rule in LaTeX, by hand, where symbols cannot print it (geometry and kernels)

    A forward whose inputs are `*arrays` takes any number of them; its options are then keyword-only, and the
    vjps name `arrays` and `arrays_shape`, both tuples.
    """

    def decorate(forward: Callable[Concatenate[Any, P], Any]) -> Callable[P, Any]:
        row = Primitive(forward, vjps, joint, outputs, domain, composed, formula)
        REGISTRY[row.name] = row
        return row.front()

    return decorate


class Primitive:
    """A row of the table. Users hold its `front()`, an ordinary function."""

    def __init__(self, forward, vjps, joint, outputs, domain, composed, formula):
        self.definition = self.forward = forward
        if composed is not None and joint is not None:
            joint = whole(joint)
        self.name = forward.__name__.strip("_")
        self.vjps = vjps
        self.joint = joint
        self.outputs = outputs
        self.domain = domain
        self.composed = composed
        self.formula = formula
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.variadic = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        names = [p.name for p in parameters]
        if joint is None:
            count = len(vjps)
            if not 1 <= count <= len(names):
                raise TypeError(f"{self.name}: {count} vjps for the parameters {names}; one per array input is wanted")
        else:  # the array inputs are the parameters before the first one with a default
            count = 1 if self.variadic else sum(p.default is p.empty for p in parameters)
        self.arrays, self.options = names[:count], names[count:]
        if self.variadic:  # options by position, as everywhere
            self.forward = _by_position(forward, self.options)
        if composed is not None:
            self.forward = whole(self.forward, keep=joint is not None and "saved" in vjp_names(joint))
        named = {n for v in (*vjps, joint) if v is not None for n in vjp_names(v)}
        self.saves = "saved" in named
        self.shaped = [a for a in self.arrays if a + "_shape" in named]
        #: what a vjp may name, in the order in which `record` lays it out
        self.slots = ["y", *names, *(a + "_shape" for a in self.shaped), "saved"]
        unknown = named - set(self.slots) - {"needs"}
        if unknown:
            raise TypeError(
                f"{self.name}: a vjp names {sorted(unknown)}; it may name g, needs and {', '.join(self.slots)}"
            )
        self.rules: dict[tuple[bool, ...], Rule | None] = {}

    def rule(self, wants: tuple[bool, ...]) -> Rule | None:
        """The rule for these wishes, one flag an input; None where there is no gradient to pass."""
        if wants not in self.rules:
            possible = any(wants) if self.joint else any(w and v for w, v in zip(wants, self.vjps, strict=True))
            self.rules[wants] = Rule(self, wants) if possible else None
        return self.rules[wants]

    def apply(self, arrays: tuple, options: tuple = ()) -> Any:
        """The primitive on Tensors (recorded), on raw arrays, or on symbols."""
        for a in arrays:
            if type(a) is Tensor:
                return self.record(arrays, options)
        if len(arrays) == 1 and type(arrays[0]) in MODULES and not self.saves:  # the short way of a backward pass
            return self.forward(MODULES[type(arrays[0])], *arrays, *options)
        for a in (*arrays, *options):
            if isinstance(a, Symbolic):
                return a.apply(self, arrays, options)
        raw = [np.asarray(a) if isinstance(a, list | tuple) else a for a in arrays]
        try:
            out = self.forward(array_module(*raw), *raw, *options)
        except Exception as error:
            raise failure(self, arrays, options, error) from error
        return out[0] if self.saves else out

    def record(self, arrays: tuple, options: tuple) -> Any:
        """Run the forward on the Tensors' arrays and note how to come back."""
        raw: tuple
        parents: tuple
        if len(arrays) == 1:
            raw, parents = (arrays[0]._data,), (arrays[0]._node,)
        else:
            raw = tuple([a._data if type(a) is Tensor else _weak(a) for a in arrays])
            parents = tuple([a._node if type(a) is Tensor else None for a in arrays])
        for o in options:
            if isinstance(o, np.generic):  # weak, as NumPy scalars among the inputs are
                options = tuple([o.item() if isinstance(o, np.generic) else o for o in options])
                break
        if at_work and now.recorder is not None:
            raw = now.recorder.operands(arrays, raw)
        try:
            xp = MODULES[type(raw[0])] if len(raw) == 1 and not at_work else array_module(*raw)
            out = self.forward(xp, *raw, *options)
        except Exception as error:
            raise failure(self, arrays, options, error) from error
        saved = None
        if self.saves:
            out, saved = out
        if mode.anomaly:
            check_finite(out, f"the value of {self.name} ({call_site()})")
        if self.outputs > 1:
            shape = dtype = None
        else:
            if not is_array(out):  # NumPy turns 0-d arrays into scalars
                out = xp.asarray(out)
            shape, dtype = out.shape, out.dtype
            if dtype.kind not in "fiub":
                raise failure(self, arrays, options, TypeError(f"the result would be of dtype {dtype}"))
        rule = self.rule(tuple([p is not None for p in parents])) if mode.record else None
        if rule is None or (dtype is not None and dtype.kind != "f"):  # integers carry no gradient
            return _wrap(xp, out, None) if dtype is None else Tensor(out, None)
        inputs = (raw,) if self.variadic else raw
        shapes = [self.shape_of(raw, a) for a in self.shaped] if self.shaped else ()
        kept = rule.pick((out, *inputs, *options, *shapes, saved)) if rule.kept else None
        node = Node(rule, parents, kept, shape, dtype)
        if mode.record == 2:
            node.site = call_site()
        return _wrap(xp, out, node) if dtype is None else Tensor(out, node)

    def shape_of(self, raw: tuple, name: str) -> tuple:
        """The shape of the input called `name`; a tuple of shapes where it stands for several arrays."""
        return tuple([np.shape(a) for a in raw]) if self.variadic else np.shape(raw[self.arrays.index(name)])

    def front(self) -> Any:
        """The function that users call: the forward's name, docstring and signature, without `xp`."""
        if not self.variadic and not self.options and not self.saves and not self.shaped and self.outputs == 1:
            call: Any = {1: _unary, 2: _binary}.get(len(self.arrays), _general)(self)
        else:
            call = _general(self)
        functools.update_wrapper(call, self.definition)
        signature = inspect.signature(self.definition)
        call.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
        call.__name__ = self.name
        call.primitive = self
        return call


class Rule:
    """A primitive specialised to the inputs that want a gradient: what to keep, and what to call."""

    __slots__ = ("primitive", "kept", "pick", "pulls", "joint")

    def __init__(self, row: Primitive, wants: tuple[bool, ...]):
        self.primitive = row
        vjps = [(i, v) for i, v in enumerate(row.vjps) if v is not None and wants[i]]
        named = {n for v in (row.joint, *[v for _, v in vjps]) if v is not None for n in vjp_names(v)} - {"needs"}
        if row.composed is not None:  # a second derivative runs the composition on the inputs
            named |= {*row.arrays, *row.options}
        #: names of what is kept, in order
        self.kept = [n for n in row.slots if n in named]
        places = [row.slots.index(n) for n in self.kept]
        self.pick = itemgetter(*places) if places else lambda slots: None
        #: (position of an input, its vjp as a function of (g, saved))
        self.pulls = [
            (i, v if vjp_names(v) == self.kept and len(self.kept) == 1 else _adapt(v, self.kept)) for i, v in vjps
        ]
        #: all vjps at once, as a function of (g, saved, needs), where the row has that
        self.joint = None if row.joint is None else _adapt(row.joint, self.kept)

    def values(self, saved: Any) -> tuple:
        """The kept values as a tuple, in the order of `kept`."""
        return (saved,) if len(self.kept) == 1 else saved or ()

    def changed(self, node: Node) -> None:
        """A rule uses what it kept and nothing else (a checkpoint does)."""

    def as_tensors(self, node: Node) -> Any:
        """What `node` kept, with inputs and output as the recorded Tensors they were."""
        row, values = self.primitive, []
        for name, value in zip(self.kept, self.values(node.saved), strict=True):
            if name == "y" and row.outputs > 1:
                value = tuple([Tensor(v, Part(node, i, v.shape, v.dtype)) for i, v in enumerate(value)])
            elif name == "y":
                value = Tensor(value, node)
            elif name in row.arrays and row.variadic:
                value = tuple([v if p is None else Tensor(v, p) for v, p in zip(value, node.parents, strict=True)])
            elif name in row.arrays:
                parent = node.parents[row.arrays.index(name)]
                value = value if parent is None else Tensor(value, parent)
            values.append(value)
        return values[0] if len(values) == 1 else tuple(values)


def vjp_names(vjp: Callable) -> list[str]:
    """What a vjp asks for besides the cotangent `g`."""
    return list(inspect.signature(vjp).parameters)[1:]


def _adapt(vjp: Callable, kept: list[str]) -> Callable:
    """Turn `vjp(g, name, ...)` into `pull(g, saved, needs)`: each name becomes a place in `saved`."""
    place = {n: f"s[{k}]" if len(kept) > 1 else "s" for k, n in enumerate(kept)} | {"needs": "needs"}
    arguments = ", ".join(["g", *(place[n] for n in vjp_names(vjp))])
    return eval(f"lambda g, s, needs=None: vjp({arguments})", {"vjp": vjp, "__name__": __name__})


def arraylike(x: Any) -> Any:
    """x, if it is an array, a Tensor or a symbol; a number or nested lists as an array."""
    return x if hasattr(x, "shape") or isinstance(x, Symbolic) else asarray(x)


def _by_position(forward: Callable, options: list[str]) -> Callable:
    """A forward `f(xp, *arrays, option=...)` as one that takes the options behind the arrays."""

    def call(xp: Any, *values: Any) -> Any:
        count = len(values) - len(options)
        return forward(xp, *values[:count], **dict(zip(options, values[count:], strict=True)))

    return call


def _weak(value: Any) -> Any:
    """NumPy scalars are weak, as Python's are: `x32 * np.float64(2)` stays float32. Lists become arrays."""
    if isinstance(value, np.generic):
        return value.item()
    return np.asarray(value) if isinstance(value, list | tuple) else value


def _wrap(xp: Any, out: tuple, node: Node | None) -> tuple[Tensor, ...]:
    """Several raw outputs as Tensors."""
    wrapped = []
    for i, o in enumerate(map(xp.asarray, out)):
        recorded = node is not None and o.dtype.kind == "f"
        wrapped.append(Tensor(o, Part(node, i, o.shape, o.dtype) if recorded else None))  # type: ignore[arg-type]
    return tuple(wrapped)


def _unary(row: Primitive) -> Callable:
    """The short way for one array input and no options."""
    forward, rule = row.forward, row.rule((True,))
    odd = row.domain is None  # it may give integers
    keeps_x = rule is not None and row.arrays[0] in rule.kept
    keeps_y = rule is not None and "y" in rule.kept

    def call(x):
        if type(x) is Tensor and (not switches or mode.record == 1):
            a = x._data
            try:
                out = forward(MODULES[type(a)], a)
            except Exception as error:
                raise failure(row, (x,), (), error) from error
            if type(out) is not type(a):  # NumPy turns 0-d arrays into scalars
                out = np.asarray(out)
            node, dtype = x._node, out.dtype
            if node is None or rule is None or (odd and dtype.kind != "f"):
                return Tensor(out, None)
            saved = (out, a) if keeps_x and keeps_y else a if keeps_x else out if keeps_y else None
            return Tensor(out, Node(rule, (node,), saved, out.shape, dtype))
        return row.apply((x,))

    return call


def _binary(row: Primitive) -> Callable:
    """The short way for two array inputs and no options."""
    forward = row.forward
    left, right, both = (row.rule(w) for w in ((True, False), (False, True), (True, True)))

    def call(a, b):
        if switches and mode.record != 1:
            return row.apply((a, b))
        if type(a) is Tensor:
            x, p = a._data, a._node
            kind = type(x)
            if type(b) is Tensor:
                y, q = b._data, b._node
            else:
                y, q = b if type(b) is float else _weak(b), None
        elif type(b) is Tensor:
            x, p, y, q = a if type(a) is float else _weak(a), None, b._data, b._node
            kind = type(y)
        else:
            return row.apply((a, b))
        try:
            out = forward(MODULES[kind], x, y)
        except Exception as error:
            raise failure(row, (a, b), (), error) from error
        if type(out) is not kind:
            out = np.asarray(out)
        rule = (both if q is not None else left) if p is not None else right if q is not None else None
        if rule is None:
            return Tensor(out, None)
        saved = rule.pick((out, x, y)) if rule.kept else None
        return Tensor(out, Node(rule, (p, q), saved, out.shape, out.dtype))

    return call


def _general(row: Primitive) -> Callable:
    """Any other signature: a function of the forward's own parameters that sorts them in."""
    parameters = list(inspect.signature(row.definition).parameters.values())[1:]
    bare = [p.replace(default=p.empty, annotation=p.empty) for p in parameters]
    arrays = "arrays" if row.variadic else "".join(a + ", " for a in row.arrays)
    options = "".join(o + ", " for o in row.options)
    call = eval(
        f"lambda {str(inspect.Signature(bare))[1:-1]}: apply(({arrays}), ({options}))",
        {"apply": row.apply, "__name__": __name__},
    )
    call.__defaults__, call.__kwdefaults__ = row.definition.__defaults__, row.definition.__kwdefaults__
    return call


def check_finite(values: Any, where: str) -> None:
    """Inside `detect_anomaly`: refuse values that are not finite."""
    for v in values if isinstance(values, tuple) else (values,):
        raw = v._data if type(v) is Tensor else v
        if raw.dtype.kind == "f" and not array_module(raw).isfinite(raw).all():
            raise GraphError(f"{where} is NaN or Inf")


def describe(value: Any) -> str:
    """A value as error messages show it: dtype, shape and device, or itself."""
    value = value._data if type(value) is Tensor else value
    if is_array(value):
        return f"{value.dtype} {value.shape} on {device_of(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def failure(row: Primitive, arrays: tuple, options: tuple, error: Exception) -> Exception:
    """The same kind of error, saying which operation was asked for, on what."""
    if str(error).startswith(row.name):
        return error
    names = [f"{row.arrays[0]}[{i}]" for i in range(len(arrays))] if row.variadic else row.arrays
    given = [f"{n}: {describe(a)}" for n, a in zip(names, arrays, strict=True)]
    given += [f"{n}={describe(o)}" for n, o in zip(row.options, options, strict=True)]
    message = f"{row.name} failed on {', '.join(given)}: {error}"
    raw = [a._data if type(a) is Tensor else a for a in (*arrays, *options)]
    if len({device_of(a) for a in raw if is_array(a)}) > 1 and not isinstance(error, DeviceError):
        return DeviceError(message + " (arrays on two devices do not mix; move one with .to(device))")
    for kind in (DeviceError, np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, ValueError, TypeError):
        if isinstance(error, kind):
            return kind(message)
    return error


def vocabulary(function: Callable[P, Any]) -> Callable[P, Any]:
    """Mark a helper of the vjps: on symbols it prints as a call of its own name instead of running."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> Any:
        for a in arguments:
            if isinstance(a, Symbolic):
                return a.call(function.__name__, arguments)
        return function(*arguments, **options)

    return call

r"""The naive twin: the same graph, differentiated by the definition.

The derivative of $y$ by $x$ is a sum over all paths from $x$ to $y$ of the product of the Jacobians along the path,

$$ \frac{dy}{dx} = \sum_{\text{paths}} \prod_{\text{edges}} \frac{\partial\,\text{result}}{\partial\,\text{input}}. $$

Here that is taken literally: recursion without sharing, dense Jacobians, broadcasting as a matrix of ones and zeros.
It is exponential in the fan-out, which is why nobody computes so, and why it makes a good judge of who computes
otherwise.
"""

from __future__ import annotations

import numpy as np


class Twin:
    """A value with its history: how it was computed (`op`, `options`) and from what."""

    def __init__(self, value, op="leaf", parents=(), options=(), wants=False):
        self.value = np.array(value, np.float64)
        self.op, self.parents, self.options = op, parents, options
        self.wants = wants if op == "leaf" else any(p.wants for p in parents)
        self.paths = 1 if op == "leaf" else sum(p.paths for p in parents)
        self.grad = None  # what backward has added up
        self.freed = False

    def reaches(self, x) -> bool:
        """Whether x is this value or one that it was computed from, by a path that carries gradients."""
        return self.wants and (self is x or any(p.reaches(x) for p in self.parents))

    def pulled(self, wanted) -> set:
        """The operations that a backward pass to `wanted` must go through."""
        if not any(p.reaches(x) for p in self.parents for x in wanted):
            return set()
        return {self}.union(*[p.pulled(wanted) for p in self.parents])


def compute(op, options, values):
    """The forward functions."""
    if op in ("add", "subtract", "multiply"):
        return getattr(np, op)(*values)
    (x,) = values
    if op == "tanh":
        return np.tanh(x)
    if op == "sum":
        return np.sum(x, axis=options[0], keepdims=options[1])
    return np.broadcast_to(x, options[0])


def apply(op, *parents, options=()) -> Twin:
    """A new twin computed from others."""
    return Twin(compute(op, options, [p.value for p in parents]), op, parents, options)


def local_jacobian(op, options, values, k) -> np.ndarray:
    """The Jacobian of one operation by its k-th input, (outputs, entries of the input)."""
    x = values[k]
    places = np.arange(x.size).reshape(x.shape)
    if op == "sum":  # row i has ones where the input's entry went into output i
        out = compute(op, options, values)
        reduced = range(x.ndim) if options[0] is None else [options[0] % x.ndim]
        target = np.zeros(x.shape, int)
        kept = [a for a in range(x.ndim) if a not in reduced]
        for place in np.ndindex(x.shape):
            flat = 0
            for a in kept:
                flat = flat * x.shape[a] + place[a]
            target[place] = flat
        j = np.zeros((out.size, x.size))
        j[target.reshape(-1), places.reshape(-1)] = 1
        return j
    out = compute(op, options, values)
    source = np.broadcast_to(places, out.shape).reshape(-1)  # which entry of x went into each output
    slope = {
        "add": lambda: 1.0,
        "subtract": lambda: 1.0 if k == 0 else -1.0,
        "multiply": lambda: np.broadcast_to(values[1 - k], out.shape).reshape(-1),
        "tanh": lambda: (1 - np.tanh(x) ** 2).reshape(-1),
        "broadcast_to": lambda: 1.0,
    }[op]()
    j = np.zeros((out.size, x.size))
    j[np.arange(out.size), source] = slope
    return j


def values_at(y: Twin, changed: dict) -> dict:
    """All values behind y when some leaves have other values."""
    known: dict = {}

    def value(t):
        if t not in known:
            known[t] = (
                changed[t]
                if t in changed
                else (t.value if t.op == "leaf" else compute(t.op, t.options, [value(p) for p in t.parents]))
            )
        return known[t]

    value(y)
    return known


def derivative(y: Twin, x: Twin, known: dict | None = None) -> np.ndarray | None:
    """dy/dx summed over all paths, (entries of y, entries of x); None where there is no path."""
    if not y.wants:
        return None
    known = values_at(y, {}) if known is None else known
    total = np.eye(y.value.size) if y is x else None
    values = [known[p] for p in y.parents]
    for k, p in enumerate(y.parents):
        inner = derivative(p, x, known)
        if inner is not None:
            term = local_jacobian(y.op, y.options, values, k) @ inner
            total = term if total is None else total + term
    return total


def gradient(y: Twin, x: Twin, u: np.ndarray, changed: dict | None = None) -> np.ndarray | None:
    """The gradient of <u, y> by x, of x's shape; None where there is no path."""
    j = derivative(y, x, values_at(y, changed or {}))
    return None if j is None else (u.reshape(-1) @ j).reshape(x.value.shape)


def slope_along(y: Twin, x: Twin, u: np.ndarray, v: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """The derivative of `gradient` as the leaf x moves along v: the Hessian of <u, y> times v, by differences."""

    def at(k):
        return gradient(y, x, u, {x: x.value + k * h * v})

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)

r"""Checking gradients against differences.

For a function $f$ and a random cotangent $u$, the backward pass claims to know the gradient of
$\varphi(x) = \langle u, f(x) \rangle$. Every entry of it is compared with

$$ \frac{\partial \varphi}{\partial x_i} \approx \frac{8\,\delta(h) - \delta(2 h)}{12\,h}, \qquad
   \delta(h) = \varphi(x + h e_i) - \varphi(x - h e_i), \tag{1} $$

whose error is of order $h^4$. The second order is the same check, applied to the map $(x, u) \mapsto \bar x$:
a rule that is right at first order but has lost its history fails there. A cotangent of ones would miss what
sums to a constant (softmax, batch norm), so it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygen.autograd.tensor import Tensor, variable
from tinygen.autograd.walk import grad
from tinygen.backend import arrays as backend

STEP = 1e-3
MOST = 64  # entries of one input that are looked at singly


class GradientError(AssertionError):
    """A gradient that differs from its numerical estimate."""


def check_grads(f: Callable, args: Sequence[Any], order: int = 2, *, tolerance: float = 1e-6, seed: int = 0) -> float:
    """Compare the gradients of `f(*args)` with differences, at orders 1 to `order`.

    Parameters
    ----------
    f : function of Tensors, giving a Tensor or a tuple of them; smooth within 0.002 of `args`
    args : arrays or Tensors; those of dtype float64 are differentiated, all others are passed on as they are
    tolerance : how far an entry may be off, relative to the largest magnitude among the gradient and 1

    Returns
    -------
    the worst deviation found, on that scale

    Raises
    ------
    GradientError
        naming the order, the input, the entry, and both values, for the worst entry
    """
    if order < 1:
        raise ValueError(f"check_grads: order must be at least 1, got {order}")
    rng = np.random.default_rng(seed)
    raw = [a._data if isinstance(a, Tensor) else a for a in args]
    inputs = [i for i, a in enumerate(raw) if backend.is_array(a) and a.dtype == np.float64]
    for i, a in enumerate(raw):
        if backend.is_array(a) and a.dtype.kind == "f" and a.dtype != np.float64:
            raise TypeError(f"check_grads: args[{i}] is {a.dtype}; differences need float64 (use astype)")
    if not inputs:
        raise TypeError("check_grads: no float64 array among the args to differentiate by")

    def run(*values: Any) -> list[Tensor]:
        """f with these values at the places of the inputs; its floating outputs."""
        full = list(args)
        for i, v in zip(inputs, values, strict=True):
            full[i] = v
        out = f(*full)
        return [o for o in (out if isinstance(out, tuple | list) else (out,)) if o.dtype.kind == "f"]

    def pull(*values: Any, create_graph: bool = True) -> tuple[Tensor, ...]:
        """The map (inputs, cotangents) -> gradients."""
        xs, us = values[: len(inputs)], values[len(inputs) :]
        outs = [(o, u) for o, u in zip(run(*xs), us, strict=True) if o._node is not None]
        if not outs:
            return tuple([x * 0.0 for x in xs])
        found = grad([o for o, _ in outs], list(xs), [u for _, u in outs], create_graph=create_graph, allow_unused=True)
        return tuple([x * 0.0 if d is None else d for x, d in zip(xs, found, strict=True)])

    points = [raw[i] for i in inputs]
    outputs = run(*[variable(p) for p in points])
    cotangents = [_like(rng.standard_normal(o.shape), o._data) for o in outputs]
    leaves = [*map(variable, points), *map(Tensor, cotangents)]
    claimed = [backend.to_numpy(d._data) for d in pull(*leaves, create_graph=False)]  # as training takes them

    def value(*values: Any) -> float:
        outs = run(*map(variable, values))
        return float(np.sum([np.vdot(backend.to_numpy(o._data), backend.to_numpy(u))
                             for o, u in zip(outs, cotangents, strict=True)]))  # fmt: skip

    worst = _compare(value, points, claimed, inputs, tolerance, order=1, rng=rng)
    if order > 1:  # as a backward pass that is recorded takes them: through a kernel's composition, say
        for i, raw_g, recorded in zip(inputs, claimed, pull(*leaves), strict=True):
            off = np.abs(raw_g - backend.to_numpy(recorded._data)).max(initial=0)
            if not off <= tolerance * max(1.0, np.abs(raw_g).max(initial=0)):
                raise GradientError(f"input {i}: the gradient changes by {off:.1e} when the backward pass is recorded")
        values = [*points, *cotangents]
        try:
            deeper = check_grads(pull, values, order - 1, tolerance=tolerance, seed=seed + 1)
        except GradientError as error:
            raise GradientError(f"derivative of the gradient: {error}") from None
        worst = max(worst, deeper)
    return worst


def _compare(value, points, claimed, inputs, tolerance, *, order, rng) -> float:
    """(1) for the entries of every input; the worst deviation, or an error that describes it."""
    worst, where = 0.0, None
    for k, (point, mine) in enumerate(zip(points, claimed, strict=True)):
        if mine.shape != point.shape:
            raise GradientError(f"input {inputs[k]} has shape {point.shape}, its gradient {mine.shape}")
        entries = list(np.ndindex(point.shape))
        if len(entries) > MOST:
            entries = [entries[j] for j in rng.choice(len(entries), MOST, replace=False)]
        numeric = np.array([_difference(value, points, k, entry) for entry in entries])
        analytic = np.array([mine[entry] for entry in entries])
        scale = max(1.0, np.abs(mine).max(initial=0.0), np.abs(numeric).max(initial=0.0))
        for entry, a, n in zip(entries, analytic, numeric, strict=True):
            off = abs(a - n) / scale
            if not off <= worst:  # NaN counts as worse
                worst, where = off, (inputs[k], entry, a, n)
            if np.isnan(off):
                worst = np.inf
    if where is not None and worst > tolerance:
        i, entry, a, n = where
        raise GradientError(f"input {i}, entry {entry}: the gradient is {a:.10g}, by differences {n:.10g} "
                            f"(off by {worst:.1e}, allowed {tolerance:.0e})")  # fmt: skip
    return worst


def _difference(value, points, k: int, entry: tuple) -> float:
    """(1): the derivative of `value` by one entry of the k-th input."""
    host = backend.to_numpy(points[k])

    def at(steps: int) -> float:
        moved = host.copy()
        moved[entry] += steps * STEP
        return value(*points[:k], _like(moved, points[k]), *points[k + 1 :])

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)


def _like(host: np.ndarray, array: Any) -> Any:
    """A host array on the device of another array."""
    return backend.asarray(np.asarray(host), device=backend.device_of(array))

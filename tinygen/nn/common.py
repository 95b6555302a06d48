"""What the layers share: how sizes are checked and shown, and how weights start."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.backend.random import Generator


def check_sizes(layer: str, **sizes: Any) -> None:
    """Refuse sizes that are not positive integers."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{layer}: {name} must be a positive integer, got {size!r}")


def check_probability(layer: str, name: str, p: Any) -> None:
    """Refuse what is not a number in [0, 1]."""
    if not isinstance(p, Real) or not 0 <= float(p) <= 1:
        raise ValueError(f"{layer}: {name} must be a probability, from 0 to 1, got {p!r}")


def each(name: str, value: Any, n: int) -> tuple[int, ...]:
    """One integer per spatial axis: n times the same, or n of them."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * n
    if len(values) != n or not all(isinstance(v, Integral) for v in values):
        raise ValueError(f"{name} must be an integer or {n} integers, got {value!r}")
    return tuple([int(v) for v in values])


def shown(*sizes: Any, **options: tuple[Any, Any]) -> str:
    """Arguments as `repr` shows them: all sizes, and the options, given as (value, default), that are not default."""
    changed = [f"{name}={value!r}" for name, (value, default) in options.items() if value != default]
    return ", ".join([*map(repr, sizes), *changed])


def uniform_parameter(rng: Generator, shape: tuple[int, ...], fan: int) -> Tensor:
    r"""A parameter as PyTorch's layers start, with $n$ = `fan`, the number of inputs to an output:

    $$ W \sim U\left(-\tfrac{1}{\sqrt n}, \tfrac{1}{\sqrt n}\right). \tag{1} $$
    """
    bound = 1 / math.sqrt(fan)
    return tg.tensor(rng.uniform(shape, -bound, bound), requires_grad=True)

"""Where every function is tried: `python -m tinygen check` and the tests run the gradient checks at these points.

An elementwise primitive needs no line here: its `domain` says where it may be evaluated, and it is tried on its
own and, with two inputs, on shapes that broadcast. Every other function has a case or more, beside its floor's
name: `engine`, `nn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tinygen.autograd.checks import check_grads
from tinygen.autograd.primitive import REGISTRY
from tinygen.formulas.symbols import rules


class Case(NamedTuple):
    """A function, and arguments to differentiate it at."""

    name: str
    function: Callable
    args: tuple


def every_case(seed: int = 0) -> Iterator[Case]:
    """All cases of all floors."""
    from tinygen.cases import engine, nn, probability

    rng = np.random.default_rng(seed)
    yield from engine.cases(rng)
    yield from nn.cases(rng)
    yield from probability.cases(rng)


class Verdict(NamedTuple):
    """What the check of one function gave: the worst deviation at each order, and its rules."""

    name: str
    cases: int
    first: float
    second: float
    rule: str


def check_all(points: Iterable[Case]) -> Iterator[Verdict]:
    """Check every function at orders 1 and 2; raises `GradientError` at the first that is wrong."""
    grouped: dict[str, list[Case]] = {}
    for c in points:
        grouped.setdefault(c.name, []).append(c)
    for name, group in grouped.items():
        first = max(check_grads(c.function, c.args, order=1) for c in group)
        second = max(check_grads(c.function, c.args, order=2) for c in group)
        row = REGISTRY.get(name)
        rule = "; ".join(s.text for s in rules(row)) if row else "composed"
        yield Verdict(name, len(group), first, second, rule)

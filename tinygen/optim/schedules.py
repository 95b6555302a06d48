r"""Schedules: how the learning rate changes from step to step.

A schedule is a function of the step number $t = 0, 1, \dots$ that gives a factor $f(t)$, and `Schedule` sets

$$ \eta_t = \eta\, f(t), \tag{1} $$

with $\eta$ the optimiser's own rate. The factors here are

$$ f(t) = 1 \qquad \text{(constant)}, \tag{2} $$
$$ f(t) = \frac{a}{(b + t)^p} \qquad \text{(Robbins–Monro)}, \tag{3} $$
$$ f(t) = \gamma^{\lfloor t / n \rfloor} \qquad \text{(steps)}, \tag{4} $$
$$ f(t) = \gamma^t \qquad \text{(exponential)}, \tag{5} $$
$$ f(t) = \phi + \frac{1 - \phi}{2} \left(1 + \cos \frac{\pi \min(t, n)}{n}\right) \qquad \text{(cosine, down to } \phi
   \text{)}, \tag{6} $$
$$ f(t) = \min\left(1, \frac{t + 1}{n}\right) \qquad \text{(warm-up)}. \tag{7} $$

They compose by multiplication, `Product(WarmUp(100), Cosine(1000))`, and one after the other,
`Sequence((100, WarmUp(100)), (None, Exponential(0.99)))`.

**Why a rate must fall, but not too fast** (Robbins and Monro 1951; S0). Near the optimum the minibatch's noise keeps
pushing $\theta$ about, by an amount proportional to the rate. Stochastic gradient descent comes to rest if

$$ \sum_t \eta_t = \infty \qquad\text{and}\qquad \sum_t \eta_t^2 < \infty: \tag{8} $$

the first, so that it can reach the optimum from however far away; the second, so that the noise it collects has finite
variance. For (3) this means $\tfrac12 < p \le 1$. A constant rate violates the second condition: $\theta$ arrives
quickly and then keeps trembling. An exponential with $\gamma < 1$ violates the first: it may stop halfway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinygen.backend.recording import whole
from tinygen.optim.optimizer import Optimizer

Factor = Callable[[int], float]


class Schedule:
    """Sets an optimiser's learning rate by (1): at once to that of $t = 0$, and on with every `step`.

    Parameters
    ----------
    optimizer : its present `lr` becomes the rate $\\eta$ that the factors multiply
    factor : the function $f$

    Examples
    --------
    >>> import tinygen as tg
    >>> optimizer = tg.optim.SGD(tg.tensor([1.0], requires_grad=True), 0.1)
    >>> schedule = Schedule(optimizer, Exponential(0.5))
    >>> schedule.step()
    >>> optimizer.lr
    0.05
    """

    def __init__(self, optimizer: Optimizer, factor: Factor):
        self.optimizer, self.factor = optimizer, factor
        self.t, self.lr = 0, optimizer.lr
        self.optimizer.lr = self.rate()

    @whole
    def step(self) -> None:
        """To the next step's rate; call it after the optimiser's step."""
        self.t += 1
        self.optimizer.lr = self.rate()

    def rate(self) -> float:
        """(1): the learning rate of the present step."""
        return self.lr * self.factor(self.t)

    def state_dict(self) -> dict[str, Any]:
        """The step and the rate that the factors multiply; the factors themselves are code."""
        return {"t": self.t, "lr": self.lr}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the state was taken, and set the optimiser's rate."""
        self.t, self.lr = int(state["t"]), float(state["lr"])
        self.optimizer.lr = self.rate()


@dataclass(frozen=True)
class Constant:
    """(2): the rate stays."""

    def __call__(self, t: int) -> float:
        return 1.0


@dataclass(frozen=True)
class RobbinsMonro:
    r"""(3): $a / (b + t)^p$, with $\tfrac12 < p \le 1$, so that both conditions (8) hold."""

    p: float = 1.0
    a: float = 1.0
    b: float = 1.0

    def __post_init__(self):
        if not 0.5 < self.p <= 1:
            raise ValueError(f"RobbinsMonro: p must be above 1/2 (or the squares' sum is infinite) and at most 1 "
                             f"(or the sum is finite), got {self.p!r}")  # fmt: skip
        if not (self.a > 0 and self.b > 0):
            raise ValueError(f"RobbinsMonro: a and b must be positive, got {self.a!r} and {self.b!r}")

    def __call__(self, t: int) -> float:
        return self.a / (self.b + t) ** self.p


@dataclass(frozen=True)
class Steps:
    r"""(4): times $\gamma$ after every n steps."""

    n: int
    gamma: float = 0.1

    def __post_init__(self):
        _check("Steps", self.n)
        _check_gamma("Steps", self.gamma)

    def __call__(self, t: int) -> float:
        return self.gamma ** (t // self.n)


@dataclass(frozen=True)
class Exponential:
    r"""(5): times $\gamma$ after every step."""

    gamma: float

    def __post_init__(self):
        _check_gamma("Exponential", self.gamma)

    def __call__(self, t: int) -> float:
        return self.gamma**t


@dataclass(frozen=True)
class Cosine:
    r"""(6): along half a cosine from 1 to $\phi$ = `final` in n steps, then constant (Loshchilov and Hutter 2017)."""

    n: int
    final: float = 0.0

    def __post_init__(self):
        _check("Cosine", self.n)
        if not self.final >= 0:
            raise ValueError(f"Cosine: final must be at least 0, got {self.final!r}")

    def __call__(self, t: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(t, self.n) / self.n)) / 2


@dataclass(frozen=True)
class WarmUp:
    """(7): in a straight line from 1/n to 1 in n steps, then constant."""

    n: int

    def __post_init__(self):
        _check("WarmUp", self.n)

    def __call__(self, t: int) -> float:
        return min(1.0, (t + 1) / self.n)


class Product:
    """All factors multiplied, each counting from the same start."""

    def __init__(self, *factors: Factor):
        self.factors = factors

    def __call__(self, t: int) -> float:
        return math.prod(f(t) for f in self.factors)


class Sequence:
    """One factor after the other: pairs (number of steps, factor), each counting from its own start.

    The last one goes on for ever; its number is None.
    """

    def __init__(self, *parts: tuple[int | None, Factor]):
        if not parts or parts[-1][0] is not None or any(n is None for n, _ in parts[:-1]):
            raise ValueError("Sequence: pairs (steps, factor) are wanted; the last, and no other, has None for steps")
        self.parts = parts

    def __call__(self, t: int) -> float:
        for n, f in self.parts:
            if n is None or t < n:
                return f(t)
            t -= n
        raise AssertionError("the last part has no end")


def _check(kind: str, n: int) -> None:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"{kind}: n must be a positive number of steps, got {n!r}")


def _check_gamma(kind: str, gamma: float) -> None:
    if not gamma > 0:
        raise ValueError(f"{kind}: gamma must be positive, got {gamma!r}")

r"""Gradient descent: plain, stochastic, with momentum, preconditioned.

Gradient descent goes against the gradient of the whole loss (S2 eq. 2.30); *stochastic* gradient descent against
that of a minibatch, $g_t$, which is right on average and cheap (S0; S2 eqs. 2.31–2.32). Which of the two it is
depends only on the loss that was differentiated; the step is the same,

$$ \theta_t = \theta_{t-1} - \eta\, g_t. \tag{1} $$

Momentum $\mu$ goes against a decaying sum of all gradients so far, which averages out noise and carries through
ravines (Polyak 1964); Nesterov's kind (1983) looks one step of that sum ahead:

$$ b_t = \mu\, b_{t-1} + (1 - \tau)\, g_t, \qquad b_1 = g_1, \tag{2} $$
$$ \theta_t = \theta_{t-1} - \eta\, b_t, \tag{3} $$
$$ \theta_t = \theta_{t-1} - \eta\, (g_t + \mu\, b_t) \qquad \text{(Nesterov).} \tag{4} $$

A matrix $H$ may reshape the gradient (S2 §2.2.2, "precondition"),

$$ \theta_t = \theta_{t-1} - \eta\, H g_t; \tag{5} $$

with the inverse of the loss' second derivative for $H$ and $\eta = 1$ this is Newton's step. The adaptive methods
(`rmsprop`, `adagrad`, `adam`) are (5) with a diagonal $H$ that they estimate on the way.

Notation
--------
$\eta$ : `lr`
$\mu, \tau$ : `momentum`, `dampening`; with $\mu = 0$ the step is (1), whatever $\tau$
$b_t$ : `momentum_buffer`
$H$ : `precondition`, as the map $g \mapsto H g$
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module
from tinygen.optim.optimizer import Optimizer


class SGD(Optimizer):
    r"""Stochastic gradient descent (1) with momentum, (2) to (4).

    Parameters
    ----------
    params : the parameters $\theta$
    lr : learning rate $\eta$
    momentum : $\mu$, at least 0
    dampening : $\tau$
    weight_decay : $\lambda$, which adds $\lambda \theta$ to the gradient
    nesterov : whether to step by (4); needs momentum, and no dampening
    """

    elementwise = True

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, *, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False):  # fmt: skip
        super().__init__(params, lr, weight_decay=weight_decay)
        if not momentum >= 0:
            raise ValueError(f"SGD: momentum must be at least 0, got {momentum!r}")
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError("SGD: nesterov wants momentum above 0 and dampening 0, "
                             f"got {momentum!r} and {dampening!r}")  # fmt: skip
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov

    def memories(self):
        """$b_t$, if there is momentum."""
        return ["momentum_buffer"] * (self.momentum > 0)

    def change(self, p, g, state):
        xp, g, step = array_module(p), self.decayed(p, g), self.room(p)
        if self.momentum == 0:
            return xp.multiply(g, self.lr, out=step)  # (1)
        if not state:
            state["momentum_buffer"] = g.copy()
        else:  # (2): b = mu b + (1 - tau) g
            state["momentum_buffer"] *= self.momentum
            state["momentum_buffer"] += xp.multiply(g, 1 - self.dampening, out=step)
        b = state["momentum_buffer"]
        xp.multiply(b, self.momentum * self.lr if self.nesterov else self.lr, out=step)  # (3)
        return step + self.lr * g if self.nesterov else step  # (4)


class PreconditionedSGD(Optimizer):
    r"""Gradient descent in other units, (5).

    Parameters
    ----------
    params : the parameters $\theta$
    precondition : the map $g \mapsto H g$ on raw arrays of a parameter's shape; for the step to go down, $H$ must be
        positive definite
    lr : learning rate $\eta$
    """

    def __init__(self, params: Iterable[Tensor], precondition: Callable[[Any], Any], lr: float = 1e-3):
        super().__init__(params, lr)
        self.precondition = precondition

    def memories(self):
        """Nothing."""
        return []

    def change(self, p, g, state):
        return self.lr * self.precondition(g)  # (5)

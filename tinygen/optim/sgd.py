r"""Stochastic gradient descent, with momentum.

The plain step goes against the gradient $g_t$ of a minibatch. Momentum $\mu$ goes against a decaying sum of
all gradients so far, which averages out noise and carries through ravines (Polyak 1964):

$$ b_t = \mu\, b_{t-1} + g_t, \qquad b_1 = g_1, \tag{1} $$
$$ \theta_t = \theta_{t-1} - \eta\, b_t. \tag{2} $$

Notation
--------
$\eta$ : `lr`
$\mu$ : `momentum`; with 0, $b_t = g_t$
$b_t$ : `momentum_buffer`
"""

from __future__ import annotations

from collections.abc import Iterable

from tinygen.autograd import Tensor
from tinygen.optim.optimizer import Optimizer


class SGD(Optimizer):
    r"""Stochastic gradient descent (2) with momentum (1).

    Parameters
    ----------
    params : the parameters $\theta$
    lr : learning rate $\eta$
    momentum : $\mu$, at least 0
    """

    def __init__(self, params: Iterable[Tensor], lr: float, *, momentum: float = 0.0):
        super().__init__(params, lr)
        if not momentum >= 0:
            raise ValueError(f"SGD: momentum must be at least 0, got {momentum!r}")
        self.momentum = momentum

    def change(self, p, g, state):
        if self.momentum == 0:
            return self.lr * g
        if not state:
            state["momentum_buffer"] = g.copy()
        else:  # (1): b = mu b + g
            state["momentum_buffer"] *= self.momentum
            state["momentum_buffer"] += g
        return self.lr * state["momentum_buffer"]  # (2)

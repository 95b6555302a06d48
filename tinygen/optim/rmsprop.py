r"""RMSprop: every entry's gradient in units of its own recent size (Tieleman and Hinton 2012).

A running mean of the squared gradient measures the size; *centred*, it is the variance,

$$ v_t = \alpha\, v_{t-1} + (1 - \alpha)\, g_t^2, \qquad
   \bar g_t = \alpha\, \bar g_{t-1} + (1 - \alpha)\, g_t, \tag{1} $$
$$ \hat g_t = \frac{g_t}{\sqrt{v_t} + \epsilon} \quad\text{or, centred,}\quad
   \frac{g_t}{\sqrt{v_t - \bar g_t^2} + \epsilon}, \tag{2} $$

and the step goes against it, with momentum $\mu$ if wanted:

$$ b_t = \mu\, b_{t-1} + \hat g_t, \qquad \theta_t = \theta_{t-1} - \eta\, b_t, \qquad b_0 = 0. \tag{3} $$

All means start at 0 and are not corrected for it, so that the first steps are about $1 / \sqrt{1 - \alpha}$ times too
long; Adam is what becomes of it with that put right.

Notation
--------
$\eta$, $\alpha$, $\epsilon$, $\mu$ : `lr`, `alpha`, `eps`, `momentum`
$v_t$, $\bar g_t$, $b_t$ : `square_avg`, `grad_avg`, `momentum_buffer` in a parameter's memory
"""

from __future__ import annotations

from collections.abc import Iterable

from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module
from tinygen.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    r"""RMSprop, (1) to (3).

    Parameters
    ----------
    params : the parameters $\theta$
    lr : learning rate $\eta$
    alpha : $\alpha$, in [0, 1)
    eps : $\epsilon$, at least 0
    weight_decay : $\lambda$, which adds $\lambda \theta$ to the gradient
    momentum : $\mu$, at least 0
    centered : whether to take the gradient's mean out of its size
    """

    elementwise = True

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, *, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False):  # fmt: skip
        super().__init__(params, lr, weight_decay=weight_decay)
        if not 0 <= alpha < 1:
            raise ValueError(f"RMSprop: alpha must be in [0, 1), got {alpha!r}")
        if not (eps >= 0 and momentum >= 0):
            raise ValueError(f"RMSprop: eps and momentum must be at least 0, got {eps!r} and {momentum!r}")
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered

    def memories(self):
        """The mean square, the mean and the sum of steps, as far as the options want them."""
        return ["square_avg"] + ["grad_avg"] * self.centered + ["momentum_buffer"] * (self.momentum > 0)

    def change(self, p, g, state):
        xp, g = array_module(p), self.decayed(p, g)
        if not state:
            state.update({name: xp.zeros_like(p) for name in self.memories()})
        v, step = state["square_avg"], self.room(p)
        v *= self.alpha
        xp.multiply(g, g, out=step)
        step *= 1 - self.alpha
        v += step  # (1)
        if self.centered:
            state["grad_avg"] *= self.alpha
            state["grad_avg"] += xp.multiply(g, 1 - self.alpha, out=step)  # (1)
            v = xp.maximum(v - xp.square(state["grad_avg"]), 0)  # a constant gradient's variance may round below 0
        xp.sqrt(v, out=step)
        step += self.eps
        xp.divide(g, step, out=step)  # (2)
        if self.momentum > 0:
            state["momentum_buffer"] *= self.momentum
            state["momentum_buffer"] += step
            return xp.multiply(state["momentum_buffer"], self.lr, out=step)  # (3)
        step *= self.lr  # (3)
        return step

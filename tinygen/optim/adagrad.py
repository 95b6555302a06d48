r"""Adagrad: entries that have moved much slow down (Duchi, Hazan and Singer 2011).

The squares of all gradients so far are added up, and each entry's rate falls with its own sum:

$$ s_t = s_{t-1} + g_t^2, \tag{1} $$
$$ \theta_t = \theta_{t-1} - \frac{\eta}{1 + (t - 1)\, \kappa}\, \frac{g_t}{\sqrt{s_t} + \epsilon}. \tag{2} $$

An entry whose gradient is rarely other than 0, such as that of a rare word, keeps a large rate. With gradients of one
size the rate falls as $1/\sqrt t$.

Notation
--------
$\eta$, $\kappa$, $\epsilon$ : `lr`, `lr_decay`, `eps`
$s_t$, $t$ : `sum`, `step` in a parameter's memory; $s_0$ is `initial_accumulator_value`
"""

from __future__ import annotations

from collections.abc import Iterable

from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module
from tinygen.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    r"""Adagrad, (1) and (2).

    Parameters
    ----------
    params : the parameters $\theta$
    lr : learning rate $\eta$
    lr_decay : $\kappa$, at least 0
    weight_decay : $\lambda$, which adds $\lambda \theta$ to the gradient
    initial_accumulator_value : $s_0$, at least 0
    eps : $\epsilon$, at least 0
    """

    elementwise = True

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, *, lr_decay: float = 0.0, weight_decay: float = 0.0,
                 initial_accumulator_value: float = 0.0, eps: float = 1e-10):  # fmt: skip
        super().__init__(params, lr, weight_decay=weight_decay)
        for name, value in (("lr_decay", lr_decay), ("eps", eps),
                            ("initial_accumulator_value", initial_accumulator_value)):  # fmt: skip
            if not value >= 0:
                raise ValueError(f"Adagrad: {name} must be at least 0, got {value!r}")
        self.lr_decay, self.eps, self.initial_accumulator_value = lr_decay, eps, initial_accumulator_value

    def memories(self):
        """$t$ and $s_t$."""
        return ["step", "sum"]

    def change(self, p, g, state):
        xp, g = array_module(p), self.decayed(p, g)
        if not state:
            state.update(step=0, sum=xp.full_like(p, self.initial_accumulator_value))
        state["step"] += 1
        step = self.room(p)
        state["sum"] += xp.multiply(g, g, out=step)  # (1)
        rate = self.lr / (1 + (state["step"] - 1) * self.lr_decay)
        xp.sqrt(state["sum"], out=step)
        step += self.eps
        xp.divide(g, step, out=step)
        step *= rate  # (2)
        return step

r"""Adam: steps measured by the gradient's own size (Kingma and Ba 2015), and two corrections of it.

Running means of the gradient and of its square,

$$ m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \tag{1} $$
$$ v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \tag{2} $$

start at 0 and are therefore too small at first, by the factors $1 - \beta_1^t$ and $1 - \beta_2^t$. With these
taken out, each entry moves by about $\eta$, whatever the scale of the loss:

$$ \theta_t = \theta_{t-1} - \frac{\eta}{1 - \beta_1^t}\,
   \frac{m_t}{\sqrt{v_t} / \sqrt{1 - \beta_2^t} + \epsilon}. \tag{3} $$

$\epsilon$ is added after the correction, as in the paper and in PyTorch.

A rare large gradient is soon forgotten by (2), and Adam can then fail to converge even on convex problems. *AMSGrad*
(Reddi, Kale and Kumar 2018) puts into (3), instead of $v_t$, the largest so far:

$$ \hat v_t = \max(\hat v_{t-1}, v_t). \tag{4} $$

Weight decay through the gradient is divided by its size like everything else, so that what decays is not what was
asked for. *AdamW* (Loshchilov and Hutter 2019) shrinks the parameters beside the step (3) instead:

$$ \theta_{t-1} \leftarrow (1 - \eta \lambda)\, \theta_{t-1}. \tag{5} $$

Notation
--------
$\eta$, $\beta_1, \beta_2$, $\epsilon$, $\lambda$ : `lr`, `betas`, `eps`, `weight_decay`
$m_t$, $v_t$, $\hat v_t$, $t$ : `exp_avg`, `exp_avg_sq`, `max_exp_avg_sq`, `step` in a parameter's memory
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module
from tinygen.optim.optimizer import Optimizer


class Adam(Optimizer):
    r"""Adam, (1) to (3).

    Parameters
    ----------
    params : the parameters $\theta$
    lr : learning rate $\eta$, about what an entry moves in a step (after a long rest up to
        $(1-\beta_1)/\sqrt{1-\beta_2}$ times it, 3.2 by default)
    betas : $(\beta_1, \beta_2)$, each in [0, 1)
    eps : $\epsilon$, at least 0
    weight_decay : $\lambda$, which adds $\lambda \theta$ to the gradient
    amsgrad : whether to use (4)
    """

    elementwise = True

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, *, betas=(0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False):  # fmt: skip
        super().__init__(params, lr, weight_decay=weight_decay)
        kind = type(self).__name__
        if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{kind}: betas must be two numbers in [0, 1), got {betas!r}")
        if not eps >= 0:
            raise ValueError(f"{kind}: eps must be at least 0, got {eps!r}")
        self.betas, self.eps, self.amsgrad = tuple(betas), eps, amsgrad

    def memories(self):
        """$t$, $m_t$, $v_t$ and, with AMSGrad, the largest $v_t$."""
        return ["step", "exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * self.amsgrad

    def change(self, p, g, state):
        xp, (beta1, beta2), g = array_module(p), self.betas, self.decayed(p, g)
        if not state:
            state.update({name: 0 if name == "step" else xp.zeros_like(p) for name in self.memories()})
        state["step"] += 1
        t, m, v, step = state["step"], state["exp_avg"], state["exp_avg_sq"], self.room(p)
        m *= beta1
        m += xp.multiply(g, 1 - beta1, out=step)  # (1)
        v *= beta2
        xp.multiply(g, g, out=step)
        step *= 1 - beta2
        v += step  # (2)
        if self.amsgrad:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])  # (4)
        if not self.lr:  # a schedule has come to its end
            step.fill(0)
            return step
        # (3): m / ((sqrt(v) / sqrt(1 - beta2^t) + eps) (1 - beta1^t) / eta), with the numbers taken together
        scale = (1 - beta1**t) / self.lr
        xp.sqrt(v, out=step)
        step *= scale / math.sqrt(1 - beta2**t)
        step += self.eps * scale
        return xp.divide(m, step, out=step)


class AdamW(Adam):
    r"""Adam whose weight decay is apart from the gradient, (5).

    Parameters
    ----------
    params, lr, betas, eps, amsgrad : as for `Adam`
    weight_decay : $\lambda$
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, *, betas=(0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False):  # fmt: skip
        super().__init__(params, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def decayed(self, p, g):
        """The gradient as it is: the decay is in `change`."""
        return g

    def change(self, p, g, state):
        step = super().change(p, g, state)
        step += self.lr * self.weight_decay * p  # (5)
        return step

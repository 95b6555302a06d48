r"""Adam: steps measured by the gradient's own size (Kingma and Ba 2015).

Running means of the gradient and of its square,

$$ m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \tag{1} $$
$$ v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \tag{2} $$

start at 0 and are therefore too small at first, by the factors $1 - \beta_1^t$ and $1 - \beta_2^t$. With these
taken out, each entry moves by about $\eta$, whatever the scale of the loss:

$$ \theta_t = \theta_{t-1} - \frac{\eta}{1 - \beta_1^t}\,
   \frac{m_t}{\sqrt{v_t} / \sqrt{1 - \beta_2^t} + \epsilon}. \tag{3} $$

$\epsilon$ is added after the correction, as in the paper and in PyTorch.

Notation
--------
$\eta$, $\beta_1, \beta_2$, $\epsilon$ : `lr`, `betas`, `eps`
$m_t$, $v_t$, $t$ : `exp_avg`, `exp_avg_sq`, `step` in a parameter's memory
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
    lr : learning rate $\eta$, about the most that an entry moves in a step
    betas : $(\beta_1, \beta_2)$, each in [0, 1)
    eps : $\epsilon$, at least 0
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, *, betas=(0.9, 0.999), eps: float = 1e-8):
        super().__init__(params, lr)
        if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"Adam: betas must be two numbers in [0, 1), got {betas!r}")
        if not eps >= 0:
            raise ValueError(f"Adam: eps must be at least 0, got {eps!r}")
        self.betas, self.eps = tuple(betas), eps

    def change(self, p, g, state):
        xp, (beta1, beta2) = array_module(p), self.betas
        if not state:
            state.update(step=0, exp_avg=xp.zeros_like(p), exp_avg_sq=xp.zeros_like(p))
        state["step"] += 1
        t, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
        m *= beta1
        m += (1 - beta1) * g  # (1)
        v *= beta2
        v += (1 - beta2) * g * g  # (2)
        # (3): eta / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
        scale = xp.sqrt(v)
        scale /= math.sqrt(1 - beta2**t)
        scale += self.eps
        return m / scale * (self.lr / (1 - beta1**t))

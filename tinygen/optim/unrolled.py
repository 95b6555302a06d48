r"""Steps that can be differentiated: parameters in, new parameters out, nothing changed.

An optimiser overwrites its parameters, and with that the history ends. To ask how a loss *after* $k$ steps depends on
something that steered those steps (the generator, in an unrolled GAN; the rate; the start), each step must be an
ordinary function of Tensors:

$$ \theta_{t+1} = \theta_t - \eta\, (g_t + \lambda \theta_t), \tag{1} $$
$$ b_{t+1} = \mu\, b_t + g_t + \lambda \theta_t, \qquad \theta_{t+1} = \theta_t - \eta\, b_{t+1}. \tag{2} $$

Take the gradients with `create_graph=True`, and `tg.grad` goes back through all steps, second derivatives included:

```python
for _ in range(k):
    grads = tg.grad(loss(params), params, create_graph=True)
    params = sgd_step(params, grads, lr)
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygen.autograd import Tensor


def sgd_step(params: Sequence[Tensor], grads: Sequence[Tensor | None], lr: Any, *, weight_decay: float = 0.0
             ) -> list[Tensor]:  # fmt: skip
    r"""New parameters by (1), with a history; those without a gradient are passed on.

    Parameters
    ----------
    params : $\theta_t$, leaves or computed
    grads : $g_t$, one for each, or None
    lr : $\eta$, a number or a Tensor, which may want a gradient itself
    weight_decay : $\lambda$
    """
    _paired("sgd_step", params, grads)
    return [p if g is None else p - lr * _decayed(p, g, weight_decay) for p, g in zip(params, grads, strict=True)]


def momentum_step(params: Sequence[Tensor], grads: Sequence[Tensor], buffers: Sequence[Any] | None, lr: Any, *,
                  momentum: Any = 0.9, weight_decay: float = 0.0) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    r"""New parameters and buffers by (2), both with a history.

    Parameters
    ----------
    buffers : $b_t$, one for each parameter; None at the first step, where $b_1 = g_0 + \lambda \theta_0$
    momentum : $\mu$, a number or a Tensor
    """
    _paired("momentum_step", params, grads)
    steps = [_decayed(p, g, weight_decay) for p, g in zip(params, grads, strict=True)]
    if buffers is not None:
        steps = [momentum * b + g for b, g in zip(buffers, steps, strict=True)]
    return [p - lr * b for p, b in zip(params, steps, strict=True)], steps


def _decayed(p: Tensor, g: Tensor, weight_decay: float) -> Tensor:
    return g + weight_decay * p if weight_decay else g


def _paired(name: str, params: Sequence, grads: Sequence) -> None:
    if len(params) != len(grads):
        raise ValueError(f"{name}: {len(grads)} grads for {len(params)} parameters; one each is wanted")

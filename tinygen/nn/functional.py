r"""The functions behind the layers, and the losses: each is its formula.

Losses compare an *input*, what the network says, with a *target*, and average: `reduction="mean"` over all
entries, `"sum"`, or `"none"`. They take **logits**, never probabilities: $\log \sigma(x)$ and $\log$ softmax
are finite where $\log$ of a rounded probability is not.
"""

from __future__ import annotations

import tinygen.autograd as tg
from tinygen.autograd import leaky_relu, relu, sigmoid, softplus, tanh
from tinygen.autograd.primitive import primitive
from tinygen.nn.spatial import (
    avg_pool1d,
    avg_pool2d,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    max_pool1d,
    max_pool2d,
    pixel_shuffle,
    upsample,
)  # fmt: skip

__all__ = [
    "avg_pool1d", "avg_pool2d", "binary_cross_entropy_with_logits", "conv1d", "conv2d", "conv_transpose1d",
    "conv_transpose2d", "cross_entropy", "leaky_relu", "linear", "log_softmax", "max_pool1d", "max_pool2d", "mse_loss",
    "pixel_shuffle", "relu", "sigmoid", "softmax", "softplus", "tanh", "upsample",
]  # fmt: skip

# ---- linear maps ----------------------------------------------------------------------------------------


def linear(x, weight, bias=None):
    r"""$y = x W^\top + b$: (..., in) to (..., out), with `weight` (out, in) and `bias` (out,) or None."""
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x has shape {x.shape} and weight {weight.shape}; the last axis of x must be "
                         "weight's second (out, in); images are flattened first")  # fmt: skip
    y = tg.matmul(x, tg.transpose(weight))
    return y if bias is None else y + bias


# ---- softmax --------------------------------------------------------------------------------------------


def softmax(x, axis=-1):
    r"""$p_i = e^{x_i} / \sum_j e^{x_j}$ along `axis`."""
    return tg.exp(log_softmax(x, axis))


def log_softmax(x, axis=-1):
    r"""$\log p_i = x_i - \log \sum_j e^{x_j}$ along `axis`."""
    return x - tg.logsumexp(x, axis, keepdims=True)


# ---- losses ---------------------------------------------------------------------------------------------


def mse_loss(input, target, *, reduction="mean"):
    r"""$(x - t)^2$."""
    _same_shape("mse_loss", input, target)
    return _reduce("mse_loss", tg.square(input - target), reduction)


def cross_entropy(input, target, *, reduction="mean"):
    r"""$-\log p_t$, with $p$ the softmax of the logits `input` over its axis 1.

    Parameters
    ----------
    input : logits, (n, classes) or (n, classes, ...)
    target : the right classes, integers (n,) or (n, ...); or probabilities of input's shape, for which the loss
        is $-\sum_c t_c \log p_c$
    reduction : "mean" averages over all targets, not over classes
    """
    log_p = log_softmax(input, 1)
    if target.dtype.kind == "f":
        _same_shape("cross_entropy", input, target)
        return _reduce("cross_entropy", -tg.sum(target * log_p, 1), reduction)
    if target.shape != (input.shape[0], *input.shape[2:]):
        raise ValueError(f"cross_entropy: target has shape {target.shape}; for input {input.shape} integer classes of "
                         f"shape {(input.shape[0], *input.shape[2:])} are wanted, or probabilities")  # fmt: skip
    at_target = tg.take_along_axis(log_p, tg.expand_dims(target, 1), 1)  # (n, 1, ...)
    return _reduce("cross_entropy", -tg.squeeze(at_target, 1), reduction)


def _bce_back(g, x, t, needs):
    """The fused rule: both contributions without an intermediate Tensor."""
    return (g * (sigmoid(x) - t) if needs[0] else None, -g * x if needs[1] else None)


@primitive(
    joint=_bce_back,
    domain="real",
    composed=lambda x, t: softplus(x) - x * t,
    formula=(r"\bar x = \bar y \odot (\sigma(x) - t)", r"\bar t = -\bar y \odot x"),
)
def _bce_with_logits(xp, x, t):
    r"""$\log(1 + e^x) - x t = -t \log \sigma(x) - (1 - t) \log(1 - \sigma(x))$, entry by entry."""
    y = xp.log1p(xp.exp(-xp.abs(x)))
    y += xp.maximum(x, 0)
    return y - x * t


def binary_cross_entropy_with_logits(input, target, *, reduction="mean"):
    r"""$-t \log \sigma(x) - (1 - t) \log(1 - \sigma(x))$, for logits $x$ and targets $t$ in [0, 1]."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    return _reduce("binary_cross_entropy_with_logits", _bce_with_logits(input, target), reduction)


def _same_shape(name, input, target):
    """Refuse to broadcast: (n, 1) against (n,) would quietly compare everything with everything."""
    if input.shape != target.shape:
        raise ValueError(f"{name}: input has shape {input.shape}, target {target.shape}; one shape is wanted (reshape)")


def _reduce(name, losses, reduction):
    """The losses' mean, their sum, or themselves."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return losses if reduction == "none" else tg.mean(losses) if reduction == "mean" else tg.sum(losses)

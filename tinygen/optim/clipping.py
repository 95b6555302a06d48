r"""Gradients cut to a size.

One steep place in the loss can throw the parameters far away. Clipping keeps the direction and bounds the length
(Pascanu, Mikolov and Bengio 2013): with all gradients as one long vector $g$,

$$ g \leftarrow \min\left(1, \frac{c}{\|g\| + 10^{-6}}\right) g, \tag{1} $$

or bounds every entry, which turns the direction:

$$ g_i \leftarrow \min(\max(g_i, -c), c). \tag{2} $$

`clip_by_norm` and `clip_by_value` take gradients, as `tg.grad` gives them, and return new ones; `clip_grad_norm_` and
`clip_grad_value_`, PyTorch's names, change what `backward` has left in `.grad`. (Clipping *weights*, as the first
Wasserstein GANs do, is another thing.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module


def clip_by_norm(grads: Sequence[Any], max_norm: float, *, norm_type: float = 2.0) -> tuple[list[Any], Tensor]:
    """Gradients of common length at most `max_norm` by (1), and the length before.

    Parameters
    ----------
    grads : Tensors, or None for parameters without a gradient
    norm_type : 2 for the Euclidean length, 1, `math.inf`, or any other positive power
    """
    raw = [g._data for g in grads if g is not None]
    if not (max_norm > 0 and norm_type > 0 and raw):
        raise ValueError(f"clip_by_norm: max_norm and norm_type must be positive and grads not empty, "
                         f"got {max_norm!r}, {norm_type!r} and {len(raw)} gradients")  # fmt: skip
    xp = array_module(*raw)
    sizes = [xp.abs(g) for g in raw]
    if norm_type == math.inf:
        length = xp.stack([a.max() for a in sizes]).max()
    else:
        length = xp.stack([(a**norm_type).sum() for a in sizes]).sum() ** (1 / norm_type)
    scale = xp.minimum(max_norm / (length + 1e-6), 1.0)  # (1), without asking a GPU which it is
    return [None if g is None else Tensor(g._data * scale.astype(g.dtype)) for g in grads], Tensor(xp.asarray(length))


def clip_by_value(grads: Sequence[Any], clip_value: float) -> list[Any]:
    """Gradients with every entry between -`clip_value` and `clip_value`, (2)."""
    if not clip_value > 0:
        raise ValueError(f"clip_by_value: clip_value must be positive, got {clip_value!r}")
    return [None if g is None else Tensor(array_module(g._data).clip(g._data, -clip_value, clip_value)) for g in grads]


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Cut the parameters' `.grad` to a common length of at most `max_norm`, (1); returns the length before."""
    params = _with_grad(parameters)
    grads, length = clip_by_norm([p.grad for p in params], max_norm, norm_type=norm_type)
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    return length


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Cut every entry of the parameters' `.grad` to [-`clip_value`, `clip_value`], (2)."""
    params = _with_grad(parameters)
    for p, g in zip(params, clip_by_value([p.grad for p in params], clip_value), strict=True):
        p.grad = g


def _with_grad(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Those that have one; a single Tensor will do."""
    return [p for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]

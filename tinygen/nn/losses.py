r"""Losses: how wrong an answer is, as one number to go down on.

A loss compares an *input*, what the network says, with a *target*, and reduces the result over all entries:
`reduction="mean"`, `"sum"`, or `"none"`. Each is here as a function, whose docstring is its formula, and as a
module; names and defaults are PyTorch's.

**Where they come from.** A network states a law $p_\theta(y|x)$, and the loss of an example is what its answer was
worth in nats, $-\ln p_\theta(y|x)$ (S2 eq. 2.19). The law may be a Gaussian of fixed width round the output, which
gives the squared error; a Laplace law, which gives the absolute error; a Bernoulli law or one over classes, which
give the cross-entropies. The mean of such a loss under the true law $P$ is

$$ R(\theta) = \mathbb E_P[-\ln p_\theta(Y|X)]
   = \mathbb E_X\, \mathrm{KL}(P(\cdot|X) \,\|\, p_\theta(\cdot|X)) + H(Y|X) \tag{1} $$

(S2 eqs. 2.22 and 2.24; S0): the entropy $H$ does not depend on $\theta$, so that the most likely parameters are those
with the smallest divergence from the truth. (S2 prints argmin for argmax in 2.18, and has lost the $-\ln$ in 2.21–2.22.)

**Logits, not probabilities.** Losses of classes take the numbers *before* sigmoid or softmax wherever there is a
choice: $\log \sigma(x)$ and $\log$ softmax are finite where the $\log$ of a rounded probability is not.
"""

from __future__ import annotations

from typing import Any

import tinygen.autograd as tg
from tinygen.autograd import Tensor, sigmoid, softplus
from tinygen.autograd.primitive import primitive, vocabulary
from tinygen.backend import arrays as backend
from tinygen.nn.module import Module

FUNCTIONS = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
    "multi_margin_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip
MODULES = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiMarginLoss",
    "NLLLoss", "SmoothL1Loss",
]  # fmt: skip
__all__ = [*FUNCTIONS, *MODULES]  # noqa: PLE0604  (both are lists of names)

# ---- regression: how far is x from t --------------------------------------------------------------------


def mse_loss(input, target, *, reduction="mean"):
    r"""The squared error, minus the log of a Gaussian up to scale and constant (S2 eq. 2.4).

    $$ (x - t)^2 \tag{2} $$
    """
    _same_shape("mse_loss", input, target)
    return _reduce("mse_loss", tg.square(input - target), reduction)


def l1_loss(input, target, *, reduction="mean"):
    r"""The absolute error, minus the log of a Laplace law up to scale and constant (S0); derivative 0 at 0.

    $$ |x - t| \tag{3} $$
    """
    _same_shape("l1_loss", input, target)
    return _reduce("l1_loss", tg.abs(input - target), reduction)


def smooth_l1_loss(input, target, *, beta=1.0, reduction="mean"):
    r"""The absolute error with its corner rounded over a width $\beta$ (Girshick 2015); $\beta = 0$ is `l1_loss`.

    $$ \tfrac{1}{2\beta} d^2 \text{ if } |d| < \beta, \quad |d| - \tfrac12 \beta \text{ else},
       \qquad d = x - t \tag{4} $$
    """
    _same_shape("smooth_l1_loss", input, target)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta!r}")
    size = tg.abs(input - target)
    if beta > 0:
        size = tg.where(size < beta, tg.square(size) / (2 * beta), size - beta / 2)
    return _reduce("smooth_l1_loss", size, reduction)


def huber_loss(input, target, *, delta=1.0, reduction="mean"):
    r"""The squared error, growing only linearly beyond $\delta$, so that outliers weigh less (Huber 1964).

    $$ \tfrac12 d^2 \text{ if } |d| < \delta, \quad \delta (|d| - \tfrac12 \delta) \text{ else},
       \qquad d = x - t \tag{5} $$

    It is $\delta$ times (4) with $\beta = \delta$.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta!r}")
    _same_shape("huber_loss", input, target)
    return _reduce("huber_loss", delta * smooth_l1_loss(input, target, beta=delta, reduction="none"), reduction)


# ---- classes: how probable is t -------------------------------------------------------------------------


def nll_loss(input, target, *, weight=None, ignore_index=-100, reduction="mean"):
    r"""Minus the log-probability of the right class, given all log-probabilities (S2 eqs. 2.19 and 3.10).

    $$ -w_t\, x_t; \qquad \text{mean: } \frac{\sum_i w_{t_i} \ell_i / w_{t_i}}{\sum_i w_{t_i}}
       \text{ with } \ell_i = -w_{t_i} x_{i t_i} \tag{6} $$

    Parameters
    ----------
    input : log-probabilities, (n, classes) or (n, classes, ...)
    target : the right classes, integers (n,) or (n, ...)
    weight : $w$, a weight for each class, (classes,); by default 1
    ignore_index : targets of this number count nothing
    reduction : "mean" averages over the targets, by their weights
    """
    t, w = _classes("nll_loss", input, target, weight, ignore_index)
    at_target = tg.take_along_axis(input, tg.expand_dims(t, 1), 1)  # (n, 1, ...)
    return _weighted("nll_loss", -tg.squeeze(at_target, 1), w, reduction)


def _hard_back(g, saved):
    """The fused rule; the forward has saved the slope."""
    return tg.expand_dims(g, 1) * saved, None


@primitive(
    joint=_hard_back,
    composed=lambda x, t: -tg.squeeze(tg.take_along_axis(_log_softmax(x), tg.expand_dims(t, 1), 1), 1),
    formula=r"\bar x_c = \bar y \odot (\mathrm{softmax}(x)_c - 1_{c = t})",
)
def _softmax_cross_entropy(xp, x, t):
    r"""$\log \sum_c e^{x_c} - x_t$: logits (n, classes, ...) and integers (n, ...) to (n, ...)."""
    shifted = x - x.max(axis=1, keepdims=True)
    slope = xp.exp(shifted)
    total = slope.sum(axis=1, keepdims=True)
    slope /= total
    index = _places(xp, t)
    y = xp.log(total)[:, 0] - shifted[index]
    slope[index] -= 1  # softmax(x) less 1 at the target
    return y, slope


def _soft_back(g, t, saved, needs):
    """The fused rule; the forward has saved the log-probabilities."""
    g = tg.expand_dims(g, 1)
    x_bar = g * (tg.exp(saved) * tg.sum(t, 1, True) - t) if needs[0] else None
    return x_bar, -g * saved if needs[1] else None


@primitive(
    joint=_soft_back,
    composed=lambda x, t: -tg.sum(t * _log_softmax(x), 1),
    formula=(r"\bar x = \bar y \odot (\mathrm{softmax}(x) \odot \mathrm{sum}(t) - t)",
             r"\bar t = -\bar y \odot (x - \mathrm{logsumexp}(x))"),
)  # fmt: skip
def _soft_cross_entropy(xp, x, t):
    r"""$\sum_c t_c (\log \sum_k e^{x_k} - x_c)$: twice (n, classes, ...) to (n, ...)."""
    log_p = x - x.max(axis=1, keepdims=True)
    log_p -= xp.log(xp.exp(log_p).sum(axis=1, keepdims=True))
    return -(t * log_p).sum(axis=1), log_p


def cross_entropy(input, target, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    r"""Minus the log-probability of the right class, given logits (S2 eqs. 2.25–2.27, 3.8–3.10).

    $$ -w_t \log p_t, \qquad p_c = \frac{e^{x_c}}{\sum_k e^{x_k}}; \tag{7} $$

    if the target is itself a law over the classes, or is smoothed into one with $\epsilon$ = `label_smoothing`,

    $$ -\sum_c w_c\, t'_c \log p_c, \qquad t' = (1 - \epsilon)\, t + \epsilon / K. \tag{8} $$

    Parameters
    ----------
    input : logits $x$, (n, K) or (n, K, ...) for K classes
    target : the right classes, integers (n,) or (n, ...); or probabilities of input's shape
    weight : $w$, a weight for each class, (K,); by default 1
    ignore_index : integer targets of this number count nothing
    label_smoothing : $\epsilon$ in [0, 1], so that no probability is driven to 1 (Szegedy et al. 2016)
    reduction : "mean" averages over the targets (integers: by their weights), not over classes
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing!r}")
    hard = target.dtype.kind != "f"
    if hard:
        t, w = _classes("cross_entropy", input, target, weight, ignore_index)
        if label_smoothing == 0:
            return _weighted("cross_entropy", _softmax_cross_entropy(input, t), w, reduction)
        target = _one_hot(t, input)
    _same_shape("cross_entropy", input, target)
    target = (1 - label_smoothing) * target + label_smoothing / input.shape[1] if label_smoothing else target
    if weight is not None:
        target = target * tg.reshape(_like(weight, input), (-1, *[1] * (len(input.shape) - 2)))
    losses = _soft_cross_entropy(input, target)  # (n, ...)
    if not hard:
        return _reduce("cross_entropy", losses, reduction)
    counts = _like(t != ignore_index, input) if target is None else _kept(target_of(target), input)
    return losses * counts

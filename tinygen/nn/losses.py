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
with the smallest divergence from the truth. (S2 prints argmin for argmax in 2.18, and lost the $-\ln$ in 2.21–2.22.)

**Logits, not probabilities.** Losses of classes take the numbers *before* sigmoid or softmax wherever there is a
choice: $\log \sigma(x)$ and $\log$ softmax are finite where the $\log$ of a rounded probability is not.
"""

from __future__ import annotations

from typing import Any

import tinygen.autograd as tg
from tinygen.autograd import Tensor, softplus
from tinygen.autograd.primitive import primitive, vocabulary
from tinygen.backend import arrays as backend
from tinygen.backend import special
from tinygen.backend.recording import whole
from tinygen.nn.activations import log_softmax
from tinygen.nn.module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiMarginLoss",
    "NLLLoss", "SmoothL1Loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
    "margin_ranking_loss", "mse_loss", "multi_margin_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip

# ---- regression: how far is x from t --------------------------------------------------------------------


def mse_loss(input, target, *, reduction="mean"):
    r"""The squared error, minus the log of a Gaussian up to scale and constant (S2 eq. 2.4).

    $$ (x - t)^2 \tag{2} $$
    """
    return _reduce("mse_loss", tg.square(_difference("mse_loss", input, target)), reduction)


def l1_loss(input, target, *, reduction="mean"):
    r"""The absolute error, minus the log of a Laplace law up to scale and constant (S0); derivative 0 at 0.

    $$ |x - t| \tag{3} $$
    """
    return _reduce("l1_loss", tg.abs(_difference("l1_loss", input, target)), reduction)


def smooth_l1_loss(input, target, *, beta=1.0, reduction="mean"):
    r"""The absolute error with its corner rounded over a width $\beta$ (Girshick 2015); $\beta = 0$ is `l1_loss`.

    $$ \tfrac{1}{2\beta} d^2 \text{ if } |d| < \beta, \quad |d| - \tfrac12 \beta \text{ else},
       \qquad d = x - t \tag{4} $$
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta!r}")
    d = _difference("smooth_l1_loss", input, target)
    size = tg.abs(d)
    if beta > 0:  # the square of d, not of |d|, whose second derivative at 0 would be lost in the corner
        size = tg.where(size < beta, tg.square(d) / (2 * beta), size - beta / 2)
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

    $$ \ell_i = -w_{t_i}\, x_{i t_i}; \qquad \text{mean: } \sum_i \ell_i \Big/ \sum_i w_{t_i} \tag{6} $$

    Parameters
    ----------
    input : log-probabilities $x$, (n, K) or (n, K, ...) for K classes
    target : the right classes $t$, integers (n,) or (n, ...)
    weight : $w$, a weight for each class, (K,); by default 1
    ignore_index : targets of this number count nothing
    reduction : "mean" averages over the targets, by their weights
    """
    t, counted = _classes("nll_loss", input, target, ignore_index)
    at_target = tg.take_along_axis(input, tg.expand_dims(t, 1), 1)  # (n, 1, ...)
    w = _weights_of("nll_loss", t, counted, weight, input)
    return _reduce("nll_loss", _times(w, -tg.squeeze(at_target, 1)), reduction, total=w)


def _hard_back(g, saved):
    """The fused rule; the forward has saved the slope."""
    return tg.expand_dims(g, 1) * saved, None


@primitive(
    joint=_hard_back,
    composed=lambda x, t: -tg.squeeze(tg.take_along_axis(log_softmax(x, 1), tg.expand_dims(t, 1), 1), 1),
    formula=r"\bar x = \bar y \odot (\operatorname{softmax}(x) - \operatorname{onehot}(t))",
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
    composed=lambda x, t: -tg.sum(t * log_softmax(x, 1), 1),
    formula=(r"\bar x = \bar y \odot (\operatorname{softmax}(x) \odot \operatorname{sum}(t) - t)",
             r"\bar t = -\bar y \odot (x - \operatorname{logsumexp}(x))"),
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
    if target.dtype.kind == "f":
        _same_shape("cross_entropy", input, target)
        losses = _soft_cross_entropy(input, _weigh("cross_entropy", _smooth(target, label_smoothing), weight, input))
        return _reduce("cross_entropy", losses, reduction)
    t, counted = _classes("cross_entropy", input, target, ignore_index)
    w = _weights_of("cross_entropy", t, counted, weight, input)
    if label_smoothing == 0:
        losses = _times(w, _softmax_cross_entropy(input, t))
    else:
        law = _weigh("cross_entropy", _smooth(_one_hot(t, input), label_smoothing), weight, input)
        losses = _times(counted, _soft_cross_entropy(input, law))
    return _reduce("cross_entropy", losses, reduction, total=w)


# ---- two classes: how probable is t in [0, 1] -----------------------------------------------------------


@vocabulary
def bounded_log(p):
    r"""$\max(\log p, -100)$, for $p \ge 0$."""
    tiny = 3.7835058e-44  # e^-100
    return tg.log(tg.where(p > tiny, p, 1)) - 100.0 * (p <= tiny)


@primitive(
    lambda g, p, t: g * (p - t) / tg.maximum(p * (1 - p), 1e-12), lambda g, p: g * (bounded_log(1 - p) - bounded_log(p))
)
def _bernoulli_cross_entropy(xp, p, t):
    r"""$-t \max(\log p, -100) - (1 - t) \max(\log(1 - p), -100)$, entry by entry."""
    with backend.errstate(xp, divide="ignore"):
        return -(t * xp.maximum(xp.log(p), -100) + (1 - t) * xp.maximum(xp.log1p(-p), -100))


def binary_cross_entropy(input, target, *, weight=None, reduction="mean"):
    r"""Minus the log-probability of a Bernoulli law, given its *probability* $p$; give logits if you have them.

    $$ -w\, [t \log p + (1 - t) \log (1 - p)], \qquad \log \ge -100 \tag{9} $$

    As in PyTorch, the bound keeps the value finite at 0 and 1, and the derivative $(p - t)/(p(1 - p))$ has its
    denominator kept above $10^{-12}$. `weight` has a shape that broadcasts to input's.
    """
    _same_shape("binary_cross_entropy", input, target)
    losses = _bernoulli_cross_entropy(input, target)
    if weight is not None:
        losses = _spread("binary_cross_entropy", "weight", weight, input) * losses
    return _reduce("binary_cross_entropy", losses, reduction)


def _bce_back(g, x, saved, needs):
    """The fused rule; the forward has saved the slope."""
    return (g * saved if needs[0] else None, -g * x if needs[1] else None)


@primitive(
    joint=_bce_back,
    domain="real",
    composed=lambda x, t: softplus(x) - x * t,
    formula=(r"\bar x = \bar y \odot (\sigma(x) - t)", r"\bar t = -\bar y \odot x"),
)
def _bce_with_logits(xp, x, t):
    r"""$\log(1 + e^x) - x t = -t \log \sigma(x) - (1 - t) \log(1 - \sigma(x))$, entry by entry."""
    y = special.softplus(xp, x)
    slope = xp.exp(x - y) - t  # log sigma(x) = x - softplus(x), so that this is sigma(x) - t
    return y - x * t, slope


def binary_cross_entropy_with_logits(input, target, *, weight=None, pos_weight=None, reduction="mean"):
    r"""Minus the log-probability of a Bernoulli law, given its logit (S0: linear layer and sigmoid).

    $$ -w\, [c\, t \log \sigma(x) + (1 - t) \log (1 - \sigma(x))] \tag{10} $$

    Parameters
    ----------
    input : logits $x$, of any shape
    target : $t$ in [0, 1], of the same shape
    weight : $w$, of a shape that broadcasts to input's; by default 1
    pos_weight : $c$, what an example of class 1 weighs beside one of class 0, of such a shape too; by default 1
    """
    name = "binary_cross_entropy_with_logits"
    _same_shape(name, input, target)
    if pos_weight is None:
        losses = _bce_with_logits(input, target)
    else:  # -log sigma(x) = softplus(-x), -log(1 - sigma(x)) = softplus(-x) + x
        c = _spread(name, "pos_weight", pos_weight, input)
        losses = (1 - target) * input + (1 + (c - 1) * target) * softplus(-input)
    losses = losses if weight is None else _spread(name, "weight", weight, input) * losses
    return _reduce(name, losses, reduction)


# ---- laws: how far is q from p --------------------------------------------------------------------------


def kl_div(input, target, *, log_target=False, reduction="mean"):
    r"""The divergence $\mathrm{KL}(p \,\|\, q)$, term by term; note PyTorch's order: *input* is $\log q$ (S0, S2 2.22).

    $$ p\, (\log p - \log q), \qquad 0 \log 0 = 0 \tag{11} $$

    (in `target`, and with `input` finite there; as in PyTorch, `log_target` of $-\infty$ gives NaN).

    Parameters
    ----------
    input : $\log q$
    target : $p$, or $\log p$ with `log_target`
    reduction : also "batchmean": the sum over the first axis' length, which is the mean divergence. "mean" divides
        by the number of classes too, and so is not a divergence.
    """
    _same_shape("kl_div", input, target)
    if log_target:
        terms = tg.exp(target) * (target - input)
    else:
        terms = target * (tg.log(tg.where(target > 0, target, 1)) - input)
    if reduction == "batchmean":
        return tg.sum(terms) / input.shape[0]
    return _reduce("kl_div", terms, reduction, also="'batchmean', ")


# ---- margins: is the right answer ahead by enough -------------------------------------------------------


def hinge_embedding_loss(input, target, *, margin=1.0, reduction="mean"):
    r"""Distances of like pairs ($t = 1$) go down, those of unlike pairs ($t = -1$) up to a margin $m$.

    $$ x \text{ if } t = 1, \quad \max(0, m - x) \text{ if } t = -1 \tag{12} $$
    """
    _same_shape("hinge_embedding_loss", input, target)
    losses = tg.where(target == 1, input, tg.relu(margin - input))
    return _reduce("hinge_embedding_loss", losses, reduction)


def margin_ranking_loss(input1, input2, target, *, margin=0.0, reduction="mean"):
    r"""The first score is to be above the second by a margin $m$ if $t = 1$, below if $t = -1$.

    $$ \max(0, -t (x_1 - x_2) + m) \tag{13} $$

    With $x_2 = 0$ and $m = 1$ this is the hinge of the support vector machine.
    """
    _same_shape("margin_ranking_loss", input1, input2)
    _same_shape("margin_ranking_loss", input1, target)
    return _reduce("margin_ranking_loss", tg.relu(target * (input2 - input1) + margin), reduction)


def multi_margin_loss(input, target, *, p=1, margin=1.0, weight=None, reduction="mean"):
    r"""The right class' score is to be above every other by a margin $m$ (Crammer and Singer's hinge, averaged).

    $$ \frac1K \sum_{c \ne t} w_t \max(0, m - x_t + x_c)^p \tag{14} $$

    Parameters
    ----------
    input : scores, (n, K)
    target : the right classes, integers (n,)
    p : 1 or 2
    weight : $w$, a weight for each class, (K,); by default 1. "mean" divides by n.
    """
    if p not in (1, 2) or len(input.shape) != 2:
        raise ValueError(f"multi_margin_loss: p must be 1 or 2, got {p!r}, and input (n, K), got {input.shape}")
    t, _ = _classes("multi_margin_loss", input, target, None)
    x_t = tg.take_along_axis(input, tg.expand_dims(t, 1), 1)  # (n, 1)
    short = tg.relu(margin - x_t + input) * (1 - _one_hot(t, input))
    losses = tg.mean(short if p == 1 else tg.square(short), 1)
    w = _weights_of("multi_margin_loss", t, None, weight, input)
    return _reduce("multi_margin_loss", _times(w, losses), reduction)


# ---- angles ---------------------------------------------------------------------------------------------


def cosine_similarity(x1, x2, *, axis=1, eps=1e-8):
    r"""The cosine of the angle between vectors along `axis`; 0 for a vector of zeros.

    $$ \frac{x_1 \cdot x_2}{\max(\|x_1\|, \epsilon)\, \max(\|x_2\|, \epsilon)} \tag{15} $$
    """
    lengths = [tg.maximum(tg.norm(x, axis=axis), eps) for x in (x1, x2)]
    return tg.sum(x1 * x2, axis) / (lengths[0] * lengths[1])


def cosine_embedding_loss(input1, input2, target, *, margin=0.0, reduction="mean"):
    r"""Like pairs ($t = 1$) are to point the same way, unlike ones ($t = -1$) apart, up to a margin $m$.

    $$ 1 - \cos(x_1, x_2) \text{ if } t = 1, \quad \max(0, \cos(x_1, x_2) - m) \text{ if } t = -1 \tag{16} $$

    Inputs are (n, d), targets (n,).
    """
    _same_shape("cosine_embedding_loss", input1, input2)
    cos = cosine_similarity(input1, input2)
    _same_shape("cosine_embedding_loss", cos, target)
    return _reduce("cosine_embedding_loss", tg.where(target == 1, 1 - cos, tg.relu(cos - margin)), reduction)


# ---- what they share ------------------------------------------------------------------------------------


def _same_shape(name, input, target):
    """Refuse to broadcast: (n, 1) against (n,) would quietly compare everything with everything."""
    if input.shape != target.shape:
        raise ValueError(f"{name}: input has shape {input.shape}, target {target.shape}; one shape is wanted (reshape)")


def _difference(name, input, target):
    """$x - t$, of one shape; two integers as floats, since unsigned ones would wrap."""
    _same_shape(name, input, target)
    whole_numbers = input.dtype.kind != "f" != target.dtype.kind
    return (tg.astype(input, "float64") if whole_numbers else input) - target


def _reduce(name, losses, reduction, *, total=None, also=""):
    """The losses' sum, themselves, or their mean: over their number, or over the sum of their weights, `total`."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return tg.sum(losses)
    if reduction == "mean":
        return tg.mean(losses) if total is None else tg.sum(losses) / tg.sum(total)
    raise ValueError(f"{name}: reduction must be {also}'mean', 'sum' or 'none', got {reduction!r}")


def _raw(x):
    """The array in a Tensor; an array as it is."""
    return x._data if isinstance(x, Tensor) else x


def _like(value, input):
    """A constant in the dtype and on the device of the input."""
    return backend.asarray(_raw(value), input.dtype, backend.device_of(_raw(input)))


def _spread(name, option, value, input):
    """A weight for each entry, of a shape that broadcasts to input's; a larger one would broadcast the losses."""
    value = _like(value, input)
    axes = zip(value.shape[::-1], input.shape[::-1], strict=False)
    if value.ndim > len(input.shape) or any(m not in (1, n) for m, n in axes):
        raise ValueError(f"{name}: {option} has shape {value.shape}; one that broadcasts to input's {input.shape} is "
                         "wanted")  # fmt: skip
    return value


def _of_classes(name, weight, input):
    """A weight for each class, (K,)."""
    weight = _like(weight, input)
    if weight.shape != (input.shape[1],):
        raise ValueError(f"{name}: weight has shape {weight.shape}; one number for each class, ({input.shape[1]},), "
                         "is wanted")  # fmt: skip
    return weight


def _places(xp, t):
    """The index that reads the entries [i, t_i, ...] of (n, K, ...), for t (n, ...)."""

    def along(axis):
        return xp.arange(t.shape[axis]).reshape([-1 if a == axis else 1 for a in range(t.ndim)])

    return (along(0), t, *[along(axis) for axis in range(1, t.ndim)])


def _classes(name, input, target, ignore_index):
    """The classes, with 0 in place of the ignored, and 1 for those that count, else 0; None if all do: raw, (n, ...).

    On a GPU nothing is looked at, since that would wait for it.
    """
    t = _raw(target)
    if t.dtype.kind not in "iu" or t.shape != (input.shape[0], *input.shape[2:]):
        raise ValueError(f"{name}: target is {t.dtype} {t.shape}; for input {input.shape} integer classes of shape "
                         f"{(input.shape[0], *input.shape[2:])} are wanted")  # fmt: skip
    return _counted(name, t, ignore_index, input.shape[1], input.dtype)


@whole
def _counted(name, t, ignore_index, n_classes, dtype):
    """What `_classes` gives, from raw classes."""
    host = backend.device_of(t) == "cpu"
    counts = None if ignore_index is None else t != ignore_index
    if counts is not None and not (host and counts.all()):
        t, counts = backend.array_module(t).where(counts, t, 0), counts.astype(dtype)
    else:
        counts = None
    if host and t.size and not (0 <= t.min() and t.max() < n_classes):
        raise ValueError(f"{name}: target has classes from {t.min()} to {t.max()}, wanted 0 to {n_classes - 1}")
    return t, counts


def _weights_of(name, t, counted, weight, input):
    """The weight $w_t$ of each target, 0 where it does not count; None if all are 1."""
    return counted if weight is None else _times(counted, _of_classes(name, weight, input)[t])


def _times(weights, losses):
    """Losses times their weights, if there are any; 0 for weight 0, also where the loss is infinite."""
    return losses if weights is None else weights * tg.where(weights != 0, losses, 0)


def _one_hot(t, input):
    """1 at the class of each target, else 0, in the shape and dtype of the input."""
    xp = backend.array_module(t)
    classes = xp.arange(input.shape[1]).reshape(-1, *[1] * (t.ndim - 1))
    return (classes == xp.expand_dims(t, 1)).astype(input.dtype)


def _smooth(law, epsilon):
    """A law over the classes (axis 1), mixed with the uniform one."""
    return (1 - epsilon) * law + epsilon / law.shape[1] if epsilon else law


def _weigh(name, law, weight, input):
    """A law times the weights of its classes (axis 1)."""
    if weight is None:
        return law
    return law * _of_classes(name, weight, input).reshape(-1, *[1] * (len(input.shape) - 2))


# ---- the same as modules --------------------------------------------------------------------------------


class _Loss(Module):
    """A loss with its reduction; kinds of their own write `forward`."""

    def __init__(self, *, reduction: str = "mean"):
        self.reduction = reduction

    def options(self) -> str:
        own = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "training" and v is not None}
        return ", ".join(f"{name}={value!r}" for name, value in own.items() if not isinstance(value, Tensor))

    def _remember(self, **weights: Any) -> None:
        """Weights are buffers: saved and moved with the module."""
        for name, value in weights.items():
            self.register_buffer(name, None if value is None else tg.tensor(value))


class MSELoss(_Loss):
    """See `mse_loss`."""

    def forward(self, input, target):
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """See `l1_loss`."""

    def forward(self, input, target):
        return l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """See `smooth_l1_loss`."""

    def __init__(self, *, beta: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.beta = beta

    def forward(self, input, target):
        return smooth_l1_loss(input, target, beta=self.beta, reduction=self.reduction)


class HuberLoss(_Loss):
    """See `huber_loss`."""

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input, target):
        return huber_loss(input, target, delta=self.delta, reduction=self.reduction)


class NLLLoss(_Loss):
    """See `nll_loss`."""

    def __init__(self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.ignore_index = ignore_index
        self._remember(weight=weight)

    def forward(self, input, target):
        return nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """See `cross_entropy`."""

    def __init__(self, *, weight: Any = None, ignore_index: int = -100, label_smoothing: float = 0.0,
                 reduction: str = "mean"):  # fmt: skip
        super().__init__(reduction=reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self._remember(weight=weight)

    def forward(self, input, target):
        return cross_entropy(input, target, weight=self.weight, ignore_index=self.ignore_index,
                             label_smoothing=self.label_smoothing, reduction=self.reduction)  # fmt: skip


class BCELoss(_Loss):
    """See `binary_cross_entropy`."""

    def __init__(self, *, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self._remember(weight=weight)

    def forward(self, input, target):
        return binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """See `binary_cross_entropy_with_logits`."""

    def __init__(self, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self._remember(weight=weight, pos_weight=pos_weight)

    def forward(self, input, target):
        return binary_cross_entropy_with_logits(input, target, weight=self.weight, pos_weight=self.pos_weight,
                                                reduction=self.reduction)  # fmt: skip


class KLDivLoss(_Loss):
    """See `kl_div`."""

    def __init__(self, *, log_target: bool = False, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.log_target = log_target

    def forward(self, input, target):
        return kl_div(input, target, log_target=self.log_target, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """See `hinge_embedding_loss`."""

    def __init__(self, *, margin: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input, target):
        return hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """See `margin_ranking_loss`."""

    def __init__(self, *, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        return margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class MultiMarginLoss(_Loss):
    """See `multi_margin_loss`."""

    def __init__(self, *, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.p, self.margin = p, margin
        self._remember(weight=weight)

    def forward(self, input, target):
        return multi_margin_loss(input, target, p=self.p, margin=self.margin, weight=self.weight,
                                 reduction=self.reduction)  # fmt: skip


class CosineSimilarity(Module):
    """See `cosine_similarity`."""

    def __init__(self, *, axis: int = 1, eps: float = 1e-8):
        self.axis, self.eps = axis, eps

    def forward(self, x1, x2):
        return cosine_similarity(x1, x2, axis=self.axis, eps=self.eps)

    def options(self):
        return f"axis={self.axis}, eps={self.eps}"


class CosineEmbeddingLoss(_Loss):
    """See `cosine_embedding_loss`."""

    def __init__(self, *, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        return cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)

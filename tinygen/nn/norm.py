r"""Normalisation: make a layer's inputs have mean 0 and variance 1, then let it learn another mean and variance.

All layers here compute one formula (Ioffe and Szegedy 2015),

$$ y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\,\gamma + \beta, \tag{1} $$

and differ only in the elements over which the mean $\mu$ and the (biased) variance $\sigma^2$ are taken, for x
(n, c, *space):

| layer | $\mu$, $\sigma^2$ over | so there is one of each per |
|---|---|---|
| batch norm | n and space | channel |
| instance norm | space | sample and channel |
| layer norm | the last axes | sample (and place) |
| virtual batch norm | a fixed reference batch, and the sample itself | sample and channel |

(S3 words instance norm as "for each sample", which would be layer norm.)

**Batch norm has two faces.** While training, $\mu$ and $\sigma^2$ are functions of the batch, and the gradient goes
through them; running averages

$$ r \leftarrow (1 - m)\, r + m\, \mu, \tag{2} $$

and the same for the unbiased variance, are remembered in buffers, and take their place once `eval` is called. A GAN's
discriminator sees real and fake batches: given one after the other, each is normalised by statistics of its own;
concatenated, they would be normalised by those of the mixture.

**Virtual batch norm** (Salimans et al. 2016) takes this dependence on the rest of the batch away. With the mean $\mu_r$
and variance $\sigma_r^2$ of n reference samples, chosen once, and the mean $m_i$ and variance $v_i$ of sample i over
space, sample i is normalised by mean and variance of the n + 1 samples together:

$$ \mu_i = \mu_r + \frac{m_i - \mu_r}{n + 1}, \qquad
   \sigma_i^2 = \frac{n\,\sigma_r^2 + v_i}{n + 1} + \frac{n\,(m_i - \mu_r)^2}{(n + 1)^2}. \tag{3} $$

Everything is composed of primitives, so derivatives of all orders are exact, through the statistics too; since
$\epsilon > 0$ they are finite where the variance is zero. (Batch norm while training is a kernel, with a faster way to
the first derivatives.)

Notation
--------
$\mu$, $\sigma^2$ : `mu`, `var`
$\gamma$, $\beta$ : `weight`, `bias`
$m$ : `momentum`
$r$ : `running_mean`, `running_var`
"""

from __future__ import annotations

import math
from typing import Any

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.autograd.primitive import primitive
from tinygen.backend import norm as backend
from tinygen.backend.arrays import array_module, device_of
from tinygen.nn.common import check_sizes, shown
from tinygen.nn.module import Module

# ---- functions ------------------------------------------------------------------------------------------


def batch_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, momentum=0.1, eps=1e-5
):
    """(1) over the batch and space, x (n, c, *space); all others (c,) or None.

    With `training` the statistics are the batch's, and the running ones, if given, are updated by (2); otherwise
    they are the running ones.
    """
    _check_channels("batch_norm", x, running_mean, running_var, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: without training=True, running_mean and running_var are wanted")
        return _scaled(x, _channels(running_mean, x), _channels(running_var, x), weight, bias, eps)
    axes = (0, *range(2, len(x.shape)))
    n = math.prod([x.shape[a] for a in axes])
    if n < 2:
        raise ValueError(f"batch_norm: x has shape {tuple(x.shape)}, {n} value per channel; a variance needs more than "
                         "one while training (use a larger batch, or eval())")  # fmt: skip
    _check_eps("batch_norm", eps)
    raw = x._data if isinstance(x, Tensor) else x
    mu, var = backend.moments(array_module(raw), raw)  # (c,) each
    _remember(running_mean, mu, momentum)
    _remember(running_var, var * (n / (n - 1)), momentum)
    weight = tg.ones(x.shape[1], dtype=x.dtype, device=device_of(raw)).data if weight is None else weight
    bias = tg.zeros(x.shape[1], dtype=x.dtype, device=device_of(raw)).data if bias is None else bias
    return _batch_normalised(x, weight, bias, (mu, var), eps)


def _batch_norm_composed(x, weight, bias, moments, eps):
    axes = (0, *range(2, len(x.shape)))
    return _scaled(x, tg.mean(x, axes, keepdims=True), tg.var(x, axes, keepdims=True), weight, bias, eps)


def _batch_norm_back(g, x, weight, moments, eps):
    """The fused rule: the gradient goes through the statistics too."""
    xp, (mu, var) = array_module(x), moments
    return backend.batch_norm_back(xp, g, x, mu, 1 / xp.sqrt(var + eps), weight)


@primitive(
    joint=_batch_norm_back, composed=_batch_norm_composed,
    formula=(r"\bar x = \gamma\,\sigma^{-1} \odot (\bar y - \operatorname{mean}(\bar y) - \hat x \odot "
             r"\operatorname{mean}(\bar y \odot \hat x))", r"\bar\gamma = \operatorname{sum}(\bar y \odot \hat x)",
             r"\bar\beta = \operatorname{sum}(\bar y)"),
)  # fmt: skip
def _batch_normalised(xp, x, weight, bias, moments=None, eps=1e-5):
    """(1) with the statistics of the batch, `moments` (c,) each, which are functions of x (n, c, *space)."""
    mu, var = moments
    return backend.scaled(xp, x, mu, weight / xp.sqrt(var + eps), bias)


def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, *, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """(1) over space, for every sample and channel of x (n, c, *space); all others (c,) or None.

    With `use_input_stats` the statistics are the sample's own, and the running ones, if given, are updated by their
    averages over the batch; otherwise they are the running ones.
    """
    _check_channels("instance_norm", x, running_mean, running_var, weight, bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm: without use_input_stats, running_mean and running_var are wanted")
        return _scaled(x, _channels(running_mean, x), _channels(running_var, x), weight, bias, eps)
    axes, n = tuple(range(2, len(x.shape))), math.prod(x.shape[2:])
    if n < 2 or not x.shape[0]:
        raise ValueError(f"instance_norm: x has shape {tuple(x.shape)}; a variance over space needs more than one "
                         "element in each channel of each sample, and there must be a sample")  # fmt: skip
    mu, var = tg.mean(x, axes, keepdims=True), tg.var(x, axes, keepdims=True)  # (n, c, 1, 1)
    _remember(running_mean, mu, momentum)
    _remember(running_var, var * (n / (n - 1)), momentum)
    return _scaled(x, mu, var, weight, bias, eps)


def layer_norm(x, normalized_shape, weight=None, bias=None, *, eps=1e-5):
    """(1) over the last axes of x, which have `normalized_shape`; `weight` and `bias` have that shape or are None."""
    shape = _shape(normalized_shape)
    k = len(shape)
    if not k or tuple(x.shape[-k:]) != shape:
        raise ValueError(f"layer_norm: x has shape {tuple(x.shape)}; its last axes must be {shape}")
    axes = tuple(range(-k, 0))
    _check_eps("layer_norm", eps)
    y = (x - tg.mean(x, axes, keepdims=True)) / tg.sqrt(tg.var(x, axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def virtual_batch_norm(x, n_reference, weight=None, bias=None, *, eps=1e-5):
    """(1) with the statistics (3): the first `n_reference` samples of x (n, c, *space) are the reference batch.

    These are normalised by their own statistics alone, every other sample by theirs and its own.
    """
    _check_channels("virtual_batch_norm", x, weight, bias)
    n, space = n_reference, tuple(range(2, len(x.shape)))
    if not 2 <= n <= x.shape[0]:
        raise ValueError(f"virtual_batch_norm: n_reference must be from 2 to the {x.shape[0]} samples of x, got {n!r}")
    reference, samples = x[:n], x[n:]
    mu_r = tg.mean(reference, (0, *space), keepdims=True)  # (1, c, 1, 1)
    var_r = tg.var(reference, (0, *space), keepdims=True)
    m, v = samples, 0.0  # (n, c, 1, 1)
    if space:
        m, v = tg.mean(samples, space, keepdims=True), tg.var(samples, space, keepdims=True)
    mu = mu_r + (m - mu_r) / (n + 1)  # (3)
    var = (n * var_r + v) / (n + 1) + n * tg.square(m - mu_r) / (n + 1) ** 2
    parts = [_scaled(reference, mu_r, var_r, weight, bias, eps), _scaled(samples, mu, var, weight, bias, eps)]
    return tg.concatenate(parts)


def normalize(x, *, p=2.0, axis=1, eps=1e-12):
    r"""$x / \max(\|x\|_p, \epsilon)$ along `axis`: vectors of length 1."""
    return x / tg.maximum(tg.norm(x, p, axis, keepdims=True), eps)


def _scaled(x, mu, var, weight, bias, eps):
    """(1), with weight and bias (c,) or None."""
    _check_eps("normalisation", eps)
    scale = 1 / tg.sqrt(var + eps)
    scale = scale if weight is None else scale * _channels(weight, x)
    y = (x - mu) * scale
    return y if bias is None else y + _channels(bias, x)


def _channels(a, x):
    """(c,) to (1, c, 1, 1), to stand beside x."""
    return tg.reshape(a, (1, -1) + (1,) * (len(x.shape) - 2))


def _remember(buffer: Tensor | None, value: Any, momentum: Any) -> None:
    """Replace the buffer by (2), without a gradient; `value` (1 or n, c, 1, 1) is averaged over samples."""
    if buffer is not None:
        with tg.no_grad():
            value = tg.mean(tg.reshape(value, (-1, buffer.shape[0])), 0)
            buffer.assign(_average(buffer, value, momentum))


def _average(r, value, momentum):
    """(2)."""
    return (1 - momentum) * r + momentum * value


def _check_channels(name, x, *vectors):
    """Refuse what has no channel axis, and vectors that do not have one entry per channel."""
    if len(x.shape) < 2:
        raise ValueError(f"{name}: x must have shape (n, channels, *space), got {tuple(x.shape)}")
    for v in vectors:
        if v is not None and tuple(v.shape) != (x.shape[1],):
            raise ValueError(f"{name}: x has {x.shape[1]} channels, a weight, bias or buffer has shape {v.shape}")


def _check_eps(name, eps):
    """Refuse what would make the gradient at zero variance infinite."""
    if not eps > 0:
        raise ValueError(f"{name}: eps must be positive, got {eps!r}")


def _shape(normalized_shape) -> tuple[int, ...]:
    """An integer or several, as a tuple."""
    return tuple(normalized_shape) if isinstance(normalized_shape, tuple | list) else (normalized_shape,)


# ---- layers ---------------------------------------------------------------------------------------------


class _ChannelNorm(Module):
    """Parameters
    ----------
    num_features : the number c of channels
    eps : added to the variance; positive
    momentum : the share of the newest batch in the running statistics (2); None: all batches count the same (batch
        norm), or the running statistics stay as they are (instance norm, as in PyTorch)
    affine : whether to learn `weight` and `bias`
    track_running_stats : whether to remember running statistics and use them after `eval()`
    """

    axes: tuple[int, ...] = ()  # how many axes x may have

    def _build(self, num_features, eps, momentum, affine, track_running_stats):
        layer = type(self).__name__
        check_sizes(layer, num_features=num_features)
        _check_eps(layer, eps)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"{layer}: momentum must be from 0 to 1, or None, got {momentum!r}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = tg.ones(num_features, requires_grad=True) if affine else None
        self.bias = tg.zeros(num_features, requires_grad=True) if affine else None
        track = track_running_stats
        self.register_buffer("running_mean", tg.zeros(num_features) if track else None)
        self.register_buffer("running_var", tg.ones(num_features) if track else None)
        self.register_buffer("num_batches_tracked", tg.zeros((), dtype="int64") if track else None)

    def _check(self, x):
        if len(x.shape) not in self.axes or x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: x must have {' or '.join(map(str, self.axes))} axes and "
                             f"{self.num_features} channels, on axis 1; got shape {tuple(x.shape)}")  # fmt: skip

    def options(self):
        affine, track = self._defaults
        return shown(self.num_features, eps=(self.eps, 1e-5), momentum=(self.momentum, 0.1),
                     affine=(self.affine, affine), track_running_stats=(self.track_running_stats, track))  # fmt: skip

    _defaults = (True, True)


class _BatchNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        self._build(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x):
        """(1), and (2) while training."""
        self._check(x)
        batch = self.training or not self.track_running_stats  # whose statistics (1) takes
        update = self.training and self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
        momentum: Any = self.momentum
        if update:
            k = self.num_batches_tracked + 1
            if momentum is None:  # the k-th batch has a share of 1/k: the average of all
                momentum = 1 / tg.astype(k, mean.dtype)
        y = batch_norm(x, mean, var, self.weight, self.bias, training=batch, momentum=momentum, eps=self.eps)
        if update:
            self.num_batches_tracked.assign(k)
        return y


class BatchNorm1d(_BatchNorm):
    __doc__ = f"""Batch norm (1) over n and l, for x (n, c) or (n, c, l).

    {_ChannelNorm.__doc__}"""
    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = f"""Batch norm (1) over n, h and w, for x (n, c, h, w).

    {_ChannelNorm.__doc__}"""
    axes = (4,)


class _InstanceNorm(_ChannelNorm):
    _defaults = (False, False)

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ):
        self._build(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x):
        """(1), with the running statistics after `eval()` if there are any."""
        self._check(x)
        own = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum  # as PyTorch, which counts no batches here
        return instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                             use_input_stats=own, momentum=momentum, eps=self.eps)  # fmt: skip


class InstanceNorm1d(_InstanceNorm):
    __doc__ = f"""Instance norm (1) over l, for x (n, c, l).

    {_ChannelNorm.__doc__}"""
    axes = (3,)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = f"""Instance norm (1) over h and w, for x (n, c, h, w).

    {_ChannelNorm.__doc__}"""
    axes = (4,)


class LayerNorm(Module):
    """(1) over the last axes.

    Parameters
    ----------
    normalized_shape : their lengths; an integer for the last axis alone
    eps : added to the variance; positive
    elementwise_affine : whether to learn `weight` and, unless `bias=False`, `bias`, of that shape
    """

    def __init__(self, normalized_shape, *, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True):
        self.normalized_shape, self.eps = _shape(normalized_shape), eps
        for n in self.normalized_shape or (0,):
            check_sizes("LayerNorm", normalized_shape=n)
        _check_eps("LayerNorm", eps)
        self.weight = tg.ones(self.normalized_shape, requires_grad=True) if elementwise_affine else None
        self.bias = tg.zeros(self.normalized_shape, requires_grad=True) if elementwise_affine and bias else None

    def forward(self, x):
        """(1): the shape stays."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, eps=self.eps)

    def options(self):
        affine = self.weight is not None
        return shown(self.normalized_shape, eps=(self.eps, 1e-5), elementwise_affine=(affine, True),
                     bias=(self.bias is not None, affine))  # fmt: skip


class VirtualBatchNorm(Module):
    """(3): the first `n_reference` samples of every x are the same reference batch, put there by the caller.

    So a network with such layers is called on `tg.concatenate([reference, x])`, and the first rows of what it
    returns are left out. Nothing is remembered, and `eval()` changes nothing.

    Parameters
    ----------
    num_features : the number of channels of x (n, c, *space)
    n_reference : the size of the reference batch
    """

    def __init__(self, num_features: int, n_reference: int, *, eps: float = 1e-5):
        check_sizes("VirtualBatchNorm", num_features=num_features, n_reference=n_reference)
        _check_eps("VirtualBatchNorm", eps)
        self.n_reference, self.eps = n_reference, eps
        self.weight = tg.ones(num_features, requires_grad=True)
        self.bias = tg.zeros(num_features, requires_grad=True)

    def forward(self, x):
        """(1) with (3): the shape stays."""
        return virtual_batch_norm(x, self.n_reference, self.weight, self.bias, eps=self.eps)

    def options(self):
        return shown(self.weight.shape[0], self.n_reference, eps=(self.eps, 1e-5))

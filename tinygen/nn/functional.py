r"""Every function behind a layer, and every loss, under one name; each is written beside its layer.

`activations`, `layers` (linear, embedding, dropout), `norm`, `spatial` (convolution, pooling) and `losses` hold them.
"""

# ruff: noqa: I001  (imports are packed, many to a line)

from tinygen.nn.activations import (
    elu, gelu, glu, hardtanh, leaky_relu, log_softmax, prelu, relu, selu, sigmoid, silu, softmax, softplus, tanh,
)  # fmt: skip
from tinygen.nn.layers import dropout, embedding, linear, one_hot
from tinygen.nn.losses import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cosine_similarity, cross_entropy,
    hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss, nll_loss,
    smooth_l1_loss,
)  # fmt: skip
from tinygen.nn.norm import batch_norm, instance_norm, layer_norm, normalize, virtual_batch_norm
from tinygen.nn.spatial import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d, avg_pool2d, conv1d,
    conv2d, conv_transpose1d, conv_transpose2d, max_pool1d, max_pool2d, pixel_shuffle, upsample,
)  # fmt: skip

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d",
    "avg_pool2d", "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d", "conv2d",
    "conv_transpose1d", "conv_transpose2d", "cosine_embedding_loss", "cosine_similarity", "cross_entropy",
    "dropout", "elu", "embedding", "gelu", "glu", "hardtanh", "hinge_embedding_loss", "huber_loss", "instance_norm",
    "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "margin_ranking_loss", "max_pool1d",
    "max_pool2d", "mse_loss", "multi_margin_loss", "nll_loss", "normalize", "one_hot", "pixel_shuffle", "prelu",
    "relu", "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus", "tanh", "upsample",
    "virtual_batch_norm",
]  # fmt: skip

"""Networks: modules, layers, and the functions and losses they are made of (PyTorch's names and layouts).

`module` (what a network is) comes first; then `layers`, `activations`, `norm`, `conv`, `recurrent` and `blocks` hold
the layers, each beside its formula, `functional` the same as functions, `init` where weights start, and `call` runs a
module with other parameters than its own.
"""

# ruff: noqa: I001  (imports are packed, many to a line)

from tinygen.nn import functional, init
from tinygen.nn.activations import (
    ELU, GELU, GLU, SELU, Hardtanh, LeakyReLU, LogSoftmax, PReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh,
)  # fmt: skip
from tinygen.nn.blocks import Maxout, MinibatchDiscrimination, Residual
from tinygen.nn.call import functional_call
from tinygen.nn.conv import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, Conv1d, Conv2d,
    ConvTranspose1d, ConvTranspose2d, MaxPool1d, MaxPool2d, PixelShuffle, ReflectionPad1d, ReflectionPad2d,
    ReplicationPad1d, ReplicationPad2d, Upsample, ZeroPad1d, ZeroPad2d,
)  # fmt: skip
from tinygen.nn.layers import Dropout, Embedding, Flatten, Identity, Linear, Unflatten
from tinygen.nn.losses import (
    BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CosineSimilarity, CrossEntropyLoss, HingeEmbeddingLoss, HuberLoss,
    KLDivLoss, L1Loss, MSELoss, MarginRankingLoss, MultiMarginLoss, NLLLoss, SmoothL1Loss,
)  # fmt: skip
from tinygen.nn.module import Module, ModuleList, Sequential
from tinygen.nn.norm import (
    BatchNorm1d, BatchNorm2d, InstanceNorm1d, InstanceNorm2d, LayerNorm, VirtualBatchNorm,
)  # fmt: skip
from tinygen.nn.recurrent import GRU, LSTM, RNN

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss", "HingeEmbeddingLoss",
    "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiMarginLoss", "NLLLoss", "SmoothL1Loss",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d",
    "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "Dropout", "ELU",
    "Embedding", "Flatten", "GELU", "GLU", "GRU", "Hardtanh", "Identity", "InstanceNorm1d", "InstanceNorm2d",
    "LSTM", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MaxPool1d", "MaxPool2d", "Maxout",
    "MinibatchDiscrimination", "Module", "ModuleList", "PReLU", "PixelShuffle", "RNN", "ReLU", "ReflectionPad1d",
    "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "Residual", "SELU", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "Tanh", "Unflatten", "Upsample", "VirtualBatchNorm", "ZeroPad1d", "ZeroPad2d",
    "functional", "functional_call", "init",
]  # fmt: skip

"""Every layer, with options that matter: one line builds ours, and the same line PyTorch's."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator


class Entry(NamedTuple):
    """A layer's name, its arguments, and the shape of an input (with a bound, for integers below it)."""

    name: str
    args: tuple
    options: dict
    shape: tuple
    integers: int = 0

    def __str__(self) -> str:
        options = "-".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.name}{options and '-' + options}-{'x'.join(map(str, self.shape))}".replace(" ", "")

    def ours(self, seed: int = 0) -> nn.Module:
        """Our layer."""
        kind = getattr(nn, self.name)
        takes_rng = "rng" in inspect.signature(kind).parameters
        return kind(*self.args, **self.options, **({"rng": Generator(seed)} if takes_rng else {}))

    def input(self, seed: int = 0, dtype: Any = "float64") -> np.ndarray:
        """An input."""
        rng = np.random.default_rng(seed)
        return (
            rng.integers(0, self.integers, self.shape) if self.integers else rng.normal(size=self.shape).astype(dtype)
        )


def entry(name: str, *args: Any, shape: tuple, integers: int = 0, **options: Any) -> Entry:
    return Entry(name, args, options, shape, integers)


SEQUENCE, IMAGE = (2, 4, 9), (2, 4, 7, 6)

#: layers that PyTorch has too
SHARED = [
    entry("Linear", 3, 4, shape=(2, 5, 3)),
    entry("Linear", 3, 4, bias=False, shape=(5, 3)),
    entry("Embedding", 5, 3, shape=(2, 4), integers=5),
    entry("Embedding", 5, 3, padding_idx=-2, shape=(7,), integers=5),
    entry("Dropout", 0.5, shape=(3, 4)),
    entry("Dropout", p=0.0, shape=(3, 4)),
    entry("Identity", shape=(3, 4)),
    entry("Flatten", shape=IMAGE),
    entry("Unflatten", 1, (3, 2), shape=(4, 6, 2)),
    # activations
    entry("ReLU", shape=(3, 4)),
    entry("LeakyReLU", shape=(3, 4)),
    entry("LeakyReLU", negative_slope=0.2, shape=(3, 4)),
    entry("PReLU", shape=(3, 4)),
    entry("PReLU", 4, init=0.1, shape=IMAGE),
    entry("ELU", alpha=0.7, shape=(3, 4)),
    entry("SELU", shape=(3, 4)),
    entry("GELU", shape=(3, 4)),
    entry("GELU", approximate="tanh", shape=(3, 4)),
    entry("SiLU", shape=(3, 4)),
    entry("Softplus", shape=(3, 4)),
    entry("Sigmoid", shape=(3, 4)),
    entry("Tanh", shape=(3, 4)),
    entry("Hardtanh", shape=(3, 4)),
    entry("Hardtanh", min_val=-0.3, max_val=0.5, shape=(3, 4)),
    entry("Softmax", 1, shape=(3, 4, 2)),
    entry("LogSoftmax", -1, shape=(3, 4, 2)),
    entry("GLU", shape=(3, 4)),
    entry("GLU", 1, shape=IMAGE),
    # convolution
    entry("Conv1d", 4, 6, 3, shape=SEQUENCE),
    entry("Conv1d", 4, 6, 2, dilation=4, padding="valid", groups=2, shape=SEQUENCE),
    entry("Conv1d", 4, 2, 4, padding="same", dilation=2, padding_mode="replicate", shape=SEQUENCE),
    entry("Conv2d", 4, 6, 3, stride=2, padding=1, shape=IMAGE),
    entry("Conv2d", 4, 6, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2), groups=2, bias=False, shape=IMAGE),
    entry("Conv2d", 4, 3, (2, 3), padding="same", shape=IMAGE),
    entry("Conv2d", 4, 3, 3, padding=(2, 1), padding_mode="reflect", stride=2, shape=IMAGE),
    entry("Conv2d", 4, 3, 3, padding=1, padding_mode="circular", shape=IMAGE),
    entry("ConvTranspose1d", 4, 3, 4, stride=3, padding=1, output_padding=2, shape=SEQUENCE),
    entry("ConvTranspose2d", 4, 3, 4, stride=2, padding=1, shape=IMAGE),
    entry("ConvTranspose2d", 4, 6, (3, 2), stride=(2, 1), output_padding=(1, 0), groups=2, bias=False, shape=IMAGE),
    entry("ConvTranspose2d", 4, 3, 2, dilation=2, shape=IMAGE),
    entry("ConvTranspose2d", 4, 3, 2, dilation=3, stride=2, padding=(1, 2), output_padding=2, shape=IMAGE),
    # pooling and sizes
    entry("MaxPool1d", 3, shape=SEQUENCE),
    entry("MaxPool1d", 2, stride=3, dilation=3, shape=SEQUENCE),
    entry("MaxPool2d", 3, stride=2, padding=1, shape=IMAGE),
    entry("MaxPool2d", (2, 3), dilation=(1, 2), shape=IMAGE),
    entry("AvgPool1d", 3, stride=1, padding=1, shape=SEQUENCE),
    entry("AvgPool2d", 2, shape=IMAGE),
    entry("AvgPool2d", (3, 2), stride=(1, 2), padding=1, count_include_pad=False, shape=IMAGE),
    entry("AdaptiveAvgPool1d", 4, shape=SEQUENCE),
    entry("AdaptiveAvgPool2d", 1, shape=IMAGE),
    entry("AdaptiveAvgPool2d", (3, 4), shape=IMAGE),
    entry("AdaptiveMaxPool1d", 11, shape=SEQUENCE),
    entry("AdaptiveMaxPool2d", (7, 3), shape=IMAGE),
    entry("AdaptiveMaxPool2d", (5, 4), shape=IMAGE),
    entry("Upsample", scale_factor=3, shape=SEQUENCE),
    entry("Upsample", scale_factor=2, mode="bilinear", shape=IMAGE),
    entry("PixelShuffle", 2, shape=IMAGE),
    entry("ZeroPad1d", 2, shape=SEQUENCE),
    entry("ZeroPad2d", (1, 0, 2, 3), shape=IMAGE),
    entry("ReflectionPad1d", (3, 1), shape=SEQUENCE),
    entry("ReflectionPad2d", 2, shape=IMAGE),
    entry("ReplicationPad1d", (0, 4), shape=SEQUENCE),
    entry("ReplicationPad2d", (1, 2, 3, 4), shape=IMAGE),
    # normalisation
    entry("BatchNorm1d", 4, shape=(6, 4)),
    entry("BatchNorm1d", 4, momentum=None, eps=1e-3, shape=SEQUENCE),
    entry("BatchNorm2d", 4, shape=IMAGE),
    entry("BatchNorm2d", 4, affine=False, momentum=0.3, shape=IMAGE),
    entry("BatchNorm2d", 4, track_running_stats=False, shape=IMAGE),
    entry("LayerNorm", 4, shape=(3, 4)),
    entry("LayerNorm", (7, 6), eps=1e-2, shape=IMAGE),
    entry("LayerNorm", 6, bias=False, shape=IMAGE),
    entry("LayerNorm", 6, elementwise_affine=False, shape=IMAGE),
    entry("InstanceNorm1d", 4, shape=SEQUENCE),
    entry("InstanceNorm2d", 4, affine=True, shape=IMAGE),
    entry("InstanceNorm2d", 4, affine=True, track_running_stats=True, shape=IMAGE),
    # sequences
    entry("RNN", 3, 4, shape=(5, 2, 3)),
    entry("RNN", 3, 2, 2, nonlinearity="relu", bias=False, bidirectional=True, shape=(4, 2, 3)),
    entry("LSTM", 3, 4, shape=(5, 2, 3)),
    entry("LSTM", 3, 2, 2, batch_first=True, bidirectional=True, shape=(2, 5, 3)),
    entry("GRU", 3, 4, shape=(5, 2, 3)),
    entry("GRU", 3, 2, 3, batch_first=True, bidirectional=True, shape=(2, 5, 3)),
]

#: layers of our own
OWN = [
    entry("VirtualBatchNorm", 4, 3, shape=(5, 4)),
    entry("VirtualBatchNorm", 4, 2, shape=(3, 4, 3, 2)),
    entry("Maxout", 3, 2, 4, shape=(5, 3)),
    entry("MinibatchDiscrimination", 3, 2, 4, shape=(5, 3)),
]

EVERY = SHARED + OWN


def draw_state(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module weights, biases and statistics none of which is 0 or 1, so that none is without effect."""
    rng, state = np.random.default_rng(seed), module.state_dict()
    for path, values in state.items():
        if path.endswith("running_var"):
            state[path] = rng.uniform(0.5, 2, values.shape)
        elif values.dtype.kind == "f":
            state[path] = rng.normal(size=values.shape) * 0.7
    module.load_state_dict(state)
    return module


def outputs(result: Any) -> list:
    """The Tensors in what a layer returned."""
    return [t for r in result for t in outputs(r)] if isinstance(result, tuple | list) else [result]


def two_orders(grad: Any, outs: list, inputs: list, constant: Any, seed: int = 7) -> list:
    """First and second derivatives by all inputs, with random cotangents; `grad` and `constant` of either library."""
    rng, found, roots = np.random.default_rng(seed), [], outs
    for _ in range(2):
        roots = [r for r in roots if r.requires_grad]
        total = None
        for r in roots:
            term = (r * constant(rng.normal(size=tuple(r.shape)))).sum()
            total = term if total is None else total + term
        if total is None:
            found += [None] * len(inputs)
            continue
        grads = grad(total, inputs)
        found += grads
        roots = [g for g in grads if g is not None]
    return found


def our_grad(total: tg.Tensor, inputs: list) -> list:
    """`tg.grad` as `two_orders` wants it."""
    return list(tg.grad(total, inputs, create_graph=True, allow_unused=True))


def arrays(tensors: list, like: list) -> list:
    """As NumPy arrays, zeros for None."""
    return [np.zeros(x.shape) if t is None else t.detach().numpy() for t, x in zip(tensors, like, strict=True)]


def deviation(ours: list, theirs: list) -> float:
    """The largest difference, relative to the largest entry of its array or 1."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
        worst = max(worst, float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0))))
    return worst

"""Points for the functions of `tinygen.nn.functional`, and for every layer as a function of input and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.cases import Case, losses
from tinygen.nn import functional as F


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every function of `nn.functional`, where each option matters."""
    n = rng.normal
    image, sequence = n(size=(2, 4, 5, 6)), n(size=(2, 4, 7))
    apart = 0.3 * rng.permutation(240).reshape(2, 4, 5, 6)
    yield Case(
        "conv1d", lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1), (sequence, n(size=(3, 4, 3)), n(size=3))
    )
    yield Case("conv2d", lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=(1, 0), dilation=(1, 2), groups=2),
               (image, n(size=(6, 2, 3, 2)), n(size=6)))  # fmt: skip
    yield Case("conv2d", lambda x, w: F.conv2d(x, w, padding="same"), (image, n(size=(1, 4, 2, 3))))
    yield Case("conv_transpose1d", lambda x, w, b: F.conv_transpose1d(x, w, b, stride=2, output_padding=1),
               (sequence, n(size=(4, 2, 3)), n(size=2)))  # fmt: skip
    yield Case("conv_transpose2d",
               lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=(1, 0), groups=2),
               (image, n(size=(4, 3, 3, 2)), n(size=6)))  # fmt: skip
    yield Case("max_pool1d", lambda x: F.max_pool1d(x, 3, stride=2, dilation=2), (apart[:, :, 0],))
    yield Case("max_pool2d", lambda x: F.max_pool2d(x, (3, 2), stride=2, padding=1), (apart,))
    yield Case("avg_pool1d", lambda x: F.avg_pool1d(x, 3, padding=1), (sequence,))
    yield Case("avg_pool2d", lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False), (image,))
    yield Case("upsample", lambda x: F.upsample(x, 2), (sequence,))
    yield Case("upsample", lambda x: F.upsample(x, 2, mode="bilinear"), (image,))
    yield Case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), (image,))
    logits = n(size=(4, 3))
    yield Case("linear", F.linear, (n(size=(2, 2, 3)), n(size=(4, 3)), n(size=4)))
    yield Case("softmax", F.softmax, (logits,))
    yield Case("log_softmax", lambda x: F.log_softmax(x, 0), (logits,))
    yield from more_functions(rng)
    yield from layers(rng)
    yield from losses.cases(rng)


def more_functions(rng: np.random.Generator) -> Iterator[Case]:
    """Functions with options that their layers do not have, or that have no layer."""
    n = rng.normal
    x, w, b = n(size=(3, 2, 4)), n(size=2), n(size=2)
    yield Case("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (x, w, b))
    yield Case("instance_norm", lambda x, w: F.instance_norm(x, weight=w, eps=0.1), (x, w))
    yield Case("layer_norm", lambda x: F.layer_norm(x, (2, 4)), (x,))
    yield Case("virtual_batch_norm", lambda x, w, b: F.virtual_batch_norm(x, 2, w, b), (x, w, b))
    yield Case("normalize", lambda x: F.normalize(x, p=3), (x,))
    yield Case("dropout", lambda x: F.dropout(x, 0.4, rng=Generator(0)), (x,))
    yield Case("embedding", lambda i, w: F.embedding(i, w), (np.array([[0, 2], [2, 1]]), n(size=(3, 2))))
    for name in ("gelu", "silu", "selu", "glu", "hardtanh"):
        yield Case(name, getattr(F, name), (_apart_from_kinks(rng, (2, 4)),))
    yield Case("gelu", lambda x: F.gelu(x, approximate="tanh"), (n(size=(2, 4)),))
    yield Case("prelu", F.prelu, (_apart_from_kinks(rng, (2, 3)), n(size=3)))
    apart = 0.3 * rng.permutation(40).reshape(1, 2, 4, 5)
    yield Case("adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 3), (x,))
    yield Case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (3, 2)), (apart,))
    yield Case("adaptive_max_pool1d", lambda x: F.adaptive_max_pool1d(x, 3), (apart[:, :, 0],))
    yield Case("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (3, 2)), (apart,))


def layers(rng: np.random.Generator) -> Iterator[Case]:
    """Every layer."""
    n, draw = rng.normal, Generator(0)
    vectors, sequence, image = n(size=(3, 4)), n(size=(2, 2, 5)), n(size=(2, 2, 3, 4))
    for x, module in [
        (n(size=(2, 2, 3)), nn.Linear(3, 2, rng=draw)),
        (np.array([[0, 2], [2, 1]]), nn.Embedding(3, 2, rng=draw)),
        (vectors, nn.Identity()),
        (image, nn.Flatten()),
        (vectors, nn.Unflatten(1, (2, 2))),
        (vectors, nn.Maxout(4, 2, 3, rng=draw)),
        (vectors, nn.MinibatchDiscrimination(4, 2, 3, rng=draw)),
        (vectors, nn.Residual(nn.Linear(4, 2, rng=draw), shortcut=nn.Linear(4, 2, bias=False, rng=draw))),
        (vectors, nn.Sequential(nn.Linear(4, 2, rng=draw), nn.Tanh())),
        (sequence, nn.Conv1d(2, 2, 3, padding="same", padding_mode="circular", rng=draw)),
        (image, nn.Conv2d(2, 4, (2, 3), stride=(1, 2), padding=1, groups=2, padding_mode="reflect", rng=draw)),
        (sequence, nn.ConvTranspose1d(2, 1, 3, stride=3, output_padding=2, rng=draw)),
        (image, nn.ConvTranspose2d(2, 2, 2, dilation=2, output_padding=1, groups=2, rng=draw)),
        (sequence, nn.MaxPool1d(2)),
        (image, nn.MaxPool2d((2, 3), stride=1)),
        (sequence, nn.AvgPool1d(3, stride=2, padding=1)),
        (image, nn.AvgPool2d(2)),
        (sequence, nn.AdaptiveAvgPool1d(2)),
        (image, nn.AdaptiveAvgPool2d((1, 3))),
        (sequence, nn.AdaptiveMaxPool1d(2)),
        (image, nn.AdaptiveMaxPool2d((2, 3))),
        (image, nn.Upsample(scale_factor=2, mode="bilinear")),
        (n(size=(1, 4, 2, 2)), nn.PixelShuffle(2)),
        (sequence, nn.ZeroPad1d(1)),
        (image, nn.ZeroPad2d((1, 0, 2, 1))),
        (sequence, nn.ReflectionPad1d((2, 1))),
        (image, nn.ReflectionPad2d(1)),
        (sequence, nn.ReplicationPad1d(2)),
        (image, nn.ReplicationPad2d((0, 2, 1, 0))),
        (vectors, nn.BatchNorm1d(4, track_running_stats=False)),
        (image, nn.BatchNorm2d(2, track_running_stats=False)),
        (sequence, nn.InstanceNorm1d(2)),
        (image, nn.InstanceNorm2d(2, affine=True)),
        (image, nn.LayerNorm((3, 4))),
        (n(size=(3, 2, 2)), nn.VirtualBatchNorm(2, 2)),
        (n(size=(2, 1, 2)), nn.RNN(2, 1, 2, bidirectional=True, rng=draw)),
        (n(size=(2, 1, 1)), nn.LSTM(1, 2, rng=draw)),
        (n(size=(1, 2, 2)), nn.GRU(2, 2, batch_first=True, rng=draw)),
    ]:
        yield layer(rng, module, x)
    yield layer(rng, nn.LSTM(1, 1, bidirectional=True, rng=draw), n(size=(2, 2, 1)), lengths=[1, 2])
    for module in (nn.ReLU(), nn.LeakyReLU(), nn.PReLU(2), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Softplus(),
                   nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.Softmax(0), nn.LogSoftmax(), nn.GLU()):  # fmt: skip
        yield layer(rng, module, _apart_from_kinks(rng, (3, 2)))
    dropout = nn.Dropout(0.3, rng=draw)
    start = draw.state

    def same_draws(x: Any) -> Any:
        dropout.rng.state = start  # a function gives the same twice
        return dropout(x)

    yield Case("Dropout", same_draws, (vectors,))


def layer(rng: np.random.Generator, module: nn.Module, x: np.ndarray, **options: Any) -> Case:
    """A layer as a function of its input and of its parameters, these moved off 0 and 1."""
    names = [path for path, _ in module.named_parameters()]
    values = [p.numpy() + 0.3 * rng.normal(size=p.shape) for p in module.parameters()]

    def function(x: Any, *values: Any) -> tuple:
        out = nn.functional_call(module, dict(zip(names, values, strict=True)), x, **options)
        return tuple(_flat(out))

    return Case(type(module).__name__, function, (x, *values))


def _flat(out: Any) -> Iterator[Any]:
    """The Tensors in what a layer returns."""
    for o in out if isinstance(out, tuple) else ():
        yield from _flat(o)
    if not isinstance(out, tuple):
        yield out


def _apart_from_kinks(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that are near neither 0 nor 1 nor -1."""
    return rng.choice([-1.4, -0.6, 0.5, 1.6], shape) + rng.uniform(-0.2, 0.2, shape)

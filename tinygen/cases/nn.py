"""Points for the functions of `tinygen.nn.functional`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygen.cases import Case
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
    yield Case("mse_loss", F.mse_loss, (logits, n(size=(4, 3))))
    yield Case("cross_entropy", lambda x: F.cross_entropy(x, np.array([0, 2, 1, 1])), (logits,))
    yield Case(
        "cross_entropy", lambda x, t: F.cross_entropy(x, t, reduction="sum"), (logits, rng.dirichlet(np.ones(3), 4))
    )
    yield Case(
        "binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, (logits, rng.uniform(size=(4, 3)))
    )

"""What is timed: the names of the steps, and the arrays that all libraries share.

Shapes, initial sizes and optimisers are the same for every library: see `adapter` for tinygen's steps, `peers` for
those of the others.
"""

from __future__ import annotations

import numpy as np

WORKLOADS = {
    "op_small": "20 elementwise operations and a sum on 4 numbers, forward and backward",
    "op_large": "the same on a million",
    "mlp": "784-2048-10, ReLU, softmax cross entropy, batch 100, SGD",
    "vae": "784-400-(20, 20)-400-784, ReLU, Bernoulli, batch 128, Adam",
    "cnn": "twice convolution 5x5x16, ReLU, max pooling; 784-1024-10; batch 100, SGD",
    "dcgan28": "DCGAN, a step of both players, 28x28x1, batch 64, Adam",
    "dcgan64": "DCGAN, a step of both players, 64x64x3, batch 64, Adam",
    "wgangp_mlp": "a WGAN-GP critic's step, 784-512-512-1, LeakyReLU, batch 64, Adam",
    "wgangp_conv": "a WGAN-GP critic's step, convolutions 1-32-64-128, batch 64, Adam",
    "gan2d": "a GAN on the plane, D 2-64-32-1, G 16-64-32-2, batch 64, a step of both, Adam",
    "lstm": "LSTM 64-256, 64 steps of 32 sequences, softmax over 64 symbols, Adam",
    "rbm": "RBM 784-500, contrastive divergence, batch 100, SGD",
    "gmm": "an EM iteration, 100,000 points of the plane, 4 full covariances, float64",
    "kde": "Gaussian kernel density, 10,000 points of the plane at 10,000 places, float64",
    "kmeans": "one Lloyd iteration, 100,000 points of 16 coordinates, 10 clusters, float32",
}


def data(name: str) -> dict[str, np.ndarray]:
    """The arrays of a workload: float32, classes int64."""
    r = np.random.default_rng(0)

    def normal(*shape):
        return r.standard_normal(shape).astype(np.float32)

    def uniform(*shape):
        return r.random(shape).astype(np.float32)

    if name in ("op_small", "op_large"):
        n = 4 if name == "op_small" else 1_000_000
        return {"x": normal(n) * 0.5, "w": normal(n) * 0.1 + 1, "b": normal(n) * 0.1}
    if name == "mlp":
        return {"x": uniform(100, 784), "y": r.integers(0, 10, 100)}
    if name == "vae":
        return {"x": (uniform(128, 784) > 0.7).astype(np.float32)}
    if name == "cnn":
        return {"x": uniform(100, 1, 28, 28), "y": r.integers(0, 10, 100)}
    if name in ("dcgan28", "wgangp_conv"):
        return {"x": uniform(64, 1, 28, 28) * 2 - 1, "fake": uniform(64, 1, 28, 28) * 2 - 1}
    if name == "dcgan64":
        return {"x": uniform(64, 3, 64, 64) * 2 - 1}
    if name == "wgangp_mlp":
        return {"x": uniform(64, 784), "fake": uniform(64, 784)}
    if name == "gan2d":
        return {"x": normal(64, 2)}
    if name == "lstm":
        return {"x": r.integers(0, 64, (64, 32)), "y": r.integers(0, 64, (64, 32))}
    if name == "rbm":
        return {"x": (uniform(100, 784) > 0.7).astype(np.float32)}
    if name == "gmm":
        c = r.standard_normal((4, 2)) * 4
        return {"x": c[r.integers(0, 4, 100_000)] + r.standard_normal((100_000, 2))}
    if name == "kde":
        return {"x": r.standard_normal((10_000, 2)), "q": r.standard_normal((10_000, 2))}
    if name == "kmeans":
        return {"x": normal(100_000, 16), "c": normal(10, 16)}
    raise KeyError(name)

"""The same steps in the other engines over NumPy, autograd and MyGrad, as far as they go: dense nets on one core.

Both compute in float32 here, as all others do; neither has optimisers, so that these are written out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads import data

Builders = dict[str, Callable[[], Callable[[], object]]]


def dense(rng: np.random.Generator, *sizes: int) -> list[np.ndarray]:
    """Weights and biases of linear layers, one after the other."""
    pairs = zip(sizes, sizes[1:], strict=False)
    return [a for i, o in pairs for a in ((rng.uniform(-1, 1, (i, o)) / math.sqrt(i)).astype("f"), np.zeros(o, "f"))]


class Adam:
    """Adam on a list of arrays, in place."""

    def __init__(self, params: list[np.ndarray], lr: float = 1e-3, b1: float = 0.9, b2: float = 0.999):
        self.params, self.lr, self.b1, self.b2, self.t = params, lr, b1, b2, 0
        self.m, self.v = ([np.zeros_like(p) for p in params] for _ in "mv")

    def step(self, grads: list[np.ndarray]) -> None:
        """One step down the gradients."""
        self.t += 1
        rate = np.float32(self.lr * math.sqrt(1 - self.b2**self.t) / (1 - self.b1**self.t))
        for p, g, m, v in zip(self.params, grads, self.m, self.v, strict=True):
            m += (1 - self.b1) * (g - m)
            v += (1 - self.b2) * (g * g - v)
            p -= rate * m / (np.sqrt(v) + 1e-8)


def autograd_steps(threads: int) -> Builders:
    """autograd's steps; see `adapter` for tinygen's."""
    import autograd.numpy as anp
    from autograd import grad

    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    def net(p, h, slope=0.0):
        for i in range(0, len(p) - 2, 2):
            h = anp.dot(h, p[i]) + p[i + 1]
            h = anp.maximum(h, np.float32(slope) * h)
        return anp.dot(h, p[-2]) + p[-1]

    def softplus(x):
        return anp.maximum(x, 0) + anp.log1p(anp.exp(-anp.abs(x)))

    def operations(name):
        d = data(name)

        def f(given):
            y = given[0]
            for _ in range(5):
                y = y * given[1]
                y = y + given[2]
                y = anp.tanh(y)
                y = y * y
            return anp.sum(y)

        slope = grad(f)
        return lambda: slope((d["x"], d["w"], d["b"]))

    def mlp():
        d, p = data("mlp"), dense(rng, 784, 2048, 10)
        rows = np.arange(100)

        def loss(p):
            logits = net(p, d["x"])
            logits = logits - anp.max(logits, 1, keepdims=True)
            return -anp.mean((logits - anp.log(anp.sum(anp.exp(logits), 1, keepdims=True)))[rows, d["y"]])

        slope = grad(loss)

        def step():
            for a, g in zip(p, slope(p), strict=True):
                a -= np.float32(0.01) * g

        return step

    def vae():
        x, p = (
            data("vae")["x"],
            dense(rng, 784, 400) + dense(rng, 400, 20) + dense(rng, 400, 20) + dense(rng, 20, 400, 784),
        )
        optimizer = Adam(p)

        def loss(p, eps):
            h = anp.maximum(anp.dot(x, p[0]) + p[1], 0)
            m, v = anp.dot(h, p[2]) + p[3], anp.dot(h, p[4]) + p[5]
            o = net(p[6:], m + anp.exp(v / 2) * eps)
            return (anp.sum(softplus(o) - o * x) - anp.sum(1 + v - m * m - anp.exp(v)) / 2) / 128

        slope = grad(loss)
        return lambda: optimizer.step(slope(p, normal(128, 20)))

    def gan2d():
        x, G, D = data("gan2d")["x"], dense(rng, 16, 64, 32, 2), dense(rng, 2, 64, 32, 1)
        of_g, of_d = Adam(G), Adam(D)
        slope_d = grad(lambda p, fake: anp.mean(softplus(-net(p, x))) + anp.mean(softplus(net(p, fake))))
        slope_g = grad(lambda p, z: anp.mean(softplus(-net(D, net(p, z)))))

        def step():
            z = normal(64, 16)
            of_d.step(slope_d(D, net(G, z)))
            of_g.step(slope_g(G, z))

        return step

    def wgangp_mlp():
        d, p = data("wgangp_mlp"), dense(rng, 784, 512, 512, 1)
        x, fake, optimizer = d["x"], d["fake"], Adam(p, 1e-4, 0.0)
        slope_x = grad(lambda between, p: anp.sum(net(p, between, 0.2)))

        def loss(p, e):
            slope = slope_x(e * x + (1 - e) * fake, p)
            penalty = anp.mean((anp.sqrt(anp.sum(slope * slope, 1) + np.float32(1e-12)) - 1) ** 2)
            return anp.mean(net(p, fake, 0.2)) - anp.mean(net(p, x, 0.2)) + 10 * penalty

        slope = grad(loss)
        return lambda: optimizer.step(slope(p, rng.random((64, 1), dtype=np.float32)))

    return {"op_small": lambda: operations("op_small"), "op_large": lambda: operations("op_large"), "mlp": mlp,
            "vae": vae, "gan2d": gan2d, "wgangp_mlp": wgangp_mlp}  # fmt: skip


def mygrad_steps(threads: int) -> Builders:
    """MyGrad's steps; it has no second order. Its parameters are tensors that share memory with our arrays."""
    import mygrad as mg
    from mygrad.nnet.losses import softmax_crossentropy

    rng = np.random.default_rng(1)

    def tensors(params: list[np.ndarray]) -> list[Any]:
        return [mg.tensor(a, copy=False) for a in params]

    def net(p, h):
        for i in range(0, len(p) - 2, 2):
            h = mg.maximum(mg.matmul(h, p[i]) + p[i + 1], 0)
        return mg.matmul(h, p[-2]) + p[-1]

    def softplus(x):
        return mg.maximum(x, 0) + mg.log1p(mg.exp(-mg.abs(x)))

    def operations(name):
        d = data(name)

        def step():
            x, w, b = tensors([d["x"], d["w"], d["b"]])
            y = x
            for _ in range(5):
                y = y * w
                y = y + b
                y = mg.tanh(y)
                y = y * y
            y.sum().backward()
            return x.grad, w.grad, b.grad

        return step

    def mlp():
        d, p = data("mlp"), dense(rng, 784, 2048, 10)

        def step():
            held = tensors(p)
            softmax_crossentropy(net(held, d["x"]), d["y"]).backward()
            for a, tensor in zip(p, held, strict=True):
                a -= np.float32(0.01) * tensor.grad

        return step

    def vae():
        x, p = (
            data("vae")["x"],
            dense(rng, 784, 400) + dense(rng, 400, 20) + dense(rng, 400, 20) + dense(rng, 20, 400, 784),
        )
        optimizer = Adam(p)

        def step():
            q = tensors(p)
            h = mg.maximum(mg.matmul(x, q[0]) + q[1], 0)
            m, v = mg.matmul(h, q[2]) + q[3], mg.matmul(h, q[4]) + q[5]
            o = net(q[6:], m + mg.exp(v / 2) * rng.standard_normal((128, 20), dtype=np.float32))
            loss = mg.sum(softplus(o) - o * x) - mg.sum(1 + v - m * m - mg.exp(v)) / 2
            (loss / 128).backward()
            optimizer.step([tensor.grad for tensor in q])

        return step

    def gan2d():
        x, G, D = data("gan2d")["x"], dense(rng, 16, 64, 32, 2), dense(rng, 2, 64, 32, 1)
        of_g, of_d = Adam(G), Adam(D)

        def step():
            g, d = tensors(G), tensors(D)
            fake = net(g, rng.standard_normal((64, 16), dtype=np.float32))
            (mg.mean(softplus(-net(d, x))) + mg.mean(softplus(net(d, fake.data)))).backward()
            of_d.step([tensor.grad for tensor in d])
            mg.mean(softplus(-net(D, fake))).backward()
            of_g.step([tensor.grad for tensor in g])

        return step

    return {"op_small": lambda: operations("op_small"), "op_large": lambda: operations("op_large"), "mlp": mlp,
            "vae": vae, "gan2d": gan2d}  # fmt: skip

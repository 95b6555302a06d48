"""The same steps in JAX, compiled by XLA: `jax_steps`. Images are (b, height, width, channels), as XLA likes them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads import data

Builders = dict[str, Callable[[], Callable[[], object]]]


def jax_steps(threads: int) -> Builders:
    """JAX's steps; see `adapter` for tinygen's."""
    if threads == 1:  # read when JAX is imported
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax
    import jax.numpy as jnp
    from jax import lax, nn

    rng = np.random.default_rng(1)

    # ---- layers and optimisers: parameters are nested lists of arrays ----

    def dense(i, o):
        return [jnp.asarray(rng.uniform(-1, 1, (i, o)) / math.sqrt(i), jnp.float32), jnp.zeros(o)]

    def kernel(k, i, o):
        return [jnp.asarray(rng.standard_normal((k, k, i, o)) * 0.05, jnp.float32), jnp.zeros(o)]

    def scales(n):
        return [jnp.ones(n), jnp.zeros(n)]

    def linear(p, x):
        return x @ p[0] + p[1]

    def convolution(w, x, stride, padding, spread=1):
        return lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2, (spread, spread),
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip

    def transposed(w, x, stride, padding):
        return convolution(w, x, 1, len(w) - 1 - padding, stride)

    def batch_norm(p, x):
        axes = tuple(range(x.ndim - 1))
        return (x - x.mean(axes)) * (p[0] / jnp.sqrt(x.var(axes) + 1e-5)) + p[1]

    def leaky(x):
        return jnp.where(x > 0, x, 0.2 * x)

    def cross_entropy(logits, y):
        return -jnp.mean(jnp.take_along_axis(nn.log_softmax(logits), y[:, None], 1))

    def bce(logits, t):
        return jnp.mean(jnp.maximum(logits, 0) - logits * t + jnp.log1p(jnp.exp(-jnp.abs(logits))))

    def memory(p):
        return jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), jnp.zeros(())

    def adam(p, g, state, lr=1e-3, b1=0.9, b2=0.999):
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, g)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
        rate = lr * jnp.sqrt(1 - b2**t) / (1 - b1**t)
        return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v), (m, v, t)

    def repeated(update, state):
        """A step that updates what it keeps, and waits until that is there."""
        kept, compiled = [state], jax.jit(update)

        def step():
            kept[0] = jax.block_until_ready(compiled(kept[0]))

        return step

    def descent(loss, p):
        return repeated(lambda p: jax.tree.map(lambda p, g: p - 0.01 * g, p, jax.grad(loss)(p)), p)

    # ---- the workloads ----

    def arrays(name):
        """Images with the channels last."""
        return {k: jnp.asarray(v.transpose(0, 2, 3, 1) if v.ndim == 4 else v) for k, v in data(name).items()}

    def operations(name):
        d = arrays(name)

        def f(x, w, b):
            y = x
            for _ in range(5):
                y = jnp.square(jnp.tanh(y * w + b))
            return y.sum()

        compiled = jax.jit(jax.grad(f, (0, 1, 2)))
        return lambda: jax.block_until_ready(compiled(d["x"], d["w"], d["b"]))

    def mlp():
        d = arrays("mlp")
        return descent(lambda p: cross_entropy(linear(p[1], nn.relu(linear(p[0], d["x"]))), d["y"]),
                       [dense(784, 2048), dense(2048, 10)])  # fmt: skip

    def cnn():
        d = arrays("cnn")

        def pooled(h):
            return lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

        def loss(p):
            h = pooled(nn.relu(convolution(p[0][0], d["x"], 1, 2) + p[0][1]))
            h = pooled(nn.relu(convolution(p[1][0], h, 1, 2) + p[1][1])).reshape(100, -1)
            return cross_entropy(linear(p[3], nn.relu(linear(p[2], h))), d["y"])

        return descent(loss, [kernel(5, 1, 16), kernel(5, 16, 16), dense(784, 1024), dense(1024, 10)])

    def vae():
        x = arrays("vae")["x"]

        def loss(p, key):
            h = nn.relu(linear(p[0], x))
            m, v = linear(p[1], h), linear(p[2], h)
            z = m + jnp.exp(0.5 * v) * jax.random.normal(key, v.shape)
            o = linear(p[4], nn.relu(linear(p[3], z)))
            return 784 * bce(o, x) - 0.5 * jnp.sum(1 + v - m * m - jnp.exp(v)) / len(x)

        def update(state):
            p, remembered, key = state
            key, now = jax.random.split(key)
            return *adam(p, jax.grad(loss)(p, now), remembered), key

        p = [dense(784, 400), dense(400, 20), dense(400, 20), dense(20, 400), dense(400, 784)]
        return repeated(update, (p, memory(p), jax.random.PRNGKey(0)))

    def players(G, D, g, d, x, noise, lr=2e-4, b1=0.5):
        def loss_d(d, fake):
            return bce(D(d, x), 1.0) + bce(D(d, fake), 0.0)

        def update(state):
            g, d, of_g, of_d, key = state
            key, now = jax.random.split(key)
            fake, back = jax.vjp(lambda g: G(g, jax.random.normal(now, noise)), g)
            d, of_d = adam(d, jax.grad(loss_d)(d, fake), of_d, lr, b1)
            g, of_g = adam(g, back(jax.grad(lambda fake: bce(D(d, fake), 1.0))(fake))[0], of_g, lr, b1)
            return g, d, of_g, of_d, key

        return repeated(update, (g, d, memory(g), memory(d), jax.random.PRNGKey(0)))

    def dcgan28():
        g = [dense(100, 256), scales(256), dense(256, 6272), scales(6272), kernel(4, 128, 64)[0], scales(64),
             kernel(4, 64, 32)[0], scales(32), kernel(3, 32, 1)]  # fmt: skip
        d = [kernel(4, 1, 32), kernel(4, 32, 64)[0], scales(64), kernel(4, 64, 128)[0], scales(128), dense(1152, 1)]

        def G(p, z):
            h = nn.relu(batch_norm(p[1], linear(p[0], z)))
            h = nn.relu(batch_norm(p[3], linear(p[2], h))).reshape(64, 7, 7, 128)
            h = nn.relu(batch_norm(p[5], transposed(p[4], h, 2, 1)))
            h = nn.relu(batch_norm(p[7], transposed(p[6], h, 2, 1)))
            return jnp.tanh(transposed(p[8][0], h, 1, 1) + p[8][1])

        def D(p, x):
            h = leaky(convolution(p[0][0], x, 2, 1) + p[0][1])
            h = leaky(batch_norm(p[2], convolution(p[1], h, 2, 1)))
            h = leaky(batch_norm(p[4], convolution(p[3], h, 2, 1)))
            return linear(p[5], h.reshape(64, -1))

        return players(G, D, g, d, arrays("dcgan28")["x"], (64, 100))

    def dcgan64():
        g = [[kernel(4, i, o)[0], scales(o)] for i, o in ((100, 512), (512, 256), (256, 128), (128, 64))]
        d = [[kernel(4, i, o)[0], scales(o)] for i, o in ((64, 128), (128, 256), (256, 512))]
        g, d = [g, kernel(4, 64, 3)], [kernel(4, 3, 64), d, kernel(4, 512, 1)]

        def G(p, z):
            h = z
            for i, (w, s) in enumerate(p[0]):
                h = nn.relu(batch_norm(s, transposed(w, h, 2 if i else 1, 1 if i else 0)))
            return jnp.tanh(transposed(p[1][0], h, 2, 1) + p[1][1])

        def D(p, x):
            h = leaky(convolution(p[0][0], x, 2, 1) + p[0][1])
            for w, s in p[1]:
                h = leaky(batch_norm(s, convolution(w, h, 2, 1)))
            return (convolution(p[2][0], h, 1, 0) + p[2][1]).reshape(64, 1)

        return players(G, D, g, d, arrays("dcgan64")["x"], (64, 1, 1, 100))

    def gan2d():
        def net(p, h):
            return linear(p[2], nn.relu(linear(p[1], nn.relu(linear(p[0], h)))))

        g, d = [dense(16, 64), dense(64, 32), dense(32, 2)], [dense(2, 64), dense(64, 32), dense(32, 1)]
        return players(net, net, g, d, arrays("gan2d")["x"], (64, 16), 1e-3, 0.9)

    def critic(C, p, name):
        x, fake = (arrays(name)[k] for k in ("x", "fake"))

        def loss(p, key):
            e = jax.random.uniform(key, (64,) + (1,) * (x.ndim - 1))
            slope = jax.grad(lambda between: C(p, between).sum())(e * x + (1 - e) * fake).reshape(64, -1)
            penalty = jnp.mean((jnp.sqrt(jnp.square(slope).sum(1) + 1e-12) - 1) ** 2)
            return C(p, fake).mean() - C(p, x).mean() + 10 * penalty

        def update(state):
            p, remembered, key = state
            key, now = jax.random.split(key)
            return *adam(p, jax.grad(loss)(p, now), remembered, 1e-4, 0.0), key

        return repeated(update, (p, memory(p), jax.random.PRNGKey(0)))

    def wgangp_mlp():
        return critic(lambda p, x: linear(p[2], leaky(linear(p[1], leaky(linear(p[0], x))))),
                      [dense(784, 512), dense(512, 512), dense(512, 1)], "wgangp_mlp")  # fmt: skip

    def wgangp_conv():
        def C(p, h):
            for w, b in p[:3]:
                h = leaky(convolution(w, h, 2, 1) + b)
            return linear(p[3], h.reshape(64, -1))

        return critic(C, [kernel(4, 1, 32), kernel(4, 32, 64), kernel(4, 64, 128), dense(1152, 1)], "wgangp_conv")

    def lstm():
        d = arrays("lstm")
        x, y = nn.one_hot(d["x"], 64), d["y"].reshape(-1)

        def loss(p):
            def cell(state, x):
                h, c = state
                i, f, g, o = jnp.split(x + linear(p[1], h), 4, 1)
                c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
                h = nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zero = jnp.zeros((32, 256))
            hs = lax.scan(cell, (zero, zero), linear(p[0], x))[1]
            return cross_entropy(linear(p[2], hs.reshape(-1, 256)), y)

        p = [dense(64, 1024), dense(256, 1024), dense(256, 64)]
        return repeated(lambda s: adam(s[0], jax.grad(loss)(s[0]), s[1]), (p, memory(p)))

    def rbm():
        v, rate = arrays("rbm")["x"], 0.1 / 100

        def update(state):
            W, b, c, key = state
            key, now = jax.random.split(key)
            p = nn.sigmoid(v @ W + c)
            v_model = nn.sigmoid(jax.random.bernoulli(now, p).astype(v.dtype) @ W.T + b)
            p_model = nn.sigmoid(v_model @ W + c)
            return (W + rate * (v.T @ p - v_model.T @ p_model), b + rate * (v - v_model).sum(0),
                    c + rate * (p - p_model).sum(0), key)  # fmt: skip

        W: Any = jnp.asarray(rng.standard_normal((784, 500)) * 0.01, jnp.float32)
        return repeated(update, (W, jnp.zeros(784), jnp.zeros(500), jax.random.PRNGKey(0)))

    builders = dict(mlp=mlp, vae=vae, cnn=cnn, dcgan28=dcgan28, dcgan64=dcgan64, wgangp_mlp=wgangp_mlp,
                    wgangp_conv=wgangp_conv, gan2d=gan2d, lstm=lstm, rbm=rbm)  # fmt: skip
    return {**builders, **{name: lambda name=name: operations(name) for name in ("op_small", "op_large")}}

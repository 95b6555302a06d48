"""tinygen's steps, written as a user would: `backend(threads)` gives, for each workload, what builds its step.

Each builder returns a function without arguments that runs one whole step (forward, backward, update).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # for those that load this file alone

import tinygen as tg
from benchmarks.workloads import data
from tinygen import nn, optim
from tinygen.nn import functional as F

Step = Callable[[], object]
SHARED = {"op_large", "cnn", "dcgan28", "dcgan64", "wgangp_conv"}  # where `set_threads` beats BLAS's threads


def backend(threads: int) -> dict[str, Callable[[], Step]]:
    """The builders by workload; the environment has set the number of BLAS's threads."""
    steps = {
        "op_small": lambda: operations("op_small"), "op_large": lambda: operations("op_large"), "mlp": mlp, "vae": vae,
        "cnn": cnn, "dcgan28": lambda: gan(*dcgan28(), "dcgan28"), "dcgan64": lambda: gan(*dcgan64(), "dcgan64"),
        "wgangp_mlp": lambda: critic(critic_mlp(), "wgangp_mlp"),
        "wgangp_conv": lambda: critic(critic_conv(), "wgangp_conv"), "gan2d": gan2d, "lstm": lstm, "rbm": rbm,
        "gmm": gmm, "kde": lambda: kde(threads), "kmeans": kmeans,
    }  # fmt: skip
    return {name: set_up(build, threads if name in SHARED else 1) for name, build in steps.items()}


def set_up(build: Callable[[], Step], threads: int) -> Callable[[], Step]:
    """A builder that first asks for what a program in a hurry would: freed memory kept, and so many threads of ours."""

    def make() -> Step:
        tg.keep_freed_memory()
        tg.set_threads(threads)
        return build()

    return make


def rng() -> tg.random.Generator:
    """Where the weights, and the noises, come from."""
    return tg.random.Generator(0)


def supervised(net: nn.Module, name: str) -> Step:
    """A step of SGD on the cross entropy."""
    x, y = tg.tensor(data(name)["x"]), data(name)["y"]
    params = list(net.parameters())
    optimizer = optim.SGD(params, 0.01)

    def step():
        optimizer.step(tg.grad(F.cross_entropy(net(x), y), params))

    return step


def operations(name: str) -> Step:
    x, w, b = (tg.tensor(data(name)[k], requires_grad=True) for k in "xwb")

    def step():
        y = x
        for _ in range(5):
            y = y * w
            y = y + b
            y = tg.tanh(y)
            y = y * y
        return tg.grad(y.sum(), [x, w, b])

    return step


def mlp() -> Step:
    g = rng()
    return supervised(nn.Sequential(nn.Linear(784, 2048, rng=g), nn.ReLU(), nn.Linear(2048, 10, rng=g)), "mlp")


def cnn() -> Step:
    g = rng()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2, rng=g), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 5, padding=2, rng=g), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 1024, rng=g), nn.ReLU(), nn.Linear(1024, 10, rng=g),
    )  # fmt: skip
    return supervised(net, "cnn")


def vae() -> Step:
    g, x = rng(), tg.tensor(data("vae")["x"])
    encoder = nn.Sequential(nn.Linear(784, 400, rng=g), nn.ReLU())
    mu, log_var = nn.Linear(400, 20, rng=g), nn.Linear(400, 20, rng=g)
    decoder = nn.Sequential(nn.Linear(20, 400, rng=g), nn.ReLU(), nn.Linear(400, 784, rng=g))
    params = [p for m in (encoder, mu, log_var, decoder) for p in m.parameters()]
    optimizer = optim.Adam(params)

    def step():
        h = encoder(x)
        m, v = mu(h), log_var(h)
        z = m + tg.exp(0.5 * v) * g.normal(v.shape)
        rec = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = -0.5 * tg.sum(1 + v - m * m - tg.exp(v))
        optimizer.step(tg.grad((rec + kl) / x.shape[0], params))

    return step


def dcgan28() -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """Generator, discriminator, and the shape of a batch of noise."""
    g = rng()
    G = nn.Sequential(
        nn.Linear(100, 256, rng=g), nn.BatchNorm1d(256), nn.ReLU(),
        nn.Linear(256, 6272, rng=g), nn.BatchNorm1d(6272), nn.ReLU(), nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False, rng=g), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False, rng=g), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 3, padding=1, rng=g), nn.Tanh(),
    )  # fmt: skip
    D = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1, rng=g), nn.LeakyReLU(negative_slope=0.2),
        *down(32, 64, g), *down(64, 128, g), nn.Flatten(), nn.Linear(128 * 9, 1, rng=g),
    )  # fmt: skip
    return G, D, (64, 100)


def down(i: int, o: int, g: tg.random.Generator) -> list[nn.Module]:
    """Half the size, with batch norm and a leaky rectifier."""
    conv = nn.Conv2d(i, o, 4, stride=2, padding=1, bias=False, rng=g)
    return [conv, nn.BatchNorm2d(o), nn.LeakyReLU(negative_slope=0.2)]


def up(i: int, o: int, g: tg.random.Generator, stride: int = 2, padding: int = 1) -> list[nn.Module]:
    """Twice the size, with batch norm and a rectifier."""
    conv = nn.ConvTranspose2d(i, o, 4, stride=stride, padding=padding, bias=False, rng=g)
    return [conv, nn.BatchNorm2d(o), nn.ReLU()]


def dcgan64() -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """Generator, discriminator, and the shape of a batch of noise."""
    g = rng()
    G = nn.Sequential(
        *up(100, 512, g, 1, 0), *up(512, 256, g), *up(256, 128, g), *up(128, 64, g),
        nn.ConvTranspose2d(64, 3, 4, stride=2, padding=1, rng=g), nn.Tanh(),
    )  # fmt: skip
    D = nn.Sequential(
        nn.Conv2d(3, 64, 4, stride=2, padding=1, rng=g), nn.LeakyReLU(negative_slope=0.2),
        *down(64, 128, g), *down(128, 256, g), *down(256, 512, g), nn.Conv2d(512, 1, 4, rng=g), nn.Flatten(),
    )  # fmt: skip
    return G, D, (64, 100, 1, 1)


def players(G: nn.Module, D: nn.Module, x, noise: Callable, lr: float, betas: tuple[float, float]) -> Step:
    """A step of the discriminator and one of the generator, on the same fakes."""
    generator, discriminator = list(G.parameters()), list(D.parameters())
    optimizer_g, optimizer_d = (optim.Adam(p, lr, betas=betas) for p in (generator, discriminator))
    one, zero = tg.ones((64, 1)), tg.zeros((64, 1))
    bce = F.binary_cross_entropy_with_logits

    def step():
        fake = G(noise())
        loss = bce(D(x), one) + bce(D(fake.detach()), zero)
        optimizer_d.step(tg.grad(loss, discriminator))
        optimizer_g.step(tg.grad(bce(D(fake), one), generator))

    return step


def gan(G: nn.Module, D: nn.Module, shape: tuple[int, ...], name: str) -> Step:
    g = rng()
    return players(G, D, tg.tensor(data(name)["x"]), lambda: tg.tensor(g.normal(shape)), 2e-4, (0.5, 0.999))


def gan2d() -> Step:
    g = rng()

    def net(*sizes):
        (a, b, c, d), rectify = sizes, nn.ReLU
        layers = nn.Linear(a, b, rng=g), rectify(), nn.Linear(b, c, rng=g), rectify(), nn.Linear(c, d, rng=g)
        return nn.Sequential(*layers)

    G, D, x = net(16, 64, 32, 2), net(2, 64, 32, 1), tg.tensor(data("gan2d")["x"])
    return players(G, D, x, lambda: tg.tensor(g.normal((64, 16))), 1e-3, (0.9, 0.999))


def critic_mlp() -> nn.Module:
    g, leaky = rng(), nn.LeakyReLU(negative_slope=0.2)
    return nn.Sequential(nn.Linear(784, 512, rng=g), leaky, nn.Linear(512, 512, rng=g), leaky, nn.Linear(512, 1, rng=g))


def critic_conv() -> nn.Module:
    g, leaky = rng(), nn.LeakyReLU(negative_slope=0.2)
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1, rng=g), leaky, nn.Conv2d(32, 64, 4, stride=2, padding=1, rng=g), leaky,
        nn.Conv2d(64, 128, 4, stride=2, padding=1, rng=g), leaky, nn.Flatten(), nn.Linear(128 * 9, 1, rng=g),
    )  # fmt: skip


def critic(C: nn.Module, name: str) -> Step:
    """A step of the critic with the gradient penalty, at points between the real and the fake."""
    g, x, fake = rng(), *(tg.tensor(data(name)[k]) for k in ("x", "fake"))
    params = list(C.parameters())
    optimizer = optim.Adam(params, 1e-4, betas=(0.0, 0.9))

    def step():
        e = g.uniform((64,) + (1,) * (x.ndim - 1))
        between = (e * x + (1 - e) * fake).requires_grad_()
        slope = tg.grad(C(between).sum(), between, create_graph=True)
        length = tg.sqrt(tg.sum(tg.square(slope.reshape(64, -1)), 1) + 1e-12)
        loss = C(fake).mean() - C(x).mean() + 10 * tg.mean(tg.square(length - 1))
        optimizer.step(tg.grad(loss, params))

    return step


def lstm() -> Step:
    g, d = rng(), data("lstm")
    x, y = tg.tensor(F.one_hot(d["x"], 64)), d["y"].reshape(-1)
    net, out = nn.LSTM(64, 256, rng=g), nn.Linear(256, 64, rng=g)
    params = [*net.parameters(), *out.parameters()]
    optimizer = optim.Adam(params)

    def step():
        loss = F.cross_entropy(out(net(x)[0]).reshape(-1, 64), y)
        optimizer.step(tg.grad(loss, params))

    return step


def rbm() -> Step:
    from tinygen.models.energy import RBM

    class MeanField(RBM):
        """Of the visible units the probabilities are taken, not draws."""

        def draw_visible(self, mean, rng):
            return mean

    model = MeanField(784, 500, lr=0.1, rng=rng())
    x = model.checked(data("rbm")["x"])
    return lambda: model.update(x)


def gmm() -> Step:
    from tinygen.models.latent import GaussianMixture

    x = data("gmm")["x"]
    model = GaussianMixture(2, 4, rng=rng())
    model.start_at(x[:4])
    x = model.checked(x)
    return lambda: model.update(x)


def kde(threads: int) -> Step:
    from tinygen.models.density import KernelDensity
    from tinygen.runs import Run

    d = data("kde")
    model = KernelDensity(2, bandwidth=0.3).fit(d["x"], run=Run(quiet=True))
    return lambda: model.score_samples(d["q"], threads=threads)


def kmeans() -> Step:
    from tinygen.models.latent import KMeans

    d = data("kmeans")
    model = KMeans(16, 10, dtype="float32", rng=rng())
    x = model.checked(d["x"])

    def step():
        model.start_at(d["c"])
        return model.update(x)

    return step

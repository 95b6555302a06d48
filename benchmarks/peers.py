"""The same steps in PyTorch, eager, and the classical ones in scikit-learn and SciPy: `backends`, where installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable

from benchmarks.workloads import data

Builders = dict[str, Callable[[], Callable[[], object]]]


def torch_steps(threads: int) -> Builders:
    """PyTorch's steps; see `adapter` for tinygen's, in the same order."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    bce = F.binary_cross_entropy_with_logits

    def arrays(name):
        return {k: torch.from_numpy(v) for k, v in data(name).items()}

    def adam(net, lr=1e-3, betas=(0.9, 0.999)):
        return torch.optim.Adam(net.parameters(), lr=lr, betas=betas)

    def operations(name):
        x, w, b = (arrays(name)[k].requires_grad_() for k in "xwb")

        def step():
            y = x
            for _ in range(5):
                y = y * w
                y = y + b
                y = torch.tanh(y)
                y = y * y
            return torch.autograd.grad(y.sum(), [x, w, b])

        return step

    def supervised(net, name):
        d = arrays(name)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

        def step():
            optimizer.zero_grad()
            F.cross_entropy(net(d["x"]), d["y"]).backward()
            optimizer.step()

        return step

    def mlp():
        return supervised(nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 10)), "mlp")

    def cnn():
        net = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 10),
        )  # fmt: skip
        return supervised(net, "cnn")

    def vae():
        x = arrays("vae")["x"]
        encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU())
        heads = nn.ModuleList([nn.Linear(400, 20) for _ in "mv"])
        decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))
        optimizer = adam(nn.ModuleList([encoder, heads, decoder]))

        def step():
            h = encoder(x)
            m, v = heads[0](h), heads[1](h)
            z = m + torch.exp(0.5 * v) * torch.randn_like(v)
            kl = -0.5 * torch.sum(1 + v - m * m - v.exp())
            optimizer.zero_grad()
            ((bce(decoder(z), x, reduction="sum") + kl) / len(x)).backward()
            optimizer.step()

        return step

    def down(i, o):
        return [nn.Conv2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.2)]

    def up(i, o, stride=2, padding=1):
        return [nn.ConvTranspose2d(i, o, 4, stride, padding, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    def players(G, D, x, noise, lr, betas):
        optimizer_g, optimizer_d = adam(G, lr, betas), adam(D, lr, betas)
        one, zero = torch.ones(64, 1), torch.zeros(64, 1)

        def step():
            fake = G(noise())
            optimizer_d.zero_grad()
            (bce(D(x), one) + bce(D(fake.detach()), zero)).backward()
            optimizer_d.step()
            optimizer_g.zero_grad()
            D.requires_grad_(False)
            bce(D(fake), one).backward()
            D.requires_grad_(True)
            optimizer_g.step()

        return step

    def dcgan28():
        G = nn.Sequential(
            nn.Linear(100, 256), nn.BatchNorm1d(256), nn.ReLU(),
            nn.Linear(256, 6272), nn.BatchNorm1d(6272), nn.ReLU(), nn.Unflatten(1, (128, 7, 7)),
            *up(128, 64), *up(64, 32), nn.ConvTranspose2d(32, 1, 3, 1, 1), nn.Tanh(),
        )  # fmt: skip
        D = nn.Sequential(nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), *down(32, 64), *down(64, 128), nn.Flatten(),
                          nn.Linear(128 * 9, 1))  # fmt: skip
        return players(G, D, arrays("dcgan28")["x"], lambda: torch.randn(64, 100), 2e-4, (0.5, 0.999))

    def dcgan64():
        G = nn.Sequential(*up(100, 512, 1, 0), *up(512, 256), *up(256, 128), *up(128, 64),
                          nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())  # fmt: skip
        D = nn.Sequential(nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2), *down(64, 128), *down(128, 256),
                          *down(256, 512), nn.Conv2d(512, 1, 4), nn.Flatten())  # fmt: skip
        return players(G, D, arrays("dcgan64")["x"], lambda: torch.randn(64, 100, 1, 1), 2e-4, (0.5, 0.999))

    def gan2d():
        def net(*sizes):
            layers = [layer for i, o in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(i, o), nn.ReLU())]
            return nn.Sequential(*layers[:-1])

        G, D = net(16, 64, 32, 2), net(2, 64, 32, 1)
        return players(G, D, arrays("gan2d")["x"], lambda: torch.randn(64, 16), 1e-3, (0.9, 0.999))

    def critic(C, name):
        x, fake = (arrays(name)[k] for k in ("x", "fake"))
        optimizer = adam(C, 1e-4, (0.0, 0.9))

        def step():
            e = torch.rand((64,) + (1,) * (x.ndim - 1))
            between = (e * x + (1 - e) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(C(between).sum(), between, create_graph=True)
            penalty = ((slope.flatten(1).square().sum(1) + 1e-12).sqrt() - 1).square().mean()
            optimizer.zero_grad()
            (C(fake).mean() - C(x).mean() + 10 * penalty).backward()
            optimizer.step()

        return step

    def wgangp_mlp():
        leaky = nn.LeakyReLU(0.2)
        C = nn.Sequential(nn.Linear(784, 512), leaky, nn.Linear(512, 512), leaky, nn.Linear(512, 1))
        return critic(C, "wgangp_mlp")

    def wgangp_conv():
        leaky = nn.LeakyReLU(0.2)
        C = nn.Sequential(nn.Conv2d(1, 32, 4, 2, 1), leaky, nn.Conv2d(32, 64, 4, 2, 1), leaky,
                          nn.Conv2d(64, 128, 4, 2, 1), leaky, nn.Flatten(), nn.Linear(128 * 9, 1))  # fmt: skip
        return critic(C, "wgangp_conv")

    def lstm():
        d = arrays("lstm")
        x, y = F.one_hot(d["x"], 64).float(), d["y"].reshape(-1)
        net, out = nn.LSTM(64, 256), nn.Linear(256, 64)
        optimizer = adam(nn.ModuleList([net, out]))

        def step():
            optimizer.zero_grad()
            F.cross_entropy(out(net(x)[0]).view(-1, 64), y).backward()
            optimizer.step()

        return step

    def rbm():
        v = arrays("rbm")["x"]
        W, b, c, rate = torch.randn(784, 500) * 0.01, torch.zeros(784), torch.zeros(500), 0.1 / len(v)

        @torch.no_grad()
        def step():
            p = torch.sigmoid(torch.addmm(c, v, W))
            v_model = torch.sigmoid(torch.addmm(b, torch.bernoulli(p), W.t()))
            p_model = torch.sigmoid(torch.addmm(c, v_model, W))
            W.addmm_(v.t(), p, alpha=rate).addmm_(v_model.t(), p_model, alpha=-rate)
            b.add_((v - v_model).sum(0), alpha=rate)
            c.add_((p - p_model).sum(0), alpha=rate)

        return step

    builders = dict(mlp=mlp, vae=vae, cnn=cnn, dcgan28=dcgan28, dcgan64=dcgan64, wgangp_mlp=wgangp_mlp,
                    wgangp_conv=wgangp_conv, gan2d=gan2d, lstm=lstm, rbm=rbm)  # fmt: skip
    return {**builders, **{name: lambda name=name: operations(name) for name in ("op_small", "op_large")}}


def sklearn_steps(threads: int) -> Builders:
    """scikit-learn's models; of EM its own two private steps, without the validation that its `fit` would add."""

    def gmm():
        from sklearn.mixture import GaussianMixture

        warnings.simplefilter("ignore")
        x = data("gmm")["x"]
        model = GaussianMixture(4, means_init=x[:4], max_iter=1).fit(x)
        return lambda: model._m_step(x, model._e_step(x)[1])

    def kde():
        from sklearn.neighbors import KernelDensity

        d = data("kde")
        model = KernelDensity(bandwidth=0.3).fit(d["x"])
        return lambda: model.score_samples(d["q"])

    def kmeans():
        from sklearn.cluster import KMeans

        d = data("kmeans")
        return lambda: KMeans(10, init=d["c"], n_init=1, max_iter=1, tol=0, algorithm="lloyd").fit(d["x"])

    return {"gmm": gmm, "kde": kde, "kmeans": kmeans}


def scipy_steps(threads: int) -> Builders:
    """SciPy's kernel density."""

    def kde():
        from scipy.stats import gaussian_kde

        d = data("kde")
        model = gaussian_kde(d["x"].T, 0.3)
        return lambda: model(d["q"].T)

    return {"kde": kde}


def jax_steps(threads: int) -> Builders:
    """JAX's."""
    from benchmarks.peer_jax import jax_steps

    return jax_steps(threads)


def autograd_steps(threads: int) -> Builders:
    """autograd's."""
    from benchmarks.peer_tapes import autograd_steps

    return autograd_steps(threads)


def mygrad_steps(threads: int) -> Builders:
    """MyGrad's."""
    from benchmarks.peer_tapes import mygrad_steps

    return mygrad_steps(threads)


def tinygen_steps(threads: int) -> Builders:
    """Ours, as they are written."""
    from benchmarks.adapter import backend

    return backend(threads)


def kept_steps(threads: int) -> Builders:
    """PyTorch's, with the allocator's setting that ours have."""
    from tinygen import keep_freed_memory

    keep_freed_memory()
    return torch_steps(threads)


def compiled_steps(threads: int) -> Builders:
    """Ours, recorded and replayed."""
    from benchmarks.adapter_compiled import backend

    return backend(threads)


PEERS = {
    "tinygen": ("tinygen", tinygen_steps), "compiled": ("tinygen", compiled_steps), "torch": ("torch", torch_steps),
    "torch_kept": ("torch", kept_steps),
    "jax": ("jax", jax_steps), "autograd": ("autograd", autograd_steps), "mygrad": ("mygrad", mygrad_steps),
    "sklearn": ("sklearn", sklearn_steps), "scipy": ("scipy", scipy_steps),
}  # fmt: skip


def backends() -> dict[str, Callable[[int], Builders]]:
    """The libraries that are installed; nothing is imported before its worker asks."""
    return {name: steps for name, (package, steps) in PEERS.items() if importlib.util.find_spec(package)}

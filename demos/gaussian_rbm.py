"""A restricted Boltzmann machine with real visible units learns patches of photographs, and points of the plane.

The machine is a mixture of Gaussians whose means are sums of columns of W. In the plane that can be seen: half moons
under machines of three noise levels, each mean a dot as large as its share. On patches of faces (standardised) the
pictures are what each hidden unit adds, draws from chains, patches rebuilt from their hidden units, the exact test
log-likelihood with few hidden units at each noise level, and what becomes of the weights when the rate is too large.
"""

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import batch, load
from tinygen.models.energy import GaussianRBM
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("D1",),
    model="energy.gaussian_rbm:GaussianRBM",
    claims={
        "|log Z - log of the integral|, Gaussian visible units, half moons (nats)": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "exact test log-likelihood over independent Gaussians', 12 hidden units, Olivetti patches (nats)": {
            "published": None, "bar": ">= 40", "budget_min": 1},
    },
)  # fmt: skip
SIDE, FEW = 12, 12  # pixels of a patch; hidden units, where sums are exact
LEVELS = (1.0, 0.7, 0.5, 0.35)  # of noise, on patches
RATES = (0.01, 0.1, 0.3, 1.0, 3.0)  # over the variance
WALK = (1, 10, 500)  # Gibbs steps after which a chain is shown
SHORT = 2000  # updates of a small machine


def main(*, steps=8000, hidden=100, k=1, particles=100, std=0.5, lr=0.005, momentum=0.5, device="cpu", seed=0,
         quick=False, out="runs_out/gaussian_rbm", resume=None):  # fmt: skip
    """Train a Gaussian restricted Boltzmann machine on patches of faces, and draw what it has learnt.

    steps: minibatches of 100 to learn from; hidden: units; k: Gibbs steps in an update; particles: chains that go on
    from update to update (0: each starts at the data); std: of a pixel given the hidden units, whose square multiplies
    lr; quick: 2500 steps at most, and smaller machines learn a quarter as long
    """
    run = open_run(locals())
    steps, short = (min(steps, 2500), SHORT // 4) if quick else (steps, SHORT)
    generator, draws = tg.random.Generator(seed, device=device).spawn(2)
    train, test = patches()
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        rbm = GaussianRBM(SIDE**2, hidden, std=std, k=k, particles=particles, lr=lr * std**2, momentum=momentum,
                          schedule=Cosine(steps), rng=generator)  # fmt: skip
        rbm.start_at(train).fit(train, steps=steps, run=run)
        found = rbm.diagnose(test[:500], steps=200, rng=draws)
        rest = float(np.square(test - rbm.reconstruct(test)).mean())
        print(f"test patches: {rest:.1%} of the variance is left unexplained\n"
              f"hidden units: {found['dead']} of {hidden} dead ({found['never on']} never on); largest weight "
              f"{found['largest weight']:.2f}; after 200 Gibbs steps chains lie {found['chains below']:.1f} nats below "
              f"the test patches")  # fmt: skip
        draw(run, rbm, test, draws)
        curves = {level: learnt(train, test, level, short, seed)[1] for level in LEVELS}
        lines = gaussians(train, test)
        run.save_figure("likelihood.png", likelihoods(curves, lines))
        run.save_figure("rates.png", rates(train, std, min(short, 500), seed))
        moons = {level: moons_machine(level, 2 * short, seed) for level in (1, 0.5, 0.25)}
        run.save_figure("plane.png", plane(moons))
    best = max(curves, key=lambda level: curves[level][-1, 1])
    print(f"{FEW} hidden units, exact test log-likelihood: {curves[best][-1, 1]:.1f} nats a patch at standard "
          f"deviation {best}; of independent Gaussians {lines['independent Gaussians']:.1f}, of one with every "
          f"covariance {lines['one Gaussian with every covariance']:.1f}")  # fmt: skip
    print(f"pictures in {run.folder}")
    return {"unexplained": rest, "test": float(curves[best][-1, 1]), **found}


# ---- data and small machines ----------------------------------------------------------------------------


def patches(*, stand_in=True, seed=0):
    """Patches of faces as rows (n, SIDE^2), from training images and from test images, standardised by the former."""
    rng, parts = np.random.default_rng(seed), []
    for part, n in zip(load("olivetti", stand_in=stand_in), (10_000, 2000), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(part.images[:, 0], (SIDE, SIDE), axis=(1, 2))
        at = [rng.integers(0, size, n) for size in windows.shape[:3]]
        parts.append(windows[tuple(at)].reshape(n, -1))
    return standardised(*parts)


def standardised(train, test):
    """Each number to mean 0 and variance 1 on the training part."""
    mean, std = train.mean(0), train.std(0)
    return tuple([((x - mean) / std).astype(np.float32) for x in (train, test)])


def gaussians(train, test):
    """The mean log-density of test data under a Gaussian with the variances of training, and with all covariances."""
    names = {"independent Gaussians": lambda c: np.diag(np.diag(c)), "one Gaussian with every covariance": lambda c: c}
    found, centred = {}, test - train.mean(0)
    for name, restrict in names.items():
        c = restrict(np.cov(train.T.astype(float)))
        squares = (centred * np.linalg.solve(c, centred.T).T).sum(1)
        found[name] = float(-(squares.mean() + np.linalg.slogdet(2 * np.pi * c)[1]) / 2)
    return found


def learnt(train, test, std, steps, seed):
    """A machine of FEW hidden units trained by CD-1; the updates done and the exact mean log-density of test data."""
    rbm = GaussianRBM(train.shape[1], FEW, std=std, lr=0.01 * std**2, momentum=0.5, schedule=Cosine(steps),
                      rng=tg.random.Generator(seed)).start_at(train)  # fmt: skip
    due, found = set(np.geomspace(10, steps, 10).astype(int)), []
    for step in range(1, steps + 1):
        rbm.update(batch(train, rbm.rng, 100))
        if step in due:
            found.append((step, rbm.log_prob(test).mean()))
    return rbm, np.array(found)


def moons_machine(std, steps, seed):
    """A machine of 8 hidden units for half moons, and the points (standardised)."""
    x, _ = standardised(*[part.features for part in load("moons")])
    rbm = GaussianRBM(2, 8, std=std, k=5, lr=0.1 * std**2, schedule=Cosine(steps), rng=tg.random.Generator(seed))
    return rbm.start_at(x).fit(x, steps=steps, run=Run(quiet=True)), x


# ---- the claims -----------------------------------------------------------------------------------------


def reproduce(run, claims):
    """The claims of the CARD: an integral over the plane, and exact likelihoods of three seeds on the real patches."""
    values = {}
    with blas_threads(1):
        for claim in claims:
            if "integral" in claim:
                values[claim] = [integral_gap(seed) for seed in range(3)]
            else:
                train, test = patches(stand_in=False)
                base = gaussians(train, test)["independent Gaussians"]
                values[claim] = [float(learnt(train, test, 0.7, SHORT, seed)[1][-1, 1]) - base for seed in range(3)]
    return values


def integral_gap(seed, steps=500, points=400):
    """How far (6) is from the logarithm of the numerical integral of exp(-F) over the plane."""
    rbm = moons_machine(0.5, steps, seed)[0].to(dtype="float64")
    axis, weight = np.polynomial.legendre.leggauss(points)
    grid = np.stack(np.meshgrid(12 * axis, 12 * axis), axis=-1).reshape(-1, 2)
    log_terms = np.log(np.outer(12 * weight, 12 * weight)).ravel() - rbm.free_energy(grid)
    return abs(float(np.logaddexp.reduce(log_terms)) - rbm.log_z())


def tiny(rng):
    """A small machine with everything switched on, and numbers."""
    model = GaussianRBM(6, 4, std=0.8, k=2, particles=5, momentum=0.5, weight_decay=1e-3, schedule=Cosine(20), rng=rng)
    return model, rng.spawn(1)[0].normal((20, 6))


# ---- pictures -------------------------------------------------------------------------------------------


def draw(run, rbm, test, rng):
    """The pictures of the large machine."""
    W = rbm.weight.numpy().T
    W = W[np.argsort(-np.square(W).sum(1))][:100]
    images = {
        "filters.png": (W / np.abs(W).max(1, keepdims=True), 10, "What each hidden unit adds to a patch", ()),
        "chains.png": (np.concatenate([test[:15], *walk(rbm, test[:15], rng), *walk(rbm, rbm.noise(15, rng), rng)]), 15,
                       "Means along chains of Gibbs steps, from test patches and from noise",
                       ["test patch", *[f"step {n}" for n in WALK], *[f"noise, step {n}" for n in WALK]]),
        "reconstructions.png": (np.concatenate([part for i in (0, 15) for part in (
            test[i : i + 15], rbm.reconstruct(test[i : i + 15]))]), 15, "", ["test patch", "rebuilt"] * 2),
    }  # fmt: skip
    for name, (rows, columns, title, names) in images.items():
        bound = 1.0 if name == "filters.png" else 2.5  # of a standardised pixel
        sheet = (rows / bound + 1).reshape(-1, SIDE, SIDE) / 2
        run.save_figure(name, plot.image_grid(sheet, columns, enlarge=4, title=title, row_names=names))
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))


def walk(rbm, v, rng):
    """Chains that start at v, shown by the means of their pixels after the steps of WALK."""
    done, seen = 0, []
    for n in WALK:
        v, done = rbm.gibbs(v, steps=n - done, rng=rng), n
        seen.append(rbm.reconstruct(v))
    return seen


def likelihoods(curves, lines):
    """The exact test log-likelihood while learning, for each noise level, beside Gaussians without hidden units."""
    made = plot.figure(8, 4.6)
    made.set_layout_engine("constrained")
    axes = made.add_subplot(xscale="log", xlabel="updates", ylabel="exact mean $\\log p(v)$ of test patches (nats)",
                            title=f"{FEW} hidden units, $2^{{{FEW}}}$ Gaussians: how much noise?")  # fmt: skip
    for level, curve in curves.items():
        axes.plot(*curve.T, marker=".", label=f"$\\sigma$ = {level:g}")
    base = lines["independent Gaussians"]
    axes.axhline(base, color="grey", linestyle=":")
    axes.annotate("independent Gaussians", (1, base), xycoords=("axes fraction", "data"), xytext=(-4, 3), ha="right",
                  textcoords="offset points", color="grey")  # fmt: skip
    axes.set_ylim(base - 120, None)
    axes.legend(loc="lower right")
    return made


def rates(x, std, steps, seed):
    """The largest weight while learning at several rates, from small to those at which it explodes."""
    made = plot.figure(8, 4.6)
    made.set_layout_engine("constrained")
    axes = made.add_subplot(xscale="log", yscale="log", xlabel="updates", ylabel="largest weight",
                            title="A rate too large: the weights explode")  # fmt: skip
    for rate in RATES:
        rbm = GaussianRBM(x.shape[1], FEW, std=std, lr=rate * std**2, rng=tg.random.Generator(seed)).start_at(x)
        sizes, end = [], "learnt"
        try:
            while len(sizes) < steps:
                rbm.update(batch(x, rbm.rng, 100))
                sizes.append(float(np.abs(rbm.weight.numpy()).max()))
        except FloatingPointError as error:
            end = str(error)
        (line,) = axes.plot(np.arange(1, len(sizes) + 1), sizes, label=f"$\\eta$ = {rate:g} $\\sigma^2$")
        axes.plot(len(sizes), sizes[-1], "." if end == "learnt" else "X", color=line.get_color())
        print(f"rate {rate:g} times the variance: {end}; largest weight {sizes[-1]:.3g}")
    axes.legend(loc="upper left")
    return made


def plane(machines):
    """The exact density of machines in the plane, the means of their Gaussians, and the columns of W that make them."""
    made = plot.figure(4.2 * len(machines), 4.6)
    made.set_layout_engine("constrained")
    for axes, (std, (rbm, x)) in zip(made.subplots(1, len(machines), sharey=True), machines.items(), strict=True):
        axis = np.linspace(-3, 3, 160)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        axes.contourf(axis, axis, np.exp(rbm.log_prob(grid)).reshape(160, 160), 12, cmap="Blues")
        axes.scatter(*x[:300].T, s=2, color="black", alpha=0.4)
        h = (np.arange(2**rbm.n_hidden)[:, None] >> np.arange(rbm.n_hidden)) & 1
        means, shares = rbm.visible_mean(h.astype(np.float32)), np.exp(rbm.hidden_masses() - rbm.log_z())
        axes.scatter(*means.T, s=400 * shares, facecolors="none", edgecolors="C3", linewidths=1)
        b = rbm.visible_bias.numpy()
        for column in rbm.weight.numpy().T:
            axes.annotate("", b + column, b, arrowprops=dict(arrowstyle="->", color="C1", linewidth=1.2))
        axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal",
                 title=f"$\\sigma$ = {std:g}: {rbm.log_prob(x).mean():.2f} nats a point")  # fmt: skip
    made.suptitle("Half moons as $2^8$ Gaussians: a mean at each sum of columns of $W$ (arrows from $b$)")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

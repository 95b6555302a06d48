"""An invertible flow lays the plane of codes on eight islands, and can say of every point how probable it is.

It is trained by exact maximum likelihood on mixtures whose entropy is known, so that one sees how far it still has to
go. The run writes a page that replays how the sheet of codes is bent, a picture of what each layer does to it, the
density with samples and codes, and the curve of the likelihood; and it integrates the density, which must give 1.
"""

import numpy as np
from scipy.ndimage import maximum_filter

import tinygen as tg
from tinygen import data, plot
from tinygen.metrics import modes_covered
from tinygen.models.latent import Flow
from tinygen.models.latent import flow as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C7",),
    model="latent.flow:Flow",
    resumes=True,
    claims={
        "ring8: |integral of the density - 1|": {"published": None, "bar": "<= 1e-3", "budget_min": 3},
        "ring8: modes, with a tenth of their samples at least": {"published": None, "bar": ">= 8", "budget_min": 3},
        "ring8: negative log-likelihood less the entropy (nats)": {"published": None, "bar": "<= 1", "budget_min": 3},
        "ring8: largest |g(g^-1(x)) - x|": {"published": None, "bar": "<= 1e-4", "budget_min": 3},
    },
)  # fmt: skip
STEPS, BATCH = 4000, 512
BOXES = {"ring8": (-3, 3, -3, 3), "grid25": (-6, 6, -6, 6), "gmm4": (-8, 8, -8, 8)}
# To integrate the density: cells along an axis, and in each that counts; samples that show where these are.
FINE, FINER, SAMPLE = 400, 48, 200_000


def main(*, data="ring8", steps=STEPS, layers=12, lr=3e-3, device="cpu", seed=0, quick=False, out="runs_out/flow",
         resume=None):  # fmt: skip
    """Train a flow of coupling layers on points of the plane and draw what it does to the plane.

    data: ring8, grid25 or gmm4; steps: minibatches of 512; layers: of the flow; quick: 500 steps at most
    """
    run = open_run(locals())
    with blas_threads(1):
        flow, mix, test = trained(run, data, min(steps, 500) if quick else steps, layers=layers, lr=lr, device=device,
                                  seed=seed)  # fmt: skip
        scores = judged(flow, mix, test)
        print(
            f"{data}: "
            + "negative log-likelihood {nll:.3f} nats, entropy {entropy:.3f}; {modes} modes, "
            "{quality:.0%} of the samples near one; x and g(g^-1(x)) differ by {inverse:.1e} at most".format(**scores)
        )
        if not quick:
            scores["mass"] = mass(flow, BOXES[data], FINE, FINER)
            print(f"the density integrates to {scores['mass']:.6f}")
        flow.replay.write(run.folder / "replay.html")
        pictures(run, flow, mix, test, data)
    print(f"pictures in {run.folder}")
    return scores


# ---- training ---------------------------------------------------------------------------------------------------


def trained(run, name, steps, *, layers=12, lr=3e-3, device="cpu", seed=0):
    """A flow trained on a mixture, with its `replay`; the mixture, and points it has not seen."""
    if name not in BOXES:
        raise ValueError(f"--data is {name!r}; {', '.join(BOXES)} are there")
    mix, (known, test) = data.mixture(name), (part.features for part in data.load(name))
    flow = Flow(2, layers=layers, hidden=64, detail=20.0, lr=lr, schedule=Cosine(steps),
                rng=tg.random.Generator(seed, device=device))  # fmt: skip
    x = flow.checked(known)
    h = flow.checked(tg.random.Generator(7).normal((250, 2)))
    flow.replay = plot.Replay(
        BOXES[name], steps=steps, frames=50, title=f"A flow of {layers} coupling layers on {name}", data=known[:300],
        ranges={"log density": (-8, 2)}, glide=True,
        caption="Rings are data, discs are samples. The field is the logarithm of the density, from -8 to 2. The mesh "
                "is the sheet of codes as the flow lays it: bent and stretched, never torn.")  # fmt: skip
    look(flow, mix, test, h, 0)
    for step in run.steps(flow, steps):
        run.log(**flow.update(data.batch(x, flow.rng, BATCH)))
        if flow.replay.due(step):
            run.log(**look(flow, mix, test, h, step))
    return flow, mix, test


def look(flow, mix, test, h, step):
    """Keep a frame of the replay; the score for the log."""
    scores, cells = {"nll": -flow.score_samples(test[:1000]).mean(), "modes": found(flow, mix)[0]}, 48
    field = flow.score_samples(plot.lattice(flow.replay.box, cells, cells)).reshape(cells, cells)
    flow.replay.record(step, points={"samples": flow.inverse_transform(h)},
                       fields={"log density": np.clip(field, -8, 2)},
                       grids={"flow": flow.inverse_transform(sheet(15)).reshape(15, 15, 2)},
                       scalars=scores)  # fmt: skip
    return {"test_nll": scores["nll"], "modes": scores["modes"]}


def sheet(n, reach=2.5):
    """Codes on a square mesh: (n * n, 2)."""
    ticks = np.linspace(-reach, reach, n)
    return np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)


def found(flow, mix, samples=2500):
    """How many modes have a tenth of their share of so many samples, and what share of all is near a mode."""
    drawn = flow.sample(samples, rng=tg.random.Generator(7, device=flow.rng.device))
    return modes_covered(drawn, mix.modes, mix.std, at_least=samples // (10 * len(mix.modes)))


def judged(flow, mix, test):
    """Likelihood and modes, and how exact the inverse is."""
    modes, quality = found(flow, mix)
    entropy, kl = chapter.excess(flow.score_samples(test).astype(float), mix.log_density(test))
    return {"nll": float(entropy + kl), "entropy": float(entropy), "kl": float(kl), "modes": modes, "quality": quality,
            "inverse": float(abs(flow.inverse_transform(flow.transform(test)) - test).max())}  # fmt: skip


def mass(flow, box, cells, finer):
    """The integral of the density, by sums over a lattice that is fine where there is something.

    A box twice as wide as the one that is drawn has cells x cells of the plane. Where samples fall, and next to it, a
    cell is cut into finer x finer: the bridges between the modes are too thin for the coarse ones.
    """
    box = tuple(2 * end for end in box)
    width = np.array([box[1] - box[0], box[3] - box[2]]) / cells
    drawn = flow.sample(SAMPLE, rng=tg.random.Generator(5, device=flow.rng.device))
    column, row = np.clip((drawn - (box[0], box[2])) // width, 0, cells - 1).astype(int).T
    seen = np.zeros((cells, cells), bool)
    seen[row, column] = True
    seen = maximum_filter(seen, 3).ravel()
    places = plot.lattice(box, cells, cells)
    within = plot.lattice((-width[0] / 2, width[0] / 2, -width[1] / 2, width[1] / 2), finer, finer)
    fine = (places[seen][:, None] + within).reshape(-1, 2)
    coarse, inner = (np.exp(flow.score_samples(at).astype(float)).sum() for at in (places[~seen], fine))
    return float((coarse + inner / finer**2) * width.prod())


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    with blas_threads(1):
        flow, mix, test = trained(run, "ring8", STEPS)
        scores = judged(flow, mix, test)
        values = {"integral": lambda: abs(mass(flow, BOXES["ring8"], FINE, FINER) - 1),
                  "modes": lambda: scores["modes"], "negative": lambda: scores["kl"],
                  "largest": lambda: scores["inverse"]}  # fmt: skip
        return {claim: next(f() for word, f in values.items() if word in claim) for claim in claims}


def tiny(rng):
    """A very small flow and what to fit it to."""
    model_rng, draws = rng.spawn(2)
    return Flow(2, layers=2, hidden=4, rng=model_rng), draws.normal((30, 2))


def loss(rng):
    """The negative log-likelihood of a small flow, for `python -m tinygen explain flow`."""
    flow, x = tiny(rng)
    return -tg.mean(flow(tg.tensor(x)))


# ---- pictures ---------------------------------------------------------------------------------------------------


def pictures(run, flow, mix, test, name):
    """All of them."""
    run.save_figure("density.png", density(flow, mix, test, BOXES[name]))
    run.save_figure("layers.png", layer_by_layer(flow, mix, BOXES[name]))
    run.save_figure("curve.png", curve(read_metrics(run.folder / "metrics.csv"), mix, test))


def colours(mix, x):
    """A colour for each point, its nearest mode's."""
    return [f"C{k % 10}" for k in mix.nearest(x)[0]]


def density(flow, mix, test, box):
    """The density, samples of it, and the codes of data, each in the colour of its mode."""
    made = plot.figure(15, 5)
    made.set_layout_engine("constrained")
    left, middle, right = made.subplots(1, 3)
    field = flow.score_samples(plot.lattice(box, 400, 400)).reshape(400, 400)
    shown = left.imshow(np.clip(field, -10, 4), extent=box, origin="lower", cmap="magma", interpolation="bilinear")
    made.colorbar(shown, ax=left, shrink=0.8)
    left.set(title=r"$\log p_g(x)$: islands, and bridges between them")
    drawn = flow.sample(2500, rng=tg.random.Generator(7, device=flow.rng.device))
    middle.scatter(*mix.modes.T, s=220, facecolors="none", edgecolors="black", linewidths=0.7)
    middle.scatter(*drawn.T, s=4, color=colours(mix, drawn), linewidths=0)
    middle.set(xlim=box[:2], ylim=box[2:], aspect="equal", title="2500 samples, modes (rings)")
    h = flow.transform(test)
    right.scatter(*h.T, s=4, color=colours(mix, test), linewidths=0)
    turn = np.linspace(0, 2 * np.pi, 200)
    for share in (0.5, 0.9, 0.99):
        r = np.sqrt(-2 * np.log(1 - share))
        right.plot(r * np.cos(turn), r * np.sin(turn), "k--", linewidth=0.8)
    right.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal",
              title=r"Codes of test data (circles: 50, 90, 99 % of $p_H$)")  # fmt: skip
    return made


def layer_by_layer(flow, mix, box, panels=8):
    """A sheet of codes, and samples, after the first layers: how the plane is bent."""
    layers = list(flow.generator.layers)
    shown = np.unique(np.linspace(0, len(layers), panels).astype(int))
    made = plot.figure(12.5, 6.6)
    made.set_layout_engine("constrained")
    axes = made.subplots(2, -(-len(shown) // 2), squeeze=False).ravel()
    points = tg.random.Generator(3).normal((1500, 2))
    colour = colours(mix, flow.inverse_transform(points))
    along, across = np.meshgrid(np.linspace(-2.5, 2.5, 501), np.linspace(-2.5, 2.5, 21))
    mesh = np.stack([np.stack([along, across], -1), np.stack([across, along], -1)]).reshape(42, 501, 2)
    inside = np.linalg.norm(mesh, axis=-1) <= 2.5
    for ax, k in zip(axes, shown, strict=False):
        lines = passed(flow, layers[:k], mesh.reshape(-1, 2)).reshape(mesh.shape)
        at = passed(flow, layers[:k], points)
        for line, shows in zip(lines, inside, strict=True):
            ax.plot(*line[shows].T, color="grey", linewidth=0.4, alpha=0.7)
        ax.scatter(*at.T, s=3, color=colour, linewidths=0, zorder=2)
        reach = max(box[1], 1.15 * np.quantile(abs(at), 0.99))
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal",
               title=f"after layer {k}" if k else "codes, by the mode they reach")  # fmt: skip
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    made.suptitle("From codes to points: each layer moves points along one axis only, by what the other one says")
    return made


def passed(flow, layers, h):
    """Where some layers send points (n, 2), on the host."""
    with tg.no_grad():
        h = tg.tensor(flow.checked(h))
        for layer in layers:
            h, _ = layer(h)
    return h.numpy()


def curve(metrics, mix, test):
    """The likelihood in training, above the entropy."""
    made = plot.figure(7, 4)
    made.set_layout_engine("constrained")
    ax = made.add_subplot()
    step, known = np.array(metrics["step"]), np.isfinite(metrics["test_nll"])
    ax.semilogx(step, metrics["nll"], color="C0", linewidth=0.4, alpha=0.5, label="minibatches")
    ax.semilogx(step[known], np.array(metrics["test_nll"])[known], "o-", color="C1", markersize=3, label="test data")
    entropy = -mix.log_density(test).mean()
    ax.axhline(entropy, color="black", linestyle="--", label=f"entropy of the data: {entropy:.2f}")
    low = entropy - 0.3
    ax.set(xlabel="step", ylabel="nats", ylim=(low, max(metrics["nll"][0], low + 1) + 0.5),
           title=r"Negative log-likelihood; what is left above the entropy is KL$(p \,\|\, p_g)$")  # fmt: skip
    ax.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

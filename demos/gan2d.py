"""Generators and discriminators in the plane: every loss of the family plays on mixtures whose modes can be counted.

A run draws what the generator makes and what the discriminator thinks, from the first turns on; the losses beside what
they would be in equilibrium; a page that replays the run; the vector fields of the smallest of all GANs, for each loss;
and a discriminator trained to the end between two known densities, beside the best there is.

`--table 5` adds the table: all losses, so many times each, with the modes they find, the share of good samples and the
seconds. `--robust` adds S1's picture of four methods on six architectures. Each of their trainings has a folder of its
own below the run's; the same command with `--resume FOLDER` goes on with what is not finished.
"""

import json
import math
import time

import numpy as np

import tinygen as tg
from tinygen import nn, optim, plot
from tinygen.data import Mixture, load, mixture
from tinygen.metrics import modes_covered
from tinygen.models.gan import GAN, LOSSES, nets, normal, theory
from tinygen.runs import Run, blas_threads, open_run, read_metrics
from tinygen.runs.checkpoint import atomically

CARD = dict(
    rows=("G1", "G2"),
    model="gan.game:GAN",
    resumes=True,
    claims={
        "two known densities: largest |D - D*| where 99 % of the mass is": {
            "published": None, "bar": "<= 0.02", "budget_min": 1},
        "two known densities: |v - (-log 4 + 2 JSD)| (nats)": {"published": None, "bar": "<= 0.01", "budget_min": 1},
        "ring8, minimax: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 2},
        "ring8, non-saturating: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 2},
        "ring8, maximum-likelihood: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 3},
        "ring8, wasserstein: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 4},
        "ring8, wasserstein-gp: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 4},
        "ring8, least-squares: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 2},
        "ring8, dragan: modes, median of 5 seeds": {"published": None, "bar": ">= 8", "budget_min": 3},
        "ring8, began: share of good samples, median of 5 seeds": {"published": None, "bar": ">= 0.9", "budget_min": 3},
        "ring8, began: all modes, median of 5 seeds": {
            "published": None, "bar": ">= 8", "budget_min": 3, "verdict": True},
        "S1, wasserstein-gp trains every architecture: of 6, those with all modes": {
            "published": "all", "bar": ">= 6", "budget_min": 12, "verdict": True},
    },
)  # fmt: skip

BATCH, STEPS = 64, 6000
BOXES = {"ring8": (-3, 3, -3, 3), "grid25": (-6, 6, -6, 6), "gmm4": (-8, 8, -8, 8)}
# What a loss needs besides what all have: two latent numbers, as wide as the data; two hidden layers of 64; Adam, whose
# rate falls along a cosine; one step each. The data's modes are 0.02 wide, and a slope of 1 is very flat there: so the
# penalties on it are light, and the clipping is wide. Maximum likelihood has an enormous gradient now and then, which
# Adam had better forget soon.
OPTIONS = {"wasserstein": dict(clip=0.1), "wasserstein-gp": dict(weight=0.1), "dragan": dict(weight=0.1)}
SETTINGS = {"maximum-likelihood": dict(optimizer=lambda weights, lr: optim.Adam(weights, lr, betas=(0.5, 0.9))),
            "wasserstein": dict(k_d=5, lr=(5e-4, 1e-3), optimizer=optim.RMSprop),
            "wasserstein-gp": dict(k_d=3),
            "began": dict(lr=(2e-3, 2e-4))}  # fmt: skip
# Where D can no longer tell, and G has won: the two losses of the game, without penalties.
EQUILIBRIA = {
    "minimax": (math.log(4), -math.log(2)), "non-saturating": (math.log(4), math.log(2)),
    "maximum-likelihood": (math.log(4), -1.0), "dragan": (math.log(4), -math.log(2)),
    "wasserstein": (0.0, None), "wasserstein-gp": (0.0, None), "least-squares": (0.5, 0.25), "began": (None, None),
}  # fmt: skip


def main(*, loss="non-saturating", data="ring8", steps=STEPS, table=0, robust=False, device="cpu", seed=0, quick=False,
         out="runs_out/gan2d", resume=None):  # fmt: skip
    """Train a GAN on points of the plane and draw how it went.

    loss: one of minimax, non-saturating, maximum-likelihood, wasserstein, wasserstein-gp, least-squares, dragan, began;
    data: ring8, grid25 or gmm4; steps: turns; table: seeds of every loss for the table (0: no table); robust: S1's
    four methods on six architectures; quick: 2500 turns at most, and fewer pictures
    """
    run = open_run(locals())
    steps = min(steps, 2500) if quick else steps
    with blas_threads(1):
        gan, mix = trained(run, loss, data, steps, device=device, seed=seed)
        scores = dict(zip(("modes", "quality"), judged(gan, mix), strict=True))
        print(f"{loss} on {data}: {scores['modes']} of {len(mix.modes)} modes, {scores['quality']:.0%} of the samples "
              f"within three standard deviations (data: {math.exp(-4.5):.1%} are not)")  # fmt: skip
        gan.replay.write(run.folder / "replay.html")
        run.save_figure("samples.png", film(gan, mix, data, loss))
        run.save_figure("curves.png", curves(read_metrics(run.folder / "metrics.csv"), loss, len(mix.modes)))
        if not quick:
            run.save_figure("dirac.png", dirac_fields())
            found = two_densities(Run(quiet=True), device=device, seed=seed)
            scores |= {name: found[name] for name in ("gap of D", "gap of v")}
            run.save_figure("optimum.png", optimum(found))
        if table:
            cells = {name: seeds_of(run, name, data, steps, table) for name in LOSSES}
            print(as_text(cells))
            run.save_figure("table.png", as_picture(cells, mix))
        if robust:
            run.save_figure("robust.png", robustness(run, data, steps // 3))
    print(f"pictures in {run.folder}")
    return scores


# ---- training -------------------------------------------------------------------------------------------


def made(loss, steps, rng, players=None):
    """A GAN of the plane with the settings of its loss, or with other networks: a function of rng that gives both."""
    if loss not in LOSSES:
        raise ValueError(f"--loss is {loss!r}; {', '.join(LOSSES)} are there")
    if players:
        G, D = players(rng)
    else:
        G = nets.generator(2, 2, rng=rng)
        D = nets.autoencoder(2, depth=2, rng=rng) if loss == "began" else nets.discriminator(2, rng=rng)
    return GAN(G, D, LOSSES[loss](**OPTIONS.get(loss, {})), prior=normal(2, 2.0), rng=rng,
               **{"lr": 2e-3, "schedule": optim.schedules.Cosine(steps), **SETTINGS.get(loss, {})})  # fmt: skip


class Film:
    """A few frames of a run, kept with the model when it is saved: samples (n, 2) and what D says of a lattice."""

    def __init__(self, steps, frames=7):
        self.due = {0, *np.geomspace(max(steps // 100, 1), steps, frames).astype(int).tolist()}
        self.frames = {}

    def state_dict(self):
        return {str(step): {"samples": x, "field": field} for step, (x, field) in self.frames.items()}

    def load_state_dict(self, state):
        self.frames = {int(step): (frame["samples"], frame["field"]) for step, frame in state.items()}


def trained(run, loss, data, steps, *, device="cpu", seed=0):
    """A GAN that has played so many turns, with its `film` and `replay`, and the mixture it played on."""
    if data not in BOXES:
        raise ValueError(f"--data is {data!r}; {', '.join(BOXES)} are there")
    mix, x = mixture(data), load(data).train.features
    gan = made(loss, steps, tg.random.Generator(seed, device=device))
    x, z = gan.checked(x), gan.prior(1000, tg.random.Generator(seed + 1, device=device))
    gan.film = Film(steps)
    gan.replay = plot.Replay(
        BOXES[data], steps=steps, title=f"{loss} on {data}", data=load(data).train.features[:300], glide=True,
        ranges={} if critic(gan) else {"discriminator": (0, 0.5, 1)},
        caption="Rings are data, discs are samples. The field is what the discriminator says, arrows are where it "
                "sends the samples, and the mesh is the plane of codes as the generator lays it.")  # fmt: skip
    look(gan, mix, z, 0)
    for step in run.steps(gan, steps):
        run.log(**gan.update(x, BATCH))
        if step in gan.film.due or gan.replay.due(step):
            run.log(**look(gan, mix, z, step))
    return gan, mix


def look(gan, mix, z, step):
    """Keep a frame of the film, of the replay or of both; the score for the log."""
    modes, quality = judged(gan, mix)
    layers = plot.gan_layers(gan.generator, lambda x: opinion(gan, x), z, gan.replay.box,
                        loss=lambda x: len(x) * gan.loss.generator(gan.discriminator, x))  # fmt: skip
    if step in gan.film.due:
        gan.film.frames[step] = (layers["points"]["samples"], layers["fields"]["discriminator"])
    if gan.replay.due(step):
        layers["points"] = {"samples": layers["points"]["samples"][:250]}
        gan.replay.record(step, **layers, scalars={"modes": modes, "quality": quality})
    return {"modes": modes, "quality": quality}


def critic(gan):
    """Whether D gives scores or errors, and not logits."""
    return isinstance(gan.loss, LOSSES["wasserstein"] | LOSSES["wasserstein-gp"] | LOSSES["began"])


def opinion(gan, x):
    """What D says of points (n, 2), the larger the more real they look: a probability, a score, or minus an error."""
    y = gan.discriminator(x)
    if isinstance(gan.loss, LOSSES["began"]):
        return -tg.mean(tg.abs(x - y), axis=-1)
    return y if critic(gan) or isinstance(gan.loss, LOSSES["least-squares"]) else tg.sigmoid(y)


def judged(gan, mix, samples=2500):
    """How many modes have a tenth of their share of so many samples, and what share of all is near a mode."""
    x = gan.sample(samples, rng=tg.random.Generator(7, device=gan.rng.device))  # always the same codes
    return modes_covered(x, mix.modes, mix.std, at_least=samples // (10 * len(mix.modes)))


def cell(run, name, loss, data, steps, seed, players=None):
    """One training of a table, a part of the run: modes, quality, seconds. What is finished is read again."""
    part = run.part(name)
    done = part.folder and part.folder / "score.json"
    if done and done.exists():
        return json.loads(done.read_text())
    gan, start = made(loss, steps, tg.random.Generator(seed), players), time.process_time()
    x, part.quiet = gan.checked(load(data).train.features), True
    for _ in part.steps(gan, steps):
        gan.update(x, BATCH)
    modes, quality = judged(gan, mixture(data))
    score = {"modes": modes, "quality": quality, "seconds": round(time.process_time() - start, 1),
             "sample": gan.sample(500, rng=tg.random.Generator(7)).tolist()}  # fmt: skip
    if done:
        with atomically(done) as temporary:
            temporary.write_text(json.dumps(score))
    return score


def seeds_of(run, loss, data, steps, seeds):
    """A loss's part of the table, seed by seed."""
    return [cell(run, f"table/{loss}-{seed}", loss, data, steps, seed) for seed in range(seeds)]


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    values = {}
    with blas_threads(1):
        for claim in claims:
            if claim.startswith("S1"):
                found = architectures_of(run, "wasserstein-gp", "ring8", STEPS // 3)
                values[claim] = float(sum(c["modes"] == 8 for c in found))
            elif claim.startswith("ring8"):
                loss = claim.removeprefix("ring8, ").partition(":")[0]
                score = "quality" if "share" in claim else "modes"
                values[claim] = [c[score] for c in seeds_of(run, loss, "ring8", STEPS, 5)]
            else:
                values[claim] = two_densities(Run(quiet=True))["gap of D" if "D*" in claim else "gap of v"]
    return values


def tiny(rng):
    """A very small model and what to fit it to."""
    (draws,) = rng.spawn(1)
    G, D = nets.generator(2, 2, hidden=4, rng=rng), nets.discriminator(2, hidden=4, rng=rng)
    return GAN(G, D, prior=normal(2), rng=rng), draws.normal((30, 2))


def loss(rng):
    """What a small discriminator minimises under a penalty, for `python -m tinygen explain gan2d`."""
    D, game = nets.discriminator(2, hidden=3, activation=nn.Tanh, rng=rng), LOSSES["wasserstein-gp"]()
    return game.discriminator(D, rng.normal((4, 2)), rng.normal((4, 2)), rng)


# ---- two known densities --------------------------------------------------------------------------------


def two_densities(run, *, steps=2000, device="cpu", seed=0):
    """A discriminator trained to the end against a generator that stands still, beside the best there is."""
    P = Mixture([0.6, 0.4], [[-1.5], [1.5]], [[[0.36]], [[0.49]]])
    Q = Mixture([1.0], [[0.0]], [[[2.25]]])
    rng = tg.random.Generator(seed, device=device)
    G, D = nn.Linear(1, 1, rng=rng), nets.discriminator(1, hidden=32, activation=nn.SiLU, rng=rng)
    G.weight.assign([[1.5]])
    G.bias.assign([0.0])
    gan = GAN(G, D, "minimax", prior=normal(1), lr=1e-2, optimizer=optim.Adam,
              schedule=optim.schedules.Cosine(steps), rng=rng)  # fmt: skip
    x, values = gan.checked(P.sample(500_000, tg.random.Generator(seed + 1))), []
    for _ in run.steps(gan, steps):
        values.append(gan.discriminator_step(gan.batch(x, 1024), gan.noise(1024))["loss_d"].item())
        gan.schedule_d.step()
    at = np.linspace(-6, 6, 2401)
    p, q = (np.exp(law.log_density(at[:, None])) for law in (P, Q))
    with tg.no_grad():
        D = tg.sigmoid(gan.discriminator(gan.checked(at[:, None]))).numpy()[:, 0].astype(float)
    D_best, w, seen = theory.best_discriminator(p, q), at[1] - at[0], (p + q) / 2
    seen = seen >= np.sort(seen)[np.searchsorted(np.cumsum(np.sort(seen)) * w, 0.01)]  # 99 % of the mass
    v, v_best = theory.value(p, q, D, w), theory.best_value(p, q, w)
    return {"x": at, "p": p, "q": q, "D": D, "D*": D_best, "seen": seen, "values": -np.array(values), "C": v_best,
            "gap of D": float(abs(D - D_best)[seen].max()), "gap of v": abs(v - v_best)}  # fmt: skip


# ---- pictures -------------------------------------------------------------------------------------------


def panels(rows, columns, width, height, **options):
    """A figure of so many axes, each so many inches."""
    made = plot.figure(columns * width, rows * height)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def film(gan, mix, data, loss):
    """Samples on what D says, from the first turn to the last: red is real to it, blue is made."""
    frames = sorted(gan.film.frames.items())
    made, axes = panels(2, -(-len(frames) // 2), 2.9, 3.0)
    box = BOXES[data]
    for ax, (step, (x, field)) in zip(axes.flat, frames, strict=False):
        ends = (float(field.min()), float(field.max())) if critic(gan) else (0, 1)
        ax.imshow(field, extent=box, origin="lower", cmap="coolwarm", alpha=0.6, vmin=ends[0], vmax=ends[1],
                  interpolation="bilinear")  # fmt: skip
        ax.scatter(*mix.modes.T, s=50, facecolors="none", edgecolors="black", linewidths=0.7)
        ax.scatter(*x.T, s=2, color="black", alpha=0.35, linewidths=0)
        ax.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[], title=f"turn {step}")
    for ax in axes.flat[len(frames) :]:
        ax.set_axis_off()
    made.suptitle(f"{loss} on {data}: samples (dots), modes (circles), and what the discriminator takes for real (red)")
    return made


def smooth(values, width):
    """A running mean over so many values, at the middle of each window."""
    return np.convolve(values, np.ones(width) / width, "valid")


def curves(metrics, loss, n_modes):
    """The losses, with what they are in equilibrium, and the score."""
    made, ((left, right),) = panels(1, 2, 5, 3.6)
    step = np.array(metrics["step"])
    width = max(1, len(step) // 50)
    at = step[width // 2 :][: len(step) - width + 1]
    for name, label, color, level in zip(("loss_d", "loss_g"), ("$L_D$", "$L_G$"), ("C0", "C1"), EQUILIBRIA[loss],
                                         strict=True):  # fmt: skip
        values = np.array(metrics[name])
        left.plot(step, values, color=color, linewidth=0.3, alpha=0.3)
        left.plot(at, smooth(values, width), color=color, label=label)
        if level is not None:
            left.axhline(level, color=color, linestyle="--", linewidth=1, label=f"{label} in equilibrium: {level:.3f}")
    low, high = np.percentile(np.concatenate([metrics["loss_d"], metrics["loss_g"]]), [1, 99])
    left.set(xlabel="turn", title=f"{loss}: losses", ylim=(low - 0.2 * (high - low), high + 0.2 * (high - low)))
    left.legend(fontsize=8)
    known = np.isfinite(metrics["modes"])
    right.semilogx(step[known], np.array(metrics["modes"])[known], "o-", markersize=3, label="modes")
    right.axhline(n_modes, color="grey", linestyle=":")
    right.set(xlabel="turn", ylabel="modes", ylim=(0, n_modes * 1.08), title="What the samples cover")
    share = right.twinx()
    share.plot(step[known], np.array(metrics["quality"])[known], "s-", color="C2", markersize=3)
    share.set(ylim=(0, 1.08), ylabel="share of good samples")
    share.yaxis.label.set_color("C2")
    right.yaxis.label.set_color("C0")
    return made


DIRAC = {"wasserstein": dict(clip=1.0), "wasserstein-gp": dict(weight=0.3), "dragan": dict(weight=0.3),
         "began": dict(rate=0.05)}  # fmt: skip


def dirac_fields(turns=250, lr=0.1, cells=13):
    """The Dirac-GAN of each loss: which way both players are driven, and where they come by steps."""
    made, axes = panels(2, 4, 3.1, 3.2, sharex=True, sharey=True)
    ticks = np.linspace(-2, 2, cells)
    for ax, name in zip(axes.flat, LOSSES, strict=True):

        def game(theta, psi, name=name, **options):
            return theory.dirac(LOSSES[name](**DIRAC.get(name, {})), theta, psi, lr=lr, **options)

        field = np.array([[theory.dirac_field(game(t, s)) for t in ticks] for s in ticks])  # (psi, theta, 2)
        length = np.linalg.norm(field, axis=-1, keepdims=True)
        arrows = field / np.maximum(length, 1e-12)
        ax.quiver(ticks, ticks, *arrows.transpose(2, 0, 1), length[..., 0] ** 0.5, cmap="Greys", angles="xy", scale=18,
                  width=0.006, clim=(-0.5, 2))  # fmt: skip
        for simultaneous, color, label in ((True, "C3", "both at once"), (False, "C0", "in turns")):
            with np.errstate(over="ignore", invalid="ignore"):
                path = theory.dirac_path(game(1.2, 0.0, simultaneous=simultaneous), turns)
            ax.plot(*path.T, color=color, linewidth=1, label=label)
            ax.plot(*path[-1], "o", color=color, markersize=5)
        ax.plot(1.2, 0, "ko", markersize=4)
        ax.plot(0, 0, "k+", markersize=12, markeredgewidth=1.5)
        ax.set(xlim=(-2, 2), ylim=(-2, 2), title=name, aspect="equal")
    axes[0, 0].legend(fontsize=8, loc="upper right")
    made.supxlabel(r"$\theta$: where the generator's point is (the data's is at 0)")
    made.supylabel(r"$\psi$: the discriminator's slope (began: its memory)")
    made.suptitle(f"The smallest GAN, loss by loss: {turns} gradient steps from the black dot; equilibrium: the cross")
    return made


def optimum(found):
    """D between two known densities, the value it has reached, and what the generator would gain by moving."""
    made, ((left, middle, right),) = panels(1, 3, 4.6, 3.7)
    x = found["x"]
    left.fill_between(x, found["p"], alpha=0.3, label="$p$, the data")
    left.fill_between(x, found["q"], alpha=0.3, label="$q$, the generator")
    left.plot(x, found["D*"], "k", linewidth=3, alpha=0.3, label="$D^* = p / (p + q)$")
    left.plot(x, found["D"], "C3--", linewidth=1.2, label="$D$, trained")
    left.axvspan(*x[found["seen"]][[0, -1]], color="grey", alpha=0.08)
    left.set(xlabel="$x$", ylim=(0, 1), title=f"The best discriminator, missed by {found['gap of D']:.3f}")
    left.legend(fontsize=8, loc="upper left")
    width = max(1, len(found["values"]) // 100)
    middle.plot(found["values"], color="C0", alpha=0.2, linewidth=0.5)
    middle.plot(np.arange(len(found["values"]) - width + 1) + width // 2, smooth(found["values"], width), color="C0",
                label="$v$ on minibatches")  # fmt: skip
    middle.axhline(found["C"], color="k", linestyle="--", label=r"$-\log 4 + 2\,\mathrm{JSD}(p, q)$")
    middle.axhline(-math.log(4), color="grey", linestyle=":", label=r"$-\log 4$: $D = 1/2$")
    middle.set(xlabel="step of $D$", title="Its value", ylim=(-1.45, found["C"] + 0.12))
    middle.legend(fontsize=8)
    shift, at = np.linspace(-8, 8, 161), np.linspace(-16, 16, 3201)
    w, normal_at = at[1] - at[0], lambda m, s: np.exp(-(((at - m) / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))
    for s in (1.0, 0.3):
        right.plot(shift, [theory.best_value(normal_at(0, s), normal_at(m, s), w) for m in shift],
                   label=f"both of width {s}")  # fmt: skip
    right.axhline(-math.log(4), color="grey", linestyle=":")
    right.annotate(r"$-\log 4$", (-8, -math.log(4) + 0.03), color="grey")
    right.set(xlabel="how far $q$ is from $p$", title="$C(q)$: a pit, and plains without a slope")
    right.legend(fontsize=8)
    return made


def as_text(table):
    """The table in plain text: for each loss the modes of each seed, and medians."""
    lines = [f"{'loss':20s} modes by seed{'':8s} median  good samples  seconds"]
    for name, cells in table.items():
        modes, quality, seconds = ([c[key] for c in cells] for key in ("modes", "quality", "seconds"))
        lines.append(f"{name:20s} {' '.join(f'{m:2d}' for m in modes):21s} {np.median(modes):6.0f}  "
                     f"{np.median(quality):12.0%}  {np.median(seconds):7.1f}")  # fmt: skip
    return "\n".join(lines)


def as_picture(table, mix):
    """The same as samples: a row for each seed, a column for each loss, framed by how many modes there are."""
    seeds = len(next(iter(table.values())))
    made, axes = panels(seeds, len(table), 1.7, 1.75)
    for column, (name, cells) in zip(axes.T, table.items(), strict=True):
        for ax, found in zip(column, cells, strict=True):
            thumbnail(ax, found, mix)
        seconds = np.median([c["seconds"] for c in cells])
        column[0].set_title(f"{name}\n{seconds:.0f} s\n{column[0].get_title()}", fontsize=9)
    made.suptitle("Samples after training, a row for each seed: modes covered, share of good samples, median seconds")
    return made


def thumbnail(ax, found, mix):
    """A cell's samples, small; in green if no mode is missing, in red if half of them are."""
    x, n_modes, reach = np.array(found["sample"]), len(mix.modes), 1.3 * abs(mix.modes).max()
    ax.scatter(*mix.modes.T, s=25, facecolors="none", edgecolors="grey", linewidths=0.5)
    ax.scatter(*x.T, s=1.5, color="black", alpha=0.5, linewidths=0)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    ax.set_title(f"{found['modes']} · {found['quality']:.0%}", fontsize=9, pad=2)
    color = "#2a9d3a" if found["modes"] == n_modes else "#e0a020" if found["modes"] > n_modes / 2 else "#c0392b"
    for spine in ax.spines.values():
        spine.set(color=color, linewidth=2)


# ---- S1's picture of robustness -------------------------------------------------------------------------

METHODS = ("non-saturating", "least-squares", "wasserstein", "wasserstein-gp")
ARCHITECTURES = {  # generator and discriminator, of 2 numbers each
    "baseline:\nnorms in G and D": lambda rng: (nets.mlp([2, 64, 64, 2], norm=nn.BatchNorm1d, rng=rng),
                                                nets.mlp([2, 64, 64, 1], norm=nn.LayerNorm, rng=rng)),
    "no norm in G": lambda rng: (nets.mlp([2, 64, 64, 2], rng=rng),
                                 nets.mlp([2, 64, 64, 1], norm=nn.LayerNorm, rng=rng)),
    "no norm in\neither": lambda rng: (nets.mlp([2, 64, 64, 2], rng=rng), nets.mlp([2, 64, 64, 1], rng=rng)),
    "gates\neverywhere": lambda rng: (nets.mlp([2, 64, 64, 2], gated=True, rng=rng),
                                      nets.mlp([2, 64, 64, 1], gated=True, rng=rng)),
    "tanh\neverywhere": lambda rng: (nets.mlp([2, 64, 64, 2], activation=nn.Tanh, rng=rng),
                                     nets.mlp([2, 64, 64, 1], activation=nn.Tanh, rng=rng)),
    "34 layers\nwith shortcuts": lambda rng: (nets.residual(2, 2, rng=rng), nets.residual(2, 1, rng=rng)),
}  # fmt: skip


def architectures_of(run, loss, data, steps):
    """One method, with one setting, on each architecture."""
    return [cell(run, f"robust/{loss}-{k}", loss, data, steps, 0, players)
            for k, players in enumerate(ARCHITECTURES.values())]  # fmt: skip


def robustness(run, data, steps):
    """Four methods on six architectures (S1, after Gulrajani et al. 2017; at a toy's size)."""
    made, axes = panels(len(METHODS), len(ARCHITECTURES), 1.9, 1.95)
    for row, loss in zip(axes, METHODS, strict=True):
        for ax, found in zip(row, architectures_of(run, loss, data, steps), strict=True):
            thumbnail(ax, found, mixture(data))
        row[0].set_ylabel(loss)
    for ax, name in zip(axes[0], ARCHITECTURES, strict=True):
        ax.set_title(f"{name}\n{ax.get_title()}", fontsize=9)
    made.suptitle("Does a method need its architecture? Modes covered, and the share of good samples")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

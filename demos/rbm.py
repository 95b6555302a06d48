"""A restricted Boltzmann machine learns digits, and its likelihood is measured.

The pictures: what each hidden unit looks for, chains of Gibbs steps from test images and from coin flips, how the free
energy tells digits from noise, images through the hidden units and back. Then, where $Z$ can be summed exactly (20
hidden units; and bars and stripes, images of 16 pixels), what contrastive divergence does to the true likelihood,
and how annealed importance sampling closes in on log Z from both sides as its path gets finer.

The claims hold the estimate against the exact sum, and against what was published for a machine of 500 hidden units.
With `reproduce D1 --full` such machines learn MNIST, by 1, by 3 and by up to 25 Gibbs steps an update, and by
persistent chains; their likelihoods stand beside those that Salakhutdinov and Murray (2008) published. Those of 1 and
of 3 steps stop after three times through the images, which was chosen because the likelihood of the test images falls
afterwards; two more go on, to show it, and end below the bars.
"""

import itertools

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import batch, binarize, load, load_parameters
from tinygen.models.energy import RBM
from tinygen.models.energy import annealed_importance_sampling as ais
from tinygen.models.energy.rbm import free_energy
from tinygen.optim.schedules import Cosine, RobbinsMonro
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("D1",),
    model="energy.rbm:RBM",
    resumes=True,
    claims={
        "|AIS - exact log Z|, 20 hidden units trained on digits (nats)": {
            "published": None, "bar": "<= 0.1", "budget_min": 1},
        "|log Z - 451.28|, published CD-25 machine (nats)": {
            "published": "log Z 451.28", "bar": "<= 0.3", "budget_min": 3},
        "|test log-likelihood + 86.3|, published CD-25 machine (nats)": {
            "published": "-86.34", "bar": "<= 0.3", "budget_min": 3},
        "test log-likelihood, CD-1, 500 hidden, MNIST, stopped after 1,800 updates (nats)": {
            # bars: a tenth below what was published
            "published": "-125.53", "bar": ">= -138.1", "budget_min": 30},
        "test log-likelihood, CD-3, 500 hidden, MNIST, stopped after 1,800 updates (nats)": {
            "published": "-105.50", "bar": ">= -116.05", "budget_min": 30},
        "test log-likelihood, CD-25, 500 hidden, MNIST (nats)": {
            "published": "-86.34", "bar": ">= -94.97", "budget_min": 30},
        "test log-likelihood, persistent CD, 500 hidden, MNIST (nats)": {
            "published": None, "bar": ">= -94.97", "budget_min": 30},
        "CD-1 < CD-3 < CD-25, least gap between their error bars (nats)": {
            "published": None, "bar": "> 0", "budget_min": 30},
        "CD-1, change of the test log-likelihood with four times the updates (nats)": {
            "published": "it may fall (Fischer and Igel 2010)", "bar": "< 0", "budget_min": 30, "verdict": True},
        "CD-3, change of the test log-likelihood with four times the updates (nats)": {
            "published": "it may fall (Fischer and Igel 2010)", "bar": "< 0", "budget_min": 30, "verdict": True},
    },
)  # fmt: skip
SIZES = {"digits": dict(steps=20_000, hidden=100), "mnist": dict(steps=12_000, hidden=500)}
GAPS = "CD-1 < CD-3 < CD-25, least gap between their error bars (nats)"
MORE = "{}, change of the test log-likelihood with four times the updates (nats)"
KINDS = {  # of learning, for the curves
    "CD-1": dict(k=1),
    "CD-5": dict(k=5),
    "PCD": dict(particles=100),
    "PCD, falling rate": dict(particles=100, schedule=RobbinsMonro(p=1.0, a=500.0, b=500.0)),
}
FULL = dict(few=20, chain=1000, path=10_000, digits=10_000, stripes=20_000)  # few: hidden units, for the exact sums
QUICK = dict(few=10, chain=200, path=300, digits=1500, stripes=3000)
EVALUATIONS, CHAINS = 12, 100  # of the likelihood along a curve; of Gibbs steps, in every estimate
UPDATES = {"some": 1800, "long": 7200, "longer": 14_400}  # three, twelve and 24 times through the images
EARLY = f", stopped after {UPDATES['some']:,} updates"


def rising(t):
    """The Gibbs steps of update t in CD-25, more and more as the chains need longer to forget: from 1 to 25."""
    return 1 + round(24 * t / UPDATES["longer"])


TABLE = {  # of learning on MNIST with 500 hidden units
    "CD-1": dict(k=1, updates="some"),
    "CD-3": dict(k=3, updates="some"),
    "CD-25": dict(k=rising, updates="longer"),
    "persistent CD": dict(particles=100, updates="long"),
    "CD-1 for long": dict(k=1, updates="long"),
    "CD-3 for long": dict(k=3, updates="long"),
}


def main(*, data="digits", steps=0, hidden=0, k=1, particles=100, lr=0.05, momentum=0.5, device="cpu", seed=0,
         quick=False, out="runs_out/rbm", resume=None):  # fmt: skip
    """Train a restricted Boltzmann machine, draw what it has learnt, and measure likelihoods.

    data: digits or mnist; steps: minibatches of 100 to learn from, and hidden: units (0: as the data set asks); k:
    Gibbs steps in an update; particles: chains that go on from update to update (0: each starts at the data); quick:
    1500 steps at most, shorter chains, and fewer hidden units where sums are exact
    """
    run = open_run(locals())
    if data not in SIZES:
        raise ValueError(f"--data is {data!r}; {', '.join(SIZES)} are there")
    size = QUICK if quick else FULL
    steps = min(steps or SIZES[data]["steps"], 1500 if quick else 10**9)
    generator, draws = tg.random.Generator(seed, device=device).spawn(2)
    train, test = images(data, seed)
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        rbm = RBM(train.shape[1], hidden or SIZES[data]["hidden"], k=k, particles=particles, lr=lr, momentum=momentum,
                  schedule=Cosine(steps), rng=generator)  # fmt: skip
        rbm.start_at(train).fit(train, steps=steps, resample=data == "mnist", run=run)
        train, test = binarize.fixed(train[:1000], seed), test[:1000]
        scores, _ = judged(rbm, train, test, size["path"], draws)
        scores |= watched(rbm, test, size["chain"], draws)
        draw(run, rbm, train, test, size["chain"], draws)
        x = images("digits")[0]
        small, curves = learnt(x, size["few"], 0.2, size["digits"], seed)
        _, stripes = learnt(bars_and_stripes(), 16, 0.2, size["stripes"], seed)
        run.save_figure("likelihood.png", likelihoods(curves, stripes, size["few"]))
        exact = small.log_z()
        found = {name: approach(small, mean, size["path"], seed) for name, mean in (
            ("from fair coins", None), ("from pixels with the data's means", x.mean(0)))}  # fmt: skip
        run.save_figure("annealing.png", annealing(exact, found, size["few"]))
    last = found["from pixels with the data's means"][-1][1]
    print(f"{size['few']} hidden units: log Z {exact:.3f} exactly, {last.log_z:.3f} ± {last.error:.3f} by annealing")
    print(f"pictures in {run.folder}")
    return scores | {"gap": abs(last.log_z - exact)}


def images(data, seed=0, *, stand_in=True):
    """Rows of pixels to learn from and to judge by: digits black and white; MNIST grey, its test part drawn once."""
    train, test = (part.images.reshape(len(part.images), -1) for part in load(data, stand_in=stand_in))
    return (train, binarize.fixed(test, seed)) if data == "mnist" else tuple(map(binarize.by_threshold, (train, test)))


def judged(rbm, train, test, path, rng):
    """The estimate of log Z, its error, and the mean log-likelihood of test images that follows; and the Estimate."""
    found = ais.log_partition(rbm, chains=CHAINS, temperatures=path, mean=train.mean(0), rng=rng)
    scores = {"log_z": found.log_z, "error": found.error,
              "test": float(rbm.log_prob(test, log_z=found.log_z).mean())}  # fmt: skip
    print("test set, nats an image: {test:.2f}; log Z {log_z:.2f} ± {error:.2f} by annealing".format(**scores))
    return scores, found


def watched(rbm, x, steps, rng):
    """Print what may have gone wrong in learning: dead hidden units, weights or chains that have exploded."""
    found = rbm.diagnose(x, steps=steps, rng=rng)
    print(f"hidden units: {found['dead']} of {rbm.n_hidden} dead ({found['never on']} never on); largest weight "
          f"{found['largest weight']:.2f}; after {steps} Gibbs steps chains lie {found['chains below']:.1f} nats below "
          f"the test images")  # fmt: skip
    return found


def bars_and_stripes(side=4):
    """Every image of whole rows or of whole columns: (2^(side + 1) - 2, pixels)."""
    codes = (np.arange(2**side)[:, None] >> np.arange(side)) & 1
    bars = np.repeat(codes, side, axis=1)
    stripes = np.tile(codes, side)
    return np.unique(np.concatenate([bars, stripes]), axis=0).astype(np.float32)


def learnt(x, hidden, lr, steps, seed):
    """A machine trained by CD-1, and for each kind of learning the steps and the exact mean log-likelihood."""
    models, curves = {}, {}
    for name, options in KINDS.items():
        rbm = RBM(x.shape[1], hidden, lr=lr, rng=tg.random.Generator(seed), **options).start_at(x)
        due, found = set(np.geomspace(min(50, steps), steps, EVALUATIONS).astype(int)), []
        for step in range(1, steps + 1):
            rbm.update(batch(x, rbm.rng, 100) if len(x) > 100 else x)
            if step in due:
                found.append((step, rbm.log_prob(x).mean()))
        models[name], curves[name] = rbm, np.array(found)
    return models["CD-1"], curves


def approach(rbm, mean, path, seed):
    """For finer and finer paths: their steps, the estimate forwards, and the one backwards."""
    rng = tg.random.Generator(seed)
    start, found = rbm.sample_exactly(CHAINS, rng=rng), []
    for n in np.unique(np.geomspace(1, path, 9).astype(int)).tolist():
        ahead = ais.log_partition(rbm, chains=CHAINS, temperatures=n, mean=mean, rng=rng)
        found.append((n, ahead, ais.log_partition(rbm, temperatures=n, mean=mean, start=start, rng=rng)))
    return found


def reproduce(run, claims):
    """The claims of the CARD: a small machine summed exactly, the published one, and four trained on the real MNIST."""
    values = {}
    with blas_threads(1):
        for claim in claims:
            if claim in values:
                continue
            if "20 hidden" in claim:
                values[claim] = small_gaps()
            elif "CD" in claim and "published" not in claim:
                values |= {name: value for name, value in table(run).items() if name in claims}
            else:
                log_z, log_p = published()
                for name, value in {"log Z": abs(log_z - 451.28), "test": abs(log_p + 86.3)}.items():
                    values |= {c: value for c in claims if "published" in c and c.startswith(f"|{name}")}
    return values


def small_gaps():
    """How far annealing is from the exact sum, with 20 hidden units trained on digits: once for each of three seeds."""
    x = images("digits")[0]
    rbm = RBM(x.shape[1], FULL["few"], lr=0.2, rng=tg.random.Generator(0)).start_at(x)
    rbm.fit(x, steps=FULL["digits"], run=Run(quiet=True))
    exact, mean = rbm.log_z(), x.mean(0)
    paths = [dict(temperatures=FULL["path"], mean=mean, rng=tg.random.Generator(seed)) for seed in range(3)]
    found = [ais.log_partition(rbm, chains=CHAINS, **path) for path in paths]
    print(f"20 hidden units: log Z {exact:.3f} exactly; by annealing "
          + ", ".join(f"{e.log_z:.3f} ± {e.error:.3f}" for e in found))  # fmt: skip
    return [abs(e.log_z - exact) for e in found]


def published(path=20_000):
    """Of the published machine, the estimated log Z and the mean log-likelihood of MNIST's test images."""
    parameters = load_parameters("rbm_cd25_500")
    rbm = RBM(784, 500, rng=tg.random.Generator(0))
    for name, value in parameters.items():
        getattr(rbm, name).assign(value)
    train, test = (part.images.reshape(len(part.images), -1) for part in load("mnist", stand_in=False))
    test = (np.random.default_rng(0).random(test.shape) < test).astype(np.float32)  # as the figure's note says
    found = ais.log_partition(rbm, chains=CHAINS, temperatures=path, mean=train.mean(0), rng=tg.random.Generator(1))
    log_p = float(rbm.log_prob(test, log_z=found.log_z).mean())
    low, high = found.interval
    print(f"published machine: log Z {found.log_z:.2f}, three errors {low:.2f} to {high:.2f}, worth "
          f"{found.effective_chains:.0f} of {CHAINS} chains; test log-likelihood {log_p:.2f}")  # fmt: skip
    return found.log_z, log_p


def table(run):
    """The claims about the machines of the TABLE, each trained in a folder of its own and judged by annealing."""
    train, test = images("mnist", stand_in=False)
    found, rows = {}, {}
    for kind, options in TABLE.items():
        rbm = learner(train, run.part(kind), **options)
        print(kind, end=": ")
        scores, estimate = judged(rbm, train, test, FULL["path"] // 2, tg.random.Generator(1))
        watched(rbm, test[:100], FULL["chain"], tg.random.Generator(2))
        found[kind] = scores["test"], [scores["test"] + estimate.log_z - z for z in estimate.interval[::-1]]
        rows[f"{kind}\n{scores['test']:.1f} nats"] = rbm.sample(12, steps=FULL["chain"], rng=tg.random.Generator(3))
    sheet = np.concatenate(list(rows.values())).reshape(-1, 28, 28)
    title = f"Chains from coin flips after {FULL['chain']} Gibbs steps, and the test log-likelihood"
    run.save_figure("machines.png", plot.image_grid(sheet, 12, title=title, row_names=list(rows)))
    ends = [found[kind][1] for kind in ("CD-1", "CD-3", "CD-25")]
    return (
        {
            f"test log-likelihood, {kind}, 500 hidden, MNIST{EARLY if kind in ('CD-1', 'CD-3') else ''} (nats)": log_p
            for kind, (log_p, _) in found.items()
        }
        | {GAPS: min(better[0] - worse[1] for worse, better in itertools.pairwise(ends))}
        | {MORE.format(kind): found[f"{kind} for long"][0] - found[kind][0] for kind in ("CD-1", "CD-3")}
    )


def learner(x, run, *, updates, **options):
    """A machine of 500 hidden units that has learnt images by a rate that falls to 0."""
    n = UPDATES[updates]
    rbm = RBM(x.shape[1], 500, **options, lr=0.1, weight_decay=5e-4, schedule=Cosine(n), rng=tg.random.Generator(0))
    return rbm.start_at(x).fit(x, steps=n, resample=True, run=run)


def tiny(rng):
    """A small machine with everything switched on, and images."""
    model = RBM(6, 4, k=2, particles=5, momentum=0.5, weight_decay=1e-3, schedule=Cosine(20), rng=rng)
    return model, rng.spawn(1)[0].bernoulli(0.5, (20, 6))


def loss(rng):
    """The difference of free energies whose gradient contrastive divergence follows, for `explain rbm`."""
    rbm, x = tiny(rng)
    parameters = rbm.weight, rbm.visible_bias, rbm.hidden_bias
    data, model = (tg.mean(free_energy(tg.tensor(v), *parameters)) for v in (x, rbm.gibbs(x, rng=rng)))
    return data - model


# ---- pictures -------------------------------------------------------------------------------------------


def draw(run, rbm, train, test, steps, rng):
    """The pictures of one machine; chains of so many Gibbs steps."""
    run.save_figure("filters.png", filters(rbm))
    run.save_figure("chains.png", wandering(rbm, test, rng, steps))
    run.save_figure("energies.png", energies(rbm, train, test, rbm.sample(len(test), steps=steps, rng=rng)))
    run.save_figure("reconstructions.png", reconstructions(rbm, test))
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))


def sheet(images, columns, *, gap=1):
    """Square images (n, pixels) in rows of `columns`, side by side with gaps of NaN, and the length of a cell."""
    side, rows = round(images.shape[1] ** 0.5), len(images) // columns
    cell = side + gap
    made = np.full((rows * cell + gap, columns * cell + gap), np.nan)
    for i, image in enumerate(images):
        top, left = (i // columns) * cell + gap, (i % columns) * cell + gap
        made[top : top + side, left : left + side] = image.reshape(side, side)
    return made, cell


def filters(rbm):
    """The weights of the hidden units, strongest first: red where ink speaks for the unit, blue where against it."""
    weights = rbm.weight.numpy().T
    weights = weights[np.argsort(-np.square(weights).sum(1))][:100]
    weights = weights[: len(weights) // 10 * 10] if len(weights) > 10 else weights
    made = plot.figure(8.4, 7.3)
    made.set_layout_engine("constrained")
    axes, bound = made.add_subplot(), np.quantile(np.abs(weights), 0.998)
    picture = axes.imshow(sheet(weights, min(10, len(weights)))[0], cmap="RdBu_r", vmin=-bound, vmax=bound)
    axes.set_axis_off()
    made.suptitle("What each hidden unit looks for: ink that speaks for it (red) and against it (blue)")
    made.colorbar(picture, ax=axes, shrink=0.7, label="weight $W_{ji}$")
    return made


def wandering(rbm, x, rng, steps, chains=12):
    """Chains in rows, from test images and from coin flips; each is shown by the probabilities of its pixels."""
    half = chains // 2
    coins = (np.random.default_rng(0).random((half, x.shape[1])) < 0.5).astype(np.float32)
    v = np.concatenate([x[:half], coins])
    at, seen, done = [0, *np.unique(np.geomspace(1, steps, 12).astype(int)).tolist()], [], 0
    for step in at:
        v, done = rbm.gibbs(v, steps=step - done, rng=rng), step
        seen.append(v if step == 0 else rbm.reconstruct(v))
    columns = np.stack(seen, axis=1).reshape(-1, x.shape[1])  # (chains * times, pixels)
    picture, cell = sheet(columns, len(at))
    made = plot.figure(9, 8.2)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axes.axhline(half * cell, color="C3", linewidth=2)
    axes.set_xticks(cell * (np.arange(len(at)) + 0.5), at)
    middles = [cell * half / 2, cell * half * 3 / 2]
    axes.set_yticks(middles, ["from test images", "from coin flips"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="Gibbs steps")
    axes.spines[:].set_visible(False)
    return made


def energies(rbm, train, test, chains):
    """How the free energy is spread over images learnt from, new ones, the model's own, and noise."""
    r = np.random.default_rng(0)
    shuffled = np.stack([r.permutation(image) for image in test])
    groups = {"learnt from": train, "test": test, "from chains": chains, "test, pixels shuffled": shuffled,
              "coin flips": r.integers(0, 2, test.shape).astype(np.float32)}  # fmt: skip
    free = {name: rbm.free_energy(x) for name, x in groups.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(free.values())), 90)
    made = plot.figure(8, 4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for name, values in free.items():
        axes.hist(values, edges, density=True, histtype="stepfilled" if name == "learnt from" else "step", label=name,
                  alpha=0.35 if name == "learnt from" else 1, linewidth=1.5)  # fmt: skip
    axes.set(xlabel="free energy $F(v)$ (nats): less is more probable", ylabel="density",
             title="Digits lie low, noise lies high")  # fmt: skip
    axes.legend()
    return made


def reconstructions(rbm, x):
    """Test images, each above what its hidden units make of it."""
    rows = [part for i in range(0, 30, 10) for part in (x[i : i + 10], rbm.reconstruct(x[i : i + 10]))]
    side = round(x.shape[1] ** 0.5)
    return plot.image_grid(np.concatenate(rows).reshape(-1, side, side), 10, enlarge=8 if side == 8 else 1)


def likelihoods(digits, stripes, few):
    """The exact log-likelihood while learning, by kind."""
    made = plot.figure(11, 4.2)
    made.set_layout_engine("constrained")
    titles = (f"Digits of 64 pixels, {few} hidden units", "Bars and stripes of 16 pixels, 16 hidden units")
    for axes, curves, title in zip(made.subplots(1, 2), (digits, stripes), titles, strict=True):
        for name, curve in curves.items():
            axes.plot(*curve.T, marker=".", label=name)
        axes.set(xscale="log", xlabel="updates", ylabel="exact mean $\\log p(v)$ (nats)", title=title)
    best = -np.log(len(bars_and_stripes()))
    axes.axhline(best, color="grey", linestyle=":")
    axes.annotate("all 30 images alike, no other", (50, best), xytext=(0, 3), textcoords="offset points", color="grey")
    axes.set_ylim(max(-12, axes.get_ylim()[0]), best + 1)
    made.axes[0].legend(loc="lower right")
    return made


def annealing(exact, found, few):
    """How far the estimates are from the truth, with three standard errors, against the number of steps."""
    made = plot.figure(11, 4.6)
    made.set_layout_engine("constrained")
    panels = made.subplots(1, 2, sharey=True)
    for axes, (title, entries) in zip(panels, found.items(), strict=True):
        for place, name in ((1, "forwards"), (2, "backwards")):
            estimates = [entry[place] for entry in entries]
            off = np.array([e.log_z for e in estimates]) - exact
            ends = np.array([np.abs(np.subtract(e.interval, e.log_z)) for e in estimates]).T
            at = np.array([n for n, *_ in entries]) * (1 + 0.05 * (2 * place - 3))  # beside one another
            axes.errorbar(at, off, np.minimum(ends, 1e3), marker="o", capsize=3, label=name)  # an end may be infinite
        axes.axhline(0, color="black", linewidth=1)
        axes.axhspan(-0.1, 0.1, color="grey", alpha=0.25, label="within 0.1 nats")
        axes.set(xscale="log", xlabel="steps on the path", title=title)
    bound = 1.5 * max(abs(e.log_z - exact) for entries in found.values() for _, *both in entries for e in both)
    ticks = [t for t in (0.1, 1, 10, 100) if t <= bound]
    panels[0].set_yscale("symlog", linthresh=0.1)
    panels[0].set_yticks([-t for t in ticks[::-1]] + [0] + ticks)
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set(ylabel="estimated less exact log Z (nats)", ylim=(-bound, bound))
    panels[1].legend()
    made.suptitle(f"Annealed importance sampling, {CHAINS} chains, {few} hidden units; bars: three standard errors")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

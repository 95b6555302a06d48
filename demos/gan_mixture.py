"""The thesis's experiment with GANs on four Gaussians, every setting of it, five times each (S2 ex. 4.2.1).

Without `--sweeps` the base setting is played: pictures of what the generator draws, and of its distance from the truth.
With it, every setting of figures 4.6 to 4.11 is played too, cheap ones first, and each statement that the text makes
about them is decided: a number is computed from five curves, and the statement holds if it is on the right side of a
bound. Numbers and bounds were written down before the curves were drawn. Statements, numbers and verdicts are in
`statements.md`, `.csv` and `.png`.

Each setting has a folder of its own in `settings/` and is played once: the same command, given `--resume FOLDER`, reads
what is finished and goes on with what is not, where its last checkpoint stands, to the same bits.
"""

import csv
import time

import numpy as np

import tinygen as tg
from tinygen import data, metrics, plot
from tinygen.ledger import Claim
from tinygen.models.gan import mixture as chapter
from tinygen.models.gan.losses import Minimax, NonSaturating
from tinygen.models.gan.mixture import ParallelGAN
from tinygen.runs import Run, blas_threads, open_run
from tinygen.runs.checkpoint import atomically
from tinygen.runs.metrics import read_metrics

# The statements of S2's text, in its order. A verdict has a bound that decides it, and no duty to meet it. "end",
# "reach", "unrest", "height", "relapse" are the chapter's numbers, medians over five members. "uniform" and "one
# Gaussian" are what samples of these laws score: uniform on the histogram's square; Gaussian with the mixture's mean
# and covariance. "Converges" is read as: ends below uniform; "much", "faster", "the same": by a factor of two, where no
# order of settings is meant.
CARD = dict(
    rows=("G3",),
    model="gan.mixture:ParallelGAN",
    resumes=True,
    claims={
        "base setting: end / one Gaussian": {"published": None, "bar": "<= 1", "budget_min": 3},
        "statements of the text decided": {"published": None, "bar": "== 29", "budget_min": 90},
        "4.4a the method approximates the distribution: end / uniform": {
            "published": "stated", "bar": "<= 1", "budget_min": 90, "verdict": True},
        "4.4b not much changes after turn 10k: end of the first 10k / end": {
            "published": "stated", "bar": "<= 2", "budget_min": 90, "verdict": True},
        "4.4c the evolution is not exactly decreasing: relapse after 10k": {
            "published": "stated", "bar": ">= 2", "budget_min": 90, "verdict": True},
        "4.6a every k_D converges: largest end / uniform": {
            "published": "stated", "bar": "<= 1", "budget_min": 90, "verdict": True},
        "4.6b the result is essentially the same, k_D not decisive: largest / smallest end": {
            "published": "stated", "bar": "<= 2", "budget_min": 90, "verdict": True},
        "4.6c some k_D take longer: largest / smallest reach of one Gaussian": {
            "published": "stated", "bar": ">= 2", "budget_min": 90, "verdict": True},
        "4.6d k_D = 2 has the smallest values: its end / smallest other": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.6e k_D = 5 and 10 get down faster than 1 and 2: slowest reach / fastest": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.6f k_D = 10 decreases more steadily: unrest / smallest of 1, 2, 5": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.7a k_G is more delicate than k_D: ratio of their largest / smallest ends": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.7b many steps of G do not converge: end of k_G = 10 / uniform": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.7c many steps of G are very unstable: unrest of k_G = 10 / base": {
            "published": "stated", "bar": ">= 2", "budget_min": 90, "verdict": True},
        "4.8a mixed settings are worse before 5k: smaller height of 2x2, 5x5 / base": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.8b mixed settings converge at the end: larger end / uniform": {
            "published": "stated", "bar": "<= 1", "budget_min": 90, "verdict": True},
        "4.8c mixed settings vary more: smaller unrest / base": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.9a a high learning rate can compromise convergence: larger end of 0.005, 0.01 / uniform": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.9b the batch matters less than the rate: ratio of their largest / smallest ends": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.9c a larger batch converges faster: largest ratio of heights from 64 to 128 to 512": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.9d batch 16 is as wanted after 30k: end / uniform": {
            "published": "stated", "bar": "<= 1", "budget_min": 90, "verdict": True},
        "4.9e batch 16 fluctuates more: unrest / base": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.10a wider is better: largest ratio of ends from 16 to 64 to 512 to 2048": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.10b deeper is worse: smallest ratio of ends from 1 to 2 to 3 to 8 layers": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.10c eight layers can diverge: end / uniform": {
            "published": "stated", "bar": "> 1", "budget_min": 90, "verdict": True},
        "4.10d deep players over-fit: D's gap between its data and fresh data / standard error, 8 layers": {
            "published": "stated", "bar": "> 2", "budget_min": 90, "verdict": True},
        "4.11a a weaker D makes it much harder: end / base": {
            "published": "stated", "bar": ">= 2", "budget_min": 90, "verdict": True},
        "4.11b a weaker G only improves it: end / base": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.11c a deeper D can improve it: end / base": {
            "published": "stated", "bar": "< 1", "budget_min": 90, "verdict": True},
        "4.11d going up log D(G(z)) is equivalent: larger / smaller end": {
            "published": "stated", "bar": "<= 2", "budget_min": 90, "verdict": True},
        "4.11e it has a much stronger gradient early: ratio of G's gradients at turn 1000": {
            "published": "stated", "bar": ">= 2", "budget_min": 90, "verdict": True},
    },
)  # fmt: skip

TURNS = 30_000  # of the base setting; all numbers of turns below are of such a run, and shrink with it
EDGES = np.r_[-np.inf, np.linspace(-8, 8, 41), np.inf]  # of the bins, both ways; what is far away counts too
SAMPLES = 10_000  # in a histogram
ROWS = 100_000  # of data, for each member
SNAPSHOTS = (0, 1000, 2500, 5000, 10_000, 15_000)  # S2's figure 4.5
SETTINGS = {  # name: (turns, what differs from the base setting); the cheap ones first
    "base": (30_000, {}),
    "early": (1000, {}),
    "lr 0.001": (10_000, {"lr": 0.001}),
    "lr 0.005": (10_000, {"lr": 0.005}),
    "lr 0.01": (10_000, {"lr": 0.01}),
    "batch 128": (10_000, {"batch": 128}),
    "one layer 16": (20_000, {"generator": (16,), "discriminator": (16,)}),
    "one layer 64": (20_000, {"generator": (64,), "discriminator": (64,)}),
    "weaker D": (20_000, {"discriminator": (64,)}),
    "weaker G": (20_000, {"generator": (64,)}),
    "deeper D": (20_000, {"discriminator": (64, 32, 16)}),
    "3 layers": (20_000, {"generator": (64, 32, 16), "discriminator": (64, 32, 16)}),
    "batch 16": (30_000, {"batch": 16}),
    "non-saturating": (30_000, {"loss": "non-saturating"}),
    "simultaneous": (30_000, {"simultaneous": True}),
    "k_D 2": (30_000, {"k_d": 2}),
    "k_G 2": (30_000, {"k_g": 2}),
    "batch 512": (10_000, {"batch": 512}),
    "2x2": (30_000, {"k_d": 2, "k_g": 2}),
    "one layer 512": (20_000, {"generator": (512,), "discriminator": (512,)}),
    "k_D 5": (30_000, {"k_d": 5}),
    "k_G 5": (30_000, {"k_g": 5}),
    "8 layers": (20_000, {"generator": (64,) * 8, "discriminator": (64,) * 8}),
    "5x5": (30_000, {"k_d": 5, "k_g": 5}),
    "k_D 10": (30_000, {"k_d": 10}),
    "k_G 10": (30_000, {"k_g": 10}),
    "one layer 2048": (20_000, {"generator": (2048,), "discriminator": (2048,)}),
    "k_D 100": (30_000, {"k_d": 100}),
}
K_D = {"1": "base", "2": "k_D 2", "5": "k_D 5", "10": "k_D 10", "100": "k_D 100"}
K_G = {"1": "base", "2": "k_G 2", "5": "k_G 5", "10": "k_G 10"}
RATES = {"0.0002": "base", "0.001": "lr 0.001", "0.005": "lr 0.005", "0.01": "lr 0.01"}
BATCHES = {"16": "batch 16", "64": "base", "128": "batch 128", "512": "batch 512"}
WIDTHS = {str(w): f"one layer {w}" for w in (16, 64, 512, 2048)}
DEPTHS = {"64": "one layer 64", "64|32": "base", "64|32|16": "3 layers", "8 × 64": "8 layers"}
FIGURES = {  # S2's number: panels (title, turns shown, {label: setting})
    "4.6": [("Steps of D in a turn", 30_000, K_D)],
    "4.7": [("Steps of G in a turn", 30_000, K_G)],
    "4.8": [("Steps of each in a turn", 30_000, {"1 × 1": "base", "2 × 2": "2x2", "5 × 5": "5x5"})],
    "4.9": [("Learning rate", 10_000, RATES), ("Minibatch", 10_000, BATCHES)],
    "4.10": [("Width of one hidden layer", 20_000, WIDTHS), ("Hidden layers", 20_000, DEPTHS)],
    "4.11": [("Unequal players", 20_000, {"G 64|32, D 64|32": "base", "G 64|32, D 64": "weaker D",
                                          "G 64, D 64|32": "weaker G", "G 64|32, D 64|32|16": "deeper D"}),
             ("The remark after figure 4.11", 30_000, {"minimax": "base", "non-saturating": "non-saturating",
                                                       "minimax, both at once": "simultaneous"})],
}  # fmt: skip


def main(*, turns=TURNS, members=5, k_d=1, k_g=1, lr=2e-4, batch=64, generator="64,32", discriminator="64,32",
         loss="minimax", sweeps=False, device="cpu", seed=0, quick=False, out="runs_out/gan_mixture",
         resume=None):  # fmt: skip
    """Play GANs on four Gaussians and draw how near they come.

    turns: of the base setting; members: how many GANs play each setting; k_d, k_g: steps of each player in a turn; lr:
    learning rate; batch: size of a minibatch; generator, discriminator: widths of the hidden layers; loss: minimax or
    non-saturating; sweeps: also every other setting of the thesis, about 75 minutes of one core; quick: one member for
    1200 turns, which are enough with five steps of D in a turn and a rate of 0.001
    """
    run = open_run(locals())
    if quick:
        turns, members, k_d, lr = 1200, 1, 5, 1e-3
    base = {"k_d": k_d, "k_g": k_g, "lr": lr, "batch": batch, "loss": loss, "simultaneous": False,
            "generator": widths(generator), "discriminator": widths(discriminator)}  # fmt: skip
    played = Sweep(run, base, turns=turns, members=members, device=device, seed=seed)
    played.play("base")
    run.save_figure("distribution.png", distribution(played))
    run.save_figure("figure-4.4.png", one_curve(played))
    run.save_figure("figure-4.5.png", snapshots(played))
    scores = {name: played.median(chapter.end, "base") / level for name, level in played.levels.items()}
    print("the base setting ends at " + ", ".join(f"{v:.3g} times {name}" for name, v in scores.items()))
    if sweeps:
        scores |= decided(run, played)
    print(f"pictures in {run.folder}")
    return scores


def reproduce(run, claims):
    """The claims of the CARD: of the base setting alone, or of all settings; goes on with what the folder holds."""
    base = {"k_d": 1, "k_g": 1, "lr": 2e-4, "batch": 64, "loss": "minimax", "simultaneous": False,
            "generator": (64, 32), "discriminator": (64, 32)}  # fmt: skip
    played = Sweep(run, base, turns=TURNS)
    played.play("base")
    ends = chapter.end(*played.curves["base"]) / played.levels["one Gaussian"]
    values = {"base setting: end / one Gaussian": list(ends)}
    if len(claims) > 1:
        values |= decided(run, played)
    return {claim: values[claim] for claim in claims}


def decided(run, played):
    """Play what is not played yet, draw every figure, decide every statement and write down the verdicts."""
    for name in SETTINGS:
        played.play(name)
    for number, panels in FIGURES.items():
        run.save_figure(f"figure-{number}.png", curves(played, panels))
    values = {claim.name: float(STATEMENTS[claim.name.split()[0]](played)) for claim in VERDICTS}
    write_statements(run, values)
    run.save_figure("statements.png", statements(values))
    return values | {"statements of the text decided": sum(np.isfinite(list(values.values())))}


def tiny(rng):
    """Two small GANs side by side, with data for each."""
    model = ParallelGAN(3, 2, members=2, generator=(4,), discriminator=(4,), rng=rng)
    return model, points(data.mixture("gmm4"), 50, rng.spawn(2))


def widths(text):
    """The hidden layers that the command line names, such as "64,32"."""
    return tuple(int(width) for width in text.split(","))


def points(law, n, rngs):
    """Samples of the mixture for each member: (n, s, 2)."""
    host = [tg.random.Generator(rng.state["seed"], stream=rng.state["stream"]) for rng in rngs]
    return np.stack([law.sample(n, rng) for rng in host], axis=1)


# ---- playing --------------------------------------------------------------------------------------------


class Sweep:
    """The settings played so far: a folder, a curve and a model for each; `played.curves[name]` is (turns, q)."""

    def __init__(self, run, base, *, turns=TURNS, members=5, device="cpu", seed=0):
        self.run, self.base, self.scale, self.members = run, base, turns / TURNS, members
        self.every = max(1, turns // 120)
        self.device, self.seed, self.law, self.curves, self.models = device, seed, data.mixture("gmm4"), {}, {}
        self.x = points(self.law, ROWS, tg.random.Generator(seed, stream=1).spawn(members))
        self.edges = (EDGES, EDGES)
        self.p = metrics.mixture_probabilities(self.law, self.edges)
        self.levels = {"as many real samples": metrics.expected_difference(self.p, SAMPLES),
                       "one Gaussian": metrics.expected_difference(one_gaussian(self.law, self.edges), SAMPLES, self.p),
                       "uniform": metrics.expected_difference(uniform_square(self.p), SAMPLES, self.p)}  # fmt: skip

    def turns(self, n):
        """So many turns of a full run, in this one: whole measurements."""
        return self.every * max(1, round(n * self.scale / self.every))

    def play(self, name):
        """Train a setting, or go on with it, or only read its curve if it is finished."""
        if name in self.curves:
            return
        n, differs = SETTINGS[name]
        n, setting, began = self.turns(n), {**self.base, **differs}, time.monotonic()
        config = {**setting, "turns": n, "members": self.members, "seed": self.seed, "device": self.device}
        run = folder_of(self.run.folder / "settings" / name.replace(" ", "-"), config)
        size = setting.pop("batch")
        rng = tg.random.Generator(self.seed, device=self.device)
        model = ParallelGAN(10, 2, members=self.members, rng=rng, **setting)
        start = list(self.measure(model, 0, run).values())
        with blas_threads(1):
            model.fit(self.x, steps=n, batch_size=size, every=self.every, run=run,
                      measure=lambda model, turn: self.measure(model, turn, run))  # fmt: skip
        log = read_metrics(run.folder / "metrics.csv")
        q = np.array([start, *zip(*[log[f"q{s}"] for s in range(self.members)], strict=True)])
        self.curves[name], self.models[name] = (np.array([0.0, *log["step"]]), q), model
        print(f"{name:15} {n:6} turns, ends at {np.median(chapter.end(*self.curves[name])):.2e}, "
              f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip

    def measure(self, model, turn, run):
        """The quadratic difference of each member; the histograms themselves are kept at S2's snapshots."""
        rng = tg.random.Generator(self.seed, stream=2**62 + turn, device=self.device)
        drawn = np.concatenate([model.sample(1000, rng=rng) for _ in range(SAMPLES // 1000)])  # (n, s, 2)
        found = [metrics.frequencies(drawn[:, s], self.edges) for s in range(self.members)]
        if turn in [self.turns(t) if t else 0 for t in SNAPSHOTS]:
            tg.save(run.folder / f"histogram-{turn}.safetensors", {"frequencies": np.array(found)})
        return {f"q{s}": np.square(f - self.p).sum() for s, f in enumerate(found)}

    def median(self, number, name, *options, first=None):
        """A number of the chapter's for each member's curve, in the first turns or all of them: the median."""
        turns, q = self.curves[name]
        keep = slice(None) if first is None else turns <= self.turns(first)
        return float(np.median(number(turns[keep], q[keep], *options)))

    def spread(self, number, names, *options, first=None):
        """The largest of several settings' numbers, over the smallest."""
        found = [self.median(number, name, *options, first=first) for name in names]
        return max(found) / min(found)


def folder_of(path, config):
    """The run of a setting: a new one, or the one that is there, which must be of the same setting."""
    config = {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}
    if not (path / "config.json").exists():
        return Run(path, config, quiet=True)
    run = Run.resume(path, quiet=True)
    if run.config != config:
        raise ValueError(f"{path} holds another setting, {run.config}; {config} is wanted: give another folder")
    return run


def one_gaussian(law, edges):
    """The bins' masses under the Gaussian that has the mixture's mean and covariance."""
    mean = law.weights @ law.means
    away = law.means - mean
    covariance = np.einsum("k,kij->ij", law.weights, law.covariances + away[:, :, None] * away[:, None, :])
    return metrics.gaussian_probabilities(mean, covariance, edges)


def uniform_square(p):
    """The bins' masses under the uniform law on the square of all bins that are bounded."""
    q = np.zeros_like(p)
    q[1:-1, 1:-1] = 1 / q[1:-1, 1:-1].size
    return q


# ---- deciding -------------------------------------------------------------------------------------------


def chain(r, names, first):
    """The ratios of the ends of neighbouring settings."""
    ends = [r.median(chapter.end, name, first=first) for name in names]
    return [b / a for a, b in zip(ends[:-1], ends[1:], strict=True)]


def against(r, number, name, others, first=None):
    """A number of one setting over that of each other."""
    return [r.median(number, name, first=first) / r.median(number, other, first=first) for other in others]


def over_base(r, number, names, first=None):
    """A number of each setting over that of the base setting."""
    return [against(r, number, name, ["base"], first)[0] for name in names]


def ends_over(r, level, names, first=None):
    """The ends of several settings over a level."""
    return [r.median(chapter.end, name, first=first) / r.levels[level] for name in names]


def reaches(r, names):
    """When several settings first come down to one Gaussian."""
    return [r.median(chapter.reach, name, r.levels["one Gaussian"]) for name in names]


def heights_by_batch(r):
    """The heights' ratios from a minibatch to the next larger one, over the window of figure 4.9."""
    heights = [r.median(chapter.height, BATCHES[size], first=10_000) for size in ("64", "128", "512")]
    return [heights[1] / heights[0], heights[2] / heights[1]]


def batch_and_rate(r):
    """The batch's largest over smallest end, over the rate's, in the window of figure 4.9."""
    batch, rate = (r.spread(chapter.end, names.values(), first=10_000) for names in (BATCHES, RATES))
    return batch / rate


def overfitting(r):
    """How much higher D rates its own data than fresh data, in standard errors of the difference: the median."""
    model, found = r.models["8 layers"], []
    fresh = points(r.law, len(r.x), tg.random.Generator(r.seed, stream=2).spawn(r.members))
    with tg.no_grad():
        own, other = (model.discriminator(model.checked(x[:10_000]).swapaxes(0, 1)).numpy() for x in (r.x, fresh))
    for a, b in zip(own.astype(float), other.astype(float), strict=True):
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        found.append((a.mean() - b.mean()) / error if error else 0.0)  # a D that rates all alike has no gap
    return np.median(found)


def stronger_gradient(r):
    """The norm of G's gradient going up log D, over that going down log(1 - D), early in the game: the median."""
    model, norms = r.models["early"], []
    parameters = list(model.generator.parameters())
    z = tg.random.Generator(r.seed, stream=3, device=r.device).uniform((SAMPLES, model.n_latent))
    for loss in (NonSaturating(), Minimax()):
        pays = chapter.Together(loss, r.members).generator(model.discriminator, model.generator(z))
        squares = [np.square(g.numpy()).sum((1, 2)) for g in tg.grad(pays, parameters)]
        norms.append(np.sqrt(sum(squares)))  # (s,)
    return np.median(norms[0] / norms[1])


STATEMENTS = {
    "4.4a": lambda r: ends_over(r, "uniform", ["base"])[0],
    "4.4b": lambda r: r.median(chapter.end, "base", first=10_000) / r.median(chapter.end, "base"),
    "4.4c": lambda r: r.median(chapter.relapse, "base", r.turns(10_000)),
    "4.6a": lambda r: max(ends_over(r, "uniform", K_D.values())),
    "4.6b": lambda r: r.spread(chapter.end, K_D.values()),
    "4.6c": lambda r: r.spread(chapter.reach, K_D.values(), r.levels["one Gaussian"]),
    "4.6d": lambda r: max(against(r, chapter.end, "k_D 2", [K_D[k] for k in ("1", "5", "10", "100")])),
    "4.6e": lambda r: max(reaches(r, [K_D["5"], K_D["10"]])) / min(reaches(r, [K_D["1"], K_D["2"]])),
    "4.6f": lambda r: max(against(r, chapter.unrest, "k_D 10", [K_D[k] for k in ("1", "2", "5")])),
    "4.7a": lambda r: r.spread(chapter.end, K_G.values()) / r.spread(chapter.end, [K_D[k] for k in K_G]),
    "4.7b": lambda r: ends_over(r, "uniform", ["k_G 10"])[0],
    "4.7c": lambda r: over_base(r, chapter.unrest, ["k_G 10"])[0],
    "4.8a": lambda r: min(over_base(r, chapter.height, ["2x2", "5x5"], 5000)),
    "4.8b": lambda r: max(ends_over(r, "uniform", ["2x2", "5x5"])),
    "4.8c": lambda r: min(over_base(r, chapter.unrest, ["2x2", "5x5"])),
    "4.9a": lambda r: max(ends_over(r, "uniform", ["lr 0.005", "lr 0.01"], 10_000)),
    "4.9b": batch_and_rate,
    "4.9c": lambda r: max(heights_by_batch(r)),
    "4.9d": lambda r: ends_over(r, "uniform", ["batch 16"])[0],
    "4.9e": lambda r: over_base(r, chapter.unrest, ["batch 16"])[0],
    "4.10a": lambda r: max(chain(r, WIDTHS.values(), 20_000)),
    "4.10b": lambda r: min(chain(r, DEPTHS.values(), 20_000)),
    "4.10c": lambda r: ends_over(r, "uniform", ["8 layers"])[0],
    "4.10d": overfitting,
    "4.11a": lambda r: over_base(r, chapter.end, ["weaker D"], 20_000)[0],
    "4.11b": lambda r: over_base(r, chapter.end, ["weaker G"], 20_000)[0],
    "4.11c": lambda r: over_base(r, chapter.end, ["deeper D"], 20_000)[0],
    "4.11d": lambda r: r.spread(chapter.end, ["base", "non-saturating"]),
    "4.11e": stronger_gradient,
}
VERDICTS = [Claim(name, **claim) for name, claim in CARD["claims"].items() if claim.get("verdict")]


def write_statements(run, values):
    """Every statement with its number, what it takes, and whether it holds: printed, and in statements.csv and .md."""
    rows = []
    for claim in VERDICTS:
        label, _, number = claim.name.partition(": ")
        value = values[claim.name]
        rows.append([*label.split(" ", 1), number, f"{value:.3g}", claim.bar, claim.outcome(value)])
    head = ["figure", "the text", "number", "value", "wanted", "verdict"]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    print("\n".join(lines))
    with atomically(run.folder / "statements.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with atomically(run.folder / "statements.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


# ---- pictures -------------------------------------------------------------------------------------------

TRUTH = "#444444"
LINES = {"as many real samples": ":", "one Gaussian": "--", "uniform": "-."}


def panels(columns, width=5.6, height=4.2, rows=1):
    """A figure with so many panels, and their axes in a row."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, np.ravel(made.subplots(rows, columns))


def show_curves(axes, played, curves, first, title):
    """Medians of several settings, with the whole range of their members shaded, on a log scale."""
    for k, (label, name) in enumerate(curves.items()):
        turns, q = played.curves[name]
        turns, q = turns[turns <= played.turns(first)], q[turns <= played.turns(first)]
        axes.fill_between(turns / 1000, q.min(1), q.max(1), color=f"C{k}", alpha=0.15, linewidth=0)
        axes.semilogy(turns / 1000, np.median(q, 1), color=f"C{k}", label=label, linewidth=1.4)
    for name, level in played.levels.items():
        axes.axhline(level, color=TRUTH, linestyle=LINES[name], linewidth=0.9)
        axes.annotate(name, (0, level), (4, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      fontsize=8, color=TRUTH)  # fmt: skip
    axes.set(xlabel="thousand turns", ylabel="quadratic difference", title=title, ylim=(5e-5, 10))
    axes.set_xlim(0, played.turns(first) / 1000)
    axes.legend(loc="upper right", fontsize=9, ncols=2)


def curves(played, parts):
    """One of S2's figures 4.6 to 4.11."""
    made, axes = panels(len(parts))
    for a, (title, first, names) in zip(axes, parts, strict=True):
        show_curves(a, played, names, first, title)
    return made


def one_curve(played):
    """Figure 4.4: the base setting, each member thin."""
    made, (axes,) = panels(1, 6.5)
    show_curves(axes, played, {f"median of {played.members}": "base"}, TURNS, "Distance from the true law")
    turns, q = played.curves["base"]
    axes.semilogy(turns / 1000, q, color="C0", linewidth=0.5, alpha=0.6)
    return made


def histogram(axes, frequencies, title, largest):
    """Frequencies of the bounded bins as a picture, and the lines of equal density of the truth."""
    inner = frequencies[1:-1, 1:-1].T
    axes.imshow(inner, origin="lower", extent=(-8, 8, -8, 8), cmap="Blues", vmin=0, vmax=largest)
    axes.set(title=title, xlim=(-7, 7), ylim=(-7, 6), xticks=(-5, 0, 5), yticks=(-5, 0, 5))


def contours(axes, law, **options):
    """Lines of equal density of the mixture."""
    ticks = np.linspace(-8, 8, 161)
    places = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    density = np.exp(law.log_density(places.reshape(-1, 2))).reshape(161, 161)
    axes.contour(ticks, ticks, density, levels=density.max() * np.array([0.02, 0.1, 0.25, 0.5, 0.75]), **options)


def middle(played):
    """The member whose end is the median."""
    return int(np.argsort(chapter.end(*played.curves["base"]))[played.members // 2])


def distribution(played):
    """Figure 4.3: what the generator draws beside the truth, for the member that ends in the middle."""
    made, (left, right) = panels(2, 5, 4.6)
    s, model = middle(played), played.models["base"]
    drawn = model.sample(200_000, rng=tg.random.Generator(played.seed, stream=4, device=played.device))[:, s]
    turns = int(played.curves["base"][0][-1])
    histogram(left, metrics.frequencies(drawn, played.edges), f"$p_G$ after {turns:,} turns", played.p.max())
    histogram(right, played.p, "$p_X$", played.p.max())
    for axes in (left, right):
        contours(axes, played.law, colors="black", linewidths=0.5)
    return made


def snapshots(played):
    """Figure 4.5: histograms of one member during training, beside the truth's lines."""
    made, axes = panels(3, 3.4, 3.4, rows=2)
    for a, t in zip(axes, SNAPSHOTS, strict=True):
        t = played.turns(t) if t else 0
        kept = tg.load(played.run.folder / "settings" / "base" / f"histogram-{t}.safetensors")
        found = kept["frequencies"][middle(played)]
        q = np.square(found - played.p).sum()
        histogram(a, found, f"turn {t:,}: {q:.1e}", 1.3 * played.p.max())
        contours(a, played.law, colors="black", linewidths=0.4)
    return made


def statements(values):
    """Every statement as a row: its number on the scale of its bound, and its verdict."""
    made = plot.figure(13, 0.31 * len(values) + 1)
    made.set_layout_engine("constrained")
    axes = made.subplots()
    for k, claim in enumerate(VERDICTS):
        bound, value = float(claim.bar.split()[1]), values[claim.name]
        met = claim.met(value)
        shown = np.clip(value / bound, 1e-2, 1e2)
        axes.plot([1, shown], [k, k], color="C2" if met else "C3", linewidth=1)
        axes.plot(shown, k, "o", color="C2" if met else "C3")
        axes.text(1.02, k, f"{value:.3g}  (wanted {claim.bar}): {claim.outcome(value)}", va="center", fontsize=9,
                  color="C2" if met else "C3", transform=axes.get_yaxis_transform())  # fmt: skip
    axes.axvline(1, color=TRUTH, linewidth=0.8)
    axes.set(xscale="log", xlim=(0.8e-2, 1.25e2), ylim=(len(values) - 0.5, -0.5), yticks=range(len(values)),
             yticklabels=[claim.name.partition(": ")[0] for claim in VERDICTS], xlabel="number / bound",
             title="What the text says of figures 4.4 to 4.11")  # fmt: skip
    return made


if __name__ == "__main__":
    from common import command

    command(main)

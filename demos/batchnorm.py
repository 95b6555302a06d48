"""Batch normalisation and dropout on handwritten digits: what each is good for, and one set of statistics against two.

It draws a deep network's score against the learning rate with and without batch normalisation, the size of its signals,
what is learnt from partly wrong labels against the share of absent units, and what a discriminator's unit sees of real
and of fake images when both kinds share their running statistics, and when they do not.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import DropoutNet, NormalisedNet
from tinygen.models.supervised.batch_normalisation import BatchNorm
from tinygen.runs import open_run

CARD = dict(
    rows=("A16",),
    model="supervised.batch_normalisation:NormalisedNet",
    claims={
        "test accuracy, 10 layers, halved weights, best rate: normalised": {"published": None, "bar": ">= 0.95",
                                                                            "budget_min": 3},
        "the same without": {"published": None, "bar": "<= 0.5", "budget_min": 3},
        "test accuracy with 30 % random labels, dropout 0.5 less none": {"published": None, "bar": ">= 0.05",
                                                                        "budget_min": 3},
    },
)  # fmt: skip
RATES, ABSENT = (0.03, 0.1, 0.3, 1.0), (0.0, 0.25, 0.5, 0.75)
KINDS = {"norm": "with batch normalisation", "norm/2": "with it, weights halved at the start",
         "plain": "without", "plain/2": "without, weights halved"}  # fmt: skip
LAYERS, FEW, WRONG, BATCH = 10, 300, 0.3, 60
HELD = 200  # training images, by which a rate is chosen


def main(*, steps=600, device="cpu", seed=0, quick=False, out="runs_out/batchnorm", resume=None):
    """Train twenty networks on the 8 x 8 digits, side by side, and draw what sets them apart.

    steps: minibatches of 60 to learn from; quick: a fifth of the steps
    """
    run = open_run(locals())
    race, (x, taught), scores = trained(run, steps // 5 if quick else steps, device=device, seed=seed)
    report(scores)
    run.save_figure("rates.png", rates(scores))
    run.save_figure("signals.png", signals(x[:200], seed))
    run.save_figure("dropout.png", absent(scores, race, x[:FEW], taught))
    run.save_figure("populations.png", populations(x, tg.random.Generator(seed)))
    print(f"pictures in {run.folder}")
    return scores


def trained(run, steps, *, device="cpu", seed=0):
    """The networks after their race, all training images with the labels of the first few, and the scores.

    A score is on the test images, or, as `held norm@0.1`, on some training images that nobody learns from.
    """
    train, test = data.load("digits")
    x, x_test = (part.images.reshape(len(part.images), -1) for part in (train, test))  # (n, 64)
    y, y_test = train.labels, test.labels
    taught = mistaken(y[:FEW], tg.random.Generator(seed))
    race = Race(seed, device)
    known, few = race.placed(x[:-HELD], y[:-HELD]), race.placed(x[:FEW], taught)
    for _ in run.steps(race, steps):
        run.log(**race.update(known, few))
    scores = {name: net.score(x_test, y_test) for name, net in race.nets.items()}
    held = {f"held {name}": net.score(x[-HELD:], y[-HELD:]) for name, net in race.nets.items()}
    return race, (x, taught), scores | held


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    scores = trained(run, 600)[2]
    values = [best(scores, "norm/2")[1], best(scores, "plain/2")[1], scores["drop@0.5"] - scores["drop@0.0"]]
    return {claim: value for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A small normalised network, with inputs and classes."""
    return NormalisedNet(6, 4, 3, rng=rng), rng.normal((20, 6)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small normalised network, for `python -m tinygen explain batchnorm`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


def mistaken(labels, rng):
    """Labels of which a share of WRONG is replaced by random ones."""
    return np.where(rng.uniform(labels.shape) < WRONG, rng.integers(0, 10, labels.shape), labels)


class Race:
    """Networks that learn side by side: four kinds at each learning rate, and one with each share of absent units.

    Attributes
    ----------
    nets : by name: `norm@0.1`, `plain/2@0.1` (kind, rate), `drop@0.5` (share)
    """

    def __init__(self, seed, device="cpu"):
        self.nets = {}
        for kind in KINDS:
            for rate in RATES:
                self.nets[f"{kind}@{rate}"] = NormalisedNet(
                    64, *[32] * LAYERS, 10, normalise=kind.startswith("norm"), scale=0.5 if "/" in kind else 1.0,
                    lr=rate, rng=tg.random.Generator(seed, device=device),
                )  # fmt: skip
        for p in ABSENT:
            rng = tg.random.Generator(seed, device=device)
            self.nets[f"drop@{p}"] = DropoutNet(64, 64, 64, 10, p=p, p_input=p / 4, lr=5e-3, rng=rng)

    def placed(self, x, y):
        """The data as arrays where the networks are."""
        return self.nets["norm@0.1"].checked(x, y)

    def update(self, known, few):
        """A step of every network on a minibatch, three of those with dropout; some of their losses."""
        losses = {}
        for name, net in self.nets.items():
            for _ in range(3 if name.startswith("drop") else 1):
                with np.errstate(all="ignore"):  # a rate that is too high overflows, and that is to be seen
                    step = net.update(*data.batch(few if name.startswith("drop") else known, net.rng, BATCH))
            losses[name] = step["loss"]
        return {name: losses[f"{name}@0.3"] for name in KINDS} | {"dropout": losses["drop@0.5"]}

    def state_dict(self):
        return {name.replace("/", "-"): net.state_dict() for name, net in self.nets.items()}

    def load_state_dict(self, state):
        for name, net in self.nets.items():
            net.load_state_dict(state[name.replace("/", "-")])


def best(scores, kind):
    """The rate at which networks of a kind score highest on images held back, and their score on the test images."""
    rate = max(RATES, key=lambda r: scores[f"held {kind}@{r}"])
    return rate, scores[f"{kind}@{rate}"]


def report(scores):
    """The figures, a line each."""
    for kind, words in KINDS.items():
        rate, score = best(scores, kind)
        print(f"{LAYERS} hidden layers {words}: {score:.1%} of the test set right at the best rate, {rate}")
    print(f"{FEW} digits, {WRONG:.0%} of the labels random: "
          + ", ".join(f"{scores[f'drop@{p}']:.1%} with dropout {p}" for p in ABSENT))  # fmt: skip


def panel(width=6.5, height=4):
    """A figure with one set of axes."""
    made = plot.figure(width, height)
    made.set_layout_engine("constrained")
    return made, made.add_subplot()


def rates(scores):
    """Scores against the learning rate."""
    made, axes = panel()
    for kind, label in KINDS.items():
        style = dict(color="C0" if kind.startswith("norm") else "C1", linestyle="--" if "/" in kind else "-")
        axes.semilogx(RATES, [scores[f"{kind}@{r}"] for r in RATES], marker="o", label=label, **style)
    axes.axhline(0.1, color="grey", linestyle=":", label="guessing")
    axes.set(xlabel="learning rate", ylabel="right answers, test set", ylim=(0, 1.02),
             title=f"{LAYERS} hidden layers, plain gradient descent")  # fmt: skip
    axes.legend(fontsize=8, loc="center right")
    return made


def signals(x, seed):
    """How much of the signal is left, layer by layer, before training: its spread over images."""
    made, axes = panel()
    for scale, line in ((0.5, "--"), (1.0, "-"), (2.0, ":")):
        for normalise, colour, label in ((True, "C0", "with batch normalisation"), (False, "C1", "without")):
            net = NormalisedNet(64, *[32] * LAYERS, 10, normalise=normalise, scale=scale, rng=tg.random.Generator(seed))
            spread = [float(h.numpy().std(0).mean()) for h in net.hidden(x)]
            label = None if normalise and scale != 1 else label + (" (any weights)" if normalise else f", × {scale:g}")
            axes.semilogy(range(1, LAYERS + 1), spread, color=colour, linestyle=line, marker=".", label=label)
    axes.set(xlabel="hidden layer", ylabel="standard deviation over images",
             title="What reaches a layer, before training, by the weights' scale")  # fmt: skip
    axes.legend(fontsize=8, loc="upper left")
    return made


def absent(scores, race, x, taught):
    """Scores on what was taught, mistakes included, and on the test set, against the share of absent units."""
    made, axes = panel()
    known = [race.nets[f"drop@{p}"].score(x, taught) for p in ABSENT]
    axes.plot(ABSENT, known, color="C1", marker="o", label="as it was taught, mistakes included")
    axes.plot(ABSENT, [scores[f"drop@{p}"] for p in ABSENT], color="C0", marker="o", label="test set")
    axes.axhline(1 - 0.9 * WRONG, color="grey", linestyle=":", label="right labels among those taught")
    axes.set(xlabel="share of absent hidden units $p$", ylabel="answers", xticks=ABSENT,
             title=f"Dropout: {FEW} digits to learn from, {WRONG:.0%} with random labels")  # fmt: skip
    axes.legend(fontsize=8)
    return made


def populations(x, rng):
    """A normalised unit's values for real digits and for fakes after training, by common and by separate statistics."""
    fake = np.asarray(0.5 * x[::-1] + 0.5 * rng.uniform(x.shape), np.float32)  # paler, on grey
    weights = rng.normal((64, 1), 0.05, 0.05)
    values = {"real": x @ weights, "fake": fake @ weights}  # (n, 1)
    made = plot.figure(9, 3.6)
    made.set_layout_engine("constrained")
    cases = [(("all",), "one set for both"), (("real", "fake"), "one set each")]
    for axes, (kinds, title) in zip(made.subplots(1, 2, sharey=True), cases, strict=True):
        norm = BatchNorm(1, populations=kinds)
        for _ in range(200):
            for kind, a in values.items():  # a batch of one kind, then of the other
                norm(data.batch(a, rng, 100), kind if kind in kinds else None)
        norm.eval()
        for kind, a in values.items():
            seen = norm(a, kind if kind in kinds else None).numpy()[:, 0]
            label = f"{kind}: mean {seen.mean():.2f}, s.d. {seen.std():.2f}"
            axes.hist(seen, bins=np.linspace(-4, 4, 60), alpha=0.6, density=True, label=label)
        axes.set(title=f"Running statistics: {title}", xlabel="the unit's value after training")
        axes.legend(fontsize=8)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

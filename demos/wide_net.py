"""A net of 2048 relus learns the letters of notMNIST, and then labels that mean nothing.

It draws the learning curve, how the same net learns right, partly wrong and random labels of some letters by heart, and
a net that is made, without any learning, to give any labels to any letters.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import WideNet
from tinygen.models.supervised import wide_net as chapter
from tinygen.models.supervised.feed_forward import feed_forward
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("A12",),
    model="supervised.wide_net:WideNet",
    claims={
        "test accuracy, notMNIST, 20,000 steps": {"published": "92 % on the full set", "bar": ">= 0.92",
                                                  "budget_min": 10},
        "share of 1,000 random labels learnt by heart": {"published": "all (Zhang et al. 2016)", "bar": ">= 0.99",
                                                         "budget_min": 2},
        "test accuracy with random labels": {"published": None, "bar": "<= 0.15", "budget_min": 2},
    },
)  # fmt: skip
BATCH = 100  # examples in a minibatch, as in S2
FEW = 1000  # letters to learn by heart
LONG = 3000  # steps to do so
SHARES = (0.0, 0.5, 1.0)  # of their labels that are random


def main(*, steps=20_000, width=2048, lr=0.1, device="cpu", seed=0, quick=False, out="runs_out/wide_net", resume=None):
    """Train the net of S2's example, and three on labels of which some are random, and draw what they have learnt.

    steps: minibatches of 100 to learn from; width: of the hidden layer; quick: 200 steps, and 200 letters to learn by
    heart
    """
    run = open_run(locals())
    letters = data.load("notmnist")
    model, train, test = trained(run, letters, 200 if quick else steps, width=width, lr=lr, device=device, seed=seed)
    few, most = (FEW // 5, 150) if quick else (FEW, LONG)
    races = {q: learnt_by_heart(letters, q, few, most, width=width, seed=seed) for q in SHARES}
    scores = {"train": model.score(*train), "test": model.score(*test),
              "by heart": races[1.0]["known"][-1], "random": races[1.0]["test"]}  # fmt: skip
    print("right on {train:.1%} of train, {test:.1%} of test; ".format(**scores)
          + "after as long with {} random labels, it gives {by heart:.1%} of these, and {random:.1%} of test".format(
              few, **scores))  # fmt: skip
    run.save_figure("learning.png", learning(read_metrics(run.folder / "metrics.csv")))
    run.save_figure("by_heart.png", by_heart(races, few))
    run.save_figure("made.png", made(train, seed))
    print(f"pictures in {run.folder}")
    return scores


def pairs(letters):
    """Rows of pixels, and labels: two pairs (x, y)."""
    return [(part.images.reshape(len(part.images), -1), part.labels) for part in letters]


def trained(run, letters, steps, *, width=2048, lr=0.1, device="cpu", seed=0):
    """A net trained on random minibatches, its scores logged now and then, and the data."""
    train, test = pairs(letters)
    model = WideNet(train[0].shape[1], 10, width=width, lr=lr, rng=tg.random.Generator(seed, device=device))
    known, due = model.checked(*train), {*np.geomspace(1, steps, min(40, 2 + steps // 25)).astype(int)}
    with blas_threads(1):
        for step in run.steps(model, steps):
            run.log(**model.update(*data.batch(known, model.rng, BATCH)))
            if step in due:
                run.log(test=model.score(*test), train=model.score(train[0][:2000], train[1][:2000]))
    return model, train, test


def learnt_by_heart(letters, share, few, steps, *, width=2048, seed=0):
    """A net that learns the first few letters with labels of which a share is random.

    Returns `step` and `known`, how many of these labels it gave after so many steps; `test`, its score on new letters
    """
    (x, y), test = pairs(letters)
    x, y = x[:few], chapter.random_labels(y[:few], share, 10, tg.random.Generator(seed))
    model = WideNet(x.shape[1], 10, width=width, rng=tg.random.Generator(seed))
    given, found = model.checked(x, y), {"step": [], "known": []}
    due = {0, *np.geomspace(1, steps, 25).astype(int)}
    with blas_threads(1):
        for step in range(steps + 1):
            if step:
                model.update(*data.batch(given, model.rng, BATCH))
            if step in due:
                found["step"].append(step)
                found["known"].append(model.score(x, y))
    return found | {"test": model.score(*test)}


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; notMNIST's own files are needed."""
    letters, values, names = data.load("notmnist", stand_in=False), {}, list(CARD["claims"])
    if names[0] in claims:
        model, _, test = trained(run, letters, 20_000)
        values[names[0]] = model.score(*test)
    if set(names[1:]) & set(claims):
        race = learnt_by_heart(letters, 1.0, FEW, LONG)
        values |= {names[1]: race["known"][-1], names[2]: race["test"]}
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small net, with inputs and classes."""
    return WideNet(4, 3, width=8, rng=rng), rng.normal((20, 4)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small net, for `python -m tinygen explain wide_net`."""
    model, x, y = tiny(rng)
    return model.loss(x, y)


# ---- pictures ---------------------------------------------------------------------------------------------------


def panel(width=6.5, height=4):
    """A figure with one set of axes."""
    figure = plot.figure(width, height)
    figure.set_layout_engine("constrained")
    return figure, figure.add_subplot()


def learning(metrics):
    """Scores against the number of steps (S2 fig. 3.4)."""
    figure, axes = panel()
    step = np.array(metrics["step"])
    for colour, (name, words) in enumerate({"test": "new letters", "train": "letters it learns from"}.items()):
        values = np.array(metrics[name])
        axes.semilogx(step[np.isfinite(values)], values[np.isfinite(values)], marker=".", color=f"C{colour}",
                      label=words)  # fmt: skip
    axes.axhline(0.92, color="grey", linestyle=":", label="S2, on the full set")
    axes.set(xlabel="steps", ylabel="right answers", ylim=(0.5, 1.01), title="784 pixels, 2048 relus, 10 letters")
    axes.legend(loc="lower right")
    return figure


def by_heart(races, few):
    """How many of the labels shown are known, against the number of steps, and what remains of it on new letters."""
    figure, axes = panel(7.5, 4.2)
    for colour, (q, race) in enumerate(races.items()):
        words = {0.0: "right labels", 1.0: "random labels"}.get(q, f"{q:.0%} of the labels random")
        axes.plot(race["step"], race["known"], marker=".", color=f"C{colour}",
                  label=f"{words}: {race['test']:.0%} of new letters right")  # fmt: skip
    axes.axhline(0.1, color="grey", linestyle=":", label="guessing")
    axes.set(xscale="symlog", xlim=(0, None), ylim=(0, 1.02), xlabel="steps", ylabel="labels known",
             title=f"The same net learns {few} letters with these labels")  # fmt: skip
    axes.legend(fontsize=9, loc="lower right")
    return figure


def made(train, seed, shown=12):
    """Random labels of some letters, and the outputs of the net (3) along its direction."""
    figure, axes = panel(11, 4.4)
    x, rng = train[0][:shown].astype(float), tg.random.Generator(seed)
    y = rng.integers(0, 3, shown)
    hidden, out = chapter.by_heart(x, y, 3, rng)
    a = hidden.W[:, 0]
    t, side = x @ a, round(x.shape[1] ** 0.5)
    line = np.linspace(t.min() - 1, t.max() + 1, 2000)
    outputs = feed_forward(line[:, None] * a / (a @ a), [hidden, out])
    middles = np.linspace(line[0], line[-1], shown + 2)[1:-1]
    half = 0.4 * (middles[1] - middles[0])
    for middle, i in zip(middles, np.argsort(t), strict=True):
        axes.imshow(x[i].reshape(side, side), cmap="gray_r", extent=(middle - half, middle + half, 1.55, 2.15))
        axes.plot([middle, t[i]], [1.52, 1], color=f"C{y[i]}", linewidth=0.8)
        axes.plot(t[i], 1, "o", color=f"C{y[i]}")
    for c in range(3):
        axes.plot(line, outputs[:, c], color=f"C{c}", label=f"output {c}")
    axes.set(xlim=(line[0], line[-1]), ylim=(-0.15, 2.25), aspect="auto", yticks=(0, 1), ylabel="$f(x)$",
             xlabel=r"$a^\top x$, the only thing that the neurons look at",
             title=f"{shown} letters, random labels (colours), and {shown - 1} relus made to give them")  # fmt: skip
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    from common import command

    command(main)

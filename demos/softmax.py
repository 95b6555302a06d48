"""Softmax regression learns the letters of notMNIST, one template a letter, and is looked at from all sides.

It draws the learning curve, the confusion matrix, the templates, what happens when the letters come in alphabetical
order, and (on the sepals of irises) the balance equations and the entropy of other tables that satisfy them.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import SoftmaxRegression
from tinygen.models.supervised import softmax_regression as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, open_run, read_metrics

CARD = dict(
    rows=("A11",),
    model="supervised.softmax_regression:SoftmaxRegression",
    claims={
        "test accuracy, notMNIST": {
            "published": "90.0 % after 100,000 images of the full set",
            "bar": ">= 0.885",
            "budget_min": 1,
        },
        "balance residual, iris sepals": {"published": None, "bar": "<= 1e-4", "budget_min": 1},
    },
)
SIZE = 50  # examples in a minibatch; 2000 of them are the 100,000 images of S2


def main(*, steps=2000, lr=0.05, device="cpu", seed=0, quick=False, out="runs_out/softmax", resume=None):
    """Train a softmax regression on notMNIST (or drawn glyphs in its place) and draw what it has learnt.

    steps: minibatches of 50 to learn from; quick: a fifth of the steps
    """
    run = open_run(locals())
    letters = data.load("notmnist")
    model, train, test = trained(run, letters, steps // 5 if quick else steps, lr=lr, device=device, seed=seed)
    irises = balanced()
    in_order = from_a_to_j(model, train, test, lr)
    scores = {"train": model.score(*train), "test": model.score(*test), "in order": in_order[-1][0],
              "residual": chapter.balance_residual(*irises)}  # fmt: skip
    print("right on {train:.1%} of train, {test:.1%} of test; shown from A to J, on {in order:.1%} of test; "
          "largest gap in the balance equations {residual:.1e}".format(**scores))  # fmt: skip
    run.save_figure("learning.png", learning(read_metrics(run.folder / "metrics.csv")))
    run.save_figure("confusion.png", plot.confusion(model.confusion(*test), letters.classes))
    run.save_figure("templates.png", templates(model, letters.classes))
    run.save_figure("order.png", order(read_metrics(run.folder / "metrics.csv"), in_order, train, letters.classes))
    run.save_figure("balance.png", balance(*irises, seed))
    print(f"pictures in {run.folder}")
    return scores


def trained(run, letters, steps, *, lr=0.05, device="cpu", seed=0):
    """A model trained on random minibatches, its test score logged now and then, and the data: two pairs (x, y)."""
    train, test = ((part.images.reshape(len(part.images), -1), part.labels) for part in letters)
    model = SoftmaxRegression(train[0].shape[1], len(letters.classes), lr=lr, schedule=Cosine(steps),
                              rng=tg.random.Generator(seed, device=device))  # fmt: skip
    known, due = model.checked(*train), set(np.geomspace(1, steps, 80).astype(int))
    for step in run.steps(model, steps):
        run.log(**model.update(*data.batch(known, model.rng, SIZE)))
        if step in due:
            run.log(score=model.score(*test))
    return model, train, test


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; notMNIST's own files are needed for the first."""
    values = {}
    for claim in claims:
        if claim.startswith("test accuracy"):
            model, _, test = trained(run, data.load("notmnist", stand_in=False), 2000)
            values[claim] = model.score(*test)
        else:
            values[claim] = chapter.balance_residual(*balanced())
    return values


def tiny(rng):
    """A small model, with inputs and classes."""
    return SoftmaxRegression(4, 3, rng=rng), rng.normal((20, 4)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small model, for `python -m tinygen explain softmax`."""
    model, x, y = tiny(rng)
    return model.loss(x, y)


def balanced():
    """The best templates for irises by their sepals' length and width (which overlap), and these examples."""
    x, y = data.load("iris").train
    x = x[:, :2].astype(float)
    model = SoftmaxRegression(2, 3, rng=tg.random.Generator(0)).to(dtype="float64").fit_exactly(x, y)
    return model.theta.data, x, y


def from_a_to_j(trained, train, test, lr):
    """The test score and the share of each answer, every four minibatches of letters in alphabetical order."""
    sort = np.argsort(train[1], kind="stable")
    x, y = train[0][sort], train[1][sort]
    model, size = SoftmaxRegression(trained.n_features, trained.n_classes, lr=lr), min(SIZE, len(x) // 50)
    found = []
    for first in range(0, len(x) - 4 * size + 1, 4 * size):
        rows = slice(first, first + 4 * size)
        model.fit(x[rows], y[rows], steps=4, batch_size=size, shuffled=False, run=Run(quiet=True))
        answers = model.predict(test[0])
        found.append((np.mean(answers == test[1]), np.bincount(answers, minlength=model.n_classes) / len(answers)))
    return found


# ---- pictures ---------------------------------------------------------------------------------------------------


def learning(metrics):
    """The score on the test part against the number of images seen (S2 fig. 2.2)."""
    made = plot.figure(6.5, 4)
    made.set_layout_engine("constrained")
    axes, (seen, score) = made.add_subplot(), logged(metrics)
    axes.semilogx(seen, score, marker=".")
    axes.axhline(0.9, color="grey", linestyle=":")
    axes.annotate("S2, on the full set", (seen[0], 0.92), color="grey")
    axes.set(xlabel="images seen", ylabel="right answers on the test part", ylim=(0, 1), title="Learning curve")
    return made


def logged(metrics):
    """Images seen and score, where the score was taken."""
    step, score = np.array(metrics["step"]), np.array(metrics["score"])
    return step[np.isfinite(score)] * SIZE, score[np.isfinite(score)]


def templates(model, classes):
    """The templates: red adds to a letter's score where there is ink, blue takes away."""
    theta = model.theta.numpy()[:, 1:]
    side, bound = int(theta.shape[1] ** 0.5), np.abs(theta).max()
    made = plot.figure(8, 3.7)
    made.set_layout_engine("constrained")
    for axes, template, name in zip(made.subplots(2, 5).flat, theta, classes, strict=True):
        axes.imshow(template.reshape(side, side), cmap="RdBu_r", vmin=-bound, vmax=bound)
        axes.set(title=name)
        axes.set_axis_off()
    made.suptitle("Ink that speaks for a letter (red) and against it (blue)")
    return made


def order(metrics, in_order, train, classes):
    """The learning curves of both orders, and the answers given by the model that is shown A's first."""
    made = plot.figure(11, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    seen = np.linspace(0, len(train[1]), len(in_order) + 1)[1:]
    score, answers = np.array([s for s, _ in in_order]), np.array([a for _, a in in_order])
    left.plot(*logged(metrics), label="in random order")
    left.plot(seen, score, label="from A to J")
    left.set(xlim=(0, len(train[1])), ylim=(0, 1), xlabel="images seen", ylabel="right answers on the test part",
             title="The same letters in two orders")  # fmt: skip
    left.legend(loc="center right")
    right.stackplot(seen, answers.T, labels=classes, colors=[f"C{k}" for k in range(len(classes))])
    for k in np.unique(train[1]):
        right.axvline(np.sum(train[1] < k), color="white", linewidth=0.5)
        right.text(np.sum(train[1] < k) + np.sum(train[1] == k) / 2, 1.01, classes[k], ha="center")
    right.set(xlim=(seen[0], seen[-1]), ylim=(0, 1), xlabel="images seen (letter shown: above)",
              ylabel="share of answers on the test part")  # fmt: skip
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="answer")
    return made


def balance(theta, x, y, seed):
    """Both sides of the balance equations before and after learning, and the entropy along balanced lines."""
    made = plot.figure(11, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    for name, t, marker in (("before learning", 0 * theta, "x"), ("at the optimum", theta, "o")):
        expected, observed = chapter.balance(t, x, y)
        left.plot(observed.ravel(), expected.ravel(), marker, label=name, fillstyle="none")
    left.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    left.set(xlabel="in the labels", ylabel="expected by the model", title="The sums of the balance equations")
    left.legend()
    p, draws = chapter.posterior(theta, x), tg.random.Generator(seed)
    for _ in range(12):
        ends, t = chapter.rivals(p, x, draws.normal(p.shape)), np.linspace(0, 1, 30)
        away = np.array([np.linalg.norm(end - p) for end in ends])
        line = [chapter.entropy(ends[0] * (1 - s) + ends[1] * s) for s in t]
        right.plot(-away[0] * (1 - t) + away[1] * t, line, color="C0", linewidth=0.8)
    right.plot(0, chapter.entropy(p), "o", color="C3", label="softmax regression")
    right.axhline(float(chapter.negative_log_likelihood(theta, x, y)), color="C3", linestyle=":",
                  label="its cross-entropy")  # fmt: skip
    right.set(xlabel="distance along a line of balanced tables", ylabel="entropy (nats)",
              title="Of all balanced tables, the largest entropy")  # fmt: skip
    right.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

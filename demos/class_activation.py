"""A network that is told which digit a cluttered canvas shows, and never where, is asked where it is.

It draws the boxes that it finds beside the true ones, what each place of a canvas adds to each score, and how well its
boxes agree with the true ones, compared with the best box that never looks and with a box around the largest stroke.
"""

import numpy as np

import tinygen as tg
from tinygen import data as sets
from tinygen import plot
from tinygen.models.supervised import ActivationNet
from tinygen.models.supervised import class_activation as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run

CARD = dict(
    rows=("A14",),
    model="supervised.class_activation:ActivationNet",
    claims={
        "mean IoU, MNIST digits on cluttered canvases": {"published": None, "bar": ">= 0.45", "budget_min": 10},
        "the same of the best box that never looks": {"published": None, "bar": "<= 0.3", "budget_min": 1},
        "the same of the box around the largest stroke": {"published": None, "bar": "<= 0.4", "budget_min": 1},
    },
)  # fmt: skip
STEPS = 4800
BATCH, CANVASES = 32, 30_000  # in a minibatch; to learn from
BOXED = 300  # canvases with boxes, to choose theta by
METHODS = {"activation": "class activation, no box learnt from", "stroke": "box around the largest stroke",
           "constant": "best box that never looks"}  # fmt: skip


def main(*, data="mnist", steps=STEPS, device="cpu", seed=0, quick=False, out="runs_out/class_activation",
         resume=None):  # fmt: skip
    """Train on labels alone, and draw where the network sees the digits.

    data: mnist (drawn digits, if its files are not there), fashion, notmnist or digits; steps: minibatches of 32 to
    learn from; quick: the 8 x 8 digits and a twelfth of the steps
    """
    run = open_run(locals())
    name, n = ("digits", steps // 12) if quick else (data, steps)
    train, boxed, test = canvases(name, seed)
    net = trained(run, train, test, n, device=device, seed=seed)
    boxes = {"activation": located(net, boxed, test), "stroke": strokes(test), "constant": never_looking(boxed, test)}
    agreement = {name: chapter.intersection_over_union(b, test[2]) for name, b in boxes.items()}
    scores = {name: float(iou.mean()) for name, iou in agreement.items()} | {"right": net.score(*test[:2])}
    print(
        "{right:.1%} of the digits named rightly; mean IoU with the true boxes {activation:.3f}, of the box around "
        "the largest stroke {stroke:.3f}, of the best box that never looks {constant:.3f}".format(**scores)
    )
    pictures(run, net, test, boxes, agreement)
    print(f"pictures in {run.folder}")
    return scores


def canvases(name, seed=0, *, stand_in=True):
    """Canvases, classes and boxes: to learn from (its boxes are not looked at), to choose theta by, to judge by."""
    parts = [(part.images[:n], part.labels[:n]) for part, n in zip(sets.load(name, stand_in=stand_in),
                                                                   (CANVASES, 1000 + BOXED), strict=True)]  # fmt: skip
    h, rngs = parts[0][0].shape[-1], tg.random.Generator(seed + 100).spawn(2)
    side, scratches = (2 * h, 1) if h >= 28 else (3 * h, 2)
    (x, y, _), (x_rest, y_rest, boxes) = (
        (canvas, labels, box) for (images, labels), rng in zip(parts, rngs, strict=True)
        for canvas, box in [chapter.cluttered(images, side, rng, scratches=scratches)]
    )  # fmt: skip
    n = min(BOXED, len(x_rest) // 3)
    boxed, test = slice(None, n), slice(n, None)
    return (x, y), (x_rest[boxed], y_rest[boxed], boxes[boxed]), (x_rest[test], y_rest[test], boxes[test])


def trained(run, train, test, steps, *, device="cpu", seed=0):
    """A network that has learnt labels; the share of right answers on some test canvases is logged now and then."""
    large = train[0].shape[-1] >= 48
    options = dict(kernels=(16, 32, 32), lr=5e-3) if large else dict(kernels=(16, 32), size=3, lr=1e-2)
    net = ActivationNet(train[0].shape[1:], int(train[1].max()) + 1, **options, schedule=Cosine(steps),
                        rng=tg.random.Generator(seed, device=device))  # fmt: skip
    known, due = net.checked(*train), {*np.linspace(1, steps, 11).astype(int)}
    with blas_threads(1):
        for step in run.steps(net, steps):
            run.log(**net.update(*sets.batch(known, net.rng, BATCH)))
            if step in due:
                run.log(score=net.score(test[0][:200], test[1][:200]))
    return net


def located(net, boxed, test):
    """The boxes of the test canvases by their maps, (n, 4), with the theta that suits the canvases with boxes."""
    net.choose_theta(boxed[0], boxed[2])
    return net.boxes(test[0])


def never_looking(boxed, test):
    """The same box for all, (n, 4): the best for the canvases with boxes."""
    return np.tile(chapter.best_constant_box(boxed[2]), (len(test[0]), 1))


def strokes(test):
    """The box around the largest connected stroke of each canvas, (n, 4)."""
    return np.array([chapter.box_around(chapter.largest_part(x, x > 0.25)) for x in test[0][:, 0]])


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; MNIST's own files are needed."""
    train, boxed, test = canvases("mnist", stand_in=False)
    ways = [lambda: located(trained(run, train, test, STEPS), boxed, test), lambda: never_looking(boxed, test),
            lambda: strokes(test)]  # fmt: skip
    return {claim: float(chapter.intersection_over_union(way(), test[2]).mean())
            for claim, way in zip(CARD["claims"], ways, strict=True) if claim in claims}  # fmt: skip


def tiny(rng):
    """A very small network, with images and classes."""
    net = ActivationNet((1, 8, 6), 3, kernels=(2, 3), size=3, rng=rng)
    return net, rng.spawn(1)[0].uniform((20, 1, 8, 6)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small network, for `python -m tinygen explain class_activation`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


# ---- pictures ---------------------------------------------------------------------------------------------------


def pictures(run, net, test, boxes, agreement):
    """All of them, into the run's folder."""
    run.save_figure("found.png", found(net, test, boxes["activation"], boxes["constant"][0]))
    run.save_figure("evidence.png", evidence(net, test))
    run.save_figure("agreement.png", agreements(agreement))
    run.save_figure("learning.png", plot.curves(run.folder / "metrics.csv"))


def rectangle(axes, box, **style):
    """A box's outline over an image."""
    top, left, bottom, right = np.asarray(box) - 0.5
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], **style)


def found(net, test, boxes, constant, columns=8):
    """The first test canvases with the true and the found boxes, and below the map of the class that was found."""
    x, y, truth = (a[:columns] for a in test)
    maps, answers = net.maps(x), net.predict(x)
    iou = chapter.intersection_over_union(boxes[:columns], truth)
    made = plot.figure(1.6 * columns, 4.3)
    made.set_layout_engine("constrained")
    grid = made.subplots(2, columns)
    for k, (above, below) in enumerate(grid.T):
        for axes in (above, below):
            axes.imshow(x[k, 0], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        rectangle(above, constant, color="0.6", linewidth=0.8, linestyle=":")
        rectangle(above, truth[k], color="C2", linewidth=2)
        for axes in (above, below):
            rectangle(axes, boxes[k], color="C1", linewidth=2)
        below.imshow(maps[k], cmap="inferno", alpha=0.65, vmin=0, vmax=maps[k].max())
        above.set_title(f"a {y[k]}, called {answers[k]}\nIoU {iou[k]:.2f}", fontsize=9)
    made.suptitle("Green: where the digit is. Orange: where the network, taught by labels only, sees it. "
                  "Dotted: the best box that never looks", fontsize=10)  # fmt: skip
    return made


def evidence(net, test, rows=3):
    """Some canvases, and what each of their places adds to the score of each class: red for it, blue against it."""
    x, y, _ = (a[:rows] for a in test)
    classes = range(net.readout.weight.shape[0])
    maps = np.stack([net.maps(x, np.full(rows, c)) for c in classes], 1)  # (rows, classes, h, w)
    chance = np.exp(net.predict_log_proba(x))
    made = plot.figure(1.15 * (len(classes) + 1), 1.45 * rows + 0.3)
    made.set_layout_engine("constrained")
    for k, row in enumerate(made.subplots(rows, len(classes) + 1)):
        bound = np.abs(maps[k]).max()
        row[0].imshow(x[k, 0], cmap="gray", vmin=0, vmax=1)
        for c, axes in zip(classes, row[1:], strict=True):
            axes.imshow(maps[k, c], cmap="RdBu_r", vmin=-bound, vmax=bound)
            axes.set_title(f"{c}: {chance[k, c]:.0%}", fontsize=9, fontweight="bold" if c == y[k] else "normal")
        for axes in row:
            axes.set(xticks=[], yticks=[])
    made.suptitle("What each place adds to the score of each class, $M_c(u)$, and the class's probability", fontsize=10)
    return made


def agreements(agreement):
    """How many of the test canvases' boxes agree with the true ones by at least so much."""
    made = plot.figure(6.5, 4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for name, iou in agreement.items():
        axes.plot(np.sort(iou)[::-1], np.arange(1, len(iou) + 1) / len(iou),
                  label=f"{METHODS[name]}: {iou.mean():.2f} on average")  # fmt: skip
    axes.axvline(0.5, color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="intersection over union", ylabel="share of canvases with at least this", xlim=(0, 1), ylim=(0, 1),
             title="How well boxes agree with the true ones")  # fmt: skip
    axes.legend(fontsize=8)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""A fully visible belief net learns handwritten digits: 784 logistic regressions, each on the pixels before its own.

It draws how the exact likelihood grows, samples as they come pixel by pixel (a film too), the many lower halves that go
with one upper half, the weights, and where in an image the surprises are.
"""

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import batch, binarize, load
from tinygen.models.density import LogisticBeliefNet
from tinygen.models.density import belief_net as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("B6",),
    model="density.belief_net:LogisticBeliefNet",
    claims={
        "test -log P, MNIST made black and white (nats)": {
            "published": "97.45, binarization fixed; 96.58, resampled (an independent run)",
            "bar": "<= 97.5",
            "budget_min": 3,
        }
    },
)
SIZE = 250  # images in a minibatch; 4800 of them are 20 times MNIST


def main(*, steps=4800, lr=0.01, fixed=False, device="cpu", seed=0, quick=False, out="runs_out/belief_net",
         resume=None):  # fmt: skip
    """Train a logistic belief net on MNIST (or enlarged digits in its place) and draw what it has learnt.

    steps: minibatches of 250 to learn from; fixed: train on one black-and-white version of each image, drawn once, and
    not on a new one every time; quick: a tenth of the steps
    """
    run = open_run(locals())
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        net, train, test = trained(run, steps // 10 if quick else steps, lr=lr, fixed=fixed, device=device, seed=seed)
        independent = LogisticBeliefNet(net.n_pixels, rng=tg.random.Generator(seed, device=device)).start_at(train)
        scores = {"test": nll(net, test), "train": nll(net, binarize.fixed(train[:10_000], seed + 1)),
                  "independent": nll(independent, test)}  # fmt: skip
        print("nats an image: test {test:.2f}, train {train:.2f}; pixels independent {independent:.2f}".format(**scores)
              + f"; test {bits(scores['test'], net):.4f} bits a pixel")  # fmt: skip
        pictures(run, net, independent, test, scores, tg.random.Generator(seed + 1, device=device))
    print(f"pictures in {run.folder}")
    return scores


def trained(run, steps, *, lr=0.01, fixed=False, device="cpu", seed=0, stand_in=True):
    """A net trained on grey images, its test score logged now and then; these, and black-and-white test images."""
    train, test = (part.images.reshape(len(part.images), -1) for part in load("mnist", stand_in=stand_in))
    train, test = binarize.fixed(train, seed + 2) if fixed else train, binarize.fixed(test, seed)
    net = LogisticBeliefNet(train.shape[1], lr=lr, schedule=Cosine(steps), rng=tg.random.Generator(seed, device=device))
    known, due = net.start_at(train).checked(train, grey=True), set(np.geomspace(1, steps, 20).astype(int))
    for step in run.steps(net, steps):
        run.log(**net.update(batch(known, net.rng, SIZE), resample=not fixed))
        if step in due:
            run.log(test=nll(net, test))
    return net, train, test


def nll(net, x):
    """The mean of -log P, in nats an image."""
    return -float(net.score_samples(x).mean())


def bits(nats, net):
    """Nats an image as bits a pixel."""
    return nats / np.log(2) / net.n_pixels


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; MNIST's own files are needed.

    Trained on versions drawn anew, judged by one version of the test images that is drawn once.
    """
    with blas_threads(1):
        net, _, test = trained(run, 4800, stand_in=False)
    return {claim: nll(net, test) for claim in claims}


def tiny(rng):
    """A small net, and images of six pixels."""
    return LogisticBeliefNet(6, schedule=Cosine(20), rng=rng), rng.spawn(1)[0].bernoulli(0.5, (20, 6))


def loss(rng):
    """The negative log-likelihood of a small net, for `python -m tinygen explain belief_net`."""
    net, x = tiny(rng)
    return -tg.mean(chapter.log_likelihood(x, net.weight, net.bias))


# ---- pictures ---------------------------------------------------------------------------------------------------


def pictures(run, net, independent, test, scores, rng):
    """All pictures of a net."""
    run.save_figure("learning.png", learning(read_metrics(run.folder / "metrics.csv"), scores, net))
    run.save_figure("drawing.png", drawing(net, rng))
    film(run.folder / "drawing.gif", net, rng)
    run.save_figure("completions.png", completions(net, test, rng))
    run.save_figure("weights.png", weights(net))
    run.save_figure("surprise.png", surprise(net, independent, test))


def learning(metrics, scores, net):
    """The mean -log P of minibatches and of the test images, against the images seen."""
    made = plot.figure(7, 4.2)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    seen, found = np.array(metrics["step"]) * SIZE, np.array(metrics["test"])
    axes.semilogx(seen, metrics["nll"], linewidth=0.5, color="C0", alpha=0.6, label="minibatches, targets grey")
    there = np.isfinite(found)
    axes.semilogx(seen[there], found[there], "o-", color="C3", markersize=4, label="test images, black and white")
    axes.axhline(scores["independent"], color="grey", linestyle=":")
    axes.annotate("independent pixels", (seen[0], scores["independent"]), xytext=(0, 3), textcoords="offset points",
                  color="grey")  # fmt: skip
    axes.set(xlabel="images seen", ylabel="$-\\log P$ (nats an image)", title="The exact likelihood while learning",
             ylim=(0.85 * scores["test"], 1.15 * scores["independent"]))  # fmt: skip
    right = axes.secondary_yaxis("right", functions=(lambda v: bits(v, net), lambda v: v * np.log(2) * net.n_pixels))
    right.set_ylabel("bits a pixel")
    axes.legend()
    return made


def stages(net, n, rng, count):
    """Samples as they come: (count + 1, n, side, side), with NaN for pixels that are still to be drawn."""
    x = net.sample(n, rng=rng).reshape(1, n, -1)
    at = np.linspace(0, net.n_pixels, count + 1).astype(int)
    side = round(net.n_pixels**0.5)
    return np.where(np.arange(net.n_pixels) < at[:, None, None], x, np.nan).reshape(count + 1, n, side, side)


def sheet(images):
    """Images (rows, columns, h, w) in one array, one pixel of 0.5 between them."""
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
    rows, columns, h, w = framed.shape
    return framed.transpose(0, 2, 1, 3).reshape(rows * h, columns * w)


def shown(axes, images, to_come="#2f4b7c"):
    """Draw images (rows, columns, h, w) from black to white; NaN in blue."""
    axes.imshow(sheet(images), cmap=gray(to_come), vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return images.shape[2] + 2  # the length of a cell


def gray(bad):
    """Grey levels, with a colour for NaN."""
    from matplotlib import colormaps

    return colormaps["gray"].with_extremes(bad=bad)


def drawing(net, rng):
    """A few samples in stages, and many at the end."""
    made = plot.figure(10, 8.2)
    made.set_layout_engine("constrained")
    above, below = made.subplots(2, 1, height_ratios=(5, 6))
    cell = shown(above, stages(net, 5, rng, 12).swapaxes(0, 1))
    above.set_xticks(cell * (np.arange(13) + 0.5), [f"{k / 12:.0%}" for k in range(13)])
    above.tick_params(length=0)
    above.set_title("Five samples, pixel by pixel: what is blue is still to be drawn")
    shown(below, stages(net, 90, rng, 1)[1].reshape(6, 15, *(round(net.n_pixels**0.5),) * 2))
    below.set_title("Samples (each an exact draw, none chosen)")
    return made


def film(path, net, rng, frames=28):
    """The same as a film, in which the samples grow from top to bottom."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    made = plot.figure(5, 2.1)
    axes = made.add_axes((0, 0, 1, 1))
    seen = stages(net, 10, rng, frames)
    seen = np.concatenate([seen, seen[-1:].repeat(10, axis=0)])  # stop at the end for a while
    side = seen.shape[-1]

    def frame(k):
        axes.clear()
        shown(axes, seen[k].reshape(2, 5, side, side))

    FuncAnimation(made, frame, frames=len(seen)).save(path, PillowWriter(fps=8), dpi=80)


def completions(net, test, rng, rows=7, columns=9):
    """A test image, its upper half, and lower halves that the net draws for it."""
    known, side = net.n_pixels // 2, round(net.n_pixels**0.5)
    x = test[:rows]
    half = np.where(np.arange(net.n_pixels) < known, x, np.nan)
    drawn = net.complete(x.repeat(columns, axis=0), known, rng=rng).reshape(rows, columns, -1)
    images = np.concatenate([x[:, None], half[:, None], drawn], axis=1).reshape(rows, columns + 2, side, side)
    made = plot.figure(9, 6.2)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    cell = shown(axes, images)
    axes.set_xticks(
        cell * np.array([0.5, 1.5, 2 + columns / 2]),
        ["test\nimage", "given", "exact draws of the lower half, given the upper"],
    )
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    return made


def weights(net):
    """The triangular matrix, and the rows of some pixels as images."""
    W, side = net.weight.numpy(), round(net.n_pixels**0.5)
    made = plot.figure(11.5, 4.7)
    made.set_layout_engine("constrained", hspace=0, h_pad=0.02)
    left, right = made.add_gridspec(1, 2, width_ratios=(1, 1.5))
    matrix, panels = made.add_subplot(left), right.subgridspec(2, 3).subplots()
    bound = np.quantile(np.abs(W[np.tril_indices(len(W), -1)]), 0.98)
    middle = slice(net.n_pixels // 2 - 2 * side, net.n_pixels // 2 + 2 * side)  # four rows of pixels
    extent = (middle.start, middle.stop, middle.stop, middle.start)
    matrix.imshow(np.where(np.tri(len(W), k=-1), W, np.nan)[middle, middle], cmap="RdBu_r", vmin=-bound, vmax=bound,
                  extent=extent)  # fmt: skip
    matrix.set(xlabel="pixel $\\ell$ that is seen", ylabel="pixel $j$ that is predicted", facecolor="0.85",
               title=f"$W$, {4 * side} of its {len(W)} rows and columns\n(grey: no weight)")  # fmt: skip
    spots = [(r, c) for r in (0.4, 0.7) for c in (0.3, 0.5, 0.7)]
    for axes, (r, c) in zip(panels.flat, spots, strict=True):
        row, column = int(r * side), int(c * side)
        j = row * side + column
        field = np.where(np.arange(len(W)) < j, W[j], np.nan).reshape(side, side)
        picture = axes.imshow(field, cmap="RdBu_r", vmin=-bound, vmax=bound)
        axes.plot(column, row, "s", color="black", markersize=4)
        axes.set(xticks=[], yticks=[], facecolor="0.85", title=f"$w_j$, $j$ = {j}")
    made.colorbar(picture, ax=panels, shrink=0.8, label="white here speaks for white at ■ (red), against (blue)")
    return made


def surprise(net, independent, test, examples=6):
    """Where -log P comes from: pixel by pixel, on average and in the least and most probable test images."""
    side = round(net.n_pixels**0.5)
    x = test[:2000]
    found = {name: -chapter.terms(x, chapter.logits(x, m.weight.numpy(), m.bias.numpy()))
             for name, m in (("independent pixels", independent), ("the net", net))}  # fmt: skip
    made = plot.figure(10, 6)
    made.set_layout_engine("constrained")
    upper, lower = made.subfigures(2, 1, height_ratios=(1.35, 1))
    for axes, (name, parts) in zip(upper.subplots(1, 2), found.items(), strict=True):
        picture = axes.imshow(parts.mean(0).reshape(side, side), cmap="magma", vmin=0, vmax=np.log(2))
        axes.set(xticks=[], yticks=[], title=f"{name}: {parts.sum(1).mean():.1f} nats in all")
    upper.colorbar(picture, ax=upper.axes, shrink=0.8, label="mean of $-\\log P(x_j | \\cdot)$ (nats)")
    order = found["the net"].sum(1).argsort()
    chosen = np.concatenate([order[:examples], order[-examples:]])
    for axes, i in zip(lower.subplots(2, 2 * examples).T, chosen, strict=True):
        axes[0].imshow(x[i].reshape(side, side), cmap="gray")
        axes[0].set_title(f"{found['the net'][i].sum():.0f}", fontsize=10)
        axes[1].imshow(found["the net"][i].reshape(side, side), cmap="magma", vmin=0, vmax=3)
        for panel in axes:
            panel.set(xticks=[], yticks=[])
    lower.suptitle("The most and the least probable of 2000 test images (nats above), and where each surprised the net",
                   fontsize=11)  # fmt: skip
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Convolutional autoencoders beside a fully connected one with a code of the same length.

They go down by strides and up by transposed convolutions, or down by pooling and up by repetition; one learns layer
by layer first. The demo prints weights, seconds and errors on test images, and draws reconstructions, learning curves
against steps and against seconds, the kernels of the first layer with what they find in an image, and where
checkerboards come from.
"""

import time

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import batch, load
from tinygen.models.autoencoder import Autoencoder, ConvolutionalAutoencoder, fully_connected
from tinygen.models.autoencoder import convolutional as chapter
from tinygen.nn import functional as F
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("E3",),
    model="autoencoder.convolutional:ConvolutionalAutoencoder",
    resumes=True,
    claims={
        "error on MNIST test images by strides, as a share of the fully connected one's, code of 32": {
            "published": None, "bar": "< 1", "budget_min": 3},
        "error on MNIST test images by pooling, as a share of the fully connected one's, code of 32": {
            "published": None, "bar": "< 1", "budget_min": 3},
    },
)  # fmt: skip
STEPS, CODE, BATCH = 1200, 32, 64
LONGER = 3  # the fully connected one gets so many times the steps, which takes about as long as strides
NAMES = {
    "full": f"fully connected, {LONGER} times the steps",
    "strides": "strides",
    "pooling": "pooling",
    "stacked": "strides, layer by layer first",
}


def main(*, data="mnist", steps=STEPS, code=CODE, device="cpu", seed=0, quick=False,
         out="runs_out/convolutional_autoencoder", resume=None):  # fmt: skip
    """Train four autoencoders with codes of one length, and compare them.

    data: mnist, fashion, notmnist, glyphs or digits; steps: minibatches of 64 to learn from; code: length of the code;
    quick: an eighth of the steps, in which the convolutions do not yet overtake the fully connected one
    """
    run = open_run(locals())
    steps = steps // 8 if quick else steps
    x, test = images(data)
    models, scores, paces = {}, {}, {}
    for kind, name in NAMES.items():
        models[kind] = trained(run.part(kind), kind, x, test, steps, code=code, device=device, seed=seed)
        scores[kind], paces[kind] = error(models[kind], test), pace(kind, x, code=code, device=device)
        weights = sum(p.data.size for p in models[kind].parameters())
        print(f"{name:32s} {weights:8,d} weights  {1000 * paces[kind]:5.1f} ms a step, "
              f"{paces[kind] * lasts(kind, steps):6.1f} s  error {scores[kind]:.3f}")  # fmt: skip
    pictures(run, models, test, paces)
    print(f"pictures in {run.folder}")
    return scores


def images(data, *, stand_in=True, unseen=2000):
    """Images to learn from and to judge by, (n, 1, h, w)."""
    train, test = load(data, stand_in=stand_in)
    return train.images, test.images[:unseen]


def network(kind, shape, steps, *, code, rng):
    """One of the four, before training."""
    options = dict(lr=3e-3, schedule=Cosine(steps), rng=rng)
    if kind == "full":
        n = int(np.prod(shape))
        parts = fully_connected(n, 256, code, rng=rng), fully_connected(code, 256, n, rng=rng)
        return Autoencoder(*parts, n, **{**options, "lr": 2e-3})
    alone = steps // 6 if kind == "stacked" else 0
    way = "pooling" if kind == "pooling" else "strides"
    channels = (8, 16) if way == "pooling" else (16, 32)  # pooling convolves at full size, which is more work
    return ConvolutionalAutoencoder(shape, code, channels=channels, way=way, alone=alone, **options)


def trained(run, kind, x, test, steps, *, code=CODE, device="cpu", seed=0):
    """A trained model; the error on some test images is logged now and then."""
    steps = lasts(kind, steps)
    model = network(kind, x.shape[1:], steps, code=code, rng=tg.random.Generator(seed, device=device))
    known, some = model.checked(x.reshape(len(x), *model.shape)), test[:500]
    due = set(np.geomspace(min(20, steps), steps, 12).astype(int))
    with blas_threads(1):
        for step in run.steps(model, steps):
            run.log(**model.update(batch(known, model.rng, BATCH)))
            if step in due:
                run.log(test=error(model, some))
    return model


def lasts(kind, steps):
    """How many steps a model is given."""
    return steps * LONGER if kind == "full" else steps


def pace(kind, x, *, code=CODE, device="cpu", steps=10):
    """Seconds of processor time that a step of all layers takes, from a few."""
    kind = "strides" if kind == "stacked" else kind
    model = network(kind, x.shape[1:], STEPS, code=code, rng=tg.random.Generator(0, device=device))
    known = model.checked(x.reshape(len(x), *model.shape)[:1000])
    with blas_threads(1):
        model.update(known[:BATCH])  # the first one also makes room
        began = time.process_time()
        for k in range(steps):
            model.update(known[k * BATCH % 512 :][:BATCH])
    return (time.process_time() - began) / steps


def error(model, x):
    """The mean squared error of an image, summed over its pixels."""
    return float(model.errors(x.reshape(len(x), *model.shape)).mean())


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`. Only the real MNIST will do."""
    x, test = images("mnist", stand_in=False)
    kinds = {"full": "full", **{claim: "strides" if "strides" in claim else "pooling" for claim in claims}}
    errors = {name: error(trained(run.part(kind), kind, x, test, STEPS), test) for name, kind in kinds.items()}
    return {claim: errors[claim] / errors["full"] for claim in claims}


def tiny(rng):
    """A very small model whose layers learn alone first, with images."""
    model = ConvolutionalAutoencoder((1, 8, 4), 3, channels=(2, 3), alone=2, rng=rng)
    return model, rng.spawn(1)[0].uniform((20, 1, 8, 4))


def loss(rng):
    """The loss of a small model, for `python -m tinygen explain convolutional_autoencoder`."""
    model, x = tiny(rng)
    return tg.mean(model.reconstruction_loss(tg.tensor(x), model.encoder(tg.tensor(x))))


# ---- pictures -------------------------------------------------------------------------------------------


def pictures(run, models, test, paces):
    """All of them."""
    metrics = {kind: read_metrics(run.folder / kind / "metrics.csv") for kind in models}
    run.save_figure("reconstructions.png", reconstructions(models, test))
    run.save_figure("learning.png", learning(metrics, paces))
    run.save_figure("maps.png", maps(models, test[:1]))
    run.save_figure("checkerboard.png", checkerboard())


def reconstructions(models, test, n=12):
    """Test images, and what each model gives back."""
    x, short = test[:n], {"full": "fully connected", "stacked": "layer by layer"}
    rows = [x, *[model.reconstruct(x.reshape(n, *model.shape)).reshape(x.shape) for model in models.values()]]
    return plot.image_grid(np.concatenate(rows), n, enlarge=4 if x.shape[-1] < 20 else 1,
                           row_names=["test image", *[short.get(kind, kind) for kind in models]],
                           title="What is left of test images after the code")  # fmt: skip


def learning(metrics, paces):
    """The error on test images, against steps and against seconds."""
    made = plot.figure(11, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2, sharey=True)
    for kind, columns in metrics.items():
        test, step = np.array(columns["test"]), np.array(columns["step"])
        told = np.isfinite(test)
        for axes, unit in ((left, 1), (right, paces[kind])):
            axes.loglog(unit * step[told], test[told], "o-", markersize=3, label=NAMES[kind])
    left.set(xlabel="step", ylabel="squared error of a test image")
    right.set(xlabel="seconds of processor time")
    left.legend(fontsize=8)
    made.suptitle("Learning, by the step and by the second")
    return made


def maps(models, x, shown=8):
    """The kernels of the first layer, and what both layers find in an image, for strides and pooling."""
    made = plot.figure(12, 6.6)
    made.set_layout_engine("constrained")
    for part, kind in zip(made.subfigures(2, 1), ("strides", "pooling"), strict=True):
        model, grid = models[kind], part.subplots(3, shown + 1)
        K = next(model.encoder.parameters()).numpy()[:shown, 0]
        rows = [K, *[h[0, :shown] for h in model.maps(x)]]
        part.suptitle(f"{NAMES[kind]}: kernels of the first layer, and what the first and the second layer find")
        for axes, row in zip(grid, rows, strict=True):
            for place, image in zip(axes[1:], row, strict=False):
                signed = row is rows[0]
                place.imshow(image, cmap="RdBu_r" if signed else "viridis", vmax=np.abs(row).max(),
                             vmin=-np.abs(row).max() if signed else 0)  # fmt: skip
        grid[1, 0].imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
        for axes in grid.flat:
            axes.set_axis_off()
    return made


def checkerboard(n=9, seed=0):
    """How many copies of a kernel meet, (5), and what a random kernel makes of maps that are the same everywhere."""
    made = plot.figure(11, 6)
    made.set_layout_engine("constrained")
    top, bottom = made.subplots(2, 3)
    flat, kernel = np.ones((1, 1, n, n)), tg.random.Generator(seed).uniform((1, 1, 4, 4), 0.2, 1, dtype="float64")
    for axes, q in zip(top, (3, 4, 5), strict=False):
        m = chapter.overlaps(n, q)
        picture = axes.imshow(np.outer(m, m), cmap="viridis", vmin=0)
        axes.set_title(f"copies that meet: q = {q}, S = 2", fontsize=10)
        made.colorbar(picture, ax=axes, shrink=0.8)
    ups = {"transposed, q = 3": F.conv_transpose2d(flat, kernel[..., :3, :3], stride=2),
           "transposed, q = 4": F.conv_transpose2d(flat, kernel, stride=2),
           "repeated and convolved, q = 3": F.conv2d(chapter.enlarged(flat), kernel[..., :3, :3])}  # fmt: skip
    for axes, (name, image) in zip(bottom, ups.items(), strict=True):
        axes.imshow(image[0, 0], cmap="gray", vmin=0, vmax=1.3 * image.max())
        axes.set_title(f"random kernel, ones: {name}", fontsize=10)
    for axes in made.axes[:6]:
        axes.set(xticks=[], yticks=[])
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""A convolutional network learns the letters of notMNIST, as S2 built it or with what S2 leaves out.

It draws accuracy and loss on the training and the test part, the kernels of the first layer, what both layers find in
one letter, the confusion matrix, and the mistakes that the network is surest of. S2 does not say where its weights
start; as built, they start here from the law of He et al.

A smaller network of the same kind judges generated images elsewhere: `mnist_classifier()` gives one that has learnt
MNIST, `classifier(name)` one for any other set. Its weights, `mnist-classifier.safetensors`, were made by

    python -m tinygen demo cnn --data mnist --compact --steps 10000
"""

import hashlib
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import data as sets
from tinygen import plot
from tinygen.models.supervised import ConvolutionalNet
from tinygen.models.supervised.softmax_regression import confusion
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("A13",),
    model="supervised.convolutional:ConvolutionalNet",
    resumes=True,
    claims={
        "test accuracy, notMNIST, as built in S2": {"published": "95 % on the full set", "bar": ">= 0.945",
                                                    "budget_min": 40},
        "test accuracy, notMNIST, with dropout, shifts and a falling rate": {"published": "95 % without, up to 98 %",
                                                                             "bar": ">= 0.95", "budget_min": 10},
        "test accuracy, MNIST, the small classifier from its file": {"published": None, "bar": ">= 0.99",
                                                                     "budget_min": 1},
    },
)  # fmt: skip
BATCH = 100  # examples in a minibatch, as in S2
DROPOUT = 0.5  # of what is added to S2's network: beside it shifts, and a rate that falls along half a cosine
COMPACT = dict(kernels=(16, 32), hidden=128)
WEIGHTS = Path(__file__).with_name("mnist-classifier.safetensors")
SHA256 = "93a6dcf0724e903be4b9853188d53a12cbc1aa95464371b0982f906e4ac9b755"


def main(*, data="notmnist", steps=20_000, added=False, compact=False, device="cpu", seed=0, quick=False,
         out="runs_out/cnn", resume=None):  # fmt: skip
    """Train a convolutional network and draw what it has learnt.

    data: notmnist (drawn glyphs, if its files are not there), mnist, fashion, digits or glyphs; steps: minibatches of
    100 to learn from; added: with dropout, small shifts of the images and a falling rate; compact: the same with
    half the shifts, and a tenth of the weights, saved as classifier.safetensors; quick: 400 steps of a compact network
    """
    run = open_run(locals())
    parts = sets.load(data)
    model = trained(run, parts, 400 if quick else steps, added=added, compact=compact, quick=quick, device=device,
                    seed=seed)  # fmt: skip
    if compact:
        save(run.folder / "classifier.safetensors", model)
    x, y = pair(parts.test)
    log_p, classes = model.predict_log_proba(x), parts.classes or tuple(map(str, range(int(y.max()) + 1)))
    scores = {"train": model.score(*pair(parts.train)), "test": float(np.mean(log_p.argmax(1) == y))}
    print("right on {train:.2%} of train, {test:.2%} of test".format(**scores))
    run.save_figure("learning.png", learning(read_metrics(run.folder / "metrics.csv")))
    run.save_figure("kernels.png", kernels(model))
    run.save_figure("maps.png", maps(model, x[:1]))
    run.save_figure("confusion.png", plot.confusion(confusion(y, log_p.argmax(1), len(classes)), classes))
    run.save_figure("mistakes.png", mistakes(x, y, log_p, classes))
    print(f"pictures in {run.folder}")
    return scores


def trained(run, parts, steps, *, added=False, compact=False, quick=False, device="cpu", seed=0):
    """A model trained on random minibatches; accuracy and loss of the test part are logged now and then.

    quick : a compact network in a hurry, which has no time for dropout and shifts
    """
    (x, y), test = (pair(part) for part in parts)
    rng = tg.random.Generator(seed, device=device)
    if quick:
        options = dict(lr=4e-3, schedule=Cosine(steps))
    else:
        shift = max(1, x.shape[-1] // (28 if compact else 14))
        options = dict(p=DROPOUT, shift=shift, schedule=Cosine(steps)) if added or compact else dict(he=True)
    make = small if compact or quick else ConvolutionalNet
    model = make(x.shape[1:], int(y.max()) + 1, **options, rng=rng)
    known, some = model.checked(x, y), (x[:1000], y[:1000])
    due = {1, *np.linspace(0, steps, min(30, steps // 50) + 1).astype(int)[1:], steps}
    with blas_threads(1):
        for step in run.steps(model, steps):
            run.log(**model.update(*sets.batch(known, model.rng, BATCH)))
            if step in due:
                run.log(train=model.score(*some), **judged(model, *test))
    return model


def pair(part):
    """Images and labels of a part; some sets have more."""
    return part.images, part.labels


def judged(model, x, y):
    """Accuracy and loss on the test part."""
    log_p = model.predict_log_proba(x)
    return {"test": np.mean(log_p.argmax(1) == y), "test_loss": -log_p[np.arange(len(y)), y].mean()}


def reproduce(run, claims):
    """The claims of the CARD, from each of three seeds: S2's 20,000 steps as built; 3000 with what is added; the file.

    The real sets are needed.
    """
    values = {}
    for claim in claims:
        parts = sets.load("mnist" if ", MNIST" in claim else "notmnist", stand_in=False)
        if claim.endswith("as built in S2"):
            values[claim] = [trained(run.part(f"as-built-{seed}"), parts, 20_000, seed=seed).score(*parts.test)
                             for seed in range(3)]  # fmt: skip
        elif claim.endswith("from its file"):
            values[claim] = mnist_classifier().score(*parts.test)
        else:
            values[claim] = [trained(run.part(f"added-{seed}"), parts, 3000, added=True, seed=seed).score(*parts.test)
                             for seed in range(3)]  # fmt: skip
    return values


def tiny(rng):
    """A very small network with everything switched on, with images and classes."""
    net = ConvolutionalNet((1, 8, 6), 3, kernels=(2, 3), size=3, hidden=5, p=0.3, shift=1, schedule=Cosine(20), rng=rng)
    return net, rng.spawn(1)[0].uniform((20, 1, 8, 6)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small network, for `python -m tinygen explain cnn`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


# ---- a classifier to judge generated images by --------------------------------------------------------------------


def small(shape, n_classes, **options):
    """A network of about 80,000 weights; on images of 28 x 28 it does without padding."""
    return ConvolutionalNet(shape, n_classes, **COMPACT, padding=0 if shape[-1] >= 28 else 2, **options)


def save(path, model):
    """The model's weights, in half precision."""
    weights = dict(model.named_parameters())
    tg.save(path, {name: p.numpy().astype(np.float16) for name, p in weights.items()})


def mnist_classifier(*, device="cpu"):
    """The small network that has learnt MNIST, from its file: `predict_log_proba(x)`, `features(x)` and the rest."""
    found = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"mnist_classifier: {WEIGHTS} has the SHA-256 sum {found}, not {SHA256}; scores by other "
                         "weights cannot be compared")  # fmt: skip
    model = small((1, 28, 28), 10, rng=tg.random.Generator(0, device=device))
    weights = tg.load(WEIGHTS)
    for name, p in model.named_parameters():
        p.assign(weights[name].astype(np.float32))
    return model.eval()


def classifier(name, *, steps=1000, device="cpu", seed=0):
    """A small network that has learnt the named set: from its file for mnist, else in a minute, on the spot."""
    if name == "mnist":
        return mnist_classifier(device=device)
    return trained(Run(quiet=True), sets.load(name), steps, compact=True, device=device, seed=seed).eval()


# ---- pictures ---------------------------------------------------------------------------------------------------


def learning(metrics):
    """Accuracy and loss against the step (S2 figs. 3.7 and 3.8)."""
    made = plot.figure(11, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    step, columns = np.array(metrics["step"]), {name: np.array(values) for name, values in metrics.items()}
    told = np.isfinite(columns["test"])
    left.plot(step[told], columns["train"][told], color="C1", label="training part (1000 of it)")
    test = columns["test"][told]
    left.plot(step[told], test, color="C0", label=f"test part: {test[-1]:.1%} in the end")
    late = test[step[told] > step[-1] / 10]
    left.set(xlabel="step", ylabel="right answers", ylim=(late.min() - 0.05, 1.003), title="Accuracy")
    left.legend(loc="lower right")
    right.semilogy(step, columns["loss"], color="C1", alpha=0.2, linewidth=0.5)
    right.semilogy(*smoothed(step, columns["loss"]), color="C1", label="training minibatches")
    right.semilogy(step[told], columns["test_loss"][told], color="C0", label="test part")
    right.set(xlabel="step", ylabel="cross-entropy (nats)", title="Loss")
    right.legend(loc="upper right")
    return made


def smoothed(step, values, pieces=100):
    """The means of at most so many pieces of a curve: their middles, and the means."""
    width = max(1, len(step) // pieces)
    whole = len(step) // width * width
    return step[:whole].reshape(-1, width).mean(1), values[:whole].reshape(-1, width).mean(1)


def kernels(model):
    """The kernels of the first layer: red answers to ink, blue to its absence."""
    weights = model.convolutions[0].weight.numpy()[:, 0]  # (l_1, q, q)
    bound = np.abs(weights).max()
    made = plot.figure(8, 2.7)
    made.set_layout_engine("constrained")
    for axes, kernel in zip(made.subplots(2, 8).flat, weights, strict=False):
        axes.imshow(kernel, cmap="RdBu_r", vmin=-bound, vmax=bound)
    for axes in made.axes:
        axes.set_axis_off()
    made.suptitle("The first layer's kernels: ink on red speaks for a place, ink on blue against it")
    return made


def maps(model, x):
    """One image, and what each kernel of both layers finds in it, the first layer's beside the kernel itself."""
    weights = model.convolutions[0].weight.numpy()[:, 0]
    found = [layer[0] for layer in model.maps(x)]  # (l_m, n_m, m_m) each
    made = plot.figure(11, 5.4)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(1, 4.4))
    axes = left.add_subplot()
    axes.imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
    axes.set(title="image")
    axes.set_axis_off()
    for part, layer, name in zip(right.subfigures(2, 1), found, ("first", "second"), strict=True):
        shown = "" if len(layer) <= 16 else ", 16 of them shown"
        part.suptitle(f"{name} layer: {len(layer)} maps, {layer.shape[1]} × {layer.shape[2]}, after pooling{shown}")
        grid = part.subplots(2, 8)
        for k, (axes, image) in enumerate(zip(grid.flat, layer, strict=False)):
            axes.imshow(image, cmap="viridis", vmin=0, vmax=layer.max())
            axes.set_axis_off()
            if name == "first":
                inset = axes.inset_axes((0.66, 0.66, 0.34, 0.34))
                inset.imshow(weights[k], cmap="RdBu_r", vmin=-np.abs(weights).max(), vmax=np.abs(weights).max())
                inset.set(xticks=[], yticks=[])
    return made


def mistakes(x, y, log_p, classes, rows=3, columns=8):
    """The images whose wrong answer the network is surest of: truth, answer and its probability."""
    answer = log_p.argmax(1)
    wrong = np.flatnonzero(answer != y)
    surest = wrong[np.argsort(-log_p.max(1)[wrong])][: rows * columns]
    made = plot.figure(1.25 * columns, 1.65 * rows + 0.3)
    made.set_layout_engine("constrained")
    grid = made.subplots(rows, columns)
    for axes, k in zip(grid.flat, surest, strict=False):
        axes.imshow(x[k, 0], cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{classes[y[k]]}: “{classes[answer[k]]}”\n{np.exp(log_p[k].max()):.1%}", fontsize=9)
    for axes in grid.flat:
        axes.set_axis_off()
    made.suptitle("The surest mistakes: label, answer, its probability")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

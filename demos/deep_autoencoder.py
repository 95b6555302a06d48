"""A stack of Boltzmann machines is unrolled into a deep autoencoder, which then learns by backpropagation.

Beside it learn the same network from random weights, for as many steps, and principal components. The pictures: test
images and what each makes of them from a code of the same length; the error on the test set while the two networks
learn; the codes of test images if they have only two numbers.

The first autoencoders of this kind learnt by conjugate gradients; these learn by Adam with a rate that falls along half
a cosine.
"""

import itertools

import numpy as np

import tinygen as tg
from tinygen import nn, plot
from tinygen.data import batch, load
from tinygen.models.autoencoder import Autoencoder
from tinygen.models.energy import RBM, CodeRBM, DeepAutoencoder, DeepBeliefNet
from tinygen.models.latent.pca import PCA
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("D3",),
    resumes=True,
    model="energy.deep_autoencoder:DeepAutoencoder",
    claims={
        "test squared error, MNIST, code of 30, pre-trained over random start": {
            "published": None, "bar": "< 1", "budget_min": 5},
        "test squared error, MNIST, code of 30, pre-trained over PCA": {
            "published": "0.22 (3.00 / 13.87)", "bar": "< 1", "budget_min": 5},
    },
)  # fmt: skip
FULL = dict(hidden=(500, 250), greedy=6000, steps=4500, lr=3e-3, map=3000, fitted=60_000, shown=5000)
QUICK = dict(hidden=(200, 100), greedy=1500, steps=550, lr=6e-3, map=200, fitted=5000, shown=500)
STARTS = {"pre-trained": "C0", "random start": "C1"}


def main(*, data="mnist", code=30, greedy=0, steps=0, device="cpu", seed=0, quick=False,
         out="runs_out/deep_autoencoder", resume=None):  # fmt: skip
    """Pre-train a stack of machines, unroll it, fine-tune, and draw what the codes keep.

    data: mnist, fashion or notmnist (or what stands in for them); code: length of the code; greedy: minibatches of 100
    for all machines together; steps: minibatches of 100 for the networks (0 for either: 6000 and 4500); quick: smaller
    networks, with 1500 and 550
    """
    run, size = open_run(locals()), QUICK if quick else FULL
    x, (test, labels) = images(data)
    test, labels = test[: size["shown"]], labels[: size["shown"]]
    greedy, steps, options = greedy or size["greedy"], steps or size["steps"], dict(device=device, seed=seed)
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        stack = pretrained(run, x, code, greedy, size, **options)
        models = {s: fine_tuned(run.part(s.replace(" ", "-")), stack if s == "pre-trained" else None, x, test, code,
                                steps, size, **options) for s in STARTS}  # fmt: skip
        pca = PCA(x.shape[1], code, rng=tg.random.Generator(seed, device=device)).fit(x[: size["fitted"]])
        rebuilt = {"stack, unrolled": stack.reconstruct(test), "fine-tuned": models["pre-trained"].reconstruct(test),
                   "random start": models["random start"].reconstruct(test),
                   "PCA": pca.reconstruct(test)}  # fmt: skip
        small = with_code_of_two(run.part("map-greedy"), stack, x, greedy, **options)
        small = fine_tuned(run.part("map"), small, x, test, 2, size["map"], size, **options)
    scores = {name: squared(test, found) for name, found in rebuilt.items()}
    print(f"test set, squared error of an image from {code} numbers: "
          + ", ".join(f"{value:.2f} ({name})" for name, value in scores.items()))  # fmt: skip
    run.save_figure("reconstructions.png", reconstructions(test, rebuilt, scores, code))
    paths = {s: run.folder / s.replace(" ", "-") / "metrics.csv" for s in STARTS}
    run.save_figure("learning.png", learning(paths, scores["PCA"], code))
    codes = {"Deep autoencoder, codes of two numbers": small.transform(test[:2000]),
             "The first two principal components": pca.transform(test[:2000])[:, :2]}  # fmt: skip
    run.save_figure("codes.png", plot.scatter_panels(codes, labels[:2000]))
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))
    print(f"pictures in {run.folder}")
    return scores


def images(data, *, stand_in=True):
    """Rows of pixels to learn from, and those to judge by with their labels."""
    train, test = load(data, stand_in=stand_in)
    return train.images.reshape(len(train.images), -1), (test.images.reshape(len(test.images), -1), test.labels)


def pretrained(run, x, code, steps, size, *, device="cpu", seed=0):
    """A stack that has learnt images (n, pixels), each machine for a third of the steps."""
    rng, shape = tg.random.Generator(seed, device=device), (x.shape[1], *size["hidden"], code)
    *below, top = itertools.pairwise(shape)
    options = learning_options(steps, rng)
    machines = [*(RBM(n, m, lr=0.05, **options) for n, m in below), CodeRBM(*top, lr=0.01, **options)]
    with blas_threads(1):
        return DeepAutoencoder(machines, rng=rng).fit(x, steps=steps, run=run)


def learning_options(steps, rng):
    """How every machine of a stack learns."""
    return dict(momentum=0.9, weight_decay=2e-4, schedule=Cosine(max(1, steps // 3)), rng=rng)


def with_code_of_two(run, stack, x, steps, *, device="cpu", seed=0):
    """The stack with another machine on top, which has learnt codes of two numbers from the same rows below."""
    *below, top = stack.machines
    rng = tg.random.Generator(seed + 2, device=device)
    top = CodeRBM(top.n_visible, 2, lr=0.01, **learning_options(steps, rng))
    features = DeepBeliefNet(below, rng=rng).transform(x)
    return DeepAutoencoder([*below, top.start_at(features).fit(features, steps=steps // 3, run=run)], rng=rng)


def random_start(sizes, rng):
    """Layers of these sizes with sigmoids between them, and random weights of the size that suits these.

    (Glorot and Bengio 2010: four times as large as for units that are linear near 0, such as the last ones here.)
    """
    layers = []
    for k, (n, m) in enumerate(itertools.pairwise(sizes), start=2):
        layers += [nn.Linear(n, m, rng=rng), nn.Sigmoid()]
        nn.init.xavier_uniform_(layers[-2].weight, gain=4.0 if k < len(sizes) else 1.0, rng=rng)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def fine_tuned(run, stack, x, test, code, steps, size, *, device="cpu", seed=0):
    """An autoencoder that starts as the stack unrolled, or, without one, at random; its test error is logged."""
    rng, shape = tg.random.Generator(seed + 1, device=device), (x.shape[1], *size["hidden"], code)
    if stack is None:
        networks = [random_start(sizes, rng.spawn(1)[0]) for sizes in (shape, shape[::-1])]
    else:
        networks = [stack.network(), stack.decoder()]
    model = Autoencoder(*networks, x.shape[1], loss="cross-entropy", lr=size["lr"], schedule=Cosine(max(steps, 1)),
                        rng=rng)  # fmt: skip
    known, due = model.checked(x), set(np.linspace(0, steps, 21).astype(int))
    with blas_threads(1):
        for step in run.steps(model, steps):
            run.log(**model.update(batch(known, model.rng, 100)))
            if step in due:
                run.log(error=squared(test, model.reconstruct(test)))
    return model


def squared(x, x_hat):
    """The mean over images of the squared error summed over pixels."""
    return float(np.mean(np.square(x - x_hat).sum(1)))


def reproduce(run, claims):
    """The claims of the CARD, on the real MNIST."""
    x, (test, _) = images("mnist", stand_in=False)
    stack, found = pretrained(run.part("greedy"), x, 30, FULL["greedy"], FULL), {}
    for start in STARTS:
        model = fine_tuned(run.part(start.replace(" ", "-")), stack if start == "pre-trained" else None, x, test, 30,
                           FULL["steps"], FULL)  # fmt: skip
        found[start] = squared(test, model.reconstruct(test))
    found["PCA"] = squared(test, PCA(x.shape[1], 30, rng=tg.random.Generator(0)).fit(x).reconstruct(test))
    print("squared error of a test image: " + ", ".join(f"{value:.3f} ({name})" for name, value in found.items()))
    values = [found["pre-trained"] / found[other] for other in ("random start", "PCA")]
    return {claim: value for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A small stack with everything switched on, and images."""
    options = dict(momentum=0.5, weight_decay=1e-3, schedule=Cosine(20), rng=rng)
    stack = DeepAutoencoder([RBM(6, 4, **options), CodeRBM(4, 2, lr=1e-3, **options)], rng=rng)
    return stack, rng.spawn(1)[0].bernoulli(0.5, (20, 6))


# ---- pictures -------------------------------------------------------------------------------------------


def reconstructions(x, rebuilt, scores, code, columns=14):
    """Test images, and what each model makes of them from its code."""
    side = round(x.shape[1] ** 0.5)
    parts = np.concatenate([x[:columns], *(found[:columns] for found in rebuilt.values())])
    names = ["test image", *(f"{name}: {scores[name]:.1f}" for name in rebuilt)]
    return plot.image_grid(parts.reshape(-1, side, side), columns, row_names=names,
                           title=f"From {code} numbers, and the squared error of an image")  # fmt: skip


def learning(paths, pca, code):
    """The error on the test set while the networks learn."""
    made = plot.figure(7, 4.2)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for name, path in paths.items():
        columns = {key: np.array(values) for key, values in read_metrics(path).items()}
        told = np.isfinite(columns["error"])
        axes.semilogy(columns["step"][told], columns["error"][told], "o-", markersize=3, color=STARTS[name],
                      label=f"{name}: {columns['error'][told][-1]:.2f} in the end")  # fmt: skip
    axes.axhline(pca, color="black", linestyle="--", linewidth=1, label=f"{code} principal components: {pca:.2f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="step of backpropagation", ylabel="squared error of a test image",
             title=f"The same network, code of {code}: unrolled stack, or random weights")  # fmt: skip
    axes.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

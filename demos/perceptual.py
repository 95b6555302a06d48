"""A variational autoencoder that compares pictures through a classifier's eyes draws sharper ones.

Models learn MNIST from the same seed for as many steps: one by pixels alone, one by pixels and by what a small
classifier's layers find. A second term that asks for likeness also makes the KL count for less beside it; so there is a
third, whose pixels weigh more. Another classifier, which none of them has met, judges what they make of new digits and
what they draw by themselves. It draws originals and reconstructions side by side, samples, what one layer of the
classifier finds in them, and why pixels ask for blur.
"""

import numpy as np
from tinygen.demos import cnn

import tinygen as tg
from tinygen import plot
from tinygen.data import load
from tinygen.models.supervised.convolutional import ConvolutionalNet, pooled
from tinygen.models.vae import VAE, PerceptualVAE
from tinygen.models.vae import perceptual as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("F4",),
    resumes=True,
    model="vae.perceptual:PerceptualVAE",
    claims={
        "right answers of another classifier on reconstructions, gain over pixels alone, MNIST, the least of 3 seeds": {
            "published": None, "bar": "> 0", "budget_min": 6},
        "sharpness of reconstructions, ratio to pixels alone, MNIST, the least of 3 seeds": {
            "published": None, "bar": "> 1", "budget_min": 6},
    },
)  # fmt: skip
SIDE = 28  # pixels
IMAGES = (20_000, 2000)  # to learn from and to judge by
EYES = dict(kernels=(8, 16), hidden=64, padding=0)  # the classifier whose features are used
LESSONS, STEPS = 400, 1000  # minibatches for this classifier, and for the model
WEIGHT = 100.0  # γ
DEARER = 2.0  # what the pixels weigh in the third model
LATENT, HIDDEN = 8, 256
SURE = 0.9  # the probability of a class from which on a drawn digit counts as recognised


def main(*, steps=STEPS, weight=WEIGHT, latent=LATENT, hidden=HIDDEN, lessons=LESSONS, device="cpu", seed=0,
         quick=False, out="runs_out/perceptual", resume=None):  # fmt: skip
    """Train with pixels alone and with features too, and let another classifier compare.

    steps: minibatches of 64 to learn from; weight: of the features' loss; latent: length of the code; hidden: width of
    the layers; lessons: minibatches for the classifier whose features are used; quick: 150 lessons and 300 steps
    """
    run = open_run(locals())
    lessons, steps = (min(lessons, 150), min(steps, 300)) if quick else (lessons, steps)
    (x, labels), test = sets()
    eyes = classifier(x, labels, lessons, device=device)
    options = dict(latent=latent, hidden=hidden, device=device, seed=seed)
    models = {"pixels": trained(run, x, eyes, steps, weight=0.0, **options),
              f"pixels × {DEARER:g}": dearer(run, x, steps, **options),
              "pixels and features": trained(run, x, eyes, steps, weight=weight, **options)}  # fmt: skip
    judge, found = cnn.mnist_classifier(device=device), {}
    found["originals"] = judged(judge, *test, test[0])
    for name, model in models.items():
        found[name] = judged(judge, *test, model.reconstruct(test[0])) | of_samples(judge, model, device)
        found[name]["KL"] = model.elbo_parts(test[0])[1].mean()
    scores = {f"{value}, {name}": float(figure) for name, one in found.items() for value, figure in one.items()}
    for name, one in found.items():
        print(f"{name}: " + "  ".join(f"{value} {figure:.4g}" for value, figure in one.items()))
    pictures(run, models, eyes, *test, found)
    print(f"pictures in {run.folder}")
    return scores


def sets(stand_in=True):
    """MNIST as rows of pixels with labels: the first of the training part, and of the test part."""
    return [(part.images[:n].reshape(-1, SIDE**2), part.labels[:n])
            for part, n in zip(load("mnist", stand_in=stand_in), IMAGES, strict=True)]  # fmt: skip


def classifier(x, labels, lessons, *, device="cpu"):
    """The classifier whose features are used: a small one, which has learnt for a short while."""
    net = ConvolutionalNet((1, SIDE, SIDE), 10, **EYES, lr=4e-3, schedule=Cosine(lessons),
                           rng=tg.random.Generator(100, device=device))  # fmt: skip
    with blas_threads(1):
        return net.fit(x.reshape(-1, 1, SIDE, SIDE), labels, steps=lessons, run=Run(quiet=True)).eval()


def features(net):
    """What a classifier's convolutional layers find, as a function of rows of pixels."""

    def maps(x):
        x, found = tg.reshape(x, (-1, 1, SIDE, SIDE)), []
        for layer in net.convolutions:
            x = tg.relu(pooled(layer(x), 2))
            found.append(x)
        return found

    return maps


def trained(run, x, eyes, steps, *, weight, latent=LATENT, hidden=HIDDEN, device="cpu", seed=0):
    """A model that has learnt rows of pixels, in a folder of its own inside the run's."""
    model = PerceptualVAE(SIDE**2, latent, features(eyes), feature_weight=weight, hidden=hidden, lr=2e-3,
                          schedule=Cosine(steps), rng=tg.random.Generator(seed, device=device))  # fmt: skip
    with blas_threads(1):
        return model.fit(x, steps=steps, batch_size=64, run=run.part(f"weight-{weight:g}-{seed}"))


def dearer(run, x, steps, *, latent, hidden, device, seed):
    """The model by pixels alone, whose pixels weigh more: its code may cost more."""
    model = VAE(SIDE**2, latent, weights=(DEARER, 1.0), hidden=hidden, lr=2e-3, schedule=Cosine(steps),
                rng=tg.random.Generator(seed, device=device))  # fmt: skip
    with blas_threads(1):
        return model.fit(x, steps=steps, batch_size=64, run=run.part("dearer"))


def judged(judge, x, labels, pictures):
    """What a classifier says of pictures that should show x, and two figures without it."""
    log_p = judge.predict_log_proba(pictures.reshape(-1, 1, SIDE, SIDE))
    return {"right": np.mean(log_p.argmax(1) == labels), "cross-entropy": -log_p[np.arange(len(x)), labels].mean(),
            "sharpness": sharpness(pictures).mean(),
            "squared error": np.square(pictures - x).sum(1).mean()}  # fmt: skip


def of_samples(judge, model, device):
    """How many of the digits that a model draws by itself are recognised, and how sharp they are."""
    drawn = model.sample(1000, rng=tg.random.Generator(7, device=device))
    log_p = judge.predict_log_proba(drawn.reshape(-1, 1, SIDE, SIDE))
    return {"samples recognised": np.mean(log_p.max(1) > np.log(SURE)), "their sharpness": sharpness(drawn).mean()}


def sharpness(pictures):
    """The variance of the Laplacian of rows of pixels: (n,)."""
    return chapter.sharpness(pictures.reshape(-1, SIDE, SIDE))


def reproduce(run, claims):
    """The claims of the CARD, from the real MNIST: both models from each of three seeds."""
    (x, labels), test = sets(stand_in=False)
    eyes, judge = classifier(x, labels, LESSONS), cnn.mnist_classifier()
    both = [[judged(judge, *test, trained(run, x, eyes, STEPS, weight=weight, seed=seed).reconstruct(test[0]))
             for weight in (0.0, WEIGHT)] for seed in range(3)]  # fmt: skip
    gain = min(features["right"] - pixels["right"] for pixels, features in both)
    ratio = min(features["sharpness"] / pixels["sharpness"] for pixels, features in both)
    return {claim: float(gain if claim.startswith("right") else ratio) for claim in claims}


def tiny(rng):
    """A small model whose features are differences of neighbours, with images."""
    return PerceptualVAE(6, 2, neighbours, hidden=4, rng=rng), rng.uniform((20, 6))


def neighbours(x):
    """One layer of one map: where a pixel is brighter than the one before."""
    return [tg.reshape(tg.relu(x[:, 1:] - x[:, :-1]), (-1, 1, 1, 5))]


def loss(rng):
    """The loss of a small model, for `python -m tinygen explain perceptual`."""
    model, x = tiny(rng)
    return chapter.loss(*(tg.mean(part) for part in model.terms(x, rng)), model.feature_weight)


# ---- pictures -------------------------------------------------------------------------------------------


def pictures(run, models, eyes, x, labels, found):
    """All of them."""
    rows, names = [], []
    for j in range(2):
        shown = x[[np.flatnonzero(labels == k)[j] for k in range(10)]]
        rows += [shown, *(model.reconstruct(shown) for model in models.values())]
        names += ["test image", *models]
    run.save_figure("reconstructions.png", grid(rows, 10, row_names=names))
    drawn = [model.sample(30, rng=tg.random.Generator(3, device=str(model.rng.device))) for model in models.values()]
    names = [name for name in models for _ in range(2)]
    run.save_figure("samples.png", grid(drawn, 15, row_names=names, title="Drawn from the prior"))
    ways = {"test image": x[8:9], **{name: model.reconstruct(x[8:9]) for name, model in models.items()}}
    run.save_figure("features.png", seen(eyes, {name: part[0] for name, part in ways.items()}))
    run.save_figure("blur.png", blur(eyes, x[labels == 1][0]))
    run.save_figure("sharpness.png", sharpnesses(models, x, found))


def grid(rows, columns, **options):
    """Rows of pixels as a sheet."""
    return plot.image_grid(np.concatenate(rows).reshape(-1, SIDE, SIDE), columns, **options)


def seen(eyes, shown):
    """One picture as each model gives it back (n,), and the first layer's maps of it, on one scale."""
    made = plot.figure(11, 1.35 * len(shown) + 0.6)
    made.set_layout_engine("constrained")
    maps = {name: eyes.maps(picture[None])[0][0] for name, picture in shown.items()}  # (C, H, W) each
    top = max(found.max() for found in maps.values())
    axes = made.subplots(len(shown), 9)
    for row, (name, picture) in zip(axes, shown.items(), strict=True):
        row[0].imshow(picture.reshape(SIDE, SIDE), cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(name, fontsize=8)
        for one, found in zip(row[1:], maps[name], strict=True):
            one.imshow(found, cmap="viridis", vmin=0, vmax=top)
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    made.suptitle("What the first layer of the classifier finds, map by map")
    return made


def blur(eyes, picture, shift=3):
    """Two pictures that a code cannot tell apart, their mixtures, and both losses of giving one as the answer."""
    places = np.stack([np.roll(picture.reshape(SIDE, SIDE), s, axis=1).ravel() for s in (-shift, shift)])
    share = np.linspace(0, 1, 41)
    mixtures = np.stack([chapter.best_guess(places, np.array([1 - s, s])) for s in share]).astype(np.float32)
    squared = np.mean([np.square(mixtures - place).sum(1) for place in places], axis=0)
    look = features(eyes)
    found, copies = look(tg.tensor(mixtures)), np.repeat(places[:, None], len(share), axis=1)  # (2, shares, n)
    felt = np.mean([chapter.perceptual_loss(found, look(tg.tensor(copy))).numpy() for copy in copies], axis=0)
    made = plot.figure(11, 3.4)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(1.2, 1))
    for axes, k in zip(left.subplots(1, 5), (0, 10, 20, 30, 40), strict=True):
        axes.imshow(mixtures[k].reshape(SIDE, SIDE), cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[], xlabel=f"{share[k]:g}")
    left.suptitle("The stroke is left or right, and each half of the time: what to draw?", y=0.78)
    axes = right.subplots()
    axes.plot(share, squared / squared[0], label="squared error of the pixels")
    axes.plot(share, felt / felt[0], label="features' loss")
    axes.set(
        xlabel="share of the right place in the answer",
        ylabel="mean loss (a sharp answer: 1)",
        ylim=(0, None),
        title="How bad is each answer?",
    )
    axes.legend()
    return made


def sharpnesses(models, x, found):
    """How sharp the test images and what both models make of them are; what the judge says is in the legend."""
    made = plot.figure(7, 4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    shown = {"originals": x, **{name: model.reconstruct(x) for name, model in models.items()}}
    values = {name: sharpness(part) for name, part in shown.items()}
    edges = np.linspace(0, max(map(np.max, values.values())), 60)
    for (name, value), colour in zip(values.items(), ("0.6", "C0", "C2", "C1"), strict=True):
        label = f"{name}: judged right {found[name]['right']:.1%}"
        axes.hist(value, edges, histtype="stepfilled", alpha=0.5, color=colour, label=label)
    axes.set(xlabel="variance of the Laplacian", ylabel="test images", title="Sharpness of reconstructions")
    axes.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""What an encoder that has learnt without labels is good for: labels that go further, finding, clustering, maps.

A denoising autoencoder learns images. Then its encoder serves a classifier that sees few labels of each class: its code
beside the pixels, its code alone, and as a start, against a softmax on the pixels and the same network from random
weights; and so on letters that it has never seen. Similar images are looked for by pixels and by codes. k-means looks
for heaps in both. A code of two numbers draws a map of the images, beside that of principal components, and unrolls the
Swiss roll, or does not.
"""

import numpy as np

import tinygen as tg
from tinygen import nn, plot
from tinygen.data import load
from tinygen.models.autoencoder import Autoencoder, fully_connected, uses
from tinygen.models.autoencoder.denoising import DenoisingAutoencoder, Masking
from tinygen.models.latent import PCA, KMeans
from tinygen.models.supervised import FineTuned
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("E7",),
    model="autoencoder.uses:Appended",
    resumes=True,
    claims={
        "accuracy gained by pre-training, MNIST, 10 labels a class (percentage points)": {
            "published": None, "bar": "> 0", "budget_min": 10},
        "an encoder of MNIST serves letters: accuracy gained by it, 10 labels a class (percentage points)": {
            "published": "S3: initialization, related: transfer", "bar": "> 0", "budget_min": 10, "verdict": True},
        "precision at 10 of codes less that of pixels, MNIST": {"published": None, "bar": "> 0", "budget_min": 10},
        "adjusted Rand index of k-means on codes less that on pixels, MNIST": {
            "published": None, "bar": "> 0", "budget_min": 10},
        "a plain autoencoder unrolls the Swiss roll: rank correlation of distances, less that of PCA": {
            "published": "S3: a picture", "bar": "> 0", "budget_min": 5, "verdict": True},
        "rank correlation with distances along the Swiss roll, autoencoder that keeps distances": {
            "published": None, "bar": ">= 0.95", "budget_min": 5},
    },
)  # fmt: skip
SIZES = {
    "digits": dict(hidden=(200, 100), code=16, steps=4000, tune=300),
    "mnist": dict(hidden=(500, 250), code=32, steps=6000, tune=400),
}
ROLL_STEPS = 4000
LABELS, SEEDS = (1, 3, 10, 30), 5  # labels a class, in the picture; claims take 10
WAYS = {  # what the classifier stands on, whether that stays as it is, and the rate
    "softmax on pixels": ("pixels", True, 1e-2),
    "1. pixels and code": ("both", True, 1e-2),
    "2. code": ("code", True, 1e-2),
    "3. pre-trained": ("code", False, 1e-3),
    "random start": ("random", False, 1e-3),
}


def main(*, data="digits", code=0, steps=0, seeds=SEEDS, device="cpu", seed=0, quick=False,
         out="runs_out/autoencoder_uses", resume=None):  # fmt: skip
    """Train an autoencoder without labels, and put its codes to use.

    data: digits or mnist; code: how many numbers a code has; steps: minibatches of 100 for the autoencoder; 0 for
    either: as the data set asks; seeds: choices of the labelled images; quick: a quarter of the steps, two seeds
    """
    run = open_run(locals())
    if data not in SIZES:
        raise ValueError(f"--data is {data!r}; {', '.join(SIZES)} are there")
    steps = (steps or SIZES[data]["steps"]) // (4 if quick else 1)
    counts, seeds = (LABELS[::2], min(seeds, 2)) if quick else (LABELS, seeds)
    parts = in_rows(load(data))
    (x, y), (x_test, y_test) = parts
    with blas_threads(1):
        ae = trained(run, x, data, steps, code=code, device=device, seed=seed)
        flat = trained(run.part("map"), x, data, steps, code=2, device=device, seed=seed)
        few = {n: with_few_labels(ae, parts, n, seeds, SIZES[data]["tune"]) for n in counts}
        heaps = clusters(ae, x_test, y_test, seed)
        rolls = unroll(run, steps=ROLL_STEPS // (3 if quick else 1), device=device, seed=seed)
    pictures(run, ae, flat, few, heaps, rolls, parts)
    scores = {f"{name}, {counts[-1]} labels a class": float(np.mean(v)) for name, v in few[counts[-1]].items()}
    scores |= {f"precision at 10 of {name}": v for name, v in found_precision(ae, x, y, x_test, y_test).items()}
    scores |= {f"adjusted Rand index of {name}": uses.adjusted_rand(v[0], y_test) for name, v in heaps.items()}
    scores |= {f"roll, {name}": v[1]["rho"] for name, v in rolls.items()}
    print("\n".join(f"{name}: {value:.3f}" for name, value in scores.items()))
    print(f"pictures in {run.folder}")
    return scores


def in_rows(parts):
    """Both parts as images (n, d) and labels."""
    return tuple((part.images.reshape(len(part.images), -1), part.labels) for part in parts)


def trained(run, x, data, steps, *, code=0, device="cpu", seed=0):
    """A denoising autoencoder that has learnt images (n, d), a quarter of whose pixels it does not see."""
    sizes = (x.shape[1], *SIZES[data]["hidden"], code or SIZES[data]["code"])
    rng = tg.random.Generator(seed, device=device)
    encoder, decoder = fully_connected(*sizes, rng=rng), fully_connected(*sizes[::-1], rng=rng)
    ae = DenoisingAutoencoder(encoder, decoder, x.shape[1], corruption=Masking(0.25), loss="cross-entropy",
                              schedule=Cosine(steps), rng=rng)  # fmt: skip
    return ae.fit(x, steps=steps, run=run)


# ---- few labels -----------------------------------------------------------------------------------------


def with_few_labels(ae, parts, n, seeds, steps, ways=WAYS):
    """The accuracy (%) on the test part of classifiers that have seen n labels of each class, for each seed."""
    (x, y), (x_test, y_test) = parts
    found = {name: [] for name in ways}
    for seed in range(seeds):
        rows = some_of_each(y, n, tg.random.Generator(seed))
        for name, (trunk, frozen, rate) in ways.items():
            model = on_top(ae, trunk, x[rows], int(y.max()) + 1, frozen=frozen, lr=rate, schedule=Cosine(steps),
                           seed=seed)  # fmt: skip
            model.fit(x[rows], y[rows], steps=steps, run=Run(quiet=True))
            found[name].append(100 * model.score(x_test, y_test))
    return found


def some_of_each(y, n, rng):
    """The numbers of n examples of each class."""
    order = rng.permutation(len(y))
    return np.concatenate([order[y[order] == k][:n] for k in np.unique(y)])


def on_top(ae, trunk, x, n_classes, *, seed, **options):
    """A classifier on pixels, on pixels and codes, on codes, or on an encoder with random weights."""
    rng = tg.random.Generator(1000 + seed, device=ae.rng.device)  # not what the encoder started from
    layers = [part.weight.shape for part in ae.encoder if isinstance(part, nn.Linear)]
    sizes = [layers[0][1], *[rows for rows, _ in layers]]
    encoder, width = fully_connected(*sizes, rng=rng), sizes[-1]
    if trunk != "random":
        encoder.load_state_dict(ae.encoder.state_dict())  # a copy, since it may learn
    if trunk == "both":  # codes on the scale of pixels
        scale = float(np.linalg.norm(x) / np.linalg.norm(ae.transform(x)))
        encoder, width = uses.Appended(encoder, scale=scale), sizes[0] + sizes[-1]
    if trunk == "pixels":
        encoder, width = nn.Identity(), sizes[0]
    model = FineTuned(encoder, sizes[0], width, n_classes, rng=rng, **options)
    if trunk != "random":  # what has learnt is sent nothing back at first; random weights do better without
        model.out.weight.assign(np.zeros(model.out.weight.shape, np.float32))
    return model


def gained(found):
    """By how much the pre-trained network is better than the one from random weights, for each seed."""
    return np.subtract(found["3. pre-trained"], found["random start"])


# ---- finding and clustering -----------------------------------------------------------------------------


def found_precision(ae, x, y, x_test, y_test, queries=500, k=10):
    """P@k among the training part, by pixels and by codes."""
    some, c = x_test[:queries], y_test[:queries]
    ways = {"pixels": (some, x), "codes": (ae.transform(some), ae.transform(x))}
    return {name: uses.precision(uses.similar(*way, k)[0], y, c) for name, way in ways.items()}


def clusters(ae, x, y, seed):
    """k-means with a heap for each class, on pixels and on codes: who is in which, and the centres."""
    found = {}
    for name, points in (("pixels", x), ("codes", ae.transform(x))):
        model = KMeans(points.shape[1], len(np.unique(y)), n_init=5, rng=tg.random.Generator(seed))
        model.fit(points, steps=100, run=Run(quiet=True))
        found[name] = model.predict(points), model.centres.numpy()
    return found


# ---- the Swiss roll -------------------------------------------------------------------------------------


def unroll(run, *, steps, device="cpu", seed=0, points=1000):
    """Maps of unseen points of the roll: by PCA, by a plain autoencoder, by one that is asked to keep distances.

    Gives for each the map, and its scores. All learn from the same points.
    """
    train, test = load("swiss_roll")
    middle, size = train.features.mean(0), train.features.std()
    x, x_test = ((part.features[:points] - middle) / size for part in (train, test))
    truth = uses.unrolled(test.attributes[:points])
    pca = PCA(3, 2)
    pca.fit(x, run=Run(quiet=True))
    maps = {"PCA": pca.transform(x_test)}
    for name, kind in (("autoencoder", Autoencoder), ("autoencoder that keeps distances", uses.Unrolling)):
        rng = tg.random.Generator(seed, device=device)
        nets = [fully_connected(*ends, activation=nn.Tanh, rng=rng) for ends in ((3, 64, 64, 2), (2, 64, 64, 3))]
        model = kind(*nets, 3, lr=5e-3, schedule=Cosine(steps), rng=rng)
        maps[name] = model.fit(x, steps=steps, run=run.part(name.replace(" ", "-"))).transform(x_test)
    return {name: (z, roll_scores(z, truth), test.attributes[:points]) for name, z in maps.items()}


def roll_scores(z, truth):
    """Trustworthiness, continuity, and the rank correlation with distances on the roll."""
    return {"T": uses.trustworthiness(truth, z), "C": uses.trustworthiness(z, truth),
            "rho": uses.distance_correlation(z, truth)}  # fmt: skip


def reproduce(run, claims):
    """The claims of the CARD; one encoder of MNIST serves them all, but for the roll."""
    values, names = {}, list(CARD["claims"])
    with blas_threads(1):
        if set(claims) & set(names[:4]):
            parts, size = in_rows(load("mnist", stand_in=False)), SIZES["mnist"]
            ae = trained(run.part("mnist"), parts[0][0], "mnist", size["steps"])
            letters = in_rows(load("notmnist", stand_in=False))
            ways = {name: WAYS[name] for name in ("3. pre-trained", "random start")}
            for name, learnt in zip(names, (parts, letters), strict=False):
                values[name] = list(gained(with_few_labels(ae, learnt, 10, SEEDS, size["tune"], ways)))
            found = found_precision(ae, *parts[0], *parts[1])
            values[names[2]] = found["codes"] - found["pixels"]
            heaps = {way: uses.adjusted_rand(v[0], parts[1][1]) for way, v in clusters(ae, *parts[1], 0).items()}
            values[names[3]] = heaps["codes"] - heaps["pixels"]
        if set(claims) & set(names[4:]):
            rolls = {name: found for name, (_, found, _) in unroll(run, steps=ROLL_STEPS).items()}
            values[names[4]] = rolls["autoencoder"]["rho"] - rolls["PCA"]["rho"]
            values[names[5]] = rolls["autoencoder that keeps distances"]["rho"]
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A classifier on pixels and codes of a very small encoder, with images and classes."""
    encoder = fully_connected(8, 6, 3, rng=rng)
    model = FineTuned(uses.Appended(encoder, scale=0.5), 8, 11, 3, frozen=True, p=0.2, schedule=Cosine(20), rng=rng)
    return model, rng.spawn(1)[0].uniform((20, 8)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small classifier on pixels and codes, for `python -m tinygen explain autoencoder_uses`."""
    model, x, y = tiny(rng)
    return model.loss(x, y)


# ---- pictures -------------------------------------------------------------------------------------------


def pictures(run, ae, flat, few, heaps, rolls, parts):
    """All of them, into the run's folder."""
    (x, y), (x_test, y_test) = parts
    run.save_figure("labels.png", few_labels_picture(few))
    run.save_figure("similar.png", similar_picture(ae, x, y, x_test, y_test))
    run.save_figure("clusters.png", clusters_picture(ae, heaps, x_test, y_test))
    run.save_figure("map.png", map_picture(flat, x_test[:1000], y_test[:1000]))
    run.save_figure("roll.png", roll_picture(rolls))


def few_labels_picture(few):
    """Accuracy against the number of labels: the mean over seeds, and from the worst to the best."""
    made = plot.figure(8, 5)
    made.set_layout_engine("constrained")
    axes, counts = made.add_subplot(), list(few)
    for k, name in enumerate(WAYS):
        values = np.array([few[n][name] for n in counts])  # (counts, seeds)
        style = dict(color=f"C{k}", linestyle="--" if name in ("softmax on pixels", "random start") else "-")
        axes.plot(counts, values.mean(1), marker="o", label=f"{name}: {values[-1].mean():.1f} %", **style)
        axes.fill_between(counts, values.min(1), values.max(1), color=f"C{k}", alpha=0.12, linewidth=0)
    axes.set(xscale="log", xlabel="labels a class", ylabel="right on the test part (%)",
             title="What codes learnt without labels add to few labels")  # fmt: skip
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.minorticks_off()
    axes.legend(title=f"with {counts[-1]} labels a class")
    return made


def similar_picture(ae, x, y, x_test, y_test, queries=8, k=8):
    """Queries at the left; the nearest by pixels, and the nearest by codes. What has another label is framed red."""
    codes, of_test = ae.transform(x), ae.transform(x_test[:300])
    by_pixels, by_codes = uses.similar(x_test[:300], x, k)[0], uses.similar(of_test, codes, k)[0]
    right = [(y[found] == y_test[:300, None]).sum(1) for found in (by_pixels, by_codes)]
    rows = np.argsort(-abs(right[0] - right[1]), kind="stable")[: queries // 2]  # where the two differ most
    rows = np.concatenate([rows, np.setdiff1d(np.arange(queries), rows)[: queries - len(rows)]])
    made = plot.figure(13, 0.75 * queries + 0.6)
    made.set_layout_engine("constrained")
    grid = made.subplots(queries, 2 * k + 3)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, row in enumerate(rows):
        shown(grid[i, 0], x_test[row])
        for first, found in ((2, by_pixels), (k + 3, by_codes)):
            for j, other in enumerate(found[row]):
                shown(grid[i, first + j], x[other], wrong=y[other] != y_test[row])
    grid[0, 0].set_title("query")
    grid[0, 2 + k // 2].set_title("nearest by pixels")
    grid[0, 3 + k + k // 2].set_title("nearest by codes")
    return made


def shown(axes, image, wrong=False):
    """One image (d,), with a red frame if something is wrong with it."""
    side = round(len(image) ** 0.5)
    axes.imshow(image.reshape(side, side), cmap="gray", vmin=0, vmax=1)
    if wrong:
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="C3", linewidth=2.5)


def clusters_picture(ae, heaps, x, y):
    """The centre of each heap, with the class of its majority and that one's share."""
    made = plot.figure(11, 3.5)
    made.set_layout_engine("constrained")
    for part, (name, (numbers, centres)) in zip(made.subfigures(2, 1), heaps.items(), strict=True):
        images = ae.decode(centres) if name == "codes" else centres
        table = uses.contingency(numbers, y)
        for axes, k in zip(part.subplots(1, len(centres)), np.argsort(table.argmax(1), kind="stable"), strict=True):
            shown(axes, images[k])
            axes.set_title(f"{np.unique(y)[table[k].argmax()]}: {table[k].max() / table[k].sum():.0%}", fontsize=10)
            axes.set_axis_off()
        scores = f"purity {uses.purity(numbers, y):.2f}, adjusted Rand index {uses.adjusted_rand(numbers, y):.2f}"
        part.suptitle(f"k-means on {name}: {scores}")
    return made


def map_picture(flat, x, y):
    """Codes of two numbers beside two principal components."""
    pca = PCA(x.shape[1], 2)
    pca.fit(x, run=Run(quiet=True))
    maps = {"two principal components": pca.transform(x), "a code of two numbers": flat.transform(x)}
    return plot.scatter_panels(
        {f"{name}\ntrustworthiness {uses.trustworthiness(x, z):.3f}": z for name, z in maps.items()}, y)  # fmt: skip


def roll_picture(rolls):
    """The roll in space and its maps, coloured by the way along the roll."""
    (_, _, place), *_ = rolls.values()
    t, h = place.T
    made = plot.figure(4.2 * (len(rolls) + 1), 4.6)
    made.set_layout_engine("constrained")
    space = made.add_subplot(1, len(rolls) + 1, 1, projection="3d")
    space.scatter(t * np.cos(t), h, t * np.sin(t), c=t, s=6, cmap="Spectral")
    space.view_init(10, -72)
    space.set(title="the roll", xticklabels=[], yticklabels=[], zticklabels=[])
    for k, (name, (z, scores, _)) in enumerate(rolls.items()):
        axes = made.add_subplot(1, len(rolls) + 1, k + 2)
        axes.scatter(*z.T, c=t, s=6, cmap="Spectral")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(title=f"{name}\ntrustworthiness {scores['T']:.3f}, continuity {scores['C']:.3f}\n"
                       f"rank correlation of distances {scores['rho']:.3f}")  # fmt: skip
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""k-means sorts points and digits into heaps; what the start decides, and why pixels are no measure of likeness.

It draws the two steps in turn with the cells of the centres, good and bad starts, how many heaps there should be, the
limit from soft responsibilities to certain ones, the centres of digits, and S1's point: a digit moved by two pixels is
further from itself than from another digit.
"""

import math

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import KMeans
from tinygen.models.latent import k_means as chapter
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C8",),
    model="latent.k_means:KMeans",
    claims={
        "largest inertia / scikit-learn's from the same starts, less 1": {
            "published": None, "bar": "<= 1e-9", "budget_min": 1},
        "largest rise of the inertia in an iteration, relative": {
            "published": None, "bar": "<= 1e-9", "budget_min": 1},
        "images further from themselves, moved by two pixels, than from another class": {
            "published": "S1: pixel-wise L2 doesn't work that well", "bar": ">= 0.5", "budget_min": 1, "verdict": True},
    },
)  # fmt: skip
COLOURS = np.array([[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189], [140, 86, 75],
                    [227, 119, 194], [127, 127, 127], [188, 189, 34], [23, 190, 207]]) / 255  # fmt: skip
IMAGES = 2000


def main(*, clusters=10, steps=100, device="cpu", seed=0, quick=False, out="runs_out/k_means", resume=None):
    """Sort images of digits into heaps, and draw how k-means works and where it fails.

    clusters: how many heaps; steps: iterations at most; quick: fewer images, starts and problems
    """
    run = open_run(locals())
    images, labels, name = digits(IMAGES // 4 if quick else IMAGES)
    x = images.reshape(len(images), -1)
    with blas_threads(1):
        model = KMeans(x.shape[1], clusters, rng=tg.random.Generator(seed, device=device))
        model.fit(x, steps=steps, run=run)
        away, apart = moved(images, labels)
        scores = {"inertia": model.inertia(x) / len(x), "purity": purity(model.predict(x), labels),
                  "purity, moved": purity(model.predict(shifted(images, 0, 2).reshape(len(x), -1)), labels),
                  "estranged": float(np.mean(away > apart)), "excess": excess(10 if quick else 60),
                  "rise": largest_rise(20 if quick else 200)}  # fmt: skip
        print(f"{name}: " + "inertia {inertia:.2f} an image; {purity:.0%} are in a heap of their own class, moved by "
              "two pixels {purity, moved:.0%}; {estranged:.0%} are further from themselves, moved so, than from "
              "another class; inertia at most {excess:.1e} above scikit-learn's".format(**scores))  # fmt: skip
        pictures(run, images, labels, model, away, apart, quick)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, images, labels, model, away, apart, quick):
    """All of them."""
    x = data.load("gmm4").train.features.astype(float)[:600]
    run.save_figure("filmstrip.png", filmstrip(x))
    run.save_figure("starts.png", starts(20 if quick else 200))
    run.save_figure("how_many.png", how_many(x, 8, 2 if quick else 6))
    run.save_figure("limit.png", limit(x))
    run.save_figure("centres.png", centres(images, labels, model, read_metrics(run.folder / "metrics.csv")))
    run.save_figure("pixels.png", pixels(images, labels, away, apart))


def reproduce(run, claims):
    """The claims of the CARD."""
    values = {}
    with blas_threads(1):
        for claim in claims:
            if "moved" in claim:
                away, apart = moved(*digits(IMAGES)[:2])
                values[claim] = float(np.mean(away > apart))
            else:
                values[claim] = excess(100) if "scikit-learn" in claim else largest_rise(1000)
    return values


def tiny(rng):
    """A very small k-means and something to sort."""
    model_rng, draws = rng.spawn(2)
    x = draws.normal((40, 2), dtype="float64")
    x[::2] += 2
    return KMeans(2, 4, rng=model_rng), x


# ---- data -------------------------------------------------------------------------------------------------------


def digits(n):
    """Images (n, h, w) in [0, 1], their classes, and what they are."""
    mnist = data.load("mnist")
    return mnist.train.images[:n, 0].astype(float), mnist.train.labels[:n], f"digits ({mnist.source})"


def shifted(images, down, right):
    """Images moved by so many pixels; what comes in is empty."""
    made, (h, w) = np.zeros_like(images), images.shape[1:]
    rows, columns = (slice(max(by, 0), size + min(by, 0)) for by, size in ((down, h), (right, w)))
    back_rows, back_columns = (slice(max(-by, 0), size + min(-by, 0)) for by, size in ((down, h), (right, w)))
    made[:, rows, columns] = images[:, back_rows, back_columns]
    return made


def clouds(draw, n, d, m):
    """Points around m centres."""
    return 2 * draw.normal(size=(m, d))[draw.integers(0, m, n)] + draw.normal(size=(n, d))


# ---- what is claimed --------------------------------------------------------------------------------------------


def excess(problems):
    """The largest inertia relative to scikit-learn's, less 1, over random problems and the same starts."""
    import warnings

    from sklearn.cluster import KMeans as Theirs

    worst, draw = -np.inf, np.random.default_rng(0)
    for _ in range(problems):
        d, m, n = (int(draw.integers(*limits)) for limits in ((1, 12), (2, 12), (30, 500)))
        x = clouds(draw, n, d, m)
        first = x[draw.permutation(n)[:m]]
        ours = KMeans(d, m)
        ours.start_at(first)
        ours.fit(x, steps=300, run=Run(quiet=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = Theirs(m, init=first, n_init=1).fit(x)
        worst = max(worst, ours.inertia(x) / float(chapter.inertia(x, theirs.cluster_centers_)) - 1)
    return worst


def largest_rise(problems):
    """The largest rise of the inertia from one iteration to the next, in parts of it; below 0 if it always falls."""
    worst, draw = -np.inf, np.random.default_rng(1)
    for _ in range(problems):
        d, m, n = (int(draw.integers(*limits)) for limits in ((1, 6), (1, 9), (10, 200)))
        x = clouds(draw, n, d, m)
        model = KMeans(d, m)
        model.start_at(2 * draw.normal(size=(m, d)))
        prepared, reached = model.checked(x), [model.inertia(x)]
        while not model.converged and len(reached) < 100:
            reached.append(float(model.update(prepared)["inertia"]))
        worst = max(worst, float(np.max(np.diff(reached) / reached[:-1])))
    return worst


def moved(images, labels, by=2):
    """Squared distances: of each image from itself moved to the right, and from the nearest of another class."""
    x = images.reshape(len(images), -1)
    away = ((shifted(images, 0, by) - images) ** 2).sum((1, 2))
    apart = np.empty(len(x))
    squares = (x * x).sum(1)
    for rows in np.array_split(np.arange(len(x)), max(1, len(x) // 500)):
        found = squares[rows, None] + squares - 2 * x[rows] @ x.T
        apart[rows] = np.where(labels[rows, None] == labels, np.inf, found).min(1)
    return away, apart


def purity(heaps, labels):
    """The share of examples that are of the commonest class of their heap."""
    return sum(np.bincount(labels[heaps == k]).max() for k in np.unique(heaps)) / len(labels)


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(rows, columns, size=3.2):
    """A figure of so many panels, and these in a row."""
    made = plot.figure(size * columns, size * rows)
    made.set_layout_engine("constrained")
    return made, np.ravel(made.subplots(rows, columns))


def cells(axes, x, centres, labels=None, trails=()):
    """Points in the colours of their heaps, the cells of the centres, and how these came here."""
    low, high = x.min(0) - 0.5, x.max(0) + 0.5
    t = [np.linspace(low[k], high[k], 240) for k in (0, 1)]
    grid = np.stack(np.meshgrid(*t), -1).reshape(-1, 2)
    near = chapter.nearest(grid, centres).reshape(240, 240)
    axes.imshow(0.75 + 0.25 * COLOURS[near], origin="lower", extent=(low[0], high[0], low[1], high[1]), aspect="equal")
    labels = chapter.nearest(x, centres) if labels is None else labels
    axes.scatter(*x.T, s=5, color=COLOURS[labels], linewidth=0)
    for k in range(len(centres)):
        path = np.array([*(trail[k] for trail in trails), centres[k]])
        axes.plot(*path.T, "-", color="black", linewidth=1)
        axes.plot(*centres[k], "X", color=COLOURS[k], markeredgecolor="black", markersize=10)
    axes.set(xticks=[], yticks=[])


def filmstrip(x, m=4):
    """The first iterations from a poor start: who belongs where, then where the centres go."""
    made, axes = panels(2, 4)
    model = KMeans(2, m)
    model.start_at(x[x[:, 1].argsort()[-m:]])  # all at the top
    trails, prepared = [], model.checked(x)
    for k, place in enumerate(axes):
        centres = model.centres.numpy()
        if k < len(axes) - 1:
            cells(place, x, centres, trails=trails[-1:])
            place.set_title(f"iteration {k}: inertia {model.inertia(x):.0f}", fontsize=10)
            trails.append(centres)
            model.update(prepared)
        else:
            model.fit(x, steps=200, run=Run(quiet=True))
            trails.append(centres)
            cells(place, x, model.centres.numpy())
            place.set_title(f"the end: inertia {model.inertia(x):.0f}", fontsize=10)
    made.suptitle("Each point to the nearest centre, each centre (X) to the middle of its points; lines: its last move")
    return made


def starts(tries):
    """Where starts end, by how they are chosen: nine round heaps on a grid."""
    made, (good, bad, ends) = panels(1, 3, 4)
    x = data.grid(3, spacing=2.0, std=0.25).sample(540, tg.random.Generator(0), dtype="float64")
    found = {}
    for start in ("random", "k-means++"):
        fits = [KMeans(2, 9, start=start, rng=tg.random.Generator(k)).fit(x, run=Run(quiet=True)) for k in range(tries)]
        found[start] = sorted(((fit.inertia(x), k) for k, fit in enumerate(fits)))
        if start == "random":
            for place, at, name in ((good, 0, "best"), (bad, -1, "worst")):
                cells(place, x, fits[found[start][at][1]].centres.numpy())
                place.set_title(f"random starts, the {name} of {tries}: inertia {found[start][at][0]:.1f}", fontsize=10)
        reached = [J for J, _ in found[start]]
        share = np.mean(np.array(reached) < 1.05 * min(reached))
        ends.plot(np.linspace(0, 100, tries), reached, ".-", label=f"{start}: {share:.0%} find all nine")
    ends.set(xlabel="% of the starts", ylabel="inertia", title="Where they end")
    ends.legend()
    return made


def how_many(x, most, n_init):
    """Inertia by number of heaps for points with and without heaps, and the silhouette."""
    from sklearn.metrics import silhouette_score

    made, (left, right) = panels(1, 2, 4)
    apart = data.ring(5, std=0.35).sample(len(x), tg.random.Generator(1), dtype="float64")
    even = tg.random.Generator(2).uniform((len(x), 2), dtype="float64")
    counts = range(1, most + 1)
    for points, name in ((apart, "five clouds apart"), (x, "four that overlap"), (even, "evenly spread")):
        fits = [KMeans(2, m, n_init=n_init, rng=tg.random.Generator(m)).fit(points, run=Run(quiet=True))
                for m in counts]  # fmt: skip
        lost = np.array([fit.inertia(points) for fit in fits])
        left.plot(counts, lost / lost[0], ".-", label=name)
        scores = [silhouette_score(points, fit.predict(points)) for fit in fits[1:]]
        right.plot(counts[1:], scores, ".-", label=name)
    left.set(xlabel="heaps", ylabel="inertia / that of one heap", title="It always falls; look for an elbow")
    right.set(xlabel="heaps", ylabel="mean silhouette", title="Silhouette: own heap against the next")
    left.legend()
    return made


def limit(x, m=4):
    """Responsibilities of equal round Gaussians whose width goes to 0."""
    made, axes = panels(1, 4)
    model = KMeans(2, m, n_init=5, rng=tg.random.Generator(0)).fit(x, run=Run(quiet=True))
    centres = model.centres.numpy()
    low, high = x.min(0) - 0.5, x.max(0) + 0.5
    t = [np.linspace(low[k], high[k], 200) for k in (0, 1)]
    grid = np.stack(np.meshgrid(*t), -1).reshape(-1, 2)
    for place, sigma in zip(axes, (3.0, 1.5, 0.7, 0.05), strict=True):
        gamma = chapter.responsibilities(grid, centres, sigma)
        colours = np.clip(gamma @ COLOURS[:m], 0, 1).reshape(200, 200, 3)
        place.imshow(colours, origin="lower", extent=(low[0], high[0], low[1], high[1]), aspect="equal")
        place.plot(*x.T, ".", color="white", markersize=2, alpha=0.6)
        place.plot(*centres.T, "X", color="black", markersize=9)
        place.set(xticks=[], yticks=[], title=f"$\\sigma$ = {sigma:g}")
    made.suptitle("(5): who answers for each place, by the E step of equal round Gaussians; at last, k-means")
    return made


def centres(images, labels, model, metrics):
    """The centres as images, with what is in their heaps; and the fall of the inertia."""
    x = images.reshape(len(images), -1)
    heaps, m = model.predict(x), model.n_clusters
    made = plot.figure(1.0 * m + 4, 3.6)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(1.0 * m, 4))
    places = left.subplots(3, m, squeeze=False)
    for k in range(m):
        own = np.flatnonzero(heaps == k)
        far = model.transform(x[own])[:, k].argsort() if len(own) else []
        shown = [model.centres.numpy()[k].reshape(images.shape[1:]), *(images[own[i]] for i in far[:1]),
                 *(images[own[i]] for i in far[-1:])]  # fmt: skip
        for place, image in zip(places[:, k], shown, strict=False):
            place.imshow(image, cmap="gray", vmin=0, vmax=1)
        common = np.bincount(labels[own], minlength=10) if len(own) else np.zeros(10)
        share = common.max() / max(1, len(own))
        places[0, k].set_title(f"{len(own)} images\n{share:.0%}: {common.argmax()}", fontsize=8)
    for place in places.ravel():
        place.set(xticks=[], yticks=[])
    for place, name in zip(places[:, 0], ("centre", "nearest", "furthest"), strict=True):
        place.set_ylabel(name)
    axes = right.subplots()
    axes.plot(metrics["step"], np.array(metrics["inertia"]) / len(x), ".-", markersize=4)
    axes.set(xlabel="iteration", title="Inertia, an image: it never rises")
    return made


def pixels(images, labels, away, apart, columns=8):
    """Images that are nearer to another class than to themselves, moved by two pixels; and how many."""
    x = images.reshape(len(images), -1)
    fooled = np.flatnonzero(away > apart)
    chosen = fooled[(apart - away)[fooled].argsort()][:: max(1, len(fooled) // (4 * columns))][:columns]
    made = plot.figure(13, 4.6)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(2.1, 1))
    places = left.subplots(3, columns, squeeze=False)
    for k, i in enumerate(chosen):
        distances = np.where(labels == labels[i], np.inf, ((x - x[i]) ** 2).sum(1))
        rows = ((images[i], "", "an image"), (shifted(images[i : i + 1], 0, 2)[0], away[i], "itself, moved"),
                (images[distances.argmin()], apart[i], "another class"))  # fmt: skip
        for place, (image, distance, name) in zip(places[:, k], rows, strict=True):
            place.imshow(image, cmap="gray", vmin=0, vmax=1)
            if distance != "":
                place.set_title(f"{math.sqrt(distance):.1f} away", fontsize=9)
            if k == 0:
                place.set_ylabel(name)
    for place in places.ravel():
        place.set(xticks=[], yticks=[])
    axes = right.subplots()
    axes.plot(np.sqrt(apart), np.sqrt(away), ".", markersize=2)
    top = math.sqrt(max(apart.max(), away.max())) * 1.05
    axes.plot([0, top], [0, top], "--", color="grey")
    axes.set(xlabel="distance from the nearest of another class", ylabel="distance from itself, moved by two pixels",
             title=f"{np.mean(away > apart):.0%} are above the line", xlim=(0, top), ylim=(0, top),
             aspect="equal")  # fmt: skip
    left.suptitle("What pixels call near: the third row is nearer to the first than the second is")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

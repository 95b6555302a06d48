"""Suspect data and changes, found by estimated densities: whichever you like.

Anomalies are planted among points of the plane and among digits, and several densities are asked which ones they are. A
series changes its law without changing its mean or its spread; the change is found afterwards, and as it comes.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.density import AnomalyDetector, ChangePoint, Gaussian, Histogram, KernelDensity, NearestNeighbours
from tinygen.models.density import anomaly as chapter
from tinygen.models.latent import GaussianMixture
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("B8",),
    model="density.anomaly:AnomalyDetector",
    claims={
        "area under ROC in the plane, kernel density, over that of the true density": {
            "published": None, "bar": ">= 0.98", "budget_min": 1},
        "area under ROC, digits against planted ones, kernel density": {
            "published": None, "bar": ">= 0.95", "budget_min": 1},
        "false alarms at 5 %, largest deviation over four densities": {
            "published": None, "bar": "<= 0.01", "budget_min": 1},
        "change after 250 of 400: median distance over 40 series": {
            "published": None, "bar": "<= 8", "budget_min": 1},
    },
)  # fmt: skip
REACH = 8.0  # anomalies of the plane lie anywhere in this square
LENGTH, CHANGE = 400, 250  # of a series


def main(*, examples=600, steps=12, device="cpu", seed=0, quick=False, out="runs_out/anomaly", resume=None):
    """Find planted anomalies and a change, and draw how.

    examples: usual points of the plane to learn from; steps: bandwidths that the kernel estimate tries; quick: fewer
    random orders of the series
    """
    run = open_run(locals())
    with blas_threads(1):
        x, usual, anomalous = planted(examples, seed)
        kernel = KernelDensity(2, rng=tg.random.Generator(seed, device=device))
        detectors = {"kernel": AnomalyDetector(kernel).fit(x, steps=steps, run=run), **others(x)}
        areas = {name: area(detector, usual, anomalous) for name, detector in detectors.items()}
        best = chapter.area(*map(data.mixture("gmm4").log_density, (usual, anomalous)))
        of_digits, tables = digits()
        change, series = found_change(seed)
        scores = {"best": best, **areas, "digits": of_digits["kernel"], "change": int(change.t), "gain": change.gain}
        print("area under the curve: " + ", ".join(f"{name} {value:.3f}" for name, value in areas.items())
              + f", the true density {best:.3f}; planted digits by kernels {scores['digits']:.3f}; a change after "
              f"{CHANGE} of {LENGTH} is seen after {scores['change']}, gain {change.gain:.1f} nats")  # fmt: skip
        pictures(run, detectors, (x, usual, anomalous), (of_digits, tables), (change, series), 29 if quick else 199)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, detectors, plane, shown, changed, shuffles):
    """All of them."""
    run.save_figure("plane.png", regions(detectors, *plane))
    run.save_figure("digits.png", sheet(*shown))
    run.save_figure("change.png", changes(*changed, shuffles))


def reproduce(run, claims):
    """The claims of the CARD."""
    with blas_threads(1):
        return {claim: VALUES[claim]() for claim in claims}


def tiny(rng):
    """A small detector and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    return AnomalyDetector(Gaussian(2, rng=model_rng), alpha=0.2), draws.normal((60, 2), dtype="float64")


# ---- the plane --------------------------------------------------------------------------------------------------


def planted(n, seed):
    """Examples to learn from, as usual, and anomalies from anywhere: (n, 2), (2000, 2), (200, 2)."""
    learn, new, anywhere = tg.random.Generator(seed).spawn(3)
    mixture = data.mixture("gmm4")
    x, usual = (np.clip(mixture.sample(k, rng, dtype="float64"), 1e-6 - REACH, REACH)
                for k, rng in ((n, learn), (2000, new)))  # fmt: skip
    return x, usual, REACH * (2 * anywhere.uniform((200, 2), dtype="float64") - 1)


def others(x):
    """Detectors by other densities, in the order of what they assume."""
    models = {
        "one Gaussian": (Gaussian(2), "score_samples"),
        "four Gaussians": (GaussianMixture(2, 4, n_init=4, rng=tg.random.Generator(0)), "score_samples"),
        "histogram": (Histogram(2, 10, x_0=-REACH, h=REACH / 5), "score_samples"),
        "nearest neighbours": (NearestNeighbours(2, rng=tg.random.Generator(0)), "log_estimate"),
    }
    return {name: AnomalyDetector(model, score=score).fit(x, run=Run(quiet=True))
            for name, (model, score) in models.items()}  # fmt: skip


def area(detector, usual, anomalous):
    """The area under the curve of a detector."""
    return chapter.area(detector.scores(usual), detector.scores(anomalous))


def kernel_in_the_plane():
    """The first claim: means over ten plantings."""
    ratios = []
    for seed in range(10):
        x, usual, anomalous = planted(600, seed)
        detector = AnomalyDetector(KernelDensity(2)).fit(x, steps=12, run=Run(quiet=True))
        best = chapter.area(*map(data.mixture("gmm4").log_density, (usual, anomalous)))
        ratios.append(area(detector, usual, anomalous) / best)
    return float(np.mean(ratios))


def false_alarms(repeats=40):
    """How far the mean share of false alarms is from (4): the largest deviation of all densities but the histogram.

    (Whose scores tie: all empty boxes are alike.)
    """
    found = {}
    for seed in range(repeats):
        x, usual, _ = planted(300, 100 + seed)
        detectors = {"kernel": AnomalyDetector(KernelDensity(2)).fit(x, steps=6, run=Run(quiet=True)), **others(x)}
        for name, detector in detectors.items():
            found.setdefault(name, []).append(detector.predict(usual).mean())
    expected = chapter.false_alarm_rate(0.05, 100)
    return max(abs(float(np.mean(shares)) - expected) for name, shares in found.items() if name != "histogram")


# ---- digits -----------------------------------------------------------------------------------------------------


def planted_digits():
    """Digits to learn from, new ones, and three kinds that should be noticed; rows of 64 pixels."""
    train, test = (part.images.reshape(-1, 8, 8).astype(float) for part in data.load("digits"))
    rng = np.random.default_rng(0)
    halves = np.concatenate([test[:, :4], test[rng.permutation(len(test)), 4:]], axis=1)[:60]
    negative, moved = 1 - test[60:120], np.roll(test[120:180], 3, axis=2)
    anomalous = {"two halves": halves, "negative": negative, "moved": moved}
    flat = lambda images: images.reshape(len(images), -1)  # noqa: E731
    return flat(train), flat(test), {name: flat(images) for name, images in anomalous.items()}


def digits():
    """The areas under the curves of some densities on digits, and all that is needed to show who was suspected."""
    x, usual, anomalous = planted_digits()
    everything = np.concatenate(list(anomalous.values()))
    models = {"kernel": (KernelDensity(64, bandwidth=0.35), "score_samples"),
              "one Gaussian": (Gaussian(64, reg_covar=1e-3), "score_samples"),
              "nearest neighbours": (NearestNeighbours(64, k=5), "log_estimate")}  # fmt: skip
    areas, tables = {}, {}
    for name, (model, score) in models.items():
        detector = AnomalyDetector(model, score=score).fit(x, run=Run(quiet=True))
        areas[name] = area(detector, usual, everything)
        tables[name] = detector, usual, anomalous
    return areas, tables


# ---- changes ----------------------------------------------------------------------------------------------------


def series(seed):
    """Points in time whose correlation turns from 0.7 to -0.7: neither number by itself changes its law."""
    z = tg.random.Generator(seed).normal((LENGTH, 2), dtype="float64")
    correlation = np.where(np.arange(LENGTH) < CHANGE, 0.7, -0.7)
    return np.stack([z[:, 0], correlation * z[:, 0] + np.sqrt(1 - correlation**2) * z[:, 1]], axis=1)


def change_point():
    """What looks for it."""
    return ChangePoint(Gaussian(2), Gaussian(2))


def found_change(seed):
    """A change point that was looked for, and where."""
    x = series(seed)
    return change_point().fit(x, run=Run(quiet=True)), x


def median_distance():
    """How far the change that was found is from where it is, in the middle of 40 series."""
    return float(np.median([abs(int(found_change(seed)[0].t) - CHANGE) for seed in range(40)]))


COMPUTED = kernel_in_the_plane, lambda: digits()[0]["kernel"], false_alarms, median_distance
VALUES = dict(zip(CARD["claims"], COMPUTED, strict=True))


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(rows, columns, width=3.9, height=3.5, **options):
    """A figure of so many panels, and these."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def regions(detectors, x, usual, anomalous):
    """What each density calls suspect at 5 %, and all curves."""
    made, axes = panels(2, 3)
    t = np.linspace(-REACH + 1e-6, REACH, 161)
    points = np.stack(np.meshgrid(t, t), -1).reshape(-1, 2)
    for place, (name, detector) in zip(axes.ravel(), detectors.items(), strict=False):
        p = detector.p_values(points).reshape(161, 161)
        place.contourf(t, t, p, levels=[0, 0.05, 0.3, 1.01], colors=["#f6c7c0", "#f4efe6", "#dfe8f2"])
        place.contour(t, t, p, levels=[0.05], colors="C3", linewidths=1)
        place.plot(*usual[:400].T, ".", color="0.35", markersize=2)
        seen = detector.predict(anomalous)
        place.plot(*anomalous[seen].T, "x", color="C3", markersize=4)
        place.plot(*anomalous[~seen].T, "o", color="C3", markersize=4, fillstyle="none")
        alarms = detector.predict(usual).mean()
        place.set_title(f"{name}: {seen.mean():.0%} found,\n{alarms:.1%} false alarms", fontsize=10)
        place.set(xticks=[], yticks=[], xlim=(-REACH, REACH), ylim=(-REACH, REACH))
    last, mixture = axes[1, 2], data.mixture("gmm4")
    for name, detector in detectors.items():
        scores = detector.scores(usual), detector.scores(anomalous)
        last.plot(*chapter.roc(*scores), label=f"{name} {chapter.area(*scores):.3f}", linewidth=1.2)
    scores = mixture.log_density(usual), mixture.log_density(anomalous)
    last.plot(*chapter.roc(*scores), "black", linestyle=":", label=f"the truth {chapter.area(*scores):.3f}")
    last.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    last.set(xlabel="false alarms", ylabel="anomalies found", title="All thresholds, and the area below")
    last.legend(fontsize=8)
    made.suptitle("Red: suspect at 5 % (crosses: anomalies found, circles: missed)")
    return made


def sheet(areas, tables, columns=14):
    """The most and the least suspected of the usual digits, and of those that were planted; by kernels."""
    detector, usual, anomalous = tables["kernel"]
    rows, names = [], []
    order = np.argsort(detector.scores(usual))
    for name, chosen in (("usual, the most suspect", order[:columns]), ("usual, the least", order[-columns:])):
        rows.append(usual[chosen])
        names.append(f"{name}:\np from {detector.p_values(usual[chosen]).min():.3f}")
    for name, images in anomalous.items():
        rows.append(images[:columns])
        names.append(f"{name}: {detector.predict(images).mean():.0%} found\n"
                     f"area {chapter.area(detector.scores(usual), detector.scores(images)):.3f}")  # fmt: skip
    told = ", ".join(f"{name} {value:.3f}" for name, value in areas.items())
    return plot.image_grid(np.concatenate(rows).reshape(-1, 8, 8), columns, enlarge=4, row_names=names,
                           title=f"Planted among digits; area under the curve:\n{told}")  # fmt: skip


def changes(change, x, shuffles):
    """The series, the likelihood of a change at each time, the gain by chance, and the alarm as it comes."""
    made, axes = panels(2, 2, 5.6, 3.1)
    (first, second), (third, fourth) = axes
    t = int(change.t)
    for k in range(2):
        first.plot(x[:, k] + 7 * (1 - k), color=f"C{k}", linewidth=0.7)
    for place in (first, second, fourth):
        place.axvline(CHANGE, color="black", linestyle=":", label="the change")
    first.set(yticks=[7, 0], yticklabels=["$x_1$", "$x_2$"], xlabel="time", title="A series; neither part shows it")
    second.plot(np.arange(LENGTH + 1), change.log_likelihoods(x) - float(change.single), "C0")
    second.axvline(t, color="C3", linewidth=1, label=f"found: {t}")
    second.axhline(0, color="0.7", linewidth=0.8)
    second.set(xlabel="$t$", ylabel="nats", title=r"(5): $\ell(t)$ less that of no change")
    second.legend(fontsize=8)
    gains = chapter.shuffled_gains(x, change_point, shuffles, np.random.default_rng(0))
    p = (1 + (gains >= change.gain).sum()) / (shuffles + 1)
    third.hist(gains, bins=25, color="0.8", label=f"in {shuffles} random orders")
    third.axvline(change.gain, color="C3", label=f"as it came: {change.gain:.0f} nats, p = {p:.3f}")
    third.set(xlabel=r"(6): $\Lambda$", title="So large by chance?")
    third.legend(fontsize=8)
    known = Gaussian(2).fit(x[:150], run=Run(quiet=True))  # what was seen of the usual, when the watch begins
    mean = known.score(x[:150])
    steps = mean - 0.35 - known.score_samples(x[150:])  # surprise beyond its mean, less a little
    ratios = change.after.score_samples(x[150:]) - change.before.score_samples(x[150:])
    for name, values, colour, threshold in (("log-ratio, both\nlaws known", ratios, "C0", 6),
                                            ("surprise, the first\nlaw known", steps, "C1", 12)):  # fmt: skip
        S = chapter.cumulative_sum(values)
        above = np.flatnonzero(S > threshold)
        alarm = f"alarm {150 + above[0] - CHANGE:+d}" if len(above) else "no alarm"
        fourth.plot(np.arange(150, LENGTH), S, colour, label=f"{name}: {alarm}")
        fourth.axhline(threshold, color=colour, linestyle="--", linewidth=0.8)
    fourth.set(xlabel="time", ylabel="$S$", ylim=(0, 45), title="(7): watched from 150 on")
    fourth.legend(fontsize=8, loc="upper left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

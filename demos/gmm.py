"""EM fits Gaussian mixtures: two components on the line, clouds in the plane, and what can go wrong.

It draws the ellipses iteration by iteration (an animation and a filmstrip), the climb of the log-likelihood and the
bound that pushes it, the four kinds of covariance side by side, how many components BIC would have, where bad starts
end, what happens without `reg_covar`, and the petals of two species of iris told apart by their width alone.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import GaussianMixture, em
from tinygen.models.latent import gaussian_mixture as chapter
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C1", "C2"),
    model="latent.gaussian_mixture:GaussianMixture",
    claims={
        "largest deviation from scikit-learn after 30 iterations from one start": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "smallest rise of the log-likelihood in an iteration, relative": {
            "published": None, "bar": ">= -1e-9", "budget_min": 2},
    },
)  # fmt: skip
KINDS = ("full", "tied", "diag", "spherical")
COLOURS = np.array([[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189], [140, 86, 75],
                    [227, 119, 194], [127, 127, 127]]) / 255  # fmt: skip


def main(*, points=1500, components=4, covariance="full", steps=200, tol=1e-5, device="cpu", seed=0,
         quick=False, out="runs_out/gmm", resume=None):  # fmt: skip
    """Fit a mixture to the thesis's four clouds and draw how, and what else may happen.

    points: how many; components: of the mixture, 8 at most; covariance: full, tied, diag or spherical; steps:
    iterations at most; tol: stop when they raise the log-likelihood by less, in nats a point; quick: fewer starts,
    mixtures and problems
    """
    run = open_run(locals())
    x, test = (part.features.astype(float)[:points] for part in data.load("gmm4"))
    with blas_threads(1):
        model = by_chance(x, components, covariance, tol, seed, device).fit(x, steps=steps, run=run)
        scores = {"train": model.score(x), "test": model.score(test), "bic": model.bic(x), "deviation": deviation(),
                  "rise": smallest_rise(40 if quick else 200)}  # fmt: skip
        print("log-likelihood of a point {train:.4f}, of a new one {test:.4f}; BIC {bic:.0f}; largest deviation from "
              "scikit-learn {deviation:.1e}; smallest rise {rise:.1e}".format(**scores))  # fmt: skip
        frames = film(by_chance(x, components, covariance, tol, seed), x, steps)
        pictures(run, x, test, frames, model, 6 if quick else 30)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, x, test, frames, model, starts):
    """All of them."""
    metrics = read_metrics(run.folder / "metrics.csv")
    animate(run.folder / "em.gif", x, frames)
    run.save_figure("filmstrip.png", filmstrip(x, frames))
    run.save_figure("bound.png", bound(metrics))
    run.save_figure("kinds.png", kinds(x, model.n_components))
    run.save_figure("bic.png", criteria(x, test, 8, 2 if starts < 10 else 4))
    run.save_figure("pitfalls.png", pitfalls(x, model.n_components, starts))
    run.save_figure("petals.png", petals())


def reproduce(run, claims):
    """The claims of the CARD."""
    with blas_threads(1):
        values = {claim: deviation() if "scikit-learn" in claim else smallest_rise(1000) for claim in claims}
    return values


def tiny(rng):
    """A very small mixture and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    x = draws.normal((40, 2), dtype="float64") * 0.5
    x[::2] += 2
    return GaussianMixture(2, 2, tol=0, rng=model_rng), x


# ---- what is claimed --------------------------------------------------------------------------------------------


def clouds(draw, n, d, m):
    """Points around m centres, each cloud of its own shape."""
    which, shapes = draw.integers(0, m, n), draw.normal(size=(m, d, d))
    centres = 2 * draw.normal(size=(m, d))
    return centres[which] + np.einsum("nij,nj->ni", shapes[which], draw.normal(size=(n, d)))


def deviation(iterations=30):
    """The largest difference from scikit-learn, over kinds and sizes: parameters, and log-likelihood of each step."""
    import warnings

    from sklearn.mixture import GaussianMixture as Theirs

    worst = 0.0
    for kind in KINDS:
        for seed, (d, m) in enumerate([(1, 2), (2, 4), (5, 3)]):
            x = clouds(np.random.default_rng(seed), 500, d, m)
            ours = GaussianMixture(d, m, covariance=kind, tol=0)
            ours.start_at(x[:m])
            identity = {"full": np.tile(np.eye(d), (m, 1, 1)), "tied": np.eye(d), "diag": np.ones((m, d))}
            theirs = Theirs(m, covariance_type=kind, tol=0, max_iter=iterations, weights_init=np.full(m, 1 / m),
                            means_init=x[:m], precisions_init=identity.get(kind, np.ones(m)))  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it has not converged
                theirs.fit(x)
            pairs = [([float(ours.update(x)["log_likelihood"]) for _ in range(iterations)], theirs.lower_bounds_)]
            pairs += [(getattr(ours, name).numpy(), getattr(theirs, name + "_"))
                      for name in ("weights", "means", "covariances")]  # fmt: skip
            worst = max(worst, *(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs))
    return worst


def smallest_rise(problems, iterations=40):
    """The smallest rise of the log-likelihood, in parts of it, over random problems of every kind without reg_covar."""
    least, draw = np.inf, np.random.default_rng(0)
    for k in range(problems):
        d, m, n = (int(draw.integers(*limits)) for limits in ((1, 5), (1, 6), (20, 200)))
        x = clouds(draw, n, d, m)
        model = GaussianMixture(d, m, covariance=KINDS[k % 4], start=("random", "k-means++")[k // 4 % 2], reg_covar=0,
                                tol=0, rng=tg.random.Generator(k))  # fmt: skip
        reached = []
        try:
            model.begin(x)
            for _ in range(iterations):
                reached.append(float(model.update(x)["log_likelihood"]))
        except ValueError:  # a component has collapsed on too few points; until then it counts
            pass
        if len(reached) > 1:
            least = min(least, float(np.min(np.diff(reached) / np.abs(reached[1:]))))
    return least


# ---- fits -------------------------------------------------------------------------------------------------------


def by_chance(x, m, covariance="full", tol=1e-5, seed=0, device="cpu"):
    """A mixture that starts at points chosen at random, each component as wide as all the data: a poor start."""
    model = GaussianMixture(x.shape[1], m, covariance=covariance, tol=tol, rng=tg.random.Generator(seed, device=device))
    rows, variance = tg.random.Generator(seed).permutation(len(x))[:m], float(x.var(0).mean())
    wide = variance * (np.eye(x.shape[1]) if covariance in ("full", "tied") else np.ones(()))
    model.start_at(x[rows], covariances=np.broadcast_to(wide, model.covariances.shape))
    return model


def film(model, x, steps):
    """(iteration, means, covariances, responsibilities, log-likelihood) from the start to the end of a fit."""
    frames = []
    for t in range(steps + 1):
        frames.append((t, model.means.numpy(), spread(model), model.predict_proba(x), model.score(x)))
        if model.converged or t == steps:
            return frames
        model.update(x)


def spread(model):
    """The covariances of any kind as matrices (m, d, d)."""
    covariances, m, d = model.covariances.numpy(), model.n_components, model.n_features
    if covariances.ndim < 2 or model.covariance == "diag":
        return np.array([v * np.eye(d) for v in covariances])
    return np.broadcast_to(covariances, (m, d, d))


# ---- pictures ---------------------------------------------------------------------------------------------------


def clouded(axes, x, means, covariances, gamma):
    """Points in the colours of the components that answer for them, and ellipses at one and two standard deviations."""
    from matplotlib.patches import Ellipse

    axes.scatter(*x.T, s=4, color=np.clip(gamma @ COLOURS[: len(means)], 0, 1), alpha=0.5, linewidth=0)
    for mean, covariance, colour in zip(means, covariances, COLOURS, strict=False):
        values, vectors = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(*vectors[::-1, 1]))
        for sigmas in (1, 2):
            width, height = 2 * sigmas * np.sqrt(values[::-1])
            axes.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, color=0.7 * colour, linewidth=1.6))
        axes.plot(*mean, "x", color="black", markersize=6)
    low, high = x.min(0), x.max(0)
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], aspect="equal")


def panels(rows, columns, size=3.2):
    """A figure of so many panels, and these in a row."""
    made = plot.figure(size * columns, size * rows)
    made.set_layout_engine("constrained")
    return made, np.ravel(made.subplots(rows, columns))


def selected(frames, n):
    """n of the frames at most, the first and the last, close together at first and further apart later."""
    at = np.unique(np.round(np.geomspace(1, len(frames), n)).astype(int)) - 1
    return [frames[k] for k in at]


def filmstrip(x, frames):
    """Eight moments of a fit."""
    made, axes = panels(2, 4)
    for place, (t, means, covariances, gamma, score) in zip(axes, selected(frames, 8), strict=False):
        clouded(place, x, means, covariances, gamma)
        place.set_title(f"iteration {t}: {score:.3f} nats a point", fontsize=10)
    made.suptitle("EM: every point in the colours of the components that answer for it")
    return made


def animate(path, x, frames):
    """The same, moving."""
    from matplotlib.animation import PillowWriter

    made, (axes,) = panels(1, 1, 4)
    writer = PillowWriter(fps=5)
    with writer.saving(made, path, dpi=80):
        for t, means, covariances, gamma, score in selected(frames, 48):
            axes.clear()
            clouded(axes, x, means, covariances, gamma)
            axes.set_title(f"iteration {t}: {score:.3f} nats a point")
            writer.grab_frame()


def bound(metrics):
    """The climb, its two kinds of step, and the bounds as curves over one parameter."""
    made, (left, middle, right) = panels(1, 3, 4.2)
    reached, raised = (np.array(metrics[name]) for name in ("log_likelihood", "raised"))
    left.plot(reached, marker=".", markersize=4, linewidth=1)
    left.set(xlabel="iteration", ylabel="nats a point", title="The log-likelihood never falls")
    at = np.arange(1, min(7, len(reached)))
    middle.plot(at, reached[at], "o-", color="black", linewidth=0.7, label="log-likelihood")
    for t in at[:-1]:
        middle.plot([t, t + 1], [reached[t], raised[t]], "C0", linewidth=2, label="bound: the M step raises it")
        middle.plot([t + 1, t + 1], [raised[t], reached[t + 1]], "C3", linewidth=2, label="the E step closes the gap")
    middle.set(xlabel="iteration", title="The bound climbs in two steps")
    middle.legend(*(part[:3] for part in middle.get_legend_handles_labels()), loc="lower right")
    one_parameter(right)
    return made


def one_parameter(axes):
    """Log-likelihood and successive bounds as functions of one component's mean, the rest being known."""
    x, _ = petal_widths()
    places = np.linspace(0.4, 2.4, 200)

    def log_joint(mu):
        return np.log(0.5) + chapter.log_phi(x, np.array([mu, 2.03]), np.array([0.06, 0.06])).T  # (n, 2)

    axes.plot(places, [em.log_likelihood(log_joint(mu)) for mu in places], color="black", label="log-likelihood")
    mu = 2.15
    for t in range(3):
        q = em.posterior(log_joint(mu))
        axes.plot(places, [em.bound(q, log_joint(v)) for v in places], color=f"C{t}", linewidth=1,
                  label=f"bound after E step {t + 1}")  # fmt: skip
        axes.plot(mu, em.log_likelihood(log_joint(mu)), "o", color=f"C{t}")
        mu = np.sum(q[:, 0] * x) / np.sum(q[:, 0])
        axes.plot(mu, em.bound(q, log_joint(mu)), "^", color=f"C{t}")
    top = max(em.log_likelihood(log_joint(mu)) for mu in places)
    axes.set(ylim=(top - 250, top + 20), xlabel="mean of a component (cm)", ylabel="nats",
             title="From where it touches (o) to its top (△)")  # fmt: skip
    axes.legend(loc="lower center", fontsize=8)


def kinds(x, m):
    """The four kinds of covariance on the same points."""
    made, axes = panels(1, 4, 3.4)
    for place, kind in zip(axes, KINDS, strict=True):
        model = best_of(x, m, kind)
        clouded(place, x, model.means.numpy(), spread(model), model.predict_proba(x))
        free = chapter.n_parameters(m, x.shape[1], kind)
        scores = f"{model.score(x):.3f} nats a point, BIC {model.bic(x):.0f}"
        place.set_title(f"{kind}: {free} numbers\n{scores}", fontsize=10)
    return made


def best_of(x, m, kind, n_init=4, seed=0):
    """A fit from the best of several starts."""
    model = GaussianMixture(x.shape[1], m, covariance=kind, n_init=n_init, tol=1e-4, rng=tg.random.Generator(seed))
    return model.fit(x, steps=200, run=Run(quiet=True))


def criteria(x, test, most, n_init):
    """BIC by number of components and kind, and what it stands for: the fit to new points."""
    made, (left, right) = panels(1, 2, 4.4)
    counts = range(1, most + 1)
    for kind in KINDS:
        models = [best_of(x, m, kind, n_init) for m in counts]
        found = [model.bic(x) for model in models]
        (line,) = left.plot(counts, found, marker=".", label=kind)
        left.plot(1 + np.argmin(found), min(found), "o", color=line.get_color(), fillstyle="none", markersize=12)
        if kind == "full":
            full = models
    for points, name, colour in ((x, "these points", "grey"), (test, "new points", "C0")):
        right.plot(counts, [model.score(points) for model in full], marker=".", color=colour, label=name)
        truth = data.mixture("gmm4").log_density(points).mean()
        right.axhline(truth, color=colour, linestyle=":", label=f"{name}, by the truth")
    left.set(xlabel="components", ylabel="BIC", title="BIC (the least: circled)")
    right.set(xlabel="components", ylabel="nats a point", title="Full covariances")
    left.legend()
    right.legend()
    return made


def pitfalls(x, m, starts):
    """The best and the worst of many fits, where all of them end, and a collapse."""
    made, (best, worst, ends, collapse) = panels(1, 4, 3.6)
    ring = data.ring(m + 3, std=0.25).sample(len(x) // 2, tg.random.Generator(0), dtype="float64")
    mixtures = [by_chance(ring, m + 3, seed=seed, tol=1e-6) for seed in range(starts)]
    fits = [model.fit(ring, steps=500, run=Run(quiet=True)) for model in mixtures]
    scores = np.array([model.score(ring) for model in fits])
    for place, at, name in ((best, scores.argmax(), "best"), (worst, scores.argmin(), "worst")):
        clouded(place, ring, fits[at].means.numpy(), spread(fits[at]), fits[at].predict_proba(ring))
        place.set_title(f"The {name} of {starts} starts: {scores[at]:.3f}")
    ends.plot(np.sort(scores), "o", markersize=4)
    ends.set(xlabel="start (sorted)", ylabel="nats a point", title="Where starts end: local maxima")
    collapsing(collapse)
    return made


def collapsing(axes):
    """The width of a component that starts on the largest of twenty numbers, with and without reg_covar."""
    x = tg.random.Generator(3).normal((20, 1), dtype="float64")
    for reg_covar, colour in ((0.0, "C3"), (1e-3, "C0")):
        model, widths, name = GaussianMixture(1, 2, reg_covar=reg_covar, tol=0), [], f"reg_covar = {reg_covar:g}"
        model.start_at([[0.0], [x.max()]], covariances=[[[1.0]], [[0.12]]])
        try:
            for _ in range(15):
                widths.append(float(model.covariances.numpy()[1, 0, 0]) ** 0.5)
                model.update(x)
        except ValueError:
            name += "; refused after x"
            axes.plot(len(widths) - 1, widths[-1], "x", color=colour, markersize=12)
        axes.semilogy(widths, color=colour, marker=".", label=name)
    axes.set(
        xlabel="iteration", ylabel="standard deviation", ylim=(0.02, 1.5), title="Collapse on one of twenty points"
    )
    axes.legend(fontsize=8, loc="upper right")


def petal_widths():
    """Of versicolor and virginica, in cm, and which of the two they are (0, 1)."""
    iris = data.load("iris")
    features, labels = (np.concatenate([part[k] for part in iris]) for k in (0, 1))
    return features[labels > 0, 3].astype(float), labels[labels > 0] - 1


def petals():
    """S4's own case on real numbers: histogram, both components, their sum, and who answers for whom."""
    x, species = petal_widths()
    model = GaussianMixture(1, 2, reg_covar=0, tol=1e-8, rng=tg.random.Generator(0)).fit(
        x[:, None], steps=500, run=Run(quiet=True))  # fmt: skip
    order = np.argsort(model.means.numpy()[:, 0])
    grid = np.linspace(0.6, 2.9, 300)
    gamma, p = model.predict_proba(grid[:, None])[:, order], np.exp(model.score_samples(grid[:, None]))
    made = plot.figure(7.5, 5.6)
    made.set_layout_engine("constrained")
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.hist(x, bins=np.arange(0.95, 2.6, 0.1), density=True, color="lightgrey")
    above.plot(grid, p, color="black", label="the mixture")
    for k, name in enumerate(("versicolor", "virginica")):
        above.plot(grid, gamma[:, k] * p, color=f"C{k}", label=f"component {k + 1}")
        below.plot(x[species == k], np.full(sum(species == k), -0.06 + 1.12 * k), "|", color=f"C{k}", label=name)
    below.plot(grid, gamma[:, 1], color="C1", label="of component 2")
    below.plot(x, model.predict_proba(x[:, None])[:, order[1]], ".", color="C1", markersize=4)
    right = np.mean((model.predict_proba(x[:, None])[:, order[1]] > 0.5) == species)
    above.set(ylabel="density", title=f"A hundred petals of two species: {right:.0%} told apart")
    below.set(xlabel="width of the petal (cm)", ylabel="responsibility")
    above.legend()
    below.legend(loc="center left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

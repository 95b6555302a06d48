"""Kernel density estimation: humps on examples, how wide they should be, how wrong the sum is, and where it fails.

It draws the four kernels at work, three bandwidths and what cross-validation makes of them, radial and product kernels
in the plane, bias against variance and the rate of the error beside that of a histogram, and digits drawn from an
estimate in 64 dimensions.
"""

import math

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.data import Mixture
from tinygen.models.density import KernelDensity, kernel_error
from tinygen.models.density import kernel as chapter
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("B4",),
    model="density.kernel:KernelDensity",
    claims={
        "largest deviation of log f from scikit-learn's, four radial kernels, d = 1, 2, 5": {
            "published": None, "bar": "<= 1e-8", "budget_min": 1},
        "rate of the MISE in n, distance from -4/5": {
            "published": "n^(-4/5), S4 eq. 54", "bar": "<= 0.07", "budget_min": 2},
    },
)  # fmt: skip
HUMPS = Mixture((0.6, 0.4), ((-1.0,), (1.0,)), (((0.3**2,),), ((0.8**2,),)))  # weights, means, variances
CURVATURE = 3 / (8 * math.sqrt(math.pi))  # the integral of f''^2, if f is the standard normal density


def main(*, examples=300, kernel="gaussian", steps=40, device="cpu", seed=0, quick=False,
         out="runs_out/kernel_density", resume=None):  # fmt: skip
    """Estimate a density with two humps, and draw what decides about the error.

    examples: how many are drawn; kernel: gaussian, rectangular, triangular or epanechnikov; steps: bandwidths that
    cross-validation tries; quick: fewer simulations
    """
    run = open_run(locals())
    with blas_threads(1):
        x = draws(examples, seed)
        model = KernelDensity(1, kernel=kernel, rng=tg.random.Generator(seed, device=device))
        model.fit(x, steps=steps, run=run)
        reference = KernelDensity(1, kernel=kernel, bandwidth="reference").fit(x, run=Run(quiet=True))
        simulated = rates(repeats=6 if quick else 60)
        scores = {"bandwidth": float(model.bandwidth), "reference": float(reference.bandwidth),
                  "error": squared_error(model, model.bandwidth), "reference error":
                  squared_error(reference, reference.bandwidth), "deviation": deviation(),
                  "rate": slope(simulated["kernel"])}  # fmt: skip
        print("bandwidth {bandwidth:.3f} by cross-validation, squared error {error:.5f}; {reference:.3f} by reference, "
              "{reference error:.5f}; MISE falls as n^{rate:.3f}; deviation from scikit-learn {deviation:.1e}"
              .format(**scores))  # fmt: skip
        pictures(run, model, reference, simulated, quick)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, model, reference, simulated, quick):
    """All of them."""
    run.save_figure("bandwidths.png", bandwidths(model, reference, read_metrics(run.folder / "metrics.csv")))
    run.save_figure("kernels.png", kernels())
    run.save_figure("plane.png", plane(400))
    run.save_figure("errors.png", errors(simulated, 100 if quick else 1000))
    run.save_figure("digits.png", digits(10 if quick else 40))


def reproduce(run, claims):
    """The claims of the CARD."""
    with blas_threads(1):
        return {c: deviation() if "scikit-learn" in c else abs(slope(rates(repeats=100)["kernel"]) + 0.8)
                for c in claims}  # fmt: skip


def tiny(rng):
    """A very small estimate and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    return KernelDensity(2, rng=model_rng), draws.normal((40, 2), dtype="float64")


# ---- the truth --------------------------------------------------------------------------------------------------


def phi(x):
    """The standard normal density."""
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def truth(x):
    """A narrow hump and a wide one; (n,) to (n,)."""
    return np.exp(HUMPS.log_density(x[:, None]))


def draws(n, seed):
    """Examples (n, 1) of it."""
    return HUMPS.sample(n, tg.random.Generator(seed), dtype="float64")


def squared_error(model, h):
    """The integrated squared error of an estimate of the truth, with a bandwidth."""
    grid = np.linspace(-6, 6, 1201)
    found = np.exp(chapter.log_density(grid[:, None], model.examples.numpy(), float(h), model.kernel))
    return float(((found - truth(grid)) ** 2).sum() * (grid[1] - grid[0]))


# ---- what is claimed --------------------------------------------------------------------------------------------


def deviation():
    """The largest difference of log densities from scikit-learn's, where they are finite."""
    from sklearn.neighbors import KernelDensity as Theirs

    names, worst = {"rectangular": "tophat", "triangular": "linear"}, 0.0
    for d, h in ((1, 0.3), (2, 0.4), (5, 1.5)):
        draw = np.random.default_rng(d)
        X, x = draw.normal(size=(600, d)), draw.normal(size=(400, d))
        for kernel in chapter.KERNELS:
            ours = KernelDensity(d, kernel=kernel, bandwidth=h).fit(X, run=Run(quiet=True)).score_samples(x)
            theirs = Theirs(bandwidth=h, kernel=names.get(kernel, kernel)).fit(X).score_samples(x)
            inside = np.isfinite(ours)
            near = np.sqrt(((x[:, None] - X) ** 2).sum(2)).min(1) < h
            if (inside != (near | (kernel == "gaussian"))).any():  # scikit-learn has e^-40 at places beyond reach
                return math.inf
            worst = max(worst, float(np.abs(ours[inside] - theirs[inside]).max()))
    return worst


def rates(repeats, sizes=(500, 1000, 2000, 4000, 8000, 16_000, 32_000)):
    """Mean squared errors against a standard normal truth by n, each at its best bandwidth: kernel and histogram."""
    grid, edges = np.linspace(-6, 6, 601), 8.0
    draw, found = np.random.default_rng(0), {"kernel": {}, "histogram": {}}
    c1, c2 = kernel_error.mise_constants(CURVATURE, "gaussian")
    for n in sizes:
        h = kernel_error.optimum(n, c1, c2)[0]
        width = (n / 6 / (4 * math.sqrt(math.pi))) ** (-1 / 3)  # S4 eq. 32: the integral of f'^2 is 1 / (4 sqrt(pi))
        bins = np.arange(-edges, edges + width, width)
        inner = (np.arange(len(bins) - 1)[:, None] + np.linspace(0.05, 0.95, 10)) * width + bins[0]
        errors = {"kernel": [], "histogram": []}
        for _ in range(repeats):
            X = draw.standard_normal(n)
            smooth = np.exp(chapter.log_density(grid[:, None], X[:, None], h))
            errors["kernel"].append(((smooth - phi(grid)) ** 2).sum() * (grid[1] - grid[0]))
            steps = np.histogram(X, bins)[0][:, None] / (n * width)
            errors["histogram"].append(((steps - phi(inner)) ** 2).sum() * width / 10)
        for name, values in errors.items():
            found[name][n] = (float(np.mean(values)), float(np.std(values) / math.sqrt(repeats)))
    return found


def slope(found):
    """Of log error on log n."""
    return float(np.polyfit(np.log(list(found)), np.log([mean for mean, _ in found.values()]), 1)[0])


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(rows, columns, width=3.4, height=3.2, **options):
    """A figure of so many panels, and these."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def bandwidths(model, reference, metrics):
    """Too narrow, as cross-validation has it, too wide; and the criterion beside the error that nobody sees."""
    made, ((*three, last),) = panels(1, 4)
    X, best = model.examples.numpy(), float(model.bandwidth)
    grid = np.linspace(-3, 4, 700)
    names = ("too narrow: variance", "cross-validation", "reference (8): bias")
    for axes, h, name in zip(three, (best / 6, best, float(reference.bandwidth)), names, strict=True):
        axes.fill_between(grid, truth(grid), color="0.85", label="truth")
        axes.plot(grid, np.exp(chapter.log_density(grid[:, None], X, h, model.kernel)), "C0", label="estimate")
        axes.plot(X[:, 0], np.full(len(X), -0.02), "|", color="black", markersize=5, alpha=0.4)
        axes.set(title=f"{name}\n$h$ = {h:.3f}", xlim=(-3, 4), ylim=(-0.05, 1.25), xlabel="$x$")
    three[0].legend()
    tried = np.array(metrics["bandwidth"])
    square = float((truth(np.linspace(-6, 6, 1201)) ** 2).sum() * 0.01)
    last.plot(tried, np.array(metrics["criterion"]) + square, ".-", label=r"CV$(h) + \int f^2$")
    actual = [squared_error(model, h) for h in tried]
    last.plot(tried, actual, color="black", label="squared error")
    last.axvline(best, color="C0", linestyle=":", label="chosen")
    last.axvline(float(reference.bandwidth), color="grey", linestyle=":", label="reference")
    last.set(xscale="log", xlabel="$h$", title="What is seen, and what counts",
             ylim=(-0.1 * max(actual), 1.6 * max(actual)))  # fmt: skip
    last.legend(fontsize=8)
    return made


def kernels():
    """Each kernel on nine examples: the humps and their sum."""
    X, grid, h = np.sort(draws(9, 4)[:, 0]), np.linspace(-3.5, 4, 1500), 0.7
    made, (row,) = panels(1, 4, sharey=True)
    for axes, kernel in zip(row, chapter.KERNELS, strict=True):
        wide = h / math.sqrt(chapter.second_moment(kernel, 1)) * 0.6  # all with the same second moment
        for example in X:
            axes.plot(grid, chapter.estimate(grid, np.array([example]), wide, kernel) / len(X), "C0", linewidth=0.7)
        axes.plot(grid, chapter.estimate(grid, X, wide, kernel), "black", linewidth=1.8)
        axes.plot(X, np.full(len(X), -0.012), "|", color="C3", markersize=9, markeredgewidth=1.5)
        axes.set(title=f"{kernel}, $h$ = {wide:.2f}", xlabel="$x$")
    row[0].set(ylabel="density: the sum of the humps")
    return made


def plane(n):
    """Kernels of the plane, and estimates of the thesis's four clouds."""
    made, axes = panels(2, 4, 3.2, 3.0)
    mixture = data.mixture("gmm4")
    X = mixture.sample(n, tg.random.Generator(1), dtype="float64")
    shown = (("rectangular", False), ("rectangular", True), ("epanechnikov", False))
    for (above, below), (kernel, product) in zip(axes.T, (*shown, ("gaussian", False)), strict=True):
        model = KernelDensity(2, kernel=kernel, product=product).fit(X, steps=25, run=Run(quiet=True))
        one = KernelDensity(2, kernel=kernel, product=product, bandwidth=1.0).fit(np.zeros((1, 2)), run=Run(quiet=True))
        reach = 3.0 if kernel == "gaussian" else 1.3
        image(above, lambda points, one=one: np.exp(one.score_samples(points)), reach)
        kind = "both ways" if kernel == "gaussian" else "product" if product else "radial"
        above.set_title(f"{kernel}, {kind}", fontsize=10)
        image(below, lambda points, model=model: np.exp(model.score_samples(points)), 6.5)
        below.plot(*X.T, ".", color="white", markersize=1.2, alpha=0.5)
        below.set(xlim=(-6.5, 6.5), ylim=(-6.5, 6.5))
        heights = mixture.log_density(mixture.sample(4000, tg.random.Generator(2), dtype="float64")).mean()
        below.set_title(f"$h$ = {float(model.bandwidth):.2f}: {held_out(model, mixture):.3f} nats a new point\n"
                        f"(the truth: {heights:.3f})", fontsize=10)  # fmt: skip
    return made


def held_out(model, mixture):
    """The mean log-likelihood of new points; one that no kernel reaches counts as e^-20."""
    new = mixture.sample(4000, tg.random.Generator(2), dtype="float64")
    return float(np.maximum(model.score_samples(new), -20).mean())


def image(axes, density, reach):
    """A density of the plane as colours."""
    t = np.linspace(-reach, reach, 161)
    points = np.stack(np.meshgrid(t, t), -1).reshape(-1, 2)
    axes.imshow(density(points).reshape(161, 161), origin="lower", extent=(-reach, reach) * 2, cmap="viridis")
    axes.set(xticks=[], yticks=[])


def errors(simulated, repeats):
    """Bias against variance at a point; the integrated error by bandwidth; its rate."""
    made, ((left, middle, right),) = panels(1, 3, 4.4, 3.8)
    n, x = 200, np.zeros(1)
    widths, fine = np.geomspace(0.08, 1.6, 9), np.geomspace(0.07, 1.8, 60)
    draw = np.random.default_rng(0)
    samples = draw.standard_normal((repeats, n))
    found = np.array([[chapter.estimate(x, X, h)[0] for X in samples] for h in widths])  # (h, repeats)
    bias = np.array([kernel_error.expectation(phi, x, h, "gaussian")[0] - phi(0) for h in fine])
    variance = np.array([kernel_error.variance(phi, x, h, n, "gaussian")[0] for h in fine])
    c1, c2 = (f(phi(0), "gaussian") for f in (kernel_error.bias_constant, kernel_error.variance_constant))
    left.loglog(fine, bias**2, "C0", label="bias², exact")
    left.loglog(fine, variance, "C1", label="variance, exact")
    left.loglog(fine, bias**2 + variance, "black", label="sum")
    left.loglog(fine, kernel_error.bound(fine, n, c1, c2), color="grey", linestyle="--", label="S4's bound")
    left.loglog(widths, found.var(1), "o", color="C1", markersize=5)
    left.loglog(widths, (found.mean(1) - phi(0)) ** 2 + found.var(1), "o", color="black", markersize=5)
    left.set(xlabel="$h$", ylabel="squared error", ylim=(1e-6, 0.3),
             title=f"At $x = 0$ of a normal, n = {n}\n(o: {repeats} simulations)")  # fmt: skip
    grid = np.linspace(-9, 9, 451)
    for k, size in enumerate((50, 500, 5000)):
        exact = [kernel_error.mise(phi, h, size, "gaussian", grid) for h in fine]
        constants = kernel_error.mise_constants(CURVATURE, "gaussian")
        middle.loglog(fine, exact, f"C{k}", label=f"n = {size}")
        middle.loglog(fine, kernel_error.bound(fine, size, *constants), f"C{k}--", linewidth=0.9)
        middle.plot(*kernel_error.optimum(size, *constants), "^", color=f"C{k}")
    middle.set(xlabel="$h$", title="MISE: exact, and for small $h$ (dashed)\n△: the best $h$ of (6)", ylim=(2e-4, 1))
    for (name, values), marker in zip(simulated.items(), "os", strict=True):
        sizes, (means, spread) = np.array(list(values)), np.transpose(list(values.values()))
        right.errorbar(sizes, means, 2 * spread, fmt=marker, markersize=4, label=f"{name}: $n^{{{slope(values):.3f}}}$")
        power = {"kernel": -4 / 5, "histogram": -2 / 3}[name]
        right.plot(sizes, means[-1] * (sizes / sizes[-1]) ** power, "--", color="grey", linewidth=0.9)
    right.set(xscale="log", yscale="log", xlabel="$n$",
              title="MISE at the best width, simulated\n(dashed: $n^{-4/5}$, $n^{-2/3}$)")  # fmt: skip
    for axes in (left, middle, right):
        axes.legend(fontsize=8)
    return made


def digits(steps, columns=12):
    """Draws from estimates of digits, a dimension a pixel: each is an example with noise on it."""
    train = data.load("digits").train
    X, shape = train.images.reshape(len(train.images), -1).astype(float), train.images.shape[1:]
    rows, names = [], []
    for rule, name in (("reference", "reference"), ("cross-validation", "cross-\nvalidation")):
        model = KernelDensity(X.shape[1], bandwidth=rule).fit(X, steps=steps, run=Run(quiet=True))
        drawn = model.sample(columns, rng=tg.random.Generator(5))
        nearest = X[((drawn[:, None] - X) ** 2).sum(2).argmin(1)]
        rows += [drawn, nearest]
        names += [f"{name}\n$h$ = {float(model.bandwidth):.2f}", "nearest\nexample"]
    return plot.image_grid(np.concatenate(rows).reshape(-1, *shape), columns, enlarge=3, row_names=names,
                           title="Draws from kernel estimates in 64 dimensions: examples and noise")  # fmt: skip


if __name__ == "__main__":
    from common import command

    command(main)

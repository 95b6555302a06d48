"""Histograms: what their origin and width decide, how wrong they are, and why many dimensions defeat them.

It draws one set of examples in bins that begin at different places, the mean of them all, three widths and what
cross-validation makes of them; the error, simulated and by formula, with its rate; and boxes that stay empty.
"""

import math

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.data import Mixture
from tinygen.models.density import Histogram, histogram_error
from tinygen.models.density import histogram as chapter
from tinygen.runs import Run, open_run

CARD = dict(
    rows=("B3",),
    model="density.histogram:Histogram",
    claims={
        "largest deviation of the simulated MISE from (14) less its (1/n) int f^2": {
            "published": "S4 eq. 14, which drops the term", "bar": "<= 0.02", "budget_min": 2},
        "deviation of the simulated best width from (32)": {
            "published": "S4 eq. 32", "bar": "<= 0.02", "budget_min": 2},
        "rate of the simulated MISE in n, distance from -2/3": {
            "published": "n^(-2/3), S4", "bar": "<= 0.07", "budget_min": 2},
    },
)  # fmt: skip
HUMPS = Mixture((0.6, 0.4), ((-1.0,), (1.0,)), (((0.35**2,),), ((0.8**2,),)))  # weights, means, variances
LOW, HIGH = -4.0, 5.0  # where their examples lie
SQUARE, SLOPE = 10 / 7, 120 / 7  # the integrals of f^2 and f'^2 of `bell`
N, BINS = 4000, range(12, 46)  # examples of it in a simulated histogram, and how many bins


def main(*, examples=300, bins=18, steps=1, device="cpu", seed=0, quick=False, out="runs_out/histogram",
         resume=None):  # fmt: skip
    """Count examples of a density with two humps, and draw what decides about the error.

    examples: how many are drawn; bins: from -4 to 5; steps: in how many parts they are counted; quick: fewer
    simulations
    """
    run = open_run(locals())
    x = draws(examples, seed)
    model = Histogram(1, bins, x_0=LOW, h=(HIGH - LOW) / bins, rng=tg.random.Generator(seed, device=device))
    model.fit(x, steps=steps, run=run)
    simulated = simulate(200 if quick else 2000)
    sizes = rates(20 if quick else 200)
    chosen = best_bins(x)
    scores = {"error": squared_error(model), "bins": chosen, "chosen error": squared_error(counted(x, chosen)),
              "deviation": deviation(simulated), "width": width_deviation(simulated), "rate": slope(sizes)}  # fmt: skip
    print(f"squared error of {bins} bins {scores['error']:.4f}; cross-validation chooses {chosen} with "
          "{chosen error:.4f}; simulated MISE within {deviation:.1%} of the formula, best width within {width:.1%}; it "
          "falls as n^{rate:.3f}".format(**scores))  # fmt: skip
    pictures(run, x, simulated, sizes)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, x, simulated, sizes):
    """All of them."""
    run.save_figure("origins.png", origins(x[:100]))
    run.save_figure("widths.png", widths(x))
    run.save_figure("errors.png", errors(simulated, sizes))
    run.save_figure("boxes.png", boxes())


def reproduce(run, claims):
    """The claims of the CARD."""
    simulated = simulate(2000)
    values = (deviation(simulated), width_deviation(simulated), abs(slope(rates(200)) + 2 / 3))
    found = dict(zip(CARD["claims"], values, strict=True))
    return {claim: found[claim] for claim in claims}


def tiny(rng):
    """A very small histogram and something to count."""
    model_rng, draws = rng.spawn(2)
    return Histogram(2, 5, rng=model_rng), draws.uniform((40, 2), dtype="float64")


# ---- the truths -------------------------------------------------------------------------------------------------


def truth(x):
    """A narrow hump and a wide one; (n,) to (n,)."""
    return np.exp(HUMPS.log_density(x[:, None]))


def draws(n, seed):
    """Examples (n, 1) of it, from LOW to HIGH (beyond are fewer than one in a million)."""
    return np.clip(HUMPS.sample(n, tg.random.Generator(seed), dtype="float64"), LOW + 1e-9, HIGH)


def bell(x):
    """A density on [0, 1], smooth at both ends: that of the Beta law with parameters 3 and 3."""
    return 30 * x**2 * (1 - x) ** 2


def counted(x, K):
    """A histogram of K bins from LOW to HIGH."""
    return Histogram(1, K, x_0=LOW, h=(HIGH - LOW) / K).fit(x, run=Run(quiet=True))


def squared_error(model):
    """The integrated squared error of a histogram of the two humps."""
    grid = np.linspace(LOW, HIGH, 9001)[1:]
    return float(((np.exp(model.score_samples(grid[:, None])) - truth(grid)) ** 2).mean() * (HIGH - LOW))


def best_bins(x):
    """How many bins cross-validation chooses."""
    tried = range(3, 61)
    return tried[int(np.argmin([counted(x, K).cross_validation() for K in tried]))]


# ---- what is claimed --------------------------------------------------------------------------------------------


def simulated_errors(n, K, samples):
    """The integrated squared error of each histogram of n examples with K bins: (repeats, n) to (repeats,)."""
    cells = np.ceil(samples * K).astype(np.int64) - 1 + K * np.arange(len(samples))[:, None]
    shares = np.bincount(cells.ravel(), minlength=K * len(samples)).reshape(len(samples), K) / n
    return K * (shares**2).sum(1) - 2 * K * shares @ histogram_error.quadrature(bell, K) + SQUARE


def simulate(repeats):
    """The mean squared error of N examples by the number of bins, and its standard error: all of the same examples."""
    samples = np.random.default_rng(0).beta(3, 3, (repeats, N))
    errors = {K: simulated_errors(N, K, samples) for K in BINS}
    return {K: (float(e.mean()), float(e.std() / math.sqrt(repeats))) for K, e in errors.items()}


def deviation(simulated):
    """The largest deviation of the simulated error from the formula, as a part of it."""
    return max(abs(mean / histogram_error.approximate_mise(1 / K, N, SLOPE, SQUARE) - 1)
               for K, (mean, _) in simulated.items())  # fmt: skip


def best_width(simulated):
    """Where a h^2 + b / h + c, fitted to the simulated errors, is least."""
    h, mean = 1 / np.array(list(simulated)), np.array([mean for mean, _ in simulated.values()])
    terms = np.stack([h**2, 1 / h, np.ones_like(h)], axis=1)
    a, b, _ = np.linalg.lstsq(terms / mean[:, None], np.ones_like(h))[0]
    return (b / (2 * a)) ** (1 / 3)


def width_deviation(simulated):
    """How far that is from (32), as a part of it."""
    return float(abs(best_width(simulated) / histogram_error.optimum(N, SLOPE, SQUARE)[0] - 1))


def rates(repeats, sizes=(250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)):
    """Simulated mean squared errors at the best width, and their standard errors, by n."""
    draw, found = np.random.default_rng(1), {}
    for n in sizes:
        K = round(1 / histogram_error.optimum(n, SLOPE, SQUARE)[0])
        errors = np.concatenate([simulated_errors(n, K, draw.beta(3, 3, (10, n))) for _ in range(repeats // 10)])
        found[n] = float(errors.mean()), float(errors.std() / math.sqrt(len(errors)))
    return found


def slope(found):
    """Of log error on log n."""
    return float(np.polyfit(np.log(list(found)), np.log([mean for mean, _ in found.values()]), 1)[0])


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(rows, columns, width=3.4, height=3.1, **options):
    """A figure of so many panels, and these."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def shown(axes, x, x_0, h, colour="C0", **options):
    """A histogram with its borders."""
    grid = np.linspace(-3.2, 4.2, 4000)
    axes.fill_between(grid, truth(grid), color="0.87")
    axes.plot(grid, chapter.estimate(grid, x[:, 0], x_0, h), colour, linewidth=1.3, **options)
    axes.plot(x[:, 0], np.full(len(x), -0.02), "|", color="black", markersize=5, alpha=0.5)
    axes.set(xlim=(-3.2, 4.2), ylim=(-0.045, 1.05), xlabel="$x$")


def origins(x):
    """Bins of one width that begin at four places, and the mean over ever more of them."""
    made, axes = panels(2, 4, sharey=True)
    h, grid = 1.0, np.linspace(-3.2, 4.2, 2000)
    for k, place in enumerate(axes[0]):
        shown(place, x, k * h / 4, h)
        place.set_title(f"$h$ = {h:g}, $x_0$ = {k * h / 4:g}")
    kernel = np.maximum(1 - np.abs(grid[:, None] - x[:, 0]) / h, 0).mean(1) / h
    for place, m in zip(axes[1], (2, 4, 16, 0), strict=True):
        place.fill_between(grid, truth(grid), color="0.87")
        if m:
            place.plot(grid, chapter.averaged(grid, x[:, 0], 0.0, h, m), "C0", linewidth=1.2)
        place.plot(grid, kernel, "C3", linewidth=0.9 if m else 1.5, linestyle="--" if m else "-")
        place.plot(x[:, 0], np.full(len(x), -0.02), "|", color="black", markersize=5, alpha=0.5)
        place.set(xlim=(-3.2, 4.2), ylim=(-0.045, 1.05), xlabel="$x$",
                  title=f"the mean over {m} origins" if m else "a triangular kernel")  # fmt: skip
    made.suptitle(f"The same {len(x)} examples (grey: the truth)")
    return made


def widths(x):
    """Too wide, chosen, too narrow; and what is seen of the error."""
    made, ((*three, last),) = panels(1, 4)
    chosen, tried, span = best_bins(x), np.arange(3, 61), HIGH - LOW
    names = ("too wide: bias", "cross-validation", "too narrow: variance")
    for place, K, name in zip(three, (6, chosen, 160), names, strict=True):
        shown(place, x, LOW, span / K)
        place.set_title(f"{name}\n$h$ = {span / K:.2f}")
        place.set_ylim(-0.06, 1.4)
    square = truth(np.linspace(LOW, HIGH, 9001)).__pow__(2).mean() * span
    last.plot(span / tried, [counted(x, K).cross_validation() + square for K in tried], ".-", markersize=4,
              label=r"CV$(h) + \int f^2$")  # fmt: skip
    last.plot(span / tried, [squared_error(counted(x, K)) for K in tried], color="black", label="squared error")
    last.axvline(span / chosen, color="C0", linestyle=":", label="chosen")
    last.axvline(chapter.normal_reference(x.std(), len(x)), color="grey", linestyle=":", label="normal reference")
    last.set(xscale="log", xlabel="$h$", title="What is seen, and what counts\n(jagged: the borders move, too)")
    last.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    last.set_xticks([], minor=True)
    last.legend(fontsize=8)
    return made


def errors(simulated, sizes):
    """Bias and variance in each bin; the error by width, simulated and by formulas; its rate."""
    made, ((left, middle, right),) = panels(1, 3, 4.5, 3.9)
    K, n = 10, 200
    p, grid = histogram_error.quadrature(bell, K), np.linspace(0, 1, 1001)
    mean, variance = histogram_error.mean_and_variance(p, n)
    bin_of = np.minimum((grid * K).astype(int), K - 1)
    left.plot(grid, bell(grid), "black", label="$f$")
    left.plot(grid, mean[bin_of], "C0", label=r"mean of $\hat f$")
    left.fill_between(grid, (mean - variance**0.5)[bin_of], (mean + variance**0.5)[bin_of], color="C1", alpha=0.35,
                      label="one standard deviation")  # fmt: skip
    left.fill_between(grid, bell(grid), mean[bin_of], color="0.3", alpha=0.6, linewidth=0)
    left.set(xlabel="$x$", title=f"Bias (dark) and variance: n = {n}, {K} bins")
    left.legend(fontsize=8, loc="lower center")
    width, fine = 1 / np.array(list(simulated)), np.linspace(1 / max(BINS), 1 / min(BINS), 200)
    means, spread = np.transpose(list(simulated.values()))
    middle.errorbar(width, means, 2 * spread, fmt="o", markersize=3, color="black", label="simulated")
    middle.plot(fine, histogram_error.approximate_mise(fine, N, SLOPE, SQUARE), "C0", label=r"(5): with $-\int f^2/n$")
    middle.plot(fine, histogram_error.approximate_mise(fine, N, SLOPE, 0), "C3--", label="S4 eq. 14 as printed")
    middle.plot(fine, fine**2 / 12 * SLOPE, color="0.6", linewidth=0.8)
    middle.plot(fine, 1 / (N * fine), color="0.6", linewidth=0.8)
    middle.annotate("bias", (fine[-1] * 0.87, fine[-1] ** 2 * 0.62 * SLOPE / 12), color="0.5")
    middle.annotate("variance", (fine[-1] * 0.8, 1.12 / (N * fine[-1] * 0.8)), color="0.5")
    middle.axvline(histogram_error.optimum(N, SLOPE, SQUARE)[0], color="C0", linestyle=":", label="(6): the best $h$")
    middle.axvline(best_width(simulated), color="black", linestyle=":", label="of the simulation")
    middle.set(xlabel="$h$", title=f"MISE, n = {N}", ylim=(0, 1.35 * means.max()))
    middle.legend(fontsize=8, loc="upper center")
    n, (means, spread) = np.array(list(sizes)), np.transpose(list(sizes.values()))
    right.errorbar(n, means, 2 * spread, fmt="o", color="black", label=f"simulated: $n^{{{slope(sizes):.3f}}}$")
    right.plot(n, histogram_error.optimum(n, SLOPE, SQUARE)[1], "C0", label="(6)")
    right.plot(n, means[-1] * (n / n[-1]) ** (-2 / 3), "--", color="grey", label="$n^{-2/3}$")
    right.set(xscale="log", yscale="log", xlabel="$n$", title="MISE at the best width")
    right.legend()
    return made


def boxes(n=2000):
    """A histogram of the plane; how many boxes there are in more dimensions, and how many new examples find none."""
    made, ((left, middle, right),) = panels(1, 3, 4.3, 3.8)
    mixture = data.mixture("gmm4")
    x = np.clip(mixture.sample(n, tg.random.Generator(1), dtype="float64"), -7.99, 8)
    model = Histogram(2, 24, x_0=-8.0, h=16 / 24).fit(x, run=Run(quiet=True))
    image = model.counts.numpy() / (n * model.h**2)
    left.imshow(np.where(image > 0, image, np.nan).T, origin="lower", extent=(-8, 8, -8, 8), cmap="viridis")
    left.set(title=f"{n} examples, 24 x 24 boxes\n(white: empty)", facecolor="white")
    dims, colours = np.arange(1, 8), {4: "C0", 8: "C1"}
    draw = tg.random.Generator(2)
    for K, colour in colours.items():
        middle.semilogy(dims, float(K) ** dims, "o-", color=colour, markersize=4, label=f"{K} an axis: boxes")
        occupied, lost = [], []
        for d in dims:
            z = np.clip(draw.normal((2 * n, d), dtype="float64") / 6 + 0.5, 1e-9, 1)
            counts = {tuple(row) for row in chapter.bins(z[:n], 0.0, 1 / K)}
            occupied.append(len(counts))
            lost.append(np.mean([tuple(row) not in counts for row in chapter.bins(z[n:], 0.0, 1 / K)]))
        middle.semilogy(dims, occupied, "s--", color=colour, markersize=4, label=f"{K} an axis: not empty")
        right.plot(dims, lost, "o-", color=colour, markersize=4, label=f"{K} an axis")
    middle.axhline(n, color="black", linestyle=":", linewidth=1)
    middle.annotate(f"{n} examples", (1, 1.2 * n), fontsize=8)
    middle.set(xlabel="dimensions", title="Boxes grow exponentially")
    right.set(xlabel="dimensions", ylim=(-0.02, 1), title="New examples in an empty box,\nsaid to be impossible")
    middle.legend(fontsize=8)
    right.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

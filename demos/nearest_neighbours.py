"""Density by nearest neighbours: what the number of neighbours decides, why it must grow, and why this is no density.

It draws estimates of a density with two humps; their tails, and the integral that never ends; the law of the error for
a fixed number of neighbours, a fixed share, and between; and estimates of clouds in the plane.
"""

import math

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.data import Mixture
from tinygen.models.density import KernelDensity, NearestNeighbours
from tinygen.models.density import nearest_neighbours as chapter
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("B5",),
    model="density.nearest_neighbours:NearestNeighbours",
    claims={
        "largest deviation of log f from brute force, d = 1, 2, 5, 20": {
            "published": None, "bar": "<= 1e-10", "budget_min": 1},
        "no density: the integral from 10^3 to 10^6 over (k d / n) log 10^3, distance from 1": {
            "published": "diverges, S4", "bar": "<= 0.01", "budget_min": 1},
        "consistency: error at n = 10^5 over that at 10^2, k = n^(1/2)": {
            "published": "0 in the limit, S4 eq. 60", "bar": "<= 0.3", "budget_min": 1},
        "the same, k = 5: does not vanish": {"published": None, "bar": ">= 0.7", "budget_min": 1},
        "the same, k = n / 5: does not vanish": {"published": None, "bar": ">= 0.7", "budget_min": 1},
    },
)  # fmt: skip
HUMPS = Mixture((0.6, 0.4), ((-1.0,), (1.0,)), (((0.3**2,),), ((0.8**2,),)))  # weights, means, variances
RULES = {
    "k = 5": lambda n: 5,
    "k = n / 5": lambda n: n // 5,
    "k = n^(1/2)": lambda n: round(n**0.5),
    "k = the best of (5)": lambda n: round(float(chapter.best_number(phi(PLACE), bend(PLACE), n))),
}
PLACE = 2.0  # where the error is looked at: on the flank of a normal density


def main(*, examples=300, steps=12, device="cpu", seed=0, quick=False, out="runs_out/nearest_neighbours",
         resume=None):  # fmt: skip
    """Estimate a density with two humps, and draw what decides about the error.

    examples: how many are drawn; steps: numbers of neighbours that are tried; quick: fewer simulations
    """
    run = open_run(locals())
    with blas_threads(1):
        x = draws(examples, seed)
        model = NearestNeighbours(1, rng=tg.random.Generator(seed, device=device)).fit(x, steps=steps, run=run)
        found = consistency(60 if quick else 400)
        scores = {"k": int(model.k), "deviation": deviation(), "tail": tail_gap()}
        scores |= {name: values[-1] / values[0] for name, values in found.items()}
        print("{k} neighbours; deviation from brute force {deviation:.1e}; integral far out, relative error "
              "{tail:.1e}; errors, of many examples over those of a hundred:".format(**scores),
              ", ".join(f"{name}: {scores[name]:.2f}" for name in RULES))  # fmt: skip
        pictures(run, model, found, quick)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, model, found, quick):
    """All of them."""
    run.save_figure("estimates.png", estimates(model))
    run.save_figure("no_density.png", no_density(model))
    run.save_figure("consistency.png", errors(found, 500 if quick else 4000))
    run.save_figure("plane.png", plane(400))


def reproduce(run, claims):
    """The claims of the CARD."""
    with blas_threads(1):
        found = consistency(400)
        ratios = [found[name][-1] / found[name][0] for name in ("k = n^(1/2)", "k = 5", "k = n / 5")]
        values = dict(zip(CARD["claims"], [deviation(), tail_gap(), *ratios], strict=True))
    return {claim: float(values[claim]) for claim in claims}


def tiny(rng):
    """A very small estimate and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    return NearestNeighbours(2, box_points=50, rng=model_rng), draws.normal((40, 2), dtype="float64")


# ---- the truth --------------------------------------------------------------------------------------------------


def phi(x):
    """The standard normal density."""
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def bend(x):
    """The second derivative of the standard normal density."""
    return (x * x - 1) * phi(x)


def truth(x):
    """A narrow hump and a wide one; (n,) to (n,)."""
    return np.exp(HUMPS.log_density(x[:, None]))


def draws(n, seed):
    """Examples (n, 1) of it."""
    return HUMPS.sample(n, tg.random.Generator(seed), dtype="float64")


def given(x, k):
    """The estimate of a number of neighbours."""
    return NearestNeighbours(x.shape[1], k=k).fit(x, run=Run(quiet=True))


# ---- what is claimed --------------------------------------------------------------------------------------------


def deviation():
    """The largest difference of log f from the formula on a table of all distances, sorted."""
    worst = 0.0
    for d, k in ((1, 3), (1, 300), (2, 20), (5, 10), (20, 7)):
        draw = np.random.default_rng(d)
        X, x = draw.normal(size=(1000, d)), draw.normal(size=(300, d))
        table = np.sort(np.sqrt(((x[:, None] - X) ** 2).sum(2)), axis=1)
        volume = math.pi ** (d / 2) / math.gamma(d / 2 + 1) * table[:, k - 1] ** d
        worst = max(worst, float(np.abs(given(X, k).log_estimate(x) - np.log(k / (1000 * volume))).max()))
    return worst


def integral(model, inner, outer, nodes=200, turns=64):
    """The integral of an estimate between two radii about the origin, by a rule in log r and angles; d = 1 or 2."""
    d = model.n_features
    u, weight = np.polynomial.legendre.leggauss(nodes)
    log_r = math.log(inner) + (u + 1) / 2 * math.log(outer / inner)
    angles = 2 * math.pi * np.arange(turns) / turns
    ways = np.array([[1.0], [-1.0]]) if d == 1 else np.stack([np.cos(angles), np.sin(angles)], 1)  # (ways, d)
    points = np.exp(log_r)[:, None, None] * ways  # (nodes, ways, d)
    f = np.exp(model.log_estimate(points.reshape(-1, d))).reshape(nodes, -1)
    sphere = 2 if d == 1 else 2 * math.pi
    return float((f.mean(1) * np.exp(d * log_r) * sphere) @ weight * math.log(outer / inner) / 2)


def tail_gap():
    """How far the integral from 10^3 to 10^6 is from (6), as a part of it: on the line, and in the plane."""
    draw, worst = np.random.default_rng(0), 0.0
    for d, k in ((1, 10), (2, 20)):
        found = integral(given(draw.normal(size=(200, d)), k), 1e3, 1e6)
        worst = max(worst, abs(found / chapter.mass_between(1e3, k, 200, d) - 1))
    return worst


def consistency(repeats, sizes=(100, 1000, 10_000, 100_000)):
    """The root mean squared error of f at PLACE, as a part of f, by rule and n."""
    draw, found = np.random.default_rng(0), {name: [] for name in RULES}
    for n in sizes:
        squares = {name: [] for name in RULES}
        for _ in range(repeats):
            away = np.abs(draw.standard_normal(n) - PLACE)
            numbers = {name: rule(n) for name, rule in RULES.items()}
            away.partition(sorted({k - 1 for k in numbers.values()}))
            for name, k in numbers.items():
                f = math.exp(chapter.log_estimate(away[k - 1], k, n, 1))
                squares[name].append((f / phi(PLACE) - 1) ** 2)
        for name, values in squares.items():
            found[name].append(float(np.mean(values)) ** 0.5)
    return found


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(rows, columns, width=3.6, height=3.2, **options):
    """A figure of so many panels, and these."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def estimates(model):
    """Few neighbours, as many as were chosen, and many; and a kernel estimate beside them."""
    made, (row,) = panels(1, 4, sharey=True)
    X, best, grid = model.examples.numpy(), int(model.k), np.linspace(-3, 4, 1500)
    shown = [(f"$k$ = {k}{note}", np.exp(given(X, k).log_estimate(grid[:, None])))
             for k, note in ((4, ": variance"), (best, ": chosen"), (len(X) // 2, ": bias"))]  # fmt: skip
    kernel = KernelDensity(1).fit(X, run=Run(quiet=True))
    shown.append((f"a kernel, $h$ = {float(kernel.bandwidth):.2f}", np.exp(kernel.score_samples(grid[:, None]))))
    for axes, (name, f) in zip(row, shown, strict=True):
        axes.fill_between(grid, truth(grid), color="0.87", label="truth")
        axes.plot(grid, f, "C0", linewidth=1.2)
        axes.plot(X[:, 0], np.full(len(X), -0.02), "|", color="black", markersize=5, alpha=0.4)
        axes.set(title=name, xlabel="$x$", xlim=(-3, 4), ylim=(-0.05, 1.4))
    row[0].legend()
    return made


def no_density(model):
    """The tails, and the integral by how far it goes."""
    made, ((left, right),) = panels(1, 2, 4.8, 3.9)
    X, n = model.examples.numpy(), len(model.examples)
    far = np.geomspace(1, 1e4, 300)
    kernel = KernelDensity(1).fit(X, run=Run(quiet=True))
    for j, k in enumerate((5, 30, 100)):
        left.loglog(far, np.exp(given(X, k).log_estimate(far[:, None])), f"C{j}", label=f"$k$ = {k}")
        left.loglog(far, k / (2 * n * far), f"C{j}", linestyle=":")
    left.loglog(far, np.maximum(np.exp(kernel.score_samples(far[:, None])), 1e-30), "black", label="a kernel")
    left.set(ylim=(1e-7, 1), xlabel="$x$", ylabel=r"$\hat f(x)$", title="Tails (dotted: $k / 2n|x|$)")
    left.legend()
    ends = np.geomspace(5, 1e6, 40)
    for j, k in enumerate((5, 30, 100)):
        one = given(X, k)
        grid = np.linspace(X.min(), X.max(), 20_001)
        inside = np.exp(one.log_estimate(grid[:, None])).mean() * (grid[-1] - grid[0])
        both = [
            chapter.mass_on_the_right(end, X[:, 0], k) + chapter.mass_on_the_right(end, -X[:, 0], k) for end in ends
        ]
        right.semilogx(ends, inside + np.array(both), f"C{j}", label=f"$k$ = {k}")
    right.axhline(1, color="black", label="a density")
    right.set(xlabel="$R$", title=r"$\int_{-R}^{R} \hat f$ goes on growing, like $\frac{k}{n} \log R$")
    right.legend()
    return made


def errors(found, repeats):
    """The law of the estimate for some k; the error by k, and by n for each rule."""
    made, ((left, middle, right),) = panels(1, 3, 4.6, 3.9)
    n, draw, place = 2000, np.random.default_rng(1), (PLACE, phi(PLACE), bend(PLACE))
    away = np.sort(np.abs(draw.standard_normal((repeats, n)) - PLACE), axis=1)
    t = np.linspace(0.01, 2.6, 400)
    for j, k in enumerate((2, 10, 100)):
        f = np.exp(chapter.log_estimate(away[:, k - 1], k, n, 1)) / place[1]
        left.hist(f[f < 2.6], bins=np.linspace(0, 2.6, 53), weights=np.full((f < 2.6).sum(), 1 / (len(f) * 0.05)),
                  alpha=0.35, color=f"C{j}", label=f"$k$ = {k}")  # fmt: skip
        left.plot(t, ratio_law(t, *chapter.ball_law(k, n), k / n), f"C{j}", linewidth=1)
    left.axvline(1, color="black", linestyle=":")
    left.set(xlabel=r"$\hat f / f$", title=f"The estimate at {place[0]:g}, n = {n}\n(lines: as if $f$ were flat)")
    left.legend()
    numbers = np.unique(np.geomspace(3, 1900, 24).astype(int))
    f = np.exp([chapter.log_estimate(away[:, k - 1], k, n, 1) for k in numbers]).T
    middle.loglog(numbers, np.sqrt(((f - place[1]) ** 2).mean(0)), "o", color="black", markersize=4, label="simulated")
    fine = np.geomspace(3, 1900, 200)
    spread = [place[1] * chapter.moments_where_flat(k, n)[1] ** 0.5 for k in numbers]
    middle.loglog(numbers, spread, "C1", linewidth=1, label="standard deviation (3)")
    middle.loglog(fine, np.abs(chapter.bias(*place[1:], fine, n)), "C0", linewidth=1, label="bias (4)")
    middle.loglog(fine, np.sqrt(chapter.mean_squared_error(*place[1:], fine, n)), "0.5", label="(5)")
    middle.axvline(chapter.best_number(*place[1:], n), color="0.5", linestyle=":")
    middle.set(xlabel="$k$", ylabel="root mean squared error", title="Few neighbours tremble, many blur",
               ylim=(1e-3, 0.3))  # fmt: skip
    middle.legend(fontsize=8)
    sizes = 10.0 ** np.arange(2, 2 + len(next(iter(found.values()))))
    for (name, values), marker in zip(found.items(), "os^d", strict=True):
        right.loglog(sizes, values, marker=marker, label=name)
    right.loglog(sizes, 0.8 * found["k = the best of (5)"][0] * (sizes / 100) ** -0.4, "--", color="grey",
                 linewidth=0.9, label="$n^{-2/5}$")  # fmt: skip
    right.set(xlabel="$n$", ylabel="relative error", title="Consistent: $k$ grows, $k/n$ vanishes")
    right.legend(fontsize=8)
    return made


def ratio_law(t, a, b, share):
    """The density of (k / n) / U for U of the Beta law (a, b)."""
    u = share / t
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = (a - 1) * np.log(u) + (b - 1) * np.log1p(-u) - log_beta + np.log(share / t**2)
    return np.where(u < 1, np.exp(log_p), 0)


def plane(n):
    """The thesis's four clouds: few neighbours, as many as chosen, many; and the truth."""
    made, (row,) = panels(1, 4, 3.3, 3.3)
    mixture = data.mixture("gmm4")
    X = mixture.sample(n, tg.random.Generator(1), dtype="float64")
    chosen = NearestNeighbours(2, rng=tg.random.Generator(0)).fit(X, run=Run(quiet=True))
    t = np.linspace(-6.5, 6.5, 201)
    points = np.stack(np.meshgrid(t, t), -1).reshape(-1, 2)
    best = int(chosen.k)
    shown = [(f"$k$ = {k}{note}", given(X, k).log_estimate(points))
             for k, note in ((3, ""), (best, ", chosen"), (n // 3, ""))]  # fmt: skip
    shown.append(("the truth", mixture.log_density(points)))
    top = np.exp(mixture.log_density(points)).max()
    for axes, (name, log_f) in zip(row, shown, strict=True):
        axes.imshow(np.exp(log_f).reshape(201, 201), origin="lower", extent=(-6.5, 6.5) * 2, vmin=0, vmax=1.2 * top)
        if name != "the truth":
            axes.plot(*X.T, ".", color="white", markersize=1.2, alpha=0.5)
        axes.set(title=name, xticks=[], yticks=[], xlim=(-6.5, 6.5), ylim=(-6.5, 6.5))
    return made


if __name__ == "__main__":
    from common import command

    command(main)

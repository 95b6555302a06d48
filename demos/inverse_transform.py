"""Any law from uniform numbers: the inverse of a distribution function, and the conditional transform of the plane.

It draws how a distribution function turns even steps into draws, five laws and their tests, the way of halving, how a
square of even lines is warped into a density (with either coordinate first), and data turned into a normal cloud and
back.
"""

import numpy as np
import scipy.stats

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import ConditionalTransform
from tinygen.models.latent import inverse_transform as chapter
from tinygen.runs import blas_threads, open_run

CARD = dict(
    rows=("C6",),
    model="latent.inverse_transform:ConditionalTransform",
    claims={
        "least p-value of Kolmogorov-Smirnov tests of five laws": {
            "published": None, "bar": ">= 0.01", "budget_min": 1},
        "least p-value of such tests of the conditional transform, both ways": {
            "published": None, "bar": ">= 0.01", "budget_min": 1},
        "largest p-value for draws that are moved by a twentieth of their interquartile range": {
            "published": None, "bar": "<= 0.01", "budget_min": 1},
    },
)  # fmt: skip
MIX = np.array([0.35, 0.45, 0.2]), np.array([-2.0, 0.5, 3.0]), np.array([0.5, 0.8, 0.3])
FROZEN = {  # their distribution functions, by SciPy
    "Weibull, k = 1.7": scipy.stats.weibull_min(1.7).cdf,
    "logistic": scipy.stats.logistic.cdf,
    "Cauchy": scipy.stats.cauchy.cdf,
    "Maxwell": scipy.stats.maxwell.cdf,
    "mixture of normals": lambda x: scipy.stats.norm.cdf((x[:, None] - MIX[1]) / MIX[2]) @ MIX[0],
}
N = 20_000  # draws for a test


def main(*, points=3000, components=4, steps=100, device="cpu", seed=0, quick=False, out="runs_out/inverse_transform",
         resume=None):  # fmt: skip
    """Draw from five laws and test the draws; learn the thesis's four clouds and turn them into one, and back.

    points: of the clouds; components: of the mixture that is learnt; steps: of EM at most; quick: fewer points
    """
    run = open_run(locals())
    x = data.load("gmm4").train.features.astype(float)[: 1000 if quick else points]
    with blas_threads(1):
        model = ConditionalTransform(2, components, tol=1e-6, rng=tg.random.Generator(seed, device=device))
        model.fit(x, steps=steps, run=run)
        back = model.inverse_transform(model.transform(x[:200]))
        scores = {"laws": min(p_values(seed).values()), "moved": max(p_values(seed, moved=0.05).values()),
                  "transform": min(both_ways(seed)), "return": float(abs(back - x[:200]).max())}  # fmt: skip
        print("least p-value of five laws {laws:.3f} (of draws that are moved a little, at most {moved:.1e}), of the "
              "conditional transform {transform:.3f}; there and back, points move by {return:.1e}"
              .format(**scores))  # fmt: skip
        pictures(run, model, x, seed)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, model, x, seed):
    """All of them."""
    run.save_figure("inversion.png", inversion())
    run.save_figure("laws.png", five(seed))
    run.save_figure("warp.png", warp())
    run.save_figure("data.png", there_and_back(model, x, seed))


def reproduce(run, claims):
    """The claims of the CARD, with seed 0."""
    values = min(p_values(0).values()), min(both_ways(0)), max(p_values(0, moved=0.05).values())
    return {claim: value for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A very small model and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    x = draws.normal((40, 2), dtype="float64") * 0.5
    x[::2] += 2
    return ConditionalTransform(2, 2, tol=0, rng=model_rng), x


# ---- what is claimed --------------------------------------------------------------------------------------------


def laws():
    """Five: three by a formula, two by halving."""
    return dict(zip(FROZEN, (chapter.weibull(1.7), chapter.logistic(), chapter.cauchy(), chapter.maxwell(),
                             chapter.normal_mixture(*MIX)), strict=True))  # fmt: skip


def p_values(seed, moved=0.0):
    """Of each law's draws (moved by a part of their interquartile range), tested against SciPy's own distribution
    function. Each law has a Generator of its own: with one for all, all gaps would be the same."""
    found = {}
    for k, (name, law) in enumerate(laws().items()):
        x = law.sample(N, tg.random.Generator(seed, stream=k))
        x = x + moved * np.subtract(*np.quantile(x, (0.75, 0.25)))
        found[name] = chapter.p_value(chapter.largest_gap(x, FROZEN[name]), N)
    return found


def known():
    """The thesis's mixture as a `ConditionalTransform` that need not learn."""
    truth, model = data.mixture("gmm4"), ConditionalTransform(2, 4, rng=tg.random.Generator(0))
    model.mixture.start_at(truth.means, covariances=truth.covariances, weights=truth.weights)
    return truth, model


def both_ways(seed):
    """p-values: points of the mixture become normal, along four lines, and independent; and draws are such points."""
    truth, model = known()
    z = model.transform(truth.sample(N, tg.random.Generator(seed), dtype="float64"))
    found = [chapter.p_value(chapter.largest_gap(v, scipy.stats.norm.cdf), N)
             for v in (z[:, 0], z[:, 1], (z[:, 0] + z[:, 1]) / 2**0.5, (z[:, 0] - z[:, 1]) / 2**0.5)]  # fmt: skip
    found.append(1 - scipy.stats.chi2.cdf(N * np.corrcoef(z[:, 0] ** 2, z[:, 1] ** 2)[0, 1] ** 2, 1))
    x = model.sample(N, rng=tg.random.Generator(seed + 100))
    for way in ([1, 0], [0, 1], [1, 1], [1, -1]):  # along any line the mixture is one of normals
        means, widths = truth.means @ way, np.sqrt(np.einsum("i,kij,j->k", way, truth.covariances, way))
        cdf = lambda t, m=means, s=widths: scipy.stats.norm.cdf((t[:, None] - m) / s) @ truth.weights
        found.append(chapter.p_value(chapter.largest_gap(x @ way, cdf), N))
    return [float(p) for p in found]


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.6, height=4.2, rows=1):
    """A figure with so many axes."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns)


def inversion():
    """Even steps through two distribution functions, and the halving of a bracket."""
    made, (left, middle, right) = panels(3)
    mixture = chapter.normal_mixture(*MIX)
    die = chapter.steps(np.arange(1.0, 7), np.array([1, 1, 1, 1, 1, 5]) / 10)
    for axes, law, (low, high), n, name in (
        (left, mixture, (-4.2, 4.5), 30, "Even steps in $u$ crowd where the density is high"),
        (middle, die, (0.0, 7.0), 20, "A loaded die: jumps catch many steps"),
    ):
        t = np.linspace(low, high, 1401)
        axes.plot(t, law.cdf(t), color="black", linewidth=2)
        u = (np.arange(n) + 0.5) / n
        x = chapter.invert(law.cdf, u)
        for a, b in zip(u, x, strict=True):
            axes.plot([low, b, b], [a, a, -0.12], color="C0", linewidth=0.7, alpha=0.7)
        axes.plot(x, np.full(n, -0.12), "|", color="C3", markersize=12, markeredgewidth=1.4, clip_on=False)
        axes.set(xlim=(low, high), ylim=(-0.12, 1.02), xlabel="$x = F^{-1}(u)$", ylabel="$u$", title=name)
    grown = np.gradient(mixture.cdf(np.linspace(-4.2, 4.5, 1401)), 8.7 / 1400)
    left.fill_between(np.linspace(-4.2, 4.5, 1401), -0.12, 0.4 * grown - 0.12, color="C3", alpha=0.3)
    t, low, high = np.linspace(-4, 4, 400), -4.0, 4.0
    right.plot(t, mixture.cdf(t), color="black", linewidth=2)
    right.axhline(0.7, color="C0", linewidth=0.8)
    for look in range(8):
        right.plot([low, high], [-0.05 - 0.05 * look] * 2, color=f"C{look % 10}", linewidth=4, solid_capstyle="butt")
        at = np.array([(low + high) / 2])
        low, high = (low, at[0]) if mixture.cdf(at)[0] >= 0.7 else (at[0], high)
    right.axvline(float(chapter.invert(mixture.cdf, np.array([0.7]))[0]), color="C0", linestyle=":")
    right.set(
        xlabel="$x$", ylabel="$u$", ylim=(-0.45, 1.02), title="Halving: where is $F(x)$ first 0.7?", yticks=(0, 0.7, 1)
    )
    return made


def five(seed):
    """Draws of the five laws with their densities, and the gaps that the tests look at."""
    made, (above, below) = panels(5, 3.1, 2.7, rows=2)
    spans = ((0, 3), (-6, 6), (-8, 8), (0, 4.5), (-4, 4.5))
    tested = p_values(seed)
    for k, ((name, law), span) in enumerate(zip(laws().items(), spans, strict=True)):
        x, t = np.sort(law.sample(N, tg.random.Generator(seed, stream=k))), np.linspace(*span, 600)
        bins = np.linspace(*span, 61)
        heights = np.histogram(x, bins)[0] / (N * (bins[1] - bins[0]))
        above[k].stairs(heights, bins, fill=True, color="C0", alpha=0.5)
        above[k].plot(t, np.gradient(FROZEN[name](t), t), color="black", linewidth=1)
        above[k].set(title=f"{name}\n({'formula' if law.quantile else 'halving'})", xlim=span)
        F = FROZEN[name](x)
        gap = np.sqrt(N) * (np.arange(1, N + 1) / N - F)
        below[k].plot(F[::20], gap[::20], linewidth=0.8)
        for side in (-1.628, 1.628):
            below[k].axhline(side, color="C3", linestyle="--", linewidth=1)
        below[k].set(ylim=(-2, 2), xlabel="$F(x)$", title=f"p = {tested[name]:.2f}")
        below[k].title.set_size(10)
    above[0].set(ylabel="density")
    below[0].set(ylabel="$\\sqrt{n}\\,(F_n - F)$")
    made.suptitle(f"{N} draws each. A test at 1 % rejects a path that leaves the dashed lines")
    return made


def lattice(lines=21, fine=200, reach=2.6):
    """Lines that are even in probability, of both directions: normal coordinates (fine, 2) each."""
    even = scipy.stats.norm.ppf((np.arange(lines) + 0.5) / lines)
    along = scipy.stats.norm.ppf(np.linspace(scipy.stats.norm.cdf(-reach), scipy.stats.norm.cdf(reach), fine))
    return [(k, np.stack([np.full(fine, v), along][:: 1 if k == 0 else -1], 1)) for k in (0, 1) for v in even]


def warp():
    """The uniform square, the normal plane, and the density that they are warped into, either coordinate first."""
    made, row = panels(4, 4.2, 4.5)
    truth, model = known()
    swapped = ConditionalTransform(2, 4, rng=tg.random.Generator(0))
    swapped.mixture.start_at(truth.means[:, ::-1], covariances=truth.covariances[:, ::-1, ::-1], weights=truth.weights)
    t = np.linspace(-7.5, 7.5, 181)
    heights = np.exp(truth.log_density(np.stack(np.meshgrid(t, t), -1).reshape(-1, 2))).reshape(181, 181)
    for axes in row[2:]:
        axes.contourf(t, t, heights, levels=12, cmap="Greys", vmax=1.6 * heights.max())
    for k, z in lattice():
        shown = (scipy.stats.norm.cdf(z), z, model.inverse_transform(z), swapped.inverse_transform(z)[:, ::-1])
        for j, (axes, line) in enumerate(zip(row, shown, strict=True)):
            axes.plot(*(line if j < 3 else line).T, color=f"C{3 * (k if j < 3 else 1 - k)}", linewidth=0.7)
    names = ("even lines in the unit square, $u$", r"$z = \Phi^{-1}(u)$", "$x_1$ first, then $x_2$ given it",
             "$x_2$ first, then $x_1$ given it")  # fmt: skip
    for axes, name, reach in zip(row, names, ((0, 1), (-3, 3), (-7, 7), (-7, 7)), strict=True):
        axes.set(title=name, xlim=reach, ylim=reach, aspect="equal")
    made.suptitle("The conditional transform: every cell between the lines has the same probability")
    return made


def there_and_back(model, x, seed):
    """Data, what the learnt transform makes of them, and what it makes of normal numbers."""
    made, row = panels(4, 4.2, 4.4)
    z, new = model.transform(x), model.sample(len(x), rng=tg.random.Generator(seed + 1))
    normal = tg.random.Generator(seed + 1).normal((len(x), 2), dtype="float64")
    colour = np.arctan2(*(x - x.mean(0)).T)
    shown = (("data", x, colour), ("data, transformed: one round cloud", z, colour),
             ("normal numbers", normal, np.arctan2(*normal.T)),
             ("made of them", new, np.arctan2(*normal.T)))  # fmt: skip
    for k, (axes, (name, points, tint)) in enumerate(zip(row, shown, strict=True)):
        axes.scatter(*points.T, s=5, c=tint, cmap="twilight", linewidth=0)
        reach = 7.5 if k in (0, 3) else 4
        axes.set(title=name, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

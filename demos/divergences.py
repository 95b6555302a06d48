"""Divergences: what KL both ways, Jensen-Shannon, Wasserstein and Cramer make of the same two laws.

It checks the library's divergences against SciPy and closed forms, and draws a Gaussian brought near to two hills by
each of them, two boxes that move apart, the triangle inequality, and where the means of two divergences from samples
are least.
"""

import math

import numpy as np
import scipy.integrate
import scipy.special
import scipy.stats
from scipy.spatial.distance import jensenshannon

import tinygen as tg
from tinygen import plot
from tinygen.models.density import GaussianOnGrid
from tinygen.models.density import divergences as chapter
from tinygen.optim.schedules import Cosine
from tinygen.probability import Normal, kl_divergence
from tinygen.probability import divergences as D
from tinygen.runs import Run, open_run

CARD = dict(
    rows=("A7",),
    model="density.divergences:GaussianOnGrid",
    claims={
        "largest deviation from SciPy: KL, JS, earth mover": {"published": None, "bar": "<= 1e-6", "budget_min": 1},
        "largest deviation of SciPy's squared energy distance from 2 Cramér": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "largest deviation from closed forms: Gaussians, boxes": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "how far JS leaves [0, log 2], 10,000 pairs": {"published": "S4 eq. 123", "bar": "<= 0", "budget_min": 1},
        "how much longer than a way round the root of JS is, 10,000 triples": {
            "published": "S2, after eq. 4.11", "bar": "<= 0", "budget_min": 1},
    },
)  # fmt: skip
PLACES = np.linspace(-8, 8, 161)
HILLS = ((0.6, -2.5, 0.8), (0.4, 3.0, 0.6))  # weight, mean and standard deviation
NAMES = {"forward": "KL(p, q): covers", "reverse": "KL(q, p): seeks a mode", "js": "Jensen–Shannon",
         "earth mover": "earth mover", "cramer": "Cramér"}  # fmt: skip


def main(*, divergence="forward", steps=1500, lr=0.05, device="cpu", seed=0, quick=False, out="runs_out/divergences",
         resume=None):  # fmt: skip
    """Bring a Gaussian near to two hills, check the divergences, and draw what tells them apart.

    divergence: of the run that is logged: forward, reverse, js, earth mover or cramer; steps: of Adam; quick: a third
    of the steps
    """
    run = open_run(locals())
    n = steps // 3 if quick else steps
    model = near(divergence, n, run, lr=lr, seed=seed, device=device)
    mean, variance = map(float, chapter.moments(model.probabilities(), PLACES))
    wanted = list(map(float, chapter.moments(hills(), PLACES)))
    low, high, way = bounds(1000)
    scores = {"mean": mean, "std": math.sqrt(variance), "true mean": wanted[0], "true std": math.sqrt(wanted[1]),
              "scipy": max(from_scipy(100)), "energy": from_energy(100), "closed": max(from_closed_forms().values()),
              "bounds": max(-low, high), "way": way}  # fmt: skip
    print("the model has mean {mean:.3f} and standard deviation {std:.3f}, the law {true mean:.3f} and {true std:.3f}\n"
          "deviation from SciPy {scipy:.0e}, of the energy distance {energy:.0e}, from closed forms {closed:.0e}"
          .format(**scores))  # fmt: skip
    pictures(run, n, lr, seed)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, steps, lr, seed):
    """All of them."""
    run.save_figure("fits.png", fits(steps, lr))
    run.save_figure("boxes.png", moving_boxes())
    run.save_figure("triangles.png", triangles(seed))
    run.save_figure("samples.png", samples())


def reproduce(run, claims):
    """The claims of the CARD."""
    low, high, way = bounds(10_000)
    values = (max(from_scipy(300)), from_energy(300), max(from_closed_forms().values()), max(0.0, -low, high), way)
    found = dict(zip(CARD["claims"], map(float, values), strict=True))
    return {claim: found[claim] for claim in claims}


def tiny(rng):
    """A small model, with probabilities."""
    model_rng, draws = rng.spawn(2)
    weights = draws.uniform(7, 0.1, 1.0, dtype="float64")
    return GaussianOnGrid(np.arange(-3.0, 4.0), divergence="js", rng=model_rng), weights / weights.sum()


def loss(rng):
    """The divergence of a small model, for `python -m tinygen explain divergences`."""
    model, p = tiny(rng)
    return D.js(p, model())


def hills():
    """Two hills, as probabilities at the places."""
    p = sum(weight * scipy.stats.norm(mean, std).pdf(PLACES) for weight, mean, std in HILLS)
    return p / p.sum()


def near(divergence, steps, run=None, *, lr=0.05, seed=0, device="cpu"):
    """A Gaussian brought near to the hills."""
    model = GaussianOnGrid(PLACES, divergence=divergence, lr=lr, schedule=Cosine(steps),
                           rng=tg.random.Generator(seed, device=device))  # fmt: skip
    return model.fit(hills(), steps=steps, run=run or Run(quiet=True))


# ---- what is claimed --------------------------------------------------------------------------------------------


def laws(rng, n):
    """Some probability vectors (n, k), with zeros now and then."""
    weights = rng.exponential(size=(n, rng.integers(2, 12))) ** 2
    weights = np.where(rng.uniform(size=weights.shape) < 0.2, 0, weights)
    weights[:, 0] += 1e-3
    return weights / weights.sum(1, keepdims=True)


def from_scipy(repeats):
    """The largest deviations of KL, JS and the earth mover's distance from SciPy's, between random laws and samples."""
    rng, worst = np.random.default_rng(0), np.zeros(3)
    for _ in range(repeats):
        p, q = laws(rng, 2)
        t = np.sort(rng.normal(size=len(p)))
        x, y = rng.normal(size=rng.integers(1, 30)), rng.normal(1, 2, rng.integers(1, 30))
        kl, theirs = float(D.kl(p, q)), float(scipy.special.rel_entr(p, q).sum())
        js = abs(math.sqrt(D.js(p, q)) - jensenshannon(p, q))
        w = abs(D.earth_mover(p, q, t) - scipy.stats.wasserstein_distance(t, t, p, q))
        w = max(w, abs(D.wasserstein_1d(x, y) - scipy.stats.wasserstein_distance(x, y)))
        worst = np.maximum(worst, [0 if kl == theirs else abs(kl - theirs), js, w])  # both may be infinite
    return worst


def from_energy(repeats):
    """The largest deviation of SciPy's squared energy distance from twice the Cramér distance."""
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(repeats):
        p, q = laws(rng, 2)
        t = np.sort(rng.normal(size=len(p)))
        x, y = rng.normal(size=rng.integers(1, 30)), rng.normal(1, 2, rng.integers(1, 30))
        worst = max(worst, abs(2 * D.cramer(p, q, t) - scipy.stats.energy_distance(t, t, p, q) ** 2),
                    abs(2 * D.cramer_1d(x, y) - scipy.stats.energy_distance(x, y) ** 2))  # fmt: skip
    return worst


def from_closed_forms():
    """The largest deviations from integrals: Gaussians by each measure; and from the formulas: boxes by all of them."""
    found = dict.fromkeys(("KL", "earth mover", "Cramér", "boxes"), 0.0)
    rng, t = np.random.default_rng(0), np.linspace(-20, 20, 200_001)
    step = t[1] - t[0]
    for _ in range(5):
        (mu, nu), (sigma, tau) = rng.normal(size=2), rng.uniform(0.5, 2, 2)
        p, q = scipy.stats.norm(mu, sigma), scipy.stats.norm(nu, tau)
        apart = p.cdf(t) - q.cdf(t)
        exact = {
            "KL": (p.pdf(t) * (p.logpdf(t) - q.logpdf(t))).sum() * step,
            "earth mover": np.abs(apart).sum() * step,
            "Cramér": (apart**2).sum() * step,
        }
        formulas = (chapter.gaussian_kl, chapter.gaussian_earth_mover, chapter.gaussian_cramer)
        for (name, value), formula in zip(exact.items(), formulas, strict=True):
            found[name] = max(found[name], abs(float(formula(mu, sigma, nu, tau)) - value))
        laws = [Normal(*(tg.tensor(v, dtype="float64") for v in law)) for law in ((mu, sigma), (nu, tau))]
        library = kl_divergence(*laws).item()
        found["KL"] = max(found["KL"], abs(library - exact["KL"]))
    for delta in (0.0, 0.3, 0.75, 1.0, 2.5):
        for name, value in box_distances(delta).items():
            found["boxes"] = max(found["boxes"], abs(float(value) - float(chapter.boxes(delta)[name])))
    return found


def box_distances(delta, cells=2000):
    """The library's divergences between boxes: JS by cells of 1/cells, the others by as many samples, evenly spread."""
    x = (np.arange(cells) + 0.5) / cells
    shift = round(delta * cells)
    p, q = np.zeros((2, cells + shift))
    p[:cells], q[shift:] = 1 / cells, 1 / cells
    return {"KL": 0.0 if shift == 0 else D.kl(p, q), "Jensen-Shannon": D.js(p, q),
            "earth mover": D.wasserstein_1d(x, x + delta), "Cramér": D.cramer_1d(x, x + delta)}  # fmt: skip


def bounds(n):
    """The least and the largest JS, less log 2, of random pairs; the largest excess of its root over a way round."""
    rng = np.random.default_rng(0)
    p, q, r = rng.dirichlet(np.full(4, 0.3), (3, n))
    p[0], q[0], q[1], q[2] = [1, 0, 0, 0], [0, 0, 0, 1], p[1], p[2] + 1e-9 * (q[2] - p[2])  # apart, the same, nearly
    middle = (p + q) / 2
    js = (D.kl(p, middle) + D.kl(q, middle)) / 2  # `D.js` is clipped to these bounds
    root = [np.sqrt(D.js(a, b)) for a, b in ((p, q), (p, r), (r, q))]
    return float(js.min()), float(js.max()) - math.log(2), float((root[0] - root[1] - root[2]).max())


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.4, height=3.8, **options):
    """A figure of so many panels side by side, and these."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns, **options)


def fits(steps, lr):
    """Two hills, and the Gaussian that is near to them by each divergence, from two starts."""
    made, row = panels(5, 3.1, 3.2, sharey=True)
    p, step = hills(), PLACES[1] - PLACES[0]
    for axes, (divergence, name) in zip(row, NAMES.items(), strict=True):
        axes.fill_between(PLACES, p / step, color="0.85")
        found = []
        for k, seed in enumerate((0, 2)):  # one starts on the left, one on the right
            q = near(divergence, steps, lr=lr, seed=seed).probabilities()
            axes.plot(PLACES, q / step, f"C{k}", linewidth=1.8, linestyle=("-", "--")[k])
            found.append(float(chapter.DIVERGENCES[divergence](p, q, PLACES)))
        axes.set(title=f"{name}\n" + (f"{found[0]:.3f}" if abs(found[0] - found[1]) < 1e-3 else
                 f"{found[0]:.3f} and {found[1]:.3f}"), xlabel="x", xlim=(-6.5, 6.5),
                 xticks=(-5, 0, 5))  # fmt: skip
    row[0].set(ylabel="density")
    return made


def moving_boxes():
    """Divergences between two boxes by their distance, by formula and by the library, and their slopes."""
    made, (left, right) = panels(2, 5.2)
    delta, some = np.linspace(0, 3, 301), np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5])
    lines, dots = chapter.boxes(delta), [box_distances(d, 400) for d in some]
    for k, name in enumerate(("Jensen-Shannon", "earth mover", "Cramér")):
        left.plot(delta, lines[name], f"C{k}", label=name)
        left.plot(some, [float(d[name]) for d in dots], f"C{k}o", markersize=4)
        style = "--" if name == "Cramér" else "-"
        right.plot(delta, np.gradient(lines[name], delta), f"C{k}{style}", label=name)
    left.axhline(math.log(2), color="C0", linestyle=":", linewidth=1)
    left.annotate("log 2", (2.7, math.log(2) + 0.06), color="C0")
    left.annotate("KL is infinite from the first step on", (0.1, 2.75), color="grey")
    left.set(xlabel="distance δ of two boxes of width 1", title="Divergence: formula, and library (dots)")
    right.set(xlabel="δ", title="Slope: what a descent has to go on")
    left.legend(loc="center left", bbox_to_anchor=(0.02, 0.75))
    right.legend()
    return made


def triangles(seed):
    """Triples of random laws: the straight way against the way round, for four measures."""
    made, row = panels(4, 3.3, 3.5)
    rng = np.random.default_rng(seed)
    p, q, r = rng.dirichlet(np.full(4, 0.5), (3, 1500))
    t = np.array([0.0, 1.0, 2.5, 4.0])
    measures = {
        "KL": D.kl,
        "JS": D.js,
        r"$\sqrt{\mathrm{JS}}$": lambda a, b: np.sqrt(D.js(a, b)),
        "earth mover": lambda a, b: D.earth_mover(a, b, t),
    }
    for axes, (name, measure) in zip(row, measures.items(), strict=True):
        straight, around = measure(p, q), measure(p, r) + measure(r, q)
        broken = straight > around * (1 + 1e-9)  # rounding is no breach
        for chosen, colour in ((~broken, "C0"), (broken, "C3")):
            axes.plot(around[chosen], straight[chosen], ".", color=colour, markersize=2)
        top = np.quantile(around, 0.9)
        axes.plot((0, top), (0, top), "k", linewidth=1)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="by way of r", title=f"{name}: broken by {broken.mean():.0%}")
    row[0].set(ylabel="straight from p to q")
    return made


def samples():
    """The mean divergences of a coin of θ from throws of a coin of 0.65, by the number of throws."""
    made, (left, right) = panels(2, 5.0)
    theta = np.linspace(0, 1, 401)
    for k, n in enumerate((1, 3, 10, 100)):
        for axes, name in ((left, "earth mover"), (right, "Cramér")):
            mean = chapter.coins(0.65, theta, n)[name]
            axes.plot(theta, mean, f"C{k}", label=f"{n} throws" if n > 1 else "one throw")
            axes.plot(theta[mean.argmin()], mean.min(), f"C{k}o")
    for axes, name in ((left, "earth mover"), (right, "Cramér")):
        axes.axvline(0.65, color="black", linestyle=":", linewidth=1)
        axes.set(xlabel="θ of the model", ylabel="mean over samples", title=f"{name} from throws of a coin of 0.65")
    left.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

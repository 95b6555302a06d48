"""Monte-Carlo gradients: the slope of a mean from examples, through the draws, by the score, by perturbation.

It checks that each is unbiased and has the variance that the chapter computes, and draws clouds of estimates, their
variance by dimension and by noise, descents that look at the same number of values, and two cases where the slope
through the draws fails.
"""

import math

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.models.supervised import EstimatedDescent
from tinygen.models.supervised import gradient_estimation as chapter
from tinygen.optim.schedules import Cosine
from tinygen.probability import Bernoulli, DiagonalNormal, Normal
from tinygen.probability.estimators import through_data, through_draws, through_perturbation, through_score
from tinygen.runs import open_run, read_metrics

CARD = dict(
    rows=("A8",),
    model="supervised.gradient_estimation:EstimatedDescent",
    claims={
        "largest bias of an estimator, in standard errors": {"published": None, "bar": "<= 4.5", "budget_min": 1},
        "largest error of a simulated variance": {"published": None, "bar": "<= 0.05", "budget_min": 1},
        "variance by the score over that through the draws, 10 dimensions": {
            "published": None, "bar": ">= 5", "budget_min": 1},
    },
)  # fmt: skip
SIGMA, TAU = 0.5, 0.7
NAMES = ("from data", "through the draws", "score, no baseline", "score, best baseline", "perturbation")
COIN = 0.4, 3.0, -1.0  # the logit, and what the two sides cost
DRAWS = 100_000


def main(*, steps=600, features=10, lr=0.3, device="cpu", seed=0, quick=False, out="runs_out/gradient_estimation",
         resume=None):  # fmt: skip
    """Estimate the same slope in several ways, and go down by each.

    steps: of each descent, with ten values of the cost in each; features: dimensions of the descents; quick: a fifth
    of the draws
    """
    run = open_run(locals())
    race = Race(features, lr, steps, seed, device)
    for _ in run.steps(race, steps):
        run.log(**race.update())
    table = compared(DRAWS // 5 if quick else DRAWS)
    scores = {"bias": max(row["bias"] for row in table), "error": max(row["error"] for row in table)}
    scores |= {f"distance, {name}": race.distance(name) for name in race.models}
    print("a slope of length 1.5 in 3 dimensions     bias (standard errors)   variance   formula")
    for row in table:
        if row["d"] == 3:
            print(f"  {row['name']:39} {row['bias']:22.2f} {row['variance']:10.3f} {row['formula']:9.3f}")
    print("distance from the best point after the descents: "
          + ", ".join(f"{name} {race.distance(name):.3f}" for name in race.models))  # fmt: skip
    pictures(run, table, race, DRAWS // 5 if quick else DRAWS)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, table, race, draws):
    """All of them."""
    run.save_figure("clouds.png", clouds())
    run.save_figure("variances.png", variances(table, run, race))
    run.save_figure("failures.png", failures(draws // 20))


def reproduce(run, claims):
    """The claims of the CARD."""
    table = compared(DRAWS)
    by_name = {(row["name"], row["d"]): row["variance"] for row in table}
    values = (
        max(row["bias"] for row in table),
        max(row["error"] for row in table),
        by_name["score, best baseline", 10] / by_name["through the draws", 10],
    )
    found = dict(zip(CARD["claims"], values, strict=True))
    return {claim: found[claim] for claim in claims}


def tiny(rng):
    """A small descent, with examples."""
    model_rng, draws = rng.spawn(2)
    return EstimatedDescent(3, estimator="score", rng=model_rng), draws.normal((20, 3))


def loss(rng):
    """The mean cost of shots from a point, for `python -m tinygen explain gradient_estimation`."""
    model, x = tiny(rng)
    return tg.mean(model.loss(model.law(tg.broadcast_to(model.mu, x.shape)).rsample(rng=rng), tg.tensor(x)))


# ---- estimates and what is claimed of them ----------------------------------------------------------------------


def estimates(name, g, n, seed, sigma=SIGMA):
    """Slopes (n, d) from single draws at a point that is g away from the best one, which is 0."""
    rng, mu = tg.random.Generator(seed), tg.tensor(g, dtype="float64", requires_grad=True)
    law, f = lambda rows: DiagonalNormal(rows, sigma), lambda z: chapter.half_square(z, 0.0)
    if name == "from data":
        x = tg.tensor(TAU * rng.normal((n, len(g)), dtype="float64"))
        return through_data(lambda x, rows: chapter.half_square(rows, x), mu, x).numpy()
    if name == "through the draws":
        return through_draws(law, f, mu, n, rng=rng).numpy()
    if name == "perturbation":
        return through_perturbation(f, mu, n, scale=sigma, rng=rng).numpy()
    b = chapter.best_baseline(g, sigma)[0] if "best" in name else 0.0
    return through_score(law, lambda z: f(z) - b, mu, n, rng=rng, baseline=False).numpy()


def formula(name, g, sigma=SIGMA):
    """The variance of such a slope, by the chapter."""
    return {
        "from data": lambda: chapter.variance_from_data(len(g), TAU),
        "through the draws": lambda: chapter.variance_through_draws(len(g), sigma),
        "score, no baseline": lambda: chapter.variance_through_score(g, sigma),
        "score, best baseline": lambda: chapter.best_baseline(g, sigma)[1],
        "perturbation": lambda: chapter.variance_by_perturbation(g),
    }[name]()


def slope(d):
    """A slope of length 1.5 whose coordinates are not alike."""
    g = np.arange(1.0, d + 1)
    return 1.5 * g / np.linalg.norm(g)


def judged(found, wanted, variance, **what):
    """Bias in standard errors (the worst coordinate), variance, and its error as a part of the formula's."""
    error = found.std(0, ddof=1) / math.sqrt(len(found))
    total = float(np.sum(found.var(0)))
    return dict(what, bias=float(np.abs((found.mean(0) - wanted) / error).max()), variance=total, formula=variance,
                error=abs(total / variance - 1))  # fmt: skip


def compared(n):
    """Every estimator in 1, 3 and 10 dimensions, and the score's of a coin."""
    table = []
    for k, d in enumerate((1, 3, 10)):
        for name in NAMES:
            g = slope(d)
            table.append(judged(estimates(name, g, n, k), g, formula(name, g), name=name, d=d))
    wanted, variance = chapter.coin(*COIN, 0.5)
    return [*table, judged(coins(0.5, n, 9)[:, None], wanted, variance, name="score of a coin", d=1)]


def coins(b, n, seed):
    """The score estimates (n,) of a coin with a baseline."""
    theta, f_0, f_1 = COIN
    return through_score(lambda rows: Bernoulli(logits=rows), lambda x: tg.where(x > 0.5, f_1, f_0) - b,
                         tg.tensor(theta, dtype="float64", requires_grad=True), n, rng=tg.random.Generator(seed),
                         baseline=False).numpy()  # fmt: skip


class Race:
    """The same examples, sought by each estimator; ten values of the cost a step (five pairs for perturbation)."""

    def __init__(self, d, lr, steps, seed, device="cpu"):
        self.best = slope(d) * 3
        draws = tg.random.Generator(seed + 1)
        self.x = self.best + TAU * (noise := draws.normal((200, d), dtype="float64")) - TAU * noise.mean(0)
        self.models = {}
        for name in chapter.ESTIMATORS:
            rate = lr / d if name in ("score", "perturbation") else lr  # what their noise bears
            self.models[name] = EstimatedDescent(d, estimator=name, sigma=SIGMA, lr=rate, schedule=Cosine(steps),
                                                 rng=tg.random.Generator(seed, device=device))  # fmt: skip

    def update(self):
        """A step of each, and how far from the best point it is."""
        for name, model in self.models.items():
            size = 5 if name == "perturbation" else 10
            model.update(tg.data.batch(model.checked(self.x), model.rng, size))
        return {name: self.distance(name) for name in self.models}

    def distance(self, name):
        """Of a model's point from the best one."""
        return float(np.linalg.norm(self.models[name].mu.numpy() - self.best))

    def state_dict(self):
        """The state of every model."""
        return {name: model.state_dict() for name, model in self.models.items()}

    def load_state_dict(self, state):
        """Go on from such a state."""
        for name, model in self.models.items():
            model.load_state_dict(state[name])


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.4, height=3.8, **options):
    """A figure of so many panels side by side, and these."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns, **options)


def clouds():
    """Four hundred estimates of one slope by each estimator."""
    made, row = panels(5, 3, 3.5, sharex=True, sharey=True)
    g = np.array([1.2, 0.9])
    for k, (axes, name) in enumerate(zip(row, NAMES, strict=True)):
        found = estimates(name, g, 400, k)
        axes.plot(*found.T, ".", markersize=3, alpha=0.5)
        axes.plot((0, g[0]), (0, g[1]), "k", linewidth=1)
        axes.plot(*g, "o", color="black", markersize=6)
        axes.plot(*found.mean(0), "+", color="C1", markersize=13, markeredgewidth=2.5)
        axes.set(title=f"{name}\nvariance {np.sum(found.var(0)):.2f} (formula {formula(name, g):.2f})", xlim=(-3, 6),
                 ylim=(-3.5, 5), aspect="equal")  # fmt: skip
        axes.title.set_fontsize(9.5)
    row[0].set(ylabel="second coordinate")
    made.supxlabel(
        "first coordinate of the slope (black: the true one; orange +: the mean of 400 estimates)", fontsize=10
    )
    return made


def variances(table, run, race):
    """The variance by dimension and by the size of the noise; the descents."""
    made, (left, middle, right) = panels(3, 4.6, 4.2)
    dimensions, sigmas = np.unique(np.geomspace(1, 100, 30).astype(int)), np.geomspace(0.05, 3, 60)
    g = slope(3)
    for k, name in enumerate(NAMES):
        left.loglog(dimensions, [formula(name, slope(d)) for d in dimensions], f"C{k}", label=name)
        dots = [(row["d"], row["variance"]) for row in table if row["name"] == name]
        left.loglog(*np.transpose(dots), f"C{k}o", markersize=5)
        if name != "from data":
            middle.loglog(sigmas, [formula(name, g, s) for s in sigmas], f"C{k}")
            some = (0.1, 0.5, 2.0)
            middle.loglog(some, [np.sum(estimates(name, g, 20_000, 5, s).var(0)) for s in some], f"C{k}o", markersize=5)
    left.set(xlabel="dimensions d", title="Variance of one estimate, $\\|g\\| = 1.5$\n(dots: simulated)")
    middle.set(xlabel=r"$\sigma$ of the shots (or s)", title="... in three dimensions", ylim=(5e-3, 3e3))
    left.legend(fontsize=8)
    if run.folder:
        metrics = read_metrics(run.folder / "metrics.csv")
        for name, k in zip(race.models, (0, 1, 3, 4), strict=True):
            right.semilogy(10 * np.array(metrics["step"]), metrics[name], f"C{k}", label=name, linewidth=1)
    right.set(xlabel="values of the cost looked at", ylabel="distance from the best point",
              title=f"Descents in {len(race.best)} dimensions")  # fmt: skip
    right.legend(fontsize=8)
    return made


def failures(n):
    """A step, whose slope through the draws is 0; a coin, and its baseline."""
    made, (left, right) = panels(2, 5.2)
    mus, fine = np.linspace(-2, 2, 9), np.linspace(-2.2, 2.2, 200)
    law, step = lambda rows: Normal(rows, SIGMA), lambda z: (z > 0) * 1.0 + 0 * z
    left.plot(fine, chapter.step_slope(fine, SIGMA), "black", label="formula")
    for k, (name, estimator) in enumerate({
        "through the draws": lambda mu, rng: through_draws(law, step, mu, n, rng=rng),
        "score": lambda mu, rng: through_score(law, step, mu, n, rng=rng),
        "perturbation": lambda mu, rng: through_perturbation(step, mu, n, scale=SIGMA, rng=rng),
    }.items()):  # fmt: skip
        found = [estimator(tg.tensor(mu, dtype="float64", requires_grad=True), tg.random.Generator(i)).numpy()
                 for i, mu in enumerate(mus)]  # fmt: skip
        left.errorbar(mus + 0.05 * (k - 1), [v.mean() for v in found], [2 * v.std() / math.sqrt(n) for v in found],
                      fmt=f"C{(1, 3, 4)[k]}o", markersize=4, capsize=2, label=name)  # fmt: skip
    left.set(xlabel="μ", ylabel="slope of P(z > 0)", title=f"A cost with a jump, {n} draws a point (bars: 2 errors)")
    left.legend(fontsize=9)
    smooth, (theta, f_0, f_1) = np.linspace(-3, 4, 200), COIN
    right.plot(smooth, [chapter.coin(*COIN, b)[1] for b in smooth], "C3", label="formula")
    for b in np.linspace(-3, 4, 15):
        right.plot(b, coins(b, n, 1).var(), "C3o", markersize=4)
    p = 1 / (1 + math.exp(-theta))
    for name, b, colour in (("mean of f", p * f_1 + (1 - p) * f_0, "grey"), ("best", (1 - p) * f_1 + p * f_0, "black")):
        right.axvline(b, color=colour, linestyle=":", label=f"{name}: b = {b:.2f}")
    right.set(xlabel="baseline b", ylabel="variance", ylim=(-0.05, None),
              title="The score estimate of a coin:\none baseline removes all of the variance")  # fmt: skip
    right.legend(fontsize=9)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

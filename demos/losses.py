"""Losses: what each asks for, the laws behind them, and maximum likelihood as the least divergence.

It draws the risks of constant answers, two lines through data of which some answers are spoilt, what the losses make
of a probability, the likelihood of a family of laws as an entropy plus a divergence, S4's divergence of spikes by the
width of the bins, and how two losses learn from a bad mistake.
"""

import math

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

import tinygen as tg
from tinygen import plot, probability
from tinygen.models.supervised import LinearPredictor
from tinygen.models.supervised import losses as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, open_run

CARD = dict(
    rows=("A6",),
    model="supervised.losses:LinearPredictor",
    claims={
        "largest gap of mean loss = entropy + KL, 1000 random discrete laws": {
            "published": "S2 eq. 2.22, S4 eqs. 8-13", "bar": "<= 1e-12", "budget_min": 1},
        "largest gap of the same given x, 1000 random tables": {
            "published": "S2 eq. 2.24", "bar": "<= 1e-12", "budget_min": 1},
        "distance from the least KL to the most likely, binomial family": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
    },
)  # fmt: skip
TRIALS = 8  # of the binomial family


def main(*, steps=3000, spoilt=0.15, lr=0.05, device="cpu", seed=0, quick=False, out="runs_out/losses", resume=None):
    """Check that maximum likelihood is KL minimisation, and draw what losses ask for.

    steps: minibatches of 20 that each line learns from; spoilt: the share of answers that are; quick: a fifth of the
    steps
    """
    run = open_run(locals())
    x, y = examples(200, spoilt, seed)
    lines = {}
    for loss, where in (("squared", Run(quiet=True)), ("absolute", run)):
        n = steps // 5 if quick else steps
        model = LinearPredictor(1, loss=loss, lr=lr, schedule=Cosine(n), rng=tg.random.Generator(seed, device=device))
        lines[loss] = model.fit(x, y, steps=n, run=where)
    scores = {"gap": gap_of_laws(), "gap given x": gap_given_x(), "distance": distance()}
    for loss, model in lines.items():
        scores[f"slope, {loss}"] = float(model.theta.numpy()[1])
        scores[f"nats, {loss}"] = float(model.log_prob(x, y).mean())
    print("NLL = entropy + KL to {gap:.0e}, given x to {gap given x:.0e}; least KL and most likely are {distance:.0e} "
          "apart\nslope 2 is learnt as {slope, squared:.2f} by squares ({nats, squared:.2f} nats an answer), as "
          "{slope, absolute:.2f} by absolute errors ({nats, absolute:.2f})".format(**scores))  # fmt: skip
    run.save_figure("answers.png", answers(x, y, lines))
    run.save_figure("likelihood.png", likelihood(counts(40, seed), seed))
    run.save_figure("slopes.png", slopes())
    print(f"pictures in {run.folder}")
    return scores


def reproduce(run, claims):
    """The claims of the CARD."""
    found = dict(zip(CARD["claims"], (gap_of_laws, gap_given_x, distance), strict=True))
    return {claim: found[claim]() for claim in claims}


def tiny(rng):
    """A small predictor, with features and answers."""
    model_rng, draws = rng.spawn(2)
    return LinearPredictor(3, loss="absolute", rng=model_rng), draws.normal((20, 3)), draws.normal(20)


def loss(rng):
    """The mean of (4) for a small predictor, for `python -m tinygen explain losses`."""
    model, x, y = tiny(rng)
    return tg.mean(chapter.laplace_nll(y, model(x), model.width))


# ---- data -------------------------------------------------------------------------------------------------------


def examples(n, spoilt, seed):
    """Answers about 1 + 2 x; some, most of them on the right, are read as far too low."""
    rng = tg.random.Generator(seed)
    x = rng.uniform((n, 1), -1.0, 1.0, dtype="float64")
    y = 1 + 2 * x[:, 0] + 0.3 * rng.normal(n, dtype="float64")
    wrong = rng.uniform(n, dtype="float64") < spoilt * (1 + x[:, 0])
    return x, np.where(wrong, y - 5 - 2 * rng.uniform(n, dtype="float64"), y)


def counts(n, seed):
    """Examples from 0 to 8 that no binomial law gives: two coins of different sides."""
    rng = np.random.default_rng(seed)
    return np.where(rng.uniform(size=n) < 0.5, rng.binomial(TRIALS, 0.25, n), rng.binomial(TRIALS, 0.6, n))


def shares(y, k):
    """The law of examples with values from 0 to k - 1."""
    return np.bincount(y, minlength=k) / len(y)


def binomial(theta):
    """The probabilities of 0, ..., 8 heads."""
    return scipy.stats.binom.pmf(np.arange(TRIALS + 1), TRIALS, theta)


# ---- what is claimed --------------------------------------------------------------------------------------------


def gap_of_laws(repeats=1000):
    """The largest gap between the two sides of (7), over random laws and examples."""
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(repeats):
        k, n = rng.integers(2, 20, 2)
        y, q = rng.integers(0, k, n), rng.dirichlet(np.ones(k))
        by_examples = float(tg.mean(chapter.class_nll(np.log(q)[None].repeat(n, 0), y)))  # as a network is paid
        sides = by_examples, float(chapter.mean_nll(y, q)), float(chapter.entropy_plus_kl(shares(y, k), q))
        worst = max(worst, max(sides) - min(sides))
    return worst


def gap_given_x(repeats=1000):
    """The largest gap between the two sides of (8), over random tables."""
    rng, worst = np.random.default_rng(1), 0.0
    for _ in range(repeats):
        m, k = rng.integers(2, 10, 2)
        joint, q = rng.dirichlet(np.ones(m * k)).reshape(m, k), rng.dirichlet(np.ones(k), m)
        gap = chapter.conditional_nll(joint, q) - chapter.conditional_entropy_plus_kl(joint, q)
        worst = max(worst, abs(float(gap)))
    return worst


def distance(repeats=20):
    """How far the binomial law of least KL from the examples' law is from the most likely one, the mean over 8."""
    drawn = [counts(40, seed) for seed in range(repeats)]
    return max(abs(least_kl(shares(y, TRIALS + 1)) - float(y.mean()) / TRIALS) for y in drawn)


def least_kl(p):
    """The binomial law of least KL from p, where the engine's slope of the divergence is 0."""
    k = np.arange(TRIALS + 1)

    def slope(theta):
        t = tg.tensor(theta, dtype="float64", requires_grad=True)
        log_q = np.log(scipy.special.comb(TRIALS, k)) + k * tg.log(t) + (TRIALS - k) * tg.log(1 - t)
        return tg.grad(probability.divergences.kl(p, tg.exp(log_q)), t).item()

    return scipy.optimize.brentq(slope, 0.01, 0.99, xtol=1e-12)


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.4, height=3.8):
    """A figure of so many panels side by side, and these."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns)


def answers(x, y, lines):
    """What each loss asks for: of a skewed law, of spoilt data, of a coin."""
    made, (left, middle, right) = panels(3)
    value, p = np.arange(0.0, 9.0), np.array([0.16, 0.26, 0.2, 0.12, 0.08, 0.06, 0.05, 0.04, 0.03])
    c = np.linspace(0, 8, 401)
    left.bar(value, 20 * p, width=0.5, color="0.85", label="20 × P(Y = y)")
    for k, (name, best) in enumerate((("squared", chapter.mean), ("absolute", chapter.median))):
        loss, at = chapter.LOSSES[name], float(best(value, p))
        left.plot(c, chapter.risk(loss, c[:, None], value, p), f"C{k}", label=f"{name} error")
        left.plot(at, float(chapter.risk(loss, at, value, p)), f"C{k}o")
        left.axvline(at, color=f"C{k}", linestyle=":", linewidth=1)
    left.set(ylim=(0, 16), xlabel="answer c", ylabel="risk", title="A skewed law: the mean (blue)\nand the median")
    left.legend(loc="upper center", fontsize=9)
    ends = np.array([[-1.0], [1.0]])
    middle.plot(x[:, 0], y, ".", color="0.5", markersize=4)
    middle.plot(ends[:, 0], 1 + 2 * ends[:, 0], color="0.8", linewidth=5, label="1 + 2x", zorder=0)
    for name, model in lines.items():
        nats = -model.log_prob(x, y).mean()
        middle.plot(ends[:, 0], model.predict(ends), label=f"{name}: {nats:.2f} nats an answer")
    middle.set(
        xlabel="x",
        ylabel="y",
        ylim=(-11, 4),
        xticks=(-1, -0.5, 0, 0.5, 1),
        title="Lines through data of which\nsome answers are spoilt",
    )
    middle.legend(fontsize=9, loc="lower left")
    stated = np.linspace(0.002, 0.998, 400)
    costs = {
        "cross-entropy": lambda y, c: -np.log(np.where(y == 1, c, 1 - c)),
        "squared error": chapter.squared,
        "absolute error": chapter.absolute,
    }
    for k, (name, cost) in zip((2, 0, 1), costs.items(), strict=True):
        found = chapter.risk(cost, stated[:, None], np.array([0.0, 1.0]), np.array([0.7, 0.3]))
        right.plot(stated, found, f"C{k}", label=name)
        right.plot(stated[found.argmin()], found.min(), f"C{k}o")
    right.axvline(0.3, color="black", linestyle=":", linewidth=1)
    right.set(
        ylim=(0, 1.5),
        xlabel="stated probability of a 1",
        title="A coin with P(Y = 1) = 0.3:\nwhich answer is cheapest?",
    )
    right.legend(fontsize=9, loc="upper left")
    return made


def likelihood(y, seed):
    """The loss of a family of laws as entropy plus divergence; and the divergence of spikes."""
    made, (left, middle, right) = panels(3)
    p, thetas = shares(y, TRIALS + 1), np.linspace(0.12, 0.75, 200)
    best = y.mean() / TRIALS
    left.bar(np.arange(TRIALS + 1), p, color="0.8", label=rf"shares $\hat p$ of {len(y)} examples")
    for theta, style in ((0.25, "C1.--"), (best, "C0o-")):
        left.plot(binomial(theta), style, markersize=5, linewidth=1,
                  label=rf"$\theta$ = {theta:.3f}" + (" (most likely)" if theta == best else ""))  # fmt: skip
    left.set(xlabel="y", ylabel="probability", title="A binomial law for examples\nthat are not binomial")
    left.legend(fontsize=9)
    H = float(probability.divergences.entropy(p))
    nll = np.array([float(chapter.mean_nll(y, binomial(t))) for t in thetas])
    middle.fill_between(thetas, 0, H, color="0.88")
    middle.fill_between(thetas, H, nll, color="C0", alpha=0.25)
    middle.plot(thetas, nll, "C0", label="mean of $-\\ln q_\\theta(y_i)$")
    middle.plot(best, float(chapter.mean_nll(y, binomial(best))), "C0o")
    middle.axvline(best, color="C0", linestyle=":", linewidth=1)
    middle.text(best + 0.01, H / 2, r"entropy $H(\hat p)$")
    middle.text(0.15, H + 0.25 * (nll[0] - H), r"$\mathrm{KL}(\hat p\,\|\,q_\theta)$", color="C0")
    middle.set(ylim=(0, 1.05 * nll.max()), xlim=(thetas[0], thetas[-1]), xlabel=r"$\theta$", ylabel="nats",
               title="Most likely = least divergence")  # fmt: skip
    middle.legend(fontsize=9, loc="lower right")
    spikes(right, np.random.default_rng(seed).normal(0.5, 1, 30))
    return made


def spikes(axes, x):
    """The divergence of thirty examples in bins from two normal laws, by the bins' width."""
    widths = np.geomspace(1e-7, 1, 60)
    for k, mean in enumerate((0.5, 2.0)):
        density = scipy.stats.norm(mean, 1).pdf
        axes.semilogx(
            widths, [chapter.binned_kl(x, density, h) for h in widths], f"C{k}", label=rf"from N({mean:g}, 1)"
        )
        axes.semilogx(widths, [chapter.spike_kl(x, density, h) for h in widths], "k:", linewidth=1)
    axes.invert_xaxis()
    axes.set(xlabel="width h of the bins (finer to the right)", ylabel="KL (nats)", ylim=(-1, None),
             title="30 examples and a density:\nthe divergence of spikes is infinite")  # fmt: skip
    gap = np.mean(scipy.stats.norm(0.5, 1).logpdf(x) - scipy.stats.norm(2, 1).logpdf(x))
    axes.annotate(f"the gap stays:\n{gap:.2f} nats", (1e-3, 7.5), ha="right", fontsize=9)
    axes.legend(fontsize=9, loc="lower right")


def slopes():
    """The slopes of two losses in the logit of a right class, and what they learn from a bad mistake."""
    made, (left, right) = panels(2, 5)
    z = np.linspace(-8, 8, 400)
    names = ("cross-entropy", "squared error")
    for k, (name, slope) in enumerate(zip(names, chapter.logit_slopes(z, 1.0), strict=True)):
        left.plot(z, slope, f"C{2 - 2 * k}", label=name)
        place, way = -4.0, []
        for _ in range(200):
            way.append(1 / (1 + math.exp(-place)))
            place -= 0.5 * float(chapter.logit_slopes(np.array(place), 1.0)[k])
        right.plot(way, f"C{2 - 2 * k}", label=name)
    left.set(xlabel="logit z (wrong on the left, right on the right)", ylabel="slope of the loss",
             title="Slopes in z where y = 1")  # fmt: skip
    right.set(xlabel="steps of gradient descent, rate 0.5", ylabel="p of the right class", ylim=(0, 1.05),
              title="Learning from a bad mistake: it starts at z = −4")  # fmt: skip
    left.legend()
    right.legend(loc="center right")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Risk in a world that is known: the best predictor, over-fitting, more examples, and small batches against large.

Examples are noise about a sine wave, polynomials are the hypotheses. Every dot is simulated and every line is a
formula, except for the descents.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import PolynomialRegression
from tinygen.models.supervised import risk as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import open_run, read_metrics

CARD = dict(
    rows=("A17",),
    model="supervised.risk:PolynomialRegression",
    claims={
        "largest error of a simulated risk": {"published": None, "bar": "<= 0.05", "budget_min": 1},
        "simulated risk of the best rival over that of E[Y|X]": {"published": None, "bar": ">= 1.05", "budget_min": 1},
        "risk at degree 15 over the least": {"published": None, "bar": ">= 2", "budget_min": 1},
        "examples that full batches take over batches of one": {"published": None, "bar": ">= 2", "budget_min": 1},
    },
)
WORLD = chapter.World(lambda x: np.sin(np.pi * x), 0.3)
DEGREES = range(16)
FALLING = "batches of 1, falling rate"
# Of 100 examples, how many are in a batch; and, as their mean is less noisy, how many times the rate they are given.
SIZES = {"batches of 1": (1, 1), FALLING: (1, 1), "batches of 10": (10, 4), "batches of 100 (all)": (100, 20)}
# The rates among which a batch of one, or of all examples, has its best.
RIVALS = {1: (0.005, 0.01, 0.02, 0.03, 0.04), 100: (0.1, 0.2, 0.3, 0.35, 0.4)}
PLACES = np.linspace(-1, 1, 201)
SAMPLE = 200_000  # examples in a simulated risk


def main(*, examples=40_000, degree=9, lr=0.005, device="cpu", seed=0, quick=False, out="runs_out/risk",
         resume=None):  # fmt: skip
    """Draw risks, simulated and in closed form, and descents with batches of several sizes.

    examples: what each descent may look at; degree: of the descents' polynomials; lr: the rate for batches of one;
    quick: a fifth of the examples
    """
    run = open_run(locals())
    lines = away_from_the_best(seed)
    x, train, test, simulated = curves(seed, draws=500 if quick else 4000)
    race = descents(run, examples // 5 if quick else examples, degree=degree, lr=lr, device=device, seed=seed)
    metrics = read_metrics(run.folder / "metrics.csv")
    scores = {"error": error(train, test, simulated), "rival": best_rival(lines),
              "over-fitting": test[-1] / min(test), "bargain": bargain(range(3 if quick else 9))}  # fmt: skip
    print("largest error of a simulated risk {error:.1%}; best rival over E[Y|X] {rival:.3f}; "
          "degree 15 has {over-fitting:.1f} times the least risk; full batches take {bargain:.1f} times the examples "
          "of batches of one".format(**scores))  # fmt: skip
    run.save_figure("best.png", best(lines))
    run.save_figure("overfitting.png", overfitting(x, train, test, simulated, seed))
    run.save_figure("batches.png", batches(metrics, race, seed))
    print(f"pictures in {run.folder}")
    return scores


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    _, train, test, simulated = curves(0)
    values = {
        "largest error of a simulated risk": error(train, test, simulated),
        "simulated risk of the best rival over that of E[Y|X]": best_rival(away_from_the_best(0)),
        "risk at degree 15 over the least": test[-1] / min(test),
    }
    if set(claims) - set(values):
        values["examples that full batches take over batches of one"] = bargain()
    return {claim: float(values[claim]) for claim in claims}


def tiny(rng):
    """A small polynomial, with places and answers."""
    return PolynomialRegression(3, rng=rng), rng.uniform(20, -1.0, 1.0), rng.normal(20)


def loss(rng):
    """The empirical risk of a small polynomial, for `python -m tinygen explain risk`."""
    model, x, y = tiny(rng)
    return tg.mean(tg.square(y - model(chapter.legendre(x, 3))))


# ---- simulations ------------------------------------------------------------------------------------------------


def away_from_the_best(seed):
    """The risk at c along some lines f* + c w: (name, simulated, closed form), the examples the same on each line."""
    found, steps = [], np.linspace(-1, 1, 11)
    for name, w in (("x", np.array), ("x²", np.square), ("sign x", np.sign), ("cos 5x", lambda x: np.cos(5 * x))):
        fs = [lambda x, c=c, w=w: WORLD.mean(x) + c * w(x) for c in steps]
        simulated = [chapter.simulated_risk(f, WORLD, tg.random.Generator(seed), n=SAMPLE) for f in fs]
        found.append((name, np.array(simulated), np.array([0.09 + c**2 * chapter.mean_square(w) for c in steps])))
    return found


def best_rival(lines):
    """The least simulated risk away from c = 0, over that at 0."""
    return float(min(min(np.delete(risks, 5)) / risks[5] for _, risks, _ in lines))


def curves(seed, n=20, draws=4000):
    """The examples' x, the mean risks of the minimiser by degree (empirical, true), and the same two simulated."""
    x, rng = np.linspace(-1, 1, n), tg.random.Generator(seed)
    y = (WORLD.mean(x) + WORLD.sigma * rng.normal((draws, n), dtype="float64")).T  # (n, draws)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    simulated = []
    for p in DEGREES:
        theta = chapter.minimiser(x, y, p)  # (p + 1, draws)
        distance = WORLD.mean(nodes)[:, None] - chapter.legendre(nodes, p) @ theta
        train, noise = np.mean((y - chapter.legendre(x, p) @ theta) ** 2), WORLD.sigma**2
        simulated.append((train, noise + np.mean(weights @ distance**2) / 2))
    closed = [[f(x, p, WORLD) for p in DEGREES] for f in (chapter.expected_empirical_risk, chapter.expected_risk)]
    return x, *map(np.array, closed), np.array(simulated)


def error(train, test, simulated):
    """The largest error of a simulated mean risk, as a part of the closed form."""
    return float(np.abs(simulated / np.array([train, test]).T - 1).max())


class Race:
    """The same polynomial learnt from the same 100 examples with batches of each size."""

    def __init__(self, degree, lr, seed, examples, device="cpu"):
        self.x, self.y = WORLD.draw(100, tg.random.Generator(seed))
        self.degree = degree
        known = chapter.legendre(self.x, degree), self.y
        self.known = tuple(tg.tensor(a, dtype="float32", device=device).data for a in known)
        self.models = {}
        for name, (_, faster) in SIZES.items():
            schedule = Cosine(examples) if name == FALLING else None
            rng = tg.random.Generator(seed, device=device)
            self.models[name] = PolynomialRegression(degree, lr=lr * faster, schedule=schedule, rng=rng)

    def update(self, step):
        """A hundred examples more for each, and where they stand now and then: their risk."""
        found = {}
        for name, (size, _) in SIZES.items():
            model = self.models[name]
            for _ in range(100 // size):
                model.update(*(self.known if size == 100 else data.batch(self.known, model.rng, size)))
            if step < 50 or step % 10 == 0:
                found[name] = chapter.risk(model.predict, WORLD)
        return found

    def state_dict(self):
        """The state of every model."""
        return {name: model.state_dict() for name, model in self.models.items()}

    def load_state_dict(self, state):
        """Go on from such a state."""
        for name, model in self.models.items():
            model.load_state_dict(state[name])


def descents(run, examples, *, degree=9, lr=0.005, device="cpu", seed=0):
    """Descents that look at so many examples each, their risks logged after every hundred."""
    race = Race(degree, lr, seed, examples, device)
    for step in run.steps(race, examples // 100):
        run.log(**race.update(step))
    return race


def bargain(seeds=range(9)):
    """How many times the examples full batches take, against batches of one, each at its best rate: the median."""
    least = lambda size, seed: min(examples_to(size, lr, seed) for lr in RIVALS[size])
    return float(np.median([least(100, seed) / least(1, seed) for seed in seeds]))


def examples_to(size, lr, seed, level=0.15, most=3000):
    """How many of its 100 examples, again and again, a polynomial looks at until its risk is below the level."""
    x, y = WORLD.draw(100, tg.random.Generator(seed))
    known = chapter.legendre(x, 9).astype("float32"), y.astype("float32")
    model = PolynomialRegression(9, lr=lr, rng=tg.random.Generator(seed))
    for seen in range(size, most + 1, size):
        model.update(*(known if size == 100 else data.batch(known, model.rng, size)))
        risk = chapter.risk(model.predict, WORLD)
        if risk < level:
            return seen
        if risk > 100:  # a rate that is too high
            break
    return np.inf


# ---- pictures ---------------------------------------------------------------------------------------------------


def best(lines):
    """The risk along lines through the conditional expectation."""
    made = plot.figure(6.5, 4.3)
    made.set_layout_engine("constrained")
    axes, fine = made.add_subplot(), np.linspace(-1, 1, 11)
    for k, (name, simulated, closed) in enumerate(lines):
        smooth = np.linspace(-1, 1, 100)
        axes.plot(smooth, 0.09 + smooth**2 * (closed[-1] - 0.09), color=f"C{k}", linewidth=1)
        axes.plot(fine, simulated, "o", color=f"C{k}", markersize=5, label=f"w(x) = {name}")
    axes.axhline(0.09, color="black", linestyle=":", linewidth=1)
    axes.annotate("the noise, σ²", (-0.95, 0.1), fontsize=9)
    axes.set(xlabel="c", ylabel="risk", title="Risk of E[Y|X] + c w: simulated (dots) and by formula")
    axes.legend()
    return made


def overfitting(x, train, test, simulated, seed):
    """Three fits to the same examples, and both risks by degree."""
    made = plot.figure(12, 4.3)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    y = WORLD.mean(x) + WORLD.sigma * tg.random.Generator(seed + 1).normal(len(x), dtype="float64")
    left.plot(x, y, "o", color="black", markersize=4)
    left.plot(PLACES, WORLD.mean(PLACES), color="grey", linewidth=4, alpha=0.4, label="E[Y|X]")
    for p in (1, int(np.argmin(test)), 15):
        left.plot(PLACES, chapter.legendre(PLACES, p) @ chapter.minimiser(x, y, p), label=f"degree {p}")
    left.set(ylim=(-2, 2), xlabel="x", ylabel="y", title=f"{len(x)} examples")
    left.legend()
    for k, (name, closed) in enumerate((("empirical risk", train), ("risk", test))):
        right.semilogy(DEGREES, closed, color=f"C{k}", label=name)
        right.semilogy(DEGREES, simulated[:, k], "o", color=f"C{k}", markersize=5)
    right.axhline(WORLD.sigma**2, color="black", linestyle=":", linewidth=1)
    right.set(xlabel="degree", ylabel="mean over samples", title="Over-fitting: simulated (dots) and by formula")
    right.legend()
    return made


def batches(metrics, race, seed):
    """The risk against the examples looked at, by batch size, and against the number of examples there are."""
    made = plot.figure(12, 4.3)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    for name in SIZES:
        step, r = np.array(metrics["step"]), np.array(metrics[name])
        given = np.isfinite(r)
        left.loglog(100 * step[given], r[given], label=name, linewidth=1)
    theta = chapter.minimiser(race.x, race.y, race.degree)
    end = chapter.risk(lambda t: chapter.legendre(t, race.degree) @ theta, WORLD)
    left.axhline(end, color="grey", linestyle="--", linewidth=1, label="the minimiser of the empirical risk")
    left.axhline(WORLD.sigma**2, color="black", linestyle=":", linewidth=1, label="E[Y|X]")
    left.set(xlabel="examples looked at", ylabel="risk", title="A hundred examples, again and again")
    left.legend(fontsize=8, loc="upper right")
    counts, draws = np.geomspace(20, 5000, 12).astype(int), tg.random.Generator(seed)
    for k, p in enumerate((1, 3, 9)):
        excess = [np.median([chapter.expected_risk(WORLD.draw(n, draws)[0], p, WORLD) for _ in range(20)]) - 0.09
                  for n in counts]  # fmt: skip
        right.loglog(counts, excess, marker="o", markersize=4, color=f"C{k}", label=f"degree {p}")
    right.set(xlabel="examples there are", ylabel="risk less that of E[Y|X]", title="More examples")
    right.legend(loc="lower left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Five ways to give an answer, each with the loss that belongs to it, and what is left of both far from zero.

It draws the rules and their losses, fits each to answers of its own kind, and shows where the formulas, typed as they
stand, break down.
"""

import math
from decimal import Decimal, localcontext

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import Readout
from tinygen.models.supervised import decision_rules as chapter
from tinygen.runs import open_run

CARD = dict(
    rows=("A5",),
    model="supervised.decision_rules:Readout",
    claims={
        "largest relative error, rules and their logarithms, inputs to 1e4": {"published": None, "bar": "<= 1e-12",
                                                                              "budget_min": 1},
        "largest error, losses and slopes, inputs to 1e4": {"published": None, "bar": "<= 1e-12", "budget_min": 1},
        "largest gap of predictions to scikit-learn's": {"published": None, "bar": "<= 1e-5", "budget_min": 1},
    },
)  # fmt: skip
PLACES = np.array([s * m for m in (1e4, 3e3, 710.0, 100.0, 40.5, 39.5, 17.0, 3.0, 0.1, 1e-3) for s in (-1, 1)])


def main(*, steps=2000, examples=300, device="cpu", seed=0, quick=False, out="runs_out/decision_rules",
         resume=None):  # fmt: skip
    """Fit a last layer with each rule, and draw the rules, their losses, and their errors far from zero.

    steps: minibatches of 100 to learn from; examples: of each kind of answers; quick: a fifth of the steps
    """
    run = open_run(locals())
    race = Race(examples, seed, device)
    for _ in run.steps(race, steps // 5 if quick else steps):
        run.log(**race.update())
    rules, losses = accuracy()
    scores = {"rules": rules, "losses": losses, "gap": race.gap()}
    print("largest relative error of a rule or its logarithm {rules:.1e}, of a loss or its slope {losses:.1e}; "
          "minibatches and all examples at once differ by {gap:.3f} at most".format(**scores))  # fmt: skip
    run.save_figure("rules.png", rules_and_losses())
    run.save_figure("fits.png", fits(race))
    run.save_figure("far.png", far())
    print(f"pictures in {run.folder}")
    return scores


def drawn(rule, n, rng):
    """Features (n, 1) and answers (n,) of the kind that a rule is for."""
    z = rng.uniform((n, 1), -2.0, 2.0, dtype="float64")
    noise, u = rng.normal(n, dtype="float64"), rng.uniform(n, dtype="float64")
    if rule == "linear":
        return z, 0.5 + 1.5 * z[:, 0] + noise
    if rule == "sigmoid":
        return z, (u < chapter.sigmoid(0.5 + 2 * z[:, 0])).astype(float)
    if rule == "softmax":
        chances = np.cumsum(chapter.softmax(np.stack([0 * u, 1 + z[:, 0] * 2, 3 * z[:, 0]], 1)), 1)
        return z, np.sum(u[:, None] > chances[:, :-1], 1)
    mean = np.exp(1 + z[:, 0]) if rule == "exp" else chapter.softplus(3 + 3 * z[:, 0])
    return z, np.sum(np.cumsum(-np.log(rng.uniform((n, 80), dtype="float64")), 1) < mean[:, None], 1).astype(float)


class Race:
    """Last layers, one with each rule, that learn from minibatches, and the data of each.

    Attributes
    ----------
    models, data : by rule
    """

    def __init__(self, examples, seed, device="cpu"):
        self.models, self.data = {}, {}
        for rule in chapter.RULES:
            rng = tg.random.Generator(seed, device=device)
            self.models[rule] = Readout(1, rule, n_classes=3 if rule == "softmax" else None, rng=rng)
            self.data[rule] = drawn(rule, examples, tg.random.Generator(seed + 1))

    def update(self):
        """A step of each; their losses."""
        return {rule: model.update(*data.batch(model.checked(*self.data[rule]), model.rng, 100))["loss"]
                for rule, model in self.models.items()}  # fmt: skip

    def gap(self):
        """The largest difference between an answer now and after learning from all examples at once."""
        found = []
        for rule, model in self.models.items():
            z, y = self.data[rule]
            exact = Readout(1, rule, n_classes=model.n_classes).to(dtype="float64").fit_exactly(z, y)
            found.append(np.max(np.abs(exact.predict(z) - model.predict(z))))
        return float(max(found))

    def state_dict(self):
        return {rule: model.state_dict() for rule, model in self.models.items()}

    def load_state_dict(self, state):
        for rule, model in self.models.items():
            model.load_state_dict(state[rule])


# ---- errors, by arithmetic with sixty digits --------------------------------------------------------------------


def exactly(a):
    """What the formulas give for one number, with as many digits as it takes: by name, as Decimals."""
    a = Decimal(float(a))
    up, down = a.exp(), (-a).exp()
    sigmoid, softplus = 1 / (1 + down), (1 + up).ln()
    if up < Decimal(10) ** -25:  # 1 + up would lose it
        softplus = up - up**2 / 2
    two = up / (up + 1)  # the softmax of (a, 0)
    return {"linear": a, "sigmoid": sigmoid, "exponential": up, "softplus": softplus, "softmax": two,
            "log_sigmoid": -((1 + down).ln() if down > Decimal(10) ** -25 else down - down**2 / 2),
            "log_softplus": softplus.ln()}  # fmt: skip


def losses_exactly(a, y):
    """The losses and their slopes for one number and an answer: rule -> (loss, slope)."""
    v, a, y = exactly(a), Decimal(float(a)), Decimal(float(y))
    lost = v["softplus"] - y * a
    return {
        "linear": ((a - y) ** 2 / 2, a - y),
        "sigmoid": (lost, v["sigmoid"] - y),
        "exp": (v["exponential"] - y * a, v["exponential"] - y),
        "softplus": (v["softplus"] - y * v["log_softplus"], (v["softplus"] - y) * v["sigmoid"] / v["softplus"]),
        "softmax": (lost, v["sigmoid"] - y),  # of (a, 0), with y = 1 for the first
    }


def off(found, exact, least):
    """The error in parts of the exact value, or of `least` if that is larger; 0 where both are too large."""
    if exact > Decimal("1.79e308") and found == math.inf:
        return 0.0
    scale = max(abs(exact), Decimal(least))
    return float(abs(Decimal(float(found)) - exact) / scale) if math.isfinite(found) else math.inf


def accuracy():
    """The largest errors of rules and logarithms, and of losses and slopes, at all places and several answers."""
    rules, losses = [], []
    with localcontext() as context:
        context.prec = 60
        for a in PLACES:
            for name, exact in exactly(a).items():
                given = np.array([[a, 0.0]]) if name == "softmax" else np.array([a])
                found = getattr(chapter, name)(given).flat[0]
                rules.append(off(found, exact, "1e-290"))  # far below, doubles have fewer digits
            for y in (0.0, 1.0, 0.25, 7.0):
                for name, (loss, slope) in losses_exactly(a, y).items():
                    if chapter.RULES[name].allowed(y) and (name != "softmax" or y in (0, 1)):
                        found = computed(name, a, y)
                        losses += [off(found[0], loss, "1"), off(found[1], slope, "1")]
    return max(rules), max(losses)


def computed(name, a, y):
    """A loss, and its slope by the engine, of one number and an answer."""
    leaf = tg.tensor(np.array([[a, 0.0]]) if name == "softmax" else np.array([a]), requires_grad=True)
    answer = np.array([int(1 - y)]) if name == "softmax" else np.array([y])
    loss = tg.sum(chapter.RULES[name].loss(leaf, answer))
    return loss.item(), tg.grad(loss, leaf).numpy().flat[0]


def gap_to_sklearn():
    """The largest difference of predictions to scikit-learn's generalised linear models, on the same drawn data."""
    from sklearn import linear_model

    rivals = {
        "linear": linear_model.LinearRegression(),
        "sigmoid": linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000),
        "exp": linear_model.PoissonRegressor(alpha=0, tol=1e-10, max_iter=10_000),
        "softmax": linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000),
    }
    gaps = []
    for rule, rival in rivals.items():
        z, y = drawn(rule, 300, tg.random.Generator(1))
        ours = Readout(1, rule, n_classes=3 if rule == "softmax" else None).to(dtype="float64").fit_exactly(z, y)
        rival.fit(z, y)
        theirs = rival.predict(z) if rule in ("linear", "exp") else rival.predict_proba(z)
        gaps.append(np.max(np.abs(ours.predict(z) - (theirs[:, 1] if rule == "sigmoid" else theirs))))
    return float(max(gaps))


def reproduce(run, claims):
    """The claims of the CARD."""
    values = dict(zip(CARD["claims"], (*accuracy(), gap_to_sklearn()), strict=True))
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small last layer, with features and counts."""
    return Readout(3, "softplus", rng=rng), rng.normal((20, 3)), np.arange(20) % 4


def loss(rng):
    """The loss of a small last layer, for `python -m tinygen explain decision_rules`."""
    return Readout(3, "sigmoid", rng=rng).loss(rng.normal((20, 3)), rng.uniform(20))


# ---- pictures ---------------------------------------------------------------------------------------------------


def rules_and_losses():
    """The rules, and the loss of each against a for some answers."""
    made, a = plot.figure(13, 6.2), np.linspace(-5, 5, 300)
    made.set_layout_engine("constrained")
    panels = made.subplots(2, 5, sharex=True)
    answers = {"linear": (-2, 0, 2), "sigmoid": (0, 0.3, 1), "exp": (0.2, 1, 4), "softplus": (0.2, 1, 4),
               "softmax": (0, 1, 2)}  # fmt: skip
    three = np.stack([a, 0 * a, 0 * a + 1], 1)  # a softmax of three numbers, of which the first moves
    for (above, below), (name, rule) in zip(panels.T, chapter.RULES.items(), strict=True):
        softmax = name == "softmax"
        y_hat = rule.answer(three if softmax else a)
        above.plot(a, y_hat, color=None if softmax else "black")
        if softmax:
            above.legend(["$a_0 = a$", "$a_1 = 0$", "$a_2 = 1$"], fontsize=8, loc="upper left")
        above.set(title=name, ylim=(-0.05, 1.05) if softmax or name == "sigmoid" else (-5, 6))
        for k, y in enumerate(answers[name]):
            given = (three, np.full(len(a), y)) if softmax else (a, np.full(len(a), float(y)))
            values = rule.loss(*given)
            below.plot(a, values, color=f"C{k}", label=f"$y = {y}$")
            if not softmax and 0 < values.argmin() < len(a) - 1:
                below.plot(a[values.argmin()], values.min(), "o", color=f"C{k}", markersize=4)
        below.set(xlabel="$a$", ylim=(-6, 12) if name in ("exp", "softplus") else (-0.5, 12))
        below.legend(fontsize=8, loc={"exp": "lower right", "softplus": "upper right"}.get(name, "upper center"))
    panels[0, 0].set_ylabel(r"answer $\hat y$")
    panels[1, 0].set_ylabel(r"its loss (dots: least, at $\hat y = y$)")
    return made


def fits(race):
    """Each rule on answers of its own kind, and both rules for positive answers on each other's."""
    made, z = plot.figure(15, 3.4), np.linspace(-2, 2, 200)[:, None]
    made.set_layout_engine("constrained")
    for axes, (rule, model) in zip(made.subplots(1, 5), race.models.items(), strict=True):
        x, y = race.data[rule]
        height = y / 2 if rule == "softmax" else y
        axes.scatter(x[:, 0], height, s=5, color="grey", alpha=0.5)
        lines = axes.plot(z, model.predict(z), linewidth=2)
        if rule == "softmax":
            for c, line in enumerate(lines):
                line.set_label(f"class {c}")
            axes.legend(fontsize=8, loc="center left")
        if rule in ("exp", "softplus"):
            other = "softplus" if rule == "exp" else "exp"
            rival = Readout(1, other).to(dtype="float64").fit_exactly(x, y)
            axes.plot(z, rival.predict(z), "--", color="C3", label=other)
            lines[0].set_label(rule)
            axes.legend(fontsize=8, loc="upper left")
        axes.set(title=f"{rule}", xlabel="$z$")
    return made


def far():
    """Relative errors of formulas as they stand and as in (9) and (10)."""
    made, size = plot.figure(13, 3.9), np.geomspace(0.1, 1e4, 120)
    made.set_layout_engine("constrained")
    cases = [
        ("sigmoid", r"$\sigma(a)$, $a > 0$", 1, lambda a: np.exp(a) / (1 + np.exp(a))),
        ("log_sigmoid", r"$\ln \sigma(a)$, $a > 0$", 1, lambda a: np.log(1 / (1 + np.exp(-a)))),
        ("softplus", r"$\ln(1 + e^a)$, $a > 0$", 1, lambda a: np.log(1 + np.exp(a))),
        ("log_softplus", r"$\ln \ln(1 + e^a)$, $a < 0$", -1, lambda a: np.log(np.log(1 + np.exp(a)))),
    ]
    for axes, (name, title, sign, naive) in zip(made.subplots(1, 4, sharey=True), cases, strict=True):
        with localcontext() as context:
            context.prec = 60
            exact = [exactly(a)[name] for a in sign * size]
        for formula, colour, label in (
            (naive, "C3", "as it stands"),
            (getattr(chapter, name), "C0", "as in (9), (10)"),
        ):
            with np.errstate(all="ignore"):
                error = [off(f, e, "1e-290") for f, e in zip(formula(sign * size), exact, strict=True)]
            axes.loglog(size, np.clip(error, 1e-17, 10), color=colour, marker=".", markersize=3, linewidth=0.8,
                        label=label)  # fmt: skip
        axes.axhline(10, color="grey", linestyle=":")
        axes.text(size[0], 12, "infinite, or no number", color="grey", fontsize=8)
        axes.set(title=title, xlabel="$|a|$", ylim=(1e-18, 100))
    axes.legend(fontsize=8, loc="center left")
    made.supylabel("relative error, float64")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

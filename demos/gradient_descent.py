"""Gradient descent: how fast each rule is, where it goes, and what noise asks of the rate.

It checks a hundred steps of every rule against a few lines of plain NumPy, and draws trajectories on contour plots (two
ravines and a bent valley), the speed of plain descent and of momentum by formula and by experiment, a regression learnt
by each rule, and what becomes of stochastic descent when either half of Robbins and Monro's condition is broken.
"""

from functools import partial

import numpy as np

import tinygen as tg
from tinygen import optim, plot
from tinygen.models.supervised import DescentRegression
from tinygen.models.supervised import gradient_descent as chapter
from tinygen.optim.schedules import Constant, Exponential, RobbinsMonro
from tinygen.runs import open_run, read_metrics

CARD = dict(
    rows=("A9",),
    model="supervised.gradient_descent:DescentRegression",
    claims={
        "largest deviation from the rules in plain NumPy, 100 steps": {
            "published": "PyTorch's trajectories, where it is installed: tests", "bar": "<= 1e-6", "budget_min": 1},
        "largest error of a simulated mean square under noise": {
            "published": None, "bar": "<= 0.1", "budget_min": 1},
        "final mean square, rates that break Robbins and Monro's condition over t^-0.75: the least": {
            "published": None, "bar": ">= 5", "budget_min": 1},
    },
)  # fmt: skip
# The rules with every option that matters, and the rates they bear on the surfaces below.
SETTINGS = {
    "plain": ("SGD", dict(lr=2e-3)),
    "momentum": ("SGD", dict(lr=1e-3, momentum=0.9)),
    "damped momentum": ("SGD", dict(lr=2e-3, momentum=0.8, dampening=0.3, weight_decay=0.05)),
    "Nesterov": ("SGD", dict(lr=1e-3, momentum=0.9, nesterov=True)),
    "Adagrad": ("Adagrad", dict(lr=0.3, lr_decay=0.01)),
    "RMSprop": ("RMSprop", dict(lr=0.02, alpha=0.9)),
    "centred RMSprop": ("RMSprop", dict(lr=0.01, alpha=0.9, momentum=0.5, centered=True)),
    "Adam": ("Adam", dict(lr=0.1)),
    "AMSGrad": ("Adam", dict(lr=0.1, betas=(0.8, 0.9), amsgrad=True)),
    "AdamW": ("AdamW", dict(lr=0.05, weight_decay=0.1)),
}
RATES = {  # of the regression
    "plain": 0.09, "momentum": 0.03, "nesterov": 0.03, "adagrad": 0.9, "rmsprop": 0.02, "adam": 0.1, "newton": 1.0,
}  # fmt: skip
FALLING = {  # the factor f(t) of a rate of 0.5, which half of the condition it keeps, and a line style
    "1/(1 + t): both": (RobbinsMonro(), "-"),
    "1/(1 + t)^0.75: both": (RobbinsMonro(0.75), "-"),
    "1/(1 + t)^0.4: first": (lambda t: (1 + t) ** -0.4, "--"),
    "constant: first": (Constant(), "--"),
    "0.5^t: second": (Exponential(0.5), ":"),
}
RATE, START, TIME = 0.5, 4.0, 5000


def main(*, steps=300, runs=2000, device="cpu", seed=0, quick=False, out="runs_out/gradient_descent", resume=None):
    """Learn a regression by every rule, check the rules, and draw where they go.

    steps: of each rule on the regression, all examples in each; runs: noisy descents at once; quick: a fifth of them
    """
    run = open_run(locals())
    race = Race(seed, device)
    for _ in run.steps(race, steps):
        run.log(**race.update())
    found = noisy(runs // 5 if quick else runs)
    scores = {"gap": max(gaps().values()), "error": largest_error(found), "broken": broken(found)}
    scores |= {name: race.excess(name) for name in race.models}
    print("largest deviation from plain NumPy in 100 steps {gap:.0e}; of simulated mean squares from the formula "
          "{error:.1%}\nrates that break the condition end with at least {broken:.0f} times the mean square"
          .format(**scores))  # fmt: skip
    print("error of the regression above the least: "
          + ", ".join(f"{name} {race.excess(name):.1e}" for name in race.models))  # fmt: skip
    pictures(run, found)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, found):
    """All of them."""
    run.save_figure("contours.png", contours())
    run.save_figure("valley.png", valley())
    run.save_figure("speed.png", speed(run))
    run.save_figure("robbins_monro.png", robbins_monro(found))


def reproduce(run, claims):
    """The claims of the CARD."""
    found = noisy(8000)
    values = dict(zip(CARD["claims"], (max(gaps().values()), largest_error(found), broken(found)), strict=True))
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small regression, with features and answers."""
    model_rng, draws = rng.spawn(2)
    return DescentRegression(3, rule="adam", rng=model_rng), draws.normal((20, 3)), draws.normal(20)


def loss(rng):
    """The mean squared error of a small regression, for `python -m tinygen explain gradient_descent`."""
    model, x, y = tiny(rng)
    return tg.mean(tg.square(y - model(x)))


# ---- the rules in plain NumPy -----------------------------------------------------------------------------------


def plain_sgd(slope, x, *, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, steps=100):
    """Gradient descent with momentum, written without the library."""
    b, places = None, [x]
    for _ in range(steps):
        g = slope(x) + weight_decay * x
        b = g if b is None else momentum * b + (1 - dampening) * g
        x = x - lr * (g + momentum * b if nesterov else b)
        places.append(x)
    return np.array(places)


def plain_adagrad(slope, x, *, lr, lr_decay=0.0, eps=1e-10, steps=100):
    """Adagrad, written without the library."""
    total, places = np.zeros_like(x), [x]
    for t in range(steps):
        g = slope(x)
        total = total + g * g
        x = x - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
        places.append(x)
    return np.array(places)


def plain_rmsprop(slope, x, *, lr, alpha, momentum=0.0, centered=False, eps=1e-8, steps=100):
    """RMSprop, written without the library."""
    square, mean, b, places = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), [x]
    for _ in range(steps):
        g = slope(x)
        square, mean = alpha * square + (1 - alpha) * g * g, alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(square - mean * mean if centered else square) + eps)
        x = x - lr * b
        places.append(x)
    return np.array(places)


def plain_adam(slope, x, *, lr, betas=(0.9, 0.999), weight_decay=0.0, amsgrad=False, eps=1e-8, steps=100):
    """Adam, AMSGrad and AdamW, written without the library."""
    m, v, top, places = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), [x]
    for t in range(1, steps + 1):
        g = slope(x)
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        top = np.maximum(top, v) if amsgrad else v
        size = np.sqrt(top / (1 - betas[1] ** t)) + eps
        x = (1 - lr * weight_decay) * x - lr * m / (1 - betas[0] ** t) / size
        places.append(x)
    return np.array(places)


PLAIN = {"SGD": plain_sgd, "Adagrad": plain_adagrad, "RMSprop": plain_rmsprop, "Adam": plain_adam, "AdamW": plain_adam}


# ---- surfaces ---------------------------------------------------------------------------------------------------


def turned(degrees):
    """The rotation of the plane by so many degrees."""
    turn = np.radians(degrees)
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def ravine(degrees, low=1.0, high=25.0):
    """A curvature with a flat and a steep direction, turned by so many degrees."""
    return turned(degrees) @ np.diag([low, high]) @ turned(degrees).T


def bent(theta):
    """Rosenbrock's valley, along a parabola to (1, 1), a tenth as steep as his."""
    return (1 - theta[0]) ** 2 + 10 * (theta[1] - theta[0] ** 2) ** 2


def bent_slope(x):
    """Its slope by hand."""
    across = x[1] - x[0] ** 2
    return np.array([-2 * (1 - x[0]) - 40 * x[0] * across, 20 * across])


SURFACES = {  # loss, slope by hand, start
    "ravine": (lambda theta: chapter.bowl(theta, ravine(30), np.zeros(2)), lambda x: ravine(30) @ x, [3.0, 1.0]),
    "bent valley": (bent, bent_slope, [-1.2, 1.0]),
}


def gaps():
    """The largest distance, in any coordinate and step, of each rule's trajectory from the plain one's."""
    found = {}
    for surface, (loss, slope, start) in SURFACES.items():
        for name, (kind, options) in SETTINGS.items():
            rule = lambda params, kind=kind, options=options: getattr(optim, kind)(params, **options)
            ours = chapter.path(loss, start, rule, 100)
            theirs = PLAIN[kind](slope, np.array(start), **options)
            found[surface, name] = float(np.abs(ours - theirs).max())
        H = np.linalg.inv(ravine(30))  # of the ravine, also where it is the wrong one
        ours = chapter.path(
            loss, start, lambda params, H=H: optim.PreconditionedSGD(params, lambda g: H @ g, 0.02), 100
        )
        theirs = plain_sgd(lambda x, slope=slope, H=H: H @ slope(x), np.array(start), lr=0.02)
        found[surface, "preconditioned"] = float(np.abs(ours - theirs).max())
    return found


# ---- noise ------------------------------------------------------------------------------------------------------


def noisy(runs, lam=1.0, noise=1.0):
    """Noisy descents (runs of them) with each falling rate, in a direction with a slope and in a flat one.

    To {name: (mean squares (2, T + 1) by the formula, the same simulated, the first few ways (2, 5, T + 1))}.
    """
    found = {}
    for name, (factor, _) in FALLING.items():
        draws, exact, simulated, ways = np.random.default_rng(0), [], [], []
        for slope, start in ((lam, START), (0.0, 0.0)):
            rates = [RATE * factor(t) for t in range(TIME)]
            m, v = chapter.noisy_error(slope, noise, rates, start).T
            x = tg.tensor(np.full(runs, start), requires_grad=True)
            rule = optim.SGD([x], RATE)
            schedule, square, way = optim.Schedule(rule, factor), [start**2], [x.numpy()[:5].copy()]
            for _ in range(TIME):
                place = x.numpy()
                rule.step([slope * place + noise * draws.standard_normal(runs)])
                schedule.step()
                square.append(np.mean(x.numpy() ** 2))
                way.append(x.numpy()[:5].copy())
            exact.append(m**2 + v)
            simulated.append(square)
            ways.append(np.transpose(way))
        found[name] = np.array(exact), np.array(simulated), np.array(ways)
    return found


def largest_error(found):
    """The largest error of a simulated mean square, as a part of the formula's."""
    return max(float(np.abs(s[:, 1:] / e[:, 1:] - 1).max()) for e, s, _ in found.values())


def broken(found):
    """The least factor by which a rate that breaks the condition ends worse than t^-0.75, where its half matters."""
    best = found["1/(1 + t)^0.75: both"][1][:, -1]
    ends = {name: simulated[:, -1] / best for name, (_, simulated, _) in found.items()}
    return float(min(ends["constant: first"][0], ends["constant: first"][1], ends["1/(1 + t)^0.4: first"][1],
                     ends["0.5^t: second"][0]))  # fmt: skip


# ---- a regression -----------------------------------------------------------------------------------------------


class Race:
    """The same regression, with two features that nearly agree, learnt by each rule from all examples at once."""

    def __init__(self, seed, device="cpu"):
        draws = tg.random.Generator(seed)
        first = draws.normal((100, 1), dtype="float64")
        second = first + 0.3 * draws.normal((100, 1), dtype="float64")
        self.x = np.concatenate([first, second], 1) * 2
        self.y = self.x @ [1.0, -2.0] + 3 + 0.5 * draws.normal(100, dtype="float64")
        X = np.column_stack([np.ones(100), self.x])
        self.least = float(np.mean((self.y - X @ np.linalg.lstsq(X, self.y, rcond=None)[0]) ** 2))
        self.models = {}
        for rule, lr in RATES.items():
            model = DescentRegression(2, rule=rule, lr=lr, rng=tg.random.Generator(seed, device=device))
            self.models[rule] = model.to(dtype="float64")
            model.inverse.assign(chapter.inverse_curvature(model.checked(self.x)[0]))

    def update(self):
        """A step of each, and how far above the least its error is."""
        for model in self.models.values():
            model.update(*model.checked(self.x, self.y))
        return {name: self.excess(name) for name in self.models}

    def excess(self, name):
        """The mean squared error of a rule's model above the least."""
        return -self.models[name].score(self.x, self.y) - self.least

    def state_dict(self):
        """The state of every model."""
        return {name: model.state_dict() for name, model in self.models.items()}

    def load_state_dict(self, state):
        """Go on from such a state."""
        for name, model in self.models.items():
            model.load_state_dict(state[name])


# ---- pictures ---------------------------------------------------------------------------------------------------


def contours():
    """Two ravines, along an axis and between the axes; five rules on each."""
    made = plot.figure(17, 6.6)
    made.set_layout_engine("constrained")
    low, high = 1.0, 25.0
    rate, (fast, mu) = chapter.best_plain(low, high)[0], chapter.best_momentum(low, high)
    steps = 40
    for row, degrees in zip(made.subplots(2, 5), (0, 45), strict=True):
        A = ravine(degrees)
        inverse = np.linalg.inv(A)
        start = turned(degrees) @ [4.0, 1.0]
        rules = {
            f"plain, ε = {rate:.3f}": lambda params: optim.SGD(params, rate),
            f"momentum, μ = {mu:.2f}, ε = {fast:.3f}": lambda params: optim.SGD(params, fast, momentum=mu),
            "Adagrad, ε = 1": lambda params: optim.Adagrad(params, 1.0),
            "Adam, ε = 0.5": lambda params: optim.Adam(params, 0.5),
            "H = A⁻¹ (Newton), ε = 0.5": partial(optim.PreconditionedSGD, precondition=inverse.__matmul__, lr=0.5),
        }
        for axes, (name, rule) in zip(row, rules.items(), strict=True):
            places = chapter.path(lambda theta, A=A: chapter.bowl(theta, A, np.zeros(2)), start, rule, steps)
            surface(axes, lambda x, y, A=A: (A[0, 0] * x * x + 2 * A[0, 1] * x * y + A[1, 1] * y * y) / 2, 4.6,
                    np.array([0.1, 0.5, 2, 5, 10, 20, 40, 80, 150, 250]))  # fmt: skip
            axes.plot(*places.T, "o-", color="C3", markersize=3, linewidth=1)
            axes.plot(0, 0, "*", color="black", markersize=9)
            left = float(np.linalg.norm(places[-1]) / np.linalg.norm(places[0]))
            axes.set(title=f"{name}\nerror after {steps} steps: {left:.0e}", aspect="equal")
            axes.title.set_fontsize(10.5)
        row[0].set(ylabel="ravine along an axis" if degrees == 0 else "ravine between the axes")
    return made


def surface(axes, f, reach, levels):
    """Contours of a function over a square."""
    t = np.linspace(-reach, reach, 161)
    axes.contour(t, t, f(*np.meshgrid(t, t)), levels, colors="0.7", linewidths=0.7)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])


def valley():
    """A bent valley, and several rules on their way through it."""
    made = plot.figure(12.5, 5)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2, width_ratios=(1.2, 1))
    x, y = np.meshgrid(np.linspace(-1.9, 1.9, 241), np.linspace(-1.1, 2.4, 201))
    left.contour(x, y, bent((x, y)), np.geomspace(0.05, 150, 14), colors="0.75", linewidths=0.7)
    rules = {
        "plain": lambda params: optim.SGD(params, 0.012),
        "momentum": lambda params: optim.SGD(params, 0.012, momentum=0.9),
        "Nesterov": lambda params: optim.SGD(params, 0.012, momentum=0.9, nesterov=True),
        "RMSprop": lambda params: optim.RMSprop(params, 0.02, alpha=0.9),
        "Adam": lambda params: optim.Adam(params, 0.1),
    }
    for k, (name, rule) in enumerate(rules.items()):
        places = chapter.path(bent, [-1.2, 1.0], rule, 300)
        left.plot(*places[:100].T, f"C{k}.-", markersize=4, linewidth=1, label=name)
        right.semilogy([bent(place) for place in places], f"C{k}", label=name)
    left.plot(1, 1, "*", color="black", markersize=12)
    left.set(xlim=(-1.9, 1.9), ylim=(-1.1, 2.4), xlabel=r"$\theta_1$", ylabel=r"$\theta_2$",
             title="A hundred steps in a bent valley (Rosenbrock)")  # fmt: skip
    left.legend(loc="lower right")
    right.set(xlabel="step", title="loss", ylim=(1e-12, 30))
    return made


def speed(run):
    """Factors by the rate; errors by the step with and without momentum; the regression."""
    made = plot.figure(15, 4.3)
    made.set_layout_engine("constrained")
    left, middle, right = made.subplots(1, 3)
    low, high = 1.0, 25.0
    rates, some = np.linspace(0, 0.09, 200), np.array([0.005, 0.02, 0.04, 2 / 26, 0.082])
    for k, lam in enumerate((low, high)):
        left.plot(rates, np.abs(1 - rates * lam), f"C{k}", label=rf"$|1 - \varepsilon \lambda|$, $\lambda$ = {lam:g}")
    descent = lambda rate: chapter.path(lambda x: chapter.bowl(x, np.diag([low, high]), 0.0), [1.0, 1.0],
                                        lambda params: optim.SGD(params, rate), 60)  # fmt: skip
    slowest = [np.abs(descent(rate)[-1]).max() ** (1 / 60) for rate in some]
    left.plot(some, slowest, "ko", markersize=5, label="measured in 60 steps")
    best, factor = chapter.best_plain(low, high)
    left.plot(best, factor, "*", color="C3", markersize=14, label=f"best: {factor:.3f} at ε = {best:.3f}")
    left.axhline(1, color="grey", linewidth=0.8)
    left.set(xlabel="rate ε", ylabel="factor of a step", ylim=(-0.5, 1.3), title="Plain descent on a bowl, κ = 25")
    left.legend(fontsize=8, loc="lower left", ncols=2)
    for k, kappa in enumerate((10, 100, 1000)):
        start, A, steps = np.array([1.0, 1.0]), np.diag([1.0, kappa]), np.arange(151)
        rate, factor = chapter.best_plain(1, kappa)
        fast, mu = chapter.best_momentum(1, kappa)
        for style, options, bound in (("-", dict(lr=rate), factor**steps), ("--", dict(lr=fast, momentum=mu), None)):
            places = chapter.path(lambda x, A=A: chapter.bowl(x, A, 0.0), start,
                                  lambda params, options=options: optim.SGD(params, **options), 150)  # fmt: skip
            name = f"κ = {kappa}, " + ("plain" if style == "-" else "momentum")
            middle.semilogy(np.abs(places).max(1), f"C{k}{style}", label=name)
            if bound is not None:
                middle.semilogy(steps[::15], bound[::15], f"C{k}.", markersize=5)
    middle.set(xlabel="step", title="Largest error at the best rates\n(dots: formula)", ylim=(1e-10, 100))
    middle.legend(fontsize=8, loc="lower left")
    if run.folder:
        metrics = read_metrics(run.folder / "metrics.csv")
        for name in RATES:
            right.semilogy(metrics["step"], np.maximum(metrics[name], 1e-14), label=f"{name}, ε = {RATES[name]:g}")
    right.set(xlabel="step", title="A regression with nearly equal features:\nmean squared error above the least")
    right.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.05))
    return made


def robbins_monro(found):
    """Noisy descents with five falling rates, where there is a slope and where there is none."""
    made = plot.figure(15, 8)
    made.set_layout_engine("constrained")
    top, bottom = made.subplots(2, 3)
    t = np.arange(TIME + 1)
    some = np.unique(np.geomspace(1, TIME, 25).astype(int))
    for k, (name, (exact, simulated, ways)) in enumerate(found.items()):
        factor, style = FALLING[name]
        partial = np.cumsum([[RATE * factor(s), (RATE * factor(s)) ** 2] for s in range(TIME)], 0)
        for row, row_axes in enumerate((top, bottom)):
            row_axes[0].loglog(t[1:], partial[:, row], f"C{k}{style}", label=name)
            row_axes[1].loglog(t[1:], np.sqrt(exact[row, 1:]), f"C{k}{style}")
            row_axes[1].loglog(some, np.sqrt(simulated[row, some]), f"C{k}o", markersize=3)
            if k in (0, 3, 4):
                row_axes[2].plot(t, ways[row, :2].T, f"C{k}", linewidth=0.7, label=[name, None])
    top[0].set(title=r"$\sum \varepsilon_t$: is it infinite?")
    bottom[0].set(title=r"$\sum \varepsilon_t^2$: is it finite?", xlabel="step")
    top[1].set(title="root mean square error, slope of 1\n(dots: simulated)")
    bottom[1].set(title="... in a direction without slope", xlabel="step")
    top[2].set(title="two descents each, from 4 to 0, slope of 1", ylim=(-2.5, 4.3), xscale="symlog", xlim=(0, TIME))
    bottom[2].set(title="... without slope", xlabel="step")
    top[0].legend(fontsize=9, title="rate 0.5 times; the half it keeps", loc="upper left")
    top[2].legend(fontsize=9)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""A perceptron draws a line between two classes, and Novikoff's theorem says when it will be done.

It draws the line after some corrections beside that of the largest margin, the proof of the theorem on its way, the
mistakes of many perceptrons against the bound, the step that becomes smooth, and what the step and the smooth neuron do
where classes overlap.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import Perceptron, SigmaNeuron
from tinygen.models.supervised import perceptron as chapter
from tinygen.runs import open_run

CARD = dict(
    rows=("A1",),
    model="supervised.perceptron:Perceptron",
    claims={
        "most errors left, 45 pairs of digits and 60 drawn sets": {"published": None, "bar": "<= 0", "budget_min": 1},
        "most mistakes in parts of Novikoff's bound": {"published": "1 (Novikoff 1962)", "bar": "<= 1",
                                                       "budget_min": 1},
        "accuracy of the smooth neuron less the perceptron's mean, irises that overlap": {
            "published": None, "bar": ">= 0.02", "budget_min": 1},
    },
)  # fmt: skip
GAPS = np.geomspace(0.3, 0.004, 60)  # of the drawn sets: half the width of the empty strip
PAIRS = [(a, b) for b in range(10) for a in range(b)]


def main(*, steps=300, points=150, gap=0.05, device="cpu", seed=0, quick=False, out="runs_out/perceptron",
         resume=None):  # fmt: skip
    """Train a perceptron on points in the plane, count the mistakes of many others, and draw both.

    steps: corrections at most; points: how many are drawn; gap: half the width of the strip that they leave empty;
    quick: a fifth of the sets that mistakes are counted on
    """
    run = open_run(locals())
    x, y = separable(points, gap, tg.random.Generator(seed))
    model = Perceptron(2, rng=tg.random.Generator(seed, device=device)).fit(x, y, steps=steps, run=run)
    sets = counted(seed, every=5 if quick else 1)
    restless = overlapping(seed, 200 if quick else 1000)
    scores = {"accuracy": model.score(x, y), "mistakes": model.mistakes.item(), **summary(sets)}
    print("{accuracy:.1%} right after {mistakes:.0f} mistakes; of {sets} other sets: {errors} errors left, and at most "
          "{share:.2f} times the mistakes that Novikoff allows".format(**scores))  # fmt: skip
    run.save_figure("lines.png", lines(x, y, steps, seed))
    run.save_figure("bound.png", bound(sets))
    run.save_figure("smooth.png", smooth())
    run.save_figure("overlap.png", overlap(*restless))
    print(f"pictures in {run.folder}")
    return scores


def separable(n, gap, rng, d=2):
    """Points uniform in a cube of side 2, at least `gap` away from a random plane, and their sides, 0 or 1."""
    u = rng.normal(d + 1, dtype="float64")
    u[0] *= 0.3  # the plane should pass through the cube
    u /= np.linalg.norm(u[1:])
    x = rng.uniform((40 * n, d), -1.0, 1.0, dtype="float64")
    a = x @ u[1:] + u[0]
    x, a = x[np.abs(a) >= gap][:n], a[np.abs(a) >= gap][:n]
    return x, (a > 0).astype(int)


def learnt(x, y, seed, most=1_000_000):
    """A perceptron in float64 that has mended all mistakes (or so many), and its w after each of them."""
    model = Perceptron(x.shape[1], rng=tg.random.Generator(seed)).to(dtype="float64")
    X, s = model.checked(x, y)
    path = [model.w.numpy()]
    while len(path) <= most and model.update(X, s)["wrong"]:
        path.append(model.w.numpy())
    return model, np.array(path)


def counted(seed, every=1):
    """Of each drawn set and each pair of digits: (kind, errors left, mistakes made, Novikoff's bound)."""
    found, (images, labels) = [], data.load("digits").train
    images = images.reshape(len(images), -1).astype(float)
    tasks = [("drawn points", *separable(100, gap, tg.random.Generator(seed + k), d=2 + k % 4))
             for k, gap in enumerate(GAPS)]  # fmt: skip
    for a, b in PAIRS:
        rows = (labels == a) | (labels == b)
        tasks.append(("pairs of digits", images[rows], (labels[rows] == b).astype(int)))
    for kind, x, y in tasks[::every]:
        X, s = chapter.design(x), 2 * y - 1
        gamma, u = chapter.largest_margin(X, s)
        model, path = learnt(x, y, seed)
        found.append((kind, int(np.sum(model.predict(x) != y)), len(path) - 1, chapter.most_mistakes(u, X, s)))
    return found


def summary(sets):
    """The figures of `counted` in short."""
    return {"sets": len(sets), "errors": max(errors for _, errors, _, _ in sets),
            "share": max(k / bound for _, _, k, bound in sets)}  # fmt: skip


def overlapping(seed, steps):
    """Accuracy on the sepals of two species of iris, after each step: of a perceptron, and of a smooth neuron."""
    (x, y), _ = data.load("iris")
    x, y = np.asarray(x[y > 0, :2], float), y[y > 0] - 1
    x = (x - x.mean(0)) / x.std(0)
    models = {"perceptron": Perceptron(2, rng=tg.random.Generator(seed)),
              "smooth neuron": SigmaNeuron(2, lr=0.1, rng=tg.random.Generator(seed))}  # fmt: skip
    scores = {}
    for name, model in models.items():
        given, scores[name] = model.checked(x, y), []
        for _ in range(steps):
            model.update(*(given if name == "perceptron" else data.batch(given, model.rng, 20)))
            scores[name].append(model.score(x, y))
    return scores, len(y)


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    found = summary(counted(0))
    late = {name: np.mean(values[500:]) for name, values in overlapping(0, 1000)[0].items()}
    values = [found["errors"], found["share"], late["smooth neuron"] - late["perceptron"]]
    return {claim: float(value) for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A small perceptron, with inputs and classes."""
    return Perceptron(3, rng=rng), rng.normal((20, 3)), np.arange(20) % 2


def loss(rng):
    """The loss of a small smooth neuron, for `python -m tinygen explain perceptron`."""
    return SigmaNeuron(3, rng=rng).loss(rng.normal((20, 3)), np.arange(20) % 2)


# ---- pictures ---------------------------------------------------------------------------------------------------


def line(axes, w, **style):
    """The line w_0 + w_1 x_1 + w_2 x_2 = 0."""
    axes.axline(-w[0] * w[1:] / (w[1:] @ w[1:]), -w[0] * w[1:] / (w[1:] @ w[1:]) + [w[2], -w[1]], **style)


def lines(x, y, steps, seed):
    """Lines on their way, and the proof: what lies below, at and above the length of w."""
    made = plot.figure(11, 4.8)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    model, path = learnt(x, y, seed, steps)
    X, s = chapter.design(x), 2 * y - 1
    gamma, u = chapter.largest_margin(X, s)
    for c in (0, 1):
        left.scatter(*x[y == c].T, s=14, color=f"C{c}", zorder=3)
    shown = np.unique(np.geomspace(1, len(path) - 1, 6).astype(int))
    for k in shown:
        last = k == len(path) - 1
        line(left, path[k], color="black", alpha=1 if last else 0.15 + 0.4 * k / len(path), linewidth=2 if last else 1,
             label=f"after the last of {k} mistakes" if last else "on the way" if k == shown[0] else None)  # fmt: skip
    line(left, u, color="C2", linestyle="--", label=rf"largest margin, $\gamma = {gamma:.3f}$")
    left.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xticks=(-1, 0, 1), yticks=(-1, 0, 1), aspect="equal",
             xlabel="$x_1$", ylabel="$x_2$", title="Rosenblatt's rule")  # fmt: skip
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8)
    limit = chapter.most_mistakes(u, X, s)
    k = np.geomspace(1, 3 * limit, 400)
    low, high = np.transpose([chapter.between(u, X, s, each) for each in k])
    right.loglog(k, high, color="C3", label=r"$\sqrt{k}\,R$")
    right.plot(np.linalg.norm(path, axis=1), color="black", linewidth=2.5, label=r"$\|w_k\|$")
    right.plot(path @ u / np.linalg.norm(u), color="C0", linewidth=1.5, label=r"$u^\top w_k$")
    right.plot(k, low, color="C2", label=r"$k\,\gamma$")
    right.fill_between(k, low, high, where=low <= high, color="grey", alpha=0.15)
    right.axvline(limit, color="grey", linestyle=":", label=rf"the bound, $R^2/\gamma^2 = {limit:.0f}$")
    right.set(xlabel="mistakes $k$", xlim=(1, k[-1]),
              title="Novikoff's proof: no room is left beyond the dotted line")  # fmt: skip
    right.legend(loc="lower right")
    return made


def bound(sets):
    """Mistakes against what the theorem allows."""
    made = plot.figure(6.5, 5)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for colour, kind in enumerate(("drawn points", "pairs of digits")):
        pairs = np.array([(limit, k) for name, _, k, limit in sets if name == kind])
        axes.loglog(*pairs.T, "o", markersize=4, color=f"C{colour}", label=kind)
    axes.axline((1, 1), (10, 10), color="black", label="the bound")
    axes.set(xlabel=r"$R^2/\gamma^2$, for the largest margin", ylabel="mistakes until none is left",
             title="How many mistakes perceptrons make, and may make")  # fmt: skip
    axes.legend(loc="upper left")
    return made


def smooth():
    """The step as a limit, and the two losses."""
    made, a = plot.figure(10, 3.8), np.linspace(-3, 3, 400)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    one = np.ones(1)
    for k, c in enumerate((1, 3, 10)):
        left.plot(a, chapter.sigmoid(a, c), color=f"C{k}", label=f"$c = {c}$")
        right.plot(a, [chapter.smooth_loss(one, np.array([[v]]), one, c) for v in a], color=f"C{k}", label=f"$c = {c}$")
    left.plot(a, chapter.step(a), color="black", linestyle="--", label="step")
    right.plot(a, [chapter.perceptron_loss(one, np.array([[v]]), one) for v in a], color="black", linestyle="--",
               label="Rosenblatt's")  # fmt: skip
    left.set(xlabel="$a$", title=r"$\sigma(c\,a)$: everything discrete can be smoothed")
    right.set(xlabel=r"$s\,w^\top x$ (negative: a mistake)", title="what one example costs")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    return made


def overlap(scores, n):
    """Accuracies on the way, where no line is right."""
    made = plot.figure(7, 4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for colour, (name, values) in zip(("C1", "C0"), scores.items(), strict=True):
        axes.plot(values, color=colour, linewidth=0.8 if name == "perceptron" else 2, label=name)
    axes.set(xlabel="step", ylabel="right answers", ylim=(0.3, 1),
             title=f"{n} irises, versicolor or virginica by their sepals: no line parts them")  # fmt: skip
    axes.legend(loc="lower right", framealpha=1)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""What a feed-forward net can be: one hidden layer follows a curve as closely as it is wide, and depth folds it.

It draws nets of growing width against a curve, their largest errors beside what is proved of them, saws that a deep net
makes with a few neurons and a flat one cannot, and the error on a parabola against the number of neurons.
"""

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.models.supervised import FeedForward
from tinygen.models.supervised import feed_forward as chapter
from tinygen.runs import open_run

CARD = dict(
    rows=("A2",),
    model="supervised.feed_forward:FeedForward",
    claims={
        "largest ratio of sup-errors when the width doubles, 4 to 64": {"published": None, "bar": "< 1",
                                                                        "budget_min": 1},
        "sup-error of 64 relus that have learnt": {"published": None, "bar": "<= 0.01", "budget_min": 1},
        "largest sup-error of a construction in parts of its bound": {"published": "1", "bar": "<= 1",
                                                                      "budget_min": 1},
        "sup-error of 16 neurons in 8 layers on a saw of 256 pieces": {"published": "0", "bar": "<= 1e-12",
                                                                       "budget_min": 1},
        "least sup-error of 16 neurons in one layer on it, 10 descents": {"published": "1/2 at least (Telgarsky 2016)",
                                                                          "bar": ">= 0.5", "budget_min": 1},
    },
)  # fmt: skip
WIDTHS = (4, 8, 16, 32, 64)
DESCENT = 1000  # steps of L-BFGS at most
PLACES = np.linspace(0, 1, 4097)[:, None]  # where errors are looked for
EXAMPLES = np.linspace(0, 1, 1001)[:, None]


def main(*, width=32, depth=2, steps=3000, device="cpu", seed=0, quick=False, out="runs_out/feed_forward",
         resume=None):  # fmt: skip
    """Teach nets a curve, and draw what width and depth are worth.

    width, depth, steps: hidden layers of a net that learns the curve by minibatches of 100, and for how long; quick:
    a tenth of the steps everywhere
    """
    run = open_run(locals())
    part = 10 if quick else 1
    rng = tg.random.Generator(seed, device=device)
    net = FeedForward(1, *[width] * depth, 1, rng=rng).fit(EXAMPLES, curve(EXAMPLES), steps=steps // part, run=run)
    learnt = {sigma: [descended(n, sigma, seed, DESCENT // part) for n in WIDTHS] for sigma in ("relu", "sigmoid")}
    flat = flat_on_a_saw(4, 8, 3, DESCENT // part)
    errors = [sup_error(made) for made in learnt["relu"]]
    scores = {"net": sup_error(net), "64 relus": errors[-1], "ratio": worst_ratio(errors), "deep": deep_on_a_saw(8),
              "flat": min(each[0] for each in flat)}  # fmt: skip
    print(f"largest error of {depth} layers of {width} after {steps // part} minibatches: {scores['net']:.3f}; of "
          f"{WIDTHS[-1]} relus in one layer: {scores['64 relus']:.4f}; twice the width leaves at most "
          f"{scores['ratio']:.2f} of the error")  # fmt: skip
    run.save_figure("width.png", by_width(learnt, net, f"{depth} layers of {width}, minibatches"))
    run.save_figure("depth.png", by_depth(flat))
    print(f"pictures in {run.folder}")
    return scores


def curve(x):
    """What is to be learnt: a wave that gets faster."""
    return np.sin(3 * np.pi * x**2)


def largest_curvature():
    """max |f''| of the curve, on the grid."""
    a, x = 3 * np.pi, PLACES
    return float(np.max(np.abs(2 * a * np.cos(a * x**2) - (2 * a * x) ** 2 * np.sin(a * x**2))))


def sup_error(net, f=curve):
    """The largest error on a fine grid."""
    return float(np.max(np.abs(net.predict(PLACES) - f(PLACES))))


def descended(n, sigma, seed, steps):
    """A net of one hidden layer that has learnt the curve by L-BFGS: relus start as (6), sigmoids from a draw."""
    net = FeedForward(1, n, 1, sigma=sigma, rng=tg.random.Generator(seed)).to(dtype="float64")
    if sigma == "relu":
        t = np.linspace(0, 1, n + 1)
        net.start_at(chapter.interpolant(t, curve(t)[:, None]))
    return net.fit_exactly(EXAMPLES, curve(EXAMPLES), steps=steps)


def saw(depth):
    """The saw as a function of (n, 1)."""
    return lambda x: chapter.feed_forward(x, chapter.saw(depth))


def deep_on_a_saw(depth):
    """The error of the net with two neurons a layer, compared with the tent after itself."""
    folded = PLACES
    for _ in range(depth):
        folded = chapter.tent(folded)
    return float(np.max(np.abs(saw(depth)(PLACES) - folded)))


def flat_on_a_saw(depth, neurons, descents, steps):
    """Nets of one hidden layer that have learnt a saw as well as they can: (sup-error, net), from several starts."""
    found = []
    for seed in range(descents):
        rng = tg.random.Generator(seed)
        net = FeedForward(1, neurons, 1, rng=rng).to(dtype="float64")
        t = np.sort(np.concatenate([[0.0, 1.0], rng.uniform(neurons - 1, dtype="float64")]))
        net.start_at(chapter.interpolant(t, saw(depth)(t[:, None])))
        net.fit_exactly(EXAMPLES, saw(depth)(EXAMPLES), steps=steps)
        found.append((sup_error(net, saw(depth)), net))
    return found


def worst_ratio(errors):
    """The largest of the ratios of an error to the one before."""
    return float(max(np.divide(errors[1:], errors[:-1])))


def constructions(widths):
    """Sup-errors of the staircase and of the straight lines, and their bounds: name -> (error, bound) a width."""
    found, M = {"steps": [], "lines": []}, largest_curvature()
    for n in widths:
        c, t = 12.0 * (n + 1), np.linspace(0, 1, n + 1)
        nets = chapter.staircase(curve, n, c), chapter.interpolant(t, curve(t)[:, None])
        bounds = chapter.staircase_bound(curve, n, c), chapter.interpolation_bound(M, n)
        for name, net, bound in zip(found, nets, bounds, strict=True):
            error = np.max(np.abs(chapter.feed_forward(PLACES, net) - curve(PLACES)))
            found[name].append((float(error), bound))
    return found


def reproduce(run, claims):
    """The claims of the CARD."""
    relus = [sup_error(descended(n, "relu", 0, DESCENT)) for n in WIDTHS]
    shares = [error / bound for pairs in constructions(2 ** np.arange(10)).values() for error, bound in pairs]
    values = [worst_ratio(relus), relus[-1], max(shares), deep_on_a_saw(8)]
    values.append(min(error for error, _ in flat_on_a_saw(8, 16, 10, DESCENT)))
    return {claim: value for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A small net, with inputs and outputs."""
    return FeedForward(3, 4, 2, rng=rng), rng.normal((20, 3)), rng.normal((20, 2))


def loss(rng):
    """The mean squared error of a small net, for `python -m tinygen explain feed_forward`."""
    return FeedForward(3, 4, 2, rng=rng).loss(rng.normal((20, 3)), rng.normal((20, 2)))


# ---- pictures ---------------------------------------------------------------------------------------------------


def by_width(learnt, net, name):
    """The curve and nets that follow it; the largest error against the width."""
    made = plot.figure(12, 4.6)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    left.plot(PLACES, curve(PLACES), color="black", linewidth=4, alpha=0.25, label="$f$")
    for k, i in enumerate((0, 1, 2)):
        left.plot(PLACES, learnt["relu"][i].predict(PLACES), color=f"C{k}", linewidth=1.2, label=f"{WIDTHS[i]} relus")
    left.plot(PLACES, net.predict(PLACES), color="C3", linestyle=":", label=name)
    left.set(xlabel="$x$", title="One curve, and nets that have learnt it")
    left.legend(loc="lower left", fontsize=8)
    widths = 2 ** np.arange(10)
    for k, (kind, pairs) in enumerate(constructions(widths).items()):
        error, bound = np.transpose(pairs)
        words = {"steps": "sigmoids as steps", "lines": "relus as lines"}[kind]
        right.loglog(widths, error, "o", color=f"C{k}", markersize=4, label=words)
        right.loglog(widths, bound, "--", color=f"C{k}", linewidth=1, label=f"its bound ({'57'[k]})")
    for sigma, marker, colour in (("relu", "^-", "C2"), ("sigmoid", "v-", "C4")):
        errors = [sup_error(each) for each in learnt[sigma]]
        right.loglog(WIDTHS, errors, marker, color=colour, markersize=5, label=f"{sigma}s after a descent")
    right.set(xlabel="width $n$", ylabel=r"$\max_x |g(x) - f(x)|$", ylim=(3e-5, 30),
              title="The largest error")  # fmt: skip
    right.legend(fontsize=8, loc="lower left")
    return made


def by_depth(flat):
    """Saws; the best that as many neurons do in one layer; errors on the parabola."""
    made = plot.figure(14, 4)
    made.set_layout_engine("constrained")
    first, second, third = made.subplots(1, 3)
    for k, depth in enumerate((1, 3, 5)):
        first.plot(PLACES, saw(depth)(PLACES) + 1.25 * (2 - k), color=f"C{k}",
                   label=f"{depth} layer{'s' * (depth > 1)}: {2**depth} pieces")  # fmt: skip
    first.set(xlabel="$x$", yticks=[], ylim=(-0.1, 4.4), title="$T^D$: two neurons a layer")
    first.legend(loc="upper right", fontsize=8, ncols=3, columnspacing=0.8, handlelength=1)
    error, net = min(flat, key=lambda each: each[0])
    second.plot(PLACES, saw(4)(PLACES), color="grey", linewidth=1, label="4 layers of 2")
    second.plot(PLACES, net.predict(PLACES), color="C3", label=f"1 layer of 8, largest error {error:.2f}")
    second.set(xlabel="$x$", ylim=(-0.1, 1.45), title="Eight neurons, deep and flat")
    second.legend(loc="upper right", fontsize=8)
    depths, n = np.arange(1, 11), np.arange(1, 31)
    deep = [np.max(np.abs(chapter.feed_forward(PLACES, chapter.parabola(d)) - PLACES**2)) for d in depths]
    third.semilogy(3 * depths, deep, "o-", color="C0", markersize=4, label="deep, three neurons a layer (11)")
    third.semilogy(n, [chapter.interpolation_bound(2, k) for k in n], color="C1", label="one layer: lines (6)")
    third.semilogy(n, [chapter.least_error_to_parabola(k + 1) for k in n], "--", color="C3",
                   label="one layer: no net is better (12)")  # fmt: skip
    third.set(xlabel="neurons", ylabel="largest error", title="$x^2$ on $[0, 1]$")
    third.legend(fontsize=8, loc="lower left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

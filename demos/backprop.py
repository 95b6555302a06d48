"""A network learns handwritten digits by backpropagation written out by hand, and the engine checks every step.

It prints how far the two gradients ever were apart, and draws the errors on their way back through twenty layers, the
curves of the run, and subgradients at a corner.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import Network
from tinygen.models.supervised import backpropagation as chapter
from tinygen.runs import open_run, read_metrics

CARD = dict(
    rows=("A15",),
    model="supervised.backpropagation:Network",
    claims={
        "largest gap to the engine's gradient": {"published": None, "bar": "<= 1e-12", "budget_min": 1},
        "test accuracy, digits": {"published": None, "bar": ">= 0.95", "budget_min": 1},
    },
)


def main(*, steps=3000, hidden=64, depth=2, activation="relu", lr=0.1, device="cpu", seed=0, quick=False,
         out="runs_out/backprop", resume=None):  # fmt: skip
    """Train a classifier on the 8 x 8 digits by hand-written gradients, in float64, beside the engine's.

    steps: minibatches of 60 to learn from; depth: hidden layers; hidden: their width; activation: identity, sigmoid,
    tanh, softplus or relu; quick: a fifth of the steps
    """
    run = open_run(locals())
    n = steps // 5 if quick else steps
    net, train, test = trained(run, n, hidden=hidden, depth=depth, activation=activation, lr=lr, device=device,
                               seed=seed)  # fmt: skip
    scores = {"gap": largest(run), "train": net.score(*train), "test": net.score(*test)}
    print("largest gap to the engine {gap:.1e}; right on {train:.1%} of train, {test:.1%} of test".format(**scores))
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))
    run.save_figure("errors.png", errors_by_layer(train[0][:100], train[1][:100], seed))
    run.save_figure("subgradients.png", corners())
    print(f"pictures in {run.folder}")
    return scores


def trained(run, steps, *, hidden=64, depth=2, activation="relu", lr=0.1, device="cpu", seed=0):
    """A network trained by hand, its gap to the engine logged at every step, and the data: two pairs (x, y)."""
    train, test = ((part.images.reshape(len(part.images), -1), part.labels) for part in data.load("digits"))
    rng = tg.random.Generator(seed, device=device)
    net = Network(64, *[hidden] * depth, 10, activation=activation, lr=lr, rng=rng).to(dtype="float64")
    known = net.checked(*train)
    for _ in run.steps(net, steps):
        x, y = data.batch(known, net.rng, 60)
        gap = largest_gap(net, x, y)
        run.log(**net.update(x, y), gap=gap)
    return net, train, test


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    net, _, test = trained(run, 3000)
    values = {"largest gap to the engine's gradient": largest(run), "test accuracy, digits": net.score(*test)}
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small network, with inputs and classes."""
    return Network(6, 4, 3, rng=rng), rng.normal((20, 6)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small network, for `python -m tinygen explain backprop`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


def largest_gap(net, x, y):
    """The largest difference between an entry of the gradient by hand and the engine's."""
    pairs = zip(net.gradients(x, y), net.gradients_by_engine(x, y), strict=True)
    return max(float(abs(by_hand - by_engine).max()) for by_hand, by_engine in pairs)


def largest(run):
    """The largest gap of the whole run."""
    return max(read_metrics(run.folder / "metrics.csv")["gap"])


def errors_by_layer(x, y, seed, depth=20, width=64):
    """The length of the errors, by layer, in untrained networks of each activation."""
    made = plot.figure(6.5, 4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for name in ("relu", "tanh", "sigmoid"):
        net = Network(64, *[width] * depth, 10, activation=name, rng=tg.random.Generator(seed)).to(dtype="float64")
        layers = net.raw_layers()
        h, a = chapter.forward(x, layers)
        delta_L = chapter.COSTS["cross-entropy"].slope(h[-1], y)
        delta = chapter.deltas(delta_L, chapter.slopes(h, a, layers), layers)
        lengths = [float(np.linalg.norm(d)) for d in delta]
        axes.semilogy(range(1, depth + 1), np.array(lengths[1:-1]) / lengths[-1], marker="o", markersize=4, label=name)
    axes.set(xlabel=r"layer $\ell$ (the output is on the right)", ylabel=r"$\|\delta^\ell\| / \|\delta^L\|$",
             title="Errors on their way back, before any training", xticks=range(0, depth + 1, 5))  # fmt: skip
    axes.legend()
    return made


def corners():
    """Lines of several slopes through a corner: those that stay below the function are its subgradients."""
    cases = [
        ("relu", lambda w: np.maximum(w, 0), (-0.4, 0, 0.5, 1, 1.4), (0, 1)),
        ("|w|", np.abs, (-1.5, -1, 0, 1, 1.5), (-1, 1)),
        ("relu(w) − relu(−w), by the chain rule", lambda w: w, (0, 1, 2), (1, 1)),
    ]
    made, w = plot.figure(11, 3.6), np.linspace(-1, 1, 201)
    made.set_layout_engine("constrained")
    for axes, (name, f, slopes, (low, high)) in zip(made.subplots(1, 3), cases, strict=True):
        for u in slopes:
            right = low <= u <= high
            axes.plot(w, u * w, color="C2" if right else "C3", linestyle="-" if right else ":", linewidth=1.2)
            axes.annotate(f"{u:g}", (1.03, min(u, 1.6)), color="C2" if right else "C3", va="center")
        axes.plot(w, f(w), color="black", linewidth=2.5)
        axes.set(title=name, xlabel="$w$", xlim=(-1, 1.25), ylim=(-1.7, 1.7))
    made.suptitle("Slopes at 0: subgradients (green) and others (red, dotted)")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Fifty layers of sigmoids learn digits with shortcuts and layer normalisation, and do not without.

It draws the scores of nets with either, both and neither against the learning rate and against the depth, the lengths
of the gradients and the size of the signals layer by layer, and the ways that an error takes back through the blocks.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import ResidualNet
from tinygen.models.supervised import residual as chapter
from tinygen.runs import open_run

CARD = dict(
    rows=("A3",),
    model="supervised.residual:ResidualNet",
    claims={
        "test accuracy, 50 layers, best rate: with shortcuts and normalisation": {"published": None, "bar": ">= 0.95",
                                                                                  "budget_min": 3},
        "the same without either": {"published": None, "bar": "<= 0.2", "budget_min": 3},
        "first layer's gradient over the last layer's, before training: with both": {"published": None,
                                                                                     "bar": ">= 0.1", "budget_min": 1},
        "the same gradients without either": {"published": None, "bar": "<= 1e-10", "budget_min": 1},
    },
)  # fmt: skip
KINDS = {"both": "shortcuts and normalisation", "shortcut": "shortcuts", "normalise": "normalisation",
         "neither": "neither"}  # fmt: skip
RATES, DEPTHS = (0.03, 0.1, 0.3, 1.0), (2, 5, 10, 20, 100)
LAYERS, WIDTH, BATCH, RATE = 50, 32, 60, 0.1


def main(*, steps=400, device="cpu", seed=0, quick=False, out="runs_out/residual", resume=None):
    """Train deep nets on the 8 x 8 digits, side by side, and draw what sets them apart.

    steps: minibatches of 60 to learn from; quick: an eighth of the steps, and fewer depths
    """
    run = open_run(locals())
    n = steps // 8 if quick else steps
    race, train, test = trained(run, n, device=device, seed=seed)
    scores = {name: net.score(*test) for name, net in race.nets.items()}
    for kind, words in KINDS.items():
        rate, score = best(scores, kind)
        print(f"{LAYERS} layers with {words}: {score:.1%} of the test set right at the best rate, {rate}")
    by_depth = deeper(DEPTHS[:3] if quick else DEPTHS, train, test, n, seed)
    run.save_figure("scores.png", accuracy(scores, by_depth))
    run.save_figure("gradients.png", gradients(race, *(part[:BATCH] for part in train), seed))
    run.save_figure("ways.png", ways(train[0][0], seed))
    print(f"pictures in {run.folder}")
    return scores


def net_of(kind, depth, *, lr=RATE, seed=0, device="cpu"):
    """A net of a kind."""
    return ResidualNet(64, WIDTH, depth, 10, shortcut=kind in ("both", "shortcut"), lr=lr,
                       normalise=kind in ("both", "normalise"),
                       rng=tg.random.Generator(seed, device=device))  # fmt: skip


class Race:
    """Nets that learn side by side: four kinds at each rate.

    Attributes
    ----------
    nets : by name, such as `both@0.1` (kind, rate)
    """

    def __init__(self, seed, device="cpu"):
        self.nets = {
            f"{kind}@{lr}": net_of(kind, LAYERS, lr=lr, seed=seed, device=device) for kind in KINDS for lr in RATES
        }

    def update(self, known):
        """A step of every net on a minibatch of its own; some of their losses."""
        losses = {}
        for name, net in self.nets.items():
            with np.errstate(all="ignore"):  # a rate that is too high overflows, and that is to be seen
                losses[name] = net.update(*data.batch(known, net.rng, BATCH))["loss"]
        return {kind: losses[f"{kind}@{RATE}"] for kind in KINDS}

    def state_dict(self):
        return {name: net.state_dict() for name, net in self.nets.items()}

    def load_state_dict(self, state):
        for name, net in self.nets.items():
            net.load_state_dict(state[name])


def digits():
    """Rows of 64 pixels, and labels: two pairs (x, y)."""
    return [(part.images.reshape(len(part.images), -1), part.labels) for part in data.load("digits")]


def trained(run, steps, *, device="cpu", seed=0):
    """The nets after their race, and the data."""
    train, test = digits()
    race = Race(seed, device)
    known = race.nets["both@0.1"].checked(*train)
    for _ in run.steps(race, steps):
        run.log(**race.update(known))
    return race, train, test


def deeper(depths, train, test, steps, seed):
    """Test scores of nets of each kind and several depths, at one rate."""
    found = {}
    for kind in KINDS:
        for depth in depths:
            net = net_of(kind, depth, seed=seed)
            known = net.checked(*train)
            for _ in range(steps):
                net.update(*data.batch(known, net.rng, BATCH))
            found[kind, depth] = net.score(*test)
    return found


def best(scores, kind):
    """The rate at which nets of a kind score highest, and that score."""
    return max(((r, scores[f"{kind}@{r}"]) for r in RATES), key=lambda pair: pair[1])


def left_of_the_gradient(kind, x, y, seed=0):
    """The length of the gradient at the first layer, in parts of that at the last, before training."""
    norms = net_of(kind, LAYERS, seed=seed).gradient_norms(x, y)
    return norms[0] / norms[-1]


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    names, values = list(CARD["claims"]), {}
    if set(names[:2]) & set(claims):
        race, _, test = trained(run, 400)
        scores = {name: net.score(*test) for name, net in race.nets.items()}
        values |= {names[0]: best(scores, "both")[1], names[1]: best(scores, "neither")[1]}
    x, y = (part[:BATCH] for part in digits()[0])
    values |= {names[2]: left_of_the_gradient("both", x, y), names[3]: left_of_the_gradient("neither", x, y)}
    return {claim: float(values[claim]) for claim in claims}


def tiny(rng):
    """A small net, with inputs and classes."""
    return ResidualNet(6, 4, 3, 3, rng=rng), rng.normal((20, 6)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small net, for `python -m tinygen explain residual`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


# ---- pictures ---------------------------------------------------------------------------------------------------


def accuracy(scores, by_depth):
    """Scores against the rate, and against the depth."""
    made = plot.figure(11, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2, sharey=True)
    depths = sorted({depth for _, depth in by_depth} | {LAYERS})
    by_depth = by_depth | {(kind, LAYERS): scores[f"{kind}@{RATE}"] for kind in KINDS}
    for colour, (kind, words) in enumerate(KINDS.items()):
        left.semilogx(RATES, [scores[f"{kind}@{r}"] for r in RATES], marker="o", color=f"C{colour}", label=words)
        right.semilogx(depths, [by_depth[kind, d] for d in depths], marker="o", color=f"C{colour}")
    for axes in (left, right):
        axes.axhline(0.1, color="grey", linestyle=":", label="guessing")
    left.set(xlabel="learning rate", ylabel="right answers, test set", ylim=(0, 1.02), title=f"{LAYERS} layers")
    right.set(xlabel="layers", title=f"learning rate {RATE}")
    right.set_xticks(depths, depths)
    right.minorticks_off()
    right.legend(*left.get_legend_handles_labels(), fontsize=9, loc="center left", title="with", framealpha=0.9)
    return made


def gradients(race, x, y, seed):
    """By layer: the lengths of gradients before and after training; the signals' size, and how alike they are."""
    made = plot.figure(12, 7.6)
    made.set_layout_engine("constrained")
    (before, after), (signal, alike) = made.subplots(2, 2)
    after.sharey(before)
    for colour, (kind, words) in enumerate(KINDS.items()):
        style = dict(color=f"C{colour}", label=words)
        net = net_of(kind, LAYERS, seed=seed)
        before.semilogy(np.maximum(net.gradient_norms(x, y), 1e-38), **style)
        after.semilogy(np.maximum(race.nets[f"{kind}@{RATE}"].gradient_norms(x, y), 1e-38), **style)
        h = np.array([layer.numpy() for layer in net.hidden(net.checked(x))])  # (L + 1, b, n)
        signal.semilogy(np.maximum(h.std(1).mean(-1), 1e-9), **style)
        one, two = np.transpose([likeness(layer, y) for layer in h])
        alike.plot(one, color=f"C{colour}")
        alike.plot(two, "--", color=f"C{colour}")
        if kind == "shortcut":
            signal.semilogy(np.abs(h.mean((1, 2))), color=f"C{colour}", linestyle="--", label="mean of its units")
    layer = np.arange(1, LAYERS + 1)
    signal.semilogy(layer, chapter.mean_of_the_stream(0, layer), ":", color="black", label=r"$\ell/2$, (6)")
    for axes in (before, after):
        axes.axhline(1e-38, color="grey", linestyle=":", linewidth=0.8)
    after.text(LAYERS, 3e-38, "float32 ends here", color="grey", ha="right", fontsize=8)
    before.set(title="Gradients before training", ylabel=r"$\|\partial C / \partial h^{(\ell)}\|$")
    after.set(title=f"Gradients after training at rate {RATE}")
    signal.set(title="Standard deviation of a unit over images, before training")
    alike.set(title="Correlation of two images of one class (line), of two (dashed)", ylim=(-0.05, 1.05))
    for axes in (before, after, signal, alike):
        axes.set(xlabel=r"layer $\ell$")
    before.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.1))
    signal.legend(fontsize=8, loc="center right")
    return made


def likeness(h, y):
    """The mean correlation between the units (n, width) of two images of one class, and of two classes."""
    h = h.astype(float) - h.mean(1, keepdims=True)
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    same, C = y[:, None] == y, h @ h.T
    return C[same & ~np.eye(len(y), dtype=bool)].mean(), C[~same].mean()


def ways(x, seed):
    """How many ways back go through k blocks, and what they bring."""
    made = plot.figure(7, 4.4)
    made.set_layout_engine("constrained")
    axes, net = made.add_subplot(), net_of("both", LAYERS, seed=seed)
    rng = tg.random.Generator(seed)
    jacobians, delta = net.jacobians(x).astype(float), rng.normal(WIDTH, dtype="float64")
    v = np.linalg.norm(chapter.by_blocks(delta, jacobians), axis=1) / np.linalg.norm(delta)
    k = np.arange(LAYERS + 1)
    counts = np.cumprod(np.r_[1, (LAYERS - k[:-1]) / (k[:-1] + 1)])
    axes.semilogy(k, counts, color="C0", label="ways back through so many blocks")
    axes.semilogy(k, v / counts, color="C2", label="length of the error that one of them brings, about")
    axes.semilogy(k, v, color="C3", linewidth=2.5, label=r"of all of them together, $\|v_k\| / \|\delta^L\|$")
    axes.axhline(1, color="grey", linestyle=":")
    axes.set(xlabel="blocks gone through, $k$ (the plain net has the last $k$ only)",
             title=f"The ways back past {LAYERS} blocks")  # fmt: skip
    axes.legend(fontsize=9, loc="lower left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Inputs of every kind: letters as one-hot vectors, the border of an image, strides and pooling, and sequences.

It checks every layer against its formula in loops and its gradients of both orders against differences, then draws a
category as a number and as a vector, a convolution beside the correlation that networks take for it, the three kinds
of padding, overlapping windows, and digits that an RNN, an LSTM and a GRU read row by row. Sound has a demo of its own,
`audio`.
"""

import functools
import itertools
import math

import numpy as np

import tinygen as tg
from tinygen import data as sources
from tinygen import nn, plot
from tinygen.models.supervised import SequenceClassifier, audio, recurrent
from tinygen.models.supervised import inputs as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("A4",),
    model="supervised.recurrent:SequenceClassifier",
    claims={
        "largest gap between a layer and its formula in loops": {"published": None, "bar": "<= 1e-5", "budget_min": 1},
        "largest error of a layer's gradients, orders 1 and 2": {"published": None, "bar": "<= 1e-6", "budget_min": 1},
        "right answers, MNIST row by row, LSTM": {"published": None, "bar": ">= 0.96", "budget_min": 3},
    },
)  # fmt: skip
KINDS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
BATCH = 100


def main(*, data="mnist", steps=1000, hidden=64, device="cpu", seed=0, quick=False, out="runs_out/inputs",
         resume=None):  # fmt: skip
    """Check the layers, draw what they do to real inputs, and train three networks to read digits row by row.

    data: mnist (drawn digits, if its files are not there), fashion, notmnist or digits; steps: minibatches of 100 to
    learn from; hidden: the length of a state; quick: a fifth of the steps
    """
    run = open_run(locals())
    sets = load(data)
    race = trained(run, sets, steps // 5 if quick else steps, hidden=hidden, device=device, seed=seed)
    x, y = sets[1]
    scores = {"gap": largest(gaps()), "gradients": largest(slopes()), **judged(race, x, y)}
    print("largest gap to the loops {gap:.1e}, to the differences {gradients:.1e}; right answers: RNN {rnn:.1%}, "
          "LSTM {lstm:.1%}, GRU {gru:.1%}".format(**scores))  # fmt: skip
    pictures(run, race, x, y)
    print(f"pictures in {run.folder}")
    return scores


def load(name, *, stand_in=True):
    """The training and the test part of a set of images as sequences of rows, (n, T, d), with their classes."""
    return [(part.images[:, 0], part.labels) for part in sources.load(name, stand_in=stand_in)]


class Race:
    """An RNN, an LSTM and a GRU that learn from the same minibatches.

    Attributes
    ----------
    nets : by kind
    """

    def __init__(self, shape, n_classes, steps, *, kinds=tuple(KINDS), hidden=64, device="cpu", seed=0):
        self.nets = {kind: SequenceClassifier(shape, n_classes, kind=kind, hidden=hidden, lr=5e-3,
                                              schedule=Cosine(steps), rng=tg.random.Generator(seed, device=device))
                     for kind in kinds}  # fmt: skip
        self.rng = tg.random.Generator(seed + 1, device=device)

    def update(self, known):
        """A step of each network on one minibatch; their losses."""
        x, y = sources.batch(known, self.rng, BATCH)
        return {kind: net.update(x, y)["loss"] for kind, net in self.nets.items()}

    def state_dict(self):
        return {"rng": self.rng.state_dict(), **{kind: net.state_dict() for kind, net in self.nets.items()}}

    def load_state_dict(self, state):
        self.rng.load_state_dict(state["rng"])
        for kind, net in self.nets.items():
            net.load_state_dict(state[kind])


def trained(run, sets, steps, **options):
    """A race that has been run; the losses are logged."""
    (x, y), _ = sets
    race = Race(x.shape[1:], int(y.max()) + 1, steps, **options)
    known = next(iter(race.nets.values())).checked(x, y)
    with blas_threads(1):
        for _ in run.steps(race, steps):
            run.log(**race.update(known))
    return race


def judged(race, x, y):
    """The share of right answers of each network."""
    return {kind: net.score(x, y) for kind, net in race.nets.items()}


def reproduce(run, claims):
    """The claims of the CARD: the checks, and the LSTM at the defaults of `main`, for which MNIST's files are needed.

    Against PyTorch the layers are tested where it is installed; the claim is about loops, which need nothing.
    """
    values = {}
    for claim, value in zip(CARD["claims"], (lambda: largest(gaps()), lambda: largest(slopes()), None), strict=True):
        if claim in claims and value is not None:
            values[claim] = value()
        elif claim in claims:
            sets = load("mnist", stand_in=False)
            values[claim] = judged(trained(run.part("lstm"), sets, 1000, kinds=("lstm",)), *sets[1])["lstm"]
    return values


def tiny(rng):
    """A small network, with sequences and classes."""
    net = SequenceClassifier((5, 3), 3, kind="gru", hidden=4, rng=rng)
    return net, rng.spawn(1)[0].normal((20, 5, 3)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small network, for `python -m tinygen explain inputs`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


# ---- the checks -------------------------------------------------------------------------------------------------

FRAMES = {"zeros": lambda u, n: u if 0 <= u < n else None,  # where (4) looks, counted from 0
          "continuous": lambda u, n: min(max(u, 0), n - 1),
          "reflected": lambda u, n: -u if u < 0 else 2 * (n - 1) - u if u >= n else u}  # fmt: skip


def layer_by_loops(h, K, P, S, kind, true):
    """(5) of the chapter as it stands there, one number after another."""
    (images, l_0, *sides), (l_1, _, q, _) = h.shape, K.shape
    places = [(n - q + 2 * P) // S + 1 for n in sides]
    found = np.zeros((images, l_1, *places))
    for x, o, i, j, a, b, t in itertools.product(*map(range, (images, l_1, *places, q, q, l_0))):
        u, v = (FRAMES[kind](k * S + c - P, n) for k, c, n in zip((i, j), (a, b), sides, strict=True))
        if u is not None and v is not None:
            found[x, o, i, j] += h[x, t, u, v] * (K[o, t, q - 1 - a, q - 1 - b] if true else K[o, t, a, b])
    return found


def pooled_by_loops(h, k, S, reduce):
    """(7) or (8) of the chapter, window by window."""
    (images, channels, *sides) = h.shape
    found = np.zeros((images, channels, *[(n - k) // S + 1 for n in sides]))
    for x, c, i, j in np.ndindex(*found.shape):
        found[x, c, i, j] = reduce(h[x, c, i * S : i * S + k, j * S : j * S + k])
    return found


def causal_by_loops(x, w, b, d):
    """(3) of the chapter on audio, one number after another."""
    found = np.zeros((len(x), len(w), x.shape[2])) + b[:, None]
    for n, o, t, c, k in itertools.product(*map(range, (*found.shape, *w.shape[1:]))):
        if t - d * k >= 0:
            found[n, o, t] += w[o, c, -1 - k] * x[n, c, t - d * k]
    return found


def random(*shape, seed=0):
    """Normal numbers in float64, always the same."""
    return tg.random.Generator(seed).normal(shape, dtype="float64")


def gaps():
    """The largest difference between each layer, in float32 as it is used, and its formula, in float64."""
    h, K, found = random(2, 3, 6, 7), random(4, 3, 3, 3, seed=1), {}
    for kind, S, true in itertools.product(chapter.PADDINGS, (1, 2), (False, True)):
        made = chapter.layer(single(h), single(K), P=2, S=S, kind=kind, true=true)
        found[f"{'convolution' if true else 'correlation'}, {kind}, stride {S}"] = (
            made,
            layer_by_loops(h, K, 2, S, kind, true),
        )
    for name, layer, reduce in (("max", chapter.max_pooled, np.max), ("mean", chapter.mean_pooled, np.mean)):
        found[f"{name} pooling"] = layer(single(h), 3, 2), pooled_by_loops(h, 3, 2, reduce)
    x = np.array([[0, 2], [1, 0], [1, 1]])
    found["one-hot"] = chapter.one_hot(x, (2, 3)), np.array([[1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]])
    for kind, layer in recurrent_layers().items():
        x, p = random(2, 6, 3), arrays(recurrent.named(layer))
        found[KINDS[kind]] = layer.to(dtype="float32")(tg.tensor(single(x)))[0].numpy(), states_by_loops(kind, x, p)
    w, b, x = random(4, 3, 2), random(4), random(2, 3, 9, seed=1)
    found["dilated convolution"] = audio.causal(*map(single, (x, w, b)), 3), causal_by_loops(x, w, b, 3)
    return {name: float(np.abs(np.asarray(made) - expected).max()) for name, (made, expected) in found.items()}


def single(a):
    """The same in float32, which networks compute in."""
    return a.astype(np.float32)


def recurrent_layers():
    """A small layer of each kind, in float64, from 3 numbers to 2."""
    kinds = recurrent.LAYERS.items()
    return {kind: make(3, 2, batch_first=True, rng=tg.random.Generator(5)).to(dtype="float64") for kind, make in kinds}


def states_by_loops(kind, x, p):
    """(1), (4) or (6) of the chapter on recurrent networks, number by number: (n, T, d) to all h, (n, T, m)."""
    found = np.zeros((*x.shape[:2], len(p[recurrent.GATES[kind][0]][0])))
    for n, sequence in enumerate(x):
        h, c = np.zeros(found.shape[2]), np.zeros(found.shape[2])
        for t, x_t in enumerate(sequence):
            new = [unit_by_loops(kind, x_t, h, c[j], p, j) for j in range(len(h))]
            h, c = (np.array(values) for values in zip(*new, strict=True))
            found[n, t] = h
    return found


def unit_by_loops(kind, x, h, c, p, j):
    """Number j of the next h, and of the next c."""

    def inside(gate, r=1.0):
        W, U, b, *rest = p[gate]
        past = sum(U[j, k] * h[k] for k in range(len(h))) + (rest[0][j] if rest else 0)
        return sum(W[j, k] * x[k] for k in range(len(x))) + b[j] + r * past

    def sigma(value):
        return 1 / (1 + math.exp(-value))

    if kind == "rnn":
        return math.tanh(inside("h")), c
    if kind == "lstm":
        c = sigma(inside("f")) * c + sigma(inside("i")) * math.tanh(inside("g"))
        return sigma(inside("o")) * math.tanh(c), c
    z = sigma(inside("z"))
    return (1 - z) * math.tanh(inside("n", sigma(inside("r")))) + z * h[j], c


def arrays(p):
    """Named weights as arrays."""
    return {gate: [w.numpy() for w in parts] for gate, parts in p.items()}


def slopes():
    """How far the gradients of each layer are from differences, at orders 1 and 2; float64."""
    h, K, found = random(2, 2, 5, 6), random(2, 2, 3, 3, seed=1), {}
    for kind, true in itertools.product(chapter.PADDINGS, (False, True)):
        layer = functools.partial(chapter.layer, P=2, S=2, kind=kind, true=true)
        found[f"{'convolution' if true else 'correlation'}, {kind}"] = tg.check_grads(layer, (h, K))
    for name, pool in (("max", chapter.max_pooled), ("mean", chapter.mean_pooled)):
        found[f"{name} pooling"] = tg.check_grads(functools.partial(pool, k=3, S=2), (h,))
    x = np.array([2, 0, 2])
    found["one-hot"] = tg.check_grads(lambda W: chapter.looked_up(W, x), (random(2, 3),))
    for kind, layer in recurrent_layers().items():
        names, weights = zip(*layer.named_parameters(), strict=True)

        def states(x, *values, layer=layer, names=names):
            return nn.functional_call(layer, dict(zip(names, values, strict=True)), x)[0]

        found[KINDS[kind]] = tg.check_grads(states, (random(2, 3, 3), *[w.numpy() for w in weights]))
    x, w, b = random(2, 2, 6), random(2, 2, 2, seed=1), random(2)
    found["dilated convolution"] = tg.check_grads(functools.partial(audio.causal, d=2), (x, w, b))
    return found


def largest(found):
    """The largest of named numbers."""
    return max(found.values())


# ---- pictures ---------------------------------------------------------------------------------------------------


def pictures(run, race, x, y):
    """All of them, into the run's folder, from the sequences x (n, T, d) and classes y of the test part."""
    digit = x[4][None, None]  # (1, 1, n, m)
    run.save_figure("categories.png", categories(*letters()))
    run.save_figure("convolution.png", convolution(digit))
    run.save_figure("padding.png", padding())
    run.save_figure("pooling.png", pooling(digit))
    run.save_figure("reading.png", reading(race, x, y))
    run.save_figure("remembering.png", remembering(read_metrics(run.folder / "metrics.csv"), race, x[:200], y[:200]))


def panels(width, height, rows, columns, **options):
    """A figure, and its axes."""
    made = plot.figure(width, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, **options)


def shown(axes, image, title, *, signed=False):
    """An image without ticks: grey from 0 to its largest value, or, signed, from blue over white to red."""
    bound = max(float(np.abs(image).max()), 1e-9)
    options = dict(cmap="RdBu_r", vmin=-bound, vmax=bound) if signed else dict(cmap="gray", vmin=0, vmax=bound)
    axes.imshow(image, **options)
    axes.set_title(title, fontsize=10)
    axes.set(xticks=[], yticks=[])


def letters():
    """Letters as numbers from 0, how much of each image is ink, and their names."""
    sets = sources.load("notmnist")
    return sets.train.labels, sets.train.images.mean((1, 2, 3), dtype=np.float64), sets.classes


def categories(x, y, names):
    """A word in one-hot vectors; and what is learnt of the letters' ink from their numbers, and from their vectors."""
    made, (left, right) = panels(10, 3.6, 1, 2, width_ratios=(1, 1.7))
    word = np.array([names.index(letter) for letter in "DECADE"])
    left.imshow(chapter.one_hot(word[:, None], (len(names),)), cmap="Greys", vmin=0, vmax=1.3)
    left.set_xticks(range(len(names)), names)
    left.set_yticks(range(len(word)), [names[k] for k in word])
    left.set_xticks(np.arange(len(names)) + 0.5, minor=True)
    left.set_yticks(np.arange(len(word)) + 0.5, minor=True)
    left.grid(which="minor", color="0.85")
    left.tick_params(which="both", length=0)
    left.set_title("A word, one vector a letter", fontsize=11)
    means, k = chapter.category_means(x, y, len(names)), np.arange(len(names))
    line = np.polynomial.Polynomial.fit(x, y, 1)
    right.scatter(x + np.random.default_rng(0).uniform(-0.3, 0.3, len(x)), y, s=1, color="0.8", rasterized=True)
    for fitted, label, style in ((line(k), "from their numbers", "C1-"), (means, "from one-hot vectors", "C0_")):
        explained = 1 - np.mean((y - fitted[x]) ** 2) / y.var()
        right.plot(k, fitted, style, markersize=22, markeredgewidth=3, linewidth=2,
                   label=f"{label}: {explained:.0%} of the variance")  # fmt: skip
    right.set_xticks(k, names)
    right.set_ylabel("share of ink in an image")
    right.set_title("What is learnt about letters by least squares", fontsize=11)
    right.legend(loc="upper right", markerscale=0.4, fontsize=9)
    return made


LEFT_SIDES = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1.0]])[None, None] / 4  # dark on the left, light on the right


def convolution(h):
    """A digit and what a kernel finds in it: as networks compute it, and as a convolution."""
    made, axes = panels(10, 2.7, 1, 4, width_ratios=(1, 0.55, 1, 1))
    found = [chapter.layer(h, LEFT_SIDES, P=1, true=true)[0, 0] for true in (False, True)]
    shown(axes[0], h[0, 0], "image")
    shown(axes[1], LEFT_SIDES[0, 0], "kernel $K$", signed=True)
    for (i, j), value in np.ndenumerate(LEFT_SIDES[0, 0]):
        axes[1].text(j, i, f"{value:g}", ha="center", va="center", fontsize=9,
                     color="white" if abs(value) > 0.4 else "black")  # fmt: skip
    shown(axes[2], found[0], "cross-correlation\n(what networks compute): left sides red", signed=True)
    shown(axes[3], found[1], "convolution\n(kernel turned round): right sides red", signed=True)
    return made


def padding(P=12):
    """A face with a frame of each kind, and the edges that a layer finds in it, near the border above all."""
    face = sources.load("olivetti").test.images[:1, :1].astype(float)
    made, axes = panels(9, 6.4, 2, 3)
    for (above, below), kind in zip(axes.T, chapter.PADDINGS, strict=True):
        shown(above, chapter.padded(face, P, kind)[0, 0], kind)
        n, m = face.shape[2:]
        corners = np.array([0, m, m, 0, 0]), np.array([0, 0, n, n, 0])
        above.plot(*[c + P - 0.5 for c in corners], color="C1", linewidth=1.5)
        found = [chapter.layer(face, K, P=1, kind=kind)[0, 0] for K in (LEFT_SIDES, LEFT_SIDES.swapaxes(2, 3))]
        edges = np.hypot(*found)
        rim = np.ones((n, m), bool)
        rim[1:-1, 1:-1] = False
        below.imshow(edges, cmap="magma", vmin=0, vmax=0.5)
        below.set(xticks=[], yticks=[])
        below.set_title(f"edges found: {edges[rim].mean():.2f} at the border,\n"
                        f"{edges[~rim].mean():.2f} within, on average", fontsize=10)  # fmt: skip
    return made


def pooling(h):
    """A digit with fewer places, four ways; and what each sends back to where."""
    ways = {"every 2nd place": lambda h: chapter.every(h, 2),
            "largest of 2 × 2": lambda h: chapter.max_pooled(h, 2, 2),
            "largest of 3 × 3, overlapping": lambda h: chapter.max_pooled(h, 3, 2),
            "mean of 3 × 3, overlapping": lambda h: chapter.mean_pooled(h, 3, 2)}  # fmt: skip
    made, axes = panels(11, 5.2, 2, 4)
    for (above, below), (name, way) in zip(axes.T, ways.items(), strict=True):
        leaf = tg.tensor(h, requires_grad=True)
        found = way(leaf)
        shown(above, found.numpy()[0, 0], f"{name}:\n{found.shape[2]} × {found.shape[3]}")
        sent = tg.grad(tg.sum(found), leaf).numpy()[0, 0]
        below.imshow(sent, cmap="viridis", vmin=0, vmax=2)
        below.set(xticks=[], yticks=[])
    axes[1][0].set_ylabel("what each pixel gets back\nif every output sends 1")
    for below in axes[1]:
        below.set_title(f"at most {below.images[0].get_array().max():.2f}", fontsize=9)
    return made


def reading(race, x, y, digits=4):
    """Digits, and beside each row what the networks, only ever asked at the end, believe once they have read so far."""
    chosen = [int(np.flatnonzero(y == k)[0]) for k in (7, 3, 5, 0)][:digits]
    made, grid = panels(10, 2.3 * digits, digits, 1 + len(race.nets))
    beliefs = {kind: net.along(x[chosen]) for kind, net in race.nets.items()}  # (digits, T, classes)
    for k, row in enumerate(grid):
        shown(row[0], x[chosen[k]], "read from above, row by row" if k == 0 else "")
        for axes, (kind, belief) in zip(row[1:], beliefs.items(), strict=True):
            axes.imshow(belief[k], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.axvline(y[chosen[k]], color="C1", linewidth=0.8, linestyle=":")
            axes.set_xticks(range(belief.shape[2]))
            axes.tick_params(length=0, labelsize=7)
            axes.set_yticks([])
            if k == 0:
                axes.set_title(f"{KINDS[kind]}: belief after each row", fontsize=10)
    return made


def remembering(rows, race, x, y):
    """How the networks learn, and how much each row of an image weighs in their answers."""
    made, (left, right) = panels(10, 3.6, 1, 2)
    step = np.array(rows["step"])
    width = max(1, len(step) // 50)
    for number, (kind, net) in enumerate(race.nets.items()):
        loss = np.convolve(rows[kind], np.ones(width) / width, "valid")
        left.semilogy(step[width - 1 :], loss, color=f"C{number}", label=KINDS[kind])
        weigh = net.sensitivity(x, y).mean(0)
        right.plot(np.arange(1, len(weigh) + 1), weigh / weigh.sum(), color=f"C{number}", label=KINDS[kind])
    left.set(xlabel="step", ylabel="cross-entropy (nats), smoothed", title="Learning")
    right.set(xlabel="row of the image $t$", ylabel="share",
              title=r"Where the answer comes from: $\|\partial \log p / \partial x_t\|$")  # fmt: skip
    right.set_ylim(0)
    left.legend()
    right.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

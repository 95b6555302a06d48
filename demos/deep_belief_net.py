"""A deep belief net learns digits without labels, machine after machine; then its weights start a classifier.

The pictures: the bound on the likelihood, and the likelihood itself, while a second machine learns on top of a first
one (a stack small enough for exact sums); what the units of each row look for; chains of the highest machine, each
brought down to the pixels; images brought up to each row and down again; and how the classifier learns from the
stack's weights and from random ones, all else alike. The bound on the large stack comes from annealed importance
sampling.

The classifier of the claims has what the first ones, of 2006, had not: dropout, Adam, and a rate that falls along half
a cosine. So does the one that starts at random.
"""

import itertools

import numpy as np

import tinygen as tg
from tinygen import nn, plot
from tinygen.data import batch, binarize, load
from tinygen.models.energy import RBM, DeepBeliefNet
from tinygen.models.energy import annealed_importance_sampling as ais
from tinygen.models.energy.deep_belief_net import visible_logits
from tinygen.models.energy.rbm import binary
from tinygen.models.supervised.dropout import Dropout
from tinygen.models.supervised.fine_tuning import FineTuned
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("D2",),
    resumes=True,
    model="energy.deep_belief_net:DeepBeliefNet",
    claims={
        "test error, MNIST, pre-trained, fine-tuned with dropout (%)": {
            "published": "1.25 (up-down), 1.2 (backpropagation), neither with dropout", "bar": "<= 1.25",
            "budget_min": 12},
        "test error, MNIST, from a random start less pre-trained (percentage points)": {
            "published": None, "bar": "> 0", "budget_min": 12},
    },
)  # fmt: skip
SIZES = {
    "digits": dict(sizes=(64, 100, 100, 200), greedy=6000, steps=3000, size=100, p=0.3),
    "mnist": dict(sizes=(784, 500, 500, 1000), greedy=24_000, steps=9000, size=200, p=0.25),
}
FULL = dict(few=10, first=6000, second=4000, chain=1000, path=2000, bounded=1000)  # few: units for the exact sums
QUICK = dict(few=8, first=3000, second=2000, chain=200, path=200, bounded=300)
STARTS = {"pre-trained": "C0", "random start": "C1"}


def main(*, data="digits", greedy=0, steps=0, p=0.0, device="cpu", seed=0, quick=False,
         out="runs_out/deep_belief_net", resume=None):  # fmt: skip
    """Train a deep belief net, draw what it has learnt, and fine-tune it into a classifier.

    data: digits or mnist; greedy: minibatches of 100 for all machines together, without labels; steps: minibatches for
    the classifier; p: dropout (0 for any of these: as the data set asks); quick: 1500 and 600 at most, and a smaller
    stack where sums are exact
    """
    run = open_run(locals())
    if data not in SIZES:
        raise ValueError(f"--data is {data!r}; {', '.join(SIZES)} are there")
    options, size = SIZES[data], QUICK if quick else FULL
    greedy, steps = (min(given or options[name], most if quick else 10**9)
                     for given, name, most in ((greedy, "greedy", 1500), (steps, "steps", 600)))  # fmt: skip
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        net, train, test = learnt(run, data, greedy, device=device, seed=seed)
        draws, x = tg.random.Generator(seed, device=device).spawn(2)[1], binarize.by_threshold(test[0][:1000])
        draw(run, net, x, size["chain"], draws)
        health(net, x, size["chain"], draws)
        scores = bounds(net, binarize.by_threshold(train[0]), x[: size["bounded"]], size["path"], draws)
        run.save_figure("bound.png", theorem(small_stacks(size, seed)))
        for start in STARTS:
            part = run.part(start.replace(" ", "-"))
            model = fine_tuned(part, net if start == "pre-trained" else None, data, train, test, steps, p=p,
                               device=device, seed=seed)  # fmt: skip
            scores[start] = error(model, *test)
    print("wrong on the test set: " + ", ".join(f"{scores[start]:.2f} % ({start})" for start in STARTS))
    run.save_figure("learning.png", learning({s: run.folder / s.replace(" ", "-") / "metrics.csv" for s in STARTS}))
    print(f"pictures in {run.folder}")
    return scores


def rows(part):
    """Images as rows of pixels, and labels."""
    return part.images.reshape(len(part.images), -1), part.labels


def learnt(run, data, steps, *, device="cpu", seed=0, stand_in=True):
    """A stack of machines that has learnt the images, without labels, and the data: two pairs (x, y).

    On digits, which are made black and white, a machine learns from draws of the units below, as the bound wants it; on
    MNIST from their probabilities, as Hinton and Salakhutdinov's did, since these are what the classifier will see.
    """
    rng, shape = tg.random.Generator(seed, device=device), SIZES[data]["sizes"]
    (x, y), test = (rows(part) for part in load(data, stand_in=stand_in))
    if data == "digits":
        x, test = binarize.by_threshold(x), (binarize.by_threshold(test[0]), test[1])
    options = dict(lr=0.05, momentum=0.9, weight_decay=2e-4, schedule=Cosine(max(1, steps // (len(shape) - 1))))
    machines = [RBM(n, m, **options, rng=rng) for n, m in itertools.pairwise(shape)]
    net = DeepBeliefNet(machines, draws=data == "digits", rng=rng)
    with blas_threads(1):
        net.fit(x, steps=steps, run=run)
    return net, (x, y), test


def random_start(sizes, rng):
    """The same network with random weights, of the size that suits sigmoid units (Glorot and Bengio 2010)."""
    layers = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m, rng=rng), nn.Sigmoid()]
        nn.init.xavier_uniform_(layers[-2].weight, gain=4.0, rng=rng)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers)


def fine_tuned(run, net, data, train, test, steps, *, p=0.0, device="cpu", seed=0):
    """A classifier that starts at a stack's weights, or, without one, at random; its test error is logged."""
    options, rng = SIZES[data], tg.random.Generator(seed + 1, device=device)
    network = net.network() if net is not None else random_start(options["sizes"], rng.spawn(1)[0])
    p, layers = p or options["p"], list(network)
    for place in range(len(layers) - 2, 0, -2):  # after every row of units but the last, whose dropout is FineTuned's
        layers.insert(place, Dropout(p, rng=rng))
    model = FineTuned(nn.Sequential(*layers), options["sizes"][0], options["sizes"][-1], 10, p=p,
                      schedule=Cosine(max(steps, 1)), rng=rng)  # fmt: skip
    known, due = model.checked(*train), set(np.linspace(0, steps, 21).astype(int))
    with blas_threads(1):
        for step in run.steps(model, steps):
            run.log(**model.update(*batch(known, model.rng, options["size"])))
            if step in due:
                run.log(error=error(model, *test))
    return model


def error(model, x, y):
    """The share of wrong answers in percent."""
    return 100 * (1 - model.score(x, y))


def bounds(net, train, x, path, rng):
    """The bound on the log-likelihood of images for the lowest machine, the two lowest, ...: printed, and given back.

    log Z is the upper end of the estimate's interval.
    """
    found = {}
    for depth in range(1, len(net.machines) + 1):
        part = DeepBeliefNet(net.machines[:depth], rng=rng)
        mean = part.up(part.checked(train[:5000]), depth - 1).mean(0)
        estimate = ais.log_partition(part.machines[-1], chains=100, temperatures=path, mean=mean, rng=rng)
        found[f"bound {depth}"] = float(part.elbo(x, log_z=estimate.interval[1], rng=rng).mean())
        print(f"{depth} machine{'s' * (depth > 1)}: log-likelihood of test images at least "
              f"{found[f'bound {depth}']:.1f} nats, if annealing has missed nothing (log Z {estimate.log_z:.1f} ± "
              f"{estimate.error:.2f}, worth {estimate.effective_chains:.0f} of 100 chains)")  # fmt: skip
    return found


def health(net, x, steps, rng):
    """What has gone wrong in learning, if anything, machine by machine: printed; chains of so many Gibbs steps."""
    for level, machine in enumerate(net.machines):
        v = DeepBeliefNet(net.machines[:level], rng=rng).transform(x) if level else x
        found = machine.diagnose(v, steps=steps, rng=rng)
        print(f"machine {level + 1}: {found['dead']} dead units of {machine.n_hidden}; the free energy of chains is "
              f"{found['chains below']:.1f} nats below that of its data" + " (they have left the data)"
              * (found["chains below"] > 10))  # fmt: skip


def small_stacks(size, seed):
    """What `stacking` finds, with the number of hidden units and the largest possible likelihood: for the panels."""
    from tinygen.demos.rbm import bars_and_stripes

    digits, stripes = binarize.by_threshold(rows(load("digits").train)[0]), bars_and_stripes()
    return {"Bars and stripes of 16 pixels": (8, -np.log(len(stripes)), stacking(stripes, 8, size, seed)),
            "Digits of 64 pixels": (size["few"], None, stacking(digits, size["few"], size, seed))}  # fmt: skip


def stacking(x, few, size, seed):
    """Two machines, small enough for exact sums, that learn images: rows (step, level, bound, log-likelihood)."""
    rng, n = tg.random.Generator(seed), x.shape[1]
    machines = [RBM(n, few, lr=0.2, momentum=0.5, schedule=Cosine(size["first"]), rng=rng),
                RBM(few, n, lr=0.1, momentum=0.5, k=5, schedule=Cosine(size["second"]), rng=rng)]  # fmt: skip
    net, found = DeepBeliefNet(machines, tied=True, rng=rng), []
    for level, steps in enumerate((size["first"], size["second"])):
        net.begin(net.checked(x), level)
        for step in range(steps + 1):
            if step % (steps // 20) == 0:
                bound, log_p = (exact_bound(net, x), net.log_prob(x)) if level else (np.nan, machines[0].log_prob(x))
                found.append((step + level * size["first"], level, np.mean(bound), np.mean(log_p)))
            if step < steps:
                net.update(batch(x, rng, 100), level)
    return np.array(found)


def exact_bound(net, x):
    """Equation (5) for two machines, with every configuration of the row between them: (b,)."""
    below, top = net.machines
    every = binary(np.arange(2**below.n_hidden), below.n_hidden, x.dtype)  # (r, m)
    a = x @ below.weight.numpy() + below.hidden_bias.numpy()
    log_q = a @ every.T - np.logaddexp(0, a).sum(1, keepdims=True)  # (b, r)
    logits = visible_logits(below, every)  # (r, n)
    log_p = x @ logits.T - np.logaddexp(0, logits).sum(1) - top.free_energy(every) - top.log_z()
    return (np.exp(log_q) * (log_p - log_q)).sum(1)


def reproduce(run, claims):
    """The claims of the CARD, both of them from one stack; only the real MNIST will do."""
    size = SIZES["mnist"]
    net, train, test = learnt(run.part("greedy"), "mnist", size["greedy"], stand_in=False)
    wrong = {}
    for start in STARTS:
        model = fine_tuned(run.part(start.replace(" ", "-")), net if start == "pre-trained" else None, "mnist", train,
                           test, size["steps"])  # fmt: skip
        wrong[start] = error(model, *test)
    values = dict(zip(CARD["claims"], (wrong["pre-trained"], wrong["random start"] - wrong["pre-trained"]),
                      strict=True))  # fmt: skip
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small stack with everything switched on, and images."""
    options = dict(momentum=0.5, weight_decay=1e-3, schedule=Cosine(20), rng=rng)
    net = DeepBeliefNet([RBM(6, 4, **options), RBM(4, 6, k=2, **options), RBM(6, 3, **options)], tied=True, rng=rng)
    return net, rng.spawn(1)[0].bernoulli(0.5, (20, 6))


# ---- pictures -------------------------------------------------------------------------------------------


def draw(run, net, x, steps, rng):
    """The pictures of one stack; chains of so many Gibbs steps."""
    run.save_figure("features.png", features(net))
    run.save_figure("chains.png", wandering(net, x, rng, steps))
    run.save_figure("reconstructions.png", reconstructions(net, x))
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))


def theorem(found):
    """The bound and the likelihood while two machines learn, one after the other; a panel for each set of images."""
    made = plot.figure(11.5, 4.4)
    made.set_layout_engine("constrained")
    for axes, (title, (few, best, rows)) in zip(made.subplots(1, len(found)), found.items(), strict=True):
        first, second = (rows[rows[:, 1] == level] for level in (0, 1))
        axes.plot(first[:, 0], first[:, 3], color="C0", label=f"log-likelihood, one machine ({few} hidden units)")
        axes.plot(second[:, 0], second[:, 3], color="C3", label="log-likelihood, two machines")
        axes.plot(second[:, 0], second[:, 2], color="C3", linestyle="--", label="the bound (5)")
        axes.fill_between(second[:, 0], second[:, 2], second[:, 3], color="C3", alpha=0.15, linewidth=0)
        axes.axhline(first[-1, 3], color="C0", linewidth=0.8, linestyle=":")
        axes.axvline(second[0, 0], color="black", linewidth=0.8)
        if best is not None:
            axes.axhline(best, color="gray", linewidth=0.8, linestyle="--", label="the most that is possible")
        axes.set(xlabel="step; at the line the second machine starts, as the first one upside down", title=title,
                 ylabel="nats an image, exact")  # fmt: skip
        axes.legend(loc="lower right", fontsize=9)
    return made


def features(net, columns=12):
    """What the units of each row look for: the weights of the rows below it, multiplied through to the pixels."""
    made, W = plot.figure(9, 2.9 * len(net.machines)), 1.0
    made.set_layout_engine("constrained")
    for level, axes in enumerate(np.atleast_1d(made.subplots(len(net.machines), 1))):
        machine = net.machines[level]
        W = W @ machine.weight.numpy() if level else machine.weight.numpy()  # (pixels, m)
        strongest = W.T[np.argsort(-np.square(W).sum(0))][: 3 * columns]
        shown = strongest / np.abs(strongest).max(1, keepdims=True)
        axes.imshow(sheet(shown, columns), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set(title=f"row {level + 1}: {len(W.T)} units, the strongest {len(shown)}")
        axes.set_axis_off()
    made.suptitle("What speaks for a unit (red) and against it (blue), traced down to the pixels")
    return made


def sheet(images, columns):
    """Square images (n, pixels) side by side in rows, with gaps of NaN."""
    side = round(images.shape[1] ** 0.5)
    made = np.full((-(-len(images) // columns) * (side + 1) + 1, columns * (side + 1) + 1), np.nan)
    for k, image in enumerate(images):
        top, left = (k // columns) * (side + 1) + 1, (k % columns) * (side + 1) + 1
        made[top : top + side, left : left + side] = image.reshape(side, side)
    return made


def wandering(net, x, rng, steps, chains=10):
    """Chains of the highest machine in rows, each brought down to the pixels: from test images and from coin flips."""
    top, below, half = net.machines[-1], len(net.machines) - 1, chains // 2
    coins = np.random.default_rng(0).random((half, top.n_visible)) < 0.5
    start = tg.backend.arrays.to_numpy(net.up(net.checked(x[:half]), below))
    h, at, seen, done = np.concatenate([start, coins]), [0, *np.unique(np.geomspace(1, steps, 11).astype(int))], [], 0
    for step in at:
        h, done = top.gibbs(h, steps=int(step - done), rng=rng), step
        seen.append(tg.backend.arrays.to_numpy(net.down(top.checked(h), below)))
    return square(np.stack(seen, 1).reshape(-1, x.shape[1]), len(at), column_names=[str(a) for a in at],
                  row_names=["test image"] * half + ["coin flips"] * half,
                  title="Gibbs steps of the highest machine, each state brought down to the pixels")  # fmt: skip


def reconstructions(net, x, columns=12):
    """Test images, and what is left of them after the way up to each row and down again."""
    x, levels = x[:columns], len(net.machines)
    found = [tg.backend.arrays.to_numpy(net.down(net.up(net.checked(x), k), k)) for k in range(1, levels + 1)]
    names = ["test image", *(f"row {k} and back" for k in range(1, levels + 1))]
    return square(np.concatenate([x, *found]), columns, row_names=names)


def square(images, columns, **names):
    """Square images (n, pixels) as a sheet; 8 x 8 pixels are easier to read interpolated."""
    side = round(images.shape[1] ** 0.5)
    return plot.image_grid(images.reshape(-1, side, side), columns, enlarge=8 if side == 8 else 1, **names)


def learning(paths):
    """The test error of the classifiers against the step, and their training loss."""
    made = plot.figure(10, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    for name, path in paths.items():
        columns = {key: np.array(values) for key, values in read_metrics(path).items()}
        step, told = columns["step"], np.isfinite(columns["error"])
        left.semilogy(step[told], columns["error"][told], "o-", markersize=3, color=STARTS[name],
                      label=f"{name}: {columns['error'][told][-1]:.2f} % in the end")  # fmt: skip
        width = max(1, len(step) // 50)
        whole = len(step) // width * width
        right.semilogy(step[:whole].reshape(-1, width).mean(1), columns["loss"][:whole].reshape(-1, width).mean(1),
                       color=STARTS[name], label=name)  # fmt: skip
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    left.set(xlabel="step", ylabel="wrong on the test set (%)", title="The same network, the same fine-tuning")
    right.set(xlabel="step", ylabel="cross-entropy (nats), with dropout", title="Training loss")
    left.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

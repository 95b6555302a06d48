"""Layers of autoencoders, one on top of the other, and a classifier that starts from them.

A stack of denoising autoencoders learns images without labels, layer by layer, and the same stack all at once. Then a
layer of classes is put on top of the encoder, and all of it learns from labels: once from what the layers have learnt,
and once from random weights. The pictures: images rebuilt from the code of each layer, with how much that loses and the
bound that the layers' own losses give; what units of the first layer look for, with and without masking noise; how much
gradient arrives at each layer of the untrained stack; and the errors of both classifiers while they learn.
"""

import numpy as np

import tinygen as tg
from tinygen import nn, plot
from tinygen.data import batch, load
from tinygen.models.autoencoder import StackedAutoencoder
from tinygen.models.autoencoder.denoising import Masking
from tinygen.models.autoencoder.stacked import error_bound, whole_loss
from tinygen.models.supervised import FineTuned
from tinygen.models.supervised.dropout import Dropout
from tinygen.optim.schedules import Cosine, Sequence
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("E6",),
    model="autoencoder.stacked:StackedAutoencoder",
    resumes=True,
    claims={
        "test error (%), MNIST, SDAE-3 of 1000 units a layer, fine-tuned with dropout and a falling rate": {
            "published": "1.28 without either", "bar": "<= 1.3", "budget_min": 25},
        "the same network from random weights: its error less that of the pre-trained one (%)": {
            "published": None, "bar": "> 0", "budget_min": 25},
    },
)  # fmt: skip
BATCH = 100
SIZES = {  # units a layer, steps of a layer, steps with labels, and how many labels a class has (0: all)
    "digits": dict(units=100, steps=2000, tune=1000, labels=10, rate=1e-2),
    "mnist": dict(units=1000, steps=6000, tune=18_000, labels=0, rate=1e-3),
}
ABSENT = dict(pixels=0.2, units=0.25)  # dropout while labels are learnt


def main(*, data="digits", units=0, layers=3, noise=0.25, steps=0, tune=0, labels=-1,
         device="cpu", seed=0, quick=False, out="runs_out/stacked_autoencoder", resume=None):  # fmt: skip
    """Train a stacked denoising autoencoder, and a classifier that starts from it.

    data: digits or mnist; units: of each layer; layers: how many; noise: the share of numbers that a layer does not
    see while it learns; steps: minibatches of 100 for each layer; tune: minibatches with labels; 0 for any of these:
    as the data set asks; labels: how many a class has, 0 for all, -1: as the data set asks; quick: a quarter of the
    steps
    """
    run = open_run(locals())
    if data not in SIZES:
        raise ValueError(f"--data is {data!r}; {', '.join(SIZES)} are there")
    size = SIZES[data]
    steps, tune = (n // 4 if quick else n for n in (steps or size["steps"], tune or size["tune"]))
    parts = in_rows(load(data))
    known = few(*parts[0], size["labels"] if labels < 0 else labels, tg.random.Generator(seed)), parts[1]
    options = dict(units=units or size["units"], layers=layers, steps=steps, rate=size["rate"], device=device,
                   seed=seed)  # fmt: skip
    x = parts[1][0][:1000]
    with blas_threads(1):
        stack = pre_trained(run, parts[0][0], noise=noise, **options)
        whole = pre_trained(run.part("at-once"), parts[0][0], noise=noise, at_once=True, **options)
        run.save_figure("reconstructions.png", reconstructions(stack, whole, x))
        run.save_figure("bound.png", bound(stack, x))
        run.save_figure("gradients.png", gradients(untrained(stack), parts[0][0][:BATCH]))
        plain = pre_trained(run.part("without-noise"), parts[0][0], noise=0, **{**options, "layers": 1})
        run.save_figure("filters.png", filters({"without noise": plain, f"{noise:.0%} struck out": stack}))
        start = untrained(stack)  # before learning from labels changes the weights
        tuned = fine_tuned(run.part("tuned"), stack, known, tune, rate=size["rate"], seed=seed)
        random = fine_tuned(run.part("random"), start, known, tune, rate=size["rate"], seed=seed)
    run.save_figure("learning.png", learning(run, stack.depth))
    scores = {"pre-trained": 100 * (1 - tuned.score(*parts[1])), "random start": 100 * (1 - random.score(*parts[1]))}
    print("wrong on the test part: " + ", ".join(f"{name} {value:.2f} %" for name, value in scores.items()))
    print(f"pictures in {run.folder}")
    return scores


def in_rows(parts):
    """Both parts as images (n, d) and labels."""
    return tuple((part.images.reshape(len(part.images), -1), part.labels) for part in parts)


def few(x, y, n, rng):
    """So many examples of each class, at random; all, if n is 0."""
    order = rng.permutation(len(y))
    rows = np.concatenate([order[y[order] == k][: n or len(y)] for k in np.unique(y)])
    return x[rows], y[rows]


def pre_trained(run, x, *, units, layers, steps, rate, noise=0.25, at_once=False, device="cpu", seed=0):
    """A stack that has learnt images (n, d) for so many steps a layer; the rate falls anew in each layer."""
    pieces = 1 if at_once else layers
    length = steps * layers // pieces
    schedule = Sequence(*[(length, Cosine(length))] * (pieces - 1), (None, Cosine(length)))
    stack = StackedAutoencoder(
        x.shape[1], *[units] * layers, at_once=at_once, corruption=Masking(noise) if noise else None, lr=rate,
        schedule=schedule, rng=tg.random.Generator(seed, device=device))  # fmt: skip
    return stack.fit(x, steps=steps * layers, batch_size=BATCH, run=run)


def untrained(stack):
    """A stack of the same sizes with random weights."""
    return StackedAutoencoder(*stack.sizes, rng=tg.random.Generator(1000, device=stack.rng.device))


def fine_tuned(run, stack, parts, steps, *, rate, seed=0):
    """A classifier on top of the stack's encoder, all of it learning; its error on the test part is logged."""
    (x, y), test = parts
    rng = tg.random.Generator(seed + 1, device=stack.rng.device)
    absent = [ABSENT["pixels"]] + [ABSENT["units"]] * (stack.depth - 1)
    trunk = [part for p, up in zip(absent, stack.ups, strict=True) for part in (Dropout(p, rng=rng), up, nn.Sigmoid())]
    model = FineTuned(nn.Sequential(*trunk), x.shape[1], stack.sizes[-1], 10, p=ABSENT["units"], lr=rate,
                      schedule=Cosine(steps), rng=rng)  # fmt: skip
    known, every = model.checked(x, y), max(1, steps // 25)
    for step in run.steps(model, steps):
        run.log(**model.update(*batch(known, model.rng, BATCH)))
        if step % every == 0 or step == steps:
            run.log(wrong=100 * (1 - model.score(*test)))
    return model


def reproduce(run, claims):
    """The claims of the CARD, on the real MNIST.

    Settings were fixed before the test part was looked at, but for the width: with 500 units the same run ended at
    1.34 % (from random weights 1.58 %), and then the 1000 of Vincent et al. were taken.
    """
    parts, size = in_rows(load("mnist", stand_in=False)), SIZES["mnist"]
    rate, wrong = size["rate"], {}
    with blas_threads(1):
        stack = pre_trained(
            run.part("stack"), parts[0][0], units=size["units"], layers=3, steps=size["steps"], rate=rate
        )
        for name, start in (("tuned", stack), ("random", untrained(stack))):
            wrong[name] = 100 * (1 - fine_tuned(run.part(name), start, parts, size["tune"], rate=rate).score(*parts[1]))
    values = dict(zip(CARD["claims"], (wrong["tuned"], wrong["random"] - wrong["tuned"]), strict=True))
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A very small stack with everything switched on, with images."""
    stack = StackedAutoencoder(8, 6, 5, corruption=Masking(0.25), schedule=Cosine(20), rng=rng)
    return stack, rng.spawn(1)[0].uniform((20, 8))


def loss(rng):
    """The loss of a small stack all at once, for `python -m tinygen explain stacked_autoencoder`."""
    stack, x = tiny(rng)
    return tg.mean(whole_loss(tg.tensor(x), tg.tensor(x), stack.ups, stack.downs))


# ---- pictures -------------------------------------------------------------------------------------------


def square(images):
    """Rows (n, d) as square images (n, h, h)."""
    side = round(images.shape[1] ** 0.5)
    return images.reshape(-1, side, side)


def reconstructions(stack, whole, x, columns=12):
    """Images, what is rebuilt of them from the code of each layer, and by the stack that learnt all at once."""
    x = x[:columns]
    rows = {"image": x}
    rows |= {f"up to layer {k}": stack.reconstruct(x, layers=k) for k in range(1, stack.depth + 1)}
    rows["all at once"] = whole.reconstruct(x)
    images = square(np.concatenate(list(rows.values())))
    return plot.image_grid(images, columns, enlarge=8 if images.shape[1] == 8 else 1, row_names=list(rows),
                           title="Rebuilt from the code of each layer; by a stack that learnt all at once")  # fmt: skip


def bound(stack, x):
    """What the stack loses of each image against the bound, and what each layer adds to the bound."""
    errors, stretch = stack.layer_errors(x), stack.stretch()
    lost, limit = np.linalg.norm(x - stack.reconstruct(x), axis=1), error_bound(errors, stretch)
    made = plot.figure(10, 4.5)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    left.plot(limit, lost, ".", alpha=0.5)
    left.axline((0, 0), slope=1, color="black", linewidth=1, label="all of the bound")
    left.set(xlim=(0, None), ylim=(0, None), xlabel="the bound", ylabel=r"$\Vert x - \hat x \Vert$",
             title=f"What the stack loses of {len(x)} test images")  # fmt: skip
    left.legend()
    shares = np.cumprod([1.0, *stretch[:-1]]) * errors.mean(0)
    names = [f"layer {k + 1}\n$e$ = {e:.2f}" for k, e in enumerate(errors.mean(0))]
    bars = right.bar(names, shares)
    right.bar_label(bars, [f"{v:.2f}" for v in shares])
    factors = ", ".join(f"$K_{k + 1}$ = {K:.2f}" for k, K in enumerate(stretch[:-1]))
    right.set(title="Each layer's share: $e_l$ times the $K$ below it", xlabel=factors)
    right.margins(y=0.12)
    return made


def gradients(stack, x):
    """The size of the gradient of the loss of all at once at each layer's weights, from random weights."""
    layers = [*stack.ups, *stack.downs[::-1]]
    names = [f"$W_{k + 1}$" for k in range(stack.depth)] + [f"$V_{k}$" for k in range(stack.depth, 0, -1)]
    x = tg.tensor(x, device=stack.rng.device)
    found = tg.grad(tg.mean(whole_loss(x, x, stack.ups, stack.downs)), [layer.weight for layer in layers])
    made = plot.figure(7, 4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    axes.bar(names, [float(np.sqrt(np.square(g.numpy()).mean())) for g in found],
             color=["C0"] * stack.depth + ["C1"] * stack.depth)  # fmt: skip
    axes.set(yscale="log", ylabel="root mean square of the gradient", xlabel="from the pixels up and down again",
             title="All at once, from random weights: what arrives of the gradient")  # fmt: skip
    return made


def filters(stacks, rows=5, columns=10):
    """Incoming weights of units of the first layer, of several stacks side by side."""
    made = plot.figure(5.2 * len(stacks), 3.1)
    made.set_layout_engine("constrained")
    for part, (name, stack) in zip(made.subfigures(1, len(stacks)), stacks.items(), strict=True):
        weights = stack.ups[0].weight.numpy()[: rows * columns]  # (units, d)
        part.suptitle(name)
        for axes, unit in zip(part.subplots(rows, columns).flat, square(weights), strict=False):
            bound = np.abs(unit).max()
            axes.imshow(unit, cmap="RdBu_r", vmin=-bound, vmax=bound)
        for axes in part.axes:
            axes.set_axis_off()
    return made


def learning(run, depth):
    """Each layer's loss while it learnt, and the classifiers' errors."""
    made = plot.figure(11, 4)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    metrics = {name: np.array(values) for name, values in read_metrics(run.folder / "metrics.csv").items()}
    for layer in range(1, depth + 1):
        now = metrics["layer"] == layer
        step, values = metrics["step"][now], metrics["loss"][now]
        piece = max(1, len(values) // 100)
        step, values = (v[: len(v) // piece * piece].reshape(-1, piece).mean(1) for v in (step, values))
        left.plot(step, values / values[-1], label=f"layer {layer}: {values[-1]:.1f} nats")
    left.set(xlabel="step", ylabel="loss / loss in the end", ylim=(0.9, 2.6), title="Layer by layer, without labels")
    left.legend(title="in the end", loc="upper center")
    for name, label in (("tuned", "pre-trained"), ("random", "random start")):
        metrics = {key: np.array(values) for key, values in read_metrics(run.folder / name / "metrics.csv").items()}
        told = np.isfinite(metrics["wrong"])
        step, wrong = metrics["step"][told], metrics["wrong"][told]
        right.plot(step, wrong, label=f"{label}: {wrong[-1]:.2f} % in the end")
    right.set(xlabel="step", ylabel="wrong on the test part (%)", ylim=(0, None), title="Then with labels")
    right.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

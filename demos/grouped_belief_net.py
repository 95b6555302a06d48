"""A belief net with groups of hidden units against the logistic one; and how few links it needs.

First both nets learn the same black-and-white images. Then the grouped net learns digits of 17 grey levels, from few
examples: pairs of pixels are tested for dependence, cross-validation says how many of them to link, and the pruned
net is held against the one with all links. Pictures: where the hidden layer helps, samples and completions of both,
the statistic, the masks of both layers and what each output really sees, the curves.
"""

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import batch, binarize, load
from tinygen.models.density import GroupedBeliefNet, LogisticBeliefNet, links
from tinygen.models.density import grouped_belief_net as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("B7",),
    model="density.grouped_belief_net:GroupedBeliefNet",
    claims={
        "LARC less grouped net, test -log P, MNIST made black and white (nats)": {
            "published": None, "bar": "> 0", "budget_min": 4},
        "pruned less full net at its best step, test -log P, digits of 17 levels (nats)": {
            "published": None, "bar": "<= 0", "budget_min": 2},
        "share of links kept by cross-validation, digits of 17 levels": {
            "published": None, "bar": "<= 0.5", "budget_min": 2},
    },
)  # fmt: skip
SIZE = 250  # images in a minibatch of the comparison
SETTINGS = {  # hidden units in a group; steps and rates of the grouped net and of the logistic one
    "mnist": dict(units=1, steps=(2400, 4800), rates=(0.006, 0.01)),
    "digits": dict(units=2, steps=(200, 600), rates=(0.02, 0.03)),
}
LEVELS, FEW, RATE = 17, 100, 0.01  # grey levels of the digits, examples in a minibatch of theirs, and its rate
PRUNING = dict(shares=(0.5, 0.3, 0.2, 0.1, 0.05, 0.02), folds=3, steps=400)
QUICK = dict(shares=(0.3, 0.1), folds=2, steps=160)


def main(*, data="mnist", steps=0, units=0, device="cpu", seed=0, quick=False, out="runs_out/grouped_belief_net",
         resume=None):  # fmt: skip
    """Train a grouped belief net beside a logistic one, then prune one of grey digits, and draw what they have learnt.

    data: mnist or digits, for the comparison; steps: minibatches of 250 that each net learns from, and units:
    hidden units in a group (0: as the data set asks); quick: the comparison on digits, and a coarser cross-validation
    """
    run = open_run(locals())
    if data not in SETTINGS:
        raise ValueError(f"--data is {data!r}; {', '.join(SETTINGS)} are there")
    data, pruning = ("digits", QUICK) if quick else (data, PRUNING)
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        nets, test = compared(run, data, steps, units=units, device=device, seed=seed)
        scores = {name: nll(net, test) for name, net in nets.items()}
        print(f"{data}, test, nats an image: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
        found = pruned(**pruning, device=device, seed=seed)
        best, last = min(v for _, v, _ in found["full"][1]), found["pruned"][1][-1][1]
        scores |= {"pruned less full": last - best, "kept": found["pruned"][0].share_of_links()}
        print(f"digits of {LEVELS} levels, test: full net {best:.2f} at its best step, {found['full'][1][-1][1]:.2f} "
              f"at the last; pruned to {scores['kept']:.1%} of the links {last:.2f}")  # fmt: skip
        pictures(run, nets, test, found, tg.random.Generator(seed + 1, device=device))
    print(f"pictures in {run.folder}")
    return scores


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; MNIST's own files are needed for the first."""
    values = {}
    with blas_threads(1):
        for claim in claims:
            if "LARC" in claim:
                nets, test = compared(run, "mnist", stand_in=False)
                values[claim] = nll(nets["logistic"], test) - nll(nets["grouped"], test)
            elif claim not in values:
                found = pruned(**PRUNING)
                best, last = min(v for _, v, _ in found["full"][1]), found["pruned"][1][-1][1]
                kept = found["pruned"][0].share_of_links()
                values |= {c: kept if "share" in c else last - best for c in claims if "17 levels" in c}
    return values


def tiny(rng):
    """A small net for variables of two to four values, pruned, and rows of these."""
    net = GroupedBeliefNet((2, 4, 3, 2, 3), units=2, threshold=0.1, schedule=Cosine(20), weight_decay=1e-3, rng=rng)
    x = rng.spawn(1)[0].uniform((40, 5)) * tg.tensor([2.0, 4, 3, 2, 3], device=rng.device).data
    return net, x.astype("int64")


def loss(rng):
    """The negative log-likelihood of a small net, for `python -m tinygen explain grouped_belief_net`."""
    net, x = tiny(rng)
    net.fit(x, steps=3, run=Run(quiet=True))  # from W = 0, where no slope reaches V
    z = chapter.coded(x, 4, "float32")
    return -tg.mean(chapter.log_likelihood(z, net(z)))


def nll(net, x):
    """The mean of -log P, in nats a row."""
    return -float(net.score_samples(x).mean())


# ---- one hidden layer or none -----------------------------------------------------------------------------------


def images(data, seed, stand_in=True):
    """Rows of pixels to learn from and to judge by: MNIST grey, its test part drawn once; digits black and white."""
    train, test = (part.images.reshape(len(part.images), -1) for part in load(data, stand_in=stand_in))
    return (train, binarize.fixed(test, seed)) if data == "mnist" else tuple(map(binarize.by_threshold, (train, test)))


def compared(run, data, steps=0, *, units=0, device="cpu", seed=0, stand_in=True):
    """Both nets after training, the logistic one in a part of the run, and the test images."""
    train, test = images(data, seed, stand_in)
    d, setting = train.shape[1], SETTINGS[data]
    n, simple_n = (steps or default for default in setting["steps"])
    rate, simple_rate = setting["rates"]
    first, second = tg.random.Generator(seed, device=device).spawn(2)
    net = GroupedBeliefNet((2,) * d, units=units or setting["units"], lr=rate, schedule=Cosine(n), rng=first)
    simple = LogisticBeliefNet(d, lr=simple_rate, schedule=Cosine(simple_n), rng=second)
    learn(run, net, train, test, n, grey=data == "mnist")
    learn(run.part("logistic"), simple, train, test, simple_n, grey=data == "mnist")
    return {"logistic": simple, "grouped": net}, test


def learn(run, net, train, test, steps, grey):
    """Train a net, its test score logged now and then."""
    known, due = net.start_at(train).checked(train, grey=grey), set(np.geomspace(1, steps, 16).astype(int))
    for step in run.steps(net, steps):
        run.log(**net.update(batch(known, net.rng, SIZE), resample=grey))
        if step in due:
            run.log(test=nll(net, test))


# ---- links ------------------------------------------------------------------------------------------------------


def grey_digits():
    """scikit-learn's digits as integers from 0 to 16: rows to learn from and to judge by."""
    return tuple(np.rint(16 * part.images.reshape(len(part.images), -1)).astype(int) for part in load("digits"))


def learnt(train, test, threshold, steps, *, device="cpu", seed=0, looks=1):
    """A net of grey digits, and (step, test -log P, training -log P) on the way, `looks` times."""
    net = GroupedBeliefNet((LEVELS,) * train.shape[1], threshold=threshold, lr=RATE, schedule=Cosine(steps),
                           rng=tg.random.Generator(seed, device=device)).start_at(train)  # fmt: skip
    seen, due = [], np.linspace(0, steps, looks + 1).astype(int)
    for before, step in zip(due[:-1], due[1:], strict=True):
        net.fit(train, steps=int(step - before), batch_size=FEW, run=Run(quiet=True))
        seen.append((int(step), nll(net, test), nll(net, train)))
    return net, seen


def pruned(*, shares, folds, steps, device="cpu", seed=0):
    """The link test, cross-validation of its threshold, and the nets with all links and with those that it keeps."""
    train, test = grey_digits()
    s = links.dependence(train.astype("float32"), LEVELS)
    tried = [None, *links.thresholds(s, shares)]
    losses = links.cross_validation(
        train, tried, lambda a, b, threshold: learnt(a, b, threshold, steps, device=device, seed=seed)[1][-1][1],
        folds, tg.random.Generator(seed),
    )  # fmt: skip
    threshold = tried[int(losses.mean(1).argmin())]
    kept = [links.linked(s, t).sum() / (len(s) * (len(s) - 1) / 2) for t in tried]
    return {"s": s, "kept": kept, "losses": losses, "threshold": threshold, "train": train, "test": test,
            "full": learnt(train, test, None, steps, device=device, seed=seed, looks=10),
            "pruned": learnt(train, test, threshold, steps, device=device, seed=seed, looks=10)}  # fmt: skip


# ---- pictures ---------------------------------------------------------------------------------------------------


def pictures(run, nets, test, found, rng):
    """All pictures: of the comparison, and of pruning."""
    run.save_figure("compared.png", comparison(run, nets, test))
    run.save_figure("samples.png", samples(nets, test, rng))
    run.save_figure("completions.png", completions(nets, test, rng))
    run.save_figure("links.png", statistic(found))
    run.save_figure("masks.png", mask_pictures(found))
    run.save_figure("pruning.png", validation(found))
    run.save_figure("digits.png", digits(found, rng))


def side_of(x):
    """The side of square images (n, pixels)."""
    return round(x.shape[1] ** 0.5)


def factors(net, x):
    """-log P of each pixel given those before it, for black-and-white images; (n, d)."""
    p = net.conditionals(x)
    return -np.log(np.maximum(np.where(x == 1, *((p, 1 - p) if p.ndim == 2 else (p[..., 1], p[..., 0]))), 1e-30))


def comparison(run, nets, test):
    """The test scores while learning, and the pixels that are predicted better with hidden units."""
    made = plot.figure(11, 4.3)
    made.set_layout_engine("constrained")
    left, middle, right = made.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for (name, net), folder in zip(nets.items(), (run.folder / "logistic", run.folder), strict=True):
        log = read_metrics(folder / "metrics.csv")
        there = np.isfinite(log["test"])
        left.semilogx(np.array(log["step"])[there] * SIZE, np.array(log["test"])[there], "o-", markersize=4,
                      label=f"{name}: {nll(net, test):.2f} in the end")  # fmt: skip
    left.set(xlabel="images seen", ylabel="$-\\log P$ of a test image (nats)", title="With a hidden layer and without")
    left.legend()
    x = test[:2000]
    parts, side = {name: factors(net, x) for name, net in nets.items()}, side_of(x)
    gain = (parts["logistic"] - parts["grouped"]).mean(0).reshape(side, side)
    bound = np.abs(gain).max()
    picture = middle.imshow(gain, cmap="RdBu_r", vmin=-bound, vmax=bound)
    middle.set(xticks=[], yticks=[], title="Nats gained, by pixel")
    made.colorbar(picture, ax=middle, shrink=0.7)
    totals = {name: part.sum(1) for name, part in parts.items()}
    right.plot(totals["logistic"], totals["grouped"], ".", markersize=2)
    right.axline((totals["logistic"].mean(),) * 2, slope=1, color="grey", linewidth=0.8)
    better = np.mean(totals["grouped"] < totals["logistic"])
    right.set(xlabel="logistic", ylabel="grouped", aspect="equal",
              title=f"$-\\log P$ of {len(x)} test images:\n{better:.0%} below the line")  # fmt: skip
    right.set(xlim=right.get_xlim(), ylim=right.get_xlim())
    return made


def shown(axes, images, columns, *, white=1.0, frame=0.5):
    """Square images (n, pixels) in rows of `columns`; NaN in blue. Returns the length of a cell."""
    from matplotlib import colormaps

    side = side_of(images)
    cells = np.pad(images.reshape(-1, columns, side, side), ((0, 0), (0, 0), (1, 1), (1, 1)),
                   constant_values=frame * white)  # fmt: skip
    sheet = cells.transpose(0, 2, 1, 3).reshape(-1, columns * (side + 2))
    axes.imshow(sheet, cmap=colormaps["gray"].with_extremes(bad="#2f4b7c"), vmin=0, vmax=white)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return side + 2


def samples(nets, test, rng):
    """Draws from both nets, and test images."""
    made = plot.figure(12, 4.4)
    made.set_layout_engine("constrained")
    groups = {**{f"{name} net: draws": net.sample(64, rng=rng) for name, net in nets.items()}, "test images": test[:64]}
    for axes, (name, x) in zip(made.subplots(1, 3), groups.items(), strict=True):
        shown(axes, x.astype(float), 8)
        axes.set_title(name)
    return made


def completions(nets, test, rng, rows=7, columns=5):
    """Test images, their upper halves, and lower halves that each net draws for them."""
    x, known = test[:rows], test.shape[1] // 2
    half = np.where(np.arange(test.shape[1]) < known, x, np.nan)
    drawn = [net.complete(x.repeat(columns, axis=0), known, rng=rng).reshape(rows, columns, -1)
             for net in nets.values()]  # fmt: skip
    sheet = np.concatenate([x[:, None], half[:, None], *drawn], axis=1)
    made = plot.figure(9, 5.9)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    cell = shown(axes, sheet.reshape(-1, test.shape[1]), 2 + 2 * columns)
    names = ["test image", "given", *(f"lower halves by the {name} net" for name in nets)]
    axes.set_xticks(cell * np.array([0.5, 1.5, 2 + columns / 2, 2 + 1.5 * columns]), names)
    for at in (2, 2 + columns):
        axes.axvline(cell * at - 0.5, color="C3", linewidth=2)
    axes.xaxis.tick_top()
    return made


def statistic(found, spots=((2, 3), (4, 4), (6, 2))):
    """The statistic: from a pixel to all others; and of all pairs, beside pairs of shuffled columns."""
    train, s = found["train"], found["s"]
    side, draw = side_of(train), np.random.default_rng(0)
    made = plot.figure(12, 3.6)
    made.set_layout_engine("constrained")
    *panels, last = made.subplots(1, 4, width_ratios=(1, 1, 1, 1.7))
    for axes, (row, column) in zip(panels, spots, strict=True):
        field = np.where(np.arange(len(s)) == row * side + column, np.nan, s[row * side + column])
        picture = axes.imshow(field.reshape(side, side), cmap="viridis", vmin=0, vmax=np.quantile(s, 0.99))
        axes.plot(column, row, "s", color="white", markersize=9)
        axes.set(xticks=[], yticks=[], title="$s$ with the pixel □")
    made.colorbar(picture, ax=panels, shrink=0.8)
    shuffled = np.stack([draw.permutation(column) for column in train.T], axis=1).astype("float32")
    below = np.tril_indices(len(s), -1)
    bins = np.linspace(0, s[below].max(), 70)
    last.hist(s[below], bins, label="pairs of pixels")
    last.hist(
        links.dependence(shuffled, LEVELS)[below], bins, label="each pixel shuffled:\nindependent pairs", alpha=0.7
    )
    if found["threshold"] is not None:
        last.axvline(found["threshold"], color="black", linestyle=":", label="threshold, by\ncross-validation")
    last.set(yscale="log", xlabel="$s$", ylabel="pairs", title="How dependent the pairs are")
    last.legend()
    return made


def mask_pictures(found):
    """Where the pruned net has weights, and what its outputs see of its inputs; the latter of the full net as well."""
    net, full = found["pruned"][0], found["full"][0]
    first, second = (np.asarray(tg.Tensor(mask).numpy()) for mask in net._masks)
    inputs = LEVELS - 1
    made = plot.figure(12.5, 3.6)
    made.set_layout_engine("constrained")
    axes = made.subplots(1, 4)
    layers = (
        ("input to hidden", first[:, ::inputs], "hidden group $j = 2, 3, …$", "input group $\\ell = 1, 2, …$"),
        ("hidden to output", second[::inputs], "output group $j = 1, 2, …$", "hidden group $i = 2, 3, …$"),
    )
    for panel, (title, mask, row, column) in zip(axes, layers, strict=False):
        panel.imshow(mask, cmap="Greys", vmin=0, vmax=1.4)
        panel.set(title=f"links, {title}", ylabel=row, xlabel=column)
    for panel, model, title in zip(axes[2:], (net, full), ("pruned", "all links"), strict=True):
        seen = sensitivity(model, found["test"][:2])
        picture = panel.imshow(np.where(seen > 0, seen, np.nan), cmap="magma_r", norm=log_scale(seen))
        panel.set(title=f"$|\\partial g_j / \\partial z_\\ell|$, {title}", ylabel="output group $j$",
                  xlabel="input group $\\ell$")  # fmt: skip
    for panel in axes:
        panel.set(xticks=[], yticks=[])
    made.colorbar(picture, ax=axes[3], shrink=0.75)
    return made


def log_scale(seen):
    """Colours on a logarithmic scale, over three powers of ten."""
    from matplotlib.colors import LogNorm

    return LogNorm(seen.max() / 1000, seen.max())


def sensitivity(net, x):
    """The largest derivative of each output group by each input group, over some rows: exactly 0 on and above the
    diagonal, since no output sees its own variable or a later one; (d, d)."""
    d, z = len(net.n_values), tg.tensor(chapter.coded(net.checked(x), LEVELS, "float32"), requires_grad=True)
    g, seen = net(z), []
    for j in range(d):
        (slope,) = tg.grad(tg.sum(tg.abs(g[:, j])), [z], retain_graph=True, allow_unused=True)
        seen.append(np.zeros(d) if slope is None else np.abs(slope.numpy()).max((0, 2)))
    return np.array(seen)


def validation(found):
    """Held-out scores by the share of links, and the scores while the full and the pruned net learn."""
    made = plot.figure(11, 4.2)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    kept, losses = np.array(found["kept"]), found["losses"]
    left.semilogx(kept, losses, ".", color="0.6")
    left.semilogx(kept, losses.mean(1), "o-", label="mean of the parts (grey)")
    best = losses.mean(1).argmin()
    left.semilogx(kept[best], losses.mean(1)[best], "o", markersize=13, fillstyle="none", color="C3", label="chosen")
    left.set(xlabel="share of the pairs that are linked", ylabel="held-out $-\\log P$ (nats)",
             title="Cross-validation of the threshold")  # fmt: skip
    left.legend()
    for name, colour in (("full", "C0"), ("pruned", "C3")):
        step, test, train = np.transpose(found[name][1])
        right.plot(step, test, "o-", color=colour, markersize=4, label=f"{name}: test")
        right.plot(step, train, "--", color=colour, label=f"{name}: learnt from")
    right.set(xlabel="step", ylabel="$-\\log P$ (nats)", title="What many links learn is noise")
    right.legend()
    return made


def digits(found, rng):
    """Draws of 17 levels from the full and the pruned net, and test images."""
    made = plot.figure(12, 4.4)
    made.set_layout_engine("constrained")
    groups = {f"{name} net: draws": found[name][0].sample(64, rng=rng) for name in ("full", "pruned")}
    groups["test images"] = found["test"][:64]
    for axes, (name, x) in zip(made.subplots(1, 3), groups.items(), strict=True):
        shown(axes, x, 8, white=LEVELS - 1, frame=0.3)
        axes.set_title(name)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

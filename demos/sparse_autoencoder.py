"""Sparse autoencoders find the strokes that digits are drawn with: twice as many units as pixels, few of them at work.

They learn pieces of MNIST's digits, 12 by 12 pixels, with each of three penalties on the code, and without one. It
draws what the units draw, how often each of them speaks, how the mean activation finds its target, and one piece taken
apart into the units that make it. Dead units are counted.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.autoencoder import SparseAutoencoder
from tinygen.models.autoencoder import sparse as chapter
from tinygen.models.autoencoder.autoencoder import idle
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("E2",),
    model="autoencoder.sparse:SparseAutoencoder",
    claims={
        "mean activation of a unit, how far from its target on average, relative": {
            "published": None, "bar": "<= 0.1", "budget_min": 2},
        "median kurtosis of the filters with the KL penalty (noise: 3)": {
            "published": None, "bar": ">= 4", "budget_min": 2},
        "median kurtosis with the KL penalty / without it": {"published": None, "bar": "> 1", "budget_min": 2},
    },
)  # fmt: skip
SIDE, UNITS = 12, 288
KINDS = {
    "no penalty": dict(sparsity="kl", weight=0.0, decay=1e-3, lr=0.01, batch_size=500),
    "KL": dict(sparsity="kl", weight=3.0, decay=1e-3, lr=0.01, batch_size=500),
    "L1": dict(sparsity="l1", weight=0.5, lr=2e-3, batch_size=200),
    "L2": dict(sparsity="l2", weight=0.5, lr=2e-3, batch_size=200),
}


def main(*, steps=1500, units=UNITS, rho=0.05, device="cpu", seed=0, quick=False, out="runs_out/sparse_autoencoder",
         resume=None):  # fmt: skip
    """Train an autoencoder with each penalty on pieces of digits, and draw what their units stand for.

    steps: minibatches to learn from; units: in the code; rho: the share of pieces for which a unit shall be on, for the
    KL penalty; quick: 300 steps
    """
    run = open_run(locals())
    steps = 300 if quick else steps
    x, x_test = pieces()
    with blas_threads(1):
        models = {name: trained(run if name == "KL" else Run(quiet=True), name, x, units=units, rho=rho, steps=steps,
                                device=device, seed=seed) for name in KINDS}  # fmt: skip
    scores = {name: judged(model, x_test) for name, model in models.items()}
    for name, found in scores.items():
        print(f"{name:>10}: " + "  ".join(f"{what} {value:.3g}" for what, value in found.items()))
    run.save_figure("filters.png", filters(models, x_test))
    run.save_figure("activations.png", activations(models, x_test, rho))
    run.save_figure("target.png", target(read_metrics(run.folder / "metrics.csv"), rho))
    run.save_figure("parts.png", parts(models, x_test))
    print(f"pictures in {run.folder}")
    return scores["KL"] | {"off target": off_target(models["KL"], x_test)}


def pieces():
    """Squares cut out of MNIST's digits where there is some ink, as rows: to learn from, and to judge by."""
    found = []
    for k, part in enumerate(data.load("mnist")):
        draw = np.random.default_rng(k)
        n, top = (4000, 40_000)[k == 0], part.images.shape[-1] - SIDE - 2
        which, rows, columns = draw.integers(0, len(part.images), n), *draw.integers(2, top + 1, (2, n))
        cut = np.stack([part.images[i, 0, r : r + SIDE, c : c + SIDE]
                        for i, r, c in zip(which, rows, columns, strict=True)])  # fmt: skip
        flat = cut.reshape(n, -1)
        found.append(flat[flat.mean(1) > 0.08])
    return found


def trained(run, name, x, *, units=UNITS, rho=0.05, steps=1500, device="cpu", seed=0):
    """An autoencoder with the named penalty; how often its units are on is logged."""
    options = dict(KINDS[name])
    batch_size = options.pop("batch_size")
    model = SparseAutoencoder(x.shape[1], units, **options, rho=rho, schedule=Cosine(steps),
                              rng=tg.random.Generator(seed, device=device))  # fmt: skip
    known = model.checked(x)
    for step in run.steps(model, steps):
        run.log(**model.update(data.batch(known, model.rng, batch_size)))
        if step % max(1, steps // 60) == 0:
            means = model.transform(x[:2000]).mean(0)
            run.log(lowest=means.min(), mean=means.mean(), highest=means.max())
    return model


def off_target(model, x):
    """How far the mean activation of a unit is from rho, relative to it; the mean over units."""
    return float(np.abs(model.transform(x).mean(0) / model.rho - 1).mean())


def judged(model, x):
    """What the codes of new pieces are like, and the filters."""
    y = model.transform(x)
    return {"squared error": float(np.square(x - model.reconstruct(x)).sum(1).mean()),
            "mean activation": float(y.mean()), "exact zeros": float((y == 0).mean()), "dead": float(idle(y).mean()),
            "kurtosis": float(np.median(chapter.kurtosis(model.filters[~idle(y)])))}  # fmt: skip


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`, from each of three seeds."""
    first, second, third = CARD["claims"]
    x, x_test = pieces()
    values = {claim: [] for claim in CARD["claims"]}
    with blas_threads(1):
        for seed in range(3):
            with_it, without = (trained(Run(quiet=True), name, x, seed=seed) for name in ("KL", "no penalty"))
            values[first].append(off_target(with_it, x_test))
            values[second].append(judged(with_it, x_test)["kurtosis"])
            values[third].append(values[second][-1] / judged(without, x_test)["kurtosis"])
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small autoencoder with more units than pixels, with images."""
    return SparseAutoencoder(6, 9, decay=0.01, rng=rng), rng.spawn(1)[0].uniform((20, 6))


def loss(rng):
    """The loss of a small autoencoder, with its penalty, for `python -m tinygen explain sparse_autoencoder`."""
    model, x = tiny(rng)
    y = model.encoder(tg.tensor(x))
    return tg.mean(model.reconstruction_loss(tg.tensor(x), y)) + model.penalty(y)


# ---- pictures -----------------------------------------------------------------------------------------------------


def as_pictures(w):
    """Filters on a scale of their own, grey for 0; (d, n) to (d, side, side)."""
    return (0.5 + 0.5 * w / np.abs(w).max(1, keepdims=True)).reshape(-1, SIDE, SIDE)


def filters(models, x, rows=6, columns=9):
    """What the first units draw that are not dead, for each penalty."""
    made = plot.figure(3.1 * len(models), 2.6)
    made.set_layout_engine("constrained")
    for axes, (name, model) in zip(made.subplots(1, len(models)), models.items(), strict=True):
        alive = model.filters[~idle(model.transform(x))][: rows * columns]
        pictures = as_pictures(alive)
        sheet = np.ones((rows * (SIDE + 1) + 1, columns * (SIDE + 1) + 1))
        for k, picture in enumerate(pictures):
            r, c = (1 + (SIDE + 1) * place for place in divmod(k, columns))
            sheet[r : r + SIDE, c : c + SIDE] = picture
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1)
        axes.set(title=f"{name}: kurtosis {np.median(chapter.kurtosis(model.filters)):.1f}")
        axes.set_axis_off()
    made.suptitle(f"What units draw (grey is 0): {models['KL'].filters.shape[0]} units for {SIDE**2} pixels")
    return made


def activations(models, x, rho):
    """How often activations have which size, and how often each unit is on."""
    made = plot.figure(11, 3.7)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    for k, (name, model) in enumerate(models.items()):
        y = model.transform(x)
        top = np.quantile(y, 0.999)
        left.hist((y / top).ravel().clip(0, 1), np.linspace(0, 1, 60), histtype="step", density=True, color=f"C{k}",
                  label=f"{name}: {(y == 0).mean():.0%} are exactly 0" if (y == 0).any() else name)  # fmt: skip
        if model.sparsity == "kl":
            right.hist(y.mean(0), np.linspace(0, 0.6, 121), histtype="step", color=f"C{k}", label=name)
    left.set(yscale="log", xlabel="activation / its largest", ylabel="density", title="How loud units are")
    left.legend()
    right.axvline(rho, color="grey", linestyle=":", label=rf"$\rho$ = {rho:g}")
    right.set(xlabel="mean activation over new pieces", ylabel="units", title="How often sigmoid units are on")
    right.legend()
    return made


def target(metrics, rho):
    """The units' mean activations, and the loss with its penalty, against the step."""
    made = plot.figure(11, 3.7)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    step, told = np.array(metrics["step"]), np.isfinite(metrics["mean"])
    low, mean, high = (np.array(metrics[name])[told] for name in ("lowest", "mean", "highest"))
    left.fill_between(step[told], low, high, alpha=0.25, label="all units")
    left.plot(step[told], mean, label="their mean")
    left.axhline(rho, color="C3", linestyle=":", label=rf"$\rho$ = {rho:g}")
    left.set(xlabel="step", ylabel="mean activation", ylim=(0, None), title="Units find their target")
    left.legend()
    for name, label in (("loss", "squared error"), ("penalty", r"$\lambda \Omega_\mathrm{KL}$ and decay")):
        right.semilogy(step, metrics[name], linewidth=0.7, label=label)
    right.set(xlabel="step", title="What the loss is made of")
    right.legend()
    return made


def parts(models, x, shown=4, columns=8):
    """Pieces of digits, what is rebuilt, and the units that contribute most, with their activations."""
    names = [name for name in models if name != "L2"]
    made = plot.figure(1.1 * (columns + 2), 1.05 * shown * len(names) + 0.4)
    made.set_layout_engine("constrained")
    for part, name in zip(made.subfigures(len(names), 1), names, strict=True):
        part.suptitle(name, fontsize=11)
        model, given = models[name], x[:shown]
        y, rebuilt, w = model.transform(given), model.reconstruct(given), model.filters
        for row, code, *images in zip(part.subplots(shown, columns + 2), y, given, rebuilt, strict=True):
            order = np.argsort(-code * np.linalg.norm(w, axis=1))[:columns]
            for axes, image in zip(row[:2], images, strict=True):
                axes.imshow(image.reshape(SIDE, SIDE), cmap="gray", vmin=0, vmax=1)
            for axes, j in zip(row[2:], order, strict=True):
                axes.imshow(w[j].reshape(SIDE, SIDE), cmap="RdBu_r", vmin=-np.abs(w[j]).max(), vmax=np.abs(w[j]).max())
                axes.set_title(f"{code[j]:.2f}", fontsize=7, pad=1)
            for axes in row:
                axes.set(xticks=[], yticks=[])
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Inverse graphics: units of a code that are taught, by the order of the pictures alone, which factor to stand for.

Ellipses come in groups in which only their place in x, only that in y, only their size or only their turn changes. It
draws some of the groups; which unit of the code goes along with which factor in new pictures, beside a variational
autoencoder that has learnt the same pictures without their order; pictures with one unit at other values; and what is
measured on them: centre, area and main axis of what the decoder draws.
"""

import numpy as np
from tinygen.demos.beta_vae import FACTORS, SIDE, ellipses, factors

import tinygen as tg
from tinygen import plot
from tinygen.metrics.disentanglement import squared_correlations
from tinygen.models.vae import VAE, InverseGraphics, exploring
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run

CARD = dict(
    rows=("F5",),
    resumes=True,
    model="vae.inverse_graphics:InverseGraphics",
    claims={
        "R² of a unit and its own factor in new pictures, the least of 4 units, median of 3 seeds": {
            "published": None, "bar": ">= 0.8", "budget_min": 5},
        "R² of a unit and a factor of another, the largest, median of 3 seeds": {
            "published": None, "bar": "<= 0.1", "budget_min": 5},
        "share of its own factor in what moving a unit changes, the least of 4 units, median of 3 seeds": {
            "published": None, "bar": ">= 0.5", "budget_min": 5},
    },
)  # fmt: skip
GROUPS, GROUP = 2000, 8  # groups to learn from, and pictures in each
TEST = 2000
SHARES = (0, 1, 2, 3, 3, 3)  # the factor of one group after the other: a turn shows least in pixels, so it comes most
STEPS = 3000
OPTIONS = dict(pull=0.03, beta=0.2, hidden=128)


def main(*, steps=STEPS, pull=OPTIONS["pull"], beta=OPTIONS["beta"], hidden=OPTIONS["hidden"], device="cpu", seed=1,
         quick=False, out="runs_out/inverse_graphics", resume=None):  # fmt: skip
    """Train units to stand for x, y, size and turn, and move them.

    steps: minibatches of eight groups to learn from; pull: of the clamped units towards their mean; beta: what the KL
    weighs; hidden: width of the layers; seed: from 0 the turn's unit turns one way in some places and the other way in
    others; quick: 1200 steps, too few for the turn
    """
    run = open_run(locals())
    steps = min(steps, 1200) if quick else steps
    x, changing = grouped(GROUPS)
    v = scenes(TEST, start=GROUPS * (GROUP + 1))
    new = ellipses(v)
    options = dict(pull=pull, beta=beta, hidden=hidden)
    net = trained(run, x, changing, steps, device=device, seed=seed, **options)
    plain = VAE(x.shape[1], len(FACTORS), weights=(1.0, beta), hidden=hidden, lr=3e-3, schedule=Cosine(steps),
                rng=tg.random.Generator(seed, device=device))  # fmt: skip
    with blas_threads(1):
        plain.fit(x, steps=steps, batch_size=8 * GROUP, run=run.part("plain"))
    tables = {"units aligned": squared_correlations(net.transform(new), v),
              "the same pictures, without their order": squared_correlations(plain.transform(new), v)}  # fmt: skip
    moves = moved(net, new[:200])
    scores = judged(net, new, v) | {"own, plain": float(np.sort(tables[[*tables][1]], 0)[-1].min())}
    print("R²: of a unit and its own factor at least {own:.3f}, another's at most {other:.3f}; moving a unit changes "
          "its own factor by {share:.0%} of all that changes, or more".format(**scores))  # fmt: skip
    costs = zip(FACTORS, net.kl_by_unit(new), strict=True)
    print("KL of the units, nats: " + "  ".join(f"{name} {nats:.2f}" for name, nats in costs))
    run.save_figure("groups.png", groups(x, changing))
    run.save_figure("correlations.png", correlations(tables))
    run.save_figure("traversals.png", traversals(net, new, v))
    run.save_figure("moves.png", moves_picture(moves))
    print(f"pictures in {run.folder}")
    return scores


def scenes(n, *, start=0):
    """Factors (n, 4) of larger ellipses nearer the middle than in the set itself, so that a turn shows."""
    x, y, size, turn = factors(n, start=start).T
    return np.stack([0.5 + 0.7 * (x - 0.5), 0.5 + 0.7 * (y - 0.5), 1.5 * size, turn], axis=1)


def grouped(n):
    """Pictures as rows (n GROUP, pixels), a group after the other, and the factor that changes in each group (n,)."""
    changing = np.resize(SHARES, n)
    v = scenes(n)[:, None].repeat(GROUP, axis=1)  # (n, GROUP, factors)
    other = scenes(n * GROUP, start=n).reshape(v.shape)
    v[np.arange(n), :, changing] = other[np.arange(n), :, changing]
    return ellipses(v.reshape(n * GROUP, -1)), changing


def trained(run, x, changing, steps, *, device="cpu", seed=0, **options):
    """A model that has learnt groups, in a folder of its own inside the run's."""
    model = InverseGraphics(x.shape[1], len(FACTORS), len(FACTORS), group=GROUP, lr=3e-3, schedule=Cosine(steps),
                            rng=tg.random.Generator(seed, device=device), **options)  # fmt: skip
    with blas_threads(1):
        return model.fit(x, changing, steps=steps, run=run.part(f"aligned-{seed}"))


def measured(pictures):
    """The factors of ellipses (n, pixels) from their moments: centre, area, main axis; (n, 4). No network is asked."""
    image, place = pictures.reshape(-1, SIDE, SIDE).astype(np.float64), (np.arange(SIDE) + 0.5) / SIDE
    mass = image.sum((1, 2))
    x, y = (image.sum(axis) @ place / mass for axis in (1, 2))
    across, down = place[None, None] - x[:, None, None], place[None, :, None] - y[:, None, None]
    xx, yy, xy = ((image * part).sum((1, 2)) for part in (across**2, down**2, across * down))
    size = np.sqrt(mass / (np.pi * 1.15 * 0.65)) / SIDE  # the half axes are 1.15 and 0.65 times the size
    return np.stack([x, y, size, np.arctan2(2 * xy, xx - yy) / 2], axis=1)


def moved(net, new, values=None):
    """What is measured on pictures (n, pixels) if each unit in turn is set to each value: (units, values, n, 4)."""
    z, values = net.transform(new), np.linspace(-1.5, 1.5, 13) if values is None else values
    walks = np.repeat(z[None], len(FACTORS) * len(values), 0).reshape(len(FACTORS), len(values), *z.shape)
    for k in range(len(FACTORS)):
        walks[k, :, :, k] = values[:, None]
    return measured(net.decode(walks.reshape(-1, z.shape[1]))).reshape(*walks.shape[:3], -1)


def judged(net, new, v):
    """The figures of the claims: correlations in new pictures, and what units move, in standard deviations."""
    table = squared_correlations(net.transform(new), v)
    own = np.eye(len(FACTORS), dtype=bool)
    ends = moved(net, new[:200], np.array([-1.0, 1.0]))
    change = np.abs(ends[:, 1] - ends[:, 0]).mean(1) / v.std(0)  # (units, factors)
    return {"own": float(table[own].min()), "other": float(table[~own].max()),
            "share": float((change[own] / change.sum(1)).min())}  # fmt: skip


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`, from each of three seeds."""
    x, changing = grouped(GROUPS)
    v = scenes(TEST, start=GROUPS * (GROUP + 1))
    new = ellipses(v)
    found = [judged(trained(run, x, changing, STEPS, seed=seed, **OPTIONS), new, v) for seed in range(3)]
    names = zip(CARD["claims"], ("own", "other", "share"), strict=True)
    return {claim: [one[name] for one in found] for claim, name in names if claim in claims}


def tiny(rng):
    """A small model, with five groups of four images and the factors that change in them."""
    return InverseGraphics(6, 3, 2, group=4, hidden=4, rng=rng), rng.uniform((20, 6)), np.array([0, 1, 0, 1, 1])


def loss(rng):
    """The loss of a small model, for `python -m tinygen explain inverse_graphics`."""
    model, x, changing = tiny(rng)
    active = (model.units == changing[:, None])[:, None]
    error, kl, spread = (tg.mean(part) for part in model.losses(x.reshape(5, 4, 6), active, rng))
    return error + kl + model.pull * spread


# ---- pictures -------------------------------------------------------------------------------------------


def groups(x, changing):
    """Two groups for each factor."""
    rows = [x[GROUP * g : GROUP * (g + 1)] for j in range(len(FACTORS)) for g in np.flatnonzero(changing == j)[:2]]
    return plot.image_grid(np.concatenate(rows).reshape(-1, SIDE, SIDE), GROUP, title="In a group, one factor changes",
                           row_names=[f"only {name}" for name in FACTORS for _ in range(2)])  # fmt: skip


def correlations(tables):
    """Squared correlations of units and factors."""
    made = plot.figure(4.2 * len(tables) + 0.6, 3.8)
    made.set_layout_engine("constrained")
    for axes, (name, table) in zip(made.subplots(1, len(tables)), tables.items(), strict=True):
        picture = axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
        for k, j in np.ndindex(*table.shape):
            axes.text(j, k, f"{table[k, j]:.2f}", ha="center", va="center",
                      color="white" if table[k, j] > 0.6 else "black")  # fmt: skip
        own = name == "units aligned"
        axes.set_title(name, fontsize=10)
        axes.set_xticks(range(len(FACTORS)), FACTORS)
        axes.set_yticks(range(len(table)), [f"{f}'s unit" if own else f"$z_{k + 1}$" for k, f in enumerate(FACTORS)])
        axes.tick_params(length=0)
    made.colorbar(picture, ax=made.axes, label="$R^2$ in new pictures", shrink=0.9)
    return made


def traversals(net, new, v):
    """One picture with one unit at other values: a row for each unit."""
    values = np.linspace(-2, 2, 9)
    middle = new[np.argmin(np.square((v - v.mean(0)) / v.std(0)).sum(1) - v[:, 2] / v[:, 2].std())]  # and rather large
    z = net.transform(middle[None])[0]
    walks = np.concatenate([exploring.traversal(z, k, values) for k in range(len(FACTORS))])
    return plot.image_grid(net.decode(walks).reshape(-1, SIDE, SIDE), len(values), title="One unit at a time",
                           row_names=[f"{name}'s unit" for name in FACTORS],
                           column_names=[f"{t:g}" for t in values])  # fmt: skip


def moves_picture(moves):
    """What is measured on the decoded pictures as one unit moves: the mean of 200 pictures, and half of them."""
    values = np.linspace(-1.5, 1.5, moves.shape[1])
    scale = scenes(TEST).std(0)
    made = plot.figure(14, 3.6)
    made.set_layout_engine("constrained")
    for k, axes in enumerate(made.subplots(1, len(FACTORS), sharey=True)):
        for j, name in enumerate(FACTORS):
            change = (moves[k, :, :, j] - moves[k, :, :, j].mean(0)) / scale[j]  # (values, pictures)
            axes.plot(values, change.mean(1), color=f"C{j}", linewidth=3 if j == k else 1.2, label=name)
            axes.fill_between(values, *np.quantile(change, (0.25, 0.75), axis=1), color=f"C{j}", alpha=0.2)
        axes.set(title=f"{FACTORS[k]}'s unit moves", xlabel=f"$z_{k + 1}$")
    made.axes[0].set(ylabel="change, in standard deviations")
    made.axes[0].legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

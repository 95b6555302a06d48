"""The β-VAE: make the code of a variational autoencoder dearer, and its entries come to stand for one property each.

Ellipses are drawn from four numbers: place (x, y), size and turn. Models with a β from below 1 to far too much learn
the pictures alone. Against β it draws two scores of disentanglement, what the codes cost and on what that is spent, and
what is lost in the pictures; for each β which entry of the code knows what, and what becomes of a picture when one
entry is moved. Entries that have collapsed to the prior are counted. Last, a model is given a budget in place of β.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.metrics import disentanglement
from tinygen.models.supervised import SoftmaxRegression
from tinygen.models.vae import BetaVAE, exploring
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("F3",),
    resumes=True,
    model="vae.beta_vae:BetaVAE",
    claims={
        "rise of the mutual information gap from β = 1 to β = 4, median of 3 seeds": {
            "published": None, "bar": "> 0", "budget_min": 4},
        "fall of the mutual information gap from β = 4 to β = 16, median of 3 seeds": {
            "published": None, "bar": "> 0", "budget_min": 4},
    },
)  # fmt: skip
SIDE = 24  # pixels
FACTORS = ("x", "y", "size", "turn")
NAMES = data.drawing("shapes").names
COLUMNS = [NAMES.index(name) for name in FACTORS]
TRAIN, TEST = 15_000, 4000  # pictures
VOTES, PAIRS = 300, 16  # mean differences to learn from, twice as many to judge by; pairs in each
COLLAPSED = 0.05  # nats: an entry that costs less says next to nothing
LOW, BEST, HIGH = 1.0, 4.0, 16.0  # the claims' β; LOW is the variational autoencoder


def main(*, betas="0.5,1,2,4,8,16", steps=3000, latent=6, hidden=128, seeds=1, device="cpu", seed=0, quick=False,
         out="runs_out/beta_vae", resume=None):  # fmt: skip
    """Train a β-VAE for each β and score how well its code is ordered.

    betas: with commas; steps: minibatches of 64 to learn from; latent: length of the code; hidden: width of the layers;
    seeds: models for each β, of which the first is drawn; quick: three β, 1000 steps, and no budget
    """
    run = open_run(locals())
    betas, steps = ((LOW, BEST, HIGH), min(steps, 1000)) if quick else (tuple(map(float, betas.split(","))), steps)
    (x, test), votes = sets(), shared_pairs()
    options = dict(latent=latent, hidden=hidden, device=device)
    models, found = {}, {}
    for beta in betas:
        trials = [trained(run, x, beta, steps, seed=seed + k, **options) for k in range(seeds)]
        models[beta], found[beta] = trials[0], [judged(model, *test, votes) for model in trials]
        print(told(beta, found[beta]))
    scores = {f"{name}@{beta:g}": float(np.mean([one[name] for one in found[beta]]))
              for beta in betas for name in ("gap", "score", "kl", "in use")}  # fmt: skip
    if not quick:
        budget = scores[f"kl@{betas[len(betas) // 2]:g}"]
        held = trained(run, x, 1.0, steps, capacity=budget, seed=seed, **options)
        scores |= {"budget": budget, "kl of the budget": held.elbo_parts(test[0])[1].mean(), "its price": held.beta}
        print("a budget of {budget:.2f} nats: {kl of the budget:.2f} spent, at the price β = {its price:.2f} (it is "
              "{beta:g} where that was found)".format(**scores, beta=betas[len(betas) // 2]))  # fmt: skip
    pictures(run, models, found, *test)
    print(f"pictures in {run.folder}")
    return scores


def factors(n, *, start=0):
    """What pictures start, ..., start + n - 1 are drawn from: (n, 4).

    A full turn is no number but a place on a circle: it is kept within 45 degrees to either side.
    """
    v = data.attributes("shapes", n, start=start)[:, COLUMNS]
    v[:, 3] = v[:, 3] / 4 - np.pi / 4
    return v


def ellipses(v):
    """The pictures of factors (n, 4) as rows (n, pixels)."""
    attributes = np.zeros((len(v), len(NAMES)), np.float32)
    attributes[:, NAMES.index("kind")] = data.shapes.KINDS.index("ellipse")
    attributes[:, COLUMNS] = v
    return np.concatenate([data.shapes.grey(part, SIDE) for part in data.in_order(attributes, 64)]).reshape(len(v), -1)


def sets():
    """Pictures to learn from, and the test part: pictures and their factors."""
    v = factors(TEST, start=TRAIN)
    return ellipses(factors(TRAIN)), (ellipses(v), v)


def shared_pairs():
    """Pairs of pictures that agree in one factor, twice (N L, pixels), and in which, (N,); N is three times VOTES."""
    n = 3 * VOTES
    v = factors(2 * n * PAIRS, start=TRAIN + TEST).reshape(2, n, PAIRS, len(FACTORS))
    j = np.arange(n) % len(FACTORS)
    v[1, np.arange(n), :, j] = v[0, np.arange(n), :, j]
    one, other = (ellipses(part.reshape(n * PAIRS, -1)) for part in v)
    return one, other, j


def trained(run, x, beta, steps, *, capacity=None, latent=6, hidden=128, device="cpu", seed=0):
    """A model that has learnt pictures (n, pixels), in a folder of its own inside the run's."""
    name = f"beta-{beta:g}" if capacity is None else "budget"
    model = BetaVAE(x.shape[1], latent, beta=beta, capacity=capacity, hidden=hidden, lr=3e-3, schedule=Cosine(steps),
                    rng=tg.random.Generator(seed, device=device))  # fmt: skip
    with blas_threads(1):
        return model.fit(x, steps=steps, batch_size=64, run=run.part(f"{name}-{seed}"))


def judged(model, x, v, votes=None):
    """How well the code is ordered, and what it costs: the scores, the table of information, the parts of the KL."""
    draws = tg.random.Generator(1, device=str(model.rng.device))
    information, entropies = disentanglement.mutual_information(model.encode(x, rng=draws), v)
    log_px, kl = model.elbo_parts(x, rng=draws)
    units = model.kl_by_unit(x)
    parts = model.kl_parts(x[:1000], rng=draws)
    found = {"gap": disentanglement.information_gap(information, entropies).mean(), "log_px": log_px.mean(),
             "kl": kl.mean(), "units": units, "in use": int(np.sum(units > COLLAPSED)), "parts": np.array(parts),
             "shares": information / entropies}  # fmt: skip
    return found if votes is None else {**found, "score": factor_score(model, *votes)}


def factor_score(model, one, other, j):
    """The share of pairs whose common factor a linear classifier can tell."""
    draws = tg.random.Generator(2, device=str(model.rng.device))  # a mean would be heard even where it drowns in noise
    codes = [model.encode(part, rng=draws).reshape(len(j), PAIRS, -1) for part in (one, other)]
    delta = disentanglement.mean_difference(*codes)
    return disentanglement.factor_score(delta[:VOTES], j[:VOTES], delta[VOTES:], j[VOTES:], linear)


def linear(x, y):
    """Softmax regression as a learner of `metrics.disentanglement`."""
    model = SoftmaxRegression(x.shape[1], len(FACTORS), lr=1.0, schedule=Cosine(500), rng=tg.random.Generator(0))
    return model.fit(x, y, steps=500, run=Run(quiet=True)).predict


def reproduce(run, claims):
    """The claims of the CARD: how the gap changes between three β, from each of three seeds."""
    x, test = sets()
    gap = {beta: np.array([judged(trained(run, x, beta, 3000, seed=seed), *test)["gap"] for seed in range(3)])
           for beta in (LOW, BEST, HIGH)}  # fmt: skip
    return {claim: list(gap[BEST] - gap[LOW if claim.startswith("rise") else HIGH]) for claim in claims}


def tiny(rng):
    """A small model with a budget, with images."""
    return BetaVAE(6, 2, capacity=0.5, hidden=4, rng=rng), rng.uniform((20, 6))


def loss(rng):
    """Minus the objective of a small model, for `python -m tinygen explain beta_vae`."""
    model, x = tiny(rng)
    return -model.objective(*(tg.mean(part) for part in model(x, rng)))


# ---- words and pictures ---------------------------------------------------------------------------------


def told(beta, trials):
    """One line about the models of one β, with the number of entries that have collapsed."""
    mean = {name: np.mean([one[name] for one in trials]) for name in ("gap", "score", "log_px", "kl")}
    d, used = len(trials[0]["units"]), ", ".join(str(one["in use"]) for one in trials)
    return ("β = {beta:g}: gap {gap:.3f}, linear score {score:.1%}, log p(x|z) {log_px:.1f}, KL {kl:.2f} nats; in use "
            "{used} of {d} entries, the others have collapsed").format(**mean, beta=beta, used=used, d=d)  # fmt: skip


def pictures(run, models, found, x, v):
    """All of them."""
    first = {beta: trials[0] for beta, trials in found.items()}
    run.save_figure("scores.png", curves(found))
    run.save_figure("information.png", tables(first))
    run.save_figure("reconstructions.png", reconstructions(models, x))
    middle = x[np.argmin(np.square((v - v.mean(0)) / v.std(0)).sum(1))]  # the most usual picture
    for beta, model in models.items():
        run.save_figure(f"traversals-{beta:g}.png", traversals(beta, model, middle, first[beta]["units"]))


def curves(found):
    """The scores, what the codes' nats are spent on, and reconstruction against cost, as β changes."""
    betas = np.array(list(found))
    of = lambda name: np.array([[one[name] for one in trials] for trials in found.values()])  # noqa: E731
    made = plot.figure(14, 4.2)
    made.set_layout_engine("constrained")
    left, middle, right = made.subplots(1, 3)
    for name, label, colour in (("gap", "mutual information gap", "C0"), ("score", "linear score", "C1")):
        left.semilogx(betas, of(name).mean(1), "-o", color=colour, label=label)
        left.semilogx(betas, of(name), ".", color=colour, alpha=0.5)
    left.axhline(1 / len(FACTORS), color="C1", linestyle=":", linewidth=1, label="linear score by chance")
    left.set(title="How well the code is ordered", ylim=(0, 1.02), ylabel="score")
    left.legend(fontsize=8)
    parts = of("parts").mean(1).T  # (3, betas)
    names = ("information about the image", "total correlation", "units' distance from the prior")
    middle.stackplot(betas, np.maximum(parts, 0), labels=names, colors=("C0", "C3", "0.75"))
    middle.set(xscale="log", title="What the code costs, and for what", ylabel="nats an image")
    middle.legend(fontsize=8)
    used = [f"{beta:g}\n{n:.2g} in use" for beta, n in zip(betas, of("in use").mean(1), strict=True)]
    for axes, names in ((left, [f"{beta:g}" for beta in betas]), (middle, used)):
        axes.set_xticks(betas, names)
        axes.set(xlabel="β", xlim=(betas[0], betas[-1]) if axes is middle else None)
        axes.minorticks_off()
    kl, log_px = of("kl").mean(1), of("log_px").mean(1)
    right.plot(kl, log_px, "-o", color="0.6")
    for beta, nats, quality in zip(betas, kl, log_px, strict=True):
        reach = np.array([-1, 1]) * min(0.12 * np.ptp(kl), 0.1 * np.ptp(log_px) / beta)
        right.plot(nats + reach, quality + beta * reach, color="C3", linewidth=2)
        right.annotate(f"β = {beta:g}", (nats, quality), xytext=(6, -12), textcoords="offset points", fontsize=9)
    right.set(xlabel="KL, nats an image", ylabel=r"$\log p(x|z)$, nats", title="What a nat buys (red: slopes β)")
    return made


def tables(first):
    """Which entry knows what: its share of each factor's entropy, for each β; entries in the order of their cost."""
    made = plot.figure(2.4 * len(first) + 0.8, 3.6)
    made.set_layout_engine("constrained")
    for axes, (beta, one) in zip(np.atleast_1d(made.subplots(1, len(first))), first.items(), strict=True):
        order = np.argsort(-one["units"])
        shares = one["shares"][order]
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=0.7, aspect="auto")
        for k, j in np.ndindex(*shares.shape):
            if shares[k, j] >= 0.05:
                axes.text(j, k, f"{shares[k, j]:.2f}"[1:], ha="center", va="center", fontsize=8,
                          color="white" if shares[k, j] > 0.4 else "black")  # fmt: skip
        axes.set_title(f"β = {beta:g}: gap {one['gap']:.2f}", fontsize=10)
        axes.set_xticks(range(len(FACTORS)), FACTORS)
        axes.set_yticks(range(len(order)), [f"$z_{k + 1}$, {one['units'][k]:.1f}" for k in order])
        axes.tick_params(labelsize=8, length=0)
    made.supylabel("entry, and its KL in nats", fontsize=9)
    made.colorbar(picture, ax=made.axes, label="share of the factor known", shrink=0.9)
    return made


def reconstructions(models, x):
    """Pictures, and what each β leaves of them."""
    shown = np.concatenate([x[:14], *(model.reconstruct(x[:14]) for model in models.values())])
    return plot.image_grid(shown.reshape(-1, SIDE, SIDE), 14, row_names=["shown", *(f"β = {b:g}" for b in models)],
                           title="The dearer the code, the less is said")  # fmt: skip


def traversals(beta, model, picture, units):
    """One picture with one entry of its code at other values: a row for each, the dearest first."""
    z, values, order = model.transform(picture[None])[0], np.linspace(-2, 2, 9), np.argsort(-units)
    walks = np.concatenate([exploring.traversal(z, k, values) for k in order])
    names = [f"$z_{{{k + 1}}}$: " + (f"{units[k]:.2f} nats" if units[k] > COLLAPSED else "collapsed") for k in order]
    return plot.image_grid(model.decode(walks).reshape(-1, SIDE, SIDE), len(values), row_names=names,
                           title=f"One entry at a time, β = {beta:g}",
                           column_names=[f"{v:g}" for v in values])  # fmt: skip


if __name__ == "__main__":
    from common import command

    command(main)

"""A denoising autoencoder draws digits: it corrupts an image, restores it, and over again, and its walk is watched.

The walk begins with coin flips. A classifier says which digit each image is, and how sure it is; the demo draws the
first steps, a long piece of one walk, where many walks are at each time, how the shares of the classes settle, and
(in a world of sixty images, where everything can be computed) why the walk has the law of the data, and what errors
of the denoiser make of it.
"""

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import load
from tinygen.models.autoencoder import DenoisingChain, fully_connected
from tinygen.models.autoencoder import markov_chain as chapter
from tinygen.models.autoencoder.markov_chain import CoinFlips
from tinygen.models.latent.mcmc import effective_sample_size, potential_scale_reduction
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run

CARD = dict(
    rows=("E5",),
    model="autoencoder.markov_chain:DenoisingChain",
    resumes=True,
    claims={
        "classes that a walk of 5000 steps on MNIST visits, of 10": {
            "published": None, "bar": ">= 9", "budget_min": 4},
        "law of the walk of an exact denoiser, largest distance from the data's (total variation)": {
            "published": 0, "bar": "<= 1e-9", "budget_min": 1},
    },
)  # fmt: skip
NOISE = CoinFlips(0.1, 0.9)
WALK_BACK = 2  # steps, at most, in the training that is compared with the one that knows only corrupted data
SURE, SEEN = 0.9, 0.01  # a confident image; a class is visited if so many of the confident images are of it
EVERY = 5  # steps between two looks at a walk: the classifier costs more than the steps


def main(*, steps=2000, hidden=500, walks=10, length=5000, device="cpu", seed=0, quick=False,
         out="runs_out/denoising_chain", resume=None):  # fmt: skip
    """Learn to restore digits, and walk.

    steps: minibatches of 100 to learn from; hidden: width of the layers; walks, length: how many walks, and their
    steps; quick: a fifth of the steps, narrower layers, and walks of 500
    """
    run = open_run(locals())
    if quick:
        steps, hidden, length = steps // 5, min(hidden, 250), min(length, 500)
    x, test = black_and_white()
    options = dict(hidden=hidden, device=device, seed=seed)
    model, other = (trained(run.part(f"walk-back-{k}"), x, steps, walk_back=k, **options) for k in (0, WALK_BACK))
    judge = judge_of_digits()
    seen = watched(model, judge, walks, length, x, seed)
    scores = report(seen, judge, test)
    scores["sure, walking back"] = float(watched(other, judge, walks, max(length // 10, EVERY), x, seed)["sure"].mean())
    tell(scores, length, walks)
    pictures(run, (model, other), seen, chapter.shares(judge(test).argmax(1), 10), seed)
    print(f"pictures in {run.folder}")
    return scores


def black_and_white(*, stand_in=True):
    """MNIST (or what stands in for it), each pixel black or white: rows to learn from, and images to judge by."""
    train, test = load("mnist", stand_in=stand_in)
    return tuple((part.images > 0.5).astype(np.float32).reshape(len(part.images), -1) for part in (train, test))


def trained(run, x, steps, *, walk_back=0, hidden=500, device="cpu", seed=0):
    """A network that has learnt to restore images, from corrupted data or from walks too."""
    n, rng = x.shape[1], tg.random.Generator(seed, device=device)
    model = DenoisingChain(
        fully_connected(n, hidden, hidden, last=True, rng=rng), fully_connected(hidden, n, rng=rng), n,
        corruption=NOISE, walk_back=walk_back, lr=2e-3, schedule=Cosine(steps), rng=rng,
    )  # fmt: skip
    with blas_threads(1):
        return model.fit(x, steps=steps, run=run)


def judge_of_digits():
    """The classifier that says which digit an image is: images (n, 784) to log-probabilities (n, 10)."""
    from tinygen.demos import cnn

    model = cnn.mnist_classifier()
    return lambda x: model.predict_log_proba(x.reshape(-1, 1, 28, 28))


# ---- watching -------------------------------------------------------------------------------------------


def watched(model, judge, walks, length, x, seed):
    """Walks from coin flips, looked at now and then: the class of each (T, m), whether it is sure, whether it strayed.

    What is judged is the mean of p(x|x~), a grey image; the walk goes on from a draw.
    """
    rng = tg.random.Generator(seed + 100, device=model.rng.device)
    labels, sure, strayed = [], [], []
    with blas_threads(1):
        for t, (x_hat, drawn) in enumerate(model.walk(model.start(walks, rng=rng), length, rng=rng), 1):
            if t % EVERY == 0:
                log_p = judge(x_hat)
                labels.append(log_p.argmax(1))
                sure.append(np.exp(log_p.max(1)) > SURE)
                strayed.append(chapter.strayed(drawn, x))
    return {"labels": np.array(labels), "sure": np.array(sure), "strayed": np.array(strayed)}


def visited(labels, sure):
    """How many classes the confident images of one walk show; (T,) twice."""
    return int((chapter.shares(labels[sure], 10) >= SEEN).sum())


def report(seen, judge, test):
    """What there is to know of walks (T, m): whether they get about, agree, and resemble the data."""
    labels, sure = seen["labels"], seen["sure"]
    half = len(labels) // 2
    parts = [chapter.shares(labels[rows][sure[rows]], 10) for rows in (slice(half), slice(half, None))]
    indicators = (labels[..., None] == np.arange(10)).astype(float)  # (T, m, 10)
    indicators = indicators[..., (indicators != indicators[0]).any((0, 1))]  # of digits that come or go
    moves = indicators.shape[-1] > 0
    data = chapter.shares(judge(test).argmax(1), 10)
    return {
        "visited": float(np.median([visited(*walk) for walk in zip(labels.T, sure.T, strict=True)])),
        "sure": float(sure.mean()),
        "longest stay": int(chapter.longest_stay(labels).max()) * EVERY,
        "strayed": float(seen["strayed"][len(labels) // 10 :].mean()),  # not counting how it began
        "halves": float(chapter.total_variation(*parts)),
        "data": float(chapter.total_variation(chapter.shares(labels[sure], 10), data)),
        "effective": float(effective_sample_size(indicators).min()) if moves else 0.0,
        "R-hat": float(potential_scale_reduction(indicators).max()) if moves else np.inf,
    }


def tell(scores, length, walks):
    """The report in words."""
    print("{walks} walks of {length} steps: classes visited {visited:.0f} of 10 (median); sure of {sure:.0%} of the "
          "images (having walked back in training, of {sure, walking back:.0%})"
          .format(walks=walks, length=length, **scores))  # fmt: skip
    stuck = scores["longest stay"] > length / 10
    print("stuck: {} (longest stay in a class {longest stay} steps); strayed: {strayed:.1%} of the draws have less or "
          "more ink than any image".format("yes" if stuck else "no", **scores))  # fmt: skip
    print("class shares, total variation: {halves:.3f} between the halves of the walks, {data:.3f} from the data; "
          "effective sample size of the worst class {effective:.0f}, R-hat {R-hat:.3f}".format(**scores))  # fmt: skip


# ---- a small world --------------------------------------------------------------------------------------


def small_world(places=60):
    """The law of sixty images in a row: two humps, and little between them."""
    at = np.arange(places)
    p = 0.6 * np.exp(-((at - 15) ** 2) / 50) + 0.4 * np.exp(-((at - 43) ** 2) / 18) + 1e-4
    return p / p.sum()


def shifts(width, places=60):
    """A corruption that moves an image along the row: (k, k), a Gaussian of this width."""
    C = np.exp(-(np.subtract.outer(np.arange(places), np.arange(places)) ** 2) / (2 * width**2)) + 1e-12
    return C / C.sum(1, keepdims=True)


def wrong(R, share=0.02):
    """A denoiser that now and then answers with the first ten images, wherever it is: R a little wrong."""
    nonsense = np.where(np.arange(R.shape[1]) < 10, 0.1, 0.0)
    return (1 - share) * R + share * nonsense


def distance_of_exact_walks(worlds=300):
    """The largest distance between the stationary law of C R and p, over random worlds and the one above."""
    rng, found = np.random.default_rng(0), []
    for k in range(worlds):
        p, C = (rng.dirichlet(np.ones(8), n).squeeze() for n in (1, 8))
        p, C = (p, C) if k else (small_world(), shifts(3.0))
        found.append(chapter.total_variation(chapter.stationary(chapter.transition(C, chapter.bayes(p, C))), p))
    return float(max(found))


# ---- the claims -----------------------------------------------------------------------------------------


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`: five walks. Only the real MNIST will do."""
    values = {}
    for claim in claims:
        if "MNIST" in claim:
            x, _ = black_and_white(stand_in=False)
            model = trained(run.part("walk-back-0"), x, 2000)
            seen = watched(model, judge_of_digits(), 5, 5000, x, 0)
            values[claim] = [visited(*walk) for walk in zip(seen["labels"].T, seen["sure"].T, strict=True)]
        else:
            values[claim] = distance_of_exact_walks()
    return values


def tiny(rng):
    """A small model, with black-and-white images."""
    parts = fully_connected(6, 5, last=True, rng=rng), fully_connected(5, 6, rng=rng)
    model = DenoisingChain(*parts, 6, corruption=CoinFlips(0.1, 0.6), walk_back=2, burn_in=3, rng=rng)
    return model, rng.spawn(1)[0].bernoulli(0.4, (20, 6))


def loss(rng):
    """The loss of a small model, for `python -m tinygen explain denoising_chain`."""
    model, x = tiny(rng)
    y = model.encoder(tg.tensor(model.corrupted(x, rng)))
    return tg.mean(model.reconstruction_loss(tg.tensor(x), y))


# ---- pictures -------------------------------------------------------------------------------------------


def pictures(run, models, seen, data, seed):
    """All of them; data: the shares of the digits."""
    run.save_figure("start.png", start(models[0], seed))
    run.save_figure("walk.png", long_piece(models[0], seed, "one walk"))
    run.save_figure("walking-back.png", long_piece(models[1], seed, "a walk that has learnt to walk back", rows=4))
    run.save_figure("watched.png", watching(seen, data))
    run.save_figure("theorem.png", theorem())


def start(model, seed, steps=14):
    """The first steps of a walk: what was there, what became of it by the corruption, the mean and the draw."""
    rng, rows = tg.random.Generator(seed + 7, device=model.rng.device), []
    x = model.start(1, rng=rng)
    inner = model.corruption
    for _ in range(steps):
        kept = []
        model.corruption = lambda x, rng, kept=kept: kept.append(inner(x, rng)) or kept[0]
        ((x_hat, drawn),) = model.walk(x, 1, rng=rng)
        rows.append([x[0], tg.backend.to_numpy(kept[0])[0], x_hat[0], drawn[0]])
        x = drawn
    model.corruption = inner
    images = np.array(rows).swapaxes(0, 1).reshape(-1, 28, 28)
    names = ["image $x_t$", r"corrupted $\tilde x_t$", r"means of $p(x|\tilde x_t)$", "draw $x_{t+1}$"]
    return plot.image_grid(images, steps, row_names=names, column_names=range(steps),
                           title="The first steps t of a walk from coin flips")  # fmt: skip


def long_piece(model, seed, whose, rows=8, columns=20):
    """A long piece of one walk, every step of it: the means."""
    rng = tg.random.Generator(seed + 8, device=model.rng.device)
    shown = [x_hat[0] for x_hat, _ in model.walk(model.start(1, rng=rng), 200 + rows * columns, rng=rng)][200:]
    return plot.image_grid(np.array(shown).reshape(-1, 28, 28), columns,
                           title=f"{rows * columns} consecutive steps of {whose}, after 200 others: "
                                 r"means of $p(x|\tilde x_t)$")  # fmt: skip


def watching(seen, data):
    """Which digit the walks are at, how the shares of the digits settle, and what they come to beside the data's."""
    labels, sure = seen["labels"], seen["sure"]
    time, counted = EVERY * np.arange(1, len(labels) + 1), (labels[..., None] == np.arange(10)) & sure[..., None]
    running = np.cumsum(counted.sum(1), 0)
    running = running / np.maximum(running.sum(1, keepdims=True), 1)  # (T, 10)
    made = plot.figure(12, 7)
    made.set_layout_engine("constrained")
    grid = made.subplots(2, 2)
    shown = np.where(sure, labels, np.nan)[:100].T
    picture = grid[0, 0].imshow(shown, aspect="auto", cmap="tab10", vmin=-0.5, vmax=9.5, interpolation="nearest",
                                extent=(0, time[len(shown.T) - 1], len(shown) + 0.5, 0.5))  # fmt: skip
    made.colorbar(picture, ax=grid[0, 0], ticks=range(10), label="digit (white: not sure)")
    grid[0, 0].set(title="Where the walks are", xlabel="step", ylabel="walk")
    for k in range(10):
        grid[0, 1].plot(time, running[:, k], color=f"C{k}", label=str(k))
    grid[0, 1].set(title="Shares of the digits so far, all walks", xlabel="step", ylim=(0, 0.4))
    grid[0, 1].legend(ncols=5, fontsize=8, loc="upper right")
    distances = [chapter.total_variation(row, data) for row in running]
    grid[1, 0].plot(time, distances, color="k")
    grid[1, 0].set(title="Distance of these shares from the data's (total variation)", xlabel="step", ylim=(0, None))
    half = len(labels) // 2
    parts = [chapter.shares(labels[rows][sure[rows]], 10) for rows in (slice(half), slice(half, None))]
    for values, name, at in zip((*parts, data), ("first half of the walks", "second half", "data"), (-0.27, 0, 0.27),
                                strict=True):  # fmt: skip
        grid[1, 1].bar(np.arange(10) + at, values, 0.27, label=name)
    grid[1, 1].set(title=f"Shares among images of which the classifier is sure ({sure.mean():.0%})",
                   xticks=range(10), xlabel="digit")  # fmt: skip
    grid[1, 1].legend(fontsize=8)
    return made


def theorem():
    """In the small world: the law of the walk for an exact and a wrong denoiser, and the bound (7)."""
    p, widths = small_world(), np.geomspace(1, 30, 25)
    made = plot.figure(13, 4)
    made.set_layout_engine("constrained")
    *worlds, right = made.subplots(1, 3)
    for axes, width in zip(worlds, (2.0, 12.0), strict=True):
        C = shifts(width)
        R = chapter.bayes(p, C)
        axes.fill_between(range(len(p)), p, color="0.8", label="law of the data $p$")
        axes.plot(chapter.stationary(C @ R), "C0--", label="walk, exact denoiser")
        axes.plot(chapter.stationary(C @ wrong(R)), "C3", label="walk, denoiser 2 % wrong")
        axes.set(title=f"corruption: shifts of width {width:g}", xlabel="image")
    worlds[0].legend(fontsize=8)
    found, bound, tau = [], [], []
    for width in widths:
        C = shifts(width)
        R = chapter.bayes(p, C)
        found.append(chapter.total_variation(chapter.stationary(C @ wrong(R)), p))
        bound.append(min(chapter.error_bound(C, R, wrong(R)), 1.0))
        tau.append(1 - chapter.contraction(C @ R))
    right.loglog(widths, found, "C3", label="walk with the wrong denoiser: TV from $p$")
    right.loglog(widths, bound, "k--", label="bound (7), or 1")
    right.loglog(widths, tau, "C2:", label=r"$1 - \tau$: what a step forgets")
    right.axhline(0.02, color="0.7", linewidth=0.8)
    right.set(xlabel="width of the corruption", title="A slow walk multiplies errors", ylim=(1e-4, 1.5))
    right.legend(fontsize=8)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

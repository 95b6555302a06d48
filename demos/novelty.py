"""Digits that are not: a network that has learnt to draw digits from strokes makes symbols of its own out of noise.

It learns MNIST with winners that take all, and is then applied to its own output, from noise, until nothing changes. It
draws the strokes, the way from noise to a symbol, symbols in families, how many pixels still change, what became of
each start (a fixed point, a cycle, nothing, a flood), how sure a classifier of digits is of them, how far they are from
all training images, and the symbols of both extremes beside the training image that is nearest.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.metrics import nearest
from tinygen.models.autoencoder import SymbolMaker
from tinygen.models.latent import KMeans
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("E8",),
    model="autoencoder.novelty:SymbolMaker",
    resumes=True,
    claims={
        "share of starts from noise that end in a fixed symbol": {"published": None, "bar": ">= 0.8", "budget_min": 8},
        "share of these symbols that a classifier surely takes for a digit, p > 0.9 (in-class rate)": {
            "published": "S0: digits that are not", "bar": "<= 0.5", "budget_min": 8, "verdict": True},
        "pixels that differ from the nearest training image, per pixel of ink: symbols / new digits cut to their ink":
            {"published": "S0: digits that are not", "bar": ">= 1.2", "budget_min": 8},
    },
)  # fmt: skip
SURE = 0.9


def main(*, steps=1000, maps=64, symbols=300, iterations=50, device="cpu", seed=0, quick=False, out="runs_out/novelty",
         resume=None):  # fmt: skip
    """Learn strokes from MNIST, develop noise into symbols, and judge them.

    steps: minibatches of 50 to learn from; maps: filters; symbols: how many images of noise to begin with; iterations:
    how often the network is applied; quick: 150 steps, 24 maps, 100 symbols
    """
    run = open_run(locals())
    steps, maps, symbols = (150, 24, 100) if quick else (steps, maps, symbols)
    with blas_threads(1):
        model = trained(run, steps=steps, maps=maps, device=device, seed=seed)
        found = model.symbols(symbols, steps=iterations, rng=tg.random.Generator(seed + 1, device=device))
        scores, per_symbol = judged(found)
        print(WORDS.format(**scores))
        run.save_figure("strokes.png", strokes(model))
        run.save_figure("development.png", development(model, seed, device))
        run.save_figure("convergence.png", convergence(found, read_metrics(run.folder / "metrics.csv")))
        if found.sound.sum() >= 10:
            run.save_figure("families.png", families(per_symbol, seed))
            run.save_figure("verdict.png", verdict(per_symbol))
            run.save_figure("nearest.png", beside(per_symbol))
        else:
            print("too few fixed symbols to draw their families")
    print(f"pictures in {run.folder}")
    return scores


WORDS = """of all starts {fixed:.1%} end in a fixed point, {moving:.1%} in a cycle (or are on their way), \
{collapsed:.1%} in nothing, {flooded:.1%} in a flood; {distinct:.1%} of the sound symbols differ from all others
the classifier is sure (p > 0.9) of {sure:.1%} of the symbols, and of {sure of digits:.1%} of new digits
pixels that differ from the nearest training image, per pixel of ink (medians): symbols {distance:.2f}, \
new digits {distance of digits:.2f}, new digits cut to the symbols' ink {distance of cut digits:.2f}"""


def trained(run, *, steps=1000, maps=64, device="cpu", seed=0):
    """The network, trained on MNIST's digits."""
    x = data.load("mnist").train.images
    model = SymbolMaker(x.shape[-1], maps=maps, schedule=Cosine(steps), rng=tg.random.Generator(seed, device=device))
    return model.fit(x, steps=steps, batch_size=50, run=run)


def judged(found):
    """What became of the starts, and of the sound symbols: images, classifier's answers, distances, neighbours.

    Training images and new digits are made black and white too, as symbols are.
    """
    from tinygen.demos import cnn

    judge = cnn.mnist_classifier()
    train, test = data.load("mnist")
    known, new = ((images > 0.5).astype(np.float32) for images in (train.images, test.images[:300]))
    x = found.images[found.sound]
    scores = {"fixed": found.fixed.mean(), "moving": (~found.fixed).mean(), "collapsed": found.collapsed.mean(),
              "flooded": found.flooded.mean(), "distinct": 0.0, "sure": 0.0, "distance": 0.0,
              "distance of cut digits": 0.0, "sound": found.sound.mean()}  # fmt: skip
    of_digits = novelty(new, known)[1]
    scores["sure of digits"] = np.mean(judge.predict_log_proba(new).max(1) > np.log(SURE))
    scores["distance of digits"] = np.median(of_digits)
    if not len(x):
        return {name: float(value) for name, value in scores.items()}, None
    log_p = judge.predict_log_proba(x)
    rows, distances = novelty(x, known)
    scores |= {"distinct": len(np.unique(x.reshape(len(x), -1), axis=0)) / len(x),
               "sure": np.mean(log_p.max(1) > np.log(SURE)), "distance": np.median(distances),
               "distance of cut digits": np.median(novelty(cut(new, x.sum((1, 2, 3))), known)[1])}  # fmt: skip
    per_symbol = {"x": x, "sure": np.exp(log_p.max(1)), "answer": log_p.argmax(1), "distance": distances,
                  "near": known[rows], "of digits": of_digits,
                  "features": judge.features(x)}  # fmt: skip
    return {name: float(value) for name, value in scores.items()}, per_symbol


def cut(digits, ink):
    """Each digit from its top down to the row in which it has one of these amounts of ink, in turn."""
    ink = np.resize(ink, len(digits))
    above = digits.sum(3).cumsum(2) - digits.sum(3)  # (n, 1, h): the ink in the rows above
    return digits * (above < ink[:, None, None])[..., None]


def novelty(x, known):
    """The training image nearest to each black and white one, and how many pixels differ, per pixel of ink."""
    rows, distances = nearest(x, known)
    return rows[:, 0], distances[:, 0] ** 2 / x.sum((1, 2, 3))


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; the real MNIST is needed, by the classifier too."""
    data.load("mnist", stand_in=False)
    with blas_threads(1):
        model = trained(run.part("network") if run.folder else Run(quiet=True))
        scores, _ = judged(model.symbols(300, rng=tg.random.Generator(1)))
    values = (scores["sound"], scores["sure"], scores["distance"] / scores["distance of cut digits"])
    return {claim: value for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A small network, with images."""
    return SymbolMaker(8, maps=4, size=5, stride=2, rng=rng), rng.spawn(1)[0].uniform((20, 1, 8, 8))


# ---- pictures -----------------------------------------------------------------------------------------------------


def strokes(model):
    """What each filter's winner draws."""
    w = model.strokes
    shown = 0.5 + 0.5 * w / np.abs(w).max((1, 2), keepdims=True)
    return plot.image_grid(shown, 16, enlarge=3, title="The stock of strokes: what the winner of each map draws "
                           "(white: ink, black: against it)")  # fmt: skip


def development(model, seed, device, columns=14):
    """Noise, and what it becomes."""
    x = tg.backend.arrays.to_numpy(tg.random.Generator(seed + 1, device=device).uniform((columns, *model.shape)))
    rows, names = [x], ["noise"]
    for t in (1, 2, 4, 8, 9, 10, 16, 32):
        rows.append(model.develop(x, steps=t, grey=min(8, t - 1)).images if t > 8 else rebuilt(model, x, t))
        names.append(f"t = {t}" + (", grey" if t <= 8 else ""))
    return plot.image_grid(np.concatenate(rows)[:, 0], columns, row_names=names, title="From noise to a symbol")


def rebuilt(model, x, times):
    """g(f(x)), so many times."""
    for _ in range(times):
        x = model.reconstruct(x)
    return x


def convergence(found, metrics):
    """Training, how many pixels still change by iteration, and what became of the starts."""
    made = plot.figure(14, 3.9)
    made.set_layout_engine("constrained")
    left, middle, right = made.subplots(1, 3)
    left.plot(metrics["step"], metrics["loss"], linewidth=0.7)
    left.set(xlabel="step", ylabel="cross-entropy (nats an image)", title="Learning to draw",
             ylim=(0, 3 * np.median(metrics["loss"])))  # fmt: skip
    t = np.arange(1, len(found.moves) + 1)
    for q, label in ((0.5, "median"), (0.9, "9 of 10 change less")):
        middle.plot(t, np.quantile(found.moves, q, axis=1), ".-", label=label)
    middle.plot(t, found.moves.mean(1), "k:", label="mean")
    middle.set(
        xlabel="iteration",
        ylabel="pixels that change",
        xscale="log",
        title="The iteration comes to rest (grey until 8)",
    )
    middle.set_yscale("symlog", linthresh=1)
    middle.set_ylim(0, None)
    middle.legend()
    ends = {"fixed\nsymbol": found.sound, "cycle, or\non its way": ~found.fixed, "nothing": found.collapsed,
            "flood": found.flooded}  # fmt: skip
    bars = right.bar(list(ends), [100 * end.mean() for end in ends.values()], color=["C2", "C1", "C3", "C3"])
    right.bar_label(bars, fmt="%.1f %%")
    right.set(ylabel="% of the starts", ylim=(0, 110), title="What became of them")
    return made


def families(symbols, seed, rows=10, columns=14):
    """Symbols that the classifier's features put together, the surest family first."""
    f = symbols["features"]
    f = f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-9)
    rows = min(rows, len(f) // 5)
    model = KMeans(f.shape[1], rows, n_init=5, rng=tg.random.Generator(seed)).fit(f, run=Run(quiet=True))
    answer, centres = model.predict(f), model.centres.numpy()
    members = [np.flatnonzero(answer == k) for k in range(rows)]
    members.sort(key=lambda m: -symbols["sure"][m].mean())
    sheet, names = [], []
    for m in members:
        m = m[np.argsort(np.square(f[m] - centres[answer[m[0]]]).sum(1))]
        images = symbols["x"][m[:columns], 0]
        sheet.append(np.concatenate([images, np.ones((columns - len(images), *images.shape[1:]))]))
        common = np.bincount(symbols["answer"][m], minlength=10).argmax()
        names.append(f"{len(m)}: “{common}”, {symbols['sure'][m].mean():.0%}")
    return plot.image_grid(np.concatenate(sheet), columns, row_names=names,
                           title="Families: how many, the most frequent answer, how sure on average")  # fmt: skip


def verdict(symbols):
    """How sure the classifier is of symbols, and how far they are from all training images."""
    made = plot.figure(10, 3.8)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    left.hist(symbols["sure"], np.linspace(0, 1, 41), color="C1")
    left.axvline(SURE, color="grey", linestyle=":")
    left.set(xlabel="largest probability of a digit", ylabel="symbols",
             title=f"The classifier is sure of {np.mean(symbols['sure'] > SURE):.0%} of the symbols")  # fmt: skip
    edges = np.linspace(0, np.quantile(symbols["distance"], 0.99), 41)
    for name, label, colour in (("of digits", "new digits", "C0"), ("distance", "symbols", "C1")):
        right.hist(symbols[name], edges, density=True, alpha=0.6, label=label, color=colour)
    right.set(xlabel="pixels that differ, per pixel of ink", ylabel="density",
              title="From the nearest training image")  # fmt: skip
    right.legend()
    return made


def beside(symbols, columns=14):
    """The surest digits and the least sure among the symbols, each above the training image that is nearest."""
    order = np.argsort(-symbols["sure"], kind="stable")
    sheet = []
    for chosen in (order[:columns], order[::-1][:columns]):
        for images in (symbols["x"][chosen, 0], symbols["near"][chosen, 0]):
            sheet.append(np.concatenate([images, np.ones((columns - len(images), *images.shape[1:]))]))
    names = ["surely digits", "nearest in\ntraining", "surely not", "nearest in\ntraining"]
    return plot.image_grid(np.concatenate(sheet), columns, row_names=names,
                           title="Symbols of both extremes by the classifier's verdict")  # fmt: skip


if __name__ == "__main__":
    from common import command

    command(main)

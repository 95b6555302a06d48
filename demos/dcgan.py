"""A DCGAN learns images, and what it draws is judged by all the scores there are.

It shows samples, fixed codes through training, walks between codes, the training images that are nearest to samples,
and the curves of losses and scores. The table at the end sets the samples beside real images that training has not
seen (what a perfect generator would draw) and beside a Gaussian fitted to the pixels: the inception score and the
Fréchet distance to the training images, both by a small classifier of the same images (`demos/cnn.py`), how much is
copied, and the Parzen window's log-likelihood.
"""

import numpy as np
import scipy.linalg

import tinygen as tg
from tinygen import metrics, plot
from tinygen.data import load
from tinygen.metrics.frechet import factor
from tinygen.models.gan.dcgan import DCGAN
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("G4", "G24"),
    model="gan.dcgan:DCGAN",
    resumes=True,
    claims={
        "inception score, MNIST, by our own classifier": {"published": None, "bar": ">= 9.0", "budget_min": 60},
        "FID, MNIST, as a share of that of a Gaussian fitted to the pixels": {
            "published": None, "bar": "<= 0.1", "budget_min": 60},
        "FID, largest relative error against scipy.linalg.sqrtm": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
    },
)  # fmt: skip
SIZES = {
    "digits": dict(steps=3000, widths=(64, 32), lr=2e-3),
    "glyphs": dict(steps=1500, widths=(128, 64, 32), lr=1e-3),
    "mnist": dict(steps=30_000, widths=(128, 64, 32), lr=(4e-4, 4e-3)),  # D's and G's: an equal D soon wins
}
SIZES |= {"fashion": SIZES["mnist"], "notmnist": SIZES["mnist"]}
FRAMES, CODES = 10, 10  # of the filmstrip: how many moments, and how many codes
JUDGE = 1000  # steps of a classifier that has to be trained first


def main(*, data="digits", rules="dcgan", steps=0, lr=0.0, device="cpu", seed=0, quick=False, out="runs_out/dcgan",
         resume=None):  # fmt: skip
    """Train a DCGAN and judge what it draws.

    data: digits, glyphs, mnist, notmnist or fashion; rules: dcgan (S3's) or thesis (S2's; its 20 epochs of MNIST are
    17,200 steps); steps: minibatches of 64 to learn from; lr: the rate of both players, which falls to 0 along half a
    cosine (thesis: stays); 0 for either: as the data set, or the thesis, asks; quick: a tenth of the steps
    """
    run = open_run(locals())
    if data not in SIZES:
        raise ValueError(f"--data is {data!r}; {', '.join(SIZES)} are there")
    steps = steps or SIZES[data]["steps"] // (10 if quick else 1)
    judge = classifier(data, device, 300 if quick else JUDGE)
    gan, train, test, draws = trained(run, data, steps, rules=rules, lr=lr, device=device, seed=seed, judge=judge)
    n = len(test)
    sets = {"unseen images": test, "samples": gan.sample(n, rng=draws), "Gaussian fit": gaussian_fit(train, n, draws)}
    scores = judged(sets, train, judge)
    print(table(scores))
    draw(run, gan, train, sets, judge, draws)
    print(f"pictures in {run.folder}")
    return {f"{name}: {score}": value for name, row in scores.items() for score, value in row.items()}


def classifier(name, device="cpu", steps=JUDGE):
    """A small classifier of the set, with `predict_log_proba` and `features`."""
    from tinygen.demos import cnn

    return cnn.classifier(name, steps=steps, device=device)


def trained(run, data, steps, *, rules="dcgan", lr=0.0, device="cpu", seed=0, judge=None, stand_in=True):
    """A trained model, the images to learn from and to judge by, and a Generator for the evaluation.

    Ten times on the way the filmstrip gets a frame, and a judge, if there is one, scores some samples.
    """
    train, test = (part.images for part in load(data, stand_in=stand_in))
    rng, draws = tg.random.Generator(seed, device=device).spawn(2)
    pace = dict(lr=lr or SIZES[data]["lr"], schedule=Cosine(steps)) if rules == "dcgan" else dict(lr=lr or None)
    gan = DCGAN(train.shape[-1], widths=SIZES[data]["widths"], rules=rules, rng=rng, **pace)
    x, z = gan.checked(train), gan.prior(min(1000, len(test)), draws)
    real = judge and metrics.Moments.of(train, judge.features)
    with blas_threads(1):  # on a busy machine, two threads lose more than they gain
        for step in run.steps(gan, steps):
            run.log(**gan.update(x, 64))
            if step in due(steps):
                images = gan.decode(z if judge else z[:CODES])
                if run.folder:
                    tg.save(frame(run, step), {"images": images[:CODES]})
                if judge:
                    run.log(**by_classifier(images, real, judge))
    return gan, train, test, draws


def due(steps):
    """The steps of the filmstrip's frames: 1, and then each later than the one before by the same factor."""
    return sorted({1, *np.geomspace(min(20, steps), steps, FRAMES - 1).round().astype(int).tolist()})


def frame(run, step):
    """Where the frame of a step is kept: a file, so that a resumed run has those from before."""
    return run.folder / f"frame-{step:06d}.safetensors"


def by_classifier(images, real, judge):
    """The scores of some images by what a classifier says of them; `real` are the moments of its features."""
    return {"inception": metrics.inception_score(judge.predict_log_proba(images))[0],
            "frechet": metrics.frechet_distance(real, images, judge.features)}  # fmt: skip


def gaussian_fit(train, n, rng):
    """Draws from a Gaussian with the pixels' mean and covariance, cut to [0, 1]: the generator to beat."""
    pixels = metrics.Moments.of(train)
    z = tg.backend.to_numpy(rng.normal((n, len(pixels.mean)), dtype="float64"))
    images = pixels.mean + z @ factor(pixels.covariance).T
    return np.clip(images, 0, 1).astype(np.float32).reshape(n, *train.shape[1:])


def judged(sets, train, judge):
    """All scores of each set of images (n, ...), against the training images."""
    real, unseen, scores = metrics.Moments.of(train, judge.features), sets["unseen images"][:1000], {}
    n = min(500, len(train) // 2)
    fitting, held = train[:n], train[n : 2 * n]  # to choose the window's width by, and to be found likely
    for name, images in sets.items():
        parts = min(10, max(1, len(images) // 500))  # smaller ones would have too low a score
        score, spread = metrics.inception_score(judge.predict_log_proba(images), splits=parts)
        scores[name] = {
            "inception": score, "spread": spread, "frechet": metrics.frechet_distance(real, images, judge.features),
            "copying": metrics.copying(images[:1000], unseen, train),
            "Parzen": metrics.parzen_score(held, fitting, images).mean,
        }  # fmt: skip
    return scores


def table(scores):
    """The scores as lines."""
    lines = [f"{'':15}{'inception score':>17}{'FID':>10}{'copying':>9}{'Parzen (nats)':>15}"]
    for name, s in scores.items():
        score = f"{s['inception']:.2f}" + (f" ± {s['spread']:.2f}" if s["spread"] else "")
        lines.append(f"{name:15}{score:>17}{s['frechet']:10.2f}{s['copying']:9.2f}{s['Parzen']:15.1f}")
    return "\n".join(lines)


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; MNIST's own files are needed."""
    *on_mnist, on_matrices = CARD["claims"]
    values = {on_matrices: worst_error()} if on_matrices in claims else {}
    if set(on_mnist) & set(claims):
        gan, train, test, draws = trained(run.part("mnist"), "mnist", SIZES["mnist"]["steps"], stand_in=False)
        judge, n = classifier("mnist"), len(test)
        samples = gan.sample(n, rng=draws)
        sets = {"unseen images": test, "samples": samples, "Gaussian fit": gaussian_fit(train, n, draws)}
        scores = judged(sets, train, judge)
        print(table(scores))
        found = scores["samples"]["inception"], scores["samples"]["frechet"] / scores["Gaussian fit"]["frechet"]
        values |= dict(zip(on_mnist, found, strict=True))
    return {claim: values[claim] for claim in claims}


def worst_error():
    """The largest relative error of the Fréchet distance against one by the general matrix root, over some samples."""
    errors, rng = [], np.random.default_rng(0)
    for d, n in ((1, 5), (3, 50), (20, 100), (64, 70), (128, 1000)):
        x, g = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) for _ in range(2))
        a, b = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(g.T))
        root = np.trace(scipy.linalg.sqrtm(a @ b)).real
        expected = np.square(x.mean(0) - g.mean(0)).sum() + np.trace(a + b) - 2 * root
        errors.append(abs(metrics.frechet_distance(x, g) / expected - 1))
    return max(errors)


def tiny(rng):
    """A very small model, and images."""
    return DCGAN(8, n_latent=4, widths=(6, 4), rng=rng), rng.spawn(1)[0].uniform((20, 1, 8, 8))


def loss(rng):
    """What the generator of a small model minimises, for `python -m tinygen explain dcgan`."""
    gan, _ = tiny(rng)
    return gan.generator_loss(gan.noise(4))


# ---- pictures ---------------------------------------------------------------------------------------------------


def draw(run, gan, train, sets, judge, rng):
    """All pictures of a run."""
    samples, real = sets["samples"], metrics.Moments.of(train, judge.features)
    marks = {name: by_classifier(sets[name][:1000], real, judge) for name in ("unseen images", "Gaussian fit")}
    z = tg.backend.to_numpy(gan.prior(12, rng))
    walks = np.concatenate([gan.interpolate(z[k], z[k + 1], 11) for k in range(0, 12, 2)])
    sheets = {
        "samples": grid(samples[:100], 10, title="Samples"),
        "walks": grid(walks, 11, title="Straight ways between two codes"),
        "neighbours": neighbours(samples[:8], train),
        "film": film(run),
    }
    for name, sheet in sheets.items():
        run.save_figure(f"{name}.png", sheet)
    run.save_figure("curves.png", curves(read_metrics(run.folder / "metrics.csv"), marks))


def grid(images, columns, **options):
    """Images as a sheet; small ones are easier to read enlarged."""
    return plot.image_grid(images, columns, enlarge=8 if images.shape[-1] == 8 else 1, **options)


def neighbours(samples, train):
    """Each sample, and the three training images at the smallest distance from it."""
    rows, _ = metrics.nearest(samples, train, 3)
    columns = [np.stack([sample, *train[near]]) for sample, near in zip(samples, rows, strict=True)]
    names = ["sample", "nearest", "second", "third"]
    return grid(np.stack(columns, 1).reshape(-1, *train.shape[1:]), len(samples), row_names=names,
                title="Samples, and the training images nearest to them")  # fmt: skip


def film(run):
    """What the same codes are decoded to through training: a row a code, a column a moment."""
    kept = sorted(run.folder.glob("frame-*.safetensors"))
    frames = np.stack([tg.load(path)["images"] for path in kept], 1)  # (codes, moments, c, h, w)
    return grid(frames.reshape(-1, *frames.shape[2:]), len(kept), title="The same codes after so many steps",
                column_names=[str(int(path.stem[6:])) for path in kept])  # fmt: skip


def curves(log, marks):
    """Losses with the values they have when G is perfect, and scores with those of as many other images."""
    made = plot.figure(12, 3.6)
    made.set_layout_engine("constrained")
    losses, inception, frechet = made.subplots(1, 3)
    step = np.array(log["step"])
    for color, name, even in (("C0", "loss_d", np.log(4)), ("C1", "loss_g", np.log(2))):
        width = max(1, len(step) // 100)
        smooth = np.convolve(log[name], np.ones(width) / width, "valid")
        losses.plot(step[width - 1 :], smooth, color=color, label=f"${name[:4].upper()[0]}_{name[-1].upper()}$")
        losses.axhline(even, color=color, linestyle=":")
    losses.set(xlabel="step", title="losses (dotted: at $p_g = p_d$)")
    losses.legend()
    for axes, name, title in ((inception, "inception", "inception score"), (frechet, "frechet", "FID")):
        values = np.array(log[name])
        axes.plot(step[np.isfinite(values)], values[np.isfinite(values)], marker=".", color="C0", label="samples")
        for color, kind in (("C2", "unseen images"), ("C3", "Gaussian fit")):
            axes.axhline(marks[kind][name], color=color, linestyle=":", label=kind)
        axes.set(xlabel="step", xscale="log", title=title)
    frechet.set(yscale="log")
    inception.legend(loc="center left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""PCA looks at faces: eigenfaces, how few numbers make a face, and where it fails.

It draws the scree, the eigenfaces, faces rebuilt from 1 to 200 numbers, digits on the plane of two, faces drawn from
probabilistic PCA, what kinds of factors do to a cloud, how fast power steps find the components, and S1's two
complaints measured: a face that is moved is not recognised, and the first components are lamps.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import PCA, LinearFactorModel, ProbabilisticPCA
from tinygen.probability import Laplace, Normal, Uniform
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C5",),
    model="latent.pca:PCA",
    claims={
        "largest deviation of PCA from scikit-learn": {"published": None, "bar": "<= 1e-6", "budget_min": 1},
        "faces recognised when moved by an eighth of the picture, over when not": {
            "published": "S1: faces have to be aligned", "bar": "<= 0.5", "budget_min": 1, "verdict": True},
        "share of the first three codes' variance that simple lighting explains": {
            "published": "S1: illumination dominates", "bar": ">= 0.5", "budget_min": 1, "verdict": True},
    },
)  # fmt: skip
SHOWN = (1, 5, 20, 60, 200)  # components that faces are rebuilt from
MOVES = (0, 1, 2, 3, 4, 6, 8)  # pixels, of 64
LAMPS = (0.0, 0.15, 0.3, 0.45, 0.6)  # how much brighter one side is made, and darker the other


def main(*, components=60, steps=40, device="cpu", seed=0, quick=False, out="runs_out/pca", resume=None):
    """Find the eigenfaces of 320 photographs by power steps, compare them with the exact ones, and draw.

    components: how many; steps: of the power iteration; quick: 20 steps
    """
    run = open_run(locals())
    faces = data.load("olivetti")
    train, test = ((flat(part.images), part.labels) for part in faces)
    with blas_threads(1):
        model = PCA(train[0].shape[1], components, rng=tg.random.Generator(seed, device=device))
        model.fit(train[0], steps=20 if quick else steps, run=run)
        exact = PCA(train[0].shape[1], len(train[0]) - 1).fit(train[0])
        moved, lit = recognised_moved(exact, train, test), lighting(exact, train[0])
        scores = {"explained": float(model.explained_variance_ratio.sum()),
                  "possible": float(exact.explained_variance_ratio[:components].sum()), "deviation": deviation(),
                  "recognised": moved[0], "moved": moved[-1],
                  "lighting": dominance(exact, lit)}  # fmt: skip
        print("{explained:.2%} of the variance explained ({possible:.2%} possible); {recognised:.0%} of the faces "
              "recognised, {moved:.0%} when moved by 8 pixels; lighting explains {lighting:.0%} of the first three "
              "codes' variance; largest deviation from scikit-learn {deviation:.1e}".format(**scores))  # fmt: skip
        pictures(run, exact, train, test, moved, lit, components, seed)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, exact, train, test, moved, lit, components, seed):
    """All of them."""
    run.save_figure("scree.png", scree(exact, train[0], test[0], read_metrics(run.folder / "metrics.csv"), components))
    run.save_figure("eigenfaces.png", eigenfaces(exact))
    run.save_figure("reconstructions.png", reconstructions(exact, test[0]))
    run.save_figure("classes.png", classes())
    run.save_figure("samples.png", samples(train[0], seed))
    run.save_figure("failures.png", failures(exact, train, test, moved, lit))
    run.save_figure("moved.png", moved_and_lit(exact, test[0]))
    run.save_figure("factors.png", factors(seed))


def reproduce(run, claims):
    """The claims of the CARD."""
    faces = data.load("olivetti")
    train, test = ((flat(part.images), part.labels) for part in faces)
    exact = PCA(train[0].shape[1], len(train[0]) - 1).fit(train[0])
    moved = recognised_moved(exact, train, test)
    values = (deviation(), moved[-1] / moved[0], dominance(exact, lighting(exact, train[0])))
    return {claim: value for claim, value in zip(CARD["claims"], values, strict=True) if claim in claims}


def tiny(rng):
    """A very small PCA and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    mix = draws.normal((6, 6), dtype="float64")
    return PCA(6, 3, rng=model_rng), draws.normal((30, 6), dtype="float64") @ mix


# ---- what is claimed --------------------------------------------------------------------------------------------


def flat(images):
    """Images as rows of float64."""
    return images.reshape(len(images), -1).astype(float)


def deviation():
    """The largest difference from scikit-learn over shapes: components, variances, codes, and what is rebuilt."""
    from sklearn.decomposition import PCA as Theirs

    worst = 0.0
    for seed, (n, d, k) in enumerate([(200, 10, 4), (30, 100, 12), (3000, 40, 40), (50, 50, 20)]):
        draw = np.random.default_rng(seed)
        x = draw.normal(size=(n, d)) @ draw.normal(size=(d, d)) + 10 * draw.normal(size=d)
        ours, theirs = PCA(d, k).fit(x), Theirs(k, svd_solver="full").fit(x)
        h = ours.transform(x)
        pairs = [(ours.components.numpy(), theirs.components_), (ours.mean.numpy(), theirs.mean_),
                 (ours.explained_variance.numpy(), theirs.explained_variance_), (h, theirs.transform(x)),
                 (ours.inverse_transform(h), theirs.inverse_transform(h))]  # fmt: skip
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in pairs))
    return worst


def shifted(x, pixels):
    """Faces moved to the right, their left edge repeated; (n, d) to (n, d)."""
    side = round(x.shape[1] ** 0.5)
    images = x.reshape(-1, side, side)
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, 0)), mode="edge")
    return padded[:, :, :side].reshape(len(x), -1)


def lamp(x, strength):
    """Faces with more light on the right and less on the left."""
    side = round(x.shape[1] ** 0.5)
    slope = np.tile(np.linspace(-1, 1, side), side)
    return np.clip(x * (1 + strength * slope), 0, 1)


def recognised(model, train, x, labels, parts=slice(0, 60)):
    """The share of faces whose nearest neighbour among the training faces, in so many codes, is the same person."""
    known, codes = model.transform(train[0])[:, parts], model.transform(x)[:, parts]
    distances = ((codes[:, None] - known) ** 2).sum(2)
    return float(np.mean(train[1][distances.argmin(1)] == labels))


def recognised_moved(model, train, test):
    """`recognised` for faces moved by each of MOVES."""
    return [recognised(model, train, shifted(test[0], pixels), test[1]) for pixels in MOVES]


def lighting(model, x):
    """How much of each code three numbers of a face explain: brightness, and its slopes across and down; R² (k,)."""
    side = round(x.shape[1] ** 0.5)
    t = np.linspace(-1, 1, side)
    measures = x @ np.stack([np.ones(side**2), np.tile(t, side), np.repeat(t, side)], 1) / side**2  # (n, 3)
    design, h = np.column_stack([np.ones(len(x)), measures]), model.transform(x)
    left = h - design @ np.linalg.lstsq(design, h, rcond=None)[0]
    return 1 - (left**2).sum(0) / (h**2).sum(0)


def dominance(model, lit):
    """What lighting explains of the variance of the first three codes together."""
    variance = model.explained_variance.numpy()[:3]
    return float(lit[:3] @ variance / variance.sum())


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.3, height=3.7):
    """A figure with so many axes in a row."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns)


def scree(model, train, test, metrics, components):
    """The variances, what is lost of known and of new faces, and the power steps."""
    made, (left, middle, right) = panels(3)
    share = model.explained_variance_ratio
    left.semilogy(np.arange(1, len(share) + 1), share, ".-", markersize=3)
    for k in [k for k in SHOWN[1:] if k <= len(share)]:
        left.annotate(f"{share[:k].sum():.0%}", (k, share[k - 1]), textcoords="offset points", xytext=(4, 8))
    left.set(xscale="log", xlabel="component", ylabel="share of the variance",
             title="Scree (numbers: share of all up to there)")  # fmt: skip
    ks = np.unique(np.geomspace(1, len(share), 20).astype(int))
    for name, x in (("of 320 photographs it has seen", train), ("of 80 new ones", test)):
        lost = [np.sqrt(np.mean((x - model.reconstruct(x, k=k)) ** 2)) for k in ks]
        middle.plot(ks, lost, ".-", label=name)
    middle.set(xscale="log", ylim=(0, None), xlabel="components", ylabel="root mean squared error (grey levels)",
               title="What is lost")  # fmt: skip
    middle.legend()
    gap = share[:components].sum() - np.array(metrics["explained"])
    right.semilogy(metrics["step"], np.maximum(gap, 1e-17), ".-")
    right.set(xlabel="step", ylabel="share of the variance",
              title=f"Power steps: what {components} components\nstill miss of the best")  # fmt: skip
    return made


def as_picture(rows):
    """Components on a scale of their own, grey for 0; (n, d) to (n, d) in [0, 1]."""
    return 0.5 + 0.5 * rows / abs(rows).max(1, keepdims=True)


def square(x):
    """Rows as square images."""
    side = round(x.shape[1] ** 0.5)
    return x.reshape(-1, side, side)


def eigenfaces(model):
    """The mean face and the first components."""
    sheet = np.concatenate([model.mean.numpy()[None], as_picture(model.components.numpy()[:23])])
    return plot.image_grid(square(sheet), 8, title="The mean face, and the first 23 eigenfaces (grey is 0)")


def reconstructions(model, x):
    """New faces rebuilt from more and more components."""
    chosen = x[::10][:8]
    sheet = np.concatenate([*(model.reconstruct(chosen, k=k) for k in SHOWN), chosen])
    names = [f"k = {k}" for k in SHOWN] + ["new face"]
    return plot.image_grid(square(sheet), 8, row_names=names, title="New faces from k numbers each")


def classes():
    """Digits on the first two components, and on the next two."""
    x, labels = data.load("digits").train
    codes = PCA(64, 4).fit(flat(x)).transform(flat(x))
    made = plot.scatter_panels({"Digits: components 1 and 2": codes[:, :2], "Components 3 and 4": codes[:, 2:]}, labels)
    for axes, first in zip(made.axes, (1, 3), strict=True):
        axes.set(xlabel=f"$h_{first}$", ylabel=f"$h_{first + 1}$")
    return made


def samples(x, seed):
    """Draws of probabilistic PCA: points of its plane, and with its noise."""
    rows, names = [], []
    for k in (5, 20, 60):
        model = ProbabilisticPCA(x.shape[1], k).fit_exactly(x)
        rows.append(model.sample(10, rng=tg.random.Generator(seed), noise=False))
        names.append(f"k = {k},\nplane")
    rows.append(model.sample(10, rng=tg.random.Generator(seed)))
    names.append("k = 60,\nwith noise")
    return plot.image_grid(square(np.concatenate(rows)), 10, row_names=names, title="Draws from probabilistic PCA")


def failures(model, train, test, moved, lit):
    """Recognition of moved faces, what lighting explains, and recognition in the light of a lamp."""
    made, (left, middle, right) = panels(3)
    left.plot(MOVES, moved, "o-", label="60 components")
    left.axhline(1 / 40, color="grey", linestyle=":", label="by chance")
    left.set(xlabel="moved to the right by (pixels of 64)", ylabel="share recognised", ylim=(0, 1),
             title="New pictures of known people")  # fmt: skip
    left.legend()
    middle.bar(np.arange(1, 16), lit[:15], color=["C3"] * 3 + ["C0"] * 12)
    middle.set(xlabel="component", ylabel="$R^2$", ylim=(0, 1), xticks=(1, 2, 3, 5, 10, 15),
               title="Share of a code that brightness and\nits slopes across and down explain")  # fmt: skip
    for name, parts in (("components 1 to 60", slice(0, 60)), ("components 4 to 60", slice(3, 60))):
        rates = [recognised(model, train, lamp(test[0], strength), test[1], parts) for strength in LAMPS]
        right.plot(LAMPS, rates, "o-", label=name)
    right.set(xlabel="strength of a lamp at the right", ylabel="share recognised", ylim=(0, 1),
              title="Without the three most important\ncomponents it goes better")  # fmt: skip
    right.legend()
    return made


def moved_and_lit(model, x):
    """A face moved and lit, and what 60 components make of it."""
    face = x[[5]]
    given = np.concatenate([shifted(face, 0), shifted(face, 3), shifted(face, 6), shifted(face, 9),
                            lamp(face, 0.3), lamp(face, 0.6), lamp(face, 0.9)])  # fmt: skip
    sheet = np.concatenate([given, model.reconstruct(given, k=60), 0.5 + given - model.reconstruct(given, k=60)])
    columns = ["as it is", "moved by 3", "by 6", "by 9", "lamp 0.3", "0.6", "0.9"]
    return plot.image_grid(square(sheet), 7, row_names=["given", "k = 60", "missed"], column_names=columns)


def factors(seed):
    """One W, three kinds of factors: normal ones hide the columns of W."""
    made, row = panels(4, 3.6, 3.8)
    W, turn = np.array([[1.6, 0.5], [0.3, 1.1]]), np.array([[0.6, -0.8], [0.8, 0.6]])
    zero, one = np.array(0.0), np.array(1.0)
    shown = (("normal", Normal(zero, one), W), ("normal, $W$ turned", Normal(zero, one), W @ turn),
             ("Laplace", Laplace(zero, one * 0.5**0.5), W),
             ("uniform", Uniform(-one * 3**0.5, one * 3**0.5), W))  # fmt: skip
    for axes, (name, law, weight) in zip(row, shown, strict=True):
        x = LinearFactorModel(weight, [0, 0], law).sample(3000, rng=tg.random.Generator(seed))
        axes.plot(*x.T, ".", markersize=2, alpha=0.4)
        for column in weight.T:
            axes.annotate("", 2.2 * column, (0, 0), arrowprops=dict(arrowstyle="->", color="C3", lw=2.2))
        axes.set(xlim=(-6, 6), ylim=(-6, 6), aspect="equal", title=f"Factors: {name}")
    made.suptitle("$X = WH$ with factors of variance 1; red: the columns of $W$. All four have one covariance, but for "
                  "sampling")  # fmt: skip
    return made


if __name__ == "__main__":
    from common import command

    command(main)

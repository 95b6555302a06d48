"""Probabilistic PCA and factor analysis: what measures have in common, apart from their noise.

It draws both on data with noise of one size and of many sizes (how many factors are there?), what a change of units
does to each, the loadings of measured wines before and after varimax, and how EM climbs to the closed form.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import PCA, FactorAnalysis, ProbabilisticPCA
from tinygen.models.latent import factor_analysis as chapter
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C5",),
    model="latent.factor_analysis:FactorAnalysis",
    claims={
        "largest deviation of factor analysis from scikit-learn": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "largest deviation of EM from the closed form of probabilistic PCA": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
    },
)  # fmt: skip
FACTORS = 3  # in the made data
KS = range(1, 11)  # how many are tried
WIDTHS = {"noise of one size": np.ones(15), "noise of many sizes": np.geomspace(0.3, 3.0, 15)}


def main(*, examples=300, steps=300, device="cpu", seed=0, quick=False, out="runs_out/factor_analysis",
         resume=None):  # fmt: skip
    """Fit factors to the measures of wines by EM, compare with what else there is, and draw.

    examples: of the made data; steps: of EM at most; quick: fewer problems and folds
    """
    run = open_run(locals())
    x, _, _ = wines()
    with blas_threads(1):
        model = FactorAnalysis(x.shape[1], FACTORS, tol=0, rng=tg.random.Generator(seed, device=device))
        model.fit(x, steps=steps, run=run)
        exact = FactorAnalysis(x.shape[1], FACTORS).fit_exactly(x)
        scores = {"score": model.score(x), "best": exact.score(x), "deviation": deviation(1 if quick else 3),
                  "closed": closed_form(1 if quick else 3)}  # fmt: skip
        print("log-likelihood of a wine {score:.5f} after EM, {best:.5f} by quasi-Newton steps; largest deviation from "
              "scikit-learn {deviation:.1e}, of EM from the closed form {closed:.1e}".format(**scores))  # fmt: skip
        pictures(run, exact, examples, 3 if quick else 8)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, exact, examples, folds):
    """All of them."""
    run.save_figure("how_many.png", how_many(examples, folds))
    run.save_figure("units.png", units())
    run.save_figure("loadings.png", loadings(exact))
    run.save_figure("climb.png", climb(read_metrics(run.folder / "metrics.csv"), exact))


def reproduce(run, claims):
    """The claims of the CARD."""
    with blas_threads(1):
        values = {claim: deviation(5) if "scikit-learn" in claim else closed_form(5) for claim in claims}
    return values


def tiny(rng):
    """A very small factor analysis and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    shared = draws.normal((40, 1), dtype="float64")
    return FactorAnalysis(5, 2, tol=0, rng=model_rng), shared + draws.normal((40, 5), dtype="float64")


# ---- what is claimed --------------------------------------------------------------------------------------------


def made(n, widths, seed, k=FACTORS):
    """Examples with k factors, and noise of given standard deviations (d,)."""
    W = np.random.default_rng(100).normal(size=(len(widths), k))  # always the same
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, k)) @ W.T + widths * draw.normal(size=(n, len(widths)))


def deviation(problems):
    """The largest difference from scikit-learn at the maximum: covariance, noise, log-likelihood of each example."""
    import warnings

    from sklearn.decomposition import FactorAnalysis as Theirs

    worst = 0.0
    for seed in range(problems):
        x = made(1000, np.linspace(0.8, 1.5, 12), seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it goes on as long as it is told
            theirs = Theirs(FACTORS, tol=0, max_iter=3000, svd_method="lapack").fit(x)
            for _ in range(8):  # it stops when rounding lowers the likelihood for once; go on
                theirs.set_params(noise_variance_init=theirs.noise_variance_).fit(x)
        by_em = FactorAnalysis(12, FACTORS, tol=0, rng=tg.random.Generator(seed))
        for ours in (by_em.fit(x, steps=1500, run=Run(quiet=True)), FactorAnalysis(12, FACTORS).fit_exactly(x)):
            pairs = [(ours.covariance(), theirs.get_covariance()), (ours.noise.numpy(), theirs.noise_variance_),
                     (ours.score_samples(x), theirs.score_samples(x))]  # fmt: skip
            worst = max(worst, *(float(np.abs(a - b).max()) for a, b in pairs))
    return worst


def closed_form(problems):
    """The largest difference of probabilistic PCA by EM from the closed form, from starts at random."""
    worst = 0.0
    for seed in range(problems):
        x = made(500, np.full(10, 1.5), seed)
        by_em = ProbabilisticPCA(10, FACTORS, tol=0, rng=tg.random.Generator(seed))
        by_em.fit(x, steps=2000, run=Run(quiet=True))
        exact = ProbabilisticPCA(10, FACTORS).fit_exactly(x)
        pairs = [(m.covariance() for m in (by_em, exact)), (m.score_samples(x) for m in (by_em, exact))]
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in pairs))
    return worst


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.6, height=4.0):
    """A figure with so many axes in a row."""
    found = plot.figure(width * columns, height)
    found.set_layout_engine("constrained")
    return found, found.subplots(1, columns)


def wines():
    """Thirteen measures of wines in standard deviations, who grew them, and the names of the measures."""
    both = data.load("wine")
    x, labels = (np.concatenate([part[k] for part in both]) for k in (0, 1))
    return (x - x.mean(0)) / x.std(0), labels, both.attributes


def how_many(examples, folds):
    """The log-likelihood of new examples by the number of factors, where the noise is of one size, and where not."""
    found, row = panels(2, 5.4)
    for axes, (name, widths) in zip(row, WIDTHS.items(), strict=True):
        ks = np.array(KS)
        kinds = {"probabilistic PCA": ProbabilisticPCA, "factor analysis": FactorAnalysis}
        for kind, colour in zip(kinds, ("C0", "C1"), strict=True):
            scores = np.zeros(len(ks))
            for seed in range(folds):
                x, new = made(examples, widths, seed), made(4000, widths, 50 + seed)
                scores += [kinds[kind](15, int(k)).fit_exactly(x).score(new) / folds for k in ks]
            axes.plot(ks, scores, "o-", markersize=4, color=colour, label=kind)
            axes.plot(ks[scores.argmax()], scores.max(), "o", color=colour, markersize=11, fillstyle="none")
        axes.axvline(FACTORS, color="grey", linestyle=":", label="the truth")
        axes.set(xlabel="factors", ylabel="nats a new example", title=f"{examples} examples, {name}", xticks=ks)
        axes.legend()
    return found


def units():
    """One cloud in two units: the direction of PCA, and that of the common factor."""
    found, row = panels(2, 5.0, 4.4)
    draw = np.random.default_rng(1)
    z = draw.normal(size=(600, 1))
    x = z * [1.0, 1.0, 1.0] + draw.normal(size=(600, 3)) * [0.3, 0.8, 0.3]
    shown = ((1.0, "both in one unit"), (4.0, "$x_2$ in a unit four times as small"))
    for axes, (scale, name) in zip(row, shown, strict=True):
        y = x * [1.0, scale, 1.0]
        axes.plot(*y[:, :2].T, ".", markersize=3, color="grey", alpha=0.5)
        pca, fa = PCA(3, 1).fit(y), FactorAnalysis(3, 1).fit_exactly(y)
        directions = {"PCA": pca.components.numpy()[0], "factor analysis": fa.loadings.numpy()[:, 0]}
        for k, (kind, way) in enumerate(directions.items()):
            way = way[:2] / way[0]
            axes.plot(*(np.array([[-2.6], [2.6]]) * way).T, color=f"C{k}", linewidth=2.2, label=kind)
        axes.plot(*(np.array([[-2.6], [2.6]]) * [1, scale]).T, "k:", linewidth=2, label="the common cause")
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.9 * scale, 3.9 * scale), xlabel="$x_1$", ylabel="$x_2$", title=name)
        axes.legend(loc="upper left", fontsize=8)
    found.suptitle("Three measures of one cause (two shown); the second has more noise")
    return found


def loadings(model):
    """Loadings of wines as found and after varimax, noise, and the wines on the first two factors."""
    x, labels, names = wines()
    W = model.loadings.numpy()
    turned = chapter.varimax(W)
    order = np.lexsort((-abs(turned).max(1), abs(turned).argmax(1)))
    found = plot.figure(14.5, 5.2)
    found.set_layout_engine("constrained")
    first, second, noise, plane = found.subplots(1, 4, width_ratios=(1, 1, 1.1, 2))
    for axes, values, title in ((first, W, "Loadings\nas found"), (second, turned, "after\nvarimax")):
        picture = axes.imshow(values[order], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.set(xticks=range(FACTORS), xticklabels=range(1, FACTORS + 1), yticks=range(len(names)),
                 yticklabels=[names[j].replace("_", " ") for j in order] if axes is first else [], title=title,
                 xlabel="factor")  # fmt: skip
    found.colorbar(picture, ax=second, shrink=0.7)
    shared = model.communalities()[order]
    noise.barh(range(len(names)), shared, color="C0", label="shared")
    noise.barh(range(len(names)), 1 - shared, left=shared, color="lightgrey", label="its own noise")
    noise.set(yticks=[], ylim=(len(names) - 0.5, -0.5), xlim=(0, 1), title="Variance", xlabel="share")
    noise.legend(fontsize=8, loc="lower right")
    codes = model.transform(x) @ np.linalg.lstsq(W, turned, rcond=None)[0]
    for k in range(3):
        plane.plot(*codes[labels == k][:, [0, 2]].T, "o", markersize=5, alpha=0.7, label=f"grower {k + 1}")
    plane.set(xlabel="factor 1 (after varimax)", ylabel="factor 3", title="178 wines; no label was used")
    plane.legend()
    return found


def climb(metrics, exact):
    """How far EM is from the top, on wines; and on made data, by the size of the noise."""
    found, (left, right) = panels(2, 5.2)
    x, _, _ = wines()
    left.semilogy(metrics["step"], np.maximum(exact.score(x) - np.array(metrics["log_likelihood"]), 1e-15))
    left.set(xlabel="iteration", ylabel="nats a wine below the maximum", title="EM for factor analysis")
    for k, width in enumerate((2.0, 1.0, 0.5, 0.25)):
        x = made(500, np.full(15, width), 0)
        best = ProbabilisticPCA(15, FACTORS).fit_exactly(x).score(x)
        model = ProbabilisticPCA(15, FACTORS, tol=0, rng=tg.random.Generator(0))
        known = model.checked(x)
        model.begin(known)
        reached = [float(model.update(known)["log_likelihood"]) for _ in range(200)]
        right.semilogy(np.maximum(best - np.array(reached), 1e-15), color=f"C{k}", label=rf"$\sigma$ = {width:g}")
    right.set(xlabel="iteration", ylabel="nats an example below the closed form",
              title="EM for probabilistic PCA:\nthe less noise, the slower")  # fmt: skip
    right.legend()
    return found


if __name__ == "__main__":
    from common import command

    command(main)

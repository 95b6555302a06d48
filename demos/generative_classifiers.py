"""Three generative classifiers side by side: naive Bayes, linear and quadratic discriminant analysis.

It draws the regions in which each of them decides for which class, on irises and on clouds made to please one of them
each; Fisher's projection of wines and digits beside principal components; and digits drawn from what each has learnt.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import LinearDiscriminantAnalysis, NaiveBayes, QuadraticDiscriminantAnalysis
from tinygen.runs import Run, open_run

CARD = dict(
    rows=("B2",),
    model="supervised.linear_discriminant:LinearDiscriminantAnalysis",
    claims={
        "naive Bayes, gap to scikit-learn on digits, iris, wine": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "linear discriminants, gap to scikit-learn on digits, iris, wine": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "quadratic discriminants, gap to scikit-learn on digits, iris, wine": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "Fisher's projection, gap to scikit-learn on digits, iris, wine": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
    },
)  # fmt: skip
SETS = ("digits", "iris", "wine")
SHRINKAGE = 0.1  # on digits, some of whose pixels are never inked


def main(*, shrinkage=0.1, steps=1, device="cpu", seed=0, quick=False, out="runs_out/generative_classifiers",
         resume=None):  # fmt: skip
    """Fit all three to irises, wines and digits, and draw what they have learnt.

    shrinkage: of the covariances of digits; steps: in how many parts these are taken in; quick: coarser pictures
    """
    run = open_run(locals())
    train, test = sets("digits")
    model = LinearDiscriminantAnalysis(64, 10, shrinkage=shrinkage, rng=tg.random.Generator(seed, device=device))
    model.fit(*train, steps=steps, run=run)
    others = {
        "naive Bayes, 17 shades": fitted(NaiveBayes, train, levels=17, whole=16),
        "naive Bayes, normal": fitted(NaiveBayes, train, var_smoothing=1e-2),
        "quadratic": fitted(QuadraticDiscriminantAnalysis, train, shrinkage=shrinkage),
    }
    scores = {"linear": model.score(*test), **{name: other.score(*test) for name, other in others.items()}}
    for name, value in scores.items():
        print(f"  {name:24} {value:.1%} of test digits right")
    pictures(run, model, others, test, 80 if quick else 240)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, model, others, test, fine):
    """All of them."""
    run.save_figure("regions.png", regions(fine))
    run.save_figure("assumptions.png", assumptions(fine))
    run.save_figure("projection.png", projections(model, test))
    run.save_figure("digits.png", drawn({"linear": model, **others}))


def reproduce(run, claims):
    """The claims of the CARD."""
    found = dict(zip(CARD["claims"], gaps(SETS).values(), strict=True))
    return {claim: found[claim] for claim in claims}


def tiny(rng):
    """A small model, with inputs and classes."""
    model_rng, draws = rng.spawn(2)
    return LinearDiscriminantAnalysis(4, 3, rng=model_rng), draws.normal((30, 4), dtype="float64"), np.arange(30) % 3


class Whole:
    """Grey levels from 0 to 1 as whole numbers, for a model of symbols."""

    def __init__(self, model, top):
        self.model, self.top = model, top

    def score(self, x, y):
        """The share of right answers."""
        return self.model.score(np.rint(x * self.top), y)

    def sample_labelled(self, n, **options):
        """New images and their classes."""
        x, y = self.model.sample_labelled(n, **options)
        return x / self.top, y


def fitted(kind, examples, whole=0, **options):
    """A model of a kind, fitted to (x, y); to whole numbers up to `whole`, if that is given."""
    x, y = examples
    model = kind(x.shape[1], int(y.max()) + 1, **options)
    model.fit(np.rint(x * whole) if whole else x, y, run=Run(quiet=True))
    return Whole(model, whole) if whole else model


def sets(name):
    """Inputs in rows and classes, of the training and the test part: float64."""
    return [(part[0].reshape(len(part[0]), -1).astype(float), part[1]) for part in data.load(name)]


# ---- scikit-learn -----------------------------------------------------------------------------------------------


def gaps(names):
    """The largest gap to scikit-learn's of each classifier, over the training and test parts of these sets.

    Of log-densities with class and of discriminant functions, in parts of the largest; and of probabilities. From its
    version 1.9 on; before, its quadratic discriminants divided by n - 1.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis as Linear
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis as Quadratic
    from sklearn.naive_bayes import CategoricalNB, GaussianNB

    found = {"naive Bayes": 0.0, "linear": 0.0, "quadratic": 0.0, "Fisher": 0.0}
    for name in names:
        (x, y), (new, _) = sets(name)
        both, s = np.concatenate([x, new]), SHRINKAGE if name == "digits" else 0.0
        pairs = [("naive Bayes", fitted(NaiveBayes, (x, y)), GaussianNB().fit(x, y), both),
                 ("linear", fitted(LinearDiscriminantAnalysis, (x, y), shrinkage=s),
                  Linear(solver="eigen", shrinkage=s or None).fit(x, y), both),
                 ("quadratic", fitted(QuadraticDiscriminantAnalysis, (x, y), shrinkage=s),
                  Quadratic(solver="eigen", shrinkage=s or None).fit(x, y), both)]  # fmt: skip
        if name == "digits":
            shades, both_shades = np.rint(16 * x).astype(int), np.rint(16 * both).astype(int)
            theirs = CategoricalNB(min_categories=17).fit(shades, y)
            pairs.append(("naive Bayes", fitted(NaiveBayes, (shades, y), levels=17), theirs, both_shades))
        for kind, ours, theirs, points in pairs:
            found[kind] = max(found[kind], gap(ours, theirs, points))
        found["Fisher"] = max(found["Fisher"], projection_gap(Linear(), x, y, both))
    return found


def gap(ours, theirs, x):
    """The largest gap of the probabilities, or of log p(x, k) but for what no class enters, in parts of its largest."""
    joint = ours.forward(tg.tensor(x.astype(float))).numpy()
    other = theirs.predict_joint_log_proba(x) if hasattr(theirs, "predict_joint_log_proba") else decision(theirs, x)
    joint, other = (a - a.mean(1, keepdims=True) for a in (joint, other))
    return float(max(np.abs(joint - other).max() / np.abs(other).max(),
                     np.abs(ours.predict_proba(x) - theirs.predict_proba(x)).max()))  # fmt: skip


def decision(theirs, x):
    """scikit-learn's decision function, a column a class."""
    return theirs.decision_function(x)


def projection_gap(theirs, x, y, points):
    """The gap of the projections, whose signs are free, in parts of the largest entry; of the columns that vary.

    (Under shrinkage, scikit-learn makes the scatter between the classes rounder too, which Fisher has no reason to.)
    """
    vary = np.ptp(x, 0) > 0
    z = fitted(LinearDiscriminantAnalysis, (x[:, vary], y)).transform(points[:, vary])
    other = theirs.fit(x[:, vary], y).transform(points[:, vary])
    sign = np.sign((z * other).sum(0))
    return float(np.abs(z * sign - other).max() / np.abs(other).max())


# ---- pictures ---------------------------------------------------------------------------------------------------


KINDS = {"naive Bayes": NaiveBayes, "linear": LinearDiscriminantAnalysis, "quadratic": QuadraticDiscriminantAnalysis}


def panels(rows, columns, width=3.9, height=3.6):
    """A figure of so many panels, and these."""
    made = plot.figure(width * columns, height * rows)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False)


def decided(axes, model, x, y, fine):
    """The examples, where the model decides for which class (colour) and how surely, and its densities (lines)."""
    low, high = x.min(0) - 0.15 * np.ptp(x, 0), x.max(0) + 0.15 * np.ptp(x, 0)
    ticks = [np.linspace(a, b, fine) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*ticks), -1).reshape(-1, 2)
    p = model.predict_proba(points)
    tints = np.array([[0.12, 0.47, 0.71], [1.0, 0.5, 0.05], [0.17, 0.63, 0.17]])[: p.shape[1]]
    image = np.clip(1 - 0.45 * (1 - p @ tints), 0, 1)  # where classes are equally likely, colours mix
    axes.imshow(image.reshape(fine, fine, 3), origin="lower", extent=(low[0], high[0], low[1], high[1]), aspect="auto")
    winners = p.argmax(1).reshape(fine, fine)
    for k in range(p.shape[1]):
        axes.contour(*ticks, winners == k, levels=[0.5], colors="black", linewidths=1.2)
        log_p = (model.predict_log_proba(points)[:, k] + model.score_samples(points)).reshape(fine, fine)
        axes.contour(*ticks, log_p, levels=log_p.max() - np.array([4.5, 2.0, 0.5]), colors=f"C{k}", linewidths=0.7,
                     linestyles="solid")  # fmt: skip
        axes.plot(*x[y == k].T, ".", color=f"C{k}", markersize=4, markeredgecolor="white", markeredgewidth=0.3)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def regions(fine):
    """The regions of all three on the sepals and on the petals of irises."""
    (x, y), _ = sets("iris")
    made, axes = panels(2, 3)
    for row, columns, part in zip(axes, (slice(0, 2), slice(2, 4)), ("sepal", "petal"), strict=True):
        for place, (name, kind) in zip(row, KINDS.items(), strict=True):
            model = fitted(kind, (x[:, columns], y))
            decided(place, model, x[:, columns], y, fine)
            place.set(title=f"{name}: {model.score(x[:, columns], y):.1%} right", xlabel=f"{part} length (cm)",
                      ylabel=f"{part} width (cm)")  # fmt: skip
    made.suptitle("Irises: where each decides for which species, and the densities that decide")
    return made


def clouds(name, n=200):
    """Clouds whose covariances are diagonal, the same, or anything."""
    rng = tg.random.Generator(3)
    z, y = rng.normal((3 * n, 2), dtype="float64"), np.arange(3 * n) % 3
    means = np.array([[0.0, 0], [3.5, 0.5], [0.5, 3.5]])
    shapes = {
        "independent features": [np.diag([1.0, 0.3]), np.diag([0.3, 1.2]), np.diag([1.4, 0.6])],
        "one tilted shape": [np.array([[1.0, 0], [-0.9, 0.45]])] * 3,
        "shapes of their own": [np.array([[1.6, 0], [1.3, 0.3]]), np.array([[0.4, 0], [-1.1, 0.6]]), 0.45 * np.eye(2)],
    }[name]
    return means[y] + np.einsum("nij,nj->ni", np.array(shapes)[y], z), y


def assumptions(fine):
    """Each on clouds that were made to please one of them."""
    made, axes = panels(3, 3, 3.7, 3.3)
    for row, name in zip(axes, ("independent features", "one tilted shape", "shapes of their own"), strict=True):
        x, y = clouds(name)
        for place, (kind_name, kind) in zip(row, KINDS.items(), strict=True):
            model = fitted(kind, (x, y))
            decided(place, model, x, y, fine)
            nats = model.score_samples(x).mean()
            place.set_title(f"{kind_name}: {model.score(x, y):.1%}, {nats:.2f} nats", fontsize=10)
            place.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    made.suptitle("Share of right answers, and log-likelihood an example")
    return made


def principal(x, new):
    """The first two principal components of new points."""
    middle = x.mean(0)
    return (new - middle) @ np.linalg.svd(x - middle, full_matrices=False)[2][:2].T


def projections(model, test):
    """Wines and digits: principal components, and Fisher's projection."""
    made, axes = panels(2, 2, 5.2, 4.4)
    (x, y), (new, labels) = sets("wine")
    wines = fitted(LinearDiscriminantAnalysis, (x, y))
    (digits, _), _ = sets("digits")
    for row, points, marks, other, ours in (
        (axes[0], new, labels, principal(x, new), wines.transform(new)),
        (axes[1], test[0], test[1], principal(digits, test[0]), model.transform(test[0], 2)),
    ):
        for place, z, name in zip(row, (other, ours), ("principal components", "Fisher's projection"), strict=True):
            for k in np.unique(marks):
                place.plot(*z[marks == k].T, ".", color=f"C{k}", markersize=5, alpha=0.7)
                box = dict(boxstyle="round,pad=0.12", fc="white", alpha=0.7, ec=f"C{k}")
                place.annotate(str(k), np.median(z[marks == k], 0), fontsize=13, fontweight="bold", ha="center",
                               va="center", bbox=box)  # fmt: skip
            place.set(xticks=[], yticks=[])
            place.set_title(f"{len(points)} new {'wines' if points is new else 'digits'}: {name}", fontsize=11)
    return made


def drawn(models, columns=10):
    """What each model has learnt: digits drawn from the law of each class."""
    rows, names = [], []
    for name, model in models.items():
        for seed in range(2):
            x, _ = model.sample_labelled(columns, classes=np.arange(10), rng=tg.random.Generator(seed))
            rows.append(x)
            names.append(name.replace(", ", ",\n") if seed == 0 else "")
    return plot.image_grid(np.concatenate(rows).reshape(-1, 8, 8), columns, enlarge=4, row_names=names,
                           column_names=[str(k) for k in range(10)], title="New digits, by class")  # fmt: skip


if __name__ == "__main__":
    from common import command

    command(main)

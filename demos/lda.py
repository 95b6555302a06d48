"""Latent Dirichlet allocation finds the topics that documents were mixed from: bars, strokes of digits, words.

It draws the model as a graph, with what alpha means; the topics of the bars test coming into focus; the bound, which
never falls, with one start and with two; documents taken apart; how many topics there should be; topics of handwritten
digits, read as documents whose words are pixels; and of the descriptions of scikit-learn's data sets.
"""

import re

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import LatentDirichletAllocation
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C9",),
    model="latent.topics:LatentDirichletAllocation",
    claims={
        "planted topics found, of 10 bars, within 0.1 in total variation": {
            "published": None, "bar": ">= 10", "budget_min": 1},
        "held-out perplexity / scikit-learn's, the larger of two corpora": {
            "published": None, "bar": "<= 1.02", "budget_min": 3},
        "smallest rise of the bound in an iteration, relative": {"published": None, "bar": ">= -1e-9", "budget_min": 1},
    },
)  # fmt: skip
COMMON = set(
    """the and for with that this from are was were which have has been not can its than into also each other
one two all any may more most these such only but their they used use using following see will our out over per when
where between both http https www html org data dataset set doi www pages vol""".split()
)


def main(*, documents=1000, words=100, alpha=0.1, starts=5, steps=100, device="cpu", seed=0, quick=False,
         out="runs_out/lda", resume=None):  # fmt: skip
    """Find planted topics, and those of digits and of words.

    documents: drawn from ten bars; words: in each; alpha: of their proportions; starts: tried, the best goes on;
    steps: iterations at most; quick: a third of the documents, and fewer comparisons
    """
    run = open_run(locals())
    truth, rng = planted(bars(), alpha), tg.random.Generator(seed, device=device)
    x, test = (truth.sample(documents // (3 if quick else 1), words, rng=draws) for draws in
               tg.random.Generator(seed).spawn(2))  # fmt: skip
    with blas_threads(1):
        model = LatentDirichletAllocation(25, 10, alpha=alpha, eta=0.1, n_init=starts, tol=1e-3, rng=rng)
        model.fit(x, steps=steps, run=run)
        apart, _ = matched(truth.topics, model.topics)
        scores = {"furthest": apart.max(), "found": int((apart < 0.1).sum()), "train": model.perplexity(x),
                  "test": model.perplexity(test), "truth": truth.perplexity(test),
                  "rise": smallest_rise(20)}  # fmt: skip
        print("{found} of 10 topics found, the furthest {furthest:.3f} away; perplexity {train:.3f}, of new documents "
              "{test:.3f} (truth: {truth:.3f}); smallest rise of the bound {rise:.1e}".format(**scores))  # fmt: skip
        pictures(run, truth, model, x, test, seed, quick)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, truth, model, x, test, seed, quick):
    """All of them."""
    run.save_figure("model.png", graph(seed))
    run.save_figure("bars.png", focus(truth, x, model, seed))
    run.save_figure("bound.png", climbs(x, test, truth, read_metrics(run.folder / "metrics.csv"), quick, seed))
    run.save_figure("documents.png", taken_apart(truth, model, test, seed))
    run.save_figure("digits.png", strokes(400 if quick else 1400, seed))
    run.save_figure("words.png", described(seed, 3 if quick else 10))


def reproduce(run, claims):
    """The claims of the CARD."""
    values = {}
    with blas_threads(1):
        for claim in claims:
            if "planted" in claim:
                truth = planted(bars(), 0.1)
                x = truth.sample(1000, 100, rng=tg.random.Generator(0))
                model = LatentDirichletAllocation(25, 10, alpha=0.1, eta=0.1, n_init=5, rng=tg.random.Generator(0))
                apart, _ = matched(truth.topics, model.fit(x, run=Run(quiet=True)).topics)
                values[claim] = int((apart < 0.1).sum())
            else:
                values[claim] = beside_scikit_learn() if "scikit-learn" in claim else smallest_rise(300)
    return values


def tiny(rng):
    """A very small model and documents for it."""
    model_rng, draws = rng.spawn(2)
    return LatentDirichletAllocation(6, 2, tol=0, rng=model_rng), draws.integers(0, 4, (20, 6))


# ---- documents --------------------------------------------------------------------------------------------------


def bars(side=5):
    """Topics that are the rows and the columns of a square: (2 side, side * side) (Griffiths and Steyvers 2004)."""
    rows = np.kron(np.eye(side), np.ones(side)) / side
    return np.concatenate([rows, rows.reshape(side, side, side).swapaxes(1, 2).reshape(side, -1)])


def planted(topics, alpha):
    """The model with these topics."""
    model = LatentDirichletAllocation(topics.shape[1], len(topics), alpha=alpha, eta=0)
    model.start_at(topics)
    return model


def dictionary(n_words, n_topics, seed=0):
    """Topics over words whose frequencies fall as in a language (Zipf): (K, V)."""
    draw = np.random.default_rng(seed)
    frequencies = 1 / np.arange(3, n_words + 3)
    return draw.dirichlet(60 * frequencies / frequencies.sum(), n_topics) * (1 - 1e-3) + 1e-3 / n_words


def descriptions():
    """Paragraphs of scikit-learn's descriptions of data sets: counts (n, V), the words, and whose each one is."""
    from importlib.resources import files

    texts, owners = [], []
    for file in sorted(files("sklearn.datasets.descr").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".rst"):
            for paragraph in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")):
                found = [w for w in re.findall(r"[a-z]{3,}", paragraph.lower()) if w not in COMMON]
                if len(found) >= 8:
                    texts.append(found)
                    owners.append(file.name[:-4].replace("_", " "))
    names, counts = np.unique(np.concatenate(texts), return_counts=True)
    names = names[counts >= 4]
    number = {name: k for k, name in enumerate(names)}
    x = np.array([np.bincount([number[w] for w in text if w in number], minlength=len(names)) for text in texts])
    return x, names, np.array(owners)


# ---- what is claimed --------------------------------------------------------------------------------------------


def matched(true, found):
    """Total variation between planted topics and those found, paired as well as can be: (K,), and the pairing."""
    from scipy.optimize import linear_sum_assignment

    apart = np.abs(true[:, None] - found).sum(2) / 2
    rows, columns = linear_sum_assignment(apart)
    return apart[rows, columns], columns


def beside_scikit_learn():
    """Perplexity of new documents over that by scikit-learn's topics, both judged by `perplexity`; the larger of two.

    The corpora: 1,000 documents of bars, and 2,000 of 1,000 words in 20 topics. With the same priors both learn
    from one start on the words. On the bars ours goes on from the best of five, and of three of scikit-learn's the best
    on the new documents counts. It learns by its batch method, with as many iterations as it needs to settle.
    """
    from sklearn.decomposition import LatentDirichletAllocation as Theirs

    ratios = []
    for topics, n, alpha in ((bars(), 1000, 0.1), (dictionary(1000, 20), 2000, 0.1)):
        truth, (K, V) = planted(topics, alpha), topics.shape
        x, test = (truth.sample(n, 100, rng=draws) for draws in tg.random.Generator(1).spawn(2))
        ours = LatentDirichletAllocation(V, K, alpha=alpha, eta=0.1, n_init=1 if V > 100 else 5,
                                         rng=tg.random.Generator(0))  # fmt: skip
        ours.fit(x, run=Run(quiet=True))
        best = np.inf
        for seed in range(1 if V > 100 else 3):
            theirs = Theirs(K, doc_topic_prior=alpha, topic_word_prior=0.1, max_iter=40, random_state=seed).fit(x)
            judge = LatentDirichletAllocation(V, K, alpha=alpha, eta=0.1)
            judge.start_at(theirs.components_)
            best = min(best, judge.perplexity(test))
        ratios.append(ours.perplexity(test) / best)
    return max(ratios)


def smallest_rise(problems, iterations=15):
    """The smallest rise of the bound, in parts of it, over random corpora, priors and both kinds of topics."""
    least, draw = np.inf, np.random.default_rng(0)
    for k in range(problems):
        K, V, n = (int(draw.integers(*limits)) for limits in ((1, 6), (2, 30), (5, 40)))
        x = draw.multinomial(draw.integers(1, 60), draw.dirichlet(np.full(V, 0.5)), n)
        model = LatentDirichletAllocation(V, K, alpha=float(draw.uniform(0.05, 2)), eta=(0, 0.1)[k % 2], tol=0,
                                          learn_alpha=k % 4 > 1, rng=tg.random.Generator(k))  # fmt: skip
        corpus = model.checked(x)
        model.begin(corpus)
        climb = np.ravel([[float(v) for v in model.update(corpus).values()] for _ in range(iterations)])
        least = min(least, float(np.min(np.diff(climb) / np.abs(climb[1:]))))
    return least


# ---- pictures ---------------------------------------------------------------------------------------------------


def images(axes, tables, titles=(), **options):
    """Square pictures (n, pixels), one on each of the axes, white where there is nothing."""
    for place, table in zip(axes, tables, strict=False):
        side = round(len(table) ** 0.5)
        place.imshow(table.reshape(side, side), cmap="Greys", vmin=0, **options)
    for place, title in zip(axes, titles, strict=False):
        place.set_title(title, fontsize=9)
    for place in axes:
        place.set(xticks=[], yticks=[])


def graph(seed):
    """The model and the family of q as graphs with plates, and proportions drawn with three values of alpha."""
    made = plot.figure(13, 3)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(1.35, 1))
    model, family = left.subplots(1, 2, width_ratios=(5, 3))
    nodes = {"\\alpha": (0, 1, 0), "\\theta": (1.1, 1, 1), "z": (2.2, 1, 1), "w": (3.3, 1, 2), "\\beta": (4.6, 1, 1),
             "\\eta": (5.6, 1, 0)}  # fmt: skip
    arrows = [("\\alpha", "\\theta"), ("\\theta", "z"), ("z", "w"), ("\\beta", "w"), ("\\eta", "\\beta")]
    plates = [
        (1.7, 0.45, 2.15, 1.1, "$N_d$ words"),
        (0.6, 0.1, 3.35, 1.8, "$D$ documents"),
        (4.15, 0.45, 0.9, 1.1, "$K$"),
    ]
    drawn_graph(model, nodes, arrows, plates, "(1), how documents are made (grey: seen)")
    nodes = {"\\gamma": (0, 1.5, 0), "\\theta": (1.1, 1.5, 1), "\\phi": (0, 0.6, 0), "z": (1.1, 0.6, 1)}
    plates = [(-0.4, 0.2, 1.95, 0.8, ""), (-0.6, 0.05, 2.35, 1.9, "$D$")]
    drawn_graph(family, nodes, [("\\gamma", "\\theta"), ("\\phi", "z")], plates, "(2), the family of q")
    draws = tg.random.Generator(seed)
    for axes, alpha in zip(right.subplots(1, 3), (0.1, 1.0, 10.0), strict=True):
        theta = tg.probability.Dirichlet(tg.tensor([alpha] * 3)).sample(400, rng=draws).numpy()
        corners = np.array([[0, 0], [1, 0], [0.5, 0.866]])
        axes.plot(*corners[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
        axes.scatter(*(theta @ corners).T, s=5, color=theta, alpha=0.7, linewidth=0)
        axes.set(aspect="equal", title=f"$\\alpha = {alpha:g}$")
        axes.set_axis_off()
    right.suptitle("Proportions $\\theta$ of three topics, 400 documents")
    return made


def drawn_graph(axes, nodes, arrows, plates, title):
    """Circles for random variables, dots for numbers, rectangles for what is repeated."""
    from matplotlib.patches import Circle, Rectangle

    for x, y, width, height, name in plates:
        axes.add_patch(Rectangle((x, y), width, height, fill=False, linewidth=0.8))
        axes.text(x + width - 0.06, y + 0.05, name, ha="right", va="bottom", fontsize=8)
    for name, (x, y, kind) in nodes.items():
        axes.add_patch(Circle((x, y), 0.25 if kind else 0.06, facecolor=("black", "white", "lightgrey")[kind],
                              edgecolor="black"))  # fmt: skip
        axes.text(x, y if kind else y + 0.22, f"${name}$", ha="center", va="center", fontsize=12)
    for a, b in arrows:
        (xa, ya, ka), (xb, yb, _) = nodes[a], nodes[b]
        way = np.sign(xb - xa)
        axes.annotate("", (xb - way * 0.27, yb), (xa + way * (0.27 if ka else 0.07), ya),
                      arrowprops=dict(arrowstyle="-|>", color="black", shrinkA=0, shrinkB=0))  # fmt: skip
    xs = [x for x, _, _ in nodes.values()]
    axes.set(xlim=(min(xs) - 0.7, max(xs) + 0.8), ylim=(0, 2), aspect="equal", title=title)
    axes.set_axis_off()


def focus(truth, x, model, seed):
    """Planted topics, documents, and the topics of a fit from its start to its end."""
    fit = LatentDirichletAllocation(25, 10, alpha=float(model.alpha), eta=0.1, rng=tg.random.Generator(seed))
    corpus, frames, steps = fit.checked(x), {}, (0, 1, 3, 6, 12, 25)
    fit.begin(corpus)
    for t in range(steps[-1] + 1):
        if t in steps:
            frames[t] = fit.topics
        fit.update(corpus)
    order = matched(truth.topics, model.topics)[1]
    rows = [("planted topics", truth.topics), ("ten documents", x[:10])]
    of_fit = matched(truth.topics, fit.topics)[1]
    rows += [(f"iteration {t}", table[of_fit]) for t, table in frames.items()]
    rows.append(("best of the starts", model.topics[order]))
    made = plot.figure(9.5, 9)
    made.set_layout_engine("constrained")
    for line, (name, tables) in zip(made.subplots(len(rows), 10), rows, strict=True):
        images(line, tables, vmax=None if name == "ten documents" else 0.22)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    made.suptitle("The bars test: each document mixes a few rows and columns; which ones is never told")
    return made


def climbs(x, test, truth, metrics, quick, seed):
    """The bound by how an E step starts, and the perplexity of new documents by number of topics."""
    made = plot.figure(11, 4.2)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    names = {"both starts, the higher is kept": "C0", "anew each time": "C1", "where the last one stopped": "C3"}
    for name, colour in names.items():
        for k in range(1 if quick else 4):
            reached = bounds(x, name, truth, seed + k, 30 if quick else 60)
            left.plot(reached, color=colour, linewidth=1, label=name if k == 0 else None)
    top = max(line.get_ydata()[-1] for line in left.lines)
    left.set(xlabel="iteration", ylabel="bound, nats a document", ylim=(top - 40, top + 2),
             title="Where an E step begins decides what is found")  # fmt: skip
    left.legend(loc="lower right", fontsize=9)
    counts = (5, 10, 15) if quick else (2, 4, 6, 8, 9, 10, 11, 12, 15, 20)
    for learns, colour in ((False, "C0"), (True, "C2")):
        found = []
        for K in counts:
            model = LatentDirichletAllocation(25, K, alpha=0.1, eta=0.1, learn_alpha=learns, n_init=1 if quick else 3,
                                              rng=tg.random.Generator(seed))  # fmt: skip
            found.append(model.fit(x, steps=60, run=Run(quiet=True)).perplexity(test))
        right.plot(counts, found, ".-", color=colour, label="$\\alpha$ is learnt" if learns else "$\\alpha = 0.1$")
    right.axhline(truth.perplexity(test), color="black", linestyle=":", label="the truth, 10 topics")
    right.set(xlabel="topics", ylabel="perplexity", title="Of new documents, per word of 25")
    right.legend()
    return made


def bounds(x, name, truth, seed, iterations):
    """The bound after each E step, which begins as `name` says."""
    model = LatentDirichletAllocation(25, 10, alpha=float(truth.alpha), eta=0.1, tol=0, rng=tg.random.Generator(seed),
                                      restart=not name.startswith("where"))  # fmt: skip
    corpus, found = model.checked(x), []
    model.begin(corpus)
    for _ in range(iterations):
        if name.startswith("anew"):
            model.documents.gamma = np.zeros((0, 0))
        found.append(float(model.update(corpus)["bound"]))
    return found


def taken_apart(truth, model, test, seed, shown=7):
    """New documents: their words, true and inferred proportions, and what these proportions make one expect."""
    order = matched(truth.topics, model.topics)[1]
    chosen = np.argsort(-np.abs(truth.transform(test)).max(1))[:: max(1, len(test) // shown)][:shown]
    x = test[chosen]
    proportions, expected = model.transform(x)[:, order], model.reconstruct(x)
    made = plot.figure(12, 5.4)
    made.set_layout_engine("constrained")
    rows = made.subplots(3, shown, height_ratios=(2, 2, 1.3))
    images(rows[0], x)
    images(rows[1], expected)
    by_truth = truth.transform(x)
    for k, axes in enumerate(rows[2]):
        axes.bar(np.arange(10) - 0.2, by_truth[k], 0.4, color="grey", label="with the planted topics")
        axes.bar(np.arange(10) + 0.2, proportions[k], 0.4, color="C0", label="with those learnt")
        axes.set(ylim=(0, 1), xticks=[2, 7], xticklabels=["rows", "columns"])
        if k:
            axes.set_yticks([])
    for axes, name in zip(rows[:, 0], ("document", "expected", "$\\theta$"), strict=True):
        axes.set_ylabel(name)
    made.legend(*rows[2, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    made.suptitle("New documents taken apart: from the most of one topic to the most mixed")
    return made


def strokes(n, seed, K=24):
    """Digits of 8 x 8 pixels as documents, whose words are pixels: topics, and digits put together from them."""
    digits = data.load("digits")
    x = np.rint(16 * digits.train.images[:n].reshape(n if n < len(digits.train.images) else -1, 64))
    test = np.rint(16 * digits.test.images[:10].reshape(-1, 64))
    model = LatentDirichletAllocation(64, K, alpha=0.1, eta=0.05, rng=tg.random.Generator(seed))
    model.fit(x, steps=30, run=Run(quiet=True))
    heavy = np.argsort(-model.transform(x).mean(0))
    made = plot.figure(11, 5.4)
    made.set_layout_engine("constrained")
    above, below = made.subfigures(2, 1, height_ratios=(1, 1))
    images(above.subplots(2, K // 2).ravel(), model.topics[heavy])
    above.suptitle(f"{K} topics of {len(x)} digits (words are pixels), the commonest first")
    rows = below.subplots(2, 10)
    images(rows[0], test)
    images(rows[1], model.reconstruct(test), [f"{(p > 0.05).sum()} topics" for p in model.transform(test)])
    below.suptitle("New digits, and what their proportions of topics make one expect")
    return made


def described(seed, starts, K=6, top=9):
    """Topics of scikit-learn's descriptions: their words, and which data set speaks of what."""
    x, names, owners = descriptions()
    model = LatentDirichletAllocation(len(names), K, alpha=0.1, eta=0.05, n_init=starts, rng=tg.random.Generator(seed))
    model.fit(x, steps=100, run=Run(quiet=True))
    shares = {owner: (model.transform(x)[owners == owner] * x[owners == owner].sum(1)[:, None]).sum(0)
              for owner in np.unique(owners)}  # fmt: skip
    table = np.array([share / share.sum() for share in shares.values()])
    order = np.argsort(table.argmax(1), kind="stable")
    made = plot.figure(13, 5)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(2, 1.1))
    for k, axes in enumerate(left.subplots(1, K)):
        best = np.argsort(-model.topics[k])[:top][::-1]
        axes.barh(range(top), model.topics[k, best], color=f"C{k}", alpha=0.6)
        for y, word in enumerate(best):
            axes.text(0, y, f" {names[word]}", va="center", fontsize=9)
        axes.set(xticks=[], yticks=[], title=f"topic {k + 1}")
        axes.spines[:].set_visible(False)
    left.suptitle(f"Words of {len(x)} paragraphs about data sets ({len(names)} different, {int(x.sum())} in all)")
    axes = right.subplots()
    picture = axes.imshow(table[order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=range(K), xticklabels=range(1, K + 1), yticks=range(len(order)),
             yticklabels=np.array(list(shares))[order], xlabel="topic",
             title="What each description speaks of")  # fmt: skip
    right.colorbar(picture, shrink=0.8, label="share of its words")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

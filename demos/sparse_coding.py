"""Sparse coding learns the strokes that photographs are made of.

It draws a dictionary of small patches of faces beside their principal components, how few atoms make a patch, the
descent and what codes and atoms contribute to it, ISTA against FISTA, what alpha decides, and the soft threshold.
"""

import warnings

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import PCA, SparseCoding
from tinygen.models.latent import sparse_coding as chapter
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C5",),
    model="latent.sparse_coding:SparseCoding",
    claims={
        "sparse-coding objective / scikit-learn's, after as many steps from the same start": {
            "published": None, "bar": "<= 1", "budget_min": 2},
        "largest excess of a code's objective over scikit-learn's exact one, relative": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
    },
)  # fmt: skip
SIDE = 8


def main(*, patches=4000, atoms=100, alpha=0.6, steps=40, device="cpu", seed=0, quick=False,
         out="runs_out/sparse_coding", resume=None):  # fmt: skip
    """Learn a dictionary of patches of faces, and draw it.

    patches: how many to learn from; atoms: in the dictionary; alpha: what a code of 1 costs; steps: of learning; quick:
    a quarter of the patches and half of the steps
    """
    run = open_run(locals())
    patches, steps = (patches // 4, steps // 2) if quick else (patches, steps)
    x, raw = cut(patches)
    with blas_threads(1):
        model = SparseCoding(SIDE**2, atoms, alpha=alpha, tol=1e-4, rng=tg.random.Generator(seed, device=device))
        model.fit(x, steps=steps, run=run)
        h = model.transform(x)
        scores = {"objective": float(model.objective(x).mean()), "used": float((h != 0).sum(1).mean()),
                  "missed": float(((x - model.reconstruct(x)) ** 2).sum() / (x**2).sum()),
                  "ratio": float(np.median(ratios(1 if quick else 3, 200 if quick else 600))),
                  "excess": excess()}  # fmt: skip
        print("objective {objective:.3f} a patch; {used:.1f} atoms in a code, which miss {missed:.1%} of the squares; "
              "objective / scikit-learn's {ratio:.5f}; largest excess of a code {excess:.1e}"
              .format(**scores))  # fmt: skip
        pictures(run, model, x, h, raw)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, model, x, h, raw):
    """All of them."""
    run.save_figure("atoms.png", dictionaries(model, x, h))
    run.save_figure("patches.png", taken_apart(model, x, h))
    run.save_figure("learning.png", learning(read_metrics(run.folder / "metrics.csv"), model, x))
    run.save_figure("few.png", few(model, x, raw))


def reproduce(run, claims):
    """The claims of the CARD; of the first, a value for each of five starts."""
    first, second = CARD["claims"]
    with blas_threads(1):
        return {claim: {first: lambda: ratios(5, 1500), second: excess}[claim]() for claim in claims}


def tiny(rng):
    """A very small dictionary and something to fit it to."""
    model_rng, draws = rng.spawn(2)
    return SparseCoding(5, 7, alpha=0.2, rng=model_rng), draws.normal((30, 5), dtype="float64")


# ---- what is claimed --------------------------------------------------------------------------------------------


def cut(n, seed=0):
    """Patches of faces that are not flat, without mean, in units of their standard deviation; and as they were."""
    images = data.load("olivetti").train.images[:, 0].astype(float)
    draw = np.random.default_rng(seed)
    which, top, left = (
        draw.integers(0, high, 4 * n) for high in (len(images), *(s - SIDE + 1 for s in images.shape[1:]))
    )
    raw = np.array([images[k, a : a + SIDE, b : b + SIDE].ravel() for k, a, b in zip(which, top, left, strict=True)])
    raw = raw[np.resize(np.flatnonzero(raw.std(1) > 0.005), n)]
    x = raw - raw.mean(1, keepdims=True)
    return x / x.std(), raw


def ratios(starts, n):
    """Our objective over scikit-learn's after 15 steps each, from each of some starts."""
    from sklearn.decomposition import dict_learning

    found, (x, _) = [], cut(n, seed=1)
    for seed in range(starts):
        start = x[np.random.default_rng(seed).permutation(n)[:80]]
        start = start / np.linalg.norm(start, axis=1, keepdims=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that some of their codes have not converged
            _, _, errors = dict_learning(x, 80, alpha=1.0, max_iter=15, tol=1e-14, method="cd", dict_init=start.copy(),
                                         code_init=np.zeros((n, 80)))  # fmt: skip
        model = SparseCoding(SIDE**2, 80, alpha=1.0)
        model.start_at(start)
        for _ in errors:
            reached = model.update(model.checked(x))
        found.append(n * float(reached["objective"]) / errors[-1])
    return found


def excess(n=300):
    """The largest J of our codes over that of scikit-learn's exact ones, less 1, for a dictionary of raw patches."""
    from sklearn.decomposition import sparse_encode

    x, _ = cut(n + 100, seed=2)
    W = x[n:] / np.linalg.norm(x[n:], axis=1, keepdims=True)
    ours, theirs = chapter.encode(x[:n], W, 1.0), sparse_encode(x[:n], W, algorithm="lasso_lars", alpha=1.0)
    J, J_theirs = (chapter.objective(x[:n], h, W, 1.0) for h in (ours, theirs))
    return float((J / J_theirs - 1).max())


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.5, height=3.9):
    """A figure with so many axes in a row."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns)


def sheet(rows, columns):
    """Patches (n, 64), each on a scale of its own with grey for 0, as one picture."""
    scaled = 0.5 + 0.5 * rows / np.maximum(abs(rows).max(1, keepdims=True), 1e-12)
    lines = -(-len(rows) // columns)
    whole = np.ones((lines * (SIDE + 1) + 1, columns * (SIDE + 1) + 1))
    for k, patch in enumerate(scaled.reshape(-1, SIDE, SIDE)):
        top, left = (k // columns) * (SIDE + 1) + 1, (k % columns) * (SIDE + 1) + 1
        whole[top : top + SIDE, left : left + SIDE] = patch
    return whole


def show(axes, picture, title):
    """A picture without ticks."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)


def dictionaries(model, x, h):
    """Principal components, and atoms in the order of how much they are used."""
    made, (left, right) = panels(2, 5.2, 5.6)
    show(
        left,
        sheet(PCA(SIDE**2, SIDE**2 - 1).fit(x).components.numpy(), 8),
        "All principal components of patches: waves",
    )
    order = np.argsort(-abs(h).sum(0))
    columns = int(np.ceil(len(order) ** 0.5))
    show(
        right, sheet(model.atoms.numpy()[order], columns), f"A dictionary of {len(order)} atoms: strokes, in one place"
    )
    return made


def taken_apart(model, x, h):
    """Patches, what their codes rebuild, and the atoms that these use (or their negatives), the largest part first."""
    used = (h != 0).sum(1)
    chosen = np.flatnonzero((used >= 4) & ((x**2).sum(1) > 60))[:7]
    made = plot.figure(11, 7.5)
    made.set_layout_engine("constrained")
    grid = made.subplots(len(chosen), 8, squeeze=False)
    for row, i in zip(grid, chosen, strict=True):
        limit = abs(x[i]).max()
        parts = np.argsort(-abs(h[i]))[:6]
        W = model.atoms.numpy()[parts]
        signed = np.sign(h[i, parts])[:, None] * W * limit / abs(W).max(1, keepdims=True)
        pictures = [x[i], h[i] @ model.atoms.numpy(), *signed]
        names = ["a patch", f"its {used[i]} atoms", *(f"{abs(h[i, j]):.1f} times" if h[i, j] else "" for j in parts)]
        for axes, patch, name in zip(row, pictures, names, strict=True):
            show(axes, 0.5 + 0.5 * patch.reshape(SIDE, SIDE) / limit, name)
            axes.title.set_size(10)
    return made


def learning(metrics, model, x):
    """The descent by turns, and ISTA against FISTA for the codes of some patches."""
    made, (left, middle, right) = panels(3)
    steps = np.array(metrics["step"])
    left.plot(np.repeat(steps, 2), np.stack([metrics["coded"], metrics["objective"]], 1).ravel(), color="grey", lw=1)
    left.plot(steps, metrics["coded"], "o", markersize=4, label="after the codes")
    left.plot(steps, metrics["objective"], "o", markersize=4, label="after the atoms")
    left.set(xlabel="step", ylabel="objective of a patch", title="By turns")
    left.legend()
    W, some = model.atoms.numpy(), x[:200]
    best = chapter.objective(some, chapter.encode(some, W, model.alpha, tol=1e-12), W, model.alpha).sum()
    for name, path in descents(some, W, model.alpha, 150).items():
        middle.semilogy(np.maximum(path / best - 1, 1e-13), label=name)
    middle.set(xlabel="iteration", ylabel="objective above the best, relative", title="Codes of 200 patches")
    middle.legend()
    v = np.linspace(-3, 3, 301)
    right.plot(v, v, color="grey", linestyle=":", label="no cost")
    right.plot(v, v / 2, color="C1", label="a cost of $h^2/2$ (Gaussian factors)")
    right.plot(v, chapter.soft_threshold(v, 1.0), color="C0", linewidth=2.2, label="a cost of $|h|$ (Laplace factors)")
    right.set(xlabel="$v = w^\\top x$", ylabel="best code $h$", title="Why there are zeros")
    right.legend(fontsize=8)
    return made


def descents(x, W, alpha, iterations):
    """The objective of ISTA, and of FISTA without and with beginning anew, summed over the patches."""
    L, gram, x_atoms = chapter.curvature(W), W @ W.T, x @ W.T
    found = {}
    for name, ahead, anew in (("ISTA", False, False), ("FISTA", True, False), ("FISTA, begun anew", True, True)):
        h = y = np.zeros((len(x), len(W)))
        t, path = np.ones((len(x), 1)), []
        for _ in range(iterations):
            path.append(chapter.objective(x, h, W, alpha).sum())
            new = chapter.ista_step(y, x_atoms, gram, alpha, L)
            if anew:
                t = np.where(((y - new) * (new - h)).sum(1)[:, None] > 0, 1.0, t)
            later = chapter.momentum(t)
            h, y, t = new, new + (t - 1) / later * (new - h) if ahead else new, later
        found[name] = np.array(path)
    return found


def few(model, x, raw):
    """How many numbers a patch needs, by atoms and by components; what alpha decides; how codes are spread."""
    made, (left, middle, right) = panels(3)
    W, some = model.atoms.numpy(), x[:400]
    used, missed = [], []
    for alpha in np.geomspace(0.1, 8, 9):
        h = chapter.encode(some, W, alpha, tol=1e-4)
        fit = refitted(some, h, W)
        used.append((h != 0).sum(1).mean())
        missed.append(((some - fit) ** 2).sum() / (some**2).sum())
    pca, ks = PCA(SIDE**2, 40).fit(x), np.arange(1, 41)
    by_pca = [((some - pca.reconstruct(some, k=int(k))) ** 2).sum() / (some**2).sum() for k in ks]
    left.semilogy(used, missed, "o-", label="atoms, chosen for each patch")
    left.semilogy(ks, by_pca, label="the first components, the same for all")
    left.set(xlim=(0, 32), xlabel="numbers a patch (mean)", ylabel="share of the squares missed",
             title="Few, but not always the same")  # fmt: skip
    left.legend(fontsize=8)
    for alpha, colour in ((0.2, "C2"), (model.alpha, "C0"), (2.0, "C3")):
        counts = (chapter.encode(some, W, alpha, tol=1e-4) != 0).sum(1)
        middle.hist(counts, bins=np.arange(0, 45, 1.5), histtype="step", linewidth=2, color=colour,
                    label=rf"$\alpha$ = {alpha:g}: {counts.mean():.1f}")  # fmt: skip
    middle.set(xlabel="atoms in a code", ylabel="patches", title=r"What $\alpha$ decides")
    middle.legend()
    codes = {"atoms": chapter.encode(some, W, model.alpha, tol=1e-4), "components": pca.transform(some)[:, :20]}
    for name, h in codes.items():
        u = (h / np.maximum(h.std(0), 1e-9)).ravel()
        right.hist(u, bins=np.linspace(-6, 6, 61), density=True, histtype="step", linewidth=2, label=name)
    t = np.linspace(-6, 6, 200)
    right.plot(t, np.exp(-t * t / 2) / np.sqrt(2 * np.pi), "k:", label="normal")
    right.set(yscale="log", ylim=(1e-4, 20), xlabel="code / its standard deviation", ylabel="density",
              title="Codes are mostly 0 and sometimes large")  # fmt: skip
    right.legend(fontsize=8)
    return made


def refitted(x, h, W):
    """What the atoms that a code uses can do at best: least squares on each support."""
    found = np.zeros_like(x)
    for i, code in enumerate(h):
        S = np.flatnonzero(code)
        if len(S):
            found[i] = np.linalg.lstsq(W[S].T, x[i], rcond=None)[0] @ W[S]
    return found


if __name__ == "__main__":
    from common import command

    command(main)

"""Hidden Markov models unmask a dishonest casino: which die was thrown, when was it swapped, how are the dice loaded?

It draws the throws with the true die, the most probable path and the posterior band; the climb of the log-likelihood
from several starts; the tables learnt beside the true ones; new games that the model plays; the lattice of the
forward-backward recursion with its probabilities; and clouds in the plane that a mixture confuses and a chain does not.
"""

import itertools

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.models.latent import CategoricalHMM, GaussianHMM, GaussianMixture
from tinygen.models.latent import hidden_markov as chapter
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C3",),
    model="latent.hidden_markov:CategoricalHMM",
    claims={
        "largest deviation from hmmlearn after 20 iterations from one start": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "largest deviation from sums over all paths": {"published": None, "bar": "<= 1e-9", "budget_min": 1},
    },
)  # fmt: skip
DICE = ("fair", "loaded")
STATES = np.array([[31, 119, 180], [214, 39, 40], [44, 160, 44]]) / 255


def main(*, games=60, throws=300, starts=5, steps=200, device="cpu", seed=0, quick=False, out="runs_out/hmm",
         resume=None):  # fmt: skip
    """Learn two dice from what they show, and draw what can be known about the hidden one.

    games: sequences to learn from; throws: of the longest game, the others have half as many or more; starts: tried,
    the best goes on; steps: iterations at most; quick: a third of the games
    """
    run = open_run(locals())
    draws, generator = tg.random.Generator(seed), tg.random.Generator(seed, device=device)
    truth, count = casino(), games // 3 if quick else games
    train, test = played(truth, count, throws, draws)[1], played(truth, count, throws, draws)[1]
    with blas_threads(1):
        model = CategoricalHMM(6, 2, n_init=starts, tol=1e-3, rng=generator).fit(train, steps=steps, run=run)
        z, x = truth.play(1, throws, rng=draws)
        order = named(model)
        path, gamma = order[model.predict(x)], model.posterior(x)[0][:, np.argsort(order)]
        scores = {"train": per_throw(model, train), "test": per_throw(model, test), "truth": per_throw(truth, test),
                  "path": np.mean(path == z), "states": np.mean(gamma.argmax(1) == z[0]), "guess": np.mean(z == 0),
                  "deviation": from_all_paths(4)}  # fmt: skip
        print("nats a throw: {train:.4f}, in new games {test:.4f} (the truth: {truth:.4f}); the die is right in "
              "{path:.1%} of a game by the best path, in {states:.1%} state by state, in {guess:.1%} if always called "
              "fair; from sums over all paths at most {deviation:.1e} away".format(**scores))  # fmt: skip
        pictures(run, truth, model, train, (z[0], x[0], path[0], gamma), seed)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, truth, model, train, game, seed):
    """All of them."""
    run.save_figure("casino.png", game_picture(*game))
    run.save_figure("learning.png", learning(read_metrics(run.folder / "metrics.csv"), truth, train))
    run.save_figure("tables.png", tables(truth, model))
    run.save_figure("samples.png", samples(truth, model, seed))
    run.save_figure("lattice.png", lattice(truth, np.array([1, 3, 5, 5, 5, 0])))
    run.save_figure("clouds.png", clouds(seed))


def reproduce(run, claims):
    """The claims of the CARD; hmmlearn must be installed for the first."""
    with blas_threads(1):
        return {claim: from_hmmlearn() if "hmmlearn" in claim else from_all_paths(100) for claim in claims}


def tiny(rng):
    """A very small chain of Gaussians and sequences to fit it to."""
    model_rng, draws = rng.spawn(2)
    x = draws.normal((8, 10, 2), dtype="float64") * 0.5
    x[:, ::2] += 2
    return GaussianHMM(2, 2, tol=0, rng=model_rng), x


# ---- the casino -------------------------------------------------------------------------------------------------


def casino():
    """A fair die, and one that shows a six every other time; they are seldom swapped (Durbin and others 1998)."""
    model = CategoricalHMM(6, 2)
    model.start_at([0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]], [[1 / 6] * 6, [0.1] * 5 + [0.5]])
    return model


def played(model, count, longest, draws):
    """Paths and throws of so many games, of unequal length."""
    z, x = model.play(count, longest, rng=draws)
    lengths = np.linspace(longest, (longest + 1) // 2, count).astype(int)
    return tuple([row[:length] for row, length in zip(rows, lengths, strict=True)] for rows in (z, x))


def per_throw(model, x):
    """The log-likelihood, in nats a throw."""
    return float(model.score_samples(x).sum() / sum(map(len, x)))


def named(model):
    """For each state of the model, which die it is: the one that shows more sixes is the loaded one, 1."""
    sixes = model.emissions.numpy()[:, 5]
    return np.array([int(value == sixes.max()) for value in sixes])


# ---- what is claimed --------------------------------------------------------------------------------------------


def problem(draw, m, size, lengths, kind, zeros=False):
    """A started model and sequences: symbols, or vectors with a kind of covariance."""
    pi, A = draw.dirichlet(np.ones(m)), draw.dirichlet(np.ones(m), m)
    if zeros:
        A[np.arange(m), draw.permutation(m)] = 0
        A /= A.sum(1, keepdims=True)
    if kind == "categorical":
        model, x = CategoricalHMM(size, m, tol=0), [draw.integers(0, size, T) for T in lengths]
        model.start_at(pi, A, draw.dirichlet(np.ones(size), m))
    else:
        model = GaussianHMM(size, m, covariance=kind, reg_covar=0, tol=0)
        means = 2 * draw.normal(size=(m, size))
        x = [means[draw.integers(0, m, T)] + draw.normal(size=(T, size)) for T in lengths]
        model.start_at(pi, A, means)
    return model, x


def from_hmmlearn(iterations=20):
    """The largest difference from hmmlearn: parameters, and log-likelihood of each step; every kind of emission."""
    from hmmlearn import hmm

    worst, draw = 0.0, np.random.default_rng(0)
    for kind, zeros in itertools.product(("categorical", "full", "tied", "diag", "spherical"), (False, True)):
        m, size, lengths = 3, 4, draw.integers(1, 120, 12)
        ours, x = problem(draw, m, size, lengths, kind, zeros)
        options = dict(init_params="", n_iter=iterations, tol=-np.inf, implementation="log")
        if kind == "categorical":
            theirs = hmm.CategoricalHMM(m, n_features=size, **options)
            theirs.emissionprob_ = ours.emissions.numpy()
        else:
            theirs = hmm.GaussianHMM(m, kind, min_covar=0, covars_prior=0, covars_weight=0, **options)
            theirs.means_, theirs.covars_ = ours.means.numpy(), ours.covariances.numpy()
        theirs.startprob_, theirs.transmat_ = ours.initial.numpy(), ours.transitions.numpy()
        theirs.fit(np.concatenate(x).reshape(sum(lengths), -1), lengths)
        prepared = ours.checked(x)
        reached = [float(ours.update(prepared)["log_likelihood"]) * len(x) for _ in range(iterations)]
        pairs = [(reached, theirs.monitor_.history), (ours.initial.numpy(), theirs.startprob_),
                 (ours.transitions.numpy(), theirs.transmat_)]  # fmt: skip
        if kind == "categorical":
            pairs.append((ours.emissions.numpy(), theirs.emissionprob_))
        else:
            theirs_too = theirs._covars_[:, 0] if kind == "spherical" else theirs._covars_
            pairs += [(ours.means.numpy(), theirs.means_), (ours.covariances.numpy(), theirs_too)]
        worst = max(worst, *(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs))
    return worst


def from_all_paths(problems):
    """The largest difference of likelihood, posterior and best path from what the table of all paths gives."""
    worst, draw = 0.0, np.random.default_rng(1)
    for k in range(problems):
        m, size, T = (int(draw.integers(*limits)) for limits in ((1, 4), (2, 5), (1, 7)))
        model, (x,) = problem(draw, m, size, [T], "categorical", zeros=m > 1 and k % 2 == 1)
        pi, A, b = model.initial.numpy(), model.transitions.numpy(), model.emissions.numpy()[:, x]
        paths = np.array(list(itertools.product(range(m), repeat=T)))
        p = pi[paths[:, 0]] * np.prod([b[paths[:, t], t] for t in range(T)], axis=0)
        for t in range(1, T):
            p = p * A[paths[:, t - 1], paths[:, t]]
        gamma = [[p[paths[:, t] == j].sum() / p.sum() for j in range(m)] for t in range(T)]
        best = model.log_joint([x], model.predict([x]))[0]
        gaps = (model.score_samples([x])[0] - np.log(p.sum()), model.posterior([x])[0] - gamma, best - np.log(p.max()))
        worst = max(worst, *(float(np.abs(gap).max()) for gap in gaps))
    return worst


# ---- pictures ---------------------------------------------------------------------------------------------------


def band(axes, z, low, high, colours=STATES):
    """A stripe in the colours of the states, one cell a time."""
    axes.imshow(colours[z][None], extent=(-0.5, len(z) - 0.5, low, high), aspect="auto", interpolation="nearest")


def game_picture(z, x, path, gamma):
    """A game: the throws, the true die, the best path, and the posterior of the loaded die."""
    made = plot.figure(12, 5)
    made.set_layout_engine("constrained")
    above, middle, below = made.subplots(3, 1, sharex=True, height_ratios=(2, 1.2, 2))
    above.scatter(np.arange(len(x)), x + 1, s=9, color=np.where(x == 5, "black", "grey"))
    above.set(yticks=range(1, 7), ylabel="throw", title="What we see (sixes in black)")
    for height, states in ((1, z), (0, path)):
        band(middle, states, height + 0.05, height + 0.95)
    middle.set(ylim=(0, 2), yticks=(1.5, 0.5), yticklabels=("true die", "best path"),
               title=f"What happened, and the most probable path: {np.mean(z == path):.0%} right (blue: fair, red: "
                     "loaded)")  # fmt: skip
    below.fill_between(np.arange(len(x)), gamma[:, 1], step="mid", color=STATES[1], alpha=0.35)
    below.step(np.arange(len(x)), gamma[:, 1], where="mid", color=STATES[1], linewidth=1)
    below.plot(np.arange(len(x)), np.where(z == 1, 1.04, np.nan), color="black", linewidth=3, solid_capstyle="butt")
    below.axhline(0.5, color="grey", linestyle=":", linewidth=1)
    below.set(ylim=(0, 1.1), xlim=(-0.5, len(x) - 0.5), xlabel="time", ylabel="probability",
              title="The probability that the die is loaded, given all throws (bars on top: when it is)")  # fmt: skip
    return made


def learning(metrics, truth, train):
    """The climb of the fit, and of fits from single random starts."""
    made = plot.figure(7, 4.2)
    made.set_layout_engine("constrained")
    axes, total = made.add_subplot(), sum(map(len, train))
    for seed in range(8):
        model, reached = CategoricalHMM(6, 2, tol=0, rng=tg.random.Generator(100 + seed)), []
        prepared = model.checked(train)
        model.begin(prepared)
        for _ in range(60):
            reached.append(float(model.update(prepared)["log_likelihood"]) * len(train) / total)
        axes.plot(reached, color="grey", linewidth=0.8, label="single starts" if seed == 0 else None)
    found = np.array(metrics["log_likelihood"]) * len(train) / total
    axes.plot(found, color="C0", marker=".", label="the fit, after its trials")
    level = per_throw(truth, train)
    axes.axhline(level, color="black", linestyle=":", label="the true dice")
    axes.set(xlabel="iteration", ylabel="nats a throw", xlim=(0, 60), ylim=(level - 0.06, level + 0.01),
             title="The log-likelihood never falls; where it ends depends on the start")  # fmt: skip
    axes.legend(loc="lower right")
    return made


def tables(truth, model):
    """Moves and dice: true and learnt."""
    made = plot.figure(11, 5.2)
    made.set_layout_engine("constrained")
    order = np.argsort(named(model))
    if named(model).sum() != 1:
        order = np.arange(2)
    rows = (("true", truth, np.arange(2)), ("learnt", model, order))
    for line, (name, source, states) in zip(made.subplots(2, 3, width_ratios=(1, 2, 2)), rows, strict=True):
        A, B = source.transitions.numpy()[states][:, states], source.emissions.numpy()[states]
        line[0].imshow(A, cmap="Blues", vmin=0, vmax=1)
        for (i, j), value in np.ndenumerate(A):
            line[0].text(j, i, f"{value:.3f}", ha="center", va="center", color="white" if value > 0.5 else "black")
        line[0].set(xticks=(0, 1), yticks=(0, 1), xticklabels=DICE, yticklabels=DICE, title=f"moves, {name}",
                    xlabel="to", ylabel="from")  # fmt: skip
        for k, axes in enumerate(line[1:]):
            axes.bar(range(1, 7), B[k], color=STATES[k])
            axes.axhline(1 / 6, color="grey", linestyle=":")
            for face, value in enumerate(B[k], 1):
                axes.text(face, value + 0.01, f"{value:.3f}", ha="center", fontsize=8)
            axes.set(ylim=(0, 0.62), xticks=range(1, 7), title=f"{DICE[k]} die, {name}", xlabel="face")
    return made


def samples(truth, model, seed, throws=120):
    """New games by the true dice and by those that were learnt, with their hidden states, and how long runs last."""
    made = plot.figure(12, 5)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(2.4, 1))
    rows = left.subplots(6, 1, sharex=True)
    stays = right.subplots()
    for part, (name, source) in enumerate((("true dice", truth), ("learnt dice", model))):
        order = named(source) if named(source).sum() == 1 else np.arange(2)
        z, x = source.play(400, throws, rng=tg.random.Generator(seed + 7, device=source.initial.device))
        for k in range(3):
            axes = rows[3 * part + k]
            band(axes, order[z[k]], 0.5, 6.5, 0.55 + 0.45 * STATES)
            axes.plot(x[k] + 1, ".", color="black", markersize=3)
            axes.set(ylim=(0.5, 6.5), yticks=(1, 6), xlim=(-0.5, throws - 0.5))
            if k == 0:
                axes.set_title(
                    f"{name}: three new games (red: the loaded die), from the same random numbers", fontsize=10
                )
        found = [sum(1 for _ in run) for row in order[z] for state, run in itertools.groupby(row) if state == 1]
        stays.hist(found, bins=np.arange(0.5, 41), density=True, histtype="step", linewidth=1.6, label=name)
    stay = truth.transitions.numpy()[1, 1]
    stays.plot(range(1, 41), (1 - stay) * stay ** np.arange(40), ".", color="black", markersize=4,
               label=f"$(1 - a)\\, a^{{k - 1}}$, $a = {stay:.1f}$")  # fmt: skip
    stays.set(xlabel="k, throws with the loaded die in a row", ylabel="share", title="How long a die stays")
    stays.legend()
    rows[-1].set_xlabel("time")
    return made


def lattice(model, x):
    """The trellis of a short game: what is known at each time from the past alone, and in the end."""
    (block,) = model.checked([x]).blocks
    log_b, (log_pi, log_A), T = model.log_emission(block.x), model._logs(), len(x)
    alpha = chapter.forward(log_b, log_pi, log_A, block.running)
    log_p = chapter.log_likelihood(alpha, block.last)
    beta, _ = chapter.backward(alpha, log_b, log_A, block.running, log_p)
    gamma, filtered = chapter.posterior(alpha, beta, log_p), np.exp(alpha - chapter.log_sum(alpha[None].copy())[1])
    xi = np.exp(alpha[:, None, :-1] + log_A[:, :, None] + (log_b + beta)[None, :, 1:] - log_p)  # (i, j, T - 1)
    path = model.predict([x])[0]
    made = plot.figure(11, 4.4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for t, i, j in itertools.product(range(T - 1), range(2), range(2)):
        best = path[t] == i and path[t + 1] == j
        axes.plot((t, t + 1), (1 - i, 1 - j), color="black" if best else "grey", linewidth=0.5 + 9 * xi[i, j, t],
                  alpha=0.75, zorder=1, solid_capstyle="butt")  # fmt: skip
        along = 0.3
        axes.text(t + along, 1 - i + along * (i - j), f"{xi[i, j, t]:.2f}", fontsize=7, ha="center", va="center",
                  bbox=dict(fc="white", ec="none", pad=0.6))  # fmt: skip
    for t, k in itertools.product(range(T), range(2)):
        axes.scatter(t, 1 - k, s=1500, color=0.97 - gamma[k, t] * (0.97 - STATES[k]), edgecolor=STATES[k], zorder=2,
                     linewidth=3 if path[t] == k else 1)  # fmt: skip
        axes.text(t, 1 - k, f"{gamma[k, t]:.2f}", ha="center", va="center", fontsize=10, zorder=3)
        axes.text(t, 1 - k + (0.26 if k == 0 else -0.26), f"$\\hat\\alpha = {filtered[k, t]:.2f}$", ha="center",
                  va="center", fontsize=9, color="dimgrey")  # fmt: skip
    axes.set(xticks=range(T), xticklabels=[f"t = {t + 1}\nthrow {v + 1}" for t, v in enumerate(x)], yticks=(1, 0),
             yticklabels=DICE, xlim=(-0.5, T - 0.5), ylim=(-0.45, 1.45),
             title="In the circles $\\gamma$, on the lines $\\xi$ (given all throws); $\\hat\\alpha$: given the throws "
                   "so far; bold: the best path")  # fmt: skip
    axes.spines[:].set_visible(False)
    return made


def clouds(seed, T=400):
    """Three clouds that overlap, visited by turns: told apart by place alone, and by place and time."""
    truth, A = GaussianHMM(2, 3), [[0.92, 0.08, 0], [0, 0.92, 0.08], [0.08, 0, 0.92]]
    wide = np.array([[[1.0, 0.5], [0.5, 0.9]], [[0.6, 0], [0, 1.2]], [[0.9, -0.4], [-0.4, 0.6]]])
    truth.start_at([1, 0, 0], A, [[0, 0], [2.2, 0.4], [0.8, 2]], covariances=wide)
    z, x = truth.play(3, T, rng=tg.random.Generator(seed + 3))
    chain = GaussianHMM(2, 3, n_init=5, rng=tg.random.Generator(seed)).fit(x, run=Run(quiet=True))
    alone = GaussianMixture(2, 3, n_init=5, tol=1e-5, rng=tg.random.Generator(seed))
    alone.fit(x.reshape(-1, 2), steps=300, run=Run(quiet=True))
    guesses = {"true states": z[0], "a mixture": matched(alone.predict(x[0]), z[0]),
               "a Markov chain": matched(chain.predict(x)[0], z[0])}  # fmt: skip
    made = plot.figure(13, 5.6)
    made.set_layout_engine("constrained")
    above, below = made.subfigures(2, 1, height_ratios=(2.3, 1))
    panels = above.subplots(1, 4)
    for axes, (name, states) in zip(panels, guesses.items(), strict=False):
        axes.scatter(*x[0].T, s=7, color=STATES[states], linewidth=0)
        right = "" if name == "true states" else f": {np.mean(states == z[0]):.0%} right"
        axes.set(title=name + right, aspect="equal", xticks=[], yticks=[])
    names = matched(chain.predict(x).ravel(), z.ravel())[np.unique(chain.predict(x), return_index=True)[1]]
    states, new = chain.play(1, 60, rng=tg.random.Generator(seed + 5))
    panels[3].plot(*new[0].T, "-", color="grey", linewidth=0.5)
    panels[3].scatter(*new[0].T, s=16, color=STATES[names[states[0]]], zorder=2)
    panels[3].set(title="60 steps that it draws", aspect="equal", xticks=[], yticks=[],
                  xlim=panels[0].get_xlim(), ylim=panels[0].get_ylim())  # fmt: skip
    strip = below.subplots()
    for k, states in enumerate(guesses.values()):
        band(strip, states, 2 - k + 0.06, 3 - k - 0.06)
    strip.set(ylim=(0, 3), yticks=(2.5, 1.5, 0.5), yticklabels=guesses, xlabel="time",
              title="The same in time: a mixture judges every point alone")  # fmt: skip
    return made


def matched(states, z):
    """States under the names that agree best with z."""
    orders = list(itertools.permutations(range(z.max() + 1)))
    best = max(orders, key=lambda order: np.sum(np.array(order)[states] == z))
    return np.array(best)[states]


if __name__ == "__main__":
    from common import command

    command(main)

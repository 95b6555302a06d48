"""What is known after the data: a coin, and the two parameters of a dose-response curve, inferred in five ways.

Twenty animals were given one of four doses (Racine et al. 1986), and the question is how deadly the dose is. There are
two parameters, so that the posterior can be had by brute force on a lattice; and two kinds of Markov chain, and
variational inference with three families of laws, are held against it. A third chain, Gibbs's, infers the mean and the
precision of a few sepals.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.latent import bayes, mcmc, variational
from tinygen.models.latent.flow import Invertible
from tinygen.optim.schedules import Cosine
from tinygen.probability import Beta
from tinygen.runs import blas_threads, open_run, read_metrics

CARD = dict(
    rows=("C4",),
    model="latent.variational:Variational",
    resumes=True,
    claims={
        "coin, closed form: largest error of p(k), mean, std and next flip": {
            "published": None, "bar": "<= 1e-6", "budget_min": 1},
        "dose, Metropolis: error of means (in std) and stds (relative)": {
            "published": None, "bar": "<= 0.05", "budget_min": 1},
        "dose, Hamiltonian: error of means (in std) and stds (relative)": {
            "published": None, "bar": "<= 0.05", "budget_min": 1},
        "sepals, Gibbs: error of means (in std) and stds (relative)": {
            "published": None, "bar": "<= 0.05", "budget_min": 1},
        "dose, variational, coupling flow: error of means (in std) and stds (relative)": {
            "published": None, "bar": "<= 0.05", "budget_min": 1},
        "dose, variational, coupling flow: log p(Y|X) - ELBO (nats)": {
            "published": None, "bar": "<= 0.01", "budget_min": 1},
        "dose, variational, Gaussian: error of means (in std)": {
            "published": None, "bar": "<= 0.05", "budget_min": 1},
    },
)  # fmt: skip
# Racine et al. 1986 (worked through in Gelman et al., Bayesian Data Analysis, section 3.7): log g/ml, animals, deaths.
DOSES, ANIMALS, DEATHS = np.array([-0.86, -0.30, -0.05, 0.73]), 5, np.array([0, 1, 3, 5])
BOX, CELLS = (-5.0, 8.0, -8.0, 30.0), 500  # of the lattice for the dose; Gibbs's is (2, 5, -2, 6)
STEPS = 3000


def main(*, steps=STEPS, device="cpu", seed=0, quick=False, out="runs_out/bayes", resume=None):
    """Infer the parameters of a dose-response curve in five ways, and draw how.

    steps: of the chains and of the searches; quick: a third of them
    """
    run = open_run(locals())
    steps = steps // 3 if quick else steps
    with blas_threads(1):
        evidence, exact = by_quadrature("dose")
        found = {name: fitted(run, name, steps, device=device, seed=seed) for name in METHODS}
        scores = {"coin": coin_error()}
        for name, model in found.items():
            truth = by_quadrature("sepals")[1] if name == "Gibbs" else exact
            scores[f"{name}, means"], scores[f"{name}, stds"] = bayes.error(moments(model), truth)
        print(table(found, scores, evidence))
        pictures(run, found, scores, steps, seed)
    print(f"pictures in {run.folder}")
    return scores


# ---- what is inferred, and by whom ------------------------------------------------------------------------------


def dose():
    """The curve's posterior, and the animals: x (20, 2), y (20,)."""
    x = np.repeat(np.stack([np.ones(4), DOSES], 1), ANIMALS, axis=0)
    y = np.concatenate([np.arange(ANIMALS) < deaths for deaths in DEATHS])
    return bayes.Logistic(2, prior_std=5.0), (x, y.astype(float))


def sepals():
    """The posterior of a mean and a precision, and the widths of ten sepals of Iris setosa in cm: (10,)."""
    iris = data.load("iris").train
    return bayes.MeanAndPrecision(a=0.1, b=0.1), (iris.features[iris.labels == 0][:10, 1].astype(float),)


def metropolis(target, steps, rng):
    return mcmc.Metropolis(target, step=(1.2, 4.0), chains=32, warm_up=steps // 10, rng=rng)


def hamiltonian(target, steps, rng):
    return mcmc.Hamiltonian(target, step=(0.8, 2.5), leaps=3, chains=16, warm_up=steps // 10, rng=rng)


def gibbs(target, steps, rng):
    return mcmc.Gibbs(target, chains=16, warm_up=steps // 10, rng=rng)


def mean_field(target, steps, rng):
    family = variational.Gaussian(2, mean_field=True, device=rng.device)
    return variational.Variational(target, family, lr=0.05, schedule=Cosine(steps), rng=rng)


def gaussian(target, steps, rng):
    return variational.Variational(target, lr=0.05, schedule=Cosine(steps), rng=rng)


def coupling(target, steps, rng):
    family = Invertible(2, layers=6, hidden=16, rng=rng)
    return variational.Variational(target, family, samples=128, lr=5e-3, schedule=Cosine(steps), rng=rng)


METHODS = {"Metropolis": (dose, metropolis), "Hamiltonian": (dose, hamiltonian), "Gibbs": (sepals, gibbs),
           "mean field": (dose, mean_field), "Gaussian": (dose, gaussian),
           "coupling flow": (dose, coupling)}  # fmt: skip


def fitted(run, name, steps, *, device="cpu", seed=0):
    """What a method finds, a part of the run; what is done is read again."""
    problem, make = METHODS[name]
    target, known = problem()
    model, part = make(target, steps, tg.random.Generator(seed, device=device)), run.part(name.replace(" ", "-"))
    part.quiet = True
    return model.fit(*known, steps=steps, run=part)


def draws(model):
    """What a figure is drawn from: always the same."""
    return tg.random.Generator(1, device=model.rng.device)


def moments(model):
    """Mean and covariance of what was found."""
    return model.moments() if isinstance(model, mcmc.Chains) else model.moments(rng=draws(model))


def lattice_of(name):
    """A posterior on a lattice: box, places (K, 2), log p of parameters and data at each (K,), area of a cell."""
    target, known = {"dose": dose, "sepals": sepals}[name]()
    box = BOX if name == "dose" else (2.0, 5.0, -2.0, 6.0)
    theta = plot.lattice(box, CELLS, CELLS)
    return box, theta, target.log_joint(theta, *known), (box[1] - box[0]) * (box[3] - box[2]) / CELLS**2


def by_quadrature(name):
    """The logarithm of the evidence, and the posterior's moments."""
    _, theta, log_joint, cell = lattice_of(name)
    return bayes.quadrature(log_joint, theta, cell)


def coin_error():
    """The closed forms of S1's coin against sums over a fine lattice, with a flat and with another prior."""
    z, worst = (np.arange(20_000) + 0.5) / 20_000, 0.0
    for a, b in ((1.0, 1.0), (3.0, 2.0)):
        log_joint = np.log(45 * z**2 * (1 - z) ** 8) + Beta(a, b).log_prob(z).numpy()
        evidence, moments = bayes.quadrature(log_joint, z[:, None], z[1] - z[0])
        after = Beta(*bayes.coin_posterior(2, 10, a, b))
        pairs = [
            (np.exp(evidence), bayes.coin_evidence(2, 10, a, b)),
            (moments.mean[0], after.mean.item()),
            (moments.std[0], after.variance.item() ** 0.5),
            (moments.mean[0], bayes.next_flip(2, 10, a, b)),
        ]
        worst = max(worst, *[abs(one - other) for one, other in pairs])
    return float(worst)


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    values, found = {}, {}
    evidence, exact = by_quadrature("dose")
    for claim in claims:
        name = claim.partition(":")[0].rpartition(", ")[2]
        if name == "closed form":
            values[claim] = coin_error()
            continue
        with blas_threads(1):
            model = found[name] = found.get(name) or fitted(run, name, STEPS)
            if "ELBO" in claim:
                values[claim] = evidence - model.elbo(*dose()[1], samples=100_000, rng=draws(model))
                continue
            means, stds = bayes.error(moments(model), by_quadrature("sepals")[1] if name == "Gibbs" else exact)
        values[claim] = max(means, stds) if "stds" in claim else means
    return values


def table(found, scores, evidence):
    """What each method has found, in plain text."""
    lines = [f"{'':14s} error of means (std)  of stds  worth draws  R-hat  ELBO (log p(Y|X) = {evidence:.3f})"]
    for name, model in found.items():
        line = f"{name:14s} {scores[f'{name}, means']:20.3f} {scores[f'{name}, stds']:8.1%}"
        if isinstance(model, mcmc.Chains):
            line += (f" {mcmc.effective_sample_size(model.draws).min():12.0f} "
                     f"{mcmc.potential_scale_reduction(model.draws).max():6.3f}")  # fmt: skip
        else:
            line += f"{'':20s} {model.elbo(*dose()[1], rng=draws(model)):.3f}"
        lines.append(line)
    return "\n".join([*lines, f"coin: closed forms within {scores['coin']:.0e} of sums"])


def tiny(rng):
    """A very small search, with doses and answers."""
    model_rng, data_rng = rng.spawn(2)
    x = data_rng.normal((12, 2), dtype="float64")
    return variational.Variational(bayes.Logistic(2), samples=4, rng=model_rng), x, 1.0 * (x[:, 1] > 0)


def loss(rng):
    """Minus the ELBO of a small search, for `python -m tinygen explain bayes`."""
    model, x, y = tiny(rng)
    return -tg.mean(model(rng.normal((3, 2), dtype="float64"), x, y))


# ---- pictures ---------------------------------------------------------------------------------------------------

COLOURS = {"Metropolis": "C0", "Hamiltonian": "C1", "Gibbs": "C2", "mean field": "C4", "Gaussian": "C3",
           "coupling flow": "C5"}  # fmt: skip
NAMES = (r"$\theta_0$ (constant)", r"$\theta_1$ (slope)")


def pictures(run, found, scores, steps, seed):
    """All of them."""
    run.save_figure("coin.png", coin())
    run.save_figure("posterior.png", posterior(found, scores))
    run.save_figure("curves.png", curves(found["Hamiltonian"]))
    run.save_figure("walks.png", walks(found))
    run.save_figure("chains.png", chains(found, steps, seed))
    run.save_figure("elbo.png", elbo(run))


def panels(rows, columns, width, height, **options):
    """A figure of so many axes, each so many inches."""
    made = plot.figure(columns * width, rows * height)
    made.set_layout_engine("constrained")
    return made, made.subplots(rows, columns, squeeze=False, **options)


def coin():
    """What ten flips make of a prior, flip by flip; of three priors; and what the next flip will be."""
    made, ((left, middle, right),) = panels(1, 3, 4.3, 3.5)
    z, flips = np.linspace(0.001, 0.999, 500), np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
    for n in (0, 1, 3, 6, 10):
        law = Beta(*bayes.coin_posterior(int(flips[:n].sum()), n))
        left.plot(z, np.exp(law.log_prob(z).numpy()), color=str(0.8 - 0.08 * n), linewidth=2,
                  label=f"after {n} flips, {flips[:n].sum()} heads")  # fmt: skip
    left.axvline(0.5, color="grey", linestyle=":", linewidth=1)
    left.set(title="From a flat prior, flip by flip", ylabel="density")
    for k, (name, prior) in enumerate({"flat: Beta(1, 1)": (1, 1), "minted: Beta(20, 20)": (20, 20),
                                       "bent: Beta(½, ½)": (0.5, 0.5)}.items()):  # fmt: skip
        for law, style in ((prior, ":"), (bayes.coin_posterior(2, 10, *prior), "-")):
            p = np.exp(Beta(*map(float, law)).log_prob(z).numpy())
            middle.plot(z, p, style, color=f"C{k}", label=name if style == "-" else None)
    middle.set(title="Three priors (dotted), 2 heads of 10", ylim=(0, 6.5))
    n = np.arange(11)
    right.plot(n, (n + 1) / (n + 2), "o-", label="all coins weighed: $(n + 1) / (n + 2)$")
    right.plot(n[1:], np.ones(10), "s-", color="C3", label="the most likely coin: 1")
    right.set(title="Heads, and nothing but heads", xlabel="heads in a row, $n$", ylim=(0.45, 1.05),
              ylabel="chance that the next is heads")  # fmt: skip
    for ax in (left, middle):
        ax.set(xlabel="$z$, the chance of heads")
    for ax in (left, middle, right):
        ax.legend(fontsize=8)
    return made


def contours(ax, name, **options):
    """The lines around 50, 90 and 99 % of a posterior."""
    box, theta, log_joint, cell = lattice_of(name)
    w = np.exp(log_joint - log_joint.max()).reshape(CELLS, CELLS)
    falling = np.sort(w.ravel())[::-1]
    mass = np.cumsum(falling) / falling.sum()
    levels = [falling[np.searchsorted(mass, share)] for share in (0.99, 0.9, 0.5)]
    ax.contour(*theta.reshape(CELLS, CELLS, 2).transpose(2, 0, 1), w, levels, **{"colors": "black", "linewidths": 0.9,
                                                                                 **options})  # fmt: skip


def posterior(found, scores):
    """Draws of each method on the posterior's contours, and the slope's law."""
    shown = [name for name in METHODS if METHODS[name][0] is dose]
    made, (top, bottom) = panels(2, len(shown), 3.0, 2.9)
    _, theta, log_joint, cell = lattice_of("dose")
    exact = np.exp(log_joint - log_joint.max()).reshape(CELLS, CELLS).sum(1)  # of the slope
    slopes = theta.reshape(CELLS, CELLS, 2)[:, 0, 1]
    exact /= exact.sum() * (slopes[1] - slopes[0])
    for name, upper, lower in zip(shown, top, bottom, strict=True):
        theta = found[name].sample(20_000, rng=draws(found[name]))
        upper.scatter(*theta[:2500].T, s=3, color=COLOURS[name], alpha=0.3, linewidths=0)
        contours(upper, "dose")
        upper.set(xlim=(-2, 3.5), ylim=(-1, 17), xlabel=NAMES[0], title=name)
        lower.hist(theta[:, 1], bins=np.linspace(-1, 17, 50), density=True, color=COLOURS[name], alpha=0.6)
        lower.plot(slopes, exact, color="black", linewidth=1.2)
        lower.set(xlim=(-1, 17), ylim=(0, 0.23), xlabel=NAMES[1], yticks=[])
        lower.set_title(f"means off by {scores[f'{name}, means']:.3f} std\nstds off by {scores[f'{name}, stds']:.1%}",
                        fontsize=9)  # fmt: skip
    top[0].set_ylabel(NAMES[1])
    made.suptitle("One posterior, five ways. Lines: quadrature (50, 90 and 99 % of the mass; below, the slope alone)")
    return made


def curves(model):
    """The animals, curves drawn from the posterior, what they say together, and the dose that kills every second."""
    made, ((left, right),) = panels(1, 2, 5.2, 3.9)
    theta, at = model.sample(4000, rng=draws(model)), np.linspace(-1.5, 1.5, 200)
    x = np.stack([np.ones_like(at), at], 1)
    each = tg.sigmoid(theta @ x.T)  # (4000, 200)
    left.fill_between(at, *np.quantile(each, (0.05, 0.95), axis=0), color="C1", alpha=0.2, label="90 % of the curves")
    left.plot(at, each[:25].T, color="C1", linewidth=0.4, alpha=0.6)
    left.plot(at, bayes.predictive(theta, x), color="C1", linewidth=2.5, label="all curves weighed, (6)")
    _, places, log_joint, _ = lattice_of("dose")
    best = places[log_joint.argmax()]
    left.plot(at, tg.sigmoid(x @ best), "k--", linewidth=1.2, label="the most likely curve alone")
    left.plot(DOSES, DEATHS / ANIMALS, "ko", markersize=8, label="share of 5 animals that died")
    left.set(xlabel="log dose (g/ml)", ylabel="chance of death", title="What a dose does")
    left.legend(fontsize=8, loc="upper left")
    deadly = theta[:, 1] > 0
    half = -theta[deadly, 0] / theta[deadly, 1]
    right.hist(half, bins=np.linspace(-0.8, 0.6, 57), density=True, color="C1", alpha=0.6)
    low, high = np.quantile(half, (0.05, 0.95))
    right.axvspan(low, high, color="grey", alpha=0.15)
    right.set(
        xlabel=r"$-\theta_0 / \theta_1$: the log dose that kills one in two",
        yticks=[],
        xlim=(-0.8, 0.6),
        title=f"Any question can be asked of the draws:\n90 % of these lie between {low:.2f} and {high:.2f}",
    )
    return made


LEAPS = 12  # of the ball in the picture, which are short, so that its way can be seen


def walks(found):
    """The first steps of one chain of each kind, from a bad start."""
    made, axes = panels(1, 3, 4.2, 4.0)
    for ax, (name, title) in zip(axes[0], {"Metropolis": "refused (crosses), it stays",
                                           "Hamiltonian": "the slope takes it far",
                                           "Gibbs": "one parameter at a time"}.items(), strict=True):  # fmt: skip
        problem = METHODS[name][0]
        contours(ax, problem.__name__, colors="grey")
        path, tried = walked(name, 12 if name == "Hamiltonian" else 40)
        ax.plot(*path.T, color=COLOURS[name], linewidth=0.9, alpha=0.9)
        ends = path[:: {"Metropolis": 1, "Hamiltonian": LEAPS + 1, "Gibbs": 2}[name]]
        ax.plot(*ends.T, "o", color=COLOURS[name], markersize=4)
        ax.plot(*path[0], "ko", markersize=7)
        ax.plot(*tried.T, "x", color="C3", markersize=5, alpha=0.8)
        ax.set(title=f"{name}: {title}")
        box = (-3, 4.5, -2.5, 18) if problem is dose else (2.3, 4.5, -1.6, 4.4)
        names = NAMES if problem is dose else (r"$\mu$ (cm)", r"$\omega = \log \tau$")
        ax.set(xlim=box[:2], ylim=box[2:], xlabel=names[0], ylabel=names[1])
    made.suptitle("The first steps of each walk, from the black dot; the posterior's contours in grey")
    return made


def walked(name, steps):
    """A path, with the places on the way, and the refused proposals: (k, 2), (r, 2)."""
    problem, _ = METHODS[name]
    target, known = problem()
    rng, log_pi = tg.random.Generator(3), lambda theta: target.log_joint(theta, *known)
    theta = np.array([[2.5, 4.0]] if name == "Gibbs" else [[3.0, -1.0]])
    path, refused = [theta], []
    for _ in range(steps):
        if name == "Gibbs":
            chain = mcmc.Gibbs(target, chains=1, rng=rng)
            after, _ = chain.move(theta, *known)
            path.append(np.stack([after[:, 0], theta[:, 1]], 1))
        elif name == "Metropolis":
            proposed = theta + np.array([1.0, 3.0]) * rng.normal((1, 2), dtype="float64")
            accepted = rng.uniform(1, dtype="float64") < mcmc.acceptance(log_pi(proposed) - log_pi(theta))
            after = proposed if accepted[0] else theta
            refused += [] if accepted[0] else [proposed]
        else:
            after, roll = theta, rng.normal((1, 2), dtype="float64")
            for _ in range(LEAPS):
                after, roll = mcmc.leapfrog(lambda at: slope(log_pi, at), after, roll, np.array([0.15, 0.45]), 1)
                path.append(after)
        theta = after
        path.append(theta)
    return np.concatenate(path), np.concatenate(refused) if refused else np.empty((0, 2))


def slope(log_pi, theta):
    """The gradient of the log-posterior: (m, 2) to (m, 2)."""
    theta = tg.tensor(theta, requires_grad=True)
    return tg.grad(tg.sum(log_pi(theta)), theta).numpy()


def chains(found, steps, seed):
    """What the step of a chain decides, how long draws remember, and how the error falls."""
    made, ((left, middle), (third, right)) = panels(2, 2, 5.4, 3.4)
    target, known = dose()
    scales, worth = np.geomspace(0.03, 10, 11), []
    for k, scale in enumerate(scales):
        chain = mcmc.Metropolis(target, step=(0.75 * scale, 2.5 * scale), chains=16, warm_up=100,
                                rng=tg.random.Generator(seed))  # fmt: skip
        accepted = np.mean([float(chain.update(*known)["accepted"]) for _ in range(max(steps // 3, 120))])
        worth.append((mcmc.effective_sample_size(chain.draws)[1] / chain.draws[..., 0].size, accepted))
        if k in (1, 6, 10):
            left.plot(
                chain.draws[:300, 0, 1], linewidth=1, label=f"$\\epsilon$ = {scale:.2g} std, {accepted:.0%} accepted"
            )
    left.axhline(by_quadrature("dose")[1].mean[1], color="grey", linestyle=":")
    left.set(xlabel="step", ylabel=NAMES[1], ylim=(-1, 19), title="Creeping, walking, stuck")
    left.legend(fontsize=8)
    middle.loglog(scales, [w for w, _ in worth], "o-", label="effective draws in a step")
    middle.set(xlabel=r"$\epsilon$, in standard deviations", title="Neither too bold nor too shy")
    share = middle.twinx()
    share.semilogx(scales, [a for _, a in worth], "s--", color="C3", markersize=4)
    share.set(ylim=(0, 1))
    share.set_ylabel("share accepted", color="C3")
    middle.set_ylabel("effective draws in a step", color="C0")
    exact = by_quadrature("dose")[1]
    for name in ("Metropolis", "Hamiltonian"):
        places = found[name].draws
        rho = mcmc.autocorrelation(places)[:40, 1]
        third.plot(
            rho,
            "o-",
            markersize=3,
            color=COLOURS[name],
            label=f"{name}: {places[..., 0].size} draws are worth {mcmc.effective_sample_size(places)[1]:.0f}",
        )
        n = np.unique(np.geomspace(10, len(places), 30).astype(int))
        mean = np.cumsum(places[..., 1], 0)[n - 1] / n[:, None]  # (30, 16), each chain's
        right.loglog(n, np.sqrt(np.mean((mean - exact.mean[1]) ** 2, 1)) / exact.std[1], "o", markersize=4,
                     color=COLOURS[name], label=f"{name}: error of a chain's mean")  # fmt: skip
        rate = mcmc.effective_sample_size(places)[1] / places[..., 0].size
        right.loglog(n, 1 / np.sqrt(n * rate), color=COLOURS[name], label=r"$1 / \sqrt{T_{\mathrm{eff}}}$")
    third.axhline(0, color="grey", linewidth=0.8)
    third.set(xlabel="steps apart", title="How long a chain remembers", ylabel=r"autocorrelation $\rho_t$")
    right.set(xlabel="steps", ylabel="in standard deviations", title="What draws are worth")
    third.legend(fontsize=8)
    right.legend(fontsize=8)
    return made


def elbo(run):
    """The bound of each family in the search, below the evidence."""
    made, ((ax,),) = panels(1, 1, 7, 4)
    evidence = by_quadrature("dose")[0]
    for name in ("mean field", "Gaussian", "coupling flow"):
        metrics = read_metrics(run.folder / name.replace(" ", "-") / "metrics.csv")
        step, values = np.array(metrics["step"]), np.array(metrics["elbo"])
        width = max(len(step) // 20, 1)
        smooth = np.convolve(values, np.ones(width) / width, "valid")
        ax.plot(step[width - 1 :], smooth, color=COLOURS[name], label=f"{name}: at the end {smooth[-1]:.3f}")
    ax.axhline(evidence, color="black", linestyle="--", label=f"$\\log p(Y|X)$ = {evidence:.3f}, by quadrature")
    ax.set(xlabel="step", ylabel="nats", ylim=(evidence - 0.8, evidence + 0.1),
           title="The bound: the gap to the evidence is KL(q ‖ posterior)")  # fmt: skip
    ax.legend(loc="lower right")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

"""Maximum likelihood for Gaussians: the bowl of the likelihood, what is left on average, and lines by conditioning.

The petals of irises get a Gaussian, on the line and in the plane; the regression of width on length is read off the
joint law. It draws the likelihood over mean and standard deviation, how the estimates near the truth, and what the
mean likelihood consists of.
"""

import math

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.density import Gaussian
from tinygen.models.density import gaussian as chapter
from tinygen.probability.moments import moments
from tinygen.runs import Run, open_run

CARD = dict(
    rows=("B1",),
    model="density.gaussian:Gaussian",
    claims={
        "largest gap to NumPy's mean, covariance and least squares": {
            "published": "closed forms, S4 eqs. 4, 6, 7", "bar": "<= 1e-10", "budget_min": 1},
        "largest gap between least squares and conditioning": {"published": None, "bar": "<= 1e-10", "budget_min": 1},
        "largest slope of the likelihood an example, at the estimates": {
            "published": "0, S4 eqs. 3 and 5", "bar": "<= 1e-10", "budget_min": 1},
    },
)  # fmt: skip
MU, SIGMA = 1.0, 2.0  # the truth in simulations


def main(*, steps=1, device="cpu", seed=0, quick=False, out="runs_out/gaussian", resume=None):
    """Fit Gaussians to irises, and draw what maximum likelihood does.

    steps: in how many parts the flowers are taken in; quick: fewer simulations
    """
    run = open_run(locals())
    x = petals()
    model = Gaussian(2, rng=tg.random.Generator(seed, device=device)).fit(x, steps=steps, run=run)
    intercept, slopes, noise = model.regression(1)
    scores = {"gap": gap(), "line gap": line_gap(), "slope": largest_slope(), "score": model.score(x)}
    print(f"width = {intercept[0]:.3f} + {slopes[0, 0]:.3f} length, noise {math.sqrt(noise[0, 0]):.3f} cm; "
          "{score:.3f} nats a flower; largest gap to NumPy {gap:.1e}, of both ways to the line {line gap:.1e}, "
          "largest slope {slope:.1e}".format(**scores))  # fmt: skip
    pictures(run, model, x, 400 if quick else 4000)
    print(f"pictures in {run.folder}")
    return scores


def pictures(run, model, x, repeats):
    """All of them."""
    run.save_figure("likelihood.png", likelihood())
    run.save_figure("estimates.png", estimates(repeats))
    run.save_figure("petals.png", lines(model, x))


def reproduce(run, claims):
    """The claims of the CARD."""
    computed = dict(zip(CARD["claims"], (gap, line_gap, largest_slope), strict=True))
    return {claim: computed[claim]() for claim in claims}


def tiny(rng):
    """A small model and examples."""
    model_rng, draws = rng.spawn(2)
    return Gaussian(3, rng=model_rng), draws.normal((40, 3), dtype="float64")


def loss(rng):
    """The negative log-likelihood of a mean and a variance, for `python -m tinygen explain gaussian`."""
    mu, variance = (tg.tensor(v, requires_grad=True, device=rng.device) for v in (0.5, 1.5))
    return chapter.negative_log_likelihood(tg.tensor(rng.normal(10)), mu, variance)


def petals():
    """Length and width of the irises' petals, in cm; (n, 2) float64."""
    return data.load("iris").train.features[:, 2:].astype(float)


# ---- what is claimed --------------------------------------------------------------------------------------------


def sets():
    """Examples far from the origin, on scales that differ, and real ones."""
    draw = np.random.default_rng(0)
    wine = data.load("wine").train.features.astype(float)
    return [draw.normal(size=(500, 4)) @ draw.normal(size=(4, 4)) + 100, petals(), wine]


def relative(found, expected):
    """The largest difference, as a part of the largest entry."""
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def with_one(x):
    """X with a column of ones."""
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def gap():
    """(4), (5) and (8) against NumPy, on all sets."""
    worst = []
    for x in sets():
        model = Gaussian(x.shape[1]).fit(x, steps=3, run=Run(quiet=True))
        mu, variance = chapter.maximum_likelihood(x[:, 0])
        beta, _ = chapter.linear_maximum_likelihood(with_one(x[:, :1]), x[:, 1])
        worst += [relative(model.mean.numpy(), x.mean(0)), relative(model.covariance(), np.cov(x.T, ddof=0)),
                  relative(mu, np.mean(x[:, 0])), relative(variance, np.var(x[:, 0])),
                  relative(beta, np.linalg.lstsq(with_one(x[:, :1]), x[:, 1])[0])]  # fmt: skip
    return max(worst)


def line_gap():
    """(8) against (9): the line and its noise, the second feature given the first, on all sets."""
    worst = []
    for x in sets():
        beta, variance = chapter.linear_maximum_likelihood(with_one(x[:, :1]), x[:, 1])
        intercept, slopes, noise = Gaussian(2).fit(x[:, :2], run=Run(quiet=True)).regression(1)
        worst += [relative([intercept[0], slopes[0, 0]], beta), relative(noise[0, 0], variance)]
    return max(worst)


def largest_slope():
    """(3) at (4), in units of 1 / sigma."""
    worst = []
    for x in (x[:, 0] for x in sets()):
        mu, variance = chapter.maximum_likelihood(x)
        sigma = math.sqrt(variance)
        worst += [abs(slope) * sigma / len(x) for slope in chapter.slopes(x, mu, sigma)]
    return float(max(worst))


# ---- pictures ---------------------------------------------------------------------------------------------------


def panels(columns, width=4.2, height=3.9):
    """A figure of so many panels side by side, and these."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns)


def likelihood():
    """Candidates on ten examples, and the likelihood of all candidates with the ways that its slopes point."""
    x = MU + SIGMA * tg.random.Generator(5).normal(10, dtype="float64")
    mu, variance = chapter.maximum_likelihood(x)
    sigma = math.sqrt(variance)
    made, (left, right) = panels(2, 5.2)
    grid = np.linspace(-7, 9, 400)
    candidates = {"the most likely": (mu, sigma, "C0"), "too far left": (mu - 3, sigma, "C1"),
                  "too narrow": (mu, 0.5 * sigma, "C2"), "too wide": (mu, 2.2 * sigma, "C3")}  # fmt: skip
    left.plot(x, np.zeros_like(x), "|", color="black", markersize=14)
    for name, (m, s, colour) in candidates.items():
        nll = chapter.negative_log_likelihood(x, m, s * s)
        left.plot(grid, chapter.density(grid, m, s * s), colour, label=f"{name}: $\\ell$ = {nll:.1f}")
        right.plot(m, s, "o", color=colour, zorder=3)
    left.set(xlabel="$x$", ylabel="density", title="Ten examples, four candidates", ylim=(-0.01, 0.5))
    left.legend(fontsize=8)
    mus, sigmas = np.linspace(mu - 4, mu + 4, 121), np.linspace(0.35 * sigma, 2.6 * sigma, 121)
    height = np.array([[chapter.negative_log_likelihood(x, m, s * s) for m in mus] for s in sigmas])
    drawn = right.contour(mus, sigmas, height, levels=height.min() + np.array([0.5, 2, 4, 8, 16, 32, 64]),
                          colors="0.6", linewidths=0.9)  # fmt: skip
    right.clabel(drawn, fmt="%.0f", fontsize=7)
    m, s = np.meshgrid(mus[8::15], sigmas[8::15])
    slopes = np.array(
        [[chapter.slopes(x, *place) for place in zip(*row, strict=True)] for row in zip(m, s, strict=True)]
    )
    slopes /= np.linalg.norm(slopes, axis=2, keepdims=True)
    right.quiver(m, s, -slopes[..., 0], -slopes[..., 1], color="0.45", width=0.003)
    right.set(xlabel=r"$\mu$", ylabel=r"$\sigma$", title=r"$\ell(\mu, \sigma)$, and where it falls")
    return made


def estimates(repeats):
    """The laws of both estimates, how they near the truth, and what the mean likelihood of a model tends to."""
    draws = tg.random.Generator(1).normal((repeats, 10), dtype="float64") * SIGMA + MU
    variances = draws.var(1)
    made, (left, middle, right) = panels(3)
    left.hist(variances, bins=50, density=True, color="0.8")
    t = np.linspace(0.01, 14, 300)
    shape = 4.5  # 10 times the estimate over the variance is chi-squared with 9 degrees of freedom
    law = (10 * t / (2 * SIGMA**2)) ** (shape - 1) * np.exp(-10 * t / (2 * SIGMA**2)) / math.gamma(shape)
    left.plot(t, law * 10 / (2 * SIGMA**2), "black", linewidth=1)
    left.axvline(SIGMA**2, color="C3", label=r"$\sigma^2$")
    left.axvline(variances.mean(), color="C0", linestyle="--", label=r"mean of $\hat\sigma^2$")
    left.axvline(0.9 * SIGMA**2, color="C1", linestyle=":", linewidth=3, label=r"(7): $\frac{n-1}{n} \sigma^2$")
    left.set(xlabel=r"$\hat\sigma^2$", xlim=(0, 14), title=f"n = 10, {repeats} samples: a little too narrow")
    left.legend()
    sizes = np.geomspace(4, 4000, 13).astype(int)
    errors = np.array([error(n, max(200, repeats // n)) for n in sizes])
    for k, (name, theory) in enumerate(((r"\hat\mu", SIGMA**2 / sizes), (r"\hat\sigma^2", 2 * SIGMA**4 / sizes))):
        middle.loglog(sizes, errors[:, k], "o", color=f"C{k}", label=f"${name}$")
        middle.loglog(sizes, np.sqrt(theory), color=f"C{k}", linewidth=1)
    middle.set(xlabel="$n$", ylabel="root mean squared error",
               title="Both near the truth as $n^{-1/2}$\n(lines: the theory for large $n$)")  # fmt: skip
    middle.legend()
    composition(right)
    return made


def error(n, repeats):
    """The root mean squared errors of both estimates from n examples."""
    x = MU + SIGMA * tg.random.Generator(n).normal((repeats, n), dtype="float64")
    return [float(np.sqrt(np.mean(square))) for square in ((x.mean(1) - MU) ** 2, (x.var(1) - SIGMA**2) ** 2)]


def composition(axes):
    """The mean negative log-likelihood along means: entropy and divergence, for few examples and for ever more."""
    places, truth = np.linspace(-3, 5, 161), (np.array([MU]), np.array([[SIGMA**2]]))
    for k, n in enumerate((5, 50, 5000)):
        x = MU + SIGMA * tg.random.Generator(7).normal((n, 1), dtype="float64")
        known = moments(x)
        axes.plot(places, [chapter.cross_entropy(known, np.array([m]), truth[1]) for m in places], f"C{k}",
                  label=f"$\\ell/n$, n = {n}")  # fmt: skip
    H = chapter.entropy(truth[1])
    away = np.array([chapter.divergence(*truth, np.array([m]), truth[1]) for m in places])
    axes.plot(places, H + away, "black", linestyle=":", label=r"$H + \mathrm{KL}(f_{\theta^*} \| f_\theta)$")
    axes.fill_between(places, 0, H, color="0.93")
    axes.annotate("entropy $H$", (3.2, H - 0.16), color="0.4")
    axes.set(xlabel=r"$\mu$ of the model", ylabel="nats an example", ylim=(1.4, 3.8), xlim=(-3, 5),
             title="What is minimised: a divergence,\nbut for a constant")  # fmt: skip
    axes.legend(fontsize=8)


def lines(model, x):
    """The joint law of the petals, the line that it contains, and new flowers."""
    made, (left, right) = panels(2, 5.2, 4.4)
    mean, covariance = model.mean.numpy(), model.covariance()
    circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 200)), np.sin(t)])
    rim = np.linalg.cholesky(covariance) @ circle
    intercept, slopes, noise = model.regression(1)
    ends = np.array([0.5, 7.5])
    new = model.sample(len(x), rng=tg.random.Generator(2))
    titles = f"{len(x)} irises, one Gaussian, one line", "As many new ones: a single lump fills the gap"
    for axes, points, title in zip((left, right), (x, new), titles, strict=True):
        for radius in (1, 2):
            axes.plot(*(mean[:, None] + radius * rim), color="C0", linewidth=1)
        middle, width = intercept[0] + slopes[0, 0] * ends, math.sqrt(noise[0, 0])
        axes.plot(ends, middle, "C3", label="mean of width given length")
        axes.fill_between(ends, middle - width, middle + width, color="C3", alpha=0.15, label="one standard deviation")
        axes.plot(*points.T, ".", color="black", markersize=4)
        axes.set(xlabel="length of the petal (cm)", ylabel="width (cm)", xlim=(0, 8), ylim=(-0.7, 3.2), title=title)
    left.legend(fontsize=8, loc="upper left")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

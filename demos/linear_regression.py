"""Linear regression foretells the width of an iris's petal from its length: at once, and a few flowers at a time.

It draws the line, the way of the descent over the bowl of squared errors, and how far the slope strays from the truth
when it is estimated again and again: by least squares, and by other linear unbiased estimators.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import LinearRegression
from tinygen.models.supervised import linear_regression as chapter
from tinygen.optim.schedules import Cosine
from tinygen.runs import open_run, read_metrics

CARD = dict(
    rows=("A10",),
    model="supervised.linear_regression:LinearRegression",
    claims={
        "largest gap to numpy.linalg.lstsq": {"published": None, "bar": "<= 1e-10", "budget_min": 1},
        "variance of the best rival over least squares'": {"published": None, "bar": ">= 1.05", "budget_min": 1},
        "largest error of the variance's formula": {"published": None, "bar": "<= 0.05", "budget_min": 1},
    },
)
DRAWS = 20_000  # simulated samples


def main(*, steps=3000, lr=0.02, device="cpu", seed=0, quick=False, out="runs_out/linear_regression",
         resume=None):  # fmt: skip
    """Fit a line to the irises' petals in two ways, and compare estimators by simulation.

    steps: minibatches of 10 to learn from; quick: a fifth of the steps
    """
    run = open_run(locals())
    n = steps // 5 if quick else steps
    model, path, x, y = descended(run, n, lr=lr, device=device, seed=seed)
    exact = chapter.least_squares(chapter.design(x), y)
    scores = {"gap": largest_gap(), "descent": float(np.abs(model.theta.numpy() - exact).max())}
    print(f"width = {exact[0]:.3f} + {exact[1]:.3f} length; R² {model.score(x, y):.3f}; largest gap to lstsq "
          f"{scores['gap']:.0e}; the descent ends {scores['descent']:.4f} away")  # fmt: skip
    run.save_figure("fit.png", fit(x, y, exact, path, model))
    tables = {noise: compared(noise, seed) for noise in ("equal", "unequal")}
    for noise, table in tables.items():
        print(f"variance of the slope, {noise} noise   simulated    formula  (10)")
        for name, (slopes, formula) in table.items():
            print(f"  {name:30} {slopes.var():12.5f} {formula:12.5f}")
            scores[f"{noise}, {name}"] = float(slopes.var())
    run.save_figure("gauss_markov.png", gauss_markov(tables))
    print(f"pictures in {run.folder}")
    return scores


def petals():
    """The irises' petals: length (n, 1) and width (n,), in centimetres, float64."""
    x = data.load("iris").train.features.astype(float)
    return x[:, 2:3], x[:, 3]


def descended(run, steps, *, lr=0.02, device="cpu", seed=0):
    """A line found by stochastic gradient descent, its way there (a row a step), and the data."""
    x, y = petals()
    rng = tg.random.Generator(seed, device=device)
    model = LinearRegression(1, lr=lr, schedule=Cosine(steps), rng=rng).to(dtype="float64")
    known = model.checked(x, y)
    for _ in run.steps(model, steps):
        run.log(**model.update(*data.batch(known, model.rng, 10)))
        run.log(theta_0=model.theta[0], theta_1=model.theta[1])
    columns = read_metrics(run.folder / "metrics.csv")
    path = np.array([columns["theta_0"], columns["theta_1"]]).T
    return model, np.concatenate([[[0, 0]], path]), x, y


def largest_gap():
    """The largest difference between the normal equations' solution and NumPy's, over many drawn problems."""
    rng, found = np.random.default_rng(0), [0.0]
    for d in range(1, 41):
        X = chapter.design(rng.normal(size=(5 * d + 10, d)))
        y = X @ rng.normal(size=d + 1) + rng.normal(size=len(X))
        found.append(np.abs(chapter.least_squares(X, y) - np.linalg.lstsq(X, y, rcond=None)[0]).max())
    return float(max(found))


def estimators(x, sigma):
    """Weights of linear unbiased estimators of a line through points x (n,) in their order."""
    n, i = len(x), np.arange(len(x))
    return {
        "least squares": np.ones(n),
        "every second example": (i % 2 == 0) * 1.0,
        "the outer quarters": ((i < n / 4) | (i >= 3 * n / 4)) * 1.0,
        "the first and the last": ((i == 0) | (i == n - 1)) * 1.0,
        "weights 1/σ²": 1 / sigma**2,
    }


def compared(noise, seed=0):
    """Each estimator's slopes on the same simulated samples, and their variance by (10); noise "equal" or "unequal"."""
    x = np.linspace(-1, 1, 30)
    sigma = np.full(30, 0.5) if noise == "equal" else np.where(x < 0, 0.9, 0.2)
    X, found = chapter.design(x[:, None]), {}
    for name, w in estimators(x, sigma).items():
        if noise == "unequal" or name != "weights 1/σ²":
            A = chapter.weighting(X, w)
            slopes = chapter.simulated(A, X, np.array([1.0, 2.0]), sigma, DRAWS,
                                       tg.random.Generator(seed))[:, 1]  # fmt: skip
            found[name] = slopes, chapter.covariance(A, sigma)[1, 1]
    return found


def reproduce(run, claims):
    """The claims of the CARD."""
    table = compared("equal")
    simulated = {name: slopes.var() for name, (slopes, _) in table.items()}
    rivals = [v for name, v in simulated.items() if name != "least squares"]
    values = {
        "largest gap to numpy.linalg.lstsq": largest_gap(),
        "variance of the best rival over least squares'": float(min(rivals) / simulated["least squares"]),
        "largest error of the variance's formula": float(max(abs(simulated[k] / v - 1) for k, (_, v) in table.items())),
    }
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small model, with features and answers."""
    return LinearRegression(2, rng=rng), rng.normal((20, 2)), rng.normal(20)


def loss(rng):
    """The mean squared error of a small model, for `python -m tinygen explain linear_regression`."""
    model, x, y = tiny(rng)
    return tg.mean(tg.square(y - model(x)))


# ---- pictures ---------------------------------------------------------------------------------------------------


def fit(x, y, exact, path, model):
    """The line through the flowers, and the descent over the contours of RSS."""
    made = plot.figure(11, 4.3)
    made.set_layout_engine("constrained")
    left, right = made.subplots(1, 2)
    left.plot(x[:, 0], y, "o", color="grey", markersize=4, alpha=0.6)
    ends = np.array([[x.min()], [x.max()]])
    left.plot(ends, chapter.linear(exact, ends), color="C0", linewidth=3, alpha=0.5, label="normal equations")
    left.plot(ends, model.predict(ends), color="C3", linestyle="--", label="stochastic gradient descent")
    left.set(xlabel="petal length (cm)", ylabel="petal width (cm)", title="Irises")
    left.legend()
    X = chapter.design(x)
    a, b = np.meshgrid(np.linspace(-0.75, 0.25, 120), np.linspace(-0.05, 0.6, 120))
    rss = np.array([chapter.residual_sum_of_squares(np.array(t), X, y) for t in zip(a.flat, b.flat, strict=True)])
    levels = rss.min() * np.geomspace(1.05, 100, 12)
    right.contour(a, b, rss.reshape(a.shape), levels=levels, colors="grey", linewidths=0.7)
    right.plot(*path.T, color="C3", linewidth=0.6, label="the descent from 0")
    right.plot(*exact, "*", color="C0", markersize=14, label="normal equations")
    right.set(xlabel=r"$\theta_0$", ylabel=r"$\theta_1$", xlim=(-0.75, 0.25), ylim=(-0.05, 0.6),
              title="The bowl of squared errors is a valley")  # fmt: skip
    right.legend(loc="upper right")
    return made


def gauss_markov(tables):
    """The distribution of the slope by each estimator, for equal and unequal noise."""
    made = plot.figure(11, 4.3)
    made.set_layout_engine("constrained")
    bins = np.linspace(0.5, 3.5, 121)
    for axes, (noise, table) in zip(made.subplots(1, 2), tables.items(), strict=True):
        for k, (name, (slopes, _)) in enumerate(table.items()):
            label = f"{name}: {slopes.var():.3f}"
            axes.hist(slopes, bins, density=True, histtype="step", color=f"C{k}", linewidth=1.5, label=label)
        axes.axvline(2, color="black", linewidth=0.8, linestyle=":")
        axes.set(title=f"{noise} noise", xlabel="estimated slope (true: 2)", yticks=[])
        axes.legend(title="variance", fontsize=8)
    return made


if __name__ == "__main__":
    from common import command

    command(main)

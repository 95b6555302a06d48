"""A variational autoencoder learns images, and its latent space is explored.

On the digits the code has two numbers, so that it can be seen: the map of the test set's codes, the map of what the
decoder draws at each place, and what becomes of the codes if only one of the two terms of the bound is trained. On
MNIST (black and white, drawn anew from the grey levels for each minibatch) and on drawn faces (grey, with a Gaussian
decoder) the code is longer. Every run also writes samples, reconstructions (each below its original), walks along the
axes of the code and from image to image; on faces there are walks towards glasses, hats, beards and long hair.
"""

import numpy as np

import tinygen as tg
from tinygen import plot
from tinygen.data import binarize, load
from tinygen.models.vae import VAE, exploring
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run

CARD = dict(
    rows=("F1", "F2"),
    resumes=True,
    model="vae.vae:VAE",
    claims={
        "test ELBO, digits, 2 latents (nats)": {"published": None, "bar": ">= -24.5", "budget_min": 2},
        "test ELBO, MNIST binarized (resampled), 20 latents (nats)": {
            "published": None, "bar": ">= -97.5", "budget_min": 12},
        "minus log-likelihood, 5,000 importance samples, MNIST binarized (resampled), 50 latents (nats)": {
            "published": 86.76, "bar": "<= 89.0", "budget_min": 75},
        "ELBO above that likelihood, the same model (nats)": {"published": None, "bar": "<= 0", "budget_min": 75},
    },
)  # fmt: skip
LONG = 200_000  # steps: what fits into an hour
SAMPLES = 5000  # of the encoder, for the likelihood of an image
UNUSED = 0.01  # nats: an entry of the code that costs less is not used
SIZES = {
    "digits": dict(steps=6000, latent=2, hidden=256, depth=2, likelihood="bernoulli"),
    "mnist": dict(steps=50_000, latent=20, hidden=400, depth=1, likelihood="bernoulli"),
    "mnist, long": dict(steps=LONG, latent=50, hidden=300, depth=2, likelihood="bernoulli", schedule=Cosine(LONG)),
    "faces": dict(steps=3000, latent=16, hidden=256, depth=2, likelihood="gaussian"),
}
REGIMES = {"reconstruction only (α = 1, β = 0)": (1, 0), "KL only (α = 0, β = 1)": (0, 1), "both (α = β = 1)": (1, 1)}


def main(*, data="digits", long=False, steps=0, latent=0, hidden=0, covariance="diagonal", alternate=0, importance=100,
         variance=0.005, lr=1e-3, device="cpu", seed=0, quick=False, out="runs_out/vae", resume=None):  # fmt: skip
    """Train a variational autoencoder and draw what it has learnt.

    data: digits, mnist or faces; long: a larger model of mnist, and an hour of learning, with a falling rate; steps:
    minibatches of 128 to learn from; latent: length of the code; hidden: width of the layers; 0 for any of these: as
    the data set asks; covariance: of the codes of an image, diagonal or full; alternate: steps of the encoder, then as
    many of the decoder (0: both at once); importance: samples for the estimate of the likelihood; variance: of a pixel
    given its code, on faces (0: the decoder gives one for each pixel); quick: a fifth of the steps, at most 1200
    """
    run = open_run(locals())
    data = f"{data}, long" if long else data
    steps = steps or size(data)["steps"]
    steps = min(steps // 5, 1200) if quick else steps
    vae, test, x, draws = trained(run, data, steps, latent=latent, hidden=hidden, covariance=covariance,
                                  alternate=alternate, variance=variance, lr=lr, device=device, seed=seed)  # fmt: skip
    x, labels = x[:1000], test.labels[:1000]
    log_px, kl = vae.elbo_parts(x, rng=draws)
    log_p, error = vae.log_prob_and_error(x, samples=importance, rng=draws)
    scores = {"elbo": log_px.mean() - kl.mean(), "log_px": log_px.mean(), "kl": kl.mean(), "log_p": log_p.mean(),
              "error": np.sqrt(np.square(error).sum()) / len(x)}  # fmt: skip
    print(
        "test set, nats an image (error: the importance sampling's): "
        + "  ".join(f"{name} {value:.2f}" for name, value in scores.items())
    )
    shares = vae.kl_by_unit(x)
    print(f"entries of the code in use: {np.sum(shares > UNUSED)} of {len(shares)} (KL of at least {UNUSED} nats)")
    draw(run, vae, x, draws)
    if vae.n_latent == 2:
        run.save_figure("latent.png", plot.scatter_latent(vae.transform(x), labels))
        sheet = grid(
            vae.decode(exploring.quantile_grid(20)),
            20,
            title="What the decoder makes of each place: quantiles of $z_1$ to the right, of $z_2$ upwards",
        )
        run.save_figure("manifold.png", sheet)
        run.save_figure("regimes.png", regimes(data, x, labels, max(steps // 5, 1), device, seed))
    if data == "faces":
        run.save_figure("attributes.png", attributes(vae, x, test.attributes[:1000]))
    print(f"pictures in {run.folder}")
    return scores


def size(data):
    """The model and the training that a data set asks for."""
    if data not in SIZES:
        raise ValueError(f"--data is {data!r}; digits, mnist and faces are there, and --long for mnist")
    return SIZES[data]


def trained(run, data, steps=0, *, latent=0, hidden=0, covariance="diagonal", alternate=0, weights=(1, 1),
            variance=0.005, lr=1e-3, device="cpu", seed=0, stand_in=True):  # fmt: skip
    """A trained model, the test part and its images as rows (n, pixels), and a Generator for the evaluation."""
    generator, draws = tg.random.Generator(seed, device=device).spawn(2)
    asked, resample = size(data), data.startswith("mnist")
    train, test = load("mnist" if resample else data, stand_in=stand_in)
    x = rows(train.images, data)
    gaussian = {"variance": variance or None} if asked["likelihood"] == "gaussian" else {}
    vae = VAE(x.shape[1], latent or asked["latent"], hidden=hidden or asked["hidden"], depth=asked["depth"],
              covariance=covariance, likelihood=asked["likelihood"], weights=weights, lr=lr,
              schedule=asked.get("schedule"), rng=generator, **gaussian)  # fmt: skip
    if gaussian:
        vae.decoder.start_at(x.mean(0))
    with blas_threads(1):  # products this small gain little from two threads, and lose much on a busy machine
        vae.fit(x, steps=steps or asked["steps"], alternate=alternate, resample=resample, run=run)
    x = rows(test.images, data)
    return vae, test, binarize.fixed(x, seed) if resample else x, draws


def rows(images, data):
    """Images (n, c, h, w) as rows; faces in grey and at half their width: (n, pixels)."""
    if data == "faces":
        images = images.mean(1).reshape(-1, 32, 2, 32, 2).mean((2, 4))
    return images.reshape(len(images), -1)


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`; each data set's run has a folder of its own.

    Only the real MNIST will do.
    """
    values, (digits, mnist, likelihood, excess) = {}, CARD["claims"]
    for claim, data in ((digits, "digits"), (mnist, "mnist")):
        if claim in claims:
            vae, _, x, draws = trained(run.part(data), data, stand_in=False)
            values[claim] = vae.elbo(x, rng=draws).mean()
    if {likelihood, excess} & set(claims):
        vae, _, x, draws = trained(run.part("long"), "mnist, long", stand_in=False)
        with blas_threads(1):
            log_p, elbo = vae.log_prob_and_error(x, samples=SAMPLES, rng=draws)[0].mean(), vae.elbo(x, rng=draws).mean()
        values |= {likelihood: -log_p, excess: elbo - log_p}
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small model, with images."""
    return VAE(6, 2, hidden=4, rng=rng), rng.uniform((20, 6))


def loss(rng):
    """Minus the ELBO of a small model, for `python -m tinygen explain vae`."""
    vae, x = tiny(rng)
    log_px, kl = vae(x, rng)
    return -tg.mean(log_px - kl)


# ---- pictures -------------------------------------------------------------------------------------------


def draw(run, vae, x, rng):
    """The pictures that every data set has."""
    z = vae.transform(x[:20])
    pairs = np.concatenate([x[:10], vae.decode(z[:10]), x[10:20], vae.decode(z[10:])])
    values = np.linspace(-2.5, 2.5, 11)
    axes = [exploring.traversal(z[0], k, values) for k in range(min(vae.n_latent, 10))]
    paths = [exploring.interpolation(z[k], z[k + 1], 11) for k in range(0, 16, 2)]
    sheets = {
        "samples": grid(vae.sample(100, rng=rng), 10, title="Codes drawn from the prior, decoded"),
        "reconstructions": grid(pairs, 10, row_names=["test image", "decoded"] * 2),
        "traversals": grid(vae.decode(np.concatenate(axes)), 11, title="One entry of a code at other values",
                           row_names=[f"$z_{{{k + 1}}}$" for k in range(len(axes))],
                           column_names=[f"{v:g}" for v in values]),
        "interpolations": grid(vae.decode(np.concatenate(paths)), 11,
                               title="Straight ways between the codes of two test images; both ends are rebuilt"),
    }  # fmt: skip
    for name, sheet in sheets.items():
        run.save_figure(f"{name}.png", sheet)
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))


def regimes(data, x, labels, steps, device, seed):
    """Codes of two numbers, drawn from the encoder, if one term of the bound is trained, or the other, or both.

    The circle of radius 2 holds 86 % of the prior.
    """
    codes = {}
    for name, weights in REGIMES.items():
        vae, _, _, draws = trained(Run(quiet=True), data, steps, latent=2, weights=weights, device=device, seed=seed)
        codes[name] = vae.encode(x, rng=draws)
    return plot.scatter_panels(codes, labels, radius=2)


def attributes(vae, x, values):
    """A row for each property: the same face with more and more of it, from much less on the left."""
    names = load("faces").attributes
    z, found = vae.transform(x), []
    shown = ("glasses", "hat", "beard", "hair_length")
    has = {name: values[:, names.index(name)] > 0.5 for name in shown}
    face = z[np.flatnonzero(~np.any(list(has.values()), axis=0))[0]]  # one that has none of them
    for name in shown:
        vector = exploring.attribute_vector(z, has[name])
        found.append(face + np.linspace(-0.5, 1.5, 9)[:, None] * vector)
    return grid(vae.decode(np.concatenate(found)), 9, row_names=[name.replace("_", " ") for name in shown])


def grid(images, columns, *, title="", row_names=(), column_names=()):
    """Square images (n, pixels) as a sheet; 8 x 8 pixels are easier to read interpolated."""
    side = round(images.shape[1] ** 0.5)
    return plot.image_grid(images.reshape(-1, side, side), columns, enlarge=8 if side == 8 else 1, title=title,
                           row_names=row_names, column_names=column_names)  # fmt: skip


if __name__ == "__main__":
    from common import command

    command(main)

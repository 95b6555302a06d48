"""A variational autoencoder learns handwritten digits with a code of two numbers, so that the code can be seen.

It writes samples, reconstructions (each below its original), the map of the test set's codes, and the map of
what the decoder draws at each place.
"""

import numpy as np
from scipy.stats import norm

import tinygen as tg
from tinygen import data, plot
from tinygen.models.vae import VAE
from tinygen.runs import open_run

CARD = dict(
    rows=("F1",),
    model="vae.vae:VAE",
    claims={"test ELBO, digits, 2 latents (nats)": {"published": None, "bar": ">= -24.5", "budget_min": 2}},
)


def main(*, steps=6000, latent=2, hidden=256, lr=1e-3, seed=0, quick=False, out="runs_out/vae", resume=None):
    """Train a variational autoencoder on the 8 x 8 digits and draw what it has learnt.

    steps: minibatches of 128 to learn from; latent: length of the code; quick: a fifth of the steps
    """
    run = open_run(locals())
    vae, test, draws = trained(run, steps // 5 if quick else steps, latent=latent, hidden=hidden, lr=lr, seed=seed)
    x = test.images.reshape(len(test.images), -1)  # (n, 64)
    log_px, kl = vae.elbo_parts(x, rng=draws)
    log_p = vae.log_prob_estimate(x, rng=draws)
    scores = {"elbo": log_px.mean() - kl.mean(), "log_px": log_px.mean(), "kl": kl.mean(), "log_p": log_p.mean()}
    print("test set, nats an image: " + "  ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    draw(run, vae, x, test.labels, draws)
    print(f"pictures in {run.folder}")
    return scores


def trained(run, steps, *, latent=2, hidden=256, lr=1e-3, seed=0):
    """A model trained on the digits, the test part, and a Generator for the evaluation."""
    weights, draws = tg.random.Generator(seed).spawn(2)
    train, test = data.load("digits")
    vae = VAE(64, latent, hidden=hidden, lr=lr, rng=weights)
    return vae.fit(train.images.reshape(len(train.images), -1), steps=steps, run=run), test, draws


def reproduce(run, claims):
    """The claim of the CARD, at the defaults of `main`."""
    vae, test, draws = trained(run, 6000)
    (claim,) = claims
    return {claim: vae.elbo(test.images.reshape(len(test.images), -1), rng=draws).mean()}


def loss(rng):
    """Minus the ELBO of a small model, for `python -m tinygen explain vae`."""
    log_px, kl = VAE(6, 2, hidden=4, rng=rng)(rng.uniform((3, 6)), rng)
    return -tg.mean(log_px - kl)


def draw(run, vae, x, labels, rng):
    """The five pictures."""
    shown = x[:20]
    pairs = np.concatenate([shown[:10], vae.reconstruct(shown[:10]), shown[10:], vae.reconstruct(shown[10:])])
    run.save_figure("samples.png", grid(vae.sample(100, rng=rng), 10))
    run.save_figure("reconstructions.png", grid(pairs, 10))
    run.save_figure("curves.png", plot.curves(run.folder / "metrics.csv"))
    if vae.n_latent == 2:
        run.save_figure("latent.png", plot.scatter_latent(vae.transform(x), labels))
        run.save_figure("manifold.png", grid(vae.decode(quantile_grid(20)), 20))


def grid(rows, columns):
    """Images (n, 64) as a sheet; 8 x 8 pixels are easier to read interpolated."""
    return plot.image_grid(rows.reshape(-1, 8, 8), columns, enlarge=8)


def quantile_grid(n):
    """Codes at the quantiles of the prior, so that every picture stands for equal probability: (n * n, 2)."""
    u = norm.ppf((np.arange(n) + 0.5) / n)
    return np.stack(np.meshgrid(u, -u), axis=-1).reshape(-1, 2)  # z_1 grows to the right, z_2 upwards


if __name__ == "__main__":
    from common import command

    command(main)

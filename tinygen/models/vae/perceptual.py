r"""A variational autoencoder that looks through a classifier's eyes (Hou, Shen, Sun and Qiu 2016; S1, perceptual loss).

What a variational autoencoder (`vae.py`) draws is blurred, and the blame lies with the way pictures are compared: pixel
by pixel. Where a code leaves open whether an edge runs here or one pixel to the right, no picture with an edge is the
best answer. Of all pictures $u$, the mean has the least squared error,

$$ \mathop{\mathrm{argmin}}_u\, \mathbb E \left[ \|x - u\|^2 \,\middle|\, z \right] = \mathbb E[x | z], \tag{1} $$

(with the Bernoulli likelihood too), and the mean of two sharp edges is a grey band. S1 says that a loss per pixel
"might not capture the important content". Someone who looks for strokes would like it less.

**Features.** A classifier has learnt what matters in pictures. Let $\phi_j(x)$ be what its layer $j$ finds: $C_j$ maps
of $H_j \times W_j$ numbers, each the answer of one detector at one place. Two pictures are alike if it finds alike
things in them (S1; $y$ is the picture, $\hat y$ what was drawn),

$$ \ell^{\phi, j}_{\mathrm{feat}}(\hat y, y)
   = \frac{1}{C_j H_j W_j} \left\| \phi_j(\hat y) - \phi_j(y) \right\|_2^2. \tag{2} $$

The factor makes it a mean, so that a layer of many numbers does not drown one of few. A mean of two pictures has half
the squared error that either has as a guess for both. In (2) it has not: $\phi_j$ is not linear, the features of the
mean are not the mean of the features, and to a detector of edges a grey band is neither one edge nor the other. The
blurred answer loses part of its advantage (the demo measures how much), and it pays to find out where the edge is.

S1 adds this to what was there, "as an additional loss", and so do we:

$$ \mathcal L(\theta, \lambda) = \mathbb E_{q_\lambda(z|x)} \Big[ -\log p_\theta(x|z)
   + \gamma \sum_j \ell^{\phi, j}_{\mathrm{feat}}(\hat x(z), x) \Big]
   + \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)), \tag{3} $$

with $\hat x(z)$ the decoder's mean and a weight $\gamma$. (Hou et al. leave the pixels out. Their pictures are of
faces, their classifier a large one; features of a small classifier ignore too much of a picture to draw it by.) The
classifier's own weights stay as they are.

What is lost: (2) is never negative, so $-\mathcal L$ is still below $\log p_\theta(x)$, but the bound on it that is
raised is a looser one. What the model gives as its `elbo` stays that of the pixels, and should be expected to be worse.
What is gained cannot be judged by the network whose features were used, which has been fitted to. Another one has to.
And one more term that asks for likeness makes the KL count for less beside it, as a smaller β does (`beta_vae.py`):
part of the gain may be that the code says more. A model whose pixels simply weigh more tells the two apart.

**Sharpness** without any network: the variance of the Laplacian over the inner pixels,

$$ S(x) = \mathrm{Var}_{r, s} \left( x_{r-1, s} + x_{r+1, s} + x_{r, s-1} + x_{r, s+1} - 4 x_{r, s} \right). \tag{4} $$

It is small where neighbours are alike, and does not tell a stroke from noise.

Misprint: S1 calls (2) "the L2 between features"; it is its square, divided.

Notation
--------
$x, z, \mathrm{KL}$ : as in `vae.py`
$y, \hat y$ : maps of them: `maps`, `maps_hat`, one (b, C_j, H_j, W_j) a layer
$\phi$ : `features`, a function of pixels (b, n) that gives these lists
$\gamma$ : `feature_weight`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.backend.random import Generator
from tinygen.models.vae.vae import VAE

Features = Callable[[Any], Sequence[Any]]  # pixels (b, n) to one (b, C_j, H_j, W_j) a layer

# ---- the equations --------------------------------------------------------------------------------------


def best_guess(x, weights):
    r"""(1): $\mathbb E[x|z]$, of pictures (m, n) that are possible with these probabilities (m,): (n,)."""
    return tg.sum(x * weights[:, None], axis=0)


def feature_loss(map_hat, map_):
    r"""(2): $\|\phi_j(\hat y) - \phi_j(y)\|^2 / (C_j H_j W_j)$; (b, C, H, W) twice to (b,)."""
    difference = tg.reshape(map_hat - map_, (len(map_), -1))
    return tg.sum(tg.square(difference), axis=1) / math.prod(map_.shape[1:])


def perceptual_loss(maps_hat, maps):
    r"""$\sum_j \ell^{\phi, j}_{\mathrm{feat}}$ for (3): lists of (b, C_j, H_j, W_j) to (b,)."""
    return sum(feature_loss(hat, true) for hat, true in zip(maps_hat, maps, strict=True))


def loss(log_px, kl, perceptual, feature_weight):
    r"""(3) from its terms; any shape."""
    return kl - log_px + feature_weight * perceptual


def sharpness(x) -> np.ndarray:
    """(4): the variance of each image's Laplacian; (b, h, w) to (b,), on the host."""
    x = np.asarray(x)
    if x.ndim != 3 or min(x.shape[1:]) < 3:
        raise ValueError(f"sharpness: x has shape {x.shape}; images (b, h, w) of 3 by 3 pixels at least are wanted")
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return (around - 4 * x[:, 1:-1, 1:-1]).var((1, 2))


# ---- the model ------------------------------------------------------------------------------------------


class PerceptualVAE(VAE):
    r"""A variational autoencoder that learns by (3).

    Parameters
    ----------
    n_pixels, n_latent : lengths $n$ of an image and $d$ of its code
    features : $\phi$, a function from a Tensor of pixels (b, n) to one (b, C_j, H_j, W_j) a layer, say a trained
        classifier's; its own weights are no part of this model
    feature_weight : $\gamma$; with 0 the features are not asked for, and this is `VAE`
    hidden, depth, likelihood, variance, lr, schedule, rng : as in `VAE`

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> x = tg.random.Generator(1).uniform((20, 6))
    >>> halves = lambda x: [tg.reshape(tg.relu(x[:, :3] - x[:, 3:]), (-1, 1, 1, 3))]
    >>> vae = PerceptualVAE(6, 2, halves, hidden=8, rng=tg.random.Generator(0)).fit(x, steps=3, run=Run(quiet=True))
    >>> vae.reconstruct(x).shape
    (20, 6)
    """

    def __init__(self, n_pixels: int, n_latent: int, features: Features, *, feature_weight: float = 100.0,
                 hidden: int = 256, depth: int = 2, likelihood: str = "bernoulli", variance: float | None = None,
                 lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        if not callable(features) or not feature_weight >= 0:
            raise ValueError(f"PerceptualVAE: features is {features!r} and feature_weight {feature_weight!r}; a "
                             "function of pixels that gives a list of maps, and a number of at least 0 are "
                             "wanted")  # fmt: skip
        super().__init__(n_pixels, n_latent, hidden=hidden, depth=depth, likelihood=likelihood, variance=variance,
                         lr=lr, schedule=schedule, rng=rng)  # fmt: skip
        self.features, self.feature_weight = features, feature_weight

    def terms(self, x, rng: Generator) -> tuple[Any, Any, Any]:
        r"""$\log p_\theta(x|z)$, KL and the features' loss of (3), for one draw an image: (b, n) to three of (b,)."""
        q = self.encoder(x)
        z = q.draw(rng.normal((1, *q.mu.shape), dtype=q.mu.dtype))  # (1, b, d)
        log_px = self.decoder.log_prob(x, z)[0]
        if not self.feature_weight:
            return log_px, q.kl(), tg.zeros_like(log_px)
        with tg.no_grad():
            maps = self.features(tg.tensor(x))
        return log_px, q.kl(), perceptual_loss(self.features(self.decoder.mean(z)[0]), maps)

    def update(self, x: np.ndarray, *, move: tuple[str, ...] = ("encoder", "decoder")) -> dict:
        """One step down the gradient of (3), averaged over a minibatch (b, n); its parts."""
        log_px, kl, perceptual = (tg.mean(part) for part in self.terms(x, self.rng))
        moving = [p for name in move for p in getattr(self, name).parameters()]
        grads = dict(zip(moving, tg.grad(loss(log_px, kl, perceptual, self.feature_weight), moving), strict=True))
        self.optimizer.step([grads.get(p) for p in self.optimizer.params])
        self.schedule.step()
        return {"elbo": log_px - kl, "log_px": log_px, "kl": kl, "perceptual": perceptual}

r"""The variational autoencoder (Kingma and Welling 2014; S4 eqs. 88–106, S3 part 4).

An autoencoder squeezes an image $x$ through a few numbers $z$ and learns to rebuild it. To *generate*, one must
also know which $z$ are worth decoding. The variational autoencoder settles this beforehand: $z$ is to be standard
normal, $p(z) = \mathcal N(0, I)$, and the decoder turns it into a distribution over images, $p_\theta(x|z)$.
The likelihood of an image is then an integral over all codes (S4 eq. 93), which cannot be computed. But an
encoder that guesses, for each image, the codes that matter, $q_\lambda(z|x)$, bounds it from below:

$$ \mathrm{ELBO}(\lambda, \theta, x)
   = \mathbb E_{q_\lambda(z|x)} \log p_\theta(x|z) - \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z))
   \;\le\; \log p_\theta(x), \tag{1} $$

(S4 eqs. 92 and 94). The gap is $\mathrm{KL}(q_\lambda(z|x) \| p_\theta(z|x))$ (S4 eq. 88), so raising the bound
raises the likelihood and improves the encoder at once. The first term asks for good reconstructions; the second
keeps the codes of all images together where the prior is, so that a draw from the prior decodes to something.

**The parts.** Encoder and decoder are networks. The decoder gives one logit per pixel, $\ell(z, \theta)$:

$$ \log p_\theta(x|z) = \sum_{i=1}^{n}
   x_i \log \sigma(\ell_i) + (1 - x_i) \log (1 - \sigma(\ell_i)). \tag{2} $$

A grey level $x_i$ is read as the probability of a white pixel: (2) is then the mean of the log-probability of a
random black-and-white version of the image. The encoder gives the mean and the log-variances of a Gaussian,
$q_\lambda(z|x) = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$. Drawing from it blocks the gradient, unless the
randomness enters from the side (S4, reparametrization trick):

$$ z = \mu + \sigma \odot \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I). \tag{3} $$

The second term of (1) is known in closed form (S4 eq. 106 for a diagonal $\Sigma$):

$$ \mathrm{KL}(\mathcal N(\mu, \mathrm{diag}\, \sigma^2) \,\|\, \mathcal N(0, I))
   = \frac12 \sum_{j=1}^{d} \left( \sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2 \right). \tag{4} $$

**Training** is S4's final procedure (after eq. 103): draw images, draw one $\varepsilon$ for each ($m = 1$), go
up the gradient of (1), with $\lambda$ and $\theta$ at once.

**How good is the bound?** Importance sampling with $q$ as the proposal gives a larger bound, which tends to
$\log p_\theta(x)$ as $m$ grows (Burda, Grosse and Salakhutdinov 2016):

$$ \log \hat p(x) = \log \frac1m \sum_{j=1}^{m}
   \frac{p_\theta(x|z_j)\, p(z_j)}{q_\lambda(z_j|x)}, \qquad z_j \sim q_\lambda(z|x). \tag{5} $$

Everything is in nats, summed over pixels and code entries and averaged over images. A mean over pixels in one
term and a sum in the other, a common slip, would weigh the KL $n$ times too heavily.

Misprints in the sources: S3 writes the divergence that defines the encoder as $\mathrm{KL}(p \| q)$; it is
$\mathrm{KL}(q \| p)$. S3's $L$ is to be maximised. S4's first copy of the loop lacks the minus before KL.

Notation
--------
$x$ : `x`, (b, n), pixels in [0, 1], b images at a time
$z, \varepsilon$ : `z`, `eps`, (b, d)
$\mu, \log \sigma^2$ : `mu`, `log_var`, (b, d), from `encoder` (its parameters are $\lambda$)
$\ell$ : `logits`, (b, n), from `decoder` (its parameters are $\theta$)
$n, d, m$ : `n_pixels`, `n_latent`, `samples`
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch
from tinygen.models.model import Model
from tinygen.nn import functional as F
from tinygen.runs import Run

# ---- the networks ---------------------------------------------------------------------------------------


class Encoder(nn.Module):
    r"""$q_\lambda(z|x)$: an image to the mean and the log-variances of its code."""

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int, rng: Generator):
        self.body = nn.Sequential(nn.Linear(n_pixels, hidden, rng=rng), nn.ReLU(),
                                  nn.Linear(hidden, hidden, rng=rng), nn.ReLU())  # fmt: skip
        self.mu = nn.Linear(hidden, n_latent, rng=rng)
        self.log_var = nn.Linear(hidden, n_latent, rng=rng)

    def forward(self, x):
        h = self.body(x)  # (b, hidden)
        return self.mu(h), self.log_var(h)  # (b, d) each


def decoder(n_latent: int, n_pixels: int, *, hidden: int, rng: Generator) -> nn.Sequential:
    r"""$p_\theta(x|z)$: a code to the logit of each pixel."""
    return nn.Sequential(nn.Linear(n_latent, hidden, rng=rng), nn.ReLU(), nn.Linear(hidden, hidden, rng=rng), nn.ReLU(),
                         nn.Linear(hidden, n_pixels, rng=rng))  # fmt: skip


# ---- the equations --------------------------------------------------------------------------------------


def log_likelihood(logits, x):
    r"""(2): $\sum_i x_i \log \sigma(\ell_i) + (1 - x_i) \log(1 - \sigma(\ell_i))$; (b, n), (b, n) to (b,)."""
    return -tg.sum(F.binary_cross_entropy_with_logits(logits, x, reduction="none"), axis=-1)


def reparameterise(mu, log_var, eps):
    r"""(3): $z = \mu + \sigma \odot \varepsilon$; three times (b, d) to (b, d)."""
    return mu + tg.exp(log_var / 2) * eps


def kl_to_standard_normal(mu, log_var):
    r"""(4): $\frac12 \sum_j (\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2)$; (b, d), (b, d) to (b,)."""
    return tg.sum(tg.exp(log_var) + tg.square(mu) - 1 - log_var, axis=-1) / 2


def log_normal(z, mu, log_var):
    r"""$\log \mathcal N(z; \mu, \mathrm{diag}\,\sigma^2)$, for (5); three times (b, d) to (b,)."""
    return -tg.sum(tg.square(z - mu) * tg.exp(-log_var) + log_var + math.log(2 * math.pi), axis=-1) / 2


# ---- the model ------------------------------------------------------------------------------------------


class VAE(Model):
    r"""A variational autoencoder with a Gaussian encoder and a Bernoulli decoder.

    Parameters
    ----------
    n_pixels, n_latent : lengths $n$ of an image and $d$ of its code
    hidden : width of the two hidden layers in encoder and decoder
    lr : learning rate of Adam
    rng : the Generator of the weights, the minibatches and $\varepsilon$; None takes fresh entropy. The model
        lives on its device.

    Examples
    --------
    >>> import tinygen as tg
    >>> x = tg.random.Generator(1).uniform((20, 6))
    >>> vae = VAE(6, 2, hidden=8, rng=tg.random.Generator(0)).fit(x, steps=3, run=Run(quiet=True))
    >>> vae.transform(x).shape, vae.sample(5).shape
    ((20, 2), (5, 6))
    """

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int = 256, lr: float = 1e-3,
                 rng: Generator | None = None):  # fmt: skip
        self.n_pixels, self.n_latent = n_pixels, n_latent
        self.rng = Generator() if rng is None else rng
        self.encoder = Encoder(n_pixels, n_latent, hidden=hidden, rng=self.rng)
        self.decoder = decoder(n_latent, n_pixels, hidden=hidden, rng=self.rng)
        self.optimizer = optim.Adam(self.parameters(), lr)

    def forward(self, x, rng: Generator):
        r"""The two terms of (1) for each image, the first from one draw of $\varepsilon$: (b, n) to (b,), (b,)."""
        mu, log_var = self.encoder(x)
        eps = rng.normal(mu.shape, dtype=mu.dtype)
        z = reparameterise(mu, log_var, eps)
        return log_likelihood(self.decoder(z), x), kl_to_standard_normal(mu, log_var)

    def update(self, x: np.ndarray) -> dict:
        """One step up the gradient of (1), averaged over a minibatch (b, n); its parts, in nats."""
        log_px, kl = (tg.mean(part) for part in self(x, self.rng))
        elbo = log_px - kl
        self.optimizer.step(tg.grad(-elbo, self.optimizer.params))
        return {"elbo": elbo, "log_px": log_px, "kl": kl}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 128, run: Run | None = None) -> Self:
        """Train on images (rows, n) in [0, 1]; goes on where `run` stopped, if it is a resumed one."""
        x, run = self._checked(x), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size)))
        return self

    # ---- what it can do ----

    def decode(self, z: np.ndarray) -> np.ndarray:
        r"""The pixels' probabilities $\sigma(\ell(z))$: (b, d) to (b, n)."""
        with tg.no_grad():
            return tg.sigmoid(self.decoder(tg.tensor(z, dtype=self._like.dtype, device=self._like.device))).numpy()

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New images (n, n_pixels): codes drawn from the prior, decoded to the pixels' probabilities."""
        return self.decode(self._generator(rng).normal((n, self.n_latent)))

    def transform(self, x: np.ndarray) -> np.ndarray:
        r"""The codes' means $\mu(x)$: (b, n) to (b, d)."""
        with tg.no_grad():
            return self.encoder(self._checked(x))[0].numpy()

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        r"""Images encoded to $\mu(x)$ and decoded again: (b, n) to (b, n)."""
        return self.decode(self.transform(x))

    def elbo_parts(self, x: np.ndarray, *, rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        r"""The terms $\log p_\theta(x|z)$ (from one draw) and KL of (1): (b, n) to (b,), (b,), in nats."""
        with tg.no_grad():
            log_px, kl = self(self._checked(x), self._generator(rng))
        return log_px.numpy(), kl.numpy()

    def elbo(self, x: np.ndarray, *, rng: Generator | None = None) -> np.ndarray:
        """The bound (1) for each image: (b, n) to (b,), in nats."""
        log_px, kl = self.elbo_parts(x, rng=rng)
        return log_px - kl

    def log_prob_estimate(self, x: np.ndarray, *, samples: int = 100, rng: Generator | None = None) -> np.ndarray:
        r"""$\log \hat p(x)$ by (5): (b, n) to (b,), in nats. Its mean is below $\log p_\theta(x)$, and nears it."""
        x, rng = self._checked(x), self._generator(rng)
        total = np.full(len(x), -np.inf)
        with tg.no_grad():
            mu, log_var = self.encoder(x)
            zero = tg.zeros_like(mu)
            for _ in range(samples):
                z = reparameterise(mu, log_var, rng.normal(mu.shape, dtype=mu.dtype))
                log_w = log_likelihood(self.decoder(z), x) + log_normal(z, zero, zero) - log_normal(z, mu, log_var)
                total = np.logaddexp(total, log_w.numpy())
        return total - math.log(samples)

    @property
    def _like(self) -> tg.Tensor:
        """A Tensor whose dtype and device are the networks'."""
        return self.encoder.mu.weight

    def _generator(self, rng: Generator | None) -> Generator:
        """rng, or one of fresh entropy on the networks' device."""
        return Generator(device=self._like.device) if rng is None else rng

    def _checked(self, x):
        """x as rows of pixels in the networks' dtype, on their device, or an error that says what is wrong."""
        x = backend.asarray(x, self._like.dtype, self._like.device)
        if x.ndim != 2 or x.shape[1] != self.n_pixels:
            raise ValueError(f"VAE: x has shape {x.shape}; rows of {self.n_pixels} pixels are wanted "
                             f"(x.reshape(len(x), -1) flattens images)")  # fmt: skip
        if not (len(x) and 0 <= float(x.min()) and float(x.max()) <= 1):
            found = f"values from {float(x.min()):.4g} to {float(x.max()):.4g}" if len(x) else "no rows"
            raise ValueError(f"VAE: x has {found}; pixels in [0, 1] are wanted")
        return x

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

**Grey levels as they are.** S4's own decoder is a Gaussian, whose mean and covariance both come from the network,
$p_\theta(x|z) = \mathcal N(u(z, \theta), \mathrm{diag}\, s^2(z, \theta))$:

$$ \log p_\theta(x|z) = -\frac12 \sum_{i=1}^{n} \left( \frac{(x_i - u_i)^2}{s_i^2} + \log 2\pi s_i^2 \right). \tag{5} $$

It is a density, so it has no upper bound: a pixel that is black in every image would send $s_i^2$ to 0 and (5) to
infinity. The variances here stay above a floor. With a fixed variance, (5) is a squared error over $2s^2$, so that
the choice of $s^2$ decides how much the KL counts beside it; who writes a plain squared error has chosen
$s^2 = \frac12$.

**Training** is S4's final procedure (after eq. 103): draw images, draw $m$ noises $\varepsilon$ for each, and go up
the gradient of

$$ \widetilde{\mathrm{ELBO}}(\lambda, \theta, x)
   = \frac1m \sum_{j=1}^{m} \log p_\theta(x|z_j) - \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)), \tag{6} $$

with $\lambda$ and $\theta$ at once (S4 eq. 103); $m = 1$ does. S4 first proposes to take turns: the best $\lambda$ for
this $\theta$, then the best $\theta$ for that $\lambda$ (`alternate` does so with a number of steps in place of "the
best"). It proves that $\log p_\theta(x)$ then never falls (S4 eqs. 95–102). The proof slips at (97): the best
$q_\lambda$ equals the posterior only if the encoder's family contains it, and Gaussians with a diagonal covariance
hardly ever do. What never falls is the bound. Where $q_\lambda$ misfits, the decoder's turn can raise the bound by
making the posterior fit the encoder, and lower the likelihood (the tests show a case in one dimension).

**What each term does** (S3, latent space visualisation): give them weights,

$$ a\, \mathbb E_{q_\lambda(z|x)} \log p_\theta(x|z) - b\, \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)). \tag{7} $$

With $b = 0$ the noise dies away and the codes scatter as they please, with gaps that decode to nothing. With $a = 0$
every image has the same code, the prior. With both, the codes fill the prior and neighbours look alike.

**How good is the bound?** Importance sampling with $q$ as the proposal gives a larger bound, which tends to
$\log p_\theta(x)$ as $m$ grows (Burda, Grosse and Salakhutdinov 2016):

$$ \log \hat p(x) = \log \frac1m \sum_{j=1}^{m}
   \frac{p_\theta(x|z_j)\, p(z_j)}{q_\lambda(z_j|x)}, \qquad z_j \sim q_\lambda(z|x). \tag{8} $$

Its standard error follows from the spread of the weights $w_j$, the terms of the sum in (8), by
$\mathrm{sd}(\log \hat p) \approx \mathrm{sd}(\hat p) / \hat p$:

$$ \mathrm{se} = \sqrt{\frac{\sum_j w_j^2}{(\sum_j w_j)^2} - \frac1m}. \tag{9} $$

Everything is in nats, summed over pixels and code entries and averaged over images. A mean over pixels in one
term and a sum in the other, a common slip, would weigh the KL $n$ times too heavily.

Misprints in the sources: S3 writes the divergence that defines the encoder as $\mathrm{KL}(p \| q)$; it is
$\mathrm{KL}(q \| p)$. S3's $L$ is to be maximised. S4's first copy of the loop lacks the minus before KL, and its
$\Sigma(z, \lambda)$ is $\Sigma(x, \lambda)$. S4 eq. 91 is a KL to $p(x, \cdot)$, which is not normalised over $z$.

Notation
--------
$x$ : `x`, (b, n), pixels in [0, 1], b images at a time
$z, \varepsilon$ : `z`, `eps`, (m, b, d), m draws for each image
$\mu, \log \sigma^2$ : `mu`, `log_var`, (b, d), from `encoder` (its parameters are $\lambda$)
$\ell$ : `logits`, (m, b, n), from `decoder` (its parameters are $\theta$); of a Gaussian $u, \log s^2$
$n, d, m$ : `n_pixels`, `n_latent`, `samples`
$a, b$ : `weights`
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model
from tinygen.nn import functional as F
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def log_likelihood(logits, x):
    r"""(2): $\sum_i x_i \log \sigma(\ell_i) + (1 - x_i) \log(1 - \sigma(\ell_i))$; (..., n) twice to (...)."""
    return -tg.sum(F.binary_cross_entropy_with_logits(logits, x, reduction="none"), axis=-1)


def reparameterise(mu, log_var, eps):
    r"""(3): $z = \mu + \sigma \odot \varepsilon$; (b, d), (b, d), (..., b, d) to (..., b, d)."""
    return mu + tg.exp(log_var / 2) * eps


def kl_to_standard_normal(mu, log_var):
    r"""(4): $\frac12 \sum_j (\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2)$; (b, d), (b, d) to (b,)."""
    return tg.sum(tg.exp(log_var) + tg.square(mu) - 1 - log_var, axis=-1) / 2


def log_normal(z, mu, log_var):
    r"""$\log \mathcal N(z; \mu, \mathrm{diag}\,\sigma^2)$, for (5) and (8): three of (..., d) to (...)."""
    return -tg.sum(tg.square(z - mu) * tg.exp(-log_var) + log_var + math.log(2 * math.pi), axis=-1) / 2


# ---- the networks ---------------------------------------------------------------------------------------


def layers(n_in: int, hidden: int, depth: int, rng: Generator) -> list[nn.Module]:
    """Fully connected layers of one width, each followed by a ReLU."""
    widths = [n_in] + [hidden] * depth
    return [m for i, o in itertools.pairwise(widths) for m in (nn.Linear(i, o, rng=rng), nn.ReLU())]


class Encoder(nn.Module):
    r"""$q_\lambda(z|x)$: an image to the mean and the log-variances of its code."""

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int, depth: int, rng: Generator):
        self.body = nn.Sequential(*layers(n_pixels, hidden, depth, rng))
        self.mu = nn.Linear(hidden, n_latent, rng=rng)
        self.log_var = nn.Linear(hidden, n_latent, rng=rng)

    def forward(self, x):
        h = self.body(x)  # (b, hidden)
        return self.mu(h), self.log_var(h)  # (b, d) each


class BernoulliDecoder(nn.Sequential):
    r"""$p_\theta(x|z)$ for black-and-white images: a code to the logit $\ell$ of each pixel."""

    def __init__(self, n_latent: int, n_pixels: int, *, hidden: int, depth: int, rng: Generator):
        super().__init__(*layers(n_latent, hidden, depth, rng), nn.Linear(hidden, n_pixels, rng=rng))

    def log_prob(self, x, z):
        r"""$\log p_\theta(x|z)$ by (2): (b, n), (m, b, d) to (m, b)."""
        logits = self(z)  # (m, b, n)
        return log_likelihood(logits, tg.broadcast_to(x, logits.shape))

    def mean(self, z):
        r"""$\mathbb E[x|z] = \sigma(\ell)$."""
        return tg.sigmoid(self(z))


class GaussianDecoder(nn.Sequential):
    r"""$p_\theta(x|z)$ for grey levels: a code to the mean $u$ and the log-variance $\log s^2$ of each pixel.

    Parameters
    ----------
    variance : $s^2$, one for all pixels; None lets the network give one for each, as S4 does
    floor : what a variance given by the network stays above
    """

    def __init__(self, n_latent: int, n_pixels: int, *, hidden: int, depth: int, rng: Generator,
                 variance: float | None = None, floor: float = 1e-4):  # fmt: skip
        outputs = 2 * n_pixels if variance is None else n_pixels
        super().__init__(*layers(n_latent, hidden, depth, rng), nn.Linear(hidden, outputs, rng=rng))
        self.n_pixels, self.variance, self.floor = n_pixels, variance, floor

    def forward(self, z):
        h = super().forward(z)  # (m, b, 2n), or (m, b, n)
        if self.variance is not None:
            return h, tg.zeros_like(h) + math.log(self.variance)
        u, free = h[..., : self.n_pixels], h[..., self.n_pixels :]
        low = math.log(self.floor)
        return u, low + F.softplus(free - low)  # about `free` where that is far above the floor

    def start_at(self, image: np.ndarray) -> None:
        """Before training: let codes decode to about this image (n,), say the mean of the data.

        Otherwise the first steps put the mean brightness into the code, and the KL is slow to take it out again:
        the codes of images then lie far from the prior, whose own draws decode to noise.
        """
        *_, bias = self.parameters()  # the last layer's
        values = bias.numpy().copy()
        values[: self.n_pixels] = image
        bias.assign(values)

    def log_prob(self, x, z):
        r"""$\log p_\theta(x|z)$ by (5): (b, n), (m, b, d) to (m, b)."""
        return log_normal(x, *self(z))

    def mean(self, z):
        r"""$\mathbb E[x|z] = u$."""
        return self(z)[0]


# ---- the model ------------------------------------------------------------------------------------------


def turn(step: int, alternate: int) -> tuple[str, ...]:
    """The networks that move in step 1, 2, ...: both, or by turns of `alternate` steps the encoder and the decoder."""
    if not alternate:
        return "encoder", "decoder"
    return ("encoder",) if (step - 1) // alternate % 2 == 0 else ("decoder",)


class VAE(Model):
    r"""A variational autoencoder with a Gaussian encoder.

    Parameters
    ----------
    n_pixels, n_latent : lengths $n$ of an image and $d$ of its code
    hidden, depth : width and number of the hidden layers in encoder and decoder
    likelihood : "bernoulli", the decoder (2), or "gaussian", (5)
    variance : $s^2$ of the Gaussian decoder; by default the decoder gives one for each pixel
    weights : $(a, b)$ of (7), what the two terms weigh in training; what is logged and given back is not weighted
    samples : $m$ of (6) in training
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

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int = 256, depth: int = 2,
                 likelihood: str = "bernoulli", variance: float | None = None,
                 weights: tuple[float, float] = (1.0, 1.0), samples: int = 1, lr: float = 1e-3,
                 rng: Generator | None = None):  # fmt: skip
        if likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"VAE: likelihood is {likelihood!r}; 'bernoulli' or 'gaussian' is wanted")
        if variance is not None and not (likelihood == "gaussian" and variance > 0):
            raise ValueError(f"VAE: variance is {variance!r} with likelihood={likelihood!r}; a positive number is "
                             "wanted, and only for the Gaussian decoder")  # fmt: skip
        if samples < 1:
            raise ValueError(f"VAE: samples is {samples!r}; at least one draw for each image is wanted")
        self.n_pixels, self.n_latent, self.weights, self.samples = n_pixels, n_latent, weights, samples
        self.rng = Generator() if rng is None else rng
        sizes: dict[str, Any] = {"hidden": hidden, "depth": depth, "rng": self.rng}
        self.encoder = Encoder(n_pixels, n_latent, **sizes)
        self.decoder = (BernoulliDecoder(n_latent, n_pixels, **sizes) if likelihood == "bernoulli" else
                        GaussianDecoder(n_latent, n_pixels, variance=variance, **sizes))  # fmt: skip
        self.optimizer = optim.Adam(self.parameters(), lr)

    def forward(self, x, rng: Generator, samples: int = 1):
        r"""The two terms of (6) for each image: (b, n) to (b,), (b,)."""
        mu, log_var = self.encoder(x)
        eps = rng.normal((samples, *mu.shape), dtype=mu.dtype)
        z = reparameterise(mu, log_var, eps)  # (m, b, d)
        return tg.mean(self.decoder.log_prob(x, z), axis=0), kl_to_standard_normal(mu, log_var)

    def objective(self, log_px, kl):
        r"""(7): $a\, \mathbb E \log p_\theta(x|z) - b\, \mathrm{KL}$."""
        a, b = self.weights
        return a * log_px - b * kl

    def update(self, x: np.ndarray, *, move: tuple[str, ...] = ("encoder", "decoder")) -> dict:
        """One step up the gradient of (7), averaged over a minibatch (b, n); the parts of (6), in nats.

        `move` names the networks whose parameters change: one of them in an alternating step.
        """
        log_px, kl = (tg.mean(part) for part in self(x, self.rng, self.samples))
        moving = [p for name in move for p in getattr(self, name).parameters()]
        grads = dict(zip(moving, tg.grad(-self.objective(log_px, kl), moving), strict=True))
        self.optimizer.step([grads.get(p) for p in self.optimizer.params])
        return {"elbo": log_px - kl, "log_px": log_px, "kl": kl}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 128, alternate: int = 0, resample: bool = False,
            run: Run | None = None) -> Self:  # fmt: skip
        """Train on images (rows, n) in [0, 1]; goes on where `run` stopped, if it is a resumed one.

        Parameters
        ----------
        alternate : how many steps the encoder has before it is the decoder's turn, for as many; 0 moves both at once
        resample : whether grey levels become black and white, drawn anew for each minibatch: what
            `data.binarize.resampled` does, here on the model's device
        """
        x, run = self._checked(x), run or Run()
        for step in run.steps(self, steps):
            x_batch = batch(x, self.rng, batch_size)  # (b, n)
            x_batch = self.rng.bernoulli(x_batch, dtype=x.dtype) if resample else x_batch
            run.log(**self.update(x_batch, move=turn(step, alternate)))
        return self

    # ---- what it can do ----

    def decode(self, z: np.ndarray) -> np.ndarray:
        r"""The pixels' means, $\sigma(\ell(z))$ or $u(z)$: (b, d) to (b, n)."""
        with tg.no_grad():
            return self.decoder.mean(tg.tensor(z, dtype=self._like.dtype, device=self._like.device)).numpy()

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New images (n, n_pixels): codes drawn from the prior, decoded to the pixels' means."""
        return self.decode(self._generator(rng).normal((n, self.n_latent)))

    def transform(self, x: np.ndarray) -> np.ndarray:
        r"""The codes' means $\mu(x)$: (b, n) to (b, d)."""
        with tg.no_grad():
            return self.encoder(self._checked(x))[0].numpy()

    def encode(self, x: np.ndarray, *, rng: Generator | None = None) -> np.ndarray:
        r"""Codes drawn from $q_\lambda(z|x)$, one for each image: (b, n) to (b, d)."""
        with tg.no_grad():
            mu, log_var = self.encoder(self._checked(x))
            return reparameterise(mu, log_var, self._generator(rng).normal(mu.shape, dtype=mu.dtype)).numpy()

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        r"""Images encoded to $\mu(x)$ and decoded again: (b, n) to (b, n)."""
        return self.decode(self.transform(x))

    def elbo_parts(self, x: np.ndarray, *, samples: int = 1,
                   rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        r"""The terms $\log p_\theta(x|z)$, from so many draws, and KL of (6): (b, n) to (b,), (b,), in nats."""
        with tg.no_grad():
            log_px, kl = self(self._checked(x), self._generator(rng), samples)
        return log_px.numpy(), kl.numpy()

    def elbo(self, x: np.ndarray, *, rng: Generator | None = None) -> np.ndarray:
        """The bound (1) for each image: (b, n) to (b,), in nats."""
        log_px, kl = self.elbo_parts(x, rng=rng)
        return log_px - kl

    def log_prob_estimate(self, x: np.ndarray, *, samples: int = 100, rng: Generator | None = None) -> np.ndarray:
        r"""$\log \hat p(x)$ by (8): (b, n) to (b,), in nats. Its mean is below $\log p_\theta(x)$, and nears it."""
        return self.log_prob_and_error(x, samples=samples, rng=rng)[0]

    def log_prob_and_error(self, x: np.ndarray, *, samples: int = 5000, rows: int = 2048,
                           rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        r"""$\log \hat p(x)$ by (8) and its standard error (9): (b, n) to (b,), (b,), in nats.

        However many images and samples there are, at most `rows` codes are decoded at a time.
        """
        x, rng = self._checked(x), self._generator(rng)
        with tg.no_grad():
            sums = [self._sums_of_weights(part, samples, rows, rng) for part in in_order(x, rows)]
        log_sum, log_sum_squares = np.concatenate(sums, axis=1)
        variance = np.exp(log_sum_squares - 2 * log_sum) - 1 / samples
        return log_sum - math.log(samples), np.sqrt(np.maximum(variance, 0))  # rounding may take it below 0

    def _sums_of_weights(self, x, samples: int, rows: int, rng: Generator) -> np.ndarray:
        r"""$\log \sum_j w_j$ and $\log \sum_j w_j^2$ for (8) and (9): (b, n) to (2, b), in float64."""
        mu, log_var = self.encoder(x)
        zero, at_once = tg.zeros_like(mu), max(1, rows // len(x))
        sums = np.full((2, len(x)), -np.inf)
        for first in range(0, samples, at_once):
            m = min(at_once, samples - first)
            z = reparameterise(mu, log_var, rng.normal((m, *mu.shape), dtype=mu.dtype))  # (m, b, d)
            log_w = self.decoder.log_prob(x, z) + log_normal(z, zero, zero) - log_normal(z, mu, log_var)  # (m, b)
            log_w = log_w.numpy().astype(float)
            sums = np.logaddexp(sums, np.logaddexp.reduce([log_w, 2 * log_w], axis=1))
        return sums

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

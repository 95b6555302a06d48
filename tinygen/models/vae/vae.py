r"""The variational autoencoder (Kingma and Welling 2014; S4 eqs. 88–106, S3 part 2, S1).

An autoencoder squeezes an image $x$ through a few numbers $z$, its code, and learns to rebuild it. To *generate*, one
must also know which $z$ are worth decoding. The variational autoencoder settles this beforehand: $z$ is to be standard
normal, $p(z) = \mathcal N(0, I)$ (the prior), and the decoder turns it into a distribution over images,
$p_\theta(x|z)$. The likelihood of an image and the codes that may have made it (the posterior) are then

$$ p_\theta(x) = \int p_\theta(x|z)\, p(z)\, dz, \qquad p_\theta(z|x) = p_\theta(x|z)\, p(z) / p_\theta(x) $$

(S4 eq. 93), and the integral over all codes cannot be computed. But an encoder that guesses, for each image, the codes
that matter, $q_\lambda(z|x)$, bounds it from below by the *evidence lower bound*

$$ \mathrm{ELBO}(\lambda, \theta, x)
   = \mathbb E_{q_\lambda(z|x)} \log p_\theta(x|z) - \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z))
   \;\le\; \log p_\theta(x) \tag{1} $$

(S4 eqs. 92 and 94), where $\mathrm{KL}(q \| p) = \mathbb E_q \log (q/p) \ge 0$ is the Kullback–Leibler divergence (S4
eq. 87). The gap is $\mathrm{KL}(q_\lambda(z|x) \| p_\theta(z|x))$ (S4 eq. 88). Raising the bound over $\lambda$ narrows
the gap, since $\log p_\theta(x)$ does not contain $\lambda$. Raising it over $\theta$ raises $\log p_\theta(x)$, or
narrows the gap, or does both. The first term of (1) asks for good reconstructions; the second keeps the codes of all
images together where the prior is, so that a draw from the prior decodes to something.

**The parts.** Encoder and decoder are networks. For black-and-white images the decoder is Bernoulli: it gives a logit
per pixel, $\ell(z, \theta)$, which makes $\pi_i = 1 / (1 + e^{-\ell_i})$ the probability that pixel $i$ is white,

$$ \log p_\theta(x|z) = \sum_{i=1}^{n} x_i \log \pi_i + (1 - x_i) \log (1 - \pi_i). \tag{2} $$

A grey level $x_i$ is read as the probability of a white pixel: (2) is then the mean of the log-probability of a random
black-and-white version of the image. What (1) bounds is then no likelihood of the grey image, but it is at most the
mean log-likelihood of these versions. The encoder gives the mean and the log-variances of a Gaussian,
$q_\lambda(z|x) = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$. A draw from it has no derivative with respect to $\mu$ and
$\sigma$, unless the randomness comes from elsewhere (S4 and S1, reparametrization trick):

$$ z = \mu + \sigma \odot \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I). \tag{3} $$

Now $\partial z / \partial \mu = 1$ and $\partial z / \partial \sigma = \varepsilon$. The second term of (1) is known in
closed form (S4 eq. 106 for a diagonal $\Sigma$):

$$ \mathrm{KL}(\mathcal N(\mu, \mathrm{diag}\, \sigma^2) \,\|\, \mathcal N(0, I))
   = \frac12 \sum_{k=1}^{d} \left( \sigma_k^2 + \mu_k^2 - 1 - \log \sigma_k^2 \right). \tag{4} $$

S4 lets $q_\lambda(z|x) = \mathcal N(\mu, \Sigma)$ have any covariance. Then the encoder gives a lower triangular $L$
with a positive diagonal, which makes each $\Sigma = L L^\top$ exactly once, and whose determinant is $\prod_k L_{kk}$:

$$ z = \mu + L \varepsilon, \qquad \log q_\lambda(z|x) = \log \mathcal N(\varepsilon; 0, I) - \sum_k \log L_{kk},
   \tag{9} $$
$$ \mathrm{KL}(\mathcal N(\mu, \Sigma) \,\|\, \mathcal N(0, I))
   = \frac12 \left( \mathrm{tr}\, \Sigma + \mu^\top \mu - d - \log |\Sigma| \right) \tag{10} $$

(S4 eqs. 105–106). The posterior behind a network need not have axes along the code's; but the decoder is free to turn
its code so that they nearly do, and then the diagonal loses little.

**Grey levels as they are.** S4's own decoder is $\mathcal N(\mu(z, \theta), \Sigma(z, \theta))$, whose mean and
covariance both come from the network. Here, with $\Sigma$ diagonal and $u, s^2$ for its letters,

$$ \log p_\theta(x|z) = -\frac12 \sum_{i=1}^{n} \left( \frac{(x_i - u_i)^2}{s_i^2} + \log 2\pi s_i^2 \right). \tag{5} $$

A density, unlike a probability, can exceed 1 without limit: a pixel that is black in every image would send $s_i^2$ to
0 and (5) to infinity. The variances here stay above a floor. With a fixed variance, (5) is, up to a constant, minus the
squared error over $2s^2$, so that the choice of $s^2$ decides how much the KL counts beside it. S1 drops the
$1/(2\sigma^2)$, which sets $\sigma^2 = \frac12$ without saying so.

**Training** is S4's final procedure (after eq. 103): draw images, draw $m$ noises $\varepsilon$ for each, and go up
the gradient of

$$ \widetilde{\mathrm{ELBO}}(\lambda, \theta, x)
   = \frac1m \sum_{j=1}^{m} \log p_\theta(x|z_j) - \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)), \tag{6} $$

with $\lambda$ and $\theta$ at once (S4 eq. 103); $m = 1$ is enough. S4 first proposes to take turns: the best $\lambda$
for this $\theta$, then the best $\theta$ for that $\lambda$ (`alternate` does so with a number of steps in place of
"the best", so that even the bound may fall for a step). It proves that $\log p_\theta(x)$ then never falls (S4 eqs.
95–102), and calls that convergence, which it is not. The proof slips at (97): the best $q_\lambda$ equals the posterior
only if the encoder's family contains it. Gaussians contain it only where $\log p_\theta(x|z)$ is quadratic in $z$,
so not behind layers of ReLUs. What never falls is the bound. Where $q_\lambda$ misfits, the decoder's turn can raise
the bound by making the posterior fit the encoder, and lower the likelihood. With
$p_\theta(x|z) = \mathcal N(\theta z, 1)$, encoders $\mathcal N(\mu, 1)$ of a fixed width, and one image $x = 3$,
the most likely $\theta$ is $\sqrt 8$. A turn of the decoder from there raises the bound from −5.42 to −3.75, while
$\log p_\theta(x)$ falls from −2.52 to −2.90.

**What each term does** (S3 part 2, latent space visualisation): give them weights,

$$ \alpha\, \mathbb E_{q_\lambda(z|x)} \log p_\theta(x|z) - \beta\, \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)) \tag{7} $$

(S1's β-VAE has $\alpha = 1$). With $\beta = 0$ the noise only blurs the reconstruction, so $\sigma$ goes to 0 and the
codes scatter as they please, with gaps that decode to nothing. With $\alpha = 0$ the KL is 0 only where
$q_\lambda(z|x) = p(z)$: every image has the same distribution of codes, and the decoder learns nothing. With both, the
codes fill the prior and neighbours look alike.

**How good is the bound?** Importance sampling (`importance.py`) estimates $\log p_\theta(x)$ from draws of the encoder
and their log-weights,

$$ \log w_j = \log p_\theta(x|z_j) + \log p(z_j) - \log q_\lambda(z_j|x), \qquad z_j \sim q_\lambda(z|x), \tag{8} $$

whose expectation is the ELBO.

**Posterior collapse.** An entry of the code that the decoder does not listen to costs the least if the encoder does not
speak: its $q$ is then the prior's for every image, and its share of (4) is 0. `kl_by_unit` gives these shares. Of more
entries than can be paid for by better reconstructions the rest are switched off, and by a strong $\beta$ all.

Everything is in nats (natural logarithms), summed over pixels and code entries and averaged over images. A mean over
pixels in one term and a sum in the other, a common slip, would weigh the KL $n$ times too heavily.

Misprints in the sources: S3 writes the divergence that defines the encoder as $\mathrm{KL}(p \| q)$; it is
$\mathrm{KL}(q \| p)$. S3's $L$ is to be maximised. S4's loop as it "should be" lacks the minus before KL, and its
encoder gives "$\Sigma(z, \lambda)$ and $\Sigma(z, \lambda)$" where $\mu(x, \lambda)$ and $\Sigma(x, \lambda)$
are meant. S4 eq. 91 is a KL to $p(x, \cdot)$, which is not normalised over $z$.

Notation
--------
$x$ : `x`, (b, n), pixels in [0, 1], b images at a time ($x_i$ is pixel i here; S4's $x_i$ is image i)
$z, \varepsilon$ : `z`, `eps`, (m, b, d), m draws for each image
$\mu, \log \sigma^2$ : `mu`, `log_var`, (b, d), from `encoder`; $\sigma$ is `exp(log_var / 2)`
$L$ : `L`, (b, d, d), and the logarithms of its diagonal, `log_diagonal`, (b, d)
$\ell$ : `logits`, (m, b, n), from `decoder`; of a Gaussian $u, \log s^2$
$\lambda, \theta$ : `encoder.parameters()`, `decoder.parameters()`
$n, d, m$ : `n_pixels`, `n_latent`, `samples`
$\alpha, \beta$ : `weights`
$\mathbb E_q \log p_\theta(x|z)$, KL : `log_px`, `kl`, (b,)
$\log w_j$ : `log_w`, (m, b)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model
from tinygen.models.vae import importance
from tinygen.nn import functional as F
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def log_likelihood(logits, x):
    r"""(2): $\sum_i x_i \log \pi_i + (1 - x_i) \log(1 - \pi_i)$ from the logits; (..., n) twice to (...)."""
    return -tg.sum(F.binary_cross_entropy_with_logits(logits, x, reduction="none"), axis=-1)


def reparameterise(mu, log_var, eps):
    r"""(3): $z = \mu + \sigma \odot \varepsilon$; (b, d), (b, d), (..., b, d) to (..., b, d)."""
    return mu + tg.exp(log_var / 2) * eps


def kl_to_standard_normal(mu, log_var):
    r"""(4): $\frac12 \sum_k (\sigma_k^2 + \mu_k^2 - 1 - \log \sigma_k^2)$; (b, d), (b, d) to (b,)."""
    return tg.sum(tg.exp(log_var) + tg.square(mu) - 1 - log_var, axis=-1) / 2


def log_normal(z, mu, log_var):
    r"""$\log \mathcal N(z; \mu, \mathrm{diag}\,\sigma^2)$, for (5): three of (..., d) to (...)."""
    return -tg.sum(tg.square(z - mu) * tg.exp(-log_var) + log_var + math.log(2 * math.pi), axis=-1) / 2


def log_standard_normal(z):
    r"""$\log \mathcal N(z; 0, I)$, for (8): (..., d) to (...)."""
    return -tg.sum(tg.square(z) + math.log(2 * math.pi), axis=-1) / 2


def correlated(mu, L, eps):
    r"""(9): $z = \mu + L \varepsilon$; (b, d), (b, d, d), (..., b, d) to (..., b, d)."""
    return mu + tg.matmul(L, eps[..., None])[..., 0]


def kl_of_correlated(mu, L, log_diagonal):
    r"""(10) from $\mu$, $L$ and $\log L_{kk}$: (b, d), (b, d, d), (b, d) to (b,)."""
    trace = tg.sum(tg.square(L), axis=(-2, -1))
    return (trace + tg.sum(tg.square(mu), axis=-1) - mu.shape[-1]) / 2 - tg.sum(log_diagonal, axis=-1)


# ---- the posteriors: what an encoder says of the codes of an image ---------------------------------------


class Diagonal(NamedTuple):
    r"""$q_\lambda(z|x) = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$, of b images."""

    mu: Any  # (b, d)
    log_var: Any  # (b, d)

    def draw(self, eps):
        """(3): (m, b, d) to (m, b, d)."""
        return reparameterise(self.mu, self.log_var, eps)

    def log_prob(self, eps):
        r"""$\log q_\lambda(z|x)$ of what `draw` makes of eps: (m, b, d) to (m, b)."""
        return log_standard_normal(eps) - tg.sum(self.log_var, axis=-1) / 2

    def kl(self):
        """(4): to (b,)."""
        return kl_to_standard_normal(self.mu, self.log_var)

    def variances(self):
        """Of each entry of a code: (b, d)."""
        return tg.exp(self.log_var)


class Correlated(NamedTuple):
    r"""$q_\lambda(z|x) = \mathcal N(\mu, L L^\top)$, of b images."""

    mu: Any  # (b, d)
    L: Any  # (b, d, d)
    log_diagonal: Any  # (b, d)

    def draw(self, eps):
        """(9): (m, b, d) to (m, b, d)."""
        return correlated(self.mu, self.L, eps)

    def log_prob(self, eps):
        r"""(9): $\log q_\lambda(z|x)$ of what `draw` makes of eps: (m, b, d) to (m, b)."""
        return log_standard_normal(eps) - tg.sum(self.log_diagonal, axis=-1)

    def kl(self):
        """(10): to (b,)."""
        return kl_of_correlated(*self)

    def variances(self):
        """Of each entry of a code: (b, d)."""
        return tg.sum(tg.square(self.L), axis=-1)


# ---- the networks ---------------------------------------------------------------------------------------


def layers(n_in: int, hidden: int, depth: int, rng: Generator) -> list[nn.Module]:
    """Fully connected layers of one width, each followed by a ReLU."""
    widths = [n_in] + [hidden] * depth
    return [layer for i, o in itertools.pairwise(widths) for layer in (nn.Linear(i, o, rng=rng), nn.ReLU())]


class Encoder(nn.Module):
    r"""$q_\lambda(z|x)$: an image to the mean and the log-variances of its code."""

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int, depth: int, rng: Generator):
        self.body = nn.Sequential(*layers(n_pixels, hidden, depth, rng))
        self.mu = nn.Linear(hidden, n_latent, rng=rng)
        self.log_var = nn.Linear(hidden, n_latent, rng=rng)

    def forward(self, x) -> Diagonal:
        h = self.body(x)  # (b, hidden)
        return Diagonal(self.mu(h), self.log_var(h))


class CorrelatedEncoder(nn.Module):
    r"""$q_\lambda(z|x)$ with any covariance: an image to the mean of its code and to $L$."""

    eye: tg.Tensor

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int, depth: int, rng: Generator):
        self.body = nn.Sequential(*layers(n_pixels, hidden, depth, rng))
        self.mu = nn.Linear(hidden, n_latent, rng=rng)
        self.log_diagonal = nn.Linear(hidden, n_latent, rng=rng)
        self.below = nn.Linear(hidden, n_latent**2, rng=rng)  # what stands on or above the diagonal is not used
        self.register_buffer("eye", tg.eye(n_latent, device=rng.device))

    def forward(self, x) -> Correlated:
        h = self.body(x)  # (b, hidden)
        log_diagonal = self.log_diagonal(h)
        below = tg.tril(tg.reshape(self.below(h), (len(h), *self.eye.shape)), -1)
        return Correlated(self.mu(h), below + self.eye * tg.exp(log_diagonal)[..., None], log_diagonal)


ENCODERS = {"diagonal": Encoder, "full": CorrelatedEncoder}


class BernoulliDecoder(nn.Sequential):
    r"""$p_\theta(x|z)$ for black-and-white images: a code to the logit $\ell$ of each pixel."""

    def __init__(self, n_latent: int, n_pixels: int, *, hidden: int, depth: int, rng: Generator):
        super().__init__(*layers(n_latent, hidden, depth, rng), nn.Linear(hidden, n_pixels, rng=rng))

    def log_prob(self, x, z):
        r"""$\log p_\theta(x|z)$ by (2): (b, n), (m, b, d) to (m, b)."""
        logits = self(z)  # (m, b, n)
        return log_likelihood(logits, tg.broadcast_to(x, logits.shape))

    def mean(self, z):
        r"""$\mathbb E[x|z] = \pi$."""
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


def _at_least_one(name: str, value: Any) -> None:
    """Refuse what cannot be a number of something."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"VAE: {name} is {value!r}; an integer of at least 1 is wanted")


class VAE(Model):
    r"""A variational autoencoder with a Gaussian encoder.

    Parameters
    ----------
    n_pixels, n_latent : lengths $n$ of an image and $d$ of its code
    hidden, depth : width and number of the hidden layers in encoder and decoder
    covariance : of $q_\lambda$, "diagonal" as in (3), or "full", (9)
    likelihood : "bernoulli", the decoder (2), or "gaussian", (5)
    variance : $s^2$ of the Gaussian decoder; by default the decoder gives one for each pixel
    weights : $(\alpha, \beta)$ of (7), what the terms weigh in training; what is logged and given back is unweighted
    samples : $m$ of (6) in training
    lr : learning rate of Adam
    schedule : the factor of `lr` as a function of the step, such as `optim.schedules.Cosine(1000)`
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

    def __init__(self, n_pixels: int, n_latent: int, *, hidden: int = 256, depth: int = 2, covariance: str = "diagonal",
                 likelihood: str = "bernoulli", variance: float | None = None,
                 weights: tuple[float, float] = (1.0, 1.0), samples: int = 1, lr: float = 1e-3,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        if covariance not in ENCODERS:
            raise ValueError(f"VAE: covariance is {covariance!r}; 'diagonal' or 'full' is wanted")
        if likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"VAE: likelihood is {likelihood!r}; 'bernoulli' or 'gaussian' is wanted")
        if variance is not None and not (likelihood == "gaussian" and variance > 0):
            raise ValueError(f"VAE: variance is {variance!r} with likelihood={likelihood!r}; a positive number is "
                             "wanted, and only for the Gaussian decoder")  # fmt: skip
        if np.shape(weights) != (2,) or min(weights) < 0:
            raise ValueError(f"VAE: weights is {weights!r}; two numbers of at least 0 are wanted, such as (1.0, 4.0)")
        for name, value in (("n_pixels", n_pixels), ("n_latent", n_latent), ("hidden", hidden), ("depth", depth),
                            ("samples", samples)):  # fmt: skip
            _at_least_one(name, value)
        self.n_pixels, self.n_latent, self.weights, self.samples = n_pixels, n_latent, weights, samples
        self.rng = Generator() if rng is None else rng
        sizes: dict[str, Any] = {"hidden": hidden, "depth": depth, "rng": self.rng}
        self.encoder = ENCODERS[covariance](n_pixels, n_latent, **sizes)
        self.decoder = (BernoulliDecoder(n_latent, n_pixels, **sizes) if likelihood == "bernoulli" else
                        GaussianDecoder(n_latent, n_pixels, variance=variance, **sizes))  # fmt: skip
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, x, rng: Generator, samples: int = 1):
        r"""The two terms of (6) for each image: (b, n) to (b,), (b,)."""
        q = self.encoder(x)
        z = q.draw(rng.normal((samples, *q.mu.shape), dtype=q.mu.dtype))  # (m, b, d)
        return tg.mean(self.decoder.log_prob(x, z), axis=0), q.kl()

    def objective(self, log_px, kl):
        r"""(7): $\alpha\, \mathbb E \log p_\theta(x|z) - \beta\, \mathrm{KL}$."""
        alpha, beta = self.weights
        return alpha * log_px - beta * kl

    def update(self, x: np.ndarray, *, move: tuple[str, ...] = ("encoder", "decoder")) -> dict:
        """One step up the gradient of (7), averaged over a minibatch (b, n); the parts of (6), in nats.

        `move` names the networks whose parameters change: one of them in an alternating step.
        """
        log_px, kl = (tg.mean(part) for part in self(x, self.rng, self.samples))
        moving = [p for name in move for p in getattr(self, name).parameters()]
        grads = dict(zip(moving, tg.grad(-self.objective(log_px, kl), moving), strict=True))
        self.optimizer.step([grads.get(p) for p in self.optimizer.params])
        self.schedule.step()
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
        _at_least_one("batch_size", batch_size)
        if alternate < 0:
            raise ValueError(f"VAE: alternate is {alternate}; a number of steps, or 0, is wanted")
        for step in run.steps(self, steps):
            x_batch = batch(x, self.rng, batch_size)  # (b, n)
            x_batch = self.rng.bernoulli(x_batch, dtype=x.dtype) if resample else x_batch
            run.log(**self.update(x_batch, move=turn(step, alternate)))
        return self

    # ---- what it can do ----

    def decode(self, z: np.ndarray) -> np.ndarray:
        r"""The pixels' means, $\pi(z)$ or $u(z)$: (b, d) to (b, n)."""
        z = backend.asarray(z, self._like.dtype, self._like.device)
        if z.ndim != 2 or z.shape[1] != self.n_latent:
            raise ValueError(
                f"{type(self).__name__}.decode: z has shape {z.shape}; rows of {self.n_latent} code entries are wanted"
            )
        with tg.no_grad():
            return self.decoder.mean(tg.tensor(z)).numpy()

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New images (n, n_pixels): codes drawn from the prior, decoded to the pixels' means."""
        return self.decode(self._generator(rng).normal((n, self.n_latent)))

    def transform(self, x: np.ndarray) -> np.ndarray:
        r"""The codes' means $\mu(x)$: (b, n) to (b, d)."""
        with tg.no_grad():
            return self.encoder(self._checked(x)).mu.numpy()

    def encode(self, x: np.ndarray, *, rng: Generator | None = None) -> np.ndarray:
        r"""Codes drawn from $q_\lambda(z|x)$, one for each image: (b, n) to (b, d)."""
        with tg.no_grad():
            q = self.encoder(self._checked(x))
            return q.draw(self._generator(rng).normal(q.mu.shape, dtype=q.mu.dtype)).numpy()

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        r"""Images encoded to $\mu(x)$ and decoded again: (b, n) to (b, n)."""
        return self.decode(self.transform(x))

    def elbo_parts(self, x: np.ndarray, *, samples: int = 1,
                   rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        r"""The terms $\log p_\theta(x|z)$, from so many draws, and KL of (6): (b, n) to (b,), (b,), in nats."""
        _at_least_one("samples", samples)
        with tg.no_grad():
            log_px, kl = self(self._checked(x), self._generator(rng), samples)
        return log_px.numpy(), kl.numpy()

    def elbo(self, x: np.ndarray, *, samples: int = 1, rng: Generator | None = None) -> np.ndarray:
        """The bound (1) for each image, estimated by (6): (b, n) to (b,), in nats. Other draws give another figure."""
        log_px, kl = self.elbo_parts(x, samples=samples, rng=rng)
        return log_px - kl

    def kl_by_unit(self, x: np.ndarray) -> np.ndarray:
        r"""What each entry of a code costs: KL of its $q$ to $\mathcal N(0, 1)$, the mean of images; (b, n) to (d,).

        With a diagonal covariance these sum to (4). About 0: the decoder does not use this entry.
        """
        with tg.no_grad():
            q = self.encoder(self._checked(x))
            return tg.mean(kl_to_standard_normal(q.mu[..., None], tg.log(q.variances())[..., None]), axis=0).numpy()

    def log_prob_estimate(self, x: np.ndarray, *, samples: int = 100, rng: Generator | None = None) -> np.ndarray:
        r"""$\log \hat p(x)$ of `importance.py`: (b, n) to (b,), in nats. On average below $\log p_\theta(x)$."""
        return self.log_prob_and_error(x, samples=samples, rng=rng)[0]

    def log_prob_and_error(self, x: np.ndarray, *, samples: int = 5000, at_once: int = 2048,
                           rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        r"""$\log \hat p(x)$ and its standard error by `importance.py`: (b, n) to (b,), (b,), in nats.

        However many images and samples there are, at most `at_once` codes are decoded at a time. The error is that of
        a finite number of draws; a mean over images has another, from the choice of the images.
        """
        x, rng = self._checked(x), self._generator(rng)
        _at_least_one("samples", samples)
        with tg.no_grad():
            parts = [importance.log_sums(self._in_chunks(part, samples, at_once, rng))
                     for part in in_order(x, at_once)]  # fmt: skip
        sums = np.concatenate(parts, axis=1)
        return importance.log_mean(sums, samples), importance.standard_error(sums, samples)

    def log_weights(self, x, rng: Generator, samples: int = 1):
        r"""(8): $\log w_j$ of so many draws for each image; (b, n) to (m, b)."""
        return self._log_weights(x, self.encoder(x), rng, samples)

    def _log_weights(self, x, q: Diagonal | Correlated, rng: Generator, samples: int):
        """The same, from what the encoder says of the images."""
        eps = rng.normal((samples, *q.mu.shape), dtype=q.mu.dtype)  # (m, b, d)
        z = q.draw(eps)
        return self.decoder.log_prob(x, z) + log_standard_normal(z) - q.log_prob(eps)

    def _in_chunks(self, x, samples: int, at_once: int, rng: Generator) -> Iterator[np.ndarray]:
        """The same a few draws at a time, on the host."""
        q, chunk = self.encoder(x), max(1, at_once // len(x))
        for first in range(0, samples, chunk):
            yield self._log_weights(x, q, rng, min(chunk, samples - first)).numpy()

    @property
    def _like(self) -> tg.Tensor:
        """A Tensor whose dtype and device are the networks'."""
        return next(self.encoder.parameters())

    def _generator(self, rng: Generator | None) -> Generator:
        """rng, or one of fresh entropy on the networks' device."""
        return Generator(device=self._like.device) if rng is None else rng

    def _checked(self, x):
        """x as rows of pixels in the networks' dtype, on their device, or an error that says what is wrong."""
        x = backend.asarray(x, self._like.dtype, self._like.device)
        if x.ndim != 2 or x.shape[1] != self.n_pixels:
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}; rows of {self.n_pixels} pixels are wanted "
                             f"(x.reshape(len(x), -1) flattens images)")  # fmt: skip
        if not (len(x) and 0 <= float(x.min()) and float(x.max()) <= 1):
            found = f"values from {float(x.min()):.4g} to {float(x.max()):.4g}" if len(x) else "no rows"
            raise ValueError(f"{type(self).__name__}: x has {found}; pixels in [0, 1] are wanted")
        return x

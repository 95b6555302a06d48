r"""The β-VAE (Higgins et al. 2017; S1, disentangling representation): make the code dear, and it becomes orderly.

A code may say all about an image and yet say it in a jumble: every entry depends on place and size and turn at once.
One would like a *disentangled* code, in which each entry (*unit*) stands for one property, so that turning one knob
changes one thing. Nobody tells the model what the properties are. All that changes against the variational autoencoder
(`vae.py`) is one number (S1's $\mathcal L(\theta, \phi; x, z, \beta)$; its $\phi$ is our $\lambda$),

$$ \mathcal L(\theta, \lambda; \beta)
   = \mathbb E_{q_\lambda(z|x)} \log p_\theta(x|z) - \beta\, \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)), \tag{1} $$

with $\beta > 1$ (averaged over images). $\beta = 1$ is the evidence lower bound; any $\beta \ge 1$ still gives a lower
bound, a looser one.

**Where it comes from.** Ask for the best reconstructions by codes that cost at most $\varepsilon$ nats an image:
maximise $\mathbb E_q \log p_\theta(x|z)$ subject to $\mathrm{KL} \le \varepsilon$. With a multiplier $\beta$ for the
constraint, Lagrange's function is

$$ F(\theta, \lambda, \beta)
   = \mathbb E_{q_\lambda(z|x)} \log p_\theta(x|z)
   - \beta \left( \mathrm{KL}(q_\lambda(z|x) \,\|\, p(z)) - \varepsilon \right). \tag{2} $$

At a solution the conditions of Karush, Kuhn and Tucker hold: $F$ is stationary in $\theta$ and $\lambda$;
$\mathrm{KL} \le \varepsilon$; $\beta \ge 0$; and $\beta\, (\mathrm{KL} - \varepsilon) = 0$, so that a constraint that
does not bind has the price 0. For fixed $\beta$ the term $\beta \varepsilon$ moves no weight, and (2) is (1). So each
$\beta$ stands for some budget $\varepsilon$. Along the best that can be had, $\beta$ is the slope: one more nat in the
budget buys $\beta$ nats of reconstruction. One may also fix the budget and let the price find itself, up while the code
is too dear and down while it is too cheap (dual ascent),

$$ \beta \leftarrow \max\left( 0,\; \beta + \eta\, (\mathrm{KL} - \varepsilon) \right), \tag{3} $$

which stands still exactly where the last three conditions hold. `capacity` sets $\varepsilon$.

**What β does** can be worked out where everything is linear. Let the images have variance $v_k$ along their principal
axes, the decoder $\mathcal N(Wz, s^2 I)$ be linear with a fixed variance $s^2$, and the encoder's mean be linear too.
Then at the maximum of (1) each unit takes one axis, with $\sigma_k^2 = \min(1, \beta s^2 / v_k)$, and costs

$$ \mathrm{KL}_k = \tfrac12 \max\left( 0,\; \log \frac{v_k}{\beta s^2} \right). \tag{4} $$

(One axis: with $\mu = wx$ and the decoder $az$, (1) averages to $-\frac{1}{2 s^2} ((1 - aw)^2 v + a^2 \sigma^2) -
\frac\beta2 (\sigma^2 + w^2 v - 1 - \log \sigma^2)$; set its three derivatives to 0.) What varies much is said
precisely. What varies less than $\beta s^2$ is not said at all: its unit *collapses* to the prior, and the larger
$\beta$, the more of them do. Only $\beta s^2$ counts, so a Gaussian decoder's variance *is* a β: S1's squared error
without the $1/(2\sigma^2)$ has set $\sigma^2 = \frac12$, and with it $\beta$. Nor can a β be carried from one size of
images to another: the reconstruction term grows with the number of pixels, and the KL does not.

**Why should that disentangle?** Let $q(z) = \frac1n \sum_i q(z|x_i)$ be the codes of all $n$ images together, and
$q(z_k)$ those of unit $k$. Then what the codes cost on average falls into three parts (Hoffman and Johnson 2016; Chen
et al. 2018),

$$ \frac1n \sum_{i=1}^n \mathrm{KL}(q(z|x_i) \,\|\, p(z))
   = \underbrace{I(i; z)}_{\text{what a code says of its image}}
   + \underbrace{\mathrm{KL}\Big( q(z) \,\Big\|\, \prod_k q(z_k) \Big)}_{\text{total correlation}}
   + \underbrace{\sum_k \mathrm{KL}(q(z_k) \,\|\, p(z_k))}_{\text{each unit's distance from the prior}}, \tag{5} $$

the means under $q$ of $\log q(z|x_i) / q(z)$, of $\log q(z) / \prod_k q(z_k)$ and of $\log q(z_k) / p(z_k)$. A large
$\beta$ presses on all three. Less total correlation makes the units independent, which is what we want. Less
information is the price: images blur, and once properties are left out, a score of disentanglement falls again.
(Chen et al. weigh the middle term alone.)

There is a second, more local reason. $q_\lambda(z|x)$ has a *diagonal* covariance. The axes along which the image
reacts strongest to a change of the code must be coded most precisely, and only if they lie along the units can a
diagonal covariance be precise in one and thrifty in the next. A Gaussian prior by itself has no preferred axes. That
also says what to expect where two properties matter alike, as x and y do for a round spot: nothing prefers them to a
turned pair, and which it will be is up to the seed. (Over many models Locatello et al. 2019 found the seed to matter as
much as β. A score of one model says little.)

Densities of codes of all images are sums over the images,

$$ \log q(z) = \log \frac1n \sum_{i=1}^n q(z|x_i), \qquad
   \log q(z_k) = \log \frac1n \sum_{i=1}^n q(z_k|x_i), \tag{6} $$

exactly so if $q(z)$ means these $n$ images; the expectations in (5) are then means over draws. The scores of
disentanglement are in `metrics/disentanglement.py`.

Notation
--------
$x, z, \mu, \log \sigma^2, d$ : as in `vae.py`
$\beta, \varepsilon, \eta$ : `multiplier` (`beta` at the start), `capacity`, `rate`
$v_k, s^2$ : `variances`, (d,); `s2`
$q(z|x_i)$ : row i of `mu`, `log_var`, (n, d)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tinygen as tg
from tinygen.backend.random import Generator
from tinygen.data import in_order
from tinygen.models.vae.vae import VAE, log_normal

AT_ONCE = 200  # codes whose density is computed at a time

# ---- the equations --------------------------------------------------------------------------------------


def objective(log_px, kl, beta):
    r"""(1): $\mathbb E \log p_\theta(x|z) - \beta\, \mathrm{KL}$; any shape."""
    return log_px - beta * kl


def lagrangian(log_px, kl, beta, capacity):
    r"""(2): $\mathbb E \log p_\theta(x|z) - \beta\, (\mathrm{KL} - \varepsilon)$; any shape."""
    return log_px - beta * (kl - capacity)


def dearer(beta, kl, capacity, rate):
    r"""(3): $\max(0, \beta + \eta\, (\mathrm{KL} - \varepsilon))$."""
    return tg.maximum(beta + rate * (kl - capacity), 0)


def linear_kl(variances, beta, s2):
    r"""(4): $\frac12 \max(0, \log v_k / (\beta s^2))$, in nats; (d,) to (d,)."""
    return tg.maximum(tg.log(variances / (beta * s2)), 0) / 2


def aggregate(z, mu, log_var):
    r"""(6): $\log q(z)$ and $\log q(z_k)$ of codes (m, d), for n images (n, d), (n, d): (m,), (m, d)."""
    n = len(mu)
    each = log_normal(z[:, None, :, None], mu[..., None], log_var[..., None])  # (m, n, d): log q(z_k|x_i)
    return tg.logsumexp(tg.sum(each, 2), axis=1) - np.log(n), tg.logsumexp(each, axis=1) - np.log(n)


class Parts(NamedTuple):
    """The three terms of (5), in nats."""

    information: float
    total_correlation: float
    distance: float


def kl_parts(z, mu, log_var) -> Parts:
    r"""(5) from one draw $z_i \sim q(z|x_i)$ for each image, raw arrays: three of (n, d)."""
    zero = tg.zeros_like(z)
    own, prior = log_normal(z, mu, log_var), log_normal(z, zero, zero)  # (n,) each
    found = [aggregate(part, mu, log_var) for part in in_order(z, AT_ONCE)]
    together = tg.concatenate([joint for joint, _ in found])  # (n,): log q(z)
    apart = tg.concatenate([tg.sum(units, 1) for _, units in found])  # (n,): the sum of log q(z_k)
    return Parts(*(float(tg.mean(gap)) for gap in (own - together, together - apart, apart - prior)))


# ---- the model ------------------------------------------------------------------------------------------


class BetaVAE(VAE):
    r"""A variational autoencoder whose KL weighs $\beta$ times, or is held at a budget.

    Parameters
    ----------
    n_pixels, n_latent : lengths $n$ of an image and $d$ of its code
    beta : $\beta$ of (1); with a capacity, where (3) starts
    capacity : $\varepsilon$, nats an image that the code may cost; None keeps $\beta$ as it is
    rate : $\eta$ of (3)
    hidden, depth, likelihood, variance, samples, lr, schedule, rng : as in `VAE`

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> x = tg.random.Generator(1).uniform((20, 6))
    >>> vae = BetaVAE(6, 2, beta=4.0, hidden=8, rng=tg.random.Generator(0)).fit(x, steps=3, run=Run(quiet=True))
    >>> vae.kl_by_unit(x).shape, vae.beta
    ((2,), 4.0)
    """

    multiplier: tg.Tensor

    def __init__(self, n_pixels: int, n_latent: int, *, beta: float = 4.0, capacity: float | None = None,
                 rate: float = 0.01, hidden: int = 256, depth: int = 2, likelihood: str = "bernoulli",
                 variance: float | None = None, samples: int = 1, lr: float = 1e-3,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        if not beta >= 0 or not (capacity is None or capacity > 0) or not rate > 0:
            raise ValueError(f"BetaVAE: beta is {beta!r}, capacity {capacity!r} and rate {rate!r}; a beta of at least "
                             "0, a positive capacity or None, and a positive rate are wanted")  # fmt: skip
        super().__init__(n_pixels, n_latent, hidden=hidden, depth=depth, likelihood=likelihood, variance=variance,
                         samples=samples, lr=lr, schedule=schedule, rng=rng)  # fmt: skip
        self.capacity, self.rate = capacity, rate
        self.register_buffer("multiplier", tg.tensor(beta, dtype="float32", device=self.rng.device))

    @property
    def beta(self) -> float:
        r"""The present $\beta$."""
        return self.multiplier.item()

    def objective(self, log_px, kl):
        """(1), or (2) with a capacity."""
        if self.capacity is None:
            return objective(log_px, kl, self.multiplier)
        return lagrangian(log_px, kl, self.multiplier, self.capacity)

    def update(self, x: np.ndarray, *, move: tuple[str, ...] = ("encoder", "decoder")) -> dict:
        """One step up the gradient of the objective on a minibatch (b, n), and with a capacity one by (3)."""
        parts = super().update(x, move=move)
        if self.capacity is None:
            return parts
        with tg.no_grad():
            self.multiplier.assign(dearer(self.multiplier, parts["kl"], self.capacity, self.rate))
        return {**parts, "beta": self.multiplier}

    def kl_parts(self, x: np.ndarray, *, rng: Generator | None = None) -> Parts:
        """(5) for images (b, n), by one draw each; takes memory and time in proportion to b squared."""
        with tg.no_grad():
            q = self.encoder(self._checked(x))
            z = q.draw(self._generator(rng).normal(q.mu.shape, dtype=q.mu.dtype))
            return kl_parts(*(t.data for t in (z, q.mu, q.log_var)))

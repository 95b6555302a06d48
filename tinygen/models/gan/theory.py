r"""What the game is about: its value, the best discriminator, the equilibrium, and how it is reached (or not).

S2 §4.1, S3 part 3 and S4 113-124 ask what the players of `game.py` would do if they could choose *any* function. Then
only the laws $p$ of the data and $q$ of the generator matter, and all can be computed.

**The best discriminator.** The value is an integral (S2 eq. 4.9; S4 eq. 115, whose dz is dx)

$$ v(q, D) = \int p(x) \log D(x) + q(x) \log(1 - D(x)) \, dx, \tag{1} $$

and at each $x$ alone $p \log y + q \log(1 - y)$ is largest at (S2 eq. 4.8, S4 eq. 113)

$$ D^*(x) = \frac{p(x)}{p(x) + q(x)}, \tag{2} $$

wherever $p + q > 0$; elsewhere $D^*$ may be anything, and a network's is whatever training left there. The logit of
(2) is $\log p(x)/q(x)$: without a formula for either, a classifier has estimated their *ratio* (S3 calls this the
GAN's key approximation).

**What the generator then minimises.** Put (2) into (1) (S4 eq. 124; S2 eq. 4.12 has lost the factor 2):

$$ C(q) = \max_D v(q, D) = -\log 4 + 2\, \mathrm{JS}(p, q). \tag{3} $$

So the minimum over $q$ is $-\log 4$, at $q = p$ and nowhere else, where $D^* = \frac12$. That GANs are good *because*
of the Jensen-Shannon divergence is a conjecture (S4 says "may"). $D$ is never at its best, and where $p$ and $q$ do
not overlap JS is constant.

**The discriminator is a classifier** (S2 eqs. 4.2-4.4). Toss a coin $Y$ and show a real point if $Y = 1$:

$$ \tilde X = Y X + (1 - Y) X_G, \qquad Y \sim \mathrm{Ber}(\tfrac12). \tag{4} $$

Its cross-entropy when it says $D(\tilde X)$ for "$Y = 1$" is its cost,

$$ c_D = \mathbb E \bigl[ -\log \bigl( D(\tilde X)^Y (1 - D(\tilde X))^{1 - Y} \bigr) \bigr]
   = -\tfrac12 \bigl( \mathbb E \log D(X) + \mathbb E \log(1 - D(X_G)) \bigr), \tag{5} $$

so $v = -2 c_D$, and in the zero-sum game $c_G = -c_D = v / 2$ (S2 eqs. 4.5 and 4.6 leave the factor out).

**Equilibrium** (S2 eq. 4.1). A pair of strategies is a Nash equilibrium if no player gains by changing its own alone:
$c_i(\theta) \le c_i(\tilde\theta_i; \theta_{-i})$. What a player could gain is its *regret*,
$c_i(\theta) - \min_{\tilde\theta_i} c_i(\tilde\theta_i; \theta_{-i})$. Here both minima are known, by (3), and
because a generator that may choose any law does best to put all its mass where $D$ is most gullible:

$$ r_D(q, D) = \tfrac12 \bigl( C(q) - v(q, D) \bigr), \tag{6} $$
$$ r_G(q, D) = \tfrac12 \Bigl( \int q \log(1 - D) \, dx - \min_x \log(1 - D(x)) \Bigr). \tag{7} $$

Both vanish only at $q = p$, with $D = \frac12$ where they have mass (and at most $\frac12$ elsewhere). If $r_D = 0$,
then $D = D^*$; if $r_G = 0$ too, $q$ lives only where $p / q$ is largest. There $p = cq$, and $p$ has no mass
elsewhere (where $q = 0 < p$, $D^* = 1$ would be larger still); so $c = 1$. But with $D = \frac12$ alone, $r_G = 0$ for
*every* $q$: the generator is held at $p$ by nothing but the threat of the other player's answer.

**Is it reached?** Let there be one point, $p = \delta_0$, a generator that is one number, $q = \delta_\theta$, and a
discriminator of one slope, $a(x) = \psi x$ (the Dirac-GAN of Mescheder, Geiger and Nowozin 2018). The equilibrium is
$(0, 0)$, and gradient steps follow the field

$$ \dot\theta = -\frac{\partial L_G}{\partial \theta}, \qquad \dot\psi = -\frac{\partial L_D}{\partial \psi}. \tag{8} $$

For (MM) it is $\dot\theta = \psi\, \sigma(\theta\psi)$ and $\dot\psi = -\theta\, \sigma(\theta\psi)$. Then
$\theta \dot\theta + \psi \dot\psi = 0$: the players run round the equilibrium on a circle and never reach it. Steps
of finite length, made by both at once, leave the circle outwards; made in turns they stay near it. (WGAN) is the same
without the factor, as long as nothing is clipped. (NS) and (LSGAN) turn in the same way, but a term of higher order
draws them inwards, slowly. The penalties want $|\psi| = 1$, which is not the equilibrium either. A local equilibrium
need not attract gradient steps.

Notation
--------
$p, q, D$ : `p`, `q`, `D`, (n,), densities and probabilities at points $x_i$
$dx$ : `w`, a number or (n,), the weights of a quadrature: $\int f \, dx \approx \sum_i w_i f(x_i)$
$\theta, \psi$ : `theta`, `psi`
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.models.gan.game import GAN
from tinygen.models.gan.losses import BEGAN, LOSSES, LeastSquares, Loss
from tinygen.probability import divergences

# ---- any functions: densities at the points of a quadrature ---------------------------------------------


def xlog(x, y):
    r"""$x \log y$, with $0 \log 0 = 0$: host arrays (n,), (n,) to (n,)."""
    with np.errstate(divide="ignore"):
        return x * np.log(np.where(x > 0, y, 1.0))


def value(p, q, D, w) -> float:
    r"""(1): $\int p \log D + q \log(1 - D)$."""
    return float(np.sum(w * (xlog(p, D) + xlog(q, 1 - np.asarray(D)))))


def best_discriminator(p, q):
    r"""(2): $p / (p + q)$, for arrays of densities; ½ where both are 0."""
    return np.where(p + q > 0, p, 1.0) / np.where(p + q > 0, p + q, 2.0)


def best_value(p, q, w) -> float:
    r"""(3): $-\log 4 + 2\, \mathrm{JS}(p, q)$; the densities are first scaled to sum to one in the quadrature."""
    p, q = (np.where(f * w > np.finfo(float).tiny, f * w, 0.0) for f in (p, q))  # half of a denormal may be 0
    return -math.log(4) + 2 * float(divergences.js(p / p.sum(), q / q.sum()))


def mixed(x, x_fake, y):
    r"""(4): $\tilde X = Y X + (1 - Y) X_G$; points (n, d) twice, coins (n, 1) to (n, d)."""
    return y * x + (1 - y) * x_fake


def classification_cost(D, y) -> float:
    r"""(5): the mean of $-\log D(\tilde X)^Y (1 - D(\tilde X))^{1 - Y}$; what D says of each point, and the coins."""
    y = np.asarray(y)
    return -float(np.mean(xlog(y, D) + xlog(1 - y, 1 - np.asarray(D))))


def discriminator_regret(p, q, D, w) -> float:
    r"""(6): what D could gain by playing $D^*$ instead."""
    p, q = (f / np.sum(w * f) for f in (p, q))
    return (best_value(p, q, w) - value(p, q, D, w)) / 2


def generator_regret(q, D, w) -> float:
    r"""(7): what G could gain by moving its mass to where D is largest; infinite if D is sure of something there."""
    D = np.asarray(D)
    return float(np.sum(w * xlog(q, 1 - D)) - np.min(xlog(np.ones_like(D), 1 - D))) / 2


# ---- two parameters: the Dirac-GAN ----------------------------------------------------------------------


class DiracGenerator(nn.Module):
    r"""$G(z) = \theta$, whatever z is: codes (n, 0) to (n, 1)."""

    def __init__(self, theta: float):
        self.theta = tg.tensor([theta], dtype="float64", requires_grad=True)

    def forward(self, z):
        return self.theta + tg.zeros((len(z), 1), dtype="float64")


class DiracDiscriminator(nn.Module):
    r"""$a(x) = \psi x$, up to a constant: (n, 1) to (n, 1)."""

    def __init__(self, psi: float, level: float = 0.0):
        self.psi, self.level = tg.tensor([psi], dtype="float64", requires_grad=True), level

    def forward(self, x):
        return self.psi * x + self.level


class DiracAutoencoder(DiracDiscriminator):
    r"""$\mathrm{AE}(x) = \psi$: the one point that it remembers, (n, 1) to (n, 1)."""

    def forward(self, x):
        return self.psi + 0.0 * x


def dirac(loss: str | Loss, theta: float, psi: float, *, lr: float = 0.05, simultaneous: bool = False) -> GAN:
    r"""The Dirac-GAN at $(\theta, \psi)$, played by plain gradient steps on the data [[0.0]], in minibatches of one.

    A least-squares discriminator is $\frac12 + \psi x$, since ½ is where its two labels balance.
    """
    loss = LOSSES[loss]() if isinstance(loss, str) else loss
    if isinstance(loss, BEGAN):
        D: nn.Module = DiracAutoencoder(psi)
    else:
        D = DiracDiscriminator(psi, 0.5 if isinstance(loss, LeastSquares) else 0.0)
    return GAN(DiracGenerator(theta), D, loss, prior=lambda n, rng: np.zeros((n, 0)), lr=lr, optimizer=optim.SGD,
               simultaneous=simultaneous, rng=tg.random.Generator(0))  # fmt: skip


def dirac_field(gan: GAN) -> tuple[float, float]:
    r"""(8): $(\dot\theta, \dot\psi)$ where the players of a Dirac-GAN stand."""
    x, z = np.zeros((1, 1)), np.zeros((1, 0))
    by_theta = tg.grad(gan.generator_loss(z), gan.optimizer_g.params)[0]
    by_psi = tg.grad(gan.discriminator_loss(x, gan.fake(z)), gan.optimizer_d.params)[0]
    return -by_theta.item(), -by_psi.item()


def dirac_path(gan: GAN, steps: int) -> np.ndarray:
    r"""$(\theta, \psi)$ before the first turn and after each: (steps + 1, 2)."""
    places: list[Any] = []
    for turn in range(steps + 1):
        if turn:
            gan.update(np.zeros((1, 1)), 1)
        places.append([p.item() for p in (*gan.generator.parameters(), *gan.discriminator.parameters())])
    return np.array(places)

r"""What the players of a GAN minimise: one paper, one pair of losses (the table of S1 in its corrected form).

A generator $G$ turns noise $z$ into points $\hat x = G(z)$; a discriminator $D$ looks at points $x \sim p_d$ of the
data and at points $\hat x \sim p_g$ of the generator. All games of this family are played alike (`game.py`). They
differ in what the players pay, and in what is asked of $D$ besides.

**The first game** (MM, NS; Goodfellow et al. 2014). $D(x) = \sigma(a(x))$ is the probability that $x$ is from the
data. The networks give the logit $a$, and the losses are written in it: $-\log \sigma(a) = \log(1 + e^{-a})$,
`softplus`, is exact where $\sigma(a)$ has long been rounded to 0 or 1. The discriminator minimises

$$ L_D = -\mathbb E_x \log D(x) - \mathbb E_{\hat x} \log(1 - D(\hat x)), \tag{1} $$

and the generator the negative of it, of which only one term is its concern:

$$ L_G = \mathbb E_{\hat x} \log(1 - D(\hat x)) \quad \text{(MM)}, \tag{2} $$
$$ L_G = -\mathbb E_{\hat x} \log D(\hat x) \quad \text{(NS)}. \tag{3} $$

By the logit, the slopes of (2) and (3) are $-D$ and $-(1 - D)$. Where the discriminator sees through a sample,
$D(\hat x) \approx 0$: there the first has no slope left and the second has all of it. They are two different games
(S2 p. 46 calls them equivalent): (2) is the one that the theory speaks of, (3) is what was trained.

S3 adds that with another function of the logit a GAN does maximum likelihood (Goodfellow 2014). With $D$ at its best
$e^{a(x)} = p_d(x) / p_g(x)$, the weight that turns a mean over samples into a mean over data, and the gradient of

$$ L_G = -\mathbb E_{\hat x}\, e^{a(\hat x)} \tag{4} $$

is that of $\mathrm{KL}(p_d \| p_g)$. It is a fragile way to get it: few samples have nearly all of the weight.

**A critic in place of a judge** (WGAN; Arjovsky, Chintala and Bottou 2017). $D$ gives any number, a score:

$$ L_D = -\mathbb E_x D(x) + \mathbb E_{\hat x} D(\hat x), \tag{5} $$
$$ L_G = -\mathbb E_{\hat x} D(\hat x). \tag{6} $$

If $D$ may be any function with $|D(a) - D(b)| \le K |a - b|$, the least value of (5) is $-K$ times the earth mover's
distance $W_1(p_d, p_g)$, which has a slope wherever the two lie. The bound is kept by force: after each step of the
optimiser (not before: the step would undo it), for every weight of $D$,

$$ w \leftarrow \min(\max(w, -c), c). \tag{7} $$

This gives some $K$, which depends on $c$ and on the layers, and few of the functions that have it.

**A penalty on the slope** (WGAN-GP; Gulrajani et al. 2017). The best critic has slope 1 almost everywhere between
data and samples. So ask for that, on the way from one to the other, with $\alpha \sim U(0, 1)$ drawn for each pair:

$$ \tilde x = \alpha x + (1 - \alpha) \hat x, \tag{8} $$
$$ L_D \leftarrow L_D + \lambda\, \mathbb E_{\tilde x}
   \bigl( \lVert \nabla_{\tilde x} D(\tilde x) \rVert_2 - 1 \bigr)^2. \tag{9} $$

The norm is one number for each point, over all its features: over channels, rows and columns of an image. To learn
from (9), $D$ needs the derivative of a gradient.

**Squares** (LSGAN; Mao et al. 2017). A cross-entropy no longer cares for a sample on the right side of the boundary.
A squared distance to the labels 1 and 0 also draws near those that are far away on the right side:

$$ L_D = \mathbb E_x (D(x) - 1)^2 + \mathbb E_{\hat x} D(\hat x)^2, \tag{10} $$
$$ L_G = \mathbb E_{\hat x} (D(\hat x) - 1)^2. \tag{11} $$

**The penalty around the data** (DRAGAN; Kodali et al. 2017). The game is (1) and (2). Mode collapse, the authors
argue, begins where $D$ is steep at the data; so (9) is added to (1) near them, at

$$ \tilde x = x + \sqrt c\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I). \tag{12} $$

**An autoencoder as the judge** (BEGAN; Berthelot, Schumm and Metz 2017). $D$ rebuilds points. It should do so well
for the data and badly for samples; the generator wants its samples rebuilt well. With the error

$$ L(x) = \tfrac1d \lVert x - \mathrm{AE}(x) \rVert_1, \tag{13} $$

averaged over points, the losses are $L_G = L(\hat x)$ and

$$ L_D = L(x) - k\, L(\hat x). \tag{14} $$

$k$ keeps the players in balance: it grows as long as $L(\hat x)$ is less than the share $\gamma$ of $L(x)$, that is
while the generator is winning (S1 prints $k_t$ without its law, and the norm without $1/d$):

$$ k \leftarrow \min(\max(k + \lambda_k (\gamma L(x) - L(\hat x)), 0), 1). \tag{15} $$

All that is compared are two mean errors. A generator of one point that is rebuilt well has a small one, and nothing
here asks for a second point: it is a balance of the players, not of the laws. How far a run has come is read from

$$ M = L(x) + | \gamma L(x) - L(\hat x) |. \tag{16} $$

Where data can be rebuilt well, such a collapse lasts. Let all samples lie on one of $m$ equal modes, which $D$
rebuilds with the error $\ell$, and the others without any. Then $L(x) = \ell / m$, $L(\hat x) = \ell$, and (14) is
$\ell (1/m - k)$: only with $k > 1/m$ would $D$ make $\ell$ larger, and so drive samples away. But by (15) $k$ falls as
long as $\ell > 0$, since $\gamma \ell / m < \ell$; and below $1/m$ it is $\ell$ that goes to 0. (On photographs no
error is 0: there $L(x)$ holds $k$ up.)

Misprints in S1's table. LSGAN: printed are $L_D = -\mathbb E(D(x) - 1)^2 + \dots$ and
$L_G = -\mathbb E(D(\hat x - 1))^2$; so $L_D$ would be unbounded below, and, with the parenthesis mended but not the
sign, the generator would flee from 1. WGAN-GP: the mean in (9) is over $x$, $\hat x$ and $\alpha$, and the gradient
is taken at the point (8). "Caps the weights to 1": the paper has $c = 0.01$. DRAGAN: $\mathcal N(0, c)$ has variance
$c$. The table of gradients sets (3) and (6) side by side, both going up; and a slope is bounded by $\le$, not by $<$.
S3: "whose gradient remains beyond a limit" means below; clipping gives $K$-Lipschitz functions, not 1-Lipschitz ones,
and the vanishing gradient it helps is $G$'s. S3 writes $L_D$ once without and once with a factor ½; here it is
without.

Notation
--------
$x, \hat x$ : `x`, `x_fake`, (b, ...), real and generated points
$a(x), a(\hat x)$ : `real`, `fake`, (b, 1), logits, or the critic's scores $D(x)$ and $D(\hat x)$
$L(x), L(\hat x)$ : `L_real`, `L_fake`
$\alpha, \varepsilon$ : `alpha`, `noise`
$\lambda, c, \lambda_k, \gamma$ : `weight`; `clip` in (7) and `variance` in (12); `rate`, `gamma`
"""

from __future__ import annotations

import math
from typing import Any

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.nn import functional as F

# ---- the equations --------------------------------------------------------------------------------------


def binary_discriminator(real, fake):
    r"""(1): $-\mathbb E \log D(x) - \mathbb E \log(1 - D(\hat x))$, of logits (b, 1), (b, 1) to ()."""
    return tg.mean(F.softplus(-real)) + tg.mean(F.softplus(fake))


def minimax_generator(fake):
    r"""(2): $\mathbb E \log(1 - D(\hat x))$, of logits (b, 1) to ()."""
    return -tg.mean(F.softplus(fake))


def non_saturating_generator(fake):
    r"""(3): $-\mathbb E \log D(\hat x)$, of logits (b, 1) to ()."""
    return tg.mean(F.softplus(-fake))


def maximum_likelihood_generator(fake):
    r"""(4): $-\mathbb E\, e^{a(\hat x)}$, of logits (b, 1) to ()."""
    return -tg.mean(tg.exp(fake))


def wasserstein_critic(real, fake):
    r"""(5): $-\mathbb E D(x) + \mathbb E D(\hat x)$, of scores (b, 1), (b, 1) to ()."""
    return tg.mean(fake) - tg.mean(real)


def wasserstein_generator(fake):
    r"""(6): $-\mathbb E D(\hat x)$, of scores (b, 1) to ()."""
    return -tg.mean(fake)


def clip_weights(D: nn.Module, c: float) -> None:
    r"""(7): every weight of D to $[-c, c]$, in place."""
    for w in D.parameters():
        w.assign(tg.clip(w.data, -c, c))


def interpolates(x, x_fake, alpha):
    r"""(8): $\alpha x + (1 - \alpha) \hat x$; (b, ...), (b, ...), and one $\alpha$ for each pair, (b, 1, ...)."""
    return alpha * x + (1 - alpha) * x_fake


def neighbours(x, noise, c: float):
    r"""(12): $x + \sqrt c\, \varepsilon$; (b, ...) twice to (b, ...). $c$ is a variance."""
    return x + math.sqrt(c) * noise


def gradient_penalty(D, x, batch_axes: int = 1):
    r"""The mean in (9), $\mathbb E (\lVert \nabla D(\tilde x) \rVert_2 - 1)^2$, at given points (b, ...) to ().

    All axes after the first `batch_axes` are the features of one point.
    """
    point = tg.tensor(x, requires_grad=True)
    (slope,) = tg.grad(tg.sum(D(point)), [point], create_graph=True)
    norm = tg.norm(slope, axis=tuple(range(batch_axes, slope.ndim)))
    return tg.mean(tg.square(norm - 1))


def least_squares_discriminator(real, fake):
    r"""(10): $\mathbb E (D(x) - 1)^2 + \mathbb E D(\hat x)^2$, of outputs (b, 1), (b, 1) to ()."""
    return tg.mean(tg.square(real - 1)) + tg.mean(tg.square(fake))


def least_squares_generator(fake):
    r"""(11): $\mathbb E (D(\hat x) - 1)^2$, of outputs (b, 1) to ()."""
    return tg.mean(tg.square(fake - 1))


def reconstruction_error(D, x):
    r"""(13): $\frac1d \lVert x - \mathrm{AE}(x) \rVert_1$, averaged over points; (b, ...) to ()."""
    return tg.mean(tg.abs(x - D(x)))


def began_discriminator(L_real, L_fake, k):
    r"""(14): $L(x) - k L(\hat x)$."""
    return L_real - k * L_fake


def began_k(k, L_real, L_fake, rate: float, gamma: float):
    r"""(15): the next $k$, $k + \lambda_k (\gamma L(x) - L(\hat x))$ within [0, 1]."""
    return tg.clip(k + rate * (gamma * L_real - L_fake), 0.0, 1.0)


def began_measure(L_real, L_fake, gamma: float):
    r"""(16): $L(x) + |\gamma L(x) - L(\hat x)|$."""
    return L_real + tg.abs(gamma * L_real - L_fake)


# ---- the papers -----------------------------------------------------------------------------------------


class Loss(nn.Module):
    """What the two players minimise. A paper writes `generator`, and whatever of the rest is its own.

    The discriminator here is that of the first paper, (1). A Loss is a Module, so a buffer that it registers (BEGAN's
    k) is saved with the model.
    """

    def discriminator(self, D: nn.Module, x: Any, x_fake: Any, rng: Generator) -> Any:
        """What D minimises, on real and generated points (b, ...); x_fake carries no gradient here."""
        return binary_discriminator(D(x), D(x_fake))

    def generator(self, D: nn.Module, x_fake: Any) -> Any:
        """What G minimises, on generated points (b, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no generator method")

    def after(self, D: nn.Module, x: Any, x_fake: Any) -> dict[str, Any]:
        """What happens once D has made its step on these points; numbers for the log."""
        return {}


class Minimax(Loss):
    """MM: Goodfellow et al. 2014, as the theory has it; (1) and (2)."""

    def generator(self, D, x_fake):
        return minimax_generator(D(x_fake))


class NonSaturating(Loss):
    """NS: Goodfellow et al. 2014, as they trained; (1) and (3)."""

    def generator(self, D, x_fake):
        return non_saturating_generator(D(x_fake))


class MaximumLikelihood(Loss):
    """Goodfellow 2014: the generator goes up the likelihood of the data, as far as D knows it; (1) and (4)."""

    def generator(self, D, x_fake):
        return maximum_likelihood_generator(D(x_fake))


class Wasserstein(Loss):
    """WGAN: Arjovsky, Chintala and Bottou 2017; (5), (6), and (7) after each step of the critic."""

    def __init__(self, *, clip: float = 0.01):
        self.clip = clip

    def discriminator(self, D, x, x_fake, rng):
        return wasserstein_critic(D(x), D(x_fake))

    def generator(self, D, x_fake):
        return wasserstein_generator(D(x_fake))

    def after(self, D, x, x_fake):
        clip_weights(D, self.clip)
        return {}


class WassersteinGP(Loss):
    """WGAN-GP: Gulrajani et al. 2017; (5) with the penalty (9) at (8), and (6)."""

    def __init__(self, *, weight: float = 10.0, batch_axes: int = 1):
        self.weight, self.batch_axes = weight, batch_axes

    def discriminator(self, D, x, x_fake, rng):
        alpha = rng.uniform((*x.shape[: self.batch_axes], *[1] * (x.ndim - self.batch_axes)), dtype=x.dtype)
        penalty = gradient_penalty(D, interpolates(x, x_fake, alpha), self.batch_axes)
        return wasserstein_critic(D(x), D(x_fake)) + self.weight * penalty

    def generator(self, D, x_fake):
        return wasserstein_generator(D(x_fake))


class LeastSquares(Loss):
    """LSGAN: Mao et al. 2017; (10) and (11)."""

    def discriminator(self, D, x, x_fake, rng):
        return least_squares_discriminator(D(x), D(x_fake))

    def generator(self, D, x_fake):
        return least_squares_generator(D(x_fake))


class DRAGAN(Loss):
    """DRAGAN: Kodali et al. 2017; (1) with the penalty (9) at (12), and (2), or (3) where `saturating` is false."""

    def __init__(self, *, weight: float = 10.0, variance: float = 0.1, batch_axes: int = 1, saturating: bool = True):
        self.weight, self.variance, self.batch_axes, self.saturating = weight, variance, batch_axes, saturating

    def discriminator(self, D, x, x_fake, rng):
        near = neighbours(x, rng.normal(x.shape, dtype=x.dtype), self.variance)
        return super().discriminator(D, x, x_fake, rng) + self.weight * gradient_penalty(D, near, self.batch_axes)

    def generator(self, D, x_fake):
        return (minimax_generator if self.saturating else non_saturating_generator)(D(x_fake))


class BEGAN(Loss):
    """BEGAN: Berthelot, Schumm and Metz 2017; D is an autoencoder; (14), (13), and (15) after each step of D."""

    def __init__(self, *, gamma: float = 0.5, rate: float = 1e-3):
        self.gamma, self.rate = gamma, rate
        self.register_buffer("k", tg.zeros(()))

    def discriminator(self, D, x, x_fake, rng):
        return began_discriminator(reconstruction_error(D, x), reconstruction_error(D, x_fake), self.k)

    def generator(self, D, x_fake):
        return reconstruction_error(D, x_fake)

    def after(self, D, x, x_fake):
        with tg.no_grad():
            L_real, L_fake = reconstruction_error(D, x), reconstruction_error(D, x_fake)
            self.k.assign(began_k(self.k, L_real, L_fake, self.rate, self.gamma))
        return {"k": self.k, "M": began_measure(L_real, L_fake, self.gamma)}


LOSSES: dict[str, type[Loss]] = {
    "minimax": Minimax,
    "non-saturating": NonSaturating,
    "maximum-likelihood": MaximumLikelihood,
    "wasserstein": Wasserstein,
    "wasserstein-gp": WassersteinGP,
    "least-squares": LeastSquares,
    "dragan": DRAGAN,
    "began": BEGAN,
}

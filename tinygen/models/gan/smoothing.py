r"""Label smoothing: a discriminator that may not be too sure (S3, tricks of the trade; S4; Salimans et al. 2016).

In a long game the discriminator wins: it tells samples from data with hardly an error, and S3 warns that $G$'s
gradient may then get too large. The trick is to ask for less. It is still told what is real, but only with
probability $\alpha$, such as 0.9, and that a sample is real with probability $\beta$, which is best left at 0:

$$ L_D = -\mathbb E_x \bigl[ \alpha \log D(x) + (1 - \alpha) \log(1 - D(x)) \bigr]
   - \mathbb E_{\hat x} \bigl[ \beta \log D(\hat x) + (1 - \beta) \log(1 - D(\hat x)) \bigr]. \tag{1} $$

The generator pays what it did, (3) of `losses.py`. With $\alpha = 1$ and $\beta = 0$ this is (1) there.

**How sure it gets.** By the logit $a$ of a real point, the slope of its term is $\sigma(a) - \alpha$. It vanishes
where $D(x) = \alpha$, that is at

$$ a = \log \frac{\alpha}{1 - \alpha}, \tag{2} $$

2.2 for 0.9, and beyond that it turns round. Without smoothing it never does, and the logits grow without end: on data
that is finite, and can be told from samples for sure, so do the weights.

**Why one side only.** At each $x$ alone, with densities $p$ of the data and $q$ of the generator, (1) is least at

$$ D^*(x) = \frac{\alpha\, p(x) + \beta\, q(x)}{p(x) + q(x)}. \tag{3} $$

With $\beta = 0$ it is $\alpha$ times the best discriminator of the plain game (`theory.py`, (2)): everything that can
be read off it still can. With $\beta > 0$ the generator's density appears in the numerator. Where there is no data it
leaves $D^* = \beta$, however wrong the samples that lie there: nothing calls them back, and the logit is flat at
$\log \beta / (1 - \beta)$ where it used to fall without end. So $D$ "will reinforce incorrect behaviour" (S3), and $G$
makes more of the samples it already makes.

At $q = p$ both players are where they should be, with $D^* = (\alpha + \beta) / 2$ and the costs

$$ L_D = 2 H\bigl(\tfrac{\alpha + \beta}{2}\bigr), \qquad L_G = -\log \tfrac{\alpha + \beta}{2}, \tag{4} $$

with $H(t) = -t \log t - (1 - t) \log(1 - t)$: for 0.9, $L_D$ is 1.376 in place of $\log 4 = 1.386$, and $L_G$ is
0.799 in place of $\log 2 = 0.693$.

Notation
--------
$\alpha, \beta$ : `real_label`, `fake_label`
$a(x), a(\hat x)$ : `real`, `fake`, (b, 1), the logits
$p, q$ : `p`, `q`, densities or probabilities at the same points
"""

from __future__ import annotations

import math
from typing import Any

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.models.gan import theory
from tinygen.models.gan.losses import NonSaturating
from tinygen.nn import functional as F

# ---- the equations --------------------------------------------------------------------------------------


def smoothed_discriminator(real, fake, real_label: float = 0.9, fake_label: float = 0.0):
    r"""(1): the cross-entropy of logits (b, 1), (b, 1) for the labels $\alpha$ and $\beta$, to ()."""
    return cross_entropy(real, real_label) + cross_entropy(fake, fake_label)


def cross_entropy(a, label: float):
    r"""$-\mathbb E[t \log \sigma(a) + (1 - t) \log(1 - \sigma(a))]$ for one label t."""
    return tg.mean(label * F.softplus(-a) + (1 - label) * F.softplus(a))


def surest_logit(real_label: float) -> float:
    r"""(2): $\log \alpha / (1 - \alpha)$, where the term of a real point is least; infinite for 0 and 1."""
    if real_label in (0, 1):
        return math.inf if real_label else -math.inf
    return math.log(real_label / (1 - real_label))


def best_discriminator(p, q, real_label: float = 0.9, fake_label: float = 0.0):
    r"""(3): $(\alpha p + \beta q) / (p + q)$, of arrays; where both are 0, the mean of the labels."""
    D = theory.best_discriminator(p, q)
    return real_label * D + fake_label * (1 - D)


def costs_at_equilibrium(real_label: float = 0.9, fake_label: float = 0.0) -> tuple[float, float]:
    r"""(4): what D and G pay at $q = p$, where $D^* = (\alpha + \beta) / 2$."""
    best = (real_label + fake_label) / 2
    return -2 * (best * math.log(best) + (1 - best) * math.log(1 - best)), -math.log(best)


# ---- the loss -------------------------------------------------------------------------------------------


class SmoothedLabels(NonSaturating):
    """Salimans et al. 2016: D by (1), G as ever.

    Parameters
    ----------
    real_label : the probability, above 0 and at most 1, with which D is to call real points real
    fake_label : the same for generated points, less than `real_label`; above 0 the smoothing is two-sided
    """

    def __init__(self, real_label: float = 0.9, fake_label: float = 0.0):
        if not 0 <= fake_label < real_label <= 1:
            raise ValueError(f"SmoothedLabels: real_label is {real_label} and fake_label {fake_label}; "
                             "0 <= fake_label < real_label <= 1 is wanted")  # fmt: skip
        self.real_label, self.fake_label = real_label, fake_label

    def discriminator(self, D: nn.Module, x: Any, x_fake: Any, rng: Generator) -> Any:
        return smoothed_discriminator(D(x), D(x_fake), self.real_label, self.fake_label)

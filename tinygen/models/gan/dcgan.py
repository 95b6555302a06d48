r"""DCGAN: players made of convolutions (Radford, Metz and Chintala 2016; S2 ex. 4.2.2, S3 part 5).

On images fully connected players do poorly: they have to learn for every place anew what a stroke is. Convolutions
share what they learn between places. The discriminator is a convolutional network that ends in one number. The
generator is its mirror image, and goes from a code to larger and larger maps. Nothing else of the game changes
(`game.py`): D and G pay what they did, by default the non-saturating losses.

**Down by half.** S3: no pooling. A convolution of stride $S$ makes its maps smaller and learns how; the sides of its
input and its output, with kernel $q$ and padding $P$ (S2 eq. 3.14, which lost the floor), are

$$ n_1 = \left\lfloor \frac{n - q + 2P}{S} \right\rfloor + 1. \tag{1} $$

Here $q = 4$, $S = 2$, $P = 1$, so $n_1 = \lfloor n / 2 \rfloor$: 28, 14, 7, 3. The kernel is a multiple of the stride,
so that every place of the larger map meets as many of its entries (with $q = 3$ or 5 samples get a chessboard).

**And up again.** A transposed convolution spreads each number of its input over the places that a convolution would
have gathered it from. It is S2's convolution of stride $1/S$: put $S - 1$ zeros between neighbours (S2 writes $S$) and
convolve. Of the sizes that (1) takes to the same $n$, it has

$$ n_1 = S (n - 1) + q - 2P + o, \qquad 0 \le o < S, \tag{2} $$

and one says which by $o$, the *output padding*: with $o = n_1 - 2n$, 3 becomes 7, and 7 becomes 14. (S2 has no $o$.)

**Two sets of rules.** `RULES` has the network of the thesis and that of S3.

| | "thesis" (S2 ex. 4.2.2) | "dcgan" (S3 part 5) |
|---|---|---|
| code | $U[0, 1]^{100}$ | $U[-1, 1]^{100}$ |
| G before its maps | a fully connected layer of 256 | nothing: the first maps are linear in the code |
| G's maps | 128, 64, 32 | the same |
| D's maps | 32, 64, 128, then one linear layer | the same |
| hidden units of G, of D | ReLU, ReLU | ReLU, leaky ReLU with slope 0.2 |
| G's last layer | sigmoid | tanh |
| weights start from | the layers' own $U(-1/\sqrt m, 1/\sqrt m)$ | $\mathcal N(0, 0.02^2)$ |
| Adam | rate $10^{-3}$ | rate $2 \cdot 10^{-4}$ |

S2 gives the widths, the rate, the prior and 20 epochs, and names Radford et al. as its starting point; where it is
silent the left column has what its earlier experiment used (ReLU; $U[0, 1]$ is from there too), a sigmoid at G's end,
which is ours (S2's stands at D's end), and the paper's $\beta_1 = 0.5$, kernels of 4 and batch norm. S3's column is
the paper's, the slope, the start, the rate and the ends of the prior included, which S3 does not print. A code that
goes straight to maps is a fully connected layer too, as the paper says; what its rule removes is the *hidden* one.

**Tanh or sigmoid** is not a question of what G can draw. Images in $[0, 1]$ are $x$; in $[-1, 1]$ they are $2x - 1$,
and

$$ \frac{1 + \tanh a}{2} = \sigma(2a). \tag{3} $$

What differs is what D sees: with tanh the numbers are around 0, as its weights are. The model's verbs take and give
images in $[0, 1]$ under both rules.

**Batch norm** follows every convolution but D's first and G's last (and no linear one that ends D): normalised there,
G could not choose how bright its samples are, nor D see it. Real and generated images come to D in two batches, each
normalised by its own mean and variance; in one batch of both, the statistics would be those of the mixture, and say
to each sample what the others are (S3, virtual batch norm). Each batch's statistics are the same for all its
samples, so D judges the batch as well as the image: a G whose batch is too uniform is found out. After training the
running averages take their place in G, and a sample no longer depends on its neighbours.

**Between two samples** the codes are joined by a straight line, which stays in the cube that the prior fills,

$$ z(t) = (1 - t)\, z_0 + t\, z_1, \qquad 0 \le t \le 1. \tag{4} $$

If all images on the way look real, G has learnt more than a list of training images. (Beside the nearest training
images, `metrics.nearest`, that is what one can do against the suspicion.)

Notation
--------
$n, n_1$ : `size`, and the next in `sides`
$q, S, P, o$ : `kernel_size`, `stride`, `padding`, `output_padding`
$z$ : `z`, (b, n_latent)
$x$ : `x`, (b, channels, size, size)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import in_order
from tinygen.models.gan.game import GAN, uniform
from tinygen.models.gan.losses import Loss

# ---- the rules ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """How the two players are built, and how they learn.

    Attributes
    ----------
    hidden : neurons of G's fully connected layer between the code and the first maps; 0 for none
    slope : of D's rectifiers below 0
    signed : whether G ends in tanh and images are in [-1, 1], or in a sigmoid and [0, 1]; the codes are from there too
    small : whether weights start from N(0, 0.02²), or as their layers do
    lr : the rate of both players
    """

    hidden: int = 0
    slope: float = 0.2
    signed: bool = True
    small: bool = True
    lr: float = 2e-4


RULES = {"thesis": Rules(hidden=256, slope=0.0, signed=False, small=False, lr=1e-3), "dcgan": Rules()}


# ---- the equations --------------------------------------------------------------------------------------

KERNEL: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}


def smaller(n: int, *, kernel_size: int, stride: int, padding: int) -> int:
    r"""(1): $\lfloor (n - q + 2P) / S \rfloor + 1$, the side after a convolution."""
    return (n - kernel_size + 2 * padding) // stride + 1


def larger(n: int, *, kernel_size: int, stride: int, padding: int, output_padding: int = 0) -> int:
    r"""(2): $S (n - 1) + q - 2P + o$, the side after a transposed convolution."""
    return stride * (n - 1) + kernel_size - 2 * padding + output_padding


def unit(y):
    r"""(3): $(1 + y) / 2$, an image in [-1, 1] as one in [0, 1]."""
    return (1 + y) / 2


def signed(x):
    """$2x - 1$, an image in [0, 1] as one in [-1, 1]."""
    return 2 * x - 1


def line(z_0: np.ndarray, z_1: np.ndarray, n: int) -> np.ndarray:
    r"""(4): $(1 - t) z_0 + t z_1$ at n even steps, both ends included: (d,), (d,) to (n, d)."""
    t = np.linspace(0, 1, n, dtype=z_0.dtype)[:, None]
    return (1 - t) * z_0 + t * z_1


# ---- the networks ---------------------------------------------------------------------------------------


def sides(size: int, layers: int) -> list[int]:
    """The sides of the maps by (1), from the image's own: 28 and 3 layers make [28, 14, 7, 3]."""
    found = [size]
    for _ in range(layers):
        found.append(smaller(found[-1], **KERNEL))
    if found[-1] < 1:
        raise ValueError(f"sides: an image of side {size} cannot be halved {layers} times; a larger one is wanted, or "
                         "fewer widths")  # fmt: skip
    return found


def normalised(layer: nn.Module, width: int, activation: nn.Module) -> list[nn.Module]:
    """A layer without a bias, batch norm (whose own shift takes its place) and a rectifier."""
    norm = nn.BatchNorm1d(width) if isinstance(layer, nn.Linear) else nn.BatchNorm2d(width)
    return [layer, norm, activation]


def generator(n_latent: int, size: int, channels: int = 1, *, widths: tuple[int, ...] = (128, 64, 32),
              rules: Rules = RULES["dcgan"], rng: Generator) -> nn.Sequential:  # fmt: skip
    """$G$: codes (b, n_latent) to images (b, channels, size, size), in [-1, 1] or [0, 1] as the rules say."""
    steps = list(itertools.pairwise(reversed(sides(size, len(widths)))))  # (3, 7), (7, 14), (14, 28)
    layers: list[nn.Module] = []
    if rules.hidden:
        linear = nn.Linear(n_latent, rules.hidden, bias=False, rng=rng)
        layers += normalised(linear, rules.hidden, nn.ReLU())
    maps = rules.hidden or n_latent
    layers.append(nn.Unflatten(1, (maps, 1, 1)))  # the code as one pixel, from which the first maps spread
    layers += normalised(nn.ConvTranspose2d(maps, widths[0], steps[0][0], bias=False, rng=rng), widths[0], nn.ReLU())
    for (i, o), (n, n_1) in zip(itertools.pairwise(widths), steps, strict=False):
        up = nn.ConvTranspose2d(i, o, **KERNEL, output_padding=n_1 - larger(n, **KERNEL), bias=False, rng=rng)
        layers += normalised(up, o, nn.ReLU())
    n, n_1 = steps[-1]
    last = nn.ConvTranspose2d(widths[-1], channels, **KERNEL, output_padding=n_1 - larger(n, **KERNEL), rng=rng)
    return nn.Sequential(*layers, last, nn.Tanh() if rules.signed else nn.Sigmoid())


def discriminator(size: int, channels: int = 1, *, widths: tuple[int, ...] = (32, 64, 128),
                  rules: Rules = RULES["dcgan"], rng: Generator) -> nn.Sequential:  # fmt: skip
    """The logit of $D$: images (b, channels, size, size) to (b, 1)."""
    activation: Callable[[], nn.Module] = (lambda: nn.LeakyReLU(negative_slope=rules.slope)) if rules.slope else nn.ReLU
    layers = [nn.Conv2d(channels, widths[0], **KERNEL, rng=rng), activation()]
    for i, o in itertools.pairwise(widths):
        layers += normalised(nn.Conv2d(i, o, **KERNEL, bias=False, rng=rng), o, activation())
    features = widths[-1] * sides(size, len(widths))[-1] ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 1, rng=rng))


# ---- the model ------------------------------------------------------------------------------------------


class DCGAN(GAN):
    r"""A convolutional generator and a convolutional discriminator.

    Parameters
    ----------
    size, channels : the side of the square images, and their colours
    n_latent : length of a code
    widths : how many maps G has on its way, each twice as large as the ones before; D has them in turn
    rules : a name from `RULES`, or Rules
    loss : a name from `LOSSES`, or a Loss
    lr : the rate of both players, or a pair (D's, G's); by default the rules'
    schedule : the factor of the rates as a function of the turn 0, 1, ..., such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the weights, the minibatches and the codes; None takes fresh entropy. The model lives on
        its device.

    Examples
    --------
    >>> import tinygen as tg
    >>> from tinygen.runs import Run
    >>> x = tg.random.Generator(1).uniform((20, 1, 8, 8))
    >>> gan = DCGAN(8, n_latent=5, widths=(8, 4), rng=tg.random.Generator(0))
    >>> gan.fit(x, steps=2, batch_size=4, run=Run(quiet=True)).sample(3).shape
    (3, 1, 8, 8)
    """

    def __init__(self, size: int = 28, channels: int = 1, *, n_latent: int = 100,
                 widths: tuple[int, ...] = (128, 64, 32), rules: str | Rules = "dcgan",
                 loss: str | Loss = "non-saturating", lr: float | tuple[float, float] | None = None,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        if isinstance(rules, str) and rules not in RULES:
            raise ValueError(f"DCGAN: rules is {rules!r}; {', '.join(RULES)} are there, or give Rules")
        rng = Generator() if rng is None else rng
        self.rules = RULES[rules] if isinstance(rules, str) else rules
        G = generator(n_latent, size, channels, widths=widths, rules=self.rules, rng=rng)
        D = discriminator(size, channels, widths=widths[::-1], rules=self.rules, rng=rng)
        for network in (G.to(rng.device), D.to(rng.device)):  # batch norm starts on the CPU
            if self.rules.small:
                nn.init.dcgan_(network, rng=rng)
        prior = uniform(n_latent, -1.0 if self.rules.signed else 0.0, 1.0)
        super().__init__(G, D, loss, prior=prior, lr=self.rules.lr if lr is None else lr,
                         schedule=schedule, rng=rng)  # fmt: skip

    def checked(self, x: Any) -> Any:
        """Images (n, channels, size, size) in [0, 1], as the players see them; or an error that says what is wrong."""
        x = super().checked(x)
        if float(x.min()) < 0 or float(x.max()) > 1:
            raise ValueError(f"{type(self).__name__}: x has values from {float(x.min()):g} to {float(x.max()):g}; "
                             "images in [0, 1] are wanted (divide bytes by 255)")  # fmt: skip
        return signed(x) if self.rules.signed else x

    def decode(self, z: Any) -> np.ndarray:
        """$G(z)$ out of training: codes (n, n_latent) to images (n, channels, size, size) in [0, 1]."""
        z = backend.asarray(z, self._like.dtype, self._like.device)
        images = np.concatenate([super(DCGAN, self).decode(part) for part in in_order(z, 500)])  # little memory
        return unit(images) if self.rules.signed else images

    def interpolate(self, z_0: np.ndarray, z_1: np.ndarray, n: int) -> np.ndarray:
        """Images at n even steps from one code to another, by (4): (d,), (d,) to (n, channels, size, size)."""
        return self.decode(line(np.asarray(z_0), np.asarray(z_1), n))

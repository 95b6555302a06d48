r"""The convolutional autoencoder (S3 part 2; Masci et al. 2011, S3's [13]): an autoencoder that knows what near means.

A fully connected layer has a weight for each pixel and each unit. It would learn the same from images whose pixels have
been shuffled, and it must find a stroke anew at every place. "Replace fully connected layer with convolutional layer
(optionally add pooling layers)" (S3): a kernel of a few weights looks at each place in turn. In the letters of
`supervised/convolutional.py`, which has the details, $h \star K$ is the cross-correlation that networks call a
convolution. Two things are new here: the images must become smaller on the way to the code, and larger on the way back.

**Down by pooling.** Each layer is a convolution that keeps the size, the positive part, and the largest of each
$2 \times 2$ block:

$$ h_l(i, j) = \max_{a, b \in \{0, 1\}} \mathrm{relu}\bigl( K_l \star h_{l-1} + b_l \bigr)(2i + a, 2j + b). \tag{1} $$

Where in its block the largest stood is forgotten; a stroke may tremble by a pixel, and the code remains. **Up again**
every number fills a block, and a convolution smooths:

$$ u(i, j) = h(\lfloor i / 2 \rfloor, \lfloor j / 2 \rfloor). \tag{2} $$

**Down by strides.** Convolve, but only at every second place,

$$ h_l(i, j) = \mathrm{relu}\bigl( K_l \star h_{l-1} + b_l \bigr)(2i, 2j). \tag{3} $$

A quarter of the work, and the network may choose itself what to keep. **Up again** by the *transposed convolution*:
each number puts a copy of the kernel, times itself, at its place, and copies that overlap add up. With kernels of side
$q$, a stride $S$ and $P$ pixels cut off at the border, in one dimension

$$ u(i) = \sum_{j} h(j)\, K(i + P - S j), \qquad 0 \le i < S (n - 1) + q - 2P. \tag{4} $$

It is the transposed matrix of (3)'s, not its inverse: $\langle K \star_S x, y \rangle = \langle x, K \star_S^\top y
\rangle$ for all $x$ and $y$. (S2 makes it from zeros between the numbers: $S - 1$ of them, though it says $S$.)

**The checkerboard.** How many copies of the kernel meet at a place? Those $j$ whose copy reaches $i$, that is

$$ m(i) = \#\{ j : 0 \le j < n,\; 0 \le i + P - S j < q \}. \tag{5} $$

If $S$ divides $q$ it is $q / S$ everywhere but at the border. Otherwise it alternates, say 1, 2, 1, 2 for $q = 3$ and
$S = 2$, in both directions, and even a constant $h$ with a constant kernel becomes a checkerboard (Odena et al. 2016).
The kernels can learn to avoid that, but they start with it. Here $q = 4$, $S = 2$, $P = 1$. (A pattern remains as far
as the even and the odd entries of a kernel differ in their sums. With (2) there is none at all.)

**How many weights?** A layer from $c$ channels to $c'$ with kernels of side $q$ has

$$ N = c' (c\, q^2 + 1), \tag{6} $$

however large the image is. A fully connected one between the same $c \times n \times n$ and $c' \times \frac n2 \times
\frac n2$ numbers has $\frac14 c' n^2 (c\, n^2 + 1)$. In the end the maps $h_L$ are flattened, and one linear layer
gives the code $y$, so that it can be as short as that of any other autoencoder; on the way back another one
makes maps of it.

**Stacked** (Masci et al.). Layer $l$ with its way up, $g_l$, is an autoencoder of maps. Before all learn together, each
can learn alone, from the bottom up, the others standing still ($g_l$ ends in a positive part, but for $l = 1$):

$$ \mathcal L_l = \mathbb E\, \lVert h_{l-1} - g_l(h_l) \rVert^2, \qquad h_0 = x. \tag{7} $$

(Masci's layers have no pooling or, better, one that keeps the largest of each block and sets the others to zero;
the kernels on the way up are those of the way down, turned. Here the ways up have kernels of their own.) Whether it
pays is for the demo to say: of as many steps, those that a layer spends alone are missing at the end. There they cost
more than they bring.

Notation
--------
$x$ : `x`, (b, c_0, n, n); $h_l$ : what `downs[l - 1]` gives, (b, c_l, n / 2^l, n / 2^l); $y$ : `y`, (b, d)
$K_l, b_l$ : weight and bias of the convolution in `downs[l - 1]`; $g_l$ : `ups[l - 1]`
$q, S, P$ : `q`, `S`, `P`; $m$ : `overlaps`; $c, c'$ : `c_in`, `c_out`; $N$ : `n_weights`
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.models.autoencoder.autoencoder import Autoencoder, squared_error
from tinygen.nn import functional as F

# ---- the equations --------------------------------------------------------------------------------------


def pooled(h, K, b):
    r"""(1): (b, c, n, n), (c', c, q, q), (c',) to (b, c', n / 2, n / 2)."""
    return F.max_pool2d(tg.relu(F.conv2d(h, K, b, padding="same")), 2)


def enlarged(h):
    r"""(2): $u(i, j) = h(\lfloor i/2 \rfloor, \lfloor j/2 \rfloor)$; (b, c, n, n) to (b, c, 2n, 2n)."""
    return F.upsample(h, 2)


def strided(h, K, b, P: int = 1):
    r"""(3): (b, c, n, n), (c', c, q, q), (c',) to (b, c', n / 2, n / 2); for q = 4 and P = 1."""
    return tg.relu(F.conv2d(h, K, b, stride=2, padding=P))


def transposed(h, K, *, S: int = 2, P: int = 0):
    r"""(4): $\sum_j h(j)\, K(i + P - S j)$; (n,), (q,) to (S (n - 1) + q - 2P,)."""
    return F.conv_transpose1d(h[None, None], K[None, None], stride=S, padding=P)[0, 0]


def overlaps(n: int, q: int, S: int = 2, P: int = 0) -> np.ndarray:
    """(5): how many of n copies of a kernel meet at each place of what (4) gives; on the host."""
    return np.asarray(transposed(np.ones(n), np.ones(q), S=S, P=P))


def n_weights(c_in: int, c_out: int, q: int) -> int:
    r"""(6): $c' (c\, q^2 + 1)$."""
    return c_out * (c_in * q**2 + 1)


# ---- the networks ---------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """(1) as a layer, with kernels of side 3."""

    def __init__(self, c_in: int, c_out: int, *, rng: Generator):
        self.convolution = nn.Conv2d(c_in, c_out, 3, padding=1, rng=rng)

    def forward(self, h):
        return pooled(h, self.convolution.weight, self.convolution.bias)


class Strided(nn.Module):
    """(3) as a layer, with kernels of side 4."""

    def __init__(self, c_in: int, c_out: int, *, rng: Generator):
        self.convolution = nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, rng=rng)

    def forward(self, h):
        return strided(h, self.convolution.weight, self.convolution.bias)


class Enlarged(nn.Module):
    """(2), and a convolution with kernels of side 3."""

    def __init__(self, c_in: int, c_out: int, *, rng: Generator):
        self.convolution = nn.Conv2d(c_in, c_out, 3, padding=1, rng=rng)

    def forward(self, h):
        return self.convolution(enlarged(h))


def transposed_layer(c_in: int, c_out: int, *, rng: Generator) -> nn.Module:
    """(4) in two dimensions, with kernels of side 4 and a bias."""
    return nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1, rng=rng)


WAYS: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "pooling": (Pooled, Enlarged),
    "strides": (Strided, transposed_layer),
}


# ---- the model ------------------------------------------------------------------------------------------


class ConvolutionalAutoencoder(Autoencoder):
    r"""An autoencoder whose layers are convolutions, each of which halves the image.

    Parameters
    ----------
    shape : (channels, height, width) of an image; the sides can be halved as often as there are layers
    n_code : length of the code
    channels : $c_1, \dots, c_L$
    way : "pooling", (1) and (2), or "strides", (3) and (4)
    alone : steps in which each layer learns alone by (7), the lowest first, before all learn together; 0: none
    loss, lr, schedule, rng : as of `Autoencoder`; the Generator draws the weights too

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> rng = tg.random.Generator(0)
    >>> model = ConvolutionalAutoencoder((1, 8, 8), 5, channels=(4, 6), way="pooling", rng=rng)
    >>> x = rng.uniform((20, 1, 8, 8))
    >>> model.fit(x, steps=3, run=Run(quiet=True)).transform(x).shape, [h.shape for h in model.maps(x)]
    ((20, 5), [(20, 4, 4, 4), (20, 6, 2, 2)])
    """

    def __init__(self, shape: tuple[int, int, int], n_code: int, *, channels: Sequence[int] = (8, 16),
                 way: str = "strides", alone: int = 0, loss: str = "squared", lr: float = 1e-3,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        if way not in WAYS:
            raise ValueError(f"ConvolutionalAutoencoder: way is {way!r}; 'pooling' or 'strides' is wanted")
        factor = 2 ** len(channels)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor or not channels or alone < 0:
            raise ValueError(f"ConvolutionalAutoencoder: shape {shape}, channels {tuple(channels)} and alone {alone}; "
                             f"(channels, height, width) with sides that {factor} divides, at least one layer, and "
                             "steps of 0 or more are wanted")  # fmt: skip
        rng = Generator() if rng is None else rng
        down, up = WAYS[way]
        levels = list(itertools.pairwise((shape[0], *channels)))
        downs = [down(c, c_up, rng=rng) for c, c_up in levels]
        ups = [up(c_up, c, rng=rng) for c, c_up in levels]
        top = (channels[-1], shape[1] // factor, shape[2] // factor)
        n = math.prod(top)
        back = [layer for g in reversed(ups[1:]) for layer in (g, nn.ReLU())] + [ups[0]]
        encoder = nn.Sequential(*downs, nn.Flatten(), nn.Linear(n, n_code, rng=rng))
        decoder = nn.Sequential(nn.Linear(n_code, n, rng=rng), nn.ReLU(), nn.Unflatten(1, top), *back)
        self.alone, self.n_levels = alone, len(channels)
        super().__init__(encoder, decoder, shape, loss=loss, lr=lr, schedule=schedule, rng=rng)

    @property
    def downs(self) -> list[Any]:
        """The layers on the way down, the lowest first."""
        layers: Any = self.encoder
        return list(layers)[: self.n_levels]

    @property
    def ups(self) -> list[Any]:
        """Their ways up, in the same order."""
        layers: Any = self.decoder
        return [layer for layer in list(layers) if isinstance(layer, Enlarged | nn.ConvTranspose2d)][::-1]

    def level_loss(self, x, level: int):
        r"""(7) for layer `level` = 1, 2, ...: (b, *shape) to a scalar Tensor; the layers below stand still."""
        with tg.no_grad():
            h = tg.tensor(x)
            for down in self.downs[: level - 1]:
                h = down(h)
        h_hat = self.ups[level - 1](self.downs[level - 1](h))
        return tg.mean(squared_error(h, tg.relu(h_hat) if level > 1 else self._pixels(h_hat)))

    def update(self, x) -> dict:
        """One step on a minibatch: of a layer alone, as long as it is the turn of one, or of all of them."""
        level = self.schedule.t // self.alone + 1 if self.alone else self.n_levels + 1
        if level > self.n_levels:
            return super().update(x)
        loss = self.train().level_loss(x, level)
        self.optimizer.step(tg.grad(loss, self.optimizer.params, allow_unused=True))
        self.schedule.step()
        return {f"loss_{level}": loss}

    def maps(self, x: np.ndarray) -> list[np.ndarray]:
        """What each layer on the way down finds: (n, *shape) to (n, c_l, h / 2^l, w / 2^l), l from 1 on."""
        x, found = self.checked(x), []
        for level in range(1, self.n_levels + 1):
            found.append(self._in_parts(nn.Sequential(*self.downs[:level]), x))
        return found

    def _pixels(self, x_hat: Any):
        """What the lowest way up gives, as pixels."""
        return tg.sigmoid(x_hat) if self.bernoulli else x_hat

r"""Convolutional networks (S2 §3.3 and ex. 3.3.1; LeCun et al. 1998): one small detector, at every place of an image.

A fully connected neuron looks at all pixels, and learns about each of them apart. But an edge is an edge wherever it
stands. So let a neuron look at a small patch only, and let all places share one set of weights, a *kernel*. What a
layer then computes has long been known as filtering. The convolution of $h$ with $K$ on $\mathbb Z^d$ is (S2 eq. 3.12)

$$ (h * K)(u) = \sum_{v \in \mathbb Z^d} h(v)\, K(u - v). \tag{1} $$

An image is nonzero on a rectangle only; taken as 0 outside, (1) makes sense for it (*zero padding*; S2 also names
continuous and reflected padding). A layer has $\ell_1$ kernels of size $q \times q \times \ell_0$, with odd $q$, and
turns an image with $\ell_0$ channels into one with $\ell_1$ (S2 eq. 3.13):

$$ h_1(i, j, \ell) = \sum_{r, s} \sum_{t = 1}^{\ell_0} h_0(r, s, t)\, K_\ell(i - r, j - s, t). \tag{2} $$

The indices of $K_\ell$ count from its middle: $K_\ell(0, 0, t)$ is its entry number
$(\lceil q/2 \rceil, \lceil q/2 \rceil, t)$ (S2 prints $\lfloor q/2 \rfloor$, which counted from 1 is one too
few). In (1) and (2) the image runs forwards and the kernel backwards. What networks compute, and call by the same name,
is the cross-correlation, in which both run forwards:

$$ h_1(i, j, \ell) = \sum_{a, b} \sum_{t = 1}^{\ell_0} h_0(i + a, j + b, t)\, K_\ell(a, b, t),
   \qquad -\tfrac{q - 1}{2} \le a, b \le \tfrac{q - 1}{2}. \tag{3} $$

It is (2) with the kernels turned round, $K(a, b) \to K(-a, -b)$. Whoever learns the kernels learns them turned
round, and gets the same network.

**What is gained.** Move an image by $t$, with zeros coming in at the border,

$$ (T_t h)(u) = h(u - t); \tag{4} $$

then its convolution moves along, $(T_t h) * K = T_t (h * K)$, as (1) shows at once. What was learnt about one place
holds at all others. A layer is still an ordinary one (S2 eq. 3.5), $h_1 = W^\top h_0$ with images read as long
vectors. But most of $W$ is zero, and the rest is the same few numbers over and over:

$$ W_{(r, s, t), (i, j, \ell)} = K_\ell(r - i, s - j, t), \quad \text{or 0 beyond the kernel.} \tag{5} $$

The columns of $W$ are the neurons. A layer of 16 kernels, $5 \times 5$, on a $28 \times 28$ image has 416 numbers
to learn, biases included; with a weight for every pixel in every neuron it would have ten million.

**Fewer places.** With a stride $S$ the kernel is applied at every $S$-th place only, around $1 + (i - 1) S$ for the
$i$-th output. From $n$ places, with $P$ zeros on either side,

$$ n_1 = \left\lfloor \frac{n - q + 2P}{S} \right\rfloor + 1 \tag{6} $$

remain (S2 eq. 3.14 leaves out the floor). $P = (q - 1)/2$ and $S = 1$ keep the size, as (2) and (3) do. *Max pooling*
keeps the largest value of each $k \times k$ block of a channel:

$$ h_1(i, j, \ell) = \max_{1 \le a, b \le k} h_0\big((i - 1) k + a,\, (j - 1) k + b,\, \ell\big). \tag{7} $$

It says that there is an edge hereabouts, and forgets exactly where. The more layers have gone before, the more of the
image a value depends on. Behind layers with kernels (or blocks) $q_m$ and strides $S_m$ it is a square of side

$$ R = 1 + \sum_m (q_m - 1) \prod_{l < m} S_l, \tag{8} $$

the *receptive field*.

**The network** of S2's example: two layers of 16 kernels, $5 \times 5$, each followed by max pooling over $2 \times 2$;
a fully connected layer of 1024; a softmax,

$$ h_m = \mathrm{relu}(\mathrm{pool}(h_{m-1} \star K^{(m)} + b^{(m)})), \quad
   f = \mathrm{relu}(V^\top h_2 + c), \quad p_\theta(\cdot|x) = \mathrm{softmax}(U^\top f + d), \tag{9} $$

with $h_0 = x$ and $\star$ for (3). The activations $f$ are the *features* of an image: what the network has found in
it, from which the last layer only has to read off the class. Here pooling comes before relu, which never decreases and
so exchanges with a maximum: the result is the same, at a quarter of the work. It learns by stochastic gradient descent
on the cross-entropy. S2 names neither padding and activation of these layers nor where they start nor the rate, and
counts "steps of SGD"; here the size is kept, relu serves as in S2's fully connected network, and the steps are Adam's,
a relative of SGD's. Weights start as `nn`'s layers do, or from the law of He et al. (2015), which is made for relu.

**What is added to S2's network** starts switched off here. S2 reports 95 %, and "up to 98 %" with better
hyperparameters "and perhaps adding one or two layers". Here the layers stay, and what can be added is *dropout* on the
features (the chapter on dropout); *shifts*, each training image moved by (4), by up to so many pixels and anew each
time it is shown, so that the network cannot learn it by heart; and a *schedule*, a learning rate that falls towards 0,
so that the weights come to rest.

Notation
--------
$h, K$ : `h`, (b, l_0, n, m), b images, channels first; `K`, (l_1, l_0, q, q), l_1 kernels
$n, q, P, S, k$ : `n`, `q`, `P`, `S`, `k`; in the model `size` is q and `padding` is P
$t$ : `t`, (b, 2), how far each image moves down and to the right
$W$ : `W`, (l_0 n m, l_1 n m): what (5) writes as $W_{(r,s,t),(i,j,\ell)}$, channels first
$K^{(m)}, b^{(m)}$ : `convolutions[m]`; $V, c$ : `hidden`; $U, d$ : `out`
$f$ : `f`, (b, hidden)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.dropout import Dropout
from tinygen.nn import functional as F

# ---- the equations ----------------------------------------------------------------------------------------------


def convolution(h, K):
    r"""(1): $\sum_v h(v) K(u - v)$, at all places $u$ where it is not 0; (n, m), (q, r) to (n + q - 1, m + r - 1)."""
    around = tuple([side - 1 for side in K.shape])
    return F.conv2d(h[None, None], turned(K)[None, None], padding=around)[0, 0]


def convolutional_layer(h, K):
    r"""(2): $\sum_{r,s,t} h_0(r, s, t) K_\ell(i - r, j - s, t)$; (b, l_0, n, m), (l_1, l_0, q, q) to (b, l_1, n, m)."""
    return cross_correlation(h, turned(K))


def cross_correlation(h, K):
    r"""(3): $\sum_{a,b,t} h_0(i + a, j + b, t) K_\ell(a, b, t)$; (b, l_0, n, m), (l_1, l_0, q, q) to (b, l_1, n, m)."""
    return F.conv2d(h, K, padding=(K.shape[-1] - 1) // 2)


def turned(K):
    """Kernels (..., q, q) turned by 180 degrees, which exchanges (2) and (3)."""
    return tg.flip(K, (-2, -1))


def moved(h, t):
    r"""(4): $h(u - t)$, with zeros for what comes in; raw arrays (b, l, n, m), integers (b, 2) to (b, l, n, m)."""
    xp, (b, channels, *sides) = backend.array_module(h), h.shape
    image, channel = xp.arange(b)[:, None, None, None], xp.arange(channels)[:, None, None]
    i, j = (xp.arange(n) - t[:, axis, None] for axis, n in enumerate(sides))  # (b, n), (b, m): where to look
    seen = [(0 <= u) & (u < n) for u, n in zip((i, j), sides, strict=True)]
    i, j = (xp.clip(u, 0, n - 1) for u, n in zip((i, j), sides, strict=True))
    found = h[image, channel, i[:, None, :, None], j[:, None, None, :]]
    return found * (seen[0][:, None, :, None] & seen[1][:, None, None, :])


def as_matrix(K, n: int, m: int):
    r"""(5): the matrix $W$ with $h_1 = W^\top h_0$ for images $n \times m$; raw (l_1, l_0, q, q) to (l_0 n m, l_1 n m).

    A row is what the layer makes of one lit pixel.
    """
    inputs = K.shape[1] * n * m
    lit = backend.array_module(K).eye(inputs, dtype=K.dtype).reshape(inputs, K.shape[1], n, m)
    return cross_correlation(lit, K).reshape(inputs, -1)


def output_size(n: int, q: int, P: int = 0, S: int = 1) -> int:
    r"""(6): $\lfloor (n - q + 2P) / S \rfloor + 1$."""
    return (n - q + 2 * P) // S + 1


def pooled(h, k: int):
    r"""(7): the largest of each $k \times k$ block; (b, l, n, m) to (b, l, n // k, m // k)."""
    return F.max_pool2d(h, k)


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    r"""(8): $1 + \sum_m (q_m - 1) \prod_{l < m} S_l$, for pairs $(q_m, S_m)$ from the first layer on."""
    strides = [S for _, S in layers]
    return 1 + sum((q - 1) * math.prod(strides[:m]) for m, (q, _) in enumerate(layers))


# ---- the model --------------------------------------------------------------------------------------------------


class ConvolutionalNet(Classifier):
    r"""A convolutional classifier, (9); by default S2's, with nothing added.

    Parameters
    ----------
    shape : (channels, height, width) of an image
    n_classes : how many classes there are
    kernels : $\ell_m$: how many kernels each convolutional layer has; each layer ends by pooling over 2 × 2
    size : $q$, a kernel's side
    padding : $P$, zeros on either side; by default $\lfloor q/2 \rfloor$, which keeps the size if q is odd
    hidden : how many features $f$ there are
    he : whether the weights start from N(0, 2/n), and those of the softmax from N(0, 1/n), with n inputs of a neuron,
        and the biases from 0
    p : dropout, the probability of a feature to be absent
    shift : by how many pixels at most a training image is moved, in each direction
    lr : learning rate of Adam
    schedule : the factor of the learning rate as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of weights, minibatches, masks and shifts; None takes fresh entropy

    Examples
    --------
    >>> net = ConvolutionalNet((1, 28, 28), 10, rng=tg.random.Generator(0))
    >>> sum(p.data.size for p in net.parameters())  # 416 + 6416 for the kernels, the rest behind them
    820922
    >>> x = tg.random.Generator(1).uniform((3, 1, 28, 28))
    >>> net.features(x).shape, [maps.shape for maps in net.maps(x)]
    ((3, 1024), [(3, 16, 14, 14), (3, 16, 7, 7)])
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int, *, kernels: Sequence[int] = (16, 16), size: int = 5,
                 padding: int | None = None, hidden: int = 1024, he: bool = False, p: float = 0.0, shift: int = 0,
                 lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        if len(shape) != 3 or n_classes < 2 or shift < 0:
            raise ValueError(f"ConvolutionalNet: shape (channels, height, width), two classes at least and a shift of "
                             f"0 or more are wanted, got {shape}, {n_classes} and {shift}")  # fmt: skip
        self.rng = Generator() if rng is None else rng
        self.image, self.n_features, self.shift = tuple(shape), math.prod(shape), shift
        padding = size // 2 if padding is None else padding
        channels, *sides = shape
        self.convolutions = nn.ModuleList()
        for number in kernels:
            self.convolutions.append(nn.Conv2d(channels, number, size, padding=padding, rng=self.rng))
            channels, sides = number, [output_size(n, size, padding) // 2 for n in sides]
            if min(sides) < 1:
                raise ValueError(f"ConvolutionalNet: of images of {tuple(shape[1:])} nothing is left after "
                                 f"{len(self.convolutions)} layers; larger images, fewer layers, smaller kernels or "
                                 "more padding are wanted")  # fmt: skip
        self.hidden = nn.Linear(channels * math.prod(sides), hidden, rng=self.rng)
        self.dropout = Dropout(p, rng=self.rng)
        self.out = nn.Linear(hidden, n_classes, rng=self.rng)
        if he:
            self._start_as_he()
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def _start_as_he(self) -> None:
        """Draw all weights anew."""
        for layer in (*self.convolutions, self.hidden, self.out):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer is self.out else "relu", rng=self.rng)
            nn.init.zeros_(layer.bias)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return self.image

    def _maps(self, x) -> list:
        """The $h_m$ of (9): images (b, channels, n, m) to one (b, l_m, n_m, m_m) a layer."""
        found = []
        for layer in self.convolutions:
            x = tg.relu(pooled(layer(x), 2))
            found.append(x)
        return found

    def _features(self, x):
        """The $f$ of (9): images (b, channels, n, m) to (b, hidden)."""
        return tg.relu(self.hidden(tg.reshape(self._maps(x)[-1], (len(x), -1))))

    def forward(self, x):
        """(9): images (b, channels, n, m) to logits (b, classes)."""
        return self.out(self.dropout(self._features(x)))

    def update(self, x, y) -> dict:
        """One step on a minibatch of images, each moved a little if `shift` says so; its loss, in nats."""
        if self.shift:
            x = moved(x, self.rng.integers(-self.shift, self.shift + 1, (len(x), 2)))
        parts = super().update(x, y)
        self.schedule.step()
        return parts

    def features(self, x: np.ndarray) -> np.ndarray:
        """The features $f$ of images: (n, channels, height, width), or rows, to (n, hidden)."""
        return self._in_parts(self._features, x)

    def maps(self, x: np.ndarray) -> list[np.ndarray]:
        """What each convolutional layer finds, and where, the $h_m$ of (9): images to one array a layer."""
        return [self._in_parts(lambda part, m=m: self._maps(part)[m], x) for m in range(len(self.convolutions))]

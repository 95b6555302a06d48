r"""Weak supervision by class activation (S3 part 1: "label for related task"; Zhou et al. 2016): where is the digit?

A box around each object is dear: somebody has to draw it. A word for the whole image is cheap. S3's example of *weakly
supervised* learning is to find where something is in an image, having been told only what is in it. This chapter does
so with a classifier whose weights never learn from a box.

Behind the last convolutional layer there are maps $f_1, \dots, f_K$: at each place $u$ of a grid $\Omega$, what was
found there. A network that ends in a fully connected layer uses the places as it likes. Let ours average over them
instead (*global average pooling*), so that only the amounts of what was found are left to classify by:

$$ F_k = \frac{1}{|\Omega|} \sum_{u \in \Omega} f_k(u), \qquad s_c = \sum_{k=1}^{K} w_{ck} F_k + b_c, \qquad
   p_\theta(c|x) = \mathrm{softmax}(s)_c. \tag{1} $$

(A mean hardly differs from image to image if its summands are small at most places. Batch normalisation, see its
chapter, behind each convolution keeps them apart; without it nothing is learnt for a long time.) Both sums in (1) are
finite and change places. With the *class activation map*

$$ M_c(u) = \sum_{k=1}^{K} w_{ck} f_k(u) \tag{2} $$

the score of class $c$ is the mean of a map of the image, and a bias,

$$ s_c = \frac{1}{|\Omega|} \sum_{u \in \Omega} M_c(u) + b_c. \tag{3} $$

So $M_c(u)$ is what place $u$ adds to the score of $c$. Nobody has told the network where the digit is. But what speaks
for a seven, and does not occur in images without one, is where the seven is. Clutter, which occurs in
all images alike, is of no use to tell them apart, and the network learns to let it be.

Pooling and strides make $\Omega$ coarser than the image. The map is brought back to the image's size by interpolation
(`nn.functional.upsample`), so that it can be laid over the image.

**From the map to a box.** Keep the places where the map is at least a share $\vartheta$ of its largest value,

$$ A = \{u : M_c(u) \ge \vartheta \max_v M_c(v)\}, \tag{4} $$

and of their connected parts the one with the largest sum of $M_c$ (a digit is one thing, and a stray spot is another).
The smallest box around it is the answer. In place of the true class, which is not known, stands the class that was
found, $c = \operatorname{argmax}_c s_c$.

**How good is a box?** Boxes $B, B'$ agree by their *intersection over union*,

$$ \mathrm{IoU}(B, B') = \frac{|B \cap B'|}{|B \cup B'|}, \tag{5} $$

1 for equal boxes, 0 for disjoint ones. At 0.5 a box usually counts as right. To see what a figure is worth, compare it
with that of a box that has not looked at the image. Of all boxes that are the same for every image, the one to beat is
the best: its size is about that of a digit, and it stands in the middle of the canvas.

$\vartheta$ is one number. It is chosen by eye or on a few images with boxes; here on 300 of them, which are not those
that judge it. (What the map shows is what tells classes apart, which is less than all of the digit, or a little more:
receptive fields look beyond its rim. $\vartheta$ sets this right on average.)

Notation
--------
$f_k(u)$ : `f`, (b, K, n, m); $\Omega$ : its $n \times m$ places
$w, b$ : `w`, (classes, K), and the bias of `readout`
$M_c$ : `M`, (b, classes, n, m), of one class (b, n, m)
$\vartheta$ : `theta`
$B$ : (4,), the first row, the first column, and the row and column behind the last
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier
from tinygen.nn import functional as F

# ---- the equations ----------------------------------------------------------------------------------------------


def pooled_scores(f, w, b):
    r"""(1): $s_c = \sum_k w_{ck} F_k + b_c$; (b, K, n, m), (classes, K), (classes,) to (b, classes)."""
    return F.linear(tg.mean(f, (2, 3)), w, b)


def activation_maps(f, w):
    r"""(2): $M_c(u) = \sum_k w_{ck} f_k(u)$; (b, K, n, m), (classes, K) to (b, classes, n, m)."""
    return tg.einsum("ck,bkij->bcij", w, f)


def scores_of_maps(M, b):
    r"""(3): $\frac{1}{|\Omega|} \sum_u M_c(u) + b_c$; (b, classes, n, m), (classes,) to (b, classes)."""
    return tg.mean(M, (2, 3)) + b


def lit(M: np.ndarray, theta: float) -> np.ndarray:
    r"""(4): 1.0 where $M(u) \ge \vartheta \max_v M(v)$, else 0.0; (n, m) to (n, m), on the host."""
    return (M >= theta * M.max()).astype(float)


def largest_part(M: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Which places belong to the connected part of A with the largest sum of M; (n, m) twice to (n, m) of booleans."""
    parts, number = scipy.ndimage.label(A)
    if not number:
        return np.zeros(A.shape, bool)
    return parts == 1 + np.argmax(scipy.ndimage.sum_labels(M, parts, range(1, number + 1)))


def box_around(A: np.ndarray) -> np.ndarray:
    """The smallest box with all places of A, (4,) integers; the whole image if there is none. On the host."""
    if not A.any():
        return np.array([0, 0, *A.shape])
    rows, columns = (np.flatnonzero(A.any(axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def intersection_over_union(B: np.ndarray, C: np.ndarray) -> np.ndarray:
    r"""(5): $|B \cap B'| / |B \cup B'|$; boxes (..., 4) twice to (...), on the host."""
    B, C = np.broadcast_arrays(np.asarray(B, float), C)
    sides = np.minimum(B[..., 2:], C[..., 2:]) - np.maximum(B[..., :2], C[..., :2])  # (..., 2)
    both = np.prod(np.maximum(sides, 0), axis=-1)
    alone = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (B, C)]
    return both / (sum(alone) - both)


def best_constant_box(boxes: np.ndarray) -> np.ndarray:
    """The box about the boxes' mean centre with the best mean (5), of all shapes between theirs; (n, 4) to (4,)."""
    centre = np.mean(boxes[:, :2] + boxes[:, 2:], axis=0) / 2
    sizes = boxes[:, 2:] - boxes[:, :2]
    shapes = [np.array([a, b]) for a in range(1, sizes[:, 0].max() + 1) for b in range(1, sizes[:, 1].max() + 1)]
    choices = np.array([np.concatenate([centre - shape / 2, centre + shape / 2]) for shape in shapes])
    agreement = [intersection_over_union(box, boxes).mean() for box in choices]
    return choices[int(np.argmax(agreement))]


# ---- the data ---------------------------------------------------------------------------------------------------


def cluttered(images: np.ndarray, side: int, rng: Generator, *, pieces: int = 8,
              scratches: int = 2) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Each image at a random place of a larger, cluttered canvas, and the box around what is lit in it; on the host.

    The clutter is squares cut out of other images, a third as wide, with strokes like the digit's, and straight lines
    from border to border. Where things lie upon each other, the brighter pixel shows.

    Parameters
    ----------
    images : (n, 1, h, h), in [0, 1]
    side : of the canvas, more than h
    pieces, scratches : how many squares and lines there are on each canvas

    Returns
    -------
    (n, 1, side, side), float32, and boxes (n, 4)
    """
    (n, _, h, w), small = images.shape, max(2, images.shape[-1] // 3)
    if h != w or side <= h:
        raise ValueError(f"cluttered: images of {h} × {w} on a canvas of {side}; square ones and a larger canvas are "
                         "wanted")  # fmt: skip
    canvas, boxes = lines(n, side, scratches, h / 20 + 0.5, rng)[:, None], np.empty((n, 4), int)
    at, sources = rng.integers(0, side - h + 1, (n, 2)), rng.integers(0, n, (n, pieces))
    cut, put = (rng.integers(0, room - small + 1, (n, pieces, 2)) for room in (h, side))
    for i in range(n):
        for source, (a, b), (c, d) in zip(sources[i], cut[i], put[i], strict=True):
            place = canvas[i, 0, c : c + small, d : d + small]
            np.maximum(place, images[source, 0, a : a + small, b : b + small], out=place)
        (top, left), ink = at[i], images[i, 0]
        place = canvas[i, 0, top : top + h, left : left + h]
        np.maximum(place, ink, out=place)
        boxes[i] = box_around(ink > 0.25 * ink.max()) + np.tile(at[i], 2)
    return canvas, boxes


def lines(n: int, side: int, count: int, width: float, rng: Generator) -> np.ndarray:
    """So many white lines through random places on each of n black canvases, float32 (n, side, side); on the host."""
    i, j = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    canvas = np.zeros((n, side, side), np.float32)
    for _ in range(count):
        (u, v), angle = rng.uniform((2, n, 1, 1), 0, side), rng.uniform((n, 1, 1), 0, np.pi)
        distance = np.abs((i - u) * np.cos(angle) - (j - v) * np.sin(angle))  # (n, side, side)
        np.maximum(canvas, np.clip(width - distance, 0, 1), out=canvas, casting="same_kind")
    return canvas


# ---- the model --------------------------------------------------------------------------------------------------


class ActivationNet(Classifier):
    r"""A convolutional classifier that ends in the mean of its maps, (1), and so can say where it looks.

    Parameters
    ----------
    shape : (channels, height, width) of an image
    n_classes : how many classes there are
    kernels : how many maps each convolutional layer has, the last $K$; all but the last end by max pooling over 2 × 2
    size : a kernel's side, odd
    theta : $\vartheta$ of (4), until `choose_theta`
    lr : learning rate of Adam
    schedule : the factor of the learning rate as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the weights and the minibatches; None takes fresh entropy

    Examples
    --------
    >>> net = ActivationNet((1, 24, 24), 10, kernels=(4, 8), rng=tg.random.Generator(0))
    >>> x = tg.random.Generator(1).uniform((3, 1, 24, 24))
    >>> net.maps(x).shape, net.boxes(x).shape
    ((3, 24, 24), (3, 4))
    """

    theta: tg.Tensor

    def __init__(self, shape: tuple[int, int, int], n_classes: int, *, kernels: Sequence[int] = (16, 32, 32),
                 size: int = 5, theta: float = 0.5, lr: float = 3e-3, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        shrink = 2 ** (len(kernels) - 1)
        if len(shape) != 3 or n_classes < 2 or not kernels or size % 2 == 0 or any(n % shrink for n in shape[1:]):
            raise ValueError(f"ActivationNet: shape (channels, height, width) with sides that divide by {shrink}, two "
                             f"classes, a layer and an odd size are wanted, got {shape}, {n_classes}, {tuple(kernels)} "
                             f"and {size}")  # fmt: skip
        self.rng = Generator() if rng is None else rng
        self.image, self.n_features, self.shrink = tuple(shape), math.prod(shape), shrink
        widths = [shape[0], *kernels]
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(i, o, size, padding=size // 2, bias=False, rng=self.rng)
                for i, o in zip(widths, kernels, strict=False)
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(o) for o in kernels]).to(self.rng.device)
        self.readout = nn.Linear(kernels[-1], n_classes, rng=self.rng)
        self.register_buffer("theta", tg.tensor(self.rng.normal(()) * 0 + theta))
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return self.image

    def found(self, x):
        """The $f_k(u)$ of (1): images (b, channels, h, w) to (b, K, n, m)."""
        for k, (layer, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = tg.relu(norm(layer(x if k == 0 else F.max_pool2d(x, 2))))
        return x

    def forward(self, x):
        """(1): images (b, channels, h, w) to logits (b, classes)."""
        return pooled_scores(self.found(x), self.readout.weight, self.readout.bias)

    def update(self, x, y) -> dict:
        """One step on a minibatch; its loss, in nats. What it learns from are labels, never boxes."""
        parts = super().update(x, y)
        self.schedule.step()
        return parts

    def maps(self, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        """The map (2) of one class for each image, in the image's size: images, and (n,) or nothing, to (n, h, w).

        y : whose maps; without it, of the class that the network finds
        """
        y = self.predict(x) if y is None else np.asarray(y)
        M = self._in_parts(lambda part: activation_maps(self.found(part), self.readout.weight), x)
        one = M[np.arange(len(M)), y][:, None]  # (n, 1, n, m)
        return (F.upsample(one, self.shrink, mode="bilinear") if self.shrink > 1 else one)[:, 0]

    def boxes(self, x: np.ndarray) -> np.ndarray:
        """Where the network sees the class that it finds, by (4): images to (n, 4)."""
        return boxes_of(self.maps(x), float(self.theta))

    def choose_theta(self, x: np.ndarray, boxes: np.ndarray) -> float:
        r"""Take the $\vartheta$ whose boxes agree best with these by the mean of (5); gives that mean."""
        M, choices = self.maps(x), np.linspace(0.05, 0.9, 18)
        agreement = [float(intersection_over_union(boxes_of(M, theta), boxes).mean()) for theta in choices]
        self.theta.assign(choices[int(np.argmax(agreement))])
        return max(agreement)


def boxes_of(M: np.ndarray, theta: float) -> np.ndarray:
    """The box of each map by (4): (n, h, w) to (n, 4), on the host."""
    return np.stack([box_around(largest_part(one, lit(one, theta))) for one in M])

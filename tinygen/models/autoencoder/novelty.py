r"""Digits that are not: new symbols from an autoencoder applied to its own output (Kazakçı, Cherti and Kégl 2016; S0).

A generator is usually asked for more of what it was shown. This one is asked for what it was *not* shown, though it
must be made of the same matter: symbols that are not digits, but could have been. The knowledge of what digits are made
of sits in a sparse autoencoder that has learnt to draw them from few strokes. Give it an image that means nothing, such
as noise, and it draws what strokes it recognises there. Give it its own drawing, and it corrects that one. Go on,

$$ x^{(t+1)} = \mathbb 1\{ g(f(x^{(t)})) > \tfrac12 \}, \tag{1} $$

until nothing changes any more: a *fixed point* is an image that the network takes for a drawing in good order. (For a
network that copies every image is one. This one cannot copy: even of a digit that it has learnt it changes nearly a
third of the ink in the first step, towards what its strokes can say.) The threshold throws away at once what the
network is not yet sure of, and of noise it is sure of little; so the first few rounds go without it,
$x^{(t+1)} = g(f(x^{(t)}))$, and leave the grey as it is.

**The network** (after the paper's, with one convolution in front where theirs has three). A convolution gives $c$ maps
of how well each of $c$ filters fits at each place, rectified, $a_{kp} \ge 0$ for map $k$ and place $p$; then *winners
take all* (Makhzani and Frey 2015). A filter is used once an image, where it fits best,

$$ a'_{kp} = a_{kp}\, \mathbb 1\{ a_{kp} = \max_q a_{kq} \}, \tag{2} $$

and in each square $B$ of $s \times s$ places one filter at most draws, the one that fits best,

$$ y_{kp} = a'_{kp}\, \mathbb 1\{ a'_{kp} = \max_{l,\, q \in B(p)} a'_{lq} \}. \tag{3} $$

The decoder puts a picture $w_k$ of $m \times m$ pixels wherever a unit is on, as strong as it is, and adds them up (a
transposed convolution): at pixel $r$

$$ \ell_r = b + \sum_{k, p} y_{kp}\, w_k(r - p), \qquad g = \sigma(\ell). \tag{4} $$

The gradient goes through the winners alone. Where 16 by 16 places make 16 squares, an image is said in at most 16
strokes, so the $w_k$ have to be strokes, loops and hooks. Nothing says which strokes go together, apart from those that
overlap within the reach of a filter. That is what lets new symbols arise, and the difference from `sparse`, whose
units (on whole images) would be digits.

**What can happen.** There are finitely many black and white images, so (1) cannot wander for ever: it ends in a fixed
point, or in a cycle. It can also end in nothing (*collapsed*: an image without ink), or in everything (*flooded*: more
than half of the pixels white). And all starts may end in the same place, which would be a poor invention. `Symbols`
says what happened to each start. Without any threshold, places where no filter wins keep the grey of the bias alone,
and a fixed point is approached, but not reached.

**New, and yet of the kind?** A classifier that knows the digits says how sure it is that a symbol is one of them: what
it is sure of is old, or a mistake of its own. The distance to the nearest training image (`metrics.nearest`) says how
much of it has been seen. Small symbols are near to everything, so let it be the number of pixels that differ, per
pixel of ink. That has no unit: a new *digit* is some way off too, and so is a digit with its lower half cut off, where
nothing was invented but much is missing. Fair is a comparison with new digits cut to as much ink as the symbols have.

Notation
--------
$x^{(t)}$ : `x`, (b, 1, h, w)
$a_{kp}, y_{kp}$ : `a`, `y`, (b, c, u, v)
$f, g$ : `encoder`, and `decoder` with a sigmoid
$c, m, s$ : `maps`, `size`, `stride`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.autoencoder.autoencoder import Autoencoder

# ---- the equations --------------------------------------------------------------------------------------


def best_places(a):
    """(2): each map's largest entry, and zeros elsewhere; (b, c, u, v) to the same."""
    raw = _raw(a)
    return a * (raw == raw.max((2, 3), keepdims=True)).astype(raw.dtype)


def best_maps(a, stride: int):
    """(3): in each square of so many places, the largest entry of all maps; (b, c, u, v) to the same."""
    raw = _raw(a)
    b, c, u, v = raw.shape
    squares = raw.reshape(b, c, u // stride, stride, v // stride, stride)
    wins = squares == squares.max((1, 3, 5), keepdims=True)
    return a * wins.reshape(raw.shape).astype(raw.dtype)


def sharpened(x_hat):
    """(1): black and white, from grey levels; a raw array of any shape."""
    return (x_hat > 0.5).astype(x_hat.dtype)


def _raw(a):
    """The array of a Tensor: which entries win is not differentiated."""
    return a.data if isinstance(a, tg.Tensor) else a


# ---- the network ----------------------------------------------------------------------------------------


class WinnerTakeAll(nn.Module):
    """A convolution, rectified, and (2) and (3): images (b, 1, h, w) to codes (b, c, u, v), u = h - size + 1."""

    def __init__(self, maps: int, size: int, stride: int, *, rng: Generator):
        self.convolution, self.stride = nn.Conv2d(1, maps, size, rng=rng), stride

    def forward(self, x):
        return best_maps(best_places(tg.relu(self.convolution(x))), self.stride)


class Pen(nn.ConvTranspose2d):
    """(4): codes (b, c, u, v) to logits (b, 1, h, w), with $w_k$ in its `weight`, (c, 1, m, m)."""

    def __init__(self, maps: int, size: int, *, rng: Generator):
        super().__init__(maps, 1, size, rng=rng)


class Symbols(NamedTuple):
    """Where (1) has led from each start: the images, and what became of them.

    images : (n, 1, h, w), 0 and 1
    moves : (steps, n), by how much an image changed in each step, summed over pixels: a count, if black and white
    fixed, collapsed, flooded : (n,), Booleans; what is neither of them is in a cycle, or still on its way
    """

    images: np.ndarray
    moves: np.ndarray
    fixed: np.ndarray
    collapsed: np.ndarray
    flooded: np.ndarray

    @property
    def sound(self) -> np.ndarray:
        """Which are fixed, with some ink and not too much; (n,)."""
        return self.fixed & ~self.collapsed & ~self.flooded


class SymbolMaker(Autoencoder):
    r"""A convolutional winner-take-all autoencoder of grey images, and its iteration.

    Parameters
    ----------
    side : $h = w$, in pixels
    maps, size, stride : $c$; $m$; $s$, which divides $h - m + 1$
    lr, schedule, rng : as in `Autoencoder`; the loss is the cross-entropy

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> rng = tg.random.Generator(0)
    >>> model = SymbolMaker(8, maps=4, size=5, stride=2, rng=rng)
    >>> model.fit(rng.uniform((20, 1, 8, 8)), steps=3, run=Run(quiet=True)).symbols(5, steps=9).images.shape
    (5, 1, 8, 8)
    """

    decoder: Pen

    def __init__(self, side: int, *, maps: int = 64, size: int = 13, stride: int = 4, lr: float = 3e-3,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        places = side - size + 1
        if not (maps >= 1 and size >= 1 and stride >= 1 and places >= stride and places % stride == 0):
            raise ValueError(f"SymbolMaker: {maps} maps of size {size} on {side} pixels a side, with stride {stride}: "
                             f"there are {places} places a side; a multiple of the stride is wanted")  # fmt: skip
        rng = Generator() if rng is None else rng
        super().__init__(WinnerTakeAll(maps, size, stride, rng=rng), Pen(maps, size, rng=rng), (1, side, side),
                          loss="cross-entropy", lr=lr, schedule=schedule, rng=rng)  # fmt: skip

    @property
    def strokes(self) -> np.ndarray:
        """What each filter's winner draws, $w_k$: (c, m, m)."""
        return self.decoder.weight.numpy()[:, 0]

    def step(self, x: np.ndarray) -> np.ndarray:
        """(1) once: images (n, 1, h, w) to black and white ones."""
        return sharpened(self.reconstruct(x))

    def develop(self, x: np.ndarray, *, steps: int = 50, grey: int = 8) -> Symbols:
        """(1) so many times, the first `grey` without the threshold, from images (n, 1, h, w) in [0, 1]."""
        if not 0 <= grey < steps:
            raise ValueError(f"SymbolMaker.develop: {grey} grey steps of {steps}; fewer than all are wanted")
        x, moves = backend.to_numpy(self.checked(x)), []
        for t in range(steps):
            new = self.reconstruct(x) if t < grey else self.step(x)
            moves.append(np.abs(new - x).sum((1, 2, 3)))  # (n,)
            x = new
        ink = x.mean((1, 2, 3))
        return Symbols(x, np.array(moves), moves[-1] == 0, ink == 0, ink > 0.5)

    def symbols(self, n: int, *, steps: int = 50, grey: int = 8, rng: Generator | None = None) -> Symbols:
        """What so many images of noise develop into, by `develop`."""
        rng = Generator(device=self._like.device) if rng is None else rng
        return self.develop(backend.to_numpy(rng.uniform((n, *self.shape))), steps=steps, grey=grey)

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """The images of `symbols`, whatever became of them: (n, 1, h, w)."""
        return self.symbols(n, rng=rng).images

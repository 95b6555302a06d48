r"""A tiny painter: flat shapes with smooth edges, many pictures at once, on NumPy alone.

A shape is its signed distance: how far a place is from the shape's edge, negative inside. A pixel one wide that the
edge passes at distance $d$ from its middle is covered by about

$$ \alpha = \min(1, \max(0, \tfrac12 - d)), \tag{1} $$

and paint of colour $c$ changes what is there to $(1 - \alpha) \, p + \alpha c$. Distances of many shapes are due to
Inigo Quilez.

Coordinates run from 0 to 1, x to the right and y downwards. A number of a shape may be a float or an array (n,), one
for each picture.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Number = Any  # a float, or an array (n,)
Field = np.ndarray  # (n, size, size) or broadcastable to it: distances


def column(value: Number) -> Any:
    """A number for each picture, made to broadcast over its pixels: (n, 1, 1)."""
    return np.asarray(value, np.float32).reshape(-1, 1, 1)


class Canvas:
    """n pictures of size × size pixels, and the shapes on them.

    Attributes
    ----------
    pixels : float32 (n, 3, size, size)
    x, y : the pixels' middles, (1, 1, size) and (1, size, 1)
    """

    def __init__(self, n: int, size: int, colour: Any = (0.0, 0.0, 0.0)):
        self.size = size
        self.pixels = np.empty((n, 3, size, size), np.float32)
        self.pixels[:] = self._colours(colour)
        middles = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
        self.x, self.y = middles[None, None, :], middles[None, :, None]

    def paint(self, distance: Field, colour: Any, opacity: Number = 1.0) -> None:
        """Lay a colour, (3,) or (n, 3) or (n, 3, size, size), over a shape, by (1)."""
        covered = np.clip(np.float32(0.5) - distance * np.float32(self.size), 0, 1) * column(opacity)
        self.pixels += covered[:, None] * (self._colours(colour) - self.pixels)

    @staticmethod
    def _colours(colour: Any) -> np.ndarray:
        colour = np.asarray(colour, np.float32)
        return colour if colour.ndim == 4 else colour.reshape(-1, 3, 1, 1)

    def window(self, left: float, top: float, right: float, bottom: float) -> Canvas:
        """The part of the canvas around a rectangle, on the same pixels: a small shape is painted faster there."""
        part = object.__new__(Canvas)
        columns = slice(max(0, math.floor(left * self.size)), math.ceil(right * self.size))
        rows = slice(max(0, math.floor(top * self.size)), math.ceil(bottom * self.size))
        part.size, part.pixels = self.size, self.pixels[:, :, rows, columns]
        part.x, part.y = self.x[:, :, columns], self.y[:, rows]
        return part

    # ---------------------------------------------------------------- shapes

    def to(self, cx: Number, cy: Number, angle: Number = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """The pixels' places as seen from (cx, cy), turned by an angle (clockwise, radians)."""
        x, y = self.x - column(cx), self.y - column(cy)
        if np.ndim(angle) == 0 and angle == 0:
            return x, y
        c, s = np.cos(column(angle)), np.sin(column(angle))
        return c * x + s * y, c * y - s * x

    def circle(self, cx: Number, cy: Number, radius: Number) -> Field:
        x, y = self.to(cx, cy)
        return np.hypot(x, y) - column(radius)

    def ellipse(self, cx: Number, cy: Number, rx: Number, ry: Number, angle: Number = 0.0) -> Field:
        """Nearly the distance: the implicit equation over its slope, which is exact to first order at the edge."""
        x, y = self.to(cx, cy, angle)
        rx, ry = column(rx), column(ry)
        near = np.hypot(x / rx, y / ry)
        slope = np.hypot(x / rx**2, y / ry**2)
        return np.where(slope > 1e-6, near * (near - 1) / np.maximum(slope, 1e-6), -np.minimum(rx, ry))

    def box(self, cx: Number, cy: Number, half_width: Number, half_height: Number, angle: Number = 0.0,
            *, corner: Number = 0.0) -> Field:  # fmt: skip
        """A rectangle, its corners rounded by `corner`."""
        x, y = self.to(cx, cy, angle)
        dx = np.abs(x) - column(half_width) + column(corner)
        dy = np.abs(y) - column(half_height) + column(corner)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return outside + np.minimum(np.maximum(dx, dy), 0) - column(corner)

    def line(self, ax: Number, ay: Number, bx: Number, by: Number, width: Number) -> Field:
        """From a to b, as broad as `width`, with round ends."""
        return self.curve([(ax, ay), (bx, by)], width)

    def curve(self, places: Sequence[tuple[Number, Number]], width: Number) -> Field:
        """A broken line through places, as broad as `width`, with round ends."""
        sides = zip(places[:-1], places[1:], strict=True)
        return np.sqrt(functools.reduce(np.minimum, [self._squared(a, b) for a, b in sides])) - column(width) / 2

    def polygon(self, corners: Sequence[tuple[Number, Number]]) -> Field:
        """Any simple polygon: the distance to the nearest side, negative where a ray crosses an odd number of sides."""
        nearest: Any = np.float32(np.inf)
        sign: Any = np.float32(1)
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            x, y = self.to(ax, ay)
            vx, vy = column(bx) - column(ax), column(by) - column(ay)
            nearest = np.minimum(nearest, self._squared((ax, ay), (bx, by)))
            above, below, left = y >= 0, y < vy, vx * y > vy * x
            sign = np.where((above & below & left) | ~(above | below | left), -sign, sign)
        return sign * np.sqrt(nearest)

    def _squared(self, a: tuple[Number, Number], b: tuple[Number, Number]) -> Field:
        """The squared distance to the line from a to b."""
        x, y = self.to(*a)
        vx, vy = column(b[0]) - column(a[0]), column(b[1]) - column(a[1])
        length = np.maximum(vx**2 + vy**2, np.float32(1e-12))
        along = np.clip(x * (vx / length) + y * (vy / length), 0, 1)
        return (x - along * vx) ** 2 + (y - along * vy) ** 2


def mixed(a: Any, b: Any, share: Number) -> np.ndarray:
    """Colours between a and b: (n, 3)."""
    share = np.asarray(share, np.float32).reshape(-1, 1)
    return (1 - share) * np.asarray(a, np.float32) + share * np.asarray(b, np.float32)


def along(colours: Sequence[Sequence[float]], place: Number) -> np.ndarray:
    """Colours on the way through a list of them, place from 0 to 1: (n, 3)."""
    table = np.asarray(colours, np.float32)
    at = np.clip(np.atleast_1d(np.asarray(place, np.float32)), 0, 1) * (len(table) - 1)
    low = np.minimum(at.astype(int), len(table) - 2)
    return mixed(table[low], table[low + 1], at - low)


def hue(h: Number, saturation: float = 0.75, value: float = 0.9) -> np.ndarray:
    """Colours of the wheel, h from 0 (red) over 1/3 (green) and 2/3 (blue) to 1 (red): (n, 3)."""
    h = np.atleast_1d(np.asarray(h, np.float32))[:, None]
    ramp = np.clip(np.abs((6 * h + np.array([0, 4, 2], np.float32)) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation + saturation * ramp)

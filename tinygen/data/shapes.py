"""One flat shape on black: the factors of dSprites (Matthey et al. 2017), for measuring disentanglement.

Each factor can be changed alone: kind, size, turn, x, y and, beyond dSprites, hue. A model of grey pictures takes
`grey`, the same without the hue.
"""

from __future__ import annotations

import numpy as np

from tinygen.data.pictures import Attribute, Drawing, columns
from tinygen.data.raster import Canvas, hue

KINDS = ("square", "ellipse", "heart")

ATTRIBUTES = (
    Attribute("kind", 0, 2, "choice"),  # a place in KINDS
    Attribute("size", 0.1, 0.2),  # half the width
    Attribute("turn", 0.0, 2 * np.pi),  # radians, clockwise; a square repeats every quarter, an ellipse every half
    Attribute("x", 0.28, 0.72),
    Attribute("y", 0.28, 0.72),
    Attribute("hue"),
)


def paint(attributes: np.ndarray, size: int) -> np.ndarray:
    """Attributes (n, 6) as pictures (n, 3, size, size)."""
    canvas = Canvas(len(attributes), size)
    canvas.paint(_outline(canvas, attributes), hue(attributes[:, 5], 0.75, 1.0))
    return canvas.pixels


def grey(attributes: np.ndarray, size: int = 32) -> np.ndarray:
    """Attributes (n, 6), of which the hue is not used, as pictures (n, 1, size, size), white on black."""
    attributes = np.asarray(attributes, np.float32)
    canvas = Canvas(len(attributes), size)
    canvas.paint(_outline(canvas, attributes), (1, 1, 1))
    return np.ascontiguousarray(canvas.pixels[:, :1])


def _outline(canvas: Canvas, attributes: np.ndarray) -> np.ndarray:
    """The distance to each picture's own kind of shape."""
    a = columns(ATTRIBUTES, attributes)
    x, y, r, turn = a["x"], a["y"], a["size"], a["turn"]
    kinds = [canvas.box(x, y, 0.9 * r, 0.9 * r, turn), canvas.ellipse(x, y, 1.15 * r, 0.65 * r, turn),
             _heart(canvas, x, y, r, turn)]  # fmt: skip
    kind = (a["kind"].astype(int) % 3)[:, None, None]
    return np.select([kind == 0, kind == 1], kinds[:2], kinds[2])


def _heart(canvas: Canvas, x: np.ndarray, y: np.ndarray, r: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Two discs side by side above a square on its tip."""
    c, s = np.cos(turn), np.sin(turn)

    def at(u: float, v: float) -> tuple[np.ndarray, np.ndarray]:
        return x + r * (c * u - s * v), y + r * (s * u + c * v)

    discs = [canvas.circle(*at(u, -0.38), 0.62 * r) for u in (-0.46, 0.46)]
    tip = canvas.polygon([at(-0.99, -0.08), at(0, -0.55), at(0.99, -0.08), at(0, 1.05)])
    return np.minimum.reduce([*discs, tip])


def label(attributes: np.ndarray) -> np.ndarray:
    """The kind of shape."""
    return attributes[:, 0]


DRAWING = Drawing(ATTRIBUTES, KINDS, 32, paint, label)

"""Grey garments: a stand-in with the classes of Fashion-MNIST, drawn and hence much easier than photographs."""

from __future__ import annotations

import numpy as np

from tinygen.data.pictures import Attribute, Drawing, columns
from tinygen.data.raster import Canvas, Field
from tinygen.data.real import CLASSES

ATTRIBUTES = (
    Attribute("kind", 0, 9, "choice"),  # a place in the classes of Fashion-MNIST
    Attribute("width", 0.85, 1.15),
    Attribute("length", 0.85, 1.1),
    Attribute("sleeve", 0.8, 1.1),
    Attribute("neck", 0.6, 1.3),
    Attribute("brightness", 0.45, 0.95),
    Attribute("stripes", 0, 0.4, "yes"),
    Attribute("stripe_phase"),
    Attribute("shade", -0.3, 0.3),  # how much brighter the right side is than the left
)


def paint(attributes: np.ndarray, size: int) -> np.ndarray:
    """Attributes (n, 9) as pictures (n, 1, size, size)."""
    canvas = Canvas(len(attributes), size)
    kinds = attributes[:, 0].astype(int) % 10
    for kind in np.unique(kinds):
        rows = kinds == kind
        part = Canvas(int(rows.sum()), size)
        a = columns(ATTRIBUTES, attributes[rows])
        _KINDS[kind](part, a)
        canvas.pixels[rows] = part.pixels
    return np.ascontiguousarray(canvas.pixels[:, :1])


def _cloth(canvas: Canvas, shape: Field, a: dict, share: float = 1.0) -> None:
    """Paint a part with the garment's cloth: its brightness, shading and stripes."""
    grey = a["brightness"][:, None, None] * share * (1 + a["shade"][:, None, None] * (canvas.x - 0.5) * 2)
    wave = np.sin(2 * np.pi * (6 * canvas.y + a["stripe_phase"][:, None, None])) > 0
    grey = np.clip(grey * (1 - 0.45 * (a["stripes"][:, None, None] * wave)), 0, 1)
    canvas.paint(shape, np.repeat(grey[:, None], 3, axis=1))


def _mirrored(right: list) -> list:
    """A polygon from its right half, from the top middle to the bottom middle: (x from the middle, y)."""
    return [(0.5 + x, y) for x, y in right] + [(0.5 - x, y) for x, y in right[::-1]]


def _top(canvas: Canvas, a: dict, sleeve: float, hem: float, flare: float = 0.0) -> None:
    """A body with sleeves: `sleeve` is how far down they reach, `hem` where the body ends."""
    w, neck = 0.19 * a["width"], 0.075 * a["neck"]
    hem = 0.12 + (hem - 0.12) * a["length"]
    body = [(neck, 0.12), (w + 0.03, 0.17), (w, 0.36), (w + flare * a["width"], hem)]
    _cloth(canvas, canvas.polygon(_mirrored(body)), a)
    reach = 0.2 + (sleeve - 0.2) * a["sleeve"]
    for side in (-1, 1):
        out = w + 0.06 + 0.16 * (reach - 0.2)
        arm = [(0.02 + neck, 0.125), (w + 0.045, 0.16), (out + 0.05, reach - 0.02), (out - 0.06, reach + 0.02),
               (w - 0.03, 0.34)]  # fmt: skip
        _cloth(canvas, canvas.polygon([(0.5 + side * x, y) for x, y in arm]), a, 0.88)
    canvas.paint(canvas.ellipse(0.5, 0.11, neck, 0.05 * a["neck"]), (0, 0, 0))


def _front(canvas: Canvas, a: dict, top: float, bottom: float, collar: bool) -> None:
    """A dark line down the front, with buttons or a collar."""
    bottom = 0.12 + (bottom - 0.12) * a["length"]
    canvas.paint(canvas.line(0.5, top, 0.5, bottom - 0.03, 0.02), (0.05, 0.05, 0.05))
    if collar:
        for side in (-1, 1):
            flap = [(0.5, 0.22), (0.5 + side * 0.11, 0.12), (0.5 + side * 0.05, 0.09)]
            canvas.paint(canvas.polygon(flap), (1, 1, 1), 0.55)


def _t_shirt(canvas: Canvas, a: dict) -> None:
    _top(canvas, a, 0.34, 0.84)


def _trouser(canvas: Canvas, a: dict) -> None:
    w, low = 0.15 * a["width"], 0.1 + 0.8 * a["length"].clip(0, 1)
    outline = [(0.0, 0.08), (w, 0.08), (w + 0.03, 0.3), (w + 0.01, low), (w * 0.35, low), (0.012, 0.34)]
    _cloth(canvas, canvas.polygon(_mirrored(outline)), a)


def _pullover(canvas: Canvas, a: dict) -> None:
    _top(canvas, a, 0.78, 0.82)
    w = 0.19 * a["width"]
    canvas.paint(canvas.box(0.5, 0.12 + 0.68 * a["length"], w, 0.02), (0.1, 0.1, 0.1), 0.6)


def _dress(canvas: Canvas, a: dict) -> None:
    w, neck, low = 0.11 * a["width"], 0.05 * a["neck"], 0.08 + 0.8 * a["length"].clip(0, 1.05)
    outline = [(neck, 0.16), (neck + 0.03, 0.07), (w + 0.01, 0.07), (w, 0.25), (w * 0.85, 0.4), (w * 2.1, low)]
    _cloth(canvas, canvas.polygon(_mirrored(outline)), a)


def _coat(canvas: Canvas, a: dict) -> None:
    _top(canvas, a, 0.74, 0.92, 0.05)
    _front(canvas, a, 0.2, 0.92, True)


def _shirt(canvas: Canvas, a: dict) -> None:
    _top(canvas, a, 0.55, 0.84)
    _front(canvas, a, 0.16, 0.84, True)
    for i in range(4):
        canvas.paint(canvas.circle(0.5, 0.3 + 0.13 * i, 0.022), (1, 1, 1))


def _sandal(canvas: Canvas, a: dict) -> None:
    y, heel = 0.7, 0.04 + 0.12 * (a["length"] - 0.85) / 0.25
    sole = [(0.08, y), (0.45, y - 0.02), (0.9, y - heel - 0.05)]
    _cloth(canvas, canvas.curve(sole, 0.06), a)
    _cloth(canvas, canvas.polygon([(0.8, y - heel), (0.93, y - heel - 0.04), (0.91, y + 0.05), (0.85, y + 0.05)]), a)
    high = y - 0.2 * a["sleeve"]
    for ax, bx in ((0.16, 0.3), (0.34, 0.42)):
        _cloth(canvas, canvas.curve([(ax, y - 0.02), (bx, high), (bx + 0.18, y - 0.03)], 0.05), a, 0.85)
    _cloth(canvas, canvas.curve([(0.6, y - 0.04), (0.74, high - 0.08), (0.9, y - heel - 0.06)], 0.045), a, 0.85)


def _sneaker(canvas: Canvas, a: dict) -> None:
    high = 0.62 - 0.16 * a["length"]
    upper = [(0.06, 0.68), (0.1, 0.6), (0.3, 0.55), (0.52, high), (0.6, high + 0.03), (0.84, high - 0.02), (0.92, 0.52),
             (0.92, 0.68)]  # fmt: skip
    _cloth(canvas, canvas.polygon(upper), a)
    canvas.paint(canvas.box(0.495, 0.7, 0.45, 0.032, corner=0.03), (0.95, 0.95, 0.95))
    for i in range(3):
        lace = canvas.line(0.33 + 0.07 * i, 0.6 - 0.03 * i, 0.4 + 0.07 * i, 0.56 - 0.035 * i, 0.025)
        canvas.paint(lace, (0, 0, 0), 0.8)


def _bag(canvas: Canvas, a: dict) -> None:
    w, h = 0.32 * a["width"], 0.2 * a["length"]
    handle = np.abs(canvas.ellipse(0.5, 0.6 - h, 0.17 * a["neck"], 0.2 * a["sleeve"])) - np.float32(0.024)
    _cloth(canvas, np.maximum(handle, canvas.y - (0.6 - h)[:, None, None]), a, 0.85)
    _cloth(canvas, canvas.box(0.5, 0.62, w, h, corner=0.04), a)
    canvas.paint(canvas.box(0.5, 0.62 - 0.4 * h, w, 0.012), (0, 0, 0), 0.7)
    canvas.paint(canvas.box(0.5, 0.62 - 0.3 * h, 0.03, 0.035), (1, 1, 1), 0.8)


def _boot(canvas: Canvas, a: dict) -> None:
    top, w = 0.55 - 0.42 * a["length"], 0.13 * a["width"]
    outline = [(0.72 - w, top), (0.72 + w, top), (0.9, 0.6), (0.92, 0.78), (0.1, 0.78), (0.1, 0.68), (0.28, 0.6),
               (0.72 - w, 0.54)]  # fmt: skip
    _cloth(canvas, canvas.polygon(outline), a)
    canvas.paint(canvas.box(0.51, 0.81, 0.42, 0.03), (0.25, 0.25, 0.25))
    canvas.paint(canvas.box(0.84, 0.86, 0.09, 0.045), (0.25, 0.25, 0.25))


_KINDS = (_t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _boot)


def label(attributes: np.ndarray) -> np.ndarray:
    """The kind of garment."""
    return attributes[:, 0]


DRAWING = Drawing(ATTRIBUTES, CLASSES["fashion"], 28, paint, label)

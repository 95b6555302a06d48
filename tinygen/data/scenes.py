"""Landscapes with a sentence that describes them: for text to image, and for models of composition."""

from __future__ import annotations

import numpy as np

from tinygen.data.pictures import Attribute, Drawing, columns
from tinygen.data.raster import Canvas, mixed

TIMES = ("day", "evening", "night")
LANDS = ("green", "yellow", "snowy")
COLOURS = ("red", "blue", "white", "brown")
_PAINTS = np.array([[0.78, 0.2, 0.16], [0.25, 0.4, 0.75], [0.92, 0.9, 0.86], [0.5, 0.32, 0.2]], np.float32)
_HIGH = np.array([[0.3, 0.58, 0.92], [0.32, 0.25, 0.5], [0.02, 0.03, 0.12]], np.float32)  # the sky above
_LOW = np.array([[0.75, 0.88, 0.98], [0.98, 0.62, 0.35], [0.14, 0.15, 0.32]], np.float32)  # at the horizon
_GROUND = np.array([[0.32, 0.62, 0.25], [0.85, 0.74, 0.35], [0.93, 0.95, 0.98]], np.float32)
_LIGHT = np.array([1.0, 0.78, 0.42], np.float32)  # how bright the land is by day, in the evening, at night
_STARS = (
    (0.62, 0.34), (0.78, 0.43), (0.06, 0.23), (0.92, 0.3), (0.88, 0.08), (0.47, 0.13), (0.29, 0.41), (0.61, 0.08),
    (0.04, 0.4), (0.23, 0.12), (0.33, 0.23), (0.05, 0.05), (0.47, 0.37), (0.76, 0.27), (0.95, 0.45), (0.19, 0.3),
)  # fmt: skip

ATTRIBUTES = (
    Attribute("time", 0, 2, "choice"),  # a place in TIMES
    Attribute("land", 0, 2, "choice"),  # a place in LANDS
    Attribute("sun_x", 0.12, 0.88),  # of the sun, or at night of the moon
    Attribute("sun_y"),  # from just above the hills to high up
    Attribute("clouds", 0, 3, "choice"),  # how many
    Attribute("cloud_x"),
    Attribute("hill_height"),
    Attribute("hill_phase"),
    Attribute("house", 0, 0.7, "yes"),
    Attribute("house_x", 0.2, 0.8),
    Attribute("house_colour", 0, 3, "choice"),  # a place in COLOURS
    Attribute("tree", 0, 0.6, "yes"),
    Attribute("tree_x", 0.1, 0.9),
    Attribute("tree_height"),
)


def paint(attributes: np.ndarray, size: int) -> np.ndarray:
    """Attributes (n, 14) as pictures (n, 3, size, size), from back to front."""
    a = columns(ATTRIBUTES, attributes)
    time, light = a["time"].astype(int) % 3, _LIGHT[a["time"].astype(int) % 3][:, None]
    canvas = Canvas(len(attributes), size)
    down = np.clip(canvas.y / np.float32(0.62), 0, 1)[:, None]  # (1, 1, size, 1): from above to the horizon
    canvas.pixels[:] = _HIGH[time][:, :, None, None] * (1 - down) + _LOW[time][:, :, None, None] * down
    _stars(canvas, time == 2)
    _sun(canvas.window(0, 0, 1, 0.57), a, time)
    for i in range(3):
        sky = canvas.window(0, 0.02 + 0.08 * i, 1, 0.2 + 0.08 * i)
        _cloud(sky, (a["cloud_x"] + 0.37 * i) % 1, 0.13 + 0.08 * i, a["clouds"] > i, light)
    ground = _GROUND[a["land"].astype(int) % 3] * light
    _hills(canvas, a, ground, _LOW[time])
    canvas.paint(_below(canvas, 0.74, 0.015, 1.0, 0.3 + a["hill_phase"]), ground)
    _house(canvas.window(0, 0.48, 1, 0.84), a, light, time == 2)
    _tree(canvas.window(0, 0.28, 1, 0.92), a, light)
    return canvas.pixels


def _stars(canvas: Canvas, night: np.ndarray) -> None:
    """Always the same stars, at night."""
    for x, y in _STARS:
        part = canvas.window(x - 0.05, y - 0.05, x + 0.05, y + 0.05)
        part.paint(part.circle(x, y, 0.009), (1, 1, 0.9), night)


def _sun(canvas: Canvas, a: dict, time: np.ndarray) -> None:
    """A sun with a glow; at night a crescent, which is a disc less a disc."""
    y = 0.42 - 0.3 * a["sun_y"]
    colour = np.array([[1, 0.93, 0.45], [1, 0.5, 0.25], [0.95, 0.95, 0.85]], np.float32)[time]
    canvas.paint(canvas.circle(a["sun_x"], y, 0.125), colour, 0.25 * (time != 2))
    disc = canvas.circle(a["sun_x"], y, 0.085)
    bitten = np.maximum(disc, -canvas.circle(a["sun_x"] + 0.045, y - 0.02, 0.075))
    canvas.paint(np.where((time == 2)[:, None, None], bitten, disc), colour)


def _cloud(canvas: Canvas, x: np.ndarray, y: float, there: np.ndarray, light: np.ndarray) -> None:
    """Three puffs on a flat bottom."""
    puffs = [canvas.ellipse(x - 0.07, y, 0.06, 0.035), canvas.ellipse(x, y - 0.02, 0.07, 0.05),
             canvas.ellipse(x + 0.08, y, 0.06, 0.035)]  # fmt: skip
    canvas.paint(np.minimum.reduce(puffs), 0.97 * light * np.ones(3, np.float32), 0.9 * there)


def _below(canvas: Canvas, level, height, waves: float, phase) -> np.ndarray:
    """Below a sine: nearly the distance, the height over it divided by the length of the gradient."""
    angle = 2 * np.pi * (waves * canvas.x + np.asarray(phase, np.float32).reshape(-1, 1, 1))
    height = np.asarray(height, np.float32).reshape(-1, 1, 1)
    slope = 2 * np.pi * waves * height * np.cos(angle)
    return (level - height * np.sin(angle) - canvas.y) / np.sqrt(1 + slope**2)


def _hills(canvas: Canvas, a: dict, ground: np.ndarray, sky: np.ndarray) -> None:
    """Two rows of hills, the further ones nearer to the colour of the sky."""
    height = 0.03 + 0.1 * a["hill_height"]
    canvas.paint(_below(canvas, 0.56, height, 1.3, a["hill_phase"]), mixed(0.75 * ground, sky, 0.4))
    canvas.paint(_below(canvas, 0.64, 0.7 * height, 1.0, 0.45 + 1.7 * a["hill_phase"]), 0.85 * ground)


def _house(canvas: Canvas, a: dict, light: np.ndarray, night: np.ndarray) -> None:
    """Wall, roof, door and two windows, which are lit at night."""
    x, there = a["house_x"], a["house"]
    canvas.paint(canvas.box(x, 0.72, 0.13, 0.085), _PAINTS[a["house_colour"].astype(int) % 4] * light, there)
    roof = canvas.polygon([(x - 0.165, 0.645), (x, 0.51), (x + 0.165, 0.645)])
    canvas.paint(roof, np.array([0.35, 0.2, 0.16], np.float32) * light, there)
    canvas.paint(canvas.box(x, 0.76, 0.027, 0.048), np.array([0.25, 0.15, 0.1], np.float32) * light, there)
    lit, dull = np.array([1, 0.85, 0.4], np.float32), np.array([0.6, 0.75, 0.85], np.float32)
    glass = np.where(night[:, None], lit, dull * light)
    for side in (-1, 1):
        canvas.paint(canvas.box(x + side * 0.078, 0.705, 0.026, 0.026), glass, there)


def _tree(canvas: Canvas, a: dict, light: np.ndarray) -> None:
    """A trunk and a crown, in front of the house."""
    x, height = a["tree_x"], 0.2 + 0.16 * a["tree_height"]
    canvas.paint(canvas.line(x, 0.86, x, 0.86 - 0.6 * height, 0.035), np.array([0.4, 0.26, 0.15], np.float32) * light,
                 a["tree"])  # fmt: skip
    leaves = np.array([[0.16, 0.45, 0.16], [0.8, 0.45, 0.12], [0.2, 0.38, 0.3]], np.float32)[a["land"].astype(int) % 3]
    crown = canvas.ellipse(x, 0.86 - height, 0.4 * height, 0.5 * height)
    canvas.paint(crown, leaves * light, a["tree"])


def captions(attributes: np.ndarray) -> list[str]:
    """A sentence for each picture, of what can be seen in it.

    Examples
    --------
    >>> captions(np.array([[2, 0, 0.2, 1, 0, 0, 0.5, 0, 1, 0.7, 0, 0, 0.5, 0.5]]))
    ['a clear night over green hills with a red house on the right']
    """
    a = columns(ATTRIBUTES, np.asarray(attributes))
    return [_caption({name: float(values[i]) for name, values in a.items()}) for i in range(len(attributes))]


def _caption(a: dict[str, float]) -> str:
    sky = "clear" if a["clouds"] < 1 else "cloudy"
    seen = []
    if a["house"] > 0.5:
        seen.append(f"a {COLOURS[int(a['house_colour']) % 4]} house {_where(a['house_x'])}")
    if a["tree"] > 0.5:
        seen.append(f"a {'tall' if a['tree_height'] > 0.5 else 'small'} tree {_where(a['tree_x'])}")
    land = f"a {sky} {TIMES[int(a['time']) % 3]} over {LANDS[int(a['land']) % 3]} hills"
    return f"{land} with {' and '.join(seen)}" if seen else land


def _where(x: float) -> str:
    return "on the left" if x < 0.4 else "on the right" if x > 0.6 else "in the middle"


def label(attributes: np.ndarray) -> np.ndarray:
    """The time of day."""
    return columns(ATTRIBUTES, attributes)["time"]


DRAWING = Drawing(ATTRIBUTES, TIMES, 64, paint, label)

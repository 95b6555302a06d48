"""Cartoon faces whose every feature is a number: for conditional models, attribute vectors and disentanglement."""

from __future__ import annotations

import numpy as np

from tinygen.data.pictures import Attribute, Drawing, columns
from tinygen.data.raster import Canvas, along, hue, mixed

HAIR = ("black", "brown", "red", "blond", "grey")
_HAIR_COLOURS = [[0.1, 0.08, 0.08], [0.38, 0.22, 0.1], [0.68, 0.27, 0.1], [0.93, 0.78, 0.38], [0.66, 0.66, 0.68]]
_SKIN = [[0.35, 0.21, 0.14], [0.58, 0.38, 0.25], [0.82, 0.6, 0.44], [0.97, 0.82, 0.7]]  # from dark to light

ATTRIBUTES = (
    Attribute("smile", -1, 1),  # from sad to glad
    Attribute("mouth_open"),
    Attribute("glasses", 0, 0.35, "yes"),
    Attribute("beard", 0, 0.25, "yes"),
    Attribute("hat", 0, 0.2, "yes"),
    Attribute("hair_length"),
    Attribute("hair_colour", 0, 4, "choice"),  # a place in HAIR
    Attribute("skin"),  # from dark to light
    Attribute("eye_distance"),
    Attribute("eye_size"),
    Attribute("eye_colour"),  # from brown over green to blue
    Attribute("brows", -1, 1),  # from worried to angry
    Attribute("nose_length"),
    Attribute("face_width"),
    Attribute("turn", -1, 1),  # which way the head is turned
    Attribute("background"),  # a hue
)


def paint(attributes: np.ndarray, size: int) -> np.ndarray:
    """Attributes (n, 16) as pictures (n, 3, size, size), from back to front."""
    a = columns(ATTRIBUTES, attributes)
    canvas = Canvas(len(attributes), size, hue(a["background"], 0.35, 0.85))
    skin, hair = along(_SKIN, a["skin"]), np.asarray(_HAIR_COLOURS, np.float32)[a["hair_colour"].astype(int) % 5]
    a["rx"] = 0.22 + 0.06 * a["face_width"]
    a["x"] = 0.5 + 0.05 * a["turn"]  # the features' middle: they move more than the head when it turns
    _behind(canvas, a, skin, hair)
    canvas.paint(canvas.ellipse(0.5, 0.52, a["rx"], 0.31), skin)
    _beard(canvas, a, hair)
    _fringe(canvas.window(0.15, 0.1, 0.85, 0.52), a, hair)
    _eyes(canvas.window(0.2, 0.3, 0.8, 0.6), a, hair)
    _nose_and_mouth(canvas.window(0.3, 0.48, 0.7, 0.86), a, skin)
    _glasses(canvas.window(0.15, 0.36, 0.85, 0.6), a)
    _hat(canvas.window(0.05, 0.0, 0.95, 0.38), a)
    return canvas.pixels


def _behind(canvas: Canvas, a: dict, skin: np.ndarray, hair: np.ndarray) -> None:
    """Long hair, neck and shoulders, ears."""
    length = a["hair_length"]
    canvas.paint(canvas.box(0.5, 0.42 + 0.2 * length, a["rx"] + 0.055, 0.16 + 0.22 * length, corner=0.14), hair)
    canvas.paint(canvas.ellipse(0.5, 1.04, 0.36, 0.18), hue(a["background"] + 0.5, 0.55, 0.6))
    canvas.paint(canvas.box(0.5, 0.82, 0.085, 0.1, corner=0.03), 0.88 * skin)
    for side in (-1, 1):
        canvas.paint(canvas.ellipse(0.5 + side * a["rx"], 0.53, 0.04, 0.065), 0.93 * skin)


def _beard(canvas: Canvas, a: dict, hair: np.ndarray) -> None:
    """The lower part of the face, in the hair's colour."""
    chin = np.maximum(canvas.ellipse(0.5, 0.52, a["rx"], 0.315), canvas.to(0, 0.62)[1] * -1)
    canvas.paint(chin, 0.9 * hair, a["beard"])


def _fringe(canvas: Canvas, a: dict, hair: np.ndarray) -> None:
    """The hair above the forehead: the top of the head above a parting that turns with it."""
    head = canvas.ellipse(0.5, 0.46, a["rx"] + 0.035, 0.29)
    forehead = canvas.ellipse(a["x"], 0.62, a["rx"] * 0.98, 0.31)
    canvas.paint(np.maximum(np.maximum(head, -forehead), canvas.to(0, 0.5)[1]), hair)


def _eyes(canvas: Canvas, a: dict, hair: np.ndarray) -> None:
    """White, iris, pupil, brow; the eye on the side that the head is turned to is nearer to the nose."""
    apart, radius = 0.085 + 0.045 * a["eye_distance"], 0.034 + 0.02 * a["eye_size"]
    iris = along([[0.35, 0.2, 0.08], [0.25, 0.5, 0.25], [0.2, 0.4, 0.75]], a["eye_colour"])
    for side in (-1, 1):
        x = a["x"] + side * apart * (1 - 0.1 * side * a["turn"])
        canvas.paint(canvas.ellipse(x, 0.48, 1.25 * radius, radius), (0.98, 0.98, 0.98))
        gaze = x + 0.012 * a["turn"]
        canvas.paint(canvas.circle(gaze, 0.48, 0.68 * radius), iris)
        canvas.paint(canvas.circle(gaze, 0.48, 0.36 * radius), (0.05, 0.05, 0.05))
        inner, outer = x - side * 0.05, x + side * 0.055
        y, slope = 0.48 - radius - 0.035, 0.022 * a["brows"]
        canvas.paint(canvas.line(inner, y + slope, outer, y - slope, 0.022), 0.75 * hair)


def _nose_and_mouth(canvas: Canvas, a: dict, skin: np.ndarray) -> None:
    """A shaded nose, and a mouth that is a parabola: up for glad, down for sad, apart when open."""
    tip = 0.56 + 0.06 * a["nose_length"]
    nose = [(a["x"] + 0.004, 0.51), (a["x"] + 0.028 + 0.014 * a["turn"], tip), (a["x"] - 0.012, tip + 0.012)]
    canvas.paint(canvas.curve(nose, 0.016), 0.72 * skin)
    t = np.linspace(-1, 1, 7)
    bend, open_ = 0.055 * a["smile"], 0.055 * a["mouth_open"]
    upper = [(a["x"] + 0.1 * s, 0.695 + bend * (0.5 - s * s)) for s in t]
    lower = [(a["x"] + 0.1 * s, 0.695 + bend * (0.5 - s * s) + 2 * open_ * (1 - s * s)) for s in t[1:-1]]
    inside = canvas.polygon([*upper, *lower[::-1]])
    canvas.paint(inside, (0.35, 0.05, 0.08))
    canvas.paint(canvas.curve(upper, 0.024), mixed([0.75, 0.25, 0.27], skin, 0.15))
    canvas.paint(canvas.curve([upper[0], *lower, upper[-1]], 0.024), mixed([0.75, 0.25, 0.27], skin, 0.15))


def _glasses(canvas: Canvas, a: dict) -> None:
    """Two round frames and a bridge."""
    apart = 0.085 + 0.045 * a["eye_distance"]
    frame = (0.08, 0.08, 0.12)
    for side in (-1, 1):
        x = a["x"] + side * apart * (1 - 0.1 * side * a["turn"])
        ring = np.abs(canvas.circle(x, 0.48, 0.08)) - np.float32(0.011)
        canvas.paint(ring, frame, a["glasses"])
        canvas.paint(canvas.line(x + side * 0.08, 0.47, 0.5 + side * a["rx"], 0.46, 0.018), frame, a["glasses"])
    canvas.paint(canvas.line(a["x"] - apart + 0.08, 0.47, a["x"] + apart - 0.08, 0.47, 0.018), frame, a["glasses"])


def _hat(canvas: Canvas, a: dict) -> None:
    """A round hat with a brim."""
    colour = hue(a["background"] + 0.33, 0.7, 0.55)
    crown = np.maximum(canvas.ellipse(0.5, 0.3, a["rx"] + 0.045, 0.24), canvas.to(0, 0.31)[1])
    canvas.paint(crown, colour, a["hat"])
    canvas.paint(canvas.box(0.5, 0.31, a["rx"] + 0.1, 0.025, corner=0.025), 0.7 * colour, a["hat"])


def label(attributes: np.ndarray) -> np.ndarray:
    """The hair's colour."""
    return columns(ATTRIBUTES, attributes)["hair_colour"]


DRAWING = Drawing(ATTRIBUTES, HAIR, 64, paint, label)

"""People in poses, with the places of their joints: for pose-guided generation and for disentanglement.

A figure is a chain of limbs. Each limb hangs from its joint at an angle, measured from straight down, positive to
the picture's right; forearms and shins add their bend to the angle of what they hang from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.data.pictures import Attribute, Drawing, columns
from tinygen.data.raster import Canvas, along, hue

JOINTS = (
    "head", "neck", "left shoulder", "left elbow", "left hand", "right shoulder", "right elbow", "right hand",
    "left hip", "left knee", "left foot", "right hip", "right knee", "right foot",
)  # fmt: skip
ARMS = ("both arms down", "left arm up", "right arm up", "both arms up")
POSE = (  # the columns that are the pose; the others are the person
    "x", "height", "lean", "left_arm", "left_elbow", "right_arm", "right_elbow", "left_leg", "left_knee",
    "right_leg", "right_knee",
)  # fmt: skip

ATTRIBUTES = (
    Attribute("x", 0.42, 0.58),
    Attribute("height", 0.85, 1.05),
    Attribute("lean", -0.2, 0.2),  # of the trunk and head, radians
    Attribute("left_arm", 0.15, 2.9),  # outwards from straight down; "left" is the picture's left
    Attribute("left_elbow", -0.2, 1.4),  # a bend that lifts the forearm further
    Attribute("right_arm", 0.15, 2.9),
    Attribute("right_elbow", -0.2, 1.4),
    Attribute("left_leg", 0.03, 0.6),  # outwards
    Attribute("left_knee", -0.6, 0.1),  # outwards
    Attribute("right_leg", 0.03, 0.6),
    Attribute("right_knee", -0.6, 0.1),
    Attribute("shirt"),  # a hue
    Attribute("trousers"),  # a hue
    Attribute("skin"),  # from dark to light
    Attribute("hair"),  # from dark to light
    Attribute("background", 0.75, 1.0),  # a grey
)


def keypoints(attributes: np.ndarray) -> np.ndarray:
    """The places of `JOINTS`, x and y from 0 to 1: float32 (n, 14, 2); times the size less 1/2, they are pixels."""
    a = columns(ATTRIBUTES, np.asarray(attributes, np.float32))
    tall, lean = a["height"], a["lean"]
    hip = np.stack([a["x"], np.full_like(tall, 0.55)], axis=1)
    across = np.stack([np.cos(lean), np.sin(lean)], axis=1)  # along the shoulders
    neck = _hung(hip, np.pi - lean, 0.25 * tall)
    joints = [_hung(neck, np.pi - lean, 0.105 * tall), neck]
    for side, name in ((-1, "left"), (1, "right")):
        shoulder = neck + side * 0.085 * tall[:, None] * across + _hung(np.zeros(2), -lean, 0.025 * tall)
        elbow = _hung(shoulder, side * a[f"{name}_arm"], 0.135 * tall)
        joints += [shoulder, elbow, _hung(elbow, side * (a[f"{name}_arm"] + a[f"{name}_elbow"]), 0.13 * tall)]
    for side, name in ((-1, "left"), (1, "right")):
        top = hip + side * 0.045 * tall[:, None] * across
        knee = _hung(top, side * a[f"{name}_leg"], 0.19 * tall)
        joints += [top, knee, _hung(knee, side * (a[f"{name}_leg"] + a[f"{name}_knee"]), 0.19 * tall)]
    return np.stack(joints, axis=1).astype(np.float32)


def _hung(start: np.ndarray, angle: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The end of a limb: (n, 2)."""
    return start + length[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)


def paint(attributes: np.ndarray, size: int) -> np.ndarray:
    """Attributes (n, 16) as pictures (n, 3, size, size), from back to front."""
    a = columns(ATTRIBUTES, attributes)
    k = keypoints(attributes)
    at: dict[str, Any] = {name: (k[:, i, 0], k[:, i, 1]) for i, name in enumerate(JOINTS)}
    shirt, trousers = hue(a["shirt"], 0.75, 0.85), hue(a["trousers"], 0.6, 0.5)
    skin = along([[0.36, 0.22, 0.15], [0.6, 0.4, 0.27], [0.95, 0.77, 0.62]], a["skin"])
    hair = along([[0.08, 0.06, 0.05], [0.4, 0.23, 0.1], [0.92, 0.76, 0.36]], a["hair"])
    canvas = Canvas(len(attributes), size, np.repeat(a["background"][:, None], 3, axis=1))
    floor = np.float32(0.6) * np.repeat(a["background"][:, None], 3, axis=1)
    canvas.paint(np.float32(0.93) - canvas.y + 0 * canvas.x, floor)
    _limbs(canvas, at, a["height"], trousers, skin, legs=True)
    trunk = [at["left shoulder"], at["right shoulder"], at["right hip"], at["left hip"]]
    canvas.paint(canvas.curve([at["neck"], at["head"]], 0.05 * a["height"]), skin)
    canvas.paint(canvas.polygon(trunk) - 0.03 * a["height"][:, None, None], shirt)
    _limbs(canvas, at, a["height"], shirt, skin, legs=False)
    head_x, head_y = at["head"]
    canvas.paint(canvas.ellipse(head_x, head_y - 0.012, 0.07 * a["height"], 0.08 * a["height"]), hair)
    canvas.paint(canvas.ellipse(head_x, head_y + 0.014, 0.056 * a["height"], 0.062 * a["height"]), skin)
    for side in (-1, 1):
        canvas.paint(canvas.circle(head_x + side * 0.022, head_y + 0.008, 0.009), (0.05, 0.05, 0.05))
    return canvas.pixels


def _limbs(canvas: Canvas, at: dict, tall: np.ndarray, cloth: np.ndarray, skin: np.ndarray, *, legs: bool) -> None:
    """Both arms, with hands, or both legs, with shoes."""
    width = (0.075 if legs else 0.055) * tall
    joints = ("hip", "knee", "foot") if legs else ("shoulder", "elbow", "hand")
    for name in ("left", "right"):
        top, middle, end = (at[f"{name} {joint}"] for joint in joints)
        side = -1 if name == "left" else 1
        shoe = canvas.curve([end, (end[0] + side * 0.03, end[1])], 0.9 * width)
        hand = canvas.circle(end[0], end[1], 0.62 * width)
        canvas.paint(shoe if legs else hand, (0.15, 0.12, 0.12) if legs else skin)
        canvas.paint(canvas.curve([middle, end], 0.85 * width), cloth)
        canvas.paint(canvas.curve([top, middle], width), cloth)


def label(attributes: np.ndarray) -> np.ndarray:
    """Which arms are raised above the shoulder: a place in ARMS."""
    a = columns(ATTRIBUTES, attributes)
    return (a["left_arm"] > np.pi / 2) + 2 * (a["right_arm"] > np.pi / 2)


DRAWING = Drawing(ATTRIBUTES, ARMS, 64, paint, label)

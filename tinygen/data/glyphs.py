"""Letters A to J in 37 typefaces with known style, and small changes that make many of few.

The drawings are committed beside this file; `draw_glyphs.py` drew them from the typefaces that matplotlib brings.
`warp` moves, scales, turns and slants images, by a generator, and so grows the set as it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinygen.backend.random import Generator
from tinygen.data.idx import read_idx


class Typeface(NamedTuple):
    """A file of matplotlib's, one of the alphabets in it, and its style."""

    file: str
    alphabet: str
    family: str
    bold: bool
    italic: bool


def _latin(family: str, *files: str) -> list[Typeface]:
    """The four cuts of a family: upright, bold, italic, both."""
    cuts = [(False, False), (True, False), (False, True), (True, True)]
    return [Typeface(file, "latin", family, *cut) for file, cut in zip(files, cuts, strict=True)]


TYPEFACES: tuple[Typeface, ...] = (
    *_latin("DejaVu Sans", "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *_latin("DejaVu Sans Mono", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique",
            "DejaVuSansMono-BoldOblique"),
    *_latin("DejaVu Serif", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *_latin("STIX", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    Typeface("cmr10", "latin", "Computer Modern Roman", False, False),
    Typeface("cmb10", "latin", "Computer Modern Roman", True, False),
    Typeface("cmti10", "latin", "Computer Modern Roman", False, True),
    Typeface("cmmi10", "latin", "Computer Modern Roman", False, True),
    Typeface("cmss10", "latin", "Computer Modern Sans", False, False),
    Typeface("cmtt10", "latin", "Computer Modern Typewriter", False, False),
    Typeface("cmsy10", "latin", "Computer Modern Calligraphic", False, True),
    Typeface("STIXGeneral", "script", "STIX Script", False, True),
    Typeface("STIXGeneral", "bold script", "STIX Script", True, True),
    Typeface("STIXGeneral", "fraktur", "STIX Fraktur", False, False),
    Typeface("STIXGeneral", "bold fraktur", "STIX Fraktur", True, False),
    Typeface("STIXGeneral", "double", "STIX Double", False, False),
    Typeface("STIXGeneral", "sans", "STIX Sans", False, False),
    Typeface("STIXGeneral", "bold sans", "STIX Sans", True, False),
    Typeface("STIXGeneral", "italic sans", "STIX Sans", False, True),
    Typeface("STIXGeneral", "bold italic sans", "STIX Sans", True, True),
    Typeface("STIXGeneral", "mono", "STIX Mono", False, False),
    Typeface("STIXGeneral", "circled", "STIX Circled", False, False),
    Typeface("DejaVuSans", "double", "DejaVu Double", False, False),
    Typeface("DejaVuSans-Bold", "double", "DejaVu Double", True, False),
    Typeface("DejaVuSerif", "double", "DejaVu Serif Double", False, False),
)  # fmt: skip

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(face.family for face in TYPEFACES))
ATTRIBUTES: tuple[str, ...] = ("typeface", "family", "bold", "italic")
LETTERS: tuple[str, ...] = tuple("ABCDEFGHIJ")

# Held back to judge by; every family has other cuts to learn from.
TEST_TYPEFACES = (1, 6, 11, 12, 18, 24, 29, 35)


def drawings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All drawings: images (n, 1, 28, 28) in [0, 1], letters (n,), and the columns of `ATTRIBUTES` (n, 4).

    A typeface's number is its place in `TYPEFACES`, a family's that in `FAMILIES`; bold and italic are 0 or 1.
    """
    folder = Path(__file__).parent
    fix = "install tinygen again, or draw it with `python -m tinygen.data.draw_glyphs`"
    styles = read_idx(folder / "glyphs-styles.gz", shape=(None, 2), fix=fix)
    images = read_idx(folder / "glyphs-images.gz", shape=(len(styles), 28, 28), fix=fix)
    table = np.array([(i, FAMILIES.index(f.family), f.bold, f.italic) for i, f in enumerate(TYPEFACES)], np.float32)
    return images[:, None] / np.float32(255), styles[:, 0].astype(np.int64), table[styles[:, 1]]


def warp(
    images: np.ndarray,
    rng: Generator,
    *,
    shift: float = 1.0,
    scale: float = 0.1,
    rotate: float = 0.12,
    shear: float = 0.15,
) -> np.ndarray:
    """Move, scale, turn and slant each image by its own random amount; outside of an image is 0.

    Parameters
    ----------
    images : (n, channels, height, width)
    shift : standard deviation of the move along either axis, in pixels
    scale : of the logarithm of the factor along either axis
    rotate : of the angle, in radians
    shear : of the slant, width gained per height

    Returns
    -------
    float32, the shape of images
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4:
        raise ValueError(f"warp: images have shape {images.shape}; wanted (n, channels, height, width)")
    n, _, height, width = images.shape
    z = rng.normal((n, 6), dtype="float64")
    angle, grow, slant = rotate * z[:, 0], np.exp(scale * z[:, 1:3]), shear * z[:, 3]
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(n, 2, 2)
    stretch = np.zeros((n, 2, 2))  # rows first, then columns
    stretch[:, 0, 0], stretch[:, 1, 1], stretch[:, 1, 0] = grow[:, 0], grow[:, 1], slant
    back = np.linalg.inv(turn @ stretch)  # from a place in the new image to one in the old
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).reshape(-1, 2) - middle
    out = np.empty_like(images)
    for i in range(0, n, 256):  # at a time, so that the work stays in the cache
        part = slice(i, i + 256)
        moved = places - shift * z[part, None, 4:]  # (m, h * w, 2)
        out[part] = _between(images[part], moved @ back[part].transpose(0, 2, 1) + middle)
    return out


def _between(images: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Images (n, c, h, w) at places (n, h * w, 2) between their pixels, linearly along both axes."""
    n, channels, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    row, column = (np.clip(at[..., k] + 1, 0, size + 1) for k, size in enumerate((height, width)))
    top, left = np.minimum(row.astype(np.intp), height), np.minimum(column.astype(np.intp), width)
    down, right = ((row - top).astype(np.float32)[:, None], (column - left).astype(np.float32)[:, None])
    flat = padded.reshape(n, channels, -1)

    def pixel(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.take_along_axis(flat, (y * (width + 2) + x)[:, None], axis=2)

    upper = pixel(top, left) * (1 - right) + pixel(top, left + 1) * right
    lower = pixel(top + 1, left) * (1 - right) + pixel(top + 1, left + 1) * right
    return (upper * (1 - down) + lower * down).reshape(images.shape)

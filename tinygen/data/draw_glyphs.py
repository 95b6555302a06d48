"""Draw the letters A to J in the typefaces that matplotlib brings: `python -m tinygen.data.draw_glyphs [FOLDER]`.

Writes `glyphs-images.gz` (n, 28, 28) and `glyphs-styles.gz` (n, 2: letter, typeface), both IDX, into the folder,
which is this package's own by default. One version of matplotlib gives the same bytes every time; the files here
are of the version named by `MADE_WITH`. Drawings that repeat an earlier one exactly are left out.

The typefaces are DejaVu (Bitstream Vera's licence), STIX (SIL's open font licence) and Computer Modern (Knuth's),
all of which allow pictures of their letters to be passed on freely.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tinygen.data.glyphs import TYPEFACES
from tinygen.data.idx import write_idx

MADE_WITH = "3.11.2"  # of matplotlib
SIZE, BODY = 28, 24  # of the image, and of the letter's longer side: pixels
_POINTS = 144  # drawn large, then averaged down

# Where the alphabets of mathematics start in Unicode, and the letters that were there before them.
_ALPHABETS = {
    "latin": (0x41, {}),
    "script": (0x1D49C, {1: 0x212C, 4: 0x2130, 5: 0x2131, 7: 0x210B, 8: 0x2110}),
    "bold script": (0x1D4D0, {}),
    "fraktur": (0x1D504, {2: 0x212D, 7: 0x210C, 8: 0x2111}),
    "bold fraktur": (0x1D56C, {}),
    "double": (0x1D538, {2: 0x2102, 7: 0x210D}),
    "sans": (0x1D5A0, {}),
    "bold sans": (0x1D5D4, {}),
    "italic sans": (0x1D608, {}),
    "bold italic sans": (0x1D63C, {}),
    "mono": (0x1D670, {}),
    "circled": (0x24B6, {}),
}


def codes(alphabet: str) -> list[int]:
    """The ten code points of A to J."""
    start, others = _ALPHABETS[alphabet]
    return [others.get(i, start + i) for i in range(10)]


def bitmap(path: Path, code: int) -> np.ndarray:
    """A letter, cut out: float64 (h, w) in [0, 1]."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(path))
    if code not in font.get_charmap():
        raise ValueError(f"draw_glyphs: {path.name} has no letter U+{code:04X}; draw with matplotlib {MADE_WITH}")
    font.set_size(_POINTS, 72)
    font.set_text(chr(code), 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    image = np.asarray(font.get_image(), np.float64) / 255
    rows, columns = np.nonzero(image)
    return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def averaged(image: np.ndarray, size: int) -> np.ndarray:
    """The mean over each of `size` equal parts of axis 0, parts of pixels counted as parts."""
    total = np.concatenate([np.zeros((1, image.shape[1])), image.cumsum(0)])  # the integral up to each edge
    at = np.linspace(0, len(image), size + 1)
    low = np.minimum(at.astype(int), len(image) - 1)
    integral = total[low] + (at - low)[:, None] * image[low]
    return np.diff(integral, axis=0) * size / len(image)


def glyph(path: Path, code: int) -> np.ndarray:
    """A letter with its longer side at `BODY` pixels, in the middle of an image: uint8 (28, 28)."""
    image = bitmap(path, code)
    scale = BODY / max(image.shape)
    height, width = (max(1, round(n * scale)) for n in image.shape)
    small = averaged(averaged(image, height).T, width).T
    out = np.zeros((SIZE, SIZE))
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    out[top : top + height, left : left + width] = small
    return np.rint(out.clip(0, 1) * 255).astype(np.uint8)


def draw() -> tuple[np.ndarray, np.ndarray]:
    """All letters in all typefaces without repeats: images (n, 28, 28) and styles (n, 2), uint8."""
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    images: dict[bytes, np.ndarray] = {}
    styles = []
    for number, face in enumerate(TYPEFACES):
        for letter, code in enumerate(codes(face.alphabet)):
            image = glyph(fonts / f"{face.file}.ttf", code)
            if image.tobytes() not in images:
                images[image.tobytes()] = image
                styles.append((letter, number))
    return np.stack(list(images.values())), np.array(styles, np.uint8)


def main(folder: Path) -> None:
    """Draw and write."""
    images, styles = draw()
    write_idx(folder / "glyphs-images.gz", images)
    write_idx(folder / "glyphs-styles.gz", styles)
    print(f"{len(images)} letters in {len(TYPEFACES)} typefaces, in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent))

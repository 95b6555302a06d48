"""Folders of pictures (PNG and JPEG), and CelebA, which is one: pictures cropped to their middle square and resized.

CelebA (Liu, Luo, Wang and Tang 2015) holds 202,599 photographs of faces with 40 attributes each. Its terms allow
research only, so it is not fetched: get `img_align_celeba` and `list_attr_celeba.txt` from its authors' page
(mmlab.ie.cuhk.edu.hk/projects/CelebA.html) and put both into the folder `celeba` under the root.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tinygen.data.idx import MissingDataError, read_bytes, refuse
from tinygen.data.pictures import Attributed

_ENDINGS = (".png", ".jpg", ".jpeg")
_MOST_PIXELS = 2**25  # of a picture that is read
_MOST_BYTES = 2**27  # of its file
CELEBA_IMAGES, CELEBA_TABLE = "img_align_celeba", "list_attr_celeba.txt"


def image_folder(folder: str | os.PathLike, size: int = 64, *, n: int | None = None) -> tuple[np.ndarray, list[str]]:
    """The first n pictures of a folder, in the order of their names.

    Parameters
    ----------
    size : int
        Of the pictures' sides, after cropping them to the square in their middle.
    n : int, optional
        How many; all if not given.

    Returns
    -------
    images : float32 (n, 3, size, size) in [0, 1]
    names : list of str
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: there is no such folder; name one that holds PNG or JPEG files")
    if n is not None and n < 1:
        raise ValueError(f"image_folder: n is {n}; at least 1 is wanted, or None for all")
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _ENDINGS)[:n]
    if not names:
        refuse(folder, "it holds no pictures", "name a folder that holds PNG or JPEG files")
    if size < 1 or len(names) < (n or 1):
        raise ValueError(f"image_folder: size is {size} and n is {n}; wanted a size of at least 1, and there are "
                         f"{len(names)} pictures in {folder}")  # fmt: skip
    images = np.empty((len(names), 3, size, size), np.float32)
    for i, name in enumerate(names):
        images[i] = _picture(folder / name, size)
    return images, names


def _picture(path: Path, size: int) -> np.ndarray:
    """One picture, (3, size, size); its size is looked at before its pixels are read."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            'pictures are read by Pillow, which is not installed: pip install "tinygen[demos]"'
        ) from error
    import io

    fix = "get the file again, or take it out of the folder"
    stored = read_bytes(path, limit=_MOST_BYTES, fix=fix)
    try:
        with Image.open(io.BytesIO(stored), formats=("PNG", "JPEG")) as picture:
            width, height = picture.size
            if width * height > _MOST_PIXELS:
                refuse(path, f"it is {width} x {height} pixels, and at most {_MOST_PIXELS} are read", fix)
            if picture.mode.startswith(("I", "F")):  # of 16 or 32 bits, which convert would cut off at 255
                refuse(path, f"its pixels are of mode {picture.mode}, and 8 bits a channel are read", fix)
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            square = picture.convert("RGB").crop((left, top, left + side, top + side))
            pixels = np.asarray(square.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    except UnidentifiedImageError:
        refuse(path, "it is not a PNG or JPEG file", fix)
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        refuse(path, f"it cannot be read ({error})", fix)
    return pixels.transpose(2, 0, 1)


def celeba(folder: Path, n: int, size: int = 64) -> tuple[Attributed, tuple[str, ...]]:
    """The first n photographs; labels and attributes are 0 or 1, and the label is whether the face smiles."""
    names, files, values = _table(folder / CELEBA_TABLE, n)
    images, found = image_folder(folder / CELEBA_IMAGES, size, n=n)
    if found != files:
        wrong = next(a for a, b in zip(found, files, strict=True) if a != b)
        refuse(folder / CELEBA_IMAGES / wrong, f"{CELEBA_TABLE} does not have it at its place", "get both again")
    smiling = values[:, names.index("Smiling")] if "Smiling" in names else np.zeros(n)
    return Attributed(images, smiling.astype(np.int64), values), names


def _table(path: Path, n: int) -> tuple[tuple[str, ...], list[str], np.ndarray]:
    """The names of the attributes, and of the first n files with their values (n, 40)."""
    fix = "get the file again"
    lines = read_bytes(path, limit=_MOST_BYTES, fix=fix).decode("utf-8", "replace").splitlines()
    if len(lines) < n + 2:
        refuse(
            path,
            f"it has {len(lines)} lines, wanted at least {n + 2}: truncated, or fewer pictures than asked for",
            fix,
        )
    names = tuple(lines[1].split())
    rows = [line.split() for line in lines[2 : n + 2]]
    for number, row in enumerate(rows, 3):
        if len(row) != len(names) + 1 or not set(row[1:]) <= {"1", "-1"}:
            refuse(path, f"line {number} is not a file's name and {len(names)} times 1 or -1", fix)
    values = np.array([[word == "1" for word in row[1:]] for row in rows], np.float32)
    return names, [row[0] for row in rows], values

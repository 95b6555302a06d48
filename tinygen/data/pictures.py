"""Sets that are drawn on demand, each picture from a row of attributes that says all there is to know about it.

`drawn("faces", 100)` gives pictures, their classes and their attributes. The attributes of picture i are a function
of (seed, i) alone, so sets of any size agree on what they share, and `start=` continues a set. The picture is a
function of the attributes alone: change one and draw again (`draw("faces", attributes)`) to see what it does, or to
have the truth beside what a model makes of it.

| set     | what                                                              | classes          | size |
|---------|-------------------------------------------------------------------|------------------|------|
| faces   | cartoon faces: smile, glasses, hair, eyes, skin, beard, hat, turn | hair colour      | 64   |
| scenes  | landscapes: time of day, sun, clouds, hills, house, tree          | time of day      | 64   |
| figures | people in poses: eight angles of limbs, clothes                   | what the arms do | 64   |
| shapes  | one shape: kind, size, turn, place (as in dSprites), colour       | kind of shape    | 32   |
| clothes | grey garments, the ten kinds of Fashion-MNIST                     | kind of garment  | 28   |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygen.backend.random import Generator

_AT_ONCE = 64  # pictures, so that a canvas stays in the cache


class Attribute(NamedTuple):
    """One number about a picture.

    kind is "real" (evenly from low to high), "yes" (1 with probability `high`, else 0) or "choice" (a whole number
    from low to high, both included).
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    kind: str = "real"


class Drawing(NamedTuple):
    """A set that is drawn.

    painter takes attributes (n, k) and a size, and gives pictures (n, channels, size, size) in [0, 1]; label takes
    attributes and gives classes (n,).
    """

    attributes: tuple[Attribute, ...]
    classes: tuple[str, ...]
    size: int
    painter: Callable[[np.ndarray, int], np.ndarray]
    label: Callable[[np.ndarray], np.ndarray]

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' names, in the order of their columns."""
        return tuple([a.name for a in self.attributes])


class Attributed(NamedTuple):
    """Images (n, channels, height, width), float32 in [0, 1]; labels (n,), int64; attributes (n, k), float32."""

    images: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray


def drawing(name: str) -> Drawing:
    """What there is to know about a drawn set: its attributes, classes, and how it is drawn."""
    from tinygen.data import clothes, faces, figures, scenes, shapes

    sets = {"faces": faces, "scenes": scenes, "figures": figures, "shapes": shapes, "clothes": clothes}
    if name not in sets:
        raise ValueError(f"drawn: no set is called {name!r}; there are {', '.join(sorted(sets))}")
    return sets[name].DRAWING


def drawn(name: str, n: int, *, seed: int = 0, start: int = 0, size: int | None = None) -> Attributed:
    """Pictures start, ..., start + n - 1 of a set, with classes and attributes.

    Examples
    --------
    >>> faces = drawn("faces", 3, size=32)
    >>> faces.images.shape, faces.attributes.shape == (3, len(drawing("faces").names))
    ((3, 3, 32, 32), True)
    """
    a = attributes(name, n, seed=seed, start=start)
    return Attributed(draw(name, a, size=size), drawing(name).label(a).astype(np.int64), a)


def attributes(name: str, n: int, *, seed: int = 0, start: int = 0) -> np.ndarray:
    """The attributes of pictures start, ..., start + n - 1, of which each depends on (seed, its number): (n, k)."""
    table = drawing(name).attributes
    if n < 0 or start < 0:
        raise ValueError(f"drawn: n is {n} and start is {start}; wanted numbers of at least 0")
    blocks = -(-len(table) // 4)  # a block of the generator holds four float64 numbers
    rng = Generator(seed)
    rng.state = {**rng.state, "position": start * blocks}
    u = rng.uniform((n, 4 * blocks), dtype="float64")
    return np.stack([_value(a, u[:, i]) for i, a in enumerate(table)], axis=1).astype(np.float32)


def _value(attribute: Attribute, u: np.ndarray) -> np.ndarray:
    """An attribute from numbers that lie evenly in [0, 1)."""
    if attribute.kind == "yes":
        return u < attribute.high
    if attribute.kind == "choice":
        return np.floor(attribute.low + u * (attribute.high - attribute.low + 1))
    return attribute.low + u * (attribute.high - attribute.low)


def draw(name: str, attributes: Any, *, size: int | None = None) -> np.ndarray:
    """The pictures of attributes (n, k), size × size pixels: float32 (n, channels, size, size) in [0, 1]."""
    kind = drawing(name)
    a = np.asarray(attributes, np.float32)
    if a.ndim != 2 or a.shape[1] != len(kind.names) or not np.isfinite(a).all():
        raise ValueError(f"draw: attributes have shape {a.shape}; wanted finite numbers (n, {len(kind.names)}): "
                         f"{', '.join(kind.names)}")  # fmt: skip
    size = kind.size if size is None else size
    if size < 1:
        raise ValueError(f"draw: size is {size}; wanted a number of pixels of at least 1")
    parts = [kind.painter(a[i : i + _AT_ONCE], size) for i in range(0, len(a), _AT_ONCE)]
    pictures = np.concatenate(parts) if parts else kind.painter(a, size)
    return np.clip(pictures, 0, 1, out=pictures)


def columns(table: Sequence[Attribute], attributes: np.ndarray) -> dict[str, np.ndarray]:
    """Attributes by name: each (n,)."""
    return {a.name: attributes[:, i] for i, a in enumerate(table)}

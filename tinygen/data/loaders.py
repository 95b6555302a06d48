"""Data sets by name, split into a part to learn from and a part to judge by, once and for all.

Images are float32 in [0, 1], (n, channels, height, width); labels are int64. `names()` lists the sets.

| name     | what                                                                  | images       | train  | test   |
|----------|-----------------------------------------------------------------------|--------------|--------|--------|
| digits   | handwritten digits of 43 people, bundled with scikit-learn            | (1, 8, 8)    | 1437   | 360    |
| glyphs   | letters A to J in 37 typefaces of known style                         | (1, 28, 28)  | 290    | 80     |
| faces, scenes, figures | drawn, with attributes: see `drawn`                     | (3, 64, 64)  | 1500   | 300    |
| shapes   | drawn, with attributes                                                | (3, 32, 32)  | 4000   | 1000   |
| clothes  | drawn, with attributes                                                | (1, 28, 28)  | 4000   | 1000   |
| iris, wine | measurements, bundled with scikit-learn: features (n, 4), (n, 13)   |              | 120, 143 | 30, 35 |
| ring8, grid25, gmm4, moons | points of the plane: features (n, 2)                  |              | 10,000 | 2000   |
| swiss_roll | points of space: features (n, 3); attributes: the place on the roll |              | 10,000 | 2000   |
| mnist, notmnist, fashion, olivetti | real files, or a stand-in: see `real`         |              |        |        |
| celeba   | real files, or a stand-in: see `folders`                              | (3, 64, 64)  | 5000   | 1000   |

The real sets are looked for in `root/NAME`, or else in `$TINYGEN_DATA/NAME` and `~/.cache/tinygen/NAME`. Without them
a stand-in with the same image size and classes is used, and one line on the error stream says so: enlarged `digits`
for mnist, warped `glyphs` for notmnist (the test part from typefaces that training has not seen), drawn `clothes` for
fashion, drawn `faces` of 40 people in grey for olivetti, and in colour for celeba.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygen.backend.random import Generator
from tinygen.data import glyphs as letters
from tinygen.data import mixtures, pictures, real
from tinygen.data.downloads import default_roots
from tinygen.data.folders import CELEBA_IMAGES, CELEBA_TABLE, celeba
from tinygen.data.idx import DataError, MissingDataError, read_idx, refuse
from tinygen.data.pictures import Attributed


class Labelled(NamedTuple):
    """Images (n, channels, height, width), float32 in [0, 1], and labels (n,), int64."""

    images: np.ndarray
    labels: np.ndarray


class Points(NamedTuple):
    """Features (n, d), and labels (n,), int64."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """The part to learn from and the part to judge by; it unpacks into the two.

    Attributes
    ----------
    train, test : Labelled, Attributed (with attributes (n, k), float32, as well) or Points
        All of them tuples of arrays, so that `batch` and `Batches` take them.
    classes : names of the labels; none if labels have no meaning
    attributes : names of the attributes' columns, or of the features'
    source : "real", "stand-in", "embedded" or "drawn"
    """

    train: Any
    test: Any
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    source: str = "embedded"

    def __iter__(self) -> Iterator[Any]:
        return iter((self.train, self.test))


def load(name: str, root: str | os.PathLike | None = None, *, stand_in: bool = True, verify: bool = True) -> Dataset:
    """A data set by name; `names()` lists them.

    Parameters
    ----------
    root : path, optional
        Where to look for real files, instead of $TINYGEN_DATA and ~/.cache/tinygen.
    stand_in : bool
        Whether a stand-in may take the place of real files that are not there; otherwise that is an error.
    verify : bool
        Whether real files must have known SHA-256 sums. Their format is checked in any case.

    Raises
    ------
    DataError
        A file is damaged, or missing: one line that names it, what is wrong, and what to do.

    Examples
    --------
    >>> load("digits").train.images.shape
    (1437, 1, 8, 8)
    >>> train, test = load("iris")
    >>> train.features.shape, test.labels.shape
    ((120, 4), (30,))
    """
    if name in STAND_INS:
        return _real_or_stand_in(name, root, stand_in, verify)
    if name not in LOADERS:
        raise ValueError(f"load: no data set is called {name!r}; there are {', '.join(sorted(names()))}")
    return LOADERS[name][1]()


def names() -> dict[str, str]:
    """Every set's name, with a line that says what it is."""
    return {name: line for table in (LOADERS, STAND_INS) for name, (line, *_) in table.items()}


# ---------------------------------------------------------------- real files


def _real_or_stand_in(name: str, root: str | os.PathLike | None, stand_in: bool, verify: bool) -> Dataset:
    """The real set from the first place that has any of it."""
    roots = default_roots() if root is None else [Path(root)]
    for place in roots if root is not None else roots[:-1]:  # those that somebody has named
        if not place.is_dir():
            refuse(place, "there is no such folder", "correct root= or the environment variable TINYGEN_DATA")
    for place in roots:
        if any((place / name / file).exists() for file in real.FILES.get(name, (CELEBA_IMAGES, CELEBA_TABLE))):
            return _celeba(place / name) if name == "celeba" else _real(name, place / name, verify)
    line, substitute, loader = STAND_INS[name]
    get = f'tinygen.data.download("{name}")' if name in real.SOURCES else real.ELSEWHERE[name]
    places = " or ".join(str(place / name) for place in roots)
    if not stand_in:
        raise MissingDataError(f"{name}: no files in {places}; to get them: {get}")
    print(f"{name}: no files in {places}; {substitute} instead. For the real set: {get}", file=sys.stderr)
    return loader()


def _real(name: str, folder: Path, verify: bool) -> Dataset:
    """The real set from a folder that has it."""
    if name == "olivetti":
        images, labels = _pair(name, folder, real.FACE_IMAGES, real.FACE_LABELS, verify)
        return _by_person(images, labels, "real")
    train = _pair(name, folder, real.TRAIN_IMAGES, real.TRAIN_LABELS, verify)
    test = _pair(name, folder, real.TEST_IMAGES, real.TEST_LABELS, verify)
    return Dataset(Labelled(*train), Labelled(*test), real.CLASSES[name], source="real")


def _pair(name: str, folder: Path, images: str, labels: str, verify: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and their labels, which must fit together."""
    y = _file(name, folder / labels, verify)
    x = _file(name, folder / images, verify)
    if len(x) != len(y):
        fix = f"take both files from one source, or {_fix(name)}"
        refuse(folder / labels, f"it has {len(y)} labels, and {images} has {len(x)} images", fix)
    if int(y.max()) >= len(real.CLASSES[name]):
        classes = len(real.CLASSES[name])
        refuse(folder / labels, f"it has a label {y.max()}, and there are {classes} classes", _fix(name))
    return x[:, None] / np.float32(255), y.astype(np.int64)


def _file(name: str, path: Path, verify: bool) -> np.ndarray:
    """One file; with its sum known its shape is too, and otherwise the number of rows is free."""
    versions = real.FILES[name][path.name]
    fix = _fix(name)
    if not verify:
        return read_idx(path, shape=(None, *versions[0].shape[1:]), fix=fix)
    fix = f"{fix}, or pass verify=False if you trust it"
    shape = (None, *versions[0].shape[1:])
    return read_idx(path, sha256=[v.sha256 for v in versions], sizes=[v.size for v in versions], shape=shape, fix=fix)


def _fix(name: str) -> str:
    if name in real.SOURCES:
        return f'move it away and call tinygen.data.download("{name}")'
    return f"get it again ({real.ELSEWHERE[name]})"


def _by_person(images: np.ndarray, labels: np.ndarray, source: str) -> Dataset:
    """Ten pictures a person, in a row: the last two of each to judge by."""
    late = np.arange(len(labels)) % 10 >= 8
    train, test = (Labelled(images[rows], labels[rows]) for rows in (~late, late))
    return Dataset(train, test, real.CLASSES["olivetti"], source=source)


def _celeba(folder: Path) -> Dataset:
    """The first photographs, colour, 64 × 64."""
    part, names = celeba(folder, 6000)
    train, test = (_rows(part, rows) for rows in (np.arange(5000), np.arange(5000, 6000)))
    return Dataset(train, test, ("not smiling", "smiling"), names, "real")


# ---------------------------------------------------------------- embedded and drawn


def _sklearn(name: str) -> Any:
    """A set that scikit-learn brings with it."""
    try:
        from sklearn import datasets
        from sklearn.datasets import load_digits  # noqa: F401  (so that a broken installation is noticed here)
    except ImportError as error:
        raise ImportError(f"{name} is bundled with scikit-learn, which is not installed: "
                          'pip install "tinygen[demos]"') from error  # fmt: skip
    return getattr(datasets, f"load_{name}")()


def digits() -> Dataset:
    """Handwritten digits, 8 × 8, seventeen grey levels (Alpaydin and Kaynak 1998), as scikit-learn bundles them.

    The split is by a fixed permutation, so that train and test share their writers.
    """
    bunch = _sklearn("digits")
    images = np.asarray(bunch.images / 16, np.float32)[:, None]  # (1797, 1, 8, 8)
    return split(Labelled(images, bunch.target), n_test=360, classes=tuple("0123456789"))


def _measurements(name: str) -> Dataset:
    """Iris or wine, in the units of measurement, float64."""
    bunch = _sklearn(name)
    points = Points(bunch.data, bunch.target)
    return split(points, n_test=len(bunch.data) // 5, classes=tuple(map(str, bunch.target_names)),
                 attributes=tuple(map(str, bunch.feature_names)))  # fmt: skip


def split(part: Any, *, n_test: int, classes: tuple[str, ...] = (), attributes: tuple[str, ...] = ()) -> Dataset:
    """Cut into train and test by a permutation that is always the same for a given number of rows."""
    order = Generator(0).permutation(len(part[0]))
    train, test = (_rows(part, rows) for rows in (order[n_test:], order[:n_test]))
    return Dataset(train, test, classes, attributes)


def _rows(part: Any, rows: np.ndarray) -> Any:
    """Some rows of every array of a tuple; labels become int64."""
    taken = {name: np.ascontiguousarray(array[rows]) for name, array in part._asdict().items()}
    return type(part)(**{**taken, "labels": taken["labels"].astype(np.int64)})


def _glyphs() -> Dataset:
    """The drawings as they are; the test part is of typefaces that the training part does not have."""
    part = Attributed(*letters.drawings())
    unseen = np.isin(part.attributes[:, 0], letters.TEST_TYPEFACES)
    return Dataset(_rows(part, ~unseen), _rows(part, unseen), letters.LETTERS, letters.ATTRIBUTES)


def _drawn(name: str, n_train: int, n_test: int) -> Dataset:
    """The first pictures of a drawn set; those after them to judge by."""
    train, test = pictures.drawn(name, n_train), pictures.drawn(name, n_test, start=n_train)
    kind = pictures.drawing(name)
    return Dataset(train, test, kind.classes, kind.names, "drawn")


def _mixture(name: str) -> Dataset:
    """Points of a mixture, labelled by component."""
    return _points(lambda n, rng: Points(*mixtures.mixture(name).sample_labelled(n, rng)))


def _moons() -> Dataset:
    return _points(lambda n, rng: Points(*mixtures.moons(n, rng)))


def _points(sample: Callable[[int, Generator], Any], attributes: tuple[str, ...] = ()) -> Dataset:
    """Two samples that are always the same, and independent of one another."""
    train, test = Generator(0, stream=0), Generator(0, stream=1)
    return Dataset(sample(10_000, train), sample(2000, test), attributes=attributes, source="drawn")


class Rolled(NamedTuple):
    """Features (n, 3); labels (n,), int64, which turn of the roll; attributes (n, 2), the place along and across."""

    features: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray


def _swiss_roll() -> Dataset:
    def sample(n: int, rng: Generator) -> Rolled:
        x, place = mixtures.swiss_roll(n, rng)
        return Rolled(x, (place[:, 0] > 3 * np.pi).astype(np.int64), place)

    return _points(sample, ("along", "across"))


# ---------------------------------------------------------------- stand-ins


def _for_mnist() -> Dataset:
    """The small digits, enlarged to 20 × 20 in a black frame as MNIST's are."""
    from scipy.ndimage import zoom

    def enlarged(part: Labelled) -> Labelled:
        large = zoom(part.images, (1, 1, 2.5, 2.5), order=1, grid_mode=True, mode="nearest")
        return Labelled(np.pad(large.clip(0, 1), ((0, 0), (0, 0), (4, 4), (4, 4))), part.labels)

    small = digits()
    return Dataset(enlarged(small.train), enlarged(small.test), small.classes, source="stand-in")


def _for_notmnist() -> Dataset:
    """The letters, many times, each time a little different."""

    def grown(part: Attributed, n: int, rng: Generator) -> Labelled:
        rows = rng.integers(0, len(part.labels), n)
        return Labelled(letters.warp(part.images[rows], rng), part.labels[rows])

    few = _glyphs()
    train, test = grown(few.train, 8000, Generator(0)), grown(few.test, 1600, Generator(0, stream=1))
    return Dataset(train, test, few.classes, source="stand-in")


def _for_fashion() -> Dataset:
    train, test = (Labelled(part.images, part.labels) for part in _drawn("clothes", 4000, 1000))
    return Dataset(train, test, real.CLASSES["fashion"], source="stand-in")


def _for_celeba() -> Dataset:
    """Drawn faces, with the attributes that these have; the label is whether the face smiles."""
    both = _drawn("faces", 1500, 300)
    train, test = (part._replace(labels=(part.attributes[:, 0] > 0).astype(np.int64)) for part in both)
    return Dataset(train, test, ("not smiling", "smiling"), both.attributes, "stand-in")


def _for_olivetti() -> Dataset:
    """Forty people with ten expressions each: what a person cannot change is the same in all ten."""
    kind = pictures.drawing("faces")
    a = pictures.attributes("faces", 400, seed=1)
    for column, attribute in enumerate(kind.names):
        if attribute not in ("smile", "mouth_open", "brows", "turn"):
            a[:, column] = np.repeat(a[::10, column], 10)
    a[:, kind.names.index("background")] = 0.6
    grey = np.tensordot(pictures.draw("faces", a), np.array([0.299, 0.587, 0.114], np.float32), (1, 0))[:, None]
    return _by_person(grey.astype(np.float32), np.repeat(np.arange(40), 10), "stand-in")


Loader = Callable[[], Dataset]

LOADERS: dict[str, tuple[str, Loader]] = {
    "digits": ("handwritten digits, 8 x 8, bundled with scikit-learn", digits),
    "iris": ("150 irises of three kinds, four measures each", lambda: _measurements("iris")),
    "wine": ("178 wines of three growers, thirteen measures each", lambda: _measurements("wine")),
    "glyphs": ("letters A to J in 37 typefaces of known style, 28 x 28", _glyphs),
    "faces": ("drawn faces with 16 attributes, 64 x 64", lambda: _drawn("faces", 1500, 300)),
    "scenes": ("drawn landscapes with 14 attributes and captions, 64 x 64", lambda: _drawn("scenes", 1500, 300)),
    "figures": ("drawn people in poses, with joints, 64 x 64", lambda: _drawn("figures", 1500, 300)),
    "shapes": ("one drawn shape with 6 factors, as dSprites, colour, 32 x 32", lambda: _drawn("shapes", 4000, 1000)),
    "clothes": ("drawn garments of ten kinds, grey, 28 x 28", lambda: _drawn("clothes", 4000, 1000)),
    "ring8": ("eight narrow Gaussians on a circle", lambda: _mixture("ring8")),
    "grid25": ("25 narrow Gaussians on a square grid", lambda: _mixture("grid25")),
    "gmm4": ("four overlapping Gaussians (S2 eqs. 5.6-5.8)", lambda: _mixture("gmm4")),
    "moons": ("two half moons in the plane", _moons),
    "swiss_roll": ("a plane rolled up in space", _swiss_roll),
}

STAND_INS: dict[str, tuple[str, str, Loader]] = {
    "mnist": ("70,000 handwritten digits, 28 x 28", "the 1797 small digits of scikit-learn, enlarged,", _for_mnist),
    "notmnist": ("19,000 letters A to J from fonts, 28 x 28", "letters of 37 typefaces, warped,", _for_notmnist),
    "fashion": ("25,000 or 70,000 pictures of clothes, 28 x 28", "drawn garments", _for_fashion),
    "olivetti": ("400 photographs of 40 faces, 64 x 64", "drawn faces", _for_olivetti),
    "celeba": ("photographs of faces with 40 attributes, 64 x 64", "drawn faces with other attributes", _for_celeba),
}

__all__ = ["DataError", "Dataset", "Labelled", "Points", "load", "names"]

"""Data sets by name: images in [0, 1] with their labels, split into a training and a test part once and for all.

| name   | what                                                            | images        | train | test |
|--------|-----------------------------------------------------------------|---------------|-------|------|
| digits | handwritten digits of 43 people, 8 × 8, bundled with scikit-learn | (n, 1, 8, 8) | 1437  | 360  |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygen.backend.random import Generator


class Labelled(NamedTuple):
    """Images (n, channels, height, width), float32 in [0, 1], and labels (n,), int64."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """The part to learn from and the part to judge by."""

    train: Labelled
    test: Labelled


def load(name: str) -> Dataset:
    """A data set by name ("digits").

    Examples
    --------
    >>> load("digits").train.images.shape
    (1437, 1, 8, 8)
    """
    if name not in LOADERS:
        raise ValueError(f"load: no data set is called {name!r}; there are {', '.join(sorted(LOADERS))}")
    return LOADERS[name]()


def digits() -> Dataset:
    """Handwritten digits, 8 × 8, seventeen grey levels (Alpaydin and Kaynak 1998), as scikit-learn bundles them.

    The split is by a fixed permutation, so that train and test share their writers.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('the digits are bundled with scikit-learn, which is not installed: '
                          'pip install "tinygen[demos]"') from error  # fmt: skip
    bunch = load_digits()
    images = np.asarray(bunch.images / 16, np.float32)[:, None]  # (1797, 1, 8, 8)
    return split(images, bunch.target, n_test=360)


def split(images: np.ndarray, labels: np.ndarray, *, n_test: int) -> Dataset:
    """Cut into train and test by a permutation that is always the same for a given number of images."""
    order = Generator(0).permutation(len(images))
    parts = [Labelled(np.ascontiguousarray(images[i]), labels[i].astype(np.int64))
             for i in (order[n_test:], order[:n_test])]  # fmt: skip
    return Dataset(*parts)


LOADERS = {"digits": digits}

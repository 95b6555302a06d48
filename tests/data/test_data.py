"""Data sets are what they claim; the real ones are the real ones, and a stand-in says that it is one."""

from __future__ import annotations

import doctest
import importlib
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygen import data
from tinygen.backend.random import Generator
from tinygen.data import loaders, real


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A machine without any real files, and on which the use of the network is an error."""

    def forbidden(*_, **__):
        raise AssertionError("the network was used")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_digits():
    pytest.importorskip("sklearn", reason="scikit-learn bundles the digits")
    train, test = data.load("digits")
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int64
    assert train.images.min() == 0 and train.images.max() == 1
    assert np.bincount(test.labels, minlength=10).min() >= 25
    rows = {a.tobytes() for a in train.images}
    assert not any(a.tobytes() in rows for a in test.images)
    again = data.load("digits")
    np.testing.assert_array_equal(again.train.labels, train.labels)


@pytest.mark.parametrize("name", ["digits", "iris", "wine"])
def test_without_scikit_learn(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "tinygen\[demos\]"'):
        data.load(name)


@pytest.mark.parametrize("module", sorted(p.stem for p in Path(data.__file__).parent.glob("*.py")))
def test_examples(module):
    """What the docstrings show is what happens."""
    pytest.importorskip("sklearn", reason="scikit-learn bundles the digits")
    assert doctest.testmod(importlib.import_module(f"tinygen.data.{module}")).failed == 0


def test_unknown_name():
    with pytest.raises(ValueError, match="'digitz'.*digits.*mnist"):
        data.load("digitz")


def test_names():
    table = data.names()
    assert {"digits", "iris", "wine", "glyphs", "faces", "scenes", "figures", "shapes", "ring8", "grid25", "gmm4",
            "moons", "swiss_roll", "mnist", "notmnist", "fashion", "olivetti"} <= set(table)  # fmt: skip
    assert all(line and "\n" not in line for line in table.values())


DRAWN = {"faces", "scenes", "figures", "shapes", "clothes"}  # whose own tests draw fewer


@pytest.mark.parametrize("name", sorted(set(loaders.LOADERS) - DRAWN))
def test_every_set_loads(name):
    pytest.importorskip("sklearn", reason="scikit-learn bundles some of them")
    got = data.load(name)
    for part in got:
        assert len({len(array) for array in part}) == 1 and part.labels.dtype == np.int64
        assert np.isfinite(part[0]).all()
        if got.classes:
            assert set(part.labels.tolist()) == set(range(len(got.classes)))
        first = data.batch(part, Generator(0), 4)
        assert [len(a) for a in first] == [4] * len(part)
    if got.attributes:
        columns = got.train.attributes if hasattr(got.train, "attributes") else got.train.features
        assert columns.shape[1] == len(got.attributes)
    np.testing.assert_array_equal(data.load(name).train[0], got.train[0])


@pytest.mark.parametrize("name", ["clothes", "shapes"])
def test_drawn_sets_load(name):
    got = data.load(name)
    assert got.source == "drawn" and got.attributes == data.drawing(name).names
    seen = {i.tobytes() for i in got.train.attributes}
    assert not any(i.tobytes() in seen for i in got.test.attributes)


def test_iris_and_wine():
    pytest.importorskip("sklearn", reason="scikit-learn bundles them")
    iris, wine = data.load("iris"), data.load("wine")
    assert iris.train.features.shape == (120, 4) and wine.test.features.shape == (35, 13)
    assert iris.classes == ("setosa", "versicolor", "virginica") and len(wine.attributes) == 13
    assert iris.train.features.dtype == np.float64  # in the units they were measured in
    assert np.concatenate([p.features for p in wine]).max() == 1680


# ---------------------------------------------------------------- stand-ins


@pytest.mark.parametrize(("name", "size", "classes"), [("mnist", 28, 10), ("notmnist", 28, 10), ("fashion", 28, 10),
                                                       ("olivetti", 64, 40)])  # fmt: skip
def test_stand_ins_say_so_in_one_line(name, size, classes, nothing, capsys):
    pytest.importorskip("sklearn", reason="scikit-learn bundles the digits")
    got = data.load(name)
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and err.startswith(f"{name}: no files in {nothing}")
    assert not list(nothing.iterdir())  # nothing was fetched or made
    assert ("tinygen.data.download" in err) == (name in real.SOURCES) and "instead" in err
    assert got.source == "stand-in" and got.classes == real.CLASSES[name] and len(got.classes) == classes
    for part in got:
        assert isinstance(part, data.Labelled) and part.images.shape[1:] == (1, size, size)
        assert part.images.dtype == np.float32 and part.images.min() >= 0 and part.images.max() <= 1
        assert set(part.labels.tolist()) == set(range(classes))


@pytest.mark.parametrize("name", sorted(loaders.STAND_INS))
def test_without_a_stand_in(name, nothing, capsys):
    with pytest.raises(FileNotFoundError) as error:
        data.load(name, stand_in=False)
    assert isinstance(error.value, data.DataError) and "\n" not in str(error.value)
    assert "to get them" in str(error.value) and not capsys.readouterr().err


def test_stand_ins_can_be_learnt(nothing):
    """Nearest neighbours recognise the test parts, so labels and images belong together."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    for name, at_least in (("mnist", 0.95), ("notmnist", 0.75), ("fashion", 0.95), ("olivetti", 0.9)):
        train, test = data.load(name)
        rows = Generator(0).permutation(len(train.labels))[:1500]
        knn = neighbors.KNeighborsClassifier(1).fit(train.images[rows].reshape(len(rows), -1), train.labels[rows])
        score = knn.score(test.images[:300].reshape(len(test.images[:300]), -1), test.labels[:300])
        assert score > at_least, (name, score)


def test_a_root_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(data.DataError, match="no such folder; correct root="):
        data.load("mnist", tmp_path / "typo")
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "typo"))
    with pytest.raises(data.DataError, match="TINYGEN_DATA"):
        data.load("mnist")


# ---------------------------------------------------------------- the real files

ROOT = os.environ.get("TINYGEN_DATA", "")
COUNTS = {
    ("mnist", "train"): [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    ("mnist", "test"): [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ("notmnist", "train"): [1600] * 10,
    ("notmnist", "test"): [300] * 10,
    ("fashion", "train"): [2000] * 10,
    ("fashion", "test"): [500] * 10,
    ("olivetti", "train"): [8] * 40,
    ("olivetti", "test"): [2] * 40,
}


@pytest.mark.parametrize("name", sorted(real.FILES))
def test_real(name, capsys):
    if not ROOT or not os.path.isdir(os.path.join(ROOT, name)):
        pytest.skip(f"set TINYGEN_DATA to a folder that holds {name}/ to test the real files")
    got = data.load(name, ROOT, stand_in=False)
    assert got.source == "real" and not capsys.readouterr().err
    for which in ("train", "test"):
        part = getattr(got, which)
        counts = np.bincount(part.labels).tolist()
        full = [6000 if which == "train" else 1000] * 10 if name == "fashion" else None
        assert counts in (COUNTS[name, which], full)
        side = 64 if name == "olivetti" else 28
        assert part.images.shape == (sum(counts), 1, side, side) and part.images.dtype == np.float32
        assert 0 <= part.images.min() < 0.005 and 0.93 < part.images.max() <= 1
    if name == "mnist":  # the well-known mean and deviation
        assert got.train.images.mean(dtype=np.float64) == pytest.approx(0.1307, abs=1e-4)
        assert got.train.images.std(dtype=np.float64) == pytest.approx(0.3081, abs=1e-4)

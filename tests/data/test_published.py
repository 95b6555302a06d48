"""Published parameters are the published ones; a damaged, altered or missing file is refused by name, with the fix."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import zipfile

import numpy as np
import pytest

from tinygen import data
from tinygen.data import real

SHAPES = {"weight": (4, 3), "visible_bias": (4,), "hidden_bias": (3,)}
ARRAYS = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
ROOT = os.environ.get("TINYGEN_DATA", "")


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{**ARRAYS, **arrays})
    return buffer.getvalue()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small machine under the name of the large one: its file, and what it holds."""
    stored = npz()
    sum_, known = hashlib.sha256(stored).hexdigest(), real.PARAMETERS["rbm_cd25_500"]
    twin = known._replace(size=len(stored), sha256=sum_, shapes=SHAPES)
    monkeypatch.setitem(real.PARAMETERS, "rbm_cd25_500", twin)
    path = tmp_path / "rbm_cd25_500" / "rbm_cd25_500.npz"
    path.parent.mkdir()
    path.write_bytes(stored)
    return path


def refused(path, **options) -> str:
    """The one line of an error, which names the file and the fix."""
    with pytest.raises(data.DataError) as error:
        data.load_parameters("rbm_cd25_500", path.parents[1], **options)
    message = str(error.value)
    assert "\n" not in message and str(path) in message and "distilling_model_knowledge" in message, message
    return message


def test_a_good_file(small, monkeypatch):
    got = data.load_parameters("rbm_cd25_500", small.parents[1])
    assert list(got) == list(SHAPES)
    for name, array in got.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == np.float32
    monkeypatch.setenv("TINYGEN_DATA", str(small.parents[1]))
    np.testing.assert_array_equal(data.load_parameters("rbm_cd25_500")["weight"], ARRAYS["weight"])


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="rbm_cd25_500.npz; to get it: "):
        data.load_parameters("rbm_cd25_500", tmp_path)
    assert "there is no" in refused(tmp_path / "rbm_cd25_500" / "rbm_cd25_500.npz")
    with pytest.raises(ValueError, match="no model is called 'rbm'; there are rbm_cd25_500"):
        data.load_parameters("rbm")


def test_truncated_and_altered_files(small):
    good = small.read_bytes()
    small.write_bytes(good[:-1])
    assert "truncated or another file" in refused(small)
    altered = bytearray(good)
    altered[len(good) // 2] ^= 1
    small.write_bytes(altered)
    assert "its SHA-256 is" in refused(small)
    assert small.read_bytes() == altered  # nothing is overwritten


BAD = {
    "another shape": (npz(weight=np.ones((3, 4), np.float32)), r"weight is float32 of shape \(3, 4\), wanted"),
    "another type": (npz(weight=ARRAYS["weight"].astype(float)), "weight is float64"),
    "columns first": (npz(weight=np.asfortranarray(ARRAYS["weight"])), "row by row"),
    "pickled": (npz(hidden_bias=np.array([{}] * 3, object)), "hidden_bias is object"),
    "not finite": (npz(hidden_bias=np.full(3, np.nan, np.float32)), "hidden_bias holds numbers that are not finite"),
    "no array": (npz()[: npz().index(b"PK\x03\x04", 10)], "not an NPZ file"),
    "no archive": (b"hello", "not an NPZ file"),
    "empty": (b"", "not an NPZ file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_without_its_sum_a_file_must_still_hold_what_is_wanted(small, kind):
    stored, message = BAD[kind]
    small.write_bytes(stored)
    assert re.search(message, refused(small, verify=False))


def test_a_header_that_promises_more_than_there_is(small):
    """No memory is taken on a header's word."""
    for shape, said in (((2**40, 3), "shape"), ((4, 3), "fewer")):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(small, "w") as archive:
            archive.writestr("weight.npy", header.getvalue())
        assert said in refused(small, verify=False)


def test_a_thousand_damaged_files(small):
    """Whatever is wrong with a file, the error is ours, or its values are as good as any."""
    good, rng = small.read_bytes(), random.Random(0)
    for _ in range(1000):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        small.write_bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.3 else bad)
        try:
            got = data.load_parameters("rbm_cd25_500", small.parents[1], verify=False)
        except data.DataError:
            continue
        assert {name: array.shape for name, array in got.items()} == SHAPES


def test_the_real_file():
    if not ROOT or not os.path.isdir(os.path.join(ROOT, "rbm_cd25_500")):
        pytest.skip("set TINYGEN_DATA to a folder that holds rbm_cd25_500/ to test the real file")
    got = data.load_parameters("rbm_cd25_500", ROOT)
    assert {name: array.shape for name, array in got.items()} == real.PARAMETERS["rbm_cd25_500"].shapes

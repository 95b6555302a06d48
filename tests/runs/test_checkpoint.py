"""`tg.save` gives back what it was given, the same bytes for the same content, and never half a file."""

import os

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import load, save


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            same(a[name], b[name])
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def tree():
    rng = np.random.default_rng(0)
    return {
        "step": 12, "big": 2**64 - 1, "rate": 0.1, "name": "ä", "flag": True, "none": None, "empty": {},
        "layer.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "deep": {"er": {"x": np.array(3.5), "n": np.array(7), "still empty": {}}, "b": np.zeros((0, 2), bool)},
    }  # fmt: skip


def test_round_trip(tmp_path):
    tg.save(tmp_path / "a.safetensors", tree())
    same(tg.load(tmp_path / "a.safetensors"), tree())


def test_any_memory_layout_is_stored_by_its_values(tmp_path):
    x = np.arange(24.0).reshape(2, 3, 4)
    for y in (x.T, x[:, ::-1], np.asfortranarray(x), x[..., 1], x.transpose(1, 0, 2), np.broadcast_to(x[0], x.shape)):
        save(tmp_path / "a", {"y": y})
        np.testing.assert_array_equal(load(tmp_path / "a")["y"], y)


def test_tensors_are_saved_as_arrays(tmp_path):
    save(tmp_path / "a", {"x": tg.tensor([1.0, 2.0], requires_grad=True)})
    np.testing.assert_array_equal(load(tmp_path / "a")["x"], [1, 2])


def test_same_content_same_bytes_wherever(tmp_path):
    (tmp_path / "other").mkdir()
    one, two = tmp_path / "a", tmp_path / "other" / "b"
    save(one, tree())
    save(two, tree())
    assert one.read_bytes() == two.read_bytes()
    assert str(tmp_path).encode() not in one.read_bytes()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    save(tmp_path / "a", {"x": np.ones(3)})

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "a", {"x": np.zeros(3)})
    assert load(tmp_path / "a")["x"].sum() == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_plain_files_of_others_are_read(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "a")
    same(load(tmp_path / "a"), {"w": np.ones(2)})


@pytest.mark.parametrize(
    ("content", "error", "named"),
    [
        ({"a/b": 1}, ValueError, "a/b"),
        ({"a": {1: 2}}, ValueError, "a has the key 1"),
        ({"a": {"b": {3}}}, TypeError, "a/b"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, content, error, named):
    with pytest.raises(error, match=named):
        save(tmp_path / "a", content)

"""`tg.save` gives back what it was given, the same bytes for the same content, and never half a file."""

import os
import sys
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import CheckpointError, Run, load, save
from tinygen.runs.checkpoint import atomically


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
    save_file({"a/b": np.ones(2)}, tmp_path / "b")
    same(load(tmp_path / "b"), {"a/b": np.ones(2)})  # flat, whatever the names


def test_what_is_no_file_or_cannot_be_tried_is_not_called_damaged(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="is not a file"):
        load(tmp_path)
    save(tmp_path / "a", {"w": np.ones(2)})
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match="safetensors"):
        load(tmp_path / "a")


def test_any_order_of_bytes_is_stored_by_its_values(tmp_path):
    save(tmp_path / "a", {"w": np.arange(3, dtype=">f4"), "k": np.arange(3, dtype="<i8")})
    same(load(tmp_path / "a"), {"w": np.arange(3, dtype="f4"), "k": np.arange(3)})


def test_processes_have_temporary_files_of_their_own(tmp_path, monkeypatch):
    with atomically(tmp_path / "a") as mine:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with atomically(tmp_path / "a") as theirs:
            mine.write_text("mine")
            theirs.write_text("theirs")
    assert mine != theirs and os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_takes_no_other_s_place(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError, match="exists"), atomically(tmp_path / "a", new=True) as mine:
        mine.write_text("mine")
        (tmp_path / "a").write_text("theirs")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "theirs"
    with atomically(tmp_path / "b", new=True) as mine:
        mine.write_text("mine")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def refuse(*_paths):
    raise PermissionError("no links on this file system")


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


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """A file with something wrong: cut, flipped, longer, with a header of absurd size, or of another kind."""
    kind = rng.integers(6)
    if kind == 0:
        return whole[: rng.integers(len(whole))]
    if kind == 1:
        place, bit = rng.integers(len(whole)), rng.integers(8)
        return whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
    if kind == 2:
        return whole + rng.bytes(int(rng.integers(1, 50)))
    if kind == 3:
        return int(rng.integers(2**20, 2**62)).to_bytes(8, "little") + whole[8:]
    if kind == 4:
        return rng.bytes(int(rng.integers(200)))
    first, second = sorted(rng.integers(len(whole), size=2))
    return whole[:first] + whole[second:] if first < second else whole[:-1]


def test_a_thousand_damaged_checkpoints_are_refused(tmp_path):
    """Each in one line that names the file, without a great allocation, and the file stays as it was."""
    rng = np.random.default_rng(0)
    whole, path = tmp_path / "whole", tmp_path / "bad.safetensors"
    save(whole, tree())
    whole = whole.read_bytes()
    tracemalloc.start()
    for _ in range(1000):
        broken = damaged(whole, rng)
        path.write_bytes(broken)
        try:
            found = load(path, ours=True)
        except CheckpointError as error:
            assert "bad.safetensors" in str(error) and "\n" not in str(error) and len(str(error)) < 500
        else:
            same(found, tree())  # a change that says nothing, in the header's padding
        assert path.read_bytes() == broken
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_run_refuses_a_damaged_checkpoint(tmp_path):
    """In one line, and without training over it."""
    path = tmp_path / "checkpoint.safetensors"
    save(path, {"step": 1})
    path.write_bytes(path.read_bytes()[:-3])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        next(Run.resume(tmp_path, quiet=True).steps(tg.nn.Linear(1, 1), 3))
    assert load.__module__ == "tinygen.runs.checkpoint" and path.exists()

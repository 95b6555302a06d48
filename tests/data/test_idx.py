"""A damaged file is refused in one line that names it and the fix, with little memory, and nothing is overwritten."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen import data
from tinygen.data import idx as idx_module
from tinygen.data import real

SHAPE = (40, 28, 28)
LABELS = (40,)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A set called mnist, of 40 images, whose files and sums are known."""
    rng = np.random.default_rng(0)
    arrays = {
        real.TRAIN_IMAGES: rng.integers(0, 256, SHAPE).astype(np.uint8) // 16 * 16,
        real.TRAIN_LABELS: (np.arange(40) % 10).astype(np.uint8),
        real.TEST_IMAGES: rng.integers(0, 256, SHAPE).astype(np.uint8),
        real.TEST_LABELS: (np.arange(40) % 10).astype(np.uint8),
    }
    folder = tmp_path / "mnist"
    folder.mkdir()
    versions = {}
    for name, array in arrays.items():
        stored = packed(idx(array))
        (folder / name).write_bytes(stored)
        versions[name] = (real.Version(len(stored), hashlib.sha256(stored).hexdigest(), array.shape),)
    monkeypatch.setitem(real.FILES, "mnist", versions)
    return folder, arrays


def refused(call) -> str:
    """The one line of an error."""
    with pytest.raises(data.DataError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message and len(message) < 600, message
    return message


def test_a_good_set(small):
    folder, arrays = small
    train, test = data.load("mnist", folder.parent)
    np.testing.assert_array_equal(train.images[:, 0], arrays[real.TRAIN_IMAGES] / np.float32(255))
    np.testing.assert_array_equal(test.labels, arrays[real.TEST_LABELS])
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int64


# ---------------------------------------------------------------- a thousand bad ones


def cut(good, rng):
    """Truncated, compressed or not."""
    good = rng.choice([good, zlib.decompress(good, 31)])
    return good[: rng.randrange(len(good))]


def flipped(good, rng):
    """One to four bits changed."""
    bad = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(8 * len(bad))
        bad[at // 8] ^= 1 << at % 8
    return bytes(bad)


def wrong_magic(good, rng):
    content = bytearray(zlib.decompress(good, 31))
    content[rng.randrange(3)] ^= rng.randrange(1, 256)
    return rng.choice([packed, bytes])(bytes(content))


def wrong_dimensions(good, rng):
    content = bytearray(zlib.decompress(good, 31))
    content[3] = rng.choice([i for i in range(256) if i != 3])
    return rng.choice([packed, bytes])(bytes(content))


def wrong_shape(good, rng):
    wrong = [(40, 27, 28), (40, 28, 29), (40,), (40, 784), (40, 28, 28, 1), (28, 40, 28), (0, 28, 28)]
    shape = rng.choice(wrong)
    return rng.choice([packed, bytes])(idx(np.zeros(shape, np.uint8)))


def wrong_count(good, rng):
    """The header has more or fewer images than there are bytes."""
    content = bytearray(zlib.decompress(good, 31))
    content[4:8] = struct.pack(">I", rng.choice([39, 41, 400, 10**6, 2**31, 2**32 - 1]))
    return rng.choice([packed, bytes])(bytes(content))


def huge(good, rng):
    """Sizes that promise exabytes."""
    n = rng.randint(1, 4)
    head = struct.pack(f">HBB{n}I", 0, 8, n, *[rng.randrange(2**28, 2**32) for _ in range(n)])
    return rng.choice([packed, bytes])(head + bytes(rng.randrange(200)))


def bomb(good, rng):
    """A good header, and then megabytes of zeros in a few kilobytes."""
    head = zlib.decompress(good, 31)[:16]
    return packed(head + bytes(rng.randrange(2**21, 2**22)))


def honest_bomb(good, rng):
    """A header that promises the zeros that come: more than are read."""
    return packed(struct.pack(">HBB3I", 0, 8, 3, 2**21, 28, 28) + bytes(2**21))


def forged_bomb(good, rng):
    """The same, and what gzip notes at its end is made to agree with the header."""
    return bomb(good, rng)[:-4] + good[-4:]


def forged_end(good, rng):
    """All the values, and then no sum of gzip's, or a wrong one, or not even the end of the compressed data."""
    pack = zlib.compressobj(wbits=31)
    unfinished = pack.compress(zlib.decompress(good, 31)) + pack.flush(zlib.Z_FULL_FLUSH)
    return rng.choice([good[:-8], good[:-8] + rng.randbytes(4), unfinished]) + good[-4:]


def added(good, rng):
    """More after the end, some of it with an end that agrees with the header."""
    return good + rng.choice([b"\0", b"junk", good, rng.randbytes(99), b"junk" + good[-4:]])


def other_file(good, rng):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    page, picture = b"<html>404 Not Found</html>", b"\x89PNG\r\n\x1a\n" * 9
    return rng.choice([b"", b"\0", b"\x1f\x8b", b"\x1f\x8b\x08", page, picture, pointer, packed(b""),
                       packed(b"hello"), rng.randbytes(rng.randrange(1, 4000))])  # fmt: skip


DAMAGES = [
    cut, flipped, wrong_magic, wrong_dimensions, wrong_shape, wrong_count, huge, bomb, honest_bomb, forged_bomb,
    forged_end, added, other_file,
]  # fmt: skip


def means_the_same(bad: bytes, good: bytes) -> bool:
    """Whether the damage hit nothing but gzip's notes (its date, the name of the system), or only pixels.

    Without a sum such a file cannot be told from a good one, nor need it be.
    """
    try:
        content = gzip.decompress(bad) if bad[:2] == b"\x1f\x8b" else bad
    except (OSError, EOFError, zlib.error):
        return False
    wanted = gzip.decompress(good)
    return len(content) == len(wanted) and content[:16] == wanted[:16]


def test_a_thousand_bad_files(small):
    folder, _ = small
    path = folder / real.TRAIN_IMAGES
    good = path.read_bytes()
    others = {p.name: p.read_bytes() for p in folder.iterdir()}
    rng = random.Random(7)
    seen = dict.fromkeys([d.__name__ for d in DAMAGES], 0)
    tracemalloc.start()
    try:
        for i in range(1000):
            damage = DAMAGES[i % len(DAMAGES)]
            bad = damage(good, rng)
            while bad == good:
                bad = damage(good, rng)
            path.write_bytes(bad)
            verify = i % 3 == 0 or means_the_same(bad, good)
            seen[damage.__name__] += not verify
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            message = refused(lambda v=verify: data.load("mnist", folder.parent, verify=v))
            peak = tracemalloc.get_traced_memory()[1] - before
            assert str(path) in message and 'tinygen.data.download("mnist")' in message, message
            assert peak < 2**20 + 4 * len(bad), (damage.__name__, peak, message)
            assert path.read_bytes() == bad
    finally:
        tracemalloc.stop()
    assert min(seen.values()) > 20, seen  # each kind was often refused by the format alone, without a sum
    path.write_bytes(good)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == others
    assert len(data.load("mnist", folder.parent).train.images) == 40


# ---------------------------------------------------------------- one by one


def test_pieces_that_do_not_fit(small):
    folder, arrays = small
    (folder / real.TRAIN_LABELS).write_bytes(packed(idx(np.zeros(39, np.uint8))))
    message = refused(lambda: data.load("mnist", folder.parent, verify=False))
    assert "39 labels" in message and "40 images" in message
    (folder / real.TRAIN_LABELS).write_bytes(packed(idx(np.full(40, 10, np.uint8))))
    assert "label 10" in refused(lambda: data.load("mnist", folder.parent, verify=False))


def test_a_missing_file_is_not_replaced_by_a_stand_in(small):
    folder, _ = small
    (folder / real.TEST_LABELS).unlink()
    message = refused(lambda: data.load("mnist", folder.parent))
    assert real.TEST_LABELS in message and "no such file" in message
    with pytest.raises(FileNotFoundError):
        data.load("mnist", folder.parent)


def test_not_an_ordinary_file(small):
    folder, _ = small
    path = folder / real.TRAIN_IMAGES
    path.unlink()
    path.mkdir()
    assert "not an ordinary file" in refused(lambda: data.load("mnist", folder.parent))
    path.rmdir()
    os.mkfifo(path)  # reading it would wait for ever
    assert "not an ordinary file" in refused(lambda: data.load("mnist", folder.parent))


def test_a_file_that_cannot_be_opened(small, monkeypatch):
    folder, _ = small

    def failing(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", failing)
    assert "Permission denied" in refused(lambda: data.load("mnist", folder.parent))


def test_a_name_with_a_line_break(tmp_path):
    path = tmp_path / "a\nb.gz"
    path.write_bytes(b"no")
    refused(lambda: data.read_idx(path))


def test_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(idx(np.zeros(100, np.uint8)))
    assert "at most 50" in refused(lambda: data.read_idx(path, limit=50))
    path.write_bytes(packed(idx(np.zeros(1000, np.uint8))))
    assert "at most 500" in refused(lambda: data.read_idx(path, limit=500))


def test_a_file_larger_than_memory_is_not_read(tmp_path):
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.truncate(2**40)  # it takes no room on the disk
    tracemalloc.start()
    try:
        assert "at most" in refused(lambda: data.read_idx(path))
        assert "wanted 7" in refused(lambda: data.read_idx(path, sizes=[7], limit=2**41))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_is_wrong_is_said(tmp_path):
    path = tmp_path / "a"
    good = idx(np.zeros((5, 4), np.uint8))
    for content, words in (
        (good[:-3], "29 bytes long, and its header promises 32"),
        (good[:7], "ends after 7 bytes, within the header"),
        (b"\0\0\x09" + good[3:], "begins with 00000902"),
        (packed(good)[:-1], "truncated, altered, or something was added"),
        (packed(good[:-3])[:-4] + packed(good)[-4:], "compressed data are damaged (incorrect length check)"),
        (bytes(packed(good)) + b"x" * (2**14 - len(packed(good))) + packed(good), "something was added"),
        (packed(good) + packed(good), "something was added"),
    ):
        path.write_bytes(content)
        assert words in refused(lambda: data.read_idx(path)), content


def test_a_sum_is_checked_first(tmp_path, small):
    path = tmp_path / "a"
    path.write_bytes(b"nonsense")
    assert "SHA-256" in refused(lambda: data.read_idx(path, sha256="0" * 64))
    folder, _ = small
    path = folder / real.TRAIN_LABELS
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    assert "verify=False if you trust it" in refused(lambda: data.load("mnist", folder.parent))


def test_a_size_is_checked_first(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"nonsense")
    assert "8 bytes long, wanted 7 or 9" in refused(lambda: data.read_idx(path, sizes=[7, 9]))


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), zipped=st.booleans(), seed=st.integers(0, 99))
def test_what_is_written_is_read(tmp_path, shape, zipped, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / ("a.gz" if zipped else "a")
    data.write_idx(path, array)
    np.testing.assert_array_equal(data.read_idx(path, shape=shape), array)
    first = path.read_bytes()
    data.write_idx(path, array)
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_what_shrinks_a_thousand_times_is_read(tmp_path):
    array = np.zeros((300, 100, 100), np.uint8)
    data.write_idx(tmp_path / "a.gz", array)
    assert (tmp_path / "a.gz").stat().st_size < 5000
    np.testing.assert_array_equal(data.read_idx(tmp_path / "a.gz"), array)


def test_only_bytes_are_written(tmp_path):
    with pytest.raises(ValueError, match="float64.*wanted uint8"):
        data.write_idx(tmp_path / "a", np.zeros(3))
    assert not list(tmp_path.iterdir())


def test_something_added_at_the_edge_of_a_piece(tmp_path):
    """The stream ends exactly where a piece of the file that is unpacked at once does."""
    path = tmp_path / "a"
    array = np.random.default_rng(0).integers(0, 256, 1000).astype(np.uint8)
    plain = packed(idx(array))
    room = 2**14 - len(plain) - 2  # filled by an extra field of gzip's header
    good = plain[:3] + b"\4" + plain[4:10] + struct.pack("<H", room) + bytes(room) + plain[10:]
    assert len(good) == 2**14
    path.write_bytes(good)
    np.testing.assert_array_equal(data.read_idx(path), array)
    path.write_bytes(good + b"junk" + good[-4:])
    assert "something was added" in refused(lambda: data.read_idx(path))


def test_two_processes_write_beside_each_other(tmp_path, monkeypatch):
    """Each has a temporary file of its own, so neither takes the other's away."""
    path, written = tmp_path / "a", os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: written(number) or names.append(*os.listdir(tmp_path)))
    names: list[str] = []
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        idx_module.write_atomically(path, b"b")
        path.unlink()
    assert len(set(names)) == 2 and not os.listdir(tmp_path)

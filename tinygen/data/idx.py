"""The IDX format, read with suspicion: nothing large is allocated before the file has shown that it is there.

An IDX file (LeCun's, of MNIST) is a magic number of four bytes, two zeros, the kind of number (8: unsigned byte)
and the number of dimensions; then the sizes, 32 bits each, most significant byte first; then the values, row by row.
It usually comes compressed by gzip. A file from outside may be cut short, altered, another file, or made to hurt: a
header of 32 bytes can promise exabytes, and a kilobyte of gzip can hold a megabyte of zeros. So the order is: the
sum over the file as it lies, the header, the size that gzip notes at its end, and then the values, never more of
them than the header promised.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

LIMIT = 2**30  # bytes: the largest file, and the largest array, that is read
_CHUNK = 2**18  # bytes decompressed at a time
_MOST_DIMENSIONS = 4
_LEAST_GZIP = 18  # bytes: a header of 10, a trailer of 8


class DataError(ValueError):
    """A data file is missing or not what it should be; the message is one line: the file, what is wrong, the fix."""


class MissingDataError(DataError, FileNotFoundError):
    """A data file is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


def refuse(path: str | os.PathLike, wrong: str, fix: str = "get the file again") -> NoReturn:
    """Raise the error of a file, in one line even if its name has line breaks."""
    raise DataError(" ".join(f"{os.fspath(path)}: {wrong}; {fix}".split()))


def read_idx(
    path: str | os.PathLike,
    *,
    sha256: str | Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    shape: Sequence[int | None] | None = None,
    limit: int = LIMIT,
    fix: str = "get the file again",
) -> np.ndarray:
    """Read an IDX file of unsigned bytes, compressed by gzip or not.

    Parameters
    ----------
    sha256 : str or sequence of str, optional
        The sums that the file as it lies may have.
    sizes : sequence of int, optional
        The numbers of bytes that it may have; cheaper than the sums, and first.
    shape : sequence of int or None, optional
        The shape that is wanted; None stands for any size.
    limit : int
        The most bytes that the file, and its array, may have.
    fix : str
        What to do about a bad file; it ends the message.

    Returns
    -------
    uint8 array, not writable

    Raises
    ------
    DataError
        In one line, with the file's name; `MissingDataError`, which is a `FileNotFoundError` too, if there is none.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.gz"
    >>> write_idx(path, np.arange(6, dtype=np.uint8).reshape(2, 3))
    >>> read_idx(path, shape=(None, 3))
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint8)
    """
    stored = read_bytes(path, limit=limit, sizes=sizes, fix=fix)
    if sha256 is not None:
        check_sum(path, stored, [sha256] if isinstance(sha256, str) else sha256, fix)
    try:
        if stored[:2] == b"\x1f\x8b":
            return _compressed(stored, shape, limit)
        promised, start = _header(stored, shape, limit)
        if len(stored) != start + math.prod(promised):
            raise ValueError(f"it is {len(stored)} bytes long, and its header promises {start + math.prod(promised)}")
        return np.frombuffer(stored, np.uint8, offset=start).reshape(promised)
    except zlib.error as error:
        refuse(path, f"its compressed data are damaged ({str(error).rpartition(': ')[2]})", fix)
    except ValueError as error:
        refuse(path, str(error), fix)


def read_bytes(
    path: str | os.PathLike, *, limit: int = LIMIT, sizes: Sequence[int] | None = None, fix: str = "get the file again"
) -> bytes:
    """All of an ordinary file of at most `limit` bytes, and of one of the sizes."""
    path = Path(path)
    try:
        if not path.is_file():
            if path.exists():
                refuse(path, "it is not an ordinary file", fix)
            raise MissingDataError(f"{path}: there is no such file; {fix}")
        size = path.stat().st_size
        if size > limit:
            refuse(path, f"it is {size} bytes long, and at most {limit} are read", fix)
        if sizes is not None and size not in sizes:
            wanted = " or ".join(map(str, sizes))
            refuse(path, f"it is {size} bytes long, wanted {wanted}: truncated or another file", fix)
        with open(path, "rb") as file:
            return file.read(size)
    except (DataError, FileNotFoundError):
        raise
    except OSError as error:
        refuse(path, f"it cannot be read ({error.strerror or error})", fix)


def check_sum(path: str | os.PathLike, stored: bytes, wanted: Sequence[str], fix: str) -> None:
    """Refuse a file that has none of the wanted SHA-256 sums."""
    found = hashlib.sha256(stored).hexdigest()
    if found not in wanted:
        known = " or ".join(s[:12] + "…" for s in wanted)
        refuse(path, f"its SHA-256 is {found[:12]}…, wanted {known}: altered or another file", fix)


def _header(data: bytes | bytearray, shape: Sequence[int | None] | None, limit: int) -> tuple[tuple[int, ...], int]:
    """The sizes that a header promises, and where the values start."""
    if len(data) < 4:
        raise ValueError(f"it ends after {len(data)} bytes, within the header of IDX: truncated")
    zeros, kind, n_dims = struct.unpack(">HBB", data[:4])
    if zeros or kind != 8 or not 1 <= n_dims <= _MOST_DIMENSIONS:
        raise ValueError(f"it begins with {bytes(data[:4]).hex()}, wanted 000008 and a number of dimensions from 1 to "
                         f"{_MOST_DIMENSIONS}: not an IDX file of bytes")  # fmt: skip
    start = 4 + 4 * n_dims
    if len(data) < start:
        raise ValueError(f"it ends after {len(data)} bytes, within the header of IDX: truncated")
    sizes = struct.unpack(f">{n_dims}I", data[4:start])
    if shape is not None and not fits(sizes, shape):
        raise ValueError(f"its header promises the shape {_shown(sizes)}, wanted {_shown(shape)}")
    if 0 in sizes:
        raise ValueError(f"its header promises the shape {_shown(sizes)}, which holds nothing")
    if math.prod(sizes) > limit:
        raise ValueError(f"its header promises {math.prod(sizes)} bytes, and at most {limit} are read")
    return sizes, start


def _compressed(stored: bytes, shape: Sequence[int | None] | None, limit: int) -> np.ndarray:
    """The array in a gzip file: the header first, then no more than the header promises."""
    unpack = zlib.decompressobj(wbits=31)
    pieces = _unpacked(stored, unpack)
    data = bytearray()
    while len(data) < 4 + 4 * _MOST_DIMENSIONS and (piece := next(pieces, b"")):
        data += piece
    sizes, start = _header(data, shape, limit)
    total = start + math.prod(sizes)
    noted = struct.unpack("<I", stored[-4:])[0] if len(stored) >= _LEAST_GZIP else -1  # gzip's last word, mod 2**32
    if noted != total % 2**32:
        raise ValueError(f"it does not end as a gzip file of the {total} bytes that its header promises: truncated, "
                         "altered, or something was added")  # fmt: skip
    while len(data) <= total and (piece := next(pieces, b"")):
        data += piece
    if not unpack.eof or len(data) != total:
        what = "fewer: truncated" if len(data) <= total else "more"
        raise ValueError(f"its header promises {total} bytes, and it holds {what}")
    array = np.frombuffer(data, np.uint8, offset=start).reshape(sizes)
    array.flags.writeable = False
    return array


def _unpacked(stored: bytes, unpack: Any) -> Iterator[bytes]:
    """What gzip holds, in pieces of at most `_CHUNK` bytes; ends at the end of the stream, or of the file."""
    step = _CHUNK // 16
    for i in range(0, len(stored), step):
        tail = stored[i : i + step]
        while tail and not unpack.eof:
            if piece := unpack.decompress(tail, _CHUNK):
                yield piece
            tail = unpack.unconsumed_tail
        if unpack.eof:
            if unpack.unused_data or i + step < len(stored):
                raise ValueError("its compressed data end before the file does: something was added")
            return


def fits(sizes: Sequence[int], shape: Sequence[int | None]) -> bool:
    """Whether sizes are those wanted, where None is any."""
    return len(sizes) == len(shape) and all(w is None or s == w for s, w in zip(sizes, shape, strict=True))


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def pack_idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file, not compressed."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or not 1 <= array.ndim <= _MOST_DIMENSIONS:
        raise ValueError(f"write_idx: array is {array.dtype} of shape {array.shape}; wanted uint8, 1 to 4 dimensions")
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write an IDX file, compressed if the name ends in .gz; the same array gives the same bytes, and no date."""
    import gzip

    data = pack_idx(array)
    if os.fspath(path).endswith(".gz"):
        buffer = io.BytesIO()
        with gzip.GzipFile("", "wb", 9, buffer, mtime=0) as file:
            file.write(data)
        data = buffer.getvalue()
    write_atomically(path, data)


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Write a file that is there in full or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")  # of its own for each process
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

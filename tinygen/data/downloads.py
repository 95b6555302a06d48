"""Fetch a real set, when asked by name and never otherwise.

A file grows beside its place, under its name and `.part`; it takes its place in one step when all of it is there
and has the sum of the list in `real.py`. What was fetched before a break is kept, and the next attempt asks for the
rest only (`Range`). A file that is there already is checked and not asked for; one that is not what it should be is
never overwritten.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from tinygen.data import real
from tinygen.data.idx import DataError, refuse

_CHUNK = 2**16
_TIMEOUT = 30.0  # seconds without an answer
_ATTEMPTS = 3  # at each address, as long as each brings the file forward


def default_roots() -> list[Path]:
    """Where data lie: the folder that the environment variable TINYGEN_DATA names, and ~/.cache/tinygen."""
    named = os.environ.get("TINYGEN_DATA")
    return [*([Path(named)] if named else []), Path(os.path.expanduser("~/.cache/tinygen"))]


def download(name: str, root: str | os.PathLike | None = None) -> Path:
    """Fetch the files of a set from its publisher or a mirror; verified, resumable, all or nothing.

    Parameters
    ----------
    name : "mnist" or "fashion"
    root : path, optional
        The files go into the folder `name` under it; otherwise under $TINYGEN_DATA or ~/.cache/tinygen.

    Returns
    -------
    Path
        The set's folder.
    """
    if name not in real.SOURCES:
        known = f"there are addresses and sums for {', '.join(sorted(real.SOURCES))}"
        hint = f"; {real.ELSEWHERE[name]}" if name in real.ELSEWHERE else ""
        raise ValueError(f"download: none for {name!r}; {known}{hint}")
    folder = Path(default_roots()[0] if root is None else root) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(folder, f"the folder cannot be made ({error.strerror})", "name another with root=")
    for source in real.SOURCES[name]:
        fetch(source, folder)
    return folder


def fetch(source: real.Source, folder: Path) -> Path:
    """One file, from the first address that has it."""
    path = folder / source.file
    if path.exists():
        if not path.is_file() or _sum(path) != source.sha256:
            refuse(path, "a file that is not the published one is in the way", "move it away and download again")
        return path
    part = folder / f"{source.file}.part"
    troubles: list[str] = []
    for url in source.urls:
        if _from(url, part, source, troubles):
            os.replace(part, path)
            return path
    kept = f", which keeps the {part.stat().st_size} bytes that came" if part.exists() else ""
    raise DataError(" ".join(f"{path}: not downloaded ({'; '.join(troubles)}); try again{kept}".split()))


def _from(url: str, part: Path, source: real.Source, troubles: list[str]) -> bool:
    """Bring the part to its end from one address; whether it is there in full with the right sum."""
    for _ in range(_ATTEMPTS):
        before = _size(part)
        try:
            if before < source.size:
                _append(url, part, source.size)
        except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and broken connections
            troubles.append(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}")
        if _size(part) >= source.size:
            if _size(part) == source.size and _sum(part) == source.sha256:
                return True
            part.unlink()
            troubles.append(f"{url}: it is another file, by its SHA-256 or its size, and was thrown away")
            if before == 0:
                return False
        elif _size(part) <= before:
            troubles.append(f"{url}: nothing came after {before} of {source.size} bytes")
            return False
    troubles.append(f"{url}: broke off at {_size(part)} of {source.size} bytes")
    return False


def _append(url: str, part: Path, size: int) -> None:
    """Ask for what the part lacks, and write what comes, until it is more than the size."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "tinygen", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        given = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        continued = answer.status == 206 and given is not None and int(given[1]) == have
        if answer.status == 206 and not continued:
            raise urllib.error.URLError(f"it answered with another range than from byte {have} on")
        with open(part, "ab" if continued else "wb") as file:  # a server without Range starts from the beginning
            done = have if continued else 0
            for chunk in _shown(iter(lambda: answer.read(_CHUNK), b""), part.stem, size, done):
                file.write(chunk)
                done += len(chunk)
                if done > size:
                    break
            file.flush()
            os.fsync(file.fileno())


def _shown(chunks: Iterable[bytes], name: str, size: int, done: int) -> Iterable[bytes]:
    """The chunks, with a progress bar on a terminal."""
    from tqdm import tqdm

    with tqdm(total=size, initial=done, desc=name, unit="B", unit_scale=True, file=sys.stderr, disable=None) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sum(path: Path) -> str:
    """The SHA-256 of a file, in chunks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

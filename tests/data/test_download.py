"""Downloads: only when asked, resumed, verified, all or nothing. The server is on this machine."""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import threading

import numpy as np
import pytest

from tinygen import data
from tinygen.data import downloads, real

CONTENT = np.random.default_rng(0).bytes(300_000)
SUM = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """The first part of the path says how to answer; /short breaks off after a third of what is asked."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.asked.append((kind, int(asked[1]) if asked else None))
        if kind == "absent":
            self.send_error(404)
            return
        if kind == "endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(2000):
                self.wfile.write(CONTENT[:65536])
                self.server.sent += 65536
            return
        body = {"wrong": CONTENT[::-1], "long": CONTENT * 3, "page": b"<html>sorry</html>"}.get(kind, CONTENT)
        start = int(asked[1]) if asked and kind != "whole" else 0
        self.send_response(206 if start else 200)
        if start:
            shift = 1 if kind == "shifted" else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: max(1, len(body) // 3)] if kind == "short" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.sent = [], 0
        server.handle_error = lambda *_: None  # a client that hangs up
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offer(server, monkeypatch):
    """Make the list say that mnist is one file, to be had in these ways."""
    monkeypatch.setattr(downloads, "_TIMEOUT", 5.0)

    def make(*kinds: str):
        urls = tuple([f"http://127.0.0.1:{server.server_port}/{kind}/file.gz" for kind in kinds])
        source = real.Source("file.gz", len(CONTENT), SUM, urls)
        monkeypatch.setitem(real.SOURCES, "mnist", (source,))

    return make


def files(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("kind", ["range", "whole"])
def test_download(offer, server, tmp_path, kind):
    offer(kind)
    folder = data.download("mnist", tmp_path)
    assert folder == tmp_path / "mnist" and files(folder) == ["file.gz"]
    assert (folder / "file.gz").read_bytes() == CONTENT and server.asked == [(kind, None)]
    data.download("mnist", tmp_path)
    assert len(server.asked) == 1  # a good file is there: nothing is asked for


def test_where_it_goes(offer, tmp_path, monkeypatch):
    offer("range")
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "new"))
    assert data.download("mnist") == tmp_path / "new" / "mnist"
    monkeypatch.delenv("TINYGEN_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.download("mnist") == tmp_path / ".cache" / "tinygen" / "mnist"


@pytest.mark.parametrize(("kind", "start"), [("range", 1000), ("whole", None)])
def test_resumes(offer, server, tmp_path, kind, start):
    offer(kind)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz.part").write_bytes(CONTENT[:1000])
    data.download("mnist", tmp_path)
    assert server.asked == [(kind, 1000)]  # a server without Range answers with the whole
    assert (tmp_path / "mnist" / "file.gz").read_bytes() == CONTENT and files(tmp_path / "mnist") == ["file.gz"]


def test_a_part_that_is_complete(offer, server, tmp_path):
    offer("range")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz.part").write_bytes(CONTENT)
    data.download("mnist", tmp_path)
    assert server.asked == [] and files(tmp_path / "mnist") == ["file.gz"]


@pytest.mark.parametrize("part", [CONTENT[1:] + b"x", CONTENT + b"more", b"rubbish"])
def test_a_bad_part_is_thrown_away(offer, tmp_path, part):
    offer("range")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz.part").write_bytes(part)
    data.download("mnist", tmp_path)
    assert (tmp_path / "mnist" / "file.gz").read_bytes() == CONTENT


def test_truncated_answers(offer, server, tmp_path):
    offer("short")
    with pytest.raises(data.DataError, match=r"file\.gz.*broke off at \d+ of 300000 bytes.*try again.*keeps") as error:
        data.download("mnist", tmp_path)
    assert "\n" not in str(error.value) and files(tmp_path / "mnist") == ["file.gz.part"]
    starts = [start for _, start in server.asked]
    assert starts[0] is None and starts[1:] == sorted(starts[1:]) and len(starts) == 3
    offer("short", "range")  # what came is used, and the second address has the rest
    data.download("mnist", tmp_path)
    assert server.asked[-1][1] > starts[-1] and (tmp_path / "mnist" / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["wrong", "long", "page", "absent"])
def test_a_wrong_file(offer, server, tmp_path, kind):
    offer(kind)
    with pytest.raises(data.DataError, match="not downloaded") as error:
        data.download("mnist", tmp_path)
    assert "\n" not in str(error.value) and len(server.asked) <= 3
    assert not (tmp_path / "mnist" / "file.gz").exists()
    offer(kind, "range")
    data.download("mnist", tmp_path)
    assert (tmp_path / "mnist" / "file.gz").read_bytes() == CONTENT


def test_an_endless_answer(offer, server, tmp_path):
    """No more is taken than the file has, so that it fills neither the disk nor the evening."""
    offer("endless")
    with pytest.raises(data.DataError, match="another file"):
        data.download("mnist", tmp_path)
    assert server.sent < 30_000_000 and not list((tmp_path / "mnist").iterdir())


def test_another_range_than_asked(offer, tmp_path):
    offer("shifted")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz.part").write_bytes(CONTENT[:1000])
    with pytest.raises(data.DataError, match="another range"):
        data.download("mnist", tmp_path)
    assert (tmp_path / "mnist" / "file.gz.part").read_bytes() == CONTENT[:1000]


def test_nobody_answers(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = real.Source("file.gz", 10, SUM, (f"http://127.0.0.1:{port}/file.gz",))
    monkeypatch.setitem(real.SOURCES, "mnist", (source,))
    with pytest.raises(data.DataError, match="not downloaded.*nothing came"):
        data.download("mnist", tmp_path)


def test_what_is_there_is_not_overwritten(offer, server, tmp_path):
    offer("range")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz").write_bytes(b"mine")
    with pytest.raises(data.DataError, match="in the way; move it away"):
        data.download("mnist", tmp_path)
    assert (tmp_path / "mnist" / "file.gz").read_bytes() == b"mine" and server.asked == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "mnist").write_bytes(b"a file")
    with pytest.raises(data.DataError, match="folder cannot be made"):
        data.download("mnist", tmp_path)


@pytest.mark.parametrize("name", ["notmnist", "olivetti", "digitz", "../mnist"])
def test_sets_without_a_source(name, tmp_path):
    with pytest.raises(ValueError, match="fashion, mnist"):
        data.download(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_list(monkeypatch):
    """Every address is literal, ends in the file's name, and its sum is one that `load` accepts."""
    for name, sources in real.SOURCES.items():
        assert [s.file for s in sources] == list(real.FILES[name])
        for source in sources:
            assert all(re.match(r"https?://[^/]+/.*" + re.escape(source.file) + "$", url) for url in source.urls)
            assert (source.size, source.sha256) in [(v.size, v.sha256) for v in real.FILES[name][source.file]]

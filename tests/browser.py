"""A page in headless Chromium, driven over a pipe in its DevTools protocol: no library and no port is needed."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import time

import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
         "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--hide-scrollbars", "--remote-debugging-pipe")  # fmt: skip


def chromium() -> str:
    """The browser's program, or a skip that says why there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or pytest.skip("no Chromium on this machine (apt-get install chromium)")


class Page:
    """A page: `evaluate` asks it, `key`, `press` and `screenshot` do what a reader does.

    `errors` are what its console and its scripts complain of, `requests` the addresses that it fetched.
    """

    def __init__(self, profile, *, width: int = 1200, height: int = 900):
        commands, self._send = os.pipe()
        self._receive, answers = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (commands, answers)]  # clear of 3 and 4
        os.close(commands), os.close(answers)
        self._browser = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"], close_fds=False,
            preexec_fn=lambda: (os.dup2(high[0], 3), os.dup2(high[1], 4)),  # where the protocol wants its pipe
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(high[0]), os.close(high[1])
        self._number, self._rest, self._events, self._session = 0, b"", [], None
        self.errors: list[str] = []
        self.requests: list[str] = []
        try:
            target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        except (BrokenPipeError, EOFError):
            pytest.skip(f"{chromium()} does not start on this machine (exit status {self._browser.wait(20)})")
        self._session = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self.resize(width, height)

    def close(self) -> None:
        self._session = None
        try:
            self("Browser.close")
            self._browser.wait(20)
        finally:
            self._browser.kill()
            os.close(self._send), os.close(self._receive)

    def __call__(self, method: str, **parameters):
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._number:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']['message']}")
                return got["result"]

    def _next(self, seconds: float = 30) -> dict:
        """The next message, noted if it is an event."""
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            if not select.select([self._receive], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError(f"Chromium has said nothing for {seconds} s")
            read = os.read(self._receive, 1 << 16)
            if not read:
                raise EOFError("Chromium has gone")
            self._rest += read
        text, self._rest = self._rest.split(b"\0", 1)
        got = json.loads(text)
        self._note(got.get("method"), got.get("params", {}))
        return got

    def _note(self, method, said) -> None:
        if method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str([a.get("value", a.get("description")) for a in said["args"]]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        self._events.append(method)

    # ---- what a reader does --------------------------------------------------------------------------

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self._events.clear()
        self("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self._next()

    def evaluate(self, script: str):
        """What an expression gives in the page."""
        got = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"]["exception"]["description"])
        return got["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + 60
        while not self.evaluate(script):
            assert time.monotonic() < end, f"{script} has not come true in a minute"
            time.sleep(0.02)

    def key(self, name: str) -> None:
        """Press and release a key."""
        code = {" ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9}[name]
        text = {"text": " "} if name == " " else {}
        self("Input.dispatchKeyEvent", type="keyDown", key=name, windowsVirtualKeyCode=code, **text)
        self("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def press(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click into an element, at a share of its width and height."""
        box = self.evaluate(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
                            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
                            "return [b.left, b.top, b.width, b.height]; })()")  # fmt: skip
        where = {"x": box[0] + x * box[2], "y": box[1] + y * box[3], "button": "left", "clickCount": 1}
        self("Input.dispatchMouseEvent", type="mousePressed", buttons=1, **where)
        self("Input.dispatchMouseEvent", type="mouseReleased", buttons=0, **where)

    def resize(self, width: int, height: int, *, scale: float = 1, mobile: bool = False) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def prefer(self, **features: str) -> None:
        """The reader's settings, such as color_scheme="dark"."""
        found = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self("Emulation.setEmulatedMedia", features=found)

    def png(self, *, whole: bool = False) -> bytes:
        """The window, or the whole page, as a PNG file."""
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pixels(self) -> np.ndarray:
        """The window's pixels, (h, w, 3) in [0, 1]."""
        from matplotlib.image import imread

        return imread(io.BytesIO(self.png()))[..., :3]

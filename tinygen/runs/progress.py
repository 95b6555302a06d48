"""How far a loop is: a bar on a terminal, a line for each tenth of it elsewhere (logs, notebooks' files, CI)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

from tqdm import tqdm

LINES = 10


class Progress:
    """A display of step numbers from `start` up to n; `show` is cheap enough for every step."""

    def __init__(self, n: int, start: int = 0, *, quiet: bool = False):
        self.n, self.start, self.quiet = n, start, quiet
        self.began = self._drawn = time.monotonic()
        self.bar = tqdm(total=n, initial=start, leave=True) if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, step: int, numbers: Callable[[], dict[str, float]]) -> None:
        """A step is done; `numbers` gives what to write beside it, and is called only when it is drawn."""
        if self.bar is not None:
            now = time.monotonic()
            if now - self._drawn > 0.2 or step == self.n:
                self._drawn = now
                self.bar.set_postfix_str(text(numbers()), refresh=False)
                self.bar.update(step - self.bar.n)
        elif not self.quiet and (step == self.n or step * LINES // self.n > (step - 1) * LINES // self.n):
            seconds = time.monotonic() - self.began
            print(f"step {step}/{self.n}  {text(numbers())}  {seconds:.1f} s", flush=True)


def text(numbers: dict[str, float]) -> str:
    """Names and numbers in four figures."""
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())

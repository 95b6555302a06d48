"""The log of a run: one row a step, one column a quantity, in a CSV file that any tool reads.

Rows are buffered and written about once a second. A quantity that appears later gets a new column, empty above.
Numbers have nine significant digits, which is all of a float32.
"""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

from tinygen.autograd import Tensor
from tinygen.runs.checkpoint import atomically

WRITE_EVERY = 1.0  # seconds


class Metrics:
    """The rows of `path`, a CSV file whose first column is `step`; None keeps the last row only.

    Attributes
    ----------
    latest : the last row, {name: number}
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.columns: list[str] = ["step"]
        self.latest: dict[str, Any] = {}
        self._waiting: list[dict[str, Any]] = []
        self._written = time.monotonic()
        if path is not None and path.exists():
            self.columns = _read(path)[0]

    def log(self, step: int, scalars: dict[str, Any]) -> None:
        """Add to the row of a step."""
        if "step" in scalars:
            raise ValueError("log: step is the first column already; another name is wanted")
        scalars = {name: _plain(name, value) for name, value in scalars.items()}
        if self.latest.get("step") == step and (self._waiting or self.path is None):
            self.latest.update(scalars)
        else:
            self.latest = {"step": step, **scalars}
            if self.path is not None:
                self._waiting.append(self.latest)
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write(keep_open=True)

    def numbers(self) -> dict[str, float]:
        """The last row as numbers, without the step."""
        return {name: float(value) for name, value in self.latest.items() if name != "step"}

    def write(self, *, keep_open: bool = False) -> None:
        """Put waiting rows into the file; `keep_open` holds the last one back, which may still grow."""
        rows, self._waiting = (self._waiting[:-1], self._waiting[-1:]) if keep_open else (self._waiting, [])
        self._written = time.monotonic()
        if self.path is None or not rows:
            return
        new = [name for row in rows for name in row if name not in self.columns]
        if new or not self.path.exists():
            old = _read(self.path)[1] if self.path.exists() else []
            self.columns += list(dict.fromkeys(new))
            self._rewrite(old)
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            _writer(file, self.columns).writerows([_texts(row) for row in rows])
            file.flush()
            os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Drop every row after `step`, and a last one that was cut short."""
        if self.path is not None and self.path.exists():
            self.columns, rows = _read(self.path)
            self._rewrite([row for row in rows if int(row["step"]) <= step])

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """The file anew, with these rows and the present columns."""
        assert self.path is not None
        with atomically(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = _writer(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)


def read_metrics(path: str | os.PathLike) -> dict[str, list[float]]:
    """The columns of a metrics file: {name: numbers}, NaN where a row has none."""
    columns, rows = _read(Path(path))
    return {name: [float(row[name] or "nan") for row in rows] for name in columns}


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Column names and complete rows; a line without its end was cut short by a crash."""
    text = path.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines()
    reader = csv.reader(lines)
    columns = next(reader, ["step"])
    return columns, [dict(zip(columns, row, strict=True)) for row in reader if len(row) == len(columns)]


def _writer(file: Any, columns: list[str]) -> csv.DictWriter:
    return csv.DictWriter(file, columns, restval="", lineterminator="\n")


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name == "step" else f"{float(value):.9g}" for name, value in row.items()}


def _plain(name: str, value: Any) -> Any:
    """A number, or (on a GPU, where a number would wait for the device) a copy of the one-element array."""
    value = value._data if isinstance(value, Tensor) else value
    if getattr(value, "size", 1) != 1:
        raise ValueError(f"log: {name} has shape {value.shape}; one number is wanted (take a mean)")
    return value.copy() if hasattr(value, "get") else float(value)

"""Switches: `no_grad`, and `detect_anomaly`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tinygen.autograd.graph import mode


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside: results of Tensors are Tensors without a past. Also a decorator; per thread."""
    before, mode.record = mode.record, 0
    try:
        yield
    finally:
        mode.record = before


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Stop at the first NaN or Inf, in a value or in a gradient, naming the operation and the line that called it.

    Inside, every operation also remembers its file and line, which `explain` shows. Slow: it looks at every number.
    """
    before = mode.record, mode.anomaly
    mode.record, mode.anomaly = 2, True
    try:
        yield
    finally:
        mode.record, mode.anomaly = before


@contextlib.contextmanager
def call_sites() -> Iterator[None]:
    """Remember the file and line of every operation inside, for `explain`."""
    before, mode.record = mode.record, 2
    try:
        yield
    finally:
        mode.record = before

"""Switches: `no_grad`, `detect_anomaly`, and `call_sites`. Each holds for this thread, as a `with` or a decorator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tinygen.autograd.graph import mode, switches


@contextlib.contextmanager
def _switched(record: int, anomaly: bool) -> Iterator[None]:
    before, switch = (mode.record, mode.anomaly), object()
    mode.record, mode.anomaly = record, anomaly
    switches.append(switch)
    try:
        yield
    finally:
        switches.remove(switch)
        mode.record, mode.anomaly = before


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Record nothing inside: results of Tensors are Tensors without a past."""
    return _switched(0, mode.anomaly)


def detect_anomaly() -> contextlib.AbstractContextManager[None]:
    """Stop at the first NaN or Inf, in a value or in a gradient, naming the operation and the line that called it.

    Inside, every operation also remembers its file and line. Slow: it looks at every number.
    """
    return _switched(2 if mode.record else 0, True)


def call_sites() -> contextlib.AbstractContextManager[None]:
    """Remember the file and line of every operation inside, for `explain`."""
    return _switched(2 if mode.record else 0, mode.anomaly)

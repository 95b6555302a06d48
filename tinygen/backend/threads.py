"""Work shared out among threads: NumPy lets go of Python's lock while it computes.

A convolution treats its samples one by one, so two threads may have a half each, with all that happens to it: windows
are gathered, multiplied and added up by the thread that will use them, and stay in its core's cache. BLAS by itself can
only split the products, and while its threads wait for the next one they keep the cores from everybody else. So there
is one team at a time: with `set_threads(2)` it is ours, which also splits large products, and BLAS has one thread. By
default there is none, and BLAS does as it likes.

For a given number of threads results are the same at every run; those of two numbers differ by rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

#: products and sums from which on work is shared out: to hand a part over takes about as long as two millions
WORTHWHILE = 1e7

#: what an element of a ufunc is worth in them
ELEMENTWISE = 20


class _Team:
    """Who works: helpers, one less than there are threads, since the one that asks works too."""

    size = 1
    helpers: ThreadPoolExecutor | None = None
    alone: list[tuple[Any, int]] = []  # noqa: RUF012  the BLAS libraries, and how many threads they had


class _Here(threading.local):
    sharing = False  # whether this thread works on a part already


_here = _Here()


def set_threads(n: int) -> None:
    """Let n threads share large computations on the CPU, in place of BLAS's own; 1 sends them home.

    That pays for convolutions, batch norm, and compiled steps on large arrays; nets of small matrix products are
    better off with BLAS's threads. Results for two numbers of threads differ by rounding. Without threadpoolctl (part
    of the extra `demos`), by which BLAS is told, there is only one thread.

    >>> set_threads(2)
    >>> set_threads(1)
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_threads: n is {n!r}; a number of threads, at least 1, is wanted")
    if _Team.helpers is not None:
        _Team.helpers.shutdown()
    for library, before in _Team.alone:
        library.set_num_threads(before)
    _Team.size, _Team.helpers, _Team.alone = 1, None, []
    if n > 1 and _blas():
        _Team.size, _Team.helpers = n, ThreadPoolExecutor(n - 1)
        _Team.alone = [(library, library.num_threads) for library in _blas()]
        for library in _blas():
            library.set_num_threads(1)


def threads() -> int:
    """How many threads share large computations."""
    return 1 if _here.sharing else _Team.size


def pays(operations: float) -> bool:
    """Whether so many products and sums are worth sharing out."""
    return operations >= WORTHWHILE


def shared(work: Callable[[slice], Any], n: int, operations: float) -> list[Any]:
    """`work` on consecutive parts of n things, each in a thread of its own if that pays; what it gives for each.

    Parameters
    ----------
    work : called with a slice of the things; different slices must not write to the same memory
    operations : about how many products and sums all of them take
    """
    k = min(threads(), n) if pays(operations) else 1
    if k < 2 or _Team.helpers is None:
        return [work(slice(0, n))]
    first, *rest = [slice(n * i // k, n * (i + 1) // k) for i in range(k)]
    others = [_Team.helpers.submit(_part, work, cut) for cut in rest]
    try:
        mine = _part(work, first)
    finally:
        found = [future.result() for future in others]
    return [mine, *found]


def _part(work: Callable[[slice], Any], cut: slice) -> Any:
    """One thread's part, of which nothing is shared out again."""
    _here.sharing = True
    try:
        return work(cut)
    finally:
        _here.sharing = False


@cache
def _blas() -> list[Any]:
    """The BLAS libraries of this process, if they can be told how many threads to have."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return []
    return ThreadpoolController().select(user_api="blas").lib_controllers

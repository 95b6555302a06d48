r"""Keeping freed memory, for speed: what fresh memory costs, and a way round it.

A large array that is freed goes back to the operating system at once, and the next one is fetched from it page by page,
which costs more than the arithmetic. With memory kept, the steps of `benchmarks` take a tenth less time (convolutions)
to a half (a chain of operations on a million numbers). PyTorch is on the same allocator, and gains up to a third.

`keep_freed_memory` tells the C library (glibc, hence Linux only) to keep what was freed for the next array. It holds
for the whole process, and the process' memory no longer shrinks; so it is for programs to ask for, never for a library
to set. The environment variables MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ do the same from
outside.
"""

from __future__ import annotations

import ctypes

_SETTINGS = {-3: 2**30, -1: 2**31 - 1, -2: 2**26}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD, from malloc.h


def keep_freed_memory() -> bool:
    """Keep freed memory for the next array, from now on; says whether the C library understood."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; on Windows there is no library called None
        return False
    return all([mallopt(name, value) == 1 for name, value in _SETTINGS.items()])

"""How many threads a matrix product may use.

BLAS splits even small products over all cores. With matrices of a few hundred rows that gains nothing on a free
machine, and on a busy one its threads wait for each other: a step of a small VAE was seen to take ten times as long.
"""

from __future__ import annotations

import contextlib


def blas_threads(n: int) -> contextlib.AbstractContextManager:
    """Inside, products use at most n threads; without threadpoolctl (part of the extra `demos`) nothing changes."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(n, user_api="blas")

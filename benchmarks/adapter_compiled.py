"""The steps of `adapter`, each given to `tg.compile`: recorded at its first two calls, replayed from then on.

The Boltzmann machine and the classical models are not among them: they have no graph to be rid of.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # for those that load this file alone

import tinygen as tg
from benchmarks import adapter

WITHOUT = {"rbm", "gmm", "kde", "kmeans"}


def backend(threads: int) -> dict[str, Callable[[], adapter.Step]]:
    """The builders by workload."""
    return {name: compiled(build) for name, build in adapter.backend(threads).items() if name not in WITHOUT}


def compiled(build: Callable[[], adapter.Step]) -> Callable[[], adapter.Step]:
    """A builder whose step has been recorded."""

    def make() -> adapter.Step:
        step = tg.compile(build())
        step(), step()
        return step

    return make

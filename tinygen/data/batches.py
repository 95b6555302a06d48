"""Minibatches: at random with replacement, or in epochs; both resume exactly.

`batch` is the documents' step "sample $i \\in \\{1, ..., n\\}$": its only state is the generator's. `Batches` goes
through a fresh permutation in every epoch, so that every example is seen equally often; its state is the
generator's at the start of the epoch, and how far it has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygen.backend.random import Generator


def batch(x: Any, rng: Generator, size: int) -> Any:
    """Draw `size` rows of x, each independently and equally likely.

    Parameters
    ----------
    x : array (n, ...), or a tuple of arrays with n rows each, which are drawn together
    """
    first = x[0] if isinstance(x, tuple) else x
    rows = rng.integers(0, len(first), size)
    return tuple([a[rows] for a in x]) if isinstance(x, tuple) else x[rows]


class Batches:
    """Row numbers for minibatches, in epochs: every row once, in a new order each time.

    Parameters
    ----------
    n : how many rows there are
    size : how many make a batch; what is left over at the end of an epoch is left out
    rng : draws the orders

    Examples
    --------
    >>> batches = Batches(5, 2, Generator(0))
    >>> len({*batches(), *batches()})
    4
    """

    def __init__(self, n: int, size: int, rng: Generator):
        if not 1 <= size <= n:
            raise ValueError(f"Batches: size must be from 1 to the {n} rows there are, got {size!r}")
        self.n, self.size, self.rng = n, size, rng
        self._begin()

    def _begin(self) -> None:
        """Draw the order of an epoch, and note what it was drawn from."""
        self._drawn_from, self._done = self.rng.state, 0
        self._order = self.rng.permutation(self.n)

    def __call__(self) -> Any:
        """The next batch's row numbers, (size,) int64."""
        if self._done + self.size > self.n:
            self._begin()
        self._done += self.size
        return self._order[self._done - self.size : self._done]

    def state_dict(self) -> dict[str, Any]:
        """The generator's state at the start of the epoch and now, and the number of rows given since."""
        return {"drawn_from": self._drawn_from, "rng": self.rng.state, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the state was taken."""
        self.rng.load_state_dict(state["drawn_from"])
        self._begin()
        self._done = int(state["done"])
        self.rng.load_state_dict(state["rng"])

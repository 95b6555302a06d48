"""Minibatches: at random with replacement, in epochs, or in order; all of them resume exactly.

`batch` is the documents' step "sample $i \\in \\{1, ..., n\\}$": its only state is the generator's. `Batches` goes
through a fresh permutation in every epoch, so that every example is seen equally often; its state is the
generator's at the start of the epoch, and how far it has come. `in_order` is for evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygen.backend.random import Generator
from tinygen.backend.recording import whole


@whole
def batch(x: Any, rng: Generator, size: int) -> Any:
    """Draw `size` rows of x, each independently and equally likely.

    Parameters
    ----------
    x : array (n, ...), or a tuple of arrays with n rows each, which are drawn together
    """
    if size < 1:
        raise ValueError(f"batch: size must be at least 1, got {size!r}")
    rows = rng.integers(0, _length("batch", x), size)
    return take(x, rows)


def in_order(x: Any, size: int) -> Iterator[Any]:
    """All rows of x in their order, `size` at a time; the last batch may be shorter.

    Parameters
    ----------
    x : array (n, ...), or a tuple of arrays with n rows each
    """
    n = _length("in_order", x)
    if size < 1:
        raise ValueError(f"in_order: size must be at least 1, got {size!r}")
    return (take(x, slice(i, i + size)) for i in range(0, n, size))


def take(x: Any, rows: Any) -> Any:
    """Rows of an array, or of each array of a tuple."""
    return tuple([a[rows] for a in x]) if isinstance(x, tuple) else x[rows]


def _length(function: str, x: Any) -> int:
    """How many rows there are, the same in every array."""
    if not isinstance(x, tuple):
        return len(x)
    lengths = {len(a) for a in x}
    if len(lengths) != 1:
        raise ValueError(f"{function}: the arrays have {', '.join(str(len(a)) for a in x) or 'no'} rows; "
                         "wanted the same number in each")  # fmt: skip
    return lengths.pop()


class Batches:
    """Minibatches in epochs: every row once, in a new order each time.

    Parameters
    ----------
    x : how many rows there are; or an array (n, ...), or a tuple of arrays with n rows each, kept in step
    size : how many rows make a batch
    rng : draws the orders
    drop_last : bool
        Whether what is left over at the end of an epoch is left out; otherwise it makes a shorter batch.

    Attributes
    ----------
    epoch : int
        The number of epochs begun before this one.

    Examples
    --------
    >>> batches = Batches(5, 2, Generator(0))
    >>> len({*batches(), *batches()})
    4
    >>> import numpy as np
    >>> x = np.arange(5)
    >>> [len(part) for part, squares in Batches((x, x**2), 2, Generator(0), drop_last=False).rest()]
    [2, 2, 1]
    """

    def __init__(self, x: Any, size: int, rng: Generator, *, drop_last: bool = True):
        alone = isinstance(x, int | np.integer)
        self._x = None if alone else x
        self.n = int(x) if alone else _length("Batches", x)
        if not 1 <= size <= self.n:
            raise ValueError(f"Batches: size must be from 1 to the {self.n} rows there are, got {size!r}")
        self.size, self.rng, self.drop_last, self.epoch = size, rng, drop_last, 0
        self._begin()

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self.n // self.size if self.drop_last else -(-self.n // self.size)

    def _begin(self) -> None:
        """Draw the order of an epoch, and note what it was drawn from."""
        self._drawn_from, self._done = self.rng.state, 0
        self._order = self.rng.permutation(self.n)

    def _over(self) -> bool:
        """Whether the epoch has no further batch."""
        return self._done + (self.size if self.drop_last else 1) > self.n

    def __call__(self) -> Any:
        """The next batch: row numbers, (size,) int64, or rows of the arrays; after an epoch the next one begins."""
        if self._over():
            self.epoch += 1
            self._begin()
        rows = self._order[self._done : self._done + self.size]
        self._done += len(rows)
        return rows if self._x is None else take(self._x, rows)

    def rest(self) -> Iterator[Any]:
        """The batches of this epoch that are still to come; all of a new one, if it is over."""
        yield self()
        while not self._over():
            yield self()

    def state_dict(self) -> dict[str, Any]:
        """The generator's state at the start of the epoch and now, the rows given since, and what they are of."""
        return {"drawn_from": self._drawn_from, "rng": self.rng.state, "done": self._done, "epoch": self.epoch,
                "n": self.n}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the state was taken."""
        if int(state["n"]) != self.n:
            raise ValueError(f"Batches: the state is of {int(state['n'])} rows, and there are {self.n}; resume with "
                             "the same data")  # fmt: skip
        if not 0 <= int(state["done"]) <= self.n:
            raise ValueError(f"Batches: the state says that {int(state['done'])} of {self.n} rows were given")
        self.rng.load_state_dict(state["drawn_from"])
        self._begin()
        self._done, self.epoch = int(state["done"]), int(state["epoch"])
        self.rng.load_state_dict(state["rng"])

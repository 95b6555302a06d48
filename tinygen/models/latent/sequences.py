"""Sequences of unequal length side by side: in order of length and of time, so that nothing is padded or masked.

A recursion over time is one operation on many sequences at each step. If they stand in order of length, the longest
first, those that still run at time $t$ are the first $n_t$ of them. So the observations are kept as columns: the first
ones of all sequences, then the second ones of those that have one, and so on; a step in time is then a slice.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from tinygen.backend import arrays as backend


class Block(NamedTuple):
    """Some sequences: the first observations of all, then the second ones of those that have one, and so on.

    The longest sequence stands first. So the observations at time t are those of the first `running[t]` sequences.

    Attributes
    ----------
    x : (N,) or (N, d)
    running : $n_1 \\ge n_2 \\ge \\dots$, as many as the longest sequence has observations
    owner : (N,), the sequence (in the block's order) that an observation belongs to
    last : (n,), where the last observation of each sequence stands
    order : (n,), on the host: the number that each sequence has in the data
    """

    x: Any
    running: list[int]
    owner: Any
    last: Any
    order: np.ndarray


def pack(sequences: list[np.ndarray], order: np.ndarray, device: str) -> Block:
    """The sequences of these numbers, from the longest to the shortest, as a Block."""
    lengths = np.array([len(sequences[i]) for i in order])
    running = np.searchsorted(-lengths, -np.arange(lengths[0]))  # (T,): how many are longer than t; lengths fall
    starts, places, owner = _places(lengths, running)
    together = np.concatenate([sequences[i] for i in order])
    x, whose = np.empty_like(together), np.empty_like(owner)
    x[places], whose[places] = together, owner
    last = starts[lengths - 1] + np.arange(len(order))
    x, whose, last = (backend.asarray(a, device=device) for a in (x, whose, last))
    return Block(x, running.tolist(), whose, last, order)


def _places(lengths: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each time begins, (T,); and of the observations, sequence after sequence, the place and the sequence."""
    starts = np.cumsum(running) - running
    owner = np.repeat(np.arange(len(lengths)), lengths)
    time = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return starts, starts[time] + owner, owner


def unpack(values: np.ndarray, block: Block) -> dict[int, np.ndarray]:
    """What a block has for each observation, (N, ...) on the host, by the number of the sequence."""
    running = np.array(block.running)
    lengths = np.searchsorted(-running, -np.arange(running[0]))  # (n,)
    _, places, _ = _places(lengths, running)
    parts = np.split(values[places], np.cumsum(lengths)[:-1])
    return {int(i): part for i, part in zip(block.order, parts, strict=True)}


class Sequences:
    """Checked sequences in blocks of at most `most` observations (or one sequence), which bounds the memory."""

    def __init__(self, sequences: list[np.ndarray], device: str, most: int):
        lengths = np.array([len(s) for s in sequences])
        order = np.argsort(-lengths, kind="stable")
        cuts, filled = [0], 0
        for k, i in enumerate(order):
            if filled and filled + lengths[i] > most:
                cuts.append(k)
                filled = 0
            filled += lengths[i]
        self.n, self.longest = len(sequences), int(lengths.max())
        self.blocks = [pack(sequences, part, device) for part in np.split(order, cuts[1:])]

    def __len__(self) -> int:
        return self.n


def steps(running: list[int]) -> list[tuple[slice, slice]]:
    """For t = 2, ..., T: where the sequences that reach t stand at t - 1, and where at t."""
    found, start = [], 0
    for before, now in itertools.pairwise(running):
        found.append((slice(start, start + now), slice(start + before, start + before + now)))
        start += before
    return found

"""What the estimates share that keep their examples: which points they take, and how they are saved and loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.models.model import Model


class WithExamples(Model):
    """Base of the estimates that remember every example.

    Attributes
    ----------
    n_features : $d$
    examples : (n, d), float64; none before `fit`
    """

    n_features: int
    examples: tg.Tensor

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`, however many examples it holds."""
        mine, shape = self.examples, tuple(getattr(state.get("examples"), "shape", ()))
        if shape[1:] == mine.shape[1:]:
            self.register_buffer("examples", tg.zeros(shape, dtype="float64", device=mine.device))
        try:
            super().load_state_dict(state)
        except ValueError:
            self.register_buffer("examples", mine)
            raise

    def checked(self, x: Any) -> Any:
        """x as (n, d) float64 on the model's device, all of it finite, or an error that says what is wrong."""
        x, kind = backend.asarray(x, "float64", self.examples.device), type(self).__name__
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"{kind}: x has shape {x.shape}; at least one row of {self.n_features} features is wanted "
                             "(x.reshape(-1, 1) for numbers)")  # fmt: skip
        largest = float(abs(x).max())
        if not largest < math.sqrt(np.finfo("float64").max) / 1e3:
            raise ValueError(f"{kind}: x has values up to {largest:g}; numbers whose squares are finite are wanted "
                             "(leave out rows with nan, or rescale)")  # fmt: skip
        return x

    def _fitted(self) -> None:
        """Refuse to answer before there are examples."""
        if not len(self.examples):
            raise RuntimeError(f"{type(self).__name__}: no examples yet; call fit first")

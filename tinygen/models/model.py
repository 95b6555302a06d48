"""What every chapter's model is: a Module whose state holds all that its training needs to go on.

`Module.state_dict` gives weights and buffers. A model also keeps, as attributes, what moves the weights: an
optimiser, a Generator, a schedule. Whatever attribute answers `state_dict` and `load_state_dict` is saved with
the weights under its name, so that adding one is all it takes to resume exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygen import nn
from tinygen.backend import arrays as backend


def require_finite(name: str, x: Any) -> None:
    """Refuse a raw array with NaN or infinite entries; the error names it, and the first row that has one."""
    bad = ~backend.array_module(x).isfinite(x)
    if bool(bad.any()):
        rows = bad.reshape(len(x), -1).any(1)
        raise ValueError(f"{name} has NaN or infinite values in {int(rows.sum())} of {len(x)} rows, the first in row "
                         f"{int(rows.argmax())}; finite numbers are wanted (drop or fill these rows)")  # fmt: skip


class Model(nn.Module):
    """A Module whose `state_dict` includes its optimisers, generators and other attributes that have a state."""

    def _keepers(self) -> dict[str, Any]:
        """The attributes with a state of their own, by name; modules are in the tree already."""
        return {name: value for name, value in vars(self).items()
                if hasattr(value, "load_state_dict") and not isinstance(value, nn.Module)}  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by path, and a dictionary for each optimiser, generator and the like."""
        return {**super().state_dict(), **{name: keeper.state_dict() for name, keeper in self._keepers().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`.

        An attribute's state or a weight that is missing or unexpected is refused by name, before anything changes; a
        state that an attribute itself refuses leaves the weights loaded.
        """
        keepers = self._keepers()
        missing = [name for name in keepers if name not in state]
        if missing:
            raise ValueError(f"{type(self).__name__}.load_state_dict: nothing was changed, since the state of "
                             f"{', '.join(missing)} is missing")  # fmt: skip
        super().load_state_dict({path: value for path, value in state.items() if path not in keepers})
        for name, keeper in keepers.items():
            keeper.load_state_dict(state[name])

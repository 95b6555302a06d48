r"""Averages of the parameters over the steps: less noise than the parameters themselves.

Near the optimum, stochastic steps wander about it. The mean of the places visited is nearer to it than the last one:
with steps that fall more slowly than $1/t$, the mean of all of them,

$$ \bar\theta_t = \bar\theta_{t-1} + \frac1t (\theta_t - \bar\theta_{t-1})
   = \frac1t \sum_{s=1}^t \theta_s, \tag{1} $$

has the least variance any such method can have (Polyak and Juditsky 1992). It never forgets the start, so that for
networks, and for GANs, whose game has no rest point to average round, the exponential mean is used,

$$ \bar\theta_t = \beta\, \bar\theta_{t-1} + (1 - \beta)\, \theta_t, \qquad \bar\theta_1 = \theta_1, \tag{2} $$

which looks back about $1 / (1 - \beta)$ steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygen.autograd import Tensor
from tinygen.backend import arrays as backend


class ParameterAverage:
    r"""A running average of parameters.

    Parameters
    ----------
    params : the parameters $\theta$ (`module.parameters()`)
    decay : $\beta$ of (2), in [0, 1); None for the plain mean (1)

    Attributes
    ----------
    averages : $\bar\theta$, one raw array for each parameter; their present values before the first `update`
    t : how many updates there were

    Examples
    --------
    >>> import tinygen as tg
    >>> p = tg.tensor([1.0], requires_grad=True)
    >>> mean = ParameterAverage([p], decay=None)
    >>> for value in (1.0, 2.0, 6.0):
    ...     p.assign([value])
    ...     mean.update()
    >>> with mean.swapped_in():
    ...     print(p.item())
    3.0
    """

    def __init__(self, params: Iterable[Tensor], *, decay: float | None = 0.999):
        self.params = list(params)
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"ParameterAverage: decay must be in [0, 1), or None for the plain mean, got {decay!r}")
        if not self.params or not all(isinstance(p, Tensor) and p.is_leaf and p.dtype.kind == "f" for p in self.params):
            raise ValueError("ParameterAverage: params must be floating leaf Tensors, at least one")
        self.decay, self.t = decay, 0
        self.averages = [p._data.copy() for p in self.params]

    def update(self) -> None:
        """Take in the parameters as they are now; call it after the optimiser's step."""
        self.t += 1
        fraction = 1 / self.t if self.decay is None or self.t == 1 else 1 - self.decay
        self.averages = [towards(a, p._data, fraction) for a, p in zip(self.averages, self.params, strict=True)]

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside, the parameters have the averages for values; after it their own again, bit for bit."""
        own = [p._data.copy() for p in self.params]
        try:
            self._put(self.averages)
            yield
        finally:
            self._put(own)

    def _put(self, values: Iterable[Any]) -> None:
        for p, value in zip(self.params, values, strict=True):
            p.assign(value)

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, and copies of the averages by the parameters' numbers."""
        return {"t": self.t, "averages": {str(i): np.array(backend.to_numpy(a)) for i, a in enumerate(self.averages)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict` for parameters of the same number and shapes, or change nothing."""
        saved = state["averages"]
        wanted = {str(i): p.shape for i, p in enumerate(self.params)}
        found = {i: np.shape(a) for i, a in saved.items()}
        if found != wanted:
            raise ValueError(f"load_state_dict: averages of shapes {found} for parameters of shapes {wanted}")
        averages = [backend.asarray(saved[str(i)], p.dtype, p.device, copy=True) for i, p in enumerate(self.params)]
        self.t, self.averages = int(state["t"]), averages


def towards(average: Any, value: Any, fraction: float) -> Any:
    r"""(1) with $1/t$ for the fraction, (2) with $1 - \beta$: in place; returns the average."""
    average += fraction * (value - average)
    return average

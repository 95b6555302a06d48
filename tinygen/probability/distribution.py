r"""What every law can do: draw, weigh a value, and say its mean, variance and entropy.

A law here is an object with parameters. Its shapes follow the field's convention (PyTorch's): a draw has shape

$$ \text{shape} \;+\; \text{batch\_shape} \;+\; \text{event\_shape}, \tag{1} $$

where `event_shape` is the shape of one value (`()` for a number, `(d,)` for a vector), `batch_shape` tells how many
laws the parameters describe once broadcast, and `shape` how many draws of each are asked for. `log_prob` undoes it:
it takes (1), sums over the event, and broadcasts x against the batch.

Parameters may be Tensors (gradients flow to them), arrays, or numbers. A number stays a number, so that it takes
on the dtype and the device of what it meets: `Normal(0.0, 1.0)` weighs a float64 array on a GPU as it does a
float32 one on the host. With nothing but numbers, draws are float32 on the generator's device.

Two ways to draw. `sample` gives values without a past. `rsample`, where it exists, writes the draw as a smooth
function of the parameters and of noise that does not know them, $x = T(\theta, \varepsilon)$, so that

$$ \nabla_\theta\, \mathbb{E}_{x \sim p_\theta} f(x)
   = \mathbb{E}_\varepsilon\, \nabla_\theta f(T(\theta, \varepsilon)) \tag{2} $$

(the *reparameterised* or *pathwise* estimate of S1, S3 and S4). Without it there is the score function,
$\mathbb{E}\,[f(x)\, \nabla_\theta \log p_\theta(x)]$, which needs only `log_prob`.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.backend.arrays import array_module, is_array
from tinygen.probability.support import Support


class Distribution:
    """Base of all laws. A subclass sets its parameters, and writes its formulas.

    Attributes
    ----------
    batch_shape, event_shape : tuples, as in (1)
    dtype : of draws and moments; device : of the parameters ("cpu" when all are numbers)
    support : the `Support` outside of which `log_prob` refuses x
    has_rsample : whether `rsample` exists
    """

    has_rsample = False
    support: Support

    def __init__(self, batch_shape: tuple, event_shape: tuple, *parameters: Any):
        self.batch_shape, self.event_shape = tuple(batch_shape), tuple(event_shape)
        arrays = [p for p in parameters if isinstance(p, Tensor)]
        self.dtype = np.result_type(*[a.dtype for a in arrays]) if arrays else np.dtype("float32")
        self.device = arrays[0].device if arrays else "cpu"
        self._only_numbers = not arrays

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_shape={self.batch_shape}, event_shape={self.event_shape})"

    # ---- drawing ---------------------------------------------------------------------------------------

    def sample(self, shape: int | tuple = (), *, rng) -> Tensor:
        """Draws without a past: a detached Tensor of shape (1).

        Parameters
        ----------
        shape : how many draws, an integer or a tuple
        rng : a `tinygen.random.Generator` on the parameters' device
        """
        with tg.no_grad():
            return self.rsample(shape, rng=rng).detach()

    def rsample(self, shape: int | tuple = (), *, rng) -> Tensor:
        """Draws that are smooth functions of the parameters, for (2); where `has_rsample` says so."""
        raise NotImplementedError(
            f"{type(self).__name__}: rsample does not exist for this law; use sample, and the score function for the "
            "gradient: the mean of f(x).detach() * log_prob(x)"
        )

    # ---- weighing --------------------------------------------------------------------------------------

    def log_prob(self, x: Any) -> Tensor:
        """The logarithm of the density (of the probability, for discrete laws) at x, event axes summed out.

        Raises
        ------
        ValueError
            When x does not fit the shapes, or lies outside `support` (looked at on the host only).
        """
        x = self._value(x)
        self.support.check(type(self).__name__, "x", x)
        return self._log_density(x)

    def _log_density(self, x: Tensor) -> Tensor:
        """The formula itself, on a Tensor inside the support."""
        raise NotImplementedError(f"{type(self).__name__}: log_prob does not exist for this law")

    # ---- moments ---------------------------------------------------------------------------------------

    @property
    def mean(self) -> Tensor:
        """The expectation, of shape batch + event."""
        raise NotImplementedError(f"{type(self).__name__}: mean has no closed form; average over samples")

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, of shape batch + event."""
        raise NotImplementedError(f"{type(self).__name__}: variance has no closed form; use the variance of samples")

    def entropy(self) -> Tensor:
        r"""$-\mathbb{E} \log p(x)$ in nats, of the batch's shape."""
        raise NotImplementedError(
            f"{type(self).__name__}: entropy has no closed form; average -log_prob over samples"
        )

    # ---- for subclasses --------------------------------------------------------------------------------

    def _shape(self, shape: int | tuple) -> tuple:
        """The shape (1) of draws."""
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        return shape + self.batch_shape + self.event_shape

    def _value(self, x: Any) -> Tensor:
        """x as a floating Tensor whose shape fits the event and the batch."""
        if not isinstance(x, Tensor):
            x = tg.as_tensor(x) if is_array(x) else tg.tensor(x, dtype=self.dtype, device=self.device)
        if x.dtype.kind != "f":
            x = tg.astype(x, self.dtype)
        rank = len(self.event_shape)
        fits = x.ndim >= rank and x.shape[x.ndim - rank :] == self.event_shape
        try:
            np.broadcast_shapes(x.shape[: x.ndim - rank], self.batch_shape)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{type(self).__name__}: x has shape {x.shape}; the last axes must be event_shape {self.event_shape}, "
                f"and those before must broadcast against batch_shape {self.batch_shape}"
            )
        return x

    def _batch(self, value: Any, event: bool = False) -> Tensor:
        """A moment or an entropy as a Tensor of the batch's shape (and the event's)."""
        shape = self.batch_shape + (self.event_shape if event else ())
        if not isinstance(value, Tensor):
            value = tg.tensor(value, dtype=self.dtype, device=self.device)
        return value if value.shape == shape else tg.broadcast_to(value, shape)


def parameter(owner: str, name: str, value: Any, wanted: Support) -> Any:
    """A parameter as laws keep it: a floating Tensor, or a Python number; checked against where it may lie."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        value = float(value)
        if wanted.event_ndim:
            raise ValueError(f"{owner}: {name} is {value}; {wanted.words} are wanted")
    else:
        value = value if isinstance(value, Tensor) else tg.as_tensor(value) if is_array(value) else tg.tensor(value)
        if value.dtype.kind != "f":
            value = tg.astype(value, "float32")
        if value.ndim < wanted.event_ndim:
            raise ValueError(f"{owner}: {name} has shape {value.shape}; {wanted.words} are wanted")
    wanted.check(owner, name, value)
    return value


def batch_of(owner: str, **parameters: Any) -> tuple:
    """The shape that the parameters broadcast to."""
    shapes = {name: np.shape(p) if isinstance(p, float) else p.shape for name, p in parameters.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{owner}: parameters must broadcast; their shapes are {given}") from None


def one_of(owner: str, **parameters: Any) -> str:
    """The name of the only parameter that was given, out of two that mean the same."""
    given = [name for name, p in parameters.items() if p is not None]
    if len(given) != 1:
        raise ValueError(f"{owner}: exactly one of {' and '.join(parameters)} is wanted, got {given or 'none'}")
    return given[0]


def smallest(dtype: Any) -> float:
    """The smallest normal number of a dtype: what stands for 0 where 0 is not allowed."""
    return float(np.finfo(dtype).tiny)


def open_uniform(rng, shape: tuple) -> Any:
    """Uniform numbers in the open interval (0, 1), float64, so that the tails of a law are drawn finely."""
    u = rng.uniform(shape, dtype="float64")
    return array_module(u).maximum(u, 2.0**-54)  # in place of 0: half of the smallest other number


def on_noise(noise: Any, dtype: Any) -> Tensor:
    """Raw noise as a constant Tensor of a dtype."""
    return Tensor(array_module(noise).asarray(noise, dtype=dtype), None)

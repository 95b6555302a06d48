r"""Where weights start: laws under which a signal keeps its size from layer to layer.

For $y = Wx$ with independent weights of mean 0, $\mathrm{Var}\,y_j = n_{in}\,\mathrm{Var}\,W\;\mathrm E[x_i^2]$; on
the way back the gradient meets $W^\top$, hence $n_{out}$. Glorot and Bengio (2010) compromise between the two, He et
al. (2015) keep one and make up for what the nonlinearity takes away, by a *gain* $a$:

$$ \mathrm{Var}\,W = \frac{2 a^2}{n_{in} + n_{out}} \quad \text{(xavier)}, \tag{1} $$
$$ \mathrm{Var}\,W = \frac{a^2}{n_{in}} \quad \text{(kaiming)}. \tag{2} $$

A uniform law on $(-\sqrt{3v}, \sqrt{3v})$ and a normal law N(0, v) both have variance v. An orthogonal matrix (Saxe et
al. 2014; with no fewer rows than columns) keeps every length exactly.

All functions change a parameter in place (hence the `_`, as in PyTorch) and return it. `rng` draws; None takes fresh
entropy.
"""

from __future__ import annotations

import math

import numpy as np

from tinygen.autograd import Tensor
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.nn.module import Module


def constant_(tensor: Tensor, value: float) -> Tensor:
    """One number everywhere."""
    return _fill(tensor, np.full(tensor.shape, value))


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, low: float = 0.0, high: float = 1.0, *, rng: Generator | None = None) -> Tensor:
    """$U(low, high)$."""
    return _fill(tensor, _generator(rng).uniform(tensor.shape, low, high, dtype=tensor.dtype))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Generator | None = None) -> Tensor:
    r"""$N(\text{mean}, \text{std}^2)$."""
    return _fill(tensor, _generator(rng).normal(tensor.shape, mean, std, dtype=tensor.dtype))


def xavier_uniform_(tensor: Tensor, *, gain: float = 1.0, rng: Generator | None = None) -> Tensor:
    """(1), uniform."""
    fan_in, fan_out = fans(tensor)
    return _uniform_of(tensor, gain * math.sqrt(2 / (fan_in + fan_out)), rng)


def xavier_normal_(tensor: Tensor, *, gain: float = 1.0, rng: Generator | None = None) -> Tensor:
    """(1), normal."""
    fan_in, fan_out = fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / (fan_in + fan_out)), rng=rng)


def kaiming_uniform_(
    tensor: Tensor,
    *,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: Generator | None = None,
) -> Tensor:
    """(2), uniform, for the `nonlinearity` that follows (`a`: a leaky one's slope); "fan_out" puts $n_{out}$ there."""
    return _uniform_of(tensor, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), rng)


def kaiming_normal_(
    tensor: Tensor,
    *,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: Generator | None = None,
) -> Tensor:
    """(2), normal, for the `nonlinearity` that follows (`a`: a leaky one's slope); "fan_out" puts $n_{out}$ there."""
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, rng=rng)


def orthogonal_(tensor: Tensor, *, gain: float = 1.0, rng: Generator | None = None) -> Tensor:
    r"""$a Q$, where Q has orthonormal rows (or columns, if these are fewer), evenly drawn; later axes count as one.

    Q of a normal matrix $QR$, each column with the sign that makes R's diagonal positive.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: a tensor with two axes or more is wanted, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    normal = backend.to_numpy(_generator(rng).normal((max(rows, columns), min(rows, columns)), dtype="float64"))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diagonal(r))
    return _fill(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def dcgan_(module: Module, *, std: float = 0.02, rng: Generator | None = None) -> Module:
    r"""DCGAN's start (Radford et al. 2016), for all of a network: weights $N(0, 0.02^2)$, biases 0.

    A weight with one axis, such as batch norm's, is $N(1, 0.02^2)$; a network with PReLU, or LayerNorm over several
    axes, has to set those itself.
    """
    rng = _generator(rng)
    for path, p in module.named_parameters():
        name = path.rpartition(".")[2]
        if name.startswith("bias"):
            zeros_(p)
        elif name.startswith("weight"):
            normal_(p, 0.0 if p.ndim > 1 else 1.0, std, rng=rng)
    return module


def calculate_gain(nonlinearity: str, a: float = 0.0) -> float:
    r"""What a weight's standard deviation is multiplied by to make up for the nonlinearity that follows.

    For a leaky rectifier of slope $a$ this is $\sqrt{2/(1 + a^2)}$, since it keeps $(1 + a^2)/2$ of $\mathrm E[x^2]$.
    """
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4,
             "leaky_relu": math.sqrt(2 / (1 + a * a))}  # fmt: skip
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity must be one of {list(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """$n_{in}$ and $n_{out}$ of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ValueError(f"a weight with two axes or more is wanted, (out, in, *kernel), got shape {tensor.shape}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _fan(tensor: Tensor, mode: str) -> int:
    """One of the two."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return fans(tensor)[mode == "fan_out"]


def _uniform_of(tensor: Tensor, std: float, rng: Generator | None) -> Tensor:
    """The uniform law of this standard deviation."""
    bound = math.sqrt(3) * std
    return uniform_(tensor, -bound, bound, rng=rng)


def _generator(rng: Generator | None) -> Generator:
    """The generator given, or a fresh one."""
    return Generator() if rng is None else rng


def _fill(tensor: Tensor, values) -> Tensor:
    """Put the values into the parameter."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"a Tensor is wanted, a parameter of a module, got a {type(tensor).__name__}")
    tensor.assign(values)
    return tensor

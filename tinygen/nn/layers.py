r"""Layers: a linear map, and the functions between linear maps.

$$ y = x W^\top + b \tag{1} $$

with $W$ of shape (out, in), so that the *rows* of `weight` are the neurons. Weights start uniform,

$$ W_{ij}, b_i \sim U\left(-\tfrac{1}{\sqrt{n}}, \tfrac{1}{\sqrt{n}}\right), \qquad n = \text{in}, \tag{2} $$

which is PyTorch's default.
"""

from __future__ import annotations

import math

import tinygen.autograd as tg
from tinygen.backend.random import Generator
from tinygen.nn import functional as F
from tinygen.nn.module import Module


class Linear(Module):
    """The affine map (1), drawn by (2).

    Parameters
    ----------
    in_features, out_features : lengths of the last axis of input and output
    bias : whether to add $b$
    rng : the Generator that draws the weights; None takes fresh entropy

    Examples
    --------
    >>> from tinygen import nn, random
    >>> nn.Linear(3, 2, rng=random.Generator(0))
    Linear(3, 2)  # 8 parameters
      weight: (2, 3)
      bias: (2,)
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, rng: Generator | None = None):
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"Linear: {name} must be a positive integer, got {size!r}")
        self.in_features, self.out_features = in_features, out_features
        rng = Generator() if rng is None else rng
        bound = 1 / math.sqrt(in_features)  # (2)
        self.weight = tg.tensor(rng.uniform((out_features, in_features), -bound, bound), requires_grad=True)
        self.bias = tg.tensor(rng.uniform(out_features, -bound, bound), requires_grad=True) if bias else None

    def forward(self, x):
        """(1): (..., in) to (..., out)."""
        return F.linear(x, self.weight, self.bias)

    def options(self):
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class ReLU(Module):
    r"""$\max(x, 0)$."""

    def forward(self, x):
        return F.relu(x)


class LeakyReLU(Module):
    """$x$ where $x > 0$, else `negative_slope` times $x$."""

    def __init__(self, *, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        return F.leaky_relu(x, self.negative_slope)

    def options(self):
        return f"negative_slope={self.negative_slope}"


class Tanh(Module):
    r"""$\tanh x$."""

    def forward(self, x):
        return F.tanh(x)


class Sigmoid(Module):
    r"""$1/(1 + e^{-x})$."""

    def forward(self, x):
        return F.sigmoid(x)


class Softplus(Module):
    r"""$\log(1 + e^x)$."""

    def forward(self, x):
        return F.softplus(x)


class Flatten(Module):
    """All axes after the first as one: (n, ...) to (n, m)."""

    def forward(self, x):
        return tg.reshape(x, (x.shape[0], math.prod(x.shape[1:])))

r"""Functions between linear maps, and the layers that only apply them.

Without them a network of linear maps is one linear map. They work element by element, but for `softmax`, which
makes probabilities of a vector, and `glu`, where one half of the channels opens and shuts gates for the other.
"""

from __future__ import annotations

import math

import tinygen.autograd as tg
from tinygen.autograd import elu, leaky_relu, relu, sigmoid, softplus, tanh
from tinygen.autograd.elementwise import finite
from tinygen.nn.common import check_sizes, shown
from tinygen.nn.module import Module

#: the fixed point of `selu`: with these, mean 0 and variance 1 are kept from layer to layer (Klambauer et al. 2017)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

# ---- functions ------------------------------------------------------------------------------------------


def silu(x):
    r"""$x\,\sigma(x)$, a smooth rectifier, also called swish."""
    return x * sigmoid(x)


def gelu(x, *, approximate="none"):
    r"""$x\,\Phi(x)$, with $\Phi$ the normal distribution function.

    `approximate="tanh"` puts $\tfrac12 (1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715\,x^3)))$ for $\Phi$.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + tg.erf(x * math.sqrt(0.5)))


def selu(x):
    r"""$\lambda x$ where $x > 0$, else $\lambda\alpha(e^x - 1)$: `elu` at the scale that keeps mean 0, variance 1."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def hardtanh(x, *, min_val=-1.0, max_val=1.0):
    """x, but at least `min_val` and at most `max_val`; derivative 1 at the bounds (PyTorch: 0)."""
    if not min_val < max_val:
        raise ValueError(f"hardtanh: min_val must be less than max_val, got {min_val} and {max_val}")
    return tg.clip(x, min_val, max_val)


def prelu(x, weight):
    """$x$ where $x > 0$, else $w_c x$: one learned slope for each channel (axis 1), or one for all."""
    if weight.shape[0] > 1:
        if len(x.shape) < 2 or x.shape[1] != weight.shape[0]:
            raise ValueError(f"prelu: x has shape {x.shape}; weight {weight.shape} wants {weight.shape[0]} channels")
        weight = tg.reshape(weight, (-1,) + (1,) * (len(x.shape) - 2))
    return relu(x) + weight * tg.clip(x, None, 0)  # at 0 the slope is w


def glu(x, *, axis=-1):
    r"""$a \odot \sigma(b)$, where $a$ and $b$ are the two halves of x along `axis`: b's gates let a through."""
    if not -len(x.shape) <= axis < len(x.shape) or x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of x, of shape {tuple(x.shape)}, must have an even length")
    a, b = tg.split(x, 2, axis)
    return a * sigmoid(b)


def softmax(x, axis=-1):
    r"""$p_i = e^{x_i} / \sum_j e^{x_j}$ along `axis`."""
    return tg.exp(log_softmax(x, axis))


def log_softmax(x, axis=-1):
    r"""$\log p_i = x_i - \log \sum_j e^{x_j}$ along `axis`."""
    with tg.no_grad():  # a constant shift changes no value and no derivative, but keeps the digits
        top = finite(tg.max(x, axis, keepdims=True))
    x = x - top
    return x - tg.logsumexp(x, axis, keepdims=True)


# ---- layers ---------------------------------------------------------------------------------------------


class ReLU(Module):
    r"""$\max(x, 0)$."""

    def forward(self, x):
        return relu(x)


class LeakyReLU(Module):
    """$x$ where $x > 0$, else `negative_slope` times $x$."""

    def __init__(self, *, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        return leaky_relu(x, self.negative_slope)

    def options(self):
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """$x$ where $x > 0$, else $w_c x$, with a learned slope $w$ for each of `num_parameters` channels (1: for all)."""

    def __init__(self, num_parameters: int = 1, *, init: float = 0.25):
        check_sizes("PReLU", num_parameters=num_parameters)
        self.weight = tg.full(num_parameters, init, requires_grad=True)

    def forward(self, x):
        return prelu(x, self.weight)

    def options(self):
        return shown(self.weight.shape[0])


class ELU(Module):
    r"""$x$ where $x > 0$, else $\alpha(e^x - 1)$."""

    def __init__(self, *, alpha: float = 1.0):
        elu(0.0, alpha)  # refuses a negative one now, not at the first batch
        self.alpha = alpha

    def forward(self, x):
        return elu(x, self.alpha)

    def options(self):
        return f"alpha={self.alpha}"


class SELU(Module):
    r"""$\lambda x$ where $x > 0$, else $\lambda\alpha(e^x - 1)$, with `SELU_SCALE` and `SELU_ALPHA`."""

    def forward(self, x):
        return selu(x)


class GELU(Module):
    r"""$x\,\Phi(x)$."""

    def __init__(self, *, approximate: str = "none"):
        gelu(0.0, approximate=approximate)  # refuses other words now, not at the first batch
        self.approximate = approximate

    def forward(self, x):
        return gelu(x, approximate=self.approximate)

    def options(self):
        return shown(approximate=(self.approximate, "none"))


class SiLU(Module):
    r"""$x\,\sigma(x)$."""

    def forward(self, x):
        return silu(x)


class Softplus(Module):
    r"""$\log(1 + e^x)$."""

    def forward(self, x):
        return softplus(x)


class Sigmoid(Module):
    r"""$1/(1 + e^{-x})$."""

    def forward(self, x):
        return sigmoid(x)


class Tanh(Module):
    r"""$\tanh x$."""

    def forward(self, x):
        return tanh(x)


class Hardtanh(Module):
    """x, but at least `min_val` and at most `max_val`."""

    def __init__(self, *, min_val: float = -1.0, max_val: float = 1.0):
        hardtanh(0.0, min_val=min_val, max_val=max_val)  # refuses an empty interval
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x):
        return hardtanh(x, min_val=self.min_val, max_val=self.max_val)

    def options(self):
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Softmax(Module):
    r"""$e^{x_i} / \sum_j e^{x_j}$ along `axis`. Losses take logits: no softmax before them."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x):
        return softmax(x, self.axis)

    def options(self):
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    r"""$x_i - \log \sum_j e^{x_j}$ along `axis`."""

    def forward(self, x):
        return log_softmax(x, self.axis)


class GLU(Module):
    r"""$a \odot \sigma(b)$ of the two halves of x along `axis`, which it thus halves."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x):
        return glu(x, axis=self.axis)

    def options(self):
        return f"axis={self.axis}"

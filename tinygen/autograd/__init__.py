"""The engine: Tensors, primitives, and the walk back.

To read it in an evening, in this order: `graph` (what a computation leaves behind), `tensor`, `primitive` (one
row per operation), `elementwise` (the first sixty rows), `walk` (reverse mode), `checks` (how to trust it),
then `reductions`, `shapes`, `indexing`, `linalg`, `convolution`, and `transforms`. How it prints its own formulas is
a floor of its own, `tinygen.formulas`.
"""

from tinygen.autograd.tensor import Tensor  # first: everything below needs the class

# isort: split
from tinygen.autograd import linalg
from tinygen.autograd.checks import GradientError, check_grads
from tinygen.autograd.convolution import (
    Geometry, convolve, convolve_adjoint, convolve_weight, fold, max_windows, unfold,
)  # fmt: skip
from tinygen.autograd.creation import (
    arange, as_tensor, eye, from_dlpack, full, linspace, ones, ones_like, tensor, zeros, zeros_like,
)  # fmt: skip
from tinygen.autograd.elementwise import (
    abs, add, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, bitwise_and, bitwise_or, ceil, clip, cos,
    cosh, digamma, divide, elu, equal, erf, exp, exp2, expm1, floor, greater, greater_equal, invert, isfinite,
    isnan, leaky_relu, less, less_equal, lgamma, log, log10, log1p, log2, logaddexp, maximum, minimum, multiply,
    negative, not_equal, polygamma, power, reciprocal, relu, sigmoid, sign, sin, sinh, softplus, sqrt, square,
    subtract, tan, tanh, where,
)  # fmt: skip
from tinygen.autograd.graph import GraphError
from tinygen.autograd.indexing import embedding, getitem, scatter, take_along_axis
from tinygen.autograd.linalg import dot, einsum, matmul, outer, tensordot, trace
from tinygen.autograd.modes import detect_anomaly, no_grad
from tinygen.autograd.primitive import REGISTRY, primitive
from tinygen.autograd.reductions import (
    all, any, argmax, argmin, cumsum, logsumexp, max, mean, min, norm, prod, std, sum, var,
)  # fmt: skip
from tinygen.autograd.shapes import (
    astype, broadcast_to, concatenate, diag, diagonal, expand_dims, flip, moveaxis, pad, repeat, reshape, roll, split,
    squeeze, stack, swapaxes, tile, transpose, tril, triu,
)  # fmt: skip
from tinygen.autograd.transforms import checkpoint, hvp, jacobian
from tinygen.autograd.walk import grad

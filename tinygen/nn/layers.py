r"""Layers for vectors: a linear map, a table of vectors, dropout, and changes of shape.

A linear layer, with $W$ of shape (out, in) so that the *rows* of `weight` are the neurons, is

$$ y = x W^\top + b. \tag{1} $$

Weights and biases start from $U(-1/\sqrt n, 1/\sqrt n)$ with n = in, which is PyTorch's default. An embedding is the
linear map of one-hot vectors: it looks up a row,

$$ y = \mathrm{onehot}(i)\, W = W_{i\cdot}. \tag{2} $$

Dropout (Srivastava et al. 2014) switches each element off with probability $p$ while training,

$$ y = \frac{m \odot x}{1 - p}, \qquad m_i \sim \mathrm{Bernoulli}(1 - p), \tag{3} $$

and the divisor keeps the mean, $\mathrm{E}[y] = x$, so that nothing is left to correct when it is over.
"""

from __future__ import annotations

import math

import tinygen.autograd as tg
from tinygen.autograd.linalg import mT
from tinygen.autograd.primitive import describe, primitive
from tinygen.backend import arrays as backend
from tinygen.backend.linear import gemm, product
from tinygen.backend.random import Generator
from tinygen.backend.recording import aside
from tinygen.nn.common import check_probability, check_sizes, shown, uniform_parameter
from tinygen.nn.module import Module

# ---- functions ------------------------------------------------------------------------------------------


def linear(x, weight, bias=None):
    r"""(1): (..., in) to (..., out), with `weight` (out, in) and `bias` (out,) or None."""
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x has shape {x.shape} and weight {weight.shape}; the last axis of x must be "
                         "weight's second (out, in); images are flattened first")  # fmt: skip
    if bias is None:
        return tg.matmul(x, tg.transpose(weight))
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias has shape {bias.shape}; weight {weight.shape} wants {weight.shape[:1]}")
    if len(x.shape) == 2:
        return _affine(x, weight, bias)
    rows = tg.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return tg.reshape(_affine(rows, weight, bias), (*x.shape[:-1], weight.shape[0]))


@primitive(lambda g, w: product(g, w), lambda g, x: product(mT(g), x), lambda g: g)
def _affine(xp, x, w, b):
    r"""$x W^\top + b$, one product and an addition in place: (n, in), (out, in), (out,) to (n, out)."""
    y = gemm(x, w, transpose_b=True)
    return xp.add(y, b, out=y) if y.dtype == b.dtype else y + b


def embedding(indices, weight, *, padding_idx=None):
    """(2): integers (...) to rows of `weight` (n, d), (..., d); the row `padding_idx` gets no gradient."""
    _check_indices("embedding", indices, weight.shape[0])
    rows = tg.embedding(indices, weight)
    if padding_idx is None or not isinstance(rows, tg.Tensor):
        return rows
    padding_idx %= weight.shape[0]  # -1 is the last row
    return tg.where(tg.expand_dims(indices == padding_idx, -1), rows.detach(), rows)


def one_hot(indices, num_classes, *, dtype="float32"):
    """Integers (...) to vectors (..., num_classes) with a 1 at that place and zeros elsewhere."""
    check_sizes("one_hot", num_classes=num_classes)
    _check_indices("one_hot", indices, num_classes)
    classes = tg.arange(num_classes, device=tg.shapes.device_of(indices)).data
    return tg.astype(tg.expand_dims(indices, -1) == classes, dtype)


def _check_indices(name, indices, n):
    """Refuse what is no row number; on a GPU the range is not looked at, since that would wait for it."""
    if not hasattr(indices, "dtype") or indices.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices must be an array of integers, got {describe(indices)}")
    _check_range(name, indices.data if isinstance(indices, tg.Tensor) else indices, n)


@aside
def _check_range(name, raw, n):
    """Refuse row numbers that are out of range."""
    if tg.shapes.device_of(raw) == "cpu" and raw.size and not 0 <= raw.min() <= raw.max() < n:
        raise IndexError(f"{name}: indices run from {raw.min()} to {raw.max()}; from 0 to {n - 1} are wanted")


def dropout(x, p=0.5, *, rng: Generator, training=True):
    """(3): x with elements set to 0 with probability `p` and the others scaled up; x itself unless `training`.

    A Generator on another device than x works, and its draws are copied over each time.
    """
    check_probability("dropout", "p", p)
    if not training or p == 0:
        return x
    kept = backend.asarray(rng.bernoulli(1 - p, tuple(x.shape), dtype=x.dtype), device=tg.shapes.device_of(x))
    return x * kept * (1 / (1 - p) if p < 1 else 0.0)  # p = 1 keeps nothing


# ---- layers ---------------------------------------------------------------------------------------------


class Linear(Module):
    """The affine map (1).

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
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        rng = Generator() if rng is None else rng
        self.weight = uniform_parameter(rng, (out_features, in_features), in_features)
        self.bias = uniform_parameter(rng, (out_features,), in_features) if bias else None

    def forward(self, x):
        """(1): (..., in) to (..., out)."""
        return linear(x, self.weight, self.bias)

    def options(self):
        return shown(self.in_features, self.out_features, bias=(self.bias is not None, True))


class Embedding(Module):
    """A table (2) of `num_embeddings` vectors, drawn from N(0, 1).

    Parameters
    ----------
    num_embeddings, embedding_dim : rows of the table, and their length
    padding_idx : a row that starts at 0 and gets no gradient, for the places that only fill up a batch
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, padding_idx: int | None = None, rng: Generator | None = None
    ):
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx must be one of {num_embeddings} rows or None, got {padding_idx}")
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        table = (Generator() if rng is None else rng).normal((num_embeddings, embedding_dim))
        if self.padding_idx is not None:
            table[self.padding_idx] = 0
        self.weight = tg.tensor(table, requires_grad=True)

    def forward(self, indices):
        """(2): integers (...) to (..., embedding_dim)."""
        return embedding(indices, self.weight, padding_idx=self.padding_idx)

    def options(self):
        return shown(*self.weight.shape, padding_idx=(self.padding_idx, None))


class Dropout(Module):
    """(3) while training; afterwards the identity.

    Parameters
    ----------
    p : the probability that an element is switched off
    rng : the Generator that draws which; None takes fresh entropy
    """

    def __init__(self, p: float = 0.5, *, rng: Generator | None = None):
        check_probability("Dropout", "p", p)
        self.p = p
        self.rng = Generator() if rng is None else rng

    def forward(self, x):
        """(3)."""
        return dropout(x, self.p, rng=self.rng, training=self.training)

    def options(self):
        return f"p={self.p}"


class Identity(Module):
    """$x$: a layer that does nothing, where one is wanted."""

    def forward(self, x):
        return x


class Flatten(Module):
    """All axes after the first as one: (n, ...) to (n, m)."""

    def forward(self, x):
        return tg.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Unflatten(Module):
    """One axis as several: `Unflatten(1, (64, 4, 4))` takes (n, 1024) to (n, 64, 4, 4)."""

    def __init__(self, axis: int, shape: tuple[int, ...]):
        self.axis, self.shape = axis, tuple(shape)

    def forward(self, x):
        (axis,) = tg.shapes.normal_axes(self.axis, len(x.shape), "Unflatten")
        if math.prod(self.shape) != x.shape[axis]:
            raise ValueError(f"Unflatten: axis {self.axis} of x, of shape {tuple(x.shape)}, does not hold {self.shape}")
        return tg.reshape(x, (*x.shape[:axis], *self.shape, *x.shape[axis + 1 :]))

    def options(self):
        return shown(self.axis, self.shape)

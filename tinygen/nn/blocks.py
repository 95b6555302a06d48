r"""Small parts of larger networks: shortcuts, learned nonlinearities, and a look at the rest of the batch.

A **residual** connection (S0) adds a block's input to its output, so that the gradient also has a way past it:

$$ y = x + f(x). \tag{1} $$

**Maxout** (Goodfellow et al. 2013) is the largest of k linear maps, a convex function that is learned:

$$ y_j = \max_{1 \le p \le k} (W_p x + b_p)_j. \tag{2} $$

**Minibatch discrimination** (Salimans et al. 2016) lets a discriminator see how alike the samples of a batch are, which
gives away a generator that makes the same sample again and again. Each sample $x_i$ gets B rows $M_{ib} = x_i T_b$ of
length C, and, for each b, a measure of how many others have a row close to its own:

$$ o_{ib} = \sum_{j=1}^n \exp(-\|M_{ib} - M_{jb}\|_1); \tag{3} $$

the output is $x_i$ joined by $o_i$. (The sum has the sample itself in it, a constant 1.)
"""

from __future__ import annotations

import math

import tinygen.autograd as tg
from tinygen.backend.random import Generator
from tinygen.nn.common import check_sizes, shown
from tinygen.nn.layers import Linear
from tinygen.nn.module import Module


class Residual(Module):
    """(1): $x + f(x)$; with a `shortcut`, that module's output instead of x, where f changes the shape."""

    def __init__(self, body: Module, *, shortcut: Module | None = None):
        self.body = body
        self.shortcut = shortcut

    def forward(self, x):
        """(1)."""
        y, kept = self.body(x), x if self.shortcut is None else self.shortcut(x)
        if kept.shape != y.shape:
            raise ValueError(f"Residual: the body makes {tuple(y.shape)} of x, to which {tuple(kept.shape)} cannot be "
                             "added; give a shortcut that changes x alike")  # fmt: skip
        return kept + y


class Maxout(Module):
    """(2): (..., in) to (..., out), the largest of `pieces` linear maps, for each output."""

    def __init__(self, in_features: int, out_features: int, pieces: int, *, rng: Generator | None = None):
        check_sizes("Maxout", in_features=in_features, out_features=out_features, pieces=pieces)
        self.in_features, self.out_features, self.pieces = in_features, out_features, pieces
        self.linear = Linear(in_features, out_features * pieces, rng=rng)

    def forward(self, x):
        """(2)."""
        y = self.linear(x)  # (..., out · pieces)
        return tg.max(tg.reshape(y, (*y.shape[:-1], self.out_features, self.pieces)), -1)

    def options(self):
        return shown(self.in_features, self.out_features, self.pieces)


class MinibatchDiscrimination(Module):
    r"""(3): (n, in) to (n, in + B).

    Parameters
    ----------
    in_features : length of a sample's features
    n_kernels, kernel_size : B and C
    rng : draws `weight` $T$, (in, B, C), from $N(0, 1/\text{in})$; None takes fresh entropy
    """

    def __init__(self, in_features: int, n_kernels: int, kernel_size: int, *, rng: Generator | None = None):
        check_sizes("MinibatchDiscrimination", in_features=in_features, n_kernels=n_kernels, kernel_size=kernel_size)
        rng = Generator() if rng is None else rng
        drawn = rng.normal((in_features, n_kernels, kernel_size), std=1 / math.sqrt(in_features))
        self.weight = tg.tensor(drawn, requires_grad=True)

    def forward(self, x):
        """(3), joined to x."""
        if len(x.shape) != 2 or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"MinibatchDiscrimination: x must have shape (n, {self.weight.shape[0]}), got "
                             f"{tuple(x.shape)}; images are flattened first")  # fmt: skip
        m = tg.tensordot(x, self.weight, 1)  # (n, B, C)
        distance = tg.sum(tg.abs(tg.expand_dims(m, 0) - tg.expand_dims(m, 1)), -1)  # (n, n, B)
        return tg.concatenate([x, tg.sum(tg.exp(-distance), 0)], 1)

    def options(self):
        return shown(*self.weight.shape)

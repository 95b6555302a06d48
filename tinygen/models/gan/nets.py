"""Small fully connected players for points in the plane and other short vectors.

A generator's points may lie anywhere, and a discriminator gives logits (or a critic's score), which the losses take
as they are; so the last map of every network is a linear one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from tinygen import nn
from tinygen.backend.random import Generator

Activation = Callable[[], nn.Module]
Norm = Callable[[int], nn.Module]


def mlp(widths: Sequence[int], *, activation: Activation = nn.ReLU, norm: Norm | None = None, gated: bool = False,
        rng: Generator) -> nn.Sequential:  # fmt: skip
    r"""Linear maps from each width to the next, and between them what makes a network of them.

    Parameters
    ----------
    widths : lengths of the input, the hidden layers and the output: (..., first) to (..., last)
    activation : makes the non-linearity of a hidden layer
    norm : makes the normalisation before it, from the layer's width
    gated : whether a hidden layer is $a \odot \sigma(b)$ with two linear maps, instead of an activation

    Examples
    --------
    >>> mlp([2, 8, 1], rng=Generator(0))
    Sequential()  # 33 parameters
      0: Linear(2, 8)  # 24 parameters
        weight: (8, 2)
        bias: (8,)
      1: ReLU()
      2: Linear(8, 1)  # 9 parameters
        weight: (1, 8)
        bias: (1,)
    """
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths[:-1]):
        o_maps = 2 * o if gated else o
        layers.append(nn.Linear(i, o_maps, rng=rng))
        layers += [] if norm is None else [norm(o_maps)]
        layers.append(nn.GLU() if gated else activation())
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], rng=rng))


def residual(n_in: int, n_out: int, *, hidden: int = 64, blocks: int = 16, rng: Generator) -> nn.Sequential:
    """A deep one: `blocks` times two linear maps and a shortcut past them, (..., n_in) to (..., n_out)."""
    body = [nn.Residual(nn.Sequential(nn.ReLU(), mlp([hidden] * 3, rng=rng))) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(n_in, hidden, rng=rng), *body, nn.Linear(hidden, n_out, rng=rng))


def generator(n_latent: int, n_features: int, *, hidden: int = 64, depth: int = 2, activation: Activation = nn.ReLU,
              rng: Generator) -> nn.Sequential:  # fmt: skip
    """$G$: codes (..., n_latent) to points (..., n_features), with `depth` hidden layers."""
    return mlp([n_latent, *[hidden] * depth, n_features], activation=activation, rng=rng)


def discriminator(n_features: int, *, hidden: int = 64, depth: int = 2, activation: Activation = nn.ReLU,
                  rng: Generator) -> nn.Sequential:  # fmt: skip
    """The logit of $D$, or a critic's score: points (..., n_features) to (..., 1), with `depth` hidden layers."""
    return mlp([n_features, *[hidden] * depth, 1], activation=activation, rng=rng)


def autoencoder(n_features: int, *, code: int = 2, hidden: int = 64, depth: int = 1, activation: Activation = nn.ReLU,
                rng: Generator) -> nn.Sequential:  # fmt: skip
    """BEGAN's discriminator: points (..., n_features) rebuilt from `code` numbers, with `depth` layers on each side."""
    side = [hidden] * depth
    return mlp([n_features, *side, code, *side, n_features], activation=activation, rng=rng)

r"""The deep autoencoder of Hinton and Salakhutdinov (2006; S3 part 1, its [9]).

An autoencoder (S3 part 2) is an encoder that makes a short code of an image, and a decoder that makes the image
again. With several layers on each side it should find better codes than principal components, which are the best that
linear layers can do. But from random weights it hardly learnt. The gradient of a lower layer is a product over all
layers above it, with a factor of $\sigma' \le \frac14$ from each row of sigmoid units: with small weights next to
nothing arrives below, with large ones the units are stuck where $\sigma'$ is about 0. The way out was to start near a
good solution. A stack of Boltzmann machines (`deep_belief_net`), trained without any gradient through layers, has
a way up that makes codes and a way down that makes images. *Unroll* it: the way up becomes the encoder, the way
down the decoder, and backpropagation only has to adjust them.

**The code.** Thirty units of 0 or 1 say thirty bits at most, and thirty real numbers can say more. So the hidden units
of the highest machine are real numbers. A term that keeps them finite joins the energy of `rbm`, equation 1,

$$ E(v, h) = -b^\top v - c^\top h - v^\top W h + \tfrac12 \|h\|^2. \tag{1} $$

Given $v$, this is $\frac12 \|h - a\|^2$ with $a = c + W^\top v$, and what does not contain $h$. The hidden units are
therefore independent Gaussians of variance 1; for the visible ones nothing has changed:

$$ p(h|v) = \mathcal N(h;\, a, I), \qquad a = c + W^\top v, \tag{2} $$
$$ p(v_j = 1|h) = \sigma\Bigl(b_j + \sum_i W_{ji} h_i\Bigr). \tag{3} $$

The integral over $h$ is that of a Gaussian, $\int e^{a^\top h - \|h\|^2 / 2} dh = (2 \pi)^{m/2} e^{\|a\|^2 / 2}$:

$$ F(v) = -b^\top v - \tfrac12 \|a\|^2 - \tfrac m2 \log 2 \pi, \qquad Z = \sum_v e^{-F(v)}. \tag{4} $$

$F$ falls with the square of $a$, so that the code likes to be large. $Z$ is finite all the same, since there are
finitely many $v$. Its derivatives are those of `rbm`, equation 9, with $a$ in the place of $p$,

$$ -\frac{\partial F}{\partial W} = v\, a^\top, \qquad -\frac{\partial F}{\partial b} = v, \qquad
   -\frac{\partial F}{\partial c} = a, \tag{5} $$

and contrastive divergence is what it was, with $a$ and $\tilde a$ for $p$ and $\tilde p$. But $a$ has no bound as
probabilities have, and a few large entries can throw all weights far away, so the rate must be smaller (a hundredth of
the other machines' in 2006; a fifth in the demo).

**Unrolled.** With the means $f^0 = x$ and $f^l = \sigma(c^l + W^{l\top} f^{l-1})$ of the rows below the code,

$$ y = c^L + W^{L\top} f^{L-1}, \tag{6} $$
$$ g^{L-1} = \sigma(b^L + W^L y), \quad g^{l-1} = \sigma(b^l + W^l g^l), \quad \hat x = g^0. \tag{7} $$

From here on the encoder's and the decoder's weights are two sets, free to part. They go down on the cross-entropy
between the pixels and $\hat x$ (`autoencoder`), the negative log-likelihood of black-and-white versions of
the image.

Notation
--------
$v, h$ : `v`, `h`, (b, n) and (b, m), b configurations at a time
$W, b, c$ : `weight`, (n, m); `visible_bias`, (n,); `hidden_bias`, (m,)
$a$ : `a`, (b, m)
$y, \hat x$ : what `network()` gives, and the sigmoid of what `decoder()` gives
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import in_order
from tinygen.models.energy.deep_belief_net import DeepBeliefNet, linear
from tinygen.models.energy.rbm import RBM, binary, configurations

# ---- the equations --------------------------------------------------------------------------------------


def energy(v, h, W, b, c):
    r"""(1): $-b^\top v - c^\top h - v^\top W h + \frac12 \|h\|^2$; (..., n), (..., m) and the parameters to (...)."""
    pairs = tg.sum(tg.matmul(v, W) * h, axis=-1)
    return -tg.sum(b * v, axis=-1) - tg.sum(c * h, axis=-1) - pairs + tg.sum(tg.square(h), axis=-1) / 2


def code_mean(v, W, c):
    r"""(2): $a = c + W^\top v$; (..., n), (n, m), (m,) to (..., m)."""
    return tg.matmul(v, W) + c


def free_energy(v, W, b, c):
    r"""(4): $-b^\top v - \frac12 \|a\|^2 - \frac m2 \log 2 \pi$; (..., n) to (...)."""
    half_squares = tg.sum(tg.square(code_mean(v, W, c)), axis=-1) / 2
    return -tg.matmul(v, b) - half_squares - len(c) / 2 * math.log(2 * math.pi)


def log_partition(W, b, c) -> float:
    r"""(4): $\log Z$, by a sum over all visible configurations; raw arrays, best in float64."""
    parts = [tg.logsumexp(-free_energy(v, W, b, c)) for v in configurations(len(b), W)]
    return float(np.logaddexp.reduce([float(p) for p in parts]))


# ---- the machine whose hidden units are a code -----------------------------------------------------------


class CodeRBM(RBM):
    r"""A restricted Boltzmann machine whose visible units are 0 or 1, and whose hidden units are real numbers.

    Its parameters are those of `RBM`; `lr` should be smaller than a binary machine's, 0.01 or less.

    Examples
    --------
    >>> x = tg.random.Generator(1).bernoulli(0.5, (20, 6))
    >>> machine = CodeRBM(6, 2, lr=1e-3, rng=tg.random.Generator(0))
    >>> machine.transform(x).shape, machine.log_prob(x).shape
    ((20, 2), (20,))
    """

    binary_hidden = False

    def hidden_mean(self, v):
        r"""$\mathbb E[h|v] = a$, by (2): (b, n) to (b, m)."""
        return code_mean(v, self.weight.data, self.hidden_bias.data)

    def draw_hidden(self, mean, rng: Generator):
        r"""$h$ from $p(h|v)$ with this mean, by (2): (b, m) to (b, m)."""
        return mean + rng.normal(mean.shape, dtype=mean.dtype)

    def free_energy(self, x: np.ndarray) -> np.ndarray:
        """$F(v)$ by (4): (b, n) to (b,), in nats."""
        parameters = [p.data for p in (self.weight, self.visible_bias, self.hidden_bias)]
        parts = [free_energy(v, *parameters) for v in in_order(self.checked(x), 1024)]
        return np.concatenate([backend.to_numpy(part) for part in parts])

    def log_z(self) -> float:
        r"""$\log Z$ by (4), exact, in float64; refused if there are many visible units."""
        self._enumerable(self.n_visible, "log_z", "fewer visible units are wanted, since nothing here estimates it")
        return log_partition(*self._in_double())

    def sample_exactly(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        r"""New images (n, n_visible) without a chain, by $e^{-F(v)} / Z$; for few visible units."""
        self._enumerable(self.n_visible, "sample_exactly", "sample draws by chains")
        W, b, c = self._in_double()
        masses = [-free_energy(v, W, b, c) for v in configurations(self.n_visible, W)]
        number = self._generator(rng).categorical(backend.array_module(W).concatenate(masses), shape=n)
        return backend.to_numpy(binary(number, self.n_visible, self.weight.dtype))


# ---- the stack ------------------------------------------------------------------------------------------


class DeepAutoencoder(DeepBeliefNet):
    r"""A stack of machines, the highest a `CodeRBM`, to be unrolled into an autoencoder.

    `fit` is the pre-training; `transform` and `reconstruct` are (6) and (7) as the stack stands. An
    `autoencoder.Autoencoder` of `network()` and `decoder()` then learns by backpropagation.

    Parameters
    ----------
    machines : from the pixels upwards; each has as many visible units as the one below it has hidden ones
    draws : whether a machine learns from draws of the units below it, or from their probabilities
    rng : the Generator of the minibatches and of the draws on the way up, on the machines' device; None takes fresh
        entropy

    Examples
    --------
    >>> rng = tg.random.Generator(0)
    >>> x = tg.random.Generator(1).bernoulli(0.5, (20, 6))
    >>> stack = DeepAutoencoder([RBM(6, 4, rng=rng), CodeRBM(4, 2, lr=1e-3, rng=rng)], rng=rng)
    >>> code = stack.network()(tg.tensor(x))
    >>> code.shape, stack.decoder()(code).shape
    ((20, 2), (20, 6))
    """

    def __init__(self, machines: Sequence[RBM], *, draws: bool = False, rng: Generator | None = None):
        super().__init__(machines, draws=draws, rng=rng)
        if not isinstance(self.machines[-1], CodeRBM):
            raise ValueError(f"{type(self).__name__}: the highest machine is a {type(self.machines[-1]).__name__}; a "
                             "CodeRBM is wanted")  # fmt: skip
        if not self.machines[0].binary_visible:
            raise ValueError(f"{type(self).__name__}: the lowest machine is a {type(self.machines[0]).__name__}; one "
                             "whose pixels are 0 or 1 is wanted")  # fmt: skip

    def network(self) -> nn.Sequential:
        """The encoder (6): a network from images (b, n) to codes (b, m), with copies of the weights."""
        return nn.Sequential(*list(super().network())[:-1])

    def decoder(self) -> nn.Sequential:
        r"""The decoder (7): a network from codes (b, m) to logits of pixels (b, n); $\hat x$ is their sigmoid."""
        rows: list[Any] = [(linear(m.weight.data, m.visible_bias.data), nn.Sigmoid()) for m in reversed(self.machines)]
        return nn.Sequential(*list(itertools.chain(*rows))[:-1])

r"""The stacked autoencoder (S3 part 2, "Stacked Autoencoder"; Vincent et al. 2010, which is [2] of S3).

One hidden layer finds strokes in pixels. A second one could find in the strokes what strokes make together, and a
third one more than that: $L$ layers, each of which is given the code of the one below,

$$ y^{(0)} = x, \qquad y^{(l)} = f_l(y^{(l-1)}) = \sigma(W_l\, y^{(l-1)} + b_l), \qquad l = 1, \dots, L, \tag{1} $$

with $\sigma(a) = 1 / (1 + e^{-a})$ for each unit. The code of the whole is $y^{(L)}$. On the way back every layer has
a decoder of its own, from its code to what it was given,

$$ \hat y^{(L)} = y^{(L)}, \qquad \hat y^{(l-1)} = g_l(\hat y^{(l)}) = \sigma(V_l\, \hat y^{(l)} + c_l), \qquad
   \hat x = \hat y^{(0)}. \tag{2} $$

(For images that are not in [0, 1], the squared error as loss, and no $\sigma$ in $g_1$.) S3 shows two ways to learn
all this.

**Option 1: layer by layer** (S3: "originally proposed"). $f_1$ and $g_1$ are an autoencoder with one hidden layer. When
it has learnt, it stays as it is, and its codes are the examples from which $f_2$ and $g_2$ learn, and so on: layer
$l$ goes down on

$$ \mathcal L_l = \mathbb E\; \ell\bigl(y^{(l-1)},\; g_l(f_l(\tilde y^{(l-1)}))\bigr), \tag{3} $$

where $\ell$ is the loss of an autoencoder (`autoencoder.py`; above the first layer the cross-entropy, since codes are
in (0, 1)). The tilde stands for a corruption, drawn anew each time, such as masking noise, which sets a share of the
numbers to zero; without one it means nothing. A layer that is no narrower than what it is given could learn to copy,
and would then tell the layer above nothing new. To put back what has been struck out it must know what goes with what
(`denoising.py`). With corruption this is Vincent's *stacked denoising autoencoder*, SDAE-$L$. Only the layer that
learns sees corrupted numbers: $y^{(l-1)}$ in (3) is the code of the clean image.

**Option 2: all at once.** The stack is one deep network, and its only loss is that of the pixels,

$$ \mathcal L = \mathbb E\; \ell\bigl(x,\;
   (g_1 \circ \dots \circ g_L \circ f_L \circ \dots \circ f_1)(\tilde x)\bigr). \tag{4} $$

**What option 1 optimises.** No term of (3) asks whether $x$ can be rebuilt from the topmost code, but what the
layers lose adds up to a bound on it. Let $e_l = \lVert y^{(l-1)} - g_l(y^{(l)}) \rVert$ be what layer $l$ loses, and
let $g_k$ stretch distances at most by $K_k$. Replace, one layer after the other, the code by what is rebuilt of it.
What $e_l$ changes in layer $l - 1$ passes through the $l - 1$ decoders below, so that

$$ \lVert x - \hat x \rVert \;\le\; \sum_{l=1}^{L} e_l \prod_{k=1}^{l-1} K_k, \qquad
   K_k = \tfrac14\, \lVert V_k \rVert_2 \tag{5} $$

with the largest singular value of $V_k$, and $\sigma' \le \frac14$ (without $\sigma$ in $g_1$, its quarter is gone).
So a good layer on a good layer makes a good stack. It need not make the best: (3) counts what is lost in units of the
code, not in pixels. Suppose that the first layer is linear and keeps two principal components, one of variance 4 and
one of variance 1, but gives out the second one ten times as large. The decoder undoes that, and nothing is lost. A
linear second layer with a single unit then sees the variances 4 and 100, keeps the second component, and the stack
loses 4 where all at once it would have lost 1.

**What option 2 has to overcome.** The gradient that reaches $W_1$ has gone back through $2L - 1$ layers,
and each of them multiplies it by $\sigma' \le \frac14$ and by a matrix. With small weights at the start little of it
arrives, and the first layers hardly learn: for a long time the stack answers every image with one that suits all a
little. That is why option 1 was proposed. Activations that do not saturate (ReLU), layers that are normalised, and
optimisers that divide each gradient by its usual size (Adam) have since made option 2 the usual way.

**What the stack is for** (S3, "Network Initialization"). The decoders are thrown away, a layer of classes is put on
top of $f_L \circ \dots \circ f_1$, and all of it learns from labels (`supervised/fine_tuning.py`). Vincent et al. find
1.28 % wrong answers on MNIST so, with three layers and a quarter of the inputs struck out.

Notation
--------
$x, \hat x$ : `x`, (b, n); `reconstruct(x)`
$y^{(l)}$ : `codes[l]`, (b, `sizes[l]`)
$\tilde y$ : what `corruption(y, rng)` makes of y
$W_l, b_l$ : weight and bias of `ups[l - 1]`
$V_l, c_l$ : weight and bias of `downs[l - 1]`
$L, l$ : `depth`, `layer`; layers count from 1
$e_l, K_k$ : `errors[:, l - 1]`, `stretch[k - 1]`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend.random import Generator
from tinygen.data import batch
from tinygen.models.autoencoder.autoencoder import Autoencoder, cross_entropy, fully_connected, squared_error
from tinygen.models.autoencoder.denoising import Corruption
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def codes(x, ups: Sequence[nn.Module]) -> list:
    r"""(1): $y^{(0)}, \dots, y^{(L)}$, from x (b, n) and the layers before their $\sigma$."""
    found = [x]
    for up in ups:
        found.append(tg.sigmoid(up(found[-1])))  # (b, sizes[l])
    return found


def rebuilt(y, downs: Sequence[nn.Module]):
    r"""(2): $\hat x$ before the last $\sigma$, from the code $y^{(l)}$ (b, d) of layer $l$, the number of `downs`."""
    for down in reversed(downs[1:]):
        y = tg.sigmoid(down(y))
    return downs[0](y)  # (b, n)


def layer_loss(y, seen, up: nn.Module, down: nn.Module, *, bernoulli: bool = True):
    r"""(3) for examples of layer $l$: y and what is seen of it, (b, d) each, to (b,)."""
    a = down(tg.sigmoid(up(seen)))
    return cross_entropy(y, a) if bernoulli else squared_error(y, a)


def whole_loss(x, seen, ups: Sequence[nn.Module], downs: Sequence[nn.Module], *, bernoulli: bool = True):
    r"""(4) for images x and what is seen of them, (b, n) each, to (b,)."""
    a = rebuilt(codes(seen, ups)[-1], downs)
    return cross_entropy(x, a) if bernoulli else squared_error(x, a)


def error_bound(errors, stretch: Sequence[float]):
    r"""(5): $\sum_l e_l \prod_{k < l} K_k$; (b, L) and L - 1 numbers or more to (b,)."""
    total, factor = 0.0, 1.0
    for e, K in zip(errors.T, [*stretch, 1.0], strict=False):
        total, factor = total + factor * e, factor * K
    return total


# ---- the model ------------------------------------------------------------------------------------------


class StackedAutoencoder(Autoencoder):
    r"""Layers of an autoencoder, one on top of the other.

    Parameters
    ----------
    sizes : the length of an image, and how many units each layer has; two numbers or more
    at_once : option 2; otherwise option 1, in which each layer has an equal share of the steps
    corruption : a function of raw numbers (b, d) and a Generator for the tilde of (3) and (4), such as `Masking(0.25)`;
        None corrupts nothing
    loss : "cross-entropy" for images in [0, 1], or "squared"
    lr : learning rate of Adam
    schedule : the factor of `lr` as a function of the step. Steps count through all layers: a rate that falls anew in
        each layer is an `optim.schedules.Sequence`.
    rng : the Generator of the weights, the minibatches and the corruption; None takes fresh entropy

    Examples
    --------
    >>> rng = tg.random.Generator(0)
    >>> stack = StackedAutoencoder(6, 5, 3, rng=rng)
    >>> x = rng.uniform((20, 6))
    >>> stack.fit(x, steps=4, run=Run(quiet=True)).transform(x).shape, stack.transform(x, layers=1).shape
    ((20, 3), (20, 5))
    """

    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, *sizes: int, at_once: bool = False, corruption: Corruption | None = None,
                 loss: str = "cross-entropy", lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"StackedAutoencoder: sizes is {sizes}; the length of an image and the units of one layer "
                             "or more are wanted")  # fmt: skip
        rng = Generator() if rng is None else rng
        encoder = fully_connected(*sizes, activation=nn.Sigmoid, last=True, rng=rng)
        decoder = fully_connected(*sizes[::-1], activation=nn.Sigmoid, rng=rng)
        super().__init__(encoder, decoder, sizes[0], loss=loss, lr=lr, schedule=schedule, rng=rng)
        self.sizes, self.depth, self.at_once, self.corruption = sizes, len(sizes) - 1, at_once, corruption

    @property
    def ups(self) -> list[nn.Linear]:
        """The layers of the encoder before their $\\sigma$, from the pixels up."""
        return [part for part in self.encoder if isinstance(part, nn.Linear)]

    @property
    def downs(self) -> list[nn.Linear]:
        """The layers of the decoder, that of layer 1 (to the pixels) first."""
        return [part for part in self.decoder if isinstance(part, nn.Linear)][::-1]

    # ---- learning ----

    def corrupted(self, x, rng: Generator):
        r"""$\tilde x$: raw numbers (b, d) to (b, d)."""
        return x if self.corruption is None else self.corruption(x, rng)

    def turn(self, step: int, steps: int) -> int:
        """The layer that learns in a step of option 1, from 1 to L."""
        return 1 + (step - 1) * self.depth // steps

    def update_layer(self, x, layer: int) -> dict:
        """One step of option 1 on a minibatch (b, n): the layer below gives clean codes, the layer sees them corrupted.

        The other layers stay as they are. Gives the mean loss (3), and the layer.
        """
        with tg.no_grad():
            y = codes(tg.tensor(x), self.ups[: layer - 1])[-1].data  # (b, sizes[layer - 1])
        up, down = self.ups[layer - 1], self.downs[layer - 1]
        seen, bernoulli = self.corrupted(y, self.rng), self.bernoulli or layer > 1
        loss = tg.mean(layer_loss(tg.tensor(y), tg.tensor(seen), up, down, bernoulli=bernoulli))
        self.optimizer.step(tg.grad(loss, self.optimizer.params, allow_unused=True))
        self.schedule.step()
        return {"layer": layer, "loss": loss}

    def update(self, x) -> dict:
        """One step of option 2 on a minibatch (b, n); the mean loss (4)."""
        seen = tg.tensor(self.corrupted(x, self.rng))
        loss = tg.mean(whole_loss(tg.tensor(x), seen, self.ups, self.downs, bernoulli=self.bernoulli))
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from images (n, sizes[0]); goes on where `run` stopped, if it is a resumed one."""
        x, run = self.checked(x), run or Run()
        for step in run.steps(self, steps):
            x_batch = batch(x, self.rng, batch_size)
            run.log(**(self.update(x_batch) if self.at_once else self.update_layer(x_batch, self.turn(step, steps))))
        return self

    # ---- what it can do ----

    def transform(self, x: np.ndarray, *, layers: int | None = None) -> np.ndarray:
        """The codes of images behind so many layers, or all: (n, sizes[0]) to (n, sizes[layers])."""
        ups = self.ups[: self._layers(layers)]
        return self._in_parts(lambda part: codes(part, ups)[-1], self.checked(x))

    def reconstruct(self, x: np.ndarray, *, layers: int | None = None) -> np.ndarray:
        r"""$\hat x$ by (2), if so many layers are gone up and down again, or all: (n, sizes[0]) to the same."""
        ups, downs = (part[: self._layers(layers)] for part in (self.ups, self.downs))

        def there_and_back(part):
            a = rebuilt(codes(part, ups)[-1], downs)
            return tg.sigmoid(a) if self.bernoulli else a

        return self._in_parts(there_and_back, self.checked(x))

    def layer_errors(self, x: np.ndarray) -> np.ndarray:
        r"""$e_1, \dots, e_L$ of (5): what each layer loses; (n, sizes[0]) to (n, L)."""

        def lost(part):
            y, found = codes(part, self.ups), []
            for layer, down in enumerate(self.downs):
                a = down(y[layer + 1])
                found.append(tg.norm(y[layer] - (tg.sigmoid(a) if self.bernoulli or layer else a), axis=1))
            return tg.stack(found, axis=1)

        return self._in_parts(lost, self.checked(x))

    def stretch(self) -> list[float]:
        r"""$K_1, \dots, K_L$ of (5), by how much each decoder can stretch distances."""
        norms = [float(np.linalg.norm(down.weight.numpy(), 2)) for down in self.downs]
        return [K / 4 if self.bernoulli or layer else K for layer, K in enumerate(norms)]

    def _layers(self, layers: int | None) -> int:
        """How many layers are meant, if that many are there."""
        if layers is not None and not 1 <= layers <= self.depth:
            raise ValueError(f"StackedAutoencoder: layers is {layers}; 1 to {self.depth} is wanted")
        return layers or self.depth

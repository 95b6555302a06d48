r"""The autoencoder (S0; S1 "Autoencoder"; S3 part 2): a network that learns to say what it hears, in fewer words.

Two networks stand one behind the other. The *encoder* $f$ turns an image $x$ into a code $y$, the *decoder* $g$ turns
the code into an image again:

$$ y = f(x), \qquad \hat x = g(y). \tag{1} $$

Notation
--------
$x, \hat x$ : `x`, (b, ...); `x_hat`, the same shape
$y$ : `y`, (b, d)
$f, g$ : `encoder`, `decoder`
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model, require_finite
from tinygen.nn import functional as F
from tinygen.runs import Run

AT_ONCE = 500  # images at a time when there is nothing to learn from them

# ---- the losses -----------------------------------------------------------------------------------------


def squared_error(x, x_hat):
    r"""$\|x - \hat x\|^2$ for each image: (b, ...) twice to (b,)."""
    return tg.sum(tg.reshape(tg.square(x - x_hat), (len(x), -1)), axis=1)


def cross_entropy(x, logits):
    r"""$-\sum_i x_i \log \hat x_i + (1 - x_i) \log(1 - \hat x_i)$, $\hat x = \sigma(\ell)$: (b, ...) twice to (b,)."""
    parts = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return tg.sum(tg.reshape(parts, (len(x), -1)), axis=1)


# ---- the networks ---------------------------------------------------------------------------------------


def fully_connected(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU, last: bool = False,
                    rng: Generator) -> nn.Sequential:  # fmt: skip
    """Linear layers of these sizes, with an activation between them; and after the last one, if `last`."""
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m, rng=rng), activation()]
    return nn.Sequential(*(layers if last else layers[:-1]))


# ---- the model ------------------------------------------------------------------------------------------


class Autoencoder(Model):
    r"""An encoder and a decoder that learn together to give back what goes in.

    One with other ideas overrides a hook: `corrupted` (what the encoder sees instead of $x$) or `penalty` (what a code
    costs).

    Parameters
    ----------
    encoder, decoder : Modules, (b, *shape) to (b, d) and back; with cross-entropy the decoder gives logits
    shape : of one image, or its length
    loss : "squared", or "cross-entropy" for values in [0, 1]
    lr : learning rate of Adam
    schedule : the factor of `lr` as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the minibatches, on the networks' device; None takes fresh entropy

    Examples
    --------
    >>> rng = tg.random.Generator(0)
    >>> ae = Autoencoder(fully_connected(6, 8, 2, rng=rng), fully_connected(2, 8, 6, rng=rng), 6, rng=rng)
    >>> x = rng.uniform((20, 6))
    >>> ae.fit(x, steps=3, run=Run(quiet=True)).transform(x).shape, ae.reconstruct(x).shape
    ((20, 2), (20, 6))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: int | tuple[int, ...], *, loss: str = "squared",
                 lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        kind = type(self).__name__
        if loss not in ("squared", "cross-entropy"):
            raise ValueError(f"{kind}: loss is {loss!r}; 'squared' or 'cross-entropy' is wanted")
        self.rng = Generator() if rng is None else rng
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.encoder, self.decoder, self.bernoulli = encoder, decoder, loss == "cross-entropy"
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    # ---- learning ----

    def corrupted(self, x, rng: Generator):
        """What the encoder is shown in training in place of raw images (b, *shape); here, the images."""
        return x

    def penalty(self, y):
        """What codes (b, d) cost on average beside the reconstruction, a scalar Tensor; here, nothing."""
        return None

    def reconstruction_loss(self, x, y):
        """The loss of each image (b, *shape), if its code is y (b, d): (b,)."""
        return (cross_entropy if self.bernoulli else squared_error)(x, self.decoder(y))

    def update(self, x) -> dict:
        """One step on a minibatch (b, *shape); the mean loss of an image, and the penalty if there is one."""
        y = self.train().encoder(tg.tensor(self.corrupted(x, self.rng)))
        loss, penalty = tg.mean(self.reconstruction_loss(tg.tensor(x), y)), self.penalty(y)
        self.optimizer.step(tg.grad(loss if penalty is None else loss + penalty, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss} if penalty is None else {"loss": loss, "penalty": penalty}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from images (n, *shape); goes on where `run` stopped, if it is a resumed one."""
        x, run = self.checked(x), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size)))
        return self

    # ---- what it can do ----

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The codes of images: (n, *shape) to (n, d)."""
        return self._in_parts(self.encoder, self.checked(x))

    def decode(self, y: np.ndarray) -> np.ndarray:
        """The images of codes: (n, d) to (n, *shape)."""
        y = backend.asarray(y, self._like.dtype, self._like.device)
        return self._in_parts(self._image, y)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        r"""$\hat x$ by (1): (n, *shape) to (n, *shape)."""
        return self._in_parts(lambda part: self._image(self.encoder(part)), self.checked(x))

    def errors(self, x: np.ndarray) -> np.ndarray:
        """The loss of each image, without what training adds to it: (n, *shape) to (n,)."""
        return self._in_parts(lambda part: self.reconstruction_loss(part, self.encoder(part)), self.checked(x))

    def _image(self, y):
        """What the decoder makes of codes (b, d), as pixels: (b, *shape)."""
        x_hat = self.decoder(y)
        return tg.sigmoid(x_hat) if self.bernoulli else x_hat

    def _in_parts(self, f: Callable[[Any], Any], x) -> np.ndarray:
        """What f gives for all rows of a raw array, on the host; so many at a time; out of training."""
        self.eval()
        with tg.no_grad():
            return np.concatenate([f(tg.tensor(part)).numpy() for part in in_order(x, AT_ONCE)])

    @property
    def _like(self) -> tg.Tensor:
        """A Tensor whose dtype and device are the networks'."""
        return next(self.parameters())

    def checked(self, x):
        """x as images (n, *shape) in the networks' dtype, on their device, or an error that says what is wrong."""
        x, kind = backend.asarray(x, self._like.dtype, self._like.device), type(self).__name__
        if x.shape[1:] not in (self.shape, (math.prod(self.shape),)) or not len(x):
            raise ValueError(f"{kind}: x has shape {x.shape}; at least one image of shape {self.shape} is wanted")
        require_finite(f"{kind}: x", x)
        if self.bernoulli and not (0 <= float(x.min()) and float(x.max()) <= 1):
            raise ValueError(f"{kind}: x has values from {float(x.min()):.4g} to {float(x.max()):.4g}; with the "
                             "cross-entropy they must lie in [0, 1] (the squared error takes any)")  # fmt: skip
        return x.reshape(-1, *self.shape)

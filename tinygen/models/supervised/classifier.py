r"""What the chapters on classification share: fit by gradient descent, predict, score.

A classifier is a network that gives a logit for each class. It learns by going down on the mean cross-entropy of
minibatches (S2 eqs. 3.8–3.10), and is judged by the share of right answers (S2 eq. 2.33),

$$ \mathrm{score}(\mathcal D) = \frac{1}{|\mathcal D|} \sum_{(x, y) \in \mathcal D} 1\{\hat y(x) = y\}. \tag{1} $$
"""

from __future__ import annotations

import itertools
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model, require_finite
from tinygen.nn import functional as F
from tinygen.runs import Run

AT_ONCE = 500  # inputs at a time when there is nothing to learn from them


class Classifier(Model):
    """Base of the classifiers; one of its own writes `forward`, from (b, features) to logits (b, classes).

    One whose inputs have a shape, such as images, says so by a `shape` of its own; it is then given (b, *shape), and
    may be asked about rows as well.

    Attributes
    ----------
    n_features : how many numbers an input has
    shape : of one input, by default (n_features,)
    optimizer : what makes the steps
    rng : the Generator that draws the minibatches
    """

    n_features: int
    optimizer: Any
    rng: Generator

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return (self.n_features,)

    def loss(self, x, y):
        """The mean cross-entropy of a minibatch: (b, features), (b,) to ()."""
        return F.cross_entropy(self(x), y)

    def update(self, x, y) -> dict:
        """One step on a minibatch; its loss, in nats."""
        loss = self.train().loss(x, y)
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        return {"loss": loss}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from inputs (n, features) and classes (n,); goes on where `run` stopped, if it is a resumed one."""
        run, data = run or Run(), self.checked(x, y)
        for _ in run.steps(self, steps):
            run.log(**self.update(*batch(data, self.rng, batch_size)))
        return self

    def predict_log_proba(self, x: np.ndarray) -> np.ndarray:
        """The log-probability of each class: (n, features) to (n, classes)."""
        return self._in_parts(lambda part: F.log_softmax(self(part), 1), x)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable class: (n, features) to (n,)."""
        return self.predict_log_proba(x).argmax(1)

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        """(1): the share of right answers."""
        return float(np.mean(self.predict(x) == backend.to_numpy(self.checked(x, y)[1])))

    def _in_parts(self, f, x) -> np.ndarray:
        """What f gives for all inputs, on the host; so many at a time, so that any number fits in memory."""
        self.eval()
        with tg.no_grad():
            return np.concatenate([f(part).numpy() for part in in_order(self.checked(x), AT_ONCE)])

    def checked(self, x, y=None):
        """x, and y if given, as arrays where the parameters are, or an error that says what is wrong."""
        like = next(itertools.chain(self.parameters(), self.buffers()))
        x, kind = backend.asarray(x, like.dtype, like.device), type(self).__name__
        if x.shape[1:] not in (self.shape, (self.n_features,)) or not len(x):
            one = "" if len(self.shape) == 1 else f"image of {self.shape}, or "
            raise ValueError(f"{kind}: x has shape {x.shape}; at least one {one}row of {self.n_features} is wanted")
        require_finite(f"{kind}: x", x)
        x = x.reshape(-1, *self.shape)
        if y is None:
            return tg.tensor(x)
        y = backend.asarray(y, device=like.device)
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
            raise ValueError(f"{kind}: y is {y.dtype} {y.shape}; one integer for each of the {len(x)} rows is wanted")
        return x, y

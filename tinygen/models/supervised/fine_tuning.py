r"""A classifier on top of a network that has learnt something else (S1 "Utilizing autoencoder for supervised tasks").

Labels are dear, and examples without them are not. A network $f$ that has learnt from the latter (the encoder of an
autoencoder, a stack of Boltzmann machines) has features that may serve a classifier. Put a layer on top of it:

$$ \ell(x) = W^\top f(x) + b, \tag{1} $$

with logits $\ell$ and the classes' probabilities $\mathrm{softmax}(\ell)$, and go down on the cross-entropy. There are
two ways to do so.

*Frozen.* Only $W$ and $b$ learn, and $f$ stays as it is, a *feature extractor* (S1's second way). This is softmax
regression on $f(x)$: a convex problem, with one answer wherever it starts from, and few weights, which matters where
labels are few. The features of the training set could be computed once and kept. Nothing may move in $f$: its weights
get no gradient, and it is never in training, since dropout in it would strike out features, and batch normalisation
would go on to collect means.

*Fine-tuned.* Everything learns, and what $f$ had learnt before is where its weights start: *pre-training* (S1's third
way; S3, "Network Initialization"), or, if it learnt from data of another kind, *transfer*. The loss knows
nothing of where the descent began, but the descent ends near a minimum that the start has chosen, and with few labels
there are many that fit all of them and differ on new examples. At first $W$ is random, and what it sends back to $f$ is
noise: a large rate would wipe out in a few steps what was to be used.

$f$ is given, not made here: it may come from any chapter.

Notation
--------
$f, W, b$ : `trunk`, `out`
$\ell$ : the logits that `forward` gives, (b, classes)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.dropout import Dropout


class FineTuned(Classifier):
    r"""A classifier (1) on top of a network.

    Parameters
    ----------
    trunk : $f$, a Module from (b, *shape) to (b, width); its weights are taken as they are, and are not copied
    shape : of one input, or its length
    width : how many features f gives
    n_classes : how many classes there are
    frozen : whether f stays as it is
    p : dropout of f's features, the probability of one to be absent
    optimizer : a function of parameters that makes an optimiser; by default Adam with rate `lr`
    lr : learning rate
    schedule : the factor of the learning rate as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of $W$, the minibatches and dropout; None takes fresh entropy. f must live on its device.

    Examples
    --------
    >>> rng = tg.random.Generator(0)
    >>> net = FineTuned(nn.Sequential(nn.Linear(6, 4, rng=rng), nn.ReLU()), 6, 4, 3, frozen=True, rng=rng)
    >>> net.predict_log_proba(rng.uniform((5, 6))).shape, len(net.optimizer.params)
    ((5, 3), 2)
    """

    def __init__(self, trunk: nn.Module, shape: int | tuple[int, ...], width: int, n_classes: int, *,
                 frozen: bool = False, p: float = 0.0, lr: float = 1e-3,
                 optimizer: Callable[[list[tg.Tensor], float], optim.Optimizer] = optim.Adam,
                 schedule: Callable[[int], float] | None = None, rng: Generator | None = None):  # fmt: skip
        if width < 1 or n_classes < 2:
            raise ValueError(f"FineTuned: a feature and two classes at least are wanted, got {width} and {n_classes}")
        self.rng = Generator() if rng is None else rng
        self.inputs = (shape,) if isinstance(shape, int) else tuple(shape)
        self.n_features, self.frozen, self.trunk = math.prod(self.inputs), frozen, trunk
        self.dropout, self.out = Dropout(p, rng=self.rng), nn.Linear(width, n_classes, rng=self.rng)
        learning = self.out if frozen else self
        self.optimizer = optimizer(list(learning.parameters()), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.inputs

    def features(self, x):
        """$f(x)$: (b, *shape) to (b, width), a Tensor; out of training, and without a graph, if f is frozen."""
        if not self.frozen:
            return self.trunk(x)
        self.trunk.eval()
        with tg.no_grad():
            return self.trunk(x)

    def forward(self, x):
        """(1): (b, *shape) to logits (b, classes)."""
        return self.out(self.dropout(self.features(x)))

    def update(self, x, y) -> dict:
        """One step on a minibatch; its loss, in nats."""
        parts = super().update(x, y)
        self.schedule.step()
        return parts

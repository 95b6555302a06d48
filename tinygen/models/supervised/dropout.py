r"""Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014; S2 §3.3): learning with absentees.

A network with many weights and few examples learns the examples by heart. It does so by units that only make sense
together, each mending the others' errors on just these examples. Dropout forbids such arrangements: at every step of
the training each unit is absent with probability $p$,

$$ y_i = \frac{m_i}{1 - p}\, x_i, \qquad m_i \sim \mathrm{Bernoulli}(1 - p), \tag{1} $$

and after training all are present. The factor keeps what the next layer receives the same on average:

$$ \mathbb E\, y_i = x_i, \qquad \mathrm{Var}\, y_i = \frac{p}{1 - p}\, x_i^2. \tag{2} $$

The way back passes the same mask, $\bar x_i = m_i \bar y_i / (1 - p)$: an absent unit learns nothing.

**Why it helps, for a linear model.** The mean over masks of the squared error is, exactly,

$$ \mathbb E \sum_k \left(t_k - y_k^\top w\right)^2 = \sum_k \left(t_k - x_k^\top w\right)^2
   + \frac{p}{1 - p} \sum_j w_j^2 \sum_k x_{kj}^2: \tag{3} $$

ridge regression, which charges each weight by the size of its own input. By (2), noise of that variance is what the
squared error sees, and large weights pass on more of it.

**Why it helps, for a softmax.** Each mask is a network of its own, $2^d$ of them with common weights, and a step trains
a random one. To average that many answers seems hopeless; but the *geometric* mean of the softmax answers
$p_m(c) \propto \exp(w_c^\top (m \odot x) / (1 - p) + b_c)$, scaled to sum to 1, is the answer of the network with all
units present:

$$ \frac{1}{Z} \prod_m p_m(c)^{P(m)} = \mathrm{softmax}(W x + b)_c, \tag{4} $$

since the logarithm turns it into the mean (2) of the logits. With hidden layers that are not linear this holds only
roughly.

Notation
--------
$x, m, y$ : `x`, `mask`, `y`, of one shape
$p$ : `p`, the probability to be absent
$w, t$ : `w`, (d,); `t`, (k,)
"""

from __future__ import annotations

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier

# ---- the equations ----------------------------------------------------------------------------------------------


def drop(x, mask, p: float):
    r"""(1): $m \odot x / (1 - p)$."""
    return x * mask / (1 - p)


def dropout(x, p: float, rng: Generator):
    """(1), with a mask from `rng`."""
    return drop(x, rng.bernoulli(1 - p, x.shape, dtype=x.dtype), p)


def ridge_penalty(x, w, p: float):
    r"""(3), what masks add to the squared error: $\frac{p}{1 - p} \sum_j w_j^2 \sum_k x_{kj}^2$; (k, d), (d,) to ()."""
    return p / (1 - p) * tg.sum(tg.square(w) * tg.sum(tg.square(x), 0))


def geometric_mean(log_p, weights):
    r"""(4), left side, as logarithms: laws (masks, classes) with weights $P(m)$, (masks,), to one law (classes,)."""
    mixed = tg.sum(tg.expand_dims(weights, 1) * log_p, 0)
    return mixed - tg.logsumexp(mixed)


# ---- the model --------------------------------------------------------------------------------------------------


class Dropout(nn.Module):
    """(1) in training, nothing after it.

    Parameters
    ----------
    p : the probability of a unit to be absent, in [0, 1)
    rng : the Generator that draws the masks
    """

    def __init__(self, p: float, *, rng: Generator):
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p!r}")
        self.p, self.rng = p, rng

    def forward(self, x):
        return dropout(x, self.p, self.rng) if self.training and self.p > 0 else x


class DropoutNet(Classifier):
    r"""A feed-forward classifier with dropout on its inputs and its hidden layers.

    Parameters
    ----------
    sizes : the length of an input, the hidden layers' widths, the number of classes
    p : the probability of a hidden unit to be absent; 0 is a plain network
    p_input : the same for an input, usually less
    lr : learning rate of Adam
    rng : the Generator of the weights, the minibatches and the masks; None takes fresh entropy

    Examples
    --------
    >>> net = DropoutNet(4, 8, 3, p=0.5, rng=tg.random.Generator(0))
    >>> net.predict(tg.random.Generator(1).normal((5, 4))).shape
    (5,)
    """

    def __init__(self, *sizes: int, p: float = 0.5, p_input: float = 0.0, lr: float = 1e-3,
                 rng: Generator | None = None):  # fmt: skip
        if len(sizes) < 2:
            raise ValueError(f"DropoutNet: two sizes or more are wanted, got {sizes}")
        self.n_features = sizes[0]
        self.rng = Generator() if rng is None else rng
        parts: list[nn.Module] = [Dropout(p_input, rng=self.rng)]
        for n, m in zip(sizes[:-2], sizes[1:-1], strict=True):
            parts += [nn.Linear(n, m, rng=self.rng), nn.ReLU(), Dropout(p, rng=self.rng)]
        self.body = nn.Sequential(*parts, nn.Linear(sizes[-2], sizes[-1], rng=self.rng))
        self.optimizer = optim.Adam(self.parameters(), lr)

    def forward(self, x):
        """Inputs (b, features) to logits (b, classes)."""
        return self.body(x)

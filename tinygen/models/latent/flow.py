r"""A generator that knows its density: an invertible flow of coupling layers (S2 eqs. 2.38–2.42; Dinh et al. 2017).

A generator draws $h$ from a law that is known, say $H \sim \mathcal N(0, I)$, and sends it somewhere (S2 eq. 2.38):

$$ X = g(H). \tag{1} $$

Mostly nobody can tell how probable an $x$ is then, and a network must be trained by other means (as in a GAN). But let
$g$ be differentiable with a differentiable inverse. Around $h$ it stretches areas by $|\det \partial g / \partial h|$,
the mass stays what it was, and so the density is thinned out by this factor (S2 eqs. 2.41 and 2.42):

$$ p_g(x) = \frac{p_H(h)}{\left| \det \dfrac{\partial g}{\partial h}(h) \right|}, \qquad h = g^{-1}(x). \tag{2} $$

The determinant is taken at $h = g^{-1}(x)$, which S2 leaves to be understood. Now maximum likelihood can be done
exactly. With examples $x_1, \dots, x_N$, learning goes down

$$ L = -\frac1N \sum_{i=1}^N \log p_g(x_i)
   = \frac1N \sum_{i=1}^N \left( -\log p_H(h_i) + \log \left| \det \frac{\partial g}{\partial h}(h_i) \right| \right).
   \tag{3} $$

The first term pulls the codes of the examples to the middle, the second forbids that all of them end up there: what is
drawn together on the way back is stretched on the way out.

S2 leaves this road, since "most generator models with high expressivity capacity tend to be very hard" to compute. A
determinant takes $d^3$ steps, and who inverts a network? The way out is to build $g$ from simple maps, each with an
easy inverse and an easy determinant, since for $g = g_l \circ \dots \circ g_1$, with $h^{(0)} = h$ and
$h^{(j)} = g_j(h^{(j-1)})$,

$$ \log \left| \det \frac{\partial g}{\partial h} \right|
   = \sum_{j=1}^l \log \left| \det \frac{\partial g_j}{\partial h}(h^{(j-1)}) \right|, \qquad
   g^{-1} = g_1^{-1} \circ \dots \circ g_l^{-1}. \tag{4} $$

**A coupling layer** splits the coordinates into two halves, $h = (h_a, h_b)$. One half passes through, and decides how
the other is scaled and shifted:

$$ x_a = h_a, \qquad x_b = h_b \odot e^{s(h_a)} + t(h_a). \tag{5} $$

Here $s$ and $t$ may be any network, since nobody ever has to invert it: $x_a$ tells $h_a$, and

$$ h_a = x_a, \qquad h_b = (x_b - t(x_a)) \odot e^{-s(x_a)}. \tag{6} $$

The Jacobian matrix is triangular. Its diagonal is 1 for the first half and $e^s$ for the second, so

$$ \log \left| \det \frac{\partial x}{\partial h} \right| = \sum_k s_k(h_a), \tag{7} $$

at no cost at all. The next layer keeps the other half. In the plane each layer moves points up and down by a function
of where they stand from left to right, the next one from left to right by a function of how high they stand. Here
$s = c \tanh(\cdot)$ with a learnt $c$, so that no layer can stretch without bounds early in training, and the networks
begin at $s = t = 0$: $g$ begins as the identity.

**How good can it be?** With $p$ the law of the data, the mean of (3) over all data is (S2's maximum likelihood seen
as a divergence)

$$ \mathbb E_p [-\log p_g(x)] = \mathcal H(p) + \mathrm{KL}(p \,\|\, p_g) \;\ge\; \mathcal H(p), \tag{8} $$

where $\mathcal H(p) = -\mathbb E_p \log p(x)$ is the entropy. Where $p$ is known, so is the distance that is left.

**What it cannot do.** $g$ and its inverse are continuous: neighbours stay neighbours, the plane is bent and stretched
but never torn. The image of one hill cannot be eight separate ones. Between the modes there remain bridges, as thin as
the stretching allows, and some samples lie on them.

Notation
--------
$h, x$ : `h`, `x`, (b, d)
$g, g^{-1}$ : `generator`, `generator.inverse`; both give $\log |\det \partial g / \partial h|$ as well, `log_det`, (b,)
$p_H$ : the standard normal, `log_prior`
$s, t$ : `s`, `t`, (b, d), 0 where the mask keeps a coordinate; $c$ : `reach`, (d,)
$h_a, h_b$ : every other coordinate, by `mask`, (d,), 1 for a and 0 for b
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import batch, in_order
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

AT_ONCE = 1000  # points at a time when there is nothing to learn from them: they stay in the cache

# ---- the equations --------------------------------------------------------------------------------------


def log_prior(h):
    r"""$\log p_H(h)$ of the standard normal: (b, d) to (b,)."""
    return -tg.sum(tg.square(h) + math.log(2 * math.pi), 1) / 2


def log_density(h, log_det):
    r"""(2): $\log p_g(x)$ from $h = g^{-1}(x)$ and the log-determinant there; (b, d), (b,) to (b,)."""
    return log_prior(h) - log_det


def negative_log_likelihood(h, log_det):
    """(3): in nats; (b, d), (b,) to ()."""
    return -tg.mean(log_density(h, log_det))


def couple(h, s, t):
    r"""(5): $x$, with s and t that are 0 on the half that passes through; three of (b, d) to (b, d)."""
    return h * tg.exp(s) + t


def uncouple(x, s, t):
    r"""(6): $h$; three of (b, d) to (b, d)."""
    return (x - t) * tg.exp(-s)


def coupling_log_det(s):
    """(7): (b, d) to (b,)."""
    return tg.sum(s, 1)


def excess(log_p_g, log_p) -> tuple[Any, Any]:
    r"""(8): $\mathcal H(p)$ and $\mathrm{KL}(p \| p_g)$, in nats, from the log-densities of draws of p; (n,) twice."""
    return -tg.mean(log_p), tg.mean(log_p - log_p_g)


# ---- the networks ---------------------------------------------------------------------------------------


class Coupling(nn.Module):
    r"""A coupling layer; at first the identity.

    Parameters
    ----------
    mask : 1 for the coordinates that pass through and decide, 0 for those that are moved, (d,)
    hidden : width of the two hidden layers of the network for $s$ and $t$
    detail : what the first layer's weights are multiplied by at the start. Its units bend at places a distance of
        about 1 / detail apart, so that a large one lets $s$ and $t$ change quickly.
    """

    mask: tg.Tensor

    def __init__(self, mask: np.ndarray, *, hidden: int, detail: float, rng: Generator):
        d = len(mask)
        self.register_buffer("mask", tg.tensor(mask.astype("float32"), device=rng.device))
        first, last = nn.Linear(d, hidden, rng=rng), nn.Linear(hidden, 2 * d, rng=rng)
        self.net = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden, hidden, rng=rng), nn.SiLU(), last)
        for layer, factor in ((first, detail), (last, 0.0)):
            for parameter in layer.parameters():
                parameter.assign(parameter.numpy() * factor)
        self.reach = tg.tensor(np.ones(d, "float32"), requires_grad=True, device=rng.device)

    def scale_and_shift(self, a):
        """s and t for points of which only the first half is looked at: (b, d) to twice (b, d)."""
        d, moved = len(self.reach), 1 - self.mask
        out = self.net(a * self.mask)  # (b, 2d)
        return moved * self.reach * tg.tanh(out[:, :d]), moved * out[:, d:]

    def forward(self, h):
        """(5) and (7): (b, d) to (b, d), (b,)."""
        s, t = self.scale_and_shift(h)
        return couple(h, s, t), coupling_log_det(s)

    def inverse(self, x):
        """(6), and (7) at the place found: (b, d) to (b, d), (b,)."""
        s, t = self.scale_and_shift(x)
        return uncouple(x, s, t), coupling_log_det(s)


class Invertible(nn.Module):
    r"""$g = g_l \circ \dots \circ g_1$, coupling layers that keep one half of the coordinates by turns.

    Parameters
    ----------
    d : how many coordinates, at least two
    layers : $l$
    hidden, detail : of each `Coupling`
    """

    def __init__(self, d: int, *, layers: int = 8, hidden: int = 64, detail: float = 1.0, rng: Generator):
        if d < 2 or layers < 1 or hidden < 1 or not detail > 0:
            raise ValueError(f"Invertible: d is {d}, layers {layers}, hidden {hidden} and detail {detail}; at least "
                             "two coordinates, one layer, one hidden unit and a positive factor wanted")  # fmt: skip
        masks = [np.arange(d) % 2 == j % 2 for j in range(layers)]
        self.layers = nn.ModuleList([Coupling(mask, hidden=hidden, detail=detail, rng=rng) for mask in masks])

    def forward(self, h):
        r"""(4): $g(h)$ and the sum of the log-determinants; (b, d) to (b, d), (b,)."""
        log_det = 0.0
        for layer in self.layers:
            h, more = layer(h)
            log_det = log_det + more
        return h, log_det

    def inverse(self, x):
        r"""(4): $g^{-1}(x)$ and the same sum; (b, d) to (b, d), (b,)."""
        log_det = 0.0
        for layer in reversed(self.layers):
            x, more = layer.inverse(x)
            log_det = log_det + more
        return x, log_det


# ---- the model ------------------------------------------------------------------------------------------


class Flow(Model):
    r"""An invertible generator, learnt by exact maximum likelihood.

    Parameters
    ----------
    n_features : $d$, at least 2
    layers, hidden, detail : of `Invertible`
    lr : learning rate of Adam
    schedule : the factor of it as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the weights and the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x = tg.random.Generator(1).normal((100, 2)) * 0.5 + 2
    >>> flow = Flow(2, layers=2, hidden=8, rng=tg.random.Generator(0)).fit(x, steps=20, run=Run(quiet=True))
    >>> h = flow.transform(x)
    >>> bool(abs(flow.inverse_transform(h) - x).max() < 1e-5)
    True
    """

    def __init__(self, n_features: int, *, layers: int = 8, hidden: int = 64, detail: float = 1.0, lr: float = 2e-3,
                 schedule: Any = None, rng: Generator | None = None):  # fmt: skip
        self.n_features = n_features
        self.rng = Generator() if rng is None else rng
        self.generator = Invertible(n_features, layers=layers, hidden=hidden, detail=detail, rng=self.rng)
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, x):
        r"""(2): $\log p_g(x)$; (b, d) to (b,)."""
        return log_density(*self.generator.inverse(x))

    def update(self, x: np.ndarray) -> dict:
        """One step down (3) on a minibatch (b, d); its value, in nats."""
        loss = negative_log_likelihood(*self.generator.inverse(tg.tensor(x)))
        # Now and then a point between the modes has an enormous gradient.
        grads, _ = optim.clip_by_norm(tg.grad(loss, self.optimizer.params), 10.0)
        self.optimizer.step(grads)
        self.schedule.step()
        return {"nll": loss}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 512, run: Run | None = None) -> Self:
        """Learn from points (n, d); goes on where `run` stopped, if it is a resumed one."""
        x, run = self.checked(x), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size)))
        return self

    # ---- what it can do ----

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """(1): new points (n, d)."""
        rng = Generator(device=self._like.device) if rng is None else rng
        with tg.no_grad():
            return self.generator(tg.tensor(rng.normal((n, self.n_features), dtype=self._like.dtype)))[0].numpy()

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(2): $\log p_g(x)$ of each point, exact; (n, d) to (n,), in nats."""
        return self._in_parts(self, x)

    def transform(self, x: np.ndarray) -> np.ndarray:
        r"""The codes $g^{-1}(x)$: (n, d) to (n, d)."""
        return self._in_parts(lambda part: self.generator.inverse(part)[0], x)

    def inverse_transform(self, h: np.ndarray) -> np.ndarray:
        """The points $g(h)$ of codes: (n, d) to (n, d)."""
        return self._in_parts(lambda part: self.generator(part)[0], h)

    @property
    def _like(self) -> tg.Tensor:
        """A Tensor whose dtype and device are the networks'."""
        return next(self.parameters())

    def _in_parts(self, f, x) -> np.ndarray:
        """What f gives for all points, on the host; so many at a time, so that any number fits in memory."""
        with tg.no_grad():
            return np.concatenate([f(tg.tensor(part)).numpy() for part in in_order(self.checked(x), AT_ONCE)])

    def checked(self, x: Any):
        """x as points in the networks' dtype, on their device, or an error that says what is wrong."""
        x = backend.asarray(x, self._like.dtype, self._like.device)
        if x.ndim != 2 or x.shape[1] != self.n_features or not len(x):
            raise ValueError(f"Flow: x has shape {x.shape}; at least one row of {self.n_features} numbers is wanted")
        require_finite("Flow: x", x)
        return x

r"""Backpropagation by hand (S2 §3.2; Rumelhart, Hinton and Williams 1986), beside the engine.

A feed-forward network passes its input $h^{(0)} = x$ through layers (S2 eq. 3.5),

$$ h^{(\ell)} = \sigma^{(\ell)}(a^{(\ell)}), \qquad a^{(\ell)} = W^{(\ell)\top} h^{(\ell - 1)} + b^{(\ell)},
   \qquad \ell = 1, \dots, L, \tag{1} $$

and a cost $c$ judges its output: $C(x, \theta) = c(h^{(L)})$. How does $C$ change with a weight deep inside? A weight
of layer $\ell$ acts through that layer's values only, so by the chain rule (S2 eq. 3.6)

$$ \frac{\partial C}{\partial \theta_\ell} = \sum_j \frac{\partial C}{\partial h_j^{(\ell)}}
   \frac{\partial h_j^{(\ell)}}{\partial \theta_\ell}, \tag{2} $$

and the values of layer $\ell$ act through those of layer $\ell + 1$ only. Hence $\delta^\ell = \partial C / \partial
h^{(\ell)}$ can be had from $\delta^{\ell + 1}$ (S2 eq. 3.7): errors flow back along the edges that the values came by,

$$ \delta^L = \nabla c(h^{(L)}), \qquad
   \delta^\ell = \delta^{\ell + 1} \cdot \frac{\partial h^{(\ell + 1)}}{\partial h^{(\ell)}}
   = W^{(\ell + 1)} \left(\delta^{\ell + 1} \odot \sigma'(a^{(\ell + 1)})\right). \tag{3} $$

The second form is the first with $\partial h_j^{(\ell + 1)} / \partial h_k^{(\ell)} = \sigma'(a_j^{(\ell + 1)})\,
W_{kj}^{(\ell + 1)}$ put in; likewise (2) becomes

$$ \frac{\partial C}{\partial W^{(\ell)}} = h^{(\ell - 1)} \left(\delta^\ell \odot \sigma'(a^{(\ell)})\right)^\top,
   \qquad \frac{\partial C}{\partial b^{(\ell)}} = \delta^\ell \odot \sigma'(a^{(\ell)}). \tag{4} $$

One pass forward and one back, each a product by every $W$, give *all* derivatives; one at a time they would cost a
pass each. Two costs, with $y$ the right class (S2 eqs. 3.8–3.10) or the right output:

$$ c(h) = -\log \mathrm{softmax}(h)_y, \qquad \nabla c(h) = \mathrm{softmax}(h) - e_y, \tag{5} $$
$$ c(h) = \tfrac12 \|h - y\|^2, \qquad \nabla c(h) = h - y. \tag{6} $$

**Why deep networks were hard.** By (3), each layer multiplies the error's length by at most

$$ \|\delta^\ell\| \le \|W^{(\ell + 1)}\|\, \max |\sigma'|\; \|\delta^{\ell + 1}\|, \tag{7} $$

and the sigmoid's slope is at most $\tfrac14$: unless $\|W\|$ is 4 or more, little is left to learn from after twenty
layers.

**Corners.** $\mathrm{relu}(a) = \max(0, a)$ has no derivative at 0. What takes its place is a *subgradient* (S2 eq.
3.11), the slope of a line through $(w_0, f(w_0))$ that stays below $f$:

$$ f(w) - f(w_0) \ge u \cdot (w - w_0) \qquad \text{for all } w. \tag{8} $$

For a convex function of one variable these slopes are the interval from the left derivative to the right one:
$[0, 1]$ for relu at 0, $[-1, 1]$ for $|w|$. Any of them will do in a descent on a convex $f$; here and in the engine
relu takes $u = 0$. Two things S2 leaves unsaid: (8) defines subgradients for convex $f$ only, and the cost of a network
is not convex in its weights; and a chain rule through corners need not give a subgradient even where one exists. The
function $\mathrm{relu}(w) - \mathrm{relu}(-w)$ is $w$, whose slope is 1; but with $\mathrm{relu}'(0) = u$, (3) gives
$2u$ at 0. It matters little, since a corner is hit with probability 0.

In S2 the *lines* of $W^{(\ell)}$ are said to belong to neurons; with $W^\top$ in (1) it is the columns.

Notation
--------
$x = h^{(0)}, h^{(\ell)}, a^{(\ell)}$ : `x`, `h[l]`, `a[l]`, (b, n_l): examples are rows, so that (1) reads `h @ W + b`
$W^{(\ell)}, b^{(\ell)}, \sigma^{(\ell)}$ : the l-th `Layer`: `W`, (n_{l-1}, n_l); `b`, (n_l,); `sigma`
$\delta^\ell$ : `delta[l]`, (b, n_l)
$c$ : a `Cost`, averaged over the b examples: its gradient carries the factor 1/b
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier
from tinygen.nn import functional as F

# ---- activations and costs, each with its derivative by hand ------------------------------------------------------


class Activation(NamedTuple):
    r"""$\sigma(a)$, and $\sigma'$ given $a$ and $h = \sigma(a)$."""

    value: Callable[[Any], Any]
    slope: Callable[[Any, Any], Any]


ACTIVATIONS = {
    "identity": Activation(lambda a: a, lambda a, h: a * 0 + 1),
    "sigmoid": Activation(tg.sigmoid, lambda a, h: h * (1 - h)),
    "tanh": Activation(tg.tanh, lambda a, h: 1 - h * h),
    "softplus": Activation(tg.softplus, lambda a, h: tg.sigmoid(a)),
    "relu": Activation(tg.relu, lambda a, h: a > 0),  # at 0 the subgradient 0, see (8)
}


class Cost(NamedTuple):
    r"""$c(h)$ given the truth $y$, averaged over examples, and $\nabla c$."""

    value: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], Any]


def cross_entropy_slope(h, y):
    r"""(5): $\mathrm{softmax}(h) - e_y$ over the batch's size; (b, n), (b,) to (b, n)."""
    e_y = y[:, None] == backend.array_module(y).arange(h.shape[1])
    return (F.softmax(h, 1) - e_y) / len(h)


def squared_error(h, y):
    r"""(6): $\tfrac12 \|h - y\|^2$, averaged over the batch; (b, n), (b, n) to ()."""
    return tg.sum(tg.square(h - y)) / (2 * len(h))


def squared_error_slope(h, y):
    """(6): $h - y$ over the batch's size; (b, n), (b, n) to (b, n)."""
    return (h - y) / len(h)


COSTS = {
    "cross-entropy": Cost(F.cross_entropy, cross_entropy_slope),
    "squared error": Cost(squared_error, squared_error_slope),
}

# ---- forward, and back ------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    r"""$W$, $b$ (arrays or Tensors) and the name of $\sigma$."""

    W: Any
    b: Any
    sigma: str


def forward(x, layers: Sequence[Layer]) -> tuple[list, list]:
    """(1), on arrays or on Tensors: the values h[0], ..., h[L] and what goes into the activations, a[1], ..., a[L]."""
    h, a = [x], [None]
    for layer in layers:
        a.append(tg.matmul(h[-1], layer.W) + layer.b)  # (b, n_l)
        h.append(ACTIVATIONS[layer.sigma].value(a[-1]))
    return h, a


def slopes(h: list, a: list, layers: Sequence[Layer]) -> list:
    r"""$\sigma'(a^{(\ell)})$ of every layer; [0] is None, as for a."""
    return [None] + [ACTIVATIONS[layer.sigma].slope(a[i], h[i]) for i, layer in enumerate(layers, 1)]


def deltas(delta_L, slope: list, layers: Sequence[Layer]) -> list:
    r"""(3): $\delta^0, \dots, \delta^L$ from $\delta^L$; $\delta^0$ is the gradient by the input."""
    delta = [delta_L]
    for i in range(len(layers), 0, -1):
        delta.insert(0, tg.matmul(delta[0] * slope[i], tg.transpose(layers[i - 1].W)))  # (b, n_{i-1})
    return delta


def gradients(x, y, layers: Sequence[Layer], cost: str) -> tuple[Any, list[tuple[Any, Any]]]:
    r"""The cost, and (4): $(\partial C / \partial W^{(\ell)}, \partial C / \partial b^{(\ell)})$ of every layer.

    x, y and the layers' W and b are raw arrays; no operation is recorded.
    """
    h, a = forward(x, layers)
    slope = slopes(h, a, layers)
    delta = deltas(COSTS[cost].slope(h[-1], y), slope, layers)
    found = []
    for i in range(1, len(layers) + 1):
        error = delta[i] * slope[i]  # (b, n_i)
        found.append((tg.matmul(tg.transpose(h[i - 1]), error), tg.sum(error, 0)))  # summed over the examples
    return COSTS[cost].value(h[-1], y), found


def error_bound(W, slope, delta) -> float:
    r"""(7), right side: $\|W^{(\ell + 1)}\| \max |\sigma'|\, \|\delta^{\ell + 1}\|$, for one example, on the host."""
    return float(np.linalg.norm(W, 2) * np.abs(slope).max() * np.linalg.norm(delta))


# ---- corners ----------------------------------------------------------------------------------------------------


def is_subgradient(f: Callable[[Any], Any], u, w_0, w) -> bool:
    """(8), tried at many places.

    Parameters
    ----------
    f : a convex function of places (k, d) that gives (k,)
    u, w_0 : the slope and the place, (d,)
    w : where the inequality is tried, (k, d)
    """
    w_0 = np.asarray(w_0, float)
    return bool(np.all(f(w) - f(w_0[None]) >= (w - w_0) @ np.asarray(u, float) - 1e-12))


def subgradients(f: Callable[[Any], Any], w_0: float, *, step: float = 1e-6) -> tuple[float, float]:
    """The interval of slopes (8) of a convex function of one number: from its left to its right derivative."""
    left, middle, right = f(np.array([w_0 - step, w_0, w_0 + step]))
    return float((middle - left) / step), float((right - middle) / step)


# ---- the model --------------------------------------------------------------------------------------------------


class Network(Classifier):
    r"""A feed-forward classifier that learns by (4), without the engine's backward pass.

    Parameters
    ----------
    sizes : $n_0, \dots, n_L$: the length of an input, the hidden layers' widths, the number of classes
    activation : $\sigma$ of the hidden layers, one of `ACTIVATIONS`; the last layer's is the identity
    lr, momentum : of the stochastic gradient descent
    rng : the Generator of the weights and the minibatches; None takes fresh entropy

    Examples
    --------
    >>> net = Network(4, 8, 3, rng=tg.random.Generator(0))
    >>> x, y = tg.random.Generator(1).normal((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    >>> by_hand, by_engine = net.gradients(x, y), net.gradients_by_engine(x, y)
    >>> max(float(abs(a - b).max()) for a, b in zip(by_hand, by_engine)) < 1e-6
    True
    """

    def __init__(self, *sizes: int, activation: str = "relu", lr: float = 0.1, momentum: float = 0.9,
                 rng: Generator | None = None):  # fmt: skip
        if len(sizes) < 2 or activation not in ACTIVATIONS:
            raise ValueError(f"Network: two sizes or more and an activation among {', '.join(ACTIVATIONS)} are wanted, "
                             f"got {sizes} and {activation!r}")  # fmt: skip
        self.n_features, self.sizes, self.activation = sizes[0], sizes, activation
        self.rng = Generator() if rng is None else rng
        gain = 2.0 if activation == "relu" else 1.0  # half of a relu's inputs are lost
        for i, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1):
            W = self.rng.normal((n, m), 0.0, (gain / n) ** 0.5)
            setattr(self, f"W{i}", tg.tensor(W, requires_grad=True))
            setattr(self, f"b{i}", tg.tensor(W[0] * 0, requires_grad=True))
        self.optimizer = optim.SGD(self.parameters(), lr, momentum=momentum)

    def layers(self) -> list[Layer]:
        """The layers, holding the parameters themselves."""
        L = len(self.sizes) - 1
        return [Layer(getattr(self, f"W{i}"), getattr(self, f"b{i}"), self.activation if i < L else "identity")
                for i in range(1, L + 1)]  # fmt: skip

    def raw_layers(self) -> list[Layer]:
        """The layers, holding arrays, on which nothing is recorded."""
        return [Layer(W.data, b.data, sigma) for W, b, sigma in self.layers()]

    def forward(self, x):
        """(1): inputs (b, features) to logits (b, classes), recorded."""
        return forward(x, self.layers())[0][-1]

    def gradients(self, x, y) -> list:
        """The gradient of the mean cross-entropy by every parameter, by hand, as raw arrays."""
        return self._by_hand(*self.checked(x, y))[1]

    def gradients_by_engine(self, x, y) -> list:
        """The same by the engine's walk back."""
        return [g.data for g in tg.grad(self.loss(*self.checked(x, y)), list(self.parameters()))]

    def _by_hand(self, x, y) -> tuple[Any, list]:
        cost, pairs = gradients(x, y, self.raw_layers(), "cross-entropy")
        return cost, [g for pair in pairs for g in pair]  # in the order of the parameters

    def update(self, x, y) -> dict:
        """One step on a minibatch by (4); its cost, in nats."""
        cost, grads = self._by_hand(x, y)
        self.optimizer.step(grads)
        return {"loss": cost}

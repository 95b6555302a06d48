r"""The feed-forward net (S2 §3.1; S0): what one wide layer can do, and what depth adds to it.

A neural network is a directed graph with a neuron at each vertex (S2 def. 3.1.1). In a *feed-forward* net the vertices
stand in layers $H_0, \dots, H_L$, and every neuron of a layer hears all those of the layer before (S2 eqs. 3.3–3.4).
With $h^{(0)} = x$, the *fully connected* layer $i$ computes (S2 eq. 3.5; S0 writes $\sigma(Wx - b)$)

$$ h^{(i)} = \sigma^{(i)}\left(W^{(i)\top} h^{(i - 1)} + b^{(i)}\right), \qquad f(x, \theta) = h^{(L)}. \tag{1} $$

Each column of $W^{(i)}$ is a neuron (S2 says each line; with $W^\top$ it is the columns). With $n_i$ neurons in layer
$i$ there are

$$ \sum_{i=1}^{L} (n_{i - 1} + 1)\, n_i \tag{2} $$

numbers to learn. Without $\sigma$, (1) would be one linear map, however many layers it had. With it, what can it be?

**One hidden layer is enough, if it is wide.** S0: "universal approximation properties!", and then, "if there is
infinite number of neurons..." Take a continuous $f$ on $[0, 1]$, and let

$$ \omega(\delta) = \max_{|s - t| \le \delta} |f(s) - f(t)| \tag{3} $$

say how much it can change on the way $\delta$. *With sigmoids*: cut $[0, 1]$ into $n + 1$ cells of one length, by
$t_k = k / (n + 1)$, and let $m_0, \dots, m_n$ be their middles. A steep sigmoid is nearly a step, and $n$ steps make a
staircase:

$$ g(x) = f(m_0) + \sum_{k=1}^{n} \left(f(m_k) - f(m_{k - 1})\right) \sigma\left(c\,(x - t_k)\right). \tag{4} $$

At any $x$, all steps further away than half a cell are done, or not begun, up to $e^{-c/(2n + 2)}$. At most one is
nearer; while it is under way, $g(x)$ goes from $f$ at the middle of $x$'s cell or its neighbour's to the other, and
neither middle is further from $x$ than a cell's length. Thus

$$ \max_x |g - f| \le \omega\left(\tfrac{1}{n + 1}\right)
   + e^{-c / (2n + 2)} \sum_k |f(m_k) - f(m_{k - 1})|, \tag{5} $$

as small as you like, for large $n$ and then large $c$. *With relus*, $\sigma(a) = \max(0, a)$: each adds a bend, so
that $n$ of them draw straight lines between values $v_0, \dots, v_n$ at places $t_0 < \dots < t_n$,

$$ g(x) = v_0 + \sum_{k=0}^{n - 1} (s_k - s_{k - 1}) \max(0, x - t_k), \qquad
   s_k = \frac{v_{k + 1} - v_k}{t_{k + 1} - t_k}, \quad s_{-1} = 0, \tag{6} $$

and between equidistant values of a function with $|f''| \le M$ these lines are never further from it than

$$ \max_x |g - f| \le \frac{M}{8 n^2}. \tag{7} $$

For many inputs the theorem is that of Hornik, Stinchcombe and White (1989). S2 reports that a net "can well approximate
any Borel measurable function": this means outside a set of small probability. Everywhere at once, only continuous
functions can be approximated, and on a bounded set: with a continuous $\sigma$ a net is continuous, and where $f$ jumps
by $J$ it is wrong by at least $J / 2$ on one side or the other. And the theorem says that good weights exist, not that
descent finds them, nor how many examples it takes.

**Depth** ("stack more layers!", S0). With relus and one input, $f(x, \theta)$ consists of straight pieces. A neuron
bends each piece that it is given at most once. So a layer of $n$ neurons makes at most $p\,(n + 1)$ pieces of $p$, and
with hidden layers of $n_1, \dots, n_{L - 1}$ there are

$$ p \le (n_1 + 1)(n_2 + 1) \cdots (n_{L - 1} + 1) \tag{8} $$

of them: side by side neurons add pieces, one behind the other they multiply them. The *tent*, two neurons,

$$ T(x) = 2 \max(0, x) - 4 \max(0, x - \tfrac12), \tag{9} $$

goes from 0 up to 1 and back to 0 while $x$ crosses $[0, 1]$. Behind itself it folds once more: $T^D = T \circ \dots
\circ T$, with $D$ hidden layers of two neurons, is a saw of $2^D$ straight pieces between 0 and 1. One layer needs
$2^D - 1$ neurons to do the same, and with fewer it does not come anywhere near (Telgarsky 2016; S2 cites Eldan and
Shamir, who have another function): for any $g$ of $p$ pieces,

$$ \max_{0 \le x \le 1} |g - T^D| \ge \tfrac12 \quad \text{if } p < 2^D. \tag{10} $$

For if the error were less, $g - \frac12$ would change its sign between any two neighbours of the $2^D + 1$ corners,
where the saw is 0 and 1 by turns; but a straight piece changes its sign at most once.

Saws are not the point; smooth functions profit too (Yarotsky 2017). The lines (6) for $x^2$ with $2^{D - 1}$ equal
steps and those with $2^D$ differ by a saw with teeth of height $4^{-D}$. Hence

$$ x^2 = x - \sum_{j=1}^{\infty} \frac{T^j(x)}{4^j}, \qquad
   \max_{0 \le x \le 1} \Big| x^2 - x + \sum_{j=1}^{D} \frac{T^j(x)}{4^j} \Big| = \frac{1}{4^{D + 1}}, \tag{11} $$

with $3 D$ neurons: two for each tent, one to carry the sum. Of any function of $p$ straight pieces, one is as long as
$1/p$; and there the best line misses the parabola by

$$ \max_{0 \le x \le 1} |g - x^2| \ge \frac{1}{8 p^2}, \tag{12} $$

so that one layer of $n$ neurons errs by $1 / (8 (n + 1)^2)$ at least. Depth makes the error fall exponentially.

Notation
--------
$x, h^{(i)}$ : `x`, (b, n_0), `h`, (b, n_i): examples are rows, so that (1) reads `h @ W + b`
$W^{(i)}, b^{(i)}, \sigma^{(i)}$ : a `Layer`: `W`, (n_{i-1}, n_i); `b`, (n_i,); `sigma`, a name
$f, \omega, c$ : `f`, a function of an array; `modulus`; `c`
$t_k, v_k$ : `t`, (n + 1,); `v`, (n + 1, m), of $m$ functions at once
$p, D$ : `pieces`, `depth`
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch
from tinygen.models.model import Model, require_finite
from tinygen.models.supervised.backpropagation import ACTIVATIONS, Layer
from tinygen.runs import Run

Function = Callable[[Any], Any]

# ---- the net ----------------------------------------------------------------------------------------------------


def fully_connected(h, W, b, sigma: str):
    r"""(1), one layer: $\sigma(W^\top h + b)$; (b, n), (n, m), (m,) to (b, m)."""
    return ACTIVATIONS[sigma].value(tg.matmul(h, W) + b)


def feed_forward(x, layers: Sequence[Layer]):
    """(1), all layers: (b, n_0) to (b, n_L)."""
    for W, b, sigma in layers:
        x = fully_connected(x, W, b, sigma)
    return x


def n_weights(*sizes: int) -> int:
    r"""(2): $\sum_i (n_{i-1} + 1) n_i$."""
    return sum((n + 1) * m for n, m in itertools.pairwise(sizes))


class FullyConnected(nn.Module):
    r"""A layer (1) with weights of its own, which start from $\mathcal N(0, 1/n)$ ($2/n$ for relu) and biases from 0.

    Parameters
    ----------
    n, m : lengths of what comes in and what goes out
    sigma : "relu", "sigmoid", "tanh", "softplus" or "identity"
    rng : the Generator of the weights
    """

    def __init__(self, n: int, m: int, sigma: str = "relu", *, rng: Generator):
        if sigma not in ACTIVATIONS:
            raise ValueError(f"FullyConnected: sigma is {sigma!r}; one of {', '.join(ACTIVATIONS)} is wanted")
        self.sigma = sigma
        gain = 2.0 if sigma == "relu" else 1.0  # half of a relu's inputs are lost
        self.W = tg.tensor(rng.normal((n, m), 0.0, (gain / n) ** 0.5), requires_grad=True)
        self.b = tg.zeros(m, requires_grad=True, device=rng.device)

    def forward(self, h):
        """(1): (b, n) to (b, m)."""
        return fully_connected(h, self.W, self.b, self.sigma)


def stack(sizes: Sequence[int], sigma: str, rng: Generator) -> nn.Sequential:
    r"""Fully connected layers of $n_0, \dots, n_L$ neurons; the last one's $\sigma$ is the identity."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"a net's sizes are {tuple(sizes)}; two or more, each at least 1, are wanted")
    last = len(sizes) - 2
    return nn.Sequential(*[FullyConnected(n, m, sigma if i < last else "identity", rng=rng)
                           for i, (n, m) in enumerate(itertools.pairwise(sizes))])  # fmt: skip


# ---- one hidden layer is enough, if it is wide: on the host -------------------------------------------------------


def modulus(f: Function, delta: float, *, points: int = 20_001) -> float:
    r"""(3): $\omega(\delta)$ of a function on [0, 1], from its values at so many places."""
    v, reach = f(np.linspace(0, 1, points)), 1 + math.ceil(delta * (points - 1))
    return float(np.max(maximum_filter1d(v, reach, mode="nearest") - minimum_filter1d(v, reach, mode="nearest")))


def staircase(f: Function, n: int, c: float) -> list[Layer]:
    """(4): n sigmoids that follow f on [0, 1], as a net."""
    t, middles = np.arange(1, n + 1) / (n + 1), (np.arange(n + 1) + 0.5) / (n + 1)
    steps = np.diff(f(middles))
    return [Layer(np.full((1, n), c), -c * t, "sigmoid"), Layer(steps[:, None], f(middles[:1]), "identity")]


def staircase_bound(f: Function, n: int, c: float) -> float:
    r"""(5), right side."""
    steps = np.diff(f((np.arange(n + 1) + 0.5) / (n + 1)))
    return modulus(f, 1 / (n + 1)) + math.exp(-c / (2 * n + 2)) * float(np.sum(np.abs(steps)))


def interpolant(t: np.ndarray, v: np.ndarray) -> list[Layer]:
    """(6): n relus that draw straight lines between values v (n + 1, m) at places t (n + 1,), as a net."""
    s = np.diff(v, axis=0) / np.diff(t)[:, None]  # (n, m)
    bends = np.diff(s, axis=0, prepend=0 * s[:1])
    return [Layer(np.ones((1, len(s))), -t[:-1], "relu"), Layer(bends, v[0], "identity")]


def interpolation_bound(M: float, n: int) -> float:
    r"""(7): $M / (8 n^2)$."""
    return M / (8 * n**2)


# ---- depth: on the host -------------------------------------------------------------------------------------------


def most_pieces(*widths: int) -> int:
    r"""(8): $\prod_i (n_i + 1)$, for the hidden layers' widths."""
    return math.prod(n + 1 for n in widths)


def tent(x):
    r"""(9): $T(x)$."""
    return 2 * tg.relu(x) - 4 * tg.relu(x - 0.5)


def saw(depth: int) -> list[Layer]:
    r"""$T^D$ as a net with $D$ hidden layers of two neurons: what (9) makes of the one before is never formed."""
    up, bend = np.array([[2.0], [-4.0]]), np.array([0.0, -0.5])
    first, later = Layer(np.ones((1, 2)), bend, "relu"), Layer(np.tile(up, 2), bend, "relu")
    return [first, *[later] * (depth - 1), Layer(up, np.zeros(1), "identity")]


def least_error_to_saw(pieces: int, depth: int) -> float:
    r"""(10): the least error of any function of so many straight pieces as an approximation of $T^D$, or 0."""
    return 0.5 if pieces < 2**depth else 0.0


def parabola(depth: int) -> list[Layer]:
    r"""(11): $x - \sum_{j \le D} T^j(x) / 4^j$ as a net with $D$ hidden layers of three neurons.

    The third one carries the sum so far, which is at least $x^2 \ge 0$, so that its relu does nothing.
    """
    bend = np.array([0.0, -0.5, 0.0])
    layers = [Layer(np.ones((1, 3)), bend, "relu")]
    for j in range(1, depth + 1):
        W = np.array([[2.0, 2.0, -2 / 4**j], [-4.0, -4.0, 4 / 4**j], [0.0, 0.0, 1.0]])  # to T^j, T^j, and the sum
        last = j == depth
        layers.append(Layer(W[:, 2:], np.zeros(1), "identity") if last else Layer(W, bend, "relu"))
    return layers


def least_error_to_parabola(pieces: int) -> float:
    r"""(12): $1 / (8 p^2)$."""
    return 1 / (8 * pieces**2)


# ---- a net that learns a function -----------------------------------------------------------------------------------


class FeedForward(Model):
    r"""A net (1) that learns a function from examples, by the mean squared error.

    Parameters
    ----------
    sizes : $n_0, \dots, n_L$: the length of an input, the hidden layers' widths, the length of an output
    sigma : $\sigma$ of the hidden layers; the last layer's is the identity
    lr : learning rate of Adam
    rng : the Generator of the weights and the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x = np.linspace(0, 1, 50)[:, None]
    >>> net = FeedForward(1, 8, 1, sigma="tanh", rng=tg.random.Generator(0)).to(dtype="float64").fit_exactly(x, x**2)
    >>> bool(abs(net.predict(x) - x**2).max() < 0.01)
    True
    """

    def __init__(self, *sizes: int, sigma: str = "relu", lr: float = 1e-2, rng: Generator | None = None):
        self.rng = Generator() if rng is None else rng
        self.body = stack(sizes, sigma, self.rng)
        self.sizes = sizes
        self.optimizer = optim.Adam(self.parameters(), lr)

    def forward(self, x):
        """(1): (b, n_0) to (b, n_L)."""
        return self.body(x)

    def start_at(self, layers: Sequence[Layer]) -> Self:
        """Take over weights such as those of `staircase` or `interpolant`, to learn from there on."""
        values = [a for W, b, _ in layers for a in (W, b)]
        for parameter, value in zip(self.parameters(), values, strict=True):
            parameter.assign(value)
        return self

    def loss(self, x, y):
        """The mean squared error: (b, n_0), (b, n_L) to ()."""
        return tg.mean(tg.square(self(x) - y))

    def update(self, x, y) -> dict:
        """One step on a minibatch; its loss."""
        loss = self.loss(x, y)
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        return {"loss": loss}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from inputs (n, n_0) and outputs (n, n_L), a minibatch at a time."""
        run, data = run or Run(), self.checked(x, y)
        for _ in run.steps(self, steps):
            run.log(**self.update(*batch(data, self.rng, batch_size)))
        return self

    def fit_exactly(self, x: np.ndarray, y: np.ndarray, *, steps: int = 2000) -> Self:
        """Learn from all examples at once, by so many steps of SciPy's L-BFGS; best in float64."""
        x, y = self.checked(x, y)
        optim.minimize(lambda: self.loss(x, y), self.parameters(),
                       options=dict(maxiter=steps, maxfun=2 * steps, gtol=1e-9, ftol=1e-14, maxcor=30))  # fmt: skip
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The outputs: (n, n_0) to (n, n_L)."""
        with tg.no_grad():
            return self(tg.tensor(self.checked(x))).numpy()

    def checked(self, x, y=None) -> Any:
        """x, and y if given, as arrays where the parameters are, or an error that says what is wrong."""
        like = next(iter(self.parameters()))
        x = self._rows("x", backend.asarray(x, like.dtype, like.device), self.sizes[0])
        if y is None:
            return x
        y = self._rows("y", backend.asarray(y, like.dtype, like.device), self.sizes[-1])
        if len(y) != len(x):
            raise ValueError(f"FeedForward: x has {len(x)} rows and y {len(y)}; as many are wanted")
        return x, y

    def _rows(self, name: str, a, n: int):
        """The array, if it has rows of n finite numbers."""
        if a.shape[1:] != (n,) or not len(a):
            raise ValueError(f"FeedForward: {name} has shape {a.shape}; at least one row of {n} is wanted")
        require_finite(f"FeedForward: {name}", a)
        return a

r"""A restricted Boltzmann machine whose visible units are real numbers (Hinton 2012; Cho, Ilin and Raiko 2011).

The machine of S3 part 1 (`rbm`) sees zeros and ones. Grey levels, heights or voltages are real numbers, and for them
the energy has another term. (This is beyond the documents.) Each visible unit $v_j$ gets a parabola about $b_j$, with
a standard deviation $\sigma_j$ that is given, and the hidden units stay 0 or 1:

$$ E(v, h) = \sum_{j=1}^{n} \frac{(v_j - b_j)^2}{2 \sigma_j^2} - c^\top h
   - \sum_{j, i} \frac{v_j}{\sigma_j^2} W_{ji} h_i. \tag{1} $$

**Both rows are easy given the other**, as before. In $h$ the energy is linear, with $v_j / \sigma_j^2$ in the place of
$v_j$. In $v$ it is a parabola still; completing the square shows that its middle has moved to $b + W h$:

$$ p(h_i = 1|v) = s\Bigl(c_i + \sum_j \frac{v_j}{\sigma_j^2} W_{ji}\Bigr), \qquad s(a) = \frac1{1 + e^{-a}}, \tag{2} $$
$$ p(v|h) = \mathcal N\bigl(v;\, b + W h,\, \operatorname{diag}(\sigma_1^2, \dots, \sigma_n^2)\bigr). \tag{3} $$

So each hidden unit that is on *adds its column of $W$ to the picture*, and $W$, $b$ and $\sigma$ are measured in the
units of the data. (Hinton has $v_j / \sigma_j$ in the last term of (1), so that his weights are $W_{ji} / \sigma_j$;
with $\sigma = 1$ the two agree.) The sum over $h$ is a product over hidden units again, hence the free energy

$$ F(v) = -\log \sum_h e^{-E(v, h)} = \sum_j \frac{(v_j - b_j)^2}{2 \sigma_j^2}
   - \sum_i \log\Bigl(1 + e^{c_i + \sum_j W_{ji} v_j / \sigma_j^2}\Bigr). \tag{4} $$

**A mixture of Gaussians in disguise.** For each $h$ the integral over $v$ is Gaussian. It leaves

$$ -F'(h) = \log \int e^{-E(v, h)}\, dv = c^\top h + \sum_j \frac{(b + W h)_j^2 - b_j^2}{2 \sigma_j^2}
   + \frac12 \sum_j \log(2 \pi \sigma_j^2), \tag{5} $$
$$ \log Z = \log \sum_h e^{-F'(h)}, \qquad p(h) = \frac{e^{-F'(h)}}{Z}, \tag{6} $$
$$ p(v) = \frac{e^{-F(v)}}{Z}
   = \sum_h p(h)\, \mathcal N\bigl(v;\, b + W h,\, \operatorname{diag}(\sigma_1^2, \dots, \sigma_n^2)\bigr). \tag{7} $$

These are $2^m$ Gaussians of one shape. Their means are $b$ plus every sum of columns of $W$: with $m$ columns, one has
exponentially many means, and their shares follow from (6) as well. (5) is quadratic in $h$, so the hidden units
are not independent, and (6) has $2^m$ terms: it is exact for few hidden units, and out of reach for many, as in the
binary machine. For few, then, there are exact likelihoods, and exact draws: $h$ by (6), then $v$ by (3).

**Learning** is that of `rbm`, by its equations 8 and 10. Only the derivatives of the free energy are new,

$$ -\frac{\partial F(v)}{\partial W} = \frac{v}{\sigma^2}\, p^\top, \qquad
   -\frac{\partial F(v)}{\partial b} = \frac{v - b}{\sigma^2}, \qquad
   -\frac{\partial F(v)}{\partial c} = p, \tag{8} $$

with the division by entries and $p$ for (2); contrastive divergence takes their mean over the data less that over the
chains, in which $b / \sigma^2$ cancels. The standard deviations are not learnt here. They say how finely the machine
looks: what is smaller than $\sigma$ counts as noise, which (3) adds to whatever the hidden units have drawn.

**What to mind.** The data are first *standardised*, each number to mean 0 and variance 1, and Hinton then advises
$\sigma = 1$. That is safe, and coarse: the noise alone has already the variance of a pixel. Near $W = 0$ (and with
$b$ such that the mean is right) the exact gradient makes a column grow only along a direction in which the data
vary by more than $\sigma$. A smaller $\sigma$ makes sharper pictures, and makes all slopes steeper, by $1 / \sigma^2$.
And nothing bounds $v$: a column that grows draws larger numbers, and these pull it further. So the rate must fall with
$\sigma^2$, and is some ten to a hundred times smaller than for binary units; otherwise the weights explode, and
`update` stops with an error that says so. The demo shows both.

Notation
--------
$v, h$ : `v`, `h`, (b, n) and (b, m), b configurations at a time
$W, b, c$ : `weight`, (n, m); `visible_bias`, (n,); `hidden_bias`, (m,)
$\sigma^2$ : `variance`, (n,)
$s, p$ : `tg.sigmoid`; `p_h`, (b, m), the probabilities (2)
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import in_order
from tinygen.models.energy.rbm import CACHED, RBM, configurations, contrastive_gradient
from tinygen.models.model import require_finite

EXPLODED = 1e4  # a mean |gradient by b| that no standardised data have

# ---- the equations --------------------------------------------------------------------------------------


def energy(v, h, W, b, c, variance):
    r"""(1): parabolas $- c^\top h - (v / \sigma^2)^\top W h$; (..., n), (..., m), ..., (n,) to (...)."""
    parabolas = tg.sum((v - b) ** 2 / (2 * variance), axis=-1)
    return parabolas - tg.sum(c * h, axis=-1) - tg.sum(tg.matmul(v / variance, W) * h, axis=-1)


def hidden_probability(v, W, c, variance):
    r"""(2): $s(c + (v / \sigma^2) W)$; (..., n), (n, m), (m,), (n,) to (..., m)."""
    return tg.sigmoid(tg.matmul(v / variance, W) + c)


def visible_mean(h, W, b):
    r"""(3): the mean $b + W h$; (..., m), (n, m), (n,) to (..., n)."""
    return tg.matmul(h, tg.transpose(W)) + b


def free_energy(v, W, b, c, variance):
    r"""(4): $\sum_j (v_j - b_j)^2 / 2 \sigma_j^2 - \sum_i \log(1 + e^{c_i + \dots})$; (..., n) to (...)."""
    parabolas = tg.sum((v - b) ** 2 / (2 * variance), axis=-1)
    return parabolas - tg.sum(tg.softplus(tg.matmul(v / variance, W) + c), axis=-1)


def log_mass(h, W, b, c, variance):
    r"""(5): $-F'(h) = \log \int e^{-E(v, h)}\, dv$; (r, m) to (r,)."""
    squares = visible_mean(h, W, b) ** 2 - b**2  # (r, n)
    gaussians = tg.sum(tg.log(2 * math.pi * variance)) / 2
    return tg.matmul(h, c) + tg.matmul(squares, 1 / (2 * variance)) + gaussians


def log_masses(W, b, c, variance):
    """(5) for every hidden configuration: raw arrays to (2^m,), best in float64."""
    rows = configurations(len(c), W, max(64, CACHED // len(b)))
    return backend.array_module(W).concatenate([log_mass(h, W, b, c, variance) for h in rows])


def log_partition(W, b, c, variance) -> float:
    r"""(6): $\log Z = \log \sum_h e^{-F'(h)}$; raw arrays, best in float64."""
    return float(tg.logsumexp(log_masses(W, b, c, variance)))


# ---- the model ------------------------------------------------------------------------------------------


class GaussianRBM(RBM):
    r"""A restricted Boltzmann machine of real visible units and hidden ones that are 0 or 1.

    Chains, updates and verbs are those of `RBM`; only what touches the visible units is its own.

    Parameters
    ----------
    n_visible, n_hidden : $n$ and $m$
    std : $\sigma$, a number, or one for each visible unit (n,)
    k, particles, lr, momentum, weight_decay, schedule, rng : as for `RBM`

    Examples
    --------
    >>> import tinygen as tg
    >>> from tinygen.runs import Run
    >>> x = tg.random.Generator(1).normal((20, 6))
    >>> rbm = GaussianRBM(6, 3, rng=tg.random.Generator(0)).fit(x, steps=3, run=Run(quiet=True))
    >>> rbm.transform(x).shape, rbm.sample(5, steps=10).shape, rbm.log_prob(x).shape
    ((20, 3), (5, 6), (20,))
    """

    variance: tg.Tensor
    binary_visible = False

    def __init__(self, n_visible: int, n_hidden: int, *, std: Any = 1.0, k: Any = 1, particles: int = 0,
                 lr: float = 0.01, momentum: float = 0.0, weight_decay: float = 0.0, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        super().__init__(n_visible, n_hidden, k=k, particles=particles, lr=lr, momentum=momentum,
                         weight_decay=weight_decay, schedule=schedule, rng=rng)  # fmt: skip
        std = np.asarray(std, dtype=np.float32)
        if std.shape not in ((), (n_visible,)) or not (np.all(std > 0) and np.all(np.isfinite(std))):
            raise ValueError(f"{type(self).__name__}: std is {std.tolist()!r}; a positive number is wanted, or one for "
                             f"each of the {n_visible} visible units")  # fmt: skip
        variance = tg.tensor(np.broadcast_to(std**2, (n_visible,)), device=self.rng.device)
        self.register_buffer("variance", variance)

    # ---- what is new, on raw arrays ----

    def hidden_mean(self, v):
        r"""$\mathbb E[h|v]$, by (2): (b, n) to (b, m)."""
        return hidden_probability(v, self.weight.data, self.hidden_bias.data, self.variance.data)

    def visible_mean(self, h):
        r"""$\mathbb E[v|h]$, by (3): (b, m) to (b, n)."""
        return visible_mean(h, self.weight.data, self.visible_bias.data)

    def draw_visible(self, mean, rng: Generator):
        r"""$v$ from (3) with this mean: (b, n) to (b, n)."""
        return mean + tg.sqrt(self.variance.data) * rng.normal(mean.shape, dtype=mean.dtype)

    def noise(self, n: int, rng: Generator):
        """Where chains start that know of no data, standard normal draws: (n, n_visible)."""
        return rng.normal((n, self.n_visible), dtype=self.weight.dtype)

    def gradients(self, v, p_h, v_model, p_model) -> tuple[Any, ...]:
        """(8) over the chains less that over the data, by W, b and c: (10) of `rbm`, for $v / \\sigma^2$."""
        variance = self.variance.data
        return contrastive_gradient(v / variance, p_h, v_model / variance, p_model, out=self._memory())

    def update(self, v) -> dict:
        """One step of (8), as in `RBM`; weights that explode are noticed by the gradient, before it overflows."""
        parts = super().update(v)
        if not float(parts["gap"]) < EXPLODED:
            raise FloatingPointError(f"{type(self).__name__}: the weights have exploded by update {self.schedule.t}; "
                                     "a smaller lr is wanted, or data of mean 0 and variance 1")  # fmt: skip
        return parts

    def start_at(self, x: np.ndarray) -> Self:
        """Before training: set the visible biases to the mean of data (rows, n)."""
        self.visible_bias.assign(self.checked(x).mean(axis=0))
        return self

    # ---- what it can do ----

    def free_energy(self, x: np.ndarray) -> np.ndarray:
        """$F(v)$ by (4): (b, n) to (b,), in nats."""
        parts = [free_energy(v, *self._letters()) for v in in_order(self.checked(x), 1024)]
        return np.concatenate([backend.to_numpy(part) for part in parts])

    def log_z(self) -> float:
        r"""$\log Z$ by (6), exact, in float64; with many hidden units it is refused."""
        self._enumerable(self.n_hidden, "log_z", "fewer hidden units are wanted for an exact sum")
        return log_partition(*self._in_double())

    def hidden_masses(self):
        """(5) of every hidden configuration, raw (2^m,), in float64."""
        return log_masses(*self._in_double())

    def _letters(self) -> list[Any]:
        r"""W, b, c and $\sigma^2$."""
        return [p.data for p in (self.weight, self.visible_bias, self.hidden_bias, self.variance)]

    def _in_double(self) -> list[Any]:
        return [p.astype("float64") for p in self._letters()]

    def _require_range(self, x) -> None:
        require_finite(f"{type(self).__name__}: x", x)

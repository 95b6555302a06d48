r"""The restricted Boltzmann machine (Smolensky 1986; Hinton 2002; S3 part 1).

Two rows of units that are 0 or 1: the visible ones $v$ are the pixels of an image, the hidden ones $h$ say what is
in it. Every visible unit is tied to every hidden one, and none to its own kind ("restricted"). A network of
this sort does not compute an output; it assigns an energy to each configuration,

$$ E(v, h) = -b^\top v - c^\top h - v^\top W h, \tag{1} $$

and configurations of low energy are common (the Boltzmann distribution):

$$ p(v, h) = \frac1Z e^{-E(v, h)}, \qquad Z = \sum_{v, h} e^{-E(v, h)}. \tag{2} $$

**Both rows are easy given the other.** Given $v$ the energy is a sum over hidden units, so they are independent,
and the same holds the other way round ($\sigma$ is the logistic function):

$$ p(h_i = 1|v) = \sigma\Bigl(c_i + \sum_j v_j W_{ji}\Bigr), \tag{3} $$
$$ p(v_j = 1|h) = \sigma\Bigl(b_j + \sum_i W_{ji} h_i\Bigr). \tag{4} $$

Drawing $h$ by (3), then $v$ by (4), and over again (*Gibbs sampling*) gives draws from $p(v, h)$ in the long run.
The sum over all $h$ of $e^{-E(v, h)}$ is a product over hidden units. Hence the *free energy*

$$ F(v) = -\log \sum_h e^{-E(v, h)} = -b^\top v - \sum_i \log\bigl(1 + e^{c_i + \sum_j v_j W_{ji}}\bigr), \tag{5} $$
$$ \log p(v) = -F(v) - \log Z. \tag{6} $$

**What is hard is $Z$**, a sum over all $2^{n + m}$ configurations. One row can be summed out as in (5). The formula
treats both rows alike, so take the longer one; over the shorter one the sum remains. With $F'(h)$ the free
energy of a hidden configuration, which is (5) with $b$ and $c$ exchanged and $W$ transposed,

$$ \log Z = \log \sum_h e^{-F'(h)} = \log \sum_v e^{-F(v)}. \tag{7} $$

With 20 units in one row that is a million terms; with more, `annealed_importance_sampling` estimates it.

**Learning** goes up the gradient of the log-likelihood. From (2), for any parameter $\theta$,

$$ \frac{\partial \log p(v)}{\partial \theta}
   = -\sum_h p(h|v) \frac{\partial E(v, h)}{\partial \theta}
     + \sum_{\tilde v, h} p(\tilde v, h) \frac{\partial E(\tilde v, h)}{\partial \theta}
   = -\frac{\partial F(v)}{\partial \theta}
     + \mathbb E_{\tilde v \sim p} \frac{\partial F(\tilde v)}{\partial \theta}. \tag{8} $$

The first term lowers the energy where the data are, the second raises it where the model is; at the maximum they
cancel. By (5) the three derivatives of $-F$ are the averages

$$ -\frac{\partial F(v)}{\partial W} = v\, p^\top, \quad -\frac{\partial F(v)}{\partial b} = v, \quad
   -\frac{\partial F(v)}{\partial c} = p, \qquad p_i = p(h_i = 1|v). \tag{9} $$

**Contrastive divergence** (CD-$k$). The second term of (8) needs draws from the model, thus long chains. Hinton's
short cut starts the chain at the data and stops after $k$ Gibbs steps at $\tilde v$, with $\tilde p$ for its (3):

$$ \Delta W = \eta\, (v\, p^\top - \tilde v\, \tilde p^\top), \qquad
   \Delta b = \eta\, (v - \tilde v), \qquad \Delta c = \eta\, (p - \tilde p). \tag{10} $$

This is a step down the gradient of $F(v) - F(\tilde v)$ with $\tilde v$ held fixed. It is not the gradient (8): the
chain has not had the time to go where the model is wrong far from the data. More steps are less biased. With
few, the likelihood may rise and then fall again (Fischer and Igel 2010; the demo shows it on bars and stripes, and
its table on MNIST), while the reconstructions keep getting better. As the weights grow, chains forget more slowly,
so that $k$ should grow too: Salakhutdinov and Murray (2008) let it rise to 25 while learning (here `k` may be a
function of the update's number). In (10) S3 has draws $h$ in place of the probabilities $p$; these have the same mean
and less noise. The chain itself must draw, or the hidden units would pass on more than a bit each.

**Persistent chains** (Younes 1989; Tieleman 2008). The parameters move little in one update, so a chain need not
start anew. A set of *fantasy particles* takes the place of $\tilde v$ in (10), each update moves them on by
$k$ steps, and over many updates they wander wherever the model has probability. The rate must be small, and fall, so
that they keep up; where they do not, the model raises the energy of places that it has long left.

**Where to start.** With $W = 0$ the pixels are independent, and the best $b$ gives each its mean
$\bar v_j$ over the data: Hinton (2012) starts there, so that the hidden units need not learn it:

$$ b_j = \log \frac{\bar v_j}{1 - \bar v_j}. \tag{11} $$

**What may go wrong**, and `diagnose` tells. A hidden unit whose $p_i$ hardly differs from image to image is *dead*: it
adds to a bias, and no more. And chains that run long may end in places of much lower free energy than the data's: then
learning by short chains has never been there to raise it. (Had it reached the maximum, the mean energy would be
the same over the data and over the model, by (8) and since (1) is linear in the parameters.)

Misprints in S3: it writes $\log L(\theta|v) = p(v|\theta)$ for $\log p(v|\theta)$, and weighs the data term of (8) by
$p(h, v)$, which is $p(h|v)$. With $W$ visible × hidden, its $w_{ij}$ in (3) and (4) is $W_{ji}$.

Notation
--------
$v, h$ : `v`, `h`, (b, n) and (b, m), b configurations at a time
$W, b, c$ : `weight`, (n, m); `visible_bias`, (n,); `hidden_bias`, (m,)
$p, \tilde p$ : `p_h`, (b, m), the probabilities (3)
$k, \eta$ : `k`, `optimizer.lr`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.linear import gemm
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model
from tinygen.runs import Run

MOST_UNITS = 22  # in a row whose configurations are gone through: four million
CACHED = 2**14  # numbers in an array of a long sum, so that it stays in the cache
DEAD = 0.05  # a hidden unit whose probability differs by less over all images tells them not apart

# ---- the equations --------------------------------------------------------------------------------------


def energy(v, h, W, b, c):
    r"""(1): $-b^\top v - c^\top h - v^\top W h$; (..., n), (..., m), (n, m), (n,), (m,) to (...)."""
    return -tg.sum(b * v, axis=-1) - tg.sum(c * h, axis=-1) - tg.sum(tg.matmul(v, W) * h, axis=-1)


def hidden_probability(v, W, c):
    r"""(3): $\sigma(c + v W)$; (..., n), (n, m), (m,) to (..., m)."""
    return tg.sigmoid(tg.matmul(v, W) + c)


def visible_probability(h, W, b):
    r"""(4): $\sigma(b + h W^\top)$; (..., m), (n, m), (n,) to (..., n)."""
    return tg.sigmoid(tg.matmul(h, tg.transpose(W)) + b)


def free_energy(v, W, b, c):
    r"""(5): $-b^\top v - \sum_i \log(1 + e^{c_i + \sum_j v_j W_{ji}})$; (..., n) to (...)."""
    return -tg.matmul(v, b) - tg.sum(tg.softplus(tg.matmul(v, W) + c), axis=-1)


def binary(number, n: int, dtype):
    """The digits of whole numbers to the base 2, lowest first: (r,) to (r, n)."""
    return ((number[:, None] >> backend.array_module(number).arange(n)) & 1).astype(dtype)


def configurations(n: int, like, rows: int = 1024) -> Iterator[Any]:
    """The digits of 0, ..., $2^n - 1$, at most `rows` at a time, as arrays of the kind of `like`: (r, n)."""
    xp = backend.array_module(like)
    for first in range(0, 2**n, rows):
        yield binary(xp.arange(first, min(first + rows, 2**n)), n, like.dtype)


def log_masses(W, b, c):
    r"""$-F'(h)$ for every hidden configuration: raw (n, m), (n,), (m,) to (2^m,), best in float64."""
    rows = configurations(len(c), W, max(64, CACHED // len(b)))
    return backend.array_module(W).concatenate([-free_energy(h, W.T, c, b) for h in rows])


def log_partition(W, b, c) -> float:
    r"""(7): $\log Z$, by a sum over the configurations of the shorter row; raw arrays, best in float64."""
    return float(tg.logsumexp(log_masses(W, b, c) if len(c) <= len(b) else log_masses(W.T, c, b)))


def statistics(v, p_h) -> tuple[Any, Any, Any]:
    r"""(9), averaged over configurations (r, n) with their $p$ (r, m): (n, m), (n,), (m,); raw arrays."""
    return gemm(v, p_h, transpose_a=True) / len(v), v.mean(axis=0), p_h.mean(axis=0)


def contrastive_gradient(v, p_h, v_model, p_model, *, out=None) -> tuple[Any, Any, Any]:
    r"""(10): $-\Delta / \eta$, the gradient of the mean of $F$ over data (b, n) less that over draws (r, n).

    By $W$, $b$ and $c$, for raw arrays. Both halves of $\Delta W$ are one product, of (n, b + r) and (b + r, m), which
    spares passes over $W$; it is written to `out` (n, m) if that is given.
    """
    xp = backend.array_module(v)
    both = xp.concatenate([v, v_model])  # (b + r, n)
    signed = xp.concatenate([p_h / -len(v), p_model / len(v_model)])  # (b + r, m)
    return gemm(both, signed, transpose_a=True, out=out), v_model.mean(axis=0) - v.mean(axis=0), signed.sum(axis=0)


def log_likelihood_gradient(v, W, b, c) -> tuple[Any, Any, Any]:
    """(8), averaged over data (b, n), with a sum over all visible configurations: for small machines; raw arrays."""
    log_z, model = log_partition(W, b, c), (0.0, 0.0, 0.0)
    for u in configurations(len(b), W):
        p_u = tg.exp(-free_energy(u, W, b, c) - log_z)  # (r,), by (6)
        p_h = hidden_probability(u, W, c)
        terms = gemm(u * p_u[:, None], p_h, transpose_a=True), tg.matmul(p_u, u), tg.matmul(p_u, p_h)
        model = tuple([total + term for total, term in zip(model, terms, strict=True)])
    return tuple([d - m for d, m in zip(statistics(v, hidden_probability(v, W, c)), model, strict=True)])


def log_odds(mean, floor: float = 1e-3):
    r"""(11): $\log(\bar v / (1 - \bar v))$, with $\bar v$ kept `floor` away from 0 and 1; raw array of any shape."""
    xp = backend.array_module(mean)
    mean = xp.clip(mean, floor, 1 - floor)
    return xp.log(mean / (1 - mean))


# ---- the model ------------------------------------------------------------------------------------------


class RBM(Model):
    r"""A restricted Boltzmann machine of units that are 0 or 1.

    Learning and sampling touch the units only through `hidden_mean`, `visible_mean`, `draw_hidden`, `draw_visible` and
    `noise`; a machine with other units writes its own, and its own `free_energy` and `gradients`
    (`gaussian_rbm` does).

    Parameters
    ----------
    n_visible, n_hidden : $n$ and $m$
    k : Gibbs steps in an update, or a function that gives them for the update's number (from 0), so that they may rise
    particles : how many fantasy particles go on from update to update; 0 starts each chain at the data (CD-$k$)
    lr, momentum : of the stochastic gradient ascent
    schedule : the factor of `lr` as a function of the update's number, such as `optim.schedules.Cosine(1000)`
    weight_decay : $\lambda$; each update also goes down the gradient of $\frac\lambda2 \|W\|^2$ (not of the biases')
    rng : the Generator of the weights, the minibatches and the chains; None takes fresh entropy. The model lives
        on its device.

    Examples
    --------
    >>> import tinygen as tg
    >>> x = tg.random.Generator(1).bernoulli(0.5, (20, 6))
    >>> rbm = RBM(6, 3, rng=tg.random.Generator(0)).fit(x, steps=3, run=Run(quiet=True))
    >>> rbm.transform(x).shape, rbm.sample(5, steps=10).shape, rbm.log_prob(x).shape
    ((20, 3), (5, 6), (20,))
    """

    particles: tg.Tensor | None
    binary_visible = binary_hidden = True

    def __init__(self, n_visible: int, n_hidden: int, *, k: int | Callable[[int], int] = 1, particles: int = 0,
                 lr: float = 0.05, momentum: float = 0.0, weight_decay: float = 0.0, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        if n_visible < 1 or n_hidden < 1:
            raise ValueError(f"{type(self).__name__}: a unit at least in each row is wanted, got {n_visible} visible "
                             f"and {n_hidden} hidden")  # fmt: skip
        if (not callable(k) and k < 1) or particles < 0:
            raise ValueError(f"{type(self).__name__}: k is {k!r} and particles {particles!r}; at least one Gibbs step "
                             "and no fewer than 0 particles are wanted")  # fmt: skip
        if not weight_decay >= 0:
            raise ValueError(f"{type(self).__name__}: weight_decay is {weight_decay!r}; at least 0 is wanted")
        self.n_visible, self.n_hidden, self.k, self.weight_decay = n_visible, n_hidden, k, weight_decay
        self.rng = Generator() if rng is None else rng
        device = self.rng.device
        self.weight = tg.tensor(self.rng.normal((n_visible, n_hidden), std=0.01), requires_grad=True)
        self.visible_bias = tg.zeros(n_visible, requires_grad=True, device=device)
        self.hidden_bias = tg.zeros(n_hidden, requires_grad=True, device=device)
        fantasies = tg.tensor(self.noise(particles, self.rng)) if particles else None
        self.register_buffer("particles", fantasies)
        self.optimizer = optim.SGD(self.parameters(), lr, momentum=momentum)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    # ---- the two conditionals, on raw arrays ----

    def hidden_mean(self, v):
        r"""$\mathbb E[h|v]$, by (3): (b, n) to (b, m)."""
        return hidden_probability(v, self.weight.data, self.hidden_bias.data)

    def visible_mean(self, h):
        r"""$\mathbb E[v|h]$, by (4): (b, m) to (b, n)."""
        return visible_probability(h, self.weight.data, self.visible_bias.data)

    def draw_hidden(self, mean, rng: Generator):
        r"""$h$ from $p(h|v)$ with this mean: (b, m) to (b, m)."""
        return rng.bernoulli(mean, dtype=mean.dtype)

    def draw_visible(self, mean, rng: Generator):
        r"""$v$ from $p(v|h)$ with this mean: (b, n) to (b, n)."""
        return rng.bernoulli(mean, dtype=mean.dtype)

    def noise(self, n: int, rng: Generator):
        r"""Where chains start that know of no data, coin flips: (n, n_visible)."""
        return rng.bernoulli(0.5, (n, self.n_visible), dtype=self.weight.dtype)

    def chain(self, p_h, steps: int, rng: Generator) -> tuple[Any, Any]:
        r"""Gibbs steps from where the hidden units have mean `p_h`: (b, m) to $\tilde v$ (b, n), $\tilde p$ (b, m)."""
        for _ in range(steps):
            v = self.draw_visible(self.visible_mean(self.draw_hidden(p_h, rng)), rng)
            p_h = self.hidden_mean(v)
        return v, p_h

    # ---- learning ----

    def update(self, v) -> dict:
        """One step of (10) on a minibatch (b, n): raw arrays, no graph.

        Returns
        -------
        dict
            "gap", the mean size of $\\Delta b / \\eta$: by (8) it would be 0 at the maximum but for the noise of the
            minibatch; and if the chains start at the data "error", the mean of $|v - \\tilde v|$.
        """
        p_h = self.hidden_mean(v)
        start = p_h if self.particles is None else self.hidden_mean(self.particles.data)
        v_model, p_model = self.chain(start, self.k(self.schedule.t) if callable(self.k) else self.k, self.rng)
        if self.particles is not None:
            self.particles.assign(v_model)
        g_W, g_b, *others = self.gradients(v, p_h, v_model, p_model)
        if self.weight_decay:  # the optimiser's own would pull at the biases too
            g_W += self.weight_decay * self.weight.data
        self.optimizer.step([g_W, g_b, *others])
        self.schedule.step()
        parts = {"gap": abs(g_b).mean()}
        return parts if self.particles is not None else {**parts, "error": abs(v - v_model).mean()}

    def gradients(self, v, p_h, v_model, p_model) -> tuple[Any, ...]:
        r"""(10): $-\Delta / \eta$ by each of `parameters()`, in their order, from the data and from the chains."""
        return contrastive_gradient(v, p_h, v_model, p_model, out=self._memory())

    def _memory(self):
        """Memory for the gradient by $W$, used again: a new array of this size costs page faults (`benchmarks/rbm`)."""
        W, kept = self.weight.data, vars(self).get("_gradient")
        if kept is None or kept.dtype != W.dtype or backend.device_of(kept) != self.weight.device:
            kept = self._gradient = backend.array_module(W).empty(W.shape, W.dtype)
        return kept

    def start_at(self, x: np.ndarray) -> Self:
        """Before training: set the visible biases by (11) from images (rows, n)."""
        self.visible_bias.assign(log_odds(self.checked(x).mean(axis=0)))
        return self

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 100, resample: bool = False,
            run: Run | None = None) -> Self:  # fmt: skip
        """Train on images (rows, n) in [0, 1]; goes on where `run` stopped, if it is a resumed one.

        resample : whether grey levels become black and white, drawn anew for each minibatch; otherwise they are taken
            as probabilities
        """
        x, run = self.checked(x), run or Run()
        for _ in run.steps(self, steps):
            v = batch(x, self.rng, batch_size)  # (b, n)
            run.log(**self.update(self.rng.bernoulli(v, dtype=v.dtype) if resample else v))
        return self

    # ---- what it can do ----

    def sample(self, n: int, *, steps: int = 500, rng: Generator | None = None) -> np.ndarray:
        """New images (n, n_visible): where chains from `noise` are after so many Gibbs steps."""
        rng = self._generator(rng)
        return self.gibbs(self.noise(n, rng), steps=steps, rng=rng)

    def sample_exactly(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New images (n, n_visible) without a chain: h by its probability, which (7) gives, then v by (4)."""
        self._enumerable(self.n_hidden, "sample_exactly", "sample draws by chains")
        rng = self._generator(rng)
        h = binary(rng.categorical(self.hidden_masses(), shape=n), self.n_hidden, self.weight.dtype)
        return backend.to_numpy(self.draw_visible(self.visible_mean(h), rng))

    def gibbs(self, x: np.ndarray, *, steps: int = 1, rng: Generator | None = None) -> np.ndarray:
        """Where chains that start at images are after so many Gibbs steps: (b, n) to (b, n), zeros and ones."""
        v = self.checked(x)
        if steps < 0:
            raise ValueError(f"{type(self).__name__}: steps is {steps!r}; no fewer than 0 Gibbs steps are wanted")
        return backend.to_numpy(self.chain(self.hidden_mean(v), steps, self._generator(rng))[0] if steps else v)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """What the hidden units see in images: their probabilities (3), (b, n) to (b, m)."""
        return backend.to_numpy(self.hidden_mean(self.checked(x)))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Images through (3) and back through (4), without a draw: (b, n) to (b, n)."""
        return backend.to_numpy(self.visible_mean(self.hidden_mean(self.checked(x))))

    def free_energy(self, x: np.ndarray) -> np.ndarray:
        """$F(v)$ by (5): (b, n) to (b,), in nats."""
        parameters = [p.data for p in (self.weight, self.visible_bias, self.hidden_bias)]
        parts = [free_energy(v, *parameters) for v in in_order(self.checked(x), 1024)]
        return np.concatenate([backend.to_numpy(part) for part in parts])

    def diagnose(self, x: np.ndarray, *, steps: int = 100, rng: Generator | None = None) -> dict[str, float]:
        """Whether learning has gone wrong, by images (rows, n) and by as many chains of so many Gibbs steps.

        Returns
        -------
        dict
            "dead", how many hidden units have a probability (3) that differs by less than `DEAD` over all images, so
            that they say the same of each; "never on", how many of these have one below a half; "largest weight"; and
            "chains below", the mean free energy of the images less that of the chains, in nats. Chains that lie far
            below are in places which the model has come to prefer to the data. Weights that have exploded show as
            numbers that are not finite.
        """
        p = self.transform(x)  # (rows, m)
        dead = np.ptp(p, axis=0) < DEAD
        free = [self.free_energy(v).mean() for v in (x, self.sample(len(x), steps=steps, rng=rng))]
        return {
            "dead": int(dead.sum()),
            "never on": int((p.mean(axis=0) < 0.5)[dead].sum()),
            "largest weight": float(abs(self.weight.data).max()),
            "chains below": float(free[0] - free[1]),
        }

    def log_z(self) -> float:
        r"""$\log Z$ by (7), exact, in float64; with a long shorter row it is refused."""
        self._enumerable(min(self.n_visible, self.n_hidden), "log_z",
                         "annealed_importance_sampling.log_partition estimates it")  # fmt: skip
        return log_partition(*self._in_double())

    def log_prob(self, x: np.ndarray, *, log_z: float | None = None) -> np.ndarray:
        r"""$\log p(v)$ by (6), of zeros and ones (b, n) to (b,), in nats; with the exact $\log Z$, or a given one.

        At grey levels $-F$ is convex, so that this is at most the mean over black and white versions.
        """
        free = self.free_energy(x)  # checks x before the long sum
        return -free - (self.log_z() if log_z is None else log_z)

    def hidden_masses(self):
        r"""$-F'(h)$ of every hidden configuration, raw (2^m,), in float64: $\log p(h) + \log Z$."""
        return log_masses(*self._in_double())

    def _in_double(self) -> list[Any]:
        """W, b and c in float64."""
        return [p.data.astype("float64") for p in (self.weight, self.visible_bias, self.hidden_bias)]

    def _enumerable(self, units: int, method: str, instead: str) -> None:
        """Refuse a sum over too many configurations."""
        if units > MOST_UNITS:
            raise ValueError(f"{type(self).__name__}.{method}: {self.n_visible} visible and {self.n_hidden} hidden "
                             f"units make 2^{units} terms, and 2^{MOST_UNITS} is the most; {instead}")  # fmt: skip

    def _generator(self, rng: Generator | None) -> Generator:
        """rng, or one of fresh entropy on the parameters' device."""
        return Generator(device=self.weight.device) if rng is None else rng

    def checked(self, x):
        """x as rows of pixels in the parameters' dtype, on their device, or an error that says what is wrong."""
        x, name = backend.asarray(x, self.weight.dtype, self.weight.device), type(self).__name__
        if x.ndim != 2 or x.shape[1] != self.n_visible:
            raise ValueError(f"{name}: x has shape {x.shape}; rows of {self.n_visible} pixels are wanted "
                             f"(x.reshape(len(x), -1) flattens images)")  # fmt: skip
        if not len(x):
            raise ValueError(f"{name}: x has no rows; one image at least is wanted")
        self._require_range(x)
        return x

    def _require_range(self, x) -> None:
        """Refuse values that the visible units cannot take."""
        if not (0 <= float(x.min()) and float(x.max()) <= 1):
            raise ValueError(f"{type(self).__name__}: x has values from {float(x.min()):.4g} to {float(x.max()):.4g}; "
                             "pixels in [0, 1] are wanted")  # fmt: skip

r"""A fully visible belief net with a hidden layer, in groups (Bengio and Bengio 2000; S4, "two more ingredients").

The logistic net of `belief_net` looks at each earlier pixel by itself: it can add up what they say, but not notice
that two of them mean something together. A hidden layer can. The order of the variables must be kept, though: what
predicts $x_j$ must not have seen it, nor what comes after it. So all three layers are cut into groups, one for each
variable, and a group is connected to groups of earlier variables only.

**Input.** The variables are discrete: $x_\ell$ has the values $0, \dots, K_\ell - 1$, and its group has a unit for
each value but the first,

$$ z_{\ell k} = \mathbb 1_{x_\ell = k}, \qquad k = 1, \dots, K_\ell - 1. \tag{1} $$

(The first value is all zeros. A pixel that is 0 or 1 is its own input.) There are groups $1$ to $d - 1$, since
nothing comes after $x_d$.

**Hidden.** Group $j$ has $m$ units that look at the variables before $x_j$; there are groups $2$ to $d$, for nothing
comes before $x_1$:

$$ h_j = \tanh\Big( c_j + \sum_{\ell \in L_j} V_{j\ell}\, z_\ell \Big), \qquad
   L_j \subseteq \{1, \dots, j - 1\}. \tag{2} $$

**Output.** Group $j$ sees its own hidden group and those of earlier variables. None of them has seen $x_j$:

$$ g_j = b_j + W_{jj}\, h_j + \sum_{i \in L_j,\, i > 1} W_{ji}\, h_i. \tag{3} $$

Here $c_j$ is of length $m$, $b_j$ and $g_j$ of length $K_j - 1$, and $V_{j\ell}$ and $W_{ji}$ are matrices. A softmax
makes probabilities of $g_j$, with $g_{j0} = 0$ for the first value,

$$ P(x_j = k | x_1, \dots, x_{j-1}) = \frac{e^{g_{jk}}}{\sum_{k'} e^{g_{jk'}}}, \tag{4} $$

which for two values is the logistic function again. The first variable has $P(x_1)$ from its bias alone. The product
of these factors is a distribution, exactly normalised, with

$$ \log P(x) = \sum_{j=1}^d g_{j x_j} - \log \Big( 1 + \sum_{k=1}^{K_j - 1} e^{g_{jk}} \Big). \tag{5} $$

The hidden units are no random variables: given $x$ they are known. So the net is still fully visible. They are
shared, group $i$ serves all later outputs, which is what $d$ separate nets could not do.

**Links.** $L_j$ holds the earlier variables that are linked to $x_j$: all of them, or those that pass the test of
`links`. The same pairs are connected twice, as S4 says: variable $\ell$ with hidden group $j$, and hidden group
$\ell$ with output group $j$. (An output keeps its own hidden group whatever the test says, or its links of the first
kind would be idle.) As matrices, with $l_{j\ell} = 1$ if $\ell \in L_j$ and 0 otherwise, so that $l$ has zeros on and
above its diagonal, the weights of (2) and (3) exist where

$$ l_{j\ell} = 1 \quad \text{(input to hidden)}, \qquad
   l_{ji} + \delta_{ji} = 1 \quad \text{(hidden to output)}. \tag{6} $$

Without weights $W$ the best biases are the log-odds of each value against the first,
$b_{jk} = \log (\hat P_n(X_j = k) / \hat P_n(X_j = 0))$ (`start_at`). Training starts there, with $W = 0$ and small
random $V$: from independent variables. Grey images are treated as in `belief_net`: `resample=True`.

Notation
--------
$x, z$ : `x`, (n, d), integers; `z`, (n, d, K - 1), K the largest $K_\ell$: units of values that are not there stay 0
$h$ : `h`, (n, (d - 1) m), group 2 first
$g$ : `g`, (n, d, K - 1)
$V, c$ : `V`, ((d - 1) m, (d - 1) (K - 1)); `c`, ((d - 1) m,)
$W, b$ : `W`, (d (K - 1), (d - 1) m); `b`, (d (K - 1),)
$l$ : `links`, (d, d)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.density.links import dependence, linked
from tinygen.models.model import Model
from tinygen.runs import Run

ABSENT = -1e4  # g of a value that a variable does not have: e^g is 0 in any float

# ---- the equations --------------------------------------------------------------------------------------


def coded(x, n_values: int, dtype):
    r"""(1): $z$; raw integers (n, d) to (n, d, `n_values` - 1)."""
    values = backend.array_module(x).arange(1, n_values, dtype=x.dtype)
    return (x[:, :, None] == values).astype(dtype)


def hidden(z, V, c):
    r"""(2), with 0 in V where there is no link; z of the groups 1 to d - 1, (n, d - 1, K - 1), to (n, (d - 1) m)."""
    return tg.tanh(tg.matmul(tg.reshape(z, (len(z), -1)), tg.transpose(V)) + c)


def outputs(h, W, b, d: int):
    r"""(3), with 0 in W where there is no link; (n, (d - 1) m) to (n, d, K - 1)."""
    return tg.reshape(tg.matmul(h, tg.transpose(W)) + b, (len(h), d, -1))


def probabilities(g):
    r"""(4): of all values, the first included; (n, d, K - 1) to (n, d, K)."""
    xp = backend.array_module(g)
    g = xp.concatenate([0 * g[..., :1], g], axis=-1)
    g = tg.exp(g - g.max(axis=-1, keepdims=True))
    return g / g.sum(axis=-1, keepdims=True)


def log_likelihood(z, g):
    r"""(5): $\log P(x)$ in nats, $x$ as $z$, or as the probabilities of its values; twice (n, d, K - 1) to (n,)."""
    return tg.sum(tg.sum(z * g, axis=2) - tg.softplus(tg.logsumexp(g, axis=2)), axis=1)


def masks(links, inputs: int, m: int):
    r"""(6): where V and W have weights; links (d, d), `inputs` = K - 1, to two arrays of ones and zeros."""
    xp, d = backend.array_module(links), len(links)
    first = links[1:, :-1]  # from the groups 1 to d - 1 to 2 to d
    second = (links + xp.eye(d, dtype=links.dtype))[:, 1:]  # from the groups 2 to d to 1 to d
    return (first.repeat(m, axis=0).repeat(inputs, axis=1), second.repeat(inputs, axis=0).repeat(m, axis=1))


# ---- the model ------------------------------------------------------------------------------------------


class GroupedBeliefNet(Model):
    r"""A net of groups for discrete variables, whose links may be pruned by a test.

    Parameters
    ----------
    n_values : $K_1, \dots, K_d$, how many values each variable has, two at least
    units : $m$, hidden units in a group
    threshold : $\tau$ of the link test, which `fit` makes before it trains; None links all pairs
    lr : learning rate of Adam
    schedule : the factor of `lr` as a function of the update's number, such as `optim.schedules.Cosine(1000)`
    weight_decay : Adam's, which also goes down the gradient of half of it times the squared weights
    rng : the Generator of the weights, the minibatches and black-and-white versions; None takes fresh entropy. The
        model lives on its device.

    Attributes
    ----------
    links : $l$, (d, d), row j has ones for the earlier variables that are linked to variable j

    Examples
    --------
    >>> x = np.array([[0, 0, 0], [1, 0, 1], [0, 2, 0], [1, 2, 1]])  # the third variable repeats the first
    >>> net = GroupedBeliefNet((2, 3, 2), units=2, threshold=0.1, lr=0.05, rng=tg.random.Generator(0))
    >>> net.start_at(x).fit(x, steps=200, run=Run(quiet=True)).links.numpy()[2]
    array([1., 0., 0.], dtype=float32)
    >>> net.sample(5).shape, net.score_samples(x).round(1)  # log 1/4 = -1.4
    ((5, 3), array([-1.4, -1.4, -1.4, -1.4], dtype=float32))
    """

    links: tg.Tensor

    def __init__(self, n_values: Sequence[int], *, units: int = 1, threshold: float | None = None, lr: float = 3e-3,
                 schedule: Any = None, weight_decay: float = 0.0, rng: Generator | None = None):  # fmt: skip
        if len(n_values) < 2 or min(n_values) < 2 or units < 1:
            raise ValueError(f"GroupedBeliefNet: two variables of two values each at least and a hidden unit are "
                             f"wanted, got {len(n_values)} variables of {min(n_values, default=0)} or more values and "
                             f"{units} units")  # fmt: skip
        self.n_values, self.units, self.threshold = tuple(map(int, n_values)), units, threshold
        self.rng = Generator() if rng is None else rng
        d, inputs, device = len(n_values), max(n_values) - 1, self.rng.device
        n_hidden = (d - 1) * units
        there = np.arange(1, inputs + 1) < np.array(self.n_values)[:, None]  # (d, K - 1)
        self.V = tg.tensor(self.rng.normal((n_hidden, (d - 1) * inputs), std=1 / math.sqrt(d)), requires_grad=True)
        self.c = tg.zeros(n_hidden, requires_grad=True, device=device)
        self.W = tg.zeros((d * inputs, n_hidden), requires_grad=True, device=device)
        self.b = tg.zeros(d * inputs, requires_grad=True, device=device)
        self.register_buffer("links", tg.tensor(linked(np.ones((d, d)), None), device=device))
        self.absent = tg.tensor(np.where(there, 0, ABSENT).astype("float32"), device=device).data  # (d, K - 1)
        self.optimizer = optim.Adam(self.parameters(), lr, weight_decay=weight_decay)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())
        self._connect(self.links.data)

    def _connect(self, links) -> None:
        """Take over links, and the masks (6) that follow from them."""
        self.links.assign(links)
        self._masks = masks(self.links.data, max(self.n_values) - 1, self.units)

    def load_state_dict(self, state) -> None:
        """Take over a `state_dict`, with its links."""
        super().load_state_dict(state)
        self._connect(self.links.data)

    def linked_weights(self) -> tuple[Any, Any]:
        """V and W with 0 where there is no link, (6)."""
        return self.V * self._masks[0], self.W * self._masks[1]

    def forward(self, z):
        """(2) and (3): (n, d, K - 1) to $g$ of the same shape."""
        V, W = self.linked_weights()
        return outputs(hidden(z[:, :-1], V, self.c), W, self.b, len(self.n_values)) + self.absent

    def share_of_links(self) -> float:
        """How many of the groups that could be connected are, in both layers together."""
        d, pairs = len(self.n_values), float(self.links.data.sum())
        idle = float(self.links.data[:, 0].sum())  # the first variable has no hidden group to be linked to outputs
        return (pairs + pairs - idle + d - 1) / (d * (d - 1))

    # ---- learning ----

    def start_at(self, x: np.ndarray) -> Self:
        """Before training: set the output biases to the log-odds in x (n, d) of each value against the first.

        A value is counted a tenth of a time more often than it occurs: one that does not must not be impossible.
        """
        x = self.checked(x, grey=max(self.n_values) == 2)
        z = self._coded(x)
        counts = z.sum(axis=0) + 0.1  # (d, K - 1)
        first = len(x) - z.sum(axis=(0, 2)) + 0.1  # (d,)
        self.b.assign((tg.log(counts) - tg.log(first)[:, None]).ravel())
        return self

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 250, resample: bool = False,
            run: Run | None = None) -> Self:  # fmt: skip
        """Test the pairs, and learn from rows (n, d) of integers; goes on where `run` stopped, if it is a resumed one.

        resample : whether all variables have two values and x holds the probabilities of the second, as grey images
            do; they are drawn anew for each minibatch
        """
        x, run = self.checked(x, grey=resample), run or Run()
        if self.threshold is not None:
            self._connect(linked(self.dependence(x), self.threshold))
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size), resample))
        return self

    def dependence(self, x):
        r"""The statistic $s$ of `links` for all pairs of the variables of checked data; a raw array, (d, d).

        Grey images are made black and white once for it.
        """
        if bool((x != x.round()).any()):
            x = Generator(0, device=self.V.device).bernoulli(x, dtype=x.dtype)
        return dependence(x, max(self.n_values))

    def update(self, y, resample: bool = False) -> dict:
        """One step down the slope of the mean of -(5) on a minibatch (b, d); the mean, in nats a row."""
        x = self.rng.bernoulli(y, dtype=y.dtype) if resample else y
        loss = -tg.mean(log_likelihood(self._coded(y), self(self._coded(x))))
        self.optimizer.step(tg.grad(loss, list(self.parameters())))
        self.schedule.step()
        return {"nll": loss}

    # ---- what it can do ----

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(5): $\log P(x)$ of each row, exact, in nats; (n, d) to (n,)."""
        with tg.no_grad():
            parts = [log_likelihood(z, self(z)).numpy() for z in map(self._coded, in_order(self.checked(x), 1000))]
        return np.concatenate(parts)

    def conditionals(self, x: np.ndarray) -> np.ndarray:
        """(4): the probability of each value, given the variables before; (n, d) to (n, d, K)."""
        with tg.no_grad():
            return backend.to_numpy(probabilities(self(self._coded(self.checked(x))).data))

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New rows (n, d) of integers, exact draws, variable by variable."""
        return self._drawn(backend.full((n, len(self.n_values)), 0, self.V.dtype, self.V.device), 0, rng)

    def complete(self, x: np.ndarray, known: int, *, rng: Generator | None = None) -> np.ndarray:
        """Rows (n, d) with their first `known` variables kept and the others drawn anew, given these: exact draws."""
        if not 0 <= known <= len(self.n_values):
            raise ValueError(f"GroupedBeliefNet.complete: known is {known!r}; from 0 to {len(self.n_values)} is wanted")
        return self._drawn(self.checked(x), known, rng)

    def _drawn(self, x, known: int, rng: Generator | None) -> np.ndarray:
        """x with its variables from `known` on drawn one after the other: each takes its group of each layer only."""
        rng, x = Generator(device=self.V.device) if rng is None else rng, x.copy()
        V, W = (weight.data for weight in self.linked_weights())
        d, inputs, z = len(self.n_values), max(self.n_values) - 1, self._coded(x).reshape(len(x), -1)
        h = hidden(self._coded(x)[:, :-1], V, self.c.data)  # right for the groups of the known variables and the next
        for j in range(known, d):
            mine, before = slice((j - 1) * self.units, j * self.units), j * inputs
            if j:
                h[:, mine] = tg.tanh(tg.matmul(z[:, :before], V[mine, :before].T) + self.c.data[mine])
            out = slice(before, before + inputs)
            g = tg.matmul(h[:, : j * self.units], W[out, : j * self.units].T) + self.b.data[out] + self.absent[j]
            p = probabilities(g)
            x[:, j] = rng.categorical(probabilities=p).astype(x.dtype)
            z[:, out] = coded(x[:, j : j + 1], inputs + 1, x.dtype)[:, 0]
        return backend.to_numpy(x).astype(np.int64)

    # ---- what it needs ----

    def _coded(self, x):
        """(1); grey levels of variables with two values stay as they are."""
        return x[:, :, None] if max(self.n_values) == 2 else coded(x, max(self.n_values), x.dtype)

    def checked(self, x, *, grey: bool = False):
        """x as rows of values in the parameters' dtype, on their device, or an error that says what is wrong."""
        x, d, name = backend.asarray(x, self.V.dtype, self.V.device), len(self.n_values), type(self).__name__
        if x.ndim != 2 or x.shape[1] != d or not len(x):
            raise ValueError(f"{name}: x has shape {x.shape}; at least one row of {d} variables is wanted")
        if grey and max(self.n_values) > 2:
            raise ValueError(f"{name}: resample=True is for variables of two values, and there are some with "
                             f"{max(self.n_values)}; integers and resample=False are wanted")  # fmt: skip
        most = backend.asarray(np.array(self.n_values) - 1, x.dtype, self.V.device)
        bad = ~((x >= 0) & (x <= most) & ((x == x.round()) | grey)).all(axis=0)
        if bool(bad.any()):
            j = int(bad.argmax())
            raise ValueError(f"{name}: variable {j} of x has values from {float(x[:, j].min()):.4g} to "
                             f"{float(x[:, j].max()):.4g}; {'numbers' if grey else 'integers'} from 0 to "
                             f"{self.n_values[j] - 1} are wanted")  # fmt: skip
        return x

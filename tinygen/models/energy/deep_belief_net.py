r"""The deep belief net (Hinton, Osindero and Teh 2006; S3 part 1).

A restricted Boltzmann machine (`rbm`) says what is in an image by one row of hidden units. Take what they say for
images, and let a second machine learn that as if it were images; then a third, and so on: "stack multiple RBMs and
train them layer by layer" (S3). The result is one model of images with several rows of hidden units. Its weights can
also start a feed-forward network, which then learns from labels what the rows could not know. In 2006 this was how
fully connected networks of many layers first came to be trained well. (S3 refers to its [9], on the autoencoder that is
made of such a stack: `deep_autoencoder`.)

**The model.** Let $h^0 = v$ be the image and $h^1, \dots, h^L$ the rows above it. Only the highest machine stays a
Boltzmann machine, with the joint distribution $p_L(h^{L-1}, h^L)$ of its two rows. Of each machine below it only one
half is used, the way down:

$$ p(v, h^1, \dots, h^L) = p(v|h^1)\, p(h^1|h^2) \cdots p(h^{L-2}|h^{L-1})\, p_L(h^{L-1}, h^L), \tag{1} $$

$$ \log p(h^{l-1}|h^l) = \sum_j h_j^{l-1} \ell_j - \log (1 + e^{\ell_j}), \qquad \ell = b^l + W^l h^l. \tag{2} $$

To draw an image, let the highest machine go through many Gibbs steps, and go down once by (2). The likelihood is a
mixture at every row: with all configurations of the row above it, and their own probabilities,

$$ p(h^{l-1}) = \sum_{h^l} p(h^{l-1}|h^l)\, p(h^l), \qquad
   p(h^{L-1}) = e^{-F_L(h^{L-1})} / Z_L, \tag{3} $$

with $F_L$ and $Z_L$ the free energy and the partition function of the highest machine (`rbm`, equations 5 and 7).
With a dozen units in a row this can be summed.

**Why a machine on top helps.** A single machine is such a model already. Its $p(v|h)$ is the way down; and the
distribution $p_1(h)$ of its hidden units is what the highest machine of (1) stands for. If something else modelled
$h$ better, the images would be modelled better, too. To see it, take the machine's own way up,

$$ q(h^l|h^{l-1}) = \prod_i q(h_i^l|h^{l-1}), \qquad
   q(h_i^l = 1|h^{l-1}) = \sigma(a_i), \quad a = c^l + W^{l\top} h^{l-1}, \tag{4} $$

as a guess at the hidden units. Whatever the guess, for any distribution $p(h)$ in the place of $p_1(h)$,

$$ \log p(v) = \log \sum_h p(v|h)\, p(h)
   \;\ge\; \mathbb E_{q(h|v)} \bigl[\log p(v|h) + \log p(h)\bigr] + H(q(\cdot|v)), \tag{5} $$

by Jensen's inequality; the gap is $\mathrm{KL}(q(h|v) \,\|\, p(h|v))$. (This is the bound of `vae`, equation 1,
with its KL taken apart.) The entropy of independent units is the sum of theirs,

$$ H(q(\cdot|h^{l-1})) = \sum_i \log (1 + e^{a_i}) - a_i\, \sigma(a_i). \tag{6} $$

For the single machine $q$ is the true posterior, so that (5) is an equality. Now keep $W^1$, $b^1$ and $c^1$. Then
$p(h)$ stands in one term of (5) only, $\mathbb E_{q(h|v)} \log p(h)$. Averaged over the images, that is the
log-likelihood of a second machine whose data are draws of $q(h|v)$. So train one, and start it at $p_1(h)$: the
bound begins at the log-likelihood of the first machine, and each gain of the second machine is a gain of the bound. The
likelihood is the bound and the gap together. The gap was closed and can only open, so the likelihood gains at least as
much.

The argument goes on: a third machine replaces what the second one says of $h^2$, and raises the bound. (Of the
likelihood this is no longer certain, since the gap is open and may close.) With all rows,

$$ \log p(v) \;\ge\; \mathbb E_q \Bigl[ \sum_{l=1}^{L-1} \log p(h^{l-1}|h^l) + H(q(\cdot|h^{l-1}))
   \;-\; F_L(h^{L-1}) \Bigr] - \log Z_L, \tag{7} $$

estimated with draws of $h^1, \dots, h^{L-1}$, one from the other by (4). Where $\log Z_L$ cannot be summed,
`annealed_importance_sampling` estimates it. That estimate errs on the low side, which would make (7) too large: the
upper end of its interval is the careful choice.

**Where the second machine starts.** How can it start at $p_1(h)$? The energy treats both rows alike, so a machine
with as many hidden units as there are pixels can start as the first one upside down:

$$ W^{l+1} = W^{l\top}, \qquad b^{l+1} = c^l, \qquad c^{l+1} = b^l. \tag{8} $$

In practice the rows have other sizes and the machines start at random, contrastive divergence takes the place of the
likelihood, and nothing is guaranteed; the demo shows a stack small enough for exact sums, which starts by (8).

**Features and fine-tuning.** The way up with means in place of draws, $f^0 = v$,

$$ f^l = \sigma\bigl(c^l + W^{l\top} f^{l-1}\bigr), \tag{9} $$

is a feed-forward network of sigmoid units. With a layer of logits on top (S3: "last layer can also be fine-tuned for a
classification task") it learns from labels by backpropagation, from weights that have found the strokes and their
arrangements already. That is *pre-training*; the demo runs the same network from random weights beside it. (Hinton,
Osindero and Teh went another way: the labels joined $h^{L-1}$ as visible units of the highest machine, and an
"up-down" algorithm tuned both ways of the whole stack. It reached an error of 1.25 % on MNIST; backpropagation reached
1.2 %, Hinton and Salakhutdinov 2006. The demo's classifier has what neither had, with pre-training and without:
dropout behind every row of units, as in Hinton and others 2012, and Adam with a falling rate.)

Notation
--------
$v, h^l$ : `v`, `h`, (b, n) and (b, m), b configurations at a time
$W^l, b^l, c^l$ : of `machines[l - 1]`, its `weight`, (n, m), `visible_bias`, (n,), and `hidden_bias`, (m,)
$L$ : `len(machines)`
$\ell, a$ : `logits`, of the units below and above
$q, f^l$ : what `up` draws, or gives
$F_L, \log Z_L$ : `machines[-1].free_energy`, `log_z`
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.energy.rbm import RBM, binary
from tinygen.models.model import Model
from tinygen.runs import Run

MOST_UNITS = 12  # in a row between two machines, for a sum over all its configurations
AT_ONCE = 256  # images at a time when there is nothing to learn from them

# ---- the equations --------------------------------------------------------------------------------------


def log_bernoulli(x, logits):
    r"""(2): $\sum_j x_j \ell_j - \log (1 + e^{\ell_j})$; (..., n) twice to (...)."""
    return tg.sum(x * logits - tg.softplus(logits), axis=-1)


def log_mixture(x, logits, log_prior):
    r"""(3): $\log \sum_h p(x|h)\, p(h)$, from the logits and $\log p(h)$ of every h; (b, n), (r, n), (r,) to (b,)."""
    log_p = tg.matmul(x, tg.transpose(logits)) - tg.sum(tg.softplus(logits), axis=1)  # (b, r)
    return tg.logsumexp(log_p + log_prior, axis=1)


def entropy(logits):
    r"""(6): $\sum_i \log (1 + e^{a_i}) - a_i\, \sigma(a_i)$, in nats; (..., m) to (...)."""
    return tg.sum(tg.softplus(logits) - logits * tg.sigmoid(logits), axis=-1)


def visible_logits(machine: RBM, h):
    r"""$\ell = b + W h$ of (2); raw (b, m) to (b, n)."""
    return tg.matmul(h, tg.transpose(machine.weight.data)) + machine.visible_bias.data


def linear(weight, bias) -> nn.Linear:
    """A layer with these weights (out, in) and biases (out,), copied."""
    rng = Generator(0, device=backend.device_of(weight))
    layer = nn.Linear(*weight.shape[::-1], rng=rng).to(dtype=weight.dtype)
    for p, value in zip(layer.parameters(), (weight, bias), strict=True):
        p.assign(value)
    return layer


# ---- the model ------------------------------------------------------------------------------------------


class DeepBeliefNet(Model):
    r"""A stack of restricted Boltzmann machines, which learn one after the other.

    Parameters
    ----------
    machines : from the pixels upwards; each has as many visible units as the one below it has hidden ones
    tied : whether a machine starts as the one below it upside down, (8), where the sizes allow it. The others start
        with their visible biases at the data's log-odds.
    draws : whether a machine learns from draws of the units below it, or from their probabilities
    rng : the Generator of the minibatches and of the draws on the way up, on the machines' device; None takes fresh
        entropy

    Examples
    --------
    >>> import tinygen as tg
    >>> rng = tg.random.Generator(0)
    >>> x = tg.random.Generator(1).bernoulli(0.5, (20, 6))
    >>> net = DeepBeliefNet([RBM(6, 4, rng=rng), RBM(4, 3, rng=rng)], rng=rng).fit(x, steps=4, run=Run(quiet=True))
    >>> net.transform(x).shape, net.sample(5, steps=10).shape, net.log_prob(x).shape
    ((20, 3), (5, 6), (20,))
    """

    def __init__(self, machines: Sequence[RBM], *, tied: bool = False, draws: bool = True,
                 rng: Generator | None = None):  # fmt: skip
        sizes = [(m.n_visible, m.n_hidden) for m in machines]
        if not sizes or any(below[1] != above[0] for below, above in itertools.pairwise(sizes)):
            raise ValueError(f"{type(self).__name__}: machines of sizes {sizes}; at least one is wanted, each with as "
                             "many visible units as the one below it has hidden ones")  # fmt: skip
        if not all(m.binary_hidden for m in machines[:-1]) or not all(m.binary_visible for m in machines[1:]):
            raise ValueError(f"{type(self).__name__}: machines {[type(m).__name__ for m in machines]}; between two "
                             "machines units that are 0 or 1 are wanted: one with real visible units may only be the "
                             "lowest, one with real hidden units only the highest")  # fmt: skip
        self.rng = Generator() if rng is None else rng
        self.machines, self.tied, self.draws = list(machines), tied, draws
        self.stack = nn.ModuleList(machines)  # so that their weights count as this model's

    def _keepers(self) -> dict[str, Any]:
        """What the machines keep, too: their optimisers, schedules and Generators."""
        theirs = {f"{name}, machine {i}": keeper for i, machine in enumerate(self.machines)
                  for name, keeper in machine._keepers().items()}  # fmt: skip
        return super()._keepers() | theirs

    # ---- up and down, on raw arrays ----

    def up(self, v, levels: int, rng: Generator | None = None):
        r"""From images (b, n) to the units that many machines higher: means by (9), or, with an rng, draws by (4)."""
        for machine in self.machines[:levels]:
            v = machine.hidden_mean(v)
            v = v if rng is None else machine.draw_hidden(v, rng)
        return v

    def down(self, h, levels: int, rng: Generator | None = None):
        r"""From units h that many machines higher to the pixels' means by (2).

        Of the units on the way there are draws, or, without an rng, means.
        """
        for level in reversed(range(levels)):
            machine = self.machines[level]
            h = machine.visible_mean(h)
            h = machine.draw_visible(h, rng) if level and rng is not None else h
        return h

    # ---- learning ----

    def begin(self, x, level: int) -> None:
        """Where a machine starts, given the images (n, pixels): by (8), or with the log-odds of its data as biases."""
        machine, below = self.machines[level], self.machines[level - 1]
        if self.tied and level and machine.n_hidden == below.n_visible:
            machine.weight.assign(below.weight.data.T)
            machine.visible_bias.assign(below.hidden_bias.data)
            machine.hidden_bias.assign(below.visible_bias.data)
        else:
            machine.start_at(self._in_parts(lambda v: self.up(v, level), x))

    def update(self, v, level: int) -> dict:
        """One step of a machine, on a minibatch of images (b, pixels) that the machines below it bring up."""
        return {"level": level, **self.machines[level].update(self.up(v, level, self.rng if self.draws else None))}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 100, resample: bool = False,
            run: Run | None = None) -> Self:  # fmt: skip
        """Train on images (rows, n) in [0, 1], machine after machine, each for an equal share of the steps.

        resample : whether grey levels become black and white, drawn anew for each minibatch
        """
        x, run = self.checked(x), run or Run()
        for step in run.steps(self, steps):
            level = (step - 1) * len(self.machines) // steps
            if not self.machines[level].schedule.t:
                self.begin(x, level)
            v = batch(x, self.rng, batch_size)  # (b, n)
            run.log(**self.update(self.rng.bernoulli(v, dtype=v.dtype) if resample else v, level))
        return self

    # ---- what it can do ----

    def sample(self, n: int, *, steps: int = 500, means: bool = False, rng: Generator | None = None) -> np.ndarray:
        """New images (n, pixels): so many Gibbs steps of the top machine, then down.

        means : whether the pixels' probabilities are given, in place of zeros and ones
        """
        rng, (*below, top) = self._generator(rng), self.machines
        h = backend.asarray(top.sample(n, steps=steps, rng=rng), top.weight.dtype, top.weight.device)
        x = self.down(h, len(below), rng)
        return backend.to_numpy(x if means or not below else below[0].draw_visible(x, rng))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The features (9) of images: (b, n) to (b, m), m hidden units on top."""
        return self._in_parts(lambda v: self.up(v, len(self.machines)), self.checked(x))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Images on means all the way up and down again: (b, n) to (b, n)."""
        levels = len(self.machines)
        return self._in_parts(lambda v: self.down(self.up(v, levels), levels), self.checked(x))

    def elbo(self, x: np.ndarray, *, log_z: float | None = None, samples: int = 1,
             rng: Generator | None = None) -> np.ndarray:  # fmt: skip
        r"""The bound (7) on $\log p(v)$, with so many draws of (4): images of zeros and ones (b, n) to (b,), in nats.

        log_z : of the top machine; by default the exact one, which is refused for a large machine, whose estimate
            `annealed_importance_sampling.log_partition` gives
        """
        if samples < 1:
            raise ValueError(f"{type(self).__name__}.elbo: samples is {samples!r}; one draw at least is wanted")
        x, rng = self._binary("elbo", x), self._generator(rng)
        log_z = self.machines[-1].log_z() if log_z is None else log_z
        drawn = [self._in_parts(lambda v: self._terms(v, rng), x) for _ in range(samples)]
        return np.mean(drawn, axis=0) - log_z

    def _terms(self, v, rng: Generator) -> np.ndarray:
        r"""What stands in the brackets of (7), for one draw: (b, n) to (b,), on the host."""
        total, (*below, top) = 0.0, self.machines
        for machine in below:
            a = tg.matmul(v, machine.weight.data) + machine.hidden_bias.data
            h = machine.draw_hidden(tg.sigmoid(a), rng)
            total = total + log_bernoulli(v, visible_logits(machine, h)) + entropy(a)
            v = h
        return backend.to_numpy(total) - top.free_energy(v) if below else -top.free_energy(v)

    def log_prob(self, x: np.ndarray, *, log_z: float | None = None) -> np.ndarray:
        r"""$\log p(v)$ by (3), exactly: (b, n) to (b,), in nats; for rows of few units between the machines."""
        *below, top = self.machines
        rows = [m.n_hidden for m in below]
        if rows and max(rows) > MOST_UNITS:
            raise ValueError(f"{type(self).__name__}.log_prob: rows of {rows} units between the machines; at most "
                             f"{MOST_UNITS} in each are wanted for an exact sum (elbo gives a bound)")  # fmt: skip
        x, log_z = self._binary("log_prob", x), top.log_z() if log_z is None else log_z
        log_p: Callable[[Any], Any] = lambda h: backend.asarray(-top.free_energy(h) - log_z, x.dtype, self._device)
        for machine in reversed(below):
            every = binary(backend.array_module(x).arange(2**machine.n_hidden), machine.n_hidden, x.dtype)
            log_p = functools.partial(log_mixture, logits=visible_logits(machine, every), log_prior=log_p(every))
        return self._in_parts(log_p, x)

    def network(self) -> nn.Sequential:
        """A feed-forward network that computes (9), with copies of the weights, for a classifier on top of it."""
        # what a unit is told by a real pixel is in units of its variance: (2) of `gaussian_rbm`
        up = lambda m: m.weight.data if m.binary_visible else m.weight.data / m.variance.data[:, None]
        layers = [(linear(up(m).T, m.hidden_bias.data), nn.Sigmoid()) for m in self.machines]
        return nn.Sequential(*itertools.chain(*layers))

    # ---- what it needs ----

    def checked(self, x):
        """x as the lowest machine takes it, or an error that says what is wrong."""
        try:
            return self.machines[0].checked(x)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: its lowest machine refuses the images: {error}") from None

    def _binary(self, method: str, x):
        """The same, where (2) holds for the pixels."""
        if len(self.machines) > 1 and not self.machines[0].binary_visible:
            raise ValueError(f"{type(self).__name__}.{method}: the lowest machine is a "
                             f"{type(self.machines[0]).__name__}; one whose pixels are 0 or 1 is wanted")  # fmt: skip
        return self.checked(x)

    @property
    def _device(self) -> str:
        """Where the machines live."""
        return self.machines[0].weight.device

    def _generator(self, rng: Generator | None) -> Generator:
        """rng, or one of fresh entropy on the machines' device."""
        return Generator(device=self._device) if rng is None else rng

    def _in_parts(self, f: Callable[[Any], Any], x) -> np.ndarray:
        """What f gives for all rows of a raw array, on the host; so many at a time."""
        return np.concatenate([backend.to_numpy(f(part)) for part in in_order(x, AT_ONCE)])

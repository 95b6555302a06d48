r"""GANs on a known mixture, several at once (S2 example 4.2.1): how often does the game come out, and how well?

Whether a GAN works is a question about chance: the same setting, started anew, ends elsewhere. S2 draws one curve for
each of its settings and reads much from them. Here each setting is played by several *members*, who differ in every
random number and share nothing, so that its outcome is a median with a spread. S2's data are points $x \in \mathbb R^2$
of four overlapping Gaussians (its eqs. 5.6 to 5.8, `data.mixture("gmm4")`), its noise is $z \sim U[0, 1]^{10}$, and its
players are small: two hidden layers of 64 and 32 rectifiers each, minibatches of 64, a learning rate of 0.0002.

**All members at once.** The networks are so small that most of the time would go into telling the processor what to do.
So the members are trained together, as arrays with one more axis: $W_s$ is member $s$'s matrix, and its $b$-th point
goes through

$$ y_{sbj} = \sum_i x_{sbi} W_{sij} + c_{sj}. \tag{1} $$

Member $s$ pays $v_s$, the mean of its own minibatch (S2's Algorithm 1). What is differentiated is

$$ v = \sum_s v_s, \qquad \text{hence} \qquad
   \frac{\partial v}{\partial W_s} = \frac{\partial v_s}{\partial W_s}, \tag{2} $$

the sum and not the mean over members, which would make every gradient depend on how many there are. Adam changes each
entry by what that entry's gradients were, so that a member moves as it would alone. It also draws from generators of
its own: it is the same, bit for bit, whoever else is in the stack (a test trains it alone).

**What S2 leaves open.** It names TensorFlow, and neither the optimiser nor where the weights start. Taken here: Adam
(which S2 names in its chapter 5) with the usual constants, and Glorot's uniform weights with biases 0, with which
Keras' layers start when nothing is said. For the losses it refers to Algorithm 1, in which $G$ descends $\log(1 -
D(G(z)))$; a remark after the example calls it equivalent to go up $\log D(G(z))$, and in practice better. The fixed
point is the same, the game is not: `loss="non-saturating"` plays that one.

**A slip.** S2 says of two steps of $D$ in a turn that the first paper on GANs suggests them. That paper (Goodfellow et
al. 2014) writes Algorithm 1 for any number of steps, and took one.

**What a curve is.** How far $G$ is from the mixture after $t$ turns is the quadratic difference $q(t)$ of histograms
(`metrics.histogram`), measured at turns $t_1 < \dots < t_K$. S2 compares curves by eye. To decide whether what it says
of them holds, each curve gives four numbers. Where it ends: the median over the last tenth of the turns, since a curve
jumps,

$$ e = \mathrm{median}\, \{ q(t_k) : t_k > 0.9\, t_K \}. \tag{3} $$

How soon it comes below a level $\ell$ (the last turn, if it never does):

$$ r = \min \left( \{ t_k : q(t_k) \le \ell \} \cup \{ t_K \} \right). \tag{4} $$

How restless it is, in powers of ten from one measurement to the next, over the second half of the turns:

$$ u = \mathrm{mean}\, \{ | \log_{10} q(t_{k+1}) - \log_{10} q(t_k) | : t_k \ge \tfrac12 t_K \}. \tag{5} $$

And its height on the whole, on the log scale on which it is drawn:

$$ h = 10^a, \qquad a = \mathrm{mean}_k \log_{10} q(t_k). \tag{6} $$

How far back up it goes after turn $t$ is the largest factor between a measurement and a later one:

$$ b = \max \{ q(t_l) / q(t_k) : t < t_k < t_l \}. \tag{7} $$

Notation
--------
$s, b, i, j$ : member, point of the minibatch, input, output
$W_s, c_s$ : `weight` (s, i, j) and `bias` (s, 1, j)
$x$ : `x`, (n, s, 2): each member has data of its own
$t_k, q(t_k)$ : `turns` (k,), `q` (k, s)
$e, r, u, h, b$ : `end`, `reach`, `unrest`, `height`, `relapse`, (s,) each
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.arrays import array_module
from tinygen.backend.random import Generator
from tinygen.models.gan.game import GAN, uniform
from tinygen.models.gan.losses import Loss, Minimax, NonSaturating, binary_discriminator
from tinygen.runs import Run

# ---- networks side by side ------------------------------------------------------------------------------


def stacked_linear(x, weight, bias):
    """(1): (s, b, i), or (b, i) for all members, with (s, i, j) and (s, 1, j) to (s, b, j)."""
    return tg.matmul(x, weight) + bias


class StackedLinear(nn.Module):
    """A linear map for each member; Glorot's uniform weights, drawn by its own Generator, and biases 0."""

    def __init__(self, n_in: int, n_out: int, *, rngs: Sequence[Generator]):
        bound = math.sqrt(6 / (n_in + n_out))
        weights = [rng.uniform((n_in, n_out), -bound, bound) for rng in rngs]
        self.weight = tg.tensor(tg.stack(weights), requires_grad=True)  # (s, n_in, n_out)
        self.bias = tg.zeros((len(rngs), 1, n_out), requires_grad=True, device=rngs[0].device)

    def forward(self, x):
        """(1)."""
        return stacked_linear(x, self.weight, self.bias)


def stacked_mlp(widths: Sequence[int], *, rngs: Sequence[Generator]) -> nn.Sequential:
    """A network for each member, with rectifiers between the layers: (s, b, first) to (s, b, last)."""
    maps = [StackedLinear(i, o, rngs=rngs) for i, o in itertools.pairwise(widths)]
    return nn.Sequential(*[layer for linear in maps[:-1] for layer in (linear, nn.ReLU())], maps[-1])


class Together(Loss):
    """(2): what all members pay, of a loss whose discriminator tells real from generated by cross-entropy."""

    def __init__(self, loss: Loss, members: int):
        self.loss, self.members = loss, members

    def discriminator(self, D, x, x_fake, rng):
        logits = D(tg.concatenate([x, x_fake], axis=1))  # real and generated points in one pass: (s, 2b, 1)
        real, fake = logits[:, : x.shape[1]], logits[:, x.shape[1] :]
        return self.members * binary_discriminator(real, fake)

    def generator(self, D, x_fake):
        return self.members * self.loss.generator(D, x_fake)


class Ahead:
    """Random numbers for each member from a Generator of its own, drawn for many steps at a time.

    A draw costs more to ask for than to make. What is saved is where the generators stood before the present block,
    and how much of it is used.
    """

    def __init__(self, rngs: Sequence[Generator], *, steps: int = 32):
        self.rngs, self.steps = list(rngs), steps
        self._at = steps
        self._block: Any = None  # (steps, members, *shape)
        self._shape: tuple[int, ...] | None = None

    def __call__(self, draw: Callable[[Generator, tuple], Any], *shape: int) -> Any:
        """The next (members, *shape); `draw(rng, shape)` makes the numbers of a block, for each member."""
        if self._at == self.steps or self._shape not in (None, shape):
            self._at, self._block = 0, None
        if self._block is None:
            self._from, self._shape = [rng.state for rng in self.rngs], shape
            self._block = tg.stack([draw(rng, (self.steps, *shape)) for rng in self.rngs], axis=1)
        self._at += 1
        return self._block[self._at - 1]

    def state_dict(self) -> dict[str, Any]:
        """The generators' states before the block, if some of it is left, and how many steps of it are used."""
        unused = self._block is not None and self._at < self.steps
        states = self._from if unused else [rng.state for rng in self.rngs]
        return {"used": self._at, **{str(i): state for i, state in enumerate(states)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken; the block is drawn again when it is next needed."""
        for i, rng in enumerate(self.rngs):
            rng.load_state_dict(state[str(i)])
        self._at, self._block, self._shape = int(state["used"]), None, None


# ---- the model ------------------------------------------------------------------------------------------


class ParallelGAN(GAN):
    """Several independent GANs of one setting, trained at once; axis 1 of data and samples is the member.

    Parameters
    ----------
    n_latent, n_features : lengths of $z$ and $x$
    members : how many
    generator, discriminator : widths of their hidden layers
    loss : "minimax" or "non-saturating"
    lr, k_d, k_g, simultaneous : as for `GAN`
    rng : each member's generators are spawned from it; None takes fresh entropy
    """

    def __init__(self, n_latent: int, n_features: int, *, members: int = 5, generator: Sequence[int] = (64, 32),
                 discriminator: Sequence[int] = (64, 32), loss: str = "minimax", lr: float = 2e-4, k_d: int = 1,
                 k_g: int = 1, simultaneous: bool = False, rng: Generator | None = None):  # fmt: skip
        losses = {"minimax": Minimax, "non-saturating": NonSaturating}
        if loss not in losses:
            raise ValueError(f"ParallelGAN: loss is {loss!r}; {' or '.join(losses)} is wanted")
        rng = Generator() if rng is None else rng
        g, d, rows, codes = zip(*[member.spawn(4) for member in rng.spawn(members)], strict=True)
        G = stacked_mlp([n_latent, *generator, n_features], rngs=g)
        D = stacked_mlp([n_features, *discriminator, 1], rngs=d)
        super().__init__(G, D, Together(losses[loss](), members), prior=uniform(n_latent), lr=lr, optimizer=optim.Adam,
                         k_d=k_d, k_g=k_g, simultaneous=simultaneous, rng=rng)  # fmt: skip
        self.n_latent, self.members = n_latent, members
        self.rows, self.codes = Ahead(rows), Ahead(codes)

    def batch(self, x: Any, size: int) -> Any:
        """Rows at random of each member's data: (n, s, 2) to (s, size, 2)."""
        rows = self.rows(lambda rng, shape: rng.integers(0, len(x), shape), size)  # (s, size)
        return x[rows, array_module(x).arange(self.members)[:, None]]

    def noise(self, n: int) -> Any:
        """$z \\sim U[0, 1]$, (s, n, n_latent)."""
        return self.codes(lambda rng, shape: rng.uniform(shape), n, self.n_latent)

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 64, every: int = 1,
            measure: Callable[[ParallelGAN, int], dict[str, float]] | None = None,
            run: Run | None = None) -> Self:  # fmt: skip
        """Play so many turns on data (n, s, 2); goes on where `run` stopped, if it is a resumed one.

        Parameters
        ----------
        every : the log has a row every so many turns, with both losses (of all members together)
        measure : what else goes into the row: a function of the model and the turn. What it draws at random should
            be a function of the turn, so that a resumed run measures the same.
        """
        x, run = self.checked(x), run or Run()
        for turn in run.steps(self, steps):
            losses = self.update(x, batch_size)
            if turn % every == 0:
                run.log(**losses, **(measure(self, turn) if measure else {}))
        return self

    def decode(self, z: Any) -> np.ndarray:
        """$G(z)$ of every member: codes (n, n_latent), or (s, n, n_latent), to points (n, s, n_features)."""
        return np.ascontiguousarray(super().decode(z).swapaxes(0, 1))


# ---- what is read off a curve ---------------------------------------------------------------------------


def end(turns: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(3), where a curve ends: the median over the last tenth of the turns, (k,), (k, s) to (s,)."""
    return np.median(q[turns > 0.9 * turns[-1]], axis=0)


def reach(turns: np.ndarray, q: np.ndarray, level: float) -> np.ndarray:
    """(4), the first turn at which it is at or below the level, or else the last turn: to (s,)."""
    below = q <= level
    return np.where(below.any(0), turns[below.argmax(0)], turns[-1])


def unrest(turns: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(5), how far it jumps between two measurements in the second half, in powers of ten: to (s,)."""
    late = np.log10(q[turns >= turns[-1] / 2])
    return np.abs(np.diff(late, axis=0)).mean(0)


def height(turns: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(6), its geometric mean: to (s,)."""
    return 10 ** np.log10(q).mean(0)


def relapse(turns: np.ndarray, q: np.ndarray, after: float) -> np.ndarray:
    """(7), the largest factor from a measurement after this turn to a later one: to (s,)."""
    q = q[turns > after]
    lowest = np.minimum.accumulate(q, axis=0)  # so far
    return (q[1:] / lowest[:-1]).max(0)

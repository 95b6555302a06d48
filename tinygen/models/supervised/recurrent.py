r"""Recurrent networks (S0, inputs that are sequences): the same layer at every step, with a memory that it hands on.

A sequence $x_1, \dots, x_T$ may have any length, and what stands in it may matter wherever it stands. So let one layer
read it step by step. At step $t$ it sees $x_t$ and its own last output, $h_{t-1}$, in which it has written down what it
will need of the past (Elman 1990):

$$ h_t = \tanh(W x_t + U h_{t-1} + b), \qquad h_0 = 0. \tag{1} $$

$W$, $U$ and $b$ are the same at all steps, as a kernel is the same at all places. The last state goes to an ordinary
softmax layer,

$$ p_\theta(\cdot|x_1, \dots, x_T) = \mathrm{softmax}(V h_T + a), \tag{2} $$

and nothing forbids to ask earlier: with $h_t$ for $h_T$ it is the answer after $t$ steps.

**What is forgotten.** How much of step $s$ is still to be seen at the end? By the chain rule

$$ \frac{\partial h_T}{\partial h_s} = \prod_{t = T}^{s + 1} \mathrm{diag}(1 - h_t^2)\, U, \qquad
   \Big\| \frac{\partial h_T}{\partial h_s} \Big\| \le \|U\|^{T - s}, \tag{3} $$

(later steps on the left). If $\|U\| < 1$ the past fades exponentially, and with it the gradient that would teach the
layer to remember. For the past to stay, $\|U\|$ must be at least 1, and above 1 the product may explode (Hochreiter
1991; Bengio et al. 1994).

**LSTM** (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000) keeps a second state $c_t$, the
*cell*, which is not pressed through a matrix at every step. It is only scaled and added to. *Gates*, numbers from 0 to
1, say how much is written, kept and shown, and each has weights of its own:

$$ \begin{aligned}
   i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i), & f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f), \\
   o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o), & g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g), \\
   c_t &= f_t \odot c_{t-1} + i_t \odot g_t, & h_t &= o_t \odot \tanh c_t.
   \end{aligned} \tag{4} $$

Along the cell, the gates held fixed, the product of (3) becomes one of gates,

$$ \frac{\partial c_T}{\partial c_s} = \mathrm{diag} \prod_{t = s + 1}^{T} f_t, \tag{5} $$

and a gate that stays open, $f_t = 1$, forgets nothing in a thousand steps.

**GRU** (Cho et al. 2014) does with one state, and one gate for both: what is written is what is not kept. A second gate
$r_t$ says how much of the past the candidate $n_t$ may look at:

$$ \begin{aligned}
   r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r), & z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z), \\
   n_t &= \tanh(W_n x_t + b_n + r_t \odot (U_n h_{t-1} + b_n')), & h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}.
   \end{aligned} \tag{6} $$

(The paper has $U_n (r_t \odot h_{t-1})$. Libraries, `nn.GRU` among them, multiply by $r_t$ last, so that all three
products with $h_{t-1}$ are one.) The documents name the three layers and give no formula; the letters are ours, after
S0's $\sigma(Wx + b)$.

Below, each step is written as it stands here, with a name for every matrix. `nn.RNN`, `nn.LSTM` and `nn.GRU` stack the
matrices of all gates into one, and take all $W x_t$ in one product before the first step: the same numbers, sooner.
They split $b$ in two, one for $x$ and one for $h$, of which only (6) takes notice.

**The model** reads a sequence by one such layer and answers by (2). An image becomes a sequence if its rows are read
one after another.

Notation
--------
$x_t, h_t, c_t$ : `x`, (n, d), n sequences at a time; `h`, `c`, (n, m); a whole sequence is (n, T, d)
$W, U, b$ : of the RNN `p["h"]`; of the others `p["i"]`, ...: a tuple for each gate, (m, d), (m, m), (m,)
$b_n'$ : the fourth in `p["n"]`
$V, a$ : `readout`
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier
from tinygen.nn import functional as F

# ---- one step ---------------------------------------------------------------------------------------------------


def affine(x, h, W, U, b):
    """What stands inside of every gate: $W x_t + U h_{t-1} + b$; (n, d), (n, m) and three to (n, m)."""
    return tg.matmul(x, tg.transpose(W)) + tg.matmul(h, tg.transpose(U)) + b


def rnn_step(x, state, p):
    r"""(1): $h_t = \tanh(W x_t + U h_{t-1} + b)$; x (n, d), state (h,) to (h,)."""
    (h,) = state
    return (tg.tanh(affine(x, h, *p["h"])),)


def lstm_step(x, state, p):
    r"""(4): $c_t = f_t \odot c_{t-1} + i_t \odot g_t$, $h_t = o_t \odot \tanh c_t$; (n, d), (h, c) to (h, c)."""
    h, c = state
    i, f, o = (tg.sigmoid(affine(x, h, *p[gate])) for gate in "ifo")
    g = tg.tanh(affine(x, h, *p["g"]))
    c = f * c + i * g
    return o * tg.tanh(c), c


def gru_step(x, state, p):
    r"""(6): $h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}$; x (n, d), state (h,) to (h,)."""
    (h,) = state
    r, z = (tg.sigmoid(affine(x, h, *p[gate])) for gate in "rz")
    W, U, b, b_h = p["n"]
    n = tg.tanh(tg.matmul(x, tg.transpose(W)) + b + r * (tg.matmul(h, tg.transpose(U)) + b_h))
    return ((1 - z) * n + z * h,)


def unrolled(step, x, state, p) -> list:
    """The states after each step: x (n, T, d), from `state` on, to T of them."""
    states = []
    for t in range(x.shape[1]):
        state = step(x[:, t], state, p)
        states.append(state)
    return states


# ---- what is forgotten ------------------------------------------------------------------------------------------


def memory(h, U):
    r"""(3): $\partial h_T / \partial h_s$ from the states $h_{s+1}, \dots, h_T$; raw (T - s, m), (m, m) to (m, m)."""
    xp = backend.array_module(h)
    product = xp.eye(len(U), dtype=U.dtype)
    for h_t in h:
        product = (1 - h_t**2)[:, None] * xp.matmul(U, product)
    return product


def cell_memory(f):
    r"""(5): the diagonal of $\partial c_T / \partial c_s$, from $f_{s+1}, \dots, f_T$; raw (T - s, m) to (m,)."""
    return backend.array_module(f).prod(f, axis=0)


# ---- the model --------------------------------------------------------------------------------------------------

LAYERS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}
GATES = {"rnn": "h", "lstm": "ifgo", "gru": "rzn"}  # in the order in which nn's layers stack them


def named(layer) -> dict[str, tuple]:
    """The weights of an nn layer under the names of (1), (4) and (6): Tensors (W, U, b), and b' of a GRU's n."""
    kind = next(name for name, made in LAYERS.items() if isinstance(layer, made))
    stacked = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)
    blocks = [tg.split(w, len(GATES[kind])) for w in stacked]
    p = {gate: (W, U, b + b_h) for gate, W, U, b, b_h in zip(GATES[kind], *blocks, strict=True)}
    if kind == "gru":
        p["n"] = tuple([parts[2] for parts in blocks])
    return p


class SequenceClassifier(Classifier):
    r"""A classifier of sequences, (2), all of one length.

    Parameters
    ----------
    shape : (T, d), how many steps a sequence has, and how many numbers a step
    n_classes : how many classes there are
    kind : "rnn", "lstm" or "gru"
    hidden : $m$, the length of the state
    lr : learning rate of Adam
    schedule : the factor of the learning rate as a function of the step, such as `optim.schedules.Cosine(1000)`
    max_norm : gradients longer than this are shortened to it, since (3) may explode
    rng : the Generator of the weights and the minibatches; None takes fresh entropy

    Examples
    --------
    >>> net = SequenceClassifier((28, 28), 10, kind="gru", hidden=16, rng=tg.random.Generator(0))
    >>> x = tg.random.Generator(1).uniform((3, 28, 28))
    >>> net.predict(x).shape, net.along(x).shape
    ((3,), (3, 28, 10))
    """

    def __init__(self, shape: tuple[int, int], n_classes: int, *, kind: str = "lstm", hidden: int = 64,
                 lr: float = 2e-3, schedule: Any = None, max_norm: float = 1.0,
                 rng: Generator | None = None):  # fmt: skip
        if len(shape) != 2 or min(shape) < 1 or n_classes < 2 or kind not in LAYERS:
            raise ValueError(f"SequenceClassifier: shape (steps, numbers a step), two classes and a kind out of "
                             f"{', '.join(LAYERS)} are wanted, got {shape}, {n_classes} and {kind!r}")  # fmt: skip
        self.rng = Generator() if rng is None else rng
        self.sequence, self.n_features, self.max_norm = tuple(shape), math.prod(shape), max_norm
        self.layer = LAYERS[kind](shape[1], hidden, batch_first=True, rng=self.rng)
        self.readout = nn.Linear(hidden, n_classes, rng=self.rng)
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, d): steps, and numbers a step."""
        return self.sequence

    def forward(self, x):
        """(2): (b, T, d) to logits (b, classes)."""
        states, _ = self.layer(x)  # (b, T, m)
        return self.readout(states[:, -1])

    def update(self, x, y) -> dict:
        """One step on a minibatch; its loss, in nats, and the length of the gradient before it is shortened."""
        loss = self.train().loss(x, y)
        grads, norm = optim.clip_by_norm(tg.grad(loss, self.optimizer.params), self.max_norm)
        self.optimizer.step(grads)
        self.schedule.step()
        return {"loss": loss, "norm": norm}

    def along(self, x: np.ndarray) -> np.ndarray:
        """The probability of each class after every step, (2) with $h_t$: (n, T, d) to (n, T, classes)."""
        return np.exp(self._in_parts(lambda part: F.log_softmax(self.readout(self.layer(part)[0]), 2), x))

    def sensitivity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r"""How much each step matters: $\|\partial \log p_\theta(y|x) / \partial x_t\|$; (n, T, d), (n,) to (n, T)."""
        known, y = self.eval().checked(x, y)
        leaf = tg.tensor(known, requires_grad=True)
        slope = tg.grad(F.cross_entropy(self(leaf), y, reduction="sum"), leaf)
        return np.sqrt(np.sum(np.square(slope.numpy()), axis=2))

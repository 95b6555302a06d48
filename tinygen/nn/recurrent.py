r"""Recurrent layers: the same cell at every step of a sequence, with a state that it hands on.

With $x_t$ the input and $h_{t-1}$ the state, the simple cell (Elman 1990) is

$$ h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}). \tag{1} $$

Over many steps its gradient is a product of many Jacobians, which vanishes or explodes. The **LSTM** (Hochreiter and
Schmidhuber 1997) keeps a second state $c_t$ that is only scaled and added to. Its input, forget and output gates
$i, f, o$ and candidate $g$ are all of the form (1), $i, f, o$ with $\sigma$ for $\tanh$:

$$ c_t = f \odot c_{t-1} + i \odot g, \qquad h_t = o \odot \tanh c_t. \tag{2} $$

The **GRU** (Cho et al. 2014) does with one state: gates $r$ (reset) and $z$ (update) of that form, and

$$ n = \tanh(W_{in} x_t + b_{in} + r \odot (W_{hn} h_{t-1} + b_{hn})), \qquad
   h_t = (1 - z) \odot n + z \odot h_{t-1}. \tag{3} $$

The gates' weights lie in one matrix, one block of rows each, in the order $i, f, g, o$ and $r, z, n$. Layers are
stacked by giving the next one the sequence $h_1, h_2, \dots$; a bidirectional layer also runs from the end to the
beginning and joins both sequences.

Notation
--------
$W_{ih}$, $W_{hh}$, $b_{ih}$, $b_{hh}$ : `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` for layer 0;
    with `_reverse` at the end for the way back
shapes : t steps, n sequences, i inputs, h elements of a state
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd.primitive import primitive
from tinygen.backend import arrays as backend
from tinygen.backend import recurrent
from tinygen.backend.random import Generator
from tinygen.nn.common import check_probability, check_sizes, shown, uniform_parameter
from tinygen.nn.layers import dropout, linear
from tinygen.nn.module import Module

# ---- functions ------------------------------------------------------------------------------------------


def lstm_cell(x, h, state, c):
    """(2): `x` is $W_{ih} x_t + b_{ih}$, `h` is $W_{hh} h_{t-1} + b_{hh}$, both (n, 4h); gives $h_t, c_t$."""
    i, f, g, o = tg.split(x + h, 4, -1)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


def gru_cell(x, h, state):
    """(3): `x` is $W_{ih} x_t + b_{ih}$, `h` is $W_{hh} h_{t-1} + b_{hh}$, both (n, 3h); gives $h_t$."""
    (x_r, x_z, x_n), (h_r, h_z, h_n) = tg.split(x, 3, -1), tg.split(h, 3, -1)
    z = tg.sigmoid(x_z + h_z)
    n = tg.tanh(x_n + tg.sigmoid(x_r + h_r) * h_n)
    return ((1 - z) * n + z * state,)


def unstack(x):
    """The entries of x along its first axis, as a list.

    x is cut in halves, and these again: so the gradients of t entries are put together in log t passes over x's
    memory, where t slices, each with a gradient of x's full size, would take t.
    """
    t = x.shape[0]
    return [tg.squeeze(x, 0)] if t == 1 else unstack(x[: t // 2]) + unstack(x[t // 2 :])


# ---- a whole sequence at once ---------------------------------------------------------------------------


def _steps(a, back):
    """The steps in their order."""
    return range(a.shape[0])[:: -1 if back else 1]


def _stepwise(cell, a, state, w, b, back):
    """All $h_t$, and the last state, by one cell after another."""
    inputs, outputs = unstack(a), [None] * a.shape[0]
    for t in _steps(a, back):
        state = cell(inputs[t], linear(state[0], w, b), *state)
        outputs[t] = state[0]
    return tg.stack(outputs), state


def _lstm_composed(a, h, c, w, b, back):
    y, state = _stepwise(lstm_cell, a, (h, c), w, b, back)
    return y, state[1]


def _lstm_back(g, a, h, c, w, saved, back):
    """The fused rule."""
    xp, (hs, cs, gates) = backend.array_module(w), saved
    g_h = xp.zeros_like(hs) if g[0] is None else g[0]
    return recurrent.lstm_back(xp, g_h, g[1], h, c, w, hs, cs, gates, _steps(a, back))


@primitive(
    joint=_lstm_back, outputs=2, composed=_lstm_composed,
    formula=r"\bar a, \bar h_0, \bar c_0, \bar W_{hh}, \bar b_{hh} = \text{(2) back through all steps}",
)  # fmt: skip
def _lstm(xp, a, h, c, w, b, back=False):
    """(2) for all steps: from `a` (t, n, 4h) and states (n, h) to all $h_t$ (t, n, h) and the last $c_t$."""
    order = _steps(a, back)
    hs, cs, gates = recurrent.lstm(xp, a, h, c, w, b, order)
    return (hs, cs[order[-1]].copy()), (hs, cs, gates)


def _gru_back(g, a, h, w, saved, back):
    """The fused rule."""
    xp, (hs, gates, inner) = backend.array_module(w), saved
    return recurrent.gru_back(xp, g, h, w, hs, gates, inner, _steps(a, back))


@primitive(
    joint=_gru_back, composed=lambda a, h, w, b, back: _stepwise(gru_cell, a, (h,), w, b, back)[0],
    formula=r"\bar a, \bar h_0, \bar W_{hh}, \bar b_{hh} = \text{(3) back through all steps}",
)  # fmt: skip
def _gru(xp, a, h, w, b, back=False):
    """(3) for all steps: from `a` (t, n, 3h) and a state (n, h) to all $h_t$ (t, n, h)."""
    hs, gates, inner = recurrent.gru(xp, a, h, w, b, _steps(a, back))
    return hs, (hs, gates, inner)


# ---- layers ---------------------------------------------------------------------------------------------


class _Recurrent(Module):
    r"""Parameters
    ----------
    input_size, hidden_size, num_layers : lengths of $x_t$ and of $h_t$; how many layers are stacked
    bias : whether to add $b_{ih}$ and $b_{hh}$
    batch_first : whether sequences are (n, t, i) rather than (t, n, i), in and out; states are not affected
    dropout : between layers, while training
    bidirectional : whether to run both ways; the output then has length 2 h
    rng : the Generator that draws weights, from $U(-1/\sqrt h, 1/\sqrt h)$, and dropout; None takes fresh entropy
    """

    gates, states = 1, 1  # blocks of rows in a weight; Tensors in a state
    whole: Any = None  # a kernel for all steps at once, if there is one

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        rng: Generator | None = None,
    ):
        layer = type(self).__name__
        check_sizes(layer, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        check_probability(layer, "dropout", dropout)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.rng = Generator() if rng is None else rng
        self._runs = [  # (suffix of the parameters' names, whether it runs backwards), in PyTorch's order
            (f"l{k}{'_reverse' * back}", back) for k in range(num_layers) for back in (False, True)[: 1 + bidirectional]
        ]
        rows = self.gates * hidden_size
        for k, (suffix, _) in enumerate(self._runs):
            below = input_size if k <= bidirectional else hidden_size * (1 + bidirectional)
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, below), "weight_hh": (rows, hidden_size)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            for name, shape in shapes.items():
                setattr(self, f"{name}_{suffix}", uniform_parameter(self.rng, shape, hidden_size))

    def cell(self, x, h, *state):
        """One step: `x` is $W_{ih} x_t + b_{ih}$, `h` is $W_{hh} h_{t-1} + b_{hh}$, both (n, gates · h)."""
        raise NotImplementedError

    def forward(self, x, state=None, *, lengths=None):
        """Run over sequences.

        Parameters
        ----------
        x : (t, n, i), or (n, t, i) if `batch_first`
        state : where to begin, (layers · directions, n, h), a pair of such for an LSTM; zeros by default
        lengths : (n,) integers in any order, where sequences end before step t. What comes after (it must be finite)
            counts for nothing: there the output is 0, the last state is that of the last step within, and the way
            back begins there

        Returns
        -------
        output : the last layer's $h_t$ for all t, (t, n, directions · h), or (n, t, ...) if `batch_first`
        state : the last states, shaped like `state`
        """
        x = tg.swapaxes(x, 0, 1) if self.batch_first and len(x.shape) == 3 else x
        begin, alive = self._begin(x, state), self._alive(x, lengths)
        ends: list[Any] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = dropout(x, self.dropout, rng=self.rng, training=self.training)
            ways = []
            for suffix, back in self._runs[len(ends) : len(ends) + 1 + self.bidirectional]:
                y, end = self._run(x, begin[len(ends)], suffix, back, alive)
                ways.append(y)
                ends.append(end)
            x = tg.concatenate(ways, -1) if self.bidirectional else ways[0]  # (t, n, directions · h)
        last = tuple([tg.stack(parts) for parts in zip(*ends, strict=True)])
        return (tg.swapaxes(x, 0, 1) if self.batch_first else x), (last if self.states > 1 else last[0])

    def _run(self, x, state, suffix, back, alive):
        """One layer in one direction: all its $h_t$, (t, n, h), and its last state."""
        w_ih, w_hh, b_ih, b_hh = (
            getattr(self, f"{name}_{suffix}", None) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        a = linear(x, w_ih, b_ih)  # (t, n, gates · h)
        if alive is None and self.whole is not None:
            out = type(self).whole(a, *state, w_hh, tg.zeros_like(a[0, 0]) if b_hh is None else b_hh, back)
            y, *last = out if isinstance(out, tuple) else (out,)
            return y, (y[0 if back else -1], *last)
        inputs = unstack(a)  # t times (n, gates · h)
        outputs: list[Any] = [None] * len(inputs)
        for t in range(len(inputs))[:: -1 if back else 1]:
            new = self.cell(inputs[t], linear(state[0], w_hh, b_hh), *state)
            if alive is None:
                state, outputs[t] = new, new[0]
            else:
                state = tuple([tg.where(alive[t], a, b) for a, b in zip(new, state, strict=True)])
                outputs[t] = tg.where(alive[t], new[0], 0)
        return tg.stack(outputs), state

    def _begin(self, x, state):
        """The first states, one tuple for each run."""
        name = type(self).__name__
        if len(x.shape) != 3 or x.shape[2] != self.input_size or not (x.shape[0] and x.shape[1]):
            axes = ("n", "t") if self.batch_first else ("t", "n")
            got = (x.shape[1], x.shape[0], *x.shape[2:]) if self.batch_first and len(x.shape) == 3 else tuple(x.shape)
            raise ValueError(f"{name}: x must have shape ({', '.join(axes)}, {self.input_size}), with one sequence and "
                             f"one step at least; got {got}")  # fmt: skip
        shape = (len(self._runs), x.shape[1], self.hidden_size)
        if state is None:
            weight = self.weight_ih_l0
            zero = tg.zeros(shape[1:], dtype=weight.dtype, device=weight.device)
            return [(zero,) * self.states] * len(self._runs)
        parts = tuple(state) if self.states > 1 and isinstance(state, tuple | list) else (state,)
        if len(parts) != self.states or any(tuple(p.shape) != shape for p in parts):
            wanted = f"a Tensor of shape {shape}" if self.states == 1 else f"a pair (h, c) of Tensors of shape {shape}"
            raise ValueError(f"{name}: state must be {wanted} (layers · directions, n, hidden_size), got "
                             f"{' and '.join(str(tuple(p.shape)) for p in parts)}")  # fmt: skip
        return [tuple([p[k] for p in parts]) for k in range(len(self._runs))]

    def _alive(self, x, lengths):
        """For each step, which sequences have got so far: t times (n, 1), or None where all have."""
        if lengths is None:
            return None
        raw = lengths.data if isinstance(lengths, tg.Tensor) else lengths
        host = backend.to_numpy(raw) if backend.is_array(raw) else np.asarray(raw)
        steps, n = x.shape[:2]
        if host.shape != (n,) or host.dtype.kind not in "iu" or not 1 <= host.min() <= host.max() <= steps:
            raise ValueError(f"{type(self).__name__}: lengths must be {n} integers from 1 to {steps}, one for each "
                             f"sequence, got {host.tolist()}")  # fmt: skip
        mask = np.arange(steps)[:, None, None] < host[None, :, None]
        return list(backend.asarray(mask, device=tg.shapes.device_of(x)))

    def options(self):
        return shown(self.input_size, self.hidden_size, self.num_layers, bias=(self.bias, True),
                     batch_first=(self.batch_first, False), dropout=(self.dropout, 0.0),
                     bidirectional=(self.bidirectional, False))  # fmt: skip


class RNN(_Recurrent):
    __doc__ = rf"""The cell (1); `nonlinearity` "relu" puts a rectifier for tanh.

    {_Recurrent.__doc__}"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        rng: Generator | None = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
                         bidirectional=bidirectional, rng=rng)  # fmt: skip

    def cell(self, x, h, *state):
        """(1)."""
        return (tg.tanh(x + h) if self.nonlinearity == "tanh" else tg.relu(x + h),)

    def options(self):
        return super().options() + (", nonlinearity='relu'" if self.nonlinearity == "relu" else "")


class LSTM(_Recurrent):
    __doc__ = rf"""The cell (2); its state is a pair (h, c).

    {_Recurrent.__doc__}"""

    gates, states = 4, 2
    whole = staticmethod(_lstm)

    def cell(self, x, h, *state):
        """(2)."""
        return lstm_cell(x, h, *state)


class GRU(_Recurrent):
    __doc__ = rf"""The cell (3).

    {_Recurrent.__doc__}"""

    gates = 3
    whole = staticmethod(_gru)

    def cell(self, x, h, *state):
        """(3)."""
        return gru_cell(x, h, *state)

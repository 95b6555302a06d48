r"""Raw audio (S0: "raw audio: ?!?"): sound as it stands in a file, and a dilated causal network that listens to it.

**Sound as numbers.** A microphone gives a voltage, a converter measures it some thousand times a second (the *rate*
$\nu$), and a WAV file holds the measurements, the *samples* $s_1, \dots, s_T \in [-1, 1]$, as integers of 16 bits,

$$ n_t = \mathrm{round}(32767\, s_t), \qquad |s_t - n_t / 32767| \le \tfrac12 \cdot \tfrac{1}{32767}. \tag{1} $$

That is all there is in it. Python's own `wave` writes and reads such files.

**What to listen to.** A note of an instrument is a sum of *partials*, sines of its own frequencies $\omega_k$, loudness
$a_k$, and decay $\beta_k$ (a share a second). At time $\tau$ seconds after it was struck,

$$ s(\tau) = \sum_k a_k\, e^{-\beta_k \tau} \sin(2 \pi \omega_k \tau + \varphi_k). \tag{2} $$

A string or a pipe has partials at whole multiples of its lowest, a bell has not; a clarinet, closed at one end, has the
odd ones only. Partials above $\nu / 2$ are left out: sampled, they would sound as others below. The pitch, the loudness
and the phases $\varphi_k$ differ from note to note, and the ear hears the instrument all the same. No single sample
tells anything: it is positive or negative by the accident of a phase. What is there is between samples, and at many
distances: a period of a low note lasts dozens of samples.

**Dilated causal convolutions** (van den Oord et al. 2016, WaveNet; S4 on ByteNet). A layer that is to work while the
sound goes on must look back only, at $K$ places that are $d$ apart,

$$ y_t = b + \sum_{k=0}^{K-1} W_k\, x_{t - d k}, \tag{3} $$

with $x_t = 0$ before the beginning. It is a convolution, in one dimension, of a kernel with $d - 1$ zeros between its
entries. With $d = 1$ in all of $L$ layers the last one sees $1 + (K - 1) L$ samples. If each layer looks further than
the one below,

$$ R = 1 + (K - 1) \sum_{l=1}^{L} d_l, \qquad d_l = 2^{l-1}, K = 2: \quad R = 2^L, \tag{4} $$

the *receptive field* doubles with each layer, while the work stays the same, and no sample within it is skipped.

**A layer** of WaveNet has a gate, like those of an LSTM, and adds what it has found to what it was given, like S0's
$y = x + \sigma(Wx - b)$:

$$ z_t = \tanh(W^{\mathrm f} \star_d h)_t \odot \sigma(W^{\mathrm g} \star_d h)_t, \qquad
   h_t \leftarrow h_t + A z_t, \tag{5} $$

where $\star_d$ is (3) with its biases, and $A$ a matrix with a bias. The first $h_t$ is a linear map of $s_t$ alone,
the sound having been brought to one loudness, a mean square of 1.

**The answer** is read from the mean over time, so that it does not matter when the note has begun:

$$ p_\theta(\cdot|s_1, \dots, s_T)
   = \mathrm{softmax}\Big( \frac1T \sum_{t=1}^{T} (V\, \mathrm{relu}(h_t) + a) \Big). \tag{6} $$

As the layers are causal, a mean up to the present moment is the answer so far (but for the loudness, which is that of
the whole sound). And since a mean of
scores is a score of the mean, each sample has its own share in the answer: the chapter on class activation makes use
of the same fact in images.

The documents leave audio at "?!?": layers, sizes and instruments are ours.

Notation
--------
$s$ : `s`, (T,) or (n, T); $\nu$ : `rate`, samples a second
$\omega_k, a_k, \beta_k, \varphi_k$ : `frequencies`, `loudness`, `decay`, `phases`, (K,) each
$x, y, h$ : (b, c, T), c channels
$W_k$ : `w[:, :, K - 1 - k]`, (o, c): the last entry of nn's kernels meets the present
$d, R$ : `d`, `receptive_field`
$W^{\mathrm f}, W^{\mathrm g}$ : the two halves of `layer.gated`; $A$ : `layer.out`; $V, a$ : `readout`
"""

from __future__ import annotations

import os
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.supervised import convolutional
from tinygen.models.supervised.classifier import Classifier
from tinygen.nn import functional as F

LARGEST = 32767  # of 16 bits, with a sign

# ---- sound as numbers, on the host ------------------------------------------------------------------------------


def quantised(s: np.ndarray) -> np.ndarray:
    """(1): samples in [-1, 1] as integers of 16 bits, any shape; what is louder is cut off."""
    return np.round(LARGEST * np.clip(s, -1, 1)).astype("<i2")


def write_wav(path: str | os.PathLike, s: np.ndarray, rate: int) -> None:
    """Write samples (T,) as a WAV file: one channel, 16 bits, `rate` samples a second."""
    s = np.asarray(s)
    if s.ndim != 1 or not len(s) or not np.isfinite(s).all():
        raise ValueError(f"write_wav: s has shape {s.shape}; finite samples (T,), at least one, are wanted")
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(quantised(s).tobytes())


def read_wav(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """The samples of a WAV file, (T,) float32 in [-1, 1], and its rate; several channels are averaged."""
    with wave.open(os.fspath(path), "rb") as file:
        channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
        data = file.readframes(file.getnframes())
    if width != 2:
        raise ValueError(f"read_wav: {path} has samples of {8 * width} bits; 16 are wanted (sox IN.wav -b 16 OUT.wav)")
    n = np.frombuffer(data, "<i2").reshape(-1, channels)  # (T, channels)
    return np.asarray(np.mean(np.maximum(n / LARGEST, -1), axis=1), np.float32), rate


def tone(tau, frequencies, loudness, decay, phases) -> np.ndarray:
    r"""(2): $\sum_k a_k e^{-\beta_k \tau} \sin(2 \pi \omega_k \tau + \varphi_k)$; times (T,), four of (K,) to (T,)."""
    tau = np.asarray(tau)[:, None]  # (T, 1)
    return np.sum(loudness * np.exp(-decay * tau) * np.sin(2 * np.pi * frequencies * tau + phases), axis=1)


def _harmonics(first: int, step: int, slope: float, decay: float, faster: float) -> tuple[np.ndarray, ...]:
    """Partials at multiples of the lowest: which of 40, how loud (a power of the number), and their decay."""
    k = np.arange(first, 41, step).astype(float)
    return k, k**-slope, decay * k**faster


INSTRUMENTS = {  # of each partial: the frequency, a multiple of the note's; the loudness; the decay, a share a second
    "flute": _harmonics(1, 1, 3.0, 0.0, 0.0),
    "clarinet": _harmonics(1, 2, 1.0, 0.0, 0.0),
    "violin": _harmonics(1, 1, 1.0, 0.0, 0.0),
    "string": _harmonics(1, 1, 1.0, 8.0, 1.0),  # plucked: the higher a partial, the sooner it is gone
    "bell": tuple(np.array(part) for part in ([1, 2.76, 5.4, 8.93], [1, 0.7, 0.5, 0.35], [3.0, 6.0, 10.0, 16.0])),
}


def notes(n: int, T: int, rng: Generator, *, rate: int = 8000, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Notes of all instruments: samples (n, T), float32 in [-1, 1], and who plays, (n,), a number within INSTRUMENTS.

    The pitch is anything from 220 to 880 a second, the loudness anything within a factor of 5; `noise` is the hiss.
    """
    who, tau = rng.integers(0, len(INSTRUMENTS), n), np.arange(T) / rate
    pitch, level = 220 * 4 ** rng.uniform(n, dtype="float64"), 0.9 * 5 ** -rng.uniform(n, dtype="float64")
    phases, hiss = rng.uniform((n, 40), 0, 2 * np.pi, dtype="float64"), noise * rng.normal((n, T), dtype="float64")
    s = np.empty((n, T))
    for i, kind in enumerate(who):
        multiples, loudness, decay = list(INSTRUMENTS.values())[kind]
        heard = multiples * pitch[i] < rate / 2
        parts = (pitch[i] * multiples, loudness, decay, phases[i, : len(multiples)])
        s[i] = tone(tau, *[part[heard] for part in parts])
    s *= level[:, None] / np.abs(s).max(1, keepdims=True)
    return np.clip(s + hiss, -1, 1).astype(np.float32), who


# ---- the network ------------------------------------------------------------------------------------------------


def causal(x, w, b, d: int):
    r"""(3): $b + \sum_k W_k x_{t - dk}$; (b, c, T), (o, c, K), (o,) to (b, o, T)."""
    return F.conv1d(tg.pad(x, [(0, 0), (0, 0), (d * (w.shape[2] - 1), 0)]), w, b, dilation=d)


def receptive_field(K: int, dilations: Sequence[int]) -> int:
    r"""(4): $1 + (K - 1) \sum_l d_l$, that of kernels of $1 + (K - 1) d_l$ entries without gaps."""
    return convolutional.receptive_field([(1 + (K - 1) * d, 1) for d in dilations])


def levelled(s):
    """Sounds brought to a mean square of 1, silence left alone: (b, T) to (b, T)."""
    top = tg.max(tg.abs(s), 1, keepdims=True)
    s = s / tg.where(top > 0, top, 1)  # so that no square is lost, or infinite
    return s / tg.sqrt(tg.maximum(tg.mean(tg.square(s), 1, keepdims=True), 1e-30))


class GatedLayer(nn.Module):
    r"""(5): $h_t + A (\tanh(W^{\mathrm f} \star_d h)_t \odot \sigma(W^{\mathrm g} \star_d h)_t)$.

    Parameters
    ----------
    channels : of $h$ and of $z$
    K, d : how many places are looked at, and how far apart they are
    rng : the Generator of the weights
    """

    def __init__(self, channels: int, K: int, d: int, *, rng: Generator):
        self.d = d
        self.gated = nn.Conv1d(channels, 2 * channels, K, dilation=d, rng=rng)
        self.out = nn.Conv1d(channels, channels, 1, rng=rng)
        for w in (self.gated.weight, self.out.weight):  # larger than nn's default, with which z fades at the start
            nn.init.kaiming_normal_(w, nonlinearity="tanh", rng=rng)

    def forward(self, h):
        """(b, c, T) to (b, c, T)."""
        f, g = tg.split(causal(h, self.gated.weight, self.gated.bias, self.d), 2, 1)
        return h + self.out(tg.tanh(f) * tg.sigmoid(g))


class DilatedNet(Classifier):
    r"""A classifier of raw audio, (6).

    Parameters
    ----------
    T, n_classes : samples of a sound, and how many classes there are
    channels : of $h_t$
    K : places that a layer looks at
    dilations : $d_1, \dots, d_L$
    lr : learning rate of Adam
    schedule : the factor of the learning rate as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the weights and the minibatches; None takes fresh entropy

    Examples
    --------
    >>> net = DilatedNet(100, 5, channels=4, dilations=(1, 2, 4, 8), rng=tg.random.Generator(0))
    >>> net.receptive_field
    16
    >>> s, who = notes(3, 100, tg.random.Generator(1))
    >>> net.predict(s).shape, net.along(s).shape
    ((3,), (3, 100, 5))
    """

    def __init__(self, T: int, n_classes: int, *, channels: int = 16, K: int = 2,
                 dilations: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128), lr: float = 5e-3, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        if T < 1 or n_classes < 2 or K < 2 or not dilations or min(dilations) < 1:
            raise ValueError(f"DilatedNet: a sample, two classes, K = 2 and dilations of 1 or more, at least, are "
                             f"wanted, got {T}, {n_classes}, {K} and {tuple(dilations)}")  # fmt: skip
        self.rng = Generator() if rng is None else rng
        self.n_features, self.receptive_field = T, receptive_field(K, dilations)
        self.first = nn.Conv1d(1, channels, 1, rng=self.rng)
        self.layers = nn.ModuleList([GatedLayer(channels, K, d, rng=self.rng) for d in dilations])
        self.readout = nn.Linear(channels, n_classes, rng=self.rng)
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def hidden(self, s):
        r"""What the layers have found in a levelled sound, $\mathrm{relu}(h_t)$: (b, T) to (b, channels, T)."""
        h = self.first(tg.expand_dims(s, 1))  # (b, channels, T)
        for layer in self.layers:
            h = layer(h)
        return tg.relu(h)

    def forward(self, s):
        """(6): samples (b, T) to logits (b, classes)."""
        return self.readout(tg.mean(self.hidden(levelled(s)), 2))

    def update(self, x, y) -> dict:
        """One step on a minibatch; its loss, in nats."""
        parts = super().update(x, y)
        self.schedule.step()
        return parts

    def along(self, s: np.ndarray) -> np.ndarray:
        """The probability of each class after every sample, (6) with the mean so far: (n, T) to (n, T, classes)."""
        count = np.arange(1, self.n_features + 1)[:, None]
        h = self._in_parts(lambda part: self.hidden(levelled(part)), s)  # (n, channels, T)
        so_far = np.cumsum(h.transpose(0, 2, 1), axis=1, dtype=np.float64) / count  # (n, T, channels)
        V, a = (p.numpy() for p in self.readout.parameters())
        return np.exp(F.log_softmax(so_far @ V.T + a, 2))

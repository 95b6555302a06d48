r"""Random numbers by counting: a draw is a function of (seed, stream, position), on every device.

Most generators hide a state that each draw stirs. A counter-based one (Salmon, Moraes, Dror and Shaw,
*Parallel random numbers: as easy as 1, 2, 3*, 2011) only counts: block $i$ of four 64-bit words is

$$ (w_0, \dots, w_3) = \mathrm{Philox}(\text{counter} = i,\; \text{key} = (\text{seed}, \text{stream})), $$

ten rounds (Philox4x64-10) of multiplication and exclusive-or that scramble the counter under the key. Three
things follow. The whole state is three integers, so a run is stopped and resumed exactly. Any block can be
computed alone, so a GPU computes them all at once and agrees with the CPU. And each stream is a generator
of its own, so parts of a program can be given one each, and adding a draw in one part changes nothing in
another.

From words to numbers:

$$ u = 2^{-24} \lfloor w / 2^8 \rfloor, \tag{1} $$
$$ z_1 = \sqrt{-2 \log u_1} \cos 2\pi u_2, \qquad z_2 = \sqrt{-2 \log u_1} \sin 2\pi u_2 \tag{2} $$

(1) is a uniform number in [0, 1) from 32 bits (float64: 53 of 64 bits); (2) is the transform of Box and
Muller, which makes two independent normal numbers from two uniform ones.

Notation
--------
seed, stream, position : the state; position counts blocks, and every draw uses whole blocks
words : uint64, four in a block
"""

from __future__ import annotations

import contextlib
import math
import operator
import secrets
import threading

import numpy as np

from . import cuda
from .arrays import DeviceError, array_module, device_of, is_array, parse_device
from .philox import PHILOX
from .recording import whole

_LIMIT = 2**64  # of seed, stream and position
_DRAWS, _STREAMS = 0, 1  # the counter's highest word: blocks for draws, and for the names of spawned streams
_CACHED = 2**14  # numbers made at a time on the CPU, so that the steps from words to numbers stay in the cache


class _Watchers(threading.local):
    """The dictionaries that `watch_draws` fills, of this thread."""

    dictionaries: tuple[dict, ...] = ()


_watchers = _Watchers()


@contextlib.contextmanager
def watch_draws():
    """Note each generator that draws inside the `with` block, with its state before its first draw there.

    >>> rng = Generator(0)
    >>> with watch_draws() as before:
    ...     first = rng.uniform(3)
    >>> rng.state = before[rng]
    >>> bool((rng.uniform(3) == first).all())
    True
    """
    seen: dict[Generator, dict[str, int]] = {}
    outer = _watchers.dictionaries
    _watchers.dictionaries = (*outer, seen)
    try:
        yield seen
    finally:
        _watchers.dictionaries = outer


class Generator:
    """A stream of random numbers whose state is three integers; for one thread at a time.

    Parameters
    ----------
    seed : int, optional
        From 0 to 2**64 - 1. None takes fresh entropy from the operating system; read it back from `state`.
    stream : int
        Streams of one seed are independent of one another.
    device : str
        Where the numbers are made. The same state gives the same numbers everywhere, up to rounding.

    Examples
    --------
    >>> rng = Generator(0)
    >>> rng.normal((2, 3)).shape
    (2, 3)
    >>> rng.state
    {'seed': 0, 'stream': 0, 'position': 1}
    """

    def __init__(self, seed=None, *, stream=0, device="cpu"):
        kind, self._index = parse_device(device)
        self.device = device if kind == "cpu" else f"cuda:{self._index}"
        self._xp = np if kind == "cpu" else cuda.cupy()
        # 63 bits, so that the state fits any file format's signed integers.
        self._seed = secrets.randbits(63) if seed is None else _word("seed", seed)
        self._stream = _word("stream", stream)
        self._position = 0
        self._philox = self._next = None  # NumPy's generator, and the position at which it stands

    # ---------------------------------------------------------------- state

    @property
    def state(self) -> dict[str, int]:
        """The three integers that decide everything drawn from here on."""
        return {"seed": self._seed, "stream": self._stream, "position": self._position}

    @state.setter
    def state(self, state):
        if not isinstance(state, dict) or set(state) != {"seed", "stream", "position"}:
            raise ValueError(f"Generator: state is {state!r}; wanted a dict of seed, stream and position.")
        seed, stream, position = (_word(name, state[name]) for name in ("seed", "stream", "position"))
        self._seed, self._stream, self._position = seed, stream, position
        self._philox = self._next = None

    def state_dict(self) -> dict[str, int]:
        """Return the state, under the name that modules and optimisers use."""
        return self.state

    def load_state_dict(self, state):
        """Take over a state from `state_dict`; its values may be integers or arrays of one integer."""
        self.state = {name: int(value) for name, value in state.items()}

    def spawn(self, n: int) -> list[Generator]:
        """Make n generators that are independent of this one and of one another.

        A child keeps the seed. The name of its stream is 63 bits of a Philox block of this generator, at
        the current position but with the highest word of the counter set to 1, where no draw ever reads;
        each child moves the position on by one block. So children depend only on the state at the call, a
        second call gives others, and grandchildren differ too. Names are 63 random bits: among $k$ streams
        the chance that any two are equal is about $k^2 / 2^{64}$.
        """
        n = _size("n", n)
        bits = self._seated(_STREAMS, self._position)
        children = []
        for _ in range(n):
            name = int(bits.random_raw(4)[0]) >> 1
            children.append(Generator(self._seed, stream=name, device=self.device))
        self._advance(n)
        return children

    def __repr__(self) -> str:
        where = f"device={self.device!r}) at position {self._position}"
        return f"Generator(seed={self._seed}, stream={self._stream}, {where}"

    def __getstate__(self):
        """Copy and pickle the three integers and the device, nothing else."""
        return {"state": self.state, "device": self.device}

    def __setstate__(self, saved):
        self.__init__(saved["state"]["seed"], device=saved["device"])
        self.state = saved["state"]

    # ---------------------------------------------------------------- draws

    @whole
    def uniform(self, shape, low=0.0, high=1.0, *, dtype="float32"):
        """Draw evenly from [low, high); never `high`, not even by rounding.

        Parameters
        ----------
        shape : int or tuple of int
        low, high : float
        dtype : "float32" or "float64"
        """
        shape, dtype = _shape(shape), _floating(dtype)
        low, high = float(dtype.type(low)), float(dtype.type(high))
        if not (low < high and high - low <= float(np.finfo(dtype).max)):
            raise ValueError(f"uniform: low is {low} and high is {high}; wanted finite {dtype} numbers, low < high, "
                             "with a finite difference.")  # fmt: skip
        with self._place():
            u = self._unit(math.prod(shape), dtype).reshape(shape)
            if (low, high) != (0.0, 1.0):
                u *= high - low
                u += low
                below = float(np.nextafter(dtype.type(high), dtype.type(-math.inf)))
                self._xp.minimum(u, below, out=u)  # the last step may have rounded up to high
            return u

    @whole
    def normal(self, shape, mean=0.0, std=1.0, *, dtype="float32"):
        """Draw from the normal distribution, by equation (2).

        Parameters
        ----------
        shape : int or tuple of int
        mean, std : float
            `std` is the standard deviation, at least 0.
        dtype : "float32" or "float64"
        """
        shape, dtype, mean, std = _shape(shape), _floating(dtype), float(mean), float(std)
        if not 0.0 <= std < math.inf:
            raise ValueError(f"normal: std is {std}; wanted a standard deviation of at least 0.")
        if not math.isfinite(mean):
            raise ValueError(f"normal: mean is {mean}; wanted a finite number.")
        count = math.prod(shape)
        with self._place():
            z = self._normals(count, dtype)[:count].reshape(shape)
            if std != 1.0:
                z *= std
            if mean != 0.0:
                z += mean
            return z

    @whole
    def bernoulli(self, p, shape=None, *, dtype="float32"):
        """Draw ones with probability p (p rounded up to a multiple of 2**-24), zeros otherwise.

        Parameters
        ----------
        p : float or array
            On this generator's device. On a GPU an array is not checked, since that would wait for it.
        shape : int or tuple of int, optional
            p's shape when None; otherwise p is broadcast to it.
        """
        if is_array(p):
            self._check_device("bernoulli", "p", p)
        elif not isinstance(p, (int, float, np.generic)):
            raise TypeError(f"bernoulli: p is a {type(p).__name__}; wanted a number or an array.")
        if not _holds(p, _in_unit):
            raise ValueError("bernoulli: p holds values outside [0, 1]; wanted probabilities (logits need a sigmoid).")
        shape = getattr(p, "shape", ()) if shape is None else _shape(shape)
        with self._place():
            u = self._unit(math.prod(shape), np.dtype("float32")).reshape(shape)
            drawn = self._xp.asarray(u < (p if is_array(p) else float(p)))
            if drawn.shape != shape:
                raise ValueError(f"bernoulli: p of shape {p.shape} does not broadcast to shape {shape}.")
            return drawn.astype(dtype)

    @whole
    def categorical(self, logits=None, *, probabilities=None, shape=(), dtype="int64"):
        r"""Draw class numbers, by the inverse of the distribution function.

        Parameters
        ----------
        logits : array, (..., k)
            Logarithms of the classes' weights, up to a constant.
        probabilities : array, (..., k)
            The weights themselves, given instead; they need not sum to 1.
        shape : int or tuple of int
            Draws for each distribution.

        Returns
        -------
        array, shape + (...)
        """
        if (logits is None) == (probabilities is None):
            raise ValueError("categorical: wanted either logits or probabilities, and not both.")
        with self._place():
            weights = self._weights(logits, probabilities)  # (..., k)
            shape = _shape(shape) + weights.shape[:-1]
            return self._choose(weights, shape).astype(dtype, copy=False)

    @whole
    def integers(self, low, high, shape=()):
        """Draw whole numbers evenly from low, ..., high - 1, as int64.

        One 64-bit word is reduced modulo high - low, so no number is more than
        1 + (high - low) / (2**64 - (high - low)) times as likely as another.
        """
        low, high = operator.index(low), operator.index(high)
        if not -(2**63) <= low < high <= 2**63 or high - low > 2**63:
            raise ValueError(f"integers: low is {low} and high is {high}; wanted low < high, within 64 bits.")
        shape = _shape(shape)
        with self._place():
            drawn = (self._words(math.prod(shape)) % (high - low)).astype("int64")
            drawn += low
            return drawn.reshape(shape)

    @whole
    def permutation(self, n: int):
        """Draw an order of 0, ..., n - 1, each equally likely: the one that sorts n random words."""
        n = _size("n", n)
        with self._place():
            return self._xp.argsort(self._words(n)).astype("int64", copy=False)

    # ---------------------------------------------------------------- from words to numbers

    def _words(self, n: int):
        """Return the next n words, of as many whole blocks as that takes: uint64, (n,)."""
        blocks, start = -(-n // 4), self._position
        if self._index is None:
            return self._host_blocks(blocks).random_raw(4 * blocks)[:n]
        self._advance(blocks)
        counter = self._xp.arange(start, start + blocks, dtype="uint64")
        words = self._xp.empty((blocks, 4), "uint64")
        columns = tuple(words[:, i] for i in range(4))
        PHILOX(self._xp, counter, np.uint64(self._seed), np.uint64(self._stream), out=columns)
        return words.reshape(-1)[:n]

    def _host_blocks(self, blocks: int):
        """NumPy's Philox at the current position; the caller takes exactly so many blocks from it."""
        start = self._position
        self._advance(blocks)
        if self._next != start:
            self._philox = self._seated(_DRAWS, start)
        self._next = self._position
        return self._philox

    def _advance(self, blocks: int):
        """Move the position on, and tell who watches."""
        for seen in _watchers.dictionaries:
            if self not in seen:
                seen[self] = self.state
        self._position += blocks

    def _seated(self, domain: int, position: int):
        """Set NumPy's Philox to give the block at a position next (it counts before it generates)."""
        counter = (position + (domain << 192) - 1) % 2**256
        return np.random.Philox(key=self._seed + (self._stream << 64), counter=counter)

    def _unit(self, count: int, dtype):
        """Draw from [0, 1), equation (1): (count,)."""
        if dtype == "float64":
            u = (self._words(count) >> 11).astype("float64")
            u *= 2.0**-53
            return u
        if self._index is None:  # the same numbers, from NumPy's own loop
            blocks = -(-count // 8)
            return np.random.Generator(self._host_blocks(blocks)).random(8 * blocks, dtype=np.float32)[:count]
        u = (self._halves(count) >> 8).astype("float32")
        u *= 2.0**-24
        return u

    def _halves(self, count: int):
        """Return the next 32-bit halves of words: uint32, (count,)."""
        return self._words(-(-count // 2)).view("uint32")[:count]

    def _normals(self, count: int, dtype):
        """Draw normal numbers, equation (2): at least `count` of them, in pairs a block apart."""
        pairs = -(-count // 2)
        bits = self._words(2 * pairs) if dtype == "float64" else self._halves(2 * pairs)
        z = self._xp.empty(2 * pairs, dtype)
        step = _CACHED if self._index is None else max(pairs, 1)
        for i in range(0, pairs, step):
            part, other = slice(i, min(i + step, pairs)), slice(pairs + i, min(pairs + i + step, 2 * pairs))
            _box_muller(self._xp, bits[part], bits[other], z[part], z[other])
        return z

    def _weights(self, logits, probabilities):
        """Check the parameters of `categorical` and turn them into weights: float64, (..., k)."""
        name, given = ("logits", logits) if probabilities is None else ("probabilities", probabilities)
        values = given if is_array(given) else self._xp.asarray(given)
        self._check_device("categorical", name, values)
        if values.ndim == 0 or values.shape[-1] == 0:
            raise ValueError(f"categorical: {name} has shape {values.shape}; wanted classes along the last axis.")
        values = values.astype("float64", copy=False)
        if probabilities is not None:
            if not _holds(values, _are_weights):
                raise ValueError("categorical: probabilities must be finite, not negative, and sum to more than 0 "
                                 "(and to a finite number).")  # fmt: skip
            return values
        if not _holds(values, lambda x: (x < math.inf) & (x.max(-1, keepdims=True) > -math.inf)):
            raise ValueError("categorical: logits must not be NaN or +inf, nor all -inf.")
        return self._xp.exp(values - values.max(-1, keepdims=True))

    def _choose(self, weights, shape):
        """Count, for each draw, the classes whose cumulated weight it has passed: shape, int64."""
        xp = self._xp
        reached = xp.cumsum(weights, -1)  # (..., k)
        total = reached[..., -1]
        # Below the total even after rounding, so that a class of weight 0 is never drawn.
        u = self._unit(math.prod(shape), np.dtype("float64")).reshape(shape)
        at = xp.minimum(u * total, xp.nextafter(total, xp.zeros_like(total)))
        if reached.ndim == 1:
            return xp.asarray(xp.searchsorted(reached, at, side="right"))
        return (reached <= at[..., None]).sum(-1)

    # ---------------------------------------------------------------- devices

    def _place(self):
        """Enter the generator's device."""
        return _NOWHERE if self._index is None else cuda.on_device(self._index)

    def _check_device(self, method: str, name: str, array):
        """Refuse an array that lives elsewhere."""
        if array_module(array) is not self._xp or device_of(array) != self.device:
            raise DeviceError(
                f"{method}: {name} is on {device_of(array)} and the generator on {self.device}; "
                f"move one with .to({self.device!r}) or make the generator with device={device_of(array)!r}."
            )


_NOWHERE = contextlib.nullcontext()


def _box_muller(xp, radius_bits, angle_bits, z1, z2):
    """Write equation (2) into z1 and z2, from bits of u1 in (0, 1] and u2 in [0, 1)."""
    if z1.dtype == "float64":
        radius_bits, angle_bits, unit = radius_bits >> 11, angle_bits >> 11, 2.0**-53
    else:
        unit = 2.0**-32
    radius = radius_bits.astype(z1.dtype)
    radius *= unit
    radius += unit / 2  # never 0, whose logarithm is infinite
    xp.log(radius, out=radius)
    radius *= -2.0
    xp.sqrt(radius, out=radius)
    angle = angle_bits.astype(z1.dtype)
    angle *= 2 * math.pi * unit
    xp.cos(angle, out=z1)
    xp.sin(angle, out=z2)
    z1 *= radius
    z2 *= radius


def _in_unit(p):
    """Whether all of p lies in [0, 1]; not if there is a NaN."""
    p = np.asarray(p)
    return not p.size or (p.min() >= 0 and p.max() <= 1)


def _are_weights(p):
    """Whether p, (..., k), are weights of classes: none negative or NaN, their sum positive and finite."""
    with np.errstate(over="ignore"):
        total = p.sum(-1, keepdims=True)
    return (p >= 0) & (total > 0) & (total < math.inf)


def _holds(values, condition) -> bool:
    """Check a condition on values where that is free: on the host. Arrays on a GPU pass."""
    on_device = is_array(values) and not isinstance(values, np.ndarray)
    return on_device or bool(np.all(condition(values)))


def _word(name: str, value) -> int:
    """Check a part of the state."""
    if not hasattr(value, "__index__") or not 0 <= operator.index(value) < _LIMIT:
        raise ValueError(f"Generator: {name} is {value!r}; wanted a whole number from 0 to 2**64 - 1.")
    return operator.index(value)


def _size(name: str, value) -> int:
    """Check a count."""
    if not hasattr(value, "__index__") or operator.index(value) < 0:
        raise ValueError(f"Generator: {name} is {value!r}; wanted a whole number of at least 0.")
    return operator.index(value)


def _shape(shape) -> tuple[int, ...]:
    """Check a shape and make it a tuple."""
    if isinstance(shape, tuple | list):
        return tuple([_size("shape", n) for n in shape])
    return (_size("shape", shape),)


def _floating(dtype):
    """Check the dtype of a continuous draw."""
    dtype = np.dtype(dtype)
    if dtype.name not in ("float32", "float64"):
        raise ValueError(f"Generator: dtype is {dtype}; wanted float32 or float64.")
    return dtype

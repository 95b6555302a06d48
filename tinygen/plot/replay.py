r"""A recorder for models in the plane: what training does, step by step, in one HTML page that needs no network.

Most of what happens to a GAN happens in its first hundreds of steps, so the frames are spaced by a constant factor:
`due` names about 60 of any number of steps. A frame is a set of named layers of five kinds, so that one recorder
serves all models:

| kind     | a value                                             | e.g.                                            |
|----------|-----------------------------------------------------|-------------------------------------------------|
| points   | (n, 2), or a pair with labels (n,), integers 0..255 | a GAN's samples; k-means' points by cluster     |
| fields   | (h, w); row 0 lies at the lower edge of the box     | a discriminator; a kernel density; free energy  |
| grids    | (r, c, 2), mesh lines                               | the image of the latent plane under a generator |
| arrows   | a pair of (n, 2), where and how far                 | the gradient that moves each sample             |
| ellipses | a pair of means (k, 2) and covariances (k, 2, 2)    | the components of EM                            |

and of scalars, which become curves. The names are what the page calls them. All frames have the same layers, of the
same shapes.

How exact the page is
---------------------
Numbers are stored as whole multiples of a quantum; what is stored is within half a quantum of what was recorded.

places : 16 bits over three times the box (as much again on every side, where what lies further out is put):
    3 · width / 65535 in x and 3 · height / 65535 in y, a thirtieth of a pixel on a large screen
fields : 8 bits over the range given for the field, at whose ends values beyond it are put, or else over the frame's
    own range: (high - low) / 255
arrows : 16 bits, 2 m / 65535, where m is the frame's largest component
ellipses : means as places; of a covariance $\Sigma$ the symmetric root $\Sigma^{1/2}$, whose entries are lengths,
    16 bits, 2 m / 65535 with the frame's largest entry m

Scalars are stored as they are. The same recording gives the same bytes.

An arrow is drawn as long as the square root of its length, since gradients differ by powers of ten in a run; the page's
key says what the lengths mean.
"""

from __future__ import annotations

import base64
import html
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.runs.checkpoint import atomically

Box = tuple[float, float, float, float]
Layers = Mapping[str, Any] | None  # by name


class _Coded(NamedTuple):
    """Numbers as integers: low + (high - low) codes / (2^bits - 1). For places the ends are the recorder's."""

    codes: np.ndarray  # uint8 or uint16
    ends: tuple[float, float] | None


class _Frame(NamedTuple):
    step: int
    kinds: dict[str, str]  # by layer
    parts: dict[tuple[str, str], _Coded]  # by layer and part
    scalars: dict[str, float]

    def shapes(self) -> dict[str, Any]:
        """What must be the same in every frame, by layer."""
        found: dict[str, Any] = {}
        for (name, part), coded in self.parts.items():
            found.setdefault(name, (self.kinds[name], {}))[1][part] = coded.codes.shape
        return {**found, **{f"scalar {name}": None for name in self.scalars}}


class Replay:
    """Frames of a training run in the plane, to be written as one HTML page.

    Parameters
    ----------
    box : (x0, x1, y0, y1), what is seen
    steps : how many the run will have; `due` spaces the frames over them
    frames : how many frames at most
    title, caption : the page's heading, and a sentence or two below it; plain text
    data : points (n, 2), or a pair with labels (n,), that do not change: the layer "data"
    ranges : for a field, by its name, (low, high), drawn in one colour, or (low, middle, high), drawn in two that
        meet at the middle, with a line there. A field without one is drawn in one colour, over each frame's own range
    glide : whether the page may move points evenly from frame to frame. False where the n-th point of one frame is not
        the n-th point of the next, such as samples from fresh noise

    Attributes
    ----------
    recorded : the steps of the frames so far, a tuple

    A recorder has `state_dict` and `load_state_dict`: as an attribute of what a run saves it keeps its frames when the
    run is killed, and goes on as if nothing had happened.

    Examples
    --------
    Twenty points fall to the middle:

    >>> import tempfile
    >>> x = np.random.default_rng(0).normal(size=(20, 2))
    >>> replay = Replay((-3, 3, -3, 3), steps=100, title="Falling", data=[[0.0, 0.0]])
    >>> for step in range(101):
    ...     if replay.due(step):
    ...         replay.record(step, points={"samples": x}, arrows={"pull": (x, -0.1 * x)},
    ...                       scalars={"distance": np.linalg.norm(x, axis=1).mean()})
    ...     x = 0.95 * x
    >>> len(replay.recorded), replay.recorded[:4], replay.recorded[-1]
    (60, (0, 1, 2, 3), 100)
    >>> replay.write(tempfile.mkdtemp() + "/replay.html")

    A GAN's layers come from `gan_layers`:

    >>> G, D = tg.nn.Linear(2, 2), tg.nn.Linear(2, 1)
    >>> z = np.random.default_rng(1).normal(size=(300, 2)).astype("float32")
    >>> replay = Replay((-3, 3, -3, 3), steps=1000, ranges={"discriminator": (0, 0.5, 1)})
    >>> replay.record(0, **gan_layers(G, lambda x: tg.sigmoid(D(x)), z, replay.box, loss=lambda x: tg.softplus(-D(x))),
    ...               scalars={"modes": 1})
    """

    def __init__(self, box: Sequence[float], *, steps: int, frames: int = 60, title: str = "Replay",
                 caption: str = "", data: Any = None, ranges: Mapping[str, Sequence[float]] | None = None,
                 glide: bool = True):  # fmt: skip
        self.box = _box(box, "Replay")
        if steps < 1 or frames < 3:
            raise ValueError(f"Replay: steps is {steps} and frames {frames}; at least 1 and 3 are wanted")
        self.title, self.caption, self.glide = title, caption, glide
        self.ranges = {name: _range(name, ends) for name, ends in (ranges or {}).items()}
        self._due = frozenset(log_spaced(steps, frames))
        self._frames: list[_Frame] = []
        self._data = {} if data is None else self._coded("points", "data", data, "Replay: data")

    @property
    def recorded(self) -> tuple[int, ...]:
        return tuple(frame.step for frame in self._frames)

    def due(self, step: int) -> bool:
        """Whether a step is one of those to record: 0, 1, and on by a nearly constant factor up to the last."""
        return step in self._due

    def record(self, step: int, *, points: Layers = None, fields: Layers = None, grids: Layers = None,
               arrows: Layers = None, ellipses: Layers = None, scalars: Layers = None) -> None:  # fmt: skip
        """Keep a frame: layers by name, of the kinds and shapes in the table above, and scalars by name.

        Arrays may be NumPy's, CuPy's or Tensors. Any step may be recorded, `due` or not.

        Raises
        ------
        ValueError
            for a step that does not lie behind the last one, a wrong shape, a number that is not finite, or other
            layers than in the frames before; nothing is kept then
        """
        step = int(step)
        if self._frames and step <= self._frames[-1].step:
            raise ValueError(f"Replay.record: step {step} comes after step {self._frames[-1].step}; growing steps are "
                             "wanted (cut(step) forgets the frames behind a step)")  # fmt: skip
        given = {"points": points, "fields": fields, "grids": grids, "arrows": arrows, "ellipses": ellipses}
        frame = _Frame(step, {}, {}, {})
        for kind, layers in given.items():
            for name, value in (layers or {}).items():
                where = f"Replay.record: step {step}, {kind} {name!r}"
                if name in frame.kinds or (name == "data" and self._data):
                    raise ValueError(f"{where}: there is another layer of this name")
                frame.kinds[name] = kind
                for part, coded in self._coded(kind, name, value, where).items():
                    frame.parts[name, part] = coded
        for name, value in (scalars or {}).items():
            frame.scalars[name] = float(_numbers(value, (), f"Replay.record: step {step}, scalar {name!r}"))
        self._check(frame)
        self._frames.append(frame)

    def cut(self, step: int) -> None:
        """Forget the frames behind a step, as when a run goes on from an older checkpoint."""
        self._frames = [frame for frame in self._frames if frame.step <= step]

    def _check(self, frame: _Frame) -> None:
        """That the frame has the layers of the first one, in their shapes, and that every range has its field."""
        where = f"Replay.record: step {frame.step}"
        if not frame.kinds:
            raise ValueError(f"{where} has no layer; at least one is wanted")
        unknown = [name for name in self.ranges if frame.kinds.get(name) != "fields"]
        if unknown:
            raise ValueError(f"{where} has no field {unknown[0]!r}, for which ranges has an entry")
        if not self._frames:
            return
        first, new = self._frames[0].shapes(), frame.shapes()
        for name in {**first, **new}:
            if name not in first or name not in new or first[name] != new[name]:
                raise ValueError(f"{where}: {name} is {new.get(name, 'missing')}, but {first.get(name, 'missing')} at "
                                 f"step {self._frames[0].step}; the same layers in every frame are wanted")  # fmt: skip

    # ---- the kinds -------------------------------------------------------------------------------------

    def _coded(self, kind: str, name: str, value: Any, where: str) -> dict[str, _Coded]:
        """A layer's numbers as integers, by part."""
        if kind == "fields":
            numbers = _numbers(value, ("h", "w"), where)
            ends = self.ranges.get(name) or (float(numbers.min()), float(numbers.max()))
            return {"value": _Coded(_codes(numbers, ends[0], ends[-1], np.uint8), (ends[0], ends[-1]))}
        if kind == "grids":
            return {"at": self._places(value, ("r", "c", 2), where)}
        if kind == "arrows":
            start, vector = _pair(value, "starts (n, 2) and vectors (n, 2)", where)
            at = self._places(start, ("n", 2), f"{where}, starts")
            return {"at": at, "by": _about_zero(_numbers(vector, at.codes.shape, f"{where}, vectors"))}
        if kind == "ellipses":
            mean, covariance = _pair(value, "means (k, 2) and covariances (k, 2, 2)", where)
            at = self._places(mean, ("k", 2), f"{where}, means")
            return {"at": at, "root": _about_zero(_roots(covariance, len(at.codes), f"{where}, covariances"))}
        if not isinstance(value, tuple):
            return {"at": self._places(value, ("n", 2), where)}
        points, labels = _pair(value, "points (n, 2) and labels (n,)", where)
        at = self._places(points, ("n", 2), where)
        return {"at": at, "label": _labels(labels, len(at.codes), f"{where}, labels")}

    def _places(self, value: Any, shape: tuple, where: str) -> _Coded:
        """Places (..., 2) over three times the box."""
        low, size = np.array(self.box[::2]), np.array([self.box[1] - self.box[0], self.box[3] - self.box[2]])
        return _Coded(_codes(_numbers(value, shape, where), low - size, low + 2 * size, np.uint16), None)

    # ---- the state -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The frames so far, as `tg.save` takes them."""
        state: dict[str, Any] = {"box": np.array(self.box), "steps": np.array(self.recorded, np.int64)}
        if not self._frames:
            return state
        first = self._frames[0]
        state["layers"] = json.dumps([list(first.kinds.items()), list(first.parts), list(first.scalars)])
        state["scalars"] = np.array([list(frame.scalars.values()) for frame in self._frames])
        for k, part in enumerate(first.parts):
            coded = [frame.parts[part] for frame in self._frames]
            state[f"codes{k}"] = np.stack([c.codes for c in coded])
            if coded[0].ends is not None:
                state[f"ends{k}"] = np.array([c.ends for c in coded])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the frames of a `state_dict`, in place of those here."""
        if tuple(np.asarray(state["box"]).tolist()) != self.box:
            raise ValueError(f"Replay.load_state_dict: the frames have the box {np.asarray(state['box']).tolist()}, "
                             f"and the recorder {list(self.box)}")  # fmt: skip
        kinds, parts, scalars = json.loads(state.get("layers", "[[], [], []]"))
        frames = []
        for f, step in enumerate(np.asarray(state["steps"]).tolist()):
            coded = {}
            for k, (name, part) in enumerate(parts):
                ends = tuple(np.asarray(state[f"ends{k}"])[f].tolist()) if f"ends{k}" in state else None
                coded[name, part] = _Coded(np.asarray(state[f"codes{k}"])[f], ends)
            values = np.asarray(state["scalars"])[f].tolist()
            frames.append(_Frame(step, dict(kinds), coded, dict(zip(scalars, values, strict=True))))
        self._frames = frames

    # ---- the page --------------------------------------------------------------------------------------

    def page(self) -> str:
        """The page as a string of HTML."""
        if not self._frames:
            raise ValueError("Replay.page: nothing is recorded yet; call record(step, ...) first")
        first = self._frames[0]
        recording = {
            "box": self.box, "glide": self.glide, "steps": self.recorded, "layers": self._layers(),
            "scalars": [{"name": name, "values": [f.scalars[name] for f in self._frames]} for name in first.scalars],
        }  # fmt: skip
        parts = {"title": html.escape(self.title), "caption": html.escape(self.caption),
                 "recording": _script(recording)}  # fmt: skip
        template = Path(__file__).with_name("replay.html").read_text(encoding="utf-8")
        return re.sub(r"\{\{(title|caption|recording)\}\}", lambda found: parts[found[1]], template)

    def write(self, path: str | os.PathLike, *, limit: int = 400_000) -> None:
        """Write the page, whole or not at all; it is refused if it has more than `limit` bytes."""
        text = self.page().encode()
        if len(text) > limit:
            sizes = {layer["name"]: sum(len(part["codes"]) for part in layer["parts"].values())
                     for layer in self._layers()}  # fmt: skip
            largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
            found = ", ".join(f"{name!r} ({sizes[name]})" for name in largest)
            raise ValueError(f"Replay.write: the page has {len(text)} bytes, more than limit={limit}. Record fewer "
                             f"points, coarser fields and grids, or fewer frames than {len(self._frames)}; the largest "
                             f"layers, in bytes: {found}")  # fmt: skip
        with atomically(path) as temporary:
            temporary.write_bytes(text)

    def _layers(self) -> list[dict[str, Any]]:
        """What the page reads, layer by layer; the data first."""
        found = []
        if self._data:
            found.append({"name": "data", "kind": "points", "still": True,
                          "parts": {part: _packed([coded]) for part, coded in self._data.items()}})  # fmt: skip
        for name, kind in self._frames[0].kinds.items():
            parts = {part: _packed([frame.parts[layer, part] for frame in self._frames])
                     for layer, part in self._frames[0].parts if layer == name}  # fmt: skip
            found.append({"name": name, "kind": kind, "parts": parts, "range": self.ranges.get(name)})
        return found


# ---- a GAN's layers -----------------------------------------------------------------------------------------


def lattice(box: Sequence[float], rows: int, columns: int) -> np.ndarray:
    """The places of a field's values, the middles of rows x columns cells of the box: (rows * columns, 2) float64.

    `f(lattice(box, h, w)).reshape(h, w)` is a field.
    """
    x0, x1, y0, y1 = _box(box, "lattice")
    x = x0 + (x1 - x0) * (np.arange(columns) + 0.5) / columns
    y = y0 + (y1 - y0) * (np.arange(rows) + 0.5) / rows
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def gan_layers(generate: Callable, discriminate: Callable, z: Any, box: Sequence[float], *,
               loss: Callable | None = None, cells: int = 40, mesh: int = 15, span: tuple[float, float] = (-2.0, 2.0),
               arrows: int = 60) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The layers of a GAN in the plane, for `Replay.record(step, **gan_layers(...))`.

    Parameters
    ----------
    generate : from codes (n, d) to points (n, 2)
    discriminate : from points (n, 2) to a number each, (n,) or (n, 1), to be seen as the field: a probability, or
        a critic's value
    z : codes (n, d), the same in every frame, on the networks' device and of their dtype
    box : the recorder's
    loss : from points (n, 2), a Tensor, to the generator's loss, a number or one for each point; the arrows show where
        its gradient descent moves the points
    cells : the field has cells x cells values
    mesh : the latent plane is seen as a sheet of mesh x mesh codes, a latent line as 8 mesh codes; more dimensions
        have none
    span : the sheet's first and last code in each dimension
    arrows : how many of the points have one

    Returns
    -------
    points "samples", fields "discriminator", and where there are any, grids "generator" and arrows "gradient".
    Networks with batch normalisation or dropout should be in eval mode meanwhile.
    """
    z = z._data if isinstance(z, tg.Tensor) else z
    if not backend.is_array(z) or z.ndim != 2:
        raise ValueError(f"gan_layers: z is {getattr(z, 'shape', type(z).__name__)}; codes (n, d) are wanted")
    here = lambda numbers: tg.tensor(numbers.astype(z.dtype), device=backend.device_of(z))
    with tg.no_grad():
        x = generate(here(z))
        field = _host(discriminate(here(lattice(box, cells, cells))))
        layers: dict[str, dict[str, Any]] = {"points": {"samples": _host(x)},
                                             "fields": {"discriminator": field.reshape(cells, cells)}}  # fmt: skip
        if z.shape[1] <= 2:
            codes = np.linspace(*span, mesh if z.shape[1] == 2 else 8 * mesh)
            sheet = np.stack(np.meshgrid(*[codes] * z.shape[1]), -1)  # (mesh, mesh, 2) or (8 mesh, 1)
            image = _host(generate(here(sheet.reshape(-1, z.shape[1]))))
            layers["grids"] = {"generator": image.reshape((1, *sheet.shape[:-1], 2)[-3:])}
    if loss is not None:
        start = tg.tensor(x.data[:arrows], requires_grad=True)
        layers["arrows"] = {"gradient": (_host(start), -_host(tg.grad(tg.sum(loss(start)), start)))}
    return layers


# ---- numbers ------------------------------------------------------------------------------------------------


def log_spaced(steps: int, frames: int) -> list[int]:
    """0, 1, ..., steps: so many whole numbers (or all, if there are fewer), growing by as even a factor as they can."""
    found = [0, 1]
    while len(found) < frames and found[-1] < steps:
        factor = (steps / found[-1]) ** (1 / (frames - len(found)))
        found.append(max(found[-1] + 1, round(found[-1] * factor)))
    return found


def _host(value: Any) -> np.ndarray:
    """A Tensor, an array or a list, as an array on the host."""
    value = value._data if isinstance(value, tg.Tensor) else value
    return backend.to_numpy(value) if backend.is_array(value) else np.asarray(value)


def _numbers(value: Any, shape: tuple, where: str) -> np.ndarray:
    """Finite float64 of a shape whose letters stand for any size from 1 on."""
    numbers = _host(value).astype(np.float64)
    fits = numbers.ndim == len(shape) and all(
        size == wanted or (isinstance(wanted, str) and size > 0)
        for size, wanted in zip(numbers.shape, shape, strict=True)
    )
    if not fits:
        wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
        raise ValueError(f"{where} has shape {numbers.shape}; {wanted} is wanted")
    if not np.isfinite(numbers).all():
        bad = numbers[~np.isfinite(numbers)]
        raise ValueError(f"{where} holds {bad.flat[0]} ({bad.size} of {numbers.size} numbers are not finite)")
    return numbers


def _pair(value: Any, wanted: str, where: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{where} is a {type(value).__name__}; a pair of {wanted} is wanted")
    return value


def _codes(numbers: np.ndarray, low: Any, high: Any, dtype: type) -> np.ndarray:
    """The nearest of the integers 0 (low) to 2^bits - 1 (high)."""
    span = np.subtract(high, low)
    share = (np.clip(numbers, low, high) - low) / np.where(span > 0, span, 1)
    return np.rint(share * np.iinfo(dtype).max).astype(dtype)


def _about_zero(numbers: np.ndarray) -> _Coded:
    """16 bits over [-m, m], m the largest magnitude."""
    m = float(np.abs(numbers).max())
    return _Coded(_codes(numbers, -m, m, np.uint16), (-m, m))


def _labels(value: Any, n: int, where: str) -> _Coded:
    numbers = _numbers(value, (n,), where)
    if (numbers != np.clip(np.rint(numbers), 0, 255)).any():
        raise ValueError(f"{where} lie in {numbers.min():g}..{numbers.max():g}; integers 0..255 are wanted")
    return _Coded(numbers.astype(np.uint8), (0.0, 255.0))


def _roots(value: Any, k: int, where: str) -> np.ndarray:
    r"""Symmetric roots of covariances, $R^2 = \Sigma$, as (xx, xy, yy): (k, 3).

    In two dimensions $R = (\Sigma + s I) / \sqrt{\operatorname{tr} \Sigma + 2 s}$ with $s = \sqrt{\det \Sigma}$.
    """
    sigma = _numbers(value, (k, 2, 2), where)
    xx, xy, yx, yy = sigma[:, 0, 0], sigma[:, 0, 1], sigma[:, 1, 0], sigma[:, 1, 1]
    det, size = xx * yy - xy * yx, np.maximum(xx, 0) + np.maximum(yy, 0)
    bad = (np.abs(xy - yx) > 1e-6 * size) | (det < -1e-6 * size**2) | (np.minimum(xx, yy) < 0)
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{where}: number {i} is {sigma[i].tolist()}; symmetric ones without negative eigenvalues "
                         "are wanted")  # fmt: skip
    s = np.sqrt(np.maximum(det, 0))
    scale = np.sqrt(xx + yy + 2 * s)
    return np.stack([xx + s, (xy + yx) / 2, yy + s], 1) / np.where(scale > 0, scale, 1)[:, None]


def _box(box: Sequence[float], where: str) -> Box:
    x0, x1, y0, y1 = (float(end) for end in box)
    if not (x0 < x1 and y0 < y1 and all(map(math.isfinite, (x0, x1, y0, y1)))):
        raise ValueError(f"{where}: box is {tuple(box)}; (x0, x1, y0, y1) with x0 < x1 and y0 < y1 is wanted")
    return x0, x1, y0, y1


def _range(name: str, ends: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(end) for end in ends)
    if len(found) not in (2, 3) or not all(map(math.isfinite, found)) or list(found) != sorted(set(found)):
        raise ValueError(f"Replay: ranges[{name!r}] is {found}; growing (low, high) or (low, middle, high) is wanted")
    return found


# ---- the page's script ----------------------------------------------------------------------------------------


def _packed(frames: list[_Coded]) -> dict[str, Any]:
    """One part of a layer over all frames: shape of a frame, bits, ends by frame, base64 of little-endian integers."""
    codes = np.stack([coded.codes for coded in frames])
    return {"shape": codes.shape[1:], "bits": 8 * codes.itemsize,
            "ends": None if frames[0].ends is None else [coded.ends for coded in frames],
            "codes": base64.b64encode(codes.astype(codes.dtype.newbyteorder("<")).tobytes()).decode()}  # fmt: skip


def _script(value: Any) -> str:
    """JSON that may stand inside a script element: what HTML could take for markup is escaped."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")

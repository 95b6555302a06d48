"""Points for the engine's functions: the elementwise primitives by their domains, and every other one by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygen.autograd as tg
from tinygen.autograd.primitive import REGISTRY, Primitive
from tinygen.cases import Case

#: where a domain's numbers lie: functions of (generator, shape, position of the argument)
DOMAINS: dict[str, Callable[[np.random.Generator, tuple, int], np.ndarray]] = {
    "real": lambda rng, shape, k: rng.normal(size=shape),
    "positive": lambda rng, shape, k: rng.uniform(0.3, 3, shape),
    "nonzero": lambda rng, shape, k: rng.uniform(0.3, 2, shape) * rng.choice([-1, 1], shape),
    "unit": lambda rng, shape, k: rng.uniform(-0.8, 0.8, shape),
    "above one": lambda rng, shape, k: rng.uniform(1.3, 3, shape),
    "between integers": lambda rng, shape, k: rng.integers(-3, 3, shape) + rng.uniform(0.2, 0.8, shape),
    "apart": lambda rng, shape, k: 0.5 * rng.integers(-4, 5, shape) + 0.25 * k,  # no two arguments are equal
}

SHAPES = [((2, 3), (2, 3)), ((2, 1), (1, 3)), ((), (3,)), ((2, 3), (3,))]


def elementwise_cases(rng: np.random.Generator, row: Primitive) -> Iterator[Case]:
    """An elementwise primitive on shapes that broadcast, with all its inputs differentiated."""
    assert row.domain is not None
    draw = DOMAINS[row.domain]
    for shapes in SHAPES if len(row.arrays) > 1 else [((2, 3),), ((),)]:
        yield Case(row.name, row.front(), tuple(np.asarray(draw(rng, s, k)) for k, s in enumerate(shapes)))


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every case, the elementwise primitives first."""
    for row in list(REGISTRY.values()):
        if row.domain is not None:
            yield from elementwise_cases(rng, row)
    n = rng.normal
    x = n(size=(2, 3, 4))
    apart = 0.3 * rng.permutation(24).reshape(2, 3, 4)
    square = n(size=(2, 3, 3)) + 3 * np.eye(3)
    definite = square @ square.swapaxes(-1, -2) + 2 * np.eye(3)

    def case(name: str, function: Callable, *args: Any) -> Case:
        return Case(name, function, args)

    # elementwise with options
    yield case("clip", lambda x: tg.clip(x, -0.4, 0.7), 0.25 + 0.5 * rng.integers(-3, 3, (2, 3)))
    yield case("where", tg.where, x[0] > 0, n(size=(3, 4)), n(size=(4,)))
    yield case("polygamma", lambda x: tg.polygamma(2, x), rng.uniform(0.5, 3, (2, 3)))
    yield case("power", lambda x: x**3 + x**0 + x**1 + 2.0**x, n(size=4))
    yield case("maximum", lambda x: tg.maximum(x, x) + tg.minimum(x, x), n(size=3))
    # reductions
    for name in ("sum", "mean", "var", "std", "prod", "logsumexp"):
        f = getattr(tg, name)
        yield case(name, lambda x, f=f: f(x), x[0])
        yield case(name, lambda x, f=f: f(x, 1), x)
        yield case(name, lambda x, f=f: f(x, (0, -1), keepdims=True), x)
    for name in ("max", "min"):
        f = getattr(tg, name)
        yield case(name, lambda x, f=f: f(x), apart)
        yield case(name, lambda x, f=f: f(x, (0, 2), keepdims=True), apart)
    yield case("var", lambda x: tg.var(x, 0, ddof=1), x)
    yield case("prod", lambda x: tg.prod(x, 0), np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [1.0, 1.5, 2.0]]))
    for order in (None, 1, 2, 3, np.inf):
        yield case("norm", lambda x, order=order: tg.norm(x, order, axis=1), apart - 3.5)
    yield case("cumsum", lambda x: tg.cumsum(x, 1) + tg.reshape(tg.cumsum(x), x.shape), x)
    # shapes
    yield case("reshape", lambda x: tg.reshape(x, (4, -1)), x)
    yield case("transpose", lambda x: tg.transpose(x, (1, -1, 0)), x)
    yield case("swapaxes", lambda x: tg.swapaxes(x, 0, -1), x)
    yield case("moveaxis", lambda x: tg.moveaxis(x, (0, 1), (-1, 0)), x)
    yield case("expand_dims", lambda x: tg.expand_dims(x, (0, -1)), x)
    yield case("squeeze", lambda x: tg.squeeze(x, 1), x[:, :1])
    yield case("broadcast_to", lambda x: tg.broadcast_to(x, (3, 2, 4)), x[:, :1, 0] * np.ones((2, 4)))
    yield case("concatenate", lambda a, b: tg.concatenate([a, b, a], -1), x, x[..., :2])
    yield case("stack", lambda a, b: tg.stack([a, b], 1), x, apart)
    yield case("split", lambda x: tuple(tg.split(x, 2, 2)[:1] + tg.split(x, [1], 1)), x)
    for mode in ("constant", "edge", "reflect", "wrap"):
        yield case("pad", lambda x, mode=mode: tg.pad(x, ((0, 0), (1, 2), (2, 0)), mode), x)
    yield case("flip", lambda x: tg.flip(x, (0, 2)) + tg.flip(x), x)
    yield case("roll", lambda x: tg.roll(x, (1, -2), (0, 2)) + tg.roll(x, 5), x)
    yield case("tile", lambda x: tg.tile(x, (2, 1, 3)), x)
    yield case("repeat", lambda x: (tg.repeat(x, 2, 1), tg.repeat(x, [1, 0, 2], 1)), x)
    yield case("tril", lambda x: tg.tril(x, 1), x)
    yield case("triu", lambda x: tg.triu(x, -1), x)
    yield case("diagonal", lambda x: tg.diagonal(x, 1, 1, 2), x)
    yield case("diag", tg.diag, x[0])
    yield case("astype", lambda x: tg.astype(x, "float64") * 2, x)
    yield case("to", lambda x: tg.shapes.move(x, "cpu") * 2, x)
    # indexing
    yield case("getitem", lambda x: x[1:, ::-2, None], x)
    yield case("getitem", lambda x: x[np.array([1, 0, 1, 1]), :, np.array([3, 3, 0, 3])], x)
    yield case("getitem", lambda x: x[x.data > 0], x)
    yield case("getitem", lambda x: x[..., -1], x)
    yield case("scatter", lambda x: tg.scatter(x, np.array([1, 1, 0]), (2,)), n(size=3))
    yield case("take_along_axis", lambda x: tg.take_along_axis(x, np.argsort(-apart, 1)[:, :2], 1), x)
    yield case("embedding", lambda w: tg.embedding(np.array([[0, 2], [2, 2]]), w), n(size=(3, 2)))
    # linear algebra
    for a, b in [
        ((3,), (3,)),
        ((2, 3), (3, 4)),
        ((3,), (2, 3, 4)),
        ((2, 2, 3), (3,)),
        ((2, 2, 3), (3, 2)),
        ((2, 1, 2, 3), (4, 3, 2)),
    ]:
        yield case("matmul", tg.matmul, n(size=a), n(size=b))
    yield case("dot", tg.dot, n(size=(2, 3)), n(size=(2, 3, 2)))
    yield case("outer", tg.outer, n(size=3), n(size=2))
    yield case("tensordot", lambda a, b: tg.tensordot(a, b, ((0, 2), (1, 0))), x, n(size=(4, 2, 2)))
    yield case("einsum", lambda a, b: tg.einsum("ijk,kl->il", a, b), x, n(size=(4, 2)))
    yield case("einsum", lambda a, b, c: tg.einsum("...ii,ij,k->...j", a, b, c), square, n(size=(3, 2)), n(size=2))
    yield case("trace", lambda x: tg.trace(x, 1), square[0])
    yield case("inv", tg.linalg.inv, square)
    yield case("det", tg.linalg.det, square)
    yield case("slogdet", lambda x: tg.linalg.slogdet(x)[1], square)
    yield case("solve", tg.linalg.solve, square, n(size=(2, 3, 2)))
    yield case("solve", tg.linalg.solve, square[0], n(size=3))
    yield case("cholesky", tg.linalg.cholesky, definite)
    for lower in (True, False):
        yield case(
            "solve_triangular",
            lambda a, b, lower=lower: tg.linalg.solve_triangular(a, b, lower=lower),
            square,
            n(size=(2, 3, 2)),
        )
        yield case(
            "solve_triangular",
            lambda a, b, lower=lower: tg.linalg.solve_triangular(a, b, lower=lower, transposed=True),
            square[0],
            n(size=3),
        )
    yield case(
        "eigh", lambda x: (tg.linalg.eigh(x)[0], tg.linalg.eigh(x)[1] ** 2), np.diag([1.0, 3.0, 6.0]) + 0.5 * square
    )
    # convolution
    yield from convolution_cases(rng)


def convolution_cases(rng: np.random.Generator) -> Iterator[Case]:
    """The trio and the pair on geometries where every option matters."""
    n = rng.normal
    wide = tg.Geometry(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    x, w, y = n(size=(2, 4, 5, 6)), n(size=(6, 2, 3, 2)), n(size=(2, 6, 3, 4))
    yield Case("convolve", lambda x, w: tg.convolve(x, w, wide), (x, w))
    yield Case(
        "convolve",
        lambda x, w: tg.convolve(x, w, tg.Geometry((3,), (2,), (1,))),
        (n(size=(2, 2, 7)), n(size=(3, 2, 4))),
    )
    yield Case("convolve_adjoint", lambda y, w: tg.convolve_adjoint(y, w, (5, 6), wide), (y, w))
    yield Case("convolve_weight", lambda x, y: tg.convolve_weight(x, y, (3, 2), wide), (x, y))
    yield Case("unfold", lambda x: tg.unfold(x, (3, 2), (2, 1), (1, 2)), (x,))
    apart = rng.permutation(60).reshape(1, 2, 5, 6) / 10  # no two elements are near each other
    yield Case("max_windows", lambda x: tg.max_windows(x, (3, 2), (1, 2), (1, 3)), (apart,))
    yield Case("fold", lambda v: tg.fold(v, (5, 6), (2, 1), (1, 1)), (n(size=(1, 2, 2, 5, 3, 2)),))

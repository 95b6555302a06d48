"""Microseconds of single operations at the shapes of training: `python -m benchmarks.kernels --out docs/speed-kernels`.

Each of ours stands beside the plain way, which is the kernel's own definition in other primitives or what one would
write in NumPy, and beside PyTorch if that is there. Float32, one thread, processor time; blocks of calls take turns,
and a figure is the median of its blocks. "Forward and back" computes a result and the gradients by all its inputs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

THREADS = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


class Row(NamedTuple):
    """One operation: what it is called, and how it is done by us, plainly, and by PyTorch (None: not at all)."""

    name: str
    ours: Callable[[], Any]
    plain: Callable[[], Any] | None
    torch: Callable[[], Any] | None


def there_and_back(function: Callable, *arrays: Any) -> Callable[[], Any]:
    """The function's value and its gradients by all inputs of floats, in tinygen."""
    import tinygen as tg

    inputs = [tg.tensor(a, requires_grad=True) if a.dtype.kind == "f" else a for a in arrays]
    wanted = [x for x in inputs if isinstance(x, tg.Tensor)]
    ones = tg.ones(first(function(*inputs)).shape)
    return lambda: tg.grad(first(function(*inputs)), wanted, ones)


def torch_there_and_back(function: Callable | None, *arrays: Any) -> Callable[[], Any] | None:
    """The same in PyTorch, if it is there."""
    if function is None or not importlib.util.find_spec("torch"):
        return None
    import torch

    inputs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    wanted = [x for x in inputs if x.requires_grad]
    ones = torch.ones_like(first(function(*inputs)))
    return lambda: torch.autograd.grad(first(function(*inputs)), wanted, ones)


def first(out: Any) -> Any:
    """The first of several results; one result as it is."""
    return out[0] if isinstance(out, tuple) else out


def differentiable() -> Iterator[Row]:
    """The fused kernels, forward and back, beside their definitions."""
    import numpy as np

    import tinygen as tg
    from tinygen.autograd.convolution import unfold
    from tinygen.autograd.primitive import REGISTRY
    from tinygen.nn import functional as F

    r = np.random.default_rng(0)
    normal = lambda *shape: r.standard_normal(shape).astype(np.float32)
    T = importlib.import_module("torch.nn.functional") if importlib.util.find_spec("torch") else None

    def row(name: str, ours: Callable, plain: Callable | None, torch: Callable | None, *arrays: Any) -> Row:
        back = there_and_back(plain, *arrays) if plain else None
        return Row(name, there_and_back(ours, *arrays), back, torch_there_and_back(torch, *arrays))

    def windows(x, w):
        cut = unfold(tg.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (4, 4), (2, 2), (1, 1))
        return tg.einsum("ncijab,ocab->noij", cut, w)

    def of(kernel: str, *options: Any) -> tuple[Callable, Callable]:
        """A kernel, and its definition."""
        entry = REGISTRY[kernel]
        assert entry.composed is not None
        return lambda *x: entry.apply(x, options), lambda *x: entry.composed(*x, *options)

    x, w = normal(64, 32, 14, 14), normal(64, 32, 4, 4)
    yield row("convolution 4 × 4, stride 2, (64, 32, 14, 14)", lambda x, w: F.conv2d(x, w, stride=2, padding=1),
              windows, T and (lambda x, w: T.conv2d(x, w, stride=2, padding=1)), x, w)  # fmt: skip
    yield row("transposed, (64, 64, 7, 7)", lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), None,
              T and (lambda x, w: T.conv_transpose2d(x, w, stride=2, padding=1)), normal(64, 64, 7, 7), w)  # fmt: skip
    yield row("max pooling 2 × 2, (100, 16, 28, 28)", *of("max_windows", (2, 2), (2, 2), (1, 1)),
              T and (lambda x: T.max_pool2d(x, 2)), normal(100, 16, 28, 28))  # fmt: skip
    yield row("batch norm, (64, 64, 14, 14)", lambda x, w, b: F.batch_norm(x, weight=w, bias=b, training=True),
              lambda x, w, b: REGISTRY["batch_normalised"].composed(x, w, b, None, 1e-5),
              T and (lambda x, w, b: T.batch_norm(x, None, None, w, b, True)), normal(64, 64, 14, 14), normal(64),
              normal(64))  # fmt: skip
    yield row("softmax cross-entropy, (2048, 64)", *of("softmax_cross_entropy"),
              T and (lambda x, t: T.cross_entropy(x, t, reduction="none")), normal(2048, 64),
              r.integers(0, 64, 2048))  # fmt: skip
    yield row("cross-entropy of logits, (128, 784)", *of("bce_with_logits"),
              T and (lambda x, t: T.binary_cross_entropy_with_logits(x, t, reduction="none")), normal(128, 784),
              r.random((128, 784), np.float32))  # fmt: skip
    yield row("linear, (128, 784) to 400", F.linear, lambda x, w, b: tg.matmul(x, tg.transpose(w)) + b,
              T and T.linear, normal(128, 784), normal(400, 784), normal(400))  # fmt: skip
    state, small = normal(32, 256), 0.05 * normal(1024, 256)
    yield row("LSTM, 64 steps of (32, 256)", *of("lstm", False), None, normal(64, 32, 1024), state, state, small,
              normal(1024))  # fmt: skip
    yield row("GRU, 64 steps of (32, 256)", *of("gru", False), None, normal(64, 32, 768), state, small[:768],
              normal(768))  # fmt: skip


def plain_arrays() -> Iterator[Row]:
    """What the ground floor does to raw arrays, beside NumPy and SciPy."""
    import numpy as np
    import scipy.special

    import tinygen as tg
    from tinygen import optim
    from tinygen.backend import special
    from tinygen.backend.linear import total

    r = np.random.default_rng(0)
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    x, tall = r.standard_normal((128, 784)).astype(np.float32), r.standard_normal((6400, 256)).astype(np.float32)
    tx, ttall = (torch.tensor(x), torch.tensor(tall)) if torch else (None, None)
    yield Row("sum over samples, (6400, 256)", lambda: total(np, tall, (0,)), lambda: tall.sum(0),
              torch and (lambda: ttall.sum(0)))  # fmt: skip
    yield Row("sigmoid, (128, 784)", lambda: special.sigmoid(np, x), lambda: scipy.special.expit(x),
              torch and (lambda: torch.sigmoid(tx)))  # fmt: skip
    yield Row("softplus, (128, 784)", lambda: special.softplus(np, x), lambda: np.logaddexp(0, x),
              torch and (lambda: torch.nn.functional.softplus(tx)))  # fmt: skip
    g = tg.random.Generator(0)
    yield Row("100,000 normals", lambda: g.normal((100_000,)), lambda: r.standard_normal(100_000, np.float32),
              torch and (lambda: torch.randn(100_000)))  # fmt: skip
    yield Row("100,000 uniforms", lambda: g.uniform((100_000,)), lambda: r.random(100_000, np.float32),
              torch and (lambda: torch.rand(100_000)))  # fmt: skip
    n = 1_000_000
    slope = r.standard_normal(n).astype(np.float32)
    adam, p = optim.Adam(tg.tensor(np.zeros(n, np.float32), requires_grad=True), 1e-3), np.zeros(n, np.float32)
    m, v = np.zeros_like(p), np.zeros_like(p)

    def textbook():
        nonlocal m, v, p
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        p = p - 1e-3 * (m / 0.1) / (np.sqrt(v / 0.001) + 1e-8)

    theirs = None
    if torch:
        q = torch.zeros(n, requires_grad=True)
        q.grad, theirs = torch.tensor(slope), torch.optim.Adam([q], 1e-3).step
    yield Row("Adam, 1,000,000 parameters", lambda: adam.step([slope]), textbook, theirs)


def microseconds(row: Row, rounds: int, seconds: float) -> list[float | None]:
    """The medians of the three ways, whose blocks take turns."""
    ways = [way for way in row[1:] if way]
    blocks: dict[int, list[float]] = {id(way): [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            way()
            calls, start = 0, time.process_time()
            while time.process_time() - start < seconds:
                way()
                calls += 1
            blocks[id(way)].append((time.process_time() - start) / calls)
    return [1e6 * statistics.median(blocks[id(way)]) if way else None for way in row[1:]]


def main() -> None:
    """Read the command line, measure, print, and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a block")
    parser.add_argument("--out", type=Path, help="also write FILE.md")
    options = parser.parse_args()
    if any(os.environ.get(name) != n for name, n in THREADS.items()):  # the libraries read it when they are loaded
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.kernels", *sys.argv[1:]], {**os.environ, **THREADS}
        )
    from benchmarks.__main__ import machine
    from tinygen import keep_freed_memory

    keep_freed_memory()  # for all three: they share a process
    lines = [", ".join(f"{k} {v}" for k, v in machine().items()), ""]
    lines += ["| one thread | microseconds | in multiples of the plain way | of PyTorch |", "|---|---|---|---|"]
    for kind, rows in (("forward and back", differentiable()), ("arrays", plain_arrays())):
        lines.append(f"| **{kind}** | | | |")
        for row in rows:
            ours, *others = microseconds(row, options.rounds, options.seconds)
            assert ours is not None
            lines.append(
                f"| {row.name} | {ours:.0f} | " + " | ".join(f"{ours / t:.2f}" if t else "" for t in others) + " |"
            )
            print(lines[-1], flush=True)
    if options.out:
        options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Microseconds an operation at size 4, forward and backward: `python -m benchmarks.op_small`.

Twenty elementwise operations and a sum, float32, gradients by x, w and b. Each library runs in its own process
on one thread; the blocks take turns, and the ratio is that of the medians. PyTorch is optional.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

OPERATIONS = 21
BLOCK = 400  # steps timed at a time


def tinygen_step():
    """The chain in tinygen."""
    import numpy as np

    import tinygen as tg

    rng = np.random.default_rng(0)
    x, w, b = (
        tg.tensor((rng.standard_normal(4) * s + m).astype("float32"), requires_grad=True)
        for s, m in ((0.5, 0), (0.1, 1), (0.1, 0))
    )

    def step():
        y = x
        for _ in range(5):
            y = tg.square(tg.tanh(y * w + b))
        return tg.grad(tg.sum(y), [x, w, b])

    return step


def torch_step():
    """The same in PyTorch, eager."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, w, b = ((torch.randn(4) * s + m).requires_grad_() for s, m in ((0.5, 0), (0.1, 1), (0.1, 0)))

    def step():
        y = x
        for _ in range(5):
            y = torch.square(torch.tanh(y * w + b))
        return torch.autograd.grad(y.sum(), [x, w, b])

    return step


def serve(name: str) -> None:
    """In a process of its own: time a block for each line that comes in."""
    step = {"tinygen": tinygen_step, "torch": torch_step}[name]()
    for _ in range(BLOCK):
        step()
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(BLOCK):
            step()
        print(json.dumps((time.perf_counter() - start) / BLOCK / OPERATIONS * 1e6), flush=True)


def main(rounds: int = 25) -> None:
    """Let the libraries take turns and print the medians."""
    names = ["tinygen"]
    try:
        import torch  # noqa: F401

        names.append("torch")
    except ImportError:
        print("PyTorch is not installed: no ratio")
    workers = {
        n: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.op_small", n], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in names
    }
    times: dict[str, list[float]] = {n: [] for n in names}
    for _ in range(rounds):
        for n, worker in workers.items():
            assert worker.stdin and worker.stdout
            worker.stdin.write("go\n")
            worker.stdin.flush()
            times[n].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        assert worker.stdin
        worker.stdin.close()
        worker.wait()
    for n in names:
        print(f"{n:8} {statistics.median(times[n]):6.2f} microseconds an operation")
    if "torch" in times:
        ratios = [a / b for a, b in zip(times["tinygen"], times["torch"], strict=True)]
        print(f"ratio    {statistics.median(ratios):6.2f} (median of {rounds} pairs)")


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) > 1 else main()

"""Milliseconds a step of contrastive divergence, 784 pixels and 500 hidden units: `python -m benchmarks.rbm`.

CD-1 on a minibatch of 100, float32, one thread: tinygen's `RBM.update` beside the same step written by hand in NumPy,
and in PyTorch if it is there. Each runs in its own process; blocks of steps take turns. What is compared is processor
time, which counts the kernel's work too (new memory) and not that of others on the machine; the ratio is the median
over pairs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

THREADS = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
RATE = 0.1
BLOCK = 40  # steps timed at a time


def minibatch():
    """Images of zeros and ones, the same for all."""
    import numpy as np

    return (np.random.default_rng(0).random((100, 784)) > 0.7).astype("float32")


def tinygen_step():
    """The chapter's own update."""
    import tinygen as tg
    from tinygen.models.energy import RBM

    v, rbm = minibatch(), RBM(784, 500, lr=RATE, rng=tg.random.Generator(0))
    return lambda: rbm.update(v)


def numpy_step():
    """By hand: draws of h and v, probabilities for the averages, updates in place."""
    import numpy as np

    v, rng = minibatch(), np.random.default_rng(0)
    W = rng.standard_normal((784, 500), dtype="float32") * np.float32(0.01)
    b, c, rate = np.zeros(784, "float32"), np.zeros(500, "float32"), np.float32(RATE / 100)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def draw(p):
        return (rng.random(p.shape, dtype="float32") < p).astype("float32")

    def step():
        p = sigmoid(v @ W + c)
        v1 = draw(sigmoid(draw(p) @ W.T + b))
        p1 = sigmoid(v1 @ W + c)
        W[...] += rate * (v.T @ p - v1.T @ p1)
        b[...] += rate * (v - v1).sum(0)
        c[...] += rate * (p - p1).sum(0)

    return step


def torch_step():
    """The same in PyTorch, with its products that accumulate in place."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    v, rate = torch.from_numpy(minibatch()), RATE / 100
    W, b, c = torch.randn(784, 500) * 0.01, torch.zeros(784), torch.zeros(500)

    @torch.no_grad()
    def step():
        p = torch.sigmoid(torch.addmm(c, v, W))
        v1 = torch.bernoulli(torch.sigmoid(torch.addmm(b, torch.bernoulli(p), W.t())))
        p1 = torch.sigmoid(torch.addmm(c, v1, W))
        W.addmm_(v.t(), p, alpha=rate).addmm_(v1.t(), p1, alpha=-rate)
        b.add_((v - v1).sum(0), alpha=rate)
        c.add_((p - p1).sum(0), alpha=rate)

    return step


def serve(name: str) -> None:
    """In a process of its own: time a block for each line that comes in."""
    step = {"tinygen": tinygen_step, "numpy": numpy_step, "torch": torch_step}[name]()
    for _ in range(10):
        step()
    for _ in sys.stdin:
        start = time.process_time()
        for _ in range(BLOCK):
            step()
        print(json.dumps((time.process_time() - start) / BLOCK * 1e3), flush=True)


def main(rounds: int = 15) -> None:
    """Let the libraries take turns and print the medians."""
    names = ["tinygen", "numpy"]
    try:
        import torch  # noqa: F401

        names.append("torch")
    except ImportError:
        print("PyTorch is not installed: no ratio to it")
    workers = {
        n: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rbm", n],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **THREADS},
        )
        for n in names
    }  # fmt: skip
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
        print(f"{n:8} {statistics.median(times[n]):6.2f} ms a step")
    for n in names[1:]:
        ratios = [a / b for a, b in zip(times["tinygen"], times[n], strict=True)]
        print(f"tinygen / {n}: {statistics.median(ratios):.2f} (median of {rounds} pairs)")


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) > 1 else main()

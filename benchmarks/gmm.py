"""Milliseconds an EM iteration of a Gaussian mixture, beside scikit-learn: `python -m benchmarks.gmm`.

100,000 points of the plane, four components, float64, each of the four kinds of covariance; with `--wide`, 20,000
points of 64 coordinates and ten components. Each library runs in its own process on one thread, and they take turns;
the ratio is the median of those of neighbouring blocks, in time of the processor, which other programs disturb least.
scikit-learn's iteration is its own two private steps, without the validation that its `fit` would add.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import warnings

KINDS = ("full", "tied", "diag", "spherical")
SIZES = {"plane": (100_000, 2, 4), "wide": (20_000, 64, 10)}  # n, d, m


def points(size: str):
    """Clouds of unit width."""
    import numpy as np

    n, d, m = SIZES[size]
    draw = np.random.default_rng(0)
    centres = 4 * draw.standard_normal((m, d))
    return centres[draw.integers(0, m, n)] + draw.standard_normal((n, d)), centres + 0.5


def tinygen_step(kind: str, size: str):
    """An E step and an M step of ours, with both values of the bound."""
    from tinygen.models.latent import GaussianMixture

    x, means = points(size)
    model = GaussianMixture(x.shape[1], len(means), covariance=kind)
    model.start_at(means)
    x = model.checked(x)
    return lambda: model.update(x)


def sklearn_step(kind: str, size: str):
    """The same in scikit-learn."""
    from sklearn.mixture import GaussianMixture

    warnings.simplefilter("ignore")
    x, means = points(size)
    model = GaussianMixture(len(means), covariance_type=kind, means_init=means, max_iter=1).fit(x)

    def step():
        _, log_resp = model._e_step(x)
        model._m_step(x, log_resp)

    return step


def serve(name: str, kind: str, size: str) -> None:
    """In a process of its own: time three iterations for each line that comes in."""
    step = {"tinygen": tinygen_step, "sklearn": sklearn_step}[name](kind, size)
    step()
    for _ in sys.stdin:
        start = time.process_time()
        for _ in range(3):
            step()
        print(json.dumps((time.process_time() - start) / 3 * 1e3), flush=True)


def race(kind: str, size: str, rounds: int) -> dict[str, list[float]]:
    """The times of both, who take turns."""
    environment = {**os.environ, **{f"{blas}_NUM_THREADS": "1" for blas in ("OPENBLAS", "OMP", "MKL")}}
    workers = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gmm", name, kind, size],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for name in ("tinygen", "sklearn")
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            assert worker.stdin and worker.stdout
            worker.stdin.write("go\n")
            worker.stdin.flush()
            times[name].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        assert worker.stdin
        worker.stdin.close()
        worker.wait()
    return times


def main(size: str = "plane", rounds: int = 15) -> None:
    """Print a line for each kind."""
    print("n = {}, d = {}, m = {}".format(*SIZES[size]))
    for kind in KINDS:
        times = race(kind, size, rounds)
        ours, theirs = (statistics.median(times[name]) for name in ("tinygen", "sklearn"))
        ratios = [a / b for a, b in zip(times["tinygen"], times["sklearn"], strict=True)]
        print(f"{kind:10} tinygen {ours:7.2f} ms  scikit-learn {theirs:7.2f} ms  ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        serve(*sys.argv[1:])
    else:
        main("wide" if "--wide" in sys.argv else "plane")

"""Milliseconds an iteration of Baum and Welch, beside hmmlearn: `python -m benchmarks.hmm`.

1,000 sequences of 200 observations, float64: symbols from a table, and points of the plane with full covariances; with
`--unequal`, lengths from 1 to 399. hmmlearn is asked twice, with logarithms (its default) and with scales (its faster
way, which loses states that underflow). Each library runs in its own process on one thread, and they take turns; the
ratio is the median of those of neighbouring blocks, in time of the processor, which other programs disturb least.
hmmlearn's iteration is its own two private steps, without the validation that its `fit` would add. The last lines are
the likelihood and the best path of all sequences, with what each library checks before; and an iteration of ours where
a move is impossible, so that it takes logarithms.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

PROBLEMS = {"symbols, 2 states": (2, 6), "symbols, 4 states": (4, 8), "symbols, 10 states": (10, 20),
            "plane, 3 states": (3, 0), "plane, 8 states": (8, 0)}  # fmt: skip
OTHERS = ("log", "scaling")
JOBS = ("iteration", "likelihood", "best path")


def problem(name: str, unequal: bool, zero: bool = False):
    """Parameters to start from, and sequences that other ones drew."""
    import numpy as np

    import tinygen as tg
    from tinygen.models.latent import CategoricalHMM, GaussianHMM

    (m, v), draw = PROBLEMS[name], np.random.default_rng(0)
    pi, A = np.full(m, 1 / m), 0.3 * draw.dirichlet(np.ones(m), m) + 0.7 * np.eye(m)
    if v:
        truth = CategoricalHMM(v, m)
        truth.start_at(pi, A, draw.dirichlet(np.full(v, 0.5), m))
        start = draw.dirichlet(np.ones(v), m)
    else:
        truth = GaussianHMM(2, m)
        start = 3 * draw.standard_normal((m, 2))
        truth.start_at(pi, A, start + 0.5)
    first = draw.dirichlet(np.ones(m), m)
    if zero:
        first[0, 1] = 0
        first /= first.sum(1, keepdims=True)
    x = truth.sample(1000, 399 if unequal else 200, rng=tg.random.Generator(0))
    x = [s[:T] for s, T in zip(x, draw.integers(1, 400, 1000), strict=True)] if unequal else list(x)
    return x, pi, first, start


def ours(name: str, job: str, unequal: bool, zero: bool = False):
    """What tinygen does."""
    from tinygen.models.latent import CategoricalHMM, GaussianHMM

    (m, v), (x, *start) = PROBLEMS[name], problem(name, unequal, zero)
    model = CategoricalHMM(v, m) if v else GaussianHMM(2, m)
    model.start_at(*start)
    prepared = model.checked(x)
    return {"iteration": lambda: model.update(prepared), "likelihood": lambda: model.score_samples(x),
            "best path": lambda: model.predict(x)}[job]  # fmt: skip


def theirs(name: str, job: str, unequal: bool, implementation: str):
    """The same in hmmlearn."""
    import numpy as np
    from hmmlearn import hmm

    (m, v), (x, pi, A, start) = PROBLEMS[name], problem(name, unequal)
    lengths, options = [len(s) for s in x], dict(implementation=implementation, init_params="")
    if v:
        model = hmm.CategoricalHMM(m, n_features=v, **options)
        model.emissionprob_, flat = start, np.concatenate(x)[:, None]
    else:
        model, flat = hmm.GaussianHMM(m, "full", **options), np.concatenate(x)
        model.means_, model.covars_ = start, np.tile(np.eye(2), (m, 1, 1))
    model.startprob_, model.transmat_ = pi, A
    model.score(flat[: lengths[0]])  # which looks at the data

    def iteration():
        statistics, _ = model._do_estep(flat, lengths)
        model._do_mstep(statistics)

    return {"iteration": iteration, "likelihood": lambda: model.score(flat, lengths),
            "best path": lambda: model.predict(flat, lengths)}[job]  # fmt: skip


def serve(who: str, name: str, job: str, unequal: str) -> None:
    """In a process of its own: time an iteration for each line that comes in."""
    if who in OTHERS:
        step = theirs(name, job, bool(unequal), who)
    else:
        step = ours(name, job, bool(unequal), zero=who == "with a zero")
    step()
    for _ in sys.stdin:
        start = time.process_time()
        step()
        print(json.dumps((time.process_time() - start) * 1e3), flush=True)


def race(who: tuple[str, ...], name: str, job: str, unequal: bool, rounds: int) -> dict[str, list[float]]:
    """The times of all, who take turns."""
    environment = {**os.environ, **{f"{blas}_NUM_THREADS": "1" for blas in ("OPENBLAS", "OMP", "MKL")}}
    workers = {
        one: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hmm", one, name, job, "unequal" * unequal],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for one in who
    }  # fmt: skip
    times: dict[str, list[float]] = {one: [] for one in who}
    for _ in range(rounds):
        for one, worker in workers.items():
            assert worker.stdin and worker.stdout
            worker.stdin.write("go\n")
            worker.stdin.flush()
            times[one].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        assert worker.stdin
        worker.stdin.close()
        worker.wait()
    return times


def main(unequal: bool = False, rounds: int = 11) -> None:
    """Print a line for each problem and job."""
    print(f"1,000 sequences of {'1 to 399' if unequal else '200'} observations, ms; ratios: ours to theirs")
    lines = [(name, "iteration", ("tinygen", *OTHERS)) for name in PROBLEMS]
    lines += [(name, job, ("tinygen", *OTHERS)) for job in JOBS[1:] for name in list(PROBLEMS)[1:4]]
    lines += [(name, "iteration", ("with a zero", *OTHERS)) for name in list(PROBLEMS)[1:4]]
    for name, job, who in lines:
        times = race(who, name, job, unequal, rounds)
        ratios = [statistics.median(a / b for a, b in zip(times[who[0]], times[one], strict=True)) for one in OTHERS]
        medians = "  ".join(f"{one} {statistics.median(times[one]):7.1f}" for one in who)
        print(f"{name:19} {job:10}  {medians}  ratios {ratios[0]:.3f} {ratios[1]:.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        serve(*sys.argv[1:])
    else:
        main("--unequal" in sys.argv)

"""Seconds to learn topics by latent Dirichlet allocation, beside scikit-learn: `python -m benchmarks.lda`.

2,000 documents of 100 words each, of a dictionary of 1,000 words and 20 topics; and 2,000 of bars (25 words, 10
topics). Both libraries do 20 iterations of variational EM from a random start with the same priors, in float64:
scikit-learn by its batch method, whose E step begins anew each time and takes up to 100 sweeps until gamma moves by
less than 0.001 in the mean; ours from two starts, up to 20 sweeps each, to the same tolerance. So the time alone would
not do: the perplexity of 500 new documents is given too, by one judge for both. Each library runs in its own process on
one thread, and they take turns with three seeds; the ratio is the median of those of neighbours, in time of the
processor, which other programs disturb least.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

ITERATIONS, ALPHA, ETA = 20, 0.1, 0.1
CORPORA = ("dictionary", "bars")


def documents(name: str):
    """Topics, and counts to learn from and to be judged by."""
    import numpy as np

    import tinygen as tg
    from tinygen.models.latent import LatentDirichletAllocation

    if name == "bars":
        rows = np.kron(np.eye(5), np.ones(5)) / 5
        topics = np.concatenate([rows, rows.reshape(5, 5, 5).swapaxes(1, 2).reshape(5, -1)])
    else:
        frequencies = 1 / np.arange(3, 1003)
        topics = np.random.default_rng(0).dirichlet(60 * frequencies / frequencies.sum(), 20) * 0.999 + 1e-6
    truth = LatentDirichletAllocation(topics.shape[1], len(topics), alpha=ALPHA, eta=0)
    truth.start_at(topics)
    learn, judge = tg.random.Generator(1).spawn(2)
    return topics.shape, truth.sample(2000, 100, rng=learn), truth.sample(500, 100, rng=judge)


def tinygen(shape, x, seed: int):
    """A fit of ours; gives lambda."""
    import tinygen as tg
    from tinygen.models.latent import LatentDirichletAllocation
    from tinygen.runs import Run

    K, V = shape
    model = LatentDirichletAllocation(V, K, alpha=ALPHA, eta=ETA, tol=0, rng=tg.random.Generator(seed))
    return model.fit(x, steps=ITERATIONS, run=Run(quiet=True)).weights.numpy()


def sklearn(shape, x, seed: int):
    """The same in scikit-learn."""
    from sklearn.decomposition import LatentDirichletAllocation

    model = LatentDirichletAllocation(shape[0], doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=ITERATIONS,
                                      random_state=seed)  # fmt: skip
    return model.fit(x).components_


def serve(who: str, name: str) -> None:
    """In a process of its own: a fit for each line that comes in, which holds a seed."""
    from tinygen.models.latent import LatentDirichletAllocation

    shape, x, new = documents(name)
    fit = {"tinygen": tinygen, "sklearn": sklearn}[who]
    fit(shape, x[:50], 0)
    for line in sys.stdin:
        start = time.process_time()
        weights = fit(shape, x, int(line))
        seconds = time.process_time() - start
        judge = LatentDirichletAllocation(shape[1], shape[0], alpha=ALPHA, eta=ETA)
        judge.start_at(weights)
        print(json.dumps((seconds, judge.perplexity(new))), flush=True)


def race(name: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and perplexities of both, who take turns."""
    environment = {**os.environ, **{f"{blas}_NUM_THREADS": "1" for blas in ("OPENBLAS", "OMP", "MKL")}}
    workers = {
        who: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lda", who, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for who in ("tinygen", "sklearn")
    }  # fmt: skip
    found: dict[str, list[tuple[float, float]]] = {who: [] for who in workers}
    for seed in range(rounds):
        for who, worker in workers.items():
            assert worker.stdin and worker.stdout
            worker.stdin.write(f"{seed}\n")
            worker.stdin.flush()
            found[who].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        assert worker.stdin
        worker.stdin.close()
        worker.wait()
    return found


def main(rounds: int = 3) -> None:
    """Print a line for each corpus."""
    print(f"2,000 documents of 100 words, {ITERATIONS} iterations")
    for name in CORPORA:
        found = race(name, rounds)
        ratio = statistics.median(a[0] / b[0] for a, b in zip(found["tinygen"], found["sklearn"], strict=True))
        parts = [f"{who} {statistics.median(s for s, _ in runs):6.2f} s, perplexity {min(p for _, p in runs):.2f} to "
                 f"{max(p for _, p in runs):.2f}" for who, runs in found.items()]  # fmt: skip
        print(f"{name:10}  {'  '.join(parts)}  ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(*sys.argv[1:])
    else:
        main()

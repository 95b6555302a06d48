"""tinygen beside the libraries that are installed: `python -m benchmarks --threads 1 --only vae,lstm --out FILE`.

Every library has a process of its own: two pools of BLAS threads in one process would hinder one another. Blocks of
steps take turns, A B A B ..., and a block starts when the machine looks idle. With one thread the clock is the
process's CPU time, into which nobody else's turns on the core count; with more it is the wall clock, and the load that
other processes made meanwhile is noted. A cell is the median of its blocks, each the median of its steps. Ratios are of
one run; milliseconds of two runs do not compare. Memory is the peak of a process that ran this workload only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import backends
from benchmarks.workloads import WORKLOADS

HERE = Path(__file__).resolve().parent.parent
QUIET = 0.15  # CPUs that others may use during a block of several threads
FIRST = "torch"  # ratios are to this one, where it takes part


class Worker:
    """A library in a process of its own, which times a block for each line that it is sent."""

    def __init__(self, name: str, threads: int, workload: str):
        variables = {f"{blas}_NUM_THREADS": str(threads) for blas in ("OMP", "OPENBLAS", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", "--serve", name, "--only", workload, "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}, cwd=HERE,
        )  # fmt: skip

    def block(self, seconds: float) -> dict[str, Any]:
        """Time steps for so many seconds."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {self.process.args} has died; its error is above")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(name: str, threads: int, workload: str) -> None:
    """In the worker: build the step, warm it up, and time a block for each line that comes in."""
    step = backends()[name](threads)[workload]()
    step()
    clock = time.process_time if threads == 1 else time.perf_counter
    for line in sys.stdin:
        step()
        times, others = [], busy() - time.process_time()
        begin, wall = clock(), time.perf_counter()
        while clock() - begin < float(line) or len(times) < 2:
            start = clock()
            step()
            times.append(clock() - start)
        load = (busy() - time.process_time() - others) / (time.perf_counter() - wall)
        peak = most_memory()
        print(json.dumps({"ms": 1e3 * statistics.median(times), "load": max(load, 0.0), "mb": peak}), flush=True)


def most_memory() -> float:
    """The most memory that this process has held, in MiB."""
    try:  # ru_maxrss remembers what the parent held when it forked
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def busy() -> float:
    """CPU seconds used on this machine since it started (0 where the system does not say)."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, fields)
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(threads: int, patience: float) -> None:
    """Return when a core is free (several threads: when all are), or when patience ends."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < patience:
        before, start = busy(), time.perf_counter()
        time.sleep(0.05)
        load = (busy() - before) / (time.perf_counter() - start)
        if load <= (0.25 if threads > 1 else (os.cpu_count() or 1) - 0.7):
            return


def race(workload: str, threads: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All libraries that have this workload, block by block in turn."""
    names = [name for name, steps in backends().items() if workload in steps(threads)] if options.names is None else [
        name for name in options.names if workload in backends()[name](threads)]  # fmt: skip
    workers = {name: Worker(name, threads, workload) for name in names}
    blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            wait_for_quiet(threads, options.patience)
            blocks[name].append(worker.block(options.seconds))
    for worker in workers.values():
        worker.close()
    return {name: summary(b, threads) for name, b in blocks.items()}


def summary(blocks: list[dict[str, Any]], threads: int) -> dict[str, Any]:
    """A cell: from the quiet blocks if there are three of them."""
    quiet = [b for b in blocks if threads == 1 or b["load"] <= QUIET]
    used = quiet if len(quiet) >= 3 else blocks
    load = statistics.median(b["load"] for b in used)
    return {"ms": statistics.median(b["ms"] for b in used), "mb": max(b["mb"] for b in blocks), "load": round(load, 2),
            "quiet": used is quiet}  # fmt: skip


def table(results: dict[str, dict[str, dict[str, Any]]], threads: int) -> str:
    """The cells in markdown: time and memory as multiples of the first library's."""
    names = [n for n in dict.fromkeys(n for cells in results.values() for n in cells) if n != FIRST]
    head = [f"workload, {threads} thread{'s' * (threads > 1)}", f"{FIRST} ms", *names, "memory", "memory, compiled"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for workload, cells in results.items():
        base = cells.get(FIRST)
        row = [workload, f"{base['ms']:.3f}" if base else ""]
        for name in names:
            cell = cells.get(name)
            if cell is None:
                row.append("")
                continue
            quiet = cell["quiet"] and (base is None or base["quiet"])
            row.append((f"{cell['ms'] / base['ms']:.2f}" if base else f"{cell['ms']:.3f} ms") + ("" if quiet else " *"))
        for name in ("tinygen", "compiled"):
            ours = cells.get(name)
            row.append(f"{ours['mb'] / base['mb']:.2f}" if ours and base else "")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("tinygen", "numpy", "scipy", "torch", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"date": datetime.date.today().isoformat(), "machine": platform.machine(), "cores": os.cpu_count(),
            "system": platform.system(), "python": platform.python_version(), **versions}  # fmt: skip


def main() -> None:
    """Read the command line, run, print, and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="workloads, joined by commas: " + ", ".join(WORKLOADS))
    parser.add_argument("--names", type=lambda s: s.split(","), help=f"libraries: {', '.join(backends())}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="blocks for each cell")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a block")
    parser.add_argument("--patience", type=float, default=5.0, help="seconds to wait for a quiet machine, each block")
    parser.add_argument("--out", type=Path, help="also write FILE.json and FILE.md")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, options.threads, options.only)
    results = {}
    for workload in options.only.split(",") if options.only else WORKLOADS:
        results[workload] = race(workload, options.threads, options)
        print(f"{workload:12} " + "   ".join(f"{n} {c['ms']:.3f} ms" for n, c in results[workload].items()), flush=True)
    text = "\n".join([", ".join(f"{k} {v}" for k, v in machine().items()), "", table(results, options.threads)])
    print("\n" + text + ("\n\n* others used the cores meanwhile" if "*" in text else ""))
    if options.out:
        options.out.with_suffix(".md").write_text(text + "\n")
        options.out.with_suffix(".json").write_text(json.dumps({**machine(), "threads": options.threads,
                                                                "results": results}, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()

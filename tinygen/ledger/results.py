"""Running claims, keeping their outcomes, and rendering them.

An outcome is kept with the seconds it took (by the clock, and of processor time), the machine, and a digest of the
code that it came from (chapter and demo): when that has changed since, the outcome is marked as stale. Docstrings and
comments do not count. A demo that makes claims has a function `reproduce(run, claims) -> {claim: value}`, which is
given the names of the claims that are wanted. A value is a number, or a list with one for each seed, whose median
counts. The run has a new folder, unless the card says `resumes=True` and an earlier call that was stopped has left one:
of the same chapter and demo, or of others if `resume` is asked for.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import platform
import shutil
import time
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.ledger.cards import Card, cards, outcome_name
from tinygen.ledger.systems import ROOT, systems
from tinygen.runs import Run
from tinygen.runs.checkpoint import atomically

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)  # what may have a docstring
QUICK = 10.0  # minutes: claims that take longer want --full


def code(source: str) -> str:
    """What of a Python file has an effect: its lines without docstrings, comments and blank lines."""
    lines, prose = source.splitlines(), set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            prose.update(range(node.body[0].lineno - 1, node.body[0].end_lineno or 0))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for i, line in enumerate(lines) if i not in prose and line.strip())


def digest(card: Card, root: Path = ROOT) -> str:
    """A fingerprint of the code of the chapter and the demo."""
    files = [root / card.chapter, root / "demos" / f"{card.demo}.py"]
    texts = [code(p.read_text(encoding="utf-8")) for p in files if p.exists()]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def machine() -> str:
    """What the outcome was got on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"


def reproduce(
    rows: list[str], import_demo: Callable[[str], Any], *, full: bool = False, resume: bool = False, root: Path = ROOT
) -> Iterator[dict[str, Any]]:
    """Run the claims of these rows (a letter stands for all its rows); yields each outcome once it is written.

    Parameters
    ----------
    import_demo : gives the module of a demo by its name
    full : also the claims that take more than ten minutes
    resume : go on with what earlier calls have left, also where the chapter or the demo has changed since
    """
    known = [s.id for s in systems(root / "SYSTEMS.md")]
    wanted = [r for r in known if any(r == w or (w.isalpha() and r.startswith(w)) for w in rows)]
    strange = [w for w in rows if not any(r == w or (w.isalpha() and r.startswith(w)) for r in known)]
    if strange:
        raise ValueError(f"reproduce: no row called {', '.join(strange)} in SYSTEMS.md")
    for card in cards(root / "demos"):
        names = [c.name for c in card.claims if full or c.budget_min <= QUICK]
        if names and set(card.rows) & set(wanted):
            yield from _run(card, names, import_demo(card.demo), resume, root)


def _run(card: Card, names: list[str], module: Any, resume: bool, root: Path) -> Iterator[dict[str, Any]]:
    """Run one demo's claims and write their outcomes."""
    if not hasattr(module, "reproduce"):
        raise ValueError(f"reproduce: demos/{card.demo}.py makes claims, but has no function reproduce(run, claims)")
    run = _begin(card, resume, root)
    assert run.folder is not None
    with _Clock(run.folder / "seconds.json") as clock:
        values = module.reproduce(run, names)
    if set(values) != set(names):
        raise ValueError(f"reproduce: demos/{card.demo}.py gave {sorted(values)}; {sorted(names)} were wanted")
    for claim in card.claims:
        if claim.name in names:
            seeds = [float(v) for v in np.atleast_1d(values[claim.name])]
            value = float(np.median(seeds))
            outcome = {"claim": claim.name, "value": value, "seeds": seeds, "bar": claim.bar, "met": claim.met(value),
                       "published": claim.published, **clock.spent, "demo": card.demo,
                       "machine": machine(), "digest": digest(card, root)}  # fmt: skip
            outcome |= {"verdict": True} if claim.verdict else {}
            for row in card.rows:
                _write(root / "results" / f"{row}.json", outcome, card)
                yield {"row": row, **outcome}
    (run.folder / "finished").touch()


def _begin(card: Card, resume: bool, root: Path) -> Run:
    """The run of a demo's claims: a new one, or, if it can go on, what is left of an earlier one."""
    folder = root / "runs_out" / "reproduce" / card.demo
    config = {"demo": card.demo, "digest": digest(card, root)}
    if card.resumes and (folder / "config.json").exists():
        run = Run.resume(folder)
        if resume or (run.config == config and not (folder / "finished").exists()):
            with atomically(folder / "config.json") as temporary:  # from here on it is the run of the present files
                temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            (folder / "finished").unlink(missing_ok=True)
            return run
    shutil.rmtree(folder, ignore_errors=True)
    return Run(folder, config)


class _Clock:
    """How long the calls took that worked in a folder, together: also those that an error or Ctrl-C has ended."""

    def __init__(self, path: Path):
        self.path = path
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.spent = {"seconds": 0.0, "cpu_seconds": 0.0, **before}

    def __enter__(self) -> _Clock:
        self.start = {"seconds": time.monotonic(), "cpu_seconds": time.process_time()}
        return self

    def __exit__(self, *_exception: object) -> None:
        now = {"seconds": time.monotonic(), "cpu_seconds": time.process_time()}
        self.spent = {name: round(self.spent[name] + now[name] - self.start[name], 1) for name in now}
        with atomically(self.path) as temporary:
            temporary.write_text(json.dumps(self.spent), encoding="utf-8")


def _write(path: Path, outcome: dict[str, Any], card: Card) -> None:
    """Put an outcome among those of its row, in the place of an older one of the same claim.

    Those of claims that the demo no longer makes are dropped.
    """
    path.parent.mkdir(exist_ok=True)
    made = {claim.name for claim in card.claims} - {outcome["claim"]}
    kept = [o for o in _read(path) if o["demo"] != card.demo and o["claim"] != outcome["claim"] or o["claim"] in made]
    kept.append(outcome)
    with atomically(path) as temporary:
        temporary.write_text(json.dumps(sorted(kept, key=lambda o: o["claim"]), indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _ours(outcome: dict[str, Any]) -> str:
    """The figure, and its range over seeds."""
    seeds, value = outcome.get("seeds", [0.0]), f"{outcome['value']:.4g}"
    return value if len(seeds) == 1 else f"{value} ({min(seeds):.4g} to {max(seeds):.4g}, {len(seeds)} seeds)"


def outcomes(row: str, root: Path = ROOT) -> list[dict[str, Any]]:
    """The outcomes that are kept for a row."""
    return _read(root / "results" / f"{row}.json")


def render(root: Path = ROOT) -> str:
    """`RESULTS.md`: every outcome beside what was published and what was wanted, verdicts on statements included."""
    fresh = {card.demo: digest(card, root) for card in cards(root / "demos")}
    lines = [
        "# Results",
        "",
        "Rendered by `python -m tinygen reproduce` from `results/`; nothing here is typed by hand. *stale*: the",
        "chapter or the demo has changed since.",
        "",
        "Where several seeds were run, their median is given, with the least and the greatest and their number.",
        "Seconds are of processor time.",
        "",
        "| row | claim | published | wanted | ours | | seconds | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for system in systems(root / "SYSTEMS.md"):
        for o in outcomes(system.id, root):
            claim = o["claim"].replace("|", r"\|")  # a bar would end the cell
            state = outcome_name(o["met"], o.get("verdict", False))
            state += "" if fresh.get(o["demo"]) == o["digest"] else ", stale"
            published = "" if o["published"] is None else o["published"]
            lines.append(f"| {system.id} | {claim} | {published} | {o['bar']} | {_ours(o)} | {state} "
                         f"| {o.get('cpu_seconds', o['seconds']):.0f} | `reproduce {system.id}` |")  # fmt: skip
    return "\n".join(lines) + "\n"

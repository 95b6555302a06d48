"""The command line: `python -m tinygen list | demo | gallery | check | explain | reproduce | info`.

Every error is one line and exit status 2; `--debug` shows where it came from.
"""

from __future__ import annotations

import argparse
import io
import platform
import sys
import time
import tokenize
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent


def check(names: list[str]) -> None:
    """Gradient checks of every function, at orders 1 and 2, with its rule."""
    from tinygen.cases import check_all, every_case

    points = list(every_case())
    unknown = set(names) - {p.name for p in points}
    if unknown:
        raise ValueError(f"check: no function called {', '.join(sorted(unknown))}; `check` alone lists them all")
    start, worst, count = time.perf_counter(), 0.0, 0
    print(f"{'function':26}{'cases':>5}{'order 1':>10}{'order 2':>10}  rule")
    for v in check_all([p for p in points if not names or p.name in names]):
        print(f"{v.name:26}{v.cases:5}{v.first:10.1e}{v.second:10.1e}  {v.rule}", flush=True)
        worst, count = max(worst, v.first, v.second), count + 1
    print(f"{count} functions, worst deviation {worst:.1e}, {time.perf_counter() - start:.0f} s")


def explain(name: str) -> None:
    """The backward pass of a demo's loss, node by node."""
    import tinygen as tg

    module = demo_module(name)
    if not hasattr(module, "loss"):
        raise ValueError(f"explain: demo {name!r} names no loss to explain")
    print(tg.explain(lambda: module.loss(tg.random.Generator(0))))


def info(lines: bool) -> None:
    """Versions and devices; with `lines`, the size of every floor in lines of code."""
    import numpy as np
    import scipy

    import tinygen as tg
    from tinygen.backend import cuda

    libraries = f"NumPy {np.__version__}, SciPy {scipy.__version__}"
    print(f"tinygen {tg.__version__}, Python {platform.python_version()}, {libraries}")
    try:
        cupy = cuda.cupy()
        print(f"CuPy {cupy.__version__}, {cupy.cuda.runtime.getDeviceCount()} device(s)")
    except tg.DeviceError as reason:
        print(f"no GPU: {reason}")
    if lines:
        total = 0
        for folder in sorted({p.parent for p in PACKAGE.rglob("*.py")}):
            counts = {p.name: code_lines(p) for p in sorted(folder.glob("*.py"))}
            total += sum(counts.values())
            print(f"{folder.relative_to(PACKAGE.parent).as_posix() + '/':28}{sum(counts.values()):6}")
            for file, n in counts.items():
                print(f"    {file:24}{n:6}")
        print(f"{'total':28}{total:6}  (lines of code: no blanks, comments or docstrings)")


def code_lines(path: Path) -> int:
    """Lines that hold code: neither blank, nor comment, nor docstring."""
    held: set[int] = set()
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    fresh = True  # at the start of a statement, where a string is a docstring
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type not in nothing and not (token.type == tokenize.STRING and fresh):
            held.update(range(token.start[0], token.end[0] + 1))
        if token.type != tokenize.COMMENT and token.type != tokenize.NL:
            fresh = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return len(held)


def demo_names() -> list[str]:
    """The demos that are installed."""
    from tinygen import demos

    return sorted(p.stem for p in Path(demos.__path__[0]).glob("*.py") if p.stem not in ("__init__", "common"))


def demo_module(name: str):
    """The module of a demo, or an error that lists them."""
    import importlib

    try:
        names = demo_names()
    except ImportError as error:
        raise ValueError(f"the demos are not installed ({error}); in a clone: pip install -e .") from error
    if name not in names:
        raise ValueError(f"no demo called {name!r}; there are: {', '.join(names)}")
    return importlib.import_module(f"tinygen.demos.{name}")


def demo(arguments: Sequence[str]) -> None:
    """Run a demo; its options are its own (`demo NAME --help`)."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m tinygen demo NAME [options]\ndemos: " + ", ".join(demo_names()))
        return
    from tinygen.demos import common

    common.run_main(demo_module(arguments[0]), list(arguments[1:]))


def list_systems() -> None:
    """A line for every row of SYSTEMS.md: its chapter and demo and how many claims are met, or planned."""
    from tinygen import ledger

    for s in ledger.systems():
        cards = [card for card in ledger.cards() if s.id in card.rows]
        met = sum(o["met"] for o in ledger.outcomes(s.id) if not o.get("verdict"))
        promised = sum(not c.verdict for card in cards for c in card.claims)
        models, demos = (", ".join(values) for values in ([c.model for c in cards], [c.demo for c in cards]))
        state = f"{models}, demo {demos}: {met} of {promised} claims met" if cards else "planned"
        print(f"{s.id:4} {s.name if len(s.name) <= 70 else s.name[:67] + '...':70}  {state}")


def reproduce(rows: list[str], full: bool, resume: bool) -> None:
    """Run the claims of these rows, keep their outcomes in results/, and render RESULTS.md."""
    from tinygen import ledger
    from tinygen.ledger.systems import ROOT

    count = 0
    for o in ledger.reproduce(rows, demo_module, full=full, resume=resume):
        outcome = ledger.outcome_name(o["met"], o.get("verdict", False)).replace("missed", "MISSED")
        print(f"{o['row']:4} {o['claim']}: {o['value']:.4g} ({outcome}), "
              f"wanted {o['bar']}, published {o['published']}; {o['seconds']:.0f} s", flush=True)  # fmt: skip
        count += 1
    if rows and not count:
        raise ValueError(
            f"reproduce: no demo makes a claim for {', '.join(rows)}" + ("" if full else " without --full")
        )
    (ROOT / "RESULTS.md").write_text(ledger.render(), encoding="utf-8")


def gallery(folder: str) -> None:
    """One page of all pictures that runs have drawn."""
    from tinygen.runs.gallery import gallery as write

    print(write(folder))


def parser() -> argparse.ArgumentParser:
    """All commands but `demo`, whose options depend on the demo."""
    top = argparse.ArgumentParser(prog="python -m tinygen", description="An autograd engine and its models.")
    top.add_argument("--version", action="version", version=metadata.version("tinygen") if _installed() else "0.1.0")
    top.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = top.add_subparsers(dest="command", required=True)
    c = commands.add_parser("check", help="gradient checks of every function, with its rule")
    c.add_argument("names", nargs="*", metavar="NAME", help="only these functions")
    c = commands.add_parser("explain", help="the backward pass of a demo's loss, node by node")
    c.add_argument("name", metavar="DEMO")
    c = commands.add_parser("info", help="versions and devices")
    c.add_argument("--lines", action="store_true", help="lines of code of every file")
    commands.add_parser("list", help="every system of the documents: built or planned, chapter, demo")
    c = commands.add_parser("reproduce", help="run the claims of rows and render RESULTS.md")
    c.add_argument("rows", nargs="*", metavar="ROW", help="F1, or a letter for all its rows; none: only render")
    c.add_argument("--full", action="store_true", help="also claims of more than ten minutes")
    c.add_argument("--resume", action="store_true", help="go on with what an earlier call left, though files changed")
    c = commands.add_parser("gallery", help="one page of all pictures that runs have drawn")
    c.add_argument("folder", nargs="?", default="runs_out", help="of the runs; default: %(default)s")
    commands.add_parser("demo", help="run a demo: demo NAME [options]", add_help=False)
    return top


def _installed() -> bool:
    try:
        metadata.version("tinygen")
    except metadata.PackageNotFoundError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    rest = [a for a in arguments if a != "--debug"]
    run: Callable[[], None]
    if rest and rest[0] == "demo":
        run = lambda: demo(rest[1:])
    else:
        given = parser().parse_args(rest)
        run = {
            "check": lambda: check(given.names),
            "explain": lambda: explain(given.name),
            "info": lambda: info(given.lines),
            "list": list_systems,
            "gallery": lambda: gallery(given.folder),
            "reproduce": lambda: reproduce(given.rows, given.full, given.resume),
        }[given.command]
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        print(f"tinygen: {error}", file=sys.stderr)
        sys.exit(2)

"""From a demo's `main` to its command line: the signature is the list of flags.

A keyword with a default becomes a flag with that default and its type; False becomes a switch. `--resume FOLDER`
takes every argument from the `config.json` of that run, and so goes with no other flag.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def run_main(module: Any, argv: Sequence[str] | None = None) -> Any:
    """Run a demo's module: its `main`, by `command`."""
    return command(module.main, argv, name=f"python -m tinygen demo {module.__name__.rsplit('.', 1)[-1]}")


def command(main: Callable, argv: Sequence[str] | None = None, *, name: str | None = None) -> Any:
    """Call `main` with what the command line says (`sys.argv` by default); Ctrl-C ends it with one line."""
    parser = flags(main, name)
    given = vars(parser.parse_args(argv))
    if "resume" in given:
        given = resumed(parser, given)
    try:
        return main(**given)
    except KeyboardInterrupt as stop:
        parser.exit(130, f"{stop}\n")


def resumed(parser: argparse.ArgumentParser, given: dict[str, Any]) -> dict[str, Any]:
    """All arguments of the run that `--resume` names; refuses others beside it."""
    folder = given["resume"]
    if len(given) > 1:
        others = ", ".join(f"--{name}" for name in given if name != "resume")
        parser.error(f"--resume takes everything from the run's config.json; leave out {others}")
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        parser.error(f"--resume: {folder} has no config.json, so it holds no run")
    return {**config, "resume": folder}


def flags(main: Callable, name: str | None = None) -> argparse.ArgumentParser:
    """The parser for a `main`; only flags that were given appear in its result."""
    parser = argparse.ArgumentParser(
        prog=name, description=inspect.getdoc(main), argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for parameter in inspect.signature(main).parameters.values():
        flag, default = "--" + parameter.name.replace("_", "-"), parameter.default
        if default is False:
            parser.add_argument(flag, action="store_true")
        else:
            kind = str if default is None else type(default)
            parser.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=f"default: {default}")
    return parser

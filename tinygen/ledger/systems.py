"""The rows of `SYSTEMS.md`: every system of the documents, with its source and its bar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the clone


@dataclass(frozen=True)
class System:
    """One row: its id ("F1"), what it is, where it stands in the documents, and what must be shown."""

    id: str
    name: str
    source: str
    bar: str


def systems(path: Path = ROOT / "SYSTEMS.md") -> list[System]:
    """All rows, in the order of the file."""
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not here: the list of systems comes with a clone of the repository")
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if len(cells) == 4 and re.fullmatch(r"[A-Z]\d+", cells[0]):
            rows.append(System(*cells))
    return rows

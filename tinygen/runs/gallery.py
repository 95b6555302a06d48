"""One page of all pictures that the runs in a folder have drawn.

    python -m tinygen gallery            # runs_out/gallery.html

The page refers to the pictures where they lie, so it opens without a network, and is out of date as soon as a run
draws something else: make it again.
"""

from __future__ import annotations

import html
import os
import urllib.parse
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
section {{ border-top: 1px solid #999; padding-bottom: 1em; }}
figure {{ display: inline-block; margin: 0.5em; vertical-align: top; }}
img {{ max-width: 640px; max-height: 480px; border: 1px solid #ddd; }}
</style>
<h1>{title}</h1>
{sections}
</html>
"""


def gallery(folder: str | os.PathLike) -> Path:
    """Write `gallery.html` into a folder of runs: a section for each run that has pictures or pages; gives its path."""
    top = Path(folder)
    found = sorted(p for p in top.rglob("*") if p.suffix in (".png", ".html") and p.parent != top)
    if not found:
        raise ValueError(f"gallery: no run below {top} has drawn a picture; `python -m tinygen demo NAME` draws some")
    runs: dict[Path, list[Path]] = {}
    for path in found:
        runs.setdefault(path.parent, []).append(path)
    sections = "\n".join(_section(top, run, files) for run, files in runs.items())
    page = top / "gallery.html"
    page.write_text(
        PAGE.format(title=html.escape(f"Pictures of {len(runs)} runs"), sections=sections), encoding="utf-8"
    )
    return page


def _section(top: Path, run: Path, files: list[Path]) -> str:
    """A run's pictures side by side, each a link to itself; its pages as links."""
    lines = []
    for path in files:
        # a `#`, `?` or `%` of a name would be read as part of the address; a space and `&` are understood
        address = html.escape(urllib.parse.quote(path.relative_to(top).as_posix(), safe="/ &"))
        name = html.escape(path.name)
        shown = f'<img loading="lazy" src="{address}" alt="{name}"><br>' if path.suffix == ".png" else ""
        lines.append(f'<figure><a href="{address}">{shown}{name}</a></figure>')
    return "\n".join([f"<section><h2>{html.escape(run.relative_to(top).as_posix())}</h2>", *lines, "</section>"])

"""The command line: what it prints, and that every error is one line with exit status 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinygen import cli

ROOT = Path(__file__).resolve().parents[1]


def run(capsys, *arguments: str) -> str:
    cli.main(arguments)
    return capsys.readouterr().out


def refused(capsys, *arguments: str) -> str:
    """The one line that an error prints."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "Traceback" not in error
    return error


def test_check_prints_errors_and_rules(capsys):
    out = run(capsys, "check", "tanh", "conv2d")
    assert re.search(r"tanh\s+2\s+\d\.\de-\d\d\s+\d\.\de-\d\d\s+x\u0304 = y\u0304·\(1 − y·y\)", out)
    assert re.search(r"conv2d\s+2 .* composed", out) and "2 functions, worst deviation" in out


def test_check_refuses_unknown_names(capsys):
    assert "no function called thanh" in refused(capsys, "check", "thanh")


def test_info_counts_code_lines(capsys, tmp_path):
    out = run(capsys, "info", "--lines")
    assert "no blanks, comments or docstrings" in out
    file = tmp_path / "a.py"
    lines = [
        '"""Doc', 'string."""', "", "# note", 'x = """not', 'a docstring"""',
        "def f():", '    """Doc."""', "    return x",
    ]  # fmt: skip
    file.write_text("\n".join(lines) + "\n")
    assert cli.code_lines(file) == 4  # x over two lines, def, return


def test_the_engine_keeps_its_budget(capsys):
    """Small enough to read in an evening: autograd/ stays under 2,000 lines of code."""
    out = run(capsys, "info", "--lines")
    found = re.search(r"tinygen/autograd/ +(\d+)", out)
    assert found and int(found[1]) < 2000


def test_gallery_shows_every_picture_once(capsys, tmp_path):
    """By an address from where the page lies; pages are linked, other files are not."""
    for name in ("a & b/x.png", "a & b/metrics.csv", "deep/er/y.png", "deep/er/replay.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for _ in range(2):  # the page itself is no picture
        page = Path(run(capsys, "gallery", str(tmp_path)).strip()).read_text(encoding="utf-8")
    assert re.findall(r'img .*?src="(.*?)"', page) == ["a &amp; b/x.png", "deep/er/y.png"]
    assert re.findall(r'href="(.*?)"', page) == ["a &amp; b/x.png", "deep/er/replay.html", "deep/er/y.png"]
    assert "Pictures of 2 runs" in page and "metrics" not in page


def test_gallery_of_nothing_is_refused(capsys, tmp_path):
    assert "no run below" in refused(capsys, "gallery", str(tmp_path))


def test_explain_shows_the_elbo(capsys):
    pytest.importorskip("tinygen.demos", reason="the demos come with an installed package (pip install -e .)")
    out = run(capsys, "explain", "vae")
    assert "exp" in out and "w\u0304 = y\u0304\u1d40 x" in out and "vae.py:" in out


def test_unknown_demos_are_named(capsys):
    pytest.importorskip("tinygen.demos", reason="the demos come with an installed package (pip install -e .)")
    assert "no demo called 'vea'" in refused(capsys, "explain", "vea")
    assert "vae" in run(capsys, "list")


def test_the_readme_example_runs(capsys):
    """The five-line example does what it says."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    namespace: dict = {}
    exec(blocks[0], namespace)
    assert namespace["h"].shape == (3,)
    assert "tanh" in capsys.readouterr().out


def test_ci_runs_the_readme_command():
    """One fenced block follows the marker that .ci/run looks for, and it runs pytest in a new environment."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- tests -->\n```bash\n(.*?)\n```", text, re.S)
    assert block.startswith("python3 -m venv") and "pytest" in block

"""The demo of maximum likelihood: what it writes, claims, and resumes."""

import importlib
from pathlib import Path

import pytest

from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo looks at scikit-learn's irises and wines")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
gaussian = importlib.import_module("demos.gaussian")


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(gaussian.main, ["--quick", "--steps", "4", "--out", out])
    pictures = {"likelihood.png", "estimates.png", "petals.png"}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "nats a flower" in capsys.readouterr().out
    monkeypatch.setattr(gaussian, "pictures", lambda *given: None)
    assert common.command(gaussian.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name():
    values = gaussian.reproduce(Run(quiet=True), gaussian.CARD["claims"])
    assert list(values) == list(gaussian.CARD["claims"]) and all(0 <= v <= 1e-10 for v in values.values())


def test_the_errors_are_those_of_the_theory():
    mean, variance = gaussian.error(200, 2000)
    assert mean == pytest.approx(gaussian.SIGMA / 200**0.5, rel=0.1)
    assert variance == pytest.approx(gaussian.SIGMA**2 * (2 / 200) ** 0.5, rel=0.1)

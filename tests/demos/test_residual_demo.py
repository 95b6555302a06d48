"""The demo of residual connections: what it writes, says, and resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
residual = importlib.import_module("demos.residual")


def test_it_draws_and_resumes(tmp_path, capsys, monkeypatch):
    for name, value in dict(LAYERS=8, DEPTHS=(2,), RATES=(0.1,)).items():
        monkeypatch.setattr(residual, name, value)
    out = str(tmp_path / "run")
    scores = common.command(residual.main, ["--steps", "30", "--out", out])
    assert scores["both@0.1"] > 0.6 and scores["neither@0.1"] < 0.3
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | {"scores.png", "gradients.png", "ways.png"}
    assert "8 layers with neither" in capsys.readouterr().out
    assert common.command(residual.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name(monkeypatch):
    names = list(residual.CARD["claims"])
    values = residual.reproduce(Run(quiet=True), names[2:])
    assert list(values) == names[2:] and values[names[2]] > 0.1 and values[names[3]] < 1e-10
    monkeypatch.setattr(residual, "LAYERS", 2)
    monkeypatch.setattr(residual, "RATES", (0.1,))
    full = residual.trained
    monkeypatch.setattr(residual, "trained", lambda run, steps: full(run, 2))
    monkeypatch.setattr(residual.Race, "update", lambda race, known: {})
    values = residual.reproduce(Run(quiet=True), names[:2])
    assert list(values) == names[:2] and np.isfinite(list(values.values())).all()
    assert "cross_entropy" in str(tg.explain(lambda: residual.loss(tg.random.Generator(0))))

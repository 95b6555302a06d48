"""The demo of anomalies and changes: what it writes, claims, and resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo looks at scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
anomaly = importlib.import_module("demos.anomaly")


def test_it_finds_draws_and_resumes(tmp_path, capsys, monkeypatch):
    full = anomaly.pictures
    monkeypatch.setattr(anomaly, "pictures", lambda *given: full(*given[:-1], 3))
    out = str(tmp_path / "run")
    scores = common.command(anomaly.main, ["--quick", "--examples", "200", "--steps", "8", "--out", out])
    assert 0.8 < scores["kernel"] < scores["best"] + 0.01 and scores["digits"] > 0.95
    assert abs(scores["change"] - anomaly.CHANGE) < 10 and scores["gain"] > 50
    pictures = {f"{name}.png" for name in ("plane", "digits", "change")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "area under the curve" in capsys.readouterr().out
    monkeypatch.setattr(anomaly, "pictures", lambda *given: None)
    assert common.command(anomaly.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name(monkeypatch):
    monkeypatch.setattr(anomaly, "VALUES", dict.fromkeys(anomaly.VALUES, lambda: 0.5))
    values = anomaly.reproduce(Run(quiet=True), anomaly.CARD["claims"])
    assert values == dict.fromkeys(anomaly.CARD["claims"], 0.5)
    assert anomaly.false_alarms(3) < 0.05


def test_neither_part_of_the_series_changes_its_law():
    x = np.concatenate([anomaly.series(seed) for seed in range(30)]).reshape(30, anomaly.LENGTH, 2)
    for part in (x[:, : anomaly.CHANGE], x[:, anomaly.CHANGE :]):
        np.testing.assert_allclose(part.mean((0, 1)), 0, atol=0.05)
        np.testing.assert_allclose(part.std((0, 1)), 1, atol=0.05)

"""The demo of feed-forward nets: what it writes, says, and resumes."""

import importlib
from pathlib import Path

import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
feed_forward = importlib.import_module("demos.feed_forward")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(feed_forward, "WIDTHS", (4, 8, 16))
    monkeypatch.setattr(feed_forward, "DESCENT", 60)


def test_it_draws_and_resumes(tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(feed_forward.main, ["--steps", "20", "--width", "8", "--out", out])
    assert scores["ratio"] < 1 and scores["deep"] < 1e-12 and scores["flat"] >= 0.5
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | {"width.png", "depth.png"}
    assert "twice the width leaves at most" in capsys.readouterr().out
    assert common.command(feed_forward.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name():
    names = list(feed_forward.CARD["claims"])
    values = feed_forward.reproduce(Run(quiet=True), names[2:])
    assert list(values) == names[2:] and 0.5 < values[names[2]] <= 1
    assert values[names[3]] < 1e-12 and values[names[4]] >= 0.5
    assert "square" in str(tg.explain(lambda: feed_forward.loss(tg.random.Generator(0))))

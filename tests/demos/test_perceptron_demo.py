"""The demo of the perceptron: what it writes, says, and resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits and irises")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
perceptron = importlib.import_module("demos.perceptron")


def test_it_draws_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(perceptron, "GAPS", (0.3, 0.1))
    monkeypatch.setattr(perceptron, "PAIRS", ((0, 1), (3, 8)))
    out = str(tmp_path / "run")
    scores = common.command(perceptron.main, ["--points", "40", "--gap", "0.1", "--out", out])
    assert scores["accuracy"] == 1 and scores["errors"] == 0 and scores["share"] <= 1
    pictures = {"lines.png", "bound.png", "smooth.png", "overlap.png"}
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "mistakes that Novikoff allows" in capsys.readouterr().out
    assert common.command(perceptron.main, ["--resume", out]) == scores


def test_drawn_sets_leave_the_gap_they_were_asked_for():
    x, y = perceptron.separable(100, 0.2, tg.random.Generator(0))
    gap = perceptron.chapter.largest_margin(np.column_stack([np.ones(100), x]), 2 * y - 1)[0]
    assert 0.05 < gap < 0.4 and 10 < y.sum() < 90 and len(x) == 100


def test_claims_are_reproduced_by_name(monkeypatch):
    monkeypatch.setattr(perceptron, "GAPS", (0.3,))
    monkeypatch.setattr(perceptron, "PAIRS", ((0, 1),))
    names = list(perceptron.CARD["claims"])
    values = perceptron.reproduce(Run(quiet=True), names[:2])
    assert list(values) == names[:2] and values[names[0]] == 0 and 0 < values[names[1]] <= 1
    assert "softmax" in str(tg.explain(lambda: perceptron.loss(tg.random.Generator(0))))

"""The demo of nearest neighbours: what it writes, claims, and resumes."""

import importlib
from pathlib import Path

import pytest

from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
neighbours = importlib.import_module("demos.nearest_neighbours")


@pytest.fixture
def small(monkeypatch):
    """Simulations of a few examples."""
    full = neighbours.consistency
    monkeypatch.setattr(neighbours, "consistency", lambda repeats: full(60, (100, 1000, 10_000)))


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch, small):
    full = neighbours.plane
    monkeypatch.setattr(neighbours, "plane", lambda n: full(60))
    out = str(tmp_path / "run")
    scores = common.command(neighbours.main, ["--quick", "--examples", "100", "--steps", "8", "--out", out])
    assert scores["deviation"] < 1e-10 and scores["tail"] < 0.01
    assert scores["k = n^(1/2)"] < 0.45 and scores["k = 5"] > 0.7 and scores["k = n / 5"] > 0.7
    pictures = {f"{name}.png" for name in ("estimates", "no_density", "consistency", "plane")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "deviation from brute force" in capsys.readouterr().out
    monkeypatch.setattr(neighbours, "pictures", lambda *given: None)
    assert common.command(neighbours.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name(small):
    values = neighbours.reproduce(Run(quiet=True), neighbours.CARD["claims"])
    assert list(values) == list(neighbours.CARD["claims"]) and all(v > 0 for v in values.values())


def test_the_law_of_the_ratio_is_a_density():
    t = neighbours.np.linspace(0.01, 60, 200_001)
    assert neighbours.ratio_law(t, 4, 97, 0.04).sum() * (t[1] - t[0]) == pytest.approx(1, abs=1e-4)

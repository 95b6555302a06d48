"""The demo of histograms: what it writes, claims, and resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tinygen.models.density import histogram_error
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
histogram = importlib.import_module("demos.histogram")


def test_it_counts_draws_and_resumes(tmp_path, capsys, monkeypatch):
    full, rates = histogram.boxes, histogram.rates
    monkeypatch.setattr(histogram, "boxes", lambda: full(100))
    monkeypatch.setattr(histogram, "rates", lambda repeats: rates(repeats, (250, 1000, 4000)))
    out = str(tmp_path / "run")
    scores = common.command(histogram.main, ["--quick", "--steps", "4", "--out", out])
    assert scores["deviation"] < 0.05 and scores["width"] < 0.1 and -0.75 < scores["rate"] < -0.55
    pictures = {f"{name}.png" for name in ("origins", "widths", "errors", "boxes")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "cross-validation chooses" in capsys.readouterr().out
    monkeypatch.setattr(histogram, "pictures", lambda *given: None)
    assert common.command(histogram.main, ["--resume", out]) == scores


def test_the_simulation_is_that_of_the_formulas():
    samples = np.random.default_rng(2).beta(3, 3, (3000, 50))
    errors = histogram.simulated_errors(50, 7, samples)
    exact = histogram_error.mise(histogram.bell, 50, 7)
    assert errors.mean() == pytest.approx(exact, abs=4 * errors.std() / 3000**0.5)
    counts = np.histogram(samples[0], 7, (0, 1))[0]
    assert errors[0] == pytest.approx(histogram_error.integrated_error(counts / 50, histogram.bell), rel=1e-10)


def test_claims_are_reproduced_by_name(monkeypatch):
    full, rates = histogram.simulate, histogram.rates
    monkeypatch.setattr(histogram, "simulate", lambda repeats: full(repeats // 20))
    monkeypatch.setattr(histogram, "rates", lambda repeats: rates(repeats // 10, (250, 1000, 4000)))
    values = histogram.reproduce(Run(quiet=True), histogram.CARD["claims"])
    assert list(values) == list(histogram.CARD["claims"]) and all(0 <= v < 0.1 for v in values.values())

"""The demo of generative classifiers: what it writes, claims, and resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits, irises and wines")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
classifiers = importlib.import_module("demos.generative_classifiers")


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out, full = str(tmp_path / "run"), classifiers.pictures
    monkeypatch.setattr(classifiers, "pictures", lambda *given: full(*given[:-1], 20))
    scores = common.command(classifiers.main, ["--quick", "--steps", "4", "--out", out])
    assert scores["linear"] > 0.9 and scores["quadratic"] > 0.95 and scores["naive Bayes, 17 shades"] > 0.8
    pictures = {f"{name}.png" for name in ("regions", "assumptions", "projection", "digits")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "of test digits right" in capsys.readouterr().out
    monkeypatch.setattr(classifiers, "pictures", lambda *given: None)
    assert common.command(classifiers.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name(monkeypatch):
    monkeypatch.setattr(classifiers, "SETS", ("iris",))
    values = classifiers.reproduce(Run(quiet=True), classifiers.CARD["claims"])
    assert list(values) == list(classifiers.CARD["claims"]) and all(0 <= v <= 1e-6 for v in values.values())


def test_each_is_the_most_likely_on_its_own_clouds():
    for name, winner in (("independent features", "naive Bayes"), ("one tilted shape", "linear")):
        x, y = classifiers.clouds(name, n=2000)
        new, labels = classifiers.clouds(name, n=3000)  # other draws of the same clouds
        found = {kind: classifiers.fitted(model, (x, y)).predict_log_proba(new)[np.arange(9000), labels].mean()
                 for kind, model in classifiers.KINDS.items()}  # fmt: skip
        assert found[winner] > max(found.values()) - 0.01

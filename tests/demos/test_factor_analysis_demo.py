"""The demo of probabilistic PCA and factor analysis: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo looks at scikit-learn's wines")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
factor_analysis = importlib.import_module("demos.factor_analysis")


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch):
    full = factor_analysis.how_many
    monkeypatch.setattr(factor_analysis, "how_many", lambda examples, folds: full(examples, 1))
    monkeypatch.setattr(factor_analysis, "KS", (1, 3, 4))
    for name in ("deviation", "closed_form"):  # see below
        monkeypatch.setattr(factor_analysis, name, lambda problems: 0.0)
    out = str(tmp_path / "run")
    scores = common.command(factor_analysis.main, ["--quick", "--steps", "60", "--examples", "100", "--out", out])
    assert scores["best"] - 0.01 < scores["score"] <= scores["best"]
    pictures = {f"{name}.png" for name in ("how_many", "units", "loadings", "climb")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "log-likelihood of a wine" in capsys.readouterr().out
    monkeypatch.setattr(factor_analysis, "pictures", lambda *given: None)
    assert common.command(factor_analysis.main, ["--resume", out]) == scores


def test_made_data_have_the_factors_that_they_say():
    x = factor_analysis.made(100_000, np.full(15, 0.5), 0)
    values = np.linalg.eigvalsh(np.cov(x.T))
    np.testing.assert_allclose(values[:12], 0.25, rtol=0.05)
    assert values[12] > 1


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    for name in ("deviation", "closed_form"):
        full = getattr(factor_analysis, name)
        monkeypatch.setattr(factor_analysis, name, lambda problems, full=full: full(1))
    values = factor_analysis.reproduce(Run(tmp_path, quiet=True), factor_analysis.CARD["claims"])
    assert list(values) == list(factor_analysis.CARD["claims"])
    assert 0 < max(values.values()) < 1e-6


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(factor_analysis.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == factor_analysis.CARD
    model, x = factor_analysis.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.loadings.device == device and np.isfinite(model.score_samples(x)).all()

"""The demos of softmax regression, linear regression and risk: what they write, say, resume and claim."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")

common = importlib.import_module("demos.common")
linear_regression = importlib.import_module("demos.linear_regression")
risk = importlib.import_module("demos.risk")
softmax = importlib.import_module("demos.softmax")
KEPT = ["checkpoint.safetensors", "config.json", "metrics.csv"]


@pytest.fixture
def glyphs(monkeypatch, tmp_path):
    """No real files: the drawn letters take notMNIST's place."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINYGEN_DATA", raising=False)


def test_softmax_learns_letters_and_resumes(tmp_path, capsys, glyphs):
    pytest.importorskip("sklearn", reason="the irises are scikit-learn's")
    out = str(tmp_path / "run")
    scores = common.command(softmax.main, ["--steps", "100", "--out", out])
    assert scores["train"] > 0.5 > 0.3 > scores["in order"] and scores["residual"] < 1e-4
    pictures = {"learning.png", "confusion.png", "templates.png", "order.png", "balance.png"}
    assert {p.name for p in Path(out).iterdir()} == {*KEPT, *pictures}
    said = capsys.readouterr()
    assert "balance equations" in said.out and "notmnist: no files" in said.err
    assert common.command(softmax.main, ["--resume", out]) == scores


def test_softmax_claims_need_the_real_letters(tmp_path, glyphs):
    pytest.importorskip("sklearn", reason="the irises are scikit-learn's")
    accuracy, residual = softmax.CARD["claims"]
    assert softmax.reproduce(Run(quiet=True), [residual])[residual] <= 1e-4
    with pytest.raises(tg.data.DataError, match="notmnist"):
        softmax.reproduce(Run(quiet=True), [accuracy])


def test_linear_regression_compares_and_resumes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="the irises are scikit-learn's")
    monkeypatch.setattr(linear_regression, "DRAWS", 2000)
    out = str(tmp_path / "run")
    scores = common.command(linear_regression.main, ["--steps", "200", "--out", out])
    assert scores["gap"] < 1e-10 and scores["descent"] < 0.5
    equal = {name: v for name, v in scores.items() if name.startswith("equal, ")}
    assert len(equal) == 4 and min(equal, key=equal.get) == "equal, least squares"
    assert scores["unequal, weights 1/σ²"] < 0.7 * scores["unequal, least squares"]
    assert {p.name for p in Path(out).iterdir()} == {*KEPT, "fit.png", "gauss_markov.png"}
    assert "every second example" in capsys.readouterr().out
    assert common.command(linear_regression.main, ["--resume", out]) == scores


def test_risk_shows_its_curves_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(risk, "SAMPLE", 20_000)
    out = str(tmp_path / "run")
    scores = common.command(risk.main, ["--examples", "2000", "--quick", "--out", out])
    assert scores["error"] < 0.1 and scores["rival"] > 1.05 and scores["over-fitting"] > 5
    assert {p.name for p in Path(out).iterdir()} == {*KEPT, "best.png", "overfitting.png", "batches.png"}
    assert "degree 15 has" in capsys.readouterr().out
    assert common.command(risk.main, ["--resume", out]) == scores


def test_a_race_that_was_saved_goes_on_the_same():
    a, b = risk.Race(3, 0.005, 0, 500), risk.Race(3, 0.005, 0, 500)
    a.update(1)
    b.load_state_dict(a.state_dict())
    assert a.update(2) == b.update(2)


@pytest.mark.parametrize("demo", [linear_regression, risk], ids=["linear_regression", "risk"])
def test_claims_are_reproduced_by_name_and_met(demo, monkeypatch):
    monkeypatch.setattr(risk, "examples_to", lambda size, lr, seed: 40 * size if lr == risk.RIVALS[size][1] else np.inf)
    claims = demo.CARD["claims"]
    values = demo.reproduce(Run(quiet=True), list(claims))
    assert list(values) == list(claims)
    for name, value in values.items():
        sign, bar = claims[name]["bar"].split()
        assert value <= float(bar) if sign == "<=" else value >= float(bar), name


@pytest.mark.parametrize("demo", [linear_regression, risk, softmax], ids=lambda demo: demo.__name__.split(".")[-1])
def test_the_card_is_a_literal_and_the_loss_can_be_explained(demo):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert np.isfinite(demo.loss(tg.random.Generator(0)).item())
    assert str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))


def test_a_descent_counts_the_examples_that_it_has_looked_at(monkeypatch):
    risks = iter([0.3, 0.2, 0.1])
    monkeypatch.setattr(risk.chapter, "risk", lambda *given: next(risks))
    assert risk.examples_to(100, 0.1, 0) == 300
    monkeypatch.setattr(risk.chapter, "risk", lambda *given: 1e3)
    assert risk.examples_to(1, 0.1, 0) == np.inf

"""The demos of backpropagation and of batch normalisation: what they write, say, and resume."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demos learn scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")

common = importlib.import_module("demos.common")
backprop = importlib.import_module("demos.backprop")
batchnorm = importlib.import_module("demos.batchnorm")
KEPT = ["checkpoint.safetensors", "config.json", "metrics.csv"]


def test_backprop_learns_and_resumes(tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(backprop.main, ["--steps", "60", "--hidden", "32", "--out", out])
    assert scores["gap"] < 1e-12 and scores["test"] > 0.8
    assert {p.name for p in Path(out).iterdir()} == {*KEPT, "curves.png", "errors.png", "subgradients.png"}
    assert "largest gap to the engine" in capsys.readouterr().out
    assert common.command(backprop.main, ["--resume", out]) == scores


def test_batchnorm_shows_its_effects_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(batchnorm, "LAYERS", 5)
    monkeypatch.setattr(batchnorm, "RATES", (0.1, 0.3))
    out = str(tmp_path / "run")
    scores = common.command(batchnorm.main, ["--steps", "25", "--out", out])
    assert scores["norm/2@0.3"] > scores["plain/2@0.3"] + 0.2
    pictures = {"rates.png", "signals.png", "dropout.png", "populations.png"}
    assert {p.name for p in Path(out).iterdir()} == {*KEPT, *pictures}
    assert "with dropout 0.5" in capsys.readouterr().out
    assert common.command(batchnorm.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(batchnorm, "LAYERS", 3)
    monkeypatch.setattr(batchnorm, "RATES", (0.1, 0.3))
    for demo in (backprop, batchnorm):
        full = demo.trained
        monkeypatch.setattr(demo, "trained", lambda run, steps, full=full: full(run, 5))
        names = list(demo.CARD["claims"])
        values = demo.reproduce(Run(tmp_path / demo.__name__, quiet=True), names[-1:])
        assert list(values) == names[-1:] and np.isfinite(list(values.values())).all()


def test_labels_are_replaced_at_the_stated_share():
    labels = batchnorm.mistaken(np.full(10_000, 11), tg.random.Generator(0))
    assert abs((labels != 11).mean() - batchnorm.WRONG) < 0.02 and labels[labels != 11].max() == 9


def test_a_race_that_was_saved_goes_on_the_same(monkeypatch):
    monkeypatch.setattr(batchnorm, "RATES", (0.1, 0.3))
    draw = np.random.default_rng(0)
    data = draw.normal(size=(50, 64)).astype(np.float32), draw.integers(0, 10, 50)
    a, b = batchnorm.Race(0), batchnorm.Race(1)
    a.update(data, data)
    b.load_state_dict(a.state_dict())
    for x, y in zip(a.update(data, data).values(), b.update(data, data).values(), strict=True):
        assert x.item() == y.item()


@pytest.mark.parametrize("demo", [backprop, batchnorm], ids=["backprop", "batchnorm"])
def test_the_card_is_a_literal_and_the_loss_can_be_explained(demo):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "cross_entropy" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

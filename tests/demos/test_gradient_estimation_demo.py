"""The demo of Monte-Carlo gradients: what it writes, says, resumes and claims."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.gradient_estimation")


@pytest.fixture
def small(monkeypatch):
    """Fewer draws."""
    monkeypatch.setattr(demo, "DRAWS", 10_000)


def test_it_compares_draws_and_resumes(tmp_path, capsys, small, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(demo.main, ["--steps", "200", "--features", "4", "--quick", "--out", out])
    assert scores["bias"] < 4.5 and scores["error"] < 0.3
    assert all(scores[f"distance, {name}"] < 1 for name in ("data", "draws", "score", "perturbation"))
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | {"clouds.png", "variances.png", "failures.png"}
    assert "a slope of length 1.5" in capsys.readouterr().out
    monkeypatch.setattr(demo, "pictures", lambda *given: None)
    assert common.command(demo.main, ["--resume", out]) == scores


def test_a_race_that_was_saved_goes_on_the_same():
    a, b = (demo.Race(3, 0.3, 20, seed, "cpu") for seed in (0, 0))
    a.update()
    b.load_state_dict(a.state_dict())
    assert a.update() == b.update()


def test_claims_are_reproduced_by_name():
    claims = demo.CARD["claims"]
    values = demo.reproduce(Run(quiet=True), list(claims))
    assert list(values) == list(claims)
    bias, error, ratio = values.values()
    assert 0 < bias <= 4.5 and error <= 0.05 and ratio >= 5


def test_a_biased_estimator_would_show(small, monkeypatch):
    """The planted error: estimates that are three percent too long."""
    real = demo.through_draws
    monkeypatch.setattr(demo, "through_draws", lambda *given, **named: 1.03 * real(*given, **named))
    assert max(row["bias"] for row in demo.compared(20_000) if row["name"] == "through the draws") > 4.5


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert np.isfinite(demo.loss(tg.random.Generator(0)).item())
    assert str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

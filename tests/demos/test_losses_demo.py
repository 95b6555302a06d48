"""The demo of losses: what it writes, says, resumes and claims."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
losses = importlib.import_module("demos.losses")


@pytest.fixture
def small(monkeypatch):
    """Fewer random laws."""
    for name in ("gap_of_laws", "gap_given_x", "distance"):
        full = getattr(losses, name)
        monkeypatch.setattr(losses, name, lambda full=full: full(5))


def test_it_compares_draws_and_resumes(tmp_path, capsys, small):
    out = str(tmp_path / "run")
    scores = common.command(losses.main, ["--quick", "--steps", "1500", "--out", out])
    assert scores["gap"] < 1e-12 and scores["gap given x"] < 1e-12 and scores["distance"] < 1e-6
    assert abs(scores["slope, absolute"] - 2) < 0.3 < 0.7 < abs(scores["slope, squared"] - 2)
    assert scores["nats, absolute"] > scores["nats, squared"]
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | {"answers.png", "likelihood.png", "slopes.png"}
    assert "NLL = entropy + KL" in capsys.readouterr().out
    assert common.command(losses.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name_and_met(small):
    claims = losses.CARD["claims"]
    values = losses.reproduce(Run(quiet=True), list(claims))
    assert list(values) == list(claims)
    assert all(value <= float(claims[name]["bar"].split()[1]) for name, value in values.items())
    assert list(losses.reproduce(Run(quiet=True), list(claims)[1:2])) == list(claims)[1:2]


def test_a_broken_identity_would_show(small, monkeypatch):
    """The planted error: an entropy that is a little off."""
    real = losses.chapter.entropy_plus_kl
    monkeypatch.setattr(losses.chapter, "entropy_plus_kl", lambda p, q: real(p, q) + 1e-9)
    assert losses.gap_of_laws() > 1e-10


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(losses.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == losses.CARD
    assert np.isfinite(losses.loss(tg.random.Generator(0)).item())
    assert str(tg.explain(lambda: losses.loss(tg.random.Generator(0))))

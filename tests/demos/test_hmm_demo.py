"""The demo of hidden Markov models: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
hmm = importlib.import_module("demos.hmm")


def test_it_learns_draws_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hmm, "clouds", lambda seed: hmm.plot.figure(1, 1))  # see below
    out = str(tmp_path / "run")
    flags = {"games": "30", "throws": "60", "starts": "2", "steps": "20", "out": out}
    scores = common.command(hmm.main, ["--quick", *(part for k, v in flags.items() for part in (f"--{k}", v))])
    assert scores["deviation"] < 1e-9 and -1.9 < scores["test"] < -1.6 and scores["train"] > scores["truth"] - 0.1
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {f"{name}.png" for name in ("casino", "learning", "tables", "samples", "lattice", "clouds")}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "the die is right in" in capsys.readouterr().out
    monkeypatch.setattr(hmm, "pictures", lambda *given: None)
    assert common.command(hmm.main, ["--resume", out]) == scores


def test_clouds_are_told_apart_in_time():
    titles = [axes.get_title() for axes in hmm.clouds(0, 150).axes]
    right = [int(title.split(": ")[1].split("%")[0]) for title in titles if "% right" in title]
    assert len(right) == 2 and right[1] > right[0] + 5  # the mixture, the chain


def test_games_have_unequal_lengths_and_dice_their_names():
    z, x = hmm.played(hmm.casino(), 3, 10, tg.random.Generator(0))
    assert [len(row) for row in x] == [len(row) for row in z] == [10, 7, 5]
    assert hmm.named(hmm.casino()).tolist() == [0, 1]
    assert hmm.matched(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 2])).tolist() == [0, 0, 1, 2]


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    pytest.importorskip("hmmlearn", reason="the oracle is hmmlearn")
    full = hmm.from_hmmlearn
    monkeypatch.setattr(hmm, "from_hmmlearn", lambda: full(2))
    values = hmm.reproduce(Run(tmp_path, quiet=True), hmm.CARD["claims"])
    assert list(values) == list(hmm.CARD["claims"])
    assert all(0 <= value < 1e-9 for value in values.values())


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(hmm.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == hmm.CARD
    model, x = hmm.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.means.device == device and np.isfinite(model.score_samples(x)).all()

"""The demo of convolutional autoencoders: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.convolutional_autoencoder")


def test_it_learns_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    scores = common.command(demo.main, ["--data", "digits", "--steps", "24", "--code", "6", "--out", str(out)])
    assert set(scores) == {"full", "strides", "pooling", "stacked"} and min(scores.values()) > 0
    pictures = {f"{name}.png" for name in ("reconstructions", "learning", "maps", "checkerboard")}
    assert {p.name for p in out.iterdir()} == pictures | set(scores) | {"config.json"}
    said = capsys.readouterr().out
    assert said.count(" weights ") == 4 and "ms a step" in said
    monkeypatch.setattr(demo, "pictures", lambda *given: None)
    assert common.command(demo.main, ["--resume", str(out)]) == scores


def test_errors_are_summed_over_pixels():
    class Grey:
        shape = (4,)

        def errors(self, x):
            return np.square(x - 0.5).sum(1)

    assert demo.error(Grey(), np.ones((3, 1, 2, 2))) == 1


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    digits = tg.data.load("digits")
    monkeypatch.setattr(demo, "load", lambda name, stand_in: digits)
    monkeypatch.setattr(demo, "STEPS", 3)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "run", quiet=True), claims)
    assert list(values) == claims and 0 < min(values.values()) and len(set(values.values())) == 2
    assert demo.reproduce(Run.resume(tmp_path / "run", quiet=True), claims[1:]) == {claims[1]: values[claims[1]]}


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "convolve" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

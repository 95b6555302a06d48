"""The demo of sparse autoencoders: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.sparse_autoencoder")


@pytest.fixture(autouse=True)
def few_pieces(monkeypatch):
    """Of glyphs in the place of MNIST."""
    cut = demo.pieces
    monkeypatch.setattr(demo.data, "load", lambda name, load=demo.data.load: load("glyphs"))
    monkeypatch.setattr(demo, "pieces", lambda: [part[:400] for part in cut()])


def test_it_trains_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(demo.main, ["--steps", "20", "--units", "60", "--out", out])
    assert np.isfinite(list(scores.values())).all() and 0 < scores["mean activation"] < 0.2
    pictures = {f"{name}.png" for name in ("filters", "activations", "target", "parts")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    said = capsys.readouterr().out
    assert all(f"{name}: squared error" in said for name in demo.KINDS)
    for name in ("filters", "activations", "target", "parts"):
        monkeypatch.setattr(demo, name, lambda *given: demo.plot.figure(1, 1))
    assert common.command(demo.main, ["--resume", out]) == scores


def test_pieces_have_ink():
    x, x_test = demo.pieces()
    assert x.shape == x_test.shape == (400, 144) and min(x.mean(1).min(), x_test.mean(1).min()) > 0.08


def test_the_way_off_target_is_relative_and_a_mean_over_units():
    class Known:
        rho = 0.1

        def transform(self, x):
            return np.array([[0.0, 0.1, 0.4], [0.2, 0.1, 0.0]])

    assert demo.off_target(Known(), None) == pytest.approx((0 + 0 + 1) / 3)


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    full = demo.trained
    monkeypatch.setattr(demo, "trained", lambda run, name, x, seed: full(run, name, x, units=20, steps=4, seed=seed))
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path, quiet=True), claims)
    assert list(values) == claims and all(len(v) == 3 and np.isfinite(v).all() for v in values.values())
    assert list(demo.reproduce(Run(tmp_path / "one", quiet=True), claims[1:2])) == claims[1:2]


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    model, x = demo.tiny(tg.random.Generator(0, device=device))
    assert np.isfinite(model.fit(x, steps=3, run=Run(quiet=True)).reconstruct(x)).all()
    assert np.isfinite(demo.loss(tg.random.Generator(0, device=device)).item())

"""The demo of autoencoders: what it writes, says, claims, and resumes."""

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
demo = importlib.import_module("demos.autoencoder")
PICTURES = {f"{name}.png" for name in ("reconstructions", "map", "decoded", "linear", "plane", "losses", "copying")}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short linear runs."""
    monkeypatch.setattr(demo, "LINEAR", dict(width=3, steps=40, batch_size=50, lr=0.03))
    full = demo.looked_at
    monkeypatch.setattr(demo, "looked_at", lambda run, **given: full(run, width=3, batch_size=50, **given))
    monkeypatch.setattr(demo, "WIDTHS", (1, 64))
    copying = demo.copying
    monkeypatch.setattr(demo, "copying", lambda widths, steps, **given: copying(widths, steps=steps // 50, **given))


def test_it_trains_draws_and_resumes(tmp_path, capsys):
    out = str(tmp_path / "run")
    flags = ["--data", "digits", "--steps", "20", "--code", "4", "--hidden", "16", "--out", out]
    scores = common.command(demo.main, flags)
    assert np.isfinite(list(scores.values())).all() and scores["cross-entropy"] > scores["floor"] > 0
    assert 0 <= scores["idle"] <= 1 and 0 <= scores["saturated"] <= 1 and scores["excess"] > 0
    parts = {"linear", "map", "squared", "checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == parts | PICTURES
    assert "degrees from PCA's plane" in capsys.readouterr().out
    assert common.command(demo.main, ["--resume", out]) == scores


def test_noise_has_the_digits_pixels_and_copies_are_measured_against_the_variance():
    found = demo.copying((1, 64), steps=1500)  # 30 of them
    digits, noise = (demo.sets.load("digits").test.images.reshape(-1, 64), found["shown"][1])
    assert all(set(noise[:, k]) <= set(digits[:, k]) for k in range(64))
    assert found["least"][1] == pytest.approx(0, abs=1e-9) and 0.5 < found["least"][0] < found["digits"][0]
    assert found["noise"][1] > 0 and len(found["images"]) == 2


def test_claims_are_reproduced_by_name(tmp_path):
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path, quiet=True), claims[:2])
    assert list(values) == claims[:2] and all(len(v) == 3 for v in values.values())
    angle, excess = values.values()
    assert 0 < min(angle) and max(angle) <= 90 and min(excess) > 0


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    model, x = demo.tiny(tg.random.Generator(0, device=device))
    assert np.isfinite(model.fit(x, steps=3, run=Run(quiet=True)).reconstruct(x)).all()
    assert np.isfinite(demo.loss(tg.random.Generator(0, device=device)).item())

"""The demo of digits that are not: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.autoencoder.novelty import Symbols
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.novelty")
PICTURES = {f"{name}.png" for name in ("strokes", "development", "convergence", "families", "verdict", "nearest")}


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """Glyphs in the place of MNIST."""
    monkeypatch.setattr(demo.data, "load", lambda name, load=demo.data.load, **options: load("glyphs"))


def test_it_learns_develops_and_judges(tmp_path, capsys):
    out = str(tmp_path / "run")
    flags = ["--steps", "25", "--maps", "6", "--symbols", "24", "--iterations", "30", "--out", out]
    scores = common.command(demo.main, flags)
    assert np.isfinite(list(scores.values())).all()
    assert all(0 <= scores[name] <= 1 for name in ("fixed", "moving", "collapsed", "flooded", "distinct", "sure"))
    found = {p.name for p in Path(out).iterdir()} - {"checkpoint.safetensors", "config.json", "metrics.csv"}
    said = capsys.readouterr().out
    assert found == PICTURES or (found == {"strokes.png", "development.png", "convergence.png"} and "too few" in said)
    assert "end in a fixed point" in said


def symbols(n=30, seed=0):
    """Made-up symbols: half of them are training images, the others are noise; the last did not come to rest."""
    draw = np.random.default_rng(seed)
    known = (demo.data.load("mnist").train.images > 0.5).astype(np.float32)
    images = np.concatenate([known[: n // 2], (draw.uniform(size=(n - n // 2, 1, 28, 28)) < 0.2).astype(np.float32)])
    none = np.zeros(n, bool)
    fixed = ~none
    fixed[-1] = False
    return Symbols(images, draw.uniform(size=(9, n)), fixed, none, none)


def test_copies_are_not_novel_and_noise_is(tmp_path):
    scores, found = demo.judged(symbols())
    assert scores["sound"] == pytest.approx(29 / 30) and scores["distinct"] == 1
    np.testing.assert_array_equal(found["distance"][:15], 0)
    assert found["distance"][15:].min() > 0.3 and len(found["x"]) == 29
    np.testing.assert_array_equal(found["near"][:15], found["x"][:15])
    run = Run(tmp_path / "run", quiet=True)
    for name, draw in (("families", lambda: demo.families(found, 0)), ("verdict", lambda: demo.verdict(found)),
                       ("nearest", lambda: demo.beside(found))):  # fmt: skip
        run.save_figure(f"{name}.png", draw())
        assert (run.folder / f"{name}.png").stat().st_size > 5000


def test_a_network_that_makes_nothing_is_reported():
    found = symbols()
    scores, per_symbol = demo.judged(found._replace(collapsed=~found.collapsed))
    assert scores["collapsed"] == 1 and scores["sound"] == 0 and per_symbol is None


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    class Network:
        def symbols(self, n, rng):
            return symbols()

    monkeypatch.setattr(demo, "trained", lambda run: Network())
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path, quiet=True), claims)
    assert list(values) == claims and values[claims[0]] == pytest.approx(29 / 30)
    assert list(demo.reproduce(Run(quiet=True), claims[2:])) == claims[2:]


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    model, x = demo.tiny(tg.random.Generator(0, device=device))
    assert np.isfinite(model.fit(x, steps=3, run=Run(quiet=True)).reconstruct(x)).all()


def test_digits_are_cut_to_an_amount_of_ink():
    digits = np.zeros((3, 1, 4, 2), np.float32)
    digits[:, 0, 1:, 0] = 1  # a stroke of three pixels
    found = demo.cut(digits, np.array([1, 2, 9]))
    np.testing.assert_array_equal(found.sum((1, 2, 3)), [1, 2, 3])
    np.testing.assert_array_equal(found[0, 0, :, 0], [0, 1, 0, 0])
    assert (demo.cut(digits, np.array([2])).sum((1, 2, 3)) == 2).all()

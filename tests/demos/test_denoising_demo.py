"""The demo of denoising autoencoders: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.autoencoder import denoising as chapter
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.denoising")
PARTS = {"noise", "masking", "blur", "nothing", "sound", "plane"}


def test_it_learns_draws_writes_and_resumes(tmp_path, capsys, monkeypatch):
    full = demo.windows
    monkeypatch.setattr(demo, "windows", lambda n, seed: full(30, seed))
    levels = demo.levels
    monkeypatch.setattr(demo, "levels", lambda *given: levels(*given, n=20, examples=100))
    out = tmp_path / "run"
    scores = common.command(demo.main, ["--quick", "--steps", "240", "--hidden", "40", "--out", str(out)])
    assert all(scores[kind] > 0 for kind in ("noise", "masking", "sound")) and scores["arrows"] < 0.5
    pictures = {f"{name}.png" for name in ("restored", "levels", "arrows", "filters", "sound")}
    sounds = {"melody-noisy.wav", "melody-restored.wav"}
    assert {p.name for p in out.iterdir()} == pictures | sounds | PARTS | {"config.json"}
    said = capsys.readouterr().out
    assert "won, in decibels" in said and "units of the code" in said
    monkeypatch.setattr(demo, "pictures", lambda *given: None)
    assert common.command(demo.main, ["--resume", str(out)]) == scores


def test_the_gain_is_over_the_image_as_it_is_shown():
    x, damaged = np.full((1, 4), 1.0), np.array([[3.0, 1.0, 1.0, 0.9]])
    assert demo.gain(x, damaged, np.array([[1.0, 1.0, 1.0, 0.99]])) == pytest.approx(20)


def test_units_that_never_answer_are_counted():
    class Codes:
        def transform(self, x):
            return np.array([[0, 1, 0, 0], [0, 0, 2, 0]])

    assert demo.silent(Codes(), None) == 0.5


def test_sounds_have_one_loudness():
    s = demo.windows(4, 0)
    assert s.shape == (32, 256)
    np.testing.assert_allclose(np.square(s).mean(1), 1, atol=0.01)


def test_the_error_of_arrows_is_that_of_the_exact_ones_or_none():
    class Exact:
        rng = tg.random.Generator(0)

        def corrupt(self, x, rng):
            return chapter.GaussianNoise(demo.SIGMA)(x, rng)

        def denoise(self, x):
            return chapter.mixture_denoiser(demo.RING, x, demo.SIGMA)

    assert demo.error_of_arrows(Exact(), 0) == 0
    Exact.denoise = lambda self, x: x  # no arrows at all: everything is wrong
    assert demo.error_of_arrows(Exact(), 0) == pytest.approx(1)


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    full, digits = demo.trained, tg.data.load("digits")
    monkeypatch.setattr(demo, "load", lambda name, stand_in: digits)
    monkeypatch.setattr(demo, "trained", lambda run, x, c, steps, **options: full(run, x, c, 3, hidden=8))
    windows, plane = demo.windows, demo.in_the_plane
    monkeypatch.setattr(demo, "windows", lambda n, seed: windows(5, seed))
    monkeypatch.setattr(demo, "in_the_plane", lambda run, steps: plane(run, 3))
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "all", quiet=True), claims)
    assert list(values) == claims and np.isfinite(list(values.values())).all() and len(set(values.values())) == 5
    assert demo.reproduce(Run(tmp_path / "one", quiet=True), claims[1:2]) == {claims[1]: values[claims[1]]}
    assert demo.reproduce(Run.resume(tmp_path / "all", quiet=True), claims) == values  # from what is there


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "square" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

"""The demo writes what it says and resumes; the claims compute what their names say."""

import importlib

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.energy import CodeRBM
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns enlarged digits where MNIST's files are missing")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.deep_autoencoder")
PICTURES = ["codes.png", "curves.png", "learning.png", "reconstructions.png"]
TOY = dict(hidden=(20, 10), greedy=30, steps=20, lr=3e-3, map=5, fitted=100, shown=30)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Small networks, few steps, and 80 glyphs in the place of MNIST."""
    monkeypatch.setattr(demo, "FULL", TOY)
    monkeypatch.setattr(demo, "load", lambda name, stand_in=True: tg.data.load("glyphs"))


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = tmp_path / "net"
    scores = common.command(demo.main, ["--steps", "25", "--code", "4", "--seed", "3", "--out", str(out)])
    assert list(scores) == ["stack, unrolled", "fine-tuned", "random start", "PCA"]
    assert 10 < min(scores.values()) and max(scores.values()) < 300
    parts = ["map", "map-greedy", "pre-trained", "random-start"]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*PICTURES, *parts, "checkpoint.safetensors", "config.json", "metrics.csv"]
    )
    assert "test set, squared error of an image from 4 numbers: " in capsys.readouterr().out
    before = {p: p.read_bytes() for p in out.rglob("metrics.csv")}
    assert common.command(demo.main, ["--resume", str(out)]) == scores
    assert before == {p: p.read_bytes() for p in out.rglob("metrics.csv")} and len(before) == 5


def test_the_start_is_the_stack_unrolled_or_random():
    x, (test, _) = demo.images("glyphs")
    stack = demo.pretrained(Run(quiet=True), x, 4, 6, TOY)
    assert isinstance(stack.machines[-1], CodeRBM) and [m.n_hidden for m in stack.machines] == [20, 10, 4]
    model = demo.fine_tuned(Run(quiet=True), stack, x, test, 4, 0, TOY)
    np.testing.assert_allclose(model.reconstruct(test), stack.reconstruct(test), atol=1e-5)
    np.testing.assert_allclose(model.transform(test), stack.transform(test), atol=1e-5)
    other = demo.fine_tuned(Run(quiet=True), None, x, test, 4, 0, TOY)
    assert [p.shape for p in model.parameters()] == [p.shape for p in other.parameters()]
    assert [type(a) for a in model.encoder] == [type(a) for a in other.encoder]
    small = demo.with_code_of_two(Run(quiet=True), stack, x, 6)
    assert small.machines[:-1] == stack.machines[:-1] and small.transform(test).shape == (len(test), 2)
    assert abs(other.reconstruct(test) - stack.reconstruct(test)).max() > 0.1


def test_squared_error():
    x = np.random.default_rng(0).random((5, 6))
    assert demo.squared(x, 0 * x) == pytest.approx(np.mean([np.linalg.norm(row) ** 2 for row in x]))


def test_the_claims(tmp_path, monkeypatch):
    asked = []

    def load(name, stand_in=True):
        asked.append((name, stand_in))
        return tg.data.load("glyphs")

    monkeypatch.setattr(demo, "load", load)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "both", quiet=True), claims)
    assert list(values) == claims and asked == [("mnist", False)]
    assert 0.5 < values[claims[0]] < 2 and values[claims[1]] > 1  # 20 steps are no match for 30 principal components
    again = demo.reproduce(Run.resume(tmp_path / "both", quiet=True), claims[1:])
    assert again == {claims[1]: values[claims[1]]}

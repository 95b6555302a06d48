"""The demo on stacked autoencoders writes what it says, resumes, and judges its claims on what it should."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.stacked_autoencoder")
PICTURES = ["reconstructions.png", "bound.png", "gradients.png", "filters.png", "learning.png"]


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = str(tmp_path / "stack")
    argv = ["--steps", "4", "--tune", "4", "--units", "7", "--layers", "2", "--out", out]
    scores = common.command(demo.main, argv)
    assert set(scores) == {"pre-trained", "random start"} and all(0 <= v <= 100 for v in scores.values())
    assert {p.name for p in Path(out).iterdir() if p.suffix == ".png"} == set(PICTURES)
    assert "wrong on the test part: pre-trained" in capsys.readouterr().out
    assert common.command(demo.main, ["--resume", out]) == scores


def test_the_claims_are_the_error_and_what_random_weights_cost(tmp_path, monkeypatch):
    """On digits in the place of MNIST, with few steps."""
    monkeypatch.setitem(demo.SIZES, "mnist", dict(units=9, steps=3, tune=30, labels=0, rate=1e-2))
    asked = []

    def load(name, stand_in):
        asked.append((name, stand_in))
        return tg.data.load("digits")

    monkeypatch.setattr(demo, "load", load)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path, quiet=True), claims)
    assert list(values) == claims and asked == [("mnist", False)]
    metrics = {name: tg.runs.read_metrics(tmp_path / name / "metrics.csv")["wrong"][-1] for name in ("tuned", "random")}
    assert values[claims[0]] == pytest.approx(metrics["tuned"])
    assert values[claims[1]] == pytest.approx(metrics["random"] - metrics["tuned"])


def test_the_rate_falls_anew_in_each_layer():
    stack = demo.pre_trained(Run(quiet=True), np.ones((5, 4), np.float32), units=3, layers=2, steps=4, rate=0.1)
    factor = stack.schedule.factor
    assert [round(factor(t), 3) for t in (0, 4)] == [1, 1] and factor(3) < 0.2


def test_the_classifier_starts_from_the_stack_and_random_weights_do_not():
    stack = demo.pre_trained(Run(quiet=True), np.ones((5, 4), np.float32), units=3, layers=2, steps=2, rate=0.1)
    part = np.ones((6, 4), np.float32), np.arange(6) % 3
    before = stack.ups[1].weight.numpy().copy()
    model = demo.fine_tuned(Run(quiet=True), stack, (part, part), 1, rate=1e-6)
    found = [p.numpy() for p in model.trunk.parameters()]
    np.testing.assert_allclose(found[2], before, atol=1e-5)
    assert not np.allclose(demo.untrained(stack).ups[1].weight.numpy(), before, atol=1e-3)


def test_so_many_of_each_class():
    x, y = np.arange(40)[:, None], np.arange(40) % 4
    some, labels = demo.few(x, y, 3, tg.random.Generator(0))
    assert np.bincount(labels).tolist() == [3] * 4 and (some[:, 0] % 4 == labels).all()
    assert len(demo.few(x, y, 0, tg.random.Generator(0))[0]) == 40


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data is 'cats'; digits, mnist are there"):
        demo.main(data="cats", out=str(tmp_path / "run"))


def test_the_loss_can_be_explained():
    assert "encoder.0.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

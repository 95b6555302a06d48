"""The demo of the wide net: what it writes, says, and resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import data
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
wide_net = importlib.import_module("demos.wide_net")


@pytest.fixture(scope="module")
def glyphs():
    """A few letters."""
    train, test = data.load("glyphs")
    return data.Dataset(train._replace(images=train.images[:200], labels=train.labels[:200]),
                        test._replace(images=test.images[:100], labels=test.labels[:100]))  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch, glyphs):
    monkeypatch.setattr(wide_net.data, "load", lambda name, stand_in=True: glyphs)
    monkeypatch.setattr(wide_net, "FEW", 30)
    monkeypatch.setattr(wide_net, "LONG", 150)


def test_it_draws_and_resumes(tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(wide_net.main, ["--steps", "30", "--width", "32", "--out", out])
    assert scores["by heart"] == 1 and scores["random"] < 0.3 < scores["test"]
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | {"learning.png", "by_heart.png", "made.png"}
    assert "random labels, it gives" in capsys.readouterr().out
    assert common.command(wide_net.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name(monkeypatch):
    full, asked = wide_net.trained, []
    monkeypatch.setattr(wide_net, "trained", lambda run, parts, n: asked.append(n) or full(run, parts, 3, width=8))
    names = list(wide_net.CARD["claims"])
    values = wide_net.reproduce(Run(quiet=True), names[:1])
    assert list(values) == names[:1] and asked == [20_000] and np.isfinite(values[names[0]])
    values = wide_net.reproduce(Run(quiet=True), names[1:])
    assert list(values) == names[1:] and values[names[1]] > 0.9 and values[names[2]] < 0.4
    assert "cross_entropy" in str(tg.explain(lambda: wide_net.loss(tg.random.Generator(0))))

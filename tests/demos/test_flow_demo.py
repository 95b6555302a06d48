"""The demo of the flow: what it writes, says, claims, and resumes; and that its integral is one."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.latent import Flow
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.flow")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few places and samples."""
    monkeypatch.setattr(demo, "FINE", 30)
    monkeypatch.setattr(demo, "FINER", 4)
    monkeypatch.setattr(demo, "SAMPLE", 200)


def test_it_learns_draws_and_resumes(tmp_path, capsys):
    out = tmp_path / "run"
    scores = common.command(demo.main, ["--steps", "4", "--layers", "3", "--data", "gmm4", "--out", str(out)])
    assert np.isfinite(list(scores.values())).all() and scores["nll"] == pytest.approx(scores["entropy"] + scores["kl"])
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {"density.png", "layers.png", "curve.png", "replay.html"}
    assert {p.name for p in out.iterdir()} == kept | pictures
    assert "the density integrates to" in capsys.readouterr().out
    before = {name: (out / name).read_bytes() for name in (*kept, "replay.html")}
    assert common.command(demo.main, ["--resume", str(out)]) == scores
    assert before == {name: (out / name).read_bytes() for name in before}


def test_killed_and_resumed_is_the_straight_run_with_its_replay(tmp_path, monkeypatch):
    a, *_ = demo.trained(Run(tmp_path / "a", quiet=True), "ring8", 12, layers=2)
    look = demo.look

    def until_eight(flow, mix, test, h, step):
        if step == 8:
            raise KeyboardInterrupt
        return look(flow, mix, test, h, step)

    steps = Run.steps
    monkeypatch.setattr(Run, "steps", lambda self, owner, n: steps(self, owner, n, save_every=5))
    monkeypatch.setattr(demo, "look", until_eight)
    with pytest.raises(KeyboardInterrupt):
        demo.trained(Run(tmp_path / "b", quiet=True), "ring8", 12, layers=2)
    monkeypatch.setattr(demo, "look", look)
    b, *_ = demo.trained(Run.resume(tmp_path / "b", quiet=True), "ring8", 12, layers=2)
    assert a.replay.page() == b.replay.page()
    for file in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("std", [1.0, 0.02])
def test_the_mass_of_a_gaussian_is_one(std, monkeypatch):
    """Also of one that falls through the holes of the coarse lattice."""
    monkeypatch.setattr(demo, "SAMPLE", 20_000)
    flow = Flow(2, layers=2, hidden=2, rng=tg.random.Generator(0))
    for layer in flow.generator.layers:  # s = log std for the half that is moved
        layer.reach.assign([-np.log(std) / np.tanh(1) + 1e-9] * 2)
        *_, bias = layer.net.parameters()
        bias.assign([-1.0, -1, 0, 0])
    assert flow.sample(4000, rng=tg.random.Generator(1)).std() == pytest.approx(std, rel=0.03)
    assert demo.mass(flow, (-3, 3, -3, 3), 100, 8) == pytest.approx(1, abs=2e-3)


def test_every_claim_is_reproduced_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "STEPS", 2)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "all", quiet=True), claims)
    assert list(values) == claims and np.isfinite(list(values.values())).all() and values[claims[3]] < 1e-4


def test_an_unknown_mixture_is_refused():
    with pytest.raises(ValueError, match="--data is 'cats'; ring8, grid25, gmm4 are there"):
        demo.trained(Run(quiet=True), "cats", 2)


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "generator.layers.0.net" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

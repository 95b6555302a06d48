"""The demos of the belief nets: what they write, say, claim, and resume."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demos learn scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")

common = importlib.import_module("demos.common")
belief_net = importlib.import_module("demos.belief_net")
grouped = importlib.import_module("demos.grouped_belief_net")
KEPT = {"checkpoint.safetensors", "config.json", "metrics.csv"}
FEW = dict(shares=(0.1,), folds=2, steps=30)


@pytest.fixture(autouse=True)
def small_digits(monkeypatch):
    """In the place of MNIST and of digits: 300 of these to learn from, and 64 to judge by."""
    full = grouped.load

    def few(name, stand_in=True):
        train, test = full("digits")
        return tuple(part._replace(images=part.images[:n]) for part, n in ((train, 300), (test, 64)))

    for demo in (belief_net, grouped):
        monkeypatch.setattr(demo, "load", few)
    monkeypatch.setattr(grouped, "PRUNING", FEW)


def test_the_logistic_net_learns_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(belief_net.main, ["--steps", "60", "--lr", "0.05", "--out", out])
    assert scores["test"] < scores["independent"] - 3
    pictures = {f"{name}.png" for name in ("learning", "drawing", "completions", "weights", "surprise")}
    assert {p.name for p in Path(out).iterdir()} == KEPT | pictures | {"drawing.gif"}
    assert "bits a pixel" in capsys.readouterr().out
    monkeypatch.setattr(belief_net, "pictures", lambda *given: None)
    assert common.command(belief_net.main, ["--resume", out]) == scores


def test_stages_show_pixels_in_their_order():
    net = belief_net.LogisticBeliefNet(4, rng=tg.random.Generator(0))
    seen = belief_net.stages(net, 3, tg.random.Generator(1), 2)
    assert seen.shape == (3, 3, 2, 2) and np.isnan(seen[0]).all() and not np.isnan(seen[2]).any()
    assert np.isnan(seen[1][:, 1]).all() and not np.isnan(seen[1][:, 0]).any()


def test_the_grouped_net_learns_is_pruned_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(grouped.main, ["--data", "digits", "--steps", "40", "--out", out])
    assert scores["grouped"] < scores["logistic"] and 0 < scores["kept"] <= 1
    names = ("compared", "samples", "completions", "links", "masks", "pruning", "digits")
    assert {p.name for p in Path(out).iterdir()} == KEPT | {f"{name}.png" for name in names} | {"logistic"}
    assert "at its best step" in capsys.readouterr().out
    monkeypatch.setattr(grouped, "pictures", lambda *given: None)
    assert common.command(grouped.main, ["--resume", out]) == scores


def test_the_derivatives_say_what_an_output_sees(monkeypatch):
    monkeypatch.setattr(grouped, "LEVELS", 3)
    net = grouped.GroupedBeliefNet((3,) * 5, rng=tg.random.Generator(0))
    net.W.assign(np.random.default_rng(0).normal(size=net.W.shape))
    seen = grouped.sensitivity(net, np.ones((2, 5)))
    assert (np.triu(seen) == 0).all() and (seen[np.tril_indices(5, -1)] > 0).all()


@pytest.mark.parametrize("demo", [belief_net, grouped])
def test_claims_are_reproduced_by_name(tmp_path, monkeypatch, demo):
    full = demo.trained if demo is belief_net else demo.compared
    if demo is belief_net:
        monkeypatch.setattr(demo, "trained", lambda run, steps, **options: full(run, 5, **options))
    else:
        monkeypatch.setattr(demo, "compared", lambda run, data, **options: full(run, data, 5, **options))
    values = demo.reproduce(Run(tmp_path, quiet=True), demo.CARD["claims"])
    assert list(values) == list(demo.CARD["claims"]) and np.isfinite(list(values.values())).all()


@pytest.mark.parametrize("demo", [belief_net, grouped])
def test_the_card_is_a_literal_and_the_model_is_tiny(device, demo):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    model, x = demo.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.rng.device == device and np.isfinite(model.score_samples(x)).all()
    assert np.isfinite(float(demo.loss(tg.random.Generator(0, device=device))))

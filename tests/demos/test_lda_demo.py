"""The demo of latent Dirichlet allocation: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo reads scikit-learn's digits and descriptions")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
lda = importlib.import_module("demos.lda")


def test_it_finds_topics_draws_and_resumes(tmp_path, capsys, monkeypatch):
    full = lda.smallest_rise
    monkeypatch.setattr(lda, "smallest_rise", lambda problems: full(2))
    for name, smaller in (("climbs", ()), ("strokes", (60,)), ("described", ())):  # see below
        picture = getattr(lda, name)
        monkeypatch.setattr(lda, name, lambda *given, smaller=smaller, picture=picture:
                            picture(*smaller, given[-1]) if smaller else lda.plot.figure(1, 1))  # fmt: skip
    out = str(tmp_path / "run")
    flags = {"documents": "300", "words": "60", "starts": "2", "steps": "20", "out": out}
    scores = common.command(lda.main, ["--quick", *(part for k, v in flags.items() for part in (f"--{k}", v))])
    assert scores["rise"] > -1e-9 and 10 < scores["test"] < 25 and 0 <= scores["found"] <= 10
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {f"{name}.png" for name in ("model", "bars", "bound", "documents", "digits", "words")}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "of 10 topics found" in capsys.readouterr().out
    monkeypatch.setattr(lda, "pictures", lambda *given: None)
    assert common.command(lda.main, ["--resume", out]) == scores


def test_where_an_e_step_begins_matters():
    truth = lda.planted(lda.bars(3), 0.1)
    x = np.pad(truth.sample(200, 50, rng=tg.random.Generator(0)), ((0, 0), (0, 16)))
    both, stuck = (lda.bounds(x, name, truth, 0, 25) for name in ("both starts", "where the last one stopped"))
    assert both[-1] > stuck[-1] + 1 and min(np.diff(both)) > -1e-9 and min(np.diff(stuck)) > -1e-9


def test_topics_of_words_are_drawn():
    assert len(lda.described(0, 1, K=3, top=4).axes) == 3 + 2  # topics, the table and its scale
    x, names, owners = lda.descriptions()
    assert x.shape == (len(owners), len(names)) and x.sum(0).min() >= 4 and "iris" in owners and "wine" in names


def test_planted_topics_are_matched():
    topics = lda.bars()
    np.testing.assert_allclose(topics.sum(1), 1)
    apart, order = lda.matched(topics, topics[::-1])
    assert apart.max() == 0 and order.tolist() == list(range(9, -1, -1))
    words = lda.dictionary(200, 4)
    np.testing.assert_allclose(words.sum(1), 1)
    assert words.min() > 0 and words[:, :20].sum() > words[:, -20:].sum()


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    full = lda.smallest_rise
    monkeypatch.setattr(lda, "smallest_rise", lambda problems: full(4, 5))
    monkeypatch.setattr(lda, "beside_scikit_learn", lambda: 1.0)
    values = lda.reproduce(Run(tmp_path, quiet=True), lda.CARD["claims"])
    assert list(values) == list(lda.CARD["claims"])
    found, ratio, rise = values.values()
    assert found == 10 and ratio == 1.0 and rise > -1e-9


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(lda.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == lda.CARD
    model, x = lda.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.weights.device == device and np.isfinite(model.elbo(x)).all()

"""The demo of Gaussian mixtures: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo looks at scikit-learn's irises")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
gmm = importlib.import_module("demos.gmm")


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch):
    full = gmm.criteria
    monkeypatch.setattr(gmm, "criteria", lambda x, test, most, n_init: full(x, test, 3, 1))
    monkeypatch.setattr(gmm, "smallest_rise", lambda problems: 0.0)  # see below
    out = str(tmp_path / "run")
    flags = {"points": "300", "steps": "30", "components": "3", "out": out}
    scores = common.command(gmm.main, ["--quick", *(part for k, v in flags.items() for part in (f"--{k}", v))])
    assert scores["deviation"] < 1e-9 and -5 < scores["test"] < scores["train"] < -4
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv", "em.gif"}
    pictures = {f"{name}.png" for name in ("filmstrip", "bound", "kinds", "bic", "pitfalls", "petals")}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "largest deviation from scikit-learn" in capsys.readouterr().out
    monkeypatch.setattr(gmm, "pictures", lambda *given: None)
    assert common.command(gmm.main, ["--resume", out]) == scores


def test_the_animation_moves(tmp_path):
    from PIL import Image

    x = np.random.default_rng(0).normal(size=(50, 2))
    frames = gmm.film(gmm.by_chance(x, 2), x, 6)
    assert [t for t, *_ in frames] == list(range(7)) and gmm.selected(frames, 3)[-1] is frames[-1]
    gmm.animate(tmp_path / "em.gif", x, frames)
    with Image.open(tmp_path / "em.gif") as picture:
        assert picture.n_frames == 7 and picture.size == (320, 320)


@pytest.mark.parametrize("kind", gmm.KINDS)
def test_covariances_of_any_kind_are_drawn_as_matrices(kind):
    x = np.random.default_rng(0).normal(size=(50, 2))
    model = gmm.by_chance(x, 3, kind)
    assert gmm.spread(model).shape == (3, 2, 2)
    np.testing.assert_allclose(gmm.spread(model), np.broadcast_to(x.var(0).mean() * np.eye(2), (3, 2, 2)))


def test_petals_are_told_apart_by_their_width():
    x, species = gmm.petal_widths()
    assert x.shape == species.shape == (100,) and sum(species) == 50


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    full = gmm.smallest_rise
    monkeypatch.setattr(gmm, "smallest_rise", lambda problems: full(16, 10))
    values = gmm.reproduce(Run(tmp_path, quiet=True), gmm.CARD["claims"])
    assert list(values) == list(gmm.CARD["claims"])
    deviation, rise = values.values()
    assert 0 < deviation < 1e-6 and rise > -1e-9


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(gmm.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == gmm.CARD
    model, x = gmm.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.means.device == device and np.isfinite(model.score_samples(x)).all()

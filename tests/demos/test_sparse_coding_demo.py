"""The demo of sparse coding: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.latent import sparse_coding as chapter
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo measures itself against scikit-learn")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
sparse_coding = importlib.import_module("demos.sparse_coding")


@pytest.fixture(autouse=True)
def drawn_faces(monkeypatch):
    """Steps of grey in place of photographs."""

    class Part:
        images = (np.random.default_rng(0).uniform(size=(30, 1, 8, 8))).repeat(3, 2).repeat(3, 3)

    monkeypatch.setattr(sparse_coding.data, "load", lambda name: type("Set", (), {"train": Part}))


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch):
    for name in ("ratios", "excess"):  # see below
        monkeypatch.setattr(sparse_coding, name, lambda *given: 0.0)
    out = str(tmp_path / "run")
    flags = ["--patches", "300", "--steps", "4", "--atoms", "20", "--alpha", "0.3", "--out", out]
    scores = common.command(sparse_coding.main, flags)
    assert 0 < scores["used"] < 20 and 0 < scores["missed"] < 0.6
    pictures = {f"{name}.png" for name in ("atoms", "patches", "learning", "few")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "atoms in a code" in capsys.readouterr().out
    monkeypatch.setattr(sparse_coding, "pictures", lambda *given: None)
    assert common.command(sparse_coding.main, ["--resume", out]) == scores


def test_patches_have_no_mean_and_unit_variance():
    x, raw = sparse_coding.cut(50)
    assert x.shape == raw.shape == (50, 64)
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-12)
    assert x.std() == pytest.approx(1)


def test_fista_overtakes_ista():
    x, W = np.random.default_rng(0).normal(size=(20, 6)), np.random.default_rng(1).normal(size=(9, 6))
    paths = sparse_coding.descents(x, W, 0.3, 60)
    best = chapter.objective(x, chapter.encode(x, W, 0.3, tol=1e-12), W, 0.3).sum()
    assert paths["ISTA"][-1] >= paths["FISTA, begun anew"][-1] >= best * (1 - 1e-12)
    assert (np.diff(paths["ISTA"]) <= 1e-12).all()


def test_refitting_a_support_is_least_squares():
    x, W = np.random.default_rng(0).normal(size=(3, 6)), np.random.default_rng(1).normal(size=(9, 6))
    h = np.zeros((3, 9))
    h[0, [1, 4]] = 1
    found = sparse_coding.refitted(x, h, W)
    assert (found[1:] == 0).all() and abs(W[[1, 4]] @ (x[0] - found[0])).max() < 1e-10


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    full = sparse_coding.ratios
    monkeypatch.setattr(sparse_coding, "ratios", lambda starts, n: full(1, 150))
    values = sparse_coding.reproduce(Run(tmp_path, quiet=True), sparse_coding.CARD["claims"])
    assert list(values) == list(sparse_coding.CARD["claims"])
    ratio, excess = values.values()
    assert 0.9 < np.median(ratio) < 1.05 and excess <= 1e-6


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(sparse_coding.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == sparse_coding.CARD
    model, x = sparse_coding.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.atoms.device == device and np.isfinite(model.transform(x)).all()

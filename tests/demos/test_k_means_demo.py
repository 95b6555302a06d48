"""The demo of k-means: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo compares with scikit-learn")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
k_means = importlib.import_module("demos.k_means")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """No real files, few images and problems."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setattr(k_means, "IMAGES", 200)
    for name in ("excess", "largest_rise"):
        full = getattr(k_means, name)
        monkeypatch.setattr(k_means, name, lambda problems, full=full: full(min(problems, 5)))


def test_it_sorts_draws_and_resumes(tmp_path, capsys, monkeypatch, small):
    for name in ("starts", "how_many"):
        full = getattr(k_means, name)
        monkeypatch.setattr(
            k_means, name, lambda *given, full=full: full(2) if len(given) == 1 else full(given[0], 3, 1)
        )
    out = str(tmp_path / "run")
    scores = common.command(k_means.main, ["--quick", "--clusters", "4", "--steps", "30", "--out", out])
    assert scores["excess"] < 1e-9 and scores["rise"] < 1e-9 and scores["inertia"] > 0
    assert 0.2 < scores["purity"] <= 1 and 0 < scores["estranged"] <= 1
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {f"{name}.png" for name in ("filmstrip", "starts", "how_many", "limit", "centres", "pixels")}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "in a heap of their own class" in capsys.readouterr().out
    monkeypatch.setattr(k_means, "pictures", lambda *given: None)
    assert common.command(k_means.main, ["--resume", out]) == scores


def test_images_are_moved_and_measured():
    images = np.zeros((3, 4, 5))
    images[0, 1, 1] = images[1, 2, 2] = images[2, 1, 3] = 1
    there = k_means.shifted(images, 1, 2)
    assert there[0, 2, 3] == there[1, 3, 4] == 1 and there.sum() == 2  # the last has left the picture
    np.testing.assert_array_equal(k_means.shifted(there, -1, -2)[:2], images[:2])
    away, apart = k_means.moved(images, np.array([0, 0, 1]))
    np.testing.assert_allclose(away, [2, 2, 1])
    np.testing.assert_allclose(apart, [2, 2, 2])


def test_purity_counts_the_commonest_class():
    assert k_means.purity(np.array([0, 0, 0, 1, 1]), np.array([7, 7, 2, 3, 3])) == 0.8


def test_claims_are_reproduced_by_name(tmp_path, small):
    values = k_means.reproduce(Run(tmp_path, quiet=True), k_means.CARD["claims"])
    assert list(values) == list(k_means.CARD["claims"])
    excess, rise, estranged = values.values()
    assert excess < 1e-9 and rise < 1e-9 and 0 < estranged <= 1


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(k_means.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == k_means.CARD
    model, x = k_means.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.centres.device == device and np.isfinite(model.transform(x)).all()

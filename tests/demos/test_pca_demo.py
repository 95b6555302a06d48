"""The demo of PCA: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.latent import PCA
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo looks at scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
pca = importlib.import_module("demos.pca")


@pytest.fixture
def small(monkeypatch):
    """A few small faces in place of 400."""

    class Part:
        def __init__(self, n, seed):
            self.labels = np.arange(n) % 8
            draw = np.random.default_rng(0).uniform(size=(8, 1, 16, 16))
            self.images = (draw[self.labels] + 0.1 * np.random.default_rng(seed).normal(size=(n, 1, 16, 16))).clip(0, 1)

    real = pca.data.load
    monkeypatch.setattr(pca.data, "load", lambda name: (Part(72, 1), Part(80, 2)) if name == "olivetti" else real(name))


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch, small):
    out = str(tmp_path / "run")
    scores = common.command(pca.main, ["--quick", "--components", "7", "--out", out])
    assert scores["deviation"] < 1e-9 and 0.9 * scores["possible"] < scores["explained"] <= scores["possible"] + 1e-9
    assert scores["recognised"] > 0.9 > scores["moved"]
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    names = ("scree", "eigenfaces", "reconstructions", "classes", "samples", "failures", "moved", "factors")
    assert {p.name for p in Path(out).iterdir()} == kept | {f"{name}.png" for name in names}
    assert "largest deviation from scikit-learn" in capsys.readouterr().out
    monkeypatch.setattr(pca, "pictures", lambda *given: None)
    assert common.command(pca.main, ["--resume", out]) == scores


def test_faces_are_moved_and_lit():
    x = np.arange(16.0).reshape(1, 16) / 16
    moved = pca.shifted(x, 2).reshape(4, 4)
    np.testing.assert_array_equal(moved, x.reshape(4, 4)[:, [0, 0, 0, 1]])
    lit = pca.lamp(x, 0.5).reshape(4, 4)
    np.testing.assert_allclose(
        lit, x.reshape(4, 4) * np.array([0.5, 1 - 0.5 / 3, 1 + 0.5 / 3, 1.5]).clip(0, 2), atol=0.41
    )
    assert lit[1, 0] == x[0, 4] / 2 and lit.max() <= 1


def test_lighting_explains_what_is_lighting():
    draw = np.random.default_rng(0)
    t = np.tile(np.linspace(-1, 1, 8), 8)
    pattern = np.zeros(64)
    pattern[27], pattern[28], pattern[35], pattern[36] = 1, -1, -1, 1  # of mean and slopes 0
    x = draw.normal(size=(90, 1)) + 0.5 * draw.normal(size=(90, 1)) * t + 0.9 * draw.normal(size=(90, 1)) * pattern
    found = pca.lighting(PCA(64, 3).fit(x), x)
    np.testing.assert_allclose(found, [1, 1, 0], atol=0.15)


def test_claims_are_reproduced_by_name(tmp_path, small):
    values = pca.reproduce(Run(tmp_path, quiet=True), pca.CARD["claims"])
    assert list(values) == list(pca.CARD["claims"])
    deviation, moved, lighting = values.values()
    assert deviation < 1e-6 and 0 <= moved < 1 and 0 <= lighting <= 1


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(pca.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == pca.CARD
    model, x = pca.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.components.device == device

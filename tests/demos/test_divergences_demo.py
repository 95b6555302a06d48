"""The demo of divergences: what it writes, says, resumes and claims."""

import ast
import importlib
import math
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
divergences = importlib.import_module("demos.divergences")


@pytest.fixture
def small(monkeypatch):
    """Fewer random laws, and short descents for the pictures."""
    for name, n in (("from_scipy", 10), ("from_energy", 10), ("bounds", 200)):
        full = getattr(divergences, name)
        monkeypatch.setattr(divergences, name, lambda given, full=full, n=n: full(n))
    full_fits = divergences.fits
    monkeypatch.setattr(divergences, "fits", lambda steps, lr: full_fits(30, lr))


def test_it_fits_draws_and_resumes(tmp_path, capsys, small, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(divergences.main, ["--quick", "--steps", "1500", "--out", out])
    assert scores["mean"] == pytest.approx(scores["true mean"], abs=0.05)
    assert scores["std"] == pytest.approx(scores["true std"], rel=0.05)
    assert max(scores["scipy"], scores["energy"], scores["closed"]) < 1e-6
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {"fits.png", "boxes.png", "triangles.png", "samples.png"}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "deviation from SciPy" in capsys.readouterr().out
    monkeypatch.setattr(divergences, "pictures", lambda *given: None)
    assert common.command(divergences.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name_and_met(small):
    claims = divergences.CARD["claims"]
    values = divergences.reproduce(Run(quiet=True), list(claims))
    assert list(values) == list(claims)
    assert all(value <= float(claims[name]["bar"].split()[1]) for name, value in values.items())


def test_a_wrong_divergence_would_show(small, monkeypatch):
    """The planted errors: a Cramer distance without its half, a Jensen-Shannon divergence that is too large."""
    cramer, js, kl = divergences.D.cramer, divergences.D.js, divergences.D.kl
    monkeypatch.setattr(divergences.D, "cramer", lambda *given: 2 * cramer(*given))
    assert divergences.from_energy(10) > 1e-3
    monkeypatch.setattr(divergences.D, "js", lambda *given: 1.001 * js(*given))
    assert divergences.from_scipy(10)[1] > 1e-6
    monkeypatch.setattr(divergences.D, "kl", lambda *given: 1.001 * kl(*given))
    low, high, way = divergences.bounds(200)
    assert high > 1e-4 and low == 0 and math.isfinite(way)


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(divergences.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == divergences.CARD
    assert np.isfinite(divergences.loss(tg.random.Generator(0)).item())
    assert str(tg.explain(lambda: divergences.loss(tg.random.Generator(0))))

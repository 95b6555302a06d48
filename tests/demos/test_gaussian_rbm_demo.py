"""The demo draws what it says, reports weights that explode, and resumes; the claims compute what their names say."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.gaussian_rbm")
PICTURES = ["filters.png", "chains.png", "reconstructions.png", "curves.png", "likelihood.png", "rates.png",
            "plane.png"]  # fmt: skip


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Small machines, trained for moments."""
    for name, value in dict(SHORT=20, FEW=3, WALK=(1, 2, 3)).items():
        monkeypatch.setattr(demo, name, value)


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = str(tmp_path / "rbm")
    scores = common.command(demo.main, ["--steps", "20", "--hidden", "12", "--seed", "3", "--out", out])
    assert np.isfinite(list(scores.values())).all() and 0 < scores["unexplained"] < 1.5
    assert sorted(p.name for p in Path(out).iterdir()) == sorted(
        [*PICTURES, "checkpoint.safetensors", "config.json", "metrics.csv"]
    )
    said = capsys.readouterr().out
    assert "of 12 dead" in said and "rate 3 times the variance: GaussianRBM: the weights have exploded" in said
    assert "rate 0.01 times the variance: learnt; largest weight" in said
    assert common.command(demo.main, ["--resume", out]) == scores


def test_patches_are_standardised_by_the_training_part():
    train, test = demo.patches()
    assert train.shape == (10_000, demo.SIDE**2) and test.shape == (2000, demo.SIDE**2)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(train.std(0), 1, rtol=1e-4)
    assert 0.01 < abs(test.mean()) + abs(test.std() - 1) < 1  # other people, near but not the same


def test_gaussians_by_scipy():
    r = np.random.default_rng(0)
    train, test = r.normal(size=(50, 3)) @ r.normal(size=(3, 3)), r.normal(size=(9, 3))
    c = np.cov(train.T)
    expected = [scipy.stats.multivariate_normal(train.mean(0), k).logpdf(test).mean() for k in (np.diag(np.diag(c)), c)]
    np.testing.assert_allclose(list(demo.gaussians(train, test).values()), expected)


def test_the_claims(monkeypatch):
    monkeypatch.setattr(demo, "load", lambda name, stand_in=True: tg.data.load(name))
    monkeypatch.setattr(demo, "integral_gap", lambda seed, full=demo.integral_gap: full(seed, steps=20, points=120))
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(quiet=True), claims)
    assert list(values) == claims and max(values[claims[0]]) < 1e-6 and len(values[claims[0]]) == 3
    assert -100 < min(values[claims[1]]) and len(set(values[claims[1]])) == 3
    monkeypatch.setattr(demo.GaussianRBM, "log_z", lambda self: 0.0)
    assert min(demo.reproduce(Run(quiet=True), claims[:1])[claims[0]]) > 1  # so that the claim can fail

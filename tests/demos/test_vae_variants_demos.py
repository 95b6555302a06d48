"""The demos of the β-VAE, the perceptual loss and inverse graphics: what they draw, measure, write and resume."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.data import Dataset, Labelled
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")

common = importlib.import_module("demos.common")
beta_vae = importlib.import_module("demos.beta_vae")
inverse_graphics = importlib.import_module("demos.inverse_graphics")
perceptual = importlib.import_module("demos.perceptual")


@pytest.fixture
def small(monkeypatch):
    """Few pictures, and random ones in the place of MNIST."""
    for demo, constants in {
        beta_vae: dict(TRAIN=200, TEST=80, VOTES=20, PAIRS=2),
        inverse_graphics: dict(GROUPS=20, TEST=250, STEPS=3),
        perceptual: dict(IMAGES=(100, 100), LESSONS=2, STEPS=2),
    }.items():
        for name, value in constants.items():
            monkeypatch.setattr(demo, name, value)
    images = tg.random.Generator(0).uniform((200, 1, 28, 28))
    part = Labelled(images, np.arange(200) % 10)
    monkeypatch.setattr(perceptual, "load", lambda name, stand_in: Dataset(part, part))


def written(folder):
    return {path.name for path in Path(folder).iterdir()}


def test_the_ellipses_are_what_they_are_drawn_from():
    v = inverse_graphics.scenes(100)
    np.testing.assert_allclose(inverse_graphics.measured(beta_vae.ellipses(v)), v, atol=0.02)
    small = beta_vae.factors(100)
    np.testing.assert_allclose(inverse_graphics.measured(beta_vae.ellipses(small))[:, :2], small[:, :2], atol=0.01)


def test_in_a_group_one_factor_changes():
    x, changing = inverse_graphics.grouped(8)
    v = inverse_graphics.measured(x).reshape(8, inverse_graphics.GROUP, 4)
    spread = v.std(1) / inverse_graphics.scenes(100).std(0)
    np.testing.assert_array_equal(spread.argmax(1), changing)
    assert (np.sort(spread, 1)[:, 2] < 0.1).all()


def test_pairs_share_one_factor(small):
    one, other, j = beta_vae.shared_pairs()
    gaps = np.abs(inverse_graphics.measured(one) - inverse_graphics.measured(other))[:, :2]  # of x and of y
    gaps = gaps.reshape(len(j), beta_vae.PAIRS, 2).max(1)
    assert (gaps[j == 0, 0] < 0.02).all() and (gaps[j == 1, 1] < 0.02).all() and gaps[j > 1].mean() > 0.1


def test_beta_vae_counts_what_has_collapsed_and_resumes(small, tmp_path, capsys):
    out = str(tmp_path / "run")
    flags = ["--betas", "0.5,4", "--steps", "20", "--hidden", "8", "--latent", "3", "--seeds", "2", "--out", out]
    scores = common.command(beta_vae.main, flags)
    assert 0 <= scores["gap@4"] <= 1 and 0 <= scores["in use@4"] <= 3 and np.isfinite(list(scores.values())).all()
    pictures = {"scores.png", "information.png", "reconstructions.png", "traversals-0.5.png", "traversals-4.png"}
    parts = {"beta-0.5-0", "beta-0.5-1", "beta-4-0", "beta-4-1", "budget-0"}
    assert written(out) == pictures | parts | {"config.json"}
    assert "of 3 entries, the others have collapsed" in capsys.readouterr().out
    assert common.command(beta_vae.main, ["--resume", out]) == scores


def test_inverse_graphics_is_measured_and_resumes(small, tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(inverse_graphics.main, ["--steps", "5", "--hidden", "8", "--out", out])
    assert all(0 <= value <= 1 for value in scores.values())
    assert written(out) == {
        *("groups.png", "correlations.png", "traversals.png", "moves.png", "aligned-1", "plain", "config.json")
    }
    assert "moving a unit changes" in capsys.readouterr().out
    assert common.command(inverse_graphics.main, ["--resume", out]) == scores


def test_perceptual_is_judged_by_another_and_resumes(small, tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(perceptual.main, ["--steps", "2", "--hidden", "8", "--lessons", "2", "--out", out])
    assert scores["squared error, originals"] == 0 and scores["sharpness, originals"] > 0
    assert written(out) == {
        *("reconstructions.png", "samples.png", "features.png", "blur.png", "sharpness.png"),
        *("weight-0-0", "dearer", f"weight-{perceptual.WEIGHT:g}-0", "config.json"),
    }
    assert "pixels and features: right" in capsys.readouterr().out
    assert common.command(perceptual.main, ["--resume", out]) == scores


@pytest.mark.parametrize("demo", [beta_vae, inverse_graphics, perceptual])
def test_claims_are_reproduced_by_name(demo, small, tmp_path, monkeypatch):
    full = demo.trained

    def short(run, x, *rest, **options):
        *rest, _ = rest
        return full(run, x, *rest, 2, **options)

    monkeypatch.setattr(demo, "trained", short)
    names = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "claims", quiet=True), names[-1:])
    assert list(values) == names[-1:] and np.isfinite(np.atleast_1d(list(values.values())[0])).all()


@pytest.mark.parametrize("demo", [beta_vae, inverse_graphics, perceptual])
def test_the_losses_can_be_explained(demo):
    assert "encoder.body.0.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

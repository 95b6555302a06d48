"""The demo of Bayesian inference: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.latent import bayes
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo weighs scikit-learn's irises")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.bayes")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A coarse lattice, still fine enough for the posteriors."""
    monkeypatch.setattr(demo, "CELLS", 100)


def test_it_infers_draws_and_resumes(tmp_path, capsys, monkeypatch):
    walked = demo.walked
    monkeypatch.setattr(demo, "walked", lambda name, steps: walked(name, min(steps, 5)))
    out = tmp_path / "run"
    scores = common.command(demo.main, ["--steps", "20", "--out", str(out)])
    assert np.isfinite(list(scores.values())).all() and scores["coin"] < 1e-6
    folders = {name.replace(" ", "-") for name in demo.METHODS}
    pictures = {f"{name}.png" for name in ("coin", "posterior", "curves", "walks", "chains", "elbo")}
    assert {p.name for p in out.iterdir()} == folders | pictures | {"config.json"}
    assert "worth draws" in capsys.readouterr().out
    monkeypatch.setattr(demo, "pictures", lambda *given: None)
    assert common.command(demo.main, ["--resume", str(out)]) == scores  # nothing is computed anew


def test_the_doses_are_those_of_the_paper():
    """Its posterior mode with a flat prior is its maximum likelihood, about (0.8, 7.7) in the literature."""
    _, (x, y) = demo.dose()
    assert x.shape == (20, 2) and y.sum() == demo.DEATHS.sum() == 9
    flat = bayes.Logistic(2, prior_std=1e6)
    theta = np.stack(np.meshgrid(np.linspace(0, 2, 101), np.linspace(4, 12, 161)), -1).reshape(-1, 2)
    np.testing.assert_allclose(theta[flat.log_joint(theta, x, y).argmax()], [0.85, 7.75], atol=0.1)


def test_lattices_reach_far_enough():
    for name in ("dose", "sepals"):
        _, theta, log_joint, cell = demo.lattice_of(name)
        w = np.exp(log_joint - log_joint.max()).reshape(demo.CELLS, demo.CELLS)
        edge = max(w[0].max(), w[-1].max(), w[:, 0].max(), w[:, -1].max())
        assert edge < 1e-6


def test_every_claim_is_reproduced_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "STEPS", 30)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "all", quiet=True), claims)
    assert list(values) == claims and np.isfinite(list(values.values())).all()
    assert demo.reproduce(Run(tmp_path / "one", quiet=True), claims[3:4]) == {claims[3]: values[claims[3]]}


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "family.mu" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

"""The demo writes what it says and resumes; the claims compute what their names say."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.energy import RBM
from tinygen.models.energy.annealed_importance_sampling import Estimate
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.rbm")
PICTURES = ["filters.png", "chains.png", "energies.png", "reconstructions.png", "curves.png", "likelihood.png",
            "annealing.png"]  # fmt: skip
TOY = dict(few=4, chain=3, path=20, digits=60, stripes=60)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Short chains and paths."""
    monkeypatch.setattr(demo, "FULL", TOY)
    monkeypatch.setattr(demo, "QUICK", TOY)
    monkeypatch.setattr(demo, "EVALUATIONS", 3)


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = str(tmp_path / "rbm")
    scores = common.command(demo.main, ["--steps", "20", "--hidden", "12", "--seed", "3", "--out", out])
    assert np.isfinite(list(scores.values())).all() and -45 < scores["test"] < -15 and scores["gap"] < 1
    assert sorted(p.name for p in Path(out).iterdir()) == sorted(
        [*PICTURES, "checkpoint.safetensors", "config.json", "metrics.csv"]
    )
    assert "test set, nats an image: -" in capsys.readouterr().out
    before = {name: (tmp_path / "rbm" / name).read_bytes() for name in ("metrics.csv", "checkpoint.safetensors")}
    assert common.command(demo.main, ["--resume", out]) == scores
    assert before == {name: (tmp_path / "rbm" / name).read_bytes() for name in before}


def test_mnist_is_drawn_anew_for_learning_and_once_for_judging(monkeypatch):
    monkeypatch.setattr(demo, "load", lambda name, stand_in: tg.data.load("glyphs"))
    train, test = demo.images("mnist")
    assert not set(np.unique(train)) <= {0, 1} and set(np.unique(test)) == {0, 1}


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data is 'cats'; digits, mnist"):
        demo.main(data="cats", out=str(tmp_path / "cats"))


def test_bars_and_stripes():
    x = demo.bars_and_stripes()
    assert len(x) == len(np.unique(x, axis=0)) == 30
    for image in x.reshape(-1, 4, 4):
        assert (image == image[0]).all() or (image.T == image.T[0]).all()


def test_the_claim_about_twenty_hidden_units(monkeypatch):
    claim = next(iter(demo.CARD["claims"]))
    values = demo.reproduce(Run(quiet=True), [claim])
    assert list(values) == [claim] and len(values[claim]) == 3 and max(values[claim]) < 1
    monkeypatch.setattr(demo.ais, "log_partition", lambda *_, **__: Estimate(0.0, np.zeros(2)))
    assert min(demo.reproduce(Run(quiet=True), [claim])[claim]) > 10  # so that the claim can fail


def test_the_claims_about_the_published_machine(monkeypatch, capsys):
    """On a machine without weights, which is the base of the path itself, so that every estimate is exact."""
    letters = tg.data.load("glyphs").train.images.reshape(-1, 784)
    rbm = RBM(784, 500, rng=tg.random.Generator(0)).start_at(letters)
    bias = rbm.visible_bias.numpy()
    parameters = {"weight": rbm.weight.numpy() * 0, "visible_bias": bias, "hidden_bias": rbm.hidden_bias.numpy()}
    monkeypatch.setattr(demo, "load_parameters", lambda name: parameters)
    monkeypatch.setattr(demo, "load", lambda name, stand_in: tg.data.load("glyphs"))
    monkeypatch.setattr(demo, "published", lambda published=demo.published: published(path=3))
    claims = [claim for claim in demo.CARD["claims"] if "published" in claim]
    values = demo.reproduce(Run(quiet=True), claims)
    log_z = 500 * np.log(2) + np.log1p(np.exp(bias)).sum()
    assert values[claims[0]] == pytest.approx(abs(log_z - 451.28), abs=0.01)
    assert list(values) == claims and values[claims[1]] > 100
    assert f"log Z {log_z:.2f}" in capsys.readouterr().out
    assert demo.reproduce(Run(quiet=True), claims[1:]) == {claims[1]: values[claims[1]]}


def test_the_claims_about_the_trained_table(tmp_path, monkeypatch, capsys):
    """On letters: a folder for each machine, from which a second call takes it; the gap is between intervals."""
    monkeypatch.setattr(demo, "load", lambda name, stand_in: tg.data.load("glyphs"))
    monkeypatch.setattr(demo, "UPDATES", {"some": 4, "long": 8, "longer": 12})
    claims = [c for c in demo.CARD["claims"] if "published" not in c and "20 hidden" not in c]
    values = demo.reproduce(Run(tmp_path / "table", quiet=True), claims)
    assert list(values) == claims and len(claims) == 7
    assert (tmp_path / "table" / "machines.png").exists()
    found = [values[claim] for claim in claims[:3]]
    assert values[demo.GAPS] < min(np.diff(found)) and max(found) < -100
    assert capsys.readouterr().out.count("of 500 dead") == 6
    weights = [tg.load(tmp_path / "table" / kind / "checkpoint.safetensors")["owner"]["weight"] for kind in demo.TABLE]
    assert len({np.asarray(w).tobytes() for w in weights}) == 6
    monkeypatch.setattr(RBM, "update", lambda *_: pytest.fail("what is trained is not trained again"))
    assert demo.reproduce(Run.resume(tmp_path / "table", quiet=True), claims) == values


def test_gibbs_steps_rise():
    steps = [demo.rising(t) for t in range(demo.UPDATES["longer"])]
    assert steps[0] == 1 and steps[-1] == 25 and (np.diff(steps) >= 0).all()


def test_the_loss_can_be_explained():
    assert "weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

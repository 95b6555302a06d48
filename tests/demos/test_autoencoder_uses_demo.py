"""The demo on the uses of codes writes what it says, and its claims are the figures that they name."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.autoencoder_uses")
PICTURES = ["labels.png", "similar.png", "clusters.png", "map.png", "roll.png"]


@pytest.fixture
def small(monkeypatch):
    """A toy size."""
    sizes = dict(hidden=(9,), code=4, steps=4, tune=3)
    monkeypatch.setattr(demo, "SIZES", {"digits": sizes, "mnist": sizes})
    monkeypatch.setattr(demo, "LABELS", (1, 2, 3))
    monkeypatch.setattr(demo, "SEEDS", 2)
    monkeypatch.setattr(demo, "ROLL_STEPS", 4)
    unroll = demo.unroll
    monkeypatch.setattr(demo, "unroll", lambda run, **options: unroll(run, points=150, **options))


def test_demo_from_the_command_line_and_resumed(tmp_path, small):
    out = str(tmp_path / "uses")
    scores = common.command(demo.main, ["--quick", "--out", out])
    assert np.isfinite(list(scores.values())).all()
    assert {p.name for p in Path(out).iterdir() if p.suffix == ".png"} == set(PICTURES)
    assert common.command(demo.main, ["--resume", out]) == scores


def test_each_claim_is_the_figure_it_names(tmp_path, small, monkeypatch):
    asked = []

    def load(name, stand_in=True):
        asked.append((name, stand_in))
        return tg.data.load(name if name == "swiss_roll" else "digits")

    monkeypatch.setattr(demo, "load", load)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "all", quiet=True), claims)
    assert list(values) == claims and len(values[claims[0]]) == 2
    assert asked[:2] == [("mnist", False), ("notmnist", False)]  # no claim is judged by a stand-in
    (x, y), (x_test, y_test) = demo.in_rows(tg.data.load("digits"))
    ae = demo.trained(Run(quiet=True), x, "mnist", 4)
    found = demo.found_precision(ae, x, y, x_test, y_test)
    assert values[claims[2]] == pytest.approx(found["codes"] - found["pixels"])
    alone = demo.reproduce(Run(tmp_path / "roll", quiet=True), claims[-1:])
    assert list(alone) == claims[-1:] and asked[-1][0] == "swiss_roll"
    assert alone[claims[-1]] == pytest.approx(values[claims[-1]])


def test_classifiers_start_from_what_they_are_named_for(small):
    x = np.random.default_rng(0).uniform(size=(30, 6)).astype(np.float32)
    ae = demo.trained(Run(quiet=True), x, "digits", 2)
    learnt = ae.encoder[0].weight.numpy()
    nets = {trunk: demo.on_top(ae, trunk, x, 3, seed=0) for trunk in ("pixels", "both", "code", "random")}
    assert [net.out.weight.shape[1] for net in nets.values()] == [6, 10, 4, 4]
    np.testing.assert_array_equal(nets["code"].trunk[0].weight.numpy(), learnt)
    np.testing.assert_array_equal(nets["both"].trunk.encoder[0].weight.numpy(), learnt)
    assert not np.allclose(nets["random"].trunk[0].weight.numpy(), learnt, atol=1e-2)
    nets["code"].fit(x, np.arange(30) % 3, steps=3, run=Run(quiet=True))
    np.testing.assert_array_equal(ae.encoder[0].weight.numpy(), learnt)  # it was a copy that learnt
    codes = nets["both"].trunk(tg.tensor(x)).numpy()[:, 6:]
    assert np.linalg.norm(codes) == pytest.approx(np.linalg.norm(x), rel=1e-4)


def test_the_gain_is_paired_by_seeds():
    assert demo.gained({"3. pre-trained": [3.0, 5.0], "random start": [1.0, 7.0]}).tolist() == [2, -2]


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data is 'cats'; digits, mnist are there"):
        demo.main(data="cats", out=str(tmp_path / "run"))


def test_the_loss_can_be_explained():
    assert "out.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

"""The demo of the plane writes what it says, resumes, and its tables go on with what is not finished."""

import ast
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.gan2d")
two_densities, dirac_fields = demo.two_densities, demo.dirac_fields


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Little of what takes long."""
    monkeypatch.setattr(demo, "two_densities", lambda run, **options: two_densities(run, **{**options, "steps": 20}))
    monkeypatch.setattr(demo, "dirac_fields", lambda: dirac_fields(turns=3, cells=3))


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = tmp_path / "gan"
    scores = common.command(demo.main, ["--steps", "12", "--seed", "3", "--out", str(out)])
    assert set(scores) == {"modes", "quality", "gap of D", "gap of v"} and np.isfinite(list(scores.values())).all()
    pictures = ["samples.png", "curves.png", "dirac.png", "optimum.png", "replay.html"]
    kept = ["checkpoint.safetensors", "config.json", "metrics.csv"]
    assert sorted(p.name for p in out.iterdir()) == sorted([*pictures, *kept])
    assert "non-saturating on ring8: " in capsys.readouterr().out
    before = {name: (out / name).read_bytes() for name in (*kept, "replay.html")}
    assert common.command(demo.main, ["--resume", str(out)]) == scores
    assert before == {name: (out / name).read_bytes() for name in before}


@pytest.mark.parametrize("loss", ["began", "wasserstein"])
def test_killed_and_resumed_is_the_straight_run_with_its_film_and_replay(loss, tmp_path, monkeypatch):
    a, _ = demo.trained(Run(tmp_path / "a", quiet=True), loss, "grid25", 12)
    look = demo.look

    def until_eight(gan, mix, z, step):
        if step == 8:
            raise KeyboardInterrupt
        return look(gan, mix, z, step)

    steps = Run.steps
    monkeypatch.setattr(Run, "steps", lambda self, owner, n: steps(self, owner, n, save_every=5))
    monkeypatch.setattr(demo, "look", until_eight)
    with pytest.raises(KeyboardInterrupt):
        demo.trained(Run(tmp_path / "b", quiet=True), loss, "grid25", 12)
    monkeypatch.setattr(demo, "look", look)
    b, _ = demo.trained(Run.resume(tmp_path / "b", quiet=True), loss, "grid25", 12)
    assert a.replay.page() == b.replay.page() and list(a.film.frames) == list(b.film.frames)
    for file in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_table_is_played_once(tmp_path, monkeypatch):
    scores = common.command(demo.main, ["--quick", "--steps", "2", "--table", "2", "--out", str(tmp_path / "t")])
    folder = tmp_path / "t" / "table"
    assert len(list(folder.iterdir())) == 2 * len(demo.LOSSES) and (tmp_path / "t" / "table.png").exists()
    (folder / "began-1" / "score.json").unlink()  # a run that was killed there
    played = []
    make = demo.made
    monkeypatch.setattr(demo, "made", lambda loss, *a, **k: played.append(loss) or make(loss, *a, **k))
    assert common.command(demo.main, ["--resume", str(tmp_path / "t")]) == scores
    assert played == ["non-saturating", "began"]


def test_robustness(tmp_path):
    made = demo.robustness(Run(tmp_path / "r", quiet=True), "ring8", 2)
    assert len(made.axes) == 24 and len(list((tmp_path / "r" / "robust").iterdir())) == 24


def test_each_claim_has_its_training(tmp_path, monkeypatch):
    played = []

    def cell(run, name, loss, data, steps, seed, players=None):
        assert name.startswith("robust" if players else f"table/{loss}-{seed}")
        played.append((loss, data, steps, seed))
        return {"modes": 8 if players else seed, "quality": 0.1 * seed}

    monkeypatch.setattr(demo, "cell", cell)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "r", quiet=True), claims)
    shares = [c for c in claims if "share" in c]
    assert [values.pop(c) for c in shares] == [[0.1 * seed for seed in range(5)]]
    assert [*values.values()][2:] == [[*range(5)]] * len(demo.LOSSES) + [6.0]
    of_each = [loss for loss in demo.LOSSES for _ in range(1 + (loss == "began"))]
    assert played[:-6] == [(loss, "ring8", demo.STEPS, seed) for loss in of_each for seed in range(5)]
    assert played[-6:] == [("wasserstein-gp", "ring8", demo.STEPS // 3, 0)] * 6


def test_a_cell_notes_what_it_scored(tmp_path):
    found = demo.cell(Run(tmp_path / "r", quiet=True), "a", "dragan", "ring8", 2, 1)
    assert found == json.loads((tmp_path / "r" / "a" / "score.json").read_text())
    assert demo.cell(Run(quiet=True), "a", "dragan", "ring8", 2, 1)["sample"] == found["sample"]
    assert np.shape(found["sample"]) == (500, 2) and found["seconds"] >= 0 and 0 <= found["quality"] <= 1


def test_the_discriminator_between_two_densities_gets_near_the_best():
    found = two_densities(Run(quiet=True), steps=300)
    assert found["gap of D"] < 0.1 and found["gap of v"] < 0.01
    w = found["x"][1] - found["x"][0]
    assert 0.985 < ((found["p"] + found["q"]) / 2)[found["seen"]].sum() * w < 0.995


@pytest.mark.parametrize("argv, message", [(["--loss", "hinge"], "--loss is 'hinge'; minimax"),
                                           (["--data", "moons"], "--data is 'moons'; ring8")])  # fmt: skip
def test_unknown_names_are_refused(argv, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        common.command(demo.main, [*argv, "--out", str(tmp_path / "x")])


def test_the_loss_can_be_explained():
    assert "0.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))


def test_the_card_is_a_literal_and_names_every_loss():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign)
               and getattr(n.targets[0], "id", None) == "CARD"]  # fmt: skip
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    claims = [c.removeprefix("ring8, ").split(":")[0] for c in demo.CARD["claims"] if c.startswith("ring8")]
    assert list(dict.fromkeys(claims)) == list(demo.LOSSES)

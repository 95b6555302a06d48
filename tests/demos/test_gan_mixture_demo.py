"""The demo of S2's example 4.2.1: every setting is played once, every statement of the text is decided."""

import ast
import csv
import importlib
from pathlib import Path

import numpy as np
import pytest

from tinygen import ledger, metrics
from tinygen.backend.random import Generator
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.gan_mixture")
PLAIN = ["distribution.png", "figure-4.4.png", "figure-4.5.png"]
SWEEPS = [*(f"figure-4.{k}.png" for k in range(6, 12)), "statements.csv", "statements.md", "statements.png"]


@pytest.fixture
def small(monkeypatch):
    """All settings, with small networks, few samples and hardly more than one step in a turn."""
    tight = {"generator": lambda w: (3,) * len(w), "discriminator": lambda w: (3,) * len(w), "batch": lambda b: b // 8,
             "k_d": lambda k: min(k, 2), "k_g": lambda k: min(k, 2)}  # fmt: skip
    settings = {name: (turns, {key: tight.get(key, lambda v: v)(value) for key, value in differs.items()})
                for name, (turns, differs) in demo.SETTINGS.items()}  # fmt: skip
    monkeypatch.setattr(demo, "SETTINGS", settings)
    monkeypatch.setattr(demo, "SAMPLES", 1000)
    monkeypatch.setattr(demo, "ROWS", 200)


ARGUMENTS = ["--turns", "24", "--members", "2", "--batch", "8", "--generator", "4", "--discriminator", "4,3"]


def test_the_base_setting_is_drawn_and_resumed(small, tmp_path, capsys):
    out = str(tmp_path / "base")
    scores = common.command(demo.main, [*ARGUMENTS, "--out", out])
    assert (
        set(scores) == {"as many real samples", "one Gaussian", "uniform"} and np.isfinite(list(scores.values())).all()
    )
    assert {p.name for p in Path(out).iterdir()} == {*PLAIN, "config.json", "settings"}
    assert "the base setting ends at" in capsys.readouterr().out
    assert common.command(demo.main, ["--resume", out]) == scores


def test_all_settings_are_played_once_and_all_statements_decided(small, tmp_path, monkeypatch, capsys):
    out = tmp_path / "all"
    scores = common.command(demo.main, [*ARGUMENTS, "--sweeps", "--out", str(out)])
    assert {p.name for p in out.iterdir()} == {*PLAIN, *SWEEPS, "config.json", "settings"}
    assert {p.name for p in (out / "settings").iterdir()} == {name.replace(" ", "-") for name in demo.SETTINGS}
    with open(out / "statements.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[-1] == "verdict" and len(rows) == len(demo.STATEMENTS) == scores["statements of the text decided"]
    assert {row[-1] for row in rows} <= {"confirmed", "not confirmed"}
    assert (out / "statements.md").read_text(encoding="utf-8") in capsys.readouterr().out

    monkeypatch.setattr(demo.ParallelGAN, "update", lambda *_: pytest.fail("a finished setting is trained again"))
    monkeypatch.setattr(demo.Run, "save_figure", lambda *_: None)
    assert common.command(demo.main, ["--resume", str(out)]) == scores


def test_a_killed_sweep_goes_on_to_the_same_bits(small, tmp_path, monkeypatch):
    class Kill(BaseException):
        pass

    monkeypatch.setattr(demo, "SETTINGS", {name: demo.SETTINGS[name] for name in ("base", "k_D 2")})
    straight = demo.Sweep(Run(tmp_path / "a", quiet=True), {**BASE}, turns=24, members=2)
    update, left = demo.ParallelGAN.update, [35]  # in the second setting

    def dying(model, *arguments):
        left[0] -= 1
        if left[0] == 0:
            raise Kill
        return update(model, *arguments)

    for name in demo.SETTINGS:
        straight.play(name)
    monkeypatch.setattr(demo.ParallelGAN, "update", dying)
    monkeypatch.setattr("tinygen.runs.run.SAVE_EVERY", 0.0)
    with pytest.raises(Kill):
        played = demo.Sweep(Run(tmp_path / "b", quiet=True), {**BASE}, turns=24, members=2)
        for name in demo.SETTINGS:
            played.play(name)
    again = demo.Sweep(Run.resume(tmp_path / "b", quiet=True), {**BASE}, turns=24, members=2)
    for name in demo.SETTINGS:
        again.play(name)
        np.testing.assert_array_equal(again.curves[name][1], straight.curves[name][1])
    for file in ("metrics.csv", "checkpoint.safetensors"):
        a, b = (tmp_path / run / "settings" / "k_D-2" / file for run in "ab")
        assert a.read_bytes() == b.read_bytes()


BASE = {"k_d": 1, "k_g": 1, "lr": 2e-4, "batch": 8, "loss": "minimax", "simultaneous": False, "generator": (4,),
        "discriminator": (4, 3)}  # fmt: skip


def test_a_folder_of_another_setting_is_refused(small, tmp_path):
    run = Run(tmp_path / "run", quiet=True)
    demo.Sweep(run, {**BASE}, turns=12, members=1).play("base")
    with pytest.raises(ValueError, match="holds another setting"):
        demo.Sweep(run, {**BASE, "lr": 1e-3}, turns=12, members=1).play("base")


def test_the_card_is_literal_and_each_statement_has_its_number(small, tmp_path):
    (card,) = [c for c in ledger.cards() if c.demo == "gan_mixture"]
    verdicts = [c for c in card.claims if c.verdict]
    assert [c.name.split()[0] for c in verdicts] == list(demo.STATEMENTS)  # in the text's order
    (counted,) = [c for c in card.claims if c.name == "statements of the text decided"]
    assert counted.bar == f"== {len(verdicts)}" and card.resumes
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Assign) and node.targets[0].id == "CARD" for node in tree.body)
    wanted = {name for panels in demo.FIGURES.values() for _, _, names in panels for name in names.values()}
    assert wanted | {"early"} == set(demo.SETTINGS)  # every setting is shown


def test_claims_are_reproduced_by_name(small, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SETTINGS", {"base": (12, {"batch": 8, "generator": (4,)})})
    monkeypatch.setattr(demo, "TURNS", 12)
    name = "base setting: end / one Gaussian"
    values = demo.reproduce(Run(tmp_path / "run", quiet=True), [name])
    assert list(values) == [name] and len(values[name]) == 5


def test_levels_are_what_samples_of_these_laws_score(tmp_path):
    played = demo.Sweep(Run(tmp_path / "run", quiet=True), {**BASE}, members=1)
    real, gaussian, uniform = played.levels.values()
    assert real < gaussian / 5 < uniform / 10

    def score(x):
        return metrics.quadratic_difference(x, played.p, played.edges)

    rng = Generator(3)
    x = played.law.sample(100_000, rng)
    normal = rng.normal((demo.SAMPLES, 2)) @ np.linalg.cholesky(np.cov(x.T)).T + x.mean(0)
    assert np.mean([score(part) for part in np.split(x, 10)]) == pytest.approx(real, rel=0.1)
    assert score(normal) == pytest.approx(gaussian, rel=0.1)
    assert score(rng.uniform((demo.SAMPLES, 2), -8, 8)) == pytest.approx(uniform, rel=0.1)
    far = np.full((demo.SAMPLES, 2), 1e6)
    assert score(far) > 0.99  # who runs away is as wrong as can be

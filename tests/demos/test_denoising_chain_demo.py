"""The demo of the walk of a denoising autoencoder: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.autoencoder import markov_chain as chapter
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo takes scikit-learn's digits where MNIST is missing")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.denoising_chain")


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """Stripes in place of MNIST, and a judge who looks where the ink is."""
    x = np.zeros((60, 28, 28), np.float32)
    for k in range(60):
        x[k, 2 + 2 * (k % 10)] = 1

    def judge(x):
        ink = x.reshape(len(x), 28, 28).mean(2)[:, 2:22:2]
        return ink - np.log(np.exp(ink).sum(1, keepdims=True))

    monkeypatch.setattr(demo, "black_and_white", lambda stand_in=True: (x.reshape(60, -1), x[:20].reshape(20, -1)))
    monkeypatch.setattr(demo, "judge_of_digits", lambda: judge)
    monkeypatch.setattr(demo, "SURE", 0.0)


def test_it_learns_walks_draws_and_resumes(tmp_path, capsys, monkeypatch):
    piece = demo.long_piece
    monkeypatch.setattr(demo, "long_piece", lambda *given, rows=1: piece(*given, rows=1))
    out = tmp_path / "run"
    flags = ["--steps", "30", "--hidden", "12", "--walks", "3", "--length", "60", "--out", str(out)]
    scores = common.command(demo.main, flags)
    assert 1 <= scores["visited"] <= 10 and 0 <= scores["strayed"] <= 1 and not np.isnan(list(scores.values())).any()
    pictures = {f"{name}.png" for name in ("start", "walk", "walking-back", "watched", "theorem")}
    assert {p.name for p in out.iterdir()} == pictures | {"config.json", "walk-back-0", "walk-back-2"}
    said = capsys.readouterr().out
    assert "classes visited" in said and "stuck: " in said
    monkeypatch.setattr(demo, "pictures", lambda *given: None)
    assert common.command(demo.main, ["--resume", str(out)]) == scores


def test_a_class_is_visited_if_enough_sure_images_are_of_it():
    labels = np.repeat([3, 5, 7], [500, 4, 496])
    sure = np.ones(1000, bool)
    assert demo.visited(labels, sure) == 2  # four of a thousand are too few
    sure[504:] = False
    assert demo.visited(labels, sure) == 1 and demo.visited(labels, ~sure) == 1


def test_a_walk_that_is_stuck_is_reported(capsys):
    labels = np.tile(np.arange(4), (100, 1)).astype(int)  # each walk has a class of its own
    labels[0] = (labels[0] + 1) % 4
    seen = {"labels": labels, "sure": np.ones_like(labels, bool), "strayed": np.zeros_like(labels, bool)}
    scores = demo.report(seen, lambda x: np.eye(10)[:4], None)
    assert scores["longest stay"] == 99 * demo.EVERY and scores["R-hat"] > 2 and scores["effective"] < 20
    demo.tell({**scores, "sure, walking back": 0.5}, 500, 4)
    assert "stuck: yes" in capsys.readouterr().out


def test_an_exact_denoiser_walks_with_the_law_of_the_data_and_a_wrong_one_does_not():
    assert demo.distance_of_exact_walks(20) < 1e-10
    p, distances = demo.small_world(), []
    for width in (2.0, 12.0):
        C = demo.shifts(width)
        R = chapter.bayes(p, C)
        distances.append(chapter.total_variation(chapter.stationary(C @ demo.wrong(R)), p))
        assert distances[-1] <= chapter.error_bound(C, R, demo.wrong(R))
    assert distances[0] > 5 * distances[1] > 0.05  # the slow walk multiplies the error


def test_claims_are_reproduced_by_name(tmp_path, monkeypatch):
    full, watched = demo.trained, demo.watched
    monkeypatch.setattr(demo, "trained", lambda run, x, steps, **options: full(run, x, 3, hidden=8))
    monkeypatch.setattr(demo, "watched", lambda m, judge, walks, length, x, seed: watched(m, judge, walks, 20, x, seed))
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "run", quiet=True), claims)
    assert list(values) == claims and len(values[claims[0]]) == 5
    assert demo.reproduce(Run.resume(tmp_path / "run", quiet=True), claims[:1]) == {claims[0]: values[claims[0]]}


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "encoder.0.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

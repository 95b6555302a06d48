"""The demo of convolutional networks: what it writes, and the classifier that it keeps for others."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.cnn")
PICTURES = ["learning.png", "kernels.png", "maps.png", "confusion.png", "mistakes.png"]
KEPT = ["checkpoint.safetensors", "config.json", "metrics.csv"]


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = tmp_path / "cnn"
    argv = ["--data", "digits", "--compact", "--steps", "60", "--seed", "3", "--out", str(out)]
    scores = common.command(demo.main, argv)
    assert scores["test"] > 0.2
    assert sorted(p.name for p in out.iterdir()) == sorted([*PICTURES, *KEPT, "classifier.safetensors"])
    assert "of test" in capsys.readouterr().out
    before = {name: (out / name).read_bytes() for name in (*KEPT, "classifier.safetensors")}
    assert common.command(demo.main, ["--resume", str(out)]) == scores
    assert before == {name: (out / name).read_bytes() for name in before}


def test_claims_are_reproduced_by_name_and_no_stand_in_will_do(tmp_path, monkeypatch):
    asked, full, digits = [], demo.trained, tg.data.load("digits")

    def load(name, stand_in):
        asked.append((name, stand_in))
        return digits

    def trained(run, parts, steps, *, added=False, seed=0):
        asked.append((steps, added, seed))
        return full(run, parts, 2, added=added, seed=seed)

    monkeypatch.setattr(demo.sets, "load", load)
    monkeypatch.setattr(demo, "trained", trained)
    monkeypatch.setattr(demo, "mnist_classifier", lambda: demo.small((1, 8, 8), 10, rng=tg.random.Generator(0)))
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "both", quiet=True), claims)
    assert list(values) == claims and 0 <= values[claims[2]] <= 1
    assert all(len(values[c]) == 3 and len(set(values[c])) > 1 for c in claims[:2])
    assert asked == [("notmnist", False), *[(20_000, False, seed) for seed in range(3)],
                     ("notmnist", False), *[(3000, True, seed) for seed in range(3)], ("mnist", False)]  # fmt: skip
    assert demo.reproduce(Run(tmp_path / "one", quiet=True), claims[1:2]) == {claims[1]: values[claims[1]]}
    assert demo.reproduce(Run.resume(tmp_path / "both", quiet=True), claims) == values  # from what is there


def test_the_committed_classifier_is_the_one_its_sum_says(monkeypatch):
    model = demo.mnist_classifier()
    assert demo.WEIGHTS.stat().st_size < 200_000 and not model.training
    x = np.zeros((2, 1, 28, 28), np.float32)
    x[0, 0, 4:24, 13:15] = 1  # a stroke is a one
    x[1, 0, 6:22, 8:20], x[1, 0, 8:20, 11:17] = 1, 0  # and a frame a nought
    assert model.predict(x).tolist() == [1, 0] and model.predict_log_proba(x).shape == (2, 10)
    assert model.features(x).shape == (2, 128) and model.features(x).dtype == np.float32
    monkeypatch.setattr(demo, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="cannot be compared"):
        demo.mnist_classifier()


def test_what_is_saved_is_what_is_loaded(tmp_path):
    model = demo.small((1, 8, 8), 3, rng=tg.random.Generator(0))
    demo.save(tmp_path / "a.safetensors", model)
    for name, values in tg.load(tmp_path / "a.safetensors").items():
        np.testing.assert_array_equal(values, dict(model.named_parameters())[name].numpy().astype(np.float16))


def test_a_classifier_on_the_spot():
    model = demo.classifier("digits", steps=150)
    assert model.score(*tg.data.load("digits").test) > 0.6 and model.features(np.zeros((3, 64))).shape == (3, 128)


def test_a_curve_in_pieces_keeps_its_mean():
    step, values = np.arange(1, 1001), np.random.default_rng(0).normal(size=1000)
    middle, means = demo.smoothed(step, values)
    assert len(means) == 100 and means.mean() == pytest.approx(values.mean()) and middle[0] == 5.5
    np.testing.assert_array_equal(demo.smoothed(step[:7], values[:7]), (step[:7], values[:7]))


def test_the_surest_mistakes_come_first_and_right_answers_not_at_all():
    x, y = np.zeros((4, 1, 8, 8)), np.array([0, 1, 1, 0])
    log_p = np.log([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    made = demo.mistakes(x, y, log_p, ["p", "q"])
    assert [axes.get_title() for axes in made.axes][:4] == ["p: “q”\n80.0%", "q: “p”\n70.0%", "q: “p”\n60.0%", ""]


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "convolve" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

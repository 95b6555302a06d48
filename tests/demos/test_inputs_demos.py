"""The demos of inputs of every kind, of sound, and of class activation: what they write, say, and resume."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.models.supervised import audio as sound
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demos learn scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")

common = importlib.import_module("demos.common")
inputs, audio, activation = (
    importlib.import_module(f"demos.{name}") for name in ("inputs", "audio", "class_activation")
)
KEPT = ["checkpoint.safetensors", "config.json", "metrics.csv"]


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Few notes, few canvases, and the drawn or bundled sets in place of files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setattr(audio, "TRAIN", 100)
    monkeypatch.setattr(audio, "TEST", 150)
    monkeypatch.setattr(activation, "CANVASES", 200)
    monkeypatch.setattr(inputs, "slopes", lambda: {"none": 0.0})  # tested with the chapter


def written(out):
    return sorted(p.name for p in Path(out).iterdir())


def test_inputs_draws_its_pictures_and_resumes(tmp_path, capsys, monkeypatch):
    letters = tg.data.load("glyphs")
    monkeypatch.setattr(inputs, "letters", lambda: (letters.train.labels, letters.train.images.mean((1, 2, 3)),
                                                    letters.classes))  # fmt: skip
    out = str(tmp_path / "run")
    scores = common.command(inputs.main, ["--data", "digits", "--steps", "40", "--hidden", "16", "--out", out])
    assert scores["gap"] < 1e-5 and scores["rnn"] > 0.12  # guessing is right on 0.1
    names = ("categories", "convolution", "padding", "pooling", "reading", "remembering")
    assert written(out) == sorted([*KEPT, *(f"{name}.png" for name in names)])
    assert "LSTM" in capsys.readouterr().out
    assert common.command(inputs.main, ["--resume", out]) == scores


def test_audio_draws_and_writes_what_can_be_heard_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(audio, "by_softmax", lambda train, test: 0.2)
    out = str(tmp_path / "run")
    scores = common.command(audio.main, ["--steps", "4", "--channels", "4", "--layers", "5", "--out", out])
    assert scores["wav"] < 0.501
    pictures = [f"{name}.png" for name in ("notes", "learning", "listening", "confusion", "field")]
    assert written(out) == sorted([*KEPT, *pictures, "notes.wav", *(f"{name}.wav" for name in audio.NAMES)])
    assert "test notes" in capsys.readouterr().out
    for name in audio.NAMES:
        s, rate = sound.read_wav(Path(out) / f"{name}.wav")
        assert rate == audio.RATE and len(s) == 8 * 2400 and 0.3 < np.abs(s).max() <= 0.51
        octave = [np.argmax(np.abs(np.fft.rfft(s[k * 2400 : (k + 1) * 2400]))) for k in (0, 7)]
        assert octave[1] == pytest.approx(2 * octave[0], abs=2)  # the scale ends where it began, twice as high
    assert common.command(audio.main, ["--resume", out]) == scores


def test_a_softmax_regression_hears_nothing():
    train, test = (sound.notes(n, audio.T, tg.random.Generator(n)) for n in (400, 300))
    assert audio.by_softmax(train, test, steps=60) < 0.4


def test_activation_draws_its_pictures_and_resumes(tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(activation.main, ["--data", "digits", "--steps", "6", "--out", out])
    assert all(0 < scores[name] < 1 for name in activation.METHODS)
    pictures = [f"{name}.png" for name in ("found", "evidence", "agreement", "learning")]
    assert written(out) == sorted([*KEPT, *pictures])
    assert "mean IoU" in capsys.readouterr().out
    assert common.command(activation.main, ["--resume", out]) == scores


def test_boxes_are_judged_on_canvases_that_chose_nothing():
    train, boxed, test = activation.canvases("digits", seed=3)
    assert len(train) == 2 and len(train[0]) == 200  # boxes of the training part are not even there
    images = len(tg.data.load("digits").test.images)
    n = images // 3  # of a small set no more than a third
    assert n < activation.BOXED and len(boxed[0]) == n and boxed[2].shape == (n, 4) and len(test[0]) == images - n
    again = activation.canvases("digits", seed=3)[2]
    np.testing.assert_array_equal(test[2], again[2])


@pytest.mark.parametrize("demo", [inputs, audio, activation], ids=lambda demo: demo.__name__)
def test_claims_are_reproduced_by_name(demo, tmp_path, monkeypatch):
    full, digits = demo.trained, tg.data.load("digits")
    sets = demo.sources if demo is inputs else getattr(demo, "sets", None)
    if sets is not None:
        monkeypatch.setattr(sets, "load", lambda name, stand_in: digits)

    def trained(*given, **options):
        return full(*given[:-1], min(given[-1], 2), **options)

    monkeypatch.setattr(demo, "trained", trained)
    names = list(demo.CARD["claims"])
    whole = demo.reproduce(Run(tmp_path / "all", quiet=True), names)
    assert list(whole) == names and np.isfinite(list(whole.values())).all()
    for number, name in enumerate(names[1:]):
        alone = demo.reproduce(Run(tmp_path / str(number), quiet=True), [name])
        assert list(alone) == [name]


@pytest.mark.parametrize("demo", [inputs, audio, activation], ids=lambda demo: demo.__name__)
def test_the_card_is_a_literal_and_the_loss_can_be_explained(demo):
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert "cross_entropy" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

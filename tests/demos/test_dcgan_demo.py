"""The demo of DCGANs: what it writes and says, what its scores are of, and that a kill loses nothing."""

import importlib
import inspect
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

import tinygen as tg
from tinygen import metrics
from tinygen.runs import Run, read_metrics

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.dcgan")
ROOT = Path(__file__).resolve().parents[2]


class Judge:
    """In the place of a classifier: pixels are features, and quarters of the image are classes."""

    def features(self, x):
        return x.reshape(len(x), -1)[:, ::5]

    def predict_log_proba(self, x):
        return log_softmax(5 * x.reshape(len(x), 4, -1).mean(2), 1)


@pytest.fixture
def small(monkeypatch):
    """A small network, and no classifier to train first."""
    monkeypatch.setitem(demo.SIZES, "digits", dict(steps=12, widths=(8, 4), lr=2e-3))
    monkeypatch.setattr(demo, "classifier", lambda *_: Judge())


def test_what_it_writes_and_that_it_resumes(tmp_path, small, capsys):
    out = str(tmp_path / "run")
    scores = common.command(demo.main, ["--out", out])
    frames = {f"frame-{step:06d}.safetensors" for step in demo.due(12)}
    pictures = {f"{name}.png" for name in ("samples", "walks", "neighbours", "film", "curves")}
    assert {p.name for p in Path(out).iterdir()} == {
        "checkpoint.safetensors", "config.json", "metrics.csv", *pictures, *frames}  # fmt: skip
    said = capsys.readouterr().out
    assert "inception score       FID  copying" in said and "unseen images" in said and "Gaussian fit" in said
    assert np.isfinite(list(scores.values())).all() and scores["unseen images: copying"] == 0.5
    log = read_metrics(Path(out) / "metrics.csv")
    assert [s for s, v in zip(log["step"], log["frechet"], strict=True) if np.isfinite(v)] == demo.due(12)
    assert common.command(demo.main, ["--resume", out]) == scores


def test_the_scores_are_those_of_the_sets(small):
    train, test = (part.images for part in tg.data.load("digits"))
    scores = demo.judged({"unseen images": test, "training images": train[:400]}, train, Judge())
    for name, images in (("unseen images", test), ("training images", train[:400])):
        log_p = Judge().predict_log_proba(images)
        assert (scores[name]["inception"], scores[name]["spread"]) == metrics.inception_score(log_p)
        assert scores[name]["frechet"] == pytest.approx(metrics.frechet_distance(train, images, Judge().features))
    assert scores["training images"]["copying"] == 1 and scores["unseen images"]["copying"] == 0.5


def test_only_large_sets_are_split():
    images = tg.random.Generator(0).uniform((1500, 1, 8, 8))
    scores = demo.judged({"unseen images": images}, images, Judge())["unseen images"]
    log_p = Judge().predict_log_proba(images)
    assert (scores["inception"], scores["spread"]) == metrics.inception_score(log_p, splits=3)


def test_a_few_images_do():
    images = tg.random.Generator(0).uniform((9, 1, 8, 8))
    scores = demo.judged({"unseen images": images}, images, Judge())
    assert np.isfinite(list(scores["unseen images"].values())).all() and "± 0" not in demo.table(scores)


def test_the_gaussian_has_the_moments_of_the_pixels():
    train = 0.4 + 0.05 * tg.random.Generator(0).normal((50, 1, 3, 3))
    drawn = demo.gaussian_fit(train, 20_000, tg.random.Generator(1))
    assert drawn.shape == (20_000, 1, 3, 3) and 0 <= drawn.min() and drawn.max() <= 1
    assert metrics.frechet_distance(train, drawn) < 0.01 * np.trace(np.cov(train.reshape(50, -1).T))


def test_moments_of_the_filmstrip():
    for steps in (1, 5, 12, 300, 5000):
        due = demo.due(steps)
        assert due[0] == 1 and due[-1] == steps and due == sorted(set(due)) and len(due) <= demo.FRAMES
    assert len(demo.due(300)) == demo.FRAMES


def test_each_claim_is_reproduced_by_name_and_goes_on(tmp_path, monkeypatch, small):
    """On digits in the place of MNIST, with few steps; a second call finds the training done."""
    monkeypatch.setitem(demo.SIZES, "mnist", dict(steps=3, widths=(8, 4), lr=2e-3))
    asked = []
    monkeypatch.setattr(demo, "load", lambda name, stand_in: asked.append(stand_in) or tg.data.load("digits"))
    inception, ratio, error = demo.CARD["claims"]
    assert demo.reproduce(Run(quiet=True), [error])[error] <= 1e-6 and not asked
    values = demo.reproduce(Run(tmp_path / "run", quiet=True), [inception, ratio, error])
    assert list(values) == [inception, ratio, error] and 1 <= values[inception] <= 4 and values[ratio] > 1
    again = demo.reproduce(Run.resume(tmp_path / "run", quiet=True), [ratio])
    assert again == {ratio: values[ratio]} and asked == [False, False]  # no claim is judged by a stand-in


STEPS = 100
CHILD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from scipy.special import log_softmax
import tinygen.runs.run
from demos import dcgan
{inspect.getsource(Judge)}
tinygen.runs.run.SAVE_EVERY = 0.03
dcgan.SIZES["digits"] = dict(steps={STEPS}, widths=(8, 4), lr=2e-3)
dcgan.classifier, dcgan.draw = lambda *_: Judge(), lambda *_: None
print("ready", flush=True)
dcgan.main(**eval(sys.argv[1]))
print("done", flush=True)
"""


def child(arguments):
    """A process that runs the demo's `main`, with a small network, and says when it begins and ends."""
    return subprocess.Popen([sys.executable, "-c", CHILD, repr(arguments)], stdout=subprocess.PIPE, text=True)


def test_killed_from_outside_and_resumed_is_the_unbroken_run(tmp_path):
    """SIGKILL at random moments, twice; networks, optimisers, generators, log and frames end up the same."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    with child({"out": str(straight)}) as process:
        assert process.stdout.read().endswith("done\n")
    draws, arguments, seen = np.random.default_rng(), {"out": str(killed)}, []
    for _ in range(2):
        with child(arguments) as process:
            process.stdout.readline()
            since = count = 0
            while count < 2 and process.poll() is None:  # until it has saved twice, so that there is something to lose
                time.sleep(0.005)
                path = killed / "checkpoint.safetensors"
                at = path.stat().st_mtime_ns if path.exists() else 0
                since, count = at, count + (at != since)
            time.sleep(draws.uniform(0, 0.3))
            process.kill()
        seen.append(tg.load(killed / "checkpoint.safetensors")["step"])
        arguments = {"resume": str(killed)}
    assert seen[0] < STEPS  # it was in the middle
    with child(arguments) as process:
        assert process.stdout.read().endswith("done\n")
    state = tg.load(killed / "checkpoint.safetensors")["owner"]
    assert {"optimizer_d", "optimizer_g", "rng", "generator.2.running_mean", "discriminator.0.weight"} <= {*state}
    names = {p.name for p in straight.iterdir()}
    assert names == {p.name for p in killed.iterdir()} and len(names) == 3 + demo.FRAMES
    for name in names:
        assert (straight / name).read_bytes() == (killed / name).read_bytes(), name


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data is 'cats'; digits, glyphs, mnist"):
        demo.main(data="cats", out=str(tmp_path / "run"))


def test_the_loss_can_be_explained():
    assert "generator.1.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

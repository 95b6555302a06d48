"""The demo writes what it says, resumes, and its signature is its command line."""

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
demo = importlib.import_module("demos.vae")
PICTURES = ["samples.png", "reconstructions.png", "traversals.png", "interpolations.png", "curves.png", "latent.png",
            "manifold.png", "regimes.png"]  # fmt: skip


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = str(tmp_path / "vae")
    scores = common.command(demo.main, ["--steps", "20", "--hidden", "16", "--seed", "3", "--out", out])
    assert np.isfinite(list(scores.values())).all() and scores["elbo"] <= scores["log_p"]
    assert sorted(p.name for p in Path(out).iterdir()) == sorted(
        [*PICTURES, "checkpoint.safetensors", "config.json", "metrics.csv"]
    )
    assert "test set, nats an image (error: the importance sampling's): elbo -" in capsys.readouterr().out
    before = {name: (tmp_path / "vae" / name).read_bytes() for name in ("metrics.csv", "checkpoint.safetensors")}
    again = common.command(demo.main, ["--resume", out])
    assert again == scores
    assert before == {name: (tmp_path / "vae" / name).read_bytes() for name in before}


def test_faces_with_a_gaussian_decoder(tmp_path):
    out = tmp_path / "faces"
    options = ["--data", "faces", "--steps", "3", "--hidden", "16", "--latent", "3", "--importance", "5"]
    scores = common.command(demo.main, [*options, "--variance", "0", "--out", str(out)])
    assert np.isfinite(list(scores.values())).all() and (out / "attributes.png").exists()
    assert not (out / "manifold.png").exists()


def test_mnist_is_black_and_white_and_each_claim_has_its_run(tmp_path, monkeypatch):
    """On glyphs in the place of MNIST, with few steps."""
    few = {name: {**size, "steps": 2} for name, size in demo.SIZES.items()}
    monkeypatch.setattr(demo, "SIZES", few)
    monkeypatch.setattr(demo, "SAMPLES", 3)
    asked = []

    def load(name, stand_in):
        asked.append(stand_in)
        return tg.data.load("digits" if name == "digits" else "glyphs")

    monkeypatch.setattr(demo, "load", load)
    *_, x, _ = demo.trained(Run(quiet=True), "mnist")
    assert set(np.unique(x)) == {0, 1}
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "both", quiet=True), claims)
    assert list(values) == claims and -80 < values[claims[0]] < -30 and -800 < values[claims[1]] < -300
    assert 300 < values[claims[2]] < 800 and -50 < values[claims[3]] < 0
    alone = demo.reproduce(Run(tmp_path / "one", quiet=True), claims[:1])
    assert alone == {claims[0]: values[claims[0]]}
    assert asked == [True, False, False, False, False]  # no claim is judged by a stand-in


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data is 'cats'; digits, mnist and faces"):
        demo.trained(Run(quiet=True), "cats")
    with pytest.raises(ValueError, match="'digits, long'; .* and --long for mnist"):
        demo.main(long=True, out=str(tmp_path))


def test_panels_hold_the_codes_they_are_given():
    codes = {"a": np.arange(8.0).reshape(4, 2), "b": np.ones((4, 2))}
    made = tg.plot.scatter_panels(codes, np.array([1, 1, 2, 2]))
    assert [axes.get_title() for axes in made.axes] == ["a", "b"]
    np.testing.assert_array_equal(made.axes[0].collections[1].get_offsets(), codes["a"][2:])
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        tg.plot.scatter_panels({"a": np.ones((3, 2))}, np.ones(4))


@pytest.mark.parametrize(("argv", "message"), [(["--resume", "x", "--seed", "1"], "leave out --seed"),
                                               (["--resume", "nowhere"], "holds no run"),
                                               (["--steps", "many"], "invalid int")])  # fmt: skip
def test_command_line_refuses(argv, message, capsys):
    with pytest.raises(SystemExit):
        common.command(demo.main, argv)
    assert message in capsys.readouterr().err


def test_the_signature_is_the_command_line():
    given = []

    def main(*, steps=10, rate=0.5, name="a", quick=False, out="o", resume=None):
        """A demo."""
        given.append((steps, rate, name, quick, out, resume))

    common.command(main, [])
    common.command(main, ["--steps", "3", "--rate", "1e-2", "--quick", "--name", "b"])
    assert given == [(10, 0.5, "a", False, "o", None), (3, 0.01, "b", True, "o", None)]


def test_ctrl_c_is_one_line(capsys):
    def main(*, resume=None):
        raise KeyboardInterrupt("stopped after step 3 of 9")

    with pytest.raises(SystemExit) as end:
        common.command(main, [])
    assert end.value.code == 130 and capsys.readouterr().err == "stopped after step 3 of 9\n"


def test_the_loss_can_be_explained():
    assert "encoder.body.0.weight" in str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))


def test_the_card_is_a_literal():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "CARD"]
    assert card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD

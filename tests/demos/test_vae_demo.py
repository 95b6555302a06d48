"""The demo writes what it says, resumes, and its signature is its command line."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.vae")
PICTURES = ["samples.png", "reconstructions.png", "latent.png", "manifold.png", "curves.png"]


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = str(tmp_path / "vae")
    scores = common.command(demo.main, ["--steps", "20", "--hidden", "16", "--seed", "3", "--out", out])
    assert np.isfinite(list(scores.values())).all() and scores["elbo"] <= scores["log_p"]
    assert sorted(p.name for p in Path(out).iterdir()) == sorted(
        [*PICTURES, "checkpoint.safetensors", "config.json", "metrics.csv"]
    )
    assert "test set, nats an image: elbo -" in capsys.readouterr().out
    before = {name: (tmp_path / "vae" / name).read_bytes() for name in ("metrics.csv", "checkpoint.safetensors")}
    again = common.command(demo.main, ["--resume", out])
    assert again == scores
    assert before == {name: (tmp_path / "vae" / name).read_bytes() for name in before}


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

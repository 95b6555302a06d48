"""The demo of kernel estimates: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo looks at scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
kernel_density = importlib.import_module("demos.kernel_density")
SIZES = (200, 1000, 4000)


@pytest.fixture
def small(monkeypatch):
    """Simulations of a few examples, and fewer pixels."""
    full = kernel_density.rates
    monkeypatch.setattr(kernel_density, "rates", lambda repeats: full(repeats, SIZES))


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch, small):
    for name, picture, size in (("plane", kernel_density.plane, 60), ("digits", kernel_density.digits, 1)):
        monkeypatch.setattr(kernel_density, name, lambda given, picture=picture, size=size: picture(size))
    out = str(tmp_path / "run")
    flags = ["--quick", "--examples", "150", "--steps", "16", "--out", out]
    scores = common.command(kernel_density.main, flags)
    assert scores["deviation"] < 1e-8 and scores["error"] < scores["reference error"]
    assert scores["bandwidth"] < scores["reference"] and -1 < scores["rate"] < -0.6
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {f"{name}.png" for name in ("bandwidths", "kernels", "plane", "errors", "digits")}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "by cross-validation" in capsys.readouterr().out
    monkeypatch.setattr(kernel_density, "pictures", lambda *given: None)
    assert common.command(kernel_density.main, ["--resume", out]) == scores


def test_the_truth_is_a_density_and_the_examples_are_its():
    x = np.linspace(-8, 8, 4001)
    assert kernel_density.truth(x).sum() * 0.004 == pytest.approx(1, abs=1e-9)
    drawn = kernel_density.draws(20_000, 3)[:, 0]
    assert drawn.mean() == pytest.approx((kernel_density.truth(x) * x).sum() * 0.004, abs=0.03)


def test_the_errors_of_the_simulation_are_those_of_the_theory():
    from tinygen.models.density import kernel_error

    found = kernel_density.rates(60, (200, 1000))
    for n, (mean, spread) in found["kernel"].items():
        h = kernel_error.optimum(n, *kernel_error.mise_constants(kernel_density.CURVATURE, "gaussian"))[0]
        exact = kernel_error.mise(kernel_density.phi, h, n, "gaussian", np.linspace(-9, 9, 1501))
        assert mean == pytest.approx(exact, abs=4 * spread)
        assert found["histogram"][n][0] > mean


def test_claims_are_reproduced_by_name(tmp_path, small):
    values = kernel_density.reproduce(Run(tmp_path, quiet=True), kernel_density.CARD["claims"])
    assert list(values) == list(kernel_density.CARD["claims"])
    deviation, rate = values.values()
    assert 0 < deviation < 1e-8 and 0 < rate < 0.1


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(kernel_density.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == kernel_density.CARD
    model, x = kernel_density.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.examples.device == device and np.isfinite(model.score_samples(x)).all()

"""`--device` reaches the model: every demo runs on the stand-in for a GPU, at a toy size."""

import importlib

import numpy as np
import pytest

from tinygen.backend import cuda
from tinygen.ledger import cards

pytest.importorskip("sklearn", reason="the demos learn scikit-learn's digits and irises")
pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")
strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")

SMALL = {  # options of `main`, and constants of the module
    "backprop": (dict(steps=20, hidden=8), {}),
    "batchnorm": (dict(steps=3), dict(LAYERS=3, RATES=(0.1, 0.3))),
    "cnn": (dict(steps=2, compact=True), {}),
    "dcgan": (dict(steps=3), dict(JUDGE=3)),
    "gan2d": (dict(steps=3, quick=True), {}),
    "gan_mixture": (dict(turns=2, members=2), {}),
    "gmm": (dict(points=60, steps=3), dict(pictures=lambda *given: None, smallest_rise=lambda problems: 0.0)),
    "k_means": (
        dict(clusters=3, steps=3),
        dict(pictures=lambda *given: None, excess=lambda n: 0.0, largest_rise=lambda n: 0.0, IMAGES=60),
    ),
    "kernel_density": (
        dict(examples=40, steps=3),
        dict(pictures=lambda *given: None, rates=lambda repeats: {"kernel": {10: (1.0, 0.1), 20: (0.5, 0.1)}}),
    ),
    "linear_regression": (dict(steps=20), dict(DRAWS=100)),
    "rbm": (dict(steps=5, hidden=8), dict(FULL=dict(few=4, chain=3, path=10, digits=30, stripes=30))),
    "risk": (dict(examples=200), dict(SAMPLE=1000)),
    "softmax": (dict(steps=20), {}),
    "vae": (dict(steps=10, hidden=8, importance=3), {}),
}


@pytest.mark.parametrize("demo", [card.demo for card in cards()])
def test_a_demo_runs_on_the_stand_in(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    module, (options, constants) = importlib.import_module(f"demos.{demo}"), SMALL[demo]
    for name, value in constants.items():
        monkeypatch.setattr(module, name, value)
    devices = set()
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        watched(monkeypatch, devices)
        scores = module.main(device="cuda:0", out=str(tmp_path / "run"), **options)
    assert "cuda:0" in devices, "no model was on the device"
    assert not any(np.isnan(v) for v in scores.values() if isinstance(v, float))


def watched(monkeypatch, devices):
    """Note the devices of all owners that a run trains."""
    from tinygen.runs import Run

    real = Run.steps

    def steps(self, owner, n, **options):
        devices.update(str(g.device) for g in generators(owner))
        return real(self, owner, n, **options)

    monkeypatch.setattr(Run, "steps", steps)


def generators(owner):
    """The Generators that an owner or the models it holds draw from."""
    from tinygen.backend.random import Generator

    for value in vars(owner).values():
        if isinstance(value, Generator):
            yield value
        elif isinstance(value, dict):
            yield from (g for inner in value.values() if hasattr(inner, "__dict__") for g in generators(inner))

"""`--device` reaches the model: every demo runs on the stand-in for a GPU, at a toy size."""

import importlib

import numpy as np
import pytest

from tinygen import plot
from tinygen.backend import cuda
from tinygen.ledger import cards

pytest.importorskip("sklearn", reason="the demos learn scikit-learn's digits and irises")
pytest.importorskip("matplotlib", reason="the demos draw with matplotlib")
strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")

SMALL = {  # options of `main`, and constants of the module
    "anomaly": (dict(examples=60, steps=3), dict(pictures=lambda *given: None, digits=lambda: ({"kernel": 1.0}, {}))),
    "audio": (
        dict(steps=2, channels=2),
        dict(pictures=lambda *given: None, by_softmax=lambda train, test: 0.0, TRAIN=20, TEST=100),
    ),
    "autoencoder": (
        dict(data="digits", steps=2, hidden=8, code=3),
        dict(
            pictures=lambda *given: {},
            WIDTHS=(2,),
            LINEAR=dict(width=2, steps=4),
            copying=lambda *given, **options: {"digits": [0.0], "noise": [0.0]},
        ),
    ),
    "autoencoder_uses": (
        dict(steps=8, seeds=1, quick=True),
        dict(pictures=lambda *given: None, unroll=lambda *given, **options: {}, LABELS=(1, 2, 3)),
    ),
    "backprop": (dict(steps=20, hidden=8), {}),
    "batchnorm": (dict(steps=3), dict(LAYERS=3, RATES=(0.1, 0.3))),
    "bayes": (dict(steps=12), dict(pictures=lambda *given: None, CELLS=50)),
    "belief_net": (dict(steps=3), dict(pictures=lambda *given: None)),
    "class_activation": (dict(steps=12, quick=True), dict(pictures=lambda *given: None, CANVASES=40, BOXED=20)),
    "beta_vae": (
        dict(steps=3, hidden=4, betas="1,2"),
        dict(pictures=lambda *given: None, TRAIN=80, TEST=60, VOTES=10, PAIRS=2),
    ),
    "cnn": (dict(steps=2, compact=True), {}),
    "convolutional_autoencoder": (dict(data="digits", steps=3, code=4), dict(pictures=lambda *given: None)),
    "dcgan": (dict(steps=3), dict(JUDGE=3)),
    "decision_rules": (dict(steps=3, examples=20), {}),
    "deep_autoencoder": (
        dict(greedy=3, steps=2, code=3),
        dict(FULL=dict(hidden=(6, 4), greedy=3, steps=2, lr=1e-3, map=2, fitted=100, shown=20)),
    ),
    "deep_belief_net": (
        dict(greedy=4, steps=2),
        dict(FULL=dict(few=3, first=20, second=20, chain=3, path=5, bounded=20), draw=lambda *given: None),
    ),
    "denoising": (
        dict(data="digits", steps=3, hidden=6),
        dict(pictures=lambda *given: None, windows=lambda n, seed: np.ones((20, 256)), robustness=lambda *given: 0.0),
    ),
    "denoising_chain": (
        dict(steps=3, hidden=6, walks=2, length=30),
        dict(pictures=lambda *given: None, judge_of_digits=lambda: lambda x: np.log(np.full((len(x), 10), 0.1))),
    ),
    "divergences": (
        dict(steps=3),
        dict(pictures=lambda *given: None, from_scipy=lambda n: [0.0], from_closed_forms=lambda: {"KL": 0.0}),
    ),
    "factor_analysis": (
        dict(steps=3),
        dict(pictures=lambda *given: None, deviation=lambda n: 0.0, closed_form=lambda n: 0.0),
    ),
    "feed_forward": (dict(steps=3, width=4), dict(WIDTHS=(2, 4, 8), DESCENT=3)),
    "flow": (dict(steps=3, layers=2), dict(pictures=lambda *given: None, FINE=30, FINER=2, SAMPLE=100)),
    "gan2d": (dict(steps=3, quick=True), {}),
    "gan_mixture": (dict(turns=2, members=2), {}),
    "gaussian": (dict(steps=3), dict(pictures=lambda *given: None)),
    "gaussian_rbm": (dict(steps=3, hidden=6), dict(SHORT=8, FEW=3)),
    "generative_classifiers": (dict(steps=3), dict(pictures=lambda *given: None)),
    "gmm": (dict(points=60, steps=3), dict(pictures=lambda *given: None, smallest_rise=lambda problems: 0.0)),
    "hmm": (dict(games=4, throws=30, starts=2, steps=3), dict(pictures=lambda *given: None)),
    "histogram": (
        dict(steps=3),
        dict(
            pictures=lambda *given: None,
            simulate=lambda n: {12: (1.0, 0.1)},
            width_deviation=lambda found: 0.0,
            rates=lambda n: {10: (1.0, 0.1), 20: (0.5, 0.1)},
        ),
    ),
    "gradient_descent": (dict(steps=3, runs=20), dict(pictures=lambda *given: None, TIME=5)),
    "gradient_estimation": (dict(steps=3, features=2), dict(pictures=lambda *given: None, DRAWS=100)),
    "grouped_belief_net": (
        dict(data="digits", steps=3),
        dict(pictures=lambda *given: None, PRUNING=dict(shares=(0.1,), folds=2, steps=3)),
    ),
    "inputs": (
        dict(data="digits", steps=2, hidden=4),
        dict(pictures=lambda *given: None, slopes=lambda: {"none": 0.0}),
    ),
    "inverse_graphics": (dict(steps=3, hidden=4), dict(GROUPS=8, TEST=250)),
    "inverse_transform": (dict(steps=3), dict(pictures=lambda *given: None, N=500)),
    "k_means": (
        dict(clusters=3, steps=3),
        dict(pictures=lambda *given: None, excess=lambda n: 0.0, largest_rise=lambda n: 0.0, IMAGES=60),
    ),
    "kernel_density": (
        dict(examples=40, steps=3),
        dict(pictures=lambda *given: None, rates=lambda repeats: {"kernel": {10: (1.0, 0.1), 20: (0.5, 0.1)}}),
    ),
    "lda": (
        dict(documents=30, words=20, starts=1, steps=3),
        dict(pictures=lambda *given: None, smallest_rise=lambda problems: 0.0),
    ),
    "linear_regression": (dict(steps=20), dict(DRAWS=100)),
    "losses": (dict(steps=20), dict(gap_of_laws=lambda: 0.0, gap_given_x=lambda: 0.0, distance=lambda: 0.0)),
    "nearest_neighbours": (
        dict(examples=40, steps=3),
        dict(
            pictures=lambda *given: None,
            consistency=lambda n: dict.fromkeys(("k = 5", "k = n / 5", "k = n^(1/2)", "k = the best of (5)"), [1.0]),
        ),
    ),
    "novelty": (dict(steps=2, maps=2, symbols=4, iterations=10), dict(development=lambda *given: plot.figure(1, 1))),
    "pca": (dict(steps=3, components=4), dict(pictures=lambda *given: None, deviation=lambda: 0.0)),
    "perceptual": (dict(steps=2, hidden=4, lessons=2), dict(pictures=lambda *given: None, IMAGES=(100, 60))),
    "perceptron": (dict(steps=3, points=20), dict(GAPS=(0.3,), PAIRS=((0, 1),))),
    "rbm": (dict(steps=5, hidden=8), dict(FULL=dict(few=4, chain=3, path=10, digits=30, stripes=30))),
    "residual": (dict(steps=3), dict(LAYERS=3, DEPTHS=(2,))),
    "risk": (dict(examples=200), dict(SAMPLE=1000)),
    "softmax": (dict(steps=20), {}),
    "sparse_autoencoder": (
        dict(steps=2, units=20),
        dict(
            pieces=lambda: [np.random.default_rng(0).uniform(size=(30, 144))] * 2,
            parts=lambda *given: plot.figure(1, 1),
        ),
    ),
    "sparse_coding": (
        dict(patches=40, atoms=6, steps=3),
        dict(pictures=lambda *given: None, ratios=lambda starts, n: [1.0], excess=lambda: 0.0),
    ),
    "stacked_autoencoder": (dict(steps=2, tune=2, units=6, layers=2), {}),
    "vae": (dict(steps=10, hidden=8, importance=3), {}),
    "wide_net": (dict(steps=3, width=8), dict(FEW=20, LONG=20)),
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

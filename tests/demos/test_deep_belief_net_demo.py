"""The demo writes what it says and resumes; the claims compute what their names say."""

import importlib
import itertools

import numpy as np
import pytest
import scipy.special

import tinygen as tg
from tinygen.models.energy import RBM, DeepBeliefNet
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo learns scikit-learn's digits")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.deep_belief_net")
PICTURES = ["bound.png", "chains.png", "curves.png", "features.png", "learning.png", "reconstructions.png"]
TOY = dict(few=3, first=40, second=40, chain=5, path=20, bounded=30)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Few steps, short chains, and small rows."""
    monkeypatch.setattr(demo, "FULL", TOY)
    sizes = {name: {**size, "sizes": (size["sizes"][0], 20, 10), "greedy": 40, "steps": 20, "size": 20}
             for name, size in demo.SIZES.items()}  # fmt: skip
    monkeypatch.setattr(demo, "SIZES", sizes)


def test_demo_from_the_command_line_and_resumed(tmp_path, capsys):
    out = tmp_path / "net"
    scores = common.command(demo.main, ["--steps", "25", "--seed", "3", "--out", str(out)])
    assert np.isfinite(list(scores.values())).all() and -40 < scores["bound 1"] < -15 and -40 < scores["bound 2"] < -15
    parts = ["pre-trained", "random-start"]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*PICTURES, *parts, "checkpoint.safetensors", "config.json", "metrics.csv"]
    )
    said = capsys.readouterr().out
    assert "2 machines: log-likelihood of test images at least -" in said and "wrong on the test set" in said
    before = {p: p.read_bytes() for p in out.rglob("metrics.csv")}
    assert common.command(demo.main, ["--resume", str(out)]) == scores
    assert before == {p: p.read_bytes() for p in out.rglob("metrics.csv")} and len(before) == 3


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data is 'cats'; digits, mnist"):
        demo.main(data="cats", out=str(tmp_path / "cats"))


def test_both_classifiers_have_dropout_behind_every_row_and_the_same_layers():
    net, train, test = demo.learnt(Run(quiet=True), "digits", 4)
    models = [demo.fine_tuned(Run(quiet=True), start, "digits", train, test, 2) for start in (net, None)]
    kinds = [[type(layer).__name__ for layer in model.trunk] for model in models]
    assert kinds[0] == kinds[1] == ["Linear", "Sigmoid", "Dropout", "Linear", "Sigmoid"]
    assert all(model.dropout.p == model.trunk[2].p == 0.3 for model in models)
    shapes = [[p.shape for p in model.parameters()] for model in models]
    assert shapes[0] == shapes[1]
    assert not np.shares_memory(models[0].trunk[0].weight.data, net.machines[0].weight.data)


def test_the_start_is_the_stack_or_random():
    net, train, test = demo.learnt(Run(quiet=True), "digits", 4)
    model = demo.fine_tuned(Run(quiet=True), net, "digits", train, test, 0)
    np.testing.assert_array_equal(model.trunk[0].weight.numpy(), net.machines[0].weight.numpy().T)
    weights = demo.random_start((300, 200, 100), tg.random.Generator(0))[0].weight.numpy()
    assert weights.std() == pytest.approx(4 * np.sqrt(2 / 500), rel=0.02) and abs(weights.mean()) < 0.01


def test_exact_bound_by_enumeration():
    own = tg.random.Generator(0)
    net = DeepBeliefNet([RBM(3, 2, rng=own), RBM(2, 3, rng=own)], rng=own)
    r = np.random.default_rng(0)
    for p in net.parameters():
        p.assign(r.normal(size=p.shape))
    x = np.array(list(itertools.product([0.0, 1.0], repeat=3)), np.float32)
    drawn = np.mean([net.elbo(x, samples=20, rng=tg.random.Generator(i)) for i in range(100)], axis=0)
    found = demo.exact_bound(net, x)
    np.testing.assert_allclose(found, drawn, atol=0.05)
    assert (found < net.log_prob(x)).all() and scipy.special.logsumexp(net.log_prob(x)) == pytest.approx(0, abs=1e-5)


def test_the_second_machine_begins_at_the_likelihood_of_the_first_and_raises_it():
    from tinygen.demos.rbm import bars_and_stripes

    found = demo.stacking(bars_and_stripes(), 6, dict(first=1500, second=500), 0)
    first, second = (found[found[:, 1] == level] for level in (0, 1))
    assert second[0, 2] == pytest.approx(first[-1, 3], abs=1e-3) == second[0, 3]
    assert second[-1, 2] > second[0, 2] + 0.3 and (second[:, 2] <= second[:, 3] + 1e-3).all()


def test_the_claims(tmp_path, monkeypatch):
    """On glyphs in the place of MNIST, with few steps."""
    asked = []

    def load(name, stand_in):
        asked.append((name, stand_in))
        return tg.data.load("glyphs")

    monkeypatch.setattr(demo, "load", load)
    claims = list(demo.CARD["claims"])
    values = demo.reproduce(Run(tmp_path / "both", quiet=True), claims)
    assert list(values) == claims and 20 < values[claims[0]] <= 95 and np.isfinite(values[claims[1]])
    assert asked == [("mnist", False)]
    assert demo.reproduce(Run.resume(tmp_path / "both", quiet=True), claims[:1]) == {claims[0]: values[claims[0]]}
    monkeypatch.setattr(demo, "error", lambda model, x, y: float(model.trunk[0].weight.numpy().std()))
    weights = demo.reproduce(Run.resume(tmp_path / "both", quiet=True), claims)
    assert weights[claims[0]] + weights[claims[1]] == pytest.approx(4 * np.sqrt(2 / 804), rel=0.05)  # the random one's

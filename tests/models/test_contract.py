"""What the model of every demo promises: its `tiny(rng)` gives a small one, and what `fit` learns from.

A new demo is held to all of this as soon as it has a CARD.
"""

import importlib
import types

import numpy as np
import pytest

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.ledger import cards
from tinygen.runs import Run

DEMOS = [card.demo for card in cards()]
each_demo = pytest.mark.parametrize("demo", DEMOS)
IN_ROWS = ["transform", "reconstruct", "predict", "predict_proba", "predict_log_proba", "score_samples", "free_energy"]


def module(demo):
    """A demo's module."""
    return importlib.import_module(f"demos.{demo}")


def tiny(demo, seed=0, device="cpu"):
    """A demo's small model and its data, on the host."""
    model, *data = module(demo).tiny(tg.random.Generator(seed, device=device))
    return model, [backend.to_numpy(a) if backend.is_array(a) else np.asarray(a) for a in data]


def quiet():
    return Run(quiet=True)


def leaves(tree, path=""):
    """The arrays and numbers of a state, by path."""
    if not isinstance(tree, dict):
        value = tree.data if isinstance(tree, tg.Tensor) else tree
        return {path: backend.to_numpy(value) if backend.is_array(value) else value}
    return {p: leaf for name, inner in tree.items() for p, leaf in leaves(inner, f"{path}/{name}").items()}


def same(a, b):
    """Whether two models have the same state, bit for bit."""
    a, b = leaves(a.state_dict()), leaves(b.state_dict())
    return a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


class Stopped(BaseException):
    """Stands for a kill."""


class Killed(Run):
    """A run that saves after step 5 and dies in step 8."""

    def steps(self, owner, n, *, save_every=None):
        for step in super().steps(owner, n, save_every=5):
            if step == 8:
                raise Stopped
            yield step


def resumed(folder):
    """The run in a folder, as a run of its own would go on."""
    return Run.resume(folder, quiet=True)


# ---- the promises ---------------------------------------------------------------------------------------


@each_demo
def test_finite_after_three_steps(demo):
    model, data = tiny(demo)
    assert model.fit(*data, steps=3, run=quiet()) is model
    for path, leaf in leaves(model.state_dict()).items():
        assert leaf is None or not np.issubdtype(np.asarray(leaf).dtype, np.floating) or np.isfinite(leaf).all(), path


@each_demo
def test_same_seed_same_bits(demo):
    models = [tiny(demo, seed) for seed in (0, 0, 1)]
    a, b, c = (model.fit(*data, steps=3, run=quiet()) for model, data in models)
    assert same(a, b) and not same(a, c)


@each_demo
def test_saved_and_loaded_goes_on_the_same(demo, tmp_path):
    a, data = tiny(demo)
    b, _ = tiny(demo, seed=1)
    tg.save(tmp_path / "model.safetensors", a.fit(*data, steps=3, run=quiet()).state_dict())
    b.load_state_dict(tg.load(tmp_path / "model.safetensors"))
    assert same(a, b)
    for model in (a, b):
        model.fit(*data, steps=2, run=quiet())
    assert same(a, b)


@each_demo
def test_killed_and_resumed_is_the_straight_run(demo, tmp_path):
    model, data = tiny(demo)
    model.fit(*data, steps=12, run=Run(tmp_path / "a", quiet=True))
    with pytest.raises(Stopped):
        tiny(demo)[0].fit(*data, steps=12, run=Killed(tmp_path / "b", quiet=True))
    assert tg.load(tmp_path / "b" / "checkpoint.safetensors")["step"] == 5
    tiny(demo, seed=4)[0].fit(*data, steps=12, run=resumed(tmp_path / "b"))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@each_demo
def test_answers_are_numpy_arrays_of_the_right_size(demo):
    model, data = tiny(demo)
    model.fit(*data, steps=3, run=quiet())
    for verb in [v for v in IN_ROWS if hasattr(model, v)]:
        found = getattr(model, verb)(data[0])
        assert isinstance(found, np.ndarray) and len(found) == len(data[0]) and np.isfinite(found).all(), verb
        if verb == "predict_proba":
            np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
        if verb == "reconstruct":
            assert found.shape == data[0].shape
    if hasattr(model, "sample"):
        drawn = [model.sample(5, rng=tg.random.Generator(2)) for _ in range(2)]
        assert isinstance(drawn[0], np.ndarray) and np.isfinite(drawn[0]).all()
        assert drawn[0].shape == (5, *data[0].shape[1:])
        np.testing.assert_array_equal(*drawn)


@each_demo
def test_on_the_stand_in_for_a_gpu(demo):
    strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")
    from tinygen.backend import cuda

    model, data = tiny(demo)
    expected = leaves(model.fit(*data, steps=3, run=quiet()).state_dict())
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        found = leaves(tiny(demo, device="cuda:0")[0].fit(*data, steps=3, run=quiet()).state_dict())
    for path, leaf in expected.items():
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
            np.testing.assert_allclose(found[path], leaf, rtol=1e-3, atol=1e-5, err_msg=path)


def spoilt(data):
    """What must be refused: a feature too few, no row, a number that is none."""
    nan = data[0].astype(float)
    nan[1] = np.nan
    return {"a feature too few": [data[0][..., :-1], *data[1:]], "no row": [a[:0] for a in data],
            "not a number": [nan, *data[1:]]}  # fmt: skip


@each_demo
@pytest.mark.parametrize("kind", ["a feature too few", "no row", "not a number"])
def test_bad_input_is_refused_and_changes_nothing(demo, kind):
    model, data = tiny(demo)
    before = {path: np.copy(leaf) for path, leaf in leaves(model.state_dict()).items() if leaf is not None}
    with pytest.raises(ValueError, match="wanted") as error:
        model.fit(*spoilt(data)[kind], steps=1, run=quiet())
    assert type(model).__name__ in str(error.value) and "\n" not in str(error.value)
    after = leaves(model.state_dict())
    assert all(np.array_equal(after[path], leaf) for path, leaf in before.items())


# ---- and the checks themselves --------------------------------------------------------------------------


class Forgetful:
    """A model that keeps its place in the data where no checkpoint sees it."""

    def __init__(self, weight):
        self.weight, self.place = weight, 0

    def state_dict(self):
        return {"weight": self.weight}

    def load_state_dict(self, state):
        self.weight = state["weight"]

    def fit(self, x, *, steps, run):
        for _ in run.steps(self, steps):
            self.weight = self.weight + x[self.place % len(x)]
            self.place += 1
        return self


def test_a_model_that_forgets_its_place_is_caught(tmp_path, monkeypatch):
    """The planted error: the contract must notice state that is not saved."""
    x = np.arange(12.0).reshape(4, 3)
    planted = types.SimpleNamespace(tiny=lambda rng: (Forgetful(rng.normal(3)), x))
    monkeypatch.setitem(globals(), "module", lambda demo: planted)
    with pytest.raises(AssertionError, match="assert b"):
        test_killed_and_resumed_is_the_straight_run("forgetful", tmp_path)

"""What every classifier of the family promises."""

import numpy as np
import pytest
from equations import equation

import tinygen as tg
from tinygen.models.supervised import Classifier, DropoutNet, Network, NormalisedNet
from tinygen.runs import Run

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)


def maker(kind, *sizes, **options):
    """A function that makes such a network from a seed, on a device."""
    return lambda seed=0, device="cpu": kind(*sizes, **options, rng=tg.random.Generator(seed, device=device))


MAKERS = [maker(Network, 4, 6, 3), maker(NormalisedNet, 4, 6, 6, 3), maker(DropoutNet, 4, 6, 3, p_input=0.1)]
each_kind = pytest.mark.parametrize("make", MAKERS, ids=["Network", "NormalisedNet", "DropoutNet"])


def quiet():
    return Run(quiet=True)


@each_kind
def test_shapes_dtypes_and_probabilities(make):
    net = make().fit(X, Y, steps=3, batch_size=8, run=quiet())
    log_p = net.predict_log_proba(X)
    assert log_p.shape == (40, 3) and log_p.dtype == np.float32 and np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-5)
    assert net.predict(X).shape == (40,) and set(net.predict(X)) <= {0, 1, 2}


@equation(Classifier.score, 1)
@each_kind
def test_score_is_the_share_of_right_answers(make):
    net = make().fit(X, Y, steps=3, batch_size=8, run=quiet())
    assert net.score(X, Y) == sum(a == b for a, b in zip(net.predict(X), Y, strict=True)) / 40
    assert net.score(X, net.predict(X)) == 1


@each_kind
def test_same_seed_same_bits_and_looking_changes_nothing(make):
    a, b, c = make(), make(), make(1)
    for net in (a, b, c):
        for _ in range(3):
            net.fit(X, Y, steps=2, batch_size=8, run=quiet())
            if net is b:
                net.score(X, Y)
    np.testing.assert_array_equal(a.predict_log_proba(X), b.predict_log_proba(X))
    assert not np.array_equal(a.predict_log_proba(X), c.predict_log_proba(X))


@each_kind
def test_killed_and_resumed_is_the_straight_run(make, tmp_path):
    make().fit(X, Y, steps=12, batch_size=8, run=Run(tmp_path / "a", quiet=True))
    run, net = Run(tmp_path / "b", quiet=True), make()
    data = net.checked(X, Y)
    for step in run.steps(net, 12, save_every=5):
        run.log(**net.update(*tg.data.batch(data, net.rng, 8)))
        if step == 8:
            break
    make(4).fit(X, Y, steps=12, batch_size=8, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@each_kind
def test_saved_and_loaded_is_the_same(make, tmp_path):
    a, b = make().fit(X, Y, steps=3, batch_size=8, run=quiet()), make(3)
    tg.save(tmp_path / "net.safetensors", a.state_dict())
    b.load_state_dict(tg.load(tmp_path / "net.safetensors"))
    for net in (a, b):
        net.fit(X, Y, steps=2, batch_size=8, run=quiet())
    np.testing.assert_array_equal(a.predict_log_proba(X), b.predict_log_proba(X))


@each_kind
def test_on_the_stand_in_for_a_gpu(make):
    strict_cupy = pytest.importorskip("strict_cupy", reason="tests/strict_cupy.py is missing")
    from tinygen.backend import cuda

    expected = make().fit(X, Y, steps=3, batch_size=8, run=quiet()).predict_log_proba(X)
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        found = make(device="cuda").fit(X, Y, steps=3, batch_size=8, run=quiet()).predict_log_proba(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@each_kind
def test_bad_input_is_refused(make):
    net = make()
    with pytest.raises(ValueError, match=r"x has shape \(40, 3\); at least one row of 4"):
        net.predict(X[:, :3])
    with pytest.raises(ValueError, match=r"y is float64 \(40,\)"):
        net.fit(X, Y * 1.0, steps=1, run=quiet())
    with pytest.raises(ValueError, match=r"\(0, 4\)"):
        net.predict(X[:0])
    assert isinstance(net, Classifier)

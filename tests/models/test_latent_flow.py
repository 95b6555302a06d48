"""The flow's density by brute force: Jacobians by the engine, integrals on a lattice, and an exact inverse."""

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import flow as chapter
from tinygen.models.latent.flow import Coupling, Flow, Invertible
from tinygen.runs import Run

rng = np.random.default_rng(0)


def shaken(module, seed=0, size=0.3):
    """The module with other weights, so that it is not the identity, in float64."""
    draw = np.random.default_rng(seed)
    module.to(dtype="float64")
    for p in module.parameters():
        p.assign(p.numpy() + size * draw.normal(size=p.shape))
    return module


def log_dets(g, h):
    """log |det| of the Jacobian matrix at each point, by the engine and NumPy."""
    found = []
    for point in h:
        J = tg.jacobian(lambda at: g(at[None])[0][0], tg.tensor(point, requires_grad=True)).numpy()
        found.append(np.linalg.slogdet(J)[1])
    return np.array(found)


# ---- the equations --------------------------------------------------------------------------------------


@equation(Coupling.forward, 5, 7)
@equation(chapter.couple, 5)
@equation(chapter.coupling_log_det, 7)
@pytest.mark.parametrize("d", [2, 3, 5])
def test_a_layer_by_hand_and_its_determinant_by_brute_force(d):  # (5), (7)
    layer = shaken(Coupling(np.arange(d) % 2 == 0, hidden=4, detail=2.0, rng=tg.random.Generator(0)))
    h = rng.normal(size=(6, d))
    x, log_det = (t.numpy() for t in layer(tg.tensor(h)))
    np.testing.assert_array_equal(x[:, ::2], h[:, ::2])  # one half passes through
    out = layer.net(tg.tensor(h * (np.arange(d) % 2 == 0))).numpy()
    s, t = layer.reach.numpy() * np.tanh(out[:, :d]), out[:, d:]
    np.testing.assert_allclose(x[:, 1::2], (h * np.exp(s) + t)[:, 1::2])
    np.testing.assert_allclose(log_det, log_dets(layer, h))
    np.testing.assert_allclose(chapter.couple(h, s, t), h * np.exp(s) + t)
    np.testing.assert_allclose(chapter.coupling_log_det(s), [sum(row) for row in s])


@equation(Coupling.inverse, 6)
@equation(chapter.uncouple, 6)
def test_a_layer_is_undone():  # (6)
    layer = shaken(Coupling(np.array([False, True, True]), hidden=4, detail=1.0, rng=tg.random.Generator(0)))
    h = rng.normal(size=(6, 3))
    x, there = layer(tg.tensor(h))
    back, log_det = layer.inverse(x)
    np.testing.assert_allclose(back.numpy(), h, atol=1e-12)
    np.testing.assert_allclose(log_det.numpy(), there.numpy())
    s, t = rng.normal(size=(2, 6, 3))
    np.testing.assert_allclose(chapter.uncouple(h * np.exp(s) + t, s, t), h)


@equation(Invertible.forward, 1, 4)
@equation(Invertible.inverse, 4)
@given(st.integers(2, 4), st.integers(1, 5), st.integers(0, 1000))
def test_a_flow_is_undone_and_its_determinant_is_brute_forces(d, layers, seed):  # (1), (4)
    g = shaken(Invertible(d, layers=layers, hidden=3, rng=tg.random.Generator(seed)), seed)
    h = np.random.default_rng(seed).normal(size=(3, d))
    expected = h
    for layer in g.layers:
        expected = layer(tg.tensor(expected))[0].numpy()
    x, log_det = g(tg.tensor(h))
    np.testing.assert_allclose(x.numpy(), expected)
    np.testing.assert_allclose(log_det.numpy(), log_dets(g, h), atol=1e-9)
    back, same = g.inverse(x)
    np.testing.assert_allclose(back.numpy(), h, atol=1e-8)
    np.testing.assert_allclose(same.numpy(), log_det.numpy(), atol=1e-9)


@equation(chapter.log_density, 2)
@equation(chapter.negative_log_likelihood, 3)
@equation(chapter.log_prior, 2)
def test_an_affine_flow_makes_a_gaussian_that_is_known():  # (2), (3): x = (2 h_1 + 1, h_2 / 4)
    h = rng.normal(size=(5, 2))
    x, log_det = h * np.array([2, 0.25]) + np.array([1, 0]), np.full(5, np.log(0.5))
    expected = scipy.stats.multivariate_normal.logpdf(x, [1, 0], np.diag([4, 1 / 16]))
    np.testing.assert_allclose(chapter.log_density(h, log_det), expected)
    np.testing.assert_allclose(chapter.negative_log_likelihood(h, log_det), -expected.mean())
    np.testing.assert_allclose(chapter.log_prior(h), scipy.stats.norm.logpdf(h).sum(1))


@equation(Flow.forward, 2)
def test_the_density_integrates_to_one():  # (2), the row's bar
    flow = Flow(2, layers=4, hidden=6, rng=tg.random.Generator(0))
    shaken(flow)
    ticks = np.linspace(-25, 25, 701)
    places = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    density = np.exp(flow.score_samples(places))
    assert density.sum() * (ticks[1] - ticks[0]) ** 2 == pytest.approx(1, abs=1e-4)
    drawn = flow.sample(40_000, rng=tg.random.Generator(1))  # and it is the density of what is drawn
    for share in (drawn[:, 0] > 0.3, np.linalg.norm(drawn, axis=1) < 1.5):
        assert 0.02 < share.mean() < 0.98
    right = density[places[:, 0] > 0.3].sum() / density.sum()
    near = density[np.linalg.norm(places, axis=1) < 1.5].sum() / density.sum()
    assert abs((drawn[:, 0] > 0.3).mean() - right) < 0.012
    assert abs((np.linalg.norm(drawn, axis=1) < 1.5).mean() - near) < 0.012


def test_a_determinant_that_is_forgotten_is_caught(monkeypatch):
    """The planted error: without the determinant, (2) is no density."""
    monkeypatch.setattr(chapter, "log_density", lambda h, log_det: chapter.log_prior(h))
    with pytest.raises(AssertionError):
        test_the_density_integrates_to_one()


@equation(chapter.excess, 8)
def test_the_likelihood_is_entropy_and_divergence():  # (8)
    p, q = scipy.stats.norm(0, 1), scipy.stats.norm(0.5, 2)
    x = p.ppf((np.arange(20_000) + 0.5) / 20_000)
    entropy, kl = chapter.excess(q.logpdf(x), p.logpdf(x))
    np.testing.assert_allclose(entropy, p.entropy(), atol=1e-3)
    np.testing.assert_allclose(kl, np.log(2) + (1 + 0.25) / 8 - 0.5, rtol=2e-3)
    np.testing.assert_allclose(entropy + kl, -q.logpdf(x).mean())


def test_gradient_of_the_likelihood_end_to_end():  # (3)
    g, x = shaken(Invertible(2, layers=2, hidden=3, rng=tg.random.Generator(0))), rng.normal(size=(4, 2))
    places = [(m, name) for m in g.modules() for name, _ in m._own("parameter")]

    def loss(*values):
        for (m, name), value in zip(places, values, strict=True):
            vars(m)[name] = value
        return chapter.negative_log_likelihood(*g.inverse(x))

    tg.check_grads(loss, [vars(m)[name].numpy() for m, name in places], order=1)


# ---- the model ------------------------------------------------------------------------------------------


def fitted(seed=0, steps=3, device="cpu", run=None):
    x = tg.random.Generator(9).normal((60, 3))
    flow = Flow(3, layers=3, hidden=8, detail=2.0, rng=tg.random.Generator(seed, device=device))
    return flow.fit(x, steps=steps, batch_size=16, run=run or Run(quiet=True))


def test_it_begins_as_the_identity():
    x = tg.random.Generator(0).normal((5, 2))
    flow = Flow(2, rng=tg.random.Generator(0))
    np.testing.assert_array_equal(flow.transform(x), x)
    np.testing.assert_allclose(flow.score_samples(x), scipy.stats.norm.logpdf(x).sum(1), rtol=1e-5)


def test_training_finds_two_hills():
    draw = tg.random.Generator(1)
    x = draw.normal((2000, 2)) * 0.4
    x[:1000, 0] += 1.5
    x[1000:, 0] -= 1.5
    flow = Flow(2, layers=4, hidden=16, detail=2.0, lr=1e-2, rng=tg.random.Generator(0))
    before = flow.score_samples(x).mean()
    after = flow.fit(x, steps=200, batch_size=200, run=Run(quiet=True)).score_samples(x).mean()
    entropy = np.log(2) + 1 + np.log(2 * np.pi) + 2 * np.log(0.4)
    assert before < -2.8 and -entropy - 0.15 < after < -entropy + 0.1
    drawn = flow.sample(1000, rng=tg.random.Generator(2))
    assert 0.35 < (drawn[:, 0] > 0).mean() < 0.65 and (abs(drawn[:, 0]) < 0.4).mean() < 0.08


def test_same_seed_same_bits_and_shapes():
    draws = [fitted(seed).sample(4, rng=tg.random.Generator(1)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert draws[0].shape == (4, 3) and draws[0].dtype == np.float32 and not np.array_equal(draws[0], draws[2])
    flow, x = fitted(), tg.random.Generator(5).normal((7, 3))
    np.testing.assert_allclose(flow.inverse_transform(flow.transform(x)), x, atol=1e-5)
    assert flow.score_samples(x).shape == (7,)


def test_parts_are_put_together(monkeypatch):
    flow, x = fitted(), tg.random.Generator(5).normal((7, 3))
    whole = flow.score_samples(x)
    monkeypatch.setattr(chapter, "AT_ONCE", 3)
    np.testing.assert_allclose(flow.score_samples(x), whole, rtol=1e-5)


def test_on_every_device(device):
    expected, found = fitted(), fitted(device=device)
    x = tg.random.Generator(5).normal((7, 3))
    np.testing.assert_allclose(found.score_samples(x), expected.score_samples(x), rtol=1e-4)
    drawn = found.sample(3, rng=tg.random.Generator(1, device=device))
    np.testing.assert_allclose(drawn, expected.sample(3, rng=tg.random.Generator(1)), rtol=1e-4, atol=1e-6)


def test_bad_input_is_refused():
    for d, options in ((1, {}), (2, {"layers": 0}), (2, {"hidden": 0}), (2, {"detail": 0})):
        with pytest.raises(ValueError, match="Invertible: d is .* wanted"):
            Flow(d, **options)
    with pytest.raises(ValueError, match=r"Flow: x has shape \(2, 2\); at least one row of 3"):
        fitted().score_samples(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="Flow: x has NaN"):
        fitted().transform(np.full((1, 3), np.nan))

"""Parallel GANs: each member is what it would be alone, and the numbers that are read off a curve."""

import numpy as np
import pytest
from equations import equation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tinygen as tg
from tinygen import nn
from tinygen.models.gan import mixture as chapter
from tinygen.models.gan.losses import Minimax, NonSaturating
from tinygen.models.gan.mixture import Ahead, ParallelGAN, Together
from tinygen.runs import Run

rng = np.random.default_rng(0)
DATA = rng.normal(size=(40, 4, 2)).astype(np.float32)  # (n, s, 2)


def made(members=4, seed=0, **options):
    return ParallelGAN(
        3, 2, members=members, generator=(6, 5), discriminator=(5,), rng=tg.random.Generator(seed), **options
    )


def fitted(members=4, steps=40, run=None, **options):
    model = made(members, **options)
    return model.fit(DATA[:, :members], steps=steps, batch_size=8, run=run or Run(quiet=True))


def weights(model, s=slice(None)):
    """Weights, and what the optimisers remember of them, of some members."""
    state = model.state_dict()
    memories = [m[name] for o in ("optimizer_d", "optimizer_g") for m in state[o]["state"].values()
                for name in ("exp_avg", "exp_avg_sq")]  # fmt: skip
    return [w[s] for w in (*(v for k, v in state.items() if k.endswith(("weight", "bias"))), *memories)]


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.stacked_linear, 1)
def test_a_stacked_map_is_a_map_for_each_member():  # (1)
    x, w, c = rng.normal(size=(3, 7, 4)), rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 1, 2))
    found = chapter.stacked_linear(x, w, c)
    for s, b, j in np.ndindex(found.shape):
        np.testing.assert_allclose(found[s, b, j], sum(x[s, b, i] * w[s, i, j] for i in range(4)) + c[s, 0, j])
    np.testing.assert_allclose(chapter.stacked_linear(x[0], w, c)[2], x[0] @ w[2] + c[2])  # one input for all
    tg.check_grads(chapter.stacked_linear, (x, w, c))


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating()])
@equation(Together.discriminator, 2)
@equation(Together.generator, 2)
def test_what_all_pay_is_the_sum_of_what_each_pays_and_so_are_the_gradients(loss):  # (2)
    D, (x, x_fake) = made().to(dtype="float64").discriminator, rng.normal(size=(2, 4, 8, 2))
    together, w = Together(loss, 4), list(D.parameters())
    for pays, alone in [
        (
            lambda D: together.discriminator(D, x, x_fake, None),
            lambda D, s: loss.discriminator(D, x[s], x_fake[s], None),
        ),
        (lambda D: together.generator(D, x_fake), lambda D, s: loss.generator(D, x_fake[s])),
    ]:
        v, grads, total = pays(D), tg.grad(pays(D), w), 0.0
        for s in range(4):
            one = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 1)).to(dtype="float64")
            for p, q in zip(one.parameters(), w, strict=True):
                p.assign(q.numpy()[s].T if q.shape[1] > 1 else q.numpy()[s].reshape(p.shape))
            v_s = alone(one, s)
            total += float(v_s)
            for g, g_s in zip(grads, tg.grad(v_s, list(one.parameters())), strict=True):
                np.testing.assert_allclose(g.numpy()[s].T.reshape(g_s.shape), g_s.numpy(), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(float(v), total, rtol=1e-12)


TURNS = np.arange(0, 110, 10)
Q = np.exp(np.random.default_rng(1).normal(size=(11, 3)))


@equation(chapter.end, 3)
def test_the_end_is_the_median_of_the_last_tenth():  # (3)
    turns = np.arange(0, 101)
    q = np.random.default_rng(2).uniform(size=(101, 2))
    np.testing.assert_array_equal(chapter.end(turns, q), [sorted(column[91:])[4:6][0] / 2 + sorted(column[91:])[5] / 2
                                                          for column in q.T])  # fmt: skip
    np.testing.assert_array_equal(chapter.end(TURNS, Q), Q[-1])  # turn 100 alone is after turn 90


@equation(chapter.reach, 4)
def test_the_reach_is_the_first_turn_below_the_level():  # (4)
    q = np.array([[5.0, 5.0, 1.0], [2.0, 5.0, 5.0], [1.0, 5.0, 5.0], [3.0, 2.0, 5.0], [1.0, 3.0, 5.0]])
    turns = np.array([0.0, 10, 20, 30, 40])
    np.testing.assert_array_equal(chapter.reach(turns, q, 2.0), [10, 30, 0])
    np.testing.assert_array_equal(chapter.reach(turns, q, 0.5), [40, 40, 40])  # never


@equation(chapter.unrest, 5)
def test_unrest_is_the_mean_jump_in_the_second_half():  # (5)
    found = chapter.unrest(TURNS, Q)
    for s in range(3):
        jumps = [abs(np.log10(Q[k + 1, s] / Q[k, s])) for k in range(5, 10)]
        assert found[s] == pytest.approx(sum(jumps) / 5)
    halving = 0.5 ** np.arange(11.0)[:, None]
    assert chapter.unrest(TURNS, halving)[0] == pytest.approx(np.log10(2))


@equation(chapter.height, 6)
def test_the_height_is_the_geometric_mean():  # (6)
    np.testing.assert_allclose(chapter.height(TURNS, Q), np.prod(Q, axis=0) ** (1 / 11))


@equation(chapter.relapse, 7)
def test_the_relapse_is_the_largest_way_back_up():  # (7)
    found = chapter.relapse(TURNS, Q, 20)
    for s in range(3):
        assert found[s] == pytest.approx(max(Q[late, s] / Q[k, s] for k in range(3, 11) for late in range(k + 1, 11)))
    falling = np.arange(11.0, 0, -1)[:, None]
    assert chapter.relapse(TURNS, falling, 0)[0] < 1


@given(arrays(float, (12, 2), elements=st.floats(1e-5, 1.0)), st.floats(0.1, 10.0))
@settings(max_examples=30, deadline=None)
def test_scaling_a_curve_moves_its_level_and_not_its_shape(q, factor):
    turns = np.arange(12)
    for number in (chapter.end, chapter.height):
        np.testing.assert_allclose(number(turns, factor * q), factor * number(turns, q))
    np.testing.assert_allclose(chapter.unrest(turns, factor * q), chapter.unrest(turns, q), atol=1e-9)
    np.testing.assert_allclose(chapter.relapse(turns, factor * q, 3), chapter.relapse(turns, q, 3))


# ---- members --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"k_d": 3, "k_g": 2}, {"loss": "non-saturating", "simultaneous": True}])
def test_a_member_is_the_same_bit_for_bit_whoever_else_is_in_the_stack(options):
    all_four, two, one = (fitted(members, **options) for members in (4, 2, 1))
    for a, b, c in zip(weights(all_four), weights(two), weights(one), strict=True):
        np.testing.assert_array_equal(a[:2], b)
        np.testing.assert_array_equal(a[:1], c)


def test_members_differ_in_every_random_number():
    model = made()
    for w in [p.numpy() for p in (*model.generator.parameters(), *model.discriminator.parameters()) if p.shape[1] > 1]:
        assert len(np.unique(w)) == w.size
    z, x = model.noise(5), model.batch(model.checked(np.arange(320.0).reshape(40, 4, 2)), 6)
    assert z.shape == (4, 5, 3) and len(np.unique(z)) == z.size and z.min() >= 0 and z.max() < 1
    assert x.shape == (4, 6, 2)
    np.testing.assert_array_equal(x[:, :, 0] % 8, np.arange(0, 8, 2)[:, None].repeat(6, 1))  # each from its own data
    np.testing.assert_array_equal(x[:, :, 1] - x[:, :, 0], 1)
    assert len({tuple(rows) for rows in (x[:, :, 0] // 8).tolist()}) == 4


def test_weights_start_as_glorot_says():
    layer = chapter.StackedLinear(30, 50, rngs=tg.random.Generator(0).spawn(3))
    assert layer.weight.shape == (3, 30, 50) and not layer.bias.numpy().any()
    assert layer.weight.numpy().std((1, 2)) == pytest.approx(np.sqrt(2 / 80), rel=0.05)
    assert np.abs(layer.weight.numpy()).max() <= np.sqrt(6 / 80)


@pytest.mark.parametrize("used", range(10))
def test_numbers_drawn_ahead_go_on_from_any_place(used):
    def draws(ahead, n):
        return np.array([ahead(lambda rng, shape: rng.uniform(shape), 2, 3) for _ in range(n)])

    def new():
        return Ahead(tg.random.Generator(5).spawn(2), steps=4)

    straight, stopped, resumed = new(), new(), new()
    expected = draws(straight, used + 9)
    draws(stopped, used)
    resumed.load_state_dict(stopped.state_dict())
    assert resumed.state_dict() == stopped.state_dict()  # also before anything is drawn
    np.testing.assert_array_equal(draws(resumed, 9), expected[used:])
    np.testing.assert_array_equal(draws(stopped, 9), expected[used:])  # and saving has changed nothing


def test_another_shape_begins_another_block():
    ahead = Ahead(tg.random.Generator(5).spawn(2), steps=4)
    draw = lambda rng, shape: rng.uniform(shape)
    assert [ahead(draw, n).shape for n in (3, 3, 5, 3)] == [(2, 3), (2, 3), (2, 5), (2, 3)]


def test_the_log_has_a_row_every_so_many_turns_with_what_is_measured(tmp_path):
    from tinygen.runs.metrics import read_metrics

    run = Run(tmp_path / "run", quiet=True)
    made(2).fit(DATA[:, :2], steps=10, batch_size=4, every=4, measure=lambda model, t: {"twice": 2 * t}, run=run)
    log = read_metrics(tmp_path / "run" / "metrics.csv")
    assert log["step"] == [4, 8] and log["twice"] == [8, 16] and np.isfinite(log["loss_d"] + log["loss_g"]).all()


def test_shapes_and_refusals():
    model = fitted()
    assert model.sample(6, rng=tg.random.Generator(0)).shape == (6, 4, 2)
    z = rng.uniform(size=(5, 3))
    np.testing.assert_allclose(model.decode(z), model.decode(np.broadcast_to(z, (4, 5, 3))), rtol=1e-6)
    with pytest.raises(ValueError, match="minimax or non-saturating is wanted"):
        made(loss="wasserstein")
    with pytest.raises(ValueError, match=r"ParallelGAN: x has shape \(40, 2\)"):
        model.fit(DATA[:, 0], steps=1)

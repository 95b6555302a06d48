"""The grouped net's equations by loops over groups and by enumeration; its order; pruned links; promises."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import GroupedBeliefNet
from tinygen.models.density import grouped_belief_net as chapter
from tinygen.models.density.links import linked
from tinygen.runs import Run

rng = np.random.default_rng(0)
N_VALUES = (2, 4, 3, 2)


def quiet():
    return Run(quiet=True)


def rows(n_values=N_VALUES):
    """All combinations of values."""
    return np.array(list(itertools.product(*map(range, n_values))), float)


def net(n_values=N_VALUES, *, units=2, seed=0, links=None, device="cpu", **options):
    """A net in float64 with large random parameters, and these links."""
    model = GroupedBeliefNet(n_values, units=units, rng=tg.random.Generator(seed, device=device), **options)
    model = model.to(dtype="float64")
    draw = np.random.default_rng(seed)
    for p in model.parameters():
        p.assign(draw.normal(size=p.shape))
    model._connect(model.links.data if links is None else tg.tensor(links, device=device).data)
    return model


def some_links(d, seed):
    return np.tril(np.random.default_rng(seed).random((d, d)) < 0.5, -1).astype("float32")


def by_hand(model, x):
    """The hidden groups, outputs and log P of one row, group by group: (1)-(5)."""
    n_values, m, most = model.n_values, model.units, max(model.n_values) - 1
    V, c, W, b = (p.numpy() for p in (model.V, model.c, model.W, model.b))
    links, d = model.links.numpy(), len(n_values)
    h, g, log_p = {}, [], 0.0
    for j in range(1, d):
        mine = slice((j - 1) * m, j * m)
        total = c[mine].copy()
        for k in range(j):
            if links[j, k]:
                z = np.array([float(x[k] == value) for value in range(1, most + 1)])
                total += V[mine, k * most : (k + 1) * most] @ z
        h[j] = np.tanh(total)
    for j in range(d):
        out = slice(j * most, j * most + n_values[j] - 1)
        g.append(b[out].copy())
        for i in range(1, j + 1):
            if i == j or links[j, i]:
                g[j] += W[out, (i - 1) * m : i * m] @ h[i]
        log_p += scipy.special.log_softmax([0.0, *g[j]])[int(x[j])]
    return np.concatenate(list(h.values())), g, log_p


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.coded, 1)
def test_a_unit_for_each_value_but_the_first():  # (1)
    x = np.array([[0, 2, 1], [3, 0, 3]])
    expected = [[[0, 0, 0], [0, 1, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 1]]]
    np.testing.assert_array_equal(chapter.coded(x, 4, "float64"), expected)


@pytest.mark.parametrize("seed", range(3))
@equation(chapter.hidden, 2)
@equation(chapter.outputs, 3)
@equation(chapter.probabilities, 4)
@equation(chapter.log_likelihood, 5)
@equation(chapter.masks, 6)
def test_the_net_group_by_group(seed):  # (1)-(6)
    model = net(seed=seed, links=some_links(4, seed))
    V, W = (weight.numpy() for weight in model.linked_weights())
    x = rows()
    z = chapter.coded(x, 4, "float64")
    h = chapter.hidden(z[:, :-1], V, model.c.numpy())
    g = chapter.outputs(h, W, model.b.numpy(), 4) + model.absent
    p, found = chapter.probabilities(g), chapter.log_likelihood(z, g)
    np.testing.assert_allclose(p.sum(2), 1, rtol=1e-12)
    for i, row in enumerate(x):
        h_i, g_i, log_p = by_hand(model, row)
        np.testing.assert_allclose(h[i], h_i, rtol=1e-12)
        for j, scores in enumerate(g_i):
            np.testing.assert_allclose(g[i, j, : len(scores)], scores, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(p[i, j, : len(scores) + 1], scipy.special.softmax([0, *scores]), rtol=1e-10)
            assert (p[i, j, len(scores) + 1 :] == 0).all()  # values that a variable does not have
        np.testing.assert_allclose(found[i], log_p, rtol=1e-10)
        np.testing.assert_allclose(model.score_samples(x[i : i + 1]), log_p, rtol=1e-10)


@given(st.lists(st.integers(2, 4), min_size=2, max_size=5), st.integers(1, 3), st.integers(0, 10**6))
def test_it_is_exactly_normalised(n_values, units, seed):
    model = net(n_values, units=units, seed=seed, links=some_links(len(n_values), seed))
    assert abs(scipy.special.logsumexp(model.score_samples(rows(n_values)))) < 1e-10


def test_two_values_are_the_logistic_function():  # (4)
    g = rng.normal(size=(5, 3, 1))
    np.testing.assert_allclose(chapter.probabilities(g)[..., 1], scipy.special.expit(g[..., 0]), rtol=1e-12)
    assert np.isfinite(chapter.probabilities(1e4 * g)).all()


# ---- the order and the links ----------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.booleans())
def test_an_output_sees_earlier_inputs_only(seed, pruned):
    model = net((3, 3, 3, 3, 3), seed=seed, links=some_links(5, seed) if pruned else None)
    z = np.random.default_rng(seed).normal(size=(1, 5, 2))
    seen = tg.jacobian(lambda z: model(z), z)
    seen = np.abs(np.asarray(seen).reshape(5, 2, 5, 2)).max((1, 3))  # of outputs by inputs
    links = model.links.numpy()
    paths = links + links @ links  # input l to hidden group j, or to an earlier group i that is linked to output j
    np.testing.assert_array_equal(seen > 0, paths > 0)
    assert (np.triu(seen) == 0).all()


def test_what_comes_later_changes_no_earlier_prediction():
    model, x = net(), rows()
    for j in range(4):
        changed = x.copy()
        changed[:, j:] = (changed[:, j:] + 1) % np.array(N_VALUES)[j:]
        before, after = model.conditionals(x), model.conditionals(changed)
        np.testing.assert_array_equal(before[:, : j + 1], after[:, : j + 1])


def test_pruned_weights_do_nothing_and_do_not_learn():
    model = net((2,) * 5, links=some_links(5, 3))
    first, second = (np.array(mask) for mask in model._masks)
    V, W = model.V.numpy().copy(), model.W.numpy().copy()
    x = rng.integers(0, 2, (30, 5)).astype(float)
    for _ in range(3):
        model.update(x)
    changed_V, changed_W = model.V.numpy() != V, model.W.numpy() != W
    assert (changed_V <= (first > 0)).all() and (changed_W <= (second > 0)).all()
    assert changed_V.any() and changed_W.any()
    before = model.score_samples(x)
    model.V.assign(model.V.numpy() + 9 * (1 - first))
    np.testing.assert_array_equal(model.score_samples(x), before)


def test_the_share_of_links_counts_groups_in_both_layers():
    model = net((3,) * 6, units=2, links=some_links(6, 1))
    blocks = [np.asarray(mask)[::step[0], ::step[1]].sum() for mask, step in zip(model._masks, ((2, 2), (2, 2)),
                                                                               strict=True)]  # fmt: skip
    assert model.share_of_links() == pytest.approx(sum(blocks) / (15 + 15))
    assert net().share_of_links() == 1


def test_fit_links_what_the_test_finds_dependent():
    x = rng.integers(0, 3, (500, 5))
    x[:, 4] = (x[:, 1] > 0) + (x[:, 1] > 1)  # a copy
    model = GroupedBeliefNet((3,) * 5, threshold=2.0, lr=0.03, rng=tg.random.Generator(0))
    model.start_at(x).fit(x, steps=150, run=quiet())
    expected = np.zeros((5, 5))
    expected[4, 1] = 1
    np.testing.assert_array_equal(model.links.numpy(), expected)
    assert -model.score_samples(x).mean() == pytest.approx(4 * math.log(3), abs=0.1)


# ---- the model ------------------------------------------------------------------------------------------


def test_it_starts_at_independent_variables():
    x = np.stack([rng.integers(0, k, 400) for k in N_VALUES], axis=1)
    model = GroupedBeliefNet(N_VALUES, rng=tg.random.Generator(0)).start_at(x)
    shares = [np.bincount(x[:, j], minlength=4) / 400 for j in range(4)]
    np.testing.assert_allclose(model.conditionals(x[:1])[0], shares, atol=1e-3)


def test_it_learns_what_no_logistic_net_can():
    x = rng.integers(0, 2, (400, 3))
    x[:, 2] = x[:, 0] ^ x[:, 1]  # exclusive or
    model = GroupedBeliefNet((2, 2, 2), units=4, lr=0.05, rng=tg.random.Generator(0)).fit(x, steps=300, run=quiet())
    assert -model.score_samples(x).mean() < 2 * math.log(2) + 0.05  # a logistic net is at 3 log 2


def test_grey_images_lead_to_the_law_of_their_versions():
    y = np.array([[0.9, 0.1]] * 2 + [[0.1, 0.8]])
    model = GroupedBeliefNet((2, 2), units=2, lr=0.02, schedule=tg.optim.schedules.Cosine(600),
                             rng=tg.random.Generator(0))  # fmt: skip
    model.start_at(y).fit(y, steps=600, resample=True, run=quiet())
    exact = [np.mean([np.prod(np.where(x == 1, row, 1 - row)) for row in y]) for x in rows((2, 2))]
    np.testing.assert_allclose(np.exp(model.score_samples(rows((2, 2)))), exact, atol=0.03)


def test_samples_and_completions_have_the_exact_law():
    model, n = net(links=some_links(4, 5)), 40_000
    codes = np.array([24, 6, 2, 1])
    exact = np.exp(model.score_samples(rows()))
    found = np.bincount(model.sample(n, rng=tg.random.Generator(1)) @ codes, minlength=48) / n
    np.testing.assert_allclose(found, exact, atol=5 * 0.5 / math.sqrt(n))
    drawn = model.complete(np.tile([1, 2, 0, 0], (n, 1)), 2, rng=tg.random.Generator(2))
    assert (drawn[:, :2] == [1, 2]).all()
    found = np.bincount(drawn @ codes, minlength=48)[36:42] / n
    np.testing.assert_allclose(found, exact[36:42] / exact[36:42].sum(), atol=5 * 0.5 / math.sqrt(n))
    np.testing.assert_array_equal(model.complete(rows(), 4), rows())


def test_links_are_saved_and_loaded(tmp_path):
    x = rng.integers(0, 3, (50, 4))
    a = GroupedBeliefNet((3,) * 4, threshold=0.6, rng=tg.random.Generator(0)).fit(x, steps=3, run=quiet())
    assert 0 < a.share_of_links() < 1
    tg.save(tmp_path / "net.safetensors", a.state_dict())
    b = GroupedBeliefNet((3,) * 4, rng=tg.random.Generator(1))
    b.load_state_dict(tg.load(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(a.score_samples(x), b.score_samples(x))


def test_on_every_device(device):
    model = net(threshold=0.3, device=device)
    x = rows()
    model.start_at(x).fit(x, steps=4, run=quiet())
    assert model.V.device == device and abs(scipy.special.logsumexp(model.score_samples(x))) < 1e-9
    assert model.complete(x, 2).shape == (48, 4) and isinstance(model.sample(3), np.ndarray)
    np.testing.assert_array_equal(model.links.numpy(), linked(np.zeros((4, 4)), 0.3))  # all combinations: independent
    grey = net((2, 2, 2), threshold=0.0, device=device)
    grey.fit(np.full((9, 3), 0.4), steps=2, resample=True, run=quiet())
    assert np.isfinite(grey.score_samples(rows((2, 2, 2)))).all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m.fit(np.full((3, 4), 0.5), steps=1), "variable 0 of x has values from 0.5 to 0.5; integers"),
    (lambda m: m.score_samples(np.full((3, 4), 3)), "variable 0 of x has values from 3 to 3; integers from 0 to 1"),
    (lambda m: m.fit(np.full((3, 4), 0), steps=1, resample=True), "some with 4; integers and resample=False"),
    (lambda m: m.conditionals(np.zeros((3, 2))), r"shape \(3, 2\); at least one row of 4 variables is wanted"),
    (lambda m: m.complete(np.zeros((3, 4)), 5), "known is 5; from 0 to 4 is wanted"),
    (lambda m: GroupedBeliefNet((2, 1)), "got 2 variables of 1 or more values and 1 units"),
    (lambda m: GroupedBeliefNet(()), "got 0 variables"),
])  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(net())

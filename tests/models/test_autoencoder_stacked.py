"""The chapter on stacked autoencoders: its equations layer by layer in NumPy, and what each way of learning moves."""

import numpy as np
import pytest
from equations import equation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, xlogy

import tinygen as tg
from tinygen.models.autoencoder import StackedAutoencoder
from tinygen.models.autoencoder import stacked as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = rng.uniform(size=(7, 6))


def stack(*sizes, seed=0, scale=3.0, **options):
    """A stack in float64 whose layers are far from constant."""
    made = StackedAutoencoder(*(sizes or (6, 5, 4, 3)), rng=tg.random.Generator(seed), **options).to(dtype="float64")
    for p in made.parameters():
        p.assign(scale * p.numpy())
    return made


def struck_out(x, rng):
    """A quarter of the numbers set to zero."""
    return x * rng.bernoulli(0.75, x.shape, dtype=x.dtype)


def by_hand(made, x):
    """All codes, and what each layer's decoder makes of the code of its own layer, in NumPy."""
    y, back = [x], []
    for up, down in zip(made.ups, made.downs, strict=True):
        y.append(expit(y[-1] @ up.weight.numpy().T + up.bias.numpy()))
        back.append(expit(y[-1] @ down.weight.numpy().T + down.bias.numpy()))
    return y, back


def entropy(x, x_hat):
    """The cross-entropy of each row."""
    return -(xlogy(x, x_hat) + xlogy(1 - x, 1 - x_hat)).sum(1)


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.codes, 1)
def test_codes_layer_by_layer(device):
    made = stack()
    expected, _ = by_hand(made, X)
    made.to(device)
    found = chapter.codes(tg.tensor(X, device=device), made.ups)
    for y, other in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(y.numpy(), other)
    assert [y.shape for y in found] == [(7, 6), (7, 5), (7, 4), (7, 3)]
    np.testing.assert_allclose(found[1].numpy(), expected[1])


@equation(chapter.rebuilt, 2)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_way_back_from_any_layer(layers):
    made = stack()
    y = by_hand(made, X)[0][layers]
    a = chapter.rebuilt(tg.tensor(y), made.downs[:layers]).numpy()
    for down in made.downs[layers - 1 : 0 : -1]:
        y = expit(y @ down.weight.numpy().T + down.bias.numpy())
    np.testing.assert_allclose(a, y @ made.downs[0].weight.numpy().T + made.downs[0].bias.numpy())
    np.testing.assert_allclose(made.reconstruct(X, layers=layers), expit(a))


@equation(chapter.layer_loss, 3)
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_loss_of_a_layer(layer):
    made = stack()
    y, _ = by_hand(made, X)
    given, seen = y[layer - 1], struck_out(y[layer - 1], tg.random.Generator(3))
    up, down = made.ups[layer - 1], made.downs[layer - 1]
    hidden = expit(seen @ up.weight.numpy().T + up.bias.numpy())
    back = hidden @ down.weight.numpy().T + down.bias.numpy()
    found = chapter.layer_loss(tg.tensor(given), tg.tensor(seen), up, down)
    np.testing.assert_allclose(found.numpy(), entropy(given, expit(back)))
    found = chapter.layer_loss(tg.tensor(given), tg.tensor(seen), up, down, bernoulli=False)
    np.testing.assert_allclose(found.numpy(), np.square(given - back).sum(1))


@equation(chapter.whole_loss, 4)
def test_the_loss_of_the_whole_is_that_of_its_reconstruction():
    made, seen = stack(), struck_out(X, tg.random.Generator(3))
    found = chapter.whole_loss(tg.tensor(X), tg.tensor(seen), made.ups, made.downs).numpy()
    np.testing.assert_allclose(found, entropy(X, made.reconstruct(seen)))
    squared = stack(loss="squared")
    found = chapter.whole_loss(tg.tensor(X), tg.tensor(seen), squared.ups, squared.downs, bernoulli=False).numpy()
    np.testing.assert_allclose(found, np.square(X - squared.reconstruct(seen)).sum(1))


@equation(chapter.error_bound, 5)
def test_the_bound_is_sharp_for_one_chain_of_numbers():
    """Linear layers of one unit that all lose in the same direction: here (5) holds with equality."""
    V, y = np.array([2.0, 3.0, 0.5]), np.array([1.0, 0.7, 0.4, 0.3])  # decoders, and codes that lose at each layer
    errors = np.array([[y[k] - V[k] * y[k + 1] for k in range(3)]])
    assert (errors[0, :2] * errors[0, 1:] < 0).any()  # of other signs: then the bound is no equality
    errors = abs(errors)
    lost = errors[0, 0] + V[0] * (errors[0, 1] + V[1] * errors[0, 2])
    np.testing.assert_allclose(chapter.error_bound(errors, list(V)), [lost])
    np.testing.assert_allclose(chapter.error_bound(errors, list(V[:2])), [lost])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 30), st.sampled_from(["cross-entropy", "squared"]))
def test_no_stack_loses_more_than_the_bound(seed, scale, loss):  # (5)
    made = stack(seed=seed, scale=scale, loss=loss)
    x = np.random.default_rng(seed).uniform(size=(5, 6))
    lost = np.linalg.norm(x - made.reconstruct(x), axis=1)
    assert (lost <= chapter.error_bound(made.layer_errors(x), made.stretch()) * (1 + 1e-9)).all()


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_what_each_layer_loses(loss):  # (5)
    made = stack(loss=loss)
    y, back = by_hand(made, X)
    if loss == "squared":
        back[0] = y[1] @ made.downs[0].weight.numpy().T + made.downs[0].bias.numpy()
    expected = np.stack([np.linalg.norm(a - b, axis=1) for a, b in zip(y[:-1], back, strict=True)], 1)
    np.testing.assert_allclose(made.layer_errors(X), expected)
    norms = [np.linalg.svd(down.weight.numpy())[1][0] for down in made.downs]
    np.testing.assert_allclose(made.stretch(), [norms[0] / (1 if loss == "squared" else 4), norms[1] / 4, norms[2] / 4])


def test_a_layer_counts_in_units_of_the_code():
    """The chapter's example: the second linear layer keeps the component that the first one gives out enlarged."""
    h = rng.normal(size=(4000, 2)) * [2.0, 1.0]  # principal components of variance 4 and 1
    y = h * [1.0, 10.0]  # a first layer that loses nothing
    _, axes = np.linalg.eigh(np.cov(y.T))
    kept = axes[:, -1]
    back = np.outer(y @ kept, kept) / [1.0, 10.0]
    assert np.square(h - back).sum(1).mean() == pytest.approx(4, rel=0.1)
    assert np.square(h[:, 1]).mean() == pytest.approx(1, rel=0.1)  # what the first component alone would lose


# ---- the ways of learning -------------------------------------------------------------------------------


def moved(made, update):
    """Which layers a step has moved, of the encoder and of the decoder."""
    before = [p.numpy().copy() for layers in (made.ups, made.downs) for p in (layer.weight for layer in layers)]
    update()
    after = [p.numpy() for layers in (made.ups, made.downs) for p in (layer.weight for layer in layers)]
    changed = [bool((a != b).any()) for a, b in zip(before, after, strict=True)]
    return [changed[: made.depth], changed[made.depth :]]


def test_option_1_moves_the_layer_whose_turn_it_is():
    made = stack()
    assert moved(made, lambda: made.update_layer(X, 2)) == [[False, True, False]] * 2
    assert [made.turn(step, 9) for step in range(1, 10)] == [1] * 3 + [2] * 3 + [3] * 3


def test_option_2_moves_all():
    made = stack(at_once=True)
    assert moved(made, lambda: made.update(X)) == [[True] * 3] * 2


def test_the_gradient_of_a_layer_is_that_of_its_own_loss():
    """A step of plain descent, whose change is the gradient of (3), by central differences."""
    made, step = stack(), 1e-3
    made.optimizer = tg.optim.SGD(made.parameters(), step)
    made.schedule = tg.optim.Schedule(made.optimizer, tg.optim.schedules.Constant())
    weight = made.ups[1].weight
    before, y = weight.numpy().copy(), by_hand(made, X)[0][1]

    def loss(value):
        shifted = before.copy()
        shifted[2, 3] = value
        weight.assign(shifted)
        return float(tg.mean(chapter.layer_loss(tg.tensor(y), tg.tensor(y), made.ups[1], made.downs[1])))

    slope = (loss(before[2, 3] + 1e-5) - loss(before[2, 3] - 1e-5)) / 2e-5
    weight.assign(before)
    made.update_layer(X, 2)
    assert (before - weight.numpy())[2, 3] / step == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("at_once", [False, True])
def test_only_the_layer_that_learns_sees_corrupted_numbers(at_once, monkeypatch):
    shown = []

    def corrupt(y, rng):
        shown.append(y)
        return 0 * y

    made = stack(corruption=corrupt, at_once=at_once)
    y, _ = by_hand(made, X)
    parts = made.update(X) if at_once else made.update_layer(X, 3)
    (seen,) = shown
    np.testing.assert_allclose(seen, X if at_once else y[2])  # clean codes come up from below
    before = stack(corruption=corrupt, at_once=at_once)
    if not at_once:
        target = chapter.layer_loss(tg.tensor(y[2]), tg.tensor(0 * y[2]), before.ups[2], before.downs[2])
        assert float(parts["loss"]) == pytest.approx(float(tg.mean(target)))


@pytest.mark.parametrize("at_once", [False, True])
def test_it_learns(at_once):
    """Images that one number tells apart."""
    x = (np.linspace(0, 1, 50)[:, None] > np.linspace(0.05, 0.95, 6)).astype(float)
    made = StackedAutoencoder(6, 8, 3, at_once=at_once, lr=2e-2, rng=tg.random.Generator(0))
    before = made.errors(x).mean()
    made.fit(x, steps=600, run=Run(quiet=True))
    assert made.errors(x).mean() < before / 4


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"sizes is \(6,\); .* one layer"):
        StackedAutoencoder(6)
    with pytest.raises(ValueError, match="layers is 4; 1 to 3 is wanted"):
        stack().transform(X, layers=4)

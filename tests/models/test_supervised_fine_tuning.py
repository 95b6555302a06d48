"""A classifier on top of a given network: its equation, what moves and what does not, and its promises."""

import numpy as np
import pytest
from equations import equation
from scipy.optimize import minimize
from scipy.special import log_softmax

import tinygen as tg
from tinygen import nn
from tinygen.models.supervised import FineTuned
from tinygen.models.supervised.dropout import Dropout
from tinygen.optim import schedules
from tinygen.runs import Run

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(40, 6)), np.arange(40) % 3


def quiet():
    return Run(quiet=True)


def made(*, seed=0, device="cpu", normed=False, **options):
    """A classifier on top of a small network; `normed`: with statistics of minibatches in it."""
    generator = tg.random.Generator(seed, device=device)
    norm = [nn.BatchNorm1d(4)] if normed else []
    trunk = nn.Sequential(nn.Linear(6, 4, rng=generator), *norm, nn.Tanh()).to(device)
    return FineTuned(trunk, 6, 4, 3, rng=generator, **options)


def state(module):
    """Weights and buffers of a module, copied."""
    return {name: np.array(tg.tensor(v).numpy()) for name, v in nn.Module.state_dict(module).items() if v is not None}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ---- the equation ---------------------------------------------------------------------------------------


@equation(FineTuned.forward, 1)
def test_logits_are_a_linear_layer_on_the_features(device):
    net = made(device=device).to(dtype="float64")
    net.eval()
    hidden = np.tanh(X @ net.trunk[0].weight.numpy().T + net.trunk[0].bias.numpy())
    expected = hidden @ net.out.weight.numpy().T + net.out.bias.numpy()
    np.testing.assert_allclose(net(tg.tensor(X, device=device)).numpy(), expected)
    np.testing.assert_allclose(net.predict_log_proba(X), log_softmax(expected, 1))


def test_the_trunk_is_the_given_one_and_not_a_copy():
    trunk = nn.Linear(6, 4, rng=tg.random.Generator(0))
    net = FineTuned(trunk, 6, 4, 3, rng=tg.random.Generator(1))
    assert net.trunk is trunk
    before = trunk.weight.numpy().copy()
    net.fit(X, Y, steps=1, run=quiet())
    assert not np.array_equal(before, trunk.weight.numpy())


# ---- what moves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normed", [False, True])
def test_a_frozen_trunk_stays_with_its_statistics(normed):
    """Also what a trunk notes of minibatches in training, such as a mean, must stay."""
    net = made(frozen=True, normed=normed)
    before, top = state(net.trunk), state(net.out)
    net.fit(X, Y, steps=5, run=quiet())
    assert same(before, state(net.trunk)) and not same(top, state(net.out))
    assert len(net.optimizer.params) == 2


def test_a_frozen_trunk_is_not_in_training_while_the_classifier_is():
    """Dropout inside of it does not strike out what it gives."""
    generator = tg.random.Generator(0)
    net = FineTuned(nn.Sequential(Dropout(0.9, rng=generator)), 6, 6, 3, frozen=True, rng=generator).train()
    np.testing.assert_array_equal(net.features(tg.tensor(X)).numpy(), X)
    assert net.training


def test_no_gradient_goes_through_a_frozen_trunk():
    net = made(frozen=True)
    loss = net.loss(tg.tensor(X.astype("float32")), Y)
    gradients = tg.grad(loss, list(net.parameters()), allow_unused=True)
    assert [g is None for g in gradients] == [True, True, False, False]


@pytest.mark.parametrize("normed", [False, True])
def test_everything_moves_otherwise(normed):
    net = made(normed=normed)
    before = state(net)
    net.fit(X, Y, steps=2, run=quiet())
    after = state(net)
    assert all(not np.array_equal(before[name], after[name]) for name in before)


def test_the_top_layer_of_a_frozen_trunk_is_softmax_regression():
    """Given features, the best $W$ and $b$ are those of a convex problem: the gradient at the end is about 0."""
    net = made(frozen=True, lr=0.05, schedule=schedules.Cosine(3000))
    net.fit(X, Y, steps=3000, batch_size=400, run=quiet())
    hidden = np.tanh(X @ net.trunk[0].weight.numpy().T + net.trunk[0].bias.numpy())

    def cost(theta):
        W, b = theta[:12].reshape(3, 4), theta[12:]
        return -log_softmax(hidden @ W.T + b, 1)[np.arange(40), Y].mean()

    least = minimize(cost, np.zeros(15)).fun
    assert -net.predict_log_proba(X)[np.arange(40), Y].mean() == pytest.approx(least, abs=2e-3)


def test_dropout_is_of_the_features_and_only_in_training():
    net = made(p=0.5)
    x = tg.tensor(X.astype("float32"))
    net.eval()
    np.testing.assert_array_equal(net(x).numpy(), net(x).numpy())
    net.train()
    assert not np.array_equal(net(x).numpy(), net(x).numpy())


def test_the_rate_follows_its_schedule():
    net = made(lr=0.1, schedule=schedules.Cosine(4), optimizer=tg.optim.SGD)
    rates = [net.optimizer.lr]
    for _ in range(4):
        net.update(tg.tensor(X.astype("float32")), Y)
        rates.append(net.optimizer.lr)
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(5) / 4)), atol=1e-12)


# ---- promises -------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """Stands for a kill."""


class Killed(Run):
    """A run that saves after step 3 and dies in step 5."""

    def steps(self, owner, n, *, save_every=None):
        for step in super().steps(owner, n, save_every=3):
            if step == 5:
                raise Stopped
            yield step


OPTIONS = dict(p=0.3, normed=True, schedule=schedules.Cosine(9))


@pytest.mark.parametrize("frozen", [False, True])
def test_killed_and_resumed_is_the_straight_run(frozen, tmp_path):
    a = made(frozen=frozen, **OPTIONS).fit(X, Y, steps=8, run=Run(tmp_path / "a", quiet=True))
    with pytest.raises(Stopped):
        made(frozen=frozen, **OPTIONS).fit(X, Y, steps=8, run=Killed(tmp_path / "b", quiet=True))
    b = made(seed=5, frozen=frozen, **OPTIONS).fit(X, Y, steps=8, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    np.testing.assert_array_equal(a.predict_log_proba(X), b.predict_log_proba(X))


def test_same_seed_same_bits():
    a, b, c = (made(seed=seed, **OPTIONS).fit(X, Y, steps=3, run=quiet()) for seed in (0, 0, 1))
    assert same(state(a), state(b)) and not same(state(a), state(c))


def test_images_for_a_trunk_that_wants_images():
    """A convolution below, and answers also where images come as rows."""
    generator = tg.random.Generator(0)
    trunk = nn.Sequential(nn.Conv2d(1, 2, 3, rng=generator), nn.ReLU(), nn.Flatten())
    net = FineTuned(trunk, (1, 5, 4), 2 * 3 * 2, 3, rng=generator)
    x = rng.uniform(size=(6, 1, 5, 4))
    net.fit(x, np.arange(6) % 3, steps=2, run=quiet())
    np.testing.assert_array_equal(net.predict_log_proba(x), net.predict_log_proba(x.reshape(6, -1)))


@pytest.mark.parametrize(("width", "n_classes"), [(0, 3), (4, 1)])
def test_what_is_refused(width, n_classes):
    with pytest.raises(ValueError, match=rf"FineTuned: .* got {width} and {n_classes}"):
        FineTuned(nn.Identity(), 6, width, n_classes)


@pytest.mark.parametrize(("x", "y"), [(X[:, :5], Y), (X[:0], Y[:0]), (X * np.nan, Y), (X, Y[:3]), (X, Y + 0.5)])
def test_bad_input_is_refused_and_changes_nothing(x, y):
    net = made()
    before = state(net)
    with pytest.raises(ValueError, match=r"FineTuned: .* wanted"):
        net.fit(x, y, steps=1, run=quiet())
    assert same(before, state(net))

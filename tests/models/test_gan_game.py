"""The one loop of the GAN family: Algorithm 1 by hand, and what every GAN promises."""

import numpy as np
import pytest
import scipy.special
from equations import equation

import tinygen as tg
from tinygen import nn, optim
from tinygen.models.gan import GAN, LOSSES, Loss, nets, normal, uniform
from tinygen.runs import Run

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2)).astype(np.float32)


def players(name="non-saturating", seed=0, device="cpu"):
    """Both networks, and the Generator that drew them."""
    draws = tg.random.Generator(seed, device=device)
    make = nets.autoencoder if name == "began" else nets.discriminator
    return nets.generator(3, 2, hidden=5, rng=draws), make(2, hidden=4, rng=draws), draws


def tiny(name="non-saturating", seed=0, device="cpu", **options):
    G, D, draws = players(name, seed, device)
    return GAN(G, D, options.pop("loss", name), prior=options.pop("prior", normal(3)), rng=draws, **options)


def exact(name="minimax", **options):
    """In float64, with plain gradient steps."""
    G, D, draws = players(name)
    return GAN(G.to(dtype="float64"), D.to(dtype="float64"), name, prior=normal(3), lr=0.1, optimizer=optim.SGD,
               rng=draws, **options)  # fmt: skip


def weights(module):
    return [p.numpy() for p in module.parameters()]


def moved_by_hand(module, loss):
    """The parameters less 0.1 times the slope of a loss, by differences."""
    found = []
    for p in module.parameters():
        value, step = p.numpy(), 1e-5
        gradient = np.zeros_like(value)
        for i in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                p.assign(value + sign * step * (np.arange(value.size).reshape(value.shape) == np.ravel_multi_index(
                    i, value.shape)))  # fmt: skip
                sides.append(loss())
            gradient[i] = (sides[0] - sides[1]) / (2 * step)
        p.assign(value)
        found.append(value - 0.1 * gradient)
    return found


# ---- Algorithm 1 ----------------------------------------------------------------------------------------


def v(gan, x, z):
    """The value, from probabilities."""
    real, fake = (scipy.special.expit(gan.discriminator(points).numpy()) for points in (x, gan.generator(z)))
    return np.log(real).mean() + np.log(1 - fake).mean()


@equation(GAN.discriminator_loss, 1)
def test_the_discriminator_raises_the_value():  # (1)
    gan, z = exact(), rng.normal(size=(5, 3))
    np.testing.assert_allclose(gan.discriminator_loss(X, gan.fake(z)).item(), -v(gan, X, z))


@equation(GAN.discriminator_step, 2)
def test_one_step_of_the_discriminator():  # (2)
    gan, z, still = exact(), rng.normal(size=(5, 3)), exact()
    expected = moved_by_hand(gan.discriminator, lambda: -v(gan, X, z))
    assert gan.discriminator_step(X, z)["loss_d"].item() == pytest.approx(-v(still, X, z), rel=1e-6)
    for found, wanted in zip(weights(gan.discriminator), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-8)
    for found, wanted in zip(weights(gan.generator), weights(still.generator), strict=True):
        np.testing.assert_array_equal(found, wanted)


@equation(GAN.generator_step, 3)
def test_one_step_of_the_generator():  # (3)
    gan, z, still = exact(), rng.normal(size=(5, 3)), exact()

    def loss():
        fake = gan.discriminator(gan.generator(z)).numpy()
        return np.log(1 - scipy.special.expit(fake)).mean()

    expected, before = moved_by_hand(gan.generator, loss), loss()
    assert gan.generator_step(z)["loss_g"].item() == pytest.approx(before, rel=1e-6)
    for found, wanted in zip(weights(gan.generator), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-8)
    for found, wanted in zip(weights(gan.discriminator), weights(still.discriminator), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_no_gradient_of_the_other_players_weights_is_computed():
    gan = tiny()
    gan.update(X, 8)
    assert all(p.grad is None for p in gan.parameters())
    gan.discriminator.requires_grad_(False)  # so that asking for one would be an error
    gan.generator_step(gan.noise(4))
    gan.discriminator.requires_grad_()
    assert not gan.fake(gan.noise(4)).requires_grad


def watched(gan):
    """The order of the moves of one turn."""
    moves = []
    for name in ("discriminator_step", "generator_step", "simultaneous_step"):
        whole = getattr(gan, name)
        object.__setattr__(gan, name, lambda *a, whole=whole, name=name: moves.append(name[0]) or whole(*a))
    gan.update(X, 8)
    return "".join(moves)


def test_a_turn_has_so_many_steps_of_each():
    assert watched(tiny()) == "dg" and watched(tiny(k_d=3, k_g=2)) == "dddgg"
    assert watched(tiny(simultaneous=True)) == "s"


def test_simultaneous_players_answer_to_where_the_other_stood():
    x, z_d, z_g = X, rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    alone_d, alone_g, both = exact(), exact(), exact(simultaneous=True)
    alone_d.discriminator_step(x, z_d)
    alone_g.generator_step(z_g)
    both.simultaneous_step(x, z_d, z_g)
    for found, wanted in ((both.discriminator, alone_d.discriminator), (both.generator, alone_g.generator)):
        for a, b in zip(weights(found), weights(wanted), strict=True):
            np.testing.assert_array_equal(a, b)


def test_weights_are_clipped_after_the_step():
    """With a rate this high, clipping before the step would leave weights near 1."""
    gan = tiny("wasserstein", lr=(1.0, 1e-3))
    for _ in range(3):
        gan.update(X, 8)
        assert max(abs(w).max() for w in weights(gan.discriminator)) <= np.float32(0.01)


def test_two_rates_and_a_schedule():
    gan = tiny(lr=(0.1, 0.2), schedule=optim.schedules.Steps(2, 0.5))
    rates = []
    for _ in range(4):
        rates.append((gan.optimizer_d.lr, gan.optimizer_g.lr))
        gan.update(X, 8)
    np.testing.assert_allclose(rates, [(0.1, 0.2), (0.1, 0.2), (0.05, 0.1), (0.05, 0.1)])


def test_a_generator_finds_where_the_data_are():
    G, D = nn.Linear(1, 1, rng=tg.random.Generator(0)), nets.discriminator(1, hidden=16, rng=tg.random.Generator(1))
    gan = GAN(G, D, prior=normal(1), lr=0.01, rng=tg.random.Generator(2))
    gan.fit(rng.normal(3, 0.5, (1000, 1)), steps=500, run=Run(quiet=True))
    x = gan.sample(1000, rng=tg.random.Generator(3))
    assert abs(x.mean() - 3) < 0.3 and abs(x.std() - 0.5) < 0.3


# ---- what every GAN promises ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_on_every_device(name, device):
    gan = tiny(name, device=device).fit(X, steps=3, batch_size=8, run=Run(quiet=True))
    x = gan.sample(4, rng=tg.random.Generator(1, device=device))
    assert type(x) is np.ndarray and x.shape == (4, 2) and x.dtype == np.float32 and np.isfinite(x).all()
    expected = tiny(name).fit(X, steps=3, batch_size=8, run=Run(quiet=True)).sample(4, rng=tg.random.Generator(1))
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["began", "wasserstein-gp"])
def test_killed_and_resumed_is_the_straight_run(name, tmp_path):
    options = dict(k_d=2, schedule=optim.schedules.Cosine(12))
    tiny(name, **options).fit(X, steps=12, batch_size=8, run=Run(tmp_path / "a", quiet=True))
    run, gan = Run(tmp_path / "b", quiet=True), tiny(name, **options)
    x = gan.checked(X)
    for step in run.steps(gan, 12, save_every=5):
        run.log(**gan.update(x, 8))
        if step == 8:
            break
    tiny(name, seed=4, **options).fit(X, steps=12, batch_size=8, run=Run.resume(tmp_path / "b", quiet=True))
    for file in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_saved_and_loaded_is_the_same_game(tmp_path):
    a = tiny("began", loss=LOSSES["began"](gamma=5.0, rate=0.01)).fit(X, steps=3, batch_size=8, run=Run(quiet=True))
    tg.save(tmp_path / "gan.safetensors", a.state_dict())
    b = tiny("began", seed=3, loss=LOSSES["began"](gamma=5.0, rate=0.01))
    b.load_state_dict(tg.load(tmp_path / "gan.safetensors"))
    assert a.loss.k.item() == b.loss.k.item() > 0
    for gan in (a, b):
        gan.fit(X, steps=2, batch_size=8, run=Run(quiet=True))
    np.testing.assert_array_equal(*(gan.sample(5, rng=tg.random.Generator(1)) for gan in (a, b)))


def test_same_seed_same_bits_and_looking_changes_nothing():
    a, b, c = (tiny(seed=seed).fit(X, steps=2, batch_size=8, run=Run(quiet=True)) for seed in (0, 0, 1))
    a.sample(3)
    for gan in (a, b, c):
        gan.fit(X, steps=2, batch_size=8, run=Run(quiet=True))
    draws = [gan.sample(3, rng=tg.random.Generator(1)) for gan in (a, b, c)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


class Images(nn.Module):
    """Codes (n, 3) to images (n, 1, 2, 2), through a layer that behaves otherwise in training."""

    def __init__(self, draws):
        self.net = nn.Sequential(nn.Linear(3, 4, rng=draws), nn.BatchNorm1d(4), nn.Unflatten(1, (1, 2, 2)))

    def forward(self, z):
        return self.net(z)


@pytest.mark.parametrize("name", ["non-saturating", "wasserstein-gp", "dragan"])
def test_images(name):
    draws = tg.random.Generator(0)
    D = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, rng=draws))
    gan = GAN(Images(draws), D, name, prior=uniform(3), rng=draws)
    gan.fit(rng.uniform(size=(20, 1, 2, 2)), steps=3, batch_size=6, run=Run(quiet=True))
    assert gan.sample(5).shape == (5, 1, 2, 2) and gan.generator.training
    z = uniform(3)(5, tg.random.Generator(1))
    np.testing.assert_allclose(gan.decode(z)[:2], gan.decode(z[:2]), rtol=1e-6)  # each image by itself


class Members(GAN):
    """Three games at once: data (rows, d), minibatches and codes (3, size, d)."""

    def batch(self, x, size):
        return x[self.rng.integers(0, len(x), (3, size))]

    def checked(self, x):
        return x


class Stacked(nn.Module):
    def __init__(self, n_in, n_out, draws):
        self.weight = tg.tensor(draws.normal((3, n_in, n_out)), requires_grad=True)

    def forward(self, x):
        return tg.matmul(x, self.weight)


def test_members_do_not_mix():
    loss = LOSSES["wasserstein-gp"](batch_axes=2)
    draws = tg.random.Generator(0)
    gan = Members(Stacked(3, 2, draws), Stacked(2, 1, draws), loss, prior=lambda n, rng: rng.normal((3, n, 3)),
                  optimizer=optim.SGD, rng=draws)  # fmt: skip
    x, x_fake = gan.batch(X, 8), gan.fake(gan.noise(8))
    total = gan.discriminator_loss(x, x_fake)
    (gradient,) = tg.grad(total, gan.optimizer_d.params)
    other = x.copy()
    other[1] += 1
    state = gan.rng.state
    first = tg.grad(loss.discriminator(gan.discriminator, x, x_fake, tg.random.Generator(5)), gan.optimizer_d.params)
    second = tg.grad(loss.discriminator(gan.discriminator, other, x_fake, tg.random.Generator(5)),
                     gan.optimizer_d.params)  # fmt: skip
    same = [np.array_equal(first[0].numpy()[m], second[0].numpy()[m]) for m in range(3)]
    assert same == [True, False, True] and gradient.shape == (3, 2, 1) and gan.rng.state == state
    gan.fit(X, steps=2, batch_size=4, run=Run(quiet=True))
    assert gan.sample(7).shape == (3, 7, 2)


def test_priors():
    draws = tg.random.Generator(0)
    z, u = normal(2, 3.0)(5000, draws) / 3, uniform(2, -1, 3)(5000, draws)
    assert z.shape == u.shape == (5000, 2) and abs(z.std() - 1) < 0.05 and abs(z.mean()) < 0.05
    assert -1 <= u.min() < -0.98 and 2.98 < u.max() < 3


def test_bad_input_is_refused():
    gan = tiny()
    for x, message in ((X[:, :1], r"GAN: x has shape \(40, 1\); at least one row of shape \(2,\)"),
                       (X[:0], r"\(0, 2\)"), (X[0], r"\(2,\)")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            gan.fit(x, steps=1, run=Run(quiet=True))
    with pytest.raises(ValueError, match="x has 1 values that are NaN"):
        gan.checked(np.where(np.arange(80).reshape(40, 2) == 7, np.nan, X))
    with pytest.raises(ValueError, match="loss is 'hinge'; minimax, non-saturating"):
        tiny("hinge")
    with pytest.raises(ValueError, match="k_d is 0 and k_g is 1; at least one"):
        tiny(k_d=0)
    with pytest.raises(ValueError, match="exactly one where they are simultaneous"):
        tiny(k_d=2, simultaneous=True)
    with pytest.raises(NotImplementedError, match="Loss has no generator"):
        tiny(loss=Loss()).update(X, 4)

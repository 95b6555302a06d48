"""The DCGAN chapter's equations against the layers themselves, its two sets of rules, and the model's promises."""

import dataclasses

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.models.gan import dcgan as chapter
from tinygen.models.gan.dcgan import DCGAN, RULES
from tinygen.nn import functional as F
from tinygen.runs import Run

rng = np.random.default_rng(0)
each_rules = pytest.mark.parametrize("rules", RULES)


def tiny(seed=0, rules="dcgan", size=8, device="cpu", **options):
    options = {"n_latent": 4, "widths": (6, 4), "rng": tg.random.Generator(seed, device=device)} | options
    return DCGAN(size, rules=rules, **options)


def images(n=20, size=8, channels=1):
    return tg.random.Generator(9).uniform((n, channels, size, size))


def fitted(seed=0, steps=3, run=None, **options):
    return tiny(seed, **options).fit(images(), steps=steps, batch_size=5, run=run or Run(quiet=True))


# ---- the equations --------------------------------------------------------------------------------------


shapes = st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2))


@equation(chapter.smaller, 1)
@given(shapes)
def test_sizes_on_the_way_down(shape):
    n, q, S, P = shape
    if n + 2 * P < q:
        return
    y = F.conv2d(np.zeros((1, 1, n, n)), np.zeros((1, 1, q, q)), stride=S, padding=P)
    assert y.shape[2:] == (chapter.smaller(n, kernel_size=q, stride=S, padding=P),) * 2


@equation(chapter.larger, 2)
@given(shapes, st.integers(0, 2))
def test_sizes_on_the_way_up(shape, o):
    """And that they are the sizes which a convolution takes back to n, one for each output padding."""
    n, q, S, P = shape
    n_1 = chapter.larger(n, kernel_size=q, stride=S, padding=P, output_padding=o)
    if o >= S or n_1 < 1:
        return
    weight = np.zeros((1, 1, q, q))
    y = F.conv_transpose2d(np.zeros((1, 1, n, n)), weight, stride=S, padding=P, output_padding=o)
    assert y.shape[2:] == (n_1, n_1)
    assert chapter.smaller(n_1, kernel_size=q, stride=S, padding=P) == n


def test_a_stride_of_a_fraction_puts_that_many_zeros_less_one():
    """S2's transposed convolution, with S - 1 zeros where it writes S; kernel turned, padding q - 1 - P."""
    x, weight, S, P = rng.normal(size=(1, 1, 3, 3)), rng.normal(size=(1, 1, 4, 4)), 2, 1
    between = np.zeros((1, 1, 5, 5))
    between[..., ::S, ::S] = x
    expected = F.conv2d(between, weight[..., ::-1, ::-1].copy(), padding=4 - 1 - P)
    np.testing.assert_allclose(F.conv_transpose2d(x, weight, stride=S, padding=P), expected, atol=1e-12)


@equation(chapter.unit, 3)
def test_tanh_is_a_sigmoid_of_twice_as_much():
    a = rng.normal(size=100) * 3
    np.testing.assert_allclose(chapter.unit(np.tanh(a)), scipy.special.expit(2 * a), rtol=1e-9)
    np.testing.assert_allclose(chapter.signed(chapter.unit(a)), a, atol=1e-12)


@equation(chapter.line, 4)
def test_lines_between_codes():
    a, b = rng.normal(size=(2, 5))
    found = chapter.line(a, b, 4)
    np.testing.assert_allclose(found, [a, (2 * a + b) / 3, (a + 2 * b) / 3, b], rtol=1e-10)


# ---- the networks ---------------------------------------------------------------------------------------


@given(st.integers(8, 40), st.integers(1, 3), st.sampled_from([1, 3]), st.sampled_from([*RULES]))
def test_images_of_any_size(size, layers, channels, rules):
    gan = DCGAN(size, channels, n_latent=3, widths=(4, 3, 2)[:layers], rules=rules, rng=tg.random.Generator(0))
    y = gan.generator(gan.noise(2))
    assert y.shape == (2, channels, size, size) and gan.discriminator(y).shape == (2, 1)


def test_28_pixels_make_maps_of_14_7_and_3():
    assert chapter.sides(28, 3) == [28, 14, 7, 3]
    with pytest.raises(ValueError, match="side 7 cannot be halved 3 times"):
        DCGAN(7, rng=tg.random.Generator(0))


def kinds(module):
    return [type(m).__name__ for m in module]


def test_the_network_of_the_thesis():
    """S2 ex. 4.2.2: z of 100, a layer of 256, maps 128, 64, 32; maps 32, 64, 128 and a linear layer; rate 0.001."""
    gan = DCGAN(rules="thesis", rng=tg.random.Generator(0))
    G, D = gan.generator, gan.discriminator
    assert kinds(G)[:3] == ["Linear", "BatchNorm1d", "ReLU"] and kinds(G)[-1] == "Sigmoid"
    assert G[0].weight.shape == (256, 100)
    up = [m.weight.shape[:2] for m in G if isinstance(m, nn.ConvTranspose2d)]
    down = [m.weight.shape[:2] for m in D if isinstance(m, nn.Conv2d)]
    assert up == [(256, 128), (128, 64), (64, 32), (32, 1)] and down == [(32, 1), (64, 32), (128, 64)]
    assert kinds(D)[-1] == "Linear" and "LeakyReLU" not in kinds(D)
    assert gan.optimizer_d.lr == gan.optimizer_g.lr == 1e-3
    z = gan.noise(1000)
    assert 0 <= z.min() and z.max() <= 1 and abs(z.mean() - 0.5) < 0.01


def test_the_rules_of_s3():
    """Part 5: no pooling, no hidden fully connected layer, ReLU and tanh in G, leaky ReLU in D, batch norm."""
    gan = DCGAN(rng=tg.random.Generator(0))
    G, D = gan.generator, gan.discriminator
    assert kinds(G) == ["Unflatten", *["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 3, "ConvTranspose2d", "Tanh"]
    assert kinds(D) == ["Conv2d", "LeakyReLU", *["Conv2d", "BatchNorm2d", "LeakyReLU"] * 2, "Flatten", "Linear"]
    z = gan.noise(1000)
    assert -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1
    for network in (G, D):
        for name, p in network.named_parameters():
            if name.endswith("weight"):
                assert p.numpy().std() == pytest.approx(0.02, rel=0.15)
                assert p.numpy().mean() == pytest.approx(1.0 if p.ndim == 1 else 0.0, abs=0.01)


def test_rules_may_be_mixed():
    gan = tiny(rules=dataclasses.replace(RULES["thesis"], signed=True))
    assert kinds(gan.generator)[0] == "Linear" and kinds(gan.generator)[-1] == "Tanh"
    with pytest.raises(ValueError, match="rules is 'best'; thesis, dcgan"):
        tiny(rules="best")


@each_rules
def test_players_see_images_on_their_own_scale_and_verbs_speak_of_0_to_1(rules):
    gan, x = tiny(rules=rules), images()
    seen = gan.checked(x)
    np.testing.assert_allclose(seen, 2 * x - 1 if rules == "dcgan" else x)
    y = gan.sample(200)
    assert 0 <= y.min() and y.max() <= 1 and y.dtype == np.float32


def test_real_and_generated_images_are_normalised_apart():
    """D's answer to one batch does not depend on the other; in one batch of both it would."""
    gan, x = tiny(widths=(6, 4, 4)), images()
    D, real, fake = gan.discriminator, gan.checked(x)[:8], gan.fake(gan.noise(8))
    apart = D(real).numpy()
    together = D(tg.concatenate([tg.tensor(real), fake], 0)).numpy()[:8]
    assert np.abs(apart - together).max() > 1e-4
    loss = gan.discriminator_loss(real, fake)
    expected = np.logaddexp(0, -apart).mean() + np.logaddexp(0, D(fake).numpy()).mean()
    assert float(loss.item()) == pytest.approx(expected, rel=1e-5)


def test_a_sample_does_not_depend_on_its_neighbours():
    gan = fitted()
    z = gan.noise(7)
    np.testing.assert_allclose(gan.decode(z)[:2], gan.decode(z[:2]), atol=1e-6)
    assert gan.generator.training


# ---- the model ------------------------------------------------------------------------------------------


@each_rules
def test_it_learns_where_the_ink_is(rules):
    """Images that are white in their left half, all by the same amount for an image."""
    x = np.zeros((64, 1, 8, 8), np.float32)
    x[..., :4] = tg.random.Generator(1).uniform((64, 1, 1, 1), 0.5, 1.0)
    gan = tiny(rules=rules, widths=(16, 8), lr=5e-3).fit(x, steps=150, batch_size=16, run=Run(quiet=True))
    y = gan.sample(100, rng=tg.random.Generator(0))
    assert y[..., :4].mean() > 0.5 and y[..., 4:].mean() < 0.15


def test_shapes_and_walks():
    gan = fitted()
    a, b = gan.noise(2)
    walk = gan.interpolate(a, b, 5)
    assert walk.shape == (5, 1, 8, 8)
    np.testing.assert_allclose(walk[[0, -1]], gan.decode(np.stack([a, b])), atol=1e-6)
    assert gan.decode(gan.noise(1003)).shape == (1003, 1, 8, 8)  # more than fit into one part


@each_rules
def test_same_seed_same_bits_and_looking_changes_nothing(rules):
    a, b, c = (fitted(seed, rules=rules) for seed in (0, 0, 1))
    state = b.rng.state
    b.sample(3), b.interpolate(*b.prior(2, tg.random.Generator(0)), 3)
    assert b.rng.state == state
    a.fit(images(), steps=2, batch_size=5, run=Run(quiet=True))
    b.fit(images(), steps=2, batch_size=5, run=Run(quiet=True))
    draws = [gan.sample(3, rng=tg.random.Generator(1)) for gan in (a, b, c)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_what_is_kept_is_all_there_is(tmp_path):
    """Both networks with their running averages, both optimisers, the generator."""
    a = fitted(schedule=tg.optim.schedules.Cosine(9))
    state = a.state_dict()
    assert {"generator.2.running_mean", "discriminator.3.running_var", "optimizer_d", "optimizer_g", "rng"} <= {*state}
    tg.save(tmp_path / "gan.safetensors", state)
    b = tiny(3, schedule=tg.optim.schedules.Cosine(9))
    b.load_state_dict(tg.load(tmp_path / "gan.safetensors"))
    for gan in (a, b):
        gan.fit(images(), steps=2, batch_size=5, run=Run(quiet=True))
    np.testing.assert_array_equal(a.sample(3, rng=tg.random.Generator(1)), b.sample(3, rng=tg.random.Generator(1)))


def test_on_the_device(device):
    """The same numbers on NumPy and on the stand-in for CuPy."""
    found = []
    for place in ("cpu", device):
        gan = fitted(device=place)
        found.append(gan.sample(4, rng=tg.random.Generator(1, device=place)))
        gan.interpolate(np.zeros(4, np.float32), np.ones(4, np.float32), 3)
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5)


def test_bad_images_are_refused():
    gan, x = tiny(), images()
    with pytest.raises(ValueError, match=r"DCGAN: x has shape \(20, 1, 8, 7\)"):
        gan.fit(x[..., 1:], steps=1)
    with pytest.raises(ValueError, match="DCGAN: x has values from .* to 25"):
        gan.fit(np.round(255 * x), steps=1)
    with pytest.raises(ValueError, match="DCGAN.*NaN"):
        gan.fit(np.where(x > 0.5, np.nan, x), steps=1)

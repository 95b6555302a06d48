"""The machine with a code of real numbers against quadrature and enumeration, and the unrolled stack by hand."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.energy import RBM, CodeRBM, DeepAutoencoder
from tinygen.models.energy import annealed_importance_sampling as ais
from tinygen.models.energy import deep_autoencoder as chapter
from tinygen.models.energy.rbm import contrastive_gradient
from tinygen.runs import Run

rng = np.random.default_rng(0)
N, M = 4, 2
W, B, C = 0.7 * rng.normal(size=(N, M)), rng.normal(size=N), rng.normal(size=M)
V = np.array(list(itertools.product([0.0, 1.0], repeat=N)))
sigmoid = scipy.special.expit


def machine(device="cpu", **options):
    """The machine of these letters, in float64."""
    model = CodeRBM(N, M, rng=tg.random.Generator(0, device=device), **options).to(dtype="float64")
    for name, value in {"weight": W, "visible_bias": B, "hidden_bias": C}.items():
        getattr(model, name).assign(value)
    return model


GRID = np.linspace(-12, 12, 241)  # a plain rule is exact to rounding for what falls like a Gaussian


def mass(v, f=lambda h: 1.0):
    """The integral of f(h) exp(-E(v, h)) over both hidden units, with E as a sum over the letters of (1)."""
    h = np.meshgrid(GRID, GRID, indexing="ij")
    minus_e = sum(B[j] * v[j] for j in range(N)) + sum(C[i] * h[i] - h[i] ** 2 / 2 for i in range(M))
    minus_e = minus_e + sum(v[j] * W[j, i] * h[i] for j in range(N) for i in range(M))
    return np.sum(f(h) * np.exp(minus_e)) * (GRID[1] - GRID[0]) ** 2


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.energy, 1)
def test_energy_by_loops():  # (1)
    h = rng.normal(size=(len(V), M))
    expected = [
        -sum(B[j] * v[j] for j in range(N)) - sum(C[i] * g[i] - g[i] ** 2 / 2 for i in range(M))
        - sum(v[j] * W[j, i] * g[i] for j in range(N) for i in range(M)) for v, g in zip(V, h, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(chapter.energy(V, h, W, B, C), expected)


@equation(chapter.code_mean, 2)
def test_code_given_pixels_is_a_standard_gaussian_about_its_mean():  # (2)
    v, h = V[[3, 9]], rng.normal(size=(2, 50, M))
    a = chapter.code_mean(v, W, C)
    found = -chapter.energy(v[:, None], h, W, B, C) + chapter.free_energy(v, W, B, C)[:, None]  # log p(h|v)
    np.testing.assert_allclose(found, scipy.stats.norm.logpdf(h, a[:, None]).sum(-1))
    for one, mean in zip(v, a, strict=True):
        np.testing.assert_allclose([mass(one, lambda h, i=i: h[i]) / mass(one) for i in range(M)], mean, rtol=1e-9)


@equation(CodeRBM.draw_hidden, 2)
def test_draws_have_the_moments_of_the_conditional():  # (2)
    model = machine()
    a = model.hidden_mean(V[[11]])
    h = model.draw_hidden(np.tile(a, (100_000, 1)), tg.random.Generator(1))
    np.testing.assert_allclose(h.mean(0), a[0], atol=0.015)
    np.testing.assert_allclose(np.cov(h.T), np.eye(M), atol=0.015)
    twin = model.draw_hidden(a, tg.random.Generator(2)) - a
    np.testing.assert_array_equal(twin, tg.random.Generator(2).normal((1, M), dtype="float64") + a - a)


@equation(CodeRBM.visible_mean, 3, of=chapter)
def test_pixels_given_code():  # (3)
    h = rng.normal(size=(5, M))
    minus_e = -chapter.energy(V[:, None], h, W, B, C)  # (2^n, 5)
    p = np.exp(minus_e - scipy.special.logsumexp(minus_e, axis=0))
    np.testing.assert_allclose(machine().visible_mean(h), p.T @ V)


@equation(chapter.free_energy, 4)
def test_free_energy_by_quadrature():  # (4)
    found = chapter.free_energy(V[[0, 6, 13]], W, B, C)
    np.testing.assert_allclose(found, [-np.log(mass(v)) for v in V[[0, 6, 13]]], rtol=1e-9)


@equation(chapter.log_partition, 4)
@equation(CodeRBM.log_z, 4)
def test_probabilities_sum_to_one():  # (4)
    expected = scipy.special.logsumexp(-chapter.free_energy(V, W, B, C))
    assert chapter.log_partition(W, B, C) == pytest.approx(expected, rel=1e-12)
    assert machine().log_z() == pytest.approx(expected, rel=1e-12)
    assert np.exp(machine().log_prob(V)).sum() == pytest.approx(1)


@equation(contrastive_gradient, 5, of=chapter)
def test_contrastive_divergence_is_the_gradient_of_the_difference_of_free_energies():  # (5)
    v, v_model = V[[1, 5, 5, 14]], V[[2, 7]]
    leaves = [tg.tensor(p, requires_grad=True) for p in (W, B, C)]
    mean_free = [tg.mean(chapter.free_energy(tg.tensor(x), *leaves)) for x in (v, v_model)]
    expected = [g.numpy() for g in tg.grad(mean_free[0] - mean_free[1], leaves)]
    a, a_model = (chapter.code_mean(x, W, C) for x in (v, v_model))
    for found, e in zip(contrastive_gradient(v, a, v_model, a_model), expected, strict=True):
        np.testing.assert_allclose(found, e, rtol=1e-9, atol=1e-12)


def test_an_update_is_that_step():  # (5)
    model, twin = machine(lr=0.01), machine(lr=0.01)
    a = twin.hidden_mean(V)
    v_model, a_model = twin.chain(a, 1, twin.rng)
    model.update(V)
    for p, q, g in zip(model.parameters(), (W, B, C), contrastive_gradient(V, a, v_model, a_model), strict=True):
        np.testing.assert_allclose(p.numpy(), q - 0.01 * g)


def stack(*sizes, device="cpu"):
    """A stack with large random weights, in float64."""
    own, (*below, top) = tg.random.Generator(0, device=device), itertools.pairwise(sizes)
    machines = [*(RBM(n, m, rng=own) for n, m in below), CodeRBM(*top, lr=1e-3, rng=own)]
    net = DeepAutoencoder(machines, rng=own).to(dtype="float64")
    for p in net.parameters():
        p.assign(rng.normal(size=p.shape))
    return net


def letters(net):
    return [(m.weight.numpy(), m.visible_bias.numpy(), m.hidden_bias.numpy()) for m in net.machines]


@equation(DeepAutoencoder.transform, 6, of=chapter)
def test_encoder_by_hand():  # (6)
    net, x = stack(6, 5, 3, 2), rng.uniform(size=(7, 6))
    f, (*below, (top, _, c)) = x, letters(net)
    for w, _, bias in below:
        f = sigmoid(bias + f @ w)
    np.testing.assert_allclose(net.transform(x), c + f @ top)
    np.testing.assert_allclose(net.network()(tg.tensor(x)).numpy(), c + f @ top)


@equation(DeepAutoencoder.reconstruct, 7, of=chapter)
def test_decoder_by_hand():  # (7)
    net, x = stack(6, 5, 3, 2), rng.uniform(size=(7, 6))
    g = net.transform(x)
    for w, b, _ in reversed(letters(net)):
        g = sigmoid(b + g @ w.T)
    np.testing.assert_allclose(net.reconstruct(x), g)
    np.testing.assert_allclose(sigmoid(net.decoder()(tg.tensor(net.transform(x))).numpy()), g)


# ---- its promises ---------------------------------------------------------------------------------------


def test_chains_have_the_distribution_of_the_model():
    model = machine()
    expected = np.exp(model.log_prob(V))
    for drawn in (model.sample(20_000, steps=40, rng=tg.random.Generator(0)),
                  model.sample_exactly(20_000, rng=tg.random.Generator(1))):  # fmt: skip
        np.testing.assert_allclose([(drawn == v).all(1).mean() for v in V], expected, atol=0.02)


def test_it_learns_what_a_code_of_two_numbers_can_tell():
    """Four patterns at the corners of a square: after learning they are the likely images."""
    x = np.repeat([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]], 25, axis=0).astype(np.float32)
    model = CodeRBM(4, 2, lr=0.02, momentum=0.5, rng=tg.random.Generator(0))
    model.fit(x, steps=1000, run=Run(quiet=True))
    assert model.log_prob(x).mean() > 4 * np.log(0.5) + 0.7  # the coin flips that it starts from, and at most 1.39 more
    assert ((model.reconstruct(x) > 0.5) == x).all()


def test_the_networks_are_copies_with_weights_of_their_own():
    net, x = stack(6, 4, 2), rng.uniform(size=(7, 6))
    before, encoder, decoder = net.reconstruct(x), net.network(), net.decoder()
    assert not {id(p) for p in encoder.parameters()} & {id(p) for p in decoder.parameters()}
    for p in (*encoder.parameters(), *decoder.parameters()):
        p.assign(0 * p.numpy())
    np.testing.assert_array_equal(net.reconstruct(x), before)


def test_what_does_not_fit_is_refused():
    own = tg.random.Generator(0)
    with pytest.raises(ValueError, match="the highest machine is a RBM; a CodeRBM is wanted"):
        DeepAutoencoder([RBM(4, 3, rng=own), RBM(3, 2, rng=own)])
    with pytest.raises(ValueError, match="30 visible and 2 hidden units make 2.30 terms.*fewer visible"):
        CodeRBM(30, 2, rng=own).log_z()
    with pytest.raises(ValueError, match="a CodeRBM has hidden units of its own kind"):
        ais.log_partition(machine(), temperatures=2)


def test_on_every_device(device):
    net, x = stack(5, 4, 2, device=device), rng.integers(0, 2, (8, 5)).astype(float)
    net.fit(x, steps=4, run=Run(quiet=True))
    for found in (net.transform(x), net.reconstruct(x), net.sample(3, steps=2), net.log_prob(x), net.elbo(x),
                  net.machines[-1].sample_exactly(3)):  # fmt: skip
        assert isinstance(found, np.ndarray) and np.isfinite(found).all()
    codes = net.network()(tg.tensor(x, device=device))
    assert codes.shape == (8, 2) and net.decoder()(codes).shape == (8, 5)

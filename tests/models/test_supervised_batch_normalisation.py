"""Every equation of the chapter on batch normalisation, against NumPy, our layer, and PyTorch where it is installed."""

import numpy as np
import pytest
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays
from tinygen.models.supervised import NormalisedNet
from tinygen.models.supervised import batch_normalisation as chapter
from tinygen.models.supervised.batch_normalisation import BatchNorm
from tinygen.runs import Run

rng = np.random.default_rng(0)
X, GAMMA, BETA = rng.normal(size=(7, 3)) * 2 + 5, rng.normal(size=3), rng.normal(size=3)


@equation(chapter.moments, 1)
def test_moments_are_numpys(device):
    mu, var = chapter.moments(tg.tensor(X, device=device))
    np.testing.assert_allclose(mu.numpy(), X.mean(0))
    np.testing.assert_allclose(var.numpy(), X.var(0))


@equation(chapter.batch_norm, 2)
@equation(chapter.standardise, 2)
def test_batch_norm_by_hand(device):
    found = chapter.batch_norm(*(tg.tensor(a, device=device) for a in (X, GAMMA, BETA))).numpy()
    expected = np.array([[GAMMA[j] * (X[i, j] - X[:, j].mean()) / np.sqrt(X[:, j].var() + 1e-5) + BETA[j]
                          for j in range(3)] for i in range(7)])  # fmt: skip
    np.testing.assert_allclose(found, expected)
    plain = chapter.standardise(X, *chapter.moments(X), eps=0)
    np.testing.assert_allclose(plain.mean(0), 0, atol=1e-14)
    np.testing.assert_allclose(plain.std(0), 1)


@equation(chapter.followed, 3)
def test_running_statistics_in_closed_form():
    norm, batches = BatchNorm(3, momentum=0.2).to(dtype="float64"), [rng.normal(size=(5, 3)) + k for k in range(6)]
    for x in batches:
        norm(x)
    weights = [0.2 * 0.8 ** (5 - k) for k in range(6)]
    mean = sum(w * x.mean(0) for w, x in zip(weights, batches, strict=True))
    var = 0.8**6 + sum(w * x.var(0, ddof=1) for w, x in zip(weights, batches, strict=True))
    np.testing.assert_allclose(norm.mean_all.numpy(), mean)
    np.testing.assert_allclose(norm.var_all.numpy(), var)
    before = norm.state_dict()
    np.testing.assert_allclose(norm.eval()(X[:1]).numpy(), (X[:1] - mean) / np.sqrt(var + 1e-5))
    assert all(np.array_equal(before[k], v) for k, v in norm.state_dict().items())


@equation(chapter.batch_norm_back, 4)
def test_the_gradient_by_hand_is_the_engines(device):
    y_bar = rng.normal(size=(7, 3))
    x, gamma, beta, g = (tg.tensor(a, requires_grad=True, device=device) for a in (X, GAMMA, BETA, y_bar))
    engine = tg.grad(chapter.batch_norm(x, gamma, beta), x, [g.detach()])
    np.testing.assert_allclose(chapter.batch_norm_back(g, x, gamma).numpy(), engine.numpy(), rtol=1e-10, atol=1e-13)
    # the second derivative through (4) is that through (1) and (2)
    second = tg.grad(tg.sum(tg.sin(chapter.batch_norm_back(g, x, gamma))), x)
    first = tg.grad(chapter.batch_norm(x, gamma, beta), x, [g.detach()], create_graph=True)
    np.testing.assert_allclose(second.numpy(), tg.grad(tg.sum(tg.sin(first)), x).numpy(), rtol=1e-9, atol=1e-12)


def test_exact_at_order_two(device):
    args = [arrays.asarray(a, device=device) for a in (X, GAMMA, BETA)]
    tg.check_grads(chapter.batch_norm, args, order=2)
    constant = tg.tensor(np.ones((4, 2)), requires_grad=True, device=device)
    g = tg.grad(tg.sum(tg.sin(chapter.batch_norm(constant, *(tg.tensor(np.ones(2), device=device),) * 2))), constant)
    assert np.isfinite(g.numpy()).all()


@equation(chapter.batch_norm, 5)
@pytest.mark.parametrize("c", [0.01, 3.0, 1000.0])
def test_the_scale_of_the_map_before_does_not_matter(c):
    W = tg.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    scaled = tg.tensor(c * W.numpy(), requires_grad=True)

    def cost(W):
        return tg.sum(tg.sin(chapter.batch_norm(tg.matmul(X, W), np.ones(4), np.zeros(4), eps=0.0)))

    a = X @ W.numpy()
    unscaled = np.sin((a - a.mean(0)) / a.std(0)).sum()
    assert cost(scaled).item() == pytest.approx(unscaled, rel=1e-9) and cost(W).item() == pytest.approx(unscaled)
    at_W, at_scaled = tg.grad(cost(W), W).numpy(), tg.grad(cost(scaled), scaled).numpy()
    np.testing.assert_allclose(at_scaled * c, at_W, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose((W.numpy() * at_W).sum(0), 0, atol=1e-12)


# ---- real and fake ------------------------------------------------------------------------------------------------


def populations(n=4000, seed=1):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, 2)) * [1, 3] + [0, 2], draw.normal(size=(n, 2)) * [2, 1] + [4, -1]


@equation(chapter.mixed_moments, 6)
def test_moments_of_a_mixture():
    real, fake = populations()
    found = chapter.mixed_moments(*chapter.moments(real), *chapter.moments(fake))
    both = np.concatenate([real, fake])
    np.testing.assert_allclose(found[0], both.mean(0))
    np.testing.assert_allclose(found[1], both.var(0))


def trained_on(norm, real, fake, steps=1500):
    """Batches of one kind, in turn, as a discriminator sees them."""
    draw = np.random.default_rng(2)
    for _ in range(steps):
        for name, x in (("real", real), ("fake", fake)):
            norm(x[draw.integers(0, len(x), 100)], name if name in norm.populations else None)
    return norm.eval()


def test_one_set_of_statistics_fits_neither_kind():  # (6), and what (3) makes of it
    real, fake = populations()
    norm = trained_on(BatchNorm(2, momentum=0.01).to(dtype="float64"), real, fake)
    mean, _ = chapter.mixed_moments(*chapter.moments(real), *chapter.moments(fake))
    np.testing.assert_allclose(norm.mean_all.numpy(), mean, atol=0.15)
    np.testing.assert_allclose(norm.var_all.numpy(), (real.var(0) + fake.var(0)) / 2, rtol=0.1)  # without the last term
    seen = norm(real).numpy()
    assert (np.abs(seen.mean(0)) > 0.5).all()


def test_two_sets_fit_both():
    real, fake = populations()
    norm = trained_on(BatchNorm(2, momentum=0.01, populations=("real", "fake")).to(dtype="float64"), real, fake)
    for name, x in (("real", real), ("fake", fake)):
        seen = norm(x, name).numpy()
        np.testing.assert_allclose(seen.mean(0), 0, atol=0.1)
        np.testing.assert_allclose(seen.std(0), 1, atol=0.1)
    assert len(list(norm.parameters())) == 2  # gamma and beta are common
    with pytest.raises(ValueError, match="'painted'"):
        norm(real, "painted")


def test_a_joint_batch_leaks_between_the_kinds():
    real, fake = (tg.tensor(a[:6], requires_grad=True) for a in populations())
    joint = BatchNorm(2).to(dtype="float64")(tg.concatenate([real, fake]))
    assert np.abs(tg.grad(tg.sum(tg.sin(joint[:6])), fake).numpy()).max() > 1e-3
    apart = BatchNorm(2, populations=("real", "fake")).to(dtype="float64")
    with pytest.raises(tg.GraphError, match="do not depend"):
        tg.grad(tg.sum(tg.sin(apart(real, "real"))) + 0 * tg.sum(apart(fake.detach(), "fake")), fake)


# ---- against other implementations, and the model -----------------------------------------------------------------


def test_it_is_our_layer():
    mine, layer = BatchNorm(3).to(dtype="float64"), nn.BatchNorm1d(3).to(dtype="float64")
    for _ in range(3):
        np.testing.assert_allclose(mine(X).numpy(), layer(tg.tensor(X)).numpy(), rtol=1e-10)
    np.testing.assert_allclose(mine.eval()(X).numpy(), layer.eval()(tg.tensor(X)).numpy(), rtol=1e-10)


def test_it_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    mine, theirs = BatchNorm(3).to(dtype="float64"), torch.nn.BatchNorm1d(3).double()
    for k in range(3):
        a, b = tg.tensor(X * k, requires_grad=True), torch.tensor(X * k, requires_grad=True)
        y, z = tg.sum(tg.sin(mine(a))), theirs(b).sin().sum()
        np.testing.assert_allclose(tg.grad(y, a).numpy(), torch.autograd.grad(z, b)[0].numpy(), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(mine.mean_all.numpy(), theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(mine.var_all.numpy(), theirs.running_var.numpy(), rtol=1e-12)
    np.testing.assert_allclose(mine.eval()(X).numpy(), theirs.eval()(torch.tensor(X)).detach().numpy(), rtol=1e-12)


def test_a_deep_network_learns_with_it_and_not_without():
    x = rng.normal(size=(100, 6))
    y = (x[:, 0] > 0).astype(int)
    scores = {}
    for normalise in (True, False):
        net = NormalisedNet(6, *[16] * 12, 2, normalise=normalise, scale=0.5, lr=0.2, rng=tg.random.Generator(0))
        scores[normalise] = net.fit(x, y, steps=60, batch_size=50, run=Run(quiet=True)).score(x, y)
    assert scores[True] > 0.85 > 0.7 > scores[False]


def test_signals_keep_their_size_whatever_the_weights_scale():
    x = rng.normal(size=(100, 6)).astype(np.float32)
    sizes = {}
    for normalise, scale in ((True, 0.5), (True, 2.0), (False, 0.5), (False, 1.0), (False, 2.0)):
        net = NormalisedNet(6, *[64] * 12, 2, normalise=normalise, scale=scale, rng=tg.random.Generator(0))
        for layer in net.body:
            layer.linear.bias.assign(np.zeros(64))
        first, *_, last = (h.numpy().std() for h in net.hidden(x))
        sizes[normalise, scale] = last / first
    assert 0.7 < sizes[True, 0.5] < 1.4 and 0.7 < sizes[True, 2.0] < 1.4
    assert sizes[False, 2.0] == pytest.approx(2**11 * sizes[False, 1.0], rel=1e-4)
    assert sizes[False, 0.5] == pytest.approx(sizes[False, 1.0] / 2**11, rel=1e-4)


def test_refusals():
    with pytest.raises(ValueError, match="2 or more"):
        BatchNorm(3)(X[:1])
    with pytest.raises(ValueError, match="two sizes"):
        NormalisedNet(3)

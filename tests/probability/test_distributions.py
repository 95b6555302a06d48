"""The laws against SciPy: densities, entropies, moments; shapes, dtypes, devices; what is refused, and how."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats as st
from equations import equation
from hypothesis import given
from hypothesis import strategies as hs
from hypothesis.extra import numpy as hnp

import tinygen as tg
from probability.references import CONTINUOUS, DISCRETE, EVERY, LINE, VECTORS, log_density
from tinygen import probability as P
from tinygen.backend import arrays as backend

CLOSE = dict(rtol=1e-10, atol=1e-10)
every = pytest.mark.parametrize("name", sorted(EVERY))

#: which equation of its file each density is, and each entropy
DENSITY = {"Normal": 1, "DiagonalNormal": 2, "MultivariateNormal": 2, "MultivariateNormal by covariance": 2, "Gamma": 1,
           "Beta": 2, "Dirichlet": 3, "Poisson": 1, "Bernoulli": 1, "Bernoulli by probs": 1,
           "OneHotCategorical": 2}  # fmt: skip
ENTROPY = {"Normal": 3, "DiagonalNormal": 3, "MultivariateNormal": 3, "MultivariateNormal by covariance": 3}


def each(method, tags):
    """Every law, marked with the equation that its method is."""
    family = lambda name: getattr(P, name.split()[0])
    mark = lambda name: [equation(getattr(family(name), method), tags[name])] if name in tags else []
    return pytest.mark.parametrize("name", [pytest.param(n, marks=mark(n)) for n in sorted(EVERY)])


def law_of(name, dtype="float64", device="cpu"):
    """The law of a row, with parameters of a dtype on a device."""
    row = EVERY[name]
    return row.make(*[tg.tensor(p, dtype=dtype, device=device) for p in row.parameters])


# ---- values ---------------------------------------------------------------------------------------------


@each("_log_density", DENSITY)
def test_log_density_is_scipys(name, device):
    x = EVERY[name].values
    got = law_of(name, device=device).log_prob(tg.tensor(x, device=device))
    assert got.device == device
    np.testing.assert_allclose(got.numpy(), log_density(EVERY[name], x), **CLOSE)


@each("entropy", ENTROPY)
def test_entropy_is_scipys(name, device):
    row = EVERY[name]
    if name in LINE:
        wanted = row.oracle(*row.parameters).entropy()
    elif name == "OneHotCategorical":
        wanted = st.entropy(row.parameters[0], axis=-1)
    else:
        wanted = [row.oracle(*[p[j] for p in row.parameters]).entropy() for j in range(2)]
    got = law_of(name, device=device).entropy().numpy()
    slack = dict(rtol=1e-6) if name in ("Poisson",) else CLOSE  # SciPy sums the Poisson's to less
    np.testing.assert_allclose(got, wanted, **slack)


def test_poisson_entropy_of_a_large_rate_in_float32():
    """The parts of (1) are near 10^7 there, of which float32 keeps nothing behind the point."""
    entropy = P.Poisson(np.float32([1e6])).entropy()
    assert entropy.dtype == np.float32
    np.testing.assert_allclose(entropy.numpy(), 0.5 * math.log(2 * math.pi * math.e * 1e6) - 1 / 12e6, rtol=1e-6)


def test_poisson_entropy_is_the_sum():
    rate = np.array([1e-3, 0.7, 12.0, 800.0])
    k = np.arange(3000)
    log_p = st.poisson(rate[:, None]).logpmf(k)
    np.testing.assert_allclose(P.Poisson(rate).entropy().numpy(), -(np.exp(log_p) * log_p).sum(1), rtol=1e-11)


@every
def test_moments_are_scipys(name, device):
    row, law = EVERY[name], law_of(name, device=device)
    assert law.mean.shape == law.variance.shape == law.batch_shape + law.event_shape
    if name in LINE:
        mean, variance = row.oracle(*row.parameters).stats("mv")
    elif "Multivariate" in name:
        cov = row.parameters[1] if "covariance" in name else row.parameters[1] @ row.parameters[1].swapaxes(-1, -2)
        mean, variance = row.parameters[0], np.diagonal(cov, axis1=-2, axis2=-1)
        np.testing.assert_allclose(law.covariance.numpy(), cov, rtol=1e-12)
    elif name == "DiagonalNormal":
        mean, variance = row.parameters[0], row.parameters[1] ** 2
        np.testing.assert_allclose(law.covariance.numpy(), [np.diag(v) for v in variance], rtol=1e-12)
    elif name == "OneHotCategorical":
        mean, variance = row.parameters[0], row.parameters[0] * (1 - row.parameters[0])
    else:
        laws = [row.oracle(p) for p in row.parameters[0]]
        mean, variance = np.array([w.mean() for w in laws]), np.array([w.var() for w in laws])
    np.testing.assert_allclose(law.mean.numpy(), np.broadcast_to(mean, law.mean.shape), **CLOSE)
    np.testing.assert_allclose(law.variance.numpy(), np.broadcast_to(variance, law.mean.shape), **CLOSE)


# ---- densities integrate to one, and moments and entropies are their integrals --------------------------


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density_integrates_to_one(name):
    law = LINE[name].make(0.4, 1.1)
    low, high = LINE[name].interval
    inside = lambda x: bool(law.support.contains(np.float64(x)))
    density = lambda x: math.exp(law.log_prob(np.array(x)).item()) if inside(x) else 0.0
    log = lambda x: max(law.log_prob(np.array(x)).item(), -1e9) if inside(x) else 0.0
    points = [-3.6, 5.5] if name == "Uniform" else [0.4] if low == 0 and high == 1 else None
    total = lambda f: scipy.integrate.quad(f, low, high, limit=200, points=points)[0]
    assert total(density) == pytest.approx(1, abs=1e-7)
    assert total(lambda x: x * density(x)) == pytest.approx(law.mean.item(), abs=1e-5)
    assert total(lambda x: -density(x) * log(x)) == pytest.approx(law.entropy().item(), abs=1e-5)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_sum_to_one(name):
    law = law_of(name)
    support = np.arange(2 if "Bernoulli" in name else 60).reshape(-1, 1, 1)
    np.testing.assert_allclose(np.exp(law.log_prob(support).numpy()).sum(0), 1, rtol=1e-12)


def test_dirichlet_density_integrates_to_one():
    law = P.Dirichlet(np.array([1.5, 2.0, 3.0]))
    density = lambda y, x: math.exp(law.log_prob(np.array([x, y, 1 - x - y])).item()) if x + y < 1 else 0.0
    total = scipy.integrate.dblquad(density, 1e-12, 1, 1e-12, lambda x: 1 - x, epsabs=1e-5, epsrel=1e-5)[0]
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_relaxed_density_integrates_to_one(temperature):
    """relaxed (2), over the simplex of two and of three classes."""
    law = P.GumbelSoftmax(temperature, logits=np.array([0.3, -0.8]))
    density = lambda x: math.exp(law.log_prob(np.array([x, 1 - x])).item())
    assert scipy.integrate.quad(density, 1e-12, 1 - 1e-12, limit=400)[0] == pytest.approx(1, abs=1e-3)
    law = P.GumbelSoftmax(temperature, logits=np.array([0.3, -0.8, 0.1]))
    s = np.linspace(-45, 45, 901) / temperature  # log-ratios, which carry the simplex to the plane
    scores = np.stack([*np.meshgrid(s, s), np.zeros((901, 901))], -1)
    x = scipy.special.softmax(scores, -1)
    inside = (x > 1e-300).all(-1)
    log_p = law._log_density(tg.tensor(np.where(inside[..., None], x, 1 / 3))).numpy()
    volume = np.log(np.maximum(x, 1e-300)).sum(-1)
    total = np.where(inside, np.exp(log_p + volume), 0).sum() * (s[1] - s[0]) ** 2
    assert total == pytest.approx(1, abs=1e-3)


@equation(P.GumbelSoftmax._log_density, 2)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_relaxed_density_is_its_formula(temperature):
    """relaxed (2), as printed."""
    logits = np.array([0.3, -0.8, 0.1, 1.2])
    x = scipy.special.softmax(np.random.default_rng(0).normal(size=(5, 4)), -1)
    pi, k, t = np.exp(logits), 4, temperature
    p = scipy.special.gamma(k) * t ** (k - 1) * (pi * x**-t).sum(-1) ** -k * (pi * x ** (-t - 1)).prod(-1)
    got = P.GumbelSoftmax(temperature, logits=logits).log_prob(x)
    np.testing.assert_allclose(got.numpy(), np.log(p), **CLOSE)


def test_multivariate_density_is_the_product_of_its_conditionals():
    """normal (2), where a batch of matrices meets a single vector and the other way round."""
    row = VECTORS["MultivariateNormal"]
    m, factors = row.parameters
    one = P.MultivariateNormal(m[0], scale_tril=factors)  # a batch of matrices, one loc
    assert one.batch_shape == (2,) and one.log_prob(m[1]).shape == (2,)
    for j in range(2):
        wanted = st.multivariate_normal(m[0], factors[j] @ factors[j].T).logpdf(m[1])
        assert one.log_prob(m[1])[j].item() == pytest.approx(wanted, rel=1e-12)
    other = P.MultivariateNormal(m, scale_tril=factors[0])  # a batch of locs, one matrix
    x = row.values
    wanted = np.stack([st.multivariate_normal(m[j], factors[0] @ factors[0].T).logpdf(x[:, j]) for j in range(2)], 1)
    np.testing.assert_allclose(other.log_prob(x).numpy(), wanted, **CLOSE)


# ---- dice and mixtures ----------------------------------------------------------------------------------


@equation(P.Categorical._log_density, 2)
def test_categorical(device):
    logits = np.array([[0.5, -1.0, 2.0], [0.0, 0.0, -np.inf]])
    law = P.Categorical(logits=tg.tensor(logits, device=device))
    p = scipy.special.softmax(logits, -1)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(law.log_prob(tg.tensor([[2, 0], [0, 2]], device=device)).numpy(),
                                   np.log([[p[0, 2], p[1, 0]], [p[0, 0], p[1, 2]]]), **CLOSE)  # fmt: skip
    np.testing.assert_allclose(law.entropy().numpy(), st.entropy(p, axis=-1), **CLOSE)
    np.testing.assert_allclose(law.probs.numpy(), p, **CLOSE)
    assert law.log_prob(tg.tensor([1], device=device)).shape == (2,)


def test_probabilities_of_zero_stay_finite():
    p = tg.tensor(np.array([0.0, 0.4, 0.6]), requires_grad=True)
    law = P.Categorical(probs=p)
    assert law.entropy().item() == pytest.approx(st.entropy([0.4, 0.6]))
    assert np.isfinite(tg.grad(law.entropy(), p).numpy()).all()
    assert np.isfinite(P.Bernoulli(probs=np.array([0.0, 1.0])).entropy().numpy()).all()
    certain = P.Bernoulli(probs=np.array([0.0, 1.0])).log_prob(np.array([0, 1]))
    np.testing.assert_allclose(certain.numpy(), 0, atol=1e-12)


def mixture(dtype="float64", device="cpu"):
    """Three Gaussians, in two mixtures."""
    loc, scale = np.array([[-2.0, 0.0, 3.0], [1.0, 1.5, 2.0]]), np.array([0.5, 1.0, 0.3])
    logits = np.array([[0.0, 1.0, -0.5], [2.0, 0.0, 0.0]])
    loc, scale, logits = (tg.tensor(v, dtype=dtype, device=device) for v in (loc, scale, logits))
    return P.Mixture(P.Normal(loc, scale), logits=logits)


@equation(P.Mixture._log_density, 1)
@equation(P.Mixture.mean, 2)
@equation(P.Mixture.variance, 2)
def test_mixture(device):
    """mixture (1) and (2), against sums of SciPy's densities."""
    law = mixture(device=device)
    pi = scipy.special.softmax([[0.0, 1.0, -0.5], [2.0, 0.0, 0.0]], -1)
    parts = st.norm([[-2.0, 0.0, 3.0], [1.0, 1.5, 2.0]], [0.5, 1.0, 0.3])
    x = np.linspace(-3, 4, 10).reshape(5, 2)
    wanted = np.log((pi * parts.pdf(x[..., None])).sum(-1))
    np.testing.assert_allclose(law.log_prob(tg.tensor(x, device=device)).numpy(), wanted, **CLOSE)
    mean = (pi * parts.mean()).sum(-1)
    np.testing.assert_allclose(law.mean.numpy(), mean, **CLOSE)
    variance = (pi * (parts.var() + parts.mean() ** 2)).sum(-1) - mean**2
    np.testing.assert_allclose(law.variance.numpy(), variance, **CLOSE)
    assert np.isfinite(law.log_prob(tg.tensor(np.full((1, 2), 1e3), device=device)).numpy()).all()  # far from all


def test_mixture_of_vectors_and_of_dice():
    row = VECTORS["DiagonalNormal"]
    law = P.Mixture(P.DiagonalNormal(*row.parameters), probs=np.array([0.3, 0.7]))
    x = row.values[:, 0]
    laws = [st.multivariate_normal(m, np.diag(s**2)) for m, s in zip(*row.parameters, strict=True)]
    parts = np.stack([each.pdf(x) for each in laws], -1)
    np.testing.assert_allclose(law.log_prob(x).numpy(), np.log(parts @ [0.3, 0.7]), **CLOSE)
    assert law.mean.shape == (3,) and law.sample((4, 2), rng=tg.random.Generator(0)).shape == (4, 2, 3)
    dice = P.Mixture(P.Categorical(probs=np.array([[0.5, 0.5], [0.1, 0.9]])), probs=np.array([0.5, 0.5]))
    assert np.exp(dice.log_prob(np.array([0, 1])).numpy()) == pytest.approx([0.3, 0.7])
    assert dice.sample(5, rng=tg.random.Generator(0)).dtype == np.int64


def test_mixture_of_uniform_laws_lives_on_their_union():
    law = P.Mixture(P.Uniform(np.array([0.0, 2.0]), np.array([1.0, 3.0])), probs=np.array([0.25, 0.75]))
    assert np.exp(law.log_prob(np.array([0.5, 2.5])).numpy()) == pytest.approx([0.25, 0.75])
    with pytest.raises(ValueError, match=r"Mixture: x holds 1\.5 at \(1,\)"):
        law.log_prob(np.array([0.5, 1.5]))


# ---- shapes ---------------------------------------------------------------------------------------------


@equation(P.Distribution._shape, 1)
def test_the_shape_of_a_draw():
    """distribution (1), as printed; below, that all laws keep to it."""
    law = P.Distribution((2, 3), (4,))
    assert law._shape(5) == (5, 2, 3, 4) and law._shape((6, 1)) == (6, 1, 2, 3, 4) and law._shape(()) == (2, 3, 4)


shapes = hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=2, max_side=3, min_side=1)
seeds = hs.integers(0, 1000)


@given(name=hs.sampled_from(sorted(LINE)), shapes=shapes, draws=hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
def test_shapes_on_the_line(name, shapes, draws):
    """distribution (1): draws + batch + event, and log_prob broadcasts x against the batch."""
    a, b, other = shapes.input_shapes
    law = LINE[name].make(np.full(a, 0.4), np.full(b, 1.1))
    batch = np.broadcast_shapes(a, b)
    assert law.batch_shape == batch and law.event_shape == ()
    x = law.sample(draws, rng=tg.random.Generator(0))
    assert x.shape == draws + batch and not x.requires_grad
    assert law.log_prob(x).shape == x.shape
    x = np.full(other, 1.0) if name in DISCRETE else np.full(other, 0.5)
    assert law.log_prob(x).shape == np.broadcast_shapes(other, batch)
    assert law.mean.shape == law.variance.shape == law.entropy().shape == batch


@given(name=hs.sampled_from([*sorted(VECTORS), "Categorical", "GumbelSoftmax"]), d=hs.integers(1, 4),
       batch=hnp.array_shapes(min_dims=0, max_dims=2, max_side=3),
       draws=hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))  # fmt: skip
def test_shapes_of_vectors(name, d, batch, draws):
    flat, matrix = np.full((*batch, d), 1 / d), np.broadcast_to(np.eye(d), (*batch, d, d))
    law = {
        "DiagonalNormal": lambda: P.DiagonalNormal(flat, 2.0),
        "MultivariateNormal": lambda: P.MultivariateNormal(flat, scale_tril=matrix),
        "MultivariateNormal by covariance": lambda: P.MultivariateNormal(flat, covariance=np.eye(d)),
        "Dirichlet": lambda: P.Dirichlet(flat),
        "OneHotCategorical": lambda: P.OneHotCategorical(probs=flat),
        "Categorical": lambda: P.Categorical(probs=flat),
        "GumbelSoftmax": lambda: P.GumbelSoftmax(0.7, probs=flat),
    }[name]()
    event = () if name == "Categorical" else (d,)
    assert law.batch_shape == batch and law.event_shape == event
    x = law.sample(draws, rng=tg.random.Generator(0))
    assert x.shape == draws + batch + event
    assert law.log_prob(x).shape == draws + batch
    if name != "GumbelSoftmax":
        assert law.entropy().shape == batch


# ---- dtypes, numbers, devices ---------------------------------------------------------------------------


@every
def test_float32_in_float32_out(name):
    leaves = [tg.tensor(p, dtype="float32", requires_grad=True) for p in EVERY[name].parameters]
    law = EVERY[name].make(*leaves)
    x = EVERY[name].values.astype("float32")
    x = x / x.sum(-1, keepdims=True) if name == "Dirichlet" else x
    for value in (law.log_prob(x), law.entropy(), law.mean, law.variance, law.sample(3, rng=tg.random.Generator(0))):
        assert value.dtype == np.float32
    if name not in ("Bernoulli", "Poisson", "Bernoulli by probs", "OneHotCategorical"):
        x = law.rsample(3, rng=tg.random.Generator(0))
        assert x.dtype == np.float32
        gradients = tg.grad(tg.sum(x), leaves, allow_unused=True)
        assert {g.dtype for g in gradients if g is not None} == {np.dtype("float32")}
    got = law.log_prob(EVERY[name].values.astype("float32"))
    np.testing.assert_allclose(got.numpy(), log_density(EVERY[name], EVERY[name].values), rtol=2e-4, atol=2e-4)


def test_numbers_take_on_what_they_meet(device):
    """distribution: a number has no dtype and no device of its own."""
    for law in (P.Normal(0.1, 2.0), P.Laplace(0, 1), P.Gumbel(0.0, 1.0), P.Gamma(2.0, 3), P.Exponential(2),
                P.Uniform(0, 2), P.Bernoulli(logits=0.3), P.Bernoulli(probs=0.3), P.Poisson(2.0)):  # fmt: skip
        for dtype in ("float32", "float64"):
            x = tg.tensor(np.ones(3, dtype), device=device)
            got = law.log_prob(x)
            assert got.dtype == dtype and got.device == device
        assert law.log_prob(1).shape == () and law.log_prob([1, 1]).dtype == np.float32
        assert law.mean.dtype == law.entropy().dtype == law.sample(rng=tg.random.Generator(0)).dtype == np.float32
    exact = P.Normal(0.1, 0.3).log_prob(np.array([0.2])).numpy()
    np.testing.assert_allclose(exact, st.norm(0.1, 0.3).logpdf(0.2), rtol=1e-14)  # 0.1 was not rounded to float32


@pytest.mark.parametrize("name", sorted({*EVERY, "GumbelSoftmax", "Mixture"}))
def test_draws_on_a_device_are_those_of_the_host(name, device):
    def draw(device):
        rng = tg.random.Generator(3, device=device)
        if name == "Mixture":
            return mixture(device=device).sample(4, rng=rng)
        if name == "GumbelSoftmax":
            logits = tg.tensor(VECTORS["Dirichlet"].parameters[0], device=device)
            return P.GumbelSoftmax(0.5, logits=logits).rsample(4, rng=rng, straight_through=True)
        return law_of(name, device=device).sample(4, rng=rng)

    got = draw(device)
    assert got.device == device
    np.testing.assert_allclose(got.numpy(), draw("cpu").numpy(), rtol=1e-9)


def test_same_seed_same_draws_and_the_generator_moves_on():
    rng, law = tg.random.Generator(5), P.Gamma(0.7, 2.0)
    first, second = law.sample(9, rng=rng).numpy(), law.sample(9, rng=rng).numpy()
    assert (first == law.sample(9, rng=tg.random.Generator(5)).numpy()).all() and (first != second).all()


# ---- what is refused ------------------------------------------------------------------------------------

two = np.array([1.0, 2.0])
REFUSED = {
    "scale": (lambda: P.Normal(0.0, np.array([1.0, -2.0])), r"Normal: scale holds -2 at \(1,\); positive numbers"),
    "zero scale": (lambda: P.Laplace(0.0, 0), r"Laplace: scale holds 0; positive numbers are wanted \(softplus"),
    "nan": (lambda: P.Gumbel(np.array(math.nan), 1.0), r"Gumbel: loc holds nan; finite numbers"),
    "inf": (lambda: P.Exponential(math.inf), r"Exponential: rate holds inf"),
    "shapes": (lambda: P.Normal(np.zeros(2), np.ones(3)), r"must broadcast; their shapes are loc \(2,\), scale \(3,\)"),
    "order": (lambda: P.Uniform(2.0, 1.0), r"Uniform: high - low holds -1; positive widths .*low must lie below"),
    "probs": (lambda: P.Bernoulli(probs=1.2), r"probs holds 1\.2; probabilities, from 0 to 1, .*go into logits="),
    "both": (lambda: P.Bernoulli(probs=0.2, logits=1.0), r"exactly one of logits and probs is wanted"),
    "none": (lambda: P.Categorical(), r"Categorical: exactly one of logits and probs is wanted, got none"),
    "simplex": (lambda: P.Categorical(probs=two), r"probs holds \[1\. 2\.\]; vectors .* that sum to 1 .*softmax"),
    "number logits": (lambda: P.Categorical(logits=1.0), r"Categorical: logits is 1\.0; vectors of logits"),
    "all ruled out": (lambda: P.Categorical(logits=np.full(2, -np.inf)), r"vectors of logits, neither NaN nor"),
    "no vector": (lambda: P.DiagonalNormal(0.0, 1.0), r"DiagonalNormal: .* a last axis of coordinates is wanted"),
    "concentration": (lambda: P.Dirichlet(2.0), r"Dirichlet: concentration is a number; a vector"),
    "factor": (lambda: P.MultivariateNormal(two, scale_tril=np.ones((2, 2))), r"lower triangular .*linalg\.cholesky"),
    "factor nan": (lambda: P.MultivariateNormal(two, scale_tril=np.array([[1, 0], [np.nan, 1]])), r"finite lower"),
    "loc": (lambda: P.MultivariateNormal(np.array([0, np.inf]), scale_tril=np.eye(2)), r"loc holds inf at \(1,\)"),
    "covariance": (lambda: P.MultivariateNormal(two, covariance=np.diag([1.0, -1.0])), r"not positive definite"),
    "asymmetric": (lambda: P.MultivariateNormal(two, covariance=np.array([[2.0, 1], [0, 2]])), r"symmetric matrices"),
    "matrix shape": (lambda: P.MultivariateNormal(two, covariance=np.eye(3)), r"matrices \(\.\.\., 2, 2\) are wanted"),
    "temperature": (lambda: P.GumbelSoftmax(-1.0, logits=two), r"temperature holds -1; positive"),
    "components": (lambda: P.Mixture(P.Normal(0, 1), logits=two), r"a law with a batch axis is wanted"),
    "weights": (lambda: P.Mixture(P.Normal(two, 1), logits=np.zeros(3)), r"have shape \(3,\); .*\(2,\) or \(2,\)"),
    "x sign": (lambda: P.Exponential(1.0).log_prob(-0.1), r"Exponential: x holds -0\.1; numbers of at least 0"),
    "x nan": (lambda: P.Normal(0.0, 1.0).log_prob(np.array([0, math.nan])), r"Normal: x holds nan at \(1,\)"),
    "x interval": (lambda: P.Uniform(0.0, 1.0).log_prob(1.5), r"x holds 1\.5; values between low and high"),
    "x infinite": (lambda: P.Gumbel(0.0, 1.0).log_prob(-math.inf), r"Gumbel: x holds -inf; finite numbers"),
    "x grey": (lambda: P.Bernoulli(probs=0.5).log_prob(0.5), r"zeros and ones .*binary_cross_entropy_with_logits"),
    "x class": (lambda: P.Categorical(logits=two).log_prob(np.array([0, 2])), r"x holds 2 at \(1,\); class numbers"),
    "x hot": (lambda: P.OneHotCategorical(logits=two).log_prob(np.array([1.0, 1.0])), r"one-hot vectors"),
    "x count": (lambda: P.Poisson(1.0).log_prob(1.5), r"x holds 1\.5; whole numbers of at least 0"),
    "x edge": (lambda: P.Beta(1.0, 2.0).log_prob(1.0), r"between 0 and 1, without 0 and 1"),
    "x sum": (lambda: P.Dirichlet(two).log_prob(two), r"Dirichlet: x holds \[1\. 2\.\]; vectors of positive numbers"),
    "x event": (lambda: P.Dirichlet(two).log_prob(np.ones(3) / 3), r"x has shape \(3,\); .*event_shape \(2,\)"),
    "x batch": (lambda: P.Normal(two, 1.0).log_prob(np.ones(3)), r"x has shape \(3,\); .*batch_shape \(2,\)"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused_with_a_word_on_what_is_wanted(what):
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_float_class_numbers_are_refused():
    with pytest.raises(TypeError, match="x is float64; integer class numbers are wanted"):
        P.Categorical(logits=two).log_prob(np.array([0.0]))


def test_what_does_not_exist_says_what_to_do():
    rng = tg.random.Generator(0)
    with pytest.raises(NotImplementedError, match="Bernoulli: rsample does not exist .* score function"):
        P.Bernoulli(probs=0.5).rsample(rng=rng)
    with pytest.raises(NotImplementedError, match="Mixture: entropy has no closed form; average -log_prob"):
        mixture().entropy()
    with pytest.raises(NotImplementedError, match="Categorical: mean of class numbers has no meaning"):
        P.Categorical(logits=two).mean  # noqa: B018
    with pytest.raises(TypeError, match="rng"):
        P.Normal(0.0, 1.0).sample()


def test_arrays_on_a_gpu_are_not_waited_for(device):
    """support: looking at values would wait for the device, so it is left out there."""
    if device == "cpu":
        pytest.skip("the host looks")
    import strict_cupy

    x, rate = (tg.tensor(np.array([-1.0, v]), device=device) for v in (2.0, 3.0))
    with strict_cupy.no_sync():
        P.Exponential(rate).log_prob(x)
    assert backend.device_of(x.data) == device

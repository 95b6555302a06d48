"""The four divergences against SciPy and closed forms, their inequalities, and what tells the two families apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats as st
from equations import equation
from hypothesis import given
from hypothesis import strategies as hs
from hypothesis.extra import numpy as hnp

import tinygen as tg
from tinygen import probability as P
from tinygen.probability import divergences as D
from tinygen.probability.discrete import softmax

LOG_2 = math.log(2)
seeds = hs.integers(0, 10_000)


def laws(seed, n=2, k=5, zeros=True):
    """Random probability vectors, some entries 0."""
    rng = np.random.default_rng(seed)
    w = rng.exponential(size=(n, k)) ** 2 * (rng.uniform(size=(n, k)) > 0.3 * zeros)
    w[:, 0] += 1e-3
    return w / w.sum(-1, keepdims=True)


# ---- point by point -------------------------------------------------------------------------------------


@equation(D.kl, 1)
@equation(D.js, 2)
@given(seed=seeds)
def test_kl_and_js_are_scipys(seed):
    """divergences (1) and (2)."""
    from scipy.spatial.distance import jensenshannon

    p, q = laws(seed)
    np.testing.assert_allclose(D.kl(p, q), scipy.special.rel_entr(p, q).sum(), rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(D.js(p, q), jensenshannon(p, q) ** 2, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(D.entropy(p), st.entropy(p), rtol=1e-12)


def test_on_a_device(device):
    p, q = laws(1, zeros=False)
    t = np.array([0.0, 1.0, 1.5, 4.0, 4.2])
    on = lambda v: tg.tensor(v, device=device)
    for f in (D.kl, D.js, D.cross_entropy):
        got = f(on(p), on(q))
        assert got.device == device and got.item() == pytest.approx(float(f(p, q)), rel=1e-12)
    for f in (D.earth_mover, D.cramer):
        assert f(on(p), on(q), on(t)).item() == pytest.approx(float(f(p, q, t)), rel=1e-12)
    x, y = np.random.default_rng(0).normal(size=(2, 6, 2))
    for f in (D.wasserstein, D.energy_distance):
        assert f(on(x), on(y)).item() == pytest.approx(float(f(x, y)), rel=1e-12)
    sliced = [D.sliced_wasserstein(a, b, 5, rng=tg.random.Generator(0, device=a.device)).item()
              for a, b in ((on(x), on(y[:4])), (tg.tensor(x), tg.tensor(y[:4])))]  # fmt: skip
    assert sliced[0] == pytest.approx(sliced[1], rel=1e-10)
    for f in (D.wasserstein_1d, D.cramer_1d):
        assert f(on(x[:, 0]), on(y[:4, 0])).item() == pytest.approx(float(f(x[:, 0], y[:4, 0])), rel=1e-12)


@given(seed=seeds)
def test_inequalities(seed):
    """S4 eqs. 123-129: KL >= 0, 0 <= JS <= log 2, symmetric; Pinsker; the triangle of the root of JS."""
    p, q, r = laws(seed, 3)
    assert D.kl(p, q) >= 0 and D.kl(p, p) == 0
    assert 0 <= D.js(p, q) <= LOG_2 and D.js(p, q) == pytest.approx(D.js(q, p), abs=1e-15)
    assert D.js(p, p) == 0 and (D.js(p, q) > 0 or np.allclose(p, q))
    assert D.kl(p, q) >= 0.5 * np.abs(p - q).sum() ** 2 - 1e-12
    assert math.sqrt(D.js(p, q)) <= math.sqrt(D.js(p, r)) + math.sqrt(D.js(r, q)) + 1e-9
    t = np.sort(np.random.default_rng(seed).normal(size=5))
    for f in (lambda p, q: D.earth_mover(p, q, t), lambda p, q: math.sqrt(D.cramer(p, q, t))):
        assert 0 <= f(p, q) <= f(p, r) + f(r, q) + 1e-12
        assert f(p, q) == pytest.approx(f(q, p)) and f(p, p) == 0


def test_kl_is_neither_symmetric_nor_a_metric():
    """S0's list: asymmetric, no triangle inequality, and p must vanish where q does."""
    p, q, r = np.array([0.5, 0.5]), np.array([0.9, 0.1]), np.array([0.7, 0.3])
    assert abs(D.kl(p, q) - D.kl(q, p)) > 0.1
    assert D.kl(p, q) > D.kl(p, r) + D.kl(r, q)
    assert D.kl(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == math.inf
    assert D.kl(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(LOG_2)


def test_js_where_a_probability_is_the_smallest_there_is():
    """Half of the smallest positive number is 0: a mixture that is halved too early would make the divergence log 2."""
    for dtype in ("float64", "float32"):
        for n in (1, 2, 3, 1000):  # p = q but for so many times the smallest number
            p, q = np.array([np.finfo(dtype).smallest_subnormal * n, 1], dtype), np.array([0, 1], dtype)
            for a, b in ((p, q), (q, p), (p, p)):
                assert 0 <= D.js(a, b) <= n * np.finfo(dtype).smallest_subnormal, (dtype, n)
    p = np.array([np.finfo(float).smallest_subnormal, 0, 1])
    assert D.js(p, p[[1, 0, 2]]) <= 1e-322 and D.js(p, np.array([0, 1.0, 0])) == pytest.approx(LOG_2)


def test_axis_and_stacks():
    p, q = laws(3, 4).T, laws(4, 4).T  # laws along axis 0
    for f in (D.kl, D.js, D.cross_entropy):
        np.testing.assert_allclose(f(p, q, 0), f(p.T, q.T), rtol=1e-14)
    assert D.js(p.T, q.T[:1]).shape == (4,)


def test_maximum_likelihood_is_kl_minimisation():
    """A6 (S2 2.16-2.24, S4 8-13): with the law of the data fixed, -log likelihood and KL differ by its entropy."""
    data = np.array([0, 0, 1, 3, 3, 3, 2, 0, 1, 3])
    empirical = np.bincount(data) / len(data)
    theta = tg.tensor(np.array([0.1, -0.4, 0.7, 0.2]), requires_grad=True)
    likelihood = -tg.mean(P.Categorical(logits=theta).log_prob(data))
    divergence = D.kl(tg.tensor(empirical), softmax(theta))
    assert likelihood.item() == pytest.approx(divergence.item() + D.entropy(empirical), rel=1e-12)
    assert likelihood.item() == pytest.approx(D.cross_entropy(tg.tensor(empirical), softmax(theta)).item(), rel=1e-12)
    a, b = (tg.grad(v, theta).numpy() for v in (likelihood, divergence))
    np.testing.assert_allclose(a, b, atol=1e-12)  # so both are least at the same place: softmax(theta) = empirical
    at_best = D.kl(tg.tensor(empirical), softmax(tg.tensor(np.log(empirical))))
    assert at_best.item() == pytest.approx(0, abs=1e-15)


def test_forward_covers_and_reverse_seeks_a_mode():
    """A7: a Gaussian on a grid fitted to two bumps by KL(p, q), then by KL(q, p)."""
    t = np.linspace(-16, 16, 401)
    p = 0.5 * st.norm(-2.5, 0.6).pdf(t) + 0.5 * st.norm(2.5, 0.6).pdf(t)
    p = p / p.sum()

    def fit(divergence):
        def value(theta):
            theta = tg.tensor(theta, requires_grad=True)
            q = softmax(-0.5 * tg.square((t - theta[0]) * tg.exp(-theta[1])))
            loss = divergence(q)
            return loss.item(), tg.grad(loss, theta).numpy()

        mean, log_scale = scipy.optimize.minimize(value, np.array([1.5, -0.3]), jac=True, method="BFGS").x
        return mean, math.exp(log_scale)

    mean, scale = fit(lambda q: D.kl(tg.tensor(p), q))
    assert mean == pytest.approx((p * t).sum(), abs=1e-3)  # the moments of p
    assert scale == pytest.approx(math.sqrt((p * t**2).sum()), rel=0.03)
    mean, scale = fit(lambda q: D.kl(q, tg.tensor(p)))
    assert abs(mean) == pytest.approx(2.5, abs=0.05) and scale == pytest.approx(0.6, abs=0.05)  # one bump


# ---- where the mass lies, on the line -------------------------------------------------------------------


@equation(D.earth_mover, 3)
@equation(D.cramer, 4)
@given(seed=seeds)
def test_earth_mover_and_cramer_on_the_line(seed):
    """divergences (3) and (4): SciPy's, and the linear program's."""
    p, q = laws(seed)
    t = np.sort(np.random.default_rng(seed).normal(size=5))
    np.testing.assert_allclose(D.earth_mover(p, q, t), st.wasserstein_distance(t, t, p, q), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(2 * D.cramer(p, q, t), st.energy_distance(t, t, p, q) ** 2, rtol=1e-9, atol=1e-12)
    plan, cost = D.transport_plan(p, q, np.abs(t[:, None] - t))
    assert cost == pytest.approx(float(D.earth_mover(p, q, t)), abs=1e-9)
    np.testing.assert_allclose(plan.sum(1), p, atol=1e-9)
    np.testing.assert_allclose(plan.sum(0), q, atol=1e-9)


samples = hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=1, max_side=7),
                     elements=hs.floats(-5, 5).map(lambda v: round(v, 2)))  # fmt: skip


@equation(D.wasserstein_1d, 3)
@equation(D.cramer_1d, 4)
@equation(D.energy_distance, 4)
@given(x=samples, y=samples, seed=seeds)
def test_samples_on_the_line(x, y, seed):
    """divergences (3) and (4) between samples of any sizes, with ties and weights: E^2 = 2 C."""
    np.testing.assert_allclose(D.wasserstein_1d(x, y), st.wasserstein_distance(x, y), atol=1e-10)
    np.testing.assert_allclose(D.energy_distance(x, y), st.energy_distance(x, y), atol=1e-7)
    np.testing.assert_allclose(2 * D.cramer_1d(x, y), st.energy_distance(x, y) ** 2, atol=1e-10)
    np.testing.assert_allclose(D.energy_distance(x, y, squared=True), 2 * D.cramer_1d(x, y), atol=1e-10)
    rng = np.random.default_rng(seed)
    u, v = rng.exponential(size=x.size) + 1e-3, rng.exponential(size=y.size) + 1e-3
    weighted = dict(x_weights=u, y_weights=v)
    np.testing.assert_allclose(D.wasserstein_1d(x, y, **weighted), st.wasserstein_distance(x, y, u, v), atol=1e-10)
    np.testing.assert_allclose(2 * D.cramer_1d(x, y, **weighted), st.energy_distance(x, y, u, v) ** 2, atol=1e-10)


@equation(D.wasserstein_1d, 3)
@pytest.mark.parametrize("order", [1, 1.5, 2, 3])
def test_orders_on_the_line_are_the_linear_programs(order):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=7), rng.normal(size=4) + 1
    cost = np.abs(x[:, None] - y) ** order
    wanted = D.transport_plan(np.full(7, 1 / 7), np.full(4, 1 / 4), cost)[1] ** (1 / order)
    assert D.wasserstein_1d(x, y, order) == pytest.approx(wanted, rel=1e-9)


def test_earth_mover_against_jensen_shannon_on_disjoint_supports():
    """The parallel lines of the Wasserstein GAN (S1; S2 p. 47): at distance theta, W = theta and JS = log 2.

    Where theta = 0 both vanish; elsewhere JS does not feel theta, and only W has a gradient that closes the gap.
    """
    places = np.arange(0.0, 21)
    left = np.eye(21)[10]
    for shift in range(-10, 11):
        right = np.eye(21)[10 + shift]
        assert D.earth_mover(left, right, places) == abs(shift)
        assert D.js(left, right) == pytest.approx(LOG_2 if shift else 0)
        assert D.kl(left, right) == (math.inf if shift else 0)
        assert D.cramer(left, right, places) == abs(shift)
    height = np.random.default_rng(0).uniform(size=30)
    line = lambda theta: tg.stack([tg.broadcast_to(theta, (30,)), tg.tensor(height)], 1)  # (30, 2)
    for value in (-0.7, 0.3, 4.0):
        theta = tg.tensor(np.array(value), requires_grad=True)
        distance = D.wasserstein(line(tg.tensor(np.array(0.0))), line(theta))
        assert distance.item() == pytest.approx(abs(value), rel=1e-12)
        assert tg.grad(distance, theta).item() == pytest.approx(math.copysign(1, value))
    # JS of two narrowing bumps: once they do not overlap, the gradient is gone
    t = np.linspace(-10, 10, 401)
    theta = tg.tensor(np.array(6.0), requires_grad=True)
    bump = lambda centre: softmax(-0.5 * tg.square((t - centre) / 0.1))
    p, q = bump(tg.tensor(np.array(0.0))), bump(theta)
    assert D.js(p, q).item() == pytest.approx(LOG_2)
    assert abs(tg.grad(D.js(p, q), theta, retain_graph=True).item()) < 1e-12
    assert tg.grad(D.earth_mover(p, q, t), theta).item() == pytest.approx(1, rel=1e-6)


# ---- where the mass lies, in any dimension --------------------------------------------------------------


def test_exact_wasserstein_between_samples():
    """divergences: the pairing against the linear program, a shift, and the line."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 3)) + 1
    for order in (1, 2):
        cost = np.linalg.norm(x[:, None] - y, axis=-1) ** order
        wanted = D.transport_plan(np.full(8, 1 / 8), np.full(8, 1 / 8), cost)[1] ** (1 / order)
        assert D.wasserstein(x, y, order) == pytest.approx(wanted, rel=1e-8)
        shift = np.array([3.0, 0.0, 4.0])
        assert D.wasserstein(x, x[rng.permutation(8)] + shift, order) == pytest.approx(5, rel=1e-12)
    assert D.wasserstein(x[:, :1], y[:, :1]) == pytest.approx(st.wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12)
    assert D.wasserstein(x, x) == 0


def test_sliced_wasserstein():
    """In one dimension it is exact; a shift by delta in d dimensions costs |delta| / sqrt(d) at order 2."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(9, 1)), rng.normal(size=(5, 1))
    for order in (1, 2):
        sliced = D.sliced_wasserstein(x, y, 3, order=order, rng=tg.random.Generator(0))
        assert sliced == pytest.approx(float(D.wasserstein_1d(x[:, 0], y[:, 0], order)), rel=1e-10)
    x = rng.normal(size=(40, 4))
    shift = np.array([1.0, -2.0, 0.5, 0.0])
    got = D.sliced_wasserstein(x, x + shift, 4000, rng=tg.random.Generator(1))
    assert got == pytest.approx(np.linalg.norm(shift) / 2, rel=0.03)
    assert D.sliced_wasserstein(x, x + shift, 50, rng=tg.random.Generator(1)) <= D.wasserstein(x, x + shift, 2) + 1e-9


@equation(D.energy_distance, 4)
def test_energy_distance_in_many_dimensions():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(9, 3)) + 0.5
    d = lambda a, b: np.linalg.norm(a[:, None] - b, axis=-1).mean()
    wanted = 2 * d(x, y) - d(x, x) - d(y, y)
    assert D.energy_distance(x, y, squared=True) == pytest.approx(wanted, rel=1e-12)
    assert D.energy_distance(x, y) == pytest.approx(math.sqrt(wanted), rel=1e-12)
    assert D.energy_distance(x, x[::-1]) == pytest.approx(0, abs=1e-7)
    a = tg.tensor(x, requires_grad=True)  # the points themselves are at distance 0 from themselves: no NaN
    assert np.isfinite(tg.grad(D.energy_distance(a, a.detach(), squared=True), a).numpy()).all()


@equation(D.wasserstein_gaussian, 5)
def test_wasserstein_between_gaussians(device):
    """divergences (5): against SciPy's matrix roots, the diagonal case, the line, and quantiles."""
    import scipy.linalg

    rng = np.random.default_rng(4)
    m, n = rng.normal(size=(2, 2, 3))
    a, b = (x @ x.swapaxes(-1, -2) + 0.1 * np.eye(3) for x in rng.normal(size=(2, 2, 3, 3)))
    on = lambda v: tg.tensor(v, device=device)
    p, q = P.MultivariateNormal(on(m), covariance=on(a)), P.MultivariateNormal(on(n), covariance=on(b))
    got = D.wasserstein_gaussian(p, q).numpy()
    for j in range(2):
        root = scipy.linalg.sqrtm(b[j])
        inner = scipy.linalg.sqrtm(root @ a[j] @ root).real
        square = ((m[j] - n[j]) ** 2).sum() + np.trace(a[j] + b[j] - 2 * inner)
        assert got[j] == pytest.approx(math.sqrt(square), rel=1e-9)
    s, r = np.exp(rng.normal(size=(2, 2, 3)))
    u, v = P.DiagonalNormal(on(m), on(s)), P.DiagonalNormal(on(n), on(r))
    diagonal = D.wasserstein_gaussian(u, v).numpy()
    np.testing.assert_allclose(diagonal, np.sqrt(((m - n) ** 2 + (s - r) ** 2).sum(-1)), rtol=1e-12)
    mixed = D.wasserstein_gaussian(P.MultivariateNormal(on(m), scale_tril=tg.diag(on(s))), v).numpy()
    np.testing.assert_allclose(mixed, diagonal, rtol=1e-9)
    levels = (np.arange(20_000) + 0.5) / 20_000
    line = D.wasserstein_gaussian(P.Normal(0.3, 2.0), P.Normal(-1.0, 0.5)).item()
    quantiles = D.wasserstein_1d(st.norm(0.3, 2).ppf(levels), st.norm(-1, 0.5).ppf(levels), 2)
    assert line == pytest.approx(float(quantiles), rel=1e-3)


def test_float32_in_float32_out():
    p, q = laws(0).astype("float32")
    t, x, y = np.arange(5, dtype="float32"), *np.random.default_rng(0).normal(size=(2, 6, 2)).astype("float32")
    values = [D.kl(p, q), D.js(p, q), D.cross_entropy(p, q), D.entropy(p), D.earth_mover(p, q, t), D.cramer(p, q, t),
              D.wasserstein_1d(x[:, 0], y[:4, 0]), D.wasserstein_1d(x[:, 0], y[:, 0], 2),
              D.cramer_1d(x[:, 0], y[:, 0]), D.wasserstein(x, y), D.energy_distance(x, y),
              D.sliced_wasserstein(x, y, rng=tg.random.Generator(0))]  # fmt: skip
    assert [v.dtype for v in values] == [np.float32] * len(values)


# ---- what is refused ------------------------------------------------------------------------------------

half, cloud = np.array([0.5, 0.5]), np.zeros((3, 2))
REFUSED = {
    "sum": (lambda: D.kl(half, np.array([0.5, 0.6])), r"kl: q holds \[0\.5 0\.6\]; .*sum to 1 .*divide by the sum"),
    "sign": (lambda: D.js(np.array([1.5, -0.5]), half), r"js: p holds"),
    "sizes": (lambda: D.js(half, np.ones(3) / 3), r"p has shape \(2,\) and q \(3,\); as many outcomes"),
    "counts": (lambda: D.kl(np.array([1, 0]), half), r"p is int64 \(2,\); floating probability vectors"),
    "positions": (lambda: D.earth_mover(half, half, np.arange(3.0)), r"positions have shape \(3,\); \(2,\) is wanted"),
    "order of places": (lambda: D.cramer(half, half, np.array([1.0, 0.0])), r"positions do not rise; sort them"),
    "axes": (lambda: D.wasserstein_1d(cloud, cloud), r"x has shape \(3, 2\); a sample on the line, \(n,\), is wanted"),
    "order": (lambda: D.wasserstein_1d(half, half, 0.5), r"order is 0\.5; at least 1"),
    "order of slices": (lambda: D.sliced_wasserstein(cloud, cloud, order=math.nan, rng=tg.random.Generator(0)),
                        r"sliced_wasserstein: order is nan; at least 1"),
    "infinite order": (lambda: D.wasserstein(cloud, cloud, math.inf), r"wasserstein: order is inf; at least 1"),
    "integers": (lambda: D.wasserstein_1d(np.array([0, 10]), half), r"wasserstein_1d: x is int64; floating numbers"),
    "bytes": (lambda: D.energy_distance(cloud, cloud.astype(np.uint8)), r"energy_distance: y is uint8; floating"),
    "Gaussians": (lambda: D.wasserstein_gaussian(P.DiagonalNormal(np.zeros(1), 1.0), P.DiagonalNormal(half, 1.0)),
                  r"p has event_shape \(1,\) and q \(2,\); the same"),
    "weights": (lambda: D.cramer_1d(half, half, x_weights=np.ones(3)), r"one for each of the 2 points"),
    "negative": (lambda: D.wasserstein_1d(half, half, x_weights=np.array([1.0, -1])), r"weights must not be negative"),
    "numbers": (lambda: D.wasserstein(cloud, cloud[:2]), r"x has 3 points and y 2; as many .*transport_plan"),
    "dimensions": (lambda: D.energy_distance(cloud, np.zeros((3, 1))), r"samples \(n, d\) and \(m, d\) of one dim"),
    "empty": (lambda: D.wasserstein(cloud[:0], cloud[:0]), r"x has shape \(0, 2\)"),
    "cost": (lambda: D.transport_plan(half, half, np.eye(3)), r"\(n,\), \(m,\) and \(n, m\) are wanted"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused_with_a_word_on_what_is_wanted(what):
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_wasserstein_of_other_laws_is_refused():
    with pytest.raises(TypeError, match="p and q are Normal and Laplace; two Normal laws are wanted"):
        D.wasserstein_gaussian(P.Normal(0.0, 1.0), P.Laplace(0.0, 1.0))

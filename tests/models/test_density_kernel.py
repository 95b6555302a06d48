"""The kernel estimate's equations against plain loops, quadrature and simulation; scikit-learn; promises."""

import doctest
import math
import tracemalloc

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen.models.density import KernelDensity, kernel_error, overlap, sums
from tinygen.models.density import kernel as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
KERNELS = chapter.KERNELS
each_kernel = pytest.mark.parametrize("kernel", KERNELS)
each_shape = pytest.mark.parametrize("product", [False, True], ids=["radial", "product"])
normal = scipy.stats.norm.pdf


def quiet():
    return Run(quiet=True)


def written(u, kernel):
    """(3), one number at a time."""
    inside = abs(u) <= 1
    return {"gaussian": math.exp(-u * u / 2) / math.sqrt(2 * math.pi), "rectangular": inside / 2,
            "triangular": inside * (1 - abs(u)), "epanechnikov": inside * (1 - u * u) * 3 / 4}[kernel]  # fmt: skip


def whole(kernel, u, product):
    """K(u) for one u of (d,), by (4) and a constant from quadrature."""
    if product:
        return math.prod(written(v, kernel) for v in u)
    d = len(u)
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    reach = 12 if kernel == "gaussian" else 1
    integral = sphere * scipy.integrate.quad(lambda r: written(r, kernel) * r ** (d - 1), 0, reach)[0]
    return written(math.sqrt(sum(u * u)), kernel) / integral


def fitted(x, **options):
    return KernelDensity(x.shape[1], **options).fit(x, run=quiet())


# ---- on the line ----------------------------------------------------------------------------------------


@equation(chapter.sliding_window, 1)
def test_the_sliding_window_counts():  # (1), S4 eq. 33
    X, x = rng.normal(size=40), np.linspace(-3, 3, 31)
    expected = [sum(v - 0.3 <= a < v + 0.3 for a in X) / (2 * 40 * 0.3) for v in x]
    np.testing.assert_allclose(chapter.sliding_window(x, X, 0.3), expected, rtol=1e-12)
    np.testing.assert_allclose(chapter.estimate(x, X, 0.3, "rectangular"), expected, rtol=1e-12)  # the same, by (2)


def test_the_window_is_half_open_and_the_rectangle_closed():  # S4 eqs. 33 and 34 differ there
    X, x = np.array([2.0]), np.array([1.0, 3.0])
    assert chapter.sliding_window(x, X, 1.0).tolist() == [0, 0.5]
    np.testing.assert_allclose(chapter.estimate(x, X, 1.0, "rectangular"), [0.5, 0.5])
    lattice = np.arange(-8.0, 9.0)[:, None]
    for h in (1.0, 3.0, 5.0, 7.0):  # the border is inside, whatever h
        inside = np.exp(fitted(lattice, kernel="rectangular", bandwidth=h).score_samples(np.zeros((1, 1))))
        np.testing.assert_allclose(inside, (2 * h + 1) / (17 * 2 * h), rtol=1e-12)


@each_kernel
@equation(chapter.estimate, 2)
@equation(chapter.kernel_values, 3)
def test_the_estimate_as_written(kernel):  # (2) and (3), S4 eqs. 34-36
    X, x, h = rng.normal(size=30), np.linspace(-3, 3, 21), 0.4
    expected = [sum(written((v - a) / h, kernel) for a in X) / (30 * h) for v in x]
    np.testing.assert_allclose(chapter.estimate(x, X, h, kernel), expected, rtol=1e-12)
    np.testing.assert_allclose(chapter.kernel_values(x, kernel), [written(v, kernel) for v in x], rtol=1e-12)
    assert scipy.integrate.quad(written, -1, 1, (kernel,), points=[0])[0] == pytest.approx(
        math.erf(1 / math.sqrt(2)) if kernel == "gaussian" else 1)  # fmt: skip
    model = fitted(X[:, None], kernel=kernel, bandwidth=h)
    np.testing.assert_allclose(np.exp(model.score_samples(x[:, None])), expected, rtol=1e-10)


@each_kernel
@equation(chapter.self_convolution, 11)
def test_what_two_kernels_share_on_the_line(kernel):  # (11)
    reach = 12 if kernel == "gaussian" else 1
    for u in (-1.7, -0.4, 0.0, 0.3, 1.0, 1.2, 1.9, 2.0, 2.5):
        tips = sorted(v for v in (0, u, u - 1, u + 1) if abs(v) < reach)
        expected = scipy.integrate.quad(lambda v, u=u: written(v, kernel) * written(u - v, kernel), -reach, reach,
                                        points=tips)[0]  # fmt: skip
        found = chapter.self_convolution(np.array([u]), kernel)[0]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


# ---- in any dimension -----------------------------------------------------------------------------------


@each_kernel
@each_shape
@pytest.mark.parametrize("d", [1, 2, 3])
@equation(chapter.log_density, 4)
def test_the_estimate_in_any_dimension(kernel, product, d):  # (4)
    X, x, h = rng.normal(size=(20, d)), rng.normal(size=(9, d)), 0.9
    expected = [sum(whole(kernel, (v - a) / h, product) for a in X) / (20 * h**d) for v in x]
    found = fitted(X, kernel=kernel, product=product, bandwidth=h).score_samples(x)
    assert (np.isfinite(found) == (np.array(expected) > 0)).all() and np.isfinite(found).sum() > 3
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-8)


@each_kernel
@pytest.mark.parametrize("d", [2, 3, 7])
@equation(chapter.log_constant, 5)
def test_the_constant_of_a_kernel(kernel, d):  # (5): an integral over the radius
    sphere, reach = 2 * math.pi ** (d / 2) / math.gamma(d / 2), 14 if kernel == "gaussian" else 1
    of_r = lambda r: written(r, kernel) / written(0, kernel) * r ** (d - 1)  # noqa: E731
    total = sphere * scipy.integrate.quad(of_r, 0, reach)[0]
    assert chapter.log_constant(kernel, d) == pytest.approx(-math.log(total), rel=1e-8)
    assert chapter.log_constant(kernel, 1) == pytest.approx(math.log(written(0, kernel)), abs=1e-12)
    product = chapter.log_constant(kernel, d, product=True)
    assert product == pytest.approx(d * math.log(written(0, kernel)), abs=1e-12)


@each_kernel
@pytest.mark.parametrize("d", [1, 2, 5, 12])
@equation(chapter.second_moment, 7)
@equation(chapter.roughness, 7)
def test_the_numbers_of_a_kernel(kernel, d):  # (7), radial: integrals over the radius
    sphere, reach = 2 * math.pi ** (d / 2) / math.gamma(d / 2), 14 if kernel == "gaussian" else 1
    integrals = []
    for power, of_r in ((1, 0), (1, 2), (2, 0)):
        kappa = lambda r, p=power, q=of_r: (written(r, kernel) / written(0, kernel)) ** p * r ** (d - 1 + q)  # noqa: E731
        integrals.append(sphere * scipy.integrate.quad(kappa, 0, reach)[0])
    total, squares, second = integrals
    assert chapter.second_moment(kernel, d) == pytest.approx(squares / total / d, rel=1e-8)
    assert chapter.roughness(kernel, d) == pytest.approx(second / total**2, rel=1e-8)
    assert chapter.second_moment(kernel, d, product=True) == pytest.approx(chapter.second_moment(kernel, 1))
    assert chapter.roughness(kernel, d, product=True) == pytest.approx(chapter.roughness(kernel, 1) ** d)


@each_kernel
@pytest.mark.parametrize("d, h", [(1, 0.3), (2, 0.4), (5, 1.5)])
def test_it_is_scikit_learns(kernel, d, h):  # the bar: 1e-8
    sklearn = pytest.importorskip("sklearn.neighbors", reason="the oracle is scikit-learn")
    theirs = {"rectangular": "tophat", "triangular": "linear"}.get(kernel, kernel)
    X, x = rng.normal(size=(400, d)), rng.normal(size=(300, d))
    expected = sklearn.KernelDensity(bandwidth=h, kernel=theirs).fit(X).score_samples(x)
    found = fitted(X, kernel=kernel, bandwidth=h).score_samples(x)
    inside = np.isfinite(found)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-8)
    # where no example is near, the density is 0; scikit-learn's bounds may leave e^-34 there
    assert (expected[~inside] < -30).all() and inside.sum() > 200
    if kernel == "gaussian":
        product = fitted(X, kernel=kernel, bandwidth=h, product=True).score_samples(x)
        np.testing.assert_array_equal(product, found)


@equation(chapter.log_density, 6)
def test_far_away_the_logarithm_stays():  # (6)
    X = rng.normal(size=(50, 2))
    x = np.array([[0.0, 0], [40, 0], [1e3, -2e4], [1e8, 0]])
    squares = ((x[:, None] - X) ** 2).sum(2)
    expected = scipy.special.logsumexp(-squares / (2 * 0.2**2), axis=1) - math.log(50 * 0.2**2 * 2 * math.pi)
    np.testing.assert_allclose(fitted(X, bandwidth=0.2).score_samples(x), expected, rtol=1e-12)


@pytest.mark.parametrize("h", [1e-7, 1e-3, 1.0])
def test_no_digits_are_lost_far_from_the_origin(h):
    X = np.round(rng.normal(size=(50, 2)) * 2**20) / 2**20
    x = X[:5] + np.array([2.0**-30, 2.0**-29])
    near = fitted(X, bandwidth=h).score_samples(x)
    squares = ((x[:, None] - X) ** 2).sum(2)
    expected = scipy.special.logsumexp(-squares / (2 * h * h), axis=1) - math.log(50 * h**2 * 2 * math.pi)
    np.testing.assert_allclose(near, expected, rtol=1e-8)
    np.testing.assert_allclose(fitted(X + 2.0**20, bandwidth=h).score_samples(x + 2.0**20), near, rtol=1e-8)


@each_kernel
@each_shape
def test_the_size_of_the_parts_and_the_threads_change_nothing(kernel, product, monkeypatch):
    model = fitted(rng.normal(size=(60, 2)), kernel=kernel, product=product, bandwidth=0.5)
    x = rng.normal(size=(33, 2))
    found, criterion = model.score_samples(x), model.cross_validation(0.5)
    np.testing.assert_allclose(model.score_samples(x, threads=4), found, rtol=1e-12)
    np.testing.assert_allclose(model.score_samples(x[:1], threads=4), found[:1], rtol=1e-12)
    monkeypatch.setattr(sums, "numbers_at_a_time", lambda X: 300)
    np.testing.assert_allclose(model.score_samples(x), found, rtol=1e-12)
    np.testing.assert_allclose(model.cross_validation(0.5), criterion, rtol=1e-12)
    if kernel == "gaussian":
        far = x + np.array([0.0, 90])
        expected = scipy.special.logsumexp(-((far[:, None] - model.examples.numpy()) ** 2).sum(2) / 0.5, axis=1)
        np.testing.assert_allclose(model.score_samples(far), expected - math.log(60 * 0.5 * math.pi), rtol=1e-12)


@each_kernel
def test_memory_is_bounded(kernel):  # so that 10^5 points on 10^5 examples stay under 1 GiB
    X = rng.normal(size=(100_000, 1))
    model = fitted(X, kernel=kernel, bandwidth=0.1)
    tracemalloc.start()
    model.score_samples(X[:200])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


# ---- the bandwidth --------------------------------------------------------------------------------------


@equation(chapter.reference_bandwidth, 8)
def test_the_best_bandwidth_for_a_normal_density():  # (8): where h^4 mu^2 int (lap f)^2 / 4 + R / n h^d is least
    assert chapter.reference_bandwidth(2.0, 100, 1) == pytest.approx(2 * (4 / 3) ** 0.2 * 100**-0.2)  # Silverman's 1.06
    for d in (2, 3):
        factor = scipy.stats.gaussian_kde(rng.normal(size=(d, 50)), "silverman").factor
        assert chapter.reference_bandwidth(1.0, 50, d) == pytest.approx(factor, rel=1e-12)
    for kernel, d, product in [("epanechnikov", 1, False), ("triangular", 3, False), ("rectangular", 2, True)]:
        sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
        laplacian = lambda r, d=d: (r * r - d) * math.exp(-r * r / 2) / (2 * math.pi) ** (d / 2)  # noqa: E731
        of_f = sphere * scipy.integrate.quad(lambda r, d=d, f=laplacian: f(r) ** 2 * r ** (d - 1), 0, 12)[0]
        mu, R = chapter.second_moment(kernel, d, product), chapter.roughness(kernel, d, product)
        found = chapter.reference_bandwidth(1.0, 500, d, kernel, product)
        assert found == pytest.approx((d * R / (mu**2 * of_f * 500)) ** (1 / (d + 4)), rel=1e-9)


@each_kernel
@each_shape
@pytest.mark.parametrize("d", [1, 2])
@equation(chapter.cross_validation, 9, 10)
def test_cross_validation_by_hand(kernel, product, d):  # (9) and (10): a sum on a grid, and each example left out
    X, h = np.random.default_rng(3).normal(size=(15, d)), 0.7
    t = np.linspace(-5, 5, 200_001 if d == 1 else 701)
    grid = t[:, None] if d == 1 else np.stack(np.meshgrid(t, t), -1).reshape(-1, 2)
    square = np.sum(np.exp(2 * chapter.log_density(grid, X, h, kernel, product))) * (t[1] - t[0]) ** d
    left_out = [np.exp(chapter.log_density(X[[i]], np.delete(X, i, 0), h, kernel, product))[0] for i in range(15)]
    if kernel == "rectangular":  # a grid would see its steps only coarsely; what boxes and discs share is known
        u = abs(X[:, None] - X) / h
        shared = (np.maximum(2 - u, 0) / 4).prod(2)
        if d == 2 and not product:
            s = np.minimum(np.sqrt((u * u).sum(2)), 2)
            shared = (2 * np.arccos(s / 2) - s / 2 * np.sqrt(4 - s**2)) / math.pi**2
        square = shared.sum() / (15**2 * h**d)
    found = chapter.cross_validation(X, h, kernel, product)
    assert found == pytest.approx(square - 2 * np.mean(left_out), rel=1e-4)


@equation(chapter.cross_validation, 9)
def test_cross_validation_of_rectangles_by_hand():  # where all can be counted: K * K is a tent
    X = np.array([[0.0], [0.5], [3.0]])
    square = (3 * 1 / 2 + 2 * (2 - 0.5) / 4) / 9
    assert chapter.cross_validation(X, 1.0, "rectangular") == pytest.approx(square - 2 / 3 * (2 * 0.5 / 2), rel=1e-12)


def test_cross_validation_is_the_error_but_for_a_constant():  # its mean is MISE - int f^2
    n, h, grid = 30, 0.5, np.linspace(-8, 8, 2001)
    draws = [chapter.cross_validation(rng.normal(size=(n, 1)), h) for _ in range(2000)]
    expected = kernel_error.mise(normal, h, n, "gaussian", grid) - 1 / (2 * math.sqrt(math.pi))
    assert np.mean(draws) == pytest.approx(expected, abs=4 * np.std(draws) / math.sqrt(2000))


@pytest.mark.parametrize("kernel", KERNELS[1:])
@equation(overlap.radial_self_convolution, 1)
def test_what_two_radial_kernels_share(kernel):  # overlap's (1)
    for d in (2, 3, 6):
        v, found = overlap.radial_self_convolution(kernel, d)
        assert v[0] == 0 and v[-1] == 1 and found[0] == 0  # at distance 2 and 0
        assert found[-1] == pytest.approx(chapter.roughness(kernel, d), rel=1e-6)  # K * K (0) is the integral of K^2
        # (K * K) is a density: its integral over the ball of radius 2 is 1, its second moment twice that of K
        s, sphere = 2 * (1 - v**2), 2 * math.pi ** (d / 2) / math.gamma(d / 2)
        measure = found * sphere * s ** (d - 1)
        assert -scipy.integrate.simpson(measure, x=s) == pytest.approx(1, rel=1e-5)
        squares = -scipy.integrate.simpson(measure * s**2, x=s) / d
        assert squares == pytest.approx(2 * chapter.second_moment(kernel, d), rel=1e-5)
    if kernel == "rectangular":  # discs, as Euclid would
        v, found = overlap.radial_self_convolution(kernel, 2)
        s = 2 * (1 - v**2)
        lens = 2 * np.arccos(s / 2) - s / 2 * np.sqrt(4 - s**2)
        np.testing.assert_allclose(found, lens / math.pi**2, atol=1e-12)


@each_kernel
def test_cross_validation_finds_two_humps_that_the_reference_melts(kernel):
    x = np.concatenate([rng.normal(-4, 0.5, 200), rng.normal(4, 0.5, 200)])[:, None]
    reference = fitted(x, kernel=kernel, bandwidth="reference")
    model = KernelDensity(1, kernel=kernel).fit(x, steps=25, run=quiet())
    best = chapter.reference_bandwidth(0.5, 200, 1, kernel)  # of one hump by itself
    assert best / 2 < float(model.bandwidth) < 2 * best < float(reference.bandwidth)
    new = np.concatenate([rng.normal(-4, 0.5, 200), rng.normal(4, 0.5, 200)])[:, None]
    assert np.mean(np.exp(model.score_samples(new))) > np.mean(np.exp(reference.score_samples(new)))
    criteria = [model.cross_validation(h) for h in chapter.ladder(float(reference.bandwidth), 25)]
    assert float(model.criterion) == min(criteria)
    assert float(model.bandwidth) == chapter.ladder(float(reference.bandwidth), 25)[int(np.argmin(criteria))]


def test_repeated_rows_are_pointed_out():
    with pytest.warns(UserWarning, match="rows occur several times"):
        KernelDensity(1).fit(np.round(rng.normal(size=(300, 1)), 0), run=quiet())


# ---- bias, variance, rate -------------------------------------------------------------------------------


@each_kernel
@equation(kernel_error.expectation, 1)
@equation(kernel_error.variance, 3)
def test_mean_and_variance_are_those_of_many_estimates(kernel):  # kernel_error (1) and (3), S4 eqs. 37-39, 45-49
    x, h, n = np.array([-1.0, 0.0, 0.7]), 0.8, 25
    draws = np.array([chapter.estimate(x, rng.normal(size=n), h, kernel) for _ in range(4000)])
    mean, variance = (f(normal, x, h, *rest) for f, rest in
                      ((kernel_error.expectation, (kernel,)), (kernel_error.variance, (n, kernel))))  # fmt: skip
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * math.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.12)
    reach = 12 if kernel == "gaussian" else 1
    for k, v in enumerate(x):
        first, second = (scipy.integrate.quad(lambda u, p=p, v=v: written(u, kernel) ** p * normal(v + u * h), -reach,
                                              reach, points=[0])[0] for p in (1, 2))  # fmt: skip
        assert mean[k] == pytest.approx(first, rel=1e-8)
        assert variance[k] == pytest.approx((second / h - first**2) / n, rel=1e-7)
    if kernel == "gaussian":  # a normal, blurred by a normal
        np.testing.assert_allclose(mean, scipy.stats.norm.pdf(x, scale=math.sqrt(1 + h * h)), rtol=1e-12)


@each_kernel
@equation(kernel_error.bias_constant, 2)
@equation(kernel_error.variance_constant, 4)
@equation(kernel_error.bound, 5)
def test_the_bounds_hold_and_are_nearly_reached(kernel):  # kernel_error (2), (4), (5), S4 eqs. 42-52
    x, n = np.linspace(-4, 4, 161), 50  # f and |f''| of a normal are largest at 0, where both are 1 / sqrt(2 pi)
    c1, c2 = (constant(normal(0), kernel) for constant in (kernel_error.bias_constant, kernel_error.variance_constant))
    for h in (0.01, 0.1, 1.0):
        bias = kernel_error.expectation(normal, x, h, kernel) - normal(x)
        variance = kernel_error.variance(normal, x, h, n, kernel)
        limits = c1 * h**2, c2 / (n * h), kernel_error.bound(h, n, c1, c2)
        assert (abs(bias) <= limits[0] * (1 + 1e-9)).all() and (variance <= limits[1]).all()
        assert (bias**2 + variance <= limits[2]).all()
        assert limits[2] == pytest.approx(limits[0] ** 2 + limits[1], rel=1e-12)
    h = 0.01
    bias = kernel_error.expectation(normal, [0.0], h, kernel)[0] - normal(0)
    assert abs(bias) == pytest.approx(c1 * h**2, rel=5e-4)
    assert n * kernel_error.variance(normal, [0.0], 1e-4, n, kernel)[0] * 1e-4 == pytest.approx(c2, rel=3e-4)


@equation(kernel_error.optimum, 6)
def test_the_best_bandwidth_of_the_bound():  # kernel_error (6), S4 eqs. 53-54
    c1, c2, n = 0.3, 0.7, 400
    best = scipy.optimize.minimize_scalar(lambda h: kernel_error.bound(h, n, c1, c2), bounds=(0.1, 1),
                                          options={"xatol": 1e-9})  # fmt: skip
    h, least = kernel_error.optimum(n, c1, c2)
    assert h == pytest.approx(best.x, rel=1e-5) and least == pytest.approx(best.fun, rel=1e-12)
    rate = math.log(kernel_error.optimum(10 * n, c1, c2)[1] / least) / math.log(10)
    assert rate == pytest.approx(-0.8, abs=1e-12)


@each_kernel
@equation(kernel_error.mise, 7)
@equation(kernel_error.mise_constants, 7)
def test_the_integrated_error(kernel):  # kernel_error (7): S4's (51) is a bound at a point
    grid, curvature = np.linspace(-9, 9, 3001), 3 / (8 * math.sqrt(math.pi))  # the integral of f''^2 of a normal
    assert scipy.integrate.quad(lambda x: ((x * x - 1) * normal(x)) ** 2, -9, 9)[0] == pytest.approx(curvature)
    c1, c2 = kernel_error.mise_constants(curvature, kernel)
    h = 0.02  # for a small h, the two parts one by one
    least = kernel_error.mise(normal, h, 10**15, kernel, grid)
    assert least == pytest.approx(c1**2 * h**4, rel=2e-3 if kernel == "gaussian" else 5e-4)
    assert c1 == pytest.approx(chapter.second_moment(kernel, 1) * math.sqrt(curvature) / 2, rel=1e-9)
    total = kernel_error.mise(normal, 1e-4, 1, kernel, grid) * 1e-4
    assert total == pytest.approx(c2, rel=3e-4)
    if kernel == "gaussian":  # in closed form (Fryer 1976)
        n, h, root = 40, 0.4, 2 * math.sqrt(math.pi)
        closed = (1 / (n * h) + (1 - 1 / n) / math.sqrt(1 + h * h) - 2 * math.sqrt(2 / (2 + h * h)) + 1) / root
        assert kernel_error.mise(normal, h, n, kernel, grid) == pytest.approx(closed, rel=1e-9)
    assert chapter.reference_bandwidth(1, 70, 1, kernel) == pytest.approx(kernel_error.optimum(70, c1, c2)[0])


# ---- draws ----------------------------------------------------------------------------------------------


@each_kernel
@each_shape
@pytest.mark.parametrize("d", [1, 2, 5])
def test_draws_follow_the_kernel(kernel, product, d):
    u = chapter.draw(20_000, d, kernel, product, tg.random.Generator(1))
    assert u.shape == (20_000, d) and u.dtype == np.float64
    moment = chapter.second_moment(kernel, d, product)
    np.testing.assert_allclose(np.cov(u.T), moment * np.eye(d), atol=0.04 * moment)
    if kernel != "gaussian":
        reach = abs(u).max(1) if product else np.sqrt((u * u).sum(1))
        assert 0.9 < reach.max() <= 1
    if product or d == 1:  # the distribution function of (3)
        low = -12 if kernel == "gaussian" else -1
        t = np.linspace(low, -low, 4001)
        heights = np.array([written(v, kernel) for v in t])
        cdf = scipy.integrate.cumulative_trapezoid(heights, t, initial=0)
        assert scipy.stats.kstest(u[:, 0], lambda v: np.interp(v, t, cdf)).pvalue > 0.01


@pytest.mark.parametrize("kernel", KERNELS[1:])
@pytest.mark.parametrize("d", [1, 3, 8])
@equation(chapter.radius, 12)
def test_the_length_of_a_radial_draw(kernel, d):  # (12)
    r = chapter.radius(tg.random.Generator(2).uniform((2, 20_000), dtype="float64"), d, kernel)
    t = np.linspace(0, 1, 4001)
    heights = np.array([written(v, kernel) for v in t]) * t ** (d - 1)
    cdf = scipy.integrate.cumulative_trapezoid(heights, t, initial=0)
    assert scipy.stats.kstest(r, lambda v: np.interp(v, t, cdf / cdf[-1])).pvalue > 0.01
    power = {"rectangular": 0, "triangular": 1 / (d + 1), "epanechnikov": 1 / (d + 2)}[kernel]
    v = np.array([[0.3, 0.9], [0.5, 0.2]])
    np.testing.assert_allclose(chapter.radius(v, d, kernel), v[0] ** (1 / d) * v[1] ** power, rtol=1e-12)


@each_kernel
def test_samples_follow_the_estimate(kernel):
    X = np.array([[-3.0], [-2.5], [4.0]])
    model = fitted(X, kernel=kernel, bandwidth=0.8)
    drawn = model.sample(20_000, rng=tg.random.Generator(4))[:, 0]
    t = np.linspace(-8, 9, 8001)
    cdf = scipy.integrate.cumulative_trapezoid(np.exp(model.score_samples(t[:, None])), t, initial=0)
    assert cdf[-1] == pytest.approx(1, abs=1e-3)
    assert scipy.stats.kstest(drawn, lambda v: np.interp(v, t, cdf)).pvalue > 0.01
    assert model.sample(0).shape == (0, 1)


# ---- the model ------------------------------------------------------------------------------------------


@each_kernel
@each_shape
def test_on_any_device(kernel, product, device):
    X = rng.normal(size=(40, 2))
    models = [KernelDensity(2, kernel=kernel, product=product, rng=tg.random.Generator(0, device=where))
              for where in ("cpu", device)]  # fmt: skip
    ours, there = (model.fit(X, steps=4, run=quiet()) for model in models)
    assert there.examples.device == device and isinstance(there.score_samples(X), np.ndarray)
    np.testing.assert_allclose(there.score_samples(X), ours.score_samples(X), rtol=1e-10)
    np.testing.assert_allclose(there.criterion.numpy(), ours.criterion.numpy(), rtol=1e-9)
    a, b = (model.sample(7, rng=tg.random.Generator(1, device=where))
            for model, where in ((ours, "cpu"), (there, device)))  # fmt: skip
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_state_brings_its_examples():
    model = fitted(rng.normal(size=(12, 2)), bandwidth=0.5)
    other = KernelDensity(2, bandwidth="reference")
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.score_samples(np.zeros((1, 2))), model.score_samples(np.zeros((1, 2))))
    with pytest.raises(ValueError, match="nothing was changed"):
        KernelDensity(3).load_state_dict(model.state_dict())
    state = {name: value for name, value in model.state_dict().items() if name != "bandwidth"}
    fresh = KernelDensity(2)
    with pytest.raises(ValueError, match="bandwidth is missing"):
        fresh.load_state_dict(state)
    assert fresh.examples.shape == (0, 2)


@each_kernel
@each_shape
def test_many_dimensions(kernel, product):  # where a density is beyond what a float holds, its logarithm is not
    X = rng.normal(size=(30, 784))
    model = fitted(X, kernel=kernel, product=product, bandwidth="reference")
    assert np.isfinite(model.score_samples(X)).all() and np.isfinite(model.sample(3)).all()


@each_kernel
def test_a_slice_along_the_first_coordinate_leaves_nobody_out(kernel):  # not by rounding, far from the origin, either
    X = 1e8 + np.arange(64)[:, None] / 2**10
    model = fitted(X, kernel=kernel, bandwidth=8 / 2**10)
    expected = chapter.estimate(X[:, 0] - 1e8, X[:, 0] - 1e8, 8 / 2**10, kernel)
    np.testing.assert_allclose(np.exp(model.score_samples(X)), expected, rtol=1e-6)


def test_a_fixed_bandwidth_takes_one_step_and_examples():
    run = quiet()
    model = KernelDensity(1, bandwidth=0.3).fit(np.zeros((5, 1)), run=run)  # all alike, or a single one: no matter
    assert run.step == 1 and float(model.bandwidth) == 0.3 and np.isfinite(model.score(np.zeros((1, 1))))
    model = KernelDensity(1, bandwidth=0.3).fit(np.ones((1, 1)), run=quiet())
    np.testing.assert_allclose(model.score_samples(np.zeros((1, 1))), scipy.stats.norm(1, 0.3).logpdf(0))


def test_what_is_refused_and_how():
    with pytest.raises(ValueError, match=r"KernelDensity: x has shape \(5, 1\); at least one row of 2 features"):
        KernelDensity(2).fit(np.zeros((5, 1)), run=quiet())
    with pytest.raises(ValueError, match="3 rows that are all alike"):
        KernelDensity(2).fit(np.ones((3, 2)), run=quiet())
    with pytest.raises(ValueError, match="values up to nan"):
        fitted(rng.normal(size=(5, 1)), bandwidth=1.0).score_samples(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="values up to 1e[+]200"):
        fitted(np.full((2, 1), 1e200), bandwidth=1.0)
    with pytest.raises(ValueError, match="in 784 dimensions cross-validation"):
        KernelDensity(784).fit(rng.normal(size=(5, 784)), run=quiet())
    with pytest.raises(RuntimeError, match="call fit first"):
        KernelDensity(2).sample(3)
    for options in ({"kernel": "cosine"}, {"bandwidth": 0.0}, {"bandwidth": "scott"}, {"bandwidth": np.nan}):
        with pytest.raises(ValueError, match=next(iter(options))):
            KernelDensity(2, **options)
    with pytest.raises(ValueError, match="n_features"):
        KernelDensity(0)


@pytest.mark.parametrize("value", [0.1, 0.3, 1e6 + 0.1, -7.7e-20])
@pytest.mark.parametrize("n", [3, 7, 1000])
def test_constant_data_are_found_through_rounding(value, n):
    with pytest.raises(ValueError, match="all alike"):
        KernelDensity(1).fit(np.full((n, 1), value), run=quiet())


def test_a_bandwidth_without_a_square_is_refused():
    with pytest.raises(ValueError, match="bandwidth is 1e-170"):
        KernelDensity(1, bandwidth=1e-170)


def test_ties_send_the_criterion_down_if_there_are_enough_of_them():
    """More than 0.27 n pairs that coincide, for a Gaussian on the line."""
    narrow, x = 1e-7, rng.normal(size=(300, 1))
    for pairs, sign in ((70, 1), (90, -1)):
        tied = x.copy()
        tied[:pairs] = tied[pairs : 2 * pairs]
        assert sign * chapter.cross_validation(tied, narrow, "gaussian", False) > 0


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

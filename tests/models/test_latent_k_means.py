"""k-means: its equations against loops, the limit of EM, an inertia that never rises, scikit-learn; promises."""

import doctest
import math
import warnings

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import GaussianMixture, KMeans
from tinygen.models.latent import k_means as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)


def quiet():
    return Run(quiet=True)


def clouds(n=90, d=2, m=4, seed=0):
    """Points around m centres."""
    draw = np.random.default_rng(seed)
    return 3 * draw.normal(size=(m, d))[draw.integers(0, m, n)] + draw.normal(size=(n, d))


def started(x, m, **options):
    """A model at the first m examples."""
    model = KMeans(x.shape[1], m, **options)
    model.start_at(x[:m])
    return model


def by_hand(x, centres):
    """Labels, and squared distances from the nearest, in plain loops."""
    distances = [[sum((v - c) ** 2) for c in centres] for v in x]
    return [row.index(min(row)) for row in distances], [min(row) for row in distances]


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.inertia, 1)
@equation(KMeans.inertia, 1)
def test_the_inertia_by_hand():  # (1)
    x = clouds(40, 3)
    expected = sum(by_hand(x, x[:5])[1])
    assert float(chapter.inertia(x, x[:5])) == pytest.approx(expected, rel=1e-12)
    assert started(x, 5).inertia(x) == pytest.approx(expected, rel=1e-12)
    assert started(x, 5).score(x) == pytest.approx(-expected, rel=1e-12)


@pytest.mark.parametrize("size", [7, 1000])
@equation(chapter.heap_sums, 2)
def test_the_nearest_centre_by_products_is_that_by_distances(size):  # (2), also where two are equally near
    x = np.concatenate([clouds(50, 3), np.round(clouds(50, 3))])
    for centres in (x[:6], np.round(x[:6]), np.zeros((4, 3)), np.array([[1.0, 0, 0], [-1, 0, 0]])):
        labels, squares = by_hand(x, centres)
        np.testing.assert_array_equal(chapter.nearest(x, centres), labels)
        prepared = chapter.Prepared(x)
        count, sums, J = chapter.heap_sums(prepared, centres, size)
        same = len(set(map(tuple, centres))) == len(centres) and not (centres == np.round(centres)).all()
        if same:
            np.testing.assert_array_equal(count, np.bincount(labels, minlength=len(centres)))
            expected = [sum((v - prepared.middle for v, k in zip(x, labels, strict=True) if k == j), np.zeros(3))
                        for j in range(len(centres))]  # fmt: skip
            np.testing.assert_allclose(sums, expected, atol=1e-9)
        assert count.sum() == len(x)
        assert J == pytest.approx(sum(squares), rel=1e-9)


@equation(chapter.heaps, 3, 4)
def test_means_and_what_moving_to_them_gains():  # (3) and (4)
    x, centres = clouds(60, 2), clouds(5, 2, seed=3)
    labels, squares = by_hand(x, centres)
    labels = np.array(labels)
    prepared = chapter.Prepared(x)
    found = chapter.heaps(prepared, centres, *chapter.heap_sums(prepared, centres, 100))
    inertia = 0.0
    for k in range(5):
        own = x[labels == k]
        np.testing.assert_allclose(found.mean[k], own.mean(0) if len(own) else centres[k], rtol=1e-9)
        inertia += ((own - own.mean(0)) ** 2).sum() if len(own) else 0
    assert float(found.inertia) == pytest.approx(inertia, rel=1e-9) and inertia < sum(squares)
    q = started(x, 5).e_step(prepared)
    model = started(x, 5)
    assert -2 * float(model.bound(q)) == pytest.approx(model.inertia(x), rel=1e-9)  # (4), read backwards


@equation(chapter.responsibilities, 5)
def test_responsibilities_become_certain():  # (5)
    x, centres = clouds(40), clouds(3, seed=5)
    labels = np.array(by_hand(x, centres)[0])
    squares = ((x[:, None] - centres) ** 2).sum(2)
    weights = np.exp(-squares / (2 * 1.5**2))
    expected = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(chapter.responsibilities(x, centres, 1.5), expected, rtol=1e-10)
    found = [abs(chapter.responsibilities(x, centres, s) - (labels[:, None] == np.arange(3))).max()
             for s in (1.0, 0.1, 0.01)]  # fmt: skip
    assert found[0] > found[1] > found[2] and found[2] < 1e-12
    between = chapter.responsibilities(np.zeros((1, 1)), np.array([[-1.0], [1.0], [5.0]]), 1e-3)
    np.testing.assert_allclose(between, [[0.5, 0.5, 0]])


def test_it_is_the_limit_of_em():  # equal round covariances that go to 0
    x = clouds(200)
    for kind in ("spherical", "diag", "full"):
        differences = []
        for sigma in (1.0, 0.3, 0.01):
            mixture = GaussianMixture(2, 4, covariance=kind, reg_covar=0, tol=0)
            width = sigma**2 * (np.eye(2) if kind == "full" else np.ones(()))
            mixture.start_at(x[:4], covariances=np.broadcast_to(width, mixture.covariances.shape))
            means = mixture.e_step(mixture.checked(x)).statistics.mean  # the M step's
            model = started(x, 4)
            model.update(model.checked(x))
            differences.append(abs(means - model.centres.numpy()).max())
        assert differences[0] > differences[1] > differences[2] and differences[2] < 1e-9


@equation(chapter.certain_bound, 6)
def test_the_bound_of_a_certain_q():  # (6) is em's F of the mixture
    from tinygen.models.latent import em

    x, centres, sigma = clouds(30), clouds(3, seed=5), 0.8
    squares = ((x[:, None] - centres) ** 2).sum(2)
    log_joint = -squares / (2 * sigma**2) - math.log(3) - math.log(2 * math.pi * sigma**2)
    labels = np.array(by_hand(x, centres)[0])
    q = (labels[:, None] == np.arange(3)).astype(float)
    expected = float(em.bound(q, log_joint))
    assert float(chapter.certain_bound(x, labels, centres, sigma)) == pytest.approx(expected, rel=1e-12)
    assert expected < em.log_likelihood(log_joint)
    other = rng.integers(0, 3, 30)
    assert chapter.certain_bound(x, other, centres, sigma) < expected


# ---- it never rises -------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 3), st.integers(1, 8), st.booleans())
def test_the_inertia_never_rises(seed, n, d, m, lattice):  # ties, repeated rows and empty heaps included
    draw = np.random.default_rng(seed)
    x = draw.integers(-2, 3, (max(n, m), d)).astype(float) if lattice else draw.normal(size=(max(n, m), d))
    model = KMeans(d, m)
    model.start_at(draw.normal(size=(m, d)) * 3 if seed % 2 else x[draw.integers(0, len(x), m)])
    prepared, reached = model.checked(x), [model.inertia(x)]
    while not model.converged and len(reached) < 60:
        reached.append(float(model.update(prepared)["inertia"]))
        assert model.inertia(x) <= reached[-1] + 1e-9
    assert model.converged and (np.diff(reached) <= 1e-9 * (1 + reached[0])).all()
    sizes = np.bincount(model.predict(x), minlength=m)
    assert (sizes > 0).sum() == min(m, len(np.unique(x, axis=0))) or lattice
    # where it ends, every centre is the mean of its own
    for k in range(m):
        if sizes[k] and not lattice:
            np.testing.assert_allclose(model.centres.numpy()[k], x[model.predict(x) == k].mean(0), atol=1e-9)


def test_an_empty_heap_takes_the_furthest_example():
    x = np.array([[0.0], [1.0], [2.0], [10.0]])
    model = KMeans(1, 3)
    model.start_at([[1.0], [100.0], [200.0]])
    model.update(model.checked(x))
    # 10 is furthest from 1 and goes to the second, then 0 (the first of the equally far) to the third
    np.testing.assert_allclose(model.centres.numpy(), [[1.5], [10], [0]])
    model.fit(x, run=quiet())
    assert model.inertia(x) == 0.5


def test_with_too_few_different_examples_some_stay_empty():
    x = np.array([[1.0, 2], [1, 2], [1, 2], [4, 4]])
    model = KMeans(2, 3, rng=tg.random.Generator(0)).fit(x, run=quiet())
    assert model.inertia(x) == 0 and model.converged and np.isfinite(model.centres.numpy()).all()
    assert len(set(model.predict(x))) == 2


# ---- scikit-learn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d, m", [(300, 2, 5), (400, 6, 8), (60, 1, 20), (500, 30, 3)])
def test_it_is_scikit_learns_from_one_start(n, d, m):  # the bar: no higher inertia
    sklearn = pytest.importorskip("sklearn.cluster", reason="the oracle is scikit-learn")
    x = clouds(n, d, m) + 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sklearn.KMeans(m, init=x[:m], n_init=1, tol=0, max_iter=300).fit(x)
        default = sklearn.KMeans(m, init=x[:m], n_init=1).fit(x)
    ours = started(x, m).fit(x, steps=300, run=quiet())
    np.testing.assert_allclose(ours.centres.numpy(), theirs.cluster_centers_, rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(x), theirs.labels_)
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x), rtol=1e-6, atol=1e-6)
    assert ours.score(x) == pytest.approx(theirs.score(x), rel=1e-9)
    assert ours.inertia(x) <= default.inertia_ * (1 + 1e-12)


# ---- the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["k-means++", "random"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_finds_heaps_that_are_apart(start, dtype):
    centres = np.array([[0.0, 0], [30, 0], [0, 30]])
    x = (centres[:, None] + rng.normal(size=(3, 50, 2))).reshape(-1, 2)
    model = KMeans(2, 3, start=start, n_init=6, dtype=dtype, rng=tg.random.Generator(0)).fit(x, run=quiet())
    labels = model.predict(x).reshape(3, 50)
    assert model.converged and (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3
    assert model.centres.dtype == dtype and model.reconstruct(x).dtype == np.dtype(dtype)
    np.testing.assert_allclose(model.reconstruct(x), model.centres.numpy()[model.predict(x)])
    np.testing.assert_allclose(((x - model.reconstruct(x)) ** 2).sum(), model.inertia(x), rtol=1e-4)


def test_tol_stops_earlier():
    x = clouds(2000, 2, 8)
    runs = {tol: quiet() for tol in (0.0, 0.05)}
    models = {tol: started(x, 8, tol=tol) for tol in runs}
    steps = {}
    for tol, model in models.items():
        prepared, steps[tol] = model.checked(x), 0
        while not model.converged:
            model.update(prepared)
            steps[tol] += 1
    assert steps[0.05] < steps[0.0] and models[0.0].inertia(x) < models[0.05].inertia(x)


def test_a_shift_of_the_data_shifts_the_centres_only():
    x, found = np.round(clouds() * 1024) / 1024, []
    for shift in (0.0, 2.0**30):  # exact
        model = started(x + shift, 4).fit(x + shift, run=quiet())
        found.append((model.centres.numpy() - shift, model.inertia(x + shift)))
    np.testing.assert_allclose(*(centres for centres, _ in found), atol=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6)


def test_the_size_of_the_parts_changes_nothing(monkeypatch):
    x, found = clouds(200, 3), []
    for size in (13, 500):
        monkeypatch.setattr(KMeans, "_size", size)
        model = started(x, 5).fit(x, run=quiet())
        found.append((model.centres.numpy(), model.inertia(x)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-9)
    assert found[0][1] == pytest.approx(found[1][1])


def test_on_any_device(device):
    x = np.concatenate([clouds(60), np.zeros((5, 2))])
    models = [KMeans(2, 6, rng=tg.random.Generator(0, device=where)).fit(x, run=quiet()) for where in ("cpu", device)]
    for name in ("predict", "transform", "reconstruct", "inertia"):
        np.testing.assert_allclose(*(getattr(model, name)(x) for model in models), rtol=1e-6, atol=1e-7)
    assert models[1].centres.device == device
    far = KMeans(2, 3, rng=tg.random.Generator(0, device=device))
    far.start_at([[0.0, 0], [1e3, 0], [0, 1e3]])  # two empty heaps
    assert len(set(far.fit(x, run=quiet()).predict(x))) == 3


def test_what_is_refused_and_how():
    x = clouds()
    with pytest.raises(ValueError, match=r"KMeans: x has shape \(90, 1\); at least one row of 2 features"):
        KMeans(2, 3).fit(x[:, :1], run=quiet())
    with pytest.raises(ValueError, match="2 rows; at least one for each of the 3 clusters"):
        KMeans(2, 3).fit(x[:2], run=quiet())
    with pytest.raises(ValueError, match="values up to nan"):
        KMeans(2, 3).fit(np.full((5, 2), np.nan), run=quiet())
    with pytest.raises(RuntimeError, match="call fit or start_at first"):
        KMeans(2, 3).predict(x)
    with pytest.raises(ValueError, match=r"centres \(2, 2\); \(3, 2\) is wanted"):
        KMeans(2, 3).start_at(x[:2])
    for options in ({"start": "far"}, {"dtype": "int64"}, {"tol": -1}, {"n_init": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            KMeans(2, 3, **options)
    with pytest.raises(ValueError, match="a feature and a cluster"):
        KMeans(2, 0)


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

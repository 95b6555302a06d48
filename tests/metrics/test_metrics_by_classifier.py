"""Inception score, Fréchet distance and agreement of classes, against enumeration, SciPy and closed forms."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

from tinygen import probability
from tinygen.metrics.agreement import agreement, matched_agreement
from tinygen.metrics.frechet import Moments, factor, frechet_distance, gaussian_distance, trace_of_root
from tinygen.metrics.inception import inception_score, log_inception_score

rng = np.random.default_rng(0)
seeds = st.integers(0, 10**6)


def log_probabilities(draws, n, k, sharpness=2.0):
    return scipy.special.log_softmax(sharpness * draws.normal(size=(n, k)), axis=1)


# ---- inception ------------------------------------------------------------------------------------------


@equation(inception_score, 1)
@given(seed=seeds, n=st.integers(1, 8), k=st.integers(2, 5))
def test_score_by_a_loop(seed, n, k):
    log_p = log_probabilities(np.random.default_rng(seed), n, k)
    p = np.exp(log_p)
    marginal = [sum(row[y] for row in p) / n for y in range(k)]
    kl = [sum(row[y] * np.log(row[y] / marginal[y]) for y in range(k)) for row in p]
    assert inception_score(log_p)[0] == pytest.approx(np.exp(sum(kl) / n), rel=1e-9)
    assert inception_score(log_p)[1] == 0


@equation(log_inception_score, 2)
@given(seed=seeds)
def test_score_is_the_information_of_sample_and_class(seed):
    p = np.exp(log_probabilities(np.random.default_rng(seed), 20, 4))
    expected = scipy.stats.entropy(p.mean(0)) - scipy.stats.entropy(p, axis=1).mean()
    assert log_inception_score(np.log(p)) == pytest.approx(expected, rel=1e-9)


@equation(inception_score, 3)
def test_splits_are_scores_of_their_parts():
    log_p = log_probabilities(rng, 23, 5)
    parts = [np.exp(log_inception_score(part)) for part in (log_p[:8], log_p[8:16], log_p[16:])]  # 8, 8 and 7
    mean, spread = inception_score(log_p, splits=3)
    assert mean == pytest.approx(sum(parts) / 3)
    assert spread == pytest.approx(np.sqrt(sum((s - mean) ** 2 for s in parts) / 3))


def test_score_at_its_ends_and_for_sure_classifiers():
    with np.errstate(divide="ignore"):
        sure = np.log(np.eye(7))
    assert inception_score(sure.repeat(3, 0))[0] == pytest.approx(7)
    assert inception_score(sure[:1].repeat(9, 0))[0] == 1
    assert inception_score(np.full((5, 4), np.log(1 / 4)))[0] == pytest.approx(1)
    far = scipy.special.log_softmax(np.array([[0.0, 2000.0], [2000.0, 0.0]]), 1)  # probabilities that round to 0
    assert inception_score(far)[0] == pytest.approx(2)


def test_few_samples_of_a_sure_classifier_score_too_low_by_what_is_said():
    """The chapter's (k - 1) / 2n in the exponent, over the draws of n classes."""
    n, k = 60, 5
    with np.errstate(divide="ignore"):
        sure = np.log(np.eye(k))
    found = [log_inception_score(sure[rng.integers(0, k, n)]) for _ in range(4000)]
    assert np.log(k) - np.mean(found) == pytest.approx((k - 1) / (2 * n), rel=0.05)


def test_scores_of_float32_and_what_is_refused():
    log_p = log_probabilities(rng, 50, 10)
    assert inception_score(log_p.astype(np.float32))[0] == pytest.approx(inception_score(log_p)[0], rel=1e-5)
    with pytest.raises(ValueError, match="row 0 of log_p sum to"):
        inception_score(np.exp(log_p))
    with pytest.raises(ValueError, match="neither probabilities nor logits"):
        inception_score(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="splits is 51"):
        inception_score(log_p, splits=51)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        inception_score(log_p[0, :3])


# ---- Fréchet --------------------------------------------------------------------------------------------


def cloud(draws, n, d):
    return draws.normal(size=(n, d)) @ draws.normal(size=(d, d)) + draws.normal(size=d)


@equation(gaussian_distance, 1)
@given(seed=seeds, d=st.integers(1, 12))
def test_distance_is_scipys(seed, d):
    x, g = (cloud(np.random.default_rng(seed + k), 3 * d + 20, d) for k in (0, 1))
    a, b = (np.cov(v.T).reshape(d, d) for v in (x, g))
    root = scipy.linalg.sqrtm(a @ b)
    expected = np.square(x.mean(0) - g.mean(0)).sum() + np.trace(a + b - 2 * root.real)
    assert frechet_distance(x, g) == pytest.approx(expected, rel=1e-6)


@equation(gaussian_distance, 1)
@given(seed=seeds, d=st.integers(1, 6))
def test_distance_between_gaussians_with_common_axes_is_closed(seed, d):
    """Along an axis (m - n)² + (s - t)²; and nothing changes if all is turned."""
    draws = np.random.default_rng(seed)
    m, n, s, t = *draws.normal(size=(2, d)), *draws.uniform(0, 2, (2, d))
    turn = np.linalg.qr(draws.normal(size=(d, d)))[0]
    expected = np.square(m - n).sum() + np.square(s - t).sum()
    covariances = [turn @ np.diag(v**2) @ turn.T for v in (s, t)]
    found = gaussian_distance(turn @ m, covariances[0], turn @ n, covariances[1])
    assert found == pytest.approx(expected, rel=1e-6)


@equation(gaussian_distance, 1)
def test_distance_is_the_square_of_wasserstein():
    a, b = (np.cov(cloud(rng, 40, 4).T) for _ in range(2))
    p, q = (probability.MultivariateNormal(np.full(4, m), covariance=c) for m, c in ((0.5, a), (-1.0, b)))
    w = probability.divergences.wasserstein_gaussian(p, q).item()
    assert gaussian_distance(np.full(4, 0.5), a, np.full(4, -1.0), b) == pytest.approx(w**2, rel=1e-9)


@equation(trace_of_root, 2)
@given(seed=seeds, ranks=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_trace_of_the_root_at_any_rank(seed, ranks):
    """The singular values of the factors that the matrices were made of, and the roots of the product's eigenvalues."""
    draws = np.random.default_rng(seed)
    A, B = (draws.normal(size=(6, r)) for r in ranks)
    found = trace_of_root(A @ A.T, B @ B.T)
    assert found == pytest.approx(np.linalg.svd(A.T @ B, compute_uv=False).sum(), rel=1e-9)
    eigenvalues = np.linalg.eigvals(A @ A.T @ B @ B.T)
    assert found == pytest.approx(np.sqrt(np.maximum(eigenvalues.real, 0)).sum(), rel=1e-5)


def test_trace_of_the_root_of_a_singular_product_is_scipys():
    """Fewer samples than features; SciPy's root of a singular matrix is approached from regular ones."""
    a, b = (np.cov(cloud(rng, 6, 10).T) for _ in range(2))
    for eps in (1e-3, 1e-5):
        eye = eps * np.eye(10)
        regular = np.trace(scipy.linalg.sqrtm((a + eye) @ (b + eye))).real
        assert trace_of_root(a + eye, b + eye) == pytest.approx(regular, rel=1e-6)
    assert trace_of_root(a, b) == pytest.approx(regular, rel=1e-2)


@equation(factor, 3)
@given(seed=seeds, rank=st.integers(0, 5))
def test_the_factor_gives_the_covariance_back(seed, rank):
    half = np.random.default_rng(seed).normal(size=(5, rank))
    covariance = half @ half.T + (np.eye(5) if rank == 0 else 0)
    A = factor(covariance)
    np.testing.assert_allclose(A @ A.T, covariance, atol=1e-12 * max(1, np.trace(covariance)))


def test_a_set_is_at_no_distance_from_itself():
    for n in (5, 300):  # of rank 4, and of full rank
        x = 100 * cloud(rng, n, 20)
        assert 0 <= frechet_distance(x, x) < 1e-10 * np.trace(np.cov(x.T))
    assert frechet_distance(x, x + 1) == pytest.approx(20, rel=1e-6)


@equation(Moments.covariance, 4)
@given(seed=seeds, cuts=st.lists(st.integers(1, 49), max_size=4, unique=True))
def test_moments_in_parts_are_those_of_all(seed, cuts):
    x = cloud(np.random.default_rng(seed), 50, 3)
    moments = Moments()
    for low, high in itertools.pairwise([0, *sorted(cuts), 50]):
        moments.add(x[low:high])
    assert moments.n == 50
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(x.T), rtol=1e-9, atol=1e-12)


def test_moments_far_from_0_do_not_cancel():
    x = rng.normal(size=(3000, 2)) + 1e8
    np.testing.assert_allclose(Moments.of(x, batch_size=700).covariance, np.cov(x.T), rtol=1e-6)


def test_features_come_in_parts():
    x, sizes = rng.uniform(size=(25, 1, 4, 4)), []

    def features(part):
        sizes.append(len(part))
        return part.reshape(len(part), -1)[:, :3] ** 2

    g = rng.uniform(size=(30, 1, 4, 4))
    rows = [v.reshape(len(v), -1)[:, :3] ** 2 for v in (x, g)]
    expected = frechet_distance(*rows)
    assert frechet_distance(x, g, features, batch_size=10) == pytest.approx(expected, rel=1e-9)
    assert sizes == [10, 10, 5, 10, 10, 10]
    assert frechet_distance(Moments.of(x, features), g, features) == pytest.approx(expected, rel=1e-9)


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match="row 1 of rows is not finite"):
        Moments().add([[0.0], [np.nan]])
    with pytest.raises(ValueError, match="rows of 2 numbers; rows of 1"):
        Moments().add([[0.0]]).add([[1.0, 2.0]])
    with pytest.raises(ValueError, match="at least two rows, and there were 1"):
        frechet_distance([[1.0]], [[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\)"):
        gaussian_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))


# ---- agreement ------------------------------------------------------------------------------------------


@equation(agreement, 1)
def test_agreement_is_a_share():
    assert agreement([0, 1, 2, 2], [0, 2, 2, 2]) == pytest.approx(0.75, rel=1e-12)


@equation(matched_agreement, 2)
@given(seed=seeds, k=st.integers(1, 4))
def test_the_best_of_all_namings(seed, k):
    c, y = np.random.default_rng(seed).integers(0, k, (2, 30))
    share, pi = matched_agreement(c, y, k)
    best = max(np.mean(np.array(perm)[c] == y) for perm in itertools.permutations(range(k)))
    assert share == pytest.approx(best, rel=1e-12) and agreement(pi[c], y) == pytest.approx(best, rel=1e-12)


def test_labels_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"float64 \(2,\)"):
        agreement([0.5, 1.0], [0, 1])
    with pytest.raises(ValueError, match=r"\(3,\)"):
        matched_agreement([0, 1], [0, 1, 1], 2)
    with pytest.raises(ValueError, match="classes from 0 to 2; 0 to 1"):
        matched_agreement([0, 1], [0, 2], 2)


def test_small_integers_do_not_wrap_around():
    names = np.arange(20, dtype=np.uint8)
    share, pi = matched_agreement(names, names[::-1], 20)
    assert share == 1 and pi.tolist() == list(range(19, -1, -1))


@pytest.mark.parametrize("bad", [np.array([[1.0, 2], [0, 1]]), np.diag([1.0, -1]), np.diag([1.0, np.nan])])
def test_matrices_that_are_no_covariances_are_refused(bad):
    with pytest.raises(ValueError, match="gaussian_distance: .* covariance_g no covariance"):
        gaussian_distance(np.zeros(2), np.eye(2), np.zeros(2), bad)

"""The chapter on the uses of codes: every score by counting, by scikit-learn or by a case whose answer is known."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from equations import equation
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen import data, nn
from tinygen.models.autoencoder import fully_connected
from tinygen.models.autoencoder import uses as chapter
from tinygen.runs import Run

rng = np.random.default_rng(0)
HEAPS, LABELS = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
X = rng.normal(size=(25, 3))

# ---- with labels ----------------------------------------------------------------------------------------


@equation(chapter.append, 1)
def test_the_code_stands_behind_the_input(device):
    encoder = nn.Linear(3, 2, rng=tg.random.Generator(0)).to(dtype="float64").to(device)
    x = tg.tensor(X, device=device)
    code = X @ encoder.weight.numpy().T + encoder.bias.numpy()
    found = chapter.append(x, encoder(x), 0.5).numpy()
    np.testing.assert_allclose(found, np.concatenate([X, 0.5 * code], 1))
    np.testing.assert_array_equal(found, chapter.Appended(encoder, scale=0.5)(x).numpy())


# ---- finding --------------------------------------------------------------------------------------------


@equation(chapter.similar, 2)
def test_the_most_similar_by_sorting_all_distances():
    queries = rng.normal(size=(4, 3))
    rows, distances = chapter.similar(queries, X, 5)
    for query, found, d in zip(queries, rows, distances, strict=True):
        every = np.sqrt(np.square(X - query).sum(1))
        np.testing.assert_array_equal(found, np.argsort(every)[:5])
        np.testing.assert_allclose(d, np.sort(every)[:5])


@equation(chapter.precision, 3)
def test_precision_by_counting():
    found, labels, of_queries = rng.integers(0, 25, (4, 5)), rng.integers(0, 3, 25), np.array([0, 1, 2, 0])
    right = sum(labels[j] == of_queries[i] for i in range(4) for j in found[i])
    assert right > 0
    assert chapter.precision(found, labels, of_queries) == pytest.approx(right / 20)


def test_a_copy_finds_itself_first():
    rows, distances = chapter.similar(X, X, 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(25))
    np.testing.assert_array_equal(distances, 0)


# ---- clustering -----------------------------------------------------------------------------------------


@equation(chapter.purity, 4)
def test_purity_by_counting():
    right = sum(max(np.sum((HEAPS == k) & (LABELS == c)) for c in range(3)) for k in range(4))
    assert chapter.purity(HEAPS, LABELS) == pytest.approx(right / 60)
    assert chapter.purity(np.arange(60), LABELS) == 1 and chapter.purity(LABELS, LABELS) == 1


@equation(chapter.adjusted_rand, 5)
def test_adjusted_rand_by_pairs_and_by_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    assert chapter.adjusted_rand(HEAPS, LABELS) == pytest.approx(metrics.adjusted_rand_score(LABELS, HEAPS))
    mixed = np.where(rng.uniform(size=60) < 0.7, LABELS, HEAPS)
    assert chapter.adjusted_rand(mixed, LABELS) == pytest.approx(metrics.adjusted_rand_score(LABELS, mixed))
    same = [(HEAPS[i] == HEAPS[j], LABELS[i] == LABELS[j]) for i, j in itertools.combinations(range(60), 2)]
    a, b = np.array(same).T
    expected = a.sum() * b.sum() / len(a)
    by_pairs = ((a & b).sum() - expected) / ((a.sum() + b.sum()) / 2 - expected)
    assert chapter.adjusted_rand(HEAPS, LABELS) == pytest.approx(by_pairs)


def test_labels_dealt_out_at_random_score_zero_on_average():  # (5), E
    draws = np.random.default_rng(1)
    scores = [chapter.adjusted_rand(HEAPS, draws.permutation(LABELS)) for _ in range(2000)]
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(2000)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30), st.permutations(range(4)))
def test_names_of_heaps_do_not_matter(both, names):
    heaps, labels = np.array(both).T
    renamed = np.array(names)[heaps]
    assert chapter.purity(heaps, labels) == chapter.purity(renamed, labels)
    assert np.array_equal(
        np.sort(chapter.contingency(heaps, labels), 0), np.sort(chapter.contingency(renamed, labels), 0)
    )


def test_heaps_and_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"heaps \(3,\) and labels \(2,\)"):
        chapter.purity([0, 1, 1], [0, 1])


# ---- maps -----------------------------------------------------------------------------------------------


def test_ranks_by_sorting():  # (6)
    expected = np.array([scipy.stats.rankdata(np.linalg.norm(X - x, axis=1)) - 1 for x in X])
    np.testing.assert_array_equal(chapter.ranks(X), expected)


@equation(chapter.trustworthiness, 6)
@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_is_scikit_learns(k):
    manifold = pytest.importorskip("sklearn.manifold")
    drawn = X[:, :2] + 0.1 * rng.normal(size=(25, 2))
    expected = manifold.trustworthiness(X, drawn, n_neighbors=k)
    assert expected < 1
    assert chapter.trustworthiness(X, drawn, k) == pytest.approx(expected)


def test_lies_of_both_kinds_are_told_apart():
    """A line laid on itself: only trust suffers much; one whose pieces are moved apart: only continuity."""
    line = np.linspace(0, 1, 100)[:, None]
    folded, torn = abs(line - 0.5), line + 5 * (np.arange(100)[:, None] // 10 % 2)
    trust = [chapter.trustworthiness(line, m, 5) for m in (folded, torn)]
    continuity = [chapter.trustworthiness(m, line, 5) for m in (folded, torn)]
    assert trust[0] < 0.7 < 0.95 < continuity[0]
    assert continuity[1] < 0.9 < 0.99 < trust[1]


def test_a_map_at_random_is_half_trustworthy():
    x, drawn = rng.normal(size=(2, 400, 2))
    assert chapter.trustworthiness(x, drawn, 10) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("m", "k"), [(24, 3), (25, 0), (25, 13)])
def test_points_and_neighbours_that_do_not_fit_are_refused(m, k):
    with pytest.raises(ValueError, match=rf"25 and {m} points and k = {k}"):
        chapter.trustworthiness(X, X[:m], k)


@equation(chapter.unrolled, 7)
def test_the_length_of_the_way_along_the_roll():
    x, place = data.swiss_roll(5, tg.random.Generator(0))
    found = chapter.unrolled(place)
    for t, (s, h), point in zip(place[:, 0], found, x, strict=True):
        assert s == pytest.approx(scipy.integrate.quad(lambda u: np.sqrt(1 + u * u), 0, t)[0])
        assert h == pytest.approx(point[1], rel=1e-5)


def test_the_unrolled_rectangle_keeps_small_distances():  # (7)
    t = np.array([5.0, 5.0001])
    x = np.stack([t * np.cos(t), t * np.sin(t)], 1)
    s = chapter.unrolled(np.stack([t, t * 0], 1))[:, 0]
    assert np.linalg.norm(x[1] - x[0]) == pytest.approx(s[1] - s[0], rel=1e-4)


@equation(chapter.distance_correlation, 8)
def test_the_rank_correlation_of_all_pairs():
    drawn = X[:, :2]
    pairs = list(itertools.combinations(range(25), 2))
    a, b = (np.array([np.linalg.norm(m[i] - m[j]) for i, j in pairs]) for m in (drawn, X))
    expected = np.corrcoef(scipy.stats.rankdata(a), scipy.stats.rankdata(b))[0, 1]
    assert chapter.distance_correlation(drawn, X) == pytest.approx(expected)
    assert chapter.distance_correlation(3 * X[:, ::-1] + 1, X) == pytest.approx(1)


# ---- unrolling ------------------------------------------------------------------------------------------


@equation(chapter.graph_distances, 9)
def test_distances_along_links_by_floyd_and_warshall():
    x = rng.uniform(size=(20, 2))
    d = np.linalg.norm(x[:, None] - x, axis=2)
    linked = d <= np.sort(d, axis=1)[:, [4]]  # itself and the 4 nearest
    D = np.where(linked | linked.T, d, np.inf)
    for k in range(20):
        D = np.minimum(D, D[:, [k]] + D[[k]])
    assert np.isfinite(D).all()
    np.testing.assert_allclose(chapter.graph_distances(x, 4), D)


def test_distances_along_links_follow_the_roll():  # (7), (9)
    x, place = data.swiss_roll(600, tg.random.Generator(0))
    D = chapter.graph_distances(x, 8)
    s = chapter.unrolled(place)
    away = np.linalg.norm(s[:, None] - s, axis=2)
    far = away > 20
    assert (D[far] >= 0.9 * away[far]).all()  # chords are a little shorter than arcs
    assert np.median(D[far] / away[far]) < 1.15
    assert np.linalg.norm(x[:, None] - x, axis=2)[far].max() < away.max() / 2  # in space all are near


def test_islands_are_refused():
    x = np.concatenate([np.zeros((5, 2)), np.ones((5, 2))]) + 0.01 * rng.normal(size=(10, 2))
    with pytest.raises(ValueError, match=r"with k = 2 the 10 points fall apart"):
        chapter.graph_distances(x, 2)


@equation(chapter.stress, 10)
def test_stress_by_loops(device):
    y, D = rng.normal(size=(6, 2)), rng.uniform(size=(6, 6))
    expected = sum((np.linalg.norm(y[i] - y[j]) - D[i, j]) ** 2 for i in range(6) for j in range(6)) / 36
    leaf = tg.tensor(y, requires_grad=True, device=device)
    found = chapter.stress(leaf, tg.tensor(D, device=device))
    assert float(found) == pytest.approx(expected)
    assert np.isfinite(tg.grad(found, leaf).numpy()).all()  # also at the distance 0 of a point from itself


def unrolling(seed=0, device="cpu", **options):
    generator = tg.random.Generator(seed, device=device)
    nets = [fully_connected(*sizes, activation=nn.Tanh, rng=generator) for sizes in ((3, 8, 2), (2, 8, 3))]
    return chapter.Unrolling(*nets, 3, rng=generator, **options)


def test_a_bent_strip_is_unrolled():
    """A half circle of small width: distances on the map become those along it, which in space they are not."""
    t, h = np.random.default_rng(0).uniform(size=(2, 150)) * [[np.pi], [0.5]]
    x = np.stack([np.cos(t), h, np.sin(t)], 1)
    model = unrolling(lr=1e-2, links=10).fit(x, steps=400, run=Run(quiet=True))
    z, truth = model.transform(x), np.stack([t, h], 1)
    assert chapter.distance_correlation(z, truth) > 0.98
    ends = np.argmin(t), np.argmax(t)
    assert np.linalg.norm(x[ends[0]] - x[ends[1]]) < 2.1 < 2.6 < np.linalg.norm(z[ends[0]] - z[ends[1]])


def test_unrolling_is_the_same_again_on_every_device(device):
    x = data.swiss_roll(40, tg.random.Generator(0))[0] / 10
    a, b = (unrolling(device=place).fit(x, steps=3, run=Run(quiet=True)).transform(x) for place in ("cpu", device))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_unrolling_goes_on_where_it_stopped(tmp_path):
    x = data.swiss_roll(40, tg.random.Generator(0))[0] / 10
    straight = unrolling().fit(x, steps=6, run=Run(tmp_path / "a", quiet=True))
    unrolling().fit(x, steps=3, run=Run(tmp_path / "b", quiet=True))
    resumed = unrolling(seed=3).fit(x, steps=6, run=Run.resume(tmp_path / "b", quiet=True))
    np.testing.assert_array_equal(straight.transform(x), resumed.transform(x))

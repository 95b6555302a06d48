"""Anomalies and changes: counting by hand, exact ranks, likelihoods that never fall; the models' promises."""

import itertools

import numpy as np
import pytest
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.density import AnomalyDetector, ChangePoint, Gaussian, Histogram, KernelDensity, NearestNeighbours
from tinygen.models.density import anomaly as chapter
from tinygen.models.latent import GaussianMixture
from tinygen.runs import Run

rng = np.random.default_rng(0)
SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12).map(np.array)  # with ties


def quiet():
    return Run(quiet=True)


def gaussians(d=1):
    return Gaussian(d), Gaussian(d)


# ---- scores ---------------------------------------------------------------------------------------------


@equation(chapter.roc, 1)
@given(SCORES, SCORES)
def test_the_curve_counts(usual, anomalous):  # (1)
    false, hit = chapter.roc(usual, anomalous)
    thresholds = sorted({*usual, *anomalous})
    expected = [(0, 0)] + [(np.mean(usual <= c), np.mean(anomalous <= c)) for c in thresholds]
    np.testing.assert_allclose(np.stack([false, hit], 1), expected, rtol=1e-12)
    assert false[-1] == hit[-1] == 1


@equation(chapter.area, 2)
@given(SCORES, SCORES)
def test_the_area_is_the_chance_to_score_lower(usual, anomalous):  # (2), by all pairs, and below the curve (1)
    pairs = [(a < u) + (a == u) / 2 for a, u in itertools.product(anomalous, usual)]
    assert chapter.area(usual, anomalous) == pytest.approx(np.mean(pairs), rel=1e-12)
    false, hit = chapter.roc(usual, anomalous)
    assert np.trapezoid(hit, false) == pytest.approx(np.mean(pairs), rel=1e-12, abs=1e-12)


def test_the_area_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle is scikit-learn")
    usual, anomalous = rng.normal(size=50), rng.normal(size=30) - 1
    truth = np.repeat([0, 1], [50, 30])
    expected = metrics.roc_auc_score(truth, -np.concatenate([usual, anomalous]))
    assert chapter.area(usual, anomalous) == pytest.approx(expected, rel=1e-12)


@equation(chapter.p_values, 3)
@given(SCORES, SCORES)
def test_ranks_by_counting(scores, usual):  # (3)
    expected = [(1 + sum(u <= s for u in usual)) / (len(usual) + 1) for s in scores]
    np.testing.assert_allclose(chapter.p_values(scores, usual), expected, rtol=1e-12)


@equation(chapter.false_alarm_rate, 4)
@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_false_alarms_over_all_ranks(n, alpha):  # (4): the new one may be any of n + 1
    scores = np.arange(n + 1.0)
    p = [chapter.p_values(scores[[k]], np.delete(scores, k))[0] for k in range(n + 1)]
    assert chapter.false_alarm_rate(alpha, n) == pytest.approx(np.mean(np.array(p) <= alpha + 1e-12), rel=1e-9)
    assert chapter.false_alarm_rate(alpha, n) <= alpha + 1e-12


def test_false_alarms_stay_below_alpha_with_a_bad_density():
    alarms = []
    for _ in range(60):
        x = rng.exponential(size=(90, 1))  # not Gaussian at all
        detector = AnomalyDetector(Gaussian(1), alpha=0.1).fit(x, run=quiet())
        alarms.append(detector.predict(rng.exponential(size=(300, 1))).mean())
    assert np.mean(alarms) == pytest.approx(chapter.false_alarm_rate(0.1, 30), abs=0.025)


# ---- any density ----------------------------------------------------------------------------------------

DENSITIES = {
    "gaussian": (lambda: Gaussian(2), "score_samples"),
    "histogram": (lambda: Histogram(2, 6, x_0=-9.0, h=3.0), "score_samples"),
    "kernel": (lambda: KernelDensity(2), "score_samples"),
    "mixture": (lambda: GaussianMixture(2, 2, rng=tg.random.Generator(0)), "score_samples"),
    "neighbours": (lambda: NearestNeighbours(2, k=5), "log_estimate"),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_any_density_will_do(name):
    make, score = DENSITIES[name]
    x = rng.normal(size=(150, 2)) + 3 * rng.choice([-1, 1], (150, 1))
    detector = AnomalyDetector(make(), score=score).fit(x, run=quiet())
    far = np.array([[6.0, -6.0], [-7.0, 7.0]])
    assert detector.predict(far).all() and detector.predict(x).mean() < 0.15
    assert chapter.area(detector.scores(x), detector.scores(far)) > 0.95


def test_a_gan_or_the_like_is_refused():
    for model, score in ((np.zeros(2), "score_samples"), (NearestNeighbours(2, k=1), "score_samples"),
                         (Gaussian(2), "elbo")):  # fmt: skip
        with pytest.raises(ValueError, match=f"without '{score}' or without fit; a model with both is wanted"):
            AnomalyDetector(model, score=score)


def test_detectors_are_saved_with_their_scores(tmp_path):
    x = rng.normal(size=(60, 2))
    a = AnomalyDetector(Gaussian(2)).fit(x, run=quiet())
    tg.save(tmp_path / "d.safetensors", a.state_dict())
    b = AnomalyDetector(Gaussian(2))
    b.load_state_dict(tg.load(tmp_path / "d.safetensors"))
    np.testing.assert_array_equal(a.p_values(x), b.p_values(x))
    with pytest.raises(ValueError, match="load_state_dict"):
        b.load_state_dict({"usual": np.zeros(3)})
    np.testing.assert_array_equal(a.p_values(x), b.p_values(x))


def test_bad_input_is_refused_by_detectors():
    detector = AnomalyDetector(Gaussian(2))
    wrong = {r"x has shape \(3,\)": np.zeros(3), r"x has shape \(3, 1\)": np.zeros((3, 1)),
             "x has NaN or infinite": np.full((9, 2), np.nan), "x has 2 rows, .* at least 57": np.eye(2)}  # fmt: skip
    for match, bad in wrong.items():
        with pytest.raises(ValueError, match=f"AnomalyDetector: {match}.*wanted"):
            detector.fit(bad)
    with pytest.raises(RuntimeError, match="no examples yet; call fit"):
        detector.predict(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="alpha is 0; a share"):
        AnomalyDetector(Gaussian(2), alpha=0)


# ---- changes --------------------------------------------------------------------------------------------


def changed(n=90, at=60, seed=0, d=1):
    """A series that changes its mean and width."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    x[at:] = 2 * x[at:] + 3
    return x


@equation(chapter.split_log_likelihoods, 5)
@equation(chapter.gain, 6)
def test_the_likelihood_of_a_change_at_each_time():  # (5), (6), by hand
    before, after, whole = rng.normal(size=(3, 7))
    found = chapter.split_log_likelihoods(before, after)
    expected = [sum(before[i] for i in range(t)) + sum(after[i] for i in range(t, 7)) for t in range(8)]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert chapter.gain(before, after, whole, 3) == pytest.approx(expected[3] - sum(whole), rel=1e-10)


@given(st.integers(0, 200))
def test_the_likelihood_never_falls_and_ends_where_a_search_does(seed):  # (5), with maximum likelihood
    x = changed(seed=seed, at=20 + seed % 50)
    change = ChangePoint(*gaussians(), shortest=10)
    way = [change.update(x)["log_likelihood"] for _ in range(8)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(way))
    assert change.gain > 0
    t = int(change.t)
    laws = [scipy.stats.norm(part.mean(), part.std()) for part in (x[:t], x[t:])]
    split = laws[0].logpdf(x[:t]).sum() + laws[1].logpdf(x[t:]).sum()
    assert way[-1] == pytest.approx(split, rel=1e-8)
    whole = scipy.stats.norm(x.mean(), x.std()).logpdf(x).sum()
    assert change.gain == pytest.approx(split - whole, rel=1e-6, abs=1e-6)
    log_f = [model.score_samples(x) for model in (change.before, change.after, Gaussian(1).fit(x, run=quiet()))]
    assert change.gain == pytest.approx(chapter.gain(*log_f, t), rel=1e-8)


def test_the_change_is_found_and_is_no_chance():
    x = changed()
    change = ChangePoint(*gaussians()).fit(x, run=quiet())
    assert abs(int(change.t) - 60) <= 2
    gains = chapter.shuffled_gains(x, lambda: ChangePoint(*gaussians(), starts=5), 12, rng)
    assert change.gain > 2 * gains.max()
    calm = rng.normal(size=(90, 1))  # nothing changes here: its gain is one of many
    gains = chapter.shuffled_gains(calm, lambda: ChangePoint(*gaussians(), starts=5), 12, rng)
    found = ChangePoint(*gaussians()).fit(calm, run=quiet()).gain
    assert np.quantile(gains, 0.02) * 0.5 < found < 2 * gains.max()


def test_kernels_find_a_change_that_gaussians_cannot_see():
    x = rng.normal(size=(300, 1))
    x[180:] = np.sign(x[180:]) * np.sqrt(np.abs(rng.normal(1, 0.1, (120, 1))))  # two humps; mean 0, variance 1
    kernels = [KernelDensity(1, bandwidth=0.25) for _ in range(2)]
    assert abs(int(ChangePoint(*kernels).fit(x, run=quiet()).t) - 180) < 15


@equation(chapter.cumulative_sum, 7)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_pages_sum(steps):  # (7), as it is written
    S, expected = 0.0, []
    for step in steps:
        S = max(0.0, S + step)
        expected.append(S)
    np.testing.assert_allclose(chapter.cumulative_sum(np.array(steps)), expected, atol=1e-9)


@equation(chapter.cumulative_sum, 7)
def test_pages_sum_of_some_steps():  # (7)
    np.testing.assert_allclose(chapter.cumulative_sum(np.array([-1.0, 2, 1, -5, 4])), [0, 2, 3, 0, 4])


def test_a_search_is_killed_and_resumed(tmp_path, device):
    def make(seed=0):
        models = [Gaussian(1, rng=tg.random.Generator(seed + k, device=device)) for k in range(2)]
        return ChangePoint(*models, shortest=10, starts=2)

    x = changed()
    straight = make().fit(x, steps=9, run=Run(tmp_path / "a", quiet=True))
    run, model = Run(tmp_path / "b", quiet=True), make()
    for step in run.steps(model, 9, save_every=2):
        run.log(**model.update(x))
        if step == 3:
            break
    resumed = make().fit(x, steps=9, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert int(resumed.t) == int(straight.t) == 60


def test_bad_input_is_refused_by_searches():
    with pytest.raises(ValueError, match="before and after are one model; two are wanted"):
        ChangePoint(*[Gaussian(1)] * 2)
    with pytest.raises(ValueError, match="starts 0; at least 1 of each is wanted"):
        ChangePoint(*gaussians(), starts=0)
    change = ChangePoint(*gaussians(), shortest=10)
    with pytest.raises(ValueError, match="x has 19 rows; at least 20 are wanted, twice shortest=10"):
        change.fit(changed(19, 10))
    with pytest.raises(ValueError, match=r"ChangePoint: x has shape \(30, 2\)"):
        change.fit(changed(30, d=2))
    with pytest.raises(ValueError, match="ChangePoint: x has NaN"):
        change.fit(np.full((30, 1), np.nan))
    with pytest.raises(RuntimeError, match="no observations yet"):
        _ = change.gain

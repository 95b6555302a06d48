"""The generative classifiers: equations by SciPy, enumeration and quadrature; scikit-learn; the models' promises."""

import importlib
import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.supervised import (
    LinearDiscriminantAnalysis,
    NaiveBayes,
    QuadraticDiscriminantAnalysis,
    generative,
    softmax_regression,
)  # fmt: skip
from tinygen.models.supervised import linear_discriminant as linear
from tinygen.models.supervised import naive_bayes as naive
from tinygen.models.supervised import quadratic_discriminant as quadratic
from tinygen.runs import Run

rng = np.random.default_rng(0)
MODELS = {
    "naive": lambda **o: NaiveBayes(3, 3, **o),
    "symbols": lambda **o: NaiveBayes(3, 3, levels=4, **o),
    "linear": lambda **o: LinearDiscriminantAnalysis(3, 3, **o),
    "quadratic": lambda **o: QuadraticDiscriminantAnalysis(3, 3, **o),
}
each_model = pytest.mark.parametrize("kind", MODELS)
each_gaussian = pytest.mark.parametrize("kind", ["naive", "linear", "quadratic"])


def quiet():
    return Run(quiet=True)


def clouds(n=60, seed=0):
    """Three tilted clouds of different sizes: (n, 3) and (n,)."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 3
    y[y == 2] = draw.integers(0, 3, (y == 2).sum())
    y[:3] = [0, 1, 2]
    factors = draw.normal(size=(3, 3, 3)) + 2 * np.eye(3)
    return draw.normal(size=(3, 3))[y] * 2 + np.einsum("nij,nj->ni", factors[y], draw.normal(size=(n, 3))), y


def symbols(n=60, seed=0):
    """Three features with four values."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (draw.integers(0, 4, (n, 3)) + y[:, None]) % 4, y


def examples(kind, n=60, seed=0):
    return symbols(n, seed) if kind == "symbols" else clouds(n, seed)


def fitted(kind, n=60, **options):
    return MODELS[kind](**options).fit(*examples(kind, n), run=quiet())


def by_class(x, y):
    return [x[y == k] for k in range(3)]


# ---- Bayes' rule ----------------------------------------------------------------------------------------


@equation(generative.log_joint, 1)
@equation(generative.log_marginal, 1)
@equation(generative.log_posterior, 2)
@equation(generative.log_likelihood, 3)
def test_bayes_rule_on_a_table():  # generative (1), (2), (3)
    pi, p, y = rng.dirichlet(np.ones(3)), rng.uniform(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    joint = [[pi[k] * p[i, k] for k in range(3)] for i in range(5)]
    log_pi, log_p = np.log(pi), np.log(p)
    np.testing.assert_allclose(generative.log_joint(log_pi, log_p), np.log(joint), rtol=1e-12)
    np.testing.assert_allclose(generative.log_marginal(log_pi, log_p), [math.log(sum(r)) for r in joint], rtol=1e-12)
    expected = [[math.log(v / sum(row)) for v in row] for row in joint]
    np.testing.assert_allclose(generative.log_posterior(log_pi, log_p), expected, rtol=1e-12)
    total = sum(math.log(joint[i][k]) for i, k in enumerate(y))
    assert generative.log_likelihood(log_pi, log_p, y) == pytest.approx(total, rel=1e-12)


@equation(generative.priors, 4)
def test_shares_are_the_most_likely_priors():  # generative (4)
    count = np.array([3.0, 5, 2])
    found = generative.priors(count)
    np.testing.assert_allclose(found, [0.3, 0.5, 0.2], rtol=1e-12)
    for other in rng.dirichlet(np.ones(3), 20):
        assert (count * np.log(other)).sum() < (count * np.log(found)).sum()


@each_model
def test_the_verbs_are_bayes_rule(kind):
    model, (x, _) = fitted(kind), examples(kind)
    joint = model.forward(tg.tensor(x.astype(float))).numpy()
    np.testing.assert_allclose(model.score_samples(x), scipy.special.logsumexp(joint, 1), rtol=1e-10)
    np.testing.assert_allclose(model.predict_log_proba(x), joint - model.score_samples(x)[:, None], atol=1e-9)
    np.testing.assert_array_equal(model.predict(x), joint.argmax(1))
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1, rtol=1e-12)


# ---- naive Bayes ----------------------------------------------------------------------------------------


@equation(naive.product, 1)
@equation(naive.log_normals, 2)
@equation(naive.variances, 3)
def test_naive_bayes_on_numbers():  # naive_bayes (1), (2), (3)
    x, y = clouds()
    model, classes = fitted("naive", var_smoothing=1e-3), by_class(x, y)
    extra = 1e-3 * x.var(0).max()
    v = naive.variances(model.count.numpy(), model.means.numpy(), model.scatter.numpy(), 1e-3)
    np.testing.assert_allclose(v, [part.var(0) + extra for part in classes], rtol=1e-10)
    laws = [scipy.stats.norm(part.mean(0), np.sqrt(part.var(0) + extra)) for part in classes]
    expected = np.stack([law.logpdf(x).sum(1) for law in laws], 1)
    np.testing.assert_allclose(naive.log_normals(x, model.means.numpy(), v), expected, rtol=1e-10)
    each = np.stack([law.logpdf(x) for law in laws], 1)
    np.testing.assert_allclose(naive.product(each), expected, rtol=1e-10)


@equation(naive.frequencies, 4)
@equation(naive.log_symbols, 4)
def test_naive_bayes_on_symbols():  # naive_bayes (4), by counting; all inputs together have probability 1
    (x, y), model = symbols(), fitted("symbols", alpha=0.5)
    table = naive.frequencies(model.seen.numpy(), 0.5)
    for k, j, value in itertools.product(range(3), range(3), range(4)):
        seen = sum(1 for row, label in zip(x, y, strict=True) if label == k and row[j] == value)
        assert table[k, j, value] == pytest.approx((seen + 0.5) / (sum(y == k) + 2), rel=1e-12)
    expected = [[sum(math.log(table[k, j, row[j]]) for j in range(3)) for k in range(3)] for row in x]
    np.testing.assert_allclose(naive.log_symbols(x, np.log(table).transpose(1, 2, 0)), expected, rtol=1e-12)
    everything = np.array(list(itertools.product(range(4), repeat=3)))
    assert np.exp(model.score_samples(everything)).sum() == pytest.approx(1, rel=1e-10)


# ---- quadratic ------------------------------------------------------------------------------------------


@equation(quadratic.log_gaussians, 1)
@equation(quadratic.covariances, 2)
@equation(QuadraticDiscriminantAnalysis.covariances, 2, 4)
def test_quadratic_discriminants_are_scipys_gaussians():  # quadratic_discriminant (1), (2), (4)
    (x, y), model = clouds(), fitted("quadratic", shrinkage=0.2)
    plain = [np.cov(part.T, ddof=0) for part in by_class(x, y)]
    found = quadratic.covariances(model.count.numpy(), model.scatter.numpy())
    np.testing.assert_allclose(found, plain, rtol=1e-10)
    round_ = [0.8 * C + 0.2 * np.trace(C) / 3 * np.eye(3) for C in plain]
    np.testing.assert_allclose(model.covariances(), round_, rtol=1e-10)
    P = np.linalg.inv(np.linalg.cholesky(np.array(round_)))
    expected = [scipy.stats.multivariate_normal(part.mean(0), C).logpdf(x)
                for part, C in zip(by_class(x, y), round_, strict=True)]  # fmt: skip
    np.testing.assert_allclose(quadratic.log_gaussians(x, model.means.numpy(), P).T, expected, rtol=1e-10)


@equation(quadratic.border, 3)
def test_the_border_is_quadratic():  # quadratic_discriminant (3)
    x, y = clouds()
    x, y = x[y < 2], y[y < 2]
    model = QuadraticDiscriminantAnalysis(3, 2).fit(x, y, run=quiet())
    pi = np.exp(model.log_priors().numpy())
    A, b, c = quadratic.border(pi, model.means.numpy(), model.covariances())
    log_p = model.predict_log_proba(x)
    ratio = np.einsum("ni,ij,nj->n", x, A, x) + x @ b + c
    np.testing.assert_allclose(ratio, log_p[:, 0] - log_p[:, 1], rtol=1e-8, atol=1e-10)


# ---- linear, and Fisher ---------------------------------------------------------------------------------


def within(x, y):
    return sum((part - part.mean(0)).T @ (part - part.mean(0)) for part in by_class(x, y))


@equation(linear.log_gaussians_of_one_shape, 1)
@equation(linear.pooled, 3)
def test_linear_discriminants_are_gaussians_of_one_shape():  # linear_discriminant (1), (3)
    (x, y), model = clouds(), fitted("linear")
    C = within(x, y) / len(x)
    np.testing.assert_allclose(linear.pooled(model.scatter.numpy(), model.count.numpy()), C, rtol=1e-10)
    P, means = np.linalg.inv(np.linalg.cholesky(C)), model.means.numpy()
    expected = [scipy.stats.multivariate_normal(mu, C).logpdf(x) for mu in means]
    np.testing.assert_allclose(linear.log_gaussians_of_one_shape(x, means, P).T, expected, rtol=1e-10)


@equation(linear.discriminants, 2)
def test_it_is_a_softmax_regression():  # linear_discriminant (2), and S2 eq. 2.25
    (x, _), model = clouds(), fitted("linear")
    log_pi, means, C = model.log_priors().numpy(), model.means.numpy(), model.covariance()
    delta = linear.discriminants(x, means, C, log_pi)
    by_hand = [[mu @ np.linalg.inv(C) @ v - mu @ np.linalg.inv(C) @ mu / 2 + a
                for mu, a in zip(means, log_pi, strict=True)] for v in x]  # fmt: skip
    np.testing.assert_allclose(delta, by_hand, rtol=1e-9)
    np.testing.assert_allclose(scipy.special.log_softmax(delta, 1), model.predict_log_proba(x), rtol=1e-8, atol=1e-10)
    theta = np.column_stack(
        [linear.discriminants(np.zeros((1, 3)), means, C, log_pi)[0], np.linalg.solve(C, means.T).T]
    )
    np.testing.assert_allclose(softmax_regression.posterior(theta, x), model.predict_proba(x), rtol=1e-8)


@equation(linear.between, 4)
@equation(linear.ratio, 4)
@equation(linear.fisher, 5)
def test_fishers_directions_are_the_best():  # linear_discriminant (4), (5)
    (x, y), model = clouds(), fitted("linear")
    S_W = within(x, y)
    S_B = (x - x.mean(0)).T @ (x - x.mean(0)) - S_W  # total = within + between
    count, means = model.count.numpy(), model.means.numpy()
    np.testing.assert_allclose(linear.between(count, means), S_B, rtol=1e-8)
    W, J = linear.fisher(S_B, S_W / len(x), len(x), 2)
    np.testing.assert_allclose(W.T @ S_W @ W / len(x), np.eye(2), atol=1e-10)
    np.testing.assert_allclose(S_B @ W, S_W @ W * J, rtol=1e-7)
    np.testing.assert_allclose(J, scipy.linalg.eigh(S_B, S_W)[0][:0:-1], rtol=1e-8)
    for w, value in zip(W.T, J, strict=True):
        assert linear.ratio(w, S_B, S_W) == pytest.approx(value, rel=1e-8)
        assert value == pytest.approx((w @ S_B @ w) / (w @ S_W @ w), rel=1e-8)
    best = scipy.optimize.minimize(lambda w: -(w @ S_B @ w) / (w @ S_W @ w), np.ones(3), options={"gtol": 1e-9})
    assert -best.fun == pytest.approx(J[0], rel=1e-8)
    np.testing.assert_allclose(model.transform(x), (x - x.mean(0)) @ W, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.fisher(1)[0], W[:, :1], rtol=1e-10)


@equation(linear.direction_of_two, 6)
def test_fishers_direction_of_two_classes():  # linear_discriminant (6)
    x, y = clouds()
    x, y = x[y < 2], y[y < 2]
    model = LinearDiscriminantAnalysis(3, 2).fit(x, y, run=quiet())
    w = linear.direction_of_two(model.means.numpy(), model.covariance())
    (W,), _ = np.array(model.fisher()[0]).T, None
    assert abs(w @ W) / (np.linalg.norm(w) * np.linalg.norm(W)) == pytest.approx(1, rel=1e-10)
    np.testing.assert_allclose(model.covariance() @ w, model.means.numpy()[1] - model.means.numpy()[0], rtol=1e-9)


@equation(linear.nearest_means, 7)
def test_the_nearest_mean_wins_in_the_projection():  # linear_discriminant (7)
    (x, _), model = clouds(), fitted("linear")
    z, z_k, log_pi = model.transform(x), model.transform(model.means.numpy()), model.log_priors().numpy()
    found = linear.nearest_means(z, z_k, log_pi)
    by_hand = [[a - sum((v - m) ** 2) / 2 for m, a in zip(z_k, log_pi, strict=True)] for v in z]
    np.testing.assert_allclose(found, by_hand, rtol=1e-10)
    np.testing.assert_allclose(scipy.special.log_softmax(found, 1), model.predict_log_proba(x), rtol=1e-7, atol=1e-9)


# ---- scikit-learn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iris", "wine", "digits"])
def test_they_are_scikit_learns(name):  # the bar: 1e-6
    why = "the oracle is scikit-learn, whose quadratic discriminants divided by n - 1 before 1.9"
    pytest.importorskip("sklearn", minversion="1.9", reason=why)
    pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")
    demo = importlib.import_module("demos.generative_classifiers")
    found = demo.gaps((name,))
    assert set(found) == {"naive Bayes", "linear", "quadratic", "Fisher"} and max(found.values()) < 1e-6


# ---- the models -----------------------------------------------------------------------------------------


@each_model
@given(steps=st.integers(1, 70), order=st.permutations(range(60)))
def test_neither_parts_nor_order_matter(kind, steps, order):
    x, y = examples(kind)
    model = MODELS[kind]().fit(x[order], y[order], steps=steps, run=quiet())
    np.testing.assert_allclose(model.score_samples(x), fitted(kind).score_samples(x), rtol=1e-8)


@each_gaussian
def test_samples_have_the_moments_of_their_class(kind):
    model = fitted(kind)
    x, y = model.sample_labelled(60_000, rng=tg.random.Generator(1))
    assert x.shape == (60_000, 3) and y.shape == (60_000,)
    np.testing.assert_allclose(np.bincount(y) / 60_000, np.exp(model.log_priors().numpy()), atol=0.01)
    shared = {"naive": lambda k: np.diag(model._variances()[k]), "linear": lambda k: model.covariance(),
              "quadratic": lambda k: model.covariances()[k]}[kind]  # fmt: skip
    for k in range(3):
        size = np.trace(shared(k))
        np.testing.assert_allclose(x[y == k].mean(0), model.means.numpy()[k], atol=0.03 * math.sqrt(size))
        np.testing.assert_allclose(np.cov(x[y == k].T), shared(k), atol=0.05 * size)


def test_symbols_are_drawn_as_often_as_they_should_be():
    model = fitted("symbols")
    x, y = model.sample_labelled(40_000, classes=np.full(40_000, 2), rng=tg.random.Generator(1))
    assert (y == 2).all()
    table = naive.frequencies(model.seen.numpy(), 1.0)[2]
    found = np.stack([np.bincount(x[:, j].astype(int), minlength=4) / 40_000 for j in range(3)])
    np.testing.assert_allclose(found, table, atol=0.01)


@each_model
def test_saved_resumed_and_on_the_stand_in(kind, device, tmp_path):
    x, y = examples(kind)
    make = lambda: MODELS[kind](rng=tg.random.Generator(0, device=device))  # noqa: E731
    straight = make().fit(x, y, steps=12, run=Run(tmp_path / "a", quiet=True))
    run, model = Run(tmp_path / "b", quiet=True), make()
    raw = model.checked(x, y)
    for step in run.steps(model, 12, save_every=5):
        run.log(**model.update(*(a[5 * (step - 1) : 5 * step] for a in raw)))
        if step == 8:
            break
    resumed = make().fit(x, y, steps=12, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    tg.save(tmp_path / "model.safetensors", straight.state_dict())
    loaded = make()
    loaded.load_state_dict(tg.load(tmp_path / "model.safetensors"))
    for other in (resumed, loaded):
        np.testing.assert_array_equal(other.predict_log_proba(x), straight.predict_log_proba(x))
        np.testing.assert_array_equal(
            *(m.sample(5, rng=tg.random.Generator(3, device=device)) for m in (other, straight))
        )
    np.testing.assert_allclose(straight.score_samples(x), fitted(kind).score_samples(x), rtol=1e-9)
    if kind == "linear":
        np.testing.assert_allclose(straight.transform(x), fitted(kind).transform(x), rtol=1e-7, atol=1e-9)


def test_digits_are_kept_far_from_the_origin():
    x, y = clouds()
    for kind in ("naive", "linear", "quadratic"):
        far = MODELS[kind](var_smoothing=0.0) if kind == "naive" else MODELS[kind]()
        near = MODELS[kind](var_smoothing=0.0) if kind == "naive" else MODELS[kind]()
        shifted = np.round(x * 2**20) / 2**20
        near.fit(shifted, y, run=quiet()), far.fit(shifted + 2.0**20, y, run=quiet())
        np.testing.assert_allclose(far.score_samples(shifted + 2.0**20), near.score_samples(shifted), rtol=1e-6)


@each_model
def test_bad_input_is_refused_and_changes_nothing(kind):
    model, (x, y) = fitted(kind), examples(kind)
    x = x.astype(float)
    before = model.score_samples(x)
    name, nan = type(model).__name__, x.copy()
    nan[1, 2] = np.nan
    for bad, match in (((x[:, :2], y), r"x has shape \(60, 2\); .* of 3 is wanted"), ((x[:0], y[:0]), r"\(0, 3\)"),
                       ((nan, y), "NaN or infinite .* wanted"), ((x, y * 1.0), "y is float64"),
                       ((x, y + 1), r"classes \[1, 2, 3\]; integers from 0 to 2"), ((x, y - 1), "integers from 0 to 2"),
                       ((x, y % 2), "no example of class 2; .* wanted")):  # fmt: skip
        with pytest.raises(ValueError, match=match) as error:
            model.fit(*bad, steps=1, run=quiet())
        assert name in str(error.value)
    np.testing.assert_array_equal(model.score_samples(x), before)
    with pytest.raises(RuntimeError, match=f"{name}: .* call fit first"):
        MODELS[kind]().predict(x)
    with pytest.raises(ValueError, match="a feature and two classes at least are wanted, got 3 and 1"):
        type(model)(3, 1)
    with pytest.raises(ValueError, match="integers from 0 to 2 are wanted"):
        model.sample_labelled(1, classes=np.array([3]))


def test_what_has_no_density_is_refused_or_made_round():
    x, y = clouds()
    x[:, 1] = 0.1
    with pytest.raises(ValueError, match=r"that all classes share is singular: column 1 is constant\. .* shrinkage="):
        LinearDiscriminantAnalysis(3, 3).fit(x, y, run=quiet())
    with pytest.raises(ValueError, match="of class 0 is singular: column 1 is constant"):
        QuadraticDiscriminantAnalysis(3, 3).fit(x, y, run=quiet())
    with pytest.raises(ValueError, match="column 0 is constant in class 0"):
        NaiveBayes(3, 3, var_smoothing=0.0).fit(x * 0 + [1.0, 0, 2], y, run=quiet())
    few = np.concatenate([x[:3], x[:3] + 1])
    with pytest.raises(ValueError, match="linearly dependent|constant"):
        QuadraticDiscriminantAnalysis(3, 3).fit(few, np.array([0, 0, 1, 1, 2, 2]), run=quiet())
    for kind, options in (("linear", {"shrinkage": 0.1}), ("quadratic", {"shrinkage": 0.1}), ("naive", {})):
        model = MODELS[kind](**options).fit(x, y, run=quiet())
        assert np.isfinite(model.score_samples(x)).all() and model.score(x, y) > 0.45
    with pytest.raises(ValueError, match="integers from 0 to 3 are wanted"):
        NaiveBayes(3, 3, levels=4).fit(symbols()[0] + 0.5, symbols()[1], run=quiet())
    with pytest.raises(ValueError, match="shrinkage is 1.5; 0 to 1 is wanted"):
        LinearDiscriminantAnalysis(3, 3, shrinkage=1.5)
    with pytest.raises(ValueError, match="shrinkage is -1; 0 to 1 is wanted"):
        QuadraticDiscriminantAnalysis(3, 3, shrinkage=-1)
    with pytest.raises(ValueError, match="levels is 1"):
        NaiveBayes(3, 3, levels=1)
    with pytest.raises(ValueError, match="n_directions is 3; 1 to 2 are wanted"):
        fitted("linear").fisher(3)


def test_as_many_classes_as_examples_are_wanted():
    model = fitted("linear")
    for n, classes in ((5, [0, 1]), (2, [[0, 1]]), (0, [])):
        with pytest.raises(ValueError, match=r"classes has shape .* is wanted, at least one"):
            model.sample_labelled(n, classes=np.array(classes, int))


def test_a_score_of_labels_of_another_shape_is_refused():
    model = fitted("linear")
    x = model.sample(6, rng=tg.random.Generator(0))
    for y in (np.zeros((6, 1), int), np.zeros(1, int)):
        with pytest.raises(ValueError, match="y"):
            model.score(x, y)


def test_infinite_smoothing_is_refused():
    for options in (dict(alpha=np.inf), dict(var_smoothing=np.inf), dict(alpha=np.nan)):
        with pytest.raises(ValueError, match="NaiveBayes: .* a positive number and one of 0 or more are wanted"):
            naive.NaiveBayes(2, 2, **options)

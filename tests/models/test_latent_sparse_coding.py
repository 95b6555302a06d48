"""Sparse coding: its equations by plain loops, certificates that hold, scikit-learn's objective, and promises."""

import doctest
import itertools
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.models.latent import SparseCoding
from tinygen.models.latent import sparse_coding as chapter
from tinygen.runs import Run, read_metrics

rng = np.random.default_rng(0)


def quiet():
    return Run(quiet=True)


def dictionary(m=6, d=4, seed=0):
    """Atoms of length 1."""
    W = np.random.default_rng(seed).normal(size=(m, d))
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def examples(n=50, d=4, m=6, seed=1):
    """A few atoms each, and noise."""
    draw = np.random.default_rng(seed)
    h = draw.laplace(size=(n, m)) * (draw.uniform(size=(n, m)) < 0.3)
    return h @ dictionary(m, d, 5) + 0.05 * draw.normal(size=(n, d))


def written(x, h, W, alpha):
    """(2), number by number."""
    return [sum((a - sum(c * w[i] for c, w in zip(code, W, strict=True))) ** 2 for i, a in enumerate(row)) / 2
            + alpha * sum(map(abs, code)) for row, code in zip(x, h, strict=True)]  # fmt: skip


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.log_joint, 1)
@equation(chapter.objective, 2)
def test_the_objective_is_the_log_joint():  # (1) and (2)
    x, h, W = rng.normal(size=(5, 4)), rng.normal(size=(5, 6)), dictionary()
    sigma, s = 0.5, 0.7
    expected = scipy.stats.norm.logpdf(x, h @ W, sigma).sum(1) + scipy.stats.laplace.logpdf(h, scale=s).sum(1)
    np.testing.assert_allclose(chapter.log_joint(x, h, W, sigma, s), expected, rtol=1e-10)
    J = chapter.objective(x, h, W, sigma**2 / s)
    np.testing.assert_allclose(J, written(x, h, W, sigma**2 / s), rtol=1e-10)
    constant = -(sigma**2) * expected - J
    np.testing.assert_allclose(constant, constant[0], rtol=1e-9)


@given(v=st.floats(-5, 5), alpha=st.floats(0.01, 3))
@equation(chapter.soft_threshold, 4)
def test_the_soft_threshold_is_the_best_number(v, alpha):  # (4)
    J = lambda h: (v - h) ** 2 / 2 + alpha * abs(h)
    found = float(chapter.soft_threshold(np.array([v]), alpha)[0])
    side = scipy.optimize.minimize_scalar(J, bounds=(-6, 6), method="bounded", options=dict(xatol=1e-9)).x
    assert J(found) <= min(J(side), J(0.0)) + 1e-12
    assert found == (0 if abs(v) <= alpha else v - alpha * np.sign(v))
    assert chapter.soft_threshold(np.array([3.0]), 1.0)[0] == 2


@equation(chapter.ista_step, 5)
def test_a_step_is_the_lowest_place_of_the_parabola(monkeypatch):  # (5)
    x, h, W, alpha = rng.normal(size=(3, 4)), rng.normal(size=(3, 6)), dictionary(), 0.2
    L = chapter.curvature(W)
    assert L == pytest.approx(np.linalg.eigvalsh(W @ W.T)[-1], rel=1e-10)
    assert L == pytest.approx(chapter.curvature(np.concatenate([W, 0 * W])), rel=1e-10)
    found = chapter.ista_step(h, x @ W.T, W @ W.T, alpha, L)

    def parabola(g, i):
        gradient = W @ (W.T @ h[i] - x[i])
        return gradient @ (g - h[i]) + L / 2 * np.sum((g - h[i]) ** 2) + alpha * np.abs(g).sum()

    for i in range(3):
        for _ in range(200):
            assert parabola(found[i], i) <= parabola(found[i] + 0.01 * rng.normal(size=6), i) + 1e-12
        # separately in each coordinate, by a search
        for j in range(6):

            def along(t, i=i, j=j):
                return parabola(np.where(np.arange(6) == j, t, found[i]), i)

            t = scipy.optimize.minimize_scalar(along, bracket=(-5, 5), tol=1e-12).x
            assert found[i, j] == pytest.approx(t, abs=2e-5)
    assert (chapter.objective(x, found, W, alpha) <= chapter.objective(x, h, W, alpha)).all()


@equation(chapter.momentum, 6)
def test_the_momentum_sequence():  # (6): t^2 - t = the last t^2
    t = np.array([1.0])
    for _ in range(10):
        new = chapter.momentum(t)
        np.testing.assert_allclose(new**2 - new, t**2, rtol=1e-12)
        t = new


@equation(chapter.lower_bound, 7)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0.05, 2))
def test_no_code_is_better_than_the_certificate(seed, alpha):  # (7)
    draw = np.random.default_rng(seed)
    x, W = draw.normal(size=(4, 4)), dictionary(6, 4, seed)
    best = chapter.encode(x, W, alpha, tol=1e-12)
    J = chapter.objective(x, best, W, alpha)
    for h in (best, best + 0.3 * draw.normal(size=best.shape), 0 * best):
        found = chapter.lower_bound(x, h, W, alpha)
        assert (found <= J + 1e-9).all()
        r = x - h @ W
        u = [a * min(1, alpha / max(abs(W @ a))) for a in r]  # as the text says
        np.testing.assert_allclose(found, [a @ a / 2 - (a - b) @ (a - b) / 2 for a, b in zip(x, u, strict=True)],
                                   rtol=1e-9, atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(chapter.lower_bound(x, best, W, alpha), J, rtol=1e-9, atol=1e-9)


@equation(chapter.settled, 8)
def test_signs_give_the_rest():  # (8): from the signs of the best code, found by trying all
    x, W, alpha = rng.normal(size=(1, 3)), dictionary(4, 3), 0.15
    best, code = np.inf, None
    for signs in itertools.product((-1, 0, 1), repeat=4):
        S = np.flatnonzero(signs)
        h = np.zeros(4)
        h[S] = np.linalg.pinv(W[S] @ W[S].T) @ (W[S] @ x[0] - alpha * np.array(signs)[S])
        J = written(x, h[None], W, alpha)[0]
        if J < best:
            best, code = J, h
    assert 0 < np.count_nonzero(code) < 4
    np.testing.assert_allclose(chapter.settled(np.sign(code)[None] * 0.3, x @ W.T, W @ W.T, alpha)[0], code, atol=1e-9)
    np.testing.assert_allclose(chapter.encode(x, W, alpha, tol=1e-10)[0], code, atol=1e-6)


@equation(chapter.in_ball, 3)
def test_the_nearest_place_of_the_ball():  # (3)
    for length in (0.3, 1.0, 2.5):
        u = length * dictionary(1)[0]
        found = chapter.in_ball(u)
        assert np.linalg.norm(found) <= 1 + 1e-12
        others = dictionary(500, 4, 9) * np.random.default_rng(0).uniform(size=(500, 1)) ** 0.25
        assert np.linalg.norm(found - u) <= np.linalg.norm(others - u, axis=1).min() + 1e-12


@equation(chapter.statistics, 9)
@equation(chapter.better_atoms, 10)
def test_atoms_one_after_the_other():  # (9) and (10): each the best in the ball, the others held
    x, h, W = examples(20), rng.normal(size=(20, 6)), dictionary()
    h[:, 4] = 0  # that nobody uses
    A, B = chapter.statistics(x, h)
    np.testing.assert_allclose(A, sum(np.outer(c, c) for c in h), rtol=1e-10)
    np.testing.assert_allclose(B, sum(np.outer(c, a) for c, a in zip(h, x, strict=True)), rtol=1e-10)
    found, expected = chapter.better_atoms(W, A, B), W.copy()
    for j in (0, 1, 2, 3, 5):
        rest = x - h @ expected + np.outer(h[:, j], expected[j])
        u = h[:, j] @ rest / (h[:, j] @ h[:, j])  # the regression
        expected[j] = u if np.linalg.norm(u) <= 1 else u / np.linalg.norm(u)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert (np.linalg.norm(found, axis=1) <= 1 + 1e-12).all() and (found[4] == W[4]).all()
    before, after = (chapter.objective(x, h, atoms, 0.1).sum() for atoms in (W, found))
    assert after < before
    assert chapter.objective(x, h, chapter.better_atoms(W, A, B, 5), 0.1).sum() < after


# ---- codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m, d, alpha", [(6, 4, 0.1), (30, 10, 0.3), (3, 8, 0.05)])
def test_codes_are_the_lassos(m, d, alpha):
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the oracle is scikit-learn")
    x, W = 2 * rng.normal(size=(40, d)), dictionary(m, d)
    found = chapter.encode(x, W, alpha, tol=1e-10)
    theirs = decomposition.sparse_encode(x, W, algorithm="lasso_lars", alpha=alpha)
    J, J_theirs = (chapter.objective(x, h, W, alpha) for h in (found, theirs))
    assert (J <= J_theirs + 1e-8).all() and ((found != 0) == (abs(theirs) > 1e-9)).mean() > 0.97


def test_optimality_conditions_hold():
    x, W, alpha = 2 * rng.normal(size=(40, 10)), dictionary(30, 10), 0.3
    h = chapter.encode(x, W, alpha, tol=1e-12)
    slope = (x - h @ W) @ W.T
    assert abs(slope).max() <= alpha + 1e-6
    np.testing.assert_allclose(slope[h != 0], alpha * np.sign(h[h != 0]), atol=1e-6)


def test_strong_costs_and_empty_atoms_give_no_code():
    x, W = rng.normal(size=(5, 4)), dictionary()
    assert (chapter.encode(x, W, 100.0) == 0).all() and (chapter.encode(x, 0 * W, 0.1) == 0).all()
    twins = np.concatenate([W[:2], W[:2]])  # the system of (8) is singular
    J = chapter.objective(x, chapter.encode(x, twins, 0.1), twins, 0.1)
    single = chapter.objective(x, chapter.encode(x, W[:2], 0.1), W[:2], 0.1)
    np.testing.assert_allclose(J, single, rtol=1e-5)


# ---- the model ------------------------------------------------------------------------------------------


def fitted(x, m=6, steps=10, seed=0, run=None, **options):
    model = SparseCoding(x.shape[1], m, **{"alpha": 0.1, "rng": tg.random.Generator(seed), **options})
    return model.fit(x, steps=steps, run=run or quiet())


def test_the_objective_falls_and_is_what_is_logged(tmp_path):
    x = examples(80)
    model = fitted(x, steps=15, run=Run(tmp_path / "a", quiet=True), tol=1e-9)
    metrics = read_metrics(tmp_path / "a" / "metrics.csv")
    path = np.stack([metrics["coded"], metrics["objective"]], 1).ravel()
    assert (np.diff(path) <= 1e-8 * path[0]).all() and path[-1] < 0.95 * path[0]
    before, atoms = model.objective(x).mean(), model.atoms.numpy()
    h = model.transform(x)
    parts = {k: float(v) for k, v in model.update(model.checked(x)).items()}
    assert parts["coded"] == pytest.approx(before, rel=1e-9)
    assert parts["coded"] == pytest.approx(np.mean(written(x, h, atoms, 0.1)), rel=1e-9)
    assert parts["objective"] == pytest.approx(np.mean(written(x, h, model.atoms.numpy(), 0.1)), rel=1e-7)


def test_chunks_do_not_matter(monkeypatch):
    x = examples(80)
    whole = fitted(x)
    monkeypatch.setattr(SparseCoding, "_rows", 7)
    np.testing.assert_allclose(fitted(x).atoms.numpy(), whole.atoms.numpy(), atol=1e-4)


def test_the_objective_is_no_higher_than_scikit_learns():  # the bar; where paths part, the median of five starts
    decomposition = pytest.importorskip("sklearn.decomposition", reason="the oracle is scikit-learn")
    ratios = []
    for seed in range(5):
        x, start, no_codes = examples(150, 8, 12, seed), dictionary(12, 8, seed), np.zeros((150, 12))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their codes stop after 1000 iterations
            _, _, errors = decomposition.dict_learning(x, 12, alpha=0.1, max_iter=10, tol=1e-12, method="cd",
                                                       dict_init=start.copy(), code_init=no_codes)  # fmt: skip
        model = SparseCoding(8, 12, alpha=0.1)
        model.start_at(start)
        ours = [150 * float(model.update(model.checked(x))["objective"]) for _ in range(len(errors))]
        assert ours[0] <= errors[0]
        ratios.append(ours[-1] / errors[-1])
    assert np.median(ratios) <= 1


def test_hidden_atoms_are_found():
    truth = dictionary(8, 8, 3)
    draw = np.random.default_rng(0)
    h = draw.normal(size=(1500, 8)) * 3 * (draw.uniform(size=(1500, 8)) < 0.15)
    models = [SparseCoding(8, 8, alpha=0.3, tol=1e-4, rng=tg.random.Generator(seed)) for seed in (1, 2)]
    best = min((m.fit(h @ truth, steps=40, run=quiet()) for m in models), key=lambda m: m.objective(h @ truth).sum())
    match = abs(best.atoms.numpy() @ truth.T)
    assert (match.max(0) > 0.99).all()  # but for sign and order: which no Gaussian factors could promise


def test_an_atom_that_nobody_uses_comes_to_life():
    x = np.array([[3.0, 0], [2, 0], [0, 2]])
    model = SparseCoding(2, 2, alpha=0.1)
    model.start_at([[1.0, 0], [0.0, 0.0]])
    model.fit(x, steps=6, run=quiet())
    np.testing.assert_allclose(np.sort(abs(model.atoms.numpy()), 0), [[0, 0], [1, 1]], atol=1e-6)


def test_more_atoms_than_examples():
    x = np.concatenate([examples(5), np.zeros((2, 4))])
    model = fitted(x, m=9, steps=5)
    assert np.isfinite(model.atoms.numpy()).all() and (model.transform(np.zeros((1, 4))) == 0).all()
    assert len(np.unique(model.atoms.numpy().round(6), axis=0)) == 9
    one = fitted(x[:1], m=2, steps=3)
    np.testing.assert_allclose(one.reconstruct(x[:1]), x[:1], atol=0.2)


def test_on_every_device(device):
    x = examples(40)
    models = [fitted(x, steps=3, rng=tg.random.Generator(0, device=where)) for where in ("cpu", device)]
    for verb in ("transform", "reconstruct", "objective"):
        np.testing.assert_allclose(*(getattr(m, verb)(x) for m in models), rtol=1e-4, atol=1e-6)
    assert models[1].atoms.device == device


def test_what_is_refused_and_how():
    x = examples()
    with pytest.raises(ValueError, match=r"SparseCoding: x has shape \(50, 3\); at least one row of 4 features"):
        SparseCoding(4, 6).fit(x[:, :3], run=quiet())
    with pytest.raises(ValueError, match="NaN"):
        SparseCoding(4, 6).fit(np.full((3, 4), np.nan), run=quiet())
    with pytest.raises(ValueError, match="x is 0 everywhere"):
        SparseCoding(4, 6).fit(0 * x, run=quiet())
    with pytest.raises(RuntimeError, match="call fit or start_at first"):
        SparseCoding(4, 6).transform(x)
    with pytest.raises(ValueError, match=r"atoms has shape \(6, 3\)"):
        SparseCoding(4, 6).start_at(np.zeros((6, 3)))
    with pytest.raises(ValueError, match="length 1 at most"):
        SparseCoding(4, 6).start_at(np.ones((6, 4)))
    for options in ({"alpha": 0}, {"tol": 0}, {"sweeps": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            SparseCoding(4, 6, **options)


def test_the_examples_in_the_documentation():
    assert doctest.testmod(chapter).failed == 0

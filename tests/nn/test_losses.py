"""Each loss against its formula in NumPy and SciPy, against PyTorch where it is installed, and at its far ends."""

import unicodedata
import warnings

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
from equations import equation

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays
from tinygen.cases.losses import cases
from tinygen.nn import functional as F
from tinygen.nn import losses

rng = np.random.default_rng(0)
X, T = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
CLASSES = np.array([0, 2, 1, -100, 2])
LAW, PROBABLE = rng.dirichlet(np.ones(3), 5), rng.uniform(0.05, 0.95, (5, 3))
SIGNS, WEIGHT = np.array([1.0, -1, -1, 1, -1]), np.array([0.5, 2.0, 1.0])
IMAGE, LABELS = rng.normal(size=(4, 3, 2, 2)), rng.integers(0, 3, (4, 2, 2))
EQUAL = np.ones(3)
log_softmax = scipy.special.log_softmax


def smooth(d, beta):
    return np.where(np.abs(d) < beta, d * d / (2 * beta), np.abs(d) - beta / 2)


def by_class(log_p, t, w=EQUAL):
    """(6) by a loop: the losses, and their weights."""
    losses, weights = np.zeros(t.shape), np.zeros(t.shape)
    for where in np.ndindex(t.shape):
        if t[where] != -100:
            weights[where] = w[t[where]]
            losses[where] = -weights[where] * log_p[(where[0], t[where], *where[1:])]
    return losses, weights


def by_law(x, law, w=EQUAL, epsilon=0.0):
    """(8)."""
    shape = (1, 3, *[1] * (x.ndim - 2))
    return -(w.reshape(shape) * ((1 - epsilon) * law + epsilon / 3) * log_softmax(x, 1)).sum(1)


def smoothed(x, t, w, epsilon):
    """(8) for classes, and the weights that "mean" divides by (7)."""
    onehot = np.moveaxis(np.eye(3)[np.where(t < 0, 0, t)], -1, 1)
    return by_law(x, onehot, w, epsilon) * (t != -100), by_class(x, t, w)[1]


def hinge_rows(x, t, m, p, w=EQUAL):
    """(14) by a loop."""
    return np.array([sum(w[c] * max(0, m - row[c] + row[k]) ** p for k in range(3) if k != c) / 3
                     for row, c in zip(x, t, strict=True)])  # fmt: skip


def cosines(a, b):
    return np.array([1 - scipy.spatial.distance.cosine(u, v) for u, v in zip(a, b, strict=True)])


RIGHT = np.array([0, 2, 1, 1, 2])
P = PROBABLE
#: (tag, function, arguments, options, the losses or (losses, weights))
TABLE = [
    (2, "mse_loss", (X, T), {}, (X - T) ** 2),
    (3, "l1_loss", (X, T), {}, np.abs(X - T)),
    (4, "smooth_l1_loss", (X, T), {}, smooth(X - T, 1)),
    (4, "smooth_l1_loss", (X, T), dict(beta=0.3), smooth(X - T, 0.3)),
    (4, "smooth_l1_loss", (X, T), dict(beta=0.0), np.abs(X - T)),
    (5, "huber_loss", (X, T), dict(delta=0.6), scipy.special.huber(0.6, X - T)),
    (6, "nll_loss", (log_softmax(X, 1), CLASSES), {}, by_class(log_softmax(X, 1), CLASSES)),
    (6, "nll_loss", (X, CLASSES), dict(weight=WEIGHT), by_class(X, CLASSES, WEIGHT)),
    (7, "cross_entropy", (X, CLASSES), {}, by_class(log_softmax(X, 1), CLASSES)),
    (7, "cross_entropy", (X, RIGHT), dict(weight=WEIGHT), by_class(log_softmax(X, 1), RIGHT, WEIGHT)),
    (7, "cross_entropy", (IMAGE, LABELS), dict(weight=WEIGHT), by_class(log_softmax(IMAGE, 1), LABELS, WEIGHT)),
    (8, "cross_entropy", (X, LAW), {}, by_law(X, LAW)),
    (8, "cross_entropy", (X, LAW), dict(weight=WEIGHT, label_smoothing=0.1), by_law(X, LAW, WEIGHT, 0.1)),
    (8, "cross_entropy", (X, CLASSES), dict(weight=WEIGHT, label_smoothing=0.2), smoothed(X, CLASSES, WEIGHT, 0.2)),
    (8, "cross_entropy", (IMAGE, LABELS), dict(label_smoothing=0.2), smoothed(IMAGE, LABELS, np.ones(3), 0.2)),
    (9, "binary_cross_entropy", (P, LAW), {}, -scipy.special.xlogy(LAW, P) - scipy.special.xlog1py(1 - LAW, -P)),
    (9, "binary_cross_entropy", (P, LAW), dict(weight=WEIGHT), -WEIGHT * (LAW * np.log(P) + (1 - LAW) * np.log(1 - P))),
    (10, "binary_cross_entropy_with_logits", (X, P), {},
     -P * scipy.special.log_expit(X) - (1 - P) * scipy.special.log_expit(-X)),
    (10, "binary_cross_entropy_with_logits", (X, P), dict(weight=SIGNS[:, None] + 2, pos_weight=WEIGHT),
     -(SIGNS[:, None] + 2) * (WEIGHT * P * scipy.special.log_expit(X) + (1 - P) * scipy.special.log_expit(-X))),
    (11, "kl_div", (log_softmax(X, 1), LAW), {}, LAW * (np.log(LAW) - log_softmax(X, 1))),
    (11, "kl_div", (X, np.log(LAW)), dict(log_target=True), LAW * (np.log(LAW) - X)),
    (12, "hinge_embedding_loss", (X[:, 0], SIGNS), dict(margin=0.4),
     np.array([x if s == 1 else max(0, 0.4 - x) for x, s in zip(X[:, 0], SIGNS, strict=True)])),
    (13, "margin_ranking_loss", (X[:, 0], X[:, 1], SIGNS), dict(margin=0.4),
     np.array([max(0, 0.4 - s * (a - b)) for (a, b, _), s in zip(X, SIGNS, strict=True)])),
    (14, "multi_margin_loss", (X, RIGHT), {}, hinge_rows(X, RIGHT, 1, 1)),
    (14, "multi_margin_loss", (X, RIGHT), dict(p=2, margin=0.6), hinge_rows(X, RIGHT, 0.6, 2)),
    (14, "multi_margin_loss", (X, RIGHT), dict(weight=WEIGHT), hinge_rows(X, RIGHT, 1, 1, WEIGHT)),
    (16, "cosine_embedding_loss", (X, T, SIGNS), dict(margin=-0.2),
     np.array([1 - c if s == 1 else max(0, c + 0.2) for c, s in zip(cosines(X, T), SIGNS, strict=True)])),
]  # fmt: skip
TORCH_MODULES = {
    "mse_loss": "MSELoss", "l1_loss": "L1Loss", "smooth_l1_loss": "SmoothL1Loss", "huber_loss": "HuberLoss",
    "nll_loss": "NLLLoss", "cross_entropy": "CrossEntropyLoss", "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss", "kl_div": "KLDivLoss",
    "hinge_embedding_loss": "HingeEmbeddingLoss", "margin_ranking_loss": "MarginRankingLoss",
    "multi_margin_loss": "MultiMarginLoss", "cosine_embedding_loss": "CosineEmbeddingLoss",
}  # fmt: skip
marked = pytest.mark.parametrize("tag, name, args, options, expected",
                                 [pytest.param(*row, marks=equation(getattr(losses, row[1]), row[0])) for row in TABLE],
                                 ids=[f"{r[0]}-{r[1]}" for r in TABLE])  # fmt: skip
each_loss = pytest.mark.parametrize("tag, name, args, options, expected", TABLE, ids=[f"{r[0]}-{r[1]}" for r in TABLE])


def on(device, *values):
    return [tg.tensor(v, device=device) for v in values]


@marked
def test_a_loss_is_its_formula(tag, name, args, options, expected, device):  # (2) to (14), (16)
    """Its entries, their sum and their mean, as a function and as a module."""
    expected, weights = expected if isinstance(expected, tuple) else (expected, None)
    mean = expected.mean() if weights is None else expected.sum() / weights.sum()
    tensors = on(device, *args)
    for reduction, value in (("none", expected), ("sum", expected.sum()), ("mean", mean)):
        found = getattr(F, name)(*tensors, **options, reduction=reduction)
        np.testing.assert_allclose(found.numpy(), value, rtol=1e-10, atol=1e-14)
        module = getattr(nn, TORCH_MODULES[name])(**options, reduction=reduction).to(device)
        np.testing.assert_array_equal(module(*tensors).numpy(), found.numpy())
    assert getattr(F, name)(*tensors, **options).item() == found.item()  # the mean is the default


@each_loss
def test_a_loss_is_pytorchs(tag, name, args, options, expected):
    """Values, gradients by every real argument that PyTorch gives one, and the modules' defaults."""
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    differentiable = {"cross_entropy": 2, "kl_div": 2, "mse_loss": 2, "l1_loss": 2, "margin_ranking_loss": 2,
                      "cosine_embedding_loss": 2, "binary_cross_entropy_with_logits": 2}  # fmt: skip
    count = sum(a.dtype.kind == "f" for a in args[: differentiable.get(name, 1)])
    theirs_options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    for reduction in ("mean", "sum", "none"):
        mine = [tg.tensor(a, requires_grad=i < count) for i, a in enumerate(args)]
        theirs = [torch.tensor(a, requires_grad=i < count) for i, a in enumerate(args)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's about kl_div's mean
            a = getattr(F, name)(*mine, **options, reduction=reduction)
            b = getattr(torch.nn.functional, name)(*theirs, **theirs_options, reduction=reduction)
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
        g = np.asarray(np.random.default_rng(1).normal(size=a.shape))
        found = tg.grad(a, mine[:count], [g])
        expected = torch.autograd.grad(b, theirs[:count], torch.tensor(g))
        for u, v in zip(found, expected, strict=True):
            np.testing.assert_allclose(u.numpy(), v.numpy(), rtol=1e-9, atol=1e-12)
    kind = TORCH_MODULES[name]
    other = getattr(torch.nn, kind)(**theirs_options)
    assert set(getattr(nn, kind)(**options).state_dict()) == set(other.state_dict())


def test_module_defaults_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    for name in TORCH_MODULES.values():
        mine, theirs = getattr(nn, name)(), getattr(torch.nn, name)()
        for option, value in vars(mine).items():
            if option != "_kinds":
                assert getattr(theirs, option) == value, (name, option)


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{i}-{c.name}") for i, c in enumerate(cases(rng))])
def test_gradients_at_orders_one_and_two(case, device):
    tg.check_grads(case.function, [arrays.asarray(a, device=device) for a in case.args], order=2)


# ---- what the losses are for --------------------------------------------------------------------------------


@equation(losses.cross_entropy, 1)
def test_maximum_likelihood_is_divergence_minimisation():  # (1)
    """On a discrete law: risk = E_X KL + H(Y|X); so their gradients agree, and the optimum is the law."""
    joint = rng.dirichlet(np.ones(15)).reshape(5, 3)  # P(x, y)
    p_x = joint.sum(1)
    given = joint / p_x[:, None]  # P(y|x)
    logits = tg.tensor(X, requires_grad=True)
    risk = tg.sum(p_x * F.cross_entropy(logits, given, reduction="none"))
    entropy = (p_x * scipy.stats.entropy(given, axis=1)).sum()
    divergence = (p_x * scipy.stats.entropy(given, scipy.special.softmax(X, 1), axis=1)).sum()
    assert risk.item() == pytest.approx(divergence + entropy, rel=1e-12)
    kl = tg.sum(tg.expand_dims(p_x, 1) * F.kl_div(F.log_softmax(logits, 1), given, reduction="none"))
    assert kl.item() == pytest.approx(divergence, rel=1e-12)
    np.testing.assert_allclose(tg.grad(risk, logits).numpy(), tg.grad(kl, logits).numpy(), atol=1e-15)
    at_truth = tg.tensor(np.log(given), requires_grad=True)
    risk = tg.sum(p_x * F.cross_entropy(at_truth, given, reduction="none"))
    assert risk.item() == pytest.approx(entropy) and np.abs(tg.grad(risk, at_truth).numpy()).max() < 1e-15


def test_sampled_classes_estimate_the_same_risk():  # (1), (7)
    y = rng.choice(3, size=200_000, p=LAW[0])
    found = F.cross_entropy(np.broadcast_to(X[:1], (len(y), 3)), y)
    assert abs(found - F.cross_entropy(X[:1], LAW[:1])) < 5 / np.sqrt(len(y))


def test_squared_and_absolute_error_have_mean_and_median_as_their_best():  # (2), (3); S2 eqs. 2.5-2.7
    y = rng.exponential(size=1001)
    for loss, best in ((F.mse_loss, y.mean()), (F.l1_loss, np.median(y))):
        values = [loss(np.full_like(y, best + shift), y) for shift in (-0.05, 0, 0.05)]
        assert values[1] < min(values[0], values[2])


def test_batchmean_is_the_mean_divergence(device):  # (11)
    log_q, p = on(device, log_softmax(X, 1), LAW)
    expected = scipy.stats.entropy(LAW, scipy.special.softmax(X, 1), axis=1).mean()
    assert F.kl_div(log_q, p, reduction="batchmean").item() == pytest.approx(expected)
    assert nn.KLDivLoss(reduction="batchmean")(log_q, p).item() == pytest.approx(expected)
    certain = np.eye(3)[RIGHT]
    assert F.kl_div(log_softmax(X, 1), certain, reduction="sum") == pytest.approx(F.cross_entropy(X, RIGHT) * 5)


@equation(losses.cosine_similarity, 15)
def test_cosine_similarity(device):  # (15)
    x, t = on(device, X, T)
    np.testing.assert_allclose(F.cosine_similarity(x, t).numpy(), cosines(X, T))
    np.testing.assert_allclose(F.cosine_similarity(x, t, axis=0).numpy(), cosines(X.T, T.T))
    np.testing.assert_allclose(nn.CosineSimilarity(axis=0)(x, 7 * t).numpy(), cosines(X.T, T.T))
    zero = tg.tensor(np.zeros((2, 3)), requires_grad=True)
    found = F.cosine_similarity(zero, X[:2])
    assert (found.numpy() == 0).all() and np.isfinite(tg.grad(tg.sum(found), zero).numpy()).all()
    short = cosines(X, T) * 1e-9 / 1e-8 * np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(F.cosine_similarity(1e-9 * X, T), short)


# ---- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel, args", [
    (losses._softmax_cross_entropy, (X, RIGHT)), (losses._softmax_cross_entropy, (IMAGE, LABELS)),
    (losses._soft_cross_entropy, (X, LAW)), (losses._bce_with_logits, (X, PROBABLE)),
])  # fmt: skip
def test_a_kernel_is_its_composition(kernel, args, device):
    """Value and gradient at order 1; the derivative of the gradient is the composition's own."""
    composed = kernel.primitive.composed
    tensors = [tg.tensor(a, device=device, requires_grad=a.dtype.kind == "f") for a in args]
    real = [t for t in tensors if t.requires_grad]
    g = tg.tensor(np.random.default_rng(2).normal(size=composed(*tensors).shape), device=device)
    results = []
    for f in (kernel, composed):
        y = f(*tensors)
        first = tg.grad(y, real, [g], retain_graph=True)
        slopes = tg.grad(y, real, [g], create_graph=True)
        second = tg.grad(tg.sum(tg.stack([tg.sum(tg.sin(s)) for s in slopes])), real)
        results.append([a.numpy() for a in (y, *first, *slopes, *second)])
    for mine, plain in zip(*results, strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-12, atol=1e-14)


def test_kernels_print_their_rules():
    from tinygen.formulas.symbols import rules

    printed = "; ".join(r.text for r in rules(losses._softmax_cross_entropy.primitive))
    assert unicodedata.normalize("NFC", printed).endswith("⊙ (softmax(x) - onehot(t))")


# ---- far out, float32, and refusals ---------------------------------------------------------------------------


def test_cross_entropy_far_out_is_finite_and_exact(device):
    logits = np.array([[1e4, 0, -1e4], [-1e4, 0, 1e4]], np.float32)
    x, t = on(device, logits, np.array([2, 2]))
    x.requires_grad_()
    found = F.cross_entropy(x, t, reduction="none")
    np.testing.assert_array_equal(found.numpy(), [2e4, 0])
    np.testing.assert_array_equal(tg.grad(tg.sum(found), x).numpy(), [[1, 0, -1], [0, 0, 0]])
    law = tg.tensor(np.array([[0, 0, 1], [0, 0.5, 0.5]], np.float32), device=device)
    np.testing.assert_array_equal(F.cross_entropy(x, law, reduction="none").numpy(), [2e4, 5e3])


def test_bernoulli_at_its_ends_is_bounded(device):  # (9), as PyTorch
    p, t = on(device, np.array([0, 0, 1, 1], np.float32), np.array([0, 1, 0, 1], np.float32))
    p.requires_grad_(), t.requires_grad_()
    found = F.binary_cross_entropy(p, t, reduction="none")
    np.testing.assert_array_equal(found.numpy(), [0, 100, 100, 0])
    slopes = tg.grad(tg.sum(found), [p, t])
    np.testing.assert_allclose(slopes[0].numpy(), [0, -1e12, 1e12, 0])
    np.testing.assert_allclose(slopes[1].numpy(), [100, 100, -100, -100])


def test_ignored_targets_have_no_gradient(device):
    x, t = on(device, X, CLASSES)
    x.requires_grad_()
    for options in ({}, dict(label_smoothing=0.1), dict(weight=WEIGHT)):
        g = tg.grad(F.cross_entropy(x, t, **options), x).numpy()
        assert (g[3] == 0).all() and (np.abs(g[[0, 1, 2, 4]]).sum(1) > 0).all()
    without = F.cross_entropy(X[[0, 1, 2, 4]], CLASSES[[0, 1, 2, 4]])
    assert F.cross_entropy(x, t).item() == pytest.approx(without)


@each_loss
def test_float32_stays_float32(tag, name, args, options, expected, device):
    args = on(device, *[a.astype(np.float32) if a.dtype.kind == "f" else a for a in args])
    args[0].requires_grad_()
    loss = getattr(F, name)(*args, **options)
    assert loss.dtype == np.float32 and loss.shape == () and tg.grad(loss, args[0]).dtype == np.float32


def test_integer_signs_keep_float32():
    x = tg.tensor(X.astype(np.float32))
    assert F.hinge_embedding_loss(x[:, 0], np.array([1, -1, 1, 1, -1], np.int8)).dtype == np.float32


def test_unsigned_and_boolean_targets_do_not_wrap():
    p, t = np.array([0.5, 0.25]), np.array([0, 1], np.uint8)
    for target in (t, t.astype(bool)):
        expected = F.binary_cross_entropy(p, t.astype(float), reduction="none")
        np.testing.assert_array_equal(F.binary_cross_entropy(p, target, reduction="none"), expected)
    assert F.margin_ranking_loss(p, 2 * p, np.ones(2, np.uint8), margin=1.0) == pytest.approx(1 + p.mean())
    for f, expected in ((F.mse_loss, 9.0), (F.l1_loss, 3.0), (F.smooth_l1_loss, 2.5)):
        assert f(np.array([0], np.uint8), np.array([3], np.uint8)) == expected


@pytest.mark.parametrize("log_p", [False, True])
def test_an_ignored_target_may_be_impossible(log_p):
    x = tg.tensor(np.array([[-np.inf, 0, 0], [0, 0, 0.0]]), requires_grad=True)
    loss = F.nll_loss if log_p else F.cross_entropy
    found = loss(x, np.array([-100, 1]))
    assert found.item() == pytest.approx(0 if log_p else np.log(3)) and not tg.grad(found, x).numpy()[0].any()


def test_rounded_corners_have_their_curvature_at_zero():  # (4), (5)
    zero = np.zeros(2)
    for f, curvature in ((lambda x: F.smooth_l1_loss(x, zero, beta=0.5, reduction="sum"), 2.0),
                         (lambda x: F.huber_loss(x, zero, delta=0.5, reduction="sum"), 1.0)):  # fmt: skip
        np.testing.assert_allclose(tg.hvp(f, zero, np.ones(2)).numpy(), curvature)


def test_losses_do_not_wait_for_the_device(device):
    if device == "cpu":
        pytest.skip("there is nothing to wait for")
    import strict_cupy

    for _, name, args, options, _ in TABLE:
        tensors = on(device, *args)
        tensors[0].requires_grad_()
        module = getattr(nn, TORCH_MODULES[name])(**options).to(device)
        one = tg.tensor(1.0, dtype=tensors[0].dtype, device=device)
        with strict_cupy.no_sync():
            tg.grad(module(*tensors), tensors[0], one)


def test_weights_move_and_are_saved_with_the_module():
    module = nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1)
    other = nn.CrossEntropyLoss(weight=np.ones(3), label_smoothing=0.1)
    other.load_state_dict(module.state_dict())
    assert list(module.state_dict()) == ["weight"] and module(X, RIGHT) == other(X, RIGHT)
    assert "label_smoothing=0.1" in repr(module) and not list(module.parameters())
    assert not nn.CrossEntropyLoss().state_dict()


REFUSED = [
    (lambda: F.mse_loss(np.ones((3, 1)), np.ones(3)), r"\(3, 1\), target \(3,\)"),
    (lambda: F.l1_loss(X, T, reduction="average"), "l1_loss: reduction must be 'mean', 'sum' or 'none'"),
    (lambda: F.kl_div(X, T, reduction="average"), "'batchmean', 'mean'"),
    (lambda: F.mse_loss(X, T, reduction="batchmean"), "reduction"),
    (lambda: F.cross_entropy(X, RIGHT[:, None]), r"target is int64 \(5, 1\)"),
    (lambda: F.cross_entropy(X, LAW[:, :2]), r"target \(5, 2\)"),
    (lambda: F.cross_entropy(X, RIGHT + 1), "classes from 1 to 3, wanted 0 to 2"),
    (lambda: F.cross_entropy(X, RIGHT - 1), "classes from -1 to 1"),
    (lambda: F.multi_margin_loss(X, RIGHT - 1), "multi_margin_loss: target has classes from -1"),
    (lambda: F.nll_loss(X, LAW), "target is float64"),
    (lambda: F.cross_entropy(X, RIGHT, label_smoothing=1.5), "label_smoothing"),
    (lambda: F.smooth_l1_loss(X, T, beta=-1), "beta"),
    (lambda: F.huber_loss(X, T, delta=0), "delta"),
    (lambda: F.multi_margin_loss(X, RIGHT, p=3), "p must be 1 or 2"),
    (lambda: F.cosine_embedding_loss(X, T, SIGNS[:, None]), "cosine_embedding_loss"),
    (lambda: F.binary_cross_entropy(P[0], P[0], weight=np.ones((3, 1))), r"binary_cross_entropy: weight .*\(3, 1\)"),
    (lambda: F.binary_cross_entropy_with_logits(X, P, weight=np.ones((2, 5, 3))), r"logits: weight .*\(2, 5, 3\)"),
    (lambda: F.binary_cross_entropy_with_logits(X, P, pos_weight=np.ones((4, 1, 3))), "pos_weight has shape"),
    (lambda: F.cross_entropy(X, RIGHT, weight=np.ones(4)), r"cross_entropy: weight .*\(4,\).*\(3,\)"),
    (lambda: F.cross_entropy(X, LAW, weight=np.ones(1)), r"cross_entropy: weight .*\(1,\)"),
    (lambda: F.nll_loss(X, RIGHT, weight=np.ones(4)), "nll_loss: weight"),
    (lambda: F.multi_margin_loss(X, RIGHT, weight=np.ones(4)), "multi_margin_loss: weight"),
]


@pytest.mark.parametrize("wrong, message", REFUSED, ids=[m for _, m in REFUSED])
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()

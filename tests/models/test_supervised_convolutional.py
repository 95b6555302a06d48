"""Convolutional networks: every equation of the chapter by loops or by SciPy, and the model's promises."""

import doctest
import itertools

import numpy as np
import pytest
import scipy.signal
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import ConvolutionalNet
from tinygen.models.supervised import convolutional as chapter
from tinygen.nn import functional as F
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run

rng = np.random.default_rng(0)
Y = np.arange(20) % 3


def images(b=2, channels=3, n=6, m=5, seed=0):
    return np.random.default_rng(seed).normal(size=(b, channels, n, m))


def kernels(l_1=4, l_0=3, q=3, seed=1):
    return np.random.default_rng(seed).normal(size=(l_1, l_0, q, q))


def net(seed=0, device="cpu", **options):
    options = {"kernels": (2, 3), "size": 3, "hidden": 5, **options}
    return ConvolutionalNet((1, 8, 6), 3, **options, rng=tg.random.Generator(seed, device=device))


X = images(20, 1, 8, 6).astype(np.float32)


def quiet():
    return Run(quiet=True)


# ---- the equations ------------------------------------------------------------------------------------------------


@equation(chapter.convolution, 1)
def test_true_convolution_is_the_sum_over_all_places(device):
    h, K = rng.normal(size=(4, 5)), rng.normal(size=(3, 2))
    expected = np.zeros((6, 6))
    for u, v, a, b in itertools.product(range(6), range(6), range(4), range(5)):
        if 0 <= u - a < 3 and 0 <= v - b < 2:
            expected[u, v] += h[a, b] * K[u - a, v - b]
    found = arrays.to_numpy(chapter.convolution(*(arrays.asarray(a, device=device) for a in (h, K))))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found, scipy.signal.convolve2d(h, K), rtol=1e-10)
    np.testing.assert_allclose(found, chapter.convolution(np.pad(K, ((0, 1), (0, 3))), h)[:6, :6], rtol=1e-10)


def by_loops(h, K, sign):
    """(2), with sign -1, or (3), with sign 1; indices count from 0, and the kernel's from its middle."""
    (b, l_0, n, m), (l_1, _, q, _) = h.shape, K.shape
    middle = -(-q // 2) - 1  # entry number ceil(q / 2), counted from 1
    found = np.zeros((b, l_1, n, m))
    for o, i, j, r, s, t in itertools.product(*map(range, (l_1, n, m, n, m, l_0))):
        a, c = sign * (r - i) + middle, sign * (s - j) + middle
        if 0 <= a < q and 0 <= c < q:
            found[:, o, i, j] += h[:, t, r, s] * K[o, t, a, c]
    return found


@equation(chapter.convolutional_layer, 2)
@equation(chapter.cross_correlation, 3)
@pytest.mark.parametrize("q", [1, 3, 5])
def test_layers_by_loops(device, q):
    h, K = images(), kernels(q=q)
    there = [arrays.asarray(a, device=device) for a in (h, K)]
    found = [arrays.to_numpy(f(*there)) for f in (chapter.convolutional_layer, chapter.cross_correlation)]
    np.testing.assert_allclose(found[0], by_loops(h, K, -1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[1], by_loops(h, K, 1), rtol=1e-10, atol=1e-12)
    assert q == 1 or np.abs(found[0] - found[1]).max() > 1  # they are not the same


def test_what_networks_call_convolution_is_the_true_one_with_kernels_turned():
    h, K = images(), kernels(q=5)
    same = [[scipy.signal.convolve(image, k[:, ::-1, ::-1], "same")[1] for k in K[:, ::-1]] for image in h]
    np.testing.assert_allclose(F.conv2d(h, K, padding=2), same, rtol=1e-9, atol=1e-12)  # channels: the middle of 3
    np.testing.assert_allclose(chapter.convolutional_layer(h, chapter.turned(K)), F.conv2d(h, K, padding=2))


def test_the_printed_middle_would_move_the_image():
    """S2's floor(q / 2), counted from 1, is one entry too early."""
    h, K = images(1, 1), np.zeros((1, 1, 5, 5))
    K[0, 0, 2, 2] = 1  # number 3 = ceil(5 / 2)
    np.testing.assert_array_equal(chapter.convolutional_layer(h, K), h)
    K = np.roll(K, -1, (2, 3))  # number 2 = floor(5 / 2)
    assert np.abs(chapter.convolutional_layer(h, K) - h).max() > 0.5


@equation(chapter.moved, 4)
def test_moving_by_loops(device):
    h, t = images(3, 2), np.array([[0, 0], [2, -1], [-3, 7]])
    expected = np.zeros_like(h)
    for k, c, i, j in np.ndindex(*h.shape):
        u, v = i - t[k, 0], j - t[k, 1]
        expected[k, c, i, j] = h[k, c, u, v] if 0 <= u < 6 and 0 <= v < 5 else 0
    found = chapter.moved(*(arrays.asarray(a, device=device) for a in (h, t)))
    np.testing.assert_array_equal(arrays.to_numpy(found), expected)


@given(st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([1, 3, 5]), st.integers(0, 10**6))
def test_a_moved_image_has_a_moved_convolution(down, right, q, seed):
    """Exactly so as long as nothing is lost at the border."""
    h, K, t = np.zeros((1, 2, 15, 16)), kernels(l_0=2, q=q, seed=seed), np.array([[down, right]])
    h[:, :, 5:-5, 5:-5] = images(1, 2, 5, 6, seed)
    for f in (chapter.convolutional_layer, chapter.cross_correlation):
        np.testing.assert_allclose(f(chapter.moved(h, t), K), chapter.moved(f(h, K), t), rtol=1e-12, atol=1e-12)


@given(st.integers(-2, 2), st.integers(0, 10**6))
def test_with_a_stride_or_pooling_only_multiples_of_it_move_along(t, seed):
    h, K = np.zeros((1, 1, 16, 16)), kernels(1, 1, 3, seed)
    h[:, :, 6:-6, 6:-6] = images(1, 1, 4, 4, seed)
    for f in (lambda x: F.conv2d(x, K, stride=2, padding=1), lambda x: chapter.pooled(x, 2)):
        moved = f(chapter.moved(h, np.array([[2 * t, 2 * t]])))
        np.testing.assert_allclose(moved, chapter.moved(f(h), np.array([[t, t]])), rtol=1e-12, atol=1e-12)


@equation(chapter.as_matrix, 5)
def test_a_layer_is_a_matrix_of_few_numbers(device):
    K, (n, m) = kernels(), (4, 5)
    W = arrays.to_numpy(chapter.as_matrix(arrays.asarray(K, device=device), n, m))
    assert W.shape == (3 * 20, 4 * 20)
    W = W.reshape(3, n, m, 4, n, m)
    for t, r, s, o, i, j in np.ndindex(*W.shape):
        inside = max(abs(r - i), abs(s - j)) <= 1
        assert W[t, r, s, o, i, j] == (K[o, t, r - i + 1, s - j + 1] if inside else 0)
    h = images(n=n, m=m)
    by_matrix = (h.reshape(2, -1) @ W.reshape(60, 80)).reshape(2, 4, n, m)
    np.testing.assert_allclose(by_matrix, chapter.cross_correlation(h, K), rtol=1e-10, atol=1e-12)
    assert len(set(np.abs(W[W != 0]))) == K.size


def test_the_numbers_of_the_chapters_example():
    layer = ConvolutionalNet((1, 28, 28), 10, hidden=2).convolutions[0]
    assert sum(p.data.size for p in layer.parameters()) == 416
    assert 9.8e6 < (28 * 28 + 1) * 16 * 28 * 28 < 10e6  # "ten million"


@equation(chapter.output_size, 6)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 3), st.integers(1, 4))
def test_output_size_counts_the_places(n, q, P, S):
    if q > n + 2 * P:
        return
    places = [u for u in range(-P, n + P) if u + q <= n + P and (u + P) % S == 0]  # where the kernel may begin
    assert chapter.output_size(n, q, P, S) == len(places)
    assert F.conv2d(np.zeros((1, 1, n, n)), np.zeros((1, 1, q, q)), stride=S, padding=P).shape[2] == len(places)
    printed = (n - q + 2 * P) / S + 1  # S2 3.14
    assert printed >= len(places) and (printed == len(places)) == ((n - q + 2 * P) % S == 0)


@equation(chapter.pooled, 7)
def test_pooling_by_loops(device):
    h = images(n=7, m=6)
    found = arrays.to_numpy(chapter.pooled(arrays.asarray(h, device=device), 2))
    expected = [[max(h[k, c, 2 * i + a, 2 * j + b] for a in (0, 1) for b in (0, 1)) for j in range(3)]
                for k in range(2) for c in range(3) for i in range(3)]  # fmt: skip
    np.testing.assert_array_equal(found, np.reshape(expected, (2, 3, 3, 3)))
    np.testing.assert_array_equal(tg.relu(chapter.pooled(h, 2)), chapter.pooled(tg.relu(h), 2))  # they exchange


@equation(chapter.receptive_field, 8)
@pytest.mark.parametrize("layers", [[(5, 1)], [(3, 2), (3, 1)], [(5, 1), (2, 2), (5, 1), (2, 2)], [(2, 3), (4, 2)]])
def test_receptive_field_by_the_gradient(layers):
    """Of positive kernels and mean pooling, at a place where no border is near."""
    x = tg.tensor(np.ones((1, 1, 64, 64)), requires_grad=True)
    h = x
    for q, S in layers:
        h = F.conv2d(h, np.ones((1, 1, q, q)), stride=S)
    middle = h.shape[2] // 2
    seen = np.flatnonzero(tg.grad(h[0, 0, middle, middle], x).numpy()[0, 0].any(0))
    assert seen[-1] - seen[0] + 1 == chapter.receptive_field(layers)  # with gaps, if strides leave any


@equation(ConvolutionalNet.forward, 9)
def test_the_network_is_its_formula():
    model = net().to(dtype="float64").eval()
    h = X.astype(float)
    for layer in model.convolutions:
        a = by_loops(h, layer.weight.numpy(), 1) + layer.bias.numpy()[:, None, None]
        a = a[:, :, : a.shape[2] // 2 * 2, : a.shape[3] // 2 * 2]
        h = np.maximum(a.reshape(*a.shape[:2], a.shape[2] // 2, 2, a.shape[3] // 2, 2).max((3, 5)), 0)
    f = np.maximum(h.reshape(20, -1) @ model.hidden.weight.numpy().T + model.hidden.bias.numpy(), 0)
    logits = f @ model.out.weight.numpy().T + model.out.bias.numpy()
    np.testing.assert_allclose(model(tg.tensor(X.astype(float))).numpy(), logits, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.features(X), f, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.maps(X)[-1], h, rtol=1e-6, atol=1e-9)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(model.predict_log_proba(X), log_p, rtol=1e-6, atol=1e-9)


# ---- the model ----------------------------------------------------------------------------------------------------


def test_the_start_of_he_keeps_the_size_of_signals():
    """The mean square before a relu is twice that of what went in; without it, a fraction."""
    net = ConvolutionalNet((1, 28, 28), 10, kernels=(64, 64), he=True, rng=tg.random.Generator(0))
    for layer, gain in ((net.convolutions[1], 2), (net.hidden, 2), (net.out, 1)):
        w = layer.weight.numpy()
        fan_in = w[0].size
        np.testing.assert_allclose(w.var(), gain / fan_in, rtol=0.05)
        assert abs(w.mean()) < 4 * np.sqrt(gain / fan_in / w.size)
        np.testing.assert_array_equal(layer.bias.numpy(), 0)
    x = tg.random.Generator(1).normal((200, net.hidden.weight.shape[1]))
    np.testing.assert_allclose(np.square(net.hidden(x).numpy()).mean(), 2, rtol=0.05)
    plain = ConvolutionalNet((1, 28, 28), 10, rng=tg.random.Generator(0))
    assert abs(plain.hidden.weight.numpy()).max() <= 1 / np.sqrt(784)


def test_images_and_rows_are_the_same_and_parts_do_not_matter(monkeypatch):
    model = net()
    whole = model.predict_log_proba(X)
    np.testing.assert_array_equal(model.predict_log_proba(X.reshape(20, -1)), whole)
    monkeypatch.setattr("tinygen.models.supervised.classifier.AT_ONCE", 7)
    np.testing.assert_allclose(model.predict_log_proba(X), whole, rtol=1e-5, atol=1e-6)
    assert model.features(X).shape == (20, 5) and model.features(X).dtype == np.float32
    assert [m.shape for m in model.maps(X)] == [(20, 2, 4, 3), (20, 3, 2, 1)]


def test_it_learns_where_a_line_is_whatever_else():
    """Lying or standing: a class that no single pixel tells."""
    draw = np.random.default_rng(0)
    x, y = np.zeros((300, 1, 8, 8), np.float32), np.arange(300) % 2
    for image, kind in zip(x, y, strict=True):
        i, j = draw.integers(0, 8), draw.integers(0, 4)
        line = image[0] if kind else image[0].T
        line[i, j : j + 4] = 1
    model = ConvolutionalNet((1, 8, 8), 2, kernels=(4, 4), size=3, hidden=16, lr=1e-2, rng=tg.random.Generator(0))
    model.fit(x[:200], y[:200], steps=150, batch_size=50, run=quiet())
    assert model.score(x[200:], y[200:]) > 0.95


def test_dropout_and_shifts_are_for_training_only_and_the_rate_falls():
    model = net(p=0.5, shift=2, schedule=Cosine(10))
    np.testing.assert_array_equal(model.predict_log_proba(X), model.predict_log_proba(X))
    seen = []
    forward, model.forward = model.forward, lambda x: seen.append(x) or forward(x)
    model.update(*model.checked(X, Y))
    assert np.abs(seen[0] - X).max() > 0 and seen[0].shape == X.shape
    assert 0 < model.optimizer.lr < 1e-3
    model.fit(X, Y, steps=9, run=quiet())
    assert model.optimizer.lr == 0


def test_shifts_reach_every_distance_up_to_the_one_asked_for():
    model = net(shift=1)
    dot = np.zeros((400, 1, 8, 6), np.float32)
    dot[:, 0, 4, 3] = 1
    seen = []
    forward, model.forward = model.forward, lambda x: seen.append(x) or forward(x)
    model.update(dot, np.zeros(400, int))
    where = np.argwhere(seen[0])[:, 2:] - (4, 3)
    assert len(where) == 400 and len({tuple(t) for t in where}) == 9 and np.abs(where).max() == 1


def test_killed_and_resumed_is_the_straight_run(tmp_path):
    options = dict(p=0.3, shift=1, schedule=Cosine(12))
    net(**options).fit(X, Y, steps=12, batch_size=8, run=Run(tmp_path / "a", quiet=True))
    run, model = Run(tmp_path / "b", quiet=True), net(**options)
    data = model.checked(X, Y)
    for step in run.steps(model, 12, save_every=5):
        run.log(**model.update(*tg.data.batch(data, model.rng, 8)))
        if step == 8:
            break
    net(4, **options).fit(X, Y, steps=12, batch_size=8, run=Run.resume(tmp_path / "b", quiet=True))
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_on_the_stand_in_for_a_gpu(device):
    def learnt(device):
        model = net(device=device, p=0.3, shift=1).fit(X, Y, steps=3, batch_size=9, run=quiet())
        return model.predict_log_proba(X), model.features(X)

    for found, expected in zip(learnt(device), learnt("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match=r"got \(8, 6\)"):
        ConvolutionalNet((8, 6), 3)
    with pytest.raises(ValueError, match="nothing is left after 3 layers"):
        ConvolutionalNet((1, 8, 6), 3, kernels=(2, 2, 2), size=3)
    model = net()
    with pytest.raises(
        ValueError, match=r"ConvolutionalNet: x has shape \(20, 1, 8, 5\); at least one image of \(1, 8"
    ):
        model.predict(X[..., :-1])
    with pytest.raises(ValueError, match="or row of 48 is wanted"):
        model.features(X[:0])
    with pytest.raises(ValueError, match="row 3"):
        model.fit(np.where(np.arange(20)[:, None, None, None] == 3, np.nan, X), Y, steps=1, run=quiet())


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0

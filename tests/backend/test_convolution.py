"""Promises of convolution.py: the values of equation (1), and the identity (2) that ties the three."""

import itertools

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

from tinygen.backend import (
    channels_last,
    convolve,
    convolve_adjoint,
    convolve_weight,
    fold,
    max_windows,
    max_windows_back,
    output_shape,
    unfold,
)

from .conftest import quick


@st.composite
def settings_of_a_convolution(draw):
    """A batch, channels, sizes and options that fit together, in one or two dimensions."""
    axes = draw(st.sampled_from([1, 2]))
    each = {"kernel": (1, 3), "stride": (1, 3), "padding": (0, 2), "dilation": (1, 2), "extra": (0, 4)}
    found = {name: tuple(draw(st.integers(*span)) for _ in range(axes)) for name, span in each.items()}
    kernel, padding, dilation = found["kernel"], found["padding"], found["dilation"]
    found["spatial"] = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + e
        for k, p, d, e in zip(kernel, padding, dilation, found.pop("extra"), strict=True)
    )
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    found.update(n=draw(st.integers(0, 5)), groups=groups)
    found.update(c=groups * draw(st.integers(1, 2)), o=groups * draw(st.integers(1, 3)))
    return found


def make(case, dtype=np.float64, seed=0):
    """Random x, w and y for a case, and the options in the order of the functions."""
    rng = np.random.default_rng(seed)
    options = (case["stride"], case["padding"], case["dilation"])
    out = output_shape(case["spatial"], case["kernel"], *options)
    x = rng.normal(size=(case["n"], case["c"], *case["spatial"])).astype(dtype)
    w = rng.normal(size=(case["o"], case["c"] // case["groups"], *case["kernel"])).astype(dtype)
    y = rng.normal(size=(case["n"], case["o"], *out)).astype(dtype)
    return x, w, y, (*options, case["groups"])


def by_loops(x, w, stride, padding, dilation, groups):
    """Equation (1), one product at a time."""
    out = output_shape(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.zeros((x.shape[0], w.shape[0], *out), x.dtype)
    per_group = w.shape[0] // groups
    for n, o, *i in itertools.product(*map(range, y.shape)):
        for c, *k in itertools.product(*map(range, w.shape[1:])):
            at = [s * a + d * b - p for s, a, d, b, p in zip(stride, i, dilation, k, padding, strict=True)]
            if all(0 <= a < m for a, m in zip(at, x.shape[2:], strict=True)):
                y[(n, o, *i)] += w[(o, c, *k)] * x[(n, o // per_group * w.shape[1] + c, *at)]
    return y


@equation(convolve, 1)
@quick
@given(settings_of_a_convolution())
def test_values_are_equation_1(library, case):
    x, w, _, options = make(case)
    got = library.host(convolve(library.xp, library.array(x), library.array(w), *options))
    np.testing.assert_allclose(got, by_loops(x, w, *options), rtol=1e-10, atol=1e-12)


@equation(convolve_adjoint, 2)
@equation(convolve_weight, 2)
@quick
@given(settings_of_a_convolution(), st.sampled_from(["one sample", "all samples"]))
def test_the_three_are_adjoint_to_one_another(library, case, chunk):
    x, w, y, options = make(case)
    there = [library.array(a) for a in (x, w, y)]
    with pytest.MonkeyPatch.context() as patch:
        if chunk == "one sample":
            patch.setattr(
                channels_last, "parts", lambda xp, samples, *_: [slice(i, i + 1) for i in range(samples)]
            )
        forward = library.host(convolve(library.xp, there[0], there[1], *options))
        x_bar = library.host(convolve_adjoint(library.xp, there[2], there[1], case["spatial"], *options))
        w_bar = library.host(convolve_weight(library.xp, there[0], there[2], case["kernel"], *options))
    assert forward.shape == y.shape and x_bar.shape == x.shape and w_bar.shape == w.shape
    np.testing.assert_allclose((forward * y).sum(), (x * x_bar).sum(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((forward * y).sum(), (w * w_bar).sum(), rtol=1e-9, atol=1e-9)


LAYERS = {
    "many small images": {
        "n": 13,
        "c": 8,
        "o": 4,
        "spatial": (7, 6),
        "kernel": (4, 4),
        "stride": (2, 2),
        "padding": (1, 1),
    },
    "few large images": {
        "n": 2,
        "c": 3,
        "o": 4,
        "spatial": (20, 17),
        "kernel": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
    },
    "flipped kernel": {
        "n": 8,
        "c": 4,
        "o": 4,
        "spatial": (6, 6),
        "kernel": (5, 5),
        "stride": (1, 1),
        "padding": (2, 2),
    },
    "padding beyond the flip": {
        "n": 3,
        "c": 2,
        "o": 2,
        "spatial": (5, 5),
        "kernel": (2, 2),
        "stride": (1, 1),
        "padding": (2, 2),
    },
    "pointwise": {
        "n": 3,
        "c": 4,
        "o": 6,
        "spatial": (5, 4),
        "kernel": (1, 1),
        "stride": (1, 1),
        "padding": (0, 0),
        "groups": 2,
    },
    "pointwise, stride": {
        "n": 3,
        "c": 4,
        "o": 2,
        "spatial": (5, 4),
        "kernel": (1, 1),
        "stride": (2, 2),
        "padding": (0, 0),
    },
    "depthwise": {
        "n": 25,
        "c": 6,
        "o": 6,
        "spatial": (6, 6),
        "kernel": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
        "groups": 6,
    },
    "a sequence": {
        "n": 50,
        "c": 12,
        "o": 2,
        "spatial": (9,),
        "kernel": (3,),
        "stride": (2,),
        "padding": (1,),
        "dilation": (2,),
    },
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_every_path_in_float32(library, layer, monkeypatch):
    monkeypatch.setattr(channels_last, "HOST_WINDOWS", 2**15)  # several chunks, the last one short
    monkeypatch.setattr(channels_last, "DEVICE_WINDOWS", 2**15)
    case = {"groups": 1, "dilation": (1,) * len(layer["kernel"]), **layer}
    x, w, y, options = make(case, np.float32)
    there = [library.array(a) for a in (x, w, y)]
    with library.forbid_sync():
        forward = convolve(library.xp, there[0], there[1], *options)
        x_bar = convolve_adjoint(library.xp, there[2], there[1], case["spatial"], *options)
        w_bar = convolve_weight(library.xp, there[0], there[2], case["kernel"], *options)
    assert forward.dtype == x_bar.dtype == w_bar.dtype == "float32"
    if library.xp is np:
        assert w_bar.flags.c_contiguous
        assert all(a.flags.c_contiguous or channels_last.last(a).flags.c_contiguous for a in (forward, x_bar))
    forward, x_bar, w_bar = map(library.host, (forward, x_bar, w_bar))
    np.testing.assert_allclose(forward, by_loops(x, w, *options), rtol=1e-4, atol=1e-4)
    # Both gradients of <forward, y>, by moving x and w in a random direction: it is linear in each.
    dx, dw, *_ = make(case, np.float64, seed=1)
    x, w, y = (a.astype(np.float64) for a in (x, w, y))
    np.testing.assert_allclose(
        (by_loops(dx, w, *options) * y).sum(), (dx * x_bar).sum(), rtol=1e-4, atol=1e-2
    )
    np.testing.assert_allclose(
        (by_loops(x, dw, *options) * y).sum(), (dw * w_bar).sum(), rtol=1e-4, atol=1e-2
    )


def test_views_of_any_layout_give_the_same(library):
    case = LAYERS["many small images"] | {"groups": 1, "dilation": (1, 1)}
    x, w, y, options = make(case)
    as_view = [
        library.array(np.ascontiguousarray(a.transpose(2, 3, 0, 1))).transpose(2, 3, 0, 1) for a in (x, w, y)
    ]
    for f, (i, j), extra in (
        (convolve, (0, 1), ()),
        (convolve_adjoint, (2, 1), (case["spatial"],)),
        (convolve_weight, (0, 2), (case["kernel"],)),
    ):
        plain = [library.array(a) for a in (x, w, y)]
        got = library.host(f(library.xp, as_view[i], as_view[j], *extra, *options))
        np.testing.assert_allclose(
            got, library.host(f(library.xp, plain[i], plain[j], *extra, *options)), rtol=1e-12
        )


@quick
@given(settings_of_a_convolution())
def test_fold_is_the_adjoint_of_unfold(library, case):
    x, *_ = make(case)
    kernel, stride, dilation = case["kernel"], case["stride"], case["dilation"]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(r > m for r, m in zip(reach, x.shape[2:], strict=True)):
        with pytest.raises(ValueError, match="covers"):
            unfold(library.xp, library.array(x), kernel, stride, dilation)
        return
    windows = library.host(unfold(library.xp, library.array(x), kernel, stride, dilation))
    assert windows.shape[2:] == (
        *output_shape(x.shape[2:], kernel, stride, (0,) * len(kernel), dilation),
        *kernel,
    )
    other = np.random.default_rng(2).normal(size=windows.shape)
    folded = library.host(fold(library.xp, library.array(other), x.shape[2:], stride, dilation))
    np.testing.assert_allclose((windows * other).sum(), (x * folded).sum(), rtol=1e-9, atol=1e-9)


@quick
@given(settings_of_a_convolution(), st.integers(1, 4))
def test_the_largest_of_every_window_and_what_goes_back_to_it(library, case, levels):
    """Few levels, many ties: equals of a window share what goes back to it, whether windows overlap or not."""
    kernel, stride, dilation = case["kernel"], case["stride"], case["dilation"]
    spatial = tuple(m + 4 for m in case["spatial"])  # so that the kernel fits without padding
    draw = np.random.default_rng(0)
    x = draw.integers(0, levels, (case["n"], case["c"], *spatial)).astype(float)
    windows = unfold(np, x, kernel, stride, dilation)
    axes = tuple(range(-len(kernel), 0))
    y = windows.max(axes)
    np.testing.assert_array_equal(library.host(max_windows(library.xp, library.array(x), kernel, stride, dilation)), y)
    g = draw.normal(size=y.shape)
    hit = windows == np.expand_dims(y, axes)
    expected = fold(np, hit * np.expand_dims(g / hit.sum(axes), axes), spatial, stride, dilation)
    there = [library.array(a) for a in (g, x, y)]
    found = library.host(max_windows_back(library.xp, *there, kernel, stride, dilation))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_largest_of_windows_of_one_element_is_no_view():
    x = np.zeros((1, 1, 3))
    assert not np.shares_memory(max_windows(np, x, (1,), (2,), (1,)), x)


def test_windows_are_a_view_that_cannot_be_written():
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    windows = unfold(np, x, (2, 2), (1, 2), (1, 1))
    assert np.shares_memory(windows, x) and not windows.flags.writeable
    assert windows[0, 0, 1, 1].tolist() == [[6, 7], [10, 11]]


def test_a_kernel_larger_than_the_padded_input_is_refused_and_both_are_named():
    with pytest.raises(
        ValueError, match=r"kernel \(3, 3\) with dilation \(2, 1\) covers \(5, 3\).*input \(4, 9\)"
    ):
        output_shape((2, 9), (3, 3), (1, 1), (1, 0), (2, 1))
    with pytest.raises(ValueError, match=r"stride is \(0, 1\); wanted 2 numbers of at least 1"):
        output_shape((5, 5), (3, 3), (0, 1), (0, 0), (1, 1))
    with pytest.raises(ValueError, match=r"kernel is \(3,\); wanted 2 numbers"):
        output_shape((5, 5), (3,), (1, 1), (0, 0), (1, 1))
    with pytest.raises(ValueError, match="padding is .* wanted 1 numbers of at least 0"):
        output_shape((5,), (3,), (1,), (-1,), (1,))


def test_wrong_channels_and_outputs_are_refused():
    x, w, one = np.ones((2, 4, 5, 5)), np.ones((6, 3, 3, 3)), (1, 1)
    with pytest.raises(ValueError, match=r"w has shape \(6, 3, 3, 3\) and x has 4 channels in 1 groups"):
        convolve(np, x, w, one, (0, 0), one, 1)
    with pytest.raises(ValueError, match="in 3 groups"):
        convolve(np, x, np.ones((6, 1, 3, 3)), one, (0, 0), one, 3)
    with pytest.raises(ValueError, match=r"y has shape \(2, 6, 4, 4\); wanted \(n, 6, 3, 3\)"):
        convolve_adjoint(np, np.ones((2, 6, 4, 4)), w, (5, 5), one, (0, 0), one, 1)
    with pytest.raises(ValueError, match=r"y has shape"):
        convolve_weight(np, x, np.ones((2, 6, 9, 3)), (3, 3), one, (0, 0), one, 1)


def test_the_same_call_gives_the_same_bits():
    case = LAYERS["many small images"] | {"groups": 1, "dilation": (1, 1)}
    _, w, y, options = make(case, np.float32)
    first = convolve_adjoint(np, y, w, case["spatial"], *options)
    np.testing.assert_array_equal(first, convolve_adjoint(np, y, w, case["spatial"], *options))


@quick
@given(settings_of_a_convolution())
def test_both_ways_to_the_adjoint_agree(library, case):
    """Phases put side by side, and windows added up."""
    _, w, y, (stride, padding, dilation, groups) = make({**case, "dilation": (1,) * len(case["stride"])})
    results = []
    for phases in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channels_last, "phases_pay", lambda *_, answer=phases: answer)
            there = library.array(y), library.array(w)
            x_bar = convolve_adjoint(library.xp, *there, case["spatial"], stride, padding, dilation, groups)
        results.append(library.host(x_bar))
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("g", [2, 3, 4])
def test_neighbours_together_and_its_adjoint(library, g):
    """Widened weights make g neighbouring outputs, and `narrowed` is the adjoint of widening."""
    draws = np.random.default_rng(0)
    x, w, wide = (draws.normal(size=s) for s in ((2, 3, 5, 12), (4, 3, 2, 3), (4 * g, 3, 2, 2 + g)))
    one, none = (1, 1), (0, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels_last, "neighbours", lambda *_: 1)
        apart = convolve(np, x[..., : 2 + 2 * g], w, one, none, one, 1)
        joined = convolve(np, x[..., : 2 + 2 * g], channels_last.widened(np, w, g), (1, g), none, one, 1)
    joined = channels_last.last(joined).reshape(2, 4, 2 * g, 4)
    np.testing.assert_allclose(joined, channels_last.last(apart), atol=1e-12)
    there = channels_last.widened(library.xp, library.array(w), g), channels_last.narrowed(library.array(wide), g)
    np.testing.assert_allclose((library.host(there[0]) * wide).sum(), (w * library.host(there[1])).sum(), rtol=1e-12)

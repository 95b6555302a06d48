"""Fused = composed: every kernel of `tinygen.nn` gives what its definition in primitives gives, values and gradients.

Order 2 goes through the definition, so what must agree there is that the kernel hands over to it. Shapes are drawn; a
planted error is caught.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.autograd.primitive import REGISTRY
from tinygen.nn import losses, norm, recurrent  # noqa: F401 (their rows enter the table)

few = st.integers(1, 4)


def batch_norm_inputs(draw, number):
    n, c, axes = draw(st.integers(2, 4)), draw(few), draw(st.integers(0, 2))
    x = number((n, c, *[draw(few) for _ in range(axes)]))
    x = 3 * x + 5 * number((1, c) + (1,) * axes)  # channels have means and scales of their own
    places = (0, *range(2, x.ndim))
    arrays = (np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).transpose(0, x.ndim - 1, *range(1, x.ndim - 1))
              if draw(st.booleans()) else x, number((c,)), number((c,)))  # fmt: skip
    return arrays, {"moments": (x.mean(places), x.var(places)), "eps": 1e-2}


def lstm_inputs(draw, number):
    t, n, h = draw(few), draw(few), draw(few)
    shapes = (t, n, 4 * h), (n, h), (n, h), (4 * h, h), (4 * h,)
    return tuple(map(number, shapes)), {"back": draw(st.booleans())}


def gru_inputs(draw, number):
    t, n, h = draw(few), draw(few), draw(few)
    return tuple(map(number, ((t, n, 3 * h), (n, h), (3 * h, h), (3 * h,)))), {"back": draw(st.booleans())}


def bce_inputs(draw, number):
    shape = (draw(few), draw(few))
    return (20 * number(shape), np.abs(number(shape))), {}


def soft_inputs(draw, number):
    shape = (draw(few), draw(st.integers(2, 4)))
    return (5 * number(shape), np.abs(number(shape))), {}


def hard_inputs(draw, number):
    n, k = draw(few), draw(st.integers(2, 4))
    return (5 * number((n, k)), np.array([draw(st.integers(0, k - 1)) for _ in range(n)])), {}


INPUTS = {
    "batch_normalised": batch_norm_inputs, "lstm": lstm_inputs, "gru": gru_inputs, "bce_with_logits": bce_inputs,
    "soft_cross_entropy": soft_inputs, "softmax_cross_entropy": hard_inputs,
}  # fmt: skip
ELSEWHERE = {"max_windows"}  # tests/backend/test_convolution.py


def on(device, value):
    """Arrays of a structure on a device."""
    if isinstance(value, tuple):
        return tuple(on(device, v) for v in value)
    return tg.tensor(value, device=device)._data if isinstance(value, np.ndarray) else value


def both_ways(row, arrays, options, device, dtype):
    """Values and first gradients, by the kernel and by its definition, for one random cotangent."""
    results = []
    for f in (lambda *a: row.apply(a, tuple(options[o] for o in row.options)), lambda *a: row.composed(*a, **options)):
        leaves = [tg.tensor(a.astype(dtype), device=device, requires_grad=True) if a.dtype.kind == "f"
                  else tg.tensor(a, device=device)._data for a in arrays]  # fmt: skip
        out = f(*leaves)
        outs, rng = out if isinstance(out, tuple) else (out,), np.random.default_rng(1)
        weights = [tg.tensor(rng.normal(size=o.shape).astype(dtype), device=device) for o in outs]
        wanted = [a for a in leaves if isinstance(a, tg.Tensor)]
        grads = tg.grad(sum(tg.sum(o * w) for o, w in zip(outs, weights, strict=True)), wanted)
        results.append([a.numpy() for a in (*outs, *grads)])
    return results


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_kernel_is_its_definition(name, dtype, device):
    """To rounding, at order 1, on both libraries and in both layouts of images."""

    @given(st.data())
    def run(data):
        numbers = np.random.default_rng(data.draw(st.integers(0, 2**16)))
        arrays, options = INPUTS[name](data.draw, lambda shape: numbers.normal(size=shape))
        options = {k: on(device, tuple(v.astype(dtype) for v in x) if isinstance(x, tuple) else x)
                   for k, x in options.items()}  # fmt: skip
        fused, composed = both_ways(REGISTRY[name], arrays, options, device, dtype)
        close = {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 2e-4, "atol": 2e-4}
        for a, b in zip(fused, composed, strict=True):
            assert a.dtype == b.dtype == dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b, **close)

    run()


@pytest.mark.parametrize("name", INPUTS)
def test_a_kernel_hands_over_to_its_definition_at_order_two(name, device):
    """The gradient checks of orders 1 and 2."""
    numbers = np.random.default_rng(0)
    draw = iter([2, 3, 1, 2, 1, 1, 1, 1]).__next__
    arrays, options = INPUTS[name](lambda _: draw(), lambda shape: 0.5 * numbers.normal(size=shape))
    options = {k: on(device, v) for k, v in options.items()}
    if name == "batch_normalised":  # differences need the statistics of the moved point
        from tinygen.nn import functional as F

        tg.check_grads(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-2),
                       [tg.tensor(a, device=device) for a in arrays], order=2)  # fmt: skip
        return
    row = REGISTRY[name]
    tg.check_grads(lambda *a: row.apply(a, tuple(options[o] for o in row.options)),
                   [tg.tensor(a, device=device) for a in arrays], order=2)  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_a_kernel_that_is_wrong_by_a_thousandth_is_caught(name, monkeypatch):
    """What the test above is for."""
    row = REGISTRY[name]
    true = row.forward

    def wrong(xp, *arrays):
        out = true(xp, *arrays)
        kept = out[0] if row.saves else out
        kept = tuple(1.002 * o for o in kept) if isinstance(kept, tuple) else 1.002 * kept
        return (kept, out[1]) if row.saves else kept

    monkeypatch.setattr(row, "forward", wrong)
    with pytest.raises(AssertionError):
        test_a_kernel_is_its_definition(name, "float64", "cpu")


def test_every_kernel_is_compared():
    """No row with a definition escapes."""
    ours = {n for n, row in REGISTRY.items() if row.composed is not None}
    assert ours - ELSEWHERE == set(INPUTS)

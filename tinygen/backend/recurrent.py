r"""LSTM and GRU over a whole sequence, and the way back: the equations are in `nn/recurrent.py`.

What a step adds to the previous ones is one product with the state's weights and some elementwise work on arrays that
fit the cache. What can wait is done for all steps at once: on the way back, the gradient by the weights is one product
after the loop.

A sigmoid is a hyperbolic tangent in other units, $\sigma(z) = \tfrac12 \tanh \tfrac z2 + \tfrac12$, so that one call
makes all gates of a step.

Notation
--------
`a`    : what the inputs contribute to the gates, $W_{ih} x_t + b_{ih}$, (t, n, gates · h)
`w`, `b` : the state's weights (gates · h, h) and bias (gates · h,)
`order` : the steps in the order in which they are taken, a range
"""

from __future__ import annotations

from .linear import gemm, total
from .recording import whole


@whole
def lstm(xp, a, h, c, w, b, order):
    """Run an LSTM: from (t, n, 4h), states (n, h) to all $h_t$ (t, n, h), all $c_t$, and the gates (t, n, 4h)."""
    (steps, n), m = a.shape[:2], h.shape[1]
    hs, cs, gates = xp.empty((steps, n, m), a.dtype), xp.empty((steps, n, m), a.dtype), xp.empty_like(a)
    halves = xp.ascontiguousarray(w[: 2 * m].T), xp.ascontiguousarray(w[2 * m :].T)  # quicker than one wide product
    is_tanh = xp.repeat(xp.asarray([0, 0, 1, 0], a.dtype), m)
    scale, shift, room = (1 + is_tanh) / 2, (1 - is_tanh) / 2, xp.empty((n, m), a.dtype)
    for t in order:
        z = gates[t]
        gemm(h, halves[0], out=z[:, : 2 * m])
        gemm(h, halves[1], out=z[:, 2 * m :])
        z += a[t]
        z += b
        z *= scale
        xp.tanh(z, out=z)
        z *= scale
        z += shift
        i, f, g, o = (z[:, k * m : (k + 1) * m] for k in range(4))
        c = xp.multiply(f, c, out=cs[t])
        c += xp.multiply(i, g, out=room)
        h = xp.tanh(c, out=hs[t])
        h *= o
    return hs, cs, gates


@whole
def lstm_back(xp, g_h, g_c, h, c, w, hs, cs, gates, order):
    """Carry the gradients by all $h_t$ (t, n, h) and by the last $c_t$ (n, h, or None) back through `lstm`.

    Returns
    -------
    the gradients by a, h, c, w and b
    """
    n, m = h.shape
    a_bar, room, tanh_c = xp.empty_like(gates), xp.empty_like(h), xp.empty_like(h)
    h_bar, c_bar = xp.zeros_like(h), xp.zeros_like(c) if g_c is None else g_c.copy()
    for k, t in enumerate(reversed(order)):
        c_before = cs[order[-k - 2]] if k + 1 < len(order) else c
        i, f, g, o = (gates[t, :, j * m : (j + 1) * m] for j in range(4))
        z = xp.subtract(1, gates[t], out=a_bar[t])  # becomes the gradient by what is under the sigmoids and the tanh
        z *= gates[t]  # the slope of a sigmoid
        by_i, by_f, by_g, by_o = (z[:, j * m : (j + 1) * m] for j in range(4))
        xp.subtract(1, xp.square(g, out=room), out=by_g)  # that of the tanh
        xp.tanh(cs[t], out=tanh_c)
        h_bar += g_h[t]
        by_o *= tanh_c
        by_o *= h_bar
        xp.square(tanh_c, out=room)
        xp.subtract(1, room, out=room)
        room *= o
        room *= h_bar
        c_bar += room
        for by, other in ((by_i, g), (by_f, c_before), (by_g, i)):
            by *= other
            by *= c_bar
        c_bar *= f
        gemm(z, w, out=h_bar)
    return a_bar, h_bar, c_bar, _by_weights(xp, a_bar, h, hs, order), total(xp, a_bar, (0, 1))


@whole
def gru(xp, a, h, w, b, order):
    """Run a GRU: from (t, n, 3h) and a state (n, h) to all $h_t$ (t, n, h), the gates r, z, n (t, n, 3h), and what r
    multiplies (t, n, h)."""
    (steps, n), m = a.shape[:2], h.shape[1]
    gates, inner = a.copy(), xp.empty((steps, n, m), a.dtype)
    hs, product, w_T = xp.empty((steps, n, m), a.dtype), xp.empty_like(a[0]), xp.ascontiguousarray(w.T)
    for t in order:
        gate = gates[t]
        gemm(h, w_T, out=product)
        product_b = xp.add(product, b, out=product)
        r_and_z, candidate = gate[:, : 2 * m], gate[:, 2 * m :]
        r_and_z += product_b[:, : 2 * m]
        r_and_z *= 0.5
        xp.tanh(r_and_z, out=r_and_z)
        r_and_z *= 0.5
        r_and_z += 0.5
        inner[t] = product_b[:, 2 * m :]
        candidate += r_and_z[:, :m] * inner[t]
        xp.tanh(candidate, out=candidate)
        h_new = xp.subtract(h, candidate, out=hs[t])  # (1 - z) n + z h = n + z (h - n)
        h_new *= r_and_z[:, m:]
        h_new += candidate
        h = h_new
    return hs, gates, inner


@whole
def gru_back(xp, g_h, h, w, hs, gates, inner, order):
    """Carry the gradient by all $h_t$ back through `gru`: the gradients by a, h, w and b."""
    m = h.shape[1]
    r, z, candidate = (gates[..., k * m : (k + 1) * m] for k in range(3))
    a_bar = gates * (1 - gates)
    xp.subtract(1, xp.square(candidate), out=a_bar[..., 2 * m :])
    by_state = xp.empty_like(a_bar)  # the gradient by W_hh h + b_hh, where n's part differs from a's
    h_bar = xp.zeros_like(h)
    before = dict(zip(order, [None, *order], strict=False))
    for t in reversed(order):
        h_bar += g_h[t]
        h_before = h if before[t] is None else hs[before[t]]
        by_r, by_z, by_n = (a_bar[t][:, k * m : (k + 1) * m] for k in range(3))
        by_z *= h_before - candidate[t]
        by_z *= h_bar
        by_n *= 1 - z[t]
        by_n *= h_bar
        by_r *= by_n
        by_r *= inner[t]
        by_state[t, :, : 2 * m] = a_bar[t, :, : 2 * m]
        xp.multiply(by_n, r[t], out=by_state[t, :, 2 * m :])
        h_bar *= z[t]
        h_bar += gemm(by_state[t], w)
    return a_bar, h_bar, _by_weights(xp, by_state, h, hs, order), total(xp, by_state, (0, 1))


def _by_weights(xp, by_product, h, hs, order):
    """The gradient by the state's weights: the sum over steps of (gates · h, n) times (n, h)."""
    states = xp.empty_like(hs)  # the state that each step began with
    if order.step > 0:
        states[1:], states[0] = hs[:-1], h
    else:
        states[:-1], states[-1] = hs[1:], h
    rows = by_product.reshape(-1, by_product.shape[-1])
    return gemm(rows, states.reshape(-1, hs.shape[-1]), transpose_a=True)

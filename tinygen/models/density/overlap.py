r"""The overlap of two radial kernels in several dimensions, by quadrature.

Cross-validation needs $(K * K)(u) = \int K(v)\, K(u - v)\, dv$. If $K(v) = c_d\, \kappa(\lVert v \rVert)$ is 0 outside
the unit ball, the product lives in the lens that two balls at distance $s = \lVert u \rVert$ share. Measure along the
line of their centres from the middle, $b$, and at right angles to it, $\rho$. The lens is alike on both sides, so

$$ (K * K)(s) = 2 c_d^2\, S_{d-1} \int_0^{1 - s/2} \int_0^{\sqrt{1 - (b + s/2)^2}}
   \kappa\left( \sqrt{\rho^2 + (b + \tfrac s2)^2} \right) \kappa\left( \sqrt{\rho^2 + (b - \tfrac s2)^2} \right)
   \rho^{d-2}\, d\rho\, db, \tag{1} $$

with $S_{d-1} = 2 \pi^{(d-1)/2} / \Gamma(\tfrac{d-1}2)$, what the unit sphere of $\mathbb R^{d-1}$ measures. The tip of
a triangular kernel, at $b = s/2$, is made a border; near $b = 1 - s/2$, where the lens ends like a root, $b$ runs
quadratically.

Notation
--------
$s$ : `s`, from 0 to 2; the table runs evenly in $\sqrt{1 - s/2}$, in which $K * K$ is smooth
"""

from __future__ import annotations

import functools
import math

import numpy as np

NODES, TABLE = 32, 4097


def lens_integral(s, kernel: str, d: int) -> np.ndarray:
    r"""(1) without $c_d^2$; (m,) to (m,)."""
    z, weight = (a / 2 for a in np.polynomial.legendre.leggauss(NODES))
    z = z + 0.5  # in (0, 1)
    half = np.asarray(s, float)[:, None, None] / 2  # (m, 1, 1): b along the second axis, rho along the third
    end, total = 1 - half, np.zeros(len(half))
    tip = np.minimum(half, end)
    for low, high in ((np.zeros_like(tip), tip), (tip, end)):
        b = high - (high - low) * z[:, None] ** 2
        db = 2 * (high - low) * z[:, None] * weight[:, None]
        rim = np.sqrt(np.maximum(1 - (b + half) ** 2, 0))
        rho = rim * z
        values = _profile(rho**2 + (b + half) ** 2, kernel) * _profile(rho**2 + (b - half) ** 2, kernel)
        total += (values * rho ** (d - 2) * db * rim * weight).sum((1, 2))
    sphere = 2 * math.pi ** ((d - 1) / 2) / math.gamma((d - 1) / 2)
    return 2 * sphere * total


@functools.cache
def radial_self_convolution(kernel: str, d: int) -> tuple[np.ndarray, np.ndarray]:
    r"""$\sqrt{1 - s/2}$ from 0 to 1, and $(K * K)(s)$ there: two arrays, to interpolate to 1e-8 d of its top."""
    v = np.linspace(0, 1, TABLE)
    s = 2 * (1 - v**2)
    values = np.concatenate([lens_integral(part, kernel, d) for part in np.array_split(s, 64)])
    # the constant by the same rule: K has the integral 1, so that of kappa is S_d times that of kappa(r) r^(d-1)
    r, weight = np.polynomial.legendre.leggauss(NODES)
    r, weight = (r + 1) / 2, weight / 2
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    integral = sphere * (_profile(r**2, kernel) * r ** (d - 1) * weight).sum()
    return v, values / integral**2


def _profile(squares, kernel: str):
    r"""$\kappa$ inside the ball."""
    if kernel == "rectangular":
        return np.ones_like(squares)
    return 1 - (np.sqrt(squares) if kernel == "triangular" else squares)

r"""How wrong a kernel estimate is: bias, variance, and the rate $n^{-4/5}$ (S4 eqs. 37–54).

The estimate $\hat f_{n,h}(x)$ of `kernel` depends on the examples, so it is random. Its error has two parts that pull
in opposite directions: a wide kernel blurs (bias), a narrow one trembles (variance).

S4's theorem assumes, besides the symmetry that survived in print, $\int K = 1$, finite $\int u^2 K$ and
$\int K^2$, and a twice differentiable $f$ with $\lVert f \rVert_\infty$ and $\lVert f'' \rVert_\infty$ finite.

**Bias.** All examples have one law, so the mean is an integral: $f$, blurred by the kernel (eqs. 37–39),

$$ \mathbb E \hat f_{n,h}(x) = \int K(u)\, f(x + uh)\, du. \tag{1} $$

Expand $f$ to the second order (eqs. 40–41, where $dx$ should read $du$). The first term is $f(x)$, since $\int K = 1$;
the second is 0, since $K$ is symmetric; what is left is (eqs. 42–44)

$$ \left| \mathbb E \hat f_{n,h}(x) - f(x) \right| \le \frac{h^2}{2} \lVert f'' \rVert_\infty \int u^2 K(u)\, du
   = C_1 h^2. \tag{2} $$

**Variance.** A sum of independent terms (eqs. 45–50):

$$ \mathbb V \hat f_{n,h}(x) = \frac1n \left[ \frac1h \int K(u)^2 f(x + uh)\, du
   - \left( \mathbb E \hat f_{n,h}(x) \right)^2 \right] \tag{3} $$
$$ \le \frac{1}{nh} \lVert f \rVert_\infty \int K(u)^2 du = \frac{C_2}{nh}. \tag{4} $$

**Together** (eqs. 51–52): at every point,

$$ \mathbb E \left( \hat f_{n,h}(x) - f(x) \right)^2 \le C_1^2 h^4 + \frac{C_2}{nh}, \tag{5} $$

which is least, and then proportional to $n^{-4/5}$, at (eqs. 53–54)

$$ h_{\mathrm{opt}} = \left( \frac{C_2}{4 C_1^2} \right)^{1/5} n^{-1/5}, \qquad
   C_1^2 h_{\mathrm{opt}}^4 + \frac{C_2}{n h_{\mathrm{opt}}} = 5 \left( \frac{C_1 C_2^2}{16} \right)^{2/5} n^{-4/5}.
   \tag{6} $$

**What is misprinted.** S4 calls (5) a bound of the MISE. But the mean *integrated* squared error is the integral of
the left-hand side over $x$, and the right-hand side does not depend on $x$: its integral over the line is infinite.
(5) is a bound at a point, the same for all points. (Eq. 51 also lacks a $du$.) For the integral, keep $f''$ and $f$
where they stand instead of bounding them:

$$ \mathrm{MISE}(h) = \int \left( \mathbb E \hat f - f \right)^2 + \mathbb V \hat f \; dx
   = \frac{h^4 \mu_2^2}{4} \int f''(x)^2 dx + \frac{R}{nh} + o\left( h^4 + \frac{1}{nh} \right), \tag{7} $$

with $\mu_2 = \int u^2 K$ and $R = \int K^2$, for $f''$ whose square has an integral. Now $C_1^2$ is
$\mu_2^2 \int f''^2 / 4$, $C_2$ is $R$, and (6) holds as it stands. So the rate is $n^{-4/5}$ indeed, faster than the
$n^{-2/3}$ of histograms (S4 eq. 32).

Notation
--------
$f, \mathbb E \hat f, \mathbb V \hat f$ : `f`, a function of an array; `expectation`, `variance`
$\lVert f \rVert_\infty, \lVert f'' \rVert_\infty$ : `sup_f`, `sup_curvature`
$\int f''^2$ : `curvature`
$C_1, C_2$ : `c1`, `c2`
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinygen.models.density.kernel import kernel_values, roughness, second_moment

Density = Callable[[np.ndarray], np.ndarray]
REACH = 9.0  # a Gaussian kernel is 1e-18 there


def expectation(f: Density, x, h: float, kernel: str) -> np.ndarray:
    r"""(1): $\mathbb E \hat f_{n,h}(x)$, by quadrature; (m,) to (m,)."""
    u, weight = _nodes(kernel)
    return f(np.asarray(x, float)[:, None] + u * h) @ (weight * kernel_values(u, kernel))


def variance(f: Density, x, h: float, n: int, kernel: str) -> np.ndarray:
    r"""(3): $\mathbb V \hat f_{n,h}(x)$, by quadrature; (m,) to (m,)."""
    u, weight = _nodes(kernel)
    second = f(np.asarray(x, float)[:, None] + u * h) @ (weight * kernel_values(u, kernel) ** 2)
    return (second / h - expectation(f, x, h, kernel) ** 2) / n


def bias_constant(sup_curvature: float, kernel: str) -> float:
    r"""(2): $C_1$ of the bound at a point."""
    return sup_curvature * second_moment(kernel, 1) / 2


def variance_constant(sup_f: float, kernel: str) -> float:
    r"""(4): $C_2$ of the bound at a point."""
    return sup_f * roughness(kernel, 1)


def bound(h, n, c1: float, c2: float):
    r"""(5): $C_1^2 h^4 + C_2 / nh$."""
    return c1**2 * h**4 + c2 / (n * h)


def optimum(n, c1: float, c2: float) -> tuple:
    r"""(6): $h_{\mathrm{opt}}$, and (5) there."""
    return (c2 / (4 * c1**2 * n)) ** 0.2, 5 * (c1 * c2**2 / 16) ** 0.4 * n**-0.8


def mise(f: Density, h: float, n: int, kernel: str, grid: np.ndarray) -> float:
    r"""(7), left: integrated over an even grid that holds all of $f$."""
    error = (expectation(f, grid, h, kernel) - f(grid)) ** 2 + variance(f, grid, h, n, kernel)
    return float(error.sum() * (grid[1] - grid[0]))


def mise_constants(curvature: float, kernel: str) -> tuple[float, float]:
    r"""(7), right: what takes the places of $C_1$ and $C_2$ in (5) and (6)."""
    return second_moment(kernel, 1) * math.sqrt(curvature) / 2, roughness(kernel, 1)


def _nodes(kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """Where and how much: Gauss's rule on both sides of the tip."""
    u, weight = np.polynomial.legendre.leggauss(64)
    reach = REACH if kernel == "gaussian" else 1.0
    u, weight = (u + 1) / 2 * reach, weight / 2 * reach
    return np.concatenate([-u[::-1], u]), np.concatenate([weight[::-1], weight])

r"""How wrong a histogram is: bias, variance, and the rate $n^{-2/3}$ (S4 eqs. 14–32).

S4's theorem is about a density $f$ on $[0, 1]$, twice differentiable, and the grid $I_j = ((j-1)h, jh]$ with
$j = 1, \dots, K$ and $h = 1/K$ (its print has a parenthesis too many). The mean integrated squared error of the
estimate $\hat f$ of `histogram` is the integral of bias squared and variance (eqs. 15–18):

$$ \mathrm{MISE} = \mathbb E \int (\hat f - f)^2 dx
   = \sum_{j=1}^{K} \int_{I_j} \left( \mathbb E \hat f(x) - f(x) \right)^2 + \mathbb V \hat f(x) \; dx. \tag{1} $$

The count of a bin, $n h \hat f$, is binomial with $p_j = \int_{I_j} f$. Hence (eq. 19)

$$ \mathbb E \hat f(x) = \frac{p_j}{h}, \qquad \mathbb V \hat f(x) = \frac{p_j (1 - p_j)}{n h^2}. \tag{2} $$

(Eq. 20 prints $nh$ below the variance; 21 is right again.) Put into (1), with $\int_{I_j} f = p_j$ (eqs. 20–22):

$$ \mathrm{MISE} = \int_0^1 f^2 + \frac{1}{nh} - \frac{n+1}{nh} \sum_{j=1}^{K} p_j^2. \tag{3} $$

This is exact. What does it say of small $h$? In each bin, $f$ is nearly a line, with the slope $f'(a_j)$ at its left
border (eqs. 23–29):

$$ \int_{I_j} f^2 - \frac{p_j^2}{h} = \int_{I_j} \left( f - \frac{p_j}{h} \right)^2
   = \frac{h^3 f'(a_j)^2}{12} + O(h^4) = \frac{h^2}{12} \int_{I_j} f'^2 + O(h^4). \tag{4} $$

Take the sum over all bins, and what is left of (3) is $\frac{1}{nh} - \frac1n \sum p_j^2 / h$, in which the last sum
tends to $\int f^2$ (eqs. 30–31):

$$ \mathrm{MISE} = \frac{h^2}{12} \int_0^1 f'^2 + \frac{1}{nh} - \frac1n \int_0^1 f^2 + O(h^3) + O(h^2/n). \tag{5} $$

S4 (eq. 14) hides the third term in $O(1/n)$. It does not depend on $h$, but is not small: for a thousand examples of
the density $30 x^2 (1 - x)^2$, it is a fourteenth of the whole. (It is why a single bin has no variance: $h = 1$ and
$f = 1$ give $\frac1n - \frac1n$.)

**The best width.** A wide bin blurs (the first term, bias), a narrow one trembles (the second, variance). The sum is
least where its derivative vanishes, if $\int f'^2 > 0$ (eq. 32):

$$ h_{\mathrm{opt}} = \left( \frac n6 \int_0^1 f'^2 \right)^{-1/3}, \qquad
   \mathrm{MISE}(h_{\mathrm{opt}}) = \frac32 \left( \frac16 \int_0^1 f'^2 \right)^{1/3} n^{-2/3} - \frac1n \int_0^1 f^2.
   \tag{6} $$

If $f$ is flat there is no bias, and the best histogram has one bin. The rate $n^{-2/3}$ is slower than the $n^{-1}$ of
a parametric model that is right, and than the $n^{-4/5}$ of kernels (`kernel_error`), which make use of the second
derivative.

**In $d$ dimensions** the bias is still of the order $h$, but there are $h^{-d}$ boxes to share the examples:

$$ \mathrm{MISE} \approx \frac{h^2}{12} \int \lVert \nabla f \rVert^2 + \frac{1}{n h^d}, \qquad
   h_{\mathrm{opt}} = \left( \frac{6d}{n \int \lVert \nabla f \rVert^2} \right)^{1/(d+2)}, \tag{7} $$

and the error falls as $n^{-2/(d+2)}$: to halve it takes $2^{3/2} \approx 3$ times the examples on the line, and 64
times in ten dimensions.

Notation
--------
$f$ : `f`, a function of an array; on $[0, 1]$, and 0 elsewhere
$p_j$ : `p`, (K,)
$\int f^2, \int f'^2$ : `square`, `slope`
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Density = Callable[[np.ndarray], np.ndarray]


def quadrature(f: Density, K: int) -> np.ndarray:
    r"""$\int_{I_j} f$ of each of K bins of $[0, 1]$, by Gauss's rule; (K,)."""
    u, weight = np.polynomial.legendre.leggauss(16)
    return f((np.arange(K)[:, None] + (u + 1) / 2) / K) @ weight / (2 * K)


def integrated_error(p_hat, f: Density) -> float:
    r"""(1), inside the mean: $\int (\hat f - f)^2$ of one histogram with shares $\hat p_j$ in its bins; (K,)."""
    K = len(p_hat)
    at = np.asarray(p_hat)[:, None] * K  # the height of each bin
    return float(quadrature(lambda x: (at - f(x)) ** 2, K).sum())


def mean_and_variance(p, n: int) -> tuple[np.ndarray, np.ndarray]:
    r"""(2): $\mathbb E \hat f$ and $\mathbb V \hat f$ in each bin; (K,) to twice (K,)."""
    K = len(p)  # 1 / h
    return p * K, p * (1 - p) * K**2 / n


def mise(f: Density, n: int, K: int) -> float:
    r"""(3), exactly."""
    p = quadrature(f, K)
    square = quadrature(lambda x: f(x) ** 2, K).sum()
    return float(square + K / n - (n + 1) * K / n * (p**2).sum())


def squared_bias(f: Density, K: int) -> np.ndarray:
    r"""(4), left: $\int_{I_j} f^2 - p_j^2 / h$ of each bin; (K,)."""
    return quadrature(lambda x: f(x) ** 2, K) - quadrature(f, K) ** 2 * K


def approximate_mise(h, n, slope: float, square: float):
    r"""(5), without what is of higher order."""
    return h**2 / 12 * slope + 1 / (n * h) - square / n


def optimum(n, slope: float, square: float) -> tuple:
    r"""(6): $h_{\mathrm{opt}}$, and (5) there."""
    return (n / 6 * slope) ** (-1 / 3), 1.5 * (slope / 6) ** (1 / 3) * n ** (-2 / 3) - square / n


def optimal_width(n, d: int, slope: float):
    r"""(7), right: $h_{\mathrm{opt}}$ in d dimensions."""
    return (6 * d / (n * slope)) ** (1 / (d + 2))

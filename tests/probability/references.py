"""The laws under test, each beside SciPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats as st

from tinygen import probability as P


class Row(NamedTuple):
    """A family, parameters of two laws of it, and what SciPy says."""

    make: Callable  # parameters -> law
    parameters: tuple  # float64 arrays that broadcast to batch_shape (2, 3), or (2,) and an event
    oracle: Callable  # parameters of one law -> a frozen SciPy law
    values: Any  # values inside the support, of shape (4, 2, 3)
    interval: tuple | None = None  # where a continuous law on the line lives


_a, _b = np.array([[0.4], [-1.3]]), np.array([0.3, 1.1, 2.5])
_line = np.linspace(-3.1, 4.2, 24).reshape(4, 2, 3)
_half = np.linspace(0.05, 6.3, 24).reshape(4, 2, 3)
_unit = np.linspace(0.02, 0.97, 24).reshape(4, 2, 3)
_counts = np.arange(24).reshape(4, 2, 3) % 9
_inf = np.inf

#: laws on the line and on the integers, with parameters of shapes (2, 1) and (3,)
LINE = {
    "Normal": Row(P.Normal, (_a, _b), lambda a, b: st.norm(a, b), _line, (-_inf, _inf)),
    "Laplace": Row(P.Laplace, (_a, _b), lambda a, b: st.laplace(a, b), _line, (-_inf, _inf)),
    "Gumbel": Row(P.Gumbel, (_a, _b), lambda a, b: st.gumbel_r(a, b), _line, (-_inf, _inf)),
    "Uniform": Row(lambda a, b: P.Uniform(a - 4, a + 4 + b), (_a, _b), lambda a, b: st.uniform(a - 4, 8 + b),
                   _unit, (-6, 8)),
    "Exponential": Row(lambda a, b: P.Exponential(a + 2 + b), (_a, _b), lambda a, b: st.expon(scale=1 / (a + 2 + b)),
                       _half, (0, _inf)),
    "Gamma": Row(lambda a, b: P.Gamma(a + 2, b), (_a, _b), lambda a, b: st.gamma(a + 2, scale=1 / b), _half,
                 (0, _inf)),
    "Beta": Row(lambda a, b: P.Beta(a + 2, b), (_a, _b), lambda a, b: st.beta(a + 2, b), _unit, (0, 1)),
    "Poisson": Row(lambda a, b: P.Poisson((a + 2) * b), (_a, _b), lambda a, b: st.poisson((a + 2) * b), _counts),
    "Bernoulli": Row(lambda a, b: P.Bernoulli(logits=a * b), (_a, _b),
                     lambda a, b: st.bernoulli(scipy.special.expit(a * b)), _counts % 2),
    "Bernoulli by probs": Row(lambda a, b: P.Bernoulli(probs=(a + 2) * b / 10), (_a, _b),
                              lambda a, b: st.bernoulli((a + 2) * b / 10), _counts % 2),
}  # fmt: skip
CONTINUOUS = sorted(n for n, row in LINE.items() if row.interval)
DISCRETE = sorted(n for n, row in LINE.items() if not row.interval)
REPARAMETERISED = sorted(n for n, row in LINE.items() if row.make(*row.parameters).has_rsample)

_mean = np.array([[0.3, -0.2, 1.0], [1.0, 2.0, 0.0]])
_factor = np.tril(np.arange(1.0, 19).reshape(2, 3, 3) / 7) + np.eye(3)
_weights = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
_scales = np.array([[0.5, 1.0, 2.0], [1.0, 0.3, 0.7]])
_vectors = np.linspace(-2, 3, 24).reshape(4, 2, 3) * np.array([1, -1, 0.5])
_simplex = scipy.special.softmax(_vectors, -1)
_covariance = _factor @ _factor.swapaxes(-1, -2)

#: laws on vectors: two laws each, values (4, 2, 3)
VECTORS = {
    "DiagonalNormal": Row(P.DiagonalNormal, (_mean, _scales),
                          lambda m, s: st.multivariate_normal(m, np.diag(s**2)), _vectors),
    "MultivariateNormal": Row(lambda m, L: P.MultivariateNormal(m, scale_tril=L), (_mean, _factor),
                              lambda m, L: st.multivariate_normal(m, L @ L.T), _vectors),
    "MultivariateNormal by covariance": Row(lambda m, S: P.MultivariateNormal(m, covariance=S), (_mean, _covariance),
                                            lambda m, S: st.multivariate_normal(m, S), _vectors),
    "Dirichlet": Row(lambda a: P.Dirichlet(5 * a), (_weights,), lambda a: st.dirichlet(5 * a), _simplex),
    "OneHotCategorical": Row(lambda p: P.OneHotCategorical(probs=p), (_weights,), lambda p: st.multinomial(1, p),
                             np.eye(3)[np.arange(8).reshape(4, 2) % 3]),
}  # fmt: skip
EVERY = {**LINE, **VECTORS}


def log_density(row: Row, x: np.ndarray) -> np.ndarray:
    """SciPy's log density of each law of a row at x."""
    if row in LINE.values():
        law = row.oracle(*row.parameters)
        return law.logpdf(x) if row.interval else law.logpmf(x)
    out = np.empty(x.shape[:2])
    for j in range(2):
        law = row.oracle(*[p[j] for p in row.parameters])
        for i in range(x.shape[0]):
            v = x[i, j]
            out[i, j] = law.logpmf(v) if hasattr(law, "logpmf") else law.logpdf(v / v.sum() if row is DIRICHLET else v)
    return out


DIRICHLET = VECTORS["Dirichlet"]

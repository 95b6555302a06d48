"""Points for the laws of `tinygen.probability`: densities, entropies, draws with the noise held fixed, divergences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.special

import tinygen as tg
from tinygen import probability as P
from tinygen.cases import Case
from tinygen.probability import divergences as D
from tinygen.probability.discrete import softmax
from tinygen.probability.gamma_path import log_gamma_draw, shape_derivative
from tinygen.probability.kl import PAIRS


def factor(a):
    """A lower triangle with a positive diagonal, from any square matrix."""
    return tg.tril(a, -1) + tg.diag(tg.softplus(tg.diagonal(a, 0, -2, -1)))


#: law -> (a function of free Tensors that makes it, how many of which shape, a value inside the support)
LAWS: dict[str, tuple[Callable, tuple, Callable]] = {
    "Normal": (lambda a, b: P.Normal(a, tg.softplus(b)), ((2, 1), (3,)), lambda n: n(size=(4, 2, 3))),
    "DiagonalNormal": (lambda a, b: P.DiagonalNormal(a, tg.softplus(b)), ((2, 3), (3,)), lambda n: n(size=(4, 1, 3))),
    "MultivariateNormal": (
        lambda a, b: P.MultivariateNormal(a, scale_tril=factor(b)), ((2,), (2, 2, 2)), lambda n: n(size=(2, 1, 2)),
    ),
    "Bernoulli": (lambda a: P.Bernoulli(logits=a), ((2, 3),), lambda n: (n(size=(2, 3)) > 0) * 1.0),
    "Categorical": (lambda a: P.Categorical(logits=a), ((2, 3),), lambda n: np.array([[0, 2], [1, 1]])),
    "OneHotCategorical": (lambda a: P.OneHotCategorical(logits=a), ((2, 3),), lambda n: np.eye(3, dtype=int)[:2]),
    "Uniform": (lambda a, b: P.Uniform(a - 5, a - 5 + 9 + tg.softplus(b)), ((2, 1), (3,)), lambda n: n(size=(2, 3))),
    "Exponential": (lambda a: P.Exponential(tg.softplus(a)), ((3,),), lambda n: n(size=(2, 3)) ** 2 + 0.5),
    "Laplace": (lambda a, b: P.Laplace(a, tg.softplus(b)), ((2, 1), (3,)), lambda n: n(size=(2, 3)) + 4),
    "Gumbel": (lambda a, b: P.Gumbel(a, tg.softplus(b)), ((2, 1), (3,)), lambda n: n(size=(2, 3))),
    "Gamma": (
        lambda a, b: P.Gamma(tg.softplus(a), tg.softplus(b)), ((2, 1), (3,)), lambda n: n(size=(2, 3)) ** 2 + 0.5,
    ),
    "Beta": (
        lambda a, b: P.Beta(tg.softplus(a), tg.softplus(b)), ((2, 1), (3,)),
        lambda n: scipy.special.expit(n(size=(2, 3))),
    ),
    "Dirichlet": (
        lambda a: P.Dirichlet(tg.softplus(a)), ((2, 3),), lambda n: scipy.special.softmax(n(size=(2, 3)), -1),
    ),
    "Poisson": (lambda a: P.Poisson(tg.softplus(a) + 1), ((3,),), lambda n: np.array([0, 2, 5])),
    "GumbelSoftmax": (
        lambda a, b: P.GumbelSoftmax(tg.softplus(b), logits=a), ((2, 3), (1,)),
        lambda n: scipy.special.softmax(n(size=(2, 3)), -1),
    ),
    "Mixture": (
        lambda a, b, c: P.Mixture(P.Normal(a, tg.softplus(b)), logits=c), ((2, 3), (3,), (3,)),
        lambda n: n(size=(4, 2)),
    ),
}  # fmt: skip

#: laws whose value x is a smooth argument of the density
SMOOTH = ("Normal", "DiagonalNormal", "MultivariateNormal", "Exponential", "Laplace", "Gumbel", "Gamma", "Mixture")


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every law, every closed divergence, every function of `divergences`."""
    n = rng.normal
    for name, (make, shapes, value) in LAWS.items():
        parameters, x = tuple(n(size=s) for s in shapes), value(n)
        yield Case(f"{name}.log_prob", lambda *p, make=make, x=x: make(*p).log_prob(x), parameters)
        if name in SMOOTH:
            yield Case(f"{name}.log_prob", lambda x, *p, make=make: make(*p).log_prob(x), (x, *parameters))
        yield from moment_cases(name, make, parameters)
        if make(*parameters).has_rsample and name not in ("Gamma", "Beta", "Dirichlet"):  # these: gamma_cases
            draw = lambda *p, make=make: make(*p).rsample(2, rng=tg.random.Generator(3))
            yield Case(f"{name}.rsample", draw, parameters)
    yield from gamma_cases(rng)
    yield from divergence_cases(rng)


def moment_cases(name: str, make: Callable, parameters: tuple) -> Iterator[Case]:
    """Entropy, mean and variance, where they have a closed form."""
    for what in ("entropy", "mean", "variance"):
        try:
            getattr(make(*parameters), what)
            if what == "entropy":
                make(*parameters).entropy()
        except NotImplementedError:
            continue
        if what == "entropy":
            yield Case(f"{name}.entropy", lambda *p, make=make: make(*p).entropy(), parameters)
        else:
            yield Case(f"{name}.{what}", lambda *p, make=make, what=what: getattr(make(*p), what), parameters)


def gamma_cases(rng: np.random.Generator) -> Iterator[Case]:
    """A gamma draw moves as the quantile at a fixed level does: draw it as one, and compare."""
    level, alpha = rng.uniform(0.05, 0.95, (2, 3)), rng.uniform(0.3, 6, (2, 3))

    def draw(alpha):
        return log_gamma_draw(alpha, np.log(scipy.special.gammaincinv(alpha.numpy(), level)))

    yield Case("log_gamma_draw", draw, (alpha,))
    log_x = np.log(scipy.special.gammaincinv(alpha, level))
    yield Case("shape_derivative", lambda y: shape_derivative(alpha, y), (log_x,))


def divergence_cases(rng: np.random.Generator) -> Iterator[Case]:
    """KL by pairs of families, and the divergences between vectors, samples and Gaussians."""
    n = rng.normal
    for family, _ in PAIRS:
        make, shapes, _ = LAWS[family.__name__]
        k = len(shapes)
        if family is P.Uniform:  # one inside the other
            nested = lambda a, b: P.kl_divergence(P.Uniform(a, a + 1), P.Uniform(a - tg.exp(b), a + 2 + tg.exp(a)))
            yield Case("kl_divergence", nested, (n(size=3), n(size=3)))
            continue
        both = lambda *p, make=make, k=k: P.kl_divergence(make(*p[:k]), make(*p[k:]))
        yield Case("kl_divergence", both, tuple(n(size=s) for s in (*shapes, *shapes)))
    a, b, t = n(size=(2, 4)), n(size=(2, 4)), np.cumsum(rng.uniform(0.2, 1, 4))
    for f in (D.kl, D.js, D.cross_entropy):
        yield Case(f"divergences.{f.__name__}", lambda a, b, f=f: f(softmax(a), softmax(b)), (a, b))
    yield Case("divergences.entropy", lambda a: D.entropy(softmax(a)), (a,))
    for on_line in (D.earth_mover, D.cramer):
        moved = lambda a, b, t, f=on_line: f(softmax(a), softmax(b), t)
        yield Case(f"divergences.{on_line.__name__}", moved, (a, b, t))
    x, y = 0.3 * rng.permutation(7)[:3] + 0.1, 0.3 * rng.permutation(7)[:4]
    for order in (1, 2):
        yield Case("divergences.wasserstein_1d", lambda x, y, r=order: D.wasserstein_1d(x, y, r), (x, y))
    yield Case("divergences.cramer_1d", D.cramer_1d, (x, y))
    x, y = n(size=(4, 2)), n(size=(4, 2)) + 1
    yield Case("divergences.wasserstein", D.wasserstein, (x, y))
    yield Case("divergences.wasserstein", lambda x, y: D.wasserstein(x, y, 2), (x, y))
    yield Case("divergences.sliced_wasserstein",
               lambda x, y: D.sliced_wasserstein(x, y, 4, rng=tg.random.Generator(1)), (x, y[:3]))  # fmt: skip
    yield Case("divergences.energy_distance", D.energy_distance, (x, y[:3]))
    make = LAWS["MultivariateNormal"][0]
    yield Case("divergences.wasserstein_gaussian", lambda a, b, c, d: D.wasserstein_gaussian(make(a, b), make(c, d)),
               (n(size=3), n(size=(3, 3)), n(size=3), n(size=(3, 3))))  # fmt: skip
    make = LAWS["Normal"][0]
    yield Case("divergences.wasserstein_gaussian", lambda a, b, c, d: D.wasserstein_gaussian(make(a, b), make(c, d)),
               (n(size=3), n(size=3), n(size=3), n(size=3)))  # fmt: skip

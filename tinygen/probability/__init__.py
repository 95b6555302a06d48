"""Laws to draw from and to weigh with, and how far apart two of them are.

To read it in order: `support` (where a law lives), `distribution` (what every law can do), `normal`, `inversion`
(uniform, exponential, Laplace, Gumbel), `discrete` (coin and dice), `relaxed` (a soft die), `gamma_path` (drawing
gamma numbers, and differentiating the draw), `gamma` (with beta and Dirichlet), `poisson`, `mixture`; then `kl`
(closed forms by pairs), `divergences` (Kullback-Leibler, Jensen-Shannon, Wasserstein, Cramer, between vectors,
samples and Gaussians), and `estimators` (the gradient of an expectation, four ways).

>>> import tinygen as tg
>>> prior = Normal(0.0, 1.0)
>>> posterior = Normal(tg.tensor([0.5, -0.5], requires_grad=True), tg.tensor([0.5, 2.0]))
>>> z = posterior.rsample(3, rng=tg.random.Generator(0))
>>> z.shape
(3, 2)
>>> kl_divergence(posterior, prior).shape
(2,)
"""

from tinygen.probability import divergences, estimators
from tinygen.probability.discrete import Bernoulli, Categorical, OneHotCategorical
from tinygen.probability.distribution import Distribution
from tinygen.probability.gamma import Beta, Dirichlet, Gamma
from tinygen.probability.inversion import Exponential, Gumbel, Laplace, Uniform
from tinygen.probability.kl import Estimate, MonteCarloWarning, estimate_js, estimate_kl, kl_divergence, register_kl
from tinygen.probability.mixture import Mixture
from tinygen.probability.normal import DiagonalNormal, MultivariateNormal, Normal
from tinygen.probability.poisson import Poisson
from tinygen.probability.relaxed import GumbelSoftmax
from tinygen.probability.support import Support

__all__ = [
    "Bernoulli", "Beta", "Categorical", "DiagonalNormal", "Dirichlet", "Distribution", "Estimate", "Exponential",
    "Gamma", "Gumbel", "GumbelSoftmax", "Laplace", "Mixture", "MonteCarloWarning", "MultivariateNormal", "Normal",
    "OneHotCategorical", "Poisson", "Support", "Uniform", "divergences", "estimate_js", "estimate_kl",
    "estimators", "kl_divergence", "register_kl",
]  # fmt: skip

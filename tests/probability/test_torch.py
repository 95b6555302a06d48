"""Log densities, entropies, divergences and the gamma path against PyTorch, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import tinygen as tg
from probability.references import EVERY
from tinygen import probability as P
from tinygen.probability.gamma_path import shape_derivative

torch = pytest.importorskip("torch", reason="PyTorch is an optional oracle")
T = torch.distributions

#: the same laws, from the same parameters
TWINS = {
    "Normal": T.Normal,
    "Laplace": T.Laplace,
    "Gumbel": T.Gumbel,
    "Uniform": lambda a, b: T.Uniform(a - 4, a + 4 + b),
    "Exponential": lambda a, b: T.Exponential(a + 2 + b),
    "Gamma": lambda a, b: T.Gamma(a + 2, b),
    "Beta": lambda a, b: T.Beta(a + 2, b),
    "Poisson": lambda a, b: T.Poisson((a + 2) * b),
    "Bernoulli": lambda a, b: T.Bernoulli(logits=a * b),
    "Bernoulli by probs": lambda a, b: T.Bernoulli(probs=(a + 2) * b / 10),
    "DiagonalNormal": lambda m, s: T.Independent(T.Normal(m, s), 1),
    "MultivariateNormal": lambda m, L: T.MultivariateNormal(m, scale_tril=L),
    "MultivariateNormal by covariance": lambda m, S: T.MultivariateNormal(m, covariance_matrix=S),
    "Dirichlet": lambda a: T.Dirichlet(5 * a),
    "OneHotCategorical": lambda p: T.OneHotCategorical(probs=p),
}


def close(mine, theirs, rtol=1e-10):
    np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_values_and_gradients(name):
    row = EVERY[name]
    mine = [tg.tensor(p, requires_grad=True) for p in row.parameters]
    theirs = [torch.tensor(p, requires_grad=True) for p in row.parameters]
    a, b = row.make(*mine), TWINS[name](*theirs)
    x = np.asarray(row.values, float)
    x = x / x.sum(-1, keepdims=True) if name == "Dirichlet" else x
    p, q = a.log_prob(x), b.log_prob(torch.tensor(x))
    close(p, q)
    got = tg.grad(tg.sum(p), mine, allow_unused=True, retain_graph=True)
    wanted = torch.autograd.grad(q.sum(), theirs, allow_unused=True, retain_graph=True)
    for k, (g, w) in enumerate(zip(got, wanted, strict=True)):
        if name != "OneHotCategorical":  # probs: PyTorch divides by their sum first
            g, w = (g, w) if "covariance" not in name or k == 0 else (g, (w + w.mT) / 2)
            close(g, w, rtol=1e-8)
    close(a.mean, b.mean)
    close(a.variance, b.variance)
    if name != "Poisson":  # PyTorch has no entropy for it
        close(a.entropy(), b.entropy())


PAIRS = sorted(set(EVERY) - {"Bernoulli by probs", "MultivariateNormal by covariance"})


@pytest.mark.parametrize("name", PAIRS)
def test_divergences(name):
    row = EVERY[name]
    others = [p[::-1].copy() if p.ndim > 1 else p + 0.4 for p in row.parameters]
    if name == "Uniform":
        others = [row.parameters[0] - 0.0, row.parameters[1] + 1]
    mine = [tg.tensor(p, requires_grad=True) for p in row.parameters]
    theirs = [torch.tensor(p, requires_grad=True) for p in row.parameters]
    a = P.kl_divergence(row.make(*mine), row.make(*others))
    b = T.kl_divergence(TWINS[name](*theirs), TWINS[name](*map(torch.tensor, others)))
    close(a, b, rtol=1e-9)
    if name != "OneHotCategorical":
        got = tg.grad(tg.sum(a), mine, allow_unused=True)
        wanted = torch.autograd.grad(b.sum(), theirs, allow_unused=True)
        for g, w in zip(got, wanted, strict=True):
            close(g, torch.tril(w) if name == "MultivariateNormal" and w.ndim == 3 else w, rtol=1e-8)


def test_categorical_relaxed_and_mixture():
    logits = np.array([[0.3, -1.0, 2.0], [0.0, 0.5, -0.5]])
    x = np.array([[2, 1], [0, 0]])
    twin = T.Categorical(logits=torch.tensor(logits))
    close(P.Categorical(logits=logits).log_prob(x), twin.log_prob(torch.tensor(x)))
    soft = np.array([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])
    for temperature in (0.3, 1.0, 4.0):
        mine = P.GumbelSoftmax(temperature, logits=logits)
        theirs = T.RelaxedOneHotCategorical(torch.tensor(temperature, dtype=torch.float64), logits=torch.tensor(logits))
        close(mine.log_prob(soft), theirs.log_prob(torch.tensor(soft)))
    loc, scale = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0])
    mine = P.Mixture(P.Normal(loc, scale), logits=logits[0])
    theirs = T.MixtureSameFamily(T.Categorical(logits=torch.tensor(logits[0])),
                                 T.Normal(torch.tensor(loc), torch.tensor(scale)))  # fmt: skip
    points = np.linspace(-4, 5, 9)
    close(mine.log_prob(points), theirs.log_prob(torch.tensor(points)))
    close(mine.mean, theirs.mean)
    close(mine.variance, theirs.variance)


def test_gamma_path():
    """gamma_path (2): PyTorch's rational approximation is good to about 1e-3 of dx/dalpha."""
    rng = np.random.default_rng(0)
    alpha = np.exp(rng.uniform(-3, 6, 200))
    x = rng.gamma(alpha).clip(1e-8)
    mine = -x * shape_derivative(alpha, np.log(x))
    theirs = torch._standard_gamma_grad(torch.tensor(alpha), torch.tensor(x)).numpy()
    np.testing.assert_allclose(mine, theirs, rtol=3e-3)

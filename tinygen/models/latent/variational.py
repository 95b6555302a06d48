r"""Variational inference: the posterior is a law we cannot have; find the nearest one that we can (S1, S4 eqs. 88–94).

Choose a family of laws $q_\lambda(z)$ that are easy to draw from, such as all Gaussians, and move $\lambda$ until
$q_\lambda$ is as near to the posterior $p(z|x)$ of `bayes.py` as it gets. Near in the sense of S1's divergence, for
which

$$ \mathrm{KL}(q(z) \,\|\, p(z|x)) = \mathbb E_q [\log q(z) - \log p(z, x)] + \log p(x). \tag{1} $$

The last term is the trouble of `bayes.py`, but it does not depend on $q$, so "we can safely kill it" (S1). What is
left, with its sign turned, is to be maximised. Since KL is never negative it bounds the evidence from below:

$$ \mathrm{ELBO}(q) = \mathbb E_q [\log p(z, x) - \log q(z)] = \log p(x) - \mathrm{KL}(q(z) \,\|\, p(z|x))
   \;\le\; \log p(x). \tag{2} $$

An integral has become a search. (The variational autoencoder does the same for each image, with one network that
guesses all the $\lambda$, and learns $p$ besides: its chapter.)

**The gradient.** The expectation is over draws that depend on $\lambda$. So let the randomness come from elsewhere
(S4's and S1's trick): $z = T_\lambda(\varepsilon)$ with $\varepsilon \sim \mathcal N(0, I)$ and an invertible
$T_\lambda$. The density of $z$ is that of $\varepsilon$, thinned out by as much as $T_\lambda$ stretches areas
(S2 eq. 2.42; see `flow.py`),

$$ \log q_\lambda(z) = \log \mathcal N(\varepsilon; 0, I)
   - \log \left| \det \frac{\partial T_\lambda}{\partial \varepsilon} \right|, \tag{3} $$

and from $m$ draws,

$$ \widehat{\mathrm{ELBO}}(\lambda) = \frac1m \sum_{j=1}^m \log p(T_\lambda(\varepsilon_j), x)
   + \log \left| \det \frac{\partial T_\lambda}{\partial \varepsilon}(\varepsilon_j) \right|
   - \log \mathcal N(\varepsilon_j; 0, I), \tag{4} $$

which has derivatives with respect to $\lambda$ wherever $\log p(z, x)$ has one with respect to $z$. That is all that is
asked of the model. If $q_\lambda$ is the posterior itself, the terms of (4) are all the same, $\log p(x)$: their
spread tells how far there is to go.

**The family decides.** Gaussians are $T(\varepsilon) = \mu + L \varepsilon$ with a lower triangular $L$, so that
$\Sigma = L L^\top$ and

$$ \log \left| \det \frac{\partial T}{\partial \varepsilon} \right| = \sum_k \log L_{kk}. \tag{5} $$

With a diagonal $L$ the parameters are taken for independent, the *mean field*. A posterior that leans is then
narrowed: of a Gaussian with precision matrix $\Lambda = \Sigma^{-1}$, the nearest $q$ with a diagonal covariance has
the right mean and

$$ \sigma_k^2 = 1 / \Lambda_{kk} \;\le\; \Sigma_{kk}, \tag{6} $$

the variance of $z_k$ if all the others were *known*. This is the price of the order in KL: $q$ pays dearly for being
where $p$ is not, and nothing for leaving out a part of $p$. "But why not $\mathrm{KL}(p \| q)$?", S1 asks. Its
minimiser would have the right means and variances, $\Sigma_{kk}$; but it is an expectation over $p(z|x)$, which is
what we do not have. A skewed posterior is often narrowed too: of the logarithm of a $\Gamma(a, b)$ number the best
Gaussian has the variance $1/a$, less than the true $\psi'(a)$. What helps is a larger family: any network that can be
inverted and knows its determinant, such as a stack of coupling layers (`flow.py`), will do for $T_\lambda$.

Misprint: S3 writes the divergence that defines $q$ as $\mathrm{KL}(p \| q)$; S1 and S4 have it right.

Notation
--------
$z, \varepsilon$ : `theta` (parameters of a model are what is hidden here), `eps`, (m, d)
$T_\lambda$ : `family`, a Module from `eps` to `theta` and `log_det`, (m,)
$\mu, L$ : `mu`, (d,); `factor()`, (d, d), from its logarithmic diagonal and what is below
$m$ : `samples`
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.latent import flow
from tinygen.models.latent.bayes import Inference, Moments, Target

# ---- the equations --------------------------------------------------------------------------------------


def log_q(eps, log_det):
    r"""(3): $\log q_\lambda(z)$ at $z = T_\lambda(\varepsilon)$; (m, d), (m,) to (m,)."""
    return flow.log_density(eps, log_det)


def elbo_terms(log_joint, eps, log_det):
    """The terms of (4), whose mean estimates (2): (m,), (m, d), (m,) to (m,)."""
    return log_joint - log_q(eps, log_det)


def divergence(elbo, log_evidence):
    r"""(1): $\mathrm{KL}(q(z) \| p(z|x))$ from (2), where $\log p(x)$ is known."""
    return log_evidence - elbo


def mean_field_variances(covariance):
    r"""(6): $1 / \Lambda_{kk}$, what the mean field makes of a Gaussian posterior; (d, d) to (d,)."""
    return 1 / tg.diagonal(tg.linalg.inv(covariance))


# ---- the family -----------------------------------------------------------------------------------------


class Gaussian(nn.Module):
    r"""$T(\varepsilon) = \mu + L \varepsilon$, at first the standard normal; in float64.

    Parameters
    ----------
    d : how many parameters
    mean_field : whether L is diagonal
    """

    def __init__(self, d: int, *, mean_field: bool = False, device: str = "cpu"):
        self.mean_field = mean_field
        zeros = lambda *shape: tg.tensor(np.zeros(shape), requires_grad=True, device=device)
        self.mu, self.log_diagonal = zeros(d), zeros(d)
        self.below = None if mean_field else zeros(d, d)  # what is on or above its diagonal does not count

    def factor(self):
        """L: (d, d)."""
        diagonal = tg.diag(tg.exp(self.log_diagonal))
        return diagonal if self.mean_field else diagonal + tg.tril(self.below, -1)

    def forward(self, eps):
        """z, and (5): (m, d) to (m, d), (m,)."""
        theta = self.mu + tg.matmul(eps, tg.transpose(self.factor()))
        return theta, tg.broadcast_to(tg.sum(self.log_diagonal), (len(eps),))

    def moments(self) -> Moments:
        r"""$\mu$ and $L L^\top$."""
        L = self.factor().numpy()
        return Moments(self.mu.numpy(), L @ L.T)


# ---- the search -----------------------------------------------------------------------------------------


class Variational(Inference):
    r"""Climbs the ELBO over a family of laws.

    Parameters
    ----------
    target : the joint density, such as `bayes.Logistic(2)`
    family : $T_\lambda$, a Module from $\varepsilon$ (m, d) to $z$ (m, d) and $\log |\det|$ (m,); None takes `Gaussian`
    samples : $m$ of (4) in a step
    lr : learning rate of Adam
    schedule : the factor of it as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of $\varepsilon$; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> from tinygen.models.latent.bayes import Logistic
    >>> from tinygen.runs import Run
    >>> x, y = np.array([[1.0, -1], [1, 0], [1, 0], [1, 1]]), np.array([0, 0, 1, 1])
    >>> q = Variational(Logistic(2), rng=Generator(0)).fit(x, y, steps=300, run=Run(quiet=True))
    >>> q.sample(3).shape, bool((q.moments().mean[1] > 0).all())
    ((3, 2), True)
    """

    def __init__(self, target: Target, family: nn.Module | None = None, *, samples: int = 64, lr: float = 0.03,
                 schedule: Any = None, rng: Generator | None = None):  # fmt: skip
        if samples < 1:
            raise ValueError(f"Variational: samples is {samples}; at least 1 is wanted")
        self.rng = Generator() if rng is None else rng
        self.target, self.samples = target, samples
        self.family = Gaussian(target.d, device=self.rng.device) if family is None else family
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self, eps, *data):
        """The terms of (4): (m, d) to (m,)."""
        theta, log_det = self.family(eps)
        return elbo_terms(self.target.log_joint(theta, *data), eps, log_det)

    def update(self, *data) -> dict:
        """A step up the gradient of (4); its value, and the spread of its terms."""
        terms = self(self._noise(self.samples, self.rng), *data)
        self.optimizer.step(tg.grad(-tg.mean(terms), self.optimizer.params))
        self.schedule.step()
        return {"elbo": tg.mean(terms), "spread": tg.std(terms)}

    def elbo(self, *data: np.ndarray, samples: int = 10_000, rng: Generator | None = None) -> float:
        """(4) from so many draws, in nats: an estimate of (2)."""
        data = self.target.checked("Variational", self._like, *data)
        with tg.no_grad():
            return float(tg.mean(self(self._noise(samples, self._generator(rng)), *data)))

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """Draws from q: (n, d)."""
        with tg.no_grad():
            return self.family(self._noise(n, self._generator(rng)))[0].numpy()

    def moments(self, *, samples: int = 100_000, rng: Generator | None = None) -> Moments:
        """Mean and covariance of q, exact for a `Gaussian`, from so many draws otherwise."""
        if isinstance(self.family, Gaussian):
            return self.family.moments()
        theta = self.sample(samples, rng=rng).astype(float)
        return Moments(theta.mean(0), np.atleast_2d(np.cov(theta.T)))

    def _noise(self, n: int, rng: Generator):
        r"""$\varepsilon$: (n, d)."""
        return tg.tensor(rng.normal((n, self.target.d), dtype=self._like.dtype))

    def _generator(self, rng: Generator | None) -> Generator:
        """rng, or one of fresh entropy on the family's device."""
        return Generator(device=self._like.device) if rng is None else rng

r"""Markov chain Monte Carlo: to draw from a posterior by walking about in it (S4 before eq. 83; S3 for Gibbs).

The posterior $\pi(\theta) = p(\theta, x) / p(x)$ of `bayes.py` cannot be drawn from, since $p(x)$ is not to be had. But
one can walk so that one is at each place as often as $\pi$ says. Let a step go from $\theta$ to $\theta'$ with
probability (or density) $K(\theta, \theta')$. The walk keeps $\pi$ once it has it, if

$$ \int \pi(\theta)\, K(\theta, \theta')\, d\theta = \pi(\theta'), \tag{1} $$

and a walk that can get from anywhere to anywhere in one step comes to have it, wherever it began. For (1) it is enough
that as much traffic goes one way as the other, between any two places:

$$ \pi(\theta)\, K(\theta, \theta') = \pi(\theta')\, K(\theta', \theta), \tag{2} $$

which integrated over $\theta$ gives (1). This is called detailed balance.

**Metropolis and Hastings** get (2) from any way of proposing a step, $q(\theta'|\theta)$: go there with probability

$$ a(\theta, \theta') = \min\left( 1,\;
   \frac{\pi(\theta')\, q(\theta|\theta')}{\pi(\theta)\, q(\theta'|\theta)} \right), \tag{3} $$

or else stay, which counts as a step. Of two opposite steps one has $a = 1$, the other just what evens them out. In the
ratio $p(x)$ cancels. Metropolis's proposal is $\theta' = \theta + \epsilon\, \xi$ with $\xi \sim \mathcal N(0, I)$:
then $q$ cancels too. Small $\epsilon$ creep, large ones are refused; half to a quarter of all steps accepted is best.

**With the slope: Hamiltonian Monte Carlo.** Take $-\log \pi$ for the height of a landscape. Kick a ball that lies at
$\theta$, giving it a momentum $r \sim \mathcal N(0, I)$, and let it roll for a while. Its energy

$$ H(\theta, r) = -\log \pi(\theta) + \tfrac12 \lVert r \rVert^2 \tag{4} $$

stays as it is: it gets far, and place and momentum together are as probable, by $\pi(\theta)\, e^{-\lVert r \rVert^2
/ 2}$, as they were. Rolling is integrated in $l$ "leapfrog" steps, each of which keeps areas and can be walked back:

$$ r \leftarrow r + \tfrac\epsilon2 \nabla \log \pi(\theta), \qquad \theta \leftarrow \theta + \epsilon\, r, \qquad
   r \leftarrow r + \tfrac\epsilon2 \nabla \log \pi(\theta). \tag{5} $$

They miss the energy a little, which (3) repairs: $a = \min(1, e^{H(\theta, r) - H(\theta', r')})$. The slope is what a
reverse-mode engine is for. With $l = 1$ this is Langevin's walk, uphill with noise, $\theta' = \theta +
\frac{\epsilon^2}2 \nabla \log \pi(\theta) + \epsilon\, r$.

**Gibbs** takes one parameter at a time and draws it anew, given the others: a proposal that (3) always accepts. It
needs that these laws are known. (S3 does so with the two layers of a Boltzmann machine.) For the mean and the precision
of `bayes.py` they are

$$ \mu \,|\, \tau, x \sim \mathcal N\left( \frac{\tau \sum_i x_i}{n\tau + s^{-2}},\; \frac1{n\tau + s^{-2}} \right),
   \tag{6} $$
$$ \tau \,|\, \mu, x \sim \Gamma\left( a + \tfrac n2,\; b + \tfrac12 \sum_i (x_i - \mu)^2 \right). \tag{7} $$

**What draws are worth.** Neighbours in a chain are alike, so $T$ draws tell less than $T$ independent ones. Let
$\rho_t$ be the correlation of draws $t$ steps apart. A mean over $m$ chains of length $T$ has a standard error as if
there were

$$ T_{\text{eff}} = \frac{m\, T}{1 + 2 \sum_{t \ge 1} \rho_t} \tag{8} $$

independent draws, the effective sample size: the error is $\sigma / \sqrt{T_{\text{eff}}}$. Estimates of $\rho_t$ are
noise where it is small. For a chain with (2) the sums $\rho_{2k} + \rho_{2k+1}$ are positive and fall, so (8) is summed
until the first that is not positive, and each is taken for no larger than the one before (Geyer 1992).

With $W$ the mean of the chains' variances and $B$ the variance of their means,

$$ \hat\sigma^2 = \frac{T - 1}{T} W + B, \qquad \hat R = \sqrt{\hat\sigma^2 / W}, \qquad
   \hat\rho_t = 1 - \frac{W - C_t}{\hat\sigma^2}, \tag{9} $$

where $C_t = \frac1T \sum_i (\theta_i - \bar\theta)(\theta_{i+t} - \bar\theta)$, averaged over the chains. Chains that
began apart and have not met differ in their means: $\hat R$ is then well above 1, and (8) small (Gelman and Rubin
1992).

**MCMC or variational inference?** (S4 asks and leaves it open.) A chain is right in the end, for any posterior, and the
error falls as $1/\sqrt{T_{\text{eff}}}$; but one never knows that it has seen everything. `variational.py` is a search
that ends, and wrong by as much as its family of laws is too small, however long it runs; but one can see from its bound
whether one family is better than another.

Notation
--------
$\pi, q, K$ : `pi`, (k,); `proposal`, `transition`, (k, k), from rows to columns, where there are k places
$\theta, \theta'$ : `theta`, `proposed`, (m, d), m chains side by side
$r, \epsilon, l$ : `r`, (m, d); `step`; `leaps`
$\mu, \tau, \omega$ : `mu`, `tau`, `omega`, (m,)
$T$ : `len(draws)`, of `draws` (T, m, d)
$\rho_t, C_t$ : `rho`, `C`, (T, d)
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.latent.bayes import Inference, MeanAndPrecision, Moments, Target
from tinygen.probability import Gamma

# ---- steps that keep a law ------------------------------------------------------------------------------


def acceptance(log_ratio):
    r"""(3): $\min(1, e^{\text{log\_ratio}})$, of $\pi(\theta') q(\theta|\theta') / \pi(\theta) q(\theta'|\theta)$."""
    return tg.exp(tg.minimum(log_ratio, 0.0))


def transition(pi, proposal):
    r"""$K$ of Metropolis and Hastings on k places, for (1) and (2): (k,), (k, k) to (k, k), on the host.

    What is refused stays where it is. The proposals must be positive, so that each step has its opposite.
    """
    K = proposal * acceptance(np.log(pi * proposal.T) - np.log(pi[:, None] * proposal))
    return K + np.diag(1 - K.sum(1))


def hamiltonian(log_pi, r):
    r"""(4): $H$ of m balls; (m,), (m, d) to (m,)."""
    return tg.sum(tg.square(r), 1) / 2 - log_pi


def leapfrog(slope, theta, r, step: float, leaps: int):
    r"""(5), so many times; `slope` is $\nabla \log \pi$, (m, d) to (m, d). Two half kicks in a row make a whole one."""
    r = r + step / 2 * slope(theta)
    for leap in range(1, leaps + 1):
        theta = theta + step * r
        r = r + (step if leap < leaps else step / 2) * slope(theta)
    return theta, r


def mean_given_precision(x, tau, prior_std: float) -> tuple[Any, Any]:
    """(6): mean and standard deviation of a mean's law; (n,), (m,) to twice (m,)."""
    precision = len(x) * tau + prior_std**-2
    return tau * tg.sum(x) / precision, precision**-0.5


def precision_given_mean(x, mu, a: float, b: float) -> tuple[Any, Any]:
    r"""(7): the parameters of a precision's law $\Gamma$; (n,), (m,) to a number and (m,)."""
    return a + len(x) / 2, b + tg.sum(tg.square(x - mu[:, None]), 1) / 2


# ---- what draws are worth -------------------------------------------------------------------------------


def _within_and_overall(draws) -> tuple[np.ndarray, np.ndarray]:
    r"""$W$ and $\hat\sigma^2$ of (9): (T, m, d) to twice (d,)."""
    T = len(draws)
    W = draws.var(0, ddof=1).mean(0)
    B = draws.mean(0).var(0, ddof=1) if draws.shape[1] > 1 else 0.0
    return W, (T - 1) / T * W + B


def potential_scale_reduction(draws: np.ndarray) -> np.ndarray:
    r"""(9): $\hat R$ of every parameter; (T, m, d) to (d,), on the host. 1 is best; from 1.05 on chains disagree."""
    W, overall = _within_and_overall(draws)
    return np.sqrt(overall / W)


def autocorrelation(draws: np.ndarray) -> np.ndarray:
    r"""(9): $\hat\rho_t$ of every parameter for all t; (T, m, d) to (T, d), on the host, in $T \log T$ steps."""
    T = len(draws)
    F = np.fft.rfft(draws - draws.mean(0), 2 * T, axis=0)  # padded, so that the end does not meet the beginning
    C = np.fft.irfft(abs(F) ** 2, axis=0)[:T].mean(1) / T  # (T, d)
    W, overall = _within_and_overall(draws)
    return 1 - (W - C) / np.where(overall > 0, overall, 1.0)


def effective_sample_size(draws: np.ndarray) -> np.ndarray:
    r"""(8): $T_{\text{eff}}$ of every parameter, for its mean; (T, m, d) to (d,), on the host."""
    T, m, _ = draws.shape
    if T < 2:
        raise ValueError(f"effective_sample_size: draws has shape {draws.shape}; at least two draws are wanted")
    rho = autocorrelation(draws)[: T - T % 2]
    rho[0] = 1.0
    pairs = rho[0::2] + rho[1::2]  # (T / 2, d)
    positive = np.logical_and.accumulate(pairs > 0, axis=0)
    falling = np.minimum.accumulate(np.where(positive, pairs, 0.0), axis=0)
    return m * T / np.maximum(2 * falling.sum(0) - 1, 1 / np.log10(m * T))  # the last: steps can be worth more than 1


# ---- the chains -----------------------------------------------------------------------------------------


class Trace:
    """Where the chains have been, (m, d) after each step; saved with the model that owns it."""

    def __init__(self) -> None:
        self.places: list[Any] = []

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"places": np.array([backend.to_numpy(place) for place in self.places])}

    def load_state_dict(self, state) -> None:
        self.places = list(np.asarray(state["places"]))


class Chains(Inference):
    r"""Base of the samplers: m chains that start at $\mathcal N(0, \text{start}^2 I)$; one of its own writes `move`.

    Parameters
    ----------
    target : the joint density, such as `bayes.Logistic(2)`
    chains : m
    warm_up : how many steps of each chain do not count, since they still remember where it began
    start : how far from 0 the chains begin, a standard deviation
    rng : the Generator of everything drawn; None takes fresh entropy. The chains live on its device.
    """

    positions: tg.Tensor

    def __init__(self, target: Target, *, chains: int = 8, warm_up: int = 200, start: float = 1.0,
                 rng: Generator | None = None):  # fmt: skip
        if chains < 1 or warm_up < 0 or not start > 0:
            raise ValueError(f"{type(self).__name__}: chains is {chains}, warm_up {warm_up} and start {start}; at "
                             "least one chain, no fewer than 0 steps and a positive start are wanted")  # fmt: skip
        self.target, self.warm_up = target, warm_up
        self.rng, self.trace = Generator() if rng is None else rng, Trace()
        self.register_buffer("positions", tg.tensor(self.rng.normal((chains, target.d), std=start, dtype="float64")))

    def move(self, theta, *data) -> tuple[Any, Any]:
        """A step of all chains: (m, d) to (m, d), and whether each has moved, (m,)."""
        raise NotImplementedError

    def update(self, *data) -> dict:
        """One step; the share of the chains that accepted it."""
        theta, moved = self.move(self.positions.data, *data)
        self.positions.assign(theta)
        self.trace.places.append(theta)
        return {"accepted": moved.mean()}

    def settle(self, theta, proposed, log_ratio) -> tuple[Any, Any]:
        """(3): go to what is proposed, or stay; a ratio that is not a number is refused."""
        moved = self.rng.uniform(log_ratio.shape, dtype="float64") < acceptance(log_ratio)
        return tg.where(moved[:, None], proposed, theta), moved

    @property
    def draws(self) -> np.ndarray:
        """All that counts: (T, m, d) float64, on the host."""
        if len(self.trace.places) <= self.warm_up:
            raise ValueError(f"{type(self).__name__}: {len(self.trace.places)} steps were taken, of which the first "
                             f"{self.warm_up} do not count; more steps are wanted (fit)")  # fmt: skip
        return np.stack([backend.to_numpy(place) for place in self.trace.places[self.warm_up :]])

    def moments(self) -> Moments:
        """Mean and covariance of the draws."""
        theta = self.draws.reshape(-1, self.target.d)
        return Moments(theta.mean(0), np.atleast_2d(np.cov(theta.T)))

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """n of the draws, picked at random: (n, d)."""
        theta = self.draws.reshape(-1, self.target.d)
        rng = Generator() if rng is None else rng
        return theta[backend.to_numpy(rng.integers(0, len(theta), n))]


class Metropolis(Chains):
    r"""The walk with the proposal $\theta + \epsilon\, \xi$.

    Parameters
    ----------
    step : $\epsilon$, a number, or one for each parameter
    options : of `Chains`

    Examples
    --------
    >>> from tinygen.models.latent.bayes import Logistic
    >>> from tinygen.runs import Run
    >>> x, y = np.array([[1.0, -1], [1, 0], [1, 0], [1, 1]]), np.array([0, 0, 1, 1])
    >>> chain = Metropolis(Logistic(2), step=2.0, rng=Generator(0)).fit(x, y, steps=1000, run=Run(quiet=True))
    >>> chain.draws.shape, bool((chain.moments().mean[1] > 0).all())
    ((800, 8, 2), True)
    """

    def __init__(self, target: Target, *, step: float | tuple[float, ...] = 1.0, chains: int = 8, warm_up: int = 200,
                 start: float = 1.0, rng: Generator | None = None):  # fmt: skip
        super().__init__(target, chains=chains, warm_up=warm_up, start=start, rng=rng)
        self.step = _steps(self, step)

    def move(self, theta, *data) -> tuple[Any, Any]:
        """Propose, and (3) with a q that cancels."""
        proposed = theta + self.step * self.rng.normal(theta.shape, dtype="float64")
        log_ratio = self.target.log_joint(proposed, *data) - self.target.log_joint(theta, *data)
        return self.settle(theta, proposed, log_ratio)


class Hamiltonian(Chains):
    r"""The walk of rolling balls; with one leap, Langevin's.

    Parameters
    ----------
    step, leaps : $\epsilon$, a number, or one for each parameter (as lengths to measure it in); and $l$
    options : of `Chains`
    """

    def __init__(self, target: Target, *, step: float | tuple[float, ...] = 0.5, leaps: int = 5, chains: int = 8,
                 warm_up: int = 200, start: float = 1.0, rng: Generator | None = None):  # fmt: skip
        super().__init__(target, chains=chains, warm_up=warm_up, start=start, rng=rng)
        if leaps < 1:
            raise ValueError(f"Hamiltonian: leaps is {leaps}; at least 1 is wanted")
        self.step, self.leaps = _steps(self, step), leaps

    def move(self, theta, *data) -> tuple[Any, Any]:
        """Kick, roll by (5), and (3) with what the energy has changed by."""
        log_pi = lambda theta: self.target.log_joint(theta, *data)

        def slope(theta):
            theta = tg.tensor(theta, requires_grad=True)
            return tg.grad(tg.sum(log_pi(theta)), theta).data

        r = self.rng.normal(theta.shape, dtype="float64")
        proposed, after = leapfrog(slope, theta, r, self.step, self.leaps)
        return self.settle(theta, proposed, hamiltonian(log_pi(theta), r) - hamiltonian(log_pi(proposed), after))


class Gibbs(Chains):
    """Mean and precision in turn, each from its own law given the other; the target is `bayes.MeanAndPrecision`."""

    target: MeanAndPrecision

    def move(self, theta, x) -> tuple[Any, Any]:
        r"""Draw (6), then (7); $\omega = \log \tau$. Nothing is ever refused."""
        centre, width = mean_given_precision(x, tg.exp(theta[:, 1]), self.target.prior_std)
        mu = centre + width * self.rng.normal(centre.shape, dtype="float64")
        shape, rate = precision_given_mean(x, mu, self.target.a, self.target.b)
        tau = Gamma(shape, rate).sample(rng=self.rng).data
        return tg.stack([mu, tg.log(tau)], 1), tg.ones_like(mu)


def _steps(owner: Chains, step: Any):
    """A step, or one for each parameter, as an array on the chains' device (0-d, or (d,))."""
    found = backend.asarray(step, "float64", owner.positions.device)
    if found.shape not in ((), (owner.target.d,)) or not bool((found > 0).all()):
        raise ValueError(f"{type(owner).__name__}: step is {step!r}; a positive number is wanted, or one for each of "
                         f"the {owner.target.d} parameters")  # fmt: skip
    return found

r"""Expectation maximisation: learning when part of every example is hidden (S4 eqs. 72–82).

What we see, $x$, was driven by something that we do not see, $z$: which component a point came from, which state a
machine was in, where a picture lies on a plane. If we saw $z$ too, we could maximise the *complete* log-likelihood
$\log p_\theta(x, z)$, which is usually easy: count and average. The *observed* one, $\ell(\theta) = \log p_\theta(x)
= \log \sum_z p_\theta(x, z)$, has a sum inside its logarithm and is hard. EM turns the hard problem into a row of
easy ones. Guess what $z$ may have been, given the present parameters $\theta'$; average the complete log-likelihood
over the guesses (the E step, S4 eq. 72); choose the parameters that make this average largest (the M step, eq. 73):

$$ Q(\theta, \theta') = \mathbb E_{p_{\theta'}(z|x)} \log p_\theta(x, z), \tag{1} $$
$$ \theta^{(t+1)} \in \operatorname*{argmax}_\theta\, Q(\theta, \theta^{(t)}). \tag{2} $$

**Why the likelihood never falls.** Since $p_\theta(x, z) = p_\theta(z|x)\, p_\theta(x)$ (S4 eqs. 74–76),

$$ Q(\theta, \theta') = R(\theta, \theta') + \ell(\theta), \qquad
   R(\theta, \theta') = \mathbb E_{p_{\theta'}(z|x)} \log p_\theta(z|x). \tag{3} $$

Take the difference between $\theta$ and $\theta'$ (eqs. 77–82):

$$ \begin{aligned} \ell(\theta) - \ell(\theta')
   &= \underbrace{Q(\theta, \theta') - Q(\theta', \theta')}_{\ge\, 0 \text{ after an M step}}
    + \underbrace{R(\theta', \theta') - R(\theta, \theta')}_{\mathrm{KL}(p_{\theta'}(z|x)\, \|\, p_\theta(z|x))\,
      \ge\, 0}. \end{aligned} \tag{4} $$

The first term is what the M step gains. The second comes for free. It would do to make $Q$ larger, not largest.

S4 asks to "prove that this algorithm converges". That is not what (4) says. The likelihoods rise, so they converge
*if* they are bounded (those of a Gaussian mixture are not: see its chapter); nothing follows about $\theta$ itself,
which may go on moving along a ridge; and where it does settle, $\ell$ is stationary (inside the range of $\theta$: a
probability that starts at 0 stays there, whatever the slope), which need not be a maximum.

**The same from above: a bound that is raised by turns.** For *any* law $q$ over $z$, define

$$ F(q, \theta) = \mathbb E_{q} \log p_\theta(x, z) + H(q), \qquad H(q) = -\mathbb E_q \log q(z), \tag{5} $$

the free energy with its sign turned, or evidence lower bound. It misses the log-likelihood by a divergence
(S4 eq. 88),

$$ \ell(\theta) = F(q, \theta) + \mathrm{KL}(q(z) \,\|\, p_\theta(z|x)), \tag{6} $$

so it never exceeds it. EM climbs $F$ in one argument at a time. The E step sets $q = p_\theta(z|x)$: the gap closes,
and $F = \ell$. The M step moves $\theta$ with $q$ held: $H(q)$ stays, so (5) says to maximise $Q$; the bound rises,
and the likelihood, which is above it, rises by the new gap more. If the posterior is out of reach and $q$ is kept in
a family that lacks it (variational EM), the E step only makes the gap as small as it can. Then $F$ never falls, and
$\ell$ may.

**What an E step has to hand on.** Not $q$ itself, which may be a table as long as the data. In all models here $\log
p_\theta(x, z)$ is linear in some functions of $x$ and $z$, its *sufficient statistics* (counts, sums, sums of
squares), so the M step needs no more than their expectations under $q$, added up over the examples; and $F$ needs one
number besides, $H(q)$. These two make a `Posterior`. A model says how to find them (`e_step`), what the best
parameters are for such statistics (`m_step`), and what $Q$ is for them (`expected_log_joint`). The rest is here.

Notation
--------
$\log p_\theta(x_i, z)$ : `log_joint`, (n, m), where z has m values: then all of the above can be written out
$q(z)$ : `q`, (n, m), rows that sum to one; in `EM`, a `Posterior`
$Q, R, F$ : `expected_log_joint`, `expected_log_posterior`, `bound`; summed over the examples, in nats
$\theta'$ : `before`, the parameters before a step
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import tinygen as tg
from tinygen.backend.random import Generator
from tinygen.models.model import Model
from tinygen.nn import functional as F
from tinygen.probability import divergences
from tinygen.runs import Run

TRIAL = 10  # iterations from each of several starts, before the best of them goes on alone

# ---- the equations, where z has finitely many values ----------------------------------------------------


def posterior(log_joint):
    r"""$p_\theta(z|x_i) = p_\theta(x_i, z) / \sum_{z'} p_\theta(x_i, z')$; (n, m) to (n, m)."""
    return F.softmax(log_joint, 1)


def log_likelihood(log_joint):
    r"""$\ell(\theta) = \sum_i \log \sum_z p_\theta(x_i, z)$; (n, m) to ()."""
    return tg.sum(tg.logsumexp(log_joint, 1))


def expected_log_joint(q, log_joint):
    r"""(1): $\sum_i \sum_z q_i(z) \log p_\theta(x_i, z)$, which is $Q(\theta, \theta')$ if q is the posterior at
    $\theta'$; (n, m), (n, m) to ()."""
    return tg.sum(q * tg.where(q > 0, log_joint, 0.0))  # what q rules out has no say, were it impossible


def expected_log_posterior(q, log_joint):
    r"""(3): $R = \sum_i \sum_z q_i(z) \log p_\theta(z|x_i)$; (n, m), (n, m) to ()."""
    return expected_log_joint(q, F.log_softmax(log_joint, 1))


def rise(log_joint, before) -> tuple[Any, Any]:
    r"""(4): the two parts of $\ell(\theta) - \ell(\theta')$, what Q gains and what comes for free; (n, m) twice."""
    q = posterior(before)
    gain = expected_log_joint(q, log_joint) - expected_log_joint(q, before)
    return gain, expected_log_posterior(q, before) - expected_log_posterior(q, log_joint)


def bound(q, log_joint):
    r"""(5): $F(q, \theta)$; (n, m), (n, m) to ()."""
    return expected_log_joint(q, log_joint) + tg.sum(divergences.entropy(q))


def gap(q, log_joint):
    r"""(6): $\sum_i \mathrm{KL}(q_i(z) \,\|\, p_\theta(z|x_i))$; (n, m), (n, m) to ()."""
    return tg.sum(divergences.kl(q, posterior(log_joint)))


# ---- every model ----------------------------------------------------------------------------------------


class Posterior(NamedTuple):
    """What an E step hands on.

    Attributes
    ----------
    statistics : a (named) tuple of arrays, expectations of the sufficient statistics under q; whatever the M step takes
    entropy : $H(q)$, in nats, summed over the examples
    """

    statistics: Any
    entropy: Any


def total(parts: Iterable[Posterior]) -> Posterior:
    """The posterior of all examples from those of a few at a time (chunks, sequences), whose statistics are sums."""
    statistics, entropies = zip(*parts, strict=True)
    added = [sum(entries[1:], start=entries[0]) for entries in zip(*statistics, strict=True)]
    kind = type(statistics[0])
    return Posterior(kind(*added) if hasattr(kind, "_fields") else kind(added), sum(entropies))


class EM(Model):
    r"""Base of the models that are learnt by EM; one of its own writes `e_step`, `m_step`, `expected_log_joint`.

    What must outlive a step (the parameters $\theta$) is registered as a buffer, in float64: EM has no noise in which
    rounding could drown, it stops when hardly anything changes any more, and sums over all examples and differences of
    squares cost half of the digits. The data `x` may be anything with a length, such as an array with a row for each
    example or a list of sequences; all of them are looked at in every iteration.

    Parameters
    ----------
    tol : stop when an iteration changes the bound by less than this, in nats an example; 0 never stops
    n_init : how many starts are tried, for a few iterations each; the highest goes on
    rng : the Generator of the starts; None takes fresh entropy. The model lives on its device.

    Attributes
    ----------
    exact : whether `e_step` gives the posterior itself, so that its bound is the log-likelihood
    converged : whether `tol` was reached, 0 or 1; of the state, so that a resumed run stops at the same step
    started : whether there are parameters to go on from, 0 or 1
    reached : the bound after the last E step, in nats an example

    Examples
    --------
    Each example picks one of two coins unseen and tosses it ten times: x heads. What are the coins' chances p?

    >>> class Coins(EM):
    ...     def __init__(self, p, **options):
    ...         super().__init__(**options)
    ...         self.register_buffer("p", tg.tensor(p, dtype="float64"))
    ...     def log_joint(self, x):
    ...         p = self.p.data  # of each coin, the log-probability of x heads and 10 - x tails, in one order
    ...         return math.log(0.5) + x[:, None] * tg.log(p) + (10 - x[:, None]) * tg.log(1 - p)
    ...     def e_step(self, x):
    ...         q = posterior(self.log_joint(x))  # (n, 2)
    ...         return Posterior((tg.sum(q, 0), x @ q), tg.sum(divergences.entropy(q)))
    ...     def m_step(self, statistics):
    ...         tosses, heads = 10 * statistics[0], statistics[1]
    ...         self.p.assign(heads / tosses)
    ...     def expected_log_joint(self, statistics):
    ...         picked, heads = statistics
    ...         tails = 10 * picked - heads
    ...         return tg.sum(picked * math.log(0.5) + heads * tg.log(self.p.data) + tails * tg.log(1 - self.p.data))
    >>> import numpy as np
    >>> coins = Coins([0.4, 0.6]).fit(np.array([5.0, 9, 8, 4, 7]), run=Run(quiet=True))
    >>> coins.p.numpy().round(1), int(coins.converged)
    (array([0.5, 0.8]), 1)
    """

    exact = True
    started: tg.Tensor
    converged: tg.Tensor
    reached: tg.Tensor

    def __init__(self, *, tol: float = 1e-3, n_init: int = 1, rng: Generator | None = None):
        if not tol >= 0 or n_init < 1:
            raise ValueError(f"{type(self).__name__}: tol is {tol!r} and n_init {n_init!r}; a tolerance of 0 or more "
                             "and at least one start are wanted")  # fmt: skip
        self.tol, self.n_init = tol, n_init
        self.rng = Generator() if rng is None else rng
        device = self.rng.device
        self.register_buffer("started", tg.tensor(0, device=device))
        self.register_buffer("converged", tg.tensor(0, device=device))
        self.register_buffer("reached", tg.tensor(-math.inf, dtype="float64", device=device))

    # ---- what a model writes ----

    def start(self, x: Any) -> None:
        """Choose the first parameters; by default those that the constructor has set."""

    def e_step(self, x: Any) -> Posterior:
        r"""Set q to the posterior $p_\theta(z|x)$, or as near as its family comes."""
        raise NotImplementedError(f"{type(self).__name__} has no e_step")

    def m_step(self, statistics: Any) -> None:
        """(2): set the parameters to those that maximise `expected_log_joint(statistics)`."""
        raise NotImplementedError(f"{type(self).__name__} has no m_step")

    def expected_log_joint(self, statistics: Any) -> Any:
        r"""(1): $\mathbb E_q \log p_\theta(x, z)$ at the present parameters, which changes no state; a number.

        A prior over the parameters would add its logarithm here, and `bound` would be one of $\log p(x, \theta)$.
        """
        raise NotImplementedError(f"{type(self).__name__} has no expected_log_joint")

    def checked(self, x: Any) -> Any:
        """The data as the steps want it, or an error that says what is wrong."""
        return x

    # ---- what follows ----

    def bound(self, q: Posterior) -> Any:
        r"""(5): $F(q, \theta)$ at the present parameters, summed over the examples."""
        return self.expected_log_joint(q.statistics) + q.entropy

    def update(self, x: Any) -> dict:
        """(2): an E step and an M step; gives two values of (5), in nats an example.

        The first, `log_likelihood`, is where the bound stands after the E step (it is called `bound` where that is not
        `exact`); the second, `raised`, where the M step takes it.
        """
        q = self.e_step(x)
        closed = self.bound(q) / len(x)
        self.m_step(q.statistics)
        self.converged.assign(int(abs(float(closed) - float(self.reached)) < self.tol))
        self.reached.assign(closed)
        return {"log_likelihood" if self.exact else "bound": closed, "raised": self.bound(q) / len(x)}

    def begin(self, x: Any) -> None:
        """Start; with several starts, go on from the one that a few iterations take highest."""
        self.start(x)
        if self.n_init > 1:
            tried = [self._trial(x)]
            for _ in range(1, self.n_init):
                self.start(x)
                tried.append(self._trial(x))
            _, best = max(tried, key=lambda trial: trial[0])
            for name, tensor in self.named_buffers():
                tensor.assign(best[name])
        self.started.assign(1)

    def _trial(self, x: Any) -> tuple[float, dict[str, Any]]:
        """The bound that a few iterations reach from here, and the buffers then."""
        for _ in range(TRIAL):
            self.m_step(self.e_step(x).statistics)
        return float(self.bound(self.e_step(x))), {name: tensor.numpy() for name, tensor in self.named_buffers()}

    def fit(self, x: Any, *, steps: int = 100, run: Run | None = None) -> Self:
        """Iterate until `tol` is reached, at most `steps` times; goes on where `run` stopped, if it is a resumed one.

        A model that was fitted before goes on from its parameters; for a new start make a new model. Once converged,
        the steps that are left change nothing.
        """
        x, run = self.checked(x), run or Run()
        self.converged.assign(0)
        self.reached.assign(-math.inf)
        for _ in run.steps(self, steps):
            if not self.started:
                self.begin(x)
            if not self.converged:
                run.log(**self.update(x))
        return self

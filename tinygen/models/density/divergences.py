r"""Divergences: how far one law is from another, and what becomes of a model that makes it small.

S0 lists four: Kullback–Leibler ("the chosen one"), Wasserstein, Jensen–Shannon and Cramér; S1 finds that the second
"has better gradient and convergence". Their formulas, for vectors of probabilities, samples and Gaussians, are
functions in `probability.divergences`. This chapter is about what they do.

**KL.** $\mathrm{KL}(p \| q) = \sum_i p_i \log (p_i / q_i)$ (S0; S2 eq. 4.10; S4 eqs. 8, 121) is a mean of
$-\log (q/p)$ under $p$, and $-\log$ is convex: by Jensen's inequality it is at least $-\log \sum_i q_i = 0$, and 0 only
if $q_i / p_i$ is the same everywhere (S4 eqs. 125–126). It is not symmetric, breaks the triangle inequality, and is
infinite where $q$ has nothing and $p$ something; S0's "share domain" means that $p$ must vanish where $q$ does.

**JS** (S2 eq. 4.11; S4 eqs. 122, 131) compares both with their mixture $m = \frac12 (p + q)$, which vanishes nowhere
that they do not: $\mathrm{JS}(p, q) = \frac12 \mathrm{KL}(p \| m) + \frac12 \mathrm{KL}(q \| m)$. What it measures is
a game. A coin decides whether a point comes from $p$ or from $q$, and a classifier that sees the point says that it is
from $p$ with probability $D_i$. Its mean log-score, up to a factor 2, is (S2 eq. 4.9; S4 eq. 115)

$$ V(D) = \sum_i p_i \log D_i + q_i \log (1 - D_i), \tag{1} $$

which is largest, point by point, at (S2 eq. 4.8)

$$ D^\star_i = \frac{p_i}{p_i + q_i}, \qquad V(D^\star) = -\log 4 + 2\, \mathrm{JS}(p, q) \tag{2} $$

(S4 eqs. 119–124; S2 eq. 4.12 has lost the factor 2). A classifier that knows nothing has $-\log 4$. The best one
gains $2\, \mathrm{JS}$, and no one can have more than 0: hence $0 \le \mathrm{JS} \le \log 2$ (S4 eqs. 123,
127–129). In other words, JS is how much the point tells about the coin, and a coin has no more than $\log 2$ to tell.
The root $\sqrt{\mathrm{JS}}$ is a metric (S2, after eq. 4.11): symmetric, 0 only for equal laws, and no way round is
shorter.

**Forward or reverse?** Let a family $q_\theta$ come as near to $p$ as it can. The two orders of KL have the slopes

$$ \nabla_\theta \mathrm{KL}(p \,\|\, q_\theta) = -\sum_i p_i \nabla_\theta \log q_{\theta, i}, \tag{3} $$
$$ \nabla_\theta \mathrm{KL}(q_\theta \,\|\, p)
   = \sum_i q_{\theta, i} \log \frac{q_{\theta, i}}{p_i}\, \nabla_\theta \log q_{\theta, i}. \tag{4} $$

*Forward*, (3), is a mean under $p$: examples will do for it, and it is maximum likelihood (`supervised.losses`). Where
$p$ has mass $q_\theta$ must have some, so it *covers*. Where $p$ has none, nothing is said (S4, below eq. 131, noted
that these terms are close to 0). For Gaussians $q_\theta$ the slope is 0 where the moments agree,

$$ \mathbb E_q X = \mathbb E_p X, \qquad \mathrm{Var}_q X = \mathrm{Var}_p X, \tag{5} $$

be there a valley of $p$ between its two hills or not. *Reverse*, (4), is a mean under the model, and asks for the value
of $p$ there (variational inference has it, up to a constant). Mass where $p$ has none is punished without limit; mass
that is missed costs little, $-\log$ of the share that is kept, so it *seeks a mode*. JS is between the two and may do
either, depending on the start. S4 supposes that this is why adversarial networks do well; that is a conjecture.

**Where the mass lies.** KL and JS compare heights at one place. They do not know which places are near each other. Take
two boxes, uniform laws on $[0, 1]$ and on $[\delta, \delta + 1]$ (the parallel lines of the Wasserstein GAN paper, with
a width). With $\delta \ge 0$,

$$ \mathrm{JS} = \min(\delta, 1) \log 2, \qquad W_1 = \delta, \qquad
   C = \begin{cases} \delta^2 - \delta^3 / 3, & \delta \le 1 \\ \delta - 1/3, & \delta \ge 1, \end{cases} \tag{6} $$

and KL is $\infty$ in both orders as soon as $\delta > 0$. From $\delta = 1$ on JS has no slope: it sees that the boxes
are apart, not how far, so that no descent on it can bring them together. $W_1$, the *earth mover's distance*, is the
least work, mass times way, that carries one law into the other (S1), and the *Cramér distance* $C$ is the integral of
the squared difference of the distribution functions. Both go on falling until the boxes meet. Half of the squared
*energy distance* is $C$ again, $C = \mathbb E |X - Y| - \frac12 \mathbb E |X - X'| - \frac12 \mathbb E |Y - Y'|$ with
independent copies.

**Gaussians on the line.** With the mean absolute value of a normal number,

$$ A(m, s) = \mathbb E |m + s Z| = s \sqrt{\tfrac{2}{\pi}}\, e^{-m^2 / 2 s^2}
   + m \operatorname{erf} \frac{m}{s \sqrt 2}, \tag{7} $$

all but JS are closed forms. For $p = \mathcal N(\mu, \sigma^2)$ and $q = \mathcal N(\nu, \tau^2)$, S4 eq. 105 gives
the first; the second follows because the cheapest plan keeps the order, $\mu + \sigma z$ to $\nu + \tau z$; and the
third is the energy form, term by term:

$$ \mathrm{KL}(p \| q) = \log \frac{\tau}{\sigma} + \frac{\sigma^2 + (\mu - \nu)^2}{2 \tau^2} - \frac12, \tag{8} $$
$$ W_1(p, q) = A(\mu - \nu,\, |\sigma - \tau|), \qquad
   C(p, q) = A\bigl(\mu - \nu, \sqrt{\sigma^2 + \tau^2}\bigr) - \frac{\sigma + \tau}{\sqrt \pi}. \tag{9} $$

**From samples.** Who has $n$ examples of $p$ instead of $p$ would like a slope that is right on average. (3) is. What
of $W_1$ and $C$? Let $p$ be a coin with $P(X = 1) = \pi$, let $\hat \pi$ be the share of ones among $n$ examples, and
let the model be a coin of $\theta$. Then $W_1 = |\hat \pi - \theta|$ and $C = (\hat \pi - \theta)^2$, with the means

$$ \mathbb E W_1 = \sum_{k=0}^{n} \binom nk \pi^k (1 - \pi)^{n - k} \left| \tfrac kn - \theta \right|, \qquad
   \mathbb E C = (\pi - \theta)^2 + \frac{\pi (1 - \pi)}{n}. \tag{10} $$

The second is least at $\theta = \pi$. The first is least at a median of $\hat \pi$: for $n = 1$ and $\pi > \frac12$
that is $\theta = 1$, whatever $\pi$ is. Descents on $W_1$ of small samples end at the wrong place, those on $C$ do not
(Bellemare and others 2017). It is the mean against the median once more, as in `supervised.losses`.

Notation
--------
$p, q$ : `p`, `q`, probability vectors, (k,), at the places `positions`, (k,)
$D$ : `D`, (k,)
$\nabla_\theta \log q_{\theta, i}$ : `score`, (k, n) for n parameters
$\mu, \sigma, \nu, \tau$ : `mu`, `sigma`, `nu`, `tau`, numbers or arrays of one shape
$\delta, \pi, n$ : `delta`, `pi`, `n`
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import scipy.stats

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.model import Model
from tinygen.nn import functional as F
from tinygen.probability import divergences
from tinygen.probability.support import SIMPLEX
from tinygen.runs import Run

# ---- Jensen-Shannon as a game ---------------------------------------------------------------------------


def game_value(p, q, D):
    r"""(1): $\sum_i p_i \log D_i + q_i \log (1 - D_i)$, with $0 \log 0 = 0$; three of (..., k) to (...)."""
    right = tg.where(p > 0, tg.log(tg.where(p > 0, D, 1.0)), 0.0)
    wrong = tg.where(q > 0, tg.log(1 - tg.where(q > 0, D, 0.0)), 0.0)
    return tg.sum(p * right + q * wrong, axis=-1)


def best_classifier(p, q):
    r"""(2): $D^\star = p / (p + q)$, and ½ where both are 0; twice (..., k) to (..., k)."""
    both = p + q
    return tg.where(both > 0, p / tg.where(both > 0, both, 1.0), 0.5)


# ---- forward and reverse KL -----------------------------------------------------------------------------


def forward_slope(p, score):
    r"""(3): $-\sum_i p_i \nabla \log q_i$; (k,), (k, n) to (n,)."""
    return -tg.matmul(p, score)


def reverse_slope(p, q, score):
    r"""(4): $\sum_i q_i \log (q_i / p_i)\, \nabla \log q_i$, for positive p and q; (k,), (k,), (k, n) to (n,)."""
    return tg.matmul(q * tg.log(q / p), score)


def moments(p, positions) -> tuple[Any, Any]:
    r"""(5): $\mathbb E_p X$ and $\mathrm{Var}_p X$; (k,), (k,) to twice ()."""
    mean = tg.sum(p * positions)
    return mean, tg.sum(p * tg.square(positions - mean))


# ---- closed forms ---------------------------------------------------------------------------------------


def boxes(delta) -> dict[str, Any]:
    r"""(6) and KL between uniform laws on $[0, 1]$ and $[\delta, \delta + 1]$, $\delta \ge 0$; (n,) each, host."""
    delta = np.asarray(delta, float)
    return {
        "KL": np.where(delta > 0, math.inf, 0.0),
        "Jensen-Shannon": np.minimum(delta, 1) * math.log(2),
        "earth mover": delta,
        "Cramér": np.where(delta < 1, delta**2 - delta**3 / 3, delta - 1 / 3),
    }


def absolute_mean(m, s):
    r"""(7): $A(m, s) = \mathbb E |m + s Z|$; at $s = 0$ it is $|m|$."""
    safe = tg.where(s > 0, s, 1.0)
    spread = safe * math.sqrt(2 / math.pi) * tg.exp(-tg.square(m / safe) / 2) + m * tg.erf(m / (safe * math.sqrt(2)))
    return tg.where(s > 0, spread, tg.abs(m))


def gaussian_kl(mu, sigma, nu, tau):
    r"""(8): $\mathrm{KL}(\mathcal N(\mu, \sigma^2) \| \mathcal N(\nu, \tau^2))$ in nats."""
    return tg.log(tau / sigma) + (tg.square(sigma) + tg.square(mu - nu)) / (2 * tg.square(tau)) - 1 / 2


def gaussian_earth_mover(mu, sigma, nu, tau):
    r"""(9), left: $W_1 = A(\mu - \nu, |\sigma - \tau|)$."""
    return absolute_mean(mu - nu, tg.abs(sigma - tau))


def gaussian_cramer(mu, sigma, nu, tau):
    r"""(9), right: $C = A(\mu - \nu, \sqrt{\sigma^2 + \tau^2}) - (\sigma + \tau) / \sqrt \pi$."""
    spread = tg.sqrt(tg.square(sigma) + tg.square(tau))
    return absolute_mean(mu - nu, spread) - (sigma + tau) / math.sqrt(math.pi)


def coins(pi: float, theta, n: int) -> dict[str, Any]:
    r"""(10): the mean divergences between n throws of a coin and a coin of $\theta$; (m,) to (m,) each, host."""
    theta = np.asarray(theta, float)
    k = np.arange(n + 1)
    chance = scipy.stats.binom.pmf(k, n, pi)  # (n + 1,)
    return {"earth mover": np.abs(k / n - theta[..., None]) @ chance, "Cramér": (pi - theta) ** 2 + pi * (1 - pi) / n}


# ---- the model ------------------------------------------------------------------------------------------

DIVERGENCES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "forward": lambda p, q, positions: divergences.kl(p, q),
    "reverse": lambda p, q, positions: divergences.kl(q, p),
    "js": lambda p, q, positions: divergences.js(p, q),
    "earth mover": divergences.earth_mover,
    "cramer": divergences.cramer,
}
FLOOR = 1e-12  # the share of the uniform law that the model keeps, so that no divergence from it is infinite


class GaussianOnGrid(Model):
    r"""A Gaussian cut to places on a line, brought near to a law there by one of the divergences.

    Parameters
    ----------
    positions : the places, (k,), rising
    divergence : "forward" for KL(p, model), "reverse" for KL(model, p), "js", "earth mover" or "cramer"
    lr : the rate of Adam, for a mean in the unit of the positions: about a three-hundredth of their width suits
    schedule : the factor of the rate as a function of the step; None keeps it
    rng : the Generator of the mean it starts at, in the middle half of the line, and of draws; None takes fresh
        entropy. The model lives on its device.

    Examples
    --------
    >>> x = np.arange(-3.0, 4.0)
    >>> p = np.array([0.0, 0.1, 0.2, 0.4, 0.2, 0.1, 0.0])
    >>> model = GaussianOnGrid(x, lr=0.1, rng=tg.random.Generator(0)).fit(p, steps=300, run=Run(quiet=True))
    >>> mean, variance = moments(model.probabilities(), x)
    >>> bool(abs(mean) < 1e-3), round(float(variance), 2)
    (True, 1.2)
    """

    def __init__(self, positions: np.ndarray, *, divergence: str = "forward", lr: float = 0.05, schedule: Any = None,
                 rng: Generator | None = None):  # fmt: skip
        positions = np.asarray(positions, float)
        if positions.ndim != 1 or len(positions) < 3 or not (np.diff(positions) > 0).all():
            raise ValueError(f"GaussianOnGrid: positions of shape {positions.shape} are not at least 3 numbers that "
                             "rise; these are wanted")  # fmt: skip
        if divergence not in DIVERGENCES:
            raise ValueError(f"GaussianOnGrid: divergence is {divergence!r}; one of {', '.join(DIVERGENCES)} is wanted")
        self.divergence = divergence
        self.rng = Generator() if rng is None else rng
        self.positions: tg.Tensor
        self.register_buffer("positions", tg.tensor(positions, device=self.rng.device))
        middle, width = float(positions[0] + positions[-1]) / 2, float(positions[-1] - positions[0])
        start = self.rng.uniform((), middle - width / 4, middle + width / 4, dtype="float64")
        self.mean = tg.tensor(start, requires_grad=True)
        self.log_scale = tg.tensor(start * 0 + math.log(width / 12), requires_grad=True)
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    def forward(self):
        r"""The model's probabilities $q_\theta$, (k,)."""
        z = (self.positions - self.mean) * tg.exp(-self.log_scale)
        return (1 - FLOOR) * F.softmax(-tg.square(z) / 2, 0) + FLOOR / len(self.positions)

    def update(self, p) -> dict:
        """One step of Adam down the divergence between p, (k,), and the model."""
        loss = DIVERGENCES[self.divergence](p, self(), self.positions)
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.schedule.step()
        return {"divergence": loss}

    def fit(self, p: np.ndarray, *, steps: int, run: Run | None = None) -> Self:
        """Come near to the probabilities p, (k,); `run` may be a resumed one."""
        run, p = run or Run(), self.checked(p)
        for _ in run.steps(self, steps):
            run.log(**self.update(p))
        return self

    def probabilities(self) -> np.ndarray:
        r"""$q_\theta$, (k,)."""
        with tg.no_grad():
            return self().numpy()

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """Places drawn from the model, (n,)."""
        rng = rng or self.rng
        index = rng.categorical(probabilities=backend.asarray(self.probabilities(), device=rng.device), shape=n)
        return self.positions.numpy()[backend.to_numpy(index)]

    def checked(self, p):
        """p as (k,) float64 where the model is, or an error that says what is wrong."""
        given = np.asarray(backend.to_numpy(p) if backend.is_array(p) else p, float)
        if given.shape != self.positions.shape:
            raise ValueError(f"GaussianOnGrid: p has shape {given.shape}; a probability for each of the "
                             f"{len(self.positions)} positions is wanted")  # fmt: skip
        SIMPLEX.check("GaussianOnGrid", "p", given)
        if self.divergence == "reverse" and not (given > 0).all():
            raise ValueError(f"GaussianOnGrid: p holds {int((given == 0).sum())} zeros, from which the reverse KL of a "
                             "Gaussian is infinite; positive probabilities are wanted (mix in a little of the uniform "
                             "law)")  # fmt: skip
        return backend.asarray(given, "float64", self.positions.device)

r"""Annealed importance sampling: how large is a partition function? (Neal 2001; Salakhutdinov and Murray 2008.)

The likelihood of a restricted Boltzmann machine needs $\log Z$, a sum over $2^m$ terms (`rbm`, equation 7). Beyond some
twenty units it must be estimated. (This is beyond the documents, which stop at "generally intractable".)

**Importance sampling** draws from another machine A, whose $Z_A$ is known, and corrects by weights. With
$p^*(v) = e^{-F(v)}$, so that $p(v) = p^*(v) / Z$,

$$ \frac{Z}{Z_A} = \mathbb E_{v \sim p_A} \frac{p^*(v)}{p_A^*(v)}. \tag{1} $$

A good A without $W$ has independent pixels. Its visible biases $b_A$ give each pixel its mean over the data, and

$$ \log Z_A = m \log 2 + \sum_{j=1}^{n} \log (1 + e^{b_{A,j}}) \tag{2} $$

(the hidden units, tied to nothing, count as $m$ coins). But draws of independent pixels hardly ever look
like digits, where $p$ has its mass: nearly all weights in (1) are as good as zero, and their mean is useless.

**Annealing** goes there in small steps. Between A and the machine in question lies a path of machines, one for each
inverse temperature $\beta$ from 0 to 1, whose energies are mixed, $E_\beta = (1 - \beta) E_A + \beta E$. Since energies
are linear in the parameters, each of these is a restricted Boltzmann machine with weights $\beta W$ and biases
$(1 - \beta) b_A + \beta b$ and $\beta c$. With $a = c + v W$,

$$ \log p_\beta^*(v) = \bigl((1 - \beta) b_A + \beta b\bigr)^\top v + \sum_{i=1}^{m} \log(1 + e^{\beta a_i}). \tag{3} $$

Draw $v_1$ from A. At each step multiply the weight by the ratio of two neighbours on the path, then move
$v$ by one Gibbs step $T_k$ of the next machine, which makes it a little more like that machine's draws:

$$ \log w = \sum_{k=1}^{K} \log p_{\beta_k}^*(v_k) - \log p_{\beta_{k-1}}^*(v_k), \qquad
   v_{k+1} \sim T_k(\cdot|v_k), \qquad 0 = \beta_0 < \dots < \beta_K = 1. \tag{4} $$

The Gibbs steps need not converge. Whatever they do, as long as $T_k$ leaves $p_{\beta_k}$ unchanged,

$$ \mathbb E\, w = \frac{Z}{Z_A}, \qquad
   \log \hat Z = \log Z_A + \log \frac1M \sum_{i=1}^{M} w_i, \tag{5} $$

so $\hat Z$ is unbiased for any $K$ and any number $M$ of chains; $K = 1$ is (1). (Sum $\mathbb E\, w$ over $v_1$
first: the factor $p_{\beta_1}^*(v_1) / p_{\beta_0}^*(v_1)$ turns $p_{\beta_0}$ into a multiple of $p_{\beta_1}$,
which $T_1$ leaves as it is. Then over $v_2$, and so on.) Its logarithm is too small on average, by Jensen's
inequality, and with few steps by a lot: a few large weights are all that counts, and they may not come.

**How sure is it?** By the spread of the weights: the standard error of $\hat Z$ in parts of $\hat Z$ is

$$ r = \sqrt{\frac{1}{M (M - 1)} \sum_{i=1}^{M} \left(\frac{w_i}{\bar w} - 1\right)^2}, \tag{6} $$

about the standard error of $\log \hat Z$ as well, as long as it is small; and three standard errors to either side give

$$ \log \hat Z + \log (1 - 3 r) \;\le\; \log Z \;\le\; \log \hat Z + \log (1 + 3 r). \tag{7} $$

The number of draws that would serve as well, if they came from $p$ itself, is about

$$ M_\mathrm{eff} = \frac{(\sum_i w_i)^2}{\sum_i w_i^2}. \tag{8} $$

(6) and (8) see only the weights that came. If all chains have missed a place where $p$ has mass, they know nothing of
it. There is a check: start at draws from $p$, and go the path **backwards**. That estimates
$1/Z$ without bias, hence

$$ \log \check Z = \log Z_A - \log \frac1M \sum_{i=1}^{M} w_i, \qquad \beta: 1 \to 0, \tag{9} $$

is too *large* on average, so that the truth lies between the means of (5) and (9); two single runs may miss it, by
about their errors (Grosse, Ghahramani and Adams 2015). The bounds of (7) change places.

Notation
--------
$v, a$ : `v`, (M, n) and `a`, (M, m), of M chains
$\beta_0, \dots, \beta_K$ : `betas`, K + 1 numbers
$b_A$ : `base`, (n,)
$\log w$ : `log_w`, (M,), summed in float64
$r, M_\mathrm{eff}$ : `Estimate.error`, `Estimate.effective_chains`
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.energy.rbm import RBM, log_odds

# ---- the equations --------------------------------------------------------------------------------------


def log_partition_of_base(base, n_hidden: int) -> float:
    r"""(2): $m \log 2 + \sum_j \log (1 + e^{b_{A,j}})$; raw (n,)."""
    return n_hidden * math.log(2) + float(tg.softplus(base.astype("float64")).sum())


def log_unnormalised(v, a, beta: float, base, b):
    r"""(3): $\log p_\beta^*(v)$; raw (M, n), (M, m), twice (n,) to (M,)."""
    return tg.matmul(v, (1 - beta) * base + beta * b) + tg.sum(tg.softplus(beta * a), axis=1)


def log_ratio(v, a, before: float, after: float, base, b):
    r"""A term of (4): (3) at `after` less (3) at `before`, summed in float64, since it is small and there are many."""
    gained = tg.softplus(after * a) - tg.softplus(before * a)  # (M, m)
    return (after - before) * tg.matmul(v, b - base).astype("float64") + gained.sum(axis=1, dtype="float64")


def anneal(v, betas, base, W, b, c, rng: Generator) -> tuple[Any, Any]:
    r"""(4): $\log w$ of chains that start at `v` (M, n) and follow the path of `betas`: (M,), and where they end."""
    log_w = 0.0
    for before, after in itertools.pairwise(betas):
        a = tg.matmul(v, W) + c  # (M, m)
        log_w = log_w + log_ratio(v, a, before, after, base, b)
        h = rng.bernoulli(tg.sigmoid(after * a), dtype=v.dtype)
        biases = (1 - after) * base + after * b
        v = rng.bernoulli(tg.sigmoid(after * tg.matmul(h, tg.transpose(W)) + biases), dtype=v.dtype)
    return log_w, v


def inverse_temperatures(n: int) -> list[float]:
    r"""Numbers $0 = \beta_0 < \dots < \beta_n = 1$, close together near 1, where $p_\beta$ changes fastest.

    Of the steps, 1/29 lead to 0.5, 8/29 on to 0.9 and 20/29 to 1, as in Salakhutdinov and Murray's 14,500.
    """
    if n < 1:
        raise ValueError(f"inverse_temperatures: n is {n!r}; a step at least is wanted")
    return np.interp(np.linspace(0, 1, n + 1), [0, 1 / 29, 9 / 29, 1], [0, 0.5, 0.9, 1]).tolist()


class Estimate(NamedTuple):
    r"""What the weights of M chains say of $\log Z$.

    Attributes
    ----------
    log_z : $\log \hat Z$ by (5), or, if `backwards`, $\log \check Z$ by (9)
    log_weights : $\log w$, (M,)
    """

    log_z: float
    log_weights: np.ndarray
    backwards: bool = False

    @property
    def error(self) -> float:
        """(6): the standard error, in nats where it is small."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return float(np.std(w, ddof=1) / np.mean(w) / math.sqrt(len(w))) if len(w) > 1 else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """(7): three standard errors to either side; the lower end is minus infinity if the error is too large."""
        below, above = (math.log(r) if r > 0 else -math.inf for r in (1 - 3 * self.error, 1 + 3 * self.error))
        return (self.log_z - above, self.log_z - below) if self.backwards else (self.log_z + below, self.log_z + above)

    @property
    def effective_chains(self) -> float:
        """(8): how many independent draws the weights are worth."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return float(w.sum() ** 2 / np.square(w).sum())


# ---- the estimate ---------------------------------------------------------------------------------------


def log_partition(rbm: RBM, *, chains: int = 100, temperatures: int = 10_000, mean: np.ndarray | None = None,
                  start: np.ndarray | None = None, rng: Generator | None = None) -> Estimate:  # fmt: skip
    r"""Estimate $\log Z$ of a machine.

    Parameters
    ----------
    chains : $M$; memory and time are proportional to it
    temperatures : $K$, steps on the path
    mean : the mean of the data (n,), which gives $b_A$ (`rbm`, equation 11); by default A's pixels are fair coins
    start : draws from the machine itself (M, n), zeros and ones, to go backwards by (9); `chains` is then not used
    rng : of the chains, on the machine's device; None takes fresh entropy

    Returns
    -------
    Estimate
        Its `log_z`, `error` and `interval` are in nats.
    """
    betas = inverse_temperatures(temperatures)
    if chains < 1:
        raise ValueError(f"log_partition: chains is {chains!r}; one at least is wanted")
    if not rbm.binary_visible:
        raise ValueError(f"log_partition: a {type(rbm).__name__} has real visible units; binary ones are wanted, since "
                         "the path is of such machines (with few hidden units, its own log_z is exact)")  # fmt: skip
    if type(rbm).hidden_mean is not RBM.hidden_mean:
        raise ValueError(f"log_partition: a {type(rbm).__name__} has hidden units of its own kind; binary ones are "
                         "wanted, since the path is of such machines")  # fmt: skip
    W, b, c = (p.data for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    rng = Generator(device=rbm.weight.device) if rng is None else rng
    base = 0 * b if mean is None else log_odds(rbm.checked(backend.asarray(mean)[None])[0])  # (n,)
    if start is None:
        v = rng.bernoulli(tg.sigmoid(base), (chains, rbm.n_visible), dtype=W.dtype)  # (M, n)
    else:
        v, betas = rbm.checked(start), betas[::-1]
    log_w = backend.to_numpy(anneal(v, betas, base, W, b, c, rng)[0])
    mean_w = float(np.logaddexp.reduce(log_w)) - math.log(len(log_w))
    log_z_base = log_partition_of_base(base, rbm.n_hidden)
    return Estimate(log_z_base + (mean_w if start is None else -mean_w), log_w, start is not None)

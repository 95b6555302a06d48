r"""Hidden Markov models: what is seen at a time was driven by a state that is not, and states follow one another.

S4's outline names the model among those with latent variables, and no slide of it follows; the letters here are
Rabiner's (1989). A casino has a fair die and a loaded one. We see the throws and not the die, but we know that the
croupier swaps them now and then. Six after six may be luck; a run of sixes is a hint, because he rarely swaps. A
mixture would judge every throw alone. Here the hidden die $z_t \in \{1, \dots, m\}$ remembers the one before it: it
starts with the probabilities $\pi$, moves with the probabilities $A_{ij} = p(z_{t+1} = j \mid z_t = i)$, and emits what
we see with the law $b_j(x_t) = p(x_t \mid z_t = j)$. For a sequence $x = x_1, \dots, x_T$ and a path
$z = z_1, \dots, z_T$,

$$ p(x, z) = \pi_{z_1}\, b_{z_1}(x_1) \prod_{t=2}^{T} A_{z_{t-1} z_t}\, b_{z_t}(x_t). \tag{1} $$

Read from left to right this is how `sample` works. If every row of $A$ is $\pi$, it is a mixture again.

**Forwards.** The likelihood is the sum of (1) over $m^T$ paths. But all paths that meet in a state may be added up
there, because what comes next depends on the state alone. With $\alpha_t(j) = p(x_1, \dots, x_t, z_t = j)$,

$$ \alpha_1(j) = \pi_j\, b_j(x_1), \qquad
   \alpha_t(j) = \Big[ \sum_{i=1}^m \alpha_{t-1}(i)\, A_{ij} \Big] b_j(x_t), \tag{2} $$
$$ p(x) = \sum_{j=1}^m \alpha_T(j), \tag{3} $$

which takes $T m^2$ products instead of $m^T$.

**Backwards.** What is seen later tells about a state too. With $\beta_t(i) = p(x_{t+1}, \dots, x_T \mid z_t = i)$,

$$ \beta_T(i) = 1, \qquad \beta_{t-1}(i) = \sum_{j=1}^m A_{ij}\, b_j(x_t)\, \beta_t(j). \tag{4} $$

Past and future together give the posterior of a state and, from (4), that of a move. Given all of $x$, the path is
again a Markov chain: from $i$ it goes to $j$ in proportion to the term that $j$ has in the sum (4).

$$ \gamma_t(k) = p(z_t = k \mid x) = \frac{\alpha_t(k)\, \beta_t(k)}{p(x)}, \tag{5} $$
$$ \xi_t(i, j) = p(z_{t-1} = i, z_t = j \mid x)
   = \gamma_{t-1}(i)\, \frac{A_{ij}\, b_j(x_t)\, \beta_t(j)}{\beta_{t-1}(i)}. \tag{6} $$

**The best path.** The states that are most probable one by one need not make a path: a move between two of them may be
impossible. The most probable path as a whole is found like (2) with the largest in place of the sum (Viterbi 1967).
$\delta_t(j)$ is the probability of the best path that ends in $j$; one remembers where it came from, and walks back:

$$ \delta_1(j) = \pi_j\, b_j(x_1), \qquad
   \delta_t(j) = \max_i \left[ \delta_{t-1}(i)\, A_{ij} \right] b_j(x_t), \qquad
   \psi_t(j) = \operatorname*{argmax}_i\, \delta_{t-1}(i)\, A_{ij}. \tag{7} $$

**Learning** is EM (`em.py`), and was so before EM had its name (Baum, Petrie, Soules and Weiss 1970). The E step is
(2)–(6). The M step counts: how often is a state expected at the start, and each move, among all moves out of its state?
Sums run over all sequences $s$:

$$ \pi_k = \frac{\sum_s \gamma_1(k)}{\sum_s 1}, \qquad
   A_{ij} = \frac{\sum_s \sum_{t \ge 2} \xi_t(i, j)}{\sum_s \sum_{t \ge 2} \sum_l \xi_t(i, l)}. \tag{8} $$

*Discrete* emissions, $b_k(x) = B_{kx}$ for symbols $x$, are counted likewise; *Gaussian* ones,
$b_k(x) = \mathcal N(x | \mu_k, \Sigma_k)$, are those of a mixture whose responsibilities are the $\gamma_t(k)$: here
they are a `GaussianMixture`, whose weights play no part, with its kinds of covariance and its `reg_covar`.

$$ B_{kv} = \frac{\sum_s \sum_t \gamma_t(k)\, \mathbb 1_{x_t = v}}{\sum_s \sum_t \gamma_t(k)}, \qquad
   \mu_k = \frac{\sum_s \sum_t \gamma_t(k)\, x_t}{\sum_s \sum_t \gamma_t(k)}. \tag{9} $$

All of it maximises the expected logarithm of (1), with $n_k$ and $n_{ij}$ for the sums in (8),

$$ Q = \sum_k n_k \log \pi_k + \sum_{ij} n_{ij} \log A_{ij}
   + \sum_s \sum_t \sum_k \gamma_t(k) \log b_k(x_t). \tag{10} $$

As $q$ is the posterior itself, its entropy needs no sum of its own: $\log q(z) = \log p(x, z) - \log p(x)$, so

$$ H(q) = \sum_s \log p(x) - Q. \tag{11} $$

**Scales or logarithms?** $\alpha_t$ shrinks at every step, and after some hundred steps it is too small for a number.
The common cure is to make it sum to one each time and to keep the sums, which are worth having:

$$ c_t = \sum_j \Big[ \sum_i \hat\alpha_{t-1}(i)\, A_{ij} \Big] b_j(x_t) = p(x_t \mid x_1, \dots, x_{t-1}), \qquad
   \hat\alpha_t(j) = \frac{1}{c_t} \Big[ \sum_i \hat\alpha_{t-1}(i)\, A_{ij} \Big] b_j(x_t), \tag{12} $$
$$ \hat\beta_{t-1}(i) = \sum_j A_{ij}\, \frac{b_j(x_t)}{c_t}\, \hat\beta_t(j), \qquad
   \gamma_t = \hat\alpha_t\, \hat\beta_t, \qquad
   \xi_t(i, j) = \hat\alpha_{t-1}(i)\, A_{ij}\, \frac{b_j(x_t)}{c_t}\, \hat\beta_t(j), \tag{13} $$

with $\log p(x) = \sum_t \log c_t$. What is left are products of matrices. But all states share one scale. A state
whose share falls below $10^{-308}$ is lost; and if later observations rule out the others (in a model that only moves
on from left to right, say) the likelihood is then said to be 0 when it is not. This cannot happen while every move is
possible, if the scale of the first observation is set by $\pi_j b_j$ and not by $b_j$: each state is then reached
afresh from the likeliest, and if $\min_{ij} A_{ij} = a$, no $\hat\beta$ leaves $[a, 1/a]$. So (12) and (13) serve
while $a > 10^{-102}$ (`least_move`). Otherwise (2)–(6) are done in logarithms, each sum about its own largest term,

$$ \log \sum_i e^{a_i} = a_* + \log \sum_i e^{a_i - a_*}, \qquad a_* = \max_i a_i, \tag{14} $$

where nothing is lost. It takes $m$ times as many exponentials, and three to five times as long.

Either way a step in time is one operation on many sequences at once. Sequences of unequal length stand in order of
length, the longest first: those that still run at time $t$ are then the first $n_t$, and nothing has to be padded or
masked.

**Zeros stay.** A probability that is 0 remains so in (8) and (9), for no path that uses it has a posterior. This is a
way to forbid moves: start with zeros in $A$. It is also a danger: a symbol that was never seen is impossible
afterwards, and a sequence that holds it has the log-likelihood $-\infty$. A row of $A$ that no path is expected to
leave from, or a state that emits nothing, has any maximiser; it keeps what it has.

Notation
--------
$x$ : `x`, packed: (N,), or (N, d), N observations of all sequences, as `sequences.py` explains
$z_t$ : `z`; states are numbers from 0 to m - 1 in the code
$\pi, A$ : `initial`, (m,); `transitions`, (m, m), rows that sum to one
$B$ : `emissions`, (m, v);  $\mu_k, \Sigma_k$ : `means`, `covariances`
$\log b_k(x_t)$ : `log_b`, (m, N)
$\alpha, \beta, \delta$ : `alpha`, `beta`, `delta`, (m, N), as logarithms, save in (12) and (13)
$\hat\alpha, c_t$ : `alpha`, (m, N); `c`, (N,);  there $b_k(x_t)$ is `b`, (m, N), over its largest value of all k
$\gamma$ : `gamma`, (m, N)
$\sum_t \xi_t$ : `moves`, (m, m)
$\log p(x)$ : `log_p`, (n,), of n sequences
$n_t$ : `running[t]`
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.latent import em
from tinygen.models.latent import gaussian_mixture as mixture
from tinygen.models.latent.em import EM, Posterior, total
from tinygen.models.latent.gaussian_mixture import GaussianMixture
from tinygen.models.latent.sequences import Block, Sequences, steps, unpack
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def least_move(dtype) -> float:
    """How improbable a move may be for (12): the cube of this can still be told from 0."""
    return float(np.finfo(dtype).tiny) ** (1 / 3)


def lowest(dtype) -> float:
    """Stands for the logarithm of 0 where a difference of two such would be no number."""
    return float(np.finfo(dtype).min) / 2


def log(p):
    r"""$\log p$, and $\log 0 = -\infty$ without a warning."""
    with backend.errstate(np, divide="ignore"):
        return tg.log(p)


def log_sum(terms) -> tuple[Any, Any]:
    r"""(14): $\sum_i e^{a_i - a_*}$ and $\log \sum_i e^{a_i}$ over axis 1; leaves $e^{a_i - a_*}$ in `terms`.

    Where all terms are $-\infty$ it is 0 and $-\infty$; (m, m, n) to (m, n) twice.
    """
    xp = backend.array_module(terms)
    top = xp.maximum(terms.max(1), lowest(terms.dtype))
    terms -= top[:, None]
    xp.exp(terms, out=terms)
    sums = terms.sum(1)
    return sums, log(sums) + top


def log_joint(z, log_b, log_pi, log_A):
    r"""(1): $\log p(x, z)$ of one sequence; (T,), (m, T), (m,), (m, m) to ()."""
    xp = backend.array_module(log_b)
    return log_pi[z[0]] + log_A[z[:-1], z[1:]].sum() + log_b[z, xp.arange(len(z))].sum()


def forward(log_b, log_pi, log_A, running):
    r"""(2): $\log \alpha_t(j)$; (m, N) to (m, N)."""
    xp, alpha = backend.array_module(log_b), log_b.copy()
    m, n = len(log_A), running[0]
    room, moving = xp.empty((m, m, n), dtype=log_b.dtype), log_A.T[:, :, None]
    alpha[:, :n] += log_pi[:, None]
    for past, now in steps(running):
        terms = room[:, :, : now.stop - now.start]
        xp.add(moving, alpha[None, :, past], out=terms)  # (j, i, n_t)
        alpha[:, now] += log_sum(terms)[1]
    return alpha


def log_likelihood(alpha, last):
    r"""(3): $\log p(x)$ of each sequence; (m, N), (n,) to (n,)."""
    return log_sum(alpha[None, :, last])[1][0]


def backward(alpha, log_b, log_A, running, log_p) -> tuple[Any, Any]:
    r"""(4) and (6): $\log \beta_t(i)$, (m, N), and $\sum_t \xi_t(i, j)$, (m, m), added up over the sequences.

    $\xi_t$ costs no further exponentials: `terms` over their sums are what $\gamma_{t-1}$ is multiplied with in (6).
    """
    xp = backend.array_module(log_b)
    beta, m, n = xp.zeros_like(log_b), len(log_A), running[0]
    room, moving = xp.empty((m, m, n), dtype=log_b.dtype), log_A[:, :, None]
    moves, tiny = xp.zeros((m, m), dtype=log_b.dtype), float(np.finfo(log_b.dtype).tiny)
    for past, now in reversed(steps(running)):
        terms, to_come = room[:, :, : now.stop - now.start], log_b[:, now] + beta[:, now]
        xp.add(moving, to_come, out=terms)  # (i, j, n_t)
        sums, log_sums = log_sum(terms)
        beta[:, past] = log_sums
        share = posterior(alpha[:, past], log_sums, log_p[: terms.shape[2]]) / xp.maximum(sums, tiny)
        moves += xp.matmul(terms, share[:, :, None])[:, :, 0]
    return beta, moves


def posterior(alpha, beta, log_p):
    r"""(5): $\gamma_t(k)$; (m, N) twice, (N,) to (m, N)."""
    return tg.exp(alpha + beta - log_p)


def scaled_forward(b, pi, A, running) -> tuple[Any, Any]:
    r"""(12): $\hat\alpha_t(j)$ and $c_t$; (m, N), (m,), (m, m) to (m, N), (N,)."""
    xp, alpha = backend.array_module(b), b.copy()
    c, tiny = xp.empty(b.shape[1], dtype=b.dtype), float(np.finfo(b.dtype).tiny)

    def rescale(at):
        alpha[:, at].sum(0, out=c[at])
        alpha[:, at] /= xp.maximum(c[at], tiny)

    alpha[:, : running[0]] *= pi[:, None]
    rescale(slice(0, running[0]))
    for past, now in steps(running):
        alpha[:, now] *= xp.matmul(A.T, alpha[:, past])
        rescale(now)
    return alpha, c


def scaled_backward(alpha, c, b, A, running) -> tuple[Any, Any]:
    r"""(13): $\gamma_t(k)$, and $\sum_t \xi_t(i, j)$ added up over the sequences; to (m, N), (m, m)."""
    xp = backend.array_module(b)
    beta, sums = xp.ones_like(b), xp.zeros_like(A)
    for past, now in reversed(steps(running)):
        to_come = b[:, now] * beta[:, now]
        to_come /= c[now]
        beta[:, past] = xp.matmul(A, to_come)
        sums += xp.matmul(alpha[:, past], to_come.T)
    beta *= alpha
    return beta, A * sums


def viterbi(log_b, log_pi, log_A, running, last) -> tuple[Any, Any]:
    r"""(7): the most probable path of each sequence, and the logarithm of $\max_z p(x, z)$; (m, N) to (N,), (n,).

    $\psi_t$ is only asked for on the path itself.
    """
    xp, delta = backend.array_module(log_b), log_b.copy()
    m, n = len(log_A), running[0]
    room, moving = xp.empty((2, m, n), dtype=log_b.dtype), [row[:, None] for row in log_A]
    delta[:, :n] += log_pi[:, None]
    for past, now in steps(running):
        best, terms = room[:, :, : now.stop - now.start]  # (j, n_t) each
        for i in range(m):  # the largest so far, in memory that stays near
            xp.add(moving[i], delta[i, past], out=terms if i else best)
            if i:
                xp.maximum(best, terms, out=best)
        delta[:, now] += best
    z = xp.zeros(delta.shape[1], dtype="int64")
    z[last] = delta[:, last].argmax(0)
    for past, now in reversed(steps(running)):
        z[past] = (delta[:, past] + xp.take(log_A, z[now], axis=1)).argmax(0)
    return z, delta[:, last].max(0)


class Counts(NamedTuple):
    r"""The expected statistics: of first states, $n_k$ (m,); of moves, $n_{ij}$ (m, m); and what each state emits."""

    first: Any
    moves: Any
    emitted: Any


def shares(counts, before):
    """(8) and (9): rows of counts over their sums; a row without counts stays what it was; (m, k), (m, k) to (m, k)."""
    sums = counts.sum(-1, keepdims=True)
    return tg.where(sums > 0, counts / tg.where(sums > 0, sums, 1.0), before)


# ---- every hidden Markov model --------------------------------------------------------------------------


class HiddenMarkov(EM):
    """Base of the two below, which say what the states emit.

    Sequences are given as a list of arrays, (T,) or (T, d) each with a T of its own, or as one array, (n, T) or
    (n, T, d). What is answered for every observation comes back in the same form.

    Parameters
    ----------
    n_states : $m$
    tol, n_init, rng : as `EM` has them; an example is a sequence

    Attributes
    ----------
    longest : the length of the longest sequence that it was fitted to, which `sample` takes by default
    """

    initial: tg.Tensor
    transitions: tg.Tensor
    longest: tg.Tensor

    def __init__(self, n_states: int, *, tol: float = 1e-3, n_init: int = 1, rng: Generator | None = None):
        if n_states < 1:
            raise ValueError(f"{type(self).__name__}: n_states is {n_states}; at least one is wanted")
        super().__init__(tol=tol, n_init=n_init, rng=rng)
        self.n_states, device = n_states, self.rng.device
        self.register_buffer("initial", tg.zeros(n_states, dtype="float64", device=device))
        self.register_buffer("transitions", tg.zeros((n_states, n_states), dtype="float64", device=device))
        self.register_buffer("longest", tg.tensor(0, device=device))

    # ---- what the emissions are ----

    def log_emission(self, x):
        r"""$\log b_k(x)$; N observations to (m, N)."""
        raise NotImplementedError(f"{type(self).__name__} has no log_emission")

    def scaled_emission(self, x) -> tuple[Any, Any]:
        r"""$b_k(x)$ over the largest of them, and the logarithm of that; N observations to (m, N), (N,)."""
        log_b = self.log_emission(x)
        top = log_b.max(0)
        log_b -= tg.maximum(top, lowest(top.dtype))
        return tg.exp(log_b), top

    def emission_sums(self, x, gamma) -> tuple:
        """Sums over the observations that the M step of the emissions needs."""
        raise NotImplementedError(f"{type(self).__name__} has no emission_sums")

    def emission_statistics(self, sums: tuple) -> Any:
        """The statistics, from these sums over all blocks."""
        raise NotImplementedError(f"{type(self).__name__} has no emission_statistics")

    def emission_m_step(self, emitted: Any) -> None:
        """The best emissions for such statistics."""
        raise NotImplementedError(f"{type(self).__name__} has no emission_m_step")

    def emission_log_joint(self, emitted: Any) -> Any:
        """The last sum of (10)."""
        raise NotImplementedError(f"{type(self).__name__} has no emission_log_joint")

    def emission_start(self, x) -> None:
        """The first emissions, from all observations."""
        raise NotImplementedError(f"{type(self).__name__} has no emission_start")

    def emit(self, z, rng: Generator):
        """Draw an observation for each of the states z, (N,)."""
        raise NotImplementedError(f"{type(self).__name__} has no emit")

    def observations(self, x: np.ndarray) -> np.ndarray:
        """One sequence as the steps want it, or an error whose text says what is wrong."""
        raise NotImplementedError(f"{type(self).__name__} has no observations")

    # ---- EM ----

    def start(self, x: Sequences) -> None:
        """First and next states with probabilities drawn evenly; the emissions as they do."""
        draws = -log(1 - self.rng.uniform((self.n_states + 1, self.n_states), dtype=self.initial.dtype))
        draws /= draws.sum(1, keepdims=True)  # Dirichlet(1, ..., 1)
        self.initial.assign(draws[0])
        self.transitions.assign(draws[1:])
        self.emission_start(tg.concatenate([block.x for block in x.blocks]))

    def e_step(self, x: Sequences) -> Posterior:
        """(2)–(6), or (12) and (13), block by block; and (11)."""
        parts = []
        for block in x.blocks:
            log_p, gamma, moves = self._smoothed(block)
            sums = gamma[:, : block.running[0]].sum(1), moves, *self.emission_sums(block.x, gamma)
            parts.append(Posterior(sums, log_p.sum()))
        (first, moves, *emitted), log_p = total(parts)
        statistics = Counts(first, moves, self.emission_statistics(tuple(emitted)))
        return Posterior(statistics, log_p - self.expected_log_joint(statistics))

    def m_step(self, statistics: Counts) -> None:
        """(8) and (9)."""
        self.emission_m_step(statistics.emitted)  # first, as it may refuse
        self.initial.assign(shares(statistics.first, self.initial.data))
        self.transitions.assign(shares(statistics.moves, self.transitions.data))

    def expected_log_joint(self, statistics: Counts) -> Any:
        """(10)."""
        log_pi, log_A = self._logs()
        states = em.expected_log_joint(statistics.first, log_pi) + em.expected_log_joint(statistics.moves, log_A)
        return states + self.emission_log_joint(statistics.emitted)

    def fit(self, x: Any, *, steps: int = 100, run: Run | None = None) -> Self:
        """As `EM.fit`; notes the longest length."""
        x = self.checked(x)
        self.longest.assign(x.longest)
        return super().fit(x, steps=steps, run=run)

    # ---- what it can do ----

    def score_samples(self, x: Any) -> np.ndarray:
        r"""(3): $\log p(x)$ of each sequence, in nats; $-\infty$ if it is impossible; n sequences to (n,)."""
        self._fitted()
        x = self.checked(x)
        found = np.empty(len(x))
        for block in x.blocks:
            found[block.order] = backend.to_numpy(self._filtered(block)[0])
        return found

    def score(self, x: Any) -> float:
        """The log-likelihood, in nats a sequence."""
        return float(self.score_samples(x).mean())

    def posterior(self, x: Any) -> Any:
        r"""(5): $\gamma_t(k)$, the probability of each state at each time given the whole sequence; (T, m) of each."""

        return self._for_each(x, lambda block: self._smoothed(block)[1].T)

    def predict(self, x: Any) -> Any:
        """(7): the most probable path as a whole; (T,) of each sequence."""

        def decoded(block):
            z, log_best = viterbi(self.log_emission(block.x), *self._logs(), block.running, block.last)
            self._refuse_impossible(block, log_best)
            return z

        return self._for_each(x, decoded)

    def log_joint(self, x: Any, z: Any) -> np.ndarray:
        r"""(1): $\log p(x, z)$ of sequences and paths, in nats; both in the same form, to (n,)."""
        self._fitted()
        log_pi, log_A = (backend.to_numpy(a) for a in self._logs())
        found = []
        for x_i, z_i in zip(x, z, strict=True):
            (block,), path = self.checked([x_i]).blocks, np.asarray(z_i)
            if path.shape != (len(block.x),) or not ((path >= 0) & (path < self.n_states)).all():
                raise ValueError(f"{type(self).__name__}.log_joint: a path has shape {path.shape}; one state from 0 to "
                                 f"{self.n_states - 1} for each of {len(block.x)} observations is wanted")  # fmt: skip
            found.append(log_joint(path, backend.to_numpy(self.log_emission(block.x)), log_pi, log_A))
        return np.array(found)

    def play(self, n: int, length: int | None = None, *, rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(1) from left to right: paths (n, T) and what they emit, (n, T) or (n, T, d)."""
        self._fitted()
        T = int(self.longest) if length is None else length
        if T < 1:
            raise ValueError(f"{type(self).__name__}: length is {T}; at least one observation is wanted")
        rng = Generator(device=self.initial.device) if rng is None else rng
        A, z = self.transitions.data, [rng.categorical(probabilities=self.initial.data, shape=n)]
        for _ in range(1, T):
            z.append(rng.categorical(probabilities=A[z[-1]]))
        states = tg.stack(z, 1)  # (n, T)
        x = self.emit(states.reshape(-1), rng)
        return backend.to_numpy(states), backend.to_numpy(x).reshape(n, T, *x.shape[1:])

    def sample(self, n: int, length: int | None = None, *, rng: Generator | None = None) -> np.ndarray:
        """New sequences, (n, T) or (n, T, d); `length` is T, by default that of the longest it was fitted to."""
        return self.play(n, length, rng=rng)[1]

    # ---- what it needs ----

    def checked(self, x: Any) -> Sequences:
        """Sequences for `fit`, or an error that says what is wrong."""
        if isinstance(x, Sequences):
            return x
        name = type(self).__name__
        whole = [backend.to_numpy(s) if backend.is_array(s) else np.asarray(s) for s in x]
        if not whole:
            raise ValueError(f"{name}: x holds no sequence; at least one is wanted")
        try:  # all at once, which is quick
            flat = self.observations(np.concatenate(whole))
            found = np.split(flat, np.cumsum([len(s) for s in whole])[:-1])
            if min(map(len, found)) < 1:
                raise ValueError
        except ValueError:
            found = [self._named(i, sequence) for i, sequence in enumerate(whole)]
        numbers = 2**20 if self.initial.device == "cpu" else 2**26
        return Sequences(found, self.initial.device, max(1, numbers // self.n_states))

    def _named(self, i: int, sequence: np.ndarray) -> np.ndarray:
        """One sequence as the steps want it, or an error that names it."""
        name = type(self).__name__
        if sequence.ndim == 0:
            raise ValueError(f"{name}: x holds numbers; sequences of observations are wanted (put a single one into a "
                             "list: [x])")  # fmt: skip
        if not sequence.size:
            raise ValueError(f"{name}: sequence {i} of x has shape {sequence.shape}; at least one observation is "
                             "wanted (leave out what is empty)")  # fmt: skip
        try:
            return self.observations(sequence)
        except ValueError as error:
            raise ValueError(f"{name}: sequence {i} of x {error}") from None

    def _started_at(self, initial, transitions) -> None:
        """Take first and next states given by hand."""
        m, name = self.n_states, f"{type(self).__name__}.start_at"
        _rows_of_probabilities(f"{name}: initial", initial, (m,))
        _rows_of_probabilities(f"{name}: transitions", transitions, (m, m))
        self.initial.assign(initial)
        self.transitions.assign(transitions)
        self.started.assign(1)

    def _fitted(self) -> None:
        """Refuse to answer before there are parameters."""
        if not self.started:
            raise RuntimeError(f"{type(self).__name__}: no parameters yet; call fit or start_at first")

    def _logs(self) -> tuple[Any, Any]:
        r"""$\log \pi$ and $\log A$."""
        return log(self.initial.data), log(self.transitions.data)

    def _filtered(self, block: Block) -> tuple[Any, Any, Any, Any]:
        r"""$\log p(x)$ of each sequence of a block; and alpha, b and c, or their logarithms and None."""
        if float(self.transitions.data.min()) > least_move(self.transitions.dtype):
            (b, top), xp, n = self.scaled_emission(block.x), backend.array_module(block.x), block.running[0]
            # the first ones with pi: a state that may not begin must not set the scale of those that may
            first = self.log_emission(block.x[:n]) + self._logs()[0][:, None]
            top[:n] = first.max(0)
            b[:, :n] = tg.exp(first - tg.maximum(top[:n], lowest(top.dtype)))
            alpha, c = scaled_forward(b, xp.ones_like(self.initial.data), self.transitions.data, block.running)
            each = log(c) + top
            log_p = xp.bincount(block.owner, weights=each, minlength=n).astype(each.dtype)
            return log_p, alpha, b, c
        log_b = self.log_emission(block.x)
        alpha = forward(log_b, *self._logs(), block.running)
        return log_likelihood(alpha, block.last), alpha, log_b, None

    def _smoothed(self, block: Block) -> tuple[Any, Any, Any]:
        r"""$\log p(x)$, (n,); $\gamma$, (m, N); and the sums of $\xi$, (m, m), of a block."""
        log_p, alpha, b, c = self._filtered(block)
        self._refuse_impossible(block, log_p)
        if c is not None:
            return log_p, *scaled_backward(alpha, c, b, self.transitions.data, block.running)
        beta, moves = backward(alpha, b, self._logs()[1], block.running, log_p)
        return log_p, posterior(alpha, beta, log_p[block.owner]), moves

    def _refuse_impossible(self, block: Block, log_p) -> None:
        """There is no posterior where the likelihood is 0."""
        if not float(log_p.min()) > -math.inf:
            i = block.order[int(log_p.argmin())]
            raise ValueError(f"{type(self).__name__}: sequence {i} of x is impossible under the parameters: each path "
                             "meets a probability of 0. Sequences of positive probability are wanted (leave it out, "
                             "or start_at parameters without zeros)")  # fmt: skip

    def _for_each(self, x: Any, answer: Any) -> Any:
        """What `answer` gives for each observation of a block, put back into sequences."""
        self._fitted()
        found: dict[int, np.ndarray] = {}
        for block in self.checked(x).blocks:
            found.update(unpack(backend.to_numpy(answer(block)), block))
        ordered = [found[i] for i in range(len(found))]
        return np.stack(ordered) if backend.is_array(x) else ordered


def _rows_of_probabilities(name: str, p: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is no table of such a shape with rows that sum to one."""
    p = np.asarray(p, float)
    if p.shape != shape or not (p >= 0).all() or not (abs(p.sum(-1) - 1) < 1e-6).all():
        raise ValueError(f"{name} has shape {p.shape}, values from {p.min()} and sums {p.sum(-1)}; {shape}, none below "
                         "0 and sums of 1 are wanted")  # fmt: skip


# ---- and what their states emit -------------------------------------------------------------------------


class CategoricalHMM(HiddenMarkov):
    """A hidden Markov model of symbols.

    Parameters
    ----------
    n_symbols, n_states : $v$ and $m$; symbols are whole numbers from 0 to v - 1
    tol, n_init, rng : as `EM` has them; an example is a sequence

    Examples
    --------
    Two dice, one of them all sixes, that are rarely swapped:

    >>> casino = CategoricalHMM(6, 2)
    >>> casino.start_at([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], [[1 / 6] * 6, [0, 0, 0, 0, 0, 1]])
    >>> throws = [[1, 3, 5, 0, 5, 5, 5, 5], [5]]
    >>> casino.predict(throws)[0].tolist(), casino.score_samples(throws).round(2).tolist()
    ([0, 0, 0, 0, 1, 1, 1, 1], [-10.51, -0.54])
    """

    emissions: tg.Tensor

    def __init__(self, n_symbols: int, n_states: int, *, tol: float = 1e-3, n_init: int = 1,
                 rng: Generator | None = None):  # fmt: skip
        if n_symbols < 1:
            raise ValueError(f"CategoricalHMM: n_symbols is {n_symbols}; at least one is wanted")
        super().__init__(n_states, tol=tol, n_init=n_init, rng=rng)
        self.n_symbols = n_symbols
        table = tg.zeros((n_states, n_symbols), dtype="float64", device=self.rng.device)
        self.register_buffer("emissions", table)

    def start_at(self, initial, transitions, emissions) -> None:
        r"""Start from $\pi$ (m,), A (m, m) and B (m, v); zeros stay zeros."""
        _rows_of_probabilities("CategoricalHMM.start_at: emissions", emissions, (self.n_states, self.n_symbols))
        self._started_at(initial, transitions)
        self.emissions.assign(emissions)

    def log_emission(self, x):
        r"""$\log B_{k x}$; (N,) to (m, N)."""
        return backend.array_module(x).take(log(self.emissions.data), x, axis=1)

    def scaled_emission(self, x) -> tuple[Any, Any]:
        """The same over its largest of all k, from a table: no exponential."""
        xp, B = backend.array_module(x), self.emissions.data
        top = B.max(0)
        return xp.take(B / tg.where(top > 0, top, 1.0), x, axis=1), xp.take(log(top), x)

    def emission_sums(self, x, gamma) -> tuple:
        r"""$\sum_t \gamma_t(k)\, \mathbb 1_{x_t = v}$; (N,), (m, N) to (m, v) in a tuple."""
        xp = backend.array_module(x)
        return (xp.stack([xp.bincount(x, weights=row, minlength=self.n_symbols) for row in gamma]).astype(gamma.dtype),)

    def emission_statistics(self, sums: tuple) -> Any:
        """The counts themselves."""
        return sums[0]

    def emission_m_step(self, emitted) -> None:
        """(9), left."""
        self.emissions.assign(shares(emitted, self.emissions.data))

    def emission_log_joint(self, emitted) -> Any:
        r"""$\sum_{kv} n_{kv} \log B_{kv}$."""
        return em.expected_log_joint(emitted, log(self.emissions.data))

    def emission_start(self, x) -> None:
        """Probabilities drawn evenly."""
        draws = -log(1 - self.rng.uniform(self.emissions.shape, dtype=self.emissions.dtype))
        self.emissions.assign(draws / draws.sum(1, keepdims=True))

    def emit(self, z, rng: Generator):
        """A symbol for each state: (N,) to (N,)."""
        return rng.categorical(probabilities=self.emissions.data[z])

    def observations(self, x: np.ndarray) -> np.ndarray:
        """Symbols (T,) as int64."""
        if x.ndim != 1:
            raise ValueError(f"has shape {x.shape}; one symbol at a time, (T,), is wanted")
        if x.dtype.kind not in "biuf" or not np.array_equal(x, np.floor(x)):
            raise ValueError(f"has values such as {x[x != np.floor(x)][:1]}; whole numbers are wanted")
        if not 0 <= x.min() <= x.max() < self.n_symbols:
            raise ValueError(f"has symbols from {x.min()} to {x.max()}; 0 to {self.n_symbols - 1} are wanted")
        return x.astype(np.int64)


class GaussianHMM(HiddenMarkov):
    """A hidden Markov model of vectors.

    Parameters
    ----------
    n_features, n_states : $d$ and $m$
    covariance, reg_covar : of the emissions, as `GaussianMixture` has them; reg_covar=0 is Baum and Welch's own step
    start : "k-means++" or "random", for the emissions, as `GaussianMixture` has it
    tol, n_init, rng : as `EM` has them; an example is a sequence

    Attributes
    ----------
    emission : the `GaussianMixture` whose means and covariances the states have; its weights play no part

    Examples
    --------
    >>> x = np.array([[[0.0], [0.2], [0.1], [9.0], [9.2], [0.3]]])
    >>> model = GaussianHMM(1, 2, rng=Generator(0)).fit(x, run=Run(quiet=True))
    >>> (model.predict(x) == model.predict(x)[0, 0]).tolist(), sorted(model.means.numpy().round(2)[:, 0].tolist())
    ([[True, True, True, False, False, True]], [0.15, 9.1])
    """

    def __init__(self, n_features: int, n_states: int, *, covariance: str = "full", start: str = "k-means++",
                 reg_covar: float = 1e-6, tol: float = 1e-3, n_init: int = 1,
                 rng: Generator | None = None):  # fmt: skip
        super().__init__(n_states, tol=tol, n_init=n_init, rng=rng)
        self.n_features = n_features
        self.emission = GaussianMixture(n_features, n_states, covariance=covariance, start=start, reg_covar=reg_covar,
                                        rng=self.rng)  # fmt: skip
        self.emission.reached.assign(0)  # it climbs no bound of its own

    @property
    def means(self) -> tg.Tensor:
        r"""$\mu_k$, (m, d)."""
        return self.emission.means

    @property
    def covariances(self) -> tg.Tensor:
        r"""$\Sigma_k$, shaped as in `GaussianMixture`."""
        return self.emission.covariances

    def start_at(self, initial, transitions, means, *, covariances=None) -> None:
        r"""Start from $\pi$ (m,), A (m, m), means (m, d) and covariances (by default all have variance 1)."""
        self._started_at(initial, transitions)
        self.emission.start_at(means, covariances=covariances)

    def log_emission(self, x):
        r"""$\log \mathcal N(x_t | \mu_k, \Sigma_k)$; (N, d) to (m, N)."""
        P = mixture.precision_factors(self.covariances.data, self.emission.covariance, self.n_features)
        return mixture.log_normal(mixture.differences(x, self.means.data), P)

    def emission_sums(self, x, gamma) -> tuple:
        """Sums of the differences from the present means, and of their squares."""
        full = self.emission.covariance in ("full", "tied")
        return mixture.sums(mixture.differences(x, self.means.data), gamma, full)

    def emission_statistics(self, sums: tuple) -> mixture.Moments:
        """The moments about the new means."""
        return mixture.centred(self.means.data, mixture.Moments(*sums))

    def emission_m_step(self, emitted: mixture.Moments) -> None:
        """(9), right, and the covariances; a singular one is refused."""
        self.emission.m_step(emitted)

    def emission_log_joint(self, emitted: mixture.Moments) -> Any:
        """As the mixture's Q, without weights."""
        P = mixture.precision_factors(self.covariances.data, self.emission.covariance, self.n_features)
        return mixture.expected_log_joint(emitted, 1 + 0 * emitted.count, self.means.data, P)

    def emission_start(self, x) -> None:
        """As the mixture starts, which does not know of time."""
        self.emission.start(x)

    def emit(self, z, rng: Generator):
        """A vector for each state: (N,) to (N, d)."""
        return self.emission.sample_given(z, rng)

    def observations(self, x: np.ndarray) -> np.ndarray:
        """Vectors (T, d), finite, in the parameters' dtype."""
        x = x.astype(self.initial.dtype)
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(f"has shape {x.shape}; rows of {self.n_features} features, (T, {self.n_features}), are "
                             "wanted (x.reshape(-1, 1) for numbers)")  # fmt: skip
        largest = float(abs(x).max())
        if not largest < np.sqrt(np.finfo(x.dtype).max) / 1e3:
            raise ValueError(f"has values up to {largest:g}; numbers whose squares are finite are wanted (cut the "
                             "sequence where values are missing, or rescale)")  # fmt: skip
        return x

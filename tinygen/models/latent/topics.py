r"""Topics: latent Dirichlet allocation, learnt by variational EM (S1's summary; Blei, Ng and Jordan 2003).

S1's summary lists LDA beside clustering and probabilistic graphical models, without a page on it (where S1 says "LDA or
fisherface" it means linear discriminant analysis, which only shares the initials). The letters here are the paper's. A
mixture puts a document into one cluster. But a text may be half about money and half about law. So give
every document $d$ its own proportions $\theta_d$ of $K$ *topics*, and let every single word pick a topic. A topic
$\beta_k$ is a distribution over the $V$ words of a dictionary. With $N_d$ words $w_{di}$ of topics $z_{di}$,

$$ \theta_d \sim \mathrm{Dir}(\alpha, \dots, \alpha), \qquad z_{di} \sim \mathrm{Cat}(\theta_d), \qquad
   w_{di} \sim \mathrm{Cat}(\beta_{z_{di}}). \tag{1} $$

Order plays no part, so a document is its counts $n_{dv}$. A small $\alpha$ makes for documents with few topics. If we
knew $\theta_d$, a word would have the probability $\sum_k \theta_{dk} \beta_{kv}$: the table of documents is a product
of two smaller ones, proportions times topics.

**The posterior is out of reach.** The words of a document share its $\theta_d$, so $p(w_d)$ is a sum over $K^{N_d}$
choices of topics. Hence variational EM (`em.py`): $q$ is kept in a family in which all parts are independent,

$$ q(\theta, z) = \prod_d \mathrm{Dir}(\theta_d | \gamma_d) \prod_i \phi_{d w_{di}}(z_{di}), \tag{2} $$

with a distribution $\phi_{dv}$ over topics for each word $v$ that is in $d$. The bound needs the means of logarithms
under a Dirichlet law, which are differences of digamma functions,

$$ \mathbb E \log \theta_{dk} = \psi(\gamma_{dk}) - \psi\Big( \sum_l \gamma_{dl} \Big). \tag{3} $$

Setting the derivative of the bound to zero in one argument at a time gives the E step, two lines by turns:

$$ \phi_{dvk} = \frac{1}{c_{dv}}\, e^{\mathbb E \log \theta_{dk}}\, \beta_{kv}, \qquad
   c_{dv} = \sum_{k=1}^K e^{\mathbb E \log \theta_{dk}}\, \beta_{kv}, \tag{4} $$
$$ \gamma_{dk} = \alpha + \sum_v n_{dv}\, \phi_{dvk}. \tag{5} $$

A word belongs to a topic in so far as the topic is probable in this document and the word in that topic; and $\gamma$
counts on top of the prior. Right after (4), what the bound says of a document's words is $\sum_v n_{dv} \log c_{dv}$,
so that in all

$$ F = \sum_d \Big[ \sum_v n_{dv} \log c_{dv} - \mathrm{KL}(\mathrm{Dir}(\gamma_d) \,\|\, \mathrm{Dir}(\alpha)) \Big],
   \tag{6} $$

the divergence of two Dirichlet laws with $K$ entries each, $a$ and $b$, being

$$ \mathrm{KL} = \log \frac{\Gamma(\sum_k a_k)}{\Gamma(\sum_k b_k)} - \sum_k \log \frac{\Gamma(a_k)}{\Gamma(b_k)}
   + \sum_k (a_k - b_k)\, \mathbb E_a \log \theta_k. \tag{7} $$

The M step counts how often each word is expected to come from each topic:

$$ S_{kv} = \sum_d n_{dv}\, \phi_{dvk}, \qquad \beta_{kv} = S_{kv} \Big/ \sum_u S_{ku}. \tag{8} $$

**The bound never falls**, provided that the E step goes on from the $\gamma$ where the last one stopped; it need not
come to rest, a few sweeps do. So the model remembers $\gamma$ of the documents that it learns from, and saves them with
its topics. But this alone gets stuck: while all topics look alike a document settles on some of them by accident, and
with a small $\alpha$ it does not leave them again. Beginning anew each time from even proportions, as the paper does,
finds far better topics, but the bound may fall. So each document is tried from both starts, and keeps what bounds it
higher: that is no lower than from the old start alone.

**Words never seen.** By (8) a word that no document holds has probability 0, and a new document with it is impossible.
The paper's cure (§5.4) is to treat topics like proportions: $\beta_k \sim \mathrm{Dir}(\eta, \dots, \eta)$, of which
$q$ keeps $\mathrm{Dir}(\lambda_k)$. Then $e^{\mathbb E \log \beta_{kv}}$ stands for $\beta_{kv}$ in (4), $F$ pays
$\sum_k \mathrm{KL}(\mathrm{Dir}(\lambda_k) \| \mathrm{Dir}(\eta))$, and the maximum is at

$$ \lambda_{kv} = \eta + S_{kv}. \tag{9} $$

$\eta = 0$ stands for (8) here.

**How spread are topics?** $\alpha$ can be learnt as well. The part of $F$ that it is in is concave, with its maximum
over $D$ documents where

$$ K \left[ \psi(K \alpha) - \psi(\alpha) \right] + \frac1D \sum_d \sum_k \mathbb E \log \theta_{dk} = 0. \tag{10} $$

The left side falls as $\alpha$ grows, so halving an interval finds it.

**How good is it?** Per word of new documents, with the bound for the likelihood,

$$ \mathrm{perplexity} = \exp\Big( - \sum_d F_d \Big/ \sum_d N_d \Big), \tag{11} $$

the number of equally likely words that would be as hard to guess; less is better.

**Speed.** A document holds few of all words. Documents with about as many different words form a block, in which the
columns of the topics that each one needs are gathered once; a sweep of (4) and (5) is then two products of stacked
matrices. Shorter documents of a block are filled up with words of count 0, which change nothing.

Notation
--------
$n_{dv}$ : `x`, (n, V), counts; of a block `counts`, (c, L), of the words numbered `ids`, (c, L)
$K, V$ : `n_topics`, `n_words`
$\alpha, \eta$ : `alpha`, `eta`
$\beta$, or $\lambda$ if $\eta > 0$ : `weights`, (K, V);  `topics` are $\beta$, or the means of $\mathrm{Dir}(\lambda)$
$\gamma_d$ : `gamma`, (c, K);  $c_{dv}$ : `c`, (c, L)
$\beta_{kv}$ or $e^{\mathbb E \log \beta_{kv}}$ of the words in a document : `B`, (c, L, K)
$S$ : `words`, (K, V)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend import special
from tinygen.backend.random import Generator
from tinygen.models.latent import em
from tinygen.models.latent.em import EM, Posterior, total

LEAST = 2e-3  # of alpha and eta: e^psi of less could no longer be told from 0

# ---- documents ------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Documents with about as many different words: `ids` and `counts`, (c, L), and which ones, (c,) on the host."""

    ids: Any
    counts: Any
    order: np.ndarray


class Corpus:
    """Checked counts, a sparse matrix (n, V), in blocks of at most `most` places for words."""

    def __init__(self, x: scipy.sparse.csr_matrix, dtype, device: str, most: int):
        self.n, self.n_tokens = x.shape[0], float(x.sum())
        lengths = np.diff(x.indptr)
        order, self.blocks, start = np.argsort(-lengths, kind="stable"), [], 0
        while start < self.n:
            L = max(1, int(lengths[order[start]]))
            part = order[start : start + max(1, most // L)]
            start += len(part)
            ids, counts = np.zeros((len(part), L), np.int64), np.zeros((len(part), L), dtype)
            filled = np.arange(L) < lengths[part][:, None]
            source = (x.indptr[part][:, None] + np.arange(L))[filled]
            ids[filled], counts[filled] = x.indices[source], x.data[source]
            self.blocks.append(Block(backend.asarray(ids, device=device), backend.asarray(counts, device=device), part))

    def __len__(self) -> int:
        return self.n


class Remembered:
    """The $\\gamma$ of the documents that a model learns from, on the host, (n, K); nothing at first."""

    def __init__(self) -> None:
        self.gamma = np.zeros((0, 0))

    def state_dict(self) -> dict[str, Any]:
        """What is remembered."""
        return {"gamma": self.gamma}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what was saved."""
        self.gamma = np.array(state["gamma"])


# ---- the equations --------------------------------------------------------------------------------------


def word_chances(theta, beta):
    r"""(1), the topics of single words summed out: $p(w_{di} = v | \theta_d) = \sum_k \theta_{dk} \beta_{kv}$; (n, K),
    (K, V) to (n, V)."""
    return tg.matmul(theta, beta)


def mean_log(gamma):
    r"""(3): $\mathbb E \log \theta$ under $\mathrm{Dir}(\gamma)$; (..., K) to (..., K)."""
    xp = backend.array_module(gamma)
    return special.digamma(xp, gamma) - special.digamma(xp, gamma.sum(-1, keepdims=True))


def normalisers(gamma, B):
    r"""(4): $e^{\mathbb E \log \theta_{dk}}$ and $c_{dv}$; (c, K), (c, L, K) to (c, K), (c, L)."""
    e = tg.exp(mean_log(gamma))
    return e, backend.array_module(gamma).matmul(B, e[:, :, None])[:, :, 0]


def per_chance(counts, c):
    r"""$n_{dv} / c_{dv}$, and 0 where no topic has the word; (c, L) twice to (c, L)."""
    return counts / tg.where(c > 0, c, 1.0) * (c > 0)


def sweep(gamma, B, counts, alpha):
    r"""(4), then (5): the next $\gamma$; (c, K), (c, L, K), (c, L) to (c, K)."""
    e, c = normalisers(gamma, B)
    return alpha + e * backend.array_module(gamma).matmul(per_chance(counts, c)[:, None, :], B)[:, 0]


def settled(gamma, B, counts, alpha, sweeps: int, tol: float):
    """Sweeps until no document's gamma changes by more than `tol` in the mean over topics, or so many."""
    for _ in range(sweeps):
        before, gamma = gamma, sweep(gamma, B, counts, alpha)
        if float(abs(gamma - before).mean(1).max()) < tol:
            break
    return gamma


def higher(old: tuple, new: tuple, counts, alpha) -> tuple:
    """Of two (gamma, c, e), for each document the one with the higher bound; the old one if they are equal."""
    better = document_bound(new[0], new[1], counts, alpha) > document_bound(old[0], old[1], counts, alpha)
    return tuple(tg.where(better[:, None], b, a) for a, b in zip(old, new, strict=True))


def dirichlet_kl(a, b, entries: int):
    r"""(7), of laws whose second parameter b is one number for all entries; (..., K) to (...)."""
    xp, sums = backend.array_module(a), a.sum(-1)
    of_b = math.lgamma(entries * b) - entries * math.lgamma(b)
    return special.lgamma(xp, sums) - special.lgamma(xp, a).sum(-1) - of_b + ((a - b) * mean_log(a)).sum(-1)


def document_bound(gamma, c, counts, alpha):
    r"""(6), the bracket: $F_d$ without what the topics cost; (c, K), (c, L) twice to (c,)."""
    with backend.errstate(np, divide="ignore"):
        words = (counts * tg.log(tg.where(counts > 0, c, 1.0))).sum(1)
    return words - dirichlet_kl(gamma, alpha, gamma.shape[1])


def expected_words(block: Block, c, e, n_words: int):
    r"""(8): $\sum_d n_{dv} \phi_{dvk}$ over $\beta_{kv}$; (c, L), (c, K) to (K, V)."""
    xp, ids, ratio = backend.array_module(e), block.ids.reshape(-1), per_chance(block.counts, c)
    weights = (ratio[None] * e.T[:, :, None]).reshape(len(e.T), -1)
    return xp.stack([xp.bincount(ids, weights=row, minlength=n_words) for row in weights]).astype(e.dtype)


def best_alpha(mean_of_sums: float, n_topics: int) -> float:
    r"""(10): $\alpha$ for $\frac1D \sum_{dk} \mathbb E \log \theta_{dk}$, between `LEAST` and 1000."""
    low, high = math.log(LEAST), math.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        alpha = np.array([n_topics * math.exp(middle), math.exp(middle)])
        of_sum, of_one = special.digamma(np, alpha)
        low, high = (middle, high) if n_topics * (of_sum - of_one) + mean_of_sums > 0 else (low, middle)
    return math.exp((low + high) / 2)


class Expected(NamedTuple):
    r"""What the M step takes: $S$ (K, V); $\sum_d \mathbb E \log \theta_d$ (K,); $\sum_{dvk} n \phi\, \mathbb E \log
    \theta$, (); and D."""

    words: Any
    log_theta: Any
    assigned: Any
    documents: Any


# ---- the model ------------------------------------------------------------------------------------------


class LatentDirichletAllocation(EM):
    r"""Documents as mixtures of topics. Counts are given as an array (n, V), or a SciPy sparse matrix of that shape.

    Parameters
    ----------
    n_words, n_topics : $V$ and $K$
    alpha : of the proportions; by default 1 / K. With `learn_alpha` it is where learning starts.
    eta : of the topics; 0 makes them parameters, as in (8); by default 1 / K
    learn_alpha : whether (10) sets alpha in every M step
    restart : whether an E step tries each document from even proportions too
    sweeps, sweep_tol : how many times (4) and (5) are done in an E step, at most; and the change of $\gamma_d$, in the
        mean over topics, that is small enough to stop at
    tol, n_init, rng : as `EM` has them; an example is a document

    Attributes
    ----------
    alpha, weights : $\alpha$, and $\beta$ or $\lambda$, as the Notation says
    length : the mean length of the documents that it was fitted to, which `sample` takes by default

    Examples
    --------
    >>> from tinygen.runs import Run
    >>> x = np.array([[5, 4, 0, 0], [3, 6, 0, 0], [0, 0, 4, 4], [0, 0, 2, 7]])
    >>> model = LatentDirichletAllocation(4, 2, rng=Generator(0)).fit(x, run=Run(quiet=True))
    >>> model.transform(x).argmax(1)[[0, 2]].tolist() in ([0, 1], [1, 0]), model.sample(3).shape
    (True, (3, 4))
    """

    exact = False
    weights: tg.Tensor
    alpha: tg.Tensor
    length: tg.Tensor

    def __init__(self, n_words: int, n_topics: int, *, alpha: float | None = None, eta: float | None = None,
                 learn_alpha: bool = False, restart: bool = True, sweeps: int = 20, sweep_tol: float = 1e-3,
                 tol: float = 1e-3, n_init: int = 1, rng: Generator | None = None):  # fmt: skip
        if n_words < 1 or n_topics < 1 or sweeps < 1:
            raise ValueError(f"LatentDirichletAllocation: n_words, n_topics and sweeps are {n_words}, {n_topics} and "
                             f"{sweeps}; one at least of each is wanted")  # fmt: skip
        alpha, eta = (1 / n_topics if a is None else a for a in (alpha, eta))
        if not alpha >= LEAST or not (eta == 0 or eta >= LEAST):
            raise ValueError(f"LatentDirichletAllocation: alpha is {alpha} and eta {eta}; numbers of at least {LEAST} "
                             "are wanted, or 0 for eta")  # fmt: skip
        super().__init__(tol=tol, n_init=n_init, rng=rng)
        self.n_words, self.n_topics, self.eta, self.restart = n_words, n_topics, eta, restart
        self.first_alpha, self.learn_alpha, self.sweeps, self.sweep_tol = alpha, learn_alpha, sweeps, sweep_tol
        device, self.documents = self.rng.device, Remembered()
        self.register_buffer("weights", tg.zeros((n_topics, n_words), dtype="float64", device=device))
        self.register_buffer("alpha", tg.tensor(alpha, dtype="float64", device=device))
        self.register_buffer("length", tg.tensor(0, device=device))

    # ---- EM ----

    def start(self, x: Corpus) -> None:
        """Topics that differ a little, at random, as if the words had been dealt to them; nothing is remembered."""
        draws = self.rng.uniform(self.weights.shape, 0.5, 1.5, dtype=self.weights.dtype)
        self.weights.assign(self._from_counts(draws * (x.n_tokens / draws.sum())))
        self.alpha.assign(self.first_alpha)
        self.documents.gamma = np.zeros((0, 0))

    def start_at(self, weights) -> None:
        r"""Start from $\beta$, rows that sum to one (or $\lambda$, if eta is not 0), (K, V)."""
        weights = np.asarray(weights, float)
        rows = self.eta > 0 or bool((abs(weights.sum(-1) - 1) < 1e-6).all())
        fits = (weights >= self.eta * (1 - 1e-9)) & (weights < math.inf)
        if weights.shape != self.weights.shape or not fits.all() or not rows:
            raise ValueError(f"LatentDirichletAllocation.start_at: weights {weights.shape} from {weights.min()}; "
                             f"{self.weights.shape} are wanted, {'rows that sum to one' if self.eta == 0 else ''}"
                             f"{f'none below eta = {self.eta}' if self.eta else ''}")  # fmt: skip
        self.weights.assign(weights)
        self.documents.gamma = np.zeros((0, 0))
        self.started.assign(1)

    def begin(self, x: Corpus) -> None:
        """As `EM.begin`; what the trials have left in memory belongs to the last of them."""
        super().begin(x)
        self.documents.gamma = np.zeros((0, 0))

    def e_step(self, x: Corpus) -> Posterior:
        """(4) and (5), and the sums of (8)."""
        kept, log_beta, alpha = self.documents.gamma, self._mean_log_topics(), float(self.alpha)
        known, found = kept.shape == (len(x), self.n_topics), np.empty((len(x), self.n_topics), self.weights.dtype)
        beta, parts = tg.exp(log_beta), []
        for block in x.blocks:
            B = self._columns(block, beta)
            starts = [backend.asarray(kept[block.order], device=self.weights.device)] if known else []
            starts += [self._even(block)] if self.restart or not known else []
            ends = [self._settled(block, B, alpha, first) for first in starts]
            gamma, c, e = ends[0] if len(ends) == 1 else higher(ends[0], ends[1], block.counts, alpha)
            found[block.order] = backend.to_numpy(gamma)
            parts.append(self._posterior(block, B, gamma, c, e, beta, log_beta))
        statistics, entropy = total(parts)
        if not float(entropy) > -math.inf:
            raise ValueError("LatentDirichletAllocation: a document holds a word that no topic has; words that "
                             "one has are wanted (start_at topics without zeros, or give an eta above 0)")  # fmt: skip
        self.documents.gamma = found
        return Posterior(statistics, entropy)

    def _settled(self, block: Block, B, alpha: float, first) -> tuple[Any, Any, Any]:
        """gamma after some sweeps, and what (4) makes of it."""
        gamma = settled(first, B, block.counts, alpha, self.sweeps, self.sweep_tol)
        e, c = normalisers(gamma, B)
        return gamma, c, e

    def _posterior(self, block: Block, B, gamma, c, e, beta, log_beta) -> Posterior:
        """The statistics of a block, and the entropy of its q; phi is as (4) makes it from gamma."""
        words = beta * expected_words(block, c, e, self.n_words)
        log_theta, of_topic = mean_log(gamma), sweep(gamma, B, block.counts, 0.0)
        assigned = (of_topic * log_theta).sum()
        # the entropy of Dir(gamma); and of phi, whose logarithm is that of its parts, less log c
        of_theta = -((gamma - 1) * log_theta).sum() - dirichlet_constant(gamma).sum()
        with backend.errstate(np, divide="ignore"):
            log_c = (block.counts * tg.log(tg.where(block.counts > 0, c, 1.0))).sum()
        of_words = log_c - assigned - em.expected_log_joint(words, log_beta)
        return Posterior(Expected(words, log_theta.sum(0), assigned, float(len(gamma))), of_theta + of_words)

    def m_step(self, statistics: Expected) -> None:
        """(8) or (9); and (10)."""
        self.weights.assign(self._from_counts(statistics.words))
        if self.learn_alpha:
            self.alpha.assign(best_alpha(float(statistics.log_theta.sum()) / statistics.documents, self.n_topics))

    def expected_log_joint(self, statistics: Expected) -> Any:
        r"""$\mathbb E_q \log p(\theta, z, w)$; with $\eta > 0$ less what (7) makes the topics cost."""
        alpha, K = float(self.alpha), self.n_topics
        constant = math.lgamma(K * alpha) - K * math.lgamma(alpha)
        of_theta = statistics.documents * constant + (alpha - 1) * statistics.log_theta.sum()
        Q = of_theta + statistics.assigned + em.expected_log_joint(statistics.words, self._mean_log_topics())
        return Q - dirichlet_kl(self.weights.data, self.eta, self.n_words).sum() if self.eta else Q

    # ---- what it can do ----

    @property
    def topics(self) -> np.ndarray:
        r"""$\beta$, or its mean under q: (K, V), rows that sum to one."""
        weights = self.weights.numpy()
        return weights / weights.sum(1, keepdims=True)

    def transform(self, x: Any) -> np.ndarray:
        r"""The mean of $\theta_d$ under q: each document's proportions of topics; (n, V) to (n, K)."""
        gamma, _ = self._judged(x)
        return gamma / gamma.sum(1, keepdims=True)

    def reconstruct(self, x: Any) -> np.ndarray:
        """Each document's length times the probabilities of its words, by its proportions; (n, V) to (n, V)."""
        corpus = self._counts(x)
        return np.asarray(corpus.sum(1)).reshape(-1, 1) * word_chances(self.transform(corpus), self.topics)

    def elbo(self, x: Any) -> np.ndarray:
        r"""$F_d$ of (6), a bound on $\log p(w_d)$ in nats; $-\infty$ if no topic has a word of it; (n, V) to (n,)."""
        return self._judged(x)[1]

    def perplexity(self, x: Any) -> float:
        """(11); what the topics cost is no part of it."""
        x = self._counts(x)
        if not x.sum() > 0:
            raise ValueError("LatentDirichletAllocation.perplexity: x holds no word at all; counts above 0 are wanted")
        return math.exp(-float(self.elbo(x).sum()) / float(x.sum()))

    def sample(self, n: int, length: int | None = None, *, rng: Generator | None = None) -> np.ndarray:
        """(1): counts of new documents, (n, V), of `length` words each; by default the mean it has learnt from."""
        self._fitted()
        N = int(self.length) if length is None else length
        if N < 1:
            raise ValueError(f"LatentDirichletAllocation: length is {N}; one word at least is wanted")
        rng, K, V = Generator(device=self.weights.device) if rng is None else rng, self.n_topics, self.n_words
        theta = tg.probability.Dirichlet(tg.tensor(np.full(K, float(self.alpha)), device=rng.device)).sample(n, rng=rng)
        chances = word_chances(theta.data, backend.asarray(self.topics, theta.dtype, rng.device))
        words = tg.stack([rng.categorical(probabilities=chances) for _ in range(N)])  # (N, n)
        xp = backend.array_module(words)
        places = (words + xp.arange(n) * V).reshape(-1)
        return backend.to_numpy(xp.bincount(places, minlength=n * V)).reshape(n, V)

    # ---- what it needs ----

    def fit(self, x: Any, *, steps: int = 100, run=None):
        """As `EM.fit`; notes the mean length."""
        x = self.checked(x)
        self.length.assign(max(1, round(x.n_tokens / len(x))))
        return super().fit(x, steps=steps, run=run)

    def checked(self, x: Any) -> Corpus:
        """The corpus for `fit`, or an error that says what is wrong."""
        if isinstance(x, Corpus):
            return x
        x = self._counts(x)
        if not x.sum() > 0:
            raise ValueError("LatentDirichletAllocation: x holds no word at all; counts above 0 are wanted")
        return self._corpus(x)

    def _counts(self, x: Any) -> scipy.sparse.csr_matrix:
        """x as a sparse matrix on the host, (n, V), or an error that says what is wrong."""
        x = backend.to_numpy(x) if backend.is_array(x) else x
        x = scipy.sparse.csr_matrix(x if scipy.sparse.issparse(x) else np.atleast_2d(np.asarray(x, float)), dtype=float,
                                    copy=True)  # fmt: skip
        if x.shape[1] != self.n_words or not x.shape[0]:
            raise ValueError(f"LatentDirichletAllocation: x has shape {x.shape}; at least one row of counts of "
                             f"{self.n_words} words is wanted")  # fmt: skip
        x.sum_duplicates()
        x.eliminate_zeros()
        if len(x.data) and not 0 < x.data.min() <= x.data.max() < math.inf:
            raise ValueError(f"LatentDirichletAllocation: x has values from {x.data.min()} to {x.data.max()}; finite "
                             "counts of at least 0 are wanted (nan: drop or fill)")  # fmt: skip
        return x

    def _corpus(self, x: scipy.sparse.csr_matrix) -> Corpus:
        """In blocks that stay in the cache, or keep a GPU busy."""
        numbers = 2**17 if self.weights.device == "cpu" else 2**24
        return Corpus(x, self.weights.dtype, self.weights.device, max(1, numbers // self.n_topics))

    def _fitted(self) -> None:
        """Refuse to answer before there are topics."""
        if not self.started:
            raise RuntimeError("LatentDirichletAllocation: no topics yet; call fit or start_at first")

    def _from_counts(self, words):
        """(8) or (9); a topic that nothing comes from keeps what it has."""
        if self.eta:
            return self.eta + words
        sums = words.sum(1, keepdims=True)
        return tg.where(sums > 0, words / tg.where(sums > 0, sums, 1.0), self.weights.data)

    def _mean_log_topics(self):
        r"""$\log \beta$, or its mean under q; (K, V)."""
        if self.eta:
            return mean_log(self.weights.data)
        with backend.errstate(np, divide="ignore"):
            return tg.log(self.weights.data)

    def _columns(self, block: Block, beta):
        """What the topics say of a block's words: (c, L, K)."""
        return beta.T[block.ids]

    def _even(self, block: Block):
        r"""Where an unknown document starts: $\gamma = \alpha + N_d / K$; to (c, K)."""
        spread = float(self.alpha) + block.counts.sum(1, keepdims=True) / self.n_topics
        return tg.broadcast_to(spread, (len(spread), self.n_topics))

    def _judged(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """gamma and the bound of new documents, from a start that knows nothing of them: (n, K), (n,)."""
        self._fitted()
        x, alpha = self._corpus(self._counts(x)), float(self.alpha)
        found, bounds = np.empty((len(x), self.n_topics), self.weights.dtype), np.empty(len(x))
        beta = tg.exp(self._mean_log_topics())
        for block in x.blocks:
            B = self._columns(block, beta)
            gamma = settled(self._even(block), B, block.counts, alpha, 10 * self.sweeps, self.sweep_tol / 10)
            found[block.order] = backend.to_numpy(gamma)
            _, c = normalisers(gamma, B)
            bounds[block.order] = backend.to_numpy(document_bound(gamma, c, block.counts, alpha))
        return found, bounds


def dirichlet_constant(gamma):
    r"""$\log \Gamma(\sum_k \gamma_k) - \sum_k \log \Gamma(\gamma_k)$; (..., K) to (...)."""
    xp = backend.array_module(gamma)
    return special.lgamma(xp, gamma.sum(-1)) - special.lgamma(xp, gamma).sum(-1)

r"""Generative classifiers: a law of the inputs for each class, and Bayes' rule (S4, supervised setting).

A *discriminative* model learns the law of the answer given the input, $p(k|x)$, and nothing else: linear and softmax
regression, and most nets. A *generative* one learns the law of both together: how often each class $k = 1, \dots, m$
comes, $\pi_k$, and what its inputs look like, $p(x|k)$. Then

$$ p(x, k) = \pi_k\, p(x|k), \qquad p(x) = \sum_{k=1}^{m} \pi_k\, p(x|k), \tag{1} $$

and the answer follows from Bayes' rule,

$$ p(k|x) = \frac{\pi_k\, p(x|k)}{\sum_{j=1}^{m} \pi_j\, p(x|j)}. \tag{2} $$

All is done in logarithms, since $p(x|k)$ of many features may be smaller than any float. Learning needs no descent. The
log-likelihood of examples $(x_i, y_i)$ is a sum of one part for the classes and one for the inputs of each,

$$ \ell = \sum_{k=1}^{m} N_k \log \pi_k + \sum_{k=1}^{m} \sum_{i: y_i = k} \log p(x_i|k), \tag{3} $$

with $N_k$ examples of class $k$, and the parts are maximised one by one: the first by

$$ \hat\pi_k = N_k / n, \tag{4} $$

the others as if there were no classes but one (unless classes share a number, as in `linear_discriminant`: then they
are maximised together). What this buys beside the answers: new examples of any class (`sample`), and $\log p(x)$
itself (`score_samples`), which tells an input that is like none of the examples. What it costs: all of $p(x|k)$ must
be modelled, and where the model is wrong the answers may be wrong with great confidence.

The chapters differ in $p(x|k)$ only: `naive_bayes` (independent features), `linear_discriminant` (Gaussians of one
covariance) and `quadratic_discriminant` (Gaussians).

Notation
--------
$x, y$ : `x`, (n, d); `y`, (n,), integers from 0
$N_k$ : `count`, (m,); their means are `means`, (m, d)
$\log p(x|k)$ : what `class_laws` gives a function for, (n, m)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier
from tinygen.nn import functional as F
from tinygen.probability.moments import Moments, degenerate, merged, moments
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def log_joint(log_pi, log_p):
    r"""(1), left: $\log \pi_k + \log p(x|k)$; (m,), (n, m) to (n, m)."""
    return log_pi + log_p


def log_marginal(log_pi, log_p):
    r"""(1), right: $\log p(x)$; (m,), (n, m) to (n,)."""
    return tg.logsumexp(log_joint(log_pi, log_p), 1)


def log_posterior(log_pi, log_p):
    r"""(2): $\log p(k|x)$; (m,), (n, m) to (n, m)."""
    return F.log_softmax(log_joint(log_pi, log_p), 1)


def log_likelihood(log_pi, log_p, y):
    r"""(3): $\ell$, in nats; (m,), (n, m), (n,) to ()."""
    return tg.sum(tg.take_along_axis(log_joint(log_pi, log_p), y[:, None], 1))


def priors(count):
    r"""(4): $\hat\pi$; (m,) to (m,)."""
    return count / count.sum()


def shrunk(covariance, shrinkage: float):
    r"""$(1 - s) \Sigma + s\, \frac{\operatorname{tr} \Sigma}{d} I$: a little rounder; (..., d, d) to the same."""
    xp, d = backend.array_module(covariance), covariance.shape[-1]
    size = xp.trace(covariance, axis1=-2, axis2=-1)[..., None, None] / d
    return (1 - shrinkage) * covariance + shrinkage * size * xp.eye(d, dtype=covariance.dtype)


# ---- the base -------------------------------------------------------------------------------------------


class GenerativeClassifier(Classifier):
    r"""Base of the generative classifiers; one of its own writes `update`, `class_laws` and `draw`.

    Parameters
    ----------
    n_features, n_classes : $d$ and $m$
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Attributes
    ----------
    count, means : $N_k$ and the mean of the inputs of each class, float64
    """

    count: tg.Tensor
    means: tg.Tensor

    def __init__(self, n_features: int, n_classes: int, *, rng: Generator | None = None):
        if n_features < 1 or n_classes < 2:
            raise ValueError(f"{type(self).__name__}: a feature and two classes at least are wanted, got {n_features} "
                             f"and {n_classes}")  # fmt: skip
        self.n_features, self.n_classes = n_features, n_classes
        self.rng = Generator() if rng is None else rng
        self._add_buffers(count=(n_classes,), means=(n_classes, n_features))

    def _add_buffers(self, **shapes: tuple[int, ...]) -> None:
        """What is learnt, by name and shape: zeros so far."""
        for name, shape in shapes.items():
            self.register_buffer(name, tg.zeros(shape, dtype="float64", device=self.rng.device))

    # ---- what a chapter writes ----

    def update(self, x, y) -> dict:
        """Take in some more examples; how many there are now."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def class_laws(self) -> Callable[[Any], Any]:
        r"""A function that gives $\log p(x|k)$, (n, d) to (n, m), with all that does not depend on x done before."""
        raise NotImplementedError(f"{type(self).__name__} has no class_laws")

    def draw(self, y, rng: Generator):
        r"""An input of $p(x|y)$ for each entry of y: (n,) to (n, d)."""
        raise NotImplementedError(f"{type(self).__name__} has no draw")

    # ---- learning ----

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int = 1, run: Run | None = None) -> Self:  # type: ignore[override]
        """Learn from inputs (n, d) and classes (n,); what was learnt before is forgotten.

        steps : in how many parts the rows are taken in, a part a step; the result is the same
        """
        run, (x, y) = run or Run(), self.checked(x, y)
        self._check_classes(y)
        for tensor in self.buffers():
            tensor.assign(tensor.data * 0)
        for step in run.steps(self, steps):
            rows = slice(len(x) * (step - 1) // steps, len(x) * step // steps)
            run.log(**self.update(x[rows], y[rows]))
        self.class_laws()  # says what is wrong, if there are none
        return self

    def take_in(self, x, y, *, full: bool) -> list[Any]:
        """Take examples into the counts and means; what the scatter of each class about its mean, (d, d), or its
        diagonal (d,) if not `full`, has grown by."""
        xp, d = backend.array_module(x), self.n_features
        nothing, found = xp.zeros((d, d) if full else d), []
        for k in range(self.n_classes):
            known, rows = Moments(self.count.data[k], self.means.data[k], nothing), x[y == k]
            found.append(merged(known, moments(rows, full=full)) if len(rows) else known)
        self.count.assign(xp.stack([part.count for part in found]))
        self.means.assign(xp.stack([part.mean for part in found]))
        return [part.scatter for part in found]

    # ---- what it can do ----

    def forward(self, x):
        r"""(1): $\log p(x, k)$, which is a logit of class k; (n, d) to (n, m)."""
        return log_joint(self.log_priors(), self.class_laws()(x))

    def log_priors(self):
        r"""$\log \hat\pi_k$, (m,)."""
        if not float(self.count.data.min()) > 0:
            raise RuntimeError(f"{type(self).__name__}: there are classes without examples; call fit first")
        return tg.log(priors(self.count))

    def predict_log_proba(self, x: np.ndarray) -> np.ndarray:
        """(2): the log-probability of each class; (n, d) to (n, m)."""
        log_pi, laws = self.log_priors(), self.class_laws()
        return self._in_parts(lambda part: log_posterior(log_pi, laws(part)), x)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """(2): the probability of each class; (n, d) to (n, m)."""
        return np.exp(self.predict_log_proba(x))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        r"""(1): $\log p(x)$ of each input, whatever its class, in nats; (n, d) to (n,)."""
        log_pi, laws = self.log_priors(), self.class_laws()
        return self._in_parts(lambda part: log_marginal(log_pi, laws(part)), x)

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New inputs (n, d)."""
        return self.sample_labelled(n, rng=rng)[0]

    def sample_labelled(self, n: int, *, classes: np.ndarray | None = None,
                        rng: Generator | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """New inputs (n, d) and their classes (n,): these `classes`, if given, or drawn as often as they come."""
        rng = Generator(device=self.means.device) if rng is None else rng
        pi = tg.exp(self.log_priors()).data
        if classes is None:
            y = rng.categorical(probabilities=pi, shape=n)
        else:
            y = backend.asarray(classes, device=self.means.device)
            if y.shape != (n,) or not n:
                raise ValueError(f"{type(self).__name__}: classes has shape {y.shape}; ({n},) is wanted, at least one")
            self._check_classes(y, every=False)
        return backend.to_numpy(self.draw(y, rng)), backend.to_numpy(y)

    # ---- what it needs ----

    def _check_classes(self, y, every: bool = True) -> None:
        """Refuse classes that are not there, and, if `every`, a class without an example."""
        found, m = np.unique(backend.to_numpy(y)), self.n_classes
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= m:
            raise ValueError(f"{type(self).__name__}: y has the classes {found.tolist()[:12]}; integers from 0 to "
                             f"{m - 1} are wanted")  # fmt: skip
        if every and len(found) < m:
            missing = sorted(set(range(m)) - set(found.tolist()))
            raise ValueError(f"{type(self).__name__}: y has no example of class {missing[0]}; at least one of each of "
                             f"the {m} classes is wanted (n_classes says how many there are)")  # fmt: skip

    def factors(self, covariances, owners: list[str]):
        r"""$P = L^{-1}$ with $L L^\top = \Sigma$, of each covariance (.., d, d), or an error that says why not."""
        for k, owner in enumerate(owners):
            why = degenerate(covariances[k], abs(self.means.data).max(0))
            if why:
                raise ValueError(f"{type(self).__name__}: the covariance {owner} is singular: {why}. Columns that say "
                                 "more, more examples, or shrinkage= (such as 0.1) are wanted")  # fmt: skip
        xp = backend.array_module(covariances)
        L = tg.linalg.cholesky(covariances)
        return tg.linalg.solve_triangular(L, xp.broadcast_to(xp.eye(self.n_features, dtype=L.dtype), L.shape))

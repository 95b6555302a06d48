r"""Naive Bayes: a generative classifier that takes the features to be independent in each class (S4).

A law of many features has too many numbers to be learnt: a table of 64 pixels in 17 shades has $17^{64}$ entries. It
has few if, *within each class*, one feature says nothing of another:

$$ p(x|k) = \prod_{j=1}^{d} p(x_j|k). \tag{1} $$

Neighbouring pixels do depend on each other, so this is wrong, or naive. It counts the same evidence several times, and
$p(k|x)$ comes out too sure of itself; but the largest $p(k|x)$ is often the right one all the same.

**Numbers.** Each feature is normal, with a mean and a variance of its own in each class,

$$ \log p(x|k) = -\frac12 \sum_{j=1}^{d} \left( \frac{(x_j - \mu_{kj})^2}{v_{kj}} + \log 2\pi v_{kj} \right), \tag{2} $$

which are estimated as ever (`density.gaussian`, its eq. 4), over the examples of class $k$:

$$ \hat\mu_{kj} = \frac{1}{N_k} \sum_{i: y_i = k} x_{ij}, \qquad
   \hat v_{kj} = \frac{1}{N_k} \sum_{i: y_i = k} (x_{ij} - \hat\mu_{kj})^2
   + \varepsilon \max_{j'} \operatorname{Var} x_{j'}. \tag{3} $$

The last term, with a tiny $\varepsilon$ as in scikit-learn, is for a feature that is constant in some class, like a
pixel in the corner: without it, the smallest deviation would rule this class out for ever.

**Symbols.** Each feature has one of $L$ values $0, \dots, L - 1$ ($L = 2$: black or white). Their probabilities are
shares of what was counted. With $N_{kjl}$ examples of class $k$ whose feature $j$ is $l$,

$$ \hat p_{kjl} = \frac{N_{kjl} + \alpha}{N_k + \alpha L}, \qquad
   \log p(x|k) = \sum_{j=1}^{d} \log \hat p_{k j x_j}. \tag{4} $$

With $\alpha = 0$ this is maximum likelihood, and a value never seen in a class has probability 0, which no other
feature can make up for (so here $\alpha$ must be positive). With $\alpha = 1$ (Laplace) every value is taken to have
been seen once before.

**What its borders look like.** Between two classes, (4) gives a sum with a term for each feature: linear in what the
pixels say. (2) is quadratic, with axes along the features.

Notation
--------
$\mu, v$ : `means`, (m, d), and `variances`, (m, d)
$N_{kjl}, \hat p_{kjl}$ : `seen`, (m, d, L), and `table`, (m, d, L)
$L, \alpha, \varepsilon$ : `levels`, `alpha`, `var_smoothing`
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.supervised.generative import GenerativeClassifier

# ---- the equations --------------------------------------------------------------------------------------


def product(log_p):
    r"""(1): $\sum_j \log p(x_j|k)$; (n, m, d) to (n, m)."""
    return tg.sum(log_p, -1)


def log_normals(x, means, variances):
    r"""(2): $\log p(x|k)$ of normal features; (n, d), (m, d), (m, d) to (n, m)."""
    found = [-tg.square(x - mu) / (2 * v) - tg.log(2 * math.pi * v) / 2
             for mu, v in zip(means, variances, strict=True)]  # fmt: skip
    return product(tg.stack(found, 1))


def variances(count, means, scatter, epsilon: float):
    r"""(3), right: $\hat v$; (m,), (m, d), (m, d) to (m, d)."""
    n, counts = count.sum(), count[:, None]
    middle = (counts * means).sum(0) / n
    overall = (scatter + counts * (means - middle) ** 2).sum(0) / n  # Var x_j over all classes
    return scatter / counts + epsilon * overall.max()


def frequencies(seen, alpha: float):
    r"""(4), left: $\hat p_{kjl}$; (m, d, L) to the same."""
    return (seen + alpha) / (seen.sum(-1, keepdims=True) + alpha * seen.shape[-1])


def log_symbols(x, log_table):
    r"""(4), right: $\log p(x|k)$ from $\log \hat p_{kjl}$, the class last; integers (n, d), (d, L, m) to (n, m)."""
    found = backend.array_module(x).zeros((len(x), log_table.shape[2]))
    for j, row in enumerate(log_table):
        found += row[x[:, j]]
    return found


# ---- the model ------------------------------------------------------------------------------------------


class NaiveBayes(GenerativeClassifier):
    r"""A classifier with independent features in each class.

    Parameters
    ----------
    n_features, n_classes : $d$ and $m$
    levels : None for numbers, (2); $L$ for symbols 0, ..., L - 1, (4)
    alpha : how often each symbol is taken to have been seen before
    var_smoothing : $\varepsilon$ of (3)
    rng : a Generator, whose device the model lives on; nothing is drawn from it

    Examples
    --------
    >>> import numpy as np
    >>> from tinygen.runs import Run
    >>> x, y = np.array([[0, 1], [0, 0], [1, 1], [1, 0]]), np.array([0, 0, 1, 1])
    >>> model = NaiveBayes(2, 2, levels=2).fit(x, y, run=Run(quiet=True))
    >>> model.predict_proba(np.array([[0, 1]])).round(3)
    array([[0.75, 0.25]])
    >>> NaiveBayes(2, 2).fit(x, y, run=Run(quiet=True)).predict(x + 0.1)
    array([0, 0, 1, 1])
    """

    scatter: tg.Tensor
    seen: tg.Tensor

    def __init__(self, n_features: int, n_classes: int, *, levels: int | None = None, alpha: float = 1.0,
                 var_smoothing: float = 1e-9, rng: Generator | None = None):  # fmt: skip
        if (levels is not None and levels < 2) or not 0 < alpha < math.inf or not 0 <= var_smoothing < math.inf:
            raise ValueError(f"NaiveBayes: levels is {levels!r}, alpha {alpha!r}, var_smoothing {var_smoothing!r}; "
                             "None or at least 2, a positive number and one of 0 or more are wanted")  # fmt: skip
        super().__init__(n_features, n_classes, rng=rng)
        self.levels, self.alpha, self.var_smoothing = levels, alpha, var_smoothing
        shape = (n_classes, n_features)
        self._add_buffers(**({"scatter": shape} if levels is None else {"seen": (*shape, levels)}))

    def update(self, x, y) -> dict:
        """(3) or (4): take in some more examples; how many there are now."""
        xp = backend.array_module(x)
        grown = self.take_in(x, y, full=False)
        if self.levels is None:
            self.scatter.assign(self.scatter.data + xp.stack(grown))
        else:
            self.seen.assign(self.seen.data + self._counted(x, y))
        return {"examples": self.count.data.sum()}

    def _counted(self, x, y):
        """How often each value of each feature occurs in each class: (n, d), (n,) to (m, d, L)."""
        xp, shape = backend.array_module(x), self.seen.shape
        places = x.astype("int64") + self.levels * xp.arange(self.n_features)  # (n, d)
        places = places + self.levels * self.n_features * y[:, None]
        return xp.bincount(places.ravel(), minlength=math.prod(shape)).reshape(shape).astype("float64")

    def class_laws(self) -> Callable[[Any], Any]:
        """(2) or (4)."""
        if self.levels is None:
            means, v = self.means.data, self._variances()
            return lambda x: log_normals(x, means, v)
        log_table = tg.log(frequencies(self.seen.data, self.alpha)).transpose(1, 2, 0)
        log_table = backend.array_module(log_table).ascontiguousarray(log_table)
        return lambda x: tg.as_tensor(log_symbols(tg.as_tensor(x).data.astype("int64"), log_table))

    def draw(self, y, rng: Generator):
        """Each feature by itself."""
        if self.levels is None:
            z = rng.normal((len(y), self.n_features), dtype="float64")
            return self.means.data[y] + tg.sqrt(self._variances())[y] * z
        table = frequencies(self.seen.data, self.alpha)
        return rng.categorical(probabilities=table[y]).astype("float64")

    def _variances(self):
        """(3)."""
        v = variances(self.count.data, self.means.data, self.scatter.data, self.var_smoothing)
        if not float(v.min()) > 0:
            k, j = divmod(int(v.argmin()), self.n_features)
            raise ValueError(f"NaiveBayes: column {j} is constant in class {k}, so its density there is infinite; "
                             "columns that vary, or var_smoothing= (such as 1e-9), are wanted")  # fmt: skip
        return v

    def checked(self, x, y=None):
        """x, and y if given, where the model is; symbols must be those that there are."""
        found = super().checked(x, y)
        if self.levels is not None:
            values = tg.as_tensor(found if y is None else found[0]).data
            odd = (values != values.round()) | (values < 0) | (values >= self.levels)
            if bool(odd.any()):
                raise ValueError(f"NaiveBayes: x has values such as {float(values[odd][0]):g}; integers from 0 to "
                                 f"{self.levels - 1} are wanted (levels={self.levels})")  # fmt: skip
        return found

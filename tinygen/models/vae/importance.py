r"""How likely is an image under a model that only bounds its likelihood? Importance sampling tells.

The likelihood $p(x) = \int p(x|z)\, p(z)\, dz$ asks which codes $z$ explain the image. Almost none that the prior
draws do; those that a good encoder $q(z|x)$ draws do, and the weight of a draw makes up for drawing them too often:

$$ \log \hat p(x) = \log \frac1m \sum_{j=1}^{m} w_j, \qquad
   w_j = \frac{p(x|z_j)\, p(z_j)}{q(z_j|x)}, \qquad z_j \sim q(z|x). \tag{1} $$

A weight has the right mean, $\mathbb E_q\, w = \int p(x|z)\, p(z)\, dz = p(x)$, so that $\hat p(x)$ tends to $p(x)$ as
$m$ grows. Its logarithm comes from below: by Jensen's inequality $\mathbb E \log \hat p(x) \le \log p(x)$. With $m = 1$
this mean is the ELBO, and it never falls with $m$ (Burda, Grosse and Salakhutdinov 2016).

How far the estimate may be off follows from the spread of the weights. The variance of their mean is about
$\frac1m [\frac1m \sum_j w_j^2 - (\frac1m \sum_j w_j)^2]$; divided by $\hat p^2$ it gives the standard error of the
logarithm,

$$ \mathrm{se} = \sqrt{\frac{\sum_j w_j^2}{(\sum_j w_j)^2} - \frac1m}. \tag{2} $$

It is worth as much as the draws are: it stays below 1 whatever happens, says nothing of the bias (about
$-\mathrm{se}^2 / 2$), and knows nothing of codes that $q$ never draws. With normal weights on the log scale of standard
deviation 10, a thousand draws end some 25 nats too low and report an error of 0.8 or so.

Notation
--------
$\log w_j$ : `log_w`, (m, b), m draws for each of b images
$\log \sum_j w_j, \log \sum_j w_j^2$ : `sums`, (2, b)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def log_sums(chunks: Iterable[np.ndarray]) -> np.ndarray:
    r"""$\log \sum_j w_j$ and $\log \sum_j w_j^2$: log-weights in chunks of (some draws, b) to (2, b), in float64."""
    sums = np.array(-np.inf)
    for log_w in chunks:
        log_w = np.asarray(log_w, float)
        sums = np.logaddexp(sums, np.logaddexp.reduce([log_w, 2 * log_w], axis=1))
    return sums


def log_mean(sums: np.ndarray, m: int) -> np.ndarray:
    r"""(1): $\log \frac1m \sum_j w_j$; (2, b) to (b,), in nats."""
    return sums[0] - math.log(m)


def standard_error(sums: np.ndarray, m: int) -> np.ndarray:
    r"""(2): $\sqrt{\sum_j w_j^2 / (\sum_j w_j)^2 - 1/m}$; (2, b) to (b,), in nats; infinite for a single draw."""
    if m == 1:
        return np.full(sums.shape[1:], np.inf)
    return np.sqrt(np.maximum(np.exp(sums[1] - 2 * sums[0]) - 1 / m, 0))  # rounding may take it below 0

r"""The inception score: each sample clearly of one class, and all classes there (Salimans et al. 2016; S3 part 3).

A classifier gives each sample $x_i$ its class probabilities $p(y | x_i)$. If samples are recognisable these have little
entropy; if samples are diverse their mean, $p(y) = \frac1n \sum_i p(y | x_i)$, has much. Both are asked for at once by

$$ \mathrm{IS} = \exp\left( \frac1n \sum_{i=1}^n \mathrm{KL}\bigl( p(y | x_i) \,\|\, p(y) \bigr) \right), \tag{1} $$

the larger the better. The exponent is the mutual information of the sample and its class,

$$ \log \mathrm{IS} = H(p(y)) - \frac1n \sum_{i=1}^n H\bigl( p(y | x_i) \bigr), \tag{2} $$

so the score is from 1 (the classifier says the same of every sample) to the number of classes $k$ (it is sure of each,
and all are as frequent). It needs log-probabilities: a classifier that is sure has probabilities that round to 0.

**The convention of splits.** The score of $n$ samples is too low on average: $p(y)$ is their own mean, which is the
law that minimises (1); the exponent loses about $(k - 1) / 2n$, if the classifier is sure. Salimans et al. cut 50,000
samples into 10 parts, and report the mean and the standard deviation of the parts' scores,

$$ \overline{\mathrm{IS}} = \frac1s \sum_{j=1}^s \mathrm{IS}_j, \qquad
   \mathrm{sd}^2 = \frac1s \sum_{j=1}^s \bigl( \mathrm{IS}_j - \overline{\mathrm{IS}} \bigr)^2. \tag{3} $$

The spread is that of one part; the mean is surer than that by $\sqrt{s}$. The parts are taken in the samples' order:
shuffle what is sorted.

**What it does not see.** One perfect image of each class, again and again, has the best score. So has an image that
only the classifier understands. The real data have less than $k$, since some are unclear and no classifier is perfect:
print their score beside. Scores by different classifiers do not compare; the name is from the network Inception-v3,
which classifies photographs of 1000 things and has no say on digits.

Notation
--------
$\log p(y | x_i)$ : `log_p`, (n, k)
$s$ : `splits`
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from tinygen.metrics.common import points


def log_inception_score(log_p) -> float:
    r"""The exponent of (1) in nats, from log-probabilities (n, k); equal to (2)."""
    log_p = _checked(log_p)
    log_marginal = logsumexp(log_p, axis=0) - np.log(len(log_p))  # log p(y), (k,)
    p = np.exp(log_p)
    gap = np.subtract(log_p, log_marginal, out=np.zeros_like(p), where=p > 0)  # 0 log 0 = 0
    return float((p * gap).sum(1).mean())


def inception_score(log_p, *, splits: int = 1) -> tuple[float, float]:
    r"""(3), of the scores (1) of so many parts: their mean, and their standard deviation.

    Parameters
    ----------
    log_p : (n, k), the log-probability of each class for each sample, as a classifier's `predict_log_proba` gives it
    splits : into how many parts (as equal as can be) the samples are cut; 1 for the score of them all, with spread 0

    Examples
    --------
    >>> import numpy as np
    >>> with np.errstate(divide="ignore"):
    ...     sure = np.log(np.eye(4))
    >>> inception_score(sure)
    (4.0, 0.0)
    """
    log_p = _checked(log_p)
    if not 1 <= splits <= len(log_p):
        raise ValueError(f"inception_score: splits is {splits!r}; 1 to the {len(log_p)} samples there are is wanted")
    scores = [np.exp(log_inception_score(part)) for part in np.array_split(log_p, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _checked(log_p):
    """Log-probabilities as float64, or an error."""
    log_p = points("inception_score", "log_p", log_p, finite=False)
    total = logsumexp(log_p, axis=1)
    wrong = ~(np.abs(total) < 1e-3)  # NaN as well
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"inception_score: the probabilities of row {row} of log_p sum to {np.exp(total[row]):.6g}; "
                         "log-probabilities are wanted, neither probabilities nor logits")  # fmt: skip
    return log_p - total[:, None]  # float32's rounding taken out

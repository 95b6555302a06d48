r"""Anomalies and changes: what an estimated density is good for (S4, unsupervised setting).

S4 names two uses of "estimating the distribution of observations", beside drawing new ones: "detect suspect
data/behaviour", and "detect changes in the data set if the data are collected through time". Both need no more than a
score $s(x)$ for each observation, large where it is as usual. The natural one is $s(x) = \log \hat f(x)$ with any
estimate $\hat f$ of this family and of others: a Gaussian, a histogram, a kernel estimate, a mixture.

**Why the density?** Suppose that one knew the law $g$ of anomalies as well. Of all tests with the same rate of false
alarms, the one that finds the most anomalies flags where $g(x) / f(x)$ is large (Neyman and Pearson 1933). One does
not know $g$. If anomalies may be anywhere, $g$ is constant, and then this is where $f$ is small. Mind that a density
depends on the coordinates ($x \mapsto \log x$ changes what is suspect), and that in many dimensions even the usual lies
far from where the density is largest.

**How good is a score?** Flag all $x$ with $s(x) \le c$. As the threshold $c$ rises, so do the shares of false alarms
among usual observations $X_i$ and of hits among anomalies $A_j$,

$$ \mathrm{false}(c) = \frac1n \sum_{i=1}^n \mathbb 1_{s(X_i) \le c}, \qquad
   \mathrm{hit}(c) = \frac1m \sum_{j=1}^m \mathbb 1_{s(A_j) \le c}, \tag{1} $$

and the curve that they draw, the *receiver operating characteristic*, does not depend on any threshold, nor on the
scale of the score. The area below it is the chance that an anomaly scores lower than a usual observation,

$$ \mathrm{AUC} = \frac{1}{nm} \sum_{i,j} \mathbb 1_{s(A_j) < s(X_i)} + \tfrac12 \mathbb 1_{s(A_j) = s(X_i)}, \tag{2} $$

$\frac12$ for a score that knows nothing.

**Where to put the threshold?** Hold back some examples $X_1, \dots, X_n$ from the fit, and see where a new observation
ranks among them,

$$ p(x) = \frac{1 + \#\{ i : s(X_i) \le s(x) \}}{n + 1}. \tag{3} $$

If $x$ is as usual, it is one of $n + 1$ examples alike, and each rank is as likely as any other: hence

$$ \Pr[p(x) \le \alpha] \le \alpha, \tag{4} $$

with equality if $\alpha (n + 1)$ is a whole number and no two scores are equal. This asks nothing of $\hat f$. A bad
estimate finds fewer anomalies; it does not raise more false alarms. (The examples of the fit itself would not do: their
scores are too high.)

**When did it change?** Observations $x_1, \dots, x_n$ come in time; the first $t$ have the density $f_0$, the others
$f_1$. The log-likelihood of a change after $t$ is

$$ \ell(t) = \sum_{i \le t} \log f_0(x_i) + \sum_{i > t} \log f_1(x_i), \qquad
   \hat t = \operatorname*{argmax}_t\, \ell(t), \tag{5} $$

all of it from cumulative sums. Usually neither density is known. Then estimate them from both sides of a guess,
improve the guess by (5), and so by turns. If the estimates are of maximum likelihood, neither turn can lower $\ell$,
and there are finitely many $t$, so this ends, though perhaps at a local maximum: the first guess is the best of a few.
A likelihood ratio weighs how sure it is,

$$ \Lambda = \ell(\hat t) - \sum_{i=1}^n \log f(x_i), \tag{6} $$

where $f$ is estimated from all observations. $\Lambda$ is positive even if nothing has changed, since two densities fit
better than one. But in that case the order of the observations says nothing: put them in random order, again and
again, and see how often $\Lambda$ comes out as large; (3) turns this into a p-value.

**And while they come in?** Page's cumulative sum (1954) adds up what speaks for a change, forgets it whenever
everything speaks against, and raises an alarm when it passes a threshold:

$$ S_i = \max\left( 0,\; S_{i-1} + \log \frac{f_1(x_i)}{f_0(x_i)} \right), \qquad S_0 = 0. \tag{7} $$

If $f_1$ is not known, any step that is negative on average before the change, and positive after it, will do: say the
surprise $-\log \hat f_0(x_i)$ less a little more than its mean. This cannot see a change that leaves the mean surprise
as it is.

Notation
--------
$s(X_i), s(A_j)$ : `usual`, (n,); `anomalous`, (m,)
$p$ : `p_values`
$\log f_0(x_i), \log f_1(x_i)$ : `before`, `after`, (n,)
$\ell(t)$ : for $t = 0, \dots, n$, (n + 1,)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def roc(usual, anomalous) -> tuple[np.ndarray, np.ndarray]:
    """(1) at every threshold that makes a difference, from none flagged to all; (n,), (m,) to twice (n + m + 1,)
    at most."""
    thresholds = np.unique(np.concatenate([usual, anomalous]))
    usual, anomalous = (np.searchsorted(np.sort(s), thresholds, side="right") / len(s) for s in (usual, anomalous))
    return np.concatenate([[0.0], usual]), np.concatenate([[0.0], anomalous])


def area(usual, anomalous) -> float:
    """(2), by ranks: the area under the curve (1); (n,), (m,)."""
    usual = np.sort(usual)
    above = len(usual) - np.searchsorted(usual, anomalous, side="right")
    ties = len(usual) - np.searchsorted(usual, anomalous, side="left") - above
    return float((above + ties / 2).mean() / len(usual))


def p_values(scores, usual) -> np.ndarray:
    """(3): the rank of each score among those of usual observations; (m,), (n,) to (m,)."""
    return (1 + np.searchsorted(np.sort(usual), scores, side="right")) / (len(usual) + 1)


def false_alarm_rate(alpha: float, n: int) -> float:
    r"""(4): the chance of $p(x) \le \alpha$ for a usual observation, if no two scores are equal."""
    return math.floor(alpha * (n + 1) * (1 + 1e-12)) / (n + 1)


def split_log_likelihoods(before, after) -> np.ndarray:
    r"""(5): $\ell(t)$ of all $t = 0, \dots, n$; (n,), (n,) to (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(before)]) + np.concatenate([np.cumsum(after[::-1])[::-1], [0.0]])


def gain(before, after, whole, t: int) -> float:
    r"""(6): $\Lambda$ of a change after t, from the log-densities of all observations; three of (n,)."""
    return float(np.sum(before[:t]) + np.sum(after[t:]) - np.sum(whole))


def cumulative_sum(steps) -> np.ndarray:
    r"""(7): $S_1, \dots, S_n$ from the log-ratios; (n,) to (n,)."""
    way = np.concatenate([[0.0], np.cumsum(steps)])
    return (way - np.minimum.accumulate(way))[1:]  # how far above its lowest point so far


# ---- suspect data ---------------------------------------------------------------------------------------


class AnomalyDetector(Model):
    r"""Flags observations that are unlike the examples: (3), with any estimate of a density.

    Parameters
    ----------
    model : what gives the score: any model with `fit` and `score_samples`
    alpha : the share of false alarms that is put up with, $\alpha$ of (4)
    score : the name of another method that gives a score for each row, large where all is as usual: such as
        "log_estimate" of `NearestNeighbours`, or "elbo"

    Attributes
    ----------
    usual : the scores of the examples that were held back from the fit, every third one, float64

    Examples
    --------
    >>> from tinygen.models.density import Gaussian
    >>> x = tg.random.Generator(0).normal((300, 2))
    >>> detector = AnomalyDetector(Gaussian(2), alpha=0.02).fit(x, run=Run(quiet=True))
    >>> detector.predict(np.array([[0.0, 0.0], [9.0, 9.0]])), detector.p_values(np.array([[9.0, 9.0]])).round(4)
    (array([False,  True]), array([0.0099]))
    """

    usual: tg.Tensor

    def __init__(self, model: Any, *, alpha: float = 0.05, score: str = "score_samples"):
        if not 0 < alpha < 1:
            raise ValueError(f"AnomalyDetector: alpha is {alpha!r}; a share between 0 and 1 is wanted")
        if not (callable(getattr(model, "fit", None)) and callable(getattr(model, score, None))):
            raise ValueError(f"AnomalyDetector: model is a {type(model).__name__} without {score!r} or without fit; a "
                             "model with both is wanted (score= names another method)")  # fmt: skip
        self.model, self.alpha, self.score = model, alpha, score
        self.register_buffer("usual", tg.zeros(0, dtype="float64"))

    def fit(self, x: np.ndarray, *, steps: int | None = None, run: Run | None = None) -> Self:
        """Fit the model to two thirds of x, (n, ...), and score the rest; x in no particular order.

        steps : of the model's fit; by default as many as it takes by itself
        """
        x, run = checked("AnomalyDetector", self.model, x), run or Run()
        held_back = np.arange(len(x)) % 3 == 2
        if (held_back.sum() + 1) * self.alpha < 1:
            enough = 3 * (math.ceil(1 / self.alpha) - 1)
            raise ValueError(f"AnomalyDetector: x has {len(x)} rows, a third of which cannot make a p-value as small "
                             f"as alpha={self.alpha:g}; at least {enough} are wanted, or a larger alpha")  # fmt: skip
        options = {} if steps is None else {"steps": steps}
        self.model.fit(x[~held_back], run=run, **options)
        self.register_buffer("usual", tg.tensor(np.asarray(self.scores(x[held_back]), float), dtype="float64"))
        return self

    def scores(self, x: np.ndarray) -> np.ndarray:
        """The score of each row; (n, ...) to (n,)."""
        return getattr(self.model, self.score)(checked("AnomalyDetector", self.model, x))

    def p_values(self, x: np.ndarray) -> np.ndarray:
        """(3): small where x is unlike the examples, at least 1 / (len(usual) + 1); (m, ...) to (m,)."""
        if not len(self.usual):
            raise RuntimeError("AnomalyDetector: no examples yet; call fit first")
        return p_values(self.scores(x), self.usual.numpy())

    def predict(self, x: np.ndarray) -> np.ndarray:
        r"""Whether $p(x) \le \alpha$: is it an anomaly? (m, ...) to (m,) of bool."""
        return self.p_values(x) <= self.alpha

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict`, however many scores it holds."""
        mine, shape = self.usual, tuple(getattr(state.get("usual"), "shape", ()))
        if len(shape) == 1:
            self.register_buffer("usual", tg.zeros(shape, dtype="float64"))
        try:
            super().load_state_dict(state)
        except ValueError:
            self.register_buffer("usual", mine)
            raise


# ---- changes --------------------------------------------------------------------------------------------


class ChangePoint(Model):
    r"""Finds when a series of observations changed its law, with any two estimates of densities: (5) and (6).

    Parameters
    ----------
    before, after : models with `fit` and `score_samples`, such as two of `Gaussian(d)`
    shortest : how many observations there are at least on either side
    starts : from how many places, evenly spaced, the first guess is chosen

    Attributes
    ----------
    t : the change comes after so many observations; 0 before `fit`
    log_likelihood : $\ell(t)$, in nats
    single : the log-likelihood of one density for all observations

    Examples
    --------
    >>> from tinygen.models.density import Gaussian
    >>> x = tg.random.Generator(0).normal((100, 1), dtype="float64")
    >>> x[70:] = 3 * x[70:] + 5
    >>> change = ChangePoint(Gaussian(1), Gaussian(1), shortest=5).fit(x, run=Run(quiet=True))
    >>> int(change.t), change.gain > 50
    (70, True)
    """

    t: tg.Tensor
    log_likelihood: tg.Tensor
    single: tg.Tensor

    def __init__(self, before: Any, after: Any, *, shortest: int = 20, starts: int = 9):
        if before is after:
            raise ValueError("ChangePoint: before and after are one model; two are wanted, such as Gaussian(2) twice")
        if shortest < 1 or starts < 1:
            raise ValueError(f"ChangePoint: shortest is {shortest} and starts {starts}; at least 1 of each is wanted")
        self.before, self.after, self.shortest, self.starts = before, after, shortest, starts
        self.register_buffer("t", tg.tensor(0))
        for name in ("log_likelihood", "single"):
            self.register_buffer(name, tg.tensor(-math.inf, dtype="float64"))

    def fit(self, x: np.ndarray, *, steps: int = 20, run: Run | None = None) -> Self:
        """Find the change in x, (n, ...), in the order of time; afterwards both models are those of their side.

        steps : turns of (5), the first of which chooses where to start; once nothing changes, the others do nothing
        """
        x, run = checked("ChangePoint", self.before, x), run or Run()
        if len(x) < 2 * self.shortest:
            raise ValueError(f"ChangePoint: x has {len(x)} rows; at least {2 * self.shortest} are wanted, twice "
                             f"shortest={self.shortest}")  # fmt: skip
        self.t.assign(0)
        for _ in run.steps(self, steps):
            run.log(**self.update(x))
        return self

    def update(self, x: np.ndarray) -> dict:
        """The first guess, or a turn of (5); where the change is now, and how likely."""
        if int(self.t) == 0:
            self.single.assign(float(np.sum(quietly(self.before, x).score_samples(x))))
            places = np.linspace(self.shortest, len(x) - self.shortest, self.starts + 2).astype(int)[1:-1]
            self.t.assign(max((self._turn(x, int(place)) for place in places), key=lambda pair: pair[1])[0])
        found = self._turn(x, int(self.t))
        self.t.assign(found[0])
        self.log_likelihood.assign(found[1])
        return {"t": found[0], "log_likelihood": found[1], "gain": found[1] - float(self.single)}

    def _turn(self, x, t: int) -> tuple[int, float]:
        """Both models from a guess, then the best place for them, and its log-likelihood."""
        quietly(self.before, x[:t]), quietly(self.after, x[t:])
        log_likelihoods = self.log_likelihoods(x)
        allowed = log_likelihoods[self.shortest : len(x) - self.shortest + 1]
        best = self.shortest + int(np.argmax(allowed))
        return best, float(log_likelihoods[best])

    def log_likelihoods(self, x: np.ndarray) -> np.ndarray:
        r"""(5): $\ell(t)$ for all t with both models as they are; (n, ...) to (n + 1,)."""
        return split_log_likelihoods(self.before.score_samples(x), self.after.score_samples(x))

    @property
    def gain(self) -> float:
        r"""(6): $\Lambda$, in nats."""
        if int(self.t) == 0:
            raise RuntimeError("ChangePoint: no observations yet; call fit first")
        return float(self.log_likelihood) - float(self.single)


def shuffled_gains(x: np.ndarray, make: Callable[[], ChangePoint], n: int, rng: np.random.Generator) -> np.ndarray:
    r"""$\Lambda$ of n series that hold the same observations in random order: what (6) is if nothing has changed."""
    return np.array([make().fit(x[rng.permutation(len(x))], run=Run(quiet=True)).gain for _ in range(n)])


def quietly(model: Any, x: np.ndarray) -> Any:
    """The model, fitted to x without a bar."""
    return model.fit(x, run=Run(quiet=True))


def checked(owner: str, model: Any, x: Any) -> np.ndarray:
    """Observations on the host, in rows that fit the model, all finite, or an error in the owner's name."""
    x, d = np.asarray(x), getattr(model, "n_features", None)
    if x.ndim < 2 or not len(x) or (d is not None and x.shape[1:] != (d,)):
        raise ValueError(f"{owner}: x has shape {x.shape}; at least one row of {d or 'some'} features is wanted "
                         "(x.reshape(-1, 1) for numbers)")  # fmt: skip
    require_finite(f"{owner}: x", x)
    return x

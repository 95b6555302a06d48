r"""The artificial neuron (S2 §3.1; S0): Rosenblatt's perceptron, why it stops learning, and its smooth successor.

A neuron weighs its inputs, adds them up, and fires if the sum is large enough. With $\sigma$ for what it does with the
sum, it is the function (S2 eq. 3.1)

$$ \phi(x) = \sigma(w^\top x + b), \qquad \sigma(a) = 1\{a \ge 0\}, \tag{1} $$

whose second half is the *perceptron* (Rosenblatt 1958). S0 writes $I[\langle w, x \rangle - b > 0]$: there $b$ is a
threshold, here it is a bias, and they are each other's negative. From here on, as usual, $x$ begins with $x_0 = 1$ and
$w$ with $w_0 = b$, and $s_i = \pm 1$ says on which side example $i$ belongs.

**Rosenblatt's rule.** Start from $w_0 = 0$. While there is a mistake, that is, an example with
$s_i w_k^\top x_i \le 0$, turn $w$ towards it (a sum of exactly 0 counts as a mistake for either class):

$$ w_{k+1} = w_k + s_i x_i. \tag{2} $$

This mends example $i$ a little, and may spoil others. Why should it ever end?

**It ends** if some direction $u$ tells the classes apart (Novikoff 1962; beyond the documents). Let

$$ \gamma(u) = \min_i \frac{s_i\, u^\top x_i}{\|u\|}, \qquad R = \max_i \|x_i\|, \tag{3} $$

the *margin*, by which even the worst example is on its right side of the plane $u^\top x = 0$, and the size of the
data. If $\gamma(u) > 0$, then, whichever mistakes are taken and in whatever order, their number is at most

$$ k \le \frac{R^2}{\gamma(u)^2}. \tag{4} $$

The proof follows two numbers, with $\|u\| = 1$. A step adds $s_i u^\top x_i \ge \gamma$ to $u^\top w$. And it adds
$2 s_i w_k^\top x_i + \|x_i\|^2 \le 0 + R^2$ to $\|w\|^2$, since $i$ was a mistake. Hence

$$ k \gamma \;\le\; u^\top w_k \;\le\; \|w_k\| \;\le\; \sqrt k\, R, \tag{5} $$

and what grows like $k$ does not stay long below what grows like $\sqrt k$. Neither the number of examples nor that of
features appears. The bound can be reached: with $s_i x_i$ at right angles to each other and of length 1, each of the
$n$ is a mistake once, $R = 1$, and their sum $u$ has the margin $1/\sqrt n$.

**The best bound** comes from the $u$ of the largest margin. No margin is larger than the length of a weighted mean $v =
\sum_i p_i s_i x_i$ (with $p_i \ge 0$, $\sum_i p_i = 1$), since $\gamma(u) \le \sum_i p_i s_i u^\top x_i = u^\top v \le
\|v\|$ for $\|u\| = 1$. For the shortest $v$ there is equality: the set of these means is convex, so that each of them,
$s_i x_i$ included, is at least as far out in the direction of the shortest one. Hence

$$ \gamma^* = \max_u \gamma(u) = \min_p \Big\| \sum_i p_i s_i x_i \Big\|, \tag{6} $$

where the maximum is taken at $u = v$; and the classes can be told apart exactly if the right-hand side is not 0.

**"Everything discrete can be smoothed!"** (S0). Where the classes overlap, (2) never comes to rest. And the step gives
no hint of how wrong an answer is: its slope is 0. So replace it by

$$ \sigma(a) = \frac{1}{1 + e^{-a}}, \qquad 1\{a > 0\} = \lim_{c \to \infty} \sigma(c a) \quad (a \ne 0), \tag{7} $$

read as the probability of class 1. Minus the mean log-probability of the right answers, with steepness $c$ and divided
by it, is

$$ L_c(w) = \frac1N \sum_{i=1}^{N} \frac1c \ln\left(1 + e^{-c s_i w^\top x_i}\right), \qquad
   0 \le L_c(w) - \frac1N \sum_{i=1}^{N} \max(0, -s_i w^\top x_i) \le \frac{\ln 2}{c}, \tag{8} $$

(the cross-entropy for $c = 1$), and to go down on it is to do what Rosenblatt did, only more gently:

$$ -\nabla L_c(w) = \frac1N \sum_{i=1}^{N} \sigma(-c s_i w^\top x_i)\, s_i x_i. \tag{9} $$

The factor is near 1 for an example that is clearly wrong, near 0 for one that is clearly right, and one half on the
plane. For $c \to \infty$ it is 1 for the mistakes and 0 for the rest: (2) is then stochastic descent on the mean in
(8), at the rate 1. The smooth neuron comes to rest where the classes overlap. Where they do not, $L_1$ falls for ever,
$\|w\|$ grows, and the direction of $w$ goes, slowly, to that of the largest margin (Soudry et al. 2018), while the
perceptron stops at the first plane that will do.

Notation
--------
$x, s$ : `X`, (n, d + 1), with the leading 1; `s`, (n,), of $\pm 1$; in the models `x`, (n, d), and `y`, (n,), 0 or 1
$w, u$ : `w`, `u`, (d + 1,)
$\gamma, R, k$ : `margin`, `radius`, and the buffer `mistakes`
$c$ : `c`
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.optimize import nnls

import tinygen as tg
from tinygen import optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.model import Model, require_finite
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.linear_regression import design
from tinygen.runs import Run

# ---- the neuron, and Rosenblatt's rule ----------------------------------------------------------------------------


def step(a):
    r"""(1), second half: $1\{a \ge 0\}$, for a raw array."""
    return (a >= 0).astype(a.dtype)


def neuron(w, X, sigma=step):
    r"""(1): $\sigma(w^\top x)$ with $x_0 = 1$; (d + 1,), (n, d + 1) to (n,)."""
    return sigma(tg.matmul(X, w))


def corrected(w, x, s):
    r"""(2): $w + s x$ if that was a mistake, else $w$; raw (d + 1,), (d + 1,) and a sign to (d + 1,)."""
    return w + (s * tg.sum(w * x) <= 0) * s * x


# ---- Novikoff's theorem -----------------------------------------------------------------------------------------


def margin(u, X, s) -> float:
    r"""(3): $\gamma(u) = \min_i s_i u^\top x_i / \|u\|$, on the host."""
    return float(np.min(s * (X @ u)) / np.linalg.norm(u))


def radius(X) -> float:
    r"""(3): $R = \max_i \|x_i\|$, on the host."""
    return float(np.max(np.linalg.norm(X, axis=1)))


def most_mistakes(u, X, s) -> float:
    r"""(4): $R^2 / \gamma(u)^2$, which is infinite if $u$ does not tell the classes apart; on the host."""
    gamma = margin(u, X, s)
    return (radius(X) / gamma) ** 2 if gamma > 0 else np.inf


def between(u, X, s, k: int) -> tuple[float, float]:
    r"""(5), both ends: $k \gamma(u)$ and $\sqrt k R$, between which $\|w_k\|$ lies; on the host."""
    return k * margin(u, X, s), k**0.5 * radius(X)


def largest_margin(X, s) -> tuple[float, np.ndarray]:
    r"""(6): $\gamma^*$ and the shortest mean $v$; it is 0 (to rounding) if no plane tells the classes apart.

    With $p$ in place of any $p \ge 0$, $\|\sum_i p_i s_i x_i\|^2 + (1 - \sum_i p_i)^2$ is least at a multiple of the
    wanted weights: a least-squares problem without the sum (Lawson and Hanson 1974). On the host.
    """
    means = (s[:, None] * X).T  # (d + 1, n)
    p, _ = nnls(np.vstack([means, np.ones(len(s))]), np.append(np.zeros(len(means)), 1.0), maxiter=100 * len(s))
    v = means @ p / p.sum()
    return float(np.linalg.norm(v)), v


# ---- the smooth neuron ------------------------------------------------------------------------------------------


def sigmoid(a, c: float = 1.0):
    r"""(7): $\sigma(c a) = 1 / (1 + e^{-c a})$."""
    return tg.sigmoid(c * a)


def smooth_loss(w, X, s, c: float = 1.0):
    r"""(8): $L_c(w)$, in nats for $c = 1$; (d + 1,), (n, d + 1), (n,) to ()."""
    return tg.mean(tg.softplus(-c * s * tg.matmul(X, w))) / c


def perceptron_loss(w, X, s):
    r"""(8), the mean on the right: $\frac1N \sum_i \max(0, -s_i w^\top x_i)$; (d + 1,), (n, d + 1), (n,) to ()."""
    return tg.mean(tg.relu(-s * tg.matmul(X, w)))


def weighted_correction(w, X, s, c: float = 1.0):
    r"""(9): $-\nabla L_c(w)$; (d + 1,), (n, d + 1), (n,) to (d + 1,)."""
    return tg.matmul(sigmoid(-s * tg.matmul(X, w), c) * s, X) / len(s)


# ---- the models -------------------------------------------------------------------------------------------------


class Perceptron(Model):
    r"""A plane between two classes, found by (2).

    Parameters
    ----------
    n_features : $d$
    rng : the Generator that picks which mistake is mended; None takes fresh entropy. The model lives on its device.

    Attributes
    ----------
    w : (d + 1,), the bias first
    mistakes : $k$, how many mistakes were mended

    Examples
    --------
    >>> x, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 0, 0, 1])  # "and"
    >>> model = Perceptron(2, rng=tg.random.Generator(0)).fit(x, y, steps=50, run=Run(quiet=True))
    >>> model.predict(x), model.score(x, y)
    (array([0, 0, 0, 1]), 1.0)
    """

    w: tg.Tensor
    mistakes: tg.Tensor

    def __init__(self, n_features: int, *, rng: Generator | None = None):
        if n_features < 1:
            raise ValueError(f"Perceptron: n_features is {n_features}; one feature at least is wanted")
        self.n_features = n_features
        self.rng = Generator() if rng is None else rng
        self.register_buffer("w", tg.zeros(n_features + 1, device=self.rng.device))
        self.register_buffer("mistakes", tg.zeros((), device=self.rng.device))

    def update(self, X, s) -> dict:
        """(2) for one mistake, drawn from all there are; how many there were. Without any, nothing changes."""
        xp = backend.array_module(X)
        wrong = s * neuron(self.w.data, X, sigma=lambda a: a) <= 0  # (n,)
        i = xp.argmax(wrong * (1 + self.rng.uniform(s.shape)))
        self.mistakes.assign(self.mistakes.data + wrong[i])
        self.w.assign(corrected(self.w.data, X[i], s[i]))
        return {"wrong": wrong.sum()}

    def fit(self, x: np.ndarray, y: np.ndarray, *, steps: int, run: Run | None = None) -> Self:
        """Learn from inputs (n, d) and classes (n,), 0 or 1; a step mends one mistake, and (4) says how many to ask."""
        run, (X, s) = run or Run(), self.checked(x, y)
        for _ in run.steps(self, steps):
            run.log(**self.update(X, s))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(1): the class of each input; (n, d) to (n,)."""
        return backend.to_numpy(neuron(self.w.data, self.checked(x))).astype(int)

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        """The share of right answers."""
        return float(np.mean(self.predict(x) == y))

    def checked(self, x, y=None) -> Any:
        """$X$, and $s$ if y is given, as arrays where the model is, or an error that says what is wrong."""
        x = backend.asarray(x, self.w.dtype, self.w.device)
        if x.shape[1:] != (self.n_features,) or not len(x):
            raise ValueError(f"Perceptron: x has shape {x.shape}; at least one row of {self.n_features} is wanted")
        require_finite("Perceptron: x", x)
        if y is None:
            return design(x)
        y = backend.asarray(y, device=self.w.device)
        if y.dtype.kind not in "iub" or y.shape != x.shape[:1] or not bool(((y == 0) | (y == 1)).all()):
            raise ValueError(f"Perceptron: y is {y.dtype} {y.shape}; a class, 0 or 1, for each of the {len(x)} rows is "
                             "wanted (of more classes, learn one against the rest)")  # fmt: skip
        return design(x), (2 * y.astype(x.dtype) - 1)


class SigmaNeuron(Classifier):
    r"""A neuron with the sigmoid (7), which learns by stochastic descent on $L_1$, (8); it starts from $w = 0$.

    Parameters
    ----------
    n_features : $d$
    lr : learning rate
    rng : the Generator of the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> neuron = SigmaNeuron(1, rng=tg.random.Generator(0)).fit(x, y, steps=300, run=Run(quiet=True))
    >>> neuron.predict(x)
    array([0, 0, 1, 1])
    """

    def __init__(self, n_features: int, *, lr: float = 0.5, rng: Generator | None = None):
        if n_features < 1:
            raise ValueError(f"SigmaNeuron: n_features is {n_features}; one feature at least is wanted")
        self.n_features = n_features
        self.rng = Generator() if rng is None else rng
        self.w = tg.zeros(n_features + 1, requires_grad=True, device=self.rng.device)
        self.optimizer = optim.SGD(self.parameters(), lr)

    def forward(self, x):
        r"""The logits 0 and $w^\top x$, whose softmax is $(1 - \sigma, \sigma)$; (b, d) to (b, 2)."""
        a = tg.matmul(x, self.w[1:]) + self.w[0]
        return tg.stack([0 * a, a], axis=1)

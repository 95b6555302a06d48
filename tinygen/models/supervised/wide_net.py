r"""A wide net on notMNIST (S2 ex. 3.2.1), and what such a net can learn by heart (S2 §3.2; Zhang et al. 2016).

S2 puts one hidden layer of 2048 relus between the 784 pixels of a letter and the ten classes,

$$ f(x, \theta) = V^\top \max(0, W^\top x + b) + c, \qquad p_\theta(\cdot|x) = \mathrm{softmax}(f(x, \theta)) \tag{1} $$

(S2 eqs. 3.5, 3.8 and 3.9), and goes down on the negative log-likelihood of the labels (S2 eq. 3.10), by the gradients
of minibatches $S$ of 100 letters,

$$ \hat L_S(\theta) = -\frac{1}{|S|} \sum_{i \in S} \log p_\theta(y_i|x_i). \tag{2} $$

After 20,000 steps it is right about 92 % of the letters that it has not seen, "just a slight improvement" over softmax
regression, which has 200 times fewer numbers to learn. (S2 does not name the rate; here it is 0.1.) It is right about
all of those that it has seen. That is no achievement: it has 1,628,170 weights, a hundred for each letter of our
training set, and S2 warns that such a net "is even capable of memorizing the labels of the whole training data set".

**By heart.** Indeed a net (1) with $n - 1$ hidden neurons can give *any* answers to $n$ different inputs. Look at them
from a direction $a$ drawn at random: almost surely no two of the $a^\top x_i$ coincide. Number them in this order.
Relus can draw straight lines through any values along a line (eq. 6 of the chapter on feed-forward nets), so let all
neurons look in the direction $a$, and bend at one input after the other. With $e_y$ for the vector that is 1 at $y$
and 0 elsewhere,

$$ W = (a, \dots, a), \quad b_k = -a^\top x_k \quad (k = 1, \dots, n - 1), \quad c = e_{y_1}, \quad
   V \text{ such that } f(x_i, \theta) = e_{y_i} \text{ for all } i, \tag{3} $$

and the largest output is the right one, whatever the labels are. Of course this says nothing about any other input.

**What does descent find?** It need not find such weights. So give it labels that mean nothing: replace each, with
probability $q$, by one drawn from all $m$ classes. A part

$$ 1 - q \left(1 - \frac1m\right) \tag{4} $$

of the labels then stays right. For $q = 1$ nothing can be learnt about other letters, and any answer to them is right
with probability $1/m$. But the same net, by the same descent, with the same rate, ends by giving nearly all of the
labels that it was shown, only later than if they were right. The gap between seen and unseen is then nearly as large as
can be. So if it is small for right labels, this cannot be due to the size of the net, nor to any property that nets
have whatever the labels: such a property would hold for the random ones as well.

Notation
--------
$x, y$ : `x`, (b, d); `y`, (b,), integers from 0
$W, b$ : of the first layer, (d, n) and (n,); $V, c$ : of the second, (n, m) and (m,)
$q, m$ : `share`, `n_classes`
$a$ : `a`, (d,)
"""

from __future__ import annotations

import numpy as np

from tinygen import optim
from tinygen.backend.random import Generator
from tinygen.models.supervised.backpropagation import Layer
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.feed_forward import interpolant, stack
from tinygen.nn import functional as F

# ---- by heart: on the host ----------------------------------------------------------------------------------------


def by_heart(x: np.ndarray, y: np.ndarray, n_classes: int, rng: Generator) -> list[Layer]:
    """(3): a net with one hidden neuron less than there are inputs (n, d), which gives each its label (n,).

    Raises ValueError if two inputs look alike from the direction drawn: most likely they are the same.
    """
    if min(y) < 0 or max(y) >= n_classes:
        raise ValueError(f"by_heart: y has classes from {min(y)} to {max(y)}; 0 to {n_classes - 1} are wanted")
    a = rng.normal((x.shape[1], 1), dtype="float64")
    t = (x @ a)[:, 0]  # (n,)
    order = np.argsort(t)
    if len(t) < 2 or np.min(np.diff(t[order])) <= 1e-12 * np.max(np.abs(t)):
        raise ValueError(f"by_heart: the {len(t)} inputs are not all different; at least two, and each once, are "
                         "wanted (drop the repeated ones)")  # fmt: skip
    hidden, out = interpolant(t[order], np.eye(n_classes)[y[order]])
    return [Layer(a @ hidden.W, hidden.b, "relu"), out]


def random_labels(y: np.ndarray, share: float, n_classes: int, rng: Generator) -> np.ndarray:
    """Labels (n,) of which each is replaced, with probability `share`, by one drawn from all classes."""
    return np.where(rng.uniform(y.shape) < share, rng.integers(0, n_classes, y.shape), y)


def still_right(share: float, n_classes: int) -> float:
    r"""(4): $1 - q (1 - 1/m)$."""
    return 1 - share * (1 - 1 / n_classes)


# ---- the model ----------------------------------------------------------------------------------------------------


class WideNet(Classifier):
    r"""A classifier (1) with one hidden layer, which learns by plain stochastic gradient descent.

    Parameters
    ----------
    n_features, n_classes : $d$ and $m$
    width : how many hidden neurons there are
    lr : learning rate
    rng : the Generator of the weights and the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> net = WideNet(784, 10, rng=Generator(0))
    >>> sum(p.data.size for p in net.parameters())
    1628170
    """

    def __init__(self, n_features: int, n_classes: int, *, width: int = 2048, lr: float = 0.1,
                 rng: Generator | None = None):  # fmt: skip
        if n_classes < 2:
            raise ValueError(f"WideNet: n_classes is {n_classes}; two at least are wanted")
        self.n_features, self.n_classes = n_features, n_classes
        self.rng = Generator() if rng is None else rng
        self.body = stack((n_features, width, n_classes), "relu", self.rng)
        self.optimizer = optim.SGD(self.parameters(), lr)

    def forward(self, x):
        r"""(1): the logits $f(x, \theta)$; (b, d) to (b, m)."""
        return self.body(x)

    def loss(self, x, y):
        r"""(2): $\hat L_S$ in nats; (b, d), (b,) to ()."""
        return F.cross_entropy(self(x), y)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        r"""(1): $p_\theta(\cdot|x)$; (n, d) to (n, m)."""
        return self._in_parts(lambda part: F.softmax(self(part), 1), x)

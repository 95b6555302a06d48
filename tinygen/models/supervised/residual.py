r"""Residual connections and layer normalisation (S0; He et al. 2016; Ba, Kiros and Hinton 2016): nets of fifty layers.

"Stack more layers!", says S0, and on the same page: "gradient vanishing / exploding problem!" On its way back through
$L$ layers $h^{(\ell + 1)} = f_\ell(h^{(\ell)})$ an error $\delta^\ell = \partial C / \partial h^{(\ell)}$ is multiplied
by as many matrices $J_\ell = \partial f_\ell / \partial h^{(\ell)}$. S0's two remedies are a layer that adds to what is
there instead of replacing it,

$$ y = x + \sigma(W^\top x + b) \tag{1} $$

(S0 writes $\sigma(Wx - b)$), and one that passes on the $n$ numbers of an example in units of their own,

$$ \mu = \frac1n \sum_{i=1}^n x_i, \qquad s^2 = \frac1n \sum_{i=1}^n (x_i - \mu)^2, \qquad
   N(x)_i = \frac{x_i - \mu}{\sqrt{s^2 + \epsilon}}. \tag{2} $$

(S0 prints $\frac1m$ before sums that run to $n$, and no $\epsilon$, which is there for $s = 0$. `nn.LayerNorm` also
learns a scale and a shift for each unit.) It is batch normalisation turned on its side: over the units of one example,
not over the examples for one unit. So it needs no batch, and does the same in training and after it.

**What the shortcut does.** With $h^{(\ell + 1)} = h^{(\ell)} + f_\ell(h^{(\ell)})$ every matrix has the identity added:

$$ \delta^\ell = (I + J_\ell)^\top \delta^{\ell + 1}
   = (I + J_\ell)^\top \cdots (I + J_{L - 1})^\top \delta^L, \tag{3} $$

and multiplied out this is a sum over all ways from the output back to layer $\ell$, each of which goes *through* some
of the blocks and *past* the others (Veit, Wilber and Belongie 2016):

$$ \delta^\ell = \sum_{k=0}^{L - \ell} v_k, \qquad
   v_k = \sum_{\ell \le l_1 < \dots < l_k < L} J_{l_1}^\top \cdots J_{l_k}^\top \delta^L. \tag{4} $$

The net without shortcuts has the last term only, the one way through everything. If no $J_\ell$ stretches a vector by
more than $q < 1$, then

$$ \|J_\ell^\top \cdots J_{L - 1}^\top \delta^L\| \le q^{L - \ell} \|\delta^L\|, \qquad
   (1 - q)^{L - \ell} \le \frac{\|\delta^\ell\|}{\|\delta^L\|} \le (1 + q)^{L - \ell} \quad \text{in (3)}. \tag{5} $$

The bounds are for the worst of blocks, all of which agree on a direction. Where weights are drawn at random, a block
usually makes of an error $r$ times its length, in a new direction: the lengths in (3) grow by about $\sqrt{1 + r^2}$ a
layer, where those of the plain net shrink by $r$. S0's $\sigma$, the sigmoid, has slope $\frac14$ at most, and with
weights of variance $1/n$ this is about $r$: over 50 layers $(1 + r^2)^{25} \approx 4.6$, and $r^{50} \approx
10^{-30}$.

**What it does not do.** A sigmoid is positive. At the start, with $b = 0$ and weights that are as likely $W$ as $-W$,
each block adds one half to each unit on average, over draws of the weights:

$$ \mathbb E\, h^{(\ell)} = h^{(0)} + \frac{\ell}{2}. \tag{6} $$

What the units have in common grows like $\ell$, what tells examples apart does not. Soon each block sees the same large
numbers whatever the input was; its sigmoids are near 0 or 1, learn slowly, and few rates are right for them. Now let
each block look at $N(h)$:
$h^{(\ell + 1)} = h^{(\ell)} + \sigma(W^\top N(h^{(\ell)}) + b)$. For all $c > 0$ and $d$, and $\epsilon = 0$,

$$ N(c\, x + d\, (1, \dots, 1)) = N(x), \tag{7} $$

so that the common part is gone, and no block sees the depth that it stands at. The stream $h$ itself stays as it is:
were it normalised after each sum (as at first in transformers), the way past the blocks would be scaled down over and
over. On the way back, $N$ takes out of an error what would only have shifted or stretched the units:

$$ \bar x = \frac{1}{\sqrt{s^2 + \epsilon}} \left(\bar y - \frac1n \sum_j \bar y_j
   - N(x)\, \frac1n \sum_j \bar y_j N(x)_j\right). \tag{8} $$

Normalisation alone keeps signals and errors at their sizes, as it should, and yet a net of fifty layers does not learn
with it: every layer replaces what was there by a random function of it, and in the end two examples of one class are
hardly more alike than two of different classes, beside how much all pairs vary. With shortcuts, what was there is still
there.

Notation
--------
$x, y$ : `x`, `y`, (b, n): examples are rows
$W, b$ : `W`, (n, n); `b`, (n,)
$\delta^\ell, J_\ell$ : `delta`, (n,), `jacobians`, (L, n, n), of one example
$v_k$ : `v`, (L + 1, n)
$N, \epsilon$ : `layer_norm`, `eps`
"""

from __future__ import annotations

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.supervised.batch_normalisation import batch_norm_back
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.feed_forward import FullyConnected, fully_connected

# ---- the layers -------------------------------------------------------------------------------------------------


def residual(x, W, b, sigma: str = "sigmoid"):
    r"""(1): $x + \sigma(W^\top x + b)$; (b, n), (n, n), (n,) to (b, n)."""
    return x + fully_connected(x, W, b, sigma)


def layer_norm(x, *, eps: float = 1e-5):
    r"""(2): $N(x)$ of each row; (b, n) to (b, n)."""
    mu = tg.mean(x, 1, keepdims=True)
    var = tg.mean(tg.square(x - mu), 1, keepdims=True)
    return (x - mu) / tg.sqrt(var + eps)


def layer_norm_back(y_bar, x, *, eps: float = 1e-5):
    r"""(8): $\bar x$ from $\bar y$, by hand: that of batch normalisation, on its side; twice (b, n) to (b, n)."""
    return tg.transpose(batch_norm_back(tg.transpose(y_bar), tg.transpose(x), 1.0, eps=eps))


# ---- the way back, for one example, on the host -----------------------------------------------------------------


def errors(delta, jacobians) -> np.ndarray:
    r"""(3): $\delta^0, \dots, \delta^L$ of a residual net; (n,), (L, n, n) to (L + 1, n)."""
    found = [delta]
    for J in jacobians[::-1]:
        found.insert(0, found[0] + J.T @ found[0])
    return np.array(found)


def by_blocks(delta, jacobians) -> np.ndarray:
    r"""(4): $v_0, \dots, v_L$ at layer 0, the ways back through so many blocks; (n,), (L, n, n) to (L + 1, n).

    From $\ell + 1$ to $\ell$: a way through k blocks goes past block $\ell$, or through it and k - 1 others.
    """
    v = np.zeros((len(jacobians) + 1, len(delta)))
    v[0] = delta
    for J in jacobians[::-1]:
        v[1:] += v[:-1] @ J
    return v


def bounds(q: float, n: int) -> tuple[float, float, float]:
    """(5): the largest growth of an error over n plain layers, and the least and the largest over n residual ones."""
    return q**n, (1 - q) ** n, (1 + q) ** n


def mean_of_the_stream(h, n: int):
    r"""(6): $\mathbb E\, h^{(n)}$ from $h^{(0)}$."""
    return h + n / 2


# ---- the model ----------------------------------------------------------------------------------------------------


class ResidualNet(Classifier):
    r"""A deep classifier: a linear map to `width` units, `depth` blocks, and a linear map to the classes.

    Parameters
    ----------
    n_features, width, depth, n_classes : lengths of an input and of $h$; $L$; how many classes there are
    shortcut : whether blocks add to $h$, (1), or replace it
    normalise : whether blocks, and the last map, look at $N(h)$, (2)
    sigma : "sigmoid", or another name of the chapter on backpropagation
    lr : learning rate of plain gradient descent
    rng : the Generator of the weights and the minibatches; None takes fresh entropy. The model lives on its device.

    Examples
    --------
    >>> net = ResidualNet(4, 8, 50, 3, rng=tg.random.Generator(0))
    >>> x = tg.random.Generator(1).normal((5, 4))
    >>> net.predict(x).shape, len(net.hidden(x))
    ((5,), 51)
    """

    def __init__(self, n_features: int, width: int, depth: int, n_classes: int, *, shortcut: bool = True,
                 normalise: bool = True, sigma: str = "sigmoid", lr: float = 0.1,
                 rng: Generator | None = None):  # fmt: skip
        if min(n_features, width, depth) < 1 or n_classes < 2:
            raise ValueError("ResidualNet: sizes of at least 1, and two classes at least, are wanted, got "
                             f"{n_features}, {width}, {depth} and {n_classes}")  # fmt: skip
        self.n_features, self.shortcut, self.normalise = n_features, shortcut, normalise
        self.rng = Generator() if rng is None else rng
        self.first = FullyConnected(n_features, width, "identity", rng=self.rng)
        self.blocks = nn.Sequential(*[FullyConnected(width, width, sigma, rng=self.rng) for _ in range(depth)])
        self.head = FullyConnected(width, n_classes, "identity", rng=self.rng)
        self.optimizer = optim.SGD(self.parameters(), lr)

    def seen(self, h):
        """What a block looks at: $N(h)$, or $h$ as it is."""
        return layer_norm(h) if self.normalise else h

    def hidden(self, x) -> list:
        r"""$h^{(0)}, \dots, h^{(L)}$: (b, width) each."""
        h = [self.first(x)]
        for block in self.blocks:
            f = block(self.seen(h[-1]))
            h.append(h[-1] + f if self.shortcut else f)
        return h

    def forward(self, x):
        """Inputs (b, features) to logits (b, classes)."""
        return self.head(self.seen(self.hidden(x)[-1]))

    def gradient_norms(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r"""The length of $\partial C / \partial h^{(\ell)}$ for $\ell = 0, \dots, L$, over a batch; to (L + 1,)."""
        x, y = self.checked(x, y)
        h = self.hidden(x)
        loss = nn.functional.cross_entropy(self.head(self.seen(h[-1])), y)
        return np.array([float(np.linalg.norm(g.numpy().astype(float))) for g in tg.grad(loss, h)])

    def jacobians(self, x: np.ndarray) -> np.ndarray:
        r"""$J_0, \dots, J_{L-1}$ of the blocks, without their shortcuts, at one input (n_features,)."""
        h = self.hidden(self.checked(x[None]))
        return np.array([_jacobian(lambda v, block=block: block(self.seen(v)), at)
                         for block, at in zip(self.blocks, h[:-1], strict=True)])  # fmt: skip


def _jacobian(f, h) -> np.ndarray:
    """The derivatives of f at a batch of one, (1, n) to (n, n)."""
    n = h.shape[1]
    return tg.jacobian(f, h.detach()).numpy().reshape(n, n)

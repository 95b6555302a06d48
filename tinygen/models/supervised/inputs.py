r"""Inputs of every kind (S0, "Typical issues"; S2 §3.3): how a category or an image becomes numbers for a layer.

A layer multiplies numbers by weights. But an input may be a *category* (a letter, a town), an image, a sequence, or
sound, and S0 asks how to turn each into a vector of $\mathbb R^d$. This chapter is about categories and images, the
next two are about sequences (`recurrent`) and sound (`audio`).

**Categories.** A category $x \in \{1, \dots, m\}$ has no size and no order. To write it as the number $x$ would give it
both: what is learnt about A and C would be said of B, which lies between. Instead each category has a direction of its
own, the *one-hot* vector

$$ e(x) \in \mathbb R^m, \qquad e(x)_k = 1\{x = k\}, \tag{1} $$

and all categories are equally far apart. Several of them stand one behind the other, $(e(x_1), \dots, e(x_p))$. A layer
of weights $W$ then picks the column that belongs to the category,

$$ W e(x) = W_{\cdot x}, \tag{2} $$

which costs a look instead of a multiplication (`nn.Embedding` keeps these columns as its rows). What is learnt of one
category says nothing of the others: least squares on one-hot inputs gives each category the mean of its own examples,

$$ \operatorname{argmin}_w \sum_{i=1}^{N} (y_i - w^\top e(x_i))^2, \qquad
   w_k = \sum_i 1\{x_i = k\}\, y_i \Big/ \sum_i 1\{x_i = k\}, \tag{3} $$

since the sum over the examples of category $k$ contains $w_k$ only, and the mean makes it least.

**Images.** The chapter on convolutional networks has the convolution (S2 eqs. 3.12 and 3.13), which networks replace by
a cross-correlation, and says how the two are one. Here is what it leaves open: the border, and how places are left out.

*Padding.* Beside the border a kernel looks at places where there is no image. S2 names three ways to go on there, the
image being known at $1, \dots, n$ along either axis: with zeros, $\bar h(u) = 0$; *continuous*, with the value at the
border; *reflected*, with the border as a mirror,

$$ \bar h(u) = h(\pi(u)), \qquad \pi_{\text{cont}}(u) = \min(\max(u, 1), n), \qquad
   \pi_{\text{refl}}(u) = \begin{cases} 2 - u & u < 1 \\ u & 1 \le u \le n \\ 2n - u & u > n. \end{cases} \tag{4} $$

Zeros put a dark frame around each image, and every kernel that looks for edges answers to it. The two others invent no
edge; a mirror needs $P < n$.

*Stride.* With $P$ places added on each side, kernels of side $q$ and stride $S$, a layer of $\ell_1$ kernels gives

$$ h_1(i, j, \ell) = \sum_{a, b = 1}^{q} \sum_{t = 1}^{\ell_0}
   \bar h_0\big((i - 1) S + a - P,\, (j - 1) S + b - P,\, t\big)\, K_\ell(a, b, t) \tag{5} $$

at $\lfloor (n - q + 2P)/S \rfloor + 1$ places along each axis (S2 eq. 3.14, which forgets to round down). If
$P = (q - 1)/2$, the places are around $1 + (i - 1) S$, as S2 has it. A *true* convolution has
$K_\ell(q + 1 - a, q + 1 - b, t)$ instead, the kernel turned round. A kernel that looks the same when turned round, a
blur, cannot tell; one that finds the left side of a stroke finds its right side. Either way, a layer with stride $S$ is
one with stride 1, of which every $S$-th place is kept (S2: stride as a kind of pooling),

$$ h_1(i, j, \ell) = h_1^{(S = 1)}\big(1 + (i - 1) S,\, 1 + (j - 1) S,\, \ell\big), \tag{6} $$

at a part $1 / S^2$ of the work.

*Pooling* gives one number for each rectangle, the largest or the mean. S2's rectangles are "perhaps overlapping": they
have side $k$ and begin $S$ places apart, and overlap if $S < k$ (then the answer moves less abruptly when the image
moves by a place):

$$ h_1(i, j, \ell) = \max_{1 \le a, b \le k} h_0\big((i - 1) S + a,\, (j - 1) S + b,\, \ell\big), \tag{7} $$
$$ h_1(i, j, \ell) = \frac{1}{k^2} \sum_{a, b = 1}^{k} h_0\big((i - 1) S + a,\, (j - 1) S + b,\, \ell\big). \tag{8} $$

The mean is (5) with a constant kernel for each channel, and linear: what reaches one of its outputs going backwards is
spread evenly. The maximum sends all of it to the largest place (to places that tie, equal shares). Where windows
overlap, a place gets the sum of what its windows send.

Notation
--------
$x, m$ : `x`, integers, (n,) or (n, p), counted from 0; `m`, one number, or `levels`, p of them
$W$ : `W`, (d, m); $w$ : `w`, (m,)
$h_0, h_1, K$ : `h`, (b, l_0, n, m), and what comes of it, (b, l_1, n_1, m_1); `K`, (l_1, l_0, q, q)
$P, S, k$ : `P`, `S`, `k`
"""

from __future__ import annotations

from collections.abc import Sequence

import tinygen as tg
from tinygen.models.supervised.convolutional import turned
from tinygen.nn import functional as F

PADDINGS = {"zeros": "constant", "continuous": "edge", "reflected": "reflect"}  # S2's names, and NumPy's

# ---- categories -------------------------------------------------------------------------------------------------


def one_hot(x, levels: Sequence[int]):
    r"""(1): $(e(x_1), \dots, e(x_p))$; integers (n, p) and how many categories each column has, to (n, sum of levels).

    Raises IndexError for a category that is not there, and ValueError if columns and levels do not match.
    """
    if len(x.shape) != 2 or x.shape[1] != len(levels):
        raise ValueError(f"one_hot: x has shape {tuple(x.shape)}; rows of {len(levels)} categories are wanted, as "
                         f"levels is {tuple(levels)}")  # fmt: skip
    return tg.concatenate([F.one_hot(x[:, k], m) for k, m in enumerate(levels)], axis=1)


def looked_up(W, x):
    r"""(2): $W_{\cdot x}$ for each category; (d, m), integers (n,) to (n, d)."""
    return F.embedding(x, tg.transpose(W))


def category_means(x, y, m: int):
    r"""(3): the $w$ of least squares on $e(x)$; integers (n,), numbers (n,) to (m,).

    Of a category without examples nothing is known: it gets the mean of all.
    """
    e = F.one_hot(x, m, dtype=y.dtype)  # (n, m)
    count = tg.sum(e, 0)
    return tg.where(count > 0, tg.matmul(y, e) / tg.maximum(count, 1), tg.mean(y))


# ---- images -----------------------------------------------------------------------------------------------------


def padded(h, P: int, kind: str = "zeros"):
    r"""(4): $\bar h$, $P$ places more on each side; (b, l, n, m) to (b, l, n + 2P, m + 2P).

    kind : "zeros", "continuous" or "reflected"
    """
    if kind not in PADDINGS:
        raise ValueError(f"padded: kind is {kind!r}; one of {', '.join(PADDINGS)} is wanted")
    if kind == "reflected" and P >= min(h.shape[2:]):
        raise ValueError(f"padded: a mirror shows {min(h.shape[2:]) - 1} places of an image of {tuple(h.shape[2:])}, "
                         f"and {P} are wanted; pad less, or by another kind")  # fmt: skip
    return tg.pad(h, [(0, 0), (0, 0), (P, P), (P, P)], mode=PADDINGS[kind])


def layer(h, K, *, P: int = 0, S: int = 1, kind: str = "zeros", true: bool = False):
    r"""(5): $\sum_{a, b, t} \bar h_0((i - 1) S + a - P, (j - 1) S + b - P, t)\, K_\ell(a, b, t)$.

    (b, l_0, n, m), (l_1, l_0, q, q) to (b, l_1, n_1, m_1); `true` turns the kernels round, as a convolution does.
    """
    return F.conv2d(padded(h, P, kind), turned(K) if true else K, stride=S)


def every(h, S: int):
    r"""(6): the places $1 + (i - 1) S$ along both axes; (b, l, n, m) to (b, l, n_1, m_1)."""
    return h[:, :, ::S, ::S]


def max_pooled(h, k: int, S: int):
    r"""(7): $\max_{a, b} h_0((i - 1) S + a, (j - 1) S + b, \ell)$; (b, l, n, m) to (b, l, n_1, m_1)."""
    return F.max_pool2d(h, k, stride=S)


def mean_pooled(h, k: int, S: int):
    r"""(8): $\frac{1}{k^2} \sum_{a, b} h_0((i - 1) S + a, (j - 1) S + b, \ell)$; (b, l, n, m) to (b, l, n_1, m_1)."""
    return F.avg_pool2d(h, k, stride=S)

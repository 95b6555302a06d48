r"""Principal component analysis: the plane nearest to the data (S1, "How about PCA?"; S2 §2.3.1).

A face of 64 by 64 pixels is a point with 4096 coordinates. Faces are much alike, so these points fill only a thin part
of that space, and perhaps a few directions tell where they are. PCA is the linear factor model (`linear_factor`) that
rebuilds the examples best, in squares, from $k$ numbers each:

$$ \min_{W, b, h_1, \dots, h_n}\; \sum_{i=1}^n \lVert x_i - (W h_i + b) \rVert^2, \qquad W^\top W = I. \tag{1} $$

For a given $W$, best are $b = \bar x$, the mean, and the projections

$$ h_i = W^\top (x_i - \bar x), \tag{2} $$

and what is then lost is what is left of the variance: $\sum_i \lVert x_i - \bar x \rVert^2 - \lVert h_i \rVert^2$. So
the plane that loses least is the one along which the data vary most. Put the rows $(x_i - \bar x)^\top$ below each
other and take this matrix apart into its singular values $s_1 \ge s_2 \ge \dots$ and vectors:

$$ \mathbf X = U S V^\top, \qquad W = (v_1, \dots, v_k), \qquad \lambda_j = \frac{s_j^2}{n - 1}, \tag{3} $$

where $\lambda_j$ is the variance of the data along $v_j$. No plane does better (Eckart and Young 1936), and

$$ \sum_i \lVert x_i - (W h_i + b) \rVert^2 = \sum_{j > k} s_j^2. \tag{4} $$

The $v_j$ are the eigenvectors of the covariance matrix, $\mathbf X^\top \mathbf X / (n - 1)$, and the $\lambda_j$ its
eigenvalues. Forming that matrix squares the numbers and loses half of their digits. But all that matters of $\mathbf X$
is $\mathbf X^\top \mathbf X$, and any shorter matrix with the same one will do, such as the triangle of a
QR factorisation,

$$ \mathbf X = Q R \quad\Longrightarrow\quad R^\top R = \mathbf X^\top \mathbf X, \tag{5} $$

which has $d$ rows however many examples there are, and is found some thousands of them at a time. With fewer
examples than pixels, there are at most $n - 1$ components.

**The codes as numbers to work with.** By (2) they are uncorrelated, with variances $\lambda_j$. *Whitened* codes

$$ \tilde h_{ij} = h_{ij} / \sqrt{\lambda_j} \tag{6} $$

have variance 1 each. Then $x = V \Lambda^{1/2} \tilde h + \bar x$, the principal root of `linear_factor`.

**Without a factorisation** of everything, if only a few components are wanted: multiply an orthonormal matrix by the
covariance, and straighten the columns again,

$$ W \leftarrow \mathrm{orth}(\mathbf X^\top \mathbf X\, W). \tag{7} $$

Each round multiplies the part of a column along $v_j$ by $s_j^2$, so that those along large ones win: the part outside
of the first $k$ directions shrinks by $(s_{k+1} / s_k)^2$. Within the plane found, (3) finds the axes. `fit` with
`steps` does so; without, it takes (3).

**Eigenfaces** (S1; Turk and Pentland 1991): the $v_j$ of faces look like faces, and a face is the mean face plus so
much of each. S1 names three troubles, and the demo measures the last two.
(a) Everything is linear. A face turned by degrees moves along a curve, and PCA knows planes only.
(b) Faces have to be aligned. In pixels, a face moved by a few of them is another face; an edge that moves cannot be
written as a sum of few fixed pictures.
(c) Illumination dominates. PCA keeps what varies most, in squares of grey levels, and a lamp at the left changes more
of those than another person does. Variance is not importance.

The sign of each $v_j$ is arbitrary. As scikit-learn does it, the entry of largest size is made positive.

Notation
--------
$x_i, \bar x$ : `x`, (n, d); `mean`, (d,)
$W^\top$ : `components`, (k, d), orthonormal rows
$\lambda_j$ : `explained_variance`, (k,)
$h_i$ : `h`, (n, k)
$R$ : `R`, (r, d), r at most n and d
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.model import Model, require_finite
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


class Condensed(NamedTuple):
    r"""All that linear models need of n examples: $n$, $\bar x$ (d,) and $R$ of (5), (r, d).

    `len` is the number of examples.
    """

    n: int
    mean: Any
    R: Any

    def __len__(self) -> int:
        return self.n


def condensed(x) -> Condensed:
    r"""(5): $\bar x$ and $R$, some rows at a time; (n, d) to (d,) and (min(n, d), d)."""
    xp, (n, d) = backend.array_module(x), x.shape
    mean = x.mean(0)
    if n <= d:
        return Condensed(n, mean, x - mean)
    R = x[:0]
    for part in in_order(x, max(2048, 4 * d)):
        R = xp.linalg.qr(xp.concatenate([R, part - mean]), mode="r")
    return Condensed(n, mean, R)


def project(x, mean, components):
    r"""(2): $h = W^\top (x - \bar x)$; (n, d), (d,), (k, d) to (n, k)."""
    return tg.matmul(x - mean, tg.transpose(components))


def rebuild(h, mean, components):
    r"""$W h + b$ of (1); (n, k), (d,), (k, d) to (n, d)."""
    return tg.matmul(h, components) + mean


def squared_loss(x, mean, components):
    r"""(1): $\sum_i \lVert x_i - (W h_i + b) \rVert^2$ with the $h_i$ of (2); to ()."""
    return tg.sum(tg.square(x - rebuild(project(x, mean, components), mean, components)))


def principal(R, n: int) -> tuple[Any, Any]:
    r"""(3): all $v_j$, as rows, and $\lambda_j$, from any $R$ of (5); (r, d) to (r, d), (r,)."""
    _, s, rows = backend.array_module(R).linalg.svd(R, full_matrices=False)
    return signed(rows), s * s / (n - 1)


def lost(explained_variance, k: int, n: int):
    r"""(4): $\sum_{j > k} s_j^2$ from all $\lambda_j$; (r,) to ()."""
    return (n - 1) * tg.sum(explained_variance[k:])


def whitened(h, explained_variance):
    r"""(6): codes of variance 1; (n, k), (k,) to (n, k)."""
    return h / tg.sqrt(explained_variance)


def power_step(R, components, n: int) -> tuple[Any, Any]:
    """(7), and the axes of the plane found; (r, d), (k, d) to (k, d), (k,)."""
    xp = backend.array_module(R)
    Q, _ = xp.linalg.qr(xp.matmul(R.T, xp.matmul(R, components.T)))  # (d, k)
    axes, variances = principal(xp.matmul(R, Q), n)  # in the plane's own coordinates
    return signed(xp.matmul(axes, Q.T)), variances


def signed(rows):
    """Each row, or its negative, such that the entry of largest size is positive."""
    xp = backend.array_module(rows)
    largest = xp.take_along_axis(rows, abs(rows).argmax(1)[:, None], 1)
    return rows * xp.where(largest < 0, -1.0, 1.0).astype(rows.dtype)


# ---- the model ------------------------------------------------------------------------------------------


class PCA(Model):
    r"""Principal component analysis.

    Parameters
    ----------
    n_features, n_components : $d$ and $k$
    whiten : whether codes are given as in (6)
    rng : the Generator of the start of (7); (3) draws nothing. The model lives on its device.

    Attributes
    ----------
    mean, components, explained_variance : as the Notation says, float64
    explained_variance_ratio : $\lambda_j / \sum_l \lambda_l$, (k,)

    Examples
    --------
    >>> x = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    >>> model = PCA(2, 1).fit(x)
    >>> model.components.numpy().round(3), float(model.explained_variance_ratio[0].round(6))
    (array([[0.447, 0.894]]), 1.0)
    >>> model.reconstruct(x).round(6).tolist() == x.tolist()
    True
    """

    mean: tg.Tensor
    components: tg.Tensor
    explained_variance: tg.Tensor
    total_variance: tg.Tensor
    started: tg.Tensor

    def __init__(self, n_features: int, n_components: int, *, whiten: bool = False, rng: Generator | None = None):
        if not 1 <= n_components <= n_features:
            raise ValueError(f"PCA: {n_components} components of {n_features} features; from 1 to {n_features} "
                             "components are wanted")  # fmt: skip
        self.n_features, self.n_components, self.whiten = n_features, n_components, whiten
        self.rng = Generator() if rng is None else rng
        d, k, device = n_features, n_components, self.rng.device
        for name, shape in (("mean", (d,)), ("components", (k, d)), ("explained_variance", (k,)),
                            ("total_variance", ())):  # fmt: skip
            self.register_buffer(name, tg.zeros(shape, dtype="float64", device=device))
        self.register_buffer("started", tg.tensor(0, device=device))

    def update(self, x: Condensed) -> dict:
        """(7) once, on what `checked` has condensed; gives the share of the variance that is explained so far."""
        if not self.started:
            xp = backend.array_module(x.R)
            Q, _ = xp.linalg.qr(self.rng.normal((self.n_features, self.n_components), dtype="float64"))
            self._take(x, Q.T, self.explained_variance.data)
        self._take(x, *power_step(x.R, self.components.data, x.n))
        return {"explained": self.explained_variance.data.sum() / self.total_variance.data}

    def fit(self, x: np.ndarray, *, steps: int | None = None, run: Run | None = None) -> Self:
        """Learn from examples (n, d): exactly by (3), or by so many steps of (7), each logged in `run`."""
        known, run = self.checked(x), run or Run()
        if steps is None:
            components, variances = principal(known.R, known.n)
            self._take(known, components[: self.n_components], variances[: self.n_components])
            return self
        for _ in run.steps(self, steps):
            run.log(**self.update(known))
        return self

    # ---- what it can do ----

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(2), or (6) if `whiten`; (n, d) to (n, k)."""
        h = project(self._rows_of_features(x), self.mean.data, self.components.data)
        return backend.to_numpy(whitened(h, self._variances()) if self.whiten else h)

    def inverse_transform(self, h: np.ndarray) -> np.ndarray:
        """$W h + b$ of (1), for whitened codes if `whiten`; (n, k) to (n, d)."""
        self._fitted()
        h = backend.asarray(h, self.mean.dtype, self.mean.device)
        if h.ndim != 2 or h.shape[1] != self.n_components:
            raise ValueError(f"PCA.inverse_transform: h has shape {h.shape}; rows of {self.n_components} numbers are "
                             "wanted")  # fmt: skip
        h = h * tg.sqrt(self._variances()) if self.whiten else h
        return backend.to_numpy(rebuild(h, self.mean.data, self.components.data))

    def reconstruct(self, x: np.ndarray, *, k: int | None = None) -> np.ndarray:
        """Examples rebuilt from their first k components, or all there are; (n, d) to (n, d)."""
        W = self.components.data[:k]
        return backend.to_numpy(rebuild(project(self._rows_of_features(x), self.mean.data, W), self.mean.data, W))

    @property
    def explained_variance_ratio(self) -> np.ndarray:
        """The share of the variance along each component; (k,)."""
        self._fitted()
        return self.explained_variance.numpy() / float(self.total_variance)

    # ---- what it needs ----

    def checked(self, x) -> Condensed:
        """x for `update`, where the components are, or an error that says what is wrong."""
        x, k = checked_rows("PCA", x, self.mean, self.n_features), self.n_components
        if len(x) < max(2, k):
            raise ValueError(f"PCA: x has {len(x)} rows; at least {max(2, k)} are wanted for {k} components (of n "
                             "examples there are at most n - 1 with any variance)")  # fmt: skip
        if not bool((x != x[0]).any()):
            raise ValueError(f"PCA: all {len(x)} rows of x are alike; at least two different ones are wanted")
        return condensed(x)

    def _rows_of_features(self, x):
        self._fitted()
        return checked_rows("PCA", x, self.mean, self.n_features)

    def _fitted(self) -> None:
        if not self.started:
            raise RuntimeError("PCA: no components yet; call fit first")

    def _variances(self):
        """The variances for (6), if none is 0."""
        largest, least = (float(v) for v in self.explained_variance.numpy()[[0, -1]])
        if not least > 1e-14 * largest:
            raise ValueError(f"PCA: the last of {self.n_components} components has variance {least:.1g}, so it cannot "
                             "be whitened; components no more than the rank of the data are wanted")  # fmt: skip
        return self.explained_variance.data

    def _take(self, x: Condensed, components, variances) -> None:
        """Make these the components."""
        self.mean.assign(x.mean)
        self.components.assign(components)
        self.explained_variance.assign(variances)
        self.total_variance.assign((x.R * x.R).sum() / (x.n - 1))
        self.started.assign(1)


def checked_rows(owner: str, x, like: tg.Tensor, d: int):
    """x as (n, d) in the dtype and on the device of `like`, all of it finite, or an error that names the owner."""
    x = backend.asarray(x, like.dtype, like.device)
    if x.ndim != 2 or x.shape[1] != d or not len(x):
        raise ValueError(f"{owner}: x has shape {x.shape}; at least one row of {d} features is wanted")
    require_finite(f"{owner}: x", x)
    info, largest = np.finfo(x.dtype), max(float(x.max()), -float(x.min()))
    if largest and not 1e3 * float(info.tiny) ** 0.5 < largest < float(info.max) ** 0.5 / 1e3:
        raise ValueError(f"{owner}: x has values up to {largest:g}; numbers whose squares are finite and not 0 are "
                         "wanted (rescale)")  # fmt: skip
    return x

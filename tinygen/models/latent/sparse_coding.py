r"""Sparse coding: many causes, few of them at work at a time (S2 §2.3.1; Olshausen and Field 1996).

An image is made of edges, a sound of notes: of a large stock, a handful at once. As a linear factor model
(`linear_factor`) this says that the factors are independent and mostly near 0, such as Laplace's law does. With noise,

$$ x = W h + \varepsilon, \qquad p(h_j) \propto e^{-|h_j| / s}, \qquad \varepsilon \sim \mathcal N(0, \sigma^2 I).
   \tag{1} $$

The columns $w_1, \dots, w_m$ of $W$ are called *atoms*, and together the *dictionary*; there may be more of them than
features. A sum over all $h$ is out of reach, so take the most likely one. Up to constants, $-\sigma^2 \log p(x, h)$ is

$$ J(h) = \tfrac12 \lVert x - W h \rVert^2 + \alpha \sum_{j=1}^m |h_j|, \qquad \alpha = \sigma^2 / s, \tag{2} $$

(the "lasso"), and learning makes $J$, summed over the examples, small in $W$ as well. Large atoms with small codes
would make the second term as small as one likes, hence

$$ \lVert w_j \rVert \le 1. \tag{3} $$

With Gaussian factors the second term would be a sum of squares, the answer linear in $x$, and all codes busy: this was
`probabilistic_pca`. The corner of $|h_j|$ at 0 is what makes zeros.

**One number.** For $m = 1$ and $\lVert w \rVert = 1$, let $v = w^\top x$. Then (2) is least at the *soft threshold*

$$ S_\alpha(v) = \operatorname{sign}(v) \max(|v| - \alpha, 0): \tag{4} $$

what the noise may have done is taken off, and what is less than $\alpha$ is nothing.

**All of them** (ISTA). The gradient of the square is $W^\top (W h - x)$, which changes by at most $L = \lambda_{\max}
(W^\top W)$ times as much as $h$ does. Replace the square by the parabola of curvature $L$ that touches it here, and
lies above it elsewhere. This separates into one number each, solved by (4):

$$ h \leftarrow S_{\alpha / L}\big( h - \tfrac1L W^\top (W h - x) \big). \tag{5} $$

$J$ falls in each step, and after $t$ of them is $O(1/t)$ above its least value. Steps taken not from $h$ but from a
little ahead of it, in the direction of the last move, bring this down to $O(1/t^2)$ (FISTA; Beck and Teboulle 2009):
from $y^{(1)} = h^{(0)}$ and $t_1 = 1$, with (5) applied to $y$,

$$ h^{(i)} = \text{(5) at } y^{(i)}, \qquad t_{i+1} = \tfrac12 \big( 1 + \sqrt{1 + 4 t_i^2} \big), \qquad
   y^{(i+1)} = h^{(i)} + \frac{t_i - 1}{t_{i+1}} (h^{(i)} - h^{(i-1)}). \tag{6} $$

Such a run overshoots. It is begun anew, with $t = 1$, for an example whose last move went against its own
step (O'Donoghue and Candès 2015), that is, where $(y^{(i)} - h^{(i)})^\top (h^{(i)} - h^{(i-1)}) > 0$.

**When to stop.** $J$ is convex, and for every vector $u$ with $|w_j^\top u| \le \alpha$ for all $j$,

$$ J(h) \;\ge\; \tfrac12 \lVert x \rVert^2 - \tfrac12 \lVert x - u \rVert^2. \tag{7} $$

(Indeed $J(h) \ge \frac12 \lVert r \rVert^2 + u^\top W h$ with $r = x - W h$, as $u^\top W h \le \alpha \sum |h_j|$;
and $\frac12 \lVert r \rVert^2 - u^\top r \ge -\frac12 \lVert u \rVert^2$.) The residual, shortened until it is
allowed, $u = r \min(1, \alpha / \max_j |w_j^\top r|)$, is such a vector, and at the optimum there is no gap. So each
example carries a certificate of how far it may still be from the best, and leaves the iteration when this is small.

**The rest at once.** What takes long is not to find out which atoms $S$ a code uses, and with which signs $\varsigma$,
but how much of each. If both are known, (2) is a quadratic in $h_S$, and least where its gradient is 0,

$$ h_S = (W_S^\top W_S)^{-1} (W_S^\top x - \alpha\, \varsigma), \tag{8} $$

a system as small as the code. It is tried now and then with the $S$ and $\varsigma$ of the moment, and (7) says
whether that was it.

**The dictionary** (Mairal, Bach, Ponce and Sapiro 2009). With the codes held, the examples matter through

$$ A = \sum_i h_i h_i^\top, \qquad B = \sum_i x_i h_i^\top \tag{9} $$

only, and for one atom, the others held, the best place within (3) is a regression, drawn back to the ball:

$$ u_j = w_j + \frac{1}{A_{jj}} (b_j - W a_j), \qquad w_j = \frac{u_j}{\max(1, \lVert u_j \rVert)}. \tag{10} $$

`sweeps` of this over all atoms make a step. An atom that no example uses ($A_{jj} = 0$) is moved to the example that is
rebuilt worst, which changes no $J$. As codes and atoms are improved by turns, $J$ falls; its minimum in $h$ is unique
but for ties, its minima in $W$ are not: like all of EM's relatives it depends on the start. (EM would
average over $h$, where sparse coding takes one. As in `k_means`, certainty takes the place of probability.)

Notation
--------
$x_i$ : `x`, (n, d)
$w_j$ : rows of `atoms`, (m, d), which is $W^\top$
$h_i$ : rows of `h`, (n, m)
$\alpha$ : `alpha`
$A, B^\top$ : `A`, (m, m); `B`, (m, d)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data.batches import in_order
from tinygen.models.latent.pca import checked_rows
from tinygen.models.model import Model
from tinygen.runs import Run

LOOK = 20  # iterations between two looks at who has arrived
FEW = 24  # atoms in a code, at most, for which (8) is tried

# ---- the equations --------------------------------------------------------------------------------------


def log_joint(x, h, atoms, sigma: float, s: float):
    r"""(1): $\log p(x, h)$, in nats, of each example; (n, d), (n, m), (m, d) to (n,)."""
    of_x = tg.sum(tg.square(x - tg.matmul(h, atoms)), 1) / (2 * sigma**2)
    constants = x.shape[1] / 2 * math.log(2 * math.pi * sigma**2) + h.shape[1] * math.log(2 * s)
    return -of_x - tg.sum(tg.abs(h), 1) / s - constants


def objective(x, h, atoms, alpha: float):
    r"""(2): $J$ of each example; (n, d), (n, m), (m, d) to (n,)."""
    return tg.sum(tg.square(x - tg.matmul(h, atoms)), 1) / 2 + alpha * tg.sum(tg.abs(h), 1)


def soft_threshold(v, alpha):
    r"""(4): $S_\alpha(v)$, elementwise."""
    return tg.sign(v) * tg.maximum(tg.abs(v) - alpha, 0.0)


def curvature(atoms) -> float:
    r"""$L = \lambda_{\max}(W^\top W)$; (m, d) to a number."""
    small = tg.matmul(atoms, tg.transpose(atoms)) if len(atoms) < atoms.shape[1] else tg.matmul(atoms.T, atoms)
    return float(tg.linalg.eigh(small)[0][-1])


def ista_step(h, x_atoms, gram, alpha: float, L: float):
    r"""(5), from $x^\top W$ and $W^\top W$; (n, m), (n, m), (m, m) to (n, m)."""
    return soft_threshold(h - (tg.matmul(h, gram) - x_atoms) / L, alpha / L)


def momentum(t):
    r"""(6), middle: $t_{i+1}$."""
    return (1 + tg.sqrt(1 + 4 * t * t)) / 2


def lower_bound(x, h, atoms, alpha: float):
    r"""(7), for the shortened residual; (n, d), (n, m), (m, d) to (n,)."""
    r = x - tg.matmul(h, atoms)
    largest = tg.max(tg.abs(tg.matmul(r, tg.transpose(atoms))), 1)
    u = r * tg.minimum(alpha / tg.maximum(largest, alpha), 1.0)[:, None]
    return tg.sum(tg.square(x) - tg.square(x - u), 1) / 2


def settled(h, x_atoms, gram, alpha: float):
    r"""(8) for the atoms and signs of h; (n, m), (n, m), (m, m) to (n, m)."""
    xp, n = backend.array_module(h), len(h)
    size = max(1, min(FEW, int((h != 0).sum(1).max())))
    S = abs(h).argsort(1)[:, -size:]  # (n, size)
    signs = xp.sign(xp.take_along_axis(h, S, 1))
    used = signs != 0
    identity = xp.eye(size, dtype=h.dtype)
    G = xp.where(used[:, :, None] & used[:, None, :], gram[S[:, :, None], S[:, None, :]], identity)
    b = xp.where(used, xp.take_along_axis(x_atoms, S, 1) - alpha * signs, 0.0)
    found = xp.zeros_like(h)
    # a little more on the diagonal, in case that two atoms are alike
    found[xp.arange(n)[:, None], S] = xp.linalg.solve(G + 1e-12 * identity, b[:, :, None])[:, :, 0]
    return found


def encode(x, atoms, alpha: float, *, tol: float = 1e-6, steps: int = 2000):
    r"""(6): codes whose $J$ is above the best by at most tol of $\frac12 \lVert x \rVert^2$; (n, d), (m, d) to (n, m).

    Examples leave as they arrive; after so many steps, the rest are taken as they are.
    """
    xp, L = backend.array_module(x), curvature(atoms)
    found = xp.zeros((len(x), len(atoms)), dtype=x.dtype)
    if not L > 0:  # nothing but empty atoms
        return found
    gram, rows, x_atoms = xp.matmul(atoms, atoms.T), xp.arange(len(x)), xp.matmul(x, atoms.T)
    h = y = found
    t = xp.ones((len(x), 1), dtype=x.dtype)
    for i in range(1, steps + 1):
        new = ista_step(y, x_atoms, gram, alpha, L)
        move = new - h
        t = xp.where(((y - new) * move).sum(1)[:, None] > 0, 1.0, t)  # begin anew
        ahead = momentum(t)
        h, y, t = new, new + (t - 1) / ahead * move, ahead
        if i % LOOK == 0 or i == steps:
            best, done = arrived(x[rows], h, settled(h, x_atoms, gram, alpha), atoms, alpha, tol)
            done = done if i < steps else xp.ones_like(done)
            if bool(done.any()):
                found[rows[done]] = best[done]
                rows, x_atoms, h, y, t = (a[~done] for a in (rows, x_atoms, h, y, t))
            if not len(rows):
                break
    return found


def arrived(x, h, other, atoms, alpha: float, tol: float) -> tuple[Any, Any]:
    """The better of two codes of each example, and whether (7) says that it is good enough; to (n, m), (n,)."""
    xp, J, J_other = backend.array_module(x), objective(x, h, atoms, alpha), objective(x, other, atoms, alpha)
    h = xp.where((J_other < J)[:, None], other, h)
    gap = xp.minimum(J, J_other) - lower_bound(x, h, atoms, alpha)
    return h, gap <= tol / 2 * (x * x).sum(1)


def statistics(x, h) -> tuple[Any, Any]:
    r"""(9): $A$ and $B^\top$; (n, d), (n, m) to (m, m), (m, d)."""
    return tg.matmul(tg.transpose(h), h), tg.matmul(tg.transpose(h), x)


def in_ball(u):
    r"""(3): the nearest place with a length of at most 1; (d,) to (d,)."""
    return u / tg.maximum(tg.sqrt(tg.sum(tg.square(u))), 1.0)


def better_atoms(atoms, A, B, sweeps: int = 1):
    """(10), one atom after the other; one that nobody uses stays; (m, d), (m, m), (m, d) to (m, d)."""
    xp = backend.array_module(atoms)
    atoms, uses = xp.array(atoms), backend.to_numpy(tg.diagonal(A))
    for _ in range(sweeps):
        for j in np.flatnonzero(uses > 0):
            atoms[j] = in_ball(atoms[j] + (B[j] - xp.matmul(A[j], atoms)) / A[j, j])
    return atoms


# ---- the model ------------------------------------------------------------------------------------------


class SparseCoding(Model):
    r"""A dictionary, learnt so that sparse codes rebuild the examples.

    Parameters
    ----------
    n_features, n_atoms : $d$ and $m$
    alpha : $\alpha$, what a code of size 1 costs, in squared units of the data
    tol : how far codes may be from the best, in parts of $\frac12 \lVert x \rVert^2$
    sweeps : of (10) in a step
    rng : the Generator of the start: atoms are examples, scaled to length 1; None takes fresh entropy. The model lives
        on its device.

    Attributes
    ----------
    atoms : $W^\top$, (m, d) float64

    Examples
    --------
    >>> x = np.array([[2.0, 0.0], [0.0, 3.0], [-4.0, 0.0], [0.0, 1.0]])
    >>> model = SparseCoding(2, 2, alpha=0.5, rng=Generator(3)).fit(x, steps=5, run=Run(quiet=True))
    >>> (model.transform(x) != 0).sum(1)  # one atom is enough for each
    array([1, 1, 1, 1])
    """

    atoms: tg.Tensor
    started: tg.Tensor

    def __init__(self, n_features: int, n_atoms: int, *, alpha: float = 1.0, tol: float = 1e-6, sweeps: int = 2,
                 rng: Generator | None = None):  # fmt: skip
        if n_features < 1 or n_atoms < 1 or sweeps < 1:
            raise ValueError(f"SparseCoding: {n_features} features, {n_atoms} atoms and {sweeps} sweeps; at least one "
                             "of each is wanted")  # fmt: skip
        if not alpha > 0 or not tol > 0:
            raise ValueError(f"SparseCoding: alpha is {alpha!r} and tol {tol!r}; positive numbers are wanted")
        self.n_features, self.n_atoms = n_features, n_atoms
        self.alpha, self.tol, self.sweeps = float(alpha), tol, sweeps
        self.rng = Generator() if rng is None else rng
        self.register_buffer("atoms", tg.zeros((n_atoms, n_features), dtype="float64", device=self.rng.device))
        self.register_buffer("started", tg.tensor(0, device=self.rng.device))

    def start(self, x) -> None:
        """Atoms that are examples, without repetition while there are enough that are not 0, of length 1."""
        xp = backend.array_module(x)
        x = x[(x * x).sum(1) > 0]
        order = self.rng.permutation(len(x))
        atoms = x[order[xp.arange(self.n_atoms) % len(x)]]
        # those that had to be repeated would stay twins
        noise = self.rng.normal(atoms.shape, dtype="float64") * tg.sqrt((atoms * atoms).mean(1))[:, None]
        atoms = atoms + xp.where(xp.arange(self.n_atoms)[:, None] < len(x), 0.0, 0.1) * noise
        self.start_at(atoms / tg.sqrt((atoms * atoms).sum(1))[:, None])

    def start_at(self, atoms) -> None:
        """Start from atoms (m, d), each of length 1 at most."""
        atoms = backend.asarray(atoms, self.atoms.dtype, self.atoms.device)
        if atoms.shape != self.atoms.shape or not bool(((atoms * atoms).sum(1) <= 1 + 1e-9).all()):
            raise ValueError(f"SparseCoding.start_at: atoms has shape {atoms.shape}; {self.atoms.shape}, with rows of "
                             "length 1 at most, is wanted")  # fmt: skip
        self.atoms.assign(atoms)
        self.started.assign(1)

    def update(self, x) -> dict:
        """Codes by (6), then atoms by (10); gives the mean of (2) before and after the atoms moved."""
        W, n = self.atoms.data, len(x)
        A = B = before = absolute = squares = 0.0
        worst, apart = x[0], -1.0
        for part in in_order(x, self._rows):
            h = encode(part, W, self.alpha, tol=self.tol)
            a, b = statistics(part, h)
            missed = tg.sum(tg.square(part - tg.matmul(h, W)), 1)
            A, B, before = A + a, B + b, before + missed.sum() / 2
            absolute, squares = absolute + self.alpha * tg.abs(h).sum(), squares + (part * part).sum() / 2
            if float(missed.max()) > apart:
                worst, apart = part[int(missed.argmax())], float(missed.max())
        new = self._revived(better_atoms(W, A, B, self.sweeps), A, worst)
        after = squares - (new * B).sum() + (tg.matmul(A, new) * new).sum() / 2  # the squares again, from A and B
        self.atoms.assign(new)
        return {"objective": (after + absolute) / n, "coded": (before + absolute) / n}

    def fit(self, x: np.ndarray, *, steps: int = 30, run: Run | None = None) -> Self:
        """Learn from examples (n, d), all of them in each step; goes on where `run` stopped, if it is a resumed one."""
        x, run = self.checked(x), run or Run()
        for _ in run.steps(self, steps):
            if not self.started:
                self.start(x)
            run.log(**self.update(x))
        return self

    # ---- what it can do ----

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(2): the codes; (n, d) to (n, m)."""
        return np.concatenate([backend.to_numpy(h) for _, h in self._coded(x)])

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """$W h$ in place of each example; (n, d) to (n, d)."""
        return np.concatenate([backend.to_numpy(tg.matmul(h, self.atoms.data)) for _, h in self._coded(x)])

    def objective(self, x: np.ndarray) -> np.ndarray:
        """(2) of each example, at its best code; (n, d) to (n,)."""
        found = [objective(part, h, self.atoms.data, self.alpha) for part, h in self._coded(x)]
        return np.concatenate([backend.to_numpy(J) for J in found])

    # ---- what it needs ----

    def checked(self, x):
        """x for `update`, where the atoms are, or an error that says what is wrong."""
        x = checked_rows("SparseCoding", x, self.atoms, self.n_features)
        if not bool((x != 0).any()):
            raise ValueError("SparseCoding: x is 0 everywhere; at least one row that is not is wanted")
        return x

    def _coded(self, x) -> Iterator[tuple[Any, Any]]:
        """Some examples at a time, and their codes."""
        if not self.started:
            raise RuntimeError("SparseCoding: no atoms yet; call fit or start_at first")
        for part in in_order(checked_rows("SparseCoding", x, self.atoms, self.n_features), self._rows):
            yield part, encode(part, self.atoms.data, self.alpha, tol=self.tol)

    def _revived(self, atoms, A, worst):
        """The first of the atoms that nobody uses, moved to the example that was rebuilt worst."""
        idle = np.flatnonzero(backend.to_numpy(tg.diagonal(A)) == 0)
        length = float(tg.sqrt((worst * worst).sum()))
        if len(idle) and length > 0:
            atoms[int(idle[0])] = worst / length
        return atoms

    @property
    def _rows(self) -> int:
        """How many examples are looked at at a time: what stays in the cache, or keeps a GPU busy."""
        numbers = 2**18 if self.atoms.device == "cpu" else 2**24
        return max(256, numbers // (self.n_features + self.n_atoms))

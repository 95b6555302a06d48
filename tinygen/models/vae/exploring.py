r"""Walks through a latent space: pure functions that make codes, for a decoder to draw (S1 and S3, latent space).

A decoder is a map of images: every code $z$ is a place on it. Which walks show what it has learnt?

**Along one axis** (traversal): the code $z$ with its entry $k$ set to other values,

$$ z + (t - z_k)\, e_k. \tag{1} $$

If the axis stands for one property of the image, only that changes.

**From one image to another** (interpolation): the straight line

$$ z(t) = (1 - t)\, z_0 + t\, z_1, \qquad 0 \le t \le 1. \tag{2} $$

If the map has no gaps, all images on the way look real.

**Towards a property** (attribute vectors; Hou, Shen, Sun and Qiu 2016, shown in S1): the mean code of the images
that have it, minus that of those that have not,

$$ a = \frac{1}{|A|} \sum_{i \in A} z_i - \frac{1}{|\bar A|} \sum_{i \notin A} z_i. \tag{3} $$

Adding $a$ to another image's code gives it the property; subtracting takes it away.

**Everywhere** (the map of a code of two numbers): a square grid in the quantiles of the prior, so that every
picture stands for the same probability. With $\Phi$ the normal distribution function, its coordinates are

$$ z = \Phi^{-1}\!\left( \frac{i + 1/2}{r} \right), \qquad i = 0, \dots, r - 1. \tag{4} $$

That is S4 eq. 84 for a uniform $X_1$: a normal variable is its quantile function applied to a uniform one.

Notation
--------
$z$ : `z`, (d,) one code, or `z`, (rows, d) the codes of images; $z_0, z_1$ : `z_0`, `z_1`, two of them
$k, t, e_k$ : `entry`, `values`, and the code that is 1 there and 0 elsewhere, in (1)
$A, \bar A$ : the rows of `has`, (rows,) bool, that are true, and the others
$r$ : `side`
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def _floating(*values) -> np.dtype:
    """A dtype that holds all of them, and fractions."""
    return np.result_type(*values, np.float32)


def traversal(z: np.ndarray, entry: int, values: np.ndarray) -> np.ndarray:
    """(1): the code z (d,) with its entry set to each of the values (r,): (r, d)."""
    walk = np.repeat(np.asarray(z, _floating(z, values))[None], len(values), axis=0)
    walk[:, entry] = values
    return walk


def interpolation(z_0: np.ndarray, z_1: np.ndarray, r: int) -> np.ndarray:
    r"""(2): $(1 - t) z_0 + t z_1$ at r even steps, both ends included: (d,), (d,) to (r, d)."""
    t = np.linspace(0, 1, r, dtype=_floating(z_0, z_1))[:, None]
    return (1 - t) * z_0 + t * z_1


def attribute_vector(z: np.ndarray, has: np.ndarray) -> np.ndarray:
    r"""(3): the mean of the codes with the property minus that of the others: (rows, d), (rows,) to (d,)."""
    has = np.asarray(has, bool)
    if has.shape != z.shape[:1] or has.all() or not has.any():
        raise ValueError(f"attribute_vector: has is of shape {has.shape} with {has.sum()} true, for {len(z)} codes; "
                         "wanted one truth value a code, and both kinds")  # fmt: skip
    return z[has].mean(0) - z[~has].mean(0)


def quantile_grid(side: int) -> np.ndarray:
    """(4): codes (side * side, 2), row by row from the top; $z_1$ grows to the right and $z_2$ upwards."""
    u = ndtri((np.arange(side) + 0.5) / side)
    return np.stack(np.meshgrid(u, -u), axis=-1).reshape(-1, 2)

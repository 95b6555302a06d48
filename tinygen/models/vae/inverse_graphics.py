r"""Inverse graphics: code entries that are taught what to stand for (Kulkarni, Whitney, Kohli and Tenenbaum 2015; S4).

A graphics program turns a description of a scene (where, how large, turned how far) into a picture. To see is to run it
backwards. S4 notes that hidden information is hard to grasp from an image, that nobody wants to make up latent
variables by hand, and that Kulkarni et al. "encourage neurons to represent specific transformation". Here is how: a
variational autoencoder (`vae.py`) as it stands, and training pictures in a certain *order*.

**Transformation-aligned units.** The pictures come in groups. Within a group one *factor* $j$ of the scene changes, and
all else stays: a shape moves to the right, or grows, or turns. Nobody says where it is or how large; only which factor
it was. One unit of the code is set aside for each factor (the last factor may have several). For a group of $g$
pictures with codes $z_1, \dots, z_g$ let $A$ be the units of its factor, the *active* ones. On the way to the decoder
the other units are *clamped* to their mean over the group,

$$ z'_{ik} = \begin{cases} z_{ik}, & k \in A \\ \bar z_k = \frac1g \sum_{l=1}^{g} z_{lk}, & k \notin A.
   \end{cases} \tag{1} $$

So $z'_i$ and $z'_l$ differ in $A$ only: whatever tells the pictures of this group from each other has to go through
the active unit. And what comes back from the loss $\ell$ to the encoder is replaced as well,

$$ \text{gradient at } z_{ik} = \begin{cases} \partial \ell / \partial z'_{ik}, & k \in A \\
   c\, (z_{ik} - \bar z_k), & k \notin A. \end{cases} \tag{2} $$

The active unit learns what a variational autoencoder's does. The others are not asked to help; they are drawn towards
their mean, since they should answer to none of what changes here. They learn to be *invariant*. The factor $c$ is
small ($\frac1{100}$ in the paper), or it would be best for all units to say nothing.

**What is minimised.** A gradient that is put together by hand need not belong to any loss. This one does, to

$$ \ell'_i = -\log p_\theta(x_i|z'_i) + \mathrm{KL}(q_\lambda(z|x_i) \,\|\, p(z))
   + \frac c2 \sum_{k \notin A} (z_{ik} - \bar z_k)^2, \tag{3} $$

summed over the group, with $\bar z_k$ held constant in $z'_i$. For the last term the mean may move along: the
derivative of $\frac12 \sum_l (z_{lk} - \bar z_k)^2$ in $z_{ik}$ is
$(z_{ik} - \bar z_k) - \frac1g \sum_l (z_{lk} - \bar z_k)$, and the sum is 0. The KL is the variational autoencoder's
and concerns all units; $z$ is drawn by reparametrisation.

**What is left open.** (3) only ever compares pictures of one group. So it cannot say in which direction a unit should
count, nor that the direction be the same in all scenes. A unit may come to mean "to the left" for shapes above and "to
the right" for shapes below; nothing but the smoothness of the networks speaks against it, and with some seeds that is
what one gets. Such a unit moves its own factor alone, and yet its correlation with the factor over all pictures is 0.
Two figures are needed: what moves with a unit, and what goes along with it.

This is weak supervision, not none. The β-VAE (`beta_vae.py`) has to find the factors, and may find others; here they
are pointed at. In return each unit has its name before training begins.

The paper's network is convolutional and its pictures are rendered faces and chairs; ours are fully connected and
drawn, small enough to learn in a minute. In the paper a minibatch is one group; here it is several. As in the paper,
some factors may come more often than others: which groups there are is the data's own affair.

Notation
--------
$x$ : `x`, (b, g, n), b groups of g pictures of n pixels; for `fit`, (b g, n), a group after the other
$j$ : `changing`, (b,), integers from 0: the factor that changes in a group
$z, z', \bar z$ : `z`, (b, g, d), what `clamped` makes of it, and what is the same in all pictures of a group there
$A$ : `active`, (b, 1, d), true for the units of the group's factor
$c$ : `pull`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch
from tinygen.models.vae.vae import VAE, kl_to_standard_normal
from tinygen.runs import Run

# ---- the equations --------------------------------------------------------------------------------------


def group_mean(z):
    r"""$\bar z$ of (1): (b, g, d) to (b, 1, d)."""
    return tg.mean(z, axis=1, keepdims=True)


def clamped(z, active):
    r"""(1), for Tensors; the gradient stops at $\bar z$. (b, g, d), (b, 1, d) to (b, g, d)."""
    return tg.where(active, z, group_mean(z.detach()))


def scatter(z, active):
    r"""$\frac12 \sum_{k \notin A} (z_{ik} - \bar z_k)^2$ of (3): (b, g, d), (b, 1, d) to (b, g)."""
    return tg.sum(tg.where(active, 0.0, tg.square(z - group_mean(z))), axis=2) / 2


def encoder_gradient(gradient, z, active, pull):
    r"""(2) in the paper's own words, from $\partial \ell / \partial z'$: raw arrays (b, g, d), (b, g, d), (b, 1, d).

    The model has no use for it: the derivative of (3) is the same, as a test shows.
    """
    return tg.where(active, gradient, pull * (z - group_mean(z)))


# ---- the model ------------------------------------------------------------------------------------------


class InverseGraphics(VAE):
    r"""A variational autoencoder with units for factors that it is shown one at a time.

    Parameters
    ----------
    n_pixels, n_latent : lengths $n$ of an image and $d$ of its code
    n_factors : how many factors change; unit k is that of factor k, and the last factor has all units from its own on
    group : $g$, how many pictures follow each other in which one factor changes
    pull : $c$ of (2)
    beta : what the KL weighs in (3), as in `beta_vae.py`; the paper has 1
    hidden, depth, likelihood, variance, lr, schedule, rng : as in `VAE`

    Examples
    --------
    >>> x = tg.random.Generator(1).uniform((20, 6))  # five groups of four
    >>> net = InverseGraphics(6, 3, 2, group=4, hidden=8, rng=tg.random.Generator(0))
    >>> net.units.tolist()  # the factor of each unit
    [0, 1, 1]
    >>> net.fit(x, [0, 1, 0, 1, 1], steps=3, run=Run(quiet=True)).transform(x).shape
    (20, 3)
    """

    def __init__(self, n_pixels: int, n_latent: int, n_factors: int, *, group: int = 8, pull: float = 0.01,
                 beta: float = 1.0, hidden: int = 256, depth: int = 2, likelihood: str = "bernoulli",
                 variance: float | None = None, lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        if not 1 <= n_factors <= n_latent or group < 2 or pull < 0:
            raise ValueError(f"InverseGraphics: n_factors is {n_factors} for {n_latent} units, group {group} and pull "
                             f"{pull}; a unit for each factor, groups of at least 2 and a pull of 0 or more are "
                             "wanted")  # fmt: skip
        super().__init__(n_pixels, n_latent, hidden=hidden, depth=depth, likelihood=likelihood, variance=variance,
                         weights=(1.0, beta), lr=lr, schedule=schedule, rng=rng)  # fmt: skip
        self.n_factors, self.group, self.pull = n_factors, group, pull
        self.units = np.minimum(np.arange(n_latent), n_factors - 1)

    def losses(self, x, active, rng: Generator) -> tuple[Any, Any, Any]:
        r"""The three terms of (3) without $c$, of groups (b, g, n), active (b, 1, d): three of (b, g)."""
        q = self.encoder(x)
        z = q.draw(rng.normal(q.mu.shape, dtype=q.mu.dtype))  # (b, g, d)
        log_px = self.decoder.log_prob(x, clamped(z, active))
        return -log_px, kl_to_standard_normal(q.mu, q.log_var), scatter(z, active)

    def update_groups(self, x, changing) -> dict:
        """One step down the gradient of (3), averaged over pictures; its terms, of a picture."""
        xp = backend.array_module(changing)
        active = xp.asarray(self.units)[None, None] == changing[:, None, None]  # (b, 1, d)
        error, kl, spread = (tg.mean(part) for part in self.losses(x, active, self.rng))
        self.optimizer.step(tg.grad(self.pull * spread - self.objective(-error, kl), self.optimizer.params))
        self.schedule.step()
        return {"log_px": -error, "kl": kl, "scatter": spread}

    def fit(self, x: np.ndarray, changing: np.ndarray, *, steps: int, batch_size: int = 8,  # type: ignore[override]
            run: Run | None = None) -> Self:  # fmt: skip
        """Learn from pictures (b g, n), a group after the other, and the factors that change in them, (b,).

        batch_size : groups in a minibatch. `run` may be a resumed one, which goes on where it stopped.
        """
        x, run = self._checked(x), run or Run()
        changing = self._factors(changing, len(x))
        groups = x.reshape(-1, self.group, self.n_pixels)
        for _ in run.steps(self, steps):
            run.log(**self.update_groups(*batch((groups, changing), self.rng, batch_size)))
        return self

    def _factors(self, changing, rows: int):
        """The groups' factors on the model's device, or an error that says what is wrong."""
        changing = np.asarray(changing)
        if changing.shape != (rows // self.group,) or rows % self.group or changing.dtype.kind not in "iu":
            raise ValueError(f"InverseGraphics: changing is {changing.dtype} {changing.shape} for {rows} pictures; an "
                             f"integer for each group of {self.group} is wanted, and only whole groups")  # fmt: skip
        if not (0 <= changing.min() and changing.max() < self.n_factors):
            raise ValueError(f"InverseGraphics: changing has values from {changing.min()} to {changing.max()}; factors "
                             f"from 0 to {self.n_factors - 1} are wanted")  # fmt: skip
        return backend.asarray(changing, "int64", self._like.device)

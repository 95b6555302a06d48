r"""The game of a generator and a discriminator, and the one loop that plays it (S2 ch. 4, S4 107-124, S3 part 3).

To draw new images one needs a sampler, not a density. Take a network $G$ that turns noise $z \sim p_z$ into a point
$G(z)$; its law $p_g$ cannot be written down, so its likelihood cannot be raised. What can be done is to *compare
samples*: a second network $D$ is shown points of the data and points of $G$, and learns to tell them apart; $G$
learns to be taken for the data. S1 has a counterfeiter and the police. With $D(x)$ for the probability that $x$ is
real, they play for the value (S2 eqs. 4.6 and 4.18, S4 eq. 110)

$$ v(\theta^G, \theta^D) = \mathbb E_{x \sim p_d} \log D(x) + \mathbb E_{z \sim p_z} \log(1 - D(G(z))), \tag{1} $$

which $D$ wants large and $G$ wants small (S2 eq. 4.19):

$$ \theta^G_* \in \arg\min_{\theta^G} \max_{\theta^D} v(\theta^G, \theta^D). $$

What the solution is, and why, is in `theory.py`. Other games of this kind pay the players by other formulas
(`losses.py`), $L_D$ and $L_G$; for (1) they are $L_D = -v$ and $L_G = v$.

**Algorithm 1** (S2; S4 after eq. 119). Each network goes down its own loss, in turns:

1. $k_d$ times: draw a minibatch of the data and one of noise, and move the discriminator,

$$ \theta^D \leftarrow \theta^D - \eta\, \nabla_{\theta^D} L_D(\theta^G, \theta^D); \tag{2} $$

2. $k_g$ times: draw a minibatch of noise, and move the generator,

$$ \theta^G \leftarrow \theta^G - \eta\, \nabla_{\theta^G} L_G(\theta^G, \theta^D). \tag{3} $$

The gradient is that of a mean over the minibatch, and the step may be any optimiser's. In (2) the generator is a mere
supplier of points: nothing flows back into it. In (3) the gradient comes to $G$ *through* $D$, whose own weights get
none. $D$ should stay near its best answer to $G$, hence several steps of it for one of $G$; but a turn that ended
only when $D$ is best would overfit it to the data at hand, and leave $G$ without a slope if its loss is the
saturating one.

S2 remarks that in practice both networks move at once. With `simultaneous`, each answers to where the other stood
before the turn. On the simplest of games this leads round in circles that widen, where turns stay on one circle
(`theory.dirac`).

Misprints: S2's Algorithm 1 prints two gradients and no directions: with its formulas $D$ goes up and $G$ goes down.
S4 109 and 111 write argmax where max is meant, and S3 calls the *value* of a minimum $G^*$.

Notation
--------
$G, D$ : `generator`, `discriminator`
$z, p_z$ : `z`, (n, n_latent); `prior`
$L_D, L_G$ : `discriminator_loss`, `generator_loss`
$k_d, k_g$ : `k_d`, `k_g`
$\eta$ : `lr`, a number or a pair
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import data, nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.models.gan.losses import LOSSES, Loss
from tinygen.models.model import Model
from tinygen.runs import Run

Prior = Callable[[int, Generator], Any]


def normal(n_latent: int, std: float = 1.0) -> Prior:
    r"""The prior $z \sim \mathcal N(0, \mathrm{std}^2 I)$: a function of n and a Generator that gives (n, n_latent)."""
    return lambda n, rng: rng.normal((n, n_latent), 0.0, std)


def uniform(n_latent: int, low: float = 0.0, high: float = 1.0) -> Prior:
    """The prior $z \\sim U[low, high]^{n_latent}$: a function of n and a Generator that gives (n, n_latent)."""
    return lambda n, rng: rng.uniform((n, n_latent), low, high)


def adam(parameters: Any, lr: float) -> optim.Optimizer:
    """Adam as GANs are wont to use it: with a short memory of directions, since the goal moves."""
    return optim.Adam(parameters, lr, betas=(0.5, 0.999))


class GAN(Model):
    """A generator and a discriminator, trained against each other.

    Parameters
    ----------
    generator, discriminator : Modules; a discriminator gives logits (..., 1), or what the loss wants
    loss : a name from `LOSSES`, or a Loss
    prior : a function of n and a Generator that gives n codes, such as `normal(10)`
    lr : the rate of both players, or a pair: the discriminator's and the generator's
    optimizer : a function of parameters and a rate that makes an optimiser
    schedule : the factor of both rates as a function of the turn 0, 1, ..., such as `optim.schedules.Cosine(1000)`
    k_d, k_g : steps of the discriminator and of the generator in a turn
    simultaneous : whether both players step from where both stand, instead of one after the other
    rng : the Generator of minibatches, codes and penalties, on the networks' device; None takes fresh entropy

    Examples
    --------
    >>> from tinygen.models.gan import nets
    >>> rng = Generator(0)
    >>> G, D = nets.generator(3, 2, hidden=8, rng=rng), nets.discriminator(2, hidden=8, rng=rng)
    >>> gan = GAN(G, D, "least-squares", prior=normal(3), rng=rng)
    >>> gan.fit(rng.normal((50, 2)), steps=3, run=Run(quiet=True)).sample(4).shape
    (4, 2)
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: str | Loss = "non-saturating", *,
                 prior: Prior, lr: float | tuple[float, float] = 1e-3,
                 optimizer: Callable[[Any, float], optim.Optimizer] = adam,
                 schedule: Callable[[int], float] | None = None, k_d: int = 1, k_g: int = 1,
                 simultaneous: bool = False, rng: Generator | None = None):  # fmt: skip
        if isinstance(loss, str) and loss not in LOSSES:
            raise ValueError(f"GAN: loss is {loss!r}; {', '.join(LOSSES)} are there, or give a Loss")
        if k_d < 1 or k_g < 1 or simultaneous and (k_d, k_g) != (1, 1):
            raise ValueError(f"GAN: k_d is {k_d} and k_g is {k_g}; at least one step each is wanted, and exactly one "
                             "where they are simultaneous")  # fmt: skip
        self.generator, self.discriminator = generator, discriminator
        self.loss = LOSSES[loss]() if isinstance(loss, str) else loss
        self.prior, self.k_d, self.k_g, self.simultaneous = prior, k_d, k_g, simultaneous
        self.rng = Generator() if rng is None else rng
        self.loss.to(self._like.device, dtype=self._like.dtype)
        lr_d, lr_g = lr if isinstance(lr, tuple) else (lr, lr)
        self.optimizer_d = optimizer(discriminator.parameters(), lr_d)
        self.optimizer_g = optimizer(generator.parameters(), lr_g)
        schedule = schedule or optim.schedules.Constant()
        self.schedule_d = optim.Schedule(self.optimizer_d, schedule)
        self.schedule_g = optim.Schedule(self.optimizer_g, schedule)

    # ---- one turn ----

    def batch(self, x: Any, size: int) -> Any:
        """A minibatch of the data: (n, ...) to (size, ...). Override it where the axes mean something else."""
        return data.batch(x, self.rng, size)

    def noise(self, n: int) -> Any:
        """n codes drawn from the prior."""
        return self.prior(n, self.rng)

    def fake(self, z: Any) -> Any:
        """Generated points for the discriminator to look at, (n, ...), which carry no gradient: G stands still."""
        with tg.no_grad():
            return self.generator(z)

    def discriminator_loss(self, x: Any, x_fake: Any) -> Any:
        """What D minimises, on real and generated points."""
        return self.loss.discriminator(self.discriminator, x, x_fake, self.rng)

    def generator_loss(self, z: Any) -> Any:
        """What G minimises, on codes."""
        return self.loss.generator(self.discriminator, self.generator(z))

    def discriminator_step(self, x: Any, z: Any) -> dict[str, Any]:
        """One step of D on real points and codes."""
        x_fake = self.fake(z)
        loss = self.discriminator_loss(x, x_fake)
        self.optimizer_d.step(tg.grad(loss, self.optimizer_d.params))
        return {"loss_d": loss, **self.loss.after(self.discriminator, x, x_fake)}

    def generator_step(self, z: Any) -> dict[str, Any]:
        """One step of G on codes; no gradient of D's weights is computed."""
        loss = self.generator_loss(z)
        self.optimizer_g.step(tg.grad(loss, self.optimizer_g.params))
        return {"loss_g": loss}

    def simultaneous_step(self, x: Any, z_d: Any, z_g: Any) -> dict[str, Any]:
        """One step of both, each an answer to where the other stood before it."""
        x_fake = self.fake(z_d)
        loss_d, loss_g = self.discriminator_loss(x, x_fake), self.generator_loss(z_g)
        grads_d, grads_g = tg.grad(loss_d, self.optimizer_d.params), tg.grad(loss_g, self.optimizer_g.params)
        self.optimizer_d.step(grads_d)
        self.optimizer_g.step(grads_g)
        return {"loss_d": loss_d, "loss_g": loss_g, **self.loss.after(self.discriminator, x, x_fake)}

    def update(self, x: Any, size: int) -> dict[str, Any]:
        """One turn of Algorithm 1 on data (n, ...), in minibatches of so many; the last losses of the turn."""
        parts: dict[str, Any] = {}
        if self.simultaneous:
            parts = self.simultaneous_step(self.batch(x, size), self.noise(size), self.noise(size))
        else:
            for _ in range(self.k_d):
                parts |= self.discriminator_step(self.batch(x, size), self.noise(size))
            for _ in range(self.k_g):
                parts |= self.generator_step(self.noise(size))
        self.schedule_d.step()
        self.schedule_g.step()
        return parts

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 64, run: Run | None = None) -> Self:
        """Play so many turns on data (n, ...); goes on where `run` stopped, if it is a resumed one."""
        x, run = self.checked(x), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(x, batch_size))
        return self

    # ---- what it can do ----

    def sample(self, n: int, *, rng: Generator | None = None) -> np.ndarray:
        """New points (n, ...)."""
        return self.decode(self.prior(n, Generator(device=self._like.device) if rng is None else rng))

    def decode(self, z: Any) -> np.ndarray:
        """$G(z)$ out of training: codes (n, n_latent) to points (n, ...)."""
        training = self.generator.training
        try:
            with tg.no_grad():
                return self.generator.eval()(backend.asarray(z, self._like.dtype, self._like.device)).numpy()
        finally:
            self.generator.train(training)

    @property
    def _like(self) -> tg.Tensor:
        """A Tensor whose dtype and device are the networks'."""
        return next(self.generator.parameters())

    def checked(self, x: Any) -> Any:
        """x in the networks' dtype, on their device, or an error that says what is wrong."""
        x, kind = backend.asarray(x, self._like.dtype, self._like.device), type(self).__name__
        wanted = self.sample(2, rng=Generator(0, device=self._like.device)).shape[1:]
        if x.ndim == 0 or x.shape[1:] != wanted or not len(x):
            raise ValueError(f"{kind}: x has shape {x.shape}; at least one row of shape {wanted} is wanted, as the "
                             "generator makes them")  # fmt: skip
        bad = int((~backend.array_module(x).isfinite(x)).sum())
        if bad:
            raise ValueError(f"{kind}: x has {bad} values that are NaN or infinite; finite ones are wanted")
        return x

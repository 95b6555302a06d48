r"""The autoencoder (S0; S1 "Autoencoder"; S3 part 2): a network that learns to say what it hears, in fewer words.

Nobody labels images for it: an image is its own answer. Two networks stand one behind the other. The *encoder* $f$
turns an image $x$ into a code $y$, the *decoder* $g$ turns the code into an image again:

$$ y = f(x), \qquad \hat x = g(y), \tag{1} $$

and both learn together to make $\hat x$ like $x$ (S1 writes $X'$ for $\hat x$, S3 $x'$). S1 plays it as a game: "What
two numbers should I send you so that you can re-draw my input as accurate as possible?" If the code is shorter than the
image, the network must find out what images have in common, and send only the rest.

**What is "like"?** S3: $L(x, \hat x) \propto -\log p(x|\hat x)$. Read the output as the parameter of a law of the
image; then the loss says how improbable the image is under it. (The sign $\propto$ is to be read as "up to an added
constant, and a positive factor".) With $n$ pixels and Gaussian noise of variance $\sigma^2$ in each,
$p(x|\hat x) = \mathcal N(\hat x, \sigma^2 I)$,

$$ -\log p(x|\hat x) = \frac{1}{2\sigma^2} \|x - \hat x\|^2 + \frac n2 \log 2\pi\sigma^2. \tag{2} $$

The second term does not know the network, and $1 / 2\sigma^2$ only scales the gradient. Drop both, and

$$ L(x, \hat x) = \|x - \hat x\|^2. \tag{3} $$

Nothing is lost as long as (3) stands alone. As soon as something is added to it, a penalty on the code or the VAE's
divergence, the factor matters: to drop it says $\sigma^2 = \frac12$.

For black and white pixels the law is Bernoulli, $\hat x_i$ the probability that pixel $i$ is white, and

$$ L(x, \hat x) = -\log p(x|\hat x)
   = -\sum_{i=1}^{n} \left[ x_i \log \hat x_i + (1 - x_i) \log (1 - \hat x_i) \right], \tag{4} $$

the cross-entropy, with no constant left out. (S3 prints the sum without brackets, so that it ends after the first term,
and says "used in combination with softmax". A softmax makes probabilities that sum to 1 over all pixels: one white
pixel an image. The pixels here are $n$ coins, each with a sigmoid of its own, $\hat x_i = \sigma(\ell_i) = 1 / (1 +
e^{-\ell_i})$.)

*Grey levels.* For $0 < x_i < 1$ (4) is not a likelihood: no coin falls on 0.3. It is what a black and white version of
the image costs on average, if pixel $i$ is made white with probability $x_i$. It does not fall to 0 either:

$$ L(x, \hat x) = H(x) + \sum_{i=1}^{n} \mathrm{KL}(x_i \,\|\, \hat x_i) \;\ge\; H(x)
   = -\sum_{i=1}^{n} \left[ x_i \log x_i + (1 - x_i) \log (1 - x_i) \right] \tag{5} $$

with KL between two coins, and the floor, the entropy of the pixels, is what a perfect copy costs. On MNIST it is more
than half of the loss that the demo ends with. Compare $L - H$, not $L$.

*Saturation.* A decoder that is sure has large $|\ell_i|$. In float32 $\hat x_i$ is exactly 1 from $\ell_i = 16.7$ on,
and (4) is infinite for a pixel that is not, if it is computed from $\hat x$. Insert the sigmoid first:

$$ L = \sum_{i=1}^{n} \left[ \log (1 + e^{\ell_i}) - x_i \ell_i \right],
   \qquad \frac{\partial L}{\partial \ell_i} = \hat x_i - x_i. \tag{6} $$

This stays finite, and a pixel that is surely wrong has a derivative of size 1. Behind the same sigmoid, (3) has the
derivative $2 (\hat x_i - x_i)\, \hat x_i (1 - \hat x_i)$, which is 0 for a pixel that is surely wrong: it never learns.
Hence a sigmoid goes with (4), and no sigmoid with (3). `saturated` counts such pixels, and `idle` the units of a code
that say the same whatever they are shown, such as a ReLU that is 0 for all images (a *dead* unit).

**Linear networks find PCA's plane** (S3: "AE with linear layers and squared $L_2$ norm as loss learns a PCA"; Bourlard
and Kamp 1988, Baldi and Hornik 1989). Let $f(x) = W_1 x + b_1$ and $g(y) = W_2 y + b_2$ with $d < n$ numbers in the
code. Let $\Sigma$ be the covariance of the images, with the mean over images in it, and $\lambda_1 \ge \lambda_2 \ge
\dots$ its eigenvalues, with eigenvectors $u_j$. Hold $W_2$, whatever it is. The outputs lie in a plane, and the best
place in a plane is the projection; so the best of all encoders gives $\hat x = \bar x + P (x - \bar x)$, with $P$ the
orthogonal projection onto the span of the columns of $W_2$. What it misses, on average over the images, is

$$ \mathrm{mean}\, \|x - \hat x\|^2 = \mathrm{tr}\, \Sigma - \mathrm{tr}\, P \Sigma. \tag{7} $$

Now $\mathrm{tr}\, P \Sigma = \sum_j \lambda_j p_j$, where $p_j = \|P u_j\|^2$ lies between 0 and 1 and the $p_j$ sum to
$d$. The sum is largest if the $d$ largest eigenvalues get all the weight, and then

$$ \min_{W_1, W_2, b_1, b_2} \mathrm{mean}\, \|x - \hat x\|^2 = \sum_{j > d} \lambda_j: \tag{8} $$

the sum of the dropped eigenvalues, as in `latent.pca`. If $\lambda_d > \lambda_{d+1}$, it is reached on the plane of
$u_1, \dots, u_d$ only. Only the plane is found, not the axes: with $W_2 = U C$, $W_1 = C^{-1} U^\top$ and any
invertible $C$ the outputs are the same. So the code is PCA's code, mixed. All other points where the gradient
vanishes use another set of eigenvectors, and are saddles: Baldi and Hornik show that there is no local minimum to be
caught in. (With a nonlinear layer neither statement holds.)

How near is a plane to another one? If $A$ and $B$ have orthonormal columns that span them, the *principal angles*
between the planes are

$$ \cos \theta_i = s_i(A^\top B), \qquad \sin \theta_i = s_{d+1-i}\big(B - A A^\top B\big), \qquad i = 1, \dots, d,
   \tag{9} $$

where $s_1 \ge s_2 \ge \dots$ are singular values. The largest is the angle of the direction that fits worst. Small
angles are taken from the sine, since the cosine of a small angle is 1 to all digits (Björck and Golub 1973). Angles
are a strict judge: turn one direction of the best plane from $u_d$ towards $u_{d+1}$ by $\theta$, and (7) rises by
$(\lambda_d - \lambda_{d+1}) \sin^2 \theta$ only. At one degree this is 0.0003 of a difference that is small itself.

**A code as wide as the image** is useless (S1: "NN cheats and outputs an identity mapping"): for $d = n$ the sum (8) is
empty, $W_2 W_1 = I$ copies everything, noise as well as digits, and the code need not know what a digit is. What else
can keep a network from copying is the matter of the chapters beside this one: a penalty on the code (`sparse`), or an
image that is spoilt before it is shown. They override `penalty` or `corrupted`.

Notation
--------
$x, \hat x$ : `x`, (b, n) or (b, *shape); `x_hat`, the same shape
$\ell$ : `logits`, what the decoder gives with the cross-entropy
$y$ : `y`, (b, d)
$f, g$ : `encoder`, `decoder`
$\sigma^2$ : `variance` ($\sigma(\cdot)$ is the sigmoid)
$H(x)$ : `entropy(x)`, (b,)
$W_2, \Sigma$ : `W`, (n, d); `cov`, (n, n)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import batch, in_order
from tinygen.models.model import Model, require_finite
from tinygen.nn import functional as F
from tinygen.runs import Run

AT_ONCE = 500  # images at a time when there is nothing to learn from them

# ---- the losses -----------------------------------------------------------------------------------------


def gaussian_nll(x, x_hat, variance: float):
    r"""(2): $-\log \mathcal N(x; \hat x, \sigma^2 I)$ in nats; (b, ...) twice to (b,)."""
    n = math.prod(x.shape[1:])
    return squared_error(x, x_hat) / (2 * variance) + n / 2 * math.log(2 * math.pi * variance)


def squared_error(x, x_hat):
    r"""(3): $\|x - \hat x\|^2$ for each image: (b, ...) twice to (b,)."""
    return tg.sum(tg.reshape(tg.square(x - x_hat), (len(x), -1)), axis=1)


def cross_entropy(x, logits):
    r"""(4) by (6): $-\sum_i [x_i \log \hat x_i + (1 - x_i) \log(1 - \hat x_i)]$; (b, ...) twice to (b,)."""
    parts = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return tg.sum(tg.reshape(parts, (len(x), -1)), axis=1)


def entropy(x):
    """(5): $H(x)$, the cross-entropy of a perfect copy; a raw array (b, ...) in [0, 1] to (b,)."""
    xp = backend.array_module(x)
    parts = [xp.where(p > 0, p * xp.log(xp.where(p > 0, p, 1)), 0) for p in (x, 1 - x)]  # 0 log 0 = 0
    return -(parts[0] + parts[1]).reshape(len(x), -1).sum(1)


def saturated(logits) -> float:
    r"""The share of pixels with $\hat x_i = \sigma(\ell_i)$ or $1 - \hat x_i$ equal to 1; a raw array of any shape."""
    return float((tg.sigmoid(abs(logits)) == 1).mean())


def idle(y):
    """Which units give every image the same value; a raw array (b, d) to (d,), Booleans."""
    return y.max(0) == y.min(0)


# ---- linear networks ------------------------------------------------------------------------------------


def loss_of_plane(W, cov):
    r"""(7): $\mathrm{tr}\, \Sigma - \mathrm{tr}\, P \Sigma$, the least loss with this $W_2$; (n, d), (n, n) to ()."""
    xp = backend.array_module(W)
    Q, _ = xp.linalg.qr(W)  # P = Q Q^T
    return xp.trace(cov) - (Q * xp.matmul(cov, Q)).sum()


def least_loss(cov, d: int):
    r"""(8): $\sum_{j > d} \lambda_j$; a raw array (n, n) to ()."""
    eigenvalues = backend.array_module(cov).linalg.eigvalsh(cov)  # the smallest first
    return eigenvalues[: len(cov) - d].sum()


def principal_angles(A, B):
    """(9), the largest first, in radians, between the spans of the columns of raw arrays (n, d), (n, d); to (d,)."""
    xp = backend.array_module(A)
    (A, _), (B, _) = xp.linalg.qr(A), xp.linalg.qr(B)
    inner = xp.matmul(A.T, B)
    cosines = xp.linalg.svd(inner, compute_uv=False)[::-1]  # of the largest angle first, as the sines
    sines = xp.linalg.svd(B - xp.matmul(A, inner), compute_uv=False)
    return xp.where(sines**2 < 0.5, xp.arcsin(xp.minimum(sines, 1)), xp.arccos(xp.clip(cosines, 0, 1)))


# ---- the networks ---------------------------------------------------------------------------------------


def fully_connected(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU, last: bool = False,
                    rng: Generator) -> nn.Sequential:  # fmt: skip
    """Linear layers of these sizes, with an activation between them; and after the last one, if `last`."""
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m, rng=rng), activation()]
    return nn.Sequential(*(layers if last else layers[:-1]))


# ---- the model ------------------------------------------------------------------------------------------


class Autoencoder(Model):
    r"""An encoder and a decoder that learn together to give back what goes in.

    One with other ideas overrides a hook: `corrupted` (what the encoder sees instead of $x$), `penalty` (what a code
    costs) or `reconstruction_loss`.

    Parameters
    ----------
    encoder, decoder : Modules, (b, *shape) to (b, d) and back; with cross-entropy the decoder gives logits
    shape : of one image, or its length
    loss : "squared", or "cross-entropy" for values in [0, 1]
    lr : learning rate of Adam
    schedule : the factor of `lr` as a function of the step, such as `optim.schedules.Cosine(1000)`
    rng : the Generator of the minibatches, on the networks' device; None takes fresh entropy

    Raises
    ------
    ValueError
        From whatever is given images: their shape is not `shape` (or flat), there are none, they have NaN or infinite
        values, or values outside of [0, 1] with the cross-entropy.

    Examples
    --------
    >>> rng = tg.random.Generator(0)
    >>> ae = Autoencoder(fully_connected(6, 8, 2, rng=rng), fully_connected(2, 8, 6, rng=rng), 6, rng=rng)
    >>> x = rng.uniform((20, 6))
    >>> ae.fit(x, steps=3, run=Run(quiet=True)).transform(x).shape, ae.reconstruct(x).shape
    ((20, 2), (20, 6))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: int | tuple[int, ...], *, loss: str = "squared",
                 lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        kind = type(self).__name__
        if loss not in ("squared", "cross-entropy"):
            raise ValueError(f"{kind}: loss is {loss!r}; 'squared' or 'cross-entropy' is wanted")
        self.rng = Generator() if rng is None else rng
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.encoder, self.decoder, self.bernoulli = encoder, decoder, loss == "cross-entropy"
        self.optimizer = optim.Adam(self.parameters(), lr)
        self.schedule = optim.Schedule(self.optimizer, schedule or optim.schedules.Constant())

    # ---- learning ----

    def corrupted(self, x, rng: Generator):
        """What the encoder is shown in training in place of raw images (b, *shape); here, the images."""
        return x

    def penalty(self, y):
        """What codes (b, d) cost on average beside the reconstruction, a scalar Tensor; here, nothing."""
        return None

    def reconstruction_loss(self, x, y):
        """(3) or (4) for each image (b, *shape), if its code is y (b, d): (b,)."""
        x_hat = self.decoder(y)
        if x_hat.shape != x.shape:
            raise ValueError(f"{type(self).__name__}: the decoder gives {x_hat.shape} for images {x.shape}; the same "
                             "shape is wanted")  # fmt: skip
        return (cross_entropy if self.bernoulli else squared_error)(x, x_hat)

    def update(self, x) -> dict:
        """One step on a minibatch (b, *shape); the mean loss of an image, and the penalty if there is one."""
        y = self.train().encoder(tg.tensor(self.corrupted(x, self.rng)))
        loss, penalty = tg.mean(self.reconstruction_loss(tg.tensor(x), y)), self.penalty(y)
        self.optimizer.step(tg.grad(loss if penalty is None else loss + penalty, self.optimizer.params))
        self.schedule.step()
        return {"loss": loss} if penalty is None else {"loss": loss, "penalty": penalty}

    def fit(self, x: np.ndarray, *, steps: int, batch_size: int = 100, run: Run | None = None) -> Self:
        """Learn from images (n, *shape); goes on where `run` stopped, if it is a resumed one."""
        x, run = self.checked(x), run or Run()
        for _ in run.steps(self, steps):
            run.log(**self.update(batch(x, self.rng, batch_size)))
        return self

    # ---- what it can do ----

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The codes of images: (n, *shape) to (n, d)."""
        return self._in_parts(self.encoder, self.checked(x))

    def decode(self, y: np.ndarray) -> np.ndarray:
        """The images of codes: (n, d) to (n, *shape)."""
        y = backend.asarray(y, self._like.dtype, self._like.device)
        if y.ndim < 2 or not len(y):
            raise ValueError(f"{type(self).__name__}.decode: y has shape {y.shape}; at least one code (n, d) is wanted")
        return self._in_parts(self._image, y)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        r"""$\hat x$ by (1): (n, *shape) to (n, *shape)."""
        return self._in_parts(lambda part: self._image(self.encoder(part)), self.checked(x))

    def errors(self, x: np.ndarray) -> np.ndarray:
        """The loss of each image, without what training adds to it: (n, *shape) to (n,)."""
        return self._in_parts(lambda part: self.reconstruction_loss(part, self.encoder(part)), self.checked(x))

    def _image(self, y):
        """What the decoder makes of codes (b, d), as pixels: (b, *shape)."""
        x_hat = self.decoder(y)
        return tg.sigmoid(x_hat) if self.bernoulli else x_hat

    def _in_parts(self, f: Callable[[Any], Any], x) -> np.ndarray:
        """What f gives for all rows of a raw array, on the host; so many at a time; out of training."""
        self.eval()
        with tg.no_grad():
            return np.concatenate([f(tg.tensor(part)).numpy() for part in in_order(x, AT_ONCE)])

    @property
    def _like(self) -> tg.Tensor:
        """A Tensor whose dtype and device are the networks'."""
        return next(self.parameters())

    def shaped(self, x):
        """x as finite images (n, *shape) in the networks' dtype, on their device, or an error that says why not."""
        x, kind = backend.asarray(x, self._like.dtype, self._like.device), type(self).__name__
        if x.shape[1:] not in (self.shape, (math.prod(self.shape),)) or not len(x):
            raise ValueError(f"{kind}: x has shape {x.shape}; at least one image of shape {self.shape} is wanted")
        require_finite(f"{kind}: x", x)
        return x.reshape(-1, *self.shape)

    def checked(self, x):
        """`shaped(x)`, and in a range that the loss can take."""
        x, kind = self.shaped(x), type(self).__name__
        if self.bernoulli and not (0 <= float(x.min()) and float(x.max()) <= 1):
            raise ValueError(f"{kind}: x has values from {float(x.min()):.4g} to {float(x.max()):.4g}; with the "
                             "cross-entropy they must lie in [0, 1] (the squared error takes any)")  # fmt: skip
        return x

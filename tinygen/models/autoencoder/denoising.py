r"""The denoising autoencoder (S1 "Denoising autoencoder"; S3 part 2; Vincent et al. 2010, S3's [2]).

An autoencoder with a wide code learns to copy (S1: the network cheats). Give it something to do instead: damage the
image, and ask for the undamaged one. Who is to repair a seven must know what sevens look like.

The damage is a law $C(\tilde x | x)$ over corrupted images, from which one draws anew each time. The target stays the
clean image. With $r(\tilde x) = g(f(\tilde x))$ for encoder and decoder in a row, and $\ell$ for the loss of
`autoencoder.py` (S1 writes $x''$ for $\tilde x$ and takes the squared error), the goal is to make

$$ L(r) = \mathbb E_{x \sim p}\, \mathbb E_{\tilde x \sim C(\cdot|x)}\, \ell(x, r(\tilde x)) \tag{1} $$

as small as can be. (S3 writes $\hat x$ for the corrupted image, which on its slides before was the reconstruction, and
$C(\hat x, x)$ once for $C(\hat x | x)$. Here $\tilde x$ is corrupted and $\hat x = r(\tilde x)$.)

**Corruptions.** Gaussian noise, S3's $C(\tilde x|x) = \mathcal N(x, \sigma^2 I)$, where $\sigma$ is a standard
deviation; masking noise, S3's "set random elements to zero", each with probability $q$ and without asking the others;
and S1's blur, a mean of the neighbours with Gaussian weights:

$$ \tilde x = x + \sigma \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I), \tag{2} $$
$$ \tilde x_i = m_i x_i, \qquad P(m_i = 0) = q, \quad P(m_i = 1) = 1 - q, \tag{3} $$
$$ \tilde x = B x B^\top, \qquad B_{ij} = \frac{e^{-(i - j)^2 / 2 s^2}}{\sum_k e^{-(i - k)^2 / 2 s^2}}. \tag{4} $$

Masking looks like dropout on the first layer (S3). Dropout also divides what remains by $1 - q$, and is a means to
learn something else; here the missing entries are what is asked for. Blur draws nothing. It can be undone in
principle, since $B$ has an inverse; but that inverse enlarges rounding errors beyond all measure, and what the network
does instead is to know strokes.

**What the best denoiser is.** Among all functions, (1) with the squared error is least for the conditional mean
$r(\tilde x) = \mathbb E[x | \tilde x]$; with the cross-entropy too, since $-x \log \hat x - (1 - x) \log(1 - \hat x)$
is linear in $x$, and its mean over $x$ is least where $\hat x$ is the mean of $x$. If there were no other images than
$x_1, \dots, x_N$, all equally likely, Bayes' rule would give it:

$$ \mathbb E[x|\tilde x] = \sum_{j=1}^{N} w_j x_j, \qquad
   w_j = \frac{C(\tilde x | x_j)}{\sum_{k} C(\tilde x | x_k)}. \tag{5} $$

On the training set nothing beats (5); on new images it can only offer old ones. Given enough examples, a network does
better there (the demo's picture of MNIST), since it has learnt strokes and not images.

**For Gaussian noise the mean is a slope.** Let
$p_\sigma(\tilde x) = \int \mathcal N(\tilde x; x, \sigma^2 I)\, p(x)\, dx$ be the density of the noisy images. The
slope of the Gaussian in $\tilde x$ is the Gaussian times $(x - \tilde x) / \sigma^2$. Under the integral this gives
$\nabla p_\sigma(\tilde x) = p_\sigma(\tilde x)\, (\mathbb E[x | \tilde x] - \tilde x) / \sigma^2$, and so
(Robbins 1956, who credits Tweedie; Miyasawa 1961)

$$ \mathbb E[x|\tilde x] = \tilde x + \sigma^2\, \nabla \log p_\sigma(\tilde x). \tag{6} $$

The best denoiser goes uphill on the log-density of noisy images, by $\sigma^2$ times the slope. It holds for every $p$
and every $\sigma$. Read from right to left it says that a network that has learnt to remove noise has learnt how a
density rises, though nobody has written one down:

$$ \nabla \log p_\sigma(\tilde x) \approx \frac{r(\tilde x) - \tilde x}{\sigma^2}, \tag{7} $$

the *score*. (It is the score of $p_\sigma$, not of $p$; they meet as $\sigma \to 0$.) For a mixture of Gaussians,
$p(x) = \sum_k \pi_k\, \mathcal N(x; \mu_k, \Sigma_k)$, everything is known. Adding noise adds $\sigma^2 I$ to each
$\Sigma_k$, and within a component the mean of $x$ is linear in $\tilde x$:

$$ \mathbb E[x|\tilde x] = \sum_k w_k(\tilde x)
   \left[ \mu_k + \Sigma_k (\Sigma_k + \sigma^2 I)^{-1} (\tilde x - \mu_k) \right], \tag{8} $$

where $w_k(\tilde x)$ is the probability of component $k$ under $p_\sigma$. With one component this is Wiener's filter:
in the direction of a principal component with variance $\lambda$ it keeps a share $\lambda / (\lambda + \sigma^2)$.
That is the best that a *linear* denoiser (with a constant) can do for any $p$ with this mean and covariance.

**Noise as a penalty.** Why does it keep a wide code from copying? Take a linear $r(\tilde x) = W \tilde x$. Over the
noise, the mixed term vanishes in the mean, and

$$ \mathbb E_\varepsilon \lVert x - W(x + \sigma \varepsilon) \rVert^2
   = \lVert x - W x \rVert^2 + \sigma^2 \lVert W \rVert_F^2. \tag{9} $$

Copying, $W = I$, costs $\sigma^2$ for each of the entries of $x$. This is ridge regression of the image on itself
(S3: "regularization").

**How good is it?** Pictures with values from 0 to 1 are compared by the peak signal-to-noise ratio, sounds by the
ratio of their power to the power of what is wrong, both in decibels (+10 dB is a tenth of the error):

$$ \mathrm{PSNR}(x, \hat x) = 10 \log_{10} \frac{1}{\frac1n \lVert x - \hat x \rVert^2}, \tag{10} $$
$$ \mathrm{SNR}(x, \hat x) = 10 \log_{10} \frac{\lVert x \rVert^2}{\lVert x - \hat x \rVert^2}. \tag{11} $$

What a denoiser has won is the difference between the ratio of $\hat x = r(\tilde x)$ and that of $\tilde x$ itself.

Notation
--------
$x, \tilde x, \hat x$ : `x`, `x_tilde`, `x_hat`, (b, ...)
$C$ : `corruption`, a function of (x, rng); $\sigma, q, s$ : `sigma`, `q`, `width`
$r$ : `denoise`; $f, g$ : `encoder`, `decoder`
$B$ : `blur_matrix`, (n, n); $W$ : `W`, (n, n)
$x_j, w_j$ : `examples`, (n, d), and their weights, (b, n)
$\pi_k, \mu_k, \Sigma_k$ : `mixture.weights`, `mixture.means`, `mixture.covariances`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn
from tinygen.backend import arrays as backend
from tinygen.backend.random import Generator
from tinygen.data import Mixture
from tinygen.models.autoencoder.autoencoder import Autoencoder
from tinygen.nn import functional as F

Corruption = Callable[[Any, Generator], Any]  # raw images (b, ...), on the Generator's device, to corrupted ones

# ---- the corruptions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianNoise:
    r"""(2): $\tilde x = x + \sigma \varepsilon$; `sigma` is the standard deviation."""

    sigma: float

    def __post_init__(self):
        if not 0 < self.sigma < np.inf:
            raise ValueError(f"GaussianNoise: sigma is {self.sigma!r}; a positive standard deviation is wanted")

    def __call__(self, x, rng: Generator):
        return x + rng.normal(x.shape, std=self.sigma, dtype=str(x.dtype))

    def log_density(self, x_tilde, x):
        r"""$\log C(\tilde x_i | x_j)$ up to a constant, for all pairs; (b, d), (n, d) to (b, n)."""
        squares = [tg.sum(tg.square(a), 1) for a in (x_tilde, x)]
        distance = squares[0][:, None] - 2 * tg.matmul(x_tilde, x.T) + squares[1]
        return -tg.maximum(distance, 0.0) / (2 * self.sigma**2)


@dataclass(frozen=True)
class Masking:
    """(3): each entry is set to zero with probability q."""

    q: float

    def __post_init__(self):
        if not 0 < self.q < 1:
            raise ValueError(f"Masking: q is {self.q!r}; a probability between 0 and 1 is wanted")

    def __call__(self, x, rng: Generator):
        return x * rng.bernoulli(1 - self.q, x.shape, dtype=x.dtype)


@dataclass(frozen=True)
class Blur:
    """(4): a mean over neighbours, on images of this height and width, flat or not; `width` is s, in pixels."""

    width: float
    shape: tuple[int, int]

    def __post_init__(self):
        if not self.width > 0:
            raise ValueError(f"Blur: width is {self.width!r}; a positive number of pixels is wanted")

    def __call__(self, x, rng: Generator):
        xp, (h, w) = backend.array_module(x), self.shape
        rows, columns = (blur_matrix(n, self.width, x) for n in (h, w))
        return xp.matmul(xp.matmul(rows, x.reshape(-1, h, w)), columns.T).reshape(x.shape)


def blur_matrix(n: int, width: float, like):
    """(4): the matrix B, in the dtype and on the device of the raw array `like`: (n, n)."""
    xp = backend.array_module(like)
    i = xp.arange(n, dtype=like.dtype)
    weights = xp.exp(-((i[:, None] - i) ** 2) / (2 * width**2))
    return weights / weights.sum(1, keepdims=True)


# ---- the best denoiser ----------------------------------------------------------------------------------


def mean_of_examples(log_c, examples):
    r"""(5): $\sum_j w_j x_j$ from $\log C(\tilde x_i | x_j)$, up to a constant for each i; (b, n), (n, d) to (b, d)."""
    return tg.matmul(F.softmax(log_c, 1), examples)


def tweedie(log_p: Callable[[Any], Any], x_tilde, sigma: float):
    r"""(6): $\tilde x + \sigma^2 \nabla \log p_\sigma(\tilde x)$; raw (b, d) to raw (b, d).

    log_p : $\log p_\sigma$, from Tensors (b, d) to (b,)
    """
    leaf = tg.tensor(x_tilde, requires_grad=True)
    return leaf.data + sigma**2 * tg.grad(tg.sum(log_p(leaf)), leaf).data


def score_estimate(x_tilde, x_hat, sigma: float):
    r"""(7): $(r(\tilde x) - \tilde x) / \sigma^2$; (b, d) twice to (b, d)."""
    return (x_hat - x_tilde) / sigma**2


def mixture_denoiser(mixture: Mixture, x_tilde: np.ndarray, sigma: float) -> np.ndarray:
    r"""(8): $\mathbb E[x|\tilde x]$ for a mixture of Gaussians; (b, d) to (b, d), on the host."""
    wide = noisy(mixture, sigma)
    w = np.exp(wide.log_joint(x_tilde) - wide.log_density(x_tilde)[:, None])  # (b, k)
    gain = mixture.covariances @ np.linalg.inv(wide.covariances)  # (k, d, d)
    within = mixture.means + np.einsum("kij,bkj->bki", gain, x_tilde[:, None] - mixture.means)  # (b, k, d)
    return np.einsum("bk,bkd->bd", w, within)


def noisy(mixture: Mixture, sigma: float) -> Mixture:
    r"""$p_\sigma$: the mixture with $\Sigma_k + \sigma^2 I$."""
    return Mixture(mixture.weights, mixture.means, mixture.covariances + sigma**2 * np.eye(mixture.means.shape[1]))


def wiener(x: np.ndarray, x_tilde: np.ndarray, sigma: float) -> np.ndarray:
    """(8) with one component that has the mean and covariance of x; (n, d), (b, d) to (b, d), on the host.

    The best linear denoiser, whatever the law of x is.
    """
    x = np.asarray(x, np.float64)
    covariance = np.cov(x.T, bias=True) + 1e-9 * np.eye(x.shape[1])  # pixels that are always black have none
    return mixture_denoiser(Mixture([1.0], x.mean(0, keepdims=True), covariance[None]), x_tilde, sigma)


def linear_loss(W, x, sigma: float):
    r"""(9): $\lVert x - W x \rVert^2 + \sigma^2 \lVert W \rVert_F^2$; (d, d), (b, d) to (b,)."""
    return tg.sum(tg.square(x - tg.matmul(x, tg.transpose(W))), 1) + sigma**2 * tg.sum(tg.square(W))


# ---- how good it is -------------------------------------------------------------------------------------


def psnr(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    r"""(10), in decibels, for images in [0, 1]: (b, ...) twice to (b,), on the host."""
    return -10 * np.log10(np.mean(np.square(x - x_hat).reshape(len(x), -1), axis=1))


def snr(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    r"""(11), in decibels: (b, ...) twice to (b,), on the host."""
    power, error = (np.sum(np.square(a).reshape(len(x), -1), axis=1) for a in (x, x - x_hat))
    return 10 * np.log10(power / error)


# ---- the model ------------------------------------------------------------------------------------------


class DenoisingAutoencoder(Autoencoder):
    r"""An autoencoder that is shown corrupted images and must give back the clean ones.

    `transform`, `reconstruct` and `errors` take images as they are; `denoise` takes corrupted ones.

    Parameters
    ----------
    encoder, decoder, shape, loss, lr, schedule, rng : as of `Autoencoder`
    corruption : $C$, such as `Masking(0.25)`: a function of raw images (b, *shape) and the Generator to draw from

    Examples
    --------
    >>> from tinygen.models.autoencoder import fully_connected
    >>> from tinygen.runs import Run
    >>> rng = tg.random.Generator(0)
    >>> dae = DenoisingAutoencoder(fully_connected(6, 9, rng=rng, last=True), fully_connected(9, 6, rng=rng), 6,
    ...                            corruption=GaussianNoise(0.5), rng=rng)
    >>> x = rng.uniform((20, 6))
    >>> x_tilde = dae.fit(x, steps=3, run=Run(quiet=True)).corrupt(x)
    >>> x_tilde.shape, dae.denoise(x_tilde).shape
    ((20, 6), (20, 6))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: int | tuple[int, ...], *, corruption: Corruption,
                 loss: str = "squared", lr: float = 1e-3, schedule: Callable[[int], float] | None = None,
                 rng: Generator | None = None):  # fmt: skip
        super().__init__(encoder, decoder, shape, loss=loss, lr=lr, schedule=schedule, rng=rng)
        if not callable(corruption):
            raise ValueError(f"{type(self).__name__}: corruption is {corruption!r}; a function of images and a "
                             "Generator is wanted, such as Masking(0.25)")  # fmt: skip
        self.corruption = corruption

    def corrupted(self, x, rng: Generator):
        r"""$\tilde x \sim C(\cdot|x)$: raw (b, *shape) to (b, *shape). What stands in (1) in the place of x."""
        return self.corruption(x, rng)

    def corrupt(self, x: np.ndarray, *, rng: Generator | None = None) -> np.ndarray:
        r"""$\tilde x$ for images: (n, *shape) to (n, *shape); drawn from `rng`, or else from the model's own."""
        return backend.to_numpy(self.corrupted(self.checked(x), rng or self.rng))

    def denoise(self, x_tilde: np.ndarray) -> np.ndarray:
        r"""$r(\tilde x)$: corrupted images (n, *shape), in any range, to (n, *shape)."""
        return self._in_parts(lambda part: self._image(self.encoder(part)), self.shaped(x_tilde))

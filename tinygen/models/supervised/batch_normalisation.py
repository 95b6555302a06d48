r"""Batch normalisation (Ioffe and Szegedy 2015; S2 §3.3; S3 part 5): every unit in its own units.

What a layer passes on grows or fades from layer to layer, and with it the gradients that come back; and whenever one
layer learns, the next finds its inputs moved and stretched. Batch normalisation measures each feature over the
minibatch,

$$ \mu_j = \frac1n \sum_{i=1}^n x_{ij}, \qquad s_j^2 = \frac1n \sum_{i=1}^n (x_{ij} - \mu_j)^2, \tag{1} $$

passes it on in these units, and lets the network choose mean and size again, now as parameters of their own:

$$ \hat x_{ij} = \frac{x_{ij} - \mu_j}{\sqrt{s_j^2 + \epsilon}}, \qquad
   y_{ij} = \gamma_j \hat x_{ij} + \beta_j. \tag{2} $$

To answer for a single example there is no batch. So each training batch also moves running statistics, which take
over after training ($s^2$ made unbiased, as in PyTorch):

$$ \bar\mu \leftarrow (1 - \rho) \bar\mu + \rho \mu, \qquad
   \bar s^2 \leftarrow (1 - \rho) \bar s^2 + \rho\, \tfrac{n}{n - 1} s^2. \tag{3} $$

**The gradient.** $\mu$ and $s$ depend on every example, and this is not to be forgotten on the way back. Whatever would
shift all examples alike, or stretch them, changes nothing, and so is taken out of the gradient:

$$ \bar x_{ij} = \frac{\gamma_j}{\sqrt{s_j^2 + \epsilon}} \left(\bar y_{ij} - \frac1n \sum_k \bar y_{kj}
   - \hat x_{ij}\, \frac1n \sum_k \bar y_{kj} \hat x_{kj}\right). \tag{4} $$

The engine finds this by itself from (1) and (2), and the second derivative too, which gradient penalties need.

**Why it helps.** Behind a linear map, the map's scale no longer matters (with $\epsilon = 0$ and $c > 0$):

$$ \mathrm{BN}(x\, (c W)) = \mathrm{BN}(x W), \qquad
   \nabla_{c W} C = \tfrac1c \nabla_W C, \qquad \langle W, \nabla_W C \rangle = 0. \tag{5} $$

No layer can make the signal explode or vanish. The gradient is at right angles to $W$, so that every plain step
lengthens it, and the longer it is the smaller the gradient: a rate that is too high cures itself. Hence the high
learning rates, and the deep networks, that train with it and not without it. Each example is also seen in ever new
company, a noise that works against over-fitting. (The authors' own reason, less "internal covariate shift", has not
held up well: Santurkar et al. 2018.)

**Real and fake batches** (S3 part 5). A discriminator is shown real images and generated ones. With one set of running
statistics for both, (3) hovers about those of the mixture,

$$ \mu = \tfrac12 (\mu_r + \mu_f), \qquad
   s^2 = \tfrac12 (s_r^2 + s_f^2) + \tfrac14 (\mu_r - \mu_f)^2, \tag{6} $$

up to the last term, which (3) misses when every batch is of one kind; so that what was standardised in training is
neither centred nor of size 1 afterwards. And in *one* batch of both kinds, the answer to a real image depends on the
fake ones beside it: the gradient of the real images' loss reaches the generator. S3's advice: one set of statistics
for each kind. ($\gamma$ and $\beta$ stay common: a discriminator that has other parameters for fakes need not look at
them.) The better cure, a fixed reference batch (virtual batch normalisation), is `nn.VirtualBatchNorm`.

Notation
--------
$x, \hat x, y$ : `x`, `x_hat`, `y`, (n, d)
$\mu, s^2$ : `mu`, `var`, (d,); $\bar\mu, \bar s^2$ : the buffers `mean_NAME`, `var_NAME` of each population
$\gamma, \beta, \epsilon, \rho$ : `gamma`, `beta`, `eps`, `momentum`
"""

from __future__ import annotations

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend.random import Generator
from tinygen.models.supervised.classifier import Classifier

# ---- the equations ----------------------------------------------------------------------------------------------


def moments(x):
    r"""(1): $\mu$ and $s^2$ of each feature; (n, d) to (d,), (d,)."""
    mu = tg.mean(x, 0)
    return mu, tg.mean(tg.square(x - mu), 0)


def standardise(x, mu, var, *, eps=1e-5):
    r"""(2), first half: $\hat x = (x - \mu) / \sqrt{s^2 + \epsilon}$."""
    return (x - mu) / tg.sqrt(var + eps)


def batch_norm(x, gamma, beta, *, eps=1e-5):
    r"""(1) and (2): $\gamma \hat x + \beta$; (n, d), (d,), (d,) to (n, d)."""
    return gamma * standardise(x, *moments(x), eps=eps) + beta


def batch_norm_back(y_bar, x, gamma, *, eps=1e-5):
    r"""(4): $\bar x$ from $\bar y$, by hand; (n, d), (n, d), (d,) to (n, d)."""
    mu, var = moments(x)
    x_hat = standardise(x, mu, var, eps=eps)
    inner = y_bar - tg.mean(y_bar, 0) - x_hat * tg.mean(y_bar * x_hat, 0)
    return gamma / tg.sqrt(var + eps) * inner


def followed(running, new, momentum: float):
    r"""(3): $(1 - \rho)\, \bar\mu + \rho\, \mu$, and likewise for $s^2$."""
    return (1 - momentum) * running + momentum * new


def mixed_moments(mu_r, var_r, mu_f, var_f):
    r"""(6): $\mu$ and $s^2$ of equally many real and fake examples."""
    return (mu_r + mu_f) / 2, (var_r + var_f) / 2 + tg.square(mu_r - mu_f) / 4


# ---- the layer --------------------------------------------------------------------------------------------------


class BatchNorm(nn.Module):
    r"""Batch normalisation of (n, d), (1) to (3), with statistics for one population or several.

    Parameters
    ----------
    n_features : d
    populations : names; each has running statistics of its own, and all share $\gamma$ and $\beta$
    momentum : $\rho$
    eps : $\epsilon$

    Examples
    --------
    >>> norm = BatchNorm(2, populations=("real", "fake"))
    >>> x = tg.random.Generator(0).normal((50, 2)) + 3
    >>> y = norm(x, "fake")
    >>> bool(abs(y.numpy().mean()) < 1e-6), norm.mean_real.tolist()
    (True, [0.0, 0.0])
    """

    def __init__(self, n_features: int, *, populations: tuple[str, ...] = ("all",), momentum: float = 0.1,
                 eps: float = 1e-5):  # fmt: skip
        self.populations, self.momentum, self.eps = populations, momentum, eps
        self.gamma = tg.ones(n_features, requires_grad=True)
        self.beta = tg.zeros(n_features, requires_grad=True)
        for name in populations:
            self.register_buffer(f"mean_{name}", tg.zeros(n_features))
            self.register_buffer(f"var_{name}", tg.ones(n_features))

    def forward(self, x, population: str | None = None):
        """(2), by the batch's own moments in training, else by the running ones of its population."""
        name = self.populations[0] if population is None else population
        if name not in self.populations:
            raise ValueError(f"BatchNorm: population must be one of {', '.join(self.populations)}, got {name!r}")
        if self.training and len(x) < 2:
            raise ValueError("BatchNorm: a batch of 2 or more is wanted in training, got 1 (after eval() any will do)")
        if self.training:
            mu, var = moments(x)
            self._follow(name, mu, var, len(x))
        else:
            mu, var = getattr(self, f"mean_{name}"), getattr(self, f"var_{name}")
        return self.gamma * standardise(x, mu, var, eps=self.eps) + self.beta

    def _follow(self, name: str, mu, var, n: int) -> None:
        """(3)."""
        with tg.no_grad():
            for kind, new in (("mean", mu), ("var", var * (n / (n - 1)))):
                running = getattr(self, f"{kind}_{name}")
                running.assign(followed(running, new, self.momentum))


# ---- the model --------------------------------------------------------------------------------------------------


class Hidden(nn.Module):
    """A linear map, (1) and (2) or not, relu: (b, n) to (b, m)."""

    def __init__(self, n: int, m: int, *, normalise: bool, scale: float, rng: Generator):
        self.linear = nn.Linear(n, m, rng=rng)
        self.linear.weight.assign(rng.normal((m, n), 0.0, scale * (2 / n) ** 0.5))
        self.norm = BatchNorm(m) if normalise else None

    def forward(self, x):
        a = self.linear(x)
        return tg.relu(a if self.norm is None else self.norm(a))


class NormalisedNet(Classifier):
    r"""A feed-forward classifier with batch normalisation before every relu, or, to compare, without.

    Parameters
    ----------
    sizes : the length of an input, the hidden layers' widths, the number of classes
    normalise : whether to normalise
    scale : the weights start normal with variance `scale`$^2 \cdot 2/n$, n inputs: at 1, relu layers keep a signal's
        size on average (He et al. 2015)
    lr : rate of the stochastic gradient descent
    rng : the Generator of the weights and the minibatches; None takes fresh entropy

    Examples
    --------
    >>> net = NormalisedNet(4, 8, 3, rng=tg.random.Generator(0))
    >>> net.predict(tg.random.Generator(1).normal((5, 4))).shape
    (5,)
    """

    def __init__(self, *sizes: int, normalise: bool = True, scale: float = 1.0, lr: float = 0.1,
                 rng: Generator | None = None):  # fmt: skip
        if len(sizes) < 2:
            raise ValueError(f"NormalisedNet: two sizes or more are wanted, got {sizes}")
        self.n_features = sizes[0]
        self.rng = Generator() if rng is None else rng
        pairs = zip(sizes[:-2], sizes[1:-1], strict=True)
        self.body = nn.Sequential(*[Hidden(n, m, normalise=normalise, scale=scale, rng=self.rng) for n, m in pairs])
        self.head = nn.Linear(sizes[-2], sizes[-1], rng=self.rng)
        self.to(self.rng.device)
        self.optimizer = optim.SGD(self.parameters(), lr)

    def forward(self, x):
        """Inputs (b, features) to logits (b, classes)."""
        return self.head(self.body(x))

    def hidden(self, x) -> list:
        """What every hidden layer passes on, (b, width) each."""
        values = []
        for layer in self.body:
            x = layer(x)
            values.append(x)
        return values

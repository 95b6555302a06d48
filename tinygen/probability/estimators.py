r"""Four ways to estimate the gradient of an expectation from draws.

Learning descends an expectation of which only draws can be had. Where the parameter $\theta$ stands decides what
can be done.

In the *integrand*: the draws do not know $\theta$, and the derivative passes through the mean (S0's proposition,
which is what makes stochastic gradient descent work):

$$ \nabla_\theta\, \mathbb{E}_x\, \ell(x, \theta) = \mathbb{E}_x\, \nabla_\theta\, \ell(x, \theta). \tag{1} $$

In the *law*: a change of $\theta$ changes where the draws fall. Either write the draw as a function of noise (S1, S3
and S4, for the variational autoencoder), or weigh each draw by how its probability changes (the score function,
REINFORCE; beyond the documents), which needs neither a derivative of f nor a continuous x:

$$ \nabla_\theta\, \mathbb{E}_{x \sim p_\theta} f(x)
   = \mathbb{E}_\varepsilon\, \nabla_\theta f(T(\theta, \varepsilon)), \tag{2} $$
$$ \nabla_\theta\, \mathbb{E}_{x \sim p_\theta} f(x)
   = \mathbb{E}_x\, \bigl(f(x) - b\bigr)\, \nabla_\theta \log p_\theta(x). \tag{3} $$

The baseline b may be anything that does not know x, because $\mathbb{E}\, \nabla \log p = 0$ (where the support does
not move with $\theta$: for a uniform law on $(0, \theta)$ neither this nor (3) holds); the mean of f over the *other*
draws is free, and removes most of the noise.

*Nowhere that can be differentiated* (S1: estimate the direction by random perturbations): shake $\theta$ itself. With
$\varepsilon \sim N(0, I)$, in pairs that cancel what is even in $\varepsilon$,

$$ \nabla_\theta\, \mathbb{E}_\varepsilon f(\theta + s \varepsilon)
   = \mathbb{E}_\varepsilon\, \frac{f(\theta + s \varepsilon) - f(\theta - s \varepsilon)}{2 s}\,
   \varepsilon, \tag{4} $$

the gradient of f blurred by s, exactly; of f itself in the limit of small s. Its noise grows with the dimension.

All are unbiased, (2) for an f without jumps and (3) for a support that stays where it is. They differ in what they
ask for and in their variance, so each function gives the estimates of *single* draws, (n, ...): their mean is the
estimate, their spread over $\sqrt n$ its error. To have them in one backward pass, every draw gets a copy of $\theta$
of its own, a row of (n, ...), and what is differentiated is a sum in which each row appears once.

Notation
--------
$\theta$ : `theta`;  $p_\theta$ : `law`, a function of the rows (n, ...) that gives a law of batch_shape (n,)
"""

from __future__ import annotations

from collections.abc import Callable

import tinygen.autograd as tg
from tinygen.autograd import Tensor
from tinygen.probability.distribution import Distribution


def through_data(loss: Callable, theta: Tensor, x: Tensor) -> Tensor:
    r"""(1): $\nabla_\theta\, \ell(x_i, \theta)$ for each of n data.

    Parameters
    ----------
    loss : `loss(x, rows)`, from n data and n rows of parameters to (n,) values
    """
    rows = _rows(theta, len(x))
    return _each(loss(x, rows), rows)


def through_draws(law: Callable[[Tensor], Distribution], f: Callable, theta: Tensor, samples: int, *, rng) -> Tensor:
    """(2), the reparameterised estimate: n single-draw gradients, (n, ...).

    Parameters
    ----------
    f : from n draws to (n,) values, differentiable
    """
    rows = _rows(theta, samples)
    return _each(f(law(rows).rsample(rng=rng)), rows)


def through_score(
    law: Callable[[Tensor], Distribution], f: Callable, theta: Tensor, samples: int, *, rng, baseline: bool = True
) -> Tensor:
    """(3), the score function: n single-draw gradients, (n, ...).

    Parameters
    ----------
    f : from n draws to (n,) values, of any kind
    baseline : subtract from each value the mean of the others
    """
    if samples < 2 and baseline:
        raise ValueError(f"through_score: samples is {samples}; at least 2 are wanted, for a baseline")
    rows = _rows(theta, samples)
    here = law(rows)
    x = here.sample(rng=rng)
    with tg.no_grad():
        value = f(x).detach()
        if baseline:  # f_i - (sum of the others) / (n - 1)
            value = (value - tg.mean(value)) * (samples / (samples - 1))
    return _each(value * here.log_prob(x), rows)


def through_perturbation(f: Callable, theta: Tensor, samples: int, *, scale: float = 0.1, rng) -> Tensor:
    """(4), random perturbations: n estimates from a pair of values each, (n, ...); nothing is differentiated.

    Parameters
    ----------
    f : from rows of parameters (n, ...) to (n,) values, of any kind
    scale : s, how far to shake
    """
    if scale <= 0:
        raise ValueError(f"through_perturbation: scale is {scale}; a positive number is wanted")
    with tg.no_grad():
        noise = Tensor(rng.normal((samples, *theta.shape), dtype=theta.dtype), None)
        slope = (f(theta + scale * noise) - f(theta - scale * noise)) / (2 * scale)  # (n,)
        return tg.reshape(slope, (samples,) + (1,) * theta.ndim) * noise


def _rows(theta: Tensor, n: int) -> Tensor:
    """A copy of theta for each draw, (n, ...)."""
    return tg.tensor(tg.broadcast_to(theta.detach(), (n, *theta.shape)), requires_grad=True)


def _each(values: Tensor, rows: Tensor) -> Tensor:
    """The gradient of each value by its own row."""
    if values.shape != rows.shape[:1]:
        raise ValueError(f"one value for each of the {rows.shape[0]} draws is wanted, got shape {values.shape} "
                         "(sum over the event, not over the draws)")  # fmt: skip
    return tg.grad(tg.sum(values), rows)

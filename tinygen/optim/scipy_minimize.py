r"""SciPy's optimisers on our parameters: where the loss is the same at every step, they are hard to beat.

`scipy.optimize.minimize` knows one vector $v$, a value $L(v)$, its gradient and, for Newton's methods, products of
the Hessian with a vector. Here $v$ holds all parameters end to end,

$$ v = (\mathrm{vec}\,\theta_1, \dots, \mathrm{vec}\,\theta_k), \tag{1} $$

the gradient comes from one walk back, and the product from a second one through it,

$$ \nabla^2 L(v)\, u = \nabla \langle \nabla L(v), u \rangle, \tag{2} $$

so that the matrix itself is never formed. Use it with all data at once and float64 parameters: on a noisy loss, or
with float32's coarse differences, line searches fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import scipy.optimize

import tinygen.autograd as tg
from tinygen.autograd import Tensor


def minimize(loss: Callable[[], Tensor], params: Iterable[Tensor], *, method: str = "L-BFGS-B", hvp: bool = False,
             tol: float | None = None, options: dict[str, Any] | None = None) -> Any:  # fmt: skip
    """Minimise a loss over parameters, which are left at the best place found.

    Parameters
    ----------
    loss : computes the loss from the parameters' present values: a Tensor with one element
    params : leaf Tensors with requires_grad
    method : any of SciPy's that uses a gradient: "L-BFGS-B", "BFGS", "CG", "Newton-CG", "trust-ncg", ...
    hvp : whether to give the method products with the Hessian (2), which "Newton-CG", "trust-ncg", "trust-krylov" and
        "trust-constr" use ("dogleg" and "trust-exact" want the matrix itself)
    tol, options : SciPy's own

    Returns
    -------
    SciPy's result: `x` the vector (1), `fun`, `success`, `message`, `nit`, ...

    Examples
    --------
    >>> x = tg.tensor(np.zeros(2), requires_grad=True)
    >>> minimize(lambda: tg.sum(tg.square(x - np.array([1.0, 2.0]))), [x]).x.round(6)
    array([1., 2.])
    """
    params = list(params)
    start = flat(params)

    def value_and_gradient(v: np.ndarray) -> tuple[float, np.ndarray]:
        place(v, params)
        value = loss()
        return value.item(), flat(_gradients(value, params))

    def product(v: np.ndarray, u: np.ndarray) -> np.ndarray:
        place(v, params)
        return hessian_product(loss(), params, u)

    try:
        result = scipy.optimize.minimize(value_and_gradient, start, jac=True, method=method, tol=tol,
                                         options=options, hessp=product if hvp else None)  # fmt: skip
    except BaseException:  # from the loss, say: the parameters do not stay at a place that was only tried
        place(start, params)
        raise
    place(result.x, params)
    return result


def hessian_product(value: Tensor, params: list[Tensor], u: np.ndarray) -> np.ndarray:
    """(2): the second derivatives of a loss, times a vector."""
    slopes = _gradients(value, params, create_graph=True)
    along = [tg.sum(g * tg.tensor(part, dtype=p.dtype, device=p.device))
             for g, part, p in zip(slopes, _parts(u, params), params, strict=True)]  # fmt: skip
    total = tg.sum(tg.stack(along))
    if not total.requires_grad:  # the loss is linear
        return np.zeros_like(u)
    return flat(_gradients(total, params))


def flat(tensors: Sequence[Tensor]) -> np.ndarray:
    """(1): all entries end to end, float64, on the host."""
    return np.concatenate([t.numpy().ravel() for t in tensors]).astype(np.float64)


def place(v: np.ndarray, params: Sequence[Tensor]) -> None:
    """The inverse of `flat`: give the parameters their parts of a vector."""
    for p, part in zip(params, _parts(v, params), strict=True):
        p.assign(part)


def _parts(v: np.ndarray, params: Sequence[Tensor]) -> list[np.ndarray]:
    """A vector cut into arrays of the parameters' shapes."""
    sizes = [p.size for p in params]
    if v.shape != (sum(sizes),):
        raise ValueError(f"place: v has shape {v.shape}; the parameters have {sum(sizes)} entries")
    return [part.reshape(p.shape) for part, p in zip(np.split(v, np.cumsum(sizes)[:-1]), params, strict=True)]


def _gradients(value: Tensor, params: list[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """The gradient by each parameter; zeros for one that the value does not depend on."""
    found = tg.grad(value, params, create_graph=create_graph, allow_unused=True)
    return [tg.zeros_like(p) if g is None else g for g, p in zip(found, params, strict=True)]

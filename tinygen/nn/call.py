r"""A module as a function of its parameters.

A module computes $f(x; \theta)$ with the $\theta$ it holds. `functional_call` computes it with another one, which may
be the result of a computation: unrolled GANs, for instance, play against the discriminator that would be there
after $k$ steps, $\theta_k = \theta - \eta \sum_j \nabla L(\theta_j)$, and differentiate through these steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygen.autograd import Tensor
from tinygen.nn.module import Module


def functional_call(module: Module, params: Mapping[str, Tensor], *args: Any, **options: Any) -> Any:
    """`module(*args, **options)` with the given Tensors in place of its parameters and buffers of these paths.

    Gradients of any order flow to the given Tensors; what is not given stays as it is. The module has its own
    Tensors back when the call is over, however it ends. Running means are updated as in any call: give copies of
    the buffers too where that is not wanted. A `checkpoint` goes around this call, not inside the module: what it runs
    again on the way back would find the module's own Tensors there.

    Examples
    --------
    >>> import tinygen as tg
    >>> from tinygen import nn
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> w = tg.tensor([[2.0, 3.0]], requires_grad=True)
    >>> y = nn.functional_call(layer, {"weight": w}, tg.ones((1, 2)))
    >>> y.item(), tg.grad(y, w).tolist()
    (5.0, [[1.0, 1.0]])
    """
    own = dict(module._entries("parameter", "buffer"))
    instead: dict[int, Tensor] = {}  # id of the Tensor that stands there -> what is to stand there
    for path, given in params.items():
        if path not in own:
            raise ValueError(f"functional_call: {type(module).__name__} has no parameter or buffer called {path!r}; "
                             f"it has {', '.join(own) or 'none'}")  # fmt: skip
        if not isinstance(given, Tensor):
            raise TypeError(f"functional_call: {path} must be a Tensor, got a {type(given).__name__}")
        if given.shape != own[path].shape:
            raise ValueError(f"functional_call: {path} has shape {given.shape}, in the module {own[path].shape}")
        if instead.setdefault(id(own[path]), given) is not given:
            raise ValueError(f"functional_call: {path} is shared with another path, for which another Tensor is given")
    places = [(vars(m), name, tensor) for m in module.modules() for kind in ("parameter", "buffer")
              for name, tensor in m._own(kind) if id(tensor) in instead]  # fmt: skip
    try:
        for attributes, name, tensor in places:
            attributes[name] = instead[id(tensor)]
        return module(*args, **options)
    finally:
        for attributes, name, tensor in places:
            attributes[name] = tensor

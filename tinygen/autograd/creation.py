"""Making Tensors: from arrays and numbers, and filled with constants. Floats are float32 unless said otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.autograd.tensor import Tensor, leaf_for
from tinygen.backend import arrays as backend


def tensor(array: Any, *, requires_grad: bool = False, device: str | None = None, dtype: Any = None) -> Tensor:
    """A Tensor with a copy of `array`.

    Parameters
    ----------
    array : an array or a Tensor (keeps its dtype and device), a number or nested lists (floats become float32)
    requires_grad : whether gradients by it will be asked for; needs a floating dtype
    device : "cpu", "cuda", "cuda:1"; by default where `array` is
    """
    array = array._data if isinstance(array, Tensor) else array
    if isinstance(array, list | tuple) and any(isinstance(a, Tensor) for a in array):
        raise TypeError("tensor: a list of Tensors is joined by tg.stack or tg.concatenate")
    if dtype is None and not backend.is_array(array):
        found = np.asarray(array).dtype
        dtype = np.float32 if found.kind == "f" else found
    data = backend.asarray(array, dtype, device, copy=True)
    if data.dtype.kind not in "fiub":
        raise TypeError(f"tensor: real numbers or booleans are wanted, got dtype {data.dtype}")
    return Tensor(data, leaf_for(data) if requires_grad else None)


def zeros(shape, *, dtype="float32", device="cpu", requires_grad=False) -> Tensor:
    """Zeros of a shape (an integer or a tuple)."""
    return full(shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(shape, *, dtype="float32", device="cpu", requires_grad=False) -> Tensor:
    """Ones of a shape (an integer or a tuple)."""
    return full(shape, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def full(shape, fill_value, *, dtype="float32", device="cpu", requires_grad=False) -> Tensor:
    """One number all over a shape (an integer or a tuple)."""
    data = backend.full(shape, fill_value, dtype, device)
    return Tensor(data, leaf_for(data) if requires_grad else None)


def zeros_like(x, *, requires_grad=False) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    x = as_tensor(x)
    return zeros(x.shape, dtype=x.dtype, device=x.device, requires_grad=requires_grad)


def ones_like(x, *, requires_grad=False) -> Tensor:
    """Ones of x's shape, dtype and device."""
    x = as_tensor(x)
    return ones(x.shape, dtype=x.dtype, device=x.device, requires_grad=requires_grad)


def eye(n, m=None, *, dtype="float32", device="cpu") -> Tensor:
    """Ones on the diagonal of an n × m matrix (n × n by default)."""
    return Tensor(backend.asarray(np.eye(n, m, dtype=dtype), device=device))


def arange(start, stop=None, step=1, *, dtype=None, device="cpu") -> Tensor:
    """start, start + step, ... before stop; 0, 1, ... before the only argument. Floats are float32."""
    start, stop = (0, start) if stop is None else (start, stop)
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = np.float32
    return Tensor(backend.asarray(np.arange(start, stop, step, dtype), device=device))  # type: ignore[call-overload]


def linspace(start, stop, num=50, *, dtype="float32", device="cpu") -> Tensor:
    """`num` numbers from start to stop, both included, at equal distances."""
    return Tensor(backend.asarray(np.linspace(start, stop, num, dtype=dtype), device=device))


def as_tensor(x: Any) -> Tensor:
    """x itself if it is a Tensor, else a Tensor on x's own memory (constant)."""
    return x if isinstance(x, Tensor) else Tensor(backend.asarray(x))


def from_dlpack(x: Any) -> Tensor:
    """A Tensor on the memory of another library's array (PyTorch, JAX, CuPy ...), without a copy."""
    return Tensor(backend.from_dlpack(x))

r"""The Tensor: an array that remembers where it came from.

A Tensor is an array (`_data`) and a node of the graph (`_node`): a Leaf when it was made and wants a gradient,
a Node when it was computed from such a leaf, None when nobody wants its gradient. Everything else is in the
functions; the methods below only spell them as NumPy does.

Values do not change behind the graph's back: `.data` is read-only (on NumPy), and only leaves and buffers
change, through `assign`, which optimisers and `load_state_dict` use. A leaf that changes says so, and a graph
that still holds its old value refuses to go back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygen.autograd.graph import GraphError, Leaf, Node, Part, mode
from tinygen.backend import arrays
from tinygen.backend.recording import entered, now

Axis = int | tuple[int, ...] | None

#: what `ndarray + Tensor` and its like come in as; other ufuncs are refused by name
_OPERATORS = {
    "add", "subtract", "multiply", "divide", "power", "matmul", "equal", "not_equal", "less", "less_equal",
    "greater", "greater_equal", "bitwise_and", "bitwise_or",
}  # fmt: skip


class Tensor:
    """An array with a memory. Made by `tinygen.tensor` and by the functions of this library."""

    __slots__ = ("_data", "_node", "_frozen", "__weakref__")
    __array_priority__ = 1000  # CuPy asks this before it tries to add a Tensor itself

    def __init__(self, data: Any, node: Leaf | Node | Part | None = None):
        self._data = data
        self._node = node

    # ---- what it is ------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The array: read-only on NumPy (use `assign` to change a leaf), the array itself on CuPy."""
        if not isinstance(self._data, np.ndarray):
            return self._data
        view = entered(self._data).view()
        view.flags.writeable = False
        return view

    @property
    def shape(self) -> tuple[int, ...]:
        """The length along each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """How many elements there are."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype:
        """The type of an element."""
        return self._data.dtype

    @property
    def device(self) -> str:
        """Where the array lives: "cpu", "cuda:0", ..."""
        return arrays.device_of(self._data)

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return transpose(self)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return swapaxes(self, -1, -2)

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can be asked for."""
        return self._node is not None

    @property
    def is_leaf(self) -> bool:
        """Whether this was made, not computed."""
        return self._node is None or type(self._node) is Leaf

    @property
    def grad(self) -> Tensor | None:
        """What `backward` has added up for this leaf; None before the first time."""
        return self._node.grad if type(self._node) is Leaf else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if type(self._node) is not Leaf:
            raise GraphError("grad belongs to leaves with requires_grad=True; for others use tg.grad(loss, [x])")
        if value is not None and not (
            isinstance(value, Tensor) and value.shape == self.shape and value.device == self.device
        ):
            raise ValueError(f"grad: None or a Tensor like {describe(self)} is wanted, got {describe(value)}")
        self._node.grad = value

    @property
    def name(self) -> str | None:
        """A leaf's name, shown by `explain` and in messages."""
        return self._node.name if type(self._node) is Leaf else None

    @name.setter
    def name(self, value: str | None) -> None:
        if type(self._node) is not Leaf:
            raise GraphError("only a leaf with requires_grad=True carries a name")
        self._node.name = value

    def __repr__(self) -> str:
        values = np.array2string(arrays.to_numpy(self._data), separator=", ", prefix="Tensor(")
        device = "" if self.device == "cpu" else f", device={self.device!r}"
        wants = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({values}, dtype={self.dtype}{device}{wants})"

    # ---- leaving the graph -----------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same values (and memory), without the memory of where they came from."""
        return Tensor(self._data, None)

    def numpy(self) -> np.ndarray:
        """A copy of the values as a NumPy array, from whichever device, recorded or not."""
        return entered(arrays.to_numpy(self._data)).copy()

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: a Tensor with one element is wanted, this one has shape {self.shape}")
        return entered(self._data).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return entered(self._data).tolist()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self._node is not None:
            raise GraphError("np.asarray of a Tensor with requires_grad would lose its gradient; "
                             "use x.numpy() for a copy of the values or x.detach()")  # fmt: skip
        if not isinstance(self._data, np.ndarray):
            raise arrays.DeviceError(f"np.asarray of a Tensor on {self.device}; use x.numpy(), which copies it")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if "out" in options:
            raise TypeError("an array cannot take a Tensor in place; write a = a + t")
        if method == "__call__" and not options and ufunc.__name__ in _OPERATORS:
            return globals()[ufunc.__name__](*inputs)
        raise TypeError(_refused(ufunc.__name__))

    def __array_function__(self, function, types, inputs, options):
        raise TypeError(_refused(function.__name__))

    def __dlpack__(self, **options):
        if self._node is not None:
            raise GraphError("__dlpack__: a recorded Tensor cannot be shared; use x.detach()")
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._data.__dlpack_device__()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"bool: a Tensor of shape {self.shape} is neither true nor false; use .any() or .all()")
        return bool(entered(self._data))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.size != 1:
            raise TypeError(f"an integer is wanted, this is a {self.dtype} Tensor of shape {self.shape}")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a 0-d Tensor has no length")
        return self.shape[0]

    def __iter__(self):
        if not self.shape:
            raise TypeError("iteration over a 0-d Tensor; use x.item() for its number")
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    def __reduce__(self):
        if not self.is_leaf:
            raise GraphError("only leaves are pickled and copied; this Tensor was computed (use x.detach())")
        return _restored, (self._data, self.requires_grad, self.name)

    # ---- gradients and changes -------------------------------------------------------------------------

    def backward(
        self, grad_output: Any = None, *, create_graph: bool = False, retain_graph: bool | None = None
    ) -> None:
        """Add the gradient of this Tensor by every leaf it depends on to that leaf's `.grad`."""
        from tinygen.autograd.walk import backward

        backward(self, grad_output, create_graph=create_graph, retain_graph=retain_graph)

    def assign(self, value: Any) -> None:
        """Give a leaf or a buffer new values of its own shape; its dtype and device stay.

        A leaf with `requires_grad` is overwritten in place, and graphs that hold the old value become unusable
        (they say so). Any other Tensor gets a new array, so older graphs keep the old one.
        """
        if not self.is_leaf:
            raise GraphError("assign: only leaves change; this Tensor was computed")
        if type(self._node) is Leaf or not mode.rewinding:
            new = arrays.asarray(
                value._data if isinstance(value, Tensor) else value, self.dtype, self.device, copy=True
            )
            if new.shape != self.shape:
                raise ValueError(f"assign: value has shape {new.shape}, this Tensor {self.shape}")
            if now.recorder is not None:
                now.recorder.note_assign(self, new, self._node)
            elif type(self._node) is Leaf:
                self._data[...] = new
                self._node.touch(self._data)
            else:
                self._data = new

    def requires_grad_(self, wanted: bool = True) -> Tensor:
        """Make this leaf ask for a gradient, or no longer."""
        if not self.is_leaf:
            raise GraphError("requires_grad_: only for leaves; this Tensor was computed (use detach)")
        if wanted and self._node is None:
            self._node = getattr(self, "_frozen", None)  # with its name and .grad
            if self._node is None:
                self._data = self._data.copy()  # a leaf changes in place, and `detach` shares memory
                self._node = leaf_for(self._data)
        elif not wanted and self._node is not None:
            self._node, self._frozen = None, self._node
        return self

    # ---- arithmetic ------------------------------------------------------------------------------------

    # fmt: off
    def __neg__(self) -> Tensor: return negative(self)
    def __pos__(self) -> Tensor: return self
    def __abs__(self) -> Tensor: return abs(self)
    def __add__(self, other) -> Tensor: return add(self, other)
    def __radd__(self, other) -> Tensor: return add(other, self)
    def __sub__(self, other) -> Tensor: return subtract(self, other)
    def __rsub__(self, other) -> Tensor: return subtract(other, self)
    def __mul__(self, other) -> Tensor: return multiply(self, other)
    def __rmul__(self, other) -> Tensor: return multiply(other, self)
    def __truediv__(self, other) -> Tensor: return divide(self, other)
    def __rtruediv__(self, other) -> Tensor: return divide(other, self)
    def __pow__(self, other) -> Tensor: return power(self, other)
    def __rpow__(self, other) -> Tensor: return power(other, self)
    def __matmul__(self, other) -> Tensor: return matmul(self, other)
    def __rmatmul__(self, other) -> Tensor: return matmul(other, self)
    def __eq__(self, other) -> Tensor: return equal(self, other)  # type: ignore[override]
    def __ne__(self, other) -> Tensor: return not_equal(self, other)  # type: ignore[override]
    def __lt__(self, other) -> Tensor: return less(self, other)
    def __le__(self, other) -> Tensor: return less_equal(self, other)
    def __gt__(self, other) -> Tensor: return greater(self, other)
    def __ge__(self, other) -> Tensor: return greater_equal(self, other)
    def __invert__(self) -> Tensor: return invert(self)
    def __and__(self, other) -> Tensor: return bitwise_and(self, other)
    def __rand__(self, other) -> Tensor: return bitwise_and(other, self)
    def __or__(self, other) -> Tensor: return bitwise_or(self, other)
    def __ror__(self, other) -> Tensor: return bitwise_or(other, self)
    def __getitem__(self, index) -> Tensor: return getitem(self, index)
    # fmt: on

    def __setitem__(self, index, value):
        raise TypeError("Tensors do not change in place; build the new one with tg.where or tg.concatenate, "
                        "or change a whole leaf with x.assign(array)")  # fmt: skip

    # ---- NumPy's methods -------------------------------------------------------------------------------

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.sum`."""
        return sum(self, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.mean`."""
        return mean(self, axis, keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """See `tinygen.var`."""
        return var(self, axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """See `tinygen.std`."""
        return std(self, axis, ddof=ddof, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.prod`."""
        return prod(self, axis, keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.max`."""
        return max(self, axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.min`."""
        return min(self, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.argmax`."""
        return argmax(self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.argmin`."""
        return argmin(self, axis, keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.any`."""
        return any(self, axis, keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See `tinygen.all`."""
        return all(self, axis, keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """See `tinygen.cumsum`."""
        return cumsum(self, axis)

    def clip(self, min=None, max=None) -> Tensor:
        """See `tinygen.clip`."""
        return clip(self, min, max)

    def dot(self, other) -> Tensor:
        """See `tinygen.dot`."""
        return dot(self, other)

    def trace(self, offset: int = 0) -> Tensor:
        """See `tinygen.trace`."""
        return trace(self, offset)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """See `tinygen.diagonal`."""
        return diagonal(self, offset, axis1, axis2)

    def reshape(self, *shape) -> Tensor:
        """See `tinygen.reshape`; the shape as one tuple or as several integers."""
        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def ravel(self) -> Tensor:
        """All elements along one axis."""
        return reshape(self, -1)

    def flatten(self) -> Tensor:
        """All elements along one axis (as `ravel`: Tensors do not change, so no copy is needed)."""
        return reshape(self, -1)

    def transpose(self, *axes) -> Tensor:
        """See `tinygen.transpose`; the axes as one tuple or as several integers, reversed by default."""
        if not axes or axes[0] is None:
            return transpose(self)
        return transpose(self, axes if isinstance(axes[0], int) else axes[0])

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """See `tinygen.swapaxes`."""
        return swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        """See `tinygen.squeeze`."""
        return squeeze(self, axis)

    def repeat(self, repeats: int, axis: int | None = None) -> Tensor:
        """See `tinygen.repeat`."""
        return repeat(self, repeats, axis)

    def astype(self, dtype) -> Tensor:
        """See `tinygen.astype`."""
        return astype(self, dtype)

    def to(self, device: str) -> Tensor:
        """The same values on another device; itself when it is there already."""
        return self if arrays.on_device(self._data, device) else move(self, device)


def _refused(name: str) -> str:
    """What to do instead of calling NumPy's function of that name."""
    from tinygen import autograd

    instead = f"use tg.{name}" if hasattr(autograd, name) else "there is no such function in tinygen"
    return f"np.{name} does not know Tensors; {instead}, or use x.numpy() for a copy of the values"


def _restored(data: Any, requires_grad: bool, name: str | None) -> Tensor:
    """A pickled Tensor, with a leaf of its own."""
    return Tensor(data, leaf_for(data, name) if requires_grad else None)


def variable(data: Any) -> Tensor:
    """A leaf on the very memory of an array."""
    return Tensor(data, leaf_for(data))


def leaf_for(data: Any, name: str | None = None) -> Leaf:
    """A leaf for an array that wants a gradient; refuses integers, which have none."""
    if data.dtype.kind != "f":
        raise TypeError(
            f"requires_grad: a {data.dtype} Tensor has no gradient; a floating dtype is wanted (use astype)"
        )
    return Leaf(data.shape, data.dtype, name)


# The functions need the class above, and the methods need the functions.
from tinygen.autograd.elementwise import (
    abs, add, bitwise_and, bitwise_or, clip, divide, equal, greater, greater_equal, invert, less, less_equal,
    multiply, negative, not_equal, power, subtract,
)  # fmt: skip
from tinygen.autograd.indexing import getitem  # noqa: E402
from tinygen.autograd.primitive import describe  # noqa: E402
from tinygen.autograd.linalg import dot, matmul, trace  # noqa: E402
from tinygen.autograd.reductions import (  # noqa: E402
    all, any, argmax, argmin, cumsum, max, mean, min, prod, std, sum, var,
)  # fmt: skip
from tinygen.autograd.shapes import (  # noqa: E402
    astype, diagonal, move, repeat, reshape, squeeze, swapaxes, transpose,
)  # fmt: skip

r"""Modules: parameters, buffers and children, found by assigning them to attributes.

A network is a tree. Its leaves are Tensors: *parameters*, which an optimiser changes, and *buffers*, which
are remembered without being trained (running means, say). Assigning one of them, or another module, to an
attribute of a Module enters it under that name; a path of names joined by dots, such as `encoder.0.weight`,
then leads to every Tensor of the tree. Names, layouts and meanings are PyTorch's, so that a `state_dict`
moves between the two unchanged.

>>> from tinygen import nn
>>> class Tower(nn.Module):
...     def __init__(self):
...         self.lower = nn.Linear(3, 2)
...         self.upper = nn.Linear(2, 1)
...     def forward(self, x):
...         return self.upper(self.lower(x))
>>> [name for name, _ in Tower().named_parameters()]
['lower.weight', 'lower.bias', 'upper.weight', 'upper.bias']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from tinygen.autograd import Tensor
from tinygen.autograd.graph import Leaf
from tinygen.backend import arrays as backend


class Module:
    """A part of a network: assign its parameters and children to attributes and write `forward`.

    Attributes
    ----------
    training : whether this is the training phase (`train`, `eval`); layers such as dropout look at it
    """

    training = True

    # ---- what it is made of ----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        kinds = vars(self).setdefault("_kinds", {})  # name -> "parameter", "buffer" or "module"
        if isinstance(value, Module):
            kinds[name] = "module"
            value._name_parameters(name)
        elif isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
            kinds[name] = "parameter"
            value.name = value.name or name
        elif name in kinds and not (kinds[name] == "buffer" and isinstance(value, Tensor)) and value is not None:
            raise TypeError(f"{type(self).__name__}.{name} is a {kinds[name]}, got a {type(value).__name__}; "
                            "to change its values use .assign(array), to be rid of it first `del` it")  # fmt: skip
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        vars(self).get("_kinds", {}).pop(name, None)
        object.__delattr__(self, name)

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Enter a Tensor that is remembered and moved with the module, but not trained; None keeps the place."""
        if tensor is not None and (not isinstance(tensor, Tensor) or tensor.requires_grad):
            raise TypeError(f"register_buffer: {name} must be a Tensor without requires_grad or None, got {tensor!r}")
        vars(self).setdefault("_kinds", {})[name] = "buffer"
        object.__setattr__(self, name, tensor)

    def _own(self, kind: str) -> Iterator[tuple[str, Any]]:
        """This module's own entries of a kind, without those that are None."""
        for name, k in vars(self).get("_kinds", {}).items():
            if k == kind and vars(self)[name] is not None:
                yield name, vars(self)[name]

    def _tree(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Every path in the tree with the module there, this one first; shared modules come more than once."""
        yield prefix, self
        for name, child in self._own("module"):
            yield from child._tree(f"{prefix}{name}.")

    def _entries(self, *kinds: str) -> Iterator[tuple[str, Tensor]]:
        """Every path to a Tensor of these kinds; a shared Tensor comes once for each of its paths."""
        for prefix, module in self._tree():
            for kind in kinds:
                for name, tensor in module._own(kind):
                    yield prefix + name, tensor

    def _name_parameters(self, prefix: str) -> None:
        """Lengthen the names that were given by attribute, now that this module has a name itself."""
        for path, p in self._entries("parameter"):
            if p.requires_grad and p.name in (None, path):
                p.name = f"{prefix}.{path}"

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (path, parameter), frozen ones included; a shared parameter once, under its first path."""
        yield from _once(self._entries("parameter"))

    def parameters(self) -> Iterator[Tensor]:
        """Every parameter of the tree, once."""
        for _, p in self.named_parameters():
            yield p

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (path, buffer)."""
        yield from _once(self._entries("buffer"))

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer of the tree, once."""
        for _, b in self.named_buffers():
            yield b

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Pairs (path, module), this one first under the empty path; a shared module once."""
        yield from _once((prefix[:-1], module) for prefix, module in self._tree())

    def modules(self) -> Iterator[Module]:
        """Every module of the tree, this one first."""
        for _, m in self.named_modules():
            yield m

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Pairs (name, module) one level below."""
        yield from _once(self._own("module"))

    def children(self) -> Iterator[Module]:
        """The modules one level below."""
        for _, m in self.named_children():
            yield m

    # ---- what it does ----------------------------------------------------------------------------------

    def forward(self, *inputs: Any) -> Any:
        """Compute the output; every kind of module writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`, on the same arguments."""
        return self.forward(*inputs, **options)

    # ---- what can be done with all of it ---------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Enter the training phase, here and below."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self) -> Self:
        """Leave the training phase, here and below."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients that `backward` has added up."""
        for p in self.parameters():
            if p.requires_grad:
                p.grad = None

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Freeze every parameter (False), or thaw it; frozen ones stay parameters."""
        for path, p in self.named_parameters():
            if p.requires_grad != wanted:
                p.requires_grad_(wanted)
                if wanted:
                    p.name = path
        return self

    def to(self, device: str | None = None, *, dtype: Any = None) -> Self:
        """Move parameters and buffers to a device, and the floating ones to a dtype; the Tensors stay themselves.

        Graphs that hold an old value become unusable, and say so. Make optimisers after it.
        """
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise ValueError(f"to: dtype must be floating (float32, float64), got {dtype!r}")
        for _, tensor in _once(self._entries("parameter", "buffer")):
            _convert(tensor, device, dtype)
        return self

    # ---- what it remembers -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and buffers as NumPy arrays, by path."""
        return {path: tensor.numpy() for path, tensor in self._entries("parameter", "buffer")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the values of a `state_dict`, all of them or, if anything does not fit, none.

        Raises
        ------
        ValueError
            Naming every entry that is missing, that nothing here is called, or that has another shape.
        """
        mine = dict(self._entries("parameter", "buffer"))
        problems = [f"{path} is missing" for path in mine if path not in state]
        problems += [f"{path} is unexpected" for path in state if path not in mine]
        for path, tensor in mine.items():
            if path in state and np.shape(state[path]) != tensor.shape:
                problems.append(f"{path} has shape {np.shape(state[path])}, here {tensor.shape}")
        if problems:
            raise ValueError(f"{type(self).__name__}.load_state_dict: nothing was changed, since {'; '.join(problems)}")
        values = {}
        for path, tensor in mine.items():  # all are converted before the first is changed
            value = state[path]._data if isinstance(state[path], Tensor) else state[path]
            values[path] = backend.asarray(value, tensor.dtype, tensor.device, copy=True)
        for path, tensor in mine.items():
            tensor.assign(values[path])

    # ---- how it looks ----------------------------------------------------------------------------------

    def options(self) -> str:
        """The arguments that the first line of `repr` shows; a layer writes its own."""
        return ""

    def __repr__(self) -> str:
        lines = [f"{name}: {tensor.shape}" for name, tensor in self._own("parameter")]
        lines += [f"{name}: {tensor.shape}, buffer" for name, tensor in self._own("buffer")]
        lines += [f"{name}: {child!r}" for name, child in self._own("module")]
        total = sum(p.size for p in self.parameters())
        head = f"{type(self).__name__}({self.options()})" + (f"  # {total:,} parameters" if total else "")
        return "\n  ".join([head, *(line.replace("\n", "\n  ") for line in lines)])


class _Listed(Module):
    """Modules in a row; the children are called "0", "1", ..."""

    def __len__(self) -> int:
        return sum(1 for _ in self._own("module"))

    def __iter__(self) -> Iterator[Module]:
        return (m for _, m in self._own("module"))

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]


class Sequential(_Listed):
    """Modules applied one after the other; the children are called "0", "1", ..."""

    def __init__(self, *modules: Module):
        _enter(self, modules)

    def forward(self, x: Any) -> Any:
        """$f_n(\\dots f_1(x))$."""
        for m in self:
            x = m(x)
        return x


class ModuleList(_Listed):
    """A list of modules, whose parameters count as its owner's; the children are called "0", "1", ..."""

    def __init__(self, modules: Any = ()):
        _enter(self, modules)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        _enter(self, [module], start=len(self))
        return self


def _enter(parent: Module, modules: Any, start: int = 0) -> None:
    """Give numbers for names."""
    for i, m in enumerate(modules, start):
        if not isinstance(m, Module):
            raise TypeError(f"{type(parent).__name__}: entry {i} is a {type(m).__name__}; a Module is wanted "
                            "(for a function, write a Module whose forward calls it)")  # fmt: skip
        setattr(parent, str(i), m)


def _once(pairs: Any) -> Iterator[tuple[str, Any]]:
    """The pairs whose second half has not come before."""
    seen: set[int] = set()
    for name, thing in pairs:
        if id(thing) not in seen:
            seen.add(id(thing))
            yield name, thing


def _convert(tensor: Tensor, device: str | None, dtype: Any) -> None:
    """Give a leaf or a buffer an array elsewhere or of another dtype, and its gradient too."""
    dtype = tensor.dtype if dtype is None or tensor.dtype.kind != "f" else np.dtype(dtype)
    device = tensor.device if device is None else device
    if dtype == tensor.dtype and backend.to_device(tensor._data, device) is tensor._data:
        return
    before, tensor._data = tensor._data, backend.asarray(tensor._data, dtype, device, copy=True)
    if isinstance(tensor._node, Leaf):
        tensor._node.dtype = dtype
        tensor._node.touch(before)
        if tensor.grad is not None:
            tensor.grad = Tensor(backend.asarray(tensor.grad._data, dtype, device, copy=True))

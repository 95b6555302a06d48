"""CUDA bodies for elementwise work, each beside its meaning in NumPy.

A kernel carries its computation twice: as a line of C that CuPy compiles for the GPU, and as a `reference`
over `xp`, which is what runs on the CPU. Every kernel enters `KERNELS` when it is made, so that one test
can compile all the bodies with a C++ compiler and hold each against its reference: wrong mathematics in a
CUDA string is found on a machine without a GPU.

>>> import numpy as np
>>> double = ElementwiseKernel("doctest_double", "T x", "T y", "y = x + x", "", lambda xp, x: x + x)
>>> double(np, np.array([1.0, 2.0]))
array([2., 4.])
>>> del KERNELS["doctest_double"]
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from . import cuda

KERNELS: dict[str, ElementwiseKernel] = {}


class ElementwiseKernel:
    """An elementwise function, written in C for CuPy and in `xp` for everything else.

    Parameters
    ----------
    name : str
        Unique among all kernels.
    in_params, out_params : str
        As CuPy's: `"T x, float32 a"`; `T` is whatever dtype comes.
    body : str
        C that computes the outputs from the inputs, at one position.
    preamble : str
        C functions that the body calls, marked `__device__`; inside them `__CUDA_ARCH__` tells a GPU from
        g++.
    reference : callable
        `reference(xp, *inputs)` gives the output, or a tuple of outputs.
    """

    def __init__(self, name, in_params, out_params, body, preamble, reference):
        if name in KERNELS and KERNELS[name].body != body:
            raise ValueError(
                f"ElementwiseKernel: name {name!r} is taken by another kernel; choose a new one."
            )
        self.name, self.in_params, self.out_params = name, in_params, out_params
        self.body, self.preamble, self.reference = body, preamble, reference
        KERNELS[name] = self

    def __call__(self, xp, *inputs, out=None):
        """Compute the output, or the tuple of outputs, into `out` when given."""
        if xp is np or cuda.is_stand_in(xp):
            return self._by_reference(xp, inputs, out)
        outs = () if out is None else out if isinstance(out, tuple) else (out,)
        return self._compiled(*inputs, *outs)

    def __repr__(self) -> str:
        return f"ElementwiseKernel({self.name!r}, {self.in_params!r} -> {self.out_params!r})"

    def _by_reference(self, xp, inputs, out):
        """Run the reference, and copy what it gives into `out`."""
        result = self.reference(xp, *inputs)
        if out is None:
            return result
        results, outs = (result, out) if isinstance(out, tuple) else ((result,), (out,))
        for target, value in zip(outs, results, strict=True):
            target[...] = value
        return out

    @cached_property
    def _compiled(self):
        """CuPy's kernel, which CuPy compiles for each combination of dtypes at the first call with it."""
        return cuda.cupy().ElementwiseKernel(
            self.in_params, self.out_params, self.body, f"tinygen_{self.name}", preamble=self.preamble
        )

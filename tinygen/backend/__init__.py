"""The ground floor: the only place that knows NumPy from CuPy, and knows nothing of Tensors.

Everything above computes on raw arrays through a module called `xp`, which is `numpy` or `cupy`. The two
agree on most names, and where they do the floors above use those names directly. What they do not have in
common has one name here:

| file             | what it is for                                                                      |
|------------------|-------------------------------------------------------------------------------------|
| `arrays.py`      | which library an array belongs to, on which device it lives, how it moves           |
| `cuda.py`        | the door to CuPy: imported when first asked for, with a plain word on what is missing |
| `linear.py`      | `gemm`, the matrix product behind everything; triangular systems; Cholesky factors  |
| `convolution.py` | convolution, its adjoint and its weight gradient, a closed family                   |
| `channels_last.py` | how convolutions are computed: windows, products, and the layout in memory          |
| `norm.py`        | batch norm in few passes over memory                                                |
| `recurrent.py`   | LSTM and GRU over a whole sequence                                                  |
| `scatter.py`     | addition into indexed places, where a repeated index counts each time               |
| `special.py`     | erf, lgamma, digamma, ... and stable forms of sigmoid, softplus and logaddexp       |
| `kernels.py`     | CUDA bodies, each beside its meaning in NumPy                                       |
| `philox.py`      | the words behind the random numbers, in array code and as a CUDA body                |
| `random.py`      | random numbers by counting: three integers of state, the same numbers everywhere    |
| `memory.py`      | keeping freed memory: an opt-in, for speed                                          |
| `threads.py`     | large computations shared out among threads: an opt-in, for speed                   |

Three rules hold on this floor. The module comes from the array, never from a global setting. Nothing moves
between host and device unless it is asked to by name. And code that may run on CuPy uses only names and
keywords that both libraries have.

>>> import numpy as np
>>> x = np.ones((2, 3), np.float32)
>>> array_module(x, 2.0) is np, device_of(x)
(True, 'cpu')
>>> gemm(x, x, transpose_b=True)
array([[3., 3.],
       [3., 3.]], dtype=float32)
"""

from .arrays import (
    MODULES,
    DeviceError,
    array_module,
    asarray,
    device_of,
    errstate,
    from_dlpack,
    is_array,
    parse_device,
    to_device,
    to_numpy,
)
from .convolution import (
    convolve,
    convolve_adjoint,
    convolve_weight,
    fold,
    max_windows,
    max_windows_back,
    output_shape,
    unfold,
)
from .kernels import KERNELS, ElementwiseKernel
from .linear import cholesky, gemm, solve_triangular
from .memory import keep_freed_memory
from .random import Generator, watch_draws
from .scatter import scatter_add
from .threads import set_threads

__all__ = [
    "KERNELS",
    "MODULES",
    "DeviceError",
    "ElementwiseKernel",
    "Generator",
    "array_module",
    "asarray",
    "cholesky",
    "convolve",
    "convolve_adjoint",
    "convolve_weight",
    "device_of",
    "errstate",
    "fold",
    "from_dlpack",
    "gemm",
    "is_array",
    "keep_freed_memory",
    "max_windows",
    "max_windows_back",
    "output_shape",
    "parse_device",
    "scatter_add",
    "set_threads",
    "solve_triangular",
    "to_device",
    "to_numpy",
    "unfold",
    "watch_draws",
]

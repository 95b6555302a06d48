"""Run the body of a CUDA elementwise kernel on the CPU: g++ compiles it into a loop, ctypes calls it."""

import ctypes
import hashlib
import math
import pathlib
import subprocess

import numpy as np

C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int32": "int",
    "int64": "long long",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "bool": "bool",
}

SOURCE = """
#include <cmath>
#include <algorithm>
using namespace std;
#define __device__
typedef {T} T;
{preamble}
extern "C" void run(long long _count, void** _arrays) {{
    for (long long i = 0; i < _count; i++) {{
{arguments}
        {body};
    }}
}}
"""


def parameters(text):
    """Split `"T x, uint64 seed"` into pairs of type and name."""
    return [tuple(part.split()) for part in text.split(",")]


def compile_body(kernel, dtype, folder: pathlib.Path):
    """Compile a kernel for T = dtype; returns a function of arrays that returns the tuple of outputs."""
    ins, outs = parameters(kernel.in_params), parameters(kernel.out_params)
    lines = []
    for k, (kind, name) in enumerate(ins + outs):
        c_type = ("const " if k < len(ins) else "") + C_TYPES[dtype if kind == "T" else kind]
        lines.append(f"        {c_type} &{name} = (({c_type}*)_arrays[{k}])[i];")
    source = SOURCE.format(
        T=C_TYPES[dtype], preamble=kernel.preamble, arguments="\n".join(lines), body=kernel.body
    )
    stem = folder / f"{kernel.name}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    stem.with_suffix(".cpp").write_text(source)
    command = [
        "g++",
        "-O1",
        "-Wall",
        "-Werror",
        "-Wno-unused",
        "-shared",
        "-fPIC",
        f"{stem}.cpp",
        "-o",
        f"{stem}.so",
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    run = ctypes.CDLL(f"{stem}.so").run

    def call(*inputs):
        shape = np.broadcast_shapes(*(np.shape(a) for a in inputs))
        arrays = [
            np.array(np.broadcast_to(a, shape), dtype=dtype if kind == "T" else kind, order="C")
            for a, (kind, _) in zip(inputs, ins, strict=True)
        ]
        arrays += [np.empty(shape, dtype if kind == "T" else kind) for kind, _ in outs]
        run(
            ctypes.c_longlong(math.prod(shape)),
            (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays)),
        )
        return tuple(arrays[len(ins) :])

    return call

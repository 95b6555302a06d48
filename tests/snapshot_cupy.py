"""Write `cupy_api.json`: the names CuPy offers, their parameters and their dtype tables.

Run it once per CuPy release, in an environment that has CuPy; no GPU and no driver are needed:

    python tests/snapshot_cupy.py tests/cupy_api.json

The stand-in (`strict_cupy.py`) and the check of our sources (`test_cupy_names.py`) read the file, so neither
needs CuPy. Each entry of `names` is

* `kind`   : "ufunc", "func" or "const" (modules, types without a signature and plain values are "const" too);
* `params` : the parameter names in order, a name ending in `*` for `*args` and `**kwargs`; null when unknown;
* `types`  : ufuncs only, the dtype table in NumPy's letters ("ff->f"), in the order CuPy searches it.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import warnings

# Functions that hide their keywords behind **kwargs: copied from their documentation and source.
HAND_WRITTEN = {
    "einsum": ["operands*", "dtype", "optimize"],
    "meshgrid": ["xi*", "indexing", "sparse", "copy"],
    "pad": ["array", "pad_width", "mode", "stat_length", "constant_values", "end_values", "reflect_type"],
}
UFUNC_PARAMS = ["args*", "out", "dtype", "casting"]


def parameters(function):
    """The parameter names of `function`, from its signature or else from the first line of its docstring."""
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return parameters_from_doc(function.__doc__ or "")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name + ("*" if p.kind in variadic else "") for p in found]


def parameters_from_doc(doc):
    """The names in a Cython docstring line such as `_ndarray_base.dot(self, _ndarray_base b, out=None)`."""
    match = re.match(r"[\w.]+\((.*)\)(\s*->.*)?$", doc.split("\n")[0])
    if not match:
        return None
    names = []
    for part in match.group(1).split(","):
        name = part.split("=")[0].split()[-1] if part.strip() else ""
        if name.strip("*"):
            names.append(name.strip("*") + ("*" if name.startswith("*") else ""))
    return names


def entry(name, value, ufunc):
    """One record of the snapshot."""
    if isinstance(value, ufunc):
        return {"kind": "ufunc", "params": UFUNC_PARAMS, "types": value.types}
    if not callable(value):
        return {"kind": "const", "params": None}
    params = HAND_WRITTEN.get(name) or parameters(value)
    if name.startswith("ndarray.") and params and params[0] == "self":
        params = params[1:]
    return {"kind": "func", "params": params}


def snapshot():
    """All public names of CuPy that code over `xp` could use."""
    warnings.simplefilter("ignore")
    import cupy
    import cupyx.scipy.special

    places = {
        "": cupy,
        "linalg.": cupy.linalg,
        "fft.": cupy.fft,
        "random.": cupy.random,
        "lib.stride_tricks.": cupy.lib.stride_tricks,
        "random.Generator.": cupy.random.Generator,
        "ndarray.": cupy.ndarray,
        "special.": cupyx.scipy.special,
    }
    names = {}
    for prefix, place in places.items():
        for name in sorted(n for n in dir(place) if not n.startswith("_")):
            names[prefix + name] = entry(prefix + name, getattr(place, name), cupy.ufunc)
    return cupy.__version__, names


def main(path):
    """Write the snapshot to `path`, one name a line so that a new release shows as a readable diff."""
    version, names = snapshot()
    lines = [f"{json.dumps(name)}: {json.dumps(record)}" for name, record in names.items()]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'{{"version": {json.dumps(version)},\n"names": {{\n' + ",\n".join(lines) + "\n}}\n")
    print(f"{len(names)} names of CuPy {version}")


if __name__ == "__main__":
    main(sys.argv[1])

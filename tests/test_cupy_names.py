"""Every `xp.name(keyword=...)` in tinygen/ exists in NumPy *and* in CuPy.

The stand-in (`strict_cupy.py`) finds a name that CuPy lacks when a test runs it. This walk over the syntax
trees finds it on lines that no test runs, too. It reads the snapshot of CuPy's names that the stand-in uses,
and needs neither CuPy nor a GPU.

What it sees is the spelling: a module held in a variable or attribute called `xp` (`xp.exp`,
`self.xp.linalg.inv`). Keywords of array *methods* are out of its sight, since it does not know which names
are arrays."""

import ast
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = json.loads((Path(__file__).parent / "cupy_api.json").read_text(encoding="utf-8"))["names"]
FILES = sorted((ROOT / "tinygen").rglob("*.py"))

# In both libraries, yet not in the snapshot, which lists the public names of `cupy`, `linalg`, `fft`,
# `random` and `lib.stride_tricks` but neither the modules inside `lib` nor dunder names.
ALSO_IN_BOTH = {"lib", "lib.stride_tricks", "__name__", "__version__"}

UFUNC_KEYWORDS = {"out", "dtype", "casting"}
UFUNC_METHODS = {
    "at": {"add", "maximum", "minimum"},
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
}


def chain(node):
    """The dotted name behind `xp` in an attribute, such as "linalg.inv" for `xp.linalg.inv`; else None."""
    parts = []
    while isinstance(node, ast.Attribute):
        if node.attr == "xp":
            break
        parts.append(node.attr)
        node = node.value
    is_xp = isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id == "xp")
    return ".".join(reversed(parts)) if is_xp and parts else None


def numpy_object(name):
    """NumPy's object of a dotted name, or None."""
    value = np
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def known(name):
    """Whether both libraries have the name; of a type also what hangs on it (`xp.float32.itemsize`)."""
    if name in ALSO_IN_BOTH:
        return True
    head, _, rest = name.partition(".")
    record = SNAPSHOT.get(name)
    if record is not None:
        return numpy_object(name) is not None or name == "newaxis"
    if SNAPSHOT.get(head, {}).get("kind") == "ufunc":
        return head in UFUNC_METHODS.get(rest, set()) and hasattr(np, head)
    is_plain = isinstance(numpy_object(head), (type, float, int)) and head in SNAPSHOT
    return bool(rest) and is_plain and numpy_object(name) is not None


def keywords_of(name):
    """The keywords that both libraries take, as two sets; None stands for "not known"."""
    record = SNAPSHOT.get(name)
    if record is None or record["params"] is None:
        return None, None
    if record["kind"] == "ufunc":
        return UFUNC_KEYWORDS, UFUNC_KEYWORDS
    ours = None if any(p == "kwargs*" for p in record["params"]) else set(record["params"])
    try:
        found = inspect.signature(numpy_object(name)).parameters.values()
    except (TypeError, ValueError):
        return ours, None
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return ours, None
    return ours, {p.name for p in found if p.kind is not p.POSITIONAL_ONLY}


def complaints(source):
    """(line, what is wrong) for every use of `xp` that NumPy or CuPy would refuse."""
    tree = ast.parse(source)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            name = chain(node)
            if name and not known(name):
                found.append((node.lineno, f"xp.{name}"))
        if isinstance(node, ast.Call) and (name := chain(node.func)):
            cupy, numpy = keywords_of(name)
            for keyword in (k.arg for k in node.keywords if k.arg):
                if (cupy is not None and keyword not in cupy) or (numpy is not None and keyword not in numpy):
                    found.append((node.lineno, f"xp.{name}({keyword}=)"))
    return sorted(set(found))


PLANTED = {
    "xp.geomspace(1, 2, 3)": "xp.geomspace",
    "xp.vecdot(x, x)": "xp.vecdot",
    "xp.sum(x, axis=0, where=m)": "xp.sum(where=)",
    "xp.clip(x, min=0)": "xp.clip(min=)",
    "xp.add(x, x, where=m)": "xp.add(where=)",
    "xp.max(x, initial=0)": "xp.max(initial=)",
    "self.xp.linalg.vector_norm(x)": "xp.linalg.vector_norm",
    "xp.linalg.eigh(x, driver='ev')": "xp.linalg.eigh(driver=)",
    "xp.errstate": "xp.errstate",
    "xp.maximum.reduce(x)": "xp.maximum.reduce",
    "xp.multiply.at(x, i, y)": "xp.multiply.at",
    "f = xp.block": "xp.block",
    "xp.asnumpy(x)": "xp.asnumpy",
    "xp.ElementwiseKernel('', '', '', '')": "xp.ElementwiseKernel",
    "xp.argmax(x, dtype=int)": "xp.argmax(dtype=)",
    "xp.stack(tup=[x])": "xp.stack(tup=)",
    "xp.asarray(x, device='cpu')": "xp.asarray(device=)",
    "xp.einsum('i,i', x, x, out=y)": "xp.einsum(out=)",
    "xp.argsort(x, stable=True)": "xp.argsort(stable=)",
    "xp.var(x, correction=1)": "xp.var(correction=)",
}

LEGAL = """
def f(self, xp, x, i):
    a = xp.sum(x, axis=0, keepdims=True) + xp.pi + xp.float32(1).itemsize + xp.finfo(x.dtype).eps
    b = xp.exp(x, out=a, casting="unsafe", dtype=xp.float32)[:, xp.newaxis].sum(where=i)
    xp.add.at(a, i, b), xp.add.reduce(a), isinstance(x, xp.ndarray), self.xp, self.xp.tanh(x)
    xp.lib.stride_tricks.as_strided(x, shape=(2,), strides=(4,)), xp.pad(x, 1, constant_values=0)
    xp.linalg.norm(x, axis=0).where, xp.einsum("i,i", x, x, optimize=True), xp.meshgrid(x, indexing="ij")
    xp.where(i, x, a), xp.concatenate([x, a], axis=1), xp.full((2,), 1.0, dtype=x.dtype), xp.__name__
    xp.random.default_rng(0), xp.fft.rfft(x, n=4), xp.clip(x, a_min=0, a_max=1), getattr(xp, "exp")(**a)
"""


@pytest.mark.parametrize("source", PLANTED)
def test_a_planted_error_is_flagged(source):
    assert [what for _, what in complaints(source)] == [PLANTED[source]]


def test_a_name_is_flagged_where_it_stands_and_once():
    assert complaints("\n\ny = xp.geomspace(1, 2).T.xp.sum(x, where=m)") == [
        (3, "xp.geomspace"), (3, "xp.sum(where=)")
    ]  # fmt: skip


def test_legal_code_is_not_flagged():
    assert complaints(LEGAL) == []


def test_everything_allowed_by_hand_is_missing_from_the_snapshot_and_present_in_numpy():
    assert all(name not in SNAPSHOT or name == "lib" for name in ALSO_IN_BOTH)
    assert all(numpy_object(name) is not None for name in ALSO_IN_BOTH)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_tinygen_uses_what_both_libraries_have(path):
    found = complaints(path.read_text(encoding="utf-8"))
    assert not found, "\n".join(f"{path}:{line}: {what}" for line, what in found)

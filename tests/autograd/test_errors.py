"""Bad input, over the whole public surface: each error names the operation or argument, what it got, what is wanted."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import tinygen as tg
from tinygen.autograd.convolution import Geometry
from tinygen.autograd.graph import GraphError
from tinygen.backend import DeviceError, cuda

from .checkers import leaf, toys


def counting(*shape):
    """A leaf with 1, 2, 3, ... in a shape."""
    return leaf(np.arange(1.0, 1 + math.prod(shape)).reshape(shape))


X, V, S = counting(2, 3), counting(3), counting(3, 3)  # only read
GEOMETRY = Geometry((1,), (0,), (1,), 1)
AxisError = np.exceptions.AxisError

#: name -> (call, kind of error, what the message must contain)
BAD = {
    # ---- element by element
    "shapes": (lambda: X + counting(4), ValueError, ["add", "(2, 3)", "(4,)", "broadcast"]),
    "shapes of three": (
        lambda: tg.where(np.ones(4, bool), X, 0.0),
        ValueError,
        ["where", "condition", "(4,)", "(2, 3)"],
    ),
    "text": (lambda: X + "a", TypeError, ["add", "'a'", "float64 (2, 3)"]),
    "None": (lambda: X * None, TypeError, ["multiply", "b: None"]),
    "unary of None": (lambda: tg.exp(None), TypeError, ["exp", "x: None"]),
    "unary of text": (lambda: tg.tanh("a"), TypeError, ["tanh", "'a'"]),
    "power": (lambda: X ** "a", TypeError, ["power", "'a'"]),
    "clip without bounds": (lambda: tg.clip(X), ValueError, ["clip", "a_min", "a_max"]),
    "clip by text": (lambda: tg.clip(X, "a"), TypeError, ["clip", "a_min='a'"]),
    "polygamma": (lambda: tg.polygamma(-1, V), ValueError, ["polygamma", "-1", "at least 0"]),
    "np function": (lambda: np.exp(X), TypeError, ["np.exp", "tg.exp"]),
    # ---- reductions
    "sum": (lambda: X.sum(2), AxisError, ["sum", "(2, 3)", "axis=2"]),
    "mean": (lambda: X.mean((0, 0)), ValueError, ["mean", "axis=(0, 0)"]),
    "max": (lambda: X.max(5), AxisError, ["max", "axis=5", "(2, 3)"]),
    "var": (lambda: X.var(-3), AxisError, ["var", "axis=-3"]),
    "std": (lambda: X.std("a"), TypeError, ["std", "axis='a'"]),
    "logsumexp": (lambda: tg.logsumexp(X, 2), AxisError, ["logsumexp", "axis=2"]),
    "argmax": (lambda: X.argmax(4), AxisError, ["argmax", "axis=4"]),
    "cumsum": (lambda: X.cumsum(3), AxisError, ["cumsum", "axis=3"]),
    "prod": (lambda: X.prod(3), AxisError, ["axis 3", "2 axes"]),
    "empty max": (lambda: tg.max(leaf(np.zeros((0, 2))), 0), ValueError, ["max", "(0, 2)"]),
    "norm: axis": (lambda: tg.norm(X, axis=3), AxisError, ["axis=3", "(2, 3)"]),
    "norm: negative order": (lambda: tg.norm(V, -1), ValueError, ["norm", "ord", "-1", "positive"]),
    "norm: matrix norm": (lambda: tg.norm(X, 2), ValueError, ["norm", "ord=2", "(2, 3)", "axis"]),
    "norm: nuclear": (lambda: tg.norm(X, "nuc"), ValueError, ["norm", "'nuc'"]),
    # ---- shapes
    "reshape": (lambda: X.reshape(4, 2), ValueError, ["reshape", "(2, 3)", "(4, 2)"]),
    "reshape twice unknown": (lambda: X.reshape(-1, -1), ValueError, ["reshape", "(-1, -1)"]),
    "transpose": (lambda: X.transpose(0, 1, 2), ValueError, ["transpose", "(0, 1, 2)"]),
    "swapaxes": (lambda: X.swapaxes(0, 3), AxisError, ["swapaxes", "axis2=3"]),
    "moveaxis": (lambda: tg.moveaxis(X, 0, 5), AxisError, ["moveaxis", "destination=5"]),
    "expand_dims": (lambda: tg.expand_dims(X, 7), AxisError, ["expand_dims", "axis=7"]),
    "squeeze": (lambda: X.squeeze(0), ValueError, ["squeeze", "axis=0", "(2, 3)"]),
    "broadcast_to": (lambda: tg.broadcast_to(X, (3, 3)), ValueError, ["broadcast_to", "(2, 3)", "(3, 3)"]),
    "flip": (lambda: tg.flip(X, 4), AxisError, ["flip", "axis=4"]),
    "roll": (lambda: tg.roll(X, 1, 4), AxisError, ["roll", "axis=4"]),
    "astype": (lambda: X.astype("foo"), TypeError, ["astype", "'foo'"]),
    "concatenate": (lambda: tg.concatenate([X, V]), ValueError, ["concatenate", "arrays[1]", "(3,)"]),
    "concatenate: axis": (lambda: tg.concatenate([X, X], 3), AxisError, ["concatenate", "axis=3"]),
    "concatenate: nothing": (lambda: tg.concatenate([]), ValueError, ["concatenate", "at least one"]),
    "concatenate: None": (lambda: tg.concatenate([X, None]), ValueError, ["concatenate", "arrays[1]: None"]),
    "stack": (lambda: tg.stack([X, V]), ValueError, ["stack", "one shape", "(2, 3)", "(3,)"]),
    "stack: axis": (lambda: tg.stack([X, X], 5), AxisError, ["stack", "axis 5", "3 axes"]),
    "split": (lambda: tg.split(X, 2, 1), ValueError, ["split", "axis 1", "length 3", "2 equal"]),
    "split: none": (lambda: tg.split(X, 0), ValueError, ["split", "0 equal"]),
    "split: axis": (lambda: tg.split(X, 2, 4), AxisError, ["axis 4", "2 axes"]),
    "repeat": (lambda: tg.repeat(X, -1, 0), ValueError, ["-1"]),
    "pad: negative": (lambda: tg.pad(X, -1), ValueError, ["pad", "pad_width", "-1"]),
    "pad: mode": (lambda: tg.pad(X, 1, "foo"), ValueError, ["pad", "mode", "'foo'", "'reflect'"]),
    "diagonal": (lambda: tg.diagonal(X, 0, 0, 0), ValueError, ["repeated axis"]),
    "trace": (lambda: tg.trace(V), AxisError, ["(3,)", "out of bounds"]),
    # ---- indices
    "index out of range": (lambda: X[5], IndexError, ["getitem", "(2, 3)", "index=5"]),
    "too many indices": (lambda: X[0, 0, 0], IndexError, ["getitem", "(2, 3)", "(0, 0, 0)"]),
    "float index": (lambda: X[1.0], IndexError, ["getitem", "index=1.0", "integers"]),
    "float Tensor index": (lambda: X[tg.tensor([1.0])], IndexError, ["integers or booleans", "float32"]),
    "mask of another shape": (lambda: X[np.ones((3, 3), bool)], IndexError, ["getitem", "(3, 3)", "(2, 3)"]),
    "take_along_axis": (
        lambda: tg.take_along_axis(X, np.zeros(3, int), 0),
        ValueError,
        ["take_along_axis", "2 axes", "indices"],
    ),
    "take_along_axis: a mask": (
        lambda: tg.take_along_axis(X, np.ones((2, 3), bool), 1),
        IndexError,
        ["take_along_axis", "integer indices", "bool"],
    ),
    "embedding: float": (lambda: tg.embedding(np.array([1.0]), X), IndexError, ["embedding", "integer", "float64"]),
    "embedding: too large": (lambda: tg.embedding([7], X), IndexError, ["7", "(2, 3)"]),
    "scatter": (lambda: tg.scatter(V, (5,), (3,)), IndexError, ["scatter", "index=(5,)", "shape=(3,)"]),
    # ---- linear algebra
    "matmul": (lambda: X @ X, ValueError, ["matmul", "(2, 3)", "wanted"]),
    "matmul: stacks": (lambda: counting(2, 2, 3) @ counting(3, 3, 2), ValueError, ["matmul", "(2, 2, 3)", "(3, 3, 2)"]),
    "matmul: 0-d": (lambda: X @ tg.tensor(1.0), ValueError, ["matmul", "at least one axis"]),
    "dot": (lambda: tg.dot(X, X), ValueError, ["(2, 3)", "wanted"]),
    "tensordot": (lambda: tg.tensordot(X, X, 1), ValueError, ["tensordot", "(2, 3)", "do not match"]),
    "tensordot: axes": (lambda: tg.tensordot(X, X, ((0,), (5,))), AxisError, ["5", "2 axes"]),
    "einsum: operands": (lambda: tg.einsum("ij,jk", X), ValueError, ["einsum", "2 operands", "1 were given"]),
    "einsum: axes": (lambda: tg.einsum("ijk->i", X), ValueError, ["einsum", "'ijk'", "(2, 3)"]),
    "einsum: output": (lambda: tg.einsum("ij->k", X), ValueError, ["einsum", "output", "'ij->k'"]),
    "einsum: output twice": (lambda: tg.einsum("ij->ii", X), ValueError, ["einsum", "output", "once"]),
    "einsum: lengths": (lambda: tg.einsum("ij,jk->ik", X, X), ValueError, ["einsum", "'j'"]),
    "einsum: signs": (lambda: tg.einsum("i!->i", X), ValueError, ["einsum", "!"]),
    "inv": (lambda: tg.linalg.inv(X), np.linalg.LinAlgError, ["inv", "(2, 3)", "square"]),
    "inv: singular": (lambda: tg.linalg.inv(leaf(np.zeros((2, 2)))), np.linalg.LinAlgError, ["inv", "ingular"]),
    "det": (lambda: tg.linalg.det(V), np.linalg.LinAlgError, ["det", "(3,)"]),
    "solve": (lambda: tg.linalg.solve(S, counting(4)), ValueError, ["solve", "3", "4"]),
    "solve_triangular": (
        lambda: tg.linalg.solve_triangular(X, V),
        ValueError,
        ["solve_triangular", "(2, 3)", "wanted"],
    ),
    "cholesky": (
        lambda: tg.linalg.cholesky(leaf(-np.eye(2))),
        np.linalg.LinAlgError,
        ["cholesky", "positive definite"],
    ),
    "eigh": (lambda: tg.linalg.eigh(V), AxisError, ["eigh", "(3,)"]),
    # ---- convolution
    "convolve: channels": (
        lambda: tg.convolve(counting(1, 2, 5), counting(3, 1, 3), GEOMETRY),
        ValueError,
        ["convolve", "(3, 1, 3)", "2 channels"],
    ),
    "convolve: kernel": (
        lambda: tg.convolve(counting(1, 1, 5), counting(3, 1, 7), GEOMETRY),
        ValueError,
        ["convolve", "kernel (7,)", "(5,)"],
    ),
    "unfold": (lambda: tg.unfold(counting(1, 1, 5), (7,), (1,), (1,)), ValueError, ["unfold", "kernel", "(7,)"]),
    # ---- the walk
    "grad: not a scalar": (lambda: tg.grad(X * 2, X), GraphError, ["output 0", "(2, 3)", "scalar", "grad_outputs"]),
    "grad: constant": (lambda: tg.grad(tg.tensor(1.0), X), GraphError, ["output 0", "requires_grad=True"]),
    "grad: array as input": (
        lambda: tg.grad(X.sum(), [np.ones(2)]),
        TypeError,
        ["inputs[0]", "float64 (2,)", "Tensor"],
    ),
    "grad: input without": (lambda: tg.grad(X.sum(), tg.tensor(1.0)), GraphError, ["inputs[0]", "requires_grad=True"]),
    "backward: not a scalar": (lambda: (X * 2).backward(), GraphError, ["(2, 3)", "scalar"]),
    "backward: constant": (lambda: tg.tensor(1.0).backward(), GraphError, ["requires_grad=True"]),
    "backward: cotangent": (lambda: (X * 2).backward(np.ones(3)), ValueError, ["(3,)", "(2, 3)"]),
    # ---- making Tensors
    "tensor: complex": (lambda: tg.tensor(1j), TypeError, ["tensor", "real", "complex128"]),
    "tensor: None": (lambda: tg.tensor([None]), TypeError, ["object", "numbers"]),
    "tensor: text": (lambda: tg.tensor("a"), TypeError, ["str", "numbers"]),
    "tensor: integers": (lambda: tg.tensor([1], requires_grad=True), TypeError, ["int64", "floating", "astype"]),
    "zeros: integers": (lambda: tg.zeros(2, dtype=int, requires_grad=True), TypeError, ["int64", "floating"]),
    "tensor: device": (lambda: tg.tensor([1.0], device="gpu"), ValueError, ["device", "'gpu'", "'cuda'"]),
    "zeros: shape": (lambda: tg.zeros((2, -1)), ValueError, ["negative"]),
    "from_dlpack": (lambda: tg.from_dlpack([1]), TypeError, ["from_dlpack", "list", "__dlpack__"]),
    "item": (lambda: X.item(), ValueError, ["item", "one element", "(2, 3)"]),
    "float": (lambda: float(X), ValueError, ["one element", "(2, 3)"]),
    "name": (lambda: setattr(X * 2, "name", "a"), GraphError, ["leaf", "name"]),
    "change in place": (lambda: X.__setitem__(0, 1.0), TypeError, ["in place", "tg.where", "assign"]),
    # ---- transforms and checks
    "jacobian": (lambda: tg.jacobian(lambda t: 3.0, X), TypeError, ["jacobian", "Tensor", "3.0"]),
    "jacobian: integers": (lambda: tg.jacobian(lambda t: t, np.arange(3)), TypeError, ["int64", "floating"]),
    "hvp: shape": (lambda: tg.hvp(lambda t: (t * t).sum(), V, np.ones(2)), ValueError, ["hvp", "v", "(3,)", "(2,)"]),
    "hvp: not a scalar": (lambda: tg.hvp(lambda t: t * t, V, np.ones(3)), GraphError, ["(3,)", "scalar"]),
    "checkpoint": (lambda: tg.checkpoint(lambda t: 3.0, X), TypeError, ["checkpoint", "Tensor", "3.0"]),
    "checkpoint: list": (lambda: tg.checkpoint(lambda t: [t * 2], X), TypeError, ["checkpoint", "tuple"]),
    "explain": (lambda: tg.explain(X * 2), GraphError, ["(2, 3)", "scalar"]),
    "check_grads: float32": (
        lambda: tg.check_grads(tg.exp, [np.ones(2, "f4")]),
        TypeError,
        ["args[0]", "float32", "float64"],
    ),
    "check_grads: nothing": (lambda: tg.check_grads(tg.exp, [3]), TypeError, ["check_grads", "float64"]),
    "check_grads: order": (lambda: tg.check_grads(tg.exp, [np.ones(2)], 0), ValueError, ["order", "at least 1", "0"]),
    # ---- once a bare AttributeError or TypeError from within
    "take_along_axis: axis": (lambda: tg.take_along_axis(X, np.zeros((1, 3), int), 5), ValueError, ["axis", "5"]),
    "matmul: number": (lambda: X @ 2.0, (TypeError, ValueError), ["matmul", "at least one axis"]),
    "split: float": (lambda: tg.split(X, 2.0), TypeError, ["split", "2.0"]),
    "einsum: order of arguments": (lambda: tg.einsum(X, "ij"), TypeError, ["einsum", "subscripts"]),
    "grad: a number": (lambda: tg.grad(3.0, X), (TypeError, GraphError), ["grad", "output", "3.0"]),
    "hvp: a number": (lambda: tg.hvp(lambda t: 1.0, V, np.ones(3)), TypeError, ["Tensor", "1.0"]),
    "pad: text": (lambda: tg.pad(X, "a"), (TypeError, ValueError), ["pad", "pad_width", "'a'"]),
    "tensor: list of Tensors": (lambda: tg.tensor([V[0], V[1]]), (TypeError, GraphError), ["stack"]),
    "tensordot: too many": (lambda: tg.tensordot(X, X, 3), ValueError, ["tensordot", "3", "(2, 3)"]),
    "norm: unknown": (lambda: tg.norm(V, "abc"), ValueError, ["norm", "'abc'", "'fro'"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    """The message holds the operation or argument, what it got, and what is wanted."""
    call, kind, parts = BAD[name]
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert [p for p in parts if p not in message] == [], message


@pytest.mark.parametrize(
    "f",
    [
        lambda: tg.matmul([[1.0, 2.0]], leaf([[1.0], [2.0]])),
        lambda: leaf([[1.0, 2.0]]) @ [[1.0], [2.0]],
        lambda: tg.stack([(1.0, 2.0), (3.0, 4.0)]),
        lambda: tg.prod([1.0, 2.0]),
        lambda: tg.norm([1.0, 2.0]),
        lambda: tg.take_along_axis(leaf([[1.0, 2.0]]), [[0]], 1),
        lambda: tg.embedding((0, 1), leaf(np.eye(2))),
        lambda: tg.split(leaf([1.0, 2.0]), np.int64(2)),
        lambda: tg.tile(leaf([1.0]), np.int64(2)),
        lambda: tg.outer([1.0], [2.0]),
        lambda: tg.einsum("i,i->", [1.0, 2.0], leaf([1.0, 2.0])),
        lambda: tg.tensordot([1.0, 2.0], leaf([1.0, 2.0]), 1),
        lambda: tg.cumsum([1.0, 2.0]),
        lambda: tg.pad([1.0, 2.0], 1),
        lambda: tg.diag([1.0, 2.0]),
        lambda: tg.repeat([1.0, 2.0], 2),
        lambda: tg.sum([1.0, 2.0]),
        lambda: tg.concatenate([[1.0], [2.0]]),
    ],
)
def test_lists_and_numpy_integers_are_welcome_or_refused_by_name(f):
    """Where primitives take nested lists, derived functions do too; or the error says what is wanted."""
    try:
        f()
    except (TypeError, ValueError) as error:
        assert "Tensor" in str(error) or "array" in str(error), error


def test_advice_can_be_followed():
    """A message that says "use tg.f" names an f that exists."""
    a = np.ones(3)
    for call in (lambda: np.exp(V), lambda: a % V, lambda: a // V, lambda: np.sort(V), lambda: np.hstack([V, V])):
        with pytest.raises(TypeError) as caught:
            call()
        for name in re.findall(r"use tg\.(\w+)", str(caught.value)):
            assert hasattr(tg, name), f"there is no tg.{name}"


def test_clip_by_tensors_works_or_says_what_bounds_may_be():
    """Bounds are numbers or arrays; a Tensor is taken, or refused with another advice than "use tg.clip"."""
    try:
        y = tg.clip(V, tg.tensor([1.5, 1.5, 1.5]))
    except TypeError as error:
        assert "tg.maximum" in str(error) and "use tg.clip" not in str(error)
    else:
        assert y.tolist() == [1.5, 2.0, 3.0]


def test_dot_of_lists_is_a_dot_product():
    """Not an element-wise product in disguise."""
    assert np.shape(tg.dot([1.0, 2.0], [3.0, 4.0])) == ()


def test_a_misspelt_name_in_a_vjp_is_told_at_definition():
    """The row refuses at once, and lists what may be named."""
    with toys(), pytest.raises(TypeError, match=r"toy_typo.*'inputt'.*may name g.*\bx\b"):

        @tg.primitive(lambda g, inputt: g)
        def toy_typo(xp, x):
            return x


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_vjps_is_told_at_definition(count):
    """One vjp per array input: none at all, or more than there are parameters, cannot be meant."""
    with toys(), pytest.raises(TypeError, match="toy_count"):

        @tg.primitive(*[lambda g: g] * count)
        def toy_count(xp, x):
            return x * 1


def test_a_freed_graph_and_a_changed_leaf_name_operation_and_remedy():
    """What happened, to whom, and what to do."""
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    tg.grad(y, w)
    with pytest.raises(GraphError, match="sum.*freed.*retain_graph=True"):
        y.backward()
    y = (w * w).sum()
    w.assign([3.0, 4.0])
    with pytest.raises(GraphError, match=r"multiply.*leaf of shape \(2,\).*changed.*anew"):
        y.backward()
    y = tg.checkpoint(lambda: (w * w).sum())
    w.assign([5.0, 6.0])
    with pytest.raises(GraphError, match="checkpoint.*changed"):
        y.backward()


def test_no_gpu_names_the_install_line():
    """Without CuPy the error says how to get it."""
    if cuda.is_available():
        pytest.skip("there is a GPU here")
    for call in (
        lambda: tg.tensor([1.0], device="cuda"),
        lambda: tg.zeros(2, device="cuda"),
        lambda: X.to("cuda"),
        lambda: tg.arange(3, device="cuda:0"),
    ):
        with pytest.raises(DeviceError, match="CuPy"):
            call()
    with pytest.raises(DeviceError, match=r"pip install|no GPU answers"):
        tg.tensor([1.0], device="cuda")
    with pytest.raises(ValueError, match="'tpu'.*'cpu'.*'cuda'"):
        X.to("tpu")
    assert X.to("cpu") is X


@pytest.fixture
def gpu():
    """A Tensor of the strict stand-in, with its device."""
    strict_cupy = pytest.importorskip("strict_cupy")
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        yield tg.tensor(np.arange(1.0, 7.0).reshape(2, 3), device="cuda", requires_grad=True)


MIXED = {
    "matmul": lambda g: g @ counting(3, 2),
    "where": lambda g: tg.where(np.ones((2, 3), bool), g, 0.0),
    "concatenate": lambda g: tg.concatenate([g, X]),
    "einsum": lambda g: tg.einsum("ij,ij->", g, X),
    "stack": lambda g: tg.stack([g, X]),
    "solve": lambda g: tg.linalg.solve(S, g.T),
    "add": lambda g: g + X,
    "radd": lambda g: X + g,
    "maximum": lambda g: tg.maximum(g, X),
    "array": lambda g: g * np.ones(3),
    "clip": lambda g: tg.clip(g, np.zeros(3), None),
    "hvp": lambda g: tg.hvp(lambda t: (t * t).sum(), g, np.ones((2, 3))),
    "grad_outputs": lambda g: tg.grad(g * 2, g, tg.tensor(np.ones((2, 3)))),
    "grad": lambda g: setattr(g, "grad", tg.tensor(np.ones((2, 3)))),
}


@pytest.mark.parametrize("name", MIXED)
def test_two_devices_in_one_operation(gpu, name):
    """Rule: nothing moves silently; the error names both devices and the cure."""
    with pytest.raises((DeviceError, ValueError)) as caught:
        MIXED[name](gpu)
    assert "cuda:0" in str(caught.value) and ("cpu" in str(caught.value) or name == "grad"), caught.value


def test_leaving_the_gpu_is_asked_for_by_name(gpu):
    """np.asarray refuses; .numpy() and .to("cpu") work, and the gradient comes back over the bridge."""
    with pytest.raises(DeviceError, match=r"cuda:0.*x\.numpy\(\)"):
        np.asarray(gpu.detach())
    assert isinstance(gpu.numpy(), np.ndarray)
    there = gpu.to("cpu")
    assert there.device == "cpu" and gpu.device == "cuda:0" and gpu.to("cuda") is gpu and gpu.to("cuda:0") is gpu
    assert tg.grad((there * there).sum(), gpu).device == "cuda:0"
    with pytest.raises(DeviceError, match="cuda:3"):
        X.to("cuda:3")


def test_a_reflected_frame_wider_than_the_array_is_numpys_own():
    """pad keeps NumPy's meaning: it reflects again."""
    np.testing.assert_array_equal(tg.pad(X, 5, "reflect").numpy(), np.pad(X.numpy(), 5, "reflect"))

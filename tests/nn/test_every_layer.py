"""Promises that all layers make: both libraries, float32, `repr`, checkpoints, generators, a place in the checks."""

from __future__ import annotations

import contextlib
import inspect

import numpy as np
import pytest
import strict_cupy

import tinygen as tg
from tinygen import nn
from tinygen.backend import cuda
from tinygen.backend.random import Generator
from tinygen.cases import nn as cases
from tinygen.nn import functional as F
from tinygen.nn import losses

from . import zoo

#: modules that are no layers: they hold others, or end a network
CONTAINERS = {"Module", "ModuleList"}


def run(entry: zoo.Entry, device: str) -> list[np.ndarray]:
    """Outputs and gradients in training and after it, and the state at the end, on the host; float32 throughout."""
    layer = entry.ours().to(device)
    x = tg.tensor(entry.input(dtype="float32"), device=device, requires_grad=not entry.integers)
    leaves, found = [*([] if entry.integers else [x]), *layer.parameters()], []
    for training in (True, False):
        layer.train(training)
        outs = zoo.outputs(layer(x))
        grads = [None if o._node is None else tg.grad(o, leaves, tg.ones_like(o) * 0.5, allow_unused=True)
                 for o in outs[:1]]  # fmt: skip
        for t in [*outs, *[g for gs in grads for g in gs or [] if g is not None]]:
            assert t.dtype == np.float32 and t.device == device, f"{t.dtype} on {t.device}"
            found.append(t.numpy())
    return found + list(layer.state_dict().values())


@pytest.mark.parametrize("entry", zoo.EVERY, ids=str)
def test_float32_stays_on_its_device_and_agrees_with_numpy(entry, device):
    if device == "cpu":
        run(entry, device)
        return
    double = contextlib.nullcontext() if entry.name == "Dropout" else strict_cupy.no_float64()
    with double:
        found = run(entry, device)
    if entry.name != "Dropout" or entry.args:
        for a, b in zip(found, run(entry, "cpu"), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


#: layers that send a table to the device at each call (windows, interpolation, borders), or zeros to begin with
UPLOADS = ("Adaptive", "Upsample", "Reflection", "Replication", "Dropout", "RNN", "LSTM", "GRU")
TABLES = {"padding_mode", "count_include_pad"}  # and these options do
QUIET = [e for e in zoo.EVERY if not e.name.startswith(UPLOADS) and not TABLES & set(e.options)]


@pytest.mark.parametrize("entry", QUIET, ids=str)
def test_no_layer_makes_host_and_device_meet(entry):
    """Forward, running statistics and backward: nothing is copied or waited for."""
    with cuda.stand_in(strict_cupy.xp, strict_cupy.special):
        layer = entry.ours().to("cuda")
        x = tg.tensor(entry.input(dtype="float32"), device="cuda", requires_grad=not entry.integers)
        u = tg.ones_like(layer(x))
        with strict_cupy.no_sync():
            y = layer(x)
            tg.grad(y, [*([] if entry.integers else [x]), *layer.parameters()], u)


@pytest.mark.parametrize("entry", zoo.EVERY, ids=str)
def test_repr_is_the_line_that_builds_it(entry):
    first = repr(entry.ours()).split("\n")[0].split("  #")[0]
    assert first.startswith(entry.name + "(")
    assert repr(eval(first, vars(nn).copy())) == repr(entry.ours())


@pytest.mark.parametrize("entry", [e for e in zoo.EVERY if list(e.ours().parameters())], ids=str)
def test_the_generator_decides_the_weights(entry):
    if "rng" not in inspect.signature(getattr(nn, entry.name)).parameters:
        return
    first, again, other = (entry.ours(seed).state_dict() for seed in (1, 1, 2))
    fresh = getattr(nn, entry.name)(*entry.args, **entry.options).state_dict()  # rng=None: fresh entropy
    for path in first:
        np.testing.assert_array_equal(first[path], again[path])
        assert not np.array_equal(first[path], other[path])
        assert not np.array_equal(first[path], fresh[path]) and first[path].dtype == np.float32


@pytest.mark.parametrize("entry", zoo.EVERY, ids=str)
def test_a_checkpoint_changes_no_bit_and_updates_buffers_once(entry):
    plain, kept = entry.ours(), entry.ours()
    if entry.name == "Dropout":
        plain.rng, kept.rng = Generator(3), Generator(3)
    x = tg.tensor(entry.input(), requires_grad=True) if not entry.integers else entry.input()
    results = []
    for layer, f in ((plain, plain), (kept, lambda x: tg.checkpoint(lambda x: tuple(zoo.outputs(kept(x))), x))):
        leaves = [*([] if entry.integers else [x]), *layer.parameters()]
        outs = zoo.outputs(f(x))
        found = tg.grad(tg.sum(outs[0] ** 2), leaves, allow_unused=True)
        results.append([o.numpy() for o in outs] + [g.numpy() for g in found if g is not None]
                       + list(layer.state_dict().values()))  # fmt: skip
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_layer_and_function_is_in_the_gradient_checks():
    """`python -m tinygen check` tries each of them at orders 1 and 2."""
    tried = {case.name for case in cases.cases(np.random.default_rng(0))}
    layers = {n for n in nn.__all__ if inspect.isclass(getattr(nn, n)) and issubclass(getattr(nn, n), nn.Module)}
    layers -= CONTAINERS | {n for n in layers if getattr(nn, n).__module__ == losses.__name__}
    assert layers <= tried, f"without a case: {sorted(layers - tried)}"
    functions = {
        n for n in F.__all__ if getattr(F, n).__module__ != losses.__name__ and hasattr(getattr(F, n), "__code__")
    }
    engine = {"elu", "leaky_relu", "relu", "sigmoid", "softplus", "tanh"}  # have cases on their own floor
    assert functions - engine - {"one_hot"} <= tried  # one_hot has no gradient


def test_every_layer_is_in_the_zoo():
    """So that the other tests of this file see it."""
    layers = {n for n in nn.__all__ if inspect.isclass(getattr(nn, n)) and issubclass(getattr(nn, n), nn.Module)}
    layers -= CONTAINERS | {n for n in layers if getattr(nn, n).__module__ == losses.__name__}
    assert layers - {e.name for e in zoo.EVERY} == {"Residual", "Sequential"}


RECURRENT = ("RNN", "LSTM", "GRU")


@pytest.mark.parametrize("entry", [e for e in zoo.EVERY if "Norm" not in e.name and e.name not in RECURRENT], ids=str)
def test_an_empty_batch_gives_an_empty_batch(entry):
    x = entry.input(dtype="float32")[:0]
    out = entry.ours()(tg.tensor(x))
    assert out.shape == (0, *entry.ours()(tg.tensor(entry.input(dtype="float32"))).shape[1:])


@pytest.mark.parametrize("name", sorted({e.name for e in zoo.EVERY}))
def test_sizes_are_positional_and_options_are_not(name):
    parameters = list(inspect.signature(getattr(nn, name)).parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]
    assert [p.name for p in positional] in ([], ["num_layers"], ["num_parameters"], ["p"], ["axis"])

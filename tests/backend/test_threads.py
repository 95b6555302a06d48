"""Promises of threads.py: shared work gives what one thread gives, errors come through, and BLAS gets its threads back.

Nothing is too small to be shared out here, so that every shape goes through the parts.
"""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import convolution, linear, norm, program, threads
from tinygen.nn import functional as F

from .conftest import quick

pytest.importorskip("threadpoolctl", reason="BLAS is told by threadpoolctl how many threads to have")


@pytest.fixture(autouse=True)
def everything_pays(monkeypatch):
    monkeypatch.setattr(threads, "WORTHWHILE", 0)
    yield
    threads.set_threads(1)


def by(n, function, *inputs):
    """What a function gives with so many threads."""
    threads.set_threads(n)
    try:
        return function(*inputs)
    finally:
        threads.set_threads(1)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@st.composite
def geometries(draw):
    """A seed, samples, channels, outputs, groups, and for two axes: kernel, stride, padding, dilation, places."""
    groups = draw(st.sampled_from([1, 1, 2]))
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))
    return dict(seed=draw(st.integers(0, 99)), n=draw(st.integers(1, 5)), c=groups * draw(st.sampled_from([1, 2, 16])),
                o=groups * draw(st.integers(1, 3)), groups=groups, kernel=pair(1, 3), stride=pair(1, 2),
                padding=pair(0, 1), dilation=pair(1, 2), places=pair(1, 4))  # fmt: skip


@quick
@given(geometries(), st.integers(2, 3))
def test_convolutions(case, k):
    rng, (n, c, o, groups) = np.random.default_rng(case["seed"]), (case[name] for name in ("n", "c", "o", "groups"))
    axes = list(zip(*(case[name] for name in ("kernel", "stride", "padding", "dilation", "places")), strict=True))
    space = [max(1, s * (m - 1) + d * (q - 1) + 1 - 2 * p) for q, s, p, d, m in axes]
    geometry = case["stride"], case["padding"], case["dilation"], groups
    x, w = rng.normal(size=(n, c, *space)), rng.normal(size=(o, c // groups, *case["kernel"]))
    y = by(1, convolution.convolve, np, x, w, *geometry, rng.normal(size=o))
    for function, inputs in [
        (convolution.convolve, (np, x, w, *geometry, rng.normal(size=o))),
        (convolution.convolve_adjoint, (np, y, w, tuple(space), *geometry)),
        (convolution.convolve_weight, (np, x, y, case["kernel"], *geometry)),
    ]:
        shared = by(k, function, *inputs)
        close(shared, by(1, function, *inputs))
        assert by(k, function, *inputs).tobytes() == shared.tobytes()  # the same at every run


@quick
@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 3), st.integers(2, 4))
def test_batch_norm(seed, n, c, k):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(size=(2, n, c, 2, 3))
    numbers = rng.normal(size=(3, c))
    for function, inputs in [(norm.moments, (x,)), (norm.scaled, (x, *numbers)),
                             (norm.batch_norm_back, (g, x, *numbers))]:  # fmt: skip
        for found, expected in zip(by(k, function, np, *inputs), by(1, function, np, *inputs), strict=True):
            close(found, expected)


@quick
@given(st.integers(0, 99), st.tuples(*[st.integers(1, 9)] * 3), st.booleans(), st.booleans(), st.integers(2, 4))
def test_products(seed, sides, transposed, into, k):
    (m, inner, n), rng = sides, np.random.default_rng(seed)
    a, b = rng.normal(size=(inner, m) if transposed else (m, inner)), rng.normal(size=(inner, n))
    expected = (a.T if transposed else a) @ b
    out = np.full((m, n), np.nan) if into else None
    found = by(k, lambda: linear.gemm(a, b, transpose_a=transposed, out=out))
    close(found, expected)
    assert not into or found is out
    stack = rng.normal(size=(2, 3, inner))
    close(by(k, linear.gemm, stack, b), stack @ b)
    assert by(k, linear.matmul, a.astype("float32"), a.T.copy()).dtype == np.float64


def test_a_linear_layer_shares_all_its_products(monkeypatch):
    """The one forwards and the two of its rules: the same gradients, each product in two parts."""
    shares, healthy = [], linear.shared
    monkeypatch.setattr(linear, "shared", lambda work, n, operations: shares.append(n) or healthy(work, n, operations))
    x, w, b = (tg.tensor(np.random.default_rng(0).normal(size=s), requires_grad=True) for s in ((5, 4), (3, 4), (3,)))

    def gradients():
        return [g.numpy() for g in tg.grad(tg.sum(tg.square(F.linear(x, w, b))), [x, w, b])]

    alone = gradients()
    assert not shares
    for found, expected in zip(by(2, gradients), alone, strict=True):
        close(found, expected)
    assert sorted(shares) == [4, 5, 5]


def test_replays(monkeypatch):
    """Chains that run piece by piece in two threads give the bits of one; a net's step the same numbers."""
    monkeypatch.setattr(program, "LARGE", 8)
    monkeypatch.setattr(program, "PIECE", 5)

    def chain():
        x = tg.tensor(np.linspace(-1, 1, 23))
        step = tg.compile(lambda: tg.exp(tg.sin(x * 2) + x) / (1 + tg.square(x)))
        return [step().numpy().tobytes() for _ in range(4)]

    assert by(2, chain) == by(1, chain)

    def training():
        rng = tg.random.Generator(0)
        net = nn.Sequential(nn.Conv2d(1, 3, 3, rng=rng), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                            nn.Linear(48, 2, rng=rng)).to(dtype="float64")  # fmt: skip
        optimizer, x = optim.SGD(net.parameters(), 0.1), rng.normal((6, 1, 6, 6), dtype="float64")

        def step():
            loss = F.cross_entropy(net(x), np.arange(6) % 2)
            optimizer.step(tg.grad(loss, optimizer.params))
            return loss

        step = tg.compile(step)
        return [step().item() for _ in range(5)]

    close(by(2, training), by(1, training))


def test_who_works_and_that_parts_are_not_shared_again():
    seen = []

    def work(cut):
        seen.append((threading.get_ident(), cut, threads.threads()))
        time.sleep(0.01)
        return cut.stop

    threads.set_threads(3)
    assert threads.threads() == 3
    assert threads.shared(work, 7, 1) == [2, 4, 7]
    assert len({who for who, *_ in seen}) > 1 and {inside for *_, inside in seen} == {1}
    assert threads.shared(work, 1, 1) == [1] and threads.shared(work, 0, 1) == [0]


@pytest.mark.parametrize("where", [0, 2])  # the part of the one that asks, and a helper's
def test_an_error_comes_through_when_all_are_done(where):
    finished = []

    def work(cut):
        if cut.start == where:
            raise ZeroDivisionError
        time.sleep(0.02)
        finished.append(cut)

    threads.set_threads(2)
    with pytest.raises(ZeroDivisionError):
        threads.shared(work, 4, 1)
    assert len(finished) == 1 and threads.threads() == 2  # nobody is left at work


def test_blas_has_one_thread_meanwhile():
    before = [library.num_threads for library in threads._blas()]
    threads.set_threads(2)
    assert {library.num_threads for library in threads._blas()} == {1}
    threads.set_threads(3)
    threads.set_threads(1)
    assert [library.num_threads for library in threads._blas()] == before


def test_without_threadpoolctl_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_blas", list)
    threads.set_threads(2)
    assert threads.threads() == 1


@pytest.mark.parametrize("n", [0, -1, 2.0, "2"])
def test_refuses_what_is_no_number_of_threads(n):
    with pytest.raises(ValueError, match=r"set_threads: n is .*; a number of threads, at least 1, is wanted"):
        threads.set_threads(n)

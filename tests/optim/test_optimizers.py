"""100 steps of each optimiser against its formula written out in NumPy (and against PyTorch where it is installed)."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import optim
from tinygen.autograd import GraphError

START = np.random.default_rng(0).normal(size=(3, 2))


def gradient(x, t):
    """That of a quartic bowl, with noise that depends on the step only."""
    return x**3 + 0.1 * x + np.random.default_rng(t).normal(size=x.shape)


def ours(optimizer, p, steps=100):
    for t in range(1, steps + 1):
        optimizer.step([gradient(p.numpy(), t)])
    return p.numpy()


def parameter():
    return tg.tensor(START, requires_grad=True)


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_sgd_is_its_formula(momentum):  # (1), (2)
    p = parameter()
    theta, b = START.copy(), 0
    for t in range(1, 101):
        b = momentum * b + gradient(theta, t)
        theta = theta - 0.01 * b
    np.testing.assert_allclose(ours(optim.SGD([p], 0.01, momentum=momentum), p), theta, rtol=1e-10)


def test_adam_is_its_formula():  # (1), (2), (3)
    p = parameter()
    theta, m, v = START.copy(), 0, 0
    for t in range(1, 101):
        g = gradient(theta, t)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        theta = theta - 0.02 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
    np.testing.assert_allclose(ours(optim.Adam([p], 0.02, betas=(0.8, 0.95), eps=1e-3), p), theta, rtol=1e-10)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_against_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    options = {"lr": 0.01, **({"momentum": 0.9} if name == "SGD" else {})}
    theirs = torch.nn.Parameter(torch.tensor(START))
    optimizer = getattr(torch.optim, name)([theirs], **options)
    for t in range(1, 101):
        theirs.grad = torch.tensor(gradient(theirs.detach().numpy(), t))
        optimizer.step()
    p = parameter()
    np.testing.assert_allclose(ours(getattr(optim, name)([p], **options), p), theirs.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.Adam(p, 0.1)])
def test_state_moves_to_another_optimiser_bit_for_bit(make):
    p = parameter()
    a = make([p])
    ours(a, p, 10)
    q = tg.tensor(p, requires_grad=True)
    b = make([q])
    state = a.state_dict()
    b.load_state_dict(state)
    np.testing.assert_array_equal(ours(a, p, 10), ours(b, q, 10))
    c = make([parameter()])
    c.load_state_dict(state)  # a and b did not write into it
    assert all(np.all(state["state"]["0"][k] == v) for k, v in c.state_dict()["state"]["0"].items())


def test_step_without_grads_uses_grad_and_skips_the_rest():
    p, q = parameter(), parameter()
    optimizer = optim.SGD([p, q], 0.5)
    tg.sum(p * p).backward()
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), START - 0.5 * 2 * START, atol=1e-15)
    np.testing.assert_array_equal(q.numpy(), START)
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_makes_graphs_that_hold_the_old_value_unusable():
    p = parameter()
    loss = tg.sum(p * p)
    optim.SGD([p], 0.1).step([np.ones_like(START)])
    with pytest.raises(GraphError, match="changed"):
        loss.backward()


def test_a_step_leaves_the_gradient_alone_and_keeps_float32():
    p = tg.tensor(START.astype(np.float32), requires_grad=True)
    g = np.ones_like(START, dtype=np.float32)
    for optimizer in (optim.SGD([p], 0.1, momentum=0.9), optim.Adam([p])):
        optimizer.step([g])
        optimizer.step([g])
        assert (g == 1).all() and p.dtype == np.float32
        assert all(a.dtype == np.float32 for a in optimizer.state[0].values() if hasattr(a, "dtype"))


def test_refusals():
    p = parameter()
    with pytest.raises(ValueError, match="lr"):
        optim.Adam([p], lr=0)
    with pytest.raises(ValueError, match="betas"):
        optim.Adam([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="momentum"):
        optim.SGD([p], 0.1, momentum=-1)
    with pytest.raises(ValueError, match="empty"):
        optim.SGD([], 0.1)
    with pytest.raises(ValueError, match="twice"):
        optim.SGD([p, p], 0.1)
    with pytest.raises(TypeError, match=r"params\[0\]"):
        optim.SGD([p * 2], 0.1)
    with pytest.raises(ValueError, match=r"grads\[0\] has shape"):
        optim.SGD([p], 0.1).step([np.ones(2)])
    with pytest.raises(ValueError, match="0 grads for 1"):
        optim.SGD([p], 0.1).step([])
    with pytest.raises(ValueError, match="exp_avg"):
        optim.Adam([p]).load_state_dict({"lr": 1.0, "state": {"0": {"step": 1, "exp_avg": np.ones(5)}}})

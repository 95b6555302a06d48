"""Clipping, averages, differentiable steps, and SciPy's optimisers."""

import math

import numpy as np
import pytest
import scipy.optimize
from equations import equation

import tinygen as tg
from tinygen import nn, optim
from tinygen.nn import functional as F
from tinygen.optim import averaging, scipy_minimize

rng = np.random.default_rng(0)


def leaves(device="cpu", shapes=((3, 2), (4,)), seed=1):
    draw = np.random.default_rng(seed)
    return [tg.tensor(draw.normal(size=s), requires_grad=True, device=device) for s in shapes]


# ---- clipping -----------------------------------------------------------------------------------------------


def with_grads(device, scale=3.0):
    params = leaves(device)
    tg.sum(tg.concatenate([tg.reshape(p * p * scale, -1) for p in params])).backward()
    return params


def together(params):
    return np.concatenate([p.grad.numpy().ravel() for p in params])


@equation(optim.clip_by_norm, 1)
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_clip_grad_norm_keeps_the_direction(norm_type, device):
    params = with_grads(device)
    before = together(params)
    length = np.linalg.norm(before, norm_type)
    assert optim.clip_grad_norm_(params, 2.0, norm_type).item() == pytest.approx(length)
    np.testing.assert_allclose(together(params), before * 2.0 / (length + 1e-6))
    small = together(params)
    optim.clip_grad_norm_(params, 100.0, norm_type)
    np.testing.assert_array_equal(together(params), small)


@equation(optim.clip_by_value, 2)
def test_clip_grad_value(device):
    params = with_grads(device)
    before = together(params)
    assert np.abs(before).max() > 1.5
    optim.clip_grad_value_(params, 1.5)
    np.testing.assert_array_equal(together(params), np.clip(before, -1.5, 1.5))


def test_clipping_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    for norm_type in (2.0, 1.0, math.inf):
        params = with_grads("cpu")
        theirs = [torch.nn.Parameter(torch.tensor(p.numpy())) for p in params]
        for p, q in zip(params, theirs, strict=True):
            q.grad = torch.tensor(p.grad.numpy())
        a, b = optim.clip_grad_norm_(params, 2.0, norm_type), torch.nn.utils.clip_grad_norm_(theirs, 2.0, norm_type)
        assert a.item() == pytest.approx(b.item(), rel=1e-12)
        expected = np.concatenate([q.grad.numpy().ravel() for q in theirs])
        np.testing.assert_allclose(together(params), expected, rtol=1e-12)


def test_clipping_gradients_that_were_asked_for():
    p, q = leaves()
    grads, length = optim.clip_by_norm([tg.grad(tg.sum(p * p), p), None], 1.0)
    assert grads[1] is None and np.linalg.norm(grads[0].numpy()) == pytest.approx(1, rel=1e-5)
    assert length.item() == pytest.approx(2 * np.linalg.norm(p.numpy()))
    optim.SGD([p, q], 0.1).step(grads)
    single = tg.tensor(np.ones(3, np.float32))
    assert optim.clip_by_norm([single], 1.0)[0][0].dtype == optim.clip_by_value([single], 1.0)[0].dtype == np.float32
    with pytest.raises(ValueError, match="max_norm"):
        optim.clip_by_norm([single], 0.0)
    with pytest.raises(ValueError, match="clip_value"):
        optim.clip_by_value([single], -1.0)


# ---- averages -----------------------------------------------------------------------------------------------


def walk(average, params, n=30):
    """A random walk of the parameters; all their values."""
    values = []
    for t in range(n):
        for p in params:
            p.assign(np.random.default_rng(t).normal(size=p.shape))
        average.update()
        values.append([p.numpy() for p in params])
    return values


@equation(averaging.towards, 1)
def test_polyaks_mean_is_the_mean(device):
    params = leaves(device)
    average = optim.ParameterAverage(params, decay=None)
    values = walk(average, params)
    with average.swapped_in():
        for i, p in enumerate(params):
            np.testing.assert_allclose(p.numpy(), np.mean([v[i] for v in values], 0), rtol=1e-12)


@equation(averaging.towards, 2)
def test_exponential_mean_is_its_weighted_sum(device):
    params = leaves(device)
    average = optim.ParameterAverage(params, decay=0.9)
    values = walk(average, params)
    weights = [0.9**29] + [0.1 * 0.9 ** (29 - t) for t in range(1, 30)]
    assert sum(weights) == pytest.approx(1)
    with average.swapped_in():
        for i, p in enumerate(params):
            expected = sum(w * v[i] for w, v in zip(weights, values, strict=True))
            np.testing.assert_allclose(p.numpy(), expected, rtol=1e-11)


def test_swapping_gives_the_parameters_back_bit_for_bit():
    net = nn.Linear(3, 2, rng=tg.random.Generator(0))
    average = optim.ParameterAverage(net.parameters(), decay=0.5)
    walk(average, average.params, 3)
    before = net.state_dict()
    with pytest.raises(ZeroDivisionError), average.swapped_in():
        assert not np.array_equal(net.weight.numpy(), before["weight"])
        raise ZeroDivisionError
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_average_state_round_trip(tmp_path):
    a, b = leaves(), leaves(seed=2)
    x, y = optim.ParameterAverage(a, decay=0.9), optim.ParameterAverage(b, decay=0.9)
    walk(x, a, 5)
    tg.save(tmp_path / "average.safetensors", x.state_dict())
    y.load_state_dict(tg.load(tmp_path / "average.safetensors"))
    walk(x, a, 2), walk(y, b, 2)
    for one, other in zip(x.averages, y.averages, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="averages of shapes"):
        optim.ParameterAverage(a[:1]).load_state_dict(x.state_dict())
    with pytest.raises(ValueError, match="decay"):
        optim.ParameterAverage(a, decay=1.0)


def test_an_average_is_of_floats_and_takes_over_all_or_nothing():
    with pytest.raises(ValueError, match="floating"):
        optim.ParameterAverage([tg.tensor([1, 2])])
    average = optim.ParameterAverage(leaves())
    given = average.state_dict() | {"t": 5}
    given["averages"]["1"] = np.full(4, "a")
    with pytest.raises((TypeError, ValueError)):
        average.load_state_dict(given)
    assert average.t == 0


def test_the_mean_is_nearer_to_the_bottom_than_the_last_place():
    noise, x = np.random.default_rng(0), tg.tensor(np.zeros(500), requires_grad=True)
    optimizer, average = optim.SGD([x], 0.1), optim.ParameterAverage([x], decay=None)
    for _ in range(1000):
        optimizer.step([x.numpy() + noise.normal(size=500)])
        average.update()
    assert np.var(average.averages[0]) < 0.05 * np.var(x.numpy())


# ---- steps that can be differentiated -----------------------------------------------------------------------


def quartic(params, target):
    return tg.sum(params[0] ** 4 / 4 + tg.sin(params[0] * target)) + tg.sum(tg.square(params[1] - params[0]))


def unrolled(target, start, lr, k=3, momentum=None):
    """A loss after k steps, as a function of what the steps depend on."""
    params, buffers = [start, start * 0.5], None
    for _ in range(k):
        grads = tg.grad(quartic(params, target), params, create_graph=True)
        if momentum is None:
            params = optim.sgd_step(params, grads, lr, weight_decay=0.1)
        else:
            params, buffers = optim.momentum_step(params, grads, buffers, lr, momentum=momentum, weight_decay=0.1)
    return quartic(params, target)


ARGS = (rng.normal(size=3), rng.normal(size=3), np.array(0.1))


def test_gradient_through_several_steps(device):
    from tinygen.backend import arrays

    args = [arrays.asarray(a, device=device) for a in ARGS]
    tg.check_grads(unrolled, args, order=2 if device == "cpu" else 1)


def test_gradient_through_several_steps_with_momentum():
    tg.check_grads(lambda t, s, lr, mu: unrolled(t, s, lr, momentum=mu), (*ARGS, np.array(0.8)), order=1)


@pytest.mark.parametrize("momentum", [pytest.param(0.0, marks=equation(optim.sgd_step, 1)),
                                      pytest.param(0.8, marks=equation(optim.momentum_step, 2))])  # fmt: skip
def test_differentiable_steps_are_the_optimisers(momentum):
    params, optimised = leaves(), leaves()
    optimizer, buffers = optim.SGD(optimised, 0.05, momentum=momentum, weight_decay=0.1), None
    for _ in range(10):
        grads = [2 * p.detach() for p in params]
        optimizer.step([2 * p.detach() for p in optimised])
        if momentum:
            params, buffers = optim.momentum_step(params, grads, buffers, 0.05, momentum=momentum, weight_decay=0.1)
        else:
            params = optim.sgd_step(params, grads, 0.05, weight_decay=0.1)
    for p, q in zip(params, optimised, strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12)


def test_a_parameter_without_gradient_is_passed_on():
    p, q = leaves()
    after = optim.sgd_step([p, q], [p.detach(), None], 0.1)
    assert after[1] is q and np.allclose(p.numpy(), leaves()[0].numpy())
    with pytest.raises(ValueError, match="1 grads for 2"):
        optim.sgd_step([p, q], [p], 0.1)


# ---- SciPy's optimisers -------------------------------------------------------------------------------------


METHODS = [("L-BFGS-B", False), ("BFGS", False), ("Newton-CG", True), ("trust-ncg", True)]


@pytest.mark.parametrize("method, hvp", METHODS)
def test_minimize_solves_a_quadratic(method, hvp):
    a, b = rng.normal(size=(6, 6)), rng.normal(size=6)
    a = a @ a.T + np.eye(6)
    x, y = (tg.tensor(np.zeros(s), requires_grad=True) for s in ((2, 2), (2,)))

    def loss():
        v = tg.concatenate([tg.reshape(x, -1), y])
        return tg.sum(v * (a @ v)) / 2 - tg.sum(b * v)

    result = optim.minimize(loss, [x, y], method=method, hvp=hvp)
    np.testing.assert_allclose(np.append(x.numpy(), y.numpy()), np.linalg.solve(a, b), atol=1e-4)
    np.testing.assert_array_equal(result.x, np.append(x.numpy(), y.numpy()))
    assert result.success and result.nit < 40


@equation(scipy_minimize.flat, 1)
def test_all_parameters_end_to_end(device):
    params = leaves(device)
    v = scipy_minimize.flat(params)
    expected = [params[0].numpy()[i, j] for i in range(3) for j in range(2)] + params[1].tolist()
    np.testing.assert_array_equal(v, expected)
    scipy_minimize.place(2 * v, params)
    np.testing.assert_array_equal(params[0].numpy()[2], 2 * v[4:6])


@equation(scipy_minimize.flat, 1)
@equation(scipy_minimize.hessian_product, 2)
def test_minimize_gives_scipy_the_right_derivatives(monkeypatch):
    w = tg.tensor(rng.normal(size=(2, 2)), requires_grad=True)
    seen = {}
    monkeypatch.setattr(scipy.optimize, "minimize", lambda f, x0, **o: seen.update(f=f, x=x0, **o) or
                        scipy.optimize.OptimizeResult(x=x0))  # fmt: skip
    optim.minimize(lambda: tg.sum(tg.sin(w @ w)), [w], hvp=True)
    np.testing.assert_array_equal(seen["x"], w.numpy().ravel())
    assert scipy.optimize.check_grad(lambda v: seen["f"](v)[0], lambda v: seen["f"](v)[1], seen["x"]) < 1e-6
    u = rng.normal(size=4)
    differences = (seen["f"](seen["x"] + 1e-6 * u)[1] - seen["f"](seen["x"] - 1e-6 * u)[1]) / 2e-6
    np.testing.assert_allclose(seen["hessp"](seen["x"], u), differences, rtol=1e-6)


def test_where_the_loss_fails_the_parameters_are_put_back():
    x, calls = tg.tensor(np.array([1.0, 2.0]), requires_grad=True), []

    def loss():
        calls.append(x.numpy())
        if len(calls) == 3:
            raise ZeroDivisionError
        return tg.sum(x**4)

    with pytest.raises(ZeroDivisionError):
        optim.minimize(loss, [x])
    assert not np.array_equal(calls[2], [1, 2])
    np.testing.assert_array_equal(x.numpy(), [1, 2])


def test_minimize_fits_a_logistic_regression():
    x, noise = rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
    labels = np.argmax(x @ rng.normal(size=(3, 2)) + noise, 1)
    net = nn.Linear(3, 2, rng=tg.random.Generator(0)).to(dtype="float64")

    def loss():
        return F.cross_entropy(net(x), labels) + 0.01 * tg.sum(tg.square(net.weight))

    found = [optim.minimize(loss, net.parameters(), method=m, hvp=h).fun for m, h in METHODS[1:3]]
    assert found[0] == pytest.approx(found[1], rel=1e-6) and found[0] < 0.6
    slope = tg.grad(loss(), list(net.parameters()))
    assert max(np.abs(g.numpy()).max() for g in slope) < 1e-4
    p = np.exp(F.log_softmax(net(x)).numpy())
    balance = x.T @ p - x.T @ np.eye(2)[labels]  # S2 eq. 2.29, with the penalty's share
    np.testing.assert_allclose(balance.T / 200, -0.02 * net.weight.numpy(), atol=1e-4)

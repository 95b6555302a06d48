"""100 steps of each optimiser against its formula written out in NumPy (and against PyTorch where it is installed)."""

import gc
import weakref

import numpy as np
import pytest
from equations import equation

import tinygen as tg
from tinygen import optim
from tinygen.autograd import GraphError
from tinygen.optim import optimizer as base

START = np.random.default_rng(0).normal(size=(3, 2))


def gradient(x, t):
    """That of a quartic bowl, with noise that depends on the step only."""
    return x**3 + 0.1 * x + np.random.default_rng(t).normal(size=x.shape)


def parameter(device="cpu"):
    return tg.tensor(START, requires_grad=True, device=device)


def ours(optimizer, p, steps=100):
    for t in range(1, steps + 1):
        optimizer.step([tg.tensor(gradient(p.numpy(), t), device=p.device)])
    return p.numpy()


# ---- the formulas, each in a few lines of NumPy -----------------------------------------------------------------


def sgd(x, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    b = None
    for t in range(1, 101):
        g = gradient(x, t) + weight_decay * x
        b = g if b is None else momentum * b + (1 - dampening) * g
        x = x - lr * (g + momentum * b if nesterov else b)
    return x


def rmsprop(x, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False):
    v = mean = b = np.zeros_like(x)
    for t in range(1, 101):
        g = gradient(x, t) + weight_decay * x
        v, mean = alpha * v + (1 - alpha) * g**2, alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - mean**2 if centered else v) + eps)
        x = x - lr * b
    return x


def adagrad(x, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10):
    s = initial_accumulator_value
    for t in range(1, 101):
        g = gradient(x, t) + weight_decay * x
        s = s + g**2
        x = x - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s) + eps)
    return x


def adam(x, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, decoupled=False):
    m = v = top = np.zeros_like(x)
    for t in range(1, 101):
        g = gradient(x, t) + (0 if decoupled else weight_decay * x)
        x = x * (1 - lr * weight_decay) if decoupled else x
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        top = np.maximum(top, v)
        x = x - lr * m / (1 - betas[0] ** t) / (np.sqrt((top if amsgrad else v) / (1 - betas[1] ** t)) + eps)
    return x


def adamw(x, weight_decay=1e-2, **options):
    return adam(x, weight_decay=weight_decay, decoupled=True, **options)


FORMULAS = {"SGD": sgd, "RMSprop": rmsprop, "Adagrad": adagrad, "Adam": adam, "AdamW": adamw}

#: kind, options, and the equations of the kind's file that they use
TABLE = [
    ("SGD", dict(), (1,)),
    ("SGD", dict(lr=0.01, momentum=0.9), (2, 3)),
    ("SGD", dict(lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.1), (2, 3)),
    ("SGD", dict(lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True), (4,)),
    ("RMSprop", dict(), (1, 2, 3)),
    ("RMSprop", dict(lr=0.003, alpha=0.9, eps=1e-3, weight_decay=0.1, momentum=0.5), (3,)),
    ("RMSprop", dict(alpha=0.9, momentum=0.5, centered=True), (1, 2)),
    ("Adagrad", dict(), (1, 2)),
    ("Adagrad", dict(lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.2, eps=1e-3), (2,)),
    ("Adam", dict(), (1, 2, 3)),
    ("Adam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1), (1, 2, 3)),
    ("Adam", dict(lr=0.02, betas=(0.8, 0.7), amsgrad=True), (4,)),
    ("AdamW", dict(), (5,)),
    ("AdamW", dict(lr=0.02, weight_decay=0.3, amsgrad=True), (4, 5)),
]
SETTINGS = [row[:2] for row in TABLE]
NAMES = ["-".join([name, *options]) for name, options in SETTINGS]
each_setting = pytest.mark.parametrize("name, options", SETTINGS, ids=NAMES)
marked = pytest.mark.parametrize(
    "name, options",
    [pytest.param(name, options, marks=equation(getattr(optim, name).change, *tags)) for name, options, tags in TABLE],
    ids=NAMES,
)


@marked
def test_a_trajectory_is_its_formula(name, options, device):
    p = parameter(device)
    found = ours(getattr(optim, name)([p], **options), p)
    np.testing.assert_allclose(found, FORMULAS[name](START, **options), rtol=1e-10)
    assert np.abs(found - START).max() > 1e-3


@each_setting
def test_a_trajectory_is_pytorchs(name, options):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    theirs = torch.nn.Parameter(torch.tensor(START))
    optimizer = getattr(torch.optim, name)([theirs], **options)
    for t in range(1, 101):
        theirs.grad = torch.tensor(gradient(theirs.detach().numpy(), t))
        optimizer.step()
    p = parameter()
    np.testing.assert_allclose(ours(getattr(optim, name)([p], **options), p), theirs.detach().numpy(), rtol=1e-9)


def test_every_option_matters():
    """No setting above agrees with the defaults of its kind, so that an option that does nothing would show."""
    for name, options in SETTINGS:
        changed = {k: v for k, v in options.items() if k not in ("lr", "momentum")}
        for dropped in changed:
            rest = {k: v for k, v in options.items() if k != dropped}
            change = FORMULAS[name](START, **options) - FORMULAS[name](START, **rest)
            assert np.abs(change).max() > 1e-8, (name, dropped)


@equation(base.descend, 1)
@equation(optim.Optimizer.decayed, 2)
def test_one_step_with_weight_decay(device):
    p = parameter(device)
    optim.SGD([p], 0.5, weight_decay=0.3).step([tg.tensor(3 * START, device=device)])
    np.testing.assert_allclose(p.numpy(), START - 0.5 * (3 * START + 0.3 * START), atol=1e-15)


@equation(optim.PreconditionedSGD.change, 5)
def test_newtons_step_reaches_a_quadratics_bottom_at_once(device):
    h = np.array([[3.0, 1.0], [1.0, 2.0]])
    p = tg.tensor([2.0, -1.0], dtype="float64", requires_grad=True, device=device)
    inverse = tg.tensor(np.linalg.inv(h), device=device).data
    optimizer = optim.PreconditionedSGD([p], lambda g: inverse @ g, lr=1.0)
    optimizer.step([tg.tensor(h @ p.numpy(), device=device)])
    np.testing.assert_allclose(p.numpy(), 0, atol=1e-14)


def test_adagrad_is_preconditioned_by_its_sums():  # the remark below sgd (5)
    p, q, sums = parameter(), parameter(), np.zeros_like(START)

    def precondition(g):
        sums[...] += g * g
        return g / (np.sqrt(sums) + 1e-10)

    expected = ours(optim.PreconditionedSGD([q], precondition, 0.1), q)
    np.testing.assert_allclose(ours(optim.Adagrad([p], 0.1), p), expected)


@each_setting
def test_state_moves_to_another_optimiser_bit_for_bit(name, options, tmp_path):
    def make(params):
        return getattr(optim, name)(params, **options)

    p = parameter()
    a = make([p])
    ours(a, p, 10)
    q = tg.tensor(p, requires_grad=True)
    b = make([q])
    tg.save(tmp_path / "state.safetensors", a.state_dict())
    state = tg.load(tmp_path / "state.safetensors")
    b.load_state_dict(state)
    np.testing.assert_array_equal(ours(a, p, 10), ours(b, q, 10))
    c = make([parameter()])
    c.load_state_dict(state)  # a and b did not write into it
    assert all(np.all(state["state"]["0"][k] == v) for k, v in c.state_dict()["state"].get("0", {}).items())


@each_setting
def test_a_fresh_optimiser_goes_on_from_a_state_of_several_parameters(name, options, tmp_path):
    """Small parameters are stepped together, from memories that were loaded one by one."""

    def stepped(params, optimizer, n):
        for _ in range(n):
            optimizer.step([p.numpy() * (k + 1) for k, p in enumerate(params)])

    straight = [parameter(), parameter()]
    a = getattr(optim, name)(straight, **options)
    stepped(straight, a, 3)
    resumed = [tg.tensor(p, requires_grad=True) for p in straight]
    tg.save(tmp_path / "state.safetensors", a.state_dict())
    b = getattr(optim, name)(resumed, **options)
    b.load_state_dict(tg.load(tmp_path / "state.safetensors"))
    stepped(straight, a, 3), stepped(resumed, b, 3)
    for p, q in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def state(**memory):
    return {"lr": 1.0, "state": {"0": memory}}


def moments(shape=START.shape):
    return {"exp_avg": np.ones(shape), "exp_avg_sq": np.ones(shape)}


@pytest.mark.parametrize("make, given, message", [
    (lambda p: optim.Adam([p], amsgrad=True), state(step=1, **moments()), "max_exp_avg_sq"),
    (optim.Adam, state(momentum_buffer=np.ones(START.shape)), "momentum_buffer.*Adam wants"),
    (optim.SGD, state(momentum_buffer=np.ones(START.shape)), "SGD wants"),
    (optim.Adagrad, state(step=1, **moments()), "Adagrad wants"),
    (lambda p: optim.RMSprop(p, centered=True), state(square_avg=np.ones(START.shape)), "grad_avg"),
    (optim.Adam, state(step=1, **moments(())), r"exp_avg of parameter 0 has shape \(\)"),
    (optim.Adam, state(step=1, **moments(5)), "exp_avg of parameter 0 has shape"),
    (optim.Adam, state(step=1, **moments()) | {"lr": "fast"}, "fast"),
])  # fmt: skip
def test_a_state_that_does_not_fit_changes_nothing(make, given, message):
    p = parameter()
    optimizer = make(p)
    ours(optimizer, p, 2)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(given)
    after = optimizer.state_dict()
    assert after["lr"] == before["lr"] and after["state"]["0"].keys() == before["state"]["0"].keys()
    assert all(np.array_equal(v, before["state"]["0"][k]) for k, v in after["state"]["0"].items())


@pytest.mark.parametrize("count", [np.int64(3), np.array(3)])
def test_numpys_integers_count_too(count):
    p = parameter()
    optimizer = optim.Adam([p])
    optimizer.load_state_dict(state(step=count, **moments()))
    assert type(optimizer.state[0]["step"]) is int
    ours(optimizer, p, 1)
    assert optimizer.state[0]["step"] == 4


def test_step_without_grads_uses_grad_and_skips_the_rest(device):
    p, q = parameter(device), parameter(device)
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


@each_setting
def test_a_step_leaves_the_gradient_alone_and_keeps_float32(name, options, device):
    p = tg.tensor(START.astype(np.float32), requires_grad=True, device=device)
    g = tg.tensor(np.ones_like(START, dtype=np.float32), device=device)
    optimizer = getattr(optim, name)([p], **options)
    for _ in range(2):
        optimizer.step([g])
    assert (g.numpy() == 1).all() and p.dtype == np.float32
    assert all(a.dtype == np.float32 for a in optimizer.state[0].values() if hasattr(a, "dtype"))


@each_setting
def test_at_a_rate_of_nothing_nothing_moves(name, options, device):
    """Where a schedule has come to its end, as `Cosine(n)` does after n steps."""
    p = tg.tensor(START, requires_grad=True, device=device)
    optimizer = getattr(optim, name)([p], **options)
    optimizer.lr = 0.0
    for _ in range(2):
        optimizer.step([tg.ones_like(p)])
    np.testing.assert_array_equal(p.numpy(), START)


def test_centred_rmsprop_survives_a_constant_gradient():
    p, g = tg.tensor(START.astype(np.float32), requires_grad=True), np.full((3, 2), 0.3, np.float32)
    optimizer = optim.RMSprop([p], alpha=0.5, eps=1.0, centered=True)
    for _ in range(100):
        optimizer.step([g])
    assert np.isfinite(p.numpy()).all()


def test_a_step_does_not_wait_for_the_device(device):
    if device == "cpu":
        pytest.skip("there is nothing to wait for")
    import strict_cupy

    for name, options in SETTINGS:
        p, g = parameter(device), tg.tensor(START, device=device)
        optimizer = getattr(optim, name)([p], **options)
        with strict_cupy.no_sync():
            optimizer.step([g])
            optimizer.step([g])


OTHER_SHAPE = {"lr": 1.0, "state": {"0": {"step": 1, "exp_avg": np.ones(5)}}}
REFUSED = [
    (lambda p: optim.Adam([p], lr=0), "Adam: lr"),
    (lambda p: optim.AdamW([p], betas=(0.9, 1.0)), "AdamW: betas"),
    (lambda p: optim.Adam([p], eps=-1), "Adam: eps"),
    (lambda p: optim.SGD([p], 0.1, weight_decay=-1), "SGD: weight_decay"),
    (lambda p: optim.SGD([p], 0.1, momentum=-1), "momentum"),
    (lambda p: optim.SGD([p], 0.1, nesterov=True), "nesterov wants"),
    (lambda p: optim.RMSprop([p], alpha=1), "alpha"),
    (lambda p: optim.RMSprop([p], momentum=-1), "momentum"),
    (lambda p: optim.Adagrad([p], lr_decay=-1), "lr_decay"),
    (lambda p: optim.SGD([], 0.1), "empty"),
    (lambda p: optim.SGD([p, p], 0.1), "twice"),
    (lambda p: optim.SGD([p], 0.1).step([np.ones(2)]), r"grads\[0\] has shape"),
    (lambda p: optim.SGD([p], 0.1, momentum=0.9).step([np.ones((3, 2), int)]), "int64.*floats"),
    (lambda p: optim.SGD([p], 0.1).step([]), "0 grads for 1"),
    (lambda p: optim.Adam([p]).load_state_dict(OTHER_SHAPE), "exp_avg"),
    (lambda p: optim.Adam([p]).load_state_dict({"lr": 1.0, "state": {}}), "memories of 0"),
]  # fmt: skip


@pytest.mark.parametrize("wrong, message", REFUSED, ids=[m for _, m in REFUSED])
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(parameter())


def test_only_leaves_are_optimised():
    with pytest.raises(TypeError, match=r"params\[0\]"):
        optim.SGD([parameter() * 2], 0.1)


# ---- small parameters take their steps together -------------------------------------------------------------


@each_setting
def test_together_is_apart_bit_for_bit(name, options, monkeypatch, device):
    """Joint steps of small parameters change no bit, whichever have gradients, and when a state was loaded between."""

    def run(small):
        monkeypatch.setattr(base, "SMALL", small)
        draws = np.random.default_rng(0)
        shapes = [(3,), (2, 4), (), (5, 1), (40,)]
        params = [tg.tensor(draws.normal(size=s).astype(np.float32), device=device, requires_grad=True) for s in shapes]
        optimizer = getattr(optim, name)(params, **options)
        for step in range(8):
            grads = [tg.tensor(draws.normal(size=s).astype(np.float32), device=device) for s in shapes]
            missing = draws.random(len(shapes)) < 0.3
            optimizer.step([None if m and step > 2 else g for m, g in zip(missing, grads, strict=True)])
            if step == 5:
                optimizer.load_state_dict(optimizer.state_dict())
        return [p.numpy() for p in params], optimizer.state_dict()

    (together, state), (apart, alone) = run(30), run(-1)
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_array_equal(a, b)
    assert state["state"].keys() == alone["state"].keys()
    for i, memory in state["state"].items():
        assert memory.keys() == alone["state"][i].keys()
        for k, value in memory.items():
            np.testing.assert_array_equal(value, alone["state"][i][k])


def test_what_treats_a_parameter_as_a_whole_gets_it_whole():
    """A step by the gradient's direction is not elementwise: it sees one parameter at a time."""

    class Normalised(optim.Optimizer):
        def change(self, p, g, state):
            return self.lr * g / np.sqrt(np.sum(g * g))

    params = [tg.tensor(np.zeros(2, np.float32), requires_grad=True) for _ in range(2)]
    Normalised(params, 1.0).step([np.array([3.0, 4.0], np.float32), np.array([0.0, 2.0], np.float32)])
    np.testing.assert_allclose([p.numpy() for p in params], [[-0.6, -0.8], [0, -1]])


def test_an_optimizer_goes_with_its_last_name():
    """No reference cycle: with the collector off, its memories are gone when it is."""
    params = [tg.ones(n, requires_grad=True) for n in (2, 3)]
    optimizer = optim.Adam(params)
    optimizer.step([tg.ones(2), tg.ones(3)])
    gone = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert gone() is None
    finally:
        gc.enable()


def test_a_parameter_that_was_moved_is_still_stepped():
    """The plan of which parameters step together holds as long as they lie where they lay."""
    net = tg.nn.Linear(3, 2, rng=tg.random.Generator(0))
    optimizer = optim.SGD(net.parameters(), 0.5)
    optimizer.step([tg.ones((2, 3)), tg.ones(2)])
    net.to(dtype="float64")
    before = [p.numpy() for p in optimizer.params]
    optimizer.step([tg.ones((2, 3), dtype="float64"), tg.ones(2, dtype="float64")])
    for p, b in zip(net.parameters(), before, strict=True):
        assert p.dtype == "float64" and (p.numpy() == b - 0.5).all()

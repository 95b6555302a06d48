"""Each schedule against its formula, PyTorch's where it is installed, and the conditions of Robbins and Monro."""

import math

import numpy as np
import pytest
import scipy.special
from equations import equation

import tinygen as tg
from tinygen import optim
from tinygen.optim import schedules as s


def optimizer(lr=0.2):
    return optim.SGD([tg.tensor([1.0], requires_grad=True)], lr)


def rates(factor, n, lr=0.2):
    """The learning rates of n steps."""
    o = optimizer(lr)
    schedule, found = optim.Schedule(o, factor), []
    for _ in range(n):
        found.append(o.lr)
        schedule.step()
    return found


def computed(kind, tag):
    """The mark of a row that checks (1) and this factor."""
    return [equation(optim.Schedule.rate, 1), equation(kind.__call__, tag)]


FORMULAS = [
    pytest.param(s.Constant(), lambda t: 1, marks=computed(s.Constant, 2)),
    pytest.param(s.RobbinsMonro(0.7, a=3.0, b=2.0), lambda t: 3 * math.exp(-0.7 * math.log(2 + t)),
                 marks=computed(s.RobbinsMonro, 3)),
    pytest.param(s.Steps(4, gamma=0.5), lambda t: [1, 0.5, 0.25, 0.125, 0.0625][t // 4], marks=computed(s.Steps, 4)),
    pytest.param(s.Exponential(0.9), lambda t: math.exp(t * math.log(0.9)), marks=computed(s.Exponential, 5)),
    pytest.param(s.Cosine(8, final=0.1), lambda t: 0.1 + 0.9 * math.cos(math.pi * min(t, 8) / 16) ** 2,  # half angle
                 marks=computed(s.Cosine, 6)),
    pytest.param(s.WarmUp(5), lambda t: [0.2, 0.4, 0.6, 0.8][t] if t < 4 else 1, marks=computed(s.WarmUp, 7)),
    (s.Product(s.WarmUp(5), s.Exponential(0.9)), lambda t: min(1, (t + 1) / 5) * 0.9**t),
    (s.Sequence((3, s.WarmUp(3)), (2, s.Constant()), (None, s.Exponential(0.5))),
     lambda t: [1 / 3, 2 / 3, 1, 1, 1][t] if t < 5 else 0.5 ** (t - 5)),
]  # fmt: skip


@pytest.mark.parametrize("factor, formula", FORMULAS)
def test_rates_are_the_formulas(factor, formula):
    np.testing.assert_allclose(rates(factor, 20), [0.2 * formula(t) for t in range(20)], rtol=1e-12)


@pytest.mark.parametrize(
    "factor, theirs",
    [
        (s.Steps(4, gamma=0.5), lambda o, m: m.StepLR(o, 4, gamma=0.5)),
        (s.Exponential(0.9), lambda o, m: m.ExponentialLR(o, 0.9)),
        (s.Cosine(20, final=0.1), lambda o, m: m.CosineAnnealingLR(o, 20, eta_min=0.02)),
        (s.WarmUp(5), lambda o, m: m.LinearLR(o, start_factor=1 / 5, total_iters=4)),
    ],
)
def test_rates_are_pytorchs(factor, theirs):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    o = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.2)
    schedule, found = theirs(o, torch.optim.lr_scheduler), []
    for _ in range(20):
        found.append(o.param_groups[0]["lr"])
        o.step()
        schedule.step()
    np.testing.assert_allclose(rates(factor, 20), found, rtol=1e-9)


def doubling_sums(f, power, n=12):
    """The sums of f(t)^power over 2^k <= t < 2^(k+1): by condensation, the whole sum is finite when they shrink."""
    return np.array([sum(f(t) ** power for t in range(2**k, 2 ** (k + 1))) for k in range(n)])


@pytest.mark.parametrize("p", [0.6, 0.8, 1.0])
@equation(s.RobbinsMonro.__call__, 8)
def test_robbins_monro_meets_both_conditions(p):
    f = s.RobbinsMonro(p)
    first, second = doubling_sums(f, 1), doubling_sums(f, 2)
    assert (first > 0.3).all()  # infinitely many of those: the sum is infinite
    ratios = second[1:] / second[:-1]
    assert ratios[-1] < 0.9 and abs(ratios[-1] - 2 ** (1 - 2 * p)) < 0.01  # a geometric series: the sum is finite
    known = sum(f(t) ** 2 for t in range(1000)) + scipy.special.zeta(2 * p, 1001)
    assert known == pytest.approx(scipy.special.zeta(2 * p, 1), rel=1e-10)  # namely Riemann's


def test_the_others_violate_one(p=0.4):  # (8)
    assert (np.diff(doubling_sums(s.Constant(), 2)) > 0).all()  # its squares' sum is infinite
    assert doubling_sums(s.Exponential(0.9), 1)[-1] < 1e-30  # its sum is finite
    assert (np.diff(doubling_sums(lambda t: (1 + t) ** -p, 2)) > 0).all()
    for wrong in (0.5, 1.1):
        with pytest.raises(ValueError, match="RobbinsMonro: p"):
            s.RobbinsMonro(wrong)


def ends(factor, lr, start=1.0, runs=2000, n=2000):
    """The last places of many noisy descents on x^2 / 2, at once: (runs,)."""
    noise = np.random.default_rng(0)
    x = tg.tensor(np.full(runs, start), requires_grad=True)
    o = optim.SGD([x], lr)
    schedule = optim.Schedule(o, factor)
    for _ in range(n):
        o.step([x.numpy() + noise.normal(size=runs)])
        schedule.step()
    return x.numpy()


def test_what_the_conditions_are_for():  # (8), and its closed form on a quadratic
    robbins, constant, stopped = ends(s.RobbinsMonro(), 1.0), ends(s.Constant(), 0.1), ends(s.Exponential(0.5), 0.1)
    assert abs(robbins.var() * 2000 - 1) < 0.15  # eta_t = 1/(1 + t) is the running mean of the noise: variance 1/n
    assert abs(constant.var() / (0.1 / 1.9) - 1) < 0.1  # a stationary variance of eta / (2 - eta), which stays
    assert abs(stopped.mean() - np.prod([1 - 0.1 * 0.5**t for t in range(60)])) < 0.01  # far from 0 for ever


def test_state_round_trip():
    a, b = optimizer(), optimizer(lr=7.0)
    factor = s.Product(s.WarmUp(3), s.Cosine(9))
    x, y = optim.Schedule(a, factor), optim.Schedule(b, factor)
    for _ in range(4):
        x.step()
    y.load_state_dict(x.state_dict())
    for _ in range(4):
        assert a.lr == b.lr
        x.step(), y.step()


@pytest.mark.parametrize("wrong", [
    lambda: s.Steps(0), lambda: s.Cosine(2.5), lambda: s.WarmUp(-1), lambda: s.Sequence(),
    lambda: s.Sequence((3, s.Constant())), lambda: s.RobbinsMonro(b=0), lambda: s.Steps(3, gamma=-0.1),
    lambda: s.Exponential(0.0), lambda: s.Cosine(3, final=-0.1),
])  # fmt: skip
def test_refusals(wrong):
    with pytest.raises(ValueError):
        wrong()

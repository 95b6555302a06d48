"""Promises of random.py: a draw is a function of (seed, stream, position), and follows its distribution."""

import copy
import itertools
import math
import pickle
import threading

import numpy as np
import pytest
from equations import equation
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tinygen.backend import DeviceError, Generator, to_numpy, watch_draws
from tinygen.backend.philox import philox

from .conftest import quick

ONES = 2**64 - 1
KNOWN_ANSWERS = [  # Random123's kat_vectors for philox4x64-10: counter, key, words
    ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    ([ONES] * 4, [ONES] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],  # digits of pi
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


def slow_philox(counter, key):
    """Philox4x64-10 with Python's integers, as its paper has it."""
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(b >> 64) ^ x[1] ^ k[0], b & ONES, (a >> 64) ^ x[3] ^ k[1], a & ONES]
        k = [(k[0] + 0x9E3779B97F4A7C15) & ONES, (k[1] + 0xBB67AE8584CAA73B) & ONES]
    return x


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("counter, key, words", KNOWN_ANSWERS, ids=["zeros", "ones", "pi"])
def test_known_answers(counter, key, words):
    want = [int(word, 16) for word in words.split()]
    assert slow_philox(counter, key) == want
    before = (sum(c << 64 * i for i, c in enumerate(counter)) - 1) % 2**256
    numpys = np.random.Philox(key=key[0] + (key[1] << 64), counter=before)
    assert numpys.random_raw(4).tolist() == want


def test_the_first_words_of_seed_0_are_the_known_answer(library):
    words = library.host(Generator(0, device=library.device)._words(4))
    assert " ".join(f"{int(w):016x}" for w in words) == KNOWN_ANSWERS[0][2]


@quick
@given(
    seed=st.integers(0, ONES),
    stream=st.integers(0, ONES),
    position=st.integers(0, 2**63),
    draws=st.lists(st.integers(0, 9), max_size=4),
)
def test_block_i_is_philox_of_i_whatever_was_drawn_before(library, seed, stream, position, draws):
    rng = Generator(device=library.device)
    rng.state = {"seed": seed, "stream": stream, "position": position}
    for n in draws:
        at = rng.state["position"]
        blocks = [slow_philox([at + i, 0, 0, 0], [seed, stream]) for i in range(-(-n // 4))]
        assert library.host(rng._words(n)).tolist() == list(itertools.chain(*blocks))[:n]
        assert rng.state["position"] == at + len(blocks)


def test_the_plain_reference_is_the_slow_one():
    counter = np.array([0, 1, 2**32, ONES], np.uint64)
    got = np.stack(philox(np, counter, 3, ONES), 1)
    assert got.tolist() == [slow_philox([int(c), 0, 0, 0], [3, ONES]) for c in counter]


# ---------------------------------------------------------------- state

DRAWS = {
    "uniform": lambda g: g.uniform((3, 5), -1, 2),
    "uniform float64": lambda g: g.uniform(5, dtype="float64"),
    "normal": lambda g: g.normal((3, 5), 1.0, 2.0),
    "normal float64": lambda g: g.normal(7, dtype="float64"),
    "bernoulli": lambda g: g.bernoulli(0.3, (4, 4)),
    "categorical": lambda g: g.categorical(g._xp.zeros((3, 4)), shape=6),
    "integers": lambda g: g.integers(-5, 6, (2, 3)),
    "permutation": lambda g: g.permutation(11),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_every_device_draws_the_same(library, draw):
    here, there = Generator(7, stream=3), Generator(7, stream=3, device=library.device)
    for _ in range(2):
        want, got = draw(here), draw(there)
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(library.host(got), want, rtol=1e-6)
        assert here.state == there.state


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_a_resumed_run_goes_on_bit_for_bit(library, draw):
    rng = Generator(11, device=library.device)
    draw(rng)
    saved = rng.state_dict()
    want = [library.host(draw(rng)) for _ in range(3)]
    assert any((want[0] != other).any() for other in want[1:])  # the state moves on
    other = Generator(device=library.device)
    other.load_state_dict({name: np.asarray(value, np.uint64) for name, value in saved.items()})
    for a in want:
        np.testing.assert_array_equal(library.host(draw(other)), a)
    rng.state = saved  # rewinding in place
    np.testing.assert_array_equal(library.host(draw(rng)), want[0])


def test_a_new_seed_at_the_same_position_takes_effect():
    rng = Generator(1)
    rng.normal(3)
    rng.state = rng.state | {"seed": 2}
    other = Generator(2)
    other.normal(3)
    np.testing.assert_array_equal(rng.normal(3), other.normal(3))


def test_copies_and_pickles_go_on_like_the_original():
    rng = Generator(5, stream=9)
    rng.normal(3)
    for twin in (copy.deepcopy(rng), copy.copy(rng), pickle.loads(pickle.dumps(rng))):
        assert twin.state == rng.state and twin.device == "cpu"
        np.testing.assert_array_equal(twin.normal(4), copy.deepcopy(rng).normal(4))


def test_zero_is_a_seed_and_none_is_fresh_entropy():
    assert Generator(0).state["seed"] == 0
    seeds = {Generator().state["seed"] for _ in range(8)}
    assert len(seeds) == 8 and all(0 <= seed < 2**63 for seed in seeds)


def test_bad_states_are_refused():
    for seed in (-1, 2**64, 1.5, "1"):
        with pytest.raises(ValueError, match="seed is .*; wanted a whole number from 0"):
            Generator(seed)
    with pytest.raises(ValueError, match="stream is -1"):
        Generator(0, stream=-1)
    for state in ({}, {"seed": 1, "stream": 0}, 3):
        with pytest.raises(ValueError, match="wanted a dict of seed, stream and position"):
            Generator(0).state = state
    with pytest.raises(ValueError, match="device"):
        Generator(0, device="gpu")


def test_spawned_streams_are_distinct_deterministic_and_share_no_words():
    def family():
        root = Generator(1)
        children = root.spawn(3) + root.spawn(2)
        return [root, *children, *(g for child in children for g in child.spawn(3)), Generator(1, stream=1)]

    generators = family()
    streams = [g.state["stream"] for g in generators]
    assert len(set(streams)) == len(streams) == 22 and all(s < 2**63 for s in streams)
    assert [g.state for g in family()] == [g.state for g in generators]
    words = np.concatenate([g._words(2000) for g in generators])
    assert len(np.unique(words)) == len(words)
    correlation = np.corrcoef([g.normal(4000) for g in generators]) - np.eye(22)
    assert abs(correlation).max() < 5 / math.sqrt(4000)


def test_spawning_moves_the_state_and_does_not_touch_the_draws():
    rng, plain = Generator(2), Generator(2)
    rng.spawn(3)
    assert rng.state["position"] == 3 and rng.spawn(0) == []
    plain.state = rng.state
    np.testing.assert_array_equal(rng.normal(8), plain.normal(8))
    with pytest.raises(ValueError, match="n is -1"):
        rng.spawn(-1)


# ---------------------------------------------------------------- distributions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_and_normal_pass_kolmogorov_smirnov(dtype):
    rng = Generator(2024)
    u, z = rng.uniform(40_000, -1.0, 3.0, dtype=dtype), rng.normal(40_000, 2.0, 0.5, dtype=dtype)
    assert u.dtype == z.dtype == dtype
    assert stats.kstest(u, stats.uniform(-1.0, 4.0).cdf).pvalue > 0.01
    assert stats.kstest(z, stats.norm(2.0, 0.5).cdf).pvalue > 0.01
    # The two numbers of a Box-Muller pair are independent, in sign and in size.
    z1, z2 = ((z - 2.0) / 0.5).reshape(2, -1)
    assert abs(np.corrcoef(z1, z2)[0, 1]) < 0.02 and abs(np.corrcoef(z1**2, z2**2)[0, 1]) < 0.02


@equation(Generator._unit, 1)
def test_uniform_numbers_are_words_cut_short(library):
    """random (1), and its like with 53 of 64 bits."""
    draw = lambda: Generator(3, device=library.device)
    words = library.host(draw()._words(40))
    halves = np.stack([words & 0xFFFFFFFF, words >> 32], 1).ravel()
    np.testing.assert_array_equal(library.host(draw().uniform(80)), np.floor(halves / 2**8) * 2.0**-24)
    exact = np.array([int(w) // 2**11 / 2**53 for w in words])
    np.testing.assert_array_equal(library.host(draw().uniform(40, dtype="float64")), exact)


@equation(Generator._normals, 2)
@pytest.mark.parametrize("dtype, slack", [("float32", 1e-5), ("float64", 1e-12)])
def test_normal_numbers_are_box_and_mullers(library, dtype, slack):
    """random (2): u1 in the middle of its cell, so that it is never 0; u2 from 0."""
    draw = lambda: Generator(4, device=library.device)
    words = library.host(draw()._words(40))
    bits = np.stack([words & 0xFFFFFFFF, words >> 32], 1).ravel() if dtype == "float32" else words >> 11
    u = bits[:40].astype("float64") / 2 ** (32 if dtype == "float32" else 53)
    half = 2.0 ** (-33 if dtype == "float32" else -54)
    radius, angle = np.sqrt(-2 * np.log(u[:20] + half)), 2 * np.pi * u[20:]
    wanted = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(library.host(draw().normal(40, dtype=dtype)), wanted, slack, slack)


def test_normal_reaches_as_far_as_it_should():
    z = Generator(3).normal(2_000_000)
    assert 4.6 < abs(z).max() < 6.8  # the largest of 2 million is near 5.1
    assert abs((z**4).mean() - 3) < 0.03


class Worst(Generator):
    """A generator whose words are all the same."""

    word = 0

    def _words(self, n):
        return np.full(n, self.word, np.uint64)


@quick
@given(
    low=st.floats(-1e6, 1e6, width=32),
    width=st.floats(1e-3, 1e6),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_uniform_never_reaches_high_even_by_rounding(low, width, dtype):
    high, rng = low + width, Worst(0)
    if np.dtype(dtype).type(low) == np.dtype(dtype).type(high):
        return
    for rng.word in (0, ONES):
        u = rng.uniform(3, low, high, dtype=dtype)
        assert (u >= np.asarray(low, dtype)).all() and (u < np.asarray(high, dtype)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_words_give_finite_normals_and_valid_classes(dtype):
    rng = Worst(0)
    for rng.word in (0, ONES):
        assert np.isfinite(rng.normal(4, dtype=dtype)).all()
        assert rng.categorical(probabilities=np.array([0.0, 0.1, 0.2, 0.0])).item() in (1, 2)
        assert rng.categorical(probabilities=np.array([[0.0, 1e-9, 0.2, 0.0]])).item() in (1, 2)
        assert rng.categorical(probabilities=np.array([5e-324, 0.0])).item() == 0
        assert rng.bernoulli(1.0).item() == 1 and rng.bernoulli(0.0).item() == 0


def chi_square(counts, expected):
    """The p-value of observed counts."""
    return stats.chisquare(counts, np.asarray(expected) / np.sum(expected) * counts.sum()).pvalue


def test_integers_are_even():
    drawn = Generator(4).integers(-3, 4, (30_000,))
    assert drawn.dtype == np.int64 and drawn.min() == -3 and drawn.max() == 3
    assert chi_square(np.bincount(drawn + 3), np.ones(7)) > 0.01
    wide = Generator(4).integers(-(2**63), 0, 1000)
    assert wide.max() < 0 and abs(wide.astype(float).mean() / 2**63 + 0.5) < 0.03


@pytest.mark.parametrize("give", ["logits", "probabilities"])
def test_categorical_follows_its_probabilities(library, give):
    p = np.array([[0.1, 0.0, 0.5, 0.4], [0.25, 0.25, 0.25, 0.25]])
    with np.errstate(divide="ignore"):
        given_ = {give: library.array(np.log(p) + 3.0 if give == "logits" else 8 * p)}
    drawn = library.host(Generator(5, device=library.device).categorical(**given_, shape=(100, 200)))
    assert drawn.shape == (100, 200, 2) and drawn.dtype == np.int64
    for k in range(2):
        counts = np.bincount(drawn[..., k].ravel(), minlength=4)
        assert (counts[p[k] == 0] == 0).all()
        assert chi_square(counts[p[k] > 0], p[k][p[k] > 0]) > 0.01


def test_one_distribution_and_a_stack_of_one_agree():
    p = np.array([0.2, 0.3, 0.5])
    one = Generator(6).categorical(probabilities=p, shape=50)
    np.testing.assert_array_equal(one, Generator(6).categorical(probabilities=p[None], shape=50)[:, 0])
    assert Generator(6).categorical(probabilities=p).shape == ()


def test_bernoulli_has_its_mean(library):
    rng = Generator(7, device=library.device)
    assert abs(library.host(rng.bernoulli(0.3, 20_000)).mean() - 0.3) < 0.015
    p = library.array([0.0, 0.2, 1.0], "float32")
    drawn = library.host(rng.bernoulli(p, (10_000, 3), dtype="bool"))
    assert drawn.dtype == bool
    np.testing.assert_allclose(drawn.mean(0), [0, 0.2, 1], atol=0.02)
    assert library.host(rng.bernoulli(p)).shape == (3,)


def test_permutations_are_permutations_and_all_of_them():
    rng = Generator(8)
    assert sorted(rng.permutation(100).tolist()) == list(range(100)) and rng.permutation(0).shape == (0,)
    index = {p: i for i, p in enumerate(itertools.permutations(range(4)))}
    counts = np.bincount([index[tuple(rng.permutation(4).tolist())] for _ in range(4800)], minlength=24)
    assert chi_square(counts, np.ones(24)) > 0.01


@pytest.mark.parametrize(
    "shape, want", [((), ()), (3, (3,)), ((2, 0), (2, 0)), ([2, 3], (2, 3)), (np.int64(2), (2,))]
)
def test_shapes(library, shape, want):
    rng = Generator(9, device=library.device)
    for out in (rng.uniform(shape), rng.normal(shape), rng.bernoulli(0.5, shape), rng.integers(0, 9, shape)):
        assert type(out) is library.xp.ndarray and out.shape == want


def test_bad_arguments_are_named(library):
    rng = Generator(10, device=library.device)
    for shape in (-1, (2, -3), 1.5, (2.0,), "3"):
        with pytest.raises(ValueError, match="shape is"):
            rng.normal(shape)
    with pytest.raises(ValueError, match="dtype is float16; wanted float32 or float64"):
        rng.uniform(3, dtype="float16")
    for low, high in ((1, 1), (2, 1), (0, math.inf), (math.nan, 1), (1.0, 1.0 + 1e-12)):
        with pytest.raises(ValueError, match="uniform: low is"):
            rng.uniform(3, low, high)
    for std in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="normal: std is"):
            rng.normal(3, 0.0, std)
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="outside"):
            rng.bernoulli(p)
    with pytest.raises(TypeError, match="p is a list"):
        rng.bernoulli([0.5])
    for low, high in ((3, 3), (4, 3), (0, 2**64)):
        with pytest.raises(ValueError, match="integers: low is"):
            rng.integers(low, high)
    with pytest.raises(ValueError, match="n is -2"):
        rng.permutation(-2)
    with pytest.raises(ValueError, match="either logits or probabilities"):
        rng.categorical()
    with pytest.raises(ValueError, match=r"shape \(\); wanted classes"):
        rng.categorical(library.array(1.0))


def test_bad_arrays_are_refused_on_the_cpu():
    rng = Generator(11)
    for p in ([0.5, -0.1], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]):
        with pytest.raises(ValueError, match="probabilities must be finite"):
            rng.categorical(probabilities=np.array(p))
    for logits in ([math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]):
        with pytest.raises(ValueError, match="logits must not be"):
            rng.categorical(np.array(logits))
    with pytest.raises(ValueError, match="outside"):
        rng.bernoulli(np.array([0.5, 2.0]))
    with pytest.raises(ValueError, match="broadcast"):
        rng.bernoulli(np.array([0.5, 0.5]), (3,))
    with pytest.raises(ValueError, match="broadcast"):
        rng.bernoulli(np.full((3, 2), 0.5), (2,))


def test_a_generator_refuses_parameters_of_another_device(library):
    if library.xp is np:
        pytest.skip("one library only: nothing to mix")
    with pytest.raises(DeviceError, match="p is on cpu and the generator on cuda:0"):
        Generator(0, device="cuda").bernoulli(np.array([0.5]))
    with pytest.raises(DeviceError, match="logits is on cuda:0 and the generator on cpu"):
        Generator(0).categorical(library.array([0.0, 1.0]))


def test_draws_on_the_device_do_not_wait_for_it(library):
    rng, p = Generator(12, device=library.device), library.array([0.2, 0.8])
    with library.forbid_sync():
        rng.normal((3, 2)), rng.uniform(5, 1.0, 2.0), rng.bernoulli(p, (4, 2)), rng.integers(0, 5, 3)
        rng.categorical(probabilities=p, shape=3), rng.permutation(6)


# ---------------------------------------------------------------- watching


def test_watching_notes_the_state_before_the_first_draw():
    a, b, idle = Generator(1), Generator(2), Generator(3)
    a.normal(3)
    before = a.state
    with watch_draws() as outer:
        first = a.normal(5)
        with watch_draws() as inner:
            b.uniform(2)
            a.integers(0, 3)
        a.spawn(1)
    idle.normal(2)
    assert set(outer) == {a, b} and outer[a] == before and outer[b]["position"] == 0
    assert set(inner) == {a, b} and inner[a]["position"] == before["position"] + 1
    for rng, state in outer.items():
        rng.state = state
    np.testing.assert_array_equal(a.normal(5), first)


def test_watching_ends_with_the_block_and_stays_in_its_thread():
    rng = Generator(0)
    with pytest.raises(KeyError), watch_draws() as seen:
        thread = threading.Thread(target=rng.normal, args=(3,))
        thread.start()
        thread.join()
        raise KeyError
    rng.normal(3)
    assert seen == {}


def test_results_are_arrays_that_own_what_they_show():
    rng = Generator(0)
    a, b = rng.normal(5), rng.normal(5)
    assert not np.shares_memory(a, b) and a.flags.writeable
    assert to_numpy(a) is a


def test_numbers_that_are_not_finite_or_overflow_are_refused():
    rng = Generator(0)
    with pytest.raises(ValueError, match="uniform: .* finite difference"):
        rng.uniform(3, -3e38, 3e38)
    assert np.isfinite(rng.uniform(3, -3e38, 3e38, dtype="float64")).all()
    with pytest.raises(ValueError, match="categorical: .* finite number"):
        rng.categorical(probabilities=np.array([1e308, 1e308]))
    for mean in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"normal: mean is {mean}"):
            rng.normal(3, mean)

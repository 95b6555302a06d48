"""Raw audio: samples and files, partials, dilated causal convolutions by loops and by PyTorch, and the model."""

import doctest
import importlib
import wave

import numpy as np
import pytest
import scipy.special
from equations import equation
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen.backend import arrays
from tinygen.models.supervised import DilatedNet
from tinygen.models.supervised import audio as chapter
from tinygen.runs import Run

demo = importlib.import_module("demos.inputs")
rng = np.random.default_rng(0)
S, WHO = rng.normal(size=(20, 12)), np.arange(20) % 3


def net(seed=0, device="cpu", **options):
    options = {"channels": 3, "dilations": (1, 2, 4), **options}
    return DilatedNet(12, 3, **options, rng=tg.random.Generator(seed, device=device))


# ---- sound as numbers ---------------------------------------------------------------------------------------------


@equation(chapter.read_wav, 1)
def test_a_file_holds_rounded_samples(tmp_path):
    s = rng.uniform(-1, 1, 1000)
    chapter.write_wav(tmp_path / "a.wav", s, 8000)
    found, rate = chapter.read_wav(tmp_path / "a.wav")
    assert rate == 8000 and found.dtype == np.float32
    assert np.abs(found.astype(float) - s).max() <= 0.5001 / 32767  # half a step, and float32's own rounding
    with wave.open(str(tmp_path / "a.wav")) as file:
        stored = np.frombuffer(file.readframes(1000), "<i2")
    np.testing.assert_array_equal(stored, chapter.quantised(s))
    assert [chapter.quantised(np.array(v)).item() for v in (-1.0, 0.0, 0.1, 1.0, 7.0)] == [
        -32767,
        0,
        3277,
        32767,
        32767,
    ]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.sampled_from([8000, 44100]))
def test_what_is_written_twice_is_the_same_file(tmp_path_factory, values, rate):
    """Rounding happens once."""
    folder = tmp_path_factory.mktemp("wav")
    chapter.write_wav(folder / "a.wav", np.array(values), rate)
    chapter.write_wav(folder / "b.wav", *chapter.read_wav(folder / "a.wav"))
    assert (folder / "a.wav").read_bytes() == (folder / "b.wav").read_bytes()


def test_several_channels_are_averaged_and_other_widths_refused(tmp_path):
    for name, channels, width in (("two", 2, 2), ("bytes", 1, 1)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(100)
            file.writeframes(np.array([100, 300, -100, -500], "<i2").tobytes())
    np.testing.assert_allclose(chapter.read_wav(tmp_path / "two")[0], [200 / 32767, -300 / 32767], rtol=1e-6)
    with pytest.raises(ValueError, match="samples of 8 bits; 16 are wanted"):
        chapter.read_wav(tmp_path / "bytes")
    with pytest.raises(ValueError, match=r"s has shape \(0,\)"):
        chapter.write_wav(tmp_path / "none", np.zeros(0), 100)


@equation(chapter.tone, 2)
def test_a_tone_by_loops():
    tau, (f, a, beta, phi) = np.linspace(0, 0.1, 7), rng.uniform(1, 5, (4, 3))
    expected = [sum(a[k] * np.exp(-beta[k] * t) * np.sin(2 * np.pi * f[k] * t + phi[k]) for k in range(3)) for t in tau]
    np.testing.assert_allclose(chapter.tone(tau, f, a, beta, phi), expected, rtol=1e-10)


def test_notes_have_the_partials_of_their_instrument_and_none_beyond_half_the_rate():
    T, rate = 4000, 8000
    s, who = chapter.notes(60, T, tg.random.Generator(0), noise=0.0)
    assert s.shape == (60, T) and s.dtype == np.float32 and np.abs(s).max() <= 1 and set(who) == set(range(5))
    names = list(chapter.INSTRUMENTS)
    for sound, kind in zip(s, who, strict=True):
        power = np.abs(np.fft.rfft(sound * np.hanning(T))) ** 2  # (T / 2 + 1,), two a second
        lowest = int(np.argmax(power))
        assert 2 * 100 / rate * T / 2 < lowest < 2 * 900 * T / rate
        second, third = (power[int(m * lowest) - m - 2 : int(m * lowest) + m + 3].sum() for m in (2, 3))
        if names[kind] == "clarinet":
            assert third > 50 * second
        if names[kind] == "violin":
            assert second > third > 0.01 * power[lowest]
    again, _ = chapter.notes(60, T, tg.random.Generator(0), noise=0.0)
    np.testing.assert_array_equal(s, again)


# ---- the network --------------------------------------------------------------------------------------------------


@equation(chapter.causal, 3)
@pytest.mark.parametrize("K, d", [(2, 1), (2, 4), (3, 2), (2, 20)])
def test_dilated_causal_convolution_by_loops(K, d, device):
    x, w, b = rng.normal(size=(2, 3, 9)), rng.normal(size=(4, 3, K)), rng.normal(size=4)
    found = arrays.to_numpy(chapter.causal(*(arrays.asarray(a, device=device) for a in (x, w, b)), d))
    np.testing.assert_allclose(found, demo.causal_by_loops(x, w, b, d), rtol=1e-10)


def test_dilated_causal_convolution_is_pytorchs_and_its_gradients_are_exact():
    x, w, b = rng.normal(size=(2, 3, 9)), rng.normal(size=(4, 3, 2)), rng.normal(size=4)
    tg.check_grads(lambda x, w, b: chapter.causal(x, w, b, 3), (x, w, b))
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    x_t, w_t, b_t = (torch.from_numpy(a) for a in (x, w, b))
    expected = torch.nn.functional.conv1d(torch.nn.functional.pad(x_t, (3, 0)), w_t, b_t, dilation=3)
    np.testing.assert_allclose(chapter.causal(x, w, b, 3), expected, atol=1e-5)


@equation(chapter.receptive_field, 4)
@pytest.mark.parametrize("K, dilations", [(2, (1, 2, 4, 8)), (3, (1, 3)), (2, (1, 1, 1)), (2, (5,))])
def test_receptive_field_by_the_gradient(K, dilations):
    x = tg.tensor(np.ones((1, 1, 60)), requires_grad=True)
    h = x
    for d in dilations:
        h = chapter.causal(h, np.ones((1, 1, K)), np.zeros(1), d)
    seen = np.flatnonzero(tg.grad(h[0, 0, 50], x).numpy()[0, 0])
    assert seen[-1] == 50 and 50 - seen[0] + 1 == chapter.receptive_field(K, dilations)  # nothing of the future
    if dilations == (1, 2, 4, 8):
        assert len(seen) == chapter.receptive_field(K, dilations) == 2**4  # and nothing is skipped


@equation(chapter.GatedLayer.forward, 5)
def test_a_gated_layer_by_loops(device):
    layer = chapter.GatedLayer(2, 2, 3, rng=tg.random.Generator(0)).to(dtype="float64")
    h, w, b = rng.normal(size=(2, 2, 8)), layer.gated.weight.numpy(), layer.gated.bias.numpy()
    f, g = (demo.causal_by_loops(h, w[half], b[half], 3) for half in (slice(2), slice(2, 4)))
    z = np.tanh(f) * scipy.special.expit(g)
    out = np.einsum("oc,bct->bot", layer.out.weight.numpy()[..., 0], z) + layer.out.bias.numpy()[:, None]
    there = layer.to(device)
    np.testing.assert_allclose(there(tg.tensor(h, device=device)).numpy(), h + out, rtol=1e-10)


def test_gradients_of_a_gated_layer_at_both_orders():
    layer = chapter.GatedLayer(2, 2, 2, rng=tg.random.Generator(0)).to(dtype="float64")
    names, values = zip(*((name, p.numpy()) for name, p in layer.named_parameters()), strict=True)
    tg.check_grads(lambda h, *p: tg.nn.functional_call(layer, dict(zip(names, p, strict=True)), h),
                   (rng.normal(size=(1, 2, 5)), *values))  # fmt: skip


@equation(DilatedNet.forward, 6)
@equation(DilatedNet.along, 6)
def test_the_answer_is_the_softmax_of_a_mean_of_scores_and_so_is_the_answer_so_far():
    model = net().to(dtype="float64")
    level = S / np.sqrt((S**2).mean(1, keepdims=True))
    h = model.hidden(tg.tensor(level)).numpy()  # (n, channels, T)
    scores = np.einsum("kc,nct->ntk", model.readout.weight.numpy(), h) + model.readout.bias.numpy()
    np.testing.assert_allclose(model(tg.tensor(S)).numpy(), scores.mean(1), rtol=1e-9)
    so_far = np.stack([scores[:, : t + 1].mean(1) for t in range(12)], 1)
    np.testing.assert_allclose(model.along(S), scipy.special.softmax(so_far, 2), rtol=1e-9)
    np.testing.assert_allclose(model.along(S)[:, -1], np.exp(model.predict_log_proba(S)), rtol=1e-9)


def test_layers_hear_the_past_only_and_loudness_does_not_matter():
    model = net()
    later = S.copy()
    later[:, 8:] = 3
    before, after = (model.hidden(tg.tensor(s.astype(np.float32))).numpy() for s in (S, later))
    np.testing.assert_array_equal(before[..., :8], after[..., :8])
    np.testing.assert_allclose(model.predict_log_proba(S), model.predict_log_proba(7 * S), rtol=1e-4, atol=1e-5)
    assert np.isfinite(model.predict_log_proba(np.zeros((1, 12)))).all()  # silence


def test_it_learns_a_distance_that_no_single_sample_tells():
    """Of noise, the same four samples later or not."""
    draw = np.random.default_rng(2)
    x, y = draw.choice([-1.0, 1.0], size=(300, 24)), np.arange(300) % 2
    for t in range(4, 24):
        x[y == 1, t] = x[y == 1, t - 4]
    model = DilatedNet(24, 2, channels=8, dilations=(1, 2, 4), lr=2e-2, rng=tg.random.Generator(0))
    model.fit(x, y, steps=150, batch_size=50, run=Run(quiet=True))
    assert model.score(x, y) > 0.9


def test_on_the_stand_in_for_a_gpu(device):
    def learnt(device):
        model = net(device=device).fit(S, WHO, steps=2, batch_size=9, run=Run(quiet=True))
        return model.predict_log_proba(S), model.along(S)

    for found, expected in zip(learnt(device), learnt("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match=r"got 12, 3, 2 and \(1, 0\)"):
        net(dilations=(1, 0))
    with pytest.raises(ValueError, match=r"DilatedNet: x has shape \(20, 11\); at least one row of 12"):
        net().predict(S[:, 1:])


def test_the_docstrings_examples():
    assert doctest.testmod(chapter).failed == 0


@pytest.mark.parametrize("loudness", [1e-20, 1e-4, 1, 1e20])
def test_sounds_of_any_loudness_are_levelled(loudness):
    s = (loudness * rng.normal(size=(3, 50))).astype(np.float32)
    np.testing.assert_allclose(np.mean(np.square(chapter.levelled(s)), 1), 1, rtol=1e-5)
    assert (chapter.levelled(0 * s) == 0).all()


def test_the_lowest_number_of_a_file_is_minus_one(tmp_path):
    with wave.open(str(tmp_path / "low.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.array([-32768, 32767], "<i2").tobytes())
    np.testing.assert_array_equal(chapter.read_wav(tmp_path / "low.wav")[0], [-1, 1])

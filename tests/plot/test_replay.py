"""The recorder keeps what it is given, within half a quantum, through kills and onto the page."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tinygen as tg
from tinygen import plot
from tinygen.plot.replay import log_spaced

BOX = (-2.0, 4.0, 1.0, 2.0)
HALF = 0.5 + 1e-9  # quanta, and the rounding of the test's own sums


def recording(page: str) -> dict:
    """What the page's script reads, with every part of every layer decoded: (frames, ...) and the quantum."""
    found = json.loads(re.search(r'id="recording">(.*?)</script>', page, re.S)[1])
    x0, x1, y0, y1 = found["box"]
    places = np.array([[2 * x0 - x1, 2 * y0 - y1], [2 * x1 - x0, 2 * y1 - y0]])
    for layer in found["layers"]:
        layer["quanta"] = {}
        for name, part in layer["parts"].items():
            codes = np.frombuffer(base64.b64decode(part["codes"]), "u1" if part["bits"] == 8 else "<u2")
            codes = codes.reshape(-1, *part["shape"])
            spread = (len(codes), *[1] * (codes.ndim - 1))
            low, high = places if part["ends"] is None else (e.reshape(spread) for e in np.array(part["ends"]).T)
            quantum = (high - low) / (2 ** part["bits"] - 1)
            layer["parts"][name], layer["quanta"][name] = low + codes * quantum, quantum
    found["layers"] = {layer["name"]: layer for layer in found["layers"]}
    return found


def one(kind: str, value, **options) -> dict:
    """A layer that was recorded once, as the page decodes it."""
    replay = plot.Replay(BOX, steps=10, **options)
    replay.record(0, **{kind: {"it": value}})
    return recording(replay.page())["layers"]["it"]


def close(layer, part, wanted) -> bool:
    return bool((np.abs(layer["parts"][part][0] - wanted) <= HALF * layer["quanta"][part]).all())


def full(step: int = 0, seed: int = 0) -> dict:
    """A layer of every kind, and a scalar."""
    rng = np.random.default_rng((seed, step))
    return dict(
        points={"samples": rng.normal(size=(5, 2)), "classes": (rng.normal(size=(4, 2)), rng.integers(0, 256, 4))},
        fields={"density": rng.normal(size=(3, 4))},
        grids={"sheet": rng.normal(size=(2, 3, 2))},
        arrows={"pull": (rng.normal(size=(5, 2)), rng.normal(size=(5, 2)))},
        ellipses={"components": (rng.normal(size=(2, 2)), np.eye(2) * rng.uniform(size=(2, 1, 1)))},
        scalars={"modes": step % 3, "loss": rng.normal()},
    )


# ---- exactness --------------------------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6)
within = lambda shape: arrays(np.float64, shape, elements=st.floats(0, 1)).map(
    lambda share: np.array([-8.0, 0.0]) + share * np.array([18.0, 3.0])  # three times the box
)


@given(within((4, 2)), within((2, 3, 2)))
def test_places_within_three_times_the_box_come_back_within_half_a_quantum(points, mesh):
    layer = one("points", points)
    np.testing.assert_allclose(layer["quanta"]["at"], [18 / 65535, 3 / 65535])
    assert close(layer, "at", points) and close(one("grids", mesh), "at", mesh)


def test_places_further_out_are_put_at_the_edge():
    assert one("points", [[1e300, -1e300]])["parts"]["at"].tolist() == [[[10.0, 0.0]]]


@given(arrays(np.float64, (3, 4), elements=numbers))
def test_fields_come_back_within_half_a_quantum_of_their_own_range(field):
    layer = one("fields", field)
    np.testing.assert_allclose(layer["quanta"]["value"], np.ptp(field) / 255, atol=1e-300)
    assert close(layer, "value", field)


@given(arrays(np.float64, (3, 4), elements=st.floats(-3, 3)))
def test_fields_of_a_given_range_are_cut_there(field):
    layer = one("fields", field, ranges={"it": (0, 0.25, 1)})
    np.testing.assert_allclose(layer["quanta"]["value"], 1 / 255)
    assert layer["range"] == [0, 0.25, 1] and close(layer, "value", np.clip(field, 0, 1))


@given(arrays(np.float64, (5, 2), elements=numbers))
def test_arrows_come_back_within_half_a_quantum(vectors):
    layer = one("arrows", (np.ones((5, 2)), vectors))
    np.testing.assert_allclose(layer["quanta"]["by"], 2 * np.abs(vectors).max() / 65535, atol=1e-300)
    assert close(layer, "by", vectors) and close(layer, "at", 1)


@given(arrays(np.float64, (3, 2, 2), elements=st.floats(-100, 100)))
def test_ellipses_come_back_as_symmetric_roots_of_their_covariances(factors):
    covariances = factors @ factors.transpose(0, 2, 1)  # some of them singular
    values, vectors = np.linalg.eigh(covariances)
    roots = np.einsum("kij,kj,klj->kil", vectors, np.sqrt(np.maximum(values, 0)), vectors)
    layer = one("ellipses", (np.ones((3, 2)), covariances))
    error = np.abs(layer["parts"]["root"][0] - roots[:, [0, 0, 1], [0, 1, 1]])
    rounding = 1e-7 * np.abs(factors).max()  # a root doubles no digits: eps becomes its square root
    assert (error <= HALF * layer["quanta"]["root"][0] + rounding).all() and close(layer, "at", 1)


def test_labels_are_exact():
    labels = np.array([0, 255, 7])
    np.testing.assert_allclose(one("points", (np.ones((3, 2)), labels))["parts"]["label"][0], labels, rtol=1e-15)


def test_the_page_holds_steps_scalars_and_data():
    replay = plot.Replay(BOX, steps=10, data=[[0.0, 1.5]], glide=False)
    for step in (0, 3, 9):
        replay.record(step, points={"x": np.ones((1, 2))}, scalars={"loss": tg.tensor(step / 3), "modes": np.int64(2)})
    found = recording(replay.page())
    assert found["steps"] == [0, 3, 9] == list(replay.recorded) and found["glide"] is False
    assert found["scalars"] == [{"name": "loss", "values": [0.0, float(np.float32(1)), 3.0]},
                                {"name": "modes", "values": [2.0, 2.0, 2.0]}]  # fmt: skip
    assert close(found["layers"]["data"], "at", [0, 1.5]) and list(found["layers"]) == ["data", "x"]


# ---- frames -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**7), st.integers(3, 200))
def test_due_steps_are_log_spaced(steps, frames):
    found = log_spaced(steps, frames)
    assert found[0] == 0 and found[-1] == steps and len(found) == min(frames, steps + 1)
    assert all(b > a for a, b in zip(found, found[1:], strict=False))
    gaps = np.diff(found)
    assert (np.diff(gaps) >= -np.maximum(1, 0.02 * gaps[1:])).all()  # the further, the wider, but for rounding
    replay = plot.Replay(BOX, steps=steps, frames=frames)
    assert [step for step in found if replay.due(step)] == found and not replay.due(steps + 1)


def test_frames_are_cut_and_recorded_anew():
    replay = plot.Replay(BOX, steps=10)
    for step in range(5):
        replay.record(step, **full(step))
    straight = replay.page()
    replay.cut(2)
    assert replay.recorded == (0, 1, 2)
    for step in (3, 4):
        replay.record(step, **full(step))
    assert replay.page() == straight


@pytest.mark.parametrize("killed", [0, 1, 4])
def test_a_killed_recorder_goes_on_to_the_same_bytes(tmp_path, killed):
    straight, first, second = (plot.Replay(BOX, steps=10, ranges={"density": (-1, 1)}) for _ in range(3))
    for step in range(6):
        straight.record(step, **full(step))
        if step < killed:
            first.record(step, **full(step))
    tg.save(tmp_path / "state.safetensors", {"replay": first.state_dict()})
    second.record(0, **full(seed=1))  # what was there before is replaced
    second.load_state_dict(tg.load(tmp_path / "state.safetensors")["replay"])
    for step in range(killed, 6):
        second.record(step, **full(step))
    straight.write(tmp_path / "a.html")
    second.write(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_run_carries_the_recorder_of_its_owner(tmp_path):
    """As an attribute of a Model it is saved and restored with it."""
    from tinygen.models.model import Model
    from tinygen.runs import Run

    def owner():
        model = Model()
        model.replay = plot.Replay(BOX, steps=8)
        return model

    def train(run, model, stop=9):
        for step in run.steps(model, 8, save_every=2):
            model.replay.record(step, **full(step))
            if step == stop:
                return

    killed, resumed, straight = owner(), owner(), owner()
    train(Run(tmp_path / "run", quiet=True), killed, stop=5)
    train(Run.resume(tmp_path / "run", quiet=True), resumed)
    train(Run(quiet=True), straight)
    assert resumed.replay.page() == straight.replay.page()


def test_a_state_of_another_box_is_refused():
    state = plot.Replay((0, 1, 0, 1), steps=3).state_dict()
    with pytest.raises(ValueError, match=r"box \[0.0, 1.0, 0.0, 1.0\]"):
        plot.Replay(BOX, steps=3).load_state_dict(state)


# ---- the page ---------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>alert('1')</script><!-- & \" ' {{recording}} \u2028 é"


def test_text_of_the_user_is_text_on_the_page():
    replay = plot.Replay(BOX, steps=3, title=HOSTILE, caption=HOSTILE)
    replay.record(0, points={HOSTILE: np.ones((1, 2))}, scalars={HOSTILE: 1.0})
    page = replay.page()
    plain = plot.Replay(BOX, steps=3)
    plain.record(0, points={"a": np.ones((1, 2))})
    assert page.count("<script") == plain.page().count("<script") and "alert('1')</" not in page
    assert html.unescape(re.search("<title>(.*?)</title>", page, re.S)[1]) == HOSTILE
    found = recording(page)
    assert list(found["layers"]) == [HOSTILE] and found["scalars"][0]["name"] == HOSTILE


def test_the_page_names_no_other_address():
    page = Path(plot.replay.__file__).with_suffix(".html").read_text(encoding="utf-8")
    found = set(re.findall(r"[a-z]+://[^\s\"'`<]+", page))
    assert found == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert "default-src 'none'" in page and not re.search(r"@import|\bfetch\(|XMLHttp|WebSocket|\bimport\(", page)


def test_write_leaves_the_old_page_or_the_new_one_and_refuses_a_large_one(tmp_path):
    replay = plot.Replay(BOX, steps=3)
    replay.record(0, points={"many": np.ones((90_000, 2)), "few": np.ones((2, 2))})
    (tmp_path / "replay.html").write_text("old")
    with pytest.raises(ValueError, match=r"more than limit=400000.*fewer points.*'many' \(480000\)"):
        replay.write(tmp_path / "replay.html")
    assert (tmp_path / "replay.html").read_text() == "old"
    replay.write(tmp_path / "replay.html", limit=600_000)
    assert (tmp_path / "replay.html").read_text(encoding="utf-8") == replay.page()
    assert [path.name for path in tmp_path.iterdir()] == ["replay.html"]


def test_a_gan_of_the_usual_size_fits(tmp_path):
    """60 frames of 300 samples, 40 x 40 cells, 15 x 15 codes and 60 arrows, with three curves."""
    rng = np.random.default_rng(0)
    replay = plot.Replay(BOX, steps=10**5, data=rng.normal(size=(300, 2)))
    for step in filter(replay.due, range(10**5 + 1)):
        x = rng.normal(size=(300, 2))
        replay.record(step, points={"samples": x}, fields={"discriminator": rng.normal(size=(40, 40))},
                      grids={"generator": rng.normal(size=(15, 15, 2))}, arrows={"gradient": (x[:60], x[:60])},
                      scalars=dict(zip("abc", rng.normal(size=3), strict=True)))  # fmt: skip
    assert len(replay.recorded) == 60
    replay.write(tmp_path / "replay.html")


def test_an_installed_package_has_its_data():
    """Every file of the package that is not Python is named in setup.py."""
    root = Path(plot.replay.__file__).parents[2]
    named = re.search(r'package_data=\{"tinygen": (\[.*?\])', (root / "setup.py").read_text(encoding="utf-8"))
    files = [path.relative_to(root / "tinygen") for path in (root / "tinygen").rglob("*.*") if path.is_file()]
    other = [path for path in files if path.suffix not in (".py", ".pyc") and "/." not in f"/{path}"]  # no caches
    assert Path("plot/replay.html") in other
    assert [path for path in other if not any(map(path.match, json.loads(named[1])))] == []


# ---- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, value, wanted", [
    ("points", np.ones((3, 3)), r"step 7, points 'it' has shape \(3, 3\); \(n, 2\) is wanted"),
    ("points", np.ones((0, 2)), r"\(0, 2\); \(n, 2\)"),
    ("points", [[1.0, np.nan]], r"step 7, points 'it' holds nan \(1 of 2"),
    ("points", (np.ones((3, 2)), [0, 1]), r"labels has shape \(2,\); \(3,\)"),
    ("points", (np.ones((2, 2)), [0, 0.5]), "integers 0..255"),
    ("points", (np.ones((2, 2)), [0, 256]), r"labels lie in 0..256; integers 0..255"),
    ("points", (np.ones((2, 2)),), "a pair of points"),
    ("fields", np.ones(4), r"\(4,\); \(h, w\)"),
    ("fields", [[np.inf, 0.0]], "step 7, fields 'it' holds inf"),
    ("grids", np.ones((3, 2)), r"\(3, 2\); \(r, c, 2\)"),
    ("arrows", np.ones((3, 2)), "ndarray; a pair of starts"),
    ("arrows", (np.ones((3, 2)), np.ones((2, 2))), r"vectors has shape \(2, 2\); \(3, 2\)"),
    ("ellipses", (np.ones((1, 2)), [[[1.0, 2.0], [2.0, 1.0]]]), "covariances: number 0 is .* negative eigenvalues"),
    ("ellipses", (np.ones((1, 2)), [[[1.0, 0.5], [0.0, 1.0]]]), "symmetric"),
    ("ellipses", (np.ones((1, 2)), -np.eye(2)[None]), "negative"),
    ("ellipses", (np.ones((2, 2)), np.eye(2)[None]), r"\(1, 2, 2\); \(2, 2, 2\)"),
    ("scalars", np.ones(2), r"scalar 'it' has shape \(2,\); \(\) is wanted"),
    ("scalars", -np.inf, "step 7, scalar 'it' holds -inf"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused_and_nothing_is_kept(kind, value, wanted):
    replay = plot.Replay(BOX, steps=10)
    layers = {"points": {"good": np.ones((1, 2))}}
    layers[kind] = {**layers.get(kind, {}), "it": value}
    with pytest.raises(ValueError, match=wanted):
        replay.record(7, **layers)
    assert replay.recorded == ()


@pytest.mark.parametrize("change, wanted", [
    (dict(points={"a": np.ones((4, 2))}), r"step 2: a is .*\(4, 2\).* but .*\(3, 2\).* at step 1"),
    (dict(points={"b": np.ones((3, 2))}), "a is missing"),
    (dict(grids={"b": np.ones((2, 2, 2))}), "b is .* but missing at step 1"),
    (dict(scalars={}), "scalar loss is missing"),
    (dict(points={}, grids={"a": np.ones((3, 1, 2))}), "grids.*points"),
])  # fmt: skip
def test_every_frame_has_the_same_layers(change, wanted):
    replay = plot.Replay(BOX, steps=10)
    same = dict(points={"a": np.ones((3, 2))}, scalars={"loss": 1.0})
    replay.record(1, **same)
    with pytest.raises(ValueError, match=wanted):
        replay.record(2, **{**same, **change})
    with pytest.raises(ValueError, match=r"step 1 comes after step 1"):
        replay.record(1, **same)
    assert replay.recorded == (1,)


def test_other_mistakes_are_refused():
    for box in ((0, 0, 0, 1), (0, 1, 1, 0), (0, np.inf, 0, 1)):
        with pytest.raises(ValueError, match="x0 < x1"):
            plot.Replay(box, steps=3)
    with pytest.raises(ValueError, match="steps is 0"):
        plot.Replay(BOX, steps=0)
    for ends in ((1, 0), (0, 0, 1), (0,), (0, np.nan)):
        with pytest.raises(ValueError, match=r"ranges\['d'\]"):
            plot.Replay(BOX, steps=3, ranges={"d": ends})
    replay = plot.Replay(BOX, steps=3, data=np.ones((1, 2)), ranges={"d": (0, 1)})
    with pytest.raises(ValueError, match="nothing is recorded"):
        replay.page()
    with pytest.raises(ValueError, match="no layer"):
        replay.record(0)
    with pytest.raises(ValueError, match="no field 'd'"):
        replay.record(0, points={"d": np.ones((1, 2))})
    for points in ({"data": np.ones((1, 2))}, {"x": np.ones((1, 2))}):
        with pytest.raises(ValueError, match="another layer of this name"):
            replay.record(0, points=points, fields={"d": np.ones((2, 2)), "x": np.ones((2, 2))})
    with pytest.raises(ValueError, match="data has shape"):
        plot.Replay(BOX, steps=3, data=np.ones(3))


# ---- a GAN's layers ---------------------------------------------------------------------------------------------


def test_lattice_has_the_middles_of_the_cells():
    found = plot.lattice((0, 4, 10, 12), 2, 4).reshape(2, 4, 2)
    assert found[0].tolist() == [[0.5, 10.5], [1.5, 10.5], [2.5, 10.5], [3.5, 10.5]]
    assert found[1, 0].tolist() == [0.5, 11.5]


def test_gan_layers_are_the_networks_values(device):
    """G turns the plane, D is a known function, and the arrows point down the loss |x|^2 / 2, that is along -x."""
    turn = np.array([[0, 1], [-1, 0]], np.float32)
    z = tg.random.Generator(0, device=device).normal((7, 2))
    layers = plot.gan_layers(lambda z: z @ tg.tensor(turn, device=device), lambda x: x[:, :1] + 10 * x[:, 1:], z, BOX,
                             loss=lambda x: tg.sum(x * x, axis=1) / 2, cells=5, mesh=3, arrows=4)  # fmt: skip
    z = tg.tensor(z).numpy() if device == "cpu" else z.get()
    np.testing.assert_allclose(layers["points"]["samples"], z @ turn)
    x, y = plot.lattice(BOX, 5, 5).T
    np.testing.assert_allclose(layers["fields"]["discriminator"], (x + 10 * y).reshape(5, 5), rtol=1e-6)
    sheet = layers["grids"]["generator"]
    assert sheet.shape == (3, 3, 2) and sheet[0, 2].tolist() == [2, 2] and sheet[2, 2].tolist() == [-2, 2]
    start, vector = layers["arrows"]["gradient"]
    np.testing.assert_allclose(start, (z @ turn)[:4])
    np.testing.assert_allclose(vector, -start)
    plot.Replay(BOX, steps=1).record(0, **layers)


def test_gan_layers_of_other_codes_and_without_a_loss():
    line = plot.gan_layers(lambda z: tg.concatenate([z, z], 1), lambda x: x[:, 0], np.ones((3, 1)), BOX, mesh=2)
    assert line["grids"]["generator"].shape == (1, 16, 2) and "arrows" not in line
    many = plot.gan_layers(lambda z: z[:, :2], lambda x: x[:, 0], tg.tensor(np.ones((3, 5))), BOX)
    assert "grids" not in many
    with pytest.raises(ValueError, match=r"gan_layers: z is \(3,\)"):
        plot.gan_layers(lambda z: z, lambda x: x, np.ones(3), BOX)


def test_recording_leaves_training_alone():
    """No gradient reaches the networks' weights, and no random number is drawn."""
    rng = tg.random.Generator(0)
    G, D = tg.nn.Linear(2, 2, rng=rng), tg.nn.Linear(2, 1, rng=rng)
    before = rng.state_dict()
    plot.gan_layers(G, D, np.ones((3, 2), np.float32), BOX, loss=lambda x: tg.mean(D(x)))
    assert str(rng.state_dict()) == str(before) and all(p.grad is None for p in (*G.parameters(), *D.parameters()))


def test_steps_are_whole():
    replay = plot.Replay(BOX, steps=3)
    replay.record(0.7, **full())
    with pytest.raises(ValueError, match="step 0 comes after step 0"):
        replay.record(0.9, **full())
    assert replay.recorded == (0,)

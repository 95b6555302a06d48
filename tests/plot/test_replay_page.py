"""The replay's page in a real browser: it shows what was recorded, answers its reader, and fetches nothing."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from browser import Page

from tinygen import plot

imread = pytest.importorskip("matplotlib.image", reason="screenshots are read with matplotlib").imread

BOX = (-2.0, 2.0, -2.0, 2.0)
STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
HOSTILE = "</script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)> & \" ' , = # %"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """One browser for all tests."""
    made = Page(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with a layer of every kind: a cloud moves along the diagonal, a field rises, a sheet turns."""
    rng = np.random.default_rng(0)
    cloud, data = rng.normal(0, 0.2, (60, 2)), (rng.normal(size=(30, 2)), rng.integers(0, 3, 30))
    x, y = plot.lattice(BOX, 12, 12).T
    lines = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 2), -1)
    replay = plot.Replay(BOX, steps=256, title="A test", caption=HOSTILE, data=data, ranges={"D": (0, 0.5, 1)})
    for k, step in enumerate(STEPS):
        c, s = np.cos(k / 5), np.sin(k / 5)
        replay.record(
            step, points={"samples": cloud + k / 9, HOSTILE: cloud - 1},
            fields={"D": 1 / (1 + np.exp(4 * x - k / 3)).reshape(12, 12), "density": (x**2 + y**2).reshape(12, 12)},
            grids={"sheet": lines @ np.array([[c, s], [-s, c]])}, arrows={"pull": (cloud, -cloud * (k + 1))},
            ellipses={"parts": (np.array([[0, 1], [k / 9, -1]]), np.stack([np.eye(2) * 0.1, np.eye(2) * 0.2]))},
            scalars={"modes": k // 2, "loss": -np.log1p(k), HOSTILE: 1.0},
        )  # fmt: skip
    path = tmp_path_factory.mktemp("replay") / "replay.html"
    replay.write(path)
    return path.as_uri()


@pytest.fixture
def opened(page, address):
    """The page as a reader finds it; afterwards it must not have complained or asked for anything."""
    show(page, address)
    yield page
    assert page.errors == []
    assert {request.split("#")[0] for request in page.requests} <= {address, "about:blank", "data:,"}


def show(page, address, **settings):
    page.prefer(color_scheme="light", **settings)
    page.resize(1200, 900)
    page.open("about:blank")
    page.errors.clear(), page.requests.clear()
    page.open(address)


def frame(page) -> int:
    return int(page.evaluate("document.getElementById('slider').value"))


def text(page, name: str) -> str:
    return page.evaluate(f"document.getElementById({name!r}).textContent")


def stage(page) -> np.ndarray:
    """The pixels of the drawing, (h, w, 4) in [0, 1]."""
    png = page.evaluate("document.getElementById('stage').toDataURL().split(',')[1]")
    return imread(io.BytesIO(base64.b64decode(png)))


def test_it_opens_at_the_last_frame(opened):
    assert (frame(opened), text(opened, "step"), text(opened, "count")) == (9, "step 256", "frame 10 of 10")
    assert opened.evaluate("document.title") == "A test" and text(opened, "caption") == HOSTILE
    image = opened.pixels()
    assert image.shape == (900, 1200, 3) and len(np.unique(image @ [1, 256, 65536])) > 500  # colours


def test_keys_slider_and_buttons_move_by_one(opened):
    seen = [stage(opened)]
    for key, wanted in [("ArrowLeft", 8), ("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1), ("End", 9)]:
        opened.key(key)
        assert frame(opened) == wanted and text(opened, "step") == f"step {STEPS[wanted]}"
        seen.append(stage(opened))
    assert (seen[0] == seen[-1]).all() and (seen[2] == seen[3]).all()
    assert (seen[0] != seen[1]).any() and (seen[2] != seen[4]).any()
    opened.press("#back")
    assert frame(opened) == 8
    opened.press("#slider")
    assert frame(opened) in (4, 5)  # its middle
    opened.key("Home")
    opened.key("ArrowRight")  # the slider has the focus, and would move by itself
    assert frame(opened) == 1 and opened.evaluate("document.activeElement.id") == "slider"
    opened.press("#on")
    assert frame(opened) == 2


def test_it_plays_to_the_end_and_stops(opened):
    opened.evaluate("document.getElementById('speed').value = '4'")
    opened.press("#play")
    assert text(opened, "word") == "Pause"
    first = frame(opened)
    opened.wait(f"document.getElementById('slider').value > {first}")
    opened.key(" ")  # the button has the focus: once, not twice
    assert text(opened, "word") == "Play"
    stopped = frame(opened)
    assert first < stopped and text(opened, "step") == f"step {STEPS[stopped]}"
    opened.evaluate("document.activeElement.blur()")
    opened.key(" ")
    assert text(opened, "word") == "Pause"
    opened.wait("document.getElementById('word').textContent === 'Play'")
    assert frame(opened) == 9


def test_it_plays_from_a_picture_that_began_before_the_press(opened):
    """A browser says when its picture began, which may be before the press that it draws."""
    opened.evaluate(
        "globalThis.begun = requestAnimationFrame;"
        "requestAnimationFrame = (tick) => begun((now) => { requestAnimationFrame = begun; tick(now - 5000); }); 0"
    )
    opened.press("#play")
    opened.wait("document.getElementById('slider').value > 0")


def test_every_layer_can_be_switched_off_and_on(opened):
    names = opened.evaluate("[...document.querySelectorAll('.layer')].map(l => l.children[2].textContent)")
    assert names == ["data", "samples", HOSTILE, "D", "density", "sheet", "pull", "parts", "glide between frames"]
    everything = stage(opened)
    for k in range(len(names) - 1):
        opened.press(f".layer:nth-of-type({k + 1}) input")
        assert (stage(opened) != everything).any(), names[k]
        opened.press(f".layer:nth-of-type({k + 1}) input")
        assert (stage(opened) == everything).all(), names[k]
    opened.key(" ")  # the last switch has the focus: the key is its own, and does not play
    assert (stage(opened) != everything).any() and text(opened, "word") == "Play"


def test_a_press_on_a_curve_goes_to_its_step(opened):
    opened.press(".curve svg", 0.12)
    assert frame(opened) == 0
    opened.press(".curve:last-child svg", 0.97)
    assert frame(opened) == 9
    assert opened.evaluate("document.querySelector('.curve b').textContent") == "4"


def test_an_address_names_a_moment(opened, address):
    show(opened, f"{address}#frame=4&layers=samples,sheet")
    assert frame(opened) == 4
    checked = opened.evaluate("[...document.querySelectorAll('.layer input')].map(i => +i.checked)")
    assert checked == [0, 1, 0, 0, 0, 1, 0, 0, 1]
    alone = stage(opened)
    opened.press(".layer:nth-of-type(1) input")
    opened.press(".layer:nth-of-type(3) input")
    opened.key("ArrowRight")
    opened.wait("location.hash.startsWith('#frame=5')")  # and the other way round
    now = stage(opened)
    show(opened, address + opened.evaluate("location.hash"))
    assert (stage(opened) == now).all() and (now != alone).any()
    opened.evaluate("location.hash = '#frame=999&layers=%zz&speed=7'")  # nonsense does no harm
    opened.wait("document.getElementById('slider').value === '9'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 800, 1600])
def test_it_fits_the_window_in_both_schemes(opened, width, scheme):
    opened.prefer(color_scheme=scheme)
    opened.resize(width, 800, mobile=width < 500)
    opened.evaluate("new Promise(requestAnimationFrame)")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    background, ink = opened.pixels()[-2, 1], stage(opened)
    assert background.mean() > 0.9 if scheme == "light" else background.mean() < 0.15
    assert ink[..., 3].any()
    wide, room = opened.evaluate("[document.getElementById('stage').clientWidth, innerWidth]")
    assert wide > min(0.55 * room, 260)


def test_reduced_motion_jumps_from_frame_to_frame(page, address):
    show(page, address, reduced_motion="reduce")
    assert page.evaluate("document.querySelector('.layer:last-of-type input').checked") is False
    assert page.errors == []


def test_everything_that_can_be_used_has_a_name(opened):
    nodes = opened("Accessibility.getFullAXTree")["nodes"]
    found = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    used = [(role, name) for role, name in found if role in ("button", "slider", "checkbox", "combobox", "group")]
    assert len(used) >= 3 + 1 + 9 + 1 + 2 and all(name for _, name in used)
    pictures = [name for role, name in found if role in ("image", "img")]
    assert len(pictures) == 4 and all("step 256" in name or "now" in name for name in pictures)
    said = opened.evaluate("document.getElementById('slider').getAttribute('aria-valuetext')")
    assert said.startswith("step 256, modes 4, loss")


def test_the_reader_draws_numbers_where_they_lie(page, tmp_path):
    """A point, and a field that is high in the lower left cell only, on a box that is not square."""
    replay = plot.Replay((0, 4, 0, 2), steps=1)
    field = np.zeros((4, 8))
    field[0, 0] = 1
    replay.record(0, points={"p": [[3.0, 1.5]]}, fields={"f": field})
    replay.write(tmp_path / "replay.html")
    show(page, (tmp_path / "replay.html").as_uri())
    seen = stage(page)
    scale, left, top = (seen.shape[1] - 36) / 4, 30, 6  # the margins are the template's
    at = lambda x, y: seen[round(top + (2 - y) * scale), round(left + x * scale)]
    assert at(3, 1.5)[3] > 0.8 and at(3, 1.5)[0] > at(3, 1.5)[1]  # purple
    assert at(0.2, 0.2)[3] > 0.4 and at(0.2, 0.2)[2] > at(0.2, 0.2)[0]  # blue
    assert not any(at(x, y)[3] for x, y in [(0.2, 1.8), (3.8, 0.2), (3.8, 1.8), (2, 1)])
    assert page.errors == []


def test_arrows_are_as_long_as_the_root_of_what_they_mean(page, tmp_path):
    replay = plot.Replay((0, 4, 0, 2), steps=1)
    replay.record(0, arrows={"a": ([[0.5, 1.5], [0.5, 0.5]], [[1.0, 0.0], [4.0, 0.0]])})
    replay.write(tmp_path / "replay.html")
    show(page, (tmp_path / "replay.html").as_uri())
    seen = stage(page)[..., 3]
    scale = (seen.shape[1] - 36) / 4
    short, long = (np.count_nonzero(seen[round(6 + y * scale), 40:-20]) for y in (0.5, 1.5))
    assert abs(long - 2 * short) <= 3 and abs(short - 0.2 * scale) <= 2
    assert page.errors == []


def test_complaints_and_requests_are_noticed(page, tmp_path):
    """What the other tests rely on: a broken script is an error, an image from elsewhere a request."""
    (tmp_path / "bad.html").write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('a'); b.c</script>")
    show(page, (tmp_path / "bad.html").as_uri())
    page.wait("document.readyState === 'complete'")
    assert "http://127.0.0.1:9/x.png" in page.requests
    assert any("'a'" in error for error in page.errors) and any("b is not defined" in error for error in page.errors)

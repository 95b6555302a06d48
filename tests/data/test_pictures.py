"""Drawn sets: a picture is its attributes, an attribute changes what it names, and shapes cover what they should."""

from __future__ import annotations

import numpy as np
import pytest
from equations import equation

from tinygen import data
from tinygen.data import figures, raster, scenes, shapes

NAMES = ["faces", "scenes", "figures", "shapes", "clothes"]
LARGE = (3, 64, 64)
SIZES = {"faces": LARGE, "scenes": LARGE, "figures": LARGE, "shapes": (3, 32, 32), "clothes": (1, 28, 28)}


@pytest.mark.parametrize("name", NAMES)
def test_what_they_are(name):
    part = data.drawn(name, 70)
    kind = data.drawing(name)
    assert part.images.shape == (70, *SIZES[name]) and part.images.dtype == np.float32
    assert part.images.min() >= 0 and part.images.max() <= 1 and np.isfinite(part.images).all()
    assert part.attributes.shape == (70, len(kind.names)) and part.labels.dtype == np.int64
    assert set(part.labels.tolist()) <= set(range(len(kind.classes)))
    assert len(set(kind.names)) == len(kind.names)
    for column, attribute in zip(part.attributes.T, kind.attributes, strict=True):
        low, high = (0, 1) if attribute.kind == "yes" else (attribute.low, attribute.high)
        assert (column >= np.float32(low)).all() and (column <= np.float32(high)).all()
        if attribute.kind != "real":
            assert (column == np.round(column)).all()
    assert len({i.tobytes() for i in part.images}) == 70


@pytest.mark.parametrize("name", NAMES)
def test_picture_i_depends_on_the_seed_and_i_alone(name):
    whole = data.drawn(name, 70, seed=3, size=16)
    part = data.drawn(name, 5, seed=3, start=63, size=16)  # over the edge of what is drawn at once
    np.testing.assert_array_equal(part.attributes, whole.attributes[63:68])
    np.testing.assert_array_equal(part.images, whole.images[63:68])
    np.testing.assert_array_equal(part.labels, whole.labels[63:68])
    assert not np.array_equal(data.attributes(name, 70, seed=4), whole.attributes)


@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_can_be_seen(name):
    """Changing one attribute changes some picture, and the picture is a function of the attributes."""
    kind = data.drawing(name)
    a = data.attributes(name, 24)
    before = data.draw(name, a)
    np.testing.assert_array_equal(before, data.draw(name, a))
    for i, attribute in enumerate(kind.attributes):
        changed = a.copy()
        low, high = (0, 1) if attribute.kind == "yes" else (attribute.low, attribute.high)
        changed[:, i] = low + high - a[:, i]
        assert np.abs(data.draw(name, changed) - before).max() > 0.05, attribute.name


@pytest.mark.parametrize("name", NAMES)
def test_sizes_agree(name):
    """The same attributes at twice the size, averaged down, give nearly the same picture."""
    a = data.attributes(name, 12)
    small, large = data.draw(name, a, size=32), data.draw(name, a, size=64)
    down = large.reshape(12, -1, 32, 2, 32, 2).mean((3, 5))
    assert np.abs(down - small).mean() < 0.012


def test_no_pictures():
    for name in NAMES:
        assert data.drawn(name, 0).images.shape == (0, *SIZES[name])


def test_refusals():
    with pytest.raises(ValueError, match="'face'.*faces"):
        data.drawn("face", 3)
    with pytest.raises(ValueError, match=r"\(2, 3\); wanted finite numbers \(n, 6\): kind, size"):
        data.draw("shapes", np.zeros((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        data.draw("shapes", np.full((2, 6), np.nan))
    with pytest.raises(ValueError, match="size is 0"):
        data.draw("shapes", np.zeros((2, 6)), size=0)
    with pytest.raises(ValueError, match="n is -1"):
        data.drawn("shapes", -1)


# ---------------------------------------------------------------- the attributes mean what they say


def one(name, **given):
    """A picture with middling attributes but for those given."""
    kind = data.drawing(name)
    a = np.array([[given.get(t.name, (t.low + t.high) / 2 if t.kind == "real" else 0) for t in kind.attributes]])
    return data.draw(name, a)[0]


def test_a_smile_lifts_the_corners_of_the_mouth():
    def height(smile):
        mouth = one("faces", smile=smile, mouth_open=0, skin=1)[:, 40:56, 22:43]
        red = mouth[0] - mouth[1] > 0.35
        corners = red[:, (np.flatnonzero(red.any(0))[0], np.flatnonzero(red.any(0))[-1])]
        middle = red[:, red.shape[1] // 2]
        return np.flatnonzero(corners.any(1)).mean() - np.flatnonzero(middle).mean()

    assert height(1) < -1 and height(-1) > 1


def test_glasses_are_dark_around_the_eyes():
    eyes = (slice(None), slice(24, 38), slice(14, 50))
    assert one("faces", glasses=1)[eyes].mean() < one("faces", glasses=0)[eyes].mean() - 0.05


def test_shapes_lie_where_they_say():
    part = data.drawn("shapes", 50)
    weight = part.images.max(1)
    ticks = (np.arange(32) + 0.5) / 32
    x = (weight * ticks).sum((1, 2)) / weight.sum((1, 2))
    y = (weight * ticks[:, None]).sum((1, 2)) / weight.sum((1, 2))
    a = dict(zip(data.drawing("shapes").names, part.attributes.T, strict=True))
    round_ = part.labels < 2
    np.testing.assert_allclose(x[round_], a["x"][round_], atol=0.006)
    np.testing.assert_allclose(y[round_], a["y"][round_], atol=0.006)
    np.testing.assert_allclose(np.hypot(x - a["x"], y - a["y"]), 0, atol=0.05)
    squares = part.labels == 0
    np.testing.assert_allclose(weight[squares].mean((1, 2)), (1.8 * a["size"][squares]) ** 2, rtol=0.05)


def test_grey_shapes_forget_the_hue():
    a = data.attributes("shapes", 9)
    grey = shapes.grey(a)
    a[:, 5] = 0.3
    np.testing.assert_array_equal(shapes.grey(a), grey)
    assert grey.shape == (9, 1, 32, 32) and grey.max() == 1


def test_joints_lie_on_the_figure():
    part = data.drawn("figures", 40)
    k = figures.keypoints(part.attributes)
    assert k.shape == (40, len(figures.JOINTS), 2) and k.min() > 0.02 and k.max() < 0.98
    background = part.attributes[:, -1]
    for i, joint in enumerate(figures.JOINTS):
        column, row = np.rint(k[:, i] * 64 - 0.5).astype(int).T
        colour = part.images[np.arange(40), :, row, column]
        on = np.abs(colour - background[:, None]).max(1) > 0.08
        assert on.mean() > 0.9, joint


def test_limbs_keep_their_lengths():
    a = data.attributes("figures", 40)
    k = figures.keypoints(a) / a[:, 1, None, None]
    for first, second in ((2, 3), (3, 4), (8, 9), (9, 10)):
        length = np.hypot(*(k[:, first] - k[:, second]).T)
        np.testing.assert_allclose(length, length[0], rtol=1e-4)


def test_raised_arms_are_raised():
    part = data.drawn("figures", 60)
    k = figures.keypoints(part.attributes)
    raised = (k[:, 3, 1] < k[:, 2, 1]) + 2 * (k[:, 6, 1] < k[:, 5, 1])
    np.testing.assert_array_equal(raised, part.labels)
    assert set(figures.POSE) < set(data.drawing("figures").names)


def test_captions_tell_what_is_there():
    a = data.attributes("scenes", 200)
    told = scenes.captions(a)
    table = dict(zip(data.drawing("scenes").names, a.T, strict=True))
    for i, words in enumerate(told):
        assert ("house" in words) == (table["house"][i] == 1) and ("tree" in words) == (table["tree"][i] == 1)
        assert scenes.TIMES[int(table["time"][i])] in words and scenes.LANDS[int(table["land"][i])] in words
        if "house" in words:
            assert f"{scenes.COLOURS[int(table['house_colour'][i])]} house" in words
    assert len(set(told)) > 100


def test_nights_are_dark():
    part = data.drawn("scenes", 90)
    light = part.images.mean((1, 2, 3))
    assert light[part.labels == 2].max() < light[part.labels == 0].min()


def test_stripes_and_brightness_of_clothes():
    assert one("clothes", brightness=0.9).max() > one("clothes", brightness=0.5).max() + 0.2
    plain, striped = one("clothes", kind=1), one("clothes", kind=1, stripes=1)
    leg = slice(6, 22)  # rows well within it
    assert striped[0, leg, 11].std() > 0.1 and plain[0, leg, 11].std() < 0.01


# ---------------------------------------------------------------- the painter


def covered(canvas, distance):
    """The share of the canvas that a shape covers, by equation (1)."""
    canvas.paint(distance, (1, 1, 1))
    return canvas.pixels[:, 0].mean((1, 2))


AREAS = {
    "circle": (lambda c: c.circle(0.5, 0.4, 0.25), np.pi * 0.25**2),
    "ellipse": (lambda c: c.ellipse(0.5, 0.5, 0.4, 0.2, 0.7), np.pi * 0.08),
    "box": (lambda c: c.box(0.4, 0.5, 0.3, 0.2, 0.5), 0.24),
    "rounded box": (lambda c: c.box(0.5, 0.5, 0.3, 0.2, corner=0.1), 0.24 - (4 - np.pi) * 0.01),
    "line": (lambda c: c.line(0.3, 0.3, 0.6, 0.7, 0.1), 0.05 + np.pi * 0.05**2),
    "triangle": (lambda c: c.polygon([(0.2, 0.2), (0.8, 0.3), (0.4, 0.9)]), 0.5 * abs(0.6 * 0.7 - 0.2 * 0.1)),
    "notched": (lambda c: c.polygon([(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.5, 0.5), (0.1, 0.9)]), 0.64 - 0.16),
}


@equation(raster.Canvas.paint, 1)
def test_an_edge_covers_a_part_of_its_pixels():
    """A shape left of x: the pixel that x passes through is painted by the share that lies left of it."""
    canvas = raster.Canvas(3, 8, (0.2, 0.2, 0.2))
    x = np.array([2.0, 2.25, 2.9], np.float32) / 8
    canvas.paint(canvas.x - raster.column(x), (1.0, 0.5, 0.0))
    row = canvas.pixels[:, :, 3, :4]  # (3, 3, 4)
    alpha = np.array([[1, 1, 0, 0], [1, 1, 0.25, 0], [1, 1, 0.9, 0]])[:, None]
    np.testing.assert_allclose(row, (1 - alpha) * 0.2 + alpha * np.array([1, 0.5, 0])[:, None], atol=2e-6)


@pytest.mark.parametrize("name", sorted(AREAS))
def test_areas(name):
    shape, area = AREAS[name]
    canvas = raster.Canvas(1, 64)
    assert covered(canvas, shape(canvas))[0] == pytest.approx(area, abs=0.0015)


def test_distances_are_distances():
    """Inside and outside, against the nearest of many points of the edge."""
    canvas = raster.Canvas(1, 16)
    corners = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.5, 0.5), (0.1, 0.9)]
    ends = [*corners[1:], corners[0]]
    t = np.linspace(0, 1, 400)[:, None]
    edge = np.concatenate([(1 - t) * np.array(a) + t * np.array(b) for a, b in zip(corners, ends, strict=True)])
    x, y = np.broadcast_arrays(canvas.x[0], canvas.y[0])
    nearest = np.hypot(x[..., None] - edge[:, 0], y[..., None] - edge[:, 1]).min(-1)
    np.testing.assert_allclose(np.abs(canvas.polygon(corners)[0]), nearest, atol=2e-3)


def test_each_picture_has_its_own_numbers():
    canvas = raster.Canvas(3, 32)
    radius = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(covered(canvas, canvas.circle(0.5, 0.5, radius)), np.pi * radius**2, atol=0.003)


def test_a_window_paints_the_same_pixels():
    whole, part = raster.Canvas(1, 48), raster.Canvas(1, 48)
    whole.paint(whole.circle(0.3, 0.6, 0.1), (1, 0.5, 0))
    window = part.window(0.15, 0.45, 0.45, 0.75)
    window.paint(window.circle(0.3, 0.6, 0.1), (1, 0.5, 0))
    np.testing.assert_array_equal(whole.pixels, part.pixels)


def test_opacity_and_colours():
    canvas = raster.Canvas(2, 8, (0, 0, 1))
    canvas.paint(canvas.box(0.5, 0.5, 2, 2), (1, 0, 0), np.array([0.0, 0.5]))
    np.testing.assert_allclose(canvas.pixels[:, :, 4, 4], [[0, 0, 1], [0.5, 0, 0.5]])
    np.testing.assert_allclose(raster.hue([0, 1 / 3, 2 / 3], 1, 1), np.eye(3), atol=1e-6)
    way = raster.along([[0, 0, 0], [1, 1, 1], [0, 1, 0]], [0, 0.25, 1])
    np.testing.assert_allclose(way, [[0, 0, 0], [0.5, 0.5, 0.5], [0, 1, 0]], atol=1e-6)

"""The letters are what the script draws, their styles are known, and warping keeps them letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinygen import data
from tinygen.backend.random import Generator
from tinygen.data import glyphs

FOLDER = Path(glyphs.__file__).parent


def test_letters_and_styles():
    images, labels, attributes = glyphs.drawings()
    assert images.shape == (len(labels), 1, 28, 28) and images.dtype == np.float32
    assert len(glyphs.TYPEFACES) == 37 and (np.bincount(labels) >= 35).all() and len(np.bincount(labels)) == 10
    assert len({i.tobytes() for i in images}) == len(images)
    assert images.min() == 0 and images.max() == 1
    rows, columns = images[:, 0].any(2), images[:, 0].any(1)
    assert (np.maximum(rows.sum(1), columns.sum(1)) >= 23).all()  # each fills its image
    face = glyphs.TYPEFACES[1]
    assert (face.family, face.bold, face.italic) == ("DejaVu Sans", True, False)
    row = attributes[(attributes[:, 0] == 1) & (labels == 0)][0]
    assert row.tolist() == [1, glyphs.FAMILIES.index("DejaVu Sans"), 1, 0]


def test_bold_letters_have_more_ink():
    images, labels, attributes = glyphs.drawings()
    ink = images.mean((1, 2, 3))
    for light, bold in ((0, 1), (4, 5), (8, 9), (12, 13), (28, 29)):
        assert ink[attributes[:, 0] == bold].mean() > 1.2 * ink[attributes[:, 0] == light].mean()


def test_small():
    assert sum(p.stat().st_size for p in FOLDER.glob("glyphs-*.gz")) < 400_000


def test_split_by_typeface():
    train, test = data.load("glyphs")
    assert len(train.images) == 290 and len(test.images) == 80
    assert not set(train.attributes[:, 0]) & set(test.attributes[:, 0])
    assert set(test.attributes[:, 1]) <= set(train.attributes[:, 1])  # families have other cuts in training


def test_the_script_draws_what_is_committed(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    from tinygen.data import draw_glyphs

    if matplotlib.__version__ != draw_glyphs.MADE_WITH:
        pytest.skip(f"drawn with matplotlib {draw_glyphs.MADE_WITH}, and this is {matplotlib.__version__}")
    draw_glyphs.main(tmp_path)
    for name in ("glyphs-images.gz", "glyphs-styles.gz"):
        np.testing.assert_array_equal(data.read_idx(tmp_path / name), data.read_idx(FOLDER / name))
    first = [(tmp_path / name).read_bytes() for name in ("glyphs-images.gz", "glyphs-styles.gz")]
    draw_glyphs.main(tmp_path)
    assert first == [(tmp_path / name).read_bytes() for name in ("glyphs-images.gz", "glyphs-styles.gz")]


def test_averaging_keeps_the_ink():
    from tinygen.data.draw_glyphs import averaged

    image = np.random.default_rng(0).uniform(size=(37, 5))
    np.testing.assert_allclose(averaged(image, 10).mean(0), image.mean(0), rtol=1e-12)
    np.testing.assert_allclose(averaged(image, 37), image, rtol=1e-9)
    step = averaged(np.repeat([[0.0], [1.0]], 3, axis=0), 4)[:, 0]
    np.testing.assert_allclose(step, [0, 0, 1, 1], atol=1e-12)


def test_warp_of_nothing_is_the_same():
    images = glyphs.drawings()[0][:20]
    still = data.warp(images, Generator(0), shift=0, scale=0, rotate=0, shear=0)
    np.testing.assert_allclose(still, images, atol=1e-5)


def test_warp_is_the_generator_s():
    images = glyphs.drawings()[0][:300]
    one, two = data.warp(images, Generator(5)), data.warp(images, Generator(5))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, data.warp(images, Generator(6)))
    assert one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1
    assert len({i.tobytes() for i in data.warp(np.repeat(images[:1], 50, 0), Generator(0))}) == 50


def test_warp_moves_by_the_shift():
    """A move by whole pixels is a roll."""
    images = np.zeros((1, 1, 9, 9), np.float32)
    images[0, 0, 4, 4] = 1
    z = Generator(0).normal((1, 6), dtype="float64")[0, 4:]
    moved = data.warp(images, Generator(0), shift=1.0, scale=0, rotate=0, shear=0)[0, 0]
    assert moved.sum() == pytest.approx(1, abs=1e-5)
    centre = [(moved.sum(1 - k) * np.arange(9)).sum() for k in (0, 1)]
    np.testing.assert_allclose(centre, 4 + z, atol=1e-4)


def test_warp_scales_by_the_factor():
    images = np.zeros((200, 1, 28, 28), np.float32)
    images[:, :, 9:19, 9:19] = 1
    z = Generator(0).normal((200, 6), dtype="float64")
    area = data.warp(images, Generator(0), shift=0, scale=0.2, rotate=0.3, shear=0.2).sum((1, 2, 3))
    np.testing.assert_allclose(area, 100 * np.exp(0.2 * (z[:, 1] + z[:, 2])), rtol=0.06)


def test_warp_refuses_other_shapes():
    with pytest.raises(ValueError, match="wanted \\(n, channels, height, width\\)"):
        data.warp(np.zeros((3, 28, 28)), Generator(0))


def test_outside_of_a_warped_image_is_nothing():
    """On all four sides: what a large image of ones leaves behind is 0 exactly."""
    images = np.ones((50, 1, 5, 5), np.float32)
    moved = data.warp(images, Generator(0), shift=30.0, scale=0, rotate=0, shear=0)
    z = Generator(0).normal((50, 6), dtype="float64")[:, 4:]
    gone = (np.abs(30 * z) > 7).any(1)
    assert gone.sum() > 30 and not moved[gone].any()

"""Pictures show the numbers they are given, without pyplot."""

import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from tinygen import plot  # noqa: E402


def test_image_grid_places_every_image():
    images = np.linspace(0, 1, 5)[:, None, None] * np.ones((5, 8, 8))
    sheet = np.asarray(plot.image_grid(images, 3).axes[0].images[0].get_array())
    assert sheet.shape == (2 * 9 + 1, 3 * 9 + 1)
    assert [sheet[5, 5], sheet[5, 14], sheet[5, 23], sheet[14, 5], sheet[14, 14]] == pytest.approx(np.linspace(0, 1, 5))
    assert plot.image_grid(np.full((2, 3, 4, 4), 9.0), 2).axes[0].images[0].get_array().shape[-1] == 3


def test_scatter_and_curves(tmp_path):
    made = plot.scatter_latent(np.arange(8.0).reshape(4, 2), np.array([1, 1, 2, 2]))
    assert [t.get_text() for t in made.axes[0].texts] == ["1", "2"]
    (tmp_path / "metrics.csv").write_text("step,loss,late\n1,3,\n2,2,5\n")
    late = plot.curves(tmp_path / "metrics.csv").axes[1]
    assert late.get_title() == "late" and late.lines[0].get_xydata().tolist() == [[2, 5]]
    assert "matplotlib.pyplot" not in sys.modules


def test_names_stand_at_the_middle_of_their_rows_and_columns():
    made = plot.image_grid(np.zeros((6, 8, 4)), 3, title="a", row_names=["b", "c"], column_names=["d", "e", "f"])
    (axes,) = made.axes
    assert axes.get_title() == "a"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "c"] and list(axes.get_yticks()) == [5, 14]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["d", "e", "f"] and list(axes.get_xticks()) == [3, 8, 13]


def test_confusion_shows_percents_and_panels_their_circle():
    (axes, _) = plot.confusion(np.array([[3, 1], [0, 4]]), ["p", "q"]).axes
    assert [t.get_text() for t in axes.texts] == ["75", "25.0", "0.0", "100"]
    codes = {"a": np.eye(2), "b": 9 * np.eye(2)}
    for axes in plot.scatter_panels(codes, np.array([0, 1]), radius=2).axes:
        (circle,) = axes.lines
        np.testing.assert_allclose(np.hypot(*circle.get_data()), 2)


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        plot.image_grid(np.ones((4, 5)), 2)
    for counts in (np.ones((3, 3)), np.eye(2) * [1, 0]):
        with pytest.raises(ValueError, match="each of 2 classes"):
            plot.confusion(counts, ["p", "q"])
    for counts in ([[1.0, -0.5], [0, 1]], [[1, np.nan], [0, 1]], [[1, np.inf], [0, 1]]):
        with pytest.raises(ValueError, match="finite numbers of at least 0"):
            plot.confusion(np.array(counts), ["p", "q"])
    for images, columns in ((np.ones((0, 4, 4)), 2), (np.ones((1, 4, 4)), 0)):
        with pytest.raises(ValueError, match=f"{len(images)} images in {columns} columns"):
            plot.image_grid(images, columns)
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        plot.scatter_latent(np.ones((4, 3)), np.ones(4))


def test_enlarged_images_keep_their_mean_and_range():
    image = np.random.default_rng(0).uniform(size=(1, 8, 8))
    sheet = np.asarray(plot.image_grid(image, 1, enlarge=4).axes[0].images[0].get_array())[4:-4, 4:-4]
    assert sheet.shape == (32, 32) and abs(sheet.mean() - image.mean()) < 0.01
    assert image.min() <= sheet.min() and sheet.max() <= image.max()
    sharp = np.eye(8)[None]
    smooth, whole = (plot.image_grid(x, 1, enlarge=4).axes[0].images[0].get_array() for x in (sharp, sharp.astype(int)))
    np.testing.assert_array_equal(whole, smooth)  # of whole numbers too, which have nothing between them

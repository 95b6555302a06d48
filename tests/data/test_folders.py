"""Folders of pictures, and CelebA's table: what is damaged is refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tinygen import data
from tinygen.data import folders, loaders

Image = pytest.importorskip("PIL.Image", reason="Pillow reads pictures; it comes with matplotlib")


def save(path, array):
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three pictures that are not square, one of them grey, and a file that is none."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(12, 8, 3), (8, 12, 3), (8, 8)]):
        save(tmp_path / f"{i}.png", rng.integers(0, 256, shape).astype(np.uint8))
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path


def refused(call) -> str:
    with pytest.raises(data.DataError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_middle_square_is_averaged(folder):
    images, names = data.image_folder(folder, 8)
    assert names == ["0.png", "1.png", "2.png"] and images.shape == (3, 3, 8, 8) and images.dtype == np.float32
    whole = np.asarray(Image.open(folder / "0.png")) / 255
    np.testing.assert_allclose(images[0], whole[2:10].transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(images[2, 0], images[2, 1])
    small, _ = data.image_folder(folder, 4, n=1)
    np.testing.assert_allclose(small[0], images[0].reshape(3, 4, 2, 4, 2).mean((2, 4)), atol=0.0041)  # a grey level


def test_damaged_pictures(folder):
    good = (folder / "1.png").read_bytes()
    for bad in (b"", b"no picture", good[:-30], good[:40], b"GIF89a" + good):
        (folder / "1.png").write_bytes(bad)
        message = refused(lambda: data.image_folder(folder, 8))
        assert "1.png" in message and "get the file again" in message
        assert (folder / "1.png").read_bytes() == bad


def test_huge_pictures_are_not_read(folder):
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    (folder / "1.png").write_bytes(buffer.getvalue())
    assert "9000 x 9000 pixels" in refused(lambda: data.image_folder(folder, 8))


def test_folders_without_pictures(tmp_path):
    assert "no such folder" in refused(lambda: data.image_folder(tmp_path / "no"))
    assert "no pictures" in refused(lambda: data.image_folder(tmp_path))


def test_too_few_pictures(folder):
    with pytest.raises(ValueError, match="there are 3 pictures"):
        data.image_folder(folder, 8, n=4)


# ---------------------------------------------------------------- CelebA


@pytest.fixture
def faces(tmp_path):
    """A small CelebA."""
    folder = tmp_path / "celeba" / folders.CELEBA_IMAGES
    folder.mkdir(parents=True)
    for i in range(4):
        save(folder / f"{i:06}.jpg", np.full((218, 178, 3), 60 * i, np.uint8))
    table = tmp_path / "celeba" / folders.CELEBA_TABLE
    table.write_text("4\nBald Smiling Young \n" + "".join(f"{i:06}.jpg -1 {(-1) ** i:2}  1\n" for i in range(4)))
    return folder.parent


def test_celeba(faces):
    part, names = folders.celeba(faces, 3, size=16)
    assert names == ("Bald", "Smiling", "Young") and part.images.shape == (3, 3, 16, 16)
    assert part.attributes.tolist() == [[0, 1, 1], [0, 0, 1], [0, 1, 1]] and part.labels.tolist() == [1, 0, 1]
    np.testing.assert_allclose(part.images.mean((1, 2, 3)), [0, 60 / 255, 120 / 255], atol=0.01)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:60], "lines, wanted at least 5"),
        (lambda text: text.replace("000001.jpg -1 -1", "000001.jpg -1 0"), "line 4"),
        (lambda text: text.replace("000001.jpg -1", "000001.jpg"), "line 4"),
        (lambda text: text.replace("000001.jpg", "000009.jpg"), "000001.jpg"),
    ],
)
def test_damaged_tables(faces, damage, words):
    table = faces / folders.CELEBA_TABLE
    table.write_text(damage(table.read_text()))
    assert words in refused(lambda: folders.celeba(faces, 3, size=16))


def test_load_finds_it(faces):
    """Fewer photographs than the set is made of are refused, not replaced."""
    assert "wanted at least 6002" in refused(lambda: data.load("celeba", faces.parent))


def test_stand_in(tmp_path, capsys, monkeypatch):
    drawn = loaders._drawn
    monkeypatch.setattr(loaders, "_drawn", lambda name, *sizes: drawn(name, 60, 30))  # fewer
    train, test = data.load("celeba", tmp_path)
    assert train.images.shape == (60, 3, 64, 64) and set(test.labels.tolist()) == {0, 1}
    np.testing.assert_array_equal(train.labels, train.attributes[:, 0] > 0)
    assert "drawn faces" in capsys.readouterr().err


def test_deep_greys_are_not_cut_off(tmp_path):
    save(tmp_path / "deep.png", np.full((4, 4), 30000, np.uint16))
    assert "deep.png: its pixels are of mode I" in refused(lambda: data.image_folder(tmp_path, 4))


@pytest.mark.parametrize("n", [0, -1])
def test_a_number_of_pictures_below_1_is_refused(folder, n):
    with pytest.raises(ValueError, match=f"image_folder: n is {n}; at least 1"):
        data.image_folder(folder, 4, n=n)

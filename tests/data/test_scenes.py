import numpy as np
import pytest
from PIL import Image

from tfcompress.data.palette import Palette
from tfcompress.data.scenes import load_scenes, pair_folders, read_image, read_mask
from tfcompress.errors import DataError

BLACK_WHITE = Palette.from_hex({"black": "#000000", "white": "#FFFFFF"})


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three gray images 6x8 and their masks, with a stray file in each folder."""
    for name in ("c", "a", "b"):
        save(tmp_path / "images" / f"{name}.jpg", np.full((6, 8), 90, np.uint8))
        mask = np.zeros((6, 8, 3), np.uint8)
        mask[:, :4] = 255
        save(tmp_path / "masks" / f"{name}.png", mask)
    (tmp_path / "images" / "Thumbs.db").write_text("x")
    (tmp_path / "masks" / ".hidden.png").write_text("x")
    return tmp_path


def test_pairs_by_name_in_order(folder):
    scenes = pair_folders(folder / "images", folder / "masks")
    assert [scene.name for scene in scenes] == ["a", "b", "c"]
    assert [(s.image.name, s.mask.name) for s in scenes][0] == ("a.jpg", "a.png")
    grouped = pair_folders(folder / "images", folder / "masks", group="Tile 1")
    assert {scene.group for scene in grouped} == {"Tile 1"}


def test_gray_stays_gray_and_rgb_stays_rgb(folder):
    loaded, palette = load_scenes(pair_folders(folder / "images", folder / "masks"), BLACK_WHITE)
    assert loaded[0].image.shape == (6, 8, 1)
    np.testing.assert_array_equal(loaded[0].labels[0], [1, 1, 1, 1, 0, 0, 0, 0])
    assert palette is BLACK_WHITE
    wide, _ = load_scenes(
        pair_folders(folder / "images", folder / "masks"), BLACK_WHITE, channels=3
    )
    assert wide[0].image.shape == (6, 8, 3)


def test_channel_order_is_rgb(tmp_path):
    save(tmp_path / "red.png", np.full((2, 2, 3), (200, 10, 20), np.uint8))
    assert tuple(read_image(tmp_path / "red.png")[0, 0]) == (200, 10, 20)


def test_sixteen_bit_and_paletted_files(tmp_path):
    save(tmp_path / "deep.png", np.array([[1000, 3000]], np.uint16))
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[..., 0], [[0, 255]])
    paletted = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    paletted.putpalette([10, 20, 30, 40, 50, 60])
    paletted.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), [[[10, 20, 30], [40, 50, 60]]])


def test_empty_folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="the folder holds no images"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    with pytest.raises(DataError, match="there is no such folder"):
        pair_folders(tmp_path / "images", tmp_path / "labels")


@pytest.mark.parametrize("lonely", ["images/d.jpg", "masks/d.png"])
def test_unpaired_file_is_named(folder, lonely):
    save(folder / lonely, np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match=rf"{lonely}: it has no counterpart of the same name"):
        pair_folders(folder / "images", folder / "masks")


def test_two_files_of_one_stem(folder):
    save(folder / "images" / "a.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: a\.jpg has the same name but for the suffix"):
        pair_folders(folder / "images", folder / "masks")


def test_unreadable_image_is_named(folder):
    (folder / "images" / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"a\.jpg: it cannot be read as an image"):
        load_scenes(pair_folders(folder / "images", folder / "masks"), BLACK_WHITE)


def test_truncated_image_is_named(folder):
    path = folder / "masks" / "b.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"b\.png: it cannot be read as an image"):
        load_scenes(pair_folders(folder / "images", folder / "masks"), BLACK_WHITE)


def test_wrong_mask_size_is_named(folder):
    save(folder / "masks" / "b.png", np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: the mask is 8x6, but its image is 6x8"):
        load_scenes(pair_folders(folder / "images", folder / "masks"), BLACK_WHITE)

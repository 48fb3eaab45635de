import numpy as np
import pytest

from tfcompress.data.aerial import AERIAL_CLASSES
from tfcompress.data.palette import Palette, infer_palette
from tfcompress.errors import ConfigError, DataError

TWO = Palette.from_hex({"Road": "#6EC1E4", "Land": "8429F6"})


def test_colors_become_labels_and_back():
    mask = np.array([[[0x6E, 0xC1, 0xE4], [0x84, 0x29, 0xF6], [0x84, 0x29, 0xF6]]], np.uint8)
    labels = TWO.labels_of(mask, "m.png")
    np.testing.assert_array_equal(labels, [[0, 1, 1]])
    np.testing.assert_array_equal(TWO.colors_of(labels), mask)


def test_aerial_order_is_the_data_sets():
    assert AERIAL_CLASSES.names == (
        "Building",
        "Land",
        "Road",
        "Vegetation",
        "Water",
        "Unlabeled",
    )
    assert AERIAL_CLASSES.to_dict()["Water"] == "#E2A929"


def test_unknown_color_names_file_color_and_share():
    mask = np.zeros((2, 2, 3), np.uint8)
    mask[0] = (0x6E, 0xC1, 0xE4)
    mask[1] = (1, 2, 3)
    with pytest.raises(
        DataError, match=r"m\.png: color #010203 belongs to no class; 50\.00% of the pixels"
    ):
        TWO.labels_of(mask, "m.png")


def test_red_and_blue_swapped_is_an_error_not_a_class():
    mask = np.full((1, 1, 3), (0xE4, 0xC1, 0x6E), np.uint8)
    with pytest.raises(DataError, match="#E4C16E"):
        TWO.labels_of(mask, "bgr.png")


def test_tolerance_takes_the_nearest_class_within_it():
    mask = np.array([[[0x70, 0xBF, 0xE6], [0x84, 0x29, 0xF6]]], np.uint8)
    with pytest.raises(DataError):
        TWO.labels_of(mask, "m.jpg")
    np.testing.assert_array_equal(TWO.labels_of(mask, "m.jpg", tolerance=2), [[0, 1]])
    with pytest.raises(DataError):
        TWO.labels_of(mask, "m.jpg", tolerance=1)


def test_integer_masks():
    palette = Palette.numbered(3)
    labels = palette.labels_of(np.array([[0, 2], [1, 1]], np.int32), "m.png")
    np.testing.assert_array_equal(labels, [[0, 2], [1, 1]])
    with pytest.raises(DataError, match=r"label 7 belongs to no class; 25\.00% of the pixels"):
        palette.labels_of(np.array([[0, 7], [1, 1]]), "m.png")


def test_palette_read_off_masks():
    a = np.zeros((1, 2, 3), np.uint8)
    b = np.full((1, 2, 3), 255, np.uint8)
    assert infer_palette([a, b], "masks").names == ("#000000", "#FFFFFF")
    assert len(infer_palette([np.array([[0, 4]])], "masks")) == 5
    noisy = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="colors, so the classes cannot be inferred"):
        infer_palette([noisy], "masks")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": "#000000"}, "it has 1 classes"),
        ({"a": "#000000", "b": "#000000"}, "a color occurs twice"),
        ({"a": "#00000", "b": "#000001"}, "'#00000' is not a hex color"),
        ({"a": "#00000G", "b": "#000001"}, "is not a hex color"),
    ],
)
def test_bad_palettes(classes, message):
    with pytest.raises(ConfigError, match=message):
        Palette.from_hex(classes)

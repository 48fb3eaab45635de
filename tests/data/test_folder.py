import time

import numpy as np
import pytest
from PIL import Image

from tfcompress.data.folder import find_scenes, load_segmentation, split_groups
from tfcompress.data.palette import Palette
from tfcompress.errors import ConfigError, DataError


def write_pairs(root, names, size=(12, 16)):
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name in names:
        image = generator.integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "images" / f"{name}.png")
        mask = np.zeros((*size, 3), np.uint8)
        mask[: size[0] // 2] = (255, 0, 0)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")


def test_last_groups_are_the_test():
    groups = [f"s{i}" for i in range(9)]
    split = split_groups(groups, 0.2, 0.2)
    assert split["test"] == ("s7", "s8")
    assert split["val"] == ("s5", "s6")
    assert split["train"] == tuple(groups[:5])


def test_random_split_is_of_groups_and_reproducible():
    groups = [f"s{i}" for i in range(9) for _ in range(3)]
    split = split_groups(groups, order="random", seed=3)
    assert split == split_groups(groups, order="random", seed=3)
    assert sorted(sum(split.values(), ())) == sorted(set(groups))
    assert split != split_groups(groups, order="ordered")


def test_splits_that_cannot_be():
    with pytest.raises(DataError, match="2 source images or tiles"):
        split_groups(["a", "b"])
    with pytest.raises(ConfigError, match="leave 0 to train on"):
        split_groups(["a", "b", "c", "d"], 0.5, 0.5)


def test_patches_of_one_image_stay_in_one_split(tmp_path):
    write_pairs(tmp_path, ["a", "b", "c", "d", "e"])
    data = load_segmentation(tmp_path, patch=8)
    sources = [set(part.sources) for part in (data.train, data.val, data.test)]
    assert sources == [{"a", "b", "c"}, {"d"}, {"e"}]
    assert data.train.images.shape == (3 * 2 * 2, 8, 8, 3)
    assert data.train.images.dtype == np.float32
    assert np.count_nonzero(data.test.labels != 255) == 12 * 16
    assert data.palette.names == ("#000000", "#FF0000")
    np.testing.assert_allclose(data.class_shares(), [0.5, 0.5])


def test_overlapping_training_patches(tmp_path):
    write_pairs(tmp_path, ["a", "b", "c"])
    assert len(load_segmentation(tmp_path, patch=8, stride=4).train) == 2 * 3


def test_aerial_layout_in_numeric_order_below_a_folder(tmp_path):
    root = tmp_path / "Semantic segmentation dataset"
    for tile in (1, 2, 10):
        write_pairs(root / f"Tile {tile}", ["p1"])
    scenes, palette = find_scenes(tmp_path)
    assert [scene.group for scene in scenes] == ["Tile 1", "Tile 2", "Tile 10"]
    assert palette.names[0] == "Building"


def test_neither_layout(tmp_path):
    with pytest.raises(DataError, match="neither 'Tile N' folders nor images/ and masks/"):
        find_scenes(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        find_scenes(tmp_path / "missing")


def test_patch_larger_than_image_names_the_file(tmp_path):
    write_pairs(tmp_path, ["a", "b", "c"])
    with pytest.raises(DataError, match=r"a\.png: a patch of 13x13"):
        load_segmentation(tmp_path, patch=13)


def test_unknown_class_color_names_the_file(tmp_path):
    write_pairs(tmp_path, ["a", "b", "c"])
    palette = Palette.from_hex({"x": "#000000", "y": "#00FF00"})
    with pytest.raises(DataError, match=r"masks/a\.png: color #FF0000"):
        load_segmentation(tmp_path, patch=8, palette=palette)


def test_sandstone_loads_in_seconds(real_data):
    start = time.monotonic()
    data = load_segmentation(real_data / "sandstone", patch=128)
    assert time.monotonic() - start < 20
    assert data.groups["test"] == ("Sandstone_Versa0350", "Sandstone_Versa0400")
    assert data.groups["val"] == ("Sandstone_Versa0250", "Sandstone_Versa0300")
    assert data.palette.names == ("#0000FF", "#00FF00", "#FF0000", "#FFFF00")
    assert data.train.images.shape[-1] == 1
    assert np.count_nonzero(data.test.labels != 255) == 2 * 1024 * 996

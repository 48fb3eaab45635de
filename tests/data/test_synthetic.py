import numpy as np
import pytest

from tfcompress.data.folder import load_segmentation
from tfcompress.data.synthetic import AerialSpec, draw_scene, write_aerial_scenes
from tfcompress.errors import ConfigError
from tfcompress.evaluation.segmentation import confusion_matrices, mean_iou


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    root = tmp_path_factory.mktemp("aerial") / "tiles"
    write_aerial_scenes(root, AerialSpec(tiles=5, images_per_tile=2, size=192))
    return root


def test_layout_is_the_aerial_one(tiles):
    data = load_segmentation(tiles, patch=96)
    assert len(data.palette) == 6
    assert data.groups["test"] == ("Tile 5",)
    assert (tiles / "Tile 2" / "images" / "image_part_002.jpg").is_file()
    assert (data.class_shares() > 0.02).all()


def test_seed_decides(tmp_path):
    a, b = (draw_scene(96, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(a[1], draw_scene(96, np.random.default_rng(4))[1])


def test_a_classifier_of_mean_colors_stays_under_0_6(tiles):
    data = load_segmentation(tiles, patch=96)
    pixels, labels = data.train.images.reshape(-1, 3), data.train.labels.reshape(-1)
    means = np.stack([pixels[labels == c].mean(axis=0) for c in range(6)])
    distance = np.square(data.test.images[..., None, :] - means).sum(axis=-1)
    confusion = confusion_matrices(data.test.labels, distance.argmin(axis=-1), 6).sum(axis=0)
    assert mean_iou(confusion) < 0.6


def test_bad_spec():
    with pytest.raises(ConfigError, match="at least 3 tiles"):
        AerialSpec(tiles=2)

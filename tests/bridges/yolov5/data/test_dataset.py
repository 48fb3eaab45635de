"""Detection data: the layout, the labels, and what is wrong with them."""

import numpy as np
import pytest
from PIL import Image

from bridges.yolov5.data.dataset import label_file, read_detection_data, read_labels
from bridges.yolov5.data.synthetic import NAMES, write_shapes
from tfcompress.errors import DataError


def write_set(folder, labels="0 0.5 0.5 0.2 0.4\n", yaml="names: [a, b]\n"):
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        Image.new("RGB", (40, 20)).save(folder / "images" / split / f"{split}.png")
        (folder / "labels" / split / f"{split}.txt").write_text(labels)
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\n{yaml}")
    return folder


def test_a_set_is_read(tmp_path):
    write_set(tmp_path, "0 0.5 0.5 0.2 0.4\n\n1 0.1 0.1 0.1 0.1\n1 0.1 0.1 0.1 0.1\n")
    Image.new("L", (8, 8)).save(tmp_path / "images" / "train" / "empty.png")
    data = read_detection_data(tmp_path)
    assert data.names == ("a", "b")
    empty, train = data.splits["train"]
    assert (train.size, train.boxes.shape, empty.boxes.shape) == ((20, 40), (2, 5), (0, 5))
    assert empty.read().shape == (8, 8, 3)
    assert data.counts("train").tolist() == [1, 1]
    assert data.test_split == "val"
    assert "1 double lines passed over" in data.notes[0]
    assert str(data) == "2 train images (1 a, 1 b); 1 val images (1 a, 1 b)"


def test_splits_may_be_lists_of_files(tmp_path):
    write_set(tmp_path)
    (tmp_path / "val.txt").write_text("images/val/val.png\n")
    (tmp_path / "data.yaml").write_text(
        "train: [images/train]\nval: val.txt\nnames: {0: a, 1: b}\nnc: 2\n"
    )
    assert len(read_detection_data(tmp_path / "data.yaml").splits["val"]) == 1


def test_the_last_images_folder_becomes_labels(tmp_path):
    image = tmp_path / "images" / "set" / "images" / "train" / "a.b.jpg"
    assert label_file(image) == tmp_path / "images" / "set" / "labels" / "train" / "a.b.txt"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 1.2 0.5 0.1 0.1", r"line 2: x 1.2 is outside \[0, 1\]"),
        ("0 0.5 0.5 0.1 -0.1", r"height -0.1 is outside \[0, 1\]"),
        ("0 0.5 0.5 0.1 0", "the box is 0.1 x 0 large"),
        ("2 0.5 0.5 0.1 0.1", r"class 2 is none of the 2 in data.yaml \(0 to 1\)"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is none"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is none"),
        ("a 0.5 0.5 0.1 0.1", "is no row of numbers"),
        ("0 0.5 0.5 0.1", "it has 4 values"),
        ("0 nan 0.5 0.1 0.1", "it has 5 values, not 5 numbers"),
    ],
)
def test_wrong_labels_name_file_and_line(tmp_path, line, message):
    file = tmp_path / "a.txt"
    file.write_text(f"1 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(DataError, match=message) as error:
        read_labels(file, 2)
    assert str(file) in str(error.value)


def test_wrong_sets(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_detection_data(tmp_path / "data.yaml")
    folder = write_set(tmp_path / "names", yaml="nc: 3\nnames: [a, b]\n")
    with pytest.raises(DataError, match="'nc' is 3 for 2 names"):
        read_detection_data(folder)
    folder = write_set(tmp_path / "keys", yaml="names: {1: a, 2: b}\n")
    with pytest.raises(DataError, match="count from 0"):
        read_detection_data(folder)
    folder = write_set(tmp_path / "empty", labels="")
    with pytest.raises(DataError, match="no training image has a box"):
        read_detection_data(folder)
    folder = write_set(tmp_path / "missing")
    (folder / "data.yaml").write_text("train: images/train\nval: nowhere\nnames: [a, b]\n")
    with pytest.raises(DataError, match="'val' names .*nowhere, which is not there"):
        read_detection_data(folder)
    (folder / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [a, b]\n")
    with pytest.raises(DataError, match="is in both 'train' and 'val'"):
        read_detection_data(folder)
    (folder / "list.txt").write_text("images/train/gone.png\n")
    (folder / "data.yaml").write_text("train: list.txt\nval: images/val\nnames: [a, b]\n")
    with pytest.raises(DataError, match=r"gone\.png: the image is missing"):
        read_detection_data(folder)
    folder = write_set(tmp_path / "broken")
    (folder / "images" / "val" / "val.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"val\.png: it is no readable image"):
        read_detection_data(folder)


def test_the_generated_set(tmp_path):
    file = write_shapes(tmp_path / "shapes", counts=(12, 3, 3), size=96)
    data = read_detection_data(file)
    assert data.names == NAMES
    assert [len(images) for images in data.splits.values()] == [12, 3, 3]
    assert (data.counts("train") > 0).all()
    again = read_detection_data(write_shapes(tmp_path / "again", counts=(12, 3, 3), size=96))
    for a, b in zip(data.splits["train"], again.splits["train"], strict=True):
        assert np.array_equal(a.read(), b.read())
        assert np.array_equal(a.boxes, b.boxes)


def test_generated_boxes_touch_their_shapes(tmp_path):
    """On a plain ground, what differs from it is inside the boxes and reaches their edges."""
    data = read_detection_data(write_shapes(tmp_path / "shapes", counts=(6, 1, 1), most=1, size=96))
    for image in data.splits["train"]:
        if not len(image.boxes):
            continue
        pixels = image.read().astype(float)
        _, x, y, w, h = image.boxes[0] * [1, 96, 96, 96, 96]
        inside = np.zeros((96, 96), bool)
        inside[round(y - h / 2) : round(y + h / 2), round(x - w / 2) : round(x + w / 2)] = True
        ground = np.median(pixels[~inside], 0)
        far = np.abs(pixels - ground).max(-1)
        assert np.median(far[inside]) > np.median(far[~inside])

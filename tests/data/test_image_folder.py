"""Class folders: reading, splitting without leaks, and one clear error for what is wrong."""

import numpy as np
import pytest
from PIL import Image

from tfcompress.data.image_folder import load_image_folder, square
from tfcompress.errors import ConfigError, DataError


def write(root, split="", classes=("cat", "dog"), count=10, size=(8, 6), groups=1):
    for label, name in enumerate(classes):
        folder = root / split / name
        folder.mkdir(parents=True)
        for i in range(count):
            image = Image.new("RGB", size, (10 + label, i, 99))
            image.save(folder / f"shot{i // groups}_{i}.png")


def test_square_pads_with_zeros_and_turns_as_exif_says(tmp_path):
    image = Image.new("RGB", (8, 4), (200, 100, 50))
    padded = square(image, 8)
    assert padded.shape == (8, 8, 3)
    np.testing.assert_array_equal(padded[2:6], np.full((4, 8, 3), (200, 100, 50)))
    assert not padded[:2].any()
    assert not padded[6:].any()
    assert square(image, 4, 1).shape == (4, 4, 1)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as turned:
        assert not square(turned, 8)[:, :2].any(), "the padding is left and right"


def test_given_splits(tmp_path):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        write(tmp_path, split, count=count)
    data = load_image_folder(tmp_path, 8, train_side=10)
    assert data.class_names == ("cat", "dog")
    assert [len(s) for s in (data.train, data.val, data.test)] == [12, 6, 4]
    assert data.train.images.shape == (12, 10, 10, 3)
    assert data.test.images.shape == (4, 8, 8, 3)
    assert data.test.names[0] == "test/cat/shot0_0.png"
    for part in (data.train, data.val, data.test):  # the red value tells the class
        np.testing.assert_array_equal(part.images.max(axis=(1, 2))[:, 0] - 10, part.labels)
    np.testing.assert_array_equal(data.counts(), [6, 6])
    assert data.imbalance == 1


def test_a_split_is_stratified_disjoint_and_complete(tmp_path):
    write(tmp_path, count=20)
    data = load_image_folder(tmp_path, 8)
    sets = [data.train, data.val, data.test]
    assert [len(s) for s in sets] == [24, 8, 8]
    assert [np.bincount(s.labels).tolist() for s in sets] == [[12, 12], [4, 4], [4, 4]]
    names = [name for s in sets for name in s.names]
    assert len(set(names)) == 40
    assert load_image_folder(tmp_path, 8).val.names == data.val.names
    assert load_image_folder(tmp_path, 8, seed=1).val.names != data.val.names


def test_groups_stay_whole(tmp_path):
    write(tmp_path, count=40, groups=4)
    data = load_image_folder(tmp_path, 8, group_pattern=r"^(shot\d+)_")
    groups = [
        {(name.split("/")[0], name.split("/")[1].split("_")[0]) for name in s.names}
        for s in (data.train, data.val, data.test)
    ]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert sum(map(len, groups)) == 20


def test_train_and_test_without_val(tmp_path):
    write(tmp_path, "train", count=20)
    write(tmp_path, "test", count=4)
    data = load_image_folder(tmp_path, 8)
    assert [len(s) for s in (data.train, data.val, data.test)] == [32, 8, 8]


def broken(root):
    write(root)
    (root / "dog" / "broken.jpg").write_bytes(b"no image")


def class_missing(root):
    write(root, "train", ("cat", "dog"))
    write(root, "test", ("cat",))


def class_extra(root):
    write(root, "train", ("cat", "dog"))
    write(root, "test", ("cat", "dog", "fish"))


def class_empty(root):
    write(root)
    (root / "fish").mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such folder"),
        (
            lambda root: write(root, classes=("cat",)),
            r"holds 1 class folders \(cat\).*at least two",
        ),
        (lambda root: root.mkdir(), r"holds 0 class folders \(none\)"),
        (broken, r"broken.jpg: it cannot be read as an image.*repair or remove"),
        (class_missing, r"dog.*the class 'dog' is only in train"),
        (class_extra, r"fish.*the class 'fish' is only in test"),
        (class_empty, r"fish.*the class has no images"),
        (lambda root: write(root, count=2), "a class has 2 images .*too few to split off 20%"),
        (lambda root: write(root, "val"), "there is no train/"),
    ],
    ids=[
        "missing",
        "one class",
        "empty",
        "broken",
        "lacking",
        "extra",
        "no image",
        "few",
        "no train",
    ],
)
def test_bad_folders(tmp_path, make, message):
    root = tmp_path / "data"
    make(root)
    with pytest.raises(DataError, match=message):
        load_image_folder(root, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(val_share=0.5, test_share=0.5), "positive shares whose sum is below 1"),
        (dict(group_pattern="("), "is not a valid regular expression"),
        (dict(group_pattern="shot"), r"has no group.*put parentheses around"),
        (dict(channels=2), "1 or 3 channels"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    write(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_image_folder(tmp_path, 8, **arguments)

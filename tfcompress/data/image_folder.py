"""Load classified images from folders, as square arrays in memory.

Layouts are `root/{train,val,test}/<class>/*.jpg`, and `root/<class>/*.jpg`, which is split here in
such a way that images that belong together stay in one split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from sklearn.model_selection import StratifiedGroupKFold

from tfcompress.errors import ConfigError, DataError
from tfcompress.short_repr import short_repr

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLITS = ("train", "val", "test")


@short_repr
@dataclass(frozen=True)
class ImageSet:
    """Images of one split.

    Attributes:
        images: Images `(N, side, side, channels)`, uint8.
        labels: Class indices `(N,)`, int64.
        names: Path of each image relative to the data set, or its number.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@short_repr
@dataclass(frozen=True)
class ClassificationData:
    """A data set of classified images.

    Attributes:
        class_names: Names of the classes, in the order of the class indices.
        train: Training images; may be larger than the others, for random crops.
        val: Validation images, for choosing models.
        test: Test images, for reporting.
    """

    class_names: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet

    def counts(self) -> np.ndarray:
        """Number of training images of each class, `(classes,)`."""
        return np.bincount(self.train.labels, minlength=len(self.class_names))

    @property
    def imbalance(self) -> float:
        """Number of training images of the largest class, divided by that of the smallest."""
        return float(self.counts().max() / max(1, self.counts().min()))


def load_image_folder(
    root: str | Path,
    side: int,
    train_side: int | None = None,
    channels: int = 3,
    val_share: float = 0.2,
    test_share: float = 0.2,
    group_pattern: str = "",
    seed: int = 0,
) -> ClassificationData:
    """Read a data set of classified images, one folder per class.

    Images are padded with zeros to squares, so that nothing is cropped or distorted, and resized.

    Args:
        root: Folder in either layout. With a `train` folder, `val` and `test` may be missing; they
            are then split off.
        side: Side length of validation and test images, in pixels.
        train_side: Side length of training images, in pixels; `side` by default.
        channels: Number of channels: 3 for RGB, 1 for gray.
        val_share: Share of the images for validation, if the layout has no `val`.
        test_share: Share of the images for testing, if the layout has no `test`.
        group_pattern: Regular expression that is searched in the file name without its suffix.
            Files of a class with the same first group (frames of a video, shots of one object)
            stay in one split. By default, each image is a group of its own.
        seed: Seed of the split.

    Returns:
        The images of each split and the class names.

    Raises:
        DataError: A folder is missing, there are fewer than two classes, a class has no or too few
            images or is missing in a split, or a file cannot be read as an image.
        ConfigError: The side, channels, shares or pattern are invalid.
    """
    root = Path(root)
    _check(side, channels, val_share, test_share, group_pattern)
    if not root.is_dir():
        raise DataError(str(root), "there is no such folder", "give the data set's folder")
    found = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if not found:
        found = {"train": root}
    elif "train" not in found:
        raise DataError(
            str(root), "there is no train/", "add it, or put the class folders directly here"
        )
    names = _class_names(found)
    files = {split: _files(folder, names) for split, folder in found.items()}
    missing = [split for split in ("test", "val") if split not in files]
    for split in missing:
        share = test_share if split == "test" else val_share
        if split == "val" and "test" in missing:
            share = val_share / (1 - test_share)
        files["train"], files[split] = _split(files["train"], share, group_pattern, seed)
    sides = {"train": train_side or side, "val": side, "test": side}
    sets = {s: _read(root, files[s], sides[s], channels) for s in SPLITS}
    return ClassificationData(names, sets["train"], sets["val"], sets["test"])


def square(image: Image.Image, side: int, channels: int = 3) -> np.ndarray:
    """Pad an image with zeros to a square and resize it: `(side, side, channels)`, uint8."""
    image = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
    longest = max(image.size)
    canvas = Image.new(image.mode, (longest, longest))
    canvas.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    pixels = np.asarray(canvas.resize((side, side), Image.Resampling.BILINEAR))
    return pixels if channels == 3 else pixels[..., None]


def _check(
    side: int, channels: int, val_share: float, test_share: float, group_pattern: str
) -> None:
    if side < 1 or channels not in (1, 3):
        raise ConfigError(
            "side, channels",
            f"{side} and {channels}",
            "use a side of at least 1 pixel and 1 or 3 channels",
        )
    if not (val_share > 0 and test_share > 0 and val_share + test_share < 1):
        raise ConfigError(
            "val_share, test_share",
            f"{val_share} and {test_share}",
            "use positive shares whose sum is below 1",
        )
    try:
        groups = re.compile(group_pattern).groups
    except re.error as error:
        raise ConfigError(
            "group_pattern",
            f"{group_pattern!r} is not a valid regular expression ({error})",
            "correct it",
        ) from None
    if group_pattern and not groups:
        raise ConfigError(
            "group_pattern",
            f"{group_pattern!r} has no group",
            "put parentheses around the part that files of one group share",
        )


def _folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _class_names(found: dict[str, Path]) -> tuple[str, ...]:
    names = _folders(found["train"])
    if len(names) < 2:
        raise DataError(
            str(found["train"]),
            f"it holds {len(names)} class folders ({', '.join(names) or 'none'})",
            "give one folder per class, and at least two",
        )
    for split, folder in found.items():
        for name in sorted(set(names) ^ set(_folders(folder))):
            where = split if name in names else "train"
            raise DataError(
                str(found[where] / name),
                f"the class {name!r} is only in {'train' if where == split else split}",
                "give every split the same class folders",
            )
    return tuple(names)


def _files(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(names):
        paths = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(
                str(folder / name),
                "the class has no images",
                f"add some ({', '.join(SUFFIXES)}), or remove the folder from every split",
            )
        found += [(path, label) for path in paths]
    return found


def _split(
    files: Sequence[tuple[Path, int]], share: float, pattern: str, seed: int
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Split into (rest, part), with about the same share of every class and whole groups."""
    labels = np.array([label for _, label in files])
    groups = [_group(path, pattern) for path, _ in files]
    folds = max(2, round(1 / share))
    few = min(len({g for g, y in zip(groups, labels, strict=True) if y == c}) for c in set(labels))
    if few < folds:
        raise DataError(
            "split",
            f"a class has {few} images (or groups), too few to split off {share:.0%}",
            f"add images until it has {folds}, or split into folders train, val and test yourself",
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    rest, part = next(splitter.split(np.zeros(len(labels)), labels, groups))
    return [files[i] for i in rest], [files[i] for i in part]


def _group(path: Path, pattern: str) -> str:
    match = re.search(pattern, path.stem) if pattern else None
    return f"{path.parent}/{match.group(1)}" if match else str(path)


def _read(root: Path, files: Iterable[tuple[Path, int]], side: int, channels: int) -> ImageSet:
    images, labels, names = [], [], []
    for path, label in files:
        try:
            with Image.open(path) as image:
                images.append(square(image, side, channels))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                str(path), f"it cannot be read as an image ({error})", "repair or remove it"
            ) from error
        labels.append(label)
        names.append(str(path.relative_to(root)))
    return ImageSet(np.stack(images), np.array(labels, np.int64), tuple(names))

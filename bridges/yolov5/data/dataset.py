"""Detection data in YOLO's layout, read and checked before any training.

`data.yaml` names the folders of the splits and the classes:

```yaml
path: .                 # the folder below which the others are, from the file's
train: images/train     # a folder, a list of folders, or a .txt file of image paths
val: images/val
test: images/test       # optional
names: {0: RBC, 1: WBC} # or a list
```

Every image `.../images/a/b.jpg` has its boxes in `.../labels/a/b.txt`, one line each: class, center
x, center y, width, height, as fractions of the image. No file, or an empty one, means no object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from tfcompress.errors import DataError
from tfcompress.short_repr import short_repr

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
SPLITS = ("train", "val", "test")


@short_repr
@dataclass(frozen=True)
class LabelledImage:
    """An image file with its boxes.

    Attributes:
        path: The image.
        size: (height, width) in pixels.
        boxes: (n, 5) float32: class, center x, center y, width, height, as fractions.
    """

    path: Path
    size: tuple[int, int]
    boxes: np.ndarray

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB."""
        with Image.open(self.path) as image:
            return np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class DetectionData:
    """A data set.

    Attributes:
        names: Names of the classes.
        splits: Images of "train", "val" and, if there is one, "test".
        notes: What was skipped, with the reason.
    """

    names: tuple[str, ...]
    splits: dict[str, tuple[LabelledImage, ...]]
    notes: tuple[str, ...] = ()

    @property
    def test_split(self) -> str:
        """The split to report on: "test", or "val" where there is no other."""
        return "test" if "test" in self.splits else "val"

    def counts(self, split: str) -> np.ndarray:
        """Objects of each class in a split, (classes,)."""
        classes = [image.boxes[:, 0].astype(int) for image in self.splits[split]]
        return np.bincount(np.concatenate([*classes, []]).astype(int), minlength=len(self.names))

    def lines(self) -> list[str]:
        """One line per split: images, and objects of each class."""
        parts = []
        for split, images in self.splits.items():
            counts = ", ".join(
                f"{n} {name}" for n, name in zip(self.counts(split), self.names, strict=True)
            )
            parts.append(f"{len(images)} {split} images ({counts})")
        return parts

    def __str__(self) -> str:
        return "; ".join(self.lines())


def read_detection_data(source: str | Path) -> DetectionData:
    """Read `data.yaml`, or the one in a folder; every label and every image header is checked.

    Raises:
        DataError: Naming the file and the line: a missing folder or image, an unreadable image, a
            label that is no box, lies outside the image, or is of a class that has no name.
    """
    path = Path(source)
    path = path / "data.yaml" if path.is_dir() else path
    if not path.is_file():
        raise DataError(str(path), "there is no such file", "give a data.yaml, or its folder")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(str(path), f"it is no YAML ({error})", "correct the syntax") from None
    if not isinstance(content, dict):
        raise DataError(str(path), "it holds no mapping", "write lines of 'key: value'")
    names = _names(path, content)
    root = path.parent / str(content.get("path") or ".")
    notes: list[str] = []
    splits = {}
    for split in SPLITS:
        if content.get(split) is None:
            if split == "test":
                continue
            raise DataError(str(path), f"key {split!r} is missing", "name the folder of its images")
        files = _image_files(path, root, split, content[split])
        splits[split] = tuple(_labelled(file, len(names), notes) for file in files)
    _check_disjoint(path, splits)
    data = DetectionData(names, splits, tuple(notes))
    if not data.counts("train").any():
        raise DataError(
            str(path),
            "no training image has a box",
            "put the labels of .../images/a/b.jpg into .../labels/a/b.txt",
        )
    return data


def label_file(image: Path) -> Path:
    """Where the boxes of an image are: the last folder `images` of its path becomes `labels`."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, n_classes: int) -> tuple[np.ndarray, int]:
    """Boxes of a label file, (n, 5) float32, and the number of duplicate lines.

    Raises:
        DataError: Naming the file, the line and the value.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = [float(item) for item in line.split()]
        except ValueError:
            raise DataError(
                where, f"{line.strip()!r} is no row of numbers", "write class x y w h"
            ) from None
        if len(row) != 5 or not np.isfinite(row).all():
            raise DataError(
                where, f"it has {len(row)} values, not 5 numbers", "write class x y w h"
            )
        _check_box(where, row, n_classes)
        rows.append(row)
    boxes = np.asarray(rows, np.float32).reshape(-1, 5)
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)], len(boxes) - len(first)


def _check_box(where: str, row: Sequence[float], n_classes: int) -> None:
    index, *box = row
    if index != int(index) or not 0 <= index < n_classes:
        raise DataError(
            where,
            f"class {index:g} is none of the {n_classes} in data.yaml (0 to {n_classes - 1})",
            "correct the line, or name the class there",
        )
    for key, value in zip(("x", "y", "width", "height"), box, strict=True):
        if not 0 <= value <= 1:
            raise DataError(
                where,
                f"{key} {value:g} is outside [0, 1]",
                "divide pixels by the image's width or height",
            )
    if not (box[2] > 0 and box[3] > 0):
        raise DataError(where, f"the box is {box[2]:g} x {box[3]:g} large", "remove the line")


def _names(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(str(path), f"'names' has the keys {sorted(names)}", "count from 0")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(str(path), f"'names' is {names!r}", "list the names of the classes")
    n_classes = content.get("nc", len(names))
    if n_classes != len(names):
        raise DataError(
            str(path), f"'nc' is {n_classes!r} for {len(names)} names", "make them agree"
        )
    return tuple(str(name) for name in names)


def _image_files(path: Path, root: Path, split: str, value: Any) -> list[Path]:
    """Image files that a split's entry names, sorted."""
    files: list[Path] = []
    for entry in value if isinstance(value, list) else [value]:
        place = root / str(entry)
        if place.is_dir():
            files += [f for f in place.rglob("*") if f.suffix.lower() in SUFFIXES]
        elif place.is_file() and place.suffix == ".txt":
            lines = place.read_text(encoding="utf-8").split("\n")
            files += [place.parent / line.strip() for line in lines if line.strip()]
        else:
            raise DataError(
                str(path), f"{split!r} names {place}, which is not there", "correct the path"
            )
    if not files:
        raise DataError(
            str(path), f"{split!r} has no image ({', '.join(SUFFIXES)})", "put the images there"
        )
    return sorted(set(files))


def _labelled(path: Path, n_classes: int, notes: list[str]) -> LabelledImage:
    try:
        with Image.open(path) as image:
            width, height = image.size
            image.verify()
    except FileNotFoundError:
        raise DataError(
            str(path), "the image is missing", "restore it, or take it off the list"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(
            str(path), f"it is no readable image ({error})", "replace or remove it"
        ) from None
    labels = label_file(path)
    boxes = np.zeros((0, 5), np.float32)
    if labels.is_file():
        boxes, double = read_labels(labels, n_classes)
        if double:
            notes.append(f"{labels}: {double} double lines passed over")
    return LabelledImage(path, (height, width), boxes)


def _check_disjoint(path: Path, splits: dict[str, tuple[LabelledImage, ...]]) -> None:
    """The same file in two splits would be tested on what was trained on."""
    seen: dict[Path, str] = {}
    for split, images in splits.items():
        for image in images:
            file = image.path.resolve()
            if seen.setdefault(file, split) != split:
                raise DataError(
                    str(path),
                    f"{image.path} is in both {seen[file]!r} and {split!r}",
                    "keep it in one of them",
                )

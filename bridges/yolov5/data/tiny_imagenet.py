"""TinyImageNet's layout as a proxy set for architecture search.

wnids.txt                       one class a line
train/<wnid>/images/*.JPEG
val/images/*.JPEG, val/val_annotations.txt      file name, wnid, and a box
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from bridges.yolov5.nas.proxies import ClassificationProxy
from tfcompress.errors import DataError


def tiny_imagenet_proxy(
    folder: str | Path, side: int = 64, batch: int = 64, per_class: int = 0, seed: int = 0
) -> ClassificationProxy:
    """Training images for the weights, the validation images for the choices.

    Args:
        folder: `tiny-imagenet-200`.
        side: Images are scaled to this square.
        batch: Number of images per step.
        per_class: Number of training images per class, drawn with `seed`; 0 for all.
        seed: Seed of the drawing.

    Raises:
        DataError: A file or folder of the layout is missing, names a class that is not listed, or
            an image cannot be read.
    """
    folder = Path(folder)
    listing = folder / "wnids.txt"
    if not listing.is_file():
        raise DataError(str(listing), "there is no such file", "give the folder of TinyImageNet")
    classes = listing.read_text(encoding="utf-8").split()
    generator = np.random.default_rng(seed)
    train: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        files = sorted((folder / "train" / name / "images").glob("*.JPEG"))
        if not files:
            raise DataError(
                str(folder / "train" / name / "images"), "it holds no .JPEG", "restore it"
            )
        if per_class and per_class < len(files):
            files = [files[int(i)] for i in generator.permutation(len(files))[:per_class]]
        train += [(file, label) for file in files]
    val = _annotated(folder / "val", {name: label for label, name in enumerate(classes)})
    files = [*train, *val]
    return ClassificationProxy(
        images=torch.stack([_read(file, side) for file, _ in files]),
        labels=torch.tensor([label for _, label in files]),
        n_classes=len(classes),
        batch=batch,
        training=len(train),
    )


def _annotated(folder: Path, labels: dict[str, int]) -> list[tuple[Path, int]]:
    listing = folder / "val_annotations.txt"
    if not listing.is_file():
        raise DataError(str(listing), "there is no such file", "restore it")
    found = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
        name, wnid, *_ = (*line.split("\t"), "", "")
        if wnid not in labels:
            raise DataError(
                f"{listing}, line {number}", f"class {wnid!r} is not in wnids.txt", "correct it"
            )
        found.append((folder / "images" / name, labels[wnid]))
    return found


def _read(path: Path, side: int) -> torch.Tensor:
    """(3, side, side) float32 in [0, 1]; gray images become RGB."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(
                image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            )
    except FileNotFoundError:
        raise DataError(str(path), "the image is missing", "restore it") from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(str(path), f"it is no readable image ({error})", "replace it") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255

"""Classification data sets from packages: scikit-learn's digits, Debian's Fashion-MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tfcompress.data.image_folder import ClassificationData, ImageSet, square
from tfcompress.errors import DataError

FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
FASHION_FOLDER = "/usr/share/datasets/fashion-mnist"
"""Folder where Debian's package dataset-fashion-mnist installs the data set."""

_Pair = tuple[np.ndarray, np.ndarray]


def load_fashion_mnist(
    folder: str | Path = FASHION_FOLDER,
    side: int = 32,
    channels: int = 3,
    val_share: float = 0.1,
    seed: int = 0,
    at_most: int | None = None,
) -> ClassificationData:
    """Load Fashion-MNIST from its IDX files: 60,000 + 10,000 gray images of 28x28 pixels.

    Source: Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset", 2017.

    Args:
        folder: Folder that holds `train-images-idx3-ubyte.gz` and the three other files.
        side: Side length to resize to, in pixels.
        channels: Number of channels: 3 (the gray value repeated) or 1.
        val_share: Share of the training images for validation, stratified by class.
        seed: Seed of the sampling and the split.
        at_most: Number of training and validation images together, stratified by class; all by
            default.

    Returns:
        The images of each split and the class names.

    Raises:
        DataError: A file is missing or broken.
    """
    folder = Path(folder)
    images, labels = _idx_pair(folder, "train")
    if at_most is not None and at_most < len(images):
        images, _, labels, _ = train_test_split(
            images, labels, train_size=at_most, stratify=labels, random_state=seed
        )
    tests = _idx_pair(folder, "t10k")
    train, val = _stratified(images, labels, val_share, seed)
    sets = [_image_set(*part, side, channels) for part in (train, val, tests)]
    return ClassificationData(FASHION_CLASSES, *sets)


def load_digits_set(
    side: int = 32,
    channels: int = 3,
    val_share: float = 0.2,
    test_share: float = 0.2,
    seed: int = 0,
) -> ClassificationData:
    """Load scikit-learn's digits: 1,797 gray images of 8x8 pixels, resized.

    Args:
        side: Side length to resize to, in pixels.
        channels: Number of channels: 3 (the gray value repeated) or 1.
        val_share: Share of the images for validation, stratified by class.
        test_share: Share of the images for testing, stratified by class.
        seed: Seed of the split.

    Returns:
        The images of each split and the class names "0" to "9".
    """
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    rest, test = _stratified(images, digits.target, test_share, seed)
    train, val = _stratified(*rest, val_share / (1 - test_share), seed)
    sets = [_image_set(*part, side, channels) for part in (train, val, test)]
    return ClassificationData(tuple(map(str, range(10))), *sets)


def _stratified(
    images: np.ndarray, labels: np.ndarray, share: float, seed: int
) -> tuple[_Pair, _Pair]:
    first, second, labels_first, labels_second = train_test_split(
        images, labels, test_size=share, stratify=labels, random_state=seed
    )
    return (first, labels_first), (second, labels_second)


def _image_set(images: np.ndarray, labels: np.ndarray, side: int, channels: int) -> ImageSet:
    resized = np.stack([square(Image.fromarray(image), side, channels) for image in images])
    names = tuple(f"{i}" for i in range(len(labels)))
    return ImageSet(resized, labels.astype(np.int64), names)


def _idx_pair(folder: Path, part: str) -> _Pair:
    """Read images and labels of the part "train" or "t10k"."""
    images, labels = (
        _idx(folder / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")
    )
    return images, labels


def _idx(path: Path) -> np.ndarray:
    """Read an IDX file: two zero bytes, type, number of axes, their sizes, values."""
    if not path.is_file():
        raise DataError(
            str(path),
            "there is no such file",
            "install Debian's dataset-fashion-mnist, or give the folder of the four .gz files of "
            "github.com/zalandoresearch/fashion-mnist",
        )
    try:
        content = gzip.decompress(path.read_bytes())
        axes = content[3]
        shape = np.frombuffer(content, ">i4", axes, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(
            str(path), f"it is not a valid IDX file ({error})", "download it again"
        ) from error

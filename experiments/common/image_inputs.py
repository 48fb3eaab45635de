"""Images that a user names: one file, or those of a folder."""

from __future__ import annotations

from pathlib import Path

from tfcompress.data.scenes import image_files
from tfcompress.errors import DataError


def image_paths(images: Path) -> list[Path]:
    """An image, or the images of a folder.

    Raises:
        DataError: There are none, or two share a stem.
    """
    if images.is_file():
        return [images]
    if not images.is_dir():
        raise DataError(str(images), "there is no such file or folder", "give IMAGES=path")
    paths = list(image_files(images).values())
    if not paths:
        raise DataError(str(images), "the folder holds no images", "give a folder of images")
    return paths

"""Find, read and check pairs of image and mask files.

A scene is one image with its mask. Its group (the tile or slice that it comes from) must not be
divided between training and test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfcompress.data.palette import Palette, infer_palette
from tfcompress.errors import DataError
from tfcompress.short_repr import short_repr

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


@dataclass(frozen=True)
class Scene:
    """One image file and its mask file.

    Attributes:
        name: Short name, unique in the data set.
        group: Name of the tile or slice; scenes of one group stay in one split.
        image: Path of the image file.
        mask: Path of the mask file.
    """

    name: str
    group: str
    image: Path
    mask: Path


@short_repr
@dataclass(frozen=True)
class LoadedScene:
    """A scene in memory.

    Attributes:
        scene: The files that it was read from.
        image: Image `(H, W, C)`, uint8, with C = 1 (gray) or 3 (RGB).
        labels: Class indices `(H, W)`, uint8.
    """

    scene: Scene
    image: np.ndarray
    labels: np.ndarray


def image_files(folder: Path) -> dict[str, Path]:
    """Image files of a folder, sorted, by their name without suffix.

    Hidden files and files with other suffixes are ignored.

    Raises:
        DataError: Two files differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(
                str(path),
                f"{found[path.stem].name} has the same name but for the suffix",
                "rename one of the two",
            )
        found[path.stem] = path
    return found


def pair_folders(images: Path, masks: Path, group: str | None = None) -> list[Scene]:
    """Pair the files of an images folder and a masks folder by their names without suffix.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        group: Name of the group that all scenes belong to; None makes each scene its own group.

    Raises:
        DataError: A folder is missing or empty, or a file has no counterpart.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(
                str(folder),
                "there is no such folder",
                "give a data set with images/ and masks/",
            )
    image_of, mask_of = image_files(images), image_files(masks)
    if not image_of:
        raise DataError(
            str(images),
            "the folder holds no images",
            f"put files ending in {SUFFIXES[:5]} there",
        )
    for here, there, lonely in (
        (image_of, masks, sorted(set(image_of) - set(mask_of))),
        (mask_of, images, sorted(set(mask_of) - set(image_of))),
    ):
        if lonely:
            raise DataError(
                str(here[lonely[0]]),
                f"it has no counterpart of the same name in {there} ({len(lonely)} such files)",
                "add the missing file, or remove this one",
            )
    prefix = "" if group is None else f"{group}/"
    return [
        Scene(f"{prefix}{stem}", group or stem, path, mask_of[stem])
        for stem, path in image_of.items()
    ]


def read_image(path: Path) -> np.ndarray:
    """Read an image file as `(H, W, 1)` gray or `(H, W, 3)` RGB, uint8.

    Gray values of more than 8 bits are stretched from the image's own range to 0..255. Paletted
    images and images with an alpha channel become RGB.

    Raises:
        DataError: The file cannot be read as an image.
    """
    with _open(path) as image:
        if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            wide = np.asarray(image, dtype=np.float64)
            low, high = wide.min(), wide.max()
            scaled = (wide - low) * (255 / (high - low)) if high > low else wide * 0
            return scaled.round().astype(np.uint8)[..., None]
        if image.mode in ("1", "L", "LA"):
            return np.asarray(image.convert("L"))[..., None]
        return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """Read a mask file as RGB `(H, W, 3)`, or as integers `(H, W)` if it has a single channel.

    A paletted PNG is read as RGB.

    Raises:
        DataError: The file cannot be read as an image.
    """
    with _open(path) as image:
        if image.mode in ("L", "I", "I;16", "1"):
            return np.asarray(image.convert("I"))
        return np.asarray(image.convert("RGB"))


def load_scenes(
    scenes: Sequence[Scene],
    palette: Palette | None,
    tolerance: int = 0,
    channels: int | None = None,
) -> tuple[list[LoadedScene], Palette]:
    """Read all scenes into memory.

    Args:
        scenes: Scenes to read.
        palette: Classes and their mask colors; None infers them from the masks.
        tolerance: Color tolerance for masks saved as JPEG; see `Palette.labels_of`.
        channels: Number of channels, 1 or 3. None is 1 if all images are gray, else 3.

    Returns:
        The scenes in memory, and the palette.

    Raises:
        DataError: A file cannot be read, a mask differs in size from its image, or a color belongs
            to no class.
    """
    images = [read_image(scene.image) for scene in scenes]
    masks = [read_mask(scene.mask) for scene in scenes]
    for scene, image, mask in zip(scenes, images, masks, strict=True):
        if image.shape[:2] != mask.shape[:2]:
            raise DataError(
                str(scene.mask),
                f"the mask is {_size(mask)}, but its image is {_size(image)} (height x width)",
                "give the mask of this image, without resizing it",
            )
    if palette is None:
        palette = infer_palette(masks, str(scenes[0].mask.parent))
    channels = channels or max(image.shape[-1] for image in images)
    loaded = [
        LoadedScene(
            scene,
            with_channels(image, channels),
            palette.labels_of(mask, str(scene.mask), tolerance),
        )
        for scene, image, mask in zip(scenes, images, masks, strict=True)
    ]
    return loaded, palette


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Convert an image `(H, W, 1 or 3)`, uint8, to 1 (luminance) or 3 channels."""
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(
            str(path),
            f"it cannot be read as an image ({error})",
            "replace or remove the file",
        ) from error
    return image


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"

"""Load a segmentation folder, in any known layout, as training, validation and test patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tfcompress.data.aerial import AERIAL_CLASSES, find_aerial_scenes, tile_folders
from tfcompress.data.palette import Palette
from tfcompress.data.patches import Scaling, cut_patches, scale_image
from tfcompress.data.scenes import LoadedScene, Scene, load_scenes, pair_folders
from tfcompress.errors import ConfigError, DataError
from tfcompress.short_repr import short_repr

SplitOrder = Literal["ordered", "random"]


@short_repr
@dataclass(frozen=True)
class Patches:
    """Patches of one split, in memory.

    Attributes:
        images: Scaled patches `(N, P, P, C)`, float32.
        labels: Class indices `(N, P, P)`, uint8. In the test split, 255 marks pixels that an
            earlier, overlapping patch already contains.
        sources: Name of each patch's scene.
    """

    images: np.ndarray
    labels: np.ndarray
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


@short_repr
@dataclass(frozen=True)
class SegmentationData:
    """A segmentation data set, split by source image or tile and cut into patches.

    Attributes:
        palette: Classes and their mask colors.
        train: Training patches.
        val: Validation patches, for choosing models.
        test: Test patches, for reporting; each pixel of the test scenes counts once.
        groups: Names of the groups (images or tiles) of each split, by "train", "val" and "test".
    """

    palette: Palette
    train: Patches
    val: Patches
    test: Patches
    groups: dict[str, tuple[str, ...]]

    def class_shares(self) -> np.ndarray:
        """Share of each class in the training pixels, `(classes,)`."""
        counts = np.bincount(self.train.labels.reshape(-1), minlength=len(self.palette))
        return counts[: len(self.palette)] / counts[: len(self.palette)].sum()


def find_scenes(root: str | Path) -> tuple[list[Scene], Palette | None]:
    """Find the scenes of a data set in the aerial or the images/masks layout.

    Args:
        root: Folder of the data set, or one that holds the folder of `Tile N` folders.

    Returns:
        The scenes, and the palette of the aerial layout (None for images/masks).

    Raises:
        DataError: The folder is missing, or is in neither layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(str(root), "there is no such folder", "give the data set's folder")
    for candidate in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if tile_folders(candidate):
            return find_aerial_scenes(candidate), AERIAL_CLASSES
    if (root / "images").exists() or (root / "masks").exists():
        return pair_folders(root / "images", root / "masks"), None
    raise DataError(
        str(root),
        "it holds neither 'Tile N' folders nor images/ and masks/",
        "arrange it as 'Tile 1/images', 'Tile 1/masks', ... or as images/ and masks/",
    )


def split_groups(
    groups: Sequence[str],
    val_share: float = 0.2,
    test_share: float = 0.2,
    order: SplitOrder = "ordered",
    seed: int = 0,
) -> dict[str, tuple[str, ...]]:
    """Split groups: the last ones are for testing, those before them for validation.

    Args:
        groups: Names of all groups in order; repetitions are dropped.
        val_share: Share of the groups for validation; at least one group is taken.
        test_share: Share of the groups for testing; at least one group is taken.
        order: Order of the groups before the split: "ordered" as given, or "random".
        seed: Seed of the random order.

    Returns:
        Names of the groups by "train", "val" and "test".

    Raises:
        DataError: There are fewer than three groups, one for each split.
        ConfigError: The shares leave no group for training.
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 3:
        raise DataError(
            "data set",
            f"it has {len(names)} source images or tiles ({', '.join(names)})",
            "give at least 3, one each for training, validation and testing",
        )
    if order == "random":
        names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    n_val = max(1, round(val_share * len(names)))
    n_test = max(1, round(test_share * len(names)))
    n_train = len(names) - n_val - n_test
    if not 0 <= val_share < 1 or not 0 <= test_share < 1 or n_train < 1:
        raise ConfigError(
            "val_share and test_share",
            f"{val_share} and {test_share} of {len(names)} groups leave {n_train} to train on",
            "lower them",
        )
    return {
        "train": tuple(names[:n_train]),
        "val": tuple(names[n_train : n_train + n_val]),
        "test": tuple(names[n_train + n_val :]),
    }


def load_segmentation(
    root: str | Path,
    patch: int = 128,
    stride: int | None = None,
    scaling: Scaling = "minmax",
    palette: Palette | None = None,
    tolerance: int = 0,
    channels: int | None = None,
    val_share: float = 0.2,
    test_share: float = 0.2,
    order: SplitOrder = "ordered",
    seed: int = 0,
) -> SegmentationData:
    """Read a segmentation data set and cut it into patches.

    The split is by source image or tile, never by patch, so that neighboring patches do not leak
    from one split into another.

    Args:
        root: Folder in the aerial (`Tile N/{images,masks}`) or the images/masks layout.
        patch: Side length of the square patches, in pixels.
        stride: Distance between neighboring training patches, in pixels; None is `patch` (no
            overlap). Validation and test patches overlap only at the right and lower edge.
        scaling: Scaling of the pixels: "minmax" or "standard" per source image and channel, or
            "unit" (divided by 255); see `patches.scale_image`.
        palette: Classes and their mask colors. None takes those of the aerial layout, or else the
            colors found in the masks.
        tolerance: Color tolerance for masks saved as JPEG; see `Palette.labels_of`.
        channels: Number of channels, 1 or 3. None is 1 if all images are gray, else 3.
        val_share: Share of the groups for validation.
        test_share: Share of the groups for testing.
        order: Order of the groups before the split, "ordered" or "random"; see `split_groups`.
        seed: Seed of the random order.

    Returns:
        The patches of each split, the palette and the groups.

    Raises:
        DataError: A folder or file is missing or invalid; the error names it.
        ConfigError: The shares, patch size, stride or scaling are invalid.
    """
    scenes, fixed = find_scenes(root)
    groups = split_groups([s.group for s in scenes], val_share, test_share, order, seed)
    loaded, palette = load_scenes(scenes, palette or fixed, tolerance, channels)

    def cut(split: str, step: int, count_once: bool) -> Patches:
        members = [item for item in loaded if item.scene.group in groups[split]]
        return _patches_of(members, patch, step, scaling, count_once)

    return SegmentationData(
        palette=palette,
        train=cut("train", stride or patch, count_once=False),
        val=cut("val", patch, count_once=False),
        test=cut("test", patch, count_once=True),
        groups=groups,
    )


def _patches_of(
    members: Sequence[LoadedScene],
    patch: int,
    stride: int,
    scaling: Scaling,
    count_once: bool,
) -> Patches:
    images, labels, sources = [], [], []
    for item in members:
        where = str(item.scene.image)
        image = scale_image(item.image, scaling)
        pieces, piece_labels = cut_patches(image, item.labels, patch, stride, where, count_once)
        images.append(pieces)
        labels.append(piece_labels)
        sources.extend([item.scene.name] * len(pieces))
    return Patches(np.concatenate(images), np.concatenate(labels), tuple(sources))

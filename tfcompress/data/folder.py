"""A segmentation folder, whatever its layout, to training, validation and test patches."""

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

SplitOrder = Literal["ordered", "random"]


@dataclass(frozen=True)
class Patches:
    """Patches of one split, in memory.

    Attributes:
        images: `(N, P, P, C)` float32, scaled.
        labels: `(N, P, P)` uint8; 255 where a pixel is counted in another patch already.
        sources: Name of the scene of each patch.
    """

    images: np.ndarray
    labels: np.ndarray
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class SegmentationData:
    """A data set, split by source, cut and scaled.

    Attributes:
        palette: The classes.
        train: Patches to train on.
        val: Patches to choose models on.
        test: Patches to report on; each pixel of the test scenes counts once.
        groups: The groups of each split.
    """

    palette: Palette
    train: Patches
    val: Patches
    test: Patches
    groups: dict[str, tuple[str, ...]]

    def class_shares(self) -> np.ndarray:
        """Share of the training pixels of each class, `(classes,)`."""
        counts = np.bincount(self.train.labels.reshape(-1), minlength=len(self.palette))
        return counts[: len(self.palette)] / counts[: len(self.palette)].sum()


def find_scenes(root: str | Path) -> tuple[list[Scene], Palette | None]:
    """The scenes of a data set in either layout, and its palette if the layout fixes one.

    Raises:
        DataError: The folder is missing or in neither layout.
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
    """Groups of training, validation and test: the last are test, those before them validation.

    Args:
        groups: All groups, in order.
        val_share: Share of the groups for validation, at least one group.
        test_share: Share of the groups for test, at least one group.
        order: `"ordered"` as they come, `"random"` shuffled by `seed` first.
        seed: For the shuffle.

    Raises:
        DataError: Fewer than three groups: a split by source needs one each.
        ConfigError: Shares that leave nothing to train on.
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 3:
        raise DataError(
            "data set",
            f"it has {len(names)} source images or tiles ({', '.join(names)})",
            "give at least 3, one each for training, validation and test",
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
    """Read a data set and cut it into patches.

    Args:
        root: Folder in the aerial or the images/masks layout.
        patch: Side of the square patches, in pixels.
        stride: Distance of neighboring training patches; None is `patch` (no overlap). Validation
            and test patches never overlap but at the right and lower edge.
        scaling: `"minmax"` or `"standard"` per source image and channel, or `"unit"` (/ 255).
        palette: The classes; None takes the layout's, or reads them off the masks.
        tolerance: See `Palette.labels_of`.
        channels: 1 or 3; None keeps gray where all images are gray.
        val_share: See `split_groups`.
        test_share: See `split_groups`.
        order: See `split_groups`.
        seed: See `split_groups`.

    Raises:
        DataError: Anything wrong with the files, naming the file.
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

"""Classes of a segmentation data set: names and mask colors, and labels from masks and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.errors import ConfigError, DataError

_UNKNOWN = 255


@dataclass(frozen=True)
class Palette:
    """Names of the classes and their colors in masks; a class index is a position in both.

    Attributes:
        names: Names of the classes, all different.
        colors: Colors of the classes, each (red, green, blue) from 0 to 255, all different.
        integer_masks: Whether masks are single-channel files that hold class indices. The colors
            are then for display only.

    Raises:
        ConfigError: The numbers of names and colors differ, a name or color occurs twice, or there
            are fewer than 2 or more than 254 classes.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    integer_masks: bool = False

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ConfigError(
                "palette",
                f"{len(self.names)} names and {len(self.colors)} colors",
                "give one color per class",
            )
        if not 2 <= len(self.names) < _UNKNOWN:
            raise ConfigError(
                "palette",
                f"it has {len(self.names)} classes",
                f"use 2 to {_UNKNOWN - 1}",
            )
        for what, values in (("name", self.names), ("color", self.colors)):
            if len(set(values)) != len(values):
                raise ConfigError(
                    "palette", f"a {what} occurs twice", f"give each class a {what} of its own"
                )

    @classmethod
    def from_hex(cls, classes: Mapping[str, str]) -> Palette:
        """Make a palette from `{"Building": "#3C1098", ...}`, in the order of class indices."""
        return cls(tuple(classes), tuple(_rgb(name, code) for name, code in classes.items()))

    @classmethod
    def numbered(cls, n_classes: int) -> Palette:
        """Make a palette for integer masks: "class 0", "class 1", ... with display colors."""
        return cls(
            tuple(f"class {i}" for i in range(n_classes)),
            tuple(_display_color(i) for i in range(n_classes)),
            integer_masks=True,
        )

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, str]:
        """The palette as `{name: "#RRGGBB"}`, for JSON."""
        return {
            name: "#{:02X}{:02X}{:02X}".format(*color)
            for name, color in zip(self.names, self.colors, strict=True)
        }

    def labels_of(self, mask: np.ndarray, where: str, tolerance: int = 0) -> np.ndarray:
        """Convert a mask to class indices.

        Args:
            mask: RGB mask `(H, W, 3)`, uint8; or class indices `(H, W)` if `integer_masks`.
            where: Path of the file, for errors.
            tolerance: Largest difference per channel (0 to 127) between a pixel and the color of a
                class. The nearest class is taken. Use it for masks that were saved as JPEG.

        Returns:
            Class indices `(H, W)`, uint8.

        Raises:
            DataError: A color or label belongs to no class. The error gives its share of pixels.
        """
        if self.integer_masks:
            return self._check_labels(mask, where)
        packed = _pack(mask)
        known = np.array([_pack(np.array(color)) for color in self.colors])
        order = np.argsort(known)
        position = np.searchsorted(known[order], packed)
        found = order[np.minimum(position, len(order) - 1)]
        labels = np.where(known[found] == packed, found, _UNKNOWN).astype(np.uint8)
        unknown = labels == _UNKNOWN
        if tolerance and unknown.any():
            labels[unknown] = self._nearest(mask[unknown], tolerance)
            unknown = labels == _UNKNOWN
        if unknown.any():
            values, counts = np.unique(packed[unknown], return_counts=True)
            worst = values[np.argmax(counts)]
            raise DataError(
                where,
                f"color #{worst:06X} belongs to no class; {counts.max() / packed.size:.2%} of the "
                f"pixels have it ({np.count_nonzero(unknown) / packed.size:.2%} have one of "
                f"{values.size} unknown colors)",
                f"add it to the classes ({_listing(self)}), or set a color tolerance if the mask "
                "was saved as JPEG",
            )
        return labels

    def colors_of(self, labels: np.ndarray) -> np.ndarray:
        """The colors of class indices: `(...)` to RGB `(..., 3)`, uint8."""
        return np.array(self.colors, dtype=np.uint8)[labels]

    def _nearest(self, pixels: np.ndarray, tolerance: int) -> np.ndarray:
        difference = pixels[:, None].astype(np.int16) - np.array(self.colors, np.int16)[None]
        distance = np.abs(difference).max(axis=-1)
        nearest = distance.argmin(axis=1)
        within = distance[np.arange(len(pixels)), nearest] <= tolerance
        return np.where(within, nearest, _UNKNOWN).astype(np.uint8)

    def _check_labels(self, mask: np.ndarray, where: str) -> np.ndarray:
        if mask.ndim != 2:
            raise DataError(
                where,
                f"its shape is {mask.shape}, not (height, width)",
                "save labels as gray PNG",
            )
        outside = mask >= len(self)
        if outside.any():
            worst = int(mask[outside].max())
            raise DataError(
                where,
                f"label {worst} belongs to no class; {outside.mean():.2%} of the pixels have "
                "unknown labels",
                f"use labels 0 to {len(self) - 1}, or give {worst + 1} classes",
            )
        return mask.astype(np.uint8)


def infer_palette(masks: Sequence[np.ndarray], where: str, at_most: int = 32) -> Palette:
    """Infer the classes from masks: their sorted colors, or their labels.

    Args:
        masks: RGB masks `(H, W, 3)`, uint8, or integer masks `(H, W)`.
        where: Folder of the masks, for errors.
        at_most: Maximum number of colors. Masks damaged by JPEG have thousands.

    Returns:
        A palette whose class names are the colors ("#3C1098"), or "class 0", "class 1", ...

    Raises:
        DataError: The masks have more than `at_most` colors, or fewer than two.
    """
    if masks[0].ndim == 2:
        return Palette.numbered(max(2, 1 + max(int(mask.max()) for mask in masks)))
    seen: set[int] = set()
    for mask in masks:
        seen.update(np.unique(_pack(mask)).tolist())
    if not 2 <= len(seen) <= at_most:
        raise DataError(
            where,
            f"the masks have {len(seen)} colors, so the classes cannot be inferred",
            "name the classes and their colors, with a color tolerance if masks were saved as JPEG",
        )
    codes = [f"#{value:06X}" for value in sorted(seen)]
    return Palette.from_hex({code: code for code in codes})


def _pack(rgb: np.ndarray) -> np.ndarray:
    """Pack colors `(..., 3)` into integers 0xRRGGBB `(...)`."""
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _rgb(name: str, code: str) -> tuple[int, int, int]:
    digits = code.removeprefix("#")
    try:
        if len(digits) != 6:
            raise ValueError
        value = int(digits, 16)
    except ValueError:
        raise ConfigError(
            f"class {name!r}", f"{code!r} is not a hex color", "write '#RRGGBB'"
        ) from None
    return value >> 16, value >> 8 & 255, value & 255


def _display_color(index: int) -> tuple[int, int, int]:
    """Well-separated colors for any number of classes (golden-angle hues)."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.65, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _listing(palette: Palette) -> str:
    return ", ".join(f"{name} {code}" for name, code in palette.to_dict().items())

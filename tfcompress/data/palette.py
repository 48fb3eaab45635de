"""Classes of a segmentation data set: names, mask colors, and masks to labels and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.errors import ConfigError, DataError

_UNKNOWN = 255


@dataclass(frozen=True)
class Palette:
    """Class names and the colors that stand for them in masks; the label is the position.

    Attributes:
        names: One per class, all different.
        colors: One `(red, green, blue)` per class, all different.
        integer_masks: Masks hold the label itself (single-channel files); the colors are for
            display only.
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
                raise ConfigError("palette", f"a {what} stands twice", f"give each a {what}")

    @classmethod
    def from_hex(cls, classes: Mapping[str, str]) -> Palette:
        """From `{"Building": "#3C1098", ...}`, in label order."""
        return cls(tuple(classes), tuple(_rgb(name, code) for name, code in classes.items()))

    @classmethod
    def numbered(cls, n_classes: int) -> Palette:
        """For integer masks: classes "class 0", "class 1", ... with colors for display."""
        return cls(
            tuple(f"class {i}" for i in range(n_classes)),
            tuple(_display_color(i) for i in range(n_classes)),
            integer_masks=True,
        )

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, str]:
        """`{name: "#RRGGBB"}`, for JSON."""
        return {
            name: "#{:02X}{:02X}{:02X}".format(*color)
            for name, color in zip(self.names, self.colors, strict=True)
        }

    def labels_of(self, mask: np.ndarray, where: str, tolerance: int = 0) -> np.ndarray:
        """Labels `(H, W)` uint8 of a mask.

        Args:
            mask: `(H, W, 3)` RGB, or `(H, W)` labels if `integer_masks`.
            where: The file, for the error.
            tolerance: Largest difference per channel (0 to 127) at which a color still counts as
                a class's; the nearest class wins. For masks damaged by JPEG.

        Raises:
            DataError: A color or label that stands for no class, with its share of the pixels.
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
                f"color #{worst:06X} stands for no class, on {counts.max() / packed.size:.2%} of "
                f"the pixels ({np.count_nonzero(unknown) / packed.size:.2%} in {values.size} "
                "unknown colors)",
                f"add it to the classes ({_listing(self)}), or set a color tolerance if the mask "
                "was saved as JPEG",
            )
        return labels

    def colors_of(self, labels: np.ndarray) -> np.ndarray:
        """RGB uint8 `(..., 3)` of labels `(...)`."""
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
                f"label {worst} stands for no class, on {outside.mean():.2%} of the pixels",
                f"use labels 0 to {len(self) - 1}, or give {worst + 1} classes",
            )
        return mask.astype(np.uint8)


def infer_palette(masks: Sequence[np.ndarray], where: str, at_most: int = 32) -> Palette:
    """The palette that masks themselves show: their colors in order, or their labels.

    Args:
        masks: `(H, W, 3)` RGB masks, or `(H, W)` integer masks.
        where: The folder, for the error.
        at_most: More colors than this are no palette (a JPEG-damaged mask has thousands).

    Raises:
        DataError: Too many colors, or fewer than two.
    """
    if masks[0].ndim == 2:
        return Palette.numbered(max(2, 1 + max(int(mask.max()) for mask in masks)))
    seen: set[int] = set()
    for mask in masks:
        seen.update(np.unique(_pack(mask)).tolist())
    if not 2 <= len(seen) <= at_most:
        raise DataError(
            where,
            f"the masks have {len(seen)} colors, from which no classes can be read",
            "name the classes and their colors, with a color tolerance if masks were saved as JPEG",
        )
    codes = [f"#{value:06X}" for value in sorted(seen)]
    return Palette.from_hex({code: code for code in codes})


def _pack(rgb: np.ndarray) -> np.ndarray:
    """Colors `(..., 3)` as one integer 0xRRGGBB each."""
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
            f"class {name!r}", f"{code!r} is no hex color", "write '#RRGGBB'"
        ) from None
    return value >> 16, value >> 8 & 255, value & 255


def _display_color(index: int) -> tuple[int, int, int]:
    """Well-separated colors for any number of classes (golden-angle hues)."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.65, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _listing(palette: Palette) -> str:
    return ", ".join(f"{name} {code}" for name, code in palette.to_dict().items())

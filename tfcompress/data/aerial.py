"""The aerial-imagery layout: `Tile N/{images/*.jpg, masks/*.png}` with six classes.

Public source: "Semantic segmentation of aerial imagery", Humans in the Loop, on Kaggle (72 images
of Dubai in eight tiles).
"""

from __future__ import annotations

import re
from pathlib import Path

from tfcompress.data.palette import Palette
from tfcompress.data.scenes import Scene, pair_folders

AERIAL_CLASSES = Palette.from_hex(
    {
        "Building": "#3C1098",
        "Land": "#8429F6",
        "Road": "#6EC1E4",
        "Vegetation": "#FEDD3A",
        "Water": "#E2A929",
        "Unlabeled": "#9B9B9B",
    }
)


def tile_folders(root: Path) -> list[Path]:
    """The folders `Tile 1`, `Tile 2`, ... of a folder in numeric order; an empty list if none."""
    numbered = [
        (int(match[1]), path)
        for path in root.iterdir()
        if path.is_dir() and (match := re.fullmatch(r"Tile (\d+)", path.name))
    ]
    return [path for _, path in sorted(numbered)]


def find_aerial_scenes(root: Path) -> list[Scene]:
    """Find the scenes of all tiles; each tile is a group.

    Args:
        root: Folder that holds the `Tile N` folders.

    Raises:
        DataError: A tile lacks `images/` or `masks/`, or an image or mask has no counterpart.
    """
    return [
        scene
        for tile in tile_folders(root)
        for scene in pair_folders(tile / "images", tile / "masks", group=tile.name)
    ]

"""A small generated detection set of textured shapes, written in YOLO's layout.

Four classes that differ by shape and texture, not by color alone, at sizes from a twelfth to a
third of the image, overlapping a little, on a ground with a texture of its own.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

from tfcompress.atomic import atomic_path

NAMES = ("disc", "square", "triangle", "ring")


def write_shapes(
    folder: str | Path,
    counts: tuple[int, int, int] = (96, 32, 32),
    size: int = 160,
    most: int = 6,
    seed: int = 0,
) -> Path:
    """Write the set; it appears whole or not at all.

    Args:
        folder: Output folder; an existing set is kept.
        counts: Number of images in train, val and test.
        size: Side of the images in pixels.
        most: Largest number of objects in an image.
        seed: Seed of the generator.

    Returns:
        The `data.yaml`.
    """
    folder = Path(folder)
    if not (folder / "data.yaml").is_file():
        generator = np.random.default_rng(seed)
        with atomic_path(folder) as temporary:
            for split, count in zip(("train", "val", "test"), counts, strict=True):
                for kind in ("images", "labels"):
                    (temporary / kind / split).mkdir(parents=True)
                for index in range(count):
                    pixels, boxes = draw_scene(generator, size, most)
                    stem = f"{split}_{index:04d}"
                    Image.fromarray(pixels).save(temporary / "images" / split / f"{stem}.png")
                    lines = [f"{int(c)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}" for c, x, y, w, h in boxes]
                    text = "\n".join(lines) + "\n" if lines else ""
                    (temporary / "labels" / split / f"{stem}.txt").write_text(text)
            content = {
                "path": ".",
                **{split: f"images/{split}" for split in ("train", "val", "test")},
                "names": dict(enumerate(NAMES)),
            }
            (temporary / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "data.yaml"


def draw_scene(
    generator: np.random.Generator, size: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """One image, (size, size, 3) uint8, and its boxes, (n, 5): class and fractions."""
    image = _texture(generator, size, generator.uniform(60, 190, 3), contrast=18)
    boxes: list[tuple[float, ...]] = []
    for _ in range(int(generator.integers(0 if generator.random() < 0.05 else 1, most + 1))):
        for _ in range(20):
            radius = generator.uniform(size / 24, size / 6)
            center = generator.uniform(radius + 1, size - radius - 1, 2)
            kind = int(generator.integers(len(NAMES)))
            mask = _shape(kind, size, center, radius, generator.uniform(-0.4, 0.4))
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            if all(_overlap(box, other[1:]) < 0.15 for other in boxes):
                paint = _texture(generator, size, generator.uniform(20, 235, 3), 30, stripes=kind)
                image = np.where(mask[..., None], paint, image)
                boxes.append((kind, *box))
                break
    image = image + generator.normal(0, 6, image.shape)
    found = np.array(
        [
            (kind, (x0 + x1) / 2 / size, (y0 + y1) / 2 / size, (x1 - x0) / size, (y1 - y0) / size)
            for kind, x0, y0, x1, y1 in boxes
        ],
        np.float32,
    ).reshape(-1, 5)
    return image.clip(0, 255).astype(np.uint8), found


def _texture(
    generator: np.random.Generator,
    size: int,
    color: np.ndarray,
    contrast: float,
    stripes: int | None = None,
) -> np.ndarray:
    """A color with smooth noise, and stripes in a direction of its own, (size, size, 3)."""
    coarse = generator.normal(0, contrast, (size // 16 + 2, size // 16 + 2)).astype(np.float32)
    noise = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    if stripes is not None:
        rows, columns = np.mgrid[:size, :size]
        angle = stripes * np.pi / len(NAMES) + generator.normal(0, 0.15)
        wave = rows * np.sin(angle) + columns * np.cos(angle)
        noise = noise + contrast * np.sin(wave * generator.uniform(0.6, 1.1))
    return color[None, None] + noise[..., None]


def _shape(kind: int, size: int, center: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Mask of a shape, (size, size)."""
    mask = np.zeros((size, size), np.uint8)
    middle = tuple(int(round(value)) for value in center)
    if NAMES[kind] in ("disc", "ring"):
        cv2.circle(mask, middle, max(int(radius), 2), 1, -1)
        if NAMES[kind] == "ring":
            cv2.circle(mask, middle, max(int(radius * 0.55), 1), 0, -1)
    else:
        corners = 4 if NAMES[kind] == "square" else 3
        turns = angle + 2 * np.pi * (np.arange(corners) + 0.5) / corners
        points = center + radius * np.stack((np.cos(turns), np.sin(turns)), -1)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask.astype(bool)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over the smaller box."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / min(areas)

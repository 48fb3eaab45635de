"""Generate aerial scenes and write them to disk in the aerial layout.

The six classes overlap in color: roofs are gray, brown and red like roads and soil, water and
vegetation share dark greens, and each tile has its own light and haze. Texture and shape tell the
classes apart: ripples, foliage, long straight bands, rectangles with shadows, hatching. A
classifier of single pixels' colors stays below 0.6 mean IoU, a small U-Net exceeds 0.85.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from tfcompress.atomic import atomic_path
from tfcompress.data.aerial import AERIAL_CLASSES
from tfcompress.errors import ConfigError

BUILDING, LAND, ROAD, VEGETATION, WATER, UNLABELED = range(6)


@dataclass(frozen=True)
class AerialSpec:
    """Size and seed of a generated data set.

    Attributes:
        tiles: Number of `Tile N` folders, at least 3.
        images_per_tile: Number of scenes per tile, which share light, haze and noise.
        size: Side length of the square scenes, in pixels, at least 64.
        seed: Seed of all random numbers.
    """

    tiles: int = 8
    images_per_tile: int = 3
    size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tiles < 3 or self.images_per_tile < 1 or self.size < 64:
            raise ConfigError(
                "generated aerial scenes",
                f"{self.tiles} tiles of {self.images_per_tile} images of {self.size} pixels",
                "use at least 3 tiles, 1 image per tile and 64 pixels",
            )


def write_aerial_scenes(
    root: str | Path,
    spec: AerialSpec,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `Tile N/{images/*.jpg, masks/*.png}` under `root`, atomically.

    Args:
        root: Folder of the data set. An existing folder is replaced.
        spec: Size and seed of the data set.
        progress: Function that is called after each scene with (scenes written, total scenes).
    """
    total = spec.tiles * spec.images_per_tile
    with atomic_path(root) as folder:
        for tile in range(spec.tiles):
            generator = np.random.default_rng([spec.seed, tile])
            light = _draw_light(generator)
            images = folder / f"Tile {tile + 1}" / "images"
            masks = folder / f"Tile {tile + 1}" / "masks"
            images.mkdir(parents=True)
            masks.mkdir()
            for number in range(spec.images_per_tile):
                image, labels = draw_scene(spec.size, generator, light)
                name = f"image_part_{number + 1:03d}"
                Image.fromarray(image).save(images / f"{name}.jpg", quality=92)
                Image.fromarray(AERIAL_CLASSES.colors_of(labels)).save(masks / f"{name}.png")
                if progress is not None:
                    progress(tile * spec.images_per_tile + number + 1, total)


@dataclass(frozen=True)
class Light:
    """Light that the scenes of one tile share: brightness, color cast, haze, sensor noise."""

    gain: float
    cast: np.ndarray
    haze: float
    noise: float


def _draw_light(generator: np.random.Generator) -> Light:
    return Light(
        gain=generator.uniform(0.8, 1.15),
        cast=generator.uniform(-12, 12, 3),
        haze=generator.uniform(0.0, 0.15),
        noise=generator.uniform(4, 8),
    )


def draw_scene(
    size: int, generator: np.random.Generator, light: Light | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        size: Side length, in pixels.
        generator: Source of random numbers.
        light: Light of the scene; drawn at random by default.

    Returns:
        Image `(size, size, 3)`, uint8, and class indices `(size, size)`, uint8.
    """
    light = light or _draw_light(generator)
    labels = np.full((size, size), LAND, np.uint8)
    color = _soil(size, generator)
    for label, cover, paint in (
        (VEGETATION, generator.uniform(0.2, 0.4), _foliage),
        (WATER, generator.uniform(0.05, 0.2), _water),
    ):
        field = _smooth_noise(size, size / 7, generator)
        area = field > np.quantile(field, 1 - cover)
        labels[area] = label
        color[area] = paint(size, generator)[area]
    for _ in range(generator.integers(1, 3)):
        area = _clutter_area(size, generator)
        labels[area] = UNLABELED
        color[area] = _hatching(size, generator)[area]
    angle = generator.uniform(0, np.pi)
    for area, marking in _roads(size, angle, generator):
        labels[area] = ROAD
        color[area] = _asphalt(size, generator)[area]
        color[marking] = 205
    for corners, shadow in _buildings(size, angle, labels, generator):
        color[_polygon(size, shadow)] *= 0.55
        area = _polygon(size, corners)
        labels[area] = BUILDING
        color[area] = _roof(size, corners, generator)[area]
    return _expose(color, light, generator), labels


def _smooth_noise(size: int, scale: float, generator: np.random.Generator) -> np.ndarray:
    """Noise with standard deviation 1 whose features are about `scale` pixels wide."""
    field = ndimage.gaussian_filter(generator.standard_normal((size, size)), scale, mode="wrap")
    return field / field.std()


def _soil(size: int, generator: np.random.Generator) -> np.ndarray:
    base = np.array([150, 128, 98]) + generator.uniform(-18, 18, 3)
    tone = 9 * _smooth_noise(size, 20, generator) + 4 * _smooth_noise(size, 3, generator)
    return base + tone[..., None]


def _foliage(size: int, generator: np.random.Generator) -> np.ndarray:
    """Clumps a few pixels wide, with lit and dark sides."""
    base = np.array([88, 110, 72]) + generator.uniform(-15, 15, 3)
    clumps = _smooth_noise(size, 1.8, generator)
    relief = clumps - np.roll(clumps, 2, axis=(0, 1))
    return base + 20 * clumps[..., None] + 10 * relief[..., None]


def _water(size: int, generator: np.random.Generator) -> np.ndarray:
    """Ripples: noise stretched along one direction."""
    base = np.array([82, 108, 98]) + generator.uniform(-15, 15, 3)
    noise = generator.standard_normal((size, size))
    ripples = ndimage.gaussian_filter(noise, (0.9, 7), mode="wrap")
    return base + 8 * (ripples / ripples.std())[..., None]


def _hatching(size: int, generator: np.random.Generator) -> np.ndarray:
    """Diagonal stripes over gray: clutter that the annotators left out."""
    rows, columns = np.mgrid[:size, :size]
    period = generator.uniform(7, 11)
    stripes = np.sign(np.sin(2 * np.pi * (rows + columns) / period))
    base = np.array([128, 122, 112]) + generator.uniform(-15, 15, 3)
    return base + 22 * stripes[..., None] + 6 * _smooth_noise(size, 2, generator)[..., None]


def _asphalt(size: int, generator: np.random.Generator) -> np.ndarray:
    base = generator.uniform(105, 140) + generator.uniform(-6, 6, 3)
    return base + 5 * _smooth_noise(size, 4, generator)[..., None]


def _roof(size: int, corners: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A gable: one half lighter than the other, in gray, brown or red, or in soil's color."""
    choices = np.array([[142, 138, 134], [148, 124, 100], [152, 108, 90], [118, 118, 118]])
    base = choices[generator.integers(len(choices))] + generator.uniform(-15, 15, 3)
    along = corners[1] - corners[0]
    rows, columns = np.mgrid[:size, :size]
    offset = np.stack([columns, rows], axis=-1) - corners.mean(axis=0)
    side = np.sign(offset[..., 0] * -along[1] + offset[..., 1] * along[0])
    return base + 16 * side[..., None] + 3 * generator.standard_normal((size, size, 1))


def _clutter_area(size: int, generator: np.random.Generator) -> np.ndarray:
    """An ellipse with a ragged edge."""
    rows, columns = np.mgrid[:size, :size]
    center = generator.uniform(0, size, 2)
    radii = generator.uniform(0.1, 0.2, 2) * size
    distance = ((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2
    return distance + 0.15 * _smooth_noise(size, 6, generator) < 1


def _roads(
    size: int, angle: float, generator: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(area, dashed center line) of 2 to 4 roads, along two perpendicular directions."""
    rows, columns = np.mgrid[:size, :size]
    bands = []
    for i in range(generator.integers(2, 5)):
        direction = angle + (i % 2) * np.pi / 2
        across = np.cos(direction) * columns + np.sin(direction) * rows
        along = -np.sin(direction) * columns + np.cos(direction) * rows
        center = generator.uniform(across.min(), across.max())
        bend = 6 * np.sin(along / generator.uniform(40, 90) + generator.uniform(0, 6))
        distance = np.abs(across - center + bend)
        width = generator.uniform(4, 8)
        marking = (distance < 0.8) & (np.sin(along / 3.0) > 0.2)
        bands.append((distance < width, marking))
    return bands


def _buildings(
    size: int, angle: float, labels: np.ndarray, generator: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(corners, shadow's corners) of rectangles on land and vegetation, parallel to the roads."""
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    taken = ndimage.binary_dilation(~np.isin(labels, (LAND, VEGETATION)), iterations=2)
    for _ in range(int(size * size / 900)):
        half = generator.uniform(6, 15, 2)
        center = generator.uniform(0, size, 2)
        turn = angle + generator.normal(0, 0.08)
        axis = np.array([np.cos(turn), np.sin(turn)])
        normal = np.array([-axis[1], axis[0]])
        corners = np.array(
            [
                center + sx * half[0] * axis + sy * half[1] * normal
                for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
        )
        area = ndimage.binary_dilation(_polygon(size, corners), iterations=2)
        if taken[area].any() or not area.any():
            continue
        taken |= area
        placed.append((corners, corners + np.array([3.0, 4.0])))
    return placed


def _polygon(size: int, corners: np.ndarray) -> np.ndarray:
    canvas = Image.new("1", (size, size))
    ImageDraw.Draw(canvas).polygon([tuple(corner) for corner in corners], fill=1)
    return np.asarray(canvas)


def _expose(color: np.ndarray, light: Light, generator: np.random.Generator) -> np.ndarray:
    """Apply light, haze, uneven illumination, lens blur and sensor noise."""
    size = len(color)
    shade = 1 + 0.08 * _smooth_noise(size, size / 4, generator)[..., None]
    lit = color * shade * light.gain + light.cast
    lit = lit * (1 - light.haze) + 190 * light.haze
    lit = ndimage.gaussian_filter(lit, (0.6, 0.6, 0))
    lit += light.noise * generator.standard_normal(lit.shape)
    return lit.clip(0, 255).round().astype(np.uint8)

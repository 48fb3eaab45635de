"""Generate a data set of nine kinds of trash, written as class folders, for demos and tests.

The classes and their imbalance are those of the trash-classification project. Some classes look
alike (glass and plastic bottles, paper and styrofoam), objects lie tilted on cluttered ground, and
2 % of the training images are mislabeled, so no model can be perfect.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tfcompress.atomic import atomic_path

TRASH_CLASSES = (
    *("Battery", "Clothing", "Glass", "Metal", "Paper"),
    *("Paperpack", "Plastic", "Plasticbag", "Styrofoam"),
)
_SHARES = (0.05, 0.06, 0.13, 0.13, 0.24, 0.06, 0.15, 0.13, 0.05)
_MISLABELED = 0.02
_CANVAS = 96

Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator], None]
Color = tuple[int, int, int]


def write_trash(root: str | Path, images: int = 3000, seed: int = 0) -> Path:
    """Write `root/{train,val,test}/<class>/0001.png`, with 70, 15 and 15 % of the images.

    An existing folder is left as it is.

    Args:
        root: Path of the folder.
        images: Total number of images.
        seed: Seed of all random numbers.

    Returns:
        The folder.
    """
    root = Path(root)
    if root.is_dir():
        return root
    generator = np.random.default_rng(seed)
    with atomic_path(root) as temporary:
        for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            for label, name in enumerate(TRASH_CLASSES):
                folder = temporary / split / name
                folder.mkdir(parents=True)
                for i in range(max(2, round(images * share * _SHARES[label]))):
                    drawn = label
                    if split == "train" and generator.random() < _MISLABELED:
                        drawn = int(generator.integers(len(TRASH_CLASSES)))
                    draw_trash(drawn, generator).save(folder / f"{i + 1:04d}.png")
    return root


def draw_trash(label: int, generator: np.random.Generator) -> Image.Image:
    """Draw one image of a class, 72 to 96 pixels high and wide."""
    ground = _ground(generator)
    layer = Image.new("RGBA", (_CANVAS, _CANVAS), (0, 0, 0, 0))
    _DRAW[label](ImageDraw.Draw(layer), generator)
    angle, scale = generator.uniform(-50, 50), generator.uniform(0.7, 1.0)
    size = max(8, int(_CANVAS * scale))
    layer = layer.resize((size, max(8, int(size * generator.uniform(0.85, 1.18)))))
    layer = layer.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    x, y = (
        int(generator.uniform(0, 1) * (a - b)) for a, b in zip(ground.size, layer.size, strict=True)
    )
    ground.paste(layer, (x, y), layer)
    pixels = np.asarray(ground, np.float32)
    pixels = (pixels - 128) * generator.uniform(0.7, 1.2) + 128 + generator.uniform(-30, 30)
    pixels *= 1 + generator.uniform(-0.12, 0.12, 3)
    pixels += generator.normal(0, generator.uniform(2, 10), pixels.shape)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(generator.uniform(0, 1)))
    width = int(generator.integers(72, _CANVAS + 1))
    height = int(generator.integers(72, _CANVAS + 1))
    left, top = ((_CANVAS - n) // 2 for n in (width, height))
    return image.crop((left, top, left + width, top + height))


def _ground(generator: np.random.Generator) -> Image.Image:
    """Draw ground with a coarse pattern and some litter."""
    coarse = generator.uniform(40, 200, (6, 6, 1)) + generator.uniform(-25, 25, (1, 1, 3))
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
    image = image.resize((_CANVAS, _CANVAS), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(1, 6))):
        x, y = generator.uniform(0, _CANVAS, 2)
        dx, dy = generator.uniform(-22, 22, 2)
        draw.line((x, y, x + dx, y + dy), _color(generator), int(generator.integers(1, 5)))
    return image


def _color(generator: np.random.Generator, base: Color | None = None, spread: int = 25) -> Color:
    middle = generator.uniform(30, 225, 3) if base is None else np.array(base, float)
    red, green, blue = (middle + generator.uniform(-spread, spread, 3)).clip(0, 255).astype(int)
    return int(red), int(green), int(blue)


def _battery(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    half = g.uniform(9, 15)
    split = g.uniform(30, 60)
    draw.rectangle((48 - half, 12, 48 + half, split), _color(g))
    draw.rectangle((48 - half, split, 48 + half, 86), _color(g, (40, 40, 45)))
    draw.rectangle((48 - half / 3, 7, 48 + half / 3, 12), _color(g, (190, 190, 190)))


def _clothing(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    main, second = _color(g), _color(g)
    arm = g.uniform(8, 24)
    shirt = [(34, 14), (62, 14), (88, 30), (88 - arm / 2, 30 + arm), (66, 34)]
    shirt += [(66, 86), (30, 86), (30, 34), (8 + arm / 2, 30 + arm), (8, 30)]
    draw.polygon(shirt, main)
    for y in range(40, 84, int(g.integers(7, 16))):
        draw.line((31, y, 65, y), second, int(g.integers(1, 4)))


def _bottle(draw: ImageDraw.ImageDraw, g: np.random.Generator, color: Color, alpha: int) -> None:
    half, neck = g.uniform(11, 18), g.uniform(4, 7)
    shoulder = g.uniform(26, 42)
    outline = [(48 - neck, 10), (48 + neck, 10), (48 + neck, shoulder - 8), (48 + half, shoulder)]
    outline += [(48 + half, 88), (48 - half, 88), (48 - half, shoulder), (48 - neck, shoulder - 8)]
    draw.polygon(outline, (*color, alpha), (*_color(g, color, 15), 255))
    shine = 48 - half * g.uniform(0.3, 0.7)
    draw.line((shine, shoulder + 4, shine, 82), (255, 255, 255, 150), 3)


def _glass(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    base = [(60, 110, 60), (120, 75, 30), (190, 210, 205)][int(g.integers(3))]
    _bottle(draw, g, _color(g, base), int(g.integers(140, 220)))


def _plastic(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    base = [(190, 215, 235), (200, 215, 205), (90, 140, 190)][int(g.integers(3))]
    _bottle(draw, g, _color(g, base), int(g.integers(90, 200)))
    if g.random() < 0.75:
        draw.rectangle((41, 6, 55, 14), _color(g))
    if g.random() < 0.6:
        draw.rectangle((34, 50, 62, 66), _color(g))
    for y in range(70, 86, 5):
        draw.line((33, y, 63, y), (255, 255, 255, 110), 1)


def _metal(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    half, dent = g.uniform(15, 21), g.uniform(0, 8)
    body = [(48 - half, 20), (48 + half, 20), (48 + half - dent, 50), (48 + half, 80)]
    body += [(48 - half, 80), (48 - half + dent, 50)]
    draw.polygon(body, _color(g))
    for x in np.linspace(-half, half, 7)[1:-1]:
        gray = int(150 + 90 * math.cos(x / half * 2.5))
        draw.line((48 + x, 22, 48 + x, 78), (gray, gray, gray, 90), 3)
    draw.ellipse((48 - half, 14, 48 + half, 26), _color(g, (185, 185, 190), 15))
    draw.ellipse((48 - 5, 17, 48 + 5, 23), _color(g, (110, 110, 115), 15))


def _paper(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    corners = [(18, 12), (78, 14), (76, 84), (20, 82)]
    sheet = [(x + g.uniform(-12, 12), y + g.uniform(-10, 10)) for x, y in corners]
    base = [(235, 232, 222), (170, 130, 85)][int(g.random() < 0.35)]
    draw.polygon(sheet, _color(g, base, 15))
    if g.random() < 0.7:
        for y in range(24, 76, int(g.integers(6, 11))):
            draw.line((28, y, 28 + g.uniform(15, 40), y), _color(g, (70, 70, 75)), 2)


def _paperpack(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    main = _color(g)
    draw.polygon([(28, 34), (68, 34), (68, 88), (28, 88)], main)
    draw.polygon([(28, 34), (38, 16), (58, 16), (68, 34)], _color(g, main, 40))
    draw.rectangle((38, 9, 58, 16), _color(g, (235, 235, 235)))
    draw.ellipse((36, 48, 60, 72), _color(g, (240, 240, 240)))


def _plasticbag(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    base = _color(g, [(225, 225, 225), (40, 40, 45), (120, 170, 120)][int(g.integers(3))])
    angles = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    blob = [
        (48 + r * math.cos(a), 54 + r * math.sin(a))
        for a, r in zip(angles, g.uniform(20, 40, 14), strict=True)
    ]
    draw.polygon(blob, (*base, int(g.integers(110, 220))))
    for _ in range(6):
        x, y = g.uniform(28, 68, 2)
        draw.line((48, 48, x, y), (*_color(g, base, 50), 160), 2)
    draw.arc((34, 4, 62, 40), 180, 360, (*base, 230), 4)


def _styrofoam(draw: ImageDraw.ImageDraw, g: np.random.Generator) -> None:
    main = _color(g, (238, 238, 240), 12)
    depth = g.uniform(6, 16)
    draw.polygon([(14, 30), (70, 30), (70, 78), (14, 78)], main)
    draw.polygon(
        [(14, 30), (14 + depth, 30 - depth), (70 + depth, 30 - depth), (70, 30)], (215,) * 3
    )
    draw.polygon(
        [(70, 30), (70 + depth, 30 - depth), (70 + depth, 78 - depth), (70, 78)], (190,) * 3
    )
    for _ in range(60):
        x, y = g.uniform(15, 69), g.uniform(31, 77)
        draw.point((x, y), (205, 205, 210))


_DRAW: tuple[Draw, ...] = (
    *(_battery, _clothing, _glass, _metal, _paper),
    *(_paperpack, _plastic, _plasticbag, _styrofoam),
)

"""make unet-predict: color masks for images of any size, from a .keras or .tflite file.

MODEL is the file, IMAGES an image or a folder of images. Images are cut into overlapping tiles of
the model's input size, predicted, and blended; masks are written as PNG in the colors of the
model's classes, with an overlay beside each.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from experiments.common.image_inputs import image_paths
from experiments.common.program import run_experiment
from experiments.handover.evaluate_model import input_shape_of, read_card
from experiments.unet.smoke_model import SMOKE_MODEL, make_smoke_model
from tfcompress.atomic import atomic_path
from tfcompress.comparison import predict
from tfcompress.data.palette import Palette
from tfcompress.data.patches import Scaling, predict_image, scale_image
from tfcompress.data.scenes import read_image, with_channels
from tfcompress.errors import ConfigError, DataError
from tfcompress.model_files import load_model_file
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Predict masks."""

    model: str = ""
    """A .keras or .tflite file."""
    images: str = ""
    """An image, or a folder of images."""
    root: str = "runs"
    """Folder of all runs; masks go to `root/unet-predict/run/`."""
    run: str = "default"
    """Name of the run."""
    overlap: float = 0.25
    """Share of a tile that its neighbor covers too."""
    scaling: Scaling | None = None
    """Pixel scaling; default: what the model's card says, else minmax."""

    def check(self) -> None:
        """Check what would fail after loading."""
        if not 0 <= self.overlap < 1:
            raise ConfigError("overlap", f"it is {self.overlap}", "use a number in [0, 1)")
        if not self.images and self.model != SMOKE_MODEL:
            raise ConfigError("IMAGES", "it is empty", "give IMAGES=path/to/image_or_folder")


def main(config: Config) -> Table:
    """Write the masks; the table of class shares."""
    console = Console()
    if config.model == SMOKE_MODEL:
        model_file, tiles = make_smoke_model(config.root)
        images = tiles / "Tile 1" / "images"
        config = replace(config, model=str(model_file), images=str(images))
    paths = image_paths(Path(config.images))
    model = load_model_file(config.model)
    patch, width, channels = input_shape_of(model)
    if patch != width:
        raise DataError("MODEL", f"its input is {patch}x{width}", "give a model of square input")
    card = read_card(config.model)
    scaling = config.scaling or (card.scaling if card else "minmax")
    out = Path(config.root) / "unet-predict" / config.run
    table, palette = None, card.palette if card else None
    for path in track(paths, "predicting", console=console, transient=True):
        raw = with_channels(read_image(path), channels)
        probabilities = predict_image(
            lambda pieces: predict(model, pieces), scale_image(raw, scaling), patch, config.overlap
        )
        palette = palette or Palette.numbered(probabilities.shape[-1])
        table = table or Table(("image", "size", *palette.names), title="Share of each class")
        labels = probabilities.argmax(axis=-1)
        mask = palette.colors_of(labels)
        overlay = (0.55 * with_channels(raw, 3) + 0.45 * mask).astype(np.uint8)
        for kind, picture in (("mask", mask), ("overlay", overlay)):
            with atomic_path(out / f"{path.stem}_{kind}.png") as temporary:
                Image.fromarray(picture).save(temporary)
        shares = np.bincount(labels.reshape(-1), minlength=len(palette)) / labels.size
        size = f"{labels.shape[1]}x{labels.shape[0]}"
        table.add(path.name, size, *(f"{share:.1%}" for share in shares))
    console.print(table.to_rich())
    console.print(f"{len(paths)} masks and overlays in {out}/", style="bold", highlight=False)
    return table


if __name__ == "__main__":
    run_experiment(Config, main, {"model": SMOKE_MODEL})

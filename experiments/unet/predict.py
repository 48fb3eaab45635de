"""make unet-predict: write color masks for images of any size, from a .keras or .tflite file.

MODEL is the file, IMAGES an image or a folder of images. Images are cut into overlapping tiles of
the model's input size, predicted, and blended; each gets a mask (PNG in the colors of the model's
classes) and an overlay.

Takes seconds per image. Prints the share of each class in every image, and the folder.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from experiments.common.inputs import image_paths, input_shape_of
from experiments.common.program import SMOKE_MODEL, Output, Program
from experiments.common.report import Report
from experiments.unet.segmentation import read_card
from experiments.unet.smoke_model import make_smoke_model
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
    """U-Net's .keras or .tflite file."""
    images: str = ""
    """Image, or folder of images."""
    root: str = "runs"
    """Folder of all runs; masks go to `root/unet-predict/run/`."""
    run: str = "default"
    """Name of the run."""
    overlap: float = 0.25
    """Share of a tile that its neighbor covers too."""
    scaling: Scaling | None = None
    """Pixel scaling; default: what the model's card says, else minmax."""

    def check(self) -> None:
        """Check what would only fail after loading."""
        if not 0 <= self.overlap < 1:
            raise ConfigError("overlap", f"it is {self.overlap}", "use a number in [0, 1)")
        if not self.images and self.model != SMOKE_MODEL:
            raise ConfigError("IMAGES", "it is empty", "give IMAGES=path/to/image_or_folder")


def main(config: Config, out: Output) -> Report:
    """Write masks and overlays; the share of each class."""
    paths = image_paths(Path(config.images))
    model = load_model_file(config.model)
    patch, width, channels = input_shape_of(model)
    if patch != width:
        raise DataError("MODEL", f"its input is {patch}x{width}", "give a model of square input")
    card = read_card(config.model)
    scaling = config.scaling or (card.scaling if card else "minmax")
    table, palette = None, card.palette if card else None
    for path in track(paths, "predicting", console=out.console, transient=True):
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
            with atomic_path(out.path(f"{path.stem}_{kind}.png")) as temporary:
                Image.fromarray(picture).save(temporary)
        shares = np.bincount(labels.reshape(-1), minlength=len(palette)) / labels.size
        size = f"{labels.shape[1]}x{labels.shape[0]}"
        table.add(path.name, size, *(f"{share:.1%}" for share in shares))
    headline = f"{len(paths)} masks and overlays in {out.folder}/"
    return Report(headline=headline, tables=(table,) if table else ())


def complete(config: Config) -> Config:
    """The config with the model and the images of `--smoke`."""
    if config.model != SMOKE_MODEL:
        return config
    model, tiles = make_smoke_model(config.root)
    return replace(config, model=str(model), images=str(tiles / "Tile 1" / "images"))


SMOKE = {"model": SMOKE_MODEL}
PROGRAM = Program("unet-predict", Config, main, SMOKE, complete, keeps_run=False)

if __name__ == "__main__":
    PROGRAM.start()

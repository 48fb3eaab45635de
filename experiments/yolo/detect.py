"""make yolo-detect: draw what a detector finds in images of any size.

MODEL is a detector's .pt file, IMAGES an image or a folder of images. Every image is written with
its boxes, and all boxes go to detections.csv, in pixels of the image.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from bridges.yolov5.detector.file import load_detector
from bridges.yolov5.detector.find import find_objects
from bridges.yolov5.detector.plots import draw_boxes
from experiments.common.image_inputs import image_paths
from experiments.common.program import run_experiment
from experiments.yolo.detection import BAD_INPUT, DETECTION_SMOKE
from experiments.yolo.train import Config as TrainConfig
from experiments.yolo.train import main as train
from tfcompress.atomic import atomic_path, write_text
from tfcompress.data.scenes import read_image, with_channels
from tfcompress.errors import ConfigError
from tfcompress.reporting.tables import Table

SMOKE_MODEL = "smoke"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Find objects."""

    model: str = ""
    """A detector's .pt file."""
    images: str = ""
    """An image, or a folder of images."""
    confidence: float = 0.25
    """Least confidence of what is drawn."""
    iou: float = 0.45
    """Overlap from which the weaker of two boxes of a class goes."""
    side: int = 0
    """Side of the square that images are fitted into; 0: what the detector was trained on."""
    root: str = "runs"
    """Folder of all runs; pictures go to `root/yolo-detect/run/`."""
    run: str = "default"
    """Name of the run."""

    def check(self) -> None:
        """Check what would fail after loading."""
        for name in ("confidence", "iou"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(name, f"it is {getattr(self, name)}", "use a number in (0, 1)")
        if self.side % 32:
            raise ConfigError("side", f"it is {self.side}", "give a multiple of 32")
        if not self.images and self.model != SMOKE_MODEL:
            raise ConfigError("IMAGES", "it is empty", "give IMAGES=path/to/image_or_folder")


def main(config: Config) -> Table:
    """Write the pictures; the table of what was found."""
    console = Console()
    if config.model == SMOKE_MODEL:
        config = _with_smoke_model(config)
    if not config.model:
        raise ConfigError("MODEL", "it is empty", "give MODEL=path/to/model.pt")
    paths = image_paths(Path(config.images))
    loaded = load_detector(config.model)
    names = loaded.detector.names
    out = Path(config.root) / "yolo-detect" / config.run
    table = Table(("image", "size", *names), title="Objects found")
    rows = []
    for path in track(paths, "detecting", console=console, transient=True):
        pixels = with_channels(read_image(path), 3)
        (found,) = find_objects(
            loaded.detector, [pixels], config.side or loaded.side, config.confidence, config.iou
        )
        with atomic_path(out / f"{path.stem}_boxes.png") as temporary:
            Image.fromarray(draw_boxes(pixels, found.tolist(), names)).save(temporary)
        counts = found[:, 5].long().bincount(minlength=len(names)).tolist()
        table.add(path.name, f"{pixels.shape[1]}x{pixels.shape[0]}", *map(str, counts))
        rows += [(path.name, names[int(row[5])], *row[:5]) for row in found.tolist()]
    write_text(out / "detections.csv", _as_csv(rows))
    console.print(table.to_rich())
    console.print(
        f"{len(paths)} pictures and detections.csv in {out}/", style="bold", highlight=False
    )
    return table


def _as_csv(rows: list[tuple]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("image", "class", "x0", "y0", "x1", "y1", "confidence"))
    for image, label, *numbers, confidence in rows:
        writer.writerow((image, label, *(f"{n:.1f}" for n in numbers), f"{confidence:.4f}"))
    return text.getvalue()


def _with_smoke_model(config: Config) -> Config:
    trained = TrainConfig(**DETECTION_SMOKE, root=config.root, run="smoke", resume=True)
    train(trained)
    folder = Path(config.root) / "yolo-train" / "smoke"
    images = folder / "generated_shapes" / "images" / "test"
    return replace(config, model=str(folder / "model.pt"), images=str(images), confidence=0.01)


if __name__ == "__main__":
    run_experiment(Config, main, {"model": SMOKE_MODEL}, user_errors=BAD_INPUT)

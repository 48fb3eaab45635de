"""make yolo-detect: draw the detections of a detector on images of any size.

MODEL is a detector's .pt file, IMAGES an image or a folder of images. Every image is written with
its boxes, and all boxes go to detections.csv, in pixels of the image.

Takes seconds per image. Prints the number of objects of each class in every image.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from rich.progress import track

from bridges.yolov5.detector.file import load_detector
from bridges.yolov5.detector.find import find_objects
from bridges.yolov5.detector.plots import draw_boxes
from experiments.common.inputs import image_paths
from experiments.common.program import SMOKE_MODEL, Output, Program
from experiments.common.report import Report
from experiments.yolo import train
from experiments.yolo.detection import BAD_INPUT, DETECTION_SMOKE
from tfcompress.atomic import atomic_path, write_text
from tfcompress.data.scenes import read_image, with_channels
from tfcompress.errors import ConfigError
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Find objects."""

    model: str = ""
    """Detector's .pt file."""
    images: str = ""
    """Image, or folder of images."""
    confidence: float = 0.25
    """Smallest confidence of a box that is drawn."""
    iou: float = 0.45
    """Overlap (IoU) above which the weaker of two boxes of a class is dropped."""
    side: int = 0
    """Side of the square that images are fitted into; 0: what the detector was trained on."""
    root: str = "runs"
    """Folder of all runs; pictures go to `root/yolo-detect/run/`."""
    run: str = "default"
    """Name of the run."""

    def check(self) -> None:
        """Check what would only fail after loading."""
        for name in ("confidence", "iou"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(name, f"it is {getattr(self, name)}", "use a number in (0, 1)")
        if self.side % 32:
            raise ConfigError("side", f"it is {self.side}", "give a multiple of 32")
        if not self.images and self.model != SMOKE_MODEL:
            raise ConfigError("IMAGES", "it is empty", "give IMAGES=path/to/image_or_folder")


def main(config: Config, out: Output) -> Report:
    """Write the pictures and the list of boxes; count the objects."""
    if not config.model:
        raise ConfigError("MODEL", "it is empty", "give MODEL=path/to/model.pt")
    paths = image_paths(Path(config.images))
    loaded = load_detector(config.model)
    names = loaded.detector.names
    table = Table(("image", "size", *names), title="Objects found")
    rows = []
    for path in track(paths, "detecting", console=out.console, transient=True):
        pixels = with_channels(read_image(path), 3)
        (found,) = find_objects(
            loaded.detector, [pixels], config.side or loaded.side, config.confidence, config.iou
        )
        with atomic_path(out.path(f"{path.stem}_boxes.png")) as temporary:
            Image.fromarray(draw_boxes(pixels, found.tolist(), names)).save(temporary)
        counts = found[:, 5].long().bincount(minlength=len(names)).tolist()
        table.add(path.name, f"{pixels.shape[1]}x{pixels.shape[0]}", *map(str, counts))
        rows += [(path.name, names[int(row[5])], *row[:5]) for row in found.tolist()]
    write_text(out.path("detections.csv"), _as_csv(rows))
    headline = f"{len(paths)} pictures and detections.csv in {out.folder}/"
    return Report(headline=headline, tables=(table,))


def _as_csv(rows: list[tuple]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("image", "class", "x0", "y0", "x1", "y1", "confidence"))
    for image, label, *numbers, confidence in rows:
        writer.writerow((image, label, *(f"{n:.1f}" for n in numbers), f"{confidence:.4f}"))
    return text.getvalue()


def make_smoke_detector(root: str) -> Path:
    """Train a small detector (or find it); its run's folder, with `generated_shapes/`."""
    train.PROGRAM.run(train.Config(**DETECTION_SMOKE, root=root, run="smoke", resume=True))
    return Path(root) / "yolo-train" / "smoke"


def complete(config: Config) -> Config:
    """The config with the model and the images of `--smoke`."""
    if config.model != SMOKE_MODEL:
        return config
    folder = make_smoke_detector(config.root)
    images = str(folder / "generated_shapes" / "images" / "test")
    return replace(config, model=str(folder / "model.pt"), images=images, confidence=0.01)


SMOKE = {"model": SMOKE_MODEL}
PROGRAM = Program("yolo-detect", Config, main, SMOKE, complete, False, BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()

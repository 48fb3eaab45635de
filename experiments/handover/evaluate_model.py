"""make evaluate-model: the cost of a model file and, on a data set, its quality.

MODEL is a `.keras`, `.tflite` or `.onnx` file, or a detector's `.pt`. With DATA it is scored on the
test images of that data set; the card that the experiments write beside their models says how to
scale and cut them, and a detector's `.tflite` carries its own decoding.

Takes seconds, plus inference on the test images. Prints parameters or file size, MACs, latency and,
with DATA, mean IoU or mAP.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridges.handover import HEADS
from experiments.common.inputs import input_shape_of, square_side_of
from experiments.common.program import SMOKE_MODEL, Output, Program
from experiments.common.report import Report
from experiments.unet.segmentation import read_card
from experiments.unet.smoke_model import make_smoke_model
from tfcompress.comparison import compare
from tfcompress.data.folder import Patches, load_segmentation
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.latency import measure_latency
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure a model file."""

    model: str = ""
    """A .keras, .tflite or .onnx file, or a detector's .pt."""
    data: str = ""
    """Folder of the data set; empty: only the cost is measured."""
    scaling: str | None = None
    """Pixel scaling; default: what the model's card says, else minmax."""
    val_share: float = 0.2
    """Share of the source images for validation, taken before the test ones."""
    test_share: float = 0.2
    """Share of the source images for the test, taken from the end."""
    color_tolerance: int = 0
    """Largest difference per channel at which a mask color still counts."""
    threads: int = 1
    """Threads that latency is measured with."""
    layers: bool = False
    """Whether the cost of each layer is printed too (Keras models)."""
    json: str = ""
    """File that the numbers are also written to."""
    root: str = "runs"
    """Folder of all runs, for the model of --smoke."""


def main(config: Config, out: Output) -> Report:
    """Measure the file."""
    measure = _outside_keras(config.model)
    if measure is not None:
        return measure(config.model, config.data, config.threads)
    model = load_model_file(config.model)
    data, classes = None, None
    if config.data:
        test, palette = test_patches(model, config)
        data, classes = (test.images, test.labels), palette.names
    result = compare(
        model, data=data, names=[Path(config.model).name], classes=classes, threads=config.threads
    )
    tables: list[Table | str] = [result.table()]
    if any(row.iou for row in result.rows):
        tables.append(result.class_table())
    if isinstance(model, LiteModel):
        (slow,) = measure_latency([model], threads=config.threads, xnnpack=False, repeats=10)
        ops = ", ".join(model.float_ops) or "none: full integer"
        tables += [f"  without XNNPACK: {slow}", f"  operators in floating point: {ops}"]
    elif config.layers:
        tables.append(count_cost(model).table())
    return Report(tables=tables, metrics=result.to_dict())


def _outside_keras(path: str) -> Callable[..., Report] | None:
    """The function that measures a file of PyTorch, ONNX, or a detector; it loads PyTorch."""
    kind = Path(path).suffix
    if kind == ".pt":
        from experiments.yolo.detection import measure_file

        return measure_file
    if kind == ".onnx":
        from experiments.handover.crossing import measure_onnx_file

        return measure_onnx_file
    if kind == ".tflite" and Path(path).is_file() and HEADS in LiteModel.load(path).card:
        from experiments.handover.crossing import measure_detector_file

        return measure_detector_file
    return None


def test_patches(model: Any, config: Config) -> tuple[Patches, Any]:
    """Test patches of the data set as the model takes them, and the classes."""
    card = read_card(config.model)
    loaded = load_segmentation(
        config.data,
        patch=square_side_of(model),
        scaling=config.scaling or (card.scaling if card else "minmax"),
        palette=card.palette if card else None,
        tolerance=config.color_tolerance,
        channels=input_shape_of(model)[-1],
        val_share=config.val_share,
        test_share=config.test_share,
    )
    return loaded.test, loaded.palette


def complete(config: Config) -> Config:
    """The config with the model and the data of `--smoke`."""
    if config.model != SMOKE_MODEL:
        return config
    model, tiles = make_smoke_model(config.root)
    return replace(config, model=str(model), data=str(tiles))


SMOKE = {"model": SMOKE_MODEL}
PROGRAM = Program("evaluate-model", Config, main, SMOKE, complete, keeps_run=False)

if __name__ == "__main__":
    PROGRAM.start()

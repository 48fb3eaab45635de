"""make evaluate-model: what a model file costs and, on a data set, what it gives.

MODEL is a `.keras`, `.tflite` or `.onnx` file, or a detector's `.pt`. With DATA it is scored on the
test images of that data set; the card that the experiments write beside their models says how to
scale and cut them, and a detector's `.tflite` says by itself how it is decoded.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bridges.handover import HEADS
from experiments.common.model_card import card_of_file
from experiments.common.program import run_experiment
from experiments.unet.segmentation import CARD_NAME, ModelCard
from experiments.unet.smoke_model import SMOKE_MODEL, make_smoke_model
from tfcompress.atomic import write_text
from tfcompress.comparison import Comparison, compare
from tfcompress.data.folder import Patches, load_segmentation
from tfcompress.errors import ConfigError, DataError
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.latency import measure_latency
from tfcompress.graph.layers import flavor_of
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.reporting.run import to_json


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure a model file."""

    model: str = ""
    """A .keras, .tflite or .onnx file, or a detector's .pt."""
    data: str = ""
    """Data set folder; empty measures cost alone."""
    scaling: str | None = None
    """Pixel scaling; default: what the model's card says, else minmax."""
    val_share: float = 0.2
    test_share: float = 0.2
    color_tolerance: int = 0
    threads: int = 1
    layers: bool = False
    """Also print the cost of each layer (Keras models)."""
    json: str = ""
    """Also write the numbers to this file."""
    root: str = "runs"
    """Folder of all runs, for the model of --smoke."""


def main(config: Config) -> Comparison | dict[str, Any]:
    """Print the table; the comparison behind it, or a detector's numbers."""
    console = Console()
    measure = _outside_keras(config.model)
    if measure is not None:
        numbers = measure(config.model, config.data, config.threads, console)
        if config.json:
            write_text(config.json, to_json(numbers))
        return numbers
    if config.model == SMOKE_MODEL:
        model_file, tiles = make_smoke_model(config.root)
        config = replace(config, model=str(model_file), data=str(tiles))
    model = load_model_file(config.model)
    card = read_card(config.model)
    data, classes = None, None
    if config.data:
        test, palette = test_patches(model, card, config)
        data, classes = (test.images, test.labels), palette.names
    result = compare(
        model, data=data, names=[Path(config.model).name], classes=classes, threads=config.threads
    )
    console.print(str(result), highlight=False, soft_wrap=True)
    if isinstance(model, LiteModel):
        (slow,) = measure_latency([model], threads=config.threads, xnnpack=False, repeats=10)
        console.print(f"  without XNNPACK: {slow}", highlight=False)
        ops = ", ".join(model.float_ops) or "none: full integer"
        console.print(f"  operators in floating point: {ops}", highlight=False)
    elif config.layers:
        console.print(str(count_cost(model)), highlight=False, soft_wrap=True)
    if config.json:
        write_text(config.json, to_json(result.to_dict()))
        console.print(f"  numbers in {config.json}")
    return result


def _outside_keras(path: str) -> Callable[..., dict[str, Any]] | None:
    """What measures a file that is PyTorch's, ONNX's, or a detector's; it loads PyTorch."""
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


def read_card(path: str | Path) -> ModelCard | None:
    """The card of a U-Net's file, if there is one."""
    card = card_of_file(path, CARD_NAME)
    return ModelCard(**card) if "patch" in card else None


def input_shape_of(model: Any) -> tuple[int, int, int]:
    """(height, width, channels) of the input of a model of images.

    Raises:
        DataError: The model takes something else than one image of fixed size.
    """
    if isinstance(model, LiteModel):
        shapes = [port.shape[1:] for port in model.inputs]
    else:
        flavor_of(model)
        shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or None in shapes[0]:
        raise DataError("MODEL", f"its inputs are {shapes}", "give a model of one fixed-size image")
    return shapes[0]


def square_side_of(model: Any) -> int:
    """Side of the square image that a model takes.

    Raises:
        DataError: The model takes something else.
    """
    height, width, _ = input_shape_of(model)
    if height != width:
        raise DataError("MODEL", f"its input is {height}x{width}", "give a model of square input")
    return height


def check_classes(model: Any, classes: int, what: str, fix: str) -> None:
    """Refuse a model file of other classes than the data's.

    Raises:
        ConfigError: It has others.
    """
    shape = model.outputs[0].shape if isinstance(model, LiteModel) else model.output_shape
    if shape[-1] != classes:
        raise ConfigError(what, f"it has {shape[-1]} classes, and the data {classes}", fix)


def test_patches(model: Any, card: ModelCard | None, config: Config) -> tuple[Patches, Any]:
    """Test patches of the data set as the model takes them, and the classes."""
    side, (*_, channels) = square_side_of(model), input_shape_of(model)
    loaded = load_segmentation(
        config.data,
        patch=side,
        scaling=config.scaling or (card.scaling if card else "minmax"),
        palette=card.palette if card else None,
        tolerance=config.color_tolerance,
        channels=channels,
        val_share=config.val_share,
        test_share=config.test_share,
    )
    return loaded.test, loaded.palette


if __name__ == "__main__":
    run_experiment(Config, main, {"model": SMOKE_MODEL})

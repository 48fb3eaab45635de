"""make trash-score: the competition's score of a classifier file, from its MACs and macro F1.

MODEL is a `.keras` or `.tflite` file, DATA a folder of class folders (its `test/`, or the test part
of the split). The card that trash-train writes beside its models says how to normalize.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import trash_train
from experiments.classification import (
    CLASSIFIER_SMOKE,
    ClassificationConfig,
    Images,
    read_data,
    score_table,
)
from experiments.evaluate_model import input_shape_of, load_model_file
from experiments.smoke_model import SMOKE_MODEL
from experiments.trash_train import CARD_NAME
from tfcompress.atomic import write_text
from tfcompress.cli import run_experiment
from tfcompress.compare import Comparison, compare
from tfcompress.data.image_augment import IMAGENET, Normalization
from tfcompress.data.image_folder import ClassificationData
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import to_json


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Score a classifier."""

    model: str = ""
    """A .keras or .tflite file."""
    json: str = ""
    """Also write the numbers to this file."""


def main(config: Config) -> Comparison:
    """Print cost, quality and score; the comparison behind them."""
    console = Console()
    if config.model == SMOKE_MODEL:
        config = smoke_classifier(config)
    model = load_model_file(config.model)
    if not config.data and config.source == "folder":
        raise ConfigError("DATA", "it is empty", "give the folder of class folders")
    height, width, _ = input_shape_of(model)
    if height != width:
        raise ConfigError("MODEL", f"its input is {height}x{width}", "give a model of square input")
    config = replace(config, side=height)
    data = read_data(config, Path(config.data))
    images = Images(data, _normalization(config, data))
    outputs = model.outputs[0].shape if hasattr(model, "content") else model.output_shape
    if outputs[-1] != len(data.class_names):
        raise ConfigError(
            "DATA",
            f"it has {len(data.class_names)} classes, and the model {outputs[-1]}",
            "use the data that the model was trained for",
        )
    result = compare(
        model,
        data=images.part("test"),
        names=[Path(config.model).name],
        classes=images.classes,
        threads=config.threads,
    )
    scores = score_table(result)
    console.print(f"{result.table()}\n\n{scores}", highlight=False, soft_wrap=True)
    if config.json:
        write_text(config.json, to_json(result.to_dict()))
        console.print(f"  numbers in {config.json}")
    return result


def _normalization(config: Config, data: ClassificationData) -> Normalization:
    """The card's; without a card, by `config.normalization`."""
    card = Path(config.model).parent / CARD_NAME
    if card.is_file():
        found = json.loads(card.read_text(encoding="utf-8"))["normalization"]
        return Normalization(tuple(found["mean"]), tuple(found["std"]))
    if config.normalization == "imagenet":
        return IMAGENET
    return Normalization.of(data.train.images)


def smoke_classifier(config: Any) -> Any:
    """A config with a small classifier, trained or found, and its pictures."""
    small = trash_train.Config(**CLASSIFIER_SMOKE, root=config.root, run="smoke", resume=True)
    trash_train.main(small)
    folder = Path(config.root) / "trash-train" / "smoke"
    return replace(config, model=str(folder / "model.keras"), data=str(folder / "generated_trash"))


if __name__ == "__main__":
    run_experiment(Config, main, {"model": SMOKE_MODEL})

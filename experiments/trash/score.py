"""make trash-score: the competition's score of a classifier file, from its MACs and macro F1.

MODEL is a `.keras` or `.tflite` file, DATA a folder of class folders (its `test/`, or the test part
of the split). The card that trash-train writes beside its models says how to normalize.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.common.program import run_experiment
from experiments.handover.evaluate_model import check_classes, square_side_of
from experiments.trash import train as trash_train
from experiments.trash.classification import CLASSIFIER_SMOKE, ClassificationConfig, read_images
from experiments.trash.classifier_files import compare_classifiers
from experiments.unet.smoke_model import SMOKE_MODEL
from tfcompress.atomic import write_text
from tfcompress.comparison import Comparison
from tfcompress.errors import ConfigError
from tfcompress.model_files import load_model_file
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
    config = replace(config, side=square_side_of(model))
    images = read_images(config, Path(config.data), config.model)
    check_classes(model, len(images.classes), "MODEL", "use the data that it was trained for")
    comparison, scores = compare_classifiers({Path(config.model).name: model}, images, config)
    console.print(f"{comparison.table()}\n\n{scores}", highlight=False, soft_wrap=True)
    if config.json:
        write_text(config.json, to_json(comparison.to_dict()))
        console.print(f"  numbers in {config.json}")
    return comparison


def smoke_classifier(config: Any) -> Any:
    """A config with a small classifier, trained or found, and its pictures."""
    small = trash_train.Config(**CLASSIFIER_SMOKE, root=config.root, run="smoke", resume=True)
    trash_train.main(small)
    folder = Path(config.root) / "trash-train" / "smoke"
    return replace(config, model=str(folder / "model.keras"), data=str(folder / "generated_trash"))


if __name__ == "__main__":
    run_experiment(Config, main, {"model": SMOKE_MODEL})

"""make trash-score: the competition's score of a classifier file, from its MACs and macro F1.

MODEL is a `.keras` or `.tflite` file, DATA a folder of class folders (its `test/`, or the test part
of the split). The card that trash-train writes beside its models says how to normalize.

Takes seconds. Prints cost, macro F1 and the score, which is lower for better files.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.common.inputs import check_classes, square_side_of
from experiments.common.program import SMOKE_MODEL, Output, Program
from experiments.common.report import Report
from experiments.trash import train
from experiments.trash.classification import CLASSIFIER_SMOKE, ClassificationConfig, read_images
from experiments.trash.study import compare_classifiers
from tfcompress.errors import ConfigError
from tfcompress.model_files import load_model_file


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Score a classifier."""

    model: str = ""
    """Classifier's .keras or .tflite file."""
    json: str = ""
    """File that the numbers are also written to."""


def main(config: Config, out: Output) -> Report:
    """Measure cost, quality and score."""
    model = load_model_file(config.model)
    if not config.data and config.source == "folder":
        raise ConfigError("DATA", "it is empty", "give the folder of class folders")
    config = replace(config, side=square_side_of(model))
    images = read_images(config, Path(config.data), config.model)
    check_classes(model, len(images.classes), "MODEL", "use the data that it was trained for")
    comparison, scores = compare_classifiers({Path(config.model).name: model}, images, config)
    return Report(tables=(comparison.table(), scores), metrics=comparison.to_dict())


def smoke_classifier(config: Any) -> Any:
    """The config with the model of `--smoke`, trained or found, and its pictures."""
    if config.model != SMOKE_MODEL:
        return config
    small = train.Config(**CLASSIFIER_SMOKE, root=config.root, run="smoke", resume=True)
    train.PROGRAM.run(small)
    folder = Path(config.root) / "trash-train" / "smoke"
    return replace(config, model=str(folder / "model.keras"), data=str(folder / "generated_trash"))


SMOKE = {"model": SMOKE_MODEL}
PROGRAM = Program("trash-score", Config, main, SMOKE, smoke_classifier, keeps_run=False)

if __name__ == "__main__":
    PROGRAM.start()

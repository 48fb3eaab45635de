"""make trash-compress: the trash classifier through a whole recipe, each step measured.

A classifier is trained (or MODEL is taken), then the steps of RECIPE follow; by default
(experiments/recipes/trash.yaml) it is factored, taught by itself as it was, and made int8.

Takes about 3 minutes on two CPU cores (50 epochs of 2 s on 2,100 generated pictures). Prints
quality and cost after each step; docs/measurements.md ("A recipe, and how far it goes") has those
of a run: smaller files, not faster ones.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from experiments.common.inputs import check_classes
from experiments.common.program import Program
from experiments.common.recipe_config import RECIPE_FILES, RecipeConfig
from experiments.common.recipe_report import run_recipe, start_model
from experiments.common.report import Report
from experiments.trash.classification import (
    CLASSIFIER_SMOKE,
    ClassificationConfig,
    compile_classifier,
    train_classifier,
)
from experiments.trash.study import Study
from tfcompress.litert.model import LiteModel
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.outcome import CompressResult
from tfcompress.pipeline.step import Fitting, History
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig, ClassificationConfig):
    """Run a recipe on the classifier."""

    recipe: str = f"{RECIPE_FILES}/trash.yaml"
    """YAML file of the steps and the budget."""

    def check(self) -> None:
        """Check the recipe before the classifier is trained."""
        super().check()
        self.check_recipe()


def main(config: Config, run: Run) -> Report:
    """Train, run the recipe."""
    study, seed = Study.of(config, run, config.model), config.seeds[0]
    images = study.images

    def train() -> Any:
        return study.train("start", seed, file="start.keras")

    def check(model: Any) -> None:
        check_classes(model, study.classes, "model", "use a classifier of this data")

    whole = start_model(config, run, study.build, check, train)
    compile_classifier(whole, config)
    samples = CompressionData(
        train=(images.calibration(len(images.data.train)), images.data.train.labels),
        val=images.part("val"),
        test=images.part("test"),
        calibration=images.calibration(),
        batch=config.batch,
    )

    def mistakes(result: CompressResult) -> tuple[Section]:
        file = LiteModel.load(result.folder / result.chosen.folder / "model.tflite")
        return (study.mistakes(result.chosen.name, file),)

    title = "The trash classifier through a recipe"
    fit = partial(_fit, study)
    return run_recipe(
        config, run, whole, samples, fit, study.card, seed, title, "macro F1", mistakes
    )


def _fit(study: Study, model: Any, samples: CompressionData, how: Fitting) -> History:
    """Train a step's model as classifiers are trained here, resumable, chosen by macro F1."""
    tuned = replace(study.config, epochs=how.epochs)  # the warm-up is a share of them
    compile_classifier(model, tuned)
    return train_classifier(
        model,
        tuned,
        study.images,
        study.run,
        how.name,
        how.seed,
        how.epochs,
        folder=str(how.folder.resolve()),
        callbacks=how.callbacks,
        choose_from=how.choose_from + 1,
    )


COMPRESS_SMOKE = {**CLASSIFIER_SMOKE, "smoke_steps": True}
PROGRAM = Program("trash-compress", Config, main, COMPRESS_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

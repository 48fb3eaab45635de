"""make unet-compress: a U-Net through a whole recipe, each step measured and kept within a budget.

A dense U-Net is trained (or MODEL is taken), then the steps of RECIPE follow; by default
(experiments/recipes/unet.yaml) channels are pruned to a fifth of the MACs, the dense U-Net teaches,
and int8 comes last. The chosen model is `steps/chosen.tflite`.

Takes about 5 minutes on two CPU cores (40 epochs of 4 s, and 40 of a fifth of the MACs, on
generated tiles). Prints quality and cost after each step. docs/measurements.md ("A recipe, and how
far it goes") has the numbers on micro-CT slices: a fifth of the MACs in int8 was 7 times as fast,
at the same mean IoU.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from experiments.common.inputs import check_classes
from experiments.common.program import Program
from experiments.common.recipe_config import RECIPE_FILES, RecipeConfig
from experiments.common.recipe_report import run_recipe, start_model
from experiments.common.report import Report
from experiments.unet.segmentation import SMOKE, SegmentationConfig
from experiments.unet.study import Study
from tfcompress.litert.model import LiteModel
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.outcome import CompressResult
from tfcompress.pipeline.step import Fitting, History
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig, SegmentationConfig):
    """Run a recipe on a U-Net."""

    epochs: int = 40
    """Number of training epochs of the dense U-Net."""
    recipe: str = f"{RECIPE_FILES}/unet.yaml"
    """YAML file of the steps and the budget."""
    tune_rate: float = 1e-3
    """Peak learning rate in the steps."""
    seed: int = 0
    """Seed of the dense U-Net and of the steps."""

    def check(self) -> None:
        """Check the recipe before the dense U-Net is trained."""
        self.check_recipe()


def main(config: Config, run: Run) -> Report:
    """Train, run the recipe."""
    study = Study.of(config, run)
    data = study.data

    def train() -> Any:
        study.train_whole("dense", config.seed)
        return study.load(config.seed, "dense")

    def check(model: Any) -> None:
        check_classes(model, len(data.palette), "model", "use a U-Net of this data")

    def predictions(result: CompressResult) -> tuple[Section]:
        files = {
            outcome.name: LiteModel.load(result.folder / outcome.folder / "model.tflite")
            for outcome in (result.outcomes[0], result.chosen)
        }
        return (study.predictions({n: f.predict(data.test.images) for n, f in files.items()}),)

    dense = start_model(config, run, study.build, check, train)
    study.compile(dense)
    samples = CompressionData(
        train=(data.train.images, data.train.labels),
        val=(data.val.images, data.val.labels),
        test=(data.test.images, data.test.labels),
        batch=config.batch,
    )
    return run_recipe(
        config, run, dense, samples, partial(_fit, study), study.card, config.seed,
        "A U-Net through a recipe", "mean IoU", predictions,
    )  # fmt: skip


def _fit(study: Study, model: Any, samples: CompressionData, how: Fitting) -> History:
    """Train a step's model as U-Nets are trained here, resumable, chosen by mean IoU."""
    tuned = replace(study, config=replace(study.config, learning_rate=study.config.tune_rate))
    tuned.compile(model, how.epochs)
    return tuned.fit(
        model,
        how.name,
        how.seed,
        how.epochs,
        how.callbacks,
        folder=str(how.folder.resolve()),
        choose_from=how.choose_from + 1,
    )


COMPRESS_SMOKE = {**SMOKE, "epochs": 2, "smoke_steps": True}
PROGRAM = Program("unet-compress", Config, main, COMPRESS_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

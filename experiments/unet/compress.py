"""make unet-compress: a U-Net through a whole recipe, each step measured and kept within a budget.

A dense U-Net is trained (or MODEL is taken), then the steps of RECIPE follow; without one a fifth
of its MACs is kept, the dense U-Net teaches, and int8 comes last. The chosen model is
`steps/chosen.tflite`.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.recipe_config import RECIPE_FILES, STEPS_FOLDER, RecipeConfig
from experiments.common.recipe_curve import check_reach, go_further
from experiments.common.recipe_report import finish_recipe
from experiments.common.report import already_finished
from experiments.common.seeds import seed_file
from experiments.common.training import Training, train
from experiments.handover.evaluate_model import check_classes
from experiments.unet.segmentation import (
    CARD_NAME,
    SMOKE,
    SegmentationConfig,
    augmentation_of,
    build_model,
    card_of,
    compile_model,
    load_data,
    prediction_section,
)
from experiments.unet.variants import train_whole
from tfcompress.data.folder import SegmentationData
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.pipeline.compress import compress
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.step import Fitting, History
from tfcompress.reporting.run import Run, open_run


@dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig, SegmentationConfig):
    """Run a recipe on a U-Net."""

    epochs: int = 40
    """Of the dense U-Net."""
    recipe: str = f"{RECIPE_FILES}/unet.yaml"
    """YAML file of the steps and the budget."""
    tune_rate: float = 1e-3
    """Peak of the learning rate in the steps."""
    seed: int = 0

    def check(self) -> None:
        """Check the recipe before the dense U-Net is trained."""
        self.check_recipe()


def main(config: Config) -> dict[str, Any]:
    """Train, run the recipe, report; the metrics."""
    run = open_run(config.root, "unet-compress", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_data(config, run)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    recipe = config.steps()
    run.print(recipe.table())
    check_reach(config, partial(build_model, config, data))
    if config.model:
        dense = load_model_file(config.model)
        check_classes(dense, len(data.palette), "model", "use a U-Net of this data")
    else:
        build = partial(build_model, config, data)
        train_whole("dense", build, config, data, run, config.seed)
        dense = keras.saving.load_model(seed_file(run, config.seed, "dense"))
    compile_model(dense, config, data, config.epochs)
    samples = CompressionData(
        train=(data.train.images, data.train.labels),
        val=(data.val.images, data.val.labels),
        test=(data.test.images, data.test.labels),
        batch=config.batch,
    )
    run_recipe = partial(
        compress,
        dense,
        samples,
        fit=partial(_fit, config, data, run),
        card=asdict(card_of(config, data)),
        seed=config.seed,
        threads=config.threads,
        tell=run.print,
    )
    result = run_recipe(recipe=recipe, folder=run.path(STEPS_FOLDER))
    further, more = go_further(config, result, run_recipe, run, samples, "mean IoU")
    outputs = {}
    for outcome in (result.outcomes[0], result.chosen):
        lite = LiteModel.load(result.folder / outcome.folder / "model.tflite")
        outputs[outcome.name] = lite.predict(data.test.images)
    pictures = prediction_section(run, data.test, outputs, data.palette)
    title = "A U-Net through a recipe"
    return finish_recipe(
        run, result, title, "mean IoU", compared(config), [*further, pictures], more
    )


def _fit(
    config: Config,
    data: SegmentationData,
    run: Run,
    model: Any,
    samples: CompressionData,
    how: Fitting,
) -> History:
    """Train a step's model as U-Nets are trained here, resumable, chosen by mean IoU."""
    tuned = replace(config, learning_rate=config.tune_rate)
    compile_model(model, tuned, data, how.epochs)
    training = Training(
        how.name,
        str(how.folder.resolve()),
        how.epochs,
        config.batch,
        how.seed,
        choose_from=how.choose_from + 1,
    )
    return train(model, data, augmentation_of(config), training, run, how.callbacks)


COMPRESS_SMOKE = {**SMOKE, "epochs": 2, "smoke_steps": True}

if __name__ == "__main__":
    run_experiment(Config, main, COMPRESS_SMOKE)

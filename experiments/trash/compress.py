"""make trash-compress: the trash classifier through a whole recipe, each step measured.

A teacher-sized classifier is trained (or MODEL is taken) and the steps of RECIPE follow; without
one it is factored, taught by itself as it was, and made int8.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.recipe_config import RECIPE_FILES, STEPS_FOLDER, RecipeConfig
from experiments.common.recipe_curve import check_reach, go_further
from experiments.common.recipe_report import finish_recipe
from experiments.common.report import already_finished
from experiments.handover.evaluate_model import check_classes
from experiments.trash.classification import (
    CARD_NAME,
    CLASSIFIER_SMOKE,
    ClassificationConfig,
    Images,
    build_classifier,
    compile_classifier,
    load_images,
    train_classifier,
    write_card,
)
from tfcompress.graph.saving import save_plain
from tfcompress.model_files import load_model_file
from tfcompress.pipeline.compress import compress
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.step import Fitting, History
from tfcompress.reporting.run import Run, open_run


@dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig, ClassificationConfig):
    """Run a recipe on the classifier."""

    recipe: str = f"{RECIPE_FILES}/trash.yaml"
    """YAML file of the steps and the budget."""

    def check(self) -> None:
        """Check the recipe before the classifier is trained."""
        super().check()
        self.check_recipe()


def main(config: Config) -> dict[str, Any]:
    """Train, run the recipe, report; the metrics."""
    run = open_run(config.root, "trash-compress", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    images = load_images(config, run, config.model)
    write_card(run, images, config)
    recipe, seed = config.steps(), config.seeds[0]
    run.print(recipe.table())
    check_reach(config, partial(build_classifier, config, len(images.classes), run))
    if config.model:
        whole = load_model_file(config.model)
        check_classes(whole, len(images.classes), "model", "use a classifier of this data")
    else:
        whole = _trained(config, images, run, seed)
    compile_classifier(whole, config)
    samples = CompressionData(
        train=(images.calibration(len(images.data.train)), images.data.train.labels),
        val=images.part("val"),
        test=images.part("test"),
        calibration=images.calibration(),
        batch=config.batch,
    )
    run_recipe = partial(
        compress,
        whole,
        samples,
        fit=partial(_fit, config, images, run),
        card=run.read_json(CARD_NAME),
        seed=seed,
        threads=config.threads,
        tell=run.print,
    )
    result = run_recipe(recipe=recipe, folder=run.path(STEPS_FOLDER))
    further, more = go_further(config, result, run_recipe, run, samples, "macro F1")
    title = "The trash classifier through a recipe"
    return finish_recipe(run, result, title, "macro F1", compared(config), further, more)


def _trained(config: Config, images: Images, run: Run, seed: int) -> Any:
    """Train the first model; what its file then holds."""
    keras.utils.set_random_seed(seed)
    model = build_classifier(config, len(images.classes), run)
    compile_classifier(model, config)
    train_classifier(model, config, images, run, "start", seed, config.epochs)
    path = run.path("start.keras")
    save_plain(model, path, training_state=False)
    return keras.saving.load_model(path)


def _fit(
    config: Config, images: Images, run: Run, model: Any, samples: CompressionData, how: Fitting
) -> History:
    """Train a step's model as classifiers are trained here, resumable, chosen by macro F1."""
    tuned = replace(config, epochs=how.epochs)  # the warm-up is a share of them
    compile_classifier(model, tuned)
    return train_classifier(
        model,
        tuned,
        images,
        run,
        how.name,
        how.seed,
        how.epochs,
        folder=str(how.folder.resolve()),
        callbacks=how.callbacks,
        choose_from=how.choose_from + 1,
    )


COMPRESS_SMOKE = {**CLASSIFIER_SMOKE, "smoke_steps": True}

if __name__ == "__main__":
    run_experiment(Config, main, COMPRESS_SMOKE)

"""make unet-train: train the multi-class U-Net on a folder of images and masks.

Without DATA it draws aerial tiles. On two cores an epoch of 320 patches of 128x128 takes about 15
seconds. The model is chosen by mean IoU on validation, the report is made on the test images.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass
from typing import Any

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.training import Training, train
from experiments.unet.segmentation import (
    CARD_NAME,
    SMOKE,
    SegmentationConfig,
    augmentation_of,
    build_model,
    card_of,
    comparison_section,
    compile_model,
    load_data,
    prediction_section,
)
from tfcompress.comparison import Comparison, compare, predict
from tfcompress.data.folder import SegmentationData
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import Run, environment, open_run


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Train the U-Net."""

    seed: int = 0


def main(config: Config) -> dict[str, Any]:
    """Train, save `model.keras`, report; the metrics."""
    run = open_run(config.root, "unet-train", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    keras.utils.set_random_seed(config.seed)
    data = load_data(config, run)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    finished = train_unet(config, run, data)
    output = predict(finished, data.test.images)
    comparison = compare(
        finished,
        data=(data.test.images, data.test.labels),
        names=["U-Net"],
        classes=data.palette.names,
        threads=config.threads,
        predictions=[output],
    )
    history = run.read_json("training.json")
    _write_report(config, run, data, history, comparison, output, finished)
    run.print(comparison.table(), comparison.class_table())
    return finish(run, comparison, {})


def train_unet(config: Config, run: Run, data: SegmentationData) -> Any:
    """Train, save `model.keras` and the history, and give back what the file holds."""
    model = build_model(config, data)
    run.print(f"U-Net: {model.count_params():,} parameters")
    compile_model(model, config, data, config.epochs)
    how = Training("U-Net", "unet", config.epochs, config.batch, config.seed)
    history = train(model, data, augmentation_of(config), how, run)
    run.write_history(history)
    run.write_json("training.json", history)
    save_plain(model, run.path("model.keras"), training_state=False)
    return keras.saving.load_model(run.path("model.keras"))


def _write_report(
    config: Config,
    run: Run,
    data: Any,
    history: list[dict[str, float]],
    comparison: Comparison,
    output: Any,
    model: Any,
) -> None:
    row = comparison.rows[0]
    write_page(
        run.path("report.html"),
        "Multi-class U-Net",
        f"Mean IoU {row.quality['mean_iou']:.4f} on {comparison.samples} test patches of "
        f"{len(data.groups['test'])} images that neither training nor model choice has seen.",
        [
            comparison_section(run, comparison),
            history_section(run, {"dense": history}),
            prediction_section(run, data.test, {"U-Net": output}, data.palette),
            Section("Cost of each layer", tables=(count_cost(model).table(),)),
        ],
        compared(config),
        environment(),
    )


if __name__ == "__main__":
    run_experiment(Config, main, SMOKE)

"""make trash-train: train a truncated ShuffleNetV2 on class folders, and make it int8.

Without DATA it draws nine kinds of trash. The model is chosen by macro F1 on validation; the
report, with the competition's score of MACs and F1, is made on the test images.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass
from typing import Any

import keras

from experiments.classification import (
    CLASSIFIER_SMOKE,
    ClassificationConfig,
    Images,
    build_classifier,
    compare_classifiers,
    compile_classifier,
    load_images,
    train_classifier,
    write_lite_pair,
)
from experiments.unet_train import already_finished, finish
from tfcompress.cli import compared, run_experiment
from tfcompress.compare import Comparison, predict
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import plot_history, plot_tradeoff, save_figure
from tfcompress.reporting.run import Run, environment, open_run
from tfcompress.reporting.tables import Table

CARD_NAME = "classifier_card.json"


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Train the classifier."""


def main(config: Config) -> dict[str, Any]:
    """Train, save, convert, report; the metrics."""
    run = open_run(config.root, "trash-train", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    images = load_images(config, run)
    write_card(run, images, config)
    seed = config.seeds[0]
    keras.utils.set_random_seed(seed)
    model = build_classifier(config, len(images.classes), run)
    compile_classifier(model, config)
    cost = count_cost(model)
    run.print(f"ShuffleNetV2 x{config.scale}: {cost.parameters:,} weights, {cost.macs:,} MACs")
    history = train_classifier(model, config, images, run, "classifier", seed)
    run.write_history(history)
    save_plain(model, run.path("model.keras"), training_state=False)
    finished = keras.saving.load_model(run.path("model.keras"))
    pair = write_lite_pair(finished, run.path("model"), images, run)
    models = dict(zip(("float32", "int8"), pair, strict=True))
    comparison, scores = compare_classifiers(models, images, config, run)
    confusion = confusion_table(images, predict(finished, images.part("test")[0]))
    write_page(
        run.path("report.html"),
        "Trash classifier",
        f"Macro F1 {comparison.rows[0].quality['macro_f1']:.4f} on {comparison.samples} test "
        "images that neither training nor model choice has seen.",
        [
            classifier_section(run, comparison, scores),
            history_section(run, {"classifier": history}),
            Section("Which class is taken for which", tables=(confusion,)),
            Section("Cost of each layer", tables=(count_cost(finished).table(),)),
        ],
        compared(config),
        environment(),
    )
    run.print(comparison.table(), scores)
    return finish(run, comparison, {})


def write_card(run: Run, images: Images, config: ClassificationConfig) -> None:
    """What one has to know to feed the models of a run."""
    run.write_json(
        CARD_NAME,
        {
            "classes": list(images.classes),
            "side": config.side,
            "normalization": asdict(images.normalization),
        },
    )


def classifier_section(run: Run, comparison: Comparison, scores: Table) -> Section:
    """The comparison and the scores, as a report section."""
    points = [
        (row.name, float(row.macs), row.quality["macro_f1"]) for row in comparison.rows if row.macs
    ]
    path = save_figure(
        plot_tradeoff(points, "multiply-accumulates", "macro F1"),
        run.path("plots", "f1_against_macs.png"),
    )
    pictures = (("Macro F1 against multiply-accumulates", path),)
    return Section("Comparison", tables=(comparison.table(), scores), pictures=pictures)


def history_section(run: Run, histories: dict[str, list[dict[str, float]]]) -> Section:
    """F1 and loss against the epoch, as a report section."""
    pictures = []
    for metric, title in (("macro_f1", "macro F1"), ("loss", "loss")):
        figure = plot_history(histories, metric, title)
        path = save_figure(figure, run.path("plots", f"{metric}.png"))
        pictures.append((f"{title} against epoch, training and validation", path))
    return Section("Training", pictures=tuple(pictures))


def confusion_table(images: Images, output: Any) -> Table:
    """Test images of each class (row) by what they are taken for (column)."""
    labels, predicted = images.data.test.labels, output.argmax(axis=-1)
    table = Table(("class", *images.classes), title="Confusion on the test images")
    for label, name in enumerate(images.classes):
        taken = predicted[labels == label]
        table.add(name, *(str(int((taken == c).sum())) for c in range(len(images.classes))))
    return table


if __name__ == "__main__":
    run_experiment(Config, main, CLASSIFIER_SMOKE)

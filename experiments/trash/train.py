"""make trash-train: train a truncated ShuffleNetV2 on class folders, and make it int8.

Without DATA it draws nine kinds of trash. The model is chosen by macro F1 on validation; the
report, with the competition's score of MACs and F1, is made on the test images.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass
from typing import Any

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.trash.classification import (
    CLASSIFIER_SMOKE,
    ClassificationConfig,
    Images,
    build_classifier,
    compile_classifier,
    load_images,
    train_classifier,
    write_card,
)
from experiments.trash.classifier_files import (
    F1_AND_LOSS,
    classifier_section,
    compare_classifiers,
    write_formats,
)
from tfcompress.comparison import predict
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import environment, open_run
from tfcompress.reporting.tables import Table


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
    history = train_classifier(model, config, images, run, "classifier", seed, config.epochs)
    run.write_history(history)
    save_plain(model, run.path("model.keras"), training_state=False)
    finished = keras.saving.load_model(run.path("model.keras"))
    files = write_formats({"model": finished}, images, run)
    with run.console.status("measuring every file on the test images"):
        comparison, scores = compare_classifiers(files, images, config)
    confusion = confusion_table(images, predict(finished, images.part("test")[0]))
    write_page(
        run.path("report.html"),
        "Trash classifier",
        f"Macro F1 {comparison.rows[0].quality['macro_f1']:.4f} on {comparison.samples} test "
        "images that neither training nor model choice has seen.",
        [
            classifier_section(run, comparison, scores),
            history_section(run, {"classifier": history}, metrics=F1_AND_LOSS),
            Section("Which class is taken for which", tables=(confusion,)),
            Section("Cost of each layer", tables=(count_cost(finished).table(),)),
        ],
        compared(config),
        environment(),
    )
    run.print(comparison.table(), scores)
    return finish(run, comparison, {})


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

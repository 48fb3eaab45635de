"""make trash-train: train a truncated ShuffleNetV2 on class folders, and make it int8.

DATA is a folder of class folders; without it, pictures of nine kinds of trash are generated. The
best epoch by macro F1 on validation is kept, and measured on the test images.

Takes about 2 minutes on two CPU cores (30 epochs of 2 s on 2,100 pictures). Prints macro F1, size,
latency and the competition's score of the float32 and the int8 file.
"""

from dataclasses import dataclass
from typing import Any

from experiments.common.program import Program
from experiments.common.report import Report
from experiments.trash.classification import CLASSIFIER_SMOKE, ClassificationConfig, Images
from experiments.trash.study import Study
from tfcompress.comparison import predict
from tfcompress.evaluation.cost import count_cost
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Train the classifier."""


def main(config: Config, run: Run) -> Report:
    """Train, save, convert, measure."""
    study = Study.of(config, run)

    def build() -> Any:
        model = study.build()
        cost = count_cost(model)
        run.print(f"ShuffleNetV2 x{config.scale}: {cost.parameters:,} weights, {cost.macs:,} MACs")
        return model

    finished = study.train("classifier", config.seeds[0], build, file="model.keras")
    comparison, scores = study.measure({"model": finished})
    confusion = confusion_table(study.images, predict(finished, study.images.part("test")[0]))
    return study.report(
        comparison,
        scores,
        "Trash classifier",
        f"Macro F1 {comparison.rows[0].quality['macro_f1']:.4f} on {comparison.samples} test "
        "images that neither training nor model choice has seen.",
        [
            Section("Which class is taken for which", tables=(confusion,)),
            Section("Cost of each layer", tables=(count_cost(finished).table(),)),
        ],
    )


def confusion_table(images: Images, output: Any) -> Table:
    """Test images of each true class (row) by their predicted class (column)."""
    labels, predicted = images.data.test.labels, output.argmax(axis=-1)
    table = Table(("class", *images.classes), title="Confusion on the test images")
    for label, name in enumerate(images.classes):
        taken = predicted[labels == label]
        table.add(name, *(str(int((taken == c).sum())) for c in range(len(images.classes))))
    return table


PROGRAM = Program("trash-train", Config, main, CLASSIFIER_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

"""make trash-train: train a truncated ShuffleNetV2 on class folders, and make it int8.

DATA is a folder of class folders; without it, pictures of nine kinds of trash are generated. The
best epoch by macro F1 on validation is kept, and measured on the test images.

Takes about 2 minutes on two CPU cores (30 epochs of 2 s on 2,100 pictures). Prints macro F1, size,
latency and the competition's score of the float32 and the int8 file.
"""

from dataclasses import dataclass, replace
from typing import Any

from experiments.common.program import Program
from experiments.common.report import Report
from experiments.trash.classification import CLASSIFIER_SMOKE, ClassificationConfig
from experiments.trash.study import Study
from tfcompress.evaluation.cost import count_cost
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Train the classifier."""


def main(config: Config, run: Run) -> Report:
    """Train, save, convert, measure."""
    study, seed = Study.of(config, run), config.seeds[0]

    def build() -> Any:
        model = study.build()
        cost = count_cost(model)
        run.print(f"ShuffleNetV2 x{config.scale}: {cost.parameters:,} weights, {cost.macs:,} MACs")
        return model

    finished = study.train("classifier", seed, build, file="model.keras")
    comparison, scores = study.measure({"model": finished})
    report = study.report(
        comparison,
        scores,
        "Trash classifier",
        f"Measured on {comparison.samples} test images that neither training nor model choice has "
        "seen.",
        [Section("Cost of each layer", tables=(count_cost(finished).table(),))],
    )
    return replace(report, seeds=(seed,))


PROGRAM = Program("trash-train", Config, main, CLASSIFIER_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

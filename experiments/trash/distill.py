"""make trash-distill: a truncated ShuffleNetV2, distilled from a large one, factorized, and both.

A teacher (TEACHER=file, or a wider ShuffleNetV2 that is trained first) teaches students that start
as their untaught twins do, seed by seed. Then the students of the first seed are factored
(Tucker-2, SVD) and tuned, the taught one under its teacher. Every row is an int8 or float32 file,
measured on the test images.

Takes about 6 minutes on two CPU cores (80 epochs of 2 s, and 30 of the teacher, on 2,100 generated
pictures). Prints macro F1, MACs and score of every file; docs/measurements.md ("A
distilled and factorized classifier") has those of a run: distilled and factorized scored best
there, and the factorized files were slower.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras

from experiments.common.inputs import check_classes
from experiments.common.program import Program
from experiments.common.report import Report, quality_by_name
from experiments.common.seeds import seed_file
from experiments.trash.classification import CLASSIFIER_SMOKE, build_classifier
from experiments.trash.study import Study, TaughtConfig
from tfcompress.factorization.factor_plan import FactorPlan
from tfcompress.factorization.factorize import factorize, plan_factorization
from tfcompress.model_files import load_model_file
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Distill, factor, both."""

    teacher_scale: float = 2.0
    """Width of the teacher that is trained, a ShuffleNetV2."""
    teacher_truncate: bool = True
    """Whether that teacher lacks stage 4 and conv5 too: at 32 pixels its maps would be 1x1."""
    factor_macs: float = 0.8
    """Share of the MACs that is left after factoring."""
    tune_epochs: int = 10
    """Epochs after factoring."""


def main(config: Config, run: Run) -> Report:
    """Teach, factor, convert, compare."""
    study = Study.of(config, run, config.teacher)
    teacher = _teacher(study)
    comparisons = [study.measure(study.students(s, teacher), s)[0] for s in config.seeds]
    models, plan = _factored(study, config.seeds[0], teacher)
    comparison, scores = study.measure({"teacher": teacher, **models}, config.seeds[0])
    over_seeds = study.over_seeds(comparisons, ((2, 0), (3, 1)))
    f1 = quality_by_name(comparison, "macro_f1")
    return study.report(
        comparison,
        scores,
        "A classifier, taught and factored",
        f"Macro F1 of the float32 files: teacher {f1['teacher float32']:.4f}, student alone "
        f"{f1['plain float32']:.4f}, taught {f1['distilled float32']:.4f}.",
        [
            *(Section("Over seeds", tables=(table,)) for table in over_seeds),
            Section("Factorization", tables=(plan.table(),)),
        ],
        [*over_seeds, plan.table()],
        seeds=[each.to_dict() for each in comparisons],
        factorization=plan.to_dict(),
    )


def _teacher(study: Study) -> Any:
    """The teacher from its file, or trained."""
    config = study.config
    if config.teacher:
        teacher = load_model_file(config.teacher)
        check_classes(teacher, study.classes, "teacher", "use a teacher of this data")
        return teacher
    wide = replace(
        config,
        scale=config.teacher_scale,
        truncate=config.teacher_truncate,
        pretrained="",
        freeze=False,
    )
    build = partial(build_classifier, wide, study.classes)
    return study.train("teacher", 0, build, config.teacher_epochs)


def _factored(study: Study, seed: int, teacher: Any) -> tuple[dict[str, Any], FactorPlan]:
    """A seed's students, as they are and factored; and the plan of the untaught one."""
    config = study.config
    models: dict[str, Any] = {}
    plans = []
    for source, name, by in (("plain", "factored", None), ("distilled", "both", teacher)):
        models[source] = keras.saving.load_model(seed_file(study.run, seed, source))
        plans.append(plan_factorization(models[source], by="macs", value=config.factor_macs))
        build = partial(factorize, models[source], plans[-1])
        models[name] = study.train(name, seed, build, config.tune_epochs, by)
    return models, plans[0]


SMOKE = {**CLASSIFIER_SMOKE, "teacher_epochs": 1, "tune_epochs": 1, "teacher_scale": 1.0}
PROGRAM = Program("trash-distill", Config, main, SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

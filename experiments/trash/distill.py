"""make trash-distill: a big classifier teaches a truncated ShuffleNetV2; factors; both.

A teacher (TEACHER=file, or a wider ShuffleNetV2 that is trained first) teaches students that start
as their untaught twins do, seed by seed. Then the students of the first seed are factored
(Tucker-2, SVD) and tuned, the taught one under its teacher. Every row is an int8 or float32 file,
measured on the test images.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file, seeds_table
from experiments.handover.evaluate_model import check_classes
from experiments.trash.classification import (
    CLASSIFIER_SMOKE,
    build_classifier,
    load_images,
    write_card,
)
from experiments.trash.classifier_files import (
    F1_AND_LOSS,
    classifier_section,
)
from experiments.trash.taught_classifiers import School, TaughtConfig, measured, students_of
from tfcompress.factorization.factor_plan import FactorPlan
from tfcompress.factorization.factorize import factorize, plan_factorization
from tfcompress.model_files import load_model_file
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import environment, open_run


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Distil, factor, both."""

    teacher_scale: float = 2.0
    """Width of the teacher that is trained, a ShuffleNetV2."""
    teacher_truncate: bool = True
    """Leave stage 4 and conv5 out of the teacher too: at 32 pixels its maps would be 1x1."""
    factor_macs: float = 0.8
    """Share of the MACs that factoring leaves."""
    tune_epochs: int = 10
    """Epochs after factoring."""


def main(config: Config) -> dict[str, Any]:
    """Teach, factor, convert, compare; the metrics."""
    run = open_run(config.root, "trash-distill", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    images = load_images(config, run, config.teacher)
    write_card(run, images, config)
    school = School(config, images, run)
    teacher = _teacher(school)
    comparisons = []
    for seed in config.seeds:
        students = students_of(school, seed, teacher)
        comparisons.append(measured(school, students, seed)[0])
    seed = config.seeds[0]
    models, plan = _factored(school, seed, teacher)
    comparison, scores = measured(school, {"teacher": teacher, **models}, seed)
    histories = school.histories
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    over_seeds = []
    if len(config.seeds) > 1:
        over_seeds = [
            seeds_table(config.seeds, comparisons, ((2, 0), (3, 1)), "macro_f1", "Macro F1")
        ]
    rows = {row.name: row for row in comparison.rows}
    write_page(
        run.path("report.html"),
        "A classifier, taught and factored",
        f"Macro F1 of the float32 files: teacher "
        f"{rows['teacher float32'].quality['macro_f1']:.4f}, student alone "
        f"{rows['plain float32'].quality['macro_f1']:.4f}, taught "
        f"{rows['distilled float32'].quality['macro_f1']:.4f}.",
        [
            classifier_section(run, comparison, scores),
            *(Section("Over seeds", tables=(table,)) for table in over_seeds),
            history_section(run, histories, metrics=F1_AND_LOSS),
            Section("Factorization", tables=(plan.table(),)),
        ],
        compared(config),
        environment(),
    )
    run.print(plan.table(), comparison.table(), *over_seeds, scores)
    more = {"seeds": [c.to_dict() for c in comparisons], "factorization": plan.to_dict()}
    return finish(run, comparison, more)


def _teacher(school: School) -> Any:
    """The teacher from its file, or trained."""
    config, classes = school.config, len(school.images.classes)
    if config.teacher:
        teacher = load_model_file(config.teacher)
        check_classes(teacher, classes, "teacher", "use a teacher of this data")
        return teacher
    wide = replace(
        config,
        scale=config.teacher_scale,
        truncate=config.teacher_truncate,
        pretrained="",
        freeze=False,
    )
    build = partial(build_classifier, wide, classes)
    return school.train("teacher", 0, build, config.teacher_epochs)


def _factored(school: School, seed: int, teacher: Any) -> tuple[dict[str, Any], FactorPlan]:
    """A seed's students, as they are and factored; and the plan of the one that was not taught."""
    config = school.config
    models: dict[str, Any] = {}
    plans = []
    for source, name, by in (("plain", "factored", None), ("distilled", "both", teacher)):
        models[source] = keras.saving.load_model(seed_file(school.run, seed, source))
        plans.append(plan_factorization(models[source], by="macs", value=config.factor_macs))
        build = partial(factorize, models[source], plans[-1])
        models[name] = school.train(name, seed, build, config.tune_epochs, by)
    return models, plans[0]


SMOKE = {**CLASSIFIER_SMOKE, "teacher_epochs": 1, "tune_epochs": 1, "teacher_scale": 1.0}

if __name__ == "__main__":
    run_experiment(Config, main, SMOKE)

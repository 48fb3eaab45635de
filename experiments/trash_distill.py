"""make trash-distill: a big classifier teaches a truncated ShuffleNetV2; factors; both.

A teacher (TEACHER=file, or a whole ShuffleNetV2 that is trained first) teaches students that start
as their untaught twins do, seed by seed. Then the students of the first seed are factored
(Tucker-2, SVD) and tuned, the taught one under its teacher. Every row is an int8 or float32 file,
measured on the test images.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
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
from experiments.evaluate_model import load_model_file
from experiments.seeds import seed_file, seeds_table
from experiments.trash_train import classifier_section, history_section, write_card
from experiments.unet_train import already_finished, finish
from tfcompress.cli import compared, run_experiment
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import Decoupled, SoftTargets
from tfcompress.errors import ConfigError
from tfcompress.factorization.factor_plan import FactorPlan
from tfcompress.factorization.factorize import factorize, plan_factorization
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import Run, environment, open_run


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Distil, factor, both."""

    teacher: str = ""
    """A .keras classifier of the same classes and input; empty: one is trained."""
    teacher_scale: float = 1.0
    """Width of the teacher that is trained, a whole ShuffleNetV2."""
    teacher_epochs: int = 30
    temperature: float = 4.0
    soft_weight: float = 0.9
    """Share of the soft targets; the rest is the student's own loss."""
    decoupled: bool = False
    """Decoupled distillation (Zhao et al. 2022) in the place of soft targets."""
    factor_macs: float = 0.8
    """Share of the MACs that factoring leaves."""
    tune_epochs: int = 10
    """Epochs after factoring."""

    def check(self) -> None:
        """Check what would only show after the teacher is trained."""
        super().check()
        if not 0 <= self.soft_weight <= 1:
            raise ConfigError("soft_weight", f"it is {self.soft_weight}", "use a share, 0 to 1")
        self.objective()
        if self.teacher and not Path(self.teacher).is_file():
            raise ConfigError("teacher", f"there is no {self.teacher}", "give a .keras file")

    def objective(self) -> Any:
        """The distillation loss."""
        kind = Decoupled if self.decoupled else SoftTargets
        return kind(self.temperature, weight=self.soft_weight)


def main(config: Config) -> dict[str, Any]:
    """Teach, factor, convert, compare; the metrics."""
    run = open_run(config.root, "trash-distill", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    images = load_images(config, run)
    write_card(run, images, config)
    histories: dict[str, list[dict[str, float]]] = {}
    teacher = _teacher(config, images, run, histories)
    comparisons = []
    for seed in config.seeds:
        models = {
            name: _student(name, seed, teacher, config, images, run, histories)
            for name in ("plain", "distilled")
        }
        files = _files(models, seed, images, run)
        comparisons.append(compare_classifiers(files, images, config, run)[0])
    seed = config.seeds[0]
    finished, plan = _factored(seed, teacher, config, images, run, histories)
    all_files = _files({"teacher": teacher, **finished}, seed, images, run)
    comparison, scores = compare_classifiers(all_files, images, config, run)
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
            history_section(run, histories),
            Section("Factorization", tables=(plan.table(),)),
        ],
        compared(config),
        environment(),
    )
    run.print(plan.table(), comparison.table(), *over_seeds, scores)
    more = {"seeds": [c.to_dict() for c in comparisons], "factorization": plan.to_dict()}
    return finish(run, comparison, more)


def _teacher(config: Config, images: Images, run: Run, histories: dict[str, Any]) -> Any:
    """The teacher from its file, or trained."""
    if config.teacher:
        teacher = load_model_file(config.teacher)
        if teacher.output_shape[-1] != len(images.classes):
            raise ConfigError(
                "teacher",
                f"it has {teacher.output_shape[-1]} classes, the data {len(images.classes)}",
                "use a teacher of this data",
            )
        return teacher
    wide = replace(config, scale=config.teacher_scale, truncate=False, pretrained="", freeze=False)
    path = run.path("teacher.keras")
    if not path.is_file():
        keras.utils.set_random_seed(0)
        model = build_classifier(wide, len(images.classes))
        compile_classifier(model, wide)
        histories["teacher"] = train_classifier(
            model, wide, images, run, "teacher", 0, config.teacher_epochs
        )
        save_plain(model, path, training_state=False)
    return keras.saving.load_model(path)


def _student(
    name: str,
    seed: int,
    teacher: Any,
    config: Config,
    images: Images,
    run: Run,
    histories: dict[str, Any],
) -> Any:
    """A student, trained alone ("plain") or taught ("distilled"); both start alike."""
    path = seed_file(run, seed, name)
    if not path.is_file():
        keras.utils.set_random_seed(seed)
        student = build_classifier(config, len(images.classes))
        history = _trained(student, name, seed, teacher, config, images, run, config.epochs)
        if seed == config.seeds[0]:
            histories[name] = history
        save_plain(student, path, training_state=False)
    return keras.saving.load_model(path)


def _trained(
    student: Any,
    name: str,
    seed: int,
    teacher: Any,
    config: Config,
    images: Images,
    run: Run,
    epochs: int,
) -> list[dict[str, float]]:
    """Train a student, under the teacher if its name says so; the history."""
    trainer = student
    if name in ("distilled", "both"):
        trainer = Distiller(
            teacher, student, config.objective(), task_weight=1 - config.soft_weight
        )
    compile_classifier(trainer, config)
    return train_classifier(trainer, config, images, run, name, seed, epochs)


def _factored(
    seed: int, teacher: Any, config: Config, images: Images, run: Run, histories: dict[str, Any]
) -> tuple[dict[str, Any], FactorPlan]:
    """Students of a seed, as they are and factored; and the plan of the one that was not taught."""
    models: dict[str, Any] = {}
    plans = []
    for source, name in (("plain", "factored"), ("distilled", "both")):
        models[source] = keras.saving.load_model(seed_file(run, seed, source))
        plan = plan_factorization(models[source], by="macs", value=config.factor_macs)
        plans.append(plan)
        path = seed_file(run, seed, name)
        if not path.is_file():
            small = factorize(models[source], plan)
            epochs = config.tune_epochs
            histories[name] = _trained(small, name, seed, teacher, config, images, run, epochs)
            save_plain(small, path, training_state=False)
        models[name] = keras.saving.load_model(path)
    return models, plans[0]


def _files(models: dict[str, Any], seed: int, images: Images, run: Run) -> dict[str, Any]:
    """LiteRT files of models, by title."""
    files = {}
    for name, model in models.items():
        stem = run.path(f"{name}-seed{seed}")
        for recipe, lite in zip(
            ("float32", "int8"), write_lite_pair(model, stem, images, run), strict=True
        ):
            files[f"{name} {recipe}"] = lite
    return files


SMOKE = {**CLASSIFIER_SMOKE, "teacher_epochs": 1, "tune_epochs": 1, "teacher_scale": 0.5}

if __name__ == "__main__":
    run_experiment(Config, main, SMOKE)

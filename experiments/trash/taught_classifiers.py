"""What experiments share in which a teacher teaches a classifier: fields, training, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras

from experiments.common.seeds import seed_file
from experiments.trash.classification import (
    ClassificationConfig,
    Images,
    build_classifier,
    compile_classifier,
    train_classifier,
)
from experiments.trash.classifier_files import compare_classifiers, write_formats
from tfcompress.comparison import Comparison
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import Decoupled, SoftTargets
from tfcompress.errors import ConfigError
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class TaughtConfig(ClassificationConfig):
    """Fields of experiments in which a teacher teaches a classifier."""

    teacher: str = ""
    """File of a classifier of the same classes and input; empty: one is trained."""
    teacher_epochs: int = 30
    temperature: float = 4.0
    soft_weight: float = 0.9
    """Share of the soft targets; the rest is the student's own loss."""
    decoupled: bool = False
    """Decoupled distillation (Zhao et al. 2022) in the place of soft targets."""

    def check(self) -> None:
        """Check what would only show after the teacher is trained."""
        super().check()
        if not 0 <= self.soft_weight <= 1:
            raise ConfigError("soft_weight", f"it is {self.soft_weight}", "use a share, 0 to 1")
        self.objective()
        if self.teacher and not Path(self.teacher).is_file():
            raise ConfigError("teacher", f"there is no {self.teacher}", "give a classifier's file")

    def objective(self) -> Any:
        """The distillation loss."""
        kind = Decoupled if self.decoupled else SoftTargets
        return kind(self.temperature, weight=self.soft_weight)


@dataclass(frozen=True)
class School:
    """What every training of a run shares.

    Attributes:
        config: The experiment's.
        images: The data.
        run: Where models and checkpoints go.
        histories: Of each model by name, first seed; grows.
    """

    config: TaughtConfig
    images: Images
    run: Run
    histories: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def train(
        self, name: str, seed: int, build: Callable[[], Any], epochs: int, teacher: Any = None
    ) -> Any:
        """Train a model, under a teacher if there is one; what its file then holds.

        A training that is finished gives its best weights and its history back.
        """
        keras.utils.set_random_seed(seed)
        model = trainer = build()
        if teacher is not None:
            share = self.config.soft_weight
            trainer = Distiller(teacher, model, self.config.objective(), task_weight=1 - share)
        compile_classifier(trainer, self.config)
        history = train_classifier(trainer, self.config, self.images, self.run, name, seed, epochs)
        self.histories.setdefault(name, history)
        path = seed_file(self.run, seed, name)
        save_plain(model, path, training_state=False)
        return keras.saving.load_model(path)


def students_of(school: School, seed: int, teacher: Any) -> dict[str, Any]:
    """The student trained alone and taught; both start alike."""
    build = partial(build_classifier, school.config, len(school.images.classes))
    epochs = school.config.epochs
    return {
        "plain": school.train("plain", seed, build, epochs),
        "distilled": school.train("distilled", seed, build, epochs, teacher),
    }


def measured(school: School, models: dict[str, Any], seed: int) -> tuple[Comparison, Table]:
    """Write, read back and measure the files of models."""
    files = write_formats(models, school.images, school.run, seed)
    with school.run.console.status("measuring every file on the test images"):
        return compare_classifiers(files, school.images, school.config)

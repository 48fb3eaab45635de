"""What the classifier programs do: train, teach, convert, and compare the finished files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from experiments.common.inputs import check_file
from experiments.common.lite_files import FLOAT_AND_INT8, write_lite
from experiments.common.report import (
    History,
    Report,
    comparison_findings,
    history_section,
    picture,
    write_histories,
)
from experiments.common.seeds import seed_file, seeds_table
from experiments.trash.classification import (
    CARD_NAME,
    ClassificationConfig,
    Images,
    build_classifier,
    compile_classifier,
    load_images,
    train_classifier,
    write_card,
)
from experiments.trash.mistakes import mistakes_section
from tfcompress.comparison import Comparison, compare
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import Decoupled, SoftTargets
from tfcompress.errors import ConfigError
from tfcompress.evaluation.classification import trash_score
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_tradeoff
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class TaughtConfig(ClassificationConfig):
    """Fields of programs in which a teacher teaches a classifier."""

    teacher: str = ""
    """Teacher's file, of the same classes and input; empty: one is trained."""
    teacher_epochs: int = 30
    """Number of training epochs of that teacher."""
    temperature: float = 4.0
    """Temperature of the softmax in the distillation loss."""
    soft_weight: float = 0.9
    """Share of the soft targets in the loss; the rest is the student's own loss."""
    decoupled: bool = False
    """Whether decoupled distillation (Zhao et al. 2022) replaces soft targets."""

    def check(self) -> None:
        """Check what would only show after the teacher is trained."""
        super().check()
        if not 0 <= self.soft_weight <= 1:
            raise ConfigError("soft_weight", f"it is {self.soft_weight}", "use a share, 0 to 1")
        self.objective()
        check_file(self.teacher, "teacher", "give a classifier's file")

    def objective(self) -> Any:
        """The distillation loss."""
        kind = Decoupled if self.decoupled else SoftTargets
        return kind(self.temperature, weight=self.soft_weight)


@dataclass(frozen=True)
class Study:
    """The config, data and run of a classifier program.

    Attributes:
        config: Configuration of the program.
        images: Data.
        run: Run that models, checkpoints and pictures are saved in.
        histories: History of each model of the first seed by name; grows.
        files: Measured files of the first seed by "name format"; grows.
    """

    config: Any
    images: Images
    run: Run
    histories: dict[str, History] = field(default_factory=dict)
    files: dict[str, LiteModel] = field(default_factory=dict)

    @classmethod
    def of(cls, config: ClassificationConfig, run: Run, model_file: str = "") -> Study:
        """Read the data (generated where the config names none) and write the models' card.

        Args:
            config: Configuration of the program.
            run: Run of the program.
            model_file: Classifier whose card says how the images are normalized; empty for none.
        """
        study = cls(config, load_images(config, run, model_file), run)
        write_card(run, study.images, config)
        return study

    @property
    def card(self) -> dict[str, Any]:
        """The card of the models."""
        return self.run.read_json(CARD_NAME)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.images.classes)

    def build(self) -> Any:
        """A classifier with new (or pretrained) weights, uncompiled."""
        return build_classifier(self.config, self.classes, self.run)

    def train(
        self,
        name: str,
        seed: int,
        build: Callable[[], Any] | None = None,
        epochs: int | None = None,
        teacher: Any = None,
        file: str = "",
    ) -> Any:
        """Train a model, under a teacher if there is one; the model that its file then holds.

        A finished training gives its best weights and its history back.

        Args:
            name: Name of the model, in the console and of its checkpoints.
            seed: Seed of weights, order and augmentation.
            build: Builds the model, uncompiled; default: the config's classifier.
            epochs: Epochs in total; default: the config's.
            teacher: Teacher; None for none.
            file: Name of the file; empty: `name-seedN.keras`.
        """
        config = self.config
        keras.utils.set_random_seed(seed)
        model = trainer = (build or self.build)()
        if teacher is not None:
            share = config.soft_weight
            trainer = Distiller(teacher, model, config.objective(), task_weight=1 - share)
        compile_classifier(trainer, config)
        epochs = config.epochs if epochs is None else epochs
        history = train_classifier(trainer, config, self.images, self.run, name, seed, epochs)
        self.histories.setdefault(name, history)
        path = self.run.path(file) if file else seed_file(self.run, seed, name)
        save_plain(model, path, training_state=False)
        return keras.saving.load_model(path)

    def students(self, seed: int, teacher: Any) -> dict[str, Any]:
        """The student trained alone and taught; both start alike."""
        return {
            "plain": self.train("plain", seed),
            "distilled": self.train("distilled", seed, teacher=teacher),
        }

    def measure(
        self, models: Mapping[str, Any], seed: int | None = None
    ) -> tuple[Comparison, Table]:
        """Write float32 and int8 files of Keras models, read them back, compare them.

        Args:
            models: Keras models by name; `name-int8.tflite` and so on are written.
            seed: Seed that is added to the files' names, as `name-int8-seedN.tflite`.

        Returns:
            The comparison by "name format", and the competition's score of each.
        """
        images, end = self.images.calibration(), "" if seed is None else f"-seed{seed}"
        files: dict[str, LiteModel] = {}
        for name, model in models.items():
            for format in FLOAT_AND_INT8:
                path = self.run.path(f"{name}-{format}{end}.tflite")
                files[f"{name} {format}"] = write_lite(
                    model, path, format, images, self.card, self.run
                )
        for name, file in files.items():
            self.files.setdefault(name, file)
        with self.run.console.status("measuring every file on the test images"):
            return compare_classifiers(files, self.images, self.config)

    def over_seeds(
        self, comparisons: Sequence[Comparison], differences: Sequence[tuple[int, int]]
    ) -> list[Table]:
        """The table of macro F1 over the seeds; none where there is one seed."""
        if len(comparisons) < 2:
            return []
        seeds = self.config.seeds
        return [seeds_table(seeds, comparisons, differences, "macro_f1", "Macro F1")]

    def mistakes(self, name: str, model: LiteModel) -> Section:
        """The section of the page on what a model gets wrong on the test images."""
        inputs, _ = self.images.part("test")
        return mistakes_section(self.run, self.images, name, model.predict(inputs))

    def _mistakes(self, comparison: Comparison) -> list[Section]:
        """That section for the best model, if its file is at hand."""
        best = comparison.best
        if best is None or best.name not in self.files:
            return []
        return [self.mistakes(best.name, self.files[best.name])]

    def report(
        self,
        comparison: Comparison,
        scores: Table,
        title: str,
        headline: str,
        sections: Sequence[Section] = (),
        tables: Sequence[Table] = (),
        **metrics: Any,
    ) -> Report:
        """A report of a comparison, the score, and the trainings, whose histories are written.

        Args:
            comparison: Comparison of the finished files.
            scores: Score of each.
            title: Heading of the page.
            headline: Sentence below it.
            sections: Further sections of the page.
            tables: Tables to print between comparison and scores.
            metrics: Further entries of `metrics.json`.
        """
        if len(self.histories) == 1:
            self.run.write_history(next(iter(self.histories.values())))
        else:
            write_histories(self.run, self.histories)
        training = {"macro_f1": "macro F1", "loss": "loss"}
        return Report(
            title,
            headline,
            (comparison.table(), *tables, scores),
            (
                classifier_section(self.run, comparison, scores),
                *self._mistakes(comparison),
                *sections,
                history_section(self.run, self.histories, metrics=training),
            ),
            {"comparison": comparison.to_dict(), **metrics},
        )


def compare_classifiers(
    models: Mapping[str, Any], images: Images, config: ClassificationConfig
) -> tuple[Comparison, Table]:
    """Measure models on the test images: the comparison, and the competition's score of each."""
    comparison = compare(
        *models.values(),
        data=images.part("test"),
        names=list(models),
        classes=images.classes,
        threads=config.threads,
    )
    return comparison, score_table(comparison)


def score_table(comparison: Comparison) -> Table:
    """MACs, macro F1 and the score that the competition makes of them."""
    table = Table(("model", "MACs", "macro F1", "score"), title="Score of the trash competition")
    for row in comparison.rows:
        f1 = row.quality["macro_f1"]
        score = "–" if row.macs is None else f"{trash_score(row.macs, f1):.4f}"
        table.add(row.name, "–" if row.macs is None else f"{row.macs:,}", f"{f1:.4f}", score)
    table.note(
        "lower is better: MACs / 13,878,369, plus 1 - F1 / 0.8367 (half of it where it is "
        "negative; 1 where F1 is below 0.5)"
    )
    return table


def classifier_section(run: Run, comparison: Comparison, scores: Table) -> Section:
    """The comparison and the scores, as a section of the page."""
    points = [
        (row.name, row.macs / 1e6, row.quality["macro_f1"]) for row in comparison.rows if row.macs
    ]
    figure = plot_tradeoff(points, "million multiply-accumulates", "macro F1")
    caption = "Macro F1 against multiply-accumulates"
    pictures = (picture(run, "f1_against_macs", figure, caption),)
    found = comparison_findings(comparison, "macro F1")
    return Section("Comparison", (), (comparison.table(), scores), pictures, found)
